/* llama_out.c: events into an answer of llama-server's /completion and /infill: an object for each
 * choice (several: a list of them), or an SSE stream of pieces that ends, choice by choice, with an
 * object whose `stop` is true; there is no [DONE]. `generation_settings` holds what the request
 * set: what it did not is the model's own and not known here. */
#include "wire_int.h"

#include <stdlib.h>

struct choice {
    bool ended, new_line;
    int64_t pieces, ntokens;
    struct buf text, tokens, probs; /* gathered; streaming: only of the piece that is written */
};

struct state {
    struct choice *choices;
    size_t n;
    json_t *options; /* req->extra */
    struct buf last; /* of one choice's last object */
};

int llama_writer_new(struct wire_writer *w)
{
    struct state *s = calloc(1, sizeof *s);
    w->state = s;
    if (!s)
        return ERR_NOMEM;
    buf_init(&s->last, 8 * (size_t)WIRE_MAX_ANSWER);
    s->n = (size_t)(w->req->n > 1 ? w->req->n : 1) * (w->req->nmore + 1);
    if (s->n > WIRE_MAX_CHOICES)
        s->n = WIRE_MAX_CHOICES;
    s->choices = calloc(s->n, sizeof *s->choices);
    for (size_t i = 0; s->choices && i < s->n; i++) {
        buf_init(&s->choices[i].text, WIRE_MAX_ANSWER);
        buf_init(&s->choices[i].tokens, WIRE_MAX_ANSWER);
        buf_init(&s->choices[i].probs, 4 * WIRE_MAX_ANSWER);
    }
    if (w->req->extra.n && wire_json_load(w->req->extra, &s->options, NULL) == ERR_NOMEM)
        return ERR_NOMEM;
    return s->choices ? 0 : ERR_NOMEM;
}

void llama_writer_free(struct wire_writer *w)
{
    struct state *s = w->state;
    for (size_t i = 0; s && s->choices && i < s->n; i++) {
        buf_done(&s->choices[i].text);
        buf_done(&s->choices[i].tokens);
        buf_done(&s->choices[i].probs);
    }
    if (s) {
        buf_done(&s->last);
        json_decref(s->options);
        free(s->choices);
    }
    free(s);
}

/* ---- pieces ---- */

static void put_token(struct buf *b, const struct gen_logprob *t)
{
    jw_int(b, "id", t->id);
    jw_str(b, "token", t->token);
    jw_array(b, "bytes");
    for (size_t i = 0; i < t->token.n; i++)
        jw_item_int(b, (unsigned char)t->token.p[i]);
    jw_close(b, ']');
    jw_logprob(b, "logprob", t->logprob);
}

static void put_probs(struct buf *b, const struct gen_event *ev)
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

static int64_t slot_of(const struct state *s)
{
    const json_t *v = json_object_get(s->options, "id_slot");
    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v) : 0;
}

/* What the choice holds as lists, which is then forgotten. */
static void put_lists(const struct wire_writer *w, struct choice *c, struct buf *b, bool probs)
{
    const struct state *s = w->state;
    bool tokens = w->stream || json_is_true(json_object_get(s->options, "return_tokens"));
    jw_array(b, "tokens");
    if (tokens)
        buf_str_add(b, buf_str(&c->tokens));
    jw_close(b, ']');
    if (probs && c->probs.n) {
        jw_array(b, "completion_probabilities");
        buf_str_add(b, buf_str(&c->probs));
        jw_close(b, ']');
    }
    buf_clear(&c->tokens);
    buf_clear(&c->probs);
}

/* ---- the last object of a choice ---- */

static void put_settings_sampling(const struct wire_writer *w, struct buf *b)
{
    static const struct wire_quirks quirks = {.repeat_penalty = true};
    struct err none;
    struct enc x = {.b = b, .e = &none, .req = w->req, .q = &quirks};
    put_sampling(&x);
    if (!(w->req->sampling.set & GEN_SET_SEED))
        jw_int(b, "seed", UINT32_MAX); /* that server's word for a random one */
}

static void put_settings(const struct wire_writer *w, struct buf *b)
{
    const struct gen_req *r = w->req;
    int64_t limit = r->prompt_only ? 0 : r->max_tokens ? r->max_tokens : -1;
    jw_object(b, "generation_settings");
    jw_int(b, "n_predict", limit);
    jw_int(b, "max_tokens", limit);
    put_settings_sampling(w, b);
    jw_array(b, "stop");
    for (size_t i = 0; i < r->nstops; i++)
        jw_item(b, r->stops[i]);
    jw_close(b, ']');
    jw_bool(b, "stream", r->stream);
    jw_int(b, "n_probs", r->top_logprobs);
    jw_str(b, "grammar", r->grammar);
    jw_close(b, '}');
}

static const char *stop_word(enum gen_reason reason)
{
    return reason == GEN_END_LENGTH ? "limit" : reason == GEN_END_SEQUENCE ? "word" : "eos";
}

/* Of one choice the provider's count is right; of several it is the sum. */
static int64_t predicted(const struct wire_writer *w, const struct choice *c)
{
    const struct state *s = w->state;
    if (w->req->prompt_only)
        return 0;
    if (s->n == 1 && w->has_usage)
        return w->usage.output;
    return c->ntokens ? c->ntokens : c->pieces;
}

static void put_prompt(const struct wire_writer *w, size_t i, struct buf *b)
{
    size_t n = w->req->n > 1 ? (size_t)w->req->n : 1;
    struct gen_prompt p = wire_prompt(w->req, i / n);
    if (!p.ids && !p.npieces)
        jw_str(b, "prompt", p.text);
}

static void put_last(const struct wire_writer *w, size_t i, const struct gen_event *ev,
                     struct buf *b)
{
    const struct state *s = w->state;
    struct choice *c = &s->choices[i];
    int64_t n = predicted(w, c), limit = w->req->max_tokens;
    jw_open(b, '{');
    jw_int(b, "index", (int64_t)i);
    jw_str(b, "content", w->stream ? STR("") : buf_str(&c->text));
    put_lists(w, c, b, !w->stream);
    jw_int(b, "id_slot", slot_of(s));
    jw_bool(b, "stop", true);
    jw_str(b, "model", buf_str(&w->model));
    jw_int(b, "tokens_predicted", n);
    jw_int(b, "tokens_evaluated", w->usage.input);
    put_settings(w, b);
    put_prompt(w, i, b);
    jw_bool(b, "has_new_line", c->new_line);
    /* Less than was allowed, and yet at a limit: the context is full. */
    jw_bool(b, "truncated",
            ev->reason == GEN_END_LENGTH && (!limit || n < limit) && !w->req->prompt_only);
    jw_str(b, "stop_type", str_of(stop_word(ev->reason)));
    jw_str(b, "stopping_word", ev->reason == GEN_END_SEQUENCE ? ev->text : STR(""));
    jw_int(b, "tokens_cached", w->usage.cached);
    put_timings(b, w);
    jw_close(b, '}');
}

/* ---- response_fields ---- */

/* "a/b" is b inside a. */
static json_t *find_field(json_t *o, struct str path)
{
    struct str head, rest = path;
    char key[128];
    while (rest.n && o) {
        str_cut(rest, '/', &head, &rest);
        snprintf(key, sizeof key, "%.*s", STR_ARG(head));
        o = json_object_get(o, key);
    }
    return o;
}

/* The object in `from`, or of it only the fields that the request names. */
static int add_picked(const struct state *s, struct str from, struct buf *b, struct err *e)
{
    const json_t *fields = json_object_get(s->options, "response_fields");
    json_t *o = NULL, *v;
    if (!json_array_size(fields)) {
        buf_str_add(b, from);
        return 0;
    }
    int rc = wire_json_load(from, &o, e);
    if (rc)
        return rc;
    buf_putc(b, '{');
    for (size_t i = 0; i < json_array_size(fields); i++) {
        struct str name = wire_json_str(json_array_get(fields, i));
        v = name.n ? find_field(o, name) : NULL;
        if (!v)
            continue;
        jw_str_key(b, name);
        wire_json_dump(v, b);
    }
    buf_putc(b, '}');
    json_decref(o);
    return 0;
}

/* ---- events ---- */

static int end_choice(struct wire_writer *w, size_t i, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    struct state *s = w->state;
    if (s->choices[i].ended)
        return 0;
    s->choices[i].ended = true;
    buf_clear(&s->last);
    put_last(w, i, ev, &s->last);
    if (buf_failed(&s->last))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    if (w->stream) {
        buf_puts(out, "data: ");
        int rc = add_picked(s, buf_str(&s->last), out, e);
        buf_puts(out, "\n\n");
        return rc;
    }
    /* A choice's object is kept in its text's place until all are there, in their order. */
    buf_clear(&s->choices[i].text);
    s->choices[i].text.max = s->last.max;
    return add_picked(s, buf_str(&s->last), &s->choices[i].text, e);
}

static int write_done(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    const struct state *s = w->state;
    int rc = 0;
    for (size_t i = 0; i < s->n && !rc; i++)
        rc = end_choice(w, i, ev, out, e);
    if (rc || w->stream)
        return rc;
    if (s->n > 1)
        buf_putc(out, '[');
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            buf_putc(out, ',');
        buf_str_add(out, buf_str(&s->choices[i].text));
        out->failed |= buf_failed(&s->choices[i].text);
    }
    if (s->n > 1)
        buf_putc(out, ']');
    return 0;
}

static void stream_piece(const struct wire_writer *w, const struct gen_event *ev, struct buf *b)
{
    const struct state *s = w->state;
    struct choice *c = &s->choices[ev->index];
    buf_puts(b, "data: ");
    jw_open(b, '{');
    jw_int(b, "index", ev->index);
    jw_str(b, "content", ev->text);
    put_lists(w, c, b, true);
    jw_bool(b, "stop", false);
    jw_int(b, "id_slot", slot_of(s));
    jw_int(b, "tokens_predicted", c->ntokens ? c->ntokens : c->pieces);
    jw_int(b, "tokens_evaluated", w->usage.input);
    jw_close(b, '}');
    buf_puts(b, "\n\n");
}

static int write_text(const struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    const struct state *s = w->state;
    struct choice *c = &s->choices[ev->index];
    if (w->req->prompt_only)
        return 0;
    c->pieces++;
    c->ntokens += (int64_t)ev->nids;
    c->new_line |= str_find(ev->text, STR("\n"), 0) != SIZE_MAX;
    for (size_t i = 0; i < ev->nids; i++)
        jw_item_int(&c->tokens, ev->ids[i]);
    if (w->req->logprobs)
        put_probs(&c->probs, ev);
    if (w->stream)
        stream_piece(w, ev, out);
    else
        buf_str_add(&c->text, ev->text);
    if (buf_failed(&c->text) || buf_failed(&c->tokens) || buf_failed(&c->probs))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    return 0;
}

int llama_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e)
{
    const struct state *s = w->state;
    if (ev->index < 0 || (size_t)ev->index >= s->n)
        return err_set(e, ERR_INVAL, "an event of choice %d, of %zu", ev->index, s->n);
    switch (ev->type) {
    case GEN_EV_TEXT: return write_text(w, ev, out, e);
    case GEN_EV_CHOICE_END: return end_choice(w, (size_t)ev->index, ev, out, e);
    case GEN_EV_DONE: return write_done(w, ev, out, e);
    case GEN_EV_ERROR:
        if (w->stream)
            buf_puts(out, "data: ");
        llama_error(ev->err, out);
        if (w->stream)
            buf_puts(out, "\n\n");
        return 0;
    case GEN_EV_TOOL_BEGIN:
        return err_set(e, ERR_UNSUPPORTED, "a tool call in the answer to a bare prompt");
    default: return 0; /* usage is kept; the rest belongs to chats */
    }
}
