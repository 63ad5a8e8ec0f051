/* responses_req.c: decodes the body of POST /v1/responses
 * (https://platform.openai.com/docs/api-reference/responses/create) into a gen_req; its items are
 * responses_item.c's, its tools responses_tools.c's. Sampling fields of compatible servers are read
 * too.
 *
 * What gen has no word for stays in req->extra under its own name, checked, so that the answer can
 * show it and the same dialect gets it back: metadata, include, service_tier, the summary of
 * reasoning, text.verbosity and the like. `instructions` is the first message, of the system, and
 * stands in extra as well, which tells it from a system item. tool_choice allowed_tools leaves only
 * those tools in req->tools; all of them and the choice itself stay in extra. Refused by name: what
 * only OpenAI's own machines have (conversations, background, stored prompts). */
#include "responses_int.h"

static const char *const known[] = {
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text",
    "reasoning", "max_output_tokens", "include", "top_logprobs", "store", "previous_response_id",
    "conversation", "truncation", "metadata", "user", "background", "prompt", "stream",
    "stream_options", "safety_identifier", "prompt_cache_key", "service_tier", "max_tool_calls",
    /* sampling.c */
    "temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "repeat_penalty", "repeat_last_n", "typical_p", "top_n_sigma",
    "xtc_probability", "xtc_threshold", "dry_multiplier", "dry_base", "dry_allowed_length",
    "dry_penalty_last_n", "dry_sequence_breakers", "samplers", "logit_bias", NULL};

/* Is `s` one of the words? -1: no. */
static int word(struct str s, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (str_is(s, words[i]))
            return i;
    return -1;
}

/* Keeps body[key] when it is not null. */
static int keep(struct dec *d, const json_t *body, const char *key, json_t **extra)
{
    json_t *v = json_object_get(body, key);
    return v && !json_is_null(v) ? dec_keep(d, extra, key, v) : 0;
}

/* ---- input ---- */

static int decode_instructions(struct dec *d, const json_t *body, struct gen_msg *m, json_t **extra)
{
    struct gen_part *p = arena_alloc(d->a, sizeof *p);
    if (!p)
        return dec_nomem(d);
    int rc = dec_str(d, body, "instructions", &p->text);
    if (rc <= 0)
        return rc;
    p->type = GEN_PART_TEXT;
    *m = (struct gen_msg){.role = GEN_SYSTEM, .parts = p, .nparts = 1};
    rc = keep(d, body, "instructions", extra);
    return rc ? rc : 1;
}

static int one_text(struct dec *d, struct str text, struct gen_msg **msgs, size_t *n)
{
    struct gen_msg *m = arena_alloc(d->a, sizeof *m);
    struct gen_part *p = arena_alloc(d->a, sizeof *p);
    if (!m || !p)
        return dec_nomem(d);
    p->type = GEN_PART_TEXT;
    *m = (struct gen_msg){.role = GEN_USER, .parts = p, .nparts = 1};
    *msgs = m;
    *n = 1;
    return dec_copy(d, text, &p->text);
}

static int decode_input(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    const json_t *input = json_object_get(body, "input");
    struct gen_msg first, *msgs = NULL;
    size_t n = 0;
    int rc = 0, has = decode_instructions(d, body, &first, extra);
    if (has < 0)
        return has;
    if (json_is_string(input))
        rc = one_text(d, wire_json_str(input), &msgs, &n);
    else if (json_is_array(input))
        rc = responses_read_items(d, input, &msgs, &n);
    else if (input && !json_is_null(input))
        rc = dec_fail(d, ERR_FORMAT, "input", "must be a string or an array");
    if (rc)
        return rc;
    if (!n && !r->previous_id.n && !(d->counting && has))
        return dec_fail(d, ERR_FORMAT, "input", input ? "must not be empty" : "is missing");
    r->msgs = arena_array(d->a, n + 1, sizeof *r->msgs);
    if (!r->msgs)
        return dec_nomem(d);
    if (has)
        r->msgs[r->nmsgs++] = first;
    if (n)
        memcpy(r->msgs + r->nmsgs, msgs, n * sizeof *msgs);
    r->nmsgs += n;
    return 0;
}

/* ---- text and reasoning ---- */

static int decode_schema(struct dec *d, const json_t *format, struct gen_req *r)
{
    json_t *schema;
    const json_t *v = json_object_get(format, "schema");
    int rc = dec_str(d, format, "name", &r->schema_name);
    if (rc < 0 || !r->schema_name.n)
        return rc < 0 ? rc : dec_fail(d, ERR_FORMAT, "text.format.name", "is missing");
    if ((rc = dec_bool(d, format, "strict", &r->schema_strict)) < 0)
        return rc;
    if (v && !json_is_null(v) && !json_is_object(v))
        return dec_fail(d, ERR_FORMAT, "text.format.schema", "must be an object");
    if ((rc = dec_object(d, format, "schema", &schema)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "text.format.schema", "is missing");
    r->format = GEN_FORMAT_SCHEMA;
    return dec_raw(d, schema, &r->schema);
}

static int decode_format(struct dec *d, const json_t *text, struct gen_req *r)
{
    static const char *const types[] = {"text", "json_object", "json_schema", NULL};
    const json_t *format = json_object_get(text, "format");
    if (!format || json_is_null(format))
        return 0;
    if (!json_is_object(format))
        return dec_fail(d, ERR_FORMAT, "text.format", "must be an object");
    switch (word(wire_json_get_str(format, "type"), types)) {
    case 0: return 0;
    case 1: r->format = GEN_FORMAT_JSON; return 0;
    case 2: return decode_schema(d, format, r);
    default:
        return dec_fail(d, ERR_UNSUPPORTED, "text.format.type",
                        "must be text, json_object or json_schema");
    }
}

/* extra.text: what else stands there: verbosity, and the description of a schema. */
static int keep_text(struct dec *d, const json_t *text, const struct gen_req *r, json_t **extra)
{
    json_t *rest = json_object(), *verbosity = json_object_get(text, "verbosity");
    json_t *why = json_object_get(json_object_get(text, "format"), "description");
    int bad = !rest;
    if (!bad && json_is_string(verbosity))
        bad = json_object_set(rest, "verbosity", verbosity);
    if (!bad && r->format == GEN_FORMAT_SCHEMA && json_is_string(why))
        bad = json_object_set(rest, "description", why);
    int rc = bad ? dec_nomem(d) : json_object_size(rest) ? dec_keep(d, extra, "text", rest) : 0;
    json_decref(rest);
    return rc;
}

static int decode_text(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    static const char *const levels[] = {"low", "medium", "high", NULL};
    json_t *text;
    int rc = dec_object(d, body, "text", &text);
    if (rc <= 0)
        return rc;
    const json_t *verbosity = json_object_get(text, "verbosity");
    if (verbosity && !json_is_null(verbosity) && word(wire_json_str(verbosity), levels) < 0)
        return dec_fail(d, ERR_FORMAT, "text.verbosity", "must be low, medium or high");
    rc = decode_format(d, text, r);
    return rc ? rc : keep_text(d, text, r, extra);
}

static int check_words(struct dec *d, const json_t *o, const char *path, const char *key,
                       const char *const *words)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v) || word(wire_json_str(v), words) >= 0)
        return 0;
    return dec_fail(d, ERR_FORMAT, path, "must be one of %s, %s, ...", words[0], words[1]);
}

/* gen knows four efforts; one that lies beyond them counts as the nearest, and stays in extra. */
static int decode_reasoning(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    static const char *const efforts[] = {"none",    "low",   "medium", "high",
                                          "minimal", "xhigh", "max",    NULL};
    static const char *const summaries[] = {"auto", "concise", "detailed", NULL};
    static const enum gen_effort as[] = {GEN_EFFORT_NONE, GEN_EFFORT_LOW, GEN_EFFORT_MEDIUM,
                                         GEN_EFFORT_HIGH, GEN_EFFORT_LOW, GEN_EFFORT_HIGH,
                                         GEN_EFFORT_HIGH};
    json_t *o;
    int rc = dec_object(d, body, "reasoning", &o);
    if (rc <= 0)
        return rc;
    if ((rc = check_words(d, o, "reasoning.effort", "effort", efforts)))
        return rc;
    if ((rc = check_words(d, o, "reasoning.summary", "summary", summaries)))
        return rc;
    int effort = word(wire_json_get_str(o, "effort"), efforts);
    if (effort >= 0)
        r->effort = as[effort];
    bool plain =
        json_object_size(o) == 0 || (json_object_size(o) == 1 && effort >= 0 && effort < 4);
    return plain ? 0 : dec_keep(d, extra, "reasoning", o);
}

/* ---- the rest ---- */

static int decode_include(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    json_t *list, *rest;
    int64_t top = 0;
    int rc = dec_int(d, body, "top_logprobs", 0, 20, &top);
    if (rc >= 0)
        rc = dec_array(d, body, "include", &list);
    if (rc < 0)
        return rc;
    bool any = rc > 0;
    if (any && !(rest = json_array()))
        return dec_nomem(d);
    rc = 0;
    for (size_t i = 0; any && i < json_array_size(list) && !rc; i++) {
        json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            rc = dec_fail(d, ERR_FORMAT, "include", "must be an array of strings");
        else if (str_is(wire_json_str(v), RESPONSES_LOGPROBS))
            r->logprobs = true;
        else if (json_array_append(rest, v))
            rc = dec_nomem(d);
    }
    if (any && !rc && json_array_size(rest))
        rc = dec_keep(d, extra, "include", rest);
    if (any)
        json_decref(rest);
    if (rc)
        return rc;
    r->top_logprobs = r->logprobs ? (int32_t)top : 0;
    return top && !r->logprobs ? keep(d, body, "top_logprobs", extra) : 0;
}

static int decode_metadata(struct dec *d, const json_t *body, json_t **extra)
{
    json_t *o, *v;
    const char *key;
    int rc = dec_object(d, body, "metadata", &o);
    if (rc <= 0)
        return rc;
    json_object_foreach(o, key, v)
    {
        if (!json_is_string(v))
            return dec_fail(d, ERR_FORMAT, "metadata", "\"%.40s\" must be a string", key);
    }
    return keep(d, body, "metadata", extra);
}

/* What only OpenAI's machines can do. */
static int refuse_foreign(struct dec *d, const json_t *body)
{
    bool background = false;
    int rc = dec_bool(d, body, "background", &background);
    if (rc < 0)
        return rc;
    if (background)
        return dec_fail(d, ERR_UNSUPPORTED, "background",
                        "answers are not made in the background here, use stream");
    const json_t *v = json_object_get(body, "conversation");
    if (v && !json_is_null(v))
        return dec_fail(d, ERR_UNSUPPORTED, "conversation",
                        "conversations are not kept here, use previous_response_id");
    v = json_object_get(body, "prompt");
    if (v && !json_is_null(v))
        return dec_fail(d, ERR_UNSUPPORTED, "prompt",
                        "prompts are not kept here, use instructions");
    return 0;
}

static int decode_state(struct dec *d, const json_t *body, struct gen_req *r)
{
    static const char *const words[] = {"disabled", "auto", NULL};
    struct str truncation;
    r->store = true;
    int rc = dec_bool(d, body, "store", &r->store);
    if (rc >= 0)
        rc = dec_str(d, body, "previous_response_id", &r->previous_id);
    if (rc >= 0)
        rc = dec_str(d, body, "truncation", &truncation);
    if (rc <= 0)
        return rc;
    int how = word(truncation, words);
    if (how < 0)
        return dec_fail(d, ERR_FORMAT, "truncation", "must be auto or disabled");
    r->truncate = how == 1;
    return 0;
}

static int decode_flags(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    static const char *const strings[] = {"safety_identifier", "prompt_cache_key", "service_tier"};
    bool parallel = false, obfuscate;
    int64_t calls;
    json_t *opts;
    int rc = dec_bool(d, body, "parallel_tool_calls", &parallel);
    r->parallel_tools = rc > 0 ? parallel : -1;
    if (rc >= 0)
        rc = dec_int(d, body, "max_output_tokens", 1, INT32_MAX, &r->max_tokens);
    if (rc >= 0)
        rc = dec_bool(d, body, "stream", &r->stream);
    if (rc >= 0)
        rc = dec_object(d, body, "stream_options", &opts);
    if (rc > 0 && (rc = dec_bool(d, opts, "include_obfuscation", &obfuscate)) < 0)
        return dec_fail(d, ERR_FORMAT, "stream_options.include_obfuscation",
                        "must be true or false");
    if (rc >= 0)
        rc = dec_str(d, body, "user", &r->user);
    if (rc >= 0)
        rc = dec_int(d, body, "max_tool_calls", 1, INT32_MAX, &calls);
    if (rc >= 0)
        rc = keep(d, body, "max_tool_calls", extra);
    for (size_t i = 0; i < 3 && rc >= 0; i++) {
        struct str s;
        rc = dec_str(d, body, strings[i], &s);
        if (rc > 0)
            rc = keep(d, body, strings[i], extra);
    }
    return rc < 0 ? rc : 0;
}

static int decode_fields(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    int rc = dec_str(d, body, "model", &r->model);
    if (rc < 0)
        return rc;
    if ((!rc || !r->model.n) && !d->counting)
        return dec_fail(d, ERR_FORMAT, "model", "is missing");
    if ((rc = refuse_foreign(d, body)))
        return rc;
    if ((rc = decode_state(d, body, r)))
        return rc;
    if ((rc = decode_input(d, body, r, extra)))
        return rc;
    if ((rc = responses_read_tools(d, body, r, extra)))
        return rc;
    if ((rc = responses_read_choice(d, body, r, extra)))
        return rc;
    if ((rc = dec_sampling(d, body, &r->sampling)))
        return rc;
    if ((rc = decode_text(d, body, r, extra)))
        return rc;
    if ((rc = decode_reasoning(d, body, r, extra)))
        return rc;
    if ((rc = decode_include(d, body, r, extra)))
        return rc;
    if ((rc = decode_metadata(d, body, extra)))
        return rc;
    if ((rc = decode_flags(d, body, r, extra)))
        return rc;
    return dec_unknown(d, body, known, extra);
}

int responses_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = decode_fields(d, body, r, &extra);
    if (!rc)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    return rc;
}
