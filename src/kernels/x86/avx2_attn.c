/* avx2_attn.c: the three steps of attention over one page in vectors of eight; attn_pages.c walks.
 * 16 lanes of a sum are two vectors. */
#include "avx2_int.h"
#include "attn_int.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256 load8(enum kern_type type, const void *p, size_t i)
{
    if (type == KERN_F32)
        return _mm256_loadu_ps((const float *)p + i);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)p + i)));
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
    if (type == KERN_F32)
        scores_of(KERN_F32, q, n, k, hd, lo, hi, p);
    else
        scores_of(KERN_F16, q, n, k, hd, lo, hi, p);
}

/* All ones where j + lane lies in [lo, hi). */
INLINE __m256 visible(size_t j, uint32_t lo, uint32_t hi)
{
    __m256i i =
        _mm256_add_epi32(_mm256_set1_epi32((int)j), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i from = _mm256_cmpgt_epi32(i, _mm256_set1_epi32((int)lo - 1));
    __m256i to = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), i);
    return _mm256_castsi256_ps(_mm256_and_si256(from, to));
}

static float max8(__m256 m)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

static float softmax_one(struct attn_query *q, float scale, float p[KERN_PAGE])
{
    const __m256 least = _mm256_set1_ps(-INFINITY), by = _mm256_set1_ps(scale);
    size_t from = q->lo / 16 * 16, to = round_up(q->hi, 16);
    __m256 m = _mm256_set1_ps(q->max);
    for (size_t j = from; j < to; j += 8) {
        __m256 s = _mm256_mul_ps(_mm256_loadu_ps(p + j), by);
        s = _mm256_blendv_ps(least, s, visible(j, q->lo, q->hi));
        _mm256_storeu_ps(p + j, s);
        m = _mm256_max_ps(s, m); /* a NaN in s leaves m */
    }
    float max = max8(m);
    m = _mm256_set1_ps(max);
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t j = from; j < to; j += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(p + j), m));
        e = _mm256_and_ps(e, visible(j, q->lo, q->hi));
        _mm256_storeu_ps(p + j, e);
        sum[j / 8 % 2] = _mm256_add_ps(sum[j / 8 % 2], e);
    }
    float rescale = kern_exp(q->max - max);
    q->sum = fmaf(q->sum, rescale, sum16(sum[0], sum[1]));
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
    if (type == KERN_F32)
        gather_type(KERN_F32, q, n, v, hd, lo, hi, p);
    else
        gather_type(KERN_F16, q, n, v, hd, lo, hi, p);
}

static void scale(float *x, size_t n, float s)
{
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(s)));
}

void avx2_attn(const struct kern_attn *a)
{
    static const struct attn_ops ops = {scores, softmax, gather, scale, avx2_unpack};
    attn_pages(a, &ops);
}
