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
    float sinks[8];
    size_t out_floats;
};

/* A page of which only positions [lo, hi) are ever seen. */
static void *make_page(const struct attn_case *c, const struct kern *kern, size_t lo, size_t hi,
                       bool odd)
{
    size_t hd = c->a.head_dim, bytes = type_row_bytes(c->a.type, hd);
    uint8_t *page = guard_new(KERN_PAGE * bytes, type_align(c->a.type));
    size_t odd_row = odd && hi > lo ? rnd_range(lo, hi - 1) : SIZE_MAX;
    for (size_t j = 0; j < KERN_PAGE; j++) {
        float row[512];
        for (size_t d = 0; d < hd; d++)
            row[d] = j >= lo && j < hi ? rnd_float() : NAN;
        if (j == odd_row)
            row[rnd_below(hd)] = rnd_below(2) ? NAN : -INFINITY;
        kern->store(c->a.type, row, hd, page + j * bytes);
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

/* What any query sees of the page that begins at position `base`: [*lo, *hi). */
static bool seen_of(const struct attn_case *c, size_t base, size_t *lo, size_t *hi)
{
    *lo = KERN_PAGE, *hi = 0;
    for (size_t t = 0; t < c->a.ntok; t++) {
        size_t from = (size_t)c->from[t], to = (size_t)c->to[t];
        if (to <= base || from >= base + KERN_PAGE)
            continue;
        size_t first = from > base ? from - base : 0;
        size_t end = to - base < KERN_PAGE ? to - base : KERN_PAGE;
        *lo = first < *lo ? first : *lo;
        *hi = end > *hi ? end : *hi;
    }
    return *lo < *hi;
}

static void make_pages(struct attn_case *c, const struct kern *kern)
{
    bool odd = rnd_below(4) == 0;
    for (size_t p = 0; p < PAGES_MAX; p++) {
        size_t lo, hi;
        c->k_pages[p] = c->v_pages[p] = NULL; /* given back, or not yet there: nobody may look */
        if (!seen_of(c, p * KERN_PAGE, &lo, &hi))
            continue;
        c->k_pages[p] = make_page(c, kern, lo, hi, odd && rnd_below(3) == 0);
        c->v_pages[p] = make_page(c, kern, lo, hi, odd && rnd_below(3) == 0);
    }
}

static void make_extras(struct kern_attn *a, float sinks[8])
{
    if (rnd_below(3) == 0) {
        for (size_t h = 0; h < a->group; h++)
            sinks[h] = rnd_below(8) ? 3 * rnd_float() : rnd_below(2) ? 90.0f : -200.0f;
        a->sinks = sinks;
    }
    if (rnd_below(3) == 0)
        a->softcap = rnd_below(2) ? 50.0f : 0.5f;
}

static void make_case(struct attn_case *c, const struct kern *kern)
{
    static const size_t dims[] = {64, 64, 64, 8, 16, 24, 32, 40, 80, 96, 128, 256, 512};
    static const size_t packed_dims[] = {32, 64, 64, 96, 128, 256, 512};
    static const enum kern_type types[] = {KERN_F16, KERN_F16, KERN_F32, KERN_Q8_0, KERN_Q4_0};
    struct kern_attn *a = &c->a;
    memset(c, 0, sizeof *c);
    a->type = types[rnd_below(sizeof types / sizeof *types)];
    a->head_dim = type_block(a->type) == 1
                      ? dims[rnd_below(sizeof dims / sizeof *dims)]
                      : packed_dims[rnd_below(sizeof packed_dims / sizeof *packed_dims)];
    a->group = rnd_range(1, 8);
    a->ntok = rnd_below(2) ? rnd_range(1, 4) : rnd_range(1, NTOK_MAX);
    a->scale = 1.0f / sqrtf((float)a->head_dim) * (rnd_below(4) ? 1.0f : 20.0f);
    a->q_stride = a->group * a->head_dim + 8 * rnd_below(3);
    a->out_stride = a->group * a->head_dim + 8 * rnd_below(3);
    a->k_pages = c->k_pages;
    a->v_pages = c->v_pages;
    make_extras(a, c->sinks);
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
    snprintf(what, sizeof what, "%s attn %s head %zu group %zu ntok %zu to %d%s%s", k->name,
             type_name(x.a.type), x.a.head_dim, x.a.group, x.a.ntok, (int)x.to[x.a.ntok - 1],
             x.a.sinks ? " sinks" : "", x.a.softcap > 0 ? " softcap" : "");
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
