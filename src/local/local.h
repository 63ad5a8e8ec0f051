/* local.h: the engine as a gen_backend: template in, events out. Joins engine/, tok/ and tmpl/ to
 * gen/. */
#ifndef WEIR_LOCAL_H
#define WEIR_LOCAL_H

#include "engine.h"
#include "gen.h"
#include "gguf.h"
#include "tmpl.h"
#include "tok.h"

struct local;

/* What a request that does not say gets. Mild: a small model stays on its subject and still does
 * not repeat itself; penalties are off, because they bend tool calls and code. The seed is drawn.
 */
#define LOCAL_TEMPERATURE 0.7f
#define LOCAL_TOP_P 0.95f
#define LOCAL_TOP_K 40
#define LOCAL_MIN_P 0.05f

struct local_params {
    struct engine_params engine;
    bool exact;      /* model_set_exact */
    struct str name; /* the name events report; empty: the file's */
    struct str tmpl; /* a template instead of the file's own; empty: the file's */
};

/* Opens the file, tokenizer, template and engine. A file without a template, or with one that
 * cannot be read, serves raw prompts only. */
int local_open(const char *path, const struct local_params *p, struct local **out, struct err *e);
void local_free(struct local *l);
struct gen_backend *local_backend(struct local *l);

const struct tok *local_tok(const struct local *l);
const struct tmpl *local_tmpl(const struct local *l); /* NULL: none */
struct engine *local_engine(struct local *l);

/* The prompt as the model will see it: rendered spans to ids. What count() and start() use. text is
 * an initialised output, ids are appended to an empty list. */
int local_render(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                 struct tok_ids *ids, struct err *e);

/* ---- looking closely: llama-server's /tokenize, /detokenize, /apply-template ---- */

/* Ids of a text, appended. add_special: what the file wants at both ends; parse_special: control
 * tokens are found in the text. */
int local_tokenize(const struct local *l, struct str text, bool add_special, bool parse_special,
                   struct tok_ids *ids, struct err *e);
/* The bytes that one token stands for, appended, control tokens by their names: may be part of a
 * character. */
void local_piece(const struct local *l, int32_t id, struct buf *out);
/* Text of ids, appended, as valid UTF-8. ERR_INVAL names an id that the vocabulary does not have.
 */
int local_detokenize(const struct local *l, const int32_t *ids, size_t n, struct buf *out,
                     struct err *e);
/* The text a chat is rendered to, appended; with the request's own template, if it has one. */
int local_apply_template(struct local *l, const struct gen_req *req, struct buf *out,
                         struct err *e);

/* ---- what a file says of itself: /props, Ollama's /api/show ---- */

/* Strings borrow from the file's map; those that are not there are empty, numbers 0. */
struct local_facts {
    struct str name, architecture, tmpl;
    const char *quant;   /* "Q4_K_M"; "unknown" */
    char parameters[16]; /* their number as people say it: "134.52M", "7B" */
    uint64_t nparams, bytes;
    uint64_t context, width, layers, vocab; /* context: what it was trained with */
    bool chat, tools, reasoning, infill;    /* chat: it has a template that can be read */
    bool encoder;                           /* it gives embeddings and writes nothing */
};
/* Of a file that need not be loaded. `tmpl` instead of its own template; empty: its own. Reads the
 * template, and the vocabulary's list where no key says whether it can fill in the middle. */
void local_facts_of(const struct gguf *g, struct str tmpl, struct local_facts *out);
const struct gguf *local_gguf(const struct local *l);
/* All key-values as one JSON object, appended; arrays of more than `most` elements are null. False:
 * the buffer's maximum was reached. */
bool local_values_json(const struct gguf *g, size_t most, struct buf *out);

/* Statistics of a run that has ended (after DONE or ERROR): tokens reused, times. */
const struct engine_stats *local_run_stats(const struct gen_run *run);

#endif
