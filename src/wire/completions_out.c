/* completions_out.c: events into an answer of /v1/completions: chunks of an SSE stream, or one JSON
 * body. Choice i belongs to prompt i / n. With echo, who answers has put the prompt before it.
 *
 * Log-probabilities have the dialect's old shape: lists side by side, and maps by token, where a
 * token that is not UTF-8 is written "bytes:\xNN…" and of two with the same text the likelier one
 * stands; offsets count characters of the choice's own text. There are no tool calls here. */
#include "wire_int.h"

#include "utf8.h"

#include <stdlib.h>

struct choice {
    bool ended;
    enum gen_reason reason;
    struct wire_said said;
    int64_t offset;  /* of the next token, in characters */
    struct buf text; /* not streaming, as the next ones: */
    struct buf tokens, values, tops, offsets;
    struct buf raw;
};

struct state {
    struct choice *choices;
    size_t n;
};

static void choice_init(struct choice *c)
{
    buf_init(&c->text, WIRE_MAX_ANSWER);
    buf_init(&c->tokens, WIRE_MAX_ANSWER);
    buf_init(&c->values, WIRE_MAX_ANSWER);
    buf_init(&c->tops, 4 * WIRE_MAX_ANSWER);
    buf_init(&c->offsets, WIRE_MAX_ANSWER);
    buf_init(&c->raw, WIRE_MAX_ANSWER);
}

static void choice_done(struct choice *c)
{
    buf_done(&c->text);
    buf_done(&c->tokens);
    buf_done(&c->values);
    buf_done(&c->tops);
    buf_done(&c->offsets);
    buf_done(&c->raw);
}

int completions_writer_new(struct wire_writer *w)
{
    struct state *s = calloc(1, sizeof *s);
    w->state = s;
    if (!s)
        return ERR_NOMEM;
    s->n = (size_t)(w->req->n > 1 ? w->req->n : 1) * (w->req->nmore + 1);
    if (s->n > WIRE_MAX_CHOICES)
        s->n = WIRE_MAX_CHOICES;
    s->choices = calloc(s->n, sizeof *s->choices);
    for (size_t i = 0; s->choices && i < s->n; i++)
        choice_init(&s->choices[i]);
    return s->choices ? 0 : ERR_NOMEM;
}

void completions_writer_free(struct wire_writer *w)
{
    struct state *s = w->state;
    for (size_t i = 0; s && s->choices && i < s->n; i++)
        choice_done(&s->choices[i]);
    if (s)
        free(s->choices);
    free(s);
}

/* ---- shared pieces ---- */

static const char *reason_word(enum gen_reason reason)
{
    switch (reason) {
    case GEN_END_LENGTH: return "length";
    case GEN_END_FILTER: return "content_filter";
    case GEN_END_TOOLS:
    case GEN_END_STOP:
    case GEN_END_SEQUENCE: break;
    }
    return "stop";
}

static void put_head(const struct wire_writer *w, struct buf *b)
{
    buf_putc(b, '{');
    buf_printf(b, "\"id\":\"cmpl-%s\"", w->id);
    jw_str(b, "object", STR("text_completion"));
    jw_int(b, "created", w->created);
    jw_str(b, "model", buf_str(&w->model));
}

static void put_choice(struct buf *b, int32_t index, struct str text)
{
    jw_open(b, '{');
    jw_str(b, "text", text);
    jw_int(b, "index", index);
}

static void put_reason(struct buf *b, const struct choice *c)
{
    if (c->ended)
        jw_str(b, "finish_reason", str_of(reason_word(c->reason)));
    else
        jw_null(b, "finish_reason");
}

/* ---- log-probabilities ---- */

static void token_text(struct str token, struct buf *out)
{
    buf_clear(out);
    if (utf8_valid(token)) {
        buf_str_add(out, token);
        return;
    }
    buf_puts(out, "bytes:");
    for (size_t i = 0; i < token.n; i++)
        buf_printf(out, "\\x%02x", (unsigned char)token.p[i]);
}

static bool same_before(const struct gen_token_logprobs *t, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        if (str_eq(t->top[i].token, t->top[k].token))
            return true;
    }
    return false;
}

/* The likeliest ones, and the one that was chosen. */
static void put_map(struct buf *b, const struct gen_token_logprobs *t, struct buf *name)
{
    bool chosen = false;
    jw_open(b, '{');
    for (size_t k = 0; k < t->ntop; k++) {
        if (same_before(t, k))
            continue;
        chosen |= str_eq(t->top[k].token, t->chosen.token);
        token_text(t->top[k].token, name);
        jw_str_key(b, buf_str(name));
        jw_logprob_value(b, t->top[k].logprob);
    }
    if (!chosen) {
        token_text(t->chosen.token, name);
        jw_str_key(b, buf_str(name));
        jw_logprob_value(b, t->chosen.logprob);
    }
    jw_close(b, '}');
}

static int64_t characters(struct str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

static int gather_logprobs(struct choice *c, const struct gen_event *ev)
{
    struct buf name = BUF_INIT(1 << 20);
    for (size_t i = 0; i < ev->nlogprobs; i++) {
        const struct gen_token_logprobs *t = &ev->logprobs[i];
        token_text(t->chosen.token, &name);
        jw_item(&c->tokens, buf_str(&name));
        if (c->values.n)
            buf_putc(&c->values, ',');
        jw_logprob_value(&c->values, t->chosen.logprob);
        put_map(&c->tops, t, &name);
        if (c->offsets.n)
            buf_putc(&c->offsets, ',');
        buf_printf(&c->offsets, "%lld", (long long)c->offset);
        c->offset += characters(t->chosen.token);
    }
    bool failed = buf_failed(&name) || buf_failed(&c->tokens) || buf_failed(&c->values) ||
                  buf_failed(&c->tops) || buf_failed(&c->offsets);
    buf_done(&name);
    return failed ? ERR_TOO_LARGE : 0;
}

static void put_list(struct buf *b, const char *key, struct buf *items)
{
    jw_array(b, key);
    buf_str_add(b, buf_str(items));
    jw_close(b, ']');
    buf_clear(items);
}

/* What was gathered, which is then forgotten. */
static void put_logprobs(const struct wire_writer *w, struct choice *c, struct buf *b)
{
    if (!w->req->logprobs || (w->stream && !c->tokens.n)) {
        jw_null(b, "logprobs");
        return;
    }
    jw_object(b, "logprobs");
    put_list(b, "tokens", &c->tokens);
    put_list(b, "token_logprobs", &c->values);
    put_list(b, "top_logprobs", &c->tops);
    put_list(b, "text_offset", &c->offsets);
    jw_close(b, '}');
}

/* ---- streaming ---- */

static void chunk(const struct wire_writer *w, int32_t index, struct str text, struct buf *b)
{
    const struct state *s = w->state;
    struct choice *c = &s->choices[index];
    buf_puts(b, "data: ");
    put_head(w, b);
    jw_array(b, "choices");
    put_choice(b, index, text);
    put_logprobs(w, c, b);
    put_reason(b, c);
    put_weir(b, buf_str(&c->raw), &c->said);
    buf_clear(&c->raw);
    jw_close(b, '}');
    jw_close(b, ']');
}

static void chunk_end(struct buf *b)
{
    jw_close(b, '}');
    buf_puts(b, "\n\n");
}

static void stream_text(const struct wire_writer *w, int32_t index, struct str text, struct buf *b)
{
    chunk(w, index, text, b);
    chunk_end(b);
}

static void put_tail(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    put_timings(b, w);
    if (s->n == 1 && !w->req->echo)
        put_weir(b, ev->raw, &s->choices[0].said);
}

/* What a model wrote is no news where its prompt stands before it: there is nothing parsed. */
static void end_choice(struct choice *c, const struct gen_event *ev, bool echo)
{
    c->ended = true;
    c->reason = ev->reason;
    if (ev->type == GEN_EV_CHOICE_END && !echo)
        buf_str_add(&c->raw, ev->raw);
}

/* The last chunk, of the usage where it is wanted, has what comes with the end. */
static void stream_done(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    bool usage = w->req->stream_usage && w->has_usage;
    size_t last = s->n;
    for (size_t i = 0; i < s->n; i++)
        last = s->choices[i].ended ? last : i;
    for (size_t i = 0; i < s->n; i++) {
        if (s->choices[i].ended)
            continue;
        end_choice(&s->choices[i], ev, w->req->echo);
        chunk(w, (int32_t)i, STR(""), b);
        if (i == last && !usage)
            put_tail(w, ev, b);
        chunk_end(b);
    }
    if (usage) {
        buf_puts(b, "data: ");
        put_head(w, b);
        jw_array(b, "choices");
        jw_close(b, ']');
        openai_put_usage(b, &w->usage);
        put_tail(w, ev, b);
        chunk_end(b);
    }
    buf_puts(b, "data: [DONE]\n\n");
}

/* ---- one body ---- */

static void body_done(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    put_head(w, b);
    jw_array(b, "choices");
    for (size_t i = 0; i < s->n; i++) {
        struct choice *c = &s->choices[i];
        if (!c->ended)
            end_choice(c, ev, w->req->echo);
        put_choice(b, (int32_t)i, buf_str(&c->text));
        put_logprobs(w, c, b);
        put_reason(b, c);
        put_weir(b, buf_str(&c->raw), &c->said);
        jw_close(b, '}');
    }
    jw_close(b, ']');
    if (w->has_usage)
        openai_put_usage(b, &w->usage);
    put_tail(w, ev, b);
    jw_close(b, '}');
}

/* ---- events ---- */

static int write_text(const struct wire_writer *w, const struct gen_event *ev, struct buf *b,
                      struct err *e)
{
    struct state *s = w->state;
    struct choice *c = &s->choices[ev->index];
    if (w->req->prompt_only && !w->req->echo)
        return 0;
    said_add(&c->said, ev->text);
    if (w->req->logprobs && gather_logprobs(c, ev))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    if (w->stream) {
        stream_text(w, ev->index, ev->text, b);
        return 0;
    }
    buf_str_add(&c->text, ev->text);
    if (buf_failed(&c->text))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    return 0;
}

static void write_choice_end(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    struct state *s = w->state;
    if (s->choices[ev->index].ended)
        return;
    end_choice(&s->choices[ev->index], ev, w->req->echo);
    if (w->stream)
        stream_text(w, ev->index, STR(""), b);
}

static void write_error(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    if (w->stream)
        buf_puts(b, "data: ");
    openai_error(ev->err, b);
    if (w->stream)
        buf_puts(b, "\n\n");
}

int completions_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    const struct state *s = w->state;
    if (ev->index < 0 || (size_t)ev->index >= s->n)
        return err_set(e, ERR_INVAL, "an event of choice %d, of %zu", ev->index, s->n);
    switch (ev->type) {
    case GEN_EV_TEXT: return write_text(w, ev, out, e);
    case GEN_EV_CHOICE_END: write_choice_end(w, ev, out); break;
    case GEN_EV_DONE:
        if (w->stream)
            stream_done(w, ev, out);
        else
            body_done(w, ev, out);
        break;
    case GEN_EV_ERROR: write_error(w, ev, out); break;
    case GEN_EV_TOOL_BEGIN:
        return err_set(e, ERR_UNSUPPORTED, "a tool call in the answer to a bare prompt");
    default: break; /* the start has no piece; reasoning and signed blobs belong to chats */
    }
    return 0;
}
