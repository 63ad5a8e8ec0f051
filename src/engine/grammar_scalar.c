/* grammar_scalar.c: text for values without parts: numbers and strings as the set that all atoms of
 * a clause leave, and listed values as they are. A clause that says nothing more than the type is
 * a rule of plain JSON, and one with lengths alone is a counted repetition, however long. */
#include "grammar_schema_int.h"

#include "buf.h"

#include <stdlib.h>

#define MAX_LENGTH 16384 /* of a counted string */

/* ---- listed values ---- */

static void real_text(double v, char *out, size_t size)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            return;
    }
}

static void literal_text(struct schema *s, const json_t *v, uint32_t from, uint32_t to);

/* open space (item (, space item)*) space close, with keys where it is an object. */
static void literal_list(struct schema *s, const json_t *v, uint32_t from, uint32_t to)
{
    struct build *b = s->b;
    bool object = json_is_object(v);
    size_t n = object ? json_object_size(v) : json_array_size(v);
    void *it = object ? json_object_iter((json_t *)v) : NULL;
    uint32_t at = build_state(b), next;
    build_literal(b, from, object ? STR("{") : STR("["), at);
    for (size_t i = 0; i < n && !b->rc; i++) {
        next = build_state(b);
        build_call(b, at, s->j.space, next);
        at = next;
        if (object) {
            struct buf key = BUF_INIT(GRAMMAR_MAX_TEXT * 6);
            buf_json_str(&key, str_n(json_object_iter_key(it), json_object_iter_key_len(it)));
            buf_putc(&key, ':');
            uint32_t colon = build_state(b);
            next = build_state(b);
            build_literal(b, at, buf_str(&key), colon);
            build_call(b, colon, s->j.space, next);
            at = next;
            buf_done(&key);
        }
        const json_t *part = object ? json_object_iter_value(it) : json_array_get(v, i);
        it = object ? json_object_iter_next((json_t *)v, it) : NULL;
        next = build_state(b);
        literal_text(s, part, at, next);
        at = next;
        if (i + 1 < n) {
            next = build_state(b);
            build_literal(b, at, STR(","), next);
            at = next;
        }
    }
    next = build_state(b);
    build_call(b, at, s->j.space, next);
    build_literal(b, next, object ? STR("}") : STR("]"), to);
}

static void literal_text(struct schema *s, const json_t *v, uint32_t from, uint32_t to)
{
    struct build *b = s->b;
    char text[64];
    struct buf str = BUF_INIT(GRAMMAR_MAX_TEXT * 6);
    switch (json_typeof(v)) {
    case JSON_NULL: build_literal(b, from, STR("null"), to); break;
    case JSON_TRUE: build_literal(b, from, STR("true"), to); break;
    case JSON_FALSE: build_literal(b, from, STR("false"), to); break;
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
        build_literal(b, from, str_of(text), to);
        break;
    case JSON_REAL:
        real_text(json_real_value(v), text, sizeof text);
        build_literal(b, from, str_of(text), to);
        break;
    case JSON_STRING:
        buf_json_str(&str, str_n(json_string_value(v), json_string_length(v)));
        build_literal(b, from, buf_str(&str), to);
        break;
    default: literal_list(s, v, from, to); break;
    }
    buf_done(&str);
}

void schema_literal(struct schema *s, const json_t *value, uint32_t from, uint32_t to)
{
    literal_text(s, value, from, to);
}

/* ---- sets ---- */

static const char *reason(int rc)
{
    return rc == ERR_NOMEM   ? "no memory"
           : rc == ERR_LIMIT ? "makes too large an automaton with what stands beside it"
                             : "is too fine to be enforced";
}

/* `set` is cut by a keyword's set, which is used up. */
static bool cut(struct schema *s, const struct atom *a, int rc, struct dfa *by, struct dfa *set)
{
    if (!rc) {
        rc = dfa_into(set, by, a->turned ? DFA_AND_NOT : DFA_AND);
        dfa_done(by);
    }
    if (rc)
        schema_fail(s, rc == ERR_FORMAT ? ERR_FORMAT : rc, a->schema, a->keyword,
                    rc == ERR_FORMAT ? "has a value it cannot have" : reason(rc));
    return !rc && schema_spend(s, a->schema, SCHEMA_SET_STEPS + 20ull * set->n);
}

/* Listed values that are turned round. */
static bool cut_values(struct schema *s, const struct atom *a, struct dfa *set)
{
    bool list = strcmp(a->keyword, "enum") == 0;
    size_t n = list ? json_array_size(a->value) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = list ? json_array_get(a->value, i) : a->value;
        struct dfa one;
        int rc;
        if (json_is_string(v))
            rc = dfa_literal(str_n(json_string_value(v), json_string_length(v)), &one);
        else if (json_is_number(v))
            rc = number_equal(json_number_value(v), &one);
        else
            continue;
        if (!cut(s, a, rc, &one, set))
            return false;
    }
    return true;
}

bool schema_pattern(struct schema *s, const json_t *at, const char *keyword, const char *pattern,
                    struct dfa *out)
{
    const char *why;
    char text[160];
    int rc = regex_to_dfa(str_of(pattern), out, &why);
    if (rc) {
        snprintf(text, sizeof text, "has a pattern with what cannot be enforced: %s", why);
        schema_fail(s, rc == ERR_FORMAT ? ERR_UNSUPPORTED : rc, at, keyword, text);
        return false;
    }
    if (schema_spend(s, at, SCHEMA_SET_STEPS + 20ull * out->n))
        return true;
    dfa_done(out);
    return false;
}

static int length_set(const struct atom *a, struct dfa *out)
{
    if (a->min > UINT32_MAX - 1)
        return ERR_LIMIT;
    return dfa_length((uint32_t)a->min, a->max >= UINT32_MAX ? UINT32_MAX : (uint32_t)a->max, out);
}

/* The turn is in the numbers already. */
static bool cut_length(struct schema *s, const struct atom *a, struct dfa *set)
{
    struct dfa by;
    struct atom held = *a;
    held.turned = false;
    if (a->min > a->max) {
        dfa_done(set);
        return dfa_length(1, 0, set) == 0;
    }
    return cut(s, &held, length_set(a, &by), &by, set);
}

bool schema_string_set(struct schema *s, const struct clause *c, struct dfa *out)
{
    struct dfa set, by;
    bool ok = dfa_any(&set) == 0;
    for (uint32_t i = 0; ok && i < c->n; i++) {
        const struct atom *a = &c->atoms[i];
        const char *pattern = json_string_value(a->value);
        if (a->kind == ATOM_LENGTH)
            ok = cut_length(s, a, &set);
        else if (a->kind == ATOM_VALUES)
            ok = cut_values(s, a, &set);
        else if (a->kind == ATOM_FORMAT && format_pattern(a->keyword, pattern, &pattern) &&
                 !pattern) {
            schema_fail(s, ERR_UNSUPPORTED, a->schema, a->keyword,
                        "is a format that is not enforced");
            ok = false;
        } else if (a->kind == ATOM_PATTERN || a->kind == ATOM_FORMAT)
            ok = schema_pattern(s, a->schema, a->keyword, pattern, &by) && cut(s, a, 0, &by, &set);
    }
    if (ok)
        *out = set;
    else
        dfa_done(&set);
    return ok;
}

/* Lengths alone need no automaton of their own. */
static bool only_lengths(const struct clause *c, uint64_t *min, uint64_t *max)
{
    *min = 0;
    *max = UINT64_MAX;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->atoms[i].kind != ATOM_LENGTH)
            return false;
        *min = c->atoms[i].min > *min ? c->atoms[i].min : *min;
        *max = c->atoms[i].max < *max ? c->atoms[i].max : *max;
    }
    return true;
}

void schema_string(struct schema *s, const struct clause *c, uint32_t from, uint32_t to)
{
    struct build *b = s->b;
    uint64_t min, max;
    if (c->n == 0) {
        build_call(b, from, s->j.string, to);
        return;
    }
    uint32_t open = build_state(b), close = build_state(b);
    build_literal(b, from, STR("\""), open);
    build_literal(b, close, STR("\""), to);
    if (only_lengths(c, &min, &max)) {
        if (min > max)
            return;
        if (max != UINT64_MAX && max > MAX_LENGTH && min <= MAX_LENGTH)
            max = MAX_LENGTH; /* fewer than allowed is allowed too */
        if (min > GRAMMAR_MAX_REPEAT || (max > GRAMMAR_MAX_REPEAT && max != UINT64_MAX))
            schema_fail(s, ERR_LIMIT, c->atoms[0].schema, c->atoms[0].keyword, "is too large");
        else
            build_repeat(b, open, s->j.character, (uint32_t)min,
                         max == UINT64_MAX ? UINT32_MAX : (uint32_t)max, close);
        return;
    }
    struct dfa set;
    if (!schema_string_set(s, c, &set))
        return;
    dfa_emit(b, &set, true, open, close);
    dfa_done(&set);
}

/* ---- numbers ---- */

static bool cut_bound(struct schema *s, const struct atom *a, struct dfa *set)
{
    bool lower = strstr(a->keyword, "inimum") != NULL, strict = a->keyword[0] == 'e';
    struct dfa above;
    struct atom way = *a;
    /* What is at most x is what is not above it. */
    if (!lower)
        way.turned = !way.turned;
    int rc = number_above(json_number_value(a->value), lower ? !strict : strict, &above);
    return cut(s, &way, rc, &above, set);
}

/* Integers are written without a fraction where nothing else is allowed anyway. */
static int prefer_integers(struct dfa *set)
{
    struct dfa ints, plain, rest;
    int rc = number_integer(&ints);
    if (rc)
        return rc;
    rc = dfa_join(set, &ints, DFA_AND_NOT, &rest);
    dfa_done(&ints);
    if (rc)
        return rc;
    bool only = dfa_empty(&rest);
    dfa_done(&rest);
    if (!only)
        return 0;
    rc = number_plain_integer(&plain);
    if (!rc) {
        rc = dfa_into(set, &plain, DFA_AND);
        dfa_done(&plain);
    }
    return rc;
}

static bool number_set(struct schema *s, const struct clause *c, struct dfa *set)
{
    struct dfa by;
    bool ok = true;
    for (uint32_t i = 0; ok && i < c->n; i++) {
        const struct atom *a = &c->atoms[i];
        if (a->kind == ATOM_INTEGER)
            ok = cut(s, a, number_integer(&by), &by, set);
        else if (a->kind == ATOM_BOUND)
            ok = cut_bound(s, a, set);
        else if (a->kind == ATOM_MULTIPLE)
            ok = cut(s, a, number_multiple(json_number_value(a->value), &by), &by, set);
        else if (a->kind == ATOM_VALUES)
            ok = cut_values(s, a, set);
    }
    return ok;
}

void schema_number(struct schema *s, const struct clause *c, uint32_t from, uint32_t to)
{
    bool integer = false, more = false;
    for (uint32_t i = 0; i < c->n; i++) {
        bool is = c->atoms[i].kind == ATOM_INTEGER && !c->atoms[i].turned;
        integer |= is;
        more |= !is;
    }
    if (!more) {
        build_call(s->b, from, integer ? s->j.integer : s->j.number, to);
        return;
    }
    struct dfa set;
    int rc = number_any(&set);
    if (rc) {
        schema_fail(s, rc, c->atoms[0].schema, NULL, reason(rc));
        return;
    }
    if (number_set(s, c, &set)) {
        rc = prefer_integers(&set);
        if (rc)
            schema_fail(s, rc, c->atoms[0].schema, c->atoms[0].keyword, reason(rc));
        else
            dfa_emit(s->b, &set, false, from, to);
    }
    dfa_done(&set);
}
