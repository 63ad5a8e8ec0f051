/* library_record.c: the JSON files: a model's record, with what the model says, and what a partial
 * download needs to be continued. Both are written whole under another name and renamed; both are
 * only hints on reading: a damaged one is the same as none. */
#include "library_int.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORD_MAX ((size_t)32 << 20) /* all texts, every byte of them escaped */

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
    uint64_t size;
    FILE *f = lib_file_size(path, &size) == 0 && size < RECORD_MAX ? fopen(path, "rbe") : NULL;
    if (!f)
        return NULL;
    char *text = malloc((size_t)size + 1);
    size_t n = text ? fread(text, 1, (size_t)size, f) : 0;
    fclose(f);
    json_t *root = n ? json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    free(text);
    return root;
}

/* ---- a model's record ---- */

/* A path need not be UTF-8, and JSON must be. */
static json_t *loose_text(const char *s)
{
    json_t *v = json_string(s);
    if (v)
        return v;
    char *copy = strdup(s);
    for (char *c = copy; c && *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    v = copy ? json_string(copy) : NULL;
    free(copy);
    return v;
}

static void put_texts(json_t *root, const struct library_texts *from)
{
    struct library_texts *t = (struct library_texts *)(uintptr_t)from;
    for (enum lib_text k = 0; t && k < LIB_TEXTS; k++) {
        const char *text = *lib_text_of(t, k);
        if (!text || !*text)
            continue;
        bool json = k == LIB_PARAMS || k == LIB_MESSAGES;
        json_object_set_new(root, k == LIB_LICENCE ? "licence_text" : lib_text_name(k),
                            json ? json_loads(text, 0, NULL) : json_string(text));
    }
}

static int write_record(struct lib_job *j, const char *hex, uint64_t size, const char *source,
                        const char *target)
{
    char title[81] = "";
    if (j->texts && j->texts->licence_text)
        lib_licence_title(j->texts->licence_text, title);
    json_t *root = json_pack("{s:s, s:s, s:I, s:o, s:s, s:I}", "name", j->name, "sha256", hex,
                             "size", (json_int_t)size, "source", loose_text(source), "licence",
                             j->entry && j->entry->licence ? j->entry->licence : title, "added_ms",
                             (json_int_t)clock_wall_ms());
    if (root)
        put_texts(root, j->texts);
    if (root && target)
        json_object_set_new(root, "weights", json_string(target));
    if (root && j->note)
        json_object_set_new(root, "note", json_string(j->note));
    if (root && j->base)
        json_object_set_new(root, "base", loose_text(j->base));
    if (root && target && !json_object_get(root, "weights")) {
        json_decref(root);
        return err_set(j->e, ERR_INVAL, "%s: the path of its weights is no UTF-8", j->name);
    }
    return write_json(j->record, root, j->e);
}

int lib_record_write(struct lib_job *j, const char *hex, uint64_t size, const char *source)
{
    return write_record(j, hex, size, source, NULL);
}

int lib_record_point(struct lib_job *j, const char *hex, uint64_t size, const char *source,
                     const char *path)
{
    return write_record(j, hex, size, source, path);
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

/* A record may have been edited: what does not pass is as if it were not there. */
static void take_texts(json_t *root, struct library_texts *t)
{
    for (enum lib_text k = 0; k < LIB_TEXTS; k++) {
        json_t *v = json_object_get(root, k == LIB_LICENCE ? "licence_text" : lib_text_name(k));
        bool json = k == LIB_PARAMS || k == LIB_MESSAGES;
        char *dumped = json && v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        const char *text = json ? dumped : json_string_value(v);
        struct library_texts one = {0};
        if (text && lib_text_set(&one, k, str_of(text), "", NULL) == 0) {
            char **slot = lib_text_of(t, k);
            free(*slot);
            *slot = *lib_text_of(&one, k);
        }
        free(dumped);
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
        take_text(root, "base", &it->base);
        take_text(root, "note", &it->note);
        take_texts(root, &it->texts);
        it->added_ms = json_integer_value(json_object_get(root, "added_ms"));
        if (it->sha256[0] && !lib_digest(it->sha256, (char[SHA256_HEX]){0}))
            it->sha256[0] = '\0';
    }
    json_decref(root);
}

char *lib_record_target(const char *record)
{
    char *path = NULL;
    json_t *root = read_json(record);
    const char *s = json_string_value(json_object_get(root, "weights"));
    if (s && s[0] == '/')
        path = strdup(s);
    json_decref(root);
    return path;
}

/* ---- a partial download ---- */

int lib_meta_write(struct lib_job *j, const char *url, struct str etag, const struct lib_meta *m)
{
    json_t *root =
        json_pack("{s:o, s:s%}", "url", loose_text(url), "etag", etag.p ? etag.p : "", etag.n);
    json_t *runs = json_array();
    for (size_t i = 0; m && i < m->n; i++)
        json_array_append_new(runs, json_pack("[III]", (json_int_t)m->seg[i].start,
                                              (json_int_t)m->seg[i].at, (json_int_t)m->seg[i].end));
    if (root && m && m->n) {
        json_object_set_new(root, "size", json_integer((json_int_t)m->size));
        json_object_set(root, "segments", runs);
    }
    json_decref(runs);
    return write_json(j->meta, root, j->e);
}

static bool read_segment(json_t *v, uint64_t from, uint64_t size, struct lib_segment *s)
{
    json_int_t a = json_integer_value(json_array_get(v, 0));
    json_int_t b = json_integer_value(json_array_get(v, 1));
    json_int_t c = json_integer_value(json_array_get(v, 2));
    if (a < 0 || b < a || c < b || (uint64_t)c > size || (uint64_t)a != from)
        return false;
    *s = (struct lib_segment){(uint64_t)a, (uint64_t)b, (uint64_t)c, false};
    return true;
}

/* Together they are the whole file, each byte once, or they are not believed. */
static void read_segments(json_t *root, struct lib_meta *m)
{
    json_t *runs = json_object_get(root, "segments");
    json_int_t size = json_integer_value(json_object_get(root, "size"));
    size_t n = json_array_size(runs);
    uint64_t at = 0;
    if (size <= 0 || (uint64_t)size > FILE_MAX || n == 0 || n > SEGMENTS_MAX)
        return;
    for (size_t i = 0; i < n; i++) {
        if (!read_segment(json_array_get(runs, i), at, (uint64_t)size, &m->seg[i]))
            return;
        at = m->seg[i].end;
    }
    if (at != (uint64_t)size)
        return;
    m->n = n;
    m->size = (uint64_t)size;
}

bool lib_meta_read(const struct lib_job *j, const char *url, struct lib_meta *m)
{
    *m = (struct lib_meta){.etag = strdup("")};
    json_t *root = read_json(j->meta);
    const char *of = json_string_value(json_object_get(root, "url"));
    bool same = of && strcmp(of, url) == 0;
    if (same) {
        take_text(root, "etag", &m->etag);
        read_segments(root, m);
    }
    json_decref(root);
    return same && m->etag;
}
