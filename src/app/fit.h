/* fit.h: what this machine can run, from its free memory and measured read bandwidth, over a small
 * catalogue. */
#ifndef WEIR_FIT_H
#define WEIR_FIT_H

#include "buf.h"
#include "err.h"

#include <stdbool.h>

struct fit_machine {
    uint64_t memory_total, memory_free; /* bytes; free: what can be had without swapping */
    double read_bps;                    /* measured now, all threads */
    double int8_macs;                   /* multiply-adds a second; 0: not measured */
    int threads;
    char cpu[128];
    const char *kernels; /* widest instruction set used */
};

/* A model a person would download, by its usual file. */
struct fit_model {
    const char *name, *quant;
    double params, active; /* billions; active: per token (experts) */
    uint64_t bytes;        /* of the file */
    uint64_t kv_per_token; /* bytes of an F16 cache */
    const char *good_for;
};

struct fit_row {
    const struct fit_model *model;
    bool fits;       /* weights and 8,192 tokens of cache in free memory, 10 % to spare */
    uint64_t needs;  /* bytes */
    double tokens_s; /* expected decode speed: 80 % of the bandwidth over the bytes a token reads */
};

/* Memory alone, as it is now. */
void fit_memory(struct fit_machine *m);
/* All of it. int8: measure that too (takes longer). */
void fit_measure(int threads, bool int8, struct fit_machine *out);
/* As home/machine says; false: it does not know this machine's bandwidth, which is 0 then. */
bool fit_known(const char *home, int threads, struct fit_machine *out);
/* Measured and written to home/machine: takes a fifth of a second and a gigabyte of memory. */
double fit_learn(const char *home, int threads);
size_t fit_rows(const struct fit_machine *m,
                const struct fit_row **rows); /* largest first; static memory */
/* The largest that fits at 5 tokens/s or more; NULL: none does. */
const struct fit_row *fit_best(const struct fit_machine *m);
void fit_text(const struct fit_machine *m, struct buf *out);
void fit_json(const struct fit_machine *m, struct buf *out);

#endif
