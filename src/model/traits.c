/* traits.c: reading what a file says about its model, per family.
 *
 * A family is a row of `families`. Every key is checked for its range before it is used; what the
 * program cannot compute is refused by name here, so that the forward pass has no half-known cases.
 * Called by model_open only. */
#include "model_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct family {
    const char *name;
    bool rope_neox;
};

static const struct family families[] = {
    {"llama", false},
};

#define KEY_MAX 96

static const char *key_of(const struct model *m, const char *name, char out[KEY_MAX])
{
    snprintf(out, KEY_MAX, "%s.%s", m->t.family, name);
    return out;
}

static int read_int(const struct model *m, const char *name, int32_t min, int32_t max, int32_t *out,
                    struct err *e)
{
    char key[KEY_MAX];
    uint64_t v;
    int rc = gguf_get_u64(m->g, key_of(m, name, key), (uint64_t)max, &v, e);
    if (rc)
        return rc;
    if (v < (uint64_t)min)
        return err_set(e, ERR_FORMAT, "key %s is %llu: at least %d is needed", key,
                       (unsigned long long)v, min);
    *out = (int32_t)v;
    return 0;
}

static bool has_key(const struct model *m, const char *name)
{
    char key[KEY_MAX];
    return gguf_find(m->g, key_of(m, name, key)) != NULL;
}

/* *out keeps its default when the key is absent. */
static int read_int_or(const struct model *m, const char *name, int32_t min, int32_t max,
                       int32_t *out, struct err *e)
{
    return has_key(m, name) ? read_int(m, name, min, max, out, e) : 0;
}

static int read_float(const struct model *m, const char *name, double min, double max, float *out,
                      struct err *e)
{
    char key[KEY_MAX];
    double v;
    int rc = gguf_get_f64(m->g, key_of(m, name, key), &v, e);
    if (rc)
        return rc;
    if (!(v >= min && v <= max))
        return err_set(e, ERR_FORMAT, "key %s is %g: %g to %g is needed", key, v, min, max);
    *out = (float)v;
    return 0;
}

static int read_float_or(const struct model *m, const char *name, double min, double max,
                         float *out, struct err *e)
{
    return has_key(m, name) ? read_float(m, name, min, max, out, e) : 0;
}

static int read_family(struct model *m, struct err *e)
{
    struct str arch;
    int rc = gguf_get_str(m->g, "general.architecture", &arch, e);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (str_is(arch, families[i].name)) {
            m->t.family = families[i].name;
            m->t.rope_neox = families[i].rope_neox;
            return 0;
        }
    return err_set(e, ERR_UNSUPPORTED,
                   "key general.architecture: the family \"%.*s\" is not supported",
                   (int)(arch.n > 64 ? 64 : arch.n), arch.p ? arch.p : "");
}

/* What the family's files may ask for and this program does not compute. */
static int refuse_variants(const struct model *m, struct err *e)
{
    char key[KEY_MAX];
    int32_t experts = 0;
    int rc = read_int_or(m, "expert_count", 0, INT32_MAX, &experts, e);
    if (rc)
        return rc;
    if (experts > 0)
        return err_set(e, ERR_UNSUPPORTED, "key %s is %d: mixtures of experts are not supported",
                       key_of(m, "expert_count", key), experts);
    bool causal = true;
    if (has_key(m, "attention.causal")) {
        rc = gguf_get_bool(m->g, key_of(m, "attention.causal", key), &causal, e);
        if (rc)
            return rc;
    }
    if (!causal)
        return err_set(e, ERR_UNSUPPORTED, "key %s is false: only causal attention is supported",
                       key_of(m, "attention.causal", key));
    return 0;
}

static int read_heads(struct model *m, struct err *e)
{
    struct model_traits *t = &m->t;
    char key[KEY_MAX];
    int rc = read_int(m, "attention.head_count", 1, 1 << 14, &t->heads, e);
    t->kv_heads = t->heads;
    if (!rc)
        rc = read_int_or(m, "attention.head_count_kv", 1, 1 << 14, &t->kv_heads, e);
    if (rc)
        return rc;
    if (t->heads % t->kv_heads != 0)
        return err_set(e, ERR_FORMAT, "key %s is %d, which does not divide the %d heads",
                       key_of(m, "attention.head_count_kv", key), t->kv_heads, t->heads);
    bool explicit_dim = has_key(m, "attention.key_length");
    if (!explicit_dim && t->width % t->heads != 0)
        return err_set(e, ERR_FORMAT, "key %s is %d, which does not divide the width %d",
                       key_of(m, "attention.head_count", key), t->heads, t->width);
    t->head_dim = t->width / t->heads;
    const char *from = explicit_dim ? "attention.key_length" : "attention.head_count";
    rc = read_int_or(m, "attention.key_length", 1, INT32_MAX, &t->head_dim, e);
    if (rc)
        return rc;
    if (t->head_dim < 8 || t->head_dim % 8 != 0 || t->head_dim > MODEL_MAX_HEAD_DIM)
        return err_set(e, ERR_UNSUPPORTED,
                       "key %s gives heads of %d elements: a multiple of 8 up to %d is supported",
                       key_of(m, from, key), t->head_dim, MODEL_MAX_HEAD_DIM);
    int32_t value_dim = t->head_dim;
    rc = read_int_or(m, "attention.value_length", 1, INT32_MAX, &value_dim, e);
    if (rc)
        return rc;
    if (value_dim != t->head_dim)
        return err_set(e, ERR_UNSUPPORTED, "key %s is %d but keys have %d elements",
                       key_of(m, "attention.value_length", key), value_dim, t->head_dim);
    return 0;
}

/* Linear scaling divides positions by the factor; a factor of 0 is written by some converters for
 * "none". YaRN and the like change the angles in other ways and are refused. */
static int read_rope_scaling(struct model *m, struct err *e)
{
    char key[KEY_MAX];
    struct str type = STR("linear");
    float factor = 0, magnitude = 1;
    int rc = 0;
    if (has_key(m, "rope.scaling.type"))
        rc = gguf_get_str(m->g, key_of(m, "rope.scaling.type", key), &type, e);
    if (rc)
        return rc;
    bool none = str_is(type, "none");
    if (!none && !str_is(type, "linear"))
        return err_set(e, ERR_UNSUPPORTED, "key %s: \"%.*s\" is not supported",
                       key_of(m, "rope.scaling.type", key), (int)(type.n > 32 ? 32 : type.n),
                       type.p ? type.p : "");
    rc = read_float_or(m, "rope.scale_linear", 0, 1e6, &factor, e);
    if (!rc)
        rc = read_float_or(m, "rope.scaling.factor", 0, 1e6, &factor, e);
    if (!rc)
        rc = read_float_or(m, "rope.scaling.attn_factor", 0, 1e6, &magnitude, e);
    if (rc)
        return rc;
    m->rope_scale = none || factor == 0 ? 1.0f : 1.0f / factor;
    m->rope_magnitude = magnitude == 0 ? 1.0f : magnitude;
    if (!isfinite(m->rope_scale))
        return err_set(e, ERR_FORMAT, "key %s is too small: %g",
                       key_of(m, "rope.scaling.factor", key), (double)factor);
    return 0;
}

static int read_rope(struct model *m, struct err *e)
{
    struct model_traits *t = &m->t;
    char key[KEY_MAX];
    t->rope_dims = t->head_dim;
    t->rope_base = 10000.0f;
    int rc = read_int_or(m, "rope.dimension_count", 2, INT32_MAX, &t->rope_dims, e);
    if (rc)
        return rc;
    if (t->rope_dims > t->head_dim || t->rope_dims % 2 != 0)
        return err_set(e, ERR_FORMAT,
                       "key %s is %d: an even number up to the head's %d elements is needed",
                       key_of(m, "rope.dimension_count", key), t->rope_dims, t->head_dim);
    rc = read_float_or(m, "rope.freq_base", 1e-3, 1e12, &t->rope_base, e);
    if (rc)
        return rc;
    return read_rope_scaling(m, e);
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
    int rc = read_int_or(m, "vocab_size", 1, INT32_MAX, &declared, e);
    if (rc)
        return rc;
    char key[KEY_MAX];
    if (declared != m->t.vocab)
        return err_set(e, ERR_FORMAT, "key %s is %d but tensor token_embd.weight has %d rows",
                       key_of(m, "vocab_size", key), declared, m->t.vocab);
    return 0;
}

int traits_read(struct model *m, struct err *e)
{
    struct model_traits *t = &m->t;
    int rc = read_family(m, e);
    if (!rc)
        rc = refuse_variants(m, e);
    if (!rc)
        rc = read_int(m, "block_count", 1, MODEL_MAX_LAYERS, &t->layers, e);
    if (!rc)
        rc = read_int(m, "embedding_length", 1, 1 << 20, &t->width, e);
    if (!rc)
        rc = read_int(m, "feed_forward_length", 1, 1 << 24, &t->ff, e);
    if (!rc)
        rc = read_int(m, "context_length", 1, MODEL_MAX_POSITIONS, &t->ctx_train, e);
    if (!rc)
        rc = read_float(m, "attention.layer_norm_rms_epsilon", 1e-30, 1, &t->norm_eps, e);
    if (!rc)
        rc = read_heads(m, e);
    if (!rc)
        rc = read_rope(m, e);
    if (!rc)
        rc = read_vocab(m, e);
    return rc;
}
