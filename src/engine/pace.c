/* pace.c: how long a step will take, so that one is filled to what a running stream may wait.
 *
 * A token of a prompt costs a part that every token costs, and a part for each position before it
 * that it sees. Both are learned from the steps themselves; before the first, the second follows
 * from the model's shape, and the first is a slow machine's. A step that was thought too short is
 * broken off between two layers (the pass has changed nothing) and learned from as if it had
 * ended. Called by the scheduler and by embed.c. */
#include "engine_int.h"

#include <math.h>

/* Multiply-adds a second that any machine's thread has, and what a layer may take at that speed. */
#define SLOW_MACS 4e9
#define FIRST_LAYER_NS 50e6
#define FIRST_LEAST 8
#define FIRST_MOST 128
/* What a multiply-add of attention costs beside one of the weights', until it is measured. */
#define ATTENTION_COST 4.0
/* A part that is less of a step than this is not learned from it. */
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
    p->depth_share = ATTENTION_COST * attention_macs(m) / (macs + 1);
    p->position_ns = p->depth_share * p->token_ns;
    p->deep = false;
}

double pace_cost(const struct pace *p, double tokens, double seen)
{
    return p->token_ns * tokens + p->position_ns * seen;
}

size_t pace_tokens(const struct pace *p, double ns, size_t depth)
{
    double n = ns / (p->token_ns + p->position_ns * (double)depth);
    /* The slice's own tokens see each other too. */
    n = ns / (p->token_ns + p->position_ns * ((double)depth + n / 2));
    return n < 1 ? 1 : n > ENGINE_BATCH_MAX ? ENGINE_BATCH_MAX : (size_t)n;
}

static double follow(double old, double ratio, double share)
{
    double now = old * (1 + (ratio > 1 ? 0.75 : 0.25) * (ratio - 1) * share);
    return now > old / 8 ? now : old / 8;
}

void pace_learn(struct pace *p, double tokens, double seen, double ns)
{
    double thought = pace_cost(p, tokens, seen);
    if (tokens < 1 || ns <= 0 || thought <= 0)
        return;
    double ratio = ns / thought, depth = p->position_ns * seen / thought;
    ratio = ratio > 64 ? 64 : ratio;
    /* The first step tells more than what was assumed. */
    p->token_ns = p->measured ? follow(p->token_ns, ratio, 1 - depth)
                              : p->token_ns * (depth < TELLING ? ratio : 1);
    if (depth >= TELLING) {
        p->position_ns = follow(p->position_ns, ratio, depth);
        p->deep = true;
    } else if (!p->deep) {
        p->position_ns = p->depth_share * p->token_ns;
    }
    p->measured = true;
}
