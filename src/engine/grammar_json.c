/* grammar_json.c: JSON without a schema: values, and the pieces that schemas are put together from.
 *
 * It is the JSON that everybody reads: integers of at most 18 digits and exponents of at most two,
 * so that no reader overflows; no escaped NUL and no lone surrogates; white space bounded, so that
 * a model cannot write it for ever. */
#include "grammar_json_int.h"

#include <stdlib.h>

#define INTEGER_DIGITS 18
#define FRACTION_DIGITS 17
#define INDENT 32

static void hex_digit(struct build *b, uint32_t from, uint32_t to)
{
    build_byte(b, from, '0', '9', to);
    build_byte(b, from, 'a', 'f', to);
    build_byte(b, from, 'A', 'F', to);
}

static void either(struct build *b, uint32_t from, const char *bytes, uint32_t to)
{
    for (; *bytes; bytes++)
        build_byte(b, from, (unsigned char)*bytes, (unsigned char)*bytes, to);
}

/* Behind \u: four digits that are no surrogate and not 0000, or two surrogates that belong
 * together. */
static void unicode_escape(struct build *b, uint32_t from, uint32_t to)
{
    uint32_t three = build_state(b), two = build_state(b), one = build_state(b);
    uint32_t after_d = build_state(b), high1 = build_state(b), high2 = build_state(b);
    uint32_t zero1 = build_state(b), zero2 = build_state(b), zero3 = build_state(b);
    build_byte(b, from, '1', '9', three);
    either(b, from, "abcefABCEF", three);
    hex_digit(b, three, two);
    hex_digit(b, two, one);
    hex_digit(b, one, to);
    either(b, from, "dD", after_d);
    build_byte(b, after_d, '0', '7', two);
    either(b, after_d, "89abAB", high1);
    hex_digit(b, high1, high2);
    uint32_t low = build_state(b), low_u = build_state(b), low_d = build_state(b);
    uint32_t low_c = build_state(b), low3 = build_state(b), low4 = build_state(b);
    hex_digit(b, high2, low);
    either(b, low, "\\", low_u);
    either(b, low_u, "u", low_d);
    either(b, low_d, "dD", low_c);
    either(b, low_c, "cdefCDEF", low3);
    hex_digit(b, low3, low4);
    hex_digit(b, low4, to);
    either(b, from, "0", zero1);
    either(b, zero1, "123456789abcdefABCDEF", two);
    either(b, zero1, "0", zero2);
    either(b, zero2, "123456789abcdefABCDEF", one);
    either(b, zero2, "0", zero3);
    either(b, zero3, "123456789abcdefABCDEF", to);
}

static void make_character(struct build *b, uint32_t rule)
{
    static const struct range bare[] = {{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x10FFFF}};
    uint32_t from = build_start(b, rule), to = build_end(b, rule);
    uint32_t escape = build_state(b), unicode = build_state(b);
    build_class(b, from, bare, 3, to);
    either(b, from, "\\", escape);
    either(b, escape, "\"\\/bfnrt", to);
    either(b, escape, "u", unicode);
    unicode_escape(b, unicode, to);
}

static void digit(struct build *b, uint32_t rule)
{
    build_byte(b, build_start(b, rule), '0', '9', build_end(b, rule));
}

/* An integer without leading zeros; minus zero is left out. */
static void make_integer(struct build *b, uint32_t rule, uint32_t dig)
{
    uint32_t from = build_start(b, rule), to = build_end(b, rule);
    uint32_t minus = build_state(b), more = build_state(b);
    build_byte(b, from, '0', '0', to);
    build_byte(b, from, '-', '-', minus);
    build_byte(b, from, '1', '9', more);
    build_byte(b, minus, '1', '9', more);
    build_repeat(b, more, dig, 0, INTEGER_DIGITS - 1, to);
}

static void make_number(struct build *b, uint32_t rule, uint32_t dig, uint32_t integer)
{
    uint32_t from = build_start(b, rule), to = build_end(b, rule);
    uint32_t whole = build_state(b), point = build_state(b), exponent = build_state(b);
    uint32_t fraction = build_state(b), sign = build_state(b);
    uint32_t minus = build_state(b), zero = build_state(b);
    build_call(b, from, integer, whole);
    build_byte(b, from, '-', '-', minus); /* -0 where a fraction follows */
    build_byte(b, minus, '0', '0', zero);
    build_byte(b, zero, '.', '.', point);
    build_eps(b, whole, to);
    build_byte(b, whole, '.', '.', point);
    build_repeat(b, point, dig, 1, FRACTION_DIGITS, fraction);
    build_eps(b, fraction, to);
    either(b, fraction, "eE", exponent);
    either(b, whole, "eE", exponent);
    build_eps(b, exponent, sign);
    either(b, exponent, "+-", sign);
    build_repeat(b, sign, dig, 1, 2, to);
}

/* open space (item (, space item)* space)? close */
static void make_list(struct build *b, uint32_t rule, char open, char close, uint32_t space,
                      uint32_t item)
{
    uint32_t from = build_start(b, rule), to = build_end(b, rule);
    uint32_t opened = build_state(b), before = build_state(b), after = build_state(b);
    uint32_t comma = build_state(b), last = build_state(b);
    build_byte(b, from, (unsigned char)open, (unsigned char)open, opened);
    build_call(b, opened, space, before);
    build_byte(b, before, (unsigned char)close, (unsigned char)close, to);
    build_call(b, before, item, after);
    build_byte(b, after, ',', ',', comma);
    uint32_t next = build_state(b);
    build_call(b, comma, space, next);
    build_call(b, next, item, after);
    build_call(b, after, space, last);
    build_byte(b, last, (unsigned char)close, (unsigned char)close, to);
}

static void make_space(struct build *b, uint32_t rule)
{
    uint32_t from = build_start(b, rule), to = build_end(b, rule), line = build_state(b);
    uint32_t blank = build_rule(b, STR_NONE, 0);
    either(b, build_start(b, blank), " \t", build_end(b, blank));
    build_eps(b, from, to);
    build_byte(b, from, ' ', ' ', to);
    build_byte(b, from, '\n', '\n', line);
    build_repeat(b, line, blank, 0, INDENT, to);
}

static void make_value(struct build *b, const struct json_rules *j)
{
    uint32_t from = build_start(b, j->value), to = build_end(b, j->value);
    uint32_t rules[] = {j->string, j->number, j->object, j->array};
    build_literal(b, from, STR("null"), to);
    build_literal(b, from, STR("true"), to);
    build_literal(b, from, STR("false"), to);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        build_call(b, from, rules[i], to);
}

void json_rules_make(struct build *b, struct json_rules *j)
{
    uint32_t *all[] = {&j->space,   &j->character, &j->string, &j->number,
                       &j->integer, &j->value,     &j->object, &j->array};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = build_rule(b, STR_NONE, 0);
    uint32_t dig = build_rule(b, STR_NONE, 0), pair = build_rule(b, STR_NONE, 0);
    digit(b, dig);
    make_space(b, j->space);
    make_character(b, j->character);
    make_integer(b, j->integer, dig);
    make_number(b, j->number, dig, j->integer);
    make_value(b, j);
    uint32_t from = build_state(b), to = build_state(b);
    build_byte(b, build_start(b, j->string), '"', '"', from);
    build_repeat(b, from, j->character, 0, UINT32_MAX, to);
    build_byte(b, to, '"', '"', build_end(b, j->string));
    uint32_t key = build_state(b), colon = build_state(b), val = build_state(b);
    build_call(b, build_start(b, pair), j->string, key);
    build_byte(b, key, ':', ':', colon);
    build_call(b, colon, j->space, val);
    build_call(b, val, j->value, build_end(b, pair));
    make_list(b, j->object, '{', '}', j->space, pair);
    make_list(b, j->array, '[', ']', j->space, j->value);
}

/* ---- single characters ---- */

static void short_escape(struct build *b, uint32_t from, uint32_t cp, uint32_t to)
{
    static const char names[] = "\"\\bfnrt";
    static const char means[] = "\"\\\b\f\n\r\t";
    uint32_t escape = build_state(b);
    build_byte(b, from, '\\', '\\', escape);
    const char *at = cp ? strchr(means, (int)cp) : NULL;
    if (at) {
        build_byte(b, escape, (unsigned char)names[at - means], (unsigned char)names[at - means],
                   to);
        return;
    }
    static const char digits[] = "0123456789abcdef";
    char text[] = {'u', '0', '0', digits[cp >> 4 & 15], digits[cp & 15]};
    build_literal(b, escape, str_n(text, sizeof text), to);
}

/* The part of a range that stands for itself, from `lo` on; false: there is no more. */
static bool next_bare(struct range *left, struct range *out)
{
    while (left->lo <= left->hi && (left->lo == '"' || left->lo == '\\' || left->lo < 0x20))
        left->lo++;
    if (left->lo > left->hi)
        return false;
    *out = *left;
    if (out->lo < '"' && out->hi >= '"')
        out->hi = '"' - 1;
    else if (out->lo < '\\' && out->hi >= '\\')
        out->hi = '\\' - 1;
    left->lo = out->hi + 1;
    return true;
}

void json_character(struct build *b, uint32_t from, const struct range *r, size_t n, uint32_t to)
{
    struct range *bare = calloc(n + 3, sizeof *bare);
    size_t nbare = 0;
    if (!bare)
        build_fail(b, ERR_NOMEM, "grammar: no memory");
    for (size_t i = 0; i < n && !b->rc; i++) {
        struct range left = r[i], part;
        /* An escaped NUL ends the text for many readers: never written. */
        for (uint32_t c = left.lo ? left.lo : 1; c <= left.hi && c <= '\\'; c++)
            if (c < 0x20 || c == '"' || c == '\\')
                short_escape(b, from, c, to);
        while (next_bare(&left, &part))
            bare[nbare++] = part;
    }
    if (nbare)
        build_class(b, from, bare, nbare, to);
    free(bare);
}

int grammar_from_json_object(const struct grammar_start *start, struct grammar **out, struct err *e)
{
    struct build b;
    struct json_rules j;
    build_init(&b, e);
    json_rules_make(&b, &j);
    int rc = build_finish(&b, j.object, start, out);
    build_done(&b);
    return rc;
}
