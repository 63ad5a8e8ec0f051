/* http_parse.c: bytes to one request, without sockets. Called by http_conn.c and the fuzzer.
 *
 * The header block is gathered whole (it is at most 16 KiB) and every line of it checked for what
 * parsers disagree about (bare CR or LF, folded lines, NUL), because two programs that see two
 * different requests in the same bytes are how requests are smuggled. Then llhttp parses it, and
 * the body as it arrives. Refused here: more than one of Host, Content-Length or Transfer-Encoding,
 * any coding but `chunked`, targets that are not a path, methods nobody here answers. */
#include "http_int.h"

#include <stdlib.h>

/* Chunks of one byte cost five of framing; past this ratio it is not a body that is being sent. */
#define FRAMING_FREE ((size_t)16 * 1024)
#define FRAMING_PER_BYTE 16

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

/* A span may be empty or missing, so a field is opened by whichever callback comes first. */
static int on_field(llhttp_t *ll, const char *p, size_t n)
{
    struct http_in *in = ll->data;
    if (in->head_done)
        return 0; /* a trailer: dropped */
    if (in->nfields == HTTP_MAX_FIELDS) {
        bad(in, 431, "too many header fields");
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
    if (!in->head_done && in->nfields > 0)
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
    return 0;
}

static int on_body(llhttp_t *ll, const char *p, size_t n)
{
    struct http_in *in = ll->data;
    if (n > in->max_body - in->body.n) {
        bad(in, 413, "body too large");
        return HPE_USER;
    }
    buf_add(&in->body, p, n);
    if (buf_failed(&in->body)) {
        bad(in, 503, "out of memory");
        return HPE_USER;
    }
    return 0;
}

static int on_complete(llhttp_t *ll)
{
    struct http_in *in = ll->data;
    in->complete = true;
    return HPE_PAUSED; /* what follows is the next request's */
}

static llhttp_settings_t settings = {.on_method = on_method,
                                     .on_url = on_target,
                                     .on_header_field = on_field,
                                     .on_header_value = on_value,
                                     .on_headers_complete = on_head_complete,
                                     .on_body = on_body,
                                     .on_message_complete = on_complete};

/* ---- lifetime ---- */

void http_in_init(struct http_in *in, size_t max_body)
{
    memset(in, 0, sizeof *in);
    in->max_body = max_body;
    buf_init(&in->head, HTTP_MAX_HEAD);
    buf_init(&in->path, HTTP_MAX_HEAD);
    buf_init(&in->body, max_body);
    http_in_reset(in);
}

void http_in_done(struct http_in *in)
{
    buf_done(&in->head);
    buf_done(&in->path);
    buf_done(&in->body);
}

void http_in_reset(struct http_in *in)
{
    llhttp_init(&in->ll, HTTP_REQUEST, &settings);
    in->ll.data = in;
    buf_clear(&in->head);
    buf_clear(&in->path);
    if (in->body.cap > NET_READ)
        buf_done(&in->body); /* an idle connection keeps no large body's memory */
    else
        buf_clear(&in->body);
    in->method = in->target = in->query = STR_NONE;
    in->nfields = in->line_start = in->line_ends = in->skipped = in->framing = 0;
    in->head_done = in->complete = in->keep = in->chunked = in->expect_continue = false;
    in->minor = 1;
    in->status = 0;
    in->why = NULL;
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

/* Take bytes up to the end of the header block: the empty line. */
static enum http_step gather_head(struct http_in *in, struct str bytes, size_t *used)
{
    size_t i = 0;
    for (; i < bytes.n; i++) {
        char c = bytes.p[i];
        char prev = in->head.n ? in->head.p[in->head.n - 1] : '\0';
        *used = i + 1;
        if ((prev == '\r') != (c == '\n'))
            return bad(in, 400, "malformed line end in the header");
        if (((unsigned char)c < ' ' && !strchr("\r\n\t", c)) || c == 0x7f || c == '\0')
            return bad(in, 400, "control character in the header");
        if (in->line_ends > 0 && in->head.n == in->line_start && (c == ' ' || c == '\t'))
            return bad(in, 400, "folded header line");
        buf_putc(&in->head, c);
        if (buf_failed(&in->head))
            return bad(in, 431, "header too large");
        if (c != '\n')
            continue;
        bool empty = in->head.n - in->line_start == 2;
        if (empty && in->line_ends == 0) {
            /* An empty line before the request: RFC 9112 2.2 lets a few pass. */
            in->skipped += 2;
            buf_clear(&in->head);
            if (in->skipped > 8)
                return bad(in, 400, "no request line");
            continue;
        }
        if (empty)
            return IN_HEAD;
        in->line_ends++;
        in->line_start = in->head.n;
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
    if (lengths) {
        uint64_t n;
        if (!str_to_u64(http_in_header(in, "content-length"), &n))
            return bad(in, 400, "malformed Content-Length");
        if (n > in->max_body)
            return bad(in, 413, "body too large");
    }
    struct str expect = http_in_header(in, "expect");
    if (expect.p && !str_ieq(expect, STR("100-continue")))
        return bad(in, 417, "unknown expectation");
    in->expect_continue = expect.p && in->minor == 1 && !in->complete;
    return IN_HEAD;
}

static enum http_step check_request_line(struct http_in *in)
{
    static const char *const methods[] = {"GET",   "HEAD",   "POST",    "PUT",
                                          "PATCH", "DELETE", "OPTIONS", NULL};
    size_t i = 0;
    while (methods[i] && !str_is(in->method, methods[i]))
        i++;
    if (!methods[i])
        return bad(in, 501, "method not supported");
    if (in->ll.http_major != 1)
        return bad(in, 505, "HTTP version not supported");
    in->minor = in->ll.http_minor ? 1 : 0;
    if (in->target.p != in->method.p + in->method.n + 1)
        return bad(in, 400, "malformed request line");
    if (in->target.n == 0 || in->target.p[0] != '/')
        return bad(in, 400, "the request's target is not a path");
    for (i = 0; i < in->target.n; i++)
        if ((unsigned char)in->target.p[i] <= ' ' || (unsigned char)in->target.p[i] >= 0x7f ||
            in->target.p[i] == '#')
            return bad(in, 400, "malformed path");
    struct str path;
    if (!str_cut(in->target, '?', &path, &in->query))
        in->query = STR_NONE;
    if (!http_unescape(path, false, &in->path))
        return bad(in, 400, "malformed escape in the path");
    return IN_HEAD;
}

static enum http_step parse_head(struct http_in *in)
{
    llhttp_errno_t rc = llhttp_execute(&in->ll, in->head.p, in->head.n);
    if (rc == HPE_PAUSED && in->complete) {
        llhttp_resume(&in->ll);
        rc = HPE_OK;
    }
    if (rc != HPE_OK)
        return llhttp_said_no(in, rc);
    if (!in->head_done)
        return bad(in, 400, "malformed request");
    enum http_step step = check_request_line(in);
    return step == IN_BAD ? step : check_framing(in);
}

/* ---- the body ---- */

static enum http_step feed_body(struct http_in *in, struct str bytes, size_t *used)
{
    size_t before = in->body.n;
    llhttp_errno_t rc = llhttp_execute(&in->ll, bytes.p, bytes.n);
    if (rc == HPE_PAUSED && in->complete) {
        *used = (size_t)(llhttp_get_error_pos(&in->ll) - bytes.p);
        return IN_READY;
    }
    *used = bytes.n;
    if (rc != HPE_OK)
        return llhttp_said_no(in, rc);
    in->framing += bytes.n - (in->body.n - before);
    if (in->framing > FRAMING_FREE + in->body.n * FRAMING_PER_BYTE)
        return bad(in, 400, "more framing than body");
    return IN_MORE;
}

enum http_step http_in_feed(struct http_in *in, struct str bytes, size_t *used)
{
    *used = 0;
    if (in->status != 0)
        return IN_BAD;
    if (in->complete)
        return IN_READY;
    if (in->head_done)
        return bytes.n ? feed_body(in, bytes, used) : IN_MORE;
    enum http_step step = gather_head(in, bytes, used);
    return step == IN_HEAD ? parse_head(in) : step;
}
