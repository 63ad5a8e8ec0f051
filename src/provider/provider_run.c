/* provider_run.c: a row as a gen_backend: one started request. The body is encoded by wire/, sent
 * by egress/, and the answer's bytes become events for the caller's sink. Everything stands on the
 * loop's thread; resume() and cancel() hop there. A run has exactly one end, delivered when egress
 * has let go of the transfer, so no callback comes after it. No retry: fail-over belongs to the
 * pipeline. */
#include "provider_int.h"

#include "clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_ERROR_BODY = 64 << 10,
    MAX_BODY = 64 << 20,
    GRACE_MS = 300,     /* for the connection to close after the dialect's end mark */
    RATE_WAIT_S = 30,   /* after a 429 that does not say how long */
    MESSAGE_TOKENS = 4, /* an estimate's share of a message's frame */
    IMAGE_TOKENS = 1200,
};

struct gen_run {
    atomic_int refs; /* the caller, the transfer, and each hop on its way */
    struct provider *p;
    struct egress_run *transfer; /* NULL once it has ended */
    struct egress_row row;
    struct wire_reader *reader;
    struct gen_sink sink;
    struct net_timer *timer;
    uint64_t deadline_ns; /* clock_mono_ns; 0: none */
    char *row_name, *url, **headers;
    char model[256];
    enum gen_kind kind;
    enum wire_form form;
    bool stream;
    int connect_ms, first_ms, idle_ms;
    int status, retry_after_s;
    struct buf error_body;
    struct err why; /* the reason we stopped the transfer ourselves */
    bool complete;  /* the end mark was seen: what comes after it does not matter */
    bool started, ended, paused, has_usage;
    int64_t input_estimate, output_bytes;
};

/* ---- health ---- */

/* The caller's own mistakes and refusals say nothing about the provider. */
static bool is_fault(int code)
{
    return code != ERR_CANCELLED && code != ERR_INVAL && code != ERR_CONTEXT &&
           code != ERR_TOO_LARGE && code != ERR_POLICY && code != ERR_NOT_FOUND;
}

void row_note(struct provider *p, const struct err *err)
{
    struct provider_facts *f = &p->facts;
    int64_t now = clock_wall_ms();
    if (!err) {
        f->last_ok_ms = now;
        f->fails = 0;
        f->limited_until_ms = 0;
        return;
    }
    if (!is_fault(err->code))
        return;
    f->last_fail_ms = now;
    f->last_fail_code = err->code;
    f->fails++;
    int wait = err->retry_after_s > 0 ? err->retry_after_s : RATE_WAIT_S;
    if (err->code == ERR_RATE || (err->code == ERR_OVERLOAD && err->retry_after_s > 0))
        f->limited_until_ms = now + (int64_t)wait * 1000;
}

/* ---- what a run owns ---- */

static void unref(struct gen_run *run)
{
    if (atomic_fetch_sub(&run->refs, 1) != 1)
        return;
    wire_reader_free(run->reader);
    headers_free(run->headers);
    buf_done(&run->error_body);
    free(run->row_name);
    free(run->url);
    free(run);
}

static void stop_timer(struct gen_run *run)
{
    net_timer_free(run->timer);
    run->timer = NULL;
}

/* Ends the transfer; the reason becomes the run's end when egress reports it. */
static void stop(struct gen_run *run, const struct err *why)
{
    if (!run->why.code && !run->complete)
        run->why = *why;
    if (run->transfer)
        egress_cancel(run->transfer);
}

static void on_timeout(struct gen_run *run)
{
    struct err why = {0};
    stop_timer(run);
    if (!run->stream)
        err_set(&why, ERR_TIMEOUT, "no answer within %.4g s", run->first_ms / 1e3);
    else if (run->started)
        err_set(&why, ERR_TIMEOUT, "the stream stood still for %.4g s", run->idle_ms / 1e3);
    else
        err_set(&why, ERR_TIMEOUT, "no first event within %.4g s", run->first_ms / 1e3);
    stop(run, &why);
}

static void on_tick(void *ctx)
{
    struct gen_run *run = ctx;
    if (run->deadline_ns && clock_mono_ns() >= run->deadline_ns)
        on_timeout(run);
}

/* Every event moves the deadline, so that is a number, and one slow timer looks at it. */
static void arm(struct gen_run *run, int ms)
{
    run->deadline_ns = clock_mono_ns() + (uint64_t)ms * 1000000;
}

static int start_timer(struct gen_run *run, struct err *e)
{
    int shortest = run->first_ms < run->idle_ms ? run->first_ms : run->idle_ms;
    uint64_t tick = shortest >= 4000 ? 500 : shortest >= 160 ? (uint64_t)shortest / 8 : 20;
    if (net_timer_new(run->p->table->params.loop, tick, tick, on_tick, run, &run->timer))
        return err_set(e, ERR_NOMEM, "%s: out of memory for a deadline", run->p->name);
    arm(run, run->first_ms);
    return 0;
}

/* ---- events ---- */

static void send_estimate(struct gen_run *run)
{
    struct gen_event ev = {.type = GEN_EV_USAGE};
    ev.usage.input = run->input_estimate;
    ev.usage.output = (run->output_bytes + 3) / 4;
    ev.usage.estimated = true;
    run->sink.event(run->sink.ctx, &ev);
}

/* Between the reader and the caller's sink: deadlines, and what the provider left out. */
static enum gen_verdict on_event(void *ctx, const struct gen_event *ev)
{
    struct gen_run *run = ctx;
    struct gen_event mine = *ev;
    if (ev->type == GEN_EV_START) {
        run->started = true;
        if (!ev->text.n)
            mine.text = str_of(run->model);
    }
    if (ev->type == GEN_EV_TEXT || ev->type == GEN_EV_REASONING || ev->type == GEN_EV_TOOL_ARGS)
        run->output_bytes += (int64_t)ev->text.n;
    run->has_usage |= ev->type == GEN_EV_USAGE;
    if (ev->type == GEN_EV_DONE) {
        run->ended = true;
        row_note(run->p, NULL);
        if (!run->has_usage)
            send_estimate(run);
        return run->sink.event(run->sink.ctx, &mine);
    }
    enum gen_verdict v = run->sink.event(run->sink.ctx, &mine);
    if (run->transfer && run->stream && !run->why.code)
        arm(run, run->idle_ms);
    return v;
}

static void send_error(struct gen_run *run, const struct err *err)
{
    struct gen_event ev = {.type = GEN_EV_ERROR, .err = err};
    run->ended = true;
    row_note(run->p, err);
    run->sink.event(run->sink.ctx, &ev);
}

/* ---- the transfer ---- */

static void on_head(void *ctx, int status, struct str type, int retry_after_s)
{
    struct gen_run *run = ctx;
    struct gen_sink sink = {.event = on_event, .ctx = run};
    struct err why = {0};
    run->status = status;
    run->retry_after_s = retry_after_s;
    if (status < 200 || status > 299)
        return;
    /* Servers that cannot stream send one body instead, and some stream unasked. */
    if (str_istarts(type, STR("application/json")))
        run->stream = false;
    else if (str_istarts(type, STR("text/event-stream")) ||
             str_istarts(type, STR("application/x-ndjson")))
        run->stream = true;
    if (wire_reader_new(run->form, run->stream, sink, &run->reader, &why))
        stop(run, &why);
}

static enum gen_verdict on_data(void *ctx, struct str bytes)
{
    struct gen_run *run = ctx;
    enum gen_verdict verdict = GEN_GO;
    struct err why = {0};
    if (run->why.code)
        return GEN_CANCEL;
    if (run->complete)
        return GEN_GO;
    if (!run->reader) {
        size_t room = MAX_ERROR_BODY - run->error_body.n;
        buf_add(&run->error_body, bytes.p, bytes.n < room ? bytes.n : room);
        return GEN_GO;
    }
    if (wire_reader_feed(run->reader, bytes, &verdict, &why)) {
        run->why = why;
        return GEN_CANCEL;
    }
    if (verdict == GEN_CANCEL) {
        err_set(&run->why, ERR_CANCELLED, "cancelled");
        return GEN_CANCEL;
    }
    if (wire_reader_complete(run->reader)) {
        run->complete = true;
        arm(run, GRACE_MS);
        return GEN_GO;
    }
    run->paused = verdict == GEN_PAUSE;
    if (run->paused)
        run->deadline_ns = 0; /* the silence is ours */
    return verdict;
}

/* How the run ended, with 0 if the answer was whole and its DONE has been delivered. */
static int conclude(struct gen_run *run, const struct err *err, struct err *e)
{
    if (run->why.code) {
        *e = run->why;
        return e->code;
    }
    if (err && !run->complete) {
        *e = *err;
        return e->code ? e->code : err_set(e, ERR_UPSTREAM, "the transfer failed");
    }
    if (!run->reader)
        return wire_error_decode(run->p->dialect, run->status, buf_str(&run->error_body),
                                 run->retry_after_s, e);
    int rc = wire_reader_end(run->reader, e);
    if (!rc && !run->ended)
        rc = err_set(e, ERR_CANCELLED, "cancelled");
    return rc;
}

static void on_end(void *ctx, const struct err *err)
{
    struct gen_run *run = ctx;
    struct err e = {0};
    run->transfer = NULL;
    stop_timer(run);
    if (conclude(run, err, &e)) {
        if (e.code != ERR_CANCELLED)
            key_scrub(run->p, &e);
        send_error(run, &e);
    }
    unref(run);
}

/* ---- operations ---- */

static int describe(struct gen_backend *b, struct str model, struct gen_caps *out, struct err *e)
{
    struct provider *p = (struct provider *)b;
    const struct provider_model *m = row_model(p, model, false);
    bool effort;
    if (m)
        *out = m->caps;
    else if (p->closed)
        return err_set(e, ERR_NOT_FOUND, "%s has no model \"%.*s\"", p->name, STR_ARG(model));
    else if (!models_known(p->name, model, out, &effort))
        *out = p->defaults;
    return 0;
}

static int64_t quarter(size_t n)
{
    return (int64_t)((n + 3) / 4);
}

/* A token is about four bytes of text; media by rules of thumb. */
static int64_t estimate(const struct gen_req *req)
{
    int64_t n = MESSAGE_TOKENS;
    for (size_t i = 0; i < req->nmsgs; i++) {
        n += MESSAGE_TOKENS;
        for (size_t k = 0; k < req->msgs[i].nparts; k++) {
            const struct gen_part *p = &req->msgs[i].parts[k];
            n += quarter(p->text.n) + quarter(p->args.n) + quarter(p->name.n) + (int64_t)p->nids;
            if (p->type == GEN_PART_IMAGE)
                n += IMAGE_TOKENS;
            else if (p->type == GEN_PART_DOCUMENT)
                n += (int64_t)(p->data.n / 32);
            else if (p->type == GEN_PART_AUDIO)
                n += (int64_t)(p->data.n / 1024);
        }
    }
    for (size_t i = 0; i < req->ntools; i++)
        n += MESSAGE_TOKENS + quarter(req->tools[i].name.n) + quarter(req->tools[i].schema.n) +
             quarter(req->tools[i].description.n);
    return n + quarter(req->prompt.n) + quarter(req->schema.n);
}

static int count(struct gen_backend *b, const struct gen_req *req, struct str model,
                 struct gen_count *out, struct err *e)
{
    (void)b;
    (void)model;
    (void)e;
    *out = (struct gen_count){.tokens = estimate(req)};
    return 0;
}

static int check(const struct provider *p, const struct gen_req *req, struct str model,
                 struct err *e)
{
    if (p->needs_key && !p->key)
        return err_set(e, ERR_AUTH, "%s: no key%s%s", p->name, p->key_source ? ": set " : "",
                       p->key_source ? p->key_source : "");
    if (p->closed && !row_model((struct provider *)(uintptr_t)p, model, false))
        return err_set(e, ERR_NOT_FOUND, "%s has no model \"%.*s\"", p->name, STR_ARG(model));
    if (!model.n || model.n >= sizeof((struct gen_run *)0)->model)
        return err_set(e, ERR_INVAL, "%s: a model's name has 1 to 255 bytes", p->name);
    if (provider_zone(p, model) > req->zone)
        return err_set(e, ERR_POLICY, "%s/%.*s is looser than the zone this request may reach",
                       p->name, STR_ARG(model));
    return 0;
}

static int encode(const struct provider *p, const struct gen_req *req, struct str model,
                  struct buf *body, struct err *e)
{
    struct gen_req r = *req;
    struct wire_quirks q = p->quirks;
    struct gen_caps caps;
    bool effort = true;
    r.stream_usage = r.stream; /* the ledger wants it, whether the caller does or not */
    if (models_known(p->name, model, &caps, &effort))
        q.max_tokens = caps.max_output < 16384 ? caps.max_output : 16384;
    else
        q.max_tokens = p->defaults.max_output;
    q.effort_as_budget = !effort;
    return wire_request_encode(wire_form_of(p->dialect, req->kind), &r, model, &q, body, e);
}

/* Behind the row's address. */
static const char *path_of(enum wire_form f)
{
    switch (f) {
    case WIRE_ANTHROPIC: return "/messages";
    case WIRE_EMBEDDINGS: return "/embeddings";
    case WIRE_COMPLETIONS: return "/completions";
    case WIRE_RESPONSES: return "/responses";
    case WIRE_OLLAMA_CHAT: return "/api/chat";
    case WIRE_OLLAMA_GENERATE: return "/api/generate";
    case WIRE_OLLAMA_EMBED: return "/api/embed";
    case WIRE_LLAMA_COMPLETION: return "/completion";
    case WIRE_LLAMA_INFILL: return "/infill";
    case WIRE_LMSTUDIO: return "/api/v1/chat";
    default: return "/chat/completions";
    }
}

static int prepare(struct gen_run *run, const struct gen_req *req, struct str model, struct err *e)
{
    struct provider *p = run->p;
    const struct provider_params *params = &p->table->params;
    run->form = wire_form_of(p->dialect, req->kind);
    run->kind = req->kind;
    run->stream = req->stream && run->kind != GEN_EMBED;
    run->connect_ms = p->connect_ms ? p->connect_ms : params->connect_ms;
    if (run->stream)
        run->first_ms = p->first_ms ? p->first_ms : params->first_ms;
    else
        run->first_ms = p->whole_ms ? p->whole_ms : params->whole_ms;
    if (run->stream && req->effort == GEN_EFFORT_HIGH)
        run->first_ms *= 4;
    run->idle_ms = p->idle_ms ? p->idle_ms : params->idle_ms;
    run->input_estimate = estimate(req);
    buf_init(&run->error_body, MAX_ERROR_BODY + 1);
    memcpy(run->model, model.p, model.n);
    run->url = row_url(p, path_of(run->form));
    run->headers = headers_new(p, true, run->stream);
    if (asprintf(&run->row_name, "%s/%.*s", p->name, STR_ARG(model)) < 0)
        run->row_name = NULL;
    if (!run->url || !run->headers || !run->row_name)
        return err_set(e, ERR_NOMEM, "%s: out of memory", p->name);
    run->row = (struct egress_row){
        .name = run->row_name, .zone = provider_zone(p, model), .unix_path = p->unix_path};
    return 0;
}

static int dial(struct gen_run *run, const struct gen_req *req, struct str body, struct err *e)
{
    const struct provider_params *params = &run->p->table->params;
    /* Our deadlines count events; egress's own, for bytes, are there to catch what we cannot. */
    struct egress_call call = {.row = &run->row,
                               .req_zone = req->zone,
                               .rule = run->kind == GEN_EMBED ? "embed" : "chat",
                               .method = "POST",
                               .url = run->url,
                               .headers = (const char *const *)run->headers,
                               .body = body,
                               .connect_ms = run->connect_ms,
                               .first_ms = run->first_ms + run->connect_ms,
                               .idle_ms = run->stream ? run->idle_ms + 5000 : run->first_ms,
                               .head = on_head,
                               .data = on_data,
                               .end = on_end,
                               .ctx = run};
    return egress_start(params->egress, &call, &run->transfer, e);
}

static int start(struct gen_backend *b, const struct gen_req *req, struct str model,
                 struct gen_count *counted, struct gen_sink sink, struct gen_run **out,
                 struct err *e)
{
    struct provider *p = (struct provider *)b;
    struct buf body = BUF_INIT(MAX_BODY);
    struct err mine = {0};
    (void)counted;
    int rc = check(p, req, model, e);
    if (rc)
        return rc;
    struct gen_run *run = calloc(1, sizeof *run);
    if (!run)
        return err_set(e, ERR_NOMEM, "%s: out of memory", p->name);
    atomic_init(&run->refs, 2);
    run->p = p;
    run->sink = sink;
    rc = prepare(run, req, model, &mine);
    if (!rc)
        rc = encode(p, req, model, &body, &mine);
    if (!rc)
        rc = start_timer(run, &mine);
    if (!rc)
        rc = dial(run, req, buf_str(&body), &mine);
    buf_done(&body);
    if (rc) {
        stop_timer(run);
        row_note(p, &mine);
        atomic_store(&run->refs, 1);
        unref(run);
        if (e)
            *e = mine;
        return rc;
    }
    *out = run;
    return 0;
}

static void resume_on_loop(void *ctx)
{
    struct gen_run *run = ctx;
    if (run->transfer && run->paused) {
        run->paused = false;
        arm(run, run->stream ? run->idle_ms : run->first_ms);
        egress_resume(run->transfer);
    }
    unref(run);
}

static void cancel_on_loop(void *ctx)
{
    struct gen_run *run = ctx;
    struct err why = {0};
    err_set(&why, ERR_CANCELLED, "cancelled");
    if (run->transfer)
        stop(run, &why);
    unref(run);
}

static void hop(struct gen_run *run, void (*fn)(void *ctx))
{
    if (!run)
        return;
    atomic_fetch_add(&run->refs, 1);
    net_post(run->p->table->params.loop, fn, run);
}

static void resume(struct gen_run *run)
{
    hop(run, resume_on_loop);
}

static void cancel(struct gen_run *run)
{
    hop(run, cancel_on_loop);
}

static void release(struct gen_run *run)
{
    if (run)
        unref(run);
}

const struct gen_backend_ops provider_ops = {
    .kind = "provider",
    .describe = describe,
    .count = count,
    .start = start,
    .resume = resume,
    .cancel = cancel,
    .release = release,
};
