/* avx512_pack.c: quantises activations and lays them out for the products (the layouts stand in
 * avx512_int.h). Four blocks at a time, one in each lane of a short vector: of the four columns of
 * a group, of two columns two each, of one column four. */
#include "avx512_int.h"

#define ITEMS 4

enum kern_type avx512_act_as(enum kern_type type, size_t n)
{
    (void)n;
    switch (type_act(type)) {
    case ACT_FLOAT: return KERN_F32;
    case ACT_32: return KERN_Q8_0;
    case ACT_256: return KERN_Q4_K;
    default: return type;
    }
}

size_t avx512_act_bytes(enum kern_type type, size_t n, size_t k)
{
    size_t cols = group_cols(n), groups = group_count(n);
    switch (type_act(type)) {
    case ACT_32: return groups * (k / BLOCK) * X32_BYTES(cols);
    case ACT_256: return groups * (k / SUPER) * X256_BYTES(cols);
    default: return n * round_up(k, 16) * sizeof(float);
    }
}

/* ---- quantising four blocks ---- */

INLINE __m512i magnitudes(const float *x)
{
    return _mm512_and_si512(_mm512_loadu_si512(x), _mm512_set1_epi32(0x7fffffff));
}

INLINE __m512i max_pairs(__m512i a, __m512i b)
{
    return _mm512_max_epu32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

/* The largest magnitude of each of four blocks, as bits, which order as the floats do. */
INLINE __m128i tops(const float *const x[ITEMS], size_t len)
{
    __m512i top[ITEMS];
    for (int t = 0; t < ITEMS; t++) {
        top[t] = magnitudes(x[t]);
        for (size_t i = 16; i < len; i += 16)
            top[t] = _mm512_max_epu32(top[t], magnitudes(x[t] + i));
    }
    __m512i ab = max_pairs(top[0], top[1]), cd = max_pairs(top[2], top[3]);
    __m512i v = _mm512_max_epu32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i w = _mm256_max_epu32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_max_epu32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}

/* The scales of four blocks of `len` elements; by: what the elements are multiplied with. */
INLINE __m128 scales(const float *const x[ITEMS], size_t len, __m512 by[ITEMS])
{
    __m128i top = tops(x, len);
    __m128 amax = _mm_castsi128_ps(top), full = _mm_set1_ps(127.0f);
    __mmask8 odd = _mm_cmpge_epu32_mask(top, _mm_set1_epi32(0x7f800000));
    __mmask8 plain = _mm_cmp_ps_mask(amax, _mm_set1_ps(ACT_TINY), _CMP_GE_OQ) & (__mmask8)~odd;
    __m128 inv = _mm_maskz_div_ps(plain, full, amax);
    __m128 d = _mm_maskz_div_ps(plain, amax, full);
    by[0] = _mm512_broadcastss_ps(inv);
    by[1] = _mm512_broadcastss_ps(_mm_permute_ps(inv, 0x55));
    by[2] = _mm512_broadcastss_ps(_mm_permute_ps(inv, 0xaa));
    by[3] = _mm512_broadcastss_ps(_mm_permute_ps(inv, 0xff));
    return _mm_mask_mov_ps(d, odd, _mm_set1_ps(NAN));
}

/* 16 elements, rounded to nearest even, as bytes. A NaN becomes the least integer, whose byte is 0.
 */
INLINE __m128i bytes16(const float *x, __m512 by)
{
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), by)));
}

/* Elements [at, at + 16) of four blocks: q[t] those of block t, wide[j] four of each; their sums.
 */
INLINE __m128i sixteen(const float *const x[ITEMS], size_t at, const __m512 by[ITEMS],
                       __m128i q[ITEMS], __m128i wide[4])
{
    for (int t = 0; t < ITEMS; t++)
        q[t] = bytes16(x[t] + at, by[t]);
    __m128i t0 = _mm_unpacklo_epi32(q[0], q[1]), t1 = _mm_unpackhi_epi32(q[0], q[1]);
    __m128i t2 = _mm_unpacklo_epi32(q[2], q[3]), t3 = _mm_unpackhi_epi32(q[2], q[3]);
    wide[0] = _mm_unpacklo_epi64(t0, t2);
    wide[1] = _mm_unpackhi_epi64(t0, t2);
    wide[2] = _mm_unpacklo_epi64(t1, t3);
    wide[3] = _mm_unpackhi_epi64(t1, t3);
    __m128i sum = _mm_setzero_si128();
    for (int j = 0; j < 4; j++)
        sum = _mm_dpbusd_epi32(sum, _mm_set1_epi8(1), wide[j]);
    return sum;
}

/* ---- storing them ----
 * Item t is column t % C of the group's block t / C. Of groups of eight, out begins with the first
 * of the four columns. */

INLINE void store_q(const int C, uint8_t *const out[ITEMS], size_t at, const __m128i q[ITEMS],
                    const __m128i wide[4])
{
    for (int t = 0; t < ITEMS; t++) {
        if (C >= 4)
            _mm_storeu_si128((__m128i *)(out[0] + C * at + (size_t)(4 * C * t)), wide[t]);
        else if (C == 1)
            _mm_storeu_si128((__m128i *)(out[t] + at), q[t]);
        else
            _mm_storeu_si128((__m128i *)(out[t / 2 * 2] + 2 * at + (size_t)(16 * (t % 2))),
                             t % 2 ? _mm_unpackhi_epi32(q[t - 1], q[t])
                                   : _mm_unpacklo_epi32(q[t], q[t + 1]));
    }
}

/* One of a run of dwords for each column. */
INLINE void store_dwords(const int C, uint8_t *const out[ITEMS], size_t at, __m128i v)
{
    if (C >= 4) {
        _mm_storeu_si128((__m128i *)(out[0] + at), v);
        return;
    }
    uint32_t lane[ITEMS];
    memcpy(lane, &v, sizeof lane);
    for (int t = 0; t < ITEMS; t++)
        memcpy(out[t] + at + (size_t)(4 * (t % C)), &lane[t], 4);
}

INLINE __m128i negated(__m128i v, int shift)
{
    return _mm_sub_epi32(_mm_setzero_si128(), _mm_slli_epi32(v, shift));
}

INLINE __m128i paired(__m128i a, __m128i b)
{
    return _mm_or_si128(_mm_and_si128(a, _mm_set1_epi32(0xffff)), _mm_slli_epi32(b, 16));
}

/* Sums of the magnitudes of 16 elements of each block. */
INLINE __m128i magnitude_sums(const __m128i wide[4])
{
    __m128i sum = _mm_setzero_si128();
    for (int j = 0; j < 4; j++)
        sum = _mm_dpbusd_epi32(sum, _mm_abs_epi8(wide[j]), _mm_set1_epi8(1));
    return sum;
}

INLINE void pack_32(const int C, const float *const x[ITEMS], uint8_t *const out[ITEMS])
{
    __m512 by[ITEMS];
    __m128 d = scales(x, BLOCK, by);
    __m128i sum = _mm_setzero_si128();
    for (size_t at = 0; at < BLOCK; at += 16) {
        __m128i q[ITEMS], wide[4];
        sum = _mm_add_epi32(sum, sixteen(x, at, by, q, wide));
        store_q(C, out, at, q, wide);
    }
    store_dwords(C, out, X32_D(C), _mm_castps_si128(d));
    store_dwords(C, out, X32_NEG(C), negated(sum, 0));
    store_dwords(C, out, X32_DS(C), _mm_castps_si128(_mm_mul_ps(d, _mm_cvtepi32_ps(sum))));
}

INLINE void pack_256(const int C, const float *const x[ITEMS], uint8_t *const out[ITEMS])
{
    __m512 by[ITEMS];
    __m128 d = scales(x, SUPER, by);
    __m128i all = _mm_setzero_si128(), before = all, top = all;
    for (size_t i = 0; i < 8; i++) { /* 32 elements */
        __m128i q[ITEMS], wide[4], sum[2], both;
        for (size_t j = 0; j < 2; j++) {
            size_t sub = 2 * i + j;
            sum[j] = sixteen(x, 16 * sub, by, q, wide);
            top = _mm_max_epi32(top, magnitude_sums(wide));
            store_q(C, out, 16 * sub, q, wide);
            store_dwords(C, out, X256_NEG16(C) + 4 * C * sub, negated(sum[j], 5));
        }
        both = _mm_add_epi32(sum[0], sum[1]);
        all = _mm_add_epi32(all, both);
        store_dwords(C, out, X256_PAIR16(C) + 4 * C * i, paired(sum[0], sum[1]));
        store_dwords(C, out, X256_NEG32(C) + 4 * C * i, negated(both, 7));
        if (i % 2)
            store_dwords(C, out, X256_PAIR32(C) + 4 * C * (i / 2), paired(before, both));
        before = both;
    }
    store_dwords(C, out, X256_D(C), _mm_castps_si128(d));
    store_dwords(C, out, X256_NEG256(C), negated(all, 7));
    store_dwords(C, out, X256_TOP16(C), top);
}

/* Blocks [i, end) of a group of C columns, from column `first` on, those from `cols` on a
 * repetition of the last. Blocks beyond the end repeat the last one, at the same place. */
INLINE void pack_blocks(const int C, const size_t len, const float *x, size_t stride, size_t cols,
                        size_t first, size_t i, size_t end, uint8_t *out)
{
    const size_t bytes = len == BLOCK ? X32_BYTES(C) : X256_BYTES(C);
    const size_t wide = C < ITEMS ? C : ITEMS; /* columns at a time */
    out += 4 * first;
    for (size_t from = i; i < end; i += ITEMS / wide) {
        const float *in[ITEMS];
        uint8_t *to[ITEMS];
        for (size_t t = 0; t < ITEMS; t++) {
            size_t c = first + t % wide, b = i + t / wide;
            c = c < cols ? c : cols - 1;
            b = b < end ? b : end - 1;
            in[t] = x + c * stride + b * len;
            to[t] = out + (b - from) * bytes;
        }
        if (len == BLOCK)
            pack_32(C, in, to);
        else
            pack_256(C, in, to);
    }
}

/* All groups with a column in [c0, c1); `run` blocks of a group lie together. */
INLINE void pack_groups(const int C, const size_t len, const float *x, size_t stride, size_t n,
                        size_t k, size_t c0, size_t c1, uint8_t *out)
{
    const size_t bytes = len == BLOCK ? X32_BYTES(C) : X256_BYTES(C);
    const size_t run = len == BLOCK ? CHUNK : 1;
    size_t blocks = k / len, groups = group_count(n);
    if (groups == 1) {
        for (size_t first = 0; first < (size_t)C; first += ITEMS)
            pack_blocks(C, len, x, stride, c1, first, 0, blocks, out);
        return;
    }
    for (size_t c = c0; c < c1; c += C) {
        for (size_t i = 0; i < blocks; i += run) {
            size_t end = i + run < blocks ? i + run : blocks;
            uint8_t *to = out + (i * groups + c / C * (end - i)) * bytes;
            pack_blocks(C, len, x + c * stride, stride, c1 - c, 0, i, end, to);
        }
    }
}

INLINE void pack_quant(const size_t len, const float *x, size_t stride, size_t n, size_t k,
                       size_t c0, size_t c1, uint8_t *out)
{
    switch (group_cols(n)) {
    case 1: pack_groups(1, len, x, stride, n, k, c0, c1, out); break;
    case 2: pack_groups(2, len, x, stride, n, k, c0, c1, out); break;
    case 8: pack_groups(8, len, x, stride, n, k, c0, c1, out); break;
    default: pack_groups(4, len, x, stride, n, k, c0, c1, out); break;
    }
}

static void pack_floats(const float *x, size_t k, float *out)
{
    memcpy(out, x, k * sizeof *out);
    memset(out + k, 0, (round_up(k, 16) - k) * sizeof *out);
}

void avx512_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                     size_t c0, size_t c1, void *out)
{
    if (type_act(type) == ACT_32)
        pack_quant(BLOCK, x, x_stride, n, k, c0, c1, out);
    else if (type_act(type) == ACT_256)
        pack_quant(SUPER, x, x_stride, n, k, c0, c1, out);
    else
        for (size_t c = c0; c < c1; c++)
            pack_floats(x + c * x_stride, k, (float *)out + c * round_up(k, 16));
}
