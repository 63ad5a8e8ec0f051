/* http_server.c: listening, on a TCP address or a Unix socket; the list of connections, their
 * deadlines' clock, and the end: drained or at once. */
#include "http_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512

/* ---- lists of names ---- */

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static int copy_list(const char *const *from, char ***out)
{
    size_t n = 0;
    while (from && from[n])
        n++;
    if (n == 0)
        return 0;
    char **list = calloc(n + 1, sizeof *list);
    for (size_t i = 0; list && i < n; i++)
        if (!(list[i] = strdup(from[i]))) {
            free_list(list);
            list = NULL;
        }
    if (!list)
        return ERR_NOMEM;
    *out = list;
    return 0;
}

/* ---- the end ---- */

static void free_server(struct net_server *s)
{
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free_list(s->allow_hosts);
    free_list(s->allow_origins);
    free(s->bound);
    free(s);
}

/* The last touch of s where it returns: either may let the owner free it. */
static void maybe_over(struct net_server *s)
{
    if (s->connections > 0 || s->open_handles > 0)
        return;
    if (s->closed) {
        free_server(s);
        return;
    }
    if (s->draining && s->drained) {
        void (*done)(void *ctx) = s->drained;
        s->drained = NULL;
        done(s->drained_ctx);
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    struct net_server *s = h->data;
    s->open_handles--;
    maybe_over(s);
}

static void stop_listening(struct net_server *s)
{
    if (!s->listening)
        return;
    s->listening = false;
    uv_close(&s->u.handle, on_handle_closed); /* removes a Unix socket's file */
}

static void stop_tick(struct net_server *s)
{
    if (!uv_is_closing((uv_handle_t *)&s->tick))
        uv_close((uv_handle_t *)&s->tick, on_handle_closed);
}

void server_conn_closed(struct net_server *s, struct http_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->connections--;
    if (s->connections == 0 && s->draining)
        stop_tick(s);
    else if (s->connections == 0 && !s->closed)
        uv_timer_stop(&s->tick); /* an idle server sleeps */
    maybe_over(s);
}

void net_server_drain(struct net_server *s, void (*done)(void *ctx), void *ctx)
{
    s->draining = true;
    s->drained = done;
    s->drained_ctx = ctx;
    stop_listening(s);
    for (struct http_conn *c = s->conns; c; c = c->next)
        if (conn_idle(c))
            conn_close(c);
    if (s->connections == 0)
        stop_tick(s);
}

void net_server_close(struct net_server *s)
{
    if (!s || s->closed)
        return;
    s->closed = true;
    s->drained = NULL;
    bool over = s->connections == 0 && s->open_handles == 0; /* it was drained before */
    stop_listening(s);
    for (struct http_conn *c = s->conns; c; c = c->next)
        conn_gone(c);
    if (over)
        free_server(s);
    else
        stop_tick(s);
}

/* ---- serving ---- */

static void on_tick(uv_timer_t *t)
{
    struct net_server *s = t->data;
    uint64_t now = uv_now(t->loop);
    /* Connections leave the list only when libuv has closed them, so the walk is safe. */
    for (struct http_conn *c = s->conns; c && !s->closed; c = c->next)
        conn_tick(c, now);
}

static uint64_t tick_ms(const struct net_server *s)
{
    uint64_t least = s->header_ms;
    least = s->body_ms < least ? s->body_ms : least;
    least = s->idle_ms < least ? s->idle_ms : least;
    least = s->stall_ms < least ? s->stall_ms : least;
    return least / 8 < 10 ? 10 : least / 8 > 500 ? 500 : least / 8;
}

static void on_connection(uv_stream_t *u, int status)
{
    struct net_server *s = u->data;
    if (status != 0)
        return;
    if (!uv_is_active((uv_handle_t *)&s->tick))
        uv_timer_start(&s->tick, on_tick, tick_ms(s), tick_ms(s));
    conn_accept(s);
}

int net_server_port(const struct net_server *s)
{
    return s->port;
}

int net_server_connections(const struct net_server *s)
{
    return s->connections;
}

/* ---- listening ---- */

static int bind_tcp(struct net_server *s, const struct net_server_params *p, struct err *e)
{
    struct sockaddr_storage a;
    if (p->port < 0 || p->port > 65535)
        return err_set(e, ERR_INVAL, "port %d is not between 0 and 65535", p->port);
    const char *host = strcmp(s->bound, "localhost") == 0 ? "127.0.0.1" : s->bound;
    if (uv_ip4_addr(host, p->port, (struct sockaddr_in *)&a) != 0 &&
        uv_ip6_addr(host, p->port, (struct sockaddr_in6 *)&a) != 0)
        return err_set(e, ERR_INVAL, "'%s' is not an address to listen on", host);
    int rc = uv_tcp_bind(&s->u.tcp, (struct sockaddr *)&a, 0);
    if (rc == 0)
        rc = uv_listen(&s->u.stream, BACKLOG, on_connection);
    if (rc != 0)
        return err_set(e, rc == UV_EADDRINUSE ? ERR_BUSY : ERR_IO,
                       "cannot listen on %s port %d: %s", host, p->port, uv_strerror(rc));
    int len = sizeof a;
    rc = uv_tcp_getsockname(&s->u.tcp, (struct sockaddr *)&a, &len);
    if (rc != 0)
        return err_set(e, ERR_IO, "cannot read the port: %s", uv_strerror(rc));
    /* The port is at the same place in both families. */
    s->port = ntohs(((struct sockaddr_in *)&a)->sin_port);
    return 0;
}

/* Whether a socket file is in use can be asked by dialling it, but this folder cannot dial: the
 * server that listens holds a lock on PATH.lock, which the kernel drops when it dies. */
static int lock_path(struct net_server *s, const char *path, struct err *e)
{
    char lock[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    snprintf(lock, sizeof lock, "%s.lock", path);
    s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return err_set(e, ERR_IO, "cannot open %s: %s", lock, strerror(errno));
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(e, errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO, "%s: %s", path,
                       errno == EWOULDBLOCK ? "another server listens there" : strerror(errno));
    return 0;
}

static int bind_unix(struct net_server *s, const char *path, struct err *e)
{
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return err_set(e, ERR_INVAL, "%s: longer than a socket's name may be", path);
    int rc = lock_path(s, path, e);
    if (rc != 0)
        return rc;
    struct stat st;
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return err_set(e, ERR_EXISTS, "%s exists and is not a socket", path);
        unlink(path); /* its server is dead: we hold the lock */
    }
    rc = uv_pipe_bind(&s->u.pipe, path);
    /* Nobody can connect before listen, so nobody gets in while the mode is still the umask's. */
    if (rc == 0 && chmod(path, 0600) != 0)
        rc = uv_translate_sys_error(errno);
    if (rc == 0)
        rc = uv_listen(&s->u.stream, BACKLOG, on_connection);
    if (rc != 0)
        return err_set(e, ERR_IO, "cannot listen on %s: %s", path, uv_strerror(rc));
    return 0;
}

static uint64_t or_default(int ms, uint64_t def)
{
    return ms > 0 ? (uint64_t)ms : def;
}

static void take_params(struct net_server *s, const struct net_server_params *p)
{
    s->is_unix = p->unix_path != NULL;
    s->max_connections = p->max_connections > 0 ? p->max_connections : 1024;
    s->max_body = p->max_body ? p->max_body : (size_t)8 * 1024 * 1024;
    s->header_ms = or_default(p->header_ms, 10000);
    s->body_ms = or_default(p->body_ms, 30000);
    s->idle_ms = or_default(p->idle_ms, 75000);
    s->stall_ms = or_default(p->stall_ms, 30000);
    s->request = p->request;
    s->ctx = p->ctx;
    s->lock_fd = -1;
}

int net_server_new(struct net_loop *l, const struct net_server_params *p, struct net_server **out,
                   struct err *e)
{
    struct net_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for a server");
    take_params(s, p);
    s->l = l;
    s->bound = strdup(p->host ? p->host : "127.0.0.1");
    if (!s->bound || copy_list(p->allow_hosts, &s->allow_hosts) != 0 ||
        copy_list(p->allow_origins, &s->allow_origins) != 0) {
        free_server(s);
        return err_set(e, ERR_NOMEM, "no memory for a server");
    }
    if (s->is_unix)
        uv_pipe_init(net_loop_uv(l), &s->u.pipe, 0);
    else
        uv_tcp_init(net_loop_uv(l), &s->u.tcp);
    uv_timer_init(net_loop_uv(l), &s->tick);
    s->u.handle.data = s->tick.data = s;
    s->open_handles = 2;
    s->listening = true;
    int rc = s->is_unix ? bind_unix(s, p->unix_path, e) : bind_tcp(s, p, e);
    if (rc != 0) {
        net_server_close(s);
        return rc;
    }
    *out = s;
    return 0;
}
