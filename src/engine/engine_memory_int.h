/* engine_memory_int.h: private to engine/: the machine's limits and the cache's size. */
#ifndef WEIR_ENGINE_MEMORY_INT_H
#define WEIR_ENGINE_MEMORY_INT_H

#include "engine.h"

#define ENGINE_PARALLEL 8 /* sessions stepped together where nothing was asked */

struct memory_plan {
    int32_t ctx;
    int threads, parallel, batch;
    int wanted; /* rows (of an encoder: texts) of a batch that are wanted at most */
    size_t draft;
    uint64_t kv_bytes;
};

/* What was asked for, or as many as processors (0). */
int engine_threads(int asked);
int memory_plan(const struct model *m, const struct engine_params *p, struct memory_plan *out,
                struct err *e);

#endif
