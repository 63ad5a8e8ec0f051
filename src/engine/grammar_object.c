/* grammar_object.c: text for an object: the keys that schemas name, in their order, and behind them
 * any number of others.
 *
 *   { space  "a": value ,  "b": value ,  ...  ,  others*  space }
 *
 * A row of states for each number of keys so far, where that matters. Other keys are cut by what
 * patterns match them: each part of the keys has its own schemas. As a key that was not named might
 * come twice, all others together count as one key for minProperties and each for maxProperties. */
#include "grammar_schema_int.h"

#include "buf.h"

#include <stdlib.h>

#define MAX_KEYS 1024
#define MAX_PATTERNS 6
#define MAX_COUNT 2000 /* of properties, where a schema limits them */
#define MAX_CELLS 100000

struct field {
    const char *name;
    bool required, banned;
};

struct pattern {
    const json_t *owner, *schema; /* the schema it stands in, and what it demands */
    struct dfa set;
};

struct object {
    struct schema *s;
    const struct clause *c;
    struct field *fields; /* MAX_KEYS */
    uint32_t nfields;
    struct pattern patterns[MAX_PATTERNS];
    uint32_t npatterns;
    uint64_t min, max;
    uint32_t more; /* rule of a further key and its value; 0: none */
};

static const json_t *get(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

/* ---- gathering ---- */

static struct field *field_of(struct object *o, const struct atom *a, const char *name)
{
    for (uint32_t i = 0; i < o->nfields; i++)
        if (strcmp(o->fields[i].name, name) == 0)
            return &o->fields[i];
    if (o->nfields >= MAX_KEYS) {
        schema_fail(o->s, ERR_LIMIT, a->schema, a->keyword, "too many keys");
        return NULL;
    }
    o->fields[o->nfields] = (struct field){.name = name};
    return &o->fields[o->nfields++];
}

static bool add_patterns(struct object *o, const struct atom *a)
{
    json_t *all = (json_t *)get(a->schema, "patternProperties");
    if (all && !json_is_object(all)) {
        schema_fail(o->s, ERR_FORMAT, a->schema, "patternProperties", "is not an object");
        return false;
    }
    for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it)) {
        struct pattern *p = &o->patterns[o->npatterns];
        if (o->npatterns >= MAX_PATTERNS) {
            schema_fail(o->s, ERR_LIMIT, a->schema, "patternProperties", "too many patterns");
            return false;
        }
        if (!schema_pattern(o->s, a->schema, "patternProperties", json_object_iter_key(it),
                            &p->set))
            return false;
        p->owner = a->schema;
        p->schema = json_object_iter_value(it);
        o->npatterns++;
    }
    return true;
}

static bool add_fields(struct object *o, const struct atom *a)
{
    json_t *all = (json_t *)get(a->schema, "properties");
    if (all && !json_is_object(all)) {
        schema_fail(o->s, ERR_FORMAT, a->schema, "properties", "is not an object");
        return false;
    }
    for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it))
        if (!field_of(o, a, json_object_iter_key(it)))
            return false;
    return add_patterns(o, a);
}

/* Names that propertyNames lists are keys by name. */
static bool add_listed_names(struct object *o, const struct atom *a)
{
    const json_t *list = get(a->lit.schema, "enum"), *one = get(a->lit.schema, "const");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (json_is_string(v) && !field_of(o, a, json_string_value(v)))
            return false;
    }
    return !json_is_string(one) || field_of(o, a, json_string_value(one));
}

static bool gather(struct object *o)
{
    for (uint32_t i = 0; i < o->c->n; i++) {
        const struct atom *a = &o->c->atoms[i];
        struct field *f = NULL;
        if (a->kind == ATOM_FIELDS && !add_fields(o, a))
            return false;
        if (a->kind == ATOM_NAMES && !add_listed_names(o, a))
            return false;
        if ((a->kind == ATOM_REQUIRED || a->kind == ATOM_FIELD) && !(f = field_of(o, a, a->name)))
            return false;
        if (a->kind == ATOM_REQUIRED && a->turned)
            f->banned = true;
        else if (a->kind == ATOM_REQUIRED)
            f->required = true;
        if (a->kind == ATOM_COUNT) {
            o->min = a->min > o->min ? a->min : o->min;
            o->max = a->max < o->max ? a->max : o->max;
        }
    }
    return true;
}

/* ---- what a key's value has to satisfy ---- */

/* What a schema demands of keys it names nowhere; NULL: nothing. */
static const json_t *rest_of(const json_t *schema)
{
    const json_t *v = get(schema, "additionalProperties");
    return v ? v : get(schema, "unevaluatedProperties");
}

static void goal_of_field(struct object *o, const char *name, struct goal *g)
{
    for (uint32_t i = 0; i < o->c->n; i++) {
        const struct atom *a = &o->c->atoms[i];
        if (a->kind == ATOM_FIELD && strcmp(a->name, name) == 0)
            goal_add(o->s, g, a->lit);
        if (a->kind != ATOM_FIELDS)
            continue;
        const json_t *own = get(get(a->schema, "properties"), name);
        bool matched = own != NULL;
        if (own)
            goal_add(o->s, g, (struct lit){own, false});
        for (uint32_t k = 0; k < o->npatterns; k++)
            if (o->patterns[k].owner == a->schema && dfa_has(&o->patterns[k].set, str_of(name))) {
                goal_add(o->s, g, (struct lit){o->patterns[k].schema, false});
                matched = true;
            }
        if (!matched && rest_of(a->schema))
            goal_add(o->s, g, (struct lit){rest_of(a->schema), false});
    }
}

/* 1, 0 or -1, as schema_accepts. */
static int name_allowed(struct object *o, const char *name)
{
    int all = 1;
    for (uint32_t i = 0; i < o->c->n && all == 1; i++) {
        const struct atom *a = &o->c->atoms[i];
        if (a->kind != ATOM_NAMES)
            continue;
        json_t *v = json_string(name);
        all = v ? schema_accepts(o->s, a->lit.schema, v) : -1;
        json_decref(v);
    }
    return all;
}

/* The key, a colon and its value as a rule. */
static uint32_t field_rule(struct object *o, const char *name)
{
    struct build *b = o->s->b;
    struct goal g = {.n = 0};
    struct buf key = BUF_INIT(GRAMMAR_MAX_TEXT * 6);
    goal_of_field(o, name, &g);
    buf_json_str(&key, str_of(name));
    buf_putc(&key, ':');
    uint32_t rule = build_rule(b, STR_NONE, 0), colon = build_state(b), value = build_state(b);
    build_literal(b, build_start(b, rule), buf_str(&key), colon);
    build_call(b, colon, o->s->j.space, value);
    build_call(b, value, schema_rule(o->s, &g), build_end(b, rule));
    buf_done(&key);
    return rule;
}

/* ---- further keys ---- */

static bool cut(struct object *o, struct dfa *set, const struct dfa *by, enum dfa_op op)
{
    int rc = dfa_into(set, by, op);
    if (rc)
        schema_fail(o->s, rc, o->c->atoms[0].schema, "patternProperties",
                    "the keys make too large an automaton");
    return !rc && schema_spend(o->s, o->c->atoms[0].schema, SCHEMA_SET_STEPS + 20ull * set->n);
}

/* All names from lo to hi as one set: halves joined, so that many names cost little more each. */
static int names_set(const struct object *o, uint32_t lo, uint32_t hi, struct dfa *out)
{
    if (hi - lo == 1)
        return dfa_literal(str_of(o->fields[lo].name), out);
    struct dfa left, right;
    uint32_t middle = lo + (hi - lo) / 2;
    int rc = names_set(o, lo, middle, &left);
    if (rc)
        return rc;
    rc = names_set(o, middle, hi, &right);
    if (!rc) {
        rc = dfa_into(&left, &right, DFA_OR);
        dfa_done(&right);
    }
    if (rc)
        dfa_done(&left);
    else
        *out = left;
    return rc;
}

static bool cut_names(struct object *o, struct dfa *set)
{
    struct dfa names;
    if (!o->nfields)
        return true;
    int rc = names_set(o, 0, o->nfields, &names);
    if (rc) {
        schema_fail(o->s, rc, o->c->atoms[0].schema, "properties",
                    "the keys make too large an automaton");
        return false;
    }
    bool ok = cut(o, set, &names, DFA_AND_NOT);
    dfa_done(&names);
    return ok;
}

/* propertyNames as a set: its clauses for strings, joined. */
static bool cut_by_schema(struct object *o, struct dfa *set)
{
    struct schema *s = o->s;
    struct goal g = {.n = 0};
    for (uint32_t i = 0; i < o->c->n; i++)
        if (o->c->atoms[i].kind == ATOM_NAMES)
            goal_add(s, &g, o->c->atoms[i].lit);
    if (!g.n)
        return true;
    struct dfa all, one;
    if (dfa_length(1, 0, &all))
        return false;
    schema_take_apart(s, &g, KIND_STRING);
    bool ok = s->b->rc == 0;
    for (uint32_t i = 0; ok && i < s->nclauses; i++) {
        bool listed = false;
        for (uint32_t k = 0; k < s->clauses[i].n; k++)
            listed |= s->clauses[i].atoms[k].kind == ATOM_VALUES && !s->clauses[i].atoms[k].turned;
        if (listed)
            continue; /* those are tried one by one, as fields */
        ok = schema_string_set(s, &s->clauses[i], &one);
        if (ok) {
            ok = cut(o, &all, &one, DFA_OR);
            dfa_done(&one);
        }
    }
    ok = ok && cut(o, set, &all, DFA_AND);
    dfa_done(&all);
    return ok;
}

/* The schemas that hold where exactly the patterns of `matched` match; false: such keys may not be.
 */
static bool goal_of_part(struct object *o, uint32_t matched, struct goal *g)
{
    for (uint32_t i = 0; i < o->c->n; i++) {
        const struct atom *a = &o->c->atoms[i];
        bool any = false;
        if (a->kind != ATOM_FIELDS)
            continue;
        for (uint32_t k = 0; k < o->npatterns; k++)
            if (o->patterns[k].owner == a->schema && (matched >> k & 1)) {
                goal_add(o->s, g, (struct lit){o->patterns[k].schema, false});
                any = true;
            }
        if (!any && rest_of(a->schema))
            goal_add(o->s, g, (struct lit){rest_of(a->schema), false});
    }
    for (uint32_t i = 0; i < g->n; i++)
        if (json_is_false(g->lits[i].schema) && !g->lits[i].turned)
            return false;
    return true;
}

static void add_part(struct object *o, const struct dfa *base, uint32_t matched, uint32_t rule)
{
    struct build *b = o->s->b;
    struct goal g = {.n = 0};
    struct dfa keys;
    if (!goal_of_part(o, matched, &g) || dfa_join(base, base, DFA_AND, &keys))
        return;
    bool ok = true;
    for (uint32_t k = 0; ok && k < o->npatterns; k++)
        ok = cut(o, &keys, &o->patterns[k].set, matched >> k & 1 ? DFA_AND : DFA_AND_NOT);
    if (ok && !dfa_empty(&keys)) {
        uint32_t open = build_state(b), close = build_state(b), colon = build_state(b);
        uint32_t value = build_state(b);
        build_literal(b, build_start(b, rule), STR("\""), open);
        dfa_emit(b, &keys, true, open, close);
        build_literal(b, close, STR("\":"), colon);
        build_call(b, colon, o->s->j.space, value);
        build_call(b, value, schema_rule(o->s, &g), build_end(b, rule));
    }
    dfa_done(&keys);
}

static void make_more(struct object *o)
{
    struct dfa base;
    bool constrained = false;
    for (uint32_t i = 0; i < o->c->n; i++)
        constrained |= o->c->atoms[i].kind == ATOM_NAMES;
    /* Whether any key may be there at all is seen before its automaton is made. */
    bool any = false;
    for (uint32_t m = 0; m < 1u << o->npatterns; m++) {
        struct goal g = {.n = 0};
        any |= goal_of_part(o, m, &g);
    }
    if (!any || dfa_any(&base))
        return;
    if ((!constrained || cut_by_schema(o, &base)) && cut_names(o, &base)) {
        o->more = build_rule(o->s->b, STR_NONE, 0);
        for (uint32_t m = 0; m < 1u << o->npatterns && !o->s->b->rc; m++)
            add_part(o, &base, m, o->more);
    }
    dfa_done(&base);
}

/* ---- the whole ---- */

struct grid {
    uint32_t *at; /* by count of keys so far: the state, 0: none */
    uint32_t cap; /* the last count that is told apart */
};

/* A key behind `count` others. */
static void put(struct object *o, uint32_t from, uint32_t count, uint32_t rule, uint32_t to)
{
    struct build *b = o->s->b;
    if (count == 0) {
        build_call(b, from, rule, to);
        return;
    }
    uint32_t comma = build_state(b), key = build_state(b);
    build_literal(b, from, STR(","), comma);
    build_call(b, comma, o->s->j.space, key);
    build_call(b, key, rule, to);
}

static void row(struct object *o, struct grid *g, const struct field *f)
{
    struct build *b = o->s->b;
    uint32_t rule = 0;
    bool can = !f->banned && name_allowed(o, f->name) == 1;
    if (can)
        rule = field_rule(o, f->name);
    uint32_t *next = calloc(g->cap + 2, sizeof *next);
    if (!next) {
        build_fail(b, ERR_NOMEM, "grammar: no memory");
        return;
    }
    for (uint32_t c = 0; c <= g->cap && !b->rc; c++) {
        if (!g->at[c])
            continue;
        uint32_t to = c < g->cap ? c + 1 : o->max == UINT64_MAX ? c : UINT32_MAX;
        if (can && to != UINT32_MAX && !next[to])
            next[to] = build_state(b);
        if (can && to != UINT32_MAX)
            put(o, g->at[c], c, rule, next[to]);
        if (f->required)
            continue;
        if (!next[c])
            next[c] = build_state(b);
        build_eps(b, g->at[c], next[c]);
    }
    memcpy(g->at, next, (g->cap + 1) * sizeof *next);
    free(next);
}

/* Behind the named keys: done, or further ones. */
static void ending(struct object *o, struct grid *g, uint32_t end)
{
    struct build *b = o->s->b;
    uint32_t next_more = 0;
    if (o->more) {
        next_more = build_rule(b, STR_NONE, 0);
        put(o, build_start(b, next_more), 1, o->more, build_end(b, next_more));
    }
    for (uint32_t c = 0; c <= g->cap && !b->rc; c++) {
        if (!g->at[c])
            continue;
        if (c >= o->min)
            build_eps(b, g->at[c], end);
        if (!o->more || c >= o->max || c + 1u < o->min)
            continue;
        uint32_t first = build_state(b);
        uint64_t left = o->max == UINT64_MAX ? UINT32_MAX : o->max - c - 1;
        put(o, g->at[c], c, o->more, first);
        build_repeat(b, first, next_more, 0, (uint32_t)left, end);
    }
}

static void lay_out(struct object *o, uint32_t from, uint32_t to)
{
    struct build *b = o->s->b;
    uint64_t most = o->max != UINT64_MAX ? o->max : o->min > 1 ? o->min : 1;
    /* More keys than there are names cannot be told from further ones. */
    if (o->max != UINT64_MAX && !o->more && o->max > o->nfields) {
        o->max = UINT64_MAX;
        most = o->min > 1 ? o->min : 1;
    }
    if (o->max != UINT64_MAX && most > MAX_COUNT && o->min <= MAX_COUNT)
        most = o->max = MAX_COUNT; /* fewer than allowed is allowed too */
    if (most > MAX_COUNT || most * (o->nfields + 1) > MAX_CELLS) {
        schema_fail(o->s, ERR_LIMIT, o->c->atoms[0].schema, "maxProperties",
                    "too many keys would have to be counted");
        return;
    }
    struct grid g = {calloc(most + 2, sizeof *g.at), (uint32_t)most};
    uint32_t open = build_state(b), end = build_state(b), close = build_state(b);
    if (!g.at) {
        build_fail(b, ERR_NOMEM, "grammar: no memory");
        return;
    }
    g.at[0] = build_state(b);
    build_literal(b, from, STR("{"), open);
    build_call(b, open, o->s->j.space, g.at[0]);
    for (uint32_t i = 0; i < o->nfields && !b->rc; i++)
        row(o, &g, &o->fields[i]);
    ending(o, &g, end);
    build_call(b, end, o->s->j.space, close);
    build_literal(b, close, STR("}"), to);
    free(g.at);
}

void schema_object(struct schema *s, const struct clause *c, uint32_t from, uint32_t to)
{
    struct object o = {.s = s, .c = c, .max = UINT64_MAX};
    if (c->n == 0) {
        build_call(s->b, from, s->j.object, to);
        return;
    }
    o.fields = calloc(MAX_KEYS, sizeof *o.fields);
    if (!o.fields)
        build_fail(s->b, ERR_NOMEM, "grammar: no memory");
    else if (gather(&o) && o.min <= o.max && o.min != UINT64_MAX) {
        make_more(&o);
        if (!s->b->rc)
            lay_out(&o, from, to);
    }
    for (uint32_t i = 0; i < o.npatterns; i++)
        dfa_done(&o.patterns[i].set);
    free(o.fields);
}
