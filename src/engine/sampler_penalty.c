/* sampler_penalty.c: what has been said bends the logits: repetition, frequency, presence, and DRY
 * ("don't repeat yourself": a token that would prolong a repetition of the past pays by the length
 * of what is repeated; by P. Weidmann, as llama.cpp has it). The candidates stand in order of their
 * ids. */
#include "sampler_int.h"

bool penalty_repeats(const struct engine_sampling *p)
{
    bool repeat = p->repeat_penalty != 1.0f && p->repeat_penalty != 0.0f;
    return repeat || p->frequency_penalty != 0.0f || p->presence_penalty != 0.0f;
}

bool penalty_dry(const struct engine_sampling *p)
{
    return p->dry_multiplier > 0.0f && p->dry_base >= 1.0f;
}

/* Where the last `last` tokens begin; 0 means the default, below 0 everything. */
static size_t window_start(size_t n, int32_t last, size_t fallback)
{
    size_t window = last == 0 ? fallback : last < 0 ? n : (size_t)last;
    return n > window ? n - window : 0;
}

/* The repeat penalty looks at the last tokens of prompt and answer, as llama.cpp's does; frequency
 * and presence count what was generated, as OpenAI's do. */
void penalty_apply(struct sampler *s, const struct engine_sampling *p,
                   const struct sampler_past *past)
{
    struct candidate *c = s->cand;
    size_t from = window_start(past->n, p->repeat_last_n, ENGINE_REPEAT_WINDOW);
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

/* ---- DRY ---- */

static bool breaks(const struct engine_sampling *p, int32_t id)
{
    return p->dry_breaks && (p->dry_breaks[id / 64] >> (id % 64) & 1);
}

/* z[i]: how many tokens before the one that stands i from the end equal those before the end: the
 * Z-function of the reversed past, linear in n. */
static void match_lengths(const int32_t *tokens, size_t n, int32_t *z)
{
    size_t left = 0, right = 0;
    const int32_t *end = tokens + n - 1;
    for (size_t i = 1; i < n; i++) {
        size_t len = 0;
        if (i < right)
            len = (size_t)z[i - left] < right - i ? (size_t)z[i - left] : right - i;
        while (i + len < n && end[-(ptrdiff_t)len] == end[-(ptrdiff_t)(i + len)])
            len++;
        if (i + len > right) {
            left = i;
            right = i + len;
        }
        z[i] = (int32_t)len;
    }
}

/* The longest repetition that each token would prolong, in s->counts. */
static void note_repetitions(struct sampler *s, const struct engine_sampling *p,
                             const int32_t *tokens, size_t n, size_t limit)
{
    for (size_t i = 1; i < n; i++) {
        int32_t len = s->matches[i] < (int32_t)limit ? s->matches[i] : (int32_t)limit;
        int32_t next = tokens[n - i];
        if (len >= p->dry_allowed_length && len > s->counts[next] && !breaks(p, next))
            s->counts[next] = len;
    }
}

void penalty_apply_dry(struct sampler *s, const struct engine_sampling *p,
                       const struct sampler_past *past)
{
    size_t from = window_start(past->n, p->dry_last_n, past->n), limit = 0;
    const int32_t *tokens = past->tokens + from;
    size_t n = past->n - from;
    while (limit < n && !breaks(p, tokens[n - 1 - limit]))
        limit++;
    if (n < 2 || n > s->past_max || (int64_t)limit < p->dry_allowed_length)
        return;
    match_lengths(tokens, n, s->matches);
    note_repetitions(s, p, tokens, n, limit);
    for (size_t i = 0; i < n; i++) {
        int32_t id = tokens[i];
        if (s->counts[id] > 0) {
            double over = (double)(s->counts[id] - p->dry_allowed_length);
            double penalty = (double)p->dry_multiplier * pow((double)p->dry_base, over);
            s->cand[id].logit -= (float)(penalty < 1e30 ? penalty : 1e30);
        }
        s->counts[id] = 0;
    }
}
