/* decide.c: what the router is told, and what it answers. Gathers facts (labels, models, speeds,
 * prices, budget, health) and calls the two pure rooms, privacy/ and route/. */
#include "flow.h"

#include "clock.h"
#include "fit.h"
#include "log.h"

#include <string.h>

#define MAX_CANDIDATES 1024

/* ---- zone ---- */

static int decide_zone(struct flow *f)
{
    struct house *h = f->h;
    struct err ignored;
    struct privacy_inputs in = PRIVACY_INPUTS_NONE;
    in.zone_header = f->zone_header;
    in.preset_header = f->preset_header;
    int rc = privacy_taint_check(h->taint, f->conversation, f->req, &in.taint, &f->err);
    if (rc == 0)
        rc = privacy_decide(&h->privacy, &f->findings, &in, &f->zone, &f->err);
    if (rc)
        return rc;
    f->req->zone = f->zone.zone;
    privacy_labels_json(&f->findings, &f->zone, &f->labels_json);
    /* A verdict that calls nobody leaves no trace in the conversation. */
    if (f->zone.taints && f->face != FACE_ROUTE)
        rc = privacy_taint_add(h->taint, f->conversation, f->req, &f->findings, f->zone.zone,
                               &ignored);
    if (rc) {
        /* What cannot be remembered must not leave later: better to refuse now. */
        f->err = ignored;
    }
    return rc;
}

/* ---- candidates ---- */

static struct route_candidate *add(struct flow *f)
{
    if (f->facts.ncandidates == MAX_CANDIDATES)
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
    c->id = arena_printf(f->arena, "local/%s", en->name);
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
    c->health_note = en->err.code ? en->err.msg : NULL;
    guess_speed(f->h, en, c);
}

static void add_locals(struct flow *f)
{
    for (struct models_entry *en = models_first(f->h->models); en; en = en->next)
        if (!en->from_path || (f->trusted && str_is(f->req->model, en->name)))
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

static void add_provider(struct flow *f, const struct provider_model *m)
{
    struct route_candidate *c = add(f);
    if (!c)
        return;
    c->provider = m->provider;
    c->model = m->id;
    c->id = arena_printf(f->arena, "%s/%s", m->provider, m->id);
    c->backend = ROUTE_PROVIDER;
    c->zone = m->zone;
    c->on_machine = m->on_machine;
    c->caps = m->caps;
    c->loaded = true;
    c->quality = m->quality;
    c->quality_source = m->quality_source;
    c->healthy = m->healthy;
    c->health_note = m->health_note;
    c->limited_until_ms = m->limited_until_ms;
    c->no_key = m->no_key;
    set_price(f, c);
}

/* ---- the plan ---- */

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
        p->pinned = arena_strz(f->arena, want);
    return 0;
}

static int read_request(struct flow *f)
{
    struct route_request *r = &f->facts.request;
    enum route_latency latency = ROUTE_NORMAL;
    int rc = f->latency.n ? route_latency_parse(f->latency, &latency, &f->err) : 0;
    if (rc)
        return rc;
    route_request_read(f->req, f->count.tokens, f->count.exact, latency, f->came_ms, r);
    r->zone = f->zone.zone;
    r->zone_reason = f->zone.n ? f->zone.reasons[f->zone.decider].text : NULL;
    enum privacy_why why = f->zone.reasons[f->zone.decider].why;
    r->sensitive =
        why == PRIVACY_WHY_FOUND || why == PRIVACY_WHY_UNKNOWN || why == PRIVACY_WHY_TAINT;
    return 0;
}

int flow_decide(struct flow *f)
{
    int rc = decide_zone(f);
    if (rc == 0)
        rc = read_request(f);
    if (rc)
        return rc;
    f->facts.candidates = arena_array(f->arena, MAX_CANDIDATES, sizeof *f->facts.candidates);
    if (!f->facts.candidates)
        return err_set(&f->err, ERR_NOMEM, "no memory for the route");
    add_locals(f);
    struct provider_model m;
    for (size_t i = 0; providers_model_at(f->h->providers, i, f->came_ms, &m); i++)
        add_provider(f, &m);
    read_policy(f, &f->facts.policy);
    rc = route_plan_make(f->arena, &f->facts, &f->plan, &f->err);
    if (rc)
        return rc;
    route_plan_json(&f->facts, &f->plan, &f->plan_json);
    return route_plan_error(&f->plan, &f->err);
}
