/* grammar_compile.c: from a builder's automata to what the matcher runs. Refuses grammars that call
 * themselves without consuming anything and those that can never end; takes out what leads nowhere,
 * so that every state the matcher can be in has an end within reach; finds out which bytes are
 * alike and how many plain characters a state takes. All passes are linear but the last, which goes
 * over the arcs at most GRAMMAR_PLAIN times. */
#include "grammar_int.h"

#include <stdlib.h>

#define NONE UINT32_MAX

/* Lists in one array: row i is at[first[i] .. first[i + 1]). */
struct rows {
    uint32_t *first, *at;
};

struct passes {
    struct build *b;
    struct rows back;           /* by state: arcs that lead to it */
    struct rows calls;          /* by rule: arcs that call it */
    uint32_t *from;             /* by arc */
    uint32_t *ends_rule;        /* by state: the rule it ends, NONE */
    uint32_t *starts_rule;      /* by state */
    uint32_t *work, nwork;      /* states to look at */
    uint8_t *nullable, *useful; /* by rule */
    uint8_t *silent, *leads; /* by state: reached from the start without a byte; reaches the end */
    uint32_t *silent_rule;   /* by state: in which rule it is silent */
};

/* ---- preparing ---- */

static void rows_done(struct rows *r)
{
    free(r->first);
    free(r->at);
}

static void passes_done(struct passes *p)
{
    rows_done(&p->back);
    rows_done(&p->calls);
    free(p->from);
    free(p->ends_rule);
    free(p->starts_rule);
    free(p->work);
    free(p->nullable);
    free(p->useful);
    free(p->silent);
    free(p->leads);
    free(p->silent_rule);
}

/* The arcs by a key each, NONE for those that are left out. */
static bool rows_make(const struct build *b, uint32_t nkeys, uint32_t (*key)(const struct arc *a),
                      struct rows *out)
{
    out->first = calloc((size_t)nkeys + 2, sizeof *out->first);
    out->at = calloc((size_t)b->narcs + 1, sizeof *out->at);
    if (!out->first || !out->at)
        return false;
    for (uint32_t i = 0; i < b->narcs; i++)
        if (key(&b->arcs[i].arc) != NONE)
            out->first[key(&b->arcs[i].arc) + 2]++;
    for (uint32_t k = 2; k <= nkeys; k++)
        out->first[k] += out->first[k - 1];
    for (uint32_t i = 0; i < b->narcs; i++)
        if (key(&b->arcs[i].arc) != NONE)
            out->at[out->first[key(&b->arcs[i].arc) + 1]++] = i;
    return true;
}

static uint32_t key_to(const struct arc *a)
{
    return a->kind == ARC_PLAIN ? NONE : a->to;
}

static uint32_t key_called(const struct arc *a)
{
    return a->kind == ARC_CALL ? a->arg : NONE;
}

static bool passes_init(struct passes *p, struct build *b)
{
    size_t ns = b->nstates + 1u, nr = b->nrules + 1u;
    *p = (struct passes){.b = b};
    p->from = calloc(b->narcs + 1u, sizeof *p->from);
    p->ends_rule = malloc(ns * sizeof *p->ends_rule);
    p->starts_rule = malloc(ns * sizeof *p->starts_rule);
    p->work = calloc(ns, sizeof *p->work);
    p->nullable = calloc(nr, 1);
    p->useful = calloc(nr, 1);
    p->silent = calloc(ns, 1);
    p->leads = calloc(ns, 1);
    p->silent_rule = calloc(ns, sizeof *p->silent_rule);
    if (!rows_make(b, b->nstates, key_to, &p->back) ||
        !rows_make(b, b->nrules, key_called, &p->calls))
        return false;
    if (!p->from || !p->ends_rule || !p->starts_rule || !p->work || !p->nullable || !p->useful ||
        !p->silent || !p->leads || !p->silent_rule)
        return false;
    for (size_t s = 0; s < ns; s++)
        p->ends_rule[s] = p->starts_rule[s] = NONE;
    for (uint32_t r = 0; r < b->nrules; r++) {
        p->ends_rule[b->rules[r].end] = r;
        p->starts_rule[b->rules[r].start] = r;
    }
    for (uint32_t s = 0; s < b->nstates; s++)
        for (uint32_t i = b->first[s]; i != NONE; i = b->arcs[i].next)
            p->from[i] = s;
    return true;
}

/* ---- what is reached without a byte ---- */

static void mark_silent(struct passes *p, uint32_t state, uint32_t rule)
{
    if (p->silent[state])
        return;
    p->silent[state] = 1;
    p->silent_rule[state] = rule;
    p->work[p->nwork++] = state;
}

/* A rule turned out to be able to be empty: its calls pass, where they have been reached. */
static void now_nullable(struct passes *p, uint32_t rule)
{
    if (p->nullable[rule])
        return;
    p->nullable[rule] = 1;
    for (uint32_t k = p->calls.first[rule]; k < p->calls.first[rule + 1]; k++) {
        uint32_t i = p->calls.at[k];
        if (p->silent[p->from[i]])
            mark_silent(p, p->b->arcs[i].arc.to, p->silent_rule[p->from[i]]);
    }
}

static void find_silent(struct passes *p)
{
    struct build *b = p->b;
    for (uint32_t r = 0; r < b->nrules; r++)
        mark_silent(p, b->rules[r].start, r);
    while (p->nwork) {
        uint32_t s = p->work[--p->nwork];
        if (p->ends_rule[s] != NONE)
            now_nullable(p, p->ends_rule[s]);
        for (uint32_t i = b->first[s]; i != NONE; i = b->arcs[i].next) {
            const struct arc *a = &b->arcs[i].arc;
            if (a->kind == ARC_EPS || (a->kind == ARC_CALL && p->nullable[a->arg]))
                mark_silent(p, a->to, p->silent_rule[s]);
        }
    }
}

/* ---- what leads to the end ---- */

static void mark_leads(struct passes *p, uint32_t state)
{
    if (p->leads[state])
        return;
    p->leads[state] = 1;
    p->work[p->nwork++] = state;
}

static void now_useful(struct passes *p, uint32_t rule)
{
    if (p->useful[rule])
        return;
    p->useful[rule] = 1;
    for (uint32_t k = p->calls.first[rule]; k < p->calls.first[rule + 1]; k++) {
        uint32_t i = p->calls.at[k];
        if (p->leads[p->b->arcs[i].arc.to])
            mark_leads(p, p->from[i]);
    }
}

static void find_leading(struct passes *p)
{
    struct build *b = p->b;
    for (uint32_t r = 0; r < b->nrules; r++)
        mark_leads(p, b->rules[r].end);
    while (p->nwork) {
        uint32_t s = p->work[--p->nwork];
        if (p->starts_rule[s] != NONE)
            now_useful(p, p->starts_rule[s]);
        for (uint32_t k = p->back.first[s]; k < p->back.first[s + 1]; k++) {
            uint32_t i = p->back.at[k];
            const struct arc *a = &b->arcs[i].arc;
            if (a->kind != ARC_CALL || p->useful[a->arg])
                mark_leads(p, p->from[i]);
        }
    }
}

/* ---- left recursion ---- */

static int refuse_loop(struct build *b, uint32_t rule)
{
    const struct build_rule *r = &b->rules[rule];
    if (r->name.n && r->line)
        return build_fail(b, ERR_UNSUPPORTED,
                          "line %u: rule \"%.*s\" calls itself before it consumes anything "
                          "(left recursion)",
                          r->line, STR_ARG(r->name));
    return build_fail(b, ERR_UNSUPPORTED, "%.*s: refers to itself without end", STR_ARG(r->name));
}

/* A rule that has a name, so that the message can say one, if the loop has one: it has, because a
 * rule of a text or a schema is on every loop. */
static int visit(struct passes *p, struct rows *edges, uint8_t *color, uint32_t *stack,
                 uint32_t *next, uint32_t root)
{
    uint32_t n = 0;
    stack[n++] = root;
    color[root] = 1;
    while (n) {
        uint32_t r = stack[n - 1];
        if (next[r] >= edges->first[r + 1]) {
            color[r] = 2;
            n--;
            continue;
        }
        uint32_t to = edges->at[next[r]++];
        if (color[to] == 0) {
            color[to] = 1;
            stack[n++] = to;
        } else if (color[to] == 1) {
            uint32_t named = to;
            for (uint32_t i = n; i-- > 0 && !p->b->rules[named].name.n;)
                named = stack[i];
            return refuse_loop(p->b, named);
        }
    }
    return 0;
}

/* Rules called from silent states, by the calling rule. */
static bool silent_calls(struct passes *p, struct rows *out)
{
    struct build *b = p->b;
    out->first = calloc((size_t)b->nrules + 2, sizeof *out->first);
    out->at = calloc((size_t)b->narcs + 1, sizeof *out->at);
    if (!out->first || !out->at)
        return false;
    for (uint32_t i = 0; i < b->narcs; i++)
        if (b->arcs[i].arc.kind == ARC_CALL && p->silent[p->from[i]])
            out->first[p->silent_rule[p->from[i]] + 2]++;
    for (uint32_t r = 2; r <= b->nrules; r++)
        out->first[r] += out->first[r - 1];
    for (uint32_t i = 0; i < b->narcs; i++)
        if (b->arcs[i].arc.kind == ARC_CALL && p->silent[p->from[i]])
            out->at[out->first[p->silent_rule[p->from[i]] + 1]++] = b->arcs[i].arc.arg;
    return true;
}

static int refuse_left_recursion(struct passes *p)
{
    struct build *b = p->b;
    struct rows edges = {0};
    uint8_t *color = calloc(b->nrules + 1u, 1);
    uint32_t *stack = calloc(b->nrules + 1u, sizeof *stack);
    uint32_t *next = calloc(b->nrules + 1u, sizeof *next);
    if (!silent_calls(p, &edges) || !color || !stack || !next)
        build_fail(b, ERR_NOMEM, "grammar: no memory");
    for (uint32_t r = 0; r < b->nrules && !b->rc; r++)
        next[r] = edges.first[r];
    for (uint32_t r = 0; r < b->nrules && !b->rc; r++)
        if (color[r] == 0)
            visit(p, &edges, color, stack, next, r);
    rows_done(&edges);
    free(color);
    free(stack);
    free(next);
    return b->rc;
}

/* ---- the result ---- */

/* Does nothing but the rule's end come behind this state? */
static bool only_ends(const struct passes *p, uint32_t s)
{
    for (int i = 0; i < 64; i++) {
        uint32_t a = p->b->first[s];
        if (p->ends_rule[s] != NONE)
            return a == NONE;
        if (a == NONE || p->b->arcs[a].next != NONE || p->b->arcs[a].arc.kind != ARC_EPS)
            return false;
        s = p->b->arcs[a].arc.to;
    }
    return false;
}

static bool kept(const struct passes *p, const struct arc *a)
{
    return p->leads[a->to] && (a->kind != ARC_CALL || p->useful[a->arg]);
}

static void copy_arcs(const struct passes *p, struct grammar *g)
{
    const struct build *b = p->b;
    for (uint32_t s = 0; s < b->nstates; s++) {
        g->first[s] = g->narcs;
        g->end[s] = p->ends_rule[s] != NONE;
        g->free[s] = b->free[s];
        g->has_free |= b->free[s];
        for (uint32_t i = b->first[s]; i != NONE; i = b->arcs[i].next) {
            struct arc a = b->arcs[i].arc;
            if (!kept(p, &a))
                continue;
            if (a.kind == ARC_CALL && only_ends(p, a.to))
                a.kind = ARC_CALL_LAST;
            g->has_tokens |= a.kind == ARC_TOKEN || a.kind == ARC_NOT_TOKEN;
            g->arcs[g->narcs++] = a;
        }
    }
    g->first[b->nstates] = g->narcs;
    for (uint32_t r = 0; r < b->nrules; r++)
        g->start[r] = b->rules[r].start;
}

static void find_classes(struct grammar *g)
{
    bool begins[257] = {[0] = true};
    for (uint32_t i = 0; i < g->narcs; i++)
        if (g->arcs[i].kind == ARC_BYTE) {
            begins[g->arcs[i].lo] = true;
            begins[g->arcs[i].hi + 1] = true;
        }
    for (int c = 0; c < 256; c++) {
        if (begins[c])
            g->class_byte[g->nclasses++] = (uint8_t)c;
        g->byte_class[c] = (uint8_t)(g->nclasses - 1);
    }
}

/* ---- plain characters ---- */

/* What one pass knows of the rules: whether any plain character alone is a sentence, and how many
 * plain characters one can have. */
struct plainness {
    uint8_t *one, *most, *through; /* by rule */
};

static bool lead_byte_is_plain(const struct arc *a)
{
    for (unsigned c = a->lo; c <= a->hi; c++)
        if (c < 0x80 ? grammar_plain(c) : c >= 0xC0)
            return true;
    return false;
}

static bool tail_byte(const struct arc *a)
{
    return a->hi >= 0x80 && a->lo <= 0xBF;
}

static uint8_t capped(unsigned n)
{
    return n > GRAMMAR_PLAIN + 1 ? GRAMMAR_PLAIN + 1 : (uint8_t)n;
}

static bool raise_to(uint8_t *v, unsigned n)
{
    if (capped(n) <= *v)
        return false;
    *v = capped(n);
    return true;
}

/* Over the arcs once: what each adds to what its state is known to take. */
static bool plain_pass(struct grammar *g, struct plainness *r, uint8_t *one)
{
    bool more = false;
    for (uint32_t s = g->nstates; s-- > 0;)
        for (uint32_t i = g->first[s]; i < g->first[s + 1]; i++) {
            const struct arc *a = &g->arcs[i];
            bool call = a->kind == ARC_CALL || a->kind == ARC_CALL_LAST;
            bool eps = a->kind == ARC_EPS, byte = a->kind == ARC_BYTE;
            bool lead = byte && lead_byte_is_plain(a), tail = byte && tail_byte(a);
            uint8_t known = one[s];
            if (eps)
                more |= raise_to(&g->plain[s], g->plain[a->to]);
            if (a->kind == ARC_PLAIN || (call && r->one[a->arg]))
                more |= raise_to(&g->plain[s], g->plain[a->to] + 1u);
            if (eps || tail)
                more |= raise_to(&g->most[s], g->most[a->to]);
            if (lead)
                more |= raise_to(&g->most[s], g->most[a->to] + 1u);
            if (call)
                more |= raise_to(&g->most[s],
                                 r->most[a->arg] + (r->through[a->arg] ? g->most[a->to] : 0u));
            if (eps || lead || tail || (call && r->through[a->arg]))
                more |= raise_to(&g->ends[s], g->ends[a->to]);
            /* one: 1: the rule's end is here already; 2: behind any one plain character. */
            if (eps)
                one[s] |= one[a->to];
            if (a->kind == ARC_PLAIN && (one[a->to] & 1))
                one[s] |= 2;
            if (call && r->one[a->arg] && (one[a->to] & 1))
                one[s] |= 2;
            more |= one[s] != known;
        }
    return more;
}

static bool rules_pass(struct grammar *g, struct plainness *r, const uint8_t *one)
{
    bool more = false;
    for (uint32_t k = 0; k < g->nrules; k++) {
        uint32_t s = g->start[k];
        more |= raise_to(&r->most[k], g->most[s]);
        more |= raise_to(&r->through[k], g->ends[s]);
        more |= raise_to(&r->one[k], one[s] >> 1);
    }
    return more;
}

/* `plain` is a promise and grows from below, so it may stop at any pass; `most` and `ends` bound
 * from above and have to be complete, or else are given up. */
static bool find_plain(struct grammar *g)
{
    struct plainness r = {calloc(g->nrules + 1u, 1), calloc(g->nrules + 1u, 1),
                          calloc(g->nrules + 1u, 1)};
    uint8_t *one = calloc(g->nstates + 1u, 1);
    bool ok = r.one && r.most && r.through && one, more = true;
    for (uint32_t s = 0; ok && s < g->nstates; s++)
        one[s] = g->ends[s] = g->end[s];
    for (int i = 0; ok && more && i < 4 * GRAMMAR_PLAIN; i++) {
        more = plain_pass(g, &r, one);
        more |= rules_pass(g, &r, one);
    }
    for (uint32_t s = 0; ok && more && s < g->nstates; s++)
        g->most[s] = GRAMMAR_PLAIN + 1;
    free(r.one);
    free(r.most);
    free(r.through);
    free(one);
    return ok;
}

static int make(struct passes *p, uint32_t root, struct grammar *g)
{
    struct build *b = p->b;
    *g = (struct grammar){.nstates = b->nstates, .nrules = b->nrules, .root = root};
    g->arcs = calloc(b->narcs + 1u, sizeof *g->arcs);
    g->first = calloc(b->nstates + 2u, sizeof *g->first);
    g->start = calloc(b->nrules + 1u, sizeof *g->start);
    uint8_t **bytes[] = {&g->end, &g->free, &g->plain, &g->most, &g->ends};
    bool ok = g->arcs && g->first && g->start;
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        ok = (*bytes[i] = calloc(b->nstates + 1u, 1)) && ok;
    if (!ok)
        return build_fail(b, ERR_NOMEM, "grammar: no memory");
    copy_arcs(p, g);
    find_classes(g);
    return find_plain(g) ? 0 : build_fail(b, ERR_NOMEM, "grammar: no memory");
}

int grammar_compile(struct build *b, uint32_t root, struct grammar **out)
{
    struct passes p;
    struct grammar *g = calloc(1, sizeof *g);
    if (!passes_init(&p, b) || !g) {
        build_fail(b, ERR_NOMEM, "grammar: no memory");
    } else {
        find_silent(&p);
        find_leading(&p);
        if (!p.useful[root])
            build_fail(b, ERR_UNSUPPORTED, "%s",
                       b->rules[root].line ? "the grammar allows no text at all"
                                           : "the schema allows no value at all");
        if (!refuse_left_recursion(&p))
            make(&p, root, g);
    }
    passes_done(&p);
    if (b->rc)
        grammar_free(g);
    else
        *out = g;
    return b->rc;
}

void grammar_free(struct grammar *g)
{
    if (!g)
        return;
    free(g->arcs);
    free(g->first);
    free(g->start);
    free(g->end);
    free(g->free);
    free(g->plain);
    free(g->most);
    free(g->ends);
    free(g);
}
