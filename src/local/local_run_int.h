/* local_run_int.h: a run and its choices, between local_run.c (their lives), local_choice.c (tokens
 * to events) and local_embed.c (rows).
 *
 *   gen_run ──┬── choice 0: prompt 0, seed      ──▶ engine_run ──▶ tokens ──▶ events, index 0
 *             ├── choice 1: prompt 0, seed + 1  ──▶ ...
 *             └── choice n: prompt 1, seed      ──▶ ...
 *
 * All callbacks come on the engine's thread, one at a time. What other threads may touch at the
 * same time is marked. */
#ifndef WEIR_LOCAL_RUN_INT_H
#define WEIR_LOCAL_RUN_INT_H

#include "local_int.h"

#include <stdatomic.h>

struct choice {
    struct gen_run *run;
    int32_t index;
    size_t prompt;         /* which of the run's */
    struct engine_run *er; /* locked: set when it is submitted */
    struct tmpl_parser *parser;
    struct tmpl_hold hold;
    struct buf piece;           /* the bytes of the token in hand */
    struct buf clean;           /* a piece with malformed bytes replaced */
    struct buf raw;             /* all that was written */
    bool opens_text;            /* the next token is the first of a text: SentencePiece drops its
                                   space */
    bool in_reasoning, started; /* started: it had a token, so its prompt is in the cache */
    bool ended, called_tools;
    struct str matched; /* the stop string that ended it */
    struct engine_stats stats;
    int64_t reasoning;
};

struct gen_run {
    struct local *l;
    const struct gen_req *req; /* lives until the end has been delivered */
    struct gen_sink sink;
    struct local_prompt prompt;
    struct local_sampling sampling;
    struct grammar *grammar; /* NULL: none */
    const struct grammar_vocab *words;
    struct choice *choices;
    size_t nchoices, submitted, ended;
    bool told_start;
    enum gen_verdict verdict; /* of the events of the token in hand */
    enum gen_reason reason;   /* of the first choice */
    struct err failed;        /* the first thing that went wrong */
    uint64_t started_ns;
    uint64_t group; /* the engine's name for the choices of the first prompt; + 1 of the next */
    struct engine_stats stats; /* of all choices */
    pthread_mutex_t lock;
    atomic_bool cancelled;

    struct engine_run *er; /* GEN_EMBED: the one there is */
    float *row;            /* GEN_EMBED: the row in hand */
};

/* ---- local_choice.c ---- */
void local_emit(struct gen_run *r, const struct gen_event *ev);
void local_emit_start(struct gen_run *r);
/* index and prompt are set. False: no memory; choice_done is due all the same. */
bool choice_init(struct choice *c, struct gen_run *r);
void choice_done(struct choice *c);
/* The token's events. False: enough has been written. */
bool choice_token(struct choice *c, const struct engine_token *t);
/* What was held back, when nothing more comes. */
void choice_finish(struct choice *c);
enum gen_reason choice_reason(const struct choice *c, enum engine_end end);
/* All that it wrote, as UTF-8; valid until the next call. */
struct str choice_raw(struct choice *c);

/* ---- local_run.c ---- */
int64_t local_cache_written(const struct gen_run *r, int64_t reused);
int local_end_error(const struct gen_run *r, enum engine_end end, const struct engine_stats *s,
                    const struct err *err, struct err *out);

/* ---- local_rows.c ---- */
/* As an engine_submit: after 0 the run may be gone. */
int local_rows_submit(struct gen_run *r, struct err *e);

#endif
