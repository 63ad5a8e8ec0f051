/* go_eval.c: the tree of a Go template to text. Owns variables, control flow and calls of
 * templates; what functions give stands in go_func.c. A field that is not there has no value,
 * rather than being an error: data from requests lacks what it lacks. */
#include "go_int.h"

#include <ctype.h>

static struct val eval_pipe(struct go_ctx *g, const struct go_node *x);
static void run_list(struct go_ctx *g, struct go_node *const *v, size_t n);

static bool enter(struct go_ctx *g, const struct go_node *x)
{
    struct ctx *c = &g->c;
    if (c->rc)
        return false;
    c->line = x->line;
    if (c->depth >= MAX_DEPTH) {
        eval_fail(c, ERR_LIMIT, "evaluation nested more than %d deep", MAX_DEPTH);
        return false;
    }
    if (!eval_step(c, 1))
        return false;
    c->depth++;
    return true;
}

/* ---- variables ---- */

static void declare(struct go_ctx *g, struct str name, struct val v)
{
    if (g->nslots == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 16;
        struct go_slot *s = eval_alloc(&g->c, cap, sizeof *s);
        if (!s)
            return;
        if (g->nslots)
            memcpy(s, g->slots, g->nslots * sizeof *s);
        g->slots = s;
        g->cap = cap;
    }
    g->slots[g->nslots++] = (struct go_slot){name, v};
}

static struct go_slot *find(struct go_ctx *g, struct str name)
{
    eval_step(&g->c, g->nslots / 16);
    for (size_t i = g->nslots; i > 0; i--)
        if (str_eq(g->slots[i - 1].name, name))
            return &g->slots[i - 1];
    return NULL;
}

static void set(struct go_ctx *g, struct str name, struct val v)
{
    struct go_slot *s = find(g, name);
    if (s)
        s->v = v;
    else
        eval_fail(&g->c, ERR_FORMAT, "the variable %.*s is not defined", STR_ARG(name));
}

/* ---- values ---- */

/* Fields of Go's types begin with a capital letter; what came as JSON has small ones. */
static struct val field_of(struct go_ctx *g, struct val v, struct str name)
{
    char small[64];
    if (v.k != V_DICT)
        return UNDEF;
    struct val *found = val_gets(&g->c, v.d, name);
    if (found || name.n == 0 || name.n >= sizeof small)
        return found ? *found : UNDEF;
    memcpy(small, name.p, name.n);
    small[0] = (char)tolower((unsigned char)small[0]);
    found = val_gets(&g->c, v.d, str_n(small, name.n));
    if (!found && str_is(name, "Defs"))
        found = val_gets(&g->c, v.d, STR("$defs"));
    return found ? *found : UNDEF;
}

static struct val eval_value(struct go_ctx *g, const struct go_node *x)
{
    struct go_slot *s;
    switch ((enum go_type)x->type) {
    case GO_N_CONST: return x->op == '"' ? val_borrow(&g->c, x->text, false) : x->k;
    case GO_N_DOT: return g->dot;
    case GO_N_VAR: s = find(g, x->text); return s ? s->v : UNDEF;
    case GO_N_PIPE: return eval_pipe(g, x);
    case GO_N_FUNC:
        if (x->fn->least > 0)
            return eval_fail(&g->c, ERR_FORMAT, "%s wants arguments", x->fn->name);
        return x->fn->fn(g, NULL, 0);
    default: return UNDEF;
    }
}

static struct val eval_operand(struct go_ctx *g, const struct go_node *x)
{
    struct val v;
    if (!enter(g, x))
        return UNDEF;
    if (x->type == GO_N_FIELD)
        v = field_of(g, x->a ? eval_operand(g, x->a) : g->dot, x->text);
    else
        v = eval_value(g, x);
    g->c.depth--;
    return v;
}

/* and, or: the first value that decides, the others are not looked at. */
static struct val eval_logic(struct go_ctx *g, const struct go_node *x, bool has_last,
                             struct val last)
{
    bool until = str_is(str_of(x->v[0]->fn->name), "or");
    struct val v = UNDEF;
    if (x->n < 2 && !has_last)
        return eval_fail(&g->c, ERR_FORMAT, "%s wants arguments", x->v[0]->fn->name);
    for (size_t i = 1; i < x->n && !g->c.rc; i++) {
        v = eval_operand(g, x->v[i]);
        if (val_truth(v) == until)
            return v;
    }
    return has_last ? last : v;
}

static struct val call_func(struct go_ctx *g, const struct go_node *x, bool has_last,
                            struct val last)
{
    const struct go_func *f = x->v[0]->fn;
    size_t n = x->n - 1 + has_last;
    if (!f->fn)
        return eval_logic(g, x, has_last, last);
    if (n < f->least || n > f->most)
        return eval_fail(&g->c, ERR_FORMAT, "%s has %zu arguments and wants %s%zu", f->name, n,
                         n < f->least ? "at least " : "at most ",
                         n < f->least ? f->least : f->most);
    struct val *v = eval_alloc(&g->c, n + 1, sizeof *v);
    for (size_t i = 1; v && i < x->n && !g->c.rc; i++)
        v[i - 1] = eval_operand(g, x->v[i]);
    if (v && has_last)
        v[n - 1] = last;
    return g->c.rc ? UNDEF : f->fn(g, v, n);
}

static struct val eval_command(struct go_ctx *g, const struct go_node *x, bool has_last,
                               struct val last)
{
    if (x->v[0]->type == GO_N_FUNC)
        return call_func(g, x, has_last, last);
    if (x->n > 1) {
        g->c.line = x->line;
        return eval_fail(&g->c, ERR_FORMAT, "a value is called as if it were a function");
    }
    return eval_operand(g, x->v[0]);
}

static struct val eval_pipe(struct go_ctx *g, const struct go_node *x)
{
    struct val v = UNDEF;
    if (!enter(g, x))
        return UNDEF;
    for (size_t i = 0; i < x->n && !g->c.rc; i++)
        v = eval_command(g, x->v[i], i > 0, v);
    g->c.depth--;
    return v;
}

/* Of if, with and actions: the value, and the variable that is declared or set. */
static struct val eval_action(struct go_ctx *g, const struct go_node *x)
{
    struct val v = eval_pipe(g, x);
    if (x->nnames && x->op == ':')
        declare(g, x->names[0], v);
    else if (x->nnames)
        set(g, x->names[0], v);
    return v;
}

/* ---- control flow ---- */

static void bind(struct go_ctx *g, const struct go_node *pipe, struct val key, struct val v)
{
    struct val both[2] = {key, v};
    for (size_t i = 0; i < pipe->nnames; i++) {
        struct val x = both[pipe->nnames == 1 ? 1 : i];
        if (pipe->op == ':')
            declare(g, pipe->names[i], x);
        else
            set(g, pipe->names[i], x);
    }
}

static bool range_item(struct go_ctx *g, struct val over, size_t i, struct val *key, struct val *v)
{
    *key = val_int((int64_t)i);
    switch (over.k) {
    case V_LIST:
        if (i >= over.l->n)
            return false;
        *v = over.l->v[i];
        return true;
    case V_DICT:
        if (i >= over.d->n)
            return false;
        *key = over.d->key[i];
        *v = over.d->val[i];
        return true;
    case V_INT: *v = *key; return (int64_t)i < over.i;
    case V_UNDEF:
    case V_NONE: return false;
    default: eval_fail(&g->c, ERR_FORMAT, "range cannot go over %s", val_type(over)); return false;
    }
}

static void run_range(struct go_ctx *g, const struct go_node *x)
{
    struct val over = eval_pipe(g, x->a), key, v, dot = g->dot;
    size_t slots = g->nslots, i = 0;
    g->c.line = x->line;
    for (; !g->c.rc && range_item(g, over, i, &key, &v) && eval_step(&g->c, 1); i++) {
        bind(g, x->a, key, v);
        g->dot = v;
        run_list(g, x->v, x->n);
        g->nslots = slots;
        enum flow flow = g->c.flow;
        g->c.flow = FLOW_ON;
        if (flow == FLOW_BREAK)
            break;
    }
    g->dot = dot;
    if (i == 0 && !g->c.rc && g->c.flow == FLOW_ON)
        run_list(g, x->w, x->m);
}

static void run_branch(struct go_ctx *g, const struct go_node *x)
{
    size_t slots = g->nslots;
    struct val v = eval_action(g, x->a), dot = g->dot;
    bool yes = val_truth(v);
    if (yes && x->type == GO_N_WITH)
        g->dot = v;
    run_list(g, yes ? x->v : x->w, yes ? x->n : x->m);
    g->dot = dot;
    g->nslots = slots;
}

static void run_template(struct go_ctx *g, const struct go_node *x)
{
    const struct go_define *d = NULL;
    for (size_t i = 0; i < g->t->ndefines; i++)
        if (str_eq(g->t->defines[i].name, x->text))
            d = &g->t->defines[i];
    if (!d) {
        eval_fail(&g->c, ERR_FORMAT, "the template '%.*s' is not defined", STR_ARG(x->text));
        return;
    }
    struct val data = x->a ? eval_pipe(g, x->a) : UNDEF, dot = g->dot;
    size_t slots = g->nslots;
    declare(g, STR("$"), data);
    g->dot = data;
    run_list(g, d->v, d->n);
    g->dot = dot;
    g->nslots = slots;
    g->c.flow = FLOW_ON;
}

static void run(struct go_ctx *g, const struct go_node *x)
{
    struct val v;
    switch ((enum go_type)x->type) {
    case GO_N_TEXT: sb_add(&g->c, g->c.out, x->text, false); break;
    case GO_N_ACTION:
        v = eval_action(g, x->a);
        if (!x->a->nnames && !g->c.rc)
            go_print(g, g->c.out, v);
        break;
    case GO_N_IF:
    case GO_N_WITH: run_branch(g, x); break;
    case GO_N_RANGE: run_range(g, x); break;
    case GO_N_TEMPLATE: run_template(g, x); break;
    case GO_N_BREAK: g->c.flow = FLOW_BREAK; break;
    case GO_N_CONTINUE: g->c.flow = FLOW_CONTINUE; break;
    default: break;
    }
}

static void run_list(struct go_ctx *g, struct go_node *const *v, size_t n)
{
    for (size_t i = 0; i < n && !g->c.rc && g->c.flow == FLOW_ON; i++) {
        if (g->cutting && v[i]->seq > g->t->cut)
            return;
        if (!enter(g, v[i]))
            return;
        run(g, v[i]);
        g->c.depth--;
    }
}

void go_eval(struct go_ctx *g, struct val data)
{
    g->nslots = 0;
    g->c.depth = 0;
    g->c.flow = FLOW_ON;
    g->dot = data;
    declare(g, STR("$"), data);
    run_list(g, g->t->v, g->t->n);
}
