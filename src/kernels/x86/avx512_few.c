/* avx512_few.c: products of quantised weights with up to two columns (decoding): weights are read
 * once, as they lie. 16 rows stand in the lanes of the sum; while a block is multiplied, four rows
 * share a register, 16 bytes each. Rows some way ahead are prefetched into the second cache in the
 * order they lie. */
#include "avx512_int.h"

#define AHEAD 64 /* rows */

INLINE __m512i add_pairs(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

/* v[e] holds four partial sums of rows e, e + 4, e + 8, e + 12: the 16 sums in order. */
INLINE __m512i reduce(const __m512i v[4])
{
    __m512i ab = add_pairs(v[0], v[1]), cd = add_pairs(v[2], v[3]);
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

INLINE __m512i dots_q4_1(const uint8_t *const p[ROWS], size_t at, __m512i x0, __m512i x1)
{
    const __m512i low = _mm512_set1_epi8(15);
    __m512i v[4];
    for (int e = 0; e < 4; e++) {
        __m512i w = quarters(p + e, at);
        v[e] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_and_si512(w, low), x0);
        w = _mm512_and_si512(_mm512_srli_epi16(w, 4), low);
        v[e] = _mm512_dpbusd_epi32(v[e], w, x1);
    }
    return reduce(v);
}

/* Of w + 128, which is unsigned. */
INLINE __m512i dots_q8_0(const uint8_t *const p[ROWS], size_t at, __m512i x0, __m512i x1)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    __m512i v[4];
    for (int e = 0; e < 4; e++) {
        __m512i w0 = _mm512_xor_si512(quarters(p + e, at), flip);
        __m512i w1 = _mm512_xor_si512(quarters(p + e, at + 16), flip);
        v[e] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w0, x0);
        v[e] = _mm512_dpbusd_epi32(v[e], w1, x1);
    }
    return reduce(v);
}

INLINE __m512i quarter_copies(const uint8_t *p)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}

/* 16 rows with one column. `next`: where the rows to be prefetched begin. */
INLINE __m512 rows16(enum kern_type type, const uint8_t *const p[ROWS], const uint8_t *next,
                     const uint8_t *x, size_t k)
{
    const size_t bytes = type == KERN_Q4_1 ? Q4_1_BYTES : Q8_0_BYTES;
    const float *d = (const float *)(const void *)(x + k), *s = d + k / BLOCK;
    const int32_t *offset = (const int32_t *)(const void *)s;
    __m512 acc = _mm512_setzero_ps();
    for (size_t b = 0; b < k / BLOCK; b++) {
        size_t at = b * bytes;
        __m512i x0 = quarter_copies(x + b * BLOCK), x1 = quarter_copies(x + b * BLOCK + 16);
        __m512 dx = _mm512_set1_ps(d[b]), dw, mw;
        for (size_t line = 0; line < ROWS * bytes; line += 64)
            _mm_prefetch((const char *)next + ROWS * at + line, _MM_HINT_T1);
        if (type == KERN_Q4_1) {
            half_pairs(p, at, &dw, &mw);
            __m512 dot = _mm512_cvtepi32_ps(dots_q4_1(p, at + 4, x0, x1));
            acc = _mm512_fmadd_ps(_mm512_mul_ps(dw, dx), dot, acc);
            acc = _mm512_fmadd_ps(mw, _mm512_set1_ps(s[b]), acc);
        } else {
            dw = halves16(p, at);
            __m512i dot = dots_q8_0(p, at + 2, x0, x1);
            dot = _mm512_add_epi32(dot, _mm512_set1_epi32(offset[b]));
            acc = _mm512_fmadd_ps(_mm512_mul_ps(dw, dx), _mm512_cvtepi32_ps(dot), acc);
        }
    }
    return acc;
}

INLINE void mul_few(enum kern_type type, const struct kern_mul *m)
{
    for (size_t r = m->r0; r < m->r1; r += ROWS) {
        const uint8_t *p[ROWS];
        size_t left = m->r1 - r < ROWS ? m->r1 - r : ROWS;
        row_pointers(m, r, p);
        for (size_t c = 0; c < m->n; c++) {
            const uint8_t *x = (const uint8_t *)m->act + c * column_bytes(m->w->k);
            __m512 sum = rows16(type, p, p[0] + AHEAD * m->w->stride, x, m->w->k);
            _mm512_mask_storeu_ps(m->out + c * m->out_stride + r, (__mmask16)((1u << left) - 1),
                                  sum);
        }
    }
}

void avx512_mul_few(const struct kern_mul *m)
{
    if (m->w->type == KERN_Q4_1)
        mul_few(KERN_Q4_1, m);
    else
        mul_few(KERN_Q8_0, m);
}
