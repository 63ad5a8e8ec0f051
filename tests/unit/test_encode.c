/* test_encode.c: encoders against a plain computation of the same files, and against themselves:
 * alone, in batches, at any number of threads. Decoders' hidden states against their logits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model.h"
#include "model_rig.h"
#include "tiny_encoder.h"

static struct model *open_encoder(struct tiny_encoder *m)
{
    char path[256];
    assert_int_equal(tiny_encoder_write(m, tiny_path("encoder", path)), 0);
    struct model *model = open_model(path);
    unlink(path);
    return model;
}

/* A text's pooled row, encoded together with others: they are [before, text, after]. */
struct encoding {
    const struct model *m;
    int threads;
    enum model_pooling pooling;
};

static void encode_texts(const struct encoding *c, const struct model_text *texts, size_t n,
                         float *out)
{
    size_t width = (size_t)model_traits(c->m)->width, tokens = 0, stride, at = 0;
    struct pool *pool;
    struct model_run *run;
    struct err e = {0};
    const float *rows;
    double *sum = calloc(width, sizeof *sum);
    for (size_t i = 0; i < n; i++)
        tokens += texts[i].n;
    assert_int_equal(pool_new(c->threads, &pool, &e), 0);
    assert_int_equal(model_run_new(c->m, pool, (int)tokens, (int)n, &run, &e), 0);
    if (model_encode(run, texts, n, NULL, &rows, &stride, &e) != 0)
        fail_msg("%s", e.msg);
    for (size_t i = 0; i < n; i++) {
        model_pool(c->pooling, true, rows + at * stride, stride, texts[i].n, width, sum);
        model_pool_end(c->pooling, sum, texts[i].n, width, out + i * width);
        at += texts[i].n;
    }
    free(sum);
    model_run_free(run);
    pool_free(pool);
}

/* ---- against the plain computation ---- */

static void check_plain(struct tiny_encoder t, int n)
{
    int32_t tokens[256];
    float mine[1024], want[1024];
    struct model *m = open_encoder(&t);
    fill_tokens(tokens, (size_t)n, TINY_ENCODER_VOCAB, (uint32_t)n);
    double *rows = tiny_encoder_rows(&t, tokens, n);
    struct model_text text = {tokens, (size_t)n};
    for (int p = 1; p <= 3; p++) {
        struct encoding c = {m, 2, (enum model_pooling)p};
        encode_texts(&c, &text, 1, mine);
        tiny_encoder_pool(&t, p, rows, n, want);
        double far = nmse(mine, want, (size_t)t.width);
        printf("%s, %d tokens, pooling %d: NMSE %.3g\n", t.family, n, p, far);
        assert_true(far < 1e-10);
    }
    free(rows);
    model_free(m);
    tiny_encoder_done(&t);
}

static void bert_is_what_it_says(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("bert");
    check_plain(t, 1);
    check_plain(t, 5);
    check_plain(t, 63);
    check_plain(t, 64);
    check_plain(t, 150);
    t.fused = true;
    check_plain(t, 17);
    t.biases = false;
    t.no_types = true;
    check_plain(t, 70);
    t.heads = 2;
    t.layers = 1;
    check_plain(t, 200);
}

static void nomic_bert_is_what_it_says(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("nomic-bert");
    t.fused = true;
    t.biases = false;
    check_plain(t, 1);
    check_plain(t, 40);
    check_plain(t, 129);
    t.biases = true;
    check_plain(t, 9);
}

static void nomic_bert_with_experts_is_what_it_says(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("nomic-bert-moe");
    t.fused = true;
    t.experts = 8;
    t.used = 2;
    check_plain(t, 3);
    check_plain(t, 100);
}

/* ---- against itself ---- */

static void check_same_bits(const char *family, uint32_t type)
{
    static const size_t lengths[] = {7, 64, 1, 130, 20, 65, 3};
    enum { N = 7, WIDTH = 64 };
    struct tiny_encoder t = tiny_encoder_default(family);
    t.type = type;
    t.ff = 128;
    int32_t tokens[N][256];
    struct model_text texts[N];
    float alone[N][WIDTH], together[N][WIDTH];
    struct model *m = open_encoder(&t);
    for (size_t i = 0; i < N; i++) {
        fill_tokens(tokens[i], lengths[i], TINY_ENCODER_VOCAB, (uint32_t)i + 1);
        texts[i] = (struct model_text){tokens[i], lengths[i]};
        encode_texts(&(struct encoding){m, 1, MODEL_POOL_MEAN}, &texts[i], 1, alone[i]);
    }
    for (int threads = 1; threads <= 5; threads += 2) {
        encode_texts(&(struct encoding){m, threads, MODEL_POOL_MEAN}, texts, N, together[0]);
        assert_memory_equal(alone, together, sizeof alone);
        encode_texts(&(struct encoding){m, threads, MODEL_POOL_MEAN}, texts + 2, 2, together[2]);
        assert_memory_equal(alone, together, sizeof alone);
    }
    assert_true(isfinite(alone[3][0]));
    model_free(m);
    tiny_encoder_done(&t);
}

static void bits_do_not_depend_on_company(void **state)
{
    (void)state;
    check_same_bits("bert", GGUF_DT_F32);
    check_same_bits("bert", GGUF_DT_Q8_0);
    check_same_bits("nomic-bert", GGUF_DT_F16);
    check_same_bits("nomic-bert", GGUF_DT_Q4_1);
}

/* ---- decoders ---- */

/* The output matrix times a hidden row is the row of logits, and slices change nothing. */
static void hidden_rows_are_what_logits_come_from(void **state)
{
    (void)state;
    enum { N = 40 };
    struct tiny t = tiny_default();
    struct model *m = open_tiny(&t);
    const struct gguf_tensor *out = gguf_tensor_find(model_gguf(m), "output.weight");
    size_t vocab = t.vocab, width = t.width, stride;
    int32_t tokens[N];
    struct model_item items[N];
    struct err e = {0};
    float *kept = malloc(N * width * sizeof *kept);
    fill_tokens(tokens, N, (int32_t)vocab, 3);
    float *logits = all_logits(m, 2, MODEL_CACHE_F32, tokens, N, N);
    for (size_t slice = 9; slice <= N; slice += N - 9) {
        struct rig g = rig_new(m, 2, MODEL_CACHE_F32, 4, N);
        struct model_seq *s = seq_new(&g, N);
        assert_int_equal(model_seq_reserve(s, N, &e), 0);
        for (size_t at = 0; at < N; at += slice) {
            size_t n = N - at < slice ? N - at : slice;
            const float *rows;
            for (size_t i = 0; i < n; i++)
                items[i] = (struct model_item){s, tokens[at + i], false};
            assert_int_equal(model_hidden(g.run, items, n, NULL, &rows, &stride, &e), 0);
            for (size_t i = 0; i < n; i++) {
                float *to = kept + (at + i) * width;
                if (slice != 9)
                    assert_memory_equal(to, rows + i * stride, width * sizeof *to);
                memcpy(to, rows + i * stride, width * sizeof *to);
            }
        }
        model_seq_free(s);
        rig_done(&g);
    }
    float *mine = malloc(N * vocab * sizeof *mine);
    for (size_t i = 0; i < N; i++)
        for (size_t r = 0; r < vocab; r++) {
            double sum = 0;
            for (size_t d = 0; d < width; d++)
                sum +=
                    (double)((const float *)out->data)[r * width + d] * (double)kept[i * width + d];
            mine[i * vocab + r] = (float)sum;
        }
    assert_true(nmse(mine, logits, N * vocab) < 1e-10);
    free(mine);
    free(logits);
    free(kept);
    model_free(m);
}

/* ---- refusals ---- */

static void check_refused(struct tiny_encoder t, const char *drop, const char *word)
{
    char path[256];
    struct model *m = NULL;
    struct err e = {0};
    t.drop = drop;
    assert_int_equal(tiny_encoder_write(&t, tiny_path("refused", path)), 0);
    assert_int_not_equal(model_open_path(path, &m, &e), 0);
    unlink(path);
    if (!strstr(e.msg, word))
        fail_msg("'%s' does not name %s", e.msg, word);
    tiny_encoder_done(&t);
}

static void broken_files_are_named(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("bert");
    check_refused(t, "blk.1.layer_output_norm.bias", "blk.1.layer_output_norm.bias");
    check_refused(t, "blk.2.ffn_up.weight", "blk.2.ffn_up.weight");
    check_refused(t, "position_embd.weight", "position_embd.weight");
    check_refused(t, "token_embd_norm.weight", "token_embd_norm.weight");
    t.pooling = 4;
    check_refused(t, NULL, "bert.pooling_type");
}

static void misuse_is_an_error(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("bert");
    struct model *m = open_encoder(&t);
    struct rig g = rig_new(m, 1, MODEL_CACHE_F32, 4, 32);
    struct model_seq *s = seq_new(&g, 32);
    struct model_item item = {s, 5, true};
    struct err e = {0};
    int32_t tokens[256] = {0}, wrong[] = {2, TINY_ENCODER_VOCAB};
    struct model_text text = {tokens, 201}, bad = {wrong, 2};
    const float *rows;
    size_t stride;
    assert_true(model_is_encoder(m));
    assert_int_equal(model_seq_reserve(s, 1, &e), 0);
    assert_int_equal(model_forward(g.run, &item, 1, NULL, &rows, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "bert"));
    assert_int_equal(model_encode(g.run, &text, 1, NULL, &rows, &stride, &e), ERR_CONTEXT);
    text.n = 33;
    assert_int_equal(model_encode(g.run, &text, 1, NULL, &rows, &stride, &e), ERR_INVAL);
    assert_int_equal(model_encode(g.run, &bad, 1, NULL, &rows, &stride, &e), ERR_INVAL);
    atomic_bool cancel = true;
    text.n = 4;
    assert_int_equal(model_encode(g.run, &text, 1, &cancel, &rows, &stride, &e), ERR_CANCELLED);
    model_seq_free(s);
    rig_done(&g);
    model_free(m);
    tiny_encoder_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bert_is_what_it_says),
        cmocka_unit_test(nomic_bert_is_what_it_says),
        cmocka_unit_test(nomic_bert_with_experts_is_what_it_says),
        cmocka_unit_test(bits_do_not_depend_on_company),
        cmocka_unit_test(hidden_rows_are_what_logits_come_from),
        cmocka_unit_test(broken_files_are_named),
        cmocka_unit_test(misuse_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
