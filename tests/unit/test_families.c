/* test_families.c: every family against a reference engine's numbers where there are some, and
 * against a plain computation of the same; their bits against themselves however the work is cut;
 * files that say what their family is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model.h"
#include "model_rig.h"
#include "plain_model.h"

/* ---- against the reference engine ---- */

static void family_equals_the_reference(const char *name, double bound)
{
    char gguf[128], logits[128];
    snprintf(gguf, sizeof gguf, "models/families/%s.gguf", name);
    snprintf(logits, sizeof logits, "models/families/%s.logits", name);
    assert_true(nmse_of_fixture(gguf, logits, false) <= bound);
}

#define FIXTURE(fn, name, bound)                                                                   \
    static void fn(void **state)                                                                   \
    {                                                                                              \
        family_equals_the_reference(name, bound);                                                  \
    }

FIXTURE(llama, "llama-dense", 1e-8)
FIXTURE(llama_moe, "llama-moe", 1e-8)
FIXTURE(llama4, "llama4-moe", 1e-8)
FIXTURE(mistral3, "mistral3-dense", 1e-8)
FIXTURE(qwen2, "qwen2-dense", 1e-8)
FIXTURE(qwen3, "qwen3-dense", 1e-8)
FIXTURE(qwen3moe, "qwen3moe-moe", 1e-8)
FIXTURE(gemma3, "gemma3-dense", 1e-6) /* whose reference tabulates GELU in halves */
FIXTURE(qwen35, "qwen35-dense", 1e-8)
FIXTURE(gpt_oss, "gpt-oss-moe", 1e-8)

/* ---- against the plain computation ---- */

#define SHAPE .layers = 5, .width = 64, .heads = 4, .kv = 2, .dim = 32, .ff = 96
#define U(name, v)                                                                                 \
    {                                                                                              \
        name, 'u', v, NULL                                                                         \
    }
#define F(name, v)                                                                                 \
    {                                                                                              \
        name, 'f', v, NULL                                                                         \
    }
#define YARN                                                                                       \
    {"rope.scaling.type", 's', 0, "yarn"}, F("rope.scaling.factor", 4),                            \
        U("rope.scaling.original_context_length", 64)

static const struct plain plains[] = {
    {.family = "llama", SHAPE, .window = 20, .keys = {U("attention.sliding_window", 20)}},
    {.family = "llama",
     SHAPE,
     .flags = P_NORM_SHARES | P_QKV_BIAS | P_OUT_BIAS,
     .experts = 8,
     .used = 2,
     .ff_expert = 96},
    {.family = "mistral3",
     SHAPE,
     .flags = P_TEMPER_ALL | P_TIED,
     .factor = 4,
     .yarn_ctx = 64,
     .temp = 0.1,
     .temp_floor = 64,
     .keys = {YARN, F("attention.temperature_scale", 0.1)}},
    {.family = "llama4",
     SHAPE,
     .window = 8192,
     .flags = P_L2 | P_SHARE_FIRST | P_CHUNK,
     .period = 4,
     .nope = 4,
     .temp = 0.1,
     .temp_floor = 8192,
     .temp_offset = 1,
     .experts = 6,
     .used = 2,
     .ff_expert = 48,
     .ff_shared = 48,
     .moe_step = 2,
     .gate = P_SIGMOID,
     .keys = {U("interleave_moe_layer_step", 2), U("expert_feed_forward_length", 48)}},
    {.family = "qwen2", SHAPE, .flags = P_NEOX | P_QKV_BIAS | P_TIED},
    {.family = "qwen2moe",
     SHAPE,
     .flags = P_NEOX | P_QKV_BIAS | P_SHARED_GATE,
     .experts = 8,
     .used = 3,
     .ff_expert = 40,
     .ff_shared = 56,
     .keys = {U("expert_feed_forward_length", 40), U("expert_shared_feed_forward_length", 56)}},
    {.family = "qwen3", SHAPE, .flags = P_NEOX | P_QK_NORM},
    {.family = "qwen3moe",
     SHAPE,
     .flags = P_NEOX | P_QK_NORM | P_NORM_SHARES,
     .experts = 32,
     .used = 4,
     .ff_expert = 32,
     .keys = {U("expert_feed_forward_length", 32)}},
    {.family = "gemma", SHAPE, .flags = P_NEOX | P_TIED, .act = P_GELU, .embed = 8},
    {.family = "gemma2",
     SHAPE,
     .flags = P_NEOX | P_TIED | P_POST_NORMS,
     .act = P_GELU,
     .embed = 8,
     .window = 24,
     .period = 2,
     .softcap = 5,
     .logit_cap = 3,
     .keys = {U("attention.sliding_window", 24), F("attn_logit_softcapping", 5),
              F("final_logit_softcapping", 3)}},
    {.family = "gemma2",
     SHAPE,
     .flags = P_NEOX | P_TIED | P_POST_NORMS,
     .act = P_GELU,
     .embed = 8,
     .softcap = 50,
     .logit_cap = 30},
    {.family = "gemma3",
     SHAPE,
     .flags = P_NEOX | P_TIED | P_POST_NORMS | P_QK_NORM,
     .act = P_GELU,
     .embed = 8,
     .window = 40,
     .period = 3,
     .base = 1e6,
     .factor = 8,
     .window_base = 10000,
     .window_factor = 1,
     .keys = {U("attention.sliding_window", 40), U("attention.sliding_window_pattern", 3),
              F("rope.scaling.factor", 8)}},
    {.family = "phi3",
     SHAPE,
     .flags = P_NEOX | P_FUSED,
     .rope = 24,
     .magnitude = 1.19,
     .keys = {F("rope.scaling.attn_factor", 1.19), U("attention.sliding_window", 16),
              U("rope.scaling.original_context_length", 100)}},
    {.family = "gpt-oss",
     SHAPE,
     .flags = P_NEOX | P_QKV_BIAS | P_OUT_BIAS | P_SINKS | P_EXPERT_BIAS | P_FFN_NORM_POST,
     .act = P_OAI,
     .gate = P_CHOSEN,
     .experts = 8,
     .used = 4,
     .ff_expert = 64,
     .window = 32,
     .period = 2,
     .factor = 4,
     .yarn_ctx = 64,
     .keys = {YARN, U("attention.sliding_window", 32), U("expert_feed_forward_length", 64)}},
    {.family = "smollm3", SHAPE, .flags = P_TIED, .nope = 4},
    {.family = "granite",
     SHAPE,
     .flags = P_TIED,
     .attn_scale = 0.015625,
     .residual = 0.22,
     .embed = 12,
     .logit_mul = 0.125,
     .keys = {F("logit_scale", 8), F("residual_scale", 0.22), F("embedding_scale", 12),
              F("attention.scale", 0.015625)}},
    {.family = "granite",
     SHAPE,
     .nope = 1,
     .keys = {F("logit_scale", 1), {"rope.scaling.finetuned", 'b', 0, NULL}}},
    {.family = "granitemoe",
     SHAPE,
     .flags = P_NORM_SHARES,
     .experts = 8,
     .used = 3,
     .ff_expert = 96,
     .ff_shared = 32,
     .residual = 0.5,
     .logit_mul = 0.25,
     .keys = {F("logit_scale", 4), F("residual_scale", 0.5),
              U("expert_shared_feed_forward_length", 32)}},
};
#define PLAINS (sizeof plains / sizeof *plains)

static struct model *open_plain(struct plain *p)
{
    char path[256];
    assert_int_equal(plain_write(p, tiny_path("family", path), NULL), 0);
    struct model *m = open_model(path);
    unlink(path);
    return m;
}

static void families_equal_the_plain_computation(void **state)
{
    enum { N = 150 };
    int32_t tokens[N];
    fill_tokens(tokens, N, PLAIN_VOCAB, 21);
    for (size_t i = 0; i < PLAINS; i++) {
        struct plain p = plains[i];
        struct model *m = open_plain(&p);
        float *want = plain_logits(&p, tokens, N);
        float *got = all_logits(m, 2, MODEL_CACHE_F32, tokens, N, N);
        double e = nmse(got, want, N * PLAIN_VOCAB);
        printf("%s %zu: NMSE %.3g\n", p.family, i, e);
        assert_true(e <= 1e-10);
        free(want);
        free(got);
        model_free(m);
        plain_done(&p);
    }
}

/* ---- the same bits ---- */

static void same_bits(struct model *m, const char *name, enum model_cache cache)
{
    enum { N = 90 };
    static const struct {
        size_t slice;
        int threads;
    } cuts[] = {{2, 1}, {7, 2}, {16, 3}, {17, 2}, {33, 1}, {64, 3}, {N, 2}};
    int32_t tokens[N];
    fill_tokens(tokens, N, PLAIN_VOCAB, 22);
    float *want = all_logits(m, 1, cache, tokens, N, 1);
    assert_true(isfinite(want[0]) && want[0] != want[1]);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        float *got = all_logits(m, cuts[i].threads, cache, tokens, N, cuts[i].slice);
        if (memcmp(got, want, N * PLAIN_VOCAB * sizeof *got) != 0)
            fail_msg("%s: other bits in slices of %zu on %d threads", name, cuts[i].slice,
                     cuts[i].threads);
        free(got);
    }
    free(want);
}

static void bits_do_not_depend_on_slices_or_threads(void **state)
{
    static const struct {
        uint32_t type;
        enum model_cache cache;
    } ways[] = {{GGUF_DT_F32, MODEL_CACHE_F32},
                {GGUF_DT_Q8_0, MODEL_CACHE_F16},
                {GGUF_DT_Q4_1, MODEL_CACHE_Q8_0},
                {GGUF_DT_MXFP4, MODEL_CACHE_F16}};
    for (size_t i = 0; i < PLAINS; i++)
        for (size_t t = 0; t < sizeof ways / sizeof *ways; t++) {
            struct plain p = plains[i];
            bool blocks = p.ff_expert % 32 == 0 && p.ff_shared % 32 == 0;
            if (ways[t].type == GGUF_DT_MXFP4 && p.experts == 0)
                continue;
            p.type = blocks ? ways[t].type : GGUF_DT_F32;
            struct model *m = open_plain(&p);
            same_bits(m, p.family, ways[t].cache);
            model_free(m);
            plain_done(&p);
        }
}

/* The exact path takes the same steps, also with experts. */
static void exact_path_is_near_the_quantised_one(void **state)
{
    enum { N = 40 };
    int32_t tokens[N];
    fill_tokens(tokens, N, PLAIN_VOCAB, 23);
    for (size_t i = 0; i < PLAINS; i++) {
        struct plain p = plains[i];
        p.type = GGUF_DT_Q8_0;
        if (p.experts == 0 || p.ff_expert % 32 != 0 || p.ff_shared % 32 != 0)
            continue;
        struct model *m = open_plain(&p);
        float *quick = all_logits(m, 2, MODEL_CACHE_F32, tokens, N, N);
        model_set_exact(m, true);
        float *exact = all_logits(m, 2, MODEL_CACHE_F32, tokens, N, N);
        float *again = all_logits(m, 1, MODEL_CACHE_F32, tokens, N, 3);
        assert_memory_equal(exact, again, N * PLAIN_VOCAB * sizeof *exact);
        double e = nmse(quick, exact, N * PLAIN_VOCAB);
        printf("%s: quantised against exact: NMSE %.3g\n", p.family, e);
        assert_true(e > 0 && e < 0.1);
        free(quick);
        free(exact);
        free(again);
        model_free(m);
        plain_done(&p);
    }
}

/* Sequences of different lengths that step together have the bits they have alone. */
static void bits_do_not_depend_on_the_batch(void **state)
{
    enum { SEQS = 5, N = 45 };
    for (size_t f = 0; f < PLAINS; f++) {
        struct plain p = plains[f];
        struct model *m = open_plain(&p);
        struct rig g = rig_new(m, 2, MODEL_CACHE_F16, SEQS * 2, 32);
        struct model_seq *s[SEQS];
        int32_t tokens[SEQS][N];
        float *want[SEQS];
        struct err e = {0};
        for (int i = 0; i < SEQS; i++) {
            fill_tokens(tokens[i], N, PLAIN_VOCAB, 200 + (uint32_t)i);
            want[i] = all_logits(m, 1, MODEL_CACHE_F16, tokens[i], N, 1);
            s[i] = seq_new(&g, N);
            assert_int_equal(model_seq_reserve(s[i], N, &e), 0);
        }
        for (int at = 0; at < N;) { /* each gives one to four tokens a step */
            struct model_item items[32];
            const float *l = NULL;
            int each = 1 + at % 4, n = 0;
            each = each < N - at ? each : N - at;
            for (int i = 0; i < SEQS; i++)
                for (int j = 0; j < each; j++)
                    items[n++] = (struct model_item){s[i], tokens[i][at + j], true};
            assert_int_equal(model_forward(g.run, items, (size_t)n, NULL, &l, &e), 0);
            for (int k = 0; k < n; k++) {
                int pos = at + k % each;
                assert_memory_equal(l + k * PLAIN_VOCAB, want[k / each] + (size_t)pos * PLAIN_VOCAB,
                                    PLAIN_VOCAB * 4);
            }
            at += each;
        }
        for (int i = 0; i < SEQS; i++) {
            model_seq_free(s[i]);
            free(want[i]);
        }
        rig_done(&g);
        model_free(m);
        plain_done(&p);
    }
}

/* ---- files that are not what their family is ---- */

static void refuse_plain(struct plain p, const char *stranger, const char *part)
{
    char path[256];
    struct model *m = NULL;
    struct err e = {0};
    assert_int_equal(plain_write(&p, tiny_path("bad", path), stranger), 0);
    int rc = model_open_path(path, &m, &e);
    unlink(path);
    plain_done(&p);
    if (rc == 0 || !strstr(e.msg, part))
        fail_msg("wanted an error with \"%s\", got %d \"%s\"", part, rc, rc ? e.msg : "");
}

static struct plain plain_of(const char *family)
{
    for (size_t i = 0; i < PLAINS; i++)
        if (strcmp(plains[i].family, family) == 0)
            return plains[i];
    fail_msg("no row for %s", family);
    return plains[0];
}

static void strangers_are_named(void **state)
{
    for (size_t i = 0; i < PLAINS; i++) {
        refuse_plain(plains[i], "blk.1.attn_riddle.weight", "blk.1.attn_riddle.weight");
        refuse_plain(plains[i], "blk.7.attn_norm.weight", "blk.7.attn_norm.weight");
    }
    refuse_plain(plain_of("qwen2"), "rope_freqs.weight", "rope_freqs.weight");
    refuse_plain(plain_of("qwen3"), "blk.0.ffn_up.bias", "blk.0.ffn_up.bias");
    refuse_plain(plain_of("gemma2"), "output.weight", "output.weight");
    struct plain p = plain_of("llama");
    p.family = "orca9";
    refuse_plain(p, NULL, "orca9");
    refuse_plain(p, NULL, "provider");
}

static void missing_keys_are_named(void **state)
{
    struct plain p = plain_of("granite");
    p.keys[0].name = "other";
    refuse_plain(p, NULL, "granite.logit_scale");
    p = plain_of("gpt-oss");
    p.keys[3].name = "other";
    refuse_plain(p, NULL, "gpt-oss.attention.sliding_window");
    p = plain_of("llama4");
    p.keys[0].name = "other";
    refuse_plain(p, NULL, "llama4.interleave_moe_layer_step");
    p = plain_of("qwen3moe");
    p.experts = p.used = 0;
    refuse_plain(p, NULL, "qwen3moe.expert_count");
    p = plain_of("qwen3moe");
    p.used = 33;
    refuse_plain(p, NULL, "qwen3moe.expert_used_count");
    p = plain_of("gemma3");
    p.keys[3] = (struct plain_key)U("attention.key_length_swa", 16);
    refuse_plain(p, NULL, "gemma3.attention.key_length_swa");
    p = plain_of("qwen2");
    p.keys[0] = (struct plain_key)U("expert_count", 4);
    refuse_plain(p, NULL, "qwen2.");
}

/* A token reads its own experts, one row of an embedding that is not the output too. */
static void active_bytes_leave_idle_experts_out(void **state)
{
    struct plain p = plain_of("qwen3moe");
    struct model *m = open_plain(&p);
    uint64_t idle = (uint64_t)p.layers * 3 * (uint64_t)(p.experts - p.used) * 32 * 64 * 4;
    uint64_t rows = (PLAIN_VOCAB - 1) * 64 * 4;
    assert_int_equal(model_active_bytes(m), model_weight_bytes(m) - idle - rows);
    model_free(m);
    plain_done(&p);
    p = plain_of("qwen2");
    m = open_plain(&p);
    assert_int_equal(model_active_bytes(m), model_weight_bytes(m));
    model_free(m);
    plain_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),
        cmocka_unit_test(llama_moe),
        cmocka_unit_test(llama4),
        cmocka_unit_test(mistral3),
        cmocka_unit_test(qwen2),
        cmocka_unit_test(qwen3),
        cmocka_unit_test(qwen3moe),
        cmocka_unit_test(gemma3),
        cmocka_unit_test(qwen35),
        cmocka_unit_test(gpt_oss),
        cmocka_unit_test(families_equal_the_plain_computation),
        cmocka_unit_test(bits_do_not_depend_on_slices_or_threads),
        cmocka_unit_test(exact_path_is_near_the_quantised_one),
        cmocka_unit_test(bits_do_not_depend_on_the_batch),
        cmocka_unit_test(strangers_are_named),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(active_bytes_leave_idle_experts_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
