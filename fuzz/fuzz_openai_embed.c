/* fuzz_openai_embed.c: the embeddings of the openai dialect: a request's decoder (the first byte is
 * even), and the reader of an answer. What was accepted is said again and accepted again. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void request(struct str body)
{
    struct arena *a = arena_new(64 << 20);
    struct gen_req *r = NULL, *again = NULL;
    struct buf out = BUF_INIT(64 << 20);
    struct err e = {0};
    if (a && wire_request_decode(WIRE_EMBEDDINGS, body, a, &r, &e) == 0) {
        if (wire_request_encode(WIRE_EMBEDDINGS, r, r->model, NULL, &out, &e) == 0 &&
            wire_request_decode(WIRE_EMBEDDINGS, buf_str(&out), a, &again, &e) != 0 &&
            e.code != ERR_NOMEM)
            abort();
    } else if (a && (r || !e.code || !e.msg[0])) {
        abort();
    }
    buf_done(&out);
    arena_free(a);
}

static void answer(struct str body)
{
    struct fuzz_seen seen = {0};
    struct gen_sink sink = {.event = fuzz_event, .ctx = &seen};
    struct wire_reader *r;
    struct err e = {0};
    if (wire_reader_new(WIRE_EMBEDDINGS, false, sink, &r, &e))
        return;
    int rc = wire_reader_feed(r, body, NULL, &e);
    if (!rc)
        rc = wire_reader_end(r, &e);
    if (seen.ends != (rc == 0) || seen.after || seen.starts > 1 || (rc && rc != e.code))
        abort();
    wire_reader_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct str body = str_n((const char *)data + 1, size - 1);
    if (data[0] % 2 == 0)
        request(body);
    else
        answer(body);
    return 0;
}
