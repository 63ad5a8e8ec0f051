/* completions_in.c: an answer of /v1/completions into events, from an SSE stream of chunks or one
 * JSON body, which have the same shape. An answer is whole only when every choice that appeared has
 * its finish_reason. Log-probabilities are read in the dialect's old shape; servers that write the
 * chat's are understood as having none. */
#include "wire_int.h"

#include <stdlib.h>

struct choice {
    bool seen, finished, told;
    enum gen_reason reason;
    char *stop; /* the stop sequence that matched, where the server says it (vLLM) */
    size_t nstop;
};

struct state {
    struct choice choices[WIRE_MAX_CHOICES];
    size_t nseen;
    bool done_mark;
};

int completions_reader_new(struct wire_reader *r)
{
    r->state = calloc(1, sizeof(struct state));
    return r->state ? 0 : ERR_NOMEM;
}

void completions_reader_free(struct wire_reader *r)
{
    struct state *s = r->state;
    for (size_t i = 0; s && i < WIRE_MAX_CHOICES; i++)
        free(s->choices[i].stop);
    free(s);
}

static int nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for the answer");
}

/* ---- log-probabilities ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "bytes:\xNN…" is the bytes it names. */
static struct str token_bytes(struct arena *a, struct str t)
{
    struct str prefix = STR("bytes:");
    size_t n = 0;
    if (!str_starts(t, prefix) || (t.n - prefix.n) % 4)
        return t;
    char *p = arena_alloc(a, t.n);
    for (size_t i = prefix.n; p && i < t.n; i += 4) {
        int hi = hex(t.p[i + 2]), lo = hex(t.p[i + 3]);
        if (t.p[i] != '\\' || t.p[i + 1] != 'x' || hi < 0 || lo < 0)
            return t;
        p[n++] = (char)(hi * 16 + lo);
    }
    return str_n(p, n);
}

static int read_tops(struct arena *a, const json_t *map, struct gen_token_logprobs *out)
{
    const char *key;
    size_t klen;
    json_t *v, *o = (json_t *)(uintptr_t)map;
    struct gen_logprob *tops = arena_array(a, json_object_size(map), sizeof *tops);
    if (!tops)
        return ERR_NOMEM;
    out->top = tops;
    json_object_keylen_foreach(o, key, klen, v)
    {
        tops[out->ntop++] = (struct gen_logprob){.token = token_bytes(a, str_n(key, klen)),
                                                 .id = -1,
                                                 .logprob = (float)json_number_value(v)};
    }
    return 0;
}

static int read_logprobs(struct wire_reader *r, const json_t *o, struct gen_event *ev,
                         struct err *e)
{
    const json_t *tokens = json_object_get(o, "tokens");
    const json_t *values = json_object_get(o, "token_logprobs");
    const json_t *tops = json_object_get(o, "top_logprobs");
    size_t n = json_array_size(tokens);
    if (!n)
        return 0;
    struct gen_token_logprobs *list = arena_array(r->tmp, n, sizeof *list);
    if (!list)
        return nomem(e);
    for (size_t i = 0; i < n; i++) {
        struct str t = wire_json_str(json_array_get(tokens, i));
        list[i].chosen.token = token_bytes(r->tmp, t);
        list[i].chosen.id = -1;
        list[i].chosen.logprob = (float)json_number_value(json_array_get(values, i));
        if (read_tops(r->tmp, json_array_get(tops, i), &list[i]))
            return nomem(e);
    }
    ev->logprobs = list;
    ev->nlogprobs = n;
    return 0;
}

/* ---- choices ---- */

/* As openai_in.c: only an answer of several choices says when each has ended. */
static void tell_ends(struct wire_reader *r)
{
    struct state *s = r->state;
    for (int32_t i = 0; s->nseen > 1 && i < WIRE_MAX_CHOICES; i++) {
        struct choice *c = &s->choices[i];
        if (!c->finished || c->told)
            continue;
        c->told = true;
        reader_send(r, &(struct gen_event){.type = GEN_EV_CHOICE_END,
                                           .index = i,
                                           .reason = c->reason,
                                           .text = str_n(c->stop, c->nstop)});
    }
}

static int finish(struct choice *c, const json_t *o, struct str why, struct err *e)
{
    struct str stop = wire_json_get_str(o, "stop_reason");
    if (str_is(why, "error"))
        return err_set(e, ERR_UPSTREAM, "the provider ended the answer with an error");
    c->finished = true;
    c->reason = GEN_END_STOP;
    if (str_is(why, "length"))
        c->reason = GEN_END_LENGTH;
    else if (str_is(why, "content_filter"))
        c->reason = GEN_END_FILTER;
    else if (stop.n) {
        c->reason = GEN_END_SEQUENCE;
        c->stop = malloc(stop.n);
        if (!c->stop)
            return nomem(e);
        memcpy(c->stop, stop.p, stop.n);
        c->nstop = stop.n;
    }
    return 0;
}

static int read_choice(struct wire_reader *r, const json_t *o, struct err *e)
{
    struct state *s = r->state;
    const json_t *at = json_object_get(o, "index");
    json_int_t i = json_is_integer(at) ? json_integer_value(at) : 0;
    if (!json_is_object(o))
        return err_set(e, ERR_UPSTREAM, "choices: must hold objects");
    if (i < 0 || i >= WIRE_MAX_CHOICES)
        return err_set(e, ERR_UPSTREAM, "choices: index %lld is out of range", (long long)i);
    struct choice *c = &s->choices[i];
    struct gen_event ev = {.type = GEN_EV_TEXT, .index = (int32_t)i};
    s->nseen += !c->seen;
    c->seen = true;
    tell_ends(r);
    int rc = read_logprobs(r, json_object_get(o, "logprobs"), &ev, e);
    if (rc)
        return rc;
    ev.text = wire_json_get_str(o, "text");
    if (ev.text.n || ev.nlogprobs)
        reader_send(r, &ev);
    struct str why = wire_json_get_str(o, "finish_reason");
    if (!why.n || c->finished)
        return 0;
    if ((rc = finish(c, o, why, e)))
        return rc;
    tell_ends(r);
    return 0;
}

/* ---- the whole ---- */

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
        int rc = read_choice(r, json_array_get(choices, i), e);
        if (rc)
            return rc;
    }
    const json_t *usage = json_object_get(v, "usage");
    if (json_is_object(usage)) {
        reader_start(r, wire_json_get_str(v, "model"), wire_json_get_str(v, "id"));
        openai_read_usage(r, usage);
    }
    return 0;
}

int completions_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e)
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
    if (str_is(name, "error") && !json_object_get(v, "error") && !json_object_get(v, "choices"))
        rc = wire_error_json(v, 0, e);
    else
        rc = read_chunk(r, v, false, e);
    json_decref(v);
    return rc;
}

int completions_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    if (json_is_object(body) && !json_is_array(json_object_get(body, "choices")) &&
        !json_object_get(body, "error"))
        return err_set(e, ERR_UPSTREAM, "the answer has no choices");
    return read_chunk(r, body, true, e);
}

bool completions_read_complete(const struct wire_reader *r, bool clean_end)
{
    const struct state *s = r->state;
    for (size_t i = 0; i < WIRE_MAX_CHOICES; i++) {
        if (s->choices[i].seen && !s->choices[i].finished)
            return false;
    }
    return s->nseen && (clean_end || s->done_mark);
}

void completions_read_done(struct wire_reader *r)
{
    const struct state *s = r->state;
    size_t i = 0;
    while (i + 1 < WIRE_MAX_CHOICES && !s->choices[i].seen)
        i++;
    const struct choice *c = &s->choices[i];
    reader_send(r, &(struct gen_event){
                       .type = GEN_EV_DONE, .reason = c->reason, .text = str_n(c->stop, c->nstop)});
}
