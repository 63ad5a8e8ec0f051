/* tmpl_parse.c: statements to tree, and the template as an object: tmpl_parse, tmpl_free. The tree,
 * its strings and its table of names live in the template's arena and are never written again, so
 * any number of threads may render one template. */
#include "go_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void parse_until(struct parser *p, const char *const *ends, struct node ***v, size_t *n);

struct node *parse_fail(struct parser *p, const char *fmt, ...)
{
    if (p->rc)
        return &p->bad;
    char msg[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    uint32_t line = parse_cur(p)->line;
    p->rc = err_set_at(p->e, ERR_FORMAT, line, "template line %u: %s", line, msg);
    return &p->bad;
}

void parse_too_deep(struct parser *p, const char *what)
{
    uint32_t line = parse_cur(p)->line;
    if (!p->rc)
        p->rc = err_set_at(p->e, ERR_LIMIT, line, "template line %u: %s nested more than %d deep",
                           line, what, MAX_NESTING);
}

void *parse_alloc(struct parser *p, size_t n)
{
    void *m = p->rc ? NULL : arena_alloc(p->t->mem, n);
    if (!m && !p->rc)
        p->rc = err_set(p->e, ERR_LIMIT, "template line %u: the template is too large",
                        parse_cur(p)->line);
    return m;
}

struct node *parse_node(struct parser *p, enum node_type type)
{
    struct node *x = parse_alloc(p, sizeof *x);
    if (!x)
        return &p->bad;
    x->type = (uint8_t)type;
    x->line = parse_cur(p)->line;
    return x;
}

/* Lists grow by doubling at powers of two, so no capacity is kept. */
void parse_push(struct parser *p, struct node ***v, size_t *n, struct node *x)
{
    if ((*n & (*n - 1)) == 0) {
        size_t cap = *n ? *n * 2 : 1;
        struct node **grown = parse_alloc(p, cap * sizeof *grown);
        if (!grown)
            return;
        if (*n)
            memcpy(grown, *v, *n * sizeof *grown);
        *v = grown;
    }
    if (p->rc)
        return;
    (*v)[(*n)++] = x;
}

static uint32_t hash_name(struct str s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

static bool grow_names(struct parser *p)
{
    uint32_t cap = p->names_cap ? p->names_cap * 2 : 64;
    struct str *names = parse_alloc(p, cap * sizeof *names);
    uint32_t *hash = parse_alloc(p, (size_t)cap * 2 * sizeof *hash);
    if (!names || !hash)
        return false;
    for (uint32_t i = 0; i < p->t->nnames; i++) {
        names[i] = p->t->names[i];
        size_t k = hash_name(names[i]) & (cap * 2 - 1);
        while (hash[k])
            k = (k + 1) & (cap * 2 - 1);
        hash[k] = i + 1;
    }
    p->t->names = names;
    p->names_cap = cap;
    p->hash = hash;
    p->hash_cap = (size_t)cap * 2;
    return true;
}

uint32_t parse_intern(struct parser *p, struct str name)
{
    if (p->t->nnames == p->names_cap && !grow_names(p))
        return 0;
    size_t k = hash_name(name) & (p->hash_cap - 1);
    for (; p->hash[k]; k = (k + 1) & (p->hash_cap - 1))
        if (str_eq(p->t->names[p->hash[k] - 1], name))
            return p->hash[k] - 1;
    p->t->names[p->t->nnames] = name;
    p->hash[k] = ++p->t->nnames;
    return p->t->nnames - 1;
}

void parse_next(struct parser *p)
{
    if (p->i + 1 < p->n)
        p->i++;
}

bool parse_at_op(const struct parser *p, char op)
{
    return parse_cur(p)->type == T_OP && parse_cur(p)->op == op;
}

bool parse_at_name(const struct parser *p, const char *name)
{
    return parse_cur(p)->type == T_NAME && str_is(parse_cur(p)->text, name);
}

bool parse_take_op(struct parser *p, char op)
{
    bool yes = parse_at_op(p, op);
    if (yes)
        parse_next(p);
    return yes;
}

bool parse_take_name(struct parser *p, const char *name)
{
    bool yes = parse_at_name(p, name);
    if (yes)
        parse_next(p);
    return yes;
}

void parse_want_op(struct parser *p, char op)
{
    char what[64];
    if (!parse_take_op(p, op))
        parse_fail(p, "expected '%c', found %s", op, parse_what(parse_cur(p), what));
}

const char *parse_what(const struct token *t, char out[static 64])
{
    static const char *const fixed[] = {
        [T_EOF] = "the end of the template",
        [T_TEXT] = "text",
        [T_VAR_BEGIN] = "'{{'",
        [T_VAR_END] = "'}}'",
        [T_BLOCK_END] = "'%}'",
        [T_BLOCK_BEGIN] = "'{%'",
        [T_STRING] = "a string",
        [T_INT] = "a number",
        [T_FLOAT] = "a number",
        [T_EQ] = "'=='",
        [T_NE] = "'!='",
        [T_LE] = "'<='",
        [T_GE] = "'>='",
        [T_FLOORDIV] = "'//'",
        [T_POW] = "'**'",
    };
    if (t->type == T_NAME)
        snprintf(out, 64, "'%.*s'", t->text.n > 40 ? 40 : (int)t->text.n, t->text.p);
    else if (t->type == T_OP)
        snprintf(out, 64, "'%c'", t->op);
    else
        snprintf(out, 64, "%s", fixed[t->type]);
    return out;
}

static void want_end(struct parser *p)
{
    char what[64];
    if (parse_cur(p)->type == T_BLOCK_END)
        parse_next(p);
    else
        parse_fail(p, "expected '%%}', found %s", parse_what(parse_cur(p), what));
}

/* A body up to one of `ends`, whose name stands next; with one end its tag is taken too. */
static void parse_body(struct parser *p, const char *const *ends, struct node *x)
{
    want_end(p);
    parse_until(p, ends, &x->v, &x->n);
}

static void close_block(struct parser *p)
{
    parse_next(p);
    want_end(p);
}

static const char *const until_endif[] = {"elif", "else", "endif", NULL};
static const char *const until_endfor[] = {"else", "endfor", NULL};
static const char *const until_for_else[] = {"endfor", NULL};

/* An elif is the one node in the `w` of the if before it: built in a loop, because a template may
 * have thousands. */
static struct node *parse_if(struct parser *p)
{
    struct node *first = parse_node(p, N_IF), *x = first;
    x->a = parse_tuple(p, false);
    parse_body(p, until_endif, x);
    while (!p->rc) {
        if (parse_take_name(p, "elif")) {
            struct node *more = parse_node(p, N_IF);
            parse_push(p, &x->w, &x->m, more);
            x = more;
            x->a = parse_tuple(p, false);
            parse_body(p, until_endif, x);
        } else if (parse_take_name(p, "else")) {
            static const char *const last[] = {"endif", NULL};
            want_end(p);
            parse_until(p, last, &x->w, &x->m);
        } else {
            close_block(p);
            break;
        }
    }
    return first;
}

static struct node *parse_for(struct parser *p)
{
    struct node *x = parse_node(p, N_FOR);
    x->a = parse_target(p, false);
    char what[64];
    if (!parse_take_name(p, "in"))
        return parse_fail(p, "expected 'in', found %s", parse_what(parse_cur(p), what));
    x->b = parse_tuple(p, false);
    if (parse_take_name(p, "if"))
        x->c = parse_expr(p);
    x->op = parse_take_name(p, "recursive");
    p->loops++;
    parse_body(p, until_endfor, x);
    p->loops--;
    if (parse_take_name(p, "else")) {
        want_end(p);
        parse_until(p, until_for_else, &x->w, &x->m);
    }
    close_block(p);
    return x;
}

static struct node *parse_set(struct parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    struct node *x = parse_node(p, N_SET);
    x->a = parse_target(p, true);
    if (parse_take_op(p, '=')) {
        x->b = parse_tuple(p, true);
        want_end(p);
        return x;
    }
    x->type = N_SETBLOCK;
    x->b = parse_filters(p, parse_node(p, N_PIPED), false);
    parse_body(p, ends, x);
    close_block(p);
    return x;
}

/* Parameters of a macro or call block; the opening parenthesis has been taken. */
static void parse_params(struct parser *p, struct node *x)
{
    while (!p->rc && !parse_at_op(p, ')')) {
        if (parse_cur(p)->type != T_NAME) {
            parse_fail(p, "expected the name of a parameter");
            return;
        }
        uint32_t name = parse_intern(p, parse_cur(p)->text);
        parse_next(p);
        struct node *def = parse_take_op(p, '=') ? parse_expr(p) : NULL;
        size_t m = x->m;
        parse_push(p, &x->w, &x->m, def);
        if ((m & (m - 1)) == 0) {
            uint32_t *names = parse_alloc(p, (m ? m * 2 : 1) * sizeof *names);
            if (names && m)
                memcpy(names, x->names, m * sizeof *names);
            x->names = names;
        }
        if (!p->rc)
            x->names[m] = name;
        if (!parse_take_op(p, ','))
            break;
    }
    parse_want_op(p, ')');
}

/* A macro takes further arguments when its body asks for them. */
static uint8_t mentions(const struct parser *p, size_t from)
{
    uint8_t all = 0;
    for (size_t i = from; i < p->i; i++) {
        if (p->v[i].type != T_NAME || (p->v[i - 1].type == T_OP && p->v[i - 1].op == '.'))
            continue;
        all |= str_is(p->v[i].text, "varargs") ? MACRO_VARARGS : 0;
        all |= str_is(p->v[i].text, "kwargs") ? MACRO_KWARGS : 0;
        all |= str_is(p->v[i].text, "caller") ? MACRO_CALLER : 0;
    }
    return all;
}

static struct node *parse_macro(struct parser *p)
{
    static const char *const ends[] = {"endmacro", NULL};
    struct node *x = parse_node(p, N_MACRO);
    if (parse_cur(p)->type != T_NAME)
        return parse_fail(p, "expected the name of a macro");
    x->name = parse_intern(p, parse_cur(p)->text);
    parse_next(p);
    parse_want_op(p, '(');
    parse_params(p, x);
    size_t from = p->i;
    int loops = p->loops;
    p->loops = 0; /* break inside a macro cannot leave a loop outside it */
    parse_body(p, ends, x);
    p->loops = loops;
    x->op = mentions(p, from);
    close_block(p);
    return x;
}

static struct node *parse_call(struct parser *p)
{
    static const char *const ends[] = {"endcall", NULL};
    struct node *x = parse_node(p, N_CALLBLOCK);
    x->b = parse_node(p, N_MACRO);
    x->b->name = p->t->name_caller;
    if (parse_take_op(p, '('))
        parse_params(p, x->b);
    x->a = parse_expr(p);
    if (!p->rc && x->a->type != N_CALL)
        return parse_fail(p, "'call' needs a call");
    parse_body(p, ends, x->b);
    close_block(p);
    return x;
}

static struct node *parse_with(struct parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    struct node *x = parse_node(p, N_WITH);
    while (!p->rc && parse_cur(p)->type != T_BLOCK_END) {
        struct node *s = parse_node(p, N_SET);
        /* One name each: a comma separates the assignments here. */
        s->a = parse_primary(p);
        if (!p->rc && s->a->type != N_NAME)
            return parse_fail(p, "expected a name to assign to");
        parse_want_op(p, '=');
        s->b = parse_expr(p);
        parse_push(p, &x->w, &x->m, s);
        if (!parse_take_op(p, ','))
            break;
    }
    parse_body(p, ends, x);
    close_block(p);
    return x;
}

static struct node *parse_filter_block(struct parser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    struct node *x = parse_node(p, N_FILTERBLOCK);
    x->b = parse_filters(p, parse_node(p, N_PIPED), true);
    parse_body(p, ends, x);
    close_block(p);
    return x;
}

/* Hugging Face's mark around what the assistant generates: its body, and nothing else. */
static struct node *parse_generation(struct parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct node *x = parse_node(p, N_BODY);
    parse_body(p, ends, x);
    close_block(p);
    return x;
}

static struct node *parse_do(struct parser *p)
{
    struct node *x = parse_node(p, N_DO);
    x->a = parse_tuple(p, true);
    want_end(p);
    return x;
}

/* A template of its own inherits from none: a block is its body. */
static struct node *parse_block(struct parser *p)
{
    static const char *const ends[] = {"endblock", NULL};
    struct node *x = parse_node(p, N_WITH);
    if (parse_cur(p)->type != T_NAME)
        return parse_fail(p, "expected the name of a block");
    struct str name = parse_cur(p)->text;
    parse_next(p);
    parse_take_name(p, "scoped");
    parse_body(p, ends, x);
    parse_next(p);
    if (parse_cur(p)->type == T_NAME && str_eq(parse_cur(p)->text, name))
        parse_next(p);
    want_end(p);
    return x;
}

/* Nothing is escaped by itself here, so only its `false` can be kept. */
static struct node *parse_autoescape(struct parser *p)
{
    static const char *const ends[] = {"endautoescape", NULL};
    struct node *x = parse_node(p, N_WITH), *on = parse_expr(p);
    if (!p->rc && (on->type != N_CONST || val_truth(on->k)))
        return parse_fail(p, "'autoescape' can only be turned off");
    parse_body(p, ends, x);
    close_block(p);
    return x;
}

static struct node *parse_jump(struct parser *p, enum node_type type)
{
    struct node *x = parse_node(p, type);
    if (!p->loops)
        return parse_fail(p, "'%s' outside a loop", type == N_BREAK ? "break" : "continue");
    want_end(p);
    return x;
}

static struct node *parse_statement(struct parser *p)
{
    char what[64];
    parse_what(parse_cur(p), what);
    if (parse_take_name(p, "if"))
        return parse_if(p);
    if (parse_take_name(p, "for"))
        return parse_for(p);
    if (parse_take_name(p, "set"))
        return parse_set(p);
    if (parse_take_name(p, "macro"))
        return parse_macro(p);
    if (parse_take_name(p, "call"))
        return parse_call(p);
    if (parse_take_name(p, "filter"))
        return parse_filter_block(p);
    if (parse_take_name(p, "with"))
        return parse_with(p);
    if (parse_take_name(p, "generation"))
        return parse_generation(p);
    if (parse_take_name(p, "do"))
        return parse_do(p);
    if (parse_take_name(p, "block"))
        return parse_block(p);
    if (parse_take_name(p, "autoescape"))
        return parse_autoescape(p);
    if (parse_take_name(p, "break"))
        return parse_jump(p, N_BREAK);
    if (parse_take_name(p, "continue"))
        return parse_jump(p, N_CONTINUE);
    return parse_fail(p, "unknown or misplaced statement %s", what);
}

static bool at_one_of(const struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (parse_at_name(p, *ends))
            return true;
    return false;
}

static struct node *parse_text(struct parser *p)
{
    struct node *x = parse_node(p, N_TEXT);
    struct vstr *s = parse_alloc(p, sizeof *s);
    if (!s)
        return &p->bad;
    *s = (struct vstr){.p = parse_cur(p)->text.p, .n = parse_cur(p)->text.n};
    x->k = (struct val){.k = V_STR, .s = s};
    parse_next(p);
    return x;
}

static void parse_until(struct parser *p, const char *const *ends, struct node ***v, size_t *n)
{
    char what[64];
    if (p->nesting >= MAX_NESTING) {
        parse_too_deep(p, "blocks");
        return;
    }
    p->nesting++;
    while (!p->rc) {
        const struct token *t = parse_cur(p);
        if (t->type == T_EOF) {
            if (ends)
                parse_fail(p, "the template ends before '%s'", ends[0]);
            break;
        }
        struct node *x = &p->bad;
        if (t->type == T_TEXT) {
            x = parse_text(p);
        } else if (t->type == T_VAR_BEGIN) {
            parse_next(p);
            x = parse_node(p, N_PRINT);
            x->a = parse_tuple(p, true);
            if (parse_cur(p)->type == T_VAR_END)
                parse_next(p);
            else
                parse_fail(p, "expected '}}', found %s", parse_what(parse_cur(p), what));
        } else {
            parse_next(p);
            if (at_one_of(p, ends))
                break;
            x = parse_statement(p);
        }
        parse_push(p, v, n, x);
    }
    p->nesting--;
}

int parse_tokens(struct tmpl *t, const struct token *v, size_t n, struct err *e)
{
    struct parser p = {
        .t = t, .v = v, .n = n, .e = e, .bad = {.type = N_CONST, .k = {.k = V_NONE}}};
    t->name_loop = parse_intern(&p, STR("loop"));
    t->name_caller = parse_intern(&p, STR("caller"));
    t->name_varargs = parse_intern(&p, STR("varargs"));
    t->name_kwargs = parse_intern(&p, STR("kwargs"));
    t->root = parse_node(&p, N_BODY);
    parse_until(&p, NULL, &t->root->v, &t->root->n);
    return p.rc;
}

static int read_jinja(struct tmpl *t, struct err *e)
{
    struct token *v = NULL;
    size_t n = 0;
    int rc = lex_source(t->mem, t->source, &v, &n, e);
    return rc ? rc : parse_tokens(t, v, n, e);
}

static int read_go(struct tmpl *t, struct err *e)
{
    struct go_item *v = NULL;
    size_t n = 0;
    int rc = go_lex(t->mem, t->source, &v, &n, e);
    return rc ? rc : go_parse(t, v, n, e);
}

int tmpl_parse(struct str source, struct tmpl **out, struct err *e)
{
    if (source.n > MAX_SOURCE)
        return err_set(e, ERR_LIMIT, "the template has %zu bytes; at most %d are read", source.n,
                       (int)MAX_SOURCE);
    struct arena *mem = arena_new(MAX_TREE_BYTES);
    struct tmpl *t = mem ? arena_alloc(mem, sizeof *t) : NULL;
    if (!t) {
        arena_free(mem);
        return err_set(e, ERR_NOMEM, "template: out of memory");
    }
    t->mem = mem;
    t->source = arena_str(mem, source);
    int rc = t->source.p || !source.n ? 0 : err_set(e, ERR_NOMEM, "template: out of memory");
    if (!rc)
        rc = go_is(t->source) ? read_go(t, e) : read_jinja(t, e);
    if (rc) {
        arena_free(mem);
        return rc;
    }
    *out = t;
    return 0;
}

void tmpl_free(struct tmpl *t)
{
    if (t)
        arena_free(t->mem);
}
