/* kern_int.h: what the variants of the kernels share: the half-precision conversions, the
 * exponential and the order of float sums, as plain C that every variant must equal bit for bit.
 * Never leaves kernels/. */
#ifndef WEIR_KERN_INT_H
#define WEIR_KERN_INT_H

#include "kern.h"

#include <math.h>
#include <string.h>

#define BLOCK 32 /* elements of a small block; block_int.h has the formats */

/* A block of activations whose largest magnitude is below this counts as zeros: 127 / amax must
 * not overflow. */
#define ACT_TINY 0x1p-100f

/* What a set of instructions overrides: fills its entries of the table, leaves the others. */
void kern_c_fill(struct kern *t);
void kern_avx2_fill(struct kern *t);
void kern_avx512_fill(struct kern *t);
void kern_neon_fill(struct kern *t);

/* `rounds` rounds of a set's own int8 instruction, in registers; returns the multiply-adds done. */
typedef uint64_t kern_int8_loop(uint64_t rounds);
uint64_t kern_c_int8_loop(uint64_t rounds);
uint64_t kern_avx2_int8_loop(uint64_t rounds);
uint64_t kern_avx512_int8_loop(uint64_t rounds);
uint64_t kern_neon_int8_loop(uint64_t rounds);
kern_int8_loop *kern_int8_best(void); /* of the widest set that kern_get may use */

static inline size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static inline uint16_t load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float bits_float(uint32_t b)
{
    float f;
    memcpy(&f, &b, sizeof f);
    return f;
}

static inline uint32_t float_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    return b;
}

/* Exact; a signalling NaN becomes quiet, as the instruction does it. */
static inline float f16_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exp = (h >> 10) & 31;
    uint32_t man = h & 0x3ff;
    if (exp == 31) {
        uint32_t quiet = man ? 0x400000u : 0;
        return bits_float(sign | 0x7f800000u | quiet | man << 13);
    }
    if (exp == 0) {
        float tiny = (float)man * 0x1p-24f;
        return bits_float(sign | float_bits(tiny));
    }
    return bits_float(sign | (exp + 112) << 23 | man << 13);
}

/* Round to nearest even; overflow gives infinity, a NaN keeps the top of its payload. */
static inline uint16_t float_f16(float f)
{
    uint32_t b = float_bits(f);
    uint32_t sign = b >> 16 & 0x8000;
    uint32_t mag = b & 0x7fffffff;
    if (mag > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    if (mag >= 0x47800000) /* 65536 and above */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000) { /* below 2^-14: the sum's own rounding leaves the subnormal's bits */
        float shifted = bits_float(mag) + 0.5f;
        return (uint16_t)(sign | (float_bits(shifted) - 0x3f000000));
    }
    uint32_t odd = mag >> 13 & 1;
    return (uint16_t)(sign | ((mag - 0x38000000 + 0xfff + odd) >> 13));
}

/* ---- exp: n = rint(x log2 e), r = x - n ln 2 in two parts, a polynomial of degree 6 for e^r,
 * scaled by 2^n in two steps. Below EXP_LO the result is 0, above EXP_HI infinity, a NaN stays.
 * The coefficients are the minimax set of Cephes' expf (S. Moshier). Largest error about 1 ulp. */
#define EXP_LO -87.33654f
#define EXP_HI 88.72283f
#define EXP_LOG2E 1.44269504088896341f
#define EXP_LN2_HI 0.693359375f
#define EXP_LN2_LO -2.12194440e-4f
#define EXP_C0 1.9875691500e-4f
#define EXP_C1 1.3981999507e-3f
#define EXP_C2 8.3334519073e-3f
#define EXP_C3 4.1665795894e-2f
#define EXP_C4 1.6666665459e-1f
#define EXP_C5 5.0000001201e-1f

static inline float kern_exp(float x)
{
    if (x < EXP_LO)
        return 0;
    if (x > EXP_HI)
        return INFINITY;
    if (!(x == x))
        return x + x;
    float n = rintf(x * EXP_LOG2E);
    float r = fmaf(n, -EXP_LN2_HI, x);
    r = fmaf(n, -EXP_LN2_LO, r);
    float p = EXP_C0;
    p = fmaf(p, r, EXP_C1);
    p = fmaf(p, r, EXP_C2);
    p = fmaf(p, r, EXP_C3);
    p = fmaf(p, r, EXP_C4);
    p = fmaf(p, r, EXP_C5);
    p = fmaf(p, r * r, r);
    p = p + 1.0f;
    int32_t i = (int32_t)n;
    int32_t half = i >> 1;
    float a = bits_float((uint32_t)(half + 127) << 23);
    float b = bits_float((uint32_t)(i - half + 127) << 23);
    return p * a * b;
}

static inline float kern_silu(float g)
{
    return g / (1.0f + kern_exp(-g));
}

/* (1 - e) / (1 + e) with e = exp(-2 |x|), the sign of x put on; exact zeros and the ends hold. */
static inline float kern_tanh(float x)
{
    float e = kern_exp(-2.0f * fabsf(x));
    return copysignf((1.0f - e) / (1.0f + e), x);
}

static inline float kern_gelu(float g)
{
    float u = g * 0.7978845608f * fmaf(0.044715f * g, g, 1.0f);
    return 0.5f * g * (1.0f + kern_tanh(u));
}

/* ---- the order of float sums ---- */
static inline float lanes_sum(float l[16])
{
    for (int step = 8; step > 0; step /= 2)
        for (int i = 0; i < step; i++)
            l[i] += l[i + step];
    return l[0];
}

#endif
