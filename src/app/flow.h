/* flow.h: the state of one request under way, shared by the three files that move it on:
 * pipeline.c (decode, label, decide), attempt.c (reserve, start, stream, fail over, settle),
 * decide.c (facts). */
#ifndef WEIR_FLOW_H
#define WEIR_FLOW_H

#include "answer.h"
#include "bridge.h"
#include "house.h"
#include "ledger.h"
#include "models.h"
#include "pipeline.h"
#include "privacy.h"
#include "route.h"

#define FLOW_ARENA ((size_t)96 << 20)

struct flow {
    struct house *h;
    struct flow *next, *prev; /* the house's list */
    struct answer answer;
    struct face face;
    bool trusted,
        gone; /* gone: the client left; nothing is written any more, all is still booked */

    /* the request */
    uint64_t caller;
    struct arena *arena;
    struct gen_req *req;
    struct buf body; /* until it is decoded */
    struct str zone_header, preset_header, conversation, client, latency;
    bool raw, offline;
    char id[LEDGER_ID_MAX];
    int64_t came_ms;
    uint64_t came_ns;
    struct err err; /* of the worker's step */
    int rc;
    bool unread; /* the body could not be decoded */

    /* responses.c */
    bool recalled;               /* it goes on from a kept answer, */
    enum gen_zone recalled_zone; /* which may reach no looser zone than this */
    struct str kept_input; /* its own items, to be kept with the answer; empty: it is not kept */

    /* labels and decision */
    struct privacy_findings findings;
    enum gen_zone zone;
    bool taints;                /* what follows in this conversation keeps the zone */
    struct models_entry *local; /* counted with, held loaded; NULL: none */
    struct gen_count count;
    uint64_t hold_ns;         /* when a model was asked for */
    int64_t load_ns;          /* what waiting for models took: next to nothing for loaded ones */
    struct arena *deciding;   /* facts, plan and zone: large, and with a row booked not needed */
    struct route_facts facts; /* there, like the plan */
    size_t max_candidates;    /* room for them there */
    bool planned;
    struct route_plan plan;
    struct buf plan_json, labels_json;
    struct buf
        booked_json; /* the plan and the facts it was made from: a past decision can be replayed */

    /* the attempt under way */
    size_t candidate;
    struct gen_req sent;            /* the request as this candidate gets it; shares the arena */
    struct models_entry *answering; /* held loaded while it answers; NULL: a provider answers */
    struct gen_backend *backend;
    struct gen_run *run;
    struct bridge *bridge;
    struct ledger_begin begin;
    bool headed;  /* the headers that say who answers are set */
    bool visible; /* the client may have seen something: no fail-over any more */
    bool reserved;
    struct err step_err; /* what the store's thread says of its last job */
    int step_rc;

    /* what came */
    struct gen_usage usage;
    struct gen_times times;
    int64_t answer_bytes;     /* of text, reasoning and arguments, for an estimate */
    bool have_usage, started; /* started: START has been passed on */
    struct str model_answered, provider_id;
    const char *instead; /* NULL, or why the candidates before this one did not answer */
    struct buf text;     /* the answer, for the taint */
    uint64_t start_ns, first_ns, last_ns;
    struct gen_event held; /* DONE or ERROR, until the row is booked */
    struct str held_text;
    struct err held_err;
    struct ledger_end end;
    struct net_timer *timer; /* 10 s to the first event, then keep-alive */
};

/* decide.c: zone and plan from what is known. On the loop. Non-zero: f->err says why nobody may
 * answer. */
int flow_decide(struct flow *f);
/* The plan and the facts for the ledger's row, which copies them: borrowed until flow_unbook. Empty
 * when the row has them. */
struct str flow_booked(struct flow *f);
/* The row has the plan: keep of it what an answer may still need. */
void flow_narrow(struct flow *f);
void flow_unbook(struct flow *f);
/* attempt.c: try the plan's candidates from f->candidate on. On the loop. */
void flow_attempt(struct flow *f);
/* The client has gone. */
void flow_gone(struct flow *f);
/* Stop generating (server stops). */
void flow_cancel(struct flow *f);
/* pipeline.c: answer the error (where nothing was booked) and free. */
void flow_fail(struct flow *f, const struct err *err);
void flow_free(struct flow *f);

#endif
