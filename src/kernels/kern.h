/* kern.h: every inner loop of the engine, declared once: meaning, aliasing, alignment, tails,
 * numerical contract.
 *
 * `kern_get()` gives one table of function pointers: filled with the C versions (generic/), then
 * overridden by what the processor has (x86/). Intrinsics stand nowhere else.
 *
 * THE NUMERICAL CONTRACT. Every variant of an operation gives the same bits as the C version, for
 * every n and every split of rows among threads:
 *
 *  - Activations for quantised weights are int8 in blocks of 32 with one float scale:
 *      d = amax / 127,  q = x * (127 / amax) rounded to nearest even; never -128.
 *    A block with amax < 2^-100 counts as zeros (d = 0). A block that holds a NaN or an infinity
 *    has d = NaN and q = 0, so every output of that column is NaN.
 *    For weights in super-blocks of 256 (Q2_K to Q6_K, IQ4_XS) the same in blocks of 256.
 *  - A product with quantised weights is its blocks in index order, acc from 0, each an exact
 *    integer dot product and one fused multiply-add. q and scale are the integers of the format
 *    (block_int.h), d_w, m_w and dmin_w its halves as floats, whatever they are: one that is not
 *    finite, or overflows with d_x, takes part as such (infinity * 0 is NaN).
 *      Q8_0, Q4_0, Q5_0, IQ4_NL, MXFP4:  acc = fma(d_w * d_x, (float)dot, acc)
 *          dot over the integers the block stands for: q of Q8_0, q - 8 of Q4_0, q - 16 of Q5_0,
 *          the table's value of IQ4_NL, twice the value of MXFP4, whose d_w is 2^(e - 128): a
 *          subnormal for e = 0 and 1, and 2^127 for e = 255.
 *      Q4_1, Q5_1:  the same with q, and then  acc = fma(m_w, d_x * (float)sum_x, acc)
 *      Q3_K, Q6_K, IQ4_XS:  acc = fma(d_w * d_x, (float)S, acc),  S = sum over the sub-blocks of
 *          scale * dot, a 32-bit integer (q - 4 and scale - 32 of Q3_K, q - 32 of Q6_K, scale - 32
 *          and the table's value of IQ4_XS)
 *      Q2_K, Q4_K, Q5_K:  the same with q, and then  acc = fma(-(dmin_w * d_x), (float)M, acc),
 *          M = sum over the sub-blocks of min * sum_x, sum_x the sum of x over the sub-block
 *    (float) of a 32-bit integer rounds to nearest even.
 *    BF16 and F16 are floats and multiplied as such.
 *  - Sums of floats (products with float weights, scores, norms): 16 lanes from 0, element i goes
 *    to lane i % 16 by fma, then lanes are added as a tree: l[i] + l[i+8], then +4, +2, +1. A tail
 *    is padded with zeros to a multiple of 16. Plain sums (layer_norm) add instead of fma.
 *  - exp and what is built on it: one polynomial, the same in every variant (kern_int.h), no libm.
 *  - Attention: a block per page of 64 positions, in order; positions outside [from, to) take part
 *    in nothing, pages without a visible one are skipped:
 *      s[j] = sum16(q * k[j]) * scale;  with a softcap c:  s[j] = c * tanh(s[j] / c)
 *      m' = max(m, s[..]), NaN skipped;  p[j] = exp(s[j] - m')
 *      c = exp(m - m');  l = fma(l, c, sum of p, position j in lane j % 16, by addition)
 *      acc[d] = acc[d] * c, then fma(p[j], v[j][d], acc[d]) for each j in order
 *    from m = -inf, l = 0, acc = 0 (with a sink: m = sink, l = 1); at the end
 *    out[d] = acc[d] * (1 / l). Quantised K and V rows are unpacked to floats first.
 *
 * Where a result is a NaN its sign and payload are not part of the contract. No flush-to-zero, no
 * -ffast-math.
 *
 * Aliasing: outputs overlap no input unless the line says so. Alignment: none is required of
 * weights; activations, scratch and float rows are 64-byte aligned where a buffer begins. Nothing
 * is read or written past an end. */
#ifndef WEIR_KERN_H
#define WEIR_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Formats of weights, by ggml's numbers, so that a GGUF's dtype needs no translation. */
enum kern_type {
    KERN_F32 = 0,
    KERN_F16 = 1,
    KERN_Q4_0 = 2,
    KERN_Q4_1 = 3,
    KERN_Q5_0 = 6,
    KERN_Q5_1 = 7,
    KERN_Q8_0 = 8,
    KERN_Q2_K = 10,
    KERN_Q3_K = 11,
    KERN_Q4_K = 12,
    KERN_Q5_K = 13,
    KERN_Q6_K = 14,
    KERN_IQ4_NL = 20,
    KERN_IQ4_XS = 23,
    KERN_BF16 = 30,
    KERN_MXFP4 = 39,
    KERN_TYPES = 64
};

#define KERN_PAGE 64      /* positions in a page of the KV cache */
#define KERN_ROW_GRAIN 16 /* rows are split among threads in multiples of this */

/* A weight matrix as it lies in the file: `rows` rows of `k` elements, row r at data + r * stride.
 */
struct kern_mat {
    enum kern_type type;
    const void *data;
    size_t rows, k, stride;
};

struct kern_mul {
    const struct kern_mat *w;
    size_t r0, r1;   /* rows to compute; r0 is a multiple of KERN_ROW_GRAIN, r1 too or == w->rows */
    const void *act; /* n columns, packed by act_pack */
    size_t n;
    float *out; /* out[c * out_stride + r] for column c, row r (r counted from 0, not from r0) */
    size_t out_stride;
    void *scratch; /* mul_scratch bytes, one per thread */
};

/* One KV head, `group` query heads that share it, ntok queries. Query t sees positions [from[t],
 * to[t]). */
struct kern_attn {
    enum kern_type type; /* of K and V: KERN_F16, KERN_F32, KERN_Q8_0 or KERN_Q4_0 */
    size_t head_dim;     /* a multiple of 8 (quantised: of 32), at most 512 */
    size_t group, ntok;
    float scale;
    float softcap;              /* 0: none */
    const float *sinks;         /* one logit for each of the group's heads; NULL: none */
    const void *const *k_pages; /* page p holds positions [64p, 64p+64): [64][head_dim]; one that
                                   no query sees may be NULL */
    const void *const *v_pages;
    const float *q; /* head h of query t: q + t * q_stride + h * head_dim */
    size_t q_stride;
    const int32_t *from, *to; /* from[t] < to[t] */
    float *out;               /* as q */
    size_t out_stride;
    void *scratch; /* attn_scratch bytes, one per thread */
};

/* The gated delta rule (Yang, Kautz, Hatamizadeh, 2024) of one head, ntok tokens in order. For each
 * token, with S the state of dk rows of dv elements:
 *   S[i][d] = S[i][d] * decay;  a[d] = fma(k[i], S[i][d], a[d]), i in order from a = 0
 *   u[d] = (v[d] - a[d]) * beta
 *   S[i][d] = fma(k[i], u[d], S[i][d]);  out[d] = fma(q[i], S[i][d], out[d]), i in order from 0 */
struct kern_delta {
    size_t dk, dv; /* multiples of 8, at most 512 */
    size_t ntok;
    float *state;       /* [dk][dv], advanced in place */
    const float *q, *k; /* token t: q + t * qk_stride */
    const float *v;     /* token t: v + t * v_stride */
    size_t qk_stride, v_stride;
    const float *decay, *beta; /* token t: [t * gate_stride] */
    size_t gate_stride;
    float *out; /* token t: out + t * v_out_stride; may not overlap v */
    size_t v_out_stride;
};

struct kern {
    const char
        *name; /* "c", "avx2", "avx512vnni", "neon": the widest set that overrode something */

    /* ---- matrix products ---- */
    bool (*has)(enum kern_type type); /* a matrix of this type can be multiplied */
    /* Bytes of n packed columns of k elements for weights of `type`. The layout depends on n
     * (decode, prefill). */
    size_t (*act_bytes)(enum kern_type type, size_t n, size_t k);
    /* The type whose packing of n columns serves `type` too: columns packed for one of two types
     * with the same answer can be multiplied with both. */
    enum kern_type (*act_as)(enum kern_type type, size_t n);
    /* Pack columns [c0, c1) of n; column c at x + c * x_stride. Quantises for quantised types,
     * copies for floats. Ranges of different threads may be packed at once if c0 is a multiple
     * of 16. */
    void (*act_pack)(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                     size_t c0, size_t c1, void *out);
    size_t (*mul_scratch)(enum kern_type type, size_t n, size_t k);
    void (*mul)(const struct kern_mul *m);

    /* ---- rows ---- */
    /* Unpack k elements of a row to floats, k a multiple of the block: d * q (+ m), or in
     * super-blocks (d * scale) * q - dmin * min, each operation rounded, none fused. */
    void (*unpack)(enum kern_type type, const void *row, size_t k, float *out);
    void (*to_f16)(const float *x, size_t n,
                   uint16_t *out); /* round to nearest even; NaN stays NaN */
    void (*from_f16)(const uint16_t *x, size_t n, float *out); /* exact */

    /* A row of n elements for the cache: KERN_F32, KERN_F16, KERN_Q8_0, KERN_Q4_0 (blocks of 32).
     * Q8_0: amax the largest magnitude; d = amax / 127 as a half, q = x * (127 / amax) to nearest
     * even. Q4_0: m the first element of the largest magnitude; d = m / -8 as a half, q = x *
     * (-8 / m) to nearest even, + 8, at most 15. A block below 2^-100 counts as zeros; one that
     * holds a NaN or an infinity has d = NaN and q = 0 (Q4_0: 8). */
    void (*store)(enum kern_type type, const float *x, size_t n, void *out);

    /* ---- elementwise; out may be x (or a) ---- */
    void (*add)(const float *a, const float *b, size_t n, float *out);
    /* out = x * rsqrt(mean(x^2) + eps) * w; 1/sqrtf, then one product each: (x * s) * w. w NULL:
     * x * s. */
    void (*rms_norm)(const float *x, const float *w, float eps, size_t n, float *out);
    /* mean = sum16(x) / n, d = x - mean, s = 1 / sqrtf(sum16(d * d) / n + eps);
     * out = fma(d * s, w, b). w and b are given both or neither (NULL: d * s). */
    void (*layer_norm)(const float *x, const float *w, const float *b, float eps, size_t n,
                       float *out);
    /* out = silu(gate) * up, silu(g) = g / (1 + exp(-g)). up NULL: silu(gate). */
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *out);
    /* out = gelu(gate) * up by the tanh form: u = g * 0.7978845608 * fma(0.044715 * g, g, 1),
     * gelu(g) = (0.5 * g) * (1 + tanh(u)). up NULL: gelu(gate). tanh is kern_int.h's, from the same
     * exponential. */
    void (*gelu_mul)(const float *gate, const float *up, size_t n, float *out);
    /* gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit), a NaN stays a NaN;
     * out = g / (1 + exp(-alpha * g)) * (u + 1) */
    void (*swiglu_oai)(const float *gate, const float *up, float alpha, float limit, size_t n,
                       float *out);
    /* Rotate one head in place. cs holds dims/2 pairs (cos, sin). neox: pairs (i, i + dims/2), else
     * (2i, 2i+1). a' = fma(a, c, -(b * s)), b' = fma(a, s, b * c). Elements past dims stay. */
    void (*rope)(float *x, const float *cs, size_t dims, bool neox);

    /* ---- attention ---- */
    size_t (*attn_scratch)(const struct kern_attn *a);
    void (*attn)(const struct kern_attn *a);

    /* ---- recurrence ---- */
    void (*delta)(const struct kern_delta *d);
};

/* The table for this processor, made once; thread-safe. WEIR_CPU=c|avx2|avx512vnni|neon caps it
 * (tests, bug reports). */
const struct kern *kern_get(void);
/* The table of one named set, for checkkern and the tests; NULL when this processor lacks it. */
const struct kern *kern_get_named(const char *name);
/* Names of all sets this build and processor have, best last; NULL-terminated. */
const char *const *kern_names(void);

/* ---- the machine's limits, measured now (weir bench, weir fit) ---- */
/* Read bandwidth of `threads` threads over a buffer far larger than the caches: bytes a second.
 * Takes ~`ms`. */
double kern_measure_read(int threads, int ms);
/* Peak int8 multiply-adds a second, in registers, by the widest set: vpmaddubsw+vpmaddwd+vpaddd or
 * vpdpbusd. */
double kern_measure_int8(int threads, int ms);

#endif
