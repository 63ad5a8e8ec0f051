/* client.h: how a command talks to the process that owns $WEIR_HOME. If one runs, over its Unix
 * socket; if none does, this process becomes the owner on a second thread and is talked to in the
 * same way. So there is one way through: every request, from wherever, passes the same endpoints,
 * pipeline, gate and ledger. */
#ifndef WEIR_CLIENT_H
#define WEIR_CLIENT_H

#include "settings.h"

#include <jansson.h>

struct client;

/* Find the owner or become it. serve: as the owner, listen on the TCP port too. */
int client_open(const struct settings *s, bool serve, struct client **out, struct err *e);
void client_close(struct client *c); /* stops the owner if it is ours; NULL is fine */
bool client_is_owner(const struct client *c);

struct client_call {
    const char *method, *path;
    const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
    struct str body;
    /* Each line of the answer's body, without its newline; non-zero stops. NULL: the body goes to
     * `whole`. */
    int (*line)(void *ctx, struct str line);
    void *ctx;
    struct buf *whole;
};

/* Blocks. *status is the HTTP status. ERR_CANCELLED after Ctrl-C (the call is cancelled at the
 * owner too). */
int client_call(struct client *c, const struct client_call *call, int *status, struct err *e);

/* JSON both ways: body may be NULL (none), *out is the caller's. An answer of 400 and more is an
 * error with the server's own message. */
int client_json(struct client *c, const char *method, const char *path, const json_t *body,
                json_t **out, struct err *e);

#endif
