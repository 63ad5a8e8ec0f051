/* neon_act.c: quantises activations with NEON, in C's layout, and packs rows of the cache, which
 * are quantised alike. */
#include "neon_int.h"

/* The largest magnitude as bits, which order as the floats do; n is a multiple of 32. */
INLINE uint32_t top_bits(const float *x, size_t n)
{
    const uint32x4_t no_sign = vdupq_n_u32(0x7fffffff);
    uint32x4_t top[2] = {vdupq_n_u32(0), vdupq_n_u32(0)};
    for (size_t i = 0; i < n; i += 8) {
        top[0] = vmaxq_u32(top[0], vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), no_sign));
        top[1] = vmaxq_u32(top[1], vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i + 4)), no_sign));
    }
    return vmaxvq_u32(vmaxq_u32(top[0], top[1]));
}

/* 16 products with `by`, to nearest even, as bytes. */
INLINE int8x16_t round16(const float *x, float by)
{
    int16x4_t h[4];
    for (int i = 0; i < 4; i++)
        h[i] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * i), by)));
    return vcombine_s8(vqmovn_s16(vcombine_s16(h[0], h[1])), vqmovn_s16(vcombine_s16(h[2], h[3])));
}

INLINE float quantise(const float *x, size_t n, int8_t *q)
{
    uint32_t top = top_bits(x, n);
    float amax = bits_float(top);
    bool odd = top >= 0x7f800000, none = odd || amax < ACT_TINY;
    if (none) {
        memset(q, 0, n);
        return odd ? NAN : 0;
    }
    for (size_t i = 0; i < n; i += 16)
        vst1q_s8(q + i, round16(x + i, 127.0f / amax));
    return amax / 127.0f;
}

static void pack_32(const float *x, size_t k, struct c_act_32 *out)
{
    for (size_t i = 0; i < k; i += BLOCK, out++) {
        out->d = quantise(x + i, BLOCK, out->q);
        out->sum = vaddlvq_s8(vld1q_s8(out->q)) + vaddlvq_s8(vld1q_s8(out->q + 16));
    }
}

static void pack_256(const float *x, size_t k, struct c_act_256 *out)
{
    for (size_t i = 0; i < k; i += SUPER, out++) {
        out->d = quantise(x + i, SUPER, out->q);
        for (size_t j = 0; j < 16; j++)
            out->sum[j] = vaddlvq_s8(vld1q_s8(out->q + 16 * j));
    }
}

void neon_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                   size_t c0, size_t c1, void *out)
{
    if (type_act(type) == ACT_FLOAT) {
        c_act_pack(type, x, x_stride, n, k, c0, c1, out);
        return;
    }
    for (size_t c = c0; c < c1; c++) {
        const float *col = x + c * x_stride;
        if (type_act(type) == ACT_32)
            pack_32(col, k, (struct c_act_32 *)out + c * (k / BLOCK));
        else
            pack_256(col, k, (struct c_act_256 *)out + c * (k / SUPER));
    }
}

/* ---- rows for the cache ---- */
INLINE void put_half(uint8_t *out, float f)
{
    uint16_t h = float_f16(f);
    memcpy(out, &h, sizeof h);
}

static void store_q8_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i += BLOCK, out += Q8_0_BYTES)
        put_half(out, quantise(x + i, BLOCK, (int8_t *)out + 2));
}

static float first_largest(const float *x, uint32_t top)
{
    while ((float_bits(*x) & 0x7fffffff) != top)
        x++;
    return *x;
}

static void store_q4_0(const float *x, size_t n, uint8_t *out)
{
    const int8x16_t eight = vdupq_n_s8(8), most = vdupq_n_s8(15);
    for (size_t i = 0; i < n; i += BLOCK, out += Q4_0_BYTES) {
        uint32_t top = top_bits(x + i, BLOCK);
        bool odd = top >= 0x7f800000, none = odd || bits_float(top) < ACT_TINY;
        int8x16_t lo = eight, hi = eight;
        float d = odd ? NAN : 0;
        if (!none) {
            float m = first_largest(x + i, top);
            d = m / -8.0f;
            lo = vminq_s8(vaddq_s8(round16(x + i, -8.0f / m), eight), most);
            hi = vminq_s8(vaddq_s8(round16(x + i + 16, -8.0f / m), eight), most);
        }
        put_half(out, d);
        vst1q_s8((int8_t *)out + 2, vorrq_s8(lo, vshlq_n_s8(hi, 4)));
    }
}

void neon_store(enum kern_type type, const float *x, size_t n, void *out)
{
    switch (type) {
    case KERN_F16: neon_to_f16(x, n, out); break;
    case KERN_Q8_0: store_q8_0(x, n, out); break;
    case KERN_Q4_0: store_q4_0(x, n, out); break;
    default: c_store(type, x, n, out);
    }
}
