/* row.c: one row of `requests`, described once. The table below gives the columns of every
 * statement, how each is bound and read, and its place in the JSON that a client is shown. */
#include "ledger_int.h"

#include "clock.h"
#include "utf8.h"

#include <jansson.h>
#include <sodium.h>
#include <time.h>

#define NAME_MAX_BYTES 256
#define REASON_MAX_BYTES 2048
#define JSON_MAX_BYTES (256 << 10)
#define HASH_BYTES 16

enum column_type {
    COL_TEXT,   /* empty: NULL */
    COL_JSON,   /* the same; text that is JSON already. What is written again without it keeps it */
    COL_INT,    /* never NULL */
    COL_BOOL,   /* never NULL */
    COL_MS,     /* -1: NULL */
    COL_MONEY,  /* MONEY_UNKNOWN: NULL */
    COL_REAL,   /* 0: NULL */
    COL_HIDDEN, /* COL_INT that is nobody's business outside */
};

static const struct {
    const char *name;
    enum column_type type;
    size_t offset;
} columns[] = {
#define AT(type, name)                                                                             \
    {                                                                                              \
#name, type, offsetof(struct row, name)                                                    \
    }
    AT(COL_TEXT, id),
    AT(COL_INT, time_ms),
    AT(COL_HIDDEN, month),
    AT(COL_TEXT, status),
    AT(COL_TEXT, code),
    AT(COL_TEXT, message),
    AT(COL_TEXT, end_reason),
    AT(COL_TEXT, kind),
    AT(COL_TEXT, dialect),
    AT(COL_BOOL, stream),
    AT(COL_TEXT, model_asked),
    AT(COL_TEXT, model),
    AT(COL_TEXT, model_answered),
    AT(COL_TEXT, provider),
    AT(COL_TEXT, zone),
    AT(COL_TEXT, req_zone),
    AT(COL_TEXT, reason),
    AT(COL_JSON, labels),
    AT(COL_JSON, plan),
    AT(COL_TEXT, conversation),
    AT(COL_TEXT, client),
    AT(COL_INT, attempts),
    AT(COL_INT, input),
    AT(COL_INT, cached),
    AT(COL_INT, cache_write),
    AT(COL_INT, output),
    AT(COL_INT, reasoning),
    AT(COL_BOOL, estimated),
    AT(COL_MONEY, reserved),
    AT(COL_MONEY, carried),
    AT(COL_MONEY, cost),
    AT(COL_MONEY, baseline),
    AT(COL_MONEY, charged),
    AT(COL_TEXT, baseline_model),
    AT(COL_TEXT, price),
    AT(COL_MS, queue_ms),
    AT(COL_MS, first_ms),
    AT(COL_MS, total_ms),
    AT(COL_REAL, tokens_per_s),
#undef AT
};
#define NCOLUMNS (sizeof columns / sizeof columns[0])

static void *at(struct row *r, size_t i)
{
    return (char *)r + columns[i].offset;
}

static const void *at_const(const struct row *r, size_t i)
{
    return (const char *)r + columns[i].offset;
}

/* ---- SQL ---- */

void row_columns(struct buf *out)
{
    for (size_t i = 0; i < NCOLUMNS; i++)
        buf_printf(out, "%s%s", i ? "," : "", columns[i].name);
}

void row_upsert_sql(struct buf *out)
{
    buf_puts(out, "INSERT INTO requests(");
    row_columns(out);
    buf_puts(out, ")VALUES(");
    for (size_t i = 0; i < NCOLUMNS; i++)
        buf_printf(out, "%s?%zu", i ? "," : "", i + 1);
    buf_puts(out, ")ON CONFLICT(id)DO UPDATE SET ");
    for (size_t i = 1; i < NCOLUMNS; i++) {
        const char *name = columns[i].name;
        bool stays = columns[i].type == COL_JSON;
        buf_printf(out, "%s%s=", i > 1 ? "," : "", name);
        buf_printf(out, stays ? "coalesce(excluded.%s,requests.%s)" : "excluded.%s", name, name);
    }
    buf_puts(out, " WHERE requests.status='open'");
}

static int bind_one(sqlite3_stmt *st, int at_index, enum column_type type, const void *p)
{
    int64_t v;
    switch (type) {
    case COL_TEXT:
    case COL_JSON: {
        const struct str *s = p;
        return s->n ? sqlite3_bind_text64(st, at_index, s->p, s->n, SQLITE_STATIC, SQLITE_UTF8)
                    : sqlite3_bind_null(st, at_index);
    }
    case COL_BOOL: return sqlite3_bind_int(st, at_index, *(const bool *)p);
    case COL_REAL:
        return *(const double *)p > 0 ? sqlite3_bind_double(st, at_index, *(const double *)p)
                                      : sqlite3_bind_null(st, at_index);
    default: break;
    }
    v = *(const int64_t *)p;
    if ((type == COL_MS && v < 0) || (type == COL_MONEY && v == MONEY_UNKNOWN))
        return sqlite3_bind_null(st, at_index);
    return sqlite3_bind_int64(st, at_index, v);
}

int row_bind(sqlite3_stmt *st, const struct row *r)
{
    for (size_t i = 0; i < NCOLUMNS; i++) {
        int rc = bind_one(st, (int)i + 1, columns[i].type, at_const(r, i));
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

void row_read(sqlite3_stmt *st, struct row *r)
{
    *r = (struct row){0};
    for (size_t i = 0; i < NCOLUMNS; i++) {
        int c = (int)i;
        bool null = sqlite3_column_type(st, c) == SQLITE_NULL;
        switch (columns[i].type) {
        case COL_TEXT:
        case COL_JSON: {
            const char *text = (const char *)sqlite3_column_text(st, c);
            *(struct str *)at(r, i) = str_n(text, text ? (size_t)sqlite3_column_bytes(st, c) : 0);
            break;
        }
        case COL_BOOL: *(bool *)at(r, i) = sqlite3_column_int(st, c) != 0; break;
        case COL_REAL: *(double *)at(r, i) = sqlite3_column_double(st, c); break;
        case COL_MS: *(int64_t *)at(r, i) = null ? -1 : sqlite3_column_int64(st, c); break;
        case COL_MONEY:
            *(int64_t *)at(r, i) = null ? MONEY_UNKNOWN : sqlite3_column_int64(st, c);
            break;
        default: *(int64_t *)at(r, i) = sqlite3_column_int64(st, c); break;
        }
    }
}

/* ---- JSON ---- */

static void json_money(const char *name, int64_t v, struct buf *out)
{
    char text[32];
    if (v == MONEY_UNKNOWN)
        buf_printf(out, "\"%s_nano\":null,\"%s\":\"unknown\"", name, name);
    else
        buf_printf(out, "\"%s_nano\":%lld,\"%s\":\"%s\"", name, (long long)v, name,
                   money_exact(v, text));
}

static void json_int(const char *name, int64_t v, bool null, struct buf *out)
{
    if (null)
        buf_printf(out, "\"%s\":null", name);
    else
        buf_printf(out, "\"%s\":%lld", name, (long long)v);
}

static void json_text(const char *name, struct str s, bool raw, struct buf *out)
{
    buf_printf(out, "\"%s\":", name);
    if (s.n == 0)
        buf_puts(out, "null");
    else if (raw)
        buf_str_add(out, s);
    else
        buf_json_str(out, s);
}

static void json_column(const struct row *r, size_t i, struct buf *out)
{
    const char *name = columns[i].name;
    const void *p = at_const(r, i);
    switch (columns[i].type) {
    case COL_TEXT: json_text(name, *(const struct str *)p, false, out); break;
    case COL_JSON: json_text(name, *(const struct str *)p, true, out); break;
    case COL_BOOL: buf_printf(out, "\"%s\":%s", name, *(const bool *)p ? "true" : "false"); break;
    case COL_REAL:
        if (*(const double *)p > 0)
            buf_printf(out, "\"%s\":%.2f", name, *(const double *)p);
        else
            buf_printf(out, "\"%s\":null", name);
        break;
    case COL_MONEY: json_money(name, *(const int64_t *)p, out); break;
    case COL_MS: json_int(name, *(const int64_t *)p, *(const int64_t *)p < 0, out); break;
    default: json_int(name, *(const int64_t *)p, false, out); break;
    }
}

void row_json(const struct row *r, struct buf *out)
{
    char when[32];
    int64_t saved = MONEY_UNKNOWN;
    buf_putc(out, '{');
    for (size_t i = 0; i < NCOLUMNS; i++) {
        if (columns[i].type == COL_HIDDEN)
            continue;
        json_column(r, i, out);
        buf_putc(out, ',');
    }
    if (r->cost != MONEY_UNKNOWN && r->baseline != MONEY_UNKNOWN)
        money_add(r->baseline, -r->cost, &saved);
    json_money("saved", saved, out);
    buf_printf(out, ",\"time\":\"%s\"}", clock_iso(r->time_ms, when));
}

/* ---- from what the pipeline knows ---- */

/* At most max bytes, at the end of a character; a failure to copy shows as an empty string with
 * *failed set. */
static struct str copy(struct arena *a, struct str s, size_t max, bool *failed)
{
    if (s.n > max) {
        s.n = max;
        s.n -= utf8_partial_tail(s);
    }
    struct str c = s.n ? arena_str(a, s) : STR_NONE;
    *failed = *failed || (s.n && !c.p);
    return c;
}

/* JSON goes into answers as it is, so what is not JSON is kept as a string of it; what is too long
 * is left out. */
static struct str copy_json(struct arena *a, struct str s, bool *failed)
{
    if (s.n == 0 || s.n > JSON_MAX_BYTES)
        return STR_NONE;
    json_error_t where;
    json_t *j = json_loadb(s.p, s.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
    json_decref(j);
    if (j)
        return copy(a, s, JSON_MAX_BYTES, failed);
    struct buf quoted = BUF_INIT(JSON_MAX_BYTES * 6 + 2);
    buf_json_str(&quoted, s);
    struct str c = buf_failed(&quoted) ? STR_NONE : arena_str(a, buf_str(&quoted));
    *failed = *failed || !c.p;
    buf_done(&quoted);
    return c;
}

/* Callers put what they like into an id; the books keep only that two requests share one. */
static struct str hash(struct arena *a, struct str s, bool *failed)
{
    unsigned char digest[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    if (s.n == 0)
        return STR_NONE;
    crypto_generichash(digest, sizeof digest, (const unsigned char *)s.p, s.n, NULL, 0);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    return copy(a, str_n(hex, 2 * HASH_BYTES), 2 * HASH_BYTES, failed);
}

int64_t row_month(int64_t time_ms)
{
    struct tm tm;
    time_t t = (time_t)(time_ms / 1000);
    if (time_ms < 0 || !gmtime_r(&t, &tm))
        return 0;
    return ((int64_t)tm.tm_year + 1900) * 12 + tm.tm_mon;
}

static struct str kind_name(enum gen_kind k)
{
    switch (k) {
    case GEN_RAW: return STR("raw");
    case GEN_INFILL: return STR("infill");
    case GEN_EMBED: return STR("embed");
    case GEN_RERANK: return STR("rerank");
    default: return STR("chat");
    }
}

static struct str dialect_name(enum gen_dialect d)
{
    switch (d) {
    case GEN_DIALECT_OPENAI: return STR("openai");
    case GEN_DIALECT_ANTHROPIC: return STR("anthropic");
    case GEN_DIALECT_RESPONSES: return STR("responses");
    case GEN_DIALECT_OLLAMA: return STR("ollama");
    case GEN_DIALECT_LMSTUDIO: return STR("lmstudio");
    case GEN_DIALECT_LLAMA: return STR("llama");
    default: return STR("weir");
    }
}

static struct str zone_name(enum gen_zone z)
{
    return z == GEN_DEVICE ? STR("device") : z == GEN_SITE ? STR("site") : STR("cloud");
}

static struct str end_name(enum gen_reason r)
{
    switch (r) {
    case GEN_END_SEQUENCE: return STR("sequence");
    case GEN_END_LENGTH: return STR("length");
    case GEN_END_TOOLS: return STR("tools");
    case GEN_END_FILTER: return STR("filter");
    default: return STR("stop");
    }
}

int row_begin(struct row *r, const struct ledger_begin *b, struct arena *a, struct err *e)
{
    struct str id = str_of(b->id);
    bool failed = false;
    if (id.n == 0 || id.n > NAME_MAX_BYTES || b->carried < 0)
        return err_set(e, ERR_INVAL, "a row needs an id, and amounts that are not negative");
    *r = (struct row){.status = STR("open"), .attempts = 1, .stream = b->stream};
    r->id = copy(a, id, NAME_MAX_BYTES, &failed);
    r->time_ms = b->time_ms > 0 ? b->time_ms : clock_wall_ms();
    r->month = row_month(r->time_ms);
    r->kind = kind_name(b->kind);
    r->dialect = dialect_name(b->dialect);
    r->model_asked = copy(a, b->model_asked, NAME_MAX_BYTES, &failed);
    r->model = copy(a, b->model, NAME_MAX_BYTES, &failed);
    r->provider = copy(a, b->provider, NAME_MAX_BYTES, &failed);
    r->zone = zone_name(b->zone);
    r->req_zone = zone_name(b->req_zone);
    r->reason = copy(a, b->reason, REASON_MAX_BYTES, &failed);
    r->labels = copy_json(a, b->labels, &failed);
    r->plan = copy_json(a, b->plan, &failed);
    r->conversation = hash(a, b->conversation, &failed);
    r->client = copy(a, b->client, NAME_MAX_BYTES, &failed);
    r->reserved = r->cost = r->baseline = MONEY_UNKNOWN;
    r->carried = r->charged = b->carried;
    r->queue_ms = r->first_ms = r->total_ms = -1;
    return failed ? err_set(e, ERR_NOMEM, "no memory for a row of the ledger") : 0;
}

static int64_t not_negative(int64_t v)
{
    return v < 0 ? 0 : v;
}

int row_end(struct row *r, const struct ledger_end *end, struct arena *a, struct err *e)
{
    bool failed = false;
    if (end->code == 0) {
        r->status = STR("ok");
        r->end_reason = end_name(end->reason);
    } else {
        r->status = end->code == ERR_CANCELLED ? STR("cancelled") : STR("error");
        r->code = str_of(err_name(end->code));
        r->message = copy(a, end->message, ERR_MSG_MAX, &failed);
    }
    r->model_answered = copy(a, end->model_answered, NAME_MAX_BYTES, &failed);
    r->input = not_negative(end->usage.input);
    r->cached = not_negative(end->usage.cached);
    r->cache_write = not_negative(end->usage.cache_write);
    r->output = not_negative(end->usage.output);
    r->reasoning = not_negative(end->usage.reasoning);
    r->estimated = end->usage.estimated;
    r->queue_ms = end->queue_ms;
    r->first_ms = end->first_ms;
    r->total_ms = end->total_ms;
    r->tokens_per_s = end->tokens_per_s;
    return failed ? err_set(e, ERR_NOMEM, "no memory for a row of the ledger") : 0;
}
