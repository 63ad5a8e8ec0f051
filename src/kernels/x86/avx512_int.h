/* avx512_int.h: what the AVX-512 files share. This set needs F, BW, VL, DQ and VNNI; what works on
 * single rows stays with AVX2, whose table it builds on. */
#ifndef WEIR_AVX512_INT_H
#define WEIR_AVX512_INT_H

#include "kern_int.h"
#include "block_int.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

void avx512_attn(const struct kern_attn *a);
size_t avx512_act_bytes(enum kern_type type, size_t n, size_t k);
void avx512_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                     size_t c0, size_t c1, void *out);
size_t avx512_mul_scratch(enum kern_type type, size_t n, size_t k);
void avx512_mul(const struct kern_mul *m);
void avx512_mul_float(const struct kern_mul *m);
void avx512_mul_few(const struct kern_mul *m);
void avx512_mul_many(const struct kern_mul *m);

/* ---- packed activations of quantised weights (avx512_pack.c makes them) ----
 * Up to FEW columns, each alone: q int8[k]; d float[k / 32]; s[k / 32].
 * More: groups of four columns; a block is q [8][4 columns] int8[4], d float[4], s[4].
 * s is d times the sum of q for Q4_1 (float) and -128 times the sum of q for Q8_0 (int32), whose
 * weights are multiplied as w + 128. */
#define FEW 2 /* avx512_few.c has versions for one and for two */
#define COLS 4
#define GROUP_BLOCK (8 * COLS * 4 + 2 * COLS * 4)

static inline bool is_quant(enum kern_type type)
{
    return type == KERN_Q8_0 || type == KERN_Q4_1;
}

/* The other formats are left to C. */
static inline bool own_code(enum kern_type type)
{
    return is_quant(type) || type == KERN_F32 || type == KERN_F16;
}

static inline size_t column_bytes(size_t k)
{
    return round_up(k + k / BLOCK * 8, 64);
}

static inline size_t group_bytes(size_t k)
{
    return round_up(k / BLOCK * GROUP_BLOCK, 64);
}

/* ---- 16 rows of weights ---- */
#define ROWS 16

/* Pointers to ROWS rows from r; past r1 the last row again, whose results are thrown away. */
INLINE void row_pointers(const struct kern_mul *m, size_t r, const uint8_t *p[ROWS])
{
    for (size_t i = 0; i < ROWS; i++) {
        size_t row = r + i < m->r1 ? r + i : m->r1 - 1;
        p[i] = (const uint8_t *)m->w->data + row * m->w->stride;
    }
}

/* Strided streams are more than the hardware's prefetcher follows, so weights are asked for in the
 * order they lie, into the second cache: the first AHEAD rows at once, then, while a block of some
 * rows is worked on, as many bytes AHEAD rows further on. What another thread reads is left alone.
 */
#define AHEAD 64

INLINE void prefetch(const uint8_t *p, size_t bytes)
{
    for (size_t line = 0; line < bytes; line += 64)
        _mm_prefetch((const char *)p + line, _MM_HINT_T1);
}

INLINE void prefetch_first(const struct kern_mul *m)
{
    size_t rows = m->r1 - m->r0 < AHEAD ? m->r1 - m->r0 : AHEAD;
    prefetch((const uint8_t *)m->w->data + m->r0 * m->w->stride, rows * m->w->stride);
}

/* Block `block` of some rows from r is worked on, which has `bytes` bytes in all of them. */
INLINE void prefetch_ahead(const struct kern_mul *m, size_t r, size_t block, size_t bytes)
{
    if (r + AHEAD < m->r1)
        prefetch((const uint8_t *)m->w->data + (r + AHEAD) * m->w->stride + block * bytes, bytes);
}

/* 16 bytes of rows e, e + 4, e + 8, e + 12, one in each quarter. */
INLINE __m512i quarters(const uint8_t *const *p, size_t at)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(p[0] + at)));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128((const __m128i *)(p[4] + at)));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128((const __m128i *)(p[8] + at)));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128((const __m128i *)(p[12] + at)));
}

INLINE __m128i load_dword(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return _mm_cvtsi32_si128((int)v);
}

INLINE __m128i dwords4(const uint8_t *const *p, size_t at)
{
    __m128i a = _mm_unpacklo_epi32(load_dword(p[0] + at), load_dword(p[1] + at));
    __m128i b = _mm_unpacklo_epi32(load_dword(p[2] + at), load_dword(p[3] + at));
    return _mm_unpacklo_epi64(a, b);
}

/* The pair of halves at p[i] + at of 16 rows: their first and second floats. */
INLINE void half_pairs(const uint8_t *const p[ROWS], size_t at, __m512 *first, __m512 *second)
{
    __m256i a =
        _mm256_inserti128_si256(_mm256_castsi128_si256(dwords4(p, at)), dwords4(p + 4, at), 1);
    __m256i b =
        _mm256_inserti128_si256(_mm256_castsi128_si256(dwords4(p + 8, at)), dwords4(p + 12, at), 1);
    __m512i v = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    *first = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
    *second = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
}

INLINE __m128i halves8(const uint8_t *const *p, size_t at)
{
    __m128i h = _mm_cvtsi32_si128(load_u16(p[0] + at));
    h = _mm_insert_epi16(h, load_u16(p[1] + at), 1);
    h = _mm_insert_epi16(h, load_u16(p[2] + at), 2);
    h = _mm_insert_epi16(h, load_u16(p[3] + at), 3);
    h = _mm_insert_epi16(h, load_u16(p[4] + at), 4);
    h = _mm_insert_epi16(h, load_u16(p[5] + at), 5);
    h = _mm_insert_epi16(h, load_u16(p[6] + at), 6);
    return _mm_insert_epi16(h, load_u16(p[7] + at), 7);
}

/* The half at p[i] + at of 16 rows, as floats. */
INLINE __m512 halves16(const uint8_t *const p[ROWS], size_t at)
{
    __m256i h = _mm256_castsi128_si256(halves8(p, at));
    return _mm512_cvtph_ps(_mm256_inserti128_si256(h, halves8(p + 8, at), 1));
}

#endif
