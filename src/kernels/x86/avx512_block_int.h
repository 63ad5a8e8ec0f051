/* avx512_block_int.h: the formats in blocks of 32, 16 rows at a time: elements as unsigned bytes,
 * scales as floats. Everything is inlined with a constant type. */
#ifndef WEIR_AVX512_BLOCK_INT_H
#define WEIR_AVX512_BLOCK_INT_H

#include "avx512_rows_int.h"

INLINE bool has_min(enum kern_type type)
{
    return type == KERN_Q4_1 || type == KERN_Q5_1;
}

/* What is added to the elements to make them unsigned, taken off an integer sum: neg holds less
 * the sum of the activations. */
INLINE __m512i offset_32(enum kern_type type, __m512i neg)
{
    switch (type) {
    case KERN_Q4_0: return _mm512_slli_epi32(neg, 3);
    case KERN_Q5_0:
    case KERN_MXFP4: return _mm512_slli_epi32(neg, 4);
    case KERN_Q8_0:
    case KERN_IQ4_NL: return _mm512_slli_epi32(neg, 7);
    default: return _mm512_setzero_si512();
    }
}

/* Where the nibbles (or bytes) of a block begin. */
INLINE size_t body_32(enum kern_type type)
{
    switch (type) {
    case KERN_Q4_1: return 4;
    case KERN_Q5_0: return 6;
    case KERN_Q5_1: return 8;
    case KERN_MXFP4: return 1;
    default: return 2;
    }
}

/* The fifth bit of element i is bit i of the row's dword. */
INLINE void add_fifth_bits(__m512i h, __m512i v[8])
{
    const __m512i even = _mm512_set1_epi32(0x08040201), odd = _mm512_set1_epi32((int)0x80402010);
    for (int i = 0; i < 4; i++) {
        __m512i bits = repeat_byte(h, i);
        v[2 * i] = add_where(v[2 * i], bits, even, _mm512_set1_epi8(16));
        v[2 * i + 1] = add_where(v[2 * i + 1], bits, odd, _mm512_set1_epi8(16));
    }
}

/* e8m0_half of 16 rows. */
INLINE __m512 powers_of_two(__m512i e)
{
    const __m512i one = _mm512_set1_epi32(1);
    __mmask16 tiny = _mm512_cmple_epi32_mask(e, one);
    __m512i v = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
    v = _mm512_mask_sllv_epi32(v, tiny, _mm512_set1_epi32(0x00200000), e);
    return _mm512_castsi512_ps(v);
}

/* A block of 16 rows, as little worked on as will do to hold it. */
struct piece {
    __m512i raw[8]; /* four of nibbles */
    __m512i fifth;
    __m512 d, min;
};

INLINE void load_piece(enum kern_type type, const struct rows *p, struct piece *b)
{
    const size_t body = body_32(type);
    if (type == KERN_Q8_0)
        dwords_8(p, body, b->raw);
    else
        dwords_4(p, body, b->raw);
    if (type == KERN_Q5_0 || type == KERN_Q5_1)
        b->fifth = dwords_1(p, body - 4);
    if (type == KERN_MXFP4) {
        b->d = powers_of_two(_mm512_and_si512(dwords_1(p, 0), _mm512_set1_epi32(255)));
    } else if (has_min(type)) {
        __m512i both = dwords_1(p, 0);
        b->d = low_halves(both);
        b->min = low_halves(_mm512_srli_epi32(both, 16));
    } else {
        b->d = halves_1(p, 0);
    }
}

/* Elements 4i to 4i + 3, in the row's lane of v[i]. */
INLINE void elements_32(enum kern_type type, const struct piece *b, __m512i v[8])
{
    for (int i = 0; i < 8; i++) {
        if (type == KERN_Q8_0)
            v[i] = _mm512_xor_si512(b->raw[i], _mm512_set1_epi8((char)0x80));
        else
            v[i] = i < 4 ? low_nibbles(b->raw[i]) : high_nibbles(b->raw[i - 4]);
        if (type == KERN_IQ4_NL)
            v[i] = table_bytes(iq4_values, 128, v[i]);
        if (type == KERN_MXFP4)
            v[i] = table_bytes(mxfp4_values, 16, v[i]);
    }
    if (type == KERN_Q5_0 || type == KERN_Q5_1)
        add_fifth_bits(b->fifth, v);
}

#endif
