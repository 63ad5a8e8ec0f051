/* ledger.c: reserve before dialling, settle after.
 *
 * Everything that decides about money runs on the store's thread, one job after another: the sum of
 * the month, the check and the row are one step, so two reservations cannot both take what is left.
 * Only costs, which need no database, are worked out by the caller. */
#include "ledger_int.h"

#include "clock.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

#define ROW_ARENA_MAX (4 << 20)
#define LATE_MAX 1024            /* rows that wait for the store to work again */
#define OUTPUT_UNKNOWN_MAX 32768 /* reserved where nobody says how long an answer can be */

struct write {
    struct ledger *l;
    struct arena *arena; /* owns the row's strings */
    struct row row;
    bool settles;
    struct err unpriced; /* why the reservation is unknown */
    int64_t month_charged;
    store_done_fn *done; /* NULL once its caller was told */
    void *ctx;
    struct write *next;
};

struct ledger {
    struct store *store;
    struct prices *prices;
    int64_t budget;
    struct price baseline;
    char *baseline_name; /* NULL: no baseline, or its price is unknown */
    char *upsert;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t idle;
    size_t under_way;
    struct write *late;
    size_t nlate;
    int64_t month, charged; /* as of the last commit */
};

/* ---- costs ---- */

static int64_t upper_input(const struct ledger_begin *b)
{
    int64_t n = b->input > 0 ? b->input : 0;
    if (b->input_exact || n > INT64_MAX / 2)
        return n;
    return n + n / 4 + 64;
}

int ledger_bound(const struct ledger *l, const struct ledger_begin *b, int64_t *nano, struct err *e)
{
    struct price p;
    int rc = prices_find(l->prices, b->provider, b->model, b->zone, &p, e);
    if (rc)
        return rc;
    int64_t output = b->max_output;
    if (output <= 0)
        output = p.max_output > 0 ? p.max_output : OUTPUT_UNKNOWN_MAX;
    int64_t bound;
    rc = price_bound(&p, upper_input(b), output, &bound, e);
    if (rc == 0 && !money_add(bound, b->carried, &bound))
        rc = err_set(e, ERR_LIMIT, "the cost is more than the books can hold");
    if (rc == 0)
        *nano = bound;
    return rc;
}

static bool used_nothing(const struct gen_usage *u)
{
    return u->input <= 0 && u->output <= 0;
}

/* Did a call that reports no tokens perhaps use some? A provider bills what it made before its
 * client left, or before its stream broke; one that refused the call bills nothing. */
static bool may_have_used(const struct ledger_end *end)
{
    bool broken = end->code == ERR_CANCELLED || end->code == ERR_TIMEOUT || end->code == ERR_CUT;
    return end->first_ms >= 0 || (broken && end->queue_ms >= 0);
}

/* The provider's own figure, else tokens by price. A call that failed before anything was used
 * costs nothing, whatever its price. */
static int64_t call_cost(const struct price *p, enum gen_zone zone, const struct ledger_end *end)
{
    int64_t cost;
    if (end->provider_cost >= 0)
        return end->provider_cost;
    if (end->code != 0 && used_nothing(&end->usage))
        return zone == GEN_CLOUD && may_have_used(end) ? MONEY_UNKNOWN : 0;
    return p && price_cost(p, &end->usage, &cost, NULL) == 0 ? cost : MONEY_UNKNOWN;
}

/* What the same tokens would have cost. A baseline without a price for caches reads them as
 * ordinary input. */
static int64_t baseline_cost(const struct ledger *l, const struct gen_usage *usage)
{
    struct gen_usage u = *usage;
    int64_t cost;
    if (!l->baseline_name)
        return MONEY_UNKNOWN;
    u.cached = l->baseline.cached == MONEY_UNKNOWN ? 0 : u.cached;
    u.cache_write = l->baseline.cache_write == MONEY_UNKNOWN ? 0 : u.cache_write;
    return price_cost(&l->baseline, &u, &cost, NULL) == 0 ? cost : MONEY_UNKNOWN;
}

static void costs_by(const struct ledger *l, const struct price *p, const struct ledger_begin *b,
                     const struct ledger_end *end, int64_t *cost, int64_t *baseline)
{
    int64_t sum = call_cost(p, b->zone, end);
    if (sum != MONEY_UNKNOWN && !money_add(sum, b->carried, &sum))
        sum = MONEY_UNKNOWN;
    *cost = sum;
    *baseline = baseline_cost(l, &end->usage);
}

void ledger_costs(const struct ledger *l, const struct ledger_begin *b,
                  const struct ledger_end *end, int64_t *cost, int64_t *baseline)
{
    struct price p;
    bool known = prices_find(l->prices, b->provider, b->model, b->zone, &p, NULL) == 0;
    costs_by(l, known ? &p : NULL, b, end, cost, baseline);
}

/* The row as it will be written at the end, but for what only the database knows. */
static int closed_row(const struct ledger *l, const struct ledger_begin *b,
                      const struct ledger_end *end, struct arena *a, struct row *r, struct err *e)
{
    struct price p;
    int rc = row_begin(r, b, a, e);
    if (rc == 0)
        rc = row_end(r, end, a, e);
    if (rc)
        return rc;
    bool known = prices_find(l->prices, b->provider, b->model, b->zone, &p, NULL) == 0;
    costs_by(l, known ? &p : NULL, b, end, &r->cost, &r->baseline);
    if (end->provider_cost >= 0 && b->zone == GEN_CLOUD)
        r->price = STR("as the provider says");
    else if (known)
        r->price = str_of(arena_printf(a, "%s%s%s", p.id, p.date[0] ? ", as of " : "", p.date));
    r->baseline_model = str_of(l->baseline_name);
    r->charged = r->cost != MONEY_UNKNOWN ? r->cost : b->carried;
    return 0;
}

int ledger_account(const struct ledger *l, const struct ledger_begin *b,
                   const struct ledger_end *end, struct buf *out, struct err *e)
{
    struct row r;
    struct arena *a = arena_new(ROW_ARENA_MAX);
    if (!a)
        return err_set(e, ERR_NOMEM, "no memory for a row of the ledger");
    int rc = closed_row(l, b, end, a, &r, e);
    int64_t bound;
    if (rc == 0 && ledger_bound(l, b, &bound, NULL) == 0)
        r.reserved = bound;
    if (rc == 0)
        row_json(&r, out);
    arena_free(a);
    if (rc == 0 && buf_failed(out))
        rc = err_set(e, ERR_NOMEM, "no memory for a row of the ledger");
    return rc;
}

/* ---- jobs: on the store's thread ---- */

struct found {
    bool exists, open;
    int64_t time_ms, month, attempts, reserved, charged;
};

static int find_row(sqlite3 *db, struct str id, struct found *out, struct err *e)
{
    static const char sql[] = "SELECT status='open',time_ms,month,attempts,reserved,charged"
                              " FROM requests WHERE id=?1";
    sqlite3_stmt *st = NULL;
    *out = (struct found){.reserved = MONEY_UNKNOWN};
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text64(st, 1, id.p, id.n, SQLITE_STATIC, SQLITE_UTF8);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        out->exists = true;
        out->open = sqlite3_column_int(st, 0) != 0;
        out->time_ms = sqlite3_column_int64(st, 1);
        out->month = sqlite3_column_int64(st, 2);
        out->attempts = sqlite3_column_int64(st, 3);
        if (sqlite3_column_type(st, 4) != SQLITE_NULL)
            out->reserved = sqlite3_column_int64(st, 4);
        out->charged = sqlite3_column_int64(st, 5);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : store_sql_err(db, rc, "ledger", e);
}

static int read_month(sqlite3 *db, int64_t month, int64_t *charged, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT charged FROM months WHERE month=?1", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(st, 1, month);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    int64_t v = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_finalize(st);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return store_sql_err(db, rc, "ledger", e);
    *charged = v;
    return 0;
}

static int write_row(sqlite3 *db, struct write *w, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, w->l->upsert, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = row_bind(st, &w->row);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    int failed = rc == SQLITE_DONE ? 0 : store_sql_err(db, rc, "ledger", e);
    sqlite3_finalize(st);
    return failed ? failed : read_month(db, w->row.month, &w->month_charged, e);
}

static int check_budget(const struct write *w, int64_t held, int64_t charged, struct err *e)
{
    int64_t others, sum;
    char price[32], limit[32], used[32];
    if (w->l->budget == MONEY_UNKNOWN)
        return 0;
    if (w->unpriced.code)
        return err_set(e, ERR_BUDGET, "a budget is set, and %s", w->unpriced.msg);
    if (w->row.charged == 0)
        return 0;
    if (money_add(charged, -held, &others) && money_add(others, w->row.charged, &sum) &&
        sum <= w->l->budget)
        return 0;
    return err_set(e, ERR_BUDGET,
                   "this call can cost %s, and of this month's %s already %s are spent or reserved",
                   money_exact(w->row.charged, price), money_exact(w->l->budget, limit),
                   money_exact(charged - held, used));
}

static int run_reserve(sqlite3 *db, void *ctx, struct err *e)
{
    struct write *w = ctx;
    struct found f;
    int64_t charged = 0;
    int rc = find_row(db, w->row.id, &f, e);
    if (rc)
        return rc;
    if (f.exists && !f.open)
        return err_set(e, ERR_EXISTS, "row %.*s is closed already", STR_ARG(w->row.id));
    if (f.exists) { /* the next attempt belongs to the moment the request came */
        w->row.attempts = f.attempts + 1;
        w->row.time_ms = f.time_ms;
        w->row.month = f.month;
    }
    rc = read_month(db, w->row.month, &charged, e);
    if (rc == 0)
        rc = check_budget(w, f.charged, charged, e);
    return rc ? rc : write_row(db, w, e);
}

static int run_settle(sqlite3 *db, void *ctx, struct err *e)
{
    struct write *w = ctx;
    struct found f;
    int rc = find_row(db, w->row.id, &f, e);
    if (rc)
        return rc;
    if (f.exists && !f.open)
        return read_month(db, w->row.month, &w->month_charged, e);
    if (f.exists) {
        w->row.attempts = f.attempts;
        w->row.time_ms = f.time_ms;
        w->row.month = f.month;
        w->row.reserved = f.reserved;
        /* An unknown cost is not free: it goes on holding what was reserved. */
        if (w->row.cost == MONEY_UNKNOWN && f.charged > w->row.charged)
            w->row.charged = f.charged;
    }
    return write_row(db, w, e);
}

/* ---- after the commit ---- */

static void write_free(struct write *w)
{
    struct arena *a = w->arena;
    free(w);
    arena_free(a);
}

static void write_done(void *ctx, int rc, const struct err *e);

static int send_write(struct write *w, struct err *e)
{
    struct ledger *l = w->l;
    pthread_mutex_lock(&l->lock);
    l->under_way++;
    pthread_mutex_unlock(&l->lock);
    int rc = store_submit(l->store, w->settles ? run_settle : run_reserve, write_done, w, e);
    if (rc) {
        pthread_mutex_lock(&l->lock);
        if (--l->under_way == 0)
            pthread_cond_broadcast(&l->idle);
        pthread_mutex_unlock(&l->lock);
    }
    return rc;
}

/* Keep a row that could not be written; what does not fit stays open in the database, if it was
 * reserved, and is charged in full at the next start. */
static void keep_late(struct ledger *l, struct write *w)
{
    pthread_mutex_lock(&l->lock);
    bool kept = l->nlate < LATE_MAX;
    if (kept) {
        w->next = l->late;
        l->late = w;
        l->nlate++;
    }
    pthread_mutex_unlock(&l->lock);
    if (!kept)
        write_free(w);
}

static void send_late(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    struct write *w = l->late;
    l->late = NULL;
    l->nlate = 0;
    pthread_mutex_unlock(&l->lock);
    while (w) {
        struct write *next = w->next;
        if (send_write(w, NULL))
            keep_late(l, w);
        w = next;
    }
}

static void note_month(struct ledger *l, const struct write *w)
{
    pthread_mutex_lock(&l->lock);
    if (w->row.month >= l->month) {
        l->month = w->row.month;
        l->charged = w->month_charged;
    }
    pthread_mutex_unlock(&l->lock);
}

static bool can_work_later(int rc)
{
    return rc == ERR_IO || rc == ERR_NO_SPACE || rc == ERR_BUSY || rc == ERR_NOMEM;
}

static void write_done(void *ctx, int rc, const struct err *e)
{
    struct write *w = ctx;
    struct ledger *l = w->l;
    if (rc == 0)
        note_month(l, w);
    if (w->done)
        w->done(w->ctx, rc, e);
    w->done = NULL;
    if (w->settles && can_work_later(rc))
        keep_late(l, w);
    else
        write_free(w);
    if (rc == 0)
        send_late(l);
    pthread_mutex_lock(&l->lock);
    if (--l->under_way == 0)
        pthread_cond_broadcast(&l->idle);
    pthread_mutex_unlock(&l->lock);
}

/* ---- the outside ---- */

static int new_write(struct ledger *l, store_done_fn *done, void *ctx, struct write **out,
                     struct err *e)
{
    struct write *w = calloc(1, sizeof *w);
    struct arena *a = arena_new(ROW_ARENA_MAX);
    if (!w || !a) {
        free(w);
        arena_free(a);
        return err_set(e, ERR_NOMEM, "no memory for a row of the ledger");
    }
    *w = (struct write){.l = l, .arena = a, .done = done, .ctx = ctx};
    *out = w;
    return 0;
}

int ledger_reserve(struct ledger *l, const struct ledger_begin *b, store_done_fn *done, void *ctx,
                   struct err *e)
{
    struct write *w = NULL;
    int rc = new_write(l, done, ctx, &w, e);
    if (rc)
        return rc;
    rc = row_begin(&w->row, b, w->arena, e);
    if (rc == 0) {
        int64_t bound;
        if (ledger_bound(l, b, &bound, &w->unpriced) == 0)
            w->row.reserved = w->row.charged = bound;
        rc = send_write(w, e);
    }
    if (rc)
        write_free(w);
    return rc;
}

int ledger_settle(struct ledger *l, const struct ledger_begin *b, const struct ledger_end *end,
                  store_done_fn *done, void *ctx, struct err *e)
{
    struct write *w = NULL;
    int rc = new_write(l, done, ctx, &w, e);
    if (rc)
        return rc;
    w->settles = true;
    rc = closed_row(l, b, end, w->arena, &w->row, e);
    if (rc) {
        write_free(w);
        return rc;
    }
    rc = send_write(w, e);
    if (rc) { /* the queue is full: no callback, but the row is not lost */
        w->done = NULL;
        keep_late(l, w);
    }
    return rc;
}

struct opening {
    int64_t month, charged;
};

/* What a crash left open was perhaps answered and perhaps not: it is charged in full. */
static int run_open(sqlite3 *db, void *ctx, struct err *e)
{
    struct opening *o = ctx;
    int rc = sqlite3_exec(db,
                          "UPDATE requests SET status='crashed',cost=reserved,estimated=1,"
                          "message='weir ended before the call did' WHERE status='open'",
                          NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return store_sql_err(db, rc, "ledger", e);
    return read_month(db, o->month, &o->charged, e);
}

static int set_baseline(struct ledger *l, const char *model, struct err *e)
{
    if (!model || !*model)
        return 0;
    /* A baseline nobody has a price for leaves savings unknown; it does not stop the program. */
    if (prices_find(l->prices, STR_NONE, str_of(model), GEN_CLOUD, &l->baseline, NULL) != 0)
        return 0;
    l->baseline_name = strdup(model);
    return l->baseline_name ? 0 : err_set(e, ERR_NOMEM, "no memory for the ledger");
}

int ledger_open(const struct ledger_params *p, struct ledger **out, struct err *e)
{
    struct ledger *l = calloc(1, sizeof *l);
    if (!l || sodium_init() < 0) {
        free(l);
        prices_free(p->prices);
        return err_set(e, ERR_NOMEM, "cannot start the ledger");
    }
    l->store = p->store;
    l->prices = p->prices;
    l->budget = p->budget;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->idle, NULL);
    struct buf sql = BUF_INIT(16 << 10);
    row_upsert_sql(&sql);
    l->upsert = buf_take(&sql, NULL);
    struct opening o = {.month = row_month(clock_wall_ms())};
    int rc = l->upsert ? 0 : err_set(e, ERR_NOMEM, "no memory for the ledger");
    if (rc == 0)
        rc = set_baseline(l, p->baseline, e);
    if (rc == 0)
        rc = store_call(l->store, run_open, &o, e);
    if (rc) {
        ledger_close(l);
        return rc;
    }
    l->month = o.month;
    l->charged = o.charged;
    *out = l;
    return 0;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    send_late(l); /* the last chance */
    pthread_mutex_lock(&l->lock);
    while (l->under_way)
        pthread_cond_wait(&l->idle, &l->lock);
    pthread_mutex_unlock(&l->lock);
    while (l->late) {
        struct write *next = l->late->next;
        write_free(l->late);
        l->late = next;
    }
    prices_free(l->prices);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->idle);
    free(l->baseline_name);
    free(l->upsert);
    free(l);
}

const struct prices *ledger_prices(const struct ledger *l)
{
    return l->prices;
}

void ledger_budget(struct ledger *l, struct ledger_budget *out)
{
    int64_t now = row_month(clock_wall_ms());
    pthread_mutex_lock(&l->lock);
    int64_t charged = l->month == now ? l->charged : 0;
    pthread_mutex_unlock(&l->lock);
    *out = (struct ledger_budget){l->budget, charged, store_healthy(l->store, NULL)};
}
