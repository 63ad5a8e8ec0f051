/* anthropic_in.c: an answer of /v1/messages into events, from the SSE stream of blocks or one JSON
 * message; a message's blocks go through the same functions as a stream's. The signature of a
 * thinking block is gathered and sent when the block ends; a block of a kind that only this dialect
 * has is gathered whole and sent as an OPAQUE event with name = its kind and text = its JSON.
 * input_tokens here excludes what was cached; gen's counts all. An answer is whole only with a stop
 * reason and, streamed, message_stop. */
#include "wire_int.h"

#include <stdlib.h>

enum { MAX_BLOCKS = 1024 };
enum kind { NONE, TEXT, THINKING, TOOL, RAW, STOPPED };

struct block {
    enum kind kind;
    int32_t tool;
    bool has_args;
    struct buf bytes; /* THINKING: the signature; RAW: the input's pieces */
    json_t *raw;
};

struct state {
    struct block *blocks;
    size_t nblocks;
    int32_t ntools;
    bool stopped; /* message_stop */
    bool has_reason;
    enum gen_reason reason;
    char *sequence;
    size_t nsequence;
    bool paused; /* pause_turn */
    int64_t input, cached, cache_write, output;
};

int anthropic_reader_new(struct wire_reader *r)
{
    r->state = calloc(1, sizeof(struct state));
    return r->state ? 0 : ERR_NOMEM;
}

static void block_done(struct block *b)
{
    buf_done(&b->bytes);
    json_decref(b->raw);
    b->raw = NULL;
    b->kind = STOPPED;
}

void anthropic_reader_free(struct wire_reader *r)
{
    struct state *s = r->state;
    if (!s)
        return;
    for (size_t i = 0; i < s->nblocks; i++)
        block_done(&s->blocks[i]);
    free(s->blocks);
    free(s->sequence);
    free(s);
}

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for the answer");
}

static int bad(struct wire_reader *r, struct err *e, const char *what)
{
    return err_set(e, ERR_UPSTREAM, "event %llu of the stream: %s", (unsigned long long)r->nevents,
                   what);
}

static void send_text(struct wire_reader *r, enum gen_event_type type, struct str text)
{
    if (text.n)
        reader_send(r, &(struct gen_event){.type = type, .text = text});
}

/* ---- usage and the end ---- */

static void take_count(const json_t *u, const char *key, int64_t *out)
{
    if (json_is_integer(json_object_get(u, key)))
        *out = wire_json_count(u, key);
}

/* Fields that a later event leaves out keep their value. */
static void read_usage(struct wire_reader *r, const json_t *u)
{
    struct state *s = r->state;
    if (!json_is_object(u))
        return;
    take_count(u, "input_tokens", &s->input);
    take_count(u, "cache_read_input_tokens", &s->cached);
    take_count(u, "cache_creation_input_tokens", &s->cache_write);
    take_count(u, "output_tokens", &s->output);
    struct gen_usage g = {.input = s->input + s->cached + s->cache_write,
                          .cached = s->cached,
                          .cache_write = s->cache_write,
                          .output = s->output};
    if (g.input || g.output)
        reader_send(r, &(struct gen_event){.type = GEN_EV_USAGE, .usage = g});
}

static int read_stop(struct wire_reader *r, const json_t *o, struct err *e)
{
    static const struct {
        const char *word;
        enum gen_reason reason;
    } rows[] = {
        {"end_turn", GEN_END_STOP},
        {"max_tokens", GEN_END_LENGTH},
        {"model_context_window_exceeded", GEN_END_LENGTH},
        {"stop_sequence", GEN_END_SEQUENCE},
        {"tool_use", GEN_END_TOOLS},
        {"refusal", GEN_END_FILTER},
    };
    struct state *s = r->state;
    struct str why = wire_json_get_str(o, "stop_reason");
    struct str sequence = wire_json_get_str(o, "stop_sequence");
    if (!why.n)
        return 0;
    s->has_reason = true;
    s->reason = GEN_END_STOP;
    s->paused = str_is(why, "pause_turn");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (str_is(why, rows[i].word))
            s->reason = rows[i].reason;
    }
    if (s->reason != GEN_END_SEQUENCE || !sequence.n)
        return 0;
    char *copy = malloc(sequence.n);
    if (!copy)
        return nomem(e);
    memcpy(copy, sequence.p, sequence.n);
    free(s->sequence);
    s->sequence = copy;
    s->nsequence = sequence.n;
    return 0;
}

/* ---- blocks ---- */

static int block_at(struct wire_reader *r, const json_t *event, bool make, struct block **out,
                    struct err *e)
{
    struct state *s = r->state;
    const json_t *at = json_object_get(event, "index");
    json_int_t i = json_integer_value(at);
    if (!json_is_integer(at) || i < 0 || i >= MAX_BLOCKS)
        return bad(r, e, "index is missing or out of range");
    if (make && (size_t)i >= s->nblocks) {
        struct block *bigger = realloc(s->blocks, ((size_t)i + 1) * sizeof *bigger);
        if (!bigger)
            return nomem(e);
        memset(bigger + s->nblocks, 0, ((size_t)i + 1 - s->nblocks) * sizeof *bigger);
        s->blocks = bigger;
        s->nblocks = (size_t)i + 1;
    }
    if ((size_t)i >= s->nblocks || (!make && s->blocks[i].kind == NONE))
        return bad(r, e, "a block that never began");
    if (make && s->blocks[i].kind != NONE)
        return bad(r, e, "a block begins twice");
    *out = &s->blocks[i];
    return 0;
}

static int start_tool(struct wire_reader *r, struct block *b, const json_t *content, struct err *e)
{
    struct state *s = r->state;
    const json_t *input = json_object_get(content, "input");
    if (s->ntools >= WIRE_MAX_TOOLS)
        return err_set(e, ERR_UPSTREAM, "more than %d tool calls in the answer", WIRE_MAX_TOOLS);
    if (!wire_json_get_str(content, "name").n)
        return bad(r, e, "tool_use: without a name");
    b->kind = TOOL;
    b->tool = s->ntools++;
    reader_send(r, &(struct gen_event){.type = GEN_EV_TOOL_BEGIN,
                                       .tool = b->tool,
                                       .id = wire_json_get_str(content, "id"),
                                       .name = wire_json_get_str(content, "name")});
    if (json_object_size(input) == 0)
        return 0;
    struct buf text = BUF_INIT(WIRE_MAX_ANSWER);
    wire_json_dump(input, &text);
    b->has_args = true;
    reader_send(
        r, &(struct gen_event){.type = GEN_EV_TOOL_ARGS, .tool = b->tool, .text = buf_str(&text)});
    buf_done(&text);
    return 0;
}

static int start_block(struct wire_reader *r, struct block *b, json_t *content, struct err *e)
{
    struct str type = wire_json_get_str(content, "type");
    if (!type.n)
        return bad(r, e, "a block without a type");
    buf_init(&b->bytes, WIRE_MAX_EVENT);
    if (str_is(type, "text")) {
        b->kind = TEXT;
        send_text(r, GEN_EV_TEXT, wire_json_get_str(content, "text"));
    } else if (str_is(type, "thinking")) {
        b->kind = THINKING;
        send_text(r, GEN_EV_REASONING, wire_json_get_str(content, "thinking"));
        buf_str_add(&b->bytes, wire_json_get_str(content, "signature"));
    } else if (str_is(type, "redacted_thinking")) {
        b->kind = STOPPED;
        reader_send(r, &(struct gen_event){.type = GEN_EV_OPAQUE,
                                           .redacted = true,
                                           .text = wire_json_get_str(content, "data")});
    } else if (str_is(type, "tool_use"))
        return start_tool(r, b, content, e);
    else {
        b->kind = RAW;
        b->raw = json_incref(content);
    }
    return 0;
}

/* A delta of a kind that we do not know holds new values of the block's own fields. */
static int raw_delta(struct block *b, const json_t *delta, struct err *e)
{
    const char *key;
    json_t *v;
    json_t *o = (json_t *)(uintptr_t)delta;
    json_object_foreach(o, key, v)
    {
        if (strcmp(key, "type") && json_object_set(b->raw, key, v))
            return nomem(e);
    }
    return 0;
}

static int block_delta(struct wire_reader *r, struct block *b, const json_t *delta, struct err *e)
{
    struct str type = wire_json_get_str(delta, "type");
    struct str piece = wire_json_get_str(delta, "partial_json");
    if (b->kind == TEXT && str_is(type, "text_delta"))
        send_text(r, GEN_EV_TEXT, wire_json_get_str(delta, "text"));
    else if (b->kind == THINKING && str_is(type, "thinking_delta"))
        send_text(r, GEN_EV_REASONING, wire_json_get_str(delta, "thinking"));
    else if (b->kind == THINKING && str_is(type, "signature_delta"))
        buf_str_add(&b->bytes, wire_json_get_str(delta, "signature"));
    else if (b->kind == TOOL && str_is(type, "input_json_delta")) {
        b->has_args |= piece.n > 0;
        if (piece.n)
            reader_send(
                r, &(struct gen_event){.type = GEN_EV_TOOL_ARGS, .tool = b->tool, .text = piece});
    } else if (b->kind == RAW && str_is(type, "input_json_delta"))
        buf_str_add(&b->bytes, piece);
    else if (b->kind == RAW)
        return raw_delta(b, delta, e);
    if (buf_failed(&b->bytes))
        return err_set(e, ERR_UPSTREAM, "a block of the answer is larger than %d bytes",
                       WIRE_MAX_EVENT);
    return 0;
}

static int send_raw(struct wire_reader *r, struct block *b, struct err *e)
{
    struct buf text = BUF_INIT(WIRE_MAX_ANSWER);
    json_t *input = NULL;
    struct err why;
    if (b->bytes.n) {
        if (wire_json_load(buf_str(&b->bytes), &input, &why))
            return bad(r, e, "a block's input is not JSON");
        if (json_object_set_new(b->raw, "input", input))
            return nomem(e);
    }
    wire_json_dump(b->raw, &text);
    reader_send(r, &(struct gen_event){.type = GEN_EV_OPAQUE,
                                       .redacted = true,
                                       .name = wire_json_get_str(b->raw, "type"),
                                       .text = buf_str(&text)});
    buf_done(&text);
    return 0;
}

static int stop_block(struct wire_reader *r, struct block *b, struct err *e)
{
    int rc = 0;
    if (b->kind == THINKING && b->bytes.n)
        reader_send(r, &(struct gen_event){.type = GEN_EV_OPAQUE, .text = buf_str(&b->bytes)});
    if (b->kind == TOOL) {
        /* A call without arguments streams no piece; its arguments are the empty object. */
        if (!b->has_args)
            reader_send(r, &(struct gen_event){
                               .type = GEN_EV_TOOL_ARGS, .tool = b->tool, .text = STR("{}")});
        reader_send(r, &(struct gen_event){.type = GEN_EV_TOOL_END, .tool = b->tool});
    }
    if (b->kind == RAW)
        rc = send_raw(r, b, e);
    block_done(b);
    return rc;
}

/* ---- the stream and the body ---- */

static void read_head(struct wire_reader *r, const json_t *message)
{
    reader_start(r, wire_json_get_str(message, "model"), wire_json_get_str(message, "id"));
}

static int read_one(struct wire_reader *r, const json_t *v, struct err *e)
{
    struct state *s = r->state;
    struct block *b = NULL;
    struct str type = wire_json_get_str(v, "type");
    const json_t *message = json_object_get(v, "message");
    int rc;
    if (str_is(type, "error"))
        return wire_error_json(v, 0, e);
    if (str_is(type, "message_start")) {
        read_head(r, message);
        read_usage(r, json_object_get(message, "usage"));
        return 0;
    }
    if (str_is(type, "content_block_start")) {
        read_head(r, NULL);
        rc = block_at(r, v, true, &b, e);
        return rc ? rc : start_block(r, b, json_object_get(v, "content_block"), e);
    }
    if (str_is(type, "content_block_delta")) {
        rc = block_at(r, v, false, &b, e);
        return rc ? rc : block_delta(r, b, json_object_get(v, "delta"), e);
    }
    if (str_is(type, "content_block_stop")) {
        rc = block_at(r, v, false, &b, e);
        return rc ? rc : stop_block(r, b, e);
    }
    if (str_is(type, "message_delta")) {
        read_usage(r, json_object_get(v, "usage"));
        return read_stop(r, json_object_get(v, "delta"), e);
    }
    s->stopped |= str_is(type, "message_stop");
    return 0; /* ping, and whatever is added to the protocol later */
}

int anthropic_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e)
{
    const struct state *s = r->state;
    json_t *v = NULL;
    struct err why;
    (void)name; /* every event's data repeats it as `type` */
    if (s->stopped)
        return 0;
    if (wire_json_load(data, &v, &why))
        return err_set_at(e, ERR_UPSTREAM, r->nevents, "event %llu of the stream: %s",
                          (unsigned long long)r->nevents, why.msg);
    int rc = read_one(r, v, e);
    json_decref(v);
    return rc;
}

int anthropic_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    struct state *s = r->state;
    const json_t *content = json_object_get(body, "content");
    if (str_is(wire_json_get_str(body, "type"), "error") || json_object_get(body, "error"))
        return wire_error_json(body, 0, e);
    if (!json_is_array(content))
        return err_set(e, ERR_UPSTREAM, "the answer has no content");
    read_head(r, body);
    for (size_t i = 0; i < json_array_size(content); i++) {
        struct block b = {0};
        int rc = start_block(r, &b, json_array_get(content, i), e);
        if (!rc)
            rc = stop_block(r, &b, e);
        block_done(&b);
        if (rc)
            return rc;
    }
    read_usage(r, json_object_get(body, "usage"));
    s->stopped = true;
    return read_stop(r, body, e);
}

bool anthropic_read_complete(const struct wire_reader *r, bool clean_end)
{
    const struct state *s = r->state;
    (void)clean_end;
    return s->stopped && s->has_reason && r->started;
}

void anthropic_read_done(struct wire_reader *r)
{
    const struct state *s = r->state;
    struct gen_event ev = {.type = GEN_EV_DONE, .reason = s->reason};
    ev.text = str_n(s->sequence, s->nsequence);
    if (s->paused)
        ev.name = STR("pause_turn");
    reader_send(r, &ev);
}
