/* anthropic_enc.c: encodes a gen_req as the body of POST /v1/messages. Refuses, naming the field,
 * what the dialect has no place for (seed, n, log-probabilities, audio, ...).
 *
 * What changes its form on the way from another dialect: system and developer messages, wherever
 * they stand, become `system` (this dialect's own stay where they are); messages of role tool
 * become one user's message of tool results; reasoning without this dialect's signature, which it
 * would refuse, is left out, and so are empty texts beside other content. */
#include "wire_int.h"

enum { MAX_TOKENS = 4096, MARGIN = 4096, MIN_BUDGET = 1024 };

static void put_mark(struct buf *b, bool mark)
{
    if (!mark)
        return;
    jw_object(b, "cache_control");
    jw_str(b, "type", STR("ephemeral"));
    jw_close(b, '}');
}

/* ---- blocks ---- */

static void put_text(struct buf *b, struct str text, bool mark)
{
    jw_open(b, '{');
    jw_str(b, "type", STR("text"));
    jw_str(b, "text", text);
    put_mark(b, mark);
    jw_close(b, '}');
}

static void put_source(struct buf *b, const struct gen_part *p)
{
    struct str prefix = STR(WIRE_FILE_ID);
    jw_object(b, "source");
    if (str_starts(p->url, prefix)) {
        jw_str(b, "type", STR("file"));
        jw_str(b, "file_id", str_n(p->url.p + prefix.n, p->url.n - prefix.n));
    } else if (p->url.n) {
        jw_str(b, "type", STR("url"));
        jw_str(b, "url", p->url);
    } else {
        jw_str(b, "type", STR("base64"));
        jw_str(b, "media_type", p->mime);
        jw_str(b, "data", p->data);
    }
    jw_close(b, '}');
}

static void put_media(struct buf *b, const struct gen_part *p)
{
    jw_open(b, '{');
    jw_str(b, "type", p->type == GEN_PART_IMAGE ? STR("image") : STR("document"));
    put_source(b, p);
    if (p->type == GEN_PART_DOCUMENT && p->text.p)
        jw_str(b, "title", p->text);
    put_mark(b, p->cache_mark);
    jw_close(b, '}');
}

static int put_raw(struct enc *x, const struct gen_part *p)
{
    json_t *v = NULL;
    struct err why;
    if (x->req->dialect != GEN_DIALECT_ANTHROPIC)
        return enc_unsupported(x, "messages.content: another dialect's own block", "anthropic");
    if (wire_json_load(p->text, &v, &why))
        return err_set(x->e, ERR_FORMAT, "messages.content: %s", why.msg);
    if (x->b->n && x->b->p[x->b->n - 1] != '[')
        buf_putc(x->b, ',');
    wire_json_dump(v, x->b);
    json_decref(v);
    return 0;
}

static int put_tool_use(struct enc *x, const struct gen_part *p)
{
    jw_open(x->b, '{');
    jw_str(x->b, "type", STR("tool_use"));
    jw_str(x->b, "id", p->id);
    jw_str(x->b, "name", p->name);
    int rc = enc_raw(x, "input", p->args, true, "messages.content: a tool call's arguments");
    put_mark(x->b, p->cache_mark);
    jw_close(x->b, '}');
    return rc;
}

static bool belongs(const struct gen_part *p, struct str call)
{
    bool nested = p->type == GEN_PART_TEXT || p->type == GEN_PART_IMAGE ||
                  p->type == GEN_PART_DOCUMENT || (p->type == GEN_PART_OPAQUE && p->name.n);
    return nested && p->id.n && str_eq(p->id, call);
}

static int put_content(struct enc *x, const struct gen_part *p)
{
    switch (p->type) {
    case GEN_PART_TEXT: put_text(x->b, p->text, p->cache_mark); return 0;
    case GEN_PART_IMAGE:
    case GEN_PART_DOCUMENT: put_media(x->b, p); return 0;
    case GEN_PART_OPAQUE:
        if (p->name.n)
            return put_raw(x, p);
        if (x->req->dialect != GEN_DIALECT_ANTHROPIC)
            return 0;
        jw_open(x->b, '{');
        jw_str(x->b, "type", STR("redacted_thinking"));
        jw_str(x->b, "data", p->opaque);
        jw_close(x->b, '}');
        return 0;
    case GEN_PART_REASONING:
        /* A conversation of /v1/responses may hold OpenAI's blobs (Fernet tokens) instead. */
        if (!p->opaque.n ||
            (x->req->dialect == GEN_DIALECT_RESPONSES && str_starts(p->opaque, STR("gAAAAA"))))
            return 0;
        jw_open(x->b, '{');
        jw_str(x->b, "type", STR("thinking"));
        jw_str(x->b, "thinking", p->text);
        jw_str(x->b, "signature", p->opaque);
        jw_close(x->b, '}');
        return 0;
    case GEN_PART_TOOL_CALL: return put_tool_use(x, p);
    case GEN_PART_AUDIO: return enc_unsupported(x, "messages.content: audio", "anthropic");
    case GEN_PART_TOKENS:
    case GEN_PART_TOOL_RESULT: break;
    }
    return enc_unsupported(x, "messages.content: this part", "anthropic");
}

/* The result at m->parts[i] and the parts of its call that follow it; *next: past them. */
static int put_result(struct enc *x, const struct gen_msg *m, size_t i, size_t *next)
{
    const struct gen_part *p = &m->parts[i];
    size_t end = i + 1;
    int rc = 0;
    while (end < m->nparts && belongs(&m->parts[end], p->id))
        end++;
    jw_open(x->b, '{');
    jw_str(x->b, "type", STR("tool_result"));
    jw_str(x->b, "tool_use_id", p->id);
    if (end == i + 1)
        jw_str(x->b, "content", p->text);
    else {
        jw_array(x->b, "content");
        if (p->text.n)
            put_text(x->b, p->text, false);
        for (size_t k = i + 1; k < end && !rc; k++)
            rc = put_content(x, &m->parts[k]);
        jw_close(x->b, ']');
    }
    if (p->is_error)
        jw_bool(x->b, "is_error", true);
    put_mark(x->b, p->cache_mark);
    jw_close(x->b, '}');
    *next = end;
    return rc;
}

static int check_role(struct enc *x, const struct gen_msg *m, const struct gen_part *p)
{
    bool assistant = p->type == GEN_PART_TOOL_CALL || p->type == GEN_PART_REASONING ||
                     (p->type == GEN_PART_OPAQUE && !p->name.n);
    if (assistant && m->role != GEN_ASSISTANT)
        return enc_unsupported(x, "messages: a call or reasoning outside an assistant's message",
                               "anthropic");
    if (p->type == GEN_PART_TOOL_RESULT && m->role == GEN_ASSISTANT)
        return enc_unsupported(x, "messages: a tool's result in an assistant's message",
                               "anthropic");
    return 0;
}

static int put_parts(struct enc *x, const struct gen_msg *m)
{
    for (size_t i = 0; i < m->nparts;) {
        const struct gen_part *p = &m->parts[i];
        int rc = check_role(x, m, p);
        if (rc)
            return rc;
        if (p->type == GEN_PART_TOOL_RESULT) {
            if ((rc = put_result(x, m, i, &i)))
                return rc;
            continue;
        }
        if (p->id.n && p->type != GEN_PART_TOOL_CALL)
            return err_set(x->e, ERR_INVAL, "messages: media of a tool's result without it");
        i++;
        if (p->type == GEN_PART_TEXT && !p->text.n && m->nparts > 1)
            continue; /* the API refuses an empty text block */
        if ((rc = put_content(x, p)))
            return rc;
    }
    return 0;
}

/* ---- messages ---- */

/* Belongs to `system`: what stands before the conversation, and from another dialect also what
 * stands in it, since only some of this dialect's models take system messages there. */
static bool is_system(const struct gen_req *r, const struct gen_msg *m)
{
    if (m->role != GEN_SYSTEM && m->role != GEN_DEVELOPER)
        return false;
    for (const struct gen_msg *p = r->msgs; p < m; p++) {
        if (p->role != GEN_SYSTEM && p->role != GEN_DEVELOPER)
            return r->dialect != GEN_DIALECT_ANTHROPIC;
    }
    return true;
}

static bool is_bare_text(const struct gen_msg *m)
{
    return m->nparts == 1 && m->parts[0].type == GEN_PART_TEXT && !m->parts[0].cache_mark;
}

static int put_system(struct enc *x)
{
    const struct gen_req *r = x->req;
    const struct gen_msg *only = NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->nmsgs; i++) {
        if (!is_system(r, &r->msgs[i]))
            continue;
        if (r->msgs[i].name.n)
            return enc_unsupported(x, "messages.name", "anthropic");
        n++;
        only = &r->msgs[i];
    }
    if (n == r->nmsgs)
        return enc_unsupported(x, "messages: nothing but system messages", "anthropic");
    if (!n)
        return 0;
    if (n == 1 && is_bare_text(only)) {
        jw_str(x->b, enc_top(x, "system"), only->parts[0].text);
        return 0;
    }
    jw_array(x->b, enc_top(x, "system"));
    for (size_t i = 0; i < r->nmsgs; i++) {
        for (size_t k = 0; is_system(r, &r->msgs[i]) && k < r->msgs[i].nparts; k++) {
            const struct gen_part *p = &r->msgs[i].parts[k];
            if (p->type != GEN_PART_TEXT)
                return enc_unsupported(x, "system: content that is not text", "anthropic");
            put_text(x->b, p->text, p->cache_mark);
        }
    }
    jw_close(x->b, ']');
    return 0;
}

static const char *role_word(enum gen_role role)
{
    switch (role) {
    case GEN_ASSISTANT: return "assistant";
    case GEN_SYSTEM:
    case GEN_DEVELOPER: return "system";
    default: return "user";
    }
}

/* One message, and the tool messages that follow a tool message; *next: past them. */
static int put_message(struct enc *x, size_t i, size_t *next)
{
    const struct gen_req *r = x->req;
    const struct gen_msg *m = &r->msgs[i];
    int rc = 0;
    if (m->name.n && m->role != GEN_TOOL)
        return enc_unsupported(x, "messages.name", "anthropic");
    jw_open(x->b, '{');
    jw_str(x->b, "role", str_of(role_word(m->role)));
    *next = i + 1;
    if (is_bare_text(m))
        jw_str(x->b, "content", m->parts[0].text);
    else {
        jw_array(x->b, "content");
        rc = put_parts(x, m);
        while (!rc && m->role == GEN_TOOL && *next < r->nmsgs && r->msgs[*next].role == GEN_TOOL)
            rc = put_parts(x, &r->msgs[(*next)++]);
        jw_close(x->b, ']');
    }
    jw_close(x->b, '}');
    return rc;
}

static int put_messages(struct enc *x)
{
    int rc = put_system(x);
    if (rc)
        return rc;
    jw_array(x->b, enc_top(x, "messages"));
    for (size_t i = 0; i < x->req->nmsgs;) {
        if (is_system(x->req, &x->req->msgs[i])) {
            i++;
            continue;
        }
        if ((rc = put_message(x, i, &i)))
            return rc;
    }
    jw_close(x->b, ']');
    return 0;
}

/* ---- tools ---- */

static int put_tools(struct enc *x, const json_t *extra)
{
    const struct gen_req *r = x->req;
    const json_t *foreign = json_object_get(extra, "tools");
    if (!r->ntools && !json_array_size(foreign))
        return 0;
    jw_array(x->b, enc_top(x, "tools"));
    for (size_t i = 0; i < r->ntools; i++) {
        const struct gen_tool *t = &r->tools[i];
        jw_open(x->b, '{');
        jw_str(x->b, "name", t->name);
        if (t->description.p)
            jw_str(x->b, "description", t->description);
        int rc = enc_raw(x, "input_schema", t->schema.n ? t->schema : STR("{\"type\":\"object\"}"),
                         true, "tools.input_schema");
        if (rc)
            return rc;
        if (t->strict)
            jw_bool(x->b, "strict", true);
        put_mark(x->b, t->cache_mark);
        jw_close(x->b, '}');
    }
    for (size_t i = 0; i < json_array_size(foreign); i++) {
        if (x->b->n && x->b->p[x->b->n - 1] != '[')
            buf_putc(x->b, ',');
        wire_json_dump(json_array_get(foreign, i), x->b);
    }
    jw_close(x->b, ']');
    return 0;
}

static void put_choice(struct enc *x, bool tools)
{
    static const char *const words[] = {"auto", "auto", "none", "any", "tool"};
    const struct gen_req *r = x->req;
    if (r->tool_choice == GEN_CHOICE_UNSET && (r->parallel_tools < 0 || !tools))
        return;
    jw_object(x->b, enc_top(x, "tool_choice"));
    jw_str(x->b, "type", str_of(words[r->tool_choice]));
    if (r->tool_choice == GEN_CHOICE_NAMED)
        jw_str(x->b, "name", r->tool_choice_name);
    if (r->parallel_tools >= 0 && r->tool_choice != GEN_CHOICE_NONE)
        jw_bool(x->b, "disable_parallel_tool_use", !r->parallel_tools);
    jw_close(x->b, '}');
}

/* ---- thinking, output, limits ---- */

static void put_budget(struct enc *x, int64_t budget)
{
    jw_object(x->b, enc_top(x, "thinking"));
    jw_str(x->b, "type", STR("enabled"));
    jw_int(x->b, "budget_tokens", budget);
    jw_close(x->b, '}');
}

/* max_tokens holds the thinking too, so a budget of our own must leave room for an answer. */
static void put_thinking(struct enc *x)
{
    static const int64_t budgets[] = {0, 0, 1024, 8192, 24576};
    const struct gen_req *r = x->req;
    int64_t budget = r->thinking_budget;
    bool ours = !budget && x->q->effort_as_budget && r->effort > GEN_EFFORT_NONE;
    if (ours)
        budget = budgets[r->effort];
    if (ours && r->max_tokens && budget >= r->max_tokens)
        budget = r->max_tokens / 2;
    if (ours && budget < MIN_BUDGET)
        budget = 0;
    int64_t max = r->max_tokens ? r->max_tokens : x->q->max_tokens ? x->q->max_tokens : MAX_TOKENS;
    if (!r->max_tokens && max <= budget)
        max = budget + MARGIN;
    jw_int(x->b, enc_top(x, "max_tokens"), max);
    if (budget)
        put_budget(x, budget);
    else if (r->effort == GEN_EFFORT_NONE) {
        jw_object(x->b, enc_top(x, "thinking"));
        jw_str(x->b, "type", STR("disabled"));
        jw_close(x->b, '}');
    }
}

static int put_output(struct enc *x, const json_t *extra)
{
    static const char *const words[] = {"", "", "low", "medium", "high"};
    const struct gen_req *r = x->req;
    const json_t *rest = json_object_get(extra, "output_config");
    bool own = json_object_get(rest, "effort") != NULL; /* a word that gen has not */
    bool effort = r->effort > GEN_EFFORT_NONE && !x->q->effort_as_budget && !own;
    if (r->grammar.n)
        return enc_unsupported(x, "grammar", "anthropic");
    if (r->format == GEN_FORMAT_JSON)
        return enc_unsupported(x, "response_format: json_object", "anthropic");
    if (!effort && r->format == GEN_FORMAT_TEXT)
        return 0; /* what is in extra is replayed whole */
    jw_object(x->b, enc_top(x, "output_config"));
    if (effort)
        jw_str(x->b, "effort", str_of(words[r->effort]));
    if (r->format == GEN_FORMAT_SCHEMA) {
        jw_object(x->b, "format");
        jw_str(x->b, "type", STR("json_schema"));
        int rc = enc_raw(x, "schema", r->schema, true, "response_format.json_schema.schema");
        if (rc)
            return rc;
        jw_close(x->b, '}');
    }
    const char *key;
    json_t *v;
    json_t *o = (json_t *)(uintptr_t)rest;
    json_object_foreach(o, key, v)
    {
        if ((effort && !strcmp(key, "effort")) || !strcmp(key, "format"))
            continue;
        jw_key(x->b, key);
        wire_json_dump(v, x->b);
    }
    jw_close(x->b, '}');
    return 0;
}

static int check_sampling(struct enc *x)
{
    const struct gen_req *r = x->req;
    const struct gen_sampling *s = &r->sampling;
    static const struct {
        unsigned bit;
        const char *name;
    } rows[] = {
        {GEN_SET_MIN_P, "min_p"},
        {GEN_SET_SEED, "seed"},
        {GEN_SET_FREQUENCY, "frequency_penalty"},
        {GEN_SET_PRESENCE, "presence_penalty"},
        {GEN_SET_REPEAT, "repeat_penalty"},
        {GEN_SET_REPEAT_LAST_N, "repeat_last_n"},
        {GEN_SET_TYPICAL_P, "typical_p"},
        {GEN_SET_TOP_N_SIGMA, "top_n_sigma"},
        {GEN_SET_XTC_PROBABILITY, "xtc_probability"},
        {GEN_SET_DRY_MULTIPLIER, "dry_multiplier"},
        {GEN_SET_SAMPLERS, "samplers"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (s->set & rows[i].bit)
            return enc_unsupported(x, rows[i].name, "anthropic");
    }
    if (s->nbias)
        return enc_unsupported(x, "logit_bias", "anthropic");
    if ((s->set & GEN_SET_TEMPERATURE) && s->temperature > 1)
        return enc_unsupported(x, "temperature: above 1", "anthropic");
    if (r->n > 1)
        return enc_unsupported(x, "n: more than one choice", "anthropic");
    if (r->logprobs)
        return enc_unsupported(x, "logprobs", "anthropic");
    return 0;
}

static void put_rest(struct enc *x)
{
    const struct gen_req *r = x->req;
    const struct gen_sampling *s = &r->sampling;
    if (s->set & GEN_SET_TEMPERATURE)
        jw_float(x->b, enc_top(x, "temperature"), s->temperature);
    if (s->set & GEN_SET_TOP_P)
        jw_float(x->b, enc_top(x, "top_p"), s->top_p);
    if (s->set & GEN_SET_TOP_K)
        jw_int(x->b, enc_top(x, "top_k"), s->top_k);
    if (r->nstops) {
        jw_array(x->b, enc_top(x, "stop_sequences"));
        for (size_t i = 0; i < r->nstops; i++)
            jw_item(x->b, r->stops[i]);
        jw_close(x->b, ']');
    }
    if (r->user.p) {
        jw_object(x->b, enc_top(x, "metadata"));
        jw_str(x->b, "user_id", r->user);
        jw_close(x->b, '}');
    }
    if (r->stream)
        jw_bool(x->b, enc_top(x, "stream"), true);
}

static int put_body(struct enc *x, struct str model, const json_t *extra)
{
    bool tools = x->req->ntools || json_array_size(json_object_get(extra, "tools"));
    jw_str(x->b, enc_top(x, "model"), model);
    put_thinking(x);
    int rc = put_messages(x);
    if (rc)
        return rc;
    if ((rc = put_tools(x, extra)))
        return rc;
    put_choice(x, tools);
    put_rest(x);
    if ((rc = put_output(x, extra)))
        return rc;
    return enc_extra(x, extra, "tools");
}

int anthropic_encode(struct enc *x, struct str model)
{
    json_t *extra = NULL;
    int rc = check_sampling(x);
    if (!rc)
        rc = enc_extra_load(x, GEN_DIALECT_ANTHROPIC, &extra);
    if (rc)
        return rc;
    buf_putc(x->b, '{');
    rc = put_body(x, model, extra);
    buf_putc(x->b, '}');
    json_decref(extra);
    return rc;
}
