/* seq_file_int.h: the layout of a sequence on disk, shared by seq_save.c and seq_file.c.
 *
 *   head      struct file_head, as it stands in memory (little-endian machines only)
 *   tokens    int32[len]
 *   pages     int32[nwindow]: numbers of the window pages that are held, ascending
 *   snapshots int32[nsnaps]: positions, ascending
 *   sums      uint64[units]: one of each unit below, begun with its number
 *   sum       uint64 over all of the above
 *   units     full pages in order, window pages, the state, the snapshots' states
 *
 * A unit has a sum of its own, so that what two sequences share can be read without the rest. */
#ifndef WEIR_SEQ_FILE_INT_H
#define WEIR_SEQ_FILE_INT_H

#include "hash.h"
#include "model_int.h"

#define SEQ_MAGIC 0x0a51455352494557u /* "WEIRSEQ\n" */
#define SEQ_VERSION 2

/* What else the numbers depend on: weights unpacked to multiply; a rope stretched because the
 * sequence may grow long. */
#define SEQ_EXACT 1u
#define SEQ_LONG 2u

struct file_head {
    uint64_t magic;
    uint32_t version;
    uint32_t cache, how; /* enum model_cache; SEQ_* */
    int32_t len, nwindow, nsnaps;
    uint64_t identity;
    uint64_t unit[STATE_CLASSES];
};

/* Of a sequence that may grow to `cap` positions. */
static inline uint32_t seq_file_how(const struct model *m, int32_t cap)
{
    bool stretched = m->b.longrope && cap > m->b.rope_ctx;
    return (m->exact ? SEQ_EXACT : 0) | (stretched ? SEQ_LONG : 0);
}

/* Units of a file with this head. */
static inline uint64_t seq_file_units(const struct file_head *h)
{
    uint64_t n = h->unit[STATE_FULL] ? (uint64_t)state_pages_for(h->len) : 0;
    return n + (uint64_t)h->nwindow + (h->unit[STATE_RECURRENT] ? 1 + (uint64_t)h->nsnaps : 0);
}

/* Where the units begin. */
static inline uint64_t seq_file_start(const struct file_head *h)
{
    uint64_t ints = (uint64_t)h->len + (uint64_t)h->nwindow + (uint64_t)h->nsnaps;
    return sizeof *h + ints * sizeof(int32_t) + (seq_file_units(h) + 1) * sizeof(uint64_t);
}

static inline uint64_t seq_file_size(const struct file_head *h)
{
    uint64_t pages = (uint64_t)state_pages_for(h->len);
    return seq_file_start(h) + pages * h->unit[STATE_FULL] +
           (uint64_t)h->nwindow * h->unit[STATE_WINDOW] +
           (1 + (uint64_t)h->nsnaps) * h->unit[STATE_RECURRENT];
}

#endif
