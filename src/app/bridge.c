/* bridge.c: events from a backend's thread to the loop. */
#include "bridge.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HIGH_WATER ((size_t)64 * 1024)

/* One event with everything it borrows, in one allocation. */
struct node {
    struct node *next;
    struct gen_event ev;
    struct err err;
    size_t bytes;
    char data[];
};

struct bridge {
    struct net_loop *loop;
    struct gen_sink to;
    void (*wake)(void *ctx);
    pthread_mutex_t lock;
    struct node *head, **tail;
    size_t waiting;  /* bytes queued */
    bool posted;     /* a delivery is on its way to the loop */
    bool paused;     /* the loop's sink wants no more for the moment */
    bool told_pause; /* and the backend has been told */
    bool cancelled;
    bool out_of_memory; /* an event was lost: the next delivery reports it */
};

int bridge_new(struct net_loop *loop, struct gen_sink on_loop, void (*wake)(void *ctx),
               struct bridge **out, struct err *e)
{
    struct bridge *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for a stream of events");
    b->loop = loop;
    b->to = on_loop;
    b->wake = wake;
    b->tail = &b->head;
    pthread_mutex_init(&b->lock, NULL);
    *out = b;
    return 0;
}

void bridge_free(struct bridge *b)
{
    if (!b)
        return;
    for (struct node *n = b->head; n;) {
        struct node *next = n->next;
        free(n);
        n = next;
    }
    pthread_mutex_destroy(&b->lock);
    free(b);
}

/* ---- copying an event ---- */

static size_t logprob_bytes(const struct gen_event *ev)
{
    size_t n = ev->nlogprobs * sizeof *ev->logprobs;
    for (size_t i = 0; i < ev->nlogprobs; i++) {
        n += ev->logprobs[i].ntop * sizeof *ev->logprobs[i].top + ev->logprobs[i].chosen.token.n;
        for (size_t k = 0; k < ev->logprobs[i].ntop; k++)
            n += ev->logprobs[i].top[k].token.n;
    }
    return n;
}

static void *put(char **at, const void *p, size_t n)
{
    char *here = *at;
    if (n)
        memcpy(here, p, n);
    *at += n;
    return here;
}

static struct str put_str(char **at, struct str s)
{
    return str_n(put(at, s.p, s.n), s.n);
}

/* Fixed-size records first, so that they stay aligned; then the text. */
static void put_logprobs(char **at, const struct gen_event *from, struct gen_event *to)
{
    struct gen_token_logprobs *lp = put(at, from->logprobs, from->nlogprobs * sizeof *lp);
    to->logprobs = lp;
    for (size_t i = 0; i < from->nlogprobs; i++)
        lp[i].top = put(at, lp[i].top, lp[i].ntop * sizeof *lp[i].top);
    for (size_t i = 0; i < from->nlogprobs; i++) {
        lp[i].chosen.token = put_str(at, lp[i].chosen.token);
        struct gen_logprob *top = (struct gen_logprob *)(uintptr_t)lp[i].top;
        for (size_t k = 0; k < lp[i].ntop; k++)
            top[k].token = put_str(at, top[k].token);
    }
}

static struct node *copy(const struct gen_event *ev)
{
    size_t floats = ev->nembedding * sizeof *ev->embedding;
    size_t ids = (ev->nids * sizeof *ev->ids + 7) / 8 * 8; /* what follows stays aligned */
    size_t bytes =
        logprob_bytes(ev) + ids + floats + ev->text.n + ev->id.n + ev->name.n + ev->raw.n;
    struct node *n = malloc(sizeof *n + bytes + 8);
    if (!n)
        return NULL;
    n->next = NULL;
    n->ev = *ev;
    n->bytes = bytes;
    char *at = n->data + (8 - (uintptr_t)n->data % 8) % 8;
    if (ev->nids) {
        n->ev.ids = memcpy(at, ev->ids, ev->nids * sizeof *ev->ids);
        at += ids;
    }
    if (ev->nlogprobs)
        put_logprobs(&at, ev, &n->ev);
    n->ev.text = put_str(&at, ev->text);
    n->ev.id = put_str(&at, ev->id);
    n->ev.name = put_str(&at, ev->name);
    n->ev.raw = put_str(&at, ev->raw);
    if (floats) {
        /* Events carry text or a vector, never both, so `at` is still aligned here. */
        n->ev.embedding = put(&at, ev->embedding, floats);
    }
    if (ev->err) {
        n->err = *ev->err;
        n->ev.err = &n->err;
    }
    return n;
}

/* ---- delivery, on the loop ---- */

static struct node *take_all(struct bridge *b)
{
    pthread_mutex_lock(&b->lock);
    struct node *list = b->head;
    b->head = NULL;
    b->tail = &b->head;
    b->waiting = 0;
    b->posted = false;
    pthread_mutex_unlock(&b->lock);
    return list;
}

static void note_verdict(struct bridge *b, enum gen_verdict v)
{
    pthread_mutex_lock(&b->lock);
    if (v == GEN_PAUSE)
        b->paused = true;
    if (v == GEN_CANCEL)
        b->cancelled = true;
    pthread_mutex_unlock(&b->lock);
}

static void wake_if_drained(struct bridge *b)
{
    pthread_mutex_lock(&b->lock);
    bool wake = b->told_pause && !b->paused && !b->cancelled;
    if (wake)
        b->told_pause = false;
    pthread_mutex_unlock(&b->lock);
    if (wake)
        b->wake(b->to.ctx);
}

static void deliver(void *ctx)
{
    struct bridge *b = ctx;
    for (struct node *n = take_all(b); n;) {
        struct node *next = n->next;
        bool last = n->ev.type == GEN_EV_DONE || n->ev.type == GEN_EV_ERROR;
        enum gen_verdict v = b->to.event(b->to.ctx, &n->ev);
        free(n);
        if (last)
            return; /* the sink may have freed the bridge */
        note_verdict(b, v);
        n = next;
    }
    wake_if_drained(b);
}

static enum gen_verdict on_event(void *ctx, const struct gen_event *ev)
{
    struct bridge *b = ctx;
    struct node *n = copy(ev);
    bool last = ev->type == GEN_EV_DONE || ev->type == GEN_EV_ERROR;
    if (!n && last)
        abort(); /* without its end a request would hang for ever */
    pthread_mutex_lock(&b->lock);
    if (!n) {
        b->out_of_memory = true;
        pthread_mutex_unlock(&b->lock);
        return GEN_CANCEL;
    }
    if (b->out_of_memory && ev->type == GEN_EV_DONE) {
        n->ev.type = GEN_EV_ERROR;
        err_set(&n->err, ERR_NOMEM, "out of memory while streaming the answer");
        n->ev.err = &n->err;
    }
    *b->tail = n;
    b->tail = &n->next;
    b->waiting += n->bytes;
    bool post = !b->posted;
    b->posted = true;
    enum gen_verdict v = GEN_GO;
    if (b->cancelled) {
        v = GEN_CANCEL;
    } else if (b->paused || b->waiting > HIGH_WATER) {
        b->told_pause = true;
        v = GEN_PAUSE;
    }
    pthread_mutex_unlock(&b->lock);
    if (post)
        net_post(b->loop, deliver, b);
    return v;
}

struct gen_sink bridge_sink(struct bridge *b)
{
    return (struct gen_sink){on_event, b};
}

bool bridge_resume(struct bridge *b)
{
    pthread_mutex_lock(&b->lock);
    bool told = b->told_pause;
    b->paused = b->told_pause = false;
    pthread_mutex_unlock(&b->lock);
    return told;
}
