/* check_rows.c: unpacking, conversions and elementwise operations of a set against C, with any
 * length, in place and not. */
#include "check_int.h"

#include <stdio.h>
#include <string.h>

#define LEN_MAX 700

static float *floats(size_t n)
{
    float *x = guard_new(n * sizeof *x, 64);
    for (size_t i = 0; i < n; i += 32) {
        size_t kind = rnd_below(3) ? FILL_NORMAL : rnd_below(FILL_KINDS);
        fill_floats(x + i, n - i < 32 ? n - i : 32, (enum fill)kind);
    }
    return x;
}

static float *copy(const float *x, size_t n)
{
    float *y = guard_new(n * sizeof *y, 64);
    memcpy(y, x, n * sizeof *y);
    return y;
}

static void check_unpack(const struct kern *c, const struct kern *k)
{
    for (size_t i = 0; i < TYPES; i++) {
        enum kern_type t = all_types[i];
        size_t n = rnd_range(1, LEN_MAX / type_block(t)) * type_block(t);
        void *row = guard_new(type_row_bytes(t, n), type_align(t));
        fill_weights(row, t, 1, n, 0);
        float *want = guard_new(n * sizeof *want, 64), *got = guard_new(n * sizeof *got, 64);
        c->unpack(t, row, n, want);
        k->unpack(t, row, n, got);
        char what[64];
        snprintf(what, sizeof what, "%s unpack %s %zu", k->name, type_name(t), n);
        check_floats(what, want, got, n);
        guard_free_all(what);
    }
}

static void check_halves(const struct kern *c, const struct kern *k)
{
    size_t n = rnd_range(1, LEN_MAX);
    char what[64];
    float *x = guard_new(n * sizeof *x, 64);
    rnd_bytes(x, n * sizeof *x);
    if (rnd_below(2))
        for (size_t i = 0; i < n; i++)
            x[i] = rnd_float() * (rnd_below(2) ? 1.0f : 1e-5f);
    uint16_t *want = guard_new(2 * n, 64), *got = guard_new(2 * n, 64);
    c->to_f16(x, n, want);
    k->to_f16(x, n, got);
    snprintf(what, sizeof what, "%s to_f16 %zu", k->name, n);
    check_bytes(what, want, got, 2 * n);
    rnd_bytes(want, 2 * n);
    float *fwant = guard_new(4 * n, 64), *fgot = guard_new(4 * n, 64);
    c->from_f16(want, n, fwant);
    k->from_f16(want, n, fgot);
    snprintf(what, sizeof what, "%s from_f16 %zu", k->name, n);
    check_bytes(what, fwant, fgot, 4 * n);
    guard_free_all(what);
}

static void check_elementwise(const struct kern *c, const struct kern *k)
{
    size_t n = rnd_range(1, LEN_MAX);
    char what[64];
    float *a = floats(n), *b = floats(n), *want = guard_new(4 * n, 64);
    const float *w = rnd_below(4) ? b : NULL;
    float *in_place = copy(a, n), *got = guard_new(4 * n, 64);

    snprintf(what, sizeof what, "%s add %zu", k->name, n);
    c->add(a, b, n, want);
    k->add(a, b, n, got);
    check_floats(what, want, got, n);
    k->add(in_place, b, n, in_place);
    check_floats(what, want, in_place, n);

    snprintf(what, sizeof what, "%s rms_norm %zu", k->name, n);
    memcpy(in_place, a, 4 * n);
    c->rms_norm(a, w, 1e-5f, n, want);
    k->rms_norm(a, w, 1e-5f, n, got);
    check_floats(what, want, got, n);
    k->rms_norm(in_place, w, 1e-5f, n, in_place);
    check_floats(what, want, in_place, n);

    snprintf(what, sizeof what, "%s silu_mul %zu", k->name, n);
    for (size_t i = 0; i < n; i++)
        a[i] = rnd_below(4) ? a[i] * 4 : a[i] * 100;
    memcpy(in_place, a, 4 * n);
    c->silu_mul(a, b, n, want);
    k->silu_mul(a, b, n, got);
    check_floats(what, want, got, n);
    k->silu_mul(in_place, b, n, in_place);
    check_floats(what, want, in_place, n);
    guard_free_all(what);
}

static void check_rope(const struct kern *c, const struct kern *k)
{
    size_t n = rnd_range(1, 130) * 2, dims = rnd_range(1, n / 2) * 2;
    float *x = floats(n), *cs = floats(dims);
    for (int neox = 0; neox < 2; neox++) {
        char what[64];
        snprintf(what, sizeof what, "%s rope %zu of %zu, neox %d", k->name, dims, n, neox);
        float *want = copy(x, n), *got = copy(x, n);
        c->rope(want, cs, dims, neox);
        k->rope(got, cs, dims, neox);
        check_floats(what, want, got, n);
    }
    guard_free_all("rope");
}

void check_rows(const struct kern *c, const struct kern *k)
{
    check_unpack(c, k);
    check_halves(c, k);
    check_elementwise(c, k);
    check_rope(c, k);
}
