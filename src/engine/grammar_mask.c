/* grammar_mask.c: one text that follows a grammar, token by token: which may come next, and what
 * the one that came means. Owns the masks that were made, by place: a place that comes again, as in
 * the middle of a string, has its mask already. */
#include "grammar_match_int.h"

#include <stdlib.h>

#define SLOTS 64 /* masks kept */

struct grammar_state {
    struct match m;
    const struct grammar_vocab *v; /* NULL: bytes only */
    uint32_t place;
    uint64_t *masks;       /* SLOTS of them */
    uint32_t owner[SLOTS]; /* the place a mask belongs to; 0: none */
    uint32_t used[SLOTS], clock;
    uint32_t *path; /* by depth: the place the walk is at */
};

int grammar_state_new(const struct grammar *g, const struct grammar_vocab *v,
                      struct grammar_state **out, struct err *e)
{
    struct grammar_state *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory to follow a grammar");
    int rc = match_init(&s->m, g, e);
    s->v = v;
    if (rc == 0 && v) {
        uint32_t deep = v->plain.longest > v->rest.longest ? v->plain.longest : v->rest.longest;
        s->masks = calloc(v->words * SLOTS, sizeof *s->masks);
        s->path = calloc(deep + 1, sizeof *s->path);
        if (!s->masks || !s->path)
            rc = err_set(e, ERR_NOMEM, "no memory to follow a grammar");
    }
    if (rc) {
        grammar_state_free(s);
        return rc;
    }
    grammar_state_reset(s);
    *out = s;
    return 0;
}

void grammar_state_free(struct grammar_state *s)
{
    if (!s)
        return;
    match_done(&s->m);
    free(s->masks);
    free(s->path);
    free(s);
}

static void drop_masks(struct grammar_state *s)
{
    memset(s->owner, 0, sizeof s->owner);
    memset(s->used, 0, sizeof s->used);
    s->clock = 0;
}

void grammar_state_reset(struct grammar_state *s)
{
    drop_masks(s);
    s->place = match_begin(&s->m);
}

int grammar_state_clone(const struct grammar_state *s, struct grammar_state **out, struct err *e)
{
    struct grammar_state *c;
    int rc = grammar_state_new(s->m.g, s->v, &c, e);
    if (rc)
        return rc;
    c->place = match_copy(&c->m, &s->m, s->place);
    *out = c;
    return 0;
}

/* Between two tokens is the time to make room. */
static void tidy(struct grammar_state *s)
{
    if (!match_crowded(&s->m))
        return;
    drop_masks(s);
    s->place = match_compact(&s->m, s->place);
}

/* ---- masks ---- */

static void set_bit(uint64_t *mask, int32_t id)
{
    mask[id / 64] |= 1ull << (id % 64);
}

static bool has(const uint64_t *mask, int32_t id)
{
    return mask[id / 64] >> (id % 64) & 1;
}

static void merge(uint64_t *mask, const uint64_t *more, size_t words)
{
    for (size_t i = 0; i < words; i++)
        mask[i] |= more[i];
}

/* Every token of the trie whose bytes lead somewhere. */
static void walk(struct grammar_state *s, const struct trie *t, uint64_t *mask)
{
    const struct trie_node *nodes = t->nodes;
    s->path[0] = s->place;
    for (uint32_t i = 0; i < t->n;) {
        const struct trie_node *n = &nodes[i];
        uint32_t to = match_step(&s->m, s->path[n->depth - 1], n->byte);
        if (to == PLACE_DEAD) {
            i = n->skip;
            continue;
        }
        s->path[n->depth] = to;
        for (int32_t id = n->token; id >= 0; id = s->v->same[id])
            set_bit(mask, id);
        i++;
    }
}

static void add_tokens_by_id(struct grammar_state *s, uint64_t *mask)
{
    const struct grammar *g = s->m.g;
    const struct match_place *p = &s->m.places[s->place];
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t state = s->m.nodes[s->m.items[p->first + i]].state;
        for (uint32_t k = g->first[state]; k < g->first[state + 1]; k++) {
            const struct arc *a = &g->arcs[k];
            if (a->kind == ARC_TOKEN && a->arg < (uint32_t)s->v->n)
                set_bit(mask, (int32_t)a->arg);
            for (int32_t id = 0; a->kind == ARC_NOT_TOKEN && id < s->v->n; id++)
                if ((uint32_t)id != a->arg && !has(s->v->eog, id))
                    set_bit(mask, id);
        }
    }
}

static void fill(struct grammar_state *s, uint64_t *mask)
{
    const struct grammar_vocab *v = s->v;
    const struct match_place p = s->m.places[s->place];
    if (p.plain)
        memcpy(mask, v->plain_upto + (size_t)p.plain * v->words, v->words * sizeof *mask);
    else
        memset(mask, 0, v->words * sizeof *mask);
    /* The walk through the plain tokens is spared where it can find no more. */
    if (p.plain < GRAMMAR_PLAIN && p.plain < p.most)
        walk(s, &v->plain, mask);
    walk(s, &v->rest, mask);
    if (s->m.g->has_tokens)
        add_tokens_by_id(s, mask);
    if (p.free)
        merge(mask, v->control, v->words);
    if (p.may_end)
        merge(mask, v->eog, v->words);
}

static int oldest_slot(const struct grammar_state *s)
{
    int best = 0;
    for (int i = 1; i < SLOTS; i++)
        if (s->used[i] < s->used[best])
            best = i;
    return best;
}

const uint64_t *grammar_state_mask(struct grammar_state *s)
{
    tidy(s);
    int slot = s->m.places[s->place].slot;
    if (slot < 0) {
        slot = oldest_slot(s);
        if (s->owner[slot])
            s->m.places[s->owner[slot]].slot = -1;
        fill(s, s->masks + (size_t)slot * s->v->words);
        s->owner[slot] = s->place;
        s->m.places[s->place].slot = slot;
    }
    s->used[slot] = ++s->clock;
    return s->masks + (size_t)slot * s->v->words;
}

/* ---- tokens ---- */

static uint32_t after_bytes(struct grammar_state *s, struct str bytes)
{
    uint32_t at = s->place;
    for (size_t i = 0; i < bytes.n && at != PLACE_DEAD; i++)
        at = match_step(&s->m, at, (uint8_t)bytes.p[i]);
    return at;
}

/* Where the token leads; a token that ends the generation leads nowhere else. */
static uint32_t after(struct grammar_state *s, int32_t id)
{
    const struct match_place *p = &s->m.places[s->place];
    if (id < 0 || id >= s->v->n)
        return PLACE_DEAD;
    if (has(s->v->eog, id) && p->may_end)
        return s->place;
    if (s->m.g->has_tokens) {
        uint32_t to = match_token(&s->m, s->place, (uint32_t)id, has(s->v->eog, id));
        if (to != PLACE_DEAD)
            return to;
    }
    if (has(s->v->control, id))
        return p->free ? match_control(&s->m, s->place) : PLACE_DEAD;
    return s->v->bytes[id].n ? after_bytes(s, s->v->bytes[id]) : PLACE_DEAD;
}

bool grammar_state_allows(struct grammar_state *s, int32_t id)
{
    tidy(s);
    return after(s, id) != PLACE_DEAD;
}

bool grammar_state_accept(struct grammar_state *s, int32_t id)
{
    tidy(s);
    uint32_t to = after(s, id);
    if (to == PLACE_DEAD)
        return false;
    s->place = to;
    return true;
}

bool grammar_state_accept_bytes(struct grammar_state *s, struct str bytes)
{
    tidy(s);
    uint32_t to = after_bytes(s, bytes);
    if (to == PLACE_DEAD)
        return false;
    s->place = to;
    return true;
}

bool grammar_state_may_end(const struct grammar_state *s)
{
    return s->m.places[s->place].may_end;
}
