/* net.h: the loop and the HTTP/1.1 server. One thread owns everything here: sockets, timers,
 * connections. Only net_post may be called from other threads. Knows no dialect and no model.
 *
 * Limits stand from the first byte: header 16 KiB and 100 fields, 10 s for a header to arrive, body
 * 8 MiB or what the path is allowed, a number of connections; strict framing (both length headers,
 * bare LF, odd chunk sizes refused); Host and Origin are checked on every request, so that a page
 * in a browser cannot reach a local server by DNS rebinding. Pipelined requests are answered in
 * order, one at a time.
 *
 * A client that stops sending while its answer is being made has left. TCP cannot tell one that
 * closed from one that shut down its sending side only, and waiting for a write to fail would let a
 * queued request compute for nobody; nginx, Node and Go decide the same way. What was answered by
 * then is still delivered, so `printf 'GET /health ...' | nc -N` works. */
#ifndef WEIR_NET_H
#define WEIR_NET_H

#include "buf.h"
#include "err.h"

struct net_loop;
struct uv_loop_s;

int net_loop_new(struct net_loop **out, struct err *e);
void net_loop_free(
    struct net_loop *l); /* after net_loop_run has returned and all handles are closed */
void net_loop_run(struct net_loop *l);  /* until net_loop_stop */
void net_loop_stop(struct net_loop *l); /* on the loop */
/* After net_loop_run: until no net_work is under way, so that what it has in hand can be freed. */
void net_loop_settle(struct net_loop *l);
struct uv_loop_s *net_loop_uv(struct net_loop *l); /* for egress/ */

/* Run fn(ctx) on the loop, in order of posting. Any thread. Never fails: the list is intrusive-free
 * but grows by small nodes; on out of memory the process ends, because a lost message would be a
 * lost request. */
void net_post(struct net_loop *l, void (*fn)(void *ctx), void *ctx);
/* Run work(ctx) on one of libuv's workers, then done(ctx) on the loop. For what blocks or handles >
 * 64 KiB. */
int net_work(struct net_loop *l, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx);

struct net_timer;
/* Calls fn(ctx) on the loop after ms, then every repeat_ms if that is not 0. */
int net_timer_new(struct net_loop *l, uint64_t ms, uint64_t repeat_ms, void (*fn)(void *ctx),
                  void *ctx, struct net_timer **out);
void net_timer_free(struct net_timer *t); /* NULL is fine; inside fn too */

/* SIGINT and SIGTERM on the loop: fn(ctx, signal). */
int net_signals(struct net_loop *l, void (*fn)(void *ctx, int sig), void *ctx, struct err *e);

/* ---- server ---- */

struct net_server;
struct net_req;

/* Somewhere to listen. */
struct net_listen {
    const char *host;      /* an address; "127.0.0.1", "::1", "0.0.0.0"; NULL: 127.0.0.1 */
    int port;              /* 0: any free one; see net_server_port_at */
    const char *unix_path; /* instead of host and port: a socket file, mode 0600, made anew */
    int fd;                /* > 0: a socket that listens already (see net_inherited), taken over */
    bool optional;         /* in use by somebody else is no error; see net_server_failed_at */
};

/* What body_limit answers for a request whose body is to be streamed (net_req_stream_body). */
#define NET_BODY_STREAM SIZE_MAX

struct net_server_params {
    const char *host; /* these four as in net_listen; the listener's number is 0 */
    int port;
    const char *unix_path;
    int fd;
    const struct net_listen *also; /* further ones, numbered from 1 */
    size_t nalso;
    int max_connections; /* 0: 4096; whoever comes then is answered 503 with Retry-After */
    size_t max_body;     /* 0: 8 MiB */
    /* The limit of this request's body, asked when its header is whole; NULL: max_body for all.
     * NET_BODY_STREAM: `request` is called now, before the body, and there is no limit. */
    size_t (*body_limit)(void *ctx, struct str method, struct str path);
    /* Deadlines in milliseconds; 0: 10 s for a header, 30 s for each 4 KiB of a body, 75 s idle
     * between requests, 30 s without a byte taken by a client while an answer waits for it. */
    int header_ms, body_ms, idle_ms, stall_ms;
    /* Origins allowed beside the server's own ("http://localhost:3000"), NULL-terminated or NULL.
     * One "*" in it stands for a port ("http://localhost:*"), for all that follows a scheme, or for
     * the first parts of a host's name; alone, for every origin. */
    const char *const *allow_origins;
    /* The same, for these ports only: see net_req_is_guest. */
    const char *const *guests;
    const int *guest_ports;
    size_t nguest_ports;
    /* Host names allowed beside localhost, loopback addresses and the address bound;
     * NULL-terminated or NULL. */
    const char *const *allow_hosts;
    /* A whole request has arrived. It stays valid until its answer has ended or `closed` was
     * called. */
    void (*request)(void *ctx, struct net_req *r);
    /* The server refuses a request whose path is known (a body too large or too slow, a Host, an
     * Origin): answer it now with this status, in the shape that its path speaks. NULL: plain text.
     */
    void (*refuse)(void *ctx, struct net_req *r, int status, const char *why);
    void *ctx;
};

int net_server_new(struct net_loop *l, const struct net_server_params *p, struct net_server **out,
                   struct err *e);
int net_server_port(const struct net_server *s); /* of listener 0 */
size_t net_server_listeners(const struct net_server *s);
/* 0: a Unix socket; -1: an optional one that does not listen. */
int net_server_port_at(const struct net_server *s, size_t i);
const char *net_server_address_at(const struct net_server *s, size_t i); /* address or path */
const char *net_server_failed_at(const struct net_server *s, size_t i);  /* NULL: it listens */
int net_server_connections(const struct net_server *s);
/* Sockets that whoever started us listens on already, and hands over from descriptor 3 on:
 * systemd's socket activation (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES; sd_listen_fds(3)). TCP or
 * Unix. They are marked close-on-exec and the three variables removed, so that no child takes them
 * for its own. Returns how many (0 when the variables are absent or meant for another process), or
 * an error: malformed variables, or something that is not a listening stream socket. */
struct net_inherited {
    int fd;
    char name[64]; /* from LISTEN_FDNAMES; "" */
};
int net_inherited(struct net_inherited *out, size_t max, struct err *e);

/* Raise the soft limit of open files to `want`, as far as the hard one allows; what it is then. */
size_t net_raise_files(size_t want);

/* Stop accepting; idle connections close, busy ones after their answer; done(ctx) when none is
 * left. net_server_close still has to follow, inside done or later: it frees. */
void net_server_drain(struct net_server *s, void (*done)(void *ctx), void *ctx);
void net_server_close(struct net_server *s); /* at once; frees; NULL is fine */

struct str net_req_method(const struct net_req *r);
struct str
net_req_path(const struct net_req *r); /* without query, percent-decoded, always starts with '/' */
struct str net_req_query(const struct net_req *r); /* raw */
struct str net_req_header(const struct net_req *r,
                          const char *lower_name); /* first value; {NULL,0}: absent */
struct str net_req_body(const struct net_req *r);
/* The body becomes the caller's, without a copy; net_req_body is empty from then on. */
void net_req_take_body(struct net_req *r, struct buf *out);
/* A query parameter, percent-decoded into memory of the request; false: absent. */
bool net_req_param(struct net_req *r, const char *name, struct str *out);

/* The listener it came through. */
size_t net_req_listener(const struct net_req *r);
/* It comes from a page that only `guests` lets in. */
bool net_req_is_guest(const struct net_req *r);
/* Equal for requests of one peer: its address without the port (of IPv6 the first 64 bits), or the
 * user at the other end of a Unix socket. Never 0. For fairness, not for identity. */
uint64_t net_req_peer(const struct net_req *r);

/* Take the body of a request for which body_limit said NET_BODY_STREAM; called inside `request` or
 * later, and until then no byte is read (nor `100 Continue` said). data(ctx, bytes) gets it piece
 * by piece; when it returns false nothing more comes until net_req_resume_body. end(ctx) is called
 * when the body is whole: the answer may still be under way then, or not begun. A body that breaks
 * off or is malformed calls `closed` (net_req_on_close), not end. An answer that ends before the
 * body ends the connection too. Bytes that data was given are gone when it returns. */
void net_req_stream_body(struct net_req *r, bool (*data)(void *ctx, struct str bytes),
                         void (*end)(void *ctx), void *ctx);
void net_req_resume_body(struct net_req *r);

/* Call closed(ctx) once if the client goes away before the answer has ended; the request is gone
 * when it returns. Without it a request stays valid until its answer has ended, client or not. A
 * client that only stops sending (half-closes) counts as gone. */
void net_req_on_close(struct net_req *r, void (*closed)(void *ctx), void *ctx);

/* ---- answer ---- */
/* Add a header before the answer starts; CR, LF and NUL in it are refused (ERR_INVAL). */
int net_res_header(struct net_req *r, const char *name, struct str value);
/* A whole answer at once. */
void net_res_send(struct net_req *r, int status, const char *type, struct str body);
/* A streamed answer (chunked). After start: write any number of times, then end. What is written
 * leaves when the loop's turn ends, together. */
void net_res_start(struct net_req *r, int status, const char *type);
/* Bytes are copied. Returns bytes waiting for this client; above 64 KiB stop writing until
 * drained(ctx). NET_GONE: there is no client any more and never will be, so nothing drains. */
#define NET_GONE SIZE_MAX
size_t net_res_write(struct net_req *r, struct str bytes);
void net_res_on_drain(struct net_req *r, void (*drained)(void *ctx),
                      void *ctx); /* below 16 KiB again */
void net_res_end(struct net_req *r);
/* Drop the connection without a proper end: what a cut stream must look like to a client. */
void net_res_abort(struct net_req *r);

#endif
