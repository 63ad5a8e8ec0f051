/* check_attn.c: attention of a set against C: any head size, group and number of queries, windows
 * that begin and end anywhere, pages scattered in memory; what no query may see is poison. */
#include "check_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PAGES_MAX 7
#define NTOK_MAX 90

struct attn_case {
    struct kern_attn a;
    const void *k_pages[PAGES_MAX], *v_pages[PAGES_MAX];
    int32_t from[NTOK_MAX], to[NTOK_MAX];
    size_t pages, out_floats;
};

static void put(void *page, enum kern_type t, size_t i, float f, const struct kern *c)
{
    if (t == KERN_F32) {
        ((float *)page)[i] = f;
        return;
    }
    uint16_t h;
    c->to_f16(&f, 1, &h);
    ((uint16_t *)page)[i] = h;
}

/* A page of which only positions [lo, hi) are ever seen. */
static void *make_page(const struct attn_case *c, const struct kern *kern, size_t lo, size_t hi,
                       bool odd)
{
    size_t hd = c->a.head_dim;
    void *page = guard_new(KERN_PAGE * hd * (c->a.type == KERN_F32 ? 4 : 2), 64);
    for (size_t j = 0; j < KERN_PAGE; j++)
        for (size_t d = 0; d < hd; d++) {
            bool seen = j >= lo && j < hi;
            put(page, c->a.type, j * hd + d, seen ? rnd_float() : NAN, kern);
        }
    if (odd && hi > lo) {
        float f = rnd_below(2) ? NAN : -INFINITY;
        put(page, c->a.type, rnd_range(lo, hi - 1) * hd + rnd_below(hd), f, kern);
    }
    return page;
}

static void make_windows(struct attn_case *c)
{
    size_t end = rnd_range(c->a.ntok, PAGES_MAX * KERN_PAGE);
    size_t window = rnd_below(3) ? end : rnd_range(1, end);
    bool causal = rnd_below(4) != 0;
    for (size_t t = 0; t < c->a.ntok; t++) {
        size_t to = causal ? end - c->a.ntok + t + 1 : rnd_range(1, end);
        c->to[t] = (int32_t)to;
        c->from[t] = (int32_t)(to > window ? to - window : 0);
    }
}

static void make_pages(struct attn_case *c, const struct kern *kern)
{
    size_t from = SIZE_MAX, to = 0;
    for (size_t t = 0; t < c->a.ntok; t++) {
        from = (size_t)c->from[t] < from ? (size_t)c->from[t] : from;
        to = (size_t)c->to[t] > to ? (size_t)c->to[t] : to;
    }
    bool odd = rnd_below(4) == 0;
    c->pages = (to + KERN_PAGE - 1) / KERN_PAGE;
    for (size_t p = 0; p < c->pages; p++) {
        size_t base = p * KERN_PAGE;
        if (base + KERN_PAGE <= from) { /* given back: nobody may look */
            c->k_pages[p] = c->v_pages[p] = NULL;
            continue;
        }
        size_t lo = from > base ? from - base : 0;
        size_t hi = to - base < KERN_PAGE ? to - base : KERN_PAGE;
        c->k_pages[p] = make_page(c, kern, lo, hi, odd && rnd_below(3) == 0);
        c->v_pages[p] = make_page(c, kern, lo, hi, odd && rnd_below(3) == 0);
    }
}

static void make_case(struct attn_case *c, const struct kern *kern)
{
    static const size_t dims[] = {64, 64, 64, 8, 16, 24, 32, 40, 80, 96, 128, 256, 512};
    struct kern_attn *a = &c->a;
    memset(c, 0, sizeof *c);
    a->type = rnd_below(3) ? KERN_F16 : KERN_F32;
    a->head_dim = dims[rnd_below(sizeof dims / sizeof *dims)];
    a->group = rnd_range(1, 8);
    a->ntok = rnd_below(2) ? rnd_range(1, 4) : rnd_range(1, NTOK_MAX);
    a->scale = 1.0f / sqrtf((float)a->head_dim) * (rnd_below(4) ? 1.0f : 20.0f);
    a->q_stride = a->group * a->head_dim + 8 * rnd_below(3);
    a->out_stride = a->group * a->head_dim + 8 * rnd_below(3);
    a->k_pages = c->k_pages;
    a->v_pages = c->v_pages;
    make_windows(c);
    a->from = c->from;
    a->to = c->to;
    make_pages(c, kern);
    size_t q_floats = (a->ntok - 1) * a->q_stride + a->group * a->head_dim;
    float *q = guard_new(q_floats * 4, 64);
    fill_floats(q, q_floats, rnd_below(8) ? FILL_NORMAL : (enum fill)rnd_below(FILL_KINDS));
    a->q = q;
    c->out_floats = (a->ntok - 1) * a->out_stride + a->group * a->head_dim;
}

/* Queries [t0, t0 + ntok) in one call. */
static void run(const struct kern *kern, const struct attn_case *c, size_t t0, size_t ntok,
                float *out)
{
    struct kern_attn a = c->a;
    a.q += t0 * a.q_stride;
    a.from += t0;
    a.to += t0;
    a.ntok = ntok;
    a.out = out + t0 * a.out_stride;
    a.scratch = guard_new(kern->attn_scratch(&a), 64);
    kern->attn(&a);
}

static float *new_out(const struct attn_case *c)
{
    float *out = guard_new(c->out_floats * 4, 64);
    memset(out, 0x5a, c->out_floats * 4); /* also what lies between the rows must stay */
    return out;
}

void check_attn(const struct kern *c, const struct kern *k)
{
    struct attn_case x;
    make_case(&x, c);
    float *want = new_out(&x), *got = new_out(&x), *parts = new_out(&x);
    char what[128];
    snprintf(what, sizeof what, "%s attn %s head %zu group %zu ntok %zu to %d", k->name,
             type_name(x.a.type), x.a.head_dim, x.a.group, x.a.ntok, (int)x.to[x.a.ntok - 1]);
    run(c, &x, 0, x.a.ntok, want);
    run(k, &x, 0, x.a.ntok, got);
    check_floats(what, want, got, x.out_floats);
    for (size_t t = 0; t < x.a.ntok;) {
        size_t left = x.a.ntok - t;
        size_t n = left > 12 ? rnd_range(left / 4, left) : rnd_range(1, left);
        run(k, &x, t, n, parts);
        t += n;
    }
    check_floats(what, want, parts, x.out_floats);
    guard_free_all(what);
}
