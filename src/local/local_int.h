/* local_int.h: what the files of local/ share. */
#ifndef WEIR_LOCAL_INT_H
#define WEIR_LOCAL_INT_H

#include "local.h"

#include <pthread.h>

struct local {
    struct gen_backend backend; /* first: a backend's pointer is its local's */
    char *name;
    bool named; /* by the caller: then requests must name it so */
    struct engine *engine;
    struct tok *tok;
    struct tmpl *tmpl;   /* NULL: none, and tmpl_err says why when there was one */
    struct err tmpl_err; /* code 0: the file has no template */
    enum tmpl_syntax syntax;
    struct tmpl_traits traits;
    struct gen_caps caps;
    int32_t *end_ids;
    size_t nend_ids;
    pthread_mutex_t words_lock;
    struct grammar_vocab *words; /* locked while it is made, at the first need */
};

/* A prompt made ready: what count() keeps for start(). */
struct local_prompt {
    struct tok_ids ids;
    bool thinks;              /* it ends with an open <think> */
    struct model_text *texts; /* GEN_EMBED: the inputs, within ids */
    size_t ntexts;
};

/* Is this a request that this model can take at all? ERR_UNSUPPORTED names the field. */
int local_check(const struct local *l, const struct gen_req *req, struct err *e);
int local_prepare(struct local *l, const struct gen_req *req, struct local_prompt *out,
                  struct err *e);
/* The same for GEN_EMBED. */
int local_embed_check(const struct local *l, const struct gen_req *req, struct err *e);
int local_embed_prepare(struct local *l, const struct gen_req *req, struct local_prompt *out,
                        struct err *e);
/* The first *n of a row's numbers, of length 1; room for `width`. ERR_FORMAT: they are none. */
int local_embed_row(const struct gen_req *req, const float *row, size_t width, float *out,
                    size_t *n, struct err *e);
void local_prompt_done(struct local_prompt *p);

/* A request's sampling and the lists it points to, until the engine has its own copy. */
struct local_sampling {
    struct engine_sampling s;
    struct engine_bias *bias;
    uint64_t *breaks;
};
/* ERR_INVAL names the field. */
int local_sampling_make(struct local *l, const struct gen_req *req, struct local_sampling *out,
                        struct err *e);
void local_sampling_done(struct local_sampling *s);

/* ---- local_grammar.c ---- */
/* What holds the answer to the request's format, grammar and tools; NULL: nothing does. ERR_* names
 * the field, and of a schema the place. */
int local_grammar_make(const struct local *l, const struct gen_req *req, bool thinks,
                       struct grammar **out, struct err *e);
int local_words(struct local *l, const struct grammar_vocab **out, struct err *e);

int local_count(struct gen_backend *b, const struct gen_req *req, struct str model,
                struct gen_count *out, struct err *e);
int local_start(struct gen_backend *b, const struct gen_req *req, struct str model,
                struct gen_count *count, struct gen_sink sink, struct gen_run **out, struct err *e);
void local_resume(struct gen_run *run);
void local_cancel(struct gen_run *run);
void local_release(struct gen_run *run);

#endif
