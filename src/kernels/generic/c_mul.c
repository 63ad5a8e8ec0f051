/* c_mul.c: the C version of the matrix products. A row of weights is made integers and scales once
 * and multiplied with every column; it says what the fast versions must equal, speed is not its
 * business. Called through the table alone. */
#include "c_int.h"
#include "block_int.h"

size_t c_mul_scratch(enum kern_type type, size_t n, size_t k)
{
    (void)n;
    switch (type_act(type)) {
    case ACT_32: return k / BLOCK * sizeof(struct c_block_32);
    case ACT_256: return k / SUPER * sizeof(struct c_block_256);
    default: return k * sizeof(float);
    }
}

static int32_t dot(const int8_t *a, const int8_t *b, size_t n)
{
    int32_t s = 0;
    for (size_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

static float dot_32(const struct c_block_32 *w, const struct c_act_32 *x, size_t blocks,
                    bool minimum)
{
    float acc = 0;
    for (size_t b = 0; b < blocks; b++) {
        acc = fmaf(w[b].d * x[b].d, (float)dot(w[b].q, x[b].q, BLOCK), acc);
        if (minimum)
            acc = fmaf(w[b].m, x[b].d * (float)x[b].sum, acc);
    }
    return acc;
}

static float dot_256(const struct c_block_256 *w, const struct c_act_256 *x, size_t blocks,
                     bool minimum)
{
    float acc = 0;
    for (size_t b = 0; b < blocks; b++) {
        int32_t s = 0, m = 0;
        for (size_t j = 0; j < 16; j++) {
            s += w[b].scale[j] * dot(w[b].q + 16 * j, x[b].q + 16 * j, 16);
            m += w[b].min[j] * x[b].sum[j];
        }
        acc = fmaf(w[b].d * x[b].d, (float)s, acc);
        if (minimum)
            acc = fmaf(-(w[b].dmin * x[b].d), (float)m, acc);
    }
    return acc;
}

static void row_32(const struct kern_mul *m, size_t r, const uint8_t *row)
{
    enum kern_type type = m->w->type;
    size_t blocks = m->w->k / BLOCK;
    bool minimum = type == KERN_Q4_1 || type == KERN_Q5_1;
    struct c_block_32 *w = m->scratch;
    for (size_t b = 0; b < blocks; b++)
        c_block_32(type, row + b * type_block_bytes(type), &w[b]);
    for (size_t c = 0; c < m->n; c++)
        m->out[c * m->out_stride + r] =
            dot_32(w, (const struct c_act_32 *)m->act + c * blocks, blocks, minimum);
}

static void row_256(const struct kern_mul *m, size_t r, const uint8_t *row)
{
    enum kern_type type = m->w->type;
    size_t blocks = m->w->k / SUPER;
    bool minimum = type == KERN_Q2_K || type == KERN_Q4_K || type == KERN_Q5_K;
    struct c_block_256 *w = m->scratch;
    for (size_t b = 0; b < blocks; b++)
        c_block_256(type, row + b * type_block_bytes(type), &w[b]);
    for (size_t c = 0; c < m->n; c++)
        m->out[c * m->out_stride + r] =
            dot_256(w, (const struct c_act_256 *)m->act + c * blocks, blocks, minimum);
}

static void row_float(const struct kern_mul *m, size_t r, const uint8_t *row)
{
    size_t k = m->w->k;
    c_unpack(m->w->type, row, k, m->scratch);
    for (size_t c = 0; c < m->n; c++)
        m->out[c * m->out_stride + r] = c_dot(m->scratch, (const float *)m->act + c * k, k);
}

void c_mul(const struct kern_mul *m)
{
    enum act_kind kind = type_act(m->w->type);
    for (size_t r = m->r0; r < m->r1; r++) {
        const uint8_t *row = (const uint8_t *)m->w->data + r * m->w->stride;
        switch (kind) {
        case ACT_32: row_32(m, r, row); break;
        case ACT_256: row_256(m, r, row); break;
        default: row_float(m, r, row);
        }
    }
}

/* What the C version can do at best: products of bytes in registers, as the compiler makes them. */
uint64_t kern_c_int8_loop(uint64_t rounds)
{
    int8_t x[64], w[64];
    int32_t acc[64] = {0};
    memset(x, 3, sizeof x);
    memset(w, (int)(rounds & 1), sizeof w);
    for (uint64_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < 64; i++)
            acc[i] += x[i] * w[i];
        __asm__ volatile("" : "+m"(acc));
    }
    return rounds * 64;
}
