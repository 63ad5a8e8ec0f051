/* curl_multi.c: libcurl's sockets and timer on the uv loop.
 *
 * curl keeps connections open for the next call. Such a pool must not be shared across what the
 * gate tells apart, so there is one per row, row's zone, request's zone, socket path and proxy: a
 * connection that was opened under one set of answers is never ridden under another. The pool that
 * was used longest ago goes when there are too many. */
#include "egress_int.h"

#include <stdlib.h>

#define MAX_POOLS 32
#define KEPT_PER_POOL 8L

/* One socket of curl's that libuv watches. */
struct watched {
    uv_poll_t poll;
    struct pool_of_curl *pool;
    curl_socket_t fd;
};

/* ---- what is over ---- */

static void reap(struct pool_of_curl *p)
{
    CURLMsg *m;
    for (int left; (m = curl_multi_info_read(p->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        CURL *easy = m->easy_handle;
        CURLcode rc = m->data.result; /* m is gone once the handle is removed */
        call_over(easy, rc);
    }
}

static void act(struct pool_of_curl *p, curl_socket_t fd, int what)
{
    int running;
    p->runs++; /* an end may start the next call, which may want a place among the pools */
    curl_multi_socket_action(p->multi, fd, what, &running);
    reap(p);
    p->runs--;
}

void pool_kick(struct pool_of_curl *p)
{
    act(p, CURL_SOCKET_TIMEOUT, 0);
}

/* ---- sockets ---- */

static void on_event(uv_poll_t *u, int status, int events)
{
    struct watched *w = u->data;
    int what = 0;
    if (status < 0)
        what = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        what |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        what |= CURL_CSELECT_OUT;
    act(w->pool, w->fd, what);
}

static void free_watched(uv_handle_t *h)
{
    free(h->data);
}

static struct watched *watch(struct pool_of_curl *p, curl_socket_t fd)
{
    struct watched *w = calloc(1, sizeof *w);
    if (!w || uv_poll_init_socket(p->timer.loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->pool = p;
    w->fd = fd;
    curl_multi_assign(p->multi, fd, w);
    return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known)
{
    struct pool_of_curl *p = ctx;
    struct watched *w = known;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            curl_multi_assign(p->multi, fd, NULL);
            uv_poll_stop(&w->poll); /* before curl closes the descriptor */
            uv_close((uv_handle_t *)&w->poll, free_watched);
        }
        return 0;
    }
    if (!w)
        w = watch(p, fd);
    if (!w)
        return -1;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_event) == 0 ? 0 : -1;
}

static void on_timeout(uv_timer_t *t)
{
    pool_kick(t->data);
}

static int on_timer(CURLM *multi, long ms, void *ctx)
{
    struct pool_of_curl *p = ctx;
    if (ms < 0)
        uv_timer_stop(&p->timer);
    else
        uv_timer_start(&p->timer, on_timeout, (uint64_t)ms, 0);
    return 0;
}

/* ---- pools ---- */

static void free_pool(uv_handle_t *h)
{
    struct pool_of_curl *p = h->data;
    free(p->key);
    free(p);
}

static void close_pool(struct pool_of_curl *p)
{
    curl_multi_cleanup(p->multi);
    uv_timer_stop(&p->timer);
    uv_close((uv_handle_t *)&p->timer, free_pool);
}

static void drop_oldest(struct egress *eg)
{
    struct pool_of_curl **oldest = NULL;
    for (struct pool_of_curl **at = &eg->pools; *at; at = &(*at)->next)
        if ((*at)->runs == 0 && (!oldest || (*at)->used < (*oldest)->used))
            oldest = at;
    if (!oldest)
        return;
    struct pool_of_curl *p = *oldest;
    *oldest = p->next;
    eg->npools--;
    close_pool(p);
}

static struct pool_of_curl *new_pool(struct egress *eg, char *key)
{
    struct pool_of_curl *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->multi = curl_multi_init();
    if (!p->multi) {
        free(p);
        return NULL;
    }
    p->eg = eg;
    p->key = key;
    uv_timer_init(net_loop_uv(eg->loop), &p->timer);
    p->timer.data = p;
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, KEPT_PER_POOL);
    p->next = eg->pools;
    eg->pools = p;
    eg->npools++;
    return p;
}

int pools_get(struct egress *eg, const struct dial *d, struct pool_of_curl **out, struct err *e)
{
    char *key;
    if (asprintf(&key, "%d %d %s\n%s\n%s\n%s:%d", d->row_zone, d->req_zone, d->row,
                 d->unix_path ? d->unix_path : "", d->proxy ? d->proxy : "", d->host, d->port) < 0)
        return err_set(e, ERR_NOMEM, "no memory for a connection");
    struct pool_of_curl *p = eg->pools;
    while (p && strcmp(p->key, key) != 0)
        p = p->next;
    if (p) {
        free(key);
    } else {
        if (eg->npools >= MAX_POOLS)
            drop_oldest(eg);
        p = new_pool(eg, key);
        if (!p)
            free(key);
    }
    if (!p)
        return err_set(e, ERR_NOMEM, "no memory for a connection");
    p->used = ++eg->uses;
    *out = p;
    return 0;
}

void pools_free(struct egress *eg)
{
    for (struct pool_of_curl *p = eg->pools; p;) {
        struct pool_of_curl *next = p->next;
        close_pool(p);
        p = next;
    }
    eg->pools = NULL;
    eg->npools = 0;
}

/* curl asks for its timer and starts from there, so nothing is called back from inside here. */
int pool_add(struct pool_of_curl *p, CURL *easy, struct err *e)
{
    CURLMcode rc = curl_multi_add_handle(p->multi, easy);
    if (rc != CURLM_OK)
        return err_set(e, ERR_INTERNAL, "libcurl: %s", curl_multi_strerror(rc));
    p->runs++;
    return 0;
}

void pool_remove(struct pool_of_curl *p, CURL *easy)
{
    curl_multi_remove_handle(p->multi, easy);
    p->runs--;
}
