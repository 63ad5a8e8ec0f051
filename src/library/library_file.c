/* library_file.c: bytes on disk: folders, the lock of a pull, room, the partial file that is hashed
 * as it grows, and the rename that makes it a model. The order is: write, fsync, rename, fsync of
 * the folder; a process killed between any two leaves a partial file and no model. */
#include "library_int.h"

#include "gguf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

char *lib_path(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : p;
}

int lib_io_error(struct err *e, const char *path, const char *what)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    return err_set(e, code, "%s: %s: %s", path, what, strerror(errno));
}

static int make_dir(const char *path, mode_t mode, struct err *e)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0; /* mkdir would say EROFS or EACCES of a folder that is there */
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return lib_io_error(e, path, "cannot make the folder");
    return 0;
}

/* The folders above $WEIR_HOME as well, where a person has named a new place. */
static int make_home(const char *home, struct err *e)
{
    int rc = 0;
    for (const char *p = strchr(home + 1, '/'); p && rc == 0; p = strchr(p + 1, '/')) {
        char *above = lib_path("%.*s", (int)(p - home), home);
        rc = above ? make_dir(above, 0755, e) : err_set(e, ERR_NOMEM, "%s: no memory", home);
        free(above);
    }
    return rc == 0 ? make_dir(home, 0700, e) : rc;
}

int lib_make_dirs(const struct library *l, struct err *e)
{
    int rc = make_home(l->home, e);
    if (rc == 0)
        rc = make_dir(l->models, 0755, e);
    return rc == 0 ? make_dir(l->partial, 0755, e) : rc;
}

int lib_file_size(const char *path, uint64_t *size)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_NOT_FOUND;
    *size = (uint64_t)st.st_size;
    return 0;
}

/* ---- the lock ---- */

int lib_make_dir(const char *path, struct err *e)
{
    return make_dir(path, 0755, e);
}

/* The lock's file stays: removing it would let two pulls hold two files of one name. */
int lib_lock(struct lib_job *j, bool wait)
{
    j->lock_fd = open(j->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (j->lock_fd < 0)
        return lib_io_error(j->e, j->lock, "cannot open the lock");
    while (flock(j->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return lib_io_error(j->e, j->lock, "cannot lock");
        if (!wait)
            return err_set(j->e, ERR_BUSY, "%s is being pulled", j->name);
        int rc = lib_progress(j, LIBRARY_WAITING, 0, 0);
        if (rc != 0)
            return rc;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return 0;
}

/* ---- room ---- */

uint64_t lib_free_space(const struct lib_job *j)
{
    struct statvfs v;
    if (statvfs(j->lib->partial, &v) != 0)
        return UINT64_MAX; /* unknown: the write itself will tell */
    uint64_t bytes;
    return __builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, &bytes) ? UINT64_MAX
                                                                                      : bytes;
}

int lib_need_space(const struct lib_job *j, uint64_t bytes)
{
    uint64_t have = lib_free_space(j);
    if (bytes <= have)
        return 0;
    return err_set(j->e, ERR_NO_SPACE, "%s needs %.1f MiB in %s, which has %.1f MiB free", j->name,
                   (double)bytes / 1048576, j->lib->models, (double)have / 1048576);
}

/* ---- removing ---- */

/* Never through a symbolic link; at most `depth` folders down. */
static void remove_at(int dir, const char *name, int depth)
{
    if (unlinkat(dir, name, 0) == 0 || depth == 0)
        return;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *ent; (ent = readdir(d));)
        if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
            remove_at(dirfd(d), ent->d_name, depth - 1);
    closedir(d);
    unlinkat(dir, name, AT_REMOVEDIR);
}

void lib_remove_tree(const char *path)
{
    remove_at(AT_FDCWD, path, 16);
}

/* ---- the partial file ---- */

static int hash_fd(struct lib_job *j, int fd, const char *path, uint64_t size,
                   crypto_hash_sha256_state *hash, uint64_t *n)
{
    unsigned char *chunk = malloc(CHUNK);
    int rc = chunk ? 0 : err_set(j->e, ERR_NOMEM, "%s: no memory", path);
    while (rc == 0) {
        ssize_t k = read(fd, chunk, CHUNK);
        if (k == 0)
            break;
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            rc = lib_io_error(j->e, path, "cannot read");
            break;
        }
        crypto_hash_sha256_update(hash, chunk, (unsigned long long)k);
        *n += (uint64_t)k;
        rc = lib_progress(j, LIBRARY_VERIFYING, *n, size);
    }
    free(chunk);
    return rc;
}

/* A pull killed after it had linked a person's own file leaves that file's second name here: such a
 * one is never written to, only let go. */
static void clear_part(const struct lib_job *j, bool keep)
{
    struct stat st;
    bool ours = lstat(j->part, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
    if (!keep || !ours)
        unlink(j->part);
}

int lib_part_open(struct lib_job *j, bool keep, int *fd)
{
    clear_part(j, keep);
    int f = open(j->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (f < 0)
        return lib_io_error(j->e, j->part, "cannot write");
    *fd = f;
    return 0;
}

int lib_out_open(struct lib_out *o, struct lib_job *j, enum library_phase phase, bool keep)
{
    *o = (struct lib_out){.j = j, .phase = phase, .limit = UINT64_MAX};
    crypto_hash_sha256_init(&o->hash);
    o->fd = -1;
    uint64_t size = 0;
    int rc = lib_part_open(j, keep, &o->fd);
    if (rc != 0)
        return rc;
    lib_file_size(j->part, &size);
    rc = size ? hash_fd(j, o->fd, j->part, size, &o->hash, &o->n) : 0;
    if (rc != 0)
        lib_out_abandon(o);
    return rc;
}

int lib_out_restart(struct lib_out *o)
{
    if (ftruncate(o->fd, 0) != 0 || lseek(o->fd, 0, SEEK_SET) != 0)
        return lib_io_error(o->j->e, o->j->part, "cannot empty");
    crypto_hash_sha256_init(&o->hash);
    o->n = 0;
    return 0;
}

int lib_out_write(struct lib_out *o, const void *p, size_t n)
{
    struct lib_job *j = o->j;
    if (o->n > o->limit || n > o->limit - o->n)
        return err_set(j->e, ERR_TOO_LARGE, "%s: more than the %llu bytes it should have", j->name,
                       (unsigned long long)o->limit);
    const unsigned char *at = p;
    for (size_t done = 0; done < n;) {
        ssize_t k = write(o->fd, at + done, n - done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return lib_io_error(j->e, j->part, "cannot write");
        done += (size_t)k;
    }
    crypto_hash_sha256_update(&o->hash, at, n);
    o->n += n;
    return lib_progress(j, o->phase, o->n, o->total);
}

static void hex_digest(crypto_hash_sha256_state *hash, char hex[SHA256_HEX])
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(hash, digest);
    sodium_bin2hex(hex, SHA256_HEX, digest, sizeof digest);
}

int lib_out_finish(struct lib_out *o, char hex[SHA256_HEX])
{
    int rc = fsync(o->fd) == 0 ? 0 : lib_io_error(o->j->e, o->j->part, "cannot write");
    if (close(o->fd) != 0 && rc == 0)
        rc = lib_io_error(o->j->e, o->j->part, "cannot write");
    o->fd = -1;
    if (rc == 0)
        hex_digest(&o->hash, hex);
    return rc;
}

void lib_out_abandon(struct lib_out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
}

int lib_hash_file(struct lib_job *j, const char *path, char hex[SHA256_HEX])
{
    crypto_hash_sha256_state hash;
    uint64_t size = 0, n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return lib_io_error(j->e, path, "cannot read");
    lib_file_size(path, &size);
    crypto_hash_sha256_init(&hash);
    int rc = hash_fd(j, fd, path, size, &hash, &n);
    close(fd);
    if (rc == 0)
        hex_digest(&hash, hex);
    return rc;
}

static int copy_file(struct lib_job *j, int in, const char *from, uint64_t size, const char *want)
{
    struct lib_out o;
    int rc = lib_need_space(j, size);
    if (rc == 0)
        rc = lib_out_open(&o, j, LIBRARY_COPYING, false);
    if (rc != 0)
        return rc;
    o.total = size;
    char *chunk = malloc(CHUNK);
    ssize_t k = 0;
    if (!chunk)
        rc = err_set(j->e, ERR_NOMEM, "%s: no memory", from);
    while (rc == 0 && ((k = read(in, chunk, CHUNK)) > 0 || (k < 0 && errno == EINTR)))
        if (k > 0)
            rc = lib_out_write(&o, chunk, (size_t)k);
    if (rc == 0 && k < 0)
        rc = lib_io_error(j->e, from, "cannot read");
    char hex[SHA256_HEX];
    if (rc == 0)
        rc = lib_out_finish(&o, hex);
    if (rc == 0 && strcmp(hex, want) != 0)
        rc = err_set(j->e, ERR_CHECKSUM, "%s changed while it was copied", from);
    lib_out_abandon(&o);
    free(chunk);
    if (rc != 0)
        unlink(j->part);
    return rc;
}

int lib_link_or_copy(struct lib_job *j, const char *from, uint64_t size, const char *hex)
{
    unlink(j->part);
    if (linkat(AT_FDCWD, from, AT_FDCWD, j->part, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return lib_io_error(j->e, from, "cannot read");
    int rc = copy_file(j, in, from, size, hex);
    close(in);
    return rc;
}

/* ---- a model at last ---- */

int lib_check_digest(struct lib_job *j, const char *hex, const char *source)
{
    if (!j->entry || strcmp(hex, j->entry->sha256) == 0)
        return 0;
    unlink(j->part);
    unlink(j->meta);
    return err_set(j->e, ERR_CHECKSUM, "%s from %s has SHA-256 %s, not %s: it was thrown away",
                   j->name, source, hex, j->entry->sha256);
}

int lib_check_gguf(struct lib_job *j, const char *label)
{
    struct gguf *g = NULL;
    struct err why = {0};
    char stem[NAME_MAX_BYTES + 1];
    uint32_t no, count;
    /* Of a split model the other parts come later. */
    int rc = lib_split_name(j->name, stem, &no, &count) ? gguf_open_file(j->part, &g, &why)
                                                        : gguf_open(j->part, &g, &why);
    gguf_close(g);
    if (rc == 0)
        return 0;
    unlink(j->part);
    unlink(j->meta);
    /* The partial file's path, which gguf puts first, would tell a person nothing. */
    size_t skip = strlen(j->part) + 2;
    bool prefixed = strncmp(why.msg, j->part, skip - 2) == 0 && strlen(why.msg) > skip;
    return err_set(j->e, rc, "%s is not a usable model: %s", label,
                   prefixed ? why.msg + skip : err_msg(&why));
}

static int sync_dir(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return lib_io_error(e, path, "cannot open the folder");
    /* Some file systems cannot sync a folder and say EINVAL: the rename is then theirs to keep. */
    int rc =
        fsync(fd) == 0 || errno == EINVAL ? 0 : lib_io_error(e, path, "cannot write the folder");
    close(fd);
    return rc;
}

int lib_install(struct lib_job *j, const char *hex, const char *source)
{
    uint64_t size = 0;
    int told = lib_progress(j, LIBRARY_INSTALLING, 0, 0);
    if (told != 0)
        return told;
    if (lib_file_size(j->part, &size) != 0)
        return err_set(j->e, ERR_IO, "%s is gone", j->part);
    if (rename(j->part, j->model) != 0)
        return lib_io_error(j->e, j->model, "cannot put the model in place");
    unlink(j->meta);
    int rc = sync_dir(j->lib->models, j->e);
    return rc == 0 ? lib_record_write(j, hex, size, source) : rc;
}
