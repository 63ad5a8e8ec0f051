/* pipeline.c: a request from its bytes to its decision: decode and detect on a worker, load the
 * local model and count, decide on the loop; then attempt.c carries the plan out. */
#include "flow.h"

#include "clock.h"
#include "log.h"
#include "responses.h"

#include <stdlib.h>

/* ---- life ---- */

static void flow_link(struct flow *f)
{
    f->next = f->h->flows;
    if (f->next)
        f->next->prev = f;
    f->h->flows = f;
    f->h->nflows++;
}

static void flow_unlink(struct flow *f)
{
    if (f->prev)
        f->prev->next = f->next;
    else
        f->h->flows = f->next;
    if (f->next)
        f->next->prev = f->prev;
    f->h->nflows--;
}

void flow_free(struct flow *f)
{
    struct house *h = f->h;
    flow_unlink(f);
    net_timer_free(f->timer);
    if (f->count.kept && f->count.kept_free)
        f->count.kept_free(f->count.kept);
    if (f->local)
        models_drop(f->h->models, f->local);
    answer_done(&f->answer);
    privacy_findings_done(&f->findings);
    buf_done(&f->body);
    buf_done(&f->plan_json);
    buf_done(&f->labels_json);
    buf_done(&f->booked_json);
    buf_done(&f->text);
    arena_free(f->deciding);
    arena_free(f->arena);
    free(f);
    house_flow_ended(h);
}

void flow_fail(struct flow *f, const struct err *err)
{
    if (f->answer.http)
        answer_error(&f->answer, err);
    flow_free(f);
}

static void on_closed(void *ctx)
{
    flow_gone(ctx);
}

/* ---- the plan alone ---- */

static void answer_plan(struct flow *f)
{
    if (f->answer.http) {
        net_res_header(f->answer.http, "x-weir-route", str_of(f->plan.header));
        net_res_send(f->answer.http, 200, "application/json", buf_str(&f->plan_json));
        f->answer.http = NULL;
    }
    flow_free(f);
}

/* ---- the count alone ---- */

/* By the model's own tokenizer where it is here; an estimate for one that is not. */
static void answer_count(struct flow *f)
{
    struct buf b = BUF_INIT(4096);
    int64_t n = f->count.tokens >= 0 ? f->count.tokens : route_estimate_tokens(f->req);
    buf_printf(&b, "{%s\"input_tokens\":%lld}\n",
               f->face.form == WIRE_RESPONSES ? "\"object\":\"response.input_tokens\"," : "",
               (long long)n);
    if (f->answer.http)
        net_res_send(f->answer.http, 200, "application/json", buf_str(&b));
    f->answer.http = NULL;
    buf_done(&b);
    flow_free(f);
}

/* ---- decided ---- */

static void refuse_now(void *ctx)
{
    struct flow *f = ctx;
    if (f->step_rc)
        log_error("refused request %s is not booked: %s", f->id, err_msg(&f->step_err));
    if (f->answer.http && f->plan.header)
        net_res_header(f->answer.http, "x-weir-route", str_of(f->plan.header));
    if (f->answer.http)
        net_res_header(f->answer.http, "x-weir-id", str_of(f->id));
    flow_fail(f, &f->err);
}

static void refusal_booked(void *ctx, int rc, const struct err *e)
{
    struct flow *f = ctx;
    f->step_rc = rc;
    if (rc && e)
        f->step_err = *e;
    net_post(f->h->loop, refuse_now, f);
}

/* A refusal is a request too: it is booked, with why, and costs nothing; then its client hears. */
static void refuse(struct flow *f)
{
    /* What cannot be read has no more than that said of it: a parser's message quotes the text. */
    struct str why = f->unread ? STR("the body could not be read") : str_of(err_msg(&f->err));
    struct ledger_begin b = {.id = f->id,
                             .time_ms = f->came_ms,
                             .kind = f->req->kind,
                             .dialect = f->req->dialect,
                             .stream = f->req->stream,
                             .model_asked = f->req->model,
                             .provider = STR("none"),
                             .zone = GEN_DEVICE,
                             .req_zone = f->req->zone,
                             .reason = why,
                             .labels = buf_str(&f->labels_json),
                             .plan = flow_booked(f),
                             .conversation = f->conversation,
                             .client = f->client};
    struct ledger_end end = {.code = f->err.code,
                             .message = why,
                             .provider_cost = 0,
                             .queue_ms = -1,
                             .first_ms = -1,
                             .total_ms = (int64_t)((clock_mono_ns() - f->came_ns) / 1000000)};
    /* Once it is queued, step_rc and step_err are the store's thread's until it has answered. */
    struct err e = {0};
    int rc = ledger_settle(f->h->ledger, &b, &end, refusal_booked, f, &e);
    flow_unbook(f);
    if (rc)
        refusal_booked(f, rc, &e);
}

/* A question about a request is no request. */
static void refuse_or_fail(struct flow *f)
{
    if (f->face.kind == FACE_ROUTE || f->face.kind == FACE_COUNT)
        flow_fail(f, &f->err);
    else
        refuse(f);
}

static void decided(struct flow *f)
{
    if (f->answer.http)
        net_res_header(f->answer.http, "x-weir-id", str_of(f->id));
    if (f->face.kind == FACE_NATIVE && f->answer.http) {
        /* Its first line is the plan; what becomes of it, its last. */
        f->headed = true;
        net_res_header(f->answer.http, "x-weir-route", str_of(f->plan.header));
    }
    answer_native(&f->answer, "route", buf_str(&f->plan_json));
    buf_done(&f->plan_json); /* nobody reads it again, and a request may wait for minutes */
    flow_attempt(f);
}

static void decide(struct flow *f)
{
    if (f->face.kind == FACE_COUNT) {
        /* Of a model that is not here tokens are estimated; of one that is nowhere none. */
        if (f->count.tokens < 0 && flow_decide(f) == ERR_NOT_FOUND)
            flow_fail(f, &f->err);
        else
            answer_count(f);
        return;
    }
    int rc = f->gone ? err_set(&f->err, ERR_CANCELLED, "the client left") : flow_decide(f);
    if (f->face.kind == FACE_ROUTE && f->plan.sentence) {
        answer_plan(f);
        return;
    }
    if (rc)
        refuse_or_fail(f);
    else
        decided(f);
}

/* ---- counting ---- */

static void count_work(void *ctx)
{
    struct flow *f = ctx;
    struct err e;
    struct gen_backend *b = local_backend(f->local->local);
    /* A model that cannot take the request counts nothing; the plan says why it is not a candidate.
     */
    if (b->ops->count(b, f->req, str_of(f->local->name), &f->count, &e) != 0)
        f->count = (struct gen_count){.tokens = -1};
}

static void counted(void *ctx)
{
    decide(ctx);
}

/* Nothing but loading was asked, or with no time to stay, unloading. */
static void answer_load_only(struct flow *f)
{
    struct gen_event start = {.type = GEN_EV_START, .text = f->req->model};
    struct gen_event usage = {.type = GEN_EV_USAGE,
                              .times = {.total = (int64_t)(clock_mono_ns() - f->came_ns)}};
    struct gen_event done = {.type = GEN_EV_DONE};
    struct err e = {0};
    bool ok = answer_event(&f->answer, &start, &e) == 0 &&
              answer_event(&f->answer, &usage, &e) == 0 && answer_event(&f->answer, &done, &e) == 0;
    if (ok)
        answer_end(&f->answer);
    else
        answer_error(&f->answer, &e);
    flow_free(f);
}

static void loaded_only(void *ctx, int rc)
{
    struct flow *f = ctx;
    if (rc) {
        struct err e;
        models_why(f->local, rc, &e);
        f->local = NULL;
        flow_fail(f, &e);
        return;
    }
    if (f->req->keep_set)
        models_keep(f->h->models, f->local, f->req->keep_ms);
    answer_load_only(f);
}

static void load_only(struct flow *f)
{
    struct models *m = f->h->models;
    if (!f->local) {
        err_set(&f->err, ERR_NOT_FOUND, "model '%.*s' not found", STR_ARG(f->req->model));
        flow_fail(f, &f->err);
        return;
    }
    if (f->req->keep_set && f->req->keep_ms == 0) {
        models_unload(m, f->local);
        f->local = NULL;
        answer_load_only(f);
        return;
    }
    models_hold(m, f->local, f->req->ctx, loaded_only, f);
}

static bool is_named(const struct flow *f)
{
    return f->local && f->req->model.n && !str_is(f->req->model, "auto");
}

static void local_ready(void *ctx, int rc)
{
    struct flow *f = ctx;
    if (rc && f->req->ctx && !f->local->err.code && is_named(f)) {
        /* It works, but not with the context that was asked for, and nobody else is meant. */
        models_why(f->local, rc, &f->err);
        f->local = NULL;
        refuse_or_fail(f);
        return;
    }
    if (rc)
        f->local = NULL; /* not held; the plan will say why it is out */
    else
        f->load_ns = (int64_t)(clock_mono_ns() - f->hold_ns);
    if (!f->local || f->gone || net_work(f->h->loop, count_work, counted, f) != 0)
        decide(f);
}

/* Whose tokenizer counts: the local model that is asked for, or the one `auto` would take. */
static struct models_entry *counter(struct flow *f)
{
    struct err e;
    struct str want = f->req->model;
    if (want.n == 0 || str_is(want, "auto"))
        return models_preferred(f->h->models, f->req->kind == GEN_EMBED);
    return models_find(f->h->models, want, f->trusted, &e);
}

/* A request that could not be decoded is a row too, with nothing in it but that. */
static void refuse_unread(struct flow *f)
{
    f->unread = true;
    if (!f->req)
        f->req = arena_alloc(f->arena, sizeof *f->req);
    if (f->req)
        refuse_or_fail(f);
    else
        flow_fail(f, &f->err);
}

static void decoded(void *ctx)
{
    struct flow *f = ctx;
    f->count.tokens = -1;
    if (f->rc == 0 && !f->gone)
        f->rc = answer_init(&f->answer, f->answer.http, f->face, f->req, f->id, &f->err);
    if (f->rc) {
        refuse_unread(f);
        return;
    }
    f->local = counter(f);
    if (is_named(f) && models_apply(f->local, f->req, &f->err) != 0) {
        f->local = NULL;
        refuse_unread(f);
        return;
    }
    if (f->req->load_only) {
        load_only(f);
        return;
    }
    f->hold_ns = clock_mono_ns();
    if (f->local)
        models_hold(f->h->models, f->local, f->req->ctx, local_ready, f);
    else
        decide(f);
}

/* ---- decoding, on a worker ---- */

/* x-weir-raw: the one message's text is a bare prompt. */
static int make_raw(struct flow *f)
{
    struct gen_req *r = f->req;
    if (r->nmsgs < 1 || r->msgs[r->nmsgs - 1].nparts > 1)
        return err_set(&f->err, ERR_INVAL, "x-weir-raw wants one message with one text");
    const struct gen_msg *m = &r->msgs[r->nmsgs - 1];
    r->kind = GEN_RAW;
    r->prompt = m->nparts ? m->parts[0].text : STR_NONE;
    r->nmsgs = 0;
    return 0;
}

static void decode_work(void *ctx)
{
    struct flow *f = ctx;
    bool counting = f->face.kind == FACE_COUNT;
    f->rc = (counting ? wire_count_decode : wire_request_decode)(f->face.form, buf_str(&f->body),
                                                                 f->arena, &f->req, &f->err);
    if (f->rc == 0)
        f->rc = responses_recall(f);
    buf_done(&f->body); /* the request is a copy */
    if (f->rc == 0)
        f->req->caller = f->caller;
    if (f->rc == 0 && f->raw && f->req->kind == GEN_CHAT)
        f->rc = make_raw(f);
    if (f->rc == 0)
        f->rc = privacy_detect(f->h->rules, f->req, &f->findings, &f->err);
}

static struct str header(struct flow *f, struct net_req *r, const char *name)
{
    struct str v = net_req_header(r, name);
    return v.p ? arena_str(f->arena, v) : STR_NONE;
}

/* Versions are dates: newer clients name newer ones and read the same answers. A client that names
 * none means the latest. */
static int check_version(struct flow *f, struct net_req *r)
{
    static const char form[] = "dddd-dd-dd";
    struct str v = net_req_header(r, "anthropic-version");
    if (f->face.form != WIRE_ANTHROPIC || !v.n)
        return 0;
    bool date = v.n == sizeof form - 1;
    for (size_t i = 0; date && i < v.n; i++)
        date = form[i] == 'd' ? v.p[i] >= '0' && v.p[i] <= '9' : v.p[i] == form[i];
    if (date && memcmp(v.p, "2023-01-01", v.n) >= 0)
        return 0;
    return err_set(&f->err, ERR_INVAL, "anthropic-version: \"%.*s\" is not a valid version",
                   STR_ARG(v));
}

static int take_request(struct flow *f, struct net_req *r)
{
    int rc = check_version(f, r);
    if (rc)
        return rc;
    net_req_take_body(r, &f->body);
    f->zone_header = header(f, r, "x-weir-zone");
    f->preset_header = header(f, r, "x-weir-preset");
    f->conversation = header(f, r, "x-weir-conversation");
    f->client = header(f, r, "x-weir-client");
    f->latency = header(f, r, "x-weir-latency");
    f->raw = net_req_header(r, "x-weir-raw").n != 0;
    f->offline = net_req_header(r, "x-weir-offline").n != 0;
    return ledger_id(f->id, &f->err);
}

/* Requests of the same caller that are under way. */
static int64_t under_way(const struct house *h, uint64_t caller)
{
    int64_t n = 0;
    for (const struct flow *f = h->flows; f; f = f->next)
        n += f->caller == caller && !f->gone;
    return n;
}

static bool over_quota(const struct house *h, uint64_t caller, bool trusted)
{
    return !trusted && h->s->quota > 0 && under_way(h, caller) >= h->s->quota;
}

void pipeline_start(struct house *h, struct net_req *r, struct face face, bool trusted,
                    uint64_t caller)
{
    struct err e = {0};
    if (over_quota(h, caller, trusted)) {
        err_set(&e, ERR_RATE, "%lld requests of this caller are under way already",
                (long long)h->s->quota);
        pipeline_refuse(r, face, &e);
        return;
    }
    struct flow *f = calloc(1, sizeof *f);
    struct arena *a = arena_new(FLOW_ARENA);
    if (!f || !a || h->stopping) {
        err_set(&e, ERR_OVERLOAD, h->stopping ? "the server is stopping" : "out of memory");
        pipeline_refuse(r, face, &e);
        arena_free(a);
        free(f);
        return;
    }
    f->h = h;
    f->arena = a;
    f->face = face;
    f->trusted = trusted;
    f->caller = caller;
    f->answer.http = r;
    f->answer.face = face;
    f->came_ms = clock_wall_ms();
    f->came_ns = clock_mono_ns();
    f->plan_json = f->labels_json = f->booked_json = BUF_INIT((size_t)4 << 20);
    flow_link(f);
    net_req_on_close(r, on_closed, f);
    int rc = take_request(f, r);
    if (rc == 0)
        rc = net_work(h->loop, decode_work, decoded, f);
    if (rc)
        flow_fail(f, &f->err);
}

void pipeline_cancel_all(struct house *h)
{
    for (struct flow *f = h->flows; f; f = f->next)
        flow_cancel(f);
}
