/* llama.h: the paths of llama-server that are no dialect: what it serves and how it fares. */
#ifndef WEIR_LLAMA_H
#define WEIR_LLAMA_H

#include "house.h"

void llama_props(struct house *h, struct net_req *r);          /* GET /props */
void llama_slots(struct house *h, struct net_req *r);          /* GET /slots */
void llama_metrics(struct house *h, struct net_req *r);        /* GET /metrics: Prometheus */
void llama_tokenize(struct house *h, struct net_req *r);       /* POST /tokenize */
void llama_detokenize(struct house *h, struct net_req *r);     /* POST /detokenize */
void llama_apply_template(struct house *h, struct net_req *r); /* POST /apply-template */
void llama_rerank(struct house *h, struct net_req *r);         /* POST /v1/rerank: refused */

#endif
