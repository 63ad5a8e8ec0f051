/* avx2_int.h: what the AVX2 files share: the exponential, the order of float sums and tails in
 * vectors of eight, and the declarations that avx2.c puts into the table. */
#ifndef WEIR_AVX2_INT_H
#define WEIR_AVX2_INT_H

#include "kern_int.h"
#include "block_int.h"

#include <immintrin.h>

void avx2_unpack(enum kern_type type, const void *row, size_t k, float *out);
void avx2_to_f16(const float *x, size_t n, uint16_t *out);
void avx2_store(enum kern_type type, const float *x, size_t n, void *out);
void avx2_from_f16(const uint16_t *x, size_t n, float *out);
void avx2_add(const float *a, const float *b, size_t n, float *out);
void avx2_rms_norm(const float *x, const float *w, float eps, size_t n, float *out);
void avx2_silu_mul(const float *gate, const float *up, size_t n, float *out);
void avx2_rope(float *x, const float *cs, size_t dims, bool neox);

void avx2_layer_norm(const float *x, const float *w, const float *b, float eps, size_t n,
                     float *out);
void avx2_gelu_mul(const float *gate, const float *up, size_t n, float *out);
void avx2_swiglu_oai(const float *gate, const float *up, float alpha, float limit, size_t n,
                     float *out);
void avx2_delta(const struct kern_delta *d);

void avx2_attn(const struct kern_attn *a);

enum kern_type avx2_act_as(enum kern_type type, size_t n);
size_t avx2_act_bytes(enum kern_type type, size_t n, size_t k);
void avx2_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                   size_t c0, size_t c1, void *out);
size_t avx2_mul_scratch(enum kern_type type, size_t n, size_t k);
void avx2_mul(const struct kern_mul *m);
void avx2_mul_float(const struct kern_mul *m);

/* Floats from one packed column to the next: padded with zeros to a multiple of 16, and 16 more, so
 * that columns do not fall on one another in the cache when k is a power of two. */
static inline size_t float_column(size_t k)
{
    return round_up(k, 16) + 16;
}

/* All ones in the first n of eight lanes. */
static inline __m256i mask8(size_t n)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), index);
}

static inline float sum16(__m256 lo, __m256 hi)
{
    __m256 a = _mm256_add_ps(lo, hi);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

#define NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

static inline __m256 exp8(__m256 x)
{
    __m256 low = _mm256_cmp_ps(x, _mm256_set1_ps(EXP_LO), _CMP_LT_OQ);
    __m256 high = _mm256_cmp_ps(x, _mm256_set1_ps(EXP_HI), _CMP_GT_OQ);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(EXP_LOG2E)), NEAREST);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_HI), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_LO), r);
    __m256 p = _mm256_set1_ps(EXP_C0);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C5));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    const __m256i bias = _mm256_set1_epi32(127);
    __m256i i = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(i, 1);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23);
    p = _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
    p = _mm256_andnot_ps(low, p);
    return _mm256_blendv_ps(p, _mm256_set1_ps(INFINITY), high);
}

static inline __m256 tanh8(__m256 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    __m256 e = exp8(_mm256_mul_ps(_mm256_set1_ps(-2.0f), _mm256_andnot_ps(sign, x)));
    __m256 t = _mm256_div_ps(_mm256_sub_ps(one, e), _mm256_add_ps(one, e));
    return _mm256_or_ps(_mm256_andnot_ps(sign, t), _mm256_and_ps(sign, x));
}

#endif
