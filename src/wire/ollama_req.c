/* ollama_req.c: decodes the bodies of POST /api/chat and POST /api/generate
 * (https://github.com/ollama/ollama/blob/main/docs/api.md) into a gen_req.
 *
 * A chat without messages and a generate without a prompt ask only that the model be loaded, or
 * unloaded when keep_alive is 0: load_only is set, there are no messages, and the answer is one
 * object whatever `stream` says. A prompt of generate is a chat of the system's text and one user's
 * message, with `raw` a bare prompt, with `suffix` a place to fill in (system and images have no
 * part in that, as in Ollama).
 *
 * In a message, images stand before the text, which is where Ollama puts them. A call without an id
 * gets one from its place; a tool's result without one belongs to the first call of its tool_name
 * that has none yet. `context`, which is deprecated there, is checked and kept in extra: a server
 * of this dialect gets it back, an engine of ours does not read it. */
#include "ollama_int.h"

static const char *const chat_known[] = {"model",    "messages", "tools",        "stream",
                                         "format",   "think",    "options",      "keep_alive",
                                         "truncate", "logprobs", "top_logprobs", NULL};
static const char *const generate_known[] = {
    "model",  "prompt",  "suffix",     "system",   "template", "raw",          "images", "stream",
    "format", "options", "keep_alive", "truncate", "logprobs", "top_logprobs", "think",  NULL};

/* ---- media ---- */

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Standard base64 with its padding, line ends allowed, as Go reads it. SIZE_MAX: good; else where
 * it is not. The first bytes that fit go to head. */
static size_t check_base64(struct str s, unsigned char *head, size_t cap, size_t *nhead)
{
    uint32_t bits = 0;
    size_t have = 0, pad = 0, n = 0;
    *nhead = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\r' || c == '\n')
            continue;
        int d = digit_of(c);
        pad += c == '=';
        if ((c != '=' && (d < 0 || pad)) || pad > 2 || (pad && n % 4 < 2))
            return i;
        n++;
        if (c == '=')
            continue;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (*nhead < cap)
            head[(*nhead)++] = (unsigned char)(bits >> have);
    }
    return n % 4 ? s.n : SIZE_MAX;
}

bool ollama_is_base64(struct str s)
{
    unsigned char head[1];
    size_t n;
    return s.n && check_base64(s, head, 0, &n) == SIZE_MAX;
}

static bool has(const unsigned char *p, size_t n, const char *mark, size_t len, size_t at)
{
    return n >= at + len && !memcmp(p + at, mark, len);
}

/* By its first bytes; what is none of these is called an image of no known kind. */
static const char *sniff(const unsigned char *p, size_t n, enum gen_part_type *type)
{
    *type = GEN_PART_AUDIO;
    if (has(p, n, "RIFF", 4, 0) && has(p, n, "WAVE", 4, 8))
        return "audio/wav";
    if (has(p, n, "ID3", 3, 0) || (n >= 2 && p[0] == 0xFF && (p[1] & 0xE0) == 0xE0))
        return "audio/mpeg";
    *type = GEN_PART_IMAGE;
    if (has(p, n, "\x89PNG", 4, 0))
        return "image/png";
    if (has(p, n, "\xFF\xD8\xFF", 3, 0))
        return "image/jpeg";
    if (has(p, n, "GIF8", 4, 0))
        return "image/gif";
    if (has(p, n, "RIFF", 4, 0) && has(p, n, "WEBP", 4, 8))
        return "image/webp";
    if (has(p, n, "BM", 2, 0))
        return "image/bmp";
    return "application/octet-stream";
}

static int decode_image(struct dec *d, struct str data, struct gen_part *p)
{
    unsigned char head[16];
    size_t n;
    if (!data.p)
        return dec_fail(d, ERR_FORMAT, "", "must be a string");
    size_t bad = data.n ? check_base64(data, head, sizeof head, &n) : 0;
    if (bad != SIZE_MAX)
        return dec_fail(d, ERR_FORMAT, "", "illegal base64 data at input byte %zu", bad);
    p->mime = str_of(sniff(head, n, &p->type));
    return dec_copy(d, data, &p->data);
}

/* Base64 each, appended to m's parts; id: of the tool's result they belong to. They stand in a
 * message, or (generate) at the top. */
static int decode_images(struct dec *d, json_t *list, struct str id, struct gen_msg *m)
{
    bool top = !d->list;
    size_t *at = top ? &d->i : &d->j;
    *(top ? &d->list : &d->sub) = "images";
    for (*at = 0; *at < json_array_size(list); ++*at) {
        struct gen_part *p = &m->parts[m->nparts];
        int rc = decode_image(d, wire_json_str(json_array_get(list, *at)), p);
        if (rc)
            return rc;
        p->id = id;
        m->nparts++;
    }
    *(top ? &d->list : &d->sub) = NULL;
    return 0;
}

/* ---- messages ---- */

/* The calls of the last assistant's message that made some: what a result is an answer to. */
struct calls {
    const struct gen_part *parts;
    size_t n;
    bool answered[WIRE_MAX_TOOLS];
};

static int decode_role(struct dec *d, const json_t *m, enum gen_role *out)
{
    static const char *const names[] = {"system", "developer", "user", "assistant", "tool"};
    struct str role;
    int rc = dec_str(d, m, "role", &role);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "role", "is missing");
    for (size_t i = 0; i < 5; i++) {
        if (str_ieq(role, str_of(names[i]))) {
            *out = (enum gen_role)i;
            return 0;
        }
    }
    return dec_fail(d, ERR_FORMAT, "role", "unknown role \"%.*s\"", STR_ARG(role));
}

static int decode_call(struct dec *d, const json_t *call, struct gen_part *p)
{
    json_t *f, *args;
    if (!json_is_object(call))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    p->type = GEN_PART_TOOL_CALL;
    int rc = dec_str(d, call, "id", &p->id);
    if (rc < 0)
        return rc;
    if (!rc || !p->id.n) {
        const char *id = arena_printf(d->a, "call_%zu_%zu", d->i, d->j);
        if (!id)
            return dec_nomem(d);
        p->id = str_of(id);
    }
    if ((rc = dec_object(d, call, "function", &f)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function", "is missing");
    if ((rc = dec_str(d, f, "name", &p->name)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function.name", "is missing");
    p->args = STR("{}");
    if (json_object_get(f, "arguments") && !json_is_null(json_object_get(f, "arguments")) &&
        !json_is_object(json_object_get(f, "arguments")))
        return dec_fail(d, ERR_FORMAT, "function.arguments", "must be an object");
    args = json_object_get(f, "arguments");
    return json_is_object(args) ? dec_raw(d, args, &p->args) : 0;
}

static int decode_calls(struct dec *d, json_t *list, struct gen_msg *m, struct calls *open)
{
    size_t n = json_array_size(list);
    if (!n)
        return 0;
    if (m->role != GEN_ASSISTANT)
        return dec_fail(d, ERR_UNSUPPORTED, "tool_calls", "only an assistant calls tools");
    if (n > WIRE_MAX_TOOLS)
        return dec_fail(d, ERR_FORMAT, "tool_calls", "more than %d", WIRE_MAX_TOOLS);
    *open = (struct calls){.parts = &m->parts[m->nparts], .n = n};
    d->sub = "tool_calls";
    for (d->j = 0; d->j < n; d->j++) {
        int rc = decode_call(d, json_array_get(list, d->j), &m->parts[m->nparts]);
        if (rc)
            return rc;
        m->nparts++;
    }
    d->sub = NULL;
    return 0;
}

/* The call that a result is of: the named id's, or the first that has no result and the name. */
static size_t find_call(const struct calls *open, struct str id, struct str name)
{
    size_t i = 0;
    for (; i < open->n; i++) {
        const struct gen_part *call = &open->parts[i];
        if (id.n ? str_eq(call->id, id)
                 : !open->answered[i] && (!name.n || str_eq(call->name, name)))
            break;
    }
    return i;
}

static int decode_result(struct dec *d, const json_t *msg, struct gen_msg *m, struct calls *open)
{
    struct gen_part *p = &m->parts[m->nparts++];
    p->type = GEN_PART_TOOL_RESULT;
    p->text = STR("");
    int rc = dec_str(d, msg, "content", &p->text);
    if (rc >= 0)
        rc = dec_str(d, msg, "tool_name", &p->name);
    if (rc >= 0)
        rc = dec_str(d, msg, "tool_call_id", &p->id);
    if (rc < 0)
        return rc;
    size_t at = find_call(open, p->id, p->name);
    if (at < open->n) {
        open->answered[at] = true;
        p->id = open->parts[at].id;
        if (!p->name.n)
            p->name = open->parts[at].name;
    }
    if (p->id.n)
        return 0;
    const char *id = arena_printf(d->a, "call_%zu", d->i);
    p->id = str_of(id);
    return id ? 0 : dec_nomem(d);
}

/* Reasoning, images, text, calls; a message of nothing has an empty text, except an assistant's. */
static int decode_parts(struct dec *d, const json_t *msg, json_t *images, json_t *calls,
                        struct gen_msg *m, struct calls *open)
{
    struct str text = STR(""), thinking = STR("");
    int rc = dec_str(d, msg, "thinking", &thinking);
    if (rc >= 0)
        rc = dec_str(d, msg, "content", &text);
    if (rc < 0)
        return rc;
    if (thinking.n && m->role != GEN_ASSISTANT)
        return dec_fail(d, ERR_UNSUPPORTED, "thinking", "only an assistant thinks");
    if (thinking.n)
        m->parts[m->nparts++] = (struct gen_part){.type = GEN_PART_REASONING, .text = thinking};
    if ((rc = decode_images(d, images, STR_NONE, m)))
        return rc;
    if (text.n || (m->role != GEN_ASSISTANT && !m->nparts))
        m->parts[m->nparts++] = (struct gen_part){.type = GEN_PART_TEXT, .text = text};
    return decode_calls(d, calls, m, open);
}

static int decode_message(struct dec *d, const json_t *msg, struct gen_msg *m, struct calls *open)
{
    json_t *images = NULL, *calls = NULL;
    if (!json_is_object(msg))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = decode_role(d, msg, &m->role);
    if (rc)
        return rc;
    if ((rc = dec_array(d, msg, "images", &images)) < 0)
        return rc;
    if ((rc = dec_array(d, msg, "tool_calls", &calls)) < 0)
        return rc;
    size_t room = json_array_size(images) + json_array_size(calls) + 2;
    m->parts = arena_array(d->a, room, sizeof *m->parts);
    if (!m->parts)
        return dec_nomem(d);
    if (m->role != GEN_TOOL)
        return decode_parts(d, msg, images, calls, m, open);
    if ((rc = decode_result(d, msg, m, open)))
        return rc;
    return decode_images(d, images, m->parts[0].id, m);
}

static int decode_messages(struct dec *d, const json_t *body, struct gen_req *r)
{
    struct calls open = {0};
    json_t *list = NULL;
    int rc = dec_array(d, body, "messages", &list);
    if (rc < 0)
        return rc;
    r->load_only = json_array_size(list) == 0;
    r->msgs = arena_array(d->a, json_array_size(list), sizeof *r->msgs);
    if (!r->msgs)
        return dec_nomem(d);
    d->list = "messages";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        rc = decode_message(d, json_array_get(list, d->i), &r->msgs[r->nmsgs++], &open);
        if (rc)
            return rc;
    }
    d->list = NULL;
    return 0;
}

/* ---- tools ---- */

static int decode_tool(struct dec *d, const json_t *tool, struct gen_tool *t)
{
    json_t *f, *schema;
    if (!json_is_object(tool))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    struct str type = wire_json_get_str(tool, "type");
    if (type.n && !str_is(type, "function"))
        return dec_fail(d, ERR_UNSUPPORTED, "type", "unknown kind of tool \"%.*s\"", STR_ARG(type));
    int rc = dec_object(d, tool, "function", &f);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function", "is missing");
    if ((rc = dec_str(d, f, "name", &t->name)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "function.name", "is missing");
    if ((rc = dec_str(d, f, "description", &t->description)) < 0)
        return rc;
    if ((rc = dec_object(d, f, "parameters", &schema)) <= 0)
        return rc;
    return dec_raw(d, schema, &t->schema);
}

static int decode_tools(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *list = NULL;
    int rc = dec_array(d, body, "tools", &list);
    if (rc <= 0)
        return rc;
    r->tools = arena_array(d->a, json_array_size(list), sizeof *r->tools);
    if (!r->tools)
        return dec_nomem(d);
    d->list = "tools";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        rc = decode_tool(d, json_array_get(list, d->i), &r->tools[r->ntools++]);
        if (rc)
            return rc;
    }
    d->list = NULL;
    return 0;
}

/* ---- chat ---- */

static int chat_fields(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    int rc = ollama_decode_model(d, body, r, ERR_FORMAT);
    if (!rc)
        rc = decode_messages(d, body, r);
    if (!rc)
        rc = decode_tools(d, body, r);
    if (!rc)
        rc = ollama_decode_common(d, body, r, extra);
    return rc ? rc : dec_unknown(d, body, chat_known, extra);
}

static int finish(struct dec *d, int rc, json_t *extra, struct gen_req *r)
{
    if (!rc && r->load_only)
        r->stream = false;
    if (!rc)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    return rc;
}

int ollama_chat_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = chat_fields(d, body, r, &extra);
    return finish(d, rc, extra, r);
}

/* ---- generate ---- */

struct prompt {
    struct str text, system, tmpl, suffix;
    bool raw;
    json_t *images, *context;
};

static int read_prompt(struct dec *d, const json_t *body, struct prompt *p)
{
    int rc = dec_str(d, body, "prompt", &p->text);
    if (rc >= 0)
        rc = dec_str(d, body, "system", &p->system);
    if (rc >= 0)
        rc = dec_str(d, body, "template", &p->tmpl);
    if (rc >= 0)
        rc = dec_str(d, body, "suffix", &p->suffix);
    if (rc >= 0)
        rc = dec_bool(d, body, "raw", &p->raw);
    if (rc >= 0)
        rc = dec_array(d, body, "images", &p->images);
    if (rc >= 0)
        rc = dec_array(d, body, "context", &p->context);
    for (size_t i = 0; rc >= 0 && i < json_array_size(p->context); i++) {
        if (!json_is_integer(json_array_get(p->context, i)))
            rc = dec_fail(d, ERR_FORMAT, "context", "must hold the ids of tokens");
    }
    return rc < 0 ? rc : 0;
}

/* The system's text, then the prompt with its images. */
static int prompt_messages(struct dec *d, const struct prompt *p, struct gen_req *r)
{
    size_t n = json_array_size(p->images);
    struct gen_part *parts = arena_array(d->a, n + 2, sizeof *parts);
    r->msgs = arena_array(d->a, 2, sizeof *r->msgs);
    if (!r->msgs || !parts)
        return dec_nomem(d);
    if (p->system.n) {
        parts[0] = (struct gen_part){.type = GEN_PART_TEXT, .text = p->system};
        r->msgs[r->nmsgs++] = (struct gen_msg){.role = GEN_SYSTEM, .parts = parts, .nparts = 1};
    }
    struct gen_msg *m = &r->msgs[r->nmsgs++];
    *m = (struct gen_msg){.role = GEN_USER, .parts = parts + 1};
    int rc = decode_images(d, p->images, STR_NONE, m);
    if (rc)
        return rc;
    m->parts[m->nparts++] = (struct gen_part){.type = GEN_PART_TEXT, .text = p->text};
    return 0;
}

static int decode_prompt(struct dec *d, const json_t *body, struct gen_req *r)
{
    struct prompt p = {0};
    int rc = read_prompt(d, body, &p);
    if (rc)
        return rc;
    if (p.raw && (p.tmpl.n || p.system.n || json_array_size(p.context)))
        return err_set(d->e, ERR_INVAL, "raw mode does not support template, system, or context");
    if (!p.text.n) {
        r->load_only = true;
        return 0;
    }
    r->tmpl = p.tmpl.n ? p.tmpl : STR_NONE;
    if (!p.raw && !p.suffix.n)
        return prompt_messages(d, &p, r);
    if (p.raw && json_array_size(p.images))
        return dec_fail(d, ERR_UNSUPPORTED, "images", "a raw prompt has no place for them");
    r->kind = p.raw ? GEN_RAW : GEN_INFILL;
    r->prompt = p.text;
    r->suffix = p.raw ? STR_NONE : p.suffix;
    return 0;
}

int ollama_generate_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = ollama_decode_model(d, body, r, ERR_NOT_FOUND);
    if (!rc)
        rc = decode_prompt(d, body, r);
    if (!rc)
        rc = ollama_decode_common(d, body, r, &extra);
    if (!rc)
        rc = dec_unknown(d, body, generate_known, &extra);
    return finish(d, rc, extra, r);
}
