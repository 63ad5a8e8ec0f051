/* grammar_dfa_int.h: sets of strings as automata over code points that can be joined, cut and
 * turned round: what the patterns, lengths, formats and ranges of a schema become. */
#ifndef WEIR_GRAMMAR_DFA_INT_H
#define WEIR_GRAMMAR_DFA_INT_H

#include "grammar_int.h"

#define DFA_MAX_STATES 8192
#define DFA_MAX_EDGES 65536
#define DFA_DEAD UINT32_MAX

struct dfa_edge {
    uint32_t lo, hi, to;
};

/* State 0 is the start. A state's edges are sorted and disjoint; what has none is not in the set.
 * Every state but the start leads to an accepting one. */
struct dfa {
    uint32_t n, nedges;
    uint32_t *first; /* n + 1 */
    struct dfa_edge *edges;
    uint8_t *accept;
};

enum dfa_op { DFA_AND, DFA_AND_NOT, DFA_OR };

/* Return 0, ERR_NOMEM, or ERR_LIMIT when the result would be too large; *out untouched then. */
int dfa_any(struct dfa *out);
int dfa_literal(struct str s, struct dfa *out);
int dfa_length(uint32_t min, uint32_t max, struct dfa *out); /* UINT32_MAX: without end */
int dfa_join(const struct dfa *a, const struct dfa *b, enum dfa_op op, struct dfa *out);
/* *a becomes *a op b. */
int dfa_into(struct dfa *a, const struct dfa *b, enum dfa_op op);
bool dfa_empty(const struct dfa *a);
bool dfa_has(const struct dfa *a, struct str s);
void dfa_done(struct dfa *a);
/* As an automaton over bytes; json: the characters as a JSON string writes them. */
void dfa_emit(struct build *b, const struct dfa *a, bool json, uint32_t from, uint32_t to);

/* For those that make one: states in any order, edges of a state together. */
struct dfa_maker {
    struct dfa d;
    uint32_t states_cap, edges_cap;
    int rc;
};
uint32_t dfa_maker_state(struct dfa_maker *m, bool accept); /* closes the edges of the one before */
void dfa_maker_edge(struct dfa_maker *m, uint32_t lo, uint32_t hi,
                    uint32_t to); /* of the last one */
int dfa_maker_end(struct dfa_maker *m, struct dfa *out);

/* ---- grammar_regex.c ---- */
/* The strings in which an ECMAScript pattern (flag u) finds something. *why names what cannot be
 * had: look-around, back references, word boundaries, properties, or a fault. */
int regex_to_dfa(struct str pattern, struct dfa *out, const char **why);

/* ---- grammar_number.c ---- */
/* Decimal numbers as they are usually written, without exponent and minus zero: integers of at most
 * 18 digits, others of at most 15, so that readers who keep numbers as doubles tell them apart. */
int number_any(struct dfa *out);
int number_integer(struct dfa *out); /* with a fraction of zeros or without one */
int number_plain_integer(struct dfa *out);
/* Those above a bound, or the bound too. ERR_UNSUPPORTED: a bound of too many digits. */
int number_above(double bound, bool or_equal, struct dfa *out);
int number_multiple(double of, struct dfa *out);
int number_equal(double v, struct dfa *out);
/* The shortest decimal that reads as v: sign, digits, point's place (digits before it). */
struct decimal {
    bool negative;
    char digits[32];
    int n, point;
};
bool number_decimal(double v, struct decimal *out);

/* ---- grammar_format.c ---- */
/* A set of strings that are all of what format, contentEncoding or contentMediaType says. False:
 * the name says nothing. *pattern NULL: known, and not to be had. */
bool format_pattern(const char *keyword, const char *value, const char **pattern);

#endif
