/* schema.c: every table of weir.db, as numbered migrations in one table.
 *
 * The number reached is the file's user_version. A migration that has been released is never
 * edited: a change is a new row. All missing ones run in one transaction, so a file is at one
 * version or another, never between. */
#include "store_int.h"

#include <stdio.h>

/* requests: one row a request, local or cloud, however it ended (ledger/).
 *   month     year * 12 + month - 1 of time_ms in UTC: the budget it counts against
 *   reserved  the most it can cost, held before dialling; NULL: none, or the price is unknown
 *   carried   what earlier attempts of the same request cost
 *   cost      NULL: unknown (never 0)
 *   charged   what counts against the budget now: the reservation while open, then the cost
 * probe: one row, written to find out whether writing works again.
 * months: the sum of charged for each month, kept by triggers so that no writer can forget it. (Not
 *   with INSERT OR IGNORE: inside a trigger the outer statement's conflict rule would win.)
 */
/* clang-format off */
static const char requests[] =
    /* STORE_APPLICATION: marked together with the first tables, so no file has one without the other */
    "PRAGMA application_id=2003134834;"
    "CREATE TABLE requests("
    "id TEXT NOT NULL PRIMARY KEY,"
    "time_ms INTEGER NOT NULL,"
    "month INTEGER NOT NULL,"
    "status TEXT NOT NULL CHECK(status IN"
    " ('open','ok','cancelled','error','crashed')),"
    "code TEXT,"
    "message TEXT,"
    "end_reason TEXT,"
    "kind TEXT NOT NULL,"
    "dialect TEXT NOT NULL,"
    "stream INTEGER NOT NULL,"
    "model_asked TEXT,"
    "model TEXT,"
    "model_answered TEXT,"
    "provider TEXT,"
    "zone TEXT NOT NULL,"
    "req_zone TEXT NOT NULL,"
    "reason TEXT,"
    "labels TEXT,"
    "plan TEXT,"
    "conversation TEXT,"
    "client TEXT,"
    "attempts INTEGER NOT NULL,"
    "input INTEGER NOT NULL,"
    "cached INTEGER NOT NULL,"
    "cache_write INTEGER NOT NULL,"
    "output INTEGER NOT NULL,"
    "reasoning INTEGER NOT NULL,"
    "estimated INTEGER NOT NULL,"
    "reserved INTEGER,"
    "carried INTEGER NOT NULL,"
    "cost INTEGER,"
    "baseline INTEGER,"
    "charged INTEGER NOT NULL,"
    "baseline_model TEXT,"
    "price TEXT,"
    "queue_ms INTEGER,"
    "first_ms INTEGER,"
    "total_ms INTEGER,"
    "tokens_per_s REAL"
    ") STRICT;"
    "CREATE INDEX requests_time ON requests(time_ms);"
    "CREATE INDEX requests_open ON requests(id) WHERE status='open';"
    "CREATE TABLE probe(id INTEGER NOT NULL PRIMARY KEY, time_s INTEGER NOT NULL) STRICT;"
    "CREATE TABLE months("
    "month INTEGER NOT NULL PRIMARY KEY,"
    "charged INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TRIGGER requests_insert AFTER INSERT ON requests BEGIN"
    " INSERT INTO months SELECT new.month,0 WHERE NOT EXISTS"
    " (SELECT 1 FROM months WHERE month=new.month);"
    " UPDATE months SET charged=charged+new.charged"
    " WHERE month=new.month;"
    "END;"
    "CREATE TRIGGER requests_update AFTER UPDATE ON requests BEGIN"
    " UPDATE months SET charged=charged-old.charged"
    " WHERE month=old.month;"
    " INSERT INTO months SELECT new.month,0 WHERE NOT EXISTS"
    " (SELECT 1 FROM months WHERE month=new.month);"
    " UPDATE months SET charged=charged+new.charged"
    " WHERE month=new.month;"
    "END;";
/* responses: answers of /v1/responses that later requests can go on from (app/responses.c).
 *   previous  the id of the answer before it; NULL: the first of its conversation
 *   zone      the loosest zone that the conversation may reach from here on
 *   input     the request's own items, a JSON array
 *   response  the Response object
 *   bytes     of both */
static const char responses[] =
    "CREATE TABLE responses("
    "seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,"
    "id TEXT NOT NULL UNIQUE,"
    "previous TEXT,"
    "time_ms INTEGER NOT NULL,"
    "zone INTEGER NOT NULL,"
    "input TEXT NOT NULL,"
    "response TEXT NOT NULL,"
    "bytes INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX responses_time ON responses(time_ms);"
    "CREATE INDEX responses_bytes ON responses(bytes);";
/* clang-format on */

const struct store_migration schema_table[] = {
    {1, requests},
    {2, responses},
};
const size_t schema_count = sizeof schema_table / sizeof schema_table[0];

static int read_version(sqlite3 *db, int *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *out = sqlite3_column_int(st, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc;
}

static int apply(sqlite3 *db, const char *file, const struct store_migration *m, struct err *e)
{
    char what[STORE_PATH_MAX + 64], number[64];
    snprintf(what, sizeof what, "%s: migration %d", file, m->version);
    snprintf(number, sizeof number, "PRAGMA user_version=%d", m->version);
    int rc = sqlite3_exec(db, m->sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, number, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : store_sql_err(db, rc, what, e);
}

int store_migrate(struct sqlite3 *db, const char *file, const struct store_migration *t, size_t n,
                  struct err *e)
{
    int version = 0;
    int rc = read_version(db, &version);
    if (rc != SQLITE_OK)
        return store_sql_err(db, rc, file, e);
    int last = n ? t[n - 1].version : 0;
    if (version > last)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s was written by a newer weir (its version is %d, this program knows %d): "
                       "run the newer program, or move the file away",
                       file, version, last);
    if (version == last)
        return 0;
    rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return store_sql_err(db, rc, file, e);
    int failed = 0;
    for (size_t i = 0; i < n && !failed; i++)
        if (t[i].version > version)
            failed = apply(db, file, &t[i], e);
    if (!failed && (rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL)) != SQLITE_OK)
        failed = store_sql_err(db, rc, file, e);
    if (failed)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return failed;
}
