/* grammar_gbnf.c: the text form of a grammar, as llama.cpp's grammars/README.md describes it, to
 * automata. Every error says line and column. Repetitions with counts become chains of calls, so
 * that nesting them multiplies nothing. */
#include "grammar_int.h"

#include "utf8.h"

#include <stdlib.h>

#define MAX_RANGES 4096 /* of one class */

struct name {
    struct str text;
    uint32_t rule, line, column;
    bool defined;
};

struct parser {
    struct build *b;
    const struct tok *t;
    struct str s;
    size_t at;
    struct name *names;
    uint32_t *slots; /* names by hash */
    size_t nnames, names_cap, nslots;
    struct range *ranges; /* of the class at hand */
    size_t nranges;
    int depth;
    size_t seen; /* the place that was asked for last */
    uint32_t seen_line, seen_column;
};

/* ---- errors and places ---- */

/* Goes on from the place asked for last, so that all names together cost one pass. */
static void place_of(struct parser *p, size_t at, uint32_t *line, uint32_t *column)
{
    if (at < p->seen || p->seen_line == 0) {
        p->seen = 0;
        p->seen_line = p->seen_column = 1;
    }
    for (; p->seen < at && p->seen < p->s.n; p->seen++) {
        bool newline = p->s.p[p->seen] == '\n';
        p->seen_column = newline ? 1 : p->seen_column + 1;
        p->seen_line += newline;
    }
    *line = p->seen_line;
    *column = p->seen_column;
}

static void fail_at(struct parser *p, size_t at, int code, const char *what)
{
    uint32_t line, column;
    if (p->b->rc)
        return;
    place_of(p, at, &line, &column);
    build_fail(p->b, code, "grammar: line %u, column %u: %s", line, column, what);
}

static void fail(struct parser *p, const char *what)
{
    fail_at(p, p->at, ERR_FORMAT, what);
}

/* ---- characters ---- */

static int peek(const struct parser *p)
{
    return p->at < p->s.n ? (unsigned char)p->s.p[p->at] : -1;
}

static bool take(struct parser *p, const char *lit)
{
    size_t n = strlen(lit);
    if (p->s.n - p->at < n || memcmp(p->s.p + p->at, lit, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* Blanks and comments; line breaks too where a rule goes on behind them. */
static void skip(struct parser *p, bool lines)
{
    for (int c; (c = peek(p)) >= 0; p->at++) {
        if (c == '#')
            while (p->at + 1 < p->s.n && p->s.p[p->at + 1] != '\n' && p->s.p[p->at + 1] != '\r')
                p->at++;
        else if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r')))
            return;
    }
}

static bool word_char(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static struct str word(struct parser *p)
{
    size_t from = p->at;
    while (word_char(peek(p)))
        p->at++;
    return str_n(p->s.p + from, p->at - from);
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static uint32_t hex(struct parser *p, int digits)
{
    uint32_t v = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        int d = hex_value(peek(p));
        if (d < 0) {
            fail(p, "an escape has too few hexadecimal digits");
            return 0;
        }
        v = v << 4 | (uint32_t)d;
    }
    if (v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF))
        fail(p, "an escape is no character");
    return v;
}

/* One character of a literal or class, escapes read. */
static uint32_t character(struct parser *p)
{
    uint32_t cp = 0;
    if (peek(p) != '\\') {
        size_t n = utf8_decode(str_n(p->s.p + p->at, p->s.n - p->at), &cp);
        if (!n)
            fail(p, p->at < p->s.n ? "malformed UTF-8" : "the text ends in a literal or class");
        p->at += n;
        return cp;
    }
    p->at++;
    int c = peek(p);
    p->at += c >= 0;
    switch (c) {
    case 'x': return hex(p, 2);
    case 'u': return hex(p, 4);
    case 'U': return hex(p, 8);
    case 't': return '\t';
    case 'r': return '\r';
    case 'n': return '\n';
    case '\\':
    case '"':
    case '-':
    case '^':
    case '[':
    case ']': return (uint32_t)c;
    default:
        p->at -= c >= 0;
        fail(p, "an unknown escape");
        return 0;
    }
}

/* ---- rules by name ---- */

static size_t slot_of(const struct parser *p, struct str text)
{
    size_t i = (size_t)str_hash(text, 0x9E3779B97F4A7C15u) & (p->nslots - 1);
    while (p->slots[i] && !str_eq(p->names[p->slots[i] - 1].text, text))
        i = (i + 1) & (p->nslots - 1);
    return i;
}

static struct name *name_of(struct parser *p, struct str text, size_t at)
{
    size_t slot = slot_of(p, text);
    if (p->slots[slot])
        return &p->names[p->slots[slot] - 1];
    if (p->nnames >= p->names_cap) {
        fail_at(p, at, ERR_LIMIT, "too many rules");
        return NULL;
    }
    struct name *n = &p->names[p->nnames++];
    *n = (struct name){.text = text};
    place_of(p, at, &n->line, &n->column);
    n->rule = build_rule(p->b, text, n->line);
    p->slots[slot] = (uint32_t)p->nnames;
    return n;
}

/* ---- terms: each from a fresh state to a fresh state, so that it can be repeated ---- */

static void literal(struct parser *p, uint32_t from, uint32_t to)
{
    p->at++;
    while (!p->b->rc && peek(p) != '"') {
        char bytes[4];
        size_t n = utf8_encode(character(p), bytes);
        uint32_t next = build_state(p->b);
        if (p->b->rc)
            return;
        build_literal(p->b, from, str_n(bytes, n), next);
        from = next;
    }
    p->at++;
    build_eps(p->b, from, to);
}

static int by_low(const void *a, const void *b)
{
    uint32_t x = ((const struct range *)a)->lo, y = ((const struct range *)b)->lo;
    return (x > y) - (x < y);
}

/* Sorted and joined; negated where it is. */
static size_t tidy_ranges(struct range *r, size_t n, bool negated)
{
    size_t k = 0;
    qsort(r, n, sizeof *r, by_low);
    for (size_t i = 0; i < n; i++)
        if (k && r[i].lo <= r[k - 1].hi + 1)
            r[k - 1].hi = r[i].hi > r[k - 1].hi ? r[i].hi : r[k - 1].hi;
        else
            r[k++] = r[i];
    if (!negated)
        return k;
    uint32_t from = 0;
    size_t out = 0;
    for (size_t i = 0; i < k; i++) { /* a gap is written where its range has been read */
        struct range was = r[i];
        if (was.lo > from)
            r[out++] = (struct range){from, was.lo - 1};
        from = was.hi + 1;
    }
    if (from <= 0x10FFFF)
        r[out++] = (struct range){from, 0x10FFFF};
    return out;
}

static void char_class(struct parser *p, uint32_t from, uint32_t to)
{
    size_t at = p->at;
    bool negated = take(p, "[^") || (p->at++, false);
    p->nranges = 0;
    while (!p->b->rc && peek(p) != ']') {
        uint32_t lo = character(p), hi = lo;
        if (peek(p) == '-' && p->at + 1 < p->s.n && p->s.p[p->at + 1] != ']') {
            p->at++;
            hi = character(p);
        }
        if (hi < lo)
            fail(p, "a range runs backwards");
        if (p->nranges >= MAX_RANGES)
            fail_at(p, at, ERR_LIMIT, "a class of too many ranges");
        else
            p->ranges[p->nranges++] = (struct range){lo, hi};
    }
    p->at++;
    if (!p->b->rc)
        build_class(p->b, from, p->ranges, tidy_ranges(p->ranges, p->nranges, negated), to);
}

/* <[12]> or <text>, the latter by the vocabulary. */
static void token(struct parser *p, uint32_t from, uint32_t to)
{
    size_t at = p->at;
    bool negated = take(p, "!");
    size_t close = peek(p) == '<' ? str_find(p->s, STR(">"), p->at) : SIZE_MAX;
    if (close == SIZE_MAX) {
        fail_at(p, at, ERR_FORMAT, "expected a token: <text> or <[number]>");
        return;
    }
    struct str text = str_n(p->s.p + p->at, close + 1 - p->at);
    uint64_t id = 0;
    p->at = close + 1;
    if (text.n > 4 && text.p[1] == '[' && text.p[text.n - 2] == ']') {
        if (!str_to_u64(str_n(text.p + 2, text.n - 4), &id) || id > INT32_MAX ||
            (p->t && id >= (uint64_t)tok_count(p->t)))
            fail_at(p, at, ERR_FORMAT, "no token has this number");
    } else if (!p->t) {
        fail_at(p, at, ERR_UNSUPPORTED, "a token by its text needs a vocabulary");
    } else if (tok_find(p->t, text) < 0) {
        fail_at(p, at, ERR_NOT_FOUND, "the vocabulary has no such token");
    } else {
        id = (uint64_t)tok_find(p->t, text);
    }
    build_token(p->b, from, (uint32_t)id, negated, to);
}

static void alternatives(struct parser *p, uint32_t from, uint32_t to, bool nested);

static void group(struct parser *p, uint32_t from, uint32_t to)
{
    size_t at = p->at++;
    if (++p->depth > GRAMMAR_MAX_NESTING) {
        fail_at(p, at, ERR_LIMIT, "groups are nested too deeply");
        return;
    }
    alternatives(p, from, to, true);
    p->depth--;
    if (p->b->rc)
        return;
    if (peek(p) != ')')
        fail(p, "expected ')'");
    p->at++;
}

static void reference(struct parser *p, uint32_t from, uint32_t to)
{
    size_t at = p->at;
    struct str text = word(p);
    struct name *n = name_of(p, text, at);
    if (n)
        build_call(p->b, from, n->rule, to);
}

/* False: no term begins here. */
static bool term(struct parser *p, uint32_t from, uint32_t to)
{
    static const struct range any[] = {{0, 0x10FFFF}};
    int c = peek(p);
    if (c == '"')
        literal(p, from, to);
    else if (c == '[')
        char_class(p, from, to);
    else if (c == '(')
        group(p, from, to);
    else if (c == '<' || c == '!')
        token(p, from, to);
    else if (c == '.') {
        p->at++;
        build_class(p->b, from, any, 1, to);
    } else if (word_char(c))
        reference(p, from, to);
    else
        return false;
    return true;
}

/* ---- repetition ---- */

static uint32_t number(struct parser *p)
{
    uint32_t v = 0;
    size_t from = p->at;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        if (v <= GRAMMAR_MAX_REPEAT)
            v = v * 10 + (uint32_t)(peek(p) - '0');
    if (p->at == from)
        fail(p, "expected a number");
    if (v > GRAMMAR_MAX_REPEAT)
        fail_at(p, from, ERR_LIMIT, "a repetition of too many times");
    return v;
}

/* {m}, {m,}, {m,n}, {,n} */
static void counts(struct parser *p, uint32_t *min, uint32_t *max)
{
    size_t at = p->at++;
    skip(p, false);
    *min = peek(p) == ',' ? 0 : number(p);
    *max = *min;
    skip(p, false);
    if (take(p, ",")) {
        skip(p, false);
        *max = peek(p) == '}' ? UINT32_MAX : number(p);
        skip(p, false);
    }
    if (!p->b->rc && !take(p, "}"))
        fail(p, "expected '}'");
    if (*max < *min)
        fail_at(p, at, ERR_FORMAT, "a repetition's largest count is below its smallest");
}

/* What stands from `from` to `to`, as often as the operators behind it say; the state behind it. */
static uint32_t repeated(struct parser *p, uint32_t *from, uint32_t to)
{
    for (int c; !p->b->rc;) {
        skip(p, p->depth > 0);
        uint32_t min = 0, max = UINT32_MAX;
        c = peek(p);
        if (c != '*' && c != '+' && c != '?' && c != '{')
            return to;
        if (c == '{') {
            counts(p, &min, &max);
        } else {
            p->at++;
            min = c == '+';
            max = c == '?' ? 1 : UINT32_MAX;
        }
        uint32_t rule = build_rule_of(p->b, *from, to);
        uint32_t start = build_state(p->b), end = build_state(p->b);
        build_repeat(p->b, start, rule, min, max, end);
        *from = start;
        to = end;
    }
    return to;
}

static void sequence(struct parser *p, uint32_t from, uint32_t to, bool nested)
{
    for (;;) {
        skip(p, nested);
        uint32_t start = build_state(p->b), end = build_state(p->b);
        if (p->b->rc || !term(p, start, end))
            break;
        end = repeated(p, &start, end);
        build_eps(p->b, from, start);
        from = end;
    }
    build_eps(p->b, from, to);
}

static void alternatives(struct parser *p, uint32_t from, uint32_t to, bool nested)
{
    do {
        if (nested)
            skip(p, true);
        sequence(p, from, to, nested);
        skip(p, nested);
        if (p->b->rc || !take(p, "|"))
            return;
        skip(p, true);
    } while (true);
}

/* ---- the whole ---- */

static void rule(struct parser *p)
{
    size_t at = p->at;
    struct str text = word(p);
    if (text.n == 0) {
        fail(p, "expected the name of a rule");
        return;
    }
    struct name *n = name_of(p, text, at);
    if (!n)
        return;
    if (n->defined)
        fail_at(p, at, ERR_FORMAT, "this rule has been defined before");
    n->defined = true;
    place_of(p, at, &n->line, &n->column);
    p->b->rules[n->rule].line = n->line;
    uint32_t r = n->rule;
    skip(p, false);
    if (!take(p, "::="))
        fail(p, "expected '::='");
    skip(p, true);
    alternatives(p, build_start(p->b, r), build_end(p->b, r), false);
    if (!p->b->rc && peek(p) >= 0 && peek(p) != '\n' && peek(p) != '\r')
        fail(p, "expected a term or the end of the line");
}

static void check_names(struct parser *p)
{
    for (size_t i = 0; i < p->nnames && !p->b->rc; i++)
        if (!p->names[i].defined)
            build_fail(p->b, ERR_FORMAT, "grammar: line %u, column %u: no rule \"%.*s\"",
                       p->names[i].line, p->names[i].column, STR_ARG(p->names[i].text));
}

static void parse(struct parser *p, const char *root, const struct grammar_start *start,
                  struct grammar **out)
{
    for (skip(p, true); !p->b->rc && p->at < p->s.n; skip(p, true))
        rule(p);
    check_names(p);
    size_t slot = slot_of(p, str_of(root));
    if (!p->b->rc && !p->slots[slot])
        build_fail(p->b, ERR_FORMAT, "grammar: no rule \"%s\", with which it has to begin", root);
    if (!p->b->rc)
        build_finish(p->b, p->names[p->slots[slot] - 1].rule, start, out);
}

int grammar_from_gbnf(struct str text, const char *root, const struct tok *t,
                      const struct grammar_start *start, struct grammar **out, struct err *e)
{
    struct build b;
    if (text.n > GRAMMAR_MAX_TEXT)
        return err_set(e, ERR_LIMIT, "grammar: more than %u bytes", GRAMMAR_MAX_TEXT);
    build_init(&b, e);
    struct parser p = {.b = &b, .t = t, .s = text, .names_cap = GRAMMAR_MAX_RULES};
    p.nslots = 2 * GRAMMAR_MAX_RULES;
    p.names = calloc(p.names_cap, sizeof *p.names);
    p.slots = calloc(p.nslots, sizeof *p.slots);
    p.ranges = calloc(MAX_RANGES + 1, sizeof *p.ranges);
    if (p.names && p.slots && p.ranges)
        parse(&p, root, start, out);
    else
        build_fail(&b, ERR_NOMEM, "grammar: no memory");
    free(p.names);
    free(p.slots);
    free(p.ranges);
    int rc = b.rc;
    build_done(&b);
    return rc;
}
