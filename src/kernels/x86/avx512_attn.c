/* avx512_attn.c: the three steps of attention over one page in vectors of 16; attn_pages.c walks.
 */
#include "avx512_int.h"
#include "c_int.h"
#include "attn_int.h"

INLINE __m512 block_scale(const uint8_t *block)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)load_u16(block)));
}

INLINE __m512 int8_floats(__m128i q)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
}

/* 16 elements from element i of a page, those in `mask`; blocks take whole ones. */
INLINE __m512 load16(enum kern_type type, const void *p, size_t i, __mmask16 mask)
{
    if (type == KERN_F32)
        return _mm512_maskz_loadu_ps(mask, (const float *)p + i);
    if (type == KERN_F16)
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)p + i));
    if (type == KERN_Q8_0) {
        const uint8_t *block = (const uint8_t *)p + i / BLOCK * Q8_0_BYTES;
        __m128i q = _mm_loadu_si128((const __m128i *)(block + 2 + i % BLOCK));
        return _mm512_mul_ps(block_scale(block), int8_floats(q));
    }
    const uint8_t *block = (const uint8_t *)p + i / BLOCK * Q4_0_BYTES;
    __m128i v = _mm_loadu_si128((const __m128i *)(block + 2));
    v = _mm_srl_epi16(v, _mm_cvtsi32_si128(i % BLOCK ? 4 : 0));
    v = _mm_sub_epi8(_mm_and_si128(v, _mm_set1_epi8(15)), _mm_set1_epi8(8));
    return _mm512_mul_ps(block_scale(block), int8_floats(v));
}

INLINE __m512 halves(__m512 a, __m512 b) /* lanes i and i + 8 of a, then of b */
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}

INLINE __m512 fourths(__m512 a, __m512 b) /* lanes i and i + 4 */
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

INLINE __m512 pairs(__m512 a, __m512 b) /* lanes i and i + 2 */
{
    __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

/* The sums of 16 vectors, each in the contract's order: v[4p + q] goes to lane 4q + p. */
INLINE __m512 reduce16(const __m512 v[16])
{
    __m512 f[4];
    for (int i = 0; i < 4; i++)
        f[i] = fourths(halves(v[4 * i], v[4 * i + 1]), halves(v[4 * i + 2], v[4 * i + 3]));
    __m512 a = pairs(f[0], f[1]), b = pairs(f[2], f[3]);
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}

/* 16 elements from d, those in `mask`, of NQ queries and four positions. */
INLINE void multiply16(const int NQ, enum kern_type type, struct attn_query *const *q,
                       const void *k, size_t hd, size_t j, size_t d, __mmask16 mask, __m512 v[16])
{
    __m512 x[ATTN_BLOCK];
    for (int i = 0; i < NQ; i++)
        x[i] = _mm512_maskz_loadu_ps(mask, q[i]->q + d);
    for (int y = 0; y < 4; y++) {
        __m512 row = load16(type, k, (j + (size_t)y) * hd + d, mask);
        for (int i = 0; i < NQ; i++)
            v[4 * y + i] = _mm512_fmadd_ps(x[i], row, v[4 * y + i]);
    }
}

/* NQ queries with four positions from j. */
INLINE void scores4(const int NQ, enum kern_type type, struct attn_query *const *q, const void *k,
                    size_t hd, size_t j, float p[ATTN_BLOCK][KERN_PAGE])
{
    __m512 v[16];
    for (int i = 0; i < 16; i++)
        v[i] = _mm512_setzero_ps();
    size_t d = 0;
    for (; d + 16 <= hd; d += 16)
        multiply16(NQ, type, q, k, hd, j, d, 0xffff, v);
    if (d < hd)
        multiply16(NQ, type, q, k, hd, j, d, 0xff, v);
    __m512 s = reduce16(v);
    _mm_storeu_ps(&p[0][j], _mm512_castps512_ps128(s));
    if (NQ > 1)
        _mm_storeu_ps(&p[1][j], _mm512_extractf32x4_ps(s, 1));
    if (NQ > 2)
        _mm_storeu_ps(&p[2][j], _mm512_extractf32x4_ps(s, 2));
    if (NQ > 3)
        _mm_storeu_ps(&p[3][j], _mm512_extractf32x4_ps(s, 3));
}

INLINE void scores_of(const int NQ, enum kern_type type, struct attn_query *const *q, const void *k,
                      size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    for (size_t j = lo / 4 * 4; j < hi; j += 4)
        scores4(NQ, type, q, k, hd, j, p);
}

INLINE void scores_type(enum kern_type type, struct attn_query *const *q, size_t n, const void *k,
                        size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    switch (n) {
    case 1: scores_of(1, type, q, k, hd, lo, hi, p); break;
    case 2: scores_of(2, type, q, k, hd, lo, hi, p); break;
    case 3: scores_of(3, type, q, k, hd, lo, hi, p); break;
    default: scores_of(4, type, q, k, hd, lo, hi, p); break;
    }
}

static void scores(struct attn_query *const *q, size_t n, enum kern_type type, const void *k,
                   size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    switch (type) {
    case KERN_F32: scores_type(KERN_F32, q, n, k, hd, lo, hi, p); break;
    case KERN_Q8_0: scores_type(KERN_Q8_0, q, n, k, hd, lo, hi, p); break;
    case KERN_Q4_0: scores_type(KERN_Q4_0, q, n, k, hd, lo, hi, p); break;
    default: scores_type(KERN_F16, q, n, k, hd, lo, hi, p);
    }
}

#define NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

INLINE __m512 exp16(__m512 x)
{
    __mmask16 low = _mm512_cmp_ps_mask(x, _mm512_set1_ps(EXP_LO), _CMP_LT_OQ);
    __mmask16 high = _mm512_cmp_ps_mask(x, _mm512_set1_ps(EXP_HI), _CMP_GT_OQ);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(EXP_LOG2E)), NEAREST);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_HI), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_LO), r);
    __m512 p = _mm512_set1_ps(EXP_C0);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C5));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    p = _mm512_add_ps(p, _mm512_set1_ps(1.0f));
    p = _mm512_scalef_ps(p, n); /* exact: the result is normal wherever it is kept */
    p = _mm512_mask_mov_ps(p, high, _mm512_set1_ps(INFINITY));
    return _mm512_maskz_mov_ps((__mmask16)~low, p);
}

INLINE __m512 tanh16(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
    __m512 e = exp16(_mm512_mul_ps(_mm512_set1_ps(-2.0f), _mm512_andnot_ps(sign, x)));
    __m512 t = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e));
    return _mm512_or_ps(_mm512_andnot_ps(sign, t), _mm512_and_ps(sign, x));
}

static void cap(float *p, size_t lo, size_t hi, float scale, float softcap)
{
    const __m512 by = _mm512_set1_ps(scale), c = _mm512_set1_ps(softcap);
    for (size_t j = lo / 16 * 16; j < hi; j += 16) {
        __m512 s = _mm512_mul_ps(_mm512_loadu_ps(p + j), by);
        _mm512_storeu_ps(p + j, _mm512_mul_ps(c, tanh16(_mm512_div_ps(s, c))));
    }
}

INLINE __m512 max_halves(__m512 a, __m512 b)
{
    return _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}

/* The largest lane of each of four vectors without a NaN. */
INLINE __m128 max4(const __m512 v[4])
{
    __m512 a = max_halves(v[0], v[1]), b = max_halves(v[2], v[3]);
    __m512 m = _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    m = _mm512_max_ps(m, _mm512_permute_ps(m, 0x4e));
    m = _mm512_max_ps(m, _mm512_permute_ps(m, 0xb1));
    return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, m));
}

/* The sums of four vectors, each in the contract's order. */
INLINE __m128 sum4(const __m512 v[4])
{
    __m512 s = fourths(halves(v[0], v[1]), halves(v[2], v[3]));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s));
}

/* Positions [lo, hi) of a page as bits. */
INLINE uint64_t seen_bits(const struct attn_query *q)
{
    return ~(uint64_t)0 >> (64 - (q->hi - q->lo)) << q->lo;
}

/* Scaled scores stay in p, -inf where masked; returns the largest in each lane, from `max` on. */
INLINE __m512 scale_scores(float scale, uint64_t seen, float max, float p[KERN_PAGE])
{
    const __m512 by = _mm512_set1_ps(scale), least = _mm512_set1_ps(-INFINITY);
    __m512 m = _mm512_set1_ps(max);
    for (int i = 0; i < 4; i++) {
        __mmask16 mask = (__mmask16)(seen >> (16 * i));
        __m512 s = _mm512_mask_mul_ps(least, mask, _mm512_loadu_ps(p + 16 * i), by);
        _mm512_storeu_ps(p + 16 * i, s);
        m = _mm512_max_ps(s, m); /* a NaN in s leaves m */
    }
    return m;
}

INLINE __m512 exp_scores(float max, uint64_t seen, float p[KERN_PAGE])
{
    __m512 sum = _mm512_setzero_ps();
    for (int i = 0; i < 4; i++) {
        __m512 e = exp16(_mm512_sub_ps(_mm512_loadu_ps(p + 16 * i), _mm512_set1_ps(max)));
        e = _mm512_maskz_mov_ps((__mmask16)(seen >> (16 * i)), e);
        _mm512_storeu_ps(p + 16 * i, e);
        sum = _mm512_add_ps(sum, e);
    }
    return sum;
}

static void softmax(struct attn_query *const *q, size_t n, float scale,
                    float p[ATTN_BLOCK][KERN_PAGE], float rescale[ATTN_BLOCK])
{
    float old_max[ATTN_BLOCK] = {0}, old_sum[ATTN_BLOCK] = {0}, max[ATTN_BLOCK];
    __m512 m[ATTN_BLOCK], s[ATTN_BLOCK];
    for (size_t i = 0; i < ATTN_BLOCK; i++)
        m[i] = s[i] = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i++) {
        old_max[i] = q[i]->max;
        old_sum[i] = q[i]->sum;
        m[i] = scale_scores(scale, seen_bits(q[i]), q[i]->max, p[i]);
    }
    __m128 top = max4(m);
    _mm_storeu_ps(max, top);
    for (size_t i = 0; i < n; i++)
        s[i] = exp_scores(max[i], seen_bits(q[i]), p[i]);
    __m512 fell = _mm512_castps128_ps512(_mm_sub_ps(_mm_loadu_ps(old_max), top));
    __m128 by = _mm512_castps512_ps128(exp16(fell));
    __m128 sum = _mm_fmadd_ps(_mm_loadu_ps(old_sum), by, sum4(s));
    _mm_storeu_ps(rescale, by);
    _mm_storeu_ps(old_sum, sum);
    for (size_t i = 0; i < n; i++) {
        q[i]->max = max[i];
        q[i]->sum = old_sum[i];
    }
}

/* NV vectors of N queries' acc, from element d. */
INLINE void gather_strip(const int N, const int NV, enum kern_type type, __mmask16 mask,
                         struct attn_query *const *q, const void *v, size_t hd, size_t d, size_t lo,
                         size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    __m512 acc[ATTN_BLOCK][4];
    for (int i = 0; i < N; i++)
        for (int x = 0; x < NV; x++)
            acc[i][x] = _mm512_maskz_loadu_ps(mask, q[i]->acc + d + 16 * x);
    for (size_t j = lo; j < hi; j++) {
        __m512 row[4];
        for (int x = 0; x < NV; x++)
            row[x] = load16(type, v, j * hd + d + 16 * (size_t)x, mask);
        for (int i = 0; i < N; i++) {
            __m512 w = _mm512_set1_ps(p[i][j]);
            for (int x = 0; x < NV; x++)
                acc[i][x] = _mm512_fmadd_ps(w, row[x], acc[i][x]);
        }
    }
    for (int i = 0; i < N; i++)
        for (int x = 0; x < NV; x++)
            _mm512_mask_storeu_ps(q[i]->acc + d + 16 * x, mask, acc[i][x]);
}

INLINE void gather_of(const int N, enum kern_type type, struct attn_query *const *q, const void *v,
                      size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    size_t d = 0;
    for (; d + 64 <= hd; d += 64)
        gather_strip(N, 4, type, 0xffff, q, v, hd, d, lo, hi, p);
    for (; d < hd; d += 16)
        gather_strip(N, 1, type, hd - d < 16 ? 0xff : 0xffff, q, v, hd, d, lo, hi, p);
}

INLINE void gather_type(enum kern_type type, struct attn_query *const *q, size_t n, const void *v,
                        size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    switch (n) {
    case 1: gather_of(1, type, q, v, hd, lo, hi, p); break;
    case 2: gather_of(2, type, q, v, hd, lo, hi, p); break;
    case 3: gather_of(3, type, q, v, hd, lo, hi, p); break;
    default: gather_of(4, type, q, v, hd, lo, hi, p); break;
    }
}

static void gather(struct attn_query *const *q, size_t n, enum kern_type type, const void *v,
                   size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    switch (type) {
    case KERN_F32: gather_type(KERN_F32, q, n, v, hd, lo, hi, p); break;
    case KERN_Q8_0: gather_type(KERN_Q8_0, q, n, v, hd, lo, hi, p); break;
    case KERN_Q4_0: gather_type(KERN_Q4_0, q, n, v, hd, lo, hi, p); break;
    default: gather_type(KERN_F16, q, n, v, hd, lo, hi, p);
    }
}

static void scale(float *x, size_t n, float s)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = n - i < 16 ? 0xff : 0xffff;
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_mul_ps(v, _mm512_set1_ps(s)));
    }
}

/* A page's rows as floats; n is a multiple of 8, of 32 where there are blocks. */
INLINE void unpack_type(enum kern_type type, const void *page, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = n - i < 16 ? 0xff : 0xffff;
        _mm512_mask_storeu_ps(out + i, mask, load16(type, page, i, mask));
    }
}

static void unpack(enum kern_type type, const void *page, size_t n, float *out)
{
    switch (type) {
    case KERN_Q8_0: unpack_type(KERN_Q8_0, page, n, out); break;
    case KERN_Q4_0: unpack_type(KERN_Q4_0, page, n, out); break;
    default: unpack_type(KERN_F16, page, n, out);
    }
}

void avx512_attn(const struct kern_attn *a)
{
    static const struct attn_ops ops = {scores, cap, softmax, gather, scale, 9, unpack};
    attn_pages(a, &ops);
}
