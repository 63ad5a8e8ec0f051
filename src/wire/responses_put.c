/* responses_put.c: messages, tools and settings of a request in the words of /v1/responses: for a
 * request to a provider (responses_enc.c), for the answer that shows them again (responses_out.c),
 * and for the input items that are kept for later turns.
 *
 * What changes its form on the way from another dialect: a message's parts become items in their
 * order, so results inside a user's message stand before or behind it; a failed result says so in
 * its text; signatures, which only their issuer can read, stay behind, and so do cache marks and
 * the names of those who speak. */
#include "responses_int.h"

#include <stdio.h>

struct put {
    struct enc *x;
    const char *id; /* NULL: a request's items, which have none */
    const json_t *extra;
    const struct gen_msg *msgs; /* all of them */
    size_t nmsgs;
    size_t n;  /* items so far */
    bool open; /* a message whose content goes on */
    enum gen_role role;
};

static int unsupported(const struct put *p, const char *field)
{
    return enc_unsupported(p->x, field, "responses");
}

/* `{"type":…` and, of a kept item, its id and status. */
static void item_open(struct put *p, const char *type, const char *prefix, bool status)
{
    struct buf *b = p->x->b;
    char id[96];
    jw_open(b, '{');
    jw_str(b, "type", str_of(type));
    if (p->id) {
        snprintf(id, sizeof id, "%s_%si%zu", prefix, p->id, p->n);
        jw_str(b, "id", str_of(id));
        if (status)
            jw_str(b, "status", STR("completed"));
    }
    p->n++;
}

static void message_close(struct put *p)
{
    if (!p->open)
        return;
    jw_close(p->x->b, ']');
    jw_close(p->x->b, '}');
    p->open = false;
}

static void message_open(struct put *p)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant"};
    if (p->open)
        return;
    item_open(p, "message", "msg", true);
    jw_str(p->x->b, "role", str_of(roles[p->role]));
    jw_array(p->x->b, "content");
    p->open = true;
}

/* ---- content ---- */

static bool is_file_id(struct str url, struct str *id)
{
    struct str prefix = STR(WIRE_FILE_ID);
    if (!str_starts(url, prefix))
        return false;
    *id = str_n(url.p + prefix.n, url.n - prefix.n);
    return true;
}

static void put_data(struct buf *b, const char *key, const struct gen_part *p)
{
    struct buf url = BUF_INIT(WIRE_MAX_BODY);
    if (p->mime.n) {
        buf_puts(&url, "data:");
        buf_str_add(&url, p->mime);
        buf_puts(&url, ";base64,");
    }
    buf_str_add(&url, p->data);
    jw_str(b, key, buf_str(&url));
    b->failed |= buf_failed(&url);
    buf_done(&url);
}

static void put_image(struct put *t, const struct gen_part *p)
{
    struct buf *b = t->x->b;
    struct str id;
    jw_str(b, "type", STR("input_image"));
    if (is_file_id(p->url, &id))
        jw_str(b, "file_id", id);
    else if (p->url.n)
        jw_str(b, "image_url", p->url);
    else
        put_data(b, "image_url", p);
    if (p->name.n || t->id)
        jw_str(b, "detail", p->name.n ? p->name : STR("auto"));
}

static void put_document(struct put *t, const struct gen_part *p)
{
    struct buf *b = t->x->b;
    struct str id;
    jw_str(b, "type", STR("input_file"));
    if (p->text.p)
        jw_str(b, "filename", p->text);
    if (is_file_id(p->url, &id))
        jw_str(b, "file_id", id);
    else if (p->url.n)
        jw_str(b, "file_url", p->url);
    else
        put_data(b, "file_data", p);
}

static int put_content(struct put *t, const struct gen_part *p, bool output)
{
    struct buf *b = t->x->b;
    if (p->type == GEN_PART_AUDIO)
        return unsupported(t, "messages.content: audio");
    if (output && p->type != GEN_PART_TEXT)
        return unsupported(t, "messages.content: media of the assistant's");
    jw_open(b, '{');
    if (p->type == GEN_PART_IMAGE) {
        put_image(t, p);
    } else if (p->type == GEN_PART_DOCUMENT) {
        put_document(t, p);
    } else {
        jw_str(b, "type", output ? STR("output_text") : STR("input_text"));
        jw_str(b, "text", p->text);
        if (output && t->id) {
            jw_array(b, "annotations");
            jw_close(b, ']');
        }
    }
    jw_close(b, '}');
    return 0;
}

static bool is_content(const struct gen_part *p)
{
    return p->type == GEN_PART_TEXT || p->type == GEN_PART_IMAGE || p->type == GEN_PART_AUDIO ||
           p->type == GEN_PART_DOCUMENT;
}

/* ---- the assistant's ---- */

static void put_custom_input(struct buf *b, struct str args)
{
    struct buf text = BUF_INIT(WIRE_MAX_BODY);
    responses_put_input(args, &text);
    jw_str(b, "input", buf_str(&text));
    b->failed |= buf_failed(&text);
    buf_done(&text);
}

static void put_call(struct put *t, const struct gen_part *p)
{
    struct buf *b = t->x->b;
    struct responses_tool tool = responses_find_tool(t->extra, p->name);
    item_open(t, tool.custom ? "custom_tool_call" : "function_call", tool.custom ? "ctc" : "fc",
              true);
    jw_str(b, "call_id", p->id);
    if (tool.space.n)
        jw_str(b, "namespace", tool.space);
    jw_str(b, "name", tool.name);
    if (tool.custom)
        put_custom_input(b, p->args);
    else
        jw_str(b, "arguments", p->args);
    jw_close(b, '}');
}

static void put_texts(struct buf *b, const char *key, const char *type, struct str text, bool any)
{
    jw_array(b, key);
    if (any) {
        jw_open(b, '{');
        jw_str(b, "type", str_of(type));
        jw_str(b, "text", text);
        jw_close(b, '}');
    }
    jw_close(b, ']');
}

static void put_reasoning(struct put *t, const struct gen_part *p)
{
    struct buf *b = t->x->b;
    bool text = p->type == GEN_PART_REASONING, summary = str_is(p->name, RESPONSES_SUMMARY);
    bool sealed = p->opaque.p && t->x->req->dialect == GEN_DIALECT_RESPONSES;
    if (!sealed && (!text || t->x->q->no_reasoning))
        return;
    item_open(t, "reasoning", "rs", false);
    put_texts(b, "summary", "summary_text", p->text, text && summary);
    if (text && !summary)
        put_texts(b, "content", "reasoning_text", p->text, true);
    if (sealed)
        jw_str(b, "encrypted_content", p->opaque);
    jw_close(b, '}');
}

static int put_opaque(struct put *t, const struct gen_part *p)
{
    struct buf *b = t->x->b;
    if (t->x->req->dialect != GEN_DIALECT_RESPONSES)
        return 0;
    if (!p->name.n) {
        put_reasoning(t, p);
        return 0;
    }
    if (!str_is(p->name, RESPONSES_REFERENCE))
        return unsupported(t, "messages: a block of another dialect");
    jw_open(b, '{');
    jw_str(b, "type", STR(RESPONSES_REFERENCE));
    jw_str(b, "id", p->id);
    jw_close(b, '}');
    t->n++;
    return 0;
}

/* ---- results ---- */

static void put_result_text(struct buf *b, const struct gen_part *p)
{
    struct buf t = BUF_INIT(WIRE_MAX_BODY);
    if (p->is_error && !str_istarts(p->text, STR("error")))
        buf_puts(&t, "Error: ");
    buf_str_add(&t, p->text);
    buf_json_str(b, buf_str(&t));
    b->failed |= buf_failed(&t);
    buf_done(&t);
}

/* Media that follow with the call's id stand inside its result. */
static size_t count_media(const struct gen_msg *m, size_t at)
{
    size_t n = 0;
    while (at + n + 1 < m->nparts && is_content(&m->parts[at + n + 1]) &&
           m->parts[at + n + 1].id.n && str_eq(m->parts[at + n + 1].id, m->parts[at].id))
        n++;
    return n;
}

/* Does the result's call go to a custom tool? */
static bool is_custom_result(const struct put *t, struct str id)
{
    if (!json_object_get(t->extra, "tools"))
        return false;
    for (size_t i = 0; i < t->nmsgs; i++) {
        const struct gen_msg *m = &t->msgs[i];
        for (size_t k = 0; k < m->nparts; k++)
            if (m->parts[k].type == GEN_PART_TOOL_CALL && str_eq(m->parts[k].id, id))
                return responses_find_tool(t->extra, m->parts[k].name).custom;
    }
    return false;
}

static int put_result(struct put *t, const struct gen_part *p, size_t nmedia)
{
    struct buf *b = t->x->b;
    bool custom = is_custom_result(t, p->id);
    item_open(t, custom ? "custom_tool_call_output" : "function_call_output",
              custom ? "ctco" : "fco", true);
    jw_str(b, "call_id", p->id);
    if (!nmedia) {
        jw_key(b, "output");
        put_result_text(b, p);
        jw_close(b, '}');
        return 0;
    }
    jw_array(b, "output");
    if (p->text.n) {
        jw_open(b, '{');
        jw_str(b, "type", STR("input_text"));
        jw_key(b, "text");
        put_result_text(b, p);
        jw_close(b, '}');
    }
    for (size_t i = 1; i <= nmedia; i++) {
        int rc = put_content(t, p + i, false);
        if (rc)
            return rc;
    }
    jw_close(b, ']');
    jw_close(b, '}');
    return 0;
}

/* ---- messages ---- */

static int check_part(const struct put *t, const struct gen_part *p)
{
    bool assistant = p->type == GEN_PART_TOOL_CALL || p->type == GEN_PART_REASONING ||
                     p->type == GEN_PART_OPAQUE;
    if (assistant && t->role != GEN_ASSISTANT)
        return unsupported(t, "messages: a call or reasoning outside an assistant's message");
    if (p->type == GEN_PART_TOOL_RESULT && t->role != GEN_TOOL && t->role != GEN_USER)
        return unsupported(t, "messages: a tool's result in this role");
    if (is_content(p) && t->role == GEN_TOOL)
        return unsupported(t, "messages: content beside a tool's result");
    if (is_content(p) && p->id.n)
        return unsupported(t, "messages: media apart from their tool's result");
    return 0;
}

static int put_part(struct put *t, const struct gen_msg *m, size_t *at)
{
    const struct gen_part *p = &m->parts[*at];
    int rc = check_part(t, p);
    if (rc)
        return rc;
    if (is_content(p)) {
        message_open(t);
        return put_content(t, p, t->role == GEN_ASSISTANT);
    }
    message_close(t);
    switch (p->type) {
    case GEN_PART_TOOL_CALL: put_call(t, p); return 0;
    case GEN_PART_REASONING: put_reasoning(t, p); return 0;
    case GEN_PART_OPAQUE: return put_opaque(t, p);
    case GEN_PART_TOOL_RESULT: {
        size_t media = count_media(m, *at);
        *at += media;
        return put_result(t, p, media);
    }
    default: return unsupported(t, "messages.content: this part");
    }
}

int responses_put_items(struct enc *x, const json_t *extra, const struct gen_msg *msgs, size_t n,
                        const char *id)
{
    struct put t = {.x = x, .id = id, .extra = extra, .msgs = msgs, .nmsgs = n};
    for (size_t i = 0; i < n; i++) {
        const struct gen_msg *m = &msgs[i];
        t.role = m->role;
        if (m->nparts == 0 && m->role != GEN_TOOL)
            message_open(&t);
        for (size_t k = 0; k < m->nparts; k++) {
            int rc = put_part(&t, m, &k);
            if (rc)
                return rc;
        }
        message_close(&t);
    }
    return 0;
}

bool responses_has_instructions(const struct gen_req *r, const json_t *extra)
{
    const struct gen_msg *m = r->msgs;
    return json_is_string(json_object_get(extra, "instructions")) && r->nmsgs &&
           m->role == GEN_SYSTEM && m->nparts == 1 && m->parts[0].type == GEN_PART_TEXT;
}

/* ---- tools ---- */

static int put_tool(struct enc *x, const struct gen_tool *t, bool whole)
{
    struct buf *b = x->b;
    int rc = 0;
    jw_open(b, '{');
    jw_str(b, "type", STR("function"));
    jw_str(b, "name", t->name);
    if (t->description.p)
        jw_str(b, "description", t->description);
    else if (whole)
        jw_null(b, "description");
    if (t->schema.n)
        rc = enc_raw(x, "parameters", t->schema, true, "tools.parameters");
    else if (whole)
        jw_null(b, "parameters");
    /* The dialect's own default is to keep to the schema strictly, others' is not to. */
    jw_bool(b, "strict", t->strict);
    jw_close(b, '}');
    return rc;
}

/* A tool as it came, which gen may have no word for (responses_tools.c) or the request itself does
 * not offer (allowed_tools). An answer shows all that the document demands of a function. */
static int put_kept_tool(struct enc *x, const json_t *tool, bool whole)
{
    static const char *const keys[] = {"description", "parameters"};
    struct buf *b = x->b;
    json_t *all = json_copy((json_t *)(uintptr_t)tool);
    bool bad = !all;
    if (!bad && whole && str_is(wire_json_get_str(all, "type"), "function")) {
        for (size_t i = 0; i < 2; i++)
            if (!json_object_get(all, keys[i]))
                bad |= json_object_set_new(all, keys[i], json_null()) != 0;
        if (!json_is_boolean(json_object_get(all, "strict")))
            bad |= json_object_set_new(all, "strict", json_false()) != 0;
    }
    if (!bad && b->n && b->p[b->n - 1] != '[')
        buf_putc(b, ',');
    if (!bad)
        wire_json_dump(all, b);
    json_decref(all);
    return bad ? err_set(x->e, ERR_NOMEM, "out of memory for the tools") : 0;
}

int responses_put_tools(struct enc *x, const json_t *extra, bool whole)
{
    const struct gen_req *r = x->req;
    const json_t *kept = json_object_get(extra, "tools");
    int rc = 0;
    if (!whole && !r->ntools && !json_array_size(kept))
        return 0;
    jw_array(x->b, whole ? "tools" : enc_top(x, "tools"));
    for (size_t i = 0; i < json_array_size(kept) && !rc; i++)
        rc = put_kept_tool(x, json_array_get(kept, i), whole);
    for (size_t i = 0; i < r->ntools && !kept && !rc; i++)
        rc = put_tool(x, &r->tools[i], whole);
    jw_close(x->b, ']');
    return rc;
}

void responses_put_choice(struct enc *x, const json_t *extra, bool whole)
{
    static const char *const words[] = {"auto", "auto", "none", "required"};
    const struct gen_req *r = x->req;
    const json_t *kept = json_object_get(extra, "tool_choice");
    if (!whole && !kept && r->tool_choice == GEN_CHOICE_UNSET)
        return;
    jw_key(x->b, whole ? "tool_choice" : enc_top(x, "tool_choice"));
    if (kept) {
        wire_json_dump(kept, x->b);
    } else if (r->tool_choice == GEN_CHOICE_NAMED) {
        jw_open(x->b, '{');
        jw_str(x->b, "type", STR("function"));
        jw_str(x->b, "name", r->tool_choice_name);
        jw_close(x->b, '}');
    } else {
        buf_json_str(x->b, str_of(words[r->tool_choice]));
    }
}

/* ---- text and reasoning ---- */

static int put_format(struct enc *x, const json_t *rest)
{
    const struct gen_req *r = x->req;
    struct buf *b = x->b;
    static const char *const types[] = {"text", "json_object", "json_schema"};
    int rc = 0;
    jw_object(b, "format");
    jw_str(b, "type", str_of(types[r->format]));
    if (r->format == GEN_FORMAT_SCHEMA) {
        struct str why = wire_json_get_str(rest, "description");
        /* The dialect demands a name; other dialects' schemas have none. */
        jw_str(b, "name", r->schema_name.n ? r->schema_name : STR("answer"));
        if (why.p)
            jw_str(b, "description", why);
        rc = enc_raw(x, "schema", r->schema, true, "text.format.schema");
        jw_bool(b, "strict", r->schema_strict);
    }
    jw_close(b, '}');
    return rc;
}

int responses_put_text(struct enc *x, const json_t *extra, bool whole)
{
    const json_t *rest = json_object_get(extra, "text");
    struct str verbosity = wire_json_get_str(rest, "verbosity");
    int rc = 0;
    if (!whole && !verbosity.p && x->req->format == GEN_FORMAT_TEXT)
        return 0;
    jw_object(x->b, whole ? "text" : enc_top(x, "text"));
    if (whole || x->req->format != GEN_FORMAT_TEXT)
        rc = put_format(x, rest);
    if (verbosity.p)
        jw_str(x->b, "verbosity", verbosity);
    jw_close(x->b, '}');
    return rc;
}

static enum gen_effort effort_of(const struct gen_req *r)
{
    int64_t budget = r->thinking_budget;
    if (r->effort != GEN_EFFORT_UNSET || budget <= 0)
        return r->effort;
    return budget < 4096 ? GEN_EFFORT_LOW : budget < 16384 ? GEN_EFFORT_MEDIUM : GEN_EFFORT_HIGH;
}

void responses_put_reasoning(struct enc *x, const json_t *extra, bool whole)
{
    static const char *const words[] = {"", "none", "low", "medium", "high"};
    const json_t *kept = json_object_get(extra, "reasoning");
    enum gen_effort effort = effort_of(x->req);
    struct str s = kept ? wire_json_get_str(kept, "effort") : str_of(words[effort]);
    struct str summary = wire_json_get_str(kept, "summary");
    if (!whole && kept) {
        jw_key(x->b, enc_top(x, "reasoning"));
        wire_json_dump(kept, x->b);
        return;
    }
    if (!whole && !s.n)
        return;
    jw_object(x->b, whole ? "reasoning" : enc_top(x, "reasoning"));
    if (s.n)
        jw_str(x->b, "effort", s);
    else
        jw_null(x->b, "effort");
    if (summary.p)
        jw_str(x->b, "summary", summary);
    else if (whole)
        jw_null(x->b, "summary");
    jw_close(x->b, '}');
}
