/* avx2_quant_int.h: what the AVX2 products with quantised weights share: which formats are packed
 * together, the layouts of packed activations and of a tile, and
 * the small loads and decodings that both ways of multiplying need.
 *
 * Formats are of two kinds. Blocks of 32 have a scale each in floats; super-blocks of 256 have
 * integer scales for sub-blocks of 16 or 32. One packing of the activations serves each kind.
 *
 * Few columns, a column: q int8[k]; then for blocks of 32 d float[k / 32], s float[k / 32] (d times
 * the sum of q), sum float[k / 32]; for super-blocks d float[k / 256], then for each of them
 * sum16 int16[16] (even sub-blocks, then odd ones), sum32 int16[8], 16 bytes of nothing.
 *
 * Many columns: k in chunks of CHUNK; a chunk has all groups of COLS columns, a group its blocks:
 *   of 32:  q [8][COLS] int8[4]; d float[COLS]; s float[COLS]; sum float[COLS]
 *   of 256: q [64][COLS] int8[4]; lanes [16][COLS] int16[2]: the sums of a sub-block's bytes
 *           0 and 1 of every four, and of 2 and 3; pairs16 [8][COLS] int16[2]: sums of sub-blocks
 *           2i and 2i + 1 of 16; pairs32 [4][COLS] int16[2]: the same of 32; d float[COLS]
 * and for weights of full bytes, which are multiplied as words, with n elements in a block:
 *   q [n / 2][COLS] int16[2]: elements 4i and 4i + 2, then 4i + 1 and 4i + 3; d float[COLS] */
#ifndef WEIR_AVX2_QUANT_INT_H
#define WEIR_AVX2_QUANT_INT_H

#include "avx2_block_int.h"

#define FEW 5     /* columns up to which unpacking a tile does not pay */
#define AT_ONCE 4 /* of them multiplied with a block while it is in registers */
#define ROWS 16
#define COLS 4
#define CHUNK 512

/* ---- activations ---- */
#define FEW256_SUMS 64 /* bytes of sums of a super-block */
#define GROUP32 (32 * COLS + 3 * COLS * 4)
#define LANES256 (SUPER * COLS)
#define PAIRS16 (LANES256 + 16 * COLS * 4)
#define PAIRS32 (PAIRS16 + 8 * COLS * 4)
#define D256 (PAIRS32 + 4 * COLS * 4)
#define GROUP256 (D256 + COLS * 4)

static inline size_t few_column_bytes(enum act_kind kind, size_t k)
{
    if (kind == ACT_32)
        return round_up(k + k / BLOCK * 12, 64);
    return round_up(k + round_up(k / SUPER * 4, 64) + k / SUPER * FEW256_SUMS, 64);
}

INLINE size_t block_size(enum act_kind kind)
{
    return kind == ACT_32 ? BLOCK : SUPER;
}

INLINE size_t group_block_bytes(enum kern_type type)
{
    if (is_signed(type))
        return (2 * block_size(type_act(type)) + 4) * COLS;
    return type_act(type) == ACT_32 ? GROUP32 : GROUP256;
}

/* Where group g of `groups` stands in the chunk that begins at element k0. */
INLINE size_t group_offset(enum kern_type type, size_t k, size_t groups, size_t k0, size_t g)
{
    size_t len = k - k0 < CHUNK ? k - k0 : CHUNK, block = block_size(type_act(type));
    return (k0 / block * groups + len / block * g) * group_block_bytes(type);
}

/* ---- vectors ---- */
INLINE __m256i fours(__m256i pairs)
{
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* vphadd takes twice the time of two shuffles and an addition. Of four vectors whose halves belong
 * to two rows each: the sums of their dwords, a vector in every lane of a half. */
INLINE __m256i ends32(__m256i a, __m256i b, bool odd)
{
    __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    return _mm256_castps_si256(odd ? _mm256_shuffle_ps(x, y, 0xdd) : _mm256_shuffle_ps(x, y, 0x88));
}

INLINE __m256i add_halves16(__m256i a, __m256i b)
{
    return _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

INLINE __m256i add_halves32(__m256i a, __m256i b)
{
    return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

INLINE __m256i add_ends32(__m256i a, __m256i b)
{
    return _mm256_add_epi32(ends32(a, b, false), ends32(a, b, true));
}

INLINE __m256i sum_of_four(const __m256i t[4])
{
    return add_ends32(add_halves32(t[0], t[1]), add_halves32(t[2], t[3]));
}

/* Keeps a value in its register from step to step: gcc would add products first, and spill sums. */
#define PIN(v) __asm__("" : "+x"(v))
/* Keeps it in memory. */
#define PIN_MEM(v) __asm__("" : "+m"(v))

/* Hides a number from the compiler: a loop to it stays a loop where the body is large enough. */
#define OPAQUE(n) __asm__("" : "+r"(n))

/* ---- rows ----
 * Pointers to n rows from r; past r1 the last row again, whose results are thrown away. */
INLINE void row_pointers(const struct kern_mul *m, size_t r, const uint8_t **p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t row = r + i < m->r1 ? r + i : m->r1 - 1;
        p[i] = (const uint8_t *)m->w->data + row * m->w->stride;
    }
}

/* Strided streams are more than the hardware's prefetcher follows, so weights are asked for in the
 * order they lie, into the second cache: the first AHEAD rows at once, then, while a block of some
 * rows is worked on, as many bytes AHEAD rows further on. What another thread reads is left alone.
 */
#define AHEAD 16

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

/* Where to read ahead while some rows from r are worked on; at the end, what has been read. */
INLINE const uint8_t *ahead_of(const struct kern_mul *m, size_t r)
{
    return (const uint8_t *)m->w->data + (r + AHEAD < m->r1 ? r + AHEAD : r) * m->w->stride;
}

/* The dword at p[i] + at of eight rows; `at` is 16 bytes or more before the end of a block, or the
 * last dword of one and 16 bytes or more after its beginning. */
INLINE __m256i dwords8(const uint8_t *const *p, size_t at, bool last)
{
    __m128i v[4];
    for (int i = 0; i < 4; i++) {
        const uint8_t *a = p[2 * i] + at, *b = p[2 * i + 1] + at;
        v[i] = last ? _mm_unpackhi_epi32(load128(a - 12), load128(b - 12))
                    : _mm_unpacklo_epi32(load128(a), load128(b));
    }
    __m128i lo = last ? _mm_unpackhi_epi64(v[0], v[1]) : _mm_unpacklo_epi64(v[0], v[1]);
    __m128i hi = last ? _mm_unpackhi_epi64(v[2], v[3]) : _mm_unpacklo_epi64(v[2], v[3]);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
}

/* Eight pairs of halves to their first and second floats. */
INLINE void split_halves(__m256i pairs, __m256 *first, __m256 *second)
{
    const __m256i apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    __m256i h = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(pairs, apart), 0xd8);
    *first = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    *second = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
}

/* The half at p[i] + at of eight rows, as floats; `at` as for dwords8. */
INLINE __m256 halves8(const uint8_t *const *p, size_t at, bool last)
{
    __m128i v[4];
    for (int i = 0; i < 4; i++) {
        const uint8_t *a = p[2 * i] + at, *b = p[2 * i + 1] + at;
        v[i] = last ? _mm_unpackhi_epi16(load128(a - 14), load128(b - 14))
                    : _mm_unpacklo_epi16(load128(a), load128(b));
    }
    __m128i lo = last ? _mm_unpackhi_epi32(v[0], v[1]) : _mm_unpacklo_epi32(v[0], v[1]);
    __m128i hi = last ? _mm_unpackhi_epi32(v[2], v[3]) : _mm_unpacklo_epi32(v[2], v[3]);
    return _mm256_cvtph_ps(last ? _mm_unpackhi_epi64(lo, hi) : _mm_unpacklo_epi64(lo, hi));
}

/* 2^(e - 128) of the byte at p[i] + at of eight rows, at the beginning of a block; 0 and 1 give
 * subnormals. */
INLINE __m256 exponents8(const uint8_t *const *p, size_t at)
{
    __m128i v[4];
    for (int i = 0; i < 4; i++)
        v[i] = _mm_unpacklo_epi8(load128(p[2 * i] + at), load128(p[2 * i + 1] + at));
    __m128i lo = _mm_unpacklo_epi16(v[0], v[1]), hi = _mm_unpacklo_epi16(v[2], v[3]);
    __m256i e = _mm256_cvtepu8_epi32(_mm_unpacklo_epi32(lo, hi));
    const __m256i one = _mm256_set1_epi32(1);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i big = _mm256_cmpgt_epi32(e, one);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(small, normal, big));
}

/* The scales of a block of eight rows, and the minimum's where the format has one. */
INLINE void scales8(enum kern_type type, const uint8_t *const *p, size_t at, __m256 *d, __m256 *min)
{
    switch (type) {
    case KERN_Q4_1:
    case KERN_Q5_1:
    case KERN_Q4_K:
    case KERN_Q5_K: split_halves(dwords8(p, at, false), d, min); break;
    case KERN_Q2_K: split_halves(dwords8(p, at + Q2_K_D, true), d, min); break;
    case KERN_Q3_K: *d = halves8(p, at + Q3_K_D, true); break;
    case KERN_Q6_K: *d = halves8(p, at + Q6_K_D, true); break;
    case KERN_MXFP4: *d = exponents8(p, at); break;
    default: *d = halves8(p, at, false); break;
    }
}

/* Eight rows' results of a column. */
INLINE void store8(const struct kern_mul *m, size_t r, size_t c, __m256 v)
{
    float *out = m->out + c * m->out_stride + r;
    if (m->r1 - r >= 8)
        _mm256_storeu_ps(out, v);
    else
        _mm256_maskstore_ps(out, mask8(m->r1 - r), v);
}

/* ---- a tile: 16 rows of a chunk, unpacked ----
 * Weights are unsigned bytes; what has a full byte, signed words.
 * A block of 32: w [8][ROWS] 4 bytes; d float[ROWS], min float[ROWS].
 * A super-block: w [64][ROWS] 4 bytes; scales [8 or 16][ROWS] int16[2], twice the same;
 * minima [4 or 8][ROWS] int16[2], of sub-blocks 2i and 2i + 1; d float[ROWS], min float[ROWS]. */
#define TILE_SCALES (16 * ROWS * 4)
#define TILE_MINS (8 * ROWS * 4)
#define TILE_MAX (CHUNK / SUPER * (2 * SUPER * ROWS + TILE_SCALES + TILE_MINS + 2 * ROWS * 4))

/* Bytes of a step of four elements: [ROWS] 4 bytes, or words 0 and 2 so and then 1 and 3. */
INLINE size_t step_bytes(enum kern_type type)
{
    return is_signed(type) ? 2 * ROWS * 4 : ROWS * 4;
}

INLINE size_t tile_scales_at(enum kern_type type)
{
    return SUPER / 4 * step_bytes(type);
}

INLINE size_t tile_mins_at(enum kern_type type)
{
    return tile_scales_at(type) + TILE_SCALES;
}

INLINE size_t tile_d_at(enum kern_type type)
{
    if (type_act(type) == ACT_32)
        return BLOCK / 4 * step_bytes(type);
    return tile_mins_at(type) + TILE_MINS;
}

INLINE size_t tile_block_bytes(enum kern_type type)
{
    return tile_d_at(type) + 2 * ROWS * 4;
}

/* The dwords at p[i] + at + 4j, j < 4, of eight rows: v[j] has a row in each lane. */
INLINE void transpose8(const uint8_t *const *p, size_t at, __m256i v[4])
{
    __m256i a = load_halves(p[0] + at, p[4] + at), b = load_halves(p[1] + at, p[5] + at);
    __m256i c = load_halves(p[2] + at, p[6] + at), d = load_halves(p[3] + at, p[7] + at);
    __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
    __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
    v[0] = _mm256_unpacklo_epi64(ab0, cd0);
    v[1] = _mm256_unpackhi_epi64(ab0, cd0);
    v[2] = _mm256_unpacklo_epi64(ab1, cd1);
    v[3] = _mm256_unpackhi_epi64(ab1, cd1);
}

/* Bytes 0 and 2 of every dword as words, or bytes 1 and 3. */
INLINE __m256i words_of(__m256i v, bool odd)
{
    return _mm256_srai_epi16(odd ? v : _mm256_slli_epi16(v, 8), 8);
}

INLINE void put256(uint8_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

void avx2_few32(const struct kern_mul *m);
void avx2_few256(const struct kern_mul *m);
void avx2_many(const struct kern_mul *m);
size_t avx2_many_scratch(size_t n);
/* Blocks of 16 rows, p[i] where row i's begin. */
void avx2_tile32(enum kern_type type, const uint8_t *const p[ROWS], size_t blocks, uint8_t *tile);
void avx2_tile256(enum kern_type type, const uint8_t *const p[ROWS], size_t blocks, uint8_t *tile);

#endif
