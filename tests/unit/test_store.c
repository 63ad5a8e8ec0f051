/* test_store.c: who owns the home, one writer with group commit, migrations, damage, a full disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store.h"
#include "str.h"

static char self[4096];

/* ---- a home of its own for each test ---- */

struct home {
    char dir[64], path[80], db[96];
};

static int make_home(void **state)
{
    struct home *h = calloc(1, sizeof *h);
    strcpy(h->dir, "/tmp/weir-store-XXXXXX");
    if (!mkdtemp(h->dir))
        return -1;
    snprintf(h->path, sizeof h->path, "%s/home", h->dir);
    snprintf(h->db, sizeof h->db, "%s/weir.db", h->path);
    *state = h;
    return 0;
}

static int drop_home(void **state)
{
    struct home *h = *state;
    const char *const names[] = {"weir.db", "weir.db-wal", "weir.db-shm", "weir.lock", "copy.db"};
    char path[160];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", h->path, names[i]);
        unlink(path);
    }
    rmdir(h->path);
    int rc = rmdir(h->dir);
    free(h);
    return rc;
}

static struct store *open_store(const struct home *h, int max_pages)
{
    struct store *s = NULL;
    struct err e = {0};
    mkdir(h->path, 0700);
    struct store_params p = {.home = h->path, .max_pages = max_pages};
    int rc = store_open(&p, &s, &e);
    if (rc)
        print_message("%s\n", e.msg);
    assert_int_equal(rc, 0);
    return s;
}

static void write_file(const char *path, const void *p, size_t n, long offset)
{
    FILE *f = fopen(path, offset ? "r+b" : "wb");
    assert_non_null(f);
    assert_int_equal(fseek(f, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static int64_t ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

static int64_t ask_home(const struct home *h, const char *sql)
{
    sqlite3 *db = NULL;
    struct err e = {0};
    assert_int_equal(store_read_open(h->path, &db, &e), 0);
    int64_t v = ask(db, sql);
    store_read_close(db);
    return v;
}

/* ctx: the statement. */
static int run_sql(sqlite3 *db, void *ctx, struct err *e)
{
    int rc = sqlite3_exec(db, ctx, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : store_sql_err(db, rc, "test", e);
}

static int call_sql(struct store *s, const char *sql, struct err *e)
{
    return store_call(s, run_sql, (void *)(uintptr_t)sql, e);
}

/* ---- the home ---- */

static void a_home_has_one_owner(void **state)
{
    struct home *h = *state;
    struct store_lock *a = NULL, *b = NULL;
    struct store_owner o = {0};
    struct err e = {0};
    struct stat st;
    char slashed[96];
    snprintf(slashed, sizeof slashed, "%s//", h->path);
    assert_int_equal(store_home_owner(h->path, &o, &e), ERR_NOT_FOUND);
    assert_int_equal(store_home_lock(slashed, &a, NULL, &e), 0);
    assert_int_equal(stat(h->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);

    assert_int_equal(store_home_lock(h->path, &b, &o, &e), ERR_BUSY);
    assert_null(b);
    assert_int_equal(o.pid, getpid());
    assert_string_equal(o.address, "");
    assert_int_equal(store_home_publish(a, "unix:/home/x/.weir/run/weir.sock", &e), 0);
    assert_int_equal(store_home_publish(a, "http://127.0.0.1:9347", &e), 0);
    assert_int_equal(store_home_publish(a, "two\nlines", &e), ERR_INVAL);
    assert_int_equal(store_home_lock(h->path, &b, &o, &e), ERR_BUSY);
    assert_string_equal(o.address, "http://127.0.0.1:9347");
    assert_non_null(strstr(e.msg, "http://127.0.0.1:9347"));
    memset(&o, 0, sizeof o);
    assert_int_equal(store_home_owner(h->path, &o, &e), 0);
    assert_int_equal(o.pid, getpid());
    assert_string_equal(o.address, "http://127.0.0.1:9347");

    store_home_unlock(a);
    assert_int_equal(store_home_owner(h->path, &o, &e), ERR_NOT_FOUND);
    assert_int_equal(store_home_lock(h->path, &b, &o, &e), 0);
    store_home_unlock(b);
    store_home_unlock(NULL);
}

/* The child owns the home, says so on its standard output and waits to be killed. */
static int child_owns(const char *home)
{
    struct store_lock *l = NULL;
    struct err e = {0};
    if (store_home_lock(home, &l, NULL, &e) || store_home_publish(l, "here", &e))
        return 1;
    if (write(STDOUT_FILENO, "x", 1) != 1)
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

static void a_killed_owner_leaves_the_home_free(void **state)
{
    struct home *h = *state;
    struct store_lock *l = NULL;
    struct store_owner o = {0};
    struct err e = {0};
    int out, status;
    char byte;
    pid_t pid = start_child("owns", h->path, &out);
    assert_int_equal(read(out, &byte, 1), 1);
    assert_int_equal(store_home_lock(h->path, &l, &o, &e), ERR_BUSY);
    assert_int_equal(o.pid, pid);
    assert_string_equal(o.address, "here");
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    close(out);
    assert_int_equal(store_home_lock(h->path, &l, &o, &e), 0);
    assert_int_equal(store_home_owner(h->path, &o, &e), 0);
    assert_int_equal(o.pid, getpid());
    store_home_unlock(l);
}

/* ---- the writer ---- */

static void files_are_private(void **state)
{
    struct home *h = *state;
    struct stat st;
    char wal[112];
    struct store *s = open_store(h, 0);
    assert_int_equal(stat(h->db, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct err e = {0};
    assert_int_equal(call_sql(s, "CREATE TABLE t(a)", &e), 0);
    snprintf(wal, sizeof wal, "%s-wal", h->db);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store_close(s);

    assert_int_equal(chmod(h->db, 0644), 0);
    store_close(open_store(h, 0));
    assert_int_equal(stat(h->db, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store_close(NULL);
}

#define WRITERS 4
#define EACH 250

struct shared {
    const struct home *h;
    struct store *s;
    atomic_int told, wrong, commits;
    sqlite3_int64 seen; /* the store's thread: rows of the last look */
};

struct insert {
    struct shared *sh;
    int number;
};

static int run_insert(sqlite3 *db, void *ctx, struct err *e)
{
    struct insert *in = ctx;
    char sql[80];
    snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", in->number);
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return store_sql_err(db, rc, "test", e);
    /* Every tenth changes its mind after it has written. */
    return in->number % 10 == 3 ? err_set(e, ERR_BUDGET, "no") : 0;
}

/* What is acknowledged is seen by another connection at that moment. */
static void insert_done(void *ctx, int rc, const struct err *e)
{
    struct insert *in = ctx;
    struct shared *sh = in->sh;
    bool refused = in->number % 10 == 3;
    if (rc != (refused ? ERR_BUDGET : 0) || (refused && (!e || strcmp(e->msg, "no") != 0)))
        sh->wrong++;
    char sql[80];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM t WHERE a=%d", in->number);
    if (ask_home(sh->h, sql) != (refused ? 0 : 1))
        sh->wrong++;
    sqlite3_int64 now = ask_home(sh->h, "SELECT count(*) FROM t");
    if (now != sh->seen)
        sh->commits++;
    sh->seen = now;
    sh->told++;
    free(in);
}

struct thread_arg {
    struct shared *sh;
    int from;
};

static void *insert_many(void *arg)
{
    struct thread_arg *a = arg;
    for (int i = 0; i < EACH; i++) {
        struct insert *in = malloc(sizeof *in);
        *in = (struct insert){a->sh, a->from + i};
        if (store_submit(a->sh->s, run_insert, insert_done, in, NULL)) {
            free(in);
            a->sh->wrong++;
        }
    }
    return NULL;
}

static void jobs_commit_together_and_fail_alone(void **state)
{
    struct home *h = *state;
    struct err e = {0};
    struct shared sh = {.h = h, .s = open_store(h, 0)};
    pthread_t t[WRITERS];
    struct thread_arg a[WRITERS];
    assert_int_equal(call_sql(sh.s, "CREATE TABLE t(a INTEGER PRIMARY KEY)", &e), 0);
    for (int i = 0; i < WRITERS; i++) {
        a[i] = (struct thread_arg){&sh, i * EACH};
        assert_int_equal(pthread_create(&t[i], NULL, insert_many, &a[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(t[i], NULL);
    assert_true(store_healthy(sh.s, &e));
    store_close(sh.s); /* runs what waits */
    assert_int_equal(sh.told, WRITERS * EACH);
    assert_int_equal(sh.wrong, 0);
    assert_int_equal(ask_home(h, "SELECT count(*) FROM t"), WRITERS * EACH * 9 / 10);
    /* A thousand jobs did not take a thousand commits. */
    assert_true(sh.commits < WRITERS * EACH / 2);
}

static void nothing_done(void *ctx, int rc, const struct err *e)
{
    atomic_int *n = ctx;
    (*n)++;
}

static atomic_bool queue_is_full;

static int wait_for_the_others(sqlite3 *db, void *ctx, struct err *e)
{
    while (!atomic_load(&queue_is_full))
        usleep(1000);
    return 0;
}

static void a_full_queue_refuses(void **state)
{
    struct home *h = *state;
    struct store *s = NULL;
    struct err e = {0};
    atomic_int told = 0;
    mkdir(h->path, 0700);
    struct store_params p = {.home = h->path, .queue = 2};
    assert_int_equal(store_open(&p, &s, &e), 0);
    int taken = 0, rc = 0;
    while (taken < 100 && (rc = store_submit(s, wait_for_the_others, nothing_done, &told, &e)) == 0)
        taken++;
    atomic_store(&queue_is_full, true);
    assert_int_equal(rc, ERR_OVERLOAD);
    store_close(s);
    assert_int_equal(told, taken);
}

/* ---- a disk that is full ---- */

static void a_full_disk_is_told_and_survived(void **state)
{
    struct home *h = *state;
    struct err e = {0}, why = {0};
    struct store *s = open_store(h, 40);
    assert_int_equal(call_sql(s, "CREATE TABLE t(a)", &e), 0);
    assert_true(store_healthy(s, &why));
    int rc = 0, rows = 0;
    while (rows < 100 && (rc = call_sql(s, "INSERT INTO t VALUES(randomblob(20000))", &e)) == 0)
        rows++;
    assert_int_equal(rc, ERR_NO_SPACE);
    assert_true(rows > 0 && rows < 100);
    assert_false(store_healthy(s, &why));
    assert_int_equal(why.code, ERR_NO_SPACE);
    assert_int_equal(ask_home(h, "SELECT count(*) FROM t"), rows);
    /* A commit that writes nothing proves nothing. */
    assert_int_equal(call_sql(s, "SELECT 1", &e), 0);
    assert_false(store_healthy(s, &why));
    assert_int_equal(call_sql(s, "DELETE FROM t", &e), 0);
    assert_true(store_healthy(s, &why));
    assert_int_equal(call_sql(s, "INSERT INTO t VALUES(1)", &e), 0);
    store_close(s);
}

/* ---- migrations ---- */

static const struct store_migration steps[] = {
    {1, "CREATE TABLE a(x); INSERT INTO a VALUES(1)"},
    {2, "CREATE TABLE b(x); INSERT INTO b SELECT x+1 FROM a"},
    {3, "ALTER TABLE b ADD COLUMN y"},
};

static void migrations_go_up_whole(void **state)
{
    sqlite3 *db = NULL;
    struct err e = {0};
    static const struct store_migration broken[] = {
        {1, "SELECT 1"}, {2, "CREATE TABLE c(x)"}, {3, "CREATE TABLE nonsense("}};
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(store_migrate(db, "x.db", steps, 1, &e), 0);
    assert_int_equal(ask(db, "PRAGMA user_version"), 1);
    /* The third fails: the second is undone too. */
    assert_true(store_migrate(db, "x.db", broken, 3, &e) < 0);
    assert_non_null(strstr(e.msg, "x.db"));
    assert_int_equal(ask(db, "PRAGMA user_version"), 1);
    assert_int_equal(ask(db, "SELECT count(*) FROM sqlite_schema WHERE name='c'"), 0);
    assert_int_equal(store_migrate(db, "x.db", steps, 3, &e), 0);
    assert_int_equal(ask(db, "SELECT x FROM b WHERE y IS NULL"), 2);
    assert_int_equal(store_migrate(db, "x.db", steps, 3, &e), 0);
    assert_int_equal(store_migrate(db, "x.db", steps, 2, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "newer"));
    assert_int_equal(ask(db, "PRAGMA user_version"), 3);
    sqlite3_close(db);
}

static void set_version(const struct home *h, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(h->db, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int try_open(const struct home *h, struct err *e)
{
    struct store *s = NULL;
    struct store_params p = {.home = h->path};
    int rc = store_open(&p, &s, e);
    store_close(s);
    return rc;
}

static void a_newer_database_is_refused(void **state)
{
    struct home *h = *state;
    struct err e = {0};
    sqlite3 *db = NULL;
    store_close(open_store(h, 0));
    set_version(h, "PRAGMA user_version=1000");
    assert_int_equal(try_open(h, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, h->db));
    assert_non_null(strstr(e.msg, "newer"));
    assert_int_equal(store_read_open(h->path, &db, &e), ERR_UNSUPPORTED);
}

/* ---- damage ---- */

static void damage_names_the_file(void **state)
{
    struct home *h = *state;
    struct err e = {0};
    char junk[8192];
    memset(junk, 'x', sizeof junk);
    mkdir(h->path, 0700);
    write_file(h->db, junk, sizeof junk, 0);
    assert_int_equal(try_open(h, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, h->db));
    unlink(h->db);

    set_version(h, "CREATE TABLE other(x)");
    assert_int_equal(try_open(h, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "another program"));
    unlink(h->db);

    store_close(open_store(h, 0));
    write_file(h->db, junk, sizeof junk, 4096);
    assert_int_equal(try_open(h, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, h->db));
    assert_non_null(strstr(e.msg, "damaged"));
}

static void nothing_booked_is_not_an_error_of_the_disk(void **state)
{
    struct home *h = *state;
    struct err e = {0};
    sqlite3 *db = NULL;
    mkdir(h->path, 0700);
    assert_int_equal(store_read_open(h->path, &db, &e), ERR_NOT_FOUND);
    assert_null(db);
}

static void readers_cannot_write(void **state)
{
    struct home *h = *state;
    struct err e = {0};
    sqlite3 *db = NULL;
    struct store *s = open_store(h, 0);
    assert_int_equal(call_sql(s, "CREATE TABLE t(a)", &e), 0);
    assert_int_equal(store_read_open(h->path, &db, &e), 0);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO t VALUES(1)", NULL, NULL, NULL),
                     SQLITE_READONLY);
    store_read_close(db);
    store_read_close(NULL);
    store_close(s);
}

static void a_backup_is_whole_while_writing(void **state)
{
    struct home *h = *state;
    struct err e = {0};
    sqlite3 *db = NULL;
    struct stat st;
    char copy[96];
    snprintf(copy, sizeof copy, "%s/copy.db", h->path);
    struct store *s = open_store(h, 0);
    assert_int_equal(call_sql(s, "CREATE TABLE t(a); INSERT INTO t VALUES(41),(42)", &e), 0);
    assert_int_equal(store_backup(h->path, copy, &e), 0);
    assert_int_equal(call_sql(s, "DELETE FROM t", &e), 0);
    assert_int_equal(store_backup(h->path, copy, &e), ERR_EXISTS);
    store_close(s);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(sqlite3_open(copy, &db), SQLITE_OK);
    assert_int_equal(ask(db, "SELECT sum(a) FROM t"), 83);
    sqlite3_close(db);

    /* It is a database of weir's: in the place of the original, it opens. */
    assert_int_equal(rename(copy, h->db), 0);
    s = open_store(h, 0);
    store_close(s);
    assert_int_equal(ask_home(h, "SELECT count(*) FROM t"), 2);
}

int main(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        snprintf(self, sizeof self, "%s", argv[0]);
    if (argc == 3 && strcmp(argv[1], "owns") == 0)
        return child_owns(argv[2]);
#define WITH_HOME(f) cmocka_unit_test_setup_teardown(f, make_home, drop_home)
    const struct CMUnitTest tests[] = {
        WITH_HOME(a_home_has_one_owner),
        WITH_HOME(a_killed_owner_leaves_the_home_free),
        WITH_HOME(files_are_private),
        WITH_HOME(jobs_commit_together_and_fail_alone),
        WITH_HOME(a_full_queue_refuses),
        WITH_HOME(a_full_disk_is_told_and_survived),
        cmocka_unit_test(migrations_go_up_whole),
        WITH_HOME(a_newer_database_is_refused),
        WITH_HOME(damage_names_the_file),
        WITH_HOME(nothing_booked_is_not_an_error_of_the_disk),
        WITH_HOME(readers_cannot_write),
        WITH_HOME(a_backup_is_whole_while_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
