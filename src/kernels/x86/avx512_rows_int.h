/* avx512_rows_int.h: takes pieces of 16 rows of weights and turns them so that each row has a lane
 * of its own. The formats are taken apart with these. */
#ifndef WEIR_AVX512_ROWS_INT_H
#define WEIR_AVX512_ROWS_INT_H

#include "avx512_int.h"

INLINE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

INLINE __m512i join(__m128i a, __m128i b, __m128i c, __m128i d)
{
    __m256i ab = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    __m256i cd = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
}

/* 16 bytes of rows e, e + 4, e + 8, e + 12, one in each quarter. */
INLINE __m512i quarters(const struct rows *p, int e, size_t at)
{
    return join(load_16(row(p, e) + at), load_16(row(p, e + 4) + at), load_16(row(p, e + 8) + at),
                load_16(row(p, e + 12) + at));
}

INLINE void transpose(__m512i a, __m512i b, __m512i c, __m512i d, __m512i v[4])
{
    __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
    __m512i cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
    v[0] = _mm512_unpacklo_epi64(ab0, cd0);
    v[1] = _mm512_unpackhi_epi64(ab0, cd0);
    v[2] = _mm512_unpacklo_epi64(ab1, cd1);
    v[3] = _mm512_unpackhi_epi64(ab1, cd1);
}

/* Dwords at `at` + 4j, j < 4, of 16 rows: v[j] has a row in each lane. */
INLINE void dwords_4(const struct rows *p, size_t at, __m512i v[4])
{
    transpose(quarters(p, 0, at), quarters(p, 1, at), quarters(p, 2, at), quarters(p, 3, at), v);
}

INLINE void dwords_8(const struct rows *p, size_t at, __m512i v[8])
{
    dwords_4(p, at, v);
    dwords_4(p, at + 16, v + 4);
}

INLINE __m128i load_dword(const uint8_t *p)
{
    return _mm_cvtsi32_si128((int)load_u32(p));
}

INLINE __m128i dwords_of_4(const struct rows *p, int i, size_t at)
{
    __m128i a = _mm_unpacklo_epi32(load_dword(row(p, i) + at), load_dword(row(p, i + 1) + at));
    __m128i b = _mm_unpacklo_epi32(load_dword(row(p, i + 2) + at), load_dword(row(p, i + 3) + at));
    return _mm_unpacklo_epi64(a, b);
}

/* The dword at `at` of 16 rows. */
INLINE __m512i dwords_1(const struct rows *p, size_t at)
{
    return join(dwords_of_4(p, 0, at), dwords_of_4(p, 4, at), dwords_of_4(p, 8, at),
                dwords_of_4(p, 12, at));
}

/* The low halves of 16 dwords as floats. */
INLINE __m512 low_halves(__m512i v)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

INLINE __m128i halves_of_8(const struct rows *p, int i, size_t at)
{
    __m128i h = _mm_cvtsi32_si128(load_u16(row(p, i) + at));
    h = _mm_insert_epi16(h, load_u16(row(p, i + 1) + at), 1);
    h = _mm_insert_epi16(h, load_u16(row(p, i + 2) + at), 2);
    h = _mm_insert_epi16(h, load_u16(row(p, i + 3) + at), 3);
    h = _mm_insert_epi16(h, load_u16(row(p, i + 4) + at), 4);
    h = _mm_insert_epi16(h, load_u16(row(p, i + 5) + at), 5);
    h = _mm_insert_epi16(h, load_u16(row(p, i + 6) + at), 6);
    return _mm_insert_epi16(h, load_u16(row(p, i + 7) + at), 7);
}

/* The half at `at` of 16 rows, as floats. */
INLINE __m512 halves_1(const struct rows *p, size_t at)
{
    __m256i h = _mm256_castsi128_si256(halves_of_8(p, 0, at));
    return _mm512_cvtph_ps(_mm256_inserti128_si256(h, halves_of_8(p, 8, at), 1));
}

INLINE __m512i low_nibbles(__m512i v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

INLINE __m512i high_nibbles(__m512i v)
{
    return low_nibbles(_mm512_srli_epi16(v, 4));
}

/* Values of nibbles, made unsigned. */
INLINE __m512i table_bytes(const int8_t values[16], int offset, __m512i v)
{
    __m128i t = _mm_add_epi8(_mm_loadu_si128((const __m128i *)values), _mm_set1_epi8((char)offset));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), v);
}

/* Byte b of every dword four times, b < 4. */
INLINE __m512i repeat_byte(__m512i v, int b)
{
    const __m512i first =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
    return _mm512_shuffle_epi8(v, _mm512_add_epi8(first, _mm512_set1_epi8((char)b)));
}

/* Adds `by` to the bytes of v for which a bit of `test` is set in t. */
INLINE __m512i add_where(__m512i v, __m512i t, __m512i test, __m512i by)
{
    return _mm512_mask_add_epi8(v, _mm512_test_epi8_mask(t, test), v, by);
}

#endif
