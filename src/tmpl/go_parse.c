/* go_parse.c: items to the tree of a Go template. Owns the grammar, and what a template has to say
 * of itself: which data it reads, and where the model's answer begins. Called by tmpl_parse. */
#include "go_int.h"

#include <stdarg.h>
#include <stdio.h>

struct gp {
    struct tmpl *t;
    struct go_tmpl *g;
    const struct go_item *v;
    size_t i;
    uint32_t seq;
    int nesting, loops;
    struct str vars[256]; /* declared so far */
    size_t nvars;
    int rc;
    struct err *e;
    struct go_node bad;
};

static const struct go_item *cur(const struct gp *p)
{
    return &p->v[p->i];
}

static void next(struct gp *p)
{
    if (cur(p)->type != GO_EOF)
        p->i++;
}

static struct go_node *fail(struct gp *p, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static struct go_node *fail(struct gp *p, int code, const char *fmt, ...)
{
    char msg[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (!p->rc)
        p->rc = err_set_at(p->e, code, cur(p)->line, "template line %u: %s", cur(p)->line, msg);
    return &p->bad;
}

static void *alloc(struct gp *p, size_t n)
{
    void *m = p->rc ? NULL : arena_alloc(p->t->mem, n);
    if (!m)
        fail(p, ERR_LIMIT, "the template is too large");
    return m;
}

static struct go_node *node(struct gp *p, enum go_type type)
{
    struct go_node *x = alloc(p, sizeof *x);
    if (!x)
        return &p->bad;
    *x = (struct go_node){.type = (uint8_t)type, .line = cur(p)->line};
    return x;
}

struct list {
    struct go_node **v;
    size_t n, cap;
};

static void push(struct gp *p, struct list *l, struct go_node *x)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        struct go_node **v = alloc(p, cap * sizeof *v);
        if (!v)
            return;
        if (l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = x;
}

static bool at_op(const struct gp *p, char op)
{
    return cur(p)->type == GO_OP && cur(p)->op == op;
}

static bool at_word(const struct gp *p, const char *word)
{
    return cur(p)->type == GO_WORD && str_is(cur(p)->text, word);
}

static const char *item_name(const struct go_item *x, char out[static 48])
{
    if (x->type == GO_EOF)
        return "the end of the template";
    if (x->type == GO_RIGHT)
        return "the end of the action";
    snprintf(out, 48, "'%s%.*s'", x->type == GO_FIELD || x->type == GO_DOT ? "." : "",
             (int)(x->text.n < 30 ? x->text.n : 30), x->text.p ? x->text.p : "");
    return out;
}

static void want_right(struct gp *p, const char *where)
{
    char z[48];
    if (cur(p)->type != GO_RIGHT)
        fail(p, ERR_FORMAT, "%s is not expected in %s", item_name(cur(p), z), where);
    else
        next(p);
}

/* ---- variables: known before they are read, as in Go ---- */

static void declare(struct gp *p, struct str name)
{
    if (p->nvars == sizeof p->vars / sizeof *p->vars)
        fail(p, ERR_LIMIT, "more than %zu variables", p->nvars);
    else
        p->vars[p->nvars++] = name;
}

static bool declared(const struct gp *p, struct str name)
{
    for (size_t i = 0; i < p->nvars; i++)
        if (str_eq(p->vars[i], name))
            return true;
    return str_is(name, "$");
}

static struct go_node *variable(struct gp *p)
{
    struct go_node *x = node(p, GO_N_VAR);
    x->text = cur(p)->text;
    if (!declared(p, x->text))
        return fail(p, ERR_FORMAT, "the variable %.*s is not defined", STR_ARG(x->text));
    next(p);
    return x;
}

/* ---- pipelines ---- */

static struct go_node *pipeline(struct gp *p);

static void note_field(struct gp *p, struct str name)
{
    p->g->messages |= str_ieq(name, STR("Messages"));
    p->g->response |= str_ieq(name, STR("Response"));
    p->g->suffix |= str_ieq(name, STR("Suffix"));
}

/* .A.B behind a value; a field behind white space is an argument of its own. */
static struct go_node *chain(struct gp *p, struct go_node *x)
{
    while (!p->rc && cur(p)->type == GO_FIELD && !cur(p)->spaced) {
        struct go_node *f = node(p, GO_N_FIELD);
        f->text = cur(p)->text;
        f->a = x;
        note_field(p, f->text);
        next(p);
        x = f;
    }
    return x;
}

static struct go_node *word(struct gp *p)
{
    struct str w = cur(p)->text;
    struct go_node *x = node(p, GO_N_CONST);
    if (str_is(w, "true") || str_is(w, "false"))
        x->k = val_bool(w.p[0] == 't');
    else if (str_is(w, "nil"))
        x->k = NONE;
    else {
        x->type = GO_N_FUNC;
        x->text = w;
        x->fn = go_func_find(w);
        if (!x->fn)
            return fail(p, ERR_FORMAT, "there is no function '%.*s'", STR_ARG(w));
    }
    next(p);
    return x;
}

static struct go_node *operand(struct gp *p)
{
    struct go_node *x;
    char z[48];
    switch (cur(p)->type) {
    case GO_DOT:
        x = node(p, GO_N_DOT);
        next(p);
        return x;
    case GO_FIELD:
        x = node(p, GO_N_FIELD);
        x->text = cur(p)->text;
        note_field(p, x->text);
        next(p);
        return chain(p, x);
    case GO_VAR: return chain(p, variable(p));
    case GO_WORD: return word(p);
    case GO_STRING:
    case GO_NUMBER:
        x = node(p, GO_N_CONST);
        x->k = cur(p)->k;
        x->text = cur(p)->text;
        x->op = cur(p)->type == GO_STRING ? '"' : 0;
        next(p);
        return x;
    default: break;
    }
    if (!at_op(p, '('))
        return fail(p, ERR_FORMAT, "%s is not expected in an expression", item_name(cur(p), z));
    if (++p->nesting > MAX_NESTING)
        return fail(p, ERR_LIMIT, "expressions nested more than %d deep", MAX_NESTING);
    next(p);
    x = pipeline(p);
    if (!at_op(p, ')'))
        return fail(p, ERR_FORMAT, "an expression in parentheses has no end");
    next(p);
    p->nesting--;
    return chain(p, x);
}

static bool ends_command(const struct gp *p)
{
    return cur(p)->type == GO_RIGHT || cur(p)->type == GO_EOF || at_op(p, '|') || at_op(p, ')') ||
           p->rc;
}

static struct go_node *command(struct gp *p)
{
    struct go_node *x = node(p, GO_N_CMD);
    struct list l = {0};
    while (!ends_command(p))
        push(p, &l, operand(p));
    if (!l.n)
        return fail(p, ERR_FORMAT, "a command is missing");
    x->v = l.v;
    x->n = l.n;
    return x;
}

/* $x :=, $x =, $i, $x := before a pipeline. */
static void declarations(struct gp *p, struct go_node *x)
{
    size_t i = p->i, n = 0;
    struct str names[2];
    if (p->v[i].type == GO_VAR)
        names[n++] = p->v[i++].text;
    if (n && p->v[i].type == GO_OP && p->v[i].op == ',' && p->v[i + 1].type == GO_VAR) {
        names[n++] = p->v[i + 1].text;
        i += 2;
    }
    bool sets = n && p->v[i].type == GO_OP && p->v[i].op == '=';
    if (!n || (!sets && p->v[i].type != GO_DECLARE))
        return;
    p->i = i + 1;
    x->op = sets ? '=' : ':';
    x->nnames = n;
    for (size_t k = 0; k < n; k++) {
        x->names[k] = names[k];
        if (sets && !declared(p, names[k]))
            fail(p, ERR_FORMAT, "the variable %.*s is not defined", STR_ARG(names[k]));
    }
}

static struct go_node *pipeline(struct gp *p)
{
    struct go_node *x = node(p, GO_N_PIPE);
    struct list l = {0};
    if (x == &p->bad)
        return x;
    declarations(p, x);
    do {
        if (l.n)
            next(p);
        push(p, &l, command(p));
        if (l.n > 1 && !p->rc && l.v[l.n - 1]->v[0]->type != GO_N_FUNC)
            fail(p, ERR_FORMAT, "only a function can stand behind '|'");
    } while (!p->rc && at_op(p, '|'));
    x->v = l.v;
    x->n = l.n;
    for (size_t k = 0; x->op == ':' && k < x->nnames; k++)
        declare(p, x->names[k]);
    return x;
}

/* ---- lists ---- */

enum ends { END_EOF, END_END, END_ELSE };

static enum ends statements(struct gp *p, struct list *l);

static struct go_node *statement(struct gp *p, enum go_type type)
{
    struct go_node *x = node(p, type);
    if (x != &p->bad)
        x->seq = p->seq++;
    return x;
}

/* Behind the keyword: pipeline, body, else. An else with a keyword behind it is a block of its own
 * that ends where this one does. */
static struct go_node *branch(struct gp *p, enum go_type type, const char *name)
{
    size_t vars = p->nvars;
    struct go_node *x = statement(p, type);
    struct list body = {0}, other = {0};
    if (++p->nesting > MAX_NESTING)
        return fail(p, ERR_LIMIT, "blocks nested more than %d deep", MAX_NESTING);
    x->a = pipeline(p);
    if (!p->rc && x->a->nnames == 2 && type != GO_N_RANGE)
        return fail(p, ERR_FORMAT, "only a range declares two variables");
    want_right(p, name);
    p->loops += type == GO_N_RANGE;
    enum ends end = statements(p, &body);
    p->loops -= type == GO_N_RANGE;
    if (end == END_ELSE) {
        bool again = at_word(p, "if") || at_word(p, "with");
        enum go_type kind = at_word(p, "if") ? GO_N_IF : GO_N_WITH;
        if (again) {
            next(p);
            push(p, &other, branch(p, kind, "else"));
        } else {
            want_right(p, "else");
            end = statements(p, &other);
        }
        if (end == END_ELSE && !again)
            fail(p, ERR_FORMAT, "a second else in one %s", name);
        if (again)
            end = END_END;
    }
    if (end == END_EOF && !p->rc)
        fail(p, ERR_FORMAT, "the %s of line %u has no end", name, x->line);
    x->v = body.v;
    x->n = body.n;
    x->w = other.v;
    x->m = other.n;
    p->nvars = vars;
    p->nesting--;
    return x;
}

static void define(struct gp *p, struct str name)
{
    struct list body = {0};
    size_t vars = p->nvars;
    int loops = p->loops;
    uint32_t line = cur(p)->line;
    p->nvars = 0;
    p->loops = 0;
    if (statements(p, &body) != END_END && !p->rc)
        fail(p, ERR_FORMAT, "the define of line %u has no end", line);
    p->nvars = vars;
    p->loops = loops;
    if (p->g->ndefines == 256)
        fail(p, ERR_LIMIT, "more than 256 templates are defined");
    struct go_define *d = alloc(p, (p->g->ndefines + 1) * sizeof *d);
    if (!d)
        return;
    if (p->g->ndefines)
        memcpy(d, p->g->defines, p->g->ndefines * sizeof *d);
    d[p->g->ndefines++] = (struct go_define){name, body.v, body.n};
    p->g->defines = d;
}

/* define, block and template begin with a name. */
static struct str name_of(struct gp *p)
{
    struct str name = cur(p)->text;
    if (cur(p)->type != GO_STRING)
        fail(p, ERR_FORMAT, "the name of a template is missing");
    next(p);
    return name;
}

static void named(struct gp *p, struct list *l, char what)
{
    if (++p->nesting > MAX_NESTING) {
        fail(p, ERR_LIMIT, "blocks nested more than %d deep", MAX_NESTING);
        return;
    }
    struct str name = name_of(p);
    struct go_node *x = what == 'd' ? NULL : statement(p, GO_N_TEMPLATE);
    if (x) {
        x->text = name;
        x->a = cur(p)->type == GO_RIGHT ? NULL : pipeline(p);
    }
    want_right(p, what == 'd' ? "define" : "template");
    if (what != 't' && !p->rc)
        define(p, name);
    if (x)
        push(p, l, x);
    p->nesting--;
}

static void note_response(struct gp *p, const struct go_node *action)
{
    const struct go_node *pipe = action->a;
    for (size_t i = 0; !p->rc && i < pipe->n; i++)
        for (size_t k = 0; k < pipe->v[i]->n; k++) {
            const struct go_node *x = pipe->v[i]->v[k];
            if (x->type == GO_N_FIELD && str_is(x->text, "Response") && p->g->cut == UINT32_MAX)
                p->g->cut = action->seq;
        }
}

static void jump(struct gp *p, struct list *l, enum go_type type, const char *name)
{
    if (!p->loops)
        fail(p, ERR_FORMAT, "a %s outside of a range", name);
    push(p, l, statement(p, type));
    want_right(p, name);
}

/* One action, behind {{. True: it ends the list, *end tells how. */
static bool action(struct gp *p, struct list *l, enum ends *end)
{
    static const struct {
        const char *name;
        char what;
    } words[] = {{"if", 'i'},    {"range", 'r'},   {"with", 'w'},  {"end", 'e'},
                 {"else", 'l'},  {"define", 'd'},  {"block", 'b'}, {"template", 't'},
                 {"break", 'k'}, {"continue", 'c'}};
    char what = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (at_word(p, words[i].name))
            what = words[i].what;
    if (what)
        next(p);
    switch (what) {
    case 'i': push(p, l, branch(p, GO_N_IF, "if")); return false;
    case 'r': push(p, l, branch(p, GO_N_RANGE, "range")); return false;
    case 'w': push(p, l, branch(p, GO_N_WITH, "with")); return false;
    case 'k': jump(p, l, GO_N_BREAK, "break"); return false;
    case 'c': jump(p, l, GO_N_CONTINUE, "continue"); return false;
    case 'd':
    case 'b':
    case 't': named(p, l, what); return false;
    case 'l': *end = END_ELSE; return true;
    case 'e':
        want_right(p, "end");
        *end = END_END;
        return true;
    default: break;
    }
    struct go_node *x = statement(p, GO_N_ACTION);
    x->a = pipeline(p);
    want_right(p, "an action");
    if (!p->rc)
        note_response(p, x);
    push(p, l, x);
    return false;
}

static enum ends statements(struct gp *p, struct list *l)
{
    enum ends end = END_EOF;
    while (!p->rc && cur(p)->type != GO_EOF) {
        if (cur(p)->type == GO_TEXT) {
            struct go_node *x = statement(p, GO_N_TEXT);
            x->text = cur(p)->text;
            next(p);
            push(p, l, x);
            continue;
        }
        next(p); /* {{ */
        if (action(p, l, &end))
            return end;
    }
    return END_EOF;
}

/* Templates that read neither messages nor the response end with it. */
static void add_response(struct gp *p, struct list *l)
{
    struct go_node *x = statement(p, GO_N_ACTION), *field = node(p, GO_N_FIELD);
    struct go_node *cmd = node(p, GO_N_CMD), *pipe = node(p, GO_N_PIPE);
    struct list args = {0}, cmds = {0};
    field->text = STR("Response");
    push(p, &args, field);
    cmd->v = args.v;
    cmd->n = args.n;
    push(p, &cmds, cmd);
    pipe->v = cmds.v;
    pipe->n = cmds.n;
    x->a = pipe;
    push(p, l, x);
    if (!p->rc)
        p->g->cut = x->seq;
}

int go_parse(struct tmpl *t, const struct go_item *v, size_t n, struct err *e)
{
    struct gp p = {.t = t, .v = v, .e = e};
    struct list l = {0};
    (void)n; /* the last is GO_EOF */
    struct go_tmpl *g = arena_alloc(t->mem, sizeof *g);
    if (!g)
        return err_set(e, ERR_NOMEM, "template: out of memory");
    *g = (struct go_tmpl){.cut = UINT32_MAX};
    p.g = g;
    enum ends end = statements(&p, &l);
    if (!p.rc && end != END_EOF)
        fail(&p, ERR_FORMAT, "%s without a block", end == END_END ? "an end" : "an else");
    if (!p.rc && !g->messages && !g->response)
        add_response(&p, &l);
    g->v = l.v;
    g->n = l.n;
    t->go = g;
    return p.rc;
}
