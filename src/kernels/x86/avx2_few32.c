/* avx2_few32.c: up to five columns (decoding) with weights in blocks of 32. Eight rows stand in the
 * lanes of a vector; rows i and i + 4 lie in the two halves of a register while their blocks are
 * multiplied, so the first step of every sum is free. Called by avx2_mul. */
#include "avx2_quant_int.h"

/* Bits 16 part to 16 part + 15 of each half's dword to bit 4 of the half's bytes. */
INLINE __m256i fifth_bits(__m256i dwords, int part)
{
    const __m128i spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    __m128i at = part ? _mm_add_epi8(spread, _mm_set1_epi8(2)) : spread;
    __m256i v = _mm256_shuffle_epi8(dwords, _mm256_broadcastsi128_si256(at));
    return low_bits(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), 16);
}

/* A block of two rows: elements 0 to 15 of both, and 16 to 31. */
INLINE void pair_values(enum kern_type type, const uint8_t *a, const uint8_t *b, __m256i v[2])
{
    const size_t at = at_quants(type);
    __m256i w = load_halves(a + at, b + at);
    if (type == KERN_Q8_0) {
        v[0] = w;
        v[1] = load_halves(a + at + 16, b + at + 16);
        return;
    }
    v[0] = low_bits(w, 15);
    v[1] = high_nibbles(w);
    __m256i bits = _mm256_setzero_si256();
    if (type == KERN_Q5_0 || type == KERN_Q5_1)
        bits = _mm256_blend_epi32(_mm256_set1_epi32(load_i32(a + at - 4)),
                                  _mm256_set1_epi32(load_i32(b + at - 4)), 0xf0);
    for (int i = 0; i < 2; i++) {
        if (type == KERN_Q5_0 || type == KERN_Q5_1)
            v[i] = _mm256_or_si256(v[i], fifth_bits(bits, i));
        if (type == KERN_MXFP4)
            v[i] = mxfp4_of(v[i]);
        if (type == KERN_IQ4_NL)
            v[i] = iq4_of(v[i]);
    }
}

/* |w| times x with w's sign: 2 * 128 * 127 fits an int16, and -128 has a magnitude as a uint8. */
INLINE __m256i signed_fours(__m256i w, __m256i x)
{
    return fours(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)));
}

INLINE __m256i pair_sums(enum kern_type type, const __m256i v[2], const __m256i x[2])
{
    if (is_signed(type))
        return _mm256_add_epi32(signed_fours(v[0], x[0]), signed_fours(v[1], x[1]));
    return _mm256_add_epi16(_mm256_maddubs_epi16(v[0], x[0]), _mm256_maddubs_epi16(v[1], x[1]));
}

/* Of four pairs of rows to the dot products of eight. An int16 holds 16 products of 15 * 127, and
 * eight of 31 * 127. */
INLINE __m256i reduce(enum kern_type type, const __m256i t[4])
{
    if (is_signed(type))
        return sum_of_four(t);
    __m256i a = add_halves16(t[0], t[1]), b = add_halves16(t[2], t[3]);
    if (type != KERN_Q4_0 && type != KERN_Q4_1)
        return add_ends32(fours(a), fours(b));
    return fours(_mm256_add_epi16(ends32(a, b, false), ends32(a, b, true)));
}

struct column {
    const uint8_t *q;
    const float *d, *s, *sum;
};

INLINE struct column column_at(const struct kern_mul *m, size_t c)
{
    size_t k = m->w->k;
    const uint8_t *x = (const uint8_t *)m->act + c * few_column_bytes(ACT_32, k);
    const float *d = (const float *)(const void *)(x + k);
    return (struct column){x, d, d + k / BLOCK, d + k / BLOCK * 2};
}

/* Block b of eight rows with a column. The offset is taken off in floats: below 2^24 it is exact.
 */
INLINE __m256 block8(enum kern_type type, const struct column *x, size_t b, __m256i dots, __m256 dw,
                     __m256 mw, __m256 acc)
{
    const int off = offset_of(type);
    __m256 dot = _mm256_cvtepi32_ps(dots);
    if (off)
        dot = _mm256_fnmadd_ps(_mm256_set1_ps((float)off), _mm256_broadcast_ss(x->sum + b), dot);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(dw, _mm256_broadcast_ss(x->d + b)), dot, acc);
    return has_min(type) ? _mm256_fmadd_ps(mw, _mm256_broadcast_ss(x->s + b), acc) : acc;
}

/* Eight rows from r with NC columns from c. */
INLINE void rows8(enum kern_type type, const int NC, const struct kern_mul *m, size_t r, size_t c)
{
    const size_t bytes = type_block_bytes(type);
    const uint8_t *p[8], *ahead = ahead_of(m, r);
    struct column x[AT_ONCE];
    __m256 acc[AT_ONCE];
    row_pointers(m, r, p, 8);
    for (int i = 0; i < NC; i++) {
        x[i] = column_at(m, c + (size_t)i);
        acc[i] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < m->w->k / BLOCK; b++) {
        __m256i v[4][2];
        __m256 dw, mw = _mm256_setzero_ps();
        if (!c)
            prefetch(ahead + b * 8 * bytes, 8 * bytes);
        scales8(type, p, b * bytes, &dw, &mw);
        for (int i = 0; i < 4; i++)
            pair_values(type, p[i] + b * bytes, p[i + 4] + b * bytes, v[i]);
        for (int i = 0; i < NC; i++) {
            __m256i q[2] = {both_halves(x[i].q + b * BLOCK), both_halves(x[i].q + b * BLOCK + 16)};
            __m256i t[4];
            for (int j = 0; j < 4; j++)
                t[j] = pair_sums(type, v[j], q);
            acc[i] = block8(type, &x[i], b, reduce(type, t), dw, mw, acc[i]);
            PIN(acc[i]);
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

FEW_OF(Q4_0)
FEW_OF(Q4_1)
FEW_OF(Q5_0)
FEW_OF(Q5_1)
FEW_OF(Q8_0)
FEW_OF(IQ4_NL)
FEW_OF(MXFP4)

void avx2_few32(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q4_0: few_Q4_0(m); break;
    case KERN_Q4_1: few_Q4_1(m); break;
    case KERN_Q5_0: few_Q5_0(m); break;
    case KERN_Q5_1: few_Q5_1(m); break;
    case KERN_Q8_0: few_Q8_0(m); break;
    case KERN_IQ4_NL: few_IQ4_NL(m); break;
    default: few_MXFP4(m); break;
    }
}
