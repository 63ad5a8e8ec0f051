/* http_parse.c: bytes to one request, without sockets. Called by http_conn.c and the fuzzer.
 *
 * The header block is gathered whole (it is at most 16 KiB) and every line of it checked for what
 * parsers disagree about (bare CR or LF, folded lines, NUL), because two programs that see two
 * different requests in the same bytes are how requests are smuggled. Then llhttp parses it; the
 * body is http_body.c's. Refused here: more than one of Host, Content-Length or Transfer-Encoding,
 * any coding but `chunked`, methods nobody here answers, and targets that are neither a path nor
 * `http://` with the authority that Host names, nor `*` for OPTIONS. */
#include "http_int.h"

#include <stdlib.h>

static enum http_step bad(struct http_in *in, int status, const char *why)
{
    in->status = status;
    in->why = why;
    return IN_BAD;
}

/* ---- llhttp's callbacks ---- */

static int on_method(llhttp_t *ll, const char *p, size_t n)
{
    struct http_in *in = ll->data;
    in->method = str_n(p, n);
    return 0;
}

static int on_target(llhttp_t *ll, const char *p, size_t n)
{
    struct http_in *in = ll->data;
    in->target = str_n(p, n);
    return 0;
}

static bool room_for_field(struct http_in *in)
{
    if (in->nfields < in->cap_fields)
        return true;
    size_t cap = in->cap_fields ? in->cap_fields * 2 : 8;
    cap = cap > HTTP_MAX_FIELDS ? HTTP_MAX_FIELDS : cap;
    struct http_field *f = realloc(in->fields, cap * sizeof *f);
    if (f) {
        in->fields = f;
        in->cap_fields = cap;
    }
    return f != NULL;
}

static int on_field(llhttp_t *ll, const char *p, size_t n)
{
    struct http_in *in = ll->data;
    if (in->nfields == HTTP_MAX_FIELDS) {
        bad(in, 431, "too many header fields");
        return HPE_USER;
    }
    if (!room_for_field(in)) {
        bad(in, 503, "out of memory");
        return HPE_USER;
    }
    char *name = in->head.p + (p - in->head.p);
    for (size_t i = 0; i < n; i++)
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] + 32);
    in->fields[in->nfields++] = (struct http_field){str_n(p, n), str_n(p + n, 0)};
    return 0;
}

static int on_value(llhttp_t *ll, const char *p, size_t n)
{
    struct http_in *in = ll->data;
    if (in->nfields > 0)
        in->fields[in->nfields - 1].value = str_trim(str_n(p, n));
    return 0;
}

static int on_head_complete(llhttp_t *ll)
{
    struct http_in *in = ll->data;
    in->head_done = true;
    in->chunked = (ll->flags & F_CHUNKED) != 0;
    in->keep = llhttp_should_keep_alive(ll) != 0;
    ll->upgrade = 0; /* an offer of another protocol is not taken: the answer is HTTP/1.1 */
    return 1;        /* and its body is not llhttp's */
}

static llhttp_settings_t settings = {.on_method = on_method,
                                     .on_url = on_target,
                                     .on_header_field = on_field,
                                     .on_header_value = on_value,
                                     .on_headers_complete = on_head_complete};

/* ---- lifetime ---- */

void http_in_init(struct http_in *in, size_t max_body)
{
    *in = (struct http_in){.max_body = max_body, .minor = 1};
    buf_init(&in->head, HTTP_MAX_HEAD);
    buf_init(&in->path, HTTP_MAX_HEAD);
    buf_init(&in->body, max_body);
}

void http_in_done(struct http_in *in)
{
    buf_done(&in->head);
    buf_done(&in->path);
    buf_done(&in->body);
    free(in->fields);
    in->fields = NULL;
    in->nfields = in->cap_fields = 0;
}

bool http_in_started(const struct http_in *in)
{
    return in->head.n > 0 || in->skipped > 0;
}

struct str http_in_header(const struct http_in *in, const char *lower_name)
{
    for (size_t i = 0; i < in->nfields; i++)
        if (str_is(in->fields[i].name, lower_name))
            return in->fields[i].value;
    return STR_NONE;
}

/* ---- small grammar ---- */

bool http_is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool http_unescape(struct str s, bool plus, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.n - i < 3 || hex(s.p[i + 1]) < 0 || hex(s.p[i + 2]) < 0)
                return false;
            c = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
            if (c == '\0')
                return false;
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        buf_putc(out, c);
    }
    return !buf_failed(out);
}

/* ---- the header block ---- */

/* A line has ended. IN_HEAD: it was the empty one that ends the block. */
static enum http_step line_ended(struct http_in *in)
{
    bool empty = in->head.n - in->line_start == 2;
    if (empty && in->line_ends > 0)
        return IN_HEAD;
    if (!empty) {
        in->line_ends++;
        in->line_start = in->head.n;
        return IN_MORE;
    }
    /* An empty line before the request: RFC 9112 2.2 lets a few pass. */
    in->skipped += 2;
    buf_clear(&in->head);
    return in->skipped > 8 ? bad(in, 400, "no request line") : IN_MORE;
}

/* Bytes that cannot matter to the structure of a line. */
static size_t plain_run(struct str s)
{
    size_t i = 0;
    while (i < s.n && (unsigned char)s.p[i] > ' ' && s.p[i] != 0x7f)
        i++;
    return i;
}

/* Take bytes up to the end of the header block: the empty line. */
static enum http_step gather_head(struct http_in *in, struct str bytes, size_t *used)
{
    for (size_t i = 0; i < bytes.n;) {
        char c = bytes.p[i];
        char prev = in->head.n ? in->head.p[in->head.n - 1] : '\0';
        size_t run = prev == '\r' ? 0 : plain_run(str_n(bytes.p + i, bytes.n - i));
        if (run == 0) {
            *used = i + 1;
            if ((prev == '\r') != (c == '\n'))
                return bad(in, 400, "malformed line end in the header");
            if (((unsigned char)c < ' ' && !strchr("\r\n\t", c)) || c == 0x7f || c == '\0')
                return bad(in, 400, "control character in the header");
            if (in->line_ends > 0 && in->head.n == in->line_start && (c == ' ' || c == '\t'))
                return bad(in, 400, "folded header line");
        }
        size_t n = run ? run : 1;
        buf_add(&in->head, bytes.p + i, n);
        if (buf_failed(&in->head))
            return bad(in, 431, "header too large");
        *used = i += n;
        enum http_step step = c == '\n' ? line_ended(in) : IN_MORE;
        if (step != IN_MORE)
            return step;
    }
    return IN_MORE;
}

static enum http_step llhttp_said_no(struct http_in *in, llhttp_errno_t rc)
{
    switch (rc) {
    case HPE_USER: return IN_BAD; /* a callback filled status and why */
    case HPE_INVALID_VERSION:
    case HPE_PAUSED_H2_UPGRADE: return bad(in, 505, "HTTP version not supported");
    case HPE_INVALID_METHOD: return bad(in, 501, "method not supported");
    default: return bad(in, 400, "malformed request");
    }
}

static size_t count_fields(const struct http_in *in, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < in->nfields; i++)
        count += str_is(in->fields[i].name, name);
    return count;
}

static enum http_step check_framing(struct http_in *in)
{
    for (size_t i = 0; i < in->nfields; i++)
        if (!http_is_token(in->fields[i].name))
            return bad(in, 400, "malformed name of a header field");
    size_t hosts = count_fields(in, "host"), tes = count_fields(in, "transfer-encoding"),
           lengths = count_fields(in, "content-length");
    if (hosts > 1 || (hosts == 0 && in->minor == 1))
        return bad(in, 400, "exactly one Host is wanted");
    if (count_fields(in, "origin") > 1)
        return bad(in, 400, "more than one Origin");
    if (lengths > 1 || tes > 1 || (lengths && tes))
        return bad(in, 400, "ambiguous length of the body");
    if (tes && in->minor == 0)
        return bad(in, 400, "Transfer-Encoding in HTTP/1.0");
    if (tes && (!in->chunked || !str_ieq(http_in_header(in, "transfer-encoding"), STR("chunked"))))
        return bad(in, 501, "no transfer coding but chunked");
    uint64_t length = 0;
    if (lengths && !str_to_u64(http_in_header(in, "content-length"), &length))
        return bad(in, 400, "malformed Content-Length");
    http_body_init(&in->framing, tes > 0, length);
    struct str expect = http_in_header(in, "expect");
    if (expect.p && !str_ieq(expect, STR("100-continue")))
        return bad(in, 417, "unknown expectation");
    in->expect_continue = expect.p && in->minor == 1 && in->framing.part != PART_END;
    return IN_HEAD;
}

/* "http://authority/path?query": what a proxy is asked, and what every server has to take
 * (RFC 9112 3.2.2). It must name the Host that the field names, so that there is one to check. */
static enum http_step cut_absolute(struct http_in *in, struct str *rest)
{
    const struct str scheme = STR("http://");
    if (!str_istarts(*rest, scheme))
        return bad(in, 400, "the request's target is not a path");
    struct str after = str_n(rest->p + scheme.n, rest->n - scheme.n);
    size_t n = 0;
    while (n < after.n && after.p[n] != '/' && after.p[n] != '?')
        n++;
    in->authority = str_n(after.p, n);
    *rest = str_n(after.p + n, after.n - n);
    return n ? IN_HEAD : bad(in, 400, "malformed target of the request");
}

static enum http_step check_target(struct http_in *in)
{
    for (size_t i = 0; i < in->target.n; i++)
        if ((unsigned char)in->target.p[i] <= ' ' || (unsigned char)in->target.p[i] >= 0x7f ||
            in->target.p[i] == '#')
            return bad(in, 400, "malformed path");
    struct str rest = in->target, path;
    bool server = str_is(rest, "*") && str_is(in->method, "OPTIONS");
    if (!server && (rest.n == 0 || rest.p[0] != '/') && cut_absolute(in, &rest) == IN_BAD)
        return IN_BAD;
    if (!str_cut(rest, '?', &path, &in->query))
        in->query = STR_NONE;
    if (path.n == 0)
        buf_putc(&in->path, '/');
    if (!http_unescape(path, false, &in->path))
        return bad(in, 400, "malformed escape in the path");
    return IN_HEAD;
}

static enum http_step check_request_line(struct http_in *in, const llhttp_t *ll)
{
    static const char *const methods[] = {"GET",   "HEAD",   "POST",    "PUT",
                                          "PATCH", "DELETE", "OPTIONS", NULL};
    size_t i = 0;
    while (methods[i] && !str_is(in->method, methods[i]))
        i++;
    if (!methods[i])
        return bad(in, 501, "method not supported");
    if (ll->http_major != 1)
        return bad(in, 505, "HTTP version not supported");
    in->minor = ll->http_minor ? 1 : 0;
    if (in->target.p != in->method.p + in->method.n + 1)
        return bad(in, 400, "malformed request line");
    return check_target(in);
}

/* A request that waits holds what it needs and not what its buffer grew to. */
static void fit(struct buf *b)
{
    char *p = b->n + 1 < b->cap ? realloc(b->p, b->n + 1) : NULL;
    if (p) {
        b->p = p;
        b->cap = b->n + 1;
    }
}

static enum http_step parse_head(struct http_in *in)
{
    llhttp_t ll;
    fit(&in->head);
    llhttp_init(&ll, HTTP_REQUEST, &settings);
    ll.data = in;
    llhttp_errno_t rc = llhttp_execute(&ll, in->head.p, in->head.n);
    if (rc != HPE_OK)
        return llhttp_said_no(in, rc);
    if (!in->head_done)
        return bad(in, 400, "malformed request");
    enum http_step step = check_request_line(in, &ll);
    if (step != IN_BAD)
        step = check_framing(in);
    if (step != IN_BAD && in->authority.p && !str_ieq(in->authority, http_in_header(in, "host")))
        step = bad(in, 400, "the target and Host name two servers");
    fit(&in->path);
    return step;
}

/* ---- the body ---- */

/* Memory for a body that was announced, at once and exactly; a large one grows as it comes, so that
 * an announcement alone costs nothing. */
static void expect_body(struct http_in *in)
{
    uint64_t n = in->framing.left + in->framing.seen;
    if (in->chunked || in->body.p || n > NET_READ)
        return;
    in->body.p = malloc((size_t)n + 1);
    in->body.cap = in->body.p ? (size_t)n + 1 : 0;
}

enum http_step http_in_limit(struct http_in *in, size_t max_body)
{
    in->max_body = in->body.max = max_body;
    if (in->framing.part == PART_PLAIN && in->framing.left > max_body)
        return bad(in, 413, "body too large");
    return IN_HEAD;
}

static enum http_step take_data(struct http_in *in, struct str data)
{
    if (in->framing.seen > in->max_body)
        return bad(in, 413, "body too large");
    if (in->sink) {
        in->sink(in->sink_ctx, data);
        return IN_MORE;
    }
    expect_body(in);
    buf_str_add(&in->body, data);
    return buf_failed(&in->body) ? bad(in, 503, "out of memory") : IN_MORE;
}

static enum http_step feed_body(struct http_in *in, struct str bytes, size_t *used)
{
    const char *why = NULL;
    while (*used < bytes.n && in->framing.part != PART_END) {
        struct str data;
        size_t n = 0;
        if (!http_body_feed(&in->framing, str_n(bytes.p + *used, bytes.n - *used), &data, &n, &why))
            return bad(in, 400, why);
        *used += n;
        if (data.n && take_data(in, data) == IN_BAD)
            return IN_BAD;
    }
    return in->framing.part == PART_END ? IN_READY : IN_MORE;
}

enum http_step http_in_feed(struct http_in *in, struct str bytes, size_t *used)
{
    *used = 0;
    if (in->status != 0)
        return IN_BAD;
    if (in->head_done)
        return feed_body(in, bytes, used);
    enum http_step step = gather_head(in, bytes, used);
    if (step == IN_HEAD)
        step = parse_head(in);
    return step == IN_HEAD ? http_in_limit(in, in->max_body) : step;
}
