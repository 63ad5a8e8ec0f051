/* seq.c: one timeline's pages: reserving, writing on, cutting, sharing.
 *
 * Of the full layers a sequence holds every page up to its length. Of the window layers it holds
 * those that a token to come can see, or could if the last few were taken back, and those a
 * snapshot needs; a page that nothing needs goes
 * into the sequence's stock, from which the next positions are served, so that a reservation once
 * given holds to its end and a pass never fails for want of a page. Of the recurrent layers it
 * holds two slots: the state at its length, and the one the next pass writes. */
#include "model_int.h"

#include <stdlib.h>
#include <string.h>

int model_seq_new(struct model_kv *kv, int32_t max_positions, struct model_seq **out, struct err *e)
{
    if (max_positions < 1 || max_positions > MODEL_MAX_POSITIONS)
        return err_set(e, ERR_INVAL, "a sequence of %d positions: 1 to %d is possible",
                       max_positions, MODEL_MAX_POSITIONS);
    size_t n = (size_t)state_pages_for(max_positions);
    struct model_seq *s = calloc(1, sizeof *s);
    int32_t *pages = calloc(3 * n, sizeof *pages);
    if (!s || !pages) {
        free(s);
        free(pages);
        return err_set(e, ERR_NOMEM, "no memory for a sequence of %d positions", max_positions);
    }
    s->kv = kv;
    s->cap = max_positions;
    s->pages[STATE_FULL] = pages;
    s->pages[STATE_WINDOW] = pages + n;
    s->stock = pages + 2 * n;
    s->state = s->next = -1;
    *out = s;
    return 0;
}

void model_seq_free(struct model_seq *s)
{
    if (!s)
        return;
    model_seq_cut(s, 0);
    free(s->pages[STATE_FULL]);
    free(s);
}

int32_t model_seq_len(const struct model_seq *s)
{
    return s->len;
}

int32_t model_seq_most(const struct model_seq *s)
{
    return s->cap;
}

static bool has(const struct model_seq *s, enum state_class c)
{
    return s->kv->pool[c].unit > 0;
}

unsigned char *seq_head(const struct model_seq *s, int layer, int head, int32_t page)
{
    const struct model_kv *kv = s->kv;
    enum state_class c = kv_class_of(kv->m, layer);
    if (page >= s->npages[c] || s->pages[c][page] < 0)
        return NULL;
    size_t at = (size_t)kv->place[layer] * (size_t)kv->m->t.kv_heads + (size_t)head;
    return kv_unit(kv, c, s->pages[c][page]) + at * 2 * kv->head_bytes;
}

/* ---- windows ---- */

/* A page that will come free for this sequence when its positions are out of sight. */
static bool is_own(const struct model_seq *s, int32_t page)
{
    int32_t unit = s->pages[STATE_WINDOW][page];
    return unit >= 0 && !kv_shared(s->kv, STATE_WINDOW, unit) && !seq_retains(s, page);
}

/* Window pages that must be taken for the stock so that the sequence can go on to `positions`
 * however it is fed: as many own pages as can be wanted at once. */
int32_t seq_stock_missing(const struct model_seq *s, int32_t positions)
{
    if (!has(s, STATE_WINDOW) || positions <= s->len)
        return 0;
    int32_t own = 0, end = s->npages[STATE_WINDOW];
    for (int32_t p = kv_kept_page(s->kv, s->len); p < end; p++)
        own += is_own(s, p);
    int32_t later = state_pages_for(positions) - end;
    int32_t most = kv_window_pages(s->kv, s->len, positions);
    int32_t want = own + (later > 0 ? later : 0);
    want = want < most ? want : most;
    int32_t missing = want - own - s->nstock;
    return missing > 0 ? missing : 0;
}

/* The pages of the next stretch get units from the stock. */
static void place(struct model_seq *s)
{
    if (!has(s, STATE_WINDOW))
        return;
    int64_t to = (int64_t)s->len + s->kv->slice;
    int32_t end = state_pages_for(to < s->reserved ? (int32_t)to : s->reserved);
    while (s->npages[STATE_WINDOW] < end && s->nstock > 0)
        s->pages[STATE_WINDOW][s->npages[STATE_WINDOW]++] = s->stock[--s->nstock];
}

void seq_sweep(struct model_seq *s, int32_t from)
{
    if (!has(s, STATE_WINDOW))
        return;
    int32_t *pages = s->pages[STATE_WINDOW];
    int32_t end = kv_kept_page(s->kv, s->len);
    end = end < s->npages[STATE_WINDOW] ? end : s->npages[STATE_WINDOW];
    for (int32_t p = from; p < end; p++) {
        if (pages[p] < 0 || seq_retains(s, p))
            continue;
        if (!kv_shared(s->kv, STATE_WINDOW, pages[p]) && seq_stock_missing(s, s->reserved) > 0)
            s->stock[s->nstock++] = pages[p];
        else
            kv_drop(s->kv, STATE_WINDOW, pages[p]);
        pages[p] = -1;
    }
}

void seq_advance(struct model_seq *s, int32_t n)
{
    int32_t kept = kv_kept_page(s->kv, s->len); /* what lies before was swept already */
    s->len += n;
    if (has(s, STATE_RECURRENT)) {
        int32_t written = s->next;
        s->next = s->state;
        s->state = written;
    }
    seq_sweep(s, kept);
    place(s);
}

/* ---- reserving ---- */

/* The page that position s->len falls into is shared when another sequence was cut from this one,
 * or this one was cut: writing needs a copy of our own. */
static bool last_is_shared(const struct model_seq *s, enum state_class c)
{
    int32_t page = s->len / KERN_PAGE;
    return page < s->npages[c] && s->pages[c][page] >= 0 && kv_shared(s->kv, c, s->pages[c][page]);
}

static int32_t copy_unit(struct model_kv *kv, enum state_class c, int32_t from)
{
    int32_t copy = kv_take(kv, c);
    memcpy(kv_unit(kv, c, copy), kv_unit(kv, c, from), kv->pool[c].unit);
    return copy;
}

static void own_last(struct model_seq *s, enum state_class c)
{
    int32_t *slot = &s->pages[c][s->len / KERN_PAGE];
    int32_t shared = *slot;
    *slot = copy_unit(s->kv, c, shared);
    kv_drop(s->kv, c, shared);
}

static void take_slots(struct model_seq *s)
{
    struct model_kv *kv = s->kv;
    if (!has(s, STATE_RECURRENT))
        return;
    if (s->state < 0) { /* an empty sequence begins with zeros */
        s->state = kv_take(kv, STATE_RECURRENT);
        memset(kv_unit(kv, STATE_RECURRENT, s->state), 0, kv->pool[STATE_RECURRENT].unit);
    }
    if (s->next < 0)
        s->next = kv_take(kv, STATE_RECURRENT);
}

int model_seq_reserve(struct model_seq *s, int32_t positions, struct err *e)
{
    if (positions > s->cap)
        return err_set(e, ERR_CONTEXT, "%d positions wanted, %d is the most", positions, s->cap);
    if (positions <= s->reserved)
        return 0;
    struct model_kv *kv = s->kv;
    int32_t pages = state_pages_for(positions), stock = seq_stock_missing(s, positions);
    bool copy_full = last_is_shared(s, STATE_FULL), copy_window = last_is_shared(s, STATE_WINDOW);
    int32_t want[STATE_CLASSES] = {
        [STATE_FULL] = (has(s, STATE_FULL) ? pages - s->npages[STATE_FULL] : 0) + copy_full,
        [STATE_WINDOW] = stock + copy_window,
        [STATE_RECURRENT] = has(s, STATE_RECURRENT) ? (s->state < 0) + (s->next < 0) : 0,
    };
    if (!kv_has_all(kv, want))
        return err_set(e, ERR_NOMEM,
                       "the cache is full: %d pages wanted, %llu of %llu bytes are free",
                       want[STATE_FULL] + want[STATE_WINDOW],
                       (unsigned long long)(kv->limit - kv->used), (unsigned long long)kv->limit);
    if (copy_full)
        own_last(s, STATE_FULL);
    if (copy_window)
        own_last(s, STATE_WINDOW);
    while (has(s, STATE_FULL) && s->npages[STATE_FULL] < pages)
        s->pages[STATE_FULL][s->npages[STATE_FULL]++] = kv_take(kv, STATE_FULL);
    while (stock-- > 0)
        s->stock[s->nstock++] = kv_take(kv, STATE_WINDOW);
    take_slots(s);
    s->reserved = positions;
    place(s);
    return 0;
}

bool seq_ready(const struct model_seq *s, int32_t positions)
{
    if (positions > s->reserved)
        return false;
    return !has(s, STATE_WINDOW) || positions - s->len <= s->kv->slice;
}

/* ---- cutting ---- */

static void drop_pages(struct model_seq *s, enum state_class c, int32_t keep)
{
    while (s->npages[c] > keep) {
        int32_t unit = s->pages[c][--s->npages[c]];
        if (unit >= 0)
            kv_drop(s->kv, c, unit);
    }
}

/* The state at `position`, which is a snapshot's, the present one or none's. */
static void set_state(struct model_seq *s, int32_t position)
{
    struct model_kv *kv = s->kv;
    int at = seq_snapshot_at(s, position);
    if (position == s->len || !has(s, STATE_RECURRENT))
        return;
    if (position > 0 && at >= 0 && s->state >= 0) {
        memcpy(kv_unit(kv, STATE_RECURRENT, s->state),
               kv_unit(kv, STATE_RECURRENT, s->snaps[at].slot), kv->pool[STATE_RECURRENT].unit);
        return;
    }
    if (s->state >= 0)
        kv_drop(kv, STATE_RECURRENT, s->state);
    s->state = -1;
}

int32_t model_seq_cut(struct model_seq *s, int32_t positions)
{
    int32_t to = model_seq_reach(s, positions), keep = state_pages_for(to);
    set_state(s, to);
    seq_drop_snapshots(s, to);
    drop_pages(s, STATE_FULL, keep);
    drop_pages(s, STATE_WINDOW, keep);
    while (s->nstock > 0)
        kv_drop(s->kv, STATE_WINDOW, s->stock[--s->nstock]);
    if (s->next >= 0)
        kv_drop(s->kv, STATE_RECURRENT, s->next);
    s->next = -1;
    if (to == 0 && s->state >= 0) {
        kv_drop(s->kv, STATE_RECURRENT, s->state);
        s->state = -1;
    }
    s->len = s->reserved = to;
    seq_sweep(s, 0);
    return to;
}

/* ---- sharing ---- */

/* What sharing takes: copies of partial pages and of the state. */
static bool can_share(const struct model_seq *src, int32_t to)
{
    int32_t page = to / KERN_PAGE, want[STATE_CLASSES] = {0};
    for (int c = STATE_FULL; c <= STATE_WINDOW; c++)
        want[c] = to % KERN_PAGE != 0 && page < src->npages[c] && src->pages[c][page] >= 0;
    want[STATE_RECURRENT] = to > 0 && has(src, STATE_RECURRENT);
    return kv_has_all(src->kv, want);
}

static void share_pages(struct model_seq *dst, const struct model_seq *src, enum state_class c,
                        int32_t to)
{
    struct model_kv *kv = dst->kv;
    int32_t whole = to / KERN_PAGE, end = state_pages_for(to);
    if (!has(src, c))
        return;
    for (int32_t p = 0; p < end; p++) {
        int32_t unit = src->pages[c][p];
        bool wanted = c == STATE_FULL || p >= kv_window_page(kv, to) || seq_retains(dst, p);
        if (unit < 0 || !wanted)
            unit = -1;
        else if (p < whole)
            kv_ref(kv, c, unit);
        else
            unit = copy_unit(kv, c, unit);
        dst->pages[c][p] = unit;
    }
    dst->npages[c] = end;
}

static void share_state(struct model_seq *dst, const struct model_seq *src, int32_t to)
{
    struct model_kv *kv = dst->kv;
    for (int i = 0; i < src->nsnaps && src->snaps[i].position <= to; i++) {
        dst->snaps[dst->nsnaps++] = src->snaps[i];
        if (src->snaps[i].slot >= 0)
            kv_ref(kv, STATE_RECURRENT, src->snaps[i].slot);
    }
    if (to == 0 || !has(src, STATE_RECURRENT))
        return;
    int at = seq_snapshot_at(src, to);
    dst->state = copy_unit(kv, STATE_RECURRENT, to == src->len ? src->state : src->snaps[at].slot);
}

int model_seq_share(struct model_seq *dst, const struct model_seq *src, int32_t positions,
                    int32_t *reached, struct err *e)
{
    if (dst->len > 0 || dst->reserved > 0 || src->kv != dst->kv || positions < 0 ||
        positions > src->len || positions > dst->cap)
        return err_set(e, ERR_INVAL, "cannot share %d of %d positions", positions, src->len);
    int32_t to = model_seq_reach(src, positions);
    if (!can_share(src, to))
        return err_set(e, ERR_NOMEM, "the cache is full: no page for a copy");
    share_state(dst, src, to);
    share_pages(dst, src, STATE_FULL, to);
    share_pages(dst, src, STATE_WINDOW, to);
    dst->len = dst->reserved = to;
    *reached = to;
    return 0;
}

/* ---- recurrent state ---- */

static float *slot_layer(const struct model_seq *s, int32_t slot, int layer)
{
    const struct model_kv *kv = s->kv;
    size_t at = (size_t)kv->place[layer] * state_layer_floats(kv->m);
    return (float *)(void *)kv_unit(kv, STATE_RECURRENT, slot) + at;
}

const float *seq_state(const struct model_seq *s, int layer)
{
    return slot_layer(s, s->state, layer);
}

float *seq_state_next(const struct model_seq *s, int layer)
{
    return slot_layer(s, s->next, layer);
}
