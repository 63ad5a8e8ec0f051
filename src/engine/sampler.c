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

int sampler_init(struct sampler *s, int32_t vocab, struct err *e)
{
    s->vocab = vocab;
    s->cand = calloc((size_t)vocab, sizeof *s->cand);
    s->counts = calloc((size_t)vocab, sizeof *s->counts);
    if (!s->cand || !s->counts)
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d", vocab);
    return 0;
}

void sampler_done(struct sampler *s)
{
    free(s->cand);
    free(s->counts);
    s->cand = NULL;
    s->counts = NULL;
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

static int32_t argmax(const float *logits, int32_t n)
{
    int32_t best = -1;
    float most = -INFINITY;
    for (int32_t i = 0; i < n; i++)
        if (logits[i] > most) {
            most = logits[i];
            best = i;
        }
    return best;
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
        if (before(c[i], c[0])) {
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

/* How many of the sorted candidates reach the mass p of the whole. Sorted as far as needed: first a
 * few, then four times as many. */
static size_t cut_top_p(struct candidate *c, size_t n, bool sorted, float p)
{
    double sum = 0;
    float most = largest(c, n);
    for (size_t i = 0; i < n; i++)
        sum += isnan(c[i].logit) ? 0 : exp((double)c[i].logit - (double)most);
    for (size_t k = sorted ? n : 256;; k *= 4) {
        k = k < n ? k : n;
        if (!sorted)
            select_first(c, n, k);
        double mass = 0;
        for (size_t i = 0; i < k; i++) {
            mass += exp((double)c[i].logit - (double)most);
            if (mass >= (double)p * sum)
                return i + 1;
        }
        if (k == n)
            return n;
    }
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

static int32_t draw(const struct candidate *c, size_t n, float temperature, double u)
{
    float most = largest(c, n);
    double sum = 0, t = (double)temperature, mass = 0;
    for (size_t i = 0; i < n; i++)
        sum += isnan(c[i].logit) ? 0 : exp(((double)c[i].logit - (double)most) / t);
    int32_t last = -1;
    for (size_t i = 0; i < n; i++) {
        double p = isnan(c[i].logit) ? 0 : exp(((double)c[i].logit - (double)most) / t);
        if (p > 0)
            last = c[i].id;
        mass += p;
        if (mass > u * sum)
            return c[i].id;
    }
    return last;
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
    bool plain = !penalises(p);
    if (best < 0 || !isfinite(logits[best]) || (plain && p->temperature == 0))
        return best >= 0 && isfinite(logits[best]) ? best : -1;
    size_t n = (size_t)s->vocab;
    for (size_t i = 0; i < n; i++)
        s->cand[i] = (struct candidate){logits[i], (int32_t)i};
    if (!plain)
        apply_penalties(s, p, past);
    if (p->temperature == 0)
        return first_of(s->cand, n);
    bool sorted = p->top_k > 0;
    if (sorted) {
        size_t k = (size_t)p->top_k < n ? (size_t)p->top_k : n;
        select_first(s->cand, n, k);
        n = k;
    }
    if (p->top_p < 1)
        n = cut_top_p(s->cand, n, sorted, p->top_p);
    if (p->min_p > 0)
        n = cut_min_p(s->cand, n, p->min_p);
    return draw(s->cand, n, p->temperature, draw_number(p->seed, past->n - past->nprompt));
}

void sampler_logprobs(struct sampler *s, const float *logits, int32_t id, int n,
                      struct engine_token *out)
{
    float most = logits[argmax(logits, s->vocab)];
    double sum = 0;
    for (int32_t i = 0; i < s->vocab; i++)
        sum += isnan(logits[i]) ? 0 : exp((double)logits[i] - (double)most);
    double norm = (double)most + log(sum);
    out->chosen = (struct engine_logprob){id, (float)((double)logits[id] - norm)};
    out->top = s->top;
    out->ntop = n < s->vocab ? n : s->vocab;
    if (n <= 0)
        return;
    for (int32_t i = 0; i < s->vocab; i++)
        s->cand[i] = (struct candidate){logits[i], i};
    select_first(s->cand, (size_t)s->vocab, (size_t)out->ntop);
    for (int i = 0; i < out->ntop; i++)
        s->top[i] =
            (struct engine_logprob){s->cand[i].id, (float)((double)s->cand[i].logit - norm)};
}
