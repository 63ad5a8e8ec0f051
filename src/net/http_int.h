/* http_int.h: what the files of this folder share: the parser without sockets, the check of Host
 * and Origin, the connection, the listener and the server. */
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

/* http_body.c: where the body ends, and what of the bytes is body. */
enum body_part {
    PART_PLAIN, /* `left` bytes of a body with a length */
    PART_SIZE,  /* chunked: in the digits of a size */
    PART_EXT,   /* what follows ';' up to the line's end */
    PART_SIZE_LF,
    PART_DATA, /* `left` bytes of a chunk */
    PART_DATA_CR,
    PART_DATA_LF,
    PART_TRAILER, /* in a line after the last chunk */
    PART_TRAILER_LF,
    PART_END,
};

struct http_body {
    enum body_part part;
    int digits, line; /* of the size; where in a trailer's line */
    bool last;        /* the chunk of size 0 has come */
    uint64_t left;    /* of the body, or of the chunk */
    uint64_t seen;    /* bytes of body so far */
    uint64_t framing; /* bytes that were not body so far */
};

struct http_in {
    size_t max_body;
    struct buf head, body;
    struct http_field *fields;
    size_t nfields, cap_fields;
    struct str method, target, query;
    struct str authority; /* of a target in absolute form; {NULL,0}: none */
    struct buf path;      /* percent-decoded; "*" for OPTIONS * */
    size_t line_start;    /* in head: where the line being read begins */
    size_t line_ends;     /* lines ended so far */
    size_t skipped;       /* bytes of empty lines before the request line */
    struct http_body framing;
    /* Where the bytes of a body go; NULL: into `body`. */
    void (*sink)(void *ctx, struct str bytes);
    void *sink_ctx;
    bool head_done, keep, chunked, expect_continue;
    int minor; /* of HTTP/1.x */
    int status;
    const char *why;
};

void http_in_init(struct http_in *in, size_t max_body);
void http_in_done(struct http_in *in);
enum http_step http_in_feed(struct http_in *in, struct str bytes, size_t *used);
bool http_in_started(const struct http_in *in); /* a byte of a request has come */
/* After IN_HEAD: another limit than the one of http_in_init. IN_BAD when the length that was
 * announced is over it. */
enum http_step http_in_limit(struct http_in *in, size_t max_body);
struct str http_in_header(const struct http_in *in, const char *lower_name);
/* %XX decoded, and + as a space where plus says so; false on a bad escape or %00. */
bool http_unescape(struct str s, bool plus, struct buf *out);
bool http_is_token(struct str s);

void http_body_init(struct http_body *b, bool chunked, uint64_t length);
/* Take the next run of bytes: *data is what of them is body (maybe nothing), *used how many were
 * taken. False: malformed, *why says how. Call again while part is not PART_END and bytes are left.
 */
bool http_body_feed(struct http_body *b, struct str bytes, struct str *data, size_t *used,
                    const char **why);

/* ---- http_check.c: may this request be answered at all? ---- */

struct http_policy {
    const char *bound;                /* the address listened on; NULL: a Unix socket */
    const char *const *allow_hosts;   /* NULL: none */
    const char *const *allow_origins; /* NULL: none */
    const char *const *guests;        /* the same, of this listener */
    const int *ports;                 /* of all listeners of this server; 0: none there */
    size_t nports;
};
/* 0, or the status to refuse with. host {NULL,0}: no Host (HTTP/1.0). *guest: let in by `guests`
 * only. */
int http_check(const struct http_policy *p, struct str host, struct str origin, bool *guest,
               const char **why);

/* ---- the connection ---- */

#define NET_HIGH ((size_t)64 * 1024)
#define NET_LOW ((size_t)16 * 1024)
#define NET_MAX_OUT ((size_t)64 * 1024 * 1024)
#define NET_MAX_PENDING ((size_t)64 * 1024)
#define NET_READ ((size_t)64 * 1024)
#define NET_LINGER_MS 2000
#define NET_MAX_GUEST_PORTS 8
/* What is written is sent at the end of the loop's turn, so that a header, its first event and what
 * follows at once are one packet; from here on it is sent at once. */
#define NET_CORK ((size_t)16 * 1024)

struct http_conn;

/* A request and its answer. Exists from the first byte of the one to the end of the other: a
 * connection that waits for its next request holds none. */
struct net_req {
    struct http_conn *c;
    bool active;  /* handed to the application, whose answer has not ended */
    bool started; /* the answer's header is written */
    bool high;    /* more than NET_HIGH bytes wait: drained is owed */
    bool chunked, no_body, keep;
    bool origin_ok; /* the check let it pass: the answer may say so */
    bool guest;     /* see net_req_is_guest */
    bool known;     /* its header is whole: the application may shape a refusal */
    bool streamed;  /* the body goes to `data` piece by piece */
    bool paused;    /* and is not wanted now */
    struct http_in in;
    void (*closed)(void *ctx);
    void *closed_ctx;
    void (*drained)(void *ctx);
    void *drained_ctx;
    bool (*data)(void *ctx, struct str bytes);
    void (*end)(void *ctx);
    void *body_ctx;
    struct buf headers;  /* of the answer */
    struct arena *arena; /* of net_req_param; NULL until wanted */
};

enum conn_state {
    CONN_HEAD,   /* waiting for a header or reading it */
    CONN_BODY,   /* reading a body; where it is streamed the application has the request already */
    CONN_ANSWER, /* the application has the request */
    CONN_LINGER, /* the last answer is on its way; what comes in is dropped */
    CONN_CLOSED, /* uv_close called */
};

/* Bytes the socket did not take at once. */
struct flight {
    uv_write_t write;
    struct http_conn *c;
    struct buf bytes;
};

struct http_conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    struct net_server *s;
    size_t from; /* the listener's number */
    struct http_conn *prev, *next;
    struct http_conn *later; /* the next in the server's list of what is to be looked after */
    struct net_req *req;     /* NULL between requests */
    struct flight *flight;   /* NULL: nothing is being written */
    struct buf pending;      /* came in, not parsed yet */
    struct buf out;          /* waiting to be written */
    uint64_t deadline;       /* on the loop's clock; 0: none */
    uint64_t progress_at;    /* when bytes last moved to the client */
    uint64_t queued;         /* bytes ever given to out */
    uint64_t sent;           /* of those, gone at the last tick */
    uint64_t body_mark;      /* bytes of body when its deadline was last moved */
    uint64_t peer;           /* see net_req_peer; 0: not asked yet */
    enum conn_state state;
    bool shut, eof, pumping, reading, doomed, orphan, refused;
    bool is_later; /* in the list `later` belongs to */
    bool feeding;  /* inside the parser: what it reads from must stay */
    bool answered; /* the answer ended meanwhile */
};

/* ---- listening: http_listen.c ---- */

struct listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    struct net_server *s;
    bool open; /* its handle is initialised and not closed */
    bool is_unix;
    bool held;    /* a connection waits to be taken: enough were taken in this turn */
    int taken;    /* in this turn of the loop */
    int lock_fd;  /* of the Unix socket's lock file; -1 */
    char *bound;  /* address or path */
    char *failed; /* why an optional one does not listen; NULL */
};

int listener_open(struct listener *l, const struct net_listen *p, int *port, struct err *e);
void listener_done(struct listener *l); /* after its handle was closed */

/* ---- the server ---- */

struct net_server {
    struct net_loop *l;
    uv_loop_t *uv;
    struct listener *listeners;
    int *ports; /* beside them; 0: a Unix socket, -1: an optional one that does not listen */
    size_t nlisteners;
    uv_timer_t tick;
    uv_prepare_t before; /* these two end a turn of the loop: */
    uv_check_t after;    /* what was written in it is sent */
    int open_handles;    /* listeners, tick, before, after */
    bool listening, draining, closed;
    int connections, refused, max_connections;
    size_t max_body;
    uint64_t header_ms, body_ms, idle_ms, stall_ms;
    char **allow_hosts, **allow_origins, **guests;
    int guest_ports[NET_MAX_GUEST_PORTS];
    size_t nguest_ports;
    size_t (*body_limit)(void *ctx, struct str method, struct str path);
    void (*request)(void *ctx, struct net_req *r);
    void (*refuse)(void *ctx, struct net_req *r, int status, const char *why);
    void *ctx;
    void (*drained)(void *ctx);
    void *drained_ctx;
    struct http_conn *conns;
    struct http_conn *later;
    int64_t date_at; /* the second that `date` names */
    char date[40];
    char read_space[NET_READ]; /* libuv hands every read over before the next begins */
};

/* http_conn.c */
void conn_accept(struct listener *l);
void conn_close(struct http_conn *c);           /* at once, telling the application nothing */
void conn_cut(struct http_conn *c, bool reset); /* the same; reset: so that it cannot look whole */
void conn_gone(struct http_conn *c);            /* the client left: tell the application */
void conn_answered(struct http_conn *c);        /* the answer has ended */
bool conn_tick(struct http_conn *c, uint64_t now); /* deadlines; true: one had passed */
void conn_look_after(struct http_conn *c);         /* the loop's turn ends: send, go on */
bool conn_idle(const struct http_conn *c);
void conn_free_orphan(struct http_conn *c); /* the client left earlier, now the answer has ended */
void conn_body_wanted(struct http_conn *c); /* a streamed body may come, or come again */
void conn_written(struct http_conn *c);     /* something has left, or cannot: go on */
/* http_out.c */
size_t conn_waiting(const struct http_conn *c);
void conn_flush(struct http_conn *c); /* write what waits */
void conn_out_done(struct http_conn *c);
bool conn_stalled(struct http_conn *c, uint64_t now);
/* http_server.c */
void server_conn_closed(struct net_server *s, struct http_conn *c);
void server_arrived(struct listener *l, int status);
void server_later(struct http_conn *c); /* look after it before the loop sleeps */
const char *server_date(struct net_server *s);
/* The guests of the listener with this number; NULL: none. */
const char *const *server_guests(const struct net_server *s, size_t listener);
/* http_req.c */
struct net_req *req_new(struct http_conn *c);
void req_free(struct net_req *r);
/* http_res.c */
void res_begin(struct net_req *r);
void res_preflight(struct net_req *r);
void res_server_options(struct net_req *r);

#endif
