/* difficulty.c: owns the guess P(this model suffices | request, facts of the model).
 *
 * It is a guess and built to be read: a base by the kind of task, a few additions, and a logistic
 * curve over "capability of the model minus difficulty of the request". The numbers are set by hand
 * from what models of each size are commonly good for; they were not fitted to any data and no
 * accuracy is claimed. A measured function with the same signature replaces this file.
 *
 * What it cannot see: whether a short question is a rare fact ("Who came third in ..."), whether a
 * plain sentence hides a hard problem, and how good one model of a size is against another of the
 * same size, unless its quality is given. Called by estimate.c and plan.c. */
#include "difficulty_int.h"

#include <math.h>

#include "route_int.h"

#define SLOPE 1.2 /* one point of capability is worth a factor of e^1.2 in the odds */

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

double difficulty_capability(double params)
{
    if (!(params > 0))
        return 5;
    /* 135M: 2.0, 1.5B: 4.3, 8B: 5.9, 70B: 8.0. Twice the size is 0.66 points. */
    return clamp(1.7 + 2.2 * (log10(params / 1e6) - 2), 0.5, 9);
}

static double base_of(enum route_task t)
{
    switch (t) {
    case ROUTE_TASK_ASK: return 1.0;
    case ROUTE_TASK_REWRITE: return 1.0;
    case ROUTE_TASK_CLASSIFY: return 1.2;
    case ROUTE_TASK_CHAT: return 1.4;
    case ROUTE_TASK_EXTRACT: return 1.5;
    case ROUTE_TASK_SUMMARISE: return 1.7;
    case ROUTE_TASK_TRANSLATE: return 2.0;
    case ROUTE_TASK_WRITE: return 2.6;
    case ROUTE_TASK_CODE: return 3.6;
    case ROUTE_TASK_MATHS: return 3.8;
    case ROUTE_TASK_REASON: return 5.8;
    case ROUTE_TASK_EXPERT: return 6.0;
    }
    return 5;
}

/* Rearranging words that are there, as against knowing or judging. */
static bool is_plain(enum route_task t)
{
    return t == ROUTE_TASK_REWRITE || t == ROUTE_TASK_SUMMARISE || t == ROUTE_TASK_EXTRACT ||
           t == ROUTE_TASK_CLASSIFY || t == ROUTE_TASK_TRANSLATE;
}

static double from_words(const struct route_signals *s)
{
    double d = base_of(s->task);
    bool plain = is_plain(s->task);
    if (s->task == ROUTE_TASK_ASK && s->domains)
        d += 1.5; /* a fact of a trade is a rarer fact */
    if (s->task == ROUTE_TASK_ASK)
        d += clamp(0.08 * (double)(s->message_words - 10), 0, 1.5);
    if (s->task == ROUTE_TASK_MATHS)
        d += clamp(0.03 * (double)(s->message_words - 20), 0, 1.5); /* one more thing to keep */
    if (s->task == ROUTE_TASK_CHAT)
        d += clamp(0.03 * (double)(s->message_words - 20), 0, 2);
    d += clamp((plain ? 0.2 : 0.4) * s->expert_terms, 0, 1.8);
    d += clamp(0.9 * s->hard_terms, 0, 2.7);
    d += clamp(0.25 * (s->demands - 2), 0, 1.5);
    d += s->steps ? 0.8 : 0;
    d += s->foreign ? 0.6 : 0;
    d += s->client_facing ? 1.0 : 0;
    d += s->code && s->task != ROUTE_TASK_CODE ? 0.5 : 0;
    d += s->maths && s->task != ROUTE_TASK_MATHS ? 0.5 : 0;
    d += s->code_lines > 50 ? 0.7 : 0;
    return d;
}

double difficulty_of(const struct route_request *r)
{
    if (r->kind == GEN_EMBED || r->kind == GEN_RERANK)
        return 1;
    if (r->kind == GEN_INFILL || r->latency == ROUTE_COMPLETION)
        return 2; /* a line of code: the person reads it before it counts */
    double d = from_words(&r->signals);
    /* 1,000 tokens: +0.5, 8,000: +1.6, 100,000: +3.3. */
    d += clamp(0.5 * log2(1 + (double)r->prompt_tokens / 1000), 0, 3.5);
    d += r->needs_tools ? 1.2 : 0;
    d += clamp(0.03 * r->agent_steps, 0, 1.5);
    d += r->needs_schema ? 0.6 : r->needs_json ? 0.3 : 0;
    d += r->needs_images || r->needs_audio || r->needs_documents ? 0.5 : 0;
    d += r->high_effort ? 1.0 : 0;
    return clamp(d, 0, 10);
}

double difficulty_suffices(const struct route_request *r, double quality, double params)
{
    if (r->kind == GEN_EMBED) /* what its rows are good for is not to be told from its size */
        return 1;
    double able = quality >= 0 ? clamp(quality, 0, 10) : difficulty_capability(params);
    double p = 1 / (1 + exp(-SLOPE * (able - difficulty_of(r))));
    /* No model knows today by itself; with tools or the documents at hand it need not. */
    if (r->signals.fresh && !r->needs_tools && !r->needs_documents)
        p *= 0.4;
    return p;
}
