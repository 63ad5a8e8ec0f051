/* grammar_match.c: where a text stands in a grammar, and where a byte leads.
 *
 * All memory is taken at the beginning. Tables that fill up are emptied between tokens
 * (match_compact); within one token, what does not fit counts as forbidden, so a grammar of many
 * meanings costs allowed tokens, never soundness. Places and the ways between them are kept, which
 * makes the matcher an automaton that is built as far as it is walked. */
#include "grammar_match_int.h"

#include <stdlib.h>

#define MAX_NODES (1u << 17)
#define MAX_PLACES (1u << 14)
#define MAX_ITEMS (1u << 18)
#define MAX_OF_PLACE 4096 /* stacks in one place */

int match_init(struct match *m, const struct grammar *g, struct err *e)
{
    *m = (struct match){.g = g};
    m->nodes = calloc(MAX_NODES, sizeof *m->nodes);
    m->node_slots = calloc(MAX_NODES * 2, sizeof *m->node_slots);
    m->seen = calloc(MAX_NODES, sizeof *m->seen);
    m->work = calloc(MAX_NODES, sizeof *m->work);
    m->found = calloc(MAX_OF_PLACE, sizeof *m->found);
    m->places = calloc(MAX_PLACES, sizeof *m->places);
    m->place_slots = calloc(MAX_PLACES * 2, sizeof *m->place_slots);
    m->items = calloc(MAX_ITEMS, sizeof *m->items);
    m->next = calloc((size_t)MAX_PLACES * g->nclasses, sizeof *m->next);
    if (m->nodes && m->node_slots && m->seen && m->work && m->found && m->places &&
        m->place_slots && m->items && m->next)
        return 0;
    match_done(m);
    return err_set(e, ERR_NOMEM, "no memory to follow a grammar");
}

void match_done(struct match *m)
{
    free(m->nodes);
    free(m->node_slots);
    free(m->seen);
    free(m->work);
    free(m->found);
    free(m->places);
    free(m->place_slots);
    free(m->items);
    free(m->next);
    *m = (struct match){0};
}

static uint32_t mix(uint32_t h, uint32_t v)
{
    h = (h ^ v) * 0x9E3779B1u;
    return h ^ h >> 15;
}

/* ---- nodes ---- */

/* UINT32_MAX: the table is full. */
static uint32_t node_of(struct match *m, uint32_t state, uint32_t under)
{
    uint32_t at = mix(mix(17, state), under) & (MAX_NODES * 2 - 1);
    for (; m->node_slots[at]; at = (at + 1) & (MAX_NODES * 2 - 1)) {
        const struct match_node *n = &m->nodes[m->node_slots[at]];
        if (n->state == state && n->under == under)
            return m->node_slots[at];
    }
    if (m->nnodes >= MAX_NODES) {
        m->full = true;
        return UINT32_MAX;
    }
    m->node_slots[at] = m->nnodes;
    m->nodes[m->nnodes] = (struct match_node){state, under};
    return m->nnodes++;
}

/* ---- what is reached without a byte ---- */

static void meet(struct match *m, uint32_t state, uint32_t under)
{
    uint32_t n = node_of(m, state, under);
    if (n == UINT32_MAX || m->seen[n] == m->turn)
        return;
    m->seen[n] = m->turn;
    m->work[m->nwork++] = n;
}

static bool consumes(const struct arc *a)
{
    return a->kind == ARC_BYTE || a->kind == ARC_TOKEN || a->kind == ARC_NOT_TOKEN;
}

/* Follow what the state at hand does without a byte; is there anything that takes one? */
static bool expand(struct match *m, struct match_node at)
{
    const struct grammar *g = m->g;
    bool takes = false;
    if (g->end[at.state] && at.under == 0)
        m->reach_end = true;
    else if (g->end[at.state])
        meet(m, m->nodes[at.under].state, m->nodes[at.under].under);
    for (uint32_t i = g->first[at.state]; i < g->first[at.state + 1]; i++) {
        const struct arc *a = &g->arcs[i];
        takes |= consumes(a);
        if (a->kind == ARC_EPS) {
            meet(m, a->to, at.under);
        } else if (a->kind == ARC_CALL_LAST) {
            meet(m, g->start[a->arg], at.under);
        } else if (a->kind == ARC_CALL) {
            uint32_t back = node_of(m, a->to, at.under);
            if (back != UINT32_MAX)
                meet(m, g->start[a->arg], back);
        }
    }
    return takes;
}

static void close_over(struct match *m)
{
    while (m->nwork) {
        uint32_t n = m->work[--m->nwork];
        uint8_t plain = m->g->plain[m->nodes[n].state];
        plain = plain > GRAMMAR_PLAIN ? GRAMMAR_PLAIN : plain;
        if (plain > m->reach_plain)
            m->reach_plain = plain;
        if (!expand(m, m->nodes[n]))
            continue;
        if (m->nfound < MAX_OF_PLACE)
            m->found[m->nfound++] = n;
        else
            m->full = true;
    }
}

/* Plain characters that can come from here at most, the callers' share included. */
static unsigned most_from(const struct match *m, uint32_t state, uint32_t under)
{
    unsigned sum = m->g->most[state];
    while (sum <= GRAMMAR_PLAIN && m->g->ends[state] && under) {
        state = m->nodes[under].state;
        under = m->nodes[under].under;
        sum += m->g->most[state];
    }
    return sum;
}

/* ---- places ---- */

static void open_place(struct match *m)
{
    m->turn++;
    m->nwork = m->nfound = 0;
    m->reach_plain = m->reach_most = 0;
    m->reach_end = false;
}

static void enter(struct match *m, uint32_t state, uint32_t under)
{
    unsigned most = most_from(m, state, under);
    if (most > m->reach_most)
        m->reach_most = most > GRAMMAR_PLAIN ? GRAMMAR_PLAIN + 1 : (uint8_t)most;
    meet(m, state, under);
}

static void sort(uint32_t *v, uint32_t n)
{
    for (uint32_t gap = n / 2; gap > 0; gap /= 2)
        for (uint32_t i = gap; i < n; i++) {
            uint32_t x = v[i], k = i;
            for (; k >= gap && v[k - gap] > x; k -= gap)
                v[k] = v[k - gap];
            v[k] = x;
        }
}

static bool same_place(const struct match *m, const struct match_place *p)
{
    return p->n == m->nfound && p->may_end == m->reach_end && p->plain == m->reach_plain &&
           p->most == m->reach_most &&
           memcmp(m->items + p->first, m->found, m->nfound * sizeof *m->found) == 0;
}

static bool is_free(const struct match *m)
{
    for (uint32_t i = 0; i < m->nfound; i++)
        if (m->g->free[m->nodes[m->found[i]].state])
            return true;
    return false;
}

/* The place of what was found since open_place. */
static uint32_t place_of(struct match *m)
{
    close_over(m);
    if (m->nfound == 0 && !m->reach_end)
        return PLACE_DEAD;
    sort(m->found, m->nfound);
    uint32_t h = m->reach_end;
    for (uint32_t i = 0; i < m->nfound; i++)
        h = mix(h, m->found[i]);
    uint32_t at = h & (MAX_PLACES * 2 - 1);
    for (; m->place_slots[at]; at = (at + 1) & (MAX_PLACES * 2 - 1))
        if (same_place(m, &m->places[m->place_slots[at]]))
            return m->place_slots[at];
    if (m->nplaces >= MAX_PLACES || m->nitems + m->nfound > MAX_ITEMS) {
        m->full = true;
        return PLACE_DEAD;
    }
    memcpy(m->items + m->nitems, m->found, m->nfound * sizeof *m->found);
    m->places[m->nplaces] = (struct match_place){.first = m->nitems,
                                                 .at = at,
                                                 .n = m->nfound,
                                                 .slot = -1,
                                                 .plain = m->reach_plain,
                                                 .most = m->reach_most,
                                                 .may_end = m->reach_end,
                                                 .free = m->g->has_free && is_free(m)};
    m->nitems += m->nfound;
    m->place_slots[at] = m->nplaces;
    return m->nplaces++;
}

uint32_t match_step_slow(struct match *m, uint32_t place, unsigned cls)
{
    const struct grammar *g = m->g;
    uint8_t byte = g->class_byte[cls];
    const struct match_place p = m->places[place];
    open_place(m);
    for (uint32_t i = 0; i < p.n; i++) {
        struct match_node at = m->nodes[m->items[p.first + i]];
        for (uint32_t k = g->first[at.state]; k < g->first[at.state + 1]; k++) {
            const struct arc *a = &g->arcs[k];
            if (a->kind == ARC_BYTE && a->lo <= byte && byte <= a->hi)
                enter(m, a->to, at.under);
        }
    }
    uint32_t to = place_of(m);
    m->next[(size_t)place * g->nclasses + cls] = to;
    return to;
}

uint32_t match_token(struct match *m, uint32_t place, uint32_t id, bool named)
{
    const struct grammar *g = m->g;
    const struct match_place p = m->places[place];
    open_place(m);
    for (uint32_t i = 0; i < p.n; i++) {
        struct match_node at = m->nodes[m->items[p.first + i]];
        for (uint32_t k = g->first[at.state]; k < g->first[at.state + 1]; k++) {
            const struct arc *a = &g->arcs[k];
            bool other = !named && a->kind == ARC_NOT_TOKEN && a->arg != id;
            if (other || (a->kind == ARC_TOKEN && a->arg == id))
                enter(m, a->to, at.under);
        }
    }
    return place_of(m);
}

uint32_t match_control(struct match *m, uint32_t place)
{
    const struct match_place p = m->places[place];
    open_place(m);
    for (uint32_t i = 0; i < p.n; i++) {
        struct match_node at = m->nodes[m->items[p.first + i]];
        if (m->g->free[at.state])
            enter(m, at.state, at.under);
    }
    return place_of(m);
}

/* ---- the tables as a whole ---- */

/* The tables of slots are large and most often nearly empty: what was entered last is taken out
 * first, so that it is found where it was put. */
static void forget_slots(struct match *m)
{
    if (m->nnodes > MAX_NODES / 16)
        memset(m->node_slots, 0, MAX_NODES * 2 * sizeof *m->node_slots);
    else
        for (uint32_t n = m->nnodes; n-- > 1;) {
            uint32_t at = mix(mix(17, m->nodes[n].state), m->nodes[n].under);
            for (at &= MAX_NODES * 2 - 1; m->node_slots[at] != n;)
                at = (at + 1) & (MAX_NODES * 2 - 1);
            m->node_slots[at] = 0;
        }
    for (uint32_t p = m->nplaces; p-- > PLACE_FIRST;)
        m->place_slots[m->places[p].at] = 0;
}

static void forget(struct match *m)
{
    forget_slots(m);
    memset(m->seen, 0, m->nnodes * sizeof *m->seen);
    memset(m->next, 0, (size_t)m->nplaces * m->g->nclasses * sizeof *m->next);
    m->turn = 0;
    m->nnodes = 1; /* 0 is the bottom */
    m->nplaces = PLACE_FIRST;
    m->nitems = 0;
    m->full = false;
    m->places[PLACE_DEAD] = (struct match_place){.slot = -1};
    for (uint32_t c = 0; c < m->g->nclasses; c++)
        m->next[(size_t)PLACE_DEAD * m->g->nclasses + c] = PLACE_DEAD;
}

uint32_t match_begin(struct match *m)
{
    forget(m);
    open_place(m);
    enter(m, m->g->start[m->g->root], 0);
    return place_of(m);
}

bool match_crowded(const struct match *m)
{
    return m->nnodes > MAX_NODES / 2 || m->nplaces > MAX_PLACES / 2 || m->nitems > MAX_ITEMS / 2 ||
           m->turn > UINT32_MAX / 2 || m->full;
}

/* A node that is not numbered yet stands under no node that is: a stack is copied from its bottom.
 * A node's number is larger than that of what is under it, so one pass in order does it. */
static bool move_nodes(struct match *to, const struct match *from, const struct match_place *p,
                       const uint32_t *items, uint32_t *map)
{
    memset(map, 0, from->nnodes * sizeof *map);
    uint32_t top = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        map[items[i]] = 1;
        top = items[i] > top ? items[i] : top;
    }
    for (uint32_t n = top; n > 0; n--)
        if (map[n])
            map[from->nodes[n].under] = 1;
    map[0] = 0;
    for (uint32_t n = 1; n <= top; n++) {
        if (!map[n])
            continue;
        struct match_node node = from->nodes[n];
        map[n] = node_of(to, node.state, node.under ? map[node.under] : 0);
        if (map[n] == UINT32_MAX)
            return false;
    }
    return true;
}

/* What is known of a place goes with it: its items are closed already. */
static uint32_t put_place(struct match *m, const struct match_place *p, const uint32_t *items,
                          const uint32_t *map)
{
    open_place(m);
    for (uint32_t i = 0; i < p->n; i++)
        m->found[m->nfound++] = map[items[i]];
    m->reach_plain = p->plain;
    m->reach_most = p->most;
    m->reach_end = p->may_end;
    return place_of(m);
}

uint32_t match_copy(struct match *to, const struct match *from, uint32_t place)
{
    forget(to);
    const struct match_place *p = &from->places[place];
    const uint32_t *items = from->items + p->first;
    if (!move_nodes(to, from, p, items, to->work))
        return PLACE_DEAD;
    return put_place(to, p, items, to->work);
}

/* In place: nodes only move down, and a node is written where all before it have been read. The
 * items are kept behind the closure's list meanwhile. */
uint32_t match_compact(struct match *m, uint32_t place)
{
    struct match_place p = m->places[place];
    memcpy(m->found, m->items + p.first, p.n * sizeof *m->found);
    struct match old = {.nodes = m->nodes, .nnodes = m->nnodes};
    uint32_t *map = m->work;
    memset(map, 0, old.nnodes * sizeof *map);
    forget(m);
    if (!move_nodes(m, &old, &p, m->found, map))
        return PLACE_DEAD;
    memcpy(m->items + MAX_ITEMS / 2, m->found, p.n * sizeof *m->found);
    return put_place(m, &p, m->items + MAX_ITEMS / 2, map);
}
