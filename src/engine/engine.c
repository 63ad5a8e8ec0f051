/* engine.c: one loaded model's engine: its making and unmaking, its thread, and the calls any
 * thread may make. What a step does is scheduler.c's.
 *
 * The lock guards what callers and the thread share: the inbox, the counts and the flags that wake
 * the thread. It is never held across a callback or a forward pass. */
#include "engine_int.h"

#include "engine_memory_int.h"
#include "clock.h"

#include <stdlib.h>
#include <string.h>

#define PARALLEL_DEFAULT 8
#define PARALLEL_MAX 256

/* ---- the thread ---- */

static void poke(struct engine *en)
{
    pthread_mutex_lock(&en->lock);
    en->poked = true;
    pthread_cond_signal(&en->wake);
    pthread_mutex_unlock(&en->lock);
}

/* Wait for something to do, unless a step is due anyway; take what came in. False: quit. */
static bool take_inbox(struct engine *en, bool due)
{
    pthread_mutex_lock(&en->lock);
    while (!due && !en->poked)
        pthread_cond_wait(&en->wake, &en->lock);
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
    bool due = false;
    while (take_inbox(en, due)) {
        /* Cleared before the flags are read: a cancel that comes after the look sets it again. */
        atomic_store(&en->interrupt, false);
        look_at_flags(en, false);
        scheduler_admit(en);
        due = scheduler_step(en);
        due = embed_step(en) || due;
    }
    look_at_flags(en, true);
    return NULL;
}

/* ---- making ---- */

/* The largest batch whose scratch is small beside the weights, so that a small file never costs
 * much more than itself. */
static int batch_for(const struct model *m, int threads, int parallel)
{
    uint64_t most = model_weight_bytes(m) / 4 + (4u << 20);
    int batch = ENGINE_BATCH_MAX, least = parallel > ENGINE_BATCH_MIN ? parallel : ENGINE_BATCH_MIN;
    while (batch / 2 >= least && model_run_bytes(m, threads, batch, parallel) > most)
        batch /= 2;
    return batch > parallel + ENGINE_DRAFT ? batch : parallel + ENGINE_DRAFT;
}

/* A guess that does not come true is cut off again, which recurrent state does not allow. */
static bool can_guess(const struct model *m)
{
    const struct model_traits *t = model_traits(m);
    for (int32_t i = 0; t->kinds && i < t->layers; i++)
        if (t->kinds[i] == MODEL_LAYER_RECURRENT)
            return false;
    return true;
}

static size_t draft_of(const struct engine_params *p)
{
    if (p->draft < 0)
        return 0;
    return p->draft == 0 || p->draft > ENGINE_DRAFT ? ENGINE_DRAFT : (size_t)p->draft;
}

/* An encoder keeps nothing between batches. Its batch holds the longest text, or several. */
static int make_encoder(struct engine *en, const struct engine_params *p, struct err *e)
{
    int32_t ctx = model_traits(en->m)->ctx_train;
    ctx = ctx < MODEL_BATCH_MAX ? ctx : MODEL_BATCH_MAX;
    en->ctx = p->ctx > 0 && p->ctx < ctx ? p->ctx : ctx;
    en->max_batch = en->ctx > ENGINE_BATCH_MAX ? en->ctx : ENGINE_BATCH_MAX;
    int rc = pool_new(engine_threads(p->threads), &en->pool, e);
    if (rc)
        return rc;
    return model_run_new(en->m, en->pool, en->max_batch, ENGINE_EMBEDS, &en->fwd, e);
}

static int make_parts(struct engine *en, const struct engine_params *p, struct err *e)
{
    struct memory_plan plan;
    int threads = engine_threads(p->threads);
    int rc = memory_plan(en->m, p, en->kv_f32, en->parallel, &plan, e);
    if (rc)
        return rc;
    en->ctx = plan.ctx;
    en->draft = can_guess(en->m) ? draft_of(p) : 0;
    en->max_batch = batch_for(en->m, threads, en->parallel);
    en->max_sessions = en->parallel + ENGINE_CACHED;
    en->sessions = calloc((size_t)en->max_sessions, sizeof *en->sessions);
    en->items = calloc((size_t)en->max_batch, sizeof *en->items);
    if (!en->sessions || !en->items)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    rc = pool_new(threads, &en->pool, e);
    if (!rc)
        rc = model_kv_new(en->m, plan.kv_bytes, en->kv_f32, &en->kv, e);
    if (!rc)
        rc = model_run_new(en->m, en->pool, en->max_batch, en->parallel + (int)en->draft, &en->fwd,
                           e);
    if (!rc)
        rc = sampler_init(&en->sampler, model_traits(en->m)->vocab, en->ctx + 1, e);
    return rc;
}

int engine_new(struct model *m, const struct engine_params *p, struct engine **out, struct err *e)
{
    if (p->parallel < 0 || p->parallel > PARALLEL_MAX)
        return err_set(e, ERR_INVAL, "parallel must be 1 to %d, not %d", PARALLEL_MAX, p->parallel);
    if (p->ctx < 0 || p->ctx > MODEL_MAX_POSITIONS)
        return err_set(e, ERR_INVAL, "ctx must be 1 to %d, not %d", MODEL_MAX_POSITIONS, p->ctx);
    struct engine *en = calloc(1, sizeof *en);
    if (!en)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    en->m = m;
    en->kv_f32 = p->kv_f32;
    en->parallel = p->parallel > 0 ? p->parallel : PARALLEL_DEFAULT;
    en->inbox_end = &en->inbox;
    pthread_mutex_init(&en->lock, NULL);
    pthread_cond_init(&en->wake, NULL);
    int rc = model_is_encoder(m) ? make_encoder(en, p, e) : make_parts(en, p, e);
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
    session_drop_all(en);
    free(en->sessions);
    free(en->items);
    sampler_done(&en->sampler);
    model_run_free(en->fwd);
    model_kv_free(en->kv);
    pool_free(en->pool);
    model_free(en->m);
    pthread_mutex_destroy(&en->lock);
    pthread_cond_destroy(&en->wake);
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

/* ---- what others see ---- */

void engine_note_started(struct engine *en, struct engine_run *r)
{
    (void)r;
    pthread_mutex_lock(&en->lock);
    en->queued--;
    pthread_mutex_unlock(&en->lock);
}

void engine_note_load(struct engine *en)
{
    uint64_t page = model_kv_page_bytes(en->m, en->kv_f32);
    int pages = en->kv ? model_kv_pages(en->kv) : 0;
    int free_pages = en->kv ? model_kv_pages_free(en->kv) : 0;
    pthread_mutex_lock(&en->lock);
    en->load = (struct engine_load){
        .running = en->active,
        .queued = en->queued,
        .kv_used = (uint64_t)(pages - free_pages) * page,
        .kv_total = (uint64_t)pages * page,
        .prefill_tps = en->prefill_tps,
        .decode_tps = en->decode_tps,
    };
    pthread_mutex_unlock(&en->lock);
}

void engine_load_of(struct engine *en, struct engine_load *out)
{
    pthread_mutex_lock(&en->lock);
    *out = en->load;
    pthread_mutex_unlock(&en->lock);
}
