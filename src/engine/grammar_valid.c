/* grammar_valid.c: does one value satisfy a schema? Asked for the values that a schema lists, so
 * that enum and const go together with every other keyword. Three answers: where a keyword is not
 * known here the answer is unknown, and such a value is not offered. */
#include "grammar_schema_int.h"

#include <math.h>

#define MAX_DEPTH 60

enum { NO = 0, YES = 1, UNKNOWN = -1 };

static int both(int a, int b)
{
    return a == NO || b == NO ? NO : a == YES && b == YES ? YES : UNKNOWN;
}

static int turned(int a)
{
    return a == UNKNOWN ? UNKNOWN : !a;
}

static int either(int a, int b)
{
    return turned(both(turned(a), turned(b)));
}

enum json_kind json_kind_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return KIND_OBJECT;
    case JSON_ARRAY: return KIND_ARRAY;
    case JSON_STRING: return KIND_STRING;
    case JSON_INTEGER:
    case JSON_REAL: return KIND_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE: return KIND_BOOL;
    default: return KIND_NULL;
    }
}

bool schema_equal(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        size_t n = json_array_size(a);
        if (n != json_array_size(b))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!schema_equal(json_array_get(a, i), json_array_get(b, i)))
                return false;
        return true;
    }
    if (!json_is_object(a))
        return json_equal(a, b);
    const char *key;
    json_t *v;
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach((json_t *)a, key, v)
    {
        const json_t *other = json_object_get(b, key);
        if (!other || !schema_equal(v, other))
            return false;
    }
    return true;
}

static int accepts(struct schema *s, const json_t *o, const json_t *v, int depth);

/* ---- numbers and strings: the sets that texts are made of answer for values too ---- */

static int in_set(const struct dfa *set, const json_t *v)
{
    char text[64];
    struct decimal d;
    if (json_is_string(v))
        return dfa_has(set, str_n(json_string_value(v), json_string_length(v)));
    if (json_is_integer(v)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
        return strlen(text) > 18 ? UNKNOWN : dfa_has(set, str_of(text));
    }
    if (!number_decimal(json_real_value(v), &d) || d.point > 18 || d.n - d.point > 17)
        return UNKNOWN;
    snprintf(text, sizeof text, "%.*f", d.n > d.point ? d.n - d.point : 0, json_real_value(v));
    return dfa_has(set, str_of(text[0] == '-' && json_real_value(v) == 0 ? "0" : text));
}

/* A keyword as a set; rc from making it. */
static int asked(struct schema *s, int rc, struct dfa *set, const json_t *v)
{
    s->steps += SCHEMA_SET_STEPS;
    if (rc)
        return UNKNOWN;
    s->steps += 20ull * set->n;
    int answer = in_set(set, v);
    dfa_done(set);
    return answer;
}

static int number_words(struct schema *s, const json_t *o, const json_t *v)
{
    struct dfa set;
    double x = json_number_value(v);
    const json_t *k;
    int all = YES;
    if ((k = json_object_get(o, "minimum")) && !(x >= json_number_value(k)))
        all = NO;
    if ((k = json_object_get(o, "maximum")) && !(x <= json_number_value(k)))
        all = NO;
    if ((k = json_object_get(o, "exclusiveMinimum")) && !(x > json_number_value(k)))
        all = NO;
    if ((k = json_object_get(o, "exclusiveMaximum")) && !(x < json_number_value(k)))
        all = NO;
    if ((k = json_object_get(o, "multipleOf")) && all)
        all = both(all, asked(s, number_multiple(json_number_value(k), &set), &set, v));
    return all;
}

static size_t characters(const json_t *v)
{
    const char *p = json_string_value(v);
    size_t n = 0;
    for (size_t i = 0; i < json_string_length(v); i++)
        n += ((unsigned char)p[i] & 0xC0) != 0x80;
    return n;
}

static int string_words(struct schema *s, const json_t *o, const json_t *v)
{
    struct dfa set;
    const char *why, *pattern = NULL;
    const json_t *k;
    double n = (double)characters(v);
    int all = YES;
    if ((k = json_object_get(o, "minLength")) && !(n >= json_number_value(k)))
        all = NO;
    if ((k = json_object_get(o, "maxLength")) && !(n <= json_number_value(k)))
        all = NO;
    if ((k = json_object_get(o, "pattern")) && json_is_string(k) && all)
        all = both(all, asked(s, regex_to_dfa(str_of(json_string_value(k)), &set, &why), &set, v));
    static const char *const words[] = {"format", "contentEncoding", "contentMediaType"};
    for (int i = 0; i < 3 && all; i++) {
        k = json_object_get(o, words[i]);
        if (!json_is_string(k) || !format_pattern(words[i], json_string_value(k), &pattern))
            continue;
        int is = pattern ? asked(s, regex_to_dfa(str_of(pattern), &set, &why), &set, v) : UNKNOWN;
        all = both(all, is == YES ? YES : UNKNOWN); /* the pattern is a part of the format */
    }
    return all;
}

/* ---- arrays ---- */

static int items_words(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    const json_t *prefix = json_object_get(o, "prefixItems"), *items = json_object_get(o, "items");
    const json_t *rest = items;
    size_t n = json_array_size(v), from = 0;
    int all = YES;
    if (json_is_array(items)) {
        prefix = items;
        rest = json_object_get(o, "additionalItems");
    }
    for (; from < n && from < json_array_size(prefix); from++)
        all = both(all, accepts(s, json_array_get(prefix, from), json_array_get(v, from), depth));
    for (size_t i = from; rest && i < n; i++)
        all = both(all, accepts(s, rest, json_array_get(v, i), depth));
    return all;
}

static int contains_words(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    const json_t *k = json_object_get(o, "contains");
    const json_t *lo = json_object_get(o, "minContains"), *hi = json_object_get(o, "maxContains");
    double min = lo ? json_number_value(lo) : 1, max = hi ? json_number_value(hi) : INFINITY;
    double sure = 0, perhaps = 0;
    for (size_t i = 0; k && i < json_array_size(v); i++) {
        int a = accepts(s, k, json_array_get(v, i), depth);
        sure += a == YES;
        perhaps += a != NO;
    }
    if (!k || (sure >= min && perhaps <= max))
        return YES;
    return perhaps < min || sure > max ? NO : UNKNOWN;
}

static int array_words(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    size_t n = json_array_size(v);
    const json_t *k;
    if ((k = json_object_get(o, "minItems")) && !((double)n >= json_number_value(k)))
        return NO;
    if ((k = json_object_get(o, "maxItems")) && !((double)n <= json_number_value(k)))
        return NO;
    if (json_is_true(json_object_get(o, "uniqueItems")))
        for (size_t i = 0; i < n; i++)
            for (size_t j = i + 1; j < n; j++)
                if (schema_equal(json_array_get(v, i), json_array_get(v, j)))
                    return NO;
    k = json_object_get(o, "unevaluatedItems");
    return both(k && !json_is_true(k) ? UNKNOWN : YES,
                both(items_words(s, o, v, depth), contains_words(s, o, v, depth)));
}

/* ---- objects ---- */

/* What patternProperties say of one key; *matched: whether any does. */
static int pattern_words(struct schema *s, const json_t *o, const char *key, const json_t *v,
                         bool *matched, int depth)
{
    const char *pattern, *why;
    json_t *sub;
    int all = YES;
    json_object_foreach(json_object_get(o, "patternProperties"), pattern, sub)
    {
        struct dfa set;
        if (regex_to_dfa(str_of(pattern), &set, &why))
            return UNKNOWN;
        bool is = dfa_has(&set, str_of(key));
        s->steps += SCHEMA_SET_STEPS + 20ull * set.n;
        dfa_done(&set);
        *matched |= is;
        if (is)
            all = both(all, accepts(s, sub, v, depth));
    }
    return all;
}

static int fields_words(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    const json_t *more = json_object_get(o, "additionalProperties");
    const json_t *names = json_object_get(o, "propertyNames");
    const char *key;
    json_t *field;
    int all = YES;
    json_object_foreach((json_t *)v, key, field)
    {
        const json_t *own = json_object_get(json_object_get(o, "properties"), key);
        bool matched = own != NULL;
        if (own)
            all = both(all, accepts(s, own, field, depth));
        all = both(all, pattern_words(s, o, key, field, &matched, depth));
        if (!matched && more)
            all = both(all, accepts(s, more, field, depth));
        if (names) {
            json_t *name = json_string(key);
            all = both(all, name ? accepts(s, names, name, depth) : UNKNOWN);
            json_decref(name);
        }
    }
    return all;
}

static int has_all(const json_t *list, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && !json_object_get(v, name))
            return NO;
    }
    return YES;
}

static int dependent_words(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    static const char *const words[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    const char *key;
    json_t *sub;
    int all = YES;
    for (int i = 0; i < 3; i++)
        json_object_foreach(json_object_get(o, words[i]), key, sub)
        {
            if (!json_object_get(v, key))
                continue;
            all = both(all, json_is_array(sub) ? has_all(sub, v) : accepts(s, sub, v, depth));
        }
    return all;
}

static int object_words(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    double n = (double)json_object_size(v);
    const json_t *k;
    if ((k = json_object_get(o, "minProperties")) && !(n >= json_number_value(k)))
        return NO;
    if ((k = json_object_get(o, "maxProperties")) && !(n <= json_number_value(k)))
        return NO;
    k = json_object_get(o, "unevaluatedProperties");
    int all =
        both(k && !json_is_true(k) ? UNKNOWN : YES, has_all(json_object_get(o, "required"), v));
    all = both(all, fields_words(s, o, v, depth));
    return both(all, dependent_words(s, o, v, depth));
}

/* ---- all types ---- */

static bool type_fits(const char *name, const json_t *v)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    if (name && strcmp(name, "integer") == 0)
        return json_is_number(v) && json_number_value(v) == floor(json_number_value(v));
    return name && strcmp(name, names[json_kind_of(v)]) == 0;
}

static int value_words(const json_t *o, const json_t *v)
{
    const json_t *type = json_object_get(o, "type"), *list = json_object_get(o, "enum");
    const json_t *one = json_object_get(o, "const");
    bool fits = !type || type_fits(json_string_value(type), v), found = !list;
    for (size_t i = 0; !fits && i < json_array_size(type); i++)
        fits = type_fits(json_string_value(json_array_get(type, i)), v);
    for (size_t i = 0; !found && i < json_array_size(list); i++)
        found = schema_equal(json_array_get(list, i), v);
    return fits && found && (!one || schema_equal(one, v));
}

static int join_words(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    const json_t *all = json_object_get(o, "allOf"), *any = json_object_get(o, "anyOf");
    const json_t *one = json_object_get(o, "oneOf"), *barred = json_object_get(o, "not");
    const json_t *when = json_object_get(o, "if");
    int r = YES, some = NO, sure = 0, perhaps = 0;
    for (size_t i = 0; i < json_array_size(all); i++)
        r = both(r, accepts(s, json_array_get(all, i), v, depth));
    for (size_t i = 0; i < json_array_size(any); i++)
        some = either(some, accepts(s, json_array_get(any, i), v, depth));
    for (size_t i = 0; i < json_array_size(one); i++) {
        int a = accepts(s, json_array_get(one, i), v, depth);
        sure += a == YES;
        perhaps += a != NO;
    }
    if (any)
        r = both(r, some);
    if (one)
        r = both(r, sure > 1 || perhaps == 0 ? NO : sure == 1 && perhaps == 1 ? YES : UNKNOWN);
    if (barred)
        r = both(r, turned(accepts(s, barred, v, depth)));
    if (when) {
        const json_t *then = json_object_get(o, "then"), *other = json_object_get(o, "else");
        int a = accepts(s, when, v, depth);
        int yes = then ? accepts(s, then, v, depth) : YES;
        int no = other ? accepts(s, other, v, depth) : YES;
        r = both(r, a == YES ? yes : a == NO ? no : both(yes, no) == YES ? YES : UNKNOWN);
    }
    return r;
}

static int accepts(struct schema *s, const json_t *o, const json_t *v, int depth)
{
    if (json_is_boolean(o))
        return json_is_true(o);
    if (!json_is_object(o) || depth > MAX_DEPTH || ++s->steps > SCHEMA_MAX_STEPS)
        return UNKNOWN;
    depth++;
    int all = YES;
    const json_t *ref = json_object_get(o, "$ref");
    if (json_object_get(o, "$dynamicRef") || json_object_get(o, "$recursiveRef"))
        all = UNKNOWN;
    if (ref) {
        const json_t *to =
            json_is_string(ref) ? schema_resolve(s, o, json_string_value(ref)) : NULL;
        all = to ? accepts(s, to, v, depth) : UNKNOWN;
        if (schema_ref_alone(s))
            return all;
    }
    all = both(all, value_words(o, v));
    if (all != NO)
        all = both(all, join_words(s, o, v, depth));
    if (all == NO)
        return NO;
    switch (json_kind_of(v)) {
    case KIND_NUMBER: return both(all, number_words(s, o, v));
    case KIND_STRING: return both(all, string_words(s, o, v));
    case KIND_ARRAY: return both(all, array_words(s, o, v, depth));
    case KIND_OBJECT: return both(all, object_words(s, o, v, depth));
    default: return all;
    }
}

int schema_accepts(struct schema *s, const json_t *schema, const json_t *value)
{
    return accepts(s, schema, value, 0);
}

int schema_goal_accepts(struct schema *s, const struct goal *g, const json_t *value)
{
    int all = YES;
    for (uint32_t i = 0; i < g->n && all != NO; i++) {
        int a = schema_accepts(s, g->lits[i].schema, value);
        all = both(all, g->lits[i].turned ? turned(a) : a);
    }
    return all;
}
