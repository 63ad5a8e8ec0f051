/* library_blob.c: files that are handed in and asked for by their digest, models/.blobs/sha256-HEX:
 * what the server's /api/blobs keeps until a model is made of it. A file appears under its digest
 * only when it has been hashed whole. */
#include "library_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

struct library_put {
    const struct library *l;
    char hex[SHA256_HEX];
    char *path, *tmp;
    int fd;
    uint64_t n, announced;
    crypto_hash_sha256_state hash;
};

bool lib_digest(const char *s, char hex[SHA256_HEX])
{
    if (strncmp(s, "sha256:", 7) == 0)
        s += 7;
    if (strlen(s) != SHA256_HEX - 1 || strspn(s, "0123456789abcdef") != SHA256_HEX - 1)
        return false;
    memcpy(hex, s, SHA256_HEX);
    return true;
}

static int take_digest(const char *digest, char hex[SHA256_HEX], struct err *e)
{
    if (lib_digest(digest, hex))
        return 0;
    return err_set(e, ERR_INVAL, "%.80s is no digest: sha256: and 64 hex digits", digest);
}

/* ---- finding ---- */

/* Of weir's own models by the digest in their records: whole files only, no parts of others. */
static char *find_model(const struct library *l, const char *hex, uint64_t *size)
{
    struct library_list list;
    char *path = NULL;
    uint32_t count;
    if (lib_list_own(l, &list, NULL) != 0)
        return NULL;
    for (size_t i = 0; i < list.n && !path; i++)
        if (strcmp(list.items[i].sha256, hex) == 0 && !lib_split_is(list.items[i].path, &count)) {
            path = strdup(list.items[i].path);
            *size = list.items[i].size;
        }
    library_list_done(&list);
    return path;
}

char *lib_blob_find(const struct library *l, const char *hex, uint64_t *size)
{
    char *path = lib_path("%s/sha256-%s", l->blobs, hex);
    if (path && lib_file_size(path, size) == 0)
        return path;
    free(path);
    path = find_model(l, hex, size);
    if (path)
        return path;
    path = lib_stores_blob(l, hex);
    if (path && lib_file_size(path, size) == 0)
        return path;
    free(path);
    return NULL;
}

int library_blob_path(const struct library *l, const char *digest, char **path, struct err *e)
{
    char hex[SHA256_HEX];
    uint64_t size;
    int rc = take_digest(digest, hex, e);
    if (rc != 0)
        return rc;
    char *p = lib_blob_find(l, hex, &size);
    if (!p)
        return err_set(e, ERR_NOT_FOUND, "nothing here has the digest sha256:%s", hex);
    *path = p;
    return 0;
}

bool library_blob_has(const struct library *l, const char *digest)
{
    char *path = NULL;
    bool has = library_blob_path(l, digest, &path, NULL) == 0;
    free(path);
    return has;
}

/* ---- putting ---- */

static int check_space(const struct library *l, uint64_t size, struct err *e)
{
    struct statvfs v;
    uint64_t have;
    if (statvfs(l->blobs, &v) != 0 ||
        __builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, &have) || size <= have)
        return 0;
    return err_set(e, ERR_NO_SPACE, "a file of %.1f MiB in %s, which has %.1f MiB free",
                   (double)size / 1048576, l->blobs, (double)have / 1048576);
}

/* What a killed server has left of files handed in, a day ago or longer. */
static void drop_stale(const struct library *l)
{
    DIR *d = opendir(l->partial);
    for (struct dirent *ent; d && (ent = readdir(d));) {
        struct stat st;
        if (strncmp(ent->d_name, "put-", 4) == 0 && fstatat(dirfd(d), ent->d_name, &st, 0) == 0 &&
            st.st_mtime < time(NULL) - 86400)
            unlinkat(dirfd(d), ent->d_name, 0);
    }
    if (d)
        closedir(d);
}

static int open_put(struct library_put *p, struct err *e)
{
    int rc = lib_make_dirs(p->l, e);
    if (rc == 0)
        rc = lib_make_dir(p->l->blobs, e);
    if (rc == 0)
        drop_stale(p->l);
    if (rc == 0)
        rc = check_space(p->l, p->announced, e);
    p->path = lib_path("%s/sha256-%s", p->l->blobs, p->hex);
    p->tmp = lib_path("%s/put-XXXXXX", p->l->partial);
    if (rc == 0 && (!p->path || !p->tmp))
        rc = err_set(e, ERR_NOMEM, "no memory for a file");
    if (rc == 0 && (p->fd = mkostemp(p->tmp, O_CLOEXEC)) < 0)
        rc = lib_io_error(e, p->tmp, "cannot write");
    return rc;
}

int library_put_begin(const struct library *l, const char *digest, uint64_t size,
                      struct library_put **out, struct err *e)
{
    struct library_put *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "no memory for a file");
    *p = (struct library_put){.l = l, .fd = -1, .announced = size};
    crypto_hash_sha256_init(&p->hash);
    int rc = take_digest(digest, p->hex, e);
    if (rc == 0 && size > FILE_MAX)
        rc = err_set(e, ERR_TOO_LARGE, "no file has %llu bytes", (unsigned long long)size);
    if (rc == 0)
        rc = open_put(p, e);
    if (rc != 0) {
        library_put_abort(p);
        return rc;
    }
    *out = p;
    return 0;
}

int library_put_append(struct library_put *p, struct str bytes, struct err *e)
{
    if (p->announced && bytes.n > p->announced - p->n)
        return err_set(e, ERR_TOO_LARGE, "more than the %llu bytes that were announced",
                       (unsigned long long)p->announced);
    for (size_t done = 0; done < bytes.n;) {
        ssize_t k = write(p->fd, bytes.p + done, bytes.n - done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return lib_io_error(e, p->l->blobs, "cannot write");
        done += (size_t)k;
    }
    crypto_hash_sha256_update(&p->hash, (const unsigned char *)bytes.p, bytes.n);
    p->n += bytes.n;
    return 0;
}

void library_put_abort(struct library_put *p)
{
    if (!p)
        return;
    if (p->fd >= 0) {
        close(p->fd);
        unlink(p->tmp);
    }
    free(p->path);
    free(p->tmp);
    free(p);
}

int library_put_commit(struct library_put *p, struct err *e)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[SHA256_HEX];
    crypto_hash_sha256_final(&p->hash, digest);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    int rc = strcmp(hex, p->hex) == 0
                 ? 0
                 : err_set(e, ERR_CHECKSUM, "the file has SHA-256 %s, not %s: it was thrown away",
                           hex, p->hex);
    if (rc == 0 && (fchmod(p->fd, 0644) != 0 || fsync(p->fd) != 0 || rename(p->tmp, p->path) != 0))
        rc = lib_io_error(e, p->path, "cannot write");
    if (rc == 0) { /* the name is gone with the rename: nothing to take away */
        close(p->fd);
        p->fd = -1;
    }
    library_put_abort(p);
    return rc;
}
