/* keys.c: API keys by their hashes, and the one function that lets a request in or not. */
#include "keys.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_BYTES 32
#define KEY_BYTES 32
#define KEYS_MAX 4096
#define NAME_MAX_LEN 64
#define PREFIX "weir-"

struct key {
    unsigned char hash[HASH_BYTES];
    int64_t created;
    char name[NAME_MAX_LEN + 1];
};

struct keys {
    char *path;
    struct key *list;
    size_t n;
    bool configured;
    unsigned char configured_hash[HASH_BYTES];
};

static void hash_key(struct str text, unsigned char out[HASH_BYTES])
{
    crypto_generichash(out, HASH_BYTES, (const unsigned char *)text.p, text.n, NULL, 0);
}

/* ---- the file ---- */

static int read_line(struct keys *k, const char *line, int number, struct err *e)
{
    struct key key = {0};
    char hex[2 * HASH_BYTES + 1];
    long long created;
    size_t n = 0;
    int at = 0;
    bool ok = sscanf(line, "%64[0-9a-f] %lld %n", hex, &created, &at) == 2 && at > 0;
    ok = ok && sodium_hex2bin(key.hash, HASH_BYTES, hex, strlen(hex), NULL, &n, NULL) == 0 &&
         n == HASH_BYTES && line[at] && strlen(line + at) <= NAME_MAX_LEN;
    if (!ok || k->n >= KEYS_MAX)
        return err_set(e, ERR_FORMAT, "%s, line %d: is not a key", k->path, number);
    key.created = created;
    strcpy(key.name, line + at);
    struct key *bigger = realloc(k->list, (k->n + 1) * sizeof *bigger);
    if (!bigger)
        return err_set(e, ERR_NOMEM, "out of memory");
    k->list = bigger;
    k->list[k->n++] = key;
    return 0;
}

static int read_file(struct keys *k, struct err *e)
{
    FILE *f = fopen(k->path, "re");
    char line[512];
    int rc = 0, number = 0;
    if (!f && errno == ENOENT)
        return 0;
    if (!f)
        return err_set(e, ERR_IO, "cannot read %s: %s", k->path, strerror(errno));
    while (rc == 0 && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        number++;
        if (line[0])
            rc = read_line(k, line, number, e);
    }
    fclose(f);
    return rc;
}

/* Whole or not at all: a rename. */
static int write_file(const struct keys *k, struct err *e)
{
    char path[4096], hex[2 * HASH_BYTES + 1];
    snprintf(path, sizeof path, "%s.new", k->path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        if (fd >= 0)
            close(fd);
        return err_set(e, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    for (size_t i = 0; i < k->n; i++)
        fprintf(f, "%s %lld %s\n", sodium_bin2hex(hex, sizeof hex, k->list[i].hash, HASH_BYTES),
                (long long)k->list[i].created, k->list[i].name);
    bool ok = fflush(f) == 0 && fsync(fd) == 0;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(path, k->path) != 0) {
        int rc = err_set(e, ERR_IO, "cannot write %s: %s", k->path, strerror(errno));
        unlink(path);
        return rc;
    }
    return 0;
}

int keys_open(const char *home, const char *configured, struct keys **out, struct err *e)
{
    struct keys *k = calloc(1, sizeof *k);
    if (!k || sodium_init() < 0 || asprintf(&k->path, "%s/keys", home) < 0) {
        free(k);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    k->configured = configured && *configured;
    if (k->configured)
        hash_key(str_of(configured), k->configured_hash);
    int rc = read_file(k, e);
    if (rc) {
        keys_free(k);
        return rc;
    }
    *out = k;
    return 0;
}

void keys_free(struct keys *k)
{
    if (!k)
        return;
    free(k->list);
    free(k->path);
    free(k);
}

/* ---- asking ---- */

bool keys_any(const struct keys *k)
{
    return k->configured || k->n;
}

struct str keys_given(struct net_req *r)
{
    struct str auth = net_req_header(r, "authorization"), key;
    if (str_istarts(auth, STR("Bearer ")))
        return str_trim(str_n(auth.p + 7, auth.n - 7));
    key = net_req_header(r, "x-api-key");
    if (key.p)
        return key;
    return net_req_param(r, "key", &key) ? key : STR_NONE;
}

static uint64_t caller_of(const unsigned char hash[HASH_BYTES])
{
    uint64_t id;
    memcpy(&id, hash, sizeof id);
    return id ? id : 1;
}

/* Every key is compared, and hashes only: the time says nothing about a key. */
bool keys_check(const struct keys *k, struct str given, uint64_t *caller)
{
    unsigned char hash[HASH_BYTES];
    bool found = false;
    if (!given.n)
        return false;
    hash_key(given, hash);
    if (k->configured && sodium_memcmp(hash, k->configured_hash, HASH_BYTES) == 0)
        found = true;
    for (size_t i = 0; i < k->n; i++)
        if (sodium_memcmp(hash, k->list[i].hash, HASH_BYTES) == 0)
            found = true;
    if (found)
        *caller = caller_of(hash);
    return found;
}

/* ---- changing ---- */

static struct key *find(const struct keys *k, struct str name)
{
    for (size_t i = 0; i < k->n; i++)
        if (str_is(name, k->list[i].name))
            return &k->list[i];
    return NULL;
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
            return false;
    return s.n > 0 && s.n <= NAME_MAX_LEN && s.p[0] != ' ';
}

int keys_create(struct keys *k, struct str name, char out[KEYS_TEXT], struct err *e)
{
    unsigned char bytes[KEY_BYTES];
    struct key key = {.created = clock_wall_ms() / 1000};
    char text[KEYS_TEXT] = PREFIX;
    if (!is_name(name))
        return err_set(e, ERR_INVAL, "a key's name has 1 to %d printable characters", NAME_MAX_LEN);
    if (find(k, name))
        return err_set(e, ERR_EXISTS, "there is a key '%.*s' already", STR_ARG(name));
    if (k->n >= KEYS_MAX)
        return err_set(e, ERR_LIMIT, "there are %d keys already", KEYS_MAX);
    struct key *bigger = realloc(k->list, (k->n + 1) * sizeof *bigger);
    if (!bigger)
        return err_set(e, ERR_NOMEM, "out of memory");
    k->list = bigger;
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2base64(text + strlen(PREFIX), sizeof text - strlen(PREFIX), bytes, sizeof bytes,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof bytes);
    hash_key(str_of(text), key.hash);
    memcpy(key.name, name.p, name.n);
    k->list[k->n++] = key;
    int rc = write_file(k, e);
    if (rc)
        k->n--;
    else
        memcpy(out, text, sizeof text);
    sodium_memzero(text, sizeof text);
    return rc;
}

int keys_revoke(struct keys *k, struct str name, struct err *e)
{
    struct key *key = find(k, name);
    if (!key)
        return err_set(e, ERR_NOT_FOUND, "there is no key '%.*s'", STR_ARG(name));
    struct key was = *key;
    size_t at = (size_t)(key - k->list);
    memmove(key, key + 1, (k->n - at - 1) * sizeof *key);
    k->n--;
    int rc = write_file(k, e);
    if (rc) { /* what is still on the disk still counts */
        memmove(k->list + at + 1, k->list + at, (k->n - at) * sizeof *key);
        k->list[at] = was;
        k->n++;
    }
    return rc;
}

void keys_json(const struct keys *k, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < k->n; i++) {
        buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        buf_json_str(out, str_of(k->list[i].name));
        buf_printf(out, ",\"created\":%lld}", (long long)k->list[i].created);
    }
    buf_putc(out, ']');
}
