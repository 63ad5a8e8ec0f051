/* scheduler.c: who runs in the next step, and with how many tokens.
 *
 * One step is one batch over all runs that can go on: a run that decodes gives one token, the rest
 * of about 100 ms (by what steps have taken, pace.c) is filled with slices of prompts, in equal
 * parts for each caller. A step in which somebody decodes and that takes much longer than thought
 * is broken off, and one without prompts follows. Pages are had in
 * the order of arrival: a run that finds none takes them from the youngest, which is rebuilt later
 * from its tokens (to the same bits), so the oldest always goes on and there is no deadlock. Called
 * by the engine's thread only. */
#include "cache_int.h"

#include "clock.h"

static size_t remaining(const struct engine_run *r)
{
    return r->n - (size_t)model_seq_len(r->session->seq);
}

/* ---- ending ---- */

static void unlink_run(struct engine *en, struct engine_run *r)
{
    struct engine_run **at = &en->runs;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
}

static void fill_times(struct engine_run *r)
{
    uint64_t now = clock_mono_ns();
    struct engine_stats *s = &r->stats;
    s->queued_ns = (r->started ? r->started_ns : now) - r->submitted_ns;
    if (r->started)
        s->prefill_ns = (r->first_ns ? r->first_ns : now) - r->started_ns;
    if (r->first_ns)
        s->decode_ns = now - r->first_ns;
}

void scheduler_end(struct engine *en, struct engine_run *r, enum engine_end end,
                   const struct err *err)
{
    unlink_run(en, r);
    fill_times(r);
    if (!r->started)
        engine_note_started(en, r);
    cache_leave(en, r);
    if (r->session) {
        session_retire(en, r->session, r->tokens);
        r->tokens = NULL;
        r->session = NULL;
        en->active--;
    }
    embedding_close(r->embedding);
    engine_note_ended(en, r, end);
    engine_note_load(en);
    r->job.on_end(r->job.ctx, end, &r->stats, end == ENGINE_END_ERROR ? err : NULL);
    engine_run_unref(r);
}

/* ---- the batch ---- */

/* Pages for the next position of a run that decodes; false: it was the youngest and has to wait. */
static bool reserve_next(struct engine *en, struct engine_run *r)
{
    while (!session_reserve(en, r->session, (int32_t)r->n)) {
        struct engine_run *young = scheduler_youngest(en);
        scheduler_preempt(en, young);
        if (young == r)
            return false;
    }
    return true;
}

bool scheduler_decodes(const struct engine *en)
{
    for (const struct engine_run *r = en->runs; r; r = r->next)
        if (r->state == RUN_ACTIVE && !r->paused && remaining(r) <= 1)
            return true;
    return false;
}

static bool in_step(const struct engine_run *r)
{
    return r->state == RUN_ACTIVE && !r->paused;
}

/* Those that decode, the oldest first: one token each. */
static size_t give_decoding(struct engine *en, size_t *prefilling)
{
    size_t n = 0;
    *prefilling = 0;
    for (struct engine_run *r = en->runs; r; r = r->next) {
        r->slice = r->draft = 0;
        if (!in_step(r))
            continue;
        if (remaining(r) > 1)
            (*prefilling)++;
        else if (reserve_next(en, r))
            n += r->slice = 1;
    }
    return n;
}

/* How many tokens may still follow, guesses included: of those asked for, and of positions. */
static size_t room_left(const struct engine *en, const struct engine_run *r)
{
    size_t room = (size_t)en->ctx > r->n ? (size_t)en->ctx - r->n : 0;
    if (r->job.max_tokens > 0) {
        size_t asked = (size_t)(r->job.max_tokens - r->stats.generated);
        room = asked - 1 < room ? asked - 1 : room;
    }
    return room;
}

/* Guesses for those that decode, while no prompt waits. Pages for them are taken from nobody who
 * runs. */
static size_t give_guesses(struct engine *en, size_t decoding)
{
    size_t rows = (size_t)en->parallel > en->draft ? (size_t)en->parallel : en->draft + 1;
    size_t most = rows - decoding < en->draft ? rows - decoding : en->draft, left = most;
    for (struct engine_run *r = en->runs; r && left > 0; r = r->next) {
        size_t room = room_left(en, r);
        if (r->slice != 1)
            continue;
        size_t n = speculate(&r->speculation, r->tokens, r->n, room < left ? room : left);
        if (n == 0 || !session_reserve(en, r->session, (int32_t)(r->n + n)))
            continue;
        r->draft = n;
        r->slice += n;
        r->stats.guessed += (int64_t)n;
        left -= n;
    }
    return most - left;
}

/* A slice ends where a snapshot is due. */
static size_t top_up(const struct engine *en, struct engine_run *r, size_t most)
{
    size_t at = (size_t)model_seq_len(r->session->seq), left = remaining(r);
    left = session_stop(en, at, r->job.ntokens, left);
    left = left > r->slice ? left - r->slice : 0;
    size_t more = left < most ? left : most;
    r->slice += more;
    return more;
}

static size_t depth_of(const struct engine_run *r)
{
    return (size_t)model_seq_len(r->session->seq) + r->slice;
}

static bool reads_prompt(const struct engine_run *r)
{
    return in_step(r) && remaining(r) > 1;
}

/* How many of those whose prompt is read are the caller's; the first of its runs among them? */
static size_t of_caller(const struct engine *en, const struct engine_run *run, bool *first)
{
    size_t n = 0;
    *first = true;
    for (const struct engine_run *r = en->runs; r; r = r->next) {
        if (!reads_prompt(r) || r->job.caller != run->job.caller)
            continue;
        if (r == run && n > 0)
            *first = false;
        n++;
    }
    return n;
}

/* More tokens for a run, for so many nanoseconds, at most `room`. */
static void give(struct engine *en, struct engine_run *r, double ns, size_t *room, double *left)
{
    size_t depth = depth_of(r), most = ns > 0 ? pace_tokens(&en->pace, ns, depth) : 0;
    size_t more = top_up(en, r, most < *room ? most : *room);
    *room -= more;
    *left -= pace_more(&en->pace, (double)more, (double)more * ((double)depth + (double)more / 2));
}

/* Slices of prompts: equal parts of the time and of the batch for each caller, of these for each of
 * its runs, and what is left over to one after another, beginning with another one at each step. */
static void give_prefilling(struct engine *en, size_t room, double ns, size_t runs)
{
    size_t callers = 0, index = 0, begin = en->rotate++ % runs, whole = room;
    double left = ns;
    bool first;
    for (struct engine_run *r = en->runs; r; r = r->next)
        if (reads_prompt(r)) {
            of_caller(en, r, &first);
            callers += first;
        }
    for (struct engine_run *r = en->runs; r; r = r->next) {
        if (!reads_prompt(r))
            continue;
        /* Where a batch is full before the time is, its places are what is shared. */
        size_t n = callers * of_caller(en, r, &first), part = whole / n < room ? whole / n : room;
        size_t mine = part;
        give(en, r, ns / (double)n, &mine, &left);
        room -= part - mine;
    }
    double least = ns / 16; /* less is not worth a turn */
    for (int turn = 0; turn < 2; turn++, index = 0)
        for (struct engine_run *r = en->runs; r; r = r->next)
            if (reads_prompt(r) && (index++ >= begin) == (turn == 0) && left > least)
                give(en, r, left, &room, &left);
}

static size_t fill_items(struct engine *en)
{
    size_t n = 0;
    for (struct engine_run *r = en->runs; r; r = r->next) {
        if (!in_step(r))
            continue;
        size_t at = (size_t)model_seq_len(r->session->seq);
        for (size_t i = 0; i < r->slice; i++, at++)
            en->items[n++] = (struct model_item){
                .seq = r->session->seq, .token = r->tokens[at], .want = at + 1 >= r->n};
    }
    return n;
}

/* ---- after the batch ---- */

static bool ends_generation(const struct engine_run *r, int32_t id)
{
    for (size_t i = 0; i < r->job.nend_ids; i++)
        if (r->end_ids[i] == id)
            return true;
    return false;
}

/* Append the token, tell the owner, and see whether that was the end: false, the run is gone. */
static bool deliver(struct engine *en, struct engine_run *r, const struct engine_token *t)
{
    r->tokens[r->n++] = t->id;
    r->stats.generated++;
    if (!r->first_ns)
        r->first_ns = clock_mono_ns();
    atomic_store(&r->resumed, false);
    enum engine_verdict v = r->job.on_token(r->job.ctx, t);
    int end = -1;
    if (ends_generation(r, t->id))
        end = ENGINE_END_TOKEN;
    else if (v == ENGINE_STOP)
        end = ENGINE_END_STOP;
    else if (r->job.max_tokens > 0 && r->stats.generated >= r->job.max_tokens)
        end = ENGINE_END_LENGTH;
    else if (r->n > (size_t)en->ctx)
        end = ENGINE_END_CONTEXT;
    r->paused = v == ENGINE_PAUSE;
    if (end < 0)
        return true;
    scheduler_end(en, r, (enum engine_end)end, NULL);
    return false;
}

/* Greedy asks the grammar about one token first: only when that may not come is the mask made. */
static int32_t pick(struct engine *en, struct engine_run *r, const float *logits)
{
    const struct engine_sampling *p = &r->job.sampling;
    struct sampler_past past = {r->tokens, r->n, r->job.ntokens};
    int32_t id = -1;
    if (!r->grammar || sampler_is_argmax(p))
        id = sampler_pick(&en->sampler, logits, p, &past, NULL);
    if (!r->grammar || (id >= 0 && grammar_state_allows(r->grammar, id)))
        return id;
    return sampler_pick(&en->sampler, logits, p, &past, grammar_state_mask(r->grammar));
}

static void end_without_token(struct engine *en, struct engine_run *r, int32_t why)
{
    struct err e;
    if (why == SAMPLER_NONE_LEFT && grammar_state_may_end(r->grammar)) {
        scheduler_end(en, r, ENGINE_END_STOP, NULL);
        return;
    }
    if (why == SAMPLER_NONE_LEFT)
        err_set(&e, ERR_LIMIT,
                "no token of the vocabulary goes on with the grammar at position %zu", r->n - 1);
    else
        err_set(&e, ERR_FORMAT, "the model's output at position %zu is not a number", r->n - 1);
    scheduler_end(en, r, ENGINE_END_ERROR, &e);
}

/* The token of one row of logits; false: there is none, and the run has ended. */
static bool draw_token(struct engine *en, struct engine_run *r, const float *logits,
                       struct engine_token *t)
{
    const struct engine_sampling *p = &r->job.sampling;
    *t = (struct engine_token){.id = pick(en, r, logits), .reused = r->stats.reused};
    if (t->id >= 0 && r->grammar && !grammar_state_accept(r->grammar, t->id))
        t->id = SAMPLER_NONE_LEFT;
    if (t->id < 0) {
        model_seq_cut(r->session->seq, (int32_t)r->n);
        end_without_token(en, r, t->id);
        return false;
    }
    t->chosen.id = t->id;
    if (p->top_logprobs >= 0)
        sampler_logprobs(&en->sampler, logits, t->id, p->top_logprobs, t);
    return true;
}

/* The rows of a run: the first is its own, the others follow guesses and count as long as these
 * come true. Whatever the sequence holds past what was drawn is cut off before it is told. */
static void sample(struct engine *en, struct engine_run *r, const float *logits)
{
    size_t guessed = r->draft, kept = 0, vocab = (size_t)model_traits(en->m)->vocab;
    const int32_t *guess = r->tokens + r->n;
    for (size_t i = 0;; i++) {
        struct engine_token t;
        if (!draw_token(en, r, logits + i * vocab, &t))
            return;
        bool right = i < guessed && t.id == guess[i];
        if (!right)
            model_seq_cut(r->session->seq, (int32_t)r->n);
        kept += right;
        r->stats.kept += right;
        if (!right || i + 1 == guessed)
            speculate_note(&r->speculation, guessed, kept);
        if (!deliver(en, r, &t) || !right)
            return;
        if (r->paused) { /* goes on from here, with the logits of the token just told */
            model_seq_cut(r->session->seq, (int32_t)r->n - 1);
            return;
        }
    }
}

static double blend(double old, double now)
{
    return old > 0 ? 0.75 * old + 0.25 * now : now;
}

void scheduler_note_speed(struct engine *en, size_t decoding, size_t prefilled, uint64_t ns)
{
    double s = (double)ns / 1e9;
    if (s <= 0)
        return;
    if (prefilled == 0) {
        en->decode_tps = blend(en->decode_tps, (double)decoding / s);
        en->decode_ns = blend(en->decode_ns, (double)ns);
    } else if (prefilled >= 16 && prefilled >= 4 * decoding) {
        en->prefill_tps = blend(en->prefill_tps, (double)(prefilled + decoding) / s);
    }
}

static void end_batch(struct engine *en, const struct err *e)
{
    for (struct engine_run *r = en->runs, *next; r; r = next) {
        next = r->next;
        if (in_step(r) && r->slice > 0)
            scheduler_end(en, r, ENGINE_END_ERROR, e);
    }
}

/* Tokens of the batch and the positions they see, of all or of those of prompts only. */
static void count_batch(const struct engine *en, double *tokens, double *seen)
{
    *tokens = *seen = 0;
    for (const struct engine_run *r = en->runs; r; r = r->next) {
        if (!in_step(r) || r->slice == 0)
            continue;
        double n = (double)r->slice, at = (double)model_seq_len(r->session->seq);
        *tokens += n;
        *seen += n * (at + n / 2);
    }
}

/* What the prompts' part of a step may take. Where a step takes long whatever is in it, it has to
 * be worth it, and reading has to go on all the same. */
static double prefill_ns(struct engine *en, size_t decoding)
{
    double step = (en->hurried ? 0.5 : 1) * pace_vary(&en->pace) * ENGINE_STEP_NS, tokens, seen;
    double fixed = en->pace.fixed_ns, most = ENGINE_LIMIT_NS;
    /* Nobody's stream stops meanwhile, and who comes waits for no longer than a stream may. */
    if (decoding == 0 && 3 * fixed < step)
        return 2 * step - fixed;
    if (decoding == 0)
        return 2 * fixed < most ? 2 * fixed : most;
    count_batch(en, &tokens, &seen);
    double whole = 2 * fixed < step ? step : 2 * fixed < most ? 2 * fixed : most;
    double rest = whole - pace_cost(&en->pace, tokens, seen);
    return rest > step / 4 ? rest : step / 4;
}

/* When somebody decodes, a step with prompts that takes longer is broken off; 0: none is. */
uint64_t scheduler_limit(const struct engine *en, size_t prefilled)
{
    double most = 2 * en->decode_ns;
    if (prefilled <= ENGINE_SLICE_LEAST || !scheduler_decodes(en))
        return 0;
    return most > ENGINE_LIMIT_NS ? (uint64_t)most : ENGINE_LIMIT_NS;
}

/* The pass did not come to its end: true, and the step is over. */
static bool broken_off(struct engine *en, int rc, double tokens, double seen, uint64_t ns)
{
    if (rc != ERR_CANCELLED && rc != ERR_TIMEOUT)
        return false;
    double part = model_run_progress(en->fwd);
    for (int i = 0; i < 2 && rc == ERR_TIMEOUT && part > 0; i++) /* it counts for two */
        pace_learn(&en->pace, tokens, seen, (double)ns / part);
    en->hurried = rc == ERR_CANCELLED;
    en->decode_first = rc == ERR_TIMEOUT;
    return true;
}

static void after_batch(struct engine *en, const float *logits)
{
    for (struct engine_run *r = en->runs, *next; r; r = next) {
        next = r->next;
        if (!in_step(r) || r->slice == 0)
            continue;
        session_snapshot(en, r->session, r->job.ntokens);
        if ((size_t)model_seq_len(r->session->seq) < r->n)
            continue;
        size_t rows = 1 + r->draft;
        sample(en, r, logits);
        logits += rows * (size_t)model_traits(en->m)->vocab;
    }
}

/* A cancel breaks a pass off, but not two in a row: the one after it is short and comes to its end,
 * so that callers who come and go do not stop the others. */
bool scheduler_step(struct engine *en)
{
    size_t prefilling, decoding = give_decoding(en, &prefilling), room = (size_t)en->max_batch;
    bool read = prefilling > 0 && !(en->decode_first && decoding > 0);
    if (read)
        give_prefilling(en, room > decoding ? room - decoding : 0, prefill_ns(en, decoding),
                        prefilling);
    en->decode_first = false;
    size_t guesses = prefilling == 0 ? give_guesses(en, decoding) : 0;
    size_t n = fill_items(en), prefilled = n - decoding - guesses;
    if (n == 0)
        return false;
    const float *logits;
    struct err e = {0};
    double tokens, seen;
    count_batch(en, &tokens, &seen);
    model_run_limit(en->fwd, scheduler_limit(en, prefilled));
    uint64_t start_ns = clock_mono_ns();
    int rc = model_forward(en->fwd, en->items, n, en->hurried ? NULL : &en->interrupt, &logits, &e);
    uint64_t ns = clock_mono_ns() - start_ns;
    if (broken_off(en, rc, tokens, seen, ns))
        return true;
    en->hurried = false;
    if (rc) {
        end_batch(en, &e);
        return true;
    }
    scheduler_note_speed(en, decoding, prefilled, ns);
    pace_learn(&en->pace, tokens, seen, (double)ns);
    after_batch(en, logits);
    engine_note_load(en);
    return true;
}
