/* avx2_block_int.h: how AVX2 code reads a block of quantised weights: where its parts lie, its
 * values as bytes, the scales of its sub-blocks as words. Formats: block_int.h. */
#ifndef WEIR_AVX2_BLOCK_INT_H
#define WEIR_AVX2_BLOCK_INT_H

#include "avx2_int.h"
#include "block_int.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- blocks of weights ---- */
#define AT_Q4_0 2 /* where the quants begin */
#define AT_Q4_1 4
#define AT_Q5_0 6
#define AT_Q5_1 8
#define AT_Q8_0 2
#define AT_MXFP4 1
#define Q2_K_QS 16
#define Q2_K_D 80
#define Q3_K_QS 32
#define Q3_K_SCALES 96
#define Q3_K_D 108
#define Q4_K_SCALES 4
#define Q4_K_QS 16
#define Q5_K_QH 16
#define Q5_K_QS 48
#define Q6_K_QH 128
#define Q6_K_SCALES 192
#define Q6_K_D 208
#define IQ4_XS_QS 8

INLINE bool has_min(enum kern_type type)
{
    return type == KERN_Q4_1 || type == KERN_Q5_1 || type == KERN_Q2_K || type == KERN_Q4_K ||
           type == KERN_Q5_K;
}

/* Sub-blocks of 16 in a super-block, not of 32. */
INLINE bool sub16(enum kern_type type)
{
    return type == KERN_Q2_K || type == KERN_Q3_K || type == KERN_Q6_K;
}

/* What is unpacked as a signed byte of full range; the others are unsigned and a little offset. */
INLINE bool is_signed(enum kern_type type)
{
    return type == KERN_Q8_0 || type == KERN_IQ4_NL || type == KERN_IQ4_XS;
}

/* The integer a block stands for is what is unpacked less this. */
INLINE int offset_of(enum kern_type type)
{
    switch (type) {
    case KERN_Q4_0: return 8;
    case KERN_Q5_0: return 16;
    case KERN_MXFP4: return 12;
    case KERN_Q3_K: return 4;
    case KERN_Q6_K: return 32;
    default: return 0;
    }
}

INLINE size_t at_quants(enum kern_type type)
{
    switch (type) {
    case KERN_Q4_1: return AT_Q4_1;
    case KERN_Q5_0: return AT_Q5_0;
    case KERN_Q5_1: return AT_Q5_1;
    case KERN_MXFP4: return AT_MXFP4;
    default: return 2; /* after a half */
    }
}

/* ---- vectors ---- */
INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE __m128i load128(const void *p)
{
    return _mm_loadu_si128(p);
}

INLINE __m256i both_halves(const void *p)
{
    return _mm256_broadcastsi128_si256(load128(p));
}

INLINE __m256i load_halves(const void *a, const void *b)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(a)), load128(b), 1);
}

INLINE int32_t load_i32(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE __m256i low_bits(__m256i v, int mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

INLINE __m256i high_nibbles(__m256i v)
{
    return low_bits(_mm256_srli_epi16(v, 4), 15);
}

/* ---- values ---- */
INLINE __m256i iq4_of(__m256i nibbles)
{
    return _mm256_shuffle_epi8(both_halves(iq4_values), nibbles);
}

/* Twice the value, and 12 more, so that none is negative. */
INLINE __m256i mxfp4_of(__m256i nibbles)
{
    const __m128i values = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

INLINE __m256i twice(__m128i v)
{
    return _mm256_broadcastsi128_si256(v);
}

/* The 32 elements of group g (elements 32 g to 32 g + 31), unsigned or, of IQ4_XS, signed. */
INLINE __m256i values256(enum kern_type type, const uint8_t *w, int g)
{
    const int half = g / 4, j = g % 4;
    __m256i v, h;
    switch (type) {
    case KERN_Q2_K: return low_bits(_mm256_srli_epi16(load256(w + Q2_K_QS + 32 * half), 2 * j), 3);
    case KERN_Q3_K:
        v = low_bits(_mm256_srli_epi16(load256(w + Q3_K_QS + 32 * half), 2 * j), 3);
        h = g < 3 ? _mm256_slli_epi16(load256(w), 2 - (g < 3 ? g : 0))
                  : _mm256_srli_epi16(load256(w), g < 3 ? 0 : g - 2);
        return _mm256_or_si256(v, low_bits(h, 4));
    case KERN_Q4_K:
        v = load256(w + Q4_K_QS + 32 * (g / 2));
        return g % 2 ? high_nibbles(v) : low_bits(v, 15);
    case KERN_Q5_K:
        v = load256(w + Q5_K_QS + 32 * (g / 2));
        v = g % 2 ? high_nibbles(v) : low_bits(v, 15);
        h = g < 4 ? _mm256_slli_epi16(load256(w + Q5_K_QH), 4 - (g < 4 ? g : 0))
                  : _mm256_srli_epi16(load256(w + Q5_K_QH), g < 4 ? 0 : g - 4);
        return _mm256_or_si256(v, low_bits(h, 16));
    case KERN_Q6_K:
        v = load256(w + 64 * half + 32 * (j % 2));
        v = j < 2 ? low_bits(v, 15) : high_nibbles(v);
        h = load256(w + Q6_K_QH + 32 * half);
        h = j < 2 ? _mm256_slli_epi16(h, j < 2 ? 4 - 2 * j : 0)
                  : _mm256_srli_epi16(h, j < 2 ? 0 : 2 * j - 4);
        return _mm256_or_si256(v, low_bits(h, 48));
    default:
        v = twice(load128(w + IQ4_XS_QS + 16 * g));
        v = _mm256_blend_epi32(v, _mm256_srli_epi16(v, 4), 0xf0);
        return iq4_of(low_bits(v, 15));
    }
}

/* ---- scales of sub-blocks, as int16 ----
 * Of 16: the low half has those of even sub-blocks, the high one those of odd ones. */
INLINE __m256i even_odd(__m128i bytes)
{
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepu8_epi16(_mm_shuffle_epi8(bytes, order));
}

INLINE __m256i scales_q2_k(const uint8_t *w, __m256i *mins)
{
    __m256i both = even_odd(load128(w));
    *mins = _mm256_srli_epi16(both, 4);
    return _mm256_and_si256(both, _mm256_set1_epi16(15));
}

/* A byte in the upper half of a word is shifted right by s when multiplied by 256 >> s and halved.
 * The load begins two bytes early: four bytes after the scales would be past a last block. */
INLINE __m256i scales_q3_k(const uint8_t *w)
{
    __m256i bytes = both_halves(w + Q3_K_SCALES - 2);
    const __m256i low_at = _mm256_setr_epi8(-1, 2, -1, 4, -1, 6, -1, 8, -1, 2, -1, 4, -1, 6, -1, 8,
                                            -1, 3, -1, 5, -1, 7, -1, 9, -1, 3, -1, 5, -1, 7, -1, 9);
    const __m256i high_at =
        _mm256_setr_epi8(-1, 10, -1, 12, -1, 10, -1, 12, -1, 10, -1, 12, -1, 10, -1, 12, -1, 11, -1,
                         13, -1, 11, -1, 13, -1, 11, -1, 13, -1, 11, -1, 13);
    const __m256i low_by =
        _mm256_broadcastsi128_si256(_mm_setr_epi16(256, 256, 256, 256, 16, 16, 16, 16));
    const __m256i high_by =
        _mm256_broadcastsi128_si256(_mm_setr_epi16(256, 256, 64, 64, 16, 16, 4, 4));
    __m256i low = _mm256_mulhi_epu16(_mm256_shuffle_epi8(bytes, low_at), low_by);
    __m256i high = _mm256_mulhi_epu16(_mm256_shuffle_epi8(bytes, high_at), high_by);
    low = _mm256_and_si256(low, _mm256_set1_epi16(15));
    high = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi16(3)), 4);
    return _mm256_sub_epi16(_mm256_or_si256(low, high), _mm256_set1_epi16(32));
}

INLINE __m256i scales_q6_k(const uint8_t *w)
{
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(load128(w + Q6_K_SCALES), order));
}

/* Q4_K and Q5_K: the low half has the eight scales, the high one the eight minima. */
INLINE __m256i scales_q4_k(const uint8_t *w)
{
    __m256i bytes = both_halves(w); /* d, dmin, then the twelve */
    const __m256i low_at =
        _mm256_setr_epi8(-1, 4, -1, 5, -1, 6, -1, 7, -1, 12, -1, 13, -1, 14, -1, 15, -1, 8, -1, 9,
                         -1, 10, -1, 11, -1, 12, -1, 13, -1, 14, -1, 15);
    const __m256i high_at =
        _mm256_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 4, -1, 5, -1, 6, -1, 7, -1, -1, -1, -1, -1,
                         -1, -1, -1, -1, 8, -1, 9, -1, 10, -1, 11, -1);
    const __m256i by = _mm256_setr_epi16(256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256,
                                         16, 16, 16, 16);
    const __m256i mask =
        _mm256_setr_epi16(63, 63, 63, 63, 15, 15, 15, 15, 63, 63, 63, 63, 15, 15, 15, 15);
    __m256i low = _mm256_mulhi_epu16(_mm256_shuffle_epi8(bytes, low_at), by);
    __m256i high = _mm256_srli_epi16(_mm256_shuffle_epi8(bytes, high_at), 2);
    high = _mm256_and_si256(high, _mm256_set1_epi16(0x30));
    return _mm256_or_si256(_mm256_and_si256(low, mask), high);
}

INLINE __m128i scales_iq4_xs(const uint8_t *w)
{
    __m128i bytes = load128(w); /* d, the high bits of all, then four bytes of nibbles */
    const __m128i low_at = _mm_setr_epi8(-1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7);
    const __m128i high_at = _mm_setr_epi8(2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3);
    const __m128i low_by = _mm_setr_epi16(256, 16, 256, 16, 256, 16, 256, 16);
    const __m128i high_by = _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 4, 1);
    __m128i low = _mm_mulhi_epu16(_mm_shuffle_epi8(bytes, low_at), low_by);
    __m128i high = _mm_mullo_epi16(_mm_shuffle_epi8(bytes, high_at), high_by);
    low = _mm_and_si128(low, _mm_set1_epi16(15));
    high = _mm_and_si128(_mm_srli_epi16(high, 10), _mm_set1_epi16(0x30));
    return _mm_sub_epi16(_mm_or_si128(low, high), _mm_set1_epi16(32));
}

/* The signed scales or the unsigned ones of a super-block, and in *mins the minima's of Q2_K. */
INLINE __m256i scales16(enum kern_type type, const uint8_t *w, __m256i *mins)
{
    switch (type) {
    case KERN_Q2_K: return scales_q2_k(w, mins);
    case KERN_Q3_K: return scales_q3_k(w);
    case KERN_Q6_K: return scales_q6_k(w);
    case KERN_IQ4_XS: return _mm256_castsi128_si256(scales_iq4_xs(w));
    default: return scales_q4_k(w);
    }
}

#endif
