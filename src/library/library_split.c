/* library_split.c: models in several files, NAME-00001-of-00003.gguf and so on. Each part is
 * pulled, checked, recorded and locked like a model of its own; to a person they are one model,
 * called NAME, that is there as soon as its first part is, which is why a pull brings that one
 * last. */
#include "library_int.h"

#include "gguf.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

/* How many bytes of a URL or path are its path, without query and fragment. */
static struct str path_of(const char *s)
{
    return str_n(s, lib_is_url(s) ? strcspn(s, "?#") : strlen(s));
}

bool lib_split_is(const char *path_or_url, uint32_t *count)
{
    uint32_t no;
    struct str stem;
    return gguf_part_name(path_of(path_or_url), &no, count, &stem) && *count > 1;
}

char *lib_split_sibling(const char *what, uint32_t no, uint32_t count)
{
    struct str path = path_of(what), stem;
    uint32_t was, of;
    if (!gguf_part_name(path, &was, &of, &stem))
        return strdup(what);
    return lib_path("%.*s-%05u-of-%05u.gguf%s", STR_ARG(stem), no, count, what + path.n);
}

bool lib_split_file(const char *path, char stem[NAME_MAX_BYTES + 1], uint32_t *no, uint32_t *count)
{
    struct str s;
    if (!gguf_part_name(str_of(path), no, count, &s) || *count < 2)
        return false;
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '/') {
            s = str_n(s.p + i + 1, s.n - i - 1);
            break;
        }
    if (s.n > NAME_MAX_BYTES)
        return false;
    memcpy(stem, s.p, s.n);
    stem[s.n] = '\0';
    lib_name_decode(stem);
    return lib_name_valid(str_of(stem));
}

bool lib_split_name(const char *name, char stem[NAME_MAX_BYTES + 1], uint32_t *no, uint32_t *count)
{
    char coded[NAME_MAX_BYTES + 1], file[NAME_MAX_BYTES + 6];
    if (strlen(name) > NAME_MAX_BYTES)
        return false;
    lib_name_encode(name, coded);
    snprintf(file, sizeof file, "%s.gguf", coded);
    return lib_split_file(file, stem, no, count);
}

int lib_split_part(const char *stem, uint32_t no, uint32_t count, char name[NAME_MAX_BYTES + 1],
                   struct err *e)
{
    int n = snprintf(name, NAME_MAX_BYTES + 1, "%s-%05u-of-%05u", stem, no, count);
    return n <= NAME_MAX_BYTES
               ? 0
               : err_set(e, ERR_INVAL, "%s is too long for a model in %u files", stem, count);
}

bool lib_is_later_part(const char *file)
{
    char stem[NAME_MAX_BYTES + 1];
    uint32_t no, count;
    return lib_split_file(file, stem, &no, &count) && no > 1;
}

uint64_t lib_split_size(const char *path, uint64_t size)
{
    uint32_t count = 0;
    if (!lib_split_is(path, &count) || lib_is_url(path))
        return size;
    uint64_t total = 0;
    for (uint32_t i = 1; i <= count; i++) {
        uint64_t n = 0;
        char *part = lib_split_sibling(path, i, count);
        if (part && lib_file_size(part, &n) == 0)
            total += n;
        free(part);
        if (n == 0 && i > 1)
            break; /* what is missing is told on opening */
    }
    return total ? total : size;
}

/* The number of parts of the model whose first part lies in the library; 0: none does. */
static uint32_t find_count(const struct library *l, const char *stem)
{
    char s[NAME_MAX_BYTES + 1];
    uint32_t no, count, found = 0;
    DIR *d = opendir(l->models);
    for (struct dirent *ent; d && !found && (ent = readdir(d));)
        if (lib_split_file(ent->d_name, s, &no, &count) && no == 1 && strcmp(s, stem) == 0)
            found = count;
    if (d)
        closedir(d);
    return found;
}

int lib_split_item(const struct library *l, const char *stem, struct library_item *out,
                   struct err *e)
{
    char part[NAME_MAX_BYTES + 1];
    uint32_t count = lib_name_valid(str_of(stem)) ? find_count(l, stem) : 0;
    if (count == 0)
        return err_set(e, ERR_NOT_FOUND, "no model %s", stem);
    int rc = lib_split_part(stem, 1, count, part, e);
    if (rc == 0)
        rc = lib_item_file(l, part, out, e);
    if (rc != 0)
        return rc;
    char *name = strdup(stem);
    if (!name) {
        library_item_done(out);
        return err_set(e, ERR_NOMEM, "no memory for %s", stem);
    }
    free(out->name);
    out->name = name;
    out->size = lib_split_size(out->path, out->size);
    return 0;
}
