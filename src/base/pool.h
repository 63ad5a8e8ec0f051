/* pool.h: the compute pool. A fixed set of threads that run one function together; the caller is
 * worker 0.
 *
 * pool_run() hands `fn` to every worker and returns when all are done. Between jobs workers spin
 * briefly, then sleep; inside a job they meet at pool_barrier(). Work is divided by index, never by
 * who comes first, so what a job computes does not depend on timing. One job at a time: the
 * engine's thread owns the pool. */
#ifndef WEIR_POOL_H
#define WEIR_POOL_H

#include "err.h"

struct pool;

/* threads >= 1, at most 256; 1 starts no thread. */
int pool_new(int threads, struct pool **out, struct err *e);
void pool_free(struct pool *p); /* NULL is fine; no job may be running */
int pool_threads(const struct pool *p);

typedef void pool_fn(void *ctx, int worker, int workers);
void pool_run(struct pool *p, pool_fn *fn, void *ctx);
/* Called by every worker inside a job: returns when all have called it. Writes before are seen
 * after. */
void pool_barrier(struct pool *p);

/* The share of worker w among `workers` of `total` items in units of `grain` items: [*from, *to).
 */
static inline void pool_share(size_t total, size_t grain, int w, int workers, size_t *from,
                              size_t *to)
{
    size_t units = (total + grain - 1) / grain;
    size_t a = units * (size_t)w / (size_t)workers * grain;
    size_t b = units * (size_t)(w + 1) / (size_t)workers * grain;
    *from = a < total ? a : total;
    *to = b < total ? b : total;
}

#endif
