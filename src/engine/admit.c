/* admit.c: which waiting run starts next, and with which session.
 *
 * Turns go by caller: whoever has the fewest runs under way is next, of those the one who was
 * served longest ago, and of that caller's runs the oldest; so many jobs of one caller do not hold
 * up a single one of another. A run that finds no pages waits, and those behind it too, so that a
 * large one is not passed for ever; pages are had in the order of arrival.
 *
 * A run whose prompt begins like one that is being read waits for that one and shares its pages:
 * several choices over one prompt, or many prompts behind one long preamble, read it once. Called
 * by the engine's thread only. */
#include "cache_int.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>

/* Tokens worth waiting for, where the job's group does not say that they will come. */
#define SHARED_LEAST 64

/* ---- callers ---- */

static struct caller *caller_of(struct engine *en, uint64_t id)
{
    struct caller *old = NULL;
    for (int i = 0; i < en->ncallers; i++) {
        struct caller *c = &en->callers[i];
        if (c->id == id)
            return c;
        if (c->runs == 0 && (!old || c->turn < old->turn))
            old = c;
    }
    if (en->ncallers < ENGINE_CALLERS)
        old = &en->callers[en->ncallers++];
    if (!old) /* more callers than can be told apart */
        return &en->callers[0];
    *old = (struct caller){.id = id};
    return old;
}

/* How many runs each has: under way and waiting first, so that none loses its place. */
static void count_callers(struct engine *en)
{
    for (int i = 0; i < en->ncallers; i++)
        en->callers[i].runs = en->callers[i].active = 0;
    for (struct engine_run *r = en->runs; r; r = r->next) {
        if (r->state == RUN_EMBED)
            continue;
        struct caller *c = caller_of(en, r->job.caller);
        c->runs++;
        c->active += r->state == RUN_ACTIVE || r->state == RUN_RESTORING;
        r->caller = (int)(c - en->callers);
        r->skipped = false;
    }
}

static bool is_before(const struct caller *a, const struct caller *b)
{
    return a->active != b->active ? a->active < b->active : a->turn < b->turn;
}

static struct engine_run *next_waiting(struct engine *en)
{
    struct engine_run *best = NULL;
    for (struct engine_run *r = en->runs; r; r = r->next) {
        if (r->state != RUN_WAITING || r->paused || r->skipped)
            continue;
        if (!best || is_before(&en->callers[r->caller], &en->callers[best->caller]))
            best = r;
    }
    return best;
}

/* ---- pages ---- */

/* Back to waiting; its pages go. */
void scheduler_preempt(struct engine *en, struct engine_run *r)
{
    session_drop(en, r->session);
    r->session = NULL;
    r->state = RUN_WAITING;
    r->looked = false;
    r->slice = r->draft = 0;
    en->active--;
}

struct engine_run *scheduler_youngest(struct engine *en)
{
    struct engine_run *young = NULL;
    for (struct engine_run *r = en->runs; r; r = r->next)
        if (r->state == RUN_ACTIVE)
            young = r;
    return young;
}

static bool any_can_go_on(const struct engine *en)
{
    for (const struct engine_run *r = en->runs; r; r = r->next)
        if (r->state == RUN_ACTIVE && !r->paused)
            return true;
    return false;
}

bool scheduler_make_room(struct engine *en)
{
    struct engine_run *young = scheduler_youngest(en);
    if (!young || any_can_go_on(en))
        return false;
    scheduler_preempt(en, young);
    return true;
}

/* A run that cannot start leaves what it found for another try. */
static void give_back(struct engine *en, struct engine_run *r)
{
    size_t n = (size_t)model_seq_len(r->session->seq);
    int32_t *tokens = n > 0 ? malloc(n * sizeof *tokens) : NULL;
    if (tokens) {
        memcpy(tokens, r->tokens, n * sizeof *tokens);
        session_retire(en, r->session, tokens);
    } else {
        session_drop(en, r->session);
    }
    r->session = NULL;
}

/* ---- starting ---- */

/* The first place that no other run has. */
static int free_slot(const struct engine *en)
{
    for (int slot = 0;; slot++) {
        bool taken = false;
        for (const struct engine_run *r = en->runs; r; r = r->next)
            taken = taken || (r->state == RUN_ACTIVE && r->slot == slot);
        if (!taken)
            return slot;
    }
}

static void note_started(struct engine *en, struct engine_run *r, int32_t reused)
{
    struct caller *c = &en->callers[r->caller];
    c->active++;
    c->turn = ++en->turns;
    r->slot = free_slot(en);
    r->state = RUN_ACTIVE;
    en->active++;
    if (r->started)
        return;
    r->started = true;
    r->started_ns = clock_mono_ns();
    r->stats.reused = reused;
    r->stats.restored = r->restored < reused ? r->restored : reused;
    engine_note_started(en, r);
}

/* Session and pages for all of the run's tokens, or nothing. */
static int start(struct engine *en, struct engine_run *r, struct err *e)
{
    int32_t reused;
    int rc = session_sync(en, r->tokens, r->n, &r->session, &reused, e);
    if (rc)
        return rc;
    r->session->tokens = r->tokens;
    if (!session_reserve(en, r->session, (int32_t)r->n)) {
        give_back(en, r);
        return ERR_BUSY;
    }
    note_started(en, r, reused);
    return 0;
}

/* A run that finds no pages waits while others go on. When none can (all are paused), the youngest
 * gives its pages up. */
static bool start_or_wait(struct engine *en, struct engine_run *r)
{
    for (;;) {
        struct err e = {0};
        int rc = start(en, r, &e);
        if (rc == 0)
            return true;
        if (rc != ERR_BUSY) {
            scheduler_end(en, r, ENGINE_END_ERROR, &e);
            return true;
        }
        if (!scheduler_make_room(en))
            return false;
    }
}

/* ---- sharing what is being read ---- */

/* How many of r's tokens q will have when its prompt is read. */
static int32_t will_share(const struct engine *en, const struct engine_run *r,
                          const struct engine_run *q)
{
    size_t n = r->n - 1 < q->job.ntokens ? r->n - 1 : q->job.ntokens, i = 0;
    while (i < n && r->tokens[i] == q->tokens[i])
        i++;
    return session_reach_later(en, (int32_t)i, q->job.ntokens);
}

static bool waits_for_another(struct engine *en, const struct engine_run *r)
{
    int32_t have = -1;
    for (const struct engine_run *q = en->runs; q; q = q->next) {
        if (q->state != RUN_ACTIVE || q->paused ||
            (size_t)model_seq_len(q->session->seq) + 1 >= q->job.ntokens)
            continue;
        int32_t will = will_share(en, r, q);
        bool group = r->job.group != 0 && r->job.group == q->job.group;
        int32_t least = group ? 1 : SHARED_LEAST;
        if (will < least || will <= model_seq_len(q->session->seq))
            continue;
        if (have < 0)
            have = session_longest(en, r->tokens, r->n - 1, NULL);
        if (will - have >= least)
            return true;
    }
    return false;
}

void scheduler_admit(struct engine *en)
{
    count_callers(en);
    while (en->active + en->restoring < en->parallel) {
        struct engine_run *r = next_waiting(en);
        if (!r)
            return;
        if (waits_for_another(en, r)) {
            r->skipped = true;
            continue;
        }
        enum cache_answer a = cache_prepare(en, r);
        if (a == CACHE_WAIT || (a == CACHE_GO && !start_or_wait(en, r)))
            return;
        if (a == CACHE_LATER) {
            r->skipped = true;
            en->callers[r->caller].active += r->state == RUN_RESTORING;
        }
    }
}
