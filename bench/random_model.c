/* random_model.c: writes a GGUF file of a real model's shape with random weights, so that speed can
 * be measured on shapes and formats whose files are too large to fetch. What such a model says is
 * noise; how fast it says it is not.
 *
 *   random_model SHAPE TYPE FILE
 *
 * All matrices have the type asked for, the embedding too; norms and routers are F32. One block of
 * random bytes is written for every tensor: reading them costs the same. */
#include "gguf.h"
#include "kern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    const char *name, *family;
    uint32_t layers, width, ff, heads, kv_heads, head_dim, vocab, ctx;
    uint32_t experts, used; /* 0: dense; ff is then one expert's */
    bool tied, qk_norm;
    float rope_base;
};

static const struct shape shapes[] = {
    {"smollm2-135m", "llama", 30, 576, 1536, 9, 3, 64, 49152, 8192, 0, 0, true, false, 1e5f},
    {"llama-3.2-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 0, 0, true, false, 5e5f},
    {"qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 40960, 0, 0, true, true, 1e6f},
    {"qwen3-4b", "qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 40960, 0, 0, true, true, 1e6f},
    {"moe-3b", "qwen3moe", 26, 2048, 512, 16, 4, 128, 32000, 32768, 32, 4, false, true, 1e6f},
    {"llama-3-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 0, 0, false, false, 5e5f},
};

static const uint32_t types[] = {
    GGUF_DT_F32,  GGUF_DT_F16,    GGUF_DT_BF16,   GGUF_DT_Q4_0,  GGUF_DT_Q4_1, GGUF_DT_Q5_0,
    GGUF_DT_Q5_1, GGUF_DT_Q8_0,   GGUF_DT_Q2_K,   GGUF_DT_Q3_K,  GGUF_DT_Q4_K, GGUF_DT_Q5_K,
    GGUF_DT_Q6_K, GGUF_DT_IQ4_NL, GGUF_DT_IQ4_XS, GGUF_DT_MXFP4,
};

static uint64_t state = 88172645463325252u;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* A half of about this size, either sign. */
static uint16_t half(float size)
{
    float f = size * (0.5f + (float)(rnd() % 1000) / 1000.0f);
    uint16_t h;
    kern_get()->to_f16(&f, 1, &h);
    return h;
}

static void put_half(unsigned char *p, float size)
{
    uint16_t h = half(size);
    memcpy(p, &h, sizeof h);
}

/* Random bytes are valid blocks once the scales are numbers of a sensible size. */
static void tame(uint32_t type, unsigned char *b, uint32_t bytes, float size)
{
    switch (type) {
    case GGUF_DT_Q4_0:
    case GGUF_DT_Q5_0:
    case GGUF_DT_IQ4_NL: put_half(b, size / 5); break;
    case GGUF_DT_Q8_0: put_half(b, size / 74); break;
    case GGUF_DT_Q4_1:
    case GGUF_DT_Q5_1:
        put_half(b, size / 5);
        put_half(b + 2, -1.5f * size);
        break;
    case GGUF_DT_Q2_K:
        put_half(b + bytes - 4, size / 16);
        put_half(b + bytes - 2, size / 16);
        break;
    case GGUF_DT_Q3_K:
    case GGUF_DT_Q6_K: put_half(b + bytes - 2, size / 600); break;
    case GGUF_DT_Q4_K:
    case GGUF_DT_Q5_K:
        put_half(b, size / 200);
        put_half(b + 2, size / 30);
        break;
    case GGUF_DT_IQ4_XS: put_half(b, size / 1200); break;
    case GGUF_DT_MXFP4: b[0] = (unsigned char)(122 + rnd() % 2); break;
    default: break;
    }
}

/* Bytes of the largest tensor, filled; floats are made one by one. */
static unsigned char *make_pool(uint32_t type, uint64_t elements, float size)
{
    uint32_t block = 1, bytes = 1;
    gguf_dtype_info(type, NULL, &block, &bytes);
    uint64_t n = elements / block;
    unsigned char *p = malloc(n * bytes + 8);
    if (!p)
        return NULL;
    for (uint64_t i = 0; i + 8 <= n * bytes + 8; i += 8) {
        uint64_t r = rnd();
        memcpy(p + i, &r, 8);
    }
    for (uint64_t i = 0; i < n; i++) {
        float f = size * ((float)(rnd() % 2001) / 1000.0f - 1.0f) * 1.7f;
        if (type == GGUF_DT_F32) {
            memcpy(p + i * 4, &f, 4);
        } else if (type == GGUF_DT_BF16) {
            memcpy(p + i * 2, (unsigned char *)&f + 2, 2);
        } else if (type == GGUF_DT_F16) {
            kern_get()->to_f16(&f, 1, (uint16_t *)(void *)(p + i * 2));
        } else {
            tame(type, p + i * bytes, bytes, size);
        }
    }
    return p;
}

struct maker {
    const struct shape *s;
    uint32_t type;
    struct gguf_writer *w;
    const void *pool;
    const float *ones;
};

static void key_u32(const struct maker *m, const char *name, uint32_t v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->s->family, name);
    gguf_put_u32(m->w, key, v);
}

static void key_f32(const struct maker *m, const char *name, float v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->s->family, name);
    gguf_put_f32(m->w, key, v);
}

static void put_keys(const struct maker *m)
{
    const struct shape *s = m->s;
    gguf_put_str(m->w, "general.architecture", str_of(s->family));
    gguf_put_str(m->w, "general.name", str_of(s->name));
    key_u32(m, "block_count", s->layers);
    key_u32(m, "context_length", s->ctx);
    key_u32(m, "embedding_length", s->width);
    key_u32(m, "feed_forward_length", s->ff);
    key_u32(m, "vocab_size", s->vocab);
    key_u32(m, "attention.head_count", s->heads);
    key_u32(m, "attention.head_count_kv", s->kv_heads);
    key_u32(m, "attention.key_length", s->head_dim);
    key_u32(m, "attention.value_length", s->head_dim);
    key_u32(m, "rope.dimension_count", s->head_dim);
    key_f32(m, "rope.freq_base", s->rope_base);
    key_f32(m, "attention.layer_norm_rms_epsilon", 1e-5f);
    if (s->experts) {
        key_u32(m, "expert_count", s->experts);
        key_u32(m, "expert_used_count", s->used);
        key_u32(m, "expert_feed_forward_length", s->ff);
    }
    gguf_put_str(m->w, "tokenizer.ggml.model", STR("none"));
}

static void put_matrix(const struct maker *m, const char *name, uint64_t k, uint64_t rows,
                       uint64_t experts)
{
    const uint64_t dims[3] = {k, rows, experts};
    gguf_put_tensor(m->w, name, m->type, experts ? 3 : 2, dims, m->pool);
}

static void put_vector(const struct maker *m, const char *name, uint64_t n)
{
    gguf_put_tensor(m->w, name, GGUF_DT_F32, 1, &n, m->ones);
}

static void put_layer(const struct maker *m, uint32_t i)
{
    const struct shape *s = m->s;
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    char name[64];
#define NAMED(what) (snprintf(name, sizeof name, "blk.%u." what ".weight", i), name)
    put_vector(m, NAMED("attn_norm"), s->width);
    put_matrix(m, NAMED("attn_q"), s->width, q, 0);
    put_matrix(m, NAMED("attn_k"), s->width, kv, 0);
    put_matrix(m, NAMED("attn_v"), s->width, kv, 0);
    put_matrix(m, NAMED("attn_output"), q, s->width, 0);
    if (s->qk_norm) {
        put_vector(m, NAMED("attn_q_norm"), s->head_dim);
        put_vector(m, NAMED("attn_k_norm"), s->head_dim);
    }
    put_vector(m, NAMED("ffn_norm"), s->width);
    if (!s->experts) {
        put_matrix(m, NAMED("ffn_gate"), s->width, s->ff, 0);
        put_matrix(m, NAMED("ffn_up"), s->width, s->ff, 0);
        put_matrix(m, NAMED("ffn_down"), s->ff, s->width, 0);
        return;
    }
    const uint64_t router[2] = {s->width, s->experts};
    gguf_put_tensor(m->w, NAMED("ffn_gate_inp"), GGUF_DT_F32, 2, router, m->ones);
    put_matrix(m, NAMED("ffn_gate_exps"), s->width, s->ff, s->experts);
    put_matrix(m, NAMED("ffn_up_exps"), s->width, s->ff, s->experts);
    put_matrix(m, NAMED("ffn_down_exps"), s->ff, s->width, s->experts);
#undef NAMED
}

static uint64_t largest(const struct shape *s)
{
    uint64_t embed = (uint64_t)s->vocab * s->width;
    uint64_t ffn = (uint64_t)s->ff * s->width * (s->experts ? s->experts : 1);
    return embed > ffn ? embed : ffn;
}

/* Norm weights of one, and a router whose experts differ from token to token. */
static float *make_ones(const struct shape *s)
{
    size_t n = (size_t)s->width * (s->experts ? s->experts : 1);
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; p && i < n; i++)
        p[i] = i < s->width && !s->experts ? 1.0f : 0.5f + (float)(rnd() % 1000) / 1000.0f;
    return p;
}

static int write_model(const struct shape *s, uint32_t type, const char *path, struct err *e)
{
    float *ones = make_ones(s);
    void *pool = make_pool(type, largest(s), 1.0f / sqrtf((float)s->width));
    struct gguf_writer *w = gguf_writer_new();
    struct maker m = {.s = s, .type = type, .w = w, .pool = pool, .ones = ones};
    int rc = ones && pool && w ? 0 : err_set(e, ERR_NOMEM, "no memory for the weights");
    if (!rc) {
        put_keys(&m);
        put_matrix(&m, "token_embd.weight", s->width, s->vocab, 0);
        put_vector(&m, "output_norm.weight", s->width);
        if (!s->tied)
            put_matrix(&m, "output.weight", s->width, s->vocab, 0);
        for (uint32_t i = 0; i < s->layers; i++)
            put_layer(&m, i);
        rc = gguf_writer_save(w, path, e);
    }
    gguf_writer_free(w);
    free(pool);
    free(ones);
    return rc;
}

static int usage(void)
{
    fprintf(stderr, "usage: random_model SHAPE TYPE FILE\nshapes:");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        fprintf(stderr, " %s", shapes[i].name);
    fprintf(stderr, "\ntypes:");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *name = "";
        gguf_dtype_info(types[i], &name, NULL, NULL);
        fprintf(stderr, " %s", name);
    }
    fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv)
{
    const struct shape *shape = NULL;
    uint32_t type = GGUF_DT_MAX;
    struct err e = {0};
    for (size_t i = 0; argc == 4 && i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(argv[1], shapes[i].name))
            shape = &shapes[i];
    for (size_t i = 0; argc == 4 && i < sizeof types / sizeof *types; i++) {
        const char *name = "";
        if (gguf_dtype_info(types[i], &name, NULL, NULL) && !strcmp(argv[2], name))
            type = types[i];
    }
    if (!shape || type == GGUF_DT_MAX)
        return usage();
    if (write_model(shape, type, argv[3], &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    return 0;
}
