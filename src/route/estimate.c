/* estimate.c: owns what one candidate would cost and take, and its score in the ranking.
 *
 *   score = quality * min(1, P / need)              is it good enough? better than enough is no
 * gain
 *         - cost    * c / (c + 1 cent)              half the weight at one cent
 *         - time    * t / (t + 30 s)                (3 s when somebody waits, 1 s while typing)
 *         - leave                                   nothing leaves without a reason
 *         - the pulls below
 *
 * The pulls are what practitioners name beside quality, cost and time; each is a number here and a
 * row in docs/routing.md. */
#include "route_int.h"

struct route_weights route_weights_default(void)
{
    return (struct route_weights){
        .quality = 1.0, .cost = 0.25, .time = 0.30, .leave_site = 0.05, .leave_cloud = 0.20};
}

bool route_leaves(const struct route_candidate *c)
{
    return c->zone == GEN_CLOUD || !c->on_machine;
}

/* A competent person's task may be good enough; what needs an expert, goes out under a name, or is
 * to be thought hard about is to be nearly sure. */
double estimate_need(const struct route_request *r)
{
    bool expert = r->signals.task == ROUTE_TASK_EXPERT || r->signals.task == ROUTE_TASK_REASON;
    return expert || r->signals.client_facing || r->high_effort ? 0.85 : 0.60;
}

int64_t estimate_tokens_needed(const struct route_request *r)
{
    int64_t n = r->prompt_tokens;
    if (!r->prompt_exact)
        n += n / 10; /* an estimate is off by so much easily */
    return n + r->output_tokens;
}

static bool mul(int64_t price, int64_t tokens, int64_t *out)
{
    return price != ROUTE_UNKNOWN && !__builtin_mul_overflow(price, tokens, out);
}

int64_t estimate_cost(const struct route_candidate *c, int64_t input, int64_t output)
{
    int64_t a = 0, b = 0, sum;
    if ((input && !mul(c->price_input, input, &a)) || (output && !mul(c->price_output, output, &b)))
        return ROUTE_UNKNOWN;
    if (__builtin_add_overflow(a, b, &sum) || sum > INT64_MAX - 1000000)
        return ROUTE_UNKNOWN;
    return (sum + 999999) / 1000000;
}

/* The most it can cost: the caller's limit, or the model's own, or what is common. */
static int64_t cost_bound(const struct route_request *r, const struct route_candidate *c)
{
    int64_t out = r->max_output_tokens ? r->max_output_tokens : c->caps.max_output;
    if (r->kind == GEN_EMBED || r->kind == GEN_RERANK)
        out = 0;
    else if (out <= 0)
        out = 32768;
    int64_t in = r->prompt_tokens + (r->prompt_exact ? 0 : r->prompt_tokens / 4 + 64);
    return estimate_cost(c, in, out);
}

static int64_t to_ms(double seconds)
{
    return seconds > 1e9 ? INT64_C(1000000000000) : (int64_t)(seconds * 1000 + 0.5);
}

static void times(const struct route_request *r, const struct route_candidate *c,
                  struct route_choice *out)
{
    out->first_ms = out->total_ms = ROUTE_UNKNOWN;
    bool fixed = c->first_ms != ROUTE_UNKNOWN;
    if (!fixed && c->prefill_tps <= 0)
        return;
    double answer = c->decode_tps > 0 ? (double)r->output_tokens / c->decode_tps : 0;
    double first = fixed ? (double)c->first_ms / 1000 : 0;
    if (c->prefill_tps > 0)
        first += (double)r->prompt_tokens / c->prefill_tps;
    if (!c->loaded && c->load_ms != ROUTE_UNKNOWN)
        first += (double)c->load_ms / 1000;
    if (c->backend == ROUTE_LOCAL)
        first += (double)c->queue_depth * answer;
    out->first_ms = to_ms(first);
    if (c->decode_tps > 0)
        out->total_ms = to_ms(first + answer);
}

static double time_term(const struct route_request *r, int64_t ms)
{
    double half = r->latency == ROUTE_COMPLETION ? 1 : r->latency == ROUTE_INTERACTIVE ? 3 : 30;
    double t = ms == ROUTE_UNKNOWN ? half / 2 : (double)ms / 1000;
    return t / (t + half);
}

static double cost_term(int64_t nano)
{
    double c = nano == ROUTE_UNKNOWN ? 1e7 : (double)nano;
    return c / (c + 1e7);
}

/* Past this nobody waits. */
static bool past_patience(const struct route_request *r, int64_t ms)
{
    int64_t limit = r->latency == ROUTE_COMPLETION    ? 3000
                    : r->latency == ROUTE_INTERACTIVE ? 30000
                                                      : 600000;
    return ms != ROUTE_UNKNOWN && ms > limit;
}

static double pulls(const struct route_request *r, const struct route_candidate *c)
{
    double minus = 0;
    if (route_leaves(c)) {
        if (r->latency == ROUTE_COMPLETION)
            minus += 1.0;
        if (r->latency == ROUTE_INTERACTIVE)
            minus += 0.2;
        if (r->agent_steps >= ROUTE_AGENT_STEPS)
            minus += r->agent_steps < 27 ? 0.015 * r->agent_steps : 0.4;
    }
    if (c->zone != GEN_CLOUD) {
        minus += r->signals.client_facing ? 0.45 : 0;
        minus += r->signals.fresh && !r->needs_tools && !r->needs_documents ? 0.6 : 0;
        minus += r->prompt_tokens >= ROUTE_LONG_TOKENS ? 0.5 : 0;
    }
    return minus;
}

void estimate_choice(const struct route_facts *f, size_t i, struct route_choice *out)
{
    const struct route_request *r = &f->request;
    const struct route_candidate *c = &f->candidates[i];
    const struct route_weights *w = &f->policy.weights;
    out->candidate = i;
    out->p = difficulty_suffices(r, c->quality, c->params);
    double need = estimate_need(r);
    out->expected_quality = out->p < need ? out->p / need : 1;
    out->cost = estimate_cost(c, r->prompt_tokens, r->output_tokens);
    out->cost_bound = cost_bound(r, c);
    times(r, c, out);
    double score = w->quality * out->expected_quality;
    score -= w->cost * cost_term(out->cost);
    score -= w->time * time_term(r, out->total_ms);
    if (route_leaves(c))
        score -= c->zone == GEN_CLOUD ? w->leave_cloud : w->leave_site;
    score -= pulls(r, c);
    score -= past_patience(r, out->total_ms) ? 0.4 : 0;
    out->score = score;
}
