/* tmpl_eval.c: the tree to text. Owns scopes, control flow, calls and the limits; what single
 * operations mean stands in tmpl_ops.c, filters and methods in files of their own. */
#include "tmpl_int.h"

#include <stdarg.h>
#include <stdio.h>

struct val eval_fail(struct ctx *c, int code, const char *fmt, ...)
{
    if (c->rc)
        return UNDEF;
    char msg[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->rc = err_set_at(c->e, code, c->line, "template line %u: %s", c->line, msg);
    return UNDEF;
}

bool eval_step(struct ctx *c, size_t n)
{
    if (n <= MAX_STEPS - c->steps) {
        c->steps += n;
        return true;
    }
    c->steps = MAX_STEPS;
    eval_fail(c, ERR_LIMIT, "the template takes more than %d steps", (int)MAX_STEPS);
    return false;
}

void *eval_alloc(struct ctx *c, size_t count, size_t size)
{
    if (c->rc)
        return NULL;
    void *p = arena_array(c->mem, count, size);
    if (!p)
        eval_fail(c, ERR_LIMIT, "the template's values take more than %d MiB",
                  MAX_VALUE_BYTES >> 20);
    return p;
}

/* ---- scopes ---- */

static struct slot *find_here(struct ctx *c, const struct scope *s, uint32_t name)
{
    eval_step(c, s->n / 16);
    for (size_t i = s->n; i > 0; i--)
        if (s->v[i - 1].name == name)
            return &s->v[i - 1];
    return NULL;
}

struct val eval_lookup(struct ctx *c, uint32_t name)
{
    for (struct scope *s = c->scope; s; s = s->up) {
        struct slot *x = find_here(c, s, name);
        if (x)
            return x->v;
    }
    const struct builtin *g = global_find(c->t->names[name]);
    if (g) {
        struct vfn *f = eval_alloc(c, 1, sizeof *f);
        if (!f)
            return UNDEF;
        *f = (struct vfn){.what = g->name, .fn = g->fn};
        return (struct val){.k = V_FN, .fn = f};
    }
    char *z = arena_strz(c->mem, c->t->names[name]);
    return (struct val){.k = V_UNDEF, .undef = z};
}

void eval_define(struct ctx *c, struct scope *s, uint32_t name, struct val v)
{
    struct slot *x = find_here(c, s, name);
    if (x) {
        x->v = v;
        return;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        struct slot *w = eval_alloc(c, cap, sizeof *w);
        if (!w)
            return;
        if (s->n)
            memcpy(w, s->v, s->n * sizeof *w);
        s->v = w;
        s->cap = cap;
    }
    s->v[s->n++] = (struct slot){name, v};
}

static struct scope *scope_new(struct ctx *c, struct scope *up)
{
    struct scope *s = eval_alloc(c, 1, sizeof *s);
    if (s)
        s->up = up;
    return s;
}

void eval_assign(struct ctx *c, const struct node *target, struct val v)
{
    if (c->rc)
        return;
    if (target->type == N_NAME) {
        eval_define(c, c->scope, target->name, v);
        return;
    }
    if (target->type == N_ATTR) {
        struct val ns = eval_expr(c, target->a);
        c->line = target->line;
        if (ns.k != V_NS)
            eval_fail(c, ERR_FORMAT, "cannot set attribute '%.*s' of %s: not a namespace",
                      STR_ARG(c->t->names[target->name]), val_type(ns));
        else
            val_put(c, ns.d, val_borrow(c, c->t->names[target->name], false), v);
        return;
    }
    struct vlist *l = val_iter(c, v);
    if (l && l->n != target->n)
        eval_fail(c, ERR_FORMAT, "%zu values for %zu names", l->n, target->n);
    for (size_t i = 0; l && i < target->n && !c->rc; i++)
        eval_assign(c, target->v[i], l->v[i]);
}

/* ---- calls ---- */

/* Arguments to values. The struct borrows from the render's arena. */
static void eval_args(struct ctx *c, const struct node *x, struct args *a)
{
    struct val *v = eval_alloc(c, x->n + x->m, sizeof *v);
    struct str *names = eval_alloc(c, x->m, sizeof *names);
    for (size_t i = 0; i < x->n && !c->rc; i++)
        v[i] = eval_expr(c, x->v[i]);
    for (size_t i = 0; i < x->m && !c->rc; i++) {
        v[x->n + i] = eval_expr(c, x->w[i]);
        names[i] = c->t->names[x->names[i]];
    }
    if (c->rc)
        return;
    a->v = v;
    a->n = x->n;
    a->names = names;
    a->named = v + x->n;
    a->m = x->m;
}

/* Binds parameters in the macro's own scope; defaults see the parameters before them. */
static void bind_params(struct ctx *c, const struct node *m, const struct args *a)
{
    for (size_t i = 0; i < m->m && !c->rc; i++) {
        struct val missing = {.k = V_UNDEF};
        const struct str name = c->t->names[m->names[i]];
        bool given = i < a->n;
        struct val v = given ? a->v[i] : missing;
        for (size_t k = 0; k < a->m; k++)
            if (str_eq(a->names[k], name)) {
                v = a->named[k];
                given = true;
            }
        if (!given && m->w[i])
            v = eval_expr(c, m->w[i]);
        eval_define(c, c->scope, m->names[i], v);
    }
}

/* What no parameter takes. */
static void bind_rest(struct ctx *c, const struct node *m, const struct args *a)
{
    struct val rest = val_list(c, V_TUPLE, 0), named = val_dict(c, V_DICT);
    for (size_t i = m->m; i < a->n && !c->rc; i++)
        val_push(c, rest.l, a->v[i]);
    for (size_t k = 0; k < a->m && !c->rc; k++) {
        bool known = str_is(a->names[k], "caller");
        for (size_t i = 0; i < m->m; i++)
            known |= str_eq(a->names[k], c->t->names[m->names[i]]);
        if (!known)
            val_put(c, named.d, val_borrow(c, a->names[k], false), a->named[k]);
    }
    if (m->op & MACRO_VARARGS)
        eval_define(c, c->scope, c->t->name_varargs, rest);
    if (m->op & MACRO_KWARGS)
        eval_define(c, c->scope, c->t->name_kwargs, named);
}

static void check_params(struct ctx *c, const struct node *m, const struct args *a)
{
    if (a->n > m->m && !(m->op & MACRO_VARARGS))
        eval_fail(c, ERR_FORMAT, "macro '%.*s' takes %zu arguments, not %zu",
                  STR_ARG(c->t->names[m->name]), m->m, a->n);
    for (size_t k = 0; k < a->m; k++) {
        bool known =
            m->op & MACRO_KWARGS || (m->op & MACRO_CALLER && str_is(a->names[k], "caller"));
        for (size_t i = 0; i < m->m; i++)
            known |= str_eq(a->names[k], c->t->names[m->names[i]]);
        if (!known)
            eval_fail(c, ERR_FORMAT, "macro '%.*s' has no parameter '%.*s'",
                      STR_ARG(c->t->names[m->name]), STR_ARG(a->names[k]));
    }
}

struct val eval_macro(struct ctx *c, const struct vfn *f, const struct args *a)
{
    const struct node *m = f->macro;
    check_params(c, m, a);
    struct scope *s = scope_new(c, f->scope);
    if (!s)
        return UNDEF;
    struct scope *old_scope = c->scope;
    struct sb *old_out = c->out, text = {0};
    c->scope = s;
    c->out = &text;
    bind_params(c, m, a);
    if (m->op & (MACRO_VARARGS | MACRO_KWARGS))
        bind_rest(c, m, a);
    for (size_t k = 0; k < a->m; k++)
        if (str_is(a->names[k], "caller"))
            eval_define(c, s, c->t->name_caller, a->named[k]);
    eval_body(c, m->v, m->n);
    c->scope = old_scope;
    c->out = old_out;
    return sb_take(c, &text);
}

static void run_loop(struct ctx *c, const struct node *x, struct val over, int depth);

/* A recursive loop called by its own body: its text over other items. */
static struct val loop_again(struct ctx *c, const struct vloop *loop, const struct args *a)
{
    if (a->n != 1)
        return eval_fail(c, ERR_FORMAT, "loop() takes one argument, not %zu", a->n);
    if (c->depth >= MAX_DEPTH)
        return eval_fail(c, ERR_LIMIT, "evaluation nested more than %d deep", MAX_DEPTH);
    struct scope *old = c->scope;
    struct sb *out = c->out, text = {0};
    c->scope = loop->scope;
    c->out = &text;
    c->depth++;
    run_loop(c, loop->again, a->v[0], loop->depth + 1);
    c->depth--;
    c->scope = old;
    c->out = out;
    return sb_take(c, &text);
}

struct val eval_call(struct ctx *c, struct val f, const struct args *a)
{
    if (c->rc)
        return UNDEF;
    if (f.k == V_UNDEF && f.undef)
        return eval_fail(c, ERR_FORMAT, "'%s' is undefined", f.undef);
    if (f.k == V_LOOP && f.loop->again)
        return loop_again(c, f.loop, a);
    if (f.k != V_FN)
        return eval_fail(c, ERR_FORMAT, "%s cannot be called", val_type(f));
    if (f.fn->macro)
        return eval_macro(c, f.fn, a);
    struct args own = *a;
    own.self = f.fn->self;
    return f.fn->fn(c, &own);
}

static struct val call_node(struct ctx *c, const struct node *x, const struct vfn *caller)
{
    struct val f = eval_expr(c, x->a);
    struct args a = {0};
    eval_args(c, x, &a);
    c->line = x->line;
    if (caller && !c->rc) {
        struct str *names = eval_alloc(c, a.m + 1, sizeof *names);
        struct val *named = eval_alloc(c, a.m + 1, sizeof *named);
        if (!names || !named)
            return UNDEF;
        for (size_t i = 0; i < a.m; i++) {
            names[i] = a.names[i];
            named[i] = a.named[i];
        }
        names[a.m] = STR("caller");
        named[a.m] = (struct val){.k = V_FN, .fn = (struct vfn *)caller};
        a.names = names;
        a.named = named;
        a.m++;
    }
    return eval_call(c, f, &a);
}

/* ---- expressions ---- */

static struct val eval_filter(struct ctx *c, const struct node *x)
{
    struct args a = {.self = eval_expr(c, x->a)};
    eval_args(c, x, &a);
    c->line = x->line;
    if (c->rc)
        return UNDEF;
    if (!x->fn)
        return eval_fail(c, ERR_UNSUPPORTED, "there is no %s named '%.*s'",
                         x->type == N_TEST ? "test" : "filter", STR_ARG(c->t->names[x->name]));
    struct val v = x->fn->fn(c, &a);
    if (x->type == N_TEST)
        v = val_bool(val_truth(v) != x->negated);
    return v;
}

static bool compare(struct ctx *c, enum cmp_op op, struct val a, struct val b)
{
    switch (op) {
    case CMP_EQ: return val_eq(c, a, b);
    case CMP_NE: return !val_eq(c, a, b);
    case CMP_LT: return val_cmp(c, a, b) < 0;
    case CMP_LE: return val_cmp(c, a, b) <= 0;
    case CMP_GT: return val_cmp(c, a, b) > 0;
    case CMP_GE: return val_cmp(c, a, b) >= 0;
    case CMP_IN: return val_in(c, a, b);
    case CMP_NOT_IN: return !val_in(c, a, b);
    }
    return false;
}

static struct val eval_compare(struct ctx *c, const struct node *x)
{
    struct val left = eval_expr(c, x->a);
    bool yes = true;
    for (size_t i = 0; i < x->n && yes && !c->rc; i++) {
        struct val right = eval_expr(c, x->v[i]->a);
        c->line = x->line;
        yes = !c->rc && compare(c, x->v[i]->op, left, right);
        left = right;
    }
    return val_bool(yes);
}

static struct val eval_concat(struct ctx *c, const struct node *x)
{
    struct sb b = {0};
    for (size_t i = 0; i < x->n && !c->rc; i++)
        sb_val(c, &b, eval_expr(c, x->v[i]));
    return sb_take(c, &b);
}

static struct val eval_literal(struct ctx *c, const struct node *x)
{
    if (x->type == N_DICT) {
        struct val d = val_dict(c, V_DICT);
        for (size_t i = 0; i < x->n && !c->rc; i++) {
            struct val k = eval_expr(c, x->v[i]);
            val_put(c, d.d, k, eval_expr(c, x->w[i]));
        }
        return d;
    }
    struct val l = val_list(c, x->type == N_LIST ? V_LIST : V_TUPLE, x->n);
    for (size_t i = 0; i < x->n && !c->rc; i++)
        val_push(c, l.l, eval_expr(c, x->v[i]));
    return l;
}

static struct val eval_sign(struct ctx *c, const struct node *x)
{
    struct val v = eval_expr(c, x->a);
    c->line = x->line;
    if (c->rc)
        return UNDEF;
    if (!val_is_num(v))
        return eval_fail(c, ERR_FORMAT, "a sign before %s", val_type(v));
    if (v.k == V_FLOAT)
        return val_float(x->type == N_NEG ? -v.f : v.f);
    int64_t i = val_whole(v);
    if (x->type == N_NEG && i == INT64_MIN)
        return eval_fail(c, ERR_LIMIT, "an integer out of range");
    return val_int(x->type == N_NEG ? -i : i);
}

static struct val eval_access(struct ctx *c, const struct node *x)
{
    struct val v = eval_expr(c, x->a), part[3] = {NONE, NONE, NONE};
    const struct node *from[3] = {x->b, x->c, x->d};
    for (int i = 0; i < 3 && x->type != N_ATTR; i++)
        if (from[i])
            part[i] = eval_expr(c, from[i]);
    c->line = x->line;
    if (c->rc)
        return UNDEF;
    if (x->type == N_ATTR)
        return eval_getattr(c, v, c->t->names[x->name]);
    if (x->type == N_ITEM)
        return eval_getitem(c, v, part[0]);
    return eval_getslice(c, v, part[0], part[1], part[2]);
}

static struct val eval_any(struct ctx *c, const struct node *x)
{
    struct val v;
    switch ((enum node_type)x->type) {
    case N_CONST: return x->k;
    case N_NAME: return eval_lookup(c, x->name);
    case N_PIPED: return c->piped;
    case N_LIST:
    case N_TUPLE:
    case N_DICT: return eval_literal(c, x);
    case N_ATTR:
    case N_ITEM:
    case N_SLICE: return eval_access(c, x);
    case N_CALL: return call_node(c, x, NULL);
    case N_FILTER:
    case N_TEST: return eval_filter(c, x);
    case N_NOT: return val_bool(!val_truth(eval_expr(c, x->a)));
    case N_NEG:
    case N_POS: return eval_sign(c, x);
    case N_AND: v = eval_expr(c, x->a); return val_truth(v) ? eval_expr(c, x->b) : v;
    case N_OR: v = eval_expr(c, x->a); return val_truth(v) ? v : eval_expr(c, x->b);
    case N_COMPARE: return eval_compare(c, x);
    case N_CONCAT: return eval_concat(c, x);
    case N_COND:
        if (val_truth(eval_expr(c, x->a)))
            return eval_expr(c, x->b);
        return x->c && !c->rc ? eval_expr(c, x->c) : UNDEF;
    case N_BIN: {
        struct val a = eval_expr(c, x->a), b = eval_expr(c, x->b);
        c->line = x->line;
        return c->rc ? UNDEF : eval_binary(c, x->op, a, b);
    }
    default: return UNDEF;
    }
}

static bool enter(struct ctx *c, const struct node *x)
{
    if (c->rc || !eval_step(c, 1))
        return false;
    c->line = x->line;
    if (c->depth >= MAX_DEPTH) {
        eval_fail(c, ERR_LIMIT, "evaluation nested more than %d deep", MAX_DEPTH);
        return false;
    }
    c->depth++;
    return true;
}

struct val eval_expr(struct ctx *c, const struct node *x)
{
    if (!enter(c, x))
        return UNDEF;
    struct val v = eval_any(c, x);
    c->depth--;
    return v;
}

/* ---- statements ---- */

static void run_if(struct ctx *c, const struct node *x)
{
    for (;;) {
        bool yes = val_truth(eval_expr(c, x->a));
        if (c->rc)
            return;
        if (yes) {
            eval_body(c, x->v, x->n);
            return;
        }
        if (x->m != 1 || x->w[0]->type != N_IF) {
            eval_body(c, x->w, x->m);
            return;
        }
        x = x->w[0]; /* elif, without recursion: there may be thousands */
        if (!eval_step(c, 1))
            return;
        c->line = x->line;
    }
}

/* The items that pass the loop's own condition. */
static struct vlist *loop_items(struct ctx *c, const struct node *x, struct val over)
{
    struct vlist *all = val_iter(c, over);
    if (!all || !x->c)
        return all;
    struct val kept = val_list(c, V_LIST, 0);
    struct scope *up = c->scope;
    for (size_t i = 0; i < all->n && !c->rc; i++) {
        c->scope = scope_new(c, up);
        if (!c->scope)
            break;
        eval_assign(c, x->a, all->v[i]);
        if (val_truth(eval_expr(c, x->c)) && !c->rc)
            val_push(c, kept.l, all->v[i]);
    }
    c->scope = up;
    return c->rc ? NULL : kept.l;
}

static void run_loop(struct ctx *c, const struct node *x, struct val over, int depth)
{
    struct vlist *items = loop_items(c, x, over);
    if (!items || c->rc)
        return;
    /* A loop over a list that its body grows must end: the count is taken once. */
    size_t n = items->n;
    struct vloop *loop = eval_alloc(c, 1, sizeof *loop);
    struct scope *up = c->scope;
    if (!loop)
        return;
    *loop = (struct vloop){.items = items, .depth = depth, .again = x->op ? x : NULL, .scope = up};
    for (size_t i = 0; i < n && i < items->n && !c->rc; i++) {
        c->scope = scope_new(c, up);
        if (!c->scope)
            break;
        loop->i = i;
        eval_define(c, c->scope, c->t->name_loop, (struct val){.k = V_LOOP, .loop = loop});
        eval_assign(c, x->a, items->v[i]);
        eval_body(c, x->v, x->n);
        enum flow flow = c->flow;
        c->flow = FLOW_ON;
        if (flow == FLOW_BREAK)
            break;
    }
    c->scope = up;
    if (!n)
        eval_body(c, x->w, x->m);
}

/* The text a body writes, in its own scope, through the filters of `x->b`. */
static struct val capture(struct ctx *c, const struct node *x)
{
    struct sb *old = c->out, text = {0};
    struct scope *up = c->scope;
    struct scope *own = scope_new(c, up);
    if (!own)
        return UNDEF;
    c->out = &text;
    c->scope = own;
    eval_body(c, x->v, x->n);
    c->out = old;
    c->scope = up;
    struct val piped = c->piped, v;
    c->piped = sb_take(c, &text);
    v = eval_expr(c, x->b);
    c->piped = piped;
    return v;
}

static struct vfn *make_macro(struct ctx *c, const struct node *x)
{
    struct vfn *f = eval_alloc(c, 1, sizeof *f);
    if (f)
        *f = (struct vfn){.what = "macro", .macro = x, .scope = c->scope};
    return f;
}

static void run_with(struct ctx *c, const struct node *x)
{
    struct scope *up = c->scope, *own = scope_new(c, up);
    if (!own)
        return;
    for (size_t i = 0; i < x->m && !c->rc; i++)
        eval_define(c, own, x->w[i]->a->name, eval_expr(c, x->w[i]->b));
    c->scope = own;
    eval_body(c, x->v, x->n);
    c->scope = up;
}

static void run(struct ctx *c, const struct node *x)
{
    struct vfn *f;
    switch ((enum node_type)x->type) {
    case N_TEXT: sb_str(c, c->out, x->k.s); break;
    case N_PRINT: sb_val(c, c->out, eval_expr(c, x->a)); break;
    case N_IF: run_if(c, x); break;
    case N_FOR: run_loop(c, x, eval_expr(c, x->b), 1); break;
    case N_DO: eval_expr(c, x->a); break;
    case N_SET: eval_assign(c, x->a, eval_expr(c, x->b)); break;
    case N_SETBLOCK: eval_assign(c, x->a, capture(c, x)); break;
    case N_FILTERBLOCK: sb_val(c, c->out, capture(c, x)); break;
    case N_MACRO:
        f = make_macro(c, x);
        if (f)
            eval_define(c, c->scope, x->name, (struct val){.k = V_FN, .fn = f});
        break;
    case N_CALLBLOCK:
        f = make_macro(c, x->b);
        if (f)
            sb_val(c, c->out, call_node(c, x->a, f));
        break;
    case N_BODY: eval_body(c, x->v, x->n); break;
    case N_WITH: run_with(c, x); break;
    case N_BREAK: c->flow = FLOW_BREAK; break;
    case N_CONTINUE: c->flow = FLOW_CONTINUE; break;
    default: break;
    }
}

void eval_body(struct ctx *c, struct node *const *v, size_t n)
{
    for (size_t i = 0; i < n && !c->rc && c->flow == FLOW_ON; i++) {
        if (!enter(c, v[i]))
            return;
        run(c, v[i]);
        c->depth--;
    }
}

int eval_template(struct ctx *c, struct sb *out)
{
    c->out = out;
    c->piped = UNDEF;
    eval_body(c, &(struct node *){c->t->root}, 1);
    return c->rc;
}
