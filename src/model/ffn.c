/* ffn.c: the feed-forward block: x += down(act(gate(x)) * up(x)). Called by forward.c. */
#include "model_int.h"

/* gpt-oss's constants, which its files do not carry. */
#define SWIGLU_ALPHA 1.702f
#define SWIGLU_LIMIT 7.0f

void activate(const struct model *m, const float *gate, const float *up, size_t n, float *out)
{
    switch (m->b.act) {
    case ACT_SILU: m->kern->silu_mul(gate, up, n, out); break;
    case ACT_GELU: m->kern->gelu_mul(gate, up, n, out); break;
    case ACT_SWIGLU_OAI: m->kern->swiglu_oai(gate, up, SWIGLU_ALPHA, SWIGLU_LIMIT, n, out); break;
    }
}

void ffn(struct model_run *r, int w, int workers, const struct layer *l, size_t n, float *x)
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
        activate(r->m, gate, r->up + c * r->ff_stride + r0, r1 - r0, gate);
    }
    pool_barrier(r->pool);
    linear_add(r, w, workers, &l->down, r->gate, r->ff_stride, l->ffn_post_norm, n, x);
}
