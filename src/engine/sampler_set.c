/* sampler_set.c: the set of candidates: their order, the first of them, their weights. Called by
 * the sampler's other files. */
#include "sampler_int.h"

/* The sampler's order: is a before b? A NaN is behind everything. */
bool cand_before(struct candidate a, struct candidate b)
{
    if (isnan(a.logit) || isnan(b.logit))
        return !isnan(a.logit) || (isnan(b.logit) && a.id < b.id);
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* exp of LANES numbers that are at most 0: 2^k times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes'
 * expf); 0 below exp(-87) and for a NaN. */
static void block_exp(const float *x, float *out)
{
    for (int i = 0; i < LANES; i++) {
        float v = x[i] > -87.0f ? x[i] : -87.0f;
        float shifted = v * 1.44269504f + 12582912.0f; /* rounds to a whole number */
        float k = shifted - 12582912.0f;
        float r = v - k * 0.693359375f - k * -2.12194440e-4f;
        float p = 1.9875691500e-4f;
        p = p * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        p = p * r * r + r + 1.0f;
        int32_t bits;
        memcpy(&bits, &p, sizeof bits);
        bits += ((int32_t)k) * (1 << 23);
        memcpy(&p, &bits, sizeof p);
        out[i] = x[i] > -87.0f ? p : 0.0f;
    }
}

double block_sum(const float *x)
{
    float m[LANES / 2];
    for (int i = 0; i < LANES / 2; i++)
        m[i] = x[i] + x[i + LANES / 2];
    double sum = 0;
    for (int i = 0; i < LANES / 2; i++)
        sum += (double)m[i];
    return sum;
}

/* w[i] = exp((logit - most) / temperature) of n candidates, padded with zeros to whole blocks;
 * their sum. */
double cand_weigh(const struct candidate *c, size_t n, float most, float temperature, float *w)
{
    double sum = 0;
    float x[LANES], scale = 1.0f / temperature;
    for (size_t at = 0; at < n; at += LANES) {
        for (size_t i = 0; i < LANES; i++)
            x[i] = at + i < n ? (c[at + i].logit - most) * scale : -INFINITY;
        block_exp(x, w + at);
        sum += block_sum(w + at);
    }
    return sum;
}

/* ---- choosing the first k of the order: a heap with the last of the k on top ---- */

static void sift_down(struct candidate *h, size_t n, size_t i)
{
    for (;;) {
        size_t last = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (cand_before(h[last], h[child]))
                last = child;
        if (last == i)
            return;
        struct candidate t = h[i];
        h[i] = h[last];
        h[last] = t;
        i = last;
    }
}

/* Bring the first k of c[0..n) to c[0..k) in order. */
void cand_select(struct candidate *c, size_t n, size_t k)
{
    for (size_t i = k / 2; i-- > 0;)
        sift_down(c, k, i);
    for (size_t i = k; i < n; i++)
        if (!(c[i].logit < c[0].logit) && cand_before(c[i], c[0])) {
            struct candidate t = c[0];
            c[0] = c[i];
            c[i] = t;
            sift_down(c, k, 0);
        }
    for (size_t end = k; end-- > 1;) {
        struct candidate t = c[0];
        c[0] = c[end];
        c[end] = t;
        sift_down(c, end, 0);
    }
}

float cand_largest(const struct candidate *c, size_t n)
{
    float most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        most = c[i].logit > most ? c[i].logit : most;
    return most;
}
