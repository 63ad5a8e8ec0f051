/* fuzz_http.c: the HTTP parser without sockets. The same bytes in one piece and in small ones must
 * give the same requests: a parser that depends on where packets end can be led astray. And where
 * llhttp takes a whole request too, it must find the same body and the same end: two programs that
 * disagree about that are what request smuggling lives on. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http_int.h"

struct seen {
    uint64_t hash;
    size_t requests;
};

static void mix(struct seen *s, struct str b)
{
    for (size_t i = 0; i < b.n; i++)
        s->hash = (s->hash ^ (unsigned char)b.p[i]) * 1099511628211u;
    s->hash = (s->hash ^ b.n) * 1099511628211u;
}

/* What a streamed body was handed on as. */
static struct buf streamed;

static void stream(void *ctx, struct str bytes)
{
    assert(bytes.n > 0);
    buf_str_add(&streamed, bytes);
}

/* In small pieces, the body is handed on instead of being kept. */
static void begin(struct http_in *in, bool sink)
{
    http_in_init(in, 4096);
    if (sink)
        in->sink = stream;
    buf_init(&streamed, 4096);
}

static void take(struct seen *s, struct http_in *in)
{
    if (in->sink) {
        assert(in->body.n == 0);
        buf_str_add(&in->body, buf_str(&streamed));
        buf_done(&streamed);
    }
    s->requests++;
    assert(in->path.n > 0 && (in->path.p[0] == '/' || str_is(buf_str(&in->path), "*")));
    assert(in->body.n <= in->max_body);
    mix(s, in->method);
    mix(s, buf_str(&in->path));
    mix(s, in->query);
    mix(s, buf_str(&in->body));
    for (size_t i = 0; i < in->nfields; i++) {
        mix(s, in->fields[i].name);
        mix(s, in->fields[i].value);
        assert(!memchr(in->fields[i].value.p, '\n', in->fields[i].value.n));
    }
}

struct theirs {
    char body[4096];
    size_t n;
    bool whole;
};

static int their_body(llhttp_t *ll, const char *p, size_t n)
{
    struct theirs *t = ll->data;
    if (n > sizeof t->body - t->n)
        return HPE_USER;
    memcpy(t->body + t->n, p, n);
    t->n += n;
    return 0;
}

static int their_end(llhttp_t *ll)
{
    struct theirs *t = ll->data;
    t->whole = true;
    return HPE_PAUSED;
}

static void compare(struct str request, const struct http_in *in)
{
    static struct theirs t;
    llhttp_settings_t settings = {.on_body = their_body, .on_message_complete = their_end};
    llhttp_t ll;
    llhttp_init(&ll, HTTP_REQUEST, &settings);
    t.n = 0;
    t.whole = false;
    ll.data = &t;
    llhttp_errno_t rc = llhttp_execute(&ll, request.p, request.n);
    if (rc != HPE_OK && rc != HPE_PAUSED)
        return; /* more careful than we are */
    assert(t.whole);
    assert(rc == HPE_PAUSED && llhttp_get_error_pos(&ll) == request.p + request.n);
    assert(str_eq(str_n(t.body, t.n), buf_str(&in->body)));
}

static struct seen parse(const uint8_t *data, size_t size, size_t piece)
{
    struct seen s = {1469598103934665603u, 0};
    struct http_in *in = malloc(sizeof *in);
    assert(in);
    begin(in, piece < size);
    size_t at = 0, began = 0;
    for (;;) {
        size_t n = size - at < piece ? size - at : piece, used = 0;
        enum http_step step = http_in_feed(in, str_n((const char *)data + at, n), &used);
        assert(used <= n);
        at += used;
        if (step == IN_READY) {
            take(&s, in);
            if (!http_in_header(in, "upgrade").p)
                compare(str_n((const char *)data + began, at - began), in);
            began = at;
            http_in_done(in);
            begin(in, piece < size);
        } else if (step == IN_BAD) {
            assert(in->status >= 400 && in->why);
            mix(&s, str_of(in->why));
            break;
        } else if (step == IN_MORE && at == size) {
            break;
        } else {
            assert(step == IN_HEAD || used > 0 || n == 0);
        }
    }
    http_in_done(in);
    buf_done(&streamed);
    free(in);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = parse(data, size, size + 1);
    struct seen pieces = parse(data, size, 3);
    assert(whole.requests == pieces.requests && whole.hash == pieces.hash);
    (void)pieces;
    return 0;
}
