/* openai_in.c: an answer of /v1/chat/completions into events, from an SSE stream of chunks or one
 * JSON body. Both go through the same function, because a body's `message` has the shape of one
 * large `delta`. Accepts what compatible servers do differently: reasoning under two names, content
 * as an array of parts, usage in a chunk of its own or in the last one, tool calls without index or
 * with an index used twice, no [DONE]. An answer is whole only when every choice that appeared has
 * its finish_reason. */
#include "wire_int.h"

#include <stdlib.h>

struct tool {
    struct str id; /* owned copy */
    int64_t wire_index;
    bool ended;
    /* Just enough of a JSON scanner to know that the arguments are a whole object: then the call
     * has ended as soon as something else begins. */
    int depth;
    bool in_string, escaped, whole;
};

struct choice {
    bool finished;
    bool told;     /* CHOICE_END was sent */
    bool filtered; /* a refusal was streamed */
    enum gen_reason reason;
    char *stop; /* the stop sequence that matched, where the server says it (vLLM) */
    size_t nstop;
    struct tool *tools;
    size_t ntools, cap;
};

struct state {
    struct choice *choices[WIRE_MAX_CHOICES];
    size_t nchoices;
    bool done_mark;
};

int openai_reader_new(struct wire_reader *r)
{
    r->state = calloc(1, sizeof(struct state));
    return r->state ? 0 : ERR_NOMEM;
}

void openai_reader_free(struct wire_reader *r)
{
    struct state *s = r->state;
    for (size_t i = 0; s && i < WIRE_MAX_CHOICES; i++) {
        struct choice *c = s->choices[i];
        if (!c)
            continue;
        for (size_t t = 0; t < c->ntools; t++)
            free((char *)(uintptr_t)c->tools[t].id.p);
        free(c->tools);
        free(c->stop);
        free(c);
    }
    free(s);
}

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for the answer");
}

static char *copy(struct str s)
{
    char *p = malloc(s.n + 1);
    if (p && s.n)
        memcpy(p, s.p, s.n);
    if (p)
        p[s.n] = '\0';
    return p;
}

/* ---- tool calls ---- */

static void scan_args(struct tool *t, struct str text)
{
    for (size_t i = 0; i < text.n && !t->whole; i++) {
        char c = text.p[i];
        if (t->in_string) {
            if (t->escaped)
                t->escaped = false;
            else if (c == '\\')
                t->escaped = true;
            else if (c == '"')
                t->in_string = false;
        } else if (c == '"')
            t->in_string = true;
        else if (c == '{' || c == '[')
            t->depth++;
        else if ((c == '}' || c == ']') && --t->depth <= 0)
            t->whole = true;
    }
}

static void send_end(struct wire_reader *r, int32_t index, struct choice *c, size_t t)
{
    c->tools[t].ended = true;
    reader_send(r,
                &(struct gen_event){.type = GEN_EV_TOOL_END, .index = index, .tool = (int32_t)t});
}

/* End the calls that are whole (all: every one), before something else begins. */
static void end_tools(struct wire_reader *r, int32_t index, struct choice *c, bool all)
{
    for (size_t t = 0; t < c->ntools; t++) {
        if (!c->tools[t].ended && (all || c->tools[t].whole))
            send_end(r, index, c, t);
    }
}

/* The call a delta speaks of: by index; a new id with a name under a used index is a new call. */
static size_t find_tool(const struct choice *c, bool has_index, int64_t index, struct str id,
                        bool named, bool whole_body)
{
    if (whole_body || (!has_index && c->ntools == 0))
        return c->ntools;
    for (size_t t = c->ntools; t-- > 0;) {
        const struct tool *tool = &c->tools[t];
        if (has_index && tool->wire_index != index)
            continue;
        if (named && id.n && tool->id.n && !str_eq(tool->id, id))
            return c->ntools;
        return t;
    }
    return c->ntools;
}

static int begin_tool(struct wire_reader *r, int32_t index, struct choice *c, int64_t wire_index,
                      struct str id, struct str name, struct err *e)
{
    if (c->ntools >= WIRE_MAX_TOOLS)
        return err_set(e, ERR_UPSTREAM, "more than %d tool calls in the answer", WIRE_MAX_TOOLS);
    if (!name.n)
        return err_set(e, ERR_UPSTREAM, "tool_calls: a call begins without a name");
    if (c->ntools == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 4;
        struct tool *bigger = realloc(c->tools, cap * sizeof *bigger);
        if (!bigger)
            return nomem(e);
        c->tools = bigger;
        c->cap = cap;
    }
    char *own = copy(id);
    if (!own)
        return nomem(e);
    end_tools(r, index, c, false);
    size_t t = c->ntools++;
    c->tools[t] = (struct tool){.id = str_n(own, id.n), .wire_index = wire_index};
    reader_send(
        r,
        &(struct gen_event){
            .type = GEN_EV_TOOL_BEGIN, .index = index, .tool = (int32_t)t, .id = id, .name = name});
    return 0;
}

static int read_tool(struct wire_reader *r, int32_t index, struct choice *c, const json_t *call,
                     bool whole_body, struct err *e)
{
    const json_t *f = json_object_get(call, "function");
    const json_t *at = json_object_get(call, "index");
    struct str id = wire_json_get_str(call, "id"), name = wire_json_get_str(f, "name");
    struct str args = wire_json_get_str(f, "arguments");
    struct buf text = BUF_INIT(WIRE_MAX_ANSWER);
    int64_t wire_index = json_is_integer(at) ? json_integer_value(at) : (int64_t)c->ntools;
    if (!json_is_object(f))
        return err_set(e, ERR_UPSTREAM, "tool_calls: a call without function");
    size_t t = find_tool(c, json_is_integer(at), wire_index, id, name.n > 0, whole_body);
    int rc = t == c->ntools ? begin_tool(r, index, c, wire_index, id, name, e) : 0;
    if (rc)
        return rc;
    /* Some servers send the arguments as an object instead of its text. */
    if (json_is_object(json_object_get(f, "arguments"))) {
        wire_json_dump(json_object_get(f, "arguments"), &text);
        args = buf_str(&text);
    }
    if (c->tools[t].ended && str_trim(args).n)
        rc = err_set(e, ERR_UPSTREAM, "tool_calls[%zu]: arguments go on after their end", t);
    else if (args.n && !c->tools[t].ended) {
        scan_args(&c->tools[t], args);
        reader_send(
            r, &(struct gen_event){
                   .type = GEN_EV_TOOL_ARGS, .index = index, .tool = (int32_t)t, .text = args});
    }
    buf_done(&text);
    return rc;
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
    if (!p)
        return false;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)json_integer_value(json_array_get(bytes, i));
    out->token = str_n(p, n);
    return true;
}

static int read_logprobs(struct wire_reader *r, const json_t *content, struct gen_event *ev,
                         struct err *e)
{
    size_t n = json_array_size(content);
    if (!n)
        return 0;
    struct gen_token_logprobs *list = arena_array(r->tmp, n, sizeof *list);
    if (!list)
        return nomem(e);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(content, i), *top = json_object_get(o, "top_logprobs");
        size_t ntop = json_array_size(top);
        struct gen_logprob *tops = arena_array(r->tmp, ntop, sizeof *tops);
        if (!tops || !read_token(r->tmp, o, &list[i].chosen))
            return nomem(e);
        for (size_t k = 0; k < ntop; k++) {
            if (!read_token(r->tmp, json_array_get(top, k), &tops[k]))
                return nomem(e);
        }
        list[i].top = tops;
        list[i].ntop = ntop;
    }
    ev->logprobs = list;
    ev->nlogprobs = n;
    return 0;
}

/* ---- a choice ---- */

static void send_text(struct wire_reader *r, enum gen_event_type type, int32_t index,
                      struct choice *c, struct str text)
{
    if (!text.n)
        return;
    end_tools(r, index, c, false);
    reader_send(r, &(struct gen_event){.type = type, .index = index, .text = text});
}

/* Content as an array of parts (Mistral): text, and thinking with text parts of its own. */
static void read_parts(struct wire_reader *r, int32_t index, struct choice *c, const json_t *parts)
{
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const json_t *thinking = json_object_get(part, "thinking");
        send_text(r, GEN_EV_TEXT, index, c, wire_json_get_str(part, "text"));
        send_text(r, GEN_EV_REASONING, index, c, wire_json_str(thinking));
        for (size_t k = 0; k < json_array_size(thinking); k++)
            send_text(r, GEN_EV_REASONING, index, c,
                      wire_json_get_str(json_array_get(thinking, k), "text"));
    }
}

static int read_delta(struct wire_reader *r, int32_t index, struct choice *c, const json_t *delta,
                      const json_t *logprobs, bool whole_body, struct err *e)
{
    struct gen_event text = {.type = GEN_EV_TEXT, .index = index};
    struct str reasoning = wire_json_get_str(delta, "reasoning_content");
    const json_t *calls = json_object_get(delta, "tool_calls");
    if (!reasoning.n)
        reasoning = wire_json_get_str(delta, "reasoning");
    send_text(r, GEN_EV_REASONING, index, c, reasoning);
    int rc = read_logprobs(r, json_object_get(logprobs, "content"), &text, e);
    if (rc)
        return rc;
    text.text = wire_json_get_str(delta, "content");
    if (text.text.n || text.nlogprobs) {
        end_tools(r, index, c, false);
        reader_send(r, &text);
    }
    read_parts(r, index, c, json_object_get(delta, "content"));
    struct str refusal = wire_json_get_str(delta, "refusal");
    c->filtered |= refusal.n > 0;
    send_text(r, GEN_EV_TEXT, index, c, refusal);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        rc = read_tool(r, index, c, json_array_get(calls, i), whole_body, e);
        if (rc)
            return rc;
    }
    return 0;
}

static int finish(struct wire_reader *r, int32_t index, struct choice *c, const json_t *o,
                  struct str why, struct err *e)
{
    struct str stop = wire_json_get_str(o, "stop_reason"); /* vLLM: the string that matched */
    if (str_is(why, "error"))
        return err_set(e, ERR_UPSTREAM, "the provider ended the answer with an error");
    end_tools(r, index, c, true);
    c->finished = true;
    c->reason = GEN_END_STOP;
    if (str_is(why, "length"))
        c->reason = GEN_END_LENGTH;
    else if (str_is(why, "content_filter") || c->filtered)
        c->reason = GEN_END_FILTER;
    else if (str_is(why, "tool_calls") || c->ntools)
        c->reason = GEN_END_TOOLS;
    else if (stop.n) {
        c->reason = GEN_END_SEQUENCE;
        free(c->stop);
        c->stop = copy(stop);
        if (!c->stop)
            return nomem(e);
        c->nstop = stop.n;
    }
    return 0;
}

/* Only an answer of several choices says when each has ended, and that it has several is known
 * when the second appears. */
static void tell_ends(struct wire_reader *r)
{
    struct state *s = r->state;
    for (int32_t i = 0; s->nchoices > 1 && i < WIRE_MAX_CHOICES; i++) {
        struct choice *c = s->choices[i];
        if (!c || !c->finished || c->told)
            continue;
        c->told = true;
        reader_send(r, &(struct gen_event){.type = GEN_EV_CHOICE_END,
                                           .index = i,
                                           .reason = c->reason,
                                           .text = str_n(c->stop, c->nstop)});
    }
}

static struct choice *find_choice(struct wire_reader *r, size_t i)
{
    struct state *s = r->state;
    if (s->choices[i])
        return s->choices[i];
    s->choices[i] = calloc(1, sizeof(struct choice));
    if (s->choices[i]) {
        s->nchoices++;
        tell_ends(r);
    }
    return s->choices[i];
}

static int read_choice(struct wire_reader *r, const json_t *o, bool whole_body, struct err *e)
{
    const json_t *at = json_object_get(o, "index");
    json_int_t i = json_is_integer(at) ? json_integer_value(at) : 0;
    if (!json_is_object(o))
        return err_set(e, ERR_UPSTREAM, "choices: must hold objects");
    if (i < 0 || i >= WIRE_MAX_CHOICES)
        return err_set(e, ERR_UPSTREAM, "choices: index %lld is out of range", (long long)i);
    struct choice *c = find_choice(r, (size_t)i);
    if (!c)
        return nomem(e);
    const json_t *delta = json_object_get(o, whole_body ? "message" : "delta");
    int rc = read_delta(r, (int32_t)i, c, delta, json_object_get(o, "logprobs"), whole_body, e);
    if (rc)
        return rc;
    struct str why = wire_json_get_str(o, "finish_reason");
    if (!why.n || c->finished)
        return 0;
    if ((rc = finish(r, (int32_t)i, c, o, why, e)))
        return rc;
    tell_ends(r);
    return 0;
}

/* ---- usage and the whole ---- */

void openai_read_usage(struct wire_reader *r, const json_t *u)
{
    struct gen_usage g = {0};
    if (!json_is_object(u))
        return;
    const json_t *in = json_object_get(u, "prompt_tokens_details");
    const json_t *out = json_object_get(u, "completion_tokens_details");
    g.input = wire_json_count(u, "prompt_tokens");
    g.output = wire_json_count(u, "completion_tokens");
    g.cached = wire_json_count(in, "cached_tokens");
    if (!g.cached)
        g.cached = wire_json_count(u, "prompt_cache_hit_tokens"); /* DeepSeek */
    g.cache_write = wire_json_count(in, "cache_write_tokens");    /* OpenRouter */
    g.reasoning = wire_json_count(out, "reasoning_tokens");
    reader_send(r, &(struct gen_event){.type = GEN_EV_USAGE, .usage = g});
}

static int read_chunk(struct wire_reader *r, const json_t *v, bool whole_body, struct err *e)
{
    const json_t *error = json_object_get(v, "error");
    const json_t *choices = json_object_get(v, "choices");
    if (!json_is_object(v))
        return err_set(e, ERR_UPSTREAM, "the answer is not a JSON object");
    if (error && !json_is_null(error))
        return wire_error_json(v, 0, e);
    if (json_array_size(choices) || whole_body)
        reader_start(r, wire_json_get_str(v, "model"), wire_json_get_str(v, "id"));
    for (size_t i = 0; i < json_array_size(choices); i++) {
        int rc = read_choice(r, json_array_get(choices, i), whole_body, e);
        if (rc)
            return rc;
    }
    const json_t *usage = json_object_get(v, "usage");
    if (!json_is_object(usage))
        usage = json_object_get(json_object_get(v, "x_groq"), "usage");
    if (json_is_object(usage)) {
        reader_start(r, wire_json_get_str(v, "model"), wire_json_get_str(v, "id"));
        openai_read_usage(r, usage);
    }
    return 0;
}

int openai_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e)
{
    struct state *s = r->state;
    json_t *v = NULL;
    struct err why;
    if (s->done_mark)
        return 0;
    if (str_is(str_trim(data), "[DONE]")) {
        s->done_mark = true;
        return 0;
    }
    if (wire_json_load(data, &v, &why))
        return err_set_at(e, ERR_UPSTREAM, r->nevents, "event %llu of the stream: %s",
                          (unsigned long long)r->nevents, why.msg);
    int rc;
    /* An `error` event whose data is the error object itself. */
    if (str_is(name, "error") && !json_object_get(v, "error") && !json_object_get(v, "choices"))
        rc = wire_error_json(v, 0, e);
    else
        rc = read_chunk(r, v, false, e);
    json_decref(v);
    return rc;
}

int openai_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    if (json_is_object(body) && !json_is_array(json_object_get(body, "choices")) &&
        !json_object_get(body, "error"))
        return err_set(e, ERR_UPSTREAM, "the answer has no choices");
    return read_chunk(r, body, true, e);
}

bool openai_read_complete(const struct wire_reader *r, bool clean_end)
{
    const struct state *s = r->state;
    bool any = false;
    for (size_t i = 0; i < WIRE_MAX_CHOICES; i++) {
        if (!s->choices[i])
            continue;
        any = true;
        if (!s->choices[i]->finished)
            return false;
    }
    return any && (clean_end || s->done_mark);
}

void openai_read_done(struct wire_reader *r)
{
    const struct state *s = r->state;
    size_t i = 0;
    while (i + 1 < WIRE_MAX_CHOICES && !s->choices[i])
        i++;
    const struct choice *c = s->choices[i];
    if (!c)
        return;
    /* One DONE for all choices: its reason is the first one's. */
    struct gen_event ev = {.type = GEN_EV_DONE, .reason = c->reason};
    ev.text = str_n(c->stop, c->nstop);
    reader_send(r, &ev);
}
