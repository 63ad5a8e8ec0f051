/* rope.c: how queries and keys turn with their position: linear scaling, YaRN, and divisors of the
 * angles that a file brings as tensors.
 *
 * Angles are running products in floats, as in ggml's rope, whose models were trained and quantised
 * against it. Read by traits.c, filled by forward.c once an item. */
#include "model_int.h"

#include <math.h>

static int read_yarn(struct model *m, struct err *e)
{
    struct yarn *y = &m->b.yarn;
    int rc = traits_float_or(m, "rope.scaling.yarn_beta_fast", 1e-6, 1e6, &y->beta_fast, e);
    if (!rc)
        rc = traits_float_or(m, "rope.scaling.yarn_beta_slow", 1e-6, 1e6, &y->beta_slow, e);
    if (!rc)
        rc = traits_float_or(m, "rope.scaling.yarn_log_multiplier", 0, 1e6, &y->log_mul, e);
    return rc;
}

/* The factor is of positions; 0 is written by some converters for "none". */
static int read_scaling(struct model *m, float *scale, struct err *e)
{
    struct recipe *b = &m->b;
    char key[MODEL_KEY_MAX];
    struct str type = STR("linear");
    float factor = 0;
    int rc = 0;
    if (traits_has(m, "rope.scaling.type"))
        rc = gguf_get_str(m->g, traits_key(m, "rope.scaling.type", key), &type, e);
    if (rc)
        return rc;
    bool none = str_is(type, "none");
    b->yarn.on = str_is(type, "yarn");
    b->longrope = str_is(type, "longrope") || family_has(m, FAM_LONG_FACTORS);
    if (!none && !b->yarn.on && !str_is(type, "linear") && !str_is(type, "longrope"))
        return err_set(e, ERR_UNSUPPORTED, "key %s: \"%.*s\" is not supported",
                       traits_key(m, "rope.scaling.type", key), (int)(type.n > 32 ? 32 : type.n),
                       type.p ? type.p : "");
    rc = traits_float_or(m, "rope.scale_linear", 0, 1e6, &factor, e);
    if (!rc)
        rc = traits_float_or(m, "rope.scaling.factor", 0, 1e6, &factor, e);
    if (!rc)
        rc = traits_float_or(m, "rope.scaling.attn_factor", 0, 1e6, &b->yarn.attn_factor, e);
    if (rc)
        return rc;
    *scale = none || factor == 0 ? 1.0f : 1.0f / factor;
    if (b->yarn.attn_factor == 0)
        b->yarn.attn_factor = 1;
    if (!isfinite(*scale))
        return err_set(e, ERR_FORMAT, "key %s is too small: %g",
                       traits_key(m, "rope.scaling.factor", key), (double)factor);
    return 0;
}

int rope_read(struct model *m, struct err *e)
{
    struct model_traits *t = &m->t;
    struct recipe *b = &m->b;
    char key[MODEL_KEY_MAX];
    float scale = 1;
    t->rope_dims = t->head_dim;
    t->rope_base = 10000.0f;
    b->rope_ctx = t->ctx_train;
    b->yarn = (struct yarn){.beta_fast = 32, .beta_slow = 1, .attn_factor = 1};
    int rc = traits_int_or(m, "rope.dimension_count", 2, INT32_MAX, &t->rope_dims, e);
    if (rc)
        return rc;
    if (t->rope_dims > t->head_dim || t->rope_dims % 2 != 0)
        return err_set(e, ERR_FORMAT,
                       "key %s is %d: an even number up to the head's %d elements is needed",
                       traits_key(m, "rope.dimension_count", key), t->rope_dims, t->head_dim);
    rc = traits_float_or(m, "rope.freq_base", 1e-3, 1e12, &t->rope_base, e);
    if (!rc)
        rc =
            traits_int_or(m, "rope.scaling.original_context_length", 1, INT32_MAX, &b->rope_ctx, e);
    if (!rc && family_has(m, FAM_YARN_KEYS))
        rc = read_yarn(m, e);
    if (!rc)
        rc = read_scaling(m, &scale, e);
    if (rc)
        return rc;
    b->nropes = 1;
    b->rope_scale = scale;
    rope_make(m, t->rope_base, scale, &b->ropes[0]);
    return 0;
}

/* The pair that turns `turns` times over the first context. */
static float pair_of(const struct model *m, float base, float turns)
{
    float ctx = (float)m->b.rope_ctx;
    return (float)m->t.rope_dims * logf(ctx / (turns * 2.0f * (float)M_PI)) / (2.0f * logf(base));
}

static float magnitude_for(float factor, float mul)
{
    return factor <= 1.0f ? 1.0f : 0.1f * mul * logf(factor) + 1.0f;
}

/* What YaRN multiplies cosine and sine by. A file with log_mul has part of it in its weights. Both
 * steps are the reference's: its magnitude is first divided by what it multiplies again where it
 * turns. */
static float yarn_magnitude(const struct model *m, float scale)
{
    const struct yarn *y = &m->b.yarn;
    float factor = 1.0f / m->b.rope_scale;
    float mag = magnitude_for(factor, 1.0f);
    if (y->log_mul != 0)
        mag /= magnitude_for(factor, y->log_mul);
    mag *= 1.0f / (1.0f + 0.1f * logf(factor));
    return mag * y->attn_factor * (1.0f + 0.1f * logf(1.0f / scale));
}

void rope_make(const struct model *m, float base, float scale, struct rope *out)
{
    const struct yarn *y = &m->b.yarn;
    *out = (struct rope){.base = base, .scale = scale, .magnitude = y->attn_factor};
    if (!y->on)
        return;
    float last = (float)(m->t.rope_dims - 1);
    float low = floorf(pair_of(m, base, y->beta_fast));
    float high = ceilf(pair_of(m, base, y->beta_slow));
    out->yarn = true;
    out->low = low > 0 ? low : 0;
    out->high = high < last ? high : last;
    out->magnitude = yarn_magnitude(m, scale);
}

/* How much of the unscaled angle pair i keeps. */
static float unscaled_part(const struct rope *p, int32_t i)
{
    float span = p->high - p->low;
    float y = ((float)i - p->low) / (span > 0.001f ? span : 0.001f);
    return 1.0f - (y < 0 ? 0 : y > 1 ? 1 : y);
}

void rope_fill(const struct model *m, const struct rope *p, int32_t position, int32_t cap,
               float *cs)
{
    int32_t dims = m->t.rope_dims;
    const float *factors = cap > m->b.rope_ctx ? m->b.rope_long : m->b.rope_short;
    float step = powf(p->base, -2.0f / (float)dims);
    float angle = (float)position;
    for (int32_t i = 0; i < dims / 2; i++) {
        float whole = factors ? angle / factors[i] : angle;
        float a = p->scale * whole;
        if (p->yarn) {
            float part = unscaled_part(p, i);
            a = a * (1.0f - part) + whole * part;
        }
        cs[2 * i] = cosf(a) * p->magnitude;
        cs[2 * i + 1] = sinf(a) * p->magnitude;
        angle *= step;
    }
}
