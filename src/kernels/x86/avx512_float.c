/* avx512_float.c: products with F32, F16 and BF16 weights: the 16 lanes of the order are one
 * vector. Activations are n columns of k floats, each padded with zeros to a multiple of 16. */
#include "avx512_int.h"

/* 16 weights from element i, those in `mask`. */
INLINE __m512 weights(enum kern_type type, const uint8_t *row, size_t i, __mmask16 mask)
{
    if (type == KERN_F32)
        return _mm512_maskz_loadu_ps(mask, row + 4 * i);
    __m256i half = _mm256_maskz_loadu_epi16(mask, row + 2 * i);
    if (type == KERN_BF16)
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    return _mm512_cvtph_ps(half);
}

INLINE float sum_lanes(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* NR rows with NC columns. */
INLINE void tile(const int NR, const int NC, enum kern_type type, const struct kern_mul *m,
                 size_t r, size_t c)
{
    const struct kern_mat *w = m->w;
    const size_t bytes = type == KERN_F32 ? 4 : 2;
    size_t padded = round_up(w->k, 16);
    const float *x = (const float *)m->act + c * padded;
    const uint8_t *row = (const uint8_t *)w->data + r * w->stride;
    const uint8_t *ahead = c == 0 && r + 2 * NR <= m->r1 ? row + NR * w->stride : NULL;
    __m512 acc[4][4];
    for (int a = 0; a < NR; a++)
        for (int b = 0; b < NC; b++)
            acc[a][b] = _mm512_setzero_ps();
    for (size_t i = 0; i < padded; i += 16) {
        __mmask16 mask = w->k - i < 16 ? (__mmask16)((1u << (w->k - i)) - 1) : 0xffff;
        __m512 v[4];
        if (ahead) /* strided streams are more than the hardware's prefetcher follows */
            prefetch(ahead + NR * i * bytes, NR * 16 * bytes);
        for (int a = 0; a < NR; a++)
            v[a] = weights(type, row + (size_t)a * w->stride, i, mask);
        for (int b = 0; b < NC; b++) {
            __m512 q = _mm512_loadu_ps(x + (size_t)b * padded + i);
            for (int a = 0; a < NR; a++)
                acc[a][b] = _mm512_fmadd_ps(v[a], q, acc[a][b]);
        }
    }
    for (int a = 0; a < NR; a++)
        for (int b = 0; b < NC; b++)
            m->out[(c + (size_t)b) * m->out_stride + r + (size_t)a] = sum_lanes(acc[a][b]);
}

/* Columns [c, end) of NR rows. */
INLINE void some_rows(const int NR, enum kern_type type, const struct kern_mul *m, size_t r,
                      size_t c, size_t end)
{
    for (; c + 4 <= end; c += 4)
        tile(NR, 4, type, m, r, c);
    for (; c + 2 <= end; c += 2)
        tile(NR, 2, type, m, r, c);
    for (; c < end; c++)
        tile(NR, 1, type, m, r, c);
}

/* As many columns at a time as stay in the second cache. */
#define BESIDE ((size_t)512 << 10)

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    size_t some = BESIDE / (round_up(m->w->k, 16) * sizeof(float)) / 4 * 4;
    some = some < 8 ? 8 : some;
    for (size_t c = 0; c < m->n; c += some) {
        size_t end = c + some < m->n ? c + some : m->n, r = m->r0;
        for (; r + 4 <= m->r1; r += 4)
            some_rows(4, type, m, r, c, end);
        for (; r < m->r1; r++)
            some_rows(1, type, m, r, c, end);
    }
}

void avx512_mul_float(const struct kern_mul *m)
{
    if (m->w->type == KERN_F32)
        mul_type(KERN_F32, m);
    else if (m->w->type == KERN_BF16)
        mul_type(KERN_BF16, m);
    else
        mul_type(KERN_F16, m);
}
