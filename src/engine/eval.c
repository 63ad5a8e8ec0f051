/* eval.c: measuring a model without an engine: logits, perplexity, speed.
 *
 * One sequence, driven straight through the forward pass; numbers only, nothing is printed. Called
 * by the command line's eval, bench and fit, and by tests. */
#include "engine.h"

#include "clock.h"
#include "engine_memory_int.h"

#include <math.h>

/* Logits of at most this many positions are held at a time. */
#define EVAL_BATCH 64
#define EVAL_LOGIT_BYTES (64u << 20)
#define BENCH_BATCH 256 /* near what a step of the engine takes; no slower than more */

/* A sequence, its pages, and what steps it. */
struct lane {
    struct pool *pool;
    struct model_kv *kv;
    struct model_seq *seq;
    struct model_run *run;
};

static void lane_done(struct lane *l)
{
    model_seq_free(l->seq);
    model_run_free(l->run);
    model_kv_free(l->kv);
    pool_free(l->pool);
}

static int lane_open(struct lane *l, const struct model *m, int threads, enum model_cache cache,
                     int32_t positions, int batch, int want, struct err *e)
{
    uint64_t bytes = model_kv_need(m, cache, positions, batch) + model_kv_snapshot_bytes(m, cache);
    *l = (struct lane){0};
    int rc = pool_new(engine_threads(threads), &l->pool, e);
    if (!rc)
        rc = model_kv_new(m, bytes, cache, &l->kv, e);
    if (!rc)
        model_kv_set_slice(l->kv, batch);
    if (!rc)
        rc = model_seq_new(l->kv, positions, &l->seq, e);
    if (!rc)
        rc = model_seq_reserve(l->seq, positions, e);
    if (!rc)
        rc = model_run_new(m, l->pool, batch, want, &l->run, e);
    if (rc)
        lane_done(l);
    return rc;
}

/* ---- logits ---- */

/* One batch of `count` tokens, all wanted, handed on row by row; `at` numbers the rows. */
static int eval_batch(struct lane *l, const struct model *m, const int32_t *tokens, size_t count,
                      size_t at, int (*row)(void *ctx, size_t i, const float *logits), void *ctx,
                      struct err *e)
{
    struct model_item items[EVAL_BATCH] = {0};
    const float *logits;
    for (size_t i = 0; i < count; i++)
        items[i] = (struct model_item){.seq = l->seq, .token = tokens[i], .want = true};
    int rc = model_forward(l->run, items, count, NULL, &logits, e);
    for (size_t i = 0; !rc && i < count; i++)
        rc = row(ctx, at + i, logits + i * (size_t)model_traits(m)->vocab);
    return rc;
}

/* The list in windows of at most `window` tokens, each from an empty cache. */
static int eval_windows(const struct model *m, int threads, enum model_cache cache,
                        const int32_t *tokens, size_t n, size_t window,
                        int (*row)(void *ctx, size_t i, const float *logits), void *ctx,
                        struct err *e)
{
    if (n < 1 || window > MODEL_MAX_POSITIONS)
        return err_set(e, ERR_INVAL, "%zu tokens: 1 to %d are possible", n, MODEL_MAX_POSITIONS);
    struct lane l;
    size_t row_bytes = (size_t)model_traits(m)->vocab * sizeof(float);
    size_t batch = EVAL_LOGIT_BYTES / row_bytes;
    batch = batch < 1 ? 1 : batch > EVAL_BATCH ? EVAL_BATCH : batch;
    int rc = lane_open(&l, m, threads, cache, (int32_t)window, (int)batch, (int)batch, e);
    if (rc)
        return rc;
    for (size_t at = 0, in_window = 0; !rc && at < n;) {
        size_t count = n - at < batch ? n - at : batch;
        if (count > window - in_window)
            count = window - in_window;
        rc = model_seq_reserve(l.seq, (int32_t)(in_window + count), e);
        if (!rc)
            rc = eval_batch(&l, m, tokens + at, count, at, row, ctx, e);
        at += count;
        in_window += count;
        if (in_window == window) {
            model_seq_cut(l.seq, 0);
            in_window = 0;
        }
    }
    lane_done(&l);
    return rc;
}

int engine_eval_logits(const struct model *m, int threads, enum model_cache cache,
                       const int32_t *tokens, size_t n,
                       int (*row)(void *ctx, size_t i, const float *logits), void *ctx,
                       struct err *e)
{
    return eval_windows(m, threads, cache, tokens, n, n, row, ctx, e);
}

/* ---- perplexity ---- */

struct likelihood {
    const int32_t *tokens;
    size_t n, window, scored;
    int32_t vocab;
    double sum;
};

static int score(void *ctx, size_t i, const float *logits)
{
    struct likelihood *s = ctx;
    if (i + 1 >= s->n || (i + 1) % s->window == 0)
        return 0;
    double most = -INFINITY, mass = 0;
    for (int32_t j = 0; j < s->vocab; j++)
        most = (double)logits[j] > most ? (double)logits[j] : most;
    for (int32_t j = 0; j < s->vocab; j++)
        mass += exp((double)logits[j] - most);
    s->sum += most + log(mass) - (double)logits[s->tokens[i + 1]];
    s->scored++;
    return 0;
}

int engine_eval_perplexity(const struct model *m, int threads, enum model_cache cache,
                           const int32_t *tokens, size_t n, double *out, struct err *e)
{
    const struct model_traits *t = model_traits(m);
    if (n < 2)
        return err_set(e, ERR_INVAL, "perplexity needs at least two tokens");
    struct likelihood s = {.tokens = tokens, .n = n, .vocab = t->vocab};
    s.window = n < (size_t)t->ctx_train ? n : (size_t)t->ctx_train;
    int rc = eval_windows(m, threads, cache, tokens, n, s.window, score, &s, e);
    if (rc)
        return rc;
    if (s.scored == 0)
        return err_set(e, ERR_INVAL, "a context of one token has nothing to score");
    *out = exp(s.sum / (double)s.scored);
    return 0;
}

/* ---- speed ---- */

/* Any tokens will do: what is measured does not depend on them. */
static int32_t bench_token(const struct model *m, int32_t position)
{
    return (int32_t)((uint32_t)position * 2654435761u % (uint32_t)model_traits(m)->vocab);
}

/* n more tokens, `step` at a time. */
static int advance(struct lane *l, const struct model *m, int32_t n, int32_t step, struct err *e)
{
    struct model_item items[BENCH_BATCH];
    const float *logits;
    while (n > 0) {
        int32_t count = n < step ? n : step, at = model_seq_len(l->seq);
        for (int32_t i = 0; i < count; i++)
            items[i] = (struct model_item){
                .seq = l->seq, .token = bench_token(m, at + i), .want = i + 1 == n || step == 1};
        int rc = model_forward(l->run, items, (size_t)count, NULL, &logits, e);
        if (rc)
            return rc;
        n -= count;
    }
    return 0;
}

/* Once unmeasured (a part of it), once measured, from the same depth. */
static int timed(struct lane *l, const struct model *m, int32_t depth, int32_t n, int32_t step,
                 double *tps, struct err *e)
{
    int32_t warm = step == 1 && n > 4 ? 4 : n;
    int rc = advance(l, m, warm, step, e);
    model_seq_cut(l->seq, depth);
    if (!rc)
        rc = model_seq_reserve(l->seq, depth + n, e);
    uint64_t start = clock_mono_ns();
    if (!rc)
        rc = advance(l, m, n, step, e);
    uint64_t ns = clock_mono_ns() - start;
    model_seq_cut(l->seq, depth);
    if (!rc)
        *tps = (double)n * 1e9 / (double)(ns ? ns : 1);
    return rc;
}

int engine_bench(const struct model *m, int threads, enum model_cache cache, int32_t depth,
                 int32_t nprefill, int32_t ndecode, struct engine_speed *out, struct err *e)
{
    int32_t more = nprefill > ndecode ? nprefill : ndecode;
    if (depth < 0 || nprefill < 0 || ndecode < 0 || more < 1 || depth > MODEL_MAX_POSITIONS - more)
        return err_set(e, ERR_INVAL, "depth and tokens must be 0 to %d together",
                       MODEL_MAX_POSITIONS);
    struct lane l;
    struct engine_speed speed = {0};
    int rc = lane_open(&l, m, threads, cache, depth + more, BENCH_BATCH, 1, e);
    if (rc)
        return rc;
    rc = advance(&l, m, depth, BENCH_BATCH, e);
    if (!rc && depth > 0)
        rc = model_seq_snapshot(l.seq, depth, e);
    if (!rc && nprefill > 0)
        rc = timed(&l, m, depth, nprefill, BENCH_BATCH, &speed.prefill_tps, e);
    if (!rc && ndecode > 0) {
        rc = model_seq_reserve(l.seq, depth + ndecode, e);
        if (!rc)
            rc = timed(&l, m, depth, ndecode, 1, &speed.decode_tps, e);
    }
    lane_done(&l);
    if (!rc)
        *out = speed;
    return rc;
}

/* ---- several sessions at once ---- */

#define BENCH_SESSIONS 64

/* One token for each of n sequences. */
static int step_all(struct lane *l, const struct model *m, struct model_seq *const *seqs, int n,
                    struct err *e)
{
    struct model_item items[BENCH_SESSIONS];
    const float *logits;
    for (int i = 0; i < n; i++)
        items[i] = (struct model_item){
            .seq = seqs[i], .token = bench_token(m, model_seq_len(seqs[i]) + 97 * i), .want = true};
    return model_forward(l->run, items, (size_t)n, NULL, &logits, e);
}

static int timed_steps(struct lane *l, const struct model *m, struct model_seq *const *seqs,
                       int sessions, int32_t n, double *tps, struct err *e)
{
    int rc = step_all(l, m, seqs, sessions, e); /* warm */
    uint64_t start = clock_mono_ns();
    for (int32_t i = 0; !rc && i < n; i++)
        rc = step_all(l, m, seqs, sessions, e);
    uint64_t ns = clock_mono_ns() - start;
    if (!rc)
        *tps = (double)n * sessions * 1e9 / (double)(ns ? ns : 1);
    return rc;
}

int engine_bench_sessions(const struct model *m, int threads, enum model_cache cache, int sessions,
                          int32_t n, double *tps, struct err *e)
{
    struct model_seq *seqs[BENCH_SESSIONS] = {NULL};
    struct lane l;
    if (sessions < 1 || sessions > BENCH_SESSIONS || n < 1 || n >= KERN_PAGE)
        return err_set(e, ERR_INVAL, "1 to %d sessions and %d tokens are possible", BENCH_SESSIONS,
                       KERN_PAGE - 1);
    int rc = lane_open(&l, m, threads, cache, 1, sessions, sessions, e);
    if (rc)
        return rc;
    model_seq_free(l.seq); /* the others have pages of their own */
    model_kv_free(l.kv);
    l.seq = NULL;
    l.kv = NULL;
    uint64_t one = model_kv_need(m, cache, KERN_PAGE, MODEL_SLICE);
    rc = model_kv_new(m, one * (uint64_t)sessions, cache, &l.kv, e);
    for (int i = 0; !rc && i < sessions; i++) {
        rc = model_seq_new(l.kv, KERN_PAGE, &seqs[i], e);
        if (!rc)
            rc = model_seq_reserve(seqs[i], KERN_PAGE, e);
    }
    if (!rc)
        rc = timed_steps(&l, m, seqs, sessions, n, tps, e);
    for (int i = 0; i < sessions; i++)
        model_seq_free(seqs[i]);
    lane_done(&l);
    return rc;
}
