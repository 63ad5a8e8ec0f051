/* route.h: where a request should be answered, and why.
 *
 *   gen_req ──route_request_read──▶ route_request ┐
 *   models, prices, speeds, budgets ─────────────▶ route_facts ──route_plan_make──▶ route_plan
 *
 * Everything here is a pure function of its arguments: no clock, no socket, no file, no state. The
 * facts can be written as JSON and read back (route_facts_encode, _decode), and the same facts give
 * the same plan, byte for byte: a past decision can be replayed from the ledger.
 *
 * The order of the work: hard constraints remove candidates (zone, capability, context, offline,
 * key, budget, quota, health), each with a reason; what is left is ranked by expected quality, cost
 * and time, with the pulls a practitioner would name. docs/routing.md has the whole of it. */
#ifndef WEIR_ROUTE_H
#define WEIR_ROUTE_H

#include "buf.h"
#include "gen.h"

#define ROUTE_UNKNOWN INT64_MIN /* an amount or price nobody knows; never 0 */

/* ---- facts: the request ---- */

enum route_task {
    ROUTE_TASK_CHAT, /* nothing else was recognised */
    ROUTE_TASK_ASK,  /* a short question of fact */
    ROUTE_TASK_REWRITE,
    ROUTE_TASK_SUMMARISE,
    ROUTE_TASK_EXTRACT,
    ROUTE_TASK_CLASSIFY,
    ROUTE_TASK_TRANSLATE,
    ROUTE_TASK_WRITE, /* an e-mail, a story, a plan */
    ROUTE_TASK_CODE,
    ROUTE_TASK_MATHS,
    ROUTE_TASK_REASON, /* prove, derive, architect, diagnose, weigh */
    ROUTE_TASK_EXPERT, /* law, medicine, finance: judgement, not words */
};

enum route_domain { /* bits */
                    ROUTE_LAW = 1 << 0,
                    ROUTE_MEDICINE = 1 << 1,
                    ROUTE_FINANCE = 1 << 2,
                    ROUTE_SCIENCE = 1 << 3,
};

/* What the words of a request show. Read by features.c from the last user message, its history and
 * the system prompt; difficulty.c weighs them. */
struct route_signals {
    enum route_task task;
    unsigned domains;      /* enum route_domain */
    int32_t expert_terms;  /* distinct terms of art */
    int32_t hard_terms;    /* prove, derive, architect, diagnose, trade-offs, ... */
    int32_t demands;       /* separate things asked for: list items, questions, conditions */
    int32_t code_lines;    /* in the message */
    bool code, maths;      /* about code, about maths */
    bool fresh;            /* needs to know the present: today, latest, prices, news */
    bool client_facing;    /* goes out under somebody's name: clients, contracts, the press */
    bool foreign;          /* not mainly English */
    bool steps;            /* asks for several steps of reasoning */
    int64_t message_words; /* of the last user message */
};

enum route_latency {
    ROUTE_NORMAL,
    ROUTE_INTERACTIVE, /* voice, live UI */
    ROUTE_COMPLETION,  /* completion while somebody types */
};

struct route_request {
    enum gen_kind kind;
    int64_t prompt_tokens;
    bool prompt_exact;
    int64_t output_tokens;     /* expected, within the caller's limit; the context must hold it */
    int64_t max_output_tokens; /* the caller's limit; 0: none. The budget counts this one */
    bool needs_tools, needs_images, needs_audio, needs_documents, needs_json, needs_schema,
        needs_logprobs, needs_many;
    bool high_effort; /* the caller asked for hard thinking */
    enum gen_zone zone;
    const char *zone_reason; /* a sentence of privacy/'s; NULL: none */
    bool sensitive;          /* the zone comes from what was found, not from a wish */
    int32_t agent_steps;     /* tool results in the history */
    enum route_latency latency;
    struct route_signals signals;
};

/* ---- facts: the candidates ---- */

enum route_backend { ROUTE_LOCAL, ROUTE_PROVIDER };

struct route_candidate {
    const char *id;       /* "local/smollm2-135m", "openai/gpt-5": unique */
    const char *provider; /* "local", "openai" */
    const char *model;    /* as that provider calls it */
    enum route_backend backend;
    enum gen_zone zone;
    bool on_machine; /* reached without leaving this machine: loopback or a Unix socket */
    struct gen_caps caps;

    bool loaded;
    int64_t load_ms;                /* to load it, where it is not; ROUTE_UNKNOWN */
    int64_t queue_depth;            /* requests before this one */
    double prefill_tps, decode_tps; /* measured or declared; 0: unknown */
    int64_t first_ms;               /* to the first token apart from prefill; ROUTE_UNKNOWN */

    /* Nano-dollars per million tokens; ROUTE_UNKNOWN. A local model's are 0. */
    int64_t price_input, price_cached, price_output;
    const char *price_source;

    double params;  /* the model's size: 135e6; 0: unknown */
    double quality; /* 0 to 10, difficulty_int.h's scale; < 0: unknown, taken from params */
    const char *quality_source;

    bool healthy;
    const char *health_note;  /* why not; NULL */
    int64_t limited_until_ms; /* wall clock: 429 until then; 0: not limited */
    bool no_key;              /* an example, or a provider whose key is missing */
};

/* ---- facts: the policy ---- */

struct route_weights {
    double quality; /* of P(suffices) against what the request needs */
    double cost, time;
    double leave_site, leave_cloud; /* what it takes to leave the machine at all */
};
struct route_weights route_weights_default(void);

struct route_policy {
    bool private_only; /* preset private */
    bool offline;
    int64_t budget_left; /* nano-dollars of this month; ROUTE_UNKNOWN: no budget is set */
    bool store_failing;  /* nothing paid may go out */
    int64_t now_ms;      /* wall clock */
    const char *pinned;  /* the only model wanted: an id, or a model's name; NULL: auto */
    struct route_weights weights;
};

struct route_facts {
    struct route_request request;
    struct route_policy policy;
    struct route_candidate *candidates;
    size_t ncandidates;
};

/* Fill *out from a request and a count of its prompt's tokens (< 0: estimated here from its bytes).
 * now_ms: to know which years lie ahead. `latency` comes from the caller (header, preset);
 * GEN_INFILL is ROUTE_COMPLETION anyway. zone is the request's own; the app sets zone_reason and
 * sensitive. */
void route_request_read(const struct gen_req *req, int64_t prompt_tokens, bool exact,
                        enum route_latency latency, int64_t now_ms, struct route_request *out);
int64_t route_estimate_tokens(const struct gen_req *req); /* by bytes and script; rounded up */
/* "interactive", "completion", "normal"; ERR_INVAL. */
int route_latency_parse(struct str s, enum route_latency *out, struct err *e);

/* A candidate with everything unknown, healthy and able to chat. */
struct route_candidate route_candidate_default(void);

/* ---- the plan ---- */

enum route_removed {
    ROUTE_KEPT,
    ROUTE_NOT_PINNED,
    ROUTE_ZONE,
    ROUTE_OFFLINE,
    ROUTE_CAPABILITY,
    ROUTE_CONTEXT,
    ROUTE_NO_KEY,
    ROUTE_BUDGET,
    ROUTE_QUOTA,
    ROUTE_HEALTH,
};
const char *route_removed_name(enum route_removed r); /* "zone", "no-key", ... */

/* The main reason of the decision: the word in the header, the ledger and the page. */
enum route_why {
    ROUTE_WHY_PINNED,
    ROUTE_WHY_ONLY,    /* the only candidate left, by no special reason */
    ROUTE_WHY_PRIVACY, /* the zone left only this side */
    ROUTE_WHY_OFFLINE,
    ROUTE_WHY_BUDGET,
    ROUTE_WHY_QUOTA,      /* others are rate limited */
    ROUTE_WHY_HEALTH,     /* others do not answer */
    ROUTE_WHY_NO_KEY,     /* no provider is configured */
    ROUTE_WHY_NO_LOCAL,   /* there is no local model that could take it */
    ROUTE_WHY_CAPABILITY, /* images, tools, ... */
    ROUTE_WHY_CONTEXT,    /* too long for the others */
    ROUTE_WHY_LATENCY,    /* completion, voice */
    ROUTE_WHY_AGENT,      /* a long run of tool calls */
    ROUTE_WHY_SUFFICES,   /* the local model is good enough */
    ROUTE_WHY_DIFFICULTY, /* the local model is not */
    ROUTE_WHY_FRESH,      /* current information */
    ROUTE_WHY_CLIENT,     /* client-facing */
    ROUTE_WHY_LONG,       /* a very long document */
    ROUTE_WHY_TIME,       /* much faster there */
    ROUTE_WHY_COST,       /* much cheaper there */
};
const char *route_why_name(enum route_why w); /* "privacy", "no-key", "suffices", ... */

/* One candidate weighed. Filled for removed ones too, so a person sees what they would cost. */
struct route_choice {
    size_t candidate;           /* index into the facts */
    enum route_removed removed; /* ROUTE_KEPT in the ranking; else the first reason */
    unsigned obstacles;         /* bit (1 << enum route_removed): all of them */
    const char *sentence;       /* why removed, or what speaks for and against */
    double p;                   /* P(suffices) */
    double expected_quality;    /* p against what the request needs, 0 to 1 */
    int64_t cost;               /* nano-dollars expected; ROUTE_UNKNOWN */
    int64_t cost_bound;         /* the most it can cost; ROUTE_UNKNOWN */
    int64_t first_ms, total_ms; /* ROUTE_UNKNOWN */
    double score;               /* of the ranking: higher is better */
};

struct route_plan {
    int code; /* 0, or why nothing is left: ERR_NO_ROUTE, _POLICY, _BUDGET, _CONTEXT,
                 _UNSUPPORTED, _RATE, _AUTH, _NOT_FOUND, _CONNECT */
    size_t nranked;
    const struct route_choice *ranked; /* best first: the fail-over order */
    size_t nremoved;
    const struct route_choice *removed; /* in the order of the facts */
    enum route_why why;
    double difficulty;    /* difficulty_int.h's scale */
    const char *sentence; /* the decision, for a person; the error's message where code is not 0 */
    const char *header;   /* value of x-weir-route: ASCII, at most 200 bytes */
    /* With a key for everything and nothing else changed: the best candidate, when that is one
     * without a key. NULL otherwise. */
    const struct route_choice *would_be;
    const char *would_sentence;
};

/* The plan and its strings live in `a`; those of the facts must live as long. A plan without
 * candidates is a plan: the call succeeds and plan->code says why. ERR_INVAL: facts that make no
 * sense (more than 4,096 candidates, a NULL id, negative counts). ERR_NOMEM. */
int route_plan_make(struct arena *a, const struct route_facts *f, struct route_plan *out,
                    struct err *e);
/* The same as plan->header, when the ranked candidate `i` answers because those before it failed.
 * NULL: no memory. */
const char *route_plan_header(struct arena *a, const struct route_facts *f,
                              const struct route_plan *p, size_t i);
/* Plan and facts without all that only books and people read: what was removed, the sentences, what
 * speaks for the candidates. The ranking and whom it names are copied into `a`, and nothing of *f
 * and *p points elsewhere any more. ERR_NOMEM: both are as they were. */
int route_plan_narrow(struct arena *a, struct route_facts *f, struct route_plan *p, struct err *e);
/* 0, or the plan's code with its message in *e. */
int route_plan_error(const struct route_plan *p, struct err *e);

/* ---- JSON ---- */

/* One object, stable names; see docs/routing.md. Appended to *out: check buf_failed. */
void route_plan_json(const struct route_facts *f, const struct route_plan *p, struct buf *out);
void route_facts_encode(const struct route_facts *f, struct buf *out);
/* Strict: an unknown key, a wrong type or a value out of range is ERR_FORMAT and named. */
int route_facts_decode(struct arena *a, struct str json, struct route_facts *out, struct err *e);
/* Facts as JSON -> the plan as JSON, the same bytes as route_plan_json gave then. */
int route_replay(struct str facts_json, struct buf *out, struct err *e);

#endif
