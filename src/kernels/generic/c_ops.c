/* c_ops.c: the C versions of what families other than the first need: rows for the cache, the layer
 * norm, the other activations, the gated delta rule. They define the bits that every other version
 * must give. Called through the table alone. */
#include "c_int.h"
#include "block_int.h"

static float block_top(const float *x, float *signed_top)
{
    uint32_t top = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t mag = float_bits(x[i]) & 0x7fffffff;
        if (mag > top) {
            top = mag;
            *signed_top = x[i];
        }
    }
    return bits_float(top);
}

static void put_half(uint8_t *out, float f)
{
    uint16_t h = float_f16(f);
    memcpy(out, &h, sizeof h);
}

static void store_q8_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t b = 0; b < n / BLOCK; b++, x += BLOCK, out += Q8_0_BYTES) {
        float m = 0, amax = block_top(x, &m);
        bool odd = float_bits(amax) >= 0x7f800000, none = odd || amax < ACT_TINY;
        put_half(out, odd ? NAN : none ? 0 : amax / 127.0f);
        float inv = none ? 0 : 127.0f / amax;
        for (size_t i = 0; i < BLOCK; i++)
            out[2 + i] = none ? 0 : (uint8_t)(int8_t)lrintf(x[i] * inv);
    }
}

static uint8_t nibble(float x, float inv)
{
    long q = lrintf(x * inv) + 8;
    return (uint8_t)(q > 15 ? 15 : q);
}

static void store_q4_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t b = 0; b < n / BLOCK; b++, x += BLOCK, out += Q4_0_BYTES) {
        float m = 0, amax = block_top(x, &m);
        bool odd = float_bits(amax) >= 0x7f800000, none = odd || amax < ACT_TINY;
        put_half(out, odd ? NAN : none ? 0 : m / -8.0f);
        float inv = none ? 0 : -8.0f / m;
        for (size_t i = 0; i < BLOCK / 2; i++) {
            uint8_t lo = none ? 8 : nibble(x[i], inv), hi = none ? 8 : nibble(x[16 + i], inv);
            out[2 + i] = (uint8_t)(lo | hi << 4);
        }
    }
}

void c_store(enum kern_type type, const float *x, size_t n, void *out)
{
    switch (type) {
    case KERN_F32: memcpy(out, x, n * sizeof *x); break;
    case KERN_F16: c_to_f16(x, n, out); break;
    case KERN_Q8_0: store_q8_0(x, n, out); break;
    case KERN_Q4_0: store_q4_0(x, n, out); break;
    default: break;
    }
}

void c_layer_norm(const float *x, const float *w, const float *b, float eps, size_t n, float *out)
{
    float l[16] = {0};
    for (size_t i = 0; i < n; i++)
        l[i % 16] += x[i];
    float mean = lanes_sum(l) / (float)n;
    memset(l, 0, sizeof l);
    for (size_t i = 0; i < n; i++)
        l[i % 16] = fmaf(x[i] - mean, x[i] - mean, l[i % 16]);
    float s = 1.0f / sqrtf(lanes_sum(l) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = w ? fmaf((x[i] - mean) * s, w[i], b[i]) : (x[i] - mean) * s;
}

void c_gelu_mul(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = up ? kern_gelu(gate[i]) * up[i] : kern_gelu(gate[i]);
}

void c_swiglu_oai(const float *gate, const float *up, float alpha, float limit, size_t n,
                  float *out)
{
    for (size_t i = 0; i < n; i++) {
        float g = limit < gate[i] ? limit : gate[i]; /* a NaN stays */
        float u = limit < up[i] ? limit : up[i];
        u = -limit > u ? -limit : u;
        out[i] = g / (1.0f + kern_exp(-(alpha * g))) * (u + 1.0f);
    }
}

static void delta_token(const struct kern_delta *d, size_t t)
{
    const float *q = d->q + t * d->qk_stride, *k = d->k + t * d->qk_stride;
    const float *v = d->v + t * d->v_stride;
    float decay = d->decay[t * d->gate_stride], beta = d->beta[t * d->gate_stride];
    float a[512] = {0}, *out = d->out + t * d->v_out_stride;
    for (size_t i = 0; i < d->dk; i++) {
        float *s = d->state + i * d->dv;
        for (size_t j = 0; j < d->dv; j++) {
            s[j] *= decay;
            a[j] = fmaf(k[i], s[j], a[j]);
        }
    }
    for (size_t j = 0; j < d->dv; j++)
        a[j] = (v[j] - a[j]) * beta;
    memset(out, 0, d->dv * sizeof *out);
    for (size_t i = 0; i < d->dk; i++) {
        float *s = d->state + i * d->dv;
        for (size_t j = 0; j < d->dv; j++) {
            s[j] = fmaf(k[i], a[j], s[j]);
            out[j] = fmaf(q[i], s[j], out[j]);
        }
    }
}

void c_delta(const struct kern_delta *d)
{
    for (size_t t = 0; t < d->ntok; t++)
        delta_token(d, t);
}
