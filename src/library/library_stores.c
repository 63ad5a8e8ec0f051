/* library_stores.c: models that other programs keep on this machine, listed and opened where they
 * lie and never written to.
 *
 *   Ollama     STORE/manifests/HOST/NAMESPACE/NAME/TAG    a manifest (library_manifest.c)
 *              STORE/blobs/sha256-<64 hex>                what it names
 *              STORE: $OLLAMA_MODELS, ~/.ollama/models, /usr/share/ollama/.ollama/models
 *   LM Studio  STORE/PUBLISHER/REPO/FILE.gguf
 *              STORE: ~/.lmstudio/models, ~/.cache/lm-studio/models, and what `downloadsFolder` of
 *              ~/.lmstudio/settings.json names
 *
 * Whatever is unreadable, half there or not understood is left out: it is another program's
 * business, and no reason to hide the rest. */
#include "library_int.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_MAX ((size_t)1 << 20)
#define ENTRIES_MAX 4096 /* of one folder */

struct scan {
    const struct library *l;
    struct library_list *list;
    struct err *e;
    const char *root;
    int rc; /* no memory: the end */
};

/* The names in a folder that do not begin with a dot, sorted; NULL-terminated. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

static char **names_in(const char *folder)
{
    DIR *d = opendir(folder);
    char **names = d ? calloc(ENTRIES_MAX + 1, sizeof *names) : NULL;
    size_t n = 0;
    for (struct dirent *ent; names && n < ENTRIES_MAX && (ent = readdir(d));)
        if (ent->d_name[0] != '.' && (names[n] = strdup(ent->d_name)))
            n++;
    if (d)
        closedir(d);
    if (n)
        qsort(names, n, sizeof *names, by_text);
    return names;
}

/* Calls fn for what lies `depth` folders down, with the names on the way: at most four. */
static void walk(struct scan *s, const char *folder, char *parts[4], int have, int depth,
                 void (*fn)(struct scan *s, const char *path, char *parts[4]))
{
    char **names = names_in(folder);
    for (size_t i = 0; names && names[i] && s->rc == 0; i++) {
        char *path = lib_path("%s/%s", folder, names[i]);
        parts[have] = names[i];
        if (path && have + 1 == depth)
            fn(s, path, parts);
        else if (path)
            walk(s, path, parts, have + 1, depth, fn);
        free(path);
    }
    names_free(names);
}

static bool taken(const struct library_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcasecmp(list->items[i].name, name) == 0)
            return true;
    return false;
}

/* ---- Ollama ---- */

/* A whole small file; malloc'd, NUL-terminated. NULL: there is none such. */
static char *read_small(const char *path, size_t max, size_t *n)
{
    uint64_t size;
    FILE *f = lib_file_size(path, &size) == 0 && size <= max ? fopen(path, "rbe") : NULL;
    char *p = f ? malloc((size_t)size + 1) : NULL;
    *n = p ? fread(p, 1, (size_t)size, f) : 0;
    if (p)
        p[*n] = '\0';
    if (f)
        fclose(f);
    return p;
}

static char *blob_path(const char *root, const char *hex)
{
    return lib_path("%s/blobs/sha256-%s", root, hex);
}

/* "registry.ollama.ai/library/qwen3/0.6b" is qwen3:0.6b to a person. */
static void ollama_name(char *parts[4], char name[NAME_MAX_BYTES + 1])
{
    struct lib_ref ref = {0};
    char typed[1024];
    name[0] = '\0';
    int n = snprintf(typed, sizeof typed, "%s/%s/%s:%s", parts[0], parts[1], parts[2], parts[3]);
    if (n >= (int)sizeof typed || lib_ref_parse(typed, &ref, NULL) != 0 ||
        ref.kind == LIB_REF_NONE || ref.file[0])
        return;
    if (lib_ref_name(&ref, parts[3], name, NULL) != 0)
        name[0] = '\0';
}

static void take_texts(const char *root, const struct lib_manifest *m, struct library_item *it)
{
    struct library_texts texts = {0};
    for (size_t i = 0; i < m->ntexts; i++) {
        enum lib_text kind = m->texts[i].kind;
        size_t n = 0;
        char *path = blob_path(root, m->texts[i].layer.sha256);
        char *body = path ? read_small(path, lib_text_max(kind), &n) : NULL;
        if (body && n == m->texts[i].layer.size)
            lib_text_set(&texts, kind, str_n(body, n), it->name, NULL);
        free(body);
        free(path);
    }
    if (lib_texts_fill(&texts) != 0) {
        library_texts_done(&texts);
        return;
    }
    library_texts_done(&it->texts);
    it->texts = texts;
    char title[81];
    lib_licence_title(texts.licence_text, title);
    char *licence = strdup(title);
    if (licence) {
        free(it->licence);
        it->licence = licence;
    }
}

static bool replace(char **slot, char *with)
{
    if (!with)
        return false;
    free(*slot);
    *slot = with;
    return true;
}

static void add_manifest(struct scan *s, const char *manifest, char *parts[4])
{
    struct lib_manifest m;
    struct library_item it;
    char name[NAME_MAX_BYTES + 1];
    size_t n = 0;
    uint64_t size = 0;
    struct stat st;
    ollama_name(parts, name);
    char *text = name[0] ? read_small(manifest, MANIFEST_MAX, &n) : NULL;
    bool ok = text && lib_manifest_parse(str_n(text, n), name, &m, NULL) == 0;
    free(text);
    if (!ok || taken(s->list, name))
        return;
    char *blob = blob_path(s->root, m.model.sha256);
    if (blob && lib_file_size(blob, &size) == 0 && size == m.model.size &&
        access(blob, R_OK) == 0) {
        s->rc = lib_item_make(name, blob, size, &it, s->e);
        if (s->rc == 0) {
            it.store = "ollama";
            it.added_ms = stat(manifest, &st) == 0 ? (int64_t)st.st_mtime * 1000 : 0;
            take_texts(s->root, &m, &it);
            replace(&it.sha256, strdup(m.model.sha256));
            replace(&it.source, lib_path("Ollama's store, %s", s->root));
            if (m.has_projector)
                replace(&it.note, strdup("it reads images with a projector, which weir does not "
                                         "use: it takes text alone"));
            s->rc = lib_list_add(s->list, &it, s->e);
        }
    }
    free(blob);
}

/* ---- LM Studio ---- */

static void add_file(struct scan *s, const char *path, char *parts[4])
{
    struct library_item it;
    char name[1024], stem[NAME_MAX_BYTES + 1];
    struct str file = str_of(parts[2]);
    uint64_t size = 0;
    uint32_t no = 1, count = 1;
    struct stat st;
    if (file.n < 6 || !str_ieq(str_n(file.p + file.n - 5, 5), STR(".gguf")) ||
        lib_is_projector(path) || lib_is_later_part(parts[2]) || lib_file_size(path, &size) != 0 ||
        access(path, R_OK) != 0)
        return;
    file.n -= 5;
    if (lib_split_file(parts[2], stem, &no, &count))
        file = str_of(stem);
    int n = snprintf(name, sizeof name, "%s/%s/%.*s", parts[0], parts[1], STR_ARG(file));
    if (n >= (int)sizeof name || taken(s->list, name))
        return;
    s->rc = lib_item_make(name, path, lib_split_size(path, size), &it, s->e);
    if (s->rc == 0) {
        it.store = "lmstudio";
        it.added_ms = stat(path, &st) == 0 ? (int64_t)st.st_mtime * 1000 : 0;
        replace(&it.source, lib_path("LM Studio's store, %s", s->root));
        s->rc = lib_list_add(s->list, &it, s->e);
    }
}

/* ---- all of them ---- */

/* Where a person has told LM Studio to keep its models; malloc'd. */
static char *studio_setting(const struct library *l)
{
    size_t n = 0;
    char *folder = NULL, *path = lib_path("%s/.lmstudio/settings.json", l->user_home);
    char *text = path ? read_small(path, MANIFEST_MAX, &n) : NULL;
    json_t *root = text ? json_loadb(text, n, 0, NULL) : NULL;
    const char *said = json_string_value(json_object_get(root, "downloadsFolder"));
    if (said && said[0] == '/')
        folder = strdup(said);
    json_decref(root);
    free(text);
    free(path);
    return folder;
}

#define STUDIOS 3
static char *studio_root(const struct library *l, int i)
{
    if (!l->user_home)
        return NULL;
    switch (i) {
    case 0: return lib_path("%s/.lmstudio/models", l->user_home);
    case 1: return lib_path("%s/.cache/lm-studio/models", l->user_home);
    default: return studio_setting(l);
    }
}

#define OLLAMAS 3
static char *ollama_root(const struct library *l, int i)
{
    switch (i) {
    case 0: return l->ollama_models ? strdup(l->ollama_models) : NULL;
    case 1: return l->user_home ? lib_path("%s/.ollama/models", l->user_home) : NULL;
    default: return l->user_home ? strdup("/usr/share/ollama/.ollama/models") : NULL;
    }
}

int lib_stores_add(const struct library *l, struct library_list *list, struct err *e)
{
    struct scan s = {.l = l, .list = list, .e = e};
    char *parts[4];
    for (int i = 0; i < OLLAMAS && s.rc == 0; i++) {
        char *root = ollama_root(l, i), *manifests = root ? lib_path("%s/manifests", root) : NULL;
        s.root = root;
        if (manifests)
            walk(&s, manifests, parts, 0, 4, add_manifest);
        free(manifests);
        free(root);
    }
    for (int i = 0; i < STUDIOS && s.rc == 0; i++) {
        char *root = studio_root(l, i);
        s.root = root;
        if (root)
            walk(&s, root, parts, 0, 3, add_file);
        free(root);
    }
    return s.rc;
}

void lib_stamp_folder(const char *path, int depth, struct lib_stamp *s)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return;
    int64_t ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    s->newest_ms = ms > s->newest_ms ? ms : s->newest_ms;
    hash_add(&s->hash, &st.st_ino, sizeof st.st_ino);
    hash_add(&s->hash, &st.st_mtim, sizeof st.st_mtim);
    char **names = depth > 0 ? names_in(path) : NULL;
    for (size_t i = 0; names && names[i]; i++) {
        char *sub = lib_path("%s/%s", path, names[i]);
        if (sub)
            lib_stamp_folder(sub, depth - 1, s);
        free(sub);
    }
    names_free(names);
}

void lib_stores_stamp(const struct library *l, struct lib_stamp *s)
{
    for (int i = 0; i < OLLAMAS; i++) {
        char *root = ollama_root(l, i), *path = root ? lib_path("%s/manifests", root) : NULL;
        if (path)
            lib_stamp_folder(path, 3, s);
        free(path);
        free(root);
    }
    for (int i = 0; i < STUDIOS; i++) {
        char *path = studio_root(l, i);
        if (path)
            lib_stamp_folder(path, 2, s);
        free(path);
    }
}

char *lib_stores_blob(const struct library *l, const char *hex)
{
    uint64_t size;
    for (int i = 0; i < OLLAMAS; i++) {
        char *root = ollama_root(l, i), *path = root ? blob_path(root, hex) : NULL;
        free(root);
        if (path && lib_file_size(path, &size) == 0 && access(path, R_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}
