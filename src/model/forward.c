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

/* Every rope's cosines and sines for an item, and the factor on its queries. */
static void place(struct model_run *r, size_t i)
{
    const struct recipe *b = &r->m->b;
    size_t dims = (size_t)r->m->t.rope_dims;
    int32_t position = r->to[i] - 1;
    for (int k = 0; k < b->nropes; k++)
        rope_fill(r->m, &b->ropes[k], position, r->items[i].seq->cap,
                  r->cs + (i * (size_t)b->nropes + (size_t)k) * dims);
    if (b->temp_scale != 0) {
        float step = floorf(((float)position + b->temp_offset) / b->temp_floor);
        r->temp[i] = (float)(log((double)step + 1.0) * (double)b->temp_scale + 1.0);
    }
}

static void embed(struct model_run *r, int w, int workers)
{
    const struct model *m = r->m;
    size_t from, to;
    pool_share(r->n, 1, w, workers, &from, &to);
    for (size_t i = from; i < to; i++) {
        const char *row = (const char *)m->embed.data + (size_t)r->items[i].token * m->embed.stride;
        float *x = r->x + i * r->x_stride;
        m->kern->unpack(m->embed.type, row, m->embed.k, x);
        if (m->b.embed_scale != 1.0f)
            for (size_t d = 0; d < m->embed.k; d++)
                x[d] *= m->b.embed_scale;
        place(r, i);
    }
}

/* After the last attention only the wanted items matter: bring them together. */
static void gather_wanted(struct model_run *r, int w, int workers)
{
    size_t from, to, q = r->m->layers[r->m->t.layers - 1].o.w.k;
    pool_share(r->nwant, 1, w, workers, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t item = (size_t)r->want[i];
        memcpy(r->wanted + i * r->x_stride, r->x + item * r->x_stride,
               (size_t)r->m->t.width * sizeof(float));
        memcpy(r->wanted_att + i * r->q_stride, r->att + item * r->q_stride, q * sizeof(float));
    }
}

static void scale_logits(struct model_run *r, size_t r0, size_t r1)
{
    float scale = r->m->b.logit_scale, cap = r->m->b.logit_softcap;
    if (scale == 1.0f && cap == 0)
        return;
    for (size_t c = 0; c < r->nwant; c++) {
        float *l = r->logits + c * (size_t)r->m->t.vocab;
        for (size_t i = r0; i < r1; i++)
            l[i] = cap == 0 ? l[i] * scale : tanhf(l[i] * scale / cap) * cap;
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
    scale_logits(r, r0, r1);
}

/* The output norm of every item, in place. */
static void hidden_output(struct model_run *r, int w, int workers)
{
    const struct model_traits *t = &r->m->t;
    size_t from, to;
    pool_share(r->n, 1, w, workers, &from, &to);
    for (size_t i = from; i < to; i++) {
        float *x = r->x + i * r->x_stride;
        r->m->kern->rms_norm(x, r->m->output_norm, t->norm_eps, (size_t)t->width, x);
    }
}

static void pass(void *ctx, int w, int workers)
{
    struct model_run *r = ctx;
    float *x = r->x, *att = r->att;
    size_t n = r->n;
    embed(r, w, workers);
    run_look_for_cancel(r, w);
    pool_barrier(r->pool);
    for (int i = 0; i < r->m->t.layers; i++) {
        const struct layer *l = &r->m->layers[i];
        if (r->stop)
            return;
        if (l->delta)
            delta_net(r, w, workers, i);
        else
            attention(r, w, workers, i);
        if (i == r->m->t.layers - 1 && !r->hidden) {
            if (r->nwant == 0)
                return;
            gather_wanted(r, w, workers);
            pool_barrier(r->pool);
            x = r->wanted;
            att = r->wanted_att;
            n = r->nwant;
        }
        linear_add(r, w, workers, &l->o, att, r->q_stride, l->attn_post_norm, n, x);
        pool_barrier(r->pool);
        if (l->moe)
            moe(r, w, workers, l, n, x);
        else
            ffn(r, w, workers, l, n, x);
        run_look_for_cancel(r, w);
        pool_barrier(r->pool);
    }
    if (r->hidden)
        hidden_output(r, w, workers);
    else
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
    r->from[0][i] = 0;
    r->from[1][i] = state_from(&r->m->t, r->m->b.window_kind, position);
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

static int advance(struct model_run *r, const struct model_item *items, size_t n,
                   const atomic_bool *cancel, struct err *e)
{
    if (family_has(r->m, FAM_ENCODER))
        return err_set(e, ERR_UNSUPPORTED,
                       "a model of the family %s writes no text: it only gives embeddings",
                       r->m->t.family);
    if (n < 1 || n > (size_t)r->max_batch)
        return err_set(e, ERR_INVAL, "a batch of %zu items: 1 to %d are possible", n, r->max_batch);
    int rc = add_items(r, items, n, e);
    if (rc)
        return rc;
    run_begin(r, cancel);
    pool_run(r->pool, pass, r);
    if (r->stop)
        return run_stopped(r, e);
    for (size_t i = 0; i < r->nstretches; i++)
        seq_advance(r->stretches[i].seq, (int32_t)r->stretches[i].count);
    return 0;
}

int model_forward(struct model_run *r, const struct model_item *items, size_t n,
                  const atomic_bool *cancel, const float **logits, struct err *e)
{
    r->hidden = false;
    int rc = advance(r, items, n, cancel, e);
    if (!rc)
        *logits = r->logits;
    return rc;
}

int model_hidden(struct model_run *r, const struct model_item *items, size_t n,
                 const atomic_bool *cancel, const float **rows, size_t *stride, struct err *e)
{
    r->hidden = true;
    int rc = advance(r, items, n, cancel, e);
    if (rc)
        return rc;
    *rows = r->x;
    *stride = r->x_stride;
    return 0;
}
