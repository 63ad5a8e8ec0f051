/* look.c: hold a model, ask it something on a worker, answer, let it go. */
#include "look.h"

#include "clock.h"
#include "manage.h"

#include <stdlib.h>

#define MAX_OUT ((size_t)64 << 20)
#define MAX_ARENA ((size_t)96 << 20)

static void look_free(struct look *k)
{
    if (k->en)
        models_drop(k->h->models, k->en);
    json_decref(k->body);
    arena_free(k->arena);
    buf_done(&k->out);
    free(k);
}

static void answer(struct look *k)
{
    if (k->r && k->rc) {
        pipeline_refuse(k->r, k->face, &k->err);
    } else if (k->r) {
        struct buf out = k->out;
        k->out = BUF_INIT(0);
        manage_send(k->r, &out);
    }
    look_free(k);
}

static void closed(void *ctx)
{
    struct look *k = ctx;
    k->r = NULL;
}

static void work(void *ctx)
{
    struct look *k = ctx;
    k->rc = k->work(k, &k->out, &k->err);
}

static void worked(void *ctx)
{
    answer(ctx);
}

static void ready(void *ctx, int rc)
{
    struct look *k = ctx;
    k->loaded_ns = (int64_t)clock_mono_ns() - k->began_ns;
    if (rc) {
        models_why(k->en, rc, &k->err);
        k->en = NULL;
    }
    k->rc = rc;
    if (rc || net_work(k->h->loop, work, worked, k) != 0)
        answer(k);
}

static int find(struct look *k, const char *key)
{
    struct str name = STR_NONE;
    bool named = k->face.form == WIRE_LMSTUDIO; /* there it has to be */
    int rc = manage_string(k->body, key, named, &name, &k->err);
    if (rc)
        return rc;
    if (name.n && !str_is(name, "auto"))
        k->en = models_find(k->h->models, name, false, &k->err);
    else if (!(k->en = models_preferred(k->h->models, false)))
        err_set(&k->err, ERR_NOT_FOUND, "there is no model on this machine");
    return k->en ? 0 : k->err.code;
}

void look_start(struct house *h, struct net_req *r, struct face face, const char *key,
                int (*fn)(struct look *k, struct buf *out, struct err *e))
{
    struct look *k = calloc(1, sizeof *k);
    struct err e;
    if (!k) {
        err_set(&e, ERR_NOMEM, "out of memory");
        pipeline_refuse(r, face, &e);
        return;
    }
    *k = (struct look){.h = h, .r = r, .face = face, .work = fn, .out = BUF_INIT(MAX_OUT)};
    k->began_ns = (int64_t)clock_mono_ns();
    k->arena = arena_new(MAX_ARENA);
    if (k->arena)
        k->text = arena_str(k->arena, net_req_body(r));
    k->rc = k->text.p || !net_req_body(r).n ? manage_body(r, &k->body, &k->err)
                                            : err_set(&k->err, ERR_NOMEM, "out of memory");
    if (k->rc == 0)
        k->rc = find(k, key);
    if (k->rc) {
        k->en = NULL;
        answer(k);
        return;
    }
    net_req_on_close(r, closed, k);
    models_hold(h->models, k->en, 0, ready, k);
}
