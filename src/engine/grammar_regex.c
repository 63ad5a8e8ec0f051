/* grammar_regex.c: ECMAScript patterns (with the flag u, as JSON Schema reads them) to the set of
 * strings in which they find something. A pattern becomes a tree, the tree an automaton with ^ and
 * $ as conditions on it, and that a deterministic one. Look-around, back references, word
 * boundaries and Unicode properties are not regular or not known here, and are said to be so. */
#include "grammar_dfa_int.h"

#include "utf8.h"

#include <stdlib.h>

#define MAX_NODES 20000 /* of the tree */
#define MAX_STATES 30000
#define MAX_SET_RANGES 512 /* of one class */
#define MAX_RANGES 16384
#define LAST_CHAR 0x10FFFF

enum node_kind { NODE_EMPTY, NODE_SET, NODE_CAT, NODE_ALT, NODE_REPEAT, NODE_BEGIN, NODE_END };

struct node {
    enum node_kind kind;
    uint32_t a, b;     /* children, or a class's ranges: first and count */
    uint32_t min, max; /* of a repetition */
};

/* A state has up to two ways without a character, or one by a class. */
struct state {
    enum { STATE_SPLIT, STATE_SET, STATE_BEGIN, STATE_END, STATE_FINAL } kind;
    uint32_t to, other; /* DFA_DEAD: none */
    uint32_t first, n;  /* ranges */
};

struct regex {
    struct str s;
    size_t at;
    const char *why;
    int rc, depth;
    struct node *nodes;
    uint32_t nnodes;
    struct range *ranges;
    uint32_t nranges;
    struct state *states;
    uint32_t nstates;
};

static void fail(struct regex *x, int rc, const char *why)
{
    if (!x->rc) {
        x->rc = rc;
        x->why = why;
    }
}

static uint32_t node(struct regex *x, struct node n)
{
    if (x->nnodes >= MAX_NODES)
        fail(x, ERR_LIMIT, "the pattern is too long");
    if (x->rc)
        return 0;
    x->nodes[x->nnodes] = n;
    return x->nnodes++;
}

/* ---- reading ---- */

static uint32_t peek(const struct regex *x)
{
    uint32_t cp;
    return utf8_decode(str_n(x->s.p + x->at, x->s.n - x->at), &cp) ? cp : DFA_DEAD;
}

static uint32_t next(struct regex *x)
{
    uint32_t cp;
    size_t n = utf8_decode(str_n(x->s.p + x->at, x->s.n - x->at), &cp);
    if (!n) {
        fail(x, ERR_FORMAT, x->at < x->s.n ? "malformed UTF-8" : "the pattern ends too early");
        return 0;
    }
    x->at += n;
    return cp;
}

static bool take(struct regex *x, const char *lit)
{
    if (!str_starts(str_n(x->s.p + x->at, x->s.n - x->at), str_of(lit)))
        return false;
    x->at += strlen(lit);
    return true;
}

/* ---- classes ---- */

static void add_range(struct regex *x, uint32_t from, uint32_t lo, uint32_t hi)
{
    if (x->nranges - from >= MAX_SET_RANGES || x->nranges >= MAX_RANGES)
        fail(x, ERR_LIMIT, "a class of too many ranges");
    if (!x->rc)
        x->ranges[x->nranges++] = (struct range){lo, hi};
}

static int by_low(const void *a, const void *b)
{
    uint32_t x = ((const struct range *)a)->lo, y = ((const struct range *)b)->lo;
    return (x > y) - (x < y);
}

/* Sorted and disjoint, from `from` on; turned round where it is negated. */
static void tidy(struct regex *x, uint32_t from, bool negated)
{
    struct range *r = x->ranges + from;
    uint32_t n = x->nranges - from, k = 0, gap = 0, out = 0;
    if (x->rc)
        return;
    qsort(r, n, sizeof *r, by_low);
    for (uint32_t i = 0; i < n; i++)
        if (k && r[i].lo <= r[k - 1].hi + 1)
            r[k - 1].hi = r[i].hi > r[k - 1].hi ? r[i].hi : r[k - 1].hi;
        else
            r[k++] = r[i];
    if (!negated) {
        x->nranges = from + k;
        return;
    }
    for (uint32_t i = 0; i < k; i++) { /* a gap is written where its range has been read */
        struct range was = r[i];
        if (was.lo > gap)
            r[out++] = (struct range){gap, was.lo - 1};
        gap = was.hi + 1;
    }
    if (gap <= LAST_CHAR && x->nranges < MAX_RANGES)
        r[out++] = (struct range){gap, LAST_CHAR};
    x->nranges = from + out;
}

static const struct range digits[] = {{'0', '9'}};
static const struct range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct range spaces[] = {
    {9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

/* \d and its kin; false: c is none of them. */
static bool add_named(struct regex *x, uint32_t from, uint32_t c)
{
    uint32_t lower = c | 0x20, n;
    const struct range *r;
    if (lower == 'd')
        r = digits, n = 1;
    else if (lower == 'w')
        r = words, n = 4;
    else if (lower == 's')
        r = spaces, n = sizeof spaces / sizeof *spaces;
    else
        return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (c == lower)
            add_range(x, from, r[i].lo, r[i].hi);
        else if (r[i].lo > at)
            add_range(x, from, at, r[i].lo - 1);
        at = r[i].hi + 1;
    }
    if (c != lower)
        add_range(x, from, at, LAST_CHAR);
    return true;
}

static uint32_t hex(struct regex *x, int count)
{
    uint32_t v = 0;
    for (int i = 0; i < count; i++) {
        uint32_t c = next(x), low = c | 0x20;
        uint32_t d = c >= '0' && c <= '9'       ? c - '0'
                     : low >= 'a' && low <= 'f' ? low - 'a' + 10
                                                : 16;
        if (d == 16)
            fail(x, ERR_FORMAT, "an escape has too few hexadecimal digits");
        v = v << 4 | d;
    }
    return v;
}

static uint32_t unicode_escape(struct regex *x)
{
    uint32_t v = 0;
    if (take(x, "{")) {
        while (!x->rc && !take(x, "}")) {
            v = v << 4 | hex(x, 1);
            if (v > LAST_CHAR)
                fail(x, ERR_FORMAT, "an escape is no character");
        }
        return v;
    }
    v = hex(x, 4);
    if (v >= 0xD800 && v < 0xDC00 && take(x, "\\u"))
        v = 0x10000 + ((v - 0xD800) << 10) + ((hex(x, 4) - 0xDC00) & 0x3FF);
    if (v >= 0xD800 && v <= 0xDFFF)
        fail(x, ERR_UNSUPPORTED, "half of a surrogate pair");
    return v;
}

/* What a backslash and c stand for, where it is one character. */
static uint32_t escaped(struct regex *x, uint32_t c)
{
    static const char names[] = "tnrfv0", means[] = "\t\n\r\f\v";
    const char *at = c && c < 128 ? strchr(names, (int)c) : NULL;
    if (at && !(c == '0' && peek(x) >= '0' && peek(x) <= '9'))
        return (uint32_t)means[at - names];
    switch (c) {
    case 'x': return hex(x, 2);
    case 'u': return unicode_escape(x);
    case 'c': {
        uint32_t letter = next(x);
        if ((letter | 0x20) < 'a' || (letter | 0x20) > 'z')
            fail(x, ERR_FORMAT, "\\c needs a letter");
        return letter & 31;
    }
    case 'b':
    case 'B': fail(x, ERR_UNSUPPORTED, "a word boundary"); return 0;
    case 'p':
    case 'P': fail(x, ERR_UNSUPPORTED, "a Unicode property"); return 0;
    case 'k': fail(x, ERR_UNSUPPORTED, "a back reference"); return 0;
    default: break;
    }
    if (c >= '1' && c <= '9')
        fail(x, ERR_UNSUPPORTED, "a back reference");
    else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '0')
        fail(x, ERR_FORMAT, "an unknown escape");
    return c;
}

static uint32_t set_node(struct regex *x, uint32_t from)
{
    return node(x, (struct node){.kind = NODE_SET, .a = from, .b = x->nranges - from});
}

/* One side of a range in a class; false: a class of its own was added. */
static bool class_side(struct regex *x, uint32_t from, uint32_t *out)
{
    uint32_t c = next(x);
    if (c != '\\') {
        *out = c;
        return true;
    }
    c = next(x);
    if (add_named(x, from, c))
        return false;
    *out = c == 'b' ? '\b' : c == '-' ? '-' : escaped(x, c);
    return true;
}

static uint32_t char_class(struct regex *x)
{
    uint32_t from = x->nranges, lo = 0, hi = 0;
    bool negated = take(x, "^");
    while (!x->rc && !take(x, "]")) {
        if (!class_side(x, from, &lo))
            continue;
        hi = lo;
        if (x->at + 1 < x->s.n && x->s.p[x->at] == '-' && x->s.p[x->at + 1] != ']') {
            x->at++;
            if (!class_side(x, from, &hi)) {
                fail(x, ERR_FORMAT, "a class is no end of a range");
                break;
            }
        }
        if (hi < lo)
            fail(x, ERR_FORMAT, "a range runs backwards");
        add_range(x, from, lo, hi);
    }
    tidy(x, from, negated);
    return set_node(x, from);
}

/* ---- the tree ---- */

static uint32_t alternatives(struct regex *x);

static uint32_t group(struct regex *x)
{
    if (take(x, "?=") || take(x, "?!") || take(x, "?<=") || take(x, "?<!"))
        fail(x, ERR_UNSUPPORTED, "look-around");
    else if (take(x, "?<")) {
        while (!x->rc && next(x) != '>')
            ;
    } else if (take(x, "?") && !take(x, ":"))
        fail(x, ERR_UNSUPPORTED, "a group with flags");
    if (++x->depth > GRAMMAR_MAX_NESTING)
        fail(x, ERR_LIMIT, "groups are nested too deeply");
    if (x->rc)
        return 0;
    uint32_t n = alternatives(x);
    x->depth--;
    if (!take(x, ")"))
        fail(x, ERR_FORMAT, "a group is not closed");
    return n;
}

static uint32_t atom(struct regex *x)
{
    uint32_t from = x->nranges, c = next(x);
    switch (c) {
    case '(': return group(x);
    case '[': return char_class(x);
    case '^': return node(x, (struct node){.kind = NODE_BEGIN});
    case '$': return node(x, (struct node){.kind = NODE_END});
    case '.':
        add_range(x, from, 0, '\n' - 1);
        add_range(x, from, '\n' + 1, '\r' - 1);
        add_range(x, from, '\r' + 1, 0x2027);
        add_range(x, from, 0x202A, LAST_CHAR);
        return set_node(x, from);
    case '*':
    case '+':
    case '?': fail(x, ERR_FORMAT, "nothing to repeat"); return 0;
    case '\\':
        c = next(x);
        if (add_named(x, from, c))
            return set_node(x, from);
        c = escaped(x, c);
        break;
    default: break;
    }
    add_range(x, from, c, c);
    return set_node(x, from);
}

static bool number(struct regex *x, uint32_t *out)
{
    uint32_t v = 0;
    size_t from = x->at;
    for (; peek(x) >= '0' && peek(x) <= '9'; x->at++)
        v = v > MAX_STATES ? v : v * 10 + (peek(x) - '0');
    *out = v;
    return x->at > from;
}

/* {m}, {m,}, {m,n}; false, and nothing read: a brace that is a character. */
static bool counts(struct regex *x, uint32_t *min, uint32_t *max)
{
    size_t at = x->at++;
    bool ok = number(x, min);
    *max = *min;
    if (ok && take(x, ",") && !number(x, max))
        *max = UINT32_MAX;
    if (ok && take(x, "}"))
        return true;
    x->at = at;
    return false;
}

static uint32_t term(struct regex *x)
{
    uint32_t n = atom(x), min = 0, max = UINT32_MAX;
    for (uint32_t c; !x->rc; min = 0, max = UINT32_MAX) {
        c = peek(x);
        if (c == '{') {
            if (!counts(x, &min, &max))
                return n;
        } else if (c == '*' || c == '+' || c == '?') {
            x->at++;
            min = c == '+';
            max = c == '?' ? 1 : UINT32_MAX;
        } else {
            return n;
        }
        take(x, "?"); /* how greedy it is makes no other set */
        if (max < min)
            fail(x, ERR_FORMAT, "a repetition's largest count is below its smallest");
        n = node(x, (struct node){.kind = NODE_REPEAT, .a = n, .min = min, .max = max});
    }
    return n;
}

static uint32_t alternatives(struct regex *x)
{
    uint32_t left = DFA_DEAD;
    do {
        uint32_t n = node(x, (struct node){.kind = NODE_EMPTY});
        while (!x->rc && x->at < x->s.n && x->s.p[x->at] != '|' && x->s.p[x->at] != ')') {
            uint32_t t = term(x);
            n = node(x, (struct node){.kind = NODE_CAT, .a = n, .b = t});
        }
        left = left == DFA_DEAD ? n : node(x, (struct node){.kind = NODE_ALT, .a = left, .b = n});
    } while (!x->rc && take(x, "|"));
    return left;
}

/* ---- the automaton with choices ---- */

static uint32_t state(struct regex *x, struct state s)
{
    if (x->nstates >= MAX_STATES)
        fail(x, ERR_LIMIT, "the pattern is too large");
    if (x->rc)
        return 0;
    x->states[x->nstates] = s;
    return x->nstates++;
}

static uint32_t split(struct regex *x, uint32_t to, uint32_t other)
{
    return state(x, (struct state){.kind = STATE_SPLIT, .to = to, .other = other});
}

static uint32_t compile(struct regex *x, uint32_t n, uint32_t to);

/* Alternatives are a list to the left too. */
static uint32_t compile_choice(struct regex *x, uint32_t n, uint32_t to)
{
    uint32_t all = DFA_DEAD;
    for (; !x->rc && x->nodes[n].kind == NODE_ALT; n = x->nodes[n].a) {
        uint32_t one = compile(x, x->nodes[n].b, to);
        all = all == DFA_DEAD ? one : split(x, one, all);
    }
    return split(x, compile(x, n, to), all);
}

/* Built from its end: the state from which the tree leads to `to`. Deep only as the text is nested,
 * but for a long row, which is a list to the left and is gone through in a loop. */
static uint32_t compile(struct regex *x, uint32_t n, uint32_t to)
{
    for (; !x->rc && x->nodes[n].kind == NODE_CAT; n = x->nodes[n].a)
        to = compile(x, x->nodes[n].b, to);
    if (x->rc)
        return 0;
    const struct node d = x->nodes[n];
    switch (d.kind) {
    case NODE_SET:
        return state(x, (struct state){.kind = STATE_SET, .to = to, .first = d.a, .n = d.b});
    case NODE_BEGIN: return state(x, (struct state){.kind = STATE_BEGIN, .to = to});
    case NODE_END: return state(x, (struct state){.kind = STATE_END, .to = to});
    case NODE_ALT: return compile_choice(x, n, to);
    case NODE_REPEAT: break;
    default: return to;
    }
    if (d.max == UINT32_MAX) {
        uint32_t loop = split(x, to, DFA_DEAD), body = compile(x, d.a, loop);
        if (!x->rc)
            x->states[loop].other = body;
        to = loop;
    }
    for (uint32_t i = d.min; d.max != UINT32_MAX && i < d.max && !x->rc; i++) {
        uint32_t out = i == d.min ? to : x->states[to].other;
        to = split(x, compile(x, d.a, to), out);
    }
    for (uint32_t i = 0; i < d.min && !x->rc; i++)
        to = compile(x, d.a, to);
    return to;
}

/* ---- the automaton without choices: its states are sets of states ---- */

struct subsets {
    struct regex *x;
    uint32_t *sets, *first; /* all sets in a row; first: nsets + 1 */
    uint32_t nsets, used, cap;
    uint32_t *slots;
    uint8_t *begins, *ends;
    uint32_t *mark, turn, *work;
    uint32_t *list, nlist;
};

#define SET_SLOTS (DFA_MAX_STATES * 4)
#define MAX_SETS_USED (1u << 22)

/* Adds what is reached from s without a character; true: the end is. */
static bool reach(struct subsets *t, uint32_t s, bool begin, bool end)
{
    uint32_t n = 0;
    bool final = false;
    t->work[n++] = s;
    while (n) {
        uint32_t at = t->work[--n];
        if (at == DFA_DEAD || t->mark[at] == t->turn)
            continue;
        t->mark[at] = t->turn;
        const struct state *st = &t->x->states[at];
        final |= st->kind == STATE_FINAL;
        /* A condition stays in the set: whether it holds is known at the end of the text only. */
        if (st->kind == STATE_SET || st->kind == STATE_END || st->kind == STATE_FINAL)
            t->list[t->nlist++] = at;
        if (st->kind == STATE_SPLIT || (st->kind == STATE_BEGIN && begin) ||
            (st->kind == STATE_END && end)) {
            t->work[n++] = st->to;
            if (st->kind == STATE_SPLIT)
                t->work[n++] = st->other;
        }
    }
    return final;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Does a text that ends here match? ^ holds at the end of an empty one. */
static bool accepts(struct subsets *t, const uint32_t *set, uint32_t n, bool begin)
{
    uint32_t keep = t->nlist;
    bool final = false;
    t->turn++;
    for (uint32_t i = 0; i < n; i++)
        final |= reach(t, set[i], begin, true);
    t->nlist = keep;
    return final;
}

/* The number of the set in t->list. begin: nothing has been read, and ^ holds at the end too. */
static uint32_t set_of(struct subsets *t, bool begin)
{
    for (uint32_t i = 0; i < t->nlist; i++)
        if (t->x->states[t->list[i]].kind == STATE_FINAL) {
            t->list[0] = t->list[i]; /* found: nothing else matters any more */
            t->nlist = 1;
        }
    qsort(t->list, t->nlist, sizeof *t->list, by_number);
    uint32_t h = 7 + begin;
    for (uint32_t i = 0; i < t->nlist; i++)
        h = (h ^ t->list[i]) * 0x9E3779B1u;
    h = (h ^ h >> 15) & (SET_SLOTS - 1);
    for (; t->slots[h]; h = (h + 1) & (SET_SLOTS - 1)) {
        uint32_t k = t->slots[h] - 1;
        if (t->begins[k] == begin && t->first[k + 1] - t->first[k] == t->nlist &&
            memcmp(t->sets + t->first[k], t->list, t->nlist * sizeof *t->list) == 0)
            return k;
    }
    if (t->nsets >= DFA_MAX_STATES || t->used + t->nlist > MAX_SETS_USED) {
        fail(t->x, ERR_LIMIT, "the pattern is too large");
        return 0;
    }
    if (t->used + t->nlist > t->cap) {
        uint32_t cap = (t->used + t->nlist) * 2;
        uint32_t *p = realloc(t->sets, cap * sizeof *p);
        if (!p) {
            fail(t->x, ERR_NOMEM, "no memory");
            return 0;
        }
        t->sets = p;
        t->cap = cap;
    }
    memcpy(t->sets + t->used, t->list, t->nlist * sizeof *t->list);
    t->used += t->nlist;
    t->begins[t->nsets] = begin;
    t->first[t->nsets + 1] = t->used;
    t->ends[t->nsets] = accepts(t, t->sets + t->first[t->nsets], t->nlist, begin);
    t->slots[h] = ++t->nsets;
    return t->nsets - 1;
}

/* Where all ranges of a set's classes begin or end: between two of them nothing changes. */
static uint32_t borders(struct subsets *t, uint32_t k, uint32_t *out, uint32_t max)
{
    uint32_t n = 0;
    out[n++] = 0;
    for (uint32_t i = t->first[k]; i < t->first[k + 1]; i++) {
        const struct state *s = &t->x->states[t->sets[i]];
        if (s->kind != STATE_SET)
            continue;
        for (uint32_t r = s->first; r < s->first + s->n && n + 2 < max; r++) {
            out[n++] = t->x->ranges[r].lo;
            out[n++] = t->x->ranges[r].hi + 1;
        }
        if (n + 2 >= max)
            fail(t->x, ERR_LIMIT, "the pattern is too large");
    }
    qsort(out, n, sizeof *out, by_number);
    uint32_t k2 = 0;
    for (uint32_t i = 0; i < n; i++)
        if (out[i] <= LAST_CHAR && (k2 == 0 || out[k2 - 1] != out[i]))
            out[k2++] = out[i];
    return k2;
}

static bool set_contains(const struct regex *x, const struct state *s, uint32_t c)
{
    for (uint32_t r = s->first; r < s->first + s->n; r++)
        if (c >= x->ranges[r].lo && c <= x->ranges[r].hi)
            return true;
    return false;
}

#define MAX_BORDERS 8192

static void step_all(struct subsets *t, uint32_t k, uint32_t *border, struct dfa_maker *m)
{
    uint32_t n = borders(t, k, border, MAX_BORDERS);
    dfa_maker_state(m, t->ends[k]);
    for (uint32_t i = 0; i < n && !t->x->rc && !m->rc; i++) {
        uint32_t lo = border[i], hi = i + 1 < n ? border[i + 1] - 1 : LAST_CHAR;
        t->turn++;
        t->nlist = 0;
        for (uint32_t j = t->first[k]; j < t->first[k + 1]; j++) {
            const struct state *s = &t->x->states[t->sets[j]];
            if (s->kind == STATE_FINAL)
                reach(t, t->sets[j], false, false); /* found: the rest is free */
            else if (s->kind == STATE_SET && set_contains(t->x, s, lo))
                reach(t, s->to, false, false);
        }
        if (t->nlist)
            dfa_maker_edge(m, lo, hi, set_of(t, false));
    }
}

static int determine(struct regex *x, uint32_t start, struct dfa *out)
{
    struct subsets t = {.x = x};
    struct dfa_maker m = {0};
    t.first = calloc(DFA_MAX_STATES + 1, sizeof *t.first);
    t.slots = calloc(SET_SLOTS, sizeof *t.slots);
    t.begins = calloc(DFA_MAX_STATES, 1);
    t.ends = calloc(DFA_MAX_STATES, 1);
    t.mark = calloc(x->nstates + 1u, sizeof *t.mark);
    t.work = calloc(x->nstates * 2u + 4, sizeof *t.work);
    t.list = calloc(x->nstates * 2u + 4, sizeof *t.list);
    uint32_t *border = calloc(MAX_BORDERS, sizeof *border);
    if (!t.first || !t.slots || !t.begins || !t.ends || !t.mark || !t.work || !t.list || !border) {
        fail(x, ERR_NOMEM, "no memory");
    } else {
        t.turn = 1;
        reach(&t, start, true, false);
        set_of(&t, true);
    }
    for (uint32_t k = 0; k < t.nsets && !x->rc && !m.rc; k++)
        step_all(&t, k, border, &m);
    if (m.rc)
        fail(x, m.rc, "the pattern is too large");
    m.rc = x->rc;
    free(t.sets);
    free(t.first);
    free(t.slots);
    free(t.begins);
    free(t.ends);
    free(t.mark);
    free(t.work);
    free(t.list);
    free(border);
    return dfa_maker_end(&m, out);
}

/* Anything, the pattern, and then anything: a final state keeps the text. */
static int run(struct regex *x, struct dfa *out)
{
    uint32_t root = alternatives(x);
    if (!x->rc && x->at < x->s.n)
        fail(x, ERR_FORMAT, "a ')' too many");
    uint32_t final = state(x, (struct state){.kind = STATE_FINAL});
    uint32_t all = x->nranges;
    add_range(x, all, 0, LAST_CHAR);
    uint32_t start = x->rc ? 0 : compile(x, root, final);
    uint32_t loop = split(x, start, DFA_DEAD);
    uint32_t skip = state(x, (struct state){.kind = STATE_SET, .to = loop, .first = all, .n = 1});
    if (!x->rc)
        x->states[loop].other = skip;
    return x->rc ? x->rc : determine(x, loop, out);
}

int regex_to_dfa(struct str pattern, struct dfa *out, const char **why)
{
    struct regex x = {.s = pattern};
    x.nodes = calloc(MAX_NODES, sizeof *x.nodes);
    x.ranges = calloc(MAX_RANGES + 1, sizeof *x.ranges);
    x.states = calloc(MAX_STATES, sizeof *x.states);
    if (!x.nodes || !x.ranges || !x.states)
        fail(&x, ERR_NOMEM, "no memory");
    int rc = x.rc ? x.rc : run(&x, out);
    *why = x.why ? x.why : "";
    free(x.nodes);
    free(x.ranges);
    free(x.states);
    return rc;
}
