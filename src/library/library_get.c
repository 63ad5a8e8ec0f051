/* library_get.c: small answers into memory: manifests, lists of files, texts. Bounded by what the
 * caller says, never written to disk, nothing of them in a message but their status. */
#include "library_int.h"

#include "buf.h"

#include <stdlib.h>

int lib_refuse_status(const char *label, int status, const char *refused, struct err *e)
{
    int code = status == 404 || status == 410   ? ERR_NOT_FOUND
               : status == 401 || status == 403 ? ERR_AUTH
               : status == 429                  ? ERR_RATE
                                                : ERR_UPSTREAM;
    if (code == ERR_AUTH && refused)
        return err_set(e, code, "%s: the server answered %d: %s", label, status, refused);
    return err_set(e, code, "%s: the server answered %d", label, status);
}

struct small {
    const struct lib_ask *ask;
    struct buf body;
    char *label, *link;
    uint64_t total;
    bool answered;
    int failed; /* what a callback returned, and the error with it */
    struct err why;
};

static int on_link(void *sink, struct str value)
{
    struct small *s = sink;
    free(s->link);
    s->link = value.n <= 4096 ? strndup(value.p, value.n) : NULL;
    return 0;
}

static int tell(struct small *s)
{
    const struct library_watch *w = s->ask->watch;
    struct library_progress p = {.phase = LIBRARY_LISTING,
                                 .model = "",
                                 .file = s->ask->file,
                                 .digest = "",
                                 .done = s->body.n,
                                 .total = s->total};
    if (w && w->progress && w->progress(w->ctx, &p) != 0)
        return s->failed = err_set(&s->why, ERR_CANCELLED, "the pull was cancelled");
    return 0;
}

static int on_tick(void *sink)
{
    return tell(sink);
}

static int on_head(void *sink, int status, uint64_t total, struct str etag, bool ranged)
{
    struct small *s = sink;
    const struct lib_ask *a = s->ask;
    int rc = 0;
    if (status == 404 && a->missing)
        rc = err_set(&s->why, ERR_NOT_FOUND, "%s", a->missing);
    else if (status != 200)
        rc = lib_refuse_status(s->label, status, a->refused, &s->why);
    else if (total > a->max)
        rc = err_set(&s->why, ERR_TOO_LARGE, "%s: an answer of %llu bytes where %zu are the most",
                     s->label, (unsigned long long)total, a->max);
    s->answered = rc == 0;
    s->total = total;
    buf_clear(&s->body);
    return s->failed = rc;
}

static int on_data(void *sink, struct str bytes)
{
    struct small *s = sink;
    buf_str_add(&s->body, bytes);
    if (buf_failed(&s->body))
        return s->failed = err_set(&s->why, ERR_TOO_LARGE, "%s: an answer of more than %zu bytes",
                                   s->label, s->ask->max);
    return tell(s);
}

static int run(struct small *s, struct err *e)
{
    const struct lib_ask *a = s->ask;
    const struct library_fetch *f = a->lib->fetch;
    struct library_get get = {.url = a->url,
                              .headers = a->headers,
                              .link = a->link ? on_link : NULL,
                              .tick = on_tick,
                              .head = on_head,
                              .data = on_data,
                              .sink = s};
    if (!f || !f->get)
        return err_set(e, ERR_POLICY, "%s: downloads are switched off", s->label);
    int rc = tell(s);
    if (rc == 0)
        rc = f->get(f->ctx, &get, e);
    if (s->failed) {
        if (e)
            *e = s->why;
        return s->failed;
    }
    if (rc == 0 && !s->answered)
        rc = err_set(e, ERR_UPSTREAM, "%s: no answer", s->label);
    if (rc == 0 && s->total && s->body.n < s->total)
        rc = err_set(e, ERR_CUT, "%s was cut after %zu of %llu bytes", s->label, s->body.n,
                     (unsigned long long)s->total);
    return rc;
}

int lib_get_small(const struct lib_ask *a, char **out, size_t *n, struct err *e)
{
    struct small s = {.ask = a, .body = BUF_INIT(a->max), .label = lib_url_label(a->url)};
    int rc = s.label ? run(&s, e) : err_set(e, ERR_NOMEM, "no memory for a download");
    if (rc == 0) {
        size_t got = 0;
        char *p = s.body.n ? buf_take(&s.body, &got) : strdup("");
        rc = p ? 0 : err_set(e, ERR_NOMEM, "%s: no memory", s.label);
        if (rc == 0) {
            *out = p;
            *n = got;
        }
    }
    if (rc == 0 && a->link) {
        *a->link = s.link;
        s.link = NULL;
    }
    buf_done(&s.body);
    free(s.label);
    free(s.link);
    return rc;
}

/* "https://host:port" of a URL. */
static struct str origin(const char *url)
{
    const char *host = strstr(url, "://");
    return host ? str_n(url, (size_t)(host - url) + 3 + strcspn(host + 3, "/?#")) : STR_NONE;
}

bool lib_same_origin(const char *a, const char *b)
{
    struct str x = origin(a), y = origin(b);
    return x.n && str_ieq(x, y) && !memchr(x.p, '@', x.n) && !memchr(x.p, '\\', x.n);
}
