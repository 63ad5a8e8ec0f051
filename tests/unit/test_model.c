/* test_model.c: the forward pass against a reference engine's numbers, its bits against itself
 * however the work is cut, pages that are shared, and files that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model.h"
#include "model_rig.h"

#include <stdatomic.h>
#include <sys/resource.h>

/* ---- against the reference ---- */

static void llama_dense_equals_the_reference(void **state)
{
    assert_true(nmse_of_fixture("models/families/llama-dense.gguf",
                                "models/families/llama-dense.logits", false) <= 1e-8);
}

/* The reference rounds activations too, by the rule that kern.h has: what is left are roundings
 * that fall the other way. The float path knows none, and is off by all of the rounding's noise.
 * The bounds are derived in docs/models.md. */
#define ROUNDING_NOISE 1e-3

static void quantised_files_are_near_the_reference(void **state)
{
    static const struct {
        const char *type;
        double bound;
    } files[] = {
        {"F16", 1e-6},  {"BF16", 1e-5},   {"Q4_0", 1e-5},   {"Q4_1", 1e-5},   {"Q5_0", 1e-5},
        {"Q5_1", 1e-5}, {"Q8_0", 1e-5},   {"Q2_K", 1e-5},   {"Q3_K_M", 1e-5}, {"Q4_K_M", 1e-5},
        {"Q6_K", 1e-5}, {"Q5_K_M", 1e-5}, {"IQ4_NL", 1e-5}, {"IQ4_XS", 1e-5},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char file[128], logits[128];
        snprintf(file, sizeof file, "models/quants/llama-dense.%s.gguf", files[i].type);
        snprintf(logits, sizeof logits, "models/quants/llama-dense.%s.logits", files[i].type);
        double error = nmse_of_fixture(file, logits, false);
        if (error > files[i].bound)
            fail_msg("%s: %g", files[i].type, error);
        error = nmse_of_fixture(file, logits, true);
        if (error > ROUNDING_NOISE)
            fail_msg("%s, exact: %g", files[i].type, error);
    }
}

/* ---- the same bits ---- */

static const uint32_t all_types[] = {GGUF_DT_F32, GGUF_DT_F16, GGUF_DT_Q8_0, GGUF_DT_Q4_1};

static void bits_do_not_depend_on_slices_or_threads(void **state)
{
    enum { N = 150 };
    static const size_t slices[] = {1, 2, 7, 16, 17, 33, 64, 150};
    int32_t tokens[N];
    fill_tokens(tokens, N, TINY_VOCAB, 5);
    for (size_t t = 0; t < sizeof all_types / sizeof *all_types; t++) {
        struct tiny tiny = tiny_default();
        tiny.type = all_types[t];
        tiny.head_dim = 32; /* whole blocks of the packed caches */
        struct model *m = open_tiny(&tiny);
        for (int c = 0; c < MODEL_CACHES; c++) {
            enum model_cache cache = (enum model_cache)c;
            float *want = all_logits(m, 1, cache, tokens, N, 1);
            assert_true(isfinite(want[0]) && want[0] != want[1]);
            for (size_t i = 0; i < sizeof slices / sizeof *slices; i++)
                for (int threads = 1; threads <= 3; threads++) {
                    float *got = all_logits(m, threads, cache, tokens, N, slices[i]);
                    assert_memory_equal(got, want, N * TINY_VOCAB * sizeof *got);
                    free(got);
                }
            free(want);
        }
        model_free(m);
    }
}

static void exact_path_is_near_the_quantised_one(void **state)
{
    enum { N = 40 };
    int32_t tokens[N];
    fill_tokens(tokens, N, TINY_VOCAB, 6);
    struct tiny tiny = tiny_default();
    tiny.type = GGUF_DT_Q8_0;
    struct model *m = open_tiny(&tiny);
    assert_false(model_is_f32(m));
    float *quick = all_logits(m, 2, MODEL_CACHE_F32, tokens, N, 40);
    model_set_exact(m, true);
    float *exact = all_logits(m, 2, MODEL_CACHE_F32, tokens, N, 40);
    float *again = all_logits(m, 1, MODEL_CACHE_F32, tokens, N, 3);
    assert_memory_equal(exact, again, N * TINY_VOCAB * sizeof *exact);
    double e = nmse(quick, exact, N * TINY_VOCAB);
    assert_true(e > 0 && e < 1e-3);
    free(quick);
    free(exact);
    free(again);
    model_free(m);
}

/* Eight sequences of different lengths step together; each has the bits it has alone. */
static void bits_do_not_depend_on_the_batch(void **state)
{
    enum { SEQS = 8, N = 90 };
    struct tiny tiny = tiny_default();
    tiny.type = GGUF_DT_Q4_1;
    struct model *m = open_tiny(&tiny);
    int32_t tokens[SEQS][N];
    float *want[SEQS];
    struct rig g = rig_new(m, 2, MODEL_CACHE_F16, SEQS * 2, 64);
    struct model_seq *s[SEQS];
    struct err e = {0};
    for (int i = 0; i < SEQS; i++) {
        fill_tokens(tokens[i], N, TINY_VOCAB, 100 + (uint32_t)i);
        want[i] = all_logits(m, 1, MODEL_CACHE_F16, tokens[i], N, 1);
        s[i] = seq_new(&g, N);
        assert_int_equal(model_seq_reserve(s[i], N, &e), 0);
    }
    /* Sequence i gives (i % 3) + 1 tokens a step. */
    for (bool more = true; more;) {
        struct model_item items[64];
        size_t n = 0;
        const float *l = NULL;
        for (int i = 0; i < SEQS; i++)
            for (int j = 0, at = model_seq_len(s[i]); j <= i % 3 && at < N; j++, at++)
                items[n++] = (struct model_item){s[i], tokens[i][at], true};
        more = n > 0;
        if (!more)
            break;
        assert_int_equal(model_forward(g.run, items, n, NULL, &l, &e), 0);
        for (size_t k = n; k-- > 0;) {
            int i = 0;
            while (s[i] != items[k].seq)
                i++;
            size_t back = 0;
            for (size_t j = k + 1; j < n && items[j].seq == s[i]; j++)
                back++;
            size_t at = (size_t)model_seq_len(s[i]) - 1 - back;
            assert_memory_equal(l + k * TINY_VOCAB, want[i] + at * TINY_VOCAB, TINY_VOCAB * 4);
        }
    }
    for (int i = 0; i < SEQS; i++) {
        model_seq_free(s[i]);
        free(want[i]);
    }
    assert_int_equal(model_kv_pages_free(g.kv), SEQS * 2);
    rig_done(&g);
    model_free(m);
}

/* ---- pages ---- */

static void feed(struct rig *g, struct model_seq *s, const int32_t *t, size_t n, float *last)
{
    struct model_item items[256];
    const float *l = NULL;
    struct err e = {0};
    for (size_t i = 0; i < n; i++)
        items[i] = (struct model_item){s, t[i], i + 1 == n};
    assert_int_equal(model_seq_reserve(s, model_seq_len(s) + (int32_t)n, &e), 0);
    assert_int_equal(model_forward(g->run, items, n, NULL, &l, &e), 0);
    memcpy(last, l, TINY_VOCAB * sizeof *last);
}

static void shared_prefixes_stay_apart(void **state)
{
    struct tiny tiny = tiny_default();
    struct model *m = open_tiny(&tiny);
    struct rig g = rig_new(m, 1, MODEL_CACHE_F16, 16, 256);
    int32_t t[200], u[200];
    float la[TINY_VOCAB], lb[TINY_VOCAB], lc[TINY_VOCAB];
    struct err e = {0};
    fill_tokens(t, 200, TINY_VOCAB, 7);
    memcpy(u, t, sizeof u);
    fill_tokens(u + 100, 100, TINY_VOCAB, 8);
    float *want_t = all_logits(m, 1, MODEL_CACHE_F16, t, 200, 200);
    float *want_u = all_logits(m, 1, MODEL_CACHE_F16, u, 200, 200);

    struct model_seq *a = seq_new(&g, 200), *b = seq_new(&g, 200), *c = seq_new(&g, 200);
    feed(&g, a, t, 150, la);
    int before = model_kv_pages_free(g.kv);
    int32_t reached;
    assert_int_equal(model_seq_share(b, a, 100, &reached, &e), 0);
    assert_int_equal(model_kv_pages_free(g.kv), before - 1); /* one whole shared, one copied */
    assert_int_equal(model_seq_share(c, a, 128, &reached, &e), 0);
    assert_int_equal(model_kv_pages_free(g.kv), before - 1);
    feed(&g, b, u + 100, 100, lb);
    assert_memory_equal(lb, want_u + 199 * TINY_VOCAB, sizeof lb);
    /* a is cut into a page it shares with c and goes another way: c must not notice. */
    model_seq_cut(a, 100);
    feed(&g, a, u + 100, 100, la);
    assert_memory_equal(la, want_u + 199 * TINY_VOCAB, sizeof la);
    feed(&g, c, t + 128, 72, lc);
    assert_memory_equal(lc, want_t + 199 * TINY_VOCAB, sizeof lc);
    model_seq_free(a);
    model_seq_free(b);
    model_seq_free(c);
    assert_int_equal(model_kv_pages_free(g.kv), 16);
    free(want_t);
    free(want_u);
    rig_done(&g);
    model_free(m);
}

static void full_pools_and_wrong_calls_are_errors(void **state)
{
    struct tiny tiny = tiny_default();
    struct model *m = open_tiny(&tiny);
    struct rig g = rig_new(m, 1, MODEL_CACHE_F16, 2, 8);
    struct model_seq *a = seq_new(&g, 300), *b = seq_new(&g, 300);
    struct err e = {0};
    const float *l = NULL;
    assert_int_equal(model_seq_reserve(a, 301, &e), ERR_CONTEXT);
    assert_int_equal(model_seq_reserve(a, 129, &e), ERR_NOMEM);
    assert_int_equal(model_seq_reserve(a, 128, &e), 0);
    assert_int_equal(model_seq_reserve(b, 1, &e), ERR_NOMEM);
    struct model_item lone = {b, 5, true};
    assert_int_equal(model_forward(g.run, &lone, 1, NULL, &l, &e), ERR_INVAL);
    struct model_item outside[] = {{a, 1, false}, {a, TINY_VOCAB, true}};
    assert_int_equal(model_forward(g.run, outside, 2, NULL, &l, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "vocabulary"));
    outside[1].token = -1;
    assert_int_equal(model_forward(g.run, outside, 2, NULL, &l, &e), ERR_INVAL);
    model_seq_cut(a, 0);
    assert_int_equal(model_seq_reserve(a, 64, &e), 0);
    assert_int_equal(model_seq_reserve(b, 64, &e), 0);
    struct model_item apart[] = {{a, 1, false}, {b, 1, false}, {a, 2, false}};
    assert_int_equal(model_forward(g.run, apart, 3, NULL, &l, &e), ERR_INVAL);
    assert_int_equal(model_forward(g.run, apart, 0, NULL, &l, &e), ERR_INVAL);
    assert_int_equal(model_forward(g.run, apart, 9, NULL, &l, &e), ERR_INVAL);
    assert_int_equal(model_seq_len(a), 0);
    assert_int_equal(model_forward(g.run, apart, 2, NULL, &l, &e), 0);
    assert_int_equal(model_seq_len(a) + model_seq_len(b), 2);
    model_seq_free(a);
    model_seq_free(b);
    rig_done(&g);
    model_free(m);
}

static void cancelled_passes_advance_nothing(void **state)
{
    struct tiny tiny = tiny_default();
    struct model *m = open_tiny(&tiny);
    for (int threads = 1; threads <= 2; threads++) {
        struct rig g = rig_new(m, threads, MODEL_CACHE_F16, 2, 8);
        struct model_seq *a = seq_new(&g, 100);
        struct err e = {0};
        const float *l = NULL;
        atomic_bool cancel = true;
        struct model_item item = {a, 5, true};
        assert_int_equal(model_seq_reserve(a, 1, &e), 0);
        assert_int_equal(model_forward(g.run, &item, 1, &cancel, &l, &e), ERR_CANCELLED);
        assert_int_equal(model_seq_len(a), 0);
        atomic_store(&cancel, false);
        assert_int_equal(model_forward(g.run, &item, 1, &cancel, &l, &e), 0);
        assert_int_equal(model_seq_len(a), 1);
        model_seq_free(a);
        rig_done(&g);
    }
    model_free(m);
}

/* ---- files that lie ---- */

/* Opening must fail, and the message name `part`. */
static void refuse(const struct tiny *t, int code, const char *part)
{
    char path[256];
    struct model *m = NULL;
    struct err e = {0};
    assert_int_equal(tiny_write(t, tiny_path("bad", path)), 0);
    int rc = model_open_path(path, &m, &e);
    unlink(path);
    if (rc == 0 || !strstr(e.msg, part))
        fail_msg("wanted an error with \"%s\", got %d \"%s\"", part, rc, rc ? e.msg : "");
    if (code)
        assert_int_equal(rc, code);
}

static void bad_keys_are_named(void **state)
{
    static const struct {
        const char *key;
        enum tiny_bend bend;
        uint32_t u;
        float f;
        const char *s;
        int code;
    } bad[] = {
        {"general.architecture", TINY_STR, 0, 0, "mamba9", ERR_UNSUPPORTED},
        {"general.architecture", TINY_ABSENT, 0, 0, NULL, 0},
        {"llama.block_count", TINY_U32, 0, 0, NULL, 0},
        {"llama.block_count", TINY_U32, 1000, 0, NULL, 0},
        {"llama.block_count", TINY_U32, UINT32_MAX, 0, NULL, 0},
        {"llama.embedding_length", TINY_U32, 0, 0, NULL, 0},
        {"llama.embedding_length", TINY_U32, UINT32_MAX, 0, NULL, 0},
        {"llama.feed_forward_length", TINY_U32, 0, 0, NULL, 0},
        {"llama.feed_forward_length", TINY_U32, UINT32_MAX, 0, NULL, 0},
        {"llama.feed_forward_length", TINY_STR, 0, 0, "many", 0},
        {"llama.context_length", TINY_U32, 0, 0, NULL, 0},
        {"llama.context_length", TINY_U32, UINT32_MAX, 0, NULL, 0},
        {"llama.attention.head_count", TINY_U32, 0, 0, NULL, 0},
        {"llama.attention.head_count", TINY_U32, UINT32_MAX, 0, NULL, 0},
        {"llama.attention.head_count_kv", TINY_U32, 0, 0, NULL, 0},
        {"llama.attention.head_count_kv", TINY_U32, 3, 0, NULL, 0},
        {"llama.attention.key_length", TINY_U32, 12, 0, NULL, 0},
        {"llama.attention.key_length", TINY_U32, 1u << 31, 0, NULL, 0},
        {"llama.attention.key_length", TINY_U32, 0, 0, NULL, 0},
        {"llama.attention.value_length", TINY_U32, 8, 0, NULL, 0},
        {"llama.rope.dimension_count", TINY_U32, 18, 0, NULL, 0},
        {"llama.rope.dimension_count", TINY_U32, 7, 0, NULL, 0},
        {"llama.rope.dimension_count", TINY_U32, 0, 0, NULL, 0},
        {"llama.rope.freq_base", TINY_F32, 0, 0, NULL, 0},
        {"llama.rope.freq_base", TINY_F32, 0, NAN, NULL, 0},
        {"llama.rope.freq_base", TINY_F32, 0, INFINITY, NULL, 0},
        {"llama.rope.scaling.type", TINY_STR, 0, 0, "spiral", ERR_UNSUPPORTED},
        {"llama.rope.scaling.factor", TINY_F32, 0, NAN, NULL, 0},
        {"llama.attention.layer_norm_rms_epsilon", TINY_F32, 0, NAN, NULL, 0},
        {"llama.attention.layer_norm_rms_epsilon", TINY_F32, 0, -1, NULL, 0},
        {"llama.attention.layer_norm_rms_epsilon", TINY_ABSENT, 0, 0, NULL, 0},
        {"llama.expert_count", TINY_U32, 1u << 20, 0, NULL, 0},
        {"llama.expert_group_count", TINY_U32, 4, 0, NULL, ERR_UNSUPPORTED},
        {"llama.attention.causal", TINY_BOOL, 0, 0, NULL, ERR_UNSUPPORTED},
        {"llama.vocab_size", TINY_U32, 7, 0, NULL, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tiny t = tiny_default();
        t.bend_key = bad[i].key;
        t.bend = bad[i].bend;
        t.bend_u = bad[i].u;
        t.bend_f = bad[i].f;
        t.bend_s = bad[i].s;
        refuse(&t, bad[i].code, bad[i].key);
    }
}

static void bad_tensors_are_named(void **state)
{
    static const char *const names[] = {
        "token_embd.weight",        "output_norm.weight",    "blk.0.attn_norm.weight",
        "blk.1.attn_q.weight",      "blk.0.attn_k.weight",   "blk.0.attn_v.weight",
        "blk.1.attn_output.weight", "blk.1.ffn_norm.weight", "blk.0.ffn_gate.weight",
        "blk.1.ffn_up.weight",      "blk.1.ffn_down.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct tiny t = tiny_default();
        t.drop_tensor = names[i];
        refuse(&t, ERR_FORMAT, names[i]);
        t = tiny_default();
        t.shape_tensor = names[i];
        t.shape_row = 32;
        refuse(&t, ERR_FORMAT, names[i]);
    }
    struct tiny t = tiny_default();
    t.retype_tensor = "blk.0.ffn_up.weight";
    t.retype = GGUF_DT_I16;
    refuse(&t, ERR_UNSUPPORTED, "blk.0.ffn_up.weight");
    t.retype_tensor = "output_norm.weight";
    refuse(&t, ERR_UNSUPPORTED, "output_norm.weight");
}

static void tied_and_odd_shapes_work(void **state)
{
    static const struct {
        uint32_t width, heads, kv_heads, head_dim, ff;
    } shapes[] = {{40, 5, 1, 8, 100}, {24, 3, 3, 24, 172}, {64, 6, 2, 40, 52}, {8, 1, 1, 8, 1}};
    int32_t tokens[20];
    fill_tokens(tokens, 20, TINY_VOCAB, 9);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct tiny t = tiny_default();
        t.tied = true;
        t.width = shapes[i].width;
        t.heads = shapes[i].heads;
        t.kv_heads = shapes[i].kv_heads;
        t.head_dim = shapes[i].head_dim;
        t.ff = shapes[i].ff;
        struct model *m = open_tiny(&t);
        assert_true(model_traits(m)->tied && model_is_f32(m));
        float *one = all_logits(m, 1, MODEL_CACHE_F16, tokens, 20, 1);
        float *two = all_logits(m, 2, MODEL_CACHE_F16, tokens, 20, 20);
        assert_memory_equal(one, two, 20 * TINY_VOCAB * sizeof *one);
        assert_true(isfinite(one[0]));
        free(one);
        free(two);
        model_free(m);
    }
}

/* A context of millions costs nothing until it is used. */
static void large_contexts_cost_no_memory(void **state)
{
    struct tiny t = tiny_default();
    t.ctx = 1 << 24;
    struct model *m = open_tiny(&t);
    struct rusage a, b;
    getrusage(RUSAGE_SELF, &a);
    struct rig g = rig_new(m, 2, MODEL_CACHE_F16, (1 << 24) / 64, 512);
    struct model_seq *s = seq_new(&g, 1 << 24);
    float last[TINY_VOCAB];
    int32_t tokens[100];
    fill_tokens(tokens, 100, TINY_VOCAB, 10);
    feed(&g, s, tokens, 100, last);
    getrusage(RUSAGE_SELF, &b);
    model_seq_free(s);
    rig_done(&g);
    model_free(m);
    assert_true(b.ru_maxrss - a.ru_maxrss < 16 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_dense_equals_the_reference),
        cmocka_unit_test(quantised_files_are_near_the_reference),
        cmocka_unit_test(bits_do_not_depend_on_slices_or_threads),
        cmocka_unit_test(exact_path_is_near_the_quantised_one),
        cmocka_unit_test(bits_do_not_depend_on_the_batch),
        cmocka_unit_test(shared_prefixes_stay_apart),
        cmocka_unit_test(full_pools_and_wrong_calls_are_errors),
        cmocka_unit_test(cancelled_passes_advance_nothing),
        cmocka_unit_test(bad_keys_are_named),
        cmocka_unit_test(bad_tensors_are_named),
        cmocka_unit_test(tied_and_odd_shapes_work),
        cmocka_unit_test(large_contexts_cost_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
