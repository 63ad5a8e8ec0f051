/* anthropic_req.c: decodes the body of POST /v1/messages
 * (https://docs.anthropic.com/en/api/messages) into a gen_req.
 *
 * `system` becomes the first message. A tool's result stays in the user's message it came in; media
 * inside it follow it as parts that carry the call's id. A document given as text becomes text, so
 * that detectors and local models see it. Kinds of content that only this dialect has (server
 * tools and their results) become GEN_PART_OPAQUE with name = the kind and text = the block's JSON,
 * which detectors see too; tools that only it has, and values gen has no word for, go to
 * req->extra. Both go back to this dialect alone. */
#include "wire_int.h"

static const char *const known[] = {"model",       "messages",      "system",   "tools",
                                    "tool_choice", "max_tokens",    "metadata", "temperature",
                                    "top_p",       "top_k",         "stream",   "stop_sequences",
                                    "thinking",    "output_config", NULL};

/* ---- blocks ---- */

static int decode_block(struct dec *d, json_t *block, struct str call, struct gen_msg *m);

/* How many parts a block may become. */
static size_t room_of(const json_t *block)
{
    const json_t *source = json_object_get(block, "source");
    return 1 + json_array_size(json_object_get(block, "content")) +
           json_array_size(json_object_get(source, "content"));
}

static struct gen_part *add(struct gen_msg *m, enum gen_part_type type, struct str call)
{
    struct gen_part *p = &m->parts[m->nparts++];
    p->type = type;
    p->id = call;
    return p;
}

static int file_url(struct dec *d, const json_t *source, struct gen_part *p)
{
    struct str id;
    int rc = dec_str(d, source, "file_id", &id);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "source.file_id", "is missing");
    const char *url = arena_printf(d->a, WIRE_FILE_ID "%.*s", STR_ARG(id));
    p->url = str_of(url);
    return url ? 0 : dec_nomem(d);
}

static int decode_source(struct dec *d, const json_t *source, struct gen_part *p)
{
    struct str type = wire_json_get_str(source, "type");
    int rc;
    if (str_is(type, "base64")) {
        if ((rc = dec_str(d, source, "media_type", &p->mime)) <= 0)
            return rc ? rc : dec_fail(d, ERR_FORMAT, "source.media_type", "is missing");
        rc = dec_str(d, source, "data", &p->data);
        return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, "source.data", "is missing");
    }
    if (str_is(type, "url")) {
        rc = dec_str(d, source, "url", &p->url);
        return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, "source.url", "is missing");
    }
    if (str_is(type, "file"))
        return file_url(d, source, p);
    return dec_fail(d, ERR_UNSUPPORTED, "source.type", "unknown kind of source \"%.*s\"",
                    STR_ARG(type));
}

/* A document of plain text: its title, an empty line, the text. */
static int text_document(struct dec *d, const json_t *block, struct str text, struct str call,
                         struct gen_msg *m)
{
    struct str title = STR_NONE;
    struct gen_part *p = add(m, GEN_PART_TEXT, call);
    int rc = dec_str(d, block, "title", &title);
    if (rc < 0)
        return rc;
    p->cache_mark = json_is_object(json_object_get(block, "cache_control"));
    struct buf b = BUF_INIT(WIRE_MAX_BODY);
    buf_str_add(&b, title);
    if (title.n)
        buf_puts(&b, "\n\n");
    buf_str_add(&b, text);
    rc = buf_failed(&b) ? dec_nomem(d) : dec_copy(d, buf_str(&b), &p->text);
    buf_done(&b);
    return rc;
}

static int decode_document(struct dec *d, const json_t *block, struct str call, struct gen_msg *m)
{
    const json_t *source = json_object_get(block, "source");
    json_t *content = json_object_get(source, "content");
    struct str type = wire_json_get_str(source, "type");
    if (str_is(type, "text") && json_is_string(json_object_get(source, "data")))
        return text_document(d, block, wire_json_get_str(source, "data"), call, m);
    if (str_is(type, "content") && json_is_string(content))
        return text_document(d, block, wire_json_str(content), call, m);
    if (str_is(type, "content") && json_is_array(content)) {
        int rc = 0;
        for (size_t i = 0; i < json_array_size(content) && !rc; i++) {
            json_t *inner = json_array_get(content, i);
            if (room_of(inner) > 1)
                return dec_fail(d, ERR_FORMAT, "source.content", "must hold text and images");
            rc = decode_block(d, inner, call, m);
        }
        return rc;
    }
    struct gen_part *p = add(m, GEN_PART_DOCUMENT, call);
    p->cache_mark = json_is_object(json_object_get(block, "cache_control"));
    int rc = dec_str(d, block, "title", &p->text);
    return rc < 0 ? rc : decode_source(d, source, p);
}

static int decode_inner(struct dec *d, json_t *block, struct str call, struct gen_msg *m)
{
    if (room_of(block) > 1)
        return dec_fail(d, ERR_UNSUPPORTED, "content", "a nested result or document");
    return decode_block(d, block, call, m);
}

/* Text blocks are joined by a line feed; what is not text follows as parts of the call. */
static int decode_result(struct dec *d, const json_t *block, struct gen_msg *m)
{
    struct gen_part *p = add(m, GEN_PART_TOOL_RESULT, STR_NONE);
    const json_t *content = json_object_get(block, "content");
    struct buf text = BUF_INIT(WIRE_MAX_BODY);
    p->cache_mark = json_is_object(json_object_get(block, "cache_control"));
    int rc = dec_str(d, block, "tool_use_id", &p->id);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "tool_use_id", "is missing");
    if ((rc = dec_bool(d, block, "is_error", &p->is_error)) < 0)
        return rc;
    if (!content || json_is_null(content))
        return 0;
    if (json_is_string(content))
        return dec_copy(d, wire_json_str(content), &p->text);
    if (!json_is_array(content))
        return dec_fail(d, ERR_FORMAT, "content", "must be a string or an array");
    rc = 0;
    for (size_t i = 0; i < json_array_size(content) && rc >= 0; i++) {
        size_t before = m->nparts;
        rc = decode_inner(d, json_array_get(content, i), p->id, m);
        /* Text, and documents of text, become the result's own text. */
        if (rc >= 0 && m->nparts == before + 1 && m->parts[before].type == GEN_PART_TEXT) {
            buf_puts(&text, i ? "\n" : "");
            buf_str_add(&text, m->parts[before].text);
            m->parts[--m->nparts] = (struct gen_part){0};
        }
    }
    if (rc >= 0)
        rc = buf_failed(&text) ? dec_nomem(d) : dec_copy(d, buf_str(&text), &p->text);
    buf_done(&text);
    return rc;
}

static int decode_tool_use(struct dec *d, const json_t *block, struct gen_msg *m)
{
    struct gen_part *p = add(m, GEN_PART_TOOL_CALL, STR_NONE);
    json_t *input;
    p->cache_mark = json_is_object(json_object_get(block, "cache_control"));
    int rc = dec_str(d, block, "id", &p->id);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "id", "is missing");
    if ((rc = dec_str(d, block, "name", &p->name)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "name", "is missing");
    if ((rc = dec_object(d, block, "input", &input)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "input", "is missing");
    return dec_raw(d, input, &p->args);
}

static int decode_thinking(struct dec *d, const json_t *block, struct gen_msg *m)
{
    struct gen_part *p = add(m, GEN_PART_REASONING, STR_NONE);
    int rc = dec_str(d, block, "thinking", &p->text);
    if (rc >= 0)
        rc = dec_str(d, block, "signature", &p->opaque);
    return rc < 0 ? rc : 0;
}

static int decode_block(struct dec *d, json_t *block, struct str call, struct gen_msg *m)
{
    if (!json_is_object(block))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    struct str type = wire_json_get_str(block, "type");
    bool mark = json_is_object(json_object_get(block, "cache_control"));
    if (!type.n)
        return dec_fail(d, ERR_FORMAT, "type", "is missing");
    if (str_is(type, "text")) {
        struct gen_part *p = add(m, GEN_PART_TEXT, call);
        p->cache_mark = mark;
        int rc = dec_str(d, block, "text", &p->text);
        return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, "text", "is missing");
    }
    if (str_is(type, "image")) {
        struct gen_part *p = add(m, GEN_PART_IMAGE, call);
        p->cache_mark = mark;
        return decode_source(d, json_object_get(block, "source"), p);
    }
    if (str_is(type, "document"))
        return decode_document(d, block, call, m);
    if (str_is(type, "tool_use") && m->role == GEN_ASSISTANT)
        return decode_tool_use(d, block, m);
    if (str_is(type, "tool_result") && m->role == GEN_USER)
        return decode_result(d, block, m);
    if (str_is(type, "thinking") && m->role == GEN_ASSISTANT)
        return decode_thinking(d, block, m);
    if (str_is(type, "redacted_thinking") && m->role == GEN_ASSISTANT) {
        int rc = dec_str(d, block, "data", &add(m, GEN_PART_OPAQUE, STR_NONE)->opaque);
        return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, "data", "is missing");
    }
    if (m->role == GEN_SYSTEM && !d->sub)
        return dec_fail(d, ERR_UNSUPPORTED, "type", "must be text");
    struct gen_part *p = add(m, GEN_PART_OPAQUE, call);
    int rc = dec_copy(d, type, &p->name);
    return rc ? rc : dec_raw(d, block, &p->text);
}

static int decode_blocks(struct dec *d, json_t *content, const char *sub, struct gen_msg *m)
{
    size_t room = 1;
    for (size_t i = 0; i < json_array_size(content); i++)
        room += room_of(json_array_get(content, i));
    m->parts = arena_array(d->a, room, sizeof *m->parts);
    if (!m->parts)
        return dec_nomem(d);
    if (json_is_string(content)) {
        m->nparts = 1; /* zeroed: GEN_PART_TEXT */
        return dec_copy(d, wire_json_str(content), &m->parts[0].text);
    }
    if (!json_is_array(content))
        return dec_fail(d, ERR_FORMAT, sub ? sub : "", "must be a string or an array");
    d->sub = sub;
    for (size_t i = 0; i < json_array_size(content); i++) {
        *(sub ? &d->j : &d->i) = i;
        int rc = decode_block(d, json_array_get(content, i), STR_NONE, m);
        if (rc)
            return rc;
    }
    d->sub = NULL;
    return 0;
}

/* ---- messages ---- */

static int decode_message(struct dec *d, const json_t *msg, struct gen_msg *m)
{
    struct str role;
    json_t *content = json_object_get(msg, "content");
    if (!json_is_object(msg))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = dec_str(d, msg, "role", &role);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "role", "is missing");
    if (str_is(role, "user"))
        m->role = GEN_USER;
    else if (str_is(role, "assistant"))
        m->role = GEN_ASSISTANT;
    else if (str_is(role, "system"))
        m->role = GEN_SYSTEM;
    else
        return dec_fail(d, ERR_FORMAT, "role", "unknown role \"%.*s\"", STR_ARG(role));
    if (!content)
        return dec_fail(d, ERR_FORMAT, "content", "is missing");
    return decode_blocks(d, content, "content", m);
}

static int decode_messages(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *list, *system = json_object_get(body, "system");
    int rc = dec_array(d, body, "messages", &list);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "messages", "is missing");
    if (json_array_size(list) == 0)
        return dec_fail(d, ERR_FORMAT, "messages", "must not be empty");
    r->msgs = arena_array(d->a, json_array_size(list) + 1, sizeof *r->msgs);
    if (!r->msgs)
        return dec_nomem(d);
    if (system && !json_is_null(system) && !(json_is_array(system) && !json_array_size(system))) {
        d->list = "system";
        d->i = 0;
        r->msgs[0].role = GEN_SYSTEM;
        if ((rc = decode_blocks(d, system, NULL, &r->msgs[r->nmsgs++])))
            return rc;
    }
    d->list = "messages";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        if ((rc = decode_message(d, json_array_get(list, d->i), &r->msgs[r->nmsgs++])))
            return rc;
    }
    d->list = NULL;
    return 0;
}

/* ---- tools ---- */

static int decode_tool(struct dec *d, const json_t *tool, struct gen_tool *t)
{
    json_t *schema;
    int rc = dec_str(d, tool, "name", &t->name);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "name", "is missing");
    if ((rc = dec_str(d, tool, "description", &t->description)) < 0)
        return rc;
    if ((rc = dec_bool(d, tool, "strict", &t->strict)) < 0)
        return rc;
    t->cache_mark = json_is_object(json_object_get(tool, "cache_control"));
    if ((rc = dec_object(d, tool, "input_schema", &schema)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "input_schema", "is missing");
    return dec_raw(d, schema, &t->schema);
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
        if (!json_is_object(tool))
            rc = dec_fail(d, ERR_FORMAT, "", "must be an object");
        else if (!type.p || str_is(type, "custom"))
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

static int decode_choice(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *o;
    bool disable = false;
    int rc = dec_object(d, body, "tool_choice", &o);
    if (rc <= 0)
        return rc;
    struct str type = wire_json_get_str(o, "type");
    if ((rc = dec_bool(d, o, "disable_parallel_tool_use", &disable)) < 0)
        return rc;
    if (rc)
        r->parallel_tools = !disable;
    if (str_is(type, "auto"))
        r->tool_choice = GEN_CHOICE_AUTO;
    else if (str_is(type, "any"))
        r->tool_choice = GEN_CHOICE_REQUIRED;
    else if (str_is(type, "none"))
        r->tool_choice = GEN_CHOICE_NONE;
    else if (str_is(type, "tool")) {
        r->tool_choice = GEN_CHOICE_NAMED;
        rc = dec_str(d, o, "name", &r->tool_choice_name);
        return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, "tool_choice.name", "is missing");
    } else
        return dec_fail(d, ERR_FORMAT, "tool_choice.type", "must be auto, any, tool or none");
    return 0;
}

/* ---- the rest ---- */

/* {"type":"enabled","budget_tokens":N} alone is a budget, {"type":"disabled"} is no effort; any
 * other form stays as it is in extra. */
static int decode_thinking_mode(struct dec *d, const json_t *body, struct gen_req *r,
                                json_t **extra)
{
    json_t *o;
    int rc = dec_object(d, body, "thinking", &o);
    if (rc <= 0)
        return rc;
    struct str type = wire_json_get_str(o, "type");
    if (str_is(type, "disabled")) {
        r->effort = GEN_EFFORT_NONE;
        return 0;
    }
    if (!str_is(type, "enabled"))
        return dec_keep(d, extra, "thinking", o);
    rc = dec_int(d, o, "budget_tokens", 1, INT32_MAX, &r->thinking_budget);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "thinking.budget_tokens", "is missing");
    return 0;
}

static int decode_output_format(struct dec *d, json_t *format, struct gen_req *r)
{
    json_t *schema;
    if (!str_is(wire_json_get_str(format, "type"), "json_schema"))
        return dec_fail(d, ERR_UNSUPPORTED, "output_config.format.type", "must be json_schema");
    int rc = dec_object(d, format, "schema", &schema);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "output_config.format.schema", "is missing");
    r->format = GEN_FORMAT_SCHEMA;
    r->schema_strict = true; /* this dialect knows no other */
    return dec_raw(d, schema, &r->schema);
}

static int decode_output(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    static const char *const words[] = {"low", "medium", "high"};
    static const char *const known_here[] = {"effort", "format", NULL};
    json_t *o, *format, *rest = NULL;
    struct str effort;
    int rc = dec_object(d, body, "output_config", &o);
    if (rc <= 0)
        return rc;
    if ((rc = dec_object(d, o, "format", &format)) < 0)
        return rc;
    if (rc && (rc = decode_output_format(d, format, r)))
        return rc;
    if ((rc = dec_unknown(d, o, known_here, &rest)))
        return rc;
    if ((rc = dec_str(d, o, "effort", &effort)) > 0) {
        size_t i = 0;
        while (i < 3 && !str_is(effort, words[i]))
            i++;
        if (i < 3 && r->effort == GEN_EFFORT_UNSET)
            r->effort = GEN_EFFORT_LOW + (enum gen_effort)i;
        else
            rc = dec_keep(d, &rest, "effort", json_object_get(o, "effort"));
        if (r->effort == GEN_EFFORT_UNSET && (str_is(effort, "max") || str_is(effort, "xhigh")))
            r->effort = GEN_EFFORT_HIGH;
    }
    if (rc >= 0 && rest)
        rc = dec_keep(d, extra, "output_config", rest);
    json_decref(rest);
    return rc < 0 ? rc : 0;
}

static int decode_numbers(struct dec *d, const json_t *body, struct gen_req *r)
{
    struct gen_sampling *s = &r->sampling;
    int64_t k;
    int rc = dec_int(d, body, "max_tokens", 1, INT32_MAX, &r->max_tokens);
    if (rc < 0 || (rc == 0 && !d->counting))
        return rc ? rc : dec_fail(d, ERR_FORMAT, "max_tokens", "is missing");
    if ((rc = dec_float(d, body, "temperature", 0, 1, &s->temperature)) < 0)
        return rc;
    s->set |= rc ? GEN_SET_TEMPERATURE : 0;
    if ((rc = dec_float(d, body, "top_p", 0, 1, &s->top_p)) < 0)
        return rc;
    s->set |= rc ? GEN_SET_TOP_P : 0;
    if ((rc = dec_int(d, body, "top_k", 0, INT32_MAX, &k)) < 0)
        return rc;
    if (rc) {
        s->set |= GEN_SET_TOP_K;
        s->top_k = (int32_t)k;
    }
    return 0;
}

static int decode_fields(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    json_t *metadata;
    int rc = dec_str(d, body, "model", &r->model);
    if (rc < 0)
        return rc;
    if (!rc || !r->model.n)
        return dec_fail(d, ERR_FORMAT, "model", "is missing");
    if ((rc = decode_numbers(d, body, r)))
        return rc;
    if ((rc = decode_messages(d, body, r)))
        return rc;
    if ((rc = decode_tools(d, body, r, extra)))
        return rc;
    if ((rc = decode_choice(d, body, r)))
        return rc;
    if ((rc = decode_thinking_mode(d, body, r, extra)))
        return rc;
    if ((rc = decode_output(d, body, r, extra)))
        return rc;
    if ((rc = dec_stops(d, body, "stop_sequences", r)) < 0)
        return rc;
    if ((rc = dec_bool(d, body, "stream", &r->stream)) < 0)
        return rc;
    if ((rc = dec_object(d, body, "metadata", &metadata)) < 0)
        return rc;
    if (rc && (rc = dec_str(d, metadata, "user_id", &r->user)) < 0)
        return rc;
    return dec_unknown(d, body, known, extra);
}

int anthropic_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = decode_fields(d, body, r, &extra);
    if (!rc)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    return rc;
}
