/* local_rig.h: a small model as a backend, and a sink that remembers what each choice said. */
#ifndef WEIR_LOCAL_RIG_H
#define WEIR_LOCAL_RIG_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "local.h"
#include "tiny_model.h"
#include "utf8.h"

#define RIG_CHOICES 128

struct rig_choice {
    struct buf text, raw;
    bool ended;
    enum gen_reason reason;
    char matched[32];
};

struct rig {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct rig_choice choice[RIG_CHOICES];
    size_t nchoices, nids;
    int starts, usages, choice_ends;
    struct gen_usage usage;
    struct gen_times times;
    enum gen_reason reason;
    struct buf raw, args, reasoning;
    struct err err;
    bool done, pause, paused;
    int pauses;
    int cancel_after; /* text events */
    struct gen_run *run;
};

static inline void rig_init(struct rig *h)
{
    *h = (struct rig){
        .raw = BUF_INIT(1 << 20), .args = BUF_INIT(1 << 20), .reasoning = BUF_INIT(1 << 20)};
    for (size_t i = 0; i < RIG_CHOICES; i++) {
        h->choice[i].text = BUF_INIT(1 << 20);
        h->choice[i].raw = BUF_INIT(1 << 20);
    }
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->ended, NULL);
}

static inline void rig_done(struct rig *h)
{
    for (size_t i = 0; i < RIG_CHOICES; i++) {
        buf_done(&h->choice[i].text);
        buf_done(&h->choice[i].raw);
    }
    buf_done(&h->raw);
    buf_done(&h->args);
    buf_done(&h->reasoning);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->ended);
}

static inline enum gen_verdict rig_text(struct rig *h, struct rig_choice *c,
                                        const struct gen_event *ev)
{
    assert_false(c->ended);
    assert_true(utf8_valid(ev->text));
    buf_str_add(&c->text, ev->text);
    h->nids += ev->nids;
    if ((size_t)ev->index >= h->nchoices)
        h->nchoices = (size_t)ev->index + 1;
    if (h->cancel_after && --h->cancel_after == 0)
        return GEN_CANCEL;
    h->paused |= h->pause;
    h->pauses += h->pause;
    return h->pause ? GEN_PAUSE : GEN_GO;
}

static inline void rig_choice_end(struct rig *h, struct rig_choice *c, const struct gen_event *ev)
{
    assert_false(c->ended);
    c->ended = true;
    c->reason = ev->reason;
    buf_str_add(&c->raw, ev->raw);
    snprintf(c->matched, sizeof c->matched, "%.*s", STR_ARG(ev->text));
    h->choice_ends++;
}

static inline enum gen_verdict rig_event(void *ctx, const struct gen_event *ev)
{
    struct rig *h = ctx;
    enum gen_verdict v = GEN_GO;
    pthread_mutex_lock(&h->lock);
    assert_false(h->done);
    assert_true(ev->index >= 0 && ev->index < RIG_CHOICES);
    struct rig_choice *c = &h->choice[ev->index];
    h->starts += ev->type == GEN_EV_START;
    if (ev->type == GEN_EV_TEXT)
        v = rig_text(h, c, ev);
    if (ev->type == GEN_EV_TOOL_ARGS)
        buf_str_add(&h->args, ev->text);
    if (ev->type == GEN_EV_REASONING)
        buf_str_add(&h->reasoning, ev->text);
    if (ev->type == GEN_EV_CHOICE_END)
        rig_choice_end(h, c, ev);
    if (ev->type == GEN_EV_USAGE) {
        h->usages++;
        h->usage = ev->usage;
        h->times = ev->times;
    }
    if (ev->type == GEN_EV_DONE) {
        h->reason = ev->reason;
        buf_str_add(&h->raw, ev->raw);
    }
    if (ev->type == GEN_EV_ERROR)
        h->err = *ev->err;
    h->done = ev->type == GEN_EV_DONE || ev->type == GEN_EV_ERROR;
    pthread_cond_signal(&h->ended);
    pthread_mutex_unlock(&h->lock);
    return v;
}

static inline int rig_start(struct local *l, const struct gen_req *req, struct rig *h,
                            struct err *e)
{
    struct gen_backend *b = local_backend(l);
    return b->ops->start(b, req, STR(""), NULL, (struct gen_sink){rig_event, h}, &h->run, e);
}

static inline void rig_finish(struct local *l, struct rig *h)
{
    const struct gen_backend_ops *ops = local_backend(l)->ops;
    pthread_mutex_lock(&h->lock);
    while (!h->done) {
        if (h->paused) {
            h->paused = false;
            pthread_mutex_unlock(&h->lock);
            ops->resume(h->run);
            pthread_mutex_lock(&h->lock);
        } else {
            pthread_cond_wait(&h->ended, &h->lock);
        }
    }
    pthread_mutex_unlock(&h->lock);
    ops->cancel(h->run);
    ops->release(h->run);
}

static inline void rig_ask(struct local *l, const struct gen_req *req, struct rig *h)
{
    struct err e = {0};
    rig_init(h);
    int rc = rig_start(l, req, h, &e);
    if (rc)
        print_error("%s\n", err_msg(&e));
    assert_int_equal(rc, 0);
    rig_finish(l, h);
}

/* e.code of a request that is refused. */
static inline struct err rig_refused(struct local *l, const struct gen_req *req)
{
    struct rig *h = malloc(sizeof *h);
    struct err e = {0};
    rig_init(h);
    assert_int_not_equal(rig_start(l, req, h, &e), 0);
    assert_int_equal(h->starts, 0);
    rig_done(h);
    free(h);
    return e;
}

static inline struct local *rig_open(const char *name, const struct tiny *t, const char *tmpl,
                                     int32_t ctx)
{
    char path[256];
    assert_int_equal(tiny_write(t, tiny_path(name, path)), 0);
    struct local *l = NULL;
    struct err e = {0};
    struct local_params p = {
        .engine = {.threads = 1, .ctx = ctx, .parallel = 4}, .name = STR(""), .tmpl = str_of(tmpl)};
    int rc = local_open(path, &p, &l, &e);
    unlink(path);
    if (rc)
        print_error("%s\n", err_msg(&e));
    assert_int_equal(rc, 0);
    return l;
}

static inline const char *rig_string(const struct rig *h, size_t i)
{
    return h->choice[i].text.p ? h->choice[i].text.p : "";
}

#endif
