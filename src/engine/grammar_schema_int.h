/* grammar_schema_int.h: what the files that read schemas share.
 *
 * A goal is a set of schemas that a value has to satisfy, or not to, all at once; it becomes one
 * rule. For each type of value the goal is taken apart into clauses: alternatives, each a list of
 * atoms, which are single keywords that hold or do not. Every type makes its own text from a
 * clause. */
#ifndef WEIR_GRAMMAR_SCHEMA_INT_H
#define WEIR_GRAMMAR_SCHEMA_INT_H

#include "grammar_dfa_int.h"
#include "grammar_json_int.h"

enum json_kind { KIND_NULL, KIND_BOOL, KIND_NUMBER, KIND_STRING, KIND_ARRAY, KIND_OBJECT, KINDS };

#define GOAL_MAX 48    /* schemas in one goal */
#define CLAUSE_MAX 200 /* atoms of a clause */
#define CLAUSES_MAX 64 /* alternatives of a goal for one type */

struct lit {
    const json_t *schema;
    bool turned;
};

struct goal {
    struct lit lits[GOAL_MAX];
    uint32_t n;
};

enum atom_kind {
    ATOM_VALUES,  /* enum or const: one of them */
    ATOM_INTEGER, /* is an integer */
    ATOM_BOUND,   /* minimum and its kin */
    ATOM_MULTIPLE,
    ATOM_LENGTH, /* minLength, maxLength */
    ATOM_PATTERN,
    ATOM_FORMAT,
    ATOM_FIELDS,   /* properties, patternProperties, additionalProperties of one schema */
    ATOM_REQUIRED, /* name; not: may not be there */
    ATOM_FIELD,    /* name: if it is there, the lit */
    ATOM_NAMES,    /* propertyNames */
    ATOM_COUNT,    /* minProperties or minItems, and max */
    ATOM_ITEMS,    /* prefixItems, items, additionalItems of one schema */
    ATOM_EVERY,    /* every item: the lit */
    ATOM_CONTAINS, /* contains: the lit, min to max times */
    ATOM_UNIQUE,
};

struct atom {
    enum atom_kind kind;
    bool turned;
    const json_t *schema; /* where it stands */
    const json_t *value;  /* the keyword's */
    const char *keyword;
    const char *name;  /* REQUIRED, FIELD */
    struct lit lit;    /* FIELD, EVERY, CONTAINS, NAMES */
    uint64_t min, max; /* LENGTH, COUNT, CONTAINS; UINT64_MAX: none */
};

struct clause {
    struct atom *atoms; /* CLAUSE_MAX */
    uint32_t n;
};

struct schema {
    struct build *b;
    struct json_rules j;
    const json_t *root;
    const char *where; /* in front of pointers in messages */
    bool nested_ids;
    struct known *known; /* goals that have a rule */
    uint32_t nknown, known_cap, done;
    struct clause clauses[CLAUSES_MAX];
    uint32_t nclauses;
    struct clause kept[CLAUSES_MAX]; /* those of the rule at hand */
    uint64_t steps;                  /* of taking apart, for all goals together */
};

struct known {
    struct goal goal;
    uint32_t rule;
};

#define SCHEMA_MAX_STEPS 20000000
#define SCHEMA_SET_STEPS 500 /* what making any set costs; its states come to it */

/* ---- grammar_schema.c ---- */
/* The first failure counts. `at` is any schema of the document; its pointer is found. */
int schema_fail(struct schema *s, int code, const json_t *at, const char *keyword, const char *why);
/* Work that was done counts: false, and failed, when a schema asks for too much of it. */
bool schema_spend(struct schema *s, const json_t *at, uint64_t steps);
/* The rule for all of a goal; made later. An empty goal is any value. */
uint32_t schema_rule(struct schema *s, const struct goal *g);
void goal_add(struct schema *s, struct goal *g, struct lit lit);
/* What a $ref means; NULL after a failure. */
const json_t *schema_resolve(struct schema *s, const json_t *at, const char *ref);

/* ---- grammar_clause.c ---- */
/* The goal's clauses for one type into s->clauses. */
void schema_take_apart(struct schema *s, const struct goal *g, enum json_kind kind);
/* An old draft by its $schema: what stands beside a $ref does not count. */
bool schema_ref_alone(const struct schema *s);

/* ---- grammar_object.c, grammar_array.c, grammar_scalar.c: text for a clause ---- */
void schema_object(struct schema *s, const struct clause *c, uint32_t from, uint32_t to);
void schema_array(struct schema *s, const struct clause *c, uint32_t from, uint32_t to);
void schema_number(struct schema *s, const struct clause *c, uint32_t from, uint32_t to);
void schema_string(struct schema *s, const struct clause *c, uint32_t from, uint32_t to);
/* The set of strings a clause allows, as characters. False: failed. */
bool schema_string_set(struct schema *s, const struct clause *c, struct dfa *out);
/* A pattern or format as a set; a failure is told with the place. */
bool schema_pattern(struct schema *s, const json_t *at, const char *keyword, const char *pattern,
                    struct dfa *out);
void schema_literal(struct schema *s, const json_t *value, uint32_t from, uint32_t to);

/* ---- grammar_valid.c ---- */
/* Does the value satisfy the schema? 1, 0, or -1: this cannot be told here. */
int schema_accepts(struct schema *s, const json_t *schema, const json_t *value);
int schema_goal_accepts(struct schema *s, const struct goal *g, const json_t *value);
enum json_kind json_kind_of(const json_t *v);
/* As JSON Schema has it: 1 and 1.0 are equal. */
bool schema_equal(const json_t *a, const json_t *b);

#endif
