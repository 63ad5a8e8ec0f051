/* run.c: the scratch of a forward pass: laid out once, so that decoding allocates nothing.
 *
 * The layout is one function that runs twice: first over no memory to learn the size, then over the
 * memory to place the arrays. It is mapped rather than allocated: what a small batch does not touch
 * costs nothing, and every array begins on a cache line. */
#include "model_int.h"

#include <stdlib.h>
#include <sys/mman.h>

struct cursor {
    unsigned char *base;
    size_t at;
};

static void *take(struct cursor *c, size_t count, size_t size)
{
    unsigned char *p = c->base ? c->base + c->at : NULL;
    c->at += (count * size + 63) / 64 * 64;
    return p;
}

/* Columns begin on a cache line and are an odd number of lines apart: the tiles that products write
 * go across columns, and an even distance puts them into few of the caches' sets. */
static size_t stride_of(size_t n)
{
    return ((n + 15) / 16 | 1) * 16;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Types of the weights that read columns of k elements: what packing and products must have room
 * for. */
struct types {
    bool has[KERN_TYPES];
};

static void add_types(struct types *t, const struct model *m, bool exact, size_t k)
{
    const struct linear *all[8];
    for (int i = 0; i <= m->t.layers; i++) {
        int n = 0;
        if (i < m->t.layers) {
            const struct layer *l = &m->layers[i];
            const struct linear *of[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
            for (size_t j = 0; j < sizeof of / sizeof *of; j++)
                all[n++] = of[j];
        } else {
            all[n++] = &m->output;
        }
        for (int j = 0; j < n; j++)
            if (all[j]->w.k == k)
                t->has[exact ? KERN_F32 : all[j]->w.type] = true;
    }
}

/* The largest packing of up to max_n columns, and the largest scratch of a product. The kernels'
 * layouts may change with n, so every n is asked. */
static void measure(const struct model *m, bool exact, size_t max_n, size_t *pack, size_t *mul)
{
    const size_t inputs[] = {(size_t)m->t.width, (size_t)m->t.heads * (size_t)m->t.head_dim,
                             (size_t)m->t.ff};
    for (size_t i = 0; i < 3; i++) {
        struct types t = {{false}};
        add_types(&t, m, exact, inputs[i]);
        for (size_t n = 1; n <= max_n; n++) {
            size_t sum = 0;
            for (int type = 0; type < KERN_TYPES; type++) {
                if (!t.has[type])
                    continue;
                sum += (m->kern->act_bytes((enum kern_type)type, n, inputs[i]) + 63) / 64 * 64;
                *mul = max_size(*mul, m->kern->mul_scratch((enum kern_type)type, n, inputs[i]));
            }
            *pack = max_size(*pack, sum);
        }
    }
}

static size_t attn_bytes(const struct model *m)
{
    size_t most = 0;
    struct kern_attn a = {.head_dim = (size_t)m->t.head_dim, .ntok = MODEL_ATTN_QUERIES};
    for (int c = 0; c < MODEL_CACHES; c++) {
        a.type = model_cache_kern((enum model_cache)c);
        if (model_cache_check(m, (enum model_cache)c, NULL) != 0)
            continue;
        for (a.group = 1; a.group <= (size_t)(m->t.heads / m->t.kv_heads); a.group++)
            most = max_size(most, m->kern->attn_scratch(&a));
    }
    return most;
}

static size_t lay_out_shared(struct model_run *r, unsigned char *base)
{
    struct cursor c = {base, 0};
    size_t batch = (size_t)r->max_batch, want = (size_t)r->max_want, f = sizeof(float);
    r->x = take(&c, batch * r->x_stride, f);
    r->norm = take(&c, batch * r->x_stride, f);
    r->branch = take(&c, batch * r->x_stride, f);
    r->qkv = take(&c, batch * r->qkv_stride, f);
    r->att = take(&c, batch * r->q_stride, f);
    r->gate = take(&c, batch * r->ff_stride, f);
    r->up = take(&c, batch * r->ff_stride, f);
    r->cs = take(&c, batch * (size_t)r->m->t.rope_dims, f);
    r->wanted = take(&c, want * r->x_stride, f);
    r->wanted_att = take(&c, want * r->q_stride, f);
    r->logits = take(&c, want * (size_t)r->m->t.vocab, f);
    r->pack = take(&c, r->pack_bytes, 1);
    r->from = take(&c, batch, sizeof *r->from);
    r->to = take(&c, batch, sizeof *r->to);
    r->want = take(&c, batch, sizeof *r->want);
    r->stretches = take(&c, batch, sizeof *r->stretches);
    return c.at;
}

struct worker_sizes {
    size_t pack, mul, attn, rows;
};

static size_t lay_out_worker(const struct model_run *r, const struct worker_sizes *s,
                             struct worker_scratch *w, unsigned char *base)
{
    struct cursor c = {base, 0};
    w->norm = take(&c, MODEL_PRIVATE_COLUMNS * r->x_stride, sizeof(float));
    w->pack = take(&c, s->pack, 1);
    w->mul = take(&c, s->mul, 1);
    w->attn = take(&c, s->attn, 1);
    w->rows = take(&c, s->rows, 1);
    return c.at;
}

/* Everything but the memory. */
static void plan(struct model_run *r, const struct model *m, int max_batch, int max_want,
                 struct worker_sizes *s)
{
    const struct model_traits *t = &m->t;
    size_t q = (size_t)t->heads * (size_t)t->head_dim;
    size_t kv = (size_t)t->kv_heads * (size_t)t->head_dim;
    r->m = m;
    r->exact = m->exact;
    r->max_batch = max_batch;
    r->max_want = max_want;
    r->x_stride = stride_of((size_t)t->width);
    r->q_stride = stride_of(q);
    r->qkv_stride = stride_of(q + 2 * kv);
    r->ff_stride = stride_of((size_t)t->ff);
    measure(m, m->exact, (size_t)max_batch, &r->pack_bytes, &s->mul);
    measure(m, m->exact, MODEL_PRIVATE_COLUMNS, &s->pack, &s->mul);
    s->attn = attn_bytes(m);
    size_t k = max_size(max_size((size_t)t->width, q), (size_t)t->ff);
    s->rows = m->exact ? KERN_ROW_GRAIN * k * sizeof(float) : 0;
    r->base_bytes = lay_out_shared(r, NULL);
}

static void *map(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* A sequence's page pointers for one attention call: room for the longest sequence there is, of
 * which only what is used becomes memory. */
#define PAGE_POINTERS ((size_t)MODEL_MAX_POSITIONS / KERN_PAGE)

static bool map_worker(struct model_run *r, struct worker_scratch *w, const struct worker_sizes *s)
{
    r->worker_bytes = lay_out_worker(r, s, w, NULL);
    r->pages_bytes = 2 * PAGE_POINTERS * sizeof *w->k_pages;
    unsigned char *base = map(r->worker_bytes + r->pages_bytes);
    if (!base)
        return false;
    w->base = base;
    lay_out_worker(r, s, w, base);
    w->k_pages = (const void **)(void *)(base + r->worker_bytes);
    w->v_pages = w->k_pages + PAGE_POINTERS;
    return true;
}

uint64_t model_run_bytes(const struct model *m, int threads, int max_batch, int max_want)
{
    struct model_run r = {0};
    struct worker_sizes s = {0};
    struct worker_scratch w;
    plan(&r, m, max_batch, max_want, &s);
    return r.base_bytes + (uint64_t)threads * lay_out_worker(&r, &s, &w, NULL);
}

int model_run_new(const struct model *m, struct pool *pool, int max_batch, int max_want,
                  struct model_run **out, struct err *e)
{
    if (max_batch < 1 || max_batch > 4096 || max_want < 1 || max_want > max_batch)
        return err_set(e, ERR_INVAL, "batches of %d items with %d wanted: 1 to 4096 are possible",
                       max_batch, max_want);
    struct worker_sizes s = {0};
    int workers = pool_threads(pool);
    struct model_run *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for a forward pass");
    plan(r, m, max_batch, max_want, &s);
    r->pool = pool;
    r->workers = calloc((size_t)workers, sizeof *r->workers);
    r->base = map(r->base_bytes);
    bool ok = r->workers && r->base;
    for (int i = 0; ok && i < workers; i++)
        ok = map_worker(r, &r->workers[i], &s);
    if (!ok) {
        size_t bytes = r->base_bytes;
        model_run_free(r);
        return err_set(e, ERR_NOMEM, "no memory for batches of %d items (%zu bytes)", max_batch,
                       bytes);
    }
    lay_out_shared(r, r->base);
    *out = r;
    return 0;
}

void model_run_free(struct model_run *r)
{
    if (!r)
        return;
    if (r->workers)
        for (int i = 0; i < pool_threads(r->pool); i++)
            if (r->workers[i].base)
                munmap(r->workers[i].base, r->worker_bytes + r->pages_bytes);
    free(r->workers);
    if (r->base)
        munmap(r->base, r->base_bytes);
    free(r);
}
