/* cache_policy.c: what the prefix cache on disk keeps, and when it is asked.
 *
 * A finished session is written when the engine has had nothing to do for a second, when memory
 * runs short (before it is short: a session that is on disk goes at once), when a new session wants
 * its place, and when the engine ends. A session that grew a little since it was written is not
 * written again by the idle engine, so that a long conversation costs the disk a few times its
 * length and not its square.
 *
 * A job for which a file has more than memory does is started when the file has been read; the
 * others go on. It is then an ordinary finished session. All of this runs on the engine's thread,
 * but cache_close, after that has ended. */
#include "cache_int.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>

#define TAIL 16      /* tokens that are not worth another file */
#define EXPECTED 256 /* tokens for whose room an answer may wait beforehand */

/* ---- what is worth writing ---- */

/* Whether another session gives about the same. */
static bool is_covered(const struct engine *en, const struct session *s)
{
    int32_t len = model_seq_len(s->seq);
    for (int i = 0; i < en->max_sessions; i++) {
        const struct session *x = &en->sessions[i];
        if (x == s || !x->seq || !x->tokens || model_seq_len(x->seq) <= len)
            continue;
        if (session_common(x, s->tokens, (size_t)len) == len &&
            len - model_seq_reach(x->seq, len) < TAIL)
            return true;
    }
    return false;
}

static int32_t find_growth(const struct engine *en, const struct session *s)
{
    int32_t len = model_seq_len(s->seq);
    if (len < CACHE_LEAST || len - s->on_disk < TAIL || is_covered(en, s))
        return 0;
    return len - s->on_disk;
}

/* Tokens that only this session has, where they are worth a file; else 0. Looked for again when
 * sessions have come, gone or changed. */
static int32_t growth(const struct engine *en, struct session *s)
{
    if (!en->cache || !s->seq || !s->tokens || s->busy)
        return 0;
    if (s->growth_at != en->uses) {
        s->growth = find_growth(en, s);
        s->growth_at = en->uses;
    }
    return s->growth;
}

bool cache_wants(const struct engine *en, struct session *s)
{
    return s->saving || growth(en, s) > 0;
}

void cache_note_retired(struct engine *en, struct session *s)
{
    int32_t reach = 0, len = model_seq_len(s->seq);
    s->on_disk = 0;
    if (!en->cache || len < CACHE_LEAST)
        return;
    struct cache_file *x = cache_folder_find(en->cache->folder, s->tokens, len, 0, &reach);
    if (x)
        cache_file_put(en->cache->folder, x);
    s->on_disk = reach;
    s->growth_at = 0;
}

/* ---- what was asked for is done ---- */

/* What could not be written is not tried again; the session is of use in memory all the same. */
static void finish_write(struct cache *c)
{
    struct session *s = c->write.session;
    s->saving = s->wanted_out = false;
    if (c->write.rc != ERR_CANCELLED)
        s->on_disk = model_seq_len(s->seq);
    s->growth_at = 0;
    c->write.session = NULL;
}

static void finish_read(struct engine *en, struct cache_read *rd)
{
    struct cache *c = en->cache;
    struct engine_run *r = rd->run;
    int32_t length = model_seq_len(rd->session->seq);
    rd->file->reading = false;
    if (rd->rc) {
        session_drop(en, rd->session);
        free(rd->tokens);
        if (rd->rc != ERR_CANCELLED)
            cache_file_remove(c->folder, rd->file);
    } else {
        session_retire(en, rd->session, rd->tokens);
    }
    cache_file_put(c->folder, rd->file);
    if (r) {
        r->restore = NULL;
        r->restored = rd->rc ? 0 : length;
        r->looked = rd->rc == 0; /* after a damaged file the next best is looked for */
        r->state = RUN_WAITING;
        en->restoring--;
    }
    free(rd);
}

void cache_collect(struct engine *en)
{
    struct cache *c = en->cache;
    if (!c)
        return;
    if (c->write.session && cache_write_done(c, false)) {
        finish_write(c);
        engine_note_load(en);
    }
    for (struct cache_read *rd; (rd = cache_next_done(c));)
        finish_read(en, rd);
}

void cache_release(struct engine *en, struct session *s)
{
    if (!s->saving)
        return;
    atomic_store(&en->cache->write.cancel, true);
    cache_write_done(en->cache, true);
    finish_write(en->cache);
}

/* ---- before a run starts ---- */

/* Let go of idle sessions until so many bytes and a place are free. One that no file has yet is
 * waited for a while. */
static enum cache_answer make_space(struct engine *en, struct engine_run *r, uint64_t bytes,
                                    const struct session *keep)
{
    uint64_t now = clock_mono_ns();
    while (model_kv_total(en->kv) - model_kv_used(en->kv) < bytes || !session_has_place(en)) {
        struct session *old = session_oldest(en, keep);
        if (!old)
            return CACHE_GO;
        if (!cache_wants(en, old)) {
            session_drop(en, old);
            continue;
        }
        if (r->patience_ns == 0)
            r->patience_ns = now + CACHE_PATIENCE_NS;
        if (now >= r->patience_ns)
            return CACHE_GO;
        old->wanted_out = true;
        cache_wake_at(en->cache, r->patience_ns);
        return CACHE_WAIT;
    }
    return CACHE_GO;
}

static uint64_t need(const struct engine *en, int32_t positions)
{
    return model_kv_need(en->m, model_kv_cache(en->kv), positions, en->max_batch);
}

static bool begin_read(struct engine *en, struct engine_run *r, struct cache_file *x, int32_t reach)
{
    size_t bytes = (size_t)reach * sizeof *r->tokens;
    struct cache_read *rd = calloc(1, sizeof *rd);
    int32_t *tokens = malloc(bytes);
    struct session *s = NULL;
    if (!rd || !tokens || session_for_file(en, x->saved, reach, &s, NULL) != 0) {
        free(rd);
        free(tokens);
        return false;
    }
    memcpy(tokens, r->tokens, bytes);
    rd->file = x;
    rd->session = s;
    rd->tokens = tokens;
    rd->run = r;
    x->reading = true;
    r->restore = rd;
    r->state = RUN_RESTORING;
    en->restoring++;
    cache_ask_read(en->cache, rd);
    return true;
}

/* Whether a file has more than memory does, and if so, read it. */
static enum cache_answer look(struct engine *en, struct engine_run *r)
{
    struct cache *c = en->cache;
    int32_t n = (int32_t)r->n - 1, reach = 0;
    enum cache_answer a = CACHE_GO;
    if (n < CACHE_GAIN)
        return CACHE_GO;
    if (!cache_ready(c) && clock_mono_ns() < c->opened_ns + CACHE_OPEN_NS) {
        cache_wake_at(c, c->opened_ns + CACHE_OPEN_NS);
        return CACHE_WAIT;
    }
    int32_t have = session_longest(en, r->tokens, (size_t)n, NULL);
    struct cache_file *x =
        cache_folder_find(c->folder, r->tokens, n, have + CACHE_GAIN - 1, &reach);
    if (!x)
        return CACHE_GO;
    if (x->reading)
        a = CACHE_LATER;
    else if (make_space(en, r, need(en, reach), NULL) == CACHE_WAIT)
        a = CACHE_WAIT;
    else if (begin_read(en, r, x, reach))
        return CACHE_LATER; /* the read has the reference */
    cache_file_put(c->folder, x);
    return a;
}

/* Positions a run will want before long: while it decodes nothing is waited for. */
static int32_t expected(const struct engine *en, const struct engine_run *r)
{
    size_t more = KERN_PAGE + EXPECTED, room = (size_t)en->ctx - r->n;
    if (r->job.max_tokens > 0 && (uint64_t)r->job.max_tokens + KERN_PAGE < more)
        more = (size_t)r->job.max_tokens + KERN_PAGE;
    return (int32_t)(r->n + (more < room ? more : room));
}

enum cache_answer cache_prepare(struct engine *en, struct engine_run *r)
{
    if (!en->cache)
        return CACHE_GO;
    enum cache_answer a = r->looked ? CACHE_GO : look(en, r);
    if (a != CACHE_GO)
        return a;
    r->looked = true;
    struct session *best = NULL;
    int32_t have = session_longest(en, r->tokens, r->n - 1, &best);
    uint64_t more = need(en, expected(en, r)) - (have > 0 ? need(en, have) : 0);
    return make_space(en, r, more, best);
}

void cache_leave(struct engine *en, struct engine_run *r)
{
    if (!r->restore)
        return;
    r->restore->run = NULL;
    atomic_store(&r->restore->cancel, true);
    r->restore = NULL;
    en->restoring--;
}

/* ---- writing ---- */

void cache_wake_at(struct cache *c, uint64_t ns)
{
    c->wake_ns = ns < c->wake_ns ? ns : c->wake_ns;
}

/* Memory or places for sessions are about to run short. */
static bool is_tight(const struct engine *en)
{
    int used = 0;
    for (int i = 0; i < en->max_sessions; i++)
        used += en->sessions[i].seq != NULL;
    return model_kv_used(en->kv) > model_kv_total(en->kv) / 4 * 3 ||
           used > en->max_sessions / 4 * 3;
}

/* What is to be written next: what somebody waits for, else the oldest of what is due, so that the
 * latest is the last that the limit would take. */
static struct session *choose(struct engine *en, bool all, bool idle, bool tight)
{
    struct session *best = NULL;
    for (int i = 0; i < en->max_sessions; i++) {
        struct session *s = &en->sessions[i];
        int32_t more = growth(en, s);
        if (more == 0)
            continue;
        if (s->wanted_out)
            return s;
        bool due = all || tight || (idle && more >= model_seq_len(s->seq) / 8);
        if (due && (!best || s->used < best->used))
            best = s;
    }
    return best;
}

static void begin_write(struct cache *c, struct session *s)
{
    s->saving = true;
    c->write.session = s;
    c->write.seq = s->seq;
    c->write.tokens = s->tokens;
    atomic_store(&c->write.cancel, false);
    cache_ask_write(c);
}

static bool is_idle(const struct engine *en)
{
    return !en->runs;
}

uint64_t cache_tick(struct engine *en)
{
    struct cache *c = en->cache;
    if (!c)
        return UINT64_MAX;
    uint64_t now = clock_mono_ns(), wake = c->wake_ns;
    c->wake_ns = UINT64_MAX;
    if (!is_idle(en))
        c->idle_ns = 0;
    else if (c->idle_ns == 0)
        c->idle_ns = now;
    if (!c->write.session) {
        uint64_t due = c->idle_ns ? c->idle_ns + CACHE_IDLE_NS : UINT64_MAX;
        bool all = engine_flushing(en);
        struct session *s = choose(en, all, now >= due, is_tight(en));
        if (s)
            begin_write(c, s);
        else if (all)
            engine_note_flushed(en);
        if (!s && now < due && choose(en, false, true, false))
            wake = due < wake ? due : wake;
    }
    return wake == UINT64_MAX ? wake : wake > now ? wake - now : 1;
}

/* ---- making and ending ---- */

int cache_open(struct engine *en, const struct engine_params *p, struct err *e)
{
    if (!p->cache_dir || p->cache_bytes == 0)
        return 0;
    struct cache *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for a cache");
    c->en = en;
    c->opened_ns = clock_mono_ns();
    c->wake_ns = UINT64_MAX;
    c->limit = p->cache_bytes;
    int rc = cache_folder_open(p->cache_dir, p->cache_bytes, en->kv, en->ctx, &c->folder, e);
    if (!rc)
        rc = cache_start(c, e);
    if (rc) {
        cache_folder_free(c->folder);
        free(c);
        return rc;
    }
    en->cache = c;
    return 0;
}

static struct session *latest_wanted(struct engine *en)
{
    struct session *best = NULL;
    for (int i = 0; i < en->max_sessions; i++) {
        struct session *s = &en->sessions[i];
        if (growth(en, s) > 0 && (!best || s->used > best->used))
            best = s;
    }
    return best;
}

/* The latest first, in case there is no time for all, and no more than fit beside each other. */
static void write_all(struct engine *en)
{
    uint64_t bytes = 0;
    for (struct session *s; (s = latest_wanted(en));) {
        bytes += model_seq_file_bytes(s->seq);
        if (bytes <= en->cache->limit)
            cache_folder_write(en->cache->folder, s->seq, s->tokens, NULL, NULL);
        s->on_disk = model_seq_len(s->seq);
        s->growth_at = 0;
    }
}

void cache_close(struct engine *en)
{
    struct cache *c = en->cache;
    if (!c)
        return;
    cache_stop(c);
    if (c->write.session)
        finish_write(c);
    while (c->reads) {
        struct cache_read *rd = c->reads;
        c->reads = rd->next;
        rd->rc = rd->done ? rd->rc : ERR_CANCELLED;
        finish_read(en, rd);
    }
    write_all(en);
    cache_folder_free(c->folder);
    free(c);
    en->cache = NULL;
}
