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
 *  - A product with quantised weights is its blocks in index order, acc from 0, each an exact
 *    integer dot product and one fused multiply-add:
 *      Q8_0:  acc = fma(d_w * d_x, (float)dot, acc)
 *      Q4_1:  the same, and then  acc = fma(m_w, d_x * (float)sum_x, acc)
 *  - Sums of floats (products with float weights, scores, norms): 16 lanes from 0, element i goes
 *    to lane i % 16 by fma, then lanes are added as a tree: l[i] + l[i+8], then +4, +2, +1. A tail
 *    is padded with zeros to a multiple of 16.
 *  - exp and what is built on it: one polynomial, the same in every variant (kern_int.h), no libm.
 *  - Attention: a block per page of 64 positions, in order; positions outside [from, to) take part
 *    in nothing, pages without a visible one are skipped:
 *      s[j] = sum16(q * k[j]) * scale;  m' = max(m, s[..]), NaN skipped;  p[j] = exp(s[j] - m')
 *      c = exp(m - m');  l = fma(l, c, sum of p, position j in lane j % 16, by addition)
 *      acc[d] = acc[d] * c, then fma(p[j], v[j][d], acc[d]) for each j in order
 *    from m = -inf, l = 0, acc = 0; at the end out[d] = acc[d] * (1 / l).
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
enum kern_type { KERN_F32 = 0, KERN_F16 = 1, KERN_Q4_1 = 3, KERN_Q8_0 = 8, KERN_TYPES = 64 };

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
    enum kern_type type; /* of K and V: KERN_F16 or KERN_F32 */
    size_t head_dim;     /* a multiple of 8, at most 512 */
    size_t group, ntok;
    float scale;
    const void *const *k_pages; /* page p holds positions [64p, 64p+64): [64][head_dim] */
    const void *const *v_pages;
    const float *q; /* head h of query t: q + t * q_stride + h * head_dim */
    size_t q_stride;
    const int32_t *from, *to; /* from[t] < to[t] */
    float *out;               /* as q */
    size_t out_stride;
    void *scratch; /* attn_scratch bytes, one per thread */
};

struct kern {
    const char *name; /* "c", "avx2", "avx512vnni": the widest set that overrode something */

    /* ---- matrix products ---- */
    bool (*has)(enum kern_type type); /* a matrix of this type can be multiplied */
    /* Bytes of n packed columns of k elements for weights of `type`. The layout depends on n
     * (decode, prefill). */
    size_t (*act_bytes)(enum kern_type type, size_t n, size_t k);
    /* Pack columns [c0, c1) of n; column c at x + c * x_stride. Quantises for quantised types,
     * copies for floats. Ranges of different threads may be packed at once if c0 is a multiple
     * of 16. */
    void (*act_pack)(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                     size_t c0, size_t c1, void *out);
    size_t (*mul_scratch)(enum kern_type type, size_t n, size_t k);
    void (*mul)(const struct kern_mul *m);

    /* ---- rows ---- */
    /* Unpack k elements of a row to floats, lossless to the format's definition. k is a multiple of
     * the block. */
    void (*unpack)(enum kern_type type, const void *row, size_t k, float *out);
    void (*to_f16)(const float *x, size_t n,
                   uint16_t *out); /* round to nearest even; NaN stays NaN */
    void (*from_f16)(const uint16_t *x, size_t n, float *out); /* exact */

    /* ---- elementwise; out may be x (or a) ---- */
    void (*add)(const float *a, const float *b, size_t n, float *out);
    /* out = x * rsqrt(mean(x^2) + eps) * w; 1/sqrtf, then one product each: (x * s) * w */
    void (*rms_norm)(const float *x, const float *w, float eps, size_t n, float *out);
    /* out = silu(gate) * up, silu(g) = g / (1 + exp(-g)) */
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *out);
    /* Rotate one head in place. cs holds dims/2 pairs (cos, sin). neox: pairs (i, i + dims/2), else
     * (2i, 2i+1). a' = fma(a, c, -(b * s)), b' = fma(a, s, b * c). Elements past dims stay. */
    void (*rope)(float *x, const float *cs, size_t dims, bool neox);

    /* ---- attention ---- */
    size_t (*attn_scratch)(const struct kern_attn *a);
    void (*attn)(const struct kern_attn *a);
};

/* The table for this processor, made once; thread-safe. WEIR_CPU=c|avx2|avx512vnni caps it (tests,
 * bug reports). */
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
