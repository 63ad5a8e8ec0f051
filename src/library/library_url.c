/* library_url.c: a download by https into the partial file, continued where an earlier one was cut.
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
    bool answered;
    int status;
};

static int refuse_status(const struct download *d, int status)
{
    int code = status == 404 || status == 410   ? ERR_NOT_FOUND
               : status == 401 || status == 403 ? ERR_AUTH
               : status == 429                  ? ERR_RATE
                                                : ERR_UPSTREAM;
    return err_set(d->j->e, code, "%s: the server answered %d", d->url, status);
}

static int bound_body(struct download *d, uint64_t total)
{
    const struct library_entry *entry = d->j->entry;
    if (entry && total && total != entry->size)
        return err_set(d->j->e, ERR_CHECKSUM, "%s has %llu bytes there, not %llu", d->url,
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

static int on_head(void *sink, int status, uint64_t total, struct str etag, bool ranged)
{
    struct download *d = sink;
    d->status = status;
    if (status != 200 && status != 206)
        return refuse_status(d, status);
    if (status == 206 && !ranged)
        return err_set(d->j->e, ERR_UPSTREAM, "%s: the server sent another range than asked for",
                       d->url);
    int rc = 0;
    if (!ranged && d->out.n)
        rc = lib_out_restart(&d->out);
    if (rc == 0)
        rc = bound_body(d, total);
    if (etag.n > 512 || !utf8_valid(etag))
        etag = STR_NONE;
    if (rc == 0)
        rc = lib_meta_write(d->j, d->url, etag);
    d->answered = rc == 0;
    return rc;
}

static int on_data(void *sink, struct str bytes)
{
    struct download *d = sink;
    if (!d->answered)
        return err_set(d->j->e, ERR_UPSTREAM, "%s: a body before its head", d->url);
    return lib_out_write(&d->out, bytes.p, bytes.n);
}

/* One request, from d->out.n on. */
static int request(struct download *d, const char *etag)
{
    const struct library_fetch *f = d->j->lib->fetch;
    struct library_get get = {
        .url = d->url,
        .offset = d->out.n,
        .if_range = d->out.n && *etag ? etag : NULL,
        .head = on_head,
        .data = on_data,
        .sink = d,
    };
    d->answered = false;
    d->status = 0;
    return f->get(f->ctx, &get, d->j->e);
}

/* The whole body has come, as far as its length is known. */
static int check_length(const struct download *d)
{
    if (!d->answered)
        return err_set(d->j->e, ERR_UPSTREAM, "%s: no answer", d->url);
    if (d->out.total && d->out.n < d->out.total)
        return err_set(d->j->e, ERR_CUT, "%s was cut after %llu of %llu bytes; pull again to go on",
                       d->url, (unsigned long long)d->out.n, (unsigned long long)d->out.total);
    return 0;
}

/* What can never be continued must not lie there and fail again. */
static bool is_fatal(int rc)
{
    return rc == ERR_TOO_LARGE || rc == ERR_NO_SPACE || rc == ERR_CHECKSUM || rc == ERR_NOT_FOUND;
}

int lib_fetch_url(struct lib_job *j, const char *url, char hex[SHA256_HEX])
{
    if (!j->lib->fetch || !j->lib->fetch->get)
        return err_set(j->e, ERR_POLICY, "%s: downloads are switched off", url);
    struct download d = {.j = j, .url = url};
    char *etag = NULL;
    bool known = lib_meta_read(j, url, &etag);
    bool keep = known && (j->entry || *etag);
    int rc = etag ? lib_out_open(&d.out, j, LIBRARY_FETCHING, keep)
                  : err_set(j->e, ERR_NOMEM, "%s: no memory", url);
    if (rc != 0) {
        free(etag);
        return rc;
    }
    if (j->entry && d.out.n > j->entry->size)
        rc = lib_out_restart(&d.out);
    /* All of it is there when a pull was killed between the last byte and the rename. */
    bool whole = j->entry && d.out.n == j->entry->size;
    if (rc == 0 && !whole) {
        rc = request(&d, etag);
        if (rc != 0 && d.status == 416 && lib_out_restart(&d.out) == 0)
            rc = request(&d, "");
        if (rc == 0)
            rc = check_length(&d);
    }
    if (rc == 0)
        rc = lib_out_finish(&d.out, hex);
    lib_out_abandon(&d.out);
    if (is_fatal(rc)) {
        unlink(j->part);
        unlink(j->meta);
    }
    free(etag);
    return rc;
}
