/* route_json.c: owns the plan as JSON: what `weir route --json`, the page and the ledger show,
 * under names that stay. Also the replay: facts in, plan out. */
#include "route_int.h"

#include <math.h>
#include <stdio.h>

static const char *const zones[] = {"device", "site", "cloud"};
static const char *const tasks[] = {"chat",    "ask",      "rewrite",   "summarise",
                                    "extract", "classify", "translate", "write",
                                    "code",    "maths",    "reason",    "expert"};

/* Four decimals: enough to read, and the same on every machine. */
static void put_number(struct buf *out, const char *name, double x)
{
    char z[64];
    int n = snprintf(z, sizeof z, "%.4f", isfinite(x) ? x : 0);
    for (int i = 0; i < n && i < (int)sizeof z; i++)
        z[i] = z[i] == ',' ? '.' : z[i];
    buf_printf(out, ",\"%s\":%s", name, strcmp(z, "-0.0000") == 0 ? "0.0000" : z);
}

static void put_amount(struct buf *out, const char *name, int64_t x)
{
    if (x == ROUTE_UNKNOWN)
        buf_printf(out, ",\"%s\":null", name);
    else
        buf_printf(out, ",\"%s\":%lld", name, (long long)x);
}

static void put_text(struct buf *out, const char *name, const char *z)
{
    buf_printf(out, ",\"%s\":", name);
    if (z)
        buf_json_str(out, str_of(z));
    else
        buf_puts(out, "null");
}

static void put_choice(const struct route_facts *f, const struct route_choice *c, struct buf *out)
{
    const struct route_candidate *m = &f->candidates[c->candidate];
    buf_puts(out, "{\"id\":");
    buf_json_str(out, str_of(m->id));
    put_text(out, "provider", m->provider);
    put_text(out, "model", m->model);
    put_text(out, "zone", zones[m->zone]);
    if (c->removed != ROUTE_KEPT) {
        put_text(out, "removed", route_removed_name(c->removed));
        put_text(out, "because", c->sentence);
        buf_puts(out, ",\"obstacles\":[");
        bool any = false;
        for (int k = ROUTE_NOT_PINNED; k <= ROUTE_HEALTH; k++) {
            if (c->obstacles & 1u << k) {
                buf_printf(out, "%s\"%s\"", any ? "," : "",
                           route_removed_name((enum route_removed)k));
                any = true;
            }
        }
        buf_putc(out, ']');
    }
    put_number(out, "p_suffices", c->p);
    put_number(out, "expected_quality", c->expected_quality);
    put_amount(out, "cost_nano", c->cost);
    put_amount(out, "cost_bound_nano", c->cost_bound);
    put_amount(out, "first_ms", c->first_ms);
    put_amount(out, "total_ms", c->total_ms);
    put_number(out, "score", c->score);
    put_text(out, "quality_source", m->quality_source);
    put_text(out, "price_source", m->price_source);
    buf_putc(out, '}');
}

static void put_choices(const struct route_facts *f, const struct route_choice *v, size_t n,
                        struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        put_choice(f, &v[i], out);
    }
    buf_putc(out, ']');
}

static void put_flag(struct buf *out, bool *any, bool set, const char *name)
{
    if (!set)
        return;
    buf_printf(out, "%s\"%s\"", *any ? "," : "", name);
    *any = true;
}

static void put_request(const struct route_request *r, struct buf *out)
{
    const struct route_signals *s = &r->signals;
    buf_printf(out, "{\"prompt_tokens\":%lld,\"prompt_exact\":%s,\"output_tokens\":%lld",
               (long long)r->prompt_tokens, r->prompt_exact ? "true" : "false",
               (long long)r->output_tokens);
    put_text(out, "zone", zones[r->zone]);
    put_text(out, "zone_reason", r->zone_reason);
    put_text(out, "task", tasks[s->task]);
    put_number(out, "need", estimate_need(r));
    buf_puts(out, ",\"signals\":[");
    bool any = false;
    put_flag(out, &any, r->sensitive, "sensitive");
    put_flag(out, &any, s->domains & ROUTE_LAW, "law");
    put_flag(out, &any, s->domains & ROUTE_MEDICINE, "medicine");
    put_flag(out, &any, s->domains & ROUTE_FINANCE, "finance");
    put_flag(out, &any, s->domains & ROUTE_SCIENCE, "science");
    put_flag(out, &any, s->hard_terms > 0, "hard");
    put_flag(out, &any, s->steps, "steps");
    put_flag(out, &any, s->code, "code");
    put_flag(out, &any, s->maths, "maths");
    put_flag(out, &any, s->fresh, "fresh");
    put_flag(out, &any, s->client_facing, "client-facing");
    put_flag(out, &any, s->foreign, "foreign");
    put_flag(out, &any, r->prompt_tokens >= ROUTE_LONG_TOKENS, "very-long");
    put_flag(out, &any, r->agent_steps >= ROUTE_AGENT_STEPS, "agent");
    put_flag(out, &any, r->latency == ROUTE_INTERACTIVE, "interactive");
    put_flag(out, &any, r->latency == ROUTE_COMPLETION, "completion");
    put_flag(out, &any, r->high_effort, "high-effort");
    put_flag(out, &any, r->needs_tools, "tools");
    put_flag(out, &any, r->needs_images, "images");
    put_flag(out, &any, r->needs_audio, "audio");
    put_flag(out, &any, r->needs_documents, "documents");
    put_flag(out, &any, r->needs_json || r->needs_schema, "json");
    buf_puts(out, "]}");
}

void route_plan_json(const struct route_facts *f, const struct route_plan *p, struct buf *out)
{
    bool away = p->nranked && f->candidates[p->ranked[0].candidate].zone == GEN_CLOUD;
    buf_puts(out, "{\"verdict\":");
    buf_json_str(out, p->nranked == 0 ? STR("none") : away ? STR("cloud") : STR("local"));
    put_text(out, "error", p->code ? err_name(p->code) : NULL);
    put_text(out, "model", p->nranked ? f->candidates[p->ranked[0].candidate].id : NULL);
    put_text(out, "why", route_why_name(p->why));
    put_text(out, "sentence", p->sentence);
    put_text(out, "header", p->header);
    put_number(out, "difficulty", p->difficulty);
    buf_puts(out, ",\"request\":");
    put_request(&f->request, out);
    buf_puts(out, ",\"ranked\":");
    put_choices(f, p->ranked, p->nranked, out);
    buf_puts(out, ",\"removed\":");
    put_choices(f, p->removed, p->nremoved, out);
    buf_puts(out, ",\"would_be\":");
    if (p->would_be)
        put_choice(f, p->would_be, out);
    else
        buf_puts(out, "null");
    put_text(out, "would_sentence", p->would_sentence);
    buf_putc(out, '}');
}

int route_replay(struct str facts_json, struct buf *out, struct err *e)
{
    struct arena *a = arena_new((size_t)64 << 20);
    if (!a)
        return err_set(e, ERR_NOMEM, "route: no memory to replay");
    struct route_facts f;
    struct route_plan p;
    int code = route_facts_decode(a, facts_json, &f, e);
    if (code == 0)
        code = route_plan_make(a, &f, &p, e);
    if (code == 0)
        route_plan_json(&f, &p, out);
    arena_free(a);
    return code;
}
