/* avx2_few256.c: up to five columns (decoding) with weights in super-blocks of 256. A super-block
 * of a row becomes eight partial sums with the sub-blocks' scales multiplied in; eight rows' are
 * then added up into the lanes of one vector, for one step of the float sum. Called by avx2_mul. */
#include "avx2_quant_int.h"

/* Eight rows' code need not stand there eight times. */
#if defined(__clang__)
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define ROLLED _Pragma("GCC unroll 1")
#endif

/* One column: its q, a scale for each super-block, the sums of its sub-blocks. */
struct column {
    const uint8_t *q, *sums;
    const float *d;
};

/* What a super-block of a row with a column gives before it is added up. */
struct partial {
    __m256i s;
    __m128i m; /* of the minima */
};

/* Word i of each half, all over that half. */
INLINE __m256i spread(__m256i words, int i)
{
    return _mm256_shuffle_epi8(words, _mm256_set1_epi16((short)((2 * i + 1) << 8 | 2 * i)));
}

/* Pairs of products: at most 2 * 127 * 127, signed or not. */
INLINE __m256i products(enum kern_type type, __m256i v, __m256i x)
{
    if (is_signed(type))
        return _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(x, v));
    return _mm256_maddubs_epi16(v, x);
}

/* A super-block of a row with NC columns; x[c] and sums[c] are at the same super-block. */
INLINE void row_block(enum kern_type type, const int NC, const uint8_t *w, const uint8_t *const *x,
                      const uint8_t *const *sums, struct partial *out)
{
    __m256i mins = _mm256_setzero_si256();
    __m256i scales = scales16(type, w, &mins);
    uint8_t twice_each[32]; /* a load puts two words everywhere without a shuffle */
    if (!sub16(type)) {
        __m128i s = _mm256_castsi256_si128(scales);
        _mm_storeu_si128((__m128i *)(void *)twice_each, _mm_unpacklo_epi16(s, s));
        _mm_storeu_si128((__m128i *)(void *)(twice_each + 16), _mm_unpackhi_epi16(s, s));
    }
    for (int g = 0; g < 8; g++) {
        __m256i v = values256(type, w, g);
        __m256i by =
            sub16(type) ? spread(scales, g) : _mm256_set1_epi32((int)load_u32(twice_each + 4 * g));
        for (int c = 0; c < NC; c++) {
            __m256i t = _mm256_madd_epi16(products(type, v, load256(x[c] + 32 * g)), by);
            out[c].s = g ? _mm256_add_epi32(out[c].s, t) : t;
            PIN(out[c].s);
        }
    }
    for (int c = 0; c < NC; c++) {
        __m256i sum16 = load256(sums[c]);
        const int off = offset_of(type);
        if (off) {
            __m256i t = _mm256_madd_epi16(scales, sum16);
            out[c].s = _mm256_sub_epi32(out[c].s, _mm256_slli_epi32(t, off == 32 ? 5 : 2));
        }
        if (type == KERN_Q2_K) {
            __m256i t = _mm256_madd_epi16(mins, sum16);
            out[c].m = _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
        } else if (has_min(type)) {
            out[c].m = _mm_madd_epi16(_mm256_extracti128_si256(scales, 1), load128(sums[c] + 32));
        }
    }
}

/* The lanes of eight vectors added up: vector i to lane i. */
INLINE __m256i add_up(const struct partial p[8])
{
    __m256i t[4];
    for (int i = 0; i < 4; i++) {
        __m256i a = _mm256_permute2x128_si256(p[i].s, p[i + 4].s, 0x20);
        __m256i b = _mm256_permute2x128_si256(p[i].s, p[i + 4].s, 0x31);
        t[i] = _mm256_add_epi32(a, b);
    }
    return sum_of_four(t);
}

INLINE __m256i add_up_mins(const struct partial p[8])
{
    __m256i t[4];
    for (int i = 0; i < 4; i++)
        t[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(p[i].m), p[i + 4].m, 1);
    return sum_of_four(t);
}

INLINE struct column column_at(const struct kern_mul *m, size_t c)
{
    size_t k = m->w->k;
    const uint8_t *x = (const uint8_t *)m->act + c * few_column_bytes(ACT_256, k);
    return (struct column){x, x + k + round_up(k / SUPER * 4, 64),
                           (const float *)(const void *)(x + k)};
}

/* Eight rows from r with NC columns from c. */
INLINE void rows8(enum kern_type type, const int NC, const struct kern_mul *m, size_t r, size_t c)
{
    const size_t bytes = type_block_bytes(type);
    const uint8_t *p[8], *ahead = ahead_of(m, r);
    struct column col[AT_ONCE];
    __m256 acc[AT_ONCE];
    row_pointers(m, r, p, 8);
    for (int i = 0; i < NC; i++) {
        col[i] = column_at(m, c + (size_t)i);
        acc[i] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < m->w->k / SUPER; b++) {
        struct partial part[AT_ONCE][8];
        const uint8_t *x[AT_ONCE], *sums[AT_ONCE];
        __m256 dw, mw = _mm256_setzero_ps();
        for (int i = 0; i < NC; i++) {
            x[i] = col[i].q + b * SUPER;
            sums[i] = col[i].sums + b * FEW256_SUMS;
        }
        ROLLED for (int j = 0; j < 8; j++)
        {
            struct partial row[AT_ONCE];
            if (!c)
                prefetch(ahead + (b * 8 + (size_t)j) * bytes, bytes);
            row_block(type, NC, p[j] + b * bytes, x, sums, row);
            for (int i = 0; i < NC; i++)
                part[i][j] = row[i];
        }
        scales8(type, p, b * bytes, &dw, &mw);
        for (int i = 0; i < NC; i++) {
            __m256 dx = _mm256_broadcast_ss(col[i].d + b);
            __m256 s = _mm256_cvtepi32_ps(add_up(part[i]));
            acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(dw, dx), s, acc[i]);
            if (has_min(type))
                acc[i] = _mm256_fnmadd_ps(_mm256_mul_ps(mw, dx),
                                          _mm256_cvtepi32_ps(add_up_mins(part[i])), acc[i]);
        }
    }
    for (int i = 0; i < NC; i++)
        store8(m, r, c + (size_t)i, acc[i]);
}

INLINE void few(enum kern_type type, const struct kern_mul *m)
{
    prefetch_first(m);
    for (size_t r = m->r0; r < m->r1; r += 8) {
        size_t c = 0;
        for (; c + 4 <= m->n; c += 4)
            rows8(type, 4, m, r, c);
        if (m->n - c >= 2) {
            rows8(type, 2, m, r, c);
            c += 2;
        }
        if (c < m->n)
            rows8(type, 1, m, r, c);
    }
}

#define FEW_OF(type)                                                                               \
    static void few_##type(const struct kern_mul *m)                                               \
    {                                                                                              \
        few(KERN_##type, m);                                                                       \
    }

FEW_OF(Q2_K)
FEW_OF(Q3_K)
FEW_OF(Q4_K)
FEW_OF(Q5_K)
FEW_OF(Q6_K)
FEW_OF(IQ4_XS)

void avx2_few256(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q2_K: few_Q2_K(m); break;
    case KERN_Q3_K: few_Q3_K(m); break;
    case KERN_Q4_K: few_Q4_K(m); break;
    case KERN_Q5_K: few_Q5_K(m); break;
    case KERN_Q6_K: few_Q6_K(m); break;
    default: few_IQ4_XS(m); break;
    }
}
