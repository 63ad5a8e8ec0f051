/* local.h: the engine as a gen_backend: template in, events out. Joins engine/, tok/ and tmpl/ to
 * gen/. */
#ifndef WEIR_LOCAL_H
#define WEIR_LOCAL_H

#include "engine.h"
#include "gen.h"
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

/* Statistics of a run that has ended (after DONE or ERROR): tokens reused, times. */
const struct engine_stats *local_run_stats(const struct gen_run *run);

#endif
