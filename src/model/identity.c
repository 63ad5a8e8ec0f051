/* identity.c: a number that stands for a model's file, so that state of one is never read into
 * another. Every key and tensor counts, the file's size, and a sample of each tensor's bytes: two
 * trainings of the same shape differ in those. Called when state is saved or opened. */
#include "model_int.h"

#include "hash.h"

#define SAMPLE ((uint64_t)64)

static void add_u64(struct hash *h, uint64_t v)
{
    hash_add(h, &v, sizeof v);
}

static void add_str(struct hash *h, struct str s)
{
    add_u64(h, s.n);
    hash_add(h, s.p, s.n);
}

static void add_value(struct hash *h, const struct gguf_value *v)
{
    add_str(h, v->key);
    add_u64(h, v->type);
    add_u64(h, v->u);
    hash_add(h, &v->f, sizeof v->f);
    if (v->type == GGUF_STR)
        add_str(h, v->s);
    if (v->type == GGUF_ARR) {
        add_u64(h, v->elem);
        add_u64(h, v->count);
        hash_add(h, v->raw, v->s.n);
    }
}

static void add_tensor(struct hash *h, const struct gguf_tensor *t)
{
    add_str(h, t->name);
    add_u64(h, t->dtype);
    for (int i = 0; i < 4; i++)
        add_u64(h, t->dims[i]);
    add_u64(h, t->offset);
    uint64_t n = t->nbytes < SAMPLE ? t->nbytes : SAMPLE;
    hash_add(h, (const unsigned char *)t->data + (t->nbytes - n) / 2, n);
}

uint64_t model_identity(const struct model *m)
{
    struct hash h;
    hash_init(&h, 0);
    add_u64(&h, gguf_file_size(m->g));
    for (size_t i = 0; i < gguf_nvalues(m->g); i++)
        add_value(&h, gguf_value_at(m->g, i));
    for (size_t i = 0; i < gguf_ntensors(m->g); i++)
        add_tensor(&h, gguf_tensor_at(m->g, i));
    return hash_end(&h);
}
