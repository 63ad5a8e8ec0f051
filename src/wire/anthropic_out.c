/* anthropic_out.c: events into an answer of /v1/messages, streamed as blocks or as one message.
 * The dialect's blocks stand one after another, so exactly one is open: a kind of event that does
 * not belong to it closes it. Calls whose arguments come interleaved are written in turn, the later
 * ones kept until the earlier one has ended. Both forms share this order; they differ only in what
 * opening, filling and closing a block writes. */
#include "wire_int.h"

#include <stdlib.h>

enum kind { NONE, TEXT, THINKING, TOOL };

/* A call that waits for the open one to end. */
struct waiting {
    int32_t tool;
    bool ended;
    struct buf id, name, args;
};

struct state {
    enum kind open;
    int32_t tool;   /* open == TOOL: which */
    int32_t closed; /* calls below this have been written whole */
    int nblocks;
    struct wire_said said;
    struct waiting *queue;
    size_t nqueue;
    /* One message: the blocks so far, and the open one's pieces. */
    struct buf content, piece, signature, id, name;
};

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for the answer");
}

int anthropic_writer_new(struct wire_writer *w)
{
    struct state *s = calloc(1, sizeof *s);
    w->state = s;
    if (!s)
        return ERR_NOMEM;
    buf_init(&s->content, 2 * (size_t)WIRE_MAX_ANSWER);
    buf_init(&s->piece, WIRE_MAX_ANSWER);
    buf_init(&s->signature, WIRE_MAX_EVENT);
    buf_init(&s->id, 1 << 16);
    buf_init(&s->name, 1 << 16);
    return 0;
}

static void waiting_done(struct waiting *q)
{
    buf_done(&q->id);
    buf_done(&q->name);
    buf_done(&q->args);
}

void anthropic_writer_free(struct wire_writer *w)
{
    struct state *s = w->state;
    if (!s)
        return;
    for (size_t i = 0; i < s->nqueue; i++)
        waiting_done(&s->queue[i]);
    free(s->queue);
    buf_done(&s->content);
    buf_done(&s->piece);
    buf_done(&s->signature);
    buf_done(&s->id);
    buf_done(&s->name);
    free(s);
}

/* ---- shared pieces ---- */

static const char *reason_word(const struct gen_event *ev)
{
    switch (ev->reason) {
    case GEN_END_SEQUENCE: return "stop_sequence";
    case GEN_END_LENGTH: return "max_tokens";
    case GEN_END_TOOLS: return "tool_use";
    case GEN_END_FILTER: return "refusal";
    case GEN_END_STOP: break;
    }
    return str_is(ev->name, "pause_turn") ? "pause_turn" : "end_turn";
}

static void put_stop(struct buf *b, const struct gen_event *ev)
{
    jw_str(b, "stop_reason", str_of(reason_word(ev)));
    if (ev->reason == GEN_END_SEQUENCE && ev->text.n)
        jw_str(b, "stop_sequence", ev->text);
    else
        jw_null(b, "stop_sequence");
}

static void put_usage(struct buf *b, const struct gen_usage *u)
{
    int64_t plain = u->input - u->cached - u->cache_write;
    jw_object(b, "usage");
    jw_int(b, "input_tokens", plain > 0 ? plain : 0);
    jw_int(b, "cache_creation_input_tokens", u->cache_write);
    jw_int(b, "cache_read_input_tokens", u->cached);
    jw_int(b, "output_tokens", u->output);
    jw_close(b, '}');
}

static void put_head(const struct wire_writer *w, struct buf *b)
{
    buf_printf(b, "\"id\":\"msg_%s\"", w->id);
    jw_str(b, "type", STR("message"));
    jw_str(b, "role", STR("assistant"));
    jw_str(b, "model", buf_str(&w->model));
}

static void event_open(struct buf *b, const char *type)
{
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void event_close(struct buf *b)
{
    buf_puts(b, "}\n\n");
}

/* What a call's arguments are in a message: an object; text that is none is kept under the name
 * that Anthropic's own guide gives it. */
static void put_input(struct buf *b, struct str args)
{
    json_t *v = NULL;
    jw_key(b, "input");
    if (str_trim(args).n && wire_json_load(args, &v, NULL))
        v = NULL;
    if (json_is_object(v))
        wire_json_dump(v, b);
    else if (!str_trim(args).n)
        buf_puts(b, "{}");
    else {
        buf_putc(b, '{');
        jw_str(b, "INVALID_JSON", args);
        buf_putc(b, '}');
    }
    json_decref(v);
}

/* ---- blocks ---- */

static void stream_open(const struct state *s, enum kind kind, struct str id, struct str name,
                        struct buf *b)
{
    event_open(b, "content_block_start");
    jw_int(b, "index", s->nblocks);
    jw_object(b, "content_block");
    if (kind == TEXT) {
        jw_str(b, "type", STR("text"));
        jw_str(b, "text", STR(""));
    } else if (kind == THINKING) {
        jw_str(b, "type", STR("thinking"));
        jw_str(b, "thinking", STR(""));
        jw_str(b, "signature", STR(""));
    } else {
        jw_str(b, "type", STR("tool_use"));
        jw_str(b, "id", id);
        jw_str(b, "name", name);
        jw_object(b, "input");
        jw_close(b, '}');
    }
    jw_close(b, '}');
    event_close(b);
    if (s->nblocks == 0)
        buf_puts(b, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void block_open(struct wire_writer *w, enum kind kind, struct str id, struct str name,
                       struct buf *b)
{
    struct state *s = w->state;
    s->open = kind;
    if (w->stream) {
        stream_open(s, kind, id, name, b);
        return;
    }
    buf_clear(&s->piece);
    buf_clear(&s->signature);
    buf_clear(&s->id);
    buf_clear(&s->name);
    buf_str_add(&s->id, id);
    buf_str_add(&s->name, name);
}

static void block_add(struct wire_writer *w, const char *type, const char *key, struct str text,
                      struct buf *b)
{
    struct state *s = w->state;
    if (!w->stream) {
        buf_str_add(str_is(str_of(key), "signature") ? &s->signature : &s->piece, text);
        return;
    }
    event_open(b, "content_block_delta");
    jw_int(b, "index", s->nblocks);
    jw_object(b, "delta");
    jw_str(b, "type", str_of(type));
    jw_str(b, key, text);
    jw_close(b, '}');
    event_close(b);
}

static void body_close(struct state *s)
{
    struct buf *b = &s->content;
    if (s->nblocks)
        buf_putc(b, ',');
    buf_putc(b, '{');
    if (s->open == TEXT) {
        jw_str(b, "type", STR("text"));
        jw_str(b, "text", buf_str(&s->piece));
    } else if (s->open == THINKING) {
        jw_str(b, "type", STR("thinking"));
        jw_str(b, "thinking", buf_str(&s->piece));
        jw_str(b, "signature", buf_str(&s->signature));
    } else {
        jw_str(b, "type", STR("tool_use"));
        jw_str(b, "id", buf_str(&s->id));
        jw_str(b, "name", buf_str(&s->name));
        put_input(b, buf_str(&s->piece));
    }
    buf_putc(b, '}');
}

static void stream_stop(const struct state *s, struct buf *b)
{
    event_open(b, "content_block_stop");
    jw_int(b, "index", s->nblocks);
    event_close(b);
}

static void block_close(struct wire_writer *w, struct buf *b)
{
    struct state *s = w->state;
    if (s->open == NONE)
        return;
    if (w->stream)
        stream_stop(s, b);
    else
        body_close(s);
    if (s->open == TOOL)
        s->closed = s->tool + 1;
    s->nblocks++;
    s->open = NONE;
}

/* A block that is written at once, as the JSON it is. */
static void block_whole(struct wire_writer *w, struct str json, struct buf *b)
{
    struct state *s = w->state;
    if (!w->stream) {
        if (s->nblocks)
            buf_putc(&s->content, ',');
        buf_str_add(&s->content, json);
    } else {
        event_open(b, "content_block_start");
        jw_int(b, "index", s->nblocks);
        jw_key(b, "content_block");
        buf_str_add(b, json);
        event_close(b);
        stream_stop(s, b);
    }
    s->nblocks++;
}

/* ---- calls ---- */

static void tool_open(struct wire_writer *w, int32_t tool, struct str id, struct str name,
                      struct buf *b)
{
    struct state *s = w->state;
    block_open(w, TOOL, id, name, b);
    s->tool = tool;
}

static void tool_args(struct wire_writer *w, struct str text, struct buf *b)
{
    if (text.n)
        block_add(w, "input_json_delta", "partial_json", text, b);
}

/* Write the calls that waited, up to and including the first that has not ended. */
static void drain(struct wire_writer *w, struct buf *b)
{
    struct state *s = w->state;
    while (s->nqueue && s->open != TOOL) {
        struct waiting q = s->queue[0];
        memmove(s->queue, s->queue + 1, --s->nqueue * sizeof *s->queue);
        tool_open(w, q.tool, buf_str(&q.id), buf_str(&q.name), b);
        tool_args(w, buf_str(&q.args), b);
        if (q.ended)
            block_close(w, b);
        waiting_done(&q);
    }
}

static int wait_for_turn(struct state *s, const struct gen_event *ev, struct err *e)
{
    struct waiting *bigger = realloc(s->queue, (s->nqueue + 1) * sizeof *bigger);
    if (!bigger || s->nqueue >= WIRE_MAX_TOOLS) {
        s->queue = bigger ? bigger : s->queue;
        return nomem(e);
    }
    s->queue = bigger;
    struct waiting *q = &bigger[s->nqueue++];
    *q = (struct waiting){.tool = ev->tool};
    buf_init(&q->id, 1 << 16);
    buf_init(&q->name, 1 << 16);
    buf_init(&q->args, WIRE_MAX_ANSWER);
    buf_str_add(&q->id, ev->id);
    buf_str_add(&q->name, ev->name);
    return buf_failed(&q->id) || buf_failed(&q->name) ? nomem(e) : 0;
}

static int write_tool(struct wire_writer *w, const struct gen_event *ev, struct buf *b,
                      struct err *e)
{
    struct state *s = w->state;
    bool current = s->open == TOOL && s->tool == ev->tool;
    if (ev->type == GEN_EV_TOOL_BEGIN) {
        if (s->open == TOOL)
            return wait_for_turn(s, ev, e);
        block_close(w, b);
        tool_open(w, ev->tool, ev->id, ev->name, b);
        return 0;
    }
    if (current && ev->type == GEN_EV_TOOL_ARGS)
        tool_args(w, ev->text, b);
    else if (current) {
        block_close(w, b);
        drain(w, b);
    } else {
        size_t i = 0;
        while (i < s->nqueue && s->queue[i].tool != ev->tool)
            i++;
        if (i == s->nqueue)
            return err_set(e, ERR_INVAL, "an event of tool call %d, which is not open", ev->tool);
        if (ev->type == GEN_EV_TOOL_END)
            s->queue[i].ended = true;
        else
            buf_str_add(&s->queue[i].args, ev->text);
        if (buf_failed(&s->queue[i].args))
            return nomem(e);
    }
    return 0;
}

/* ---- events ---- */

/* Everything that is open or waits is written out. */
static void close_all(struct wire_writer *w, struct buf *b)
{
    struct state *s = w->state;
    do {
        block_close(w, b);
        drain(w, b);
    } while (s->open != NONE);
}

static void write_opaque(struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    struct state *s = w->state;
    if (!ev->redacted) {
        if (s->open != THINKING) {
            close_all(w, b);
            block_open(w, THINKING, STR_NONE, STR_NONE, b);
        }
        block_add(w, "signature_delta", "signature", ev->text, b);
        block_close(w, b); /* what is signed is finished */
        return;
    }
    close_all(w, b);
    if (ev->name.n) {
        block_whole(w, ev->text, b);
        return;
    }
    struct buf json = BUF_INIT(2 * (size_t)WIRE_MAX_ANSWER);
    buf_putc(&json, '{');
    jw_str(&json, "type", STR("redacted_thinking"));
    jw_str(&json, "data", ev->text);
    buf_putc(&json, '}');
    block_whole(w, buf_str(&json), b);
    b->failed |= buf_failed(&json);
    buf_done(&json);
}

static void write_text(struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    struct state *s = w->state;
    bool text = ev->type == GEN_EV_TEXT;
    enum kind kind = text ? TEXT : THINKING;
    if (!ev->text.n)
        return;
    if (s->open != kind) {
        close_all(w, b);
        block_open(w, kind, STR_NONE, STR_NONE, b);
    }
    if (text)
        said_add(&s->said, ev->text);
    if (text)
        block_add(w, "text_delta", "text", ev->text, b);
    else
        block_add(w, "thinking_delta", "thinking", ev->text, b);
}

static void write_start(struct wire_writer *w, struct buf *b)
{
    struct gen_usage none = {0};
    if (!w->stream)
        return;
    event_open(b, "message_start");
    jw_object(b, "message");
    put_head(w, b);
    jw_array(b, "content");
    jw_close(b, ']');
    jw_null(b, "stop_reason");
    jw_null(b, "stop_sequence");
    put_usage(b, w->has_usage ? &w->usage : &none);
    jw_close(b, '}');
    event_close(b);
}

static void write_done(struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    close_all(w, b);
    if (w->stream) {
        event_open(b, "message_delta");
        jw_object(b, "delta");
        put_stop(b, ev);
        jw_close(b, '}');
        put_usage(b, &w->usage);
        put_weir(b, ev->raw, &s->said);
        event_close(b);
        event_open(b, "message_stop");
        event_close(b);
        return;
    }
    buf_putc(b, '{');
    put_head(w, b);
    jw_array(b, "content");
    buf_str_add(b, buf_str(&s->content));
    jw_close(b, ']');
    put_stop(b, ev);
    put_usage(b, &w->usage);
    put_weir(b, ev->raw, &s->said);
    buf_putc(b, '}');
}

static void write_error(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    if (w->stream)
        buf_puts(b, "event: error\ndata: ");
    anthropic_error(ev->err, b);
    if (w->stream)
        buf_puts(b, "\n\n");
}

int anthropic_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                    struct err *e)
{
    struct state *s = w->state;
    int rc = 0;
    if (ev->index != 0)
        return err_set(e, ERR_UNSUPPORTED, "the anthropic dialect has one choice");
    switch (ev->type) {
    case GEN_EV_START: write_start(w, out); break;
    case GEN_EV_TEXT:
    case GEN_EV_REASONING: write_text(w, ev, out); break;
    case GEN_EV_OPAQUE: write_opaque(w, ev, out); break;
    case GEN_EV_TOOL_BEGIN:
    case GEN_EV_TOOL_ARGS:
    case GEN_EV_TOOL_END: rc = write_tool(w, ev, out, e); break;
    case GEN_EV_DONE: write_done(w, ev, out); break;
    case GEN_EV_ERROR: write_error(w, ev, out); break;
    case GEN_EV_USAGE:
    case GEN_EV_EMBEDDING:
    case GEN_EV_CHOICE_END: break;
    }
    if (!rc && (buf_failed(&s->content) || buf_failed(&s->piece) || buf_failed(&s->signature)))
        rc = err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    return rc;
}
