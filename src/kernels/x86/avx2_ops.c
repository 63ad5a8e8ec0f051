/* avx2_ops.c: AVX2 versions of rows for the cache, the layer norm, the activations beside silu, and
 * the gated delta rule. Each keeps the order of its C version (c_ops.c). */
#include "avx2_int.h"
#include "c_int.h"

#define INLINE static inline __attribute__((always_inline))

/* n is what is left of the row: of fewer than eight elements the others are zeros. */
INLINE __m256 load_tail(const float *x, size_t n)
{
    return n >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, mask8(n));
}

INLINE void store_tail(float *x, size_t n, __m256 v)
{
    if (n >= 8)
        _mm256_storeu_ps(x, v);
    else
        _mm256_maskstore_ps(x, mask8(n), v);
}

/* ---- rows for the cache ---- */
struct block {
    __m256 x[4];
    float amax; /* by bits, so that a NaN is the largest */
};

INLINE struct block load_block(const float *x)
{
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    struct block b;
    __m256i m = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        b.x[i] = _mm256_loadu_ps(x + 8 * i);
        m = _mm256_max_epi32(m, _mm256_castps_si256(_mm256_and_ps(b.x[i], no_sign)));
    }
    __m128i n = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0xb1));
    b.amax = _mm_cvtss_f32(_mm_castsi128_ps(n));
    return b;
}

/* Whether the block has a scale; if not, d is what stands for it. */
INLINE bool has_scale(const struct block *b, float *d)
{
    bool odd = float_bits(b->amax) >= 0x7f800000;
    *d = odd ? NAN : 0;
    return !odd && b->amax >= ACT_TINY;
}

/* x * by to nearest even, as 32 bytes in order. */
INLINE __m256i round_block(const struct block *b, float by)
{
    __m256i q[4];
    for (int i = 0; i < 4; i++)
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(b->x[i], _mm256_set1_ps(by)));
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

INLINE void put_half(uint8_t *out, float f)
{
    uint16_t h = (uint16_t)_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT);
    memcpy(out, &h, sizeof h);
}

static void store_q8_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i += BLOCK, out += Q8_0_BYTES) {
        struct block b = load_block(x + i);
        __m256i q = _mm256_setzero_si256();
        float d;
        if (has_scale(&b, &d)) {
            d = b.amax / 127.0f;
            q = round_block(&b, 127.0f / b.amax);
        }
        put_half(out, d);
        _mm256_storeu_si256((__m256i *)(out + 2), q);
    }
}

/* The first element whose magnitude is the largest. */
INLINE float first_largest(const struct block *b, const float *x)
{
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    unsigned at = 0;
    for (int i = 0; i < 4; i++) {
        __m256 same =
            _mm256_cmp_ps(_mm256_and_ps(b->x[i], no_sign), _mm256_set1_ps(b->amax), _CMP_EQ_OQ);
        at |= (unsigned)_mm256_movemask_ps(same) << (8 * i);
    }
    return x[__builtin_ctz(at)];
}

static void store_q4_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i += BLOCK, out += Q4_0_BYTES) {
        struct block b = load_block(x + i);
        __m256i q = _mm256_set1_epi8(8);
        float d;
        if (has_scale(&b, &d)) {
            float m = first_largest(&b, x + i);
            d = m / -8.0f;
            q = _mm256_add_epi8(round_block(&b, -8.0f / m), q);
            q = _mm256_min_epi8(q, _mm256_set1_epi8(15));
        }
        put_half(out, d);
        __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(q, 1), 4);
        _mm_storeu_si128((__m128i *)(out + 2), _mm_or_si128(_mm256_castsi256_si128(q), high));
    }
}

void avx2_store(enum kern_type type, const float *x, size_t n, void *out)
{
    switch (type) {
    case KERN_F16: avx2_to_f16(x, n, out); break;
    case KERN_Q8_0: store_q8_0(x, n, out); break;
    case KERN_Q4_0: store_q4_0(x, n, out); break;
    default: c_store(type, x, n, out);
    }
}

/* ---- layer norm ---- */
static float plain_sum(const float *x, size_t n)
{
    __m256 lo = _mm256_setzero_ps(), hi = lo;
    for (size_t i = 0; i < n; i += 16) {
        lo = _mm256_add_ps(lo, load_tail(x + i, n - i));
        if (n - i > 8)
            hi = _mm256_add_ps(hi, load_tail(x + i + 8, n - i - 8));
    }
    return sum16(lo, hi);
}

/* x - mean, 0 past the end. */
INLINE __m256 spread(const float *x, __m256 mean, size_t n)
{
    __m256 d = _mm256_sub_ps(load_tail(x, n), mean);
    return n >= 8 ? d : _mm256_and_ps(d, _mm256_castsi256_ps(mask8(n)));
}

static float spread_sum(const float *x, float mean, size_t n)
{
    const __m256 m = _mm256_set1_ps(mean);
    __m256 lo = _mm256_setzero_ps(), hi = lo;
    for (size_t i = 0; i < n; i += 16) {
        __m256 a = spread(x + i, m, n - i);
        lo = _mm256_fmadd_ps(a, a, lo);
        if (n - i <= 8)
            break;
        __m256 b = spread(x + i + 8, m, n - i - 8);
        hi = _mm256_fmadd_ps(b, b, hi);
    }
    return sum16(lo, hi);
}

void avx2_layer_norm(const float *x, const float *w, const float *b, float eps, size_t n,
                     float *out)
{
    float mean = plain_sum(x, n) / (float)n;
    float s = 1.0f / sqrtf(spread_sum(x, mean, n) / (float)n + eps);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_sub_ps(load_tail(x + i, n - i), _mm256_set1_ps(mean));
        v = _mm256_mul_ps(v, _mm256_set1_ps(s));
        if (w)
            v = _mm256_fmadd_ps(v, load_tail(w + i, n - i), load_tail(b + i, n - i));
        store_tail(out + i, n - i, v);
    }
}

/* ---- activations ---- */
INLINE __m256 gelu8(__m256 g)
{
    __m256 c = _mm256_mul_ps(_mm256_set1_ps(0.044715f), g);
    __m256 u = _mm256_mul_ps(_mm256_mul_ps(g, _mm256_set1_ps(0.7978845608f)),
                             _mm256_fmadd_ps(c, g, _mm256_set1_ps(1.0f)));
    return _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.5f), g),
                         _mm256_add_ps(_mm256_set1_ps(1.0f), tanh8(u)));
}

void avx2_gelu_mul(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = gelu8(load_tail(gate + i, n - i));
        if (up)
            v = _mm256_mul_ps(v, load_tail(up + i, n - i));
        store_tail(out + i, n - i, v);
    }
}

/* min and max give their second operand where one is a NaN. */
INLINE __m256 oai8(__m256 gate, __m256 up, float alpha, float limit)
{
    const __m256 one = _mm256_set1_ps(1.0f), most = _mm256_set1_ps(limit);
    __m256 g = _mm256_min_ps(most, gate);
    __m256 u = _mm256_max_ps(_mm256_set1_ps(-limit), _mm256_min_ps(most, up));
    __m256 t = _mm256_mul_ps(_mm256_set1_ps(alpha), g);
    __m256 e = exp8(_mm256_xor_ps(t, _mm256_set1_ps(-0.0f)));
    return _mm256_mul_ps(_mm256_div_ps(g, _mm256_add_ps(one, e)), _mm256_add_ps(u, one));
}

void avx2_swiglu_oai(const float *gate, const float *up, float alpha, float limit, size_t n,
                     float *out)
{
    for (size_t i = 0; i < n; i += 8)
        store_tail(out + i, n - i,
                   oai8(load_tail(gate + i, n - i), load_tail(up + i, n - i), alpha, limit));
}

/* ---- the delta rule ---- */

/* NV vectors of the state's columns from `col`, for one token. The decayed state is computed twice
 * instead of being stored and read again. */
INLINE void delta_strip(const int NV, const struct kern_delta *d, size_t t, size_t col)
{
    const float *q = d->q + t * d->qk_stride, *k = d->k + t * d->qk_stride;
    const __m256 decay = _mm256_set1_ps(d->decay[t * d->gate_stride]);
    const __m256 beta = _mm256_set1_ps(d->beta[t * d->gate_stride]);
    const float *v = d->v + t * d->v_stride + col;
    float *state = d->state + col, *out = d->out + t * d->v_out_stride + col;
    __m256 u[4], o[4];
    for (int x = 0; x < NV; x++)
        u[x] = o[x] = _mm256_setzero_ps();
    for (size_t i = 0; i < d->dk; i++) {
        __m256 ki = _mm256_broadcast_ss(k + i);
        for (int x = 0; x < NV; x++) {
            __m256 s = _mm256_mul_ps(_mm256_loadu_ps(state + i * d->dv + 8 * x), decay);
            u[x] = _mm256_fmadd_ps(ki, s, u[x]);
        }
    }
    for (int x = 0; x < NV; x++)
        u[x] = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(v + 8 * x), u[x]), beta);
    for (size_t i = 0; i < d->dk; i++) {
        __m256 ki = _mm256_broadcast_ss(k + i), qi = _mm256_broadcast_ss(q + i);
        for (int x = 0; x < NV; x++) {
            float *at = state + i * d->dv + 8 * x;
            __m256 s = _mm256_fmadd_ps(ki, u[x], _mm256_mul_ps(_mm256_loadu_ps(at), decay));
            _mm256_storeu_ps(at, s);
            o[x] = _mm256_fmadd_ps(qi, s, o[x]);
        }
    }
    for (int x = 0; x < NV; x++)
        _mm256_storeu_ps(out + 8 * x, o[x]);
}

void avx2_delta(const struct kern_delta *d)
{
    size_t col = 0;
    for (; col + 32 <= d->dv; col += 32)
        for (size_t t = 0; t < d->ntok; t++)
            delta_strip(4, d, t, col);
    for (; col < d->dv; col += 8)
        for (size_t t = 0; t < d->ntok; t++)
            delta_strip(1, d, t, col);
}
