/* cache_folder.c: the files of the prefix cache and their index.
 *
 * The index holds, of this model's files, what stands before their state: the tokens, and where
 * they can be cut. It is made from the folder, never trusted over it: other processes write and
 * remove files there too, each under its own name by a rename, so a file that is gone is no error,
 * and one that is new is found when the folder is read again (at the start and before each write).
 *
 * The limit counts the files of all models. What goes first is worth least: tokens it saves (that
 * no other file has) by how lately it was used, a byte. Only names of our own form are looked at
 * or removed. */
#include "cache_int.h"

#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENDING ".weirkv"
#define RECENT_MS 60000.0 /* ages differ by what is behind this */
#define PATH_BYTES 4096
#define COMPARED 512 /* files that are compared with each other */

struct cache_folder {
    char *path;
    uint64_t limit;
    struct model_kv *kv;
    int32_t ctx;
    uint64_t identity; /* 0: not known yet */
    enum model_cache type;
    pthread_mutex_t lock;
    struct cache_file *files; /* locked */
    int nfiles;               /* locked */
    uint64_t bytes;           /* locked: of all models' files, as last seen */
    pthread_mutex_t turn;     /* the folder is read or written by one thread at a time */
};

/* A file as its name and inode tell of it. */
struct listed {
    char name[CACHE_NAME];
    uint64_t bytes;
    int64_t used_ms;
    int32_t tokens; /* that it saves */
};

struct listing {
    struct listed *p;
    size_t n, cap;
    uint64_t bytes;
};

/* ---- names ---- */

static bool is_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return true;
}

/* The parts of a name of our form; *rest: what stands behind the ending. */
static bool parse_name(const char *name, uint64_t *identity, enum model_cache *type,
                       int32_t *tokens, const char **rest)
{
    char kind[8];
    int at = 0, end = 0;
    int32_t n;
    if (strnlen(name, CACHE_NAME) >= CACHE_NAME || !is_hex(name, 16) || name[16] != '-')
        return false;
    if (sscanf(name + 17, "%7[a-z0-9_]-%8" SCNd32 "-%n", kind, &n, &at) != 2 || at == 0)
        return false;
    end = 17 + at;
    char plain[24];
    snprintf(plain, sizeof plain, "%s-%" PRId32 "-", kind, n);
    if (n < 1 || (int)strlen(plain) != at || strncmp(name + 17, plain, (size_t)at) != 0 ||
        !is_hex(name + end, 16) || strncmp(name + end + 16, ENDING, 7) != 0)
        return false;
    if (!model_cache_of(kind, type))
        return false;
    *identity = strtoull(name, NULL, 16);
    *tokens = n;
    *rest = name + end + 16 + 7;
    return true;
}

static bool path_of(const struct cache_folder *f, const char *name, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", f->path, name);
    return n > 0 && n < PATH_BYTES;
}

static void remove_name(const struct cache_folder *f, const char *name)
{
    char path[PATH_BYTES];
    if (path_of(f, name, path))
        unlink(path);
}

/* ---- the index; locked ---- */

static void unref(struct cache_file *x)
{
    if (--x->refs > 0)
        return;
    model_saved_close(x->saved);
    free(x);
}

static struct cache_file **place_of(struct cache_folder *f, const char *name)
{
    struct cache_file **at = &f->files;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static void take_out(struct cache_folder *f, struct cache_file **at)
{
    struct cache_file *x = *at;
    *at = x->next;
    x->gone = true;
    f->nfiles--;
    unref(x);
}

static void take_out_name(struct cache_folder *f, const char *name)
{
    struct cache_file **at = place_of(f, name);
    if (*at)
        take_out(f, at);
}

/* Replaces what had the name. Takes `saved`. */
static void put_in(struct cache_folder *f, const char *name, struct model_saved *saved,
                   int64_t used_ms)
{
    struct cache_file *x = f->nfiles < CACHE_FILES ? calloc(1, sizeof *x) : NULL;
    take_out_name(f, name);
    if (!x) {
        model_saved_close(saved);
        return;
    }
    snprintf(x->name, sizeof x->name, "%s", name);
    x->saved = saved;
    x->bytes = model_saved_bytes(saved);
    x->used_ms = used_ms;
    x->refs = 1;
    x->seen = true;
    x->next = f->files;
    f->files = x;
    f->nfiles++;
}

static int32_t common(const int32_t *a, int32_t na, const int32_t *b, int32_t nb)
{
    int32_t n = na < nb ? na : nb, i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static int32_t shared(const struct cache_file *x, const int32_t *tokens, int32_t n)
{
    return common(model_saved_tokens(x->saved), model_saved_len(x->saved), tokens, n);
}

/* ---- reading the folder ---- */

static void open_new(struct cache_folder *f, const char *name, int64_t used_ms)
{
    char path[PATH_BYTES];
    struct model_saved *saved = NULL;
    struct err e = {0};
    if (!path_of(f, name, path))
        return;
    int rc = model_saved_open(f->kv, path, &saved, &e);
    if (rc == ERR_FORMAT || rc == ERR_CHECKSUM || rc == ERR_UNSUPPORTED)
        unlink(path);
    if (rc)
        return;
    pthread_mutex_lock(&f->lock);
    put_in(f, name, saved, used_ms);
    pthread_mutex_unlock(&f->lock);
}

static bool note_seen(struct cache_folder *f, const char *name, int64_t used_ms)
{
    pthread_mutex_lock(&f->lock);
    struct cache_file *x = *place_of(f, name);
    if (x) {
        x->seen = true;
        x->used_ms = used_ms > x->used_ms ? used_ms : x->used_ms;
    }
    pthread_mutex_unlock(&f->lock);
    return x != NULL;
}

static void list_add(struct listing *l, const char *name, const struct stat *st, int32_t tokens)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct listed *p = realloc(l->p, cap * sizeof *p);
        if (!p)
            return;
        l->p = p;
        l->cap = cap;
    }
    struct listed *x = &l->p[l->n++];
    snprintf(x->name, sizeof x->name, "%s", name);
    x->bytes = (uint64_t)st->st_size;
    x->used_ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
    x->tokens = tokens;
    l->bytes += x->bytes;
}

/* One name of the folder. Half written files count as long as somebody may be writing them. */
static void look_at(struct cache_folder *f, int dir, const char *name, struct listing *l)
{
    uint64_t identity;
    enum model_cache type;
    int32_t tokens;
    const char *rest;
    struct stat st;
    if (!parse_name(name, &identity, &type, &tokens, &rest) ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return;
    if (*rest == '.' && strlen(rest) == 7) {
        if (clock_wall_ms() / 1000 - (int64_t)st.st_mtim.tv_sec > CACHE_STALE_S)
            unlinkat(dir, name, 0);
        else
            l->bytes += (uint64_t)st.st_size;
        return;
    }
    if (*rest)
        return;
    if (!f->identity) {
        f->identity = model_kv_identity(f->kv);
        f->type = model_kv_cache(f->kv);
    }
    list_add(l, name, &st, tokens);
    int64_t used_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    if (identity == f->identity && type == f->type && !note_seen(f, name, used_ms))
        open_new(f, name, used_ms);
}

static void forget_unseen(struct cache_folder *f)
{
    for (struct cache_file **at = &f->files; *at;)
        if ((*at)->seen)
            at = &(*at)->next;
        else
            take_out(f, at);
}

/* Bring the index up to date; what there is goes into l, to be freed. */
static void read_folder(struct cache_folder *f, struct listing *l)
{
    DIR *d = opendir(f->path);
    *l = (struct listing){0};
    pthread_mutex_lock(&f->lock);
    for (struct cache_file *x = f->files; x; x = x->next)
        x->seen = false;
    pthread_mutex_unlock(&f->lock);
    for (struct dirent *x; d && (x = readdir(d));)
        look_at(f, dirfd(d), x->d_name, l);
    if (d)
        closedir(d);
    pthread_mutex_lock(&f->lock);
    forget_unseen(f);
    f->bytes = l->bytes;
    pthread_mutex_unlock(&f->lock);
}

void cache_folder_read(struct cache_folder *f)
{
    struct listing l;
    pthread_mutex_lock(&f->turn);
    read_folder(f, &l);
    pthread_mutex_unlock(&f->turn);
    free(l.p);
}

/* ---- finding ---- */

struct cache_file *cache_folder_find(struct cache_folder *f, const int32_t *tokens, int32_t n,
                                     int32_t least, int32_t *reach)
{
    struct cache_file *best = NULL;
    int32_t most = least;
    pthread_mutex_lock(&f->lock);
    for (struct cache_file *x = f->files; x; x = x->next) {
        int32_t l = shared(x, tokens, n);
        if (l <= most || !model_saved_fits(x->saved, f->ctx))
            continue;
        l = model_saved_reach(x->saved, l);
        if (l > most) {
            most = l;
            best = x;
        }
    }
    if (best) {
        best->refs++;
        *reach = most;
    }
    pthread_mutex_unlock(&f->lock);
    return best;
}

void cache_file_put(struct cache_folder *f, struct cache_file *x)
{
    pthread_mutex_lock(&f->lock);
    unref(x);
    pthread_mutex_unlock(&f->lock);
}

void cache_file_touch(struct cache_folder *f, struct cache_file *x)
{
    char path[PATH_BYTES];
    if (path_of(f, x->name, path))
        utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
    pthread_mutex_lock(&f->lock);
    x->used_ms = clock_wall_ms();
    pthread_mutex_unlock(&f->lock);
}

void cache_file_remove(struct cache_folder *f, struct cache_file *x)
{
    pthread_mutex_lock(&f->lock);
    bool gone = x->gone;
    if (!gone)
        take_out_name(f, x->name);
    pthread_mutex_unlock(&f->lock);
    if (!gone)
        remove_name(f, x->name);
}

void cache_folder_count(struct cache_folder *f, int *files, uint64_t *bytes)
{
    pthread_mutex_lock(&f->lock);
    *files = f->nfiles;
    *bytes = f->bytes;
    pthread_mutex_unlock(&f->lock);
}

/* ---- making room ---- */

/* Of a file of this model, tokens that no other file gives; of others what the name says. With a
 * great many files the comparison would cost more than it tells. */
static void count_own(struct cache_folder *f, struct listed *l)
{
    pthread_mutex_lock(&f->lock);
    const struct cache_file *x = f->nfiles <= COMPARED ? *place_of(f, l->name) : NULL, *y;
    int32_t most = 0;
    for (y = x ? f->files : NULL; y; y = y->next) {
        int32_t n = y == x ? 0 : shared(y, model_saved_tokens(x->saved), l->tokens);
        most = n > most ? n : most;
    }
    pthread_mutex_unlock(&f->lock);
    if (most >= CACHE_GAIN) /* fewer would not be read from the other */
        l->tokens -= most < l->tokens ? most : l->tokens - 1;
}

static double value_of(const struct listed *x, int64_t now_ms)
{
    double age = now_ms > x->used_ms ? (double)(now_ms - x->used_ms) : 0;
    return (double)x->tokens / ((double)x->bytes + 1) / (age + RECENT_MS);
}

/* Of what the folder holds, so much goes that `bytes` more fit. */
static void make_room(struct cache_folder *f, struct listing *l, uint64_t bytes)
{
    int64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < l->n && l->bytes + bytes > f->limit; i++)
        count_own(f, &l->p[i]);
    while (l->n > 0 && l->bytes + bytes > f->limit) {
        size_t worst = 0;
        for (size_t i = 1; i < l->n; i++)
            if (value_of(&l->p[i], now_ms) < value_of(&l->p[worst], now_ms))
                worst = i;
        remove_name(f, l->p[worst].name);
        pthread_mutex_lock(&f->lock);
        take_out_name(f, l->p[worst].name);
        pthread_mutex_unlock(&f->lock);
        l->bytes -= l->p[worst].bytes;
        l->p[worst] = l->p[--l->n];
    }
}

/* ---- writing ---- */

/* Whether a session of these tokens gives about what the file does. */
static bool covers(const struct model_seq *s, const int32_t *tokens, const struct cache_file *x)
{
    int32_t len = model_saved_len(x->saved), most = len / 16 > 64 ? len / 16 : 64;
    if (len > model_seq_len(s) || shared(x, tokens, model_seq_len(s)) < len)
        return false;
    return model_saved_fits(x->saved, model_seq_most(s)) && len - model_seq_reach(s, len) <= most;
}

/* Removing takes a while, and others want the index meanwhile. */
static void remove_covered(struct cache_folder *f, const struct model_seq *s, const int32_t *tokens,
                           const char *name)
{
    for (bool any = true; any;) {
        char found[CACHE_NAME];
        any = false;
        pthread_mutex_lock(&f->lock);
        for (struct cache_file **at = &f->files; *at && !any; at = any ? at : &(*at)->next) {
            struct cache_file *x = *at;
            if (strcmp(x->name, name) == 0 || !covers(s, tokens, x))
                continue;
            memcpy(found, x->name, sizeof found);
            f->bytes -= x->bytes < f->bytes ? x->bytes : f->bytes;
            take_out(f, at);
            any = true;
        }
        pthread_mutex_unlock(&f->lock);
        if (any)
            remove_name(f, found);
    }
}

static int write_in_turn(struct cache_folder *f, const struct model_seq *s, const int32_t *tokens,
                         const char *name, const atomic_bool *cancel, struct err *e)
{
    char path[PATH_BYTES];
    struct listing l;
    uint64_t bytes = model_seq_file_bytes(s);
    if (bytes > f->limit)
        return err_set(e, ERR_TOO_LARGE, "a session of %llu bytes is more than the cache may hold",
                       (unsigned long long)bytes);
    if (!path_of(f, name, path))
        return err_set(e, ERR_INVAL, "the path is too long: %s", f->path);
    read_folder(f, &l);
    make_room(f, &l, bytes);
    int rc = model_seq_spill(s, tokens, path, cancel, e);
    pthread_mutex_lock(&f->lock);
    f->bytes = l.bytes + (rc ? 0 : bytes);
    pthread_mutex_unlock(&f->lock);
    free(l.p);
    if (rc)
        return rc;
    open_new(f, name, clock_wall_ms());
    remove_covered(f, s, tokens, name);
    return 0;
}

int cache_folder_write(struct cache_folder *f, const struct model_seq *s, const int32_t *tokens,
                       const atomic_bool *cancel, struct err *e)
{
    char name[CACHE_NAME];
    snprintf(name, sizeof name, "%016" PRIx64 "-%s-%" PRId32 "-%016" PRIx64 ENDING,
             model_kv_identity(f->kv), model_cache_name(model_kv_cache(f->kv)), model_seq_len(s),
             model_seq_file_key(s, tokens));
    pthread_mutex_lock(&f->turn);
    int rc = write_in_turn(f, s, tokens, name, cancel, e);
    pthread_mutex_unlock(&f->turn);
    return rc;
}

/* ---- making ---- */

/* Every folder on the way, the last for its owner alone. */
static int make_folder(char *path, struct err *e)
{
    struct stat st;
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_set(e, ERR_IO, "cannot make the folder %s: %s", path, strerror(errno));
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(e, ERR_IO, "%s is no folder", path);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return err_set(e, ERR_IO, "cannot use the folder %s: %s", path, strerror(errno));
    return 0;
}

int cache_folder_open(const char *path, uint64_t limit, struct model_kv *kv, int32_t ctx,
                      struct cache_folder **out, struct err *e)
{
    size_t n = strlen(path);
    if (n < 1 || n > PATH_BYTES - CACHE_NAME - 16)
        return err_set(e, ERR_INVAL, "the cache's folder has a name of %zu bytes", n);
    struct cache_folder *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return err_set(e, ERR_NOMEM, "no memory for a cache");
    }
    int rc = make_folder(f->path, e);
    if (rc) {
        free(f->path);
        free(f);
        return rc;
    }
    f->limit = limit;
    f->kv = kv;
    f->ctx = ctx;
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutex_init(&f->turn, NULL);
    *out = f;
    return 0;
}

void cache_folder_free(struct cache_folder *f)
{
    if (!f)
        return;
    while (f->files)
        take_out(f, &f->files);
    pthread_mutex_destroy(&f->lock);
    pthread_mutex_destroy(&f->turn);
    free(f->path);
    free(f);
}
