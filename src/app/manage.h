/* manage.h: weir's own endpoints that change something: which models are loaded, which keys count.
 * Keys are only for callers on the owner's Unix socket. */
#ifndef WEIR_MANAGE_H
#define WEIR_MANAGE_H

#include "house.h"

#include <jansson.h>

void manage_loaded(struct house *h, struct net_req *r);     /* GET /weir/v1/loaded */
void manage_unload(struct house *h, struct net_req *r);     /* POST /weir/v1/unload {"model"} */
void manage_keys(struct house *h, struct net_req *r);       /* GET /weir/v1/keys */
void manage_key_create(struct house *h, struct net_req *r); /* POST /weir/v1/keys {"name"} */
void manage_key_revoke(struct house *h, struct net_req *r); /* DELETE /weir/v1/keys {"name"} */

/* The JSON object of a request's body; the caller owns *out. ERR_FORMAT says what it is instead. An
 * empty body is {}. */
int manage_body(struct net_req *r, json_t **out, struct err *e);
/* A string member. ERR_FORMAT names it, when it is missing too where `needed`. */
int manage_string(const json_t *o, const char *key, bool needed, struct str *out, struct err *e);
/* "key":"2026-11-25T03:17:43.000Z" */
void manage_time(struct buf *b, const char *key, int64_t wall_ms);
/* Answers 200 with the buffer's JSON, or 500 if it failed; the buffer is done with. */
void manage_send(struct net_req *r, struct buf *b);

#endif
