/* http_conn.c: one connection: bytes in, one request at a time, deadlines, and its end.
 *
 * Reading never stops while an answer is under way, because that is how a client that leaves is
 * noticed; requests that come early wait in `pending`, which is bounded. Every end of a connection
 * goes through conn_close (the application knows) or conn_gone (it must be told). Between requests
 * a connection holds neither a request nor a buffer: thousands of idle ones cost little. */
#include "http_int.h"

#include <stdlib.h>
#include <sys/socket.h>

/* Connections over the limit that are told so in peace; more than these are told and closed. */
#define MAX_REFUSED 1024
/* A streamed body is handed on in pieces of at most this, so that a pause is soon one. */
#define BODY_PIECE ((size_t)16 * 1024)
/* A body that brings less than this in body_ms is not being sent, it is holding a connection. */
#define BODY_STEP 4096

static void pump(struct http_conn *c, struct str fresh);

static uint64_t now_ms(const struct http_conn *c)
{
    return uv_now(c->u.handle.loop);
}

bool conn_idle(const struct http_conn *c)
{
    return c->state == CONN_HEAD && !c->req && c->pending.n == 0 && conn_waiting(c) == 0;
}

/* ---- the end ---- */

static void free_conn(struct http_conn *c)
{
    req_free(c->req);
    buf_done(&c->pending);
    conn_out_done(c);
    free(c);
}

/* libuv calls this after the callback of a write that was under way. */
static void on_closed(uv_handle_t *h)
{
    struct http_conn *c = h->data;
    server_conn_closed(c->s, c);
    c->s = NULL;
    if (c->req && c->req->active)
        c->orphan = true; /* the application still holds the request: it goes with its answer */
    else
        free_conn(c);
}

void conn_free_orphan(struct http_conn *c)
{
    if (c->orphan)
        free_conn(c);
}

void conn_close(struct http_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    uv_close(&c->u.handle, on_closed);
}

/* Where the end of the body is the end of the connection, only a reset shows that it was cut. */
void conn_cut(struct http_conn *c, bool reset)
{
    if (reset && c->state != CONN_CLOSED && c->u.handle.type == UV_TCP && !c->shut) {
        c->state = CONN_CLOSED;
        if (uv_tcp_close_reset(&c->u.tcp, on_closed) != 0)
            uv_close(&c->u.handle, on_closed);
        return;
    }
    conn_close(c);
}

/* The application's request ends without its answer. */
static void tell_closed(struct net_req *r)
{
    void (*closed)(void *ctx) = r->closed;
    r->closed = NULL;
    if (!r->active || !closed)
        return;
    closed(r->closed_ctx);
    r->active = false;
}

void conn_gone(struct http_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    conn_close(c);
    if (c->req)
        tell_closed(c->req);
}

/* libuv's own shutdown would wait for its queue, which is empty here. */
static void shut_when_flushed(struct http_conn *c)
{
    uv_os_fd_t fd;
    if (c->state != CONN_LINGER || conn_waiting(c) || c->shut)
        return;
    c->shut = true;
    c->deadline = now_ms(c) + NET_LINGER_MS;
    if (c->eof || uv_fileno(&c->u.handle, &fd) != 0 || shutdown(fd, SHUT_WR) != 0)
        conn_close(c);
}

/* What an idle connection does not need. */
static void shrink(struct http_conn *c)
{
    if (c->req)
        return;
    if (c->pending.n == 0)
        buf_done(&c->pending);
    if (c->out.n == 0)
        buf_done(&c->out);
}

/* ---- refusing ---- */

static void linger(struct http_conn *c)
{
    c->state = CONN_LINGER;
    c->deadline = 0; /* counted from the end of writing; until then stall_ms stands guard */
    buf_done(&c->pending);
}

/* The request cannot go on. An answer that has begun is cut. */
static void refuse(struct http_conn *c, int status, const char *why)
{
    struct net_req *r = c->req;
    struct net_server *s = c->s;
    bool cut = r->active && r->started;
    tell_closed(r);
    if (c->state == CONN_CLOSED)
        return;
    if (cut || r->active) { /* or it is still held by an application that asked for no word */
        conn_cut(c, cut && !r->chunked);
        return;
    }
    c->state = CONN_ANSWER;
    res_begin(r);
    r->keep = false;
    buf_clear(&r->headers);
    if (s->refuse && r->known)
        s->refuse(s->ctx, r, status, why);
    else
        net_res_send(r, status, "text/plain; charset=utf-8", str_of(why));
}

/* Nobody asked yet, and there is no room to hear it. */
static void refuse_connection(struct http_conn *c)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "Retry-After: 1\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: 20\r\n"
                               "Connection: close\r\n\r\n"
                               "too many connections";
    c->refused = true;
    c->s->refused++;
    buf_puts(&c->out, text);
    linger(c);
    conn_flush(c);
    if (c->s->refused > MAX_REFUSED)
        conn_close(c);
    else
        conn_written(c);
}

/* ---- the steps of a request ---- */

static bool is_preflight(const struct http_in *in)
{
    return str_is(in->method, "OPTIONS") && http_in_header(in, "origin").p &&
           http_in_header(in, "access-control-request-method").p;
}

static bool is_options_star(const struct http_in *in)
{
    return str_is(buf_str(&in->path), "*");
}

static bool origin_passes(struct http_conn *c)
{
    struct net_server *s = c->s;
    struct net_req *r = c->req;
    const struct listener *l = &s->listeners[c->from];
    struct http_policy p = {.bound = l->is_unix ? NULL : l->bound,
                            .allow_hosts = (const char *const *)s->allow_hosts,
                            .allow_origins = (const char *const *)s->allow_origins,
                            .guests = server_guests(s, c->from),
                            .ports = s->ports,
                            .nports = s->nlisteners};
    const char *why = NULL;
    int status = http_check(&p, http_in_header(&r->in, "host"), http_in_header(&r->in, "origin"),
                            &r->guest, &why);
    r->origin_ok = status == 0;
    if (status != 0)
        refuse(c, status, why);
    return status == 0;
}

static void put_continue(struct http_conn *c)
{
    const struct str line = STR("HTTP/1.1 100 Continue\r\n\r\n");
    c->req->in.expect_continue = false;
    buf_str_add(&c->out, line);
    c->queued += line.n;
    conn_flush(c);
}

static void set_body_deadline(struct http_conn *c)
{
    c->body_mark = c->req->in.framing.seen;
    c->deadline = now_ms(c) + c->s->body_ms;
}

static void deliver(void *ctx, struct str bytes)
{
    struct net_req *r = ctx;
    if (!r->active || r->c->state == CONN_CLOSED)
        return;
    if (!r->data(r->body_ctx, bytes)) {
        r->paused = true;
        r->c->deadline = 0; /* the wait is ours */
    }
}

static void begin_stream(struct http_conn *c)
{
    struct net_req *r = c->req;
    r->streamed = r->paused = true;
    r->in.sink = deliver;
    r->in.sink_ctx = r;
    c->deadline = 0;
    res_begin(r);
    c->s->request(c->s->ctx, r);
}

void conn_body_wanted(struct http_conn *c)
{
    struct net_req *r = c->req;
    if (c->state != CONN_BODY)
        return;
    if (r->in.expect_continue && !r->started && r->in.framing.seen == 0)
        put_continue(c);
    set_body_deadline(c);
    if (!c->pumping)
        server_later(c);
}

/* The header is whole: decide before reading a body whether the request may be answered. */
static void on_head(struct http_conn *c, bool more)
{
    struct net_server *s = c->s;
    struct net_req *r = c->req;
    r->known = true;
    if (!origin_passes(c))
        return;
    bool ours = is_preflight(&r->in) || is_options_star(&r->in);
    size_t limit = s->body_limit && !ours
                       ? s->body_limit(s->ctx, r->in.method, buf_str(&r->in.path))
                       : s->max_body;
    if (http_in_limit(&r->in, limit) == IN_BAD) {
        refuse(c, r->in.status, r->in.why);
        return;
    }
    c->state = CONN_BODY;
    if (limit == NET_BODY_STREAM) {
        begin_stream(c);
        return;
    }
    set_body_deadline(c);
    if (r->in.expect_continue && !more)
        put_continue(c);
}

static void on_whole(struct http_conn *c)
{
    struct net_req *r = c->req;
    c->state = CONN_ANSWER;
    c->deadline = 0;
    if (r->streamed) {
        r->end(r->body_ctx);
        return;
    }
    res_begin(r);
    if (is_preflight(&r->in))
        res_preflight(r);
    else if (is_options_star(&r->in))
        res_server_options(r);
    else
        c->s->request(c->s->ctx, r);
}

void conn_answered(struct http_conn *c)
{
    if (c->feeding) {
        c->answered = true; /* the parser reads from the request that ends here */
        return;
    }
    struct net_req *r = c->req;
    bool keep = r->keep && !c->s->draining && r->in.framing.part == PART_END;
    req_free(r);
    c->req = NULL;
    if (keep) {
        c->state = CONN_HEAD;
        c->deadline = now_ms(c) + c->s->idle_ms;
    } else {
        linger(c);
    }
    /* The next request does not come up from inside the application's call that ended this one. */
    if (!c->pumping)
        server_later(c);
}

/* ---- in ---- */

static void after_feed(struct http_conn *c, bool was_started)
{
    struct http_in *in = &c->req->in;
    if (!was_started && http_in_started(in))
        c->deadline = now_ms(c) + c->s->header_ms;
    if (c->state == CONN_BODY && c->deadline != 0 && in->framing.seen - c->body_mark >= BODY_STEP)
        set_body_deadline(c);
}

/* One step of parsing; false when there is nothing more to do now. */
static bool pump_once(struct http_conn *c, struct str bytes, size_t *used)
{
    if (!c->req && (bytes.n == 0 || !(c->req = req_new(c)))) {
        if (bytes.n > 0)
            conn_close(c);
        return false;
    }
    struct net_req *r = c->req;
    bool was_started = http_in_started(&r->in);
    if (r->streamed && bytes.n > BODY_PIECE)
        bytes.n = BODY_PIECE;
    c->feeding = true;
    enum http_step step = http_in_feed(&r->in, bytes, used);
    c->feeding = false;
    if (c->state == CONN_CLOSED)
        return false;
    if (c->answered) {
        c->answered = false;
        conn_answered(c);
        return true;
    }
    after_feed(c, was_started);
    switch (step) {
    case IN_MORE: return *used > 0;
    case IN_HEAD: on_head(c, *used < bytes.n); return true;
    case IN_READY: on_whole(c); return true;
    case IN_BAD: refuse(c, r->in.status, r->in.why); return true;
    }
    return false;
}

/* A client that sends many requests and reads no answer is left unread until it does. */
static bool wants_input(const struct http_conn *c)
{
    if (c->state != CONN_HEAD && c->state != CONN_BODY)
        return false;
    if (c->state == CONN_BODY && c->req->streamed && c->req->paused)
        return false;
    return conn_waiting(c) <= NET_HIGH;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct http_conn *c = h->data;
    *b = uv_buf_init(c->s->read_space, NET_READ);
}

/* While an answer is being made, a client that sends no more has left. Where an answer is made and
 * still on its way, its write tells whether anybody reads. */
static void on_eof(struct http_conn *c)
{
    bool between = c->state == CONN_HEAD && !c->req && c->pending.n == 0;
    c->eof = true;
    if (between && conn_waiting(c) > 0)
        linger(c);
    if (c->state != CONN_LINGER || c->shut)
        conn_gone(c);
    else
        uv_read_stop(&c->u.stream);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct http_conn *c = s->data;
    if (n < 0)
        on_eof(c);
    else if (n > 0 && c->state != CONN_LINGER)
        pump(c, str_n(b->base, (size_t)n));
}

static void watch(struct http_conn *c)
{
    bool want = c->pending.n <= NET_MAX_PENDING && !c->eof;
    if (want == c->reading)
        return;
    c->reading = want;
    if (!want)
        uv_read_stop(&c->u.stream);
    else if (uv_read_start(&c->u.stream, on_alloc, on_read) != 0)
        conn_gone(c);
}

/* Go through what came: what waited before, then `fresh`. Not recursive: an answer given inside
 * `request` only marks, and the loop here goes on. Never called from inside the application's own
 * calls, so the connection may end here. */
static void pump(struct http_conn *c, struct str fresh)
{
    struct buf held = c->pending;
    struct str in = fresh.p ? fresh : STR("");
    if (held.n > 0) {
        buf_str_add(&held, fresh);
        in = buf_str(&held);
    }
    buf_init(&c->pending, NET_MAX_PENDING + NET_READ);
    c->pumping = true;
    size_t at = 0, used = 0;
    while (wants_input(c) && pump_once(c, at ? str_n(in.p + at, in.n - at) : in, &used)) {
        at += used;
        used = 0;
    }
    at += used;
    c->pumping = false;
    if (c->state == CONN_LINGER || c->state == CONN_CLOSED)
        at = in.n;
    if (held.n > 0) {
        buf_eat(&held, at);
        c->pending = held;
    } else {
        buf_done(&held);
        if (at < in.n)
            buf_add(&c->pending, in.p + at, in.n - at);
    }
    if (buf_failed(&c->pending))
        conn_gone(c);
    conn_flush(c);
    if (c->doomed)
        conn_gone(c);
    if (c->state == CONN_CLOSED)
        return;
    shut_when_flushed(c);
    shrink(c);
    if (c->state != CONN_CLOSED)
        watch(c);
}

void conn_written(struct http_conn *c)
{
    if (c->doomed) {
        conn_gone(c);
        return;
    }
    struct net_req *r = c->req;
    if (r && r->active && r->high && conn_waiting(c) < NET_LOW) {
        r->high = false;
        if (r->drained)
            r->drained(r->drained_ctx);
    }
    if (c->state != CONN_CLOSED)
        pump(c, STR_NONE);
}

void conn_look_after(struct http_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    conn_flush(c);
    conn_written(c);
}

/* ---- deadlines ---- */

bool conn_tick(struct http_conn *c, uint64_t now)
{
    if (c->state == CONN_CLOSED)
        return false;
    if (c->doomed || conn_stalled(c, now)) {
        conn_gone(c);
        return true;
    }
    if (c->deadline == 0 || now < c->deadline)
        return false;
    if (c->state == CONN_BODY || (c->state == CONN_HEAD && c->req))
        refuse(c, 408, "the request took too long to arrive");
    else
        conn_close(c);
    return true;
}

/* ---- the beginning ---- */

static struct http_conn *new_conn(struct listener *l)
{
    struct http_conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->s = l->s;
    c->from = (size_t)(l - l->s->listeners);
    buf_init(&c->pending, NET_MAX_PENDING + NET_READ);
    buf_init(&c->out, NET_MAX_OUT);
    if (l->is_unix)
        uv_pipe_init(l->s->uv, &c->u.pipe, 0);
    else
        uv_tcp_init(l->s->uv, &c->u.tcp);
    c->u.handle.data = c;
    return c;
}

void conn_accept(struct listener *l)
{
    struct net_server *s = l->s;
    struct http_conn *c = new_conn(l);
    if (!c) {
        l->held = true; /* the next turn of the loop tries again */
        return;
    }
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->connections++;
    if (uv_accept(&l->u.stream, &c->u.stream) != 0) {
        conn_close(c);
        return;
    }
    if (!l->is_unix)
        uv_tcp_nodelay(&c->u.tcp, 1);
    c->progress_at = now_ms(c);
    c->deadline = now_ms(c) + s->header_ms; /* nobody keeps a connection without asking */
    if (s->connections - s->refused > s->max_connections)
        refuse_connection(c);
    else
        watch(c);
}
