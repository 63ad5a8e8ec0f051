/* engine.h: tokens in, tokens out. One engine serves one loaded model: its sessions, KV pages,
 * prefix cache and the thread that steps all running sessions as one batch. It knows no text, no
 * template and no HTTP.
 *
 * A session is one timeline of tokens. A job names its whole token sequence; the engine picks the
 * session that shares the longest prefix and `session_sync` decides reuse, extend or rebuild.
 * Finished sessions stay in memory until their pages are wanted. The same job with the same seed
 * gives the same bits, alone or in a batch, at any thread count, cached or not. */
#ifndef WEIR_ENGINE_H
#define WEIR_ENGINE_H

#include "err.h"
#include "grammar.h"
#include "model.h"

struct engine;
struct engine_run;

struct engine_params {
    int threads;       /* compute threads, the engine's own included; 0: as many as processors */
    int32_t ctx;       /* positions a session may have; 0: the model's own, capped by free memory */
    int parallel;      /* sessions stepped together; 0: 8 */
    int draft;         /* tokens guessed ahead from what stands before; 0: 8; -1: none. The text is
                          the same either way */
    uint64_t kv_bytes; /* memory for KV pages; 0: ctx * parallel at most, within free memory */
    enum model_cache cache; /* how keys and values are kept; F32 is the evaluator's */
    /* Where finished sessions are kept on disk, so that later jobs may begin with them, after a
     * restart too; NULL: nowhere. The folder is made, for its owner alone, and may be shared by
     * engines and processes; files that are not the cache's are left alone. Jobs wait for a file
     * that has more than memory does, while others go on. */
    const char *cache_dir; /* copied */
    uint64_t cache_bytes;  /* that all files there may have together; 0: no cache */
};

/* Takes ownership of the model on success. Starts the engine's thread. */
int engine_new(struct model *m, const struct engine_params *p, struct engine **out, struct err *e);
void engine_free(struct engine *en); /* cancels what runs, joins; NULL is fine */
const struct model *engine_model(const struct engine *en);
int32_t engine_ctx(const struct engine *en);

struct engine_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY: never */
};

/* The steps of sampling, to be put into an order. Bias and penalties always come first. */
enum engine_sampler {
    ENGINE_SAMPLER_END,
    ENGINE_SAMPLER_PENALTIES,
    ENGINE_SAMPLER_DRY,
    ENGINE_SAMPLER_TOP_N_SIGMA,
    ENGINE_SAMPLER_TOP_K,
    ENGINE_SAMPLER_TYPICAL,
    ENGINE_SAMPLER_TOP_P,
    ENGINE_SAMPLER_MIN_P,
    ENGINE_SAMPLER_XTC,
    ENGINE_SAMPLER_TEMPERATURE,
};
#define ENGINE_SAMPLERS 16 /* steps of an order at most */

struct engine_sampling {
    float temperature;                                         /* 0: greedy */
    float top_p;                                               /* 1: off */
    float min_p;                                               /* 0: off */
    int32_t top_k;                                             /* 0: off */
    float repeat_penalty, frequency_penalty, presence_penalty; /* 1, 0, 0: off */
    int32_t repeat_last_n;                /* tokens the repeat penalty looks back; 0: 64; -1: all */
    float typical_p;                      /* 1 or 0: off */
    float top_n_sigma;                    /* 0 or below: off */
    float xtc_probability, xtc_threshold; /* probability 0: off */
    float dry_multiplier;                 /* 0: off */
    float dry_base;
    int32_t dry_allowed_length, dry_last_n; /* last_n 0 or -1: all of the past */
    const uint64_t *dry_breaks;             /* a bit for each id of the vocabulary: no
                                               repetition goes on over it; copied; NULL: none */
    const struct engine_bias *bias;         /* copied */
    size_t nbias;
    unsigned char order[ENGINE_SAMPLERS]; /* enum engine_sampler; all 0: llama.cpp's default */
    uint64_t seed;
    int top_logprobs; /* -1: none; 0: the chosen token's; n: and the n likeliest, at most 128 */
};

struct engine_logprob {
    int32_t id;
    float logprob; /* natural logarithm, of the model's own distribution (before sampling
                      parameters) */
};

struct engine_token {
    int32_t id;
    struct engine_logprob chosen;
    const struct engine_logprob *top;
    int ntop;
    int64_t reused; /* of the run's prompt, found in the cache */
};

enum engine_verdict { ENGINE_GO, ENGINE_PAUSE, ENGINE_STOP };
/* ENGINE_END_TOKEN: an id for which the model's tokenizer says end of generation (delivered, not
 * counted as text). */
enum engine_end {
    ENGINE_END_TOKEN,
    ENGINE_END_STOP,
    ENGINE_END_LENGTH,
    ENGINE_END_CONTEXT,
    ENGINE_END_CANCEL,
    ENGINE_END_ERROR
};

struct engine_stats {
    int64_t prompt, reused, generated; /* tokens; reused: of the prompt, found in the cache */
    int64_t restored;                  /* of the reused those that were read from disk for it */
    int64_t guessed, kept;             /* guesses fed ahead, and those that came true */
    uint64_t queued_ns, prefill_ns, decode_ns;
};

struct engine_job {
    const int32_t *tokens; /* copied; at least 1 (the caller adds BOS to an empty prompt) */
    size_t ntokens;
    int64_t max_tokens; /* <= 0: until the context is full */
    struct engine_sampling sampling;
    const int32_t *end_ids; /* ids that end generation; copied */
    size_t nend_ids;
    /* What may be written; NULL: anything. Both must live until on_end, and the vocabulary have as
     * many entries as the model. A text that the grammar has brought to its end ends the run
     * (ENGINE_END_STOP) where no token says so. */
    const struct grammar *grammar;
    const struct grammar_vocab *vocab;
    /* Called on the engine's thread; must not block. STOP ends the run after this token
     * (ENGINE_END_STOP). */
    enum engine_verdict (*on_token)(void *ctx, const struct engine_token *t);
    /* Once, last, also after cancel. err is NULL unless ENGINE_END_ERROR. */
    void (*on_end)(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err);
    void *ctx;
    uint64_t caller; /* turns and time for prompts go by caller; 0: nobody in particular, who is one
                        caller like any other */
    uint64_t group;  /* jobs of one group share the beginning of their prompts (choices over one
                        prompt): the later wait until the first has read it, and never read it
                        again. Long beginnings are shared without being told; 0: none */
};

/* A run's end frees its session for reuse; the run itself is freed by engine_release, which may
 * come after engine_free; engine_resume and engine_cancel may not. ERR_CONTEXT when the prompt does
 * not fit (message has both counts), ERR_OVERLOAD when the queue (64) is full. */
int engine_submit(struct engine *en, const struct engine_job *job, struct engine_run **out,
                  struct err *e);
void engine_resume(struct engine_run *r);  /* any thread */
void engine_cancel(struct engine_run *r);  /* any thread; on_end follows within one layer's time */
void engine_release(struct engine_run *r); /* after on_end, not from inside it; NULL is fine */

/* Embeddings: one row for each text, pooled, as long as the model made it. Runs that write go on
 * between the batches; texts are packed into batches, and have the same bits in any. */
struct engine_embed_job {
    const struct model_text *texts; /* copied */
    size_t ntexts;
    uint64_t caller;            /* as engine_job's */
    enum model_pooling pooling; /* 0: what the file asks for */
    /* On the engine's thread, in the order of the texts; must not block. STOP ends the run
     * (ENGINE_END_STOP), PAUSE is as on_token's. */
    enum engine_verdict (*on_row)(void *ctx, size_t text, const float *row, size_t width);
    /* Once, last. ENGINE_END_LENGTH: all rows have been given. */
    void (*on_end)(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err);
    void *ctx;
};
/* The run is resumed, cancelled and released as others are. ERR_CONTEXT names a text that does not
 * fit and by how much; ERR_UNSUPPORTED: the model gives no embeddings. An engine of an encoder
 * takes nothing else. */
int engine_embed(struct engine *en, const struct engine_embed_job *job, struct engine_run **out,
                 struct err *e);

/* Since the engine was made; of runs, when they end. */
struct engine_totals {
    uint64_t requests, cancelled, failed; /* runs that ended, in any way; of these */
    uint64_t prompt, reused, restored;    /* tokens of prompts: all, found in the cache, on disk */
    uint64_t generated, guessed, kept;    /* as engine_stats's */
    uint64_t queued_ns, prefill_ns, decode_ns;
    uint64_t memory_hits, disk_hits; /* runs that began with a session in memory, from disk */
};

struct engine_load {
    int running, queued;
    uint64_t kv_used, kv_total;     /* bytes */
    double prefill_tps, decode_tps; /* measured lately; 0: nothing yet */
    uint64_t kv_resident;           /* bytes of kv_total that are memory now */
    uint64_t weights, scratch;      /* bytes: mapped; allocated */
    int cache_files;                /* of this model on disk */
    uint64_t cache_bytes;           /* of all models there, as last seen */
    struct engine_totals totals;
};
void engine_load_of(struct engine *en, struct engine_load *out); /* any thread */

enum engine_slot_state {
    ENGINE_SLOT_IDLE,
    ENGINE_SLOT_PREFILL,
    ENGINE_SLOT_DECODE,
    ENGINE_SLOT_PAUSED
};

/* One of the places for runs that are stepped together. */
struct engine_slot {
    int id;
    enum engine_slot_state state; /* idle: the rest is 0 */
    uint64_t run;                 /* the how manieth that was submitted, from 1 */
    uint64_t caller;
    int64_t held;              /* tokens read, of prompt and answer */
    int64_t prompt, generated; /* tokens of the prompt; of the answer so far */
    int64_t reused;            /* of the prompt */
    int64_t max_tokens;        /* of the answer; <= 0: as the context allows */
};
/* The first `most` places; how many there are is returned. Any thread. */
int engine_slots(struct engine *en, struct engine_slot *out, int most);

/* Write the finished sessions that are worth it to cache_dir now, and wait for that; what runs goes
 * on. engine_free does the same, and an engine without work for a second. Any thread but the
 * engine's, while the engine is not being freed. */
void engine_flush(struct engine *en);

/* ---- sessions on disk. Any thread but the engine's own (not from a job's callback), while the
 * engine is not being freed; other sessions go on meanwhile. ---- */

/* Write the session that shares the most of these tokens, cut to what it shares and can be reached,
 * to `path`, whole or not at all. *saved: how many tokens that is; ERR_NOT_FOUND: no session shares
 * any. */
int engine_session_save(struct engine *en, const int32_t *tokens, size_t n, const char *path,
                        int32_t *saved, struct err *e);
/* Read such a file as a finished session that later jobs may begin with. Errors as
 * model_saved_open's and model_saved_read's; ERR_NOMEM when running sessions leave no room. */
int engine_session_restore(struct engine *en, const char *path, int32_t *restored, struct err *e);

/* ---- measuring a model: what `weir eval`, `weir bench` and `weir fit` use. No engine is needed,
 * and none may be stepping the same model at a time that is to be measured. threads as in
 * engine_params.
 * ---- */

/* Bytes a program may still take without pushing others out. */
uint64_t engine_memory_free(void);

/* Bytes of memory that this process has now; 0 where the system does not say. */
uint64_t engine_memory_resident(void);

/* What a model takes, before it is loaded. */
struct engine_memory {
    int32_t ctx;          /* of a session */
    uint64_t weights;     /* the file's tensors; memory as they are read */
    uint64_t kv_1k;       /* what 1,000 tokens more take in a long session */
    uint64_t kv_session;  /* a session whose context is full */
    uint64_t kv_snapshot; /* each of the places such a session can be cut back to; 0: needs none */
    uint64_t kv_limit;    /* what all sessions may take together */
    uint64_t scratch;     /* a forward pass's and the sampler's */
    uint64_t total;       /* weights, one full session, scratch */
};
/* The same computation engine_new goes by: parameters as there, errors too (a context that is asked
 * for and does not fit: ERR_NOMEM; a cache type the model's heads do not allow: ERR_UNSUPPORTED).
 */
int engine_memory_of(const struct model *m, const struct engine_params *p,
                     struct engine_memory *out, struct err *e);

/* Logits after each token of the list, as one sequence from an empty cache: row(ctx, i, logits) for
 * i = 0 .. n - 1; the row is valid during the call. A result that is not 0 ends the pass and is
 * returned. ERR_NOMEM when n positions do not fit. */
int engine_eval_logits(const struct model *m, int threads, enum model_cache cache,
                       const int32_t *tokens, size_t n,
                       int (*row)(void *ctx, size_t i, const float *logits), void *ctx,
                       struct err *e);
/* exp(-mean log p(tokens[i] | before)). A list longer than the model's context is read in windows
 * of that length, each from an empty cache; a window's first token is not scored. n >= 2. */
int engine_eval_perplexity(const struct model *m, int threads, enum model_cache cache,
                           const int32_t *tokens, size_t n, double *out, struct err *e);

struct engine_speed {
    double prefill_tps, decode_tps; /* tokens a second; 0 where none were asked for */
};
/* Prefill of nprefill tokens and decoding of ndecode, each behind `depth` tokens of context.
 * Weights and cache are warm when the clock starts. */
int engine_bench(const struct model *m, int threads, enum model_cache cache, int32_t depth,
                 int32_t nprefill, int32_t ndecode, struct engine_speed *out, struct err *e);
/* Decoding n tokens (at most 63) of each of `sessions` (at most 64) at once, from empty caches:
 * tokens a second of all together. */
int engine_bench_sessions(const struct model *m, int threads, enum model_cache cache, int sessions,
                          int32_t n, double *tps, struct err *e);

#endif
