/* c_int.h: the C versions, one declaration each, so that the table can name them. */
#ifndef WEIR_C_INT_H
#define WEIR_C_INT_H

#include "kern_int.h"

/* Sum of a[i] * b[i] in the contract's order. */
static inline float c_dot(const float *a, const float *b, size_t n)
{
    float l[16] = {0};
    for (size_t i = 0; i < round_up(n, 16); i++)
        l[i % 16] = i < n ? fmaf(a[i], b[i], l[i % 16]) : fmaf(0, 0, l[i % 16]);
    return lanes_sum(l);
}

/* A block of weights as integers: the value of element i is d * q[i], + m for Q4_1 and Q5_1. */
struct c_block_32 {
    float d, m;
    int8_t q[BLOCK];
};

/* The same of a super-block: d * scale * q - dmin * min, with scales and minima repeated where a
 * sub-block is 32 long; offsets of scales and elements are taken off. */
struct c_block_256 {
    float d, dmin;
    int8_t scale[16];
    uint8_t min[16];
    int8_t q[256];
};

void c_block_32(enum kern_type type, const uint8_t *p, struct c_block_32 *b);
void c_block_256(enum kern_type type, const uint8_t *p, struct c_block_256 *b);

/* Packed activations: n columns of k floats, or of k / 32 or k / 256 of these. */
struct c_act_32 {
    float d;
    int32_t sum;
    int8_t q[BLOCK];
};

struct c_act_256 {
    float d;
    int16_t sum[16]; /* of each 16 elements */
    int8_t q[256];
};

bool c_has(enum kern_type type);
size_t c_act_bytes(enum kern_type type, size_t n, size_t k);
void c_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k, size_t c0,
                size_t c1, void *out);
size_t c_mul_scratch(enum kern_type type, size_t n, size_t k);
void c_mul(const struct kern_mul *m);

void c_unpack(enum kern_type type, const void *row, size_t k, float *out);
void c_to_f16(const float *x, size_t n, uint16_t *out);
void c_from_f16(const uint16_t *x, size_t n, float *out);
void c_add(const float *a, const float *b, size_t n, float *out);
void c_rms_norm(const float *x, const float *w, float eps, size_t n, float *out);
void c_silu_mul(const float *gate, const float *up, size_t n, float *out);
void c_rope(float *x, const float *cs, size_t dims, bool neox);

enum kern_type c_act_as(enum kern_type type, size_t n);
void c_store(enum kern_type type, const float *x, size_t n, void *out);
void c_layer_norm(const float *x, const float *w, const float *b, float eps, size_t n, float *out);
void c_gelu_mul(const float *gate, const float *up, size_t n, float *out);
void c_swiglu_oai(const float *gate, const float *up, float alpha, float limit, size_t n,
                  float *out);
void c_delta(const struct kern_delta *d);

size_t c_attn_scratch(const struct kern_attn *a);
void c_attn(const struct kern_attn *a);

#endif
