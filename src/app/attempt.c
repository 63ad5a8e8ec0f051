/* attempt.c: the plan carried out, on the loop: reserve, start, stream, fail over, book, end.
 *
 *   flow_attempt ─▶ reserve (paid) or hold (local) ─▶ launch ─▶ on_event … ─▶ settle ─▶ finish
 *        ▲                       │ failed                       │ ERROR before anything visible
 *        └──────── next candidate of the same zone or a stricter one ────────┘ */
#include "flow.h"

#include "clock.h"
#include "log.h"

#include <string.h>

#define FIRST_EVENT_MS 10000 /* then the headers go out, and fail-over is over */
#define KEEPALIVE_MS 15000
#define TAINT_TEXT ((size_t)4 << 20)

static const struct route_candidate *candidate(const struct flow *f)
{
    return &f->facts.candidates[f->plan.ranked[f->candidate].candidate];
}

static int64_t ms_since(uint64_t from, uint64_t to)
{
    return to > from ? (int64_t)((to - from) / 1000000) : 0;
}

/* ---- booking ---- */

static void fill_begin(struct flow *f)
{
    const struct route_candidate *c = candidate(f);
    f->begin = (struct ledger_begin){
        .id = f->id,
        .time_ms = f->came_ms,
        .kind = f->req->kind,
        .dialect = f->face == FACE_NATIVE ? GEN_DIALECT_NONE : f->req->dialect,
        .stream = f->answer.stream,
        .model_asked = f->req->model,
        .model = str_of(c->model),
        .provider = str_of(c->provider),
        .zone = c->zone,
        .req_zone = f->req->zone,
        .reason = str_of(f->plan.sentence),
        .labels = buf_str(&f->labels_json),
        .plan = buf_str(&f->booked_json),
        .conversation = f->conversation,
        .client = f->client,
        .input = f->facts.request.prompt_tokens,
        .input_exact = f->facts.request.prompt_exact,
        .max_output = f->req->max_tokens,
        .carried = f->begin.carried,
    };
}

/* A provider that failed half-way may have billed what it read and wrote: later attempts carry it.
 */
static void carry_cost(struct flow *f)
{
    int64_t cost, baseline;
    struct ledger_end end = {.usage = f->usage, .provider_cost = -1};
    if (!f->have_usage)
        return;
    ledger_costs(f->h->ledger, &f->begin, &end, &cost, &baseline);
    if (cost != MONEY_UNKNOWN)
        f->begin.carried = cost;
}

static void fill_end(struct flow *f)
{
    bool failed = f->held.type == GEN_EV_ERROR;
    uint64_t now = clock_mono_ns();
    double seconds = (double)(f->last_ns - f->first_ns) / 1e9;
    f->end = (struct ledger_end){
        .code = f->gone  ? ERR_CANCELLED
                : failed ? f->held_err.code
                         : 0,
        .message = failed ? str_of(err_msg(&f->held_err)) : STR_NONE,
        .reason = f->held.reason,
        .model_answered = f->model_answered,
        .usage = f->usage,
        .provider_cost = -1,
        .queue_ms = f->start_ns ? ms_since(f->came_ns, f->start_ns) : -1,
        .first_ms = f->first_ns ? ms_since(f->came_ns, f->first_ns) : -1,
        .total_ms = ms_since(f->came_ns, now),
        .tokens_per_s =
            f->usage.output > 1 && seconds > 0 ? (double)(f->usage.output - 1) / seconds : 0,
    };
}

/* ---- the end ---- */

static void close_attempt(struct flow *f)
{
    if (f->run)
        f->backend->ops->release(f->run);
    f->run = NULL;
    bridge_free(f->bridge);
    f->bridge = NULL;
    if (f->answering)
        models_drop(f->h->models, f->answering);
    f->answering = NULL;
}

static void send_start(struct flow *f)
{
    struct err e;
    if (f->started)
        return;
    f->started = true;
    struct gen_event usage = {.type = GEN_EV_USAGE,
                              .usage = {.input = f->facts.request.prompt_tokens,
                                        .estimated = !f->facts.request.prompt_exact}};
    struct gen_event ev = {.type = GEN_EV_START, .text = f->model_answered, .id = f->provider_id};
    answer_event(&f->answer, &usage, &e);
    answer_event(&f->answer, &ev, &e);
}

static void send_account(struct flow *f)
{
    struct buf row = BUF_INIT((size_t)4 << 20);
    struct err e;
    if (f->face == FACE_NATIVE && ledger_account(f->h->ledger, &f->begin, &f->end, &row, &e) == 0)
        answer_native(&f->answer, "account", buf_str(&row));
    buf_done(&row);
}

/* Everything is booked: the client may see the end. */
static void finish(struct flow *f)
{
    struct err e;
    struct answer *a = &f->answer;
    if (f->held.type == GEN_EV_ERROR) {
        if (a->open && a->http)
            send_account(f);
        answer_error(a, &f->held_err);
    } else {
        send_start(f);
        struct gen_event usage = {.type = GEN_EV_USAGE, .usage = f->usage};
        if (f->have_usage)
            answer_event(a, &usage, &e);
        if (answer_event(a, &f->held, &e) != 0) {
            answer_error(a, &e);
        } else {
            send_account(f);
            answer_end(a);
        }
    }
    flow_free(f);
}

static void settled(void *ctx)
{
    struct flow *f = ctx;
    if (f->step_rc && candidate(f)->backend == ROUTE_PROVIDER && f->held.type == GEN_EV_DONE) {
        /* A paid answer that is not in the books must not look finished. */
        f->held = (struct gen_event){.type = GEN_EV_ERROR};
        f->held_err = f->step_err;
    } else if (f->step_rc) {
        log_error("request %s is not booked: %s", f->id, err_msg(&f->step_err));
    }
    finish(f);
}

static void on_stored(struct flow *f, int rc, const struct err *e, void (*then)(void *ctx))
{
    f->step_rc = rc;
    if (rc && e)
        f->step_err = *e;
    net_post(f->h->loop, then, f);
}

static void settle_done(void *ctx, int rc, const struct err *e)
{
    on_stored(ctx, rc, e, settled);
}

static void settle(struct flow *f)
{
    struct err e = {0};
    fill_end(f);
    if (f->zone.taints && f->text.n)
        privacy_taint_answer(f->h->taint, buf_str(&f->text), f->zone.zone, &e);
    int rc = ledger_settle(f->h->ledger, &f->begin, &f->end, settle_done, f, &e);
    if (rc) {
        f->step_rc = rc;
        f->step_err = e;
        net_post(f->h->loop, settled, f);
    }
}

static void hold_error(struct flow *f, const struct err *err)
{
    f->held = (struct gen_event){.type = GEN_EV_ERROR};
    f->held_err = *err;
    f->held.err = &f->held_err;
}

/* ---- failing over ---- */

static bool worth_another(int code)
{
    switch (code) {
    case ERR_CANCELLED:
    case ERR_INVAL: return false;
    default: return true;
    }
}

/* The next candidate of the same zone as the one that failed, or a stricter one. */
static bool next_candidate(struct flow *f)
{
    enum gen_zone limit = candidate(f)->zone;
    for (size_t i = f->candidate + 1; i < f->plan.nranked; i++) {
        if (f->facts.candidates[f->plan.ranked[i].candidate].zone <= limit) {
            f->candidate = i;
            return true;
        }
    }
    return false;
}

static void failed(struct flow *f, const struct err *err)
{
    struct err copy = *err;
    close_attempt(f);
    if (!f->visible && !f->gone && worth_another(copy.code)) {
        carry_cost(f);
        size_t was = f->candidate;
        if (next_candidate(f)) {
            log_info("request %s: %s failed (%s), trying %s", f->id,
                     f->facts.candidates[f->plan.ranked[was].candidate].id, err_msg(&copy),
                     candidate(f)->id);
            f->usage = (struct gen_usage){0};
            f->have_usage = false;
            flow_attempt(f);
            return;
        }
    }
    hold_error(f, &copy);
    settle(f);
}

/* ---- streaming ---- */

static struct str keep(struct flow *f, struct str s)
{
    return s.n ? arena_str(f->arena, s) : STR_NONE;
}

static void note_time(struct flow *f)
{
    f->last_ns = clock_mono_ns();
    if (!f->first_ns)
        f->first_ns = f->last_ns;
}

static enum gen_verdict pass_on(struct flow *f, const struct gen_event *ev)
{
    struct err e;
    if (f->gone)
        return GEN_CANCEL;
    f->visible = true;
    send_start(f);
    if (answer_event(&f->answer, ev, &e) != 0) {
        log_error("request %s: %s", f->id, err_msg(&e));
        return GEN_CANCEL;
    }
    return f->answer.waiting > 65536 ? GEN_PAUSE : GEN_GO;
}

static enum gen_verdict on_event(void *ctx, const struct gen_event *ev)
{
    struct flow *f = ctx;
    switch (ev->type) {
    case GEN_EV_START:
        f->model_answered = keep(f, ev->text);
        f->provider_id = keep(f, ev->id);
        return GEN_GO;
    case GEN_EV_USAGE:
        f->usage = ev->usage;
        f->have_usage = true;
        return GEN_GO;
    case GEN_EV_ERROR: failed(f, ev->err); return GEN_GO;
    case GEN_EV_DONE:
        f->held = *ev;
        f->held.text = keep(f, ev->text);
        close_attempt(f);
        settle(f);
        return GEN_GO;
    default:
        note_time(f);
        if (f->zone.taints && ev->type == GEN_EV_TEXT)
            buf_str_add(&f->text, ev->text);
        return pass_on(f, ev);
    }
}

static void resume_run(void *ctx)
{
    struct flow *f = ctx;
    if (f->run)
        f->backend->ops->resume(f->run);
}

static void on_drain(void *ctx)
{
    struct flow *f = ctx;
    f->answer.waiting = 0;
    if (f->bridge && bridge_resume(f->bridge))
        resume_run(f);
}

static void on_tick(void *ctx)
{
    struct flow *f = ctx;
    if (!f->answer.stream || f->gone)
        return;
    if (!f->answer.open) {
        answer_open(&f->answer);
        f->visible = true;
    } else if (f->last_ns == 0 || ms_since(f->last_ns, clock_mono_ns()) >= KEEPALIVE_MS - 1000) {
        answer_keepalive(&f->answer);
    }
}

/* ---- starting ---- */

static int find_backend(struct flow *f, struct err *e)
{
    const struct route_candidate *c = candidate(f);
    if (c->backend == ROUTE_LOCAL)
        f->backend = local_backend(f->answering->local);
    else
        f->backend = provider_backend(provider_find(f->h->providers, str_of(c->provider)));
    return f->backend ? 0 : err_set(e, ERR_NOT_FOUND, "%s is gone", c->id);
}

static void launch(struct flow *f)
{
    const struct route_candidate *c = candidate(f);
    struct err e = {0};
    struct gen_sink sink = {on_event, f};
    bool counted = f->answering && f->answering == f->local;
    if (f->gone) {
        err_set(&e, ERR_CANCELLED, "the client left");
        failed(f, &e);
        return;
    }
    f->start_ns = clock_mono_ns();
    if (!f->timer)
        net_timer_new(f->h->loop, FIRST_EVENT_MS, KEEPALIVE_MS, on_tick, f, &f->timer);
    int rc = find_backend(f, &e);
    if (rc == 0)
        rc = bridge_new(f->h->loop, sink, resume_run, &f->bridge, &e);
    if (rc == 0)
        rc =
            f->backend->ops->start(f->backend, f->req, str_of(c->model), counted ? &f->count : NULL,
                                   bridge_sink(f->bridge), &f->run, &e);
    if (rc)
        failed(f, &e);
}

static void on_held(void *ctx, int rc)
{
    struct flow *f = ctx;
    if (rc) {
        struct err e = f->answering->err;
        f->answering = NULL; /* not held */
        failed(f, &e);
        return;
    }
    launch(f);
}

static void reserved(void *ctx)
{
    struct flow *f = ctx;
    if (f->step_rc)
        failed(f, &f->step_err);
    else
        launch(f);
}

static void reserve_done(void *ctx, int rc, const struct err *e)
{
    on_stored(ctx, rc, e, reserved);
}

void flow_attempt(struct flow *f)
{
    const struct route_candidate *c = candidate(f);
    struct err e = {0};
    fill_begin(f);
    f->text.max = TAINT_TEXT;
    if (f->answer.http && !f->gone)
        net_res_on_drain(f->answer.http, on_drain, f);
    if (c->backend == ROUTE_LOCAL) {
        f->answering = models_find(f->h->models, str_of(c->model), f->trusted, &e);
        if (f->answering)
            models_hold(f->h->models, f->answering, on_held, f);
        else
            failed(f, &e);
        return;
    }
    if (ledger_reserve(f->h->ledger, &f->begin, reserve_done, f, &e) != 0)
        failed(f, &e);
}

void flow_cancel(struct flow *f)
{
    if (f->run)
        f->backend->ops->cancel(f->run);
}

void flow_gone(struct flow *f)
{
    f->gone = true;
    f->answer.http = NULL;
    flow_cancel(f);
}
