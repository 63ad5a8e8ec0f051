/* models.h: the local models: what is in the library, what is loaded, and loading on demand without
 * blocking the loop. All on the loop's thread. A held model is never given up; idle ones are when
 * memory is wanted. */
#ifndef WEIR_MODELS_H
#define WEIR_MODELS_H

#include "house.h"
#include "local.h"

struct models_entry {
    struct models_entry *next;
    char *name, *path; /* "smollm2:135m"; a path given on the command line is its own name */
    bool from_path;    /* not in the library: only trusted callers may name it */
    uint64_t bytes;    /* of the file */
    double params;
    int64_t ctx;          /* trained context */
    struct gen_caps caps; /* from the file; exact once loaded */
    struct local *local;  /* NULL: not loaded */
    bool loading;
    int holds;
    uint64_t used_ns;               /* when it was last held */
    struct err err;                 /* why the last load failed; code 0: it did not */
    int64_t load_ms;                /* what loading took; 0: never */
    double prefill_tps, decode_tps; /* measured lately; 0: not yet */
    struct models_wait *waiting;
};

int models_new(struct house *h, struct models **out, struct err *e);
void models_free(struct models *m); /* unloads all; nothing may be held */
/* Read the library again (a pull or rm by another process is seen). */
void models_refresh(struct models *m);
struct models_entry *models_first(struct models *m);
/* By name or alias; by path where paths is true. NULL: not here, *e says what is near. */
struct models_entry *models_find(struct models *m, struct str name, bool paths, struct err *e);
/* The one `auto` counts tokens with: loaded before not loaded, larger before smaller. To embed: an
 * encoder before all others, whatever is loaded, so that rows of two days compare. NULL: none is
 * here. */
struct models_entry *models_preferred(struct models *m, bool embed);
/* Load if need be and keep loaded until models_drop. ready(ctx, rc) on the loop, never from inside
 * this call; on failure the entry's err says why and it is not held. */
void models_hold(struct models *m, struct models_entry *en, void (*ready)(void *ctx, int rc),
                 void *ctx);
void models_drop(struct models *m, struct models_entry *en);
/* Speeds and queue of a loaded model as the route's facts want them. */
void models_measure(struct models_entry *en, int *queued);

#endif
