/* library_int.h: a pull under way, and what the files of this folder offer each other. */
#ifndef WEIR_LIBRARY_INT_H
#define WEIR_LIBRARY_INT_H

#include "library.h"

#include <sodium.h>

#define NAME_MAX_BYTES 120
#define SHA256_HEX 65
#define CHUNK ((size_t)64 * 1024)

struct library {
    char *home, *models, *partial, *local_dir;
    const struct library_fetch *fetch;
    const struct library_entry *catalogue;
    size_t ncatalogue;
};

/* One model being pulled. Paths are absolute or as $WEIR_HOME is. */
struct lib_job {
    const struct library *lib;
    const struct library_watch *watch;
    const struct library_entry *entry; /* NULL: not of the catalogue */
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
int lib_meta_write(struct lib_job *j, const char *url, struct str etag);
/* False: none, or for another URL. *etag is malloc'd, may be empty. */
bool lib_meta_read(const struct lib_job *j, const char *url, char **etag);

/* ---- sources: each leaves a whole .part and its digest ---- */
char *lib_url_label(const char *url); /* malloc'd */
int lib_fetch_url(struct lib_job *j, const char *url, char hex[SHA256_HEX]);
int lib_fetch_wheel(struct lib_job *j, const struct library_source *s, char hex[SHA256_HEX]);

/* ---- library_name.c ---- */
bool lib_name_valid(struct str name);
bool lib_is_url(const char *s);
bool lib_is_path(const char *s);
/* A name out of a path's or URL's last part. ERR_INVAL if nothing usable is left. */
int lib_name_from(const char *path_or_url, char name[NAME_MAX_BYTES + 1], struct err *e);
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
