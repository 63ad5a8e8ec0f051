/* tiny_model.h: a small random llama with a byte-level vocabulary, written with the GGUF writer,
 * for tests that must not depend on files from elsewhere. Same shape, type and seed: same file.
 *
 *     struct tiny t = tiny_default();
 *     t.type = GGUF_DT_Q8_0;
 *     tiny_write(&t, path);
 *
 * A test of broken files names one key to bend, or one tensor to leave out or reshape. */
#ifndef WEIR_TINY_MODEL_H
#define WEIR_TINY_MODEL_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf.h"

#define TINY_VOCAB 288

enum tiny_bend { TINY_AS_IS, TINY_ABSENT, TINY_U32, TINY_F32, TINY_STR, TINY_BOOL };

struct tiny {
    uint32_t layers, width, heads, kv_heads, head_dim, ff, ctx, vocab;
    uint32_t type; /* of the matrices: F32, F16, Q8_0 or Q4_1 */
    uint32_t seed;
    bool tied;
    bool fim;     /* the bytes 1 to 6 mark the parts of filling in the middle */
    float weight; /* scale of the weights; larger: sharper distributions */
    const char *bend_key;
    enum tiny_bend bend;
    uint32_t bend_u;
    float bend_f;
    const char *bend_s;
    const char *drop_tensor, *shape_tensor, *retype_tensor;
    uint32_t shape_row, retype;
};

static inline struct tiny tiny_default(void)
{
    return (struct tiny){.layers = 2,
                         .width = 64,
                         .heads = 4,
                         .kv_heads = 2,
                         .head_dim = 16,
                         .ff = 96,
                         .ctx = 512,
                         .vocab = TINY_VOCAB,
                         .type = GGUF_DT_F32,
                         .seed = 1,
                         .weight = 1.0f};
}

struct tiny_writer {
    const struct tiny *t;
    struct gguf_writer *w;
    uint64_t random;
    void *data[256];
    size_t ndata;
};

static inline uint32_t tiny_random(struct tiny_writer *w)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33);
}

static inline bool tiny_bent(struct tiny_writer *w, const char *key)
{
    const struct tiny *t = w->t;
    if (!t->bend_key || strcmp(key, t->bend_key) != 0)
        return false;
    switch (t->bend) {
    case TINY_U32: gguf_put_u32(w->w, key, t->bend_u); return true;
    case TINY_F32: gguf_put_f32(w->w, key, t->bend_f); return true;
    case TINY_BOOL: gguf_put_bool(w->w, key, t->bend_u != 0); return true;
    case TINY_STR: gguf_put_str(w->w, key, str_of(t->bend_s)); return true;
    case TINY_ABSENT: return true;
    case TINY_AS_IS: break;
    }
    return false;
}

static inline void tiny_u32(struct tiny_writer *w, const char *key, uint32_t v)
{
    if (!tiny_bent(w, key))
        gguf_put_u32(w->w, key, v);
}

static inline void tiny_f32(struct tiny_writer *w, const char *key, float v)
{
    if (!tiny_bent(w, key))
        gguf_put_f32(w->w, key, v);
}

/* Random bytes of a matrix. Quantised blocks get a small scale and random integers. */
static inline void *tiny_matrix(struct tiny_writer *w, uint32_t type, uint64_t k, uint64_t rows)
{
    uint32_t block = 1, bytes = 4;
    gguf_dtype_info(type, NULL, &block, &bytes);
    size_t n = (size_t)(k / block * bytes * rows);
    unsigned char *p = calloc(1, n + 1);
    float scale = w->t->weight / sqrtf((float)k);
    for (size_t at = 0; at < n; at += bytes) {
        float x = (float)((int32_t)(tiny_random(w) % 2001) - 1000) / 577.0f * scale;
        /* Half of 2^-6 to 2^-5 and the like: a scale near the F32 weights' own size. */
        uint16_t d =
            (uint16_t)((uint32_t)(15 + ilogbf(scale / 64.0f)) << 10 | tiny_random(w) % 512);
        if (type == GGUF_DT_F32) {
            memcpy(p + at, &x, sizeof x);
            continue;
        }
        for (uint32_t i = 0; i < bytes; i++)
            p[at + i] = (unsigned char)(tiny_random(w) >> 8);
        if (type == GGUF_DT_F16)
            d = (uint16_t)((tiny_random(w) & 0x8000u) | (uint32_t)(14 + ilogbf(scale)) << 10 |
                           tiny_random(w) % 1024);
        if (type == GGUF_DT_Q4_1) {
            uint16_t q = (uint16_t)(d + (3 << 10)); /* 16 levels instead of 256 */
            uint16_t m = (uint16_t)(0x8000u | (q + (3u << 10)));
            memcpy(p + at + 2, &m, sizeof m);
            d = q;
        }
        if (type == GGUF_DT_MXFP4)
            p[at] = (unsigned char)(126 + ilogbf(scale)); /* an exponent, of values up to 6 */
        else
            memcpy(p + at, &d, sizeof d);
    }
    return p;
}

static inline void tiny_put(struct tiny_writer *w, const char *name, uint32_t type, void *data,
                            uint64_t k, uint64_t rows)
{
    const struct tiny *t = w->t;
    w->data[w->ndata++] = data;
    if (t->drop_tensor && strcmp(name, t->drop_tensor) == 0)
        return;
    if (t->retype_tensor && strcmp(name, t->retype_tensor) == 0)
        type = t->retype;
    if (t->shape_tensor && strcmp(name, t->shape_tensor) == 0)
        k = t->shape_row;
    uint64_t dims[2] = {k, rows};
    gguf_put_tensor(w->w, name, type, rows > 1 ? 2 : 1, dims, data);
}

static inline void tiny_mat(struct tiny_writer *w, const char *name, uint64_t k, uint64_t rows)
{
    uint32_t type = w->t->type, block = 1, bytes;
    gguf_dtype_info(type, NULL, &block, &bytes);
    if (k % block != 0)
        type = GGUF_DT_F32;
    tiny_put(w, name, type, tiny_matrix(w, type, k, rows), k, rows);
}

static inline void tiny_norm(struct tiny_writer *w, const char *name, uint64_t n)
{
    float *p = calloc(n, sizeof *p);
    for (uint64_t i = 0; i < n; i++)
        p[i] = 0.75f + (float)(tiny_random(w) % 512) / 1024.0f;
    tiny_put(w, name, GGUF_DT_F32, p, n, 1);
}

static inline void tiny_layer(struct tiny_writer *w, uint32_t i)
{
    const struct tiny *t = w->t;
    uint64_t q = (uint64_t)t->heads * t->head_dim, kv = (uint64_t)t->kv_heads * t->head_dim;
    const struct {
        const char *name;
        uint64_t k, rows;
    } mats[] = {{"attn_q", t->width, q},       {"attn_k", t->width, kv},
                {"attn_v", t->width, kv},      {"attn_output", q, t->width},
                {"ffn_gate", t->width, t->ff}, {"ffn_up", t->width, t->ff},
                {"ffn_down", t->ff, t->width}};
    char name[64];
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", i);
    tiny_norm(w, name, t->width);
    snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", i);
    tiny_norm(w, name, t->width);
    for (size_t j = 0; j < sizeof mats / sizeof *mats; j++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", i, mats[j].name);
        tiny_mat(w, name, mats[j].k, mats[j].rows);
    }
}

/* <unk> <s> </s>, the 256 bytes, U+2581 and the letters: a SentencePiece vocabulary. */
static inline void tiny_vocab(struct tiny_writer *w)
{
    static struct str pieces[TINY_VOCAB];
    static char text[TINY_VOCAB][8];
    static float scores[TINY_VOCAB];
    static int32_t types[TINY_VOCAB];
    for (int i = 0; i < TINY_VOCAB; i++) {
        types[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
        scores[i] = i < 259 ? 0 : -(float)i;
        if (i < 3)
            snprintf(text[i], 8, "%s", i == 0 ? "<unk>" : i == 1 ? "<s>" : "</s>");
        else if (i < 259)
            snprintf(text[i], 8, "<0x%02X>", i - 3);
        else if (i == 259)
            snprintf(text[i], 8, "\xE2\x96\x81");
        else
            snprintf(text[i], 8, "%c", i < 286 ? 'a' + i - 260 : i == 286 ? '.' : ',');
        pieces[i] = str_of(text[i]);
    }
    gguf_put_str(w->w, "tokenizer.ggml.model", STR("llama"));
    gguf_put_strs(w->w, "tokenizer.ggml.tokens", pieces, TINY_VOCAB);
    gguf_put_f32s(w->w, "tokenizer.ggml.scores", scores, TINY_VOCAB);
    gguf_put_i32s(w->w, "tokenizer.ggml.token_type", types, TINY_VOCAB);
    gguf_put_u32(w->w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_put_u32(w->w, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(w->w, "tokenizer.ggml.eos_token_id", 2);
    static const char *const marks[] = {"pre", "suf", "mid", "pad", "rep", "sep"};
    for (uint32_t i = 0; w->t->fim && i < 6; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.fim_%s_token_id", marks[i]);
        gguf_put_u32(w->w, key, 4 + i);
    }
}

static inline void tiny_keys(struct tiny_writer *w)
{
    const struct tiny *t = w->t;
    if (!tiny_bent(w, "general.architecture"))
        gguf_put_str(w->w, "general.architecture", STR("llama"));
    tiny_u32(w, "llama.block_count", t->layers);
    tiny_u32(w, "llama.embedding_length", t->width);
    tiny_u32(w, "llama.feed_forward_length", t->ff);
    tiny_u32(w, "llama.context_length", t->ctx);
    tiny_u32(w, "llama.attention.head_count", t->heads);
    tiny_u32(w, "llama.attention.head_count_kv", t->kv_heads);
    tiny_u32(w, "llama.attention.key_length", t->head_dim);
    tiny_u32(w, "llama.attention.value_length", t->head_dim);
    tiny_u32(w, "llama.rope.dimension_count", t->head_dim);
    tiny_f32(w, "llama.rope.freq_base", 10000.0f);
    tiny_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    /* Keys a file has only when a test bends them. */
    static const char *const others[] = {"llama.expert_count",        "llama.vocab_size",
                                         "llama.rope.scaling.type",   "llama.attention.causal",
                                         "llama.rope.scaling.factor", "general.alignment",
                                         "llama.expert_group_count"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        tiny_bent(w, others[i]);
}

static inline int tiny_write(const struct tiny *t, const char *path)
{
    struct tiny_writer w = {.t = t, .w = gguf_writer_new(), .random = t->seed};
    struct err e;
    tiny_keys(&w);
    tiny_vocab(&w);
    tiny_mat(&w, "token_embd.weight", t->width, t->vocab);
    tiny_norm(&w, "output_norm.weight", t->width);
    if (!t->tied)
        tiny_mat(&w, "output.weight", t->width, t->vocab);
    for (uint32_t i = 0; i < t->layers; i++)
        tiny_layer(&w, i);
    int rc = gguf_writer_save(w.w, path, &e);
    if (rc)
        fprintf(stderr, "tiny model: %s\n", e.msg);
    gguf_writer_free(w.w);
    for (size_t i = 0; i < w.ndata; i++)
        free(w.data[i]);
    return rc;
}

/* A path for one test program's file, gone at its end only if the program removes it. */
static inline const char *tiny_path(const char *name, char out[256])
{
    const char *dir = getenv("TMPDIR");
    snprintf(out, 256, "%s/weir-%d-%s.gguf", dir && *dir ? dir : "/tmp", (int)getpid(), name);
    return out;
}

#endif
