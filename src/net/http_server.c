/* http_server.c: the server: its listeners, the list of connections, the clock of their deadlines,
 * the end of each turn of the loop, and its own end: drained or at once. */
#include "http_int.h"

#include <stdlib.h>
#include <time.h>

/* Connections taken, and cut, in one turn of the loop; more wait for the next one, behind what is
 * running: thousands that came together are late together. */
#define ACCEPT_TURN 64
#define CUT_TURN 64
#define CUT_AGAIN_MS 1

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
    for (size_t i = 0; i < s->nlisteners; i++)
        listener_done(&s->listeners[i]);
    free(s->listeners);
    free(s->ports);
    free_list(s->allow_hosts);
    free_list(s->allow_origins);
    free_list(s->guests);
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

static void on_listener_closed(uv_handle_t *h)
{
    struct listener *l = h->data;
    l->s->open_handles--;
    maybe_over(l->s);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct net_server *s = h->data;
    s->open_handles--;
    maybe_over(s);
}

static void stop_listening(struct net_server *s)
{
    for (size_t i = 0; i < s->nlisteners; i++) {
        struct listener *l = &s->listeners[i];
        if (l->open)
            uv_close(&l->u.handle, on_listener_closed); /* removes a Unix socket's file */
        l->open = l->held = false;
    }
}

static void stop_clocks(struct net_server *s)
{
    uv_handle_t *all[] = {(uv_handle_t *)&s->tick, (uv_handle_t *)&s->before,
                          (uv_handle_t *)&s->after};
    for (int i = 0; i < 3; i++)
        if (!uv_is_closing(all[i]))
            uv_close(all[i], on_handle_closed);
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
    s->refused -= c->refused;
    if (s->connections == 0 && s->draining)
        stop_clocks(s);
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
        stop_clocks(s);
}

static void look_after_all(struct net_server *s)
{
    while (s->later) {
        struct http_conn *c = s->later;
        s->later = c->later;
        c->is_later = false;
        conn_look_after(c);
    }
}

void net_server_close(struct net_server *s)
{
    if (!s || s->closed)
        return;
    s->closed = true;
    s->drained = NULL;
    bool over = s->connections == 0 && s->open_handles == 0; /* it was drained before */
    stop_listening(s);
    for (struct http_conn *c = s->conns; c; c = c->next) {
        conn_flush(c); /* an answer that has ended in this turn */
        conn_gone(c);
    }
    if (over)
        free_server(s);
    else
        stop_clocks(s);
}

/* ---- a turn of the loop ---- */

void server_later(struct http_conn *c)
{
    struct net_server *s = c->s;
    if (c->is_later || c->state == CONN_CLOSED)
        return;
    c->is_later = true;
    c->later = s->later;
    s->later = c;
}

static void take_held(struct net_server *s)
{
    for (size_t i = 0; i < s->nlisteners; i++) {
        struct listener *l = &s->listeners[i];
        l->taken = 0;
        if (!l->held)
            continue;
        l->held = false;
        conn_accept(l); /* and libuv watches the socket again */
    }
}

/* Before the loop waits. */
static void on_before(uv_prepare_t *h)
{
    look_after_all(h->data);
}

/* After sockets had their turn. Together with on_before: no answer stays behind when the loop waits
 * or stops. */
static void on_after(uv_check_t *h)
{
    struct net_server *s = h->data;
    look_after_all(s);
    if (!s->closed)
        take_held(s);
}

static uint64_t tick_ms(const struct net_server *s)
{
    uint64_t least = s->header_ms;
    least = s->body_ms < least ? s->body_ms : least;
    least = s->idle_ms < least ? s->idle_ms : least;
    least = s->stall_ms < least ? s->stall_ms : least;
    return least / 8 < 10 ? 10 : least / 8 > 500 ? 500 : least / 8;
}

static void on_tick(uv_timer_t *t)
{
    struct net_server *s = t->data;
    uint64_t now = uv_now(t->loop);
    int cut = 0;
    /* Connections leave the list only when libuv has closed them, so the walk is safe. */
    for (struct http_conn *c = s->conns; c && !s->closed && cut < CUT_TURN; c = c->next)
        cut += conn_tick(c, now);
    if (cut == CUT_TURN && !s->closed)
        uv_timer_start(t, on_tick, CUT_AGAIN_MS, tick_ms(s));
}

/* A failure is one of this connection only. When descriptors run out, libuv gives up one it keeps
 * for that and closes what waits, so that the socket does not stay readable for ever. */
void server_arrived(struct listener *l, int status)
{
    struct net_server *s = l->s;
    if (status != 0)
        return;
    if (!uv_is_active((uv_handle_t *)&s->tick))
        uv_timer_start(&s->tick, on_tick, tick_ms(s), tick_ms(s));
    if (l->taken++ < ACCEPT_TURN)
        conn_accept(l);
    else
        l->held = true;
}

/* One second's line serves all answers of that second. */
const char *server_date(struct net_server *s)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    if (s->date[0] && s->date_at == (int64_t)now)
        return s->date;
    struct tm t;
    gmtime_r(&now, &t);
    snprintf(s->date, sizeof s->date, "%s, %02d %s %d %02d:%02d:%02d GMT", days[t.tm_wday],
             t.tm_mday, months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    s->date_at = now;
    return s->date;
}

/* ---- what it is ---- */

const char *const *server_guests(const struct net_server *s, size_t listener)
{
    for (size_t i = 0; i < s->nguest_ports; i++)
        if (s->guest_ports[i] == s->ports[listener])
            return (const char *const *)s->guests;
    return NULL;
}

int net_server_port(const struct net_server *s)
{
    return s->ports[0];
}

size_t net_server_listeners(const struct net_server *s)
{
    return s->nlisteners;
}

int net_server_port_at(const struct net_server *s, size_t i)
{
    return i < s->nlisteners ? s->ports[i] : -1;
}

const char *net_server_address_at(const struct net_server *s, size_t i)
{
    return i < s->nlisteners ? s->listeners[i].bound : NULL;
}

const char *net_server_failed_at(const struct net_server *s, size_t i)
{
    return i < s->nlisteners ? s->listeners[i].failed : NULL;
}

int net_server_connections(const struct net_server *s)
{
    return s->connections;
}

/* ---- the beginning ---- */

static uint64_t or_default(int ms, uint64_t def)
{
    return ms > 0 ? (uint64_t)ms : def;
}

static void take_params(struct net_server *s, const struct net_server_params *p)
{
    s->max_connections = p->max_connections > 0 ? p->max_connections : 4096;
    s->max_body = p->max_body ? p->max_body : (size_t)8 * 1024 * 1024;
    s->header_ms = or_default(p->header_ms, 10000);
    s->body_ms = or_default(p->body_ms, 30000);
    s->idle_ms = or_default(p->idle_ms, 75000);
    s->stall_ms = or_default(p->stall_ms, 30000);
    s->body_limit = p->body_limit;
    s->request = p->request;
    s->refuse = p->refuse;
    s->ctx = p->ctx;
}

static int take_lists(struct net_server *s, const struct net_server_params *p)
{
    size_t n = 1 + p->nalso;
    s->listeners = calloc(n, sizeof *s->listeners);
    s->ports = calloc(n, sizeof *s->ports);
    if (!s->listeners || !s->ports)
        return ERR_NOMEM;
    for (; s->nlisteners < n; s->nlisteners++) {
        s->listeners[s->nlisteners].s = s;
        s->listeners[s->nlisteners].lock_fd = -1;
    }
    for (size_t i = 0; i < p->nguest_ports && i < NET_MAX_GUEST_PORTS; i++)
        s->guest_ports[s->nguest_ports++] = p->guest_ports[i];
    if (copy_list(p->guests, &s->guests) != 0)
        return ERR_NOMEM;
    if (copy_list(p->allow_hosts, &s->allow_hosts) != 0)
        return ERR_NOMEM;
    return copy_list(p->allow_origins, &s->allow_origins);
}

static void start_clocks(struct net_server *s)
{
    uv_timer_init(s->uv, &s->tick);
    uv_prepare_init(s->uv, &s->before);
    uv_check_init(s->uv, &s->after);
    s->tick.data = s->before.data = s->after.data = s;
    s->open_handles = 3;
    uv_prepare_start(&s->before, on_before);
    uv_check_start(&s->after, on_after);
    /* They serve whatever else keeps the loop alive. */
    uv_unref((uv_handle_t *)&s->before);
    uv_unref((uv_handle_t *)&s->after);
}

static int listen_all(struct net_server *s, const struct net_server_params *p, struct err *e)
{
    struct net_listen first = {
        .host = p->host, .port = p->port, .unix_path = p->unix_path, .fd = p->fd};
    for (size_t i = 0; i < s->nlisteners; i++) {
        struct listener *l = &s->listeners[i];
        int rc = listener_open(l, i ? &p->also[i - 1] : &first, &s->ports[i], e);
        s->open_handles += l->open;
        if (rc != 0)
            return rc;
    }
    return 0;
}

int net_server_new(struct net_loop *l, const struct net_server_params *p, struct net_server **out,
                   struct err *e)
{
    struct net_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for a server");
    s->l = l;
    s->uv = net_loop_uv(l);
    take_params(s, p);
    if (take_lists(s, p) != 0) {
        free_server(s);
        return err_set(e, ERR_NOMEM, "no memory for a server");
    }
    start_clocks(s);
    int rc = listen_all(s, p, e);
    if (rc != 0) {
        net_server_close(s);
        return rc;
    }
    *out = s;
    return 0;
}
