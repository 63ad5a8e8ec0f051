/* pipeline.h: one request's whole way, on the loop: decode, label, decide, start, stream, book,
 * end.
 *
 *   body ─▶ decode ─▶ detect ─▶ count ─▶ zone + plan ─▶ reserve ─▶ start ─▶ events ─▶ settle ─▶
 * last event └──── on a worker ───────┘                                │ failed before the first
 *                                                  next candidate ◀───┘ visible event
 *
 * Fail-over happens only here, only before the first visible event, only to a candidate the plan
 * allows (the request's zone bounds them all). The last event waits until the store has
 * acknowledged the ledger's row: what a client saw finished is booked. After the first event a
 * failure is an in-band error in the caller's dialect. */
#ifndef WEIR_PIPELINE_H
#define WEIR_PIPELINE_H

#include "house.h"
#include "net.h"
#include "wire.h"

/* How one path is answered. */
struct face {
    enum wire_form
        form; /* how bodies are read; and written, unless weir's own way says otherwise */
    enum {
        FACE_FORM,   /* the form's answer */
        FACE_NATIVE, /* POST /weir/v1/chat: native.h */
        FACE_ROUTE,  /* POST /weir/v1/route: the plan alone, nobody called */
        FACE_COUNT,  /* the form's tokens, counted; nobody called */
    } kind;
};

#define PIPELINE_NATIVE ((struct face){WIRE_OPENAI, FACE_NATIVE})

/* Takes the request over: it will be answered. trusted: it came over the owner's Unix socket.
 * caller: whose it is; see gen_req. */
void pipeline_start(struct house *h, struct net_req *r, struct face face, bool trusted,
                    uint64_t caller);
/* Cancel everything under way; each ends with an in-band error. */
void pipeline_cancel_all(struct house *h);
/* Answer an error in the face's dialect. */
void pipeline_refuse(struct net_req *r, struct face face, const struct err *err);

#endif
