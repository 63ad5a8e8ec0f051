/* neon_row.c: NEON versions of what works on one row: conversions, norms, activations, rotation.
 * Each keeps the order of its C version, and leaves what does not fill a vector to it. */
#include "neon_int.h"

void neon_from_f16(const uint16_t *x, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + i))));
    c_from_f16(x + i, n - i, out + i);
}

void neon_to_f16(const float *x, size_t n, uint16_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    c_to_f16(x + i, n - i, out + i);
}

/* ---- unpacking; the formats that are rare are C's ---- */
INLINE void unpack16(float32x4_t d, int8x16_t q, float *out)
{
    int16x8_t h[2] = {vmovl_s8(vget_low_s8(q)), vmovl_s8(vget_high_s8(q))};
    for (int i = 0; i < 2; i++) {
        float32x4_t a = vcvtq_f32_s32(vmovl_s16(vget_low_s16(h[i])));
        float32x4_t b = vcvtq_f32_s32(vmovl_s16(vget_high_s16(h[i])));
        vst1q_f32(out + 8 * i, vmulq_f32(d, a));
        vst1q_f32(out + 8 * i + 4, vmulq_f32(d, b));
    }
}

static void unpack_q8_0(const uint8_t *p, size_t k, float *out)
{
    for (size_t i = 0; i < k; i += BLOCK, p += Q8_0_BYTES) {
        float32x4_t d = vdupq_n_f32(load_f16(p));
        unpack16(d, vld1q_s8((const int8_t *)p + 2), out + i);
        unpack16(d, vld1q_s8((const int8_t *)p + 18), out + i + 16);
    }
}

static void unpack_q4_0(const uint8_t *p, size_t k, float *out)
{
    const int8x16_t eight = vdupq_n_s8(8);
    for (size_t i = 0; i < k; i += BLOCK, p += Q4_0_BYTES) {
        float32x4_t d = vdupq_n_f32(load_f16(p));
        uint8x16_t v = vld1q_u8(p + 2), lo = vandq_u8(v, vdupq_n_u8(15)), hi = vshrq_n_u8(v, 4);
        unpack16(d, vsubq_s8(vreinterpretq_s8_u8(lo), eight), out + i);
        unpack16(d, vsubq_s8(vreinterpretq_s8_u8(hi), eight), out + i + 16);
    }
}

void neon_unpack(enum kern_type type, const void *row, size_t k, float *out)
{
    switch (type) {
    case KERN_F16: neon_from_f16(row, k, out); break;
    case KERN_Q8_0: unpack_q8_0(row, k, out); break;
    case KERN_Q4_0: unpack_q4_0(row, k, out); break;
    default: c_unpack(type, row, k, out);
    }
}

void neon_add(const float *a, const float *b, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vaddq_f32(vld1q_f32(a + i), vld1q_f32(b + i)));
    c_add(a + i, b + i, n - i, out + i);
}

/* ---- norms ---- */

/* Calls for each 16 elements, the last padded with zeros. */
INLINE float sum_rows(const float *x, size_t n, float mean, bool square)
{
    float32x4_t l[4], m = vdupq_n_f32(mean);
    for (int j = 0; j < 4; j++)
        l[j] = vdupq_n_f32(0);
    for (size_t i = 0; i < n; i += 16) {
        float pad[16];
        const float *p = x + i;
        if (n - i < 16) {
            for (size_t j = 0; j < 16; j++)
                pad[j] = j < n - i ? p[j] : mean; /* less the mean it is zero */
            p = pad;
        }
        for (int j = 0; j < 4; j++) {
            float32x4_t v = vld1q_f32(p + 4 * j);
            if (!square) {
                l[j] = vaddq_f32(l[j], v);
                continue;
            }
            v = vsubq_f32(v, m);
            l[j] = vfmaq_f32(l[j], v, v);
        }
    }
    return sum16(l);
}

void neon_rms_norm(const float *x, const float *w, float eps, size_t n, float *out)
{
    float s = 1.0f / sqrtf(sum_rows(x, n, 0, true) / (float)n + eps);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(x + i), s);
        vst1q_f32(out + i, w ? vmulq_f32(v, vld1q_f32(w + i)) : v);
    }
    for (; i < n; i++)
        out[i] = w ? x[i] * s * w[i] : x[i] * s;
}

void neon_layer_norm(const float *x, const float *w, const float *b, float eps, size_t n,
                     float *out)
{
    float mean = sum_rows(x, n, 0, false) / (float)n;
    float s = 1.0f / sqrtf(sum_rows(x, n, mean, true) / (float)n + eps);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t v = vmulq_n_f32(vsubq_f32(vld1q_f32(x + i), vdupq_n_f32(mean)), s);
        vst1q_f32(out + i, w ? vfmaq_f32(vld1q_f32(b + i), v, vld1q_f32(w + i)) : v);
    }
    for (; i < n; i++)
        out[i] = w ? fmaf((x[i] - mean) * s, w[i], b[i]) : (x[i] - mean) * s;
}

/* ---- activations ---- */
INLINE float32x4_t silu4(float32x4_t g)
{
    return vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(g))));
}

void neon_silu_mul(const float *gate, const float *up, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t v = silu4(vld1q_f32(gate + i));
        vst1q_f32(out + i, up ? vmulq_f32(v, vld1q_f32(up + i)) : v);
    }
    c_silu_mul(gate + i, up ? up + i : NULL, n - i, out + i);
}

INLINE float32x4_t gelu4(float32x4_t g)
{
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t c = vmulq_n_f32(g, 0.044715f);
    float32x4_t u = vmulq_f32(vmulq_n_f32(g, 0.7978845608f), vfmaq_f32(one, c, g));
    return vmulq_f32(vmulq_n_f32(g, 0.5f), vaddq_f32(one, tanh4(u)));
}

void neon_gelu_mul(const float *gate, const float *up, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t v = gelu4(vld1q_f32(gate + i));
        vst1q_f32(out + i, up ? vmulq_f32(v, vld1q_f32(up + i)) : v);
    }
    c_gelu_mul(gate + i, up ? up + i : NULL, n - i, out + i);
}

void neon_swiglu_oai(const float *gate, const float *up, float alpha, float limit, size_t n,
                     float *out)
{
    const float32x4_t most = vdupq_n_f32(limit), least = vdupq_n_f32(-limit);
    const float32x4_t one = vdupq_n_f32(1.0f);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t g = vld1q_f32(gate + i), u = vld1q_f32(up + i);
        g = select4(vcltq_f32(most, g), most, g); /* a NaN stays */
        u = select4(vcltq_f32(most, u), most, u);
        u = select4(vcgtq_f32(least, u), least, u);
        float32x4_t e = exp4(vnegq_f32(vmulq_n_f32(g, alpha)));
        vst1q_f32(out + i, vmulq_f32(vdivq_f32(g, vaddq_f32(one, e)), vaddq_f32(u, one)));
    }
    c_swiglu_oai(gate + i, up + i, alpha, limit, n - i, out + i);
}

/* ---- rotation ---- */
INLINE void rotate4(float32x4_t *a, float32x4_t *b, float32x4x2_t cs)
{
    float32x4_t x = *a, y = *b, c = cs.val[0], s = cs.val[1];
    *a = vfmaq_f32(vnegq_f32(vmulq_f32(y, s)), x, c);
    *b = vfmaq_f32(vmulq_f32(y, c), x, s);
}

static size_t rope_pairs(float *x, const float *cs, size_t half)
{
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
        float32x4x2_t v = vld2q_f32(x + 2 * i);
        rotate4(&v.val[0], &v.val[1], vld2q_f32(cs + 2 * i));
        vst2q_f32(x + 2 * i, v);
    }
    return i;
}

static size_t rope_halves(float *x, const float *cs, size_t half)
{
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
        float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + half);
        rotate4(&a, &b, vld2q_f32(cs + 2 * i));
        vst1q_f32(x + i, a);
        vst1q_f32(x + i + half, b);
    }
    return i;
}

void neon_rope(float *x, const float *cs, size_t dims, bool neox)
{
    size_t half = dims / 2;
    for (size_t i = neox ? rope_halves(x, cs, half) : rope_pairs(x, cs, half); i < half; i++) {
        float *pa = neox ? x + i : x + 2 * i;
        float *pb = neox ? x + i + half : x + 2 * i + 1;
        float c = cs[2 * i], s = cs[2 * i + 1];
        float a = *pa, b = *pb;
        *pa = fmaf(a, c, -(b * s));
        *pb = fmaf(a, s, b * c);
    }
}

/* ---- the delta rule ---- */

/* NV vectors of the state's columns from `col`, for one token. The decayed state is computed twice
 * instead of being stored and read again. */
INLINE void delta_strip(const int NV, const struct kern_delta *d, size_t t, size_t col)
{
    const float *q = d->q + t * d->qk_stride, *k = d->k + t * d->qk_stride;
    const float *v = d->v + t * d->v_stride + col;
    float decay = d->decay[t * d->gate_stride], beta = d->beta[t * d->gate_stride];
    float *state = d->state + col, *out = d->out + t * d->v_out_stride + col;
    float32x4_t u[8], o[8];
    for (int x = 0; x < NV; x++)
        u[x] = o[x] = vdupq_n_f32(0);
    for (size_t i = 0; i < d->dk; i++)
        for (int x = 0; x < NV; x++) {
            float32x4_t s = vmulq_n_f32(vld1q_f32(state + i * d->dv + 4 * x), decay);
            u[x] = vfmaq_n_f32(u[x], s, k[i]);
        }
    for (int x = 0; x < NV; x++)
        u[x] = vmulq_n_f32(vsubq_f32(vld1q_f32(v + 4 * x), u[x]), beta);
    for (size_t i = 0; i < d->dk; i++)
        for (int x = 0; x < NV; x++) {
            float *at = state + i * d->dv + 4 * x;
            float32x4_t s = vfmaq_n_f32(vmulq_n_f32(vld1q_f32(at), decay), u[x], k[i]);
            vst1q_f32(at, s);
            o[x] = vfmaq_n_f32(o[x], s, q[i]);
        }
    for (int x = 0; x < NV; x++)
        vst1q_f32(out + 4 * x, o[x]);
}

void neon_delta(const struct kern_delta *d)
{
    size_t col = 0;
    for (; col + 32 <= d->dv; col += 32)
        for (size_t t = 0; t < d->ntok; t++)
            delta_strip(8, d, t, col);
    for (; col < d->dv; col += 8)
        for (size_t t = 0; t < d->ntok; t++)
            delta_strip(2, d, t, col);
}
