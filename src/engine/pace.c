/* pace.c: how long a step will take, so that one is filled to what a running stream may wait.
 *
 * A step costs a part whatever is in it (the weights are read once, the workers meet), a part for
 * each token, and a part for each position that a token sees. All three are learned from the steps
 * themselves: what a step took more or less than thought goes to the parts as they had a share in
 * it. Before the first step the second is a slow machine's, and the others follow from it and from
 * the model's shape. A step that was thought too short is broken off between two layers (the pass
 * has changed nothing) and learned from as if it had ended. Called by the scheduler and by embed.c.
 */
#include "engine_int.h"

/* Multiply-adds a second that any machine's thread has, and what a layer may take at that speed. */
#define SLOW_MACS 4e9
#define FIRST_LAYER_NS 50e6
#define FIRST_LEAST 8
#define FIRST_MOST 128
/* What a multiply-add of attention costs beside one of the weights', until it is measured. */
#define ATTENTION_COST 4.0
/* What a step costs beside its tokens, in tokens, until it is measured. */
#define FIXED_TOKENS 8
/* Of a step that has at least such a share of its cost from the past, the past's cost is learned.
 */
#define TELLING 0.3

/* Multiply-adds for one position seen by one token. */
static double attention_macs(const struct model *m)
{
    const struct model_traits *t = model_traits(m);
    int full = 0;
    for (int i = 0; i < t->layers; i++)
        full += !t->kinds || t->kinds[i] == MODEL_LAYER_FULL;
    return 2.0 * full * t->heads * t->head_dim;
}

void pace_init(struct pace *p, const struct model *m, int threads)
{
    double macs = (double)model_macs(m, false), layers = model_traits(m)->layers;
    double rows = FIRST_LAYER_NS * 1e-9 * SLOW_MACS * threads / (macs / layers + 1);
    rows = rows < FIRST_LEAST ? FIRST_LEAST : rows > FIRST_MOST ? FIRST_MOST : rows;
    p->token_ns = ENGINE_STEP_NS / rows;
    p->fixed_ns = FIXED_TOKENS * p->token_ns;
    p->depth_share = ATTENTION_COST * attention_macs(m) / (macs + 1);
    p->position_ns = p->depth_share * p->token_ns;
    p->deep = false;
}

double pace_more(const struct pace *p, double tokens, double seen)
{
    return p->token_ns * tokens + p->position_ns * seen;
}

double pace_cost(const struct pace *p, double tokens, double seen)
{
    return p->fixed_ns + pace_more(p, tokens, seen);
}

size_t pace_tokens(const struct pace *p, double ns, size_t depth)
{
    double n = ns / (p->token_ns + p->position_ns * (double)depth);
    /* The slice's own tokens see each other too. */
    n = ns / (p->token_ns + p->position_ns * ((double)depth + n / 2));
    return n < 1 ? 1 : n > ENGINE_BATCH_MAX ? ENGINE_BATCH_MAX : (size_t)n;
}

static double follow(double old, double by)
{
    double f = 1 + by;
    return old * (f < 0.25 ? 0.25 : f > 16 ? 16 : f);
}

void pace_learn(struct pace *p, double tokens, double seen, double ns)
{
    double thought = pace_cost(p, tokens, seen);
    if (tokens < 1 || ns <= 0)
        return;
    double fixed = p->fixed_ns / thought, token = p->token_ns * tokens / thought;
    double depth = p->position_ns * seen / thought;
    double off = ns / thought - 1, rate = off > 0 ? 0.75 : 0.4;
    double by = off * rate / (fixed * fixed + token * token + depth * depth);
    p->fixed_ns = follow(p->fixed_ns, by * fixed);
    p->token_ns = follow(p->token_ns, by * token);
    p->deep = p->deep || depth >= TELLING;
    p->position_ns = p->deep ? follow(p->position_ns, by * depth) : p->depth_share * p->token_ns;
}
