/* encode.c: an encoder's pass: whole texts in, a row for each token out.
 *
 * Every token of a text sees all of it, so a text is never cut into slices and nothing is kept
 * between batches: keys and values live for one layer, in cells laid out like the cache's pages.
 * A text begins with a page of its own, so that what attention adds up, and in which order, does
 * not depend on its neighbours: alone or in a batch it gives the same bits. Norms stand behind the
 * blocks. Called by engine/ through model_encode. */
#include "model_int.h"

#include <string.h>

/* ---- the stages; every worker calls them ---- */

static void add_row(const struct model *m, const struct kern_mat *w, int32_t row, float *scratch,
                    float *x)
{
    if (w->rows == 0)
        return;
    m->kern->unpack(w->type, (const char *)w->data + (size_t)row * w->stride, w->k, scratch);
    m->kern->add(x, scratch, w->k, x);
}

static void center(const struct model *m, const struct center *c, float *x)
{
    m->kern->layer_norm(x, c->w, c->b, m->t.norm_eps, (size_t)m->t.width, x);
}

static void center_all(struct model_run *r, int w, int workers, const struct center *c)
{
    size_t from, to;
    pool_share(r->n, 1, w, workers, &from, &to);
    for (size_t i = from; i < to; i++)
        center(r->m, c, r->x + i * r->x_stride);
}

/* All tokens are of the first type. */
static void embed(struct model_run *r, int w, int workers)
{
    const struct model *m = r->m;
    size_t from, to;
    pool_share(r->n, 1, w, workers, &from, &to);
    for (size_t i = from; i < to; i++) {
        const char *row = (const char *)m->embed.data + (size_t)r->tokens[i] * m->embed.stride;
        float *x = r->x + i * r->x_stride, *scratch = r->workers[w].norm;
        m->kern->unpack(m->embed.type, row, m->embed.k, x);
        add_row(m, &m->encoder.types, 0, scratch, x);
        add_row(m, &m->encoder.positions, r->positions[i], scratch, x);
        center(m, &m->encoder.norm, x);
        if (m->b.nropes > 0)
            rope_fill(m, &m->b.ropes[0], r->positions[i], m->t.ctx_train,
                      r->cs + i * (size_t)m->t.rope_dims);
    }
}

/* Keys of a KV head in a page; its values stand behind them. */
static float *cell(const struct model_run *r, size_t page, size_t head)
{
    const struct model_traits *t = &r->m->t;
    size_t floats = (size_t)KERN_PAGE * (size_t)t->head_dim;
    return r->cells + (page * (size_t)t->kv_heads + head) * 2 * floats;
}

static void turn_heads(const struct model_run *r, size_t item, size_t heads, float *x)
{
    const struct model_traits *t = &r->m->t;
    size_t dims = (size_t)t->rope_dims;
    if (r->m->b.nropes == 0)
        return;
    for (size_t h = 0; h < heads; h++)
        r->m->kern->rope(x + h * (size_t)t->head_dim, r->cs + item * dims, dims, t->rope_neox);
}

/* Turn an item's queries and keys, and put keys and values where attention looks for them. */
static void store_item(struct model_run *r, const struct passage *p, size_t item)
{
    const struct model_traits *t = &r->m->t;
    size_t dim = (size_t)t->head_dim, at = item - p->first;
    float *q = r->qkv + item * r->qkv_stride, *k = q + (size_t)t->heads * dim;
    float *v = k + (size_t)t->kv_heads * dim;
    turn_heads(r, item, (size_t)t->heads, q);
    turn_heads(r, item, (size_t)t->kv_heads, k);
    for (size_t h = 0; h < (size_t)t->kv_heads; h++) {
        float *to = cell(r, p->page + at / KERN_PAGE, h) + at % KERN_PAGE * dim;
        memcpy(to, k + h * dim, dim * sizeof *to);
        memcpy(to + KERN_PAGE * dim, v + h * dim, dim * sizeof *to);
    }
}

static void project(struct model_run *r, int w, int workers, const struct layer *l)
{
    const struct linear *const lin[] = {&l->q, &l->k, &l->v};
    struct packed packed;
    size_t skip = 0, from, to;
    linear_pack(r, w, workers, r->x, r->x_stride, r->n, NULL, lin, 3, &packed);
    for (int i = 0; i < 3; i++) {
        pool_share(lin[i]->w.rows, KERN_ROW_GRAIN, w, workers, &from, &to);
        linear_rows(r, w, lin[i], &packed, r->n, from, to, r->qkv + skip, r->qkv_stride);
        skip += lin[i]->w.rows;
    }
    pool_barrier(r->pool);
    pool_share(r->n, 1, w, workers, &from, &to);
    const struct passage *p = r->passages;
    for (size_t i = from; i < to; i++) {
        while (i >= p->first + p->count)
            p++;
        store_item(r, p, i);
    }
    pool_barrier(r->pool);
}

/* The queries of one KV head, `count` of them from the text's item `first` on. */
static void attend_head(struct model_run *r, int w, const struct passage *p, size_t first,
                        size_t count, size_t head)
{
    const struct model_traits *t = &r->m->t;
    struct worker_scratch *ws = &r->workers[w];
    size_t dim = (size_t)t->head_dim, group = (size_t)(t->heads / t->kv_heads);
    for (size_t i = 0; i * KERN_PAGE < p->count; i++) {
        float *k = cell(r, p->page + i, head);
        ws->k_pages[i] = k;
        ws->v_pages[i] = k + KERN_PAGE * dim;
    }
    size_t item = p->first + first, at = head * group * dim;
    r->m->kern->attn(&(struct kern_attn){
        .type = KERN_F32,
        .head_dim = dim,
        .group = group,
        .ntok = count,
        .scale = r->m->b.attn_scale,
        .k_pages = ws->k_pages,
        .v_pages = ws->v_pages,
        .q = r->qkv + item * r->qkv_stride + at,
        .q_stride = r->qkv_stride,
        .from = r->from[0] + item,
        .to = r->to + item,
        .out = r->att + item * r->q_stride + at,
        .out_stride = r->q_stride,
        .scratch = ws->attn,
    });
}

/* All (chunk of queries, head) pairs stand in one line in which each is as long as what it reads,
 * and a worker takes those that begin in its equal part of the line. */
static void attend(struct model_run *r, int w, int workers)
{
    size_t heads = (size_t)r->m->t.kv_heads;
    uint64_t total = 0, base = 0;
    for (size_t i = 0; i < r->npassages; i++)
        total += (uint64_t)r->passages[i].count * r->passages[i].count * heads;
    for (size_t i = 0; i < r->npassages; i++) {
        const struct passage *p = &r->passages[i];
        for (size_t c = 0; c < p->count; c += MODEL_ATTN_QUERIES) {
            size_t n = p->count - c < MODEL_ATTN_QUERIES ? p->count - c : MODEL_ATTN_QUERIES;
            for (size_t h = 0; h < heads; h++, base += (uint64_t)n * p->count)
                if (base * (uint64_t)workers / total == (uint64_t)w && !run_is_cancelled(r))
                    attend_head(r, w, p, c, n, h);
        }
    }
}

static void feed(struct model_run *r, int w, int workers, const struct layer *l)
{
    const struct linear *const lin[] = {&l->up, &l->gate};
    const size_t ff = r->ff_stride;
    bool gated = l->gate.w.rows > 0;
    struct packed packed;
    size_t r0, r1;
    linear_pack(r, w, workers, r->x, r->x_stride, r->n, NULL, lin, 2, &packed);
    pool_share(l->up.w.rows, KERN_ROW_GRAIN, w, workers, &r0, &r1);
    linear_rows(r, w, &l->up, &packed, r->n, r0, r1, r->up, ff);
    if (gated)
        linear_rows(r, w, &l->gate, &packed, r->n, r0, r1, r->gate, ff);
    for (size_t c = 0; c < r->n && r0 < r1; c++) {
        float *gate = r->gate + c * ff + r0, *up = r->up + c * ff + r0;
        activate(r->m, gated ? gate : up, gated ? up : NULL, r1 - r0, gate);
    }
    pool_barrier(r->pool);
    linear_add(r, w, workers, &l->down, r->gate, ff, NULL, r->n, r->x);
}

static void pass(void *ctx, int w, int workers)
{
    struct model_run *r = ctx;
    embed(r, w, workers);
    run_look_for_cancel(r, w);
    pool_barrier(r->pool);
    for (int i = 0; i < r->m->t.layers && !r->stop; i++) {
        const struct layer *l = &r->m->layers[i];
        project(r, w, workers, l);
        attend(r, w, workers);
        pool_barrier(r->pool);
        linear_add(r, w, workers, &l->o, r->att, r->q_stride, NULL, r->n, r->x);
        pool_barrier(r->pool);
        center_all(r, w, workers, &l->attn_out);
        pool_barrier(r->pool);
        if (l->moe)
            moe(r, w, workers, l, r->n, r->x);
        else
            feed(r, w, workers, l);
        pool_barrier(r->pool);
        center_all(r, w, workers, &l->out);
        run_look_for_cancel(r, w);
        pool_barrier(r->pool);
    }
}

/* ---- the call ---- */

static int add_text(struct model_run *r, const struct model_text *text, size_t number, size_t *page,
                    struct err *e)
{
    const struct model_traits *t = &r->m->t;
    if (text->n < 1 || text->n > (size_t)t->ctx_train)
        return err_set_at(e, ERR_CONTEXT, number, "text %zu has %zu tokens: 1 to %d are possible",
                          number, text->n, t->ctx_train);
    if (text->n > (size_t)r->max_batch - r->n)
        return err_set_at(e, ERR_INVAL, number, "the texts have more than %d tokens", r->max_batch);
    struct passage *p = &r->passages[r->npassages++];
    *p = (struct passage){.first = r->n, .count = text->n, .page = *page};
    for (size_t i = 0; i < text->n; i++, r->n++) {
        if (text->tokens[i] < 0 || text->tokens[i] >= t->vocab)
            return err_set_at(e, ERR_INVAL, number, "token %d is outside the vocabulary of %d",
                              text->tokens[i], t->vocab);
        r->tokens[r->n] = text->tokens[i];
        r->positions[r->n] = (int32_t)i;
        r->from[0][r->n] = 0;
        r->to[r->n] = (int32_t)text->n;
    }
    *page += (text->n + KERN_PAGE - 1) / KERN_PAGE;
    return 0;
}

int model_encode(struct model_run *r, const struct model_text *texts, size_t ntexts,
                 const atomic_bool *cancel, const float **rows, size_t *stride, struct err *e)
{
    if (!family_has(r->m, FAM_ENCODER))
        return err_set(e, ERR_UNSUPPORTED, "a model of the family %s is no encoder",
                       r->m->t.family);
    if (ntexts < 1 || ntexts > (size_t)r->max_want)
        return err_set(e, ERR_INVAL, "a batch of %zu texts: 1 to %d are possible", ntexts,
                       r->max_want);
    int rc = 0;
    size_t page = 0;
    r->n = r->npassages = 0;
    for (size_t i = 0; !rc && i < ntexts; i++)
        rc = add_text(r, &texts[i], i, &page, e);
    if (rc)
        return rc;
    run_begin(r, cancel);
    pool_run(r->pool, pass, r);
    if (r->stop)
        return run_stopped(r, e);
    *rows = r->x;
    *stride = r->x_stride;
    return 0;
}
