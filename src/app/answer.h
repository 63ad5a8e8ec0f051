/* answer.h: one HTTP answer in the caller's dialect: headers once, events as bytes, an end or an
 * error. Knows the faces so that the pipeline need not. Lives on the loop. */
#ifndef WEIR_ANSWER_H
#define WEIR_ANSWER_H

#include "pipeline.h"
#include "wire.h"

struct answer {
    struct net_req *http; /* NULL: the client has gone; everything below does nothing then */
    struct face face;
    bool stream;                /* SSE or NDJSON, not one JSON body */
    bool open;                  /* headers are sent */
    struct wire_writer *writer; /* NULL for FACE_NATIVE */
    struct buf bytes;
    size_t waiting; /* bytes the client has not taken yet */
};

/* req: decides stream and dialect; must outlive the answer. */
int answer_init(struct answer *a, struct net_req *http, struct face face, const struct gen_req *req,
                const char *id, struct err *e);
void answer_done(struct answer *a);

/* Send the headers (200). Once. */
void answer_open(struct answer *a);
/* A line or event. Opens first if need be. An event that the dialect cannot say is reported by `e`.
 */
int answer_event(struct answer *a, const struct gen_event *ev, struct err *e);
/* A line of weir's own (FACE_NATIVE only; nothing otherwise). json: an object without its closing
 * brace is not valid here: pass it whole; "type" is put in front. */
void answer_native(struct answer *a, const char *type, struct str json);
void answer_keepalive(struct answer *a);
/* The last bytes were given. */
void answer_end(struct answer *a);
/* Before the headers: the dialect's error body with its status. After: an in-band error, then the
 * end. */
void answer_error(struct answer *a, const struct err *err);

#endif
