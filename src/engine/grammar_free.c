/* grammar_free.c: free text in front of a grammar and between its turns: an automaton that knows
 * how far each trigger has come (Aho and Corasick, 1975), so that a trigger is seen wherever the
 * borders of tokens lie, and what stands behind it in the same token is held to the grammar too. */
#include "grammar_int.h"

#include <stdlib.h>

#define MAX_TRIGGERS 8
#define MAX_TRIGGER 64
#define MAX_NODES (MAX_TRIGGERS * MAX_TRIGGER + 1)

struct watch {
    uint16_t go[MAX_NODES][256];
    uint16_t fail[MAX_NODES], queue[MAX_NODES];
    bool found[MAX_NODES];
    uint32_t n;
};

static void add_trigger(struct watch *w, struct str s)
{
    uint16_t at = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!w->go[at][c])
            w->go[at][c] = (uint16_t)w->n++;
        at = w->go[at][c];
    }
    w->found[at] = true;
}

/* Where nothing goes on, the longest ending of what was read that begins a trigger does. */
static void complete(struct watch *w)
{
    uint32_t head = 0, tail = 0;
    for (int c = 0; c < 256; c++)
        if (w->go[0][c])
            w->queue[tail++] = w->go[0][c];
    while (head < tail) {
        uint16_t at = w->queue[head++];
        w->found[at] |= w->found[w->fail[at]];
        for (int c = 0; c < 256; c++) {
            uint16_t to = w->go[at][c], back = w->go[w->fail[at]][c];
            if (!to) {
                w->go[at][c] = back;
            } else {
                w->fail[to] = back;
                w->queue[tail++] = to;
            }
        }
    }
}

static int check(struct build *b, const struct grammar_start *start)
{
    if (start->ntriggers < 1 || start->ntriggers > MAX_TRIGGERS)
        return build_fail(b, ERR_INVAL, "grammar: 1 to %d triggers, not %zu", MAX_TRIGGERS,
                          start->ntriggers);
    for (size_t i = 0; i < start->ntriggers; i++)
        if (start->triggers[i].n < 1 || start->triggers[i].n > MAX_TRIGGER)
            return build_fail(b, ERR_INVAL, "grammar: a trigger has 1 to %d bytes, not %zu",
                              MAX_TRIGGER, start->triggers[i].n);
    return 0;
}

/* The states of free text; `behind` is where a trigger leads. The first one is returned. */
static uint32_t emit(struct build *b, const struct watch *w, uint32_t behind, uint32_t end)
{
    uint32_t base = b->nstates;
    for (uint32_t i = 0; i < w->n; i++)
        build_state(b);
    for (uint32_t i = 0; i < w->n && !b->rc; i++) {
        if (w->found[i])
            continue; /* never entered: its place is `behind` */
        b->free[base + i] = 1;
        for (int lo = 0, hi; lo < 256; lo = hi + 1) {
            uint16_t to = w->go[i][lo];
            for (hi = lo; hi < 255 && w->go[i][hi + 1] == to;)
                hi++;
            build_byte(b, base + i, (unsigned)lo, (unsigned)hi, w->found[to] ? behind : base + to);
        }
        if (end != UINT32_MAX)
            build_eps(b, base + i, end);
    }
    return base;
}

/* The control token that the text begins with; 0: none. */
static size_t control_at(const struct tok *t, struct str s, int32_t *id)
{
    for (size_t n = s.n < MAX_TRIGGER ? s.n : MAX_TRIGGER; t && n > 1; n--) {
        int32_t found = tok_find(t, str_n(s.p, n));
        if (found >= 0 && tok_is_control(t, found)) {
            *id = found;
            return n;
        }
    }
    return 0;
}

void build_text(struct build *b, const struct tok *t, uint32_t from, struct str s, uint32_t to)
{
    for (size_t i = 0; i < s.n && !b->rc;) {
        int32_t id = -1;
        size_t n = control_at(t, str_n(s.p + i, s.n - i), &id);
        uint32_t next = build_state(b);
        if (n)
            build_token(b, from, (uint32_t)id, false, next);
        else
            build_literal(b, from, str_n(s.p + i, 1), next);
        i += n ? n : 1;
        from = next;
    }
    build_eps(b, from, to);
}

/* A trigger that begins with a control token is seen by it, from any place in free text. */
static void control_triggers(struct build *b, const struct grammar_start *start, uint32_t text,
                             const struct watch *w, uint32_t behind)
{
    for (size_t i = 0; i < start->ntriggers && !b->rc; i++) {
        int32_t id = -1;
        size_t n = control_at(start->tok, start->triggers[i], &id);
        if (!n)
            continue;
        uint32_t rest = build_state(b);
        struct str s = start->triggers[i];
        build_text(b, start->tok, rest, str_n(s.p + n, s.n - n), behind);
        for (uint32_t k = 0; k < w->n && !b->rc; k++)
            if (!w->found[k])
                build_token(b, text + k, (uint32_t)id, false, rest);
    }
}

/* A model breaks a line or two between its reasoning and its answer. */
static uint32_t breathing(struct build *b, uint32_t from)
{
    uint32_t blank = build_rule(b, STR_NONE, 0), to = build_state(b);
    build_byte(b, build_start(b, blank), ' ', ' ', build_end(b, blank));
    build_byte(b, build_start(b, blank), '\n', '\n', build_end(b, blank));
    build_repeat(b, from, blank, 0, 4, to);
    return to;
}

uint32_t free_text_wrap(struct build *b, uint32_t root, const struct grammar_start *start)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        build_fail(b, ERR_NOMEM, "grammar: no memory");
    if (b->rc || check(b, start)) {
        free(w);
        return 0;
    }
    w->n = 1;
    for (size_t i = 0; i < start->ntriggers; i++)
        add_trigger(w, start->triggers[i]);
    complete(w);
    bool lazy = start->when == GRAMMAR_LAZY;
    uint32_t rule = build_rule(b, STR_NONE, b->rc ? 0 : b->rules[root].line);
    uint32_t first = build_start(b, rule), end = build_end(b, rule), behind = build_state(b);
    uint32_t text = emit(b, w, behind, lazy ? end : UINT32_MAX);
    if (!lazy && start->opener.n)
        build_text(b, start->tok, first, start->opener, text);
    else
        build_eps(b, first, text);
    control_triggers(b, start, text, w, behind);
    build_call(b, lazy ? behind : breathing(b, behind), root, lazy ? text : end);
    if (!lazy && start->optional)
        build_call(b, first, root, end);
    free(w);
    return rule;
}
