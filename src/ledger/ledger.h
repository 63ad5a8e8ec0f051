/* ledger.h: what every call cost. Prices, rows, the monthly budget, reports, break-even.
 *
 * The life of a row:
 *   ledger_reserve   before dialling: the row is 'open' and holds the most the call can cost.
 *                    Refused with ERR_BUDGET when that does not fit into the month. The call may go
 *                    out only after `done` came with 0.
 *   ledger_settle    at the end, however it ended. The pipeline holds the last event until `done`.
 * A local call costs nothing and may skip ledger_reserve. A row left 'open' by a crash is closed as
 * 'crashed' at the next start and charged its reservation.
 *
 * All calls but the reports may be made on the loop: they copy what they are given and return. */
#ifndef WEIR_LEDGER_H
#define WEIR_LEDGER_H

#include "buf.h"
#include "gen.h"
#include "money.h"
#include "store.h"

/* ---- prices ---- */

/* Nano-dollars per million tokens; MONEY_UNKNOWN where the vendor names none. */
struct price {
    int64_t input, cached, cache_write, output;
    /* A request whose input is longer than long_above tokens is priced by these as a whole; 0: no
     * such tier. */
    int64_t long_above, long_input, long_cached, long_cache_write, long_output;
    int64_t max_output;        /* the most tokens the model can answer with; 0: unknown */
    const char *date, *source; /* when and where this was read; live as long as the prices */
    const char *id;            /* the row that matched, "openai/gpt-5"; "local" */
};

struct prices;
int prices_new(struct prices **out, struct err *e); /* holds the built-in table */
void prices_free(struct prices *p);
/* One key of a config section [price.MODEL] (MODEL: "gpt-5", or "PROVIDER/gpt-5"): input, cached,
 * cache-write, output, long-above, long-input, long-output, max-output: dollars per million tokens
 * (long-above, max-output: tokens), date, source. What is set here wins over the built-in row, key
 * by key. Before ledger_open only. ERR_NOT_FOUND: no such key. */
int prices_set(struct prices *p, struct str model, struct str key, struct str value, struct err *e);
/* The price of `model` at `provider`. The id is tried exactly, then without its provider prefix,
 * then without a date at its end ("-2025-08-07", "-20250929", "-latest"). An empty provider takes
 * "PROVIDER/MODEL", or the first vendor that has the model. A model of zone device or site costs 0
 * unless a config row says otherwise (so electricity is counted only where a row gives it).
 * ERR_NOT_FOUND: unknown. */
int prices_find(const struct prices *p, struct str provider, struct str model, enum gen_zone zone,
                struct price *out, struct err *e);
/* What `u` costs, rounded up to a nano-dollar. ERR_LIMIT when it does not fit, ERR_NOT_FOUND when
 * a price it needs is unknown. */
int price_cost(const struct price *p, const struct gen_usage *u, int64_t *nano, struct err *e);
/* The most a call can cost: `input` tokens at the dearest input price, `output` tokens more. */
int price_bound(const struct price *p, int64_t input, int64_t output, int64_t *nano, struct err *e);
/* The table, for `weir cost` and the page. */
int prices_list(const struct prices *p, bool json, struct buf *out, struct err *e);

/* ---- rows ---- */

#define LEDGER_ID_MAX 27
/* A new id: 26 characters, sorted by time (ULID). */
int ledger_id(char out[static LEDGER_ID_MAX], struct err *e);

/* What is known before a call. Strings are copied. */
struct ledger_begin {
    const char *id;  /* ledger_id() */
    int64_t time_ms; /* when the request came; 0: now */
    enum gen_kind kind;
    enum gen_dialect dialect; /* GEN_DIALECT_NONE: weir's own */
    bool stream;
    struct str model_asked, model; /* model: the one called */
    struct str provider;           /* "local", "openai", ... */
    enum gen_zone zone;            /* of the model called */
    enum gen_zone req_zone;        /* the loosest the request allowed */
    struct str reason;             /* one sentence: why it went there */
    struct str labels;             /* JSON array of the labels, or empty */
    struct str plan;               /* JSON of the route plan, or empty; kept up to 256 KiB. Empty,
                                      and reserved with one: that one stays, like the labels */
    struct str conversation;       /* stored as a hash only */
    struct str client;             /* the name of the client's key, or empty */
    int64_t input;                 /* tokens of the prompt; for the reservation */
    bool input_exact;              /* false: an estimate; the reservation adds a quarter and 64 */
    int64_t max_output;            /* of all choices together, the limit that is sent to the
                                      provider; 0: none is sent: the model's own, or 32,768 where
                                      that is unknown */
    int64_t carried;               /* nano-dollars that earlier attempts of this request cost */
};

/* How it ended. */
struct ledger_end {
    int code;               /* 0: ok; else err.h's; ERR_CANCELLED: the client left */
    struct str message;     /* of the error, without anything of the request's text */
    enum gen_reason reason; /* when code is 0 */
    struct str model_answered;
    struct gen_usage usage; /* estimated where the provider did not say; zeros: nothing was used */
    int64_t provider_cost;  /* nano-dollars as the provider itself says; -1: it does not */
    /* Since the request came; -1: never. queue_ms: until the backend was started. */
    int64_t queue_ms, first_ms, total_ms;
    double tokens_per_s; /* of the answer; 0: unknown */
};

struct ledger;

struct ledger_params {
    struct store *store;
    struct prices *prices; /* taken over: ledger_close frees it, also when ledger_open fails */
    int64_t budget;        /* nano-dollars a UTC calendar month; MONEY_UNKNOWN: no limit */
    const char *baseline;  /* cloud model that savings are counted against; NULL: none */
};
/* Blocks: closes what a crash left open. The caller owns $WEIR_HOME. */
int ledger_open(const struct ledger_params *p, struct ledger **out, struct err *e);
void ledger_close(struct ledger *l); /* before store_close; waits for its jobs; NULL is fine */
const struct prices *ledger_prices(const struct ledger *l);

/* done: on the store's thread, see store_done_fn: post to the loop. ERR_BUDGET: does not fit (the
 * message has the amounts), or the price is unknown while there is a budget. ERR_EXISTS: the row is
 * closed already. ERR_IO, ERR_NO_SPACE: the store failed. A second reservation under the same id is
 * the next attempt of the same request: it replaces the first. A non-zero return: not even queued,
 * no callback. */
int ledger_reserve(struct ledger *l, const struct ledger_begin *b, store_done_fn *done, void *ctx,
                   struct err *e);
/* Close the row, or write it whole when there was no reservation. Idempotent: a row is closed once;
 * a second time changes nothing and is acknowledged with 0. When the store fails, `done` (or, when
 * its queue is full, the return value; then no callback comes) says so: the answer ends with a
 * warning. The row is then kept and written with the next write that succeeds; if none does before
 * the process ends, a paid one is charged its reservation at the next start.
 * `done` may be NULL. */
int ledger_settle(struct ledger *l, const struct ledger_begin *b, const struct ledger_end *end,
                  store_done_fn *done, void *ctx, struct err *e);

/* What a row costs and would have cost at the baseline, by itself: MONEY_UNKNOWN where unknown. */
void ledger_costs(const struct ledger *l, const struct ledger_begin *b,
                  const struct ledger_end *end, int64_t *cost, int64_t *baseline);
/* The row as a JSON object, the same as ledger_row gives once it is written (but for `attempts`,
 * and `reserved` where nothing was): the `account` a client is shown. */
int ledger_account(const struct ledger *l, const struct ledger_begin *b,
                   const struct ledger_end *end, struct buf *out, struct err *e);
/* The most this call can cost, as ledger_reserve would hold it. ERR_NOT_FOUND: unknown. */
int ledger_bound(const struct ledger *l, const struct ledger_begin *b, int64_t *nano,
                 struct err *e);

/* The month as the route's facts want it; no I/O, any thread. */
struct ledger_budget {
    int64_t limit;   /* MONEY_UNKNOWN: none */
    int64_t charged; /* this month: spent and reserved */
    bool healthy;    /* false: the store fails, nothing paid may go out */
};
void ledger_budget(struct ledger *l, struct ledger_budget *out);

/* ---- reports: read-only, from any process; block ---- */

enum ledger_by {
    LEDGER_BY_DAY,
    LEDGER_BY_MONTH,
    LEDGER_BY_MODEL,
    LEDGER_BY_PROVIDER,
    LEDGER_BY_ZONE
};

struct ledger_query {
    enum ledger_by by;
    int64_t from_ms, to_ms; /* [from, to); to 0: now */
};
/* Per group and in total: requests, tokens, cost, how many have an unknown cost, what the baseline
 * would have cost, saved. JSON object, or an aligned table. Appends. */
int ledger_report(const char *home, const struct ledger_query *q, bool json, struct buf *out,
                  struct err *e);
/* The newest `limit` rows (at most 1000), older than `before` (an id; NULL: from the newest). JSON:
 * {"rows":[...]}. */
int ledger_recent(const char *home, int limit, const char *before, bool json, struct buf *out,
                  struct err *e);
/* One row. ERR_NOT_FOUND. */
int ledger_row(const char *home, const char *id, bool json, struct buf *out, struct err *e);
/* "YYYY-MM-DD" (UTC) to milliseconds. */
int ledger_date(struct str text, int64_t *ms, struct err *e);
/* The first instant of the UTC month that holds ms. */
int64_t ledger_month_start(int64_t ms);

#endif
