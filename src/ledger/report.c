/* report.c: what was booked, for a person or a program. Read-only: any process may ask while the
 * owner of $WEIR_HOME writes, and sees whole transactions. Called by `weir cost` and the page, on a
 * thread that may block. */
#include "ledger_int.h"

#include "clock.h"

#include <inttypes.h>
#include <stdio.h>

#define GROUPS_MAX 10000
#define ROWS_MAX 1000

/* ---- sums ---- */

struct sums {
    int64_t requests, failed, cancelled, open;
    int64_t input, cached, output, estimated;
    int64_t unknown, reserved;
    /* Of the rows where they are known; MONEY_UNKNOWN where there are rows and none is known. */
    int64_t cost, baseline, saved;
};

static const char *group_of(enum ledger_by by)
{
    switch (by) {
    case LEDGER_BY_DAY: return "strftime('%Y-%m-%d',time_ms/1000,'unixepoch')";
    case LEDGER_BY_MONTH: return "strftime('%Y-%m',time_ms/1000,'unixepoch')";
    case LEDGER_BY_PROVIDER: return "coalesce(provider,'-')";
    case LEDGER_BY_ZONE: return "zone";
    default: return "coalesce(model,model_asked,'-')";
    }
}

static const char *by_name(enum ledger_by by)
{
    static const char *const names[] = {"day", "month", "model", "provider", "zone"};
    return names[by];
}

/* An open row is counted, but has no cost yet: what it holds is shown apart. */
static const char sum_sql[] =
    "SELECT %s AS g,count(*),sum(status IN('error','crashed')),sum(status='cancelled'),"
    "sum(status='open'),sum(input),sum(cached),sum(output),sum(estimated),"
    "sum(cost IS NULL AND status<>'open'),sum(iif(status='open',charged,0)),sum(cost),"
    "sum(iif(cost IS NULL,NULL,baseline)),sum(baseline-cost)"
    " FROM requests WHERE time_ms>=?1 AND time_ms<?2 GROUP BY g ORDER BY g LIMIT %d";

static void read_sums(sqlite3_stmt *st, struct sums *s)
{
    int64_t *counts[] = {&s->requests, &s->failed, &s->cancelled, &s->open,    &s->input,
                         &s->cached,   &s->output, &s->estimated, &s->unknown, &s->reserved};
    int64_t *amounts[] = {&s->cost, &s->baseline, &s->saved};
    const int first = 1, after = first + (int)(sizeof counts / sizeof counts[0]);
    for (int i = first; i < after; i++)
        *counts[i - first] = sqlite3_column_int64(st, i);
    /* A group of nothing but open rows has cost nothing yet. */
    int64_t none = s->open == s->requests ? 0 : MONEY_UNKNOWN;
    for (int i = 0; i < 3; i++)
        *amounts[i] = sqlite3_column_type(st, after + i) == SQLITE_NULL
                          ? none
                          : sqlite3_column_int64(st, after + i);
}

/* False: the sum does not fit. What is unknown adds nothing. */
static bool add_known(int64_t *total, int64_t more)
{
    if (more == MONEY_UNKNOWN)
        return true;
    if (*total == MONEY_UNKNOWN)
        *total = 0;
    return money_add(*total, more, total);
}

static bool add_sums(struct sums *t, const struct sums *s)
{
    t->requests += s->requests;
    t->failed += s->failed;
    t->cancelled += s->cancelled;
    t->open += s->open;
    t->input += s->input;
    t->cached += s->cached;
    t->output += s->output;
    t->estimated += s->estimated;
    t->unknown += s->unknown;
    return add_known(&t->reserved, s->reserved) && add_known(&t->cost, s->cost) &&
           add_known(&t->baseline, s->baseline) && add_known(&t->saved, s->saved);
}

static void json_money(const char *name, int64_t v, struct buf *out)
{
    char text[32];
    if (v == MONEY_UNKNOWN)
        buf_printf(out, ",\"%s_nano\":null,\"%s\":\"unknown\"", name, name);
    else
        buf_printf(out, ",\"%s_nano\":%" PRId64 ",\"%s\":\"%s\"", name, v, name,
                   money_exact(v, text));
}

static void sums_json(const struct sums *s, struct buf *out)
{
    buf_printf(out,
               "\"requests\":%" PRId64 ",\"failed\":%" PRId64 ",\"cancelled\":%" PRId64
               ",\"open\":%" PRId64 ",\"input\":%" PRId64 ",\"cached\":%" PRId64
               ",\"output\":%" PRId64 ",\"estimated\":%" PRId64 ",\"unknown_cost\":%" PRId64,
               s->requests, s->failed, s->cancelled, s->open, s->input, s->cached, s->output,
               s->estimated, s->unknown);
    json_money("cost", s->cost, out);
    json_money("reserved", s->reserved, out);
    json_money("baseline", s->baseline, out);
    json_money("saved", s->saved, out);
}

static void money_cell(struct table *t, int64_t v)
{
    char text[32];
    table_cell(t, str_of(money_exact(v, text)));
}

static void sums_cells(struct table *t, struct str group, const struct sums *s)
{
    table_cell(t, group);
    table_count(t, s->requests);
    table_count(t, s->failed);
    table_count(t, s->input);
    table_count(t, s->output);
    money_cell(t, s->cost);
    table_count(t, s->unknown);
    money_cell(t, s->baseline);
    money_cell(t, s->saved);
}

static void sums_heads(struct table *t, enum ledger_by by)
{
    static const char *const firsts[] = {"DAY", "MONTH", "MODEL", "PROVIDER", "ZONE"};
    static const char *const heads[] = {"REQUESTS", "FAILED",  "INPUT",    "OUTPUT",
                                        "COST",     "UNKNOWN", "BASELINE", "SAVED"};
    table_cell(t, str_of(firsts[by]));
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        table_cell(t, str_of(heads[i]));
        t->right[i + 1] = true;
    }
}

static int prepare_sums(sqlite3 *db, const struct ledger_query *q, sqlite3_stmt **st, struct err *e)
{
    char sql[1024];
    int64_t to = q->to_ms > 0 ? q->to_ms : INT64_MAX;
    snprintf(sql, sizeof sql, sum_sql, group_of(q->by), GROUPS_MAX);
    int rc = sqlite3_prepare_v2(db, sql, -1, st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(*st, 1, q->from_ms);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(*st, 2, to);
    return rc == SQLITE_OK ? 0 : store_sql_err(db, rc, "report", e);
}

static struct str text_of(sqlite3_stmt *st, int column)
{
    const char *p = (const char *)sqlite3_column_text(st, column);
    return str_n(p, p ? (size_t)sqlite3_column_bytes(st, column) : 0);
}

static int each_group(sqlite3 *db, sqlite3_stmt *st, bool json, struct sums *total, struct table *t,
                      struct buf *out, struct err *e)
{
    int rc;
    bool first = true;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct sums s;
        struct str group = text_of(st, 0);
        read_sums(st, &s);
        if (!add_sums(total, &s))
            return err_set(e, ERR_LIMIT, "the total is more than the books can hold");
        if (json) {
            buf_puts(out, first ? "{\"group\":" : ",{\"group\":");
            buf_json_str(out, group);
            buf_putc(out, ',');
            sums_json(&s, out);
            buf_putc(out, '}');
        } else {
            sums_cells(t, group, &s);
        }
        first = false;
    }
    return rc == SQLITE_DONE ? 0 : store_sql_err(db, rc, "report", e);
}

static void print_notes(const struct sums *total, struct buf *out)
{
    char text[32];
    if (total->unknown)
        buf_printf(out,
                   "%" PRId64 " of %" PRId64 " requests have no known price; they are not in "
                   "these sums.\n",
                   total->unknown, total->requests);
    if (total->open)
        buf_printf(out, "%" PRId64 " under way, holding %s.\n", total->open,
                   money_exact(total->reserved, text));
    if (total->estimated)
        buf_printf(out, "%" PRId64 " with tokens that weir counted itself.\n", total->estimated);
}

static int print_groups(sqlite3 *db, sqlite3_stmt *st, const struct ledger_query *q, bool json,
                        struct buf *out, struct err *e)
{
    struct sums total = {.cost = MONEY_UNKNOWN, .baseline = MONEY_UNKNOWN, .saved = MONEY_UNKNOWN};
    struct table t;
    table_init(&t, 9);
    sums_heads(&t, q->by);
    if (json)
        buf_printf(out, "{\"by\":\"%s\",\"from_ms\":%" PRId64 ",\"groups\":[", by_name(q->by),
                   q->from_ms);
    int rc = each_group(db, st, json, &total, &t, out, e);
    if (total.open == total.requests) /* nothing has ended: that cost nothing */
        total.cost = total.baseline = total.saved = 0;
    if (json) {
        buf_puts(out, "],\"total\":{");
        sums_json(&total, out);
        buf_puts(out, "}}\n");
    } else if (total.requests == 0) {
        buf_puts(out, "No requests yet.\n");
    } else {
        sums_cells(&t, STR("total"), &total);
        table_print(&t, out);
        print_notes(&total, out);
    }
    table_done(&t);
    return rc;
}

static int check_out(int rc, const struct buf *out, struct err *e)
{
    return rc == 0 && buf_failed(out) ? err_set(e, ERR_TOO_LARGE, "the report is too large") : rc;
}

int ledger_report(const char *home, const struct ledger_query *q, bool json, struct buf *out,
                  struct err *e)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    if ((unsigned)q->by > LEDGER_BY_ZONE)
        return err_set(e, ERR_INVAL, "no such grouping");
    int rc = store_read_open(home, &db, e);
    if (rc)
        return rc;
    rc = prepare_sums(db, q, &st, e);
    if (rc == 0)
        rc = print_groups(db, st, q, json, out, e);
    sqlite3_finalize(st);
    store_read_close(db);
    return check_out(rc, out, e);
}

/* ---- rows ---- */

static int select_rows(sqlite3 *db, const char *where, struct str id, int limit, sqlite3_stmt **st,
                       struct err *e)
{
    struct buf sql = BUF_INIT(8192);
    buf_puts(&sql, "SELECT ");
    row_columns(&sql);
    buf_printf(&sql, " FROM requests WHERE %s ORDER BY time_ms DESC,id DESC LIMIT ?2", where);
    int rc = buf_failed(&sql) ? SQLITE_NOMEM : sqlite3_prepare_v2(db, sql.p, -1, st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text64(*st, 1, id.n ? id.p : "", id.n, SQLITE_STATIC, SQLITE_UTF8);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int(*st, 2, limit);
    buf_done(&sql);
    return rc == SQLITE_OK ? 0 : store_sql_err(db, rc, "report", e);
}

static void recent_cells(struct table *t, const struct row *r)
{
    char text[32];
    clock_iso(r->time_ms, text);
    table_cell(t, str_n(text, 19));
    table_cell(t, r->id);
    table_cell(t, r->status);
    table_cell(t, r->zone);
    table_cell(t, r->provider);
    table_cell(t, r->model.n ? r->model : r->model_asked);
    table_count(t, r->input);
    table_count(t, r->output);
    money_cell(t, r->status.n && str_is(r->status, "open") ? r->charged : r->cost);
}

static void recent_heads(struct table *t)
{
    static const char *const heads[] = {"TIME (UTC)", "ID",    "STATUS", "ZONE", "PROVIDER",
                                        "MODEL",      "INPUT", "OUTPUT", "COST"};
    table_init(t, 9);
    for (int i = 0; i < 9; i++)
        table_cell(t, str_of(heads[i]));
    for (int i = 6; i < 9; i++)
        t->right[i] = true;
}

static int print_rows(sqlite3 *db, sqlite3_stmt *st, bool json, struct buf *out, struct err *e)
{
    struct table t;
    int rc;
    bool first = true;
    recent_heads(&t);
    if (json)
        buf_puts(out, "{\"rows\":[");
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct row r;
        row_read(st, &r);
        if (json && !first)
            buf_putc(out, ',');
        if (json)
            row_json(&r, out);
        else
            recent_cells(&t, &r);
        first = false;
    }
    if (json)
        buf_puts(out, "]}\n");
    else
        table_print(&t, out);
    table_done(&t);
    return rc == SQLITE_DONE ? 0 : store_sql_err(db, rc, "report", e);
}

int ledger_recent(const char *home, int limit, const char *before, bool json, struct buf *out,
                  struct err *e)
{
    static const char all[] = "?1=''";
    static const char older[] = "(time_ms,id)<(SELECT time_ms,id FROM requests WHERE id=?1)";
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int n = limit < 1 ? 1 : limit > ROWS_MAX ? ROWS_MAX : limit;
    bool from_top = !before || !*before;
    int rc = store_read_open(home, &db, e);
    if (rc)
        return rc;
    rc = select_rows(db, from_top ? all : older, str_of(from_top ? "" : before), n, &st, e);
    if (rc == 0)
        rc = print_rows(db, st, json, out, e);
    sqlite3_finalize(st);
    store_read_close(db);
    return check_out(rc, out, e);
}

static void line(struct table *t, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    table_cell(t, str_of(name));
    table_cell(t, value);
}

static void line_int(struct table *t, const char *name, int64_t v, const char *unit)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%" PRId64 "%s", v, unit);
    if (v >= 0)
        line(t, name, str_n(text, (size_t)n));
}

static void row_text(const struct row *r, struct buf *out)
{
    char text[64];
    struct table t;
    table_init(&t, 2);
    line(&t, "id", r->id);
    line(&t, "time", str_of(clock_iso(r->time_ms, text)));
    line(&t, "status", r->status);
    line(&t, "error", r->code);
    line(&t, "message", r->message);
    line(&t, "end", r->end_reason);
    line(&t, "kind", r->kind);
    line(&t, "dialect", r->dialect);
    line(&t, "asked for", r->model_asked);
    line(&t, "model", r->model);
    line(&t, "answered by", r->model_answered);
    line(&t, "provider", r->provider);
    line(&t, "zone", r->zone);
    line(&t, "allowed zone", r->req_zone);
    line(&t, "why", r->reason);
    line(&t, "labels", r->labels);
    line(&t, "client", r->client);
    line_int(&t, "attempts", r->attempts, "");
    line_int(&t, "input", r->input, " tokens");
    line_int(&t, "cached", r->cached, " tokens");
    line_int(&t, "output", r->output, r->estimated ? " tokens (estimated)" : " tokens");
    line(&t, "cost", str_of(money_exact(r->cost, text)));
    line(&t, "price", r->price);
    line(&t, "baseline", str_of(money_exact(r->baseline, text)));
    line(&t, "baseline model", r->baseline_model);
    if (r->reserved != MONEY_UNKNOWN)
        line(&t, "reserved", str_of(money_exact(r->reserved, text)));
    line_int(&t, "in the queue", r->queue_ms, " ms");
    line_int(&t, "first token", r->first_ms, " ms");
    line_int(&t, "in all", r->total_ms, " ms");
    if (r->tokens_per_s > 0) {
        snprintf(text, sizeof text, "%.1f tokens/s", r->tokens_per_s);
        line(&t, "speed", str_of(text));
    }
    table_print(&t, out);
    table_done(&t);
}

int ledger_row(const char *home, const char *id, bool json, struct buf *out, struct err *e)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int rc = store_read_open(home, &db, e);
    if (rc)
        return rc;
    rc = select_rows(db, "id=?1", str_of(id), 1, &st, e);
    int sql = rc ? SQLITE_DONE : sqlite3_step(st);
    if (rc == 0 && sql == SQLITE_ROW) {
        struct row r;
        row_read(st, &r);
        if (json)
            row_json(&r, out);
        else
            row_text(&r, out);
        if (json)
            buf_putc(out, '\n');
    } else if (rc == 0) {
        rc = sql == SQLITE_DONE ? err_set(e, ERR_NOT_FOUND, "no row %s", id)
                                : store_sql_err(db, sql, "report", e);
    }
    sqlite3_finalize(st);
    store_read_close(db);
    return check_out(rc, out, e);
}
