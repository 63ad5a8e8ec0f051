/* sse.c: server-sent events, incrementally (https://html.spec.whatwg.org/#parsing-an-event-stream),
 * or lines of JSON, each an event. Bytes may be cut anywhere; lines end in LF, CR LF or CR. Owns
 * the bound on one event. Refuses nothing else: unknown fields and comments are skipped, as the
 * standard says. */
#include "wire_int.h"

void sse_init(struct sse *s,
              int (*event)(void *ctx, struct str name, struct str data, struct err *e), void *ctx)
{
    *s = (struct sse){.event = event, .ctx = ctx};
    buf_init(&s->line, WIRE_MAX_EVENT);
    buf_init(&s->data, WIRE_MAX_EVENT);
    buf_init(&s->name, 256);
}

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
    buf_done(&s->name);
}

static int dispatch(struct sse *s, struct err *e)
{
    int rc = 0;
    if (s->has_data)
        rc = s->event(s->ctx, buf_str(&s->name), buf_str(&s->data), e);
    buf_clear(&s->data);
    buf_clear(&s->name);
    s->has_data = false;
    return rc;
}

static int take_line(struct sse *s, struct str line, struct err *e)
{
    if (!s->started) {
        s->started = true;
        if (str_starts(line, STR("\xEF\xBB\xBF")))
            line = str_n(line.p + 3, line.n - 3);
    }
    if (s->lines)
        return line.n ? s->event(s->ctx, STR_NONE, line, e) : 0;
    if (!line.n)
        return dispatch(s, e);
    struct str field, value;
    if (!str_cut(line, ':', &field, &value))
        value = STR("");
    if (value.n && value.p[0] == ' ')
        value = str_n(value.p + 1, value.n - 1);
    if (str_is(field, "data")) {
        if (s->has_data)
            buf_putc(&s->data, '\n');
        buf_str_add(&s->data, value);
        s->has_data = true;
    } else if (str_is(field, "event")) {
        buf_clear(&s->name);
        buf_str_add(&s->name, value.n <= 128 ? value : str_n(value.p, 128));
    }
    if (buf_failed(&s->data))
        return err_set(e, ERR_UPSTREAM, "an event of the stream is larger than %zu bytes",
                       s->data.max);
    return 0;
}

int sse_feed(struct sse *s, struct str bytes, struct err *e)
{
    size_t from = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        char c = bytes.p[i];
        bool second = s->cr && c == '\n'; /* the LF of a CR LF, already counted */
        s->cr = c == '\r';
        if (second) {
            from = i + 1;
            continue;
        }
        if (c != '\n' && c != '\r')
            continue;
        struct str line = str_n(bytes.p + from, i - from);
        from = i + 1;
        if (s->line.n) {
            buf_str_add(&s->line, line);
            line = buf_str(&s->line);
        }
        int rc = buf_failed(&s->line) ? 0 : take_line(s, line, e);
        if (buf_failed(&s->line))
            rc = err_set(e, ERR_UPSTREAM, "a line of the stream is larger than %zu bytes",
                         s->line.max);
        buf_clear(&s->line);
        if (rc)
            return rc;
    }
    buf_add(&s->line, bytes.n ? bytes.p + from : "", bytes.n - from);
    if (buf_failed(&s->line))
        return err_set(e, ERR_UPSTREAM, "a line of the stream is larger than %zu bytes",
                       s->line.max);
    return 0;
}

int sse_end(struct sse *s, struct err *e)
{
    if (s->line.n) {
        int rc = take_line(s, buf_str(&s->line), e);
        buf_clear(&s->line);
        if (rc)
            return rc;
    }
    return dispatch(s, e);
}
