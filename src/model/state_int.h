/* state_int.h: what the files of model/ share about state: the pools of a model's cache and one
 * sequence's place in them. kv.c owns the pools, seq.c the sequences, snapshot.c the places a
 * sequence can be cut back to.
 *
 * State is held in three classes, by what a layer keeps of the past (enum model_layer_kind):
 *
 *   full        a page: 64 positions of every full layer; kept as long as the positions are
 *   window      a page: 64 positions of every window or chunk layer; goes when no position that
 *               can come sees it
 *   recurrent   a slot: the whole state of every recurrent layer at one position
 *
 * A page is, for every layer of its class and every KV head in turn, K [64][head_dim] and then
 * V [64][head_dim]. A slot is seq_state()'s layout, layer after layer. */
#ifndef WEIR_STATE_INT_H
#define WEIR_STATE_INT_H

#include "model.h"

enum state_class { STATE_FULL, STATE_WINDOW, STATE_RECURRENT, STATE_CLASSES };

/* Units (pages or slots) of one class: reserved address space, counted by reference. */
struct state_pool {
    unsigned char *mem;
    size_t unit; /* bytes; 0: the model has no layer of this class */
    int32_t n;
    int32_t nfresh; /* units [nfresh, n) have never been handed out */
    int32_t nhot;   /* given back and still memory: free[0 .. nhot) */
    int32_t ncold;  /* given back, memory returned to the system: free[n - ncold .. n) */
    int32_t *free, *refs;
    size_t meta_bytes;
};

struct model_kv {
    const struct model *m;
    enum model_cache cache;
    enum kern_type type; /* of K and V rows */
    size_t head_bytes;   /* one KV head's K (or V) of one layer in one page */
    uint64_t limit;      /* bytes that units may take together */
    uint64_t used;       /* by units that are handed out */
    uint64_t touched;    /* by units that are memory: handed out or hot */
    int32_t slice;       /* the longest stretch of one sequence in a batch */
    struct state_pool pool[STATE_CLASSES];
    int32_t *place;            /* of each layer among those of its class */
    _Atomic uint64_t identity; /* model_identity, once somebody asked; any thread */
};

#define MODEL_SNAPSHOTS 12
/* A sequence that goes on can be cut back by so many positions at least: guesses that fail. */
#define MODEL_UNDO 16

struct snapshot {
    int32_t position;
    int32_t slot; /* -1: the model has no recurrent layers */
};

struct model_seq {
    struct model_kv *kv;
    int32_t len, cap;  /* positions held; positions the page lists can name */
    int32_t reserved;  /* positions that can be written without asking again */
    int32_t *pages[2]; /* of STATE_FULL and STATE_WINDOW by page number; -1: not held */
    int32_t npages[2];
    int32_t *stock; /* window pages that are reserved and stand nowhere yet */
    int32_t nstock;
    int32_t state, next; /* slots: the state at len (-1: zeros), and the one a pass writes */
    struct snapshot snaps[MODEL_SNAPSHOTS]; /* ascending */
    int nsnaps;
    bool in_batch; /* while a batch is checked, to refuse items of one sequence that stand apart */
};

/* ---- pools ---- */
static inline unsigned char *kv_unit(const struct model_kv *kv, enum state_class c, int32_t unit)
{
    return kv->pool[c].mem + (size_t)unit * kv->pool[c].unit;
}

enum kern_type model_cache_kern(enum model_cache c);
enum state_class kv_class_of(const struct model *m, int layer);
/* Whether all these units can be had together. */
bool kv_has_all(const struct model_kv *kv, const int32_t n[STATE_CLASSES]);
/* One that kv_has_all promised. Its bytes are whatever was there. */
int32_t kv_take(struct model_kv *kv, enum state_class c);
void kv_ref(struct model_kv *kv, enum state_class c, int32_t unit);
void kv_drop(struct model_kv *kv, enum state_class c, int32_t unit);

static inline bool kv_shared(const struct model_kv *kv, enum state_class c, int32_t unit)
{
    return kv->pool[c].refs[unit] > 1;
}

static inline int32_t state_pages_for(int32_t positions)
{
    return (int32_t)(((int64_t)positions + KERN_PAGE - 1) / KERN_PAGE);
}

/* The first position that a token at `position` sees in a layer of this kind. */
static inline int32_t state_from(const struct model_traits *t, enum model_layer_kind kind,
                                 int32_t position)
{
    if (kind == MODEL_LAYER_WINDOW && t->window > 0)
        return position >= t->window ? position - t->window + 1 : 0;
    if (kind == MODEL_LAYER_CHUNK && t->window > 0)
        return position - position % t->window;
    return 0;
}

/* The first page that a token at `position`, or any later one, sees in the window class. */
int32_t kv_window_page(const struct model_kv *kv, int32_t position);
/* The first page that a sequence of this length keeps, snapshots apart. */
int32_t kv_kept_page(const struct model_kv *kv, int32_t len);
/* Window pages that a sequence needs at once to go from `len` to `positions`. */
int32_t kv_window_pages(const struct model_kv *kv, int32_t len, int32_t positions);

/* ---- sequences ---- */
/* K of one KV head of a layer in the sequence's page number `page`, [KERN_PAGE][head_dim]; V
 * follows after head_bytes. NULL: the page is not held (any more). */
unsigned char *seq_head(const struct model_seq *s, int layer, int head, int32_t page);
/* Whether positions s->len .. positions - 1 can be written by the next pass. */
bool seq_ready(const struct model_seq *s, int32_t positions);
/* A pass has written n more positions: what nothing can see any more goes. */
void seq_advance(struct model_seq *s, int32_t n);

/* A recurrent layer's state: the last conv - 1 inputs of the convolution, the oldest first
 * [conv - 1][channels], then [heads][key_dim][value_dim]. Read from seq_state, written whole to
 * seq_state_next: a pass that is cancelled has changed nothing. */
const float *seq_state(const struct model_seq *s, int layer);
float *seq_state_next(const struct model_seq *s, int layer);
size_t state_conv_floats(const struct model *m);
size_t state_layer_floats(const struct model *m);

/* ---- snapshots ---- */
/* Whether page `page` of the window class is held for a snapshot. */
bool seq_retains(const struct model_seq *s, int32_t page);
void seq_drop_snapshots(struct model_seq *s, int32_t above);
/* Index of the snapshot at this position; -1: none. */
int seq_snapshot_at(const struct model_seq *s, int32_t position);
/* Drop window pages, beginning with page `from`, that neither the tokens to come nor a snapshot
 * need. */
void seq_sweep(struct model_seq *s, int32_t from);
/* Window pages that must be taken for the stock so that the sequence can go on to `positions`
 * however it is fed. */
int32_t seq_stock_missing(const struct model_seq *s, int32_t positions);

#endif
