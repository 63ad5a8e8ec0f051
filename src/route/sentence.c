/* sentence.c: owns the words of a decision: one sentence for a person, one line for the header.
 * They say what was decided and what stood against it, and they do not flatter: where the chosen
 * model may not be up to the task, the sentence says so. */
#include "route_int.h"

#include <stdio.h>

char *sentence_money(int64_t nano, char out[static 32])
{
    if (nano == ROUTE_UNKNOWN)
        snprintf(out, 32, "an unknown amount");
    else if (nano == 0)
        snprintf(out, 32, "$0");
    else if (nano < 100000)
        snprintf(out, 32, "<$0.0001");
    else if (nano < 10000000000)
        snprintf(out, 32, "$%lld.%04lld", (long long)(nano / 1000000000),
                 (long long)(nano % 1000000000 / 100000));
    else
        snprintf(out, 32, "$%lld.%02lld", (long long)(nano / 1000000000),
                 (long long)(nano % 1000000000 / 10000000));
    return out;
}

static const char *because(const struct route_facts *f, const struct route_plan *p)
{
    bool away = f->candidates[p->ranked[0].candidate].zone == GEN_CLOUD;
    switch (p->why) {
    case ROUTE_WHY_PINNED: return "the request asks for it";
    case ROUTE_WHY_ONLY: return "nothing else is left";
    case ROUTE_WHY_PRIVACY:
        return f->policy.private_only ? "the preset private keeps everything on this device"
               : f->request.sensitive ? "the request is sensitive and stays here"
                                      : "the request's zone allows nothing further away";
    case ROUTE_WHY_OFFLINE: return "weir is offline";
    case ROUTE_WHY_BUDGET: return "the month's budget does not hold a cloud call";
    case ROUTE_WHY_QUOTA: return "the provider rate limits us now";
    case ROUTE_WHY_HEALTH: return away ? "no local model answers now" : "no provider answers now";
    case ROUTE_WHY_NO_KEY: return "no provider is configured";
    case ROUTE_WHY_NO_LOCAL: return "there is no local model";
    case ROUTE_WHY_CAPABILITY:
        return away ? "no local model can do what it needs" : "no other model can do what it needs";
    case ROUTE_WHY_CONTEXT:
        return away ? "it is too long for every local model" : "it is too long for the others";
    case ROUTE_WHY_LATENCY: return "somebody waits for each word, and the way out is too long";
    case ROUTE_WHY_AGENT: return "a long run of tool calls is cheap here and dear elsewhere";
    case ROUTE_WHY_SUFFICES: return "this model is good enough for it";
    case ROUTE_WHY_DIFFICULTY: return "it is too hard for the local models";
    case ROUTE_WHY_FRESH: return "it asks about the present, which newer models know better";
    case ROUTE_WHY_CLIENT: return "the text goes out to others, so the best model writes it";
    case ROUTE_WHY_LONG: return "it is a very long document";
    case ROUTE_WHY_TIME: return "it is much faster there";
    case ROUTE_WHY_COST: return "what another model would add is not worth its cost and time";
    }
    return "";
}

/* The honest part: what the answer may lack. */
static const char *doubt(const struct route_facts *f, const struct route_plan *p)
{
    const struct route_choice *c = &p->ranked[0];
    if (c->p >= estimate_need(&f->request))
        return "";
    if (f->request.signals.fresh && !f->request.needs_tools && !f->request.needs_documents)
        return "; it cannot look up the present, so check the answer";
    return f->candidates[c->candidate].zone == GEN_CLOUD ? "; even this model may not be up to it"
                                                         : "; this local model may not be up to it";
}

const char *sentence_decision(struct arena *a, const struct route_facts *f,
                              const struct route_plan *p)
{
    char cost[32];
    const struct route_choice *c = &p->ranked[0];
    const struct route_candidate *m = &f->candidates[c->candidate];
    sentence_money(c->cost, cost);
    return arena_printf(a, "%s: %s%s: P=%.2f, costs %s", m->id, because(f, p), doubt(f, p), c->p,
                        cost);
}

/* What to change, by the code. */
static const char *relax(const struct route_facts *f, const struct route_plan *p)
{
    switch (p->code) {
    case ERR_POLICY:
        if (p->why == ROUTE_WHY_OFFLINE)
            return "go online, or pull a local model";
        return f->policy.private_only ? "pull a local model, or leave the preset private"
                                      : "pull a local model that can take it, or take out what is "
                                        "sensitive";
    case ERR_BUDGET: return "raise the budget, or limit the answer's length";
    case ERR_CONTEXT: return "shorten the prompt, or add a model with a larger context";
    case ERR_UNSUPPORTED: return "choose a model that can, or leave it out";
    case ERR_RATE: return "try again later";
    case ERR_CONNECT: return "start it, or add another model";
    case ERR_AUTH: return "set its provider's key";
    case ERR_NOT_FOUND: return "see `weir list` and `weir provider list`";
    default: return "pull a local model, or set a provider's key";
    }
}

const char *sentence_nothing(struct arena *a, const struct route_facts *f,
                             const struct route_plan *p)
{
    if (f->ncandidates == 0)
        return arena_printf(a, "no model may answer: there is none; %s", relax(f, p));
    if (p->code == ERR_NOT_FOUND)
        return arena_printf(a, "model '%.100s' not found; %s", f->policy.pinned, relax(f, p));
    struct buf b = BUF_INIT(600);
    size_t said = 0, hidden = 0;
    for (size_t i = 0; i < p->nremoved; i++) {
        const struct route_choice *c = &p->removed[i];
        if (c->removed == ROUTE_NOT_PINNED)
            continue;
        const char *id = f->candidates[c->candidate].id;
        if (said == 3 || b.n + strlen(id) + strlen(c->sentence) > 260) {
            hidden++;
            continue;
        }
        buf_printf(&b, "%s%.80s: %.180s", said ? "; " : "", id, c->sentence);
        said++;
    }
    if (hidden)
        buf_printf(&b, "; and %zu more", hidden);
    const char *text = buf_failed(&b)
                           ? NULL
                           : arena_printf(a, "no model may answer. %s. To change that: %s",
                                          b.p ? b.p : "", relax(f, p));
    buf_done(&b);
    return text;
}

/* Header values are ASCII without what would end or split them. */
static void put_token(struct buf *b, const char *s)
{
    for (size_t i = 0; s[i] && i < 80; i++) {
        char c = s[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._/:@+", c);
        buf_putc(b, plain ? c : '_');
    }
}

const char *sentence_header(struct arena *a, const struct route_facts *f,
                            const struct route_plan *p, size_t i)
{
    static const char *const zones[] = {"device", "site", "cloud"};
    struct buf b = BUF_INIT(400);
    if (i < p->nranked) {
        const struct route_choice *c = &p->ranked[i];
        const struct route_candidate *m = &f->candidates[c->candidate];
        buf_puts(&b, "model=");
        put_token(&b, m->id);
        buf_printf(&b, "; zone=%s; allowed=%s; why=%s; p=%.2f", zones[m->zone],
                   zones[f->policy.private_only ? GEN_DEVICE : f->request.zone],
                   route_why_name(p->why), c->p);
        if (i)
            buf_printf(&b, "; attempt=%zu", i + 1);
    } else {
        buf_printf(&b, "none; why=%s", route_why_name(p->why));
    }
    const char *text = buf_failed(&b) ? NULL : arena_printf(a, "%s", b.p);
    buf_done(&b);
    return text;
}
