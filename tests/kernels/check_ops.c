/* check_ops.c: a set against C in what families other than the first need: rows for the cache, the
 * layer norm, the other activations, the gated delta rule. */
#include "check_int.h"

#include <stdio.h>
#include <string.h>

#define LEN_MAX 700

static float *floats(size_t n, float by)
{
    float *x = guard_new(n * sizeof *x, 64);
    for (size_t i = 0; i < n; i += 32) {
        size_t kind = rnd_below(3) ? FILL_NORMAL : rnd_below(FILL_KINDS);
        fill_floats(x + i, n - i < 32 ? n - i : 32, (enum fill)kind);
    }
    for (size_t i = 0; i < n; i++)
        x[i] *= by;
    return x;
}

static float *copy(const float *x, size_t n)
{
    float *y = guard_new(n * sizeof *y, 64);
    memcpy(y, x, n * sizeof *y);
    return y;
}

static void check_store(const struct kern *c, const struct kern *k)
{
    static const enum kern_type types[] = {KERN_F32, KERN_F16, KERN_Q8_0, KERN_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        enum kern_type t = types[i];
        size_t n = rnd_range(1, LEN_MAX / type_block(t)) * type_block(t);
        size_t bytes = type_row_bytes(t, n);
        const float *x = floats(n, 1);
        void *want = guard_new(bytes, type_align(t)), *got = guard_new(bytes, type_align(t));
        c->store(t, x, n, want);
        k->store(t, x, n, got);
        char what[64];
        snprintf(what, sizeof what, "%s store %s %zu", k->name, type_name(t), n);
        float *fwant = guard_new(n * 4, 64), *fgot = guard_new(n * 4, 64);
        c->unpack(t, want, n, fwant); /* a NaN's payload is free, so floats are compared */
        c->unpack(t, got, n, fgot);
        check_floats(what, fwant, fgot, n);
        guard_free_all(what);
    }
}

static void check_layer_norm(const struct kern *c, const struct kern *k)
{
    size_t n = rnd_range(1, LEN_MAX);
    const float *x = floats(n, 1), *w = floats(n, 1), *b = floats(n, 1);
    float *want = guard_new(4 * n, 64), *got = guard_new(4 * n, 64), *in_place = copy(x, n);
    char what[64];
    bool plain = rnd_below(3) == 0;
    snprintf(what, sizeof what, "%s layer_norm %zu%s", k->name, n, plain ? " alone" : "");
    c->layer_norm(x, plain ? NULL : w, plain ? NULL : b, 1e-5f, n, want);
    k->layer_norm(x, plain ? NULL : w, plain ? NULL : b, 1e-5f, n, got);
    check_floats(what, want, got, n);
    k->layer_norm(in_place, plain ? NULL : w, plain ? NULL : b, 1e-5f, n, in_place);
    check_floats(what, want, in_place, n);
    guard_free_all(what);
}

static void check_activations(const struct kern *c, const struct kern *k)
{
    size_t n = rnd_range(1, LEN_MAX);
    const float *x = floats(n, rnd_below(2) ? 4 : 60), *up = floats(n, rnd_below(2) ? 1 : 10);
    float *want = guard_new(4 * n, 64), *got = guard_new(4 * n, 64), *in_place = copy(x, n);
    const float *by = rnd_below(3) ? up : NULL;
    char what[64];
    snprintf(what, sizeof what, "%s gelu_mul %zu%s", k->name, n, by ? "" : " alone");
    c->gelu_mul(x, by, n, want);
    k->gelu_mul(x, by, n, got);
    check_floats(what, want, got, n);
    k->gelu_mul(in_place, by, n, in_place);
    check_floats(what, want, in_place, n);

    snprintf(what, sizeof what, "%s silu_mul %zu%s", k->name, n, by ? "" : " alone");
    c->silu_mul(x, by, n, want);
    k->silu_mul(x, by, n, got);
    check_floats(what, want, got, n);

    snprintf(what, sizeof what, "%s swiglu_oai %zu", k->name, n);
    c->swiglu_oai(x, up, 1.702f, 7.0f, n, want);
    k->swiglu_oai(x, up, 1.702f, 7.0f, n, got);
    check_floats(what, want, got, n);
    memcpy(in_place, x, 4 * n);
    k->swiglu_oai(in_place, up, 1.702f, 7.0f, n, in_place);
    check_floats(what, want, in_place, n);
    guard_free_all(what);
}

/* floats laid out in rows of n elements, `stride` apart, without what would lie behind the last */
static float *strided(size_t ntok, size_t stride, size_t n, float by)
{
    return floats((ntok - 1) * stride + n, by);
}

static void check_delta(const struct kern *c, const struct kern *k)
{
    static const size_t sizes[] = {8, 16, 24, 64, 64, 128, 128, 136, 256, 512};
    struct kern_delta d = {.ntok = rnd_range(1, 5)};
    d.dk = sizes[rnd_below(sizeof sizes / sizeof *sizes)];
    d.dv = sizes[rnd_below(sizeof sizes / sizeof *sizes)];
    d.qk_stride = d.dk + 8 * rnd_below(3);
    d.v_stride = d.dv + 8 * rnd_below(3);
    d.v_out_stride = d.dv + 8 * rnd_below(3);
    d.gate_stride = rnd_range(1, 3);
    d.q = strided(d.ntok, d.qk_stride, d.dk, 0.2f);
    d.k = strided(d.ntok, d.qk_stride, d.dk, 0.2f);
    d.v = strided(d.ntok, d.v_stride, d.dv, 1);
    d.decay = strided(d.ntok, d.gate_stride, 1, 0.9f);
    d.beta = strided(d.ntok, d.gate_stride, 1, 0.5f);
    size_t floats_out = (d.ntok - 1) * d.v_out_stride + d.dv;
    float *state = floats(d.dk * d.dv, 1), *want_state = copy(state, d.dk * d.dv);
    float *want = guard_new(floats_out * 4, 64), *got = guard_new(floats_out * 4, 64);
    memset(want, 0x5a, floats_out * 4);
    memset(got, 0x5a, floats_out * 4);
    char what[96];
    snprintf(what, sizeof what, "%s delta %zu x %zu, %zu tokens", k->name, d.dk, d.dv, d.ntok);
    d.state = want_state;
    d.out = want;
    c->delta(&d);
    d.state = state;
    d.out = got;
    k->delta(&d);
    check_floats(what, want, got, floats_out);
    check_floats(what, want_state, state, d.dk * d.dv);
    guard_free_all(what);
}

void check_ops(const struct kern *c, const struct kern *k)
{
    check_store(c, k);
    check_layer_norm(c, k);
    check_activations(c, k);
    check_delta(c, k);
}
