/* grammar_build.c: puts automata together, state by state and arc by arc. Owns the limits of size:
 * what grows past them fails once, and everything after a failure does nothing, so that the
 * parsers check at their end only. */
#include "grammar_int.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NO_ARC UINT32_MAX

void build_init(struct build *b, struct err *e)
{
    *b = (struct build){.e = e};
}

void build_done(struct build *b)
{
    free(b->arcs);
    free(b->first);
    free(b->free);
    free(b->rules);
    *b = (struct build){0};
}

int build_fail(struct build *b, int code, const char *fmt, ...)
{
    if (b->rc)
        return b->rc;
    char msg[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return b->rc = err_set(b->e, code, "%s", msg);
}

/* Room for one more of `size` bytes in *p; the arrays of a builder double. */
static bool grow(struct build *b, void **p, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    uint32_t more = *cap ? *cap * 2 : 64;
    void *q = realloc(*p, more * size);
    if (!q) {
        build_fail(b, ERR_NOMEM, "grammar: no memory");
        return false;
    }
    *p = q;
    *cap = more;
    return true;
}

uint32_t build_state(struct build *b)
{
    uint32_t cap = b->states_cap;
    if (b->rc)
        return 0;
    if (b->nstates >= GRAMMAR_MAX_STATES) {
        build_fail(b, ERR_LIMIT, "grammar: more than %u states", GRAMMAR_MAX_STATES);
        return 0;
    }
    if (!grow(b, (void **)&b->free, b->nstates, &cap, sizeof *b->free) ||
        !grow(b, (void **)&b->first, b->nstates, &b->states_cap, sizeof *b->first))
        return 0;
    b->free[b->nstates] = 0;
    b->first[b->nstates] = NO_ARC;
    return b->nstates++;
}

uint32_t build_rule_of(struct build *b, uint32_t start, uint32_t end)
{
    if (b->rc)
        return 0;
    if (b->nrules >= GRAMMAR_MAX_RULES) {
        build_fail(b, ERR_LIMIT, "grammar: more than %u rules", GRAMMAR_MAX_RULES);
        return 0;
    }
    if (!grow(b, (void **)&b->rules, b->nrules, &b->rules_cap, sizeof *b->rules))
        return 0;
    b->rules[b->nrules] = (struct build_rule){.start = start, .end = end};
    return b->nrules++;
}

uint32_t build_rule(struct build *b, struct str name, uint32_t line)
{
    uint32_t start = build_state(b), end = build_state(b), r = build_rule_of(b, start, end);
    if (!b->rc) {
        b->rules[r].name = name;
        b->rules[r].line = line;
    }
    return r;
}

uint32_t build_start(const struct build *b, uint32_t rule)
{
    return b->rc ? 0 : b->rules[rule].start;
}

uint32_t build_end(const struct build *b, uint32_t rule)
{
    return b->rc ? 0 : b->rules[rule].end;
}

static void add(struct build *b, uint32_t from, struct arc arc)
{
    if (b->rc)
        return;
    if (b->narcs >= GRAMMAR_MAX_ARCS) {
        build_fail(b, ERR_LIMIT, "grammar: more than %u transitions", GRAMMAR_MAX_ARCS);
        return;
    }
    if (!grow(b, (void **)&b->arcs, b->narcs, &b->arcs_cap, sizeof *b->arcs))
        return;
    b->arcs[b->narcs] = (struct build_arc){arc, b->first[from]};
    b->first[from] = b->narcs++;
}

void build_eps(struct build *b, uint32_t from, uint32_t to)
{
    add(b, from, (struct arc){.to = to, .kind = ARC_EPS});
}

void build_byte(struct build *b, uint32_t from, unsigned lo, unsigned hi, uint32_t to)
{
    add(b, from, (struct arc){.to = to, .kind = ARC_BYTE, .lo = (uint8_t)lo, .hi = (uint8_t)hi});
}

void build_call(struct build *b, uint32_t from, uint32_t rule, uint32_t to)
{
    add(b, from, (struct arc){.to = to, .arg = rule, .kind = ARC_CALL});
}

void build_token(struct build *b, uint32_t from, uint32_t id, bool negated, uint32_t to)
{
    add(b, from, (struct arc){.to = to, .arg = id, .kind = negated ? ARC_NOT_TOKEN : ARC_TOKEN});
}

void build_literal(struct build *b, uint32_t from, struct str s, uint32_t to)
{
    for (size_t i = 0; i + 1 < s.n && !b->rc; i++) {
        uint32_t next = build_state(b);
        build_byte(b, from, (unsigned char)s.p[i], (unsigned char)s.p[i], next);
        from = next;
    }
    if (s.n)
        build_byte(b, from, (unsigned char)s.p[s.n - 1], (unsigned char)s.p[s.n - 1], to);
    else
        build_eps(b, from, to);
}

void build_repeat(struct build *b, uint32_t from, uint32_t rule, uint32_t min, uint32_t max,
                  uint32_t to)
{
    uint32_t least = min > GRAMMAR_MAX_REPEAT ? GRAMMAR_MAX_REPEAT + 1 : min;
    if (least > GRAMMAR_MAX_REPEAT || (max != UINT32_MAX && max > GRAMMAR_MAX_REPEAT)) {
        build_fail(b, ERR_LIMIT, "grammar: a repetition of more than %d times", GRAMMAR_MAX_REPEAT);
        return;
    }
    uint32_t at = build_state(b);
    build_eps(b, from, at);
    for (uint32_t i = 0; i < min && !b->rc; i++) {
        uint32_t next = build_state(b);
        build_call(b, at, rule, next);
        at = next;
    }
    if (max == UINT32_MAX)
        build_call(b, at, rule, at);
    for (uint32_t i = min; max != UINT32_MAX && i < max && !b->rc; i++) {
        uint32_t next = build_state(b);
        build_call(b, at, rule, next);
        build_eps(b, at, to);
        at = next;
    }
    build_eps(b, at, to);
}

/* ---- classes of characters ---- */

/* lo and hi have encodings of the same length; bytes i of both are equal up to `at`. */
static void add_sequence(struct build *b, uint32_t from, const unsigned char *lo,
                         const unsigned char *hi, size_t n, uint32_t to)
{
    for (size_t i = 0; i < n && !b->rc; i++) {
        uint32_t next = i + 1 < n ? build_state(b) : to;
        build_byte(b, from, lo[i], hi[i], next);
        from = next;
    }
}

/* Splits a range so that each part is a product of byte ranges: where the bytes behind the first
 * that differs are not whole, the part that is cut off is a range of its own. */
static void add_range(struct build *b, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
    static const uint32_t last_of[] = {0x7F, 0x7FF, 0xFFFF};
    for (int i = 0; i < 3; i++)
        if (lo <= last_of[i] && hi > last_of[i]) {
            add_range(b, from, lo, last_of[i], to);
            add_range(b, from, last_of[i] + 1, hi, to);
            return;
        }
    char a[4], z[4];
    size_t n = utf8_encode(lo, a);
    utf8_encode(hi, z);
    for (size_t i = 1; i < n; i++) {
        uint32_t mask = (1u << (6 * i)) - 1;
        if ((lo & ~mask) == (hi & ~mask))
            continue;
        if (lo & mask) {
            add_range(b, from, lo, lo | mask, to);
            add_range(b, from, (lo | mask) + 1, hi, to);
            return;
        }
        if ((hi & mask) != mask) {
            add_range(b, from, lo, (hi & ~mask) - 1, to);
            add_range(b, from, hi & ~mask, hi, to);
            return;
        }
    }
    add_sequence(b, from, (unsigned char *)a, (unsigned char *)z, n, to);
}

/* Are all the plain characters in it? */
static bool covers_plain(const struct range *r, size_t n)
{
    static const struct range plain[] = {
        {0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x7E}, {0x80, 0xD7FF}, {0xE000, 0x10FFFF}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        uint32_t at = plain[i].lo;
        for (size_t k = 0; k < n && at <= plain[i].hi; k++)
            if (r[k].lo <= at && r[k].hi >= at)
                at = r[k].hi + 1;
        if (at <= plain[i].hi)
            return false;
    }
    return true;
}

void build_class(struct build *b, uint32_t from, const struct range *r, size_t n, uint32_t to)
{
    for (size_t i = 0; i < n && !b->rc; i++) {
        uint32_t lo = r[i].lo, hi = r[i].hi;
        if (lo < 0xD800 && hi >= 0xD800) {
            add_range(b, from, lo, 0xD7FF, to);
            lo = 0xE000;
        } else if (lo >= 0xD800 && lo <= 0xDFFF) {
            lo = 0xE000;
        }
        if (hi >= 0xD800 && hi <= 0xDFFF)
            hi = 0xD7FF;
        if (lo <= hi)
            add_range(b, from, lo, hi, to);
    }
    if (covers_plain(r, n))
        add(b, from, (struct arc){.to = to, .kind = ARC_PLAIN});
}

int build_finish(struct build *b, uint32_t root, const struct grammar_start *start,
                 struct grammar **out)
{
    if (!b->rc && start && start->when != GRAMMAR_NOW)
        root = free_text_wrap(b, root, start);
    return b->rc ? b->rc : grammar_compile(b, root, out);
}
