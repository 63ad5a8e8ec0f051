/* library_url.c: a download by https into the partial file, continued where an earlier one was cut.
 * Over one connection here; what is large goes on in library_ranges.c over several.
 *
 * What is there is kept only if it is of the same URL and the server proves by its ETag, or the
 * catalogue by its digest, that the rest belongs to it. A server that ignores the range begins
 * again. The body is bounded by the size we expect, else by the size announced, else by the disk.
 */
#include "library_int.h"

#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Left free on the disk when nobody says how long a body is. */
#define RESERVE ((uint64_t)64 << 20)

struct download {
    struct lib_job *j;
    struct lib_out out;
    const char *url;
    struct lib_meta *m; /* what is there of an earlier pull */
    char *label;        /* the URL without what may be secret in it */
    bool answered;
    bool large; /* given up at its head: over several connections */
    int status;
    int failed; /* what head or data returned, and the error with it */
    struct err why;
};

/* Names, pass words and signatures travel in URLs: only what locates the file is shown and stored.
 */
char *lib_url_label(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    const char *user = host + strcspn(host, "/?#@");
    const char *from = *user == '@' ? user + 1 : host;
    return lib_path("%.*s%.*s", (int)(host - url), url, (int)strcspn(from, "?#"), from);
}

static int bound_body(struct download *d, uint64_t total)
{
    const struct library_entry *entry = d->j->entry;
    if (entry && total && total != entry->size)
        return err_set(d->j->e, ERR_CHECKSUM, "%s has %llu bytes there, not %llu", d->label,
                       (unsigned long long)total, (unsigned long long)entry->size);
    uint64_t size = entry ? entry->size : total;
    d->out.total = size;
    if (size) {
        d->out.limit = size;
        return size > d->out.n ? lib_need_space(d->j, size - d->out.n) : 0;
    }
    uint64_t room = lib_free_space(d->j);
    d->out.limit = d->out.n + (room > RESERVE ? room - RESERVE : 0);
    return 0;
}

/* It goes back to the server as a header. */
static bool usable_etag(struct str etag)
{
    for (size_t i = 0; i < etag.n; i++)
        if ((unsigned char)etag.p[i] <= ' ' || etag.p[i] == 0x7F)
            return false;
    return etag.n > 0 && etag.n <= 512 && utf8_valid(etag);
}

/* It proves that two answers are of the same bytes. */
static bool strong(struct str etag)
{
    return usable_etag(etag) && etag.n > 2 && etag.p[0] == '"';
}

static int read_head(struct download *d, int status, uint64_t total, struct str etag, bool ranged)
{
    d->status = status;
    if (status != 200 && status != 206)
        return lib_refuse_status(d->label, status, d->j->refused, d->j->e);
    if (status == 206 && !ranged)
        return err_set(d->j->e, ERR_UPSTREAM, "%s: the server sent another range than asked for",
                       d->label);
    int rc = 0;
    if (!ranged && d->out.n)
        rc = lib_out_restart(&d->out);
    if (rc == 0)
        rc = bound_body(d, total);
    if (rc == 0)
        rc = lib_meta_write(d->j, d->label, usable_etag(etag) ? etag : STR_NONE, NULL);
    if (rc == 0 && !d->j->entry && total >= RANGES_MIN && strong(etag)) {
        d->large = true;
        d->m->size = total;
        free(d->m->etag);
        d->m->etag = strndup(etag.p, etag.n);
        rc = d->m->etag ? ERR_CANCELLED : err_set(d->j->e, ERR_NOMEM, "%s: no memory", d->label);
    }
    d->answered = rc == 0;
    return rc;
}

/* The functions between here and the socket may word the failure anew; ours says why. */
static int remember(struct download *d, int rc)
{
    if (rc != 0 && d->j->e)
        d->why = *d->j->e;
    d->failed = rc;
    return rc;
}

static int on_head(void *sink, int status, uint64_t total, struct str etag, bool ranged)
{
    return remember(sink, read_head(sink, status, total, etag, ranged));
}

static int on_data(void *sink, struct str bytes)
{
    struct download *d = sink;
    if (!d->answered)
        return remember(d, err_set(d->j->e, ERR_UPSTREAM, "%s: a body before its head", d->label));
    return remember(d, lib_out_write(&d->out, bytes.p, bytes.n));
}

/* Nothing comes: the person who waits may have had enough. */
static int on_tick(void *sink)
{
    struct download *d = sink;
    int rc = d->failed ? d->failed
                       : lib_progress(d->j, LIBRARY_FETCHING, d->out.n,
                                      d->out.n > d->out.total ? 0 : d->out.total);
    return remember(d, rc);
}

/* One request, from d->out.n on. */
static int request(struct download *d, const char *etag)
{
    const struct library_fetch *f = d->j->lib->fetch;
    struct library_get get = {
        .url = d->url,
        .headers = d->j->headers,
        .offset = d->out.n,
        .if_range = d->out.n && *etag ? etag : NULL,
        .tick = on_tick,
        .head = on_head,
        .data = on_data,
        .sink = d,
    };
    d->answered = false;
    d->status = d->failed = 0;
    int rc = f->get(f->ctx, &get, d->j->e);
    if (d->large)
        return ERR_CANCELLED;
    if (d->failed == 0)
        return rc;
    if (d->j->e)
        *d->j->e = d->why;
    return d->failed;
}

/* The whole body has come, as far as its length is known. */
static int check_length(const struct download *d)
{
    if (!d->answered)
        return err_set(d->j->e, ERR_UPSTREAM, "%s: no answer", d->label);
    if (d->out.total && d->out.n < d->out.total)
        return err_set(d->j->e, ERR_CUT, "%s was cut after %llu of %llu bytes; pull again to go on",
                       d->label, (unsigned long long)d->out.n, (unsigned long long)d->out.total);
    return 0;
}

/* The connection broke in the middle: a person is told what is kept and what to do. */
static int tell_cut(const struct download *d, int rc)
{
    struct err *e = d->j->e;
    if (!e || d->failed || !d->answered || !d->out.n || !d->out.total || rc == ERR_CANCELLED)
        return rc;
    struct err why = *e;
    return err_set(e, rc, "%s was cut after %llu of %llu bytes; pull again to go on (%s)", d->label,
                   (unsigned long long)d->out.n, (unsigned long long)d->out.total, err_msg(&why));
}

/* What can never be continued must not lie there and fail again. */
static bool is_fatal(int rc)
{
    return rc == ERR_TOO_LARGE || rc == ERR_NO_SPACE || rc == ERR_CHECKSUM || rc == ERR_NOT_FOUND;
}

/* What is there of this URL's file is opened, or a new file begun. */
static int prepare(struct download *d, const char *etag, bool known)
{
    struct lib_job *j = d->j;
    int rc = lib_out_open(&d->out, j, LIBRARY_FETCHING, known && (j->entry || *etag));
    if (rc == 0 && j->entry && d->out.n > j->entry->size)
        rc = lib_out_restart(&d->out);
    return rc;
}

static int transfer(struct download *d, const char *etag)
{
    /* All of it is there when a pull was killed between the last byte and the rename. */
    if (d->j->entry && d->out.n == d->j->entry->size)
        return 0;
    int rc = request(d, etag);
    if (rc != 0 && d->status == 416 && d->out.n && lib_out_restart(&d->out) == 0)
        rc = request(d, "");
    return rc == 0 ? check_length(d) : tell_cut(d, rc);
}

static int fetch_one(struct download *d, bool known, char hex[SHA256_HEX])
{
    int rc = prepare(d, d->m->etag, known);
    if (rc != 0)
        return rc;
    rc = transfer(d, d->m->etag);
    if (rc == 0)
        rc = lib_out_finish(&d->out, hex);
    lib_out_abandon(&d->out);
    return rc;
}

/* What an earlier pull over one connection left is a first segment. */
static void adopt_part(const struct download *d, bool known)
{
    uint64_t there = 0;
    if (!known || d->m->n || lib_file_size(d->j->part, &there) != 0 || there > d->m->size)
        return;
    d->m->n = 1;
    d->m->seg[0] = (struct lib_segment){0, there, d->m->size, false};
}

/* Over several connections where the size is known and the pieces can be proven to be of one file:
 * by the digest, or by the tag of the answer. */
static int fetch(struct download *d, bool known, char hex[SHA256_HEX])
{
    struct lib_meta *m = d->m;
    const struct library_entry *entry = d->j->entry;
    if (m->n && ((entry && m->size != entry->size) || (!entry && !strong(str_of(m->etag)))))
        known = false;
    if (!known)
        m->n = 0;
    if (entry && !m->n)
        m->size = entry->size;
    int rc = 0;
    if (m->n == 0 && (!entry || entry->size < RANGES_MIN)) {
        rc = fetch_one(d, known, hex);
        if (!d->large)
            return rc;
        known = true; /* what lies there now is of this answer, if there is anything */
    }
    adopt_part(d, known);
    return lib_fetch_ranges(d->j, d->url, d->label, m, hex);
}

int lib_fetch_url(struct lib_job *j, const char *url, char hex[SHA256_HEX])
{
    struct lib_meta m = {0};
    struct download d = {.j = j, .url = url, .m = &m, .label = lib_url_label(url)};
    bool known = d.label && lib_meta_read(j, d.label, &m);
    int rc;
    if (!d.label || !m.etag)
        rc = err_set(j->e, ERR_NOMEM, "no memory to pull %s", j->name);
    else if (!j->lib->fetch || !j->lib->fetch->get)
        rc = err_set(j->e, ERR_POLICY, "%s: downloads are switched off", d.label);
    else
        rc = fetch(&d, known, hex);
    if (is_fatal(rc)) {
        unlink(j->part);
        unlink(j->meta);
    }
    free(d.label);
    free(m.etag);
    return rc;
}
