/* embed.c: runs that turn texts into rows instead of writing.
 *
 * A step takes one batch of one run, the longest unserved first, after the step of those that
 * write: neither holds the other up for longer than a batch. A batch is whole texts, or a slice of
 * one text that is longer than a step of a decoder should take; so at most one text is ever half
 * read, and pages are never waited for by two at once. An encoder reads a text in one piece and
 * needs no pages. Called by the engine's thread, but engine_embed. */
#include "engine_int.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>

struct embedding {
    struct engine_embed_job job; /* texts are the copies below */
    struct model_text *texts;
    int32_t *tokens;
    size_t next;                        /* the first text without a row */
    struct session open[ENGINE_EMBEDS]; /* of texts next, next + 1, ... */
    double *sum;                        /* of the text being read */
    float *row;
    bool stopped;    /* its owner wants no more */
    uint64_t served; /* the engine's count when it last had a batch */
};

void embedding_free(struct embedding *b)
{
    if (!b)
        return;
    free(b->texts);
    free(b->tokens);
    free(b->sum);
    free(b->row);
    free(b);
}

void embedding_close(struct embedding *b)
{
    for (size_t i = 0; b && i < ENGINE_EMBEDS; i++) {
        model_seq_free(b->open[i].seq);
        b->open[i].seq = NULL;
    }
}

/* ---- rows ---- */

static void tell(struct engine_run *r)
{
    struct embedding *b = r->embedding;
    size_t text = b->next++, width = (size_t)model_traits(r->en->m)->width;
    model_pool_end(b->job.pooling, b->sum, b->texts[text].n, width, b->row);
    if (!r->first_ns)
        r->first_ns = clock_mono_ns();
    atomic_store(&r->resumed, false);
    enum engine_verdict v = b->job.on_row(b->job.ctx, text, b->row, width);
    r->paused = v == ENGINE_PAUSE;
    b->stopped = v == ENGINE_STOP;
}

/* The rows of `count` texts, of the first from token `at` on; `n` rows in all. The last may not be
 * complete. */
static void take_rows(struct engine_run *r, const float *rows, size_t stride, size_t n, size_t at)
{
    struct embedding *b = r->embedding;
    size_t width = (size_t)model_traits(r->en->m)->width;
    while (n > 0 && !b->stopped) {
        size_t left = b->texts[b->next].n - at, take = left < n ? left : n;
        model_pool(b->job.pooling, at == 0, rows, stride, take, width, b->sum);
        if (take == left)
            tell(r);
        rows += take * stride;
        n -= take;
        at = 0;
    }
}

/* ---- encoders ---- */

static int encode(struct engine *en, struct engine_run *r, size_t *tokens, struct err *e)
{
    struct embedding *b = r->embedding;
    size_t n = 0, count = 0, stride;
    const float *rows;
    while (count < ENGINE_EMBEDS && b->next + count < b->job.ntexts &&
           n + b->texts[b->next + count].n <= (size_t)en->max_batch)
        n += b->texts[b->next + count++].n;
    int rc = model_encode(en->fwd, b->texts + b->next, count, &en->interrupt, &rows, &stride, e);
    if (rc)
        return rc;
    *tokens = n;
    take_rows(r, rows, stride, n, 0);
    return 0;
}

/* ---- decoders ---- */

/* A sequence for a text of the batch with pages up to `positions`. ERR_BUSY: there are none now. */
static int open_text(struct engine *en, struct session *s, size_t length, size_t positions,
                     bool first, struct err *e)
{
    bool fresh = !s->seq;
    int rc = fresh ? model_seq_new(en->kv, (int32_t)length, &s->seq, e) : 0;
    if (rc)
        return rc;
    while (!session_reserve(en, s, (int32_t)positions)) {
        if (first && scheduler_make_room(en))
            continue;
        if (fresh) {
            model_seq_free(s->seq);
            s->seq = NULL;
        }
        if (first && en->active == 0)
            return err_set(e, ERR_NOMEM, "the cache has no room for a text of %zu tokens", length);
        return ERR_BUSY;
    }
    return 0;
}

/* Tokens for the batch. */
static size_t budget(const struct engine *en, const struct embedding *b)
{
    size_t depth = b->open[0].seq ? (size_t)model_seq_len(b->open[0].seq) : 0;
    double ns = scheduler_decodes(en) ? ENGINE_EMBED_NS : ENGINE_STEP_NS;
    size_t n = pace_tokens(&en->pace, ns, depth), most = (size_t)en->max_batch;
    return n < most ? n : most;
}

/* Whole texts, or a slice of the first. How many are in the batch is in *count. */
static int fill_batch(struct engine *en, struct embedding *b, size_t *count, size_t *n,
                      struct err *e)
{
    size_t room = budget(en, b), used = 0, k = 0;
    int rc = 0;
    for (; k < ENGINE_EMBEDS && b->next + k < b->job.ntexts; k++) {
        const struct model_text *t = &b->texts[b->next + k];
        struct session *s = &b->open[k];
        size_t at = s->seq ? (size_t)model_seq_len(s->seq) : 0, take = t->n - at;
        if (take > room - used && k > 0)
            break;
        take = take < room - used ? take : room - used;
        rc = open_text(en, s, t->n, at + take, k == 0, e);
        if (rc)
            break;
        for (size_t i = 0; i < take; i++)
            en->items[used++] = (struct model_item){.seq = s->seq, .token = t->tokens[at + i]};
    }
    *count = k;
    *n = used;
    return k > 0 ? 0 : rc;
}

static int read_on(struct engine *en, struct engine_run *r, size_t *tokens, struct err *e)
{
    struct embedding *b = r->embedding;
    size_t count, n, stride, before = b->next;
    const float *rows;
    int rc = fill_batch(en, b, &count, &n, e);
    if (rc)
        return rc;
    size_t at = (size_t)model_seq_len(b->open[0].seq);
    double seen = (double)n * ((double)at + (double)n / 2 / (double)count);
    uint64_t start_ns = clock_mono_ns();
    model_run_limit(en->fwd, scheduler_limit(en, n));
    rc = model_hidden(en->fwd, en->items, n, &en->interrupt, &rows, &stride, e);
    double part = rc == ERR_TIMEOUT ? model_run_progress(en->fwd) : rc ? 0 : 1;
    if (part > 0)
        pace_learn(&en->pace, (double)n, seen, (double)(clock_mono_ns() - start_ns) / part);
    if (rc)
        return rc;
    *tokens = n;
    take_rows(r, rows, stride, n, at);
    /* What is half read goes on; a pause may last, and gives the pages back. */
    if (b->next > before || r->paused)
        embedding_close(b);
    return 0;
}

/* ---- a step ---- */

/* When the caller's runs had a batch last. */
static uint64_t caller_served(const struct engine *en, uint64_t caller)
{
    uint64_t last = 0;
    for (const struct engine_run *r = en->runs; r; r = r->next)
        if (r->state == RUN_EMBED && r->job.caller == caller && r->embedding->served > last)
            last = r->embedding->served;
    return last;
}

/* What is half read goes on; else the caller who was served longest ago, and of its runs the one
 * that was. */
static struct engine_run *whose_turn(struct engine *en)
{
    struct engine_run *best = NULL;
    uint64_t best_caller = 0;
    for (struct engine_run *r = en->runs; r; r = r->next) {
        if (r->state != RUN_EMBED || r->paused)
            continue;
        if (r->embedding->open[0].seq)
            return r;
        uint64_t caller = caller_served(en, r->job.caller);
        bool same = best && caller == best_caller;
        if (!best || caller < best_caller ||
            (same && r->embedding->served < best->embedding->served)) {
            best = r;
            best_caller = caller;
        }
    }
    return best;
}

static void end_if_done(struct engine *en, struct engine_run *r)
{
    if (r->embedding->stopped)
        scheduler_end(en, r, ENGINE_END_STOP, NULL);
    else if (r->embedding->next == r->embedding->job.ntexts)
        scheduler_end(en, r, ENGINE_END_LENGTH, NULL);
}

bool embed_step(struct engine *en)
{
    struct engine_run *r = whose_turn(en);
    struct err e = {0};
    size_t tokens = 0;
    if (!r)
        return false;
    if (!r->started) {
        r->started = true;
        r->started_ns = clock_mono_ns();
        engine_note_started(en, r);
    }
    uint64_t start_ns = clock_mono_ns();
    bool encoder = model_is_encoder(en->m);
    int rc = encoder ? encode(en, r, &tokens, &e) : read_on(en, r, &tokens, &e);
    if (rc == ERR_BUSY)
        return false;
    if (rc == ERR_CANCELLED || rc == ERR_TIMEOUT)
        return true;
    r->embedding->served = ++en->embed_steps;
    if (rc) {
        scheduler_end(en, r, ENGINE_END_ERROR, &e);
        return true;
    }
    scheduler_note_speed(en, 0, tokens, clock_mono_ns() - start_ns);
    end_if_done(en, r);
    engine_note_load(en);
    return true;
}

/* ---- submitting ---- */

static int check_texts(const struct engine *en, const struct engine_embed_job *job, size_t *total,
                       struct err *e)
{
    int32_t vocab = model_traits(en->m)->vocab;
    *total = 0;
    for (size_t i = 0; i < job->ntexts; i++) {
        const struct model_text *t = &job->texts[i];
        if (t->n < 1)
            return err_set_at(e, ERR_INVAL, i, "text %zu has no tokens", i);
        if (t->n > (size_t)en->ctx)
            return err_set_at(e, ERR_CONTEXT, i,
                              "text %zu has %zu tokens and the context holds %d: %zu too many", i,
                              t->n, en->ctx, t->n - (size_t)en->ctx);
        for (size_t k = 0; k < t->n; k++)
            if (t->tokens[k] < 0 || t->tokens[k] >= vocab)
                return err_set_at(e, ERR_INVAL, i,
                                  "token %d of text %zu is outside the vocabulary of %d",
                                  t->tokens[k], i, vocab);
        *total += t->n;
    }
    return 0;
}

static int check_job(const struct engine *en, const struct engine_embed_job *job, size_t *total,
                     struct err *e)
{
    enum model_pooling p = job->pooling ? job->pooling : model_pooling(en->m);
    if (job->ntexts < 1)
        return err_set(e, ERR_INVAL, "there is no text to embed");
    if (p == MODEL_POOL_RANK)
        return err_set(e, ERR_UNSUPPORTED, "a model that ranks texts gives no embeddings");
    return check_texts(en, job, total, e);
}

static struct embedding *copy_job(const struct engine *en, const struct engine_embed_job *job,
                                  size_t total)
{
    size_t width = (size_t)model_traits(en->m)->width, at = 0;
    struct embedding *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->job = *job;
    if (!b->job.pooling)
        b->job.pooling = model_pooling(en->m);
    b->texts = calloc(job->ntexts, sizeof *b->texts);
    b->tokens = malloc(total * sizeof *b->tokens);
    b->sum = calloc(width, sizeof *b->sum);
    b->row = calloc(width, sizeof *b->row);
    if (!b->texts || !b->tokens || !b->sum || !b->row) {
        embedding_free(b);
        return NULL;
    }
    for (size_t i = 0; i < job->ntexts; i++) {
        const struct model_text *t = &job->texts[i];
        b->texts[i] = (struct model_text){b->tokens + at, t->n};
        memcpy(b->tokens + at, t->tokens, t->n * sizeof *b->tokens);
        at += t->n;
    }
    b->job.texts = b->texts;
    return b;
}

int engine_embed(struct engine *en, const struct engine_embed_job *job, struct engine_run **out,
                 struct err *e)
{
    size_t total = 0;
    int rc = check_job(en, job, &total, e);
    if (rc)
        return rc;
    struct engine_run *r = calloc(1, sizeof *r);
    struct embedding *b = copy_job(en, job, total);
    if (!r || !b) {
        free(r);
        embedding_free(b);
        return err_set(e, ERR_NOMEM, "no memory for texts of %zu tokens", total);
    }
    atomic_init(&r->refs, 2);
    r->en = en;
    r->embedding = b;
    r->state = RUN_EMBED;
    r->job = (struct engine_job){.on_end = job->on_end, .ctx = job->ctx, .caller = job->caller};
    r->stats.prompt = (int64_t)total;
    r->submitted_ns = clock_mono_ns();
    return engine_enqueue(en, r, out, e);
}
