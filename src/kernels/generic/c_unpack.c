/* c_unpack.c: the C versions of what turns weights and halves into floats. They define the bits
 * that every other version must give. Called through the table, and by vector versions for formats
 * they have no own code for. */
#include "c_int.h"
#include "block_int.h"

static bool has_minimum(enum kern_type type)
{
    return type == KERN_Q4_1 || type == KERN_Q5_1;
}

static void unpack_32(enum kern_type type, const uint8_t *row, size_t k, float *out)
{
    size_t bytes = type_block_bytes(type);
    for (size_t i = 0; i < k; i += BLOCK, row += bytes, out += BLOCK) {
        struct c_block_32 b;
        c_block_32(type, row, &b);
        for (size_t j = 0; j < BLOCK; j++)
            out[j] = b.d * (float)b.q[j];
        for (size_t j = 0; has_minimum(type) && j < BLOCK; j++)
            out[j] += b.m;
    }
}

/* A format without minima takes part with 0 * 0, which changes no bit. */
static void unpack_256(enum kern_type type, const uint8_t *row, size_t k, float *out)
{
    size_t bytes = type_block_bytes(type);
    for (size_t i = 0; i < k; i += SUPER, row += bytes, out += SUPER) {
        struct c_block_256 b;
        c_block_256(type, row, &b);
        for (size_t j = 0; j < SUPER; j++) {
            float scale = b.d * (float)b.scale[j / 16], min = b.dmin * (float)b.min[j / 16];
            out[j] = scale * (float)b.q[j] - min;
        }
    }
}

static void from_f16_bytes(const uint8_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = load_f16(x + 2 * i);
}

static void from_bf16_bytes(const uint8_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = bits_float((uint32_t)load_u16(x + 2 * i) << 16);
}

void c_unpack(enum kern_type type, const void *row, size_t k, float *out)
{
    switch (type) {
    case KERN_F32: memcpy(out, row, k * sizeof *out); break;
    case KERN_F16: from_f16_bytes(row, k, out); break;
    case KERN_BF16: from_bf16_bytes(row, k, out); break;
    default:
        if (type_act(type) == ACT_32)
            unpack_32(type, row, k, out);
        else if (type_act(type) == ACT_256)
            unpack_256(type, row, k, out);
    }
}

void c_to_f16(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = float_f16(x[i]);
}

void c_from_f16(const uint16_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f16_float(x[i]);
}
