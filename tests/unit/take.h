/* take.h: what one job of an engine gave, for the tests of engine/. Included by one file of a test,
 * after cmocka.h and allocations.h. */
#ifndef WEIR_TAKE_H
#define WEIR_TAKE_H

#include "clock.h"
#include "engine.h"
#include "tiny_hybrid.h"

#include <pthread.h>
#include <stdatomic.h>

/* Sanitizers make everything many times slower: sizes are divided by this. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCALE 8
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SCALE 8
#endif
#endif
#ifndef SCALE
#define SCALE 1
#endif

#define TAKE_OUT 1200

struct take {
    pthread_mutex_t lock;
    pthread_cond_t change;
    int32_t ids[TAKE_OUT];
    uint64_t at_ns[TAKE_OUT]; /* when each token came */
    int n;
    bool done;
    uint64_t end_ns;
    enum engine_end end;
    struct engine_stats stats;
    struct err err;
    struct engine_run *run;
};

static inline enum engine_verdict take_token(void *ctx, const struct engine_token *t)
{
    struct take *k = ctx;
    pthread_mutex_lock(&k->lock);
    if (k->n < TAKE_OUT) {
        k->ids[k->n] = t->id;
        k->at_ns[k->n] = clock_mono_ns();
    }
    k->n++;
    pthread_cond_broadcast(&k->change);
    pthread_mutex_unlock(&k->lock);
    return ENGINE_GO;
}

static inline void take_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                            const struct err *err)
{
    struct take *k = ctx;
    pthread_mutex_lock(&k->lock);
    if (err)
        k->err = *err;
    k->end = end;
    k->end_ns = clock_mono_ns();
    k->stats = *s;
    k->done = true;
    pthread_cond_broadcast(&k->change);
    pthread_mutex_unlock(&k->lock);
}

static inline struct engine_job take_job(struct take *t, const int32_t *tokens, size_t n,
                                         int64_t max)
{
    memset(t, 0, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->change, NULL);
    return (struct engine_job){.tokens = tokens,
                               .ntokens = n,
                               .max_tokens = max,
                               .sampling = {.top_p = 1, .repeat_penalty = 1, .top_logprobs = -1},
                               .on_token = take_token,
                               .on_end = take_end,
                               .ctx = t};
}

static inline void take_submit(struct engine *en, const struct engine_job *job)
{
    struct err e = {0};
    struct take *t = job->ctx;
    if (engine_submit(en, job, &t->run, &e) != 0)
        fail_msg("%s", e.msg);
}

static inline void take_begin(struct engine *en, struct take *t, const int32_t *tokens, size_t n,
                              int64_t max)
{
    struct engine_job job = take_job(t, tokens, n, max);
    take_submit(en, &job);
}

static inline void take_await(struct take *t, int n)
{
    pthread_mutex_lock(&t->lock);
    while (t->n < n && !t->done)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static inline void take_await_end(struct take *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->done)
        pthread_cond_wait(&t->change, &t->lock);
    pthread_mutex_unlock(&t->lock);
    engine_release(t->run);
    if (t->end == ENGINE_END_ERROR)
        fail_msg("%s", t->err.msg);
}

static inline void take_run(struct engine *en, struct take *t, const int32_t *tokens, size_t n,
                            int64_t max)
{
    take_begin(en, t, tokens, n, max);
    take_await_end(t);
}

static inline void take_same(const struct take *a, const struct take *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
}

static inline void take_fill(int32_t *t, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        t[i] = (int32_t)((seed >> 8) % TINY_VOCAB);
    }
}

static inline struct engine *take_engine(const struct hybrid *h, struct engine_params p)
{
    char path[256];
    struct model *m = NULL;
    struct engine *en = NULL;
    struct err e = {0};
    assert_int_equal(hybrid_write(h, tiny_path("take", path)), 0);
    if (model_open_path(path, &m, &e) != 0 || engine_new(m, &p, &en, &e) != 0)
        fail_msg("%s", e.msg);
    unlink(path);
    return en;
}

#endif
