/* check_mul.c: matrix products of a set against C: random shapes with odd rows, any n, rows split
 * anywhere a thread's share may end, columns packed in shares, each column also alone. */
#include "check_int.h"

#include <stdio.h>
#include <string.h>

#define ROWS_MAX 80
#define N_MAX 512

struct mul_case {
    char name[96];
    struct kern_mat w;
    size_t n;
    float *x; /* n columns, x_stride apart */
    size_t x_stride;
    float *want; /* what C gives; [n][rows] */
};

static size_t pick_n(void)
{
    static const size_t often[] = {1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 31, 33, 48, 64};
    if (rnd_below(24) == 0)
        return rnd_range(65, N_MAX);
    return often[rnd_below(sizeof often / sizeof *often)];
}

static void make_columns(struct mul_case *c)
{
    size_t k = c->w.k;
    c->x_stride = k + rnd_below(3) * 16;
    c->x = guard_new((c->x_stride * (c->n - 1) + k) * sizeof(float), 64);
    for (size_t col = 0; col < c->n; col++) {
        float *x = c->x + col * c->x_stride;
        size_t step = rnd_below(2) ? k : 32;
        for (size_t i = 0; i < k; i += step) {
            size_t kind = rnd_below(4) ? FILL_NORMAL : rnd_below(FILL_KINDS);
            fill_floats(x + i, k - i < step ? k - i : step, (enum fill)kind);
        }
    }
}

static void make_case(struct mul_case *c, enum kern_type t)
{
    size_t block = type_block(t);
    size_t k = rnd_below(8) ? rnd_range(1, 700) : rnd_range(701, 2100);
    k = rnd_below(5) ? (k + block - 1) / block * block : block;
    size_t rows = rnd_range(1, ROWS_MAX);
    size_t bytes = type_row_bytes(t, k);
    size_t stride = bytes + rnd_below(2) * rnd_below(40) * type_align(t);
    c->n = pick_n();
    void *data = guard_new(stride * (rows - 1) + bytes, type_align(t));
    fill_weights(data, t, rows, k, stride);
    c->w = (struct kern_mat){.type = t, .data = data, .rows = rows, .k = k, .stride = stride};
    snprintf(c->name, sizeof c->name, "%s rows %zu k %zu n %zu", type_name(t), rows, k, c->n);
    make_columns(c);
}

/* Another type whose packing serves t, or t. */
static enum kern_type packed_as(const struct kern *kern, enum kern_type t, size_t n)
{
    enum kern_type other = all_types[rnd_below(TYPES)];
    bool fits = type_block(other) <= type_block(t) && kern->act_as(other, n) == kern->act_as(t, n);
    return fits ? other : t;
}

/* Pack columns [c0, c0 + n) in shares that begin at multiples of 16. */
static void *pack(const struct kern *kern, const struct mul_case *c, size_t c0, size_t n)
{
    enum kern_type type = packed_as(kern, c->w.type, n);
    void *act = guard_new(kern->act_bytes(type, n, c->w.k), 64);
    for (size_t a = 0; a < n;) {
        size_t b = a + 16 * rnd_range(1, 4);
        b = b < n ? b : n;
        kern->act_pack(type, c->x + c0 * c->x_stride, c->x_stride, n, c->w.k, a, b, act);
        a = b;
    }
    return act;
}

/* Columns [c0, c0 + n) by `kern` into a new [n][rows] array, the rows in shares. */
static float *run(const struct kern *kern, const struct mul_case *c, size_t c0, size_t n)
{
    size_t rows = c->w.rows;
    float *out = guard_new(n * rows * sizeof(float), 64);
    struct kern_mul m = {.w = &c->w, .n = n, .out = out, .out_stride = rows};
    m.act = pack(kern, c, c0, n);
    m.scratch = guard_new(kern->mul_scratch(c->w.type, n, c->w.k), 64);
    for (size_t r = 0; r < rows;) {
        m.r0 = r;
        m.r1 = r + KERN_ROW_GRAIN * rnd_range(1, 5);
        m.r1 = m.r1 < rows ? m.r1 : rows;
        uint32_t before = 0;
        if (m.r1 < rows)
            memcpy(&before, out + m.r1, 4);
        kern->mul(&m);
        if (m.r1 < rows && memcmp(&before, out + m.r1, 4))
            check_true("mul wrote past its rows", false);
        r = m.r1;
    }
    return out;
}

void check_mul(const struct kern *c, const struct kern *k)
{
    for (int t = 0; t < KERN_TYPES; t++) {
        bool known = false;
        for (size_t i = 0; i < TYPES; i++)
            known = known || (int)all_types[i] == t;
        check_true("has", k->has((enum kern_type)t) == known);
    }
    for (size_t i = 0; i < TYPES; i++) {
        struct mul_case m;
        char what[160];
        make_case(&m, all_types[i]);
        m.want = run(c, &m, 0, m.n);
        snprintf(what, sizeof what, "%s mul %s", k->name, m.name);
        check_floats(what, m.want, run(k, &m, 0, m.n), m.n * m.w.rows);
        size_t c0 = rnd_below(m.n);
        size_t n = rnd_below(2) ? 1 : rnd_range(1, m.n - c0);
        snprintf(what, sizeof what, "%s mul %s, columns %zu to %zu alone", k->name, m.name, c0,
                 c0 + n);
        check_floats(what, m.want + c0 * m.w.rows, run(k, &m, c0, n), n * m.w.rows);
        guard_free_all(what);
    }
}
