/* avx512_pack.c: quantises activations and lays them out for the products (the layouts stand in
 * avx512_int.h). Four blocks at a time: the maxima, scales and sums of four blocks share a vector.
 */
#include "avx512_int.h"
#include "c_int.h"

/* Four blocks: q[j] holds dword j of each; d and sum one of each. */
struct four {
    __m128i q[8];
    __m128 d;
    __m128i sum;
};

size_t avx512_act_bytes(enum kern_type type, size_t n, size_t k)
{
    if (!own_code(type))
        return c_act_bytes(type, n, k);
    if (!is_quant(type))
        return n * round_up(k, 16) * sizeof(float);
    return n <= FEW ? n * column_bytes(k) : (n + COLS - 1) / COLS * group_bytes(k);
}

INLINE __m512i magnitudes(const float *x)
{
    const __m512i no_sign = _mm512_set1_epi32(0x7fffffff);
    __m512i a = _mm512_and_si512(_mm512_loadu_si512(x), no_sign);
    __m512i b = _mm512_and_si512(_mm512_loadu_si512(x + 16), no_sign);
    return _mm512_max_epu32(a, b);
}

INLINE __m512i max_pairs(__m512i a, __m512i b)
{
    return _mm512_max_epu32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

/* The largest magnitude of each of four blocks, as bits, which order as the floats do. */
INLINE __m128i tops(const float *const x[4])
{
    __m512i ab = max_pairs(magnitudes(x[0]), magnitudes(x[1]));
    __m512i cd = max_pairs(magnitudes(x[2]), magnitudes(x[3]));
    __m512i v = _mm512_max_epu32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i w = _mm256_max_epu32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_max_epu32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}

/* x * by, rounded to nearest even, as bytes. A NaN becomes the least integer, whose byte is 0. */
INLINE __m256i bytes32(const float *x, __m512 by)
{
    __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), by));
    __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), by));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(a)),
                                   _mm512_cvtepi32_epi8(b), 1);
}

INLINE void interleave(const __m256i b[4], __m128i q[8])
{
    __m256i t0 = _mm256_unpacklo_epi32(b[0], b[1]), t1 = _mm256_unpackhi_epi32(b[0], b[1]);
    __m256i t2 = _mm256_unpacklo_epi32(b[2], b[3]), t3 = _mm256_unpackhi_epi32(b[2], b[3]);
    __m256i u[4] = {_mm256_unpacklo_epi64(t0, t2), _mm256_unpackhi_epi64(t0, t2),
                    _mm256_unpacklo_epi64(t1, t3), _mm256_unpackhi_epi64(t1, t3)};
    for (int i = 0; i < 4; i++) {
        q[i] = _mm256_castsi256_si128(u[i]);
        q[i + 4] = _mm256_extracti128_si256(u[i], 1);
    }
}

INLINE struct four quantise(const float *const x[4], __m256i b[4])
{
    struct four f;
    __m128i top = tops(x);
    __m128 amax = _mm_castsi128_ps(top), full = _mm_set1_ps(127.0f);
    __mmask8 odd = _mm_cmpge_epu32_mask(top, _mm_set1_epi32(0x7f800000));
    __mmask8 plain = _mm_cmp_ps_mask(amax, _mm_set1_ps(ACT_TINY), _CMP_GE_OQ) & (__mmask8)~odd;
    __m128 by = _mm_maskz_div_ps(plain, full, amax);
    f.d = _mm_maskz_div_ps(plain, amax, full);
    f.d = _mm_mask_mov_ps(f.d, odd, _mm_set1_ps(NAN));
    b[0] = bytes32(x[0], _mm512_broadcastss_ps(by));
    b[1] = bytes32(x[1], _mm512_broadcastss_ps(_mm_permute_ps(by, 0x55)));
    b[2] = bytes32(x[2], _mm512_broadcastss_ps(_mm_permute_ps(by, 0xaa)));
    b[3] = bytes32(x[3], _mm512_broadcastss_ps(_mm_permute_ps(by, 0xff)));
    interleave(b, f.q);
    f.sum = _mm_setzero_si128();
    for (int j = 0; j < 8; j++)
        f.sum = _mm_dpbusd_epi32(f.sum, _mm_set1_epi8(1), f.q[j]);
    return f;
}

INLINE __m128i offsets(enum kern_type type, const struct four *f)
{
    if (type == KERN_Q8_0)
        return _mm_sub_epi32(_mm_setzero_si128(), _mm_slli_epi32(f->sum, 7));
    return _mm_castps_si128(_mm_mul_ps(f->d, _mm_cvtepi32_ps(f->sum)));
}

/* One column; the last blocks are repeated to make four, and not stored. */
INLINE void pack_column(enum kern_type type, const float *x, size_t k, uint8_t *out)
{
    size_t blocks = k / BLOCK;
    uint8_t *d = out + k, *s = d + blocks * 4;
    for (size_t i = 0; i < blocks; i += 4) {
        const float *from[4];
        __m256i b[4];
        size_t left = blocks - i < 4 ? blocks - i : 4;
        for (size_t j = 0; j < 4; j++)
            from[j] = x + (i + (j < left ? j : left - 1)) * BLOCK;
        struct four f = quantise(from, b);
        __mmask8 stored = (__mmask8)((1u << left) - 1);
        for (size_t j = 0; j < left; j++)
            _mm256_storeu_si256((__m256i *)(out + (i + j) * BLOCK), b[j]);
        _mm_mask_storeu_ps(d + i * 4, stored, f.d);
        _mm_mask_storeu_epi32(s + i * 4, stored, offsets(type, &f));
    }
}

/* Four columns from x; of a last group with fewer, the last column is repeated: what it gives is
 * not stored by the product. */
INLINE void pack_group(enum kern_type type, const float *x, size_t stride, size_t cols, size_t k,
                       uint8_t *out)
{
    for (size_t i = 0; i < k; i += BLOCK, out += GROUP_BLOCK) {
        const float *from[4];
        __m256i b[4];
        for (size_t c = 0; c < 4; c++)
            from[c] = x + (c < cols ? c : cols - 1) * stride + i;
        struct four f = quantise(from, b);
        for (int j = 0; j < 8; j++)
            _mm_storeu_si128((__m128i *)(out + 16 * j), f.q[j]);
        _mm_storeu_ps((float *)(void *)(out + 128), f.d);
        _mm_storeu_si128((__m128i *)(out + 144), offsets(type, &f));
    }
}

INLINE void pack_quant(enum kern_type type, const float *x, size_t stride, size_t n, size_t k,
                       size_t c0, size_t c1, uint8_t *out)
{
    if (n <= FEW) {
        for (size_t c = c0; c < c1; c++)
            pack_column(type, x + c * stride, k, out + c * column_bytes(k));
        return;
    }
    for (size_t c = c0; c < c1; c += COLS)
        pack_group(type, x + c * stride, stride, c1 - c, k, out + c / COLS * group_bytes(k));
}

static void pack_floats(const float *x, size_t k, float *out)
{
    memcpy(out, x, k * sizeof *out);
    memset(out + k, 0, (round_up(k, 16) - k) * sizeof *out);
}

void avx512_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                     size_t c0, size_t c1, void *out)
{
    if (!own_code(type))
        c_act_pack(type, x, x_stride, n, k, c0, c1, out);
    else if (type == KERN_Q8_0)
        pack_quant(KERN_Q8_0, x, x_stride, n, k, c0, c1, out);
    else if (type == KERN_Q4_1)
        pack_quant(KERN_Q4_1, x, x_stride, n, k, c0, c1, out);
    else
        for (size_t c = c0; c < c1; c++)
            pack_floats(x + c * x_stride, k, (float *)out + c * round_up(k, 16));
}
