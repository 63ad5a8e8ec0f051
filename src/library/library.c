/* library.c: opening, listing, finding and removing models. What is on disk is the truth: nothing
 * is cached, so two processes never disagree for longer than a call. */
#include "library_int.h"

#include "buf.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_MODELS 10000
#define NEAR 3 /* an edit distance up to which a name is suggested */

/* A child runs in another folder, so every path must hold there too. */
static char *absolute(const char *path)
{
    if (path[0] == '/')
        return strdup(path);
    char *cwd = getcwd(NULL, 0);
    char *full = cwd ? lib_path("%s/%s", cwd, path) : NULL;
    free(cwd);
    return full;
}

int library_open(const struct library_params *p, struct library **out, struct err *e)
{
    if (sodium_init() < 0)
        return err_set(e, ERR_INTERNAL, "libsodium does not start");
    struct library *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for the library");
    l->home = absolute(p->home);
    l->models = l->home ? lib_path("%s/models", l->home) : NULL;
    l->partial = l->models ? lib_path("%s/.partial", l->models) : NULL;
    l->local_dir = p->local_dir ? absolute(p->local_dir) : NULL;
    l->fetch = p->fetch;
    l->catalogue = p->catalogue;
    l->ncatalogue = p->ncatalogue;
    if (!l->catalogue)
        l->catalogue = library_catalogue(&l->ncatalogue);
    if (!l->partial || (p->local_dir && !l->local_dir)) {
        library_free(l);
        return err_set(e, ERR_NOMEM, "no memory for the library");
    }
    *out = l;
    return 0;
}

void library_free(struct library *l)
{
    if (!l)
        return;
    free(l->home);
    free(l->models);
    free(l->partial);
    free(l->local_dir);
    free(l);
}

/* ---- items ---- */

void library_item_done(struct library_item *it)
{
    if (!it)
        return;
    free(it->name);
    free(it->path);
    free(it->sha256);
    free(it->source);
    free(it->licence);
    *it = (struct library_item){0};
}

void library_list_done(struct library_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->n; i++)
        library_item_done(&list->items[i]);
    free(list->items);
    *list = (struct library_list){0};
}

static int make_item(const char *name, const char *path, uint64_t size, struct library_item *out,
                     struct err *e)
{
    struct library_item it = {strdup(name), strdup(path), strdup(""), strdup(""), strdup(""), size};
    if (!it.name || !it.path || !it.sha256 || !it.source || !it.licence) {
        library_item_done(&it);
        return err_set(e, ERR_NOMEM, "no memory for %s", name);
    }
    *out = it;
    return 0;
}

int lib_item_file(const struct library *l, const char *name, struct library_item *out,
                  struct err *e)
{
    if (!lib_name_valid(str_of(name)))
        return err_set(e, ERR_NOT_FOUND, "no model %s", name);
    char *path = lib_path("%s/%s.gguf", l->models, name);
    char *record = lib_path("%s/%s.json", l->models, name);
    uint64_t size;
    int rc;
    if (!path || !record)
        rc = err_set(e, ERR_NOMEM, "no memory for %s", name);
    else if (lib_file_size(path, &size) != 0)
        rc = err_set(e, ERR_NOT_FOUND, "no model %s", name);
    else
        rc = make_item(name, path, size, out, e);
    if (rc == 0) {
        out->managed = true;
        lib_record_read(record, out);
    }
    free(path);
    free(record);
    return rc;
}

/* A split model bears the name its parts have before their numbers. */
int lib_item_installed(const struct library *l, const char *name, struct library_item *out,
                       struct err *e)
{
    char stem[NAME_MAX_BYTES + 1];
    uint32_t no, count;
    if (lib_split_name(name, stem, &no, &count))
        name = stem;
    int rc = lib_item_file(l, name, out, e);
    return rc == ERR_NOT_FOUND ? lib_split_item(l, name, out, e) : rc;
}

static int add_item(const struct library *l, struct library_list *list, const char *file,
                    struct err *e)
{
    char *name = strndup(file, strlen(file) - strlen(".gguf"));
    struct library_item *items =
        list->n < MAX_MODELS ? realloc(list->items, (list->n + 1) * sizeof *items) : NULL;
    if (items)
        list->items = items;
    int rc = name && items ? lib_item_installed(l, name, &list->items[list->n], e)
                           : err_set(e, ERR_NOMEM, "%s: too many models", l->models);
    free(name);
    if (rc == 0)
        list->n++;
    return rc == ERR_NOT_FOUND ? 0 : rc; /* no regular file, or no name of ours */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct library_item *)a)->name, ((const struct library_item *)b)->name);
}

int library_list(const struct library *l, struct library_list *out, struct err *e)
{
    struct library_list list = {0};
    DIR *d = opendir(l->models);
    if (!d && errno != ENOENT)
        return err_set(e, ERR_IO, "%s: %s", l->models, strerror(errno));
    int rc = 0;
    for (struct dirent *ent; d && rc == 0 && (ent = readdir(d));)
        if (str_ends(str_of(ent->d_name), STR(".gguf")) && !lib_is_later_part(ent->d_name))
            rc = add_item(l, &list, ent->d_name, e);
    if (d)
        closedir(d);
    if (rc != 0) {
        library_list_done(&list);
        return rc;
    }
    if (list.n)
        qsort(list.items, list.n, sizeof *list.items, by_name);
    *out = list;
    return 0;
}

/* ---- finding ---- */

const struct library_entry *library_entry_find(const struct library *l, const char *name)
{
    for (size_t i = 0; i < l->ncatalogue; i++) {
        const struct library_entry *en = &l->catalogue[i];
        if (str_ieq(str_of(name), str_of(en->name)))
            return en;
        for (int k = 0; k < 4 && en->aliases[k]; k++)
            if (str_ieq(str_of(name), str_of(en->aliases[k])))
                return en;
    }
    return NULL;
}

/* "smollm2" stands for "smollm2:135m" where that is the only one. Index, or -1 none, -2 several. */
static int find_without_tag(const struct library_list *list, const char *name)
{
    int found = -1;
    size_t n = strlen(name);
    for (size_t i = 0; i < list->n; i++)
        if (strncasecmp(list->items[i].name, name, n) == 0 && list->items[i].name[n] == ':')
            found = found == -1 ? (int)i : -2;
    return found;
}

static void suggest(const struct library *l, const struct library_list *list, const char *name,
                    struct buf *out)
{
    int n = 0;
    for (size_t i = 0; i < list->n && n < 5; i++)
        if (lib_name_distance(name, list->items[i].name) <= NEAR)
            buf_printf(out, "%s%s", n++ ? ", " : "; near: ", list->items[i].name);
    for (size_t i = 0; i < l->ncatalogue && n < 5; i++)
        if (lib_name_distance(name, l->catalogue[i].name) <= NEAR)
            buf_printf(out, "%s%s (weir pull gets it)",
                       n++ ? ", " : "; near: ", l->catalogue[i].name);
}

static int not_found(const struct library *l, const char *name, const struct library_list *list,
                     struct err *e)
{
    const struct library_entry *en = library_entry_find(l, name);
    if (en)
        return err_set(e, ERR_NOT_FOUND, "%s is not here yet: \"weir pull %s\" gets it (%.0f MiB)",
                       en->name, en->name, (double)en->size / 1048576);
    struct buf hints = BUF_INIT(300);
    suggest(l, list, name, &hints);
    int rc = err_set(e, ERR_NOT_FOUND, "no model %s%s", name, hints.p ? hints.p : "");
    buf_done(&hints);
    return rc;
}

static int find_loosely(const struct library *l, const char *name, struct library_item *out,
                        struct err *e)
{
    struct library_list list = {0};
    int rc = library_list(l, &list, e);
    if (rc != 0)
        return rc;
    int i = find_without_tag(&list, name);
    for (size_t k = 0; i == -1 && k < list.n; k++)
        if (strcasecmp(list.items[k].name, name) == 0)
            i = (int)k;
    if (i >= 0) {
        *out = list.items[i];
        list.items[i] = (struct library_item){0};
    } else if (i == -2) {
        rc = err_set(e, ERR_NOT_FOUND, "several models are called %s: say which tag", name);
    } else {
        rc = not_found(l, name, &list, e);
    }
    library_list_done(&list);
    return rc;
}

static int find_path(const char *path, struct library_item *out, struct err *e)
{
    uint64_t size;
    if (lib_file_size(path, &size) != 0)
        return err_set(e, ERR_NOT_FOUND, "no file %s", path);
    size = lib_split_size(path, size);
    return make_item(path, path, size, out, e);
}

int library_find(const struct library *l, const char *name_or_path, struct library_item *out,
                 struct err *e)
{
    if (lib_is_path(name_or_path))
        return find_path(name_or_path, out, e);
    const struct library_entry *en = library_entry_find(l, name_or_path);
    int rc = lib_item_installed(l, name_or_path, out, e);
    if (rc == ERR_NOT_FOUND && en)
        rc = lib_item_installed(l, en->name, out, e);
    return rc == ERR_NOT_FOUND ? find_loosely(l, name_or_path, out, e) : rc;
}

/* ---- removing ---- */

static int remove_locked(struct lib_job *j)
{
    unlink(j->record);
    unlink(j->part);
    unlink(j->meta);
    if (unlink(j->model) != 0)
        return err_set(j->e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot remove: %s",
                       j->model, strerror(errno));
    return 0;
}

static int remove_one(const struct library *l, const char *name, struct err *e)
{
    struct lib_job j;
    int rc = lib_job_init(&j, l, name, e);
    if (rc == 0)
        rc = lib_lock(&j, false);
    if (rc == 0)
        rc = remove_locked(&j);
    lib_job_done(&j);
    return rc;
}

/* The first part goes first: without it there is no model. */
static int remove_parts(const struct library *l, const char *name, uint32_t count, struct err *e)
{
    char part[NAME_MAX_BYTES + 1];
    int rc = 0;
    for (uint32_t i = 1; i <= count && rc == 0; i++) {
        rc = lib_split_part(name, i, count, part, e);
        if (rc == 0)
            rc = remove_one(l, part, e);
        rc = rc == ERR_NOT_FOUND && i > 1 ? 0 : rc;
    }
    return rc;
}

int library_remove(const struct library *l, const char *name, struct err *e)
{
    struct library_item it = {0};
    char stem[NAME_MAX_BYTES + 1];
    uint32_t no, count;
    if (lib_is_path(name))
        return err_set(e, ERR_INVAL, "%s is a path: only models of the library are removed", name);
    int rc = library_find(l, name, &it, e);
    if (rc != 0)
        return rc;
    rc = lib_split_file(it.path, stem, &no, &count) ? remove_parts(l, it.name, count, e)
                                                    : remove_one(l, it.name, e);
    library_item_done(&it);
    return rc;
}
