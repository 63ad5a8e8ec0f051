/* database.c: connections to weir.db: opened, checked and set up in one place.
 *
 * The writer: WAL, synchronous=FULL, file mode 0600 before SQLite sees it. Readers: read-only and
 * never a checkpoint, because SQLite before 3.51.3 can lose a WAL that two connections reset. */
#include "store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A whole check of a small file costs little; a large one is checked as it is read. */
#define QUICK_CHECK_MAX (32 << 20)
#define BUSY_MS 5000

static int code_of(sqlite3 *db, int rc)
{
    int os = db ? sqlite3_system_errno(db) : 0;
    switch (rc & 0xff) {
    case SQLITE_FULL: return ERR_NO_SPACE;
    case SQLITE_NOMEM: return ERR_NOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_FORMAT;
    case SQLITE_IOERR: return os == EDQUOT || os == EFBIG || os == ENOSPC ? ERR_NO_SPACE : ERR_IO;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM: return ERR_IO;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ERR_BUSY;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE ? ERR_EXISTS
                                                                                    : ERR_INVAL;
    case SQLITE_TOOBIG: return ERR_TOO_LARGE;
    case SQLITE_INTERRUPT: return ERR_CANCELLED;
    default: return ERR_INTERNAL;
    }
}

int store_sql_err(struct sqlite3 *db, int rc, const char *what, struct err *e)
{
    return err_set(e, code_of(db, rc), "%s: %s", what,
                   db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

int database_path(const char *home, char out[static STORE_PATH_MAX], struct err *e)
{
    int n = snprintf(out, STORE_PATH_MAX, "%s/weir.db", home);
    if (n < 0 || n >= STORE_PATH_MAX)
        return err_set(e, ERR_INVAL, "the home directory's name is too long");
    return 0;
}

/* One integer, or `none` where the statement gives no row. */
static int query_int(sqlite3 *db, const char *sql, int64_t none, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
        *out = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : none;
        rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
    }
    sqlite3_finalize(st);
    return rc;
}

static bool query_text_is(sqlite3 *db, const char *sql, const char *want)
{
    sqlite3_stmt *st = NULL;
    bool same = false;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(st, 0);
        same = text && strcmp((const char *)text, want) == 0;
    }
    sqlite3_finalize(st);
    return same;
}

static int damaged(const char *path, const char *why, struct err *e)
{
    return err_set(e, ERR_FORMAT,
                   "%s is damaged (%s): move it away and put a backup in its place, or start "
                   "without it",
                   path, why);
}

/* The file is weir's, or brand new, and sound. */
static int check(sqlite3 *db, const char *path, bool writer, struct err *e)
{
    int64_t id = 0, tables = 0, pages = 0, size = 0;
    int rc = query_int(db, "PRAGMA application_id", 0, &id);
    if (rc == SQLITE_OK)
        rc = query_int(db, "SELECT count(*) FROM sqlite_schema", 0, &tables);
    if (rc == SQLITE_OK)
        rc = query_int(db, "PRAGMA page_count", 0, &pages);
    if (rc == SQLITE_OK)
        rc = query_int(db, "PRAGMA page_size", 0, &size);
    if ((rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CORRUPT)
        return damaged(path, sqlite3_errmsg(db), e);
    if (rc != SQLITE_OK)
        return store_sql_err(db, rc, path, e);
    if (id != STORE_APPLICATION && (id != 0 || tables != 0))
        return err_set(e, ERR_FORMAT, "%s is the database of another program", path);
    if (writer && pages * size <= QUICK_CHECK_MAX &&
        !query_text_is(db, "PRAGMA quick_check(1)", "ok"))
        return damaged(path, "its pages do not fit together", e);
    return 0;
}

static int set_up(sqlite3 *db, const char *path, int max_pages, struct err *e)
{
    char limit[64];
    snprintf(limit, sizeof limit, "PRAGMA max_page_count=%d", max_pages);
    int rc = sqlite3_exec(db,
                          "PRAGMA synchronous=FULL;"
                          "PRAGMA wal_autocheckpoint=1000;"
                          "PRAGMA journal_size_limit=67108864;"
                          "PRAGMA trusted_schema=OFF;"
                          "PRAGMA secure_delete=ON;" /* what is deleted is not left in the file */
                          "PRAGMA cell_size_check=ON;",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK && max_pages > 0)
        rc = sqlite3_exec(db, limit, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return store_sql_err(db, rc, path, e);
    if (!query_text_is(db, "PRAGMA journal_mode=WAL", "wal"))
        return store_sql_err(db, sqlite3_extended_errcode(db), path, e);
    return 0;
}

/* SQLite would create it as the umask says; the WAL and its index take the file's mode. No
 * descriptor of an existing database is opened here: closing it would drop SQLite's locks. */
static int create_private(const char *path, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (errno != EEXIST)
        return err_set(e, errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO,
                       "cannot create %s: %s", path, strerror(errno));
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077) && chmod(path, 0600) < 0)
        return err_set(e, ERR_IO, "cannot make %s private: %s", path, strerror(errno));
    return 0;
}

static int prepare(sqlite3 *db, const char *path, int max_pages, struct err *e)
{
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, BUSY_MS);
    if (sqlite3_db_readonly(db, "main") == 1)
        return err_set(e, ERR_IO, "%s is read-only", path);
    int rc = check(db, path, true, e);
    if (rc == 0)
        rc = set_up(db, path, max_pages, e);
    if (rc == 0)
        rc = store_migrate(db, path, schema_table, schema_count, e);
    return rc;
}

int database_open(const char *home, int max_pages, sqlite3 **out, struct err *e)
{
    char path[STORE_PATH_MAX];
    int rc = database_path(home, path, e);
    if (rc == 0)
        rc = create_private(path, e);
    if (rc)
        return rc;
    sqlite3 *db = NULL;
    int sql = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (sql != SQLITE_OK)
        rc = store_sql_err(db, sql, path, e);
    else
        rc = prepare(db, path, max_pages, e);
    if (rc) {
        sqlite3_close(db);
        return rc;
    }
    *out = db;
    return 0;
}

static int check_version(sqlite3 *db, const char *path, struct err *e)
{
    int64_t version = 0;
    int last = schema_table[schema_count - 1].version;
    int sql = query_int(db, "PRAGMA user_version", 0, &version);
    if (sql != SQLITE_OK)
        return store_sql_err(db, sql, path, e);
    if (version == 0)
        return err_set(e, ERR_NOT_FOUND, "%s is empty", path);
    if (version != last)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s is of %s weir (its version is %d, this program reads %d)", path,
                       version > last ? "a newer" : "an older", (int)version, last);
    return 0;
}

int store_read_open(const char *home, struct sqlite3 **out, struct err *e)
{
    char path[STORE_PATH_MAX];
    int rc = database_path(home, path, e);
    if (rc)
        return rc;
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, "%s: nothing has been booked yet", path);
    sqlite3 *db = NULL;
    int sql = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (sql != SQLITE_OK) {
        rc = store_sql_err(db, sql, path, e);
    } else {
        sqlite3_extended_result_codes(db, 1);
        sqlite3_busy_timeout(db, BUSY_MS);
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        rc = check(db, path, false, e);
        if (rc == 0)
            rc = check_version(db, path, e);
    }
    if (rc) {
        sqlite3_close(db);
        return rc;
    }
    *out = db;
    return 0;
}

void store_read_close(struct sqlite3 *db)
{
    sqlite3_close(db);
}

/* The copy's bytes, then its name. */
static int sync_file(const char *path, struct err *e)
{
    char dir[STORE_PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    const char *names[2] = {path, dirname(dir)};
    for (int i = 0; i < 2; i++) {
        int fd = open(names[i], O_RDONLY | O_CLOEXEC);
        int rc = fd < 0 ? -1 : fsync(fd);
        int why = errno;
        if (fd >= 0)
            close(fd);
        if (rc < 0)
            return err_set(e, ERR_IO, "cannot write %s to disk: %s", names[i], strerror(why));
    }
    return 0;
}

static int vacuum_into(sqlite3 *db, const char *path, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int sql = sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &st, NULL);
    if (sql == SQLITE_OK)
        sql = sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
    if (sql == SQLITE_OK)
        sql = sqlite3_step(st);
    int rc = sql == SQLITE_DONE || sql == SQLITE_OK ? 0 : store_sql_err(db, sql, path, e);
    sqlite3_finalize(st);
    return rc;
}

int store_backup(const char *home, const char *path, struct err *e)
{
    if (strlen(path) >= STORE_PATH_MAX)
        return err_set(e, ERR_INVAL, "the name of the backup is too long");
    sqlite3 *db = NULL;
    int rc = store_read_open(home, &db, e);
    if (rc)
        return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = err_set(e, errno == EEXIST ? ERR_EXISTS : ERR_IO, "cannot create %s: %s", path,
                     strerror(errno));
        store_read_close(db);
        return rc;
    }
    close(fd);
    rc = vacuum_into(db, path, e);
    if (rc == 0)
        rc = sync_file(path, e);
    if (rc)
        unlink(path);
    store_read_close(db);
    return rc;
}
