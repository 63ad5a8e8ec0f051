/* gen.h: the waist. One request, one stream of events, one shape of backend. Types only: no logic
 * lives here.
 *
 *   bytes ──wire──▶ gen_req ──privacy──▶ labels ──route──▶ plan ──▶ backend.start(req, sink)
 *   bytes ◀──wire── gen_event ◀── app/pipeline.c ◀────────────────────┘
 *
 * All `struct str` fields borrow: a request's from its arena, an event's only until the sink
 * returns. Text is bytes from outside: valid UTF-8 when it came through wire/ or local/, and
 * possibly holding NUL. */
#ifndef WEIR_GEN_H
#define WEIR_GEN_H

#include "arena.h"
#include "err.h"
#include "str.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- zones: where a request may be answered. A larger value is looser. ---- */

enum gen_zone {
    GEN_DEVICE = 0, /* this process, engines weir starts on Unix sockets, loopback addresses the
                       user declared */
    GEN_SITE = 1,   /* machines the user answers for */
    GEN_CLOUD = 2,  /* anybody else's */
};

/* ---- the request ---- */

enum gen_kind { GEN_CHAT, GEN_RAW, GEN_INFILL, GEN_EMBED, GEN_RERANK };
/* GEN_DEVELOPER is OpenAI's newer name for system; kept apart so that a round trip keeps it. */
enum gen_role { GEN_SYSTEM, GEN_DEVELOPER, GEN_USER, GEN_ASSISTANT, GEN_TOOL };

enum gen_part_type {
    GEN_PART_TEXT,        /* text */
    GEN_PART_IMAGE,       /* media: url, or mime + data */
    GEN_PART_AUDIO,       /* media */
    GEN_PART_DOCUMENT,    /* media; text = its title, where it has one */
    GEN_PART_TOOL_CALL,   /* assistant: id, name, args */
    GEN_PART_TOOL_RESULT, /* tool (or user, in Anthropic's dialect): id of the call, text, is_error
                           */
    GEN_PART_REASONING,   /* assistant: text; opaque = the signature the provider wants back */
    GEN_PART_OPAQUE,      /* assistant: opaque only (Anthropic's redacted_thinking) */
    GEN_PART_TOKENS,      /* GEN_EMBED: ids, of the answering model's own vocabulary */
};

struct gen_part {
    enum gen_part_type type;
    struct str text;
    struct str id, name;
    struct str args;       /* JSON text of the arguments, as it came */
    struct str mime, data; /* data: base64, as it came */
    struct str url;
    struct str opaque;
    const int32_t *ids;
    size_t nids;
    bool is_error;
    bool cache_mark; /* the caller marks the prefix up to here as worth caching */
};

struct gen_msg {
    enum gen_role role;
    struct str name;
    struct gen_part *parts;
    size_t nparts;
};

struct gen_tool {
    struct str name, description;
    struct str schema; /* JSON text of the parameters' schema; empty: no parameters */
    bool strict;
    bool cache_mark; /* as gen_part's */
};

enum gen_choice {
    GEN_CHOICE_UNSET,
    GEN_CHOICE_AUTO,
    GEN_CHOICE_NONE,
    GEN_CHOICE_REQUIRED,
    GEN_CHOICE_NAMED
};
enum gen_format { GEN_FORMAT_TEXT, GEN_FORMAT_JSON, GEN_FORMAT_SCHEMA };
enum gen_effort {
    GEN_EFFORT_UNSET,
    GEN_EFFORT_NONE,
    GEN_EFFORT_LOW,
    GEN_EFFORT_MEDIUM,
    GEN_EFFORT_HIGH
};

/* Which of the fields below the caller set. Unset ones take the backend's default. */
enum {
    GEN_SET_TEMPERATURE = 1 << 0,
    GEN_SET_TOP_P = 1 << 1,
    GEN_SET_TOP_K = 1 << 2,
    GEN_SET_MIN_P = 1 << 3,
    GEN_SET_SEED = 1 << 4,
    GEN_SET_FREQUENCY = 1 << 5,
    GEN_SET_PRESENCE = 1 << 6,
    GEN_SET_REPEAT = 1 << 7,
    GEN_SET_REPEAT_LAST_N = 1 << 8,
    GEN_SET_TYPICAL_P = 1 << 9,
    GEN_SET_TOP_N_SIGMA = 1 << 10,
    GEN_SET_XTC_PROBABILITY = 1 << 11,
    GEN_SET_XTC_THRESHOLD = 1 << 12,
    GEN_SET_DRY_MULTIPLIER = 1 << 13,
    GEN_SET_DRY_BASE = 1 << 14,
    GEN_SET_DRY_ALLOWED_LENGTH = 1 << 15,
    GEN_SET_DRY_LAST_N = 1 << 16,
    GEN_SET_DRY_BREAKERS = 1 << 17,
    GEN_SET_SAMPLERS = 1 << 18,
};

/* A number added to the logit of one of the answering model's own token ids. */
struct gen_bias {
    int32_t id;      /* -1: text counts */
    float bias;      /* -INFINITY: never */
    struct str text; /* instead of an id: of each token of this text */
};

struct gen_sampling {
    unsigned set;
    float temperature, top_p, min_p;
    float frequency_penalty, presence_penalty, repeat_penalty;
    int32_t top_k; /* 0: no limit */
    uint64_t seed;
    /* What local engines know beyond that; names as llama.cpp's server has them. */
    int32_t repeat_last_n, dry_allowed_length, dry_last_n; /* tokens; -1: all */
    float typical_p, top_n_sigma, xtc_probability, xtc_threshold, dry_multiplier, dry_base;
    struct str *dry_breakers;
    size_t ndry_breakers;
    struct str *samplers; /* their order, by name */
    size_t nsamplers;
    struct gen_bias *bias;
    size_t nbias;
    bool ignore_eos; /* the model's own end marks are never chosen */
};

/* Which dialect the request came in; `extra` is replayed to no other. */
enum gen_dialect {
    GEN_DIALECT_NONE,
    GEN_DIALECT_OPENAI,
    GEN_DIALECT_ANTHROPIC,
    GEN_DIALECT_RESPONSES, /* OpenAI's /v1/responses */
    GEN_DIALECT_OLLAMA,
    GEN_DIALECT_LMSTUDIO,
    GEN_DIALECT_LLAMA, /* llama-server's own paths */
};

/* A bare prompt: text, or ids of the answering model's own vocabulary, or both in turn. */
struct gen_prompt {
    struct str text;
    const int32_t *ids; /* NULL: text */
    size_t nids;
    /* Instead of both: each is text or ids, one put behind the other. The first of text begins as a
     * text prompt does; the text of later ones is tokenised without that. NULL: none. */
    const struct gen_prompt *pieces;
    size_t npieces;
};

/* A file that stands around the place to fill in. */
struct gen_file {
    struct str name, text;
};

struct gen_req {
    struct arena *arena; /* owns everything below */
    enum gen_kind kind;
    enum gen_dialect dialect;
    struct str model; /* as the caller wrote it: "auto", a local name, "provider/model" */

    struct gen_msg *msgs; /* GEN_CHAT; GEN_EMBED: an input each, a user's message of one part */
    size_t nmsgs;
    /* GEN_RAW: the bare prompt, may be empty. GEN_INFILL: what stands before the place to fill in.
     * n choices come of each prompt: those of `more[i]` have the indexes from (i + 1) * n on. */
    struct str prompt;
    const int32_t *prompt_ids; /* instead of its text; NULL */
    size_t nprompt_ids;
    const struct gen_prompt *prompt_pieces; /* GEN_RAW: instead of both, as gen_prompt's; NULL */
    size_t nprompt_pieces;
    bool prompt_only; /* GEN_RAW, GEN_INFILL: the prompt is read, and nothing is wanted of it but
                         that it is in the prefix cache; max_tokens is 1 for a backend that cannot,
                         and no text is given then */
    struct gen_prompt *more; /* GEN_RAW: further prompts */
    size_t nmore;
    bool echo;              /* GEN_RAW: who answers puts the prompt before the answer */
    struct str suffix;      /* GEN_INFILL: what stands behind the place */
    struct gen_file *files; /* GEN_INFILL: others that the model may look at */
    size_t nfiles;

    struct gen_tool *tools;
    size_t ntools;
    enum gen_choice tool_choice;
    struct str tool_choice_name;
    int8_t parallel_tools; /* -1 unset, 0, 1 */
    bool function_calls; /* OPENAI: the caller speaks of `functions`: it is told the first call, as
                            `function_call` */

    struct gen_sampling sampling;
    int64_t max_tokens; /* of output; 0: unset */
    struct str *stops;
    size_t nstops;
    int32_t n; /* choices; 1 */
    bool logprobs;
    int32_t top_logprobs; /* 0 to 20 */

    enum gen_format format;
    struct str schema_name, schema; /* GEN_FORMAT_SCHEMA: JSON text */
    bool schema_strict;
    struct str grammar; /* GBNF text that the answer keeps to; empty: none */

    enum gen_effort effort;
    bool must_think;         /* a model that cannot is to refuse; else an effort is a wish */
    int64_t thinking_budget; /* Anthropic's budget_tokens; 0: unset */

    int32_t dimensions; /* GEN_EMBED: keep so many of a row's numbers; 0: all */
    int64_t ctx;   /* positions that the model is to be loaded with at least, no more than it was
                      trained with; 0: what the server gives it */
    bool truncate; /* an input longer than the context is cut; else it is an error (a chat
                      loses its oldest messages, never the system's) */
    bool base64;   /* rows are wanted as base64 of little-endian floats */

    bool stream;
    bool stream_usage; /* OpenAI's stream_options.include_usage */
    struct str user;
    uint64_t caller; /* who asks, for a fair share of a local engine; 0: nobody in particular */
    struct str tmpl; /* the template to render with instead of the model's own (Jinja, or Ollama's
                        Go templates); empty: the model's */
    struct str previous_id; /* RESPONSES: the answer this goes on from; its messages are put before
                               these by who keeps them */
    bool store;             /* RESPONSES: keep request and answer for previous_id */
    bool load_only;   /* nothing is asked but that the model be loaded, or with keep_ms 0 that it
                         be unloaded: no messages, no prompt; the answer is START and DONE */
    bool keep_set;    /* keep_ms counts */
    int64_t keep_ms;  /* how long the model stays loaded when it has answered; -1: for good; 0: not
                         at all */
    struct str extra; /* JSON object text of the fields this dialect's decoder does not know; empty:
                         none */

    enum gen_zone
        zone; /* the loosest zone that may see it; decided by privacy/, obeyed by egress/ */
};

/* ---- the stream of events ---- */

enum gen_event_type {
    GEN_EV_START, /* once, first: text = model that answers, id = the provider's own id if any */
    GEN_EV_TEXT,  /* text, and logprobs where asked */
    GEN_EV_REASONING,  /* text */
    GEN_EV_TOOL_BEGIN, /* tool (0, 1, ... within the answer), id, name */
    GEN_EV_TOOL_ARGS,  /* tool, text = a piece of the arguments' JSON */
    GEN_EV_TOOL_END,   /* tool */
    GEN_EV_OPAQUE, /* text = signed blob; belongs to the reasoning before it; redacted: stands alone
                    */
    GEN_EV_EMBEDDING,  /* index: the input's number; embedding: of length 1 */
    GEN_EV_CHOICE_END, /* index, reason, text = the stop sequence that matched, raw: this choice is
                          whole. Of answers of several choices only; DONE still ends them all, and
                          its reason counts for choices that had no end of their own */
    GEN_EV_USAGE,      /* usage, cumulative: the last one counts */
    GEN_EV_DONE,       /* once, last: reason, text = the stop sequence that matched */
    GEN_EV_ERROR,      /* once, last, instead of DONE: err */
};

enum gen_reason {
    GEN_END_STOP,     /* the model ended its turn */
    GEN_END_SEQUENCE, /* a stop sequence of the caller's matched */
    GEN_END_LENGTH,   /* max_tokens, or the context is full */
    GEN_END_TOOLS,    /* the model calls tools */
    GEN_END_FILTER,   /* the provider's filter, or a refusal */
};

struct gen_logprob {
    struct str token; /* the token's bytes */
    int32_t id;
    float logprob;
};

struct gen_token_logprobs {
    struct gen_logprob chosen;
    const struct gen_logprob *top;
    size_t ntop;
};

struct gen_usage {
    int64_t input;       /* all prompt tokens, cached ones included */
    int64_t cached;      /* of those: read from a cache */
    int64_t cache_write; /* of those: written to the provider's cache */
    int64_t output;      /* all generated tokens, reasoning included */
    int64_t reasoning;   /* of those */
    bool estimated;      /* counted by us because the provider did not say */
};

/* Where the time went, in nanoseconds; 0: unknown. With GEN_EV_USAGE. */
struct gen_times {
    int64_t total, load, queue, prompt, write;
};

struct gen_event {
    enum gen_event_type type;
    int32_t index; /* the choice */
    int32_t tool;
    struct str text, id, name;
    bool redacted;
    const struct gen_token_logprobs *logprobs;
    size_t nlogprobs;
    const int32_t *ids; /* TEXT: the tokens it came of, of a local model; NULL: unknown */
    size_t nids;
    const float *embedding;
    size_t nembedding;
    struct gen_usage usage;
    struct gen_times times;
    enum gen_reason reason;
    struct str raw; /* DONE, CHOICE_END: all that a local model wrote, before it was parsed; empty:
                       unknown */
    const struct err *err;
};

/* ---- back-pressure and the backend ---- */

enum gen_verdict {
    GEN_GO,
    GEN_PAUSE,  /* taken, but send nothing more until resume(); a few events may still arrive */
    GEN_CANCEL, /* taken, and the caller wants no more: as if cancel() had been called */
};

struct gen_sink {
    enum gen_verdict (*event)(void *ctx, const struct gen_event *ev);
    void *ctx;
};

/* What one model of a backend can do. */
struct gen_caps {
    bool chat, raw, infill, embed, rerank, tools, images, audio, documents, json, schema, reasoning,
        logprobs, many; /* many: n > 1 */
    int64_t context;    /* tokens, prompt and answer; 0: unknown */
    int64_t max_output; /* 0: unknown */
};

/* The tokens of a request. The local backend keeps them so that start() does not tokenise again. */
struct gen_count {
    int64_t tokens;
    bool exact; /* false: an estimate */
    void *kept; /* NULL, or the backend's; freed by kept_free, or taken by start() which sets it to
                   NULL */
    void (*kept_free)(void *kept);
};

struct gen_run; /* one started request; the backend's */
struct gen_backend;

struct gen_backend_ops {
    const char *kind; /* "local", "provider", "fake" */
    /* ERR_NOT_FOUND: no such model here. */
    int (*describe)(struct gen_backend *b, struct str model, struct gen_caps *out, struct err *e);
    /* May block and may take milliseconds: call on a worker thread. */
    int (*count)(struct gen_backend *b, const struct gen_req *req, struct str model,
                 struct gen_count *out, struct err *e);
    /* Start `req` on `model`. `req` and its arena must live until DONE or ERROR has been delivered.
     * The sink is called from one thread at a time (the engine's, or the loop's): a sink that
     * belongs to the loop hops over itself. After a return of 0 exactly one DONE or ERROR arrives,
     * cancelled or not; after a failure none. `count` may be NULL. */
    int (*start)(struct gen_backend *b, const struct gen_req *req, struct str model,
                 struct gen_count *count, struct gen_sink sink, struct gen_run **out,
                 struct err *e);
    /* Callable from any thread, any number of times, after the end too. */
    void (*resume)(struct gen_run *run);
    void (*cancel)(struct gen_run *run);
    /* After DONE or ERROR was delivered, not from inside the sink. NULL is fine. */
    void (*release)(struct gen_run *run);
};

struct gen_backend {
    const struct gen_backend_ops *ops;
};

#endif
