/* grammar_int.h: what the grammar's files share: the automata and how they are built.
 *
 * A rule is an automaton over bytes with one start and one end state; an arc consumes a byte of a
 * range, a token, or nothing, or calls a rule and goes on behind it. */
#ifndef WEIR_GRAMMAR_INT_H
#define WEIR_GRAMMAR_INT_H

#include "grammar.h"

#include <jansson.h>

#define GRAMMAR_MAX_TEXT (1u << 20) /* bytes of a GBNF text or a schema */
#define GRAMMAR_MAX_STATES (1u << 18)
#define GRAMMAR_MAX_ARCS (1u << 20)
#define GRAMMAR_MAX_RULES (1u << 14)
#define GRAMMAR_MAX_REPEAT 50000 /* of a counted repetition */
#define GRAMMAR_MAX_NESTING 200  /* of groups in a text, of values in a schema */
/* Characters a plain run may have: what a state guarantees is not looked at further than this. */
#define GRAMMAR_PLAIN 32

enum arc_kind {
    ARC_EPS,
    ARC_BYTE,      /* lo to hi */
    ARC_CALL,      /* arg: rule */
    ARC_CALL_LAST, /* a call behind which nothing but the rule's end comes */
    ARC_TOKEN,     /* arg: token */
    ARC_NOT_TOKEN, /* any token but this */
    ARC_PLAIN,     /* consumes nothing: says that any plain character leads from here to `to` */
};

struct arc {
    uint32_t to, arg;
    uint8_t kind, lo, hi;
};

/* ---- grammar_build.c ---- */

struct build_arc {
    struct arc arc;
    uint32_t next; /* of the same state; UINT32_MAX: none */
};

struct build_rule {
    uint32_t start, end;
    struct str name; /* for errors; borrowed */
    uint32_t line;
};

/* The first failure stays in *e; what comes after it does nothing. */
struct build {
    struct build_arc *arcs;
    uint32_t *first; /* by state */
    uint8_t *free;   /* by state: control tokens pass here */
    struct build_rule *rules;
    uint32_t narcs, arcs_cap, nstates, states_cap, nrules, rules_cap;
    uint32_t nspare; /* rules used by the builder's own classes */
    int rc;
    struct err *e;
};

void build_init(struct build *b, struct err *e);
void build_done(struct build *b);
int build_fail(struct build *b, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
uint32_t build_state(struct build *b);
uint32_t build_rule(struct build *b, struct str name, uint32_t line); /* with fresh states */
/* A rule of states that nothing else leads to or from. */
uint32_t build_rule_of(struct build *b, uint32_t start, uint32_t end);
uint32_t build_start(const struct build *b, uint32_t rule);
uint32_t build_end(const struct build *b, uint32_t rule);
void build_eps(struct build *b, uint32_t from, uint32_t to);
void build_byte(struct build *b, uint32_t from, unsigned lo, unsigned hi, uint32_t to);
void build_call(struct build *b, uint32_t from, uint32_t rule, uint32_t to);
void build_token(struct build *b, uint32_t from, uint32_t id, bool negated, uint32_t to);
void build_literal(struct build *b, uint32_t from, struct str s, uint32_t to);
/* The rule min to max times (UINT32_MAX: without end). */
void build_repeat(struct build *b, uint32_t from, uint32_t rule, uint32_t min, uint32_t max,
                  uint32_t to);
/* Code points: sorted, disjoint ranges; surrogates are left out. */
struct range {
    uint32_t lo, hi;
};
void build_class(struct build *b, uint32_t from, const struct range *r, size_t n, uint32_t to);
/* Put `root` behind what `start` says, check all, and make it fast. Takes the builder's content. */
int build_finish(struct build *b, uint32_t root, const struct grammar_start *start,
                 struct grammar **out);

/* ---- grammar_free.c ---- */
/* A text in which the vocabulary's control tokens stand for themselves; t NULL: there are none. */
void build_text(struct build *b, const struct tok *t, uint32_t from, struct str s, uint32_t to);
/* A rule for free text, triggers and what comes behind them. */
uint32_t free_text_wrap(struct build *b, uint32_t root, const struct grammar_start *start);

/* ---- grammar_compile.c ---- */

struct grammar {
    uint32_t nstates, narcs, nrules, root;
    struct arc *arcs;
    uint32_t *first; /* nstates + 1 */
    uint8_t *end;    /* by state: the end of its rule */
    uint8_t *free;
    uint8_t *plain;  /* by state: plain characters that may come here, whatever they are */
    uint8_t *most;   /* by state: plain characters that can come here at most, in this rule */
    uint8_t *ends;   /* by state: plain characters alone can lead to the rule's end */
    uint32_t *start; /* by rule */
    uint8_t byte_class[256];
    uint8_t class_byte[256]; /* a byte of each class */
    uint32_t nclasses;
    bool has_tokens, has_free;
};

int grammar_compile(struct build *b, uint32_t root, struct grammar **out);

/* Is c one of the characters that need no escape in a JSON string and end nothing? */
static inline bool grammar_plain(uint32_t c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7F;
}

/* ---- grammar_vocab.c ---- */

struct trie_node {
    uint32_t skip;  /* the node behind this one's children */
    int32_t token;  /* -1: none ends here; further ones of the same bytes in `same` */
    uint16_t depth; /* 1: the first byte */
    uint8_t byte;
};

struct trie {
    struct trie_node *nodes;
    uint32_t n;
    uint32_t longest; /* bytes */
};

struct grammar_vocab {
    int32_t n;
    size_t words;
    struct str *bytes; /* by token; empty: none, or not to be had by its bytes */
    char *text;
    struct trie plain; /* tokens of 1 to GRAMMAR_PLAIN plain characters */
    struct trie rest;
    int32_t *same;        /* by token: the next one with the same bytes, -1 */
    uint64_t *plain_upto; /* GRAMMAR_PLAIN + 1 masks: plain tokens of at most k characters */
    uint64_t *eog, *control;
};

#endif
