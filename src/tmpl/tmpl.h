/* tmpl.h: chat templates (the Jinja that models use) and the parsers of what models write back.
 *
 * A template is parsed once into a tree and evaluated under limits (steps, depth, output). The
 * output carries, byte by byte range, what came from outside: text of messages, names, tool
 * arguments are `untrusted`, so that a user's "<|im_end|>" stays text when it is tokenised. Errors
 * name line and construct. */
#ifndef WEIR_TMPL_H
#define WEIR_TMPL_H

#include "buf.h"
#include "err.h"
#include "gen.h"

struct tmpl;

int tmpl_parse(struct str source, struct tmpl **out, struct err *e); /* source is copied */
void tmpl_free(struct tmpl *t);

struct tmpl_run {
    size_t from, to; /* bytes of the output, half-open, in order, without gaps */
    bool untrusted;  /* came from a message */
};

struct tmpl_out {
    struct buf text;
    struct tmpl_run *runs;
    size_t nruns, cap;
};
void tmpl_out_init(struct tmpl_out *o, size_t max_text);
void tmpl_out_done(struct tmpl_out *o);

struct tmpl_vars {
    const struct gen_req *req; /* messages and tools */
    bool add_generation_prompt;
    struct str bos, eos; /* the vocabulary's own tokens: trusted */
    int64_t now_ms;      /* for strftime_now; wall clock */
    struct str extra;    /* JSON object of further variables (enable_thinking, ...); empty: none */
};

/* ERR_UNSUPPORTED when the template itself raises (raise_exception): its message is the error's. */
int tmpl_render(const struct tmpl *t, const struct tmpl_vars *v, struct tmpl_out *out,
                struct err *e);
/* The same from JSON values, for `weir template --messages` and the differential test: vars is a
 * JSON object with messages, tools and whatever else the template reads; everything in it is
 * untrusted but bos and eos. */
int tmpl_render_json(const struct tmpl *t, struct str vars_json, struct str bos, struct str eos,
                     int64_t now_ms, struct tmpl_out *out, struct err *e);

/* What the template's text shows it can do. */
struct tmpl_traits {
    bool tools;     /* renders tools */
    bool reasoning; /* knows thinking */
    bool system;    /* renders a system message */
};
void tmpl_describe(const struct tmpl *t, struct tmpl_traits *out);

/* ---- what the model writes, to events ---- */

/* Feeds decoded text, emits GEN_EV_TEXT, REASONING and tool events to the sink. Half-written syntax
 * becomes text at the end, never an error. One per choice. */
struct tmpl_parser;
enum tmpl_syntax {
    TMPL_SYNTAX_PLAIN,  /* everything is text */
    TMPL_SYNTAX_HERMES, /* <tool_call>{json}</tool_call>, <think> ... </think> */
};
enum tmpl_syntax tmpl_syntax_of(const struct tmpl *t);
/* NULL when out of memory. */
struct tmpl_parser *tmpl_parser_new(enum tmpl_syntax syntax, bool tools_offered, int32_t index,
                                    struct gen_sink sink);
void tmpl_parser_free(struct tmpl_parser *p);
/* The prompt ended with an open <think>: what comes first is reasoning. Before the first feed. */
void tmpl_parser_thinks(struct tmpl_parser *p);
/* logprobs may be NULL; they go with the text they belong to. Returns the sink's verdict (the
 * strictest). */
enum gen_verdict tmpl_parser_feed(struct tmpl_parser *p, struct str text,
                                  const struct gen_token_logprobs *lp, size_t nlp);
enum gen_verdict tmpl_parser_end(struct tmpl_parser *p, bool *called_tools);

/* Generated text that is held back because it may still turn out to be something else (a stop
 * string, syntax, half a character), with the log-probabilities of the tokens it consists of. A
 * token's go with the piece that has its last byte. */
struct tmpl_hold {
    struct buf text;
    struct tmpl_held *tok; /* in order; first `given` have been taken */
    size_t ntok, given, cap;
    struct gen_token_logprobs *out;
    size_t out_cap;
    size_t drop; /* bytes given by the last take, removed by the next call */
    bool failed; /* memory ran out */
};
void tmpl_hold_init(struct tmpl_hold *h, size_t max_text);
void tmpl_hold_done(struct tmpl_hold *h);
/* lp are those of the tokens that make up `text`, in order; copied. */
void tmpl_hold_add(struct tmpl_hold *h, struct str text, const struct gen_token_logprobs *lp,
                   size_t nlp);
struct str tmpl_hold_text(struct tmpl_hold *h); /* what is held */
/* Give the first n bytes (n <= held): valid until the next call. lp and nlp may be NULL. */
struct str tmpl_hold_take(struct tmpl_hold *h, size_t n, const struct gen_token_logprobs **lp,
                          size_t *nlp);

#endif
