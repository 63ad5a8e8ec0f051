/* snapshot.c: the places a sequence can be cut back to.
 *
 * Keys and values of full layers can be cut anywhere. A window can be cut where every page that the
 * position sees is still held; recurrent state only where a copy of it was kept. A snapshot keeps
 * both: a slot of its own, and (seq_retains) the window pages that position sees. A sequence
 * writes after its snapshots only, so they need no copy of pages. Policy (when, how many) is
 * engine/'s. */
#include "model_int.h"

#include <string.h>

int seq_snapshot_at(const struct model_seq *s, int32_t position)
{
    for (int i = 0; i < s->nsnaps; i++)
        if (s->snaps[i].position == position)
            return i;
    return -1;
}

bool seq_retains(const struct model_seq *s, int32_t page)
{
    for (int i = 0; i < s->nsnaps; i++) {
        int32_t at = s->snaps[i].position;
        if (page >= kv_window_page(s->kv, at) && page < state_pages_for(at))
            return true;
    }
    return false;
}

static void remove_at(struct model_seq *s, int i)
{
    if (s->snaps[i].slot >= 0)
        kv_drop(s->kv, STATE_RECURRENT, s->snaps[i].slot);
    s->nsnaps--;
    for (; i < s->nsnaps; i++)
        s->snaps[i] = s->snaps[i + 1];
}

void seq_drop_snapshots(struct model_seq *s, int32_t above)
{
    while (s->nsnaps > 0 && s->snaps[s->nsnaps - 1].position > above)
        remove_at(s, s->nsnaps - 1);
}

/* ---- reach ---- */

/* The last page that a token at `position` sees in a window and that is not held; -1: none. */
static int32_t missing_page(const struct model_seq *s, int32_t position)
{
    if (s->kv->pool[STATE_WINDOW].unit == 0)
        return -1;
    int32_t from = kv_window_page(s->kv, position);
    for (int32_t p = state_pages_for(position) - 1; p >= from; p--)
        if (p >= s->npages[STATE_WINDOW] || s->pages[STATE_WINDOW][p] < 0)
            return p;
    return -1;
}

/* A place that sees a missing page lies behind it, and so do all between the two. */
static int32_t reach_window(const struct model_seq *s, int32_t position)
{
    for (int32_t p; position > 0 && (p = missing_page(s, position)) >= 0;)
        position = p * KERN_PAGE;
    return position;
}

int32_t model_seq_reach(const struct model_seq *s, int32_t positions)
{
    if (positions >= s->len)
        return s->len;
    if (positions <= 0)
        return 0;
    if (s->kv->pool[STATE_RECURRENT].unit == 0)
        return reach_window(s, positions);
    for (int i = s->nsnaps; i > 0; i--)
        if (s->snaps[i - 1].position <= positions)
            return s->snaps[i - 1].position;
    return 0;
}

/* ---- taking ---- */

/* Room for one more: of two that are nearest to each other the earlier goes, but not the last. */
static void thin(struct model_seq *s)
{
    int worst = 0;
    int32_t least = INT32_MAX;
    for (int i = 0; i + 1 < s->nsnaps; i++) {
        int32_t before = i > 0 ? s->snaps[i - 1].position : 0;
        int32_t gap = s->snaps[i + 1].position - before;
        if (gap < least) {
            least = gap;
            worst = i;
        }
    }
    remove_at(s, worst);
    seq_sweep(s, 0);
}

static void insert(struct model_seq *s, struct snapshot snap)
{
    int at = s->nsnaps++;
    for (; at > 0 && s->snaps[at - 1].position > snap.position; at--)
        s->snaps[at] = s->snaps[at - 1];
    s->snaps[at] = snap;
}

int model_seq_snapshot(struct model_seq *s, int32_t positions, struct err *e)
{
    struct model_kv *kv = s->kv;
    bool recurrent = kv->pool[STATE_RECURRENT].unit > 0;
    if (positions < 1 || positions > s->len || model_seq_reach(s, positions) != positions)
        return err_set(e, ERR_INVAL, "no snapshot can be taken at %d of %d positions", positions,
                       s->len);
    if (!model_needs_snapshots(kv->m) || seq_snapshot_at(s, positions) >= 0)
        return 0;
    if (s->nsnaps == MODEL_SNAPSHOTS)
        thin(s);
    /* What is kept no longer comes back to the stock, and the reservation must stay whole. */
    insert(s, (struct snapshot){.position = positions, .slot = -1});
    int at = seq_snapshot_at(s, positions);
    int32_t stock = seq_stock_missing(s, s->reserved);
    int32_t want[STATE_CLASSES] = {[STATE_WINDOW] = stock, [STATE_RECURRENT] = recurrent};
    if (!kv_has_all(kv, want)) {
        remove_at(s, at);
        return err_set(e, ERR_NOMEM, "the cache is full: no room for a snapshot");
    }
    while (stock-- > 0)
        s->stock[s->nstock++] = kv_take(kv, STATE_WINDOW);
    if (recurrent) {
        s->snaps[at].slot = kv_take(kv, STATE_RECURRENT);
        memcpy(kv_unit(kv, STATE_RECURRENT, s->snaps[at].slot),
               kv_unit(kv, STATE_RECURRENT, s->state), kv->pool[STATE_RECURRENT].unit);
    }
    return 0;
}

bool model_seq_forget(struct model_seq *s)
{
    bool any = s->nsnaps > 0;
    seq_drop_snapshots(s, 0);
    seq_sweep(s, 0);
    return any;
}
