/* test_engine.c: jobs through the engine's thread: the same text however it is scheduled, the
 * cache, ends of every kind, and the sampler's rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "clock.h"
#include "allocations.h"
#include "engine.h"
#include "tiny_model.h"
#include "tok.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* ---- helpers ---- */

static const char *fixture(const char *rel, char out[1024])
{
    const char *root = getenv("WEIR_FIXTURES");
    if (root)
        snprintf(out, 1024, "%s/%s", root, rel);
    else
        snprintf(out, 1024, "%s/../shared/fixtures/%s", getenv("WEIR_SOURCE"), rel);
    if (access(out, R_OK) != 0) {
        printf("skipped: no %s\n", out);
        skip();
    }
    return out;
}

static struct model *tiny_model(const struct tiny *t)
{
    char path[256];
    struct model *m = NULL;
    struct err e = {0};
    assert_int_equal(tiny_write(t, tiny_path("engine", path)), 0);
    if (model_open_path(path, &m, &e) != 0)
        fail_msg("%s", e.msg);
    unlink(path);
    return m;
}

static struct engine *tiny_engine(const struct tiny *t, struct engine_params p)
{
    struct engine *en = NULL;
    struct err e = {0};
    if (engine_new(tiny_model(t), &p, &en, &e) != 0)
        fail_msg("%s", e.msg);
    return en;
}

/* Sharp enough that a greedy text is not one token for ever, and stable. */
static struct tiny sharp(void)
{
    struct tiny t = tiny_default();
    t.weight = 3.0f;
    t.type = GGUF_DT_Q8_0;
    return t;
}

#define MAX_OUT 600

/* What one job gave. */
struct take {
    pthread_mutex_t lock;
    pthread_cond_t change;
    int32_t ids[MAX_OUT];
    struct engine_logprob chosen[MAX_OUT], top[8];
    int ntop, n;
    int pause_at, stop_at, block_at; /* when the nth token (from 1) comes */
    struct take *beside;             /* another job, and how far it was at our first token */
    int beside_n;
    bool done, paused;
    atomic_bool gate; /* block_at waits until this is set */
    enum engine_end end;
    struct engine_stats stats;
    struct err err;
    long allocs_from, allocs_to; /* counted at the first and the last token */
    struct engine_run *run;
};

static void take_init(struct take *t)
{
    memset(t, 0, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->change, NULL);
}

static enum engine_verdict on_token(void *ctx, const struct engine_token *t)
{
    struct take *k = ctx;
    enum engine_verdict v = ENGINE_GO;
    long now = atomic_load(&allocations);
    pthread_mutex_lock(&k->lock);
    if (k->n == 0) {
        k->allocs_from = now;
        k->beside_n = k->beside ? k->beside->n : 0; /* both are of the engine's thread */
    }
    k->allocs_to = now;
    if (k->n < MAX_OUT) {
        k->ids[k->n] = t->id;
        k->chosen[k->n] = t->chosen;
    }
    k->n++;
    k->ntop = t->ntop < 8 ? t->ntop : 8;
    for (int i = 0; i < k->ntop; i++)
        k->top[i] = t->top[i];
    if (k->n == k->pause_at) {
        v = ENGINE_PAUSE;
        k->paused = true;
    }
    if (k->n == k->stop_at)
        v = ENGINE_STOP;
    bool block = k->n == k->block_at;
    pthread_cond_broadcast(&k->change);
    pthread_mutex_unlock(&k->lock);
    while (block && !atomic_load(&k->gate))
        sched_yield();
    return v;
}

static void on_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err)
{
    struct take *k = ctx;
    pthread_mutex_lock(&k->lock);
    k->end = end;
    k->stats = *s;
    if (err)
        k->err = *err;
    k->done = true;
    pthread_cond_broadcast(&k->change);
    pthread_mutex_unlock(&k->lock);
}

static struct engine_job job_of(struct take *t, const int32_t *tokens, size_t n, int64_t max)
{
    return (struct engine_job){
        .tokens = tokens,
        .ntokens = n,
        .max_tokens = max,
        .sampling = {.top_p = 1, .repeat_penalty = 1, .top_logprobs = -1},
        .on_token = on_token,
        .on_end = on_end,
        .ctx = t,
    };
}

static void submit(struct engine *en, const struct engine_job *job)
{
    struct take *t = job->ctx;
    struct err e = {0};
    if (engine_submit(en, job, &t->run, &e) != 0)
        fail_msg("%s", e.msg);
}

static void await_end(struct take *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->done)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
    engine_release(t->run);
}

static void await_tokens(struct take *t, int n)
{
    pthread_mutex_lock(&t->lock);
    while (t->n < n && !t->done)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

/* One job, to its end. */
static void run_job(struct engine *en, struct take *t, const int32_t *tokens, size_t n, int64_t max,
                    const struct engine_sampling *s)
{
    take_init(t);
    struct engine_job job = job_of(t, tokens, n, max);
    if (s)
        job.sampling = *s;
    submit(en, &job);
    await_end(t);
    if (t->end == ENGINE_END_ERROR)
        fail_msg("%s", t->err.msg);
}

static void fill_tokens(int32_t *t, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        t[i] = (int32_t)((seed >> 8) % TINY_VOCAB);
    }
}

static const struct engine_sampling creative = {.temperature = 0.9f,
                                                .top_p = 0.95f,
                                                .min_p = 0.02f,
                                                .top_k = 50,
                                                .repeat_penalty = 1.1f,
                                                .seed = 42,
                                                .top_logprobs = 3};

static void assert_same(const struct take *a, const struct take *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
    assert_memory_equal(a->chosen, b->chosen, (size_t)a->n * sizeof *a->chosen);
}

/* ---- the reference's greedy text ---- */

static void stories_are_told_word_for_word(void **state)
{
    char path[1024], text[1024], want[1024];
    struct model *m = NULL;
    struct engine *en = NULL;
    struct tok *tok = NULL;
    struct err e = {0};
    fixture("models/stories260K/stories260K.gguf", path);
    FILE *f = fopen(fixture("models/stories260K/greedy.txt", text), "rb");
    size_t n = fread(want, 1, sizeof want, f);
    fclose(f);
    assert_int_equal(model_open_path(path, &m, &e), 0);
    assert_int_equal(tok_open(model_gguf(m), &tok, &e), 0);
    struct engine_params p = {.threads = 2, .ctx = 256};
    if (engine_new(m, &p, &en, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(engine_ctx(en), 256);
    int32_t bos = tok_bos(tok);
    struct take t;
    run_job(en, &t, &bos, 1, 255, NULL);
    struct buf out = BUF_INIT(1 << 16);
    for (int i = 0; i < t.n && out.n < n; i++)
        tok_decode(tok, t.ids[i], i == 0, false, &out);
    assert_true(out.n >= n);
    assert_memory_equal(out.p, want, n);
    buf_done(&out);
    tok_free(tok);
    engine_free(en);
}

/* ---- the same bits ---- */

static void alone_in_a_batch_and_at_any_thread_count(void **state)
{
    enum { JOBS = 8 };
    struct tiny tiny = sharp();
    int32_t tokens[JOBS][150];
    static struct take alone[JOBS], batch[JOBS];
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1, .parallel = 1});
    for (int i = 0; i < JOBS; i++) {
        fill_tokens(tokens[i], 150, 50 + (uint32_t)i);
        run_job(en, &alone[i], tokens[i], 20 + 15 * (size_t)i, 40, i % 2 ? &creative : NULL);
        assert_int_equal(alone[i].n, 40);
    }
    engine_free(en);
    for (int threads = 1; threads <= 2; threads++) {
        en = tiny_engine(&tiny, (struct engine_params){.threads = threads, .parallel = JOBS});
        for (int i = 0; i < JOBS; i++) {
            take_init(&batch[i]);
            struct engine_job job = job_of(&batch[i], tokens[i], 20 + 15 * (size_t)i, 40);
            if (i % 2)
                job.sampling = creative;
            submit(en, &job);
        }
        for (int i = 0; i < JOBS; i++) {
            await_end(&batch[i]);
            assert_same(&alone[i], &batch[i]);
        }
        engine_free(en);
    }
}

static void cached_prefixes_change_nothing_but_time(void **state)
{
    struct tiny tiny = sharp();
    static struct take first, cold, warm, again;
    int32_t tokens[300];
    fill_tokens(tokens, 300, 3);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 2});
    run_job(en, &cold, tokens, 300, 30, &creative);
    assert_int_equal(cold.stats.reused, 0);
    assert_int_equal(cold.stats.prompt, 300);
    assert_int_equal(cold.stats.generated, 30);
    engine_free(en);

    en = tiny_engine(&tiny, (struct engine_params){.threads = 2});
    run_job(en, &first, tokens, 200, 10, NULL);
    /* The first turn's tokens, then something else: what is common is found. */
    run_job(en, &warm, tokens, 300, 30, &creative);
    assert_int_equal(warm.stats.reused, 200);
    assert_same(&cold, &warm);
    /* Wholly cached: only the last token is computed. */
    run_job(en, &again, tokens, 300, 30, &creative);
    assert_int_equal(again.stats.reused, 299);
    assert_same(&cold, &again);
    /* A second turn goes on where the first ended. */
    int32_t turn[360];
    memcpy(turn, tokens, sizeof tokens);
    memcpy(turn + 300, again.ids, 30 * sizeof *turn);
    fill_tokens(turn + 330, 30, 4);
    run_job(en, &warm, turn, 360, 5, NULL);
    assert_int_equal(warm.stats.reused, 329); /* the last generated token was never fed */
    engine_free(en);
}

static void a_common_beginning_is_shared_and_kept(void **state)
{
    struct tiny tiny = sharp();
    static struct take a, b, c, cold;
    int32_t one[400], two[400];
    fill_tokens(one, 400, 5);
    memcpy(two, one, sizeof one);
    fill_tokens(two + 100, 300, 6);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    run_job(en, &cold, two, 400, 20, NULL);
    engine_free(en);
    en = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    run_job(en, &a, one, 400, 20, NULL);
    run_job(en, &b, two, 400, 20, NULL);
    assert_int_equal(b.stats.reused, 100);
    assert_same(&cold, &b);
    run_job(en, &c, one, 400, 20, NULL);
    assert_int_equal(c.stats.reused, 399);
    assert_same(&a, &c);
    engine_free(en);
}

static void seeds_decide(void **state)
{
    struct tiny tiny = sharp();
    static struct take a, b, c;
    int32_t tokens[10];
    fill_tokens(tokens, 10, 7);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    struct engine_sampling s = {
        .temperature = 1.5f, .top_p = 1, .repeat_penalty = 1, .seed = 1, .top_logprobs = 0};
    run_job(en, &a, tokens, 10, 50, &s);
    run_job(en, &b, tokens, 10, 50, &s);
    assert_same(&a, &b);
    s.seed = 2;
    run_job(en, &c, tokens, 10, 50, &s);
    assert_memory_not_equal(a.ids, c.ids, 50 * sizeof *a.ids);
    engine_free(en);
}

/* Pages for one session and a half: of three jobs some are put back and rebuilt. */
static void scarce_pages_only_cost_time(void **state)
{
    enum { JOBS = 3 };
    struct tiny tiny = sharp();
    static struct take alone[JOBS], tight[JOBS];
    int32_t tokens[JOBS][200];
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1, .ctx = 512});
    for (int i = 0; i < JOBS; i++) {
        fill_tokens(tokens[i], 200, 70 + (uint32_t)i);
        run_job(en, &alone[i], tokens[i], 120 + 30 * (size_t)i, 250, NULL);
    }
    uint64_t page = model_kv_page_bytes(engine_model(en), MODEL_CACHE_F16);
    engine_free(en);
    en =
        tiny_engine(&tiny, (struct engine_params){.threads = 2, .ctx = 512, .kv_bytes = 12 * page});
    for (int i = 0; i < JOBS; i++) {
        take_init(&tight[i]);
        struct engine_job job = job_of(&tight[i], tokens[i], 120 + 30 * (size_t)i, 250);
        submit(en, &job);
    }
    for (int i = 0; i < JOBS; i++) {
        await_end(&tight[i]);
        assert_int_equal(tight[i].end, ENGINE_END_LENGTH);
        assert_same(&alone[i], &tight[i]);
    }
    struct engine_load load;
    engine_load_of(en, &load);
    assert_int_equal(load.kv_total, 12 * page);
    assert_int_equal(load.running, 0);
    engine_free(en);
}

/* ---- ends ---- */

static void every_kind_of_end(void **state)
{
    struct tiny tiny = sharp();
    static struct take t;
    int32_t tokens[64];
    fill_tokens(tokens, 64, 8);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1, .ctx = 100});
    run_job(en, &t, tokens, 20, 12, NULL);
    assert_int_equal(t.end, ENGINE_END_LENGTH);
    assert_int_equal(t.n, 12);
    int32_t fifth = t.ids[4];
    int at = 0;
    while (t.ids[at] != fifth)
        at++;
    run_job(en, &t, tokens, 20, -1, NULL);
    assert_int_equal(t.end, ENGINE_END_CONTEXT);
    assert_int_equal(t.n, 100 - 20 + 1); /* the last token needs no place of its own */
    take_init(&t);
    struct engine_job job = job_of(&t, tokens, 20, 50);
    job.end_ids = &fifth;
    job.nend_ids = 1;
    submit(en, &job);
    await_end(&t);
    assert_int_equal(t.end, ENGINE_END_TOKEN);
    assert_int_equal(t.n, at + 1);
    take_init(&t);
    t.stop_at = 3;
    job = job_of(&t, tokens, 20, 50);
    submit(en, &job);
    await_end(&t);
    assert_int_equal(t.end, ENGINE_END_STOP);
    assert_int_equal(t.n, 3);
    assert_true(t.stats.prefill_ns > 0 && t.stats.decode_ns > 0);
    engine_free(en);
}

static void prompts_that_do_not_fit_are_refused(void **state)
{
    struct tiny tiny = sharp();
    struct take t;
    struct engine_run *run = NULL;
    struct err e = {0};
    int32_t tokens[128];
    fill_tokens(tokens, 128, 9);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1, .ctx = 100});
    take_init(&t);
    struct engine_job job = job_of(&t, tokens, 101, 5);
    assert_int_equal(engine_submit(en, &job, &run, &e), ERR_CONTEXT);
    assert_true(strstr(e.msg, "101") && strstr(e.msg, "100"));
    job.ntokens = 0;
    assert_int_equal(engine_submit(en, &job, &run, &e), ERR_INVAL);
    job.ntokens = 5;
    tokens[3] = TINY_VOCAB;
    assert_int_equal(engine_submit(en, &job, &run, &e), ERR_INVAL);
    tokens[3] = 1;
    job.sampling.temperature = NAN;
    assert_int_equal(engine_submit(en, &job, &run, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "temperature"));
    assert_null(run);
    engine_free(en);
}

static void memory_that_is_not_there_is_an_error(void **state)
{
    struct tiny tiny = sharp();
    struct model *m = tiny_model(&tiny);
    struct engine *en = NULL;
    struct err e = {0};
    struct engine_params p = {
        .threads = 1, .ctx = 1000, .kv_bytes = model_kv_page_bytes(m, MODEL_CACHE_F16)};
    assert_int_equal(engine_new(m, &p, &en, &e), ERR_NOMEM);
    assert_non_null(strstr(e.msg, "missing"));
    p.ctx = -1;
    assert_int_equal(engine_new(m, &p, &en, &e), ERR_INVAL);
    /* Nothing asked: the model's own context, capped by what there is. */
    p = (struct engine_params){.threads = 1,
                               .kv_bytes = 3 * model_kv_page_bytes(m, MODEL_CACHE_F16)};
    assert_int_equal(engine_new(m, &p, &en, &e), 0);
    assert_int_equal(engine_ctx(en), 192);
    engine_free(en);
    assert_true(engine_memory_free() > 0);
}

static void pausing_leaves_one_out(void **state)
{
    struct tiny tiny = sharp();
    static struct take whole, paused, other;
    int32_t tokens[64];
    fill_tokens(tokens, 64, 10);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    run_job(en, &whole, tokens, 40, 30, NULL);
    take_init(&paused);
    paused.pause_at = 5;
    struct engine_job job = job_of(&paused, tokens, 40, 30);
    submit(en, &job);
    await_tokens(&paused, 5);
    run_job(en, &other, tokens + 1, 40, 30, NULL); /* others go on meanwhile */
    assert_int_equal(other.n, 30);
    pthread_mutex_lock(&paused.lock);
    assert_true(paused.n == 5 && !paused.done);
    pthread_mutex_unlock(&paused.lock);
    engine_resume(paused.run);
    await_end(&paused);
    assert_same(&whole, &paused);
    /* A paused run can be cancelled. */
    take_init(&paused);
    paused.pause_at = 2;
    job = job_of(&paused, tokens, 40, 30);
    submit(en, &job);
    await_tokens(&paused, 2);
    engine_cancel(paused.run);
    await_end(&paused);
    assert_int_equal(paused.end, ENGINE_END_CANCEL);
    engine_free(en);
}

/* Paused runs that hold all pages give them up to one that can go on. */
static void paused_runs_do_not_starve_others(void **state)
{
    struct tiny tiny = sharp();
    static struct take whole, paused, other;
    int32_t tokens[300];
    fill_tokens(tokens, 300, 11);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1, .ctx = 320});
    uint64_t page = model_kv_page_bytes(engine_model(en), MODEL_CACHE_F16);
    run_job(en, &whole, tokens, 200, 20, NULL);
    engine_free(en);
    en = tiny_engine(&tiny, (struct engine_params){.threads = 1, .ctx = 320, .kv_bytes = 5 * page});
    take_init(&paused);
    paused.pause_at = 3;
    struct engine_job job = job_of(&paused, tokens, 200, 20);
    submit(en, &job);
    await_tokens(&paused, 3);
    run_job(en, &other, tokens + 50, 250, 10, NULL);
    assert_int_equal(other.n, 10);
    engine_resume(paused.run);
    await_end(&paused);
    assert_same(&whole, &paused);
    engine_free(en);
}

/* A long prompt comes in slices: who decodes beside it gets a token with each, and of two prompts
 * the short one is not kept waiting by the long one. */
static void prefill_does_not_hold_up_others(void **state)
{
    struct tiny tiny = sharp();
    tiny.ctx = 8192;
    static struct take decoding, longer, shorter;
    static int32_t tokens[6000];
    fill_tokens(tokens, 6000, 18);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    take_init(&decoding);
    take_init(&longer);
    take_init(&shorter);
    struct engine_job job = job_of(&decoding, tokens, 5, 500);
    decoding.block_at = 3;
    submit(en, &job);
    await_tokens(&decoding, 3);
    longer.beside = &decoding;
    job = job_of(&longer, tokens + 1, 5900, 2);
    submit(en, &job);
    shorter.beside = &longer;
    job = job_of(&shorter, tokens + 2, 300, 2);
    submit(en, &job);
    atomic_store(&decoding.gate, true);
    await_end(&longer);
    await_end(&shorter);
    await_end(&decoding);
    /* At most 512 tokens a step, so at least eleven steps before the long prompt was in. */
    assert_true(longer.beside_n >= 3 + 11);
    assert_int_equal(shorter.beside_n, 0);
    assert_int_equal(decoding.n, 500);
    engine_free(en);
}

static void cancel_comes_within_a_layer(void **state)
{
    struct tiny tiny = sharp();
    tiny.layers = 24;
    tiny.width = 256;
    tiny.heads = 16;
    tiny.kv_heads = 8;
    tiny.ff = 512;
    tiny.ctx = 4096;
    static struct take t, u;
    static int32_t tokens[4000];
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 2});
    struct engine_job job;
    uint64_t least = UINT64_MAX; /* of a few tries: the machine may be busy with other things */
    for (uint32_t i = 0; i < 4 && least >= 1000000000; i++) {
        fill_tokens(tokens, 4000, 12 + i);
        take_init(&t);
        job = job_of(&t, tokens, 4000, 10);
        submit(en, &job);
        struct timespec nap = {.tv_nsec = 30000000};
        nanosleep(&nap, NULL);
        uint64_t start = clock_mono_ns();
        engine_cancel(t.run);
        await_end(&t);
        uint64_t ns = clock_mono_ns() - start;
        assert_int_equal(t.end, ENGINE_END_CANCEL);
        assert_int_equal(t.n, 0);
#ifdef SANITIZED
        ns /= 10;
#endif
        least = ns < least ? ns : least;
    }
    assert_true(least < 1000000000); /* far more than a layer */
    /* Cancelled while it waits; the others do not notice. */
    take_init(&t);
    take_init(&u);
    u.block_at = 2;
    struct engine_job job_u = job_of(&u, tokens, 10, 6);
    submit(en, &job_u);
    await_tokens(&u, 2);
    submit(en, &job);
    engine_cancel(t.run);
    atomic_store(&u.gate, true);
    await_end(&t);
    await_end(&u);
    assert_int_equal(t.end, ENGINE_END_CANCEL);
    assert_int_equal(u.n, 6);
    engine_free(en);
}

static void the_queue_is_bounded(void **state)
{
    enum { QUEUE = 64 };
    struct tiny tiny = sharp();
    static struct take first, waiting[QUEUE], one_more;
    int32_t tokens[8];
    struct err e = {0};
    fill_tokens(tokens, 8, 13);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1, .parallel = 1});
    take_init(&first);
    first.block_at = 1;
    struct engine_job job = job_of(&first, tokens, 8, 4);
    submit(en, &job);
    await_tokens(&first, 1);
    for (int i = 0; i < QUEUE; i++) {
        take_init(&waiting[i]);
        job = job_of(&waiting[i], tokens, 8, 2);
        submit(en, &job);
    }
    take_init(&one_more);
    job = job_of(&one_more, tokens, 8, 2);
    assert_int_equal(engine_submit(en, &job, &one_more.run, &e), ERR_OVERLOAD);
    struct engine_load load;
    engine_load_of(en, &load);
    assert_int_equal(load.queued, QUEUE);
    atomic_store(&first.gate, true);
    await_end(&first);
    for (int i = 0; i < QUEUE / 2; i++)
        await_end(&waiting[i]);
    engine_free(en); /* what still waits is cancelled */
    for (int i = QUEUE / 2; i < QUEUE; i++)
        await_end(&waiting[i]);
}

/* ---- sampling ---- */

static void log_probabilities_sum_to_one(void **state)
{
    struct tiny tiny = sharp();
    static struct take t;
    int32_t tokens[10];
    fill_tokens(tokens, 10, 14);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    struct engine_sampling s = {.top_p = 1, .repeat_penalty = 1, .top_logprobs = 5};
    run_job(en, &t, tokens, 10, 8, &s);
    assert_int_equal(t.ntop, 5);
    assert_int_equal(t.top[0].id, t.ids[7]); /* greedy: the likeliest is chosen */
    assert_true(t.top[0].logprob == t.chosen[7].logprob);
    for (int i = 1; i < 5; i++)
        assert_true(t.top[i].logprob <= t.top[i - 1].logprob && t.top[i].logprob < 0);
    /* The same distribution does not depend on the sampling parameters. */
    static struct take hot;
    s.temperature = 2;
    s.top_k = 1;
    run_job(en, &hot, tokens, 10, 8, &s);
    assert_same(&t, &hot);
    /* Drawn often at temperature 1, the first token comes as often as its probability says. */
    double p = exp((double)t.chosen[0].logprob);
    int hits = 0;
    enum { DRAWS = 400 };
    s = (struct engine_sampling){
        .temperature = 1, .top_p = 1, .repeat_penalty = 1, .top_logprobs = -1};
    static struct take draw;
    for (int i = 0; i < DRAWS; i++) {
        s.seed = 1000 + (uint64_t)i;
        run_job(en, &draw, tokens, 10, 1, &s);
        hits += draw.ids[0] == t.ids[0];
    }
    double spread = 4.5 * sqrt(p * (1 - p) / DRAWS) + 1e-9;
    assert_true(fabs((double)hits / DRAWS - p) <= spread);
    engine_free(en);
}

static int distinct(const struct take *t)
{
    int n = 0;
    for (int i = 0; i < t->n; i++) {
        int j = 0;
        while (t->ids[j] != t->ids[i])
            j++;
        n += j == i;
    }
    return n;
}

static void penalties_and_cuts(void **state)
{
    struct tiny tiny = sharp();
    tiny.weight = 1.0f; /* flat: many candidates */
    static struct take plain, t;
    int32_t tokens[10];
    fill_tokens(tokens, 10, 15);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    run_job(en, &plain, tokens, 10, 60, NULL);
    struct engine_sampling s = {.top_p = 1, .repeat_penalty = 1, .top_logprobs = -1};
    s.presence_penalty = 100;
    run_job(en, &t, tokens, 10, 60, &s);
    assert_int_equal(distinct(&t), 60); /* nothing is said twice */
    s.presence_penalty = 0;
    s.frequency_penalty = 100;
    run_job(en, &t, tokens, 10, 60, &s);
    assert_int_equal(distinct(&t), 60);
    s.frequency_penalty = 0;
    s.repeat_penalty = 100;
    run_job(en, &t, tokens, 10, 50, &s);
    for (int i = 0; i < 10; i++) /* the prompt counts for this one */
        for (int j = 0; j < t.n; j++)
            assert_int_not_equal(t.ids[j], tokens[i]);
    /* Whatever cuts to one candidate is greedy. */
    s.repeat_penalty = 1;
    s.temperature = 1;
    s.top_p = 0;
    run_job(en, &t, tokens, 10, 60, &s);
    assert_memory_equal(t.ids, plain.ids, 60 * sizeof *t.ids);
    s.top_p = 1;
    s.min_p = 1;
    run_job(en, &t, tokens, 10, 60, &s);
    assert_memory_equal(t.ids, plain.ids, 60 * sizeof *t.ids);
    s.min_p = 0;
    s.top_k = 1;
    run_job(en, &t, tokens, 10, 60, &s);
    assert_memory_equal(t.ids, plain.ids, 60 * sizeof *t.ids);
    /* top_k = 4: only the four likeliest ever come first. */
    s.top_k = 4;
    s.temperature = 50;
    s.top_logprobs = 4;
    unsigned seen = 0;
    for (int i = 0; i < 60; i++) {
        s.seed = (uint64_t)i;
        run_job(en, &t, tokens, 10, 1, &s);
        int rank = 0;
        while (rank < 4 && t.top[rank].id != t.ids[0])
            rank++;
        assert_true(rank < 4);
        seen |= 1u << rank;
    }
    assert_int_equal(seen, 15);
    /* top_p a little above the mass of three: only the four likeliest ever come, however hot. */
    s.top_k = 0;
    s.top_p = 0.001f;
    for (int i = 0; i < 3; i++)
        s.top_p += (float)exp((double)t.top[i].logprob);
    seen = 0;
    for (int i = 0; i < 60; i++) {
        s.seed = (uint64_t)i;
        run_job(en, &t, tokens, 10, 1, &s);
        int rank = 0;
        while (rank < 4 && t.top[rank].id != t.ids[0])
            rank++;
        assert_true(rank < 4);
        seen |= 1u << rank;
    }
    assert_int_equal(seen, 15);
    engine_free(en);
}

/* ---- guessing ahead ---- */

/* One prompt with and without guesses; what was told must be the same whatever happens to it. */
static void assert_guesses_change_nothing(struct engine *with, struct engine *without,
                                          const int32_t *tokens, size_t n,
                                          const struct engine_sampling *s, int64_t *kept)
{
    static struct take a, b;
    run_job(without, &a, tokens, n, 80, s);
    run_job(with, &b, tokens, n, 80, s);
    assert_same(&a, &b);
    assert_int_equal(a.stats.guessed, 0);
    assert_true(b.stats.kept <= b.stats.guessed);
    *kept += b.stats.kept;
    take_init(&b); /* paused in the middle of what was guessed right */
    struct engine_job job = job_of(&b, tokens, n, 80);
    job.sampling = *s;
    b.pause_at = 23;
    submit(with, &job);
    await_tokens(&b, 23);
    engine_resume(b.run);
    await_end(&b);
    assert_same(&a, &b);
    take_init(&b); /* stopped there, and gone on from the cache */
    job.ctx = &b;
    b.stop_at = 31;
    submit(with, &job);
    await_end(&b);
    assert_int_equal(b.n, 31);
    assert_memory_equal(a.ids, b.ids, 31 * sizeof *a.ids);
    int32_t longer[256];
    memcpy(longer, tokens, n * sizeof *tokens);
    memcpy(longer + n, a.ids, 60 * sizeof *a.ids);
    run_job(with, &b, longer, n + 60, 20, NULL);
    static struct take c;
    run_job(without, &c, longer, n + 60, 20, NULL);
    assert_same(&b, &c);
}

static void guesses_change_nothing_but_time(void **state)
{
    struct tiny tiny = sharp();
    struct engine *with = tiny_engine(&tiny, (struct engine_params){.threads = 1});
    struct engine *without = tiny_engine(&tiny, (struct engine_params){.threads = 1, .draft = -1});
    int32_t tokens[64];
    int64_t kept = 0;
    /* An alphabet of three makes for guesses that come true, and for some that do not. */
    const struct engine_bias few[] = {{7, 60}, {8, 60}, {9, 60}};
    struct engine_sampling greedy = {
        .top_p = 1, .repeat_penalty = 1, .top_logprobs = 2, .bias = few, .nbias = 3};
    struct engine_sampling drawn = creative;
    drawn.bias = few;
    drawn.nbias = 3;
    for (uint32_t seed = 1; seed < 5; seed++) {
        fill_tokens(tokens, 20, seed);
        memcpy(tokens + 20, tokens, 20 * sizeof *tokens);
        assert_guesses_change_nothing(with, without, tokens, 40, &greedy, &kept);
        assert_guesses_change_nothing(with, without, tokens, 40, &drawn, &kept);
        assert_guesses_change_nothing(with, without, tokens, 40, &creative, &kept);
    }
    assert_true(kept > 50);
    engine_free(with);
    engine_free(without);
}

/* ---- memory, measuring ---- */

static void decoding_allocates_nothing(void **state)
{
#ifdef SANITIZED
    printf("skipped: the sanitizer owns malloc\n");
    skip();
#endif
    struct tiny tiny = sharp();
    static struct take t;
    int32_t tokens[64];
    fill_tokens(tokens, 64, 16);
    struct engine *en = tiny_engine(&tiny, (struct engine_params){.threads = 2});
    run_job(en, &t, tokens, 40, 300, &creative);
    assert_int_equal(t.n, 300);
    assert_true(t.allocs_from > 0);
    assert_int_equal(t.allocs_to, t.allocs_from);
    engine_free(en);
}

struct rows {
    size_t n;
    double nll;
    const int32_t *tokens;
    size_t ntokens;
};

static int count_row(void *ctx, size_t i, const float *l)
{
    struct rows *r = ctx;
    assert_int_equal(i, r->n++);
    double sum = 0;
    for (int j = 0; j < TINY_VOCAB; j++)
        sum += exp((double)l[j]);
    if (i + 1 < r->ntokens)
        r->nll += log(sum) - (double)l[r->tokens[i + 1]];
    return i == 149 && r->ntokens == 200 ? 77 : 0;
}

static void evaluation_and_speed(void **state)
{
    struct tiny tiny = tiny_default();
    struct model *m = tiny_model(&tiny);
    struct err e = {0};
    int32_t tokens[700];
    fill_tokens(tokens, 700, 17);
    struct rows r = {.tokens = tokens, .ntokens = 150};
    assert_int_equal(engine_eval_logits(m, 2, MODEL_CACHE_F32, tokens, 150, count_row, &r, &e), 0);
    assert_int_equal(r.n, 150);
    double ppl = 0;
    assert_int_equal(engine_eval_perplexity(m, 1, MODEL_CACHE_F32, tokens, 150, &ppl, &e), 0);
    assert_true(fabs(ppl - exp(r.nll / 149)) < 1e-6 * ppl);
    r = (struct rows){.tokens = tokens, .ntokens = 200};
    assert_int_equal(engine_eval_logits(m, 2, MODEL_CACHE_F32, tokens, 200, count_row, &r, &e), 77);
    /* Longer than the context of 512: two windows. */
    assert_int_equal(engine_eval_perplexity(m, 2, MODEL_CACHE_F32, tokens, 700, &ppl, &e), 0);
    assert_true(ppl > 1 && isfinite(ppl));
    assert_int_equal(engine_eval_perplexity(m, 2, MODEL_CACHE_F32, tokens, 1, &ppl, &e), ERR_INVAL);
    tokens[5] = TINY_VOCAB;
    assert_int_equal(engine_eval_perplexity(m, 2, MODEL_CACHE_F32, tokens, 150, &ppl, &e),
                     ERR_INVAL);
    struct engine_speed speed;
    assert_int_equal(engine_bench(m, 2, MODEL_CACHE_F16, 100, 64, 16, &speed, &e), 0);
    assert_true(speed.prefill_tps > 0 && speed.decode_tps > 0);
    assert_int_equal(engine_bench(m, 2, MODEL_CACHE_F16, 0, 0, 16, &speed, &e), 0);
    assert_true(speed.prefill_tps == 0 && speed.decode_tps > 0);
    assert_int_equal(engine_bench(m, 2, MODEL_CACHE_F16, 0, 0, 0, &speed, &e), ERR_INVAL);
    model_free(m);
}

/* ---- damaged files: an error, or eight tokens ---- */

/* The bytes of a tiny file, and where its tensors begin. */
static unsigned char *tiny_bytes(size_t *n, size_t *meta)
{
    char path[256];
    struct tiny tiny = tiny_default();
    struct gguf *g = NULL;
    struct err e = {0};
    tiny.width = 32;
    tiny.heads = tiny.kv_heads = 2;
    tiny.ff = 32;
    tiny.type = GGUF_DT_Q8_0;
    assert_int_equal(tiny_write(&tiny, tiny_path("whole", path)), 0);
    assert_int_equal(gguf_open(path, &g, &e), 0);
    *n = (size_t)gguf_file_size(g);
    *meta = *n;
    for (size_t i = 0; i < gguf_ntensors(g); i++)
        if (gguf_tensor_at(g, i)->offset < *meta)
            *meta = (size_t)gguf_tensor_at(g, i)->offset;
    gguf_close(g);
    unsigned char *p = malloc(*n);
    FILE *f = fopen(path, "rb");
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    unlink(path);
    return p;
}

/* True when the file opened; then it has given eight tokens, or said why not. */
static bool try_bytes(const unsigned char *p, size_t n, bool generate)
{
    static struct take t;
    struct gguf *g = NULL;
    struct model *m = NULL;
    struct engine *en = NULL;
    struct err e = {0};
    if (gguf_open_mem(p, n, &g, &e) != 0)
        return false;
    if (model_open(g, &m, &e) != 0) {
        assert_true(e.msg[0] != '\0');
        gguf_close(g);
        return false;
    }
    struct engine_params params = {.threads = 1};
    if (!generate || engine_new(m, &params, &en, &e) != 0) {
        model_free(m);
        return true;
    }
    int32_t one = 1;
    take_init(&t);
    struct engine_job job = job_of(&t, &one, 1, 8);
    if (engine_submit(en, &job, &t.run, &e) == 0) {
        await_end(&t);
        assert_true(t.n == 8 || t.end == ENGINE_END_ERROR || t.end == ENGINE_END_CONTEXT);
    }
    engine_free(en);
    return true;
}

static long max_rss_kb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void damaged_files_are_errors_or_eight_tokens(void **state)
{
    size_t n, meta;
    unsigned char *p = tiny_bytes(&n, &meta);
    assert_true(try_bytes(p, n, true));
    long before = max_rss_kb();
    uint32_t seed = 99;
    for (int i = 0; i < 2000; i++) {
        seed = seed * 1664525u + 1013904223u;
        size_t at = (seed >> 8) % (meta * 8);
        p[at / 8] ^= (unsigned char)(1u << at % 8);
        try_bytes(p, n, true);
        p[at / 8] ^= (unsigned char)(1u << at % 8);
    }
    /* Every place as if an integer of four or eight bytes stood there, at its extremes. */
    static const uint64_t extremes[] = {0, 1, UINT64_MAX, INT64_MAX, 1ull << 63, 1ull << 32};
    int opened = 0;
    for (size_t at = 0; at + 8 <= meta; at++)
        for (int i = 0; i < 12; i++) {
            unsigned char kept[8];
            memcpy(kept, p + at, 8);
            memcpy(p + at, &extremes[i % 6], i < 6 ? 4 : 8);
            if (try_bytes(p, n, false) && opened++ % 500 == 0)
                try_bytes(p, n, true);
            memcpy(p + at, kept, 8);
        }
    free(p);
#ifndef SANITIZED
    assert_true(max_rss_kb() - before < 16 * 1024);
#else
    (void)before;
#endif
}

/* ---- the small real model: WEIR_TEST_MODEL names it ---- */

#define TOP 20

/* A text's ids and, after each, the likeliest next tokens as a reference engine gives them. */
struct expected {
    size_t n;
    int32_t ids[512], top_ids[512][TOP];
    double top[512][TOP], perplexity;
};

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *p = calloc(1, 1 << 20);
    assert_non_null(f);
    assert_true(fread(p, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return p;
}

static double number(char **p)
{
    *p += strcspn(*p, "-0123456789");
    return strtod(*p, p);
}

static void read_expected(const char *path, struct expected *x)
{
    char *text = read_all(path), *p = strstr(text, "\"ids\""), *end = strchr(p, ']');
    memset(x, 0, sizeof *x);
    while (p + strcspn(p, "-0123456789") < end && x->n < 512)
        x->ids[x->n++] = (int32_t)number(&p);
    p = strstr(text, "\"top\"");
    for (size_t i = 0; i < x->n; i++)
        for (int j = 0; j < TOP; j++) {
            x->top_ids[i][j] = (int32_t)number(&p);
            x->top[i][j] = number(&p);
        }
    p = strstr(text, "\"perplexity\"");
    x->perplexity = number(&p);
    free(text);
}

struct compared {
    const struct expected *x;
    int32_t vocab;
    double worst;
};

static int compare_row(void *ctx, size_t i, const float *l)
{
    struct compared *c = ctx;
    double most = -INFINITY, sum = 0;
    for (int32_t j = 0; j < c->vocab; j++)
        most = (double)l[j] > most ? (double)l[j] : most;
    for (int32_t j = 0; j < c->vocab; j++)
        sum += exp((double)l[j] - most);
    for (int j = 0; j < TOP; j++) {
        double d = fabs((double)l[c->x->top_ids[i][j]] - most - log(sum) - c->x->top[i][j]);
        c->worst = d > c->worst ? d : c->worst;
    }
    return 0;
}

static void the_small_model_keeps_its_bounds(void **state)
{
    char path[1024];
    static struct expected exact, quantised;
    struct model *m = NULL;
    struct err e = {0};
    const char *name = getenv("WEIR_TEST_MODEL");
    if (!name || access(name, R_OK) != 0) {
        printf("skipped: WEIR_TEST_MODEL names no file\n");
        skip();
    }
    read_expected(fixture("models/smollm2/f32.json", path), &exact);
    read_expected(fixture("models/smollm2/q4_1.json", path), &quantised);
    assert_int_equal(model_open_path(name, &m, &e), 0);
    double ppl = 0;
    assert_int_equal(engine_eval_perplexity(m, 2, MODEL_CACHE_F16, exact.ids, exact.n, &ppl, &e),
                     0);
    printf("perplexity %.5f; reference %.5f quantised, %.5f exact\n", ppl, quantised.perplexity,
           exact.perplexity);
    assert_true(ppl <= 1.003 * quantised.perplexity);
    assert_true(ppl >= 0.99 * exact.perplexity);
    model_set_exact(m, true);
    struct compared c = {&exact, model_traits(m)->vocab, 0};
    assert_int_equal(
        engine_eval_logits(m, 2, MODEL_CACHE_F32, exact.ids, exact.n, compare_row, &c, &e), 0);
    printf("exact path: log-probabilities differ by at most %.2g\n", c.worst);
    assert_true(c.worst <= 1e-3);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_are_told_word_for_word),
        cmocka_unit_test(alone_in_a_batch_and_at_any_thread_count),
        cmocka_unit_test(cached_prefixes_change_nothing_but_time),
        cmocka_unit_test(a_common_beginning_is_shared_and_kept),
        cmocka_unit_test(seeds_decide),
        cmocka_unit_test(scarce_pages_only_cost_time),
        cmocka_unit_test(every_kind_of_end),
        cmocka_unit_test(prompts_that_do_not_fit_are_refused),
        cmocka_unit_test(memory_that_is_not_there_is_an_error),
        cmocka_unit_test(pausing_leaves_one_out),
        cmocka_unit_test(paused_runs_do_not_starve_others),
        cmocka_unit_test(prefill_does_not_hold_up_others),
        cmocka_unit_test(cancel_comes_within_a_layer),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(log_probabilities_sum_to_one),
        cmocka_unit_test(penalties_and_cuts),
        cmocka_unit_test(guesses_change_nothing_but_time),
        cmocka_unit_test(decoding_allocates_nothing),
        cmocka_unit_test(evaluation_and_speed),
        cmocka_unit_test(damaged_files_are_errors_or_eight_tokens),
        cmocka_unit_test(the_small_model_keeps_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
