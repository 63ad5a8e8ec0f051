/* attention.c: the attention block: queries, keys and values of a batch, keys and values into the
 * cache, and what each query makes of what it sees.
 *
 * A worker's share of the products is whole heads, so that it normalises, turns and stores what it
 * computed without waiting for others. Attention itself is divided by the positions to be read.
 * Called by forward.c. */
#include "model_int.h"

#include <math.h>
#include <string.h>

/* One head of queries or keys: normalise, turn. */
static void turn(const struct model_run *r, const struct layer *l, const float *norm, size_t item,
                 float *x)
{
    const struct model_traits *t = &r->m->t;
    const struct kern *k = r->m->kern;
    size_t dim = (size_t)t->head_dim, dims = (size_t)t->rope_dims;
    if (norm)
        k->rms_norm(x, norm, t->norm_eps, dim, x);
    if (l->rope >= 0) {
        size_t at = item * (size_t)r->m->b.nropes + (size_t)l->rope;
        k->rope(x, r->cs + at * dims, dims, t->rope_neox);
    }
    if (l->l2_qk)
        k->rms_norm(x, NULL, t->norm_eps, dim, x);
}

static void finish_queries(struct model_run *r, const struct layer *l, size_t h0, size_t h1)
{
    size_t dim = (size_t)r->m->t.head_dim, step = l->gated ? 2 * dim : dim;
    for (size_t i = 0; i < r->n; i++)
        for (size_t h = h0; h < h1; h++) {
            float *x = r->qkv + i * r->qkv_stride + h * step;
            if (l->gated) {
                float *to = r->queries + i * r->q_stride + h * dim;
                memcpy(to, x, dim * sizeof *x);
                x = to;
            }
            turn(r, l, l->q_norm, i, x);
            if (l->temperature)
                for (size_t d = 0; d < dim; d++)
                    x[d] *= r->temp[i];
        }
}

/* Turn and store the keys (or store the values) of KV heads [h0, h1), which begin `skip` floats
 * into the row. */
static void store_heads(struct model_run *r, int layer, bool value, size_t skip, size_t h0,
                        size_t h1)
{
    const struct layer *l = &r->m->layers[layer];
    size_t dim = (size_t)r->m->t.head_dim;
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
                    turn(r, l, l->k_norm, i, x);
                r->m->kern->store(kv->type, x, dim, seq_head(st->seq, layer, (int)h, page) + at);
            }
        }
    }
}

/* A worker's rows begin and end at heads; where a head is no multiple of the grain, at two. */
static size_t head_unit(size_t dim)
{
    return dim % KERN_ROW_GRAIN == 0 ? dim : 2 * dim;
}

static void project(struct model_run *r, int w, int workers, int layer)
{
    const struct layer *l = &r->m->layers[layer];
    const struct linear *const lin[] = {&l->q, &l->k, &l->v};
    struct packed p;
    linear_pack(r, w, workers, r->x, r->x_stride, r->n, l->attn_norm, lin, 3, &p);
    size_t dim = (size_t)r->m->t.head_dim, units = 0, skip = 0, from, to;
    for (int i = 0; i < 3; i++) {
        size_t unit = head_unit(i == 0 && l->gated ? 2 * dim : dim);
        units += (lin[i]->w.rows + unit - 1) / unit;
    }
    pool_share(units, 1, w, workers, &from, &to);
    units = 0;
    for (int i = 0; i < 3; i++) {
        size_t head = i == 0 && l->gated ? 2 * dim : dim, unit = head_unit(head);
        size_t rows = lin[i]->w.rows, here = (rows + unit - 1) / unit;
        size_t a = from > units ? from - units : 0, b = to > units ? to - units : 0;
        size_t r0 = a * unit < rows ? a * unit : rows;
        size_t r1 = b * unit < rows ? b * unit : rows;
        if (r0 < r1) {
            linear_rows(r, w, lin[i], &p, r->n, r0, r1, r->qkv + skip, r->qkv_stride);
            if (i == 0)
                finish_queries(r, l, r0 / head, r1 / head);
            else
                store_heads(r, layer, i == 2, skip, r0 / head, r1 / head);
        }
        units += here;
        skip += rows;
    }
}

/* What attention gave is weighed by the sigmoid of the gates beside the queries. */
static void open_gates(struct model_run *r, size_t first, size_t count, size_t h0, size_t h1)
{
    size_t dim = (size_t)r->m->t.head_dim;
    for (size_t i = first; i < first + count; i++)
        for (size_t h = h0; h < h1; h++) {
            const float *gate = r->qkv + i * r->qkv_stride + (2 * h + 1) * dim;
            float *x = r->att + i * r->q_stride + h * dim;
            for (size_t d = 0; d < dim; d++)
                x[d] *= 1.0f / (1.0f + expf(-gate[d]));
        }
}

/* Query heads [h0, h1) of one KV head, for `count` items of a sequence from item `first` on. */
static void attend_group(struct model_run *r, int w, int layer, const struct model_seq *s,
                         size_t first, size_t count, size_t h0, size_t h1)
{
    const struct model_traits *t = &r->m->t;
    const struct layer *l = &r->m->layers[layer];
    const struct model_kv *kv = s->kv;
    struct worker_scratch *ws = &r->workers[w];
    const int32_t *from = r->from[l->kind != MODEL_LAYER_FULL];
    size_t dim = (size_t)t->head_dim, head = h0 / (size_t)(t->heads / t->kv_heads);
    size_t npages = ((size_t)r->to[first + count - 1] + KERN_PAGE - 1) / KERN_PAGE;
    for (size_t i = (size_t)from[first] / KERN_PAGE; i < npages; i++) {
        unsigned char *k = seq_head(s, layer, (int)head, (int32_t)i);
        ws->k_pages[i] = k;
        ws->v_pages[i] = k ? k + kv->head_bytes : NULL;
    }
    size_t q_stride = l->gated ? r->q_stride : r->qkv_stride;
    r->m->kern->attn(&(struct kern_attn){
        .type = kv->type,
        .head_dim = dim,
        .group = h1 - h0,
        .ntok = count,
        .scale = r->m->b.attn_scale,
        .softcap = r->m->b.attn_softcap,
        .sinks = l->sinks ? l->sinks + h0 : NULL,
        .k_pages = ws->k_pages,
        .v_pages = ws->v_pages,
        .q = (l->gated ? r->queries : r->qkv) + first * q_stride + h0 * dim,
        .q_stride = q_stride,
        .from = from + first,
        .to = r->to + first,
        .out = r->att + first * r->q_stride + h0 * dim,
        .out_stride = r->q_stride,
        .scratch = ws->attn,
    });
    if (l->gated)
        open_gates(r, first, count, h0, h1);
}

/* The positions items [first, first + count) see, together. */
static uint64_t positions_seen(const struct model_run *r, const int32_t *from, size_t first,
                               size_t count)
{
    uint64_t sum = 0;
    for (size_t i = first; i < first + count; i++)
        sum += (uint64_t)(r->to[i] - from[i]);
    return sum;
}

/* All (chunk of queries, head) pairs stand in one line in which each is as long as what it reads,
 * and a worker takes those that begin in its equal part of the line. */
static void attend(struct model_run *r, int w, int workers, int layer)
{
    const int32_t *from = r->from[r->m->layers[layer].kind != MODEL_LAYER_FULL];
    size_t heads = (size_t)r->m->t.heads, group = heads / (size_t)r->m->t.kv_heads;
    uint64_t total = positions_seen(r, from, 0, r->n) * heads, base = 0;
    for (size_t i = 0; i < r->nstretches; i++) {
        const struct stretch *st = &r->stretches[i];
        for (size_t c = 0; c < st->count; c += MODEL_ATTN_QUERIES) {
            size_t n = st->count - c < MODEL_ATTN_QUERIES ? st->count - c : MODEL_ATTN_QUERIES;
            uint64_t cost = positions_seen(r, from, st->first + c, n);
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

void attention(struct model_run *r, int w, int workers, int layer)
{
    project(r, w, workers, layer);
    pool_barrier(r->pool);
    attend(r, w, workers, layer);
    pool_barrier(r->pool);
}
