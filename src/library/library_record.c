/* library_record.c: the small JSON files: a model's record, and what a partial download needs to be
 * continued. Both are written whole under another name and renamed; both are only hints on reading:
 * a damaged one is the same as none. */
#include "library_int.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORD_MAX (1 << 16)

static int write_text(int fd, const char *text)
{
    size_t n = strlen(text), done = 0;
    while (done < n) {
        ssize_t k = write(fd, text + done, n - done);
        if (k < 0 && errno != EINTR)
            return -1;
        done += k > 0 ? (size_t)k : 0;
    }
    return fsync(fd);
}

/* Takes the reference to root. */
static int write_json(const char *path, json_t *root, struct err *e)
{
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    char *tmp = lib_path("%s.new", path);
    json_decref(root);
    int rc = text && tmp ? 0 : err_set(e, ERR_NOMEM, "%s: no memory", path);
    if (rc == 0) {
        int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        bool ok = fd >= 0 && write_text(fd, text) == 0;
        int saved = errno;
        if (fd >= 0)
            close(fd);
        if (ok && rename(tmp, path) != 0) {
            ok = false;
            saved = errno;
        }
        if (!ok) {
            unlink(tmp);
            rc = err_set(e, saved == ENOSPC ? ERR_NO_SPACE : ERR_IO, "%s: cannot write: %s", path,
                         strerror(saved));
        }
    }
    free(text);
    free(tmp);
    return rc;
}

/* NULL: none, too large or not JSON. */
static json_t *read_json(const char *path)
{
    FILE *f = fopen(path, "rbe");
    if (!f)
        return NULL;
    char *text = malloc(RECORD_MAX);
    size_t n = text ? fread(text, 1, RECORD_MAX, f) : 0;
    fclose(f);
    json_t *root = n && n < RECORD_MAX ? json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    free(text);
    return root;
}

int lib_record_write(struct lib_job *j, const char *hex, uint64_t size, const char *source)
{
    const char *licence = j->entry ? j->entry->licence : "";
    return write_json(j->record,
                      json_pack("{s:s, s:s, s:I, s:s, s:s, s:I}", "name", j->name, "sha256", hex,
                                "size", (json_int_t)size, "source", source, "licence", licence,
                                "added_ms", (json_int_t)clock_wall_ms()),
                      j->e);
}

static void take_text(json_t *root, const char *key, char **out)
{
    const char *s = json_string_value(json_object_get(root, key));
    char *copy = s ? strdup(s) : NULL;
    if (copy) {
        free(*out);
        *out = copy;
    }
}

void lib_record_read(const char *path, struct library_item *it)
{
    json_t *root = read_json(path);
    json_int_t size = json_integer_value(json_object_get(root, "size"));
    /* A record of another file that once had this name says nothing about this one. */
    if (root && size >= 0 && (uint64_t)size == it->size) {
        take_text(root, "sha256", &it->sha256);
        take_text(root, "source", &it->source);
        take_text(root, "licence", &it->licence);
        it->added_ms = json_integer_value(json_object_get(root, "added_ms"));
    }
    json_decref(root);
}

int lib_meta_write(struct lib_job *j, const char *url, struct str etag)
{
    return write_json(
        j->meta, json_pack("{s:s, s:s%}", "url", url, "etag", etag.p ? etag.p : "", etag.n), j->e);
}

bool lib_meta_read(const struct lib_job *j, const char *url, char **etag)
{
    json_t *root = read_json(j->meta);
    const char *of = json_string_value(json_object_get(root, "url"));
    bool same = of && strcmp(of, url) == 0;
    *etag = strdup("");
    if (same)
        take_text(root, "etag", etag);
    json_decref(root);
    return same && *etag;
}
