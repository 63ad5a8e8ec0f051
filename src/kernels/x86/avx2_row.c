/* avx2_row.c: AVX2 versions of what works on one row of floats or halves. Each keeps the order of
 * its C version. */
#include "avx2_int.h"

static void unpack_f16(const uint8_t *x, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + 2 * i))));
    for (; i < n; i++)
        out[i] = f16_float(load_u16(x + 2 * i));
}

void avx2_from_f16(const uint16_t *x, size_t n, float *out)
{
    unpack_f16((const uint8_t *)x, n, out);
}

void avx2_to_f16(const float *x, size_t n, uint16_t *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(out + i), h);
    }
    for (; i < n; i++)
        out[i] = float_f16(x[i]);
}

void avx2_add(const float *a, const float *b, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    for (; i < n; i++)
        out[i] = a[i] + b[i];
}

/* Sum of x^2 in 16 lanes; the tail is loaded as zeros and takes part like the rest. */
static float square_sum(const float *x, size_t n)
{
    __m256 lo = _mm256_setzero_ps(), hi = lo;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        lo = _mm256_fmadd_ps(a, a, lo);
        hi = _mm256_fmadd_ps(b, b, hi);
    }
    if (i < n) {
        size_t left = n - i;
        __m256 a = _mm256_maskload_ps(x + i, mask8(left));
        __m256 b = left > 8 ? _mm256_maskload_ps(x + i + 8, mask8(left - 8)) : _mm256_setzero_ps();
        lo = _mm256_fmadd_ps(a, a, lo);
        hi = _mm256_fmadd_ps(b, b, hi);
    }
    return sum16(lo, hi);
}

void avx2_rms_norm(const float *x, const float *w, float eps, size_t n, float *out)
{
    float s = 1.0f / sqrtf(square_sum(x, n) / (float)n + eps);
    __m256 scale = _mm256_set1_ps(s);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 a = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale);
        _mm256_storeu_ps(out + i, w ? _mm256_mul_ps(a, _mm256_loadu_ps(w + i)) : a);
    }
    for (; i < n; i++)
        out[i] = w ? x[i] * s * w[i] : x[i] * s;
}

static __m256 silu8(__m256 g)
{
    __m256 e = exp8(_mm256_xor_ps(g, _mm256_set1_ps(-0.0f)));
    return _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

void avx2_silu_mul(const float *gate, const float *up, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 s = silu8(_mm256_loadu_ps(gate + i));
        _mm256_storeu_ps(out + i, up ? _mm256_mul_ps(s, _mm256_loadu_ps(up + i)) : s);
    }
    if (i < n) {
        __m256i m = mask8(n - i);
        __m256 s = silu8(_mm256_maskload_ps(gate + i, m));
        _mm256_maskstore_ps(out + i, m, up ? _mm256_mul_ps(s, _mm256_maskload_ps(up + i, m)) : s);
    }
}

/* Pairs lie side by side: x = (a, b), cs = (c, s). Even lanes a c - b s, odd lanes a s + b c. */
static size_t rope_pairs(float *x, const float *cs, size_t half)
{
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
        __m256 v = _mm256_loadu_ps(x + 2 * i), f = _mm256_loadu_ps(cs + 2 * i);
        __m256 swapped = _mm256_permute_ps(f, 0xb1);
        __m256 t = _mm256_mul_ps(_mm256_movehdup_ps(v), swapped);
        _mm256_storeu_ps(x + 2 * i, _mm256_fmaddsub_ps(_mm256_moveldup_ps(v), f, t));
    }
    return i;
}

static size_t rope_halves(float *x, const float *cs, size_t half)
{
    const __m256i order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    size_t i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 f0 = _mm256_loadu_ps(cs + 2 * i), f1 = _mm256_loadu_ps(cs + 2 * i + 8);
        __m256 c = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(f0, f1, 0x88), order);
        __m256 s = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(f0, f1, 0xdd), order);
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + half);
        _mm256_storeu_ps(x + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(x + i + half, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
    return i;
}

void avx2_rope(float *x, const float *cs, size_t dims, bool neox)
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
