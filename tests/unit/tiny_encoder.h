/* tiny_encoder.h: small random encoders (bert, nomic-bert, nomic-bert-moe) with a WordPiece
 * vocabulary of letters, and what they compute, written down as plainly as can be: one text at a
 * time, in doubles, nothing shared with src/model but the meaning. Same shape and seed: same file.
 */
#ifndef WEIR_TINY_ENCODER_H
#define WEIR_TINY_ENCODER_H

#include "tiny_model.h"

#define TINY_ENCODER_VOCAB 64
enum { TINY_CLS = 2, TINY_SEP = 3 };

struct tiny_encoder {
    const char *family;
    int layers, width, heads, ff, ctx, experts, used;
    int pooling; /* the file's number; -1: no such key */
    bool fused, biases, no_types;
    uint32_t type; /* of the matrices; the plain computation reads F32 alone */
    uint64_t seed;
    const char *drop; /* a tensor that is left out */
    struct {
        char name[96];
        float *p;
    } t[160];
    int nt;
};

static inline struct tiny_encoder tiny_encoder_default(const char *family)
{
    return (struct tiny_encoder){.family = family,
                                 .layers = 3,
                                 .width = 64,
                                 .heads = 4,
                                 .ff = 112,
                                 .ctx = 200,
                                 .pooling = 1,
                                 .biases = true,
                                 .seed = 7};
}

static inline void tiny_encoder_done(struct tiny_encoder *m)
{
    for (int i = 0; i < m->nt; i++)
        free(m->t[i].p);
    m->nt = 0;
}

/* ---- the file ---- */

static inline void te_put(struct tiny_encoder *m, struct gguf_writer *w, const char *name, int k,
                          int rows, int depth, double size, double middle, bool matrix)
{
    struct tiny t = {.weight = (float)size};
    struct tiny_writer random = {.t = &t, .random = m->seed += 77};
    uint32_t type = matrix ? m->type : GGUF_DT_F32;
    size_t n = (size_t)k * (size_t)rows * (size_t)depth;
    float *p;
    if (type == GGUF_DT_F32) {
        p = calloc(n, sizeof *p);
        for (size_t i = 0; i < n; i++)
            p[i] = (float)(middle + size * ((double)(tiny_random(&random) % 2001) - 1000) / 577.0);
    } else {
        t.weight *= sqrtf((float)k);
        p = tiny_matrix(&random, type, (uint64_t)k, (uint64_t)rows * (uint64_t)depth);
    }
    snprintf(m->t[m->nt].name, sizeof m->t[0].name, "%s", name);
    m->t[m->nt++].p = p;
    uint64_t dims[3] = {(uint64_t)k, (uint64_t)rows, (uint64_t)depth};
    if (!m->drop || strcmp(m->drop, name) != 0)
        gguf_put_tensor(w, name, type, depth > 1 ? 3 : rows > 1 ? 2 : 1, dims, p);
}

/* blk.I.NAME.weight, and its bias where there is one. */
static inline void te_linear(struct tiny_encoder *m, struct gguf_writer *w, int layer,
                             const char *name, int k, int rows, bool bias)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    te_put(m, w, full, k, rows, 1, 1.0 / sqrt(k), 0, true);
    snprintf(full, sizeof full, "blk.%d.%s.bias", layer, name);
    if (bias)
        te_put(m, w, full, rows, 1, 1, 0.2, 0, false);
}

static inline void te_norm(struct tiny_encoder *m, struct gguf_writer *w, const char *prefix)
{
    char full[96];
    snprintf(full, sizeof full, "%s.weight", prefix);
    te_put(m, w, full, m->width, 1, 1, 0.15, 1, false);
    snprintf(full, sizeof full, "%s.bias", prefix);
    te_put(m, w, full, m->width, 1, 1, 0.1, 0, false);
}

static inline bool te_gated(const struct tiny_encoder *m)
{
    return strcmp(m->family, "nomic-bert") == 0;
}

static inline bool te_turns(const struct tiny_encoder *m)
{
    return strcmp(m->family, "bert") != 0;
}

static inline bool te_has_experts(const struct tiny_encoder *m, int layer)
{
    return m->experts > 0 && layer % 2 == 1;
}

static inline void te_layer(struct tiny_encoder *m, struct gguf_writer *w, int i)
{
    char name[64];
    int d = m->width, ff = m->ff;
    if (m->fused) {
        te_linear(m, w, i, "attn_qkv", d, 3 * d, m->biases);
    } else {
        te_linear(m, w, i, "attn_q", d, d, m->biases);
        te_linear(m, w, i, "attn_k", d, d, m->biases);
        te_linear(m, w, i, "attn_v", d, d, m->biases);
    }
    te_linear(m, w, i, "attn_output", d, d, m->biases);
    snprintf(name, sizeof name, "blk.%d.attn_output_norm", i);
    te_norm(m, w, name);
    snprintf(name, sizeof name, "blk.%d.layer_output_norm", i);
    te_norm(m, w, name);
    if (te_has_experts(m, i)) {
        te_linear(m, w, i, "ffn_gate_inp", d, m->experts, false);
        snprintf(name, sizeof name, "blk.%d.ffn_up_exps.weight", i);
        te_put(m, w, name, d, ff, m->experts, 1.0 / sqrt(d), 0, true);
        snprintf(name, sizeof name, "blk.%d.ffn_down_exps.weight", i);
        te_put(m, w, name, ff, d, m->experts, 1.0 / sqrt(ff), 0, true);
        return;
    }
    te_linear(m, w, i, "ffn_up", d, ff, m->biases && !te_gated(m));
    if (te_gated(m))
        te_linear(m, w, i, "ffn_gate", d, ff, false);
    te_linear(m, w, i, "ffn_down", ff, d, m->biases && !te_gated(m));
}

/* [PAD] [UNK] [CLS] [SEP], letters that begin a word and letters inside one, two words, marks. */
static inline void te_vocab(struct gguf_writer *w)
{
    static char text[TINY_ENCODER_VOCAB][24];
    static struct str pieces[TINY_ENCODER_VOCAB];
    static int32_t types[TINY_ENCODER_VOCAB];
    static const char *const first[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
    static const char *const last[] = {"hello", "world", ".", ","};
    for (int i = 0; i < TINY_ENCODER_VOCAB; i++) {
        types[i] = i < 4 ? 3 : 1;
        if (i < 4)
            snprintf(text[i], sizeof text[i], "%s", first[i]);
        else if (i < 30)
            snprintf(text[i], sizeof text[i], "\xE2\x96\x81%c", 'a' + i - 4);
        else if (i < 56)
            snprintf(text[i], sizeof text[i], "%c", 'a' + i - 30);
        else if (i < 60)
            snprintf(text[i], sizeof text[i], "\xE2\x96\x81%s", last[i - 56]);
        else
            snprintf(text[i], sizeof text[i], "[unused%d]", i - 60);
        pieces[i] = str_of(text[i]);
    }
    gguf_put_str(w, "tokenizer.ggml.model", STR("bert"));
    gguf_put_strs(w, "tokenizer.ggml.tokens", pieces, TINY_ENCODER_VOCAB);
    gguf_put_i32s(w, "tokenizer.ggml.token_type", types, TINY_ENCODER_VOCAB);
    gguf_put_u32(w, "tokenizer.ggml.padding_token_id", 0);
    gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 1);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", TINY_CLS);
    gguf_put_u32(w, "tokenizer.ggml.cls_token_id", TINY_CLS);
    gguf_put_u32(w, "tokenizer.ggml.seperator_token_id", TINY_SEP);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", TINY_SEP);
    gguf_put_u32(w, "tokenizer.ggml.token_type_count", 2);
}

static inline void te_u32(struct tiny_encoder *m, struct gguf_writer *w, const char *name, int v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->family, name);
    gguf_put_u32(w, key, (uint32_t)v);
}

static inline void te_keys(struct tiny_encoder *m, struct gguf_writer *w)
{
    char key[96];
    gguf_put_str(w, "general.architecture", str_of(m->family));
    te_u32(m, w, "block_count", m->layers);
    te_u32(m, w, "embedding_length", m->width);
    te_u32(m, w, "feed_forward_length", m->ff);
    te_u32(m, w, "context_length", m->ctx);
    te_u32(m, w, "attention.head_count", m->heads);
    if (m->pooling >= 0)
        te_u32(m, w, "pooling_type", m->pooling);
    if (m->experts > 0) {
        te_u32(m, w, "expert_count", m->experts);
        te_u32(m, w, "expert_used_count", m->used);
        te_u32(m, w, "moe_every_n_layers", 2);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_epsilon", m->family);
    gguf_put_f32(w, key, 1e-5f);
    snprintf(key, sizeof key, "%s.attention.causal", m->family);
    gguf_put_bool(w, key, false);
    snprintf(key, sizeof key, "%s.rope.freq_base", m->family);
    if (te_turns(m))
        gguf_put_f32(w, key, 1000.0f);
}

static inline int tiny_encoder_write(struct tiny_encoder *m, const char *path)
{
    struct gguf_writer *w = gguf_writer_new();
    struct err e;
    te_keys(m, w);
    te_vocab(w);
    te_put(m, w, "token_embd.weight", m->width, TINY_ENCODER_VOCAB, 1, 1, 0, true);
    if (!m->no_types)
        te_put(m, w, "token_types.weight", m->width, 2, 1, 0.5, 0, false);
    if (!te_turns(m))
        te_put(m, w, "position_embd.weight", m->width, m->ctx, 1, 0.5, 0, false);
    te_norm(m, w, "token_embd_norm");
    for (int i = 0; i < m->layers; i++)
        te_layer(m, w, i);
    int rc = gguf_writer_save(w, path, &e);
    if (rc)
        fprintf(stderr, "tiny encoder: %s\n", e.msg);
    gguf_writer_free(w);
    return rc;
}

/* ---- what it computes ---- */

static inline const float *te_find(const struct tiny_encoder *m, const char *name)
{
    for (int i = 0; i < m->nt; i++)
        if (strcmp(m->t[i].name, name) == 0)
            return m->t[i].p;
    return NULL;
}

static inline const float *te_of(const struct tiny_encoder *m, int layer, const char *rest)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", layer, rest);
    return te_find(m, name);
}

static inline void te_mul(const float *w, const float *bias, const double *x, int k, int rows,
                          double *out)
{
    for (int r = 0; r < rows; r++) {
        double sum = bias ? bias[r] : 0;
        for (int i = 0; i < k; i++)
            sum += (double)w[(size_t)r * (size_t)k + (size_t)i] * x[i];
        out[r] = sum;
    }
}

static inline void te_center(const struct tiny_encoder *m, const float *w, const float *b,
                             double *x)
{
    double mean = 0, var = 0;
    for (int i = 0; i < m->width; i++)
        mean += x[i] / m->width;
    for (int i = 0; i < m->width; i++)
        var += (x[i] - mean) * (x[i] - mean) / m->width;
    for (int i = 0; i < m->width; i++)
        x[i] = (x[i] - mean) / sqrt(var + 1e-5) * w[i] + b[i];
}

static inline double te_gelu(double x)
{
    return 0.5 * x * (1 + tanh(0.7978845608028654 * x * (1 + 0.044715 * x * x)));
}

static inline void te_turn(const struct tiny_encoder *m, double *x, int position)
{
    int dim = m->width / m->heads;
    for (int h = 0; h < m->heads && te_turns(m); h++)
        for (int i = 0; i < dim / 2; i++) {
            double angle = position * pow(1000.0, -2.0 * i / dim);
            double a = x[h * dim + i], b = x[h * dim + i + dim / 2];
            x[h * dim + i] = a * cos(angle) - b * sin(angle);
            x[h * dim + i + dim / 2] = a * sin(angle) + b * cos(angle);
        }
}

/* One of q, k, v: from its own matrix, or from its third of the fused one. */
static inline void te_project(const struct tiny_encoder *m, int layer, int which, const double *x,
                              double *out)
{
    static const char *const w[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight"};
    static const char *const b[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
    int d = m->width;
    if (!m->fused) {
        te_mul(te_of(m, layer, w[which]), te_of(m, layer, b[which]), x, d, d, out);
        return;
    }
    const float *bias = te_of(m, layer, "attn_qkv.bias");
    te_mul(te_of(m, layer, "attn_qkv.weight") + which * d * d, bias ? bias + which * d : NULL, x, d,
           d, out);
}

static inline void te_attend(const struct tiny_encoder *m, int layer, int n, double *x)
{
    int d = m->width, dim = d / m->heads;
    double *q = calloc((size_t)(n * d) * 4 + (size_t)n, sizeof *q), *k = q + n * d, *v = k + n * d;
    double *att = v + n * d, *s = att + n * d;
    for (int i = 0; i < n; i++) {
        te_project(m, layer, 0, x + i * d, q + i * d);
        te_project(m, layer, 1, x + i * d, k + i * d);
        te_project(m, layer, 2, x + i * d, v + i * d);
        te_turn(m, q + i * d, i);
        te_turn(m, k + i * d, i);
    }
    for (int i = 0; i < n; i++)
        for (int h = 0; h < m->heads; h++) {
            double sum = 0;
            for (int j = 0; j < n; j++) {
                s[j] = 0;
                for (int e = 0; e < dim; e++)
                    s[j] += q[i * d + h * dim + e] * k[j * d + h * dim + e];
                s[j] = exp(s[j] / sqrt(dim));
                sum += s[j];
            }
            for (int j = 0; j < n; j++)
                for (int e = 0; e < dim; e++)
                    att[i * d + h * dim + e] += s[j] / sum * v[j * d + h * dim + e];
        }
    for (int i = 0; i < n; i++) {
        te_mul(te_of(m, layer, "attn_output.weight"), te_of(m, layer, "attn_output.bias"),
               att + i * d, d, d, q);
        for (int e = 0; e < d; e++)
            x[i * d + e] += q[e];
        te_center(m, te_of(m, layer, "attn_output_norm.weight"),
                  te_of(m, layer, "attn_output_norm.bias"), x + i * d);
    }
    free(q);
}

static inline void te_dense(const struct tiny_encoder *m, const float *up, const float *up_bias,
                            const float *gate, const float *down, const float *down_bias,
                            const double *x, double *out)
{
    double *u = calloc((size_t)m->ff * 2, sizeof *u), *g = u + m->ff;
    te_mul(up, up_bias, x, m->width, m->ff, u);
    if (gate)
        te_mul(gate, NULL, x, m->width, m->ff, g);
    for (int i = 0; i < m->ff; i++)
        u[i] = gate ? u[i] * g[i] / (1 + exp(-g[i])) : te_gelu(u[i]);
    te_mul(down, down_bias, u, m->ff, m->width, out);
    free(u);
}

/* The best experts, each with its share of all. */
static inline void te_experts(const struct tiny_encoder *m, int layer, const double *x, double *out)
{
    double score[32], all = 0, one[1024];
    te_mul(te_of(m, layer, "ffn_gate_inp.weight"), NULL, x, m->width, m->experts, score);
    for (int i = 0; i < m->experts; i++)
        all += score[i] = exp(score[i]);
    memset(out, 0, (size_t)m->width * sizeof *out);
    for (int n = 0; n < m->used; n++) {
        int best = 0;
        for (int i = 1; i < m->experts; i++)
            if (score[i] > score[best])
                best = i;
        int each = m->width * m->ff;
        te_dense(m, te_of(m, layer, "ffn_up_exps.weight") + best * each, NULL, NULL,
                 te_of(m, layer, "ffn_down_exps.weight") + best * each, NULL, x, one);
        for (int i = 0; i < m->width; i++)
            out[i] += score[best] / all * one[i];
        score[best] = -1;
    }
}

static inline void te_feed(const struct tiny_encoder *m, int layer, double *x)
{
    double out[1024];
    if (te_has_experts(m, layer))
        te_experts(m, layer, x, out);
    else
        te_dense(m, te_of(m, layer, "ffn_up.weight"), te_of(m, layer, "ffn_up.bias"),
                 te_of(m, layer, "ffn_gate.weight"), te_of(m, layer, "ffn_down.weight"),
                 te_of(m, layer, "ffn_down.bias"), x, out);
    for (int i = 0; i < m->width; i++)
        x[i] += out[i];
    te_center(m, te_of(m, layer, "layer_output_norm.weight"),
              te_of(m, layer, "layer_output_norm.bias"), x);
}

/* The rows of one text's n tokens; the caller frees. */
static inline double *tiny_encoder_rows(const struct tiny_encoder *m, const int32_t *tokens, int n)
{
    int d = m->width;
    double *x = calloc((size_t)(n * d), sizeof *x);
    const float *embd = te_find(m, "token_embd.weight"), *types = te_find(m, "token_types.weight");
    const float *places = te_find(m, "position_embd.weight");
    for (int i = 0; i < n; i++) {
        for (int e = 0; e < d; e++)
            x[i * d + e] = (double)embd[tokens[i] * d + e] + (types ? types[e] : 0) +
                           (places ? places[i * d + e] : 0);
        te_center(m, te_find(m, "token_embd_norm.weight"), te_find(m, "token_embd_norm.bias"),
                  x + i * d);
    }
    for (int l = 0; l < m->layers; l++) {
        te_attend(m, l, n, x);
        for (int i = 0; i < n; i++)
            te_feed(m, l, x + i * d);
    }
    return x;
}

/* One row of them. */
static inline void tiny_encoder_pool(const struct tiny_encoder *m, int pooling, const double *rows,
                                     int n, float *out)
{
    int d = m->width;
    for (int e = 0; e < d; e++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += rows[i * d + e];
        out[e] = (float)(pooling == 1 ? sum / n : pooling == 2 ? rows[e] : rows[(n - 1) * d + e]);
    }
}

#endif
