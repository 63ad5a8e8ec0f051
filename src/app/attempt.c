/* attempt.c: the plan carried out, on the loop: reserve, start, stream, fail over, book, end.
 *
 *   flow_attempt ─▶ reserve (paid) or hold (local) ─▶ launch ─▶ on_event … ─▶ settle ─▶ finish
 *        ▲                       │ failed                       │ ERROR before anything visible
 *        └──────── next candidate of the same zone or a stricter one ────────┘ */
#include "flow.h"

#include "clock.h"
#include "log.h"
#include "responses.h"

#include <string.h>

#define FIRST_EVENT_MS 10000 /* then the headers go out, and fail-over is over */
#define KEEPALIVE_MS 15000
#define TAINT_TEXT ((size_t)4 << 20)
#define ANSWER_TOKENS 8192 /* the limit of a paid answer whose caller sets none */

static const struct route_candidate *candidate(const struct flow *f)
{
    return &f->facts.candidates[f->plan.ranked[f->candidate].candidate];
}

static int64_t ms_since(uint64_t from, uint64_t to)
{
    return to > from ? (int64_t)((to - from) / 1000000) : 0;
}

static bool is_provider(const struct flow *f)
{
    return candidate(f)->backend == ROUTE_PROVIDER;
}

/* ---- what is sent ---- */

/* A paid answer always has a limit, so that what is reserved is what it can cost, and not all that
 * the model could ever write. Thinking counts as output, so much effort gets more. */
static void set_limit(struct flow *f)
{
    const struct route_candidate *c = candidate(f);
    f->sent = *f->req;
    /* Answers are kept here: what a request goes on from stands before it, and nobody else need
     * keep anything. */
    f->sent.previous_id = STR_NONE;
    f->sent.store = false;
    if (f->sent.kind == GEN_EMBED || c->backend != ROUTE_PROVIDER || c->zone != GEN_CLOUD ||
        f->sent.max_tokens > 0)
        return;
    int64_t limit = ANSWER_TOKENS;
    if (f->sent.effort >= GEN_EFFORT_MEDIUM)
        limit *= f->sent.effort == GEN_EFFORT_HIGH ? 4 : 2;
    if (f->sent.thinking_budget > 0 && f->sent.thinking_budget < INT64_MAX - limit)
        limit += f->sent.thinking_budget;
    if (c->caps.max_output > 0 && limit > c->caps.max_output)
        limit = c->caps.max_output;
    int64_t room = c->caps.context - f->facts.request.prompt_tokens / 4 * 5 - 64;
    if (c->caps.context > 0 && room > 0 && limit > room)
        limit = room;
    f->sent.max_tokens = limit;
}

/* Of all choices together. */
static int64_t most_output(const struct flow *f)
{
    int64_t all;
    if (__builtin_mul_overflow(f->sent.max_tokens, f->sent.n > 1 ? f->sent.n : 1, &all))
        return INT64_MAX;
    return all;
}

/* ---- booking ---- */

static const char *reason(const struct flow *f)
{
    return f->instead ? f->instead : f->plan.sentence;
}

static void fill_begin(struct flow *f)
{
    const struct route_candidate *c = candidate(f);
    f->begin = (struct ledger_begin){
        .id = f->id,
        .time_ms = f->came_ms,
        .kind = f->req->kind,
        .dialect = f->face.kind == FACE_NATIVE ? GEN_DIALECT_NONE : f->req->dialect,
        .stream = f->answer.stream,
        .model_asked = f->req->model,
        .model = str_of(c->model),
        .provider = str_of(c->provider),
        .zone = c->zone,
        .req_zone = f->req->zone,
        .reason = str_of(reason(f)),
        .labels = buf_str(&f->labels_json),
        .conversation = f->conversation,
        .client = f->client,
        .input = f->facts.request.prompt_tokens,
        /* Counted by the tokenizer of the model here, which is not the provider's. */
        .input_exact = f->facts.request.prompt_exact && !is_provider(f),
        .max_output = most_output(f),
        .carried = f->begin.carried,
    };
}

/* A provider whose answer broke off bills what it read and wrote, and did not get to say how much:
 * at least what was seen, and the prompt. A refusal bills nothing. */
static void estimate_usage(struct flow *f, int code, bool seen)
{
    struct gen_usage *u = &f->usage;
    int64_t written = (f->answer_bytes + 3) / 4;
    bool broken = code == ERR_CANCELLED || code == ERR_TIMEOUT || code == ERR_CUT;
    if (!code || !is_provider(f) || !f->start_ns || !(seen || broken))
        return;
    if (!f->have_usage)
        u->input = f->facts.request.prompt_tokens;
    if (u->output < written)
        u->output = written;
    u->estimated = true;
    f->have_usage = true;
}

static bool anything_seen(const struct flow *f)
{
    return f->have_usage || f->model_answered.n || f->answer_bytes;
}

/* A provider that failed half-way may have billed what it read and wrote: later attempts carry it.
 */
static void carry_cost(struct flow *f, int code)
{
    int64_t cost, baseline;
    estimate_usage(f, code, anything_seen(f));
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
    int code = f->gone ? ERR_CANCELLED : failed ? f->held_err.code : 0;
    /* Nothing seen of a call that was broken off: its cost is unknown, and stays reserved. */
    if (failed && anything_seen(f))
        estimate_usage(f, code, true);
    f->end = (struct ledger_end){
        .code = code,
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

/* Who answers is known for certain with the first event. */
static void set_headers(struct flow *f)
{
    const char *text = f->plan.header;
    if (f->headed || !f->answer.http)
        return;
    f->headed = true;
    if (f->candidate)
        text = route_plan_header(f->arena, &f->facts, &f->plan, f->candidate);
    if (text)
        net_res_header(f->answer.http, "x-weir-route", str_of(text));
}

static void send_start(struct flow *f)
{
    struct err e;
    if (f->started)
        return;
    f->started = true;
    set_headers(f);
    struct gen_event usage = {.type = GEN_EV_USAGE,
                              .usage = {.input = f->facts.request.prompt_tokens,
                                        .estimated = !f->facts.request.prompt_exact}};
    if (f->have_usage && f->usage.input)
        usage.usage = f->usage;
    struct gen_event ev = {.type = GEN_EV_START, .text = f->model_answered, .id = f->provider_id};
    answer_event(&f->answer, &usage, &e);
    answer_event(&f->answer, &ev, &e);
}

static void send_account(struct flow *f)
{
    struct buf row = BUF_INIT((size_t)4 << 20);
    struct err e;
    f->begin.plan = flow_booked(f);
    if (f->face.kind == FACE_NATIVE &&
        ledger_account(f->h->ledger, &f->begin, &f->end, &row, &e) == 0)
        answer_native(&f->answer, "account", buf_str(&row));
    buf_done(&row);
}

static void end(void *ctx)
{
    struct flow *f = ctx;
    answer_end(&f->answer);
    flow_free(f);
}

/* Everything is booked: the client may see the end. */
static void finish(struct flow *f)
{
    struct err e;
    struct answer *a = &f->answer;
    set_headers(f);
    if (f->held.type == GEN_EV_ERROR) {
        /* Booked as cancelled; the caller did not, and may ask again. */
        if (f->held_err.code == ERR_CANCELLED && f->h->stopping)
            err_set(&f->held_err, ERR_OVERLOAD, "the server is stopping: this answer ends here");
        if (a->open && a->http)
            send_account(f);
        answer_error(a, &f->held_err);
    } else {
        send_start(f);
        struct gen_event usage = {.type = GEN_EV_USAGE, .usage = f->usage, .times = f->times};
        usage.times.total = (int64_t)(clock_mono_ns() - f->came_ns);
        usage.times.load = f->load_ns;
        if (f->have_usage)
            answer_event(a, &usage, &e);
        if (answer_event(a, &f->held, &e) != 0) {
            answer_error(a, &e);
        } else {
            send_account(f);
            if (responses_keep(f, end))
                return;
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
    if (f->taints && f->text.n)
        privacy_taint_answer(f->h->taint, buf_str(&f->text), f->zone, &e);
    f->begin.plan = flow_booked(f);
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

/* The next candidate of the same zone as the one that failed, or a stricter one; 0: none. */
static size_t next_candidate(const struct flow *f)
{
    enum gen_zone limit = candidate(f)->zone;
    for (size_t i = f->candidate + 1; i < f->plan.nranked; i++)
        if (f->facts.candidates[f->plan.ranked[i].candidate].zone <= limit)
            return i;
    return 0;
}

static void forget_attempt(struct flow *f)
{
    f->usage = (struct gen_usage){0};
    f->times = (struct gen_times){0};
    f->have_usage = false;
    f->model_answered = f->provider_id = STR_NONE;
    f->answer_bytes = 0;
    f->start_ns = 0;
}

static void fail_over(struct flow *f, size_t next, const struct err *why)
{
    const char *was = candidate(f)->id;
    carry_cost(f, why->code);
    forget_attempt(f);
    f->candidate = next;
    log_info("request %s: %s failed (%s), trying %s", f->id, was, err_msg(why), candidate(f)->id);
    f->instead = arena_printf(f->arena, "%s: %s did not answer (%s)", candidate(f)->id, was,
                              err_text(why->code));
    flow_attempt(f);
}

static void failed(struct flow *f, const struct err *err)
{
    struct err copy = *err;
    size_t next = 0;
    close_attempt(f);
    /* Rows of another model do not compare with those the caller has. */
    bool same_answer = f->req->kind != GEN_EMBED;
    if (!f->visible && !f->gone && same_answer && worth_another(copy.code))
        next = next_candidate(f);
    if (next) {
        fail_over(f, next, &copy);
        return;
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
        f->times = ev->times;
        f->have_usage = true;
        return GEN_GO;
    case GEN_EV_ERROR: failed(f, ev->err); return GEN_GO;
    case GEN_EV_DONE:
        f->held = *ev;
        f->held.text = keep(f, ev->text);
        f->held.raw = keep(f, ev->raw);
        close_attempt(f);
        settle(f);
        return GEN_GO;
    default:
        note_time(f);
        f->answer_bytes += (int64_t)ev->text.n;
        if (f->taints && ev->type == GEN_EV_TEXT)
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
        set_headers(f);
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
    int rc = find_backend(f, &e);
    if (rc == 0)
        rc = bridge_new(f->h->loop, sink, resume_run, &f->bridge, &e);
    if (rc == 0)
        rc =
            f->backend->ops->start(f->backend, &f->sent, str_of(c->model),
                                   counted ? &f->count : NULL, bridge_sink(f->bridge), &f->run, &e);
    if (rc)
        failed(f, &e);
}

static void on_held(void *ctx, int rc)
{
    struct flow *f = ctx;
    if (rc) {
        struct err e;
        models_why(f->answering, rc, &e);
        f->answering = NULL; /* not held */
        failed(f, &e);
        return;
    }
    f->load_ns += (int64_t)(clock_mono_ns() - f->hold_ns);
    if (f->req->keep_set)
        models_keep(f->h->models, f->answering, f->req->keep_ms);
    launch(f);
}

/* Only the model that answers is held on: the other one's memory may be what it waits for. */
static void release_counter(struct flow *f)
{
    if (!f->local || f->local == f->answering)
        return;
    if (f->count.kept && f->count.kept_free)
        f->count.kept_free(f->count.kept);
    f->count.kept = NULL;
    models_drop(f->h->models, f->local);
    f->local = NULL;
}

static void hold_answering(struct flow *f)
{
    struct err e = {0};
    f->answering = models_find(f->h->models, str_of(candidate(f)->model), f->trusted, &e);
    release_counter(f);
    if (!f->answering) {
        failed(f, &e);
        return;
    }
    f->hold_ns = clock_mono_ns();
    if (f->answering == f->local)
        models_hold_again(f->h->models, f->answering, on_held, f);
    else
        models_hold(f->h->models, f->answering, f->req->ctx, on_held, f);
}

static void reserved(void *ctx)
{
    struct flow *f = ctx;
    if (f->step_rc) {
        failed(f, &f->step_err);
        return;
    }
    /* weir's own face shows the row with the plan at the end. */
    if (f->face.kind != FACE_NATIVE)
        flow_narrow(f);
    fill_begin(f);
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
    set_limit(f);
    fill_begin(f);
    f->text.max = TAINT_TEXT;
    if (f->answer.http && !f->gone)
        net_res_on_drain(f->answer.http, on_drain, f);
    if (!f->timer)
        net_timer_new(f->h->loop, FIRST_EVENT_MS, KEEPALIVE_MS, on_tick, f, &f->timer);
    if (c->backend == ROUTE_LOCAL) {
        hold_answering(f);
        return;
    }
    release_counter(f);
    f->begin.plan = flow_booked(f);
    int rc = ledger_reserve(f->h->ledger, &f->begin, reserve_done, f, &e);
    flow_unbook(f);
    if (rc)
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
