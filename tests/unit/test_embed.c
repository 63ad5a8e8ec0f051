/* test_embed.c: embeddings through the engine's thread: the rows of encoders and decoders, alone
 * and in company, beside runs that write, under every kind of end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine.h"
#include "model_rig.h"
#include "tiny_encoder.h"

#include <pthread.h>

#define WIDTH 64
#define MOST 80

struct take {
    pthread_mutex_t lock;
    pthread_cond_t change;
    float rows[MOST][WIDTH];
    int n, pause_at, stop_at, tokens;
    bool done, out_of_order;
    enum engine_end end;
    struct engine_stats stats;
    struct engine_run *run;
};

static void take_init(struct take *t)
{
    memset(t, 0, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->change, NULL);
}

static enum engine_verdict on_row(void *ctx, size_t text, const float *row, size_t width)
{
    struct take *t = ctx;
    pthread_mutex_lock(&t->lock);
    t->out_of_order |= text != (size_t)t->n || width != WIDTH || t->n == MOST;
    if (!t->out_of_order)
        memcpy(t->rows[t->n++], row, width * sizeof *row);
    pthread_cond_broadcast(&t->change);
    pthread_mutex_unlock(&t->lock);
    return t->n == t->pause_at ? ENGINE_PAUSE : t->n == t->stop_at ? ENGINE_STOP : ENGINE_GO;
}

static enum engine_verdict on_token(void *ctx, const struct engine_token *token)
{
    (void)token;
    ((struct take *)ctx)->tokens++;
    return ENGINE_GO;
}

static void on_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err)
{
    struct take *t = ctx;
    if (err)
        printf("%s\n", err->msg);
    pthread_mutex_lock(&t->lock);
    t->end = end;
    t->stats = *s;
    t->done = true;
    pthread_cond_broadcast(&t->change);
    pthread_mutex_unlock(&t->lock);
}

static void await_end(struct take *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->done)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
    engine_release(t->run);
    t->run = NULL;
    assert_false(t->out_of_order);
}

static void await_rows(struct take *t, int n)
{
    pthread_mutex_lock(&t->lock);
    while (t->n < n && !t->done)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static void start(struct engine *en, struct take *t, const struct model_text *texts, size_t n,
                  enum model_pooling pooling)
{
    struct engine_embed_job job = {.texts = texts,
                                   .ntexts = n,
                                   .pooling = pooling,
                                   .on_row = on_row,
                                   .on_end = on_end,
                                   .ctx = t};
    struct err e = {0};
    if (engine_embed(en, &job, &t->run, &e) != 0)
        fail_msg("%s", e.msg);
}

static void embed(struct engine *en, struct take *t, const struct model_text *texts, size_t n,
                  enum model_pooling pooling)
{
    take_init(t);
    start(en, t, texts, n, pooling);
    await_end(t);
    assert_int_equal(t->end, ENGINE_END_LENGTH);
    assert_int_equal(t->n, n);
}

static struct engine *engine_of(struct model *m, struct engine_params p)
{
    struct engine *en = NULL;
    struct err e = {0};
    if (engine_new(m, &p, &en, &e) != 0)
        fail_msg("%s", e.msg);
    return en;
}

static struct engine *encoder_engine(struct tiny_encoder *t, int threads)
{
    char path[256];
    assert_int_equal(tiny_encoder_write(t, tiny_path("embed", path)), 0);
    struct model *m = open_model(path);
    unlink(path);
    return engine_of(m, (struct engine_params){.threads = threads});
}

static struct engine *decoder_engine(int threads, uint64_t kv_pages)
{
    struct tiny t = tiny_default();
    struct model *m = open_tiny(&t);
    uint64_t page = model_kv_page_bytes(m, MODEL_CACHE_F16);
    return engine_of(m, (struct engine_params){.threads = threads, .kv_bytes = kv_pages * page});
}

/* Texts of many lengths, `most` at the longest. */
struct texts {
    struct model_text t[MOST];
    int32_t tokens[MOST][512];
};

static void make_texts(struct texts *x, size_t n, size_t most, int32_t vocab)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = 1 + (i * 37 + i * i) % most;
        fill_tokens(x->tokens[i], length, vocab, (uint32_t)i + 1);
        x->t[i] = (struct model_text){x->tokens[i], length};
    }
}

/* ---- rows ---- */

static void an_encoder_gives_the_plain_rows(void **state)
{
    (void)state;
    static struct texts x;
    static struct take t;
    struct tiny_encoder m = tiny_encoder_default("bert");
    m.pooling = 2;
    struct engine *en = encoder_engine(&m, 2);
    assert_int_equal(engine_ctx(en), m.ctx);
    make_texts(&x, MOST, 200, TINY_ENCODER_VOCAB);
    embed(en, &t, x.t, MOST, 0);
    int64_t tokens = 0;
    for (size_t i = 0; i < MOST; i++) {
        float want[WIDTH];
        int n = (int)x.t[i].n;
        tokens += n;
        if (i % 8 != 0)
            continue;
        double *rows = tiny_encoder_rows(&m, x.tokens[i], n);
        tiny_encoder_pool(&m, 2, rows, n, want);
        assert_true(nmse(t.rows[i], want, WIDTH) < 1e-10);
        free(rows);
    }
    assert_int_equal(t.stats.prompt, tokens);
    engine_free(en);
    tiny_encoder_done(&m);
}

static void check_company(struct engine *one, struct engine *two, int32_t vocab, size_t longest)
{
    static struct texts x;
    static struct take together, alone, other;
    make_texts(&x, MOST, longest, vocab);
    for (int p = 1; p <= 3; p++) {
        embed(one, &together, x.t, MOST, (enum model_pooling)p);
        for (size_t i = 0; i < MOST; i += 7) {
            embed(two, &alone, &x.t[i], 1, (enum model_pooling)p);
            assert_memory_equal(alone.rows[0], together.rows[i], sizeof alone.rows[0]);
        }
    }
    /* Two runs at once. */
    take_init(&together);
    take_init(&other);
    start(two, &together, x.t, MOST, MODEL_POOL_LAST);
    start(two, &other, x.t + 3, 9, MODEL_POOL_LAST);
    await_end(&together);
    await_end(&other);
    assert_int_equal(other.n, 9);
    assert_memory_equal(other.rows, together.rows + 3, 9 * sizeof other.rows[0]);
}

static void company_and_threads_change_no_bits(void **state)
{
    (void)state;
    struct tiny_encoder m = tiny_encoder_default("nomic-bert");
    struct engine *one = encoder_engine(&m, 1);
    tiny_encoder_done(&m);
    m = tiny_encoder_default("nomic-bert");
    struct engine *two = encoder_engine(&m, 3);
    check_company(one, two, TINY_ENCODER_VOCAB, 200);
    engine_free(one);
    engine_free(two);
    tiny_encoder_done(&m);
    one = decoder_engine(1, 64);
    two = decoder_engine(2, 9); /* one text of the context's length, and a page */
    check_company(one, two, TINY_VOCAB, 500);
    engine_free(one);
    engine_free(two);
}

/* ---- beside runs that write ---- */

static void writing_goes_on(void **state)
{
    (void)state;
    static struct texts x;
    static struct take rows, alone, text, before;
    struct engine *en = decoder_engine(2, 9);
    int32_t prompt[40];
    struct err e = {0};
    fill_tokens(prompt, 40, TINY_VOCAB, 5);
    make_texts(&x, MOST, 300, TINY_VOCAB);
    embed(en, &alone, x.t, MOST, 0);
    take_init(&rows);
    take_init(&text);
    take_init(&before);
    struct engine_job job = {.tokens = prompt,
                             .ntokens = 40,
                             .max_tokens = 100,
                             .sampling = {.top_p = 1, .repeat_penalty = 1, .top_logprobs = -1},
                             .on_token = on_token,
                             .on_end = on_end,
                             .ctx = &before};
    assert_int_equal(engine_submit(en, &job, &before.run, &e), 0);
    start(en, &rows, x.t, MOST, 0);
    job.ctx = &text;
    assert_int_equal(engine_submit(en, &job, &text.run, &e), 0);
    await_end(&before);
    await_end(&text);
    await_end(&rows);
    assert_int_equal(before.tokens, 100);
    assert_int_equal(text.tokens, 100);
    assert_memory_equal(rows.rows, alone.rows, sizeof rows.rows);
    struct engine_load load;
    engine_load_of(en, &load);
    assert_int_equal(load.running + load.queued, 0);
    engine_free(en);
}

/* ---- ends ---- */

static void every_end_is_told_once(void **state)
{
    (void)state;
    static struct texts x;
    static struct take t;
    struct engine *en = decoder_engine(2, 32);
    make_texts(&x, MOST, 300, TINY_VOCAB);
    take_init(&t);
    t.stop_at = 3;
    start(en, &t, x.t, MOST, 0);
    await_end(&t);
    assert_int_equal(t.end, ENGINE_END_STOP);
    assert_int_equal(t.n, 3);

    take_init(&t);
    t.pause_at = 40;
    start(en, &t, x.t, MOST, 0);
    await_rows(&t, 40);
    assert_false(t.done);
    engine_resume(t.run);
    await_end(&t);
    assert_int_equal(t.end, ENGINE_END_LENGTH);
    assert_int_equal(t.n, MOST);

    take_init(&t);
    t.pause_at = 1;
    start(en, &t, x.t, MOST, 0);
    await_rows(&t, 1);
    engine_cancel(t.run);
    await_end(&t);
    assert_int_equal(t.end, ENGINE_END_CANCEL);

    take_init(&t);
    start(en, &t, x.t, MOST, 0);
    engine_free(en);
    assert_true(t.done);
    engine_release(t.run);
}

static void what_cannot_be_is_said(void **state)
{
    (void)state;
    static struct texts x;
    static struct take t;
    struct tiny_encoder m = tiny_encoder_default("bert");
    struct engine *en = encoder_engine(&m, 1);
    struct engine_embed_job job = {.on_row = on_row, .on_end = on_end, .ctx = &t};
    struct engine_run *run = NULL;
    struct err e = {0};
    take_init(&t);
    assert_int_equal(engine_embed(en, &job, &run, &e), ERR_INVAL);
    x.t[0] = (struct model_text){x.tokens[0], 3};
    x.t[1] = (struct model_text){x.tokens[1], 230};
    job.texts = x.t;
    job.ntexts = 2;
    assert_int_equal(engine_embed(en, &job, &run, &e), ERR_CONTEXT);
    assert_non_null(strstr(e.msg, "30 too many"));
    x.t[1].n = 0;
    assert_int_equal(engine_embed(en, &job, &run, &e), ERR_INVAL);
    x.t[1].n = 2;
    x.tokens[1][1] = TINY_ENCODER_VOCAB;
    assert_int_equal(engine_embed(en, &job, &run, &e), ERR_INVAL);
    x.tokens[1][1] = 0;
    job.pooling = MODEL_POOL_RANK;
    assert_int_equal(engine_embed(en, &job, &run, &e), ERR_UNSUPPORTED);
    struct engine_job chat = {.tokens = x.tokens[0], .ntokens = 3, .on_end = on_end, .ctx = &t};
    assert_int_equal(engine_submit(en, &chat, &run, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "bert"));
    assert_null(run);
    engine_free(en);
    tiny_encoder_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_encoder_gives_the_plain_rows),
        cmocka_unit_test(company_and_threads_change_no_bits),
        cmocka_unit_test(writing_goes_on),
        cmocka_unit_test(every_end_is_told_once),
        cmocka_unit_test(what_cannot_be_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
