/* linear.c: the one block every family is made of: pack the columns, multiply, scale, add the bias.
 *
 * Columns are packed once for all products that read them. A small batch is packed by every worker
 * into its own memory, which saves the barrier a shared packing needs; the bits are the same. On
 * the exact path a tile of rows is unpacked to floats and multiplied by the float kernel, so that
 * no copy of the weights is ever made. Called by the blocks inside a pool job. */
#include "model_int.h"

/* An encoder may have thousands of columns: a product is cut, so that it can be cancelled. */
#define LONG_COLUMNS 2048
#define LONG_ROWS ((size_t)16 * KERN_ROW_GRAIN)

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static const void *packed_find(const struct packed *p, enum kern_type type)
{
    for (int i = 0; i < p->n; i++)
        if (p->type[i] == type)
            return p->p[i];
    return NULL;
}

static const float *normalise(struct model_run *r, const float *x, size_t stride, size_t c0,
                              size_t c1, const float *weight, float *out)
{
    const struct model_traits *t = &r->m->t;
    for (size_t c = c0; c < c1; c++)
        r->m->kern->rms_norm(x + c * stride, weight, t->norm_eps, (size_t)t->width,
                             out + c * r->x_stride);
    return out;
}

unsigned char *pack_for(struct model_run *r, const float *x, size_t stride, size_t n, size_t c0,
                        size_t c1, const struct linear *const *lin, int nlin, unsigned char *to,
                        struct packed *out)
{
    const struct kern *k = r->m->kern;
    *out = (struct packed){.x = x, .stride = stride};
    for (int i = 0; i < nlin; i++) {
        if (lin[i]->w.rows == 0)
            continue;
        enum kern_type type = k->act_as(run_type(r, lin[i]), n);
        if (packed_find(out, type))
            continue;
        if (c0 < c1)
            k->act_pack(type, x, stride, n, lin[i]->w.k, c0, c1, to);
        out->type[out->n] = type;
        out->p[out->n++] = to;
        to += round_up(k->act_bytes(type, n, lin[i]->w.k), 64);
    }
    return to;
}

void linear_pack(struct model_run *r, int w, int workers, const float *x, size_t stride, size_t n,
                 const float *norm, const struct linear *const *lin, int nlin, struct packed *out)
{
    bool alone = n <= MODEL_PRIVATE_COLUMNS;
    unsigned char *to = alone ? r->workers[w].pack : r->pack;
    size_t c0 = 0, c1 = n;
    if (!alone)
        pool_share(n, MODEL_PRIVATE_COLUMNS, w, workers, &c0, &c1);
    if (norm) {
        x = normalise(r, x, stride, c0, c1, norm, alone ? r->workers[w].norm : r->norm);
        stride = r->x_stride;
    }
    pack_for(r, x, stride, n, c0, c1, lin, nlin, to, out);
    if (!alone)
        pool_barrier(r->pool);
}

/* Rows [r0, r1) by way of floats, a tile of KERN_ROW_GRAIN rows at a time. */
static void exact_rows(struct model_run *r, int w, const struct linear *l, const void *act,
                       size_t n, size_t r0, size_t r1, float *out, size_t out_stride)
{
    const struct kern *k = r->m->kern;
    float *rows = r->workers[w].rows;
    for (size_t t = r0; t < r1; t += KERN_ROW_GRAIN) {
        size_t count = r1 - t < KERN_ROW_GRAIN ? r1 - t : KERN_ROW_GRAIN;
        for (size_t i = 0; i < count; i++)
            k->unpack(l->w.type, (const char *)l->w.data + (t + i) * l->w.stride, l->w.k,
                      rows + i * l->w.k);
        struct kern_mat tile = {.type = KERN_F32,
                                .data = rows,
                                .rows = count,
                                .k = l->w.k,
                                .stride = l->w.k * sizeof(float)};
        k->mul(&(struct kern_mul){.w = &tile,
                                  .r1 = count,
                                  .act = act,
                                  .n = n,
                                  .out = out + t,
                                  .out_stride = out_stride,
                                  .scratch = r->workers[w].mul});
    }
}

static void scale_and_bias(const struct linear *l, size_t n, size_t r0, size_t r1, float *out,
                           size_t out_stride)
{
    for (size_t c = 0; c < n; c++) {
        float *o = out + c * out_stride;
        for (size_t i = r0; i < r1; i++) {
            float b = l->bias ? l->bias[i] : 0.0f;
            o[i] = l->scale_last ? (o[i] + b) * l->scale : o[i] * l->scale + b;
        }
    }
}

void linear_rows(struct model_run *r, int w, const struct linear *l, const struct packed *p,
                 size_t n, size_t r0, size_t r1, float *out, size_t out_stride)
{
    if (r0 >= r1)
        return;
    const void *act = packed_find(p, r->m->kern->act_as(run_type(r, l), n));
    size_t part = n >= LONG_COLUMNS ? LONG_ROWS : r1 - r0;
    if (r->exact && l->w.type != KERN_F32)
        exact_rows(r, w, l, act, n, r0, r1, out, out_stride);
    else
        for (size_t at = r0; at < r1 && (at == r0 || !run_is_cancelled(r)); at += part)
            r->m->kern->mul(&(struct kern_mul){.w = &l->w,
                                               .r0 = at,
                                               .r1 = r1 - at < part ? r1 : at + part,
                                               .act = act,
                                               .n = n,
                                               .out = out,
                                               .out_stride = out_stride,
                                               .scratch = r->workers[w].mul});
    if (l->bias || l->scale != 1.0f)
        scale_and_bias(l, n, r0, r1, out, out_stride);
}

/* A block's output joins the residual stream, rows [r0, r1) of it. */
static void add_rows(struct model_run *r, size_t n, size_t r0, size_t r1, float *x)
{
    float scale = r->m->b.residual_scale;
    for (size_t c = 0; c < n; c++) {
        float *to = x + c * r->x_stride + r0, *branch = r->branch + c * r->x_stride + r0;
        if (scale != 1.0f)
            for (size_t i = 0; i < r1 - r0; i++)
                branch[i] *= scale;
        r->m->kern->add(to, branch, r1 - r0, to);
    }
}

/* A norm on the way needs whole columns, so that the workers meet first. */
void branch_add(struct model_run *r, int w, int workers, const float *post_norm, size_t n,
                size_t r0, size_t r1, float *x)
{
    if (!post_norm) {
        add_rows(r, n, r0, r1, x);
        return;
    }
    size_t width = (size_t)r->m->t.width, c0, c1;
    pool_barrier(r->pool);
    pool_share(n, 1, w, workers, &c0, &c1);
    for (size_t c = c0; c < c1; c++) {
        float *branch = r->branch + c * r->x_stride;
        r->m->kern->rms_norm(branch, post_norm, r->m->t.norm_eps, width, branch);
        r->m->kern->add(x + c * r->x_stride, branch, width, x + c * r->x_stride);
    }
}

void linear_add(struct model_run *r, int w, int workers, const struct linear *l, const float *in,
                size_t in_stride, const float *post_norm, size_t n, float *x)
{
    const struct linear *const lin[] = {l};
    struct packed p;
    linear_pack(r, w, workers, in, in_stride, n, NULL, lin, 1, &p);
    size_t r0, r1;
    pool_share(l->w.rows, KERN_ROW_GRAIN, w, workers, &r0, &r1);
    linear_rows(r, w, l, &p, n, r0, r1, r->branch, r->x_stride);
    branch_add(r, w, workers, post_norm, n, r0, r1, x);
}
