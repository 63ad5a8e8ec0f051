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
    bool infill; /* one of Go's that reads .Suffix: it renders a GEN_INFILL's prompt and suffix */
};
void tmpl_describe(const struct tmpl *t, struct tmpl_traits *out);

/* ---- what the model writes, to events ---- */

/* Feeds decoded text, emits GEN_EV_TEXT, REASONING and tool events to the sink. Half-written syntax
 * becomes text at the end, never an error. One per choice. */
struct tmpl_parser;
/* The ways in which families write calls and reasoning: rows of the table in tmpl_syntax.c. */
enum tmpl_syntax {
    TMPL_SYNTAX_PLAIN,          /* everything is text */
    TMPL_SYNTAX_THINK,          /* <think> ... </think>, no calls */
    TMPL_SYNTAX_HERMES,         /* <tool_call>{json}</tool_call>: Hermes, Qwen, Granite 4, Bielik */
    TMPL_SYNTAX_QWEN_XML,       /* <function=f><parameter=a>: Qwen3-Coder, Qwen3.5, Nemotron 3 */
    TMPL_SYNTAX_SEED,           /* the same in <seed:tool_call>, <seed:think> */
    TMPL_SYNTAX_LLAMA,          /* bare {"name", "parameters"}, <|python_tag|> */
    TMPL_SYNTAX_MISTRAL,        /* [TOOL_CALLS]f[ARGS]{json}, [THINK] */
    TMPL_SYNTAX_MISTRAL_LIST,   /* [TOOL_CALLS][{json}]: before Mistral Small 3.2 */
    TMPL_SYNTAX_HARMONY,        /* gpt-oss: <|channel|>, <|message|> */
    TMPL_SYNTAX_DEEPSEEK,       /* R1, V3, V3.1: tool calls begin */
    TMPL_SYNTAX_DSML,           /* V3.2 */
    TMPL_SYNTAX_DSML_V4,        /* V4: another name of the section */
    TMPL_SYNTAX_KIMI,           /* K2 */
    TMPL_SYNTAX_KIMI_K3,        /* <|open|>call tool="f"<|sep|> */
    TMPL_SYNTAX_GLM,            /* <tool_call>f <arg_key>: GLM 4.x, Laguna, Ling 3, Spark */
    TMPL_SYNTAX_HY,             /* the same with names of Hunyuan's own */
    TMPL_SYNTAX_MINIMAX,        /* M2: <invoke name="f"><parameter name="a"> */
    TMPL_SYNTAX_MINIMAX_M3,     /* elements named after the parameters */
    TMPL_SYNTAX_MUSE,           /* <atem:invoke name="f">, to=self */
    TMPL_SYNTAX_FUNCTIONARY_31, /* <function=f>{json}</function> */
    TMPL_SYNTAX_FUNCTIONARY_32, /* >>>f\n{json} */
    TMPL_SYNTAX_FIREFUNCTION,   /* functools[{json}] */
    TMPL_SYNTAX_GRANITE,        /* <|tool_call|>[{json}] */
    TMPL_SYNTAX_COHERE,         /* <|START_ACTION|>, <|START_THINKING|> */
    TMPL_SYNTAX_LFM2,           /* <|tool_call_start|>[f(a=1)]<|tool_call_end|> */
    TMPL_SYNTAX_OLMO,           /* <function_calls>f(a=1)</function_calls> */
    TMPL_SYNTAX_APERTUS,        /* <|tools_prefix|>[{"f": {json}}]<|tools_suffix|> */
    TMPL_SYNTAX_NEMOTRON,       /* <TOOLCALL>[{json}]</TOOLCALL> */
    TMPL_SYNTAX_APRIEL,         /* <tool_calls>[{json}]</tool_calls>, <thinking> */
    TMPL_SYNTAX_GEMMA,          /* Gemma 4: <|tool_call>call:f{a:1}<tool_call|>, <|channel> */
    TMPL_SYNTAX_SOLAR,          /* <|tool_call:begin|> */
    TMPL_SYNTAX_GIGACHAT,       /* <|function_call|>{json} */
    TMPL_NSYNTAX
};
enum tmpl_syntax tmpl_syntax_of(const struct tmpl *t);
/* Can calls of tools be read in it? */
bool tmpl_syntax_calls(enum tmpl_syntax syntax);
/* Does a prompt that ends so leave the model inside its reasoning? */
bool tmpl_syntax_opens_thinking(enum tmpl_syntax syntax, struct str prompt);

/* How a call is written, for a grammar that holds a model to it. `trigger` NULL: this syntax's
 * arguments are not JSON, or its calls have no beginning of their own.
 *
 *   trigger before_name NAME between ARGUMENTS after (separator before_name ...)* end */
struct tmpl_call_form {
    const char *trigger;     /* what begins calls: from here on the grammar holds */
    const char *before_name; /* after the trigger, and again after each separator */
    const char *between;     /* name and arguments */
    const char *after;       /* the arguments */
    const char *separator;   /* between two calls; NULL: one call at a time */
    const char *end;         /* after the last call */
};
/* NULL: none. */
const struct tmpl_call_form *tmpl_syntax_form(enum tmpl_syntax syntax);

/* The tools of `req` are what calls are read for, and their schemas say what is text; NULL, or none
 * in it: what looks like a call is text. It must outlive the parser. NULL when out of memory. */
struct tmpl_parser *tmpl_parser_new(enum tmpl_syntax syntax, const struct gen_req *req,
                                    int32_t index, struct gen_sink sink);
/* Is this text of a control token part of the syntax? Then it must be fed; others must not. */
bool tmpl_parser_wants(const struct tmpl_parser *p, struct str token);
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
