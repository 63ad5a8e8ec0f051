/* route_int.h: what the files of this folder share. */
#ifndef WEIR_ROUTE_INT_H
#define WEIR_ROUTE_INT_H

#include "difficulty_int.h"
#include "route.h"

#define ROUTE_LONG_TOKENS 64000 /* a document of this length is a very long one */
#define ROUTE_AGENT_STEPS 8     /* from so many tool results on it is an agent's run */

/* features.c */
void route_signals_read(const struct gen_req *req, int64_t now_ms, struct route_signals *out);

/* estimate.c: cost, time and the score of one candidate. */
int64_t estimate_tokens_needed(const struct route_request *r); /* of the context */
int64_t estimate_cost(const struct route_candidate *c, int64_t input, int64_t output);
void estimate_choice(const struct route_facts *f, size_t i, struct route_choice *out);
double estimate_need(const struct route_request *r); /* the P that is asked for */
bool route_leaves(const struct route_candidate *c);  /* answering there leaves this machine */

/* constraint.c: everything that stands in a candidate's way, and a sentence for the first. */
unsigned constraint_obstacles(const struct route_facts *f, const struct route_candidate *c);
const char *constraint_sentence(struct arena *a, const struct route_facts *f,
                                const struct route_candidate *c, enum route_removed r);
/* What the request needs and the model has not: "images, tools". At most size bytes. */
void constraint_missing(const struct route_request *r, const struct route_candidate *c, char *out,
                        size_t size);

/* sentence.c: what a person reads. NULL: no memory. */
char *sentence_money(int64_t nano, char out[static 32]);
const char *sentence_decision(struct arena *a, const struct route_facts *f,
                              const struct route_plan *p);
const char *sentence_nothing(struct arena *a, const struct route_facts *f,
                             const struct route_plan *p);
/* i: which of the ranked is meant. */
const char *sentence_header(struct arena *a, const struct route_facts *f,
                            const struct route_plan *p, size_t i);

#endif
