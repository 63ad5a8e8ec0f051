/* c_row.c: the C versions of what works on one row: conversions, norms, activations, rotation.
 * They define the bits that every other version must give. Called through the table alone. */
#include "c_int.h"

static void unpack_q8_0(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / BLOCK; b++, row += Q8_0_BYTES) {
        float d = f16_float(load_u16(row));
        for (size_t i = 0; i < BLOCK; i++)
            out[b * BLOCK + i] = d * (float)(int8_t)row[2 + i];
    }
}

static void unpack_q4_0(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / BLOCK; b++, row += Q4_0_BYTES) {
        float d = f16_float(load_u16(row));
        for (size_t i = 0; i < BLOCK / 2; i++) {
            out[b * BLOCK + i] = d * (float)((row[2 + i] & 15) - 8);
            out[b * BLOCK + 16 + i] = d * (float)((row[2 + i] >> 4) - 8);
        }
    }
}

static void unpack_q4_1(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / BLOCK; b++, row += Q4_1_BYTES) {
        float d = f16_float(load_u16(row));
        float m = f16_float(load_u16(row + 2));
        for (size_t i = 0; i < BLOCK / 2; i++) {
            uint8_t q = row[4 + i];
            out[b * BLOCK + i] = d * (float)(q & 15) + m;
            out[b * BLOCK + 16 + i] = d * (float)(q >> 4) + m;
        }
    }
}

static void from_f16_bytes(const uint8_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f16_float(load_u16(x + 2 * i));
}

void c_unpack(enum kern_type type, const void *row, size_t k, float *out)
{
    switch (type) {
    case KERN_F32: memcpy(out, row, k * sizeof *out); break;
    case KERN_F16: from_f16_bytes(row, k, out); break;
    case KERN_Q8_0: unpack_q8_0(row, k, out); break;
    case KERN_Q4_0: unpack_q4_0(row, k, out); break;
    case KERN_Q4_1: unpack_q4_1(row, k, out); break;
    default: break;
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

void c_add(const float *a, const float *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

void c_rms_norm(const float *x, const float *w, float eps, size_t n, float *out)
{
    float s = 1.0f / sqrtf(c_dot(x, x, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = w ? x[i] * s * w[i] : x[i] * s;
}

void c_silu_mul(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = up ? kern_silu(gate[i]) * up[i] : kern_silu(gate[i]);
}

void c_rope(float *x, const float *cs, size_t dims, bool neox)
{
    size_t half = dims / 2;
    for (size_t i = 0; i < half; i++) {
        float *pa = neox ? x + i : x + 2 * i;
        float *pb = neox ? x + i + half : x + 2 * i + 1;
        float c = cs[2 * i], s = cs[2 * i + 1];
        float a = *pa, b = *pb;
        *pa = fmaf(a, c, -(b * s));
        *pb = fmaf(a, s, b * c);
    }
}
