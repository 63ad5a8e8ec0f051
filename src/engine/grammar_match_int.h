/* grammar_match_int.h: the matcher under grammar_mask.c: places in a grammar, and the way from one
 * to the next by a byte. */
#ifndef WEIR_GRAMMAR_MATCH_INT_H
#define WEIR_GRAMMAR_MATCH_INT_H

#include "grammar_int.h"

/* A call stack is a list of nodes, shared with all others that end alike: a node is the state to go
 * on with, and the node behind it. Equal stacks are the same node, so that equal places are the
 * same list of nodes, and what was found out about a place is found again. Node 0: the bottom. */
struct match_node {
    uint32_t state, under;
};

/* A place: all the stacks the text may stand on, sorted. */
struct match_place {
    uint32_t first, n; /* in items */
    uint32_t at;       /* where it stands in place_slots */
    int32_t slot;      /* of the mask that belongs to it; -1: none */
    uint8_t plain; /* plain characters that may come, whatever they are; at most GRAMMAR_PLAIN */
    uint8_t most;  /* that can come at most; more than GRAMMAR_PLAIN: unknown */
    bool may_end, free;
};

enum { PLACE_UNKNOWN = 0, PLACE_DEAD = 1, PLACE_FIRST = 2 };

struct match {
    const struct grammar *g;
    struct match_node *nodes;
    uint32_t nnodes, *node_slots;
    uint32_t *seen, turn; /* by node: the turn in which the closure met it */
    uint32_t *work, *found, nwork, nfound;
    uint8_t reach_plain, reach_most;
    bool reach_end;
    struct match_place *places;
    uint32_t nplaces, *place_slots;
    uint32_t *items, nitems;
    uint32_t *next; /* by place and class of bytes: the place it leads to */
    bool full;      /* something did not fit: what would have needed it is taken as forbidden */
};

int match_init(struct match *m, const struct grammar *g, struct err *e);
void match_done(struct match *m);
/* Forget everything; the place of the beginning. */
uint32_t match_begin(struct match *m);
/* Forget everything but this place; its new number. */
uint32_t match_compact(struct match *m, uint32_t place);
/* Is it time to? */
bool match_crowded(const struct match *m);
uint32_t match_step_slow(struct match *m, uint32_t place, unsigned cls);
/* The place behind a token that is not read by its bytes. named: only where it is called by its
 * name, not where any other than some token may stand. */
uint32_t match_token(struct match *m, uint32_t place, uint32_t id, bool named);
/* The place behind a control token: only what is free goes on. */
uint32_t match_control(struct match *m, uint32_t place);
/* The same place in another matcher of the same grammar. */
uint32_t match_copy(struct match *to, const struct match *from, uint32_t place);

static inline uint32_t match_step(struct match *m, uint32_t place, uint8_t byte)
{
    unsigned cls = m->g->byte_class[byte];
    uint32_t to = m->next[(size_t)place * m->g->nclasses + cls];
    return to != PLACE_UNKNOWN ? to : match_step_slow(m, place, cls);
}

#endif
