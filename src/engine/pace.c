/* pace.c: how long a step will take, so that one is filled to what a running stream may wait.
 *
 * A step costs a part whatever is in it (the weights are read once, the workers meet), and a part
 * for each token, which grows with the positions before it that it sees. The two are the line
 * through what the last steps took, by their size; so sizes have to differ a little (pace_vary).
 * How fast the second grows follows from the model's shape, and is corrected by deep steps. Before
 * the first step all is a slow machine's. A step that was thought too short is broken off between
 * two layers (the pass has changed nothing) and learned from as if it had ended. Called by the
 * scheduler and by embed.c. */
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
/* Of a step that has at least such a share of its cost from the past, the past's cost is learned,
 * within a factor of what the shape says. */
#define TELLING 0.3
#define DEPTH_OFF 8.0
#define KEEP 0.85 /* what a step still counts after the next */

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
    *p = (struct pace){.token_ns = ENGINE_STEP_NS / rows};
    p->fixed_ns = FIXED_TOKENS * p->token_ns;
    p->depth = p->depth_shape = ATTENTION_COST * attention_macs(m) / (macs + 1);
}

double pace_more(const struct pace *p, double tokens, double seen)
{
    return p->token_ns * (tokens + p->depth * seen);
}

double pace_cost(const struct pace *p, double tokens, double seen)
{
    return p->fixed_ns + pace_more(p, tokens, seen);
}

size_t pace_tokens(const struct pace *p, double ns, size_t depth)
{
    double room = ns / p->token_ns, n = room / (1 + p->depth * (double)depth);
    /* The slice's own tokens see each other too. */
    n = room / (1 + p->depth * ((double)depth + n / 2));
    return n < 1 ? 1 : n > ENGINE_BATCH_MAX ? ENGINE_BATCH_MAX : (size_t)n;
}

double pace_vary(struct pace *p)
{
    return p->turn++ % 3 == 0 ? 1.3 : 1;
}

static double within(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* What deep steps take more than thought, the past is taken to cost. */
static void learn_depth(struct pace *p, double tokens, double seen, double ns)
{
    double share = p->token_ns * p->depth * seen / pace_cost(p, tokens, seen);
    double off = within(ns / pace_cost(p, tokens, seen) - 1, -0.5, 1);
    if (share < TELLING)
        return;
    p->depth = within(p->depth * (1 + 0.1 * off * share), p->depth_shape / DEPTH_OFF,
                      p->depth_shape * DEPTH_OFF);
}

void pace_learn(struct pace *p, double tokens, double seen, double ns)
{
    double size = tokens + p->depth * seen;
    if (tokens < 1 || ns <= 0)
        return;
    learn_depth(p, tokens, seen, ns);
    p->n = p->n * KEEP + 1;
    p->x = p->x * KEEP + size;
    p->y = p->y * KEEP + ns;
    p->xx = p->xx * KEEP + size * size;
    p->xy = p->xy * KEEP + size * ns;
    double x = p->x / p->n, y = p->y / p->n, spread = p->xx / p->n - x * x;
    double slope = (p->xy / p->n - x * y) / (spread + 1e-9);
    if (spread < 0.005 * x * x) /* all of one size: the parts stay in proportion */
        slope = y * p->token_ns / (p->fixed_ns + p->token_ns * x);
    p->token_ns = within(slope, 0.05 * y / x, y / x);
    p->fixed_ns = y - p->token_ns * x;
}
