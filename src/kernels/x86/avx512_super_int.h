/* avx512_super_int.h: the formats in blocks of 256, 16 rows at a time: elements as unsigned bytes
 * in groups of 32, scales of the sub-blocks as integers. Everything is inlined with a constant
 * type.
 *
 * Q2_K and Q3_K can come multiplied by the scales of their sub-blocks, which fits a byte: scale *
 * q, and 128 - (scale - 32) * (q - 4). That pays for many columns. */
#ifndef WEIR_AVX512_SUPER_INT_H
#define WEIR_AVX512_SUPER_INT_H

#include "avx512_rows_int.h"

struct head {
    __m512i scale[4], min[4]; /* bytes, four sub-blocks in a row's dword (IQ4_XS: as they lie) */
    __m512 d, dmin;
};

/* Sub-blocks with a scale, and pairs of those that have a minimum. */
INLINE int scale_count(enum kern_type type)
{
    return type == KERN_Q2_K || type == KERN_Q3_K || type == KERN_Q6_K ? 16 : 8;
}

INLINE int pair_count(enum kern_type type)
{
    return type == KERN_Q2_K ? 8 : type == KERN_Q4_K || type == KERN_Q5_K ? 4 : 0;
}

INLINE __m512i masked(__m512i v, uint32_t mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi32((int)mask));
}

INLINE void head_q2_k(const struct rows *p, struct head *h)
{
    __m512i t[4], both = dwords_1(p, 80);
    dwords_4(p, 0, t);
    for (int i = 0; i < 4; i++) {
        h->scale[i] = low_nibbles(t[i]);
        h->min[i] = high_nibbles(t[i]);
    }
    h->d = low_halves(both);
    h->dmin = low_halves(_mm512_srli_epi32(both, 16));
}

/* Scales and d are the last 14 bytes of the block. */
INLINE void head_q3_k(const struct rows *p, struct head *h)
{
    __m512i q[4], t[4];
    for (int i = 0; i < 4; i++)
        q[i] = _mm512_bsrli_epi128(quarters(p, i, 94), 2);
    transpose(q[0], q[1], q[2], q[3], t);
    __m512i high[4] = {_mm512_slli_epi32(t[2], 4), _mm512_slli_epi32(t[2], 2), t[2],
                       _mm512_srli_epi32(t[2], 2)};
    __m512i low[4] = {low_nibbles(t[0]), low_nibbles(t[1]), high_nibbles(t[0]), high_nibbles(t[1])};
    for (int i = 0; i < 4; i++) {
        __m512i s = _mm512_or_si512(low[i], masked(high[i], 0x30303030));
        h->scale[i] = _mm512_sub_epi8(s, _mm512_set1_epi8(32));
    }
    h->d = low_halves(t[3]);
}

INLINE void head_q45_k(const struct rows *p, struct head *h)
{
    __m512i t[4];
    dwords_4(p, 0, t);
    h->d = low_halves(t[0]);
    h->dmin = low_halves(_mm512_srli_epi32(t[0], 16));
    h->scale[0] = masked(t[1], 0x3f3f3f3f);
    h->min[0] = masked(t[2], 0x3f3f3f3f);
    h->scale[1] =
        _mm512_or_si512(low_nibbles(t[3]), masked(_mm512_srli_epi32(t[1], 2), 0x30303030));
    h->min[1] = _mm512_or_si512(high_nibbles(t[3]), masked(_mm512_srli_epi32(t[2], 2), 0x30303030));
}

INLINE void load_head(enum kern_type type, const struct rows *p, struct head *h)
{
    __m512i t[4];
    switch (type) {
    case KERN_Q2_K: head_q2_k(p, h); break;
    case KERN_Q3_K: head_q3_k(p, h); break;
    case KERN_Q6_K:
        dwords_4(p, 192, h->scale);
        h->d = halves_1(p, 208);
        break;
    case KERN_IQ4_XS:
        dwords_4(p, 0, t);
        h->d = low_halves(t[0]);
        h->scale[0] = t[1];
        h->scale[1] = _mm512_srli_epi32(t[0], 16);
        break;
    default: head_q45_k(p, h); break;
    }
}

/* The scale of sub-block j of every row. */
INLINE __m512i scale_of(enum kern_type type, const struct head *h, int j)
{
    if (type == KERN_IQ4_XS) {
        __m512i low = _mm512_srlv_epi32(h->scale[0], _mm512_set1_epi32(4 * j));
        __m512i high =
            _mm512_srlv_epi32(_mm512_slli_epi32(h->scale[1], 4), _mm512_set1_epi32(2 * j));
        low = _mm512_or_si512(masked(low, 15), masked(high, 0x30));
        return _mm512_sub_epi32(low, _mm512_set1_epi32(32));
    }
    __m512i up = _mm512_sllv_epi32(h->scale[j / 4], _mm512_set1_epi32(24 - j % 4 * 8));
    return type == KERN_Q6_K || type == KERN_Q3_K ? _mm512_srai_epi32(up, 24)
                                                  : _mm512_srli_epi32(up, 24);
}

/* The minima of sub-blocks 2j and 2j + 1, as a pair of int16. */
INLINE __m512i min_pair(const struct head *h, int j)
{
    const __m512i even = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1));
    const __m512i odd = _mm512_broadcast_i32x4(
        _mm_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1));
    return _mm512_shuffle_epi8(h->min[j / 2], j % 2 ? odd : even);
}

/* ---- elements ----
 * A block is worked on in parts whose bytes hold several groups of 32 elements: raw[8] (IQ4_XS [4])
 * and high[8], which serves two parts of Q6_K and all of Q3_K and Q5_K. */
INLINE int part_groups(enum kern_type type)
{
    switch (type) {
    case KERN_Q2_K:
    case KERN_Q3_K: return 4;
    case KERN_IQ4_XS: return 1;
    default: return 2;
    }
}

/* Where group j of a part stands in the block. */
INLINE int group_of(enum kern_type type, int part, int j)
{
    if (type == KERN_Q6_K)
        return part / 2 * 4 + part % 2 + 2 * j;
    return part * part_groups(type) + j;
}

INLINE void load_part(enum kern_type type, const struct rows *p, int part, __m512i raw[8],
                      __m512i high[8])
{
    size_t i = (size_t)part;
    switch (type) {
    case KERN_Q2_K: dwords_8(p, 16 + 32 * i, raw); break;
    case KERN_Q3_K: dwords_8(p, 32 + 32 * i, raw); break;
    case KERN_Q4_K: dwords_8(p, 16 + 32 * i, raw); break;
    case KERN_Q5_K: dwords_8(p, 48 + 32 * i, raw); break;
    case KERN_Q6_K: dwords_8(p, 32 * i, raw); break;
    default: dwords_4(p, 8 + 16 * i, raw); break;
    }
    if (type == KERN_Q6_K && part % 2 == 0)
        dwords_8(p, 128 + 16 * i, high);
    if (type == KERN_Q3_K && part == 0)
        dwords_8(p, 0, high);
    if (type == KERN_Q5_K && part == 0)
        dwords_8(p, 16, high);
}

/* Bytes of a, and in them those bits of b that are in `mask` and not in a. */
INLINE __m512i join_bits(__m512i a, __m512i b, int mask)
{
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi8((char)mask), 0xf8);
}

/* Shifted so that bit `bit` of every byte is its bit 4; what comes from the next byte is not
 * wanted. */
INLINE __m512i as_bit_4(__m512i v, int bit)
{
    switch (bit) {
    case 0: return _mm512_slli_epi16(v, 4);
    case 1: return _mm512_slli_epi16(v, 3);
    case 2: return _mm512_slli_epi16(v, 2);
    case 3: return _mm512_slli_epi16(v, 1);
    case 5: return _mm512_srli_epi16(v, 1);
    case 6: return _mm512_srli_epi16(v, 2);
    case 7: return _mm512_srli_epi16(v, 3);
    default: return v;
    }
}

/* Bits 2j and 2j + 1 of every byte, as bits 0 and 1. */
INLINE __m512i two_low_bits(__m512i v, int j)
{
    switch (j) {
    case 1: v = _mm512_srli_epi16(v, 2); break;
    case 2: v = _mm512_srli_epi16(v, 4); break;
    case 3: v = _mm512_srli_epi16(v, 6); break;
    default: break;
    }
    return _mm512_and_si512(v, _mm512_set1_epi8(3));
}

/* scale * q from the bits of q; or 128 - scale * (q - 4) = 128 + 4 * scale - scale * q. */
INLINE __m512i scaled_2(__m512i raw, int j, __m512i s)
{
    __mmask64 one = _mm512_test_epi8_mask(raw, _mm512_set1_epi8((char)(1 << 2 * j)));
    __m512i v = _mm512_maskz_mov_epi8(one, s);
    return add_where(v, raw, _mm512_set1_epi8((char)(2 << 2 * j)), _mm512_add_epi8(s, s));
}

INLINE __m512i scaled_3(__m512i raw, int j, __m512i high, int bit, __m512i s)
{
    __m512i minus = _mm512_sub_epi8(_mm512_setzero_si512(), s);
    __m512i minus2 = _mm512_add_epi8(minus, minus), minus4 = _mm512_add_epi8(minus2, minus2);
    __m512i v = _mm512_sub_epi8(_mm512_set1_epi8((char)0x80), minus4);
    v = add_where(v, raw, _mm512_set1_epi8((char)(1 << 2 * j)), minus);
    v = add_where(v, raw, _mm512_set1_epi8((char)(2 << 2 * j)), minus2);
    return add_where(v, high, _mm512_set1_epi8((char)(1 << bit)), minus4);
}

/* Q2_K and Q3_K multiplied by their scales: part of elements_scaled. */
INLINE __m512i scaled_23(enum kern_type type, const struct head *h, int part, int j, int i,
                         const __m512i raw[8], const __m512i high[8])
{
    int sub = 8 * part + 2 * j + i / 4;
    __m512i s = repeat_byte(h->scale[sub / 4], sub % 4);
    return type == KERN_Q2_K ? scaled_2(raw[i], j, s)
                             : scaled_3(raw[i], j, high[i], 4 * part + j, s);
}

INLINE __m512i element_256(enum kern_type type, int part, int j, int i, const __m512i raw[8],
                           const __m512i high[8])
{
    const __m512i bit = _mm512_set1_epi8((char)(1 << (part * part_groups(type) + j)));
    __m512i q;
    switch (type) {
    case KERN_Q2_K: return two_low_bits(raw[i], j);
    case KERN_Q3_K: return add_where(two_low_bits(raw[i], j), high[i], bit, _mm512_set1_epi8(4));
    case KERN_Q6_K:
        q = j ? high_nibbles(raw[i]) : low_nibbles(raw[i]);
        return join_bits(q, as_bit_4(high[i], 2 * (part % 2 + 2 * j)), 0x30);
    case KERN_IQ4_XS:
        q = i < 4 ? low_nibbles(raw[i % 4]) : high_nibbles(raw[i % 4]);
        return table_bytes(iq4_values, 128, q);
    case KERN_Q5_K:
        q = j ? high_nibbles(raw[i]) : low_nibbles(raw[i]);
        return join_bits(q, as_bit_4(high[i], 2 * part + j), 16);
    default: return j ? high_nibbles(raw[i]) : low_nibbles(raw[i]);
    }
}

/* Group j of a part: elements 4i to 4i + 3 of 32, in the row's lane of v[i]. */
INLINE void elements_256(enum kern_type type, int part, int j, const __m512i raw[8],
                         const __m512i high[8], __m512i v[8])
{
    for (int i = 0; i < 8; i++)
        v[i] = element_256(type, part, j, i, raw, high);
}

/* The start of a sub-block's integer sum, which takes off the elements' offset. x: a block of C
 * packed columns, from the column on. */
INLINE __m512i offset_256(enum kern_type type, const int C, const uint8_t *x, int sub)
{
    switch (type) {
    case KERN_Q3_K: /* an eighth of what Q6_K needs */
        return _mm512_srai_epi32(spread_int(x + X256_NEG16(C) + 4 * C * sub), 3);
    case KERN_Q6_K: return spread_int(x + X256_NEG16(C) + 4 * C * sub);
    case KERN_IQ4_XS: return spread_int(x + X256_NEG32(C) + 4 * C * sub);
    default: return _mm512_setzero_si512();
    }
}

#endif
