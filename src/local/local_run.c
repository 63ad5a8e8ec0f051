/* local_run.c: one run: choices submitted to the engine, and their common end.
 *
 * The first choice of a prompt is submitted alone; the others follow when it has its first token,
 * for then its prompt is in the cache and they begin with it. No more than SIDE_BY_SIDE are in the
 * engine at a time, so that one request does not fill its queue. All but the first submission is
 * done on the engine's thread; after DONE or ERROR has been given to the sink the run may be
 * released by its owner at once, so nothing touches it any more. */
#include "local_run_int.h"

#include "clock.h"

#include <stdlib.h>

#define SIDE_BY_SIDE 8

static size_t per_prompt(const struct gen_run *r)
{
    return r->nchoices / r->prompt.nprompts;
}

/* ---- submitting ---- */

static enum engine_verdict on_token(void *ctx, const struct engine_token *t);
static void on_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err);

/* After 0 the run may be gone, if this is its only choice. */
static int submit(struct choice *c, struct err *e)
{
    struct gen_run *r = c->run;
    const struct local_text *p = &r->prompt.prompts[c->prompt];
    struct engine_job job = {
        .tokens = r->prompt.ids.p + p->from,
        .ntokens = p->n,
        .max_tokens = r->req->prompt_only ? 1 : r->req->max_tokens,
        .sampling = r->sampling.s,
        .end_ids = r->l->end_ids,
        .nend_ids = r->l->nend_ids,
        .grammar = r->grammar,
        .vocab = r->words,
        .on_token = on_token,
        .on_end = on_end,
        .ctx = c,
        .caller = r->req->caller,
        .group = per_prompt(r) > 1 ? r->group + c->prompt : 0,
    };
    job.sampling.seed += (uint64_t)c->index % per_prompt(r);
    return engine_submit(r->l->engine, &job, &c->er, e);
}

static bool may_follow(const struct gen_run *r, const struct choice *c)
{
    const struct choice *first = &r->choices[c->prompt * per_prompt(r)];
    return first == c || first->started || first->ended;
}

/* Those that may come next. A full queue is an error only where nothing else of this run is left to
 * come back here. */
static void submit_more(struct gen_run *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->submitted < r->nchoices && !r->failed.code && !atomic_load(&r->cancelled)) {
        struct choice *c = &r->choices[r->submitted];
        size_t inside = r->submitted - r->ended;
        struct err e = {0};
        if (inside >= SIDE_BY_SIDE || !may_follow(r, c))
            break;
        if (submit(c, &e) == 0)
            r->submitted++;
        else if (inside == 0 || e.code != ERR_OVERLOAD)
            r->failed = e;
        else
            break;
    }
    pthread_mutex_unlock(&r->lock);
}

/* ---- the engine's thread ---- */

static void cancel_all(struct gen_run *r)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->nchoices; i++)
        if (r->choices[i].er)
            engine_cancel(r->choices[i].er);
    pthread_mutex_unlock(&r->lock);
}

static enum engine_verdict on_token(void *ctx, const struct engine_token *t)
{
    struct choice *c = ctx;
    struct gen_run *r = c->run;
    r->verdict = GEN_GO;
    bool on = choice_token(c, t);
    if (r->verdict == GEN_CANCEL) {
        atomic_store(&r->cancelled, true);
        if (r->nchoices > 1)
            cancel_all(r);
        return ENGINE_STOP;
    }
    submit_more(r);
    if (!on)
        return ENGINE_STOP;
    return r->verdict == GEN_PAUSE ? ENGINE_PAUSE : ENGINE_GO;
}

/* ---- the end ---- */

int local_end_error(const struct gen_run *r, enum engine_end end, const struct engine_stats *s,
                    const struct err *err, struct err *out)
{
    if (end == ENGINE_END_ERROR) {
        *out = *err;
        return out->code;
    }
    if (end == ENGINE_END_CANCEL || atomic_load(&r->cancelled))
        return err_set(out, ERR_CANCELLED, "cancelled after %lld tokens", (long long)s->generated);
    return 0;
}

static void add_stats(struct engine_stats *sum, const struct engine_stats *s, bool first)
{
    sum->generated += s->generated;
    sum->guessed += s->guessed;
    sum->kept += s->kept;
    if (!first) /* of its prompt, which counts once */
        return;
    sum->prompt += s->prompt;
    sum->reused += s->reused;
    sum->prefill_ns += s->prefill_ns;
    if (!sum->queued_ns)
        sum->queued_ns = s->queued_ns;
}

/* What the caller had marked and had to be computed is in the cache now. */
int64_t local_cache_written(const struct gen_run *r, int64_t reused)
{
    int64_t marked = (int64_t)r->prompt.marked, n = marked - reused;
    return n > 0 ? n : 0;
}

static void tell_usage(struct gen_run *r)
{
    const struct engine_stats *s = &r->stats;
    int64_t reasoning = 0;
    int64_t all = (int64_t)(clock_mono_ns() - r->started_ns);
    int64_t before = (int64_t)(s->queued_ns + s->prefill_ns);
    for (size_t i = 0; i < r->nchoices; i++)
        reasoning += r->choices[i].reasoning;
    struct gen_event ev = {.type = GEN_EV_USAGE,
                           .usage = {.input = s->prompt,
                                     .cached = s->reused,
                                     .cache_write = local_cache_written(r, s->reused),
                                     .output = r->req->prompt_only ? 0 : s->generated,
                                     .reasoning = reasoning},
                           .times = {.queue = (int64_t)s->queued_ns,
                                     .prompt = (int64_t)s->prefill_ns,
                                     .write = r->nchoices == 1 ? (int64_t)s->decode_ns
                                              : all > before   ? all - before
                                                               : 0}};
    local_emit(r, &ev);
}

/* The last of its choices has ended. */
static void tell_end(struct gen_run *r)
{
    struct choice *c = &r->choices[0];
    bool bad = r->failed.code != 0, one = r->nchoices == 1;
    if (!bad)
        local_emit_start(r);
    tell_usage(r);
    struct err e = r->failed;
    struct gen_event last = {.type = bad ? GEN_EV_ERROR : GEN_EV_DONE,
                             .err = bad ? &e : NULL,
                             .reason = r->reason,
                             .text = one ? c->matched : STR_NONE,
                             .raw = one && !bad ? choice_raw(c) : STR_NONE};
    struct gen_sink sink = r->sink;
    sink.event(sink.ctx, &last); /* the run may be gone from here on */
}

static void end_choice(struct choice *c, enum engine_end end)
{
    struct gen_run *r = c->run;
    choice_finish(c);
    enum gen_reason reason = choice_reason(c, end);
    if (c->index == 0)
        r->reason = reason;
    struct gen_event ev = {.type = GEN_EV_CHOICE_END,
                           .index = c->index,
                           .reason = reason,
                           .text = c->matched,
                           .raw = choice_raw(c)};
    if (r->nchoices > 1)
        local_emit(r, &ev);
    if (r->verdict == GEN_CANCEL && r->nchoices > 1)
        atomic_store(&r->cancelled, true);
}

static void on_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err)
{
    struct choice *c = ctx;
    struct gen_run *r = c->run;
    struct err e = {0};
    r->verdict = GEN_GO;
    c->stats = *s;
    c->ended = true;
    add_stats(&r->stats, s, (size_t)c->index % per_prompt(r) == 0);
    if (r->nchoices == 1)
        r->stats.decode_ns = s->decode_ns;
    int rc = local_end_error(r, end, s, err, &e);
    if (!rc && c->hold.failed)
        rc = err_set(&e, ERR_NOMEM, "no memory for the answer's text");
    if (!rc)
        end_choice(c, end);
    if (!rc && atomic_load(&r->cancelled) && r->nchoices > 1)
        rc = err_set(&e, ERR_CANCELLED, "cancelled by the reader");
    pthread_mutex_lock(&r->lock);
    r->ended++;
    if (rc && !r->failed.code)
        r->failed = e;
    pthread_mutex_unlock(&r->lock);
    if (r->failed.code && r->nchoices > 1)
        cancel_all(r);
    submit_more(r);
    if (r->ended == r->submitted && (r->ended == r->nchoices || r->failed.code))
        tell_end(r);
}

/* ---- starting ---- */

static int make_choices(struct gen_run *r, struct err *e)
{
    size_t n = r->req->n > 1 ? (size_t)r->req->n : 1;
    r->nchoices = n * r->prompt.nprompts;
    r->choices = calloc(r->nchoices, sizeof *r->choices);
    bool ok = r->choices != NULL;
    for (size_t i = 0; ok && i < r->nchoices; i++) {
        struct choice *c = &r->choices[i];
        c->index = (int32_t)i;
        c->prompt = i / n;
        ok = choice_init(c, r);
    }
    return ok ? 0 : err_set(e, ERR_NOMEM, "no memory for %zu answers", r->nchoices);
}

static int make_writer(struct gen_run *r, struct err *e)
{
    int rc = local_sampling_make(r->l, r->req, &r->sampling, e);
    if (!rc)
        rc = make_choices(r, e);
    if (!rc)
        rc = local_grammar_make(r->l, r->prompt.face, r->req, r->prompt.thinks, &r->grammar, e);
    if (!rc && r->grammar)
        rc = local_words(r->l, &r->words, e);
    return rc;
}

/* All are looked at before the first is begun. */
static int check_lengths(const struct gen_run *r, struct err *e)
{
    size_t most = (size_t)engine_ctx(r->l->engine);
    for (size_t i = 0; i < r->prompt.nprompts; i++) {
        size_t n = r->prompt.prompts[i].n;
        if (n > most && r->prompt.nprompts == 1)
            return err_set(e, ERR_CONTEXT,
                           "the prompt has %zu tokens and the context holds %zu: %zu too many", n,
                           most, n - most);
        if (n > most)
            return err_set_at(e, ERR_CONTEXT, i,
                              "prompt[%zu]: has %zu tokens and the context holds %zu: %zu too many",
                              i, n, most, n - most);
    }
    return 0;
}

static struct gen_run *run_new(struct local *l, const struct gen_req *req, struct gen_sink sink)
{
    struct gen_run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->l = l;
    r->req = req;
    r->sink = sink;
    r->started_ns = clock_mono_ns();
    r->group = atomic_fetch_add(&l->groups, LOCAL_CHOICES);
    pthread_mutex_init(&r->lock, NULL);
    atomic_init(&r->cancelled, false);
    return r;
}

/* Takes what *p holds, if it succeeds. The run is known to its owner before the first event, and to
 * itself before the engine can end it. */
static int start(struct local *l, const struct gen_req *req, struct local_prompt *p,
                 struct gen_sink sink, struct gen_run **out, struct err *e)
{
    struct gen_run *r = run_new(l, req, sink), *before = *out;
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for a run");
    r->prompt = *p;
    bool rows = req->kind == GEN_EMBED;
    int rc = rows ? 0 : make_writer(r, e);
    if (!rc && !rows)
        rc = check_lengths(r, e);
    if (!rc) {
        *p = (struct local_prompt){0};
        *out = r;
        r->submitted = 1;
        rc = rows ? local_rows_submit(r, e) : submit(&r->choices[0], e);
        if (!rc)
            return 0;
        *out = before;
        *p = r->prompt;
    }
    r->prompt = (struct local_prompt){0};
    local_release(r);
    return rc;
}

int local_start(struct gen_backend *b, const struct gen_req *req, struct str model,
                struct gen_count *count, struct gen_sink sink, struct gen_run **out, struct err *e)
{
    struct local *l = (struct local *)b;
    struct local_prompt fresh = {0}, *p = count ? count->kept : NULL;
    struct gen_caps caps;
    int rc = b->ops->describe(b, model, &caps, e);
    if (!rc && !p)
        rc = local_prepare(l, req, true, &fresh, e);
    else if (!rc)
        rc = local_check(l, p->face, req, e);
    if (!rc)
        rc = start(l, req, p ? p : &fresh, sink, out, e);
    local_prompt_done(&fresh);
    if (!rc && p) {
        count->kept_free(p);
        count->kept = NULL;
    }
    return rc;
}

/* ---- from outside ---- */

void local_resume(struct gen_run *r)
{
    if (r->er)
        engine_resume(r->er);
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->nchoices; i++)
        if (r->choices[i].er)
            engine_resume(r->choices[i].er);
    pthread_mutex_unlock(&r->lock);
}

void local_cancel(struct gen_run *r)
{
    atomic_store(&r->cancelled, true);
    if (r->er)
        engine_cancel(r->er);
    cancel_all(r);
}

void local_release(struct gen_run *r)
{
    if (!r)
        return;
    engine_release(r->er);
    for (size_t i = 0; r->choices && i < r->nchoices; i++) {
        engine_release(r->choices[i].er);
        choice_done(&r->choices[i]);
    }
    free(r->choices);
    grammar_free(r->grammar);
    local_sampling_done(&r->sampling);
    local_prompt_done(&r->prompt);
    pthread_mutex_destroy(&r->lock);
    free(r->row);
    free(r);
}

const struct engine_stats *local_run_stats(const struct gen_run *run)
{
    return &run->stats;
}
