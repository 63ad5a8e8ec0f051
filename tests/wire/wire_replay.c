/* wire_replay.c: wire_replay FORM answer|stream|request|error SPLIT < body
 * Decodes the body, fed in pieces of SPLIT bytes (0: at once), and prints it as wire_canon does;
 * exit code 1 and the error's code and message when it is refused. SPLIT of an error is its HTTP
 * status. `request` also encodes what it decoded, decodes that again, and fails unless both are the
 * same. */
#include "wire_canon.h"

#include "wire.h"

#include <stdio.h>
#include <stdlib.h>

static struct buf input = {.max = 256 << 20};

static int refuse(const struct err *e)
{
    printf("refused %s %s\n", err_name(e->code), e->msg);
    return 1;
}

/* first, body, second: what was decoded, its encoding, what that decodes to. */
static int there_and_back(enum wire_form d, struct arena *a, struct buf *first, struct buf *body,
                          struct buf *second)
{
    struct gen_req *r, *again;
    struct err e = {0};
    if (wire_request_decode(d, buf_str(&input), a, &r, &e))
        return refuse(&e);
    canon_req(r, first);
    printf("%s", first->p);
    if (wire_request_encode(d, r, r->model, NULL, body, &e))
        return refuse(&e);
    if (wire_request_decode(d, buf_str(body), a, &again, &e))
        return refuse(&e);
    canon_req(again, second);
    if (str_eq(buf_str(first), buf_str(second)))
        return 0;
    printf("differs after a round trip:\n%s", second->p);
    return 1;
}

static int replay_request(enum wire_form d)
{
    struct arena *a = arena_new(256 << 20);
    struct buf first = BUF_INIT(256 << 20), body = BUF_INIT(256 << 20);
    struct buf second = BUF_INIT(256 << 20);
    int rc = a ? there_and_back(d, a, &first, &body, &second) : 2;
    buf_done(&first);
    buf_done(&body);
    buf_done(&second);
    arena_free(a);
    return rc;
}

static int replay_answer(enum wire_form d, bool stream, size_t split)
{
    struct canon_sink sink;
    struct wire_reader *r;
    struct err e = {0};
    canon_sink_init(&sink, true);
    if (wire_reader_new(d, stream, canon_sink_of(&sink), &r, &e))
        return refuse(&e);
    struct str all = buf_str(&input);
    int rc = 0;
    for (size_t at = 0; at < all.n && !rc;) {
        size_t n = split && split < all.n - at ? split : all.n - at;
        rc = wire_reader_feed(r, str_n(all.p + at, n), NULL, &e);
        at += n;
    }
    if (!rc)
        rc = wire_reader_end(r, &e);
    canon_sink_flush(&sink);
    printf("%s", sink.text.p ? sink.text.p : "");
    wire_reader_free(r);
    canon_sink_done(&sink);
    return rc ? refuse(&e) : 0;
}

static int replay(enum wire_form d, const char *what, size_t split)
{
    struct err e = {0};
    if (!strcmp(what, "request"))
        return replay_request(d);
    if (strcmp(what, "error"))
        return replay_answer(d, !strcmp(what, "stream"), split);
    wire_error_decode(wire_form_dialect(d), (int)split, buf_str(&input), 0, &e);
    printf("%s %s\n", err_name(e.code), e.msg);
    return 0;
}

int main(int argc, char **argv)
{
    enum wire_form d;
    char chunk[65536];
    size_t n;
    if (argc != 4 || !wire_form_find(str_of(argv[1]), &d)) {
        fprintf(stderr, "usage: wire_replay FORM answer|stream|request|error SPLIT < body\n");
        return 2;
    }
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0)
        buf_add(&input, chunk, n);
    int rc = replay(d, argv[2], strtoul(argv[3], NULL, 10));
    buf_done(&input);
    return rc;
}
