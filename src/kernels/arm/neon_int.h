/* neon_int.h: what the NEON files share: the exponential and the order of float sums in vectors of
 * four, and the declarations that neon.c puts into the table. This set needs the dot product of
 * ARMv8.2. Activations are packed as C packs them (c_int.h). */
#ifndef WEIR_NEON_INT_H
#define WEIR_NEON_INT_H

#include "kern_int.h"
#include "block_int.h"
#include "c_int.h"

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

void neon_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                   size_t c0, size_t c1, void *out);
size_t neon_mul_scratch(enum kern_type type, size_t n, size_t k);
void neon_mul(const struct kern_mul *m);
void neon_mul_32(const struct kern_mul *m);
void neon_mul_256(const struct kern_mul *m);
void neon_mul_float(const struct kern_mul *m);

void neon_unpack(enum kern_type type, const void *row, size_t k, float *out);
void neon_to_f16(const float *x, size_t n, uint16_t *out);
void neon_from_f16(const uint16_t *x, size_t n, float *out);
void neon_store(enum kern_type type, const float *x, size_t n, void *out);
void neon_add(const float *a, const float *b, size_t n, float *out);
void neon_rms_norm(const float *x, const float *w, float eps, size_t n, float *out);
void neon_layer_norm(const float *x, const float *w, const float *b, float eps, size_t n,
                     float *out);
void neon_silu_mul(const float *gate, const float *up, size_t n, float *out);
void neon_gelu_mul(const float *gate, const float *up, size_t n, float *out);
void neon_swiglu_oai(const float *gate, const float *up, float alpha, float limit, size_t n,
                     float *out);
void neon_rope(float *x, const float *cs, size_t dims, bool neox);
void neon_delta(const struct kern_delta *d);

void neon_attn(const struct kern_attn *a);

/* ---- many rows: an eight-row tile of the weights is made integers, then meets every column ----
 */
#define ROWS 8

/* Pointers to ROWS rows from r; past r1 the last row again, whose results are thrown away. */
INLINE void row_pointers(const struct kern_mul *m, size_t r, const uint8_t *p[ROWS])
{
    for (size_t i = 0; i < ROWS; i++) {
        size_t row = r + i < m->r1 ? r + i : m->r1 - 1;
        p[i] = (const uint8_t *)m->w->data + row * m->w->stride;
    }
}

INLINE void put_rows(const struct kern_mul *m, size_t r, size_t c, const float32x4_t acc[2])
{
    float v[ROWS];
    size_t left = m->r1 - r < ROWS ? m->r1 - r : ROWS;
    vst1q_f32(v, acc[0]);
    vst1q_f32(v + 4, acc[1]);
    memcpy(m->out + c * m->out_stride + r, v, left * sizeof *v);
}

/* The sums of the lanes of four vectors. */
INLINE int32x4_t sums4(const int32x4_t v[4])
{
    return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

/* ---- floats ---- */

/* 16 lanes are four vectors. */
INLINE float sum16(const float32x4_t l[4])
{
    float32x4_t t = vaddq_f32(vaddq_f32(l[0], l[2]), vaddq_f32(l[1], l[3]));
    float32x2_t u = vadd_f32(vget_low_f32(t), vget_high_f32(t));
    return vget_lane_f32(u, 0) + vget_lane_f32(u, 1);
}

INLINE float32x4_t select4(uint32x4_t mask, float32x4_t yes, float32x4_t no)
{
    return vbslq_f32(mask, yes, no);
}

INLINE float32x4_t exp4(float32x4_t x)
{
    uint32x4_t low = vcltq_f32(x, vdupq_n_f32(EXP_LO)), high = vcgtq_f32(x, vdupq_n_f32(EXP_HI));
    float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(EXP_LOG2E)));
    float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-EXP_LN2_HI));
    r = vfmaq_f32(r, n, vdupq_n_f32(-EXP_LN2_LO));
    float32x4_t p = vdupq_n_f32(EXP_C0);
    p = vfmaq_f32(vdupq_n_f32(EXP_C1), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C2), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C3), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C4), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C5), p, r);
    p = vfmaq_f32(r, p, vmulq_f32(r, r));
    p = vaddq_f32(p, vdupq_n_f32(1.0f));
    int32x4_t i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1), bias = vdupq_n_s32(127);
    int32x4_t a = vshlq_n_s32(vaddq_s32(half, bias), 23);
    int32x4_t b = vshlq_n_s32(vaddq_s32(vsubq_s32(i, half), bias), 23);
    p = vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
    p = select4(low, vdupq_n_f32(0), p);
    return select4(high, vdupq_n_f32(INFINITY), p);
}

INLINE float32x4_t tanh4(float32x4_t x)
{
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t e = exp4(vmulq_f32(vdupq_n_f32(-2.0f), vabsq_f32(x)));
    float32x4_t t = vdivq_f32(vsubq_f32(one, e), vaddq_f32(one, e));
    return select4(vdupq_n_u32(0x80000000u), x, t);
}

#endif
