/* library_create.c: models made of others: by a recipe, by a copy. No weights are copied: the new
 * model's file is a second name (hard link) of the base's, so that either may be removed; where the
 * file system or the owner of the file forbids that, a record that says where the weights lie. */
#include "library_int.h"

#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTS_MAX 1000

/* ---- taking weights over ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int point_to(struct lib_job *j, const char *path, const char *hex, const char *source)
{
    uint64_t size = 0;
    char *whole = realpath(path, NULL);
    int rc = whole && lib_file_size(whole, &size) == 0
                 ? lib_record_point(j, hex, lib_split_size(whole, size), source, whole)
                 : lib_io_error(j->e, path, "cannot be used");
    if (rc == 0)
        unlink(j->model);
    free(whole);
    return rc;
}

int lib_adopt(struct lib_job *j, const char *path, const char *hex, const char *source)
{
    uint64_t size = 0;
    if (same_file(path, j->model)) { /* a rename to itself would leave both names */
        lib_file_size(path, &size);
        return lib_record_write(j, hex, size, source);
    }
    unlink(j->part);
    unlink(j->meta);
    if (linkat(AT_FDCWD, path, AT_FDCWD, j->part, AT_SYMLINK_FOLLOW) == 0)
        return lib_install(j, hex, source);
    if (errno == ENOENT || errno == ENOSPC)
        return lib_io_error(j->e, path, "cannot be used");
    return point_to(j, path, hex, source);
}

/* ---- what a new model is made of ---- */

struct part {
    char *path;
    char hex[SHA256_HEX];
    uint64_t size;
};

struct base {
    char *name, *source, *licence, *note;
    struct library_texts texts;
    struct part *parts;
    uint32_t n;
};

static void base_done(struct base *b)
{
    free(b->name);
    free(b->source);
    free(b->licence);
    free(b->note);
    library_texts_done(&b->texts);
    for (uint32_t i = 0; b->parts && i < b->n; i++)
        free(b->parts[i].path);
    free(b->parts);
    *b = (struct base){0};
}

static int hash_part(const struct library *l, struct part *part, const struct library_watch *watch,
                     struct err *e)
{
    struct lib_job probe = {.lib = l, .watch = watch, .lock_fd = -1, .e = e};
    snprintf(probe.name, sizeof probe.name, "%s", "a model");
    if (lib_file_size(part->path, &part->size) != 0)
        return err_set(e, ERR_NOT_FOUND, "no file %s", part->path);
    return part->hex[0] ? 0 : lib_hash_file(&probe, part->path, part->hex);
}

/* The files of a model that lies at path; hex: of the one file there is, "" if not known. */
static int take_parts(const struct library *l, struct base *b, const char *path, const char *hex,
                      const struct library_watch *watch, struct err *e)
{
    uint32_t count = 1;
    struct gguf *g = NULL;
    int rc = gguf_open(path, &g, e);
    gguf_close(g);
    if (rc != 0)
        return rc;
    if (!lib_split_is(path, &count))
        count = 1;
    b->parts = count <= PARTS_MAX ? calloc(count, sizeof *b->parts) : NULL;
    if (!b->parts)
        return err_set(e, ERR_NOMEM, "%s: no memory for its %u files", path, count);
    b->n = count;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct part *part = &b->parts[i];
        part->path = count == 1 ? strdup(path) : lib_split_sibling(path, i + 1, count);
        if (count == 1)
            snprintf(part->hex, sizeof part->hex, "%s", hex);
        rc = part->path ? hash_part(l, part, watch, e) : err_set(e, ERR_NOMEM, "no memory");
    }
    return rc;
}

/* Takes the item's strings. */
static int take_item(const struct library *l, struct base *b, struct library_item *it,
                     const struct library_watch *watch, struct err *e)
{
    b->name = it->name;
    b->source = it->source;
    b->licence = it->licence;
    b->note = it->note;
    b->texts = it->texts;
    it->name = it->source = it->licence = it->note = NULL;
    it->texts = (struct library_texts){0};
    return take_parts(l, b, it->path, it->sha256, watch, e);
}

static int base_by_name(const struct library *l, struct base *b, const char *from,
                        const struct library_watch *watch, struct err *e)
{
    struct library_item it = {0};
    struct err why = {0};
    int rc = library_find(l, from, &it, &why);
    if (rc == ERR_NOT_FOUND && !lib_is_path(from))
        rc = library_pull(l, from, NULL, watch, &it, e);
    else if (rc != 0 && e)
        *e = why;
    if (rc == 0)
        rc = take_item(l, b, &it, watch, e);
    library_item_done(&it);
    return rc;
}

/* ---- of files that were put by their digest ---- */

static int put_part(const struct library *l, const struct library_file *f, struct part *part,
                    struct err *e)
{
    if (part->path)
        return err_set(e, ERR_INVAL, "%s stands twice", f->name);
    if (!lib_digest(f->digest, part->hex))
        return err_set(e, ERR_INVAL, "%s: %.80s is no digest", f->name, f->digest);
    int rc = library_blob_path(l, f->digest, &part->path, e);
    return rc == 0 && lib_file_size(part->path, &part->size) != 0
               ? err_set(e, ERR_NOT_FOUND, "%s is gone", part->path)
               : rc;
}

/* One GGUF file, or all files of a split one; a projector is left out. */
static int base_of_files(const struct library *l, struct base *b, const struct library_recipe *r,
                         struct err *e)
{
    uint32_t no = 1, count = 0, of = 1;
    int rc = 0;
    struct str stem;
    for (size_t i = 0; i < r->nfiles; i++) {
        const char *name = r->files[i].name;
        struct str s = str_of(name);
        if (lib_is_projector(name))
            continue;
        if (r->nfiles > 1 && (s.n < 6 || !str_ieq(str_n(s.p + s.n - 5, 5), STR(".gguf"))))
            return err_set(e, ERR_UNSUPPORTED, "%s: weir makes models of GGUF files alone", name);
        if (!gguf_part_name(s, &no, &of, &stem))
            no = of = 1;
        if (count && (of != count || of == 1))
            return err_set(e, ERR_INVAL, "%s is another model than the files before it", name);
        if (!b->parts && (of > PARTS_MAX || !(b->parts = calloc(of, sizeof *b->parts))))
            return err_set(e, ERR_NOMEM, "%s: no memory for %u files", name, of);
        b->n = count = of;
        rc = no >= 1 && no <= of ? put_part(l, &r->files[i], &b->parts[no - 1], e)
                                 : err_set(e, ERR_INVAL, "%s: no such part", name);
        if (rc != 0)
            return rc;
    }
    for (uint32_t i = 0; i < b->n; i++)
        if (!b->parts[i].path)
            return err_set(e, ERR_INVAL, "part %u of %u is missing", i + 1, b->n);
    return b->n ? 0 : err_set(e, ERR_INVAL, "there is no model among the files");
}

static int check_first(const struct base *b, struct err *e)
{
    struct gguf *g = NULL;
    int rc = gguf_open_file(b->parts[0].path, &g, e);
    gguf_close(g);
    return rc;
}

/* ---- what it says ---- */

/* Later ones win, key by key. */
static int merge_params(char **base, const char *over, struct err *e)
{
    json_t *a = *base && **base ? json_loads(*base, 0, NULL) : json_object();
    json_t *b = *over ? json_loads(over, 0, NULL) : json_object();
    char *text = NULL;
    if (a && b && json_object_update(a, b) == 0)
        text = json_dumps(a, JSON_COMPACT);
    json_decref(a);
    json_decref(b);
    if (!text)
        return err_set(e, ERR_NOMEM, "no memory for the parameters");
    struct library_texts t = {.params = *base};
    int rc = lib_text_set(&t, LIB_PARAMS, str_of(text), "the new model", e);
    *base = t.params;
    free(text);
    return rc;
}

static int merge_texts(struct library_texts *base, const struct library_texts *over, struct err *e)
{
    struct library_texts *o = (struct library_texts *)(uintptr_t)over;
    int rc = 0;
    for (enum lib_text k = 0; rc == 0 && k < LIB_TEXTS; k++) {
        const char *text = *lib_text_of(o, k);
        char **slot = lib_text_of(base, k);
        if (!text)
            continue;
        if (k == LIB_PARAMS) {
            rc = merge_params(slot, text, e);
            continue;
        }
        free(*slot);
        *slot = NULL;
        if (*text)
            rc = lib_text_set(base, k, str_of(text), "the new model", e);
    }
    return rc == 0 && lib_texts_fill(base) != 0 ? err_set(e, ERR_NOMEM, "no memory for a record")
                                                : rc;
}

/* ---- putting it in place ---- */

static int adopt_part(struct lib_job *j, const struct library *l, const struct base *b,
                      const char *name, uint32_t i, const char *made_from,
                      const struct library_watch *watch, struct err *e)
{
    char part[NAME_MAX_BYTES + 1];
    const struct part *p = &b->parts[i];
    struct library_entry is = {
        .name = name, .sha256 = p->hex, .size = p->size, .licence = b->licence};
    int rc = 0;
    snprintf(part, sizeof part, "%s", name);
    if (b->n > 1)
        rc = lib_split_part(name, i + 1, b->n, part, e);
    lib_job_done(j);
    if (rc == 0)
        rc = lib_begin(j, l, part, watch, e);
    if (rc != 0)
        return rc;
    if (!is.licence || !is.licence[0])
        is.licence = NULL;
    j->entry = &is;
    j->texts = i == 0 ? &b->texts : NULL;
    j->base = made_from && *made_from ? made_from : NULL;
    j->note = b->note && *b->note ? b->note : NULL;
    rc = lib_adopt(j, p->path, p->hex, b->source ? b->source : "");
    j->entry = NULL;
    j->texts = NULL;
    j->base = j->note = NULL;
    return rc;
}

static int adopt_all(const struct library *l, const struct base *b, const char *name,
                     const char *made_from, const struct library_watch *watch, struct err *e)
{
    struct lib_job j = {.lock_fd = -1};
    int rc = 0;
    for (uint32_t i = b->n; i > 0 && rc == 0; i--)
        rc = adopt_part(&j, l, b, name, i - 1, made_from, watch, e);
    lib_job_done(&j);
    return rc;
}

/* What was made earlier under this name makes room; what was not stays. */
static int make_room(const struct library *l, const struct base *b, const char *name, struct err *e)
{
    struct library_item it = {0};
    if (lib_item_installed(l, name, &it, NULL) != 0)
        return 0;
    int rc = 0;
    bool same = b->n == 1 &&
                (same_file(it.path, b->parts[0].path) || strcmp(it.sha256, b->parts[0].hex) == 0);
    if (!same && !it.base[0])
        rc = err_set(e, ERR_EXISTS,
                     "another model is called %s already: \"weir rm %s\" removes it, or give "
                     "another name",
                     name, name);
    else if (!same)
        rc = library_remove(l, name, e);
    library_item_done(&it);
    return rc;
}

/* A file that was put is the model's now. */
static void drop_blobs(const struct library *l, const struct base *b)
{
    size_t n = strlen(l->blobs);
    struct stat st;
    for (uint32_t i = 0; i < b->n; i++)
        if (strncmp(b->parts[i].path, l->blobs, n) == 0 && stat(b->parts[i].path, &st) == 0 &&
            st.st_nlink > 1)
            unlink(b->parts[i].path);
}

static int create_of(const struct library *l, struct base *b, const char *name,
                     const struct library_recipe *r, const struct library_watch *watch,
                     struct err *e)
{
    int rc = r->from ? base_by_name(l, b, r->from, watch, e) : base_of_files(l, b, r, e);
    if (rc == 0 && !r->from)
        rc = check_first(b, e);
    if (rc == 0)
        rc = merge_texts(&b->texts, &r->texts, e);
    if (rc == 0 && r->texts.licence_text) {
        free(b->licence);
        b->licence = NULL;
    }
    if (rc == 0)
        rc = make_room(l, b, name, e);
    if (rc == 0)
        rc = adopt_all(l, b, name, b->name ? b->name : "files", watch, e);
    if (rc == 0)
        drop_blobs(l, b);
    return rc;
}

int library_create(const struct library *l, const char *name, const struct library_recipe *recipe,
                   const struct library_watch *watch, struct library_item *out, struct err *e)
{
    struct base b = {0};
    if (!lib_name_valid(str_of(name)))
        return err_set(e, ERR_INVAL, "%s cannot be the name of a model", name);
    int rc = create_of(l, &b, name, recipe, watch, e);
    if (rc == 0 && out)
        rc = lib_item_installed(l, name, out, e);
    base_done(&b);
    return rc;
}

int library_copy(const struct library *l, const char *from, const char *to, struct err *e)
{
    struct library_item it = {0}, there = {0};
    struct base b = {0};
    char *base = NULL;
    if (!lib_name_valid(str_of(to)))
        return err_set(e, ERR_INVAL, "%s cannot be the name of a model", to);
    if (lib_item_installed(l, to, &there, NULL) == 0) {
        library_item_done(&there);
        return err_set(e, ERR_EXISTS, "a model is called %s already", to);
    }
    int rc = library_find(l, from, &it, e);
    if (rc == 0) {
        base = it.base;
        it.base = NULL;
        rc = take_item(l, &b, &it, NULL, e);
    }
    if (rc == 0)
        rc = adopt_all(l, &b, to, base, NULL, e);
    library_item_done(&it);
    base_done(&b);
    free(base);
    return rc;
}
