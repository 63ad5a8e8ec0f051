/* lmstudio_out.c: events into an answer of LM Studio's /api/v1/chat: one object, or a stream of
 * named events (https://lmstudio.ai/docs/developer/rest/streaming-events) whose last, chat.end,
 * holds that object. Outputs are gathered in both: thoughts and messages in the order in which they
 * came. That a model was loaded is known when it has answered, so it stands in the statistics. */
#include "wire_int.h"

#include <stdlib.h>

enum kind { NONE, REASONING, MESSAGE };

struct state {
    enum kind open;
    bool begun;        /* the prompt has been read */
    struct buf output; /* items that are whole */
    struct buf piece;  /* the open one's text */
    struct buf whole;  /* the answer's object */
    struct buf items;  /* its messages, as the responses dialect has them */
    struct buf kept;   /* the object that holds those */
    struct wire_said said;
};

int lmstudio_writer_new(struct wire_writer *w)
{
    struct state *s = calloc(1, sizeof *s);
    w->state = s;
    if (!s)
        return ERR_NOMEM;
    buf_init(&s->output, 2 * (size_t)WIRE_MAX_ANSWER);
    buf_init(&s->piece, WIRE_MAX_ANSWER);
    buf_init(&s->whole, 4 * (size_t)WIRE_MAX_ANSWER);
    buf_init(&s->items, 2 * (size_t)WIRE_MAX_ANSWER);
    buf_init(&s->kept, 4 * (size_t)WIRE_MAX_ANSWER);
    return 0;
}

void lmstudio_writer_free(struct wire_writer *w)
{
    struct state *s = w->state;
    if (!s)
        return;
    buf_done(&s->output);
    buf_done(&s->piece);
    buf_done(&s->whole);
    buf_done(&s->items);
    buf_done(&s->kept);
    free(s);
}

struct str lmstudio_whole(const struct wire_writer *w)
{
    const struct state *s = w->state;
    return buf_str(&s->kept);
}

/* ---- the stream's events ---- */

static void event_open(struct buf *b, const char *type)
{
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void event_close(struct buf *b)
{
    buf_puts(b, "}\n\n");
}

static void event_bare(const struct wire_writer *w, const char *type, struct buf *b)
{
    if (!w->stream)
        return;
    event_open(b, type);
    event_close(b);
}

static const char *word_of(enum kind kind)
{
    return kind == REASONING ? "reasoning" : "message";
}

static void item_event(const struct wire_writer *w, const char *what, struct buf *b)
{
    const struct state *s = w->state;
    char type[32];
    snprintf(type, sizeof type, "%s.%s", word_of(s->open), what);
    event_bare(w, type, b);
}

/* ---- items ---- */

/* What was said can be gone on from; what was thought cannot. */
static void keep_item(struct state *s)
{
    if (s->open != MESSAGE)
        return;
    jw_open(&s->items, '{');
    jw_str(&s->items, "type", STR("message"));
    jw_str(&s->items, "role", STR("assistant"));
    jw_str(&s->items, "content", buf_str(&s->piece));
    jw_close(&s->items, '}');
}

static void close_item(struct wire_writer *w, struct buf *b)
{
    struct state *s = w->state;
    if (s->open == NONE)
        return;
    item_event(w, "end", b);
    jw_open(&s->output, '{');
    jw_str(&s->output, "type", str_of(word_of(s->open)));
    jw_str(&s->output, "content", buf_str(&s->piece));
    jw_close(&s->output, '}');
    s->output.failed |= buf_failed(&s->piece);
    keep_item(s);
    buf_clear(&s->piece);
    s->open = NONE;
}

static void prompt_read(struct wire_writer *w, struct buf *b)
{
    struct state *s = w->state;
    if (!s->begun)
        event_bare(w, "prompt_processing.end", b);
    s->begun = true;
}

static int write_text(struct wire_writer *w, const struct gen_event *ev, struct buf *b,
                      struct err *e)
{
    struct state *s = w->state;
    enum kind kind = ev->type == GEN_EV_TEXT ? MESSAGE : REASONING;
    if (!ev->text.n)
        return 0;
    prompt_read(w, b);
    if (s->open != kind) {
        close_item(w, b);
        s->open = kind;
        item_event(w, "start", b);
    }
    if (kind == MESSAGE)
        said_add(&s->said, ev->text);
    buf_str_add(&s->piece, ev->text);
    if (buf_failed(&s->piece) || buf_failed(&s->output))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    if (w->stream) {
        event_open(b, kind == MESSAGE ? "message.delta" : "reasoning.delta");
        jw_str(b, "content", ev->text);
        event_close(b);
    }
    return 0;
}

/* ---- the whole ---- */

static void put_seconds(struct buf *b, const char *key, int64_t ns)
{
    jw_key(b, key);
    buf_printf(b, "%.3f", (double)ns / 1e9);
}

static void put_stats(const struct wire_writer *w, struct buf *b)
{
    const struct gen_times *t = &w->times;
    double rate = t->write > 0 ? (double)w->usage.output * 1e9 / (double)t->write : 0;
    jw_object(b, "stats");
    jw_int(b, "input_tokens", w->usage.input);
    jw_int(b, "total_output_tokens", w->usage.output);
    jw_int(b, "reasoning_output_tokens", w->usage.reasoning);
    jw_key(b, "tokens_per_second");
    buf_printf(b, "%.3f", rate);
    put_seconds(b, "time_to_first_token_seconds", t->load + t->queue + t->prompt);
    if (t->load > 0)
        put_seconds(b, "model_load_time_seconds", t->load);
    jw_close(b, '}');
}

static void put_result(struct wire_writer *w, struct str raw, struct buf *b)
{
    struct state *s = w->state;
    buf_putc(b, '{');
    jw_str(b, "model_instance_id", buf_str(&w->model));
    jw_array(b, "output");
    buf_str_add(b, buf_str(&s->output));
    jw_close(b, ']');
    put_stats(w, b);
    if (w->req->store) {
        jw_key(b, "response_id");
        buf_printf(b, "\"resp_%s\"", w->id);
    }
    put_weir(b, raw, &s->said);
    buf_putc(b, '}');
    b->failed |= buf_failed(&s->output);
}

static void finish(struct wire_writer *w, struct str raw, struct buf *b)
{
    struct state *s = w->state;
    buf_clear(&s->whole);
    put_result(w, raw, &s->whole);
    b->failed |= buf_failed(&s->whole);
    buf_clear(&s->kept);
    buf_puts(&s->kept, "{\"object\":\"lmstudio.chat\",\"output\":[");
    buf_str_add(&s->kept, buf_str(&s->items));
    buf_puts(&s->kept, "]}");
    if (!w->stream) {
        buf_str_add(b, buf_str(&s->whole));
        return;
    }
    event_open(b, "chat.end");
    jw_key(b, "result");
    buf_str_add(b, buf_str(&s->whole));
    event_close(b);
}

static void write_start(struct wire_writer *w, struct buf *b)
{
    if (!w->stream)
        return;
    event_open(b, "chat.start");
    jw_str(b, "model_instance_id", buf_str(&w->model));
    event_close(b);
    event_bare(w, "prompt_processing.start", b);
}

/* A stream that fails still ends with what there is of it. */
static void write_error(struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    struct state *s = w->state;
    if (!w->stream) {
        lmstudio_error(ev->err, b);
        return;
    }
    close_item(w, b);
    event_open(b, "error");
    jw_key(b, "error");
    lmstudio_put_error(ev->err, b);
    event_close(b);
    finish(w, STR(""), b);
    buf_clear(&s->kept);
}

int lmstudio_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                   struct err *e)
{
    if (ev->index != 0)
        return err_set(e, ERR_UNSUPPORTED, "the lmstudio dialect has one choice");
    switch (ev->type) {
    case GEN_EV_START: write_start(w, out); break;
    case GEN_EV_TEXT:
    case GEN_EV_REASONING: return write_text(w, ev, out, e);
    case GEN_EV_DONE:
        prompt_read(w, out);
        close_item(w, out);
        finish(w, ev->raw, out);
        break;
    case GEN_EV_ERROR: write_error(w, ev, out); break;
    case GEN_EV_TOOL_BEGIN:
        return err_set(e, ERR_UNSUPPORTED, "the lmstudio dialect has no tools of the caller's");
    default: break; /* usage is kept; signed blobs have no place */
    }
    return 0;
}
