/* c_act.c: the C version of packing activations: as they are for float weights, as int8 in blocks
 * of 32 or 256 for quantised ones. It defines the integers and scales that every other version must
 * come to, in whatever layout. Called through the table alone. */
#include "c_int.h"
#include "block_int.h"

bool c_has(enum kern_type type)
{
    return type_act(type) != ACT_NONE;
}

enum kern_type c_act_as(enum kern_type type, size_t n)
{
    (void)n;
    switch (type_act(type)) {
    case ACT_FLOAT: return KERN_F32;
    case ACT_32: return KERN_Q8_0;
    case ACT_256: return KERN_Q4_K;
    default: return type;
    }
}

size_t c_act_bytes(enum kern_type type, size_t n, size_t k)
{
    switch (type_act(type)) {
    case ACT_32: return n * (k / BLOCK) * sizeof(struct c_act_32);
    case ACT_256: return n * (k / SUPER) * sizeof(struct c_act_256);
    default: return n * k * sizeof(float);
    }
}

/* Quantises n elements that share a scale; returns it. */
static float quantise(const float *x, size_t n, int8_t *q)
{
    uint32_t top = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t mag = float_bits(x[i]) & 0x7fffffff;
        top = mag > top ? mag : top;
    }
    memset(q, 0, n);
    float amax = bits_float(top);
    if (top >= 0x7f800000)
        return NAN;
    if (amax < ACT_TINY)
        return 0;
    float inv = 127.0f / amax;
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)lrintf(x[i] * inv);
    return amax / 127.0f;
}

static int sum(const int8_t *q, size_t n)
{
    int s = 0;
    for (size_t i = 0; i < n; i++)
        s += q[i];
    return s;
}

static void pack_32(const float *x, size_t k, struct c_act_32 *out)
{
    for (size_t i = 0; i < k; i += BLOCK, out++) {
        out->d = quantise(x + i, BLOCK, out->q);
        out->sum = sum(out->q, BLOCK);
    }
}

static void pack_256(const float *x, size_t k, struct c_act_256 *out)
{
    for (size_t i = 0; i < k; i += SUPER, out++) {
        out->d = quantise(x + i, SUPER, out->q);
        for (size_t j = 0; j < 16; j++)
            out->sum[j] = (int16_t)sum(out->q + 16 * j, 16);
    }
}

void c_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k, size_t c0,
                size_t c1, void *out)
{
    (void)n;
    for (size_t c = c0; c < c1; c++) {
        const float *col = x + c * x_stride;
        switch (type_act(type)) {
        case ACT_32: pack_32(col, k, (struct c_act_32 *)out + c * (k / BLOCK)); break;
        case ACT_256: pack_256(col, k, (struct c_act_256 *)out + c * (k / SUPER)); break;
        default: memcpy((float *)out + c * k, col, k * sizeof *x);
        }
    }
}
