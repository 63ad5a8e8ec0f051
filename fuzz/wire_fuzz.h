/* wire_fuzz.h: what the fuzz targets of the dialects' decoders share. */
#ifndef WEIR_WIRE_FUZZ_H
#define WEIR_WIRE_FUZZ_H

#include "wire.h"

#include <stdint.h>
#include <stdlib.h>

/* Decode; what was accepted must encode into something that is accepted again, or be refused with
 * a reason. */
static inline void fuzz_request(enum wire_form f, const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(64 << 20);
    struct gen_req *r = NULL, *again = NULL;
    struct err e = {0};
    if (!a)
        return;
    if (wire_request_decode(f, str_n((const char *)data, size), a, &r, &e) == 0) {
        for (int to = 0; to < WIRE_FORMS; to++) {
            if (!wire_form_known((enum wire_form)to))
                continue;
            struct buf out = BUF_INIT(64 << 20);
            struct str model = r->model.n ? r->model : STR("m"); /* llama-server's are without */
            int rc = wire_request_encode((enum wire_form)to, r, model, NULL, &out, &e);
            if (rc == 0 &&
                wire_request_decode((enum wire_form)to, buf_str(&out), a, &again, &e) != 0 &&
                e.code != ERR_NOMEM)
                abort();
            if (rc != 0 && (rc != e.code || !e.msg[0]))
                abort();
            buf_done(&out);
        }
    } else if (r || !e.code || !e.msg[0])
        abort();
    arena_free(a);
}

struct fuzz_seen {
    int starts, ends, after;
};

static inline enum gen_verdict fuzz_event(void *ctx, const struct gen_event *ev)
{
    struct fuzz_seen *s = ctx;
    s->after += s->ends > 0;
    s->starts += ev->type == GEN_EV_START;
    s->ends += ev->type == GEN_EV_DONE || ev->type == GEN_EV_ERROR;
    if (s->ends && !s->starts)
        abort();
    return GEN_GO;
}

/* The first byte: streamed or not, and where the rest is cut. An answer has one end or an error. */
static inline void fuzz_answer(enum wire_form f, const uint8_t *data, size_t size)
{
    struct fuzz_seen seen = {0};
    struct gen_sink sink = {.event = fuzz_event, .ctx = &seen};
    struct wire_reader *r;
    struct err e = {0};
    if (size < 1 || wire_reader_new(f, data[0] & 1, sink, &r, &e))
        return;
    size_t step = (data[0] >> 1) + 1;
    int rc = 0;
    for (size_t at = 1; at < size && !rc; at += step)
        rc = wire_reader_feed(
            r, str_n((const char *)data + at, size - at < step ? size - at : step), NULL, &e);
    if (!rc)
        rc = wire_reader_end(r, &e);
    if (seen.ends != (rc == 0) || seen.after || seen.starts > 1 || (rc && rc != e.code))
        abort();
    wire_reader_free(r);
}

#endif
