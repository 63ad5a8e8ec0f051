/* ollama_in.c: an answer of /api/chat or /api/generate into events: lines of JSON of which the last
 * says done, or one object with the same fields. Calls come whole, in older servers without an id:
 * they get one from their number. An answer is whole only when something said done. */
#include "ollama_int.h"

#include <stdio.h>
#include <stdlib.h>

struct state {
    int32_t ncalls;
    bool done;
    enum gen_reason reason;
};

int ollama_reader_new(struct wire_reader *r)
{
    r->state = calloc(1, sizeof(struct state));
    return r->state ? 0 : ERR_NOMEM;
}

void ollama_reader_free(struct wire_reader *r)
{
    free(r->state);
}

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for the answer");
}

/* ---- log-probabilities ---- */

/* The token's bytes: from `bytes` where given, because a token may be half a character. */
static bool read_token(struct arena *a, const json_t *o, struct gen_logprob *out)
{
    const json_t *bytes = json_object_get(o, "bytes");
    size_t n = json_array_size(bytes);
    out->id = -1;
    out->logprob = (float)json_number_value(json_object_get(o, "logprob"));
    out->token = wire_json_get_str(o, "token");
    if (!json_is_array(bytes))
        return true;
    char *p = arena_alloc(a, n + 1);
    for (size_t i = 0; p && i < n; i++)
        p[i] = (char)json_integer_value(json_array_get(bytes, i));
    out->token = str_n(p, n);
    return p;
}

static bool read_position(struct arena *a, const json_t *o, struct gen_token_logprobs *out)
{
    const json_t *top = json_object_get(o, "top_logprobs");
    size_t n = json_array_size(top);
    struct gen_logprob *tops = arena_array(a, n, sizeof *tops);
    if (!tops || !read_token(a, o, &out->chosen))
        return false;
    for (size_t k = 0; k < n; k++) {
        if (!read_token(a, json_array_get(top, k), &tops[k]))
            return false;
    }
    out->top = tops;
    out->ntop = n;
    return true;
}

static int read_logprobs(struct wire_reader *r, const json_t *list, struct gen_event *ev,
                         struct err *e)
{
    size_t n = json_array_size(list);
    if (!n)
        return 0;
    struct gen_token_logprobs *out = arena_array(r->tmp, n, sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        if (!read_position(r->tmp, json_array_get(list, i), &out[i]))
            return nomem(e);
    }
    ev->logprobs = out;
    ev->nlogprobs = n;
    return out ? 0 : nomem(e);
}

/* ---- tool calls ---- */

static int read_call(struct wire_reader *r, const json_t *call, struct err *e)
{
    struct state *s = r->state;
    const json_t *f = json_object_get(call, "function"), *args = json_object_get(f, "arguments");
    struct gen_event ev = {.tool = s->ncalls, .id = wire_json_get_str(call, "id")};
    struct buf text = BUF_INIT(2 * WIRE_MAX_ANSWER);
    char id[32];
    ev.name = wire_json_get_str(f, "name");
    if (!ev.name.n)
        return err_set(e, ERR_UPSTREAM, "tool_calls: a call without a name");
    if (s->ncalls >= WIRE_MAX_TOOLS)
        return err_set(e, ERR_UPSTREAM, "more than %d tool calls in the answer", WIRE_MAX_TOOLS);
    snprintf(id, sizeof id, "call_%d", s->ncalls++);
    if (!ev.id.n)
        ev.id = str_of(id);
    ev.type = GEN_EV_TOOL_BEGIN;
    reader_send(r, &ev);
    if (args && !json_is_null(args))
        wire_json_dump(args, &text);
    ev = (struct gen_event){.type = GEN_EV_TOOL_ARGS, .tool = ev.tool};
    ev.text = json_is_string(args) ? wire_json_str(args) : text.n ? buf_str(&text) : STR("{}");
    reader_send(r, &ev);
    reader_send(r, &(struct gen_event){.type = GEN_EV_TOOL_END, .tool = ev.tool});
    int rc = buf_failed(&text) ? nomem(e) : 0;
    buf_done(&text);
    return rc;
}

/* ---- the end ---- */

void ollama_read_times(struct wire_reader *r, const json_t *o)
{
    struct gen_event ev = {.type = GEN_EV_USAGE};
    ev.usage.input = wire_json_count(o, "prompt_eval_count");
    ev.usage.output = wire_json_count(o, "eval_count");
    ev.times.total = wire_json_count(o, "total_duration");
    ev.times.load = wire_json_count(o, "load_duration");
    ev.times.prompt = wire_json_count(o, "prompt_eval_duration");
    ev.times.write = wire_json_count(o, "eval_duration");
    if (ev.usage.input || ev.usage.output || ev.times.total)
        reader_send(r, &ev);
}

static void read_end(struct wire_reader *r, const json_t *o)
{
    struct state *s = r->state;
    s->done = true;
    s->reason = s->ncalls ? GEN_END_TOOLS : GEN_END_STOP;
    if (str_is(wire_json_get_str(o, "done_reason"), "length"))
        s->reason = GEN_END_LENGTH;
    ollama_read_times(r, o);
}

/* ---- one object ---- */

/* chat: what it says stands in `message`; generate: beside the rest. */
static int read_content(struct wire_reader *r, const json_t *o, struct err *e)
{
    const json_t *m = json_object_get(o, "message");
    struct gen_event ev = {.type = GEN_EV_TEXT};
    bool chat = json_is_object(m);
    struct str thinking = wire_json_get_str(chat ? m : o, "thinking");
    const json_t *calls = json_object_get(chat ? m : o, "tool_calls");
    int rc = read_logprobs(r, json_object_get(o, "logprobs"), &ev, e);
    if (rc)
        return rc;
    ev.text = chat ? wire_json_get_str(m, "content") : wire_json_get_str(o, "response");
    /* Log-probabilities of an object that only thinks are those of its thoughts. */
    if (thinking.n)
        reader_send(r, &(struct gen_event){.type = GEN_EV_REASONING,
                                           .text = thinking,
                                           .logprobs = ev.text.n ? NULL : ev.logprobs,
                                           .nlogprobs = ev.text.n ? 0 : ev.nlogprobs});
    if (ev.text.n || (ev.nlogprobs && !thinking.n))
        reader_send(r, &ev);
    for (size_t i = 0; i < json_array_size(calls) && !rc; i++)
        rc = read_call(r, json_array_get(calls, i), e);
    return rc;
}

static int read_object(struct wire_reader *r, const json_t *o, struct err *e)
{
    const json_t *error = json_object_get(o, "error");
    if (!json_is_object(o))
        return err_set(e, ERR_UPSTREAM, "the answer is not a JSON object");
    if (error && !json_is_null(error))
        return wire_error_json(o, 0, e);
    reader_start(r, wire_json_get_str(o, "model"), STR_NONE);
    int rc = read_content(r, o, e);
    if (!rc && json_is_true(json_object_get(o, "done")))
        read_end(r, o);
    return rc;
}

int ollama_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e)
{
    const struct state *s = r->state;
    json_t *v = NULL;
    struct err why;
    (void)name;
    if (s->done || !str_trim(data).n)
        return 0;
    if (wire_json_load(data, &v, &why))
        return err_set_at(e, ERR_UPSTREAM, r->nevents, "line %llu of the stream: %s",
                          (unsigned long long)r->nevents, why.msg);
    int rc = read_object(r, v, e);
    json_decref(v);
    return rc;
}

int ollama_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    return read_object(r, body, e);
}

bool ollama_read_complete(const struct wire_reader *r, bool clean_end)
{
    const struct state *s = r->state;
    (void)clean_end;
    return s->done;
}

void ollama_read_done(struct wire_reader *r)
{
    const struct state *s = r->state;
    reader_send(r, &(struct gen_event){.type = GEN_EV_DONE, .reason = s->reason});
}
