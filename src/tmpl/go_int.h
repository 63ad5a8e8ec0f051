/* go_int.h: Ollama's templates, which are Go's text/template: the tree, and what the files of it
 * share. Values, text with taint, limits and errors are those of tmpl_int.h.
 *
 *   source ──go_lex──▶ items ──go_parse──▶ tree ──go_eval (go_func)──▶ text with taint
 *                                     request ──go_vars──▶ the data
 */
#ifndef WEIR_GO_INT_H
#define WEIR_GO_INT_H

#include "tmpl_int.h"

/* ---- items ---- */

enum go_item_type {
    GO_EOF,
    GO_TEXT,
    GO_LEFT,   /* {{ */
    GO_RIGHT,  /* }} */
    GO_FIELD,  /* .Name, without the dot */
    GO_DOT,    /* . alone */
    GO_VAR,    /* $ or $name, with the dollar */
    GO_WORD,   /* a name or keyword */
    GO_STRING, /* escapes resolved */
    GO_NUMBER,
    GO_DECLARE, /* := */
    GO_OP,      /* one of = | ( ) , */
};

struct go_item {
    enum go_item_type type;
    char op;
    bool spaced; /* white space stands before it */
    uint32_t line;
    struct str text;
    struct val k; /* GO_NUMBER */
};

/* Is it one, rather than Jinja? It has no {% and an action that only Go's templates have. */
bool go_is(struct str source);
int go_lex(struct arena *a, struct str source, struct go_item **out, size_t *n, struct err *e);

/* ---- the tree ---- */

enum go_type {
    /* what a command is made of */
    GO_N_CONST,
    GO_N_DOT,
    GO_N_VAR,   /* text */
    GO_N_FIELD, /* text; a: of what, NULL: of the dot */
    GO_N_FUNC,  /* fn */
    GO_N_CMD,   /* v: function or value, then arguments */
    GO_N_PIPE,  /* v: commands; names declared, or set (op '=') */
    /* what stands in a list */
    GO_N_TEXT,
    GO_N_ACTION, /* a: pipe */
    GO_N_IF,     /* a: pipe; v: body; w: else */
    GO_N_RANGE,
    GO_N_WITH,
    GO_N_TEMPLATE, /* text: its name; a: pipe or NULL */
    GO_N_BREAK,
    GO_N_CONTINUE,
};

struct go_node {
    uint8_t type;
    char op;
    uint32_t line;
    uint32_t seq; /* of what stands in a list: its place in the source */
    struct str text;
    struct val k;
    const struct go_func *fn;
    struct go_node *a;
    struct go_node **v, **w;
    size_t n, m;
    struct str names[2];
    size_t nnames;
};

struct go_define {
    struct str name;
    struct go_node **v;
    size_t n;
};

struct go_tmpl {
    struct go_node **v;
    size_t n;
    struct go_define *defines;
    size_t ndefines;
    bool messages, response, suffix; /* it reads .Messages, .Response, .Suffix */
    uint32_t cut; /* seq of the first action that writes .Response; UINT32_MAX: there is none */
};

int go_parse(struct tmpl *t, const struct go_item *v, size_t n, struct err *e);

/* ---- evaluation ---- */

struct go_slot {
    struct str name;
    struct val v;
};

struct go_ctx {
    struct ctx c; /* first: the limits, the arena, the output */
    const struct go_tmpl *t;
    struct go_slot *slots;
    size_t nslots, cap;
    struct val dot;
    bool cutting; /* what stands behind .Response is left out */
};

/* Evaluates over `data` to g->c.out. */
void go_eval(struct go_ctx *g, struct val data);

typedef struct val go_fn(struct go_ctx *g, const struct val *v, size_t n);
struct go_func {
    const char *name;
    go_fn *fn; /* NULL: and, or, which look at one argument after the other */
    size_t least, most;
};
const struct go_func *go_func_find(struct str name);
/* As Go prints a value; lists and mappings as JSON, as Ollama's types do. */
void go_print(struct go_ctx *g, struct sb *b, struct val v);
void go_json(struct go_ctx *g, struct sb *b, struct val v, int depth);

int go_render(const struct tmpl *t, const struct tmpl_vars *v, struct tmpl_out *out, struct err *e);
int go_render_json(const struct tmpl *t, struct str vars_json, int64_t now_ms, struct tmpl_out *out,
                   struct err *e);

#endif
