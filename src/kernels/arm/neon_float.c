/* neon_float.c: products with F32, F16 and BF16 weights in the order of 16 lanes, four vectors.
 * Activations are n columns of k floats, as C packs them. */
#include "neon_int.h"

struct lanes {
    float32x4_t v[4];
};

INLINE struct lanes load_floats(const float *x)
{
    return (struct lanes){{vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12)}};
}

/* 16 weights from element i. */
INLINE struct lanes load_weights(enum kern_type type, const uint8_t *row, size_t i)
{
    struct lanes l;
    if (type == KERN_F32)
        return load_floats((const float *)(const void *)row + i);
    for (size_t j = 0; j < 4; j++) {
        uint16x4_t h = vreinterpret_u16_u8(vld1_u8(row + 2 * (i + 4 * j)));
        l.v[j] = type == KERN_F16 ? vcvt_f32_f16(vreinterpret_f16_u16(h))
                                  : vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(h), 16));
    }
    return l;
}

/* The last n < 16 of either; the others are zeros. */
INLINE struct lanes last_floats(const float *x, size_t n)
{
    float pad[16] = {0};
    memcpy(pad, x, n * sizeof *x);
    return load_floats(pad);
}

INLINE struct lanes last_weights(enum kern_type type, const uint8_t *row, size_t i, size_t n)
{
    uint8_t pad[64] = {0};
    size_t bytes = type == KERN_F32 ? 4 : 2;
    memcpy(pad, row + i * bytes, n * bytes);
    return load_weights(type, pad, 0);
}

INLINE void accumulate(struct lanes *acc, struct lanes w, struct lanes x)
{
    for (int j = 0; j < 4; j++)
        acc->v[j] = vfmaq_f32(acc->v[j], w.v[j], x.v[j]);
}

/* NR rows with NC columns; NR * NC is at most 4. */
INLINE void tile(const int NR, const int NC, enum kern_type type, const struct kern_mul *m,
                 size_t r, size_t c)
{
    size_t k = m->w->k, whole = k / 16 * 16;
    const float *x = (const float *)m->act + c * k;
    const uint8_t *row = (const uint8_t *)m->w->data + r * m->w->stride;
    struct lanes acc[4], xs[2];
    for (int i = 0; i < NR * NC; i++)
        for (int j = 0; j < 4; j++)
            acc[i].v[j] = vdupq_n_f32(0);
    for (size_t i = 0; i < whole; i += 16) {
        for (int b = 0; b < NC; b++)
            xs[b] = load_floats(x + (size_t)b * k + i);
        for (int a = 0; a < NR; a++) {
            struct lanes w = load_weights(type, row + (size_t)a * m->w->stride, i);
            for (int b = 0; b < NC; b++)
                accumulate(&acc[a * NC + b], w, xs[b]);
        }
    }
    for (int a = 0; whole < k && a < NR; a++)
        for (int b = 0; b < NC; b++)
            accumulate(&acc[a * NC + b],
                       last_weights(type, row + (size_t)a * m->w->stride, whole, k - whole),
                       last_floats(x + (size_t)b * k + whole, k - whole));
    for (int a = 0; a < NR; a++)
        for (int b = 0; b < NC; b++)
            m->out[(c + (size_t)b) * m->out_stride + r + (size_t)a] = sum16(acc[a * NC + b].v);
}

INLINE void rows_of(const int NR, enum kern_type type, const struct kern_mul *m, size_t r)
{
    size_t c = 0;
    for (; c + 2 <= m->n; c += 2)
        tile(NR, 2, type, m, r, c);
    if (c < m->n)
        tile(NR, 1, type, m, r, c);
}

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    size_t r = m->r0;
    for (; r + 2 <= m->r1; r += 2)
        rows_of(2, type, m, r);
    if (r < m->r1)
        rows_of(1, type, m, r);
}

void neon_mul_float(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_F32: mul_type(KERN_F32, m); break;
    case KERN_F16: mul_type(KERN_F16, m); break;
    default: mul_type(KERN_BF16, m);
    }
}
