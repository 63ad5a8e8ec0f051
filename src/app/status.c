/* status.c: what the page and the command line ask about. Reports read the database on a worker. */
#include "status.h"

#include "clock.h"
#include "library.h"
#include "manage.h"
#include "models.h"
#include "pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REPORT ((size_t)64 << 20)

static const char *zone_name(enum gen_zone z)
{
    return privacy_zone_name(z);
}

static void field(struct buf *b, const char *key, const char *value)
{
    buf_printf(b, "\"%s\":", key);
    if (value)
        buf_json_str(b, str_of(value));
    else
        buf_puts(b, "null");
}

static const char *flag(bool v)
{
    return v ? "true" : "false";
}

/* ---- models ---- */

static void caps_json(const struct gen_caps *c, struct buf *b)
{
    buf_printf(b,
               "\"context\":%lld,\"caps\":{\"chat\":%s,\"tools\":%s,\"images\":%s,\"json\":%s,"
               "\"reasoning\":%s}",
               (long long)c->context, flag(c->chat), flag(c->tools), flag(c->images), flag(c->json),
               flag(c->reasoning));
}

static void local_json(struct models_entry *en, struct buf *b)
{
    int queued;
    models_measure(en, &queued);
    buf_puts(b, "{\"id\":");
    buf_json_str(b, str_of(en->name));
    buf_printf(b,
               ",\"where\":\"local\",\"provider\":\"local\",\"zone\":\"device\",\"loaded\":%s,"
               "\"usable\":%s,\"bytes\":%llu,\"params\":%.0f,\"queued\":%d,\"decode_tps\":%.1f,"
               "\"prefill_tps\":%.1f,",
               flag(en->local != NULL), flag(en->err.code == 0), (unsigned long long)en->bytes,
               en->params, queued, en->decode_tps, en->prefill_tps);
    field(b, "note", en->err.code ? en->err.msg : NULL);
    buf_putc(b, ',');
    caps_json(&en->caps, b);
    buf_putc(b, '}');
}

static void provider_model_json(const struct provider_info *row, const struct provider_facts *known,
                                const struct provider_model *m, struct buf *b)
{
    char id[512];
    bool limited = known->limited_until_ms > clock_wall_ms();
    snprintf(id, sizeof id, "%s/%.*s", row->name, STR_ARG(m->id));
    buf_puts(b, "{\"id\":");
    buf_json_str(b, str_of(id));
    buf_puts(b, ",\"where\":\"provider\",\"provider\":");
    buf_json_str(b, str_of(row->name));
    buf_printf(b, ",\"zone\":\"%s\",\"usable\":%s,\"found\":%s,", zone_name(m->zone),
               flag(known->usable && !limited), flag(strcmp(row->source, "found") == 0));
    field(b, "note", !known->usable ? "no key" : limited ? "rate limited" : NULL);
    buf_putc(b, ',');
    caps_json(&m->caps, b);
    buf_putc(b, '}');
}

static void provider_models_json(struct house *h, struct buf *b, bool first)
{
    for (size_t i = 0; i < provider_count(h->providers); i++) {
        struct provider_info row;
        struct provider_facts known;
        provider_describe(provider_at(h->providers, i), &row);
        provider_facts(provider_at(h->providers, i), &known);
        for (size_t k = 0; k < row.nmodels; k++) {
            buf_puts(b, first ? "" : ",");
            first = false;
            provider_model_json(&row, &known, &row.models[k], b);
        }
    }
}

static void models_json(struct house *h, struct buf *b)
{
    bool first = true;
    models_refresh(h->models);
    for (struct models_entry *en = models_first(h->models); en; en = en->next) {
        if (en->from_path)
            continue;
        buf_puts(b, first ? "" : ",");
        first = false;
        local_json(en, b);
    }
    provider_models_json(h, b, first);
}

void status_models(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT(MAX_REPORT);
    buf_puts(&b, "{\"models\":[");
    models_json(h, &b);
    buf_puts(&b, "]}\n");
    manage_send(r, &b);
}

/* A model as the two dialects that share the path list it. */
struct lister {
    struct buf *b;
    bool first, anthropic;
    struct str only; /* this one alone; empty: all */
    bool found;
    char last[512];
};

static void list_model(struct lister *l, const char *id, const char *owner, int64_t made_ms)
{
    if (l->only.n && !str_is(l->only, id))
        return;
    l->found = true;
    buf_puts(l->b, l->first || l->only.n ? "" : ",");
    l->first = false;
    snprintf(l->last, sizeof l->last, "%s", id);
    if (l->anthropic) {
        buf_puts(l->b, "{\"type\":\"model\",\"id\":");
        buf_json_str(l->b, str_of(id));
        buf_puts(l->b, ",\"display_name\":");
        buf_json_str(l->b, str_of(id));
        buf_putc(l->b, ',');
        manage_time(l->b, "created_at", made_ms);
        buf_putc(l->b, '}');
        return;
    }
    buf_puts(l->b, "{\"id\":");
    buf_json_str(l->b, str_of(id));
    buf_printf(l->b,
               ",\"object\":\"model\",\"created\":%lld,\"owned_by\":", (long long)(made_ms / 1000));
    buf_json_str(l->b, str_of(owner));
    buf_putc(l->b, '}');
}

static void list_providers(struct house *h, struct lister *l)
{
    for (size_t i = 0; i < provider_count(h->providers); i++) {
        struct provider_info row;
        struct provider_facts known;
        provider_describe(provider_at(h->providers, i), &row);
        provider_facts(provider_at(h->providers, i), &known);
        for (size_t k = 0; known.usable && k < row.nmodels; k++) {
            char id[512];
            snprintf(id, sizeof id, "%s/%.*s", row.name, STR_ARG(row.models[k].id));
            list_model(l, id, row.name, 0);
        }
    }
}

static void list_all(struct house *h, struct lister *l)
{
    models_refresh(h->models);
    list_model(l, "auto", "weir", 0);
    for (struct models_entry *en = models_first(h->models); en; en = en->next)
        if (!en->from_path)
            list_model(l, en->name, "local", en->item.added_ms);
    list_providers(h, l);
}

/* Anthropic's clients say so by a header. */
static bool is_anthropic(struct net_req *r)
{
    return net_req_header(r, "anthropic-version").p != NULL;
}

void status_openai_models(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT(MAX_REPORT);
    struct lister l = {.b = &b, .first = true, .anthropic = is_anthropic(r)};
    buf_puts(&b, l.anthropic ? "{\"data\":[" : "{\"object\":\"list\",\"data\":[");
    list_all(h, &l);
    buf_putc(&b, ']');
    if (l.anthropic) {
        buf_puts(&b, ",\"has_more\":false,\"first_id\":\"auto\",\"last_id\":");
        buf_json_str(&b, str_of(l.last));
    }
    buf_puts(&b, "}\n");
    manage_send(r, &b);
}

void status_openai_model(struct house *h, struct net_req *r, struct str id)
{
    struct buf b = BUF_INIT(MAX_REPORT);
    struct lister l = {.b = &b, .anthropic = is_anthropic(r), .only = id};
    struct err e;
    list_all(h, &l);
    if (l.found) {
        buf_putc(&b, '\n');
        manage_send(r, &b);
        return;
    }
    buf_done(&b);
    err_set(&e, ERR_NOT_FOUND, "The model '%.*s' does not exist", STR_ARG(id));
    pipeline_refuse(r, (struct face){l.anthropic ? WIRE_ANTHROPIC : WIRE_OPENAI, FACE_FORM}, &e);
}

/* ---- the house ---- */

static void providers_json(struct house *h, struct buf *b)
{
    struct provider_info row;
    for (size_t i = 0; i < provider_count(h->providers); i++) {
        provider_describe(provider_at(h->providers, i), &row);
        buf_puts(b, i ? ",{" : "{");
        field(b, "name", row.name);
        buf_putc(b, ',');
        field(b, "url", row.url);
        buf_putc(b, ',');
        field(b, "dialect", wire_dialect_name(row.dialect));
        buf_putc(b, ',');
        field(b, "key_source", row.key_source);
        buf_printf(b, ",\"zone\":\"%s\",\"key\":%s,\"found\":%s,\"configured\":%s,\"models\":%zu}",
                   zone_name(row.zone), flag(row.has_key), flag(strcmp(row.source, "found") == 0),
                   flag(strcmp(row.source, "config") == 0), row.nmodels);
    }
}

static void budget_json(struct house *h, struct buf *b)
{
    struct ledger_budget m;
    ledger_budget(h->ledger, &m);
    buf_puts(b, "\"budget\":{\"limit_nano\":");
    if (m.limit == MONEY_UNKNOWN)
        buf_puts(b, "null");
    else
        buf_printf(b, "%lld", (long long)m.limit);
    buf_printf(b, ",\"charged_nano\":%lld,\"healthy\":%s}", (long long)m.charged, flag(m.healthy));
}

static void machine_json(struct house *h, struct buf *b)
{
    const struct fit_row *best = fit_best(&h->machine);
    struct fit_machine now = h->machine;
    fit_memory(&now);
    buf_puts(b, "\"machine\":{");
    field(b, "cpu", now.cpu);
    buf_printf(b, ",\"threads\":%d,\"kernels\":\"%s\",\"memory_free\":%llu,\"read_bytes_s\":%.0f,",
               now.threads, now.kernels, (unsigned long long)now.memory_free, now.read_bps);
    field(b, "runs_up_to", best ? best->model->name : NULL);
    buf_printf(b, ",\"at_tokens_s\":%.1f}", best ? best->tokens_s : 0.0);
}

void status_house(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT(MAX_REPORT);
    buf_puts(&b, "{\"version\":\"" WEIR_VERSION "\",");
    field(&b, "page", h->address[0] ? h->address : NULL);
    buf_printf(&b, ",\"preset\":\"%s\",\"offline\":%s,",
               h->privacy.preset == PRIVACY_PRIVATE ? "private" : "hybrid", flag(h->s->offline));
    budget_json(h, &b);
    buf_putc(&b, ',');
    machine_json(h, &b);
    buf_puts(&b, ",\"models\":[");
    models_json(h, &b);
    buf_puts(&b, "],\"providers\":[");
    providers_json(h, &b);
    buf_puts(&b, "]}\n");
    manage_send(r, &b);
}

/* ---- reports, on a worker ---- */

struct report {
    struct house *h;
    struct net_req *r; /* NULL: the client has gone */
    enum { REPORT_COSTS, REPORT_RECENT, REPORT_ROW } kind;
    struct ledger_query query;
    int limit;
    char id[64];
    struct buf out;
    struct err err;
    int rc;
};

static void report_work(void *ctx)
{
    struct report *p = ctx;
    const char *home = p->h->s->home;
    if (p->kind == REPORT_COSTS)
        p->rc = ledger_report(home, &p->query, true, &p->out, &p->err);
    else if (p->kind == REPORT_RECENT)
        p->rc = ledger_recent(home, p->limit, p->id[0] ? p->id : NULL, true, &p->out, &p->err);
    else
        p->rc = ledger_row(home, p->id, true, &p->out, &p->err);
}

static void report_done(void *ctx)
{
    struct report *p = ctx;
    if (p->r && p->rc)
        pipeline_refuse(p->r, PIPELINE_NATIVE, &p->err);
    else if (p->r)
        manage_send(p->r, &p->out);
    buf_done(&p->out);
    free(p);
}

static void report_closed(void *ctx)
{
    struct report *p = ctx;
    p->r = NULL;
}

static struct report *report_new(struct house *h, struct net_req *r, int kind)
{
    struct report *p = calloc(1, sizeof *p);
    struct err e;
    if (!p) {
        err_set(&e, ERR_NOMEM, "out of memory");
        pipeline_refuse(r, PIPELINE_NATIVE, &e);
        return NULL;
    }
    p->h = h;
    p->r = r;
    p->kind = kind;
    p->out = BUF_INIT(MAX_REPORT);
    net_req_on_close(r, report_closed, p);
    return p;
}

static void report_run(struct report *p)
{
    int rc = p->rc;
    if (rc == 0)
        rc = net_work(p->h->loop, report_work, report_done, p);
    if (rc == 0)
        return; /* rc and err of the report are the worker's now */
    p->rc = rc;
    if (!p->err.code)
        err_set(&p->err, rc, "the report cannot be made now");
    report_done(p);
}

static void copy_param(struct net_req *r, const char *name, char *out, size_t n)
{
    struct str v;
    if (net_req_param(r, name, &v) && v.n < n) {
        memcpy(out, v.p, v.n);
        out[v.n] = '\0';
    }
}

void status_costs(struct house *h, struct net_req *r)
{
    static const char *const names[] = {"day", "month", "model", "provider", "zone"};
    char by[32] = "model", since[32] = "";
    struct report *p = report_new(h, r, REPORT_COSTS);
    if (!p)
        return;
    copy_param(r, "by", by, sizeof by);
    copy_param(r, "since", since, sizeof since);
    p->query.from_ms = ledger_month_start(clock_wall_ms());
    p->rc = ERR_INVAL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(by, names[i]) == 0) {
            p->query.by = (enum ledger_by)i;
            p->rc = 0;
        }
    }
    if (p->rc)
        err_set(&p->err, ERR_INVAL, "by must be day, month, model, provider or zone");
    else if (since[0])
        p->rc = ledger_date(str_of(since), &p->query.from_ms, &p->err);
    report_run(p);
}

void status_requests(struct house *h, struct net_req *r)
{
    char limit[16] = "50";
    uint64_t n = 0;
    struct report *p = report_new(h, r, REPORT_RECENT);
    if (!p)
        return;
    copy_param(r, "limit", limit, sizeof limit);
    copy_param(r, "before", p->id, sizeof p->id);
    if (!str_to_u64(str_of(limit), &n) || n < 1 || n > 1000)
        p->rc = err_set(&p->err, ERR_INVAL, "limit must be 1 to 1000");
    p->limit = (int)n;
    report_run(p);
}

void status_request(struct house *h, struct net_req *r, struct str id)
{
    struct report *p = report_new(h, r, REPORT_ROW);
    if (!p)
        return;
    if (id.n >= sizeof p->id)
        p->rc = err_set(&p->err, ERR_NOT_FOUND, "there is no such request");
    else
        memcpy(p->id, id.p, id.n);
    report_run(p);
}

/* ---- testing a provider ---- */

static void test_done(void *ctx, const struct err *err)
{
    struct report *p = ctx;
    struct provider *row = provider_find(p->h->providers, str_of(p->id));
    struct provider_info info = {0};
    if (err) {
        p->err = *err;
        p->rc = err->code;
    } else {
        provider_describe(row, &info);
        buf_printf(&p->out, "{\"ok\":true,\"models\":%zu,\"ms\":%lld}\n", info.nmodels,
                   (long long)(clock_wall_ms() - p->query.from_ms));
    }
    report_done(p);
}

void status_provider_test(struct house *h, struct net_req *r)
{
    struct report *p = report_new(h, r, REPORT_ROW);
    if (!p)
        return;
    copy_param(r, "name", p->id, sizeof p->id);
    p->query.from_ms = clock_wall_ms();
    struct provider *row = provider_find(h->providers, str_of(p->id));
    p->rc = row ? provider_test(row, test_done, p, &p->err)
                : err_set(&p->err, ERR_NOT_FOUND, "there is no provider '%s'", p->id);
    if (p->rc)
        report_done(p);
}
