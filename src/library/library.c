/* library.c: opening, listing and removing models. What is on disk is the truth: nothing
 * is cached, so two processes never disagree for longer than a call. */
#include "library_int.h"

#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_MODELS 10000
#define STILL_MS 1000 /* coarser than any file system's clock that we know, but FAT's */

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

/* A base URL without its last slash. */
static bool take_base(char **out, const char *url)
{
    size_t n = url ? strlen(url) : 0;
    while (n && url[n - 1] == '/')
        n--;
    *out = n ? strndup(url, n) : NULL;
    return n == 0 || *out;
}

static bool take_path(char **out, const char *path)
{
    *out = path && *path ? absolute(path) : NULL;
    return !path || !*path || *out;
}

static bool take_sources(struct library *l, const struct library_params *p)
{
    struct str secret = str_trim(str_of(p->hub_token)); /* out of a file it ends in a newline */
    bool token = secret.n > 0;
    l->hub_auth = token ? lib_path("Authorization: Bearer %.*s", STR_ARG(secret)) : NULL;
    return take_base(&l->registry, p->registry) && take_base(&l->hub, p->hub) &&
           take_path(&l->user_home, p->user_home) &&
           take_path(&l->ollama_models, p->ollama_models) && (!token || l->hub_auth);
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
    l->blobs = l->models ? lib_path("%s/.blobs", l->models) : NULL;
    l->local_dir = p->local_dir ? absolute(p->local_dir) : NULL;
    l->fetch = p->fetch;
    l->catalogue = p->catalogue;
    l->ncatalogue = p->ncatalogue;
    if (!l->catalogue)
        l->catalogue = library_catalogue(&l->ncatalogue);
    if (!l->blobs || (p->local_dir && !l->local_dir) || !take_sources(l, p)) {
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
    free(l->blobs);
    free(l->registry);
    free(l->hub);
    free(l->hub_auth);
    free(l->user_home);
    free(l->ollama_models);
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
    free(it->base);
    free(it->note);
    library_texts_done(&it->texts);
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

int lib_item_make(const char *name, const char *path, uint64_t size, struct library_item *out,
                  struct err *e)
{
    struct library_item it = {.name = strdup(name),
                              .path = strdup(path),
                              .sha256 = strdup(""),
                              .source = strdup(""),
                              .licence = strdup(""),
                              .base = strdup(""),
                              .note = strdup(""),
                              .size = size,
                              .store = ""};
    if (!it.name || !it.path || !it.sha256 || !it.source || !it.licence || !it.base || !it.note ||
        lib_texts_fill(&it.texts) != 0) {
        library_item_done(&it);
        return err_set(e, ERR_NOMEM, "no memory for %s", name);
    }
    *out = it;
    return 0;
}

int lib_item_file(const struct library *l, const char *name, struct library_item *out,
                  struct err *e)
{
    char file[NAME_MAX_BYTES + 1];
    if (!lib_name_valid(str_of(name)))
        return err_set(e, ERR_NOT_FOUND, "no model %s", name);
    lib_name_encode(name, file);
    char *path = lib_path("%s/%s.gguf", l->models, file);
    char *record = lib_path("%s/%s.json", l->models, file);
    uint64_t size;
    int rc = path && record ? 0 : err_set(e, ERR_NOMEM, "no memory for %s", name);
    if (rc == 0 && lib_file_size(path, &size) != 0) {
        free(path);
        path = lib_record_target(record);
        if (!path || lib_file_size(path, &size) != 0)
            rc = err_set(e, ERR_NOT_FOUND, "no model %s", name);
        else
            size = lib_split_size(path, size);
    }
    if (rc == 0)
        rc = lib_item_make(name, path, size, out, e);
    if (rc == 0) {
        out->managed = true;
        out->store = "weir";
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

int lib_list_add(struct library_list *list, struct library_item *it, struct err *e)
{
    struct library_item *items =
        list->n < MAX_MODELS ? realloc(list->items, (list->n + 1) * sizeof *items) : NULL;
    if (!items) {
        library_item_done(it);
        return err_set(e, ERR_NOMEM, "too many models");
    }
    list->items = items;
    items[list->n++] = *it;
    return 0;
}

/* file: "NAME.gguf", or the record of a model whose weights lie elsewhere. */
static int add_item(const struct library *l, struct library_list *list, const char *file,
                    struct err *e)
{
    struct library_item it = {0};
    char *name = strndup(file, strlen(file) - strlen(".gguf"));
    if (!name)
        return err_set(e, ERR_NOMEM, "no memory for the list of models");
    lib_name_decode(name);
    int rc = lib_item_installed(l, name, &it, e);
    free(name);
    if (rc == 0)
        return lib_list_add(list, &it, e);
    return rc == ERR_NOT_FOUND ? 0 : rc; /* no regular file, or no name of ours */
}

/* A record without a file beside it: of a model that points elsewhere, or left over. */
static bool is_pointer(const struct library *l, const char *file)
{
    uint64_t size;
    size_t n = strlen(file);
    if (!str_ends(str_of(file), STR(".json")) || file[0] == '.')
        return false;
    char *model = lib_path("%s/%.*s.gguf", l->models, (int)(n - 5), file);
    bool alone = model && lib_file_size(model, &size) != 0;
    free(model);
    return alone;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct library_item *)a)->name, ((const struct library_item *)b)->name);
}

int lib_list_own(const struct library *l, struct library_list *out, struct err *e)
{
    struct library_list list = {0};
    DIR *d = opendir(l->models);
    if (!d && errno != ENOENT)
        return err_set(e, ERR_IO, "%s: %s", l->models, strerror(errno));
    int rc = 0;
    for (struct dirent *ent; d && rc == 0 && (ent = readdir(d));)
        if ((str_ends(str_of(ent->d_name), STR(".gguf")) && !lib_is_later_part(ent->d_name)) ||
            is_pointer(l, ent->d_name))
            rc = add_item(l, &list, ent->d_name, e);
    if (d)
        closedir(d);
    if (rc != 0)
        library_list_done(&list);
    else
        *out = list;
    return rc;
}

int library_list(const struct library *l, struct library_list *out, struct err *e)
{
    struct library_list list = {0};
    int rc = lib_list_own(l, &list, e);
    if (rc == 0)
        rc = lib_stores_add(l, &list, e);
    if (rc != 0) {
        library_list_done(&list);
        return rc;
    }
    if (list.n)
        qsort(list.items, list.n, sizeof *list.items, by_name);
    *out = list;
    return 0;
}

uint64_t library_stamp(const struct library *l)
{
    struct lib_stamp s = {0};
    hash_init(&s.hash, 0);
    lib_stamp_folder(l->models, 0, &s);
    lib_stores_stamp(l, &s);
    int64_t age = clock_wall_ms() - s.newest_ms;
    return age >= 0 && age < STILL_MS ? 0 : hash_end(&s.hash) | 1;
}

/* ---- removing ---- */

static int remove_locked(struct lib_job *j)
{
    bool pointed = unlink(j->record) == 0;
    unlink(j->part);
    unlink(j->meta);
    if (unlink(j->model) != 0 && !(errno == ENOENT && pointed))
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

/* In the folder of weir, not only pointed to from there. */
static bool is_own(const struct library *l, const char *path)
{
    size_t n = strlen(l->models);
    return strncmp(path, l->models, n) == 0 && path[n] == '/';
}

static int refuse_remove(const struct library_item *it, struct err *e)
{
    if (!it->store[0])
        return err_set(e, ERR_INVAL, "%s is a path: only models of the library are removed",
                       it->name);
    bool ollama = strcmp(it->store, "ollama") == 0;
    return err_set(e, ERR_POLICY,
                   "%s lies in %s's own store: weir removes only what is its own (%s)", it->name,
                   ollama ? "Ollama" : "LM Studio",
                   ollama ? "\"ollama rm\" removes it" : "LM Studio removes it");
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
    if (!it.managed)
        rc = refuse_remove(&it, e);
    else if (is_own(l, it.path) && lib_split_file(it.path, stem, &no, &count))
        rc = remove_parts(l, it.name, count, e);
    else
        rc = remove_one(l, it.name, e);
    library_item_done(&it);
    return rc;
}
