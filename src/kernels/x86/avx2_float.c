/* avx2_float.c: products with F32 and F16 weights in the order of 16 lanes, two vectors of eight.
 * Activations are n columns of k floats, each padded with zeros to a multiple of 16. */
#include "avx2_int.h"

#define INLINE static inline __attribute__((always_inline))

/* Eight weights from element i; past the row's end zeros. */
INLINE __m256 weights(enum kern_type type, const uint8_t *row, size_t i, size_t k)
{
    size_t left = i < k ? k - i : 0;
    if (type == KERN_F32) {
        if (left >= 8)
            return _mm256_loadu_ps((const float *)(const void *)row + i);
        return _mm256_maskload_ps((const float *)(const void *)row + i, mask8(left));
    }
    uint16_t h[8] = {0};
    if (left < 8)
        memcpy(h, row + 2 * i, 2 * left);
    __m128i v = _mm_loadu_si128((const __m128i *)(left < 8 ? (const void *)h : row + 2 * i));
    if (type == KERN_F16)
        return _mm256_cvtph_ps(v);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

/* NR rows with NC columns; NR * NC is at most 4, so that all sums stay in registers. */
INLINE void tile(const int NR, const int NC, enum kern_type type, const struct kern_mul *m,
                 size_t r, size_t c)
{
    const struct kern_mat *w = m->w;
    size_t padded = round_up(w->k, 16);
    const float *x = (const float *)m->act + c * padded;
    const uint8_t *row = (const uint8_t *)w->data + r * w->stride;
    __m256 lo[4], hi[4];
    for (int i = 0; i < NR * NC; i++)
        lo[i] = hi[i] = _mm256_setzero_ps();
    for (size_t i = 0; i < padded; i += 16) {
        __m256 wl[4], wh[4];
        for (int a = 0; a < NR; a++) {
            wl[a] = weights(type, row + (size_t)a * w->stride, i, w->k);
            wh[a] = weights(type, row + (size_t)a * w->stride, i + 8, w->k);
        }
        for (int b = 0; b < NC; b++) {
            __m256 xl = _mm256_loadu_ps(x + (size_t)b * padded + i);
            __m256 xh = _mm256_loadu_ps(x + (size_t)b * padded + i + 8);
            for (int a = 0; a < NR; a++) {
                lo[a * NC + b] = _mm256_fmadd_ps(wl[a], xl, lo[a * NC + b]);
                hi[a * NC + b] = _mm256_fmadd_ps(wh[a], xh, hi[a * NC + b]);
            }
        }
    }
    for (int a = 0; a < NR; a++)
        for (int b = 0; b < NC; b++)
            m->out[(c + (size_t)b) * m->out_stride + r + (size_t)a] =
                sum16(lo[a * NC + b], hi[a * NC + b]);
}

INLINE void rows_of(const int NR, enum kern_type type, const struct kern_mul *m, size_t r)
{
    size_t c = 0;
    for (; NR == 2 && c + 2 <= m->n; c += 2)
        tile(NR, 2, type, m, r, c);
    for (; c < m->n; c++)
        tile(NR, 1, type, m, r, c);
}

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    size_t r = m->r0;
    for (; m->n == 1 && r + 4 <= m->r1; r += 4)
        tile(4, 1, type, m, r, 0);
    for (; r + 2 <= m->r1; r += 2)
        rows_of(2, type, m, r);
    for (; r < m->r1; r++)
        rows_of(1, type, m, r);
}

void avx2_mul_float(const struct kern_mul *m)
{
    if (m->w->type == KERN_F32)
        mul_type(KERN_F32, m);
    else if (m->w->type == KERN_F16)
        mul_type(KERN_F16, m);
    else
        mul_type(KERN_BF16, m);
}
