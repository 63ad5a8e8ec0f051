/* fetch.c: a download that a person asked for: blocking, on the caller's thread.
 *
 * It carries no request's data, so it runs as a cloud request to a cloud row of its own; the gate
 * and the log see it like any other. Redirects are followed here and not by curl: each hop is
 * parsed, asked about and logged anew, and what proves who we are stays with the first host. */
#include "egress_int.h"

#include <stdlib.h>

#define MAX_HOPS 10

/* Never to another host than the one they were meant for. */
static const char *const credentials[] = {"Authorization", "Cookie", "X-Api-Key", "Api-Key", NULL};

struct hop {
    const struct egress_fetch *f;
    CURL *easy;
    struct dial dial;
    char *location, *etag, *link;
    uint64_t total;                  /* of the whole file; 0: unknown */
    uint64_t range_start, range_end; /* of a 206; both are in it */
    bool has_range, headed, redirect, skip;
    int stop; /* what a callback of the caller's returned, or our own code */
    int status;
    uint64_t heard_ms; /* when a byte last came */
    int idle_ms;
};

/* ---- the answer's header ---- */

static struct str header_value(struct str line, const char *name)
{
    struct str n = str_of(name);
    if (!str_istarts(line, n) || line.n <= n.n || line.p[n.n] != ':')
        return STR_NONE;
    return str_trim(str_n(line.p + n.n + 1, line.n - n.n - 1));
}

static void keep(char **to, struct str value)
{
    if (!value.p)
        return;
    free(*to);
    *to = strndup(value.p, value.n);
}

/* "bytes 100-199/200", or "/" and a star where the whole is unknown. */
static bool content_range(struct str v, uint64_t *start, uint64_t *end, uint64_t *total)
{
    struct str unit, rest, range, whole, from, to;
    uint64_t a, b, t = 0;
    if (!str_cut(v, ' ', &unit, &rest) || !str_ieq(unit, STR("bytes")) ||
        !str_cut(rest, '/', &range, &whole) || !str_cut(range, '-', &from, &to) ||
        !str_to_u64(from, &a) || !str_to_u64(to, &b) || b < a)
        return false;
    if (!str_is(whole, "*") && (!str_to_u64(whole, &t) || t <= b))
        return false;
    *start = a;
    *end = b;
    *total = t;
    return true;
}

static void begin_answer(struct hop *h)
{
    free(h->location);
    free(h->etag);
    free(h->link);
    h->location = h->etag = h->link = NULL;
    h->total = 0;
    h->has_range = false;
}

/* Not other bytes than were asked for. */
static bool right_range(const struct hop *h)
{
    const struct egress_fetch *f = h->f;
    return h->has_range && h->range_start == f->offset &&
           (f->length == 0 || h->range_end - h->range_start < f->length);
}

static int tell_head(struct hop *h)
{
    const struct egress_fetch *f = h->f;
    curl_off_t length = -1;
    bool ranged = h->status == 206;
    if (ranged && !right_range(h)) { /* head may say why; whatever it says, this is the end */
        int said = f->head ? f->head(f->ctx, h->status, h->total, str_of(h->etag), false) : 0;
        return said ? said : ERR_UPSTREAM;
    }
    if (!ranged) {
        curl_easy_getinfo(h->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        h->total = length > 0 ? (uint64_t)length : 0;
    }
    h->skip = h->status < 200 || h->status >= 300;
    int rc = f->link && h->link ? f->link(f->ctx, str_of(h->link)) : 0;
    if (rc != 0)
        return rc;
    return f->head ? f->head(f->ctx, h->status, h->total, str_of(h->etag), ranged) : 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct hop *h = ctx;
    struct str line = str_n(p, n);
    long status = 0;
    h->heard_ms = egress_now_ms();
    if (str_istarts(line, STR("HTTP/")))
        begin_answer(h);
    keep(&h->location, header_value(line, "location"));
    keep(&h->etag, header_value(line, "etag"));
    keep(&h->link, header_value(line, "link"));
    struct str range = header_value(line, "content-range");
    if (range.p)
        h->has_range = content_range(range, &h->range_start, &h->range_end, &h->total);
    if (str_trim(line).n > 0 || h->headed)
        return n;
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return n;
    h->headed = true;
    h->status = (int)status;
    h->redirect = h->location && (status == 301 || status == 302 || status == 303 ||
                                  status == 307 || status == 308);
    if (!h->redirect)
        h->stop = tell_head(h);
    return h->stop ? 0 : n;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct hop *h = ctx;
    h->heard_ms = egress_now_ms();
    if (h->redirect || h->skip)
        return CURL_WRITEFUNC_ERROR; /* the header has said all there is to know */
    if (h->f->data)
        h->stop = h->f->data(h->f->ctx, str_n(p, n));
    return h->stop ? CURL_WRITEFUNC_ERROR : n;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct hop *h = ctx;
    if (h->f->tick && h->f->tick(h->f->ctx) != 0)
        h->stop = ERR_CANCELLED;
    else if (egress_now_ms() - h->heard_ms > (uint64_t)h->idle_ms)
        h->stop = ERR_TIMEOUT;
    return h->stop != 0;
}

/* ---- one hop ---- */

static void set_range(struct hop *h)
{
    const struct egress_fetch *f = h->f;
    char line[512];
    /* A weak tag says only that a file means the same: its bytes may differ. */
    bool weak = f->if_range && strncmp(f->if_range, "W/", 2) == 0;
    if ((f->offset == 0 && f->length == 0) || weak)
        return;
    if (f->length && f->length <= UINT64_MAX - f->offset)
        snprintf(line, sizeof line, "%llu-%llu", (unsigned long long)f->offset,
                 (unsigned long long)(f->offset + f->length - 1));
    else
        snprintf(line, sizeof line, "%llu-", (unsigned long long)f->offset);
    curl_easy_setopt(h->easy, CURLOPT_RANGE, line);
    if (!f->if_range || strpbrk(f->if_range, "\r\n") || strlen(f->if_range) > 400)
        return;
    snprintf(line, sizeof line, "If-Range: %s", f->if_range);
    struct curl_slist *more = curl_slist_append(h->dial.headers, line);
    if (more)
        h->dial.headers = more;
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->dial.headers);
}

static int run_hop(struct hop *h, struct err *e)
{
    const struct egress_fetch *f = h->f;
    set_range(h);
    h->idle_ms = f->idle_ms > 0 ? f->idle_ms : 60000;
    h->heard_ms = egress_now_ms();
    curl_easy_setopt(h->easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(f->connect_ms > 0 ? f->connect_ms : 10000));
    curl_easy_setopt(h->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h->easy, CURLOPT_HEADERDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h->easy, CURLOPT_XFERINFODATA, h);
    CURLcode rc = curl_easy_perform(h->easy);
    if (rc == CURLE_WRITE_ERROR && !h->stop && (h->redirect || h->skip))
        rc = CURLE_OK; /* we stopped it ourselves */
    struct err inner = {0};
    int code = dial_finish(&h->dial, h->easy, rc, rc == CURLE_OK ? 0 : h->stop, &inner);
    if (code != 0 && e)
        *e = inner;
    return code;
}

/* ---- the way from hop to hop ---- */

struct trail {
    char *url;
    bool changed_host;
};

/* Where a redirect leads: absolute, and whether that is another host than before. */
static int next_url(struct trail *t, struct hop *h, struct err *e)
{
    CURLU *u = curl_url_dup(h->dial.url);
    char *next = NULL, *host = NULL, *scheme = NULL, *port = NULL;
    int rc = ERR_UPSTREAM;
    if (u && curl_url_set(u, CURLUPART_URL, h->location, CURLU_DISALLOW_USER) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &next, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
        rc = 0;
    bool here = gate_host_is_loopback(str_of(h->dial.host));
    struct str bare = str_of(host);
    if (bare.n > 2 && bare.p[0] == '[')
        bare = str_n(bare.p + 1, bare.n - 2);
    if (rc != 0) {
        err_set(e, rc, "%s: %s redirects to what is no URL", h->dial.row, h->dial.host);
    } else if (!here && gate_host_is_loopback(bare)) {
        rc = err_set(e, ERR_POLICY, "%s: %s redirects to this machine", h->dial.row, h->dial.host);
    } else if (h->dial.https && strcmp(scheme, "https") != 0) {
        rc = err_set(e, ERR_POLICY, "%s: %s redirects from https to http", h->dial.row,
                     h->dial.host);
    } else {
        if (!str_ieq(bare, str_of(h->dial.host)) || atoi(port) != h->dial.port ||
            (strcmp(scheme, "https") == 0) != h->dial.https)
            t->changed_host = true;
        free(t->url);
        t->url = strdup(next);
        rc = t->url ? 0 : err_set(e, ERR_NOMEM, "no memory for a redirect");
    }
    curl_free(next);
    curl_free(host);
    curl_free(scheme);
    curl_free(port);
    curl_url_cleanup(u);
    return rc;
}

static void hop_done(struct hop *h)
{
    if (h->easy)
        curl_easy_cleanup(h->easy);
    dial_done(&h->dial);
    free(h->location);
    free(h->etag);
    free(h->link);
}

/* *more: another hop follows, to t->url. */
static int one_hop(struct egress *eg, const struct egress_fetch *f, struct trail *t, bool *more,
                   int *status, struct err *e)
{
    const char *rule = f->rule ? f->rule : "pull";
    struct egress_row row = {.name = rule, .zone = GEN_CLOUD};
    struct hop h = {.f = f, .easy = curl_easy_init()};
    struct dial_params p = {.eg = eg,
                            .row = &row,
                            .req_zone = GEN_CLOUD,
                            .rule = rule,
                            .url = t->url,
                            .headers = f->headers,
                            .drop = t->changed_host ? credentials : NULL};
    int rc = h.easy ? dial_init(&h.dial, h.easy, &p, e) : err_set(e, ERR_NOMEM, "no memory");
    if (rc == 0)
        rc = run_hop(&h, e);
    *more = rc == 0 && h.redirect;
    if (rc == 0 && h.redirect)
        rc = next_url(t, &h, e);
    if (rc == 0)
        *status = h.status;
    hop_done(&h);
    return rc;
}

int egress_fetch(struct egress *eg, const struct egress_fetch *f, int *status, struct err *e)
{
    struct trail t = {.url = strdup(f->url)};
    if (!t.url)
        return err_set(e, ERR_NOMEM, "no memory for a download");
    bool more = true;
    int rc = 0, last = 0;
    for (int hop = 0; rc == 0 && more; hop++) {
        if (hop == MAX_HOPS)
            rc = err_set(e, ERR_UPSTREAM, "more than %d redirects", MAX_HOPS);
        else
            rc = one_hop(eg, f, &t, &more, &last, e);
    }
    free(t.url);
    if (rc == 0)
        *status = last;
    return rc;
}
