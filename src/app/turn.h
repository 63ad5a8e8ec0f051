/* turn.h: one turn of a conversation from the command line: send it to the owner, print the answer
 * as it comes, keep the account. `weir ask`, `weir run` and `weir hello` use it. */
#ifndef WEIR_TURN_H
#define WEIR_TURN_H

#include "client.h"

#include <jansson.h>
#include <stdio.h>

struct turn {
    struct buf text; /* the whole answer */
    json_t *route;   /* the plan that was followed; owned */
    json_t *account; /* the ledger's row; owned; NULL if the turn failed before */
    char reason[32]; /* how it ended: "stop", "length", ... */
    bool tools_called;
};

void turn_init(struct turn *t);
void turn_done(struct turn *t);

/* messages: a JSON array in OpenAI's form. show: where the text is printed while it streams; NULL:
 * nowhere. */
int turn_ask(struct client *c, const struct settings *s, json_t *messages, FILE *show,
             struct turn *t, struct err *e);

/* POST a body of the caller's as this user's request, zone and all; an error of the owner becomes
 * *e. call: where the answer goes (line or whole). */
int turn_post(struct client *c, const struct settings *s, const char *path, struct str body,
              struct client_call *call, struct err *e);

/* The one line under an answer: where · why · tokens/s · first token · cost. */
void turn_line(const json_t *account, struct buf *out);

/* The plan for these messages, nobody called. *plan is owned by the caller. */
int turn_route(struct client *c, const struct settings *s, json_t *messages, json_t **plan,
               struct err *e);
/* A plan as a person reads it. brief: one line. */
void turn_plan_text(const json_t *plan, bool brief, struct buf *out);

#endif
