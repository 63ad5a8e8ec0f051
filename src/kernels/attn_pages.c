/* attn_pages.c: the walk over pages that the vector versions of attention share. A page is the
 * outer loop, so that it is made floats once however many queries see it; each query's order
 * of operations is the one that kern.h states, whoever stands beside it in a block. */
#include "attn_int.h"
#include "block_int.h"

/* With fewer queries than this a page of halves is converted as it is read, in registers; of packed
 * pages the set says. */
#define CONVERT_FROM 9

/* Blocks whose scores are held at a time. */
#define BATCH 4

/* Scratch: states of all queries, a list of those that see the page, scores of a batch, and the
 * page's K and V as floats. */
struct room {
    struct attn_query *state;
    struct attn_query **seen;
    float (*p)[KERN_PAGE];
    float *k, *v;
};

/* base is a number, 0 where only the size is wanted: an offset from a null pointer is none. */
static size_t room_lay(const struct kern_attn *a, uintptr_t base, struct room *r)
{
    size_t queries = a->ntok * a->group;
    size_t at = 0, page = KERN_PAGE * a->head_dim * sizeof(float);
    struct room lay;
    lay.p = (float(*)[KERN_PAGE])(base + at);
    at += BATCH * ATTN_BLOCK * sizeof *lay.p;
    lay.k = (float *)(base + at);
    at += page;
    lay.v = (float *)(base + at);
    at += page;
    lay.state = (struct attn_query *)(base + at);
    at += round_up(queries * sizeof *lay.state, 64);
    lay.seen = (struct attn_query **)(base + at);
    at += queries * sizeof *lay.seen;
    if (r)
        *r = lay;
    return at;
}

size_t attn_pages_scratch(const struct kern_attn *a)
{
    return room_lay(a, 0, NULL);
}

static void start(const struct kern_attn *a, struct room *r, size_t *first, size_t *end)
{
    *first = SIZE_MAX, *end = 0;
    for (size_t t = 0; t < a->ntok; t++) {
        size_t from = (size_t)a->from[t], to = (size_t)a->to[t];
        *first = from < *first ? from : *first;
        *end = to > *end ? to : *end;
        for (size_t h = 0; h < a->group; h++) {
            struct attn_query *s = &r->state[t * a->group + h];
            *s = (struct attn_query){.max = a->sinks ? a->sinks[h] : -INFINITY,
                                     .sum = a->sinks ? 1 : 0};
            s->q = a->q + t * a->q_stride + h * a->head_dim;
            s->acc = a->out + t * a->out_stride + h * a->head_dim;
            memset(s->acc, 0, a->head_dim * sizeof(float));
        }
    }
    *first /= KERN_PAGE;
}

/* Lists the queries that see page `page`; [*lo, *hi) is what any of them sees. */
static size_t list_seen(const struct kern_attn *a, struct room *r, size_t page, size_t *lo,
                        size_t *hi)
{
    size_t base = page * KERN_PAGE, n = 0;
    *lo = KERN_PAGE, *hi = 0;
    for (size_t t = 0; t < a->ntok; t++) {
        size_t from = (size_t)a->from[t], to = (size_t)a->to[t];
        if (to <= base || from >= base + KERN_PAGE)
            continue;
        size_t first = from > base ? from - base : 0;
        size_t end = to - base < KERN_PAGE ? to - base : KERN_PAGE;
        *lo = first < *lo ? first : *lo;
        *hi = end > *hi ? end : *hi;
        for (size_t h = 0; h < a->group; h++) {
            struct attn_query *s = &r->state[t * a->group + h];
            s->lo = (uint32_t)first;
            s->hi = (uint32_t)end;
            r->seen[n++] = s;
        }
    }
    return n;
}

/* A page as the vectors read it, and what is asked for while they do (NULL: nothing). */
struct view {
    enum kern_type type;
    const void *k, *v;
    const void *with_k, *with_v;
};

/* Positions worked on while as many of the page wanted next are asked for: when decoding, the cache
 * lies in memory, and a page is too short for the hardware's prefetcher. */
#define SLICE 8

static size_t slice_end(const struct kern_attn *a, const void *wanted, size_t j, size_t hi)
{
    if (!wanted)
        return hi;
    size_t end = round_up(j + 1, SLICE) < hi ? round_up(j + 1, SLICE) : hi;
    size_t row = type_row_bytes(a->type, a->head_dim);
    for (size_t at = j * row; at < end * row; at += 64)
        __builtin_prefetch((const char *)wanted + at, 0, 2);
    return end;
}

/* The scores of one block of queries over a page become weights in p. */
static void block_weights(const struct kern_attn *a, const struct attn_ops *ops,
                          struct attn_query **q, size_t n, const struct view *v,
                          float p[ATTN_BLOCK][KERN_PAGE])
{
    size_t lo = q[0]->lo, hi = q[0]->hi;
    float rescale[ATTN_BLOCK];
    for (size_t i = 1; i < n; i++) {
        lo = q[i]->lo < lo ? q[i]->lo : lo;
        hi = q[i]->hi > hi ? q[i]->hi : hi;
    }
    for (size_t j = lo, end; j < hi; j = end) {
        end = slice_end(a, v->with_k, j, hi);
        ops->scores(q, n, v->type, v->k, a->head_dim, j, end, p);
    }
    if (a->softcap > 0)
        for (size_t i = 0; i < n; i++)
            ops->cap(p[i], q[i]->lo, q[i]->hi, a->scale, a->softcap);
    ops->softmax(q, n, a->softcap > 0 ? 1.0f : a->scale, p, rescale);
    for (size_t i = 0; i < n; i++)
        if (rescale[i] != 1.0f) /* as it is whenever the page brought no new maximum */
            ops->scale(q[i]->acc, a->head_dim, rescale[i]);
}

/* Positions [lo, hi) for query i alone. */
static void gather_one(const struct kern_attn *a, const struct attn_ops *ops, struct attn_query **q,
                       size_t i, const struct view *v, size_t lo, size_t hi,
                       float p[ATTN_BLOCK][KERN_PAGE])
{
    if (lo < hi)
        ops->gather(q + i, 1, v->type, v->v, a->head_dim, lo, hi, p + i);
}

/* What all of a block see is gathered together; what only some see, before and after, by each
 * alone: a position that is masked may hold anything. */
static void block_gather(const struct kern_attn *a, const struct attn_ops *ops,
                         struct attn_query **q, size_t n, const struct view *v,
                         float p[ATTN_BLOCK][KERN_PAGE])
{
    size_t lo = q[0]->lo, hi = q[0]->hi;
    for (size_t i = 1; i < n; i++) {
        lo = q[i]->lo > lo ? q[i]->lo : lo;
        hi = q[i]->hi < hi ? q[i]->hi : hi;
    }
    hi = hi < lo ? lo : hi;
    for (size_t i = 0; i < n; i++)
        gather_one(a, ops, q, i, v, q[i]->lo, lo < q[i]->hi ? lo : q[i]->hi, p);
    for (size_t j = lo, end; j < hi; j = end) {
        end = slice_end(a, v->with_v, j, hi);
        ops->gather(q, n, v->type, v->v, a->head_dim, j, end, p);
    }
    for (size_t i = 0; i < n; i++)
        gather_one(a, ops, q, i, v, hi > q[i]->lo ? hi : q[i]->lo, q[i]->hi, p);
}

static const void *convert(const struct kern_attn *a, const struct attn_ops *ops, const void *page,
                           size_t lo, size_t hi, float *out)
{
    size_t from = lo * a->head_dim, n = (hi - lo) * a->head_dim;
    ops->unpack(a->type, (const uint8_t *)page + lo * type_row_bytes(a->type, a->head_dim), n,
                out + from);
    return out;
}

/* Some blocks: first with K, then with V, so that either page stays in the first cache meanwhile.
 */
static void batch(const struct kern_attn *a, const struct attn_ops *ops, struct room *r,
                  struct attn_query **q, size_t n, const struct view *v)
{
    for (size_t i = 0; i < n; i += ATTN_BLOCK)
        block_weights(a, ops, q + i, n - i < ATTN_BLOCK ? n - i : ATTN_BLOCK, v, r->p + i);
    for (size_t i = 0; i < n; i += ATTN_BLOCK)
        block_gather(a, ops, q + i, n - i < ATTN_BLOCK ? n - i : ATTN_BLOCK, v, r->p + i);
}

static void walk_page(const struct kern_attn *a, const struct attn_ops *ops, struct room *r,
                      size_t page, size_t end_page)
{
    size_t lo, hi, n = list_seen(a, r, page, &lo, &hi);
    if (n == 0) /* between windows: there may be no page */
        return;
    struct view v = {.type = a->type, .k = a->k_pages[page], .v = a->v_pages[page]};
    bool packed = a->type == KERN_Q8_0 || a->type == KERN_Q4_0, more = page + 1 < end_page;
    bool floats = a->type != KERN_F32 && n >= (packed ? ops->packed_from : CONVERT_FROM);
    if (n <= ATTN_BLOCK) {
        const void *next_k = more ? a->k_pages[page + 1] : NULL;
        v.with_k = floats ? next_k : v.v;
        v.with_v = !floats ? next_k : more ? a->v_pages[page + 1] : NULL;
    }
    if (floats) {
        v.k = convert(a, ops, v.k, lo, hi, r->k);
        v.v = convert(a, ops, v.v, lo, hi, r->v);
        v.type = KERN_F32;
    }
    for (size_t i = 0; i < n; i += BATCH * ATTN_BLOCK)
        batch(a, ops, r, r->seen + i, n - i < BATCH * ATTN_BLOCK ? n - i : BATCH * ATTN_BLOCK, &v);
}

void attn_pages(const struct kern_attn *a, const struct attn_ops *ops)
{
    struct room r;
    size_t first, end;
    room_lay(a, (uintptr_t)a->scratch, &r);
    start(a, &r, &first, &end);
    size_t end_page = (end + KERN_PAGE - 1) / KERN_PAGE;
    for (size_t page = first; page < end_page; page++)
        walk_page(a, ops, &r, page, end_page);
    for (size_t i = 0; i < a->ntok * a->group; i++)
        ops->scale(r.state[i].acc, a->head_dim, 1.0f / r.state[i].sum);
}
