/* library_verify.c: is what lies there still what its digest says? Reads every byte, changes
 * nothing. */
#include "library_int.h"

#include <stdio.h>
#include <stdlib.h>

static int check_file(const struct library *l, const char *name, const char *path, const char *hex,
                      const struct library_watch *watch, struct err *e)
{
    char found[SHA256_HEX];
    struct library_entry is = {.name = name, .sha256 = hex};
    struct lib_job probe = {.lib = l, .watch = watch, .entry = &is, .lock_fd = -1, .e = e};
    snprintf(probe.name, sizeof probe.name, "%s", name);
    if (!hex[0])
        return err_set(e, ERR_UNSUPPORTED, "%s: no digest of it is known", name);
    int rc = lib_hash_file(&probe, path, found);
    if (rc == 0 && strcmp(found, hex) != 0)
        rc = err_set(e, ERR_CHECKSUM, "%s is corrupted: %s has SHA-256 %s, not %s", name, path,
                     found, hex);
    return rc;
}

/* Every part has a record of its own. */
static int check_parts(const struct library *l, const char *stem, uint32_t count,
                       const struct library_watch *watch, struct err *e)
{
    int rc = 0;
    for (uint32_t i = 1; i <= count && rc == 0; i++) {
        char part[NAME_MAX_BYTES + 1];
        struct library_item it = {0};
        rc = lib_split_part(stem, i, count, part, e);
        if (rc == 0)
            rc = lib_item_file(l, part, &it, e);
        if (rc == 0)
            rc = check_file(l, part, it.path, it.sha256, watch, e);
        library_item_done(&it);
    }
    return rc;
}

int library_verify(const struct library *l, const char *name, const struct library_watch *watch,
                   struct err *e)
{
    struct library_item it = {0};
    uint32_t count = 0;
    size_t n = strlen(l->models);
    int rc = library_find(l, name, &it, e);
    if (rc != 0)
        return rc;
    bool own = it.managed && strncmp(it.path, l->models, n) == 0 && it.path[n] == '/';
    rc = own && lib_split_is(it.path, &count)
             ? check_parts(l, it.name, count, watch, e)
             : check_file(l, it.name, it.path, it.sha256, watch, e);
    library_item_done(&it);
    return rc;
}
