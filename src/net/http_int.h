/* http_int.h: what the files of this folder share: the parser without sockets, the check of Host
 * and Origin, and the connection. */
#ifndef WEIR_HTTP_INT_H
#define WEIR_HTTP_INT_H

#include "arena.h"
#include "net.h"

#include <llhttp.h>
#include <uv.h>

/* ---- http_parse.c: bytes in, one request out ---- */

#define HTTP_MAX_HEAD ((size_t)16 * 1024)
#define HTTP_MAX_FIELDS 100

struct http_field {
    struct str name, value; /* into the head; the name in lower case */
};

enum http_step {
    IN_MORE,  /* all bytes taken, the request is not whole yet */
    IN_HEAD,  /* the header is whole and well formed: check it, then go on (even without bytes) */
    IN_READY, /* the request is whole; bytes after it were not touched */
    IN_BAD,   /* status and why say what to answer; the connection cannot be used any more */
};

struct http_in {
    llhttp_t ll;
    size_t max_body;
    struct buf head, body;
    struct http_field fields[HTTP_MAX_FIELDS];
    size_t nfields;
    struct str method, target, query;
    struct buf path;   /* percent-decoded */
    size_t line_start; /* in head: where the line being read begins */
    size_t line_ends;  /* lines ended so far */
    size_t skipped;    /* bytes of empty lines before the request line */
    size_t framing;    /* bytes of the chunks' framing so far */
    bool head_done, complete, keep, chunked, expect_continue;
    int minor; /* of HTTP/1.x */
    int status;
    const char *why;
};

void http_in_init(struct http_in *in, size_t max_body);
void http_in_done(struct http_in *in);
void http_in_reset(struct http_in *in); /* for the next request on the same connection */
enum http_step http_in_feed(struct http_in *in, struct str bytes, size_t *used);
bool http_in_started(const struct http_in *in); /* a byte of a request has come */
struct str http_in_header(const struct http_in *in, const char *lower_name);
/* %XX decoded, and + as a space where plus says so; false on a bad escape or %00. */
bool http_unescape(struct str s, bool plus, struct buf *out);
bool http_is_token(struct str s);

/* ---- http_check.c: may this request be answered at all? ---- */

struct http_policy {
    const char *bound;                /* the address listened on; NULL: a Unix socket */
    const char *const *allow_hosts;   /* NULL: none */
    const char *const *allow_origins; /* NULL: none */
};
/* 0, or the status to refuse with. host {NULL,0}: no Host (HTTP/1.0). */
int http_check(const struct http_policy *p, struct str host, struct str origin, const char **why);

/* ---- the connection ---- */

struct http_conn;

struct net_req {
    struct http_conn *c;
    bool active;  /* handed to the application, whose answer has not ended */
    bool started; /* the answer's header is written */
    bool high;    /* more than NET_HIGH bytes wait: drained is owed */
    bool chunked, no_body, keep;
    bool origin_ok; /* the check let it pass: the answer may say so */
    void (*closed)(void *ctx);
    void *closed_ctx;
    void (*drained)(void *ctx);
    void *drained_ctx;
    struct buf headers;  /* of the answer */
    struct arena *arena; /* of net_req_param; NULL until wanted */
};

#define NET_HIGH ((size_t)64 * 1024)
#define NET_LOW ((size_t)16 * 1024)
#define NET_MAX_OUT ((size_t)64 * 1024 * 1024)
#define NET_MAX_PENDING ((size_t)64 * 1024)
#define NET_READ ((size_t)64 * 1024)
#define NET_LINGER_MS 2000

enum conn_state {
    CONN_HEAD,   /* waiting for a header or reading it */
    CONN_BODY,   /* reading a body */
    CONN_ANSWER, /* the application has the request */
    CONN_LINGER, /* the last answer is on its way; what comes in is dropped */
    CONN_CLOSED, /* uv_close called */
};

struct http_conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    struct net_server *s;
    struct http_conn *prev, *next;
    enum conn_state state;
    struct http_in in;
    struct buf pending;     /* came in, not parsed yet */
    struct buf out, flight; /* waiting to be written; being written */
    uv_write_t write;
    uv_shutdown_t shutdown;
    bool writing, shut, eof, pumping, reading, doomed, orphan;
    uint64_t deadline;    /* on the loop's clock; 0: none */
    uint64_t progress_at; /* when bytes last moved to the client */
    uint64_t queued;      /* bytes ever given to out */
    uint64_t sent;        /* of those, gone at the last tick */
    struct net_req req;
};

struct net_server {
    struct net_loop *l;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    uv_timer_t tick;
    int open_handles; /* listener and tick */
    bool is_unix, listening, draining, closed;
    int lock_fd; /* of the Unix socket's lock file; -1 */
    int port, connections, max_connections;
    size_t max_body;
    uint64_t header_ms, body_ms, idle_ms, stall_ms;
    char *bound;
    char **allow_hosts, **allow_origins;
    void (*request)(void *ctx, struct net_req *r);
    void *ctx;
    void (*drained)(void *ctx);
    void *drained_ctx;
    struct http_conn *conns;
    char read_space[NET_READ]; /* libuv hands every read over before the next begins */
};

/* http_conn.c */
void conn_accept(struct net_server *s);
void conn_close(struct http_conn *c);           /* at once, telling the application nothing */
void conn_cut(struct http_conn *c, bool reset); /* the same; reset: so that it cannot look whole */
void conn_gone(struct http_conn *c);            /* the client left: tell the application */
void conn_flush(struct http_conn *c);           /* write what waits */
void conn_answered(struct http_conn *c);        /* the answer has ended */
void conn_tick(struct http_conn *c, uint64_t now); /* deadlines */
void conn_refuse(struct http_conn *c, int status, const char *why);
size_t conn_waiting(const struct http_conn *c);
bool conn_idle(const struct http_conn *c);
void conn_free_orphan(struct http_conn *c); /* the client left earlier, now the answer has ended */
/* http_server.c */
void server_conn_closed(struct net_server *s, struct http_conn *c);
/* http_res.c */
void res_begin(struct net_req *r, struct http_conn *c);
void res_done(struct net_req *r); /* frees what the request held */
void res_preflight(struct net_req *r);

#endif
