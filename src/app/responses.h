/* responses.h: the state of /v1/responses: answers that are kept so that later requests can go on
 * from them (previous_response_id) or name their items. */
#ifndef WEIR_RESPONSES_H
#define WEIR_RESPONSES_H

#include "house.h"

/* pipeline.c, on a worker, when a request is decoded and before anything looks at it: what it goes
 * on from is put in front of its messages. Nothing to do for requests of other dialects. The code
 * is also in f->err. */
int responses_recall(struct flow *f);
/* attempt.c, on the loop, when the answer's last bytes were written and before it ends: keeps it,
 * then calls then(f) on the loop, whether that worked or not. False: there is nothing to keep, and
 * then is not called. */
bool responses_keep(struct flow *f, void (*then)(void *ctx));

/* rest: what follows "/v1/responses/". */
void responses_get(struct house *h, struct net_req *r, struct str rest);    /* ID, ID/input_items */
void responses_delete(struct house *h, struct net_req *r, struct str rest); /* ID */
void responses_post(struct house *h, struct net_req *r, struct str rest);   /* ID/cancel */

#endif
