/* c_row.c: the C versions of what works on one row: norms, activations, rotation. They define the
 * bits that every other version must give. Called through the table alone. */
#include "c_int.h"

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
