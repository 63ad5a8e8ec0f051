/* models_load.c: local models loaded on demand, admitted by bytes and given up again. Opening maps
 * a file and starts an engine, closing joins it: both happen on a worker; everything else here is
 * the loop's. */
#include "models_int.h"

#include "clock.h"
#include "log.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 500
#define WAITING_MAX 64 /* requests for one model that is not loaded */
/* Of what is free at the start, left to others: a tenth, and no more than this. */
#define MEMORY_SPARE ((uint64_t)512 << 20)

/* A load under way; the entry outlives it because `loading` forbids dropping it. */
struct load {
    struct models *m;
    struct models_entry *en;
    struct local *local;
    struct err err;
    int rc;
    uint64_t began_ns, cache;
    int64_t asked; /* as the entry's */
};

/* What it takes with a context: bytes of weights and scratch, of one session, of all it may have.
 */
struct need {
    int64_t ctx, asked;
    uint64_t fixed, least, most;
};

struct leave {
    struct models *m;
    struct models_entry *en;
};

struct ready {
    void (*fn)(void *ctx, int rc);
    void *ctx;
    int rc;
};

/* ---- small facts ---- */

void models_load_init(struct models *m)
{
    struct fit_machine now;
    uint64_t asked = (uint64_t)m->h->s->memory << 20;
    if (asprintf(&m->cache_dir, "%s/cache", m->h->s->home) < 0)
        m->cache_dir = NULL;
    fit_memory(&now);
    uint64_t spare = now.memory_free / 10 < MEMORY_SPARE ? now.memory_free / 10 : MEMORY_SPARE;
    m->budget = asked ? asked : now.memory_free - spare;
}

uint64_t models_budget(const struct models *m)
{
    return m->budget;
}

uint64_t models_taken(const struct models *m)
{
    uint64_t n = 0;
    for (const struct models_entry *en = m->first; en; en = en->next)
        n += en->bytes_taken;
    return n;
}

bool models_is_held(const struct models_entry *en)
{
    return en->holds || en->loading || en->leaving || en->waiting;
}

int64_t models_default_keep(const struct models *m)
{
    int64_t minutes = m->h->s->keep_minutes;
    return minutes < 0 ? -1 : minutes * 60000;
}

static void call_ready(void *ctx)
{
    struct ready *r = ctx;
    r->fn(r->ctx, r->rc);
    free(r);
}

static void post_ready(struct models *m, void (*fn)(void *ctx, int rc), void *ctx, int rc)
{
    struct ready *r = malloc(sizeof *r);
    if (!r)
        abort(); /* a request would hang for ever */
    *r = (struct ready){fn, ctx, rc};
    net_post(m->h->loop, call_ready, r);
}

/* Those who wait for a context of more than `from` positions and no more than `to` hear. Who hears
 * of a failure holds nothing. */
static void tell(struct models *m, struct models_entry *en, int64_t from, int64_t to, int rc)
{
    for (struct models_wait **at = &en->waiting; *at;) {
        struct models_wait *w = *at;
        if (w->positions <= from || w->positions > to) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        en->nwaiting--;
        en->holds += rc == 0;
        post_ready(m, w->ready, w->ctx, rc);
        free(w);
    }
}

static void tell_all(struct models *m, struct models_entry *en, int rc)
{
    tell(m, en, -1, INT64_MAX, rc);
}

/* The longest context that a request finds in it. */
static int64_t context_had(const struct models_entry *en)
{
    return en->asked > en->caps.context ? en->asked : en->caps.context;
}

static int64_t most_wanted(const struct models_entry *en)
{
    int64_t most = 0;
    for (const struct models_wait *w = en->waiting; w; w = w->next)
        most = w->positions > most ? w->positions : most;
    return most;
}

/* ---- giving up ---- */

static void try_all(struct models *m);

static void leave_work(void *ctx)
{
    struct leave *l = ctx;
    local_free(l->en->leaving);
    malloc_trim(0); /* the vocabulary was many small pieces */
}

static void left(void *ctx)
{
    struct leave *l = ctx;
    l->en->leaving = NULL;
    l->en->bytes_taken = 0;
    try_all(l->m);
    free(l);
}

static void give_up(struct models *m, struct models_entry *en, const char *why)
{
    struct leave *l = malloc(sizeof *l);
    log_info("giving up %s: %s", en->name, why);
    en->leaving = en->local;
    en->local = NULL;
    en->unload = false;
    en->expires_ns = 0;
    en->keep_ms = models_default_keep(m);
    if (l)
        *l = (struct leave){m, en};
    if (l && net_work(m->h->loop, leave_work, left, l) == 0)
        return;
    free(l);
    local_free(en->leaving);
    en->leaving = NULL;
    en->bytes_taken = 0;
}

static bool is_idle(const struct models_entry *en)
{
    return en->local && en->holds == 0;
}

static struct models_entry *least_recent(struct models *m)
{
    struct models_entry *oldest = NULL;
    for (struct models_entry *en = m->first; en; en = en->next)
        if (is_idle(en) && (!oldest || en->used_ns < oldest->used_ns))
            oldest = en;
    return oldest;
}

static bool any_leaving(const struct models *m)
{
    for (const struct models_entry *en = m->first; en; en = en->next)
        if (en->leaving)
            return true;
    return false;
}

/* Idle models whose time is over go. */
static void on_tick(void *ctx)
{
    struct models *m = ctx;
    uint64_t now = clock_mono_ns();
    bool loaded = false;
    for (struct models_entry *en = m->first; en; en = en->next) {
        if (is_idle(en) && (en->unload || (en->expires_ns && now >= en->expires_ns)))
            give_up(m, en, en->unload ? "asked to" : "it was idle");
        loaded = loaded || en->local;
    }
    if (loaded)
        return;
    net_timer_free(m->timer);
    m->timer = NULL;
}

static void start_ticking(struct models *m)
{
    if (!m->timer)
        net_timer_new(m->h->loop, TICK_MS, TICK_MS, on_tick, m, &m->timer);
}

/* ---- loading ---- */

static struct local_params params_of(const struct models *m, const struct models_entry *en,
                                     int64_t asked)
{
    const struct settings *s = m->h->s;
    struct local_params p = {.engine = {.threads = (int)s->threads,
                                        .ctx = (int32_t)(asked ? asked : s->ctx),
                                        .parallel = (int)s->parallel,
                                        .draft = s->draft > 0 ? (int)s->draft : -1},
                             .name = str_of(en->name),
                             .tmpl = str_of(en->item.texts.template_text)};
    p.engine.cache_dir = m->cache_dir;
    p.engine.cache_bytes = (uint64_t)s->cache_disk << 20;
    model_cache_of(s->cache_type, &p.engine.cache);
    return p;
}

static void load_work(void *ctx)
{
    struct load *l = ctx;
    struct local_params p = params_of(l->m, l->en, l->asked);
    p.engine.kv_bytes = l->cache;
    l->rc = local_open(l->en->path, &p, &l->local, &l->err);
}

static void load_done(void *ctx)
{
    struct load *l = ctx;
    struct models_entry *en = l->en;
    struct gen_backend *b = l->rc ? NULL : local_backend(l->local);
    struct err e;
    en->loading = false;
    en->local = l->local;
    en->err = l->rc && !l->asked ? l->err : (struct err){0};
    if (l->rc && l->asked) /* with what the server gives it, it may still load */
        en->refused = l->err;
    en->asked = l->asked;
    en->load_ms = (int64_t)((clock_mono_ns() - l->began_ns) / 1000000);
    if (b)
        b->ops->describe(b, str_of(en->name), &en->caps, &e);
    if (l->rc)
        en->bytes_taken = 0;
    if (l->rc)
        tell_all(l->m, en, l->rc);
    else
        tell(l->m, en, -1, context_had(en), 0);
    start_ticking(l->m);
    try_all(l->m);
    free(l);
}

static int need_of(const struct models *m, const struct models_entry *en, int64_t asked,
                   struct need *out, struct err *e)
{
    struct local_params p = params_of(m, en, asked);
    struct engine_memory need;
    struct gguf *g = NULL;
    struct model *model = NULL;
    int rc = gguf_open(en->path, &g, e);
    if (rc)
        return rc;
    if ((rc = model_open(g, &model, e)) != 0) {
        gguf_close(g);
        return rc;
    }
    rc = engine_memory_of(model, &p.engine, &need, e);
    model_free(model);
    if (rc)
        return rc;
    *out = (struct need){.ctx = need.ctx,
                         .asked = asked,
                         .fixed = need.weights + need.scratch,
                         .least = need.kv_session,
                         .most = need.kv_limit};
    if (out->fixed + out->least > m->budget)
        return err_set(e, ERR_NOMEM,
                       "%s needs %llu MiB of memory and %llu MiB may be used, with a context of "
                       "%lld tokens (--memory, --ctx)",
                       en->name, (unsigned long long)((out->fixed + out->least) >> 20),
                       (unsigned long long)(m->budget >> 20), (long long)need.ctx);
    return 0;
}

static int start_load(struct models *m, struct models_entry *en, const struct need *n,
                      uint64_t cache)
{
    struct load *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(&en->err, ERR_NOMEM, "out of memory");
    *l = (struct load){
        .m = m, .en = en, .began_ns = clock_mono_ns(), .cache = cache, .asked = n->asked};
    int rc = net_work(m->h->loop, load_work, load_done, l);
    if (rc) {
        free(l);
        return err_set(&en->err, rc, "cannot load %s: no worker", en->name);
    }
    en->loading = true;
    en->bytes_taken = n->fixed + cache;
    return 0;
}

/* How much cache it gets: what it could use, but no more than half of what is free, so that another
 * model still finds room; one whole session at least. */
static uint64_t share_of(uint64_t room, uint64_t least, uint64_t most)
{
    uint64_t n = room / 2 < most ? room / 2 : most;
    return n < least ? least : n;
}

/* What to load it with: what the server gives it, or the longer context that somebody waits for.
 * Who waits for more than there can be hears that now. */
static int choose(struct models *m, struct models_entry *en, struct need *out)
{
    struct need own, longer;
    struct err why;
    int64_t want = most_wanted(en);
    int rc = need_of(m, en, 0, &own, &why);
    int64_t least = rc == 0 ? own.ctx : 0;
    if (want > least) {
        int more = need_of(m, en, want, &longer, &en->refused);
        if (more == 0) {
            *out = longer;
            return 0;
        }
        tell(m, en, en->local ? context_had(en) : least, INT64_MAX, more);
    }
    if (rc)
        en->err = why;
    else
        *out = own;
    return rc;
}

/* One that is loaded with less than somebody waits for makes room for itself with more. */
static void give_up_shorter(struct models *m, struct models_entry *en)
{
    struct need n;
    int64_t keep = en->keep_ms;
    struct err before = en->err;
    int rc = choose(m, en, &n);
    en->err = before; /* as it is, it works */
    if (rc == 0 && most_wanted(en) > context_had(en)) {
        give_up(m, en, "a longer context is wanted");
        en->keep_ms = keep;
    } else {
        tell_all(m, en, 0);
    }
}

/* Load it if it fits beside the others, once idle ones have made room; 1: not yet, somebody busy
 * has its memory. */
static int admit(struct models *m, struct models_entry *en)
{
    struct need n;
    uint64_t taken;
    int rc = choose(m, en, &n);
    if (rc || !en->waiting)
        return rc;
    while ((taken = models_taken(m)) + n.fixed + n.least > m->budget) {
        struct models_entry *idle = least_recent(m);
        if (idle)
            give_up(m, idle, "memory is wanted");
        if (!idle || any_leaving(m))
            return 1; /* left() comes back here, or whoever drops the busy one */
    }
    uint64_t cache = share_of(m->budget - taken - n.fixed, n.least, n.most);
    return start_load(m, en, &n, cache);
}

/* Somebody waits for it, and something can be done about that. */
static bool is_wanted(const struct models_entry *en)
{
    return en->waiting && !en->loading && !en->leaving && (!en->local || en->holds == 0);
}

/* Those that wait for memory, in the order they came to wait. */
static void try_all(struct models *m)
{
    for (;;) {
        struct models_entry *first = NULL;
        for (struct models_entry *en = m->first; en; en = en->next)
            if (is_wanted(en) && (!first || en->used_ns < first->used_ns))
                first = en;
        if (!first)
            return;
        if (first->local) {
            give_up_shorter(m, first);
            continue;
        }
        int rc = admit(m, first);
        if (rc == 1)
            return;
        if (rc)
            tell_all(m, first, rc);
    }
}

static void try_later(void *ctx)
{
    try_all(ctx);
}

/* ---- holding ---- */

/* No more than it was trained with; an encoder's texts have its own context always. */
static int64_t wanted(const struct models_entry *en, int64_t positions)
{
    if (positions <= 0 || !en->caps.raw)
        return 0;
    if (en->ctx > 0 && positions > en->ctx)
        positions = en->ctx;
    return positions < INT32_MAX ? positions : INT32_MAX;
}

void models_hold(struct models *m, struct models_entry *en, int64_t positions,
                 void (*ready)(void *ctx, int rc), void *ctx)
{
    positions = wanted(en, positions);
    if (!en->waiting) /* one that waits keeps its place among those that do */
        en->used_ns = clock_mono_ns();
    /* Nobody overtakes one who waits for a longer context, or its turn might never come. */
    if (en->local && !en->waiting && positions <= context_had(en)) {
        models_hold_again(m, en, ready, ctx);
        return;
    }
    bool full = en->nwaiting >= WAITING_MAX;
    struct models_wait *w = full ? NULL : malloc(sizeof *w);
    if (!w) {
        post_ready(m, ready, ctx, full ? ERR_OVERLOAD : ERR_NOMEM);
        return;
    }
    en->nwaiting++;
    *w = (struct models_wait){en->waiting, positions, ready, ctx};
    en->waiting = w;
    net_post(m->h->loop, try_later, m);
}

void models_hold_again(struct models *m, struct models_entry *en, void (*ready)(void *ctx, int rc),
                       void *ctx)
{
    en->holds++;
    post_ready(m, ready, ctx, 0);
}

void models_why(const struct models_entry *en, int rc, struct err *e)
{
    if (en->err.code == rc)
        *e = en->err;
    else if (en->refused.code == rc)
        *e = en->refused;
    else
        err_set(e, rc, "%s: %s", en->name,
                rc == ERR_OVERLOAD ? "too many requests wait for it to be loaded" : err_text(rc));
}

static void set_expiry(struct models *m, struct models_entry *en)
{
    uint64_t now = clock_mono_ns();
    en->expires_ns = en->keep_ms < 0 ? 0 : now + (uint64_t)en->keep_ms * 1000000;
    if (en->keep_ms == 0)
        en->unload = true;
}

static void idle_now(struct models *m, struct models_entry *en)
{
    set_expiry(m, en);
    if (is_idle(en) && en->unload)
        give_up(m, en, "asked to");
    try_all(m);
}

void models_drop(struct models *m, struct models_entry *en)
{
    en->holds--;
    en->used_ns = clock_mono_ns();
    if (en->holds == 0)
        idle_now(m, en);
}

void models_keep(struct models *m, struct models_entry *en, int64_t ms)
{
    en->keep_ms = ms;
    en->unload = false;
    if (is_idle(en))
        idle_now(m, en);
}

void models_unload(struct models *m, struct models_entry *en)
{
    en->unload = en->local || en->loading;
    if (is_idle(en))
        give_up(m, en, "asked to");
}
