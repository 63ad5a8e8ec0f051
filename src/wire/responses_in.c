/* responses_in.c: an answer of /v1/responses into events, from its stream or one Response object.
 *
 * An item is known by its output_index. What was streamed of it is remembered, so that what only
 * its end (or the object in the last event) brings is still sent: servers differ in how much they
 * stream. A summary of reasoning and reasoning itself are both reasoning; the parts of a summary
 * are set apart by a blank line; encrypted_content follows them as a blob. A refusal is text, and
 * the answer's end says filter. Items of tools that ran elsewhere are left out. */
#include "responses_int.h"

#include <stdlib.h>

enum { MAX_ITEMS = 4096 };

struct item {
    bool call, ended;
    int32_t tool;
    bool text;     /* something of it was sent: text, reasoning or arguments */
    bool sealed;   /* its blob was sent */
    bool new_part; /* of a summary: something stands between it and what was sent */
};

struct state {
    struct item *items; /* by output_index */
    size_t n;
    int32_t ntools;
    bool complete, filtered;
    enum gen_reason reason;
};

int responses_reader_new(struct wire_reader *r)
{
    r->state = calloc(1, sizeof(struct state));
    return r->state ? 0 : ERR_NOMEM;
}

void responses_reader_free(struct wire_reader *r)
{
    struct state *s = r->state;
    if (s)
        free(s->items);
    free(s);
}

static int item_at(struct wire_reader *r, json_int_t i, struct item **out, struct err *e)
{
    struct state *s = r->state;
    if (i < 0 || i >= MAX_ITEMS)
        return err_set(e, ERR_UPSTREAM, "output_index: is missing or out of range");
    if ((size_t)i >= s->n) {
        size_t n = (size_t)i + 8;
        struct item *bigger = realloc(s->items, n * sizeof *bigger);
        if (!bigger)
            return err_set(e, ERR_NOMEM, "out of memory for the answer");
        memset(bigger + s->n, 0, (n - s->n) * sizeof *bigger);
        s->items = bigger;
        s->n = n;
    }
    *out = &s->items[i];
    return 0;
}

static int find_item(struct wire_reader *r, const json_t *v, struct item **out, struct err *e)
{
    const json_t *at = json_object_get(v, "output_index");
    return item_at(r, json_is_integer(at) ? json_integer_value(at) : -1, out, e);
}

/* ---- texts ---- */

/* Reads [{token, bytes, logprob, top_logprobs}] as in /v1/chat/completions. */
static struct gen_logprob read_token(struct wire_reader *r, const json_t *o)
{
    struct gen_logprob t = {.id = -1};
    const json_t *bytes = json_object_get(o, "bytes");
    size_t n = json_array_size(bytes);
    t.token = wire_json_get_str(o, "token");
    t.logprob = (float)json_number_value(json_object_get(o, "logprob"));
    char *p = n ? arena_alloc(r->tmp, n) : NULL;
    for (size_t i = 0; p && i < n; i++)
        p[i] = (char)json_integer_value(json_array_get(bytes, i));
    if (p)
        t.token = str_n(p, n);
    return t;
}

static int read_logprobs(struct wire_reader *r, const json_t *list, struct gen_event *ev,
                         struct err *e)
{
    size_t n = json_array_size(list);
    struct gen_token_logprobs *out;
    if (!n)
        return 0;
    if (!(out = arena_array(r->tmp, n, sizeof *out)))
        return err_set(e, ERR_UPSTREAM, "the answer's log-probabilities are too many");
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        const json_t *top = json_object_get(o, "top_logprobs");
        size_t ntop = json_array_size(top);
        struct gen_logprob *t = arena_array(r->tmp, ntop, sizeof *t);
        if (!t)
            return err_set(e, ERR_UPSTREAM, "the answer's log-probabilities are too many");
        for (size_t k = 0; k < ntop; k++)
            t[k] = read_token(r, json_array_get(top, k));
        out[i] = (struct gen_token_logprobs){read_token(r, o), t, ntop};
    }
    ev->logprobs = out;
    ev->nlogprobs = n;
    return 0;
}

static int send_text(struct wire_reader *r, struct item *it, struct str text,
                     const json_t *logprobs, struct err *e)
{
    struct gen_event ev = {.type = GEN_EV_TEXT, .text = text};
    int rc = read_logprobs(r, logprobs, &ev, e);
    if (!rc && (text.n || ev.nlogprobs)) {
        it->text = true;
        reader_send(r, &ev);
    }
    return rc;
}

static void send_reasoning(struct wire_reader *r, struct item *it, struct str text)
{
    if (!text.n)
        return;
    if (it->new_part && it->text)
        reader_send(r, &(struct gen_event){.type = GEN_EV_REASONING, .text = STR("\n\n")});
    it->new_part = false;
    it->text = true;
    reader_send(r, &(struct gen_event){.type = GEN_EV_REASONING, .text = text});
}

static void send_opaque(struct wire_reader *r, struct item *it, struct str text)
{
    if (!text.n || it->sealed)
        return;
    it->sealed = true;
    reader_send(r, &(struct gen_event){.type = GEN_EV_OPAQUE, .text = text, .redacted = !it->text});
}

/* ---- calls ---- */

static int begin_call(struct wire_reader *r, struct item *it, const json_t *o, struct err *e)
{
    struct state *s = r->state;
    struct str name = wire_json_get_str(o, "name"), id = wire_json_get_str(o, "call_id");
    if (it->call)
        return 0;
    if (!name.n)
        return err_set(e, ERR_UPSTREAM, "output: a function call without a name");
    if (s->ntools >= WIRE_MAX_TOOLS)
        return err_set(e, ERR_UPSTREAM, "more than %d tool calls in the answer", WIRE_MAX_TOOLS);
    if (responses_tool_name(r->tmp, wire_json_get_str(o, "namespace"), name, &name))
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    it->call = true;
    it->tool = s->ntools++;
    if (!id.n)
        id = wire_json_get_str(o, "id");
    reader_send(r, &(struct gen_event){
                       .type = GEN_EV_TOOL_BEGIN, .tool = it->tool, .id = id, .name = name});
    return 0;
}

static void send_args(struct wire_reader *r, struct item *it, struct str text)
{
    if (!it->call || it->ended || !text.n)
        return;
    it->text = true;
    reader_send(r, &(struct gen_event){.type = GEN_EV_TOOL_ARGS, .tool = it->tool, .text = text});
}

static void end_call(struct wire_reader *r, struct item *it)
{
    if (!it->call || it->ended)
        return;
    it->ended = true;
    reader_send(r, &(struct gen_event){.type = GEN_EV_TOOL_END, .tool = it->tool});
}

static int custom_args(struct wire_reader *r, struct item *it, struct str input, struct err *e)
{
    struct buf args = BUF_INIT(8 * WIRE_MAX_ANSWER);
    responses_put_args(input, &args);
    int rc = buf_failed(&args) ? err_set(e, ERR_NOMEM, "out of memory for the answer") : 0;
    if (!rc)
        send_args(r, it, buf_str(&args));
    buf_done(&args);
    return rc;
}

/* ---- items ---- */

static bool is_call(struct str type)
{
    return str_is(type, "function_call") || str_is(type, "custom_tool_call");
}

static int read_call(struct wire_reader *r, struct item *it, const json_t *o, struct err *e)
{
    const json_t *input = json_object_get(o, "input");
    int rc = begin_call(r, it, o, e);
    if (rc)
        return rc;
    if (!it->text && json_is_string(input))
        rc = custom_args(r, it, wire_json_str(input), e);
    else if (!it->text)
        send_args(r, it, wire_json_get_str(o, "arguments"));
    if (!rc)
        end_call(r, it);
    return rc;
}

static int read_message(struct wire_reader *r, struct item *it, const json_t *o, struct err *e)
{
    struct state *s = r->state;
    const json_t *content = json_object_get(o, "content");
    bool sent = it->text;
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        struct str refusal = wire_json_get_str(part, "refusal");
        s->filtered |= refusal.n > 0;
        if (sent)
            continue;
        int rc = send_text(r, it, refusal.n ? refusal : wire_json_get_str(part, "text"),
                           json_object_get(part, "logprobs"), e);
        if (rc)
            return rc;
    }
    return 0;
}

static void read_reasoning(struct wire_reader *r, struct item *it, const json_t *o)
{
    const json_t *content = json_object_get(o, "content");
    const json_t *summary = json_object_get(o, "summary");
    bool open = json_array_size(content) > 0;
    const json_t *list = open ? content : summary;
    for (size_t i = 0; i < json_array_size(list) && (i || !it->text); i++) {
        it->new_part = !open;
        send_reasoning(r, it, wire_json_get_str(json_array_get(list, i), "text"));
    }
    send_opaque(r, it, wire_json_get_str(o, "encrypted_content"));
}

/* An item that is whole: what of it was not streamed. */
static int read_item(struct wire_reader *r, struct item *it, const json_t *o, struct err *e)
{
    struct str type = wire_json_get_str(o, "type");
    int rc = 0;
    if (it->ended)
        return 0;
    if (str_is(type, "message"))
        rc = read_message(r, it, o, e);
    else if (str_is(type, "reasoning"))
        read_reasoning(r, it, o);
    else if (is_call(type))
        rc = read_call(r, it, o, e);
    it->ended = true;
    return rc;
}

/* ---- the Response object ---- */

static void read_usage(struct wire_reader *r, const json_t *u)
{
    struct gen_usage g = {0};
    if (!json_is_object(u))
        return;
    const json_t *in = json_object_get(u, "input_tokens_details");
    g.input = wire_json_count(u, "input_tokens");
    g.output = wire_json_count(u, "output_tokens");
    g.cached = wire_json_count(in, "cached_tokens");
    g.cache_write = wire_json_count(in, "cache_write_tokens");
    g.reasoning = wire_json_count(json_object_get(u, "output_tokens_details"), "reasoning_tokens");
    reader_send(r, &(struct gen_event){.type = GEN_EV_USAGE, .usage = g});
}

static void start(struct wire_reader *r, const json_t *response)
{
    reader_start(r, wire_json_get_str(response, "model"), wire_json_get_str(response, "id"));
}

static int fail_with(const json_t *response, struct err *e)
{
    const json_t *error = json_object_get(response, "error");
    if (json_is_object(error))
        return wire_error_json(response, 0, e);
    return err_set(e, ERR_UPSTREAM, "the provider's answer failed");
}

/* The answer as a whole, at its end. */
static int read_response(struct wire_reader *r, const json_t *v, struct err *e)
{
    struct state *s = r->state;
    const json_t *output = json_object_get(v, "output");
    struct str status = wire_json_get_str(v, "status");
    struct str why = wire_json_get_str(json_object_get(v, "incomplete_details"), "reason");
    if (str_is(status, "failed") || json_is_object(json_object_get(v, "error")))
        return fail_with(v, e);
    if (str_is(status, "cancelled"))
        return err_set(e, ERR_UPSTREAM, "the provider cancelled the answer");
    if (str_is(status, "queued") || str_is(status, "in_progress"))
        return err_set(e, ERR_UPSTREAM, "the provider answers in the background");
    start(r, v);
    for (size_t i = 0; i < json_array_size(output); i++) {
        struct item *it;
        int rc = item_at(r, (json_int_t)i, &it, e);
        if (!rc)
            rc = read_item(r, it, json_array_get(output, i), e);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < s->n; i++)
        end_call(r, &s->items[i]);
    read_usage(r, json_object_get(v, "usage"));
    s->complete = true;
    s->reason = s->ntools ? GEN_END_TOOLS : GEN_END_STOP;
    if (str_is(status, "incomplete"))
        s->reason = str_is(why, "content_filter") ? GEN_END_FILTER : GEN_END_LENGTH;
    else if (s->filtered)
        s->reason = GEN_END_FILTER;
    return 0;
}

/* ---- events ---- */

static int read_part_event(struct wire_reader *r, struct str type, const json_t *v, struct err *e)
{
    struct state *s = r->state;
    struct item *it;
    struct str delta = wire_json_get_str(v, "delta");
    int rc = find_item(r, v, &it, e);
    if (rc)
        return rc;
    if (str_is(type, "response.output_text.delta"))
        return send_text(r, it, delta, json_object_get(v, "logprobs"), e);
    if (str_is(type, "response.refusal.delta")) {
        s->filtered = true;
        return send_text(r, it, delta, NULL, e);
    }
    if (str_is(type, "response.reasoning_summary_text.delta") ||
        str_is(type, "response.reasoning_text.delta"))
        send_reasoning(r, it, delta);
    else if (str_is(type, "response.reasoning_summary_part.added"))
        it->new_part = true;
    else if (str_is(type, "response.function_call_arguments.delta"))
        send_args(r, it, delta);
    else if (str_is(type, "response.function_call_arguments.done") && !it->text)
        send_args(r, it, wire_json_get_str(v, "arguments"));
    return 0;
}

static int read_item_event(struct wire_reader *r, struct str type, const json_t *v, struct err *e)
{
    const json_t *o = json_object_get(v, "item");
    struct item *it;
    int rc = find_item(r, v, &it, e);
    if (rc)
        return rc;
    start(r, NULL);
    if (str_is(type, "response.output_item.done"))
        return read_item(r, it, o, e);
    return is_call(wire_json_get_str(o, "type")) ? begin_call(r, it, o, e) : 0;
}

static int read_typed(struct wire_reader *r, struct str type, const json_t *v, struct err *e)
{
    const json_t *response = json_object_get(v, "response");
    if (str_is(type, "error"))
        return wire_error_json(v, 0, e);
    if (str_is(type, "response.failed"))
        return fail_with(response, e);
    if (str_is(type, "response.completed") || str_is(type, "response.incomplete"))
        return read_response(r, response, e);
    if (str_is(type, "response.created") || str_is(type, "response.in_progress")) {
        start(r, response);
        return 0;
    }
    if (str_starts(type, STR("response.output_item.")))
        return read_item_event(r, type, v, e);
    static const char *const parts[] = {"response.output_text.", "response.refusal.",
                                        "response.reasoning_", "response.function_call_"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!str_starts(type, str_of(parts[i])))
            continue;
        start(r, NULL);
        return read_part_event(r, type, v, e);
    }
    return 0; /* of a tool that runs elsewhere */
}

int responses_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e)
{
    const struct state *s = r->state;
    json_t *v = NULL;
    struct err why;
    if (s->complete || str_is(str_trim(data), "[DONE]"))
        return 0;
    if (wire_json_load(data, &v, &why))
        return err_set_at(e, ERR_UPSTREAM, r->nevents, "event %llu of the stream: %s",
                          (unsigned long long)r->nevents, why.msg);
    struct str type = wire_json_get_str(v, "type");
    const json_t *error = json_object_get(v, "error");
    int rc;
    if (!json_is_object(v))
        rc = err_set(e, ERR_UPSTREAM, "event %llu of the stream is not a JSON object",
                     (unsigned long long)r->nevents);
    else if (!type.n && error && !json_is_null(error))
        rc = wire_error_json(v, 0, e);
    else
        rc = read_typed(r, type.n ? type : name, v, e);
    json_decref(v);
    return rc;
}

int responses_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    if (json_is_object(body) && !json_is_array(json_object_get(body, "output")) &&
        !json_is_object(json_object_get(body, "error")))
        return err_set(e, ERR_UPSTREAM, "the answer has no output");
    if (!json_is_object(body))
        return err_set(e, ERR_UPSTREAM, "the answer is not a JSON object");
    return read_response(r, body, e);
}

bool responses_read_complete(const struct wire_reader *r, bool clean_end)
{
    const struct state *s = r->state;
    return s->complete;
}

void responses_read_done(struct wire_reader *r)
{
    const struct state *s = r->state;
    reader_send(r, &(struct gen_event){.type = GEN_EV_DONE, .reason = s->reason});
}
