/* answer.c: one HTTP answer in the caller's dialect. */
#include "answer.h"

#include "clock.h"
#include "native.h"

#include <stdio.h>

#define MAX_BODY ((size_t)64 << 20)

int answer_init(struct answer *a, struct net_req *http, struct face face, const struct gen_req *req,
                const char *id, struct err *e)
{
    *a = (struct answer){.http = http, .face = face, .bytes = BUF_INIT(MAX_BODY)};
    a->stream = req->stream || face.kind == FACE_NATIVE;
    if (face.kind == FACE_NATIVE)
        return 0;
    return wire_writer_new(face.form, req, str_of(id), clock_wall_ms() / 1000, &a->writer, e);
}

void answer_done(struct answer *a)
{
    if (!a)
        return;
    wire_writer_free(a->writer);
    buf_done(&a->bytes);
    *a = (struct answer){0};
}

static void flush(struct answer *a)
{
    if (a->http && a->bytes.n)
        a->waiting = net_res_write(a->http, buf_str(&a->bytes));
    buf_clear(&a->bytes);
}

void answer_open(struct answer *a)
{
    if (a->open)
        return;
    a->open = true;
    if (!a->http)
        return;
    net_res_header(a->http, "Cache-Control", STR("no-store"));
    net_res_start(a->http, 200, a->writer ? wire_writer_type(a->writer) : "application/x-ndjson");
}

int answer_event(struct answer *a, const struct gen_event *ev, struct err *e)
{
    int rc = 0;
    if (!a->http)
        return 0;
    if (a->writer)
        rc = wire_writer_event(a->writer, ev, &a->bytes, e);
    else
        native_event(ev, &a->bytes);
    if (rc == 0 && buf_failed(&a->bytes))
        rc = err_set(e, ERR_TOO_LARGE, "the answer is larger than 64 MiB");
    if (rc == 0 && a->bytes.n) {
        answer_open(a);
        flush(a);
    }
    return rc;
}

void answer_native(struct answer *a, const char *type, struct str json)
{
    if (a->face.kind != FACE_NATIVE || !a->http || json.n < 2 || json.p[0] != '{')
        return;
    answer_open(a);
    bool empty = json.n == 2;
    buf_printf(&a->bytes, "{\"type\":\"%s\"%s", type, empty ? "" : ",");
    buf_add(&a->bytes, json.p + 1, json.n - 1);
    if (a->bytes.n && a->bytes.p[a->bytes.n - 1] != '\n')
        buf_putc(&a->bytes, '\n');
    flush(a);
}

void answer_keepalive(struct answer *a)
{
    if (!a->http || !a->open || !a->stream)
        return;
    if (a->writer)
        wire_keepalive(a->face.form, &a->bytes);
    else
        buf_puts(&a->bytes, "\n");
    flush(a);
}

void answer_end(struct answer *a)
{
    if (!a->http)
        return;
    answer_open(a);
    net_res_end(a->http);
    a->http = NULL;
}

void pipeline_refuse(struct net_req *r, struct face face, const struct err *err)
{
    struct buf body = BUF_INIT(65536);
    char seconds[16];
    if (err->retry_after_s > 0) {
        snprintf(seconds, sizeof seconds, "%d", err->retry_after_s);
        net_res_header(r, "Retry-After", str_of(seconds));
    } else if (err->code == ERR_OVERLOAD || err->code == ERR_RATE) {
        net_res_header(r, "Retry-After", STR("5"));
    }
    if (face.kind == FACE_FORM || face.kind == FACE_COUNT) {
        wire_error_body(face.form, err, &body);
    } else {
        buf_printf(&body, "{\"error\":{\"code\":\"%s\",\"message\":", err_name(err->code));
        buf_json_str(&body, str_of(err_msg(err)));
        buf_puts(&body, "}}\n");
    }
    net_res_send(r, err_http(err->code), "application/json", buf_str(&body));
    buf_done(&body);
}

void answer_error(struct answer *a, const struct err *err)
{
    if (!a->http)
        return;
    if (!a->open) {
        pipeline_refuse(a->http, a->face, err);
        a->http = NULL;
        return;
    }
    struct gen_event ev = {.type = GEN_EV_ERROR, .err = err};
    struct err ignored;
    if (a->stream && answer_event(a, &ev, &ignored) == 0)
        answer_end(a);
    else if (a->http)
        net_res_abort(
            a->http); /* a body that was begun and cannot be finished must not look finished */
    a->http = NULL;
}
