/* ollama_enc.c: encodes a gen_req as the body of POST /api/chat or POST /api/generate, for an
 * Ollama server. Refuses, naming the field, what the dialect has no place for; /api/generate
 * carries of chats only a system's text and one user's message.
 *
 * What changes its form on the way from another dialect: texts of one message are joined, images go
 * before them; a developer is a system; tool results inside a user's message become messages of
 * role tool before it, and a failed one says so in its text; a thinking budget becomes an effort;
 * tool_choice "none" is a request without tools. Left behind are signatures, cache marks, `strict`
 * of tools and the caller's `user`, which change nothing that this dialect's servers do. */
#include "ollama_int.h"

static const char *const roles[] = {"system", "system", "user", "assistant", "tool"};

/* ---- messages ---- */

static bool is_media(const struct gen_part *p)
{
    return p->type == GEN_PART_IMAGE || p->type == GEN_PART_AUDIO;
}

/* The parts of one type as one string. False: there is none. */
static bool join(const struct gen_msg *m, enum gen_part_type type, struct buf *all)
{
    bool any = false;
    for (size_t i = 0; i < m->nparts; i++) {
        if (m->parts[i].type != type)
            continue;
        any = true;
        buf_str_add(all, m->parts[i].text);
    }
    return any;
}

static int check_part(struct enc *x, const struct gen_msg *m, const struct gen_part *p)
{
    bool assistant = p->type == GEN_PART_TOOL_CALL || p->type == GEN_PART_REASONING;
    if (assistant && m->role != GEN_ASSISTANT)
        return enc_unsupported(x, "messages: a call or reasoning outside an assistant's message",
                               "ollama");
    if (p->type == GEN_PART_TOOL_RESULT && m->role != GEN_TOOL && m->role != GEN_USER)
        return enc_unsupported(x, "messages: a tool's result in this role", "ollama");
    if (p->type == GEN_PART_TEXT && m->role == GEN_TOOL)
        return enc_unsupported(x, "messages: content beside a tool's result", "ollama");
    if (is_media(p) && !p->data.n)
        return enc_unsupported(x, "messages.images: an image that is not inline", "ollama");
    if (is_media(p) && !ollama_is_base64(p->data))
        return enc_unsupported(x, "messages.images: what is not base64", "ollama");
    if (p->type == GEN_PART_AUDIO && !str_is(p->mime, "audio/wav") &&
        !str_is(p->mime, "audio/mpeg"))
        return enc_unsupported(x, "messages.images: audio that is not WAV or MP3", "ollama");
    if (p->type == GEN_PART_DOCUMENT)
        return enc_unsupported(x, "messages.content: a document", "ollama");
    if (p->type == GEN_PART_TOKENS)
        return enc_unsupported(x, "messages.content: tokens", "ollama");
    if (p->type == GEN_PART_OPAQUE && p->name.n)
        return enc_unsupported(x, "messages.content: another dialect's own block", "ollama");
    return 0;
}

static int check_message(struct enc *x, const struct gen_msg *m)
{
    if (m->name.n)
        return enc_unsupported(x, "messages.name", "ollama");
    for (size_t i = 0; i < m->nparts; i++) {
        int rc = check_part(x, m, &m->parts[i]);
        if (rc)
            return rc;
    }
    return 0;
}

/* Those of a tool's result when id is given, the message's own otherwise. */
static void put_images(struct enc *x, const struct gen_msg *m, struct str id)
{
    bool open = false;
    for (size_t i = 0; i < m->nparts; i++) {
        const struct gen_part *p = &m->parts[i];
        if (!is_media(p) || (id.n ? !str_eq(p->id, id) : p->id.n > 0))
            continue;
        if (!open)
            jw_array(x->b, "images");
        open = true;
        jw_item(x->b, p->data);
    }
    if (open)
        jw_close(x->b, ']');
}

static int put_calls(struct enc *x, const struct gen_msg *m)
{
    int64_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < m->nparts && !rc; i++) {
        const struct gen_part *p = &m->parts[i];
        if (p->type != GEN_PART_TOOL_CALL)
            continue;
        if (!n)
            jw_array(x->b, "tool_calls");
        jw_open(x->b, '{');
        if (p->id.n)
            jw_str(x->b, "id", p->id);
        jw_object(x->b, "function");
        jw_int(x->b, "index", n++);
        jw_str(x->b, "name", p->name);
        rc = enc_raw(x, "arguments", p->args, true, "messages.tool_calls.function.arguments");
        jw_close(x->b, '}');
        jw_close(x->b, '}');
    }
    if (n)
        jw_close(x->b, ']');
    return n > WIRE_MAX_TOOLS ? enc_unsupported(x, "messages.tool_calls: so many", "ollama") : rc;
}

/* The name of the call with this id, in the messages before `at`. */
static struct str name_of_call(const struct gen_req *r, size_t at, struct str id)
{
    for (size_t i = at; i-- > 0;) {
        const struct gen_msg *m = &r->msgs[i];
        for (size_t k = 0; m->role == GEN_ASSISTANT && k < m->nparts; k++) {
            if (m->parts[k].type == GEN_PART_TOOL_CALL && str_eq(m->parts[k].id, id))
                return m->parts[k].name;
        }
    }
    return STR_NONE;
}

static void put_result(struct enc *x, size_t at, const struct gen_part *p)
{
    struct str name = p->name.n ? p->name : name_of_call(x->req, at, p->id);
    jw_open(x->b, '{');
    jw_str(x->b, "role", STR("tool"));
    if (p->is_error && !str_istarts(p->text, STR("error"))) {
        struct buf t = BUF_INIT(WIRE_MAX_BODY);
        buf_puts(&t, "Error: ");
        buf_str_add(&t, p->text);
        jw_str(x->b, "content", buf_str(&t));
        x->b->failed |= buf_failed(&t);
        buf_done(&t);
    } else
        jw_str(x->b, "content", p->text);
    put_images(x, &x->req->msgs[at], p->id.n ? p->id : STR("-"));
    if (name.n)
        jw_str(x->b, "tool_name", name);
    if (p->id.n)
        jw_str(x->b, "tool_call_id", p->id);
    jw_close(x->b, '}');
}

/* What is in a message beside tool results. */
static int put_rest(struct enc *x, const struct gen_msg *m)
{
    struct buf text = BUF_INIT(WIRE_MAX_BODY);
    jw_open(x->b, '{');
    jw_str(x->b, "role", str_of(roles[m->role]));
    join(m, GEN_PART_TEXT, &text);
    jw_str(x->b, "content", buf_str(&text));
    x->b->failed |= buf_failed(&text);
    buf_clear(&text);
    if (join(m, GEN_PART_REASONING, &text))
        jw_str(x->b, "thinking", buf_str(&text));
    x->b->failed |= buf_failed(&text);
    buf_done(&text);
    put_images(x, m, STR_NONE);
    int rc = put_calls(x, m);
    jw_close(x->b, '}');
    return rc;
}

static int put_message(struct enc *x, size_t at)
{
    const struct gen_msg *m = &x->req->msgs[at];
    size_t results = 0, media = 0;
    int rc = check_message(x, m);
    if (rc)
        return rc;
    for (size_t i = 0; i < m->nparts; i++) {
        const struct gen_part *p = &m->parts[i];
        media += is_media(p) && p->id.n; /* in a result */
        if (p->type != GEN_PART_TOOL_RESULT)
            continue;
        results++;
        put_result(x, at, p);
    }
    return results && results + media == m->nparts ? 0 : put_rest(x, m);
}

/* ---- tools ---- */

static int put_tools(struct enc *x)
{
    const struct gen_req *r = x->req;
    int rc = 0;
    if (r->tool_choice == GEN_CHOICE_REQUIRED || r->tool_choice == GEN_CHOICE_NAMED)
        return enc_unsupported(x, "tool_choice", "ollama");
    if (r->ntools && r->parallel_tools == 0)
        return enc_unsupported(x, "parallel_tool_calls", "ollama");
    if (!r->ntools || r->tool_choice == GEN_CHOICE_NONE)
        return 0;
    jw_array(x->b, enc_top(x, "tools"));
    for (size_t i = 0; i < r->ntools && !rc; i++) {
        const struct gen_tool *t = &r->tools[i];
        jw_open(x->b, '{');
        jw_str(x->b, "type", STR("function"));
        jw_object(x->b, "function");
        jw_str(x->b, "name", t->name);
        if (t->description.p)
            jw_str(x->b, "description", t->description);
        if (t->schema.n)
            rc = enc_raw(x, "parameters", t->schema, true, "tools.function.parameters");
        jw_close(x->b, '}');
        jw_close(x->b, '}');
    }
    jw_close(x->b, ']');
    return rc;
}

/* ---- chat ---- */

static int chat_body(struct enc *x, struct str model, const json_t *extra)
{
    const struct gen_req *r = x->req;
    int rc = 0;
    if (r->tmpl.n)
        return enc_unsupported(x, "template", "ollama-chat");
    if (!r->nmsgs && !r->load_only) /* it would ask for something else */
        return enc_unsupported(x, "messages: none", "ollama-chat");
    jw_str(x->b, enc_top(x, "model"), model);
    jw_array(x->b, enc_top(x, "messages"));
    for (size_t i = 0; i < r->nmsgs && !rc; i++)
        rc = put_message(x, i);
    if (rc)
        return rc;
    jw_close(x->b, ']');
    if ((rc = put_tools(x)))
        return rc;
    if ((rc = ollama_encode_common(x, extra)))
        return rc;
    return enc_extra(x, extra, "tools");
}

static int encode(struct enc *x, struct str model,
                  int (*put)(struct enc *x, struct str model, const json_t *extra))
{
    json_t *extra = NULL;
    int rc = enc_extra_load(x, GEN_DIALECT_OLLAMA, &extra);
    if (rc)
        return rc;
    buf_putc(x->b, '{');
    rc = put(x, model, extra);
    buf_putc(x->b, '}');
    json_decref(extra);
    return rc;
}

int ollama_chat_encode(struct enc *x, struct str model)
{
    return encode(x, model, chat_body);
}

/* ---- generate ---- */

/* An empty prompt asks for something else: that the model be loaded. */
static int put_prompt(struct enc *x, struct str text)
{
    if (!text.n)
        return enc_unsupported(x, "prompt: an empty one", "ollama-generate");
    jw_str(x->b, enc_top(x, "prompt"), text);
    return 0;
}

static int put_turn(struct enc *x, const struct gen_msg *m)
{
    struct buf text = BUF_INIT(WIRE_MAX_BODY);
    int rc = check_message(x, m);
    for (size_t i = 0; i < m->nparts && !rc; i++) {
        if (m->parts[i].type != GEN_PART_TEXT && !is_media(&m->parts[i]))
            rc = enc_unsupported(x, "messages.content: this part", "ollama-generate");
        if (m->role != GEN_USER && is_media(&m->parts[i]))
            rc = enc_unsupported(x, "system: content that is not text", "ollama-generate");
    }
    join(m, GEN_PART_TEXT, &text);
    if (!rc && m->role == GEN_USER) {
        rc = put_prompt(x, buf_str(&text));
        enc_top(x, "images");
        put_images(x, m, STR_NONE);
    } else if (!rc && text.n)
        jw_str(x->b, enc_top(x, "system"), buf_str(&text));
    x->b->failed |= buf_failed(&text);
    buf_done(&text);
    return rc;
}

static int put_chat(struct enc *x)
{
    const struct gen_req *r = x->req;
    const struct gen_msg *last = r->nmsgs ? &r->msgs[r->nmsgs - 1] : NULL;
    bool system = r->nmsgs == 2 && r->msgs[0].role <= GEN_DEVELOPER;
    if (r->load_only) {
        jw_str(x->b, enc_top(x, "prompt"), STR(""));
        return 0;
    }
    if (!last || last->role != GEN_USER || r->nmsgs != 1 + (size_t)system)
        return enc_unsupported(x, "messages: other than a system's and one user's",
                               "ollama-generate");
    if (r->ntools)
        return enc_unsupported(x, "tools", "ollama-generate");
    int rc = system ? put_turn(x, &r->msgs[0]) : 0;
    if (!rc && r->tmpl.n)
        jw_str(x->b, enc_top(x, "template"), r->tmpl);
    return rc ? rc : put_turn(x, last);
}

static int put_bare(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->prompt_ids || r->prompt_pieces)
        return enc_unsupported(x, "prompt: tokens", "ollama-generate");
    if (r->nmore)
        return enc_unsupported(x, "prompt: more than one", "ollama-generate");
    if (r->echo)
        return enc_unsupported(x, "echo", "ollama-generate");
    if (r->nfiles)
        return enc_unsupported(x, "input_extra", "ollama-generate");
    int rc = put_prompt(x, r->prompt);
    if (rc)
        return rc;
    if (r->kind == GEN_RAW) {
        if (r->tmpl.n)
            return enc_unsupported(x, "template", "ollama-generate");
        jw_bool(x->b, enc_top(x, "raw"), true);
        return 0;
    }
    if (!r->suffix.n)
        return enc_unsupported(x, "suffix: an empty one", "ollama-generate");
    jw_str(x->b, enc_top(x, "suffix"), r->suffix);
    if (r->tmpl.n)
        jw_str(x->b, enc_top(x, "template"), r->tmpl);
    return 0;
}

/* A chat does not look at its `context`. */
static bool are_ids(const json_t *v)
{
    size_t i = 0, n = json_array_size(v);
    while (i < n && json_is_integer(json_array_get(v, i)))
        i++;
    return json_is_array(v) && i == n;
}

static int generate_body(struct enc *x, struct str model, const json_t *extra)
{
    /* Unknown in a chat, but not here. */
    static const char *const own[] = {"prompt", "suffix", "system", "template", "raw", "images"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        enc_top(x, own[i]);
    jw_str(x->b, enc_top(x, "model"), model);
    int rc = x->req->kind == GEN_CHAT ? put_chat(x) : put_bare(x);
    if (!rc)
        rc = ollama_encode_common(x, extra);
    /* Ids of an earlier answer and a bare prompt exclude each other. */
    bool drop = x->req->kind == GEN_RAW || !are_ids(json_object_get(extra, "context"));
    return rc ? rc : enc_extra(x, extra, drop ? "context" : "");
}

int ollama_generate_encode(struct enc *x, struct str model)
{
    return encode(x, model, generate_body);
}
