/* client.c: a command's call to the owner. */
#include "client.h"

#include "egress.h"
#include "house.h"
#include "log.h"
#include "net.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINE ((size_t)16 * 1024 * 1024)

struct client {
    char socket[4096];
    struct net_loop *loop;
    struct egress *egress;
    struct house *house; /* NULL: another process owns the home */
    pthread_t thread;
    bool thread_runs;
};

struct under_way {
    struct client *c;
    const struct client_call *call;
    struct egress_run *run;
    struct buf pending; /* the unfinished line */
    int status, rc, line_rc;
    struct err err;
    bool interrupted;
};

/* Signals reach the loop of whichever call is under way; between calls they act as usual. */
static struct under_way *current;

static void *own(void *arg)
{
    struct client *c = arg;
    house_run(c->house);
    return NULL;
}

static int start_owner(struct client *c, const struct settings *s, bool serve, struct err *e)
{
    int rc = house_new(s, serve, &c->house, e);
    if (rc)
        return rc;
    if (pthread_create(&c->thread, NULL, own, c) != 0) {
        house_free(c->house);
        c->house = NULL;
        return err_set(e, ERR_NOMEM, "cannot start a thread");
    }
    c->thread_runs = true;
    return 0;
}

/* Threads inherit the mask they are born with: Ctrl-C must reach this one, which reads the
 * terminal. */
static int become_owner(struct client *c, const struct settings *s, bool serve, struct err *e)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = start_owner(c, s, serve, e);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static void on_signal(void *ctx, int sig)
{
    if (current && current->run) {
        current->interrupted = true;
        egress_cancel(current->run);
    }
}

int client_open(const struct settings *s, bool serve, struct client **out, struct err *e)
{
    struct client *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "out of memory");
    int rc = become_owner(c, s, serve, e);
    if (rc == ERR_BUSY)
        rc = 0; /* somebody owns it: talk to them */
    snprintf(c->socket, sizeof c->socket, "%s/run/weir.sock", s->home);
    if (rc == 0)
        rc = net_loop_new(&c->loop, e);
    if (rc == 0) {
        struct egress_params p = {.loop = c->loop, .home = NULL, .offline = true};
        rc = egress_new(&p, &c->egress, e);
    }
    if (rc == 0)
        rc = net_signals(c->loop, on_signal, c, e);
    if (rc) {
        client_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void client_close(struct client *c)
{
    if (!c)
        return;
    egress_free(c->egress);
    net_loop_free(c->loop);
    if (c->thread_runs) {
        house_stop(c->house);
        pthread_join(c->thread, NULL);
    }
    house_free(c->house);
    free(c);
}

bool client_is_owner(const struct client *c)
{
    return c->house != NULL;
}

/* ---- one call ---- */

static void on_head(void *ctx, int status, struct str type, int retry_after_s)
{
    struct under_way *w = ctx;
    w->status = status;
}

static int give_lines(struct under_way *w)
{
    struct str rest = buf_str(&w->pending), line;
    int rc = 0;
    while (rc == 0 && memchr(rest.p, '\n', rest.n)) {
        str_cut(rest, '\n', &line, &rest);
        rc = line.n ? w->call->line(w->call->ctx, line) : 0;
    }
    buf_eat(&w->pending, w->pending.n - rest.n);
    return rc;
}

static enum gen_verdict on_data(void *ctx, struct str bytes)
{
    struct under_way *w = ctx;
    bool lines = w->call->line && w->status < 400;
    struct buf *to = lines ? &w->pending : w->call->whole;
    if (to)
        buf_str_add(to, bytes);
    if (to && buf_failed(to)) {
        w->line_rc = err_set(&w->err, ERR_TOO_LARGE, "the answer is too large");
        return GEN_CANCEL;
    }
    if (lines && w->line_rc == 0)
        w->line_rc = give_lines(w);
    return w->line_rc ? GEN_CANCEL : GEN_GO;
}

static void on_end(void *ctx, const struct err *err)
{
    struct under_way *w = ctx;
    w->run = NULL;
    if (err && !w->line_rc) {
        w->rc = err->code;
        w->err = *err;
    }
    net_loop_stop(w->c->loop);
}

int client_call(struct client *c, const struct client_call *call, int *status, struct err *e)
{
    char url[1024];
    snprintf(url, sizeof url, "http://localhost%s", call->path);
    struct egress_row row = {.name = "weir", .zone = GEN_DEVICE, .unix_path = c->socket};
    struct under_way w = {.c = c, .call = call, .pending = BUF_INIT(MAX_LINE)};
    struct egress_call out = {
        .row = &row,
        .req_zone = GEN_DEVICE,
        .rule = "command",
        .method = call->method,
        .url = url,
        .headers = call->headers,
        .body = call->body,
        .connect_ms = 5000,
        /* The owner answers for its own deadlines; a local model may think for long. */
        .first_ms = 24 * 3600 * 1000,
        .idle_ms = 24 * 3600 * 1000,
        .head = on_head,
        .data = on_data,
        .end = on_end,
        .ctx = &w};
    int rc = egress_start(c->egress, &out, &w.run, e);
    if (rc == 0) {
        current = &w;
        net_loop_run(c->loop);
        current = NULL;
        rc = w.line_rc ? w.line_rc : w.rc;
        if (w.interrupted)
            rc = err_set(&w.err, ERR_CANCELLED, "interrupted");
        if (rc && e && w.err.code) /* else line() has said why itself */
            *e = w.err;
        if (rc == 0)
            *status = w.status;
    }
    buf_done(&w.pending);
    return rc;
}

/* ---- JSON ---- */

static int code_of_status(int status)
{
    switch (status) {
    case 401: return ERR_AUTH;
    case 403: return ERR_POLICY;
    case 404: return ERR_NOT_FOUND;
    case 409: return ERR_EXISTS;
    default: return status < 500 ? ERR_INVAL : ERR_UPSTREAM;
    }
}

int client_json(struct client *c, const char *method, const char *path, const json_t *body,
                json_t **out, struct err *e)
{
    struct buf whole = BUF_INIT((size_t)64 << 20);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct client_call call = {
        .method = method, .path = path, .body = str_of(text ? text : ""), .whole = &whole};
    int status = 0;
    int rc =
        body && !text ? err_set(e, ERR_NOMEM, "out of memory") : client_call(c, &call, &status, e);
    json_t *o = rc ? NULL : json_loadb(whole.p ? whole.p : "", whole.n, 0, NULL);
    if (rc == 0 && !o)
        rc = err_set(e, ERR_INTERNAL, "the server's answer is not JSON");
    if (rc == 0 && status >= 400) {
        const char *why =
            json_string_value(json_object_get(json_object_get(o, "error"), "message"));
        rc = err_set(e, code_of_status(status), "%s", why ? why : "refused");
        json_decref(o);
    } else if (rc == 0) {
        *out = o;
    }
    free(text);
    buf_done(&whole);
    return rc;
}
