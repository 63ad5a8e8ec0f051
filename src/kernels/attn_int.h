/* attn_int.h: what a vector version of attention brings; attn_pages.c walks the pages for it.
 * Queries are worked on in blocks of up to four, so that each row of K and V that was loaded serves
 * four queries. */
#ifndef WEIR_ATTN_INT_H
#define WEIR_ATTN_INT_H

#include "kern_int.h"

#define ATTN_BLOCK 4

/* One query while it walks. In the present page it sees positions [lo, hi). */
struct attn_query {
    const float *q;
    float *acc; /* its row of out */
    float max, sum;
    uint32_t lo, hi;
};

struct attn_ops {
    /* p[i][j] = sum16(q_i * k_j) for queries i < n and positions j in [lo, hi); others of the
     * page may be written too. */
    void (*scores)(struct attn_query *const *q, size_t n, enum kern_type type, const void *k,
                   size_t head_dim, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE]);
    /* p[j] = softcap * tanh(p[j] * scale / softcap) for j in [lo, hi); others may change too. */
    void (*cap)(float *p, size_t lo, size_t hi, float scale, float softcap);
    /* For queries i < n: scale the scores, move max and sum on, leave exp(s - max) in p[i], 0
     * outside [lo, hi) where the vectors reach. rescale[i]: what acc is to be multiplied with. */
    void (*softmax)(struct attn_query *const *q, size_t n, float scale,
                    float p[ATTN_BLOCK][KERN_PAGE], float rescale[ATTN_BLOCK]);
    /* acc_i = fma(p[i][j], v_j, acc_i) for j in [lo, hi) in order, all queries i < n. */
    void (*gather)(struct attn_query *const *q, size_t n, enum kern_type type, const void *v,
                   size_t head_dim, size_t lo, size_t hi, float p[ATTN_BLOCK][KERN_PAGE]);
    /* x *= s */
    void (*scale)(float *x, size_t n, float s);
    /* Rows of a page of F16, Q8_0 or Q4_0 as floats. */
    size_t packed_from; /* queries from which a packed page is made floats first */
    void (*unpack)(enum kern_type type, const void *row, size_t k, float *out);
};

size_t attn_pages_scratch(const struct kern_attn *a);
void attn_pages(const struct kern_attn *a, const struct attn_ops *ops);

#endif
