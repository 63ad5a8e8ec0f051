/* http_req.c: what the application sees of a request: its header, its parameters, its body when
 * that is streamed, and who sent it. */
#include "http_int.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_HEADERS ((size_t)32 * 1024) /* of the answer */
#define MAX_PARAMS ((size_t)256 * 1024)

struct net_req *req_new(struct http_conn *c)
{
    struct net_req *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->c = c;
    http_in_init(&r->in, NET_BODY_STREAM); /* the limit is the path's: see on_head */
    buf_init(&r->headers, MAX_HEADERS);
    return r;
}

void req_free(struct net_req *r)
{
    if (!r)
        return;
    http_in_done(&r->in);
    buf_done(&r->headers);
    arena_free(r->arena);
    free(r);
}

struct str net_req_method(const struct net_req *r)
{
    return r->in.method;
}

struct str net_req_path(const struct net_req *r)
{
    return buf_str(&r->in.path);
}

struct str net_req_query(const struct net_req *r)
{
    return r->in.query;
}

struct str net_req_header(const struct net_req *r, const char *lower_name)
{
    return http_in_header(&r->in, lower_name);
}

struct str net_req_body(const struct net_req *r)
{
    return buf_str(&r->in.body);
}

void net_req_take_body(struct net_req *r, struct buf *out)
{
    *out = r->in.body;
    r->in.body = BUF_INIT(out->max);
}

/* ---- parameters ---- */

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
    struct str rest = r->in.query, pair, key, value;
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

/* ---- who ---- */

size_t net_req_listener(const struct net_req *r)
{
    return r->c->from;
}

bool net_req_is_guest(const struct net_req *r)
{
    return r->guest;
}

static uint64_t hash_peer(const struct http_conn *c)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    uv_os_fd_t fd;
    if (c->state == CONN_CLOSED || uv_fileno(&c->u.handle, &fd) != 0 ||
        getpeername(fd, (struct sockaddr *)&a, &len) != 0)
        return 1;
    struct str key = STR("local");
    if (a.ss_family == AF_INET)
        key = str_n((char *)&((struct sockaddr_in *)&a)->sin_addr, 4);
    else if (a.ss_family == AF_INET6)
        key = str_n((char *)&((struct sockaddr_in6 *)&a)->sin6_addr, 8);
#ifdef SO_PEERCRED
    struct ucred who;
    len = sizeof who;
    if (a.ss_family == AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
        key = str_n((char *)&who.uid, sizeof who.uid);
#endif
    uint64_t h = str_hash(key, (uint64_t)a.ss_family);
    return h ? h : 1;
}

uint64_t net_req_peer(const struct net_req *r)
{
    if (r->c->peer == 0)
        r->c->peer = hash_peer(r->c);
    return r->c->peer;
}

void net_req_on_close(struct net_req *r, void (*closed)(void *ctx), void *ctx)
{
    r->closed = closed;
    r->closed_ctx = ctx;
}

/* ---- a streamed body ---- */

void net_req_stream_body(struct net_req *r, bool (*data)(void *ctx, struct str bytes),
                         void (*end)(void *ctx), void *ctx)
{
    r->data = data;
    r->end = end;
    r->body_ctx = ctx;
    r->paused = false;
    conn_body_wanted(r->c);
}

void net_req_resume_body(struct net_req *r)
{
    r->paused = false;
    conn_body_wanted(r->c);
}
