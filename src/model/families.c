/* families.c: the families of models: a row each, and what only that family reads from its file.
 *
 * The rows follow llama.cpp's reading of the same files: what it ignores for a family is ignored
 * here, what it uses is used. Called by traits.c. */
#include "model_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The softcaps' defaults, as Gemma 2 was released. */
#define ATTN_SOFTCAP 50.0f
#define LOGIT_SOFTCAP 30.0f

static float head_scale(const struct model *m)
{
    return 1.0f / sqrtf((float)m->t.head_dim);
}

/* The largest Gemma of two generations divides by the width of a head as the width would have it.
 */
static float gemma_scale(const struct model *m, int32_t large)
{
    const struct model_traits *t = &m->t;
    return t->layers == large ? 1.0f / sqrtf((float)(t->width / t->heads)) : head_scale(m);
}

static int read_window(struct model *m, int32_t min, struct err *e)
{
    return traits_int_or(m, "attention.sliding_window", min, MODEL_MAX_POSITIONS, &m->t.window, e);
}

/* A rope of its own for the layers with a window. */
static int read_window_rope(struct model *m, float base, float scale, struct err *e)
{
    struct recipe *b = &m->b;
    b->nropes = 2;
    int rc = traits_float_or(m, "rope.freq_base_swa", 1e-3, 1e12, &base, e);
    if (!rc)
        rope_make(m, base, scale, &b->ropes[1]);
    return rc;
}

/* Mistral's first model has a window in every layer. */
static int read_llama(struct model *m, struct err *e)
{
    int rc = read_window(m, 0, e);
    if (rc || m->t.window == 0)
        return rc;
    return traits_pattern(m, MODEL_LAYER_WINDOW, 0, e);
}

static int read_mistral3(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    b->temp_floor = (float)b->rope_ctx;
    b->temper_turned = true;
    return traits_float_or(m, "attention.temperature_scale", 0, 1e6, &b->temp_scale, e);
}

/* Chunks of 8,192 positions whatever the file says, if it does not say 0; every fourth layer knows
 * no positions, sees all of them and is tempered instead. */
static int read_llama4(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    int32_t window = 8192;
    int rc = traits_int(m, "interleave_moe_layer_step", 0, MODEL_MAX_LAYERS, &b->moe_step, e);
    if (!rc)
        rc = traits_int(m, "expert_feed_forward_length", 1, 1 << 24, &b->ff_expert, e);
    if (!rc)
        rc = traits_int_or(m, "attention.sliding_window", 0, INT32_MAX, &window, e);
    b->ff_shared = b->ff_expert;
    b->share_first = true;
    b->l2_qk = b->experts != 128;
    if (rc || window == 0)
        return rc;
    m->t.window = 8192;
    b->temp_scale = 0.1f;
    b->temp_floor = 8192;
    b->temp_offset = 1;
    b->nope_step = 4;
    rc = traits_pattern(m, MODEL_LAYER_CHUNK, 4, e);
    if (!rc)
        rc = read_window_rope(m, b->ropes[0].base, b->ropes[0].scale, e);
    return rc;
}

static int read_gemma(struct model *m, struct err *e)
{
    m->b.embed_scale = sqrtf((float)m->t.width);
    return 0;
}

static int read_gemma2(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    m->t.window = 4096;
    b->embed_scale = sqrtf((float)m->t.width);
    b->attn_scale = gemma_scale(m, 46);
    b->attn_softcap = ATTN_SOFTCAP;
    b->logit_softcap = LOGIT_SOFTCAP;
    int rc = read_window(m, 1, e);
    if (!rc)
        rc = traits_float_or(m, "attn_logit_softcapping", 1e-3, 1e6, &b->attn_softcap, e);
    if (!rc)
        rc = traits_float_or(m, "final_logit_softcapping", 1e-3, 1e6, &b->logit_softcap, e);
    if (!rc)
        rc = traits_pattern(m, MODEL_LAYER_WINDOW, 2, e);
    if (!rc)
        rc = read_window_rope(m, b->ropes[0].base, b->ropes[0].scale, e);
    return rc;
}

static int read_gemma3(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    b->embed_scale = sqrtf((float)m->t.width);
    b->attn_scale = gemma_scale(m, 62);
    int rc = read_window(m, 0, e);
    if (!rc)
        rc = traits_float_or(m, "final_logit_softcapping", 0, 1e6, &b->logit_softcap, e);
    if (rc || m->t.window == 0)
        return rc;
    rc = traits_pattern(m, MODEL_LAYER_WINDOW, 6, e);
    if (!rc)
        rc = read_window_rope(m, 10000.0f, 1.0f, e);
    return rc;
}

static int read_gpt_oss(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    int rc = traits_int(m, "expert_feed_forward_length", 1, 1 << 24, &b->ff_expert, e);
    if (!rc)
        rc = traits_int(m, "attention.sliding_window", 1, MODEL_MAX_POSITIONS, &m->t.window, e);
    if (!rc)
        rc = traits_pattern(m, MODEL_LAYER_WINDOW, 2, e);
    if (!rc)
        rc = read_window_rope(m, b->ropes[0].base, b->ropes[0].scale, e);
    return rc;
}

/* Experts as wide as the file says, or as their share of a dense layer. */
static int read_qwen_moe(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    int32_t ff = 0;
    int rc = traits_int_or(m, "expert_feed_forward_length", 0, 1 << 24, &ff, e);
    b->ff_expert = ff > 0 ? ff : m->t.ff / b->experts_used;
    if (!rc && b->ff_expert < 1) {
        char key[MODEL_KEY_MAX];
        return err_set(e, ERR_FORMAT, "key %s is %d: too small for %d experts",
                       traits_key(m, "feed_forward_length", key), m->t.ff, b->experts_used);
    }
    return rc;
}

static int read_qwen2moe(struct model *m, struct err *e)
{
    int32_t ff = 0;
    int rc = traits_int_or(m, "expert_shared_feed_forward_length", 0, 1 << 24, &ff, e);
    m->b.ff_shared = ff > 0 ? ff : m->t.ff;
    return rc ? rc : read_qwen_moe(m, e);
}

static int read_smollm3(struct model *m, struct err *e)
{
    (void)e;
    m->b.nope_step = 4;
    return 0;
}

/* A scale of 0 is how some files say "none". */
static int read_scale(struct model *m, const char *name, float *out, struct err *e)
{
    float v = 0;
    int rc = traits_float_or(m, name, 0, 1e6, &v, e);
    if (!rc && v > 0)
        *out = v;
    return rc;
}

static int read_granite(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    bool turns = true;
    float divisor = 1;
    int rc = traits_float(m, "logit_scale", 1e-6, 1e6, &divisor, e);
    b->logit_scale = 1.0f / divisor;
    if (!rc)
        rc = read_scale(m, "residual_scale", &b->residual_scale, e);
    if (!rc)
        rc = read_scale(m, "embedding_scale", &b->embed_scale, e);
    if (!rc)
        rc = read_scale(m, "attention.scale", &b->attn_scale, e);
    if (!rc)
        rc = traits_int_or(m, "expert_shared_feed_forward_length", 0, 1 << 24, &b->ff_shared, e);
    if (!rc && strcmp(m->t.family, "granite") == 0)
        rc = traits_bool_or(m, "rope.scaling.finetuned", &turns, e);
    if (!turns)
        b->nropes = 0;
    return rc;
}

/* An encoder. What it was trained to score texts with is no embedding. */
static int read_encoder(struct model *m, struct err *e)
{
    uint64_t types = 0;
    char key[MODEL_KEY_MAX];
    int rc = gguf_get_u64(m->g, "tokenizer.ggml.token_type_count", 1 << 16, &types, e);
    if (rc)
        return rc;
    if (types < 1)
        return err_set(e, ERR_FORMAT, "key tokenizer.ggml.token_type_count is 0");
    if (m->b.pooling == MODEL_POOL_RANK)
        return err_set(e, ERR_UNSUPPORTED,
                       "key %s is %d: a model that ranks texts gives no embeddings",
                       traits_key(m, "pooling_type", key), m->b.pooling);
    m->b.token_types = (int32_t)types;
    return 0;
}

static int read_bert(struct model *m, struct err *e)
{
    m->b.nropes = 0;
    return read_encoder(m, e);
}

/* Of `step` layers the second has experts. */
static int read_nomic_moe(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    int32_t step = 0;
    int rc = traits_int_or(m, "moe_every_n_layers", 0, MODEL_MAX_LAYERS, &step, e);
    b->moe_step = step > 1 ? step : 0;
    b->moe_first = step > 1;
    return rc ? rc : read_encoder(m, e);
}

/* Interleaved sections of an image's positions: text has the same in all of them, if every pair of
 * the rope belongs to one of the first three. */
static int check_sections(const struct model *m, struct err *e)
{
    char key[MODEL_KEY_MAX];
    const struct gguf_value *v = gguf_find(m->g, traits_key(m, "rope.dimension_sections", key));
    int64_t s[4] = {0}, all = 0;
    if (!v)
        return 0;
    for (uint64_t i = 0; i < 4 && v->type == GGUF_ARR && i < v->count; i++) {
        if (!gguf_arr_i64(v, i, &s[i]) || s[i] < 0 || s[i] > MODEL_MAX_HEAD_DIM)
            return err_set(e, ERR_FORMAT, "key %s is no list of four small numbers", key);
        all += s[i];
    }
    for (int64_t i = 0; all > 0 && i < m->t.rope_dims / 2; i++)
        if (i % all >= 3 * s[i % all % 3])
            return err_set(e, ERR_UNSUPPORTED, "key %s leaves pair %lld of the rope out", key,
                           (long long)i);
    return 0;
}

/* All layers but every `period`-th are delta nets, or those that the file lists. */
static int read_recurrent_layers(struct model *m, struct err *e)
{
    char key[MODEL_KEY_MAX];
    const struct gguf_value *v = gguf_find(m->g, traits_key(m, "attention.recurrent_layers", key));
    int32_t period = 4;
    int rc = v ? 0 : traits_int_or(m, "full_attention_interval", 1, MODEL_MAX_LAYERS, &period, e);
    if (!rc && v && (v->type != GGUF_ARR || v->count < (uint64_t)m->t.layers))
        return err_set(e, ERR_FORMAT, "key %s has no flag for each of %d layers", key, m->t.layers);
    for (int32_t i = 0; !rc && i < m->t.layers; i++) {
        int64_t flag = (i + 1) % period != 0;
        if (v && !gguf_arr_i64(v, (uint64_t)i, &flag))
            return err_set(e, ERR_FORMAT, "key %s is an array without flags", key);
        m->kinds[i] = flag ? MODEL_LAYER_RECURRENT : MODEL_LAYER_FULL;
    }
    return rc;
}

static int read_qwen35(struct model *m, struct err *e)
{
    struct model_delta *d = &m->t.delta;
    char key[MODEL_KEY_MAX];
    int32_t inner = 0;
    int rc = traits_int(m, "ssm.conv_kernel", 1, 64, &d->conv, e);
    if (!rc)
        rc = traits_int(m, "ssm.inner_size", 8, 1 << 20, &inner, e);
    if (!rc)
        rc = traits_int(m, "ssm.state_size", 8, MODEL_MAX_HEAD_DIM, &d->key_dim, e);
    if (!rc)
        rc = traits_int(m, "ssm.time_step_rank", 1, 1 << 14, &d->heads, e);
    if (!rc)
        rc = traits_int(m, "ssm.group_count", 1, 1 << 14, &d->key_heads, e);
    if (rc)
        return rc;
    d->value_dim = d->key_dim;
    if (d->key_dim % 8 != 0)
        return err_set(e, ERR_UNSUPPORTED, "key %s is %d: a multiple of 8 is supported",
                       traits_key(m, "ssm.state_size", key), d->key_dim);
    if (d->heads % d->key_heads != 0 || inner != d->heads * d->value_dim)
        return err_set(e, ERR_FORMAT, "key %s is %d: %d heads of %d in %d groups are no division",
                       traits_key(m, "ssm.inner_size", key), inner, d->heads, d->value_dim,
                       d->key_heads);
    rc = read_recurrent_layers(m, e);
    return rc ? rc : check_sections(m, e);
}

static int read_qwen35moe(struct model *m, struct err *e)
{
    int rc = read_qwen35(m, e);
    return rc ? rc : read_qwen2moe(m, e);
}

#define LLAMA_FLAGS                                                                                \
    (FAM_OUT_BIAS | FAM_FFN_BIAS | FAM_FFN_SCALE | FAM_EXPERTS | FAM_EXPERT_SCALE | FAM_GATELESS | \
     FAM_ROPE_FACTORS)

static const struct family families[] = {
    {.name = "llama", .flags = LLAMA_FLAGS, .norm_shares = true, .read = read_llama},
    {.name = "mistral3",
     .flags = LLAMA_FLAGS | FAM_YARN_KEYS,
     .norm_shares = true,
     .read = read_mistral3},
    {.name = "llama4",
     .flags = FAM_EXPERTS_MUST | FAM_EXPERTS | FAM_SHARED | FAM_ROPE_FACTORS,
     .gating = GATE_SIGMOID,
     .read = read_llama4},
    {.name = "qwen2", .flags = FAM_NEOX | FAM_OUTPUT_BIAS},
    {.name = "qwen2moe",
     .flags = FAM_NEOX | FAM_UNTIED | FAM_EXPERTS | FAM_EXPERTS_MUST | FAM_SHARED | FAM_SHARED_GATE,
     .read = read_qwen2moe},
    {.name = "qwen3", .flags = FAM_NEOX | FAM_QK_NORM | FAM_FFN_SCALE, .unused = {"cls.output."}},
    {.name = "qwen3moe",
     .flags = FAM_NEOX | FAM_QK_NORM | FAM_EXPERTS | FAM_EXPERTS_MUST | FAM_EXPERT_SCALE,
     .norm_shares = true,
     .read = read_qwen_moe},
    {.name = "qwen35",
     .flags = FAM_NEOX | FAM_QK_NORM | FAM_FFN_NORM_POST | FAM_FFN_SCALE | FAM_GATED,
     .read = read_qwen35},
    {.name = "qwen35moe",
     .flags = FAM_NEOX | FAM_QK_NORM | FAM_FFN_NORM_POST | FAM_GATED | FAM_EXPERTS |
              FAM_EXPERTS_MUST | FAM_EXPERT_SCALE | FAM_SHARED | FAM_SHARED_GATE,
     .norm_shares = true,
     .read = read_qwen35moe},
    {.name = "qwen3next",
     .flags = FAM_NEOX | FAM_QK_NORM | FAM_FFN_NORM_POST | FAM_GATED | FAM_EXPERTS |
              FAM_EXPERTS_MUST | FAM_EXPERT_SCALE | FAM_SHARED | FAM_SHARED_GATE |
              FAM_DELTA_GROUPED,
     .norm_shares = true,
     .read = read_qwen35moe},
    {.name = "gemma", .flags = FAM_NEOX | FAM_TIED, .act = ACT_GELU, .read = read_gemma},
    {.name = "gemma2",
     .flags = FAM_NEOX | FAM_TIED | FAM_POST_NORMS,
     .act = ACT_GELU,
     .read = read_gemma2},
    {.name = "gemma3",
     .flags = FAM_NEOX | FAM_QK_NORM | FAM_POST_NORMS,
     .act = ACT_GELU,
     .unused = {"dense_2.", "dense_3."},
     .read = read_gemma3},
    {.name = "phi3", .flags = FAM_NEOX | FAM_FFN_FUSED | FAM_ROPE_FACTORS | FAM_LONG_FACTORS},
    {.name = "gpt-oss",
     .flags = FAM_NEOX | FAM_UNTIED | FAM_OUT_BIAS | FAM_FFN_NORM_POST | FAM_EXPERTS |
              FAM_EXPERTS_MUST | FAM_EXPERT_BIAS | FAM_SINKS,
     .act = ACT_SWIGLU_OAI,
     .gating = GATE_SOFTMAX_CHOSEN,
     .read = read_gpt_oss},
    {.name = "smollm3", .read = read_smollm3},
    {.name = "granite",
     .flags =
         FAM_OUT_BIAS | FAM_FFN_BIAS | FAM_EXPERTS | FAM_GATELESS | FAM_SHARED | FAM_ROPE_FACTORS,
     .norm_shares = true,
     .read = read_granite},
    {.name = "granitemoe",
     .flags =
         FAM_OUT_BIAS | FAM_FFN_BIAS | FAM_EXPERTS | FAM_GATELESS | FAM_SHARED | FAM_ROPE_FACTORS,
     .norm_shares = true,
     .read = read_granite},
    {.name = "bert",
     .flags = FAM_ENCODER | FAM_POSITIONS,
     .act = ACT_GELU,
     .unused = {"cls."},
     .read = read_bert},
    {.name = "nomic-bert", .flags = FAM_ENCODER | FAM_NEOX, .read = read_encoder},
    {.name = "nomic-bert-moe",
     .flags = FAM_ENCODER | FAM_NEOX | FAM_EXPERTS | FAM_GATELESS,
     .act = ACT_GELU,
     .read = read_nomic_moe},
};

const struct family *family_find(struct str name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (str_is(name, families[i].name))
            return &families[i];
    return NULL;
}

void families_list(char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof families / sizeof *families && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s", i ? ", " : "", families[i].name);
}
