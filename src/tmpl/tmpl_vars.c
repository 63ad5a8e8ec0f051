/* tmpl_vars.c: a request, or JSON, to the variables a template reads, and the render itself. What
 * this file makes up (keys, roles, "function") is trusted; every byte that came with the request is
 * not. Shapes are those of Hugging Face's apply_chat_template, which templates are written for. */
#include "go_int.h"

#include <stdlib.h>
#include <time.h>

struct val vars_from_json(struct ctx *c, const json_t *j, bool tainted, int depth)
{
    if (c->rc || !eval_step(c, 1))
        return UNDEF;
    if (depth > MAX_VALUE_DEPTH)
        return eval_fail(c, ERR_LIMIT, "JSON nested more than %d deep", MAX_VALUE_DEPTH);
    const char *key;
    const json_t *item;
    size_t i;
    struct val v;
    switch (json_typeof(j)) {
    case JSON_NULL: return NONE;
    case JSON_TRUE:
    case JSON_FALSE: return val_bool(json_is_true(j));
    case JSON_INTEGER: return val_int(json_integer_value(j));
    case JSON_REAL: return val_float(json_real_value(j));
    case JSON_STRING:
        return val_str(c, str_n(json_string_value(j), json_string_length(j)), tainted);
    case JSON_ARRAY:
        v = val_list(c, V_LIST, json_array_size(j));
        json_array_foreach((json_t *)j, i, item)
        {
            if (c->rc)
                break;
            val_push(c, v.l, vars_from_json(c, item, tainted, depth + 1));
        }
        return v;
    case JSON_OBJECT: break;
    }
    v = val_dict(c, V_DICT);
    json_object_foreach((json_t *)j, key, item)
    {
        if (c->rc)
            break;
        struct val k = val_str(c, str_of(key), tainted);
        val_put(c, v.d, k, vars_from_json(c, item, tainted, depth + 1));
    }
    return v;
}

/* JSON text to a value; false when it is no JSON. */
static bool load_json(struct ctx *c, struct str text, struct val *out)
{
    json_error_t je;
    json_t *j = json_loadb(text.p ? text.p : "", text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!j)
        return false;
    *out = vars_from_json(c, j, true, 0);
    json_decref(j);
    return true;
}

static bool mentions(const struct ctx *c, const char *name)
{
    for (uint32_t i = 0; i < c->t->nnames; i++)
        if (str_is(c->t->names[i], name))
            return true;
    return false;
}

static void define(struct ctx *c, const char *name, struct val v)
{
    eval_step(c, c->t->nnames / 16);
    for (uint32_t i = 0; i < c->t->nnames; i++)
        if (str_is(c->t->names[i], name))
            eval_define(c, c->scope, i, v);
}

/* ---- messages ---- */

static const char *role_name(const struct ctx *c, enum gen_role role)
{
    switch (role) {
    case GEN_SYSTEM: return "system";
    case GEN_DEVELOPER:
        return str_find(c->t->source, STR("developer"), 0) != SIZE_MAX ? "developer" : "system";
    case GEN_USER: return "user";
    case GEN_ASSISTANT: return "assistant";
    case GEN_TOOL: return "tool";
    }
    return "user";
}

static bool is_media(enum gen_part_type type)
{
    return type == GEN_PART_IMAGE || type == GEN_PART_AUDIO || type == GEN_PART_DOCUMENT;
}

static struct val text_of(struct ctx *c, const struct gen_msg *m, enum gen_part_type type)
{
    struct sb b = {0};
    for (size_t i = 0; i < m->nparts; i++)
        if (m->parts[i].type == type)
            sb_add(c, &b, m->parts[i].text, true);
    return sb_take(c, &b);
}

/* Text as one string; a list of parts only where there is something else than text. */
static struct val content_of(struct ctx *c, const struct gen_msg *m)
{
    bool media = false;
    for (size_t i = 0; i < m->nparts; i++)
        media |= is_media(m->parts[i].type);
    if (!media)
        return text_of(c, m, GEN_PART_TEXT);
    struct val l = val_list(c, V_LIST, 0);
    for (size_t i = 0; i < m->nparts && !c->rc; i++) {
        const struct gen_part *p = &m->parts[i];
        if (p->type != GEN_PART_TEXT && !is_media(p->type))
            continue;
        struct val d = val_dict(c, V_DICT);
        const char *type = p->type == GEN_PART_TEXT    ? "text"
                           : p->type == GEN_PART_IMAGE ? "image"
                           : p->type == GEN_PART_AUDIO ? "audio"
                                                       : "document";
        val_puts(c, d.d, "type", val_lit(c, type));
        if (p->type == GEN_PART_TEXT)
            val_puts(c, d.d, "text", val_borrow(c, p->text, true));
        val_push(c, l.l, d);
    }
    return l;
}

static struct val call_of(struct ctx *c, const struct gen_part *p)
{
    struct val f = val_dict(c, V_DICT), d = val_dict(c, V_DICT), args;
    /* Arguments that are no JSON stay the text they are. */
    if (c->text_args || !load_json(c, p->args, &args))
        args = p->args.n ? val_borrow(c, p->args, true) : val_dict(c, V_DICT);
    if (c->rc)
        return UNDEF;
    val_puts(c, f.d, "name", val_borrow(c, p->name, true));
    val_puts(c, f.d, "arguments", args);
    if (p->id.n)
        val_puts(c, d.d, "id", val_borrow(c, p->id, true));
    val_puts(c, d.d, "type", val_lit(c, "function"));
    val_puts(c, d.d, "function", f);
    return d;
}

/* The name of the tool that call `id` called: results carry only the id. */
static struct str name_of_call(struct ctx *c, const struct gen_req *req, struct str id)
{
    for (size_t i = 0; id.n && i < req->nmsgs; i++) {
        const struct gen_msg *m = &req->msgs[i];
        eval_step(c, m->nparts / 16);
        for (size_t k = 0; k < m->nparts; k++)
            if (m->parts[k].type == GEN_PART_TOOL_CALL && str_eq(m->parts[k].id, id))
                return m->parts[k].name;
    }
    return STR_NONE;
}

static void push_result(struct ctx *c, struct vlist *out, const struct gen_req *req,
                        const struct gen_msg *m, const struct gen_part *p)
{
    struct val d = val_dict(c, V_DICT);
    struct str name = m->role == GEN_TOOL && m->name.n ? m->name : name_of_call(c, req, p->id);
    if (c->rc)
        return;
    val_puts(c, d.d, "role", val_lit(c, "tool"));
    val_puts(c, d.d, "content", val_borrow(c, p->text, true));
    if (p->id.n)
        val_puts(c, d.d, "tool_call_id", val_borrow(c, p->id, true));
    if (name.n)
        val_puts(c, d.d, "name", val_borrow(c, name, true));
    val_push(c, out, d);
}

/* One message, or one for each tool result in it and one for the rest. */
static void push_message(struct ctx *c, struct vlist *out, const struct gen_req *req,
                         const struct gen_msg *m)
{
    size_t results = 0, calls = 0, thoughts = 0, rest = 0;
    for (size_t i = 0; i < m->nparts; i++) {
        enum gen_part_type type = m->parts[i].type;
        results += type == GEN_PART_TOOL_RESULT;
        calls += type == GEN_PART_TOOL_CALL;
        thoughts += type == GEN_PART_REASONING;
        rest += type == GEN_PART_TEXT || is_media(type);
        if (type == GEN_PART_TOOL_RESULT)
            push_result(c, out, req, m, &m->parts[i]);
    }
    if (results && !rest && !calls)
        return;
    struct val d = val_dict(c, V_DICT), content = content_of(c, m);
    if (c->rc)
        return;
    val_puts(c, d.d, "role", val_lit(c, role_name(c, m->role)));
    val_puts(c, d.d, "content", content);
    if (m->name.n)
        val_puts(c, d.d, "name", val_borrow(c, m->name, true));
    if (thoughts)
        val_puts(c, d.d, "reasoning_content", text_of(c, m, GEN_PART_REASONING));
    if (calls) {
        struct val l = val_list(c, V_LIST, calls);
        for (size_t i = 0; i < m->nparts && !c->rc; i++)
            if (m->parts[i].type == GEN_PART_TOOL_CALL)
                val_push(c, l.l, call_of(c, &m->parts[i]));
        if (!c->rc)
            val_puts(c, d.d, "tool_calls", l);
    }
    val_push(c, out, d);
}

static struct val tools_of(struct ctx *c, const struct gen_req *req)
{
    struct val l = val_list(c, V_LIST, req->ntools);
    for (size_t i = 0; i < req->ntools && !c->rc; i++) {
        const struct gen_tool *t = &req->tools[i];
        struct val d = val_dict(c, V_DICT), f = val_dict(c, V_DICT), schema = UNDEF;
        if (t->schema.n && !load_json(c, t->schema, &schema))
            return eval_fail(c, ERR_FORMAT, "the parameters of tool '%.*s' are not JSON",
                             STR_ARG(t->name));
        if (c->rc)
            break;
        if (schema.k == V_UNDEF) {
            schema = val_dict(c, V_DICT);
            val_puts(c, schema.d, "type", val_lit(c, "object"));
            val_puts(c, schema.d, "properties", val_dict(c, V_DICT));
        }
        val_puts(c, f.d, "name", val_borrow(c, t->name, true));
        val_puts(c, f.d, "description", val_borrow(c, t->description, true));
        val_puts(c, f.d, "parameters", schema);
        val_puts(c, d.d, "type", val_lit(c, "function"));
        val_puts(c, d.d, "function", f);
        val_push(c, l.l, d);
    }
    return l;
}

/* ---- the render ---- */

int render_begin(struct ctx *c, const struct tmpl *t, int64_t now_ms, size_t max_text,
                 struct err *e)
{
    *c = (struct ctx){.t = t, .e = e, .now_ms = now_ms, .max_text = max_text};
    c->mem = arena_new(MAX_VALUE_BYTES);
    if (!c->mem)
        return err_set(e, ERR_NOMEM, "template: out of memory");
    c->scope = eval_alloc(c, 1, sizeof *c->scope);
    return c->rc;
}

static bool add_run(struct tmpl_out *o, size_t from, size_t to, bool untrusted)
{
    if (from == to)
        return true;
    if (o->nruns == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 32;
        struct tmpl_run *r = realloc(o->runs, cap * sizeof *r);
        if (!r)
            return false;
        o->runs = r;
        o->cap = cap;
    }
    o->runs[o->nruns++] = (struct tmpl_run){from, to, untrusted};
    return true;
}

int render_deliver(const struct sb *b, struct tmpl_out *out, struct err *e)
{
    buf_clear(&out->text);
    out->nruns = 0;
    buf_add(&out->text, b->p, b->n);
    bool ok = !buf_failed(&out->text);
    size_t at = 0;
    for (size_t i = 0; i < b->nt && ok; i++) {
        ok = add_run(out, at, b->t[i].from, false) && add_run(out, b->t[i].from, b->t[i].to, true);
        at = b->t[i].to;
    }
    if (!ok || !add_run(out, at, b->n, false))
        return err_set(e, ERR_NOMEM, "template: out of memory for the rendered text");
    return 0;
}

static int finish(struct ctx *c, struct tmpl_out *out)
{
    struct sb text = {0};
    int rc = c->rc ? c->rc : eval_template(c, &text);
    if (!rc)
        rc = render_deliver(&text, out, c->e);
    arena_free(c->mem);
    return rc;
}

static void define_extra(struct ctx *c, struct str extra)
{
    struct val v;
    if (!extra.n)
        return;
    if (!load_json(c, extra, &v) || (!c->rc && v.k != V_DICT)) {
        eval_fail(c, ERR_FORMAT, "the template's variables are not a JSON object");
        return;
    }
    for (size_t i = 0; !c->rc && i < v.d->n; i++)
        define(c, arena_strz(c->mem, val_bytes(v.d->key[i])), v.d->val[i]);
}

/* Older templates get the tools as one JSON text, and the time, by names of their own. */
static void define_older(struct ctx *c, struct val tools)
{
    if (mentions(c, "functions")) {
        struct val l = val_list(c, V_LIST, tools.l->n);
        for (size_t i = 0; i < tools.l->n && !c->rc; i++)
            val_push(c, l.l, *val_gets(c, tools.l->v[i].d, STR("function")));
        const struct str indent = STR("indent");
        const struct val four = val_int(4);
        struct args a = {.self = l, .names = &indent, .named = &four, .m = 1};
        if (!c->rc)
            define(c, "functions", tools.l->n ? json_write(c, &a) : val_lit(c, ""));
    }
    if (mentions(c, "datetime")) {
        char z[64];
        time_t now = (time_t)(c->now_ms / 1000);
        struct tm tm = {0};
        localtime_r(&now, &tm);
        size_t n = strftime(z, sizeof z, "%Y-%m-%d %H:%M:%S %Z", &tm);
        define(c, "datetime", val_str(c, str_n(z, n), false));
    }
}

static bool has_calls(const struct gen_req *req)
{
    for (size_t i = 0; i < req->nmsgs; i++)
        for (size_t k = 0; k < req->msgs[i].nparts; k++)
            if (req->msgs[i].parts[k].type == GEN_PART_TOOL_CALL)
                return true;
    return false;
}

static int render(const struct tmpl *t, const struct tmpl_vars *v, bool text_args, bool tools_none,
                  struct tmpl_out *out, struct err *e)
{
    struct ctx c;
    int rc = render_begin(&c, t, v->now_ms, out->text.max, e);
    if (rc) {
        arena_free(c.mem);
        return rc;
    }
    c.text_args = text_args;
    struct val l = val_list(&c, V_LIST, v->req->nmsgs);
    for (size_t i = 0; i < v->req->nmsgs && !c.rc; i++)
        push_message(&c, l.l, v->req, &v->req->msgs[i]);
    bool offered = v->req->ntools > 0 && v->req->tool_choice != GEN_CHOICE_NONE;
    define(&c, "messages", l);
    struct val tools = offered ? tools_of(&c, v->req) : val_list(&c, V_LIST, 0);
    if (offered || tools_none)
        define(&c, "tools", offered ? tools : NONE);
    if (!c.rc)
        define_older(&c, tools);
    define(&c, "documents", NONE);
    define(&c, "add_generation_prompt", val_bool(v->add_generation_prompt));
    define(&c, "bos_token", val_borrow(&c, v->bos, false));
    define(&c, "eos_token", val_borrow(&c, v->eos, false));
    define_extra(&c, v->extra);
    return finish(&c, out);
}

/* Most templates want a call's arguments as a mapping and no tools as none; a few want JSON text,
 * or no variable at all, and fail on the other: they get it then. The first error is the one that
 * is told. */
int tmpl_render(const struct tmpl *t, const struct tmpl_vars *v, struct tmpl_out *out,
                struct err *e)
{
    if (t->go)
        return go_render(t, v, out, e);
    int rc = render(t, v, false, true, out, e);
    if (rc != ERR_FORMAT && rc != ERR_UNSUPPORTED)
        return rc;
    if (has_calls(v->req) && render(t, v, true, true, out, NULL) == 0)
        return 0;
    if (!v->req->ntools && render(t, v, false, false, out, NULL) == 0)
        return 0;
    return rc;
}

int tmpl_render_json(const struct tmpl *t, struct str vars_json, struct str bos, struct str eos,
                     int64_t now_ms, struct tmpl_out *out, struct err *e)
{
    struct ctx c;
    if (t->go)
        return go_render_json(t, vars_json, now_ms, out, e);
    int rc = render_begin(&c, t, now_ms, out->text.max, e);
    if (rc) {
        arena_free(c.mem);
        return rc;
    }
    define(&c, "bos_token", val_borrow(&c, bos, false));
    define(&c, "eos_token", val_borrow(&c, eos, false));
    define_extra(&c, vars_json.n ? vars_json : STR("{}"));
    return finish(&c, out);
}

void tmpl_out_init(struct tmpl_out *o, size_t max_text)
{
    *o = (struct tmpl_out){.text = BUF_INIT(max_text)};
}

void tmpl_out_done(struct tmpl_out *o)
{
    if (!o)
        return;
    buf_done(&o->text);
    free(o->runs);
    o->runs = NULL;
    o->nruns = o->cap = 0;
}
