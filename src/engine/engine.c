/* engine.c: one loaded model's engine: its making and unmaking, its thread, and the calls any
 * thread may make. What a step does is scheduler.c's.
 *
 * The lock guards what callers and the thread share: the inbox, the counts and the flags that wake
 * the thread. It is never held across a callback or a forward pass. */
#include "engine_int.h"

#include "cache_int.h"
#include "clock.h"
#include "engine_memory_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the thread ---- */

static void poke(struct engine *en)
{
    pthread_mutex_lock(&en->lock);
    en->poked = true;
    pthread_cond_signal(&en->wake);
    pthread_mutex_unlock(&en->lock);
}

/* en->wake counts by the monotonic clock. */
static struct timespec in_ns(uint64_t ns)
{
    struct timespec t;
    uint64_t at = clock_mono_ns() + ns;
    t.tv_sec = (time_t)(at / 1000000000);
    t.tv_nsec = (long)(at % 1000000000);
    return t;
}

/* Wait for something to do, but no longer than `wait` nanoseconds; take what came in. False:
 * quit. */
static bool take_inbox(struct engine *en, uint64_t wait)
{
    struct timespec until = in_ns(wait == UINT64_MAX ? 0 : wait);
    pthread_mutex_lock(&en->lock);
    while (wait > 0 && !en->poked) {
        if (wait == UINT64_MAX)
            pthread_cond_wait(&en->wake, &en->lock);
        else if (pthread_cond_timedwait(&en->wake, &en->lock, &until) != 0)
            break;
    }
    en->poked = false;
    struct engine_run **end = &en->runs;
    while (*end)
        end = &(*end)->next;
    *end = en->inbox;
    en->inbox = NULL;
    en->inbox_end = &en->inbox;
    bool quit = en->quit;
    pthread_mutex_unlock(&en->lock);
    return !quit;
}

static void look_at_flags(struct engine *en, bool quit)
{
    for (struct engine_run *r = en->runs, *next; r; r = next) {
        next = r->next;
        if (quit || atomic_load(&r->cancelled))
            scheduler_end(en, r, ENGINE_END_CANCEL, NULL);
        else if (r->paused && atomic_load(&r->resumed))
            r->paused = false;
    }
}

static void *work(void *arg)
{
    struct engine *en = arg;
    uint64_t wait = UINT64_MAX;
    while (take_inbox(en, wait)) {
        /* Cleared before the flags are read: a cancel that comes after the look sets it again. */
        atomic_store(&en->interrupt, false);
        look_at_flags(en, false);
        errands_run(en);
        cache_collect(en);
        scheduler_admit(en);
        bool due = scheduler_step(en);
        due = embed_step(en) || due;
        wait = cache_tick(en);
        wait = due ? 0 : wait;
    }
    look_at_flags(en, true);
    return NULL;
}

/* ---- making ---- */

/* What runs that write need; an encoder has none. */
static int make_sessions(struct engine *en, const struct engine_params *p,
                         const struct memory_plan *plan, struct err *e)
{
    en->max_sessions = en->parallel + ENGINE_CACHED;
    en->sessions = calloc((size_t)en->max_sessions, sizeof *en->sessions);
    en->items = calloc((size_t)en->max_batch, sizeof *en->items);
    en->slots = calloc((size_t)en->parallel, sizeof *en->slots);
    if (!en->sessions || !en->items || !en->slots)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    int rc = model_kv_new(en->m, plan->kv_bytes, p->cache, &en->kv, e);
    if (!rc)
        model_kv_set_slice(en->kv, en->max_batch);
    if (!rc)
        rc = sampler_init(&en->sampler, model_traits(en->m)->vocab, en->ctx + 1, e);
    return rc ? rc : cache_open(en, p, e);
}

static int make_parts(struct engine *en, const struct engine_params *p, struct err *e)
{
    struct memory_plan plan;
    int rc = memory_plan(en->m, p, &plan, e);
    if (rc)
        return rc;
    en->ctx = plan.ctx;
    en->parallel = plan.parallel;
    en->draft = plan.draft;
    en->max_batch = plan.batch;
    pace_init(&en->pace, en->m, plan.threads);
    rc = pool_new(plan.threads, &en->pool, e);
    if (!rc)
        rc = model_run_new(en->m, en->pool, plan.batch, plan.wanted, &en->fwd, e);
    en->scratch = model_run_bytes(en->m, plan.threads, plan.batch, plan.wanted);
    if (!model_is_encoder(en->m))
        en->scratch += sampler_bytes(model_traits(en->m)->vocab);
    return rc || model_is_encoder(en->m) ? rc : make_sessions(en, p, &plan, e);
}

int engine_new(struct model *m, const struct engine_params *p, struct engine **out, struct err *e)
{
    if (p->parallel < 0 || p->parallel > ENGINE_PARALLEL_MAX)
        return err_set(e, ERR_INVAL, "parallel must be 1 to %d, not %d", ENGINE_PARALLEL_MAX,
                       p->parallel);
    if (p->ctx < 0 || p->ctx > MODEL_MAX_POSITIONS)
        return err_set(e, ERR_INVAL, "ctx must be 1 to %d, not %d", MODEL_MAX_POSITIONS, p->ctx);
    struct engine *en = calloc(1, sizeof *en);
    if (!en)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    en->m = m;
    en->snapshots = model_needs_snapshots(m);
    en->inbox_end = &en->inbox;
    pthread_mutex_init(&en->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&en->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&en->served, NULL);
    int rc = make_parts(en, p, e);
    if (!rc) {
        engine_note_load(en);
        en->threaded = pthread_create(&en->thread, NULL, work, en) == 0;
        if (!en->threaded)
            rc = err_set(e, ERR_NOMEM, "cannot start the engine's thread");
    }
    if (rc) {
        en->m = NULL; /* the caller keeps it */
        engine_free(en);
        return rc;
    }
    *out = en;
    return 0;
}

void engine_free(struct engine *en)
{
    if (!en)
        return;
    if (en->threaded) {
        pthread_mutex_lock(&en->lock);
        en->quit = true;
        en->poked = true;
        pthread_cond_signal(&en->wake);
        pthread_mutex_unlock(&en->lock);
        atomic_store(&en->interrupt, true);
        pthread_join(en->thread, NULL);
    }
    cache_close(en);
    session_drop_all(en);
    free(en->sessions);
    free(en->items);
    free(en->slots);
    sampler_done(&en->sampler);
    model_run_free(en->fwd);
    model_kv_free(en->kv);
    pool_free(en->pool);
    model_free(en->m);
    pthread_mutex_destroy(&en->lock);
    pthread_cond_destroy(&en->wake);
    pthread_cond_destroy(&en->served);
    free(en);
}

const struct model *engine_model(const struct engine *en)
{
    return en->m;
}

int32_t engine_ctx(const struct engine *en)
{
    return en->ctx;
}

/* ---- runs ---- */

void engine_run_unref(struct engine_run *r)
{
    if (atomic_fetch_sub(&r->refs, 1) > 1)
        return;
    free(r->tokens);
    free(r->end_ids);
    free(r->bias);
    free(r->dry_breaks);
    grammar_state_free(r->grammar);
    embedding_free(r->embedding);
    free(r);
}

static int check_job(const struct engine *en, const struct engine_job *job, struct err *e)
{
    int32_t vocab = model_traits(en->m)->vocab;
    if (model_is_encoder(en->m))
        return err_set(e, ERR_UNSUPPORTED,
                       "a model of the family %s writes no text: it only gives embeddings",
                       model_traits(en->m)->family);
    if (job->ntokens < 1)
        return err_set(e, ERR_INVAL, "a prompt needs at least one token");
    if (job->ntokens > (size_t)en->ctx)
        return err_set(e, ERR_CONTEXT, "the prompt has %zu tokens and the context holds %d",
                       job->ntokens, en->ctx);
    for (size_t i = 0; i < job->ntokens; i++)
        if (job->tokens[i] < 0 || job->tokens[i] >= vocab)
            return err_set_at(e, ERR_INVAL, i, "token %d at %zu is outside the vocabulary of %d",
                              job->tokens[i], i, vocab);
    if (job->grammar && (!job->vocab || grammar_vocab_count(job->vocab) != vocab))
        return err_set(e, ERR_INVAL, "a grammar needs the model's vocabulary of %d", vocab);
    return sampler_check(&job->sampling, vocab, e);
}

static void *copy_of(const void *p, size_t n)
{
    void *out = calloc(1, n + 1);
    if (out && n > 0)
        memcpy(out, p, n);
    return out;
}

/* The lists of a job's sampling become the run's own. */
static bool copy_sampling(struct engine_run *r, int32_t vocab)
{
    struct engine_sampling *s = &r->job.sampling;
    size_t words = s->dry_breaks ? ((size_t)vocab + 63) / 64 : 0;
    r->bias = copy_of(s->bias, s->nbias * sizeof *s->bias);
    r->dry_breaks = words ? copy_of(s->dry_breaks, words * sizeof *s->dry_breaks) : NULL;
    s->bias = r->bias;
    s->dry_breaks = r->dry_breaks;
    return r->bias && (!words || r->dry_breaks);
}

/* Room for the whole answer, so that decoding allocates nothing. */
static struct engine_run *make_run(struct engine *en, const struct engine_job *job)
{
    size_t room = (size_t)en->ctx + 1 - job->ntokens;
    if (job->max_tokens > 0 && (uint64_t)job->max_tokens < room)
        room = (size_t)job->max_tokens;
    struct engine_run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    atomic_init(&r->refs, 2);
    r->en = en;
    r->job = *job;
    r->tokens = malloc((job->ntokens + room) * sizeof *r->tokens);
    r->end_ids = calloc(job->nend_ids + 1, sizeof *r->end_ids);
    if (!r->tokens || !r->end_ids || !copy_sampling(r, model_traits(en->m)->vocab)) {
        atomic_store(&r->refs, 1);
        engine_run_unref(r);
        return NULL;
    }
    memcpy(r->tokens, job->tokens, job->ntokens * sizeof *r->tokens);
    if (job->nend_ids > 0)
        memcpy(r->end_ids, job->end_ids, job->nend_ids * sizeof *r->end_ids);
    r->job.tokens = NULL;
    r->job.end_ids = NULL;
    r->n = job->ntokens;
    r->stats.prompt = (int64_t)job->ntokens;
    r->submitted_ns = clock_mono_ns();
    return r;
}

int engine_submit(struct engine *en, const struct engine_job *job, struct engine_run **out,
                  struct err *e)
{
    int rc = check_job(en, job, e);
    if (rc)
        return rc;
    struct engine_run *r = make_run(en, job);
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for a prompt of %zu tokens", job->ntokens);
    if (job->grammar)
        rc = grammar_state_new(job->grammar, job->vocab, &r->grammar, e);
    if (rc) {
        atomic_store(&r->refs, 1);
        engine_run_unref(r);
        return rc;
    }
    return engine_enqueue(en, r, out, e);
}

int engine_enqueue(struct engine *en, struct engine_run *r, struct engine_run **out, struct err *e)
{
    pthread_mutex_lock(&en->lock);
    bool full = en->queued >= ENGINE_QUEUE || en->quit;
    if (!full) {
        r->number = ++en->submitted;
        *out = r; /* before the thread can call back */
        *en->inbox_end = r;
        en->inbox_end = &r->next;
        en->queued++;
        en->load.queued = en->queued;
        en->poked = true;
        pthread_cond_signal(&en->wake);
    }
    pthread_mutex_unlock(&en->lock);
    if (full) {
        atomic_store(&r->refs, 1);
        engine_run_unref(r);
        return err_set(e, ERR_OVERLOAD, "%d requests are waiting already", ENGINE_QUEUE);
    }
    return 0;
}

void engine_resume(struct engine_run *r)
{
    atomic_store(&r->resumed, true);
    poke(r->en);
}

void engine_cancel(struct engine_run *r)
{
    atomic_store(&r->cancelled, true);
    atomic_store(&r->en->interrupt, true);
    poke(r->en);
}

void engine_release(struct engine_run *r)
{
    if (r)
        engine_run_unref(r);
}
