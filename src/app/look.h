/* look.h: questions to one loaded model that are no requests for text: held, answered on a worker,
 * let go. Used by the paths that look closely at tokens and templates. */
#ifndef WEIR_LOOK_H
#define WEIR_LOOK_H

#include "models.h"
#include "pipeline.h"

#include <jansson.h>

struct look {
    struct house *h;
    struct net_req *r; /* NULL: the client has gone */
    struct face face;  /* whose error bodies it has */
    struct models_entry *en;
    json_t *body;
    struct str text; /* the body's bytes */
    struct arena *arena;
    /* On a worker, with en loaded: fills out, or err and returns its code. */
    int (*work)(struct look *k, struct buf *out, struct err *e);
    struct buf out;
    struct err err;
    int rc;
    int64_t began_ns, loaded_ns; /* loaded_ns: what waiting for the model took */
};

/* The model that the body's `key` names; where it names none, the one that `auto` would take (LM
 * Studio's refuses). With a body that is empty too. Answers the request, whatever comes of it. */
void look_start(struct house *h, struct net_req *r, struct face face, const char *key,
                int (*work)(struct look *k, struct buf *out, struct err *e));

#endif
