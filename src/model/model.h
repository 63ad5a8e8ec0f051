/* model.h: a loaded model: a GGUF map, a record of traits, and one forward pass that reads in one
 * sitting.
 *
 * A new family is a row of traits and, rarely, a block. The layout of state (KV pages) is owned
 * here; policy (who gets pages, what is cached) is engine/'s. */
#ifndef WEIR_MODEL_H
#define WEIR_MODEL_H

#include "err.h"
#include "gguf.h"
#include "kern.h"
#include "pool.h"

#include <stdatomic.h>

struct model;

#define MODEL_MAX_POSITIONS (1 << 24) /* of one sequence; a file that declares more is refused */

/* What a layer keeps of the past. */
enum model_layer_kind {
    MODEL_LAYER_FULL,      /* keys and values of every position */
    MODEL_LAYER_WINDOW,    /* of the last `window` positions, the present one included */
    MODEL_LAYER_CHUNK,     /* of the present chunk of `window` positions */
    MODEL_LAYER_RECURRENT, /* a state of fixed size that cannot be cut back */
};

/* The gated delta net of the recurrent layers; conv 0: the family has none. */
struct model_delta {
    int32_t conv;               /* width of the causal convolution */
    int32_t key_heads, heads;   /* of queries and keys, and of values: a multiple */
    int32_t key_dim, value_dim; /* of one head */
};

struct model_traits {
    const char *family; /* "llama" */
    int32_t layers, width, ff, heads, kv_heads, head_dim, rope_dims, vocab, ctx_train;
    float rope_base, norm_eps;
    bool rope_neox, tied;
    int32_t window;             /* of the layers that have one; 0: none has */
    const unsigned char *kinds; /* enum model_layer_kind of each layer; NULL: all are full */
    struct model_delta delta;
};

/* Maps and checks the file: every tensor the family needs is there with the right shape and a type
 * the kernels have, or an error that names the tensor, key or family. Takes ownership of g on
 * success. */
int model_open(struct gguf *g, struct model **out, struct err *e);
int model_open_path(const char *path, struct model **out, struct err *e);
void model_free(struct model *m);
const struct gguf *model_gguf(const struct model *m);
const struct model_traits *model_traits(const struct model *m);
uint64_t model_weight_bytes(const struct model *m);
/* Of these the bytes that a pass of one token reads: of experts those that a token takes. */
uint64_t model_active_bytes(const struct model *m);
/* Multiply-adds of the matrix products of one token; output: the last one, over the vocabulary,
 * too.
 */
uint64_t model_macs(const struct model *m, bool output);
uint64_t model_params(const struct model *m);
bool model_is_mixture(const struct model *m); /* has experts */
/* All weights the products use are F32: the evaluator keeps its cache in F32 too. */
bool model_is_f32(const struct model *m);
/* Multiply with weights unpacked to F32 instead of quantised activations (the evaluator's exact
 * path). Before the first model_run_new. */
void model_set_exact(struct model *m, bool exact);

/* ---- state: keys and values in pages of 64 positions, counted by reference; recurrent state in
 * snapshots ---- */

/* How keys and values are kept. */
enum model_cache { MODEL_CACHE_F16, MODEL_CACHE_F32, MODEL_CACHE_Q8_0, MODEL_CACHE_Q4_0 };
#define MODEL_CACHES 4

const char *model_cache_name(enum model_cache c); /* "f16", "f32", "q8_0", "q4_0" */
bool model_cache_of(const char *name, enum model_cache *out);
/* ERR_UNSUPPORTED: rows of this model's heads are no whole blocks of the type. */
int model_cache_check(const struct model *m, enum model_cache c, struct err *e);

struct model_kv;  /* the pools of one model's state */
struct model_seq; /* one timeline's share of them */

/* Positions of one sequence that a batch may hold, unless model_kv_set_slice says otherwise. */
#define MODEL_SLICE 512

/* Pools that take at most `bytes` together; memory only as it is used. */
int model_kv_new(const struct model *m, uint64_t bytes, enum model_cache c, struct model_kv **out,
                 struct err *e);
void model_kv_free(struct model_kv *kv);
/* Windows are kept with room for a stretch of this length; before the first sequence. */
void model_kv_set_slice(struct model_kv *kv, int32_t positions);
uint64_t model_kv_used(const struct model_kv *kv);  /* bytes handed out */
uint64_t model_kv_total(const struct model_kv *kv); /* the limit */
enum model_cache model_kv_cache(const struct model_kv *kv);
/* Of it the bytes that are memory now, handed out or kept for the next who asks. */
uint64_t model_kv_resident(const struct model_kv *kv);
/* The same counted in pages of the full layers. */
int model_kv_pages(const struct model_kv *kv);
int model_kv_pages_free(const struct model_kv *kv);

/* 64 positions of every layer that keeps positions. */
uint64_t model_kv_page_bytes(const struct model *m, enum model_cache c);
/* What the recurrent layers keep at one position. */
uint64_t model_kv_state_bytes(const struct model *m);
/* What one sequence of so many positions takes that is fed at most `slice` at a time: full pages,
 * windows, recurrent state. Snapshots come on top: each a state, and the window's pages. */
uint64_t model_kv_need(const struct model *m, enum model_cache c, int32_t positions, int32_t slice);
/* What a snapshot adds to a long sequence; 0: the model can be cut anywhere. */
uint64_t model_kv_snapshot_bytes(const struct model *m, enum model_cache c);

int model_seq_new(struct model_kv *kv, int32_t max_positions, struct model_seq **out,
                  struct err *e);
void model_seq_free(struct model_seq *s);          /* gives its pages back */
int32_t model_seq_len(const struct model_seq *s);  /* positions held */
int32_t model_seq_most(const struct model_seq *s); /* that it may grow to */
/* Room to go on up to `positions`. ERR_NOMEM: the cache is full. */
int model_seq_reserve(struct model_seq *s, int32_t positions, struct err *e);
/* Forget what is past `positions`, and what was reserved. State that cannot be cut there goes back
 * to the nearest earlier place: what is left is returned. */
int32_t model_seq_cut(struct model_seq *s, int32_t positions);
/* What model_seq_cut or model_seq_share would give: positions, where the state can be cut there. */
int32_t model_seq_reach(const struct model_seq *s, int32_t positions);
/* Make dst (empty) share src's first `positions`, or what can be reached of them (*reached): whole
 * pages and snapshots by reference, the last partial page and the recurrent state copied. */
int model_seq_share(struct model_seq *dst, const struct model_seq *src, int32_t positions,
                    int32_t *reached, struct err *e);

/* Whether a sequence cannot be cut anywhere, so that snapshots are worth having. */
bool model_needs_snapshots(const struct model *m);
/* Make `positions` a place that can be cut to: the present length, or (models without recurrent
 * layers) any length that can still be reached. When there are too many the one that lies closest
 * to its neighbours goes. ERR_NOMEM: the cache is full. */
int model_seq_snapshot(struct model_seq *s, int32_t positions, struct err *e);
/* Give all snapshots up; false: there were none. */
bool model_seq_forget(struct model_seq *s);

/* ---- state on disk ----
 * A file holds one sequence: its tokens, everything its pages and slots hold, checksums, and what
 * it belongs to. A file of another version, model or cache type, or a damaged one, is refused. */

/* A number that files of different metadata, tensors or size do not share, and hardly ones of
 * different weights: each tensor is sampled. */
uint64_t model_identity(const struct model *m);
/* The same of the cache's model, computed once; any thread. */
uint64_t model_kv_identity(struct model_kv *kv);
/* Write the sequence, whose tokens are these, to `path`, whole or not at all. It may not be stepped
 * meanwhile; others may. */
int model_seq_save(const struct model_seq *s, const int32_t *tokens, const char *path,
                   struct err *e);

/* The same for a file that may be lost with the machine's power, but is never read half written.
 * `cancel` (may be NULL) is looked at for every page: ERR_CANCELLED. */
int model_seq_spill(const struct model_seq *s, const int32_t *tokens, const char *path,
                    const atomic_bool *cancel, struct err *e);
/* What such a file would have: bytes, and a number of the model, the way of computing and the
 * tokens. */
uint64_t model_seq_file_bytes(const struct model_seq *s);
uint64_t model_seq_file_key(const struct model_seq *s, const int32_t *tokens);

struct model_saved; /* what such a file holds, apart from the state itself; never changes */
/* Reads and checks all but the state. ERR_NOT_FOUND: no such file; ERR_FORMAT, ERR_CHECKSUM: a
 * damaged one; ERR_UNSUPPORTED: another version, model or cache type; the message says which. */
int model_saved_open(struct model_kv *kv, const char *path, struct model_saved **out,
                     struct err *e);
void model_saved_close(struct model_saved *f);
int32_t model_saved_len(const struct model_saved *f);
const int32_t *model_saved_tokens(const struct model_saved *f); /* model_saved_len of them */
uint64_t model_saved_bytes(const struct model_saved *f);
/* Whether sequences that may grow to so many positions can use it. */
bool model_saved_fits(const struct model_saved *f, int32_t max_positions);
/* How many of its first `positions` can be had, as model_seq_reach. */
int32_t model_saved_reach(const struct model_saved *f, int32_t positions);
/* Take the pages for the first `positions`, which can be reached; s is empty. ERR_NOMEM: the cache
 * is full; ERR_CONTEXT: s is too short. */
int model_saved_reserve(const struct model_saved *f, int32_t positions, struct model_seq *s,
                        struct err *e);
/* Fill them; any thread. `cancel` as model_seq_spill's. ERR_CHECKSUM: damaged; after any failure s
 * is good for model_seq_free only. */
int model_saved_read(const struct model_saved *f, struct model_seq *s, const atomic_bool *cancel,
                     struct err *e);

/* ---- the forward pass ---- */
struct model_item {
    struct model_seq *seq;
    int32_t token;
    bool want; /* logits of this position are wanted */
};

#define MODEL_BATCH_MAX 8192

struct model_run; /* scratch for batches of at most max_batch items; allocated once */
/* Bytes of such scratch, so that a caller can size its batches to the model. */
uint64_t model_run_bytes(const struct model *m, int threads, int max_batch, int max_want);
int model_run_new(const struct model *m, struct pool *pool, int max_batch, int max_want,
                  struct model_run **out, struct err *e);
void model_run_free(struct model_run *r);
/* The next pass is broken off between two layers, as by `cancel`, when it has taken so many
 * nanoseconds or is seen to take twice as many; it gives ERR_TIMEOUT. 0: it has no limit. */
void model_run_limit(struct model_run *r, uint64_t ns);
/* How much of the last pass was done when it was broken off: 0 to 1. */
double model_run_progress(const struct model_run *r);
/* Advance every item's sequence by its token, in order (positions follow from the sequence's
 * length; several items of one sequence stand together). Pages must be reserved. logits: one row of
 * vocab floats for each wanted item in order; valid until the next call. `cancel` (may be NULL) is
 * read before every layer: when set, returns ERR_CANCELLED and no sequence has advanced. */
int model_forward(struct model_run *r, const struct model_item *items, size_t n,
                  const atomic_bool *cancel, const float **logits, struct err *e);

/* ---- embeddings ---- */

/* It reads a text as a whole and writes none: model_encode is its pass, and it keeps no state. */
bool model_is_encoder(const struct model *m);

/* As model_forward, but gives what the last layer made of every item, after the output norm: row i
 * of `width` floats at rows + i * stride. */
int model_hidden(struct model_run *r, const struct model_item *items, size_t n,
                 const atomic_bool *cancel, const float **rows, size_t *stride, struct err *e);

struct model_text {
    const int32_t *tokens;
    size_t n; /* 1 to ctx_train */
};
/* An encoder's pass over whole texts, together at most max_batch tokens of at most max_want texts.
 * Rows as model_hidden's, of all tokens in order. A text's rows have the same bits in any batch. */
int model_encode(struct model_run *r, const struct model_text *texts, size_t ntexts,
                 const atomic_bool *cancel, const float **rows, size_t *stride, struct err *e);

/* How a text's rows become one; the numbers are the files'. */
enum model_pooling { MODEL_POOL_MEAN = 1, MODEL_POOL_CLS, MODEL_POOL_LAST, MODEL_POOL_RANK };
/* What the file asks for, or the mean. RANK: it gives no embeddings. */
enum model_pooling model_pooling(const struct model *m);
/* The text's next n rows into sum, `width` numbers of the caller's; first: they begin it. */
void model_pool(enum model_pooling p, bool first, const float *rows, size_t stride, size_t n,
                size_t width, double *sum);
/* The row of a text of n tokens, as long as the model made it. */
void model_pool_end(enum model_pooling p, const double *sum, size_t n, size_t width, float *out);

#endif
