/* neon_attn.c: the three steps of attention over one page in vectors of four; attn_pages.c walks.
 * 16 lanes of a sum are four vectors. Packed pages are always made floats first. */
#include "neon_int.h"
#include "attn_int.h"

INLINE float32x4_t load4(enum kern_type type, const void *p, size_t i)
{
    if (type == KERN_F32)
        return vld1q_f32((const float *)p + i);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + i)));
}

/* NQ queries with two positions from j. Of 16 elements the last 8 may be past the head's end: they
 * are zeros. */
INLINE void scores2(const int NQ, enum kern_type type, struct attn_query *const *q, const void *k,
                    size_t hd, size_t j, float p[ATTN_BLOCK][KERN_PAGE])
{
    float32x4_t acc[2][2][4], zero = vdupq_n_f32(0);
    for (int i = 0; i < NQ; i++)
        for (int y = 0; y < 2; y++)
            for (int l = 0; l < 4; l++)
                acc[i][y][l] = zero;
    for (size_t d = 0; d < hd; d += 16)
        for (int l = 0; l < 4; l++) {
            size_t at = d + 4 * (size_t)l;
            bool past = at >= hd;
            float32x4_t x[2], row[2];
            for (int i = 0; i < NQ; i++)
                x[i] = past ? zero : vld1q_f32(q[i]->q + at);
            for (int y = 0; y < 2; y++)
                row[y] = past ? zero : load4(type, k, (j + (size_t)y) * hd + at);
            for (int i = 0; i < NQ; i++)
                for (int y = 0; y < 2; y++)
                    acc[i][y][l] = vfmaq_f32(acc[i][y][l], x[i], row[y]);
        }
    for (int i = 0; i < NQ; i++)
        for (int y = 0; y < 2; y++)
            p[i][j + (size_t)y] = sum16(acc[i][y]);
}

INLINE void scores_of(enum kern_type type, struct attn_query *const *q, size_t n, const void *k,
                      size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    size_t i = 0;
    for (; i + 2 <= n; i += 2)
        for (size_t j = lo / 2 * 2; j < hi; j += 2)
            scores2(2, type, q + i, k, hd, j, p + i);
    if (i < n)
        for (size_t j = lo / 2 * 2; j < hi; j += 2)
            scores2(1, type, q + i, k, hd, j, p + i);
}

static void scores(struct attn_query *const *q, size_t n, enum kern_type type, const void *k,
                   size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    if (type == KERN_F32)
        scores_of(KERN_F32, q, n, k, hd, lo, hi, p);
    else
        scores_of(KERN_F16, q, n, k, hd, lo, hi, p);
}

static void cap(float *p, size_t lo, size_t hi, float scale, float softcap)
{
    const float32x4_t c = vdupq_n_f32(softcap);
    for (size_t j = lo / 4 * 4; j < hi; j += 4) {
        float32x4_t s = vmulq_n_f32(vld1q_f32(p + j), scale);
        vst1q_f32(p + j, vmulq_f32(c, tanh4(vdivq_f32(s, c))));
    }
}

INLINE uint32x4_t visible(size_t j, const struct attn_query *q)
{
    static const uint32_t first[4] = {0, 1, 2, 3};
    uint32x4_t i = vaddq_u32(vld1q_u32(first), vdupq_n_u32((uint32_t)j));
    return vandq_u32(vcgeq_u32(i, vdupq_n_u32(q->lo)), vcltq_u32(i, vdupq_n_u32(q->hi)));
}

INLINE float largest(float32x4_t m) /* without a NaN */
{
    return vmaxvq_f32(m);
}

static float softmax_one(struct attn_query *q, float scale, float p[KERN_PAGE])
{
    float32x4_t m = vdupq_n_f32(q->max), sum[4];
    for (size_t j = 0; j < KERN_PAGE; j += 4) {
        float32x4_t s = vmulq_n_f32(vld1q_f32(p + j), scale);
        s = select4(visible(j, q), s, vdupq_n_f32(-INFINITY));
        vst1q_f32(p + j, s);
        m = select4(vcgtq_f32(s, m), s, m); /* a NaN in s leaves m */
    }
    float max = largest(m);
    for (int l = 0; l < 4; l++)
        sum[l] = vdupq_n_f32(0);
    for (size_t j = 0; j < KERN_PAGE; j += 16)
        for (size_t l = 0; l < 4; l++) {
            float32x4_t e = exp4(vsubq_f32(vld1q_f32(p + j + 4 * l), vdupq_n_f32(max)));
            e = select4(visible(j + 4 * l, q), e, vdupq_n_f32(0));
            vst1q_f32(p + j + 4 * l, e);
            sum[l] = vaddq_f32(sum[l], e);
        }
    float rescale = kern_exp(q->max - max);
    q->sum = fmaf(q->sum, rescale, sum16(sum));
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
    float32x4_t acc[ATTN_BLOCK][4];
    for (int i = 0; i < N; i++)
        for (int x = 0; x < NV; x++)
            acc[i][x] = vld1q_f32(q[i]->acc + d + 4 * x);
    for (size_t j = lo; j < hi; j++)
        for (int x = 0; x < NV; x++) {
            float32x4_t row = load4(type, v, j * hd + d + 4 * (size_t)x);
            for (int i = 0; i < N; i++)
                acc[i][x] = vfmaq_n_f32(acc[i][x], row, p[i][j]);
        }
    for (int i = 0; i < N; i++)
        for (int x = 0; x < NV; x++)
            vst1q_f32(q[i]->acc + d + 4 * x, acc[i][x]);
}

INLINE void gather_of(const int N, enum kern_type type, struct attn_query *const *q, const void *v,
                      size_t hd, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE])
{
    size_t d = 0;
    for (; d + 16 <= hd; d += 16)
        gather_strip(N, 4, type, q, v, hd, d, lo, hi, p);
    if (d < hd)
        gather_strip(N, 2, type, q, v, hd, d, lo, hi, p);
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
    for (size_t i = 0; i < n; i += 4)
        vst1q_f32(x + i, vmulq_n_f32(vld1q_f32(x + i), s));
}

void neon_attn(const struct kern_attn *a)
{
    static const struct attn_ops ops = {scores, cap, softmax, gather, scale, 1, neon_unpack};
    attn_pages(a, &ops);
}
