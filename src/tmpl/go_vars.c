/* go_vars.c: a request, or JSON, to the data that Ollama's templates read, and the render itself.
 *
 * A template that reads .Messages is rendered once. One that does not is older: it has .System,
 * .Prompt and .Response of one turn, is rendered for each turn, and for the last one only up to
 * where the response begins. Messages of one role in a row are one message, but for tools'.
 * What this file makes up (names of fields, roles) is trusted; every byte that came with the
 * request is not. */
#include "go_int.h"

#include <stdlib.h>

/* ---- JSON ---- */

struct pair {
    struct val key, val;
};

static int by_key(const void *a, const void *b)
{
    struct str x = val_bytes(((const struct pair *)a)->key);
    struct str y = val_bytes(((const struct pair *)b)->key);
    size_t n = x.n < y.n ? x.n : y.n;
    int r = n ? memcmp(x.p, y.p, n) : 0;
    return r ? r : (x.n > y.n) - (x.n < y.n);
}

/* As Go's mappings are walked and written: by their keys, at every depth. */
static void sort_deep(struct go_ctx *g, struct val v, int depth)
{
    if (g->c.rc || depth > MAX_VALUE_DEPTH || !eval_step(&g->c, 1))
        return;
    for (size_t i = 0; v.k == V_LIST && i < v.l->n; i++)
        sort_deep(g, v.l->v[i], depth + 1);
    if (v.k != V_DICT)
        return;
    struct pair *p = eval_alloc(&g->c, v.d->n + 1, sizeof *p);
    for (size_t i = 0; p && i < v.d->n; i++)
        p[i] = (struct pair){v.d->key[i], v.d->val[i]};
    if (!p)
        return;
    qsort(p, v.d->n, sizeof *p, by_key);
    for (size_t i = 0; i < v.d->n; i++) {
        v.d->key[i] = p[i].key;
        v.d->val[i] = p[i].val;
        sort_deep(g, p[i].val, depth + 1);
    }
}

static bool load_json(struct go_ctx *g, struct str text, struct val *out)
{
    json_error_t je;
    json_t *j = json_loadb(text.p ? text.p : "", text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!j)
        return false;
    *out = vars_from_json(&g->c, j, true, 0);
    json_decref(j);
    return true;
}

static struct val at(struct go_ctx *g, struct val v, const char *key)
{
    struct val *found = v.k == V_DICT ? val_gets(&g->c, v.d, str_of(key)) : NULL;
    return found ? *found : UNDEF;
}

static struct val text_or_none(struct go_ctx *g, struct val v)
{
    return v.k == V_STR ? v : val_lit(&g->c, "");
}

/* ---- tools ---- */

/* The keys that Go's type has, in its order, then the others. */
static struct val ordered(struct go_ctx *g, struct val from, const char *const *keys)
{
    struct val to = val_dict(&g->c, V_DICT);
    for (size_t i = 0; keys[i] && !g->c.rc; i++) {
        struct val v = at(g, from, keys[i]);
        if (v.k != V_UNDEF)
            val_puts(&g->c, to.d, keys[i], v);
    }
    for (size_t i = 0; !g->c.rc && from.k == V_DICT && i < from.d->n; i++)
        if (!val_get(&g->c, to.d, from.d->key[i]))
            val_put(&g->c, to.d, from.d->key[i], from.d->val[i]);
    return to;
}

static struct val parameters_of(struct go_ctx *g, struct val schema)
{
    static const char *const top[] = {"type", "$defs", "items", "required", "properties", NULL};
    static const char *const inner[] = {"anyOf", "type",       "items",    "description",
                                        "enum",  "properties", "required", NULL};
    struct val d = ordered(g, schema, top);
    if (g->c.rc)
        return UNDEF;
    if (at(g, d, "type").k == V_UNDEF)
        val_puts(&g->c, d.d, "type", val_lit(&g->c, "object"));
    if (at(g, d, "properties").k != V_DICT)
        val_puts(&g->c, d.d, "properties", val_dict(&g->c, V_DICT));
    struct val props = at(g, d, "properties");
    sort_deep(g, props, 0);
    for (size_t i = 0; !g->c.rc && i < props.d->n; i++)
        if (props.d->val[i].k == V_DICT)
            props.d->val[i] = ordered(g, props.d->val[i], inner);
    return d;
}

static struct val tool_of(struct go_ctx *g, struct val name, struct val description,
                          struct val schema)
{
    struct val d = val_dict(&g->c, V_DICT), f = val_dict(&g->c, V_DICT);
    struct val params = parameters_of(g, schema);
    if (g->c.rc)
        return UNDEF;
    val_puts(&g->c, f.d, "name", name);
    val_puts(&g->c, f.d, "description", description);
    val_puts(&g->c, f.d, "parameters", params);
    val_puts(&g->c, d.d, "type", val_lit(&g->c, "function"));
    val_puts(&g->c, d.d, "function", f);
    return d;
}

static struct val tools_of(struct go_ctx *g, const struct gen_req *req)
{
    struct val l = val_list(&g->c, V_LIST, req->ntools);
    for (size_t i = 0; i < req->ntools && !g->c.rc; i++) {
        const struct gen_tool *t = &req->tools[i];
        struct val schema = UNDEF;
        if (t->schema.n && !load_json(g, t->schema, &schema))
            return eval_fail(&g->c, ERR_FORMAT, "the parameters of tool '%.*s' are not JSON",
                             STR_ARG(t->name));
        val_push(&g->c, l.l,
                 tool_of(g, val_borrow(&g->c, t->name, true),
                         val_borrow(&g->c, t->description, true), schema));
    }
    return l;
}

/* ---- messages ---- */

/* With every field that Go's type has. */
static struct val message(struct go_ctx *g, struct val role, struct val content)
{
    struct ctx *c = &g->c;
    struct val m = val_dict(c, V_DICT);
    if (c->rc)
        return UNDEF;
    val_puts(c, m.d, "Role", role);
    val_puts(c, m.d, "Content", content);
    val_puts(c, m.d, "Thinking", val_lit(c, ""));
    val_puts(c, m.d, "Images", NONE);
    val_puts(c, m.d, "ToolCalls", val_list(c, V_LIST, 0));
    val_puts(c, m.d, "ToolName", val_lit(c, ""));
    val_puts(c, m.d, "ToolCallID", val_lit(c, ""));
    return m;
}

static void add_call(struct go_ctx *g, struct val m, struct val id, struct val name,
                     struct val args)
{
    struct ctx *c = &g->c;
    struct val calls = at(g, m, "ToolCalls"), d = val_dict(c, V_DICT), f = val_dict(c, V_DICT);
    if (c->rc)
        return;
    if (args.k == V_STR) { /* JSON in a text */
        struct val parsed;
        if (load_json(g, val_bytes(args), &parsed))
            args = parsed;
    }
    if (args.k == V_UNDEF || args.k == V_NONE)
        args = val_dict(c, V_DICT);
    sort_deep(g, args, 0);
    if (c->rc)
        return;
    val_puts(c, f.d, "Index", val_int((int64_t)calls.l->n));
    val_puts(c, f.d, "Name", name);
    val_puts(c, f.d, "Arguments", args);
    val_puts(c, d.d, "ID", id);
    val_puts(c, d.d, "Function", f);
    val_push(c, calls.l, d);
}

static struct val joined(struct go_ctx *g, struct val a, const char *between, struct val b)
{
    struct sb s = {0};
    sb_str(&g->c, &s, a.s);
    sb_puts(&g->c, &s, between);
    sb_str(&g->c, &s, b.s);
    return g->c.rc ? UNDEF : sb_take(&g->c, &s);
}

/* Behind the others, or together with the last of them if that has the same role. */
static void collate(struct go_ctx *g, struct vlist *l, struct val m)
{
    struct val role = at(g, m, "Role"), last = l->n ? l->v[l->n - 1] : UNDEF;
    if (g->c.rc)
        return;
    if (last.k != V_DICT || !val_eq(&g->c, at(g, last, "Role"), role) ||
        str_is(val_bytes(role), "tool")) {
        val_push(&g->c, l, m);
        return;
    }
    struct val both = joined(g, at(g, last, "Content"), "\n\n", at(g, m, "Content"));
    struct val calls = at(g, last, "ToolCalls"), more = at(g, m, "ToolCalls");
    if (g->c.rc)
        return;
    val_puts(&g->c, last.d, "Content", both);
    for (size_t i = 0; i < more.l->n; i++)
        val_push(&g->c, calls.l, more.l->v[i]);
}

static struct str name_of_call(struct go_ctx *g, const struct gen_req *req, struct str id)
{
    for (size_t i = 0; id.n && i < req->nmsgs && eval_step(&g->c, 1); i++)
        for (size_t k = 0; k < req->msgs[i].nparts; k++) {
            const struct gen_part *p = &req->msgs[i].parts[k];
            if (p->type == GEN_PART_TOOL_CALL && str_eq(p->id, id))
                return p->name;
        }
    return STR_NONE;
}

static void push_result(struct go_ctx *g, struct vlist *l, const struct gen_req *req,
                        const struct gen_msg *m, const struct gen_part *p)
{
    struct ctx *c = &g->c;
    struct str name = m->role == GEN_TOOL && m->name.n ? m->name : name_of_call(g, req, p->id);
    struct val d = message(g, val_lit(c, "tool"), val_borrow(c, p->text, true));
    if (c->rc)
        return;
    val_puts(c, d.d, "ToolName", val_borrow(c, name, true));
    val_puts(c, d.d, "ToolCallID", val_borrow(c, p->id, true));
    collate(g, l, d);
}

static void push_message(struct go_ctx *g, struct vlist *l, const struct gen_req *req,
                         const struct gen_msg *m)
{
    static const char *const roles[] = {"system", "system", "user", "assistant", "tool"};
    struct ctx *c = &g->c;
    struct sb text = {0}, thoughts = {0};
    size_t others = 0, results = 0;
    struct val d = message(g, val_lit(c, roles[m->role]), val_lit(c, ""));
    for (size_t i = 0; i < m->nparts && !c->rc; i++) {
        const struct gen_part *p = &m->parts[i];
        bool result = p->type == GEN_PART_TOOL_RESULT;
        results += result;
        others += !result;
        if (result)
            push_result(g, l, req, m, p);
        else if (p->type == GEN_PART_TEXT)
            sb_add(c, &text, p->text, true);
        else if (p->type == GEN_PART_REASONING)
            sb_add(c, &thoughts, p->text, true);
        else if (p->type == GEN_PART_TOOL_CALL)
            add_call(g, d, val_borrow(c, p->id, true), val_borrow(c, p->name, true),
                     p->args.n ? val_borrow(c, p->args, true) : UNDEF);
    }
    if (c->rc || (results && !others))
        return;
    val_puts(c, d.d, "Content", sb_take(c, &text));
    val_puts(c, d.d, "Thinking", sb_take(c, &thoughts));
    collate(g, l, d);
}

/* ---- the render ---- */

static void put_effort(struct go_ctx *g, struct val data, enum gen_effort effort)
{
    static const char *const levels[] = {"", "", "low", "medium", "high"};
    struct ctx *c = &g->c;
    val_puts(c, data.d, "Think", val_bool(effort > GEN_EFFORT_NONE));
    val_puts(c, data.d, "ThinkLevel", val_lit(c, levels[effort]));
    val_puts(c, data.d, "IsThinkSet", val_bool(effort != GEN_EFFORT_UNSET));
}

static struct val all_systems(struct go_ctx *g, const struct vlist *l)
{
    struct val system = val_lit(&g->c, "");
    bool any = false;
    for (size_t i = 0; i < l->n && !g->c.rc; i++) {
        if (!str_is(val_bytes(at(g, l->v[i], "Role")), "system"))
            continue;
        struct val text = at(g, l->v[i], "Content");
        system = any ? joined(g, system, "\n\n", text) : text;
        any = true;
    }
    return system;
}

/* One turn of an older template. */
static void render_turn(struct go_ctx *g, struct val v[static 3], enum gen_effort effort)
{
    static const char *const keys[] = {"System", "Prompt", "Response"};
    struct val data = val_dict(&g->c, V_DICT);
    for (size_t i = 0; i < 3 && !g->c.rc; i++) {
        val_puts(&g->c, data.d, keys[i], v[i]);
        v[i] = val_lit(&g->c, "");
    }
    if (g->c.rc)
        return;
    put_effort(g, data, effort);
    go_eval(g, data);
}

static void render_turns(struct go_ctx *g, const struct vlist *l, enum gen_effort effort)
{
    struct val empty = val_lit(&g->c, ""), v[3] = {empty, empty, empty};
    for (size_t i = 0; i < l->n && !g->c.rc; i++) {
        struct str role = val_bytes(at(g, l->v[i], "Role"));
        struct val text = at(g, l->v[i], "Content");
        size_t what = str_is(role, "system") ? 0 : str_is(role, "user") ? 1 : 2;
        if (what == 2 && !str_is(role, "assistant"))
            continue;
        bool over = what == 0 ? val_truth(v[1]) || val_truth(v[2]) : what == 1 && val_truth(v[2]);
        if (over)
            render_turn(g, v, effort);
        v[what] = text;
    }
    g->cutting = true;
    render_turn(g, v, effort);
}

static void render_messages(struct go_ctx *g, const struct vlist *l, struct val tools,
                            enum gen_effort effort, struct val data)
{
    struct ctx *c = &g->c;
    struct val all = {.k = V_LIST, .l = (struct vlist *)l};
    if (c->rc)
        return;
    if (!g->t->messages) {
        render_turns(g, l, effort);
        return;
    }
    val_puts(c, data.d, "System", all_systems(g, l));
    val_puts(c, data.d, "Messages", all);
    val_puts(c, data.d, "Tools", tools);
    val_puts(c, data.d, "Response", val_lit(c, ""));
    put_effort(g, data, effort);
    if (!c->rc)
        go_eval(g, data);
}

static int begin(struct go_ctx *g, const struct tmpl *t, int64_t now_ms, size_t max_text,
                 struct sb *text, struct err *e)
{
    *g = (struct go_ctx){.t = t->go};
    int rc = render_begin(&g->c, t, now_ms, max_text, e);
    g->c.out = text;
    return rc;
}

static int finish(struct go_ctx *g, const struct sb *text, struct tmpl_out *out)
{
    int rc = g->c.rc ? g->c.rc : render_deliver(text, out, g->c.e);
    arena_free(g->c.mem);
    return rc;
}

int go_render(const struct tmpl *t, const struct tmpl_vars *v, struct tmpl_out *out, struct err *e)
{
    struct go_ctx g;
    struct sb text = {0};
    const struct gen_req *req = v->req;
    int rc = begin(&g, t, v->now_ms, out->text.max, &text, e);
    if (rc) {
        arena_free(g.c.mem);
        return rc;
    }
    struct val l = val_list(&g.c, V_LIST, req->nmsgs), data = val_dict(&g.c, V_DICT);
    for (size_t i = 0; i < req->nmsgs && !g.c.rc; i++)
        push_message(&g, l.l, req, &req->msgs[i]);
    bool offered = req->ntools > 0 && req->tool_choice != GEN_CHOICE_NONE;
    struct val tools = offered ? tools_of(&g, req) : val_list(&g.c, V_LIST, 0);
    if (req->kind == GEN_INFILL && !g.c.rc) {
        val_puts(&g.c, data.d, "Prompt", val_borrow(&g.c, req->prompt, true));
        val_puts(&g.c, data.d, "Suffix", val_borrow(&g.c, req->suffix, true));
        val_puts(&g.c, data.d, "Response", val_lit(&g.c, ""));
        put_effort(&g, data, req->effort);
        go_eval(&g, data);
    } else {
        render_messages(&g, l.l, tools, req->effort, data);
    }
    return finish(&g, &text, out);
}

/* ---- from JSON: shapes as OpenAI's and Ollama's requests have them ---- */

static struct val content_of(struct go_ctx *g, struct val v)
{
    struct sb b = {0};
    if (v.k != V_LIST)
        return text_or_none(g, v);
    for (size_t i = 0; i < v.l->n && !g->c.rc; i++) {
        struct val text = at(g, v.l->v[i], "text");
        if (text.k == V_STR)
            sb_str(&g->c, &b, text.s);
    }
    return g->c.rc ? UNDEF : sb_take(&g->c, &b);
}

static void push_json(struct go_ctx *g, struct vlist *l, struct val from)
{
    struct ctx *c = &g->c;
    struct val role = text_or_none(g, at(g, from, "role")), calls = at(g, from, "tool_calls");
    if (str_is(val_bytes(role), "developer"))
        role = val_lit(c, "system");
    struct val m = message(g, role, content_of(g, at(g, from, "content")));
    struct val name = at(g, from, "tool_name"), think = at(g, from, "thinking");
    if (c->rc)
        return;
    if (name.k != V_STR)
        name = at(g, from, "name");
    if (think.k != V_STR)
        think = at(g, from, "reasoning_content");
    val_puts(c, m.d, "Thinking", text_or_none(g, think));
    val_puts(c, m.d, "ToolName", text_or_none(g, name));
    val_puts(c, m.d, "ToolCallID", text_or_none(g, at(g, from, "tool_call_id")));
    for (size_t i = 0; calls.k == V_LIST && i < calls.l->n && !c->rc; i++) {
        struct val f = at(g, calls.l->v[i], "function");
        add_call(g, m, text_or_none(g, at(g, calls.l->v[i], "id")),
                 text_or_none(g, at(g, f, "name")), at(g, f, "arguments"));
    }
    collate(g, l, m);
}

static struct val json_tools(struct go_ctx *g, struct val from)
{
    struct val l = val_list(&g->c, V_LIST, 0);
    for (size_t i = 0; from.k == V_LIST && i < from.l->n && !g->c.rc; i++) {
        struct val f = at(g, from.l->v[i], "function");
        val_push(&g->c, l.l,
                 tool_of(g, text_or_none(g, at(g, f, "name")),
                         text_or_none(g, at(g, f, "description")), at(g, f, "parameters")));
    }
    return l;
}

int go_render_json(const struct tmpl *t, struct str vars_json, int64_t now_ms, struct tmpl_out *out,
                   struct err *e)
{
    struct go_ctx g;
    struct sb text = {0};
    struct val v = UNDEF;
    int rc = begin(&g, t, now_ms, out->text.max, &text, e);
    if (rc) {
        arena_free(g.c.mem);
        return rc;
    }
    if (!load_json(&g, vars_json.n ? vars_json : STR("{}"), &v) || (!g.c.rc && v.k != V_DICT))
        eval_fail(&g.c, ERR_FORMAT, "the template's variables are not a JSON object");
    struct val l = val_list(&g.c, V_LIST, 0), msgs = at(&g, v, "messages");
    for (size_t i = 0; msgs.k == V_LIST && i < msgs.l->n && !g.c.rc; i++)
        push_json(&g, l.l, msgs.l->v[i]);
    struct val tools = json_tools(&g, at(&g, v, "tools")), think = at(&g, v, "think");
    enum gen_effort effort = think.k == V_UNDEF        ? GEN_EFFORT_UNSET
                             : !val_truth(think)       ? GEN_EFFORT_NONE
                             : think.k != V_STR        ? GEN_EFFORT_MEDIUM
                             : val_bytes(think).n == 3 ? GEN_EFFORT_LOW
                             : val_bytes(think).n == 4 ? GEN_EFFORT_HIGH
                                                       : GEN_EFFORT_MEDIUM;
    if (!g.c.rc)
        render_messages(&g, l.l, tools, effort, v);
    return finish(&g, &text, out);
}
