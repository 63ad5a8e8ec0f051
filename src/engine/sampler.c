/* sampler.c: from logits to a token: bias, penalties, cuts, temperature, draw, in the order asked
 * for or in that of llama.cpp's default chain.
 *
 * Everything is decided by the logits, the parameters, the past and the seed: the order of
 * candidates is total (higher logit first, then lower id), sums run in one order in doubles, and
 * the number drawn is a function of the seed and the token's index, so nothing is carried from
 * token to token. */
#include "sampler_int.h"

#include <stdlib.h>

uint64_t sampler_bytes(int32_t vocab)
{
    return (uint64_t)vocab * (2 * sizeof(struct candidate) + 2 * sizeof(int32_t) + sizeof(float));
}

int sampler_init(struct sampler *s, int32_t vocab, int32_t past_max, struct err *e)
{
    s->vocab = vocab;
    s->past_max = (size_t)past_max;
    s->matches = calloc(s->past_max, sizeof *s->matches);
    s->places = calloc((size_t)vocab, sizeof *s->places);
    s->cand = calloc((size_t)vocab, sizeof *s->cand);
    s->counts = calloc((size_t)vocab, sizeof *s->counts);
    s->weights = calloc((size_t)vocab + LANES, sizeof *s->weights);
    s->aside = calloc((size_t)vocab, sizeof *s->aside);
    if (!s->cand || !s->counts || !s->weights || !s->aside || !s->matches || !s->places)
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d", vocab);
    return 0;
}

void sampler_done(struct sampler *s)
{
    free(s->cand);
    free(s->counts);
    free(s->weights);
    free(s->aside);
    free(s->matches);
    free(s->places);
    *s = (struct sampler){0};
}

static bool within(float v, float min, float max)
{
    return v >= min && v <= max; /* false for a NaN */
}

static int check_lists(const struct engine_sampling *p, int32_t vocab, struct err *e)
{
    for (size_t i = 0; i < p->nbias; i++) {
        if (p->bias[i].id < 0 || p->bias[i].id >= vocab)
            return err_set(e, ERR_INVAL, "logit_bias: token %d is outside the vocabulary of %d",
                           p->bias[i].id, vocab);
        if (isnan(p->bias[i].bias))
            return err_set(e, ERR_INVAL, "logit_bias: the bias of token %d is not a number",
                           p->bias[i].id);
    }
    for (int i = 0; i < ENGINE_SAMPLERS && p->order[i]; i++)
        if (p->order[i] > ENGINE_SAMPLER_TEMPERATURE)
            return err_set(e, ERR_INVAL, "samplers: number %d is none", p->order[i]);
    return 0;
}

int sampler_check(const struct engine_sampling *p, int32_t vocab, struct err *e)
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
    if (!within(p->typical_p, 0, 1))
        return err_set(e, ERR_INVAL, "typical_p must be 0 to 1");
    if (!within(p->top_n_sigma, -1, 1000))
        return err_set(e, ERR_INVAL, "top_n_sigma must be 0 to 1000");
    if (!within(p->xtc_probability, 0, 1) || !within(p->xtc_threshold, 0, 1))
        return err_set(e, ERR_INVAL, "xtc_probability and xtc_threshold must be 0 to 1");
    if (!within(p->dry_multiplier, 0, 1000) || !within(p->dry_base, 0, 1000))
        return err_set(e, ERR_INVAL, "dry_multiplier and dry_base must be 0 to 1000");
    if (p->dry_allowed_length < 0)
        return err_set(e, ERR_INVAL, "dry_allowed_length must not be negative");
    if (p->top_logprobs > ENGINE_TOP_MAX)
        return err_set(e, ERR_INVAL, "at most %d log-probabilities a token", ENGINE_TOP_MAX);
    return check_lists(p, vocab, e);
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
    double sum = cand_weigh(c, n, cand_largest(c, n), temperature, w), at = 0;
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
        if (cand_before(c[i], best))
            best = c[i];
    return isnan(best.logit) || best.logit == -INFINITY ? -1 : best.id;
}

/* The order of llama.cpp's default chain. */
static const unsigned char default_order[ENGINE_SAMPLERS] = {
    ENGINE_SAMPLER_PENALTIES, ENGINE_SAMPLER_DRY,     ENGINE_SAMPLER_TOP_N_SIGMA,
    ENGINE_SAMPLER_TOP_K,     ENGINE_SAMPLER_TYPICAL, ENGINE_SAMPLER_TOP_P,
    ENGINE_SAMPLER_MIN_P,     ENGINE_SAMPLER_XTC,     ENGINE_SAMPLER_TEMPERATURE,
};

static bool in_order(const unsigned char *order, unsigned char what)
{
    for (int i = 0; i < ENGINE_SAMPLERS && order[i]; i++)
        if (order[i] == what)
            return true;
    return false;
}

/* One step of the chain on n candidates; how many are left. A temperature in last place is the
 * draw's. */
static size_t step(struct sampler *s, const struct engine_sampling *p, size_t n, unsigned char what,
                   uint64_t index)
{
    struct candidate *c = s->cand;
    size_t k = p->top_k > 0 && (size_t)p->top_k < n ? (size_t)p->top_k : n;
    switch (what) {
    case ENGINE_SAMPLER_TOP_N_SIGMA:
        return p->top_n_sigma > 0 ? cut_top_n_sigma(c, n, p->top_n_sigma) : n;
    case ENGINE_SAMPLER_TOP_K:
        if (p->top_k > 0)
            cand_select(c, n, k);
        return k;
    case ENGINE_SAMPLER_TYPICAL:
        return p->typical_p > 0 && p->typical_p < 1 ? cut_typical(s, c, n, p->typical_p) : n;
    case ENGINE_SAMPLER_TOP_P: return p->top_p < 1 ? cut_top_p(s, c, n, p->top_p) : n;
    case ENGINE_SAMPLER_MIN_P: return p->min_p > 0 ? cut_min_p(c, n, p->min_p) : n;
    case ENGINE_SAMPLER_XTC:
        return p->xtc_probability > 0 ? cut_xtc(s, c, n, p->xtc_probability, p->xtc_threshold,
                                                draw_number(~p->seed, index))
                                      : n;
    case ENGINE_SAMPLER_TEMPERATURE:
        for (size_t i = 0; i < n; i++)
            c[i].logit /= p->temperature;
        return n;
    default: return n;
    }
}

/* The penalties come first whatever the order says: they look at the whole vocabulary. */
static bool bend(struct sampler *s, const struct engine_sampling *p, const unsigned char *order,
                 const struct sampler_past *past)
{
    bool repeats = penalty_repeats(p) && in_order(order, ENGINE_SAMPLER_PENALTIES);
    bool dry = penalty_dry(p) && in_order(order, ENGINE_SAMPLER_DRY);
    if (past == NULL)
        return repeats || dry || p->nbias > 0;
    for (size_t i = 0; i < p->nbias; i++)
        s->cand[p->bias[i].id].logit += p->bias[i].bias;
    if (repeats)
        penalty_apply(s, p, past);
    if (dry)
        penalty_apply_dry(s, p, past);
    return true;
}

bool sampler_is_argmax(const struct engine_sampling *p)
{
    const unsigned char *order = p->order[0] ? p->order : default_order;
    return p->temperature < 1e-5f && !bend(NULL, p, order, NULL);
}

/* What the mask leaves out is as unlikely as can be. */
static void gather(struct sampler *s, const float *logits, const uint64_t *mask)
{
    for (int32_t i = 0; i < s->vocab; i++)
        s->cand[i] = (struct candidate){grammar_mask_has(mask, i) ? logits[i] : -INFINITY, i};
}

/* The cuts in their order, and the draw. */
static int32_t choose(struct sampler *s, const struct engine_sampling *p,
                      const unsigned char *order, uint64_t index)
{
    float temperature = in_order(order, ENGINE_SAMPLER_TEMPERATURE) ? p->temperature : 1.0f;
    size_t n = (size_t)s->vocab;
    for (int i = 0; i < ENGINE_SAMPLERS && order[i]; i++) {
        bool last = i + 1 == ENGINE_SAMPLERS || !order[i + 1];
        if (order[i] == ENGINE_SAMPLER_TEMPERATURE && last)
            break;
        n = step(s, p, n, order[i], index);
        temperature = order[i] == ENGINE_SAMPLER_TEMPERATURE ? 1.0f : temperature;
    }
    return draw(s, n, temperature, draw_number(p->seed, index));
}

int32_t sampler_pick(struct sampler *s, const float *logits, const struct engine_sampling *p,
                     const struct sampler_past *past, const uint64_t *mask)
{
    const unsigned char *order = p->order[0] ? p->order : default_order;
    int32_t best = argmax(logits, s->vocab);
    bool plain = !bend(s, p, order, NULL), greedy = p->temperature < 1e-5f;
    if (best < 0 || !isfinite(logits[best]))
        return -1;
    if (plain && greedy && grammar_mask_has(mask, best))
        return best;
    gather(s, logits, mask);
    if (mask && first_of(s->cand, (size_t)s->vocab) < 0)
        return SAMPLER_NONE_LEFT;
    if (!plain)
        bend(s, p, order, past);
    if (!plain && !isfinite(cand_largest(s->cand, (size_t)s->vocab)))
        return -1; /* every token is forbidden */
    if (greedy)
        return first_of(s->cand, (size_t)s->vocab);
    return choose(s, p, order, past->n - past->nprompt);
}

void sampler_logprobs(struct sampler *s, const float *logits, int32_t id, int n,
                      struct engine_token *out)
{
    size_t vocab = (size_t)s->vocab;
    float most = logits[argmax(logits, s->vocab)];
    for (size_t i = 0; i < vocab; i++)
        s->cand[i] = (struct candidate){logits[i], (int32_t)i};
    double norm = (double)most + log(cand_weigh(s->cand, vocab, most, 1.0f, s->weights));
    out->chosen = (struct engine_logprob){id, (float)((double)logits[id] - norm)};
    out->top = s->top;
    out->ntop = n < s->vocab ? n : s->vocab;
    if (n <= 0)
        return;
    cand_select(s->cand, vocab, (size_t)out->ntop);
    for (int i = 0; i < out->ntop; i++)
        s->top[i] =
            (struct engine_logprob){s->cand[i].id, (float)((double)s->cand[i].logit - norm)};
}
