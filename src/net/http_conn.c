/* http_conn.c: one connection: bytes in, one request at a time, bytes out, deadlines, and its end.
 *
 * Reading never stops while an answer is under way, because that is how a client that leaves is
 * noticed; requests that come early wait in `pending`, which is bounded. Every end of a connection
 * goes through conn_close (the application knows) or conn_gone (it must be told). */
#include "http_int.h"

#include <stdlib.h>

/* Connections over the limit that are told so; more than these are dropped. */
#define MAX_REFUSED 64

static void pump(struct http_conn *c);

static uint64_t now_ms(const struct http_conn *c)
{
    return uv_now(c->u.handle.loop);
}

size_t conn_waiting(const struct http_conn *c)
{
    return c->out.n + uv_stream_get_write_queue_size(&c->u.stream);
}

bool conn_idle(const struct http_conn *c)
{
    return c->state == CONN_HEAD && !http_in_started(&c->in) && c->pending.n == 0 &&
           conn_waiting(c) == 0;
}

/* ---- the end ---- */

static void free_conn(struct http_conn *c)
{
    res_done(&c->req);
    http_in_done(&c->in);
    buf_done(&c->pending);
    buf_done(&c->out);
    buf_done(&c->flight);
    free(c);
}

static void on_closed(uv_handle_t *h)
{
    struct http_conn *c = h->data;
    server_conn_closed(c->s, c);
    c->s = NULL;
    if (c->req.active)
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
    if (reset && c->state != CONN_CLOSED && !c->s->is_unix && !c->shut) {
        c->state = CONN_CLOSED;
        if (uv_tcp_close_reset(&c->u.tcp, on_closed) != 0)
            uv_close(&c->u.handle, on_closed);
        return;
    }
    conn_close(c);
}

void conn_gone(struct http_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    conn_close(c);
    if (c->req.active && c->req.closed) {
        void (*closed)(void *ctx) = c->req.closed;
        c->req.closed = NULL;
        closed(c->req.closed_ctx);
        c->req.active = false;
    }
}

/* ---- out ---- */

static void on_shutdown(uv_shutdown_t *s, int status)
{
    struct http_conn *c = s->data;
    if (status != 0 || c->eof)
        conn_close(c);
}

static void shut_when_flushed(struct http_conn *c)
{
    if (c->state != CONN_LINGER || c->writing || c->out.n || c->shut)
        return;
    c->shut = true;
    c->shutdown.data = c;
    c->deadline = now_ms(c) + NET_LINGER_MS;
    if (uv_shutdown(&c->shutdown, &c->u.stream, on_shutdown) != 0)
        conn_close(c);
}

static void on_written(uv_write_t *w, int status)
{
    struct http_conn *c = w->data;
    c->writing = false;
    buf_clear(&c->flight);
    if (c->flight.cap > NET_READ)
        buf_done(&c->flight);
    if (c->state == CONN_CLOSED)
        return;
    if (status != 0) {
        conn_gone(c);
        return;
    }
    c->progress_at = now_ms(c);
    conn_flush(c);
    struct net_req *r = &c->req;
    if (r->active && r->high && conn_waiting(c) < NET_LOW) {
        r->high = false;
        if (r->drained)
            r->drained(r->drained_ctx);
    }
    if (c->state == CONN_CLOSED)
        return;
    shut_when_flushed(c);
    pump(c);
}

/* A failure here waits for the next tick: this is called from inside the application's own calls,
 * which must not find their request closed under them. */
void conn_flush(struct http_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (buf_failed(&c->out))
        c->doomed = true;
    if (c->writing || c->out.n == 0 || c->doomed)
        return;
    struct buf full = c->out;
    c->out = c->flight;
    c->flight = full;
    if (uv_stream_get_write_queue_size(&c->u.stream) == 0)
        c->progress_at = now_ms(c);
    uv_buf_t b = uv_buf_init(c->flight.p, (unsigned)c->flight.n);
    c->write.data = c;
    if (uv_write(&c->write, &c->u.stream, &b, 1, on_written) != 0)
        c->doomed = true;
    else
        c->writing = true;
}

/* ---- in ---- */

static void set_read_deadline(struct http_conn *c)
{
    uint64_t now = now_ms(c);
    if (c->state == CONN_BODY)
        c->deadline = now + c->s->body_ms;
    else if (c->state == CONN_ANSWER)
        c->deadline = 0;
    else if (c->state == CONN_HEAD && !http_in_started(&c->in))
        c->deadline = now + c->s->idle_ms;
}

void conn_refuse(struct http_conn *c, int status, const char *why)
{
    c->state = CONN_ANSWER;
    res_begin(&c->req, c);
    c->req.keep = c->req.origin_ok = false;
    net_res_send(&c->req, status, "text/plain; charset=utf-8", str_of(why));
}

static bool is_preflight(const struct http_in *in)
{
    return str_is(in->method, "OPTIONS") && http_in_header(in, "origin").p &&
           http_in_header(in, "access-control-request-method").p;
}

/* The header is whole: decide before reading a body whether the request may be answered. */
static void on_head(struct http_conn *c)
{
    struct net_server *s = c->s;
    struct http_policy p = {.bound = s->is_unix ? NULL : s->bound,
                            .allow_hosts = (const char *const *)s->allow_hosts,
                            .allow_origins = (const char *const *)s->allow_origins};
    const char *why = NULL;
    int status =
        http_check(&p, http_in_header(&c->in, "host"), http_in_header(&c->in, "origin"), &why);
    if (status != 0) {
        conn_refuse(c, status, why);
        return;
    }
    c->state = CONN_BODY;
    set_read_deadline(c);
    if (c->in.expect_continue && c->pending.n == 0) {
        buf_puts(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        conn_flush(c);
    }
}

static void on_request(struct http_conn *c)
{
    c->state = CONN_ANSWER;
    c->deadline = 0;
    res_begin(&c->req, c);
    if (is_preflight(&c->in))
        res_preflight(&c->req);
    else
        c->s->request(c->s->ctx, &c->req);
}

/* One step of parsing; false when there is nothing more to do now. */
static bool pump_once(struct http_conn *c)
{
    size_t used = 0;
    bool was_started = http_in_started(&c->in);
    enum http_step step = http_in_feed(&c->in, buf_str(&c->pending), &used);
    buf_eat(&c->pending, used);
    if (!was_started && http_in_started(&c->in))
        c->deadline = now_ms(c) + c->s->header_ms;
    switch (step) {
    case IN_MORE: return false;
    case IN_HEAD: on_head(c); return true;
    case IN_READY: on_request(c); return true;
    case IN_BAD: conn_refuse(c, c->in.status, c->in.why); return true;
    }
    return false;
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
    bool between = c->state == CONN_HEAD && !http_in_started(&c->in) && c->pending.n == 0;
    c->eof = true;
    if (between && conn_waiting(c) > 0)
        c->state = CONN_LINGER;
    if (c->state != CONN_LINGER || c->shut)
        conn_gone(c);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct http_conn *c = s->data;
    if (n == 0)
        return;
    if (n < 0) {
        on_eof(c);
        return;
    }
    if (c->state == CONN_LINGER)
        return;
    buf_add(&c->pending, b->base, (size_t)n);
    if (buf_failed(&c->pending)) {
        conn_gone(c);
        return;
    }
    if (c->state == CONN_BODY)
        set_read_deadline(c);
    pump(c);
    if (c->state != CONN_CLOSED && c->pending.n > NET_MAX_PENDING && c->reading) {
        c->reading = false;
        uv_read_stop(s);
    }
}

/* Not recursive: an answer given inside `request` only marks, and the loop here goes on. A client
 * that sends many requests and reads no answer is left unread until it does. */
static void pump(struct http_conn *c)
{
    if (c->pumping)
        return;
    c->pumping = true;
    while ((c->state == CONN_HEAD || c->state == CONN_BODY) && conn_waiting(c) <= NET_HIGH &&
           pump_once(c))
        ;
    c->pumping = false;
    if (c->state != CONN_CLOSED && !c->reading && c->pending.n <= NET_MAX_PENDING) {
        c->reading = true;
        if (uv_read_start(&c->u.stream, on_alloc, on_read) != 0)
            c->doomed = true;
    }
}

void conn_answered(struct http_conn *c)
{
    bool keep = c->req.keep && !c->s->draining;
    res_done(&c->req);
    if (c->state == CONN_CLOSED)
        return;
    if (keep) {
        c->state = CONN_HEAD;
        http_in_reset(&c->in);
        set_read_deadline(c);
        /* Where something is being written, its end pumps: then the next request does not come up
         * from inside the application's call that ended this one. */
        if (!c->writing)
            pump(c);
        return;
    }
    c->state = CONN_LINGER;
    c->deadline = 0; /* counted from the end of writing; until then stall_ms stands guard */
    buf_clear(&c->pending);
    shut_when_flushed(c);
}

/* ---- deadlines ---- */

static bool stalled(struct http_conn *c, uint64_t now)
{
    size_t waiting = conn_waiting(c);
    uint64_t sent = c->queued - waiting;
    if (waiting == 0 || sent != c->sent) {
        c->sent = sent;
        c->progress_at = now;
    }
    return now - c->progress_at >= c->s->stall_ms;
}

void conn_tick(struct http_conn *c, uint64_t now)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->doomed || stalled(c, now)) {
        conn_gone(c);
        return;
    }
    if (c->deadline == 0 || now < c->deadline)
        return;
    if (c->state == CONN_BODY || (c->state == CONN_HEAD && http_in_started(&c->in)))
        conn_refuse(c, 408, "the request took too long to arrive");
    else
        conn_close(c);
}

/* ---- the beginning ---- */

static struct http_conn *new_conn(struct net_server *s)
{
    struct http_conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->s = s;
    http_in_init(&c->in, s->max_body);
    buf_init(&c->pending, NET_MAX_PENDING + NET_READ);
    buf_init(&c->out, NET_MAX_OUT);
    buf_init(&c->flight, NET_MAX_OUT);
    if (s->is_unix)
        uv_pipe_init(s->u.handle.loop, &c->u.pipe, 0);
    else
        uv_tcp_init(s->u.handle.loop, &c->u.tcp);
    c->u.handle.data = c;
    return c;
}

void conn_accept(struct net_server *s)
{
    struct http_conn *c = new_conn(s);
    if (!c)
        return; /* the client stays in the backlog; the next arrival tries again */
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->connections++;
    if (uv_accept(&s->u.stream, &c->u.stream) != 0) {
        conn_close(c);
        return;
    }
    if (!s->is_unix)
        uv_tcp_nodelay(&c->u.tcp, 1);
    c->progress_at = now_ms(c);
    c->deadline = now_ms(c) + s->header_ms; /* nobody keeps a connection without asking */
    if (s->connections > s->max_connections + MAX_REFUSED) {
        conn_close(c);
        return;
    }
    pump(c); /* starts reading */
    if (s->connections > s->max_connections)
        conn_refuse(c, 503, "too many connections");
}
