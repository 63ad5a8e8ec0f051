/* ledger_int.h: between the files of ledger/. */
#ifndef WEIR_LEDGER_INT_H
#define WEIR_LEDGER_INT_H

#include "ledger.h"

#include "arena.h"

#include <sqlite3.h>

/* ---- prices_data.c ---- */

struct price_row {
    const char *vendor, *model;
    struct price price; /* id is unset */
};
extern const struct price_row price_table[];
extern const size_t price_count;

/* ---- row.c: one row of `requests`; strings borrow ---- */

struct row {
    struct str id;
    int64_t time_ms, month;
    struct str status, code, message, end_reason, kind, dialect;
    bool stream;
    struct str model_asked, model, model_answered, provider, zone, req_zone;
    struct str reason, labels, plan, conversation, client;
    int64_t attempts;
    int64_t input, cached, cache_write, output, reasoning;
    bool estimated;
    int64_t reserved, carried, cost, baseline, charged; /* MONEY_UNKNOWN: NULL */
    struct str baseline_model, price;
    int64_t queue_ms, first_ms, total_ms; /* -1: NULL */
    double tokens_per_s;                  /* 0: NULL */
};

/* The row of a request before it has run; copies into a. */
int row_begin(struct row *r, const struct ledger_begin *b, struct arena *a, struct err *e);
/* What is known at the end; costs are the caller's to set. */
int row_end(struct row *r, const struct ledger_end *end, struct arena *a, struct err *e);
int64_t row_month(int64_t time_ms);

/* "id,time_ms,..." */
void row_columns(struct buf *out);
/* Insert, or overwrite while it is open. The statement is made by row_upsert_sql. */
void row_upsert_sql(struct buf *out);
int row_bind(sqlite3_stmt *st, const struct row *r);
/* From a statement that selects row_columns; strings live until the next step. */
void row_read(sqlite3_stmt *st, struct row *r);
void row_json(const struct row *r, struct buf *out);

/* ---- table.c: columns for a person ---- */

#define TABLE_COLUMNS 10

struct table {
    struct buf cells; /* NUL-terminated, row by row */
    int columns;
    bool right[TABLE_COLUMNS];
    size_t width[TABLE_COLUMNS];
    size_t count;
};
void table_init(struct table *t, int columns);
void table_done(struct table *t);
/* Control characters become '?', so that a model's name cannot move the cursor. */
void table_cell(struct table *t, struct str text);
void table_count(struct table *t, int64_t n); /* 1,234,567 */
void table_print(const struct table *t, struct buf *out);

#endif
