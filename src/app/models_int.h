/* models_int.h: what models.c and models_load.c share. */
#ifndef WEIR_MODELS_INT_H
#define WEIR_MODELS_INT_H

#include "library.h"
#include "models.h"

struct models_wait {
    struct models_wait *next;
    int64_t positions; /* the context that is wanted; 0: any */
    void (*ready)(void *ctx, int rc);
    void *ctx;
};

struct models {
    struct house *h;
    struct library *library;
    struct models_entry *first;
    char *cache_dir;         /* of prefixes that were read */
    uint64_t stamp;          /* of the library when it was read; 0: it was not, or just changed */
    uint64_t budget;         /* bytes that all loaded models may have */
    struct net_timer *timer; /* runs while something is loaded */
};

void models_load_init(struct models *m);
int64_t models_default_keep(const struct models *m);
/* It cannot be forgotten: somebody holds it, or a worker has it in hand. */
bool models_is_held(const struct models_entry *en);

#endif
