/* local_int.h: what the files of local/ share. */
#ifndef WEIR_LOCAL_INT_H
#define WEIR_LOCAL_INT_H

#include "local.h"

#include <pthread.h>
#include <stdatomic.h>

#define LOCAL_TOKENS ((size_t)32 << 20) /* of all prompts of a request */
#define LOCAL_CHOICES 128               /* of one request, all its prompts together */

/* A template with what is known of it: how a model is spoken to. Immutable; counted. */
struct local_face {
    atomic_int refs;
    struct str source; /* its own copy */
    struct tmpl *tmpl; /* NULL: none, and err says why when there was one */
    struct err err;    /* code 0: there is no template */
    enum tmpl_syntax syntax;
    struct tmpl_traits traits;
    bool tools; /* it shows them, and what a model writes is understood */
};

/* The tokens a model was trained with to fill in the middle; -1: it has none such. */
struct local_fim {
    int32_t prefix, suffix, middle;
    int32_t repo, file; /* around other files */
    int32_t pad;        /* never to be written */
    bool suffix_first;  /* what stands behind comes first, and nothing marks the middle */
};

struct local {
    struct gen_backend backend; /* first: a backend's pointer is its local's */
    char *name;
    bool named; /* by the caller: then requests must name it so */
    struct engine *engine;
    struct tok *tok;
    struct local_face *face; /* the file's own, or the one it was opened with */
    pthread_mutex_t face_lock;
    struct local_face *given; /* locked: of the last request that brought its own; NULL */
    struct gen_caps caps;
    int32_t *end_ids;
    size_t nend_ids;
    struct local_fim fim;
    atomic_uint_least64_t groups; /* names given to the engine so far; from 1 */
    pthread_mutex_t words_lock;
    struct grammar_vocab *words; /* locked while it is made, at the first need */
};

/* One prompt of a request, within its ids. */
struct local_text {
    size_t from, n;
    bool opens; /* it is empty: what is written opens the text */
};

/* Prompts made ready: what count() keeps for start(). */
struct local_prompt {
    struct tok_ids ids;
    struct local_text *prompts;
    size_t nprompts;
    struct local_face *face;  /* counted; what they were rendered with */
    bool thinks;              /* the chat's ends with an open <think> */
    size_t marked;            /* tokens before the last cache_mark; 0: none */
    struct model_text *texts; /* GEN_EMBED: the inputs, within ids */
    size_t ntexts;
};

/* ---- local_face.c ---- */
/* A template that cannot be read is kept as an error (in the face); empty: there is none. */
int local_face_new(struct str source, struct local_face **out, struct err *e);
void local_face_put(struct local_face *f); /* NULL is fine */
/* The model's own, or the request's; counted. ERR_FORMAT: the request's cannot be read. */
int local_face_get(struct local *l, const struct gen_req *req, struct local_face **out,
                   struct err *e);

/* ---- local_infill.c ---- */
int local_fim_open(struct local *l, const struct gguf *g, struct err *e);
bool local_fim_listed(const struct gguf *g); /* without a tokenizer */
bool local_fim_known(const struct local_fim *f);
/* ids are appended; the text as well, for looking at. */
int local_infill(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                 struct tok_ids *ids, struct err *e);

/* ---- local_ids.c ---- */
int local_put_ids(struct tok_ids *ids, const int32_t *p, size_t n, struct err *e);
int local_put_first(struct tok_ids *ids, size_t at, int32_t id, struct err *e);
int local_encode_runs(const struct tok *t, const struct tmpl_out *text, unsigned flags,
                      struct tok_ids *ids, struct err *e);
/* A run of text to an output; untrusted: nothing in it is a control token. */
int local_add_text(struct tmpl_out *text, struct str s, bool untrusted, struct err *e);

/* Is this a request that this model can take at all? ERR_UNSUPPORTED names the field. */
int local_check(const struct local *l, const struct local_face *f, const struct gen_req *req,
                struct err *e);
int local_check_chat(const struct local *l, const struct local_face *f, const struct gen_req *req,
                     struct err *e);

/* ---- local_render.c ---- */
/* open: the model is to go on. */
int local_render_chat(struct local *l, const struct local_face *f, const struct gen_req *req,
                      bool open, struct tmpl_out *text, struct err *e);
/* Both append. */
int local_encode_chat(const struct local *l, const struct tmpl_out *text, struct tok_ids *ids,
                      struct err *e);
/* The i-th of its bare prompts. */
struct gen_prompt local_raw_prompt(const struct gen_req *req, size_t i);
int local_render_infill(struct local *l, const struct local_face *f, const struct gen_req *req,
                        struct tmpl_out *text, struct tok_ids *ids, struct err *e);
int local_render_raw(const struct local *l, const struct gen_prompt *p, struct tmpl_out *text,
                     struct tok_ids *ids, struct err *e);

/* ---- local_prompt.c ---- */
/* How long a prompt may be that is cut to the context. */
size_t local_room(const struct local *l, const struct gen_req *req);
/* check: local_check's errors are told first. */
int local_prepare(struct local *l, const struct gen_req *req, bool check, struct local_prompt *out,
                  struct err *e);
/* The same for GEN_EMBED: into a prompt that is freed by its owner, whatever comes of it. */
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
int local_grammar_make(const struct local *l, const struct local_face *f, const struct gen_req *req,
                       bool thinks, struct grammar **out, struct err *e);
int local_words(struct local *l, const struct grammar_vocab **out, struct err *e);

int local_count(struct gen_backend *b, const struct gen_req *req, struct str model,
                struct gen_count *out, struct err *e);
int local_start(struct gen_backend *b, const struct gen_req *req, struct str model,
                struct gen_count *count, struct gen_sink sink, struct gen_run **out, struct err *e);
void local_resume(struct gen_run *run);
void local_cancel(struct gen_run *run);
void local_release(struct gen_run *run);

#endif
