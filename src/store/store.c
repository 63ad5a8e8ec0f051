/* store.c: the one thread that writes weir.db, and group commit.
 *
 *   submit ──▶ queue ──▶ thread: BEGIN; {SAVEPOINT; run; RELEASE}*; COMMIT (one fsync) ──▶ done*
 *
 * The longer a commit takes, the more jobs wait for the next: throughput grows with the load and
 * nobody sets an interval. An acknowledgement means durable, so it comes after the commit alone. */
#include "store_int.h"

#include "clock.h"
#include "queue.h"

#include <pthread.h>
#include <stdlib.h>

#define QUEUE_DEFAULT 4096
#define BATCH_MAX 256
#define PROBE_NS UINT64_C(5000000000) /* after a failure, and between two probes */

struct job {
    store_run_fn *run;
    store_done_fn *done;
    void *ctx;
    int rc;
    struct err err;
};

struct store {
    sqlite3 *db; /* the thread's alone */
    struct queue *jobs;
    pthread_t thread;
    bool lasting; /* the thread's: damage or a lost write, until the next start */

    pthread_mutex_t lock; /* guards what follows */
    struct err failure;   /* code 0: healthy */
    uint64_t probe_at;    /* while it fails: when to try by itself */
};

static int exec(struct store *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

/* ---- health ---- */

static void set_health(struct store *s, const struct err *failure)
{
    pthread_mutex_lock(&s->lock);
    s->failure = failure ? *failure : (struct err){0};
    s->probe_at = clock_mono_ns() + PROBE_NS;
    pthread_mutex_unlock(&s->lock);
}

static int run_probe(sqlite3 *db, void *ctx, struct err *e)
{
    int rc =
        sqlite3_exec(db, "INSERT OR REPLACE INTO probe VALUES(1,CAST(strftime('%s') AS INTEGER))",
                     NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : store_sql_err(db, rc, "probe", e);
}

static void probe_done(void *ctx, int rc, const struct err *e)
{
}

/* Whoever asks while it fails makes it try again now and then: else a program that refuses every
 * call because the store fails would never see that the disk has room again. */
bool store_healthy(struct store *s, struct err *e)
{
    uint64_t now = clock_mono_ns();
    pthread_mutex_lock(&s->lock);
    int code = s->failure.code;
    bool probe = code && now >= s->probe_at;
    if (code && e)
        *e = s->failure;
    if (probe)
        s->probe_at = now + PROBE_NS;
    pthread_mutex_unlock(&s->lock);
    if (probe)
        store_submit(s, run_probe, probe_done, NULL, NULL);
    return code == 0;
}

/* Is this result of SQLite the store's failure, and not the job's own? */
static bool is_failure(int sql)
{
    switch (sql & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_NOMEM: return true;
    default: return false;
    }
}

/* After a failed fsync nobody knows what is on disk, and trying again would only seem to work. */
static bool is_lasting(int sql)
{
    int primary = sql & 0xff;
    return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || sql == SQLITE_IOERR_FSYNC ||
           sql == SQLITE_IOERR_DIR_FSYNC;
}

static void note_failure(struct store *s, int sql, const char *what, struct err *e)
{
    store_sql_err(s->db, sql, what, e);
    s->lasting = s->lasting || is_lasting(sql);
    set_health(s, e);
}

/* ---- a batch ---- */

static void fail_all(struct job **jobs, size_t n, const struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        jobs[i]->rc = e->code;
        jobs[i]->err = *e;
    }
}

/* False: SQLite gave up the whole transaction, and *e says why. */
static bool run_job(struct store *s, struct job *j, struct err *e)
{
    int sql = exec(s, "SAVEPOINT job");
    if (sql != SQLITE_OK) {
        note_failure(s, sql, "cannot write to weir.db", e);
        return false;
    }
    j->rc = j->run(s->db, j->ctx, &j->err);
    int last = j->rc ? sqlite3_extended_errcode(s->db) : SQLITE_OK;
    if (is_failure(last)) {
        note_failure(s, last, "cannot write to weir.db", e);
        return false;
    }
    if (j->rc)
        sql = exec(s, "ROLLBACK TO job");
    if (sql == SQLITE_OK)
        sql = exec(s, "RELEASE job");
    if (sql != SQLITE_OK)
        note_failure(s, sql, "cannot write to weir.db", e);
    return sql == SQLITE_OK;
}

static void run_batch(struct store *s, struct job **jobs, size_t n)
{
    struct err e = {0};
    if (s->lasting) {
        store_healthy(s, &e);
        fail_all(jobs, n, &e);
        return;
    }
    int before = sqlite3_total_changes(s->db);
    int sql = exec(s, "BEGIN IMMEDIATE");
    bool ok = sql == SQLITE_OK;
    if (!ok)
        note_failure(s, sql, "cannot begin to write to weir.db", &e);
    for (size_t i = 0; ok && i < n; i++)
        ok = run_job(s, jobs[i], &e);
    if (ok && (sql = exec(s, "COMMIT")) != SQLITE_OK) {
        note_failure(s, sql, "cannot commit to weir.db", &e);
        ok = false;
    }
    if (!ok) {
        if (!sqlite3_get_autocommit(s->db))
            exec(s, "ROLLBACK");
        fail_all(jobs, n, &e);
    } else if (sqlite3_total_changes(s->db) != before) {
        /* Only a commit that wrote something shows that writing works. */
        set_health(s, NULL);
    }
}

static void *writer(void *arg)
{
    struct store *s = arg;
    struct job *jobs[BATCH_MAX];
    while ((jobs[0] = queue_take_wait(s->jobs))) {
        size_t n = 1;
        while (n < BATCH_MAX && (jobs[n] = queue_take(s->jobs)))
            n++;
        run_batch(s, jobs, n);
        for (size_t i = 0; i < n; i++) {
            jobs[i]->done(jobs[i]->ctx, jobs[i]->rc, jobs[i]->rc ? &jobs[i]->err : NULL);
            free(jobs[i]);
        }
    }
    return NULL;
}

/* ---- the outside ---- */

int store_open(const struct store_params *p, struct store **out, struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for the database");
    pthread_mutex_init(&s->lock, NULL);
    s->jobs = queue_new(p->queue ? p->queue : QUEUE_DEFAULT);
    int rc = s->jobs ? 0 : err_set(e, ERR_NOMEM, "no memory for the database's queue");
    if (rc == 0)
        rc = database_open(p->home, p->max_pages, &s->db, e);
    if (rc == 0 && pthread_create(&s->thread, NULL, writer, s) != 0)
        rc = err_set(e, ERR_NOMEM, "cannot start the database's thread");
    if (rc) {
        sqlite3_close(s->db);
        queue_free(s->jobs);
        pthread_mutex_destroy(&s->lock);
        free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    queue_close(s->jobs);
    pthread_join(s->thread, NULL);
    sqlite3_close(s->db);
    queue_free(s->jobs);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int store_submit(struct store *s, store_run_fn *run, store_done_fn *done, void *ctx, struct err *e)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return err_set(e, ERR_NOMEM, "no memory for a write to the database");
    j->run = run;
    j->done = done;
    j->ctx = ctx;
    if (queue_push(s->jobs, j))
        return 0;
    free(j);
    return err_set(e, ERR_OVERLOAD, "too many writes wait for the database, or it is closing");
}

struct call {
    store_run_fn *run;
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool over;
    int rc;
    struct err err;
};

static int call_run(sqlite3 *db, void *ctx, struct err *e)
{
    struct call *c = ctx;
    return c->run(db, c->ctx, e);
}

static void call_done(void *ctx, int rc, const struct err *e)
{
    struct call *c = ctx;
    pthread_mutex_lock(&c->lock);
    c->rc = rc;
    if (e)
        c->err = *e;
    c->over = true;
    pthread_cond_signal(&c->woken);
    pthread_mutex_unlock(&c->lock);
}

int store_call(struct store *s, store_run_fn *run, void *ctx, struct err *e)
{
    struct call c = {.run = run, .ctx = ctx};
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.woken, NULL);
    int rc = store_submit(s, call_run, call_done, &c, e);
    if (rc == 0) {
        pthread_mutex_lock(&c.lock);
        while (!c.over)
            pthread_cond_wait(&c.woken, &c.lock);
        rc = c.rc;
        pthread_mutex_unlock(&c.lock);
        if (rc && e)
            *e = c.err;
    }
    pthread_mutex_destroy(&c.lock);
    pthread_cond_destroy(&c.woken);
    return rc;
}
