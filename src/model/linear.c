/* linear.c: the one block every family is made of: pack the columns, multiply, scale, add the bias.
 *
 * Columns are packed once for all products that read them. A small batch is packed by every worker
 * into its own memory, which saves the barrier a shared packing needs; the bits are the same. On
 * the exact path a tile of rows is unpacked to floats and multiplied by the float kernel, so that
 * no copy of the weights is ever made. Called by forward.c inside a pool job. */
#include "model_int.h"

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

void linear_pack(struct model_run *r, int w, int workers, const float *x, size_t stride, size_t n,
                 const float *norm, const struct linear *const *lin, int nlin, struct packed *out)
{
    const struct kern *k = r->m->kern;
    bool alone = n <= MODEL_PRIVATE_COLUMNS;
    unsigned char *to = alone ? r->workers[w].pack : r->pack;
    size_t c0 = 0, c1 = n;
    if (!alone)
        pool_share(n, MODEL_PRIVATE_COLUMNS, w, workers, &c0, &c1);
    if (norm) {
        x = normalise(r, x, stride, c0, c1, norm, alone ? r->workers[w].norm : r->norm);
        stride = r->x_stride;
    }
    out->n = 0;
    for (int i = 0; i < nlin; i++) {
        enum kern_type type = run_type(r, lin[i]);
        if (packed_find(out, type))
            continue;
        if (c0 < c1)
            k->act_pack(type, x, stride, n, lin[i]->w.k, c0, c1, to);
        out->type[out->n] = type;
        out->p[out->n++] = to;
        to += round_up(k->act_bytes(type, n, lin[i]->w.k), 64);
    }
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
    const void *act = packed_find(p, run_type(r, l));
    if (r->exact && l->w.type != KERN_F32)
        exact_rows(r, w, l, act, n, r0, r1, out, out_stride);
    else
        r->m->kern->mul(&(struct kern_mul){.w = &l->w,
                                           .r0 = r0,
                                           .r1 = r1,
                                           .act = act,
                                           .n = n,
                                           .out = out,
                                           .out_stride = out_stride,
                                           .scratch = r->workers[w].mul});
    if (l->bias || l->scale != 1.0f)
        scale_and_bias(l, n, r0, r1, out, out_stride);
}
