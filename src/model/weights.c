/* weights.c: from a file's tensors to the model's matrices and vectors.
 *
 * Nothing is copied: a matrix is a view into the map. Every shape is checked against the traits,
 * every type against what the kernels can multiply, so that the forward pass needs no checks; a
 * tensor that the family does not know is an error too. An error names the tensor. Called by
 * model_open only. */
#include "model_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64

struct binder {
    struct model *m;
    bool *used;      /* of each tensor in the file */
    char prefix[32]; /* "blk.3." or "" */
};

/* ---- tensors ---- */

static const struct gguf_tensor *find(struct binder *b, const char *name, const char *suffix,
                                      char full[NAME_MAX_BYTES])
{
    snprintf(full, NAME_MAX_BYTES, "%s%s%s", b->prefix, name, suffix);
    const struct gguf_tensor *t = gguf_tensor_find(b->m->g, full);
    if (t)
        b->used[t - gguf_tensor_at(b->m->g, 0)] = true;
    return t;
}

static bool has(struct binder *b, const char *name, const char *suffix)
{
    char full[NAME_MAX_BYTES];
    snprintf(full, sizeof full, "%s%s%s", b->prefix, name, suffix);
    return gguf_tensor_find(b->m->g, full) != NULL;
}

static int missing(const char *name, struct err *e)
{
    return err_set(e, ERR_FORMAT, "tensor %s is missing", name);
}

/* `depth` matrices stand behind one another. */
static int check_shape(const struct gguf_tensor *t, size_t k, size_t rows, size_t depth,
                       struct err *e)
{
    if (t->dims[0] == k && t->dims[1] == rows && t->dims[2] == depth && t->dims[3] == 1)
        return 0;
    return err_set_at(e, ERR_FORMAT, t->offset,
                      "tensor %.*s has the shape %llu x %llu x %llu x %llu: %zu x %zu x %zu is "
                      "needed",
                      STR_ARG(t->name), (unsigned long long)t->dims[0],
                      (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
                      (unsigned long long)t->dims[3], k, rows, depth);
}

static int bind_matrix(struct binder *b, const char *prefix, size_t k, size_t rows, size_t depth,
                       struct kern_mat *out, struct err *e)
{
    char name[NAME_MAX_BYTES];
    const struct gguf_tensor *t = find(b, prefix, ".weight", name);
    if (!t)
        return missing(name, e);
    int rc = check_shape(t, k, rows, depth, e);
    if (rc)
        return rc;
    const char *type = "?";
    uint32_t block = 1, bytes = 0;
    bool known = gguf_dtype_info(t->dtype, &type, &block, &bytes);
    if (!known || t->dtype >= KERN_TYPES || !b->m->kern->has((enum kern_type)t->dtype))
        return err_set_at(e, ERR_UNSUPPORTED, t->offset,
                          "tensor %s has the type %s (%u), which is not supported", name, type,
                          (unsigned)t->dtype);
    if (k % block != 0 || t->nbytes != (uint64_t)(k / block) * bytes * rows * depth)
        return err_set_at(e, ERR_FORMAT, t->offset,
                          "tensor %s: rows of %zu elements are not whole blocks of %u", name, k,
                          block);
    *out = (struct kern_mat){.type = (enum kern_type)t->dtype,
                             .data = t->data,
                             .rows = rows,
                             .k = k,
                             .stride = k / block * bytes};
    return 0;
}

enum need { MUST, MAY };

/* n floats, `depth` times; absent is fine where they may be, then *out stays. */
static int bind_floats(struct binder *b, const char *prefix, const char *suffix, size_t n,
                       size_t depth, enum need need, const float **out, struct err *e)
{
    char name[NAME_MAX_BYTES];
    const struct gguf_tensor *t = find(b, prefix, suffix, name);
    if (!t)
        return need == MAY ? 0 : missing(name, e);
    int rc = check_shape(t, n, depth, 1, e);
    if (rc)
        return rc;
    if (t->dtype != GGUF_DT_F32)
        return err_set_at(e, ERR_UNSUPPORTED, t->offset,
                          "tensor %s has the type number %u: F32 is needed", name,
                          (unsigned)t->dtype);
    if ((uintptr_t)t->data % sizeof(float) != 0)
        return err_set_at(e, ERR_FORMAT, t->offset, "tensor %s is not aligned to 4 bytes", name);
    *out = t->data;
    return 0;
}

static int bind_norm(struct binder *b, const char *prefix, size_t n, const float **out,
                     struct err *e)
{
    return bind_floats(b, prefix, ".weight", n, 1, MUST, out, e);
}

/* What may stand beside a matrix. */
enum {
    WITH_BIAS = 1,  /* .bias */
    WITH_SCALE = 2, /* .scale; without this it is passed over where it stands */
    SCALE_LAST = 4, /* the bias is scaled too */
    MUST_HAVE_BIAS = 8,
};

/* The reference reads .scale and .input_scale of every matrix; the latter is of use to no type that
 * is multiplied here. */
static void pass_over_scales(struct binder *b, const char *prefix)
{
    char name[NAME_MAX_BYTES];
    find(b, prefix, ".scale", name);
    find(b, prefix, ".input_scale", name);
}

static int bind_linear(struct binder *b, const char *prefix, size_t k, size_t rows, unsigned with,
                       struct linear *out, struct err *e)
{
    const float *scale = NULL;
    *out = (struct linear){.scale = 1.0f, .scale_last = (with & SCALE_LAST) != 0};
    int rc = bind_matrix(b, prefix, k, rows, 1, &out->w, e);
    if (!rc && with & (WITH_BIAS | MUST_HAVE_BIAS))
        rc = bind_floats(b, prefix, ".bias", rows, 1, with & MUST_HAVE_BIAS ? MUST : MAY,
                         &out->bias, e);
    if (!rc && with & WITH_SCALE)
        rc = bind_floats(b, prefix, ".scale", 1, 1, MAY, &scale, e);
    if (scale)
        out->scale = *scale;
    pass_over_scales(b, prefix);
    return rc;
}

static int bind_experts(struct binder *b, const char *prefix, size_t k, size_t rows,
                        struct experts *out, struct err *e)
{
    struct model *m = b->m;
    size_t n = (size_t)m->b.experts;
    *out = (struct experts){0};
    int rc = bind_matrix(b, prefix, k, rows, n, &out->w, e);
    if (!rc && family_has(m, FAM_EXPERT_BIAS))
        rc = bind_floats(b, prefix, ".bias", rows, n, MUST, &out->bias, e);
    if (!rc && family_has(m, FAM_EXPERT_SCALE))
        rc = bind_floats(b, prefix, ".scale", n, 1, MAY, &out->scale, e);
    out->bytes = out->w.stride * rows;
    pass_over_scales(b, prefix);
    return rc;
}

/* Rows [from, from + rows) of a linear that holds several. */
static struct linear part_of(const struct linear *all, size_t from, size_t rows)
{
    struct linear l = *all;
    l.w.data = (const unsigned char *)all->w.data + from * all->w.stride;
    l.w.rows = rows;
    l.bias = all->bias ? all->bias + from : NULL;
    return l;
}

struct linear expert_linear(const struct experts *x, int32_t expert)
{
    struct linear l = {.w = x->w, .scale = x->scale ? x->scale[expert] : 1.0f};
    if (x->w.rows == 0)
        return l;
    l.w.data = (const unsigned char *)x->w.data + (size_t)expert * x->bytes;
    l.bias = x->bias ? x->bias + (size_t)expert * x->w.rows : NULL;
    return l;
}

/* ---- blocks ---- */

/* One matrix of all three, or three; a matrix of all three may stand beside three biases. */
static int bind_qkv(struct binder *b, struct layer *l, struct err *e)
{
    const struct model_traits *t = &b->m->t;
    size_t width = (size_t)t->width, kv = (size_t)t->kv_heads * (size_t)t->head_dim;
    size_t q = (size_t)t->heads * (size_t)t->head_dim * (l->gated ? 2 : 1);
    const unsigned with = WITH_BIAS | WITH_SCALE;
    int rc;
    if (has(b, "attn_qkv", ".weight")) {
        struct linear all;
        rc = bind_linear(b, "attn_qkv", width, q + 2 * kv, with, &all, e);
        if (rc)
            return rc;
        l->q = part_of(&all, 0, q);
        l->k = part_of(&all, q, kv);
        l->v = part_of(&all, q + kv, kv);
        if (all.bias)
            return 0;
        rc = bind_floats(b, "attn_q", ".bias", q, 1, MAY, &l->q.bias, e);
        if (!rc)
            rc = bind_floats(b, "attn_k", ".bias", kv, 1, MAY, &l->k.bias, e);
        return rc ? rc : bind_floats(b, "attn_v", ".bias", kv, 1, MAY, &l->v.bias, e);
    }
    rc = bind_linear(b, "attn_q", width, q, with, &l->q, e);
    if (!rc)
        rc = bind_linear(b, "attn_k", width, kv, with, &l->k, e);
    return rc ? rc : bind_linear(b, "attn_v", width, kv, with, &l->v, e);
}

static int bind_attention(struct binder *b, struct layer *l, struct err *e)
{
    struct model *m = b->m;
    const struct model_traits *t = &m->t;
    size_t width = (size_t)t->width, dim = (size_t)t->head_dim, heads = (size_t)t->heads;
    unsigned with = WITH_SCALE;
    if (family_has(m, FAM_OUT_BIAS))
        with |= family_has(m, FAM_EXPERT_BIAS) ? MUST_HAVE_BIAS : WITH_BIAS;
    int rc = bind_norm(b, "attn_norm", width, &l->attn_norm, e);
    if (!rc)
        rc = bind_qkv(b, l, e);
    if (!rc)
        rc = bind_linear(b, "attn_output", heads * dim, width, with, &l->o, e);
    if (!rc && family_has(m, FAM_QK_NORM))
        rc = bind_norm(b, "attn_q_norm", dim, &l->q_norm, e);
    if (!rc && family_has(m, FAM_QK_NORM))
        rc = bind_norm(b, "attn_k_norm", dim, &l->k_norm, e);
    if (!rc && family_has(m, FAM_POST_NORMS))
        rc = bind_norm(b, "post_attention_norm", width, &l->attn_post_norm, e);
    if (!rc && family_has(m, FAM_SINKS))
        rc = bind_norm(b, "attn_sinks", heads, &l->sinks, e);
    return rc;
}

/* A delta net's tensors carry attention's names where they do the same. */
static int bind_delta(struct binder *b, struct layer *l, struct err *e)
{
    struct model *m = b->m;
    const struct model_delta *t = &m->t.delta;
    struct delta *d = l->delta;
    size_t width = (size_t)m->t.width, heads = (size_t)t->heads, channels = delta_channels(m);
    size_t values = heads * (size_t)t->value_dim;
    d->grouped = family_has(m, FAM_DELTA_GROUPED);
    int rc = bind_norm(b, "attn_norm", width, &l->attn_norm, e);
    if (!rc)
        rc = bind_linear(b, "attn_qkv", width, channels, WITH_SCALE, &d->qkv, e);
    if (!rc)
        rc = bind_linear(b, "attn_gate", width, values, WITH_SCALE, &d->gate, e);
    if (!rc && d->grouped)
        rc = bind_linear(b, "ssm_ba", width, 2 * heads, 0, &d->alpha, e);
    if (!rc && !d->grouped)
        rc = bind_linear(b, "ssm_alpha", width, heads, WITH_SCALE, &d->alpha, e);
    if (!rc && !d->grouped)
        rc = bind_linear(b, "ssm_beta", width, heads, WITH_SCALE, &d->beta, e);
    if (!rc)
        rc = bind_floats(b, "ssm_conv1d", ".weight", (size_t)t->conv, channels, MUST, &d->conv, e);
    if (!rc)
        rc = bind_floats(b, "ssm_a", "", heads, 1, MUST, &d->a, e);
    if (!rc)
        rc = bind_floats(b, "ssm_dt", ".bias", heads, 1, MUST, &d->dt, e);
    if (!rc)
        rc = bind_norm(b, "ssm_norm", (size_t)t->value_dim, &d->norm, e);
    return rc ? rc : bind_linear(b, "ssm_out", values, width, WITH_SCALE, &l->o, e);
}

/* llama.cpp's build_ffn adds a bias before it scales, its build_attn the other way round. */
static int bind_dense(struct binder *b, struct layer *l, struct err *e)
{
    struct model *m = b->m;
    size_t width = (size_t)m->t.width, ff = (size_t)m->t.ff;
    unsigned with = SCALE_LAST;
    if (family_has(m, FAM_FFN_BIAS))
        with |= WITH_BIAS;
    if (family_has(m, FAM_FFN_SCALE))
        with |= WITH_SCALE;
    int rc = bind_linear(b, "ffn_down", ff, width, with, &l->down, e);
    if (!rc && family_has(m, FAM_FFN_FUSED)) {
        struct linear all;
        rc = bind_linear(b, "ffn_up", width, 2 * ff, with, &all, e);
        if (rc)
            return rc;
        l->gate = part_of(&all, 0, ff);
        l->up = part_of(&all, ff, ff);
        return 0;
    }
    if (!rc)
        rc = bind_linear(b, "ffn_gate", width, ff, with, &l->gate, e);
    return rc ? rc : bind_linear(b, "ffn_up", width, ff, with, &l->up, e);
}

static int bind_shared(struct binder *b, struct moe *x, struct err *e)
{
    struct model *m = b->m;
    size_t width = (size_t)m->t.width, ff = (size_t)m->b.ff_shared;
    unsigned with = family_has(m, FAM_EXPERT_SCALE) ? WITH_SCALE : 0;
    int rc = bind_linear(b, "ffn_gate_shexp", width, ff, with, &x->shared_gate, e);
    if (!rc)
        rc = bind_linear(b, "ffn_up_shexp", width, ff, with, &x->shared_up, e);
    if (!rc)
        rc = bind_linear(b, "ffn_down_shexp", ff, width, with, &x->shared_down, e);
    if (!rc && family_has(m, FAM_SHARED_GATE))
        rc = bind_linear(b, "ffn_gate_inp_shexp", width, 1, 0, &x->shared_router, e);
    return rc;
}

/* One stack of both, each expert's gate before its up; or two. */
static int bind_gate_and_up(struct binder *b, struct moe *x, struct err *e)
{
    size_t width = (size_t)b->m->t.width, ff = (size_t)b->m->b.ff_expert;
    if (has(b, "ffn_gate_up_exps", ".weight")) {
        int rc = bind_experts(b, "ffn_gate_up_exps", width, 2 * ff, &x->gate, e);
        x->gate.w.rows = ff;
        x->up = x->gate;
        x->up.w.data = (const unsigned char *)x->gate.w.data + ff * x->gate.w.stride;
        return rc;
    }
    int rc = bind_experts(b, "ffn_up_exps", width, ff, &x->up, e);
    if (rc || (family_has(b->m, FAM_GATELESS) && !has(b, "ffn_gate_exps", ".weight")))
        return rc;
    return bind_experts(b, "ffn_gate_exps", width, ff, &x->gate, e);
}

static int bind_moe(struct binder *b, struct moe *x, struct err *e)
{
    struct model *m = b->m;
    size_t width = (size_t)m->t.width, ff = (size_t)m->b.ff_expert;
    unsigned with = family_has(m, FAM_EXPERT_BIAS) ? MUST_HAVE_BIAS : 0;
    int rc = bind_linear(b, "ffn_gate_inp", width, (size_t)m->b.experts, with, &x->router, e);
    if (!rc)
        rc = bind_gate_and_up(b, x, e);
    if (!rc)
        rc = bind_experts(b, "ffn_down_exps", ff, width, &x->down, e);
    if (!rc && family_has(m, FAM_SHARED) && m->b.ff_shared > 0)
        rc = bind_shared(b, x, e);
    return rc;
}

static bool has_experts(const struct model *m, int layer)
{
    if (m->b.moe_first > 0)
        return layer % m->b.moe_step == m->b.moe_first;
    return m->b.experts > 0 && m->b.moe_step > 0 && (layer + 1) % m->b.moe_step == 0;
}

/* What a layer is, before its tensors are looked for. */
static void shape_layer(struct model *m, int i, struct layer *l)
{
    const struct recipe *b = &m->b;
    bool nope = b->nropes == 0 || (b->nope_step > 0 && (i + 1) % b->nope_step == 0);
    l->kind = (enum model_layer_kind)m->kinds[i];
    l->rope = nope ? -1 : l->kind != MODEL_LAYER_FULL && b->nropes > 1 ? 1 : 0;
    l->temperature = b->temp_scale != 0 && nope != b->temper_turned;
    l->l2_qk = b->l2_qk && !nope;
    l->gated = family_has(m, FAM_GATED);
    l->moe = has_experts(m, i) ? &m->moes[i] : NULL;
    l->delta = l->kind == MODEL_LAYER_RECURRENT ? &m->deltas[i] : NULL;
}

static int bind_layer(struct binder *b, int i, struct layer *l, struct err *e)
{
    struct model *m = b->m;
    size_t width = (size_t)m->t.width;
    shape_layer(m, i, l);
    snprintf(b->prefix, sizeof b->prefix, "blk.%d.", i);
    int rc = l->delta ? bind_delta(b, l, e) : bind_attention(b, l, e);
    if (!rc)
        rc = bind_norm(b, family_has(m, FAM_FFN_NORM_POST) ? "post_attention_norm" : "ffn_norm",
                       width, &l->ffn_norm, e);
    if (!rc && family_has(m, FAM_POST_NORMS))
        rc = bind_norm(b, "post_ffw_norm", width, &l->ffn_post_norm, e);
    if (!rc)
        rc = l->moe ? bind_moe(b, l->moe, e) : bind_dense(b, l, e);
    b->prefix[0] = '\0';
    return rc;
}

/* ---- encoders: norms stand behind the blocks, and have biases ---- */

static int bind_center(struct binder *b, const char *prefix, struct center *out, struct err *e)
{
    size_t width = (size_t)b->m->t.width;
    int rc = bind_norm(b, prefix, width, &out->w, e);
    return rc ? rc : bind_floats(b, prefix, ".bias", width, 1, MUST, &out->b, e);
}

/* The feed-forward that has a gate leaves its biases aside, as the reference does. */
static int bind_encoder_ffn(struct binder *b, struct layer *l, struct err *e)
{
    size_t width = (size_t)b->m->t.width, ff = (size_t)b->m->t.ff;
    bool gated = b->m->b.act == ACT_SILU;
    unsigned with = gated ? 0 : WITH_BIAS;
    int rc = bind_linear(b, "ffn_up", width, ff, with, &l->up, e);
    if (!rc)
        rc = bind_linear(b, "ffn_down", ff, width, with, &l->down, e);
    if (!rc && gated)
        rc = bind_linear(b, "ffn_gate", width, ff, 0, &l->gate, e);
    char name[NAME_MAX_BYTES];
    find(b, "ffn_up", ".bias", name);
    find(b, "ffn_down", ".bias", name);
    return rc;
}

static int bind_encoder_layer(struct binder *b, int i, struct layer *l, struct err *e)
{
    struct model *m = b->m;
    size_t q = (size_t)m->t.heads * (size_t)m->t.head_dim;
    shape_layer(m, i, l);
    snprintf(b->prefix, sizeof b->prefix, "blk.%d.", i);
    int rc = bind_qkv(b, l, e);
    if (!rc)
        rc = bind_linear(b, "attn_output", q, (size_t)m->t.width, WITH_BIAS | WITH_SCALE, &l->o, e);
    if (!rc)
        rc = bind_center(b, "attn_output_norm", &l->attn_out, e);
    if (!rc)
        rc = l->moe ? bind_moe(b, l->moe, e) : bind_encoder_ffn(b, l, e);
    if (!rc)
        rc = bind_center(b, "layer_output_norm", &l->out, e);
    b->prefix[0] = '\0';
    return rc;
}

static int bind_encoder(struct binder *b, struct err *e)
{
    struct model *m = b->m;
    size_t width = (size_t)m->t.width, ctx = (size_t)m->t.ctx_train;
    int rc = bind_matrix(b, "token_embd", width, (size_t)m->t.vocab, 1, &m->embed, e);
    if (!rc && has(b, "token_types", ".weight"))
        rc =
            bind_matrix(b, "token_types", width, (size_t)m->b.token_types, 1, &m->encoder.types, e);
    if (!rc && family_has(m, FAM_POSITIONS))
        rc = bind_matrix(b, "position_embd", width, ctx, 1, &m->encoder.positions, e);
    return rc ? rc : bind_center(b, "token_embd_norm", &m->encoder.norm, e);
}

/* ---- the rest ---- */

static int bind_output(struct binder *b, struct err *e)
{
    struct model *m = b->m;
    size_t width = (size_t)m->t.width, vocab = (size_t)m->t.vocab;
    unsigned with = WITH_SCALE | (family_has(m, FAM_OUTPUT_BIAS) ? WITH_BIAS : 0);
    int rc = bind_matrix(b, "token_embd", width, vocab, 1, &m->embed, e);
    if (!rc)
        rc = bind_norm(b, "output_norm", width, &m->output_norm, e);
    if (rc)
        return rc;
    m->t.tied =
        family_has(m, FAM_TIED) || (!family_has(m, FAM_UNTIED) && !has(b, "output", ".weight"));
    if (!m->t.tied)
        return bind_linear(b, "output", width, vocab, with, &m->output, e);
    m->output = (struct linear){.w = m->embed, .scale = 1.0f};
    if (family_has(m, FAM_OUTPUT_BIAS))
        rc = bind_floats(b, "output", ".bias", vocab, 1, MAY, &m->output.bias, e);
    return rc;
}

static int bind_rope_factors(struct binder *b, struct err *e)
{
    struct recipe *r = &b->m->b;
    size_t n = (size_t)b->m->t.rope_dims / 2;
    if (!family_has(b->m, FAM_ROPE_FACTORS))
        return 0;
    if (!r->longrope) {
        int rc = bind_floats(b, "rope_freqs", ".weight", n, 1, MAY, &r->rope_short, e);
        r->rope_long = r->rope_short;
        return rc;
    }
    int rc = bind_floats(b, "rope_factors_short", ".weight", n, 1, MAY, &r->rope_short, e);
    return rc ? rc : bind_floats(b, "rope_factors_long", ".weight", n, 1, MAY, &r->rope_long, e);
}

static bool begins(struct str s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.p, with, n) == 0;
}

/* Of a layer that is not part of the pass. */
static bool past_the_layers(const struct model *m, struct str name)
{
    if (!begins(name, "blk."))
        return false;
    int64_t layer = 0;
    for (size_t i = 4; i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && layer < 1 << 20; i++)
        layer = layer * 10 + (name.p[i] - '0');
    return layer >= m->t.layers && layer < m->t.layers + m->b.next_layers;
}

/* A tensor that nobody bound would be left out of the sum: the file means something else. */
static int refuse_strangers(const struct binder *b, struct err *e)
{
    const struct model *m = b->m;
    for (size_t i = 0; i < gguf_ntensors(m->g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->g, i);
        bool known = b->used[i] || past_the_layers(m, t->name);
        for (const char *const *u = m->b.family->unused; !known && *u; u++)
            known = begins(t->name, *u);
        if (!known)
            return err_set_at(e, ERR_UNSUPPORTED, t->offset,
                              "tensor %.*s is not one that a model of the family %s has",
                              STR_ARG(t->name), m->t.family);
    }
    return 0;
}

/* Bytes and elements that a pass of one token reads: of experts the chosen ones' share, of the
 * embedding one row. */
static void count_weights(struct model *m)
{
    for (size_t i = 0; i < gguf_ntensors(m->g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->g, i);
        m->weight_bytes += t->nbytes;
        m->params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    m->active_bytes = m->weight_bytes;
    if (!m->t.tied)
        m->active_bytes -= (uint64_t)(m->embed.rows - 1) * m->embed.stride;
    for (int i = 0; i < m->t.layers; i++) {
        const struct moe *x = m->layers[i].moe;
        if (!x)
            continue;
        uint64_t idle = (uint64_t)(m->b.experts - m->b.experts_used);
        uint64_t each = (x->gate.w.stride * x->gate.w.rows) + (x->up.w.stride * x->up.w.rows) +
                        (x->down.w.stride * x->down.w.rows);
        m->active_bytes -= idle * each;
    }
}

static int bind_all(struct binder *b, struct err *e)
{
    struct model *m = b->m;
    bool encoder = family_has(m, FAM_ENCODER);
    int rc = encoder ? bind_encoder(b, e) : bind_output(b, e);
    for (int i = 0; !rc && i < m->t.layers; i++)
        rc = encoder ? bind_encoder_layer(b, i, &m->layers[i], e)
                     : bind_layer(b, i, &m->layers[i], e);
    bool experts = false;
    for (int i = 0; !rc && i < m->t.layers; i++)
        experts = experts || m->layers[i].moe;
    if (!experts)
        m->b.experts = m->b.experts_used = 0;
    if (!rc)
        rc = bind_rope_factors(b, e);
    if (!rc)
        rc = refuse_strangers(b, e);
    if (!rc)
        count_weights(m);
    return rc;
}

int weights_bind(struct model *m, struct err *e)
{
    /* A layer has six tensors at the least, so a file cannot have more layers than a sixth of
     * them: what is allocated is bounded by what the file holds. */
    size_t n = gguf_ntensors(m->g);
    if ((size_t)m->t.layers > n / 6)
        return err_set(e, ERR_FORMAT, "key %s.block_count is %d but the file has %zu tensors",
                       m->t.family, m->t.layers, n);
    struct binder b = {.m = m, .used = calloc(n, sizeof(bool))};
    m->layers = calloc((size_t)m->t.layers, sizeof *m->layers);
    m->moes = calloc((size_t)m->t.layers, sizeof *m->moes);
    m->deltas = calloc((size_t)m->t.layers, sizeof *m->deltas);
    int rc = 0;
    if (!b.used || !m->layers || !m->moes || !m->deltas)
        rc = err_set(e, ERR_NOMEM, "no memory for %d layers", m->t.layers);
    if (!rc)
        rc = bind_all(&b, e);
    free(b.used);
    return rc;
}
