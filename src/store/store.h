/* store.h: the database $WEIR_HOME/weir.db, who owns $WEIR_HOME, and the one thread that writes.
 *
 * A write is a job: a function that runs on the store's thread with the SQLite handle. The thread
 * takes every job that waits, runs them in one transaction (each in a savepoint of its own, so that
 * a job which fails undoes only itself), commits with one fsync, and only then acknowledges each.
 * What was acknowledged with 0 survives kill -9 and a power cut.
 *
 * One connection writes and checkpoints: this one. Reports use read-only connections, from this
 * process or another. Nothing here knows what the rows mean; their tables stand in schema.c. */
#ifndef WEIR_STORE_H
#define WEIR_STORE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sqlite3; /* <sqlite3.h>: only rooms that write rows include it */

/* ---- who owns $WEIR_HOME ---- */

struct store_owner {
    long pid;          /* 0: unknown */
    char address[256]; /* as store_home_publish wrote it; "": the owner is still starting */
};

struct store_lock;

/* Create the directory (0700, parents as the umask says) if it is missing and take home/weir.lock.
 * The lock is the kernel's (flock): it goes with the process, however that ends.
 * ERR_BUSY: another process owns it; *owner (may be NULL) says which and where it listens. */
int store_home_lock(const char *home, struct store_lock **out, struct store_owner *owner,
                    struct err *e);
/* Write where the owner listens into the lock file, for processes that want to go through it. At
 * most 255 bytes, no newline. */
int store_home_publish(struct store_lock *l, const char *address, struct err *e);
void store_home_unlock(struct store_lock *l); /* NULL is fine */
/* Who owns it, without trying to. ERR_NOT_FOUND: nobody (then *owner is untouched). */
int store_home_owner(const char *home, struct store_owner *owner, struct err *e);

/* ---- the writer ---- */

struct store;

struct store_params {
    const char *home; /* whose lock the caller holds */
    size_t queue;     /* jobs that may wait; 0: 4096 */
    int max_pages; /* largest size of the database in pages; 0: SQLite's own (tests of a full disk)
                    */
};

/* Open or create home/weir.db (0600), check it, migrate it, start the thread.
 * ERR_UNSUPPORTED: the database is of a newer weir. ERR_FORMAT: damaged, or not weir's; the message
 * names the file. ERR_NO_SPACE, ERR_IO otherwise. */
int store_open(const struct store_params *p, struct store **out, struct err *e);
/* Runs and acknowledges what waits, then ends the thread. NULL is fine. */
void store_close(struct store *s);

/* On the store's thread, inside a transaction: no BEGIN, COMMIT or ROLLBACK. Non-zero undoes what
 * this job did (and only that) and is what `done` is told. May run without ever being committed: it
 * must have no effect but in the database and in ctx. */
typedef int store_run_fn(struct sqlite3 *db, void *ctx, struct err *e);
/* On the store's thread, exactly once, after the commit is durable (rc 0) or has failed. Must not
 * block: it posts to the loop. It may submit. e is NULL when rc is 0. */
typedef void store_done_fn(void *ctx, int rc, const struct err *e);

/* Any thread. ERR_OVERLOAD: the queue is full, or the store is closing; then `done` is not called
 * and ctx stays the caller's. */
int store_submit(struct store *s, store_run_fn *run, store_done_fn *done, void *ctx, struct err *e);
/* The same, and wait for the acknowledgement. Not on the store's thread, not on the loop. */
int store_call(struct store *s, store_run_fn *run, void *ctx, struct err *e);

/* False from a commit that failed (disk full, read-only, I/O error) until one succeeds again; after
 * damage or a failed fsync until the next start. While false, paid calls are refused before
 * dialling. Asking while it fails makes the store try a write of its own every five seconds. *e
 * (may be NULL) gets the failure. Any thread, does not block. */
bool store_healthy(struct store *s, struct err *e);

/* ---- reading, and copies ---- */

/* A read-only connection that never checkpoints; any process. ERR_NOT_FOUND: there is no database
 * yet. ERR_UNSUPPORTED, ERR_FORMAT as above. One thread at a time. */
int store_read_open(const char *home, struct sqlite3 **out, struct err *e);
void store_read_close(struct sqlite3 *db); /* NULL is fine */
/* A consistent copy into a new file (0600), while writing goes on. Blocks. ERR_EXISTS. */
int store_backup(const char *home, const char *path, struct err *e);

/* ---- for rooms that write rows ---- */

struct store_migration {
    int version; /* 1, 2, 3, ... without a gap */
    const char *sql;
};
/* Bring db from its user_version to the table's last version, in one transaction. ERR_UNSUPPORTED:
 * it is past that. store_open does this with the schema of weir.db. `file` is for messages. */
int store_migrate(struct sqlite3 *db, const char *file, const struct store_migration *t, size_t n,
                  struct err *e);
/* The err code of a failed SQLite call, with the handle's message after `what`. */
int store_sql_err(struct sqlite3 *db, int rc, const char *what, struct err *e);

#endif
