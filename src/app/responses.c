/* responses.c: the answers of /v1/responses, and of LM Studio's chats, that are kept: what a
 * request goes on from is put in front of it, its answer is kept in the database when it has ended,
 * and both can be looked at and deleted.
 *
 * A kept answer holds only its own request's items; the conversation is the chain of rows. It also
 * holds the zone that its conversation may reach, because a zone that a caller asked for does not
 * show in the text. Everything runs on the store's thread, reading as well, so a request that
 * follows its predecessor's last event at once finds it. Kept for 30 days, at most 10,000 rows and
 * 1 GiB, the oldest deleted first. */
#include "responses.h"

#include "clock.h"
#include "flow.h"
#include "log.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_MS ((int64_t)30 * 24 * 3600 * 1000)
#define KEEP_ROWS 10000
#define KEEP_BYTES ((int64_t)1 << 30)
#define CHAIN_BYTES ((size_t)32 << 20) /* of a conversation that is put in front of a request */
#define CHAIN_TURNS 4096
#define ID_MAX 64
#define ULID 26
#define MAX_TEXT ((size_t)64 << 20)

static const struct face face = {WIRE_RESPONSES, FACE_FORM};

/* ---- rows ---- */

struct row {
    struct str previous, input, response; /* in the arena; previous is empty in the first */
    enum gen_zone zone;
};

static int sql_err(sqlite3 *db, int rc, struct err *e)
{
    return store_sql_err(db, rc, "kept answers", e);
}

static int prepare(sqlite3 *db, const char *sql, struct str id, sqlite3_stmt **out, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(st, 1, id.p ? id.p : "", (int)id.n, SQLITE_STATIC);
    if (rc != SQLITE_OK) {
        sqlite3_finalize(st);
        return sql_err(db, rc, e);
    }
    *out = st;
    return 0;
}

static struct str column(sqlite3_stmt *st, int i, struct arena *a)
{
    const char *p = (const char *)sqlite3_column_text(st, i);
    return p ? arena_str(a, str_n(p, (size_t)sqlite3_column_bytes(st, i))) : STR_NONE;
}

static int not_found(struct str id, const char *what, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "%s with id '%.*s' not found.", what,
                   (int)(id.n < ID_MAX ? id.n : ID_MAX), id.p);
}

/* what: how an error names it. */
static int read_row(sqlite3 *db, struct str id, const char *what, struct arena *a, struct row *out,
                    struct err *e)
{
    sqlite3_stmt *st = NULL;
    struct row row = {0};
    if (id.n > ID_MAX)
        return not_found(id, what, e);
    int rc =
        prepare(db, "SELECT previous,zone,input,response FROM responses WHERE id=?1", id, &st, e);
    if (rc)
        return rc;
    int sql = sqlite3_step(st);
    if (sql == SQLITE_ROW) {
        row.previous = column(st, 0, a);
        row.zone = (enum gen_zone)sqlite3_column_int(st, 1);
        row.input = column(st, 2, a);
        row.response = column(st, 3, a);
        if (!row.input.p || !row.response.p)
            rc = err_set(e, ERR_TOO_LARGE, "the kept conversation is too long to go on from");
    } else if (sql == SQLITE_DONE) {
        rc = not_found(id, what, e);
    } else {
        rc = sql_err(db, sql, e);
    }
    sqlite3_finalize(st);
    if (rc == 0)
        *out = row;
    return rc;
}

/* ---- going on ---- */

struct chain {
    struct arena *a;
    struct str id;
    struct str *texts; /* oldest first, from `from` on: input, response, input, ... */
    size_t n, from;
    enum gen_zone zone;
};

static int chain_run(sqlite3 *db, void *ctx, struct err *e)
{
    struct chain *c = ctx;
    size_t bytes = 0, max = (size_t)2 * CHAIN_TURNS;
    struct str id = c->id;
    c->texts = arena_array(c->a, max, sizeof *c->texts);
    if (!c->texts)
        return err_set(e, ERR_NOMEM, "no memory for the conversation");
    c->n = c->from = max;
    c->zone = GEN_CLOUD;
    while (id.n) {
        struct row row;
        int rc = read_row(db, id, "Previous response", c->a, &row, e);
        if (rc)
            return rc;
        bytes += row.input.n + row.response.n;
        if (c->from < 2 || bytes > CHAIN_BYTES)
            return err_set(e, ERR_TOO_LARGE, "the kept conversation is too long to go on from");
        c->texts[--c->from] = row.response;
        c->texts[--c->from] = row.input;
        if (row.zone < c->zone)
            c->zone = row.zone;
        id = row.previous;
    }
    return 0;
}

static void tighten(struct flow *f, enum gen_zone zone)
{
    if (!f->recalled || zone < f->recalled_zone)
        f->recalled_zone = zone;
    f->recalled = true;
}

static int go_on(struct flow *f)
{
    struct chain c = {.a = f->arena, .id = f->req->previous_id};
    if (!c.id.n)
        return 0;
    int rc = store_call(f->h->store, chain_run, &c, &f->err);
    if (rc)
        return rc;
    tighten(f, c.zone);
    return wire_responses_prepend(f->req, c.texts + c.from, c.n - c.from, &f->err);
}

/* ---- items that a request only names ---- */

struct lookup {
    struct arena *a;
    struct str id;
    struct row row;
};

static int lookup_run(sqlite3 *db, void *ctx, struct err *e)
{
    struct lookup *l = ctx;
    return read_row(db, l->id, "Response", l->a, &l->row, e);
}

/* An item's id holds that of its answer: "msg_" ULID "o0". */
static int find_item(void *ctx, struct str id, struct str *item, struct err *e)
{
    struct flow *f = ctx;
    struct str head, tail;
    struct lookup l = {.a = f->arena};
    if (!str_cut(id, '_', &head, &tail) || tail.n <= ULID)
        return not_found(id, "Item", e);
    const char *z = arena_printf(f->arena, "resp_%.*s", ULID, tail.p);
    l.id = str_of(z);
    int rc = z ? store_call(f->h->store, lookup_run, &l, e) : ERR_NOMEM;
    if (rc)
        return rc == ERR_NOT_FOUND ? not_found(id, "Item", e) : rc;
    tighten(f, l.row.zone);
    if (wire_responses_item(l.row.response, id, f->arena, item, e) == 0)
        return 0;
    return wire_responses_item(l.row.input, id, f->arena, item, e);
}

static int resolve(struct flow *f)
{
    struct str body;
    if (!wire_responses_names_items(f->req))
        return 0;
    int rc = wire_responses_resolve(buf_str(&f->body), find_item, f, f->arena, &body, &f->err);
    if (rc)
        return rc;
    bool counting = f->face.kind == FACE_COUNT;
    return (counting ? wire_count_decode : wire_request_decode)(f->face.form, body, f->arena,
                                                                &f->req, &f->err);
}

/* What will be kept is this request's own, without what it goes on from. */
static int take_input(struct flow *f)
{
    struct buf b = BUF_INIT(MAX_TEXT);
    if (!f->req->store || f->face.kind != FACE_FORM)
        return 0;
    int rc = wire_responses_input(f->req, str_of(f->id), &b, &f->err);
    if (rc == 0) {
        f->kept_input = arena_str(f->arena, buf_str(&b));
        if (!f->kept_input.p)
            rc = err_set(&f->err, ERR_NOMEM, "no memory for the request");
    }
    buf_done(&b);
    return rc;
}

int responses_recall(struct flow *f)
{
    bool responses = f->req->dialect == GEN_DIALECT_RESPONSES;
    if (!responses && f->req->dialect != GEN_DIALECT_LMSTUDIO)
        return 0;
    int rc = responses ? resolve(f) : 0;
    if (rc == 0)
        rc = take_input(f);
    if (rc == 0)
        rc = go_on(f);
    return rc;
}

/* ---- keeping ---- */

struct keep {
    struct flow *f;
    struct str response; /* the writer's, which lives as long as the flow */
    char id[ID_MAX];
    int64_t now_ms;
    enum gen_zone zone;
    void (*then)(void *ctx);
    int rc;
    struct err err;
};

static int run_sql(sqlite3 *db, const char *sql, int64_t value, int64_t *out, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(st, 1, value);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW && out)
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sql_err(db, rc, e);
}

static int trim(sqlite3 *db, int64_t now_ms, struct err *e)
{
    int64_t bytes = 0;
    int rc = run_sql(db, "DELETE FROM responses WHERE time_ms<?1", now_ms - KEEP_MS, NULL, e);
    if (rc == 0)
        rc = run_sql(db, "DELETE FROM responses WHERE seq<=(SELECT max(seq) FROM responses)-?1",
                     KEEP_ROWS, NULL, e);
    while (rc == 0) {
        rc = run_sql(db, "SELECT total(bytes)+?1 FROM responses", 0, &bytes, e);
        if (rc || bytes <= KEEP_BYTES)
            return rc;
        rc = run_sql(db,
                     "DELETE FROM responses WHERE seq IN"
                     " (SELECT seq FROM responses ORDER BY seq LIMIT ?1)",
                     8, NULL, e);
    }
    return rc;
}

static int keep_run(sqlite3 *db, void *ctx, struct err *e)
{
    struct keep *k = ctx;
    struct str previous = k->f->req->previous_id, input = k->f->kept_input;
    sqlite3_stmt *st = NULL;
    int rc = prepare(db,
                     "INSERT INTO responses(id,previous,time_ms,zone,input,response,bytes)"
                     " VALUES(?1,?2,?3,?4,?5,?6,?7)",
                     str_of(k->id), &st, e);
    if (rc)
        return rc;
    if (previous.n)
        sqlite3_bind_text(st, 2, previous.p, (int)previous.n, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, k->now_ms);
    sqlite3_bind_int(st, 4, (int)k->zone);
    sqlite3_bind_text(st, 5, input.p, (int)input.n, SQLITE_STATIC);
    sqlite3_bind_text(st, 6, k->response.p, (int)k->response.n, SQLITE_STATIC);
    sqlite3_bind_int64(st, 7, (int64_t)(input.n + k->response.n));
    int sql = sqlite3_step(st);
    sqlite3_finalize(st);
    return sql == SQLITE_DONE ? trim(db, k->now_ms, e) : sql_err(db, sql, e);
}

static void keep_over(void *ctx)
{
    struct keep *k = ctx;
    struct flow *f = k->f;
    void (*then)(void *) = k->then;
    if (k->rc)
        log_error("the answer of request %s is not kept: %s", f->id, err_msg(&k->err));
    free(k);
    then(f);
}

static void keep_done(void *ctx, int rc, const struct err *e)
{
    struct keep *k = ctx;
    k->rc = rc;
    if (rc && e)
        k->err = *e;
    net_post(k->f->h->loop, keep_over, k);
}

bool responses_keep(struct flow *f, void (*then)(void *ctx))
{
    struct str whole = f->answer.writer ? wire_writer_whole(f->answer.writer) : STR_NONE;
    struct err e = {0};
    if (!f->kept_input.n || !whole.n)
        return false;
    struct keep *k = calloc(1, sizeof *k);
    if (!k) {
        log_error("the answer of request %s is not kept: out of memory", f->id);
        return false;
    }
    k->f = f;
    k->then = then;
    k->response = whole;
    k->now_ms = clock_wall_ms();
    k->zone = f->taints ? f->zone : GEN_CLOUD;
    snprintf(k->id, sizeof k->id, "resp_%s", f->id);
    if (store_submit(f->h->store, keep_run, keep_done, k, &e) == 0)
        return true;
    log_error("the answer of request %s is not kept: %s", f->id, err_msg(&e));
    free(k);
    return false;
}

/* ---- looking and deleting ---- */

struct ask {
    struct house *h;
    struct net_req *r; /* NULL: the client has gone */
    struct arena *a;
    enum { ASK_RESPONSE, ASK_ITEMS, ASK_DELETE, ASK_CANCEL } what;
    struct str id, after;
    uint64_t limit;
    bool ascending;
    struct buf out;
    int rc;
    struct err err;
};

static void ask_closed(void *ctx)
{
    ((struct ask *)ctx)->r = NULL;
}

static void ask_over(void *ctx)
{
    struct ask *q = ctx;
    if (q->rc == 0 && buf_failed(&q->out))
        q->rc = err_set(&q->err, ERR_TOO_LARGE, "the answer is too large");
    if (q->r && q->rc) {
        pipeline_refuse(q->r, face, &q->err);
    } else if (q->r) {
        net_res_header(q->r, "Cache-Control", STR("no-store"));
        net_res_send(q->r, 200, "application/json", buf_str(&q->out));
    }
    buf_done(&q->out);
    arena_free(q->a);
    free(q);
}

static int find_after(const struct ask *q, const json_t *items, size_t n, size_t *at)
{
    for (size_t i = 0; i < n; i++) {
        const char *id = json_string_value(json_object_get(json_array_get(items, i), "id"));
        if (id && str_is(q->after, id)) {
            *at = i;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

/* The items from `after` on in the order asked for, at most `limit`. */
static int put_page(struct ask *q, struct str input)
{
    json_error_t je;
    json_t *all = json_loadb(input.p, input.n, JSON_ALLOW_NUL, &je), *data = json_array();
    size_t n = json_array_size(all), at = q->ascending ? 0 : n - 1, taken = 0;
    int rc = all && data ? 0 : err_set(&q->err, ERR_NOMEM, "out of memory for the items");
    if (rc == 0 && q->after.n) {
        rc = find_after(q, all, n, &at);
        if (rc)
            not_found(q->after, "Item", &q->err);
        at += q->ascending ? 1 : SIZE_MAX;
    }
    /* Going down, the index wraps below 0 and is past the end. */
    for (; rc == 0 && at < n && taken < q->limit; at += q->ascending ? 1 : SIZE_MAX, taken++)
        json_array_append(data, json_array_get(all, at));
    const json_t *first = json_object_get(json_array_get(data, 0), "id");
    const json_t *last = json_object_get(json_array_get(data, taken - 1), "id");
    json_t *page = json_pack("{s:s,s:O,s:s,s:s,s:b}", "object", "list", "data", data, "first_id",
                             first ? json_string_value(first) : "", "last_id",
                             last ? json_string_value(last) : "", "has_more", at < n);
    char *text = page ? json_dumps(page, JSON_COMPACT) : NULL;
    if (rc == 0 && !text)
        rc = err_set(&q->err, ERR_NOMEM, "out of memory for the items");
    if (rc == 0)
        buf_puts(&q->out, text);
    free(text);
    json_decref(page);
    json_decref(data);
    json_decref(all);
    return rc;
}

static int delete_run(sqlite3 *db, void *ctx, struct err *e)
{
    struct ask *q = ctx;
    sqlite3_stmt *st = NULL;
    int rc = prepare(db, "DELETE FROM responses WHERE id=?1", q->id, &st, e);
    if (rc)
        return rc;
    int sql = sqlite3_step(st);
    sqlite3_finalize(st);
    if (sql != SQLITE_DONE)
        return sql_err(db, sql, e);
    return sqlite3_changes(db) ? 0 : not_found(q->id, "Response", e);
}

static int ask_row(struct ask *q, struct row *row)
{
    struct lookup l = {.a = q->a, .id = q->id};
    int rc = store_call(q->h->store, lookup_run, &l, &q->err);
    if (rc == 0)
        *row = l.row;
    return rc;
}

static void ask_work(void *ctx)
{
    struct ask *q = ctx;
    struct row row = {0};
    if (q->what == ASK_DELETE) {
        q->rc = store_call(q->h->store, delete_run, q, &q->err);
        if (q->rc)
            return;
        buf_puts(&q->out, "{\"id\":");
        buf_json_str(&q->out, q->id);
        buf_puts(&q->out, ",\"object\":\"response\",\"deleted\":true}");
        return;
    }
    q->rc = ask_row(q, &row);
    if (q->rc)
        return;
    if (q->what == ASK_CANCEL)
        q->rc = err_set(&q->err, ERR_INVAL,
                        "Cannot cancel a synchronous response: only those made in the background "
                        "can be, which are not made here.");
    else if (q->what == ASK_ITEMS)
        q->rc = put_page(q, row.input);
    else
        buf_str_add(&q->out, row.response);
}

static void refuse(struct net_req *r, int code, const char *why)
{
    struct err e;
    err_set(&e, code, "%s", why);
    pipeline_refuse(r, face, &e);
}

static struct ask *ask_new(struct house *h, struct net_req *r, struct str id, int what)
{
    struct ask *q = calloc(1, sizeof *q);
    struct arena *a = arena_new(MAX_TEXT);
    if (!q || !a) {
        refuse(r, ERR_NOMEM, "out of memory");
        free(q);
        arena_free(a);
        return NULL;
    }
    q->h = h;
    q->r = r;
    q->a = a;
    q->what = what;
    q->limit = 20;
    q->out = BUF_INIT(MAX_TEXT);
    q->id = arena_str(a, id);
    net_req_on_close(r, ask_closed, q);
    return q;
}

static void ask_run(struct ask *q)
{
    if (q->rc == 0) {
        if (net_work(q->h->loop, ask_work, ask_over, q) == 0)
            return;
        q->rc = err_set(&q->err, ERR_OVERLOAD, "the kept answers cannot be looked at now");
    }
    ask_over(q);
}

static int read_page(struct ask *q, struct net_req *r)
{
    struct str v;
    if (net_req_param(r, "limit", &v) && (!str_to_u64(v, &q->limit) || !q->limit || q->limit > 100))
        return err_set(&q->err, ERR_FORMAT, "limit: must be between 1 and 100");
    if (net_req_param(r, "order", &v)) {
        q->ascending = str_is(v, "asc");
        if (!q->ascending && !str_is(v, "desc"))
            return err_set(&q->err, ERR_FORMAT, "order: must be asc or desc");
    }
    if (net_req_param(r, "after", &v))
        q->after = arena_str(q->a, v);
    return 0;
}

/* False: it is neither ID nor ID/suffix. */
static bool split(struct str rest, const char *suffix, struct str *id)
{
    struct str tail = STR_NONE;
    bool has = str_cut(rest, '/', id, &tail);
    return id->n && (suffix ? has && str_is(tail, suffix) : !has);
}

void responses_get(struct house *h, struct net_req *r, struct str rest)
{
    struct str id, v;
    bool items = split(rest, "input_items", &id);
    if (!items && !split(rest, NULL, &id)) {
        refuse(r, ERR_NOT_FOUND, "there is no such path");
        return;
    }
    struct ask *q = ask_new(h, r, id, items ? ASK_ITEMS : ASK_RESPONSE);
    if (!q)
        return;
    if (items)
        q->rc = read_page(q, r);
    else if (net_req_param(r, "stream", &v) && str_is(v, "true"))
        q->rc = err_set(&q->err, ERR_UNSUPPORTED,
                        "stream: only a response made in the background can be streamed again");
    ask_run(q);
}

void responses_delete(struct house *h, struct net_req *r, struct str rest)
{
    struct str id;
    if (!split(rest, NULL, &id)) {
        refuse(r, ERR_NOT_FOUND, "there is no such path");
        return;
    }
    struct ask *q = ask_new(h, r, id, ASK_DELETE);
    if (q)
        ask_run(q);
}

void responses_post(struct house *h, struct net_req *r, struct str rest)
{
    struct str id;
    if (str_is(rest, "compact")) {
        refuse(r, ERR_UNSUPPORTED, "conversations are not compacted here, use truncation");
        return;
    }
    if (!split(rest, "cancel", &id)) {
        refuse(r, ERR_NOT_FOUND, "there is no such path");
        return;
    }
    struct ask *q = ask_new(h, r, id, ASK_CANCEL);
    if (q)
        ask_run(q);
}
