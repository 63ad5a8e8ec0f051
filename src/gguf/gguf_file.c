/* gguf_file.c: files into maps: opens and closes a GGUF, whole or split. Owned here: the maps. The
 * size is the one the opened descriptor has: a file that is cut afterwards by someone else is
 * outside of what can be guarded here. */
#include "gguf_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int io_error(const char *path, const char *what, struct err *e)
{
    int code = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
    return err_set(e, code, "%s: %s: %s", path, what, strerror(errno));
}

static int map_file(const char *path, struct gguf *g, struct err *e)
{
    /* O_NONBLOCK so that opening a named pipe returns and is refused below. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return io_error(path, "cannot open", e);
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) != 0)
        rc = io_error(path, "cannot read its size", e);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s: not a regular file", path);
    else if (st.st_size < 4 || (uint64_t)st.st_size > SIZE_MAX / 2)
        rc = err_set(e, ERR_FORMAT, "%s: not a GGUF file", path);
    if (rc == 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            rc = io_error(path, "cannot map", e);
        } else {
            g->map = p;
            g->size = (size_t)st.st_size;
            g->mapped = true;
        }
    }
    close(fd);
    return rc;
}

int gguf_open_file(const char *path, struct gguf **out, struct err *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    char *copy = strdup(path);
    if (!g || !copy) {
        free(g);
        free(copy);
        return err_set(e, ERR_NOMEM, "%s: no memory", path);
    }
    g->path = copy;
    int rc = map_file(path, g, e);
    if (rc == 0)
        rc = gguf_parse(g, e);
    if (rc != 0)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

/* "-00001-of-00003.gguf" */
#define PART_SUFFIX ((size_t)20)

bool gguf_part_name(struct str path, uint32_t *no, uint32_t *count, struct str *stem)
{
    if (path.n < PART_SUFFIX)
        return false;
    const char *p = path.p + path.n - PART_SUFFIX;
    uint64_t a, b;
    if (p[0] != '-' || memcmp(p + 6, "-of-", 4) != 0 || memcmp(p + 15, ".gguf", 5) != 0 ||
        !str_to_u64(str_n(p + 1, 5), &a) || !str_to_u64(str_n(p + 10, 5), &b) || a < 1 || a > b)
        return false;
    *no = (uint32_t)a;
    *count = (uint32_t)b;
    *stem = str_n(path.p, path.n - PART_SUFFIX);
    return true;
}

/* The path of part no (from 0 on); malloc'd. Error: the name is none that says where the others
 * are. */
static int part_path(const char *path, uint32_t no, uint32_t count, char **out, struct err *e)
{
    uint32_t named, of;
    struct str stem;
    if (!gguf_part_name(str_of(path), &named, &of, &stem) || of != count)
        return err_set(e, ERR_FORMAT,
                       "%s: one of the %u parts of a split model, but its name does not end in "
                       "-0000N-of-%05u.gguf",
                       path, count, count);
    if (asprintf(out, "%.*s-%05u-of-%05u.gguf", STR_ARG(stem), no + 1, count) < 0)
        return err_set(e, ERR_NOMEM, "%s: no memory", path);
    return 0;
}

static int open_part(void *ctx, const struct gguf *first, uint32_t no, struct gguf **out,
                     struct err *e)
{
    uint32_t count = *(const uint32_t *)ctx;
    char *path = NULL;
    struct err why = {0};
    int rc = part_path(gguf_path(first), no, count, &path, e);
    if (rc != 0)
        return rc;
    rc = gguf_open_file(path, out, &why);
    if (rc == ERR_NOT_FOUND)
        err_set(e, rc, "%s: part %u of %u of the model is missing", path, no + 1, count);
    else if (rc != 0)
        err_set(e, rc, "%s", why.msg);
    free(path);
    return rc;
}

/* The opened file is a part: bring in the others. Replaced by the first part if it is another. */
static int open_others(struct gguf **g, uint32_t no, uint32_t count, struct err *e)
{
    char *path = NULL;
    int rc = part_path(gguf_path(*g), no, count, &path, e);
    if (rc == 0 && strcmp(path, gguf_path(*g)) != 0)
        rc = err_set(e, ERR_FORMAT, "%s: says it is part %u of %u, which is not what it is called",
                     gguf_path(*g), no + 1, count);
    free(path);
    if (rc == 0 && no != 0) {
        struct gguf *first = NULL;
        rc = open_part(&count, *g, 0, &first, e);
        if (rc == 0) {
            gguf_close(*g);
            *g = first;
        }
    }
    return rc == 0 ? gguf_split_join(*g, open_part, &count, e) : rc;
}

int gguf_open(const char *path, struct gguf **out, struct err *e)
{
    struct gguf *g = NULL;
    uint32_t no, count;
    int rc = gguf_open_file(path, &g, e);
    if (rc == 0)
        rc = gguf_split_info(g, &no, &count, e);
    if (rc == 0 && count > 1)
        rc = open_others(&g, no, count, e);
    if (rc != 0)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

/* ---- in memory ---- */

static int open_one_mem(struct str bytes, struct gguf **out, struct err *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(e, ERR_NOMEM, "no memory to read a GGUF file");
    g->map = (const unsigned char *)bytes.p;
    g->size = bytes.n;
    int rc = gguf_parse(g, e);
    if (rc != 0)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

static int open_part_mem(void *ctx, const struct gguf *first, uint32_t no, struct gguf **out,
                         struct err *e)
{
    return open_one_mem(((const struct str *)ctx)[no], out, e);
}

int gguf_open_parts_mem(const struct str *parts, size_t n, struct gguf **out, struct err *e)
{
    struct gguf *g = NULL;
    uint32_t no, count;
    int rc = n ? open_one_mem(parts[0], &g, e) : err_set(e, ERR_INVAL, "no parts");
    if (rc == 0)
        rc = gguf_split_info(g, &no, &count, e);
    if (rc == 0 && count != n)
        rc = err_set(e, ERR_NOT_FOUND, "%s: a model in %u parts, of which %zu are here",
                     gguf_path(g), count, n);
    if (rc == 0 && count > 1)
        rc = gguf_split_join(g, open_part_mem, (void *)(uintptr_t)parts, e);
    if (rc != 0)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

int gguf_open_mem(const void *p, size_t n, struct gguf **out, struct err *e)
{
    struct str one = str_n(p, n);
    return gguf_open_parts_mem(&one, 1, out, e);
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    /* Parts have no parts of their own: this goes one level deep. */
    for (size_t i = 0; i < g->nparts; i++)
        gguf_close(g->parts[i]);
    free(g->parts);
    if (g->mapped)
        munmap((void *)(uintptr_t)g->map, g->size);
    free(g->value_index.slots);
    free(g->tensor_index.slots);
    free(g->values);
    free(g->tensors);
    free(g->path);
    free(g);
}
