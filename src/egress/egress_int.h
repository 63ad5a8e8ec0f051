/* egress_int.h: what the files of this folder share: the gate, the log, one dialling, the pools. */
#ifndef WEIR_EGRESS_INT_H
#define WEIR_EGRESS_INT_H

#include "egress.h"

#include <curl/curl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <uv.h>

/* ---- gate.c: the decision, pure ---- */

struct gate_ask {
    enum gen_zone req_zone, row_zone;
    bool https;                  /* else http */
    bool is_unix;                /* the row is a Unix socket */
    bool proxied;                /* a proxy stands between */
    bool offline;                /* nothing may leave this machine */
    bool unlogged;               /* there is no log: only Unix sockets then */
    struct str host;             /* of the URL, without brackets */
    const struct sockaddr *addr; /* resolved; NULL: not resolved yet */
};
/* NULL: may pass. Else why not, in words for a person. */
const char *gate_refuses(const struct gate_ask *a);
bool gate_host_is_loopback(struct str host);
bool gate_addr_is_loopback(const struct sockaddr *a);
const char *gate_zone_name(enum gen_zone z);

/* ---- egress_log.c: the chain ---- */

#define EGRESS_HASH 32

struct egress_log;

struct egress_line {
    const char *event; /* "open", "reuse", "close", "refused", "child" */
    const char *row, *rule;
    struct str host;
    const char *addr; /* numeric, or "unix"; NULL */
    int port;
    enum gen_zone row_zone, req_zone;
    const char *proxy; /* "host:port"; NULL */
    const char *what;  /* of a child; why refused; how it ended */
    uint64_t of;       /* close: the number of the line it ends */
    uint64_t out, in;  /* close */
    bool has_zones;
};

int egress_log_open(const char *home, struct egress_log **out, struct err *e);
void egress_log_free(struct egress_log *l);
/* Any thread. sync: on the disk when it returns. *seq gets the line's number. */
int egress_log_add(struct egress_log *l, const struct egress_line *line, bool sync, uint64_t *seq,
                   struct err *e);

/* ---- dial.c: one curl handle, checked and logged ---- */

struct egress {
    struct net_loop *loop;
    struct egress_log *log; /* NULL: no home */
    bool offline;
    struct pool_of_curl *pools;
    size_t npools, runs;
    uint64_t uses; /* a clock for which pool was used last */
};

struct dial {
    struct egress *eg;
    char *row, *rule, *host, *unix_path, *proxy;
    enum gen_zone row_zone, req_zone;
    bool https;
    int port;
    CURLU *url;
    struct curl_slist *headers, *resolve;
    uint64_t seq;        /* of the last line about a connection; 0: none */
    int opened;          /* sockets opened for the transfer under way */
    const char *refused; /* the gate's word at the last socket */
    int log_rc;          /* the log could not be written */
    void (*connected)(void *ctx);
    void *ctx;
};

struct dial_params {
    struct egress *eg;
    const struct egress_row *row;
    enum gen_zone req_zone;
    const char *rule, *url;
    const char *const *headers;
    const char *const *drop; /* names of headers left out; NULL */
};
/* Parses the URL, asks the gate what can be known before resolving, and sets the handle up. */
int dial_init(struct dial *d, CURL *easy, const struct dial_params *p, struct err *e);
void dial_done(struct dial *d);
/* The transfer is over: its line in the log, and the error in words without secrets; 0 when ok. */
int dial_finish(struct dial *d, CURL *easy, CURLcode rc, int override, struct err *e);
int egress_curl_init(struct err *e);
uint64_t egress_now_ms(void);
bool egress_header_is(const char *line, const char *name);

/* ---- curl_multi.c: curl on the uv loop ---- */

struct pool_of_curl {
    struct pool_of_curl *next;
    struct egress *eg;
    CURLM *multi;
    uv_timer_t timer;
    char *key;
    size_t runs;
    uint64_t used;
};
int pools_get(struct egress *eg, const struct dial *d, struct pool_of_curl **out, struct err *e);
void pools_free(struct egress *eg);
int pool_add(struct pool_of_curl *p, CURL *easy, struct err *e);
void pool_remove(struct pool_of_curl *p, CURL *easy);
void pool_kick(struct pool_of_curl *p); /* let curl look at its transfers now */
/* call.c */
void call_over(CURL *easy, CURLcode rc);

#endif
