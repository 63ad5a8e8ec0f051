/* tmpl_parser_int.h: what the files of the output parser share: the table of syntaxes, and the
 * parser that follows a row of it. */
#ifndef WEIR_TMPL_PARSER_INT_H
#define WEIR_TMPL_PARSER_INT_H

#include "tmpl.h"

#include <jansson.h>

/* ---- a row of the table ---- */

enum mark_act {
    ACT_TEXT = 1, /* text follows */
    ACT_THINK,    /* reasoning follows */
    ACT_CALL,     /* one call or a section of calls follows */
    ACT_HEAD,     /* a header follows that says who is spoken to */
};
enum {
    IN_TEXT = 1,   /* the mark means something between texts */
    IN_THINK = 2,  /* and inside reasoning */
    AT_FIRST = 4,  /* only before any text has been written */
    SKIP = 8,      /* the white space after it is the syntax's */
    KEEP = 16,     /* its bytes belong to what follows: a header reads them itself */
    LAST_BYTE = 32 /* its last byte belongs to what follows */
};
struct mark {
    const char *text;
    uint8_t act, flags;
};

enum body {
    BODY_NONE,
    BODY_JSON,    /* an object with name and arguments, or a list of them */
    BODY_NAMED,   /* a name, then the arguments as a JSON object */
    BODY_PARAMS,  /* a name, then tagged parameters */
    BODY_NESTED,  /* a name, then elements within elements */
    BODY_PYTHON,  /* f(a="x"), alone or in a list */
    BODY_GEMMA,   /* call:f{a:<|"|>x<|"|>} */
    BODY_PYTAG,   /* what follows Llama's <|python_tag|>: JSON, f.call(a="x"), or code */
    BODY_MISTRAL, /* a list of objects, or a name and its arguments */
};

enum head_kind { HEAD_NONE, HEAD_HARMONY, HEAD_MUSE, HEAD_LINE };

enum { MAX_MARKS = 14 };

/* NULL: the syntax has no such thing. */
struct call_shape {
    enum body body;
    const char *open;     /* before each call of a section; a mark that equals it opens one too */
    const char *close;    /* after each call */
    const char *end;      /* after the last one */
    const char *id_end;   /* an identifier comes first, up to here */
    const char *name_end; /* the name goes up to here; NULL: to the end of a word */
    const char *attr_end; /* between name_end and here are attributes */
    const char *param, *key_end, *param_attr_end, *param_end;
    bool trim_lines;  /* a parameter's value stands on lines of its own */
    bool key_is_name; /* {"f": {arguments}} */
};

struct syntax_row {
    struct mark marks[MAX_MARKS];
    struct call_shape call;
    enum head_kind head; /* what ACT_HEAD reads */
    bool starts_in_head; /* the prompt ends before a header */
    bool bare;           /* a JSON object that begins the answer may be a call */
    const char *probe[2];
    struct tmpl_call_form form;
};

const struct syntax_row *syntax_row(enum tmpl_syntax syntax);

/* ---- the parser ---- */

enum mode { MODE_TEXT, MODE_THINK, MODE_CALL, MODE_SECTION, MODE_HEAD };
/* What a look at the held bytes came to. */
enum found { MORE, YES, NO };

/* In the order of a call's parts. */
enum call_step {
    CALL_OPENS, /* a section has begun: a call's own opening comes */
    CALL_BEGINS,
    CALL_ID,
    CALL_NAME,
    CALL_ATTR,
    CALL_BODY,
    CALL_SCAN,
    CALL_KEY,
    CALL_VALUE_BEGIN,
    CALL_VALUE,
    CALL_CLOSE
};

/* The end of a bracketed value, found while it arrives. */
struct scan {
    size_t at;      /* looked at so far, from the value's first byte */
    uint32_t depth; /* open brackets */
    char quote;     /* inside a string: what ends it */
};
enum quotes { QUOTES_JSON, QUOTES_PYTHON, QUOTES_GEMMA };

struct tmpl_parser {
    const struct syntax_row *row;
    const struct gen_req *req; /* NULL: no tools are offered */
    int32_t index, ntools;
    struct gen_sink sink;
    struct tmpl_hold hold;
    enum mode mode;
    bool said;       /* text has been emitted */
    bool bare_ok;    /* nothing but bare calls so far */
    bool skip_space; /* after a tag: the white space that follows is the syntax's */
    enum gen_verdict verdict;

    /* the call in hand: the held bytes begin with its syntax */
    size_t at;    /* parsed so far */
    size_t found; /* `until` has looked up to here */
    enum call_step step;
    enum body body;
    bool in_list, bare;
    struct scan scan;
    char *name, *id;                       /* malloc'd */
    size_t key_at, key_n, attr_at, attr_n; /* of the parameter in hand, in the held bytes */
    json_t *args;                          /* parameters so far */
    json_t *properties;                    /* of the tool's schema */
    json_t *calls;                         /* whole, and not yet told: the closing tag is awaited */
};

static inline bool is_space(char ch)
{
    return ch == ' ' || ch == '\n' || ch == '\t' || ch == '\r';
}

/* Is s the beginning of z, or z of s? MORE: s is too short to tell. */
enum found starts_with(struct str s, const char *z);

/* ---- tmpl_call.c: from the held bytes to p->calls ---- */

void call_start(struct tmpl_parser *p, enum body body, size_t at);
void call_clear(struct tmpl_parser *p);
/* YES: p->calls holds one or more calls and p->at stands behind them. `ended`: nothing more will
 * come. */
enum found call_look(struct tmpl_parser *p, bool ended);
/* Of the held bytes: what has not been parsed, and steps over parts of it. */
struct str call_rest(struct tmpl_parser *p);
enum found call_eat(struct tmpl_parser *p, const char *z);
bool call_eat_space(struct tmpl_parser *p); /* false: nothing has come after it yet */
/* The bytes up to z, which is stepped over. NO: more than max of them. */
enum found call_eat_until(struct tmpl_parser *p, const char *z, size_t max, struct str *out);

/* ---- tmpl_body.c: one step each; NO: this is no call ---- */

enum { MAX_CALL_NAME = 256 };

enum found body_name(struct tmpl_parser *p);
enum found body_word(struct tmpl_parser *p);
enum found body_attr(struct tmpl_parser *p, const char *end, enum call_step next);
enum found body_json(struct tmpl_parser *p);
enum found body_named(struct tmpl_parser *p);
enum found body_params(struct tmpl_parser *p);
enum found body_nested(struct tmpl_parser *p);
enum found body_python(struct tmpl_parser *p);
enum found body_gemma(struct tmpl_parser *p);
enum found body_pytag(struct tmpl_parser *p, bool ended);
enum found body_mistral(struct tmpl_parser *p);
const struct gen_tool *tool_named(const struct tmpl_parser *p, const char *name);

/* ---- tmpl_args.c: values of calls; NULL when it is none ---- */

enum found scan_brackets(struct scan *sc, struct str s, enum quotes quotes);
json_t *args_json(struct str s);
/* From the text of a parameter: text stays text where the schema says so, else what is JSON is. */
json_t *args_typed(struct str raw, const json_t *schema);
json_t *args_properties(const struct gen_tool *t);
json_t *args_gemma(struct str s);
/* Adds {"name", "arguments"} for each call to `calls`. */
bool args_python(struct str s, json_t *calls);
json_t *args_nested(struct str s, const json_t *properties);

#endif
