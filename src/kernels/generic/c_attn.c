/* c_attn.c: the C version of attention over pages of 64 positions: each query alone, page by page,
 * with a running maximum. It defines the order that the fast versions keep. Called through the
 * table alone. */
#include "c_int.h"
#include "block_int.h"

/* One query's state while it walks its pages; acc stands in the caller's out. */
struct walk {
    const struct kern_attn *a;
    const float *q;
    float *acc;
    float *row; /* a K or V row as floats */
    float max, sum;
};

size_t c_attn_scratch(const struct kern_attn *a)
{
    return a->head_dim * sizeof(float);
}

static const float *page_row(const struct walk *w, const void *page, size_t j)
{
    size_t hd = w->a->head_dim;
    c_unpack(w->a->type, (const uint8_t *)page + j * type_row_bytes(w->a->type, hd), hd, w->row);
    return w->row;
}

static void walk_page(struct walk *w, size_t page, size_t lo, size_t hi)
{
    const struct kern_attn *a = w->a;
    float p[KERN_PAGE];
    float max = w->max;
    for (size_t j = lo; j < hi; j++) {
        p[j] = c_dot(w->q, page_row(w, a->k_pages[page], j), a->head_dim) * a->scale;
        if (a->softcap > 0)
            p[j] = a->softcap * kern_tanh(p[j] / a->softcap);
        max = p[j] > max ? p[j] : max;
    }
    float lanes[16] = {0};
    for (size_t j = lo; j < hi; j++) {
        p[j] = kern_exp(p[j] - max);
        lanes[j % 16] += p[j];
    }
    float rescale = kern_exp(w->max - max);
    w->sum = fmaf(w->sum, rescale, lanes_sum(lanes));
    w->max = max;
    for (size_t d = 0; d < a->head_dim; d++)
        w->acc[d] *= rescale;
    for (size_t j = lo; j < hi; j++) {
        const float *v = page_row(w, a->v_pages[page], j);
        for (size_t d = 0; d < a->head_dim; d++)
            w->acc[d] = fmaf(p[j], v[d], w->acc[d]);
    }
}

static void attend(const struct kern_attn *a, size_t t, size_t h)
{
    struct walk w = {.a = a, .max = -INFINITY, .row = a->scratch};
    if (a->sinks) {
        w.max = a->sinks[h];
        w.sum = 1;
    }
    w.q = a->q + t * a->q_stride + h * a->head_dim;
    w.acc = a->out + t * a->out_stride + h * a->head_dim;
    memset(w.acc, 0, a->head_dim * sizeof(float));
    size_t from = (size_t)a->from[t], to = (size_t)a->to[t];
    for (size_t page = from / KERN_PAGE; page * KERN_PAGE < to; page++) {
        size_t base = page * KERN_PAGE;
        size_t lo = from > base ? from - base : 0;
        size_t hi = to - base < KERN_PAGE ? to - base : KERN_PAGE;
        walk_page(&w, page, lo, hi);
    }
    float inv = 1.0f / w.sum;
    for (size_t d = 0; d < a->head_dim; d++)
        w.acc[d] *= inv;
}

void c_attn(const struct kern_attn *a)
{
    for (size_t t = 0; t < a->ntok; t++)
        for (size_t h = 0; h < a->group; h++)
            attend(a, t, h);
}
