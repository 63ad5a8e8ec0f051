/* tmpl_expr.c: expressions to tree, with Jinja's precedence:
 *   x if c else y < or < and < not < comparison, in < + - < ~ < * / // % < ** < unary < postfix,
 *   filters and tests.
 * Called by tmpl_parse.c. Every function returns a node, also after a failure (p->rc tells). */
#include "tmpl_int.h"

static struct node *parse_unary(struct parser *p, bool filters);

/* Recursion is bounded here: every cycle of the grammar goes through one of the callers. */
static bool enter(struct parser *p)
{
    if (p->rc)
        return false;
    if (p->nesting >= MAX_NESTING) {
        parse_too_deep(p, "expressions");
        return false;
    }
    p->nesting++;
    return true;
}

static struct node *binary(struct parser *p, enum node_type type, int op, struct node *a,
                           struct node *b)
{
    struct node *x = parse_node(p, type);
    x->op = (uint8_t)op;
    x->a = a;
    x->b = b;
    return x;
}

static struct node *parse_pow(struct parser *p)
{
    struct node *x = parse_unary(p, true);
    while (!p->rc && parse_cur(p)->type == T_POW) {
        parse_next(p);
        x = binary(p, N_BIN, OP_POW, x, parse_unary(p, true));
    }
    return x;
}

static struct node *parse_mul(struct parser *p)
{
    struct node *x = parse_pow(p);
    while (!p->rc) {
        int op;
        if (parse_at_op(p, '*'))
            op = OP_MUL;
        else if (parse_at_op(p, '/'))
            op = OP_DIV;
        else if (parse_at_op(p, '%'))
            op = OP_MOD;
        else if (parse_cur(p)->type == T_FLOORDIV)
            op = OP_FLOORDIV;
        else
            break;
        parse_next(p);
        x = binary(p, N_BIN, op, x, parse_pow(p));
    }
    return x;
}

static struct node *parse_concat(struct parser *p)
{
    struct node *x = parse_mul(p);
    if (!parse_at_op(p, '~'))
        return x;
    struct node *all = parse_node(p, N_CONCAT);
    parse_push(p, &all->v, &all->n, x);
    while (!p->rc && parse_take_op(p, '~'))
        parse_push(p, &all->v, &all->n, parse_mul(p));
    return all;
}

static struct node *parse_add(struct parser *p)
{
    struct node *x = parse_concat(p);
    while (!p->rc && (parse_at_op(p, '+') || parse_at_op(p, '-'))) {
        int op = parse_at_op(p, '+') ? OP_ADD : OP_SUB;
        parse_next(p);
        x = binary(p, N_BIN, op, x, parse_concat(p));
    }
    return x;
}

/* The comparison operator here, moved past; -1: none. */
static int take_compare(struct parser *p)
{
    const struct token *t = parse_cur(p);
    int op = -1;
    switch (t->type) {
    case T_EQ: op = CMP_EQ; break;
    case T_NE: op = CMP_NE; break;
    case T_LE: op = CMP_LE; break;
    case T_GE: op = CMP_GE; break;
    case T_OP: op = t->op == '<' ? CMP_LT : t->op == '>' ? CMP_GT : -1; break;
    case T_NAME:
        if (str_is(t->text, "in"))
            op = CMP_IN;
        if (str_is(t->text, "not") && t[1].type == T_NAME && str_is(t[1].text, "in")) {
            parse_next(p);
            op = CMP_NOT_IN;
        }
        break;
    default: break;
    }
    if (op >= 0)
        parse_next(p);
    return op;
}

static struct node *parse_compare(struct parser *p)
{
    struct node *x = parse_add(p);
    struct node *all = NULL;
    while (!p->rc) {
        int op = take_compare(p);
        if (op < 0)
            break;
        if (!all) {
            all = parse_node(p, N_COMPARE);
            all->a = x;
        }
        struct node *part = parse_node(p, N_CMP_PART);
        part->op = (uint8_t)op;
        part->a = parse_add(p);
        parse_push(p, &all->v, &all->n, part);
    }
    return all ? all : x;
}

static struct node *parse_not(struct parser *p)
{
    if (!parse_at_name(p, "not"))
        return parse_compare(p);
    struct node *x = parse_node(p, N_NOT);
    parse_next(p);
    if (!enter(p))
        return x;
    x->a = parse_not(p);
    p->nesting--;
    return x;
}

static struct node *parse_and(struct parser *p)
{
    struct node *x = parse_not(p);
    while (!p->rc && parse_take_name(p, "and"))
        x = binary(p, N_AND, 0, x, parse_not(p));
    return x;
}

struct node *parse_expr_nocond(struct parser *p)
{
    if (!enter(p))
        return &p->bad;
    struct node *x = parse_and(p);
    while (!p->rc && parse_take_name(p, "or"))
        x = binary(p, N_OR, 0, x, parse_and(p));
    p->nesting--;
    return x;
}

struct node *parse_expr(struct parser *p)
{
    struct node *x = parse_expr_nocond(p);
    if (!enter(p))
        return x;
    while (!p->rc && parse_take_name(p, "if")) {
        struct node *cond = parse_node(p, N_COND);
        cond->b = x;
        cond->a = parse_expr_nocond(p);
        if (parse_take_name(p, "else"))
            cond->c = parse_expr(p);
        x = cond;
    }
    p->nesting--;
    return x;
}

static bool at_tuple_end(const struct parser *p)
{
    const struct token *t = parse_cur(p);
    return t->type == T_EOF || t->type == T_VAR_END || t->type == T_BLOCK_END ||
           parse_at_op(p, ')') || parse_at_op(p, '=') || parse_at_name(p, "in");
}

struct node *parse_tuple(struct parser *p, bool cond)
{
    struct node *x = cond ? parse_expr(p) : parse_expr_nocond(p);
    if (!parse_at_op(p, ','))
        return x;
    struct node *all = parse_node(p, N_TUPLE);
    parse_push(p, &all->v, &all->n, x);
    while (!p->rc && parse_take_op(p, ',') && !at_tuple_end(p))
        parse_push(p, &all->v, &all->n, cond ? parse_expr(p) : parse_expr_nocond(p));
    return all;
}

/* Arguments up to the closing parenthesis; the opening one has been taken. */
static void parse_args(struct parser *p, struct node *x)
{
    size_t cap = 0;
    while (!p->rc && !parse_at_op(p, ')')) {
        const struct token *t = parse_cur(p);
        if (parse_at_op(p, '*') || t->type == T_POW) {
            parse_fail(p, "unpacking of arguments with %s is not supported",
                       t->type == T_POW ? "**" : "*");
            return;
        }
        bool named = t->type == T_NAME && t[1].type == T_OP && t[1].op == '=';
        if (named) {
            uint32_t name = parse_intern(p, t->text);
            parse_next(p);
            parse_next(p);
            struct node *v = parse_expr(p);
            size_t m = x->m;
            parse_push(p, &x->w, &x->m, v);
            if (m >= cap) {
                cap = cap ? cap * 2 : 4;
                uint32_t *names = parse_alloc(p, cap * sizeof *names);
                if (names && m)
                    memcpy(names, x->names, m * sizeof *names);
                x->names = names;
            }
            if (x->names)
                x->names[m] = name;
        } else if (x->m) {
            parse_fail(p, "an argument without a name after one with");
        } else {
            parse_push(p, &x->v, &x->n, parse_expr(p));
        }
        if (!parse_take_op(p, ','))
            break;
    }
    parse_want_op(p, ')');
}

/* Names of filters and tests may have dots. */
static struct str dotted_name(struct parser *p)
{
    struct str name = parse_cur(p)->text;
    if (parse_cur(p)->type != T_NAME) {
        char what[64];
        parse_fail(p, "expected a name, found %s", parse_what(parse_cur(p), what));
        return STR("");
    }
    parse_next(p);
    while (!p->rc && parse_at_op(p, '.') && p->v[p->i + 1].type == T_NAME) {
        parse_next(p);
        const struct str last = parse_cur(p)->text;
        name.n = (size_t)(last.p + last.n - name.p);
        parse_next(p);
    }
    return name;
}

struct node *parse_filters(struct parser *p, struct node *x, bool bare)
{
    while (!p->rc && (bare || parse_at_op(p, '|'))) {
        if (!bare)
            parse_next(p);
        bare = false;
        struct node *f = parse_node(p, N_FILTER);
        struct str name = dotted_name(p);
        f->name = parse_intern(p, name);
        f->fn = filter_find(name);
        f->a = x;
        if (parse_take_op(p, '('))
            parse_args(p, f);
        x = f;
    }
    return x;
}

/* After `is`: a test may take one argument without parentheses. */
static struct node *parse_test(struct parser *p, struct node *x)
{
    struct node *t = parse_node(p, N_TEST);
    t->negated = parse_take_name(p, "not");
    struct str name = dotted_name(p);
    t->name = parse_intern(p, name);
    t->fn = test_find(name);
    t->a = x;
    const struct token *k = parse_cur(p);
    if (parse_take_op(p, '(')) {
        parse_args(p, t);
        return t;
    }
    bool value = k->type == T_STRING || k->type == T_INT || k->type == T_FLOAT ||
                 parse_at_op(p, '[') || parse_at_op(p, '{');
    bool word = k->type == T_NAME && !str_is(k->text, "else") && !str_is(k->text, "or") &&
                !str_is(k->text, "and") && !str_is(k->text, "if") && !str_is(k->text, "is") &&
                !str_is(k->text, "not") && !str_is(k->text, "in");
    if (value || word)
        parse_push(p, &t->v, &t->n, parse_postfix(p, parse_primary(p)));
    return t;
}

/* x[...]: an index, or a slice; the opening bracket has been taken. */
static struct node *parse_subscript(struct parser *p, struct node *x)
{
    struct node *part[3] = {NULL, NULL, NULL};
    int k = 0;
    bool slice = false;
    while (!p->rc && !parse_at_op(p, ']')) {
        if (parse_take_op(p, ':')) {
            slice = true;
            if (++k > 2)
                return parse_fail(p, "a slice has at most three parts");
        } else if (part[k]) {
            return parse_fail(p, "expected ']' after the index");
        } else {
            part[k] = slice ? parse_expr(p) : parse_tuple(p, true);
        }
    }
    parse_want_op(p, ']');
    if (!slice && !part[0])
        return parse_fail(p, "an empty index");
    struct node *s = parse_node(p, slice ? N_SLICE : N_ITEM);
    s->a = x;
    s->b = part[0];
    s->c = part[1];
    s->d = part[2];
    return s;
}

struct node *parse_postfix(struct parser *p, struct node *x)
{
    while (!p->rc) {
        if (parse_take_op(p, '.')) {
            const struct token *t = parse_cur(p);
            if (t->type != T_NAME && t->type != T_INT)
                return parse_fail(p, "expected a name after '.'");
            struct node *s = parse_node(p, t->type == T_NAME ? N_ATTR : N_ITEM);
            s->a = x;
            if (t->type == T_NAME) {
                s->name = parse_intern(p, t->text);
            } else {
                s->b = parse_node(p, N_CONST);
                s->b->k = val_int(t->i);
            }
            parse_next(p);
            x = s;
        } else if (parse_take_op(p, '[')) {
            x = parse_subscript(p, x);
        } else if (parse_take_op(p, '(')) {
            struct node *s = parse_node(p, N_CALL);
            s->a = x;
            parse_args(p, s);
            x = s;
        } else {
            break;
        }
    }
    return x;
}

static struct node *parse_list(struct parser *p)
{
    struct node *x = parse_node(p, N_LIST);
    while (!p->rc && !parse_at_op(p, ']')) {
        parse_push(p, &x->v, &x->n, parse_expr(p));
        if (!parse_take_op(p, ','))
            break;
    }
    parse_want_op(p, ']');
    return x;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *x = parse_node(p, N_DICT);
    while (!p->rc && !parse_at_op(p, '}')) {
        parse_push(p, &x->v, &x->n, parse_expr(p));
        parse_want_op(p, ':');
        parse_push(p, &x->w, &x->m, parse_expr(p));
        if (!parse_take_op(p, ','))
            break;
    }
    parse_want_op(p, '}');
    return x;
}

static struct node *parse_parens(struct parser *p)
{
    if (parse_take_op(p, ')'))
        return parse_node(p, N_TUPLE);
    struct node *x = parse_tuple(p, true);
    parse_want_op(p, ')');
    return x;
}

static struct node *parse_string(struct parser *p)
{
    struct str s = parse_cur(p)->text;
    parse_next(p);
    while (!p->rc && parse_cur(p)->type == T_STRING) { /* "a" "b" is one string */
        struct str more = parse_cur(p)->text;
        char *both = parse_alloc(p, s.n + more.n);
        if (!both)
            return &p->bad;
        memcpy(both, s.p, s.n);
        memcpy(both + s.n, more.p, more.n);
        s = str_n(both, s.n + more.n);
        parse_next(p);
    }
    struct node *x = parse_node(p, N_CONST);
    struct vstr *v = parse_alloc(p, sizeof *v);
    if (!v)
        return &p->bad;
    *v = (struct vstr){.p = s.p, .n = s.n};
    x->k = (struct val){.k = V_STR, .s = v};
    return x;
}

static struct node *parse_word(struct parser *p)
{
    struct str s = parse_cur(p)->text;
    struct node *x = parse_node(p, N_CONST);
    parse_next(p);
    if (str_is(s, "true") || str_is(s, "True")) {
        x->k = val_bool(true);
    } else if (str_is(s, "false") || str_is(s, "False")) {
        x->k = val_bool(false);
    } else if (str_is(s, "none") || str_is(s, "None")) {
        x->k = NONE;
    } else {
        x->type = N_NAME;
        x->name = parse_intern(p, s);
    }
    return x;
}

struct node *parse_primary(struct parser *p)
{
    const struct token *t = parse_cur(p);
    struct node *x = &p->bad;
    char what[64];
    if (t->type == T_NAME)
        return parse_word(p);
    if (t->type == T_STRING)
        return parse_string(p);
    if (t->type == T_INT || t->type == T_FLOAT) {
        x = parse_node(p, N_CONST);
        x->k = t->type == T_INT ? val_int(t->i) : val_float(t->f);
        parse_next(p);
        return x;
    }
    if (!enter(p))
        return x;
    if (parse_take_op(p, '('))
        x = parse_parens(p);
    else if (parse_take_op(p, '['))
        x = parse_list(p);
    else if (parse_take_op(p, '{'))
        x = parse_dict(p);
    else
        parse_fail(p, "expected an expression, found %s", parse_what(t, what));
    p->nesting--;
    return x;
}

static struct node *parse_unary(struct parser *p, bool filters)
{
    struct node *x;
    if (parse_at_op(p, '-') || parse_at_op(p, '+')) {
        x = parse_node(p, parse_at_op(p, '-') ? N_NEG : N_POS);
        parse_next(p);
        if (!enter(p))
            return x;
        x->a = parse_unary(p, false);
        p->nesting--;
    } else {
        x = parse_primary(p);
    }
    x = parse_postfix(p, x);
    while (filters && !p->rc) {
        if (parse_at_op(p, '|')) {
            x = parse_filters(p, x, false);
        } else if (parse_take_name(p, "is")) {
            x = parse_test(p, x);
        } else if (parse_at_op(p, '(')) {
            x = parse_postfix(p, x);
        } else {
            break;
        }
    }
    return x;
}

/* What `set` and `for` assign to: a name, names, or with `attrs` an attribute of a namespace. */
struct node *parse_target(struct parser *p, bool attrs)
{
    struct node *all = NULL, *x;
    char what[64];
    do {
        if (all && at_tuple_end(p))
            break;
        if (parse_take_op(p, '(')) {
            if (!enter(p))
                return &p->bad;
            x = parse_target(p, false);
            p->nesting--;
            parse_want_op(p, ')');
        } else if (parse_cur(p)->type == T_NAME) {
            x = parse_word(p);
            if (x->type != N_NAME)
                return parse_fail(p, "cannot assign to a constant");
        } else {
            return parse_fail(p, "expected a name to assign to, found %s",
                              parse_what(parse_cur(p), what));
        }
        if (attrs && !all && parse_take_op(p, '.')) {
            struct node *s = parse_node(p, N_ATTR);
            s->a = x;
            s->name = parse_intern(p, parse_cur(p)->text);
            if (parse_cur(p)->type != T_NAME)
                return parse_fail(p, "expected a name after '.'");
            parse_next(p);
            return s;
        }
        if (!all && parse_at_op(p, ','))
            all = parse_node(p, N_TUPLE);
        if (all)
            parse_push(p, &all->v, &all->n, x);
    } while (!p->rc && parse_take_op(p, ','));
    return all ? all : x;
}
