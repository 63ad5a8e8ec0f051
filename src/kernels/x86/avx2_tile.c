/* avx2_tile.c: unpacks blocks of 16 rows into a tile, each format in its own way, all to the same
 * layout (avx2_quant_int.h). Called by avx2_many for every 16 rows and chunk of k. */
#include "avx2_quant_int.h"

/* Eight rows of a step: values as bytes, or as words. */
INLINE void put8(enum kern_type type, uint8_t *tile, size_t step, size_t half, __m256i v)
{
    uint8_t *p = tile + step * step_bytes(type) + half * 32;
    if (!is_signed(type)) {
        put256(p, v);
        return;
    }
    put256(p, words_of(v, false));
    put256(p + ROWS * 4, words_of(v, true));
}

/* Eight rows of scales. */
INLINE void put_scales(uint8_t *scales, size_t i, size_t half, __m256i v)
{
    put256(scales + i * ROWS * 4 + half * 32, v);
}

/* ---- blocks of 32 ---- */

/* Bits 4j to 4j + 3 of the words of eight rows to bit 4 of the bytes of each lane. */
INLINE __m256i fifth_bits(__m256i words, int j)
{
    const __m256i at = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
    const __m256i bit = _mm256_set1_epi32(j % 2 ? (int)0x80402010 : 0x08040201);
    __m256i v = _mm256_shuffle_epi8(words, _mm256_add_epi8(at, _mm256_set1_epi8((char)(j / 2))));
    return low_bits(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), 16);
}

INLINE void nibbles32(enum kern_type type, const uint8_t *const *p, size_t at, size_t half,
                      uint8_t *tile)
{
    __m256i v[4], bits = _mm256_setzero_si256();
    transpose8(p, at + at_quants(type), v);
    if (type == KERN_Q5_0 || type == KERN_Q5_1)
        bits = dwords8(p, at + at_quants(type) - 4, false);
    for (int j = 0; j < 8; j++) {
        __m256i q = j < 4 ? low_bits(v[j % 4], 15) : high_nibbles(v[j % 4]);
        if (type == KERN_Q5_0 || type == KERN_Q5_1)
            q = _mm256_or_si256(q, fifth_bits(bits, j));
        if (type == KERN_IQ4_NL)
            q = iq4_of(q);
        if (type == KERN_MXFP4)
            q = mxfp4_of(q);
        put8(type, tile, (size_t)j, half, q);
    }
}

INLINE void bytes32(const uint8_t *const *p, size_t at, size_t half, uint8_t *tile)
{
    for (size_t part = 0; part < 2; part++) {
        __m256i v[4];
        transpose8(p, at + 16 * part, v);
        for (size_t j = 0; j < 4; j++)
            put8(KERN_Q8_0, tile, 4 * part + j, half, v[j]);
    }
}

INLINE void blocks32(enum kern_type type, const uint8_t *const p[ROWS], size_t blocks,
                     uint8_t *tile)
{
    for (size_t b = 0; b < blocks; b++, tile += tile_block_bytes(type)) {
        size_t at = b * type_block_bytes(type);
        float *scales = (float *)(void *)(tile + tile_d_at(type));
        size_t halves = 2;
        OPAQUE(halves);
        for (size_t half = 0; half < halves; half++) {
            const uint8_t *const *rows = p + 8 * half;
            __m256 d, min;
            if (type == KERN_Q8_0)
                bytes32(rows, at + at_quants(type), half, tile);
            else
                nibbles32(type, rows, at, half, tile);
            scales8(type, rows, at, &d, &min);
            _mm256_storeu_ps(scales + 8 * half, d);
            if (has_min(type))
                _mm256_storeu_ps(scales + ROWS + 8 * half, min);
        }
    }
}

void avx2_tile32(enum kern_type type, const uint8_t *const p[ROWS], size_t blocks, uint8_t *tile)
{
    switch (type) {
    case KERN_Q4_0: blocks32(KERN_Q4_0, p, blocks, tile); break;
    case KERN_Q4_1: blocks32(KERN_Q4_1, p, blocks, tile); break;
    case KERN_Q5_0: blocks32(KERN_Q5_0, p, blocks, tile); break;
    case KERN_Q5_1: blocks32(KERN_Q5_1, p, blocks, tile); break;
    case KERN_Q8_0: blocks32(KERN_Q8_0, p, blocks, tile); break;
    case KERN_IQ4_NL: blocks32(KERN_IQ4_NL, p, blocks, tile); break;
    default: blocks32(KERN_MXFP4, p, blocks, tile); break;
    }
}

/* ---- super-blocks: eight rows, 16 bytes of each at a time ---- */

INLINE __m256i shifted_left(__m256i v, int by)
{
    return by >= 0 ? _mm256_slli_epi16(v, by >= 0 ? by : 0)
                   : _mm256_srli_epi16(v, by < 0 ? -by : 0);
}

/* Q2_K and Q3_K: a byte has elements of four groups of 32. */
INLINE void quants2(enum kern_type type, const uint8_t *const *p, size_t at, size_t half,
                    uint8_t *tile)
{
    const size_t qs = type == KERN_Q2_K ? Q2_K_QS : Q3_K_QS;
    for (size_t part = 0; part < 2; part++) {
        __m256i h[4];
        if (type == KERN_Q3_K)
            transpose8(p, at + 16 * part, h);
        for (size_t n = 0; n < 2; n++) {
            __m256i v[4];
            transpose8(p, at + qs + 32 * n + 16 * part, v);
            for (size_t j = 0; j < 16; j++) {
                size_t group = 4 * n + j / 4;
                __m256i q = low_bits(_mm256_srli_epi16(v[j % 4], (int)(j / 4) * 2), 3);
                if (type == KERN_Q3_K)
                    q = _mm256_or_si256(q, low_bits(shifted_left(h[j % 4], 2 - (int)group), 4));
                put8(type, tile, 8 * group + 4 * part + j % 4, half, q);
            }
        }
    }
}

/* Q4_K and Q5_K: a byte has an element of an even group of 32 and one of the next. */
INLINE void quants4(enum kern_type type, const uint8_t *const *p, size_t at, size_t half,
                    uint8_t *tile)
{
    const size_t qs = type == KERN_Q4_K ? Q4_K_QS : Q5_K_QS;
    for (size_t part = 0; part < 2; part++) {
        __m256i h[4];
        if (type == KERN_Q5_K)
            transpose8(p, at + Q5_K_QH + 16 * part, h);
        for (size_t n = 0; n < 4; n++) {
            __m256i v[4];
            transpose8(p, at + qs + 32 * n + 16 * part, v);
            for (size_t j = 0; j < 8; j++) {
                size_t group = 2 * n + j / 4;
                __m256i q = j < 4 ? low_bits(v[j % 4], 15) : high_nibbles(v[j % 4]);
                if (type == KERN_Q5_K)
                    q = _mm256_or_si256(q, low_bits(shifted_left(h[j % 4], 4 - (int)group), 16));
                put8(type, tile, 8 * group + 4 * part + j % 4, half, q);
            }
        }
    }
}

INLINE void quants6(const uint8_t *const *p, size_t at, size_t half, uint8_t *tile)
{
    for (size_t n = 0; n < 2; n++)
        for (size_t part = 0; part < 2; part++) {
            __m256i h[4], v[2][4];
            transpose8(p, at + Q6_K_QH + 32 * n + 16 * part, h);
            transpose8(p, at + 64 * n + 16 * part, v[0]);
            transpose8(p, at + 64 * n + 32 + 16 * part, v[1]);
            for (size_t j = 0; j < 16; j++) {
                size_t g = j / 4;
                __m256i w = v[g % 2][j % 4];
                __m256i q = g < 2 ? low_bits(w, 15) : high_nibbles(w);
                __m256i top = low_bits(shifted_left(h[j % 4], 4 - 2 * (int)g), 48);
                put8(KERN_Q6_K, tile, 32 * n + 8 * g + 4 * part + j % 4, half,
                     _mm256_or_si256(q, top));
            }
        }
}

INLINE void quants_iq4(const uint8_t *const *p, size_t at, size_t half, uint8_t *tile)
{
    for (size_t g = 0; g < 8; g++) {
        __m256i v[4];
        transpose8(p, at + IQ4_XS_QS + 16 * g, v);
        for (size_t j = 0; j < 8; j++) {
            __m256i q = j < 4 ? low_bits(v[j % 4], 15) : high_nibbles(v[j % 4]);
            put8(KERN_IQ4_XS, tile, 8 * g + j, half, iq4_of(q));
        }
    }
}

/* Words of eight rows to rows of eight words, in both halves of the vectors. */
INLINE void transpose_words(__m256i v[8])
{
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi16(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) { /* a[4i], a[4i + 2]: words 0 to 3; the others: 4 to 7 */
        b[4 * i] = _mm256_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        v[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
        v[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
    }
}

/* Words of eight rows, side by side with others: pairs. */
INLINE __m256i zip(__m128i a, __m128i b)
{
    __m256i lo = _mm256_castsi128_si256(_mm_unpacklo_epi16(a, b));
    return _mm256_inserti128_si256(lo, _mm_unpackhi_epi16(a, b), 1);
}

INLINE __m128i low_half(__m256i v)
{
    return _mm256_castsi256_si128(v);
}

INLINE __m128i high_half(__m256i v)
{
    return _mm256_extracti128_si256(v, 1);
}

INLINE void tile_scales(enum kern_type type, const uint8_t *const *p, size_t at, size_t half,
                        uint8_t *tile)
{
    uint8_t *scales = tile + tile_scales_at(type), *minima = tile + tile_mins_at(type);
    __m256i s[8], m[8];
    for (int i = 0; i < 8; i++)
        s[i] = scales16(type, p[i] + at, &m[i]);
    transpose_words(s);
    if (type == KERN_Q2_K)
        transpose_words(m);
    for (size_t j = 0; j < 8; j++) {
        __m128i a = low_half(s[j]), b = high_half(s[j]);
        if (sub16(type)) {
            put_scales(scales, 2 * j, half, zip(a, a));
            put_scales(scales, 2 * j + 1, half, zip(b, b));
        } else {
            put_scales(scales, j, half, zip(a, a));
        }
        if (type == KERN_Q2_K)
            put_scales(minima, j, half, zip(low_half(m[j]), high_half(m[j])));
        else if (has_min(type) && j % 2)
            put_scales(minima, j / 2, half, zip(high_half(s[j - 1]), b));
    }
}

INLINE void blocks256(enum kern_type type, const uint8_t *const p[ROWS], size_t blocks,
                      uint8_t *tile)
{
    for (size_t b = 0; b < blocks; b++, tile += tile_block_bytes(type)) {
        size_t at = b * type_block_bytes(type);
        float *scales = (float *)(void *)(tile + tile_d_at(type));
        size_t halves = 2;
        OPAQUE(halves);
        for (size_t half = 0; half < halves; half++) {
            const uint8_t *const *rows = p + 8 * half;
            __m256 d, min;
            if (type == KERN_Q2_K || type == KERN_Q3_K)
                quants2(type, rows, at, half, tile);
            else if (type == KERN_Q4_K || type == KERN_Q5_K)
                quants4(type, rows, at, half, tile);
            else if (type == KERN_Q6_K)
                quants6(rows, at, half, tile);
            else
                quants_iq4(rows, at, half, tile);
            tile_scales(type, rows, at, half, tile);
            scales8(type, rows, at, &d, &min);
            _mm256_storeu_ps(scales + 8 * half, d);
            if (has_min(type))
                _mm256_storeu_ps(scales + ROWS + 8 * half, min);
        }
    }
}

void avx2_tile256(enum kern_type type, const uint8_t *const p[ROWS], size_t blocks, uint8_t *tile)
{
    switch (type) {
    case KERN_Q2_K: blocks256(KERN_Q2_K, p, blocks, tile); break;
    case KERN_Q3_K: blocks256(KERN_Q3_K, p, blocks, tile); break;
    case KERN_Q4_K: blocks256(KERN_Q4_K, p, blocks, tile); break;
    case KERN_Q5_K: blocks256(KERN_Q5_K, p, blocks, tile); break;
    case KERN_Q6_K: blocks256(KERN_Q6_K, p, blocks, tile); break;
    default: blocks256(KERN_IQ4_XS, p, blocks, tile); break;
    }
}
