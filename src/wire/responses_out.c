/* responses_out.c: events into an answer of /v1/responses: the event stream, or one Response
 * object. Both are gathered, because the stream's last event is the whole object; the caller can
 * have that too (wire_writer_whole), to keep it.
 *
 * What the model did becomes items in the order in which they began: reasoning, messages, calls.
 * Reasoning is `reasoning_text`, as of models whose thoughts are open; a caller who asks for a
 * summary gets it as one. A signed blob closes the reasoning before it or stands alone; blobs of
 * another dialect's tools have no place here. The time of the end is the beginning's and what
 * gen_times says it took. Calls stay open side by side; a text or a thought ends when something
 * else begins. */
#include "responses_int.h"

#include <stdio.h>
#include <stdlib.h>

enum kind { REASONING, MESSAGE, CALL, CUSTOM };

struct item {
    enum kind kind;
    bool open, has_text, sealed;
    int32_t tool;
    const char *status;
    struct buf text; /* or a call's arguments; of a custom tool's that has ended, its input */
    struct buf opaque, logprobs, call_id, space, name;
};

struct state {
    json_t *extra; /* of the request; NULL: none */
    bool summary;  /* thoughts are given as summaries */
    bool created;
    int64_t seq;
    struct item *items;
    size_t n, cap;
    struct buf whole;
    struct wire_said said;
};

enum { MAX_ITEMS = 2 * WIRE_MAX_TOOLS };

static bool is_call(const struct item *it)
{
    return it->kind == CALL || it->kind == CUSTOM;
}

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for the answer");
}

int responses_writer_new(struct wire_writer *w)
{
    struct state *s = calloc(1, sizeof *s);
    struct err ignored;
    w->state = s;
    if (!s)
        return ERR_NOMEM;
    buf_init(&s->whole, 4 * WIRE_MAX_ANSWER);
    if (w->req->extra.n && wire_json_load(w->req->extra, &s->extra, &ignored))
        s->extra = NULL;
    const json_t *reasoning = json_object_get(s->extra, "reasoning");
    s->summary = json_is_string(json_object_get(reasoning, "summary"));
    return 0;
}

void responses_writer_free(struct wire_writer *w)
{
    struct state *s = w->state;
    for (size_t i = 0; s && i < s->n; i++) {
        struct item *it = &s->items[i];
        buf_done(&it->text);
        buf_done(&it->opaque);
        buf_done(&it->logprobs);
        buf_done(&it->call_id);
        buf_done(&it->space);
        buf_done(&it->name);
    }
    if (!s)
        return;
    free(s->items);
    buf_done(&s->whole);
    json_decref(s->extra);
    free(s);
}

struct str responses_whole(const struct wire_writer *w)
{
    const struct state *s = w->state;
    return buf_str(&s->whole);
}

/* ---- items ---- */

static void put_item_id(const struct wire_writer *w, size_t i, const char *key, struct buf *b)
{
    static const char *const prefixes[] = {"rs", "msg", "fc", "ctc"};
    const struct state *s = w->state;
    char id[64];
    snprintf(id, sizeof id, "%s_%so%zu", prefixes[s->items[i].kind], w->id, i);
    jw_str(b, key, str_of(id));
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

/* An item's one part, as content or a summary. */
static void put_part(const struct wire_writer *w, const struct item *it, struct str text,
                     struct str logprobs, struct buf *b)
{
    const struct state *s = w->state;
    jw_open(b, '{');
    if (it->kind == REASONING) {
        jw_str(b, "type", s->summary ? STR("summary_text") : STR("reasoning_text"));
        jw_str(b, "text", text);
    } else {
        jw_str(b, "type", STR("output_text"));
        jw_array(b, "annotations");
        jw_close(b, ']');
        jw_array(b, "logprobs");
        buf_str_add(b, logprobs);
        jw_close(b, ']');
        jw_str(b, "text", text);
    }
    jw_close(b, '}');
}

static void put_parts(const struct wire_writer *w, const struct item *it, const char *key,
                      struct buf *b)
{
    jw_array(b, key);
    if (it->has_text)
        put_part(w, it, buf_str(&it->text), buf_str(&it->logprobs), b);
    jw_close(b, ']');
}

/* As it is now; without content when it has just begun. */
static void put_item(const struct wire_writer *w, size_t i, struct buf *b)
{
    static const char *const types[] = {"reasoning", "message", "function_call",
                                        "custom_tool_call"};
    const struct state *s = w->state;
    const struct item *it = &s->items[i];
    put_item_id(w, i, "id", b);
    jw_str(b, "type", str_of(types[it->kind]));
    jw_str(b, "status", str_of(it->status));
    if (it->kind == REASONING) {
        if (s->summary) {
            put_parts(w, it, "summary", b);
        } else {
            jw_array(b, "summary");
            jw_close(b, ']');
            put_parts(w, it, "content", b);
        }
        if (it->sealed)
            jw_str(b, "encrypted_content", buf_str(&it->opaque));
    } else if (it->kind == MESSAGE) {
        jw_str(b, "role", STR("assistant"));
        put_parts(w, it, "content", b);
    } else {
        jw_str(b, "call_id", buf_str(&it->call_id));
        if (it->space.n)
            jw_str(b, "namespace", buf_str(&it->space));
        jw_str(b, "name", buf_str(&it->name));
        if (it->kind == CALL)
            jw_str(b, "arguments", buf_str(&it->text));
        else /* what came of it so far is JSON, and no text yet */
            jw_str(b, "input", it->open ? STR("") : buf_str(&it->text));
    }
}

/* ---- the Response object ---- */

static const char *error_code(int code)
{
    switch (code) {
    case ERR_RATE: return "rate_limit_exceeded";
    case ERR_CONTEXT:
    case ERR_INVAL:
    case ERR_FORMAT:
    case ERR_UNSUPPORTED: return "invalid_prompt";
    default: return "server_error";
    }
}

static void put_error(const struct err *err, struct buf *b)
{
    if (!err) {
        jw_null(b, "error");
        return;
    }
    jw_object(b, "error");
    jw_str(b, "code", str_of(error_code(err->code)));
    jw_str(b, "message", str_of(err_msg(err)));
    jw_close(b, '}');
}

static void put_usage(const struct wire_writer *w, struct buf *b)
{
    const struct gen_usage *u = &w->usage;
    jw_object(b, "usage");
    jw_int(b, "input_tokens", u->input);
    jw_object(b, "input_tokens_details");
    jw_int(b, "cached_tokens", u->cached);
    jw_int(b, "cache_write_tokens", u->cache_write);
    jw_close(b, '}');
    jw_int(b, "output_tokens", u->output);
    jw_object(b, "output_tokens_details");
    jw_int(b, "reasoning_tokens", u->reasoning);
    jw_close(b, '}');
    jw_int(b, "total_tokens", u->input + u->output);
    jw_close(b, '}');
}

/* A field of the request's that gen has no word for, as it came. */
static void put_kept(const struct state *s, const char *key, const char *none, struct buf *b)
{
    const json_t *v = json_object_get(s->extra, key);
    jw_key(b, key);
    if (v)
        wire_json_dump(v, b);
    else
        buf_puts(b, none);
}

static void put_number(const struct gen_sampling *s, unsigned bit, const char *key, float v,
                       float none, struct buf *b)
{
    jw_float(b, key, s->set & bit ? v : none);
}

/* What the request asked for, in the dialect's defaults where it did not. */
static void put_settings(const struct wire_writer *w, struct buf *b)
{
    const struct state *s = w->state;
    const struct gen_req *r = w->req;
    const struct gen_sampling *g = &r->sampling;
    static const struct wire_quirks none;
    struct enc x = {.b = b, .req = r, .q = &none};
    put_kept(s, "instructions", "null", b);
    jw_key(b, "max_output_tokens");
    if (r->max_tokens)
        buf_printf(b, "%lld", (long long)r->max_tokens);
    else
        buf_puts(b, "null");
    put_kept(s, "max_tool_calls", "null", b);
    jw_bool(b, "parallel_tool_calls", r->parallel_tools != 0);
    if (r->previous_id.n)
        jw_str(b, "previous_response_id", r->previous_id);
    else
        jw_null(b, "previous_response_id");
    put_kept(s, "prompt_cache_key", "null", b);
    responses_put_reasoning(&x, s->extra, true);
    put_kept(s, "safety_identifier", "null", b);
    jw_str(b, "service_tier", STR("default"));
    jw_bool(b, "store", r->store);
    put_number(g, GEN_SET_TEMPERATURE, "temperature", g->temperature, 1, b);
    responses_put_text(&x, s->extra, true);
    responses_put_choice(&x, s->extra, true);
    responses_put_tools(&x, s->extra, true);
    jw_int(b, "top_logprobs", r->top_logprobs);
    put_number(g, GEN_SET_TOP_P, "top_p", g->top_p, 1, b);
    put_number(g, GEN_SET_FREQUENCY, "frequency_penalty", g->frequency_penalty, 0, b);
    put_number(g, GEN_SET_PRESENCE, "presence_penalty", g->presence_penalty, 0, b);
    jw_str(b, "truncation", r->truncate ? STR("auto") : STR("disabled"));
    if (r->user.p)
        jw_str(b, "user", r->user);
    put_kept(s, "metadata", "{}", b);
}

static void put_output(const struct wire_writer *w, struct buf *b)
{
    const struct state *s = w->state;
    jw_array(b, "output");
    for (size_t i = 0; i < s->n; i++) {
        jw_open(b, '{');
        put_item(w, i, b);
        jw_close(b, '}');
    }
    jw_close(b, ']');
}

/* why: of an incomplete answer. raw: what the model wrote, where that is known. */
static void put_response(const struct wire_writer *w, const char *status, const char *why,
                         const struct err *err, struct str raw, struct buf *b)
{
    const struct state *s = w->state;
    bool ended = strcmp(status, "in_progress") != 0;
    struct str model = w->model.n ? buf_str(&w->model) : w->req->model;
    jw_open(b, '{');
    buf_printf(b, "\"id\":\"resp_%s\"", w->id);
    jw_str(b, "object", STR("response"));
    jw_int(b, "created_at", w->created);
    jw_str(b, "status", str_of(status));
    jw_bool(b, "background", false);
    if (strcmp(status, "completed") == 0)
        jw_int(b, "completed_at", w->created + w->times.total / 1000000000);
    else
        jw_null(b, "completed_at");
    put_error(err, b);
    if (why) {
        jw_object(b, "incomplete_details");
        jw_str(b, "reason", str_of(why));
        jw_close(b, '}');
    } else {
        jw_null(b, "incomplete_details");
    }
    jw_str(b, "model", model);
    put_output(w, b);
    put_settings(w, b);
    if (ended && w->has_usage) /* the document has no null for it */
        put_usage(w, b);
    put_weir(b, raw, &s->said);
    jw_close(b, '}');
}

/* ---- stream events ---- */

/* NULL out: the answer is not streamed. */
static bool event_open(struct wire_writer *w, const char *type, struct buf *out)
{
    struct state *s = w->state;
    if (!w->stream)
        return false;
    buf_printf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
    jw_int(out, "sequence_number", s->seq++);
    return true;
}

static void event_close(struct buf *out)
{
    buf_puts(out, "}\n\n");
}

static void event_response(struct wire_writer *w, const char *type, const char *status,
                           struct buf *out)
{
    if (!event_open(w, type, out))
        return;
    jw_key(out, "response");
    put_response(w, status, NULL, NULL, STR_NONE, out);
    event_close(out);
}

static void event_item(struct wire_writer *w, const char *type, size_t i, struct buf *out)
{
    if (!event_open(w, type, out))
        return;
    jw_int(out, "output_index", (int64_t)i);
    jw_object(out, "item");
    put_item(w, i, out);
    jw_close(out, '}');
    event_close(out);
}

/* What all events about a part begin with. */
static bool part_open(struct wire_writer *w, const char *type, size_t i, struct buf *out)
{
    const struct state *s = w->state;
    const struct item *it = &s->items[i];
    if (!event_open(w, type, out))
        return false;
    put_item_id(w, i, "item_id", out);
    jw_int(out, "output_index", (int64_t)i);
    if (!is_call(it))
        jw_int(out, it->kind == REASONING && s->summary ? "summary_index" : "content_index", 0);
    return true;
}

struct names {
    const char *added, *delta, *done, *part_done, *key;
};

static const struct names *names_of(const struct wire_writer *w, enum kind kind)
{
    static const struct names all[] = {
        {"response.content_part.added", "response.reasoning_text.delta",
         "response.reasoning_text.done", "response.content_part.done", "text"},
        {"response.content_part.added", "response.output_text.delta", "response.output_text.done",
         "response.content_part.done", "text"},
        {NULL, "response.function_call_arguments.delta", "response.function_call_arguments.done",
         NULL, "arguments"},
        {NULL, "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done",
         NULL, "input"},
        {"response.reasoning_summary_part.added", "response.reasoning_summary_text.delta",
         "response.reasoning_summary_text.done", "response.reasoning_summary_part.done", "text"},
    };
    const struct state *s = w->state;
    return &all[kind == REASONING && s->summary ? 4 : (int)kind];
}

static void event_part(struct wire_writer *w, const char *type, size_t i, bool empty,
                       struct buf *out)
{
    const struct state *s = w->state;
    const struct item *it = &s->items[i];
    if (!part_open(w, type, i, out))
        return;
    jw_key(out, "part");
    put_part(w, it, empty ? STR("") : buf_str(&it->text), empty ? STR("") : buf_str(&it->logprobs),
             out);
    event_close(out);
}

static void event_logprobs(const struct item *it, struct str logprobs, struct buf *out)
{
    if (it->kind != MESSAGE)
        return;
    jw_array(out, "logprobs");
    buf_str_add(out, logprobs);
    jw_close(out, ']');
}

static void event_done(struct wire_writer *w, size_t i, struct buf *out)
{
    const struct state *s = w->state;
    const struct item *it = &s->items[i];
    const struct names *n = names_of(w, it->kind);
    if (!part_open(w, n->done, i, out))
        return;
    if (it->kind == CALL)
        jw_str(out, "name", buf_str(&it->name));
    jw_str(out, n->key, buf_str(&it->text));
    event_logprobs(it, buf_str(&it->logprobs), out);
    event_close(out);
}

/* ---- what happens ---- */

static void event_delta(struct wire_writer *w, size_t i, struct str text, struct buf *out)
{
    const struct state *s = w->state;
    if (!part_open(w, names_of(w, s->items[i].kind)->delta, i, out))
        return;
    jw_str(out, "delta", text);
    event_close(out);
}

/* A custom tool's arguments become its input, which goes out in one piece. */
static void custom_close(struct wire_writer *w, size_t i, struct buf *out)
{
    struct state *s = w->state;
    struct buf text = BUF_INIT(WIRE_MAX_ANSWER);
    responses_put_input(buf_str(&s->items[i].text), &text);
    buf_done(&s->items[i].text);
    s->items[i].text = text;
    event_delta(w, i, buf_str(&text), out);
}

static void item_close(struct wire_writer *w, size_t i, const char *status, struct buf *out)
{
    struct state *s = w->state;
    struct item *it = &s->items[i];
    if (!it->open)
        return;
    it->open = false;
    it->status = status;
    if (it->kind == CUSTOM)
        custom_close(w, i, out);
    if (it->has_text || is_call(it)) {
        event_done(w, i, out);
        if (!is_call(it))
            event_part(w, names_of(w, it->kind)->part_done, i, false, out);
    }
    event_item(w, "response.output_item.done", i, out);
}

/* Ends the text or the thought that is under way. */
static void close_text(struct wire_writer *w, const char *status, struct buf *out)
{
    const struct state *s = w->state;
    for (size_t i = s->n; i-- > 0;) {
        if (!is_call(&s->items[i])) {
            item_close(w, i, status, out);
            return;
        }
    }
}

static int item_new(struct wire_writer *w, enum kind kind, const struct gen_event *ev,
                    struct buf *out, struct err *e)
{
    struct state *s = w->state;
    if (s->n >= MAX_ITEMS)
        return err_set(e, ERR_TOO_LARGE, "the answer has more than %d items", (int)MAX_ITEMS);
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        struct item *bigger = realloc(s->items, cap * sizeof *bigger);
        if (!bigger)
            return nomem(e);
        s->items = bigger;
        s->cap = cap;
    }
    struct item *it = &s->items[s->n++];
    *it = (struct item){.kind = kind, .open = true, .tool = -1, .status = "in_progress"};
    buf_init(&it->text, WIRE_MAX_ANSWER);
    buf_init(&it->opaque, WIRE_MAX_ANSWER);
    buf_init(&it->logprobs, 4 * WIRE_MAX_ANSWER);
    buf_init(&it->call_id, 1 << 16);
    buf_init(&it->space, 1 << 16);
    buf_init(&it->name, 1 << 16);
    if (kind == CALL) {
        struct responses_tool tool = responses_find_tool(s->extra, ev->name);
        it->kind = tool.custom ? CUSTOM : CALL;
        it->tool = ev->tool;
        buf_str_add(&it->call_id, ev->id);
        buf_str_add(&it->space, tool.space);
        buf_str_add(&it->name, tool.name);
    }
    event_item(w, "response.output_item.added", s->n - 1, out);
    bool bad = buf_failed(&it->call_id) || buf_failed(&it->space) || buf_failed(&it->name);
    return bad ? nomem(e) : 0;
}

/* The item that a text or a thought goes on in, begun when there is none. */
static int item_for(struct wire_writer *w, enum kind kind, struct buf *out, struct item **it,
                    struct err *e)
{
    struct state *s = w->state;
    size_t i = s->n;
    while (i > 0 && is_call(&s->items[i - 1]))
        i--;
    *it = i ? &s->items[i - 1] : NULL;
    if (*it && (*it)->open && (*it)->kind == kind && !(*it)->sealed)
        return 0;
    close_text(w, "completed", out);
    int rc = item_new(w, kind, NULL, out, e);
    *it = rc ? NULL : &s->items[s->n - 1];
    return rc;
}

static void begin_text(struct wire_writer *w, struct item *it, struct buf *out)
{
    const struct state *s = w->state;
    if (it->has_text)
        return;
    it->has_text = true;
    event_part(w, names_of(w, it->kind)->added, (size_t)(it - s->items), true, out);
}

static int write_text(struct wire_writer *w, const struct gen_event *ev, enum kind kind,
                      struct buf *out, struct err *e)
{
    struct state *s = w->state;
    struct item *it;
    int rc = item_for(w, kind, out, &it, e);
    if (rc)
        return rc;
    begin_text(w, it, out);
    buf_str_add(&it->text, ev->text);
    if (kind == MESSAGE)
        said_add(&s->said, ev->text);
    size_t before = it->logprobs.n;
    if (kind == MESSAGE)
        put_logprobs(&it->logprobs, ev);
    if (buf_failed(&it->text) || buf_failed(&it->logprobs))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    if (!part_open(w, names_of(w, kind)->delta, (size_t)(it - s->items), out))
        return 0;
    jw_str(out, "delta", ev->text);
    size_t from = before && it->logprobs.n > before ? before + 1 : before; /* the comma */
    event_logprobs(it, str_n(buf_str(&it->logprobs).p + from, it->logprobs.n - from), out);
    event_close(out);
    return 0;
}

static int write_opaque(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                        struct err *e)
{
    struct item *it;
    if (ev->name.n)
        return 0;
    if (ev->redacted)
        close_text(w, "completed", out);
    int rc = item_for(w, REASONING, out, &it, e);
    if (rc)
        return rc;
    it->sealed = true;
    buf_str_add(&it->opaque, ev->text);
    if (buf_failed(&it->opaque))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    if (ev->redacted)
        close_text(w, "completed", out);
    return 0;
}

static int write_call(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    struct state *s = w->state;
    size_t i = s->n;
    if (ev->type == GEN_EV_TOOL_BEGIN) {
        close_text(w, "completed", out);
        return item_new(w, CALL, ev, out, e);
    }
    while (i > 0 && (!is_call(&s->items[i - 1]) || s->items[i - 1].tool != ev->tool))
        i--;
    if (!i)
        return err_set(e, ERR_INVAL, "arguments of tool call %d, which never began", ev->tool);
    struct item *it = &s->items[--i];
    if (ev->type == GEN_EV_TOOL_END) {
        item_close(w, i, "completed", out);
        return 0;
    }
    buf_str_add(&it->text, ev->text);
    if (buf_failed(&it->text))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %d bytes", WIRE_MAX_ANSWER);
    if (it->kind == CALL)
        event_delta(w, i, ev->text, out);
    return 0;
}

/* ---- begin and end ---- */

static void created(struct wire_writer *w, struct buf *out)
{
    struct state *s = w->state;
    if (s->created)
        return;
    s->created = true;
    event_response(w, "response.created", "in_progress", out);
    event_response(w, "response.in_progress", "in_progress", out);
}

static int done(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e)
{
    struct state *s = w->state;
    const char *why = ev->reason == GEN_END_LENGTH   ? "max_output_tokens"
                      : ev->reason == GEN_END_FILTER ? "content_filter"
                                                     : NULL;
    const char *status = why ? "incomplete" : "completed";
    if (!s->n) { /* an answer without a word in it is an empty message */
        struct gen_event empty = {.type = GEN_EV_TEXT, .text = STR("")};
        int rc = write_text(w, &empty, MESSAGE, out, e);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < s->n; i++)
        item_close(w, i, status, out);
    put_response(w, status, why, NULL, ev->raw, &s->whole);
    if (buf_failed(&s->whole))
        return err_set(e, ERR_TOO_LARGE, "the answer is larger than %zu bytes", s->whole.max);
    if (event_open(w, why ? "response.incomplete" : "response.completed", out)) {
        jw_key(out, "response");
        buf_str_add(out, buf_str(&s->whole));
        event_close(out);
    } else {
        buf_str_add(out, buf_str(&s->whole));
    }
    return 0;
}

/* The answer that failed, then the error itself, at which clients break off. */
static void failed(struct wire_writer *w, const struct err *err, struct buf *out)
{
    const struct state *s = w->state;
    if (!w->stream) {
        responses_error(err, out);
        return;
    }
    for (size_t i = 0; i < s->n; i++)
        item_close(w, i, "incomplete", out);
    event_open(w, "response.failed", out);
    jw_key(out, "response");
    put_response(w, "failed", NULL, err, STR_NONE, out);
    event_close(out);
    event_open(w, "error", out);
    jw_str(out, "code", str_of(error_code(err->code)));
    jw_str(out, "message", str_of(err_msg(err)));
    jw_null(out, "param");
    buf_putc(out, ',');
    size_t at = out->n;
    responses_error(err, out);
    if (!buf_failed(out) && out->n > at + 1) { /* {"error":{...}} without its braces */
        memmove(out->p + at, out->p + at + 1, out->n - at - 1);
        buf_cut(out, out->n - 2);
    }
    event_close(out);
}

int responses_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                    struct err *e)
{
    if (ev->index != 0)
        return err_set(e, ERR_INVAL, "an event of choice %d, of 1", ev->index);
    if (ev->type == GEN_EV_USAGE)
        return 0;
    created(w, out);
    switch (ev->type) {
    case GEN_EV_TEXT: return write_text(w, ev, MESSAGE, out, e);
    case GEN_EV_REASONING: return write_text(w, ev, REASONING, out, e);
    case GEN_EV_OPAQUE: return write_opaque(w, ev, out, e);
    case GEN_EV_TOOL_BEGIN:
    case GEN_EV_TOOL_ARGS:
    case GEN_EV_TOOL_END: return write_call(w, ev, out, e);
    case GEN_EV_DONE: return done(w, ev, out, e);
    case GEN_EV_ERROR: failed(w, ev->err, out); return 0;
    default: return 0;
    }
}
