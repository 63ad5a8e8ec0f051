/* models.h: the local models: what is in the library, what is loaded, and loading on demand without
 * blocking the loop. All on the loop's thread.
 *
 *   not loaded ──hold──▶ waiting ──fits──▶ loading ──▶ loaded ──idle for keep_ms, or its memory is
 *        ▲                  │ larger than all there is     │          wanted and nobody holds it
 *        └──────────────────┴──────────────────────────────┴──▶ leaving ──▶ not loaded
 *
 * Memory is computed before loading, and loaded models never have more than the budget together. A
 * model that is held is never given up: who wants its memory waits until it is idle. */
#ifndef WEIR_MODELS_H
#define WEIR_MODELS_H

#include "house.h"
#include "library.h"
#include "local.h"

struct models_entry {
    struct models_entry *next;
    struct library_item item;
    char *name,
        *path; /* the item's; "smollm2:135m"; a path given on the command line is its own name */
    bool from_path;             /* not in the library: only trusted callers may name it */
    uint64_t bytes;             /* of the file */
    char family[32], quant[16]; /* "llama", "Q4_K_M"; empty: unknown */
    double params;
    int64_t ctx;          /* trained context */
    struct gen_caps caps; /* from the file; exact once loaded */
    struct local *local;  /* NULL: not loaded */
    bool loading;
    struct local *leaving; /* being closed by a worker */
    int holds;
    uint64_t used_ns;     /* when it was last held */
    uint64_t bytes_taken; /* of memory, while it is loading or loaded */
    int64_t keep_ms;      /* how long it stays when idle; -1: for good */
    uint64_t expires_ns;  /* when it goes, if it is idle until then; 0: never */
    bool unload;          /* it goes as soon as nobody holds it */
    struct err err;       /* why the last load failed; code 0: it did not */
    int64_t asked; /* the context it was loaded with because a request wanted it; 0: none did */
    struct err refused;             /* why it was not loaded with a longer context lately */
    int64_t load_ms;                /* what loading took; 0: never */
    double prefill_tps, decode_tps; /* measured lately; 0: not yet */
    struct models_wait *waiting;
    int nwaiting;
};

int models_new(struct house *h, struct models **out, struct err *e);
void models_free(struct models *m); /* unloads all; nothing may be held */
struct library *models_library(struct models *m);
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
 * this call. On failure it is not held, and models_why says why. positions: the context it is to
 * have at least (more than it was trained with counts as that; 0: whatever it has). One that is
 * loaded with less is loaded again with more once nobody holds it; where memory does not admit
 * that, it stays as it is and the hold fails. */
void models_hold(struct models *m, struct models_entry *en, int64_t positions,
                 void (*ready)(void *ctx, int rc), void *ctx);
/* Once more, by who holds it: waits for nothing. */
void models_hold_again(struct models *m, struct models_entry *en, void (*ready)(void *ctx, int rc),
                       void *ctx);
/* Why a hold failed with rc: the load, a longer context, or (ERR_OVERLOAD, ERR_NOMEM) nothing that
 * the model is to blame for. */
void models_why(const struct models_entry *en, int rc, struct err *e);
void models_drop(struct models *m, struct models_entry *en);
/* How long it stays loaded when nobody holds it: milliseconds; -1: for good, 0: not at all. Counts
 * from the next drop, or from now if nobody holds it. */
void models_keep(struct models *m, struct models_entry *en, int64_t ms);
/* Give it up as soon as nobody holds it. */
void models_unload(struct models *m, struct models_entry *en);
/* What the model's own record says (parameters, a system prompt, first messages) into a request
 * that says nothing of it. */
int models_apply(const struct models_entry *en, struct gen_req *r, struct err *e);
/* Bytes that loaded models may have together, and have. */
uint64_t models_budget(const struct models *m);
uint64_t models_taken(const struct models *m);
/* Speeds and queue of a loaded model as the route's facts want them. */
void models_measure(struct models_entry *en, int *queued);

#endif
