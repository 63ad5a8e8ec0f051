/* traits.c: reading what a file says about its model, per family.
 *
 * Every key is checked for its range before it is used; what the program cannot compute is refused
 * by name here, so that the forward pass has no half-known cases. The families' own keys are read
 * in families.c. Called by model_open only. */
#include "model_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXPERTS 1024

/* ---- keys ---- */

const char *traits_key(const struct model *m, const char *name, char out[MODEL_KEY_MAX])
{
    snprintf(out, MODEL_KEY_MAX, "%s.%s", m->t.family, name);
    return out;
}

bool traits_has(const struct model *m, const char *name)
{
    char key[MODEL_KEY_MAX];
    return gguf_find(m->g, traits_key(m, name, key)) != NULL;
}

/* An array of one number a layer, as some converters write for what could differ: fine where it
 * does not. */
static int same_everywhere(const struct gguf_value *v, const char *key, int64_t *out, struct err *e)
{
    int64_t first, x;
    if (!gguf_arr_i64(v, 0, &first))
        return err_set(e, ERR_FORMAT, "key %s is an array without integers", key);
    for (uint64_t i = 1; i < v->count; i++)
        if (!gguf_arr_i64(v, i, &x) || x != first)
            return err_set(e, ERR_UNSUPPORTED,
                           "key %s differs from layer to layer, which is not supported", key);
    *out = first;
    return 0;
}

int traits_int(const struct model *m, const char *name, int32_t min, int32_t max, int32_t *out,
               struct err *e)
{
    char key[MODEL_KEY_MAX];
    uint64_t v = 0;
    int64_t same = 0;
    int rc;
    const struct gguf_value *arr = gguf_find(m->g, traits_key(m, name, key));
    if (arr && arr->type == GGUF_ARR && arr->count > 0) {
        rc = same_everywhere(arr, key, &same, e);
        if (!rc && (same < 0 || same > max))
            return err_set(e, ERR_FORMAT, "key %s is %lld: %d to %d is needed", key,
                           (long long)same, min, max);
        v = (uint64_t)same;
    } else {
        rc = gguf_get_u64(m->g, key, (uint64_t)max, &v, e);
    }
    if (rc)
        return rc;
    if (v < (uint64_t)min)
        return err_set(e, ERR_FORMAT, "key %s is %llu: at least %d is needed", key,
                       (unsigned long long)v, min);
    *out = (int32_t)v;
    return 0;
}

int traits_int_or(const struct model *m, const char *name, int32_t min, int32_t max, int32_t *out,
                  struct err *e)
{
    return traits_has(m, name) ? traits_int(m, name, min, max, out, e) : 0;
}

int traits_float(const struct model *m, const char *name, double min, double max, float *out,
                 struct err *e)
{
    char key[MODEL_KEY_MAX];
    double v;
    int rc = gguf_get_f64(m->g, traits_key(m, name, key), &v, e);
    if (rc)
        return rc;
    if (!(v >= min && v <= max))
        return err_set(e, ERR_FORMAT, "key %s is %g: %g to %g is needed", key, v, min, max);
    *out = (float)v;
    return 0;
}

int traits_float_or(const struct model *m, const char *name, double min, double max, float *out,
                    struct err *e)
{
    return traits_has(m, name) ? traits_float(m, name, min, max, out, e) : 0;
}

int traits_bool_or(const struct model *m, const char *name, bool *out, struct err *e)
{
    char key[MODEL_KEY_MAX];
    return traits_has(m, name) ? gguf_get_bool(m->g, traits_key(m, name, key), out, e) : 0;
}

int traits_pattern(struct model *m, enum model_layer_kind kind, int32_t period, struct err *e)
{
    static const char *const name = "attention.sliding_window_pattern";
    char key[MODEL_KEY_MAX];
    int32_t layers = m->t.layers;
    m->b.window_kind = kind;
    const struct gguf_value *v = gguf_find(m->g, traits_key(m, name, key));
    if (v && v->type == GGUF_ARR) {
        if (v->count < (uint64_t)layers)
            return err_set(e, ERR_FORMAT, "key %s has %llu elements for %d layers", key,
                           (unsigned long long)v->count, layers);
        for (int32_t i = 0; i < layers; i++) {
            int64_t flag;
            if (!gguf_arr_i64(v, (uint64_t)i, &flag))
                return err_set(e, ERR_FORMAT, "key %s is an array without flags", key);
            m->kinds[i] = (unsigned char)(flag ? kind : MODEL_LAYER_FULL);
        }
        return 0;
    }
    int rc = traits_int_or(m, name, 0, INT32_MAX, &period, e);
    for (int32_t i = 0; !rc && i < layers; i++)
        m->kinds[i] =
            (unsigned char)(period == 0 || i % period < period - 1 ? kind : MODEL_LAYER_FULL);
    return rc;
}

/* ---- the common ones ---- */

static int read_family(struct model *m, struct err *e)
{
    struct str arch;
    char list[512];
    int rc = gguf_get_str(m->g, "general.architecture", &arch, e);
    if (rc)
        return rc;
    m->b.family = family_find(arch);
    if (m->b.family) {
        m->t.family = m->b.family->name;
        m->t.rope_neox = family_has(m, FAM_NEOX);
        return 0;
    }
    families_list(list, sizeof list);
    return err_set(e, ERR_UNSUPPORTED,
                   "key general.architecture: the family \"%.*s\" is not supported; serve it with "
                   "an engine of your own and add that as a provider (supported: %s)",
                   (int)(arch.n > 64 ? 64 : arch.n), arch.p ? arch.p : "", list);
}

/* What files of any family may ask for and this program does not compute. */
static int refuse_variants(const struct model *m, struct err *e)
{
    char key[MODEL_KEY_MAX];
    bool causal = true;
    int32_t groups = 0;
    int rc = traits_bool_or(m, "attention.causal", &causal, e);
    if (!rc)
        rc = traits_int_or(m, "expert_group_count", 0, INT32_MAX, &groups, e);
    if (rc)
        return rc;
    if (!causal && !family_has(m, FAM_ENCODER))
        return err_set(e, ERR_UNSUPPORTED, "key %s is false: only causal attention is supported",
                       traits_key(m, "attention.causal", key));
    if (groups > 1)
        return err_set(e, ERR_UNSUPPORTED, "key %s is %d: groups of experts are not supported",
                       traits_key(m, "expert_group_count", key), groups);
    return 0;
}

/* Layers at the end that only predict further tokens are not part of the pass. */
static int read_layers(struct model *m, struct err *e)
{
    char key[MODEL_KEY_MAX];
    int32_t all = 0, next = 0;
    int rc = traits_int(m, "block_count", 1, MODEL_MAX_LAYERS, &all, e);
    if (!rc)
        rc = traits_int_or(m, "nextn_predict_layers", 0, MODEL_MAX_LAYERS, &next, e);
    if (rc)
        return rc;
    if (next >= all)
        return err_set(e, ERR_FORMAT, "key %s is %d of %d layers",
                       traits_key(m, "nextn_predict_layers", key), next, all);
    m->t.layers = all - next;
    m->b.next_layers = next;
    m->kinds = calloc((size_t)all, 1);
    if (!m->kinds)
        return err_set(e, ERR_NOMEM, "no memory for %d layers", all);
    m->t.kinds = m->kinds;
    return 0;
}

/* A family may have experts: key expert_count says whether this file has. */
static int read_experts(struct model *m, struct err *e)
{
    struct recipe *b = &m->b;
    char key[MODEL_KEY_MAX];
    int rc = traits_int_or(m, "expert_count", 0, MAX_EXPERTS, &b->experts, e);
    if (rc)
        return rc;
    if (b->experts == 0 && family_has(m, FAM_EXPERTS_MUST))
        return err_set(e, ERR_FORMAT, "key %s is 0 or missing: the family %s has experts",
                       traits_key(m, "expert_count", key), m->t.family);
    if (b->experts == 0)
        return 0;
    if (!family_has(m, FAM_EXPERTS))
        return err_set(e, ERR_UNSUPPORTED,
                       "key %s is %d: the family %s with experts is not supported",
                       traits_key(m, "expert_count", key), b->experts, m->t.family);
    b->moe_step = 1;
    b->ff_expert = m->t.ff;
    return traits_int(m, "expert_used_count", 1, b->experts, &b->experts_used, e);
}

/* Families with experts alone may do without the width of a dense layer. */
static int read_ff(struct model *m, struct err *e)
{
    bool optional = family_has(m, FAM_EXPERTS_MUST);
    if (optional)
        return traits_int_or(m, "feed_forward_length", 0, 1 << 24, &m->t.ff, e);
    return traits_int(m, "feed_forward_length", 1, 1 << 24, &m->t.ff, e);
}

static int read_heads(struct model *m, struct err *e)
{
    struct model_traits *t = &m->t;
    char key[MODEL_KEY_MAX];
    int rc = traits_int(m, "attention.head_count", 1, 1 << 14, &t->heads, e);
    t->kv_heads = t->heads;
    if (!rc)
        rc = traits_int_or(m, "attention.head_count_kv", 1, 1 << 14, &t->kv_heads, e);
    if (rc)
        return rc;
    if (t->heads % t->kv_heads != 0)
        return err_set(e, ERR_FORMAT, "key %s is %d, which does not divide the %d heads",
                       traits_key(m, "attention.head_count_kv", key), t->kv_heads, t->heads);
    bool explicit_dim = traits_has(m, "attention.key_length");
    if (!explicit_dim && t->width % t->heads != 0)
        return err_set(e, ERR_FORMAT, "key %s is %d, which does not divide the width %d",
                       traits_key(m, "attention.head_count", key), t->heads, t->width);
    t->head_dim = t->width / t->heads;
    const char *from = explicit_dim ? "attention.key_length" : "attention.head_count";
    rc = traits_int_or(m, "attention.key_length", 1, INT32_MAX, &t->head_dim, e);
    if (rc)
        return rc;
    if (t->head_dim < 8 || t->head_dim % 8 != 0 || t->head_dim > MODEL_MAX_HEAD_DIM)
        return err_set(e, ERR_UNSUPPORTED,
                       "key %s gives heads of %d elements: a multiple of 8 up to %d is supported",
                       traits_key(m, from, key), t->head_dim, MODEL_MAX_HEAD_DIM);
    int32_t value_dim = t->head_dim;
    rc = traits_int_or(m, "attention.value_length", 1, INT32_MAX, &value_dim, e);
    if (rc)
        return rc;
    if (value_dim != t->head_dim)
        return err_set(e, ERR_UNSUPPORTED, "key %s is %d but keys have %d elements",
                       traits_key(m, "attention.value_length", key), value_dim, t->head_dim);
    return 0;
}

/* Layers with a window whose heads are others. */
static int refuse_window_heads(const struct model *m, struct err *e)
{
    static const char *const names[] = {"attention.key_length_swa", "attention.value_length_swa",
                                        "rope.dimension_count_swa"};
    char key[MODEL_KEY_MAX];
    for (int i = 0; i < 3 && m->t.window > 0; i++) {
        int32_t want = i < 2 ? m->t.head_dim : m->t.rope_dims, have = want;
        int rc = traits_int_or(m, names[i], 0, INT32_MAX, &have, e);
        if (rc)
            return rc;
        if (have != want)
            return err_set(e, ERR_UNSUPPORTED, "key %s is %d but other layers have %d",
                           traits_key(m, names[i], key), have, want);
    }
    return 0;
}

/* The vocabulary is what token_embd has rows for; a file that says otherwise is broken. */
static int read_vocab(struct model *m, struct err *e)
{
    const struct gguf_tensor *embd = gguf_tensor_find(m->g, "token_embd.weight");
    if (!embd)
        return err_set(e, ERR_FORMAT, "tensor token_embd.weight is missing");
    if (embd->dims[1] < 1 || embd->dims[1] > (1 << 24))
        return err_set(e, ERR_FORMAT, "tensor token_embd.weight has %llu rows",
                       (unsigned long long)embd->dims[1]);
    m->t.vocab = (int32_t)embd->dims[1];
    int32_t declared = m->t.vocab;
    int rc = traits_int_or(m, "vocab_size", 1, INT32_MAX, &declared, e);
    if (rc)
        return rc;
    char key[MODEL_KEY_MAX];
    if (declared != m->t.vocab)
        return err_set(e, ERR_FORMAT, "key %s is %d but tensor token_embd.weight has %d rows",
                       traits_key(m, "vocab_size", key), declared, m->t.vocab);
    return 0;
}

/* -1, written as an unsigned number, is "nothing said". */
static int read_pooling(struct model *m, struct err *e)
{
    char key[MODEL_KEY_MAX];
    uint64_t v = UINT32_MAX;
    int rc = 0;
    if (traits_has(m, "pooling_type"))
        rc = gguf_get_u64(m->g, traits_key(m, "pooling_type", key), UINT32_MAX, &v, e);
    if (!rc && v != UINT32_MAX)
        rc = traits_int(m, "pooling_type", 0, INT32_MAX, &m->b.pooling, e);
    return rc;
}

static void set_defaults(struct model *m)
{
    struct recipe *b = &m->b;
    b->act = b->family->act;
    b->gating = b->family->gating;
    b->norm_shares = b->family->norm_shares;
    b->embed_scale = b->residual_scale = b->logit_scale = 1;
    b->attn_scale = 1.0f / sqrtf((float)m->t.head_dim);
}

int traits_read(struct model *m, struct err *e)
{
    struct model_traits *t = &m->t;
    int rc = read_family(m, e);
    if (!rc)
        rc = refuse_variants(m, e);
    if (!rc)
        rc = read_layers(m, e);
    if (!rc)
        rc = traits_int(m, "embedding_length", 1, 1 << 20, &t->width, e);
    if (!rc)
        rc = read_ff(m, e);
    if (!rc)
        rc = traits_int(m, "context_length", 1, MODEL_MAX_POSITIONS, &t->ctx_train, e);
    if (!rc)
        rc = traits_float(m,
                          family_has(m, FAM_ENCODER) ? "attention.layer_norm_epsilon"
                                                     : "attention.layer_norm_rms_epsilon",
                          1e-30, 1, &t->norm_eps, e);
    if (!rc)
        rc = read_pooling(m, e);
    if (!rc)
        rc = read_experts(m, e);
    if (!rc)
        rc = read_heads(m, e);
    if (rc)
        return rc;
    set_defaults(m);
    rc = rope_read(m, e);
    if (!rc && m->b.family->read)
        rc = m->b.family->read(m, e);
    if (!rc)
        rc = refuse_window_heads(m, e);
    if (!rc)
        rc = read_vocab(m, e);
    return rc;
}
