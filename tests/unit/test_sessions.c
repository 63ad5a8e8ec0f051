/* test_sessions.c: sessions of models that cannot be cut anywhere, sessions on disk, and memory:
 * what was computed before loading is what is resident, and decoding allocates nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "allocations.h"
#include "engine.h"
#include "tiny_hybrid.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- jobs ---- */

#define MAX_OUT 200

struct take {
    pthread_mutex_t lock;
    pthread_cond_t change;
    int32_t ids[MAX_OUT];
    int n;
    bool done;
    enum engine_end end;
    struct engine_stats stats;
    long allocs_from, allocs_to;
    struct engine_run *run;
};

static enum engine_verdict on_token(void *ctx, const struct engine_token *t)
{
    struct take *k = ctx;
    long now = atomic_load(&allocations);
    pthread_mutex_lock(&k->lock);
    if (k->n == 0)
        k->allocs_from = now;
    k->allocs_to = now;
    k->ids[k->n++] = t->id;
    pthread_cond_broadcast(&k->change);
    pthread_mutex_unlock(&k->lock);
    return ENGINE_GO;
}

static void on_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err)
{
    struct take *k = ctx;
    pthread_mutex_lock(&k->lock);
    if (err)
        fprintf(stderr, "%s\n", err->msg);
    k->end = end;
    k->stats = *s;
    k->done = true;
    pthread_cond_broadcast(&k->change);
    pthread_mutex_unlock(&k->lock);
}

static void begin(struct engine *en, struct take *t, const int32_t *tokens, size_t n, int64_t max)
{
    struct err e = {0};
    memset(t, 0, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->change, NULL);
    struct engine_job job = {.tokens = tokens,
                             .ntokens = n,
                             .max_tokens = max,
                             .sampling = {.top_p = 1, .repeat_penalty = 1, .top_logprobs = -1},
                             .on_token = on_token,
                             .on_end = on_end,
                             .ctx = t};
    if (engine_submit(en, &job, &t->run, &e) != 0)
        fail_msg("%s", e.msg);
}

static void finish(struct take *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->done)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
    engine_release(t->run);
    assert_int_equal(t->end, ENGINE_END_LENGTH);
}

static void run_job(struct engine *en, struct take *t, const int32_t *tokens, size_t n, int64_t max)
{
    begin(en, t, tokens, n, max);
    finish(t);
}

static void assert_same(const struct take *a, const struct take *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
}

static void fill_tokens(int32_t *t, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        t[i] = (int32_t)((seed >> 8) % TINY_VOCAB);
    }
}

static const struct hybrid kinds[] = {
    {.window = 0},
    {.window = 40},
    {.window = 40, .period = 2},
    {.delta = true},
};
#define NKINDS (sizeof kinds / sizeof *kinds)

static struct engine *engine_of(const struct hybrid *h, struct engine_params p)
{
    char path[256];
    struct model *m = NULL;
    struct engine *en = NULL;
    struct err e = {0};
    assert_int_equal(hybrid_write(h, tiny_path("sessions", path)), 0);
    if (model_open_path(path, &m, &e) != 0 || engine_new(m, &p, &en, &e) != 0)
        fail_msg("%s", e.msg);
    unlink(path);
    return en;
}

/* ---- reuse ---- */

/* The same prompt, one that differs near its end, one that goes on: all begin with what is there,
 * and say what they say in a fresh engine. */
static void turns_go_on_where_they_can(void **state)
{
    enum { N = 300, OUT = 100 };
    static struct take first, again, other, next, fresh;
    int32_t a[N + OUT + 50], b[N];
    fill_tokens(a, N + OUT + 50, 5);
    for (size_t k = 0; k < NKINDS; k++) {
        struct engine_params p = {.threads = 1, .ctx = 1024};
        struct engine *en = engine_of(&kinds[k], p);
        run_job(en, &first, a, N, OUT);
        run_job(en, &again, a, N, OUT);
        assert_same(&first, &again);
        assert_int_equal(again.stats.reused, N - 1);
        memcpy(a + N, first.ids, OUT * sizeof *a);
        run_job(en, &next, a, N + OUT + 50, 20);
        assert_int_equal(next.stats.reused, N + OUT - 1);
        memcpy(b, a, sizeof b);
        fill_tokens(b + N - 10, 10, 6); /* as a template does that leaves something out */
        run_job(en, &other, b, N, 20);
        assert_true(other.stats.reused >= 256 && other.stats.reused <= N - 10);
        engine_free(en);
        en = engine_of(&kinds[k], p);
        run_job(en, &fresh, b, N, 20);
        assert_int_equal(fresh.stats.reused, 0);
        assert_same(&other, &fresh);
        engine_free(en);
        en = engine_of(&kinds[k], p);
        run_job(en, &fresh, a, N + OUT + 50, 20);
        assert_same(&next, &fresh);
        engine_free(en);
    }
}

/* More sessions than memory has room for: some are put off and rebuilt, to the same text. */
static void little_memory_changes_nothing(void **state)
{
    enum { JOBS = 4, N = 500, OUT = 150 };
    static struct take alone[JOBS], tight[JOBS];
    static int32_t tokens[JOBS][N];
    for (size_t k = 0; k < NKINDS; k++) {
        struct engine_params p = {.threads = 1, .ctx = 1024, .cache = MODEL_CACHE_Q8_0};
        struct engine *en = engine_of(&kinds[k], p);
        for (int i = 0; i < JOBS; i++) {
            fill_tokens(tokens[i], N, 50 + (uint32_t)i);
            run_job(en, &alone[i], tokens[i], N, OUT);
        }
        const struct model *m = engine_model(en);
        uint64_t need = model_kv_need(m, p.cache, 1024, 512);
        p.kv_bytes = need + model_kv_snapshot_bytes(m, p.cache) * 2;
        engine_free(en);
        en = engine_of(&kinds[k], p);
        for (int i = 0; i < JOBS; i++)
            begin(en, &tight[i], tokens[i], N, OUT);
        for (int i = 0; i < JOBS; i++) {
            finish(&tight[i]);
            assert_same(&alone[i], &tight[i]);
        }
        struct engine_load load;
        engine_load_of(en, &load);
        assert_true(load.kv_used <= load.kv_total && load.kv_total == p.kv_bytes);
        engine_free(en);
    }
}

/* Guesses that fail are taken back, wherever a window's page has just gone out of sight. */
static void guesses_change_nothing(void **state)
{
    enum { N = 400, OUT = 190 };
    static struct take with, without;
    int32_t a[N];
    int64_t guessed = 0, kept = 0;
    for (size_t k = 0; k < NKINDS; k++)
        for (uint32_t seed = 1; seed < 4; seed++) {
            struct engine_params p = {.threads = 1, .ctx = 1024};
            fill_tokens(a, 23, seed);
            for (int i = 23; i < N; i++)
                a[i] = i % 41 == 0 ? i % TINY_VOCAB : a[i - 23];
            struct engine *en = engine_of(&kinds[k], p);
            run_job(en, &with, a, N, OUT);
            guessed += with.stats.guessed;
            kept += with.stats.kept;
            engine_free(en);
            p.draft = -1;
            en = engine_of(&kinds[k], p);
            run_job(en, &without, a, N, OUT);
            assert_int_equal(without.stats.guessed, 0);
            assert_same(&with, &without);
            engine_free(en);
        }
    printf("%lld guessed, %lld kept\n", (long long)guessed, (long long)kept);
    assert_true(guessed > kept && kept >= 0);
}

/* ---- disk ---- */

static void sessions_outlive_the_engine(void **state)
{
    enum { N = 300, OUT = 60 };
    static struct take first, again, busy;
    char path[256];
    int32_t a[N + OUT], other[200], saved = 0, restored = 0;
    struct err e = {0};
    tiny_path("session-file", path);
    fill_tokens(other, 200, 77);
    for (size_t k = 0; k < NKINDS; k++) {
        struct engine_params p = {.threads = 1, .ctx = 1024, .cache = MODEL_CACHE_Q4_0};
        struct engine *en = engine_of(&kinds[k], p);
        fill_tokens(a, N, 5);
        assert_int_equal(engine_session_save(en, a, N, path, &saved, &e), ERR_NOT_FOUND);
        run_job(en, &first, a, N, OUT);
        memcpy(a + N, first.ids, OUT * sizeof *a);
        begin(en, &busy, other, 200, 100); /* others go on meanwhile */
        if (engine_session_save(en, a, N + OUT, path, &saved, &e) != 0)
            fail_msg("%s", e.msg);
        finish(&busy);
        assert_int_equal(saved, N + OUT - 1); /* the last token was never read */
        engine_free(en);
        en = engine_of(&kinds[k], p);
        begin(en, &busy, other, 200, 100);
        if (engine_session_restore(en, path, &restored, &e) != 0)
            fail_msg("%s", e.msg);
        finish(&busy);
        assert_int_equal(restored, saved);
        run_job(en, &again, a, N, OUT);
        assert_same(&first, &again);
        assert_int_equal(again.stats.reused, N - 1);
        engine_free(en);
        p.cache = MODEL_CACHE_F16;
        en = engine_of(&kinds[k], p);
        assert_int_equal(engine_session_restore(en, path, &restored, &e), ERR_UNSUPPORTED);
        engine_free(en);
    }
    unlink(path);
}

/* A file that is damaged behind its head leaves no session and no page behind. */
static void damaged_sessions_leave_nothing(void **state)
{
    static struct take first;
    char path[256];
    int32_t a[200], n = 0;
    struct err e = {0};
    struct engine_load load;
    tiny_path("session-bad", path);
    fill_tokens(a, 200, 5);
    struct engine_params p = {.threads = 1, .ctx = 512};
    struct engine *en = engine_of(&kinds[3], p);
    run_job(en, &first, a, 200, 10);
    assert_int_equal(engine_session_save(en, a, 200, path, &n, &e), 0);
    engine_free(en);
    FILE *f = fopen(path, "r+b");
    assert_true(f && fseek(f, -100, SEEK_END) == 0);
    int byte = fgetc(f);
    assert_int_equal(fseek(f, -100, SEEK_END), 0);
    fputc(byte ^ 1, f);
    fclose(f);
    en = engine_of(&kinds[3], p);
    assert_int_equal(engine_session_restore(en, path, &n, &e), ERR_CHECKSUM);
    engine_load_of(en, &load);
    assert_int_equal(load.kv_used, 0);
    run_job(en, &first, a, 200, 10);
    assert_int_equal(first.stats.reused, 0);
    engine_free(en);
    unlink(path);
}

/* ---- memory ---- */

static void decoding_allocates_nothing(void **state)
{
#ifdef SANITIZED
    skip();
#endif
    static struct take t;
    static int32_t a[1000];
    fill_tokens(a, 1000, 5);
    for (size_t k = 0; k < NKINDS; k++)
        for (int c = 0; c < MODEL_CACHES; c++) {
            struct engine_params p = {.threads = 2, .ctx = 2048, .cache = (enum model_cache)c};
            struct engine *en = engine_of(&kinds[k], p);
            run_job(en, &t, a, 1000, 64); /* over a page's end, and where a snapshot is due */
            assert_int_equal(t.n, 64);
            assert_int_equal(t.allocs_to, t.allocs_from);
            engine_free(en);
        }
}

#ifndef SANITIZED
static uint64_t resident(void)
{
    unsigned long long total = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%llu %llu", &total, &pages) != 2)
        return 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* In a child: load, fill one session's context, and compare. Exits with 0 when all is well. */
static void measure_in_child(const char *path, enum model_cache c, int32_t ctx)
{
    static struct take t;
    static int32_t tokens[4096];
    struct model *m = NULL;
    struct engine *en = NULL;
    struct err e = {0};
    struct engine_memory v;
    struct engine_params p = {.threads = 1, .ctx = ctx, .parallel = 1, .cache = c};
    fill_tokens(tokens, 4096, 5);
    /* The program's own pages come in with a first, small engine. */
    struct engine *warm = engine_of(&kinds[0], (struct engine_params){.threads = 1, .ctx = 64});
    run_job(warm, &t, tokens, 60, 2);
    engine_free(warm);
    uint64_t before = resident();
    if (model_open_path(path, &m, &e) != 0 || engine_memory_of(m, &p, &v, &e) != 0 ||
        engine_new(m, &p, &en, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        _exit(1);
    }
    run_job(en, &t, tokens, (size_t)ctx - 8, 8);
    uint64_t grown = resident() - before;
    double off = (double)grown / (double)v.total - 1;
    printf("%s, %d tokens: %.2f MB computed (weights %.2f, cache %.2f, scratch %.2f), %.2f MB "
           "resident, %+.2f %%\n",
           model_cache_name(c), ctx, (double)v.total / 1e6, (double)v.weights / 1e6,
           (double)v.kv_session / 1e6, (double)v.scratch / 1e6, (double)grown / 1e6, off * 100);
    fflush(stdout);
    _exit(off > -0.03 && off < 0.03 ? 0 : 1);
}

static void check_memory(const char *path, enum model_cache c, int32_t ctx)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        measure_in_child(path, c, ctx);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

static void memory_is_what_was_computed(void **state)
{
#ifdef SANITIZED
    skip();
#else
    char path[256];
    struct tiny t = tiny_default();
    t.layers = 6;
    t.width = 512;
    t.heads = t.kv_heads = 8;
    t.head_dim = 64;
    t.ff = 1536;
    t.ctx = 4096;
    t.type = GGUF_DT_Q8_0;
    assert_int_equal(tiny_write(&t, tiny_path("memory", path)), 0);
    check_memory(path, MODEL_CACHE_F16, 1024);
    check_memory(path, MODEL_CACHE_Q8_0, 2048);
    check_memory(path, MODEL_CACHE_Q4_0, 2048);
    unlink(path);
#endif
}

/* Without weights read and without a session: the numbers of every cache type stand in proportion,
 * and what does not fit is said. */
static void memory_is_known_before_loading(void **state)
{
    char path[256];
    struct model *m = NULL;
    struct err e = {0};
    struct engine_memory f16, q8, tight;
    assert_int_equal(hybrid_write(&kinds[2], tiny_path("plan", path)), 0);
    assert_int_equal(model_open_path(path, &m, &e), 0);
    unlink(path);
    struct engine_params p = {.threads = 1, .ctx = 2048, .parallel = 1};
    assert_int_equal(engine_memory_of(m, &p, &f16, &e), 0);
    p.cache = MODEL_CACHE_Q8_0;
    assert_int_equal(engine_memory_of(m, &p, &q8, &e), 0);
    assert_int_equal(q8.kv_session * 64, f16.kv_session * 34);
    assert_int_equal(f16.total, f16.weights + f16.kv_session + f16.scratch);
    assert_true(f16.kv_snapshot > 0 && f16.ctx == 2048);
    /* Two of four layers have a window: 1,000 tokens more cost the other two. */
    assert_int_equal(f16.kv_1k, 1000 * 2 * 2 * 2 * 32 * 2);
    p.kv_bytes = q8.kv_session - 1;
    assert_int_equal(engine_memory_of(m, &p, &tight, &e), ERR_NOMEM);
    p.ctx = 0; /* nothing asked: as much as fits */
    assert_int_equal(engine_memory_of(m, &p, &tight, &e), 0);
    assert_int_equal(tight.ctx, 2048 - 64);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_what_was_computed), /* first: forks without threads */
        cmocka_unit_test(turns_go_on_where_they_can),
        cmocka_unit_test(little_memory_changes_nothing),
        cmocka_unit_test(guesses_change_nothing),
        cmocka_unit_test(sessions_outlive_the_engine),
        cmocka_unit_test(damaged_sessions_leave_nothing),
        cmocka_unit_test(decoding_allocates_nothing),
        cmocka_unit_test(memory_is_known_before_loading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
