/* decide.c: what the router is told, and what it answers. Gathers facts (labels, models, speeds,
 * prices, budget, health) and calls the two pure rooms, privacy/ and route/. */
#include "flow.h"

#include "clock.h"
#include "fit.h"
#include "quality.h"

#include <string.h>

#define MAX_CANDIDATES 1024

/* ---- zone ---- */

static int decide_zone(struct flow *f, struct privacy_decision *d)
{
    struct house *h = f->h;
    struct err ignored;
    struct privacy_inputs in = PRIVACY_INPUTS_NONE;
    in.zone_header = f->zone_header;
    in.preset_header = f->preset_header;
    int rc = privacy_taint_check(h->taint, f->conversation, f->req, &in.taint, &f->err);
    if (f->recalled && f->recalled_zone < in.taint)
        in.taint = f->recalled_zone;
    if (rc == 0)
        rc = privacy_decide(&h->privacy, &f->findings, &in, d, &f->err);
    if (rc)
        return rc;
    f->zone = f->req->zone = d->zone;
    f->taints = d->taints;
    privacy_labels_json(&f->findings, d, &f->labels_json);
    /* A verdict that calls nobody leaves no trace in the conversation. */
    if (f->taints && f->face.kind != FACE_ROUTE)
        rc = privacy_taint_add(h->taint, f->conversation, f->req, &f->findings, f->zone, &ignored);
    privacy_findings_done(&f->findings);
    if (rc) {
        /* What cannot be remembered must not leave later: better to refuse now. */
        f->err = ignored;
    }
    return rc;
}

/* ---- candidates ---- */

static struct route_candidate *add(struct flow *f)
{
    if (f->facts.ncandidates == f->max_candidates)
        return NULL;
    struct route_candidate *c = &f->facts.candidates[f->facts.ncandidates++];
    *c = route_candidate_default();
    return c;
}

/* Reading every weight once a token bounds decoding; prefill is some twenty times that on the
 * processors we measured. Used only until the model has been measured at work. */
static void guess_speed(const struct house *h, const struct models_entry *en,
                        struct route_candidate *c)
{
    if (c->decode_tps <= 0 && en->bytes)
        c->decode_tps = h->machine.read_bps * 0.6 / (double)en->bytes;
    if (c->prefill_tps <= 0)
        c->prefill_tps = c->decode_tps * 8;
}

static void add_local(struct flow *f, struct models_entry *en)
{
    struct route_candidate *c = add(f);
    int queued = 0;
    if (!c)
        return;
    models_measure(en, &queued);
    c->id = arena_printf(f->deciding, "local/%s", en->name);
    c->provider = "local";
    c->model = en->name;
    c->backend = ROUTE_LOCAL;
    c->zone = GEN_DEVICE;
    c->on_machine = true;
    c->caps = en->caps;
    c->loaded = en->local != NULL;
    c->load_ms = en->load_ms ? en->load_ms : (int64_t)(en->bytes / 1000000);
    c->queue_depth = queued;
    c->prefill_tps = en->prefill_tps;
    c->decode_tps = en->decode_tps;
    c->first_ms = 0;
    c->price_input = c->price_cached = c->price_output = 0;
    c->price_source = "local";
    c->params = en->params;
    c->healthy = en->err.code == 0;
    if (!c->healthy) /* what it could do is unknown: what is wrong with it is the reason to name */
        c->caps = (struct gen_caps){.chat = true,
                                    .raw = true,
                                    .infill = true,
                                    .embed = true,
                                    .rerank = true,
                                    .tools = true,
                                    .images = true,
                                    .audio = true,
                                    .documents = true,
                                    .json = true,
                                    .schema = true,
                                    .reasoning = true,
                                    .logprobs = true,
                                    .many = true};
    c->health_note = en->err.code ? en->err.msg : NULL;
    guess_speed(f->h, en, c);
}

/* Rows of two models do not compare, so `auto` has one local model to embed with. */
static bool is_other_embedder(const struct flow *f, const struct models_entry *en)
{
    bool any = f->req->model.n == 0 || str_is(f->req->model, "auto");
    return f->req->kind == GEN_EMBED && any && f->local && en != f->local;
}

static void add_locals(struct flow *f)
{
    for (struct models_entry *en = models_first(f->h->models); en; en = en->next)
        if (is_other_embedder(f, en))
            continue;
        else if (!en->from_path || (f->trusted && str_is(f->req->model, en->name)))
            add_local(f, en);
}

static void set_price(struct flow *f, struct route_candidate *c)
{
    struct price p;
    struct err e;
    if (prices_find(ledger_prices(f->h->ledger), str_of(c->provider), str_of(c->model), c->zone, &p,
                    &e) != 0)
        return;
    c->price_input = p.input == MONEY_UNKNOWN ? ROUTE_UNKNOWN : p.input;
    c->price_cached = p.cached == MONEY_UNKNOWN ? ROUTE_UNKNOWN : p.cached;
    c->price_output = p.output == MONEY_UNKNOWN ? ROUTE_UNKNOWN : p.output;
    c->price_source = p.source;
}

/* A provider that failed three times in a row rests for a minute. */
static bool resting(const struct provider_facts *k, int64_t now_ms)
{
    return k->fails >= 3 && now_ms - k->last_fail_ms < 60000;
}

/* An address of this machine: reached without the network, though not the same as zone device. */
static bool on_machine(const struct provider_info *row)
{
    struct str url = str_of(row->url);
    size_t at = str_find(url, STR("://"), 0);
    if (at == SIZE_MAX)
        return true; /* a Unix socket */
    struct str host = str_n(url.p + at + 3, url.n - at - 3);
    return str_starts(host, STR("127.")) || str_starts(host, STR("localhost")) ||
           str_starts(host, STR("[::1]"));
}

static void add_provider_model(struct flow *f, const struct provider_info *row,
                               const struct provider_facts *known, const struct provider_model *m)
{
    struct route_candidate *c = add(f);
    if (!c)
        return;
    struct quality q = quality_of(m->id);
    c->provider = row->name;
    c->model = arena_strz(f->deciding, m->id);
    c->id = arena_printf(f->deciding, "%s/%.*s", row->name, STR_ARG(m->id));
    c->backend = ROUTE_PROVIDER;
    c->zone = m->zone;
    c->on_machine = on_machine(row);
    c->caps = m->caps;
    c->loaded = true;
    c->params = q.params;
    c->quality = q.score;
    c->quality_source = q.source;
    c->healthy = !resting(known, f->came_ms);
    c->health_note = c->healthy ? NULL : "failed three times in a row, resting for a minute";
    c->limited_until_ms = known->limited_until_ms;
    c->no_key = !known->usable;
    set_price(f, c);
}

/* A model that is asked for by name need not be in the row's list: providers bring out new ones
 * every week. */
static void add_asked(struct flow *f, struct provider *p, const struct provider_info *row,
                      const struct provider_facts *known)
{
    struct str head, rest;
    if (!str_cut(f->req->model, '/', &head, &rest) || !str_is(head, row->name) || !rest.n)
        return;
    for (size_t i = 0; i < row->nmodels; i++)
        if (str_eq(row->models[i].id, rest))
            return;
    struct provider_model m = {.id = rest, .zone = provider_zone(p, rest)};
    m.caps = (struct gen_caps){.chat = true,
                               .embed = true,
                               .tools = true,
                               .images = true,
                               .documents = true,
                               .json = true,
                               .schema = true,
                               .reasoning = true,
                               .many = true};
    add_provider_model(f, row, known, &m);
}

static void add_providers(struct flow *f)
{
    struct provider_table *t = f->h->providers;
    for (size_t i = 0; i < provider_count(t); i++) {
        struct provider *p = provider_at(t, i);
        struct provider_info row;
        struct provider_facts known;
        provider_describe(p, &row);
        provider_facts(p, &known);
        for (size_t k = 0; k < row.nmodels; k++)
            add_provider_model(f, &row, &known, &row.models[k]);
        add_asked(f, p, &row, &known);
    }
}

/* No more than there can be: a request that waits for minutes keeps them. */
static size_t count_candidates(const struct flow *f)
{
    struct provider_table *t = f->h->providers;
    size_t n = 0;
    for (struct models_entry *en = models_first(f->h->models); en; en = en->next)
        n++;
    for (size_t i = 0; i < provider_count(t); i++) {
        struct provider_info row;
        provider_describe(provider_at(t, i), &row);
        n += row.nmodels + 1; /* the one asked for by name */
    }
    return n < MAX_CANDIDATES ? n : MAX_CANDIDATES;
}

/* ---- the plan ---- */

/* The candidate's own name for what was asked: people write "NAME:latest", another case, no tag. */
static struct str own_name(const struct flow *f, struct str want)
{
    struct err e;
    for (size_t i = 0; i < f->facts.ncandidates; i++) {
        const struct route_candidate *c = &f->facts.candidates[i];
        if (str_is(want, c->id) || (c->model && str_is(want, c->model)))
            return want;
    }
    struct models_entry *en = models_find(f->h->models, want, f->trusted, &e);
    return en ? str_of(en->name) : want;
}

static int read_policy(struct flow *f, struct route_policy *p)
{
    struct ledger_budget b;
    struct house *h = f->h;
    ledger_budget(h->ledger, &b);
    *p = (struct route_policy){.private_only = h->privacy.preset == PRIVACY_PRIVATE ||
                                               str_is(str_trim(f->preset_header), "private"),
                               .offline = h->s->offline || f->offline,
                               .budget_left = ROUTE_UNKNOWN,
                               .store_failing = !b.healthy,
                               .now_ms = f->came_ms,
                               .weights = route_weights_default()};
    if (b.limit != MONEY_UNKNOWN)
        p->budget_left = b.limit > b.charged ? b.limit - b.charged : 0;
    struct str want = f->req->model;
    if (want.n && !str_is(want, "auto"))
        p->pinned = arena_strz(f->deciding, own_name(f, want));
    return 0;
}

static int read_request(struct flow *f, const struct privacy_decision *d)
{
    struct route_request *r = &f->facts.request;
    enum route_latency latency = ROUTE_NORMAL;
    int rc = f->latency.n ? route_latency_parse(f->latency, &latency, &f->err) : 0;
    if (rc)
        return rc;
    route_request_read(f->req, f->count.tokens, f->count.exact, latency, f->came_ms, r);
    r->zone = d->zone;
    r->zone_reason = d->n ? d->reasons[d->decider].text : NULL;
    enum privacy_why why = d->reasons[d->decider].why;
    r->sensitive =
        why == PRIVACY_WHY_FOUND || why == PRIVACY_WHY_UNKNOWN || why == PRIVACY_WHY_TAINT;
    return 0;
}

/* The plan's object with one more key. Some 40 KB, so it is made where a row wants it and dropped
 * again: a request may wait for minutes. */
struct str flow_booked(struct flow *f)
{
    struct buf *out = &f->booked_json;
    if (!f->planned || out->n || buf_failed(out))
        return buf_str(out);
    route_plan_json(&f->facts, &f->plan, out);
    while (out->n && out->p[out->n - 1] != '}')
        out->n--;
    if (out->n < 2 || buf_failed(out)) {
        flow_unbook(f);
        return buf_str(out);
    }
    out->n--;
    buf_puts(out, ",\"facts\":");
    route_facts_encode(&f->facts, out);
    buf_putc(out, '}');
    return buf_str(out);
}

void flow_unbook(struct flow *f)
{
    buf_done(&f->booked_json);
    f->begin.plan = STR("");
}

void flow_narrow(struct flow *f)
{
    struct err e;
    struct arena *a = arena_new(FLOW_ARENA);
    if (!a || route_plan_narrow(a, &f->facts, &f->plan, &e) != 0) {
        arena_free(a);
        return;
    }
    arena_free(f->deciding);
    f->deciding = a;
    f->planned = false;
    buf_done(&f->labels_json);
}

int flow_decide(struct flow *f)
{
    struct privacy_decision *d = NULL;
    f->deciding = arena_new(FLOW_ARENA);
    if (f->deciding)
        d = arena_alloc(f->deciding, sizeof *d);
    if (!d)
        return err_set(&f->err, ERR_NOMEM, "no memory for the route");
    int rc = decide_zone(f, d);
    if (rc == 0)
        rc = read_request(f, d);
    if (rc)
        return rc;
    f->max_candidates = count_candidates(f);
    f->facts.candidates = arena_array(f->deciding, f->max_candidates, sizeof *f->facts.candidates);
    if (!f->facts.candidates)
        return err_set(&f->err, ERR_NOMEM, "no memory for the route");
    add_locals(f);
    add_providers(f);
    read_policy(f, &f->facts.policy);
    rc = route_plan_make(f->deciding, &f->facts, &f->plan, &f->err);
    if (rc)
        return rc;
    f->planned = true;
    route_plan_json(&f->facts, &f->plan, &f->plan_json);
    return route_plan_error(&f->plan, &f->err);
}
