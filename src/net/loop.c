/* loop.c: the loop's own services: messages from other threads, work on libuv's workers, timers and
 * signals. Everything else in this folder runs on top of it; egress/ borrows the uv loop. */
#include "net.h"

#include "slice.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

struct message {
    struct message *next;
    void (*fn)(void *ctx);
    void *ctx;
};

struct net_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_signal_t sigs[2];
    bool has_signals;
    void (*on_signal)(void *ctx, int sig);
    void *signal_ctx;
    pthread_mutex_t lock; /* of the list of messages, the one thing other threads touch */
    struct message *head, **tail;
    size_t nworks; /* net_work's that have not called done */
};

/* ---- messages ---- */

static struct message *take_messages(struct net_loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct message *list = l->head;
    l->head = NULL;
    l->tail = &l->head;
    pthread_mutex_unlock(&l->lock);
    return list;
}

/* Messages posted while these run wait for the next round, so that sockets get their turn. */
static void on_wake(uv_async_t *a)
{
    struct net_loop *l = a->data;
    for (struct message *m = take_messages(l); m;) {
        struct message *next = m->next;
        m->fn(m->ctx);
        free(m);
        m = next;
    }
}

void net_post(struct net_loop *l, void (*fn)(void *ctx), void *ctx)
{
    struct message *m = malloc(sizeof *m);
    if (!m)
        abort(); /* a lost message would be a request that never ends */
    *m = (struct message){NULL, fn, ctx};
    pthread_mutex_lock(&l->lock);
    *l->tail = m;
    l->tail = &m->next;
    /* Inside the lock: once it is released, the loop may run this message and be freed by it. */
    uv_async_send(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

/* ---- the loop ---- */

int net_loop_new(struct net_loop **out, struct err *e)
{
    struct net_loop *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for the loop");
    int rc = uv_loop_init(&l->uv);
    if (rc != 0) {
        free(l);
        return err_set(e, ERR_IO, "cannot set up the event loop: %s", uv_strerror(rc));
    }
    rc = uv_async_init(&l->uv, &l->wake, on_wake);
    if (rc != 0) {
        uv_loop_close(&l->uv);
        free(l);
        return err_set(e, ERR_IO, "cannot set up the event loop: %s", uv_strerror(rc));
    }
    l->wake.data = l;
    l->tail = &l->head;
    pthread_mutex_init(&l->lock, NULL);
    signal(SIGPIPE, SIG_IGN); /* a client that leaves is an error of one write, not the end of us */
    *out = l;
    return 0;
}

void net_loop_free(struct net_loop *l)
{
    if (!l)
        return;
    uv_close((uv_handle_t *)&l->wake, NULL);
    for (int i = 0; l->has_signals && i < 2; i++)
        uv_close((uv_handle_t *)&l->sigs[i], NULL);
    /* Closing handles and work under way still want the loop. When nothing is alive and it still
     * cannot close, somebody has forgotten a handle of theirs. */
    int alive = 1;
    while (uv_loop_close(&l->uv) == UV_EBUSY) {
        assert(alive);
        alive = uv_run(&l->uv, UV_RUN_ONCE);
    }
    for (struct message *m = take_messages(l); m;) {
        struct message *next = m->next;
        free(m);
        m = next;
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void net_loop_run(struct net_loop *l)
{
    slice_shorten(); /* beside a model that computes, an answer does not wait for a tick */
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void net_loop_stop(struct net_loop *l)
{
    uv_stop(&l->uv);
}

struct uv_loop_s *net_loop_uv(struct net_loop *l)
{
    return &l->uv;
}

/* ---- work ---- */

struct work {
    uv_work_t uv;
    struct net_loop *loop;
    void (*work)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
};

static void do_work(uv_work_t *u)
{
    struct work *w = u->data;
    w->work(w->ctx);
}

static void work_done(uv_work_t *u, int status)
{
    struct work *w = u->data;
    w->loop->nworks--;
    w->done(w->ctx);
    free(w);
}

int net_work(struct net_loop *l, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx)
{
    struct work *w = malloc(sizeof *w);
    if (!w)
        return ERR_NOMEM;
    *w = (struct work){.loop = l, .work = work, .done = done, .ctx = ctx};
    w->uv.data = w;
    if (uv_queue_work(&l->uv, &w->uv, do_work, work_done) != 0) {
        free(w);
        return ERR_INTERNAL;
    }
    l->nworks++;
    return 0;
}

void net_loop_settle(struct net_loop *l)
{
    while (l->nworks)
        uv_run(&l->uv, UV_RUN_ONCE);
}

/* ---- timers ---- */

struct net_timer {
    uv_timer_t uv;
    void (*fn)(void *ctx);
    void *ctx;
};

static void on_timer(uv_timer_t *u)
{
    struct net_timer *t = u->data;
    t->fn(t->ctx);
}

static void free_timer(uv_handle_t *h)
{
    free(h->data);
}

int net_timer_new(struct net_loop *l, uint64_t ms, uint64_t repeat_ms, void (*fn)(void *ctx),
                  void *ctx, struct net_timer **out)
{
    struct net_timer *t = malloc(sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->fn = fn;
    t->ctx = ctx;
    uv_timer_init(&l->uv, &t->uv);
    t->uv.data = t;
    /* The loop's clock stands still inside a long callback; a deadline counts from now. */
    uv_update_time(&l->uv);
    uv_timer_start(&t->uv, on_timer, ms, repeat_ms);
    *out = t;
    return 0;
}

void net_timer_free(struct net_timer *t)
{
    if (!t)
        return;
    uv_timer_stop(&t->uv);
    uv_close((uv_handle_t *)&t->uv, free_timer);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *u, int sig)
{
    struct net_loop *l = u->data;
    l->on_signal(l->signal_ctx, sig);
}

int net_signals(struct net_loop *l, void (*fn)(void *ctx, int sig), void *ctx, struct err *e)
{
    static const int which[2] = {SIGINT, SIGTERM};
    l->on_signal = fn;
    l->signal_ctx = ctx;
    if (l->has_signals)
        return 0;
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&l->uv, &l->sigs[i]);
        l->sigs[i].data = l;
    }
    l->has_signals = true;
    for (int i = 0; i < 2; i++) {
        int rc = uv_signal_start(&l->sigs[i], on_signal, which[i]);
        if (rc != 0)
            return err_set(e, ERR_IO, "cannot watch for signal %d: %s", which[i], uv_strerror(rc));
    }
    return 0;
}
