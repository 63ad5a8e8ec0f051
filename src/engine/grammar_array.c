/* grammar_array.c: text for an array: a grid of states by how many items there have been and how
 * many of them were of the kind that contains counts. */
#include "grammar_schema_int.h"

#include <stdlib.h>

#define MAX_CELLS 60000
#define MAX_ITEMS 10000 /* of a counted list */
#define MAX_PREFIX 4096

struct array {
    struct schema *s;
    const struct clause *c;
    const struct atom *contains; /* NULL: none */
    uint64_t min, max, prefix;
};

static const json_t *get(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

/* ---- what an item has to satisfy ---- */

static const json_t *prefix_of(const json_t *schema)
{
    const json_t *items = get(schema, "items");
    return json_is_array(items) ? items : get(schema, "prefixItems");
}

static const json_t *rest_of(const json_t *schema)
{
    const json_t *items = get(schema, "items");
    const json_t *rest = json_is_array(items) ? get(schema, "additionalItems") : items;
    return rest ? rest : get(schema, "unevaluatedItems");
}

static void goal_of_item(struct array *a, uint64_t index, struct goal *g)
{
    for (uint32_t i = 0; i < a->c->n; i++) {
        const struct atom *t = &a->c->atoms[i];
        if (t->kind == ATOM_EVERY)
            goal_add(a->s, g, t->lit);
        if (t->kind != ATOM_ITEMS)
            continue;
        const json_t *prefix = prefix_of(t->schema), *rest = rest_of(t->schema);
        const json_t *own = index < json_array_size(prefix) ? json_array_get(prefix, index) : rest;
        if (own)
            goal_add(a->s, g, (struct lit){own, false});
    }
}

/* ---- gathering ---- */

static bool gather(struct array *a)
{
    for (uint32_t i = 0; i < a->c->n; i++) {
        const struct atom *t = &a->c->atoms[i];
        if (t->kind == ATOM_COUNT) {
            a->min = t->min > a->min ? t->min : a->min;
            a->max = t->max < a->max ? t->max : a->max;
        } else if (t->kind == ATOM_ITEMS) {
            size_t n = json_array_size(prefix_of(t->schema));
            a->prefix = n > a->prefix ? n : a->prefix;
        } else if (t->kind == ATOM_CONTAINS && (t->min > 0 || t->max != UINT64_MAX)) {
            if (a->contains) {
                schema_fail(a->s, ERR_UNSUPPORTED, t->schema, t->keyword,
                            "cannot be enforced beside another one");
                return false;
            }
            a->contains = t;
        }
    }
    for (uint32_t i = 0; i < a->c->n; i++)
        if (a->c->atoms[i].kind == ATOM_UNIQUE && a->max > 1) {
            schema_fail(a->s, ERR_UNSUPPORTED, a->c->atoms[i].schema, "uniqueItems",
                        "is not enforced for more than one item");
            return false;
        }
    return true;
}

/* ---- the grid ---- */

struct cells {
    uint64_t items, hits; /* the last of each that is told apart */
    bool endless;         /* more items stay in the last row */
    uint32_t *at;
};

static uint32_t cell(struct array *a, struct cells *g, uint64_t item, uint64_t hit)
{
    uint32_t *p = &g->at[item * (g->hits + 1) + hit];
    if (!*p)
        *p = build_state(a->s->b);
    return *p;
}

/* The rule of the item at an index; hit: 1 of the counted kind, -1 not of it, 0: not asked. */
static uint32_t item_rule(struct array *a, uint64_t index, int hit)
{
    struct goal g = {.n = 0};
    goal_of_item(a, index, &g);
    if (hit)
        goal_add(a->s, &g,
                 (struct lit){a->contains->lit.schema, a->contains->lit.turned != (hit < 0)});
    return schema_rule(a->s, &g);
}

static void step(struct array *a, uint32_t from, uint32_t gap, uint32_t rule, uint32_t to)
{
    struct build *b = a->s->b;
    if (!gap) {
        build_call(b, from, rule, to);
        return;
    }
    uint32_t comma = build_state(b), item = build_state(b);
    build_literal(b, from, STR(","), comma);
    build_call(b, comma, a->s->j.space, item);
    build_call(b, item, rule, to);
}

/* All the ways on from the items so far. */
static void steps(struct array *a, struct cells *g, uint64_t i)
{
    uint64_t to = i < g->items ? i + 1 : i;
    uint64_t index = i < a->prefix ? i : a->prefix;
    bool limited = a->contains && a->contains->max != UINT64_MAX;
    uint32_t any = 0, hit = 0;
    /* What is no hit has to be told apart only where hits are limited. */
    any = item_rule(a, index, limited ? -1 : 0);
    if (a->contains)
        hit = item_rule(a, index, 1);
    for (uint64_t h = 0; h <= g->hits && !a->s->b->rc; h++) {
        uint32_t from = g->at[i * (g->hits + 1) + h];
        if (!from)
            continue;
        step(a, from, i > 0, any, cell(a, g, to, h));
        if (a->contains && h < g->hits)
            step(a, from, i > 0, hit, cell(a, g, to, h + 1));
    }
}

static void lay_out(struct array *a, uint32_t from, uint32_t to)
{
    struct build *b = a->s->b;
    if (a->max != UINT64_MAX && a->max > MAX_ITEMS && a->min <= MAX_ITEMS && a->prefix <= MAX_ITEMS)
        a->max = MAX_ITEMS; /* fewer than allowed is allowed too */
    struct cells g = {.items = a->max, .endless = a->max == UINT64_MAX};
    if (g.endless)
        g.items = a->min > a->prefix ? a->min : a->prefix;
    if (g.endless && g.items == 0)
        g.items = 1; /* the first item has no comma before it */
    if (a->contains)
        g.hits = a->contains->max != UINT64_MAX ? a->contains->max : a->contains->min;
    if (a->contains && !g.endless && g.hits > g.items)
        g.hits = g.items;
    if (g.items > MAX_CELLS || g.hits > MAX_CELLS || (g.items + 1) * (g.hits + 1) > MAX_CELLS) {
        schema_fail(a->s, ERR_LIMIT, a->c->atoms[0].schema, a->c->atoms[0].keyword,
                    "too many items would have to be counted");
        return;
    }
    g.at = calloc((g.items + 1) * (g.hits + 1), sizeof *g.at);
    uint32_t open = build_state(b), end = build_state(b), close = build_state(b);
    if (!g.at) {
        build_fail(b, ERR_NOMEM, "grammar: no memory");
        return;
    }
    build_literal(b, from, STR("["), open);
    build_call(b, open, a->s->j.space, cell(a, &g, 0, 0));
    for (uint64_t i = 0; i <= g.items && !b->rc; i++)
        if (i < g.items || g.endless)
            steps(a, &g, i);
    for (uint64_t i = 0; i <= g.items && !b->rc; i++)
        for (uint64_t h = 0; h <= g.hits; h++)
            if (i >= a->min && (!a->contains || h >= a->contains->min) &&
                g.at[i * (g.hits + 1) + h])
                build_eps(b, g.at[i * (g.hits + 1) + h], end);
    build_call(b, end, a->s->j.space, close);
    build_literal(b, close, STR("]"), to);
    free(g.at);
}

void schema_array(struct schema *s, const struct clause *c, uint32_t from, uint32_t to)
{
    struct array a = {.s = s, .c = c, .max = UINT64_MAX};
    if (c->n == 0) {
        build_call(s->b, from, s->j.array, to);
        return;
    }
    if (gather(&a) && a.min <= a.max && a.min != UINT64_MAX) {
        if (a.prefix > MAX_PREFIX)
            schema_fail(s, ERR_LIMIT, c->atoms[0].schema, "items", "too many items");
        else
            lay_out(&a, from, to);
    }
}
