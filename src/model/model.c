/* model.c: opening and closing a model, and what a caller may ask about it. */
#include "model_int.h"

#include <stdlib.h>

int model_open(struct gguf *g, struct model **out, struct err *e)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(e, ERR_NOMEM, "no memory for a model");
    m->g = g;
    m->kern = kern_get();
    int rc = traits_read(m, e);
    if (!rc)
        rc = weights_bind(m, e);
    if (rc) {
        m->g = NULL; /* the caller keeps it */
        model_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

int model_open_path(const char *path, struct model **out, struct err *e)
{
    struct gguf *g;
    int rc = gguf_open(path, &g, e);
    if (rc)
        return rc;
    rc = model_open(g, out, e);
    if (rc)
        gguf_close(g);
    return rc;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    free(m->layers);
    gguf_close(m->g);
    free(m);
}

const struct gguf *model_gguf(const struct model *m)
{
    return m->g;
}

const struct model_traits *model_traits(const struct model *m)
{
    return &m->t;
}

uint64_t model_weight_bytes(const struct model *m)
{
    return m->weight_bytes;
}

uint64_t model_params(const struct model *m)
{
    return m->params;
}

bool model_is_f32(const struct model *m)
{
    bool f32 = m->output.w.type == KERN_F32 && m->embed.type == KERN_F32;
    for (int i = 0; i < m->t.layers; i++) {
        const struct layer *l = &m->layers[i];
        const struct linear *all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            f32 = f32 && all[j]->w.type == KERN_F32;
    }
    return f32;
}

void model_set_exact(struct model *m, bool exact)
{
    m->exact = exact;
}
