/* engine_int.h: what the files of engine/ share. All of it but the marked fields belongs to the
 * engine's thread. */
#ifndef WEIR_ENGINE_INT_H
#define WEIR_ENGINE_INT_H

#include "engine.h"

#include <pthread.h>
#include <stdatomic.h>

#define ENGINE_QUEUE 64         /* jobs that may wait to be started */
#define ENGINE_CACHED 32        /* finished sessions kept beside those that run */
#define ENGINE_TOP_MAX 128      /* likeliest tokens that may be asked for */
#define ENGINE_REPEAT_WINDOW 64 /* tokens the repeat penalty looks back, as llama.cpp's default */
#define ENGINE_BATCH_MIN 32     /* rows of scratch */
#define ENGINE_BATCH_MAX 512
#define ENGINE_DRAFT 8           /* tokens guessed ahead in one step, of all runs together */
#define ENGINE_EMBEDS 32         /* texts in one batch that embeds */
#define ENGINE_STEP_NS 100000000 /* what one step should take */
#define ENGINE_LIMIT_NS                                                                            \
    150000000ull                 /* and what it may, before it is broken off for who decodes       \
                                  */
#define ENGINE_EMBED_NS 50000000 /* a batch of texts, beside somebody who decodes */
#define ENGINE_SLICE_LEAST 4     /* tokens of prompts for which no step is broken off */
#define ENGINE_PARALLEL_MAX 256
#define ENGINE_CALLERS (ENGINE_QUEUE + ENGINE_PARALLEL_MAX + 1)

/* ---- sampler.c ---- */
struct candidate {
    float logit;
    int32_t id;
};

struct sampler {
    int32_t vocab;
    struct candidate *cand, *aside; /* vocab of them */
    float *weights;                 /* vocab and a block's padding */
    int32_t *counts;                /* vocab, all zero between calls */
    int32_t *places;                /* vocab */
    int32_t *matches;               /* past_max */
    size_t past_max;                /* tokens of prompt and answer */
    struct engine_logprob top[ENGINE_TOP_MAX];
};

/* What the penalties look at and which draw this is. */
struct sampler_past {
    const int32_t *tokens; /* prompt and what was generated */
    size_t n, nprompt;
};

/* Memory of a sampler that has been used. */
uint64_t sampler_bytes(int32_t vocab);
int sampler_init(struct sampler *s, int32_t vocab, int32_t past_max, struct err *e);
void sampler_done(struct sampler *s);
int sampler_check(const struct engine_sampling *p, int32_t vocab, struct err *e);
/* The next token; -1 when no logit is a number. mask: a bit for each token that may be chosen, NULL
 * for all; SAMPLER_NONE_LEFT when it leaves none. */
#define SAMPLER_NONE_LEFT (-2)
int32_t sampler_pick(struct sampler *s, const float *logits, const struct engine_sampling *p,
                     const struct sampler_past *past, const uint64_t *mask);
/* The likeliest token is what sampler_pick gives without a mask. */
bool sampler_is_argmax(const struct engine_sampling *p);
/* Log-probabilities of the raw distribution: the chosen token's and the n likeliest, in s->top. */
void sampler_logprobs(struct sampler *s, const float *logits, int32_t id, int n,
                      struct engine_token *out);

/* ---- session.c ---- */
struct session {
    struct model_seq *seq;
    int32_t *tokens; /* what seq holds, model_seq_len of them; a running one's belong to its run */
    bool busy;
    bool saving;     /* a thread of the cache reads it: it may be shared, and not changed */
    bool wanted_out; /* a job waits for its place until it is on disk */
    int32_t on_disk; /* of its tokens so many can be had from a file */
    uint64_t used;   /* when it was last used, by the engine's count */
    int32_t growth;  /* the cache's: what was found out at growth_at */
    uint64_t growth_at;
};

/* A session whose sequence holds the first *reused tokens of the prompt, at most n - 1, marked
 * busy. ERR_NOMEM: memory (pages are not reserved here). */
int session_sync(struct engine *en, const int32_t *tokens, size_t n, struct session **out,
                 int32_t *reused, struct err *e);
/* The most of these tokens that a session has and can be cut to, and which (may be NULL). */
int32_t session_longest(struct engine *en, const int32_t *tokens, size_t n, struct session **which);
int32_t session_common(const struct session *s, const int32_t *tokens, size_t n);
/* The finished session that goes first, other than `keep`; NULL: there is none. */
struct session *session_oldest(struct engine *en, const struct session *keep);
bool session_has_place(const struct engine *en);
/* How many of the next `most` tokens of a prompt of n may be read at once, `at` of them behind, so
 * that a snapshot can be taken where one is due. */
size_t session_stop(const struct engine *en, size_t at, size_t n, size_t most);
/* How far a session can be cut that reads a prompt of n tokens and shares `positions` of them. */
int32_t session_reach_later(const struct engine *en, int32_t positions, size_t n);
/* Take one if it is due. */
void session_snapshot(struct engine *en, struct session *s, size_t n);
/* Pages for `positions`, taking those of idle sessions where none are free. */
bool session_reserve(struct engine *en, struct session *s, int32_t positions);
/* Keep it for later jobs; takes the tokens. */
void session_retire(struct engine *en, struct session *s, int32_t *tokens);
void session_drop(struct engine *en, struct session *s);
void session_drop_all(struct engine *en);

/* The longest session's first tokens as a session of its own, busy. ERR_NOT_FOUND, ERR_NOMEM. */
int session_copy(struct engine *en, const int32_t *tokens, size_t n, struct session **out,
                 struct err *e);
/* A busy session with room for the file's first `positions`, which can be reached. */
int session_for_file(struct engine *en, const struct model_saved *f, int32_t positions,
                     struct session **out, struct err *e);

/* ---- session_disk.c ---- */
/* Something another thread wants done on the engine's, and waits for. */
struct errand {
    int (*run)(struct engine *en, void *arg, struct err *e);
    void *arg;
    struct err *e;
    int rc;
    bool done; /* locked */
    struct errand *next;
};
/* What was asked for. */
void errands_run(struct engine *en);
/* ---- speculate.c ---- */
struct speculation {
    uint32_t next;     /* tokens to guess; 0: nothing is known yet */
    uint32_t wait;     /* steps to let pass without a guess */
    uint32_t failures; /* guesses in a row of which nothing was kept */
};
/* Guess at most `most` tokens to follow tokens[0..n), written behind them; how many. */
size_t speculate(struct speculation *s, int32_t *tokens, size_t n, size_t most);
void speculate_note(struct speculation *s, size_t guessed, size_t kept);

/* ---- scheduler.c ---- */
enum run_state { RUN_WAITING, RUN_RESTORING, RUN_ACTIVE, RUN_EMBED };

struct cache;
struct cache_read;

struct engine_run {
    struct engine *en;
    atomic_int refs;                /* any thread: the engine's and the caller's */
    atomic_bool cancelled, resumed; /* any thread */
    struct engine_job job;          /* tokens and end_ids point to the copies below */
    int32_t *tokens;                /* prompt and generated */
    int32_t *end_ids;
    struct engine_bias *bias;
    uint64_t *dry_breaks;
    struct grammar_state *grammar; /* NULL: none */
    size_t n;
    enum run_state state;
    bool paused, started;
    struct session *session;
    struct engine_stats stats;
    uint64_t submitted_ns, started_ns, first_ns;
    size_t slice; /* tokens in the batch being built */
    size_t draft; /* of these: guesses, behind tokens[n - 1] */
    struct speculation speculation;
    uint64_t number;             /* the how manieth */
    int slot;                    /* RUN_ACTIVE: its place */
    int caller;                  /* in engine.callers, while runs are admitted */
    bool skipped;                /* the same: not now */
    bool looked;                 /* the cache on disk was asked */
    struct cache_read *restore;  /* RUN_RESTORING */
    int32_t restored;            /* tokens that were read for it */
    uint64_t patience_ns;        /* until then it waits for sessions to be written; 0: not yet */
    struct embedding *embedding; /* NULL: the run writes */
    struct engine_run *next;
};

/* Start what can be started (admit.c). */
void scheduler_admit(struct engine *en);
/* One batch. False when no run can go on. */
bool scheduler_step(struct engine *en);
/* Take the run out, tell its owner, let it go. */
void scheduler_end(struct engine *en, struct engine_run *r, enum engine_end end,
                   const struct err *err);

/* Pages for somebody else, where no run can go on and give some back: the youngest's. False: there
 * is nothing to take, or to wait for is better. */
bool scheduler_make_room(struct engine *en);
/* The run that came last of those under way; NULL: none is. Its pages are the first to go. */
struct engine_run *scheduler_youngest(struct engine *en);
void scheduler_preempt(struct engine *en, struct engine_run *r);
/* Whether somebody waits for the next token. */
bool scheduler_decodes(const struct engine *en);
/* What a pass with so many tokens of prompts may take, for model_run_limit. */
uint64_t scheduler_limit(const struct engine *en, size_t prefilled);
void scheduler_note_speed(struct engine *en, size_t decoding, size_t prefilled, uint64_t ns);

/* ---- pace.c ---- */
struct pace {
    double fixed_ns, token_ns; /* of a step; of a token with nothing before it */
    double depth;              /* what a position that a token sees costs, in tokens */
    double depth_shape;        /* the same by the model's shape */
    double n, x, y, xx, xy;    /* steps, their sizes in tokens and times: sums, the latest most */
    unsigned turn;
};
void pace_init(struct pace *p, const struct model *m, int threads);
/* Nanoseconds of so many tokens that see so many positions together: more of them in a step, and as
 * a step of their own. */
double pace_more(const struct pace *p, double tokens, double seen);
double pace_cost(const struct pace *p, double tokens, double seen);
/* The tokens, from `depth` on, that take so long in a step that there is anyway; at least 1. */
size_t pace_tokens(const struct pace *p, double ns, size_t depth);
void pace_learn(struct pace *p, double tokens, double seen, double ns);
/* A factor on what a step may take, 1 or a little more in turn. */
double pace_vary(struct pace *p);

/* ---- admit.c ---- */
struct caller {
    uint64_t id, turn; /* when it was served last */
    int runs, active;
};

/* ---- embed.c ---- */
/* One batch of one run that embeds; false: there is none, or it has to wait for pages. */
bool embed_step(struct engine *en);
void embedding_close(struct embedding *b); /* its sequences; NULL is fine */
void embedding_free(struct embedding *b);

/* ---- engine.c ---- */
struct engine {
    struct model *m;
    struct pool *pool;
    struct model_kv *kv;
    struct model_run *fwd;
    struct sampler sampler;
    int32_t ctx;
    int parallel, max_batch;
    uint64_t embed_steps;
    bool snapshots; /* the model cannot be cut anywhere */
    size_t draft;   /* guesses a step; 0: none */

    struct session *sessions;
    int nsessions, max_sessions;
    uint64_t uses;

    struct engine_run *runs; /* the oldest first */
    int active, restoring;
    struct model_item *items; /* max_batch */
    size_t rotate;            /* whose turn the rest of a prefill budget is */
    double prefill_tps, decode_tps;
    double decode_ns; /* a step that only decodes; 0: none yet */
    struct pace pace;
    bool hurried; /* a cancel broke the last pass off: this one is short and comes to its end */
    bool decode_first; /* the last pass was broken off for who decodes: this one has no prompts */
    struct caller callers[ENGINE_CALLERS];
    int ncallers;
    uint64_t turns;
    struct cache *cache; /* on disk; NULL: none */

    atomic_bool interrupt; /* any thread sets it: the pass stops before the next layer */

    pthread_t thread;
    bool threaded;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct engine_run *inbox, **inbox_end; /* locked */
    struct errand *errands;                /* locked */
    pthread_cond_t served;                 /* an errand was done */
    int queued;                            /* locked: submitted and not yet started */
    bool poked, quit, flushing;            /* locked */
    uint64_t submitted;                    /* locked */
    struct engine_slot *slots;             /* locked; `parallel` of them */
    struct engine_totals totals;
    uint64_t scratch;        /* bytes */
    struct engine_load load; /* locked */
};

/* Into the queue. Takes the run; when the queue is full, ERR_OVERLOAD and it is gone. */
int engine_enqueue(struct engine *en, struct engine_run *r, struct engine_run **out, struct err *e);
void engine_run_unref(struct engine_run *r);
/* A run left the queue, by being started or by its end. */
void engine_note_started(struct engine *en, struct engine_run *r);
void engine_note_load(struct engine *en);
/* A run ended. */
void engine_note_ended(struct engine *en, const struct engine_run *r, enum engine_end end);
/* Somebody waits until all that is worth it is on disk. */
bool engine_flushing(struct engine *en);
void engine_note_flushed(struct engine *en);

#endif
