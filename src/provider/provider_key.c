/* provider_key.c: keys. Where they come from (the environment, a file that only its owner may
 * read), how they travel (one header), and that they show nowhere else: memory that held one is
 * wiped, and an upstream's message is cleaned of whatever looks like it. */
#include "provider_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_MAX = 4096 };

void key_wipe(char *key)
{
    if (!key)
        return;
    explicit_bzero(key, strlen(key));
    free(key);
}

int key_set(struct provider *p, const char *key, const char *source, struct err *e)
{
    struct str k = str_trim(str_of(key));
    for (size_t i = 0; i < k.n; i++) {
        if ((unsigned char)k.p[i] <= ' ' || (unsigned char)k.p[i] > '~')
            return err_set(e, ERR_INVAL, "%s: the key holds characters that no key has", source);
    }
    if (!k.n || k.n > KEY_MAX)
        return err_set(e, ERR_INVAL, "%s: the key is empty or too long", source);
    char *copy = strndup(k.p, k.n);
    if (!copy)
        return err_set(e, ERR_NOMEM, "out of memory for a key");
    key_wipe(p->key);
    p->key = copy;
    return row_set(&p->key_source, source, e);
}

static int check_file(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return err_set(e, ERR_INVAL, "%s is not a regular file", path);
    if (st.st_uid != geteuid())
        return err_set(e, ERR_POLICY, "%s belongs to somebody else: a key is not read from it",
                       path);
    if (st.st_mode & 077)
        return err_set(e, ERR_POLICY,
                       "%s may be read by others (mode %04o): make it 0600, then a key is read "
                       "from it",
                       path, (unsigned)(st.st_mode & 07777));
    return 0;
}

int key_read_file(struct provider *p, const char *path, struct err *e)
{
    char text[KEY_MAX + 2];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    int rc = check_file(fd, path, e);
    ssize_t n = rc ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    if (rc)
        return rc;
    if (n < 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    text[n] = '\0';
    rc = key_set(p, text, path, e);
    explicit_bzero(text, sizeof text);
    return rc;
}

/* ---- headers ---- */

enum { MAX_HEADERS = 10 };

static bool put(char **h, const char *fmt, const char *value)
{
    size_t i = 0;
    while (h[i])
        i++;
    return asprintf(&h[i], fmt, value) >= 0 || (h[i] = NULL, false);
}

char **headers_new(const struct provider *p, bool body, bool stream)
{
    char **h = calloc(MAX_HEADERS, sizeof *h);
    bool anthropic = p->dialect == GEN_DIALECT_ANTHROPIC;
    bool ok = h && put(h, "User-Agent: weir/%s", WEIR_VERSION) &&
              put(h, "Accept: %s",
                  !stream                            ? "application/json"
                  : p->dialect == GEN_DIALECT_OLLAMA ? "application/x-ndjson"
                                                     : "text/event-stream");
    if (ok && body)
        ok = put(h, "Content-Type: %s", "application/json");
    if (ok && anthropic)
        ok = put(h, "anthropic-version: %s", "2023-06-01");
    if (ok && p->key)
        ok = put(h, anthropic && !p->bearer ? "x-api-key: %s" : "Authorization: Bearer %s", p->key);
    if (ok && p->organization)
        ok = put(h, "OpenAI-Organization: %s", p->organization);
    if (ok && p->project)
        ok = put(h, "OpenAI-Project: %s", p->project);
    if (ok)
        return h;
    headers_free(h);
    return NULL;
}

void headers_free(char **h)
{
    for (size_t i = 0; h && h[i]; i++)
        key_wipe(h[i]);
    free(h);
}

/* ---- addresses ---- */

/* Joined as the official clients do: OpenAI's base holds the version, Anthropic's does not (but a
 * base that ends in /v1 is not given a second one). Ollama's is the server; an /api or /v1 that
 * stands behind it is not its own. */
char *row_url(const struct provider *p, const char *path)
{
    char *url = NULL;
    size_t n = strlen(p->url);
    while (n && p->url[n - 1] == '/')
        n--;
    bool has = n >= 3 && !strncmp(p->url + n - 3, "/v1", 3);
    if (p->dialect == GEN_DIALECT_OLLAMA && has)
        n -= 3;
    else if (p->dialect == GEN_DIALECT_OLLAMA && n >= 4 && !strncmp(p->url + n - 4, "/api", 4))
        n -= 4;
    const char *version = p->dialect == GEN_DIALECT_ANTHROPIC && !has ? "/v1" : "";
    return asprintf(&url, "%.*s%s%s", (int)n, p->url, version, path) < 0 ? NULL : url;
}

/* ---- messages ---- */

/* A word that is the key, shares its beginning, or is a key with stars in it. */
static bool is_secret(const struct provider *p, struct str w)
{
    struct str key = str_of(p->key);
    if (str_find(w, STR("***"), 0) != SIZE_MAX || str_find(w, STR("sk-"), 0) != SIZE_MAX)
        return true;
    for (size_t i = 0; key.n >= 8 && i + 8 <= key.n; i++) {
        if (str_find(w, str_n(key.p + i, 8), 0) != SIZE_MAX)
            return true;
    }
    return key.n && key.n < 8 && str_find(w, key, 0) != SIZE_MAX;
}

void key_scrub(const struct provider *p, struct err *e)
{
    struct buf out = BUF_INIT(2 * ERR_MSG_MAX);
    struct str rest = str_of(e->msg);
    buf_printf(&out, "%s: ", p->name);
    while (rest.n) {
        struct str word;
        bool more = str_cut(rest, ' ', &word, &rest);
        if (is_secret(p, word))
            buf_puts(&out, "[key]");
        else
            buf_str_add(&out, word);
        if (more)
            buf_putc(&out, ' ');
    }
    if (e->code == ERR_AUTH && p->key_source)
        buf_printf(&out, " (the key is from %s)", p->key_source);
    int retry = e->retry_after_s;
    uint64_t pos = e->pos;
    err_set_at(e, e->code, pos, "%s", out.p ? out.p : p->name);
    e->retry_after_s = retry;
    buf_done(&out);
}
