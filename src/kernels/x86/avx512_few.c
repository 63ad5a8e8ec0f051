/* avx512_few.c: products of quantised weights with one or two columns (decoding): weights are read
 * once, as they lie, and 16 rows stand in the lanes of the sum.
 *
 * Q4_1: four blocks of a row at a time, 20 dwords of which 16 are nibbles; one quarter of a
 * register for each block. Sums and scales of 16 rows are then turned so that a register is one
 * block of all rows. Q8_0: one block of 16 rows at a time; four rows share a register, 16 bytes
 * each. */
#include "avx512_int.h"

INLINE __m512i add_pairs(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

/* v[e] holds four partial sums in each quarter: their sums, four in each quarter in order of e. */
INLINE __m512i reduce(const __m512i v[4])
{
    __m512i ab = add_pairs(v[0], v[1]), cd = add_pairs(v[2], v[3]);
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* Quarter b of v[j] becomes quarter j of v[b]. */
INLINE void turn(__m512i v[4])
{
    __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x44), d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

INLINE void store16(const struct kern_mul *m, size_t r, size_t c, __m512 sum)
{
    size_t left = m->r1 - r;
    __mmask16 rows = left < ROWS ? (__mmask16)((1u << left) - 1) : 0xffff;
    _mm512_mask_storeu_ps(m->out + c * m->out_stride + r, rows, sum);
}

INLINE const uint8_t *column(const struct kern_mul *m, size_t c)
{
    return (const uint8_t *)m->act + c * column_bytes(m->w->k);
}

/* ---- Q4_1 ---- */

/* The activations of up to four blocks: their first and their last 16, a quarter for each block. */
INLINE void load_x(const uint8_t *x, size_t blocks, __m512i *first, __m512i *last)
{
    __mmask16 lo = blocks > 1 ? 0xffff : 0x00ff;
    __mmask16 hi = blocks > 3 ? 0xffff : blocks > 2 ? 0x00ff : 0;
    __m512i a = _mm512_maskz_loadu_epi32(lo, x), b = _mm512_maskz_loadu_epi32(hi, x + 64);
    *first = _mm512_shuffle_i32x4(a, b, 0x88);
    *last = _mm512_shuffle_i32x4(a, b, 0xdd);
}

/* Up to four blocks of four rows from p[0]. dots[c]: quarter b has block b's sums of the four rows
 * with column c; scales: likewise their pairs of halves. */
INLINE void four_rows(const int NC, const uint8_t *const *p, size_t at, size_t blocks,
                      const __m512i x0[2], const __m512i x1[2], __m512i dots[2], __m512i *scales)
{
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i nibbles =
        _mm512_setr_epi32(1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 15, 15, 15, 15);
    const __m512i heads = _mm512_setr_epi32(0, 0, 0, 0, 5, 5, 5, 5, 10, 10, 10, 10, 15, 15, 15, 15);
    __mmask16 inside = blocks > 3 ? 0xffff : (__mmask16)((1u << (5 * blocks)) - 1);
    __m512i t[2][4], s = _mm512_setzero_si512();
    for (int i = 0; i < 4; i++) {
        const uint8_t *row = p[i] + at;
        __m512i v = _mm512_maskz_loadu_epi32(inside, row);
        __m512i q = _mm512_permutexvar_epi32(nibbles, v);
        s = _mm512_mask_permutexvar_epi32(s, (__mmask16)(0x1111 << i), heads, v);
        if (blocks > 3)
            q = _mm512_mask_broadcast_i32x4(q, 0xf000,
                                            _mm_loadu_si128((const __m128i *)(row + 64)));
        __m512i q0 = _mm512_and_si512(q, low);
        __m512i q1 = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
        for (int c = 0; c < NC; c++) {
            t[c][i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q0, x0[c]);
            t[c][i] = _mm512_dpbusd_epi32(t[c][i], q1, x1[c]);
        }
    }
    for (int c = 0; c < NC; c++)
        dots[c] = reduce(t[c]);
    *scales = s;
}

/* Blocks [b, b + blocks) of 16 rows are added to the sums. */
INLINE void add_blocks(const int NC, const struct kern_mul *m, const uint8_t *const p[ROWS],
                       size_t b, size_t blocks, __m512 acc[2])
{
    __m512i x0[2], x1[2], dots[2][4], scales[4];
    for (int c = 0; c < NC; c++)
        load_x(column(m, (size_t)c) + b * BLOCK, blocks, &x0[c], &x1[c]);
    for (int j = 0; j < 4; j++) {
        __m512i four[2];
        four_rows(NC, p + 4 * j, b * Q4_1_BYTES, blocks, x0, x1, four, &scales[j]);
        for (int c = 0; c < NC; c++)
            dots[c][j] = four[c];
    }
    turn(scales);
    for (int c = 0; c < NC; c++)
        turn(dots[c]);
    for (size_t i = 0; i < 4 && i < blocks; i++) {
        __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(scales[i]));
        __m512 min = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(scales[i], 16)));
        for (int c = 0; c < NC; c++) {
            const float *dx = (const float *)(const void *)(column(m, (size_t)c) + m->w->k);
            const float *sx = dx + m->w->k / BLOCK;
            __m512 dot = _mm512_cvtepi32_ps(dots[c][i]);
            acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(dx[b + i])), dot, acc[c]);
            acc[c] = _mm512_fmadd_ps(min, _mm512_set1_ps(sx[b + i]), acc[c]);
        }
    }
}

INLINE void mul_q4_1(const int NC, const struct kern_mul *m)
{
    size_t blocks = m->w->k / BLOCK;
    prefetch_first(m);
    for (size_t r = m->r0; r < m->r1; r += ROWS) {
        const uint8_t *p[ROWS];
        __m512 acc[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        size_t b = 0;
        row_pointers(m, r, p);
        for (; b + 4 <= blocks; b += 4) {
            prefetch_ahead(m, r, b / 4, 4 * ROWS * Q4_1_BYTES);
            add_blocks(NC, m, p, b, 4, acc);
        }
        if (b < blocks) {
            prefetch_ahead(m, r, b / 4, 4 * ROWS * Q4_1_BYTES);
            add_blocks(NC, m, p, b, blocks - b, acc);
        }
        for (int c = 0; c < NC; c++)
            store16(m, r, (size_t)c, acc[c]);
    }
}

/* ---- Q8_0 ---- */

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

INLINE void mul_q8_0(const int NC, const struct kern_mul *m)
{
    size_t blocks = m->w->k / BLOCK;
    prefetch_first(m);
    for (size_t r = m->r0; r < m->r1; r += ROWS) {
        const uint8_t *p[ROWS];
        __m512 acc[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        row_pointers(m, r, p);
        for (size_t b = 0; b < blocks; b++) {
            size_t at = b * Q8_0_BYTES;
            prefetch_ahead(m, r, b, ROWS * Q8_0_BYTES);
            __m512 dw = halves16(p, at);
            for (int c = 0; c < NC; c++) {
                const uint8_t *x = column(m, (size_t)c) + b * BLOCK;
                const float *dx = (const float *)(const void *)(column(m, (size_t)c) + m->w->k);
                const int32_t *offset = (const int32_t *)(const void *)(dx + blocks);
                __m512i dot = dots_q8_0(p, at + 2, quarter_copies(x), quarter_copies(x + 16));
                dot = _mm512_add_epi32(dot, _mm512_set1_epi32(offset[b]));
                __m512 d = _mm512_mul_ps(dw, _mm512_set1_ps(dx[b]));
                acc[c] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(dot), acc[c]);
            }
        }
        for (int c = 0; c < NC; c++)
            store16(m, r, (size_t)c, acc[c]);
    }
}

void avx512_mul_few(const struct kern_mul *m)
{
    if (m->w->type == KERN_Q4_1 && m->n == 1)
        mul_q4_1(1, m);
    else if (m->w->type == KERN_Q4_1)
        mul_q4_1(2, m);
    else if (m->n == 1)
        mul_q8_0(1, m);
    else
        mul_q8_0(2, m);
}
