/* kv.c: attention's memory in pages of 64 positions, counted by reference.
 *
 * A page holds, for every layer and KV head in turn, K [64][head_dim] and then V [64][head_dim]:
 *
 *   layer 0: head 0 K, V; head 1 K, V; ...   layer 1: ...
 *
 * so attention gets one pointer a page and head, and a prefix is shared page by page. The pool is
 * address space reserved at once; a page costs memory when it is first written. Pages given back
 * are handed out again before fresh ones. Not thread-safe: the engine's thread owns a pool. */
#include "model_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static size_t head_bytes(const struct model *m, bool f32)
{
    return (size_t)KERN_PAGE * (size_t)m->t.head_dim * (f32 ? sizeof(float) : sizeof(uint16_t));
}

uint64_t model_kv_page_bytes(const struct model *m, bool f32)
{
    return (uint64_t)m->t.layers * (uint64_t)m->t.kv_heads * 2 * head_bytes(m, f32);
}

static void *reserve(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int model_kv_new(const struct model *m, uint64_t bytes, bool f32, struct model_kv **out,
                 struct err *e)
{
    uint64_t page = model_kv_page_bytes(m, f32);
    uint64_t npages = bytes / page;
    if (npages > INT32_MAX / KERN_PAGE)
        npages = INT32_MAX / KERN_PAGE;
    if (npages < 1)
        return err_set(e, ERR_NOMEM, "%llu bytes do not hold one page of %llu bytes",
                       (unsigned long long)bytes, (unsigned long long)page);
    struct model_kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return err_set(e, ERR_NOMEM, "no memory for a page pool");
    kv->m = m;
    kv->f32 = f32;
    kv->npages = (int)npages;
    kv->page_bytes = (size_t)page;
    kv->head_bytes = head_bytes(m, f32);
    kv->meta_bytes = (size_t)npages * 2 * sizeof(int32_t);
    kv->pages = reserve((size_t)(npages * page));
    kv->free = reserve(kv->meta_bytes);
    if (!kv->pages || !kv->free) {
        model_kv_free(kv);
        return err_set(e, ERR_NOMEM, "cannot reserve %llu bytes for the cache",
                       (unsigned long long)(npages * page));
    }
    kv->refs = kv->free + npages;
    *out = kv;
    return 0;
}

void model_kv_free(struct model_kv *kv)
{
    if (!kv)
        return;
    if (kv->pages)
        munmap(kv->pages, (size_t)kv->npages * kv->page_bytes);
    if (kv->free)
        munmap(kv->free, kv->meta_bytes);
    free(kv);
}

int model_kv_pages(const struct model_kv *kv)
{
    return kv->npages;
}

int model_kv_pages_free(const struct model_kv *kv)
{
    return kv->nfree + kv->npages - kv->nfresh;
}

/* -1: none left. */
static int32_t take_page(struct model_kv *kv)
{
    int32_t page = -1;
    if (kv->nfree > 0)
        page = kv->free[--kv->nfree];
    else if (kv->nfresh < kv->npages)
        page = kv->nfresh++;
    if (page >= 0)
        kv->refs[page] = 1;
    return page;
}

static void drop_page(struct model_kv *kv, int32_t page)
{
    if (--kv->refs[page] == 0)
        kv->free[kv->nfree++] = page;
}

static int32_t pages_for(int32_t positions)
{
    return (int32_t)(((int64_t)positions + KERN_PAGE - 1) / KERN_PAGE);
}

int model_seq_new(struct model_kv *kv, int32_t max_positions, struct model_seq **out, struct err *e)
{
    if (max_positions < 1 || max_positions > MODEL_MAX_POSITIONS)
        return err_set(e, ERR_INVAL, "a sequence of %d positions: 1 to %d is possible",
                       max_positions, MODEL_MAX_POSITIONS);
    struct model_seq *s = calloc(1, sizeof *s);
    int32_t *pages = calloc((size_t)pages_for(max_positions), sizeof *pages);
    if (!s || !pages) {
        free(s);
        free(pages);
        return err_set(e, ERR_NOMEM, "no memory for a sequence of %d positions", max_positions);
    }
    s->kv = kv;
    s->pages = pages;
    s->cap = max_positions;
    *out = s;
    return 0;
}

void model_seq_free(struct model_seq *s)
{
    if (!s)
        return;
    model_seq_cut(s, 0);
    free(s->pages);
    free(s);
}

int32_t model_seq_len(const struct model_seq *s)
{
    return s->len;
}

/* The page that position s->len falls into is shared when another sequence was cut from this one,
 * or this one was cut: writing needs a copy of our own. */
static bool last_is_shared(const struct model_seq *s)
{
    int32_t page = s->len / KERN_PAGE;
    return page < s->npages && s->kv->refs[s->pages[page]] > 1;
}

static void own_last(struct model_seq *s)
{
    struct model_kv *kv = s->kv;
    int32_t *slot = &s->pages[s->len / KERN_PAGE];
    int32_t copy = take_page(kv); /* model_seq_reserve counted it */
    memcpy(kv_page(kv, copy), kv_page(kv, *slot), kv->page_bytes);
    drop_page(kv, *slot);
    *slot = copy;
}

int model_seq_reserve(struct model_seq *s, int32_t positions, struct err *e)
{
    if (positions > s->cap)
        return err_set(e, ERR_CONTEXT, "%d positions wanted, %d is the most", positions, s->cap);
    struct model_kv *kv = s->kv;
    int32_t want = pages_for(positions);
    int32_t missing = want > s->npages ? want - s->npages : 0;
    bool copy = positions > s->len && last_is_shared(s);
    if (missing + (copy ? 1 : 0) > model_kv_pages_free(kv))
        return err_set(e, ERR_NOMEM, "the cache is full: %d pages wanted, %d of %d are free",
                       missing + (copy ? 1 : 0), model_kv_pages_free(kv), kv->npages);
    if (copy)
        own_last(s);
    while (s->npages < want)
        s->pages[s->npages++] = take_page(kv);
    return 0;
}

unsigned char *seq_head(const struct model_seq *s, int layer, int head, int32_t page)
{
    return kv_page(s->kv, s->pages[page]) + kv_offset(s->kv, layer, head);
}

bool seq_ready(const struct model_seq *s, int32_t positions)
{
    return positions <= s->cap && pages_for(positions) <= s->npages && !last_is_shared(s);
}

void model_seq_cut(struct model_seq *s, int32_t positions)
{
    if (positions < 0)
        positions = 0;
    int32_t keep = pages_for(positions);
    while (s->npages > keep)
        drop_page(s->kv, s->pages[--s->npages]);
    if (s->len > positions)
        s->len = positions;
}

int model_seq_share(struct model_seq *dst, const struct model_seq *src, int32_t positions,
                    struct err *e)
{
    struct model_kv *kv = dst->kv;
    if (dst->npages > 0 || src->kv != kv || positions < 0 || positions > src->len ||
        positions > dst->cap)
        return err_set(e, ERR_INVAL, "cannot share %d of %d positions", positions, src->len);
    int32_t whole = positions / KERN_PAGE;
    bool part = positions % KERN_PAGE != 0;
    if (part && model_kv_pages_free(kv) < 1)
        return err_set(e, ERR_NOMEM, "the cache is full: no page for a copy");
    for (int32_t i = 0; i < whole; i++) {
        dst->pages[i] = src->pages[i];
        kv->refs[src->pages[i]]++;
    }
    dst->npages = whole;
    if (part) {
        int32_t page = take_page(kv);
        memcpy(kv_page(kv, page), kv_page(kv, src->pages[whole]), kv->page_bytes);
        dst->pages[dst->npages++] = page;
    }
    dst->len = positions;
    return 0;
}
