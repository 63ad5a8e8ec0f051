/* http_out.c: bytes out of a connection. A write is tried at once, which is nearly always all; only
 * what the socket did not take becomes a request of libuv's, with memory of its own until it is
 * gone. Here also: whether a client takes anything at all. */
#include "http_int.h"

#include <stdlib.h>

size_t conn_waiting(const struct http_conn *c)
{
    return c->out.n + (c->flight ? uv_stream_get_write_queue_size(&c->u.stream) : 0);
}

static void flight_free(struct flight *f)
{
    if (!f)
        return;
    buf_done(&f->bytes);
    free(f);
}

static void on_written(uv_write_t *w, int status)
{
    struct flight *f = w->data;
    struct http_conn *c = f->c;
    c->flight = NULL;
    flight_free(f);
    if (c->state == CONN_CLOSED)
        return;
    if (status != 0)
        c->doomed = true;
    c->progress_at = uv_now(c->u.handle.loop);
    conn_flush(c);
    conn_written(c);
}

/* `gone` of the bytes in out are written; the rest goes when the socket takes it. */
static void write_rest(struct http_conn *c, size_t gone)
{
    struct flight *f = calloc(1, sizeof *f);
    if (!f) {
        c->doomed = true;
        return;
    }
    f->c = c;
    f->bytes = c->out;
    f->write.data = f;
    buf_init(&c->out, NET_MAX_OUT);
    uv_buf_t b = uv_buf_init(f->bytes.p + gone, (unsigned)(f->bytes.n - gone));
    if (uv_write(&f->write, &c->u.stream, &b, 1, on_written) == 0) {
        c->flight = f;
        return;
    }
    flight_free(f);
    c->doomed = true;
}

/* A failure here waits for the turn's end: this is called from inside the application's own calls,
 * which must not find their request closed under them. */
void conn_flush(struct http_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (buf_failed(&c->out))
        c->doomed = true;
    if (c->flight || c->out.n == 0 || c->doomed)
        return;
    uv_buf_t b = uv_buf_init(c->out.p, (unsigned)c->out.n);
    int n = uv_try_write(&c->u.stream, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        c->doomed = true;
        return;
    }
    c->progress_at = uv_now(c->u.handle.loop);
    if (n == (int)c->out.n)
        buf_clear(&c->out);
    else
        write_rest(c, n > 0 ? (size_t)n : 0);
}

void conn_out_done(struct http_conn *c)
{
    buf_done(&c->out);
    flight_free(c->flight);
    c->flight = NULL;
}

bool conn_stalled(struct http_conn *c, uint64_t now)
{
    size_t waiting = conn_waiting(c);
    uint64_t sent = c->queued - waiting;
    if (waiting == 0 || sent != c->sent) {
        c->sent = sent;
        c->progress_at = now;
    }
    return now - c->progress_at >= c->s->stall_ms;
}
