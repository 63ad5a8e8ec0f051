/* c_mul.c: the C version of the matrix products. It reads the weights as they lie and says what
 * the fast versions must equal; speed is not its business. Called through the table alone.
 *
 * Packed activations: floats as n columns of k; for quantised weights n columns of k / 32 blocks
 * of struct act_block. */
#include "c_int.h"

struct act_block {
    float d;
    int32_t sum;
    int8_t q[BLOCK];
};

static bool is_quant(enum kern_type type)
{
    return type == KERN_Q8_0 || type == KERN_Q4_1;
}

bool c_has(enum kern_type type)
{
    return type == KERN_F32 || type == KERN_F16 || is_quant(type);
}

size_t c_act_bytes(enum kern_type type, size_t n, size_t k)
{
    return is_quant(type) ? n * (k / BLOCK) * sizeof(struct act_block) : n * k * sizeof(float);
}

size_t c_mul_scratch(enum kern_type type, size_t n, size_t k)
{
    (void)type, (void)n;
    return k * sizeof(float);
}

static void quantise(const float *x, struct act_block *out)
{
    uint32_t top = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t mag = float_bits(x[i]) & 0x7fffffff;
        top = mag > top ? mag : top;
    }
    memset(out, 0, sizeof *out);
    float amax = bits_float(top);
    if (top >= 0x7f800000)
        out->d = NAN;
    if (top >= 0x7f800000 || amax < ACT_TINY)
        return;
    out->d = amax / 127.0f;
    float inv = 127.0f / amax;
    for (size_t i = 0; i < BLOCK; i++) {
        out->q[i] = (int8_t)lrintf(x[i] * inv);
        out->sum += out->q[i];
    }
}

void c_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k, size_t c0,
                size_t c1, void *out)
{
    (void)n;
    if (!is_quant(type)) {
        for (size_t c = c0; c < c1; c++)
            memcpy((float *)out + c * k, x + c * x_stride, k * sizeof *x);
        return;
    }
    struct act_block *blocks = out;
    for (size_t c = c0; c < c1; c++)
        for (size_t b = 0; b < k / BLOCK; b++)
            quantise(x + c * x_stride + b * BLOCK, &blocks[c * (k / BLOCK) + b]);
}

static float dot_q8_0(const uint8_t *w, const struct act_block *x, size_t blocks)
{
    float acc = 0;
    for (size_t b = 0; b < blocks; b++, w += Q8_0_BYTES) {
        int32_t dot = 0;
        for (size_t i = 0; i < BLOCK; i++)
            dot += (int8_t)w[2 + i] * x[b].q[i];
        acc = fmaf(f16_float(load_u16(w)) * x[b].d, (float)dot, acc);
    }
    return acc;
}

static float dot_q4_1(const uint8_t *w, const struct act_block *x, size_t blocks)
{
    float acc = 0;
    for (size_t b = 0; b < blocks; b++, w += Q4_1_BYTES) {
        int32_t dot = 0;
        for (size_t i = 0; i < BLOCK / 2; i++) {
            dot += (w[4 + i] & 15) * x[b].q[i];
            dot += (w[4 + i] >> 4) * x[b].q[16 + i];
        }
        acc = fmaf(f16_float(load_u16(w)) * x[b].d, (float)dot, acc);
        acc = fmaf(f16_float(load_u16(w + 2)), x[b].d * (float)x[b].sum, acc);
    }
    return acc;
}

static void mul_quant(const struct kern_mul *m)
{
    const struct kern_mat *w = m->w;
    size_t blocks = w->k / BLOCK;
    const struct act_block *x = m->act;
    for (size_t r = m->r0; r < m->r1; r++) {
        const uint8_t *row = (const uint8_t *)w->data + r * w->stride;
        for (size_t c = 0; c < m->n; c++) {
            const struct act_block *col = x + c * blocks;
            m->out[c * m->out_stride + r] =
                w->type == KERN_Q8_0 ? dot_q8_0(row, col, blocks) : dot_q4_1(row, col, blocks);
        }
    }
}

static void mul_float(const struct kern_mul *m)
{
    const struct kern_mat *w = m->w;
    float *row = m->scratch;
    for (size_t r = m->r0; r < m->r1; r++) {
        c_unpack(w->type, (const uint8_t *)w->data + r * w->stride, w->k, row);
        for (size_t c = 0; c < m->n; c++)
            m->out[c * m->out_stride + r] = c_dot(row, (const float *)m->act + c * w->k, w->k);
    }
}

void c_mul(const struct kern_mul *m)
{
    if (is_quant(m->w->type))
        mul_quant(m);
    else
        mul_float(m);
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
