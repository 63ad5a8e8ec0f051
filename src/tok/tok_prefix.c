/* tok_prefix.c: the texts of many tokens, sorted, and a walk that narrows them byte by byte. It
 * serves special tokens, unigram and WordPiece: small beside a trie, and no text makes it slow,
 * since it goes no deeper than the longest entry. */
#include "tok_int.h"

#include <stdlib.h>

bool tok_prefix_reserve(struct tok_prefix *x, size_t n)
{
    x->p = malloc((n + 1) * sizeof *x->p);
    x->cap = x->p ? n : 0;
    return x->p;
}

void tok_prefix_add(struct tok_prefix *x, struct str text, uint32_t id)
{
    if (text.n && x->n < x->cap)
        x->p[x->n++] = (struct tok_entry){text, id};
}

/* Of equal texts the later id comes first: it is the one that counts, as in the lookup. */
static int by_text(const void *a, const void *b)
{
    const struct tok_entry *x = a, *y = b;
    int order = memcmp(x->text.p, y->text.p, x->text.n < y->text.n ? x->text.n : y->text.n);
    if (order)
        return order;
    if (x->text.n != y->text.n)
        return x->text.n > y->text.n ? 1 : -1;
    return (x->id < y->id) - (x->id > y->id);
}

void tok_prefix_sort(struct tok_prefix *x)
{
    if (x->n)
        qsort(x->p, x->n, sizeof *x->p, by_text);
    size_t i = 0;
    for (unsigned c = 0; c <= 256; c++) {
        while (i < x->n && (unsigned char)x->p[i].text.p[0] < c)
            i++;
        x->first[c] = (uint32_t)i;
    }
}

void tok_prefix_done(struct tok_prefix *x)
{
    free(x->p);
    *x = (struct tok_prefix){0};
}

struct tok_prefix_at tok_prefix_begin(const struct tok_prefix *x)
{
    return (struct tok_prefix_at){0, x->n, 0};
}

/* The first entry of from..to whose byte number depth is at least c; all share depth bytes. */
static size_t lower_bound(const struct tok_prefix *x, size_t from, size_t to, size_t depth,
                          unsigned c)
{
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        struct str s = x->p[mid].text;
        if (s.n <= depth || (unsigned char)s.p[depth] < c)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

bool tok_prefix_step(const struct tok_prefix *x, struct tok_prefix_at *at, unsigned char c,
                     uint32_t *id)
{
    if (at->depth == 0) {
        at->from = x->first[c];
        at->to = x->first[c + 1];
    } else {
        at->from = lower_bound(x, at->from, at->to, at->depth, c);
        at->to = lower_bound(x, at->from, at->to, at->depth, c + 1u);
    }
    at->depth++;
    /* The shortest of what is left comes first, so a complete one is seen at once. */
    bool some = at->from < at->to;
    *id = some && x->p[at->from].text.n == at->depth ? x->p[at->from].id : TOK_NONE;
    return some;
}

size_t tok_prefix_longest(const struct tok_prefix *x, struct str s, uint32_t *id)
{
    struct tok_prefix_at at = tok_prefix_begin(x);
    size_t best = 0;
    uint32_t found;
    for (size_t i = 0; i < s.n && tok_prefix_step(x, &at, (unsigned char)s.p[i], &found); i++) {
        if (found != TOK_NONE) {
            *id = found;
            best = i + 1;
        }
    }
    return best;
}
