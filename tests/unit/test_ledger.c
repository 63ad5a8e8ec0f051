/* test_ledger.c: rows, the budget, crashes and reports, on a real database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "ledger.h"

static char self[4096];

/* ---- a home, a store and a ledger ---- */

struct books {
    char dir[64];
    struct store *s;
    struct ledger *l;
};

static int make_books(void **state)
{
    struct books *k = calloc(1, sizeof *k);
    strcpy(k->dir, "/tmp/weir-ledger-XXXXXX");
    *state = k;
    return mkdtemp(k->dir) ? 0 : -1;
}

static void close_books(struct books *k)
{
    ledger_close(k->l);
    store_close(k->s);
    k->l = NULL;
    k->s = NULL;
}

static int drop_books(void **state)
{
    struct books *k = *state;
    const char *const names[] = {"weir.db", "weir.db-wal", "weir.db-shm"};
    char path[128];
    close_books(k);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", k->dir, names[i]);
        unlink(path);
    }
    int rc = rmdir(k->dir);
    free(k);
    return rc;
}

static int try_books(struct books *k, int64_t budget, int max_pages, struct err *e)
{
    struct prices *p = NULL;
    struct store_params sp = {.home = k->dir, .max_pages = max_pages};
    int rc = store_open(&sp, &k->s, e);
    if (rc == 0)
        rc = prices_new(&p, e);
    if (rc)
        return rc;
    struct ledger_params lp = {
        .store = k->s, .prices = p, .budget = budget, .baseline = "openai/gpt-5"};
    return ledger_open(&lp, &k->l, e);
}

static void open_books(struct books *k, int64_t budget, int max_pages)
{
    struct err e = {0};
    int rc = try_books(k, budget, max_pages, &e);
    if (rc)
        print_message("%s\n", e.msg);
    assert_int_equal(rc, 0);
}

static int64_t ask(const struct books *k, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    struct err e = {0};
    int rc = store_read_open(k->dir, &db, &e);
    if (rc)
        print_message("%s\n", e.msg);
    assert_int_equal(rc, 0);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    store_read_close(db);
    return v;
}

/* The sums that the triggers keep are the sums of the rows. */
static void assert_sums(const struct books *k)
{
    assert_int_equal(ask(k, "SELECT count(*) FROM months m WHERE charged<>(SELECT sum(charged) FROM"
                            " requests r WHERE r.month=m.month)"),
                     0);
    assert_int_equal(ask(k, "SELECT (SELECT sum(charged) FROM months) IS"
                            " (SELECT sum(charged) FROM requests)"),
                     1);
}

/* ---- waiting for an acknowledgement ---- */

struct ack {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    int told, rc;
    struct err err;
};
#define ACK_INIT                                                                                   \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0,                                 \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static void on_ack(void *ctx, int rc, const struct err *e)
{
    struct ack *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->told++;
    a->rc = rc;
    if (e)
        a->err = *e;
    pthread_cond_signal(&a->woken);
    pthread_mutex_unlock(&a->lock);
}

static int wait_ack(struct ack *a, struct err *e)
{
    pthread_mutex_lock(&a->lock);
    while (!a->told)
        pthread_cond_wait(&a->woken, &a->lock);
    int rc = a->rc;
    if (e)
        *e = a->err;
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static int reserve(struct ledger *l, const struct ledger_begin *b, struct err *e)
{
    struct ack a = ACK_INIT;
    int rc = ledger_reserve(l, b, on_ack, &a, e);
    return rc ? rc : wait_ack(&a, e);
}

static int settle(struct ledger *l, const struct ledger_begin *b, const struct ledger_end *end,
                  struct err *e)
{
    struct ack a = ACK_INIT;
    int rc = ledger_settle(l, b, end, on_ack, &a, e);
    return rc ? rc : wait_ack(&a, e);
}

/* ---- requests ---- */

/* At gpt-5: 1,000 tokens in and at most 900 out can cost $0.01025. */
#define BOUND INT64_C(10250000)

static struct ledger_begin cloud(char id[static LEDGER_ID_MAX])
{
    assert_int_equal(ledger_id(id, NULL), 0);
    return (struct ledger_begin){
        .id = id,
        .time_ms = clock_wall_ms(),
        .dialect = GEN_DIALECT_OPENAI,
        .stream = true,
        .model_asked = STR("auto"),
        .model = STR("gpt-5"),
        .provider = STR("openai"),
        .zone = GEN_CLOUD,
        .req_zone = GEN_CLOUD,
        .reason = STR("needs a domain expert"),
        .labels = STR("[\"expert\"]"),
        .plan = STR("{\"candidates\":[1,2]}"),
        .conversation = STR("my secret project"),
        .client = STR("laptop"),
        .input = 1000,
        .input_exact = true,
        .max_output = 900,
    };
}

static struct ledger_begin local(char id[static LEDGER_ID_MAX])
{
    struct ledger_begin b = cloud(id);
    b.model = STR("smollm2:135m");
    b.provider = STR("local");
    b.zone = GEN_DEVICE;
    return b;
}

static struct ledger_end ended(int64_t input, int64_t output)
{
    return (struct ledger_end){
        .reason = GEN_END_STOP,
        .model_answered = STR("gpt-5-2025-08-07"),
        .usage = {.input = input, .output = output},
        .provider_cost = -1,
        .queue_ms = 1,
        .first_ms = output > 0 ? 250 : -1,
        .total_ms = 1250,
        .tokens_per_s = 40.5,
    };
}

static json_t *row_json_of(const struct books *k, const char *id)
{
    struct buf b = BUF_INIT(1 << 20);
    struct err e = {0};
    assert_int_equal(ledger_row(k->dir, id, true, &b, &e), 0);
    json_t *j = json_loads(b.p, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);
    assert_non_null(j);
    buf_done(&b);
    return j;
}

static const char *text_at(json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "(null)";
}

static int64_t int_at(json_t *j, const char *key)
{
    assert_true(json_is_integer(json_object_get(j, key)));
    return json_integer_value(json_object_get(j, key));
}

static void a_paid_call_is_held_then_booked(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    struct ledger_budget left;
    char id[LEDGER_ID_MAX];
    open_books(k, MONEY_DOLLAR, 0);
    struct ledger_begin b = cloud(id);
    struct ledger_end end = ended(1000, 100);
    assert_int_equal(reserve(k->l, &b, &e), 0);
    json_t *j = row_json_of(k, id);
    assert_string_equal(text_at(j, "status"), "open");
    assert_int_equal(int_at(j, "reserved_nano"), BOUND);
    assert_true(json_is_null(json_object_get(j, "cost_nano")));
    json_decref(j);
    ledger_budget(k->l, &left);
    assert_true(left.limit == MONEY_DOLLAR && left.charged == BOUND && left.healthy);

    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    int64_t cost = 1000 * 1250 + 100 * 10000;
    j = row_json_of(k, id);
    assert_string_equal(text_at(j, "status"), "ok");
    assert_string_equal(text_at(j, "end_reason"), "stop");
    assert_string_equal(text_at(j, "zone"), "cloud");
    assert_string_equal(text_at(j, "dialect"), "openai");
    assert_string_equal(text_at(j, "model_asked"), "auto");
    assert_string_equal(text_at(j, "model_answered"), "gpt-5-2025-08-07");
    assert_string_equal(text_at(j, "cost"), "$0.00225");
    assert_int_equal(int_at(j, "cost_nano"), cost);
    assert_int_equal(int_at(j, "baseline_nano"), cost);
    assert_int_equal(int_at(j, "saved_nano"), 0);
    assert_int_equal(int_at(j, "first_ms"), 250);
    assert_true(json_is_true(json_object_get(j, "stream")));
    assert_int_equal(json_array_size(json_object_get(j, "labels")), 1);
    assert_int_equal(json_array_size(json_object_get(json_object_get(j, "plan"), "candidates")), 2);
    /* A conversation's name does not get into the books. */
    assert_int_equal(strlen(text_at(j, "conversation")), 32);
    assert_non_null(strstr(text_at(j, "price"), "gpt-5, as of "));
    json_decref(j);
    ledger_budget(k->l, &left);
    assert_true(left.charged == cost);
    assert_sums(k);

    /* Closed is closed: neither a second end nor a late reservation changes it. */
    end.usage.output = 900;
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    assert_int_equal(reserve(k->l, &b, &e), ERR_EXISTS);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests"), 1);
    assert_int_equal(ask(k, "SELECT cost FROM requests"), cost);
    assert_sums(k);
}

/* A call may wait for long, and its plan is large: it is given once. */
static void the_plan_reserved_with_is_the_rows(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX];
    open_books(k, MONEY_DOLLAR, 0);
    struct ledger_begin b = cloud(id);
    struct ledger_end end = ended(1000, 100);
    assert_int_equal(reserve(k->l, &b, &e), 0);
    b.plan = b.labels = STR_NONE;
    b.model = STR("gpt-5-mini"); /* the next attempt */
    assert_int_equal(reserve(k->l, &b, &e), 0);
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    json_t *j = row_json_of(k, id);
    assert_string_equal(text_at(j, "model"), "gpt-5-mini");
    assert_int_equal(json_array_size(json_object_get(j, "labels")), 1);
    assert_int_equal(json_array_size(json_object_get(json_object_get(j, "plan"), "candidates")), 2);
    json_decref(j);
}

static void a_local_call_is_one_row_and_free(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX];
    open_books(k, 0, 0); /* not a cent may be spent */
    struct ledger_begin b = local(id);
    struct ledger_end end = ended(1000, 100);
    assert_int_equal(ledger_settle(k->l, &b, &end, NULL, NULL, &e), 0); /* nobody listens */
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    json_t *j = row_json_of(k, id);
    assert_int_equal(int_at(j, "cost_nano"), 0);
    assert_int_equal(int_at(j, "saved_nano"), 1000 * 1250 + 100 * 10000);
    assert_string_equal(text_at(j, "baseline_model"), "openai/gpt-5");
    json_decref(j);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests"), 1);
    /* With a reservation it is the same. */
    b = local(id);
    assert_int_equal(reserve(k->l, &b, &e), 0);
    end.code = ERR_CANCELLED;
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    assert_int_equal(ask(k, "SELECT sum(status='cancelled' AND code='CANCELLED') FROM requests"),
                     1);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests"), 2);
    assert_sums(k);
}

static void the_account_is_the_row(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX];
    struct buf b = BUF_INIT(1 << 20);
    int64_t cost, baseline;
    open_books(k, MONEY_UNKNOWN, 0);
    struct ledger_begin begin = cloud(id);
    struct ledger_end end = ended(1000, 100);
    assert_int_equal(reserve(k->l, &begin, &e), 0);
    assert_int_equal(settle(k->l, &begin, &end, &e), 0);
    assert_int_equal(ledger_account(k->l, &begin, &end, &b, &e), 0);
    json_t *said = json_loads(b.p, 0, NULL), *row = row_json_of(k, id);
    assert_non_null(said);
    assert_true(json_equal(said, row));
    ledger_costs(k->l, &begin, &end, &cost, &baseline);
    assert_true(cost == int_at(row, "cost_nano") && baseline == int_at(row, "baseline_nano"));
    json_decref(said);
    json_decref(row);
    buf_done(&b);
}

static void unknown_is_never_nothing(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX];
    open_books(k, MONEY_UNKNOWN, 0);
    struct ledger_begin b = cloud(id);
    struct ledger_end end = ended(1000, 100);
    b.model = STR("nobody/knows-this");
    assert_int_equal(reserve(k->l, &b, &e), 0);
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    json_t *j = row_json_of(k, id);
    assert_true(json_is_null(json_object_get(j, "cost_nano")));
    assert_string_equal(text_at(j, "cost"), "unknown");
    assert_string_equal(text_at(j, "saved"), "unknown");
    json_decref(j);
    /* The provider's own figure is a figure. */
    b.id = "named-by-provider";
    end.provider_cost = 12345;
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    assert_int_equal(ask(k, "SELECT cost FROM requests WHERE id='named-by-provider'"), 12345);
    /* Refused with a 401 before it used anything: it cost nothing, whatever its price. */
    b.id = "refused";
    end = ended(0, 0);
    end.code = ERR_AUTH;
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    assert_int_equal(ask(k, "SELECT cost IS 0 FROM requests WHERE id='refused'"), 1);
    close_books(k);

    /* With a budget it cannot be held, so it may not go out. */
    open_books(k, 100 * MONEY_DOLLAR, 0);
    b.id = "unpriced";
    assert_int_equal(reserve(k->l, &b, &e), ERR_BUDGET);
    assert_non_null(strstr(e.msg, "unknown"));
    assert_int_equal(ask(k, "SELECT count(*) FROM requests WHERE id='unpriced'"), 0);
    assert_sums(k);
}

/* A client that leaves does not make the call free. */
static void a_broken_call_without_usage_is_charged(void **state)
{
    static const struct {
        int code;
        int64_t queue_ms, first_ms;
        bool charged;
    } cases[] = {
        {ERR_AUTH, 1, -1, false},       {ERR_CONNECT, 1, -1, false},  {ERR_UPSTREAM, 1, -1, false},
        {ERR_CANCELLED, -1, -1, false}, {ERR_CANCELLED, 1, -1, true}, {ERR_CANCELLED, 1, 9, true},
        {ERR_CUT, 1, 9, true},          {ERR_TIMEOUT, 1, -1, true},   {ERR_UPSTREAM, 1, 9, true},
    };
    struct books *k = *state;
    struct err e = {0};
    char sql[160];
    open_books(k, 1000 * MONEY_DOLLAR, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char id[LEDGER_ID_MAX];
        struct ledger_begin b = cloud(id), own;
        struct ledger_end end = ended(0, 0);
        end.code = cases[i].code;
        end.queue_ms = cases[i].queue_ms;
        end.first_ms = cases[i].first_ms;
        assert_int_equal(reserve(k->l, &b, &e), 0);
        assert_int_equal(settle(k->l, &b, &end, &e), 0);
        snprintf(sql, sizeof sql, "SELECT charged FROM requests WHERE id='%s' AND cost IS %s", id,
                 cases[i].charged ? "NULL" : "0");
        assert_int_equal(ask(k, sql), cases[i].charged ? BOUND : 0);
        own = local(id);
        assert_int_equal(settle(k->l, &own, &end, &e), 0);
        snprintf(sql, sizeof sql, "SELECT cost IS 0 FROM requests WHERE id='%s'", id);
        assert_int_equal(ask(k, sql), 1);
    }
    assert_sums(k);
}

static void a_budget_ends(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX], first[LEDGER_ID_MAX];
    open_books(k, 3 * BOUND, 0);
    struct ledger_begin b = cloud(first), last = b;
    struct ledger_end end = ended(0, 0);
    assert_int_equal(reserve(k->l, &b, &e), 0);
    for (int i = 0; i < 2; i++) {
        b = cloud(id);
        assert_int_equal(reserve(k->l, &b, &e), 0);
    }
    b = cloud(id);
    assert_int_equal(reserve(k->l, &b, &e), ERR_BUDGET);
    assert_non_null(strstr(e.msg, "$0.03075"));
    assert_non_null(strstr(e.msg, "$0.01025"));
    /* A free one still goes, and so does this one when another gives back what it held. */
    struct ledger_begin free_one = local(id);
    assert_int_equal(reserve(k->l, &free_one, &e), 0);
    end.code = ERR_CONNECT;
    assert_int_equal(settle(k->l, &last, &end, &e), 0);
    b = cloud(id);
    assert_int_equal(reserve(k->l, &b, &e), 0);
    assert_sums(k);
    close_books(k);

    /* Another month is another budget. */
    assert_int_equal(ask(k, "SELECT charged FROM months"), 3 * BOUND);
    open_books(k, 3 * BOUND, 0);
    b = cloud(id);
    assert_int_equal(reserve(k->l, &b, &e), ERR_BUDGET);
    b.time_ms = ledger_month_start(clock_wall_ms()) - 1;
    assert_int_equal(reserve(k->l, &b, &e), 0);
    assert_int_equal(ask(k, "SELECT count(*) FROM months"), 2);
    assert_sums(k);
}

static void an_estimate_reserves_more(void **state)
{
    struct books *k = *state;
    char id[LEDGER_ID_MAX];
    int64_t exact, guess, open_ended;
    open_books(k, MONEY_UNKNOWN, 0);
    struct ledger_begin b = cloud(id);
    assert_int_equal(ledger_bound(k->l, &b, &exact, NULL), 0);
    b.input_exact = false;
    assert_int_equal(ledger_bound(k->l, &b, &guess, NULL), 0);
    assert_int_equal(guess - exact, (250 + 64) * 1250);
    b.max_output = 0;
    assert_int_equal(ledger_bound(k->l, &b, &open_ended, NULL), 0);
    assert_int_equal(open_ended - guess, (128000 - 900) * 10000);
    b.carried = 5;
    assert_int_equal(ledger_bound(k->l, &b, &exact, NULL), 0);
    assert_int_equal(exact, open_ended + 5);
}

/* Fail-over: the same request, another candidate. One row, and the first attempt's cost in it. */
static void attempts_are_one_row(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX];
    open_books(k, 2 * BOUND, 0);
    struct ledger_begin b = cloud(id);
    struct ledger_end end = ended(1000, 100);
    assert_int_equal(reserve(k->l, &b, &e), 0);
    b.carried = 777;
    /* What the first attempt held is free for the second: two and a half would not fit. */
    b.max_output = 1800;
    assert_int_equal(reserve(k->l, &b, &e), 0);
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests"), 1);
    assert_int_equal(ask(k, "SELECT attempts FROM requests"), 2);
    assert_int_equal(ask(k, "SELECT cost FROM requests"), 2250000 + 777);
    assert_int_equal(ask(k, "SELECT charged FROM months"), 2250000 + 777);
    assert_sums(k);
}

/* ---- many at once ---- */

#define THREADS 4
#define SETTLES 250
#define RESERVES 100

struct crowd {
    struct books *k;
    atomic_int acked, failed, granted, refused;
};

static void count_ack(void *ctx, int rc, const struct err *e)
{
    struct crowd *c = ctx;
    if (rc)
        c->failed++;
    c->acked++;
}

static void *settle_many(void *arg)
{
    struct crowd *c = arg;
    for (int i = 0; i < SETTLES; i++) {
        char id[LEDGER_ID_MAX];
        struct ledger_begin b = local(id);
        struct ledger_end end = ended(i, i);
        /* Each twice: the second must not add a row. */
        for (int twice = 0; twice < 2; twice++)
            if (ledger_settle(c->k->l, &b, &end, count_ack, c, NULL))
                c->failed++;
    }
    return NULL;
}

static void a_thousand_settles_from_four_threads(void **state)
{
    struct books *k = *state;
    struct crowd c = {.k = k};
    pthread_t t[THREADS];
    open_books(k, MONEY_UNKNOWN, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, settle_many, &c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    close_books(k); /* waits for every acknowledgement */
    assert_int_equal(c.acked, 2 * THREADS * SETTLES);
    assert_int_equal(c.failed, 0);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests"), THREADS * SETTLES);
    assert_int_equal(ask(k, "SELECT sum(input) FROM requests"),
                     THREADS * SETTLES * (SETTLES - 1) / 2);
    assert_sums(k);
}

static void *reserve_many(void *arg)
{
    struct crowd *c = arg;
    for (int i = 0; i < RESERVES; i++) {
        char id[LEDGER_ID_MAX];
        struct ledger_begin b = cloud(id);
        int rc = reserve(c->k->l, &b, NULL);
        if (rc == 0)
            c->granted++;
        else if (rc == ERR_BUDGET)
            c->refused++;
        else
            c->failed++;
    }
    return NULL;
}

static void reservations_cannot_overspend_together(void **state)
{
    struct books *k = *state;
    struct crowd c = {.k = k};
    pthread_t t[THREADS];
    open_books(k, 37 * BOUND + BOUND - 1, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reserve_many, &c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c.granted, 37);
    assert_int_equal(c.refused, THREADS * RESERVES - 37);
    assert_int_equal(c.failed, 0);
    assert_int_equal(ask(k, "SELECT charged FROM months"), 37 * BOUND);
    assert_sums(k);
}

/* ---- kill -9 ---- */

#define CRASH_BUDGET (60 * BOUND)

static void tell(const char *what, const char *id)
{
    char line[40];
    int n = snprintf(line, sizeof line, "%s %s\n", what, id);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(1);
}

/* One client after another: reserve, be told, settle, be told; what was acknowledged goes up the
 * pipe, as a client would see it. Every fifth request is never settled. */
static void *serve_until_killed(void *arg)
{
    struct ledger *l = arg;
    for (int i = 0;; i++) {
        char id[LEDGER_ID_MAX];
        struct ledger_begin b = cloud(id);
        struct ledger_end end = ended(1000, i % 100);
        struct ledger_begin own = local(id);
        if (i % 3 == 0) {
            if (settle(l, &own, &end, NULL) == 0)
                tell("done", id);
            continue;
        }
        b.id = id;
        if (reserve(l, &b, NULL))
            continue; /* the budget is used up: local calls go on */
        tell("held", id);
        if (i % 5 && settle(l, &b, &end, NULL) == 0)
            tell("done", id);
    }
    return NULL;
}

static int child_serves(const char *home)
{
    struct books k = {0};
    struct err e = {0};
    snprintf(k.dir, sizeof k.dir, "%s", home);
    if (try_books(&k, CRASH_BUDGET, 0, &e))
        return 1;
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, serve_until_killed, k.l))
            return 1;
    for (;;)
        pause();
}

static pid_t start_child(const char *what, const char *home, int *out)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl(self, self, what, home, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    *out = fds[0];
    return pid;
}

/* Reads lines until there are `want` of them, kills, reads what is left. */
static char *kill_after(pid_t pid, int out, int want, size_t *size)
{
    char *text = NULL;
    size_t n = 0, cap = 0;
    int lines = 0, status;
    bool killed = false;
    for (;;) {
        if (n == cap)
            text = realloc(text, cap = cap ? cap * 2 : 65536);
        ssize_t got = read(out, text + n, cap - n);
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got; i++)
            lines += text[n + (size_t)i] == '\n';
        n += (size_t)got;
        if (!killed && lines >= want) {
            kill(pid, SIGKILL);
            killed = true;
        }
    }
    close(out);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(killed && WIFSIGNALED(status));
    *size = n;
    return text;
}

static void check_told(const struct books *k, const char *text, size_t n, int64_t *closed)
{
    struct str rest = str_n(text, n), line, what, id;
    char sql[160];
    int64_t done = 0;
    while (str_cut(rest, '\n', &line, &rest) && str_cut(line, ' ', &what, &id)) {
        bool is_done = str_is(what, "done");
        /* "held" is there whatever became of it; "done" is there as ok. */
        snprintf(sql, sizeof sql, "SELECT count(*) FROM requests WHERE id='%.*s'%s", STR_ARG(id),
                 is_done ? " AND status='ok'" : "");
        assert_int_equal(ask(k, sql), 1);
        done += is_done;
    }
    *closed = done;
}

static void kill_9_loses_nothing_and_doubles_nothing(void **state)
{
    struct books *k = *state;
    int64_t told = 0;
    for (int round = 0; round < 3; round++) {
        int out;
        size_t n;
        int64_t closed;
        pid_t pid = start_child("serves", k->dir, &out);
        char *text = kill_after(pid, out, 60, &n);
        open_books(k, CRASH_BUDGET, 0); /* closes what was open */
        check_told(k, text, n, &closed);
        free(text);
        told += closed;
        assert_true(closed > 0);
        assert_true(ask(k, "SELECT count(*) FROM requests WHERE status='ok'") >= told);
        assert_int_equal(ask(k, "SELECT count(*)-count(DISTINCT id) FROM requests"), 0);
        assert_int_equal(ask(k, "SELECT count(*) FROM requests WHERE status='open'"), 0);
        assert_true(ask(k, "SELECT count(*) FROM requests WHERE status='crashed'") > 0);
        assert_int_equal(ask(k, "SELECT count(*) FROM requests WHERE status='crashed' AND"
                                " (cost IS NOT reserved OR charged IS NOT reserved)"),
                         0);
        assert_true(ask(k, "SELECT sum(charged) FROM months") <= CRASH_BUDGET);
        assert_int_equal(ask(k, "SELECT sum(cost)-sum(charged) FROM requests"), 0);
        assert_sums(k);
        close_books(k);
    }
}

/* ---- a full disk ---- */

static void a_full_disk_refuses_what_costs(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX], held[LEDGER_ID_MAX];
    struct ledger_budget left;
    static char plan[60000];
    memset(plan, 'x', sizeof plan);
    plan[0] = plan[sizeof plan - 1] = '"';
    open_books(k, 1000 * MONEY_DOLLAR, 60);
    struct ledger_begin paid = cloud(held);
    struct ledger_end end = ended(1000, 100);
    assert_int_equal(reserve(k->l, &paid, &e), 0);
    int rc = 0, rows = 0;
    while (rows < 100) {
        struct ledger_begin b = local(id);
        b.plan = str_n(plan, sizeof plan);
        rc = settle(k->l, &b, &end, &e);
        if (rc)
            break;
        rows++;
    }
    assert_int_equal(rc, ERR_NO_SPACE);
    ledger_budget(k->l, &left);
    assert_false(left.healthy);
    struct ledger_begin b = cloud(id);
    b.plan = str_n(plan, sizeof plan);
    assert_int_equal(reserve(k->l, &b, &e), ERR_NO_SPACE);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests WHERE zone='cloud'"), 1);

    /* A row that could not be written is written when the disk has room again. */
    int64_t before = ask(k, "SELECT count(*) FROM requests");
    struct ledger_end late = ended(1000, 100);
    late.message = STR_NONE;
    assert_int_equal(settle(k->l, &paid, &late, &e), 0); /* small: fits into its page */
    close_books(k);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests"), before);
    assert_int_equal(ask(k, "SELECT sum(status='ok') FROM requests"), before);
    assert_sums(k);
}

/* The limit is lifted while the child runs: the row of the failed settle comes after all. */
static int child_fills_a_disk(const char *home)
{
    struct books k = {0};
    struct err e = {0};
    char id[LEDGER_ID_MAX], lost[LEDGER_ID_MAX];
    static char plan[200000];
    memset(plan, 'x', sizeof plan);
    plan[0] = plan[sizeof plan - 1] = '"';
    signal(SIGXFSZ, SIG_IGN);
    snprintf(k.dir, sizeof k.dir, "%s", home);
    if (try_books(&k, 1000 * MONEY_DOLLAR, 0, &e))
        return 1;
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    rlim_t all = limit.rlim_cur;
    limit.rlim_cur = 150000;
    if (setrlimit(RLIMIT_FSIZE, &limit))
        return 2;
    struct ledger_begin b = local(lost);
    struct ledger_end end = ended(1, 1);
    b.plan = str_n(plan, sizeof plan);
    /* To SQLite the limit of a file's size is an error of the disk like any other. */
    int rc = settle(k.l, &b, &end, &e);
    if ((rc != ERR_NO_SPACE && rc != ERR_IO) || store_healthy(k.s, &e))
        return 3;
    limit.rlim_cur = all;
    if (setrlimit(RLIMIT_FSIZE, &limit))
        return 4;
    struct ledger_begin next = local(id);
    if (settle(k.l, &next, &end, &e) || !store_healthy(k.s, &e))
        return 5;
    close_books(&k);
    return ask(&k, "SELECT count(*) FROM requests WHERE status='ok'") == 2 ? 0 : 6;
}

static void a_late_row_is_written_after_all(void **state)
{
    struct books *k = *state;
    int out, status;
    char byte;
    pid_t pid = start_child("fills", k->dir, &out);
    while (read(out, &byte, 1) == 1)
        ;
    close(out);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(ask(k, "SELECT count(*) FROM requests"), 2);
    assert_sums(k);
}

/* ---- strange input ---- */

static void rows_hold_what_comes(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char id[LEDGER_ID_MAX];
    static char long_text[10000];
    memset(long_text, 'a', sizeof long_text);
    open_books(k, MONEY_UNKNOWN, 0);
    struct ledger_begin b = local(id);
    struct ledger_end end = ended(-5, 10);
    b.model_asked = str_n("a\0b\x1b[2J'\";\xff", 11);
    b.reason = str_n(long_text, sizeof long_text);
    b.plan = STR("{not json");
    b.labels = STR_NONE;
    end.code = ERR_CUT;
    end.message = STR("the stream \"ended\"");
    end.queue_ms = end.first_ms = -1;
    end.tokens_per_s = 0;
    assert_int_equal(settle(k->l, &b, &end, &e), 0);
    json_t *j = row_json_of(k, id);
    assert_string_equal(text_at(j, "status"), "error");
    assert_string_equal(text_at(j, "code"), "CUT");
    assert_string_equal(text_at(j, "plan"), "{not json");
    assert_int_equal(strlen(text_at(j, "reason")), 2048);
    assert_int_equal(int_at(j, "input"), 0);
    assert_true(json_is_null(json_object_get(j, "first_ms")));
    assert_true(json_is_null(json_object_get(j, "labels")));
    json_decref(j);
    b.id = "";
    assert_int_equal(ledger_settle(k->l, &b, &end, on_ack, NULL, &e), ERR_INVAL);
    b.id = "x";
    b.carried = -1;
    assert_int_equal(ledger_reserve(k->l, &b, on_ack, NULL, &e), ERR_INVAL);
}

/* ---- reports ---- */

static void fill_report(struct books *k)
{
    struct err e = {0};
    char id[LEDGER_ID_MAX];
    open_books(k, MONEY_UNKNOWN, 0);
    for (int i = 0; i < 12; i++) {
        struct ledger_begin b = i % 2 ? cloud(id) : local(id);
        struct ledger_end end = ended(1000, 100);
        if (i == 3)
            b.model = STR("nobody/knows");
        end.code = i == 5 ? ERR_CUT : i == 7 ? ERR_CANCELLED : 0;
        end.usage.estimated = i == 7;
        assert_int_equal(settle(k->l, &b, &end, &e), 0);
    }
    struct ledger_begin open = cloud(id);
    assert_int_equal(reserve(k->l, &open, &e), 0);
}

static json_t *report(struct books *k, enum ledger_by by, int64_t from)
{
    struct err e = {0};
    struct buf b = BUF_INIT(1 << 20);
    struct ledger_query q = {.by = by, .from_ms = from};
    assert_int_equal(ledger_report(k->dir, &q, true, &b, &e), 0);
    json_t *j = json_loads(b.p, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);
    assert_non_null(j);
    buf_done(&b);
    return j;
}

static void reports_add_up(void **state)
{
    struct books *k = *state;
    const int64_t one = 2250000;
    fill_report(k);
    for (int by = LEDGER_BY_DAY; by <= LEDGER_BY_ZONE; by++) {
        json_t *j = report(k, (enum ledger_by)by, 0), *total = json_object_get(j, "total"), *g;
        size_t i;
        int64_t requests = 0, cost = 0;
        json_array_foreach(json_object_get(j, "groups"), i, g)
        {
            requests += int_at(g, "requests");
            if (strcmp(text_at(g, "group"), "nobody/knows") == 0)
                assert_string_equal(text_at(g, "cost"), "unknown");
            else
                cost += int_at(g, "cost_nano");
        }
        assert_int_equal(int_at(total, "requests"), 13);
        assert_int_equal(requests, 13);
        assert_int_equal(cost, 5 * one);
        assert_int_equal(int_at(total, "cost_nano"), 5 * one);
        assert_int_equal(int_at(total, "unknown_cost"), 1);
        assert_int_equal(int_at(total, "open"), 1);
        assert_int_equal(int_at(total, "reserved_nano"), BOUND);
        assert_int_equal(int_at(total, "failed"), 1);
        assert_int_equal(int_at(total, "cancelled"), 1);
        assert_int_equal(int_at(total, "estimated"), 1);
        assert_int_equal(int_at(total, "input"), 12000);
        assert_int_equal(int_at(total, "baseline_nano"), 11 * one);
        assert_int_equal(int_at(total, "saved_nano"), 6 * one);
        json_decref(j);
    }
    json_t *j = report(k, LEDGER_BY_ZONE, 0);
    assert_int_equal(json_array_size(json_object_get(j, "groups")), 2);
    json_decref(j);
    j = report(k, LEDGER_BY_ZONE, clock_wall_ms() + 1000);
    assert_int_equal(json_array_size(json_object_get(j, "groups")), 0);
    json_decref(j);
}

static void reports_read_well(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    struct buf b = BUF_INIT(1 << 20);
    struct ledger_query q = {.by = LEDGER_BY_MODEL};
    assert_int_equal(ledger_report(k->dir, &q, false, &b, &e), ERR_NOT_FOUND);
    fill_report(k);
    assert_int_equal(ledger_report(k->dir, &q, false, &b, &e), 0);
    assert_non_null(strstr(b.p, "MODEL         REQUESTS  FAILED   INPUT  OUTPUT"));
    assert_non_null(strstr(b.p, "smollm2:135m         6       0   6,000     600     $0.00"));
    assert_non_null(strstr(b.p, "nobody/knows         1       0   1,000     100   unknown"));
    assert_non_null(strstr(b.p, "total               13       1  12,000   1,200  $0.01125"));
    assert_non_null(strstr(b.p, "1 of 13 requests have no known price"));
    assert_non_null(strstr(b.p, "1 under way, holding $0.01025"));
    buf_done(&b);
}

static void rows_are_paged(void **state)
{
    struct books *k = *state;
    struct err e = {0};
    char last[LEDGER_ID_MAX] = "";
    int seen = 0;
    fill_report(k);
    for (int page = 0; page < 4; page++) {
        struct buf b = BUF_INIT(1 << 20);
        assert_int_equal(ledger_recent(k->dir, 4, page ? last : NULL, true, &b, &e), 0);
        json_t *j = json_loads(b.p, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL), *rows, *r;
        size_t i;
        rows = json_object_get(j, "rows");
        assert_int_equal(json_array_size(rows), page < 3 ? 4 : 1);
        json_array_foreach(rows, i, r)
        {
            /* The newest first, none twice. */
            assert_true(seen == 0 || int_at(r, "time_ms") <= clock_wall_ms());
            assert_string_not_equal(text_at(r, "id"), last);
            snprintf(last, sizeof last, "%s", text_at(r, "id"));
            seen++;
        }
        json_decref(j);
        buf_done(&b);
    }
    assert_int_equal(seen, 13);
    struct buf b = BUF_INIT(1 << 20);
    assert_int_equal(ledger_recent(k->dir, 100, NULL, false, &b, &e), 0);
    assert_non_null(strstr(b.p, "TIME (UTC)"));
    buf_clear(&b);
    assert_int_equal(ledger_row(k->dir, last, false, &b, &e), 0);
    assert_non_null(strstr(b.p, "needs a domain expert"));
    assert_int_equal(ledger_row(k->dir, "nobody", true, &b, &e), ERR_NOT_FOUND);
    buf_done(&b);
}

int main(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        snprintf(self, sizeof self, "%s", argv[0]);
    if (argc == 3 && strcmp(argv[1], "serves") == 0)
        return child_serves(argv[2]);
    if (argc == 3 && strcmp(argv[1], "fills") == 0)
        return child_fills_a_disk(argv[2]);
#define WITH_BOOKS(f) cmocka_unit_test_setup_teardown(f, make_books, drop_books)
    const struct CMUnitTest tests[] = {
        WITH_BOOKS(a_paid_call_is_held_then_booked),
        WITH_BOOKS(the_plan_reserved_with_is_the_rows),
        WITH_BOOKS(a_local_call_is_one_row_and_free),
        WITH_BOOKS(the_account_is_the_row),
        WITH_BOOKS(unknown_is_never_nothing),
        WITH_BOOKS(a_broken_call_without_usage_is_charged),
        WITH_BOOKS(a_budget_ends),
        WITH_BOOKS(an_estimate_reserves_more),
        WITH_BOOKS(attempts_are_one_row),
        WITH_BOOKS(a_thousand_settles_from_four_threads),
        WITH_BOOKS(reservations_cannot_overspend_together),
        WITH_BOOKS(kill_9_loses_nothing_and_doubles_nothing),
        WITH_BOOKS(a_full_disk_refuses_what_costs),
        WITH_BOOKS(a_late_row_is_written_after_all),
        WITH_BOOKS(rows_hold_what_comes),
        WITH_BOOKS(reports_add_up),
        WITH_BOOKS(reports_read_well),
        WITH_BOOKS(rows_are_paged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
