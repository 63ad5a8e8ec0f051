/* cache_int.h: the prefix cache on disk: a folder of finished sessions that outlive the engine.
 *
 * cache_folder.c owns the folder and its index, cache_work.c the two threads that read and write
 * files, cache_policy.c what is kept and when it is wanted (engine's thread only).
 *
 * A file is called IDENTITY-TYPE-TOKENS-KEY.weirkv: the model's identity (16 hex digits), the
 * cache's type, how many tokens it holds, and a hash of all that its numbers depend on: identity,
 * type, way of computing, and the token ids. Ids and not the bytes of the text, because state
 * follows from ids: the same bytes can be cut into other tokens (special ones between them, another
 * template), and other bytes never give the same ids. What is in a file is told by its head, the
 * name only says whose it is and what it is worth. */
#ifndef WEIR_CACHE_INT_H
#define WEIR_CACHE_INT_H

#include "engine_int.h"

#define CACHE_LEAST 256                /* tokens that are worth a file */
#define CACHE_GAIN 64                  /* tokens a file must give more than memory does */
#define CACHE_FILES 4096               /* of one model in the index */
#define CACHE_NAME 96                  /* bytes of a name with its end */
#define CACHE_STALE_S 900              /* a half written file this old has no writer */
#define CACHE_IDLE_NS 1000000000ull    /* without work, after which sessions are written */
#define CACHE_PATIENCE_NS 500000000ull /* what a job waits for a session to be written */
#define CACHE_OPEN_NS 300000000ull     /* what a job waits for the index after the start */

/* ---- cache_folder.c: any thread ---- */

struct cache_file {
    char name[CACHE_NAME];
    struct model_saved *saved;
    uint64_t bytes;
    int64_t used_ms; /* wall clock */
    int refs;        /* the index's and its users'; locked */
    bool gone;       /* no longer in the index; locked */
    bool seen;       /* while the folder is read; locked */
    bool reading;    /* the engine's thread: somebody waits for it already */
    struct cache_file *next;
};

struct cache_folder;

/* The folder is made when it is not there; nothing is read yet. */
int cache_folder_open(const char *path, uint64_t limit, struct model_kv *kv, int32_t ctx,
                      struct cache_folder **out, struct err *e);
void cache_folder_free(struct cache_folder *f);
/* Bring the index up to date with what lies there. */
void cache_folder_read(struct cache_folder *f);
/* The file that gives the most of these tokens, if more than `least`; *reach: how many. Given back
 * by cache_file_put. NULL: none does. */
struct cache_file *cache_folder_find(struct cache_folder *f, const int32_t *tokens, int32_t n,
                                     int32_t least, int32_t *reach);
void cache_file_put(struct cache_folder *f, struct cache_file *x);
/* It was of use. */
void cache_file_touch(struct cache_folder *f, struct cache_file *x);
/* It is damaged, or not there: out of the index, and off the disk. */
void cache_file_remove(struct cache_folder *f, struct cache_file *x);
/* Write a session, making room by giving up what is worth less; then what it covers goes.
 * ERR_TOO_LARGE: it is larger than the limit. */
int cache_folder_write(struct cache_folder *f, const struct model_seq *s, const int32_t *tokens,
                       const atomic_bool *cancel, struct err *e);
/* What files there are, of this model, and their bytes, of all. */
void cache_folder_count(struct cache_folder *f, int *files, uint64_t *bytes);

/* ---- cache_work.c ---- */

struct cache_read {
    struct cache_file *file;
    struct session *session;
    int32_t *tokens;
    struct engine_run *run; /* the engine's thread: who waits; NULL: nobody any more */
    atomic_bool cancel;
    int rc;
    bool done; /* locked */
    struct cache_read *next;
};

struct cache_write {
    struct session *session; /* NULL: nothing is being written */
    struct model_seq *seq;
    const int32_t *tokens;
    atomic_bool cancel;
    int rc;
    bool done; /* locked */
};

struct cache {
    struct engine *en;
    struct cache_folder *folder;
    uint64_t limit; /* bytes */
    pthread_mutex_t lock;
    pthread_cond_t work, finished;
    pthread_t reader, writer;
    bool has_reader, has_writer;
    bool quit;                /* locked */
    bool ready;               /* locked: the index has been read */
    struct cache_read *reads; /* locked: asked for, and done until they are collected */
    struct cache_write write;
    bool write_asked; /* locked */
    /* The engine's thread. */
    uint64_t opened_ns, idle_ns; /* when it was made; since when nothing runs, 0: something does */
    uint64_t wake_ns;            /* when the thread wants to look again at the latest */
};

/* The threads; the index is read at once. */
int cache_start(struct cache *c, struct err *e);
/* Ends them; a read is broken off, a write comes to its end. */
void cache_stop(struct cache *c);
bool cache_ready(struct cache *c);
void cache_ask_read(struct cache *c, struct cache_read *r);
/* The next read that is done, out of the list; NULL: none. */
struct cache_read *cache_next_done(struct cache *c);
/* `write` is filled in. */
void cache_ask_write(struct cache *c);
/* Whether it is done; wait: until it is. */
bool cache_write_done(struct cache *c, bool wait);

/* ---- cache_policy.c: the engine's thread; all do nothing where there is no cache ---- */

enum cache_answer { CACHE_GO, CACHE_LATER, CACHE_WAIT };

int cache_open(struct engine *en, const struct engine_params *p, struct err *e);
/* What was asked for is there, or is not: sessions and runs learn it. */
void cache_collect(struct engine *en);
/* Before a run is given a session. LATER: a file is read for it first, others may start. WAIT: room
 * is made for it, or the index is not read yet; those behind it wait as well. */
enum cache_answer cache_prepare(struct engine *en, struct engine_run *r);
/* A run ends that may be waiting. */
void cache_leave(struct engine *en, struct engine_run *r);
/* Look again then, at the latest. */
void cache_wake_at(struct cache *c, uint64_t ns);
/* Write what is due. Returns nanoseconds until something may be; UINT64_MAX: nothing will. */
uint64_t cache_tick(struct engine *en);
/* A session was finished: how much of it is on disk. */
void cache_note_retired(struct engine *en, struct session *s);
/* Nobody may be writing this session any more. */
void cache_release(struct engine *en, struct session *s);
/* Losing it loses what no file has. */
bool cache_wants(const struct engine *en, struct session *s);
/* The engine's thread has ended: write what is worth it, let go of the rest. */
void cache_close(struct engine *en);

#endif
