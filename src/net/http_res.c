/* http_res.c: an answer: header, body whole or in chunks, and the headers that let a permitted page
 * read it. */
#include "http_int.h"

#include <stdlib.h>

/* The application, or a refusal, may answer now. */
void res_begin(struct net_req *r)
{
    r->active = true;
    r->keep = r->in.keep;
}

/* ---- the header of an answer ---- */

/* Not llhttp_status_name: that one aborts on a number it does not know. */
static const char *reason(int status)
{
    switch (status) {
#define REASON(code, name, text)                                                                   \
    case code: return #text;
        HTTP_STATUS_MAP(REASON)
#undef REASON
    default: return "UNKNOWN";
    }
}

/* "NOT_FOUND" as "Not Found": clients show it to people. */
static void put_reason(int status, struct buf *b)
{
    bool acronym = status == 200 || status == 226 || status == 414;
    bool first = true;
    for (const char *p = reason(status); *p; p++) {
        bool lower = !first && !acronym && *p >= 'A' && *p <= 'Z';
        buf_putc(b, *p == '_' ? ' ' : lower ? (char)(*p + 32) : *p);
        first = *p == '_' || *p == '-';
    }
}

int net_res_header(struct net_req *r, const char *name, struct str value)
{
    if (r->started || !http_is_token(str_of(name)))
        return ERR_INVAL;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] == '\r' || value.p[i] == '\n' || value.p[i] == '\0')
            return ERR_INVAL;
    size_t before = r->headers.n;
    buf_printf(&r->headers, "%s: ", name);
    buf_str_add(&r->headers, value);
    buf_puts(&r->headers, "\r\n");
    if (!buf_failed(&r->headers))
        return 0;
    r->headers.failed = false; /* half a line must not go out */
    buf_cut(&r->headers, before);
    return ERR_TOO_LARGE;
}

/* Only requests that passed the check get here with an Origin, except refusals: those tell the page
 * nothing, so they carry no permission. */
static void put_cors(struct net_req *r, struct buf *b)
{
    struct str origin = http_in_header(&r->in, "origin");
    const struct net_server *s = r->c->s;
    if (s && (s->allow_origins || server_guests(s, r->c->from)))
        buf_puts(b, "Vary: Origin\r\n");
    if (!origin.p || !r->origin_ok)
        return;
    buf_printf(b, "Access-Control-Allow-Origin: %.*s\r\nAccess-Control-Expose-Headers: *\r\n",
               STR_ARG(origin));
}

static void put_head(struct net_req *r, int status, const char *type, bool streamed, size_t length)
{
    struct http_conn *c = r->c;
    struct buf *b = &c->out;
    bool old = r->in.minor == 0;
    bool bodyless = status == 204 || status == 304;
    r->no_body = bodyless || str_is(r->in.method, "HEAD");
    r->chunked = streamed && !old && !r->no_body;
    if (streamed && old && !r->no_body)
        r->keep = false; /* its end is the connection's */
    if (!c->s || c->s->draining || r->in.framing.part != PART_END)
        r->keep = false; /* after an early answer, what still comes cannot be told from a request */
    buf_printf(b, "HTTP/1.1 %d ", status);
    put_reason(status, b);
    buf_puts(b, "\r\n");
    if (c->s)
        buf_printf(b, "Date: %s\r\n", server_date(c->s));
    if (type && status != 204)
        buf_printf(b, "Content-Type: %s\r\n", type);
    put_cors(r, b);
    buf_str_add(b, buf_str(&r->headers));
    if (streamed && !old && !bodyless)
        buf_puts(b, "Transfer-Encoding: chunked\r\n");
    else if (!streamed && !bodyless)
        buf_printf(b, "Content-Length: %zu\r\n", length);
    if (!r->keep)
        buf_puts(b, "Connection: close\r\n");
    else if (old)
        buf_puts(b, "Connection: keep-alive\r\n");
    buf_puts(b, "\r\n");
    r->started = true;
}

/* ---- the body ---- */

/* False when nobody is there any more. */
static bool alive(struct net_req *r)
{
    return r->c->state != CONN_CLOSED && !r->c->doomed;
}

static void end(struct net_req *r)
{
    struct http_conn *c = r->c;
    r->active = false;
    if (c->state == CONN_CLOSED) {
        conn_free_orphan(c);
        return;
    }
    conn_answered(c);
}

/* Inside the pump, which flushes when it has gone through what came in, answers to pipelined
 * requests leave together. */
static void count_and_send(struct http_conn *c, size_t before, bool now)
{
    c->queued += c->out.n - before;
    if (c->out.n >= NET_CORK || (now && !c->pumping))
        conn_flush(c);
    if (!c->pumping)
        server_later(c);
}

void net_res_send(struct net_req *r, int status, const char *type, struct str body)
{
    struct http_conn *c = r->c;
    if (alive(r)) {
        size_t before = c->out.n;
        put_head(r, status, type, false, body.n);
        if (!r->no_body)
            buf_str_add(&c->out, body);
        count_and_send(c, before, true);
    }
    end(r);
}

void net_res_start(struct net_req *r, int status, const char *type)
{
    if (!alive(r))
        return;
    size_t before = r->c->out.n;
    put_head(r, status, type, true, 0);
    count_and_send(r->c, before, false);
}

size_t net_res_write(struct net_req *r, struct str bytes)
{
    struct http_conn *c = r->c;
    if (!alive(r))
        return NET_GONE;
    size_t before = c->out.n;
    if (bytes.n > 0 && !r->no_body) { /* an empty chunk would be the end */
        if (r->chunked)
            buf_printf(&c->out, "%zx\r\n", bytes.n);
        buf_str_add(&c->out, bytes);
        if (r->chunked)
            buf_puts(&c->out, "\r\n");
    }
    count_and_send(c, before, false);
    if (!alive(r))
        return NET_GONE;
    size_t waiting = conn_waiting(c);
    if (waiting > NET_HIGH)
        r->high = true;
    return waiting;
}

void net_res_on_drain(struct net_req *r, void (*drained)(void *ctx), void *ctx)
{
    r->drained = drained;
    r->drained_ctx = ctx;
}

void net_res_end(struct net_req *r)
{
    struct http_conn *c = r->c;
    if (alive(r) && r->chunked) {
        size_t before = c->out.n;
        buf_puts(&c->out, "0\r\n\r\n");
        count_and_send(c, before, false);
    }
    end(r);
}

void net_res_abort(struct net_req *r)
{
    struct http_conn *c = r->c;
    r->active = false;
    if (c->state == CONN_CLOSED) {
        conn_free_orphan(c);
        return;
    }
    conn_flush(c);
    conn_cut(c, !r->chunked);
}

/* ---- preflight ---- */

static bool header_list(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ',' && s.p[i] != ' ' && !http_is_token(str_n(s.p + i, 1)))
            return false;
    return s.n > 0;
}

#define METHODS "GET, HEAD, POST, PUT, PATCH, DELETE"

/* OPTIONS *: of the server as a whole (RFC 9110 9.3.7). */
void res_server_options(struct net_req *r)
{
    net_res_header(r, "Allow", STR(METHODS ", OPTIONS"));
    net_res_send(r, 204, NULL, STR_NONE);
}

void res_preflight(struct net_req *r)
{
    struct http_in *in = &r->in;
    net_res_header(r, "Access-Control-Allow-Methods", STR(METHODS));
    struct str wanted = http_in_header(in, "access-control-request-headers");
    if (header_list(wanted))
        net_res_header(r, "Access-Control-Allow-Headers", wanted);
    net_res_header(r, "Vary", STR("Access-Control-Request-Headers"));
    if (str_is(http_in_header(in, "access-control-request-private-network"), "true"))
        net_res_header(r, "Access-Control-Allow-Private-Network", STR("true"));
    net_res_header(r, "Access-Control-Max-Age", STR("600"));
    net_res_send(r, 204, NULL, STR_NONE);
}
