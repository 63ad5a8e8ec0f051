/* forward.c: one forward pass, written to be read in one sitting.
 *
 * All workers run pass() together and meet at barriers. A product's rows are divided by index, so
 * every stage below computes the same bits at any number of workers; a batch's columns never mix
 * except in attention, where a sequence sees its own pages only: so a sequence alone, in a batch or
 * in slices gives the same bits too. Called by engine/ through model_forward. */
#include "model_int.h"

#include <math.h>
#include <string.h>

/* ---- the stages ---- */

/* Cosine and sine of each rotated pair's angle. The angle is a running product in floats, as in
 * ggml's rope, whose models were trained and quantised against it. */
static void fill_angles(const struct model *m, int32_t position, float *cs)
{
    const struct model_traits *t = &m->t;
    float step = powf(t->rope_base, -2.0f / (float)t->rope_dims);
    float angle = (float)position;
    for (int32_t i = 0; i < t->rope_dims / 2; i++) {
        float a = m->rope_scale * (m->rope_freqs ? angle / m->rope_freqs[i] : angle);
        cs[2 * i] = cosf(a) * m->rope_magnitude;
        cs[2 * i + 1] = sinf(a) * m->rope_magnitude;
        angle *= step;
    }
}

static void embed(struct model_run *r, int w, int workers)
{
    const struct model *m = r->m;
    size_t from, to;
    pool_share(r->n, 1, w, workers, &from, &to);
    for (size_t i = from; i < to; i++) {
        const char *row = (const char *)m->embed.data + (size_t)r->items[i].token * m->embed.stride;
        m->kern->unpack(m->embed.type, row, m->embed.k, r->x + i * r->x_stride);
        fill_angles(m, r->to[i] - 1, r->cs + i * (size_t)m->t.rope_dims);
    }
}

/* Rotate and store the keys (or store the values) of KV heads [h0, h1). */
static void store_heads(struct model_run *r, int layer, bool value, size_t h0, size_t h1)
{
    const struct model_traits *t = &r->m->t;
    size_t dim = (size_t)t->head_dim, skip = (size_t)t->heads * dim;
    if (value)
        skip += (size_t)t->kv_heads * dim;
    for (size_t s = 0; s < r->nstretches; s++) {
        const struct stretch *st = &r->stretches[s];
        const struct model_kv *kv = st->seq->kv;
        size_t row = kv->head_bytes / KERN_PAGE;
        for (size_t i = st->first; i < st->first + st->count; i++) {
            int32_t page = (r->to[i] - 1) / KERN_PAGE;
            size_t at = (size_t)(r->to[i] - 1) % KERN_PAGE * row + (value ? kv->head_bytes : 0);
            for (size_t h = h0; h < h1; h++) {
                float *x = r->qkv + i * r->qkv_stride + skip + h * dim;
                if (!value)
                    r->m->kern->rope(x, r->cs + i * (size_t)t->rope_dims, (size_t)t->rope_dims,
                                     t->rope_neox);
                r->m->kern->store(kv->type, x, dim,
                                  seq_head(st->seq, layer, (int)h, page) + at);
            }
        }
    }
}

static void rotate_queries(struct model_run *r, size_t h0, size_t h1)
{
    const struct model_traits *t = &r->m->t;
    for (size_t i = 0; i < r->n; i++)
        for (size_t h = h0; h < h1; h++)
            r->m->kern->rope(r->qkv + i * r->qkv_stride + h * (size_t)t->head_dim,
                             r->cs + i * (size_t)t->rope_dims, (size_t)t->rope_dims, t->rope_neox);
}

/* Queries, keys and values. A worker's share is whole heads of the row [q | k | v], so that it
 * rotates and stores what it computed without waiting for others. */
static void project_qkv(struct model_run *r, int w, int workers, int layer)
{
    const struct layer *l = &r->m->layers[layer];
    const struct linear *const lin[] = {&l->q, &l->k, &l->v};
    struct packed p;
    linear_pack(r, w, workers, r->x, r->x_stride, r->n, l->attn_norm, lin, 3, &p);
    size_t dim = (size_t)r->m->t.head_dim;
    size_t unit = dim % KERN_ROW_GRAIN == 0 ? dim : 2 * dim;
    size_t units = 0, skip = 0, from, to;
    for (int i = 0; i < 3; i++)
        units += (lin[i]->w.rows + unit - 1) / unit;
    pool_share(units, 1, w, workers, &from, &to);
    units = 0;
    for (int i = 0; i < 3; i++) {
        size_t rows = lin[i]->w.rows, here = (rows + unit - 1) / unit;
        size_t a = from > units ? from - units : 0, b = to > units ? to - units : 0;
        size_t r0 = a * unit < rows ? a * unit : rows;
        size_t r1 = b * unit < rows ? b * unit : rows;
        if (r0 < r1) {
            linear_rows(r, w, lin[i], &p, r->n, r0, r1, r->qkv + skip, r->qkv_stride);
            if (i == 0)
                rotate_queries(r, r0 / dim, r1 / dim);
            else
                store_heads(r, layer, i == 2, r0 / dim, r1 / dim);
        }
        units += here;
        skip += rows;
    }
}

/* Query heads [h0, h1) of one KV head, for `count` items of a sequence from item `first` on. */
static void attend_group(struct model_run *r, int w, int layer, const struct model_seq *s,
                         size_t first, size_t count, size_t h0, size_t h1)
{
    const struct model_traits *t = &r->m->t;
    const struct model_kv *kv = s->kv;
    struct worker_scratch *ws = &r->workers[w];
    size_t dim = (size_t)t->head_dim, head = h0 / (size_t)(t->heads / t->kv_heads);
    size_t npages = ((size_t)r->to[first + count - 1] + KERN_PAGE - 1) / KERN_PAGE;
    for (size_t i = 0; i < npages; i++) {
        unsigned char *k = seq_head(s, layer, (int)head, (int32_t)i);
        ws->k_pages[i] = k;
        ws->v_pages[i] = k ? k + kv->head_bytes : NULL;
    }
    r->m->kern->attn(&(struct kern_attn){
        .type = kv->type,
        .head_dim = dim,
        .group = h1 - h0,
        .ntok = count,
        .scale = 1.0f / sqrtf((float)dim),
        .k_pages = ws->k_pages,
        .v_pages = ws->v_pages,
        .q = r->qkv + first * r->qkv_stride + h0 * dim,
        .q_stride = r->qkv_stride,
        .from = r->from + first,
        .to = r->to + first,
        .out = r->att + first * r->q_stride + h0 * dim,
        .out_stride = r->q_stride,
        .scratch = ws->attn,
    });
}

/* The positions items [first, first + count) see, together. */
static uint64_t positions_seen(const struct model_run *r, size_t first, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = first; i < first + count; i++)
        sum += (uint64_t)(r->to[i] - r->from[i]);
    return sum;
}

/* Attention is divided by the positions to be read: all (chunk of queries, head) pairs stand in one
 * line in which each is as long as what it reads, and a worker takes those that begin in its equal
 * part of the line. */
static void attend(struct model_run *r, int w, int workers, int layer)
{
    size_t heads = (size_t)r->m->t.heads, group = heads / (size_t)r->m->t.kv_heads;
    uint64_t total = positions_seen(r, 0, r->n) * heads, base = 0;
    for (size_t i = 0; i < r->nstretches; i++) {
        const struct stretch *st = &r->stretches[i];
        for (size_t c = 0; c < st->count; c += MODEL_ATTN_QUERIES) {
            size_t n = st->count - c < MODEL_ATTN_QUERIES ? st->count - c : MODEL_ATTN_QUERIES;
            uint64_t cost = positions_seen(r, st->first + c, n);
            for (size_t h = 0; h < heads;) {
                size_t end = h;
                while (end < heads && end / group == h / group &&
                       (base + end * cost) * (uint64_t)workers / total == (uint64_t)w)
                    end++;
                if (end > h)
                    attend_group(r, w, layer, st->seq, st->first + c, n, h, end);
                h = end > h ? end : h + 1;
            }
            base += cost * heads;
        }
    }
}

/* x += W in, for this worker's rows. */
static void add_branch(struct model_run *r, int w, int workers, const struct linear *l,
                       const float *in, size_t in_stride, size_t n, float *x)
{
    const struct linear *const lin[] = {l};
    struct packed p;
    linear_pack(r, w, workers, in, in_stride, n, NULL, lin, 1, &p);
    size_t r0, r1;
    pool_share(l->w.rows, KERN_ROW_GRAIN, w, workers, &r0, &r1);
    linear_rows(r, w, l, &p, n, r0, r1, r->branch, r->x_stride);
    for (size_t c = 0; c < n; c++) {
        float *to = x + c * r->x_stride + r0;
        r->m->kern->add(to, r->branch + c * r->x_stride + r0, r1 - r0, to);
    }
}

/* silu(gate) * up, each worker for its rows of both. */
static void gate_and_up(struct model_run *r, int w, int workers, const struct layer *l,
                        const float *x, size_t n)
{
    const struct linear *const lin[] = {&l->gate, &l->up};
    struct packed p;
    linear_pack(r, w, workers, x, r->x_stride, n, l->ffn_norm, lin, 2, &p);
    size_t r0, r1;
    pool_share(l->gate.w.rows, KERN_ROW_GRAIN, w, workers, &r0, &r1);
    linear_rows(r, w, &l->gate, &p, n, r0, r1, r->gate, r->ff_stride);
    linear_rows(r, w, &l->up, &p, n, r0, r1, r->up, r->ff_stride);
    for (size_t c = 0; c < n; c++) {
        float *gate = r->gate + c * r->ff_stride + r0;
        r->m->kern->silu_mul(gate, r->up + c * r->ff_stride + r0, r1 - r0, gate);
    }
}

/* After the last attention only the wanted items matter: bring them together. */
static void gather_wanted(struct model_run *r, int w, int workers)
{
    size_t from, to, q = (size_t)r->m->t.heads * (size_t)r->m->t.head_dim;
    pool_share(r->nwant, 1, w, workers, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t item = (size_t)r->want[i];
        memcpy(r->wanted + i * r->x_stride, r->x + item * r->x_stride,
               (size_t)r->m->t.width * sizeof(float));
        memcpy(r->wanted_att + i * r->q_stride, r->att + item * r->q_stride, q * sizeof(float));
    }
}

static void output(struct model_run *r, int w, int workers)
{
    const struct linear *const lin[] = {&r->m->output};
    struct packed p;
    linear_pack(r, w, workers, r->wanted, r->x_stride, r->nwant, r->m->output_norm, lin, 1, &p);
    size_t r0, r1;
    pool_share(lin[0]->w.rows, KERN_ROW_GRAIN, w, workers, &r0, &r1);
    linear_rows(r, w, lin[0], &p, r->nwant, r0, r1, r->logits, (size_t)r->m->t.vocab);
}

/* Worker 0 looks at the caller's flag before a layer's last barrier; all see what it saw after. */
static void look_for_cancel(struct model_run *r, int w)
{
    if (w == 0 && r->cancel && atomic_load_explicit(r->cancel, memory_order_relaxed))
        r->stop = true;
}

static void pass(void *ctx, int w, int workers)
{
    struct model_run *r = ctx;
    float *x = r->x, *att = r->att;
    size_t n = r->n;
    embed(r, w, workers);
    look_for_cancel(r, w);
    pool_barrier(r->pool);
    for (int i = 0; i < r->m->t.layers; i++) {
        const struct layer *l = &r->m->layers[i];
        if (r->stop)
            return;
        project_qkv(r, w, workers, i);
        pool_barrier(r->pool);
        attend(r, w, workers, i);
        pool_barrier(r->pool);
        if (i == r->m->t.layers - 1) {
            if (r->nwant == 0)
                return;
            gather_wanted(r, w, workers);
            pool_barrier(r->pool);
            x = r->wanted;
            att = r->wanted_att;
            n = r->nwant;
        }
        add_branch(r, w, workers, &l->o, att, r->q_stride, n, x);
        pool_barrier(r->pool);
        gate_and_up(r, w, workers, l, x, n);
        pool_barrier(r->pool);
        add_branch(r, w, workers, &l->down, r->gate, r->ff_stride, n, x);
        look_for_cancel(r, w);
        pool_barrier(r->pool);
    }
    output(r, w, workers);
}

/* ---- the call ---- */

static int add_item(struct model_run *r, const struct model_item *item, size_t i, struct err *e)
{
    struct model_seq *s = item->seq;
    struct stretch *st = r->nstretches > 0 ? &r->stretches[r->nstretches - 1] : NULL;
    if (item->token < 0 || item->token >= r->m->t.vocab)
        return err_set(e, ERR_INVAL, "token %d is outside the vocabulary of %d", item->token,
                       r->m->t.vocab);
    if (!st || st->seq != s) {
        if (s->in_batch || s->kv->m != r->m)
            return err_set(e, ERR_INVAL, "items of one sequence must stand together");
        s->in_batch = true;
        st = &r->stretches[r->nstretches++];
        *st = (struct stretch){.seq = s, .first = i};
    }
    st->count++;
    int32_t position = s->len + (int32_t)st->count - 1;
    if (!seq_ready(s, position + 1))
        return err_set(e, ERR_INVAL, "position %d has no page", position);
    r->from[i] = 0;
    r->to[i] = position + 1;
    if (item->want) {
        if (r->nwant == (size_t)r->max_want)
            return err_set(e, ERR_INVAL, "more than %d items are wanted", r->max_want);
        r->want[r->nwant++] = (int32_t)i;
    }
    return 0;
}

static int add_items(struct model_run *r, const struct model_item *items, size_t n, struct err *e)
{
    int rc = 0;
    r->items = items;
    r->n = n;
    r->nwant = r->nstretches = 0;
    for (size_t i = 0; !rc && i < n; i++)
        rc = add_item(r, &items[i], i, e);
    for (size_t i = 0; i < r->nstretches; i++)
        r->stretches[i].seq->in_batch = false;
    return rc;
}

int model_forward(struct model_run *r, const struct model_item *items, size_t n,
                  const atomic_bool *cancel, const float **logits, struct err *e)
{
    if (n < 1 || n > (size_t)r->max_batch)
        return err_set(e, ERR_INVAL, "a batch of %zu items: 1 to %d are possible", n, r->max_batch);
    int rc = add_items(r, items, n, e);
    if (rc)
        return rc;
    r->cancel = cancel;
    r->stop = false;
    pool_run(r->pool, pass, r);
    if (r->stop)
        return err_set(e, ERR_CANCELLED, "cancelled");
    for (size_t i = 0; i < r->nstretches; i++)
        seq_advance(r->stretches[i].seq, (int32_t)r->stretches[i].count);
    *logits = r->logits;
    return 0;
}
