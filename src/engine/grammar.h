/* grammar.h: what a model may write: GBNF and JSON Schema to the set of tokens that may come next.
 *
 *   text ──gbnf / schema──▶ struct grammar (automata over bytes, rules call each other)
 *   tok  ──────────────────▶ struct grammar_vocab (a trie over the bytes of every token)
 *   both ──────────────────▶ struct grammar_state: mask, accept, may_end
 *
 * A grammar and a vocabulary are immutable once made: any thread may use them, and they must
 * outlive the states that stand on them. A state belongs to one thread at a time; all of its memory
 * is taken when it is made.
 *
 * A grammar that cannot be honoured is refused when it is made, with the place: line and column of
 * a GBNF text, JSON pointer and keyword of a schema. What is accepted is enforced: every finished
 * text is in the language, whatever the tokens. */
#ifndef WEIR_GRAMMAR_H
#define WEIR_GRAMMAR_H

#include "err.h"
#include "str.h"
#include "tok.h"

struct grammar;
struct grammar_vocab;
struct grammar_state;

/* When the grammar holds. Before that any text goes, control tokens too, as long as every trigger
 * that appears in it, across borders of tokens as well, is followed by what the grammar says. */
enum grammar_when {
    GRAMMAR_NOW,   /* from the first token to the end */
    GRAMMAR_AFTER, /* free until the first trigger, which has to come; then to the end */
    GRAMMAR_LAZY,  /* free; after each trigger the grammar once, then free again */
};

struct grammar_start {
    enum grammar_when when;
    const struct str *triggers; /* AFTER, LAZY: 1 to 8 strings of 1 to 64 bytes */
    size_t ntriggers;
    bool optional;     /* AFTER: the grammar may also hold from the first byte, without a trigger */
    struct str opener; /* AFTER and optional: free text is entered by this string only (<think>) */
    const struct tok
        *tok; /* control tokens that triggers and opener name count; NULL: bytes only */
};

/* The GBNF of llama.cpp's grammars/README.md. `t` names tokens in <text> form; NULL: only <[id]>.
 * `start` NULL: GRAMMAR_NOW. Refused: undefined rules, left recursion, rules that never end. */
int grammar_from_gbnf(struct str text, const char *root, const struct tok *t,
                      const struct grammar_start *start, struct grammar **out, struct err *e);

/* JSON Schema, draft 7 and 2020-12: every text of the grammar is JSON that the schema accepts. Keys
 * come in the schema's order, then further ones; numbers and strings in their usual form; white
 * space: none or one space, or a line break with up to 32 spaces or tabs, after { [ , : and before
 * } ]. What cannot be enforced is ERR_UNSUPPORTED with JSON pointer and keyword; a malformed schema
 * ERR_FORMAT; one past the limits ERR_LIMIT. */
int grammar_from_schema(struct str schema, const struct grammar_start *start, struct grammar **out,
                        struct err *e);

/* A JSON object: what {"type":"object"} is as a schema. */
int grammar_from_json_object(const struct grammar_start *start, struct grammar **out,
                             struct err *e);

/* One of the alternatives: before and after are literal text around what the schema allows (empty:
 * any object). The syntax of a tool call is this. */
struct grammar_call {
    struct str before, schema, after;
};
struct grammar_calls {
    const struct grammar_call *calls;
    size_t ncalls;
    struct str begin, end;       /* before the first and behind the last */
    struct str between;          /* between two of them, where many is set */
    bool many;                   /* one or more */
    const struct tok *tok;       /* as grammar_start's, for all these texts */
    const struct str *otherwise; /* or, instead of calls: what this schema allows; NULL: nothing */
};
/* An error names the call by its index. */
int grammar_from_calls(const struct grammar_calls *calls, const struct grammar_start *start,
                       struct grammar **out, struct err *e);
void grammar_free(struct grammar *g);

/* nvocab: entries of a mask, at least tok_count (the model's vocabulary may be padded). */
int grammar_vocab_new(const struct tok *t, int32_t nvocab, struct grammar_vocab **out,
                      struct err *e);
void grammar_vocab_free(struct grammar_vocab *v);
int32_t grammar_vocab_count(const struct grammar_vocab *v);

int grammar_state_new(const struct grammar *g, const struct grammar_vocab *v,
                      struct grammar_state **out, struct err *e);
int grammar_state_clone(const struct grammar_state *s, struct grammar_state **out, struct err *e);
void grammar_state_reset(struct grammar_state *s);
void grammar_state_free(struct grammar_state *s);

/* Bit i of word i / 64: token i may come next; tokens that end a generation only where the text may
 * end. Valid until the next call with this state. NULL: every token may. */
const uint64_t *grammar_state_mask(struct grammar_state *s);
/* The same for one token, without the mask. */
bool grammar_state_allows(struct grammar_state *s, int32_t id);
/* False, and the state unchanged, when the token may not come. */
bool grammar_state_accept(struct grammar_state *s, int32_t id);
/* Bytes instead of a token: tests and checkers. */
bool grammar_state_accept_bytes(struct grammar_state *s, struct str bytes);
bool grammar_state_may_end(const struct grammar_state *s);

static inline bool grammar_mask_has(const uint64_t *mask, int32_t id)
{
    return !mask || (mask[(uint32_t)id / 64] >> ((uint32_t)id % 64) & 1);
}

#endif
