/* constraint.c: owns the hard constraints. A candidate with any obstacle is out, whatever it would
 * score; all obstacles are kept, the first in this order is the one that is said:
 * pinned, zone, offline, capability, context, key, budget, quota, health. Called by plan.c. */
#include "route_int.h"

#include <stdio.h>

static bool matches_pin(const struct route_policy *p, const struct route_candidate *c)
{
    if (!p->pinned || !p->pinned[0])
        return true;
    struct str pin = str_of(p->pinned);
    return str_is(pin, c->id) || (c->model && str_is(pin, c->model));
}

static bool has_kind(enum gen_kind k, const struct gen_caps *c)
{
    switch (k) {
    case GEN_CHAT: return c->chat;
    case GEN_RAW: return c->raw;
    case GEN_INFILL: return c->infill;
    case GEN_EMBED: return c->embed;
    case GEN_RERANK: return c->rerank;
    }
    return false;
}

static const char *kind_word(enum gen_kind k)
{
    switch (k) {
    case GEN_CHAT: return "chat";
    case GEN_RAW: return "raw completion";
    case GEN_INFILL: return "insert (filling in the middle)";
    case GEN_EMBED: return "embeddings";
    case GEN_RERANK: return "reranking";
    }
    return "this kind of request";
}

void constraint_missing(const struct route_request *r, const struct route_candidate *c, char *out,
                        size_t size)
{
    const struct {
        bool missing;
        const char *word;
    } all[] = {
        {!has_kind(r->kind, &c->caps), kind_word(r->kind)},
        {r->needs_tools && !c->caps.tools, "tools"},
        {r->needs_images && !c->caps.images, "images"},
        {r->needs_audio && !c->caps.audio, "audio"},
        {r->needs_documents && !c->caps.documents, "documents"},
        {r->needs_json && !c->caps.json && !c->caps.schema, "JSON output"},
        {r->needs_schema && !c->caps.schema, "a JSON schema"},
        {r->needs_logprobs && !c->caps.logprobs, "log-probabilities"},
        {r->needs_many && !c->caps.many, "n > 1"},
    };
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof all / sizeof *all && n + 1 < size; i++) {
        if (!all[i].missing)
            continue;
        int w = snprintf(out + n, size - n, "%s%s", n ? ", " : "", all[i].word);
        n += w > 0 ? (size_t)w : 0;
    }
}

/* A paid call under a budget needs a known price; an unknown one could be any. */
static bool over_budget(const struct route_facts *f, const struct route_candidate *c)
{
    const struct route_policy *p = &f->policy;
    bool free_of_charge = c->price_input == 0 && c->price_output == 0;
    if (free_of_charge)
        return false;
    if (p->store_failing)
        return true;
    if (p->budget_left == ROUTE_UNKNOWN)
        return false;
    struct route_facts one = *f;
    struct route_candidate copy = *c;
    struct route_choice choice = {0};
    one.candidates = &copy;
    one.ncandidates = 1;
    estimate_choice(&one, 0, &choice);
    return choice.cost_bound == ROUTE_UNKNOWN || choice.cost_bound > p->budget_left;
}

unsigned constraint_obstacles(const struct route_facts *f, const struct route_candidate *c)
{
    const struct route_request *r = &f->request;
    enum gen_zone zone = f->policy.private_only ? GEN_DEVICE : r->zone;
    char missing[128];
    constraint_missing(r, c, missing, sizeof missing);
    const struct {
        bool stands;
        enum route_removed why;
    } all[] = {
        {!matches_pin(&f->policy, c), ROUTE_NOT_PINNED},
        {c->zone > zone, ROUTE_ZONE},
        {f->policy.offline && !c->on_machine, ROUTE_OFFLINE},
        {missing[0] != '\0', ROUTE_CAPABILITY},
        /* Of texts to embed each has the context to itself: the model says which does not fit. */
        {r->kind != GEN_EMBED && c->caps.context > 0 && estimate_tokens_needed(r) > c->caps.context,
         ROUTE_CONTEXT},
        {c->no_key, ROUTE_NO_KEY},
        {over_budget(f, c), ROUTE_BUDGET},
        {c->limited_until_ms > f->policy.now_ms, ROUTE_QUOTA},
        {!c->healthy, ROUTE_HEALTH},
    };
    unsigned bits = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        bits |= all[i].stands ? 1u << all[i].why : 0;
    return bits;
}

static const char *zone_word(enum gen_zone z)
{
    return z == GEN_DEVICE ? "device" : z == GEN_SITE ? "site" : "cloud";
}

static const char *sentence_zone(struct arena *a, const struct route_facts *f,
                                 const struct route_candidate *c)
{
    if (f->policy.private_only)
        return arena_printf(a, "it is %s and the preset private keeps everything on this device",
                            zone_word(c->zone));
    const char *why = f->request.zone_reason;
    return arena_printf(a, "it is %s and this request may go no further than %s%s%.160s%s",
                        zone_word(c->zone), zone_word(f->request.zone), why ? " (" : "",
                        why ? why : "", why ? ")" : "");
}

static const char *sentence_budget(struct arena *a, const struct route_facts *f,
                                   const struct route_candidate *c)
{
    char most[32], left[32];
    if (f->policy.store_failing)
        return "the ledger cannot be written, so nothing paid goes out";
    struct route_facts one = *f;
    struct route_candidate copy = *c;
    struct route_choice choice = {0};
    one.candidates = &copy;
    one.ncandidates = 1;
    estimate_choice(&one, 0, &choice);
    sentence_money(f->policy.budget_left, left);
    if (choice.cost_bound == ROUTE_UNKNOWN)
        return arena_printf(a, "its price is unknown and a budget is set (%s left)", left);
    return arena_printf(a, "it can cost up to %s and %s of the month's budget is left",
                        sentence_money(choice.cost_bound, most), left);
}

static const char *sentence_quota(struct arena *a, const struct route_facts *f,
                                  const struct route_candidate *c)
{
    int64_t ms = c->limited_until_ms - f->policy.now_ms;
    return arena_printf(a, "%s rate limits it (429) for another %lld s",
                        c->provider ? c->provider : "its provider", (long long)((ms + 999) / 1000));
}

const char *constraint_sentence(struct arena *a, const struct route_facts *f,
                                const struct route_candidate *c, enum route_removed r)
{
    char missing[128];
    switch (r) {
    case ROUTE_KEPT: return "";
    case ROUTE_NOT_PINNED: return arena_printf(a, "the request asks for %.100s", f->policy.pinned);
    case ROUTE_ZONE: return sentence_zone(a, f, c);
    case ROUTE_OFFLINE: return "weir is offline and it is not on this machine";
    case ROUTE_CAPABILITY:
        constraint_missing(&f->request, c, missing, sizeof missing);
        return arena_printf(a, "it does not support %s", missing);
    case ROUTE_CONTEXT:
        return arena_printf(a, "the prompt and answer take %s%lld tokens, its context holds %lld",
                            f->request.prompt_exact ? "" : "about ",
                            (long long)estimate_tokens_needed(&f->request),
                            (long long)c->caps.context);
    case ROUTE_NO_KEY:
        return arena_printf(a, "no key for %s", c->provider ? c->provider : "its provider");
    case ROUTE_BUDGET: return sentence_budget(a, f, c);
    case ROUTE_QUOTA: return sentence_quota(a, f, c);
    case ROUTE_HEALTH:
        return arena_printf(a, "it does not answer%s%.120s", c->health_note ? ": " : "",
                            c->health_note ? c->health_note : "");
    }
    return "";
}
