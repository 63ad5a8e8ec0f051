/* model_int.h: what the files of model/ share: the bound weights, the pages of state, and the
 * scratch of a forward pass. Nothing here leaves the folder. */
#ifndef WEIR_MODEL_INT_H
#define WEIR_MODEL_INT_H

#include "model.h"
#include "state_int.h"

#define MODEL_MAX_LAYERS 1024
#define MODEL_MAX_HEAD_DIM 512 /* kern.h's bound */
/* Batches up to this many columns are normalised and packed by every worker for itself: that costs
 * less than the barrier it saves, and kern.h splits packing in units of 16 columns anyway. */
#define MODEL_PRIVATE_COLUMNS 16
/* Queries of one sequence that one attention call takes. */
#define MODEL_ATTN_QUERIES 64

/* y = (W x) * scale + bias, or (W x + bias) * scale when scale_last. */
struct linear {
    struct kern_mat w;
    const float *bias; /* NULL: none */
    float scale;       /* 1: none */
    bool scale_last;
};

struct layer {
    const float *attn_norm, *ffn_norm;
    struct linear q, k, v, o, gate, up, down;
};

struct model {
    struct gguf *g;
    const struct kern *kern;
    struct model_traits t;
    struct layer *layers;
    struct kern_mat embed;
    const float *output_norm;
    struct linear output;
    const float *rope_freqs; /* rope_dims / 2 divisors of the angle; NULL: none */
    float rope_scale;        /* positions are multiplied by this (linear scaling) */
    float rope_magnitude;    /* factor on cosine and sine */
    bool exact;
    uint64_t weight_bytes, params;
};

/* Fill m->t and the rope fields from the metadata and the shape of token_embd. */
int traits_read(struct model *m, struct err *e);
/* Bind every tensor the family needs; shapes, types and alignment are checked. */
int weights_bind(struct model *m, struct err *e);

/* ---- scratch ---- */
struct stretch { /* items of one sequence that stand together in the batch */
    struct model_seq *seq;
    size_t first, count;
};

/* The packed columns for the types of the weights they will meet. */
struct packed {
    enum kern_type type[3];
    const void *p[3];
    int n;
};

struct worker_scratch {
    unsigned char *base;
    float *norm;         /* MODEL_PRIVATE_COLUMNS normalised columns */
    unsigned char *pack; /* the same, packed */
    unsigned char *mul;
    float *rows; /* unpacked rows of the exact path */
    unsigned char *attn;
    const void **k_pages, **v_pages;
};

struct model_run {
    const struct model *m;
    struct pool *pool;
    bool exact;
    int max_batch, max_want;
    size_t x_stride, qkv_stride, q_stride, ff_stride; /* in floats */
    unsigned char *base;
    size_t base_bytes;
    float *x;    /* the residual stream */
    float *norm; /* normalised columns, shared */
    float *qkv;  /* q | k | v */
    float *att;  /* what attention gives */
    float *gate, *up;
    float *branch; /* a block's output before it is added to x */
    float *cs;     /* cosines and sines of each item's position */
    float *wanted; /* x of the wanted items, then their attention output */
    float *wanted_att;
    float *logits;
    unsigned char *pack;
    size_t pack_bytes;
    struct worker_scratch *workers;
    size_t worker_bytes, pages_bytes;
    /* The batch. */
    const struct model_item *items;
    size_t n, nwant;
    int32_t *from, *to; /* positions each item sees */
    int32_t *want;      /* indices of the wanted items */
    struct stretch *stretches;
    size_t nstretches;
    const atomic_bool *cancel;
    bool stop; /* worker 0 writes it before a barrier, all read it after */
};

/* Types of the products of a run: the weights' own, or F32 on the exact path. */
static inline enum kern_type run_type(const struct model_run *r, const struct linear *l)
{
    return r->exact ? KERN_F32 : l->w.type;
}

/* ---- blocks ---- */
/* Normalise (norm may be NULL: take x as it is) and pack n columns for the products of
 * lin[0..nlin). Every worker calls it; what it gives may be read by the caller at once. */
void linear_pack(struct model_run *r, int w, int workers, const float *x, size_t stride, size_t n,
                 const float *norm, const struct linear *const *lin, int nlin, struct packed *out);
/* Rows [r0, r1) of n columns: out[c * out_stride + row]. */
void linear_rows(struct model_run *r, int w, const struct linear *l, const struct packed *p,
                 size_t n, size_t r0, size_t r1, float *out, size_t out_stride);

#endif
