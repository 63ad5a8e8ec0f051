/* library_find.c: a model by what a person, or another program, calls it: its name, a name without
 * its tag, an alias of the catalogue, the last part of a long name, a path. Weir's own come before
 * those of other stores. What is not found is told with what is near. */
#include "library_int.h"

#include "buf.h"

#include <stdio.h>

#define NEAR 3 /* an edit distance up to which a name is suggested */

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

/* "smollm2" stands for "smollm2:135m" where that is the only one, and for "smollm2:latest" where
 * there is one. Index, or -1 none, -2 several. */
static int find_without_tag(const struct library_list *list, const char *name)
{
    int found = -1;
    size_t n = strlen(name);
    for (size_t i = 0; i < list->n; i++) {
        const char *its = list->items[i].name;
        if (strncasecmp(its, name, n) != 0 || its[n] != ':')
            continue;
        if (strcmp(its + n, ":latest") == 0)
            return (int)i;
        found = found == -1 ? (int)i : -2;
    }
    return found;
}

/* The last part of a long name: the file of a folder of LM Studio's. */
static int find_last_part(const struct library_list *list, const char *name)
{
    int found = -1;
    for (size_t i = 0; i < list->n; i++) {
        const char *slash = strrchr(list->items[i].name, '/');
        if (slash && strcasecmp(slash + 1, name) == 0)
            found = found == -1 ? (int)i : -2;
    }
    return found;
}

/* "PUBLISHER/REPO" where that folder holds one model. */
static int find_folder(const struct library_list *list, const char *name)
{
    int found = -1;
    size_t n = strlen(name);
    for (size_t i = 0; i < list->n; i++)
        if (strncasecmp(list->items[i].name, name, n) == 0 && list->items[i].name[n] == '/')
            found = found == -1 ? (int)i : -2;
    return found;
}

static int find_exact(const struct library_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcasecmp(list->items[i].name, name) == 0)
            return (int)i;
    return -1;
}

static int find_in(const struct library_list *list, const char *name)
{
    int i = find_exact(list, name);
    if (i == -1)
        i = find_without_tag(list, name);
    if (i == -1)
        i = find_last_part(list, name);
    return i == -1 && strchr(name, '/') ? find_folder(list, name) : i;
}

/* Without a tag it is compared with what stands before theirs. */
static bool is_near(const char *name, const char *its)
{
    char bare[NAME_MAX_BYTES + 1];
    if (lib_name_distance(name, its) <= NEAR)
        return true;
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(its, ":"), its);
    return !strchr(name, ':') && lib_name_distance(name, bare) < NEAR;
}

static void suggest(const struct library *l, const struct library_list *list, const char *name,
                    struct buf *out)
{
    int n = 0;
    for (size_t i = 0; i < list->n && n < 5; i++)
        if (is_near(name, list->items[i].name))
            buf_printf(out, "%s%s", n++ ? ", " : "; near: ", list->items[i].name);
    for (size_t i = 0; i < l->ncatalogue && n < 5; i++)
        if (is_near(name, l->catalogue[i].name))
            buf_printf(out, "%s%s (weir pull gets it)",
                       n++ ? ", " : "; near: ", l->catalogue[i].name);
}

void lib_near(const struct library *l, const char *name, struct buf *out)
{
    struct library_list list = {0};
    char bare[NAME_MAX_BYTES + 1];
    struct str s = str_of(name);
    size_t n = str_ends(s, STR(":latest")) ? s.n - 7 : s.n;
    snprintf(bare, sizeof bare, "%.*s", (int)n, name);
    if (library_list(l, &list, NULL) == 0)
        suggest(l, &list, bare, out);
    library_list_done(&list);
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
    int rc = err_set(e, ERR_NOT_FOUND, "model '%s' not found%s", name, hints.p ? hints.p : "");
    buf_done(&hints);
    return rc;
}

/* What is typed for a model of the hub or a registry, as the name it has here: "" if it is none. */
static void plain_name(const char *typed, char name[NAME_MAX_BYTES + 1])
{
    struct lib_ref ref = {0};
    name[0] = '\0';
    if (lib_ref_parse(typed, &ref, NULL) != 0 || ref.kind == LIB_REF_NONE || ref.file[0])
        return;
    if (lib_ref_name(&ref, NULL, name, NULL) != 0)
        name[0] = '\0';
}

/* "NAME:latest" is what other programs call NAME. */
static int find_latest(const struct library_list *list, const char *name)
{
    struct str s = str_of(name);
    char bare[NAME_MAX_BYTES + 1];
    if (!str_ends(s, STR(":latest")) || s.n - 7 >= sizeof bare)
        return -1;
    snprintf(bare, sizeof bare, "%.*s", (int)(s.n - 7), name);
    return find_in(list, bare);
}

static int find_loosely(const struct library *l, const char *name, const char *also,
                        struct library_item *out, struct err *e)
{
    struct library_list list = {0};
    char plain[NAME_MAX_BYTES + 1];
    int rc = library_list(l, &list, e);
    if (rc != 0)
        return rc;
    int i = find_in(&list, name);
    if (i < 0 && also)
        i = find_exact(&list, also);
    plain_name(name, plain);
    if (i == -1 && plain[0])
        i = find_in(&list, plain);
    if (i == -1)
        i = find_latest(&list, name);
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
    return lib_item_make(path, path, size, out, e);
}

/* PUBLISHER/REPO/FILE.gguf, as LM Studio names its models. */
static int find_file_name(const struct library *l, const char *typed, struct library_item *out)
{
    struct library_list list = {0};
    struct str s = str_of(typed);
    char bare[1024];
    int i = -1;
    if (typed[0] == '/' || typed[0] == '.' || s.n <= 5 || s.n >= sizeof bare ||
        library_list(l, &list, NULL) != 0)
        return ERR_NOT_FOUND;
    snprintf(bare, sizeof bare, "%.*s", (int)(s.n - 5), typed);
    if (str_ends(s, STR(".gguf")))
        i = find_exact(&list, bare);
    if (i >= 0) {
        *out = list.items[i];
        list.items[i] = (struct library_item){0};
    }
    library_list_done(&list);
    return i >= 0 ? 0 : ERR_NOT_FOUND;
}

int library_find(const struct library *l, const char *name_or_path, struct library_item *out,
                 struct err *e)
{
    uint64_t size;
    if (lib_is_path(name_or_path) && !lib_is_url(name_or_path)) {
        int rc = find_path(name_or_path, out, e);
        return rc == ERR_NOT_FOUND && find_file_name(l, name_or_path, out) == 0 ? 0 : rc;
    }
    const struct library_entry *en = library_entry_find(l, name_or_path);
    int rc = lib_item_installed(l, name_or_path, out, e);
    if (rc == ERR_NOT_FOUND && en)
        rc = lib_item_installed(l, en->name, out, e);
    if (rc == ERR_NOT_FOUND)
        rc = find_loosely(l, name_or_path, en ? en->name : NULL, out, e);
    /* A path without a dot before it: "models/tiny". */
    if (rc == ERR_NOT_FOUND && strchr(name_or_path, '/') && lib_file_size(name_or_path, &size) == 0)
        rc = find_path(name_or_path, out, e);
    return rc;
}
