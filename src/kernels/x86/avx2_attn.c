/* avx2_attn.c: the three steps of attention over one page in vectors of eight; attn_pages.c walks.
 * 16 lanes of a sum are two vectors. */
#include "avx2_int.h"
#include "attn_int.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256 block_scale(const uint8_t *block)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)load_u16(block)));
}

INLINE __m256 int8_floats(__m128i q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}

/* Eight elements from element i of a page. */
INLINE __m256 load8(enum kern_type type, const void *p, size_t i)
{
    if (type == KERN_F32)
        return _mm256_loadu_ps((const float *)p + i);
    if (type == KERN_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)p + i)));
    if (type == KERN_Q8_0) {
        const uint8_t *block = (const uint8_t *)p + i / BLOCK * Q8_0_BYTES;
        __m128i q = _mm_loadl_epi64((const __m128i *)(block + 2 + i % BLOCK));
        return _mm256_mul_ps(block_scale(block), int8_floats(q));
    }
    const uint8_t *block = (const uint8_t *)p + i / BLOCK * Q4_0_BYTES;
    __m128i v = _mm_loadl_epi64((const __m128i *)(block + 2 + i % 16));
    v = _mm_srl_epi16(v, _mm_cvtsi32_si128(i % BLOCK < 16 ? 0 : 4));
    v = _mm_sub_epi8(_mm_and_si128(v, _mm_set1_epi8(15)), _mm_set1_epi8(8));
    return _mm256_mul_ps(block_scale(block), int8_floats(v));
}

/* Eight lanes of four sums become the four sums. */
INLINE __m128 reduce4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20),
                              _mm256_permute2f128_ps(a, b, 0x31)); /* a | b */
    __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20),
                              _mm256_permute2f128_ps(c, d, 0x31)); /* c | d */
    __m256d x = _mm256_castps_pd(ab), y = _mm256_castps_pd(cd);
    __m256 t = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)),
                             _mm256_castpd_ps(_mm256_unpackhi_pd(x, y))); /* a a c c | b b d d */
    __m128 ac = _mm256_castps256_ps128(t), bd = _mm256_extractf128_ps(t, 1);
    __m128 even = _mm_shuffle_ps(ac, bd, 0x88), odd = _mm_shuffle_ps(ac, bd, 0xdd);
    return _mm_permute_ps(_mm_add_ps(even, odd), 0xd8);
}

/* Scores of NQ queries with NP positions from j; NQ * NP is 4, sums in q-major order. */
INLINE __m128 scores4(const int NQ, const int NP, struct attn_query *const *q, enum kern_type type,
                      const void *k, size_t hd, size_t j)
{
    __m256 lo[4], hi[4];
    for (int i = 0; i < 4; i++)
        lo[i] = hi[i] = _mm256_setzero_ps();
    for (size_t d = 0; d < hd; d += 16) {
        bool tail = d + 16 > hd; /* eight elements are left: the others are zeros */
        __m256 ql[4], qh[4];
        for (int i = 0; i < NQ; i++) {
            ql[i] = _mm256_loadu_ps(q[i]->q + d);
            qh[i] = tail ? _mm256_setzero_ps() : _mm256_loadu_ps(q[i]->q + d + 8);
        }
        for (int p = 0; p < NP; p++) {
            size_t at = (j + (size_t)p) * hd + d;
            __m256 kl = load8(type, k, at);
            __m256 kh = tail ? _mm256_setzero_ps() : load8(type, k, at + 8);
            for (int i = 0; i < NQ; i++) {
                lo[i * NP + p] = _mm256_fmadd_ps(ql[i], kl, lo[i * NP + p]);
                hi[i * NP + p] = _mm256_fmadd_ps(qh[i], kh, hi[i * NP + p]);
            }
        }
    }
    return reduce4(_mm256_add_ps(lo[0], hi[0]), _mm256_add_ps(lo[1], hi[1]),
                   _mm256_add_ps(lo[2], hi[2]), _mm256_add_ps(lo[3], hi[3]));
}

INLINE void scores_of(enum kern_type type, struct attn_query *const *q, size_t n, const void *k,
                      size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    size_t i = 0;
    for (; i + 2 <= n; i += 2)
        for (size_t j = lo / 2 * 2; j < hi; j += 2) {
            __m128 s = scores4(2, 2, q + i, type, k, hd, j);
            _mm_storel_pi((__m64 *)&p[i][j], s);
            _mm_storeh_pi((__m64 *)&p[i + 1][j], s);
        }
    if (i < n)
        for (size_t j = lo / 4 * 4; j < hi; j += 4)
            _mm_storeu_ps(&p[i][j], scores4(1, 4, q + i, type, k, hd, j));
}

static void scores(struct attn_query *const *q, size_t n, enum kern_type type, const void *k,
                   size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    switch (type) {
    case KERN_F32: scores_of(KERN_F32, q, n, k, hd, lo, hi, p); break;
    case KERN_Q8_0: scores_of(KERN_Q8_0, q, n, k, hd, lo, hi, p); break;
    case KERN_Q4_0: scores_of(KERN_Q4_0, q, n, k, hd, lo, hi, p); break;
    default: scores_of(KERN_F16, q, n, k, hd, lo, hi, p);
    }
}

static void cap(float *p, size_t lo, size_t hi, float scale, float softcap)
{
    const __m256 by = _mm256_set1_ps(scale), c = _mm256_set1_ps(softcap);
    for (size_t j = lo / 8 * 8; j < hi; j += 8) {
        __m256 s = _mm256_mul_ps(_mm256_loadu_ps(p + j), by);
        _mm256_storeu_ps(p + j, _mm256_mul_ps(c, tanh8(_mm256_div_ps(s, c))));
    }
}

/* All ones where index lies in [lo, hi). */
INLINE __m256 visible(__m256i index, __m256i below, __m256i hi)
{
    __m256i from = _mm256_cmpgt_epi32(index, below), to = _mm256_cmpgt_epi32(hi, index);
    return _mm256_castsi256_ps(_mm256_and_si256(from, to));
}

static float max8(__m256 m)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

/* A page is 64 scores: eight vectors, of which positions outside [lo, hi) become -inf and then 0.
 */
static float softmax_one(struct attn_query *q, float scale, float p[KERN_PAGE])
{
    const __m256 least = _mm256_set1_ps(-INFINITY), by = _mm256_set1_ps(scale);
    const __m256i below = _mm256_set1_epi32((int)q->lo - 1), hi = _mm256_set1_epi32((int)q->hi);
    const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256 s[8], m = _mm256_set1_ps(q->max);
    for (int i = 0; i < 8; i++) {
        __m256i index = _mm256_add_epi32(first, _mm256_set1_epi32(8 * i));
        s[i] = _mm256_mul_ps(_mm256_loadu_ps(p + 8 * i), by);
        s[i] = _mm256_blendv_ps(least, s[i], visible(index, below, hi));
        m = _mm256_max_ps(s[i], m); /* a NaN in s leaves m */
    }
    float max = max8(m);
    m = _mm256_set1_ps(max);
    __m256 lo_sum = _mm256_setzero_ps(), hi_sum = lo_sum;
    for (int i = 0; i < 8; i++) {
        __m256i index = _mm256_add_epi32(first, _mm256_set1_epi32(8 * i));
        __m256 e = exp8(_mm256_sub_ps(s[i], m));
        e = _mm256_and_ps(e, visible(index, below, hi));
        _mm256_storeu_ps(p + 8 * i, e);
        if (i % 2 == 0)
            lo_sum = _mm256_add_ps(lo_sum, e);
        else
            hi_sum = _mm256_add_ps(hi_sum, e);
    }
    float rescale = kern_exp(q->max - max);
    q->sum = fmaf(q->sum, rescale, sum16(lo_sum, hi_sum));
    q->max = max;
    return rescale;
}

static void softmax(struct attn_query *const *q, size_t n, float scale,
                    float p[ATTN_BLOCK][KERN_PAGE], float rescale[ATTN_BLOCK])
{
    for (size_t i = 0; i < n; i++)
        rescale[i] = softmax_one(q[i], scale, p[i]);
}

/* NV vectors of N queries' acc, from element d. */
INLINE void gather_strip(const int N, const int NV, enum kern_type type,
                         struct attn_query *const *q, const void *v, size_t hd, size_t d, size_t lo,
                         size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    __m256 acc[ATTN_BLOCK][2];
    for (int i = 0; i < N; i++)
        for (int x = 0; x < NV; x++)
            acc[i][x] = _mm256_loadu_ps(q[i]->acc + d + 8 * x);
    for (size_t j = lo; j < hi; j++) {
        __m256 row[2];
        for (int x = 0; x < NV; x++)
            row[x] = load8(type, v, j * hd + d + 8 * (size_t)x);
        for (int i = 0; i < N; i++) {
            __m256 w = _mm256_broadcast_ss(&p[i][j]);
            for (int x = 0; x < NV; x++)
                acc[i][x] = _mm256_fmadd_ps(w, row[x], acc[i][x]);
        }
    }
    for (int i = 0; i < N; i++)
        for (int x = 0; x < NV; x++)
            _mm256_storeu_ps(q[i]->acc + d + 8 * x, acc[i][x]);
}

INLINE void gather_of(const int N, enum kern_type type, struct attn_query *const *q, const void *v,
                      size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    size_t d = 0;
    for (; d + 16 <= hd; d += 16)
        gather_strip(N, 2, type, q, v, hd, d, lo, hi, p);
    if (d < hd)
        gather_strip(N, 1, type, q, v, hd, d, lo, hi, p);
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
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(s)));
}

static void unpack_f16(const uint16_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(out + i, load8(KERN_F16, x, i));
}

INLINE void unpack_half(__m256 d, __m128i q, float *out)
{
    _mm256_storeu_ps(out, _mm256_mul_ps(d, int8_floats(q)));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(d, int8_floats(_mm_srli_si128(q, 8))));
}

static void unpack_q8_0(const uint8_t *p, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += BLOCK, p += Q8_0_BYTES) {
        __m256 d = block_scale(p);
        unpack_half(d, _mm_loadu_si128((const __m128i *)(p + 2)), out + i);
        unpack_half(d, _mm_loadu_si128((const __m128i *)(p + 18)), out + i + 16);
    }
}

static void unpack_q4_0(const uint8_t *p, size_t n, float *out)
{
    const __m128i low = _mm_set1_epi8(15), offset = _mm_set1_epi8(8);
    for (size_t i = 0; i < n; i += BLOCK, p += Q4_0_BYTES) {
        __m256 d = block_scale(p);
        __m128i v = _mm_loadu_si128((const __m128i *)(p + 2));
        __m128i high = _mm_and_si128(_mm_srli_epi16(v, 4), low);
        unpack_half(d, _mm_sub_epi8(_mm_and_si128(v, low), offset), out + i);
        unpack_half(d, _mm_sub_epi8(high, offset), out + i + 16);
    }
}

/* A page's rows as floats; n is a multiple of 8, of 32 where there are blocks. */
static void unpack(enum kern_type type, const void *page, size_t n, float *out)
{
    switch (type) {
    case KERN_Q8_0: unpack_q8_0(page, n, out); break;
    case KERN_Q4_0: unpack_q4_0(page, n, out); break;
    default: unpack_f16(page, n, out);
    }
}

void avx2_attn(const struct kern_attn *a)
{
    static const struct attn_ops ops = {scores, cap, softmax, gather, scale, 3, unpack};
    attn_pages(a, &ops);
}
