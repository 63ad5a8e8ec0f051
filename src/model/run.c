/* run.c: the scratch of a forward pass: laid out once, so that decoding allocates nothing.
 *
 * The layout is one function that runs twice: first over no memory to learn the size, then over the
 * memory to place the arrays. It is mapped rather than allocated, so that every array begins on a
 * cache line, and is memory from the start: what model_run_bytes says is what is resident. */
#include "model_int.h"

#include "clock.h"

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
struct inputs {
    size_t k[8];
    bool has[8][KERN_TYPES];
    int n;
};

static void add_input(struct inputs *in, const struct linear *l, bool exact)
{
    int i = 0;
    while (i < in->n && in->k[i] != l->w.k)
        i++;
    if (i == in->n)
        in->k[in->n++] = l->w.k;
    in->has[i][exact ? KERN_F32 : l->w.type] = true;
}

/* Widths are the model's, a head's worth of attention, and those of three kinds of feed-forward. */
static void find_inputs(const struct model *m, bool exact, bool experts, struct inputs *in)
{
    *in = (struct inputs){.n = 0};
    for (int i = 0; i < m->t.layers; i++) {
        struct linear all[MODEL_LINEARS];
        const struct moe *x = m->layers[i].moe;
        int n = layer_linears(&m->layers[i], all);
        for (int j = 0; j < n; j++) {
            bool expert = x && (all[j].w.data == x->gate.w.data || all[j].w.data == x->up.w.data ||
                                all[j].w.data == x->down.w.data);
            if (expert || !experts)
                add_input(in, &all[j], exact);
        }
    }
    if (!experts && m->output.w.rows > 0)
        add_input(in, &m->output, exact);
}

/* Bytes of n columns packed for all types of the weights that read them, and the largest scratch of
 * a product. */
static size_t input_bytes(const struct model *m, const struct inputs *in, int i, size_t n,
                          size_t *mul)
{
    size_t sum = 0;
    for (int type = 0; type < KERN_TYPES; type++) {
        if (!in->has[i][type])
            continue;
        sum += (m->kern->act_bytes((enum kern_type)type, n, in->k[i]) + 63) / 64 * 64;
        *mul = max_size(*mul, m->kern->mul_scratch((enum kern_type)type, n, in->k[i]));
    }
    return sum;
}

/* The largest packing of up to max_n columns. The kernels' layouts may change with n, so every n is
 * asked. */
static size_t measure(const struct model *m, bool exact, size_t max_n, size_t *mul)
{
    size_t most = 0;
    struct inputs in;
    find_inputs(m, exact, false, &in);
    for (int i = 0; i < in.n; i++)
        for (size_t n = 1; n <= max_n; n++)
            most = max_size(most, input_bytes(m, &in, i, n, mul));
    return most;
}

/* The largest packing of `slots` columns in all, of which one of `experts` has up to max_n: a line
 * above the sizes, as steep as the largest packing and as high as it must be. */
static size_t measure_experts(const struct model *m, bool exact, size_t max_n, size_t slots,
                              size_t *mul)
{
    size_t most = 0, experts = (size_t)m->b.experts;
    struct inputs in;
    find_inputs(m, exact, true, &in);
    for (int i = 0; i < in.n; i++) {
        size_t step = input_bytes(m, &in, i, max_n, mul) / max_n + 1, base = 0;
        for (size_t n = 1; n <= max_n; n++) {
            size_t bytes = input_bytes(m, &in, i, n, mul);
            if (bytes > n * step)
                base = max_size(base, bytes - n * step);
        }
        most = max_size(most, slots * step + (slots < experts ? slots : experts) * base);
    }
    return most;
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

static size_t slots_of(const struct model_run *r, size_t batch)
{
    return batch * (size_t)r->m->b.experts_used;
}

static void lay_out_experts(struct model_run *r, struct cursor *c)
{
    size_t batch = (size_t)r->max_batch, f = sizeof(float), slots = slots_of(r, batch);
    if (r->m->b.experts == 0)
        return;
    r->scores = take(c, batch * r->scores_stride, f);
    r->shared_share = take(c, batch, f);
    r->expert_gate = take(c, (slots + batch) * r->expert_stride, f);
    r->expert_up = take(c, (slots + batch) * r->expert_stride, f);
    r->expert_out = take(c, (slots + batch) * r->x_stride, f);
    r->pack_experts = take(c, r->pack_experts_bytes, 1);
    r->chosen = take(c, slots, sizeof *r->chosen);
    r->share = take(c, slots, f);
}

static void lay_out_encoder(struct model_run *r, struct cursor *c)
{
    size_t batch = (size_t)r->max_batch, i = sizeof(int32_t);
    size_t page = 2 * (size_t)r->m->t.kv_heads * (size_t)r->m->t.head_dim * KERN_PAGE;
    r->tokens = take(c, batch, i);
    r->positions = take(c, batch, i);
    r->passages = take(c, (size_t)r->max_want, sizeof *r->passages);
    r->cells = take(c, run_cell_pages(r) * page, sizeof(float));
}

static size_t lay_out_shared(struct model_run *r, unsigned char *base)
{
    struct cursor c = {base, 0};
    size_t batch = (size_t)r->max_batch, want = (size_t)r->max_want, f = sizeof(float);
    r->x = take(&c, batch * r->x_stride, f);
    r->norm = take(&c, batch * r->x_stride, f);
    r->branch = take(&c, batch * r->x_stride, f);
    r->qkv = take(&c, batch * r->qkv_stride, f);
    if (r->gated)
        r->queries = take(&c, batch * r->q_stride, f);
    r->att = take(&c, batch * r->q_stride, f);
    r->gate = take(&c, batch * r->ff_stride, f);
    r->up = take(&c, batch * r->ff_stride, f);
    if (r->m->t.delta.conv > 0) {
        r->delta_gate = take(&c, batch * r->gate_stride, f);
        r->delta_rates = take(&c, batch * r->rates_stride, f);
    }
    r->cs = take(&c, batch * (size_t)r->m->b.nropes * (size_t)r->m->t.rope_dims, f);
    r->temp = take(&c, batch, f);
    lay_out_experts(r, &c);
    r->wanted = take(&c, want * r->x_stride, f);
    r->wanted_att = take(&c, want * r->q_stride, f);
    if (family_has(r->m, FAM_ENCODER))
        lay_out_encoder(r, &c);
    else
        r->logits = take(&c, want * (size_t)r->m->t.vocab, f);
    r->pack = take(&c, r->pack_bytes, 1);
    r->from[0] = take(&c, batch, sizeof **r->from);
    r->from[1] = take(&c, batch, sizeof **r->from);
    r->to = take(&c, batch, sizeof *r->to);
    r->want = take(&c, batch, sizeof *r->want);
    r->stretches = take(&c, batch, sizeof *r->stretches);
    return c.at;
}

struct worker_sizes {
    size_t pack, pack_expert, mul, attn, rows;
};

static void lay_out_routes(const struct model_run *r, struct routes *t, struct cursor *c)
{
    size_t slots = slots_of(r, (size_t)r->max_batch), i = sizeof(int32_t), f = sizeof(float);
    size_t own = slots_of(r, MODEL_PRIVATE_COLUMNS);
    t->chosen = take(c, own, i);
    t->share = take(c, own, f);
    t->first = take(c, (size_t)r->m->b.experts + 2, i);
    t->column = take(c, slots, i);
    t->slot = take(c, slots, i);
    t->slot_share = take(c, slots, f);
}

static size_t lay_out_worker(const struct model_run *r, const struct worker_sizes *s,
                             struct worker_scratch *w, unsigned char *base)
{
    struct cursor c = {base, 0};
    w->norm = take(&c, MODEL_PRIVATE_COLUMNS * r->x_stride, sizeof(float));
    w->pack = take(&c, s->pack, 1);
    w->mul = take(&c, s->mul, 1);
    w->attn = take(&c, s->attn, 1);
    w->rows = take(&c, s->rows, 1);
    w->delta = take(&c, delta_scratch_floats(r->m), sizeof(float));
    if (r->m->b.experts > 0) {
        w->gather = take(&c, MODEL_PRIVATE_COLUMNS * r->x_stride, sizeof(float));
        w->pack_expert = take(&c, s->pack_expert, 1);
        lay_out_routes(r, &w->routes, &c);
    }
    return c.at;
}

/* Of the layers that are dense: what a file says and no tensor bears out costs nothing. */
static size_t widest_ff(const struct model *m)
{
    size_t most = 0;
    for (int i = 0; i < m->t.layers; i++)
        most = max_size(most, m->layers[i].up.w.rows);
    return most;
}

static void plan_experts(struct model_run *r, struct worker_sizes *s)
{
    const struct recipe *b = &r->m->b;
    size_t batch = (size_t)r->max_batch;
    if (b->experts == 0)
        return;
    r->scores_stride = stride_of((size_t)b->experts);
    r->expert_stride = stride_of(max_size((size_t)b->ff_expert, (size_t)b->ff_shared));
    r->pack_experts_bytes = measure_experts(r->m, r->exact, batch, slots_of(r, batch), &s->mul);
    s->pack_expert = measure(r->m, r->exact, MODEL_PRIVATE_COLUMNS, &s->mul);
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
    size_t values = (size_t)t->delta.heads * (size_t)t->delta.value_dim;
    r->q_stride = stride_of(max_size(q, values));
    r->gated = family_has(m, FAM_GATED);
    r->qkv_stride = stride_of(max_size((r->gated ? 2 * q : q) + 2 * kv, delta_channels(m)));
    r->gate_stride = stride_of(values);
    r->rates_stride = stride_of(2 * (size_t)t->delta.heads);
    r->ff_stride = stride_of(widest_ff(m));
    r->pack_bytes = measure(m, m->exact, (size_t)max_batch, &s->mul);
    s->pack = measure(m, m->exact, MODEL_PRIVATE_COLUMNS, &s->mul);
    plan_experts(r, s);
    s->attn = attn_bytes(m);
    struct inputs in;
    size_t k = 0;
    find_inputs(m, m->exact, false, &in);
    for (int i = 0; i < in.n; i++)
        k = max_size(k, in.k[i]);
    s->rows = m->exact ? KERN_ROW_GRAIN * k * sizeof(float) : 0;
    r->base_bytes = lay_out_shared(r, NULL);
}

static void *map(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* One write a page; a request to the system to do it for all is not portable. Where pages may be
 * large, that is a hundredth of the faults. */
static void touch(unsigned char *p, size_t n)
{
#ifdef MADV_HUGEPAGE
    madvise(p, n / 4096 * 4096, MADV_HUGEPAGE);
#endif
    for (size_t at = 0; at < n; at += 4096)
        ((volatile unsigned char *)p)[at] = 0;
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
    touch(base, r->worker_bytes);
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
    if (max_batch < 1 || max_batch > MODEL_BATCH_MAX || max_want < 1 || max_want > max_batch)
        return err_set(e, ERR_INVAL, "batches of %d items with %d wanted: 1 to %d are possible",
                       max_batch, max_want, MODEL_BATCH_MAX);
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
    if (!family_has(m, FAM_ENCODER)) /* whose batch is for the longest text, and few are long */
        touch(r->base, r->base_bytes);
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

/* ---- a pass that does not come to its end ---- */

void model_run_limit(struct model_run *r, uint64_t ns)
{
    r->limit_ns = ns;
}

double model_run_progress(const struct model_run *r)
{
    return (double)r->looks / (double)(r->m->t.layers + 1);
}

void run_begin(struct model_run *r, const atomic_bool *cancel)
{
    r->cancel = cancel;
    r->stop = r->late = false;
    r->looks = 0;
    r->begun_ns = r->limit_ns ? clock_mono_ns() : 0;
}

/* The first layers foretell the rest. */
void run_look(struct model_run *r)
{
    r->looks++;
    if (run_is_cancelled(r)) {
        r->stop = true;
    } else if (r->limit_ns && r->looks <= r->m->t.layers) {
        double taken = (double)(clock_mono_ns() - r->begun_ns);
        double all = taken * (r->m->t.layers + 1) / r->looks, limit = (double)r->limit_ns;
        r->late = taken > limit || (r->looks > 2 && all > 2 * limit);
        r->stop = r->late;
    }
}

int run_stopped(const struct model_run *r, struct err *e)
{
    return r->late ? err_set(e, ERR_TIMEOUT, "the pass took too long")
                   : err_set(e, ERR_CANCELLED, "cancelled");
}
