/* plain_model.h: small random models of any family, and what they compute, written down as plainly
 * as can be: one token at a time, doubles, no batches, no pages, nothing shared with src/model but
 * the meaning. A row of struct plain says what a family does; the file is made from the row, and
 * plain_logits computes from the row and the numbers that went into the file. */
#ifndef WEIR_PLAIN_MODEL_H
#define WEIR_PLAIN_MODEL_H

#include "tiny_model.h"

enum {
    P_NEOX = 1 << 0,
    P_TIED = 1 << 1,
    P_QKV_BIAS = 1 << 2,
    P_OUT_BIAS = 1 << 3,
    P_QK_NORM = 1 << 4,
    P_POST_NORMS = 1 << 5,
    P_FUSED = 1 << 6, /* attn_qkv, and ffn_up of gate and up */
    P_SINKS = 1 << 7,
    P_L2 = 1 << 8,          /* queries and keys to length after they turned */
    P_NORM_SHARES = 1 << 9, /* chosen experts' shares add up to 1 */
    P_SHARE_FIRST = 1 << 10,
    P_EXPERT_BIAS = 1 << 11,
    P_SHARED_GATE = 1 << 12,
    P_FFN_NORM_POST = 1 << 13, /* the norm before the feed-forward is post_attention_norm */
    P_CHUNK = 1 << 14,         /* the window is a chunk */
    P_TEMPER_ALL = 1 << 15,    /* else layers that do not turn */
};

enum plain_act { P_SILU, P_GELU, P_OAI };
enum plain_gate { P_SOFTMAX, P_SIGMOID, P_CHOSEN };

struct plain_key {
    const char *name;
    char type; /* u, f, s, b */
    double v;
    const char *s;
};

struct plain {
    const char *family;
    unsigned flags;
    int layers, width, heads, kv, dim, rope, ff;
    int experts, used, ff_expert, ff_shared, moe_step;
    enum plain_act act;
    enum plain_gate gate;
    int window, period; /* layers i % period < period - 1 have the window; period 0: all */
    int nope;           /* every nope-th layer does not turn */
    double base, window_base, factor, window_factor; /* base 0: 10000; factor 0: none */
    int yarn_ctx;                                    /* 0: linear scaling */
    double attn_scale;                               /* 0: a head's; rope 0: all of a head */
    double softcap, logit_cap, logit_mul, embed, residual;
    double temp, temp_floor, temp_offset;
    double magnitude; /* with factors on the angles; 0: none */
    struct plain_key keys[10];
    /* filled by plain_write */
    uint32_t type; /* of the matrices; another than F32: no plain_logits */
    struct plain_tensor *tensors;
    int ntensors;
};

struct plain_tensor {
    char name[64];
    float *data;
    int k, rows;
};

#define PLAIN_VOCAB 96
#define PLAIN_TENSORS 512

/* ---- the file ---- */

static inline const float *plain_find(const struct plain *p, int layer, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, layer < 0 ? "%s" : "blk.%2$d.%1$s", name, layer);
    for (int i = 0; i < p->ntensors; i++)
        if (strcmp(p->tensors[i].name, full) == 0)
            return p->tensors[i].data;
    return NULL;
}

static inline void plain_put(struct plain *p, struct tiny_writer *w, int layer, const char *name,
                             int k, int rows, int depth)
{
    struct plain_tensor *t = &p->tensors[p->ntensors++];
    bool matrix = rows > 1 && strstr(name, ".weight"), norm = strstr(name, "norm") != NULL;
    size_t n = (size_t)k * (size_t)rows * (size_t)depth;
    uint32_t type = matrix && !strstr(name, "_inp") ? p->type : GGUF_DT_F32;
    snprintf(t->name, sizeof t->name, layer < 0 ? "%s" : "blk.%2$d.%1$s", name, layer);
    t->k = k;
    t->rows = rows;
    if (type != GGUF_DT_F32) {
        t->data = tiny_matrix(w, type, (uint64_t)k, (uint64_t)rows * (uint64_t)depth);
    } else {
        t->data = malloc(n * sizeof *t->data);
        for (size_t i = 0; i < n; i++) {
            float x = (float)((int32_t)(tiny_random(w) % 2001) - 1000) / 1000.0f;
            t->data[i] = matrix ? x * 1.7f / sqrtf((float)k) : norm ? 1.0f + 0.3f * x : 0.3f * x;
            if (strstr(name, "factors"))
                t->data[i] = 1.0f + fabsf(x);
        }
    }
    uint64_t dims[] = {(uint64_t)k, (uint64_t)rows, (uint64_t)depth};
    gguf_put_tensor(w->w, t->name, type, depth > 1 ? 3 : rows > 1 ? 2 : 1, dims, t->data);
}

static inline void plain_keys(const struct plain *p, struct gguf_writer *w)
{
    char key[128];
    const struct plain_key common[] = {
        {"block_count", 'u', p->layers, NULL},
        {"embedding_length", 'u', p->width, NULL},
        {"feed_forward_length", 'u', p->ff, NULL},
        {"context_length", 'u', 512, NULL},
        {"attention.head_count", 'u', p->heads, NULL},
        {"attention.head_count_kv", 'u', p->kv, NULL},
        {"attention.key_length", 'u', p->dim, NULL},
        {"attention.value_length", 'u', p->dim, NULL},
        {"rope.dimension_count", 'u', p->rope, NULL},
        {"rope.freq_base", 'f', p->base, NULL},
        {"attention.layer_norm_rms_epsilon", 'f', 1e-5, NULL},
        {"expert_count", 'u', p->experts, NULL},
        {"expert_used_count", 'u', p->used, NULL},
    };
    const struct plain_key *all[] = {common, p->keys};
    const size_t n[] = {sizeof common / sizeof *common, sizeof p->keys / sizeof *p->keys};
    gguf_put_str(w, "general.architecture", str_of(p->family));
    for (int a = 0; a < 2; a++)
        for (size_t i = 0; i < n[a] && all[a][i].name; i++) {
            const struct plain_key *k = &all[a][i];
            snprintf(key, sizeof key, "%s.%s", p->family, k->name);
            if (k->type == 'u')
                gguf_put_u32(w, key, (uint32_t)k->v);
            else if (k->type == 'f')
                gguf_put_f32(w, key, (float)k->v);
            else if (k->type == 'b')
                gguf_put_bool(w, key, k->v != 0);
            else
                gguf_put_str(w, key, str_of(k->s));
        }
}

static inline bool plain_has_experts(const struct plain *p, int i)
{
    return p->experts > 0 && (p->moe_step == 0 || (i + 1) % p->moe_step == 0);
}

static inline void plain_put_attention(struct plain *p, struct tiny_writer *w, int i)
{
    int q = p->heads * p->dim, kv = p->kv * p->dim;
    plain_put(p, w, i, "attn_norm.weight", p->width, 1, 1);
    if (p->flags & P_FUSED) {
        plain_put(p, w, i, "attn_qkv.weight", p->width, q + 2 * kv, 1);
    } else {
        plain_put(p, w, i, "attn_q.weight", p->width, q, 1);
        plain_put(p, w, i, "attn_k.weight", p->width, kv, 1);
        plain_put(p, w, i, "attn_v.weight", p->width, kv, 1);
    }
    if (p->flags & P_QKV_BIAS) {
        plain_put(p, w, i, "attn_q.bias", q, 1, 1);
        plain_put(p, w, i, "attn_k.bias", kv, 1, 1);
        plain_put(p, w, i, "attn_v.bias", kv, 1, 1);
    }
    plain_put(p, w, i, "attn_output.weight", q, p->width, 1);
    if (p->flags & P_OUT_BIAS)
        plain_put(p, w, i, "attn_output.bias", p->width, 1, 1);
    if (p->flags & P_QK_NORM) {
        plain_put(p, w, i, "attn_q_norm.weight", p->dim, 1, 1);
        plain_put(p, w, i, "attn_k_norm.weight", p->dim, 1, 1);
    }
    if (p->flags & (P_POST_NORMS | P_FFN_NORM_POST))
        plain_put(p, w, i, "post_attention_norm.weight", p->width, 1, 1);
    if (p->flags & P_POST_NORMS)
        plain_put(p, w, i, "post_ffw_norm.weight", p->width, 1, 1);
    if (p->flags & P_SINKS)
        plain_put(p, w, i, "attn_sinks.weight", p->heads, 1, 1);
}

static inline void plain_put_ffn(struct plain *p, struct tiny_writer *w, int i)
{
    int e = p->experts, f = p->ff_expert, s = p->ff_shared;
    if (!(p->flags & P_FFN_NORM_POST))
        plain_put(p, w, i, "ffn_norm.weight", p->width, 1, 1);
    if (!plain_has_experts(p, i)) {
        if (!(p->flags & P_FUSED))
            plain_put(p, w, i, "ffn_gate.weight", p->width, p->ff, 1);
        plain_put(p, w, i, "ffn_up.weight", p->width, p->flags & P_FUSED ? 2 * p->ff : p->ff, 1);
        plain_put(p, w, i, "ffn_down.weight", p->ff, p->width, 1);
        return;
    }
    plain_put(p, w, i, "ffn_gate_inp.weight", p->width, e, 1);
    plain_put(p, w, i, "ffn_gate_exps.weight", p->width, f, e);
    plain_put(p, w, i, "ffn_up_exps.weight", p->width, f, e);
    plain_put(p, w, i, "ffn_down_exps.weight", f, p->width, e);
    if (p->flags & P_EXPERT_BIAS) {
        plain_put(p, w, i, "ffn_gate_inp.bias", e, 1, 1);
        plain_put(p, w, i, "ffn_gate_exps.bias", f, e, 1);
        plain_put(p, w, i, "ffn_up_exps.bias", f, e, 1);
        plain_put(p, w, i, "ffn_down_exps.bias", p->width, e, 1);
    }
    if (s == 0)
        return;
    plain_put(p, w, i, "ffn_gate_shexp.weight", p->width, s, 1);
    plain_put(p, w, i, "ffn_up_shexp.weight", p->width, s, 1);
    plain_put(p, w, i, "ffn_down_shexp.weight", s, p->width, 1);
    if (p->flags & P_SHARED_GATE)
        plain_put(p, w, i, "ffn_gate_inp_shexp.weight", p->width, 1, 1);
}

/* `stranger`: one tensor more that no family knows; NULL: none. */
static inline int plain_write(struct plain *p, const char *path, const char *stranger)
{
    struct tiny tiny = tiny_default();
    struct tiny_writer w = {.t = &tiny, .w = gguf_writer_new(), .random = 11};
    struct err e;
    p->tensors = calloc(PLAIN_TENSORS, sizeof *p->tensors);
    p->ntensors = 0;
    p->rope = p->rope ? p->rope : p->dim;
    p->base = p->base != 0 ? p->base : 10000;
    p->attn_scale = p->attn_scale != 0 ? p->attn_scale : 1 / sqrt(p->dim);
    plain_keys(p, w.w);
    plain_put(p, &w, -1, "token_embd.weight", p->width, PLAIN_VOCAB, 1);
    plain_put(p, &w, -1, "output_norm.weight", p->width, 1, 1);
    if (!(p->flags & P_TIED))
        plain_put(p, &w, -1, "output.weight", p->width, PLAIN_VOCAB, 1);
    if (p->magnitude != 0)
        plain_put(p, &w, -1, "rope_factors_long.weight", p->rope / 2, 1, 1);
    for (int i = 0; i < p->layers; i++) {
        plain_put_attention(p, &w, i);
        plain_put_ffn(p, &w, i);
    }
    if (stranger)
        plain_put(p, &w, -1, stranger, p->width, 1, 1);
    int rc = gguf_writer_save(w.w, path, &e);
    gguf_writer_free(w.w);
    return rc;
}

static inline void plain_done(struct plain *p)
{
    for (int i = 0; i < p->ntensors; i++)
        free(p->tensors[i].data);
    free(p->tensors);
    p->tensors = NULL;
    p->ntensors = 0;
}

/* ---- what it computes ---- */

static inline void plain_mat(const float *w, const float *bias, int k, int rows, const double *x,
                             double *y)
{
    for (int r = 0; r < rows; r++) {
        y[r] = bias ? (double)bias[r] : 0.0;
        for (int i = 0; i < k; i++)
            y[r] += (double)w[(size_t)r * (size_t)k + (size_t)i] * x[i];
    }
}

static inline void plain_norm(const double *x, const float *w, int n, double *y)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    double s = 1.0 / sqrt(sum / n + 1e-5);
    for (int i = 0; i < n; i++)
        y[i] = x[i] * s * (w ? (double)w[i] : 1.0);
}

static inline bool plain_windowed(const struct plain *p, int layer)
{
    return p->window > 0 && (p->period == 0 || layer % p->period < p->period - 1);
}

static inline bool plain_turns(const struct plain *p, int layer)
{
    return p->nope == 0 || (layer + 1) % p->nope != 0;
}

/* Radians a position for pair i. */
static inline double plain_angle(const struct plain *p, int layer, int i)
{
    bool own = plain_windowed(p, layer) && p->window_base != 0;
    double base = own ? p->window_base : p->base;
    double factor = own && p->window_factor != 0 ? p->window_factor : p->factor;
    double whole = pow(base, -2.0 * i / p->rope);
    const float *by = plain_find(p, -1, "rope_factors_long.weight");
    if (by)
        whole /= (double)by[i];
    if (factor == 0)
        return whole;
    if (p->yarn_ctx == 0)
        return whole / factor;
    double low = floor(p->rope * log(p->yarn_ctx / (32 * 2 * M_PI)) / (2 * log(base)));
    double high = ceil(p->rope * log(p->yarn_ctx / (1 * 2 * M_PI)) / (2 * log(base)));
    low = low < 0 ? 0 : low;
    high = high > p->rope - 1 ? p->rope - 1 : high;
    double ramp = (i - low) / (high - low > 0.001 ? high - low : 0.001);
    double keep = 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
    return whole * keep + whole / factor * (1 - keep);
}

static inline void plain_turn(const struct plain *p, int layer, int position, double *x)
{
    double size = p->magnitude != 0 ? p->magnitude : 1;
    if (p->yarn_ctx)
        size = 0.1 * log(p->factor) + 1;
    for (int i = 0; i < p->rope / 2; i++) {
        double a = position * plain_angle(p, layer, i);
        double *u = p->flags & P_NEOX ? &x[i] : &x[2 * i];
        double *v = p->flags & P_NEOX ? &x[i + p->rope / 2] : &x[2 * i + 1];
        double c = *u * cos(a) - *v * sin(a), s = *u * sin(a) + *v * cos(a);
        *u = c * size;
        *v = s * size;
    }
}

static inline double plain_act(const struct plain *p, double g, double u)
{
    switch (p->act) {
    case P_SILU: return g / (1 + exp(-g)) * u;
    case P_GELU: return 0.5 * g * (1 + tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * u;
    case P_OAI: break;
    }
    g = g > 7 ? 7 : g;
    u = u > 7 ? 7 : u < -7 ? -7 : u;
    return g / (1 + exp(-1.702 * g)) * (u + 1);
}

struct plain_state { /* of one sequence */
    double *k, *v;   /* [layer][position][kv * dim] */
    int n;
};

#define PLAIN_MAX 4096 /* of any row */

static inline void plain_project(const struct plain *p, int layer, const double *h, double *q,
                                 double *k, double *v)
{
    int nq = p->heads * p->dim, kv = p->kv * p->dim;
    const float *all = plain_find(p, layer, "attn_qkv.weight");
    const float *wq = all ? all : plain_find(p, layer, "attn_q.weight");
    const float *wk = all ? all + nq * p->width : plain_find(p, layer, "attn_k.weight");
    const float *wv = all ? all + (nq + kv) * p->width : plain_find(p, layer, "attn_v.weight");
    plain_mat(wq, plain_find(p, layer, "attn_q.bias"), p->width, nq, h, q);
    plain_mat(wk, plain_find(p, layer, "attn_k.bias"), p->width, kv, h, k);
    plain_mat(wv, plain_find(p, layer, "attn_v.bias"), p->width, kv, h, v);
    for (int i = 0; i < p->heads + p->kv; i++) {
        bool key = i >= p->heads;
        double *x = key ? k + (i - p->heads) * p->dim : q + i * p->dim;
        const float *norm = plain_find(p, layer, key ? "attn_k_norm.weight" : "attn_q_norm.weight");
        if (norm)
            plain_norm(x, norm, p->dim, x);
    }
}

static inline void plain_attention(const struct plain *p, struct plain_state *s, int layer,
                                   int position, const double *h, double *out)
{
    double q[PLAIN_MAX], score[512], att[PLAIN_MAX];
    size_t kv = (size_t)(p->kv * p->dim);
    double *k0 = s->k + (size_t)layer * (size_t)s->n * kv;
    double *v0 = s->v + (size_t)layer * (size_t)s->n * kv;
    double *k = k0 + (size_t)position * kv;
    plain_project(p, layer, h, q, k, v0 + (size_t)position * kv);
    bool turns = plain_turns(p, layer);
    double heat = 1;
    if (p->temp != 0 && (p->flags & P_TEMPER_ALL || !turns))
        heat = log(floor((position + p->temp_offset) / p->temp_floor) + 1) * p->temp + 1;
    for (int i = 0; i < p->heads + p->kv; i++) {
        double *x = i < p->heads ? q + i * p->dim : k + (i - p->heads) * p->dim;
        if (turns)
            plain_turn(p, layer, position, x);
        if (turns && p->flags & P_L2)
            plain_norm(x, NULL, p->dim, x);
    }
    int from = 0;
    if (plain_windowed(p, layer))
        from = p->flags & P_CHUNK ? position / p->window * p->window : position - p->window + 1;
    from = from < 0 ? 0 : from;
    const float *sinks = plain_find(p, layer, "attn_sinks.weight");
    for (int i = 0; i < p->heads; i++) {
        int g = i / (p->heads / p->kv);
        double max = sinks ? (double)sinks[i] : -INFINITY, sum = 0;
        for (int t = from; t <= position; t++) {
            score[t] = 0;
            for (int d = 0; d < p->dim; d++)
                score[t] += q[i * p->dim + d] * k0[(size_t)t * kv + (size_t)(g * p->dim + d)];
            score[t] *= heat * p->attn_scale;
            if (p->softcap != 0)
                score[t] = p->softcap * tanh(score[t] / p->softcap);
            max = score[t] > max ? score[t] : max;
        }
        sum = sinks ? exp((double)sinks[i] - max) : 0;
        for (int t = from; t <= position; t++)
            sum += score[t] = exp(score[t] - max);
        for (int d = 0; d < p->dim; d++) {
            att[i * p->dim + d] = 0;
            for (int t = from; t <= position; t++)
                att[i * p->dim + d] +=
                    score[t] / sum * v0[(size_t)t * kv + (size_t)(g * p->dim + d)];
        }
    }
    plain_mat(plain_find(p, layer, "attn_output.weight"), plain_find(p, layer, "attn_output.bias"),
              p->heads * p->dim, p->width, att, out);
}

struct plain_ffn_weights {
    const float *gate, *up, *down, *gate_b, *up_b, *down_b;
};

static inline void plain_ffn(const struct plain *p, const struct plain_ffn_weights *w, int ff,
                             const double *h, double *out)
{
    double g[PLAIN_MAX], u[PLAIN_MAX];
    plain_mat(w->gate, w->gate_b, p->width, ff, h, g);
    plain_mat(w->up, w->up_b, p->width, ff, h, u);
    for (int i = 0; i < ff; i++)
        g[i] = plain_act(p, g[i], u[i]);
    plain_mat(w->down, w->down_b, ff, p->width, g, out);
}

static inline const float *plain_nth(const float *p, int e, int n)
{
    return p ? p + (size_t)e * (size_t)n : NULL;
}

/* The chosen experts and their shares. */
static inline void plain_route(const struct plain *p, const double *score, int *chosen,
                               double *share)
{
    double all = 0, sum = 0;
    bool taken[1024] = {false};
    for (int i = 0; i < p->used; i++) {
        int best = -1;
        for (int e = 0; e < p->experts; e++)
            if (!taken[e] && (best < 0 || score[e] > score[best]))
                best = e;
        taken[best] = true;
        chosen[i] = best;
    }
    for (int e = 0; e < p->experts; e++)
        if (p->gate == P_SOFTMAX || taken[e])
            all += exp(score[e]);
    for (int i = 0; i < p->used; i++) {
        double s = score[chosen[i]];
        share[i] = p->gate == P_SIGMOID ? 1 / (1 + exp(-s)) : exp(s) / all;
        sum += share[i];
    }
    for (int i = 0; i < p->used && p->flags & P_NORM_SHARES; i++)
        share[i] /= sum;
}

static inline void plain_moe(const struct plain *p, int layer, const double *h, double *out)
{
    double score[1024], share[64], one[PLAIN_MAX], in[PLAIN_MAX], gate;
    int chosen[64], f = p->ff_expert, size = f * p->width;
    plain_mat(plain_find(p, layer, "ffn_gate_inp.weight"),
              plain_find(p, layer, "ffn_gate_inp.bias"), p->width, p->experts, h, score);
    plain_route(p, score, chosen, share);
    for (int d = 0; d < p->width; d++)
        out[d] = 0;
    for (int i = 0; i < p->used; i++) {
        int e = chosen[i];
        bool first = (p->flags & P_SHARE_FIRST) != 0;
        for (int d = 0; d < p->width; d++)
            in[d] = h[d] * (first ? share[i] : 1);
        plain_ffn(p,
                  &(struct plain_ffn_weights){
                      plain_nth(plain_find(p, layer, "ffn_gate_exps.weight"), e, size),
                      plain_nth(plain_find(p, layer, "ffn_up_exps.weight"), e, size),
                      plain_nth(plain_find(p, layer, "ffn_down_exps.weight"), e, size),
                      plain_nth(plain_find(p, layer, "ffn_gate_exps.bias"), e, f),
                      plain_nth(plain_find(p, layer, "ffn_up_exps.bias"), e, f),
                      plain_nth(plain_find(p, layer, "ffn_down_exps.bias"), e, p->width)},
                  f, in, one);
        for (int d = 0; d < p->width; d++)
            out[d] += one[d] * (first ? 1 : share[i]);
    }
    if (p->ff_shared == 0)
        return;
    plain_ffn(p,
              &(struct plain_ffn_weights){.gate = plain_find(p, layer, "ffn_gate_shexp.weight"),
                                          .up = plain_find(p, layer, "ffn_up_shexp.weight"),
                                          .down = plain_find(p, layer, "ffn_down_shexp.weight")},
              p->ff_shared, h, one);
    gate = INFINITY;
    if (p->flags & P_SHARED_GATE)
        plain_mat(plain_find(p, layer, "ffn_gate_inp_shexp.weight"), NULL, p->width, 1, h, &gate);
    for (int d = 0; d < p->width; d++)
        out[d] += one[d] / (1 + exp(-gate));
}

static inline void plain_layer(const struct plain *p, struct plain_state *s, int layer,
                               int position, double *x)
{
    double h[PLAIN_MAX], y[PLAIN_MAX];
    double residual = p->residual != 0 ? p->residual : 1;
    const char *pre = p->flags & P_FFN_NORM_POST ? "post_attention_norm.weight" : "ffn_norm.weight";
    plain_norm(x, plain_find(p, layer, "attn_norm.weight"), p->width, h);
    plain_attention(p, s, layer, position, h, y);
    if (p->flags & P_POST_NORMS)
        plain_norm(y, plain_find(p, layer, "post_attention_norm.weight"), p->width, y);
    for (int d = 0; d < p->width; d++)
        x[d] += y[d] * residual;
    plain_norm(x, plain_find(p, layer, pre), p->width, h);
    const float *up = plain_find(p, layer, "ffn_up.weight");
    const float *gate = plain_find(p, layer, "ffn_gate.weight");
    if (plain_has_experts(p, layer))
        plain_moe(p, layer, h, y);
    else
        plain_ffn(p,
                  &(struct plain_ffn_weights){.gate = gate ? gate : up,
                                              .up = gate ? up : up + p->ff * p->width,
                                              .down = plain_find(p, layer, "ffn_down.weight")},
                  p->ff, h, y);
    if (p->flags & P_POST_NORMS)
        plain_norm(y, plain_find(p, layer, "post_ffw_norm.weight"), p->width, y);
    for (int d = 0; d < p->width; d++)
        x[d] += y[d] * residual;
}

/* Logits at every position, [n][PLAIN_VOCAB]. */
static inline float *plain_logits(const struct plain *p, const int32_t *tokens, int n)
{
    size_t kv = (size_t)p->layers * (size_t)n * (size_t)(p->kv * p->dim);
    struct plain_state s = {calloc(kv, sizeof(double)), calloc(kv, sizeof(double)), n};
    float *out = malloc((size_t)n * PLAIN_VOCAB * sizeof *out);
    const float *embed = plain_find(p, -1, "token_embd.weight");
    const float *head =
        plain_find(p, -1, p->flags & P_TIED ? "token_embd.weight" : "output.weight");
    double x[PLAIN_MAX], y[PLAIN_VOCAB];
    for (int t = 0; t < n; t++) {
        for (int d = 0; d < p->width; d++)
            x[d] = (double)embed[tokens[t] * p->width + d] * (p->embed != 0 ? p->embed : 1);
        for (int i = 0; i < p->layers; i++)
            plain_layer(p, &s, i, t, x);
        plain_norm(x, plain_find(p, -1, "output_norm.weight"), p->width, x);
        plain_mat(head, NULL, p->width, PLAIN_VOCAB, x, y);
        for (int i = 0; i < PLAIN_VOCAB; i++) {
            double l = y[i] * (p->logit_mul != 0 ? p->logit_mul : 1);
            out[t * PLAIN_VOCAB + i] =
                (float)(p->logit_cap != 0 ? p->logit_cap * tanh(l / p->logit_cap) : l);
        }
    }
    free(s.k);
    free(s.v);
    return out;
}

#endif
