/* bench_int.h: what the parts of checkkern --bench share: a job timed in turns with the machine's
 * limits, so that a neighbour who slows one down slows down the other. */
#ifndef WEIR_BENCH_INT_H
#define WEIR_BENCH_INT_H

#include "check_int.h"
#include "pool.h"

#define COLD_BYTES ((size_t)96 << 20) /* far larger than the caches */

struct bench {
    const struct kern *kern;
    struct pool *pool;
    int threads;
    const char *only; /* part of a line's name; NULL: all */
    size_t n;         /* columns; 0: the usual ones */
    bool hot;         /* weights that stay in the second cache, whatever n is */
    uint64_t *cold;   /* what the read speed is measured on */
};

/* Best of many short samples each. */
struct bench_result {
    double seconds;
    double read, int8; /* bytes and multiply-adds a second */
};

void *bench_alloc(size_t bytes);
struct bench_result bench_time(const struct bench *b, pool_fn *fn, void *ctx);
/* Prints a line: `name`, the time, what `bytes` and `macs` in it are beside the limits (0: not
 * told). */
void bench_print(const char *name, const struct bench_result *r, double bytes, double macs);
bool bench_wants(const struct bench *b, const char *name);

void bench_rows(const struct bench *b); /* attention, the recurrence and the row operations */

#endif
