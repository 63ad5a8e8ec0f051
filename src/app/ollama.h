/* ollama.h: the paths of Ollama's API that ask and change what models there are; those that
 * generate are forms of wire/. Errors are {"error": "text"}, as there. */
#ifndef WEIR_OLLAMA_H
#define WEIR_OLLAMA_H

#include "house.h"

/* ollama_models.c */
void ollama_root(struct house *h, struct net_req *r);    /* GET, HEAD / for programs */
void ollama_version(struct house *h, struct net_req *r); /* GET /api/version */
void ollama_tags(struct house *h, struct net_req *r);    /* GET /api/tags */
void ollama_ps(struct house *h, struct net_req *r);      /* GET /api/ps */
void ollama_show(struct house *h, struct net_req *r);    /* POST /api/show */
void ollama_copy(struct house *h, struct net_req *r);    /* POST /api/copy */
void ollama_delete(struct house *h, struct net_req *r);  /* DELETE /api/delete */

/* ollama_jobs.c */
void ollama_pull(struct house *h, struct net_req *r);    /* POST /api/pull */
void ollama_push(struct house *h, struct net_req *r);    /* POST /api/push: refused */
void ollama_me(struct house *h, struct net_req *r);      /* POST /api/me: refused */
void ollama_signout(struct house *h, struct net_req *r); /* POST /api/signout */
void ollama_forget_key(struct house *h, struct net_req *r, struct str rest); /* DELETE, the same */
void ollama_create(struct house *h, struct net_req *r);                      /* POST /api/create */
/* rest: "sha256:HEX" */
void ollama_blob_get(struct house *h, struct net_req *r, struct str rest); /* HEAD */
void ollama_blob_put(struct house *h, struct net_req *r, struct str rest); /* POST */

/* Answers an error. */
void ollama_fail(struct net_req *r, const struct err *e);
/* "model", or where it is left out or empty "name", as older clients say. */
struct json_t;
int ollama_model_name(const struct json_t *o, struct str *out, struct err *e);

#endif
