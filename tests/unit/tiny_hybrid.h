/* tiny_hybrid.h: small random models that keep less of the past than a plain one: with windows in
 * some layers, or gated delta nets. Beside tiny_model.h, whose writer it uses.
 *
 *     hybrid_write(&(struct hybrid){.window = 40, .period = 2}, path);   llama, every other full
 *     hybrid_write(&(struct hybrid){.delta = true}, path);               qwen35, every other full
 */
#ifndef WEIR_TINY_HYBRID_H
#define WEIR_TINY_HYBRID_H

#include "tiny_model.h"

struct hybrid {
    uint32_t window, period; /* period 0: all layers have the window */
    bool delta;
    bool spread;                 /* delta: the same model with a key head for each value head */
    uint32_t layers, type, seed; /* 0: 4, F32, 1 */
};

#define HYBRID_KEY_DIM 16
#define HYBRID_KEY_HEADS 2
#define HYBRID_HEADS 4
#define HYBRID_VALUES (HYBRID_HEADS * HYBRID_KEY_DIM)
#define HYBRID_CHANNELS (2 * HYBRID_KEY_HEADS * HYBRID_KEY_DIM + HYBRID_VALUES)

static inline void hybrid_keys(struct tiny_writer *w, const struct hybrid *h)
{
    const struct tiny *t = w->t;
    char key[96];
    const char *arch = h->delta ? "qwen35" : "llama";
    const struct {
        const char *name;
        uint32_t v;
    } ints[] = {{"block_count", t->layers},
                {"embedding_length", t->width},
                {"feed_forward_length", t->ff},
                {"context_length", t->ctx},
                {"attention.head_count", t->heads},
                {"attention.head_count_kv", t->kv_heads},
                {"attention.key_length", t->head_dim},
                {"attention.value_length", t->head_dim},
                {"rope.dimension_count", t->head_dim},
                {"attention.sliding_window", h->window},
                {"attention.sliding_window_pattern", h->period},
                {"full_attention_interval", 2},
                {"ssm.conv_kernel", 4},
                {"ssm.inner_size", HYBRID_VALUES},
                {"ssm.state_size", HYBRID_KEY_DIM},
                {"ssm.time_step_rank", HYBRID_HEADS},
                {"ssm.group_count", h->spread ? HYBRID_HEADS : HYBRID_KEY_HEADS}};
    gguf_put_str(w->w, "general.architecture", str_of(arch));
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, ints[i].name);
        gguf_put_u32(w->w, key, ints[i].v);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    gguf_put_f32(w->w, key, 1e-5f);
}

static inline const char *hybrid_name(char out[64], uint32_t i, const char *what)
{
    snprintf(out, 64, "blk.%u.%s", i, what);
    return out;
}

/* Rows of queries, keys and values; spread, those of the key heads stand twice. */
static inline void hybrid_rows(struct tiny_writer *w, const struct hybrid *h, const char *name,
                               uint32_t type, void *rows, uint64_t k)
{
    uint32_t block = 1, bytes = 4;
    gguf_dtype_info(type, NULL, &block, &bytes);
    size_t row = (size_t)(k / block * bytes), keys = HYBRID_KEY_HEADS * HYBRID_KEY_DIM * row;
    if (!h->spread) {
        tiny_put(w, name, type, rows, k, HYBRID_CHANNELS);
        return;
    }
    unsigned char *p = rows, *out = calloc(1, 4 * keys + HYBRID_VALUES * row);
    for (int i = 0; i < 4; i++)
        memcpy(out + (size_t)i * keys, p + (size_t)(i / 2) * keys, keys);
    memcpy(out + 4 * keys, p + 2 * keys, HYBRID_VALUES * row);
    free(rows);
    tiny_put(w, name, type, out, k, HYBRID_CHANNELS + HYBRID_KEY_HEADS * 2 * HYBRID_KEY_DIM);
}

/* n floats between low and high. */
static inline float *hybrid_random(struct tiny_writer *w, uint64_t n, float low, float high)
{
    float *p = calloc(n, sizeof *p);
    for (uint64_t i = 0; i < n; i++)
        p[i] = low + (high - low) * (float)(tiny_random(w) % 4096) / 4096.0f;
    return p;
}

static inline void hybrid_net(struct tiny_writer *w, const struct hybrid *h, uint32_t i)
{
    char s[64];
    uint64_t width = w->t->width;
    hybrid_rows(w, h, hybrid_name(s, i, "attn_qkv.weight"), w->t->type,
                tiny_matrix(w, w->t->type, width, HYBRID_CHANNELS), width);
    tiny_mat(w, hybrid_name(s, i, "attn_gate.weight"), width, HYBRID_VALUES);
    tiny_mat(w, hybrid_name(s, i, "ssm_alpha.weight"), width, HYBRID_HEADS);
    tiny_mat(w, hybrid_name(s, i, "ssm_beta.weight"), width, HYBRID_HEADS);
    tiny_mat(w, hybrid_name(s, i, "ssm_out.weight"), HYBRID_VALUES, width);
    hybrid_rows(w, h, hybrid_name(s, i, "ssm_conv1d.weight"), GGUF_DT_F32,
                hybrid_random(w, 4 * HYBRID_CHANNELS, -0.6f, 0.6f), 4);
    tiny_put(w, hybrid_name(s, i, "ssm_a"), GGUF_DT_F32,
             hybrid_random(w, HYBRID_HEADS, -0.3f, -0.01f), HYBRID_HEADS, 1);
    tiny_put(w, hybrid_name(s, i, "ssm_dt.bias"), GGUF_DT_F32,
             hybrid_random(w, HYBRID_HEADS, -1, 1), HYBRID_HEADS, 1);
    tiny_norm(w, hybrid_name(s, i, "ssm_norm.weight"), HYBRID_KEY_DIM);
}

static inline void hybrid_layer(struct tiny_writer *w, const struct hybrid *h, uint32_t i)
{
    const struct tiny *t = w->t;
    uint64_t q = (uint64_t)t->heads * t->head_dim, kv = (uint64_t)t->kv_heads * t->head_dim;
    char s[64];
    tiny_norm(w, hybrid_name(s, i, "attn_norm.weight"), t->width);
    tiny_norm(w, hybrid_name(s, i, h->delta ? "post_attention_norm.weight" : "ffn_norm.weight"),
              t->width);
    if (h->delta && i % 2 == 0) {
        hybrid_net(w, h, i);
    } else {
        tiny_mat(w, hybrid_name(s, i, "attn_q.weight"), t->width, h->delta ? 2 * q : q);
        tiny_mat(w, hybrid_name(s, i, "attn_k.weight"), t->width, kv);
        tiny_mat(w, hybrid_name(s, i, "attn_v.weight"), t->width, kv);
        tiny_mat(w, hybrid_name(s, i, "attn_output.weight"), q, t->width);
    }
    if (h->delta && i % 2 == 1) {
        tiny_norm(w, hybrid_name(s, i, "attn_q_norm.weight"), t->head_dim);
        tiny_norm(w, hybrid_name(s, i, "attn_k_norm.weight"), t->head_dim);
    }
    tiny_mat(w, hybrid_name(s, i, "ffn_gate.weight"), t->width, t->ff);
    tiny_mat(w, hybrid_name(s, i, "ffn_up.weight"), t->width, t->ff);
    tiny_mat(w, hybrid_name(s, i, "ffn_down.weight"), t->ff, t->width);
}

static inline int hybrid_write(const struct hybrid *h, const char *path)
{
    struct tiny t = tiny_default();
    t.layers = h->layers ? h->layers : 4;
    t.head_dim = 32;
    t.ctx = 2048;
    t.type = h->type;
    t.weight = 2.0f;
    struct tiny_writer w = {.t = &t, .w = gguf_writer_new(), .random = h->seed ? h->seed : 1};
    struct err e;
    hybrid_keys(&w, h);
    tiny_vocab(&w);
    tiny_mat(&w, "token_embd.weight", t.width, t.vocab);
    tiny_norm(&w, "output_norm.weight", t.width);
    tiny_mat(&w, "output.weight", t.width, t.vocab);
    for (uint32_t i = 0; i < t.layers; i++)
        hybrid_layer(&w, h, i);
    int rc = gguf_writer_save(w.w, path, &e);
    if (rc)
        fprintf(stderr, "hybrid model: %s\n", e.msg);
    gguf_writer_free(w.w);
    for (size_t i = 0; i < w.ndata; i++)
        free(w.data[i]);
    return rc;
}

#endif
