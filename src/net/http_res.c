/* http_res.c: what the application sees of a request, and its answer: header, body whole or in
 * chunks, and the headers that let a permitted page read it. */
#include "http_int.h"

#include <stdlib.h>
#include <time.h>

#define MAX_HEADERS ((size_t)32 * 1024)
#define MAX_PARAMS ((size_t)256 * 1024)

/* ---- the request ---- */

void res_begin(struct net_req *r, struct http_conn *c)
{
    *r = (struct net_req){
        .c = c, .active = true, .keep = c->in.keep, .origin_ok = c->in.status == 0};
    buf_init(&r->headers, MAX_HEADERS);
}

void res_done(struct net_req *r)
{
    buf_done(&r->headers);
    arena_free(r->arena);
    r->arena = NULL;
    r->active = false;
}

struct str net_req_method(const struct net_req *r)
{
    return r->c->in.method;
}

struct str net_req_path(const struct net_req *r)
{
    return buf_str(&r->c->in.path);
}

struct str net_req_query(const struct net_req *r)
{
    return r->c->in.query;
}

struct str net_req_header(const struct net_req *r, const char *lower_name)
{
    return http_in_header(&r->c->in, lower_name);
}

struct str net_req_body(const struct net_req *r)
{
    return buf_str(&r->c->in.body);
}

static bool decode_param(struct net_req *r, struct str raw, struct str *out)
{
    if (!r->arena)
        r->arena = arena_new(MAX_PARAMS);
    struct buf b = BUF_INIT(HTTP_MAX_HEAD);
    bool ok = r->arena && http_unescape(raw, true, &b);
    if (ok) {
        struct str copy = arena_str(r->arena, buf_str(&b));
        ok = copy.p != NULL;
        if (ok)
            *out = copy;
    }
    buf_done(&b);
    return ok;
}

bool net_req_param(struct net_req *r, const char *name, struct str *out)
{
    struct str rest = r->c->in.query, pair, key, value;
    while (rest.n > 0) {
        if (!str_cut(rest, '&', &pair, &rest))
            rest = STR_NONE;
        if (!str_cut(pair, '=', &key, &value))
            value = STR_NONE;
        struct buf b = BUF_INIT(HTTP_MAX_HEAD);
        bool found = http_unescape(key, true, &b) && str_is(buf_str(&b), name);
        buf_done(&b);
        if (found)
            return decode_param(r, value, out);
    }
    return false;
}

void net_req_on_close(struct net_req *r, void (*closed)(void *ctx), void *ctx)
{
    r->closed = closed;
    r->closed_ctx = ctx;
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

static void put_date(struct buf *b)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    buf_printf(b, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[t.tm_wday], t.tm_mday,
               months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

/* Only requests that passed the check get here with an Origin, except refusals: those tell the page
 * nothing, so they carry no permission. */
static void put_cors(struct net_req *r, struct buf *b)
{
    struct str origin = http_in_header(&r->c->in, "origin");
    if (r->c->s && r->c->s->allow_origins)
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
    bool old = c->in.minor == 0;
    bool bodyless = status == 204 || status == 304;
    r->no_body = bodyless || str_is(c->in.method, "HEAD");
    r->chunked = streamed && !old && !r->no_body;
    if (streamed && old && !r->no_body)
        r->keep = false; /* its end is the connection's */
    if (!c->s || c->s->draining)
        r->keep = false;
    buf_printf(b, "HTTP/1.1 %d ", status);
    for (const char *p = reason(status); *p; p++)
        buf_putc(b, *p == '_' ? ' ' : *p);
    buf_puts(b, "\r\n");
    put_date(b);
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
    conn_flush(c);
    conn_answered(c);
}

static void count_and_flush(struct http_conn *c, size_t before)
{
    c->queued += c->out.n - before;
    conn_flush(c);
}

void net_res_send(struct net_req *r, int status, const char *type, struct str body)
{
    struct http_conn *c = r->c;
    if (alive(r)) {
        size_t before = c->out.n;
        put_head(r, status, type, false, body.n);
        if (!r->no_body)
            buf_str_add(&c->out, body);
        count_and_flush(c, before);
    }
    end(r);
}

void net_res_start(struct net_req *r, int status, const char *type)
{
    if (!alive(r))
        return;
    size_t before = r->c->out.n;
    put_head(r, status, type, true, 0);
    count_and_flush(r->c, before);
}

size_t net_res_write(struct net_req *r, struct str bytes)
{
    struct http_conn *c = r->c;
    if (!alive(r))
        return 0;
    size_t before = c->out.n;
    if (bytes.n > 0 && !r->no_body) { /* an empty chunk would be the end */
        if (r->chunked)
            buf_printf(&c->out, "%zx\r\n", bytes.n);
        buf_str_add(&c->out, bytes);
        if (r->chunked)
            buf_puts(&c->out, "\r\n");
    }
    count_and_flush(c, before);
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
        count_and_flush(c, before);
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

void res_preflight(struct net_req *r)
{
    struct http_in *in = &r->c->in;
    net_res_header(r, "Access-Control-Allow-Methods", STR("GET, HEAD, POST, PUT, PATCH, DELETE"));
    struct str wanted = http_in_header(in, "access-control-request-headers");
    if (header_list(wanted))
        net_res_header(r, "Access-Control-Allow-Headers", wanted);
    if (str_is(http_in_header(in, "access-control-request-private-network"), "true"))
        net_res_header(r, "Access-Control-Allow-Private-Network", STR("true"));
    net_res_header(r, "Access-Control-Max-Age", STR("600"));
    net_res_send(r, 204, NULL, STR_NONE);
}
