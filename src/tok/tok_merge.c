/* tok_merge.c: merging a list of symbols pair by pair, the best pair first.
 *
 * The list is doubly linked in arrays; candidates wait in a binary heap of `rank << 32 | left`. A
 * candidate is stale when the pair that starts at `left` has another rank by now; it is dropped
 * when it surfaces. Every merge adds at most two candidates, so a list of n symbols takes
 * O(n log n) whatever it holds. */
#include "tok_int.h"

#include <stdlib.h>

void tok_merger_done(struct tok_merger *m)
{
    free(m->prev);
    free(m->next);
    free(m->pending);
    free(m->heap);
    m->prev = m->next = m->pending = NULL;
    m->heap = NULL;
    m->cap = 0;
}

bool tok_merger_reserve(struct tok_merger *m, size_t n)
{
    if (n <= m->cap)
        return true;
    if (n > TOK_MAX_TEXT)
        return false;
    tok_merger_done(m);
    m->prev = malloc(n * sizeof *m->prev);
    m->next = malloc(n * sizeof *m->next);
    m->pending = malloc(n * sizeof *m->pending);
    /* n - 1 candidates at first; each of at most n - 1 merges takes one out and puts two in. */
    m->heap = malloc(2 * n * sizeof *m->heap);
    if (!m->prev || !m->next || !m->pending || !m->heap) {
        tok_merger_done(m);
        return false;
    }
    m->cap = n;
    return true;
}

static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t x = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= x)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = x;
}

static void push(struct tok_merger *m, uint64_t x)
{
    size_t i = m->nheap++;
    while (i > 0 && m->heap[(i - 1) / 2] > x) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = x;
}

static uint64_t pop(struct tok_merger *m)
{
    uint64_t top = m->heap[0];
    m->heap[0] = m->heap[--m->nheap];
    if (m->nheap)
        sift_down(m->heap, m->nheap, 0);
    return top;
}

/* Look at the pair that starts at l again; true if it is a candidate. */
static bool renew(struct tok_merger *m, uint32_t l)
{
    uint32_t r = m->next[l];
    m->pending[l] = r == TOK_NONE ? TOK_NONE : m->rank_of(m->ctx, l, r);
    return m->pending[l] != TOK_NONE;
}

static uint64_t key(const struct tok_merger *m, uint32_t l)
{
    return (uint64_t)m->pending[l] << 32 | l;
}

static void link_all(struct tok_merger *m, uint32_t n)
{
    m->nheap = 0;
    for (uint32_t i = 0; i < n; i++) {
        m->prev[i] = i ? i - 1 : TOK_NONE;
        m->next[i] = i + 1 < n ? i + 1 : TOK_NONE;
    }
    for (uint32_t i = 0; i < n; i++)
        if (renew(m, i))
            m->heap[m->nheap++] = key(m, i);
    for (size_t i = m->nheap / 2; i-- > 0;)
        sift_down(m->heap, m->nheap, i);
}

void tok_merger_run(struct tok_merger *m, uint32_t n)
{
    if (n == 0)
        return;
    link_all(m, n);
    while (m->nheap) {
        uint64_t top = pop(m);
        uint32_t l = (uint32_t)top, rank = (uint32_t)(top >> 32);
        if (m->pending[l] != rank)
            continue;
        uint32_t r = m->next[l], after = m->next[r];
        m->join(m->ctx, l, r, rank);
        m->pending[r] = TOK_NONE; /* r is gone: its own candidate is stale */
        m->next[l] = after;
        if (after != TOK_NONE)
            m->prev[after] = l;
        if (renew(m, l))
            push(m, key(m, l));
        uint32_t before = m->prev[l];
        if (before != TOK_NONE && renew(m, before))
            push(m, key(m, before));
    }
}
