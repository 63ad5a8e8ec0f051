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

/* Everybody who waits for it hears. Those who hear of a failure hold nothing. */
static void tell_waiting(struct models *m, struct models_entry *en, int rc)
{
    for (struct models_wait *w = en->waiting; w;) {
        struct models_wait *next = w->next;
        if (rc)
            en->holds--;
        post_ready(m, w->ready, w->ctx, rc);
        free(w);
        w = next;
    }
    en->waiting = NULL;
    en->nwaiting = 0;
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

static struct local_params params_of(const struct models *m, const struct models_entry *en)
{
    const struct settings *s = m->h->s;
    struct local_params p = {.engine = {.threads = (int)s->threads,
                                        .ctx = (int32_t)s->ctx,
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
    struct local_params p = params_of(l->m, l->en);
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
    en->err = l->rc ? l->err : (struct err){0};
    en->load_ms = (int64_t)((clock_mono_ns() - l->began_ns) / 1000000);
    if (b)
        b->ops->describe(b, str_of(en->name), &en->caps, &e);
    if (l->rc)
        en->bytes_taken = 0;
    tell_waiting(l->m, en, l->rc);
    start_ticking(l->m);
    try_all(l->m);
    free(l);
}

/* What it takes: *fixed of weights and scratch, *least for one session, *most for all it may have.
 */
static int memory_of(const struct models *m, const struct models_entry *en, uint64_t *fixed,
                     uint64_t *least, uint64_t *most, struct err *e)
{
    struct local_params p = params_of(m, en);
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
    *fixed = need.weights + need.scratch;
    *least = need.kv_session;
    *most = need.kv_limit;
    return 0;
}

static int start_load(struct models *m, struct models_entry *en, uint64_t bytes, uint64_t cache)
{
    struct load *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(&en->err, ERR_NOMEM, "out of memory");
    *l = (struct load){.m = m, .en = en, .began_ns = clock_mono_ns(), .cache = cache};
    int rc = net_work(m->h->loop, load_work, load_done, l);
    if (rc) {
        free(l);
        return err_set(&en->err, rc, "cannot load %s: no worker", en->name);
    }
    en->loading = true;
    en->bytes_taken = bytes;
    return 0;
}

/* How much cache it gets: what it could use, but no more than half of what is free, so that another
 * model still finds room; one whole session at least. */
static uint64_t share_of(uint64_t room, uint64_t least, uint64_t most)
{
    uint64_t n = room / 2 < most ? room / 2 : most;
    return n < least ? least : n;
}

/* Load it if it fits beside the others, once idle ones have made room; 1: not yet, somebody busy
 * has its memory. */
static int admit(struct models *m, struct models_entry *en)
{
    uint64_t fixed, least, most, need, taken;
    int rc = memory_of(m, en, &fixed, &least, &most, &en->err);
    if (rc)
        return rc;
    need = fixed + least;
    if (need > m->budget)
        return err_set(&en->err, ERR_NOMEM,
                       "%s needs %llu MiB of memory and %llu MiB may be used (--memory, --ctx)",
                       en->name, (unsigned long long)(need >> 20),
                       (unsigned long long)(m->budget >> 20));
    while ((taken = models_taken(m)) + need > m->budget) {
        struct models_entry *idle = least_recent(m);
        if (idle)
            give_up(m, idle, "memory is wanted");
        if (!idle || any_leaving(m))
            return 1; /* left() comes back here, or whoever drops the busy one */
    }
    uint64_t cache = share_of(m->budget - taken - fixed, least, most);
    return start_load(m, en, fixed + cache, cache);
}

/* Those that wait for memory, in the order they came to wait. */
static void try_all(struct models *m)
{
    for (;;) {
        struct models_entry *first = NULL;
        for (struct models_entry *en = m->first; en; en = en->next)
            if (en->waiting && !en->loading && !en->local && !en->leaving &&
                (!first || en->used_ns < first->used_ns))
                first = en;
        int rc = first ? admit(m, first) : 1;
        if (rc == 1)
            return;
        if (rc)
            tell_waiting(m, first, rc);
    }
}

static void try_later(void *ctx)
{
    try_all(ctx);
}

/* ---- holding ---- */

void models_hold(struct models *m, struct models_entry *en, void (*ready)(void *ctx, int rc),
                 void *ctx)
{
    if (!en->waiting) /* one that waits keeps its place among those that do */
        en->used_ns = clock_mono_ns();
    en->holds++;
    if (en->local) {
        post_ready(m, ready, ctx, 0);
        return;
    }
    bool full = en->nwaiting >= WAITING_MAX;
    struct models_wait *w = full ? NULL : malloc(sizeof *w);
    if (!w) {
        en->holds--;
        post_ready(m, ready, ctx, full ? ERR_OVERLOAD : ERR_NOMEM);
        return;
    }
    en->nwaiting++;
    *w = (struct models_wait){en->waiting, ready, ctx};
    en->waiting = w;
    net_post(m->h->loop, try_later, m);
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
