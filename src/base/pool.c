/* pool.c: the compute pool and its barrier.
 *
 * Both waits (for a job, at the barrier) watch a counter: first by spinning, since a decode step is
 * a few hundred barriers a token, then asleep on a condition variable, so that an idle server uses
 * no processor. */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SPIN_TURNS 4000

struct worker {
    struct pool *pool;
    int index;
    pthread_t thread;
};

struct pool {
    int threads;
    pool_fn *fn;
    void *ctx;
    atomic_uint job;     /* counts jobs; a change starts one */
    atomic_uint done;    /* workers that finished this job */
    atomic_uint arrived; /* at the barrier */
    atomic_uint turn;    /* counts barriers passed */
    atomic_bool quit;
    atomic_int sleepers; /* so that the common case takes no lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct worker *workers;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Wait until *counter is no longer `seen`. */
static void wait_change(struct pool *p, atomic_uint *counter, unsigned seen)
{
    for (int i = 0; i < SPIN_TURNS; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != seen)
            return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(counter) == seen)
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

/* The change and the look at `sleepers` are sequentially consistent, as are the sleeper's count and
 * its look at the counter: one of the two always sees the other, so no wake-up is lost. */
static void change(struct pool *p, atomic_uint *counter)
{
    atomic_fetch_add(counter, 1);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    for (unsigned seen = 0;; seen++) {
        wait_change(p, &p->job, seen);
        if (atomic_load(&p->quit))
            return NULL;
        p->fn(p->ctx, w->index, p->threads);
        change(p, &p->done);
    }
}

int pool_new(int threads, struct pool **out, struct err *e)
{
    if (threads < 1 || threads > 256)
        return err_set(e, ERR_INVAL, "threads must be 1 to 256, not %d", threads);
    struct pool *p = calloc(1, sizeof *p);
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    if (!p || !workers) {
        free(p);
        free(workers);
        return err_set(e, ERR_NOMEM, "no memory for %d compute threads", threads);
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->workers = workers;
    p->threads = 1;
    for (int i = 1; i < threads; i++) {
        p->workers[i] = (struct worker){.pool = p, .index = i};
        if (pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i]) != 0) {
            pool_free(p);
            return err_set(e, ERR_NOMEM, "cannot start compute thread %d of %d", i + 1, threads);
        }
        p->threads = i + 1;
    }
    *out = p;
    return 0;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->quit, true);
    change(p, &p->job);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    free(p->workers);
    free(p);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_run(struct pool *p, pool_fn *fn, void *ctx)
{
    if (p->threads == 1) {
        fn(ctx, 0, 1);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    atomic_store(&p->done, 0);
    change(p, &p->job);
    fn(ctx, 0, p->threads);
    unsigned n;
    while ((n = atomic_load(&p->done)) != (unsigned)p->threads - 1)
        wait_change(p, &p->done, n);
}

void pool_barrier(struct pool *p)
{
    if (p->threads == 1)
        return;
    unsigned turn = atomic_load(&p->turn);
    if (atomic_fetch_add(&p->arrived, 1) == (unsigned)p->threads - 1) {
        atomic_store(&p->arrived, 0);
        change(p, &p->turn);
    } else {
        wait_change(p, &p->turn, turn);
    }
}
