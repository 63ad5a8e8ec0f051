/* grammar_dfa.c: the algebra of deterministic automata over code points. All results are trimmed:
 * what leads to no accepting state is gone, so a set is empty when its start accepts nothing and
 * leads nowhere. Sizes are bounded; past the bound an operation fails and leaves its operands. */
#include "grammar_dfa_int.h"

#include "grammar_json_int.h"
#include "utf8.h"

#include <stdlib.h>

#define LAST_CHAR 0x10FFFF

void dfa_done(struct dfa *a)
{
    free(a->first);
    free(a->edges);
    free(a->accept);
    *a = (struct dfa){0};
}

/* ---- making ---- */

static bool room(void **p, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    uint32_t more = *cap ? *cap * 2 : 32;
    void *q = realloc(*p, more * size);
    if (!q)
        return false;
    *p = q;
    *cap = more;
    return true;
}

uint32_t dfa_maker_state(struct dfa_maker *m, bool accept)
{
    uint32_t cap = m->states_cap;
    if (m->d.n >= DFA_MAX_STATES)
        m->rc = ERR_LIMIT;
    if (m->rc)
        return 0;
    if (!room((void **)&m->d.accept, m->d.n + 1, &cap, sizeof *m->d.accept) ||
        !room((void **)&m->d.first, m->d.n + 1, &m->states_cap, sizeof *m->d.first)) {
        m->rc = ERR_NOMEM;
        return 0;
    }
    m->d.accept[m->d.n] = accept;
    m->d.first[m->d.n] = m->d.nedges;
    m->d.first[m->d.n + 1] = m->d.nedges;
    return m->d.n++;
}

void dfa_maker_edge(struct dfa_maker *m, uint32_t lo, uint32_t hi, uint32_t to)
{
    if (!m->rc && m->d.nedges >= DFA_MAX_EDGES)
        m->rc = ERR_LIMIT;
    if (!m->rc && !room((void **)&m->d.edges, m->d.nedges, &m->edges_cap, sizeof *m->d.edges))
        m->rc = ERR_NOMEM;
    if (m->rc)
        return;
    struct dfa_edge *last = m->d.nedges ? &m->d.edges[m->d.nedges - 1] : NULL;
    if (last && m->d.nedges > m->d.first[m->d.n - 1] && last->to == to && last->hi + 1 == lo) {
        last->hi = hi;
        return;
    }
    m->d.edges[m->d.nedges++] = (struct dfa_edge){lo, hi, to};
    m->d.first[m->d.n] = m->d.nedges;
}

/* Which states lead to an accepting one; by going round until nothing changes, backwards first, as
 * most automata point forward. */
static void mark_live(const struct dfa *d, uint8_t *live)
{
    bool more = true;
    for (uint32_t s = 0; s < d->n; s++)
        live[s] = d->accept[s];
    while (more) {
        more = false;
        for (uint32_t s = d->n; s-- > 0;)
            for (uint32_t i = d->first[s]; !live[s] && i < d->first[s + 1]; i++)
                if (live[d->edges[i].to])
                    live[s] = more = true;
    }
}

int dfa_maker_end(struct dfa_maker *m, struct dfa *out)
{
    struct dfa *d = &m->d;
    uint8_t *live = calloc(d->n + 1u, 1);
    uint32_t *number = calloc(d->n + 1u, sizeof *number);
    if (!m->rc && (!live || !number))
        m->rc = ERR_NOMEM;
    if (m->rc) {
        free(live);
        free(number);
        dfa_done(d);
        return m->rc;
    }
    mark_live(d, live);
    live[0] = 1;
    uint32_t n = 0, nedges = 0;
    for (uint32_t s = 0; s < d->n; s++)
        number[s] = live[s] ? n++ : DFA_DEAD;
    for (uint32_t s = 0; s < d->n; s++) {
        uint32_t from = d->first[s], to = d->first[s + 1];
        if (!live[s])
            continue;
        d->first[number[s]] = nedges;
        d->accept[number[s]] = d->accept[s];
        for (uint32_t i = from; i < to; i++)
            if (number[d->edges[i].to] != DFA_DEAD && live[d->edges[i].to]) {
                struct dfa_edge e = d->edges[i];
                e.to = number[e.to];
                d->edges[nedges++] = e;
            }
    }
    d->first[n] = nedges;
    d->n = n;
    d->nedges = nedges;
    free(live);
    free(number);
    *out = *d;
    return 0;
}

int dfa_any(struct dfa *out)
{
    struct dfa_maker m = {0};
    dfa_maker_state(&m, true);
    dfa_maker_edge(&m, 0, LAST_CHAR, 0);
    return dfa_maker_end(&m, out);
}

int dfa_literal(struct str s, struct dfa *out)
{
    struct dfa_maker m = {0};
    uint32_t at = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp, len = (uint32_t)utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (!len)
            return ERR_FORMAT;
        dfa_maker_state(&m, false);
        dfa_maker_edge(&m, cp, cp, ++at);
        i += len;
        if (m.rc)
            break;
    }
    dfa_maker_state(&m, true);
    return dfa_maker_end(&m, out);
}

int dfa_length(uint32_t min, uint32_t max, struct dfa *out)
{
    struct dfa_maker m = {0};
    bool endless = max == UINT32_MAX;
    uint32_t last = endless ? min : max;
    if (last >= DFA_MAX_STATES)
        return ERR_LIMIT;
    for (uint32_t i = 0; i <= last; i++) {
        dfa_maker_state(&m, i >= min);
        if (i < last || endless)
            dfa_maker_edge(&m, 0, LAST_CHAR, i < last ? i + 1 : i);
    }
    return dfa_maker_end(&m, out);
}

/* ---- joining: pairs of states, either of which may be dead ---- */

struct pairs {
    uint32_t (*at)[2];
    uint32_t *slots;
    uint32_t n, cap;
    enum dfa_op op;
    int rc;
};

#define PAIR_SLOTS (DFA_MAX_STATES * 4)

/* The number of a pair; DFA_DEAD where nothing can be accepted any more. */
static uint32_t pair_of(struct pairs *p, uint32_t x, uint32_t y)
{
    if ((x == DFA_DEAD && (p->op != DFA_OR || y == DFA_DEAD)) ||
        (y == DFA_DEAD && p->op == DFA_AND))
        return DFA_DEAD;
    uint32_t h = (x * 0x9E3779B1u ^ y * 0x85EBCA6Bu);
    h = (h ^ h >> 15) & (PAIR_SLOTS - 1);
    for (; p->slots[h]; h = (h + 1) & (PAIR_SLOTS - 1))
        if (p->at[p->slots[h] - 1][0] == x && p->at[p->slots[h] - 1][1] == y)
            return p->slots[h] - 1;
    if (p->n >= DFA_MAX_STATES) {
        p->rc = ERR_LIMIT;
        return 0;
    }
    p->at[p->n][0] = x;
    p->at[p->n][1] = y;
    p->slots[h] = ++p->n;
    return p->n - 1;
}

/* The edges of one state, walked along the code points. */
struct side {
    const struct dfa_edge *e, *end;
};

static struct side side_of(const struct dfa *d, uint32_t s)
{
    if (s == DFA_DEAD || d->first[s] == d->first[s + 1])
        return (struct side){NULL, NULL};
    return (struct side){d->edges + d->first[s], d->edges + d->first[s + 1]};
}

/* Where `from` leads, and up to which character that is so. */
static uint32_t side_at(struct side *s, uint32_t from, uint32_t *upto)
{
    while (s->e < s->end && s->e->hi < from)
        s->e++;
    if (s->e == s->end)
        return DFA_DEAD;
    if (s->e->lo > from) {
        *upto = s->e->lo - 1 < *upto ? s->e->lo - 1 : *upto;
        return DFA_DEAD;
    }
    *upto = s->e->hi < *upto ? s->e->hi : *upto;
    return s->e->to;
}

static bool accepts(enum dfa_op op, bool x, bool y)
{
    return op == DFA_AND ? x && y : op == DFA_OR ? x || y : x && !y;
}

static void join_state(struct pairs *p, const struct dfa *a, const struct dfa *b, uint32_t s,
                       struct dfa_maker *m)
{
    uint32_t x = p->at[s][0], y = p->at[s][1];
    struct side left = side_of(a, x), right = side_of(b, y);
    dfa_maker_state(m,
                    accepts(p->op, x != DFA_DEAD && a->accept[x], y != DFA_DEAD && b->accept[y]));
    for (uint32_t from = 0, upto; from <= LAST_CHAR && !m->rc && !p->rc; from = upto + 1) {
        upto = LAST_CHAR;
        uint32_t i = side_at(&left, from, &upto), k = side_at(&right, from, &upto);
        uint32_t to = pair_of(p, i, k);
        if (to != DFA_DEAD)
            dfa_maker_edge(m, from, upto, to);
    }
}

int dfa_join(const struct dfa *a, const struct dfa *b, enum dfa_op op, struct dfa *out)
{
    struct dfa_maker m = {0};
    struct pairs p = {.op = op};
    p.at = calloc(DFA_MAX_STATES, sizeof *p.at);
    p.slots = calloc(PAIR_SLOTS, sizeof *p.slots);
    if (!p.at || !p.slots)
        m.rc = ERR_NOMEM;
    else
        pair_of(&p, 0, 0);
    for (uint32_t s = 0; s < p.n && !m.rc && !p.rc; s++)
        join_state(&p, a, b, s, &m);
    if (!m.rc)
        m.rc = p.rc;
    free(p.at);
    free(p.slots);
    return dfa_maker_end(&m, out);
}

int dfa_into(struct dfa *a, const struct dfa *b, enum dfa_op op)
{
    struct dfa r;
    int rc = dfa_join(a, b, op, &r);
    if (rc)
        return rc;
    dfa_done(a);
    *a = r;
    return 0;
}

bool dfa_empty(const struct dfa *a)
{
    return a->nedges == 0 && !a->accept[0];
}

bool dfa_has(const struct dfa *a, struct str s)
{
    uint32_t at = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp, upto = LAST_CHAR;
        size_t len = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        struct side side = side_of(a, at);
        if (!len || (at = side_at(&side, cp, &upto)) == DFA_DEAD)
            return false;
        i += len;
    }
    return a->accept[at];
}

/* ---- as bytes ---- */

static void emit_state(struct build *b, const struct dfa *a, bool json, uint32_t base, uint32_t s,
                       struct range *r)
{
    /* Characters that lead to the same state go together: then it is seen where all plain ones do.
     */
    for (uint32_t i = a->first[s]; i < a->first[s + 1] && !b->rc; i++) {
        uint32_t to = a->edges[i].to;
        size_t n = 0;
        bool seen = false;
        for (uint32_t k = a->first[s]; k < i; k++)
            seen |= a->edges[k].to == to;
        for (uint32_t k = i; !seen && k < a->first[s + 1]; k++)
            if (a->edges[k].to == to)
                r[n++] = (struct range){a->edges[k].lo, a->edges[k].hi};
        if (n && json)
            json_character(b, base + s, r, n, base + to);
        else if (n)
            build_class(b, base + s, r, n, base + to);
    }
}

void dfa_emit(struct build *b, const struct dfa *a, bool json, uint32_t from, uint32_t to)
{
    uint32_t base = b->nstates;
    struct range *r = calloc(a->nedges + 1u, sizeof *r);
    if (!r)
        build_fail(b, ERR_NOMEM, "grammar: no memory");
    for (uint32_t s = 0; s < a->n; s++)
        build_state(b);
    for (uint32_t s = 0; s < a->n && !b->rc; s++) {
        emit_state(b, a, json, base, s, r);
        if (a->accept[s])
            build_eps(b, base + s, to);
    }
    build_eps(b, from, base);
    free(r);
}
