/* openai_enc.c: encodes a gen_req as the body of POST /v1/chat/completions, for a provider or
 * another server of this dialect. Refuses, naming the field, what the dialect has no place for.
 *
 * What changes its form on the way from another dialect: tool results inside a user's message
 * become messages of role tool before it; a failed result says so in its text; a thinking budget
 * becomes an effort; signatures, which only their issuer can read, stay behind, and so do a
 * caller's cache marks (this dialect's providers cache by themselves). */
#include "wire_int.h"

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};

/* ---- content parts ---- */

static bool is_file_id(struct str url, struct str *id)
{
    struct str prefix = STR(WIRE_FILE_ID);
    if (!str_starts(url, prefix))
        return false;
    *id = str_n(url.p + prefix.n, url.n - prefix.n);
    return true;
}

static void put_data_url(struct buf *b, const char *key, const struct gen_part *p)
{
    struct buf url = BUF_INIT(WIRE_MAX_BODY);
    if (p->url.n)
        buf_str_add(&url, p->url);
    else {
        buf_puts(&url, "data:");
        buf_str_add(&url, p->mime);
        buf_puts(&url, ";base64,");
        buf_str_add(&url, p->data);
    }
    jw_str(b, key, buf_str(&url));
    b->failed |= buf_failed(&url);
    buf_done(&url);
}

static int put_image(struct enc *x, const struct gen_part *p)
{
    struct str id;
    if (is_file_id(p->url, &id))
        return enc_unsupported(x, "messages.content: an image by file id", "openai");
    jw_str(x->b, "type", STR("image_url"));
    jw_object(x->b, "image_url");
    put_data_url(x->b, "url", p);
    if (p->name.n)
        jw_str(x->b, "detail", p->name);
    jw_close(x->b, '}');
    return 0;
}

static int put_audio(struct enc *x, const struct gen_part *p)
{
    struct str head, format;
    if (!str_cut(p->mime, '/', &head, &format) || !str_is(head, "audio") || !p->data.p)
        return enc_unsupported(x, "messages.content: audio that is not inline", "openai");
    if (str_is(format, "mpeg"))
        format = STR("mp3");
    jw_str(x->b, "type", STR("input_audio"));
    jw_object(x->b, "input_audio");
    jw_str(x->b, "data", p->data);
    jw_str(x->b, "format", format);
    jw_close(x->b, '}');
    return 0;
}

static int put_document(struct enc *x, const struct gen_part *p)
{
    struct str id;
    jw_str(x->b, "type", STR("file"));
    jw_object(x->b, "file");
    if (p->text.p)
        jw_str(x->b, "filename", p->text);
    if (is_file_id(p->url, &id))
        jw_str(x->b, "file_id", id);
    else
        put_data_url(x->b, "file_data", p);
    jw_close(x->b, '}');
    return 0;
}

static int put_part(struct enc *x, const struct gen_part *p)
{
    int rc = 0;
    jw_open(x->b, '{');
    switch (p->type) {
    case GEN_PART_TEXT:
        jw_str(x->b, "type", STR("text"));
        jw_str(x->b, "text", p->text);
        break;
    case GEN_PART_IMAGE: rc = put_image(x, p); break;
    case GEN_PART_AUDIO: rc = put_audio(x, p); break;
    case GEN_PART_DOCUMENT: rc = put_document(x, p); break;
    default: rc = enc_unsupported(x, "messages.content: this part in this role", "openai");
    }
    if (p->cache_mark && x->req->dialect == GEN_DIALECT_OPENAI) {
        jw_object(x->b, "cache_control");
        jw_str(x->b, "type", STR("ephemeral"));
        jw_close(x->b, '}');
    }
    jw_close(x->b, '}');
    return rc;
}

static bool is_content(const struct gen_part *p)
{
    return p->type == GEN_PART_TEXT || p->type == GEN_PART_IMAGE || p->type == GEN_PART_AUDIO ||
           p->type == GEN_PART_DOCUMENT;
}

/* ---- messages ---- */

static int put_content(struct enc *x, const struct gen_msg *m)
{
    const struct gen_part *only = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->nparts; i++) {
        if (is_content(&m->parts[i])) {
            only = &m->parts[i];
            n++;
        }
    }
    bool marked = n == 1 && only->cache_mark && x->req->dialect == GEN_DIALECT_OPENAI;
    if (n == 0 && m->role == GEN_ASSISTANT)
        jw_null(x->b, "content");
    else if (n == 1 && only->type == GEN_PART_TEXT && !marked)
        jw_str(x->b, "content", only->text);
    else {
        jw_array(x->b, "content");
        for (size_t i = 0; i < m->nparts; i++) {
            int rc = is_content(&m->parts[i]) ? put_part(x, &m->parts[i]) : 0;
            if (rc)
                return rc;
        }
        jw_close(x->b, ']');
    }
    return 0;
}

static void put_tool_call(struct buf *b, const struct gen_part *p)
{
    jw_open(b, '{');
    jw_str(b, "id", p->id);
    jw_str(b, "type", STR("function"));
    jw_object(b, "function");
    jw_str(b, "name", p->name);
    jw_str(b, "arguments", p->args);
    jw_close(b, '}');
    jw_close(b, '}');
}

static void put_tool_calls(struct enc *x, const struct gen_msg *m)
{
    bool open = false;
    for (size_t i = 0; i < m->nparts; i++) {
        if (m->parts[i].type != GEN_PART_TOOL_CALL)
            continue;
        if (!open)
            jw_array(x->b, "tool_calls");
        open = true;
        put_tool_call(x->b, &m->parts[i]);
    }
    if (open)
        jw_close(x->b, ']');
}

/* Reasoning of several parts is joined; a provider of another dialect's signature is left out. */
static int put_reasoning(struct enc *x, const struct gen_msg *m)
{
    struct buf all = BUF_INIT(WIRE_MAX_BODY);
    bool any = false;
    for (size_t i = 0; i < m->nparts; i++) {
        const struct gen_part *p = &m->parts[i];
        if (p->type == GEN_PART_OPAQUE || (p->type == GEN_PART_REASONING && p->opaque.n)) {
            if (x->req->dialect == GEN_DIALECT_OPENAI) {
                buf_done(&all);
                return enc_unsupported(x, "messages: signed reasoning", "openai");
            }
        }
        if (p->type != GEN_PART_REASONING)
            continue;
        any = true;
        buf_str_add(&all, p->text);
    }
    if (any && !x->q->no_reasoning)
        jw_str(x->b, "reasoning_content", buf_str(&all));
    x->b->failed |= buf_failed(&all);
    buf_done(&all);
    return 0;
}

static int put_result(struct enc *x, const struct gen_part *p, struct str name)
{
    jw_open(x->b, '{');
    jw_str(x->b, "role", STR("tool"));
    jw_str(x->b, "tool_call_id", p->id);
    if (name.n)
        jw_str(x->b, "name", name);
    jw_key(x->b, "content");
    if (p->is_error && !str_istarts(p->text, STR("error"))) {
        struct buf t = BUF_INIT(WIRE_MAX_BODY);
        buf_puts(&t, "Error: ");
        buf_str_add(&t, p->text);
        buf_json_str(x->b, buf_str(&t));
        x->b->failed |= buf_failed(&t);
        buf_done(&t);
    } else
        buf_json_str(x->b, p->text);
    jw_close(x->b, '}');
    return 0;
}

static int check_parts(struct enc *x, const struct gen_msg *m)
{
    for (size_t i = 0; i < m->nparts; i++) {
        const struct gen_part *p = &m->parts[i];
        bool assistant = p->type == GEN_PART_TOOL_CALL || p->type == GEN_PART_REASONING ||
                         p->type == GEN_PART_OPAQUE;
        if (assistant && m->role != GEN_ASSISTANT)
            return enc_unsupported(
                x, "messages: a call or reasoning outside an assistant's message", "openai");
        if (p->type == GEN_PART_TOOL_RESULT && m->role != GEN_TOOL && m->role != GEN_USER)
            return enc_unsupported(x, "messages: a tool's result in this role", "openai");
        if (is_content(p) && m->role == GEN_TOOL)
            return enc_unsupported(x, "messages: content beside a tool's result", "openai");
        /* Media with an id stand inside a tool's result (see anthropic_req.c). */
        if (is_content(p) && p->id.n)
            return enc_unsupported(x, "messages: media in a tool's result", "openai");
    }
    return 0;
}

static int put_message(struct enc *x, const struct gen_msg *m)
{
    size_t results = 0;
    int rc = check_parts(x, m);
    if (rc)
        return rc;
    for (size_t i = 0; i < m->nparts; i++) {
        if (m->parts[i].type == GEN_PART_TOOL_RESULT) {
            put_result(x, &m->parts[i], m->role == GEN_TOOL ? m->name : STR_NONE);
            results++;
        }
    }
    if (m->role == GEN_TOOL || (results && results == m->nparts))
        return results ? 0
                       : enc_unsupported(x, "messages: a tool's message without result", "openai");
    jw_open(x->b, '{');
    jw_str(x->b, "role", str_of(roles[m->role]));
    if (m->name.n)
        jw_str(x->b, "name", m->name);
    if (m->role == GEN_ASSISTANT && (rc = put_reasoning(x, m)))
        return rc;
    if ((rc = put_content(x, m)))
        return rc;
    put_tool_calls(x, m);
    jw_close(x->b, '}');
    return 0;
}

/* ---- tools ---- */

static int put_tool(struct enc *x, const struct gen_tool *t)
{
    int rc = 0;
    jw_open(x->b, '{');
    jw_str(x->b, "type", STR("function"));
    jw_object(x->b, "function");
    jw_str(x->b, "name", t->name);
    if (t->description.p)
        jw_str(x->b, "description", t->description);
    if (t->schema.n)
        rc = enc_raw(x, "parameters", t->schema, true, "tools.function.parameters");
    if (t->strict)
        jw_bool(x->b, "strict", true);
    jw_close(x->b, '}');
    jw_close(x->b, '}');
    return rc;
}

static int put_tools(struct enc *x, const json_t *extra)
{
    const struct gen_req *r = x->req;
    const json_t *foreign = json_object_get(extra, "tools");
    if (!r->ntools && !json_array_size(foreign))
        return 0;
    jw_array(x->b, enc_top(x, "tools"));
    for (size_t i = 0; i < r->ntools; i++) {
        int rc = put_tool(x, &r->tools[i]);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < json_array_size(foreign); i++) {
        if (x->b->n && x->b->p[x->b->n - 1] != '[')
            buf_putc(x->b, ',');
        wire_json_dump(json_array_get(foreign, i), x->b);
    }
    jw_close(x->b, ']');
    return 0;
}

static void put_choice(struct enc *x)
{
    static const char *const words[] = {"", "auto", "none", "required"};
    const struct gen_req *r = x->req;
    if (r->tool_choice == GEN_CHOICE_NAMED) {
        jw_object(x->b, enc_top(x, "tool_choice"));
        jw_str(x->b, "type", STR("function"));
        jw_object(x->b, "function");
        jw_str(x->b, "name", r->tool_choice_name);
        jw_close(x->b, '}');
        jw_close(x->b, '}');
    } else if (r->tool_choice != GEN_CHOICE_UNSET)
        jw_str(x->b, enc_top(x, "tool_choice"), str_of(words[r->tool_choice]));
    if (r->parallel_tools >= 0)
        jw_bool(x->b, enc_top(x, "parallel_tool_calls"), r->parallel_tools);
}

/* ---- the rest ---- */

/* Words of the caller's own for it are replayed instead (effort.c). */
static bool has_own_effort(const json_t *extra)
{
    static const char *const keys[] = {"reasoning_effort",
                                       "reasoning",
                                       "thinking",
                                       "think",
                                       "enable_thinking",
                                       "chat_template_kwargs",
                                       "reasoning_budget_tokens"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (json_object_get(extra, keys[i]))
            return true;
    }
    return false;
}

static void put_effort(struct enc *x, const json_t *extra)
{
    static const char *const words[] = {"", "none", "low", "medium", "high"};
    enum gen_effort effort = x->req->effort;
    int64_t budget = x->req->thinking_budget;
    if (effort == GEN_EFFORT_UNSET && budget > 0)
        effort = budget < 4096    ? GEN_EFFORT_LOW
                 : budget < 16384 ? GEN_EFFORT_MEDIUM
                                  : GEN_EFFORT_HIGH;
    if (effort != GEN_EFFORT_UNSET && !has_own_effort(extra))
        jw_str(x->b, enc_top(x, "reasoning_effort"), str_of(words[effort]));
}

static void put_limits(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->max_tokens)
        jw_int(x->b, enc_top(x, x->q->max_tokens_old ? "max_tokens" : "max_completion_tokens"),
               r->max_tokens);
    if (r->nstops) {
        jw_array(x->b, enc_top(x, "stop"));
        for (size_t i = 0; i < r->nstops; i++)
            jw_item(x->b, r->stops[i]);
        jw_close(x->b, ']');
    }
    if (r->n > 1)
        jw_int(x->b, enc_top(x, "n"), r->n);
    if (r->logprobs)
        jw_bool(x->b, enc_top(x, "logprobs"), true);
    if (r->top_logprobs)
        jw_int(x->b, enc_top(x, "top_logprobs"), r->top_logprobs);
    enc_stream(x);
    if (r->user.p)
        jw_str(x->b, enc_top(x, "user"), r->user);
}

static int put_body(struct enc *x, struct str model, const json_t *extra)
{
    const struct gen_req *r = x->req;
    int rc = 0;
    jw_str(x->b, enc_top(x, "model"), model);
    jw_array(x->b, enc_top(x, "messages"));
    for (size_t i = 0; i < r->nmsgs && !rc; i++)
        rc = put_message(x, &r->msgs[i]);
    if (rc)
        return rc;
    jw_close(x->b, ']');
    if ((rc = put_tools(x, extra)))
        return rc;
    put_choice(x);
    if ((rc = enc_sampling(x)))
        return rc;
    put_limits(x);
    put_effort(x, extra);
    if ((rc = enc_format(x)))
        return rc;
    return enc_extra(x, extra, "tools");
}

int openai_encode(struct enc *x, struct str model)
{
    json_t *extra = NULL;
    int rc = enc_extra_load(x, GEN_DIALECT_OPENAI, &extra);
    if (rc)
        return rc;
    buf_putc(x->b, '{');
    rc = put_body(x, model, extra);
    buf_putc(x->b, '}');
    json_decref(extra);
    return rc;
}
