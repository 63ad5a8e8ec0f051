/* ollama_out.c: events into an answer of /api/chat or /api/generate: lines of JSON, or one body
 * when the request says stream: false. Field by field and in order as Ollama writes them. A tool's
 * call is gathered and goes out whole, with its arguments as an object; arguments that are none are
 * the model's words and go out as text. The last object has the durations and counts, all of
 * them, zero where unknown, because typed clients look for the whole set. A request that only loads
 * or unloads the model is answered by one object. What a local model wrote, where that is more than
 * the text given, stands in the last object as `weir`. */
#include "ollama_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct call {
    struct buf id, name, args;
    bool sent;
};

struct state {
    bool chat;                                  /* else generate */
    struct buf text, thinking, calls, logprobs; /* not streaming: the body's */
    struct call *open;
    size_t nopen;
    struct wire_said said;
};

int ollama_writer_new(struct wire_writer *w)
{
    struct state *s = calloc(1, sizeof *s);
    w->state = s;
    if (!s)
        return ERR_NOMEM;
    s->chat = w->codec->kinds == 1u << GEN_CHAT;
    buf_init(&s->text, WIRE_MAX_ANSWER);
    buf_init(&s->thinking, WIRE_MAX_ANSWER);
    buf_init(&s->calls, 2 * WIRE_MAX_ANSWER);
    buf_init(&s->logprobs, 4 * WIRE_MAX_ANSWER);
    return 0;
}

void ollama_writer_free(struct wire_writer *w)
{
    struct state *s = w->state;
    for (size_t i = 0; s && i < s->nopen; i++) {
        buf_done(&s->open[i].id);
        buf_done(&s->open[i].name);
        buf_done(&s->open[i].args);
    }
    if (s) {
        free(s->open);
        buf_done(&s->text);
        buf_done(&s->thinking);
        buf_done(&s->calls);
        buf_done(&s->logprobs);
    }
    free(s);
}

void ollama_error(const struct err *err, struct buf *b)
{
    jw_open(b, '{');
    jw_str(b, "error", str_of(err_msg(err)));
    jw_close(b, '}');
}

/* ---- one object ---- */

static void put_token(struct buf *b, const struct gen_logprob *t)
{
    jw_str(b, "token", t->token);
    jw_logprob(b, "logprob", t->logprob);
    if (!t->token.n)
        return;
    jw_array(b, "bytes");
    for (size_t i = 0; i < t->token.n; i++)
        buf_printf(b, i ? ",%u" : "%u", (unsigned char)t->token.p[i]);
    jw_close(b, ']');
}

static void put_logprobs(struct buf *b, const struct gen_event *ev)
{
    for (size_t i = 0; i < ev->nlogprobs; i++) {
        const struct gen_token_logprobs *t = &ev->logprobs[i];
        jw_open(b, '{');
        put_token(b, &t->chosen);
        if (t->ntop) {
            jw_array(b, "top_logprobs");
            for (size_t k = 0; k < t->ntop; k++) {
                jw_open(b, '{');
                put_token(b, &t->top[k]);
                jw_close(b, '}');
            }
            jw_close(b, ']');
        }
        jw_close(b, '}');
    }
}

static void put_head(const struct wire_writer *w, struct buf *b)
{
    struct tm tm = {0};
    time_t t = (time_t)w->created;
    gmtime_r(&t, &tm);
    buf_putc(b, '{');
    jw_str(b, "model", w->model.n ? buf_str(&w->model) : w->req->model);
    jw_key(b, "created_at");
    buf_printf(b, "\"%04d-%02d-%02dT%02d:%02d:%02d.000000000Z\"", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void put_calls(struct buf *b, struct str calls)
{
    if (!calls.n)
        return;
    jw_array(b, "tool_calls");
    buf_str_add(b, calls);
    jw_close(b, ']');
}

/* What an object says, where the two forms differ. */
static void put_content(const struct state *s, struct str text, struct str thinking,
                        struct str calls, struct buf *b)
{
    if (s->chat) {
        jw_object(b, "message");
        jw_str(b, "role", STR("assistant"));
    }
    jw_str(b, s->chat ? "content" : "response", text);
    if (thinking.n)
        jw_str(b, "thinking", thinking);
    put_calls(b, calls);
    if (s->chat)
        jw_close(b, '}');
}

void ollama_put_times(const struct wire_writer *w, struct buf *b)
{
    jw_int(b, "total_duration", w->times.total);
    jw_int(b, "load_duration", w->times.load);
    jw_int(b, "prompt_eval_count", w->usage.input);
}

static void put_end(const struct wire_writer *w, enum gen_reason reason, struct buf *b)
{
    const struct gen_req *r = w->req;
    jw_bool(b, "done", true);
    if (r->load_only) {
        jw_str(b, "done_reason", r->keep_set && !r->keep_ms ? STR("unload") : STR("load"));
        return;
    }
    jw_str(b, "done_reason", reason == GEN_END_LENGTH ? STR("length") : STR("stop"));
    ollama_put_times(w, b);
    jw_int(b, "prompt_eval_duration", w->times.prompt);
    jw_int(b, "eval_count", w->usage.output);
    jw_int(b, "eval_duration", w->times.write);
}

static void put_list(struct buf *b, const char *key, struct str items)
{
    if (!items.n)
        return;
    jw_array(b, key);
    buf_str_add(b, items);
    jw_close(b, ']');
}

static int chunk(const struct wire_writer *w, struct str text, struct str thinking,
                 struct str calls, const struct gen_event *ev, struct buf *b)
{
    put_head(w, b);
    put_content(w->state, text, thinking, calls, b);
    jw_bool(b, "done", false);
    if (ev && ev->nlogprobs) {
        jw_array(b, "logprobs");
        put_logprobs(b, ev);
        jw_close(b, ']');
    }
    buf_puts(b, "}\n");
    return 0;
}

/* ---- tool calls ---- */

static int begin_call(struct state *s, const struct gen_event *ev, struct err *e)
{
    if (ev->tool < 0 || (size_t)ev->tool != s->nopen || s->nopen >= WIRE_MAX_TOOLS)
        return err_set(e, ERR_INVAL, "tool call %d out of order", ev->tool);
    struct call *bigger = realloc(s->open, (s->nopen + 1) * sizeof *bigger);
    if (!bigger)
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    s->open = bigger;
    struct call *c = &bigger[s->nopen++];
    *c = (struct call){
        .id = BUF_INIT(1 << 16), .name = BUF_INIT(1 << 16), .args = BUF_INIT(WIRE_MAX_ANSWER)};
    buf_str_add(&c->id, ev->id);
    buf_str_add(&c->name, ev->name);
    return 0;
}

static bool put_call(const struct call *c, size_t i, struct buf *b)
{
    struct str args = c->args.n ? buf_str(&c->args) : STR("{}");
    json_t *v = NULL;
    if (wire_json_load(args, &v, NULL) || !json_is_object(v)) {
        json_decref(v);
        return false;
    }
    jw_open(b, '{');
    if (c->id.n)
        jw_str(b, "id", buf_str(&c->id));
    jw_object(b, "function");
    jw_int(b, "index", (int64_t)i);
    jw_str(b, "name", buf_str(&c->name));
    jw_key(b, "arguments");
    wire_json_dump(v, b);
    jw_close(b, '}');
    jw_close(b, '}');
    json_decref(v);
    return true;
}

static int end_call(struct wire_writer *w, size_t i, struct buf *out, struct err *e)
{
    struct state *s = w->state;
    struct call *c = &s->open[i];
    struct buf one = BUF_INIT(2 * WIRE_MAX_ANSWER);
    if (c->sent)
        return 0;
    c->sent = true;
    if (buf_failed(&c->args) || buf_failed(&c->id) || buf_failed(&c->name))
        return err_set(e, ERR_TOO_LARGE, "a tool's call is larger than %d bytes", WIRE_MAX_ANSWER);
    struct buf *to = w->stream ? &one : &s->calls;
    bool good = put_call(c, i, to);
    if (!w->stream && !good)
        buf_str_add(&s->text, buf_str(&c->args));
    else if (w->stream)
        chunk(w, good ? STR("") : buf_str(&c->args), STR(""), buf_str(&one), NULL, out);
    buf_done(&one);
    buf_done(&c->args);
    return 0;
}

static int tool_event(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    struct state *s = w->state;
    if (ev->type == GEN_EV_TOOL_BEGIN)
        return begin_call(s, ev, e);
    if (ev->tool < 0 || (size_t)ev->tool >= s->nopen)
        return err_set(e, ERR_INVAL, "a part of tool call %d, which never began", ev->tool);
    if (ev->type == GEN_EV_TOOL_END)
        return end_call(w, (size_t)ev->tool, out, e);
    if (s->open[ev->tool].sent)
        return err_set(e, ERR_INVAL, "arguments of tool call %d after its end", ev->tool);
    buf_str_add(&s->open[ev->tool].args, ev->text);
    return 0;
}

/* ---- the whole ---- */

static void text_event(const struct wire_writer *w, const struct gen_event *ev, struct buf *out)
{
    struct state *s = w->state;
    bool thinks = ev->type == GEN_EV_REASONING;
    said_add(&s->said, ev->text);
    if (w->stream)
        chunk(w, thinks ? STR("") : ev->text, thinks ? ev->text : STR(""), STR(""), ev, out);
    else {
        buf_str_add(thinks ? &s->thinking : &s->text, ev->text);
        put_logprobs(&s->logprobs, ev);
    }
}

static int done_event(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    struct state *s = w->state;
    for (size_t i = 0; i < s->nopen; i++) {
        int rc = end_call(w, i, out, e);
        if (rc)
            return rc;
    }
    put_head(w, out);
    put_content(s, buf_str(&s->text), buf_str(&s->thinking), buf_str(&s->calls), out);
    put_end(w, ev->reason, out);
    put_list(out, "logprobs", buf_str(&s->logprobs));
    put_weir(out, ev->raw, &s->said);
    buf_puts(out, w->stream ? "}\n" : "}");
    return 0;
}

int ollama_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e)
{
    const struct state *s = w->state;
    int rc = 0;
    if (ev->index)
        return err_set(e, ERR_INVAL, "an event of choice %d, of 1", ev->index);
    switch (ev->type) {
    case GEN_EV_TEXT:
    case GEN_EV_REASONING: text_event(w, ev, out); break;
    case GEN_EV_TOOL_BEGIN:
    case GEN_EV_TOOL_ARGS:
    case GEN_EV_TOOL_END: rc = tool_event(w, ev, out, e); break;
    case GEN_EV_DONE: rc = done_event(w, ev, out, e); break;
    case GEN_EV_ERROR:
        ollama_error(ev->err, out);
        buf_puts(out, w->stream ? "\n" : "");
        break;
    default: break; /* usage is kept; signed blobs have no place here */
    }
    if (!rc && (buf_failed(&s->text) || buf_failed(&s->thinking) || buf_failed(&s->calls) ||
                buf_failed(&s->logprobs)))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    return rc;
}

const struct wire_codec ollama_chat_codec = {
    .name = "ollama-chat",
    .dialect = GEN_DIALECT_OLLAMA,
    .kinds = 1u << GEN_CHAT,
    .kind = GEN_CHAT,
    .lines = true,
    .decode = ollama_chat_decode,
    .encode = ollama_chat_encode,
    .read_event = ollama_read_event,
    .read_body = ollama_read_body,
    .read_done = ollama_read_done,
    .read_complete = ollama_read_complete,
    .reader_new = ollama_reader_new,
    .reader_free = ollama_reader_free,
    .write = ollama_write,
    .writer_new = ollama_writer_new,
    .writer_free = ollama_writer_free,
    .error = ollama_error,
    .keepalive = "", /* clients parse every line */
};

const struct wire_codec ollama_generate_codec = {
    .name = "ollama-generate",
    .dialect = GEN_DIALECT_OLLAMA,
    .kinds = 1u << GEN_CHAT | 1u << GEN_RAW | 1u << GEN_INFILL,
    .kind = GEN_CHAT,
    .lines = true,
    .decode = ollama_generate_decode,
    .encode = ollama_generate_encode,
    .read_event = ollama_read_event,
    .read_body = ollama_read_body,
    .read_done = ollama_read_done,
    .read_complete = ollama_read_complete,
    .reader_new = ollama_reader_new,
    .reader_free = ollama_reader_free,
    .write = ollama_write,
    .writer_new = ollama_writer_new,
    .writer_free = ollama_writer_free,
    .error = ollama_error,
    .keepalive = "",
};
