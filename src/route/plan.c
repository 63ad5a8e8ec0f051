/* plan.c: owns the plan: remove, rank, name the reason. Pure: the same facts give the same plan.
 * Ties fall to the earlier candidate, so the order of the facts is part of them. Called by app/ for
 * every request, by `weir route`, and by route_replay. */
#include "route_int.h"

#include <math.h>

#define CANDIDATES_MAX 4096

static const char *const removed_names[] = {"kept",       "not-pinned", "zone",   "offline",
                                            "capability", "context",    "no-key", "budget",
                                            "quota",      "health"};
static const char *const why_names[] = {"pinned",  "only",    "privacy", "offline",  "budget",
                                        "quota",   "health",  "no-key",  "no-local", "capability",
                                        "context", "latency", "agent",   "suffices", "difficulty",
                                        "fresh",   "client",  "long",    "time",     "cost"};

const char *route_removed_name(enum route_removed r)
{
    return (size_t)r < sizeof removed_names / sizeof *removed_names ? removed_names[r] : "unknown";
}

const char *route_why_name(enum route_why w)
{
    return (size_t)w < sizeof why_names / sizeof *why_names ? why_names[w] : "unknown";
}

/* ---- the facts make sense ---- */

static bool sane(double x)
{
    return isfinite(x) && x >= -1e18 && x <= 1e18;
}

static int check_candidate(const struct route_candidate *c, size_t i, struct err *e)
{
    bool ok = c->id && c->id[0] && c->zone <= GEN_CLOUD && c->backend <= ROUTE_PROVIDER &&
              sane(c->prefill_tps) && sane(c->decode_tps) && sane(c->params) && sane(c->quality) &&
              c->queue_depth >= 0 && c->caps.context >= 0 && c->caps.max_output >= 0;
    const int64_t amounts[] = {c->price_input, c->price_cached, c->price_output, c->load_ms,
                               c->first_ms};
    for (size_t k = 0; k < 5; k++)
        ok = ok && (amounts[k] >= 0 || amounts[k] == ROUTE_UNKNOWN);
    return ok ? 0 : err_set_at(e, ERR_INVAL, i, "route: candidate %zu makes no sense", i);
}

static int check_facts(const struct route_facts *f, struct err *e)
{
    const struct route_request *r = &f->request;
    const struct route_weights *w = &f->policy.weights;
    if (f->ncandidates > CANDIDATES_MAX)
        return err_set(e, ERR_INVAL, "route: %zu candidates; at most %d", f->ncandidates,
                       CANDIDATES_MAX);
    const int64_t limit = INT64_C(1) << 40;
    bool ok = r->prompt_tokens >= 0 && r->prompt_tokens < limit && r->output_tokens >= 0 &&
              r->output_tokens < limit && r->max_output_tokens >= 0 &&
              r->max_output_tokens < limit && r->agent_steps >= 0 && r->zone <= GEN_CLOUD &&
              r->signals.message_words >= 0 && r->signals.task <= ROUTE_TASK_EXPERT;
    ok = ok && sane(w->quality) && sane(w->cost) && sane(w->time) && sane(w->leave_site) &&
         sane(w->leave_cloud);
    int64_t left = f->policy.budget_left;
    ok = ok && (left >= 0 || left == ROUTE_UNKNOWN);
    if (!ok)
        return err_set(e, ERR_INVAL, "route: the facts of the request or policy make no sense");
    int code = 0;
    for (size_t i = 0; code == 0 && i < f->ncandidates; i++)
        code = check_candidate(&f->candidates[i], i, e);
    return code;
}

/* ---- ranking ---- */

static enum route_removed first_obstacle(unsigned bits)
{
    for (int k = ROUTE_NOT_PINNED; k <= ROUTE_HEALTH; k++) {
        if (bits & 1u << k)
            return (enum route_removed)k;
    }
    return ROUTE_KEPT;
}

/* Insertion keeps equal scores in the facts' order; candidates are few. */
static void insert(struct route_choice *v, size_t n, struct route_choice c)
{
    while (n > 0 && v[n - 1].score < c.score) {
        v[n] = v[n - 1];
        n--;
    }
    v[n] = c;
}

static int weigh_all(struct arena *a, const struct route_facts *f, struct route_plan *p,
                     struct err *e)
{
    struct route_choice *ranked = arena_array(a, f->ncandidates + 1, sizeof *ranked);
    struct route_choice *removed = arena_array(a, f->ncandidates + 1, sizeof *removed);
    struct route_choice *best = arena_array(a, 1, sizeof *best);
    if (!ranked || !removed || !best)
        return err_set(e, ERR_NOMEM, "route: no memory for the plan");
    bool have = false;
    for (size_t i = 0; i < f->ncandidates; i++) {
        struct route_choice c = {0};
        estimate_choice(f, i, &c);
        c.obstacles = constraint_obstacles(f, &f->candidates[i]);
        c.removed = first_obstacle(c.obstacles);
        c.sentence = constraint_sentence(a, f, &f->candidates[i], c.removed);
        if (!c.sentence)
            return err_set(e, ERR_NOMEM, "route: no memory for the plan");
        if (c.removed == ROUTE_KEPT)
            insert(ranked, p->nranked++, c);
        else
            removed[p->nremoved++] = c;
        bool could = (c.obstacles & ~(1u << ROUTE_NO_KEY)) == 0;
        if (could && (!have || c.score > best->score)) {
            *best = c;
            have = true;
        }
    }
    p->ranked = ranked;
    p->removed = removed;
    p->would_be = have && best->removed == ROUTE_NO_KEY ? best : NULL;
    return 0;
}

/* ---- the reason ---- */

struct sides {
    bool here, away;             /* facts have candidates on this side at all */
    bool here_left, away_left;   /* and some are left */
    unsigned here_out, away_out; /* first obstacles of the removed ones */
    double here_p;               /* the best P of what is left here; 0 */
    double best_here_p;          /* with removed ones */
};

static bool is_away(const struct route_candidate *c)
{
    return c->zone == GEN_CLOUD;
}

/* What would have to be lifted first: of one that no key is there for, the key, whatever it could
 * not do with one. */
static enum route_removed reason_of(const struct route_choice *c)
{
    bool unable = c->removed == ROUTE_CAPABILITY || c->removed == ROUTE_CONTEXT;
    return unable && c->obstacles & 1u << ROUTE_NO_KEY ? ROUTE_NO_KEY : c->removed;
}

static void count_choice(const struct route_facts *f, const struct route_choice *c, struct sides *s)
{
    bool away = is_away(&f->candidates[c->candidate]);
    unsigned bit = 1u << reason_of(c);
    if (c->removed == ROUTE_KEPT) {
        s->away_left = s->away_left || away;
        s->here_left = s->here_left || !away;
        s->here_p = !away && c->p > s->here_p ? c->p : s->here_p;
    } else {
        *(away ? &s->away_out : &s->here_out) |= bit;
    }
    s->away = s->away || away;
    s->here = s->here || !away;
    s->best_here_p = !away && c->p > s->best_here_p ? c->p : s->best_here_p;
}

static struct sides count_sides(const struct route_facts *f, const struct route_plan *p)
{
    struct sides s = {0};
    for (size_t i = 0; i < p->nranked; i++)
        count_choice(f, &p->ranked[i], &s);
    for (size_t i = 0; i < p->nremoved; i++)
        count_choice(f, &p->removed[i], &s);
    return s;
}

/* Why a whole side is gone: the obstacle that would have to be lifted, strongest first. */
static enum route_why why_gone(unsigned out, enum route_why otherwise)
{
    static const struct {
        enum route_removed removed;
        enum route_why why;
    } all[] = {
        {ROUTE_ZONE, ROUTE_WHY_PRIVACY},    {ROUTE_OFFLINE, ROUTE_WHY_OFFLINE},
        {ROUTE_BUDGET, ROUTE_WHY_BUDGET},   {ROUTE_QUOTA, ROUTE_WHY_QUOTA},
        {ROUTE_HEALTH, ROUTE_WHY_HEALTH},   {ROUTE_CAPABILITY, ROUTE_WHY_CAPABILITY},
        {ROUTE_CONTEXT, ROUTE_WHY_CONTEXT}, {ROUTE_NO_KEY, ROUTE_WHY_NO_KEY},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (out & 1u << all[i].removed)
            return all[i].why;
    }
    return otherwise;
}

static enum route_why why_here(const struct route_facts *f, const struct route_plan *p,
                               const struct sides *s)
{
    const struct route_request *r = &f->request;
    if (!s->away_left)
        return s->away ? why_gone(s->away_out, ROUTE_WHY_ONLY)
                       : (r->zone < GEN_CLOUD || f->policy.private_only ? ROUTE_WHY_PRIVACY
                                                                        : ROUTE_WHY_NO_KEY);
    if (r->latency != ROUTE_NORMAL)
        return ROUTE_WHY_LATENCY;
    if (r->agent_steps >= ROUTE_AGENT_STEPS)
        return ROUTE_WHY_AGENT;
    return p->ranked[0].p >= estimate_need(r) ? ROUTE_WHY_SUFFICES : ROUTE_WHY_COST;
}

static enum route_why why_away(const struct route_facts *f, const struct sides *s)
{
    const struct route_request *r = &f->request;
    if (!s->here)
        return ROUTE_WHY_NO_LOCAL;
    if (!s->here_left)
        return why_gone(s->here_out, ROUTE_WHY_NO_LOCAL);
    if (r->signals.fresh)
        return ROUTE_WHY_FRESH;
    if (r->signals.client_facing)
        return ROUTE_WHY_CLIENT;
    if (s->here_p < estimate_need(r))
        return ROUTE_WHY_DIFFICULTY;
    return r->prompt_tokens >= ROUTE_LONG_TOKENS ? ROUTE_WHY_LONG : ROUTE_WHY_TIME;
}

static enum route_why reason(const struct route_facts *f, const struct route_plan *p)
{
    struct sides s = count_sides(f, p);
    if (f->policy.pinned && f->policy.pinned[0])
        return ROUTE_WHY_PINNED;
    bool away = is_away(&f->candidates[p->ranked[0].candidate]);
    return away ? why_away(f, &s) : why_here(f, p, &s);
}

/* ---- nothing is left ---- */

/* The nearest candidate decides: one that only lacks context says more than ten that privacy
 * forbids. Among candidates the zone allows, the first constraint all share by being met first. */
static int code_of(const struct route_facts *f, const struct route_plan *p, enum route_why *why)
{
    static const struct {
        enum route_removed removed;
        int code;
        enum route_why why;
    } order[] = {
        {ROUTE_BUDGET, ERR_BUDGET, ROUTE_WHY_BUDGET},
        {ROUTE_QUOTA, ERR_RATE, ROUTE_WHY_QUOTA},
        {ROUTE_HEALTH, ERR_CONNECT, ROUTE_WHY_HEALTH},
        {ROUTE_CONTEXT, ERR_CONTEXT, ROUTE_WHY_CONTEXT},
        {ROUTE_CAPABILITY, ERR_UNSUPPORTED, ROUTE_WHY_CAPABILITY},
        {ROUTE_NO_KEY, ERR_AUTH, ROUTE_WHY_NO_KEY},
        {ROUTE_OFFLINE, ERR_POLICY, ROUTE_WHY_OFFLINE},
        {ROUTE_ZONE, ERR_POLICY, ROUTE_WHY_PRIVACY},
    };
    *why = ROUTE_WHY_ONLY;
    unsigned first = 0;
    for (size_t i = 0; i < p->nremoved; i++)
        first |= 1u << p->removed[i].removed;
    bool pinned = f->policy.pinned && f->policy.pinned[0];
    if (pinned && (first & ~(1u << ROUTE_NOT_PINNED)) == 0)
        return ERR_NOT_FOUND;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (!(first & 1u << order[i].removed))
            continue;
        *why = order[i].why;
        /* A missing key is the caller's error only where that model was asked for. */
        return order[i].removed == ROUTE_NO_KEY && !pinned ? ERR_NO_ROUTE : order[i].code;
    }
    return ERR_NO_ROUTE;
}

/* ---- public ---- */

int route_plan_make(struct arena *a, const struct route_facts *f, struct route_plan *out,
                    struct err *e)
{
    struct route_plan p = {0};
    int code = check_facts(f, e);
    if (code == 0)
        code = weigh_all(a, f, &p, e);
    if (code)
        return code;
    p.difficulty = difficulty_of(&f->request);
    if (p.nranked) {
        p.why = reason(f, &p);
        p.sentence = sentence_decision(a, f, &p);
    } else {
        p.code = code_of(f, &p, &p.why);
        p.sentence = sentence_nothing(a, f, &p);
    }
    p.header = sentence_header(a, f, &p, 0);
    p.would_sentence = "";
    if (p.would_be)
        p.would_sentence = arena_printf(a, "with a key for %s it would go to %s (P=%.2f)",
                                        f->candidates[p.would_be->candidate].provider
                                            ? f->candidates[p.would_be->candidate].provider
                                            : "its provider",
                                        f->candidates[p.would_be->candidate].id, p.would_be->p);
    if (!p.sentence || !p.header || !p.would_sentence)
        return err_set(e, ERR_NOMEM, "route: no memory for the plan");
    *out = p;
    return 0;
}

const char *route_plan_header(struct arena *a, const struct route_facts *f,
                              const struct route_plan *p, size_t i)
{
    return sentence_header(a, f, p, i);
}

static const char *copy(struct arena *a, const char *z, bool *failed)
{
    char *own = z ? arena_strz(a, str_of(z)) : NULL;
    *failed = *failed || (z && !own);
    return own;
}

int route_plan_narrow(struct arena *a, struct route_facts *f, struct route_plan *p, struct err *e)
{
    struct route_candidate *candidates = arena_array(a, p->nranked, sizeof *candidates);
    struct route_choice *ranked = arena_array(a, p->nranked, sizeof *ranked);
    bool failed = !candidates || !ranked;
    for (size_t i = 0; !failed && i < p->nranked; i++) {
        struct route_candidate *c = &candidates[i];
        *c = f->candidates[p->ranked[i].candidate];
        c->id = copy(a, c->id, &failed);
        c->provider = copy(a, c->provider, &failed);
        c->model = copy(a, c->model, &failed);
        c->price_source = c->quality_source = c->health_note = NULL;
        ranked[i] = p->ranked[i];
        ranked[i].candidate = i;
        ranked[i].sentence = NULL;
    }
    struct route_plan narrow = *p;
    narrow.sentence = copy(a, p->sentence, &failed);
    narrow.header = copy(a, p->header, &failed);
    if (failed)
        return err_set(e, ERR_NOMEM, "route: no memory for the plan");
    narrow.ranked = ranked;
    narrow.removed = narrow.would_be = NULL;
    narrow.nremoved = 0;
    narrow.would_sentence = "";
    *p = narrow;
    f->candidates = candidates;
    f->ncandidates = p->nranked;
    f->request.zone_reason = f->policy.pinned = NULL;
    return 0;
}

int route_plan_error(const struct route_plan *p, struct err *e)
{
    return p->code ? err_set(e, p->code, "%s", p->sentence) : 0;
}
