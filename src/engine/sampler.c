/* sampler.c: from logits to a token: penalties, top-k, top-p, min-p, temperature, draw, in the
 * order of llama.cpp's default chain.
 *
 * Everything is decided by the logits, the parameters, the past and the seed: the order of
 * candidates is total (higher logit first, then lower id), sums run in one order in doubles, and
 * the number drawn is a function of the seed and the token's index, so nothing is carried from
 * token to token. */
#include "engine_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16 /* loops of this fixed length become vector code */

uint64_t sampler_bytes(int32_t vocab)
{
    return (uint64_t)vocab * (2 * sizeof(struct candidate) + sizeof(int32_t) + sizeof(float));
}

int sampler_init(struct sampler *s, int32_t vocab, struct err *e)
{
    s->vocab = vocab;
    s->cand = calloc((size_t)vocab, sizeof *s->cand);
    s->counts = calloc((size_t)vocab, sizeof *s->counts);
    s->weights = calloc((size_t)vocab + LANES, sizeof *s->weights);
    s->aside = calloc((size_t)vocab, sizeof *s->aside);
    if (!s->cand || !s->counts || !s->weights || !s->aside)
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d", vocab);
    return 0;
}

void sampler_done(struct sampler *s)
{
    free(s->cand);
    free(s->counts);
    free(s->weights);
    free(s->aside);
    s->cand = s->aside = NULL;
    s->counts = NULL;
    s->weights = NULL;
}

static bool within(float v, float min, float max)
{
    return v >= min && v <= max; /* false for a NaN */
}

int sampler_check(const struct engine_sampling *p, struct err *e)
{
    if (!within(p->temperature, 0, 100))
        return err_set(e, ERR_INVAL, "temperature must be 0 to 100");
    if (!within(p->top_p, 0, 1))
        return err_set(e, ERR_INVAL, "top_p must be 0 to 1");
    if (!within(p->min_p, 0, 1))
        return err_set(e, ERR_INVAL, "min_p must be 0 to 1");
    if (!within(p->repeat_penalty, 0, 100))
        return err_set(e, ERR_INVAL, "repeat_penalty must be 0 to 100");
    if (!within(p->frequency_penalty, -100, 100) || !within(p->presence_penalty, -100, 100))
        return err_set(e, ERR_INVAL, "frequency_penalty and presence_penalty must be -100 to 100");
    if (p->top_logprobs > ENGINE_TOP_MAX)
        return err_set(e, ERR_INVAL, "at most %d log-probabilities a token", ENGINE_TOP_MAX);
    return 0;
}

/* The sampler's order: is a before b? A NaN is behind everything. */
static bool before(struct candidate a, struct candidate b)
{
    if (isnan(a.logit) || isnan(b.logit))
        return !isnan(a.logit) || (isnan(b.logit) && a.id < b.id);
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* The largest of LANES logits; NaNs are passed over. */
static float block_max(const float *x)
{
    float m[LANES];
    for (int i = 0; i < LANES; i++)
        m[i] = x[i] > -INFINITY ? x[i] : -INFINITY;
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            m[i] = m[i + half] > m[i] ? m[i + half] : m[i];
    return m[0];
}

/* The first of the largest; -1 when none is above minus infinity. */
static int32_t argmax(const float *logits, int32_t n)
{
    int32_t best = -1, i = 0;
    float most = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        if (block_max(logits + i) > most)
            for (int32_t j = i; j < i + LANES; j++)
                if (logits[j] > most) {
                    most = logits[j];
                    best = j;
                }
    for (; i < n; i++)
        if (logits[i] > most) {
            most = logits[i];
            best = i;
        }
    return best;
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

static double block_sum(const float *x)
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
static double weigh(const struct candidate *c, size_t n, float most, float temperature, float *w)
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

static bool penalises(const struct engine_sampling *p)
{
    bool repeat = p->repeat_penalty != 1.0f && p->repeat_penalty != 0.0f;
    return repeat || p->frequency_penalty != 0.0f || p->presence_penalty != 0.0f;
}

/* The repeat penalty looks at the last tokens of prompt and answer, as llama.cpp's does; frequency
 * and presence count what was generated, as OpenAI's do. */
static void apply_penalties(struct sampler *s, const struct engine_sampling *p,
                            const struct sampler_past *past)
{
    struct candidate *c = s->cand;
    size_t from = past->n > ENGINE_REPEAT_WINDOW ? past->n - ENGINE_REPEAT_WINDOW : 0;
    bool repeat = p->repeat_penalty != 1.0f && p->repeat_penalty != 0.0f;
    for (size_t i = from; repeat && i < past->n; i++) {
        int32_t id = past->tokens[i];
        if (s->counts[id]++ == 0)
            c[id].logit = c[id].logit <= 0 ? c[id].logit * p->repeat_penalty
                                           : c[id].logit / p->repeat_penalty;
    }
    for (size_t i = from; i < past->n; i++)
        s->counts[past->tokens[i]] = 0;
    for (size_t i = past->nprompt; i < past->n; i++)
        s->counts[past->tokens[i]]++;
    for (size_t i = past->nprompt; i < past->n; i++) {
        int32_t id = past->tokens[i];
        if (s->counts[id] > 0)
            c[id].logit -= (float)s->counts[id] * p->frequency_penalty + p->presence_penalty;
        s->counts[id] = 0;
    }
}

/* ---- choosing the first k of the order: a heap with the last of the k on top ---- */

static void sift_down(struct candidate *h, size_t n, size_t i)
{
    for (;;) {
        size_t last = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (before(h[last], h[child]))
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
static void select_first(struct candidate *c, size_t n, size_t k)
{
    for (size_t i = k / 2; i-- > 0;)
        sift_down(c, k, i);
    for (size_t i = k; i < n; i++)
        if (!(c[i].logit < c[0].logit) && before(c[i], c[0])) {
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

static float largest(const struct candidate *c, size_t n)
{
    float most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        most = c[i].logit > most ? c[i].logit : most;
    return most;
}

/* Candidates by how far they are behind the first: 16 classes to a unit of logit; what is further
 * behind than the last class shares it. */
#define CLASSES 512

static size_t class_of(float logit, float most)
{
    float behind = (most - logit) * 16.0f;
    return behind < (float)(CLASSES - 1) ? (size_t)behind : CLASSES - 1; /* a NaN: the last */
}

/* The first of the order that reach the mass p of the whole, brought to the front; how many. Masses
 * are added by class, so only the class in which p is reached has to be sorted. */
static size_t cut_top_p(struct sampler *s, struct candidate *c, size_t n, float p)
{
    double mass[CLASSES] = {0}, sum, before_it = 0;
    float most = largest(c, n), *w = s->weights;
    sum = weigh(c, n, most, 1.0f, w);
    for (size_t i = 0; i < n; i++)
        mass[class_of(c[i].logit, most)] += (double)w[i];
    size_t last = 0, kept = 0, tied = 0;
    while (last < CLASSES - 1 && before_it + mass[last] < (double)p * sum)
        before_it += mass[last++];
    for (size_t i = 0; i < n; i++)
        if (class_of(c[i].logit, most) < last)
            c[kept++] = c[i];
        else if (class_of(c[i].logit, most) == last)
            s->aside[tied++] = c[i];
    select_first(s->aside, tied, tied);
    weigh(s->aside, tied, most, 1.0f, w);
    for (size_t i = 0; i < tied; i++) {
        c[kept++] = s->aside[i];
        before_it += (double)w[i];
        if (before_it >= (double)p * sum)
            break;
    }
    return kept;
}

static size_t cut_min_p(struct candidate *c, size_t n, float min_p)
{
    double least = (double)largest(c, n) + log((double)min_p);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if ((double)c[i].logit >= least)
            c[kept++] = c[i];
    return kept;
}

/* A number in [0, 1) of the seed and the draw's index: the splitmix64 sequence (Steele, Lea and
 * Flood, 2014), entered at any place. */
static double draw_number(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

/* The candidate in whose part of the line [0, sum) the number u * sum falls. */
static int32_t draw(struct sampler *s, size_t n, float temperature, double u)
{
    const struct candidate *c = s->cand;
    float *w = s->weights;
    double sum = weigh(c, n, largest(c, n), temperature, w), at = 0;
    size_t block = 0;
    while (block + LANES < n && at + block_sum(w + block) <= u * sum) {
        at += block_sum(w + block);
        block += LANES;
    }
    int32_t last = -1;
    for (size_t i = block; i < n; i++) {
        if (w[i] > 0)
            last = c[i].id;
        at += (double)w[i];
        if (last >= 0 && at > u * sum)
            return last;
    }
    return last >= 0 ? last : c[0].id;
}

static int32_t first_of(const struct candidate *c, size_t n)
{
    struct candidate best = c[0];
    for (size_t i = 1; i < n; i++)
        if (before(c[i], best))
            best = c[i];
    return isnan(best.logit) || best.logit == -INFINITY ? -1 : best.id;
}

int32_t sampler_pick(struct sampler *s, const float *logits, const struct engine_sampling *p,
                     const struct sampler_past *past)
{
    int32_t best = argmax(logits, s->vocab);
    bool plain = !penalises(p), greedy = p->temperature < 1e-5f;
    if (best < 0 || !isfinite(logits[best]) || (plain && greedy))
        return best >= 0 && isfinite(logits[best]) ? best : -1;
    size_t n = (size_t)s->vocab;
    for (size_t i = 0; i < n; i++)
        s->cand[i] = (struct candidate){logits[i], (int32_t)i};
    if (!plain)
        apply_penalties(s, p, past);
    if (greedy)
        return first_of(s->cand, n);
    if (p->top_k > 0) {
        size_t k = (size_t)p->top_k < n ? (size_t)p->top_k : n;
        select_first(s->cand, n, k);
        n = k;
    }
    if (p->top_p < 1)
        n = cut_top_p(s, s->cand, n, p->top_p);
    if (p->min_p > 0)
        n = cut_min_p(s->cand, n, p->min_p);
    return draw(s, n, p->temperature, draw_number(p->seed, past->n - past->nprompt));
}

void sampler_logprobs(struct sampler *s, const float *logits, int32_t id, int n,
                      struct engine_token *out)
{
    size_t vocab = (size_t)s->vocab;
    float most = logits[argmax(logits, s->vocab)];
    for (size_t i = 0; i < vocab; i++)
        s->cand[i] = (struct candidate){logits[i], (int32_t)i};
    double norm = (double)most + log(weigh(s->cand, vocab, most, 1.0f, s->weights));
    out->chosen = (struct engine_logprob){id, (float)((double)logits[id] - norm)};
    out->top = s->top;
    out->ntop = n < s->vocab ? n : s->vocab;
    if (n <= 0)
        return;
    select_first(s->cand, vocab, (size_t)out->ntop);
    for (int i = 0; i < out->ntop; i++)
        s->top[i] =
            (struct engine_logprob){s->cand[i].id, (float)((double)s->cand[i].logit - norm)};
}
