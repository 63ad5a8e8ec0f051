/* avx2_pack.c: activations for the AVX2 products: floats padded to 16, or int8 in blocks of 32 or
 * of 256 with the sums that offsets and minima need. Layouts: avx2_quant_int.h. */
#include "avx2_quant_int.h"
#include "c_int.h"

size_t avx2_act_bytes(enum kern_type type, size_t n, size_t k)
{
    enum act_kind kind = type_act(type);
    if (kind == ACT_FLOAT)
        return n * float_column(k) * sizeof(float);
    if (n <= FEW)
        return n * few_column_bytes(kind, k);
    size_t groups = (n + COLS - 1) / COLS;
    return groups * (k / block_size(kind)) * group_block_bytes(type);
}

/* Of many columns, those for weights that are multiplied as words are packed as such. */
enum kern_type avx2_act_as(enum kern_type type, size_t n)
{
    if (n > FEW && is_signed(type))
        return type == KERN_IQ4_XS ? KERN_IQ4_XS : KERN_Q8_0;
    switch (type_act(type)) {
    case ACT_32: return n > FEW ? KERN_Q4_0 : KERN_Q8_0;
    case ACT_256: return KERN_Q6_K;
    default: return KERN_F32;
    }
}

/* ---- a block of one column ---- */
INLINE __m256i magnitude(const float *x)
{
    return _mm256_and_si256(load256(x), _mm256_set1_epi32(0x7fffffff));
}

/* The largest magnitude of n elements, as the bits of a float: NaN and infinity are above all. */
INLINE uint32_t top_bits(const float *x, size_t n)
{
    __m256i a = magnitude(x), b = magnitude(x + 8);
    for (size_t i = 16; i < n; i += 16) {
        a = _mm256_max_epi32(a, magnitude(x + i));
        b = _mm256_max_epi32(b, magnitude(x + i + 8));
    }
    __m256i m = _mm256_max_epi32(a, b);
    __m128i v = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    v = _mm_max_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_max_epi32(v, _mm_shuffle_epi32(v, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(v);
}

INLINE __m256i rounded(const float *x, __m256 by)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), by));
}

/* A block of n elements, 32 to a vector. Returns d. */
INLINE float quantise(const float *x, size_t n, __m256i *q)
{
    uint32_t top = top_bits(x, n);
    float amax = bits_float(top);
    if (top >= 0x7f800000 || amax < ACT_TINY) {
        for (size_t i = 0; i < n / 32; i++)
            q[i] = _mm256_setzero_si256();
        return top >= 0x7f800000 ? NAN : 0;
    }
    __m256 by = _mm256_set1_ps(127.0f / amax);
    for (size_t i = 0; i < n / 32; i++, x += 32) {
        __m256i lo = _mm256_packs_epi32(rounded(x, by), rounded(x + 8, by));
        __m256i hi = _mm256_packs_epi32(rounded(x + 16, by), rounded(x + 24, by));
        q[i] = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi),
                                           _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    return amax / 127.0f;
}

/* Sums of fours, in eight lanes. */
INLINE __m256i sums_of_fours(__m256i q)
{
    return fours(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q));
}

/* ---- few columns ---- */
static int32_t byte_sum(__m256i q)
{
    __m256i s = sums_of_fours(q);
    __m128i n = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0xb1));
    return _mm_cvtsi128_si32(n);
}

static void few_column32(const float *x, size_t k, uint8_t *out)
{
    size_t blocks = k / BLOCK;
    float *d = (float *)(void *)(out + k), *s = d + blocks, *sum = s + blocks;
    for (size_t i = 0; i < blocks; i++) {
        __m256i q;
        d[i] = quantise(x + i * BLOCK, BLOCK, &q);
        sum[i] = (float)byte_sum(q);
        s[i] = d[i] * sum[i];
        _mm256_storeu_si256((__m256i *)(void *)(out + i * BLOCK), q);
    }
}

static void few_column256(const float *x, size_t k, uint8_t *out)
{
    size_t blocks = k / SUPER;
    float *d = (float *)(void *)(out + k);
    uint8_t *sums = out + k + round_up(blocks * 4, 64);
    for (size_t i = 0; i < blocks; i++, sums += FEW256_SUMS) {
        __m256i q[8], f[8];
        d[i] = quantise(x + i * SUPER, SUPER, q);
        for (size_t j = 0; j < 8; j++) {
            _mm256_storeu_si256((__m256i *)(void *)(out + i * SUPER + j * 32), q[j]);
            f[j] = sums_of_fours(q[j]);
        }
        __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(f[0], f[1]), _mm256_hadd_epi32(f[2], f[3]));
        __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(f[4], f[5]), _mm256_hadd_epi32(f[6], f[7]));
        __m256i sum16 = _mm256_packs_epi32(a, b); /* even sub-blocks, then odd ones */
        __m128i sum32 =
            _mm_add_epi16(_mm256_castsi256_si128(sum16), _mm256_extracti128_si256(sum16, 1));
        _mm256_storeu_si256((__m256i *)(void *)sums, sum16);
        _mm256_storeu_si256((__m256i *)(void *)(sums + 32),
                            _mm256_inserti128_si256(_mm256_setzero_si256(), sum32, 0));
    }
}

/* ---- many columns ---- */

/* 32 bytes of four columns, dword by dword: [8][COLS]. */
INLINE void interleave(const __m256i q[COLS], __m128i out[8])
{
    __m256i t0 = _mm256_unpacklo_epi32(q[0], q[1]), t1 = _mm256_unpackhi_epi32(q[0], q[1]);
    __m256i t2 = _mm256_unpacklo_epi32(q[2], q[3]), t3 = _mm256_unpackhi_epi32(q[2], q[3]);
    __m256i u[4] = {_mm256_unpacklo_epi64(t0, t2), _mm256_unpackhi_epi64(t0, t2),
                    _mm256_unpacklo_epi64(t1, t3), _mm256_unpackhi_epi64(t1, t3)};
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_castsi256_si128(u[i]);
        out[i + 4] = _mm256_extracti128_si256(u[i], 1);
    }
}

/* Sums of 16 bytes of each column, in two lanes of int16: four dwords of [COLS]. */
INLINE __m128i lane_sums(const __m128i q[4])
{
    const __m128i one = _mm_set1_epi8(1);
    __m128i a = _mm_add_epi16(_mm_maddubs_epi16(one, q[0]), _mm_maddubs_epi16(one, q[1]));
    __m128i b = _mm_add_epi16(_mm_maddubs_epi16(one, q[2]), _mm_maddubs_epi16(one, q[3]));
    return _mm_add_epi16(a, b);
}

INLINE __m128i sum_lanes(__m128i lanes)
{
    return _mm_madd_epi16(lanes, _mm_set1_epi16(1));
}

INLINE void put128(uint8_t *p, __m128i v)
{
    _mm_storeu_si128((__m128i *)(void *)p, v);
}

INLINE void put_pair(uint8_t *p, __m128i first, __m128i second)
{
    put128(p, _mm_blend_epi16(first, _mm_slli_epi32(second, 16), 0xaa));
}

static void group_block32(const float *const x[COLS], uint8_t *out)
{
    __m256i q[COLS];
    __m128i v[8];
    float d[COLS];
    for (int c = 0; c < COLS; c++) {
        q[c] = _mm256_setzero_si256();
        d[c] = x[c] ? quantise(x[c], BLOCK, &q[c]) : 0;
    }
    interleave(q, v);
    for (int j = 0; j < 8; j++)
        put128(out + 16 * j, v[j]);
    __m128i lanes = _mm_add_epi16(lane_sums(v), lane_sums(v + 4));
    __m128 scale = _mm_loadu_ps(d), sum = _mm_cvtepi32_ps(sum_lanes(lanes));
    _mm_storeu_ps((float *)(void *)(out + 32 * COLS), scale);
    _mm_storeu_ps((float *)(void *)(out + 36 * COLS), _mm_mul_ps(scale, sum));
    _mm_storeu_ps((float *)(void *)(out + 40 * COLS), sum);
}

static void group_block256(const float *const x[COLS], uint8_t *out)
{
    __m256i q[COLS][8];
    __m128i sum[8][2];
    float d[COLS];
    for (int c = 0; c < COLS; c++) {
        memset(q[c], 0, sizeof q[c]);
        d[c] = x[c] ? quantise(x[c], SUPER, q[c]) : 0;
    }
    for (int j = 0; j < 8; j++) {
        __m256i part[COLS] = {q[0][j], q[1][j], q[2][j], q[3][j]};
        __m128i v[8];
        interleave(part, v);
        for (int i = 0; i < 8; i++)
            put128(out + (8 * j + i) * 4 * COLS, v[i]);
        for (int half = 0; half < 2; half++) {
            __m128i lanes = lane_sums(v + 4 * half);
            put128(out + LANES256 + (2 * j + half) * 4 * COLS, lanes);
            sum[j][half] = sum_lanes(lanes);
        }
        put_pair(out + PAIRS16 + j * 4 * COLS, sum[j][0], sum[j][1]);
    }
    for (int j = 0; j < 4; j++)
        put_pair(out + PAIRS32 + j * 4 * COLS, _mm_add_epi32(sum[2 * j][0], sum[2 * j][1]),
                 _mm_add_epi32(sum[2 * j + 1][0], sum[2 * j + 1][1]));
    memcpy(out + D256, d, sizeof d);
}

INLINE __m128i words_of_128(__m128i v, bool odd)
{
    return _mm_srai_epi16(odd ? v : _mm_slli_epi16(v, 8), 8);
}

/* A block of n elements as words. */
static void group_block_words(const float *const x[COLS], size_t n, uint8_t *out)
{
    __m256i q[COLS][8];
    float d[COLS];
    for (int c = 0; c < COLS; c++) {
        memset(q[c], 0, sizeof q[c]);
        d[c] = x[c] ? quantise(x[c], n, q[c]) : 0;
    }
    for (size_t j = 0; j < n / 32; j++) {
        __m256i part[COLS] = {q[0][j], q[1][j], q[2][j], q[3][j]};
        __m128i v[8];
        interleave(part, v);
        for (int i = 0; i < 8; i++, out += 8 * COLS) {
            put128(out, words_of_128(v[i], false));
            put128(out + 4 * COLS, words_of_128(v[i], true));
        }
    }
    memcpy(out, d, sizeof d);
}

static void pack_group(enum kern_type type, const float *const x[COLS], size_t groups, size_t k,
                       size_t g, uint8_t *out)
{
    const enum act_kind kind = type_act(type);
    size_t block = block_size(kind);
    for (size_t i = 0; i < k; i += block) {
        size_t k0 = i / CHUNK * CHUNK;
        uint8_t *to =
            out + group_offset(type, k, groups, k0, g) + (i - k0) / block * group_block_bytes(type);
        const float *at[COLS];
        for (int c = 0; c < COLS; c++)
            at[c] = x[c] ? x[c] + i : NULL;
        if (is_signed(type))
            group_block_words(at, block, to);
        else if (kind == ACT_32)
            group_block32(at, to);
        else
            group_block256(at, to);
    }
}

static void pack_floats(const float *x, size_t k, float *out)
{
    memcpy(out, x, k * sizeof *out);
    memset(out + k, 0, (round_up(k, 16) - k) * sizeof *out);
}

static void pack_few(enum act_kind kind, const float *x, size_t k, uint8_t *out)
{
    if (kind == ACT_32)
        few_column32(x, k, out);
    else
        few_column256(x, k, out);
}

void avx2_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                   size_t c0, size_t c1, void *out)
{
    enum act_kind kind = type_act(type);
    if (kind == ACT_FLOAT) {
        for (size_t c = c0; c < c1; c++)
            pack_floats(x + c * x_stride, k, (float *)out + c * float_column(k));
        return;
    }
    if (n <= FEW) {
        for (size_t c = c0; c < c1; c++)
            pack_few(kind, x + c * x_stride, k, (uint8_t *)out + c * few_column_bytes(kind, k));
        return;
    }
    for (size_t c = c0; c < c1; c += COLS) {
        const float *col[COLS];
        for (size_t i = 0; i < COLS; i++)
            col[i] = c + i < c1 ? x + (c + i) * x_stride : NULL;
        pack_group(type, col, (n + COLS - 1) / COLS, k, c / COLS, out);
    }
}
