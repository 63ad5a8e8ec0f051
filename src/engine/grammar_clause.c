/* grammar_clause.c: takes a goal apart, for values of one type, into alternatives of single
 * keywords. Keywords that say nothing of the type are gone then, and so are most of the words that
 * join schemas: anyOf makes alternatives, oneOf one for each branch with the others turned round,
 * if two, and what is turned round is carried down to the single keywords. A keyword that cannot be
 * turned round, or is not known how to enforce, is refused by name. */
#include "grammar_schema_int.h"

#include <math.h>

#define MAX_DEPTH 400
#define MAX_PAIRS 6 /* branches of a oneOf that is turned round */

/* One alternative while it is being made: atoms so far, and what is still to be read. A list that
 * grows at its end and is cut back, as the alternatives are gone through one after another. */
struct maker {
    struct schema *s;
    enum json_kind kind;
    struct atom atoms[CLAUSE_MAX];
    uint32_t natoms;
    int depth;
};

struct todo {
    struct lit lit;
    const struct todo *next;
};

static void go_on(struct maker *m, const struct todo *todo);

/* ---- atoms ---- */

static bool add(struct maker *m, struct atom a)
{
    if (m->natoms >= CLAUSE_MAX) {
        schema_fail(m->s, ERR_LIMIT, a.schema, a.keyword, "too many conditions on one value");
        return false;
    }
    m->atoms[m->natoms++] = a;
    return true;
}

static void finish(struct maker *m)
{
    struct schema *s = m->s;
    if (s->nclauses >= CLAUSES_MAX) {
        schema_fail(s, ERR_LIMIT, m->natoms ? m->atoms[0].schema : s->root, NULL,
                    "too many alternatives");
        return;
    }
    struct clause *c = &s->clauses[s->nclauses++];
    memcpy(c->atoms, m->atoms, m->natoms * sizeof *m->atoms);
    c->n = m->natoms;
}

/* ---- keywords that are atoms ---- */

static bool is_count(const json_t *v, uint64_t *out)
{
    double d = json_is_number(v) ? json_number_value(v) : -1;
    if (!(d >= 0) || d != floor(d))
        return false;
    *out = d > 1e15 ? (uint64_t)1e15 : (uint64_t)d;
    return true;
}

/* min and max of something, as one atom. False: the keyword's value is no count. */
static bool count_atom(const json_t *v, bool is_min, bool turned, struct atom *a)
{
    uint64_t n;
    if (!is_count(v, &n))
        return false;
    a->min = 0;
    a->max = UINT64_MAX;
    if (is_min && !turned)
        a->min = n;
    else if (!is_min && !turned)
        a->max = n;
    else if (!is_min)
        a->min = n + 1;
    else if (n == 0)
        a->min = UINT64_MAX; /* fewer than none */
    else
        a->max = n - 1;
    return true;
}

struct key {
    const char *name;
    enum json_kind kind;
    enum atom_kind atom;
};

static const struct key keys[] = {
    {"minimum", KIND_NUMBER, ATOM_BOUND},           {"maximum", KIND_NUMBER, ATOM_BOUND},
    {"exclusiveMinimum", KIND_NUMBER, ATOM_BOUND},  {"exclusiveMaximum", KIND_NUMBER, ATOM_BOUND},
    {"multipleOf", KIND_NUMBER, ATOM_MULTIPLE},     {"minLength", KIND_STRING, ATOM_LENGTH},
    {"maxLength", KIND_STRING, ATOM_LENGTH},        {"pattern", KIND_STRING, ATOM_PATTERN},
    {"format", KIND_STRING, ATOM_FORMAT},           {"contentEncoding", KIND_STRING, ATOM_FORMAT},
    {"contentMediaType", KIND_STRING, ATOM_FORMAT}, {"minProperties", KIND_OBJECT, ATOM_COUNT},
    {"maxProperties", KIND_OBJECT, ATOM_COUNT},     {"minItems", KIND_ARRAY, ATOM_COUNT},
    {"maxItems", KIND_ARRAY, ATOM_COUNT},           {"uniqueItems", KIND_ARRAY, ATOM_UNIQUE},
};

/* Adds a keyword's atom. 1: added; 0: it says nothing of the type; -1: failed. */
static int key_atom(struct maker *m, const struct key *k, const json_t *schema, bool turned)
{
    const json_t *v = json_object_get(schema, k->name);
    const char *pattern;
    if (!v || k->kind != m->kind)
        return 0;
    struct atom a = {
        .kind = k->atom, .turned = turned, .schema = schema, .value = v, .keyword = k->name};
    bool ok = true;
    if (k->atom == ATOM_UNIQUE) {
        ok = json_is_boolean(v);
        if (!json_is_true(v))
            return ok ? 0 : -!!schema_fail(m->s, ERR_FORMAT, schema, k->name, "is not a boolean");
    } else if (k->atom == ATOM_LENGTH || k->atom == ATOM_COUNT) {
        ok = count_atom(v, k->name[1] == 'i', turned, &a);
    } else if (k->atom == ATOM_BOUND || k->atom == ATOM_MULTIPLE) {
        ok = json_is_number(v);
        if (ok && fabs(json_number_value(v)) > 0x1p53)
            return -!!schema_fail(m->s, ERR_UNSUPPORTED, schema, k->name,
                                  "is too large to be exact");
    } else {
        ok = json_is_string(v) && !memchr(json_string_value(v), 0, json_string_length(v));
        if (ok && k->atom == ATOM_FORMAT &&
            !format_pattern(k->name, json_string_value(v), &pattern))
            return 0; /* an unknown format is a remark */
    }
    if (!ok)
        return -!!schema_fail(m->s, ERR_FORMAT, schema, k->name, "has a value it cannot have");
    return add(m, a) ? 1 : -1;
}

/* Words that are refused where they could matter. */
static const struct key refused[] = {
    {"$dynamicRef", KINDS, 0},
    {"$recursiveRef", KINDS, 0},
};

static const json_t *get(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

/* Are there words beside that could have looked at further keys or items? */
static bool has_applicators(const json_t *o)
{
    static const char *const words[] = {
        "allOf",        "anyOf",       "oneOf",   "not", "if", "$ref", "dependentSchemas",
        "dependencies", "$dynamicRef", "contains"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (get(o, words[i]))
            return true;
    return false;
}

static bool refuse_words(struct maker *m, const json_t *o)
{
    struct schema *s = m->s;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (get(o, refused[i].name))
            schema_fail(s, ERR_UNSUPPORTED, o, refused[i].name, "is not enforced");
    static const char *const rest[] = {"unevaluatedProperties", "unevaluatedItems"};
    for (int i = 0; i < 2; i++) {
        const json_t *v = get(o, rest[i]);
        bool mine = m->kind == (i ? KIND_ARRAY : KIND_OBJECT);
        if (v && mine && !json_is_true(v) && has_applicators(o))
            schema_fail(s, ERR_UNSUPPORTED, o, rest[i],
                        "is not enforced beside words that join schemas");
    }
    return s->b->rc == 0;
}

/* ---- type ---- */

static bool type_is(const char *name, enum json_kind kind)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    return strcmp(name, names[kind]) == 0;
}

enum type_answer { TYPE_NO, TYPE_YES, TYPE_INTEGER, TYPE_FAULT };

static enum type_answer type_of(struct maker *m, const json_t *schema, const json_t *type)
{
    enum type_answer all = TYPE_NO;
    size_t n = json_is_array(type) ? json_array_size(type) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_is_array(type) ? json_array_get(type, i) : type;
        const char *name = json_string_value(t);
        bool known = name && strcmp(name, "integer") == 0;
        for (int k = 0; name && !known && k < KINDS; k++)
            known = type_is(name, k);
        if (!known) {
            schema_fail(m->s, ERR_FORMAT, schema, "type", "names no type");
            return TYPE_FAULT;
        }
        if (type_is(name, m->kind))
            all = TYPE_YES;
        else if (m->kind == KIND_NUMBER && strcmp(name, "integer") == 0 && all == TYPE_NO)
            all = TYPE_INTEGER;
    }
    return all;
}

/* ---- joining words ---- */

static void with(struct maker *m, struct lit lit, const struct todo *rest)
{
    struct todo t = {lit, rest};
    go_on(m, &t);
}

/* Lists of schemas, as todo items on the caller's stack. */
#define LIST_MAX 64

static bool list_ok(struct maker *m, const json_t *schema, const char *key, const json_t *list)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        schema_fail(m->s, ERR_FORMAT, schema, key, "is not a list of schemas");
    else if (json_array_size(list) > LIST_MAX)
        schema_fail(m->s, ERR_LIMIT, schema, key, "has too many branches");
    return m->s->b->rc == 0;
}

/* All of the list, or all turned round, but `other` the other way; other < 0: none. */
static void all_of(struct maker *m, const json_t *list, bool turned, int other,
                   const struct todo *rest)
{
    struct todo t[LIST_MAX];
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++)
        t[i] = (struct todo){{json_array_get(list, i), (int)i == other ? !turned : turned},
                             i + 1 < n ? &t[i + 1] : rest};
    go_on(m, n ? &t[0] : rest);
}

static void any_of(struct maker *m, const json_t *list, bool turned, const struct todo *rest)
{
    for (size_t i = 0; i < json_array_size(list) && !m->s->b->rc; i++)
        with(m, (struct lit){json_array_get(list, i), turned}, rest);
}

static void one_of(struct maker *m, const json_t *schema, const json_t *list, bool turned,
                   const struct todo *rest)
{
    int n = (int)json_array_size(list);
    if (!turned) {
        for (int i = 0; i < n && !m->s->b->rc; i++)
            all_of(m, list, true, i, rest);
        return;
    }
    if (n > MAX_PAIRS) {
        schema_fail(m->s, ERR_LIMIT, schema, "oneOf", "has too many branches to be turned round");
        return;
    }
    all_of(m, list, true, -1, rest); /* none, or some two */
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n && !m->s->b->rc; k++) {
            struct todo a = {{json_array_get(list, (size_t)i), false}, rest};
            with(m, (struct lit){json_array_get(list, (size_t)k), false}, &a);
        }
}

static void two(struct maker *m, struct lit a, struct lit b, const struct todo *rest)
{
    struct todo t = {b, rest};
    if (a.schema && b.schema)
        with(m, a, &t);
    else if (a.schema || b.schema)
        with(m, a.schema ? a : b, rest);
    else
        go_on(m, rest);
}

/* Without then or else that half holds; turned round it cannot. */
static void if_then(struct maker *m, const json_t *schema, bool turned, const struct todo *rest)
{
    const json_t *when = get(schema, "if"), *then = get(schema, "then"),
                 *other = get(schema, "else");
    if (then || !turned)
        two(m, (struct lit){when, false}, (struct lit){then, turned}, rest);
    if ((other || !turned) && !m->s->b->rc)
        two(m, (struct lit){when, true}, (struct lit){other, turned}, rest);
}

/* ---- if a key is there, then others, or a schema ---- */

static struct atom required_atom(const json_t *schema, const char *key, const char *name,
                                 bool turned)
{
    return (struct atom){
        .kind = ATOM_REQUIRED, .turned = turned, .schema = schema, .keyword = key, .name = name};
}

/* The names of a list as atoms; false: failed. */
static bool require_all(struct maker *m, const json_t *schema, const char *key, const json_t *list)
{
    if (!json_is_array(list)) {
        schema_fail(m->s, ERR_FORMAT, schema, key, "is not a list of names");
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name) {
            schema_fail(m->s, ERR_FORMAT, schema, key, "is not a list of names");
            return false;
        }
        if (!add(m, required_atom(schema, key, name, false)))
            return false;
    }
    return true;
}

/* One after another: entry `at` of the keyword and then the next ones. */
static void dependent(struct maker *m, const json_t *schema, const char *key, void *at,
                      const struct todo *rest)
{
    json_t *o = (json_t *)get(schema, key);
    if (!at) {
        go_on(m, rest);
        return;
    }
    const char *name = json_object_iter_key(at);
    const json_t *v = json_object_iter_value(at);
    void *next = json_object_iter_next(o, at);
    uint32_t had = m->natoms;
    if (add(m, required_atom(schema, key, name, true)))
        dependent(m, schema, key, next, rest);
    m->natoms = had;
    if (m->s->b->rc || !add(m, required_atom(schema, key, name, false)))
        return;
    if (json_is_array(v)) {
        if (require_all(m, schema, key, v))
            dependent(m, schema, key, next, rest);
    } else {
        struct todo t = {{v, false}, rest};
        dependent(m, schema, key, next, &t);
    }
    m->natoms = had;
}

/* ---- a schema that holds: its keywords one after another, then the rest of the list ---- */

enum {
    STEP_ATOMS,
    STEP_REF,
    STEP_ALL,
    STEP_ANY,
    STEP_ONE,
    STEP_NOT,
    STEP_IF,
    STEP_DEPEND,
    STEPS_ = STEP_DEPEND + 3
};

static void hold(struct maker *m, const json_t *o, int step, const struct todo *rest);

/* The same schema's later keywords are read when the branch that was taken comes to them: a marker
 * in the list stands for them. */
struct later {
    struct todo todo; /* lit.schema NULL marks it */
    const json_t *o;
    int step;
};

static struct later then_step(const json_t *o, int step, const struct todo *rest)
{
    return (struct later){{{NULL, false}, rest}, o, step};
}

static bool fields_atoms(struct maker *m, const json_t *o)
{
    if (get(o, "properties") || get(o, "patternProperties") || get(o, "additionalProperties") ||
        get(o, "unevaluatedProperties"))
        if (!add(m, (struct atom){.kind = ATOM_FIELDS, .schema = o, .keyword = "properties"}))
            return false;
    const json_t *names = get(o, "propertyNames");
    if (names && !add(m, (struct atom){.kind = ATOM_NAMES,
                                       .schema = o,
                                       .keyword = "propertyNames",
                                       .lit = {names, false}}))
        return false;
    const json_t *required = get(o, "required");
    return !required || require_all(m, o, "required", required);
}

static bool contains_atom(struct maker *m, const json_t *o)
{
    const json_t *v = get(o, "contains"), *min = get(o, "minContains"),
                 *max = get(o, "maxContains");
    struct atom a = {.kind = ATOM_CONTAINS,
                     .schema = o,
                     .keyword = "contains",
                     .lit = {v, false},
                     .min = 1,
                     .max = UINT64_MAX};
    if (!v)
        return true;
    if ((min && !is_count(min, &a.min)) || (max && !is_count(max, &a.max))) {
        schema_fail(m->s, ERR_FORMAT, o, "contains", "has counts that are none");
        return false;
    }
    return add(m, a);
}

static bool items_atoms(struct maker *m, const json_t *o)
{
    if (get(o, "items") || get(o, "prefixItems") || get(o, "unevaluatedItems"))
        if (!add(m, (struct atom){.kind = ATOM_ITEMS, .schema = o, .keyword = "items"}))
            return false;
    return contains_atom(m, o);
}

/* False: no value of this type holds, or something failed. */
static bool own_atoms(struct maker *m, const json_t *o)
{
    const json_t *type = get(o, "type"), *list = get(o, "enum"), *one = get(o, "const");
    enum type_answer t = type ? type_of(m, o, type) : TYPE_YES;
    if (t == TYPE_NO || t == TYPE_FAULT)
        return false;
    if (t == TYPE_INTEGER &&
        !add(m, (struct atom){.kind = ATOM_INTEGER, .schema = o, .keyword = "type"}))
        return false;
    if (list && !json_is_array(list)) {
        schema_fail(m->s, ERR_FORMAT, o, "enum", "is not a list");
        return false;
    }
    struct atom values = {.kind = ATOM_VALUES, .schema = o, .keyword = "enum", .value = list};
    if (list && !add(m, values))
        return false;
    values.keyword = "const";
    values.value = one;
    if (one && !add(m, values))
        return false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (key_atom(m, &keys[i], o, false) < 0)
            return false;
    if (m->kind == KIND_OBJECT)
        return fields_atoms(m, o);
    return m->kind != KIND_ARRAY || items_atoms(m, o);
}

static void depend_step(struct maker *m, const json_t *o, int which, const struct todo *rest)
{
    static const char *const names[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    json_t *v = (json_t *)get(o, names[which]);
    struct later l = then_step(o, STEP_DEPEND + which + 1, rest);
    if (!v || m->kind != KIND_OBJECT)
        hold(m, o, STEP_DEPEND + which + 1, rest);
    else if (!json_is_object(v))
        schema_fail(m->s, ERR_FORMAT, o, names[which], "is not an object");
    else
        dependent(m, o, names[which], json_object_iter(v), &l.todo);
}

static void hold(struct maker *m, const json_t *o, int step, const struct todo *rest)
{
    static const char *const words[] = {NULL, "$ref", "allOf", "anyOf", "oneOf", "not", "if"};
    while (step < STEP_DEPEND && step > STEP_ATOMS && !get(o, words[step]))
        step++;
    struct later l = then_step(o, step + 1, rest);
    const json_t *v = step > STEP_ATOMS && step < STEP_DEPEND ? get(o, words[step]) : NULL;
    if (step >= STEP_ALL && step <= STEP_ONE && !list_ok(m, o, words[step], v))
        return;
    switch (step) {
    case STEP_ATOMS: {
        uint32_t had = m->natoms;
        if (get(o, "$ref") && schema_ref_alone(m->s))
            hold(m, o, STEP_REF, rest);
        else if (refuse_words(m, o) && own_atoms(m, o))
            hold(m, o, STEP_REF, rest);
        m->natoms = had;
        break;
    }
    case STEP_REF: {
        const char *ref = json_string_value(v);
        const json_t *to = ref ? schema_resolve(m->s, o, ref) : NULL;
        if (!ref)
            schema_fail(m->s, ERR_FORMAT, o, "$ref", "is not a string");
        else if (to)
            with(m, (struct lit){to, false}, schema_ref_alone(m->s) ? rest : &l.todo);
        break;
    }
    case STEP_ALL: all_of(m, v, false, -1, &l.todo); break;
    case STEP_ANY: any_of(m, v, false, &l.todo); break;
    case STEP_ONE: one_of(m, o, v, false, &l.todo); break;
    case STEP_NOT: with(m, (struct lit){v, true}, &l.todo); break;
    case STEP_IF: if_then(m, o, false, &l.todo); break;
    case STEPS_: go_on(m, rest); break;
    default: depend_step(m, o, step - STEP_DEPEND, rest); break;
    }
}

/* ---- a schema that does not hold: one of its keywords does not ---- */

static void with_atom(struct maker *m, struct atom a, const struct todo *rest)
{
    uint32_t had = m->natoms;
    if (add(m, a))
        go_on(m, rest);
    m->natoms = had;
}

static void break_type(struct maker *m, const json_t *o, const struct todo *rest)
{
    const json_t *type = get(o, "type");
    enum type_answer t = type ? type_of(m, o, type) : TYPE_YES;
    if (t == TYPE_NO)
        go_on(m, rest);
    else if (t == TYPE_INTEGER)
        with_atom(
            m, (struct atom){.kind = ATOM_INTEGER, .turned = true, .schema = o, .keyword = "type"},
            rest);
    const json_t *list = get(o, "enum"), *one = get(o, "const");
    struct atom a = {.kind = ATOM_VALUES, .turned = true, .schema = o, .keyword = "enum"};
    if (list && !json_is_array(list))
        schema_fail(m->s, ERR_FORMAT, o, "enum", "is not a list");
    a.value = list;
    if (list && !m->s->b->rc)
        with_atom(m, a, rest);
    a.keyword = "const";
    a.value = one;
    if (one && !m->s->b->rc)
        with_atom(m, a, rest);
}

static void refuse_not(struct maker *m, const json_t *o, const char *key)
{
    if (get(o, key))
        schema_fail(m->s, ERR_UNSUPPORTED, o, key,
                    "cannot be enforced the other way round (under "
                    "not, oneOf, if or a dependency)");
}

/* A key that is there and breaks its schema. */
static void break_object(struct maker *m, const json_t *o, const struct todo *rest)
{
    static const char *const hard[] = {"patternProperties", "additionalProperties", "propertyNames",
                                       "unevaluatedProperties"};
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
        if (!json_is_true(get(o, hard[i])))
            refuse_not(m, o, hard[i]);
    json_t *props = (json_t *)get(o, "properties");
    uint32_t had = m->natoms;
    for (void *it = json_object_iter(props); it && !m->s->b->rc;
         it = json_object_iter_next(props, it)) {
        const char *name = json_object_iter_key(it);
        struct atom field = {.kind = ATOM_FIELD,
                             .schema = o,
                             .keyword = "properties",
                             .name = name,
                             .lit = {json_object_iter_value(it), true}};
        if (json_is_true(field.lit.schema))
            continue;
        if (add(m, required_atom(o, "properties", name, false)))
            with_atom(m, field, rest);
        m->natoms = had;
    }
    const json_t *required = get(o, "required");
    for (size_t i = 0; i < json_array_size(required) && !m->s->b->rc; i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name)
            with_atom(m, required_atom(o, "required", name, true), rest);
    }
}

static void break_dependency(struct maker *m, const json_t *o, const char *key,
                             const struct todo *rest)
{
    json_t *d = (json_t *)get(o, key);
    uint32_t had = m->natoms;
    for (void *it = json_object_iter(d); it && !m->s->b->rc; it = json_object_iter_next(d, it)) {
        const json_t *v = json_object_iter_value(it);
        if (!add(m, required_atom(o, key, json_object_iter_key(it), false)))
            return;
        for (size_t i = 0; i < json_array_size(v) && !m->s->b->rc; i++)
            if (json_string_value(json_array_get(v, i)))
                with_atom(m, required_atom(o, key, json_string_value(json_array_get(v, i)), true),
                          rest);
        if (!json_is_array(v))
            with(m, (struct lit){v, true}, rest);
        m->natoms = had;
    }
}

static void break_array(struct maker *m, const json_t *o, const struct todo *rest)
{
    const json_t *items = get(o, "items"), *contains = get(o, "contains");
    bool simple = items && !json_is_array(items) && !get(o, "prefixItems");
    refuse_not(m, o, "prefixItems");
    if (get(o, "unevaluatedItems") && !json_is_true(get(o, "unevaluatedItems")))
        refuse_not(m, o, "unevaluatedItems");
    if (items && !simple)
        refuse_not(m, o, "items");
    if (contains && (get(o, "minContains") || get(o, "maxContains")))
        refuse_not(m, o, "contains");
    if (simple && !m->s->b->rc && !json_is_true(items))
        with_atom(m,
                  (struct atom){.kind = ATOM_CONTAINS,
                                .schema = o,
                                .keyword = "items",
                                .lit = {items, true},
                                .min = 1,
                                .max = UINT64_MAX},
                  rest);
    if (contains && !m->s->b->rc)
        with_atom(
            m,
            (struct atom){
                .kind = ATOM_EVERY, .schema = o, .keyword = "contains", .lit = {contains, true}},
            rest);
}

static void break_joins(struct maker *m, const json_t *o, const struct todo *rest)
{
    static const char *const words[] = {"allOf", "anyOf", "oneOf"};
    for (int i = 0; i < 3 && !m->s->b->rc; i++) {
        const json_t *v = get(o, words[i]);
        if (!v || !list_ok(m, o, words[i], v))
            continue;
        if (i == 0)
            any_of(m, v, true, rest);
        else if (i == 1)
            all_of(m, v, true, -1, rest);
        else
            one_of(m, o, v, true, rest);
    }
    if (get(o, "not") && !m->s->b->rc)
        with(m, (struct lit){get(o, "not"), false}, rest);
    if (get(o, "if") && !m->s->b->rc)
        if_then(m, o, true, rest);
}

static void break_one(struct maker *m, const json_t *o, const struct todo *rest)
{
    const char *ref = json_string_value(get(o, "$ref"));
    if (ref) {
        const json_t *to = schema_resolve(m->s, o, ref);
        if (to)
            with(m, (struct lit){to, true}, rest);
        if (schema_ref_alone(m->s))
            return;
    }
    if (m->s->b->rc || !refuse_words(m, o))
        return;
    break_type(m, o, rest);
    uint32_t had = m->natoms;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !m->s->b->rc; i++) {
        if (keys[i].atom == ATOM_FORMAT || keys[i].atom == ATOM_UNIQUE) {
            const char *pattern;
            const char *name = json_string_value(get(o, keys[i].name));
            if (keys[i].kind == m->kind && (json_is_true(get(o, keys[i].name)) ||
                                            (name && format_pattern(keys[i].name, name, &pattern))))
                refuse_not(m, o, keys[i].name);
        } else if (key_atom(m, &keys[i], o, true) > 0) {
            go_on(m, rest);
        }
        m->natoms = had;
    }
    if (m->kind == KIND_OBJECT) {
        break_object(m, o, rest);
        break_dependency(m, o, "dependentRequired", rest);
        break_dependency(m, o, "dependentSchemas", rest);
        break_dependency(m, o, "dependencies", rest);
    }
    if (m->kind == KIND_ARRAY)
        break_array(m, o, rest);
    break_joins(m, o, rest);
}

/* ---- the list ---- */

static void go_on(struct maker *m, const struct todo *todo)
{
    struct schema *s = m->s;
    if (s->b->rc)
        return;
    if (!todo) {
        finish(m);
        return;
    }
    const json_t *o = todo->lit.schema;
    if (++m->depth > MAX_DEPTH || ++s->steps > SCHEMA_MAX_STEPS)
        schema_fail(s, ERR_LIMIT, o ? o : ((const struct later *)todo)->o, NULL,
                    "refers to itself without end, or is too deep");
    else if (!o)
        hold(m, ((const struct later *)todo)->o, ((const struct later *)todo)->step, todo->next);
    else if (json_is_boolean(o)) {
        if (json_is_true(o) != todo->lit.turned)
            go_on(m, todo->next);
    } else if (!json_is_object(o))
        schema_fail(s, ERR_FORMAT, o, NULL, "a schema is an object or a boolean");
    else if (todo->lit.turned)
        break_one(m, o, todo->next);
    else
        hold(m, o, STEP_ATOMS, todo->next);
    m->depth--;
}

void schema_take_apart(struct schema *s, const struct goal *g, enum json_kind kind)
{
    struct maker m = {.s = s, .kind = kind};
    struct todo list[GOAL_MAX];
    s->nclauses = 0;
    for (uint32_t i = 0; i < g->n; i++)
        list[i] = (struct todo){g->lits[i], i + 1 < g->n ? &list[i + 1] : NULL};
    go_on(&m, g->n ? &list[0] : NULL);
}
