/* openai_out.c: events into an answer of /v1/chat/completions: chunks of an SSE stream, or one
 * JSON body when the request did not ask for a stream. A stream is written as it comes, so it keeps
 * no state but the usage; a body is gathered by choice. Signed blobs of another dialect's provider
 * have no place here and are left out, and so are further calls for who asked with `functions`. */
#include "wire_int.h"

#include <stdlib.h>

struct call {
    struct buf id, name, args;
};

struct choice {
    bool ended;
    enum gen_reason reason;
    struct wire_said said;
    struct buf raw; /* what came with the choice's own end */
};

struct gathered {
    struct buf text, reasoning, logprobs;
    bool has_text;
    struct call *calls;
    size_t ncalls;
};

struct state {
    struct choice *ends;      /* n of them */
    struct gathered *choices; /* the same; NULL when streaming */
    size_t n;
};

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for the answer");
}

int openai_writer_new(struct wire_writer *w)
{
    struct state *s = calloc(1, sizeof *s);
    w->state = s;
    if (!s)
        return ERR_NOMEM;
    s->n = w->req->n > 1 ? (size_t)w->req->n : 1;
    if (s->n > WIRE_MAX_CHOICES)
        s->n = WIRE_MAX_CHOICES;
    s->ends = calloc(s->n, sizeof *s->ends);
    if (!s->ends)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->n; i++)
        buf_init(&s->ends[i].raw, WIRE_MAX_ANSWER);
    if (w->stream)
        return 0;
    s->choices = calloc(s->n, sizeof *s->choices);
    for (size_t i = 0; s->choices && i < s->n; i++) {
        buf_init(&s->choices[i].text, WIRE_MAX_ANSWER);
        buf_init(&s->choices[i].reasoning, WIRE_MAX_ANSWER);
        buf_init(&s->choices[i].logprobs, 4 * WIRE_MAX_ANSWER);
    }
    return s->choices ? 0 : ERR_NOMEM;
}

void openai_writer_free(struct wire_writer *w)
{
    struct state *s = w->state;
    for (size_t i = 0; s && s->choices && i < s->n; i++) {
        struct gathered *g = &s->choices[i];
        for (size_t k = 0; k < g->ncalls; k++) {
            buf_done(&g->calls[k].id);
            buf_done(&g->calls[k].name);
            buf_done(&g->calls[k].args);
        }
        free(g->calls);
        buf_done(&g->text);
        buf_done(&g->reasoning);
        buf_done(&g->logprobs);
    }
    for (size_t i = 0; s && s->ends && i < s->n; i++)
        buf_done(&s->ends[i].raw);
    if (s) {
        free(s->ends);
        free(s->choices);
    }
    free(s);
}

/* ---- shared pieces ---- */

static const char *reason_word(const struct wire_writer *w, enum gen_reason reason)
{
    switch (reason) {
    case GEN_END_LENGTH: return "length";
    case GEN_END_TOOLS: return w->req->function_calls ? "function_call" : "tool_calls";
    case GEN_END_FILTER: return "content_filter";
    case GEN_END_STOP:
    case GEN_END_SEQUENCE: break;
    }
    return "stop";
}

static void put_token(struct buf *b, const struct gen_logprob *t)
{
    jw_str(b, "token", t->token);
    jw_float(b, "logprob", t->logprob);
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
        jw_array(b, "top_logprobs");
        for (size_t k = 0; k < t->ntop; k++) {
            jw_open(b, '{');
            put_token(b, &t->top[k]);
            jw_close(b, '}');
        }
        jw_close(b, ']');
        jw_close(b, '}');
    }
}

void openai_put_usage(struct buf *b, const struct gen_usage *u)
{
    jw_object(b, "usage");
    jw_int(b, "prompt_tokens", u->input);
    jw_int(b, "completion_tokens", u->output);
    jw_int(b, "total_tokens", u->input + u->output);
    jw_object(b, "prompt_tokens_details");
    jw_int(b, "cached_tokens", u->cached);
    if (u->cache_write)
        jw_int(b, "cache_write_tokens", u->cache_write);
    jw_close(b, '}');
    jw_object(b, "completion_tokens_details");
    jw_int(b, "reasoning_tokens", u->reasoning);
    jw_close(b, '}');
    jw_close(b, '}');
}

static void put_head(const struct wire_writer *w, const char *object, struct buf *b)
{
    buf_putc(b, '{');
    buf_printf(b, "\"id\":\"chatcmpl-%s\"", w->id);
    jw_str(b, "object", str_of(object));
    jw_int(b, "created", w->created);
    jw_str(b, "model", buf_str(&w->model));
}

/* ---- streaming ---- */

static void chunk_open(const struct wire_writer *w, int32_t index, struct buf *b)
{
    buf_puts(b, "data: ");
    put_head(w, "chat.completion.chunk", b);
    jw_array(b, "choices");
    jw_open(b, '{');
    jw_int(b, "index", index);
    jw_object(b, "delta");
}

/* What comes with the end of the whole answer: times, and all that a local model wrote. */
static void put_tail(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    put_timings(b, w);
    if (s->n == 1)
        put_weir(b, ev->raw, &s->ends[0].said);
}

/* logprobs: of this chunk, or NULL. end: the choice that ends here, or NULL; done: with the answer,
 * or NULL. */
static void chunk_close(const struct wire_writer *w, const struct gen_event *logprobs,
                        struct choice *end, const struct gen_event *done, struct buf *b)
{
    jw_close(b, '}');
    if (logprobs && logprobs->nlogprobs) {
        jw_object(b, "logprobs");
        jw_array(b, "content");
        put_logprobs(b, logprobs);
        jw_close(b, ']');
        jw_null(b, "refusal");
        jw_close(b, '}');
    } else
        jw_null(b, "logprobs");
    if (end) {
        jw_str(b, "finish_reason", str_of(reason_word(w, end->reason)));
        put_weir(b, buf_str(&end->raw), &end->said);
    } else
        jw_null(b, "finish_reason");
    jw_close(b, '}');
    jw_close(b, ']');
    if (w->req->stream_usage)
        jw_null(b, "usage");
    if (done)
        put_tail(w, done, b);
    jw_close(b, '}');
    buf_puts(b, "\n\n");
}

static void stream_function(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    bool begin = ev->type == GEN_EV_TOOL_BEGIN;
    if (ev->tool != 0)
        return;
    chunk_open(w, ev->index, b);
    jw_object(b, "function_call");
    if (begin)
        jw_str(b, "name", ev->name);
    jw_str(b, "arguments", begin ? STR("") : ev->text);
    jw_close(b, '}');
    chunk_close(w, NULL, NULL, NULL, b);
}

static void stream_tool(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    bool begin = ev->type == GEN_EV_TOOL_BEGIN;
    chunk_open(w, ev->index, b);
    jw_array(b, "tool_calls");
    jw_open(b, '{');
    jw_int(b, "index", ev->tool);
    if (begin) {
        jw_str(b, "id", ev->id);
        jw_str(b, "type", STR("function"));
    }
    jw_object(b, "function");
    if (begin)
        jw_str(b, "name", ev->name);
    jw_str(b, "arguments", begin ? STR("") : ev->text);
    jw_close(b, '}');
    jw_close(b, '}');
    jw_close(b, ']');
    chunk_close(w, NULL, NULL, NULL, b);
}

static void stream_start(const struct wire_writer *w, struct buf *b)
{
    const struct state *s = w->state;
    for (size_t i = 0; i < s->n; i++) {
        chunk_open(w, (int32_t)i, b);
        jw_str(b, "role", STR("assistant"));
        jw_str(b, "content", STR(""));
        chunk_close(w, NULL, NULL, NULL, b);
    }
}

static void end_choice(struct choice *c, const struct gen_event *ev)
{
    c->ended = true;
    c->reason = ev->reason;
    if (ev->type == GEN_EV_CHOICE_END)
        buf_str_add(&c->raw, ev->raw);
}

/* tail: what comes with the end of the answer comes here, with its last chunk. */
static void stream_end(const struct wire_writer *w, int32_t index, const struct gen_event *ev,
                       bool tail, struct buf *b)
{
    const struct state *s = w->state;
    struct choice *c = &s->ends[index];
    if (c->ended)
        return;
    end_choice(c, ev);
    chunk_open(w, index, b);
    chunk_close(w, NULL, c, tail ? ev : NULL, b);
}

static void stream_done(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    bool usage = w->req->stream_usage && w->has_usage;
    size_t last = s->n;
    for (size_t i = 0; i < s->n; i++)
        last = s->ends[i].ended ? last : i;
    for (size_t i = 0; i < s->n; i++)
        stream_end(w, (int32_t)i, ev, i == last && !usage, b);
    if (usage) {
        buf_puts(b, "data: ");
        put_head(w, "chat.completion.chunk", b);
        jw_array(b, "choices");
        jw_close(b, ']');
        openai_put_usage(b, &w->usage);
        put_tail(w, ev, b);
        jw_close(b, '}');
        buf_puts(b, "\n\n");
    }
    buf_puts(b, "data: [DONE]\n\n");
}

static void stream_event(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    switch (ev->type) {
    case GEN_EV_START: stream_start(w, b); break;
    case GEN_EV_TEXT:
    case GEN_EV_REASONING:
        chunk_open(w, ev->index, b);
        jw_str(b, ev->type == GEN_EV_TEXT ? "content" : "reasoning_content", ev->text);
        chunk_close(w, ev, NULL, NULL, b);
        break;
    case GEN_EV_TOOL_BEGIN:
    case GEN_EV_TOOL_ARGS:
        if (w->req->function_calls)
            stream_function(w, ev, b);
        else
            stream_tool(w, ev, b);
        break;
    case GEN_EV_CHOICE_END: stream_end(w, ev->index, ev, false, b); break;
    case GEN_EV_DONE: stream_done(w, ev, b); break;
    case GEN_EV_ERROR:
        buf_puts(b, "data: ");
        openai_error(ev->err, b);
        buf_puts(b, "\n\n");
        break;
    default: break; /* usage is kept; the end of a call and signed blobs have no chunk */
    }
}

/* ---- one body ---- */

static int gather_call(struct gathered *g, const struct gen_event *ev, struct err *e)
{
    if (ev->type == GEN_EV_TOOL_BEGIN) {
        if ((size_t)ev->tool != g->ncalls || g->ncalls >= WIRE_MAX_TOOLS)
            return err_set(e, ERR_INVAL, "tool call %d out of order", ev->tool);
        struct call *bigger = realloc(g->calls, (g->ncalls + 1) * sizeof *bigger);
        if (!bigger)
            return nomem(e);
        g->calls = bigger;
        struct call *c = &bigger[g->ncalls++];
        buf_init(&c->id, 1 << 16);
        buf_init(&c->name, 1 << 16);
        buf_init(&c->args, WIRE_MAX_ANSWER);
        buf_str_add(&c->id, ev->id);
        buf_str_add(&c->name, ev->name);
        return buf_failed(&c->id) || buf_failed(&c->name) ? nomem(e) : 0;
    }
    if (ev->tool < 0 || (size_t)ev->tool >= g->ncalls)
        return err_set(e, ERR_INVAL, "arguments of tool call %d, which never began", ev->tool);
    buf_str_add(&g->calls[ev->tool].args, ev->text);
    return buf_failed(&g->calls[ev->tool].args) ? nomem(e) : 0;
}

static int gather(struct wire_writer *w, const struct gen_event *ev, struct err *e)
{
    struct state *s = w->state;
    struct gathered *g = &s->choices[ev->index];
    switch (ev->type) {
    case GEN_EV_TEXT:
        g->has_text = true;
        buf_str_add(&g->text, ev->text);
        put_logprobs(&g->logprobs, ev);
        break;
    case GEN_EV_REASONING: buf_str_add(&g->reasoning, ev->text); break;
    case GEN_EV_TOOL_BEGIN:
    case GEN_EV_TOOL_ARGS: return gather_call(g, ev, e);
    case GEN_EV_CHOICE_END: end_choice(&s->ends[ev->index], ev); break;
    default: break;
    }
    if (buf_failed(&g->text) || buf_failed(&g->reasoning) || buf_failed(&g->logprobs))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    return 0;
}

static void put_function(const struct call *c, struct buf *b)
{
    jw_str(b, "name", buf_str(&c->name));
    jw_str(b, "arguments", buf_str(&c->args));
    jw_close(b, '}');
}

static void body_message(const struct wire_writer *w, const struct gathered *g, struct buf *b)
{
    jw_object(b, "message");
    jw_str(b, "role", STR("assistant"));
    if (g->has_text || !g->ncalls)
        jw_str(b, "content", buf_str(&g->text));
    else
        jw_null(b, "content");
    jw_null(b, "refusal");
    if (g->reasoning.n)
        jw_str(b, "reasoning_content", buf_str(&g->reasoning));
    if (g->ncalls && w->req->function_calls) {
        jw_object(b, "function_call");
        put_function(&g->calls[0], b);
    } else if (g->ncalls) {
        jw_array(b, "tool_calls");
        for (size_t i = 0; i < g->ncalls; i++) {
            jw_open(b, '{');
            jw_str(b, "id", buf_str(&g->calls[i].id));
            jw_str(b, "type", STR("function"));
            jw_object(b, "function");
            put_function(&g->calls[i], b);
            jw_close(b, '}');
        }
        jw_close(b, ']');
    }
    jw_close(b, '}');
}

static void body_choice(const struct wire_writer *w, size_t i, struct buf *b)
{
    const struct state *s = w->state;
    const struct gathered *g = &s->choices[i];
    const struct choice *end = &s->ends[i];
    jw_open(b, '{');
    jw_int(b, "index", (int64_t)i);
    body_message(w, g, b);
    if (g->logprobs.n) {
        jw_object(b, "logprobs");
        jw_array(b, "content");
        buf_str_add(b, buf_str(&g->logprobs));
        jw_close(b, ']');
        jw_null(b, "refusal");
        jw_close(b, '}');
    } else
        jw_null(b, "logprobs");
    jw_str(b, "finish_reason", str_of(reason_word(w, end->reason)));
    put_weir(b, buf_str(&end->raw), &end->said);
    jw_close(b, '}');
}

static void body_done(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    put_head(w, "chat.completion", b);
    jw_array(b, "choices");
    for (size_t i = 0; i < s->n; i++) {
        if (!s->ends[i].ended)
            end_choice(&s->ends[i], ev);
        body_choice(w, i, b);
    }
    jw_close(b, ']');
    if (w->has_usage)
        openai_put_usage(b, &w->usage);
    put_tail(w, ev, b);
    jw_close(b, '}');
}

int openai_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e)
{
    const struct state *s = w->state;
    if (ev->index < 0 || (size_t)ev->index >= s->n)
        return err_set(e, ERR_INVAL, "an event of choice %d, of %zu", ev->index, s->n);
    if (ev->type == GEN_EV_TEXT)
        said_add(&s->ends[ev->index].said, ev->text);
    if (w->stream) {
        stream_event(w, ev, out);
        return 0;
    }
    if (ev->type == GEN_EV_DONE)
        body_done(w, ev, out);
    else if (ev->type == GEN_EV_ERROR)
        openai_error(ev->err, out);
    else
        return gather(w, ev, e);
    return 0;
}
