/* tmpl_int.h: what the files of tmpl/ share: tokens, tree, values and the evaluator's state.
 *
 *   source ──lex──▶ tokens ──parse──▶ tree (in the template's arena)
 *   variables ──vars──▶ values (in the render's arena) ──eval──▶ text with taint
 *
 * Every render has one arena that all its values live in and that is freed at its end, and one
 * sticky error: a function that fails calls eval_fail() and returns any value, loops look at c->rc.
 */
#ifndef WEIR_TMPL_INT_H
#define WEIR_TMPL_INT_H

#include "tmpl.h"

#include <jansson.h>

enum {
    MAX_SOURCE = 1 << 20,        /* bytes of a template */
    MAX_TREE_BYTES = 128 << 20,  /* the tree of one template */
    MAX_VALUE_BYTES = 256 << 20, /* all values of one render */
    MAX_STEPS = 5000000,         /* nodes evaluated, and items or bytes/64 handled by built-ins */
    MAX_NESTING = 200,           /* of the source: blocks and expressions in each other */
    MAX_DEPTH = 600,             /* of evaluation: macros calling macros */
    MAX_VALUE_DEPTH = 100,       /* of lists and dicts in each other */
};

/* ---- tokens ---- */

enum token_type {
    T_EOF,
    T_TEXT,
    T_VAR_BEGIN,
    T_VAR_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_EQ,
    T_NE,
    T_LE,
    T_GE,
    T_FLOORDIV,
    T_POW,
    T_OP, /* one character, in `op` */
};

struct token {
    enum token_type type;
    char op;
    uint32_t line;
    struct str text; /* TEXT, NAME, STRING (escapes resolved) */
    int64_t i;
    double f;
};

/* The whole source to an array that ends in T_EOF, with white space control applied. */
int lex_source(struct arena *a, struct str source, struct token **out, size_t *n, struct err *e);

/* ---- values ---- */

enum val_kind {
    V_UNDEF,
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_STR,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_NS, /* namespace(): a dict whose attributes can be set */
    V_FN,
    V_LOOP,
};

/* Bytes [from, to) of a string that came from outside. In order, apart, not empty. */
struct taint {
    size_t from, to;
};

struct vstr {
    const char *p;
    size_t n;
    const struct taint *t;
    size_t nt;
    bool safe; /* Jinja's Markup: what is added to it is escaped for HTML */
};

struct val {
    enum val_kind k;
    union {
        bool b;
        int64_t i;
        double f;
        const struct vstr *s;
        struct vlist *l;
        struct vdict *d;
        struct vfn *fn;
        struct vloop *loop;
        const char *undef; /* the name that is not there; may be NULL */
    };
};

struct vlist {
    struct val *v;
    size_t n, cap;
    bool group; /* of groupby: its two items have the names grouper and list */
};

struct vdict {
    struct val *key, *val;
    size_t n, cap;
};

struct vloop {
    struct vlist *items;
    size_t i;
    int depth;
    struct val changed;       /* what loop.changed() saw last; V_UNDEF at first */
    const struct node *again; /* of a recursive loop: itself, */
    struct scope *scope;      /* and what it stands in */
};

/* ---- the tree ---- */

enum node_type {
    /* expressions */
    N_CONST,
    N_NAME,
    N_LIST,
    N_TUPLE,
    N_DICT, /* v: keys, w: values */
    N_ATTR,
    N_ITEM,
    N_SLICE, /* a[b:c:d] */
    N_CALL,
    N_FILTER, /* name: v, names/w: arguments; a: operand */
    N_TEST,
    N_NOT,
    N_NEG,
    N_POS,
    N_BIN,
    N_AND,
    N_OR,
    N_COMPARE, /* a, then v[i] under ops in v[i]->op of N_CMP_PART */
    N_CMP_PART,
    N_COND,   /* b if a else c */
    N_CONCAT, /* v joined as text */
    N_PIPED,  /* the text a filter block captured */
    /* statements */
    N_TEXT,
    N_PRINT,
    N_IF,        /* a; v; w */
    N_FOR,       /* a: target, b: items, c: condition or NULL; v; w: else; op: recursive */
    N_SET,       /* a: target, b: value */
    N_SETBLOCK,  /* a: target, b: filters over N_PIPED; v */
    N_MACRO,     /* name; names/w: parameters and defaults (NULL: none); v: body; op: MACRO_* */
    N_CALLBLOCK, /* a: the call; b: an N_MACRO "caller" */
    N_FILTERBLOCK,
    N_BODY,
    N_WITH, /* w[0..m): N_SET; v: body */
    N_BREAK,
    N_CONTINUE,
    N_DO, /* a */
};

/* What a macro's body mentions, and so takes. */
enum { MACRO_VARARGS = 1, MACRO_KWARGS = 2, MACRO_CALLER = 4 };
enum bin_op { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW };
enum cmp_op { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

struct node {
    uint8_t type, op;
    bool negated; /* N_TEST: is not */
    uint32_t line;
    uint32_t name;            /* interned */
    struct val k;             /* N_CONST; N_TEXT */
    const struct builtin *fn; /* N_FILTER, N_TEST: NULL when there is none of that name */
    struct node *a, *b, *c, *d;
    struct node **v;
    size_t n;
    struct node **w;
    uint32_t *names;
    size_t m;
};

struct tmpl {
    struct arena *mem;
    struct str source;
    struct node *root;
    const struct go_tmpl *go; /* not NULL: it is one of Go's, and the rest is not used */
    struct str *names;        /* every name the template mentions, by number */
    uint32_t nnames;
    uint32_t name_loop, name_caller, name_varargs, name_kwargs;
};

int parse_tokens(struct tmpl *t, const struct token *v, size_t n, struct err *e);

/* The parser's state, between tmpl_parse.c (statements) and tmpl_expr.c (expressions). */
struct parser {
    struct tmpl *t;
    const struct token *v;
    size_t i, n;
    uint32_t *hash; /* name number + 1, open addressing */
    size_t hash_cap;
    uint32_t names_cap;
    int nesting, loops;
    int rc;
    struct err *e;
    struct node bad; /* what a parse function returns after a failure */
};

struct node *parse_fail(struct parser *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void parse_too_deep(struct parser *p, const char *what); /* ERR_LIMIT */
void *parse_alloc(struct parser *p, size_t n);           /* NULL after a failure */
struct node *parse_node(struct parser *p, enum node_type type);
void parse_push(struct parser *p, struct node ***v, size_t *n, struct node *x);
uint32_t parse_intern(struct parser *p, struct str name);
static inline const struct token *parse_cur(const struct parser *p)
{
    return &p->v[p->i];
}
void parse_next(struct parser *p);
bool parse_at_op(const struct parser *p, char op);
bool parse_at_name(const struct parser *p, const char *name);
bool parse_take_op(struct parser *p, char op);
bool parse_take_name(struct parser *p, const char *name);
void parse_want_op(struct parser *p, char op);
const char *parse_what(const struct token *t, char out[static 64]); /* for messages */

struct node *parse_expr(struct parser *p);        /* with `if` ... `else` */
struct node *parse_expr_nocond(struct parser *p); /* without */
struct node *parse_tuple(struct parser *p, bool cond);
struct node *parse_target(struct parser *p, bool attrs); /* of set and for */
struct node *parse_filters(struct parser *p, struct node *operand, bool bare);
struct node *parse_postfix(struct parser *p, struct node *x);
struct node *parse_primary(struct parser *p);

/* ---- evaluation ---- */

/* A string being written. Never fails by itself: errors are in c->rc. */
struct sb {
    char *p;
    size_t n, cap;
    struct taint *t;
    size_t nt, tcap;
};

struct scope {
    struct scope *up;
    struct slot {
        uint32_t name;
        struct val v;
    } * v;
    size_t n, cap;
};

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

struct ctx {
    const struct tmpl *t;
    struct arena *mem;
    struct err *e;
    int rc;
    uint32_t line;
    size_t steps;
    int depth;
    size_t max_text;
    struct sb *out;
    struct scope *scope;
    enum flow flow;
    struct val piped;
    int64_t now_ms;
    bool text_args; /* arguments of calls as JSON text */
};

struct args {
    struct val self; /* the operand of a filter, test or method */
    const struct val *v;
    size_t n;
    const struct str *names;
    const struct val *named;
    size_t m;
};

typedef struct val builtin_fn(struct ctx *c, const struct args *a);
struct builtin {
    const char *name;
    builtin_fn *fn;
};

struct vfn {
    const char *what; /* for messages */
    builtin_fn *fn;   /* a built-in, with self */
    struct val self;
    const struct node *macro; /* or a macro, with the scope it was defined in */
    struct scope *scope;
};

struct val eval_fail(struct ctx *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool eval_step(struct ctx *c, size_t n); /* false: the limit is reached, c->rc is set */
void *eval_alloc(struct ctx *c, size_t count, size_t size);
struct val eval_expr(struct ctx *c, const struct node *x);
void eval_body(struct ctx *c, struct node *const *v, size_t n);
struct val eval_call(struct ctx *c, struct val f, const struct args *a);
struct val eval_macro(struct ctx *c, const struct vfn *f, const struct args *a);
struct val eval_lookup(struct ctx *c, uint32_t name);
void eval_define(struct ctx *c, struct scope *s, uint32_t name, struct val v);
void eval_assign(struct ctx *c, const struct node *target, struct val v);
int eval_template(struct ctx *c, struct sb *out);

/* ---- tmpl_value.c ---- */

#define UNDEF ((struct val){.k = V_UNDEF})
#define NONE ((struct val){.k = V_NONE})
static inline struct val val_bool(bool b)
{
    return (struct val){.k = V_BOOL, .b = b};
}
static inline struct val val_int(int64_t i)
{
    return (struct val){.k = V_INT, .i = i};
}
static inline struct val val_float(double f)
{
    return (struct val){.k = V_FLOAT, .f = f};
}
static inline bool val_is_num(struct val v)
{
    return v.k == V_BOOL || v.k == V_INT || v.k == V_FLOAT;
}
static inline double val_num(struct val v)
{
    return v.k == V_FLOAT ? v.f : v.k == V_INT ? (double)v.i : v.b ? 1 : 0;
}
static inline int64_t val_whole(struct val v)
{
    return v.k == V_INT ? v.i : v.b ? 1 : 0;
}
static inline struct str val_bytes(struct val v)
{
    return v.k == V_STR ? str_n(v.s->p, v.s->n) : STR_NONE;
}
static inline bool val_tainted(struct val v)
{
    return v.k == V_STR && v.s->nt > 0;
}

struct val val_lit(struct ctx *c, const char *z);                          /* trusted, not copied */
struct val val_str(struct ctx *c, struct str s, bool tainted);             /* copied */
struct val val_borrow(struct ctx *c, struct str s, bool tainted);          /* not copied */
struct val val_slice(struct ctx *c, struct val s, size_t from, size_t to); /* bytes; keeps taint */
struct val val_list(struct ctx *c, enum val_kind kind, size_t cap);
void val_push(struct ctx *c, struct vlist *l, struct val v);
struct val val_dict(struct ctx *c, enum val_kind kind);
struct val *val_get(struct ctx *c, const struct vdict *d, struct val key); /* NULL: not there */
struct val *val_gets(struct ctx *c, const struct vdict *d, struct str key);
void val_put(struct ctx *c, struct vdict *d, struct val key, struct val v);
void val_puts(struct ctx *c, struct vdict *d, const char *key, struct val v);

bool val_truth(struct val v);
bool val_eq(struct ctx *c, struct val a, struct val b);
int val_cmp(struct ctx *c, struct val a, struct val b); /* fails where Python cannot order them */
const char *val_type(struct val v);
/* What `for` sees: items, keys or characters. fails when it is none of these. */
struct vlist *val_iter(struct ctx *c, struct val v);
bool val_len(struct val v, size_t *n); /* false: has none */
bool val_in(struct ctx *c, struct val x, struct val in);
struct val val_text(struct ctx *c, struct val v); /* str(v) */

void sb_add(struct ctx *c, struct sb *b, struct str s, bool tainted);
void sb_puts(struct ctx *c, struct sb *b, const char *z);
void sb_str(struct ctx *c, struct sb *b, const struct vstr *s);
void sb_val(struct ctx *c, struct sb *b, struct val v);             /* as str() */
void sb_repr(struct ctx *c, struct sb *b, struct val v, int depth); /* as repr() */
void sb_taint_all(struct ctx *c, struct sb *b); /* the whole text, if any of it is */
struct val sb_take(struct ctx *c, struct sb *b);
size_t float_repr(double f, char out[static 40]); /* Python's shortest */

/* code points */
bool text_is_space(uint32_t cp);
size_t text_count(struct str s);
size_t text_step(struct str s, size_t at); /* bytes of the character at `at`, 1 if malformed */
struct str text_strip(struct str s, const struct str *set, bool left, bool right);

/* ---- built-ins ---- */

const struct builtin *filter_find(struct str name);
const struct builtin *test_find(struct str name);
const struct builtin *method_find(enum val_kind kind, struct str name);
const struct builtin *global_find(struct str name);
struct val text_escape(struct ctx *c, struct val v);        /* for HTML; the result is `safe` */
struct val json_write(struct ctx *c, const struct args *a); /* the filter tojson */

/* The argument at position i or by name; `missing` when it is not given. */
struct val arg_at(const struct args *a, size_t i, const char *name, struct val missing);
bool arg_str(struct ctx *c, const struct args *a, size_t i, const char *name, struct str *out);
bool arg_int(struct ctx *c, const struct args *a, size_t i, const char *name, int64_t *out);

struct val eval_getattr(struct ctx *c, struct val v, struct str name);
struct val eval_getitem(struct ctx *c, struct val v, struct val key);
struct val eval_getslice(struct ctx *c, struct val v, struct val from, struct val to,
                         struct val step);
struct val eval_binary(struct ctx *c, enum bin_op op, struct val a, struct val b);
struct val text_percent(struct ctx *c, struct val fmt, struct val arg); /* "..." % arg */

/* ---- tmpl_vars.c ---- */

/* A render's beginning: limits and arena; c->mem is the caller's to free, whatever is returned. */
int render_begin(struct ctx *c, const struct tmpl *t, int64_t now_ms, size_t max_text,
                 struct err *e);
/* The finished text to the caller's output. */
int render_deliver(const struct sb *b, struct tmpl_out *out, struct err *e);

struct val vars_from_json(struct ctx *c, const json_t *j, bool tainted, int depth);

#endif
