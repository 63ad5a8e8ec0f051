/* openai_req.c: decodes the body of POST /v1/chat/completions
 * (https://platform.openai.com/docs/api-reference/chat/create) into a gen_req, with the fields that
 * compatible servers added (top_k, min_p, repetition_penalty, reasoning_content, cache_control).
 *
 * What came before tools is read as tools: `functions` and `function_call`, messages of the role
 * `function`. Their calls have no ids: one is made of the calling message's number, and a result
 * belongs to the last call of its name.
 *
 * A top-level field it does not know goes to req->extra, as do values that gen has no word for
 * (reasoning_effort "xhigh", tools that are not functions): the same dialect gets them back. Of
 * allowed_tools the others are left out: the model sees those it may call. Inside
 * a message, an unknown field is left out, so nothing unseen by the detectors travels on; a part or
 * a role it does not know is refused. Of an image, `detail` stands in gen_part.name. */
#include "wire_int.h"

static const char *const known[] = {"model",
                                    "messages",
                                    "tools",
                                    "tool_choice",
                                    "parallel_tool_calls",
                                    "functions",
                                    "function_call",
                                    "max_tokens",
                                    "n_predict",
                                    "max_completion_tokens",
                                    "stop",
                                    "n",
                                    "logprobs",
                                    "top_logprobs",
                                    "response_format",
                                    "json_schema",
                                    "grammar",
                                    "reasoning_effort",
                                    "stream",
                                    "stream_options",
                                    "user",
                                    NULL};

/* ---- content parts ---- */

static int decode_image(struct dec *d, const json_t *part, struct gen_part *p)
{
    json_t *o;
    struct str url = STR_NONE;
    int rc = dec_object(d, part, "image_url", &o);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "image_url", "is missing");
    p->type = GEN_PART_IMAGE;
    if ((rc = dec_str(d, o, "url", &url)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "image_url.url", "is missing");
    if ((rc = dec_str(d, o, "detail", &p->name)) < 0)
        return rc;
    return dec_url(d, url, p);
}

static int decode_audio(struct dec *d, const json_t *part, struct gen_part *p)
{
    json_t *o;
    struct str format;
    int rc = dec_object(d, part, "input_audio", &o);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "input_audio", "is missing");
    p->type = GEN_PART_AUDIO;
    if ((rc = dec_str(d, o, "data", &p->data)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "input_audio.data", "is missing");
    if ((rc = dec_str(d, o, "format", &format)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "input_audio.format", "is missing");
    const char *mime =
        str_is(format, "mp3") ? "audio/mpeg" : arena_printf(d->a, "audio/%.*s", STR_ARG(format));
    if (!mime)
        return dec_nomem(d);
    p->mime = str_of(mime);
    return 0;
}

static int decode_file(struct dec *d, const json_t *part, struct gen_part *p)
{
    json_t *o;
    struct str data, id;
    int rc = dec_object(d, part, "file", &o);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "file", "is missing");
    p->type = GEN_PART_DOCUMENT;
    if ((rc = dec_str(d, o, "filename", &p->text)) < 0)
        return rc;
    if ((rc = dec_str(d, o, "file_data", &data)) < 0)
        return rc;
    if (rc)
        return dec_url(d, data, p);
    if ((rc = dec_str(d, o, "file_id", &id)) < 0)
        return rc;
    if (!rc)
        return dec_fail(d, ERR_FORMAT, "file", "has neither file_data nor file_id");
    const char *url = arena_printf(d->a, WIRE_FILE_ID "%.*s", STR_ARG(id));
    p->url = str_of(url);
    return url ? 0 : dec_nomem(d);
}

static int decode_cache_mark(struct dec *d, const json_t *part, struct gen_part *p)
{
    json_t *o;
    int rc = dec_object(d, part, "cache_control", &o);
    if (rc > 0)
        p->cache_mark = true;
    return rc < 0 ? rc : 0;
}

static int decode_part(struct dec *d, const json_t *part, struct gen_part *p)
{
    struct str type;
    if (!json_is_object(part))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = dec_str(d, part, "type", &type);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "type", "is missing");
    if ((rc = decode_cache_mark(d, part, p)) < 0)
        return rc;
    if (str_is(type, "image_url"))
        return decode_image(d, part, p);
    if (str_is(type, "input_audio"))
        return decode_audio(d, part, p);
    if (str_is(type, "file"))
        return decode_file(d, part, p);
    p->type = GEN_PART_TEXT;
    if (str_is(type, "text") || str_is(type, "refusal")) {
        const char *key = str_is(type, "text") ? "text" : "refusal";
        rc = dec_str(d, part, key, &p->text);
        return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, key, "is missing");
    }
    return dec_fail(d, ERR_UNSUPPORTED, "type", "unknown kind of content \"%.*s\"", STR_ARG(type));
}

/* ---- messages ---- */

static int decode_role(struct dec *d, const json_t *m, enum gen_role *out)
{
    static const char *const names[] = {"system", "developer", "user", "assistant", "tool"};
    struct str role;
    int rc = dec_str(d, m, "role", &role);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "role", "is missing");
    if (str_is(role, "function"))
        role = STR("tool");
    for (size_t i = 0; i < 5; i++) {
        if (str_is(role, names[i])) {
            *out = (enum gen_role)i;
            return 0;
        }
    }
    return dec_fail(d, ERR_FORMAT, "role", "unknown role \"%.*s\"", STR_ARG(role));
}

/* A string is one text part, an array its parts, null none. */
static int decode_content(struct dec *d, const json_t *content, struct gen_msg *m)
{
    if (!content || json_is_null(content))
        return 0;
    if (json_is_string(content)) {
        struct gen_part *p = &m->parts[m->nparts++];
        p->type = GEN_PART_TEXT;
        return dec_copy(d, wire_json_str(content), &p->text);
    }
    if (!json_is_array(content))
        return dec_fail(d, ERR_FORMAT, "content", "must be a string or an array");
    d->sub = "content";
    for (d->j = 0; d->j < json_array_size(content); d->j++) {
        int rc = decode_part(d, json_array_get(content, d->j), &m->parts[m->nparts++]);
        if (rc)
            return rc;
    }
    d->sub = NULL;
    return 0;
}

static int decode_tool_call(struct dec *d, const json_t *call, struct gen_part *p)
{
    json_t *f;
    struct str type = STR("function");
    if (!json_is_object(call))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = dec_str(d, call, "type", &type);
    if (rc < 0)
        return rc;
    if (!str_is(type, "function"))
        return dec_fail(d, ERR_UNSUPPORTED, "type", "unknown kind of tool call \"%.*s\"",
                        STR_ARG(type));
    p->type = GEN_PART_TOOL_CALL;
    if ((rc = dec_str(d, call, "id", &p->id)) < 0)
        return rc;
    if ((rc = dec_object(d, call, "function", &f)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function", "is missing");
    if ((rc = dec_str(d, f, "name", &p->name)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function.name", "is missing");
    rc = dec_str(d, f, "arguments", &p->args);
    return rc < 0 ? rc : 0;
}

static int decode_tool_calls(struct dec *d, const json_t *calls, struct gen_msg *m)
{
    d->sub = "tool_calls";
    for (d->j = 0; d->j < json_array_size(calls); d->j++) {
        int rc = decode_tool_call(d, json_array_get(calls, d->j), &m->parts[m->nparts++]);
        if (rc)
            return rc;
    }
    d->sub = NULL;
    return 0;
}

/* ---- calls as they were before tools ---- */

static int make_id(struct dec *d, struct str *out)
{
    const char *id = arena_printf(d->a, "call_%zu", d->i);
    *out = str_of(id);
    return id ? 0 : dec_nomem(d);
}

static int decode_function_call(struct dec *d, const json_t *msg, const json_t *calls,
                                struct gen_msg *m)
{
    json_t *call;
    struct gen_part p = {.type = GEN_PART_TOOL_CALL};
    int rc = dec_object(d, msg, "function_call", &call);
    if (rc <= 0)
        return rc;
    if (json_array_size(calls))
        return dec_fail(d, ERR_FORMAT, "function_call", "cannot stand with tool_calls");
    if ((rc = dec_str(d, call, "name", &p.name)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function_call.name", "is missing");
    if ((rc = dec_str(d, call, "arguments", &p.args)) < 0)
        return rc;
    if ((rc = make_id(d, &p.id)))
        return rc;
    m->parts[m->nparts++] = p;
    return 0;
}

/* Of the last call of that name, else of the last one. */
static struct str called_id(const struct gen_req *r, size_t before, struct str name)
{
    struct str any = STR_NONE;
    for (size_t i = before; i-- > 0;) {
        const struct gen_msg *m = &r->msgs[i];
        for (size_t k = m->nparts; k-- > 0;) {
            const struct gen_part *p = &m->parts[k];
            if (p->type != GEN_PART_TOOL_CALL || !p->id.n)
                continue;
            if (str_eq(p->name, name))
                return p->id;
            if (!any.n)
                any = p->id;
        }
    }
    return any;
}

static int decode_function_result(struct dec *d, const json_t *msg, const struct gen_req *r,
                                  struct gen_msg *m)
{
    struct gen_part *p = &m->parts[0];
    if (!m->name.n)
        return dec_fail(d, ERR_FORMAT, "name", "is missing");
    p->type = GEN_PART_TOOL_RESULT;
    m->nparts = 1;
    int rc = dec_str(d, msg, "content", &p->text);
    if (rc < 0)
        return rc;
    p->id = called_id(r, d->i, m->name);
    return p->id.n ? 0 : make_id(d, &p->id);
}

/* An assistant's message: reasoning, then content, then tool calls. */
static int decode_assistant(struct dec *d, const json_t *msg, json_t *calls, struct gen_msg *m)
{
    struct str text;
    static const char *const reasons[] = {"reasoning_content", "reasoning"};
    for (size_t i = 0; i < 2; i++) {
        int rc = dec_str(d, msg, reasons[i], &text);
        if (rc < 0)
            return rc;
        if (!rc)
            continue;
        m->parts[m->nparts++] = (struct gen_part){.type = GEN_PART_REASONING, .text = text};
        break;
    }
    if (json_is_object(json_object_get(msg, "audio")))
        return dec_fail(d, ERR_UNSUPPORTED, "audio", "audio of an earlier answer");
    int rc = decode_content(d, json_object_get(msg, "content"), m);
    if (rc)
        return rc;
    if ((rc = dec_str(d, msg, "refusal", &text)) < 0)
        return rc;
    if (rc)
        m->parts[m->nparts++] = (struct gen_part){.type = GEN_PART_TEXT, .text = text};
    rc = decode_function_call(d, msg, calls, m);
    return rc ? rc : decode_tool_calls(d, calls, m);
}

static int decode_tool_result(struct dec *d, const json_t *msg, struct gen_msg *m)
{
    struct gen_part *p = &m->parts[0];
    const json_t *content = json_object_get(msg, "content");
    struct buf all = BUF_INIT(WIRE_MAX_BODY);
    p->type = GEN_PART_TOOL_RESULT;
    int rc = dec_str(d, msg, "tool_call_id", &p->id);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "tool_call_id", "is missing");
    m->nparts = 1;
    if (json_is_string(content))
        return dec_copy(d, wire_json_str(content), &p->text);
    if (!json_is_array(content))
        return dec_fail(d, ERR_FORMAT, "content", "must be a string or an array");
    d->sub = "content";
    for (d->j = 0; d->j < json_array_size(content); d->j++) {
        const json_t *part = json_array_get(content, d->j);
        struct str text = wire_json_get_str(part, "text");
        if (!text.p || !str_is(wire_json_get_str(part, "type"), "text")) {
            buf_done(&all);
            return dec_fail(d, ERR_UNSUPPORTED, "type", "a tool's result is text");
        }
        buf_str_add(&all, text);
    }
    d->sub = NULL;
    rc = buf_failed(&all) ? dec_nomem(d) : dec_copy(d, buf_str(&all), &p->text);
    buf_done(&all);
    return rc;
}

static int decode_message(struct dec *d, const json_t *msg, const struct gen_req *r,
                          struct gen_msg *m)
{
    json_t *calls = NULL;
    if (!json_is_object(msg))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = decode_role(d, msg, &m->role);
    if (rc)
        return rc;
    if ((rc = dec_str(d, msg, "name", &m->name)) < 0)
        return rc;
    if ((rc = dec_array(d, msg, "tool_calls", &calls)) < 0)
        return rc;
    /* Room for one part each of content and tool calls, a string content, reasoning, refusal, and a
     * function call. */
    size_t room = json_array_size(json_object_get(msg, "content")) + json_array_size(calls) + 4;
    m->parts = arena_array(d->a, room, sizeof *m->parts);
    if (!m->parts)
        return dec_nomem(d);
    if (m->role == GEN_ASSISTANT)
        return decode_assistant(d, msg, calls, m);
    if (str_is(wire_json_get_str(msg, "role"), "function"))
        return decode_function_result(d, msg, r, m);
    if (m->role == GEN_TOOL)
        return decode_tool_result(d, msg, m);
    if (json_is_null(json_object_get(msg, "content")) || !json_object_get(msg, "content"))
        return dec_fail(d, ERR_FORMAT, "content", "is missing");
    return decode_content(d, json_object_get(msg, "content"), m);
}

static int decode_messages(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *list;
    int rc = dec_array(d, body, "messages", &list);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "messages", "is missing");
    if (json_array_size(list) == 0)
        return dec_fail(d, ERR_FORMAT, "messages", "must not be empty");
    r->msgs = arena_array(d->a, json_array_size(list), sizeof *r->msgs);
    if (!r->msgs)
        return dec_nomem(d);
    d->list = "messages";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        rc = decode_message(d, json_array_get(list, d->i), r, &r->msgs[r->nmsgs++]);
        if (rc)
            return rc;
    }
    d->list = NULL;
    return 0;
}

/* ---- tools ---- */

static int decode_function(struct dec *d, const json_t *f, const char *name, struct gen_tool *t)
{
    json_t *schema;
    int rc = dec_str(d, f, "name", &t->name);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, name, "is missing");
    if ((rc = dec_str(d, f, "description", &t->description)) < 0)
        return rc;
    if ((rc = dec_bool(d, f, "strict", &t->strict)) < 0)
        return rc;
    if ((rc = dec_object(d, f, "parameters", &schema)) <= 0)
        return rc;
    return dec_raw(d, schema, &t->schema);
}

static int decode_tool(struct dec *d, const json_t *tool, struct gen_tool *t)
{
    json_t *f;
    int rc = dec_object(d, tool, "function", &f);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function", "is missing");
    return decode_function(d, f, "function.name", t);
}

static int decode_tools(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    json_t *list, *foreign = NULL;
    int rc = dec_array(d, body, "tools", &list);
    if (rc <= 0 || json_array_size(list) == 0)
        return rc < 0 ? rc : 0;
    r->tools = arena_array(d->a, json_array_size(list), sizeof *r->tools);
    if (!r->tools)
        return dec_nomem(d);
    d->list = "tools";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        json_t *tool = json_array_get(list, d->i);
        struct str type = wire_json_get_str(tool, "type");
        bool function = json_is_object(json_object_get(tool, "function"));
        if (!type.p && !function) /* Mistral's client leaves the type out */
            rc = dec_fail(d, ERR_FORMAT, "type", "is missing");
        else if (!type.p || str_is(type, "function"))
            rc = decode_tool(d, tool, &r->tools[r->ntools++]);
        else if ((!foreign && !(foreign = json_array())) || json_array_append(foreign, tool))
            rc = dec_nomem(d);
        if (rc < 0)
            break;
    }
    if (rc >= 0 && foreign)
        rc = dec_keep(d, extra, "tools", foreign);
    json_decref(foreign);
    d->list = NULL;
    return rc < 0 ? rc : 0;
}

/* Of the tools only those that the choice allows; the model sees no others. */
static int keep_allowed(struct dec *d, const json_t *list, struct gen_req *r)
{
    struct gen_tool *kept = arena_array(d->a, json_array_size(list), sizeof *kept);
    size_t n = 0;
    if (!kept)
        return dec_nomem(d);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        struct str name = wire_json_get_str(json_object_get(o, "function"), "name");
        size_t k = 0;
        if (!name.n)
            return dec_fail(d, ERR_UNSUPPORTED, "tool_choice.allowed_tools.tools",
                            "must be functions");
        while (k < r->ntools && !str_eq(r->tools[k].name, name))
            k++;
        if (k == r->ntools)
            return dec_fail(d, ERR_FORMAT, "tool_choice.allowed_tools.tools",
                            "there is no tool \"%.*s\"", STR_ARG(name));
        kept[n++] = r->tools[k];
    }
    r->tools = kept;
    r->ntools = n;
    return 0;
}

static int decode_allowed(struct dec *d, const json_t *choice, struct gen_req *r)
{
    json_t *o, *list;
    int rc = dec_object(d, choice, "allowed_tools", &o);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "tool_choice.allowed_tools", "is missing");
    struct str mode = wire_json_get_str(o, "mode");
    if (!str_is(mode, "auto") && !str_is(mode, "required"))
        return dec_fail(d, ERR_FORMAT, "tool_choice.allowed_tools.mode",
                        "must be \"auto\" or \"required\"");
    r->tool_choice = str_is(mode, "auto") ? GEN_CHOICE_AUTO : GEN_CHOICE_REQUIRED;
    if ((rc = dec_array(d, o, "tools", &list)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "tool_choice.allowed_tools.tools", "is missing");
    return keep_allowed(d, list, r);
}

static int decode_choice(struct dec *d, const json_t *body, struct gen_req *r)
{
    const json_t *v = json_object_get(body, "tool_choice");
    struct str s = wire_json_str(v);
    if (!v || json_is_null(v))
        return 0;
    if (str_is(s, "auto"))
        r->tool_choice = GEN_CHOICE_AUTO;
    else if (str_is(s, "none"))
        r->tool_choice = GEN_CHOICE_NONE;
    else if (str_is(s, "required") || str_is(s, "any")) /* any: Mistral's word */
        r->tool_choice = GEN_CHOICE_REQUIRED;
    else if (json_is_object(v) && str_is(wire_json_get_str(v, "type"), "function")) {
        s = wire_json_get_str(json_object_get(v, "function"), "name");
        if (!s.n)
            return dec_fail(d, ERR_FORMAT, "tool_choice.function.name", "is missing");
        r->tool_choice = GEN_CHOICE_NAMED;
        return dec_copy(d, s, &r->tool_choice_name);
    } else if (str_is(wire_json_get_str(v, "type"), "allowed_tools"))
        return decode_allowed(d, v, r);
    else
        return dec_fail(d, json_is_object(v) ? ERR_UNSUPPORTED : ERR_FORMAT, "tool_choice",
                        "must be \"auto\", \"none\", \"required\" or a function");
    return 0;
}

/* `functions` and `function_call`, where there are no tools. */
static int decode_functions(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *list;
    int rc = dec_array(d, body, "functions", &list);
    if (rc <= 0 || json_array_size(list) == 0)
        return rc < 0 ? rc : 0;
    if (json_array_size(json_object_get(body, "tools")))
        return dec_fail(d, ERR_FORMAT, "functions", "cannot stand with tools");
    r->tools = arena_array(d->a, json_array_size(list), sizeof *r->tools);
    if (!r->tools)
        return dec_nomem(d);
    d->list = "functions";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        const json_t *f = json_array_get(list, d->i);
        if (!json_is_object(f))
            return dec_fail(d, ERR_FORMAT, "", "must be an object");
        if ((rc = decode_function(d, f, "name", &r->tools[r->ntools++])) < 0)
            return rc;
    }
    d->list = NULL;
    r->function_calls = true;
    return 0;
}

static int decode_called(struct dec *d, const json_t *body, struct gen_req *r)
{
    const json_t *v = json_object_get(body, "function_call");
    struct str s = wire_json_str(v);
    if (!v || json_is_null(v))
        return 0;
    if (!r->function_calls)
        return dec_fail(d, ERR_FORMAT, "function_call", "needs functions");
    if (str_is(s, "auto")) {
        r->tool_choice = GEN_CHOICE_AUTO;
    } else if (str_is(s, "none")) {
        r->tool_choice = GEN_CHOICE_NONE;
    } else if (json_is_object(v)) {
        s = wire_json_get_str(v, "name");
        if (!s.n)
            return dec_fail(d, ERR_FORMAT, "function_call.name", "is missing");
        r->tool_choice = GEN_CHOICE_NAMED;
        return dec_copy(d, s, &r->tool_choice_name);
    } else {
        return dec_fail(d, ERR_FORMAT, "function_call", "must be \"auto\", \"none\" or a function");
    }
    return 0;
}

/* ---- the rest ---- */

/* -1: no limit, as clients of local servers say it. */
static int decode_tokens(struct dec *d, const json_t *body, struct gen_req *r)
{
    static const char *const keys[] = {"n_predict", "max_tokens", "max_completion_tokens"};
    for (size_t i = 0; i < 3; i++) {
        int64_t n = -1;
        int rc = dec_int(d, body, keys[i], -1, INT32_MAX, &n);
        if (rc < 0)
            return rc;
        if (rc && !n)
            return dec_fail(d, ERR_FORMAT, keys[i], "must be between 1 and %d", INT32_MAX);
        if (rc)
            r->max_tokens = n < 0 ? 0 : n;
    }
    return 0;
}

static int decode_limits(struct dec *d, const json_t *body, struct gen_req *r)
{
    int64_t n = 1, top = 0;
    int rc = decode_tokens(d, body, r);
    if (rc >= 0)
        rc = dec_int(d, body, "n", 1, WIRE_MAX_CHOICES, &n);
    if (rc >= 0)
        rc = dec_bool(d, body, "logprobs", &r->logprobs);
    if (rc >= 0)
        rc = dec_int(d, body, "top_logprobs", 0, 20, &top);
    if (rc >= 0)
        rc = dec_stops(d, body, "stop", r);
    r->n = (int32_t)n;
    r->top_logprobs = (int32_t)top;
    if (rc >= 0 && top && !r->logprobs)
        rc = dec_fail(d, ERR_FORMAT, "top_logprobs", "needs logprobs");
    return rc < 0 ? rc : 0;
}

static int refuse_audio(struct dec *d, const json_t *body)
{
    json_t *list;
    int rc = dec_array(d, body, "modalities", &list);
    for (size_t i = 0; rc > 0 && i < json_array_size(list); i++) {
        struct str s = wire_json_str(json_array_get(list, i));
        if (!str_is(s, "text"))
            return dec_fail(d, ERR_UNSUPPORTED, "modalities", "answers are text");
    }
    return rc < 0 ? rc : 0;
}

static int decode_flags(struct dec *d, const json_t *body, struct gen_req *r)
{
    bool parallel = false;
    int rc = dec_bool(d, body, "parallel_tool_calls", &parallel);
    if (rc < 0)
        return rc;
    r->parallel_tools = rc ? parallel : -1;
    if ((rc = dec_stream(d, body, r)) < 0)
        return rc;
    if ((rc = refuse_audio(d, body)) < 0)
        return rc;
    rc = dec_str(d, body, "user", &r->user);
    return rc < 0 ? rc : 0;
}

static int decode_fields(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    int rc = dec_str(d, body, "model", &r->model);
    if (rc < 0)
        return rc;
    if (!r->model.n && !d->counting)
        return dec_fail(d, ERR_FORMAT, "model", "is missing");
    if ((rc = decode_messages(d, body, r)))
        return rc;
    if ((rc = decode_tools(d, body, r, extra)))
        return rc;
    if ((rc = decode_choice(d, body, r)))
        return rc;
    if ((rc = decode_functions(d, body, r)))
        return rc;
    if ((rc = decode_called(d, body, r)))
        return rc;
    if ((rc = dec_sampling(d, body, &r->sampling)))
        return rc;
    if ((rc = decode_limits(d, body, r)))
        return rc;
    if ((rc = dec_format(d, body, r)))
        return rc;
    if ((rc = dec_effort(d, body, r, extra)))
        return rc;
    if ((rc = decode_flags(d, body, r)))
        return rc;
    return dec_unknown(d, body, known, extra);
}

int openai_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = decode_fields(d, body, r, &extra);
    if (!rc)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    return rc;
}
