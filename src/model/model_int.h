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

/* One such product for each expert, stacked: expert e's matrix begins e * bytes after the first. */
struct experts {
    struct kern_mat w; /* of the first */
    size_t bytes;
    const float *bias;  /* [experts][rows]; NULL: none */
    const float *scale; /* [experts]; NULL: none */
};

enum activation { ACT_SILU, ACT_GELU, ACT_SWIGLU_OAI };

/* What an expert's share is made of, from the router's row of scores. */
enum gating {
    GATE_SOFTMAX,        /* over all experts */
    GATE_SIGMOID,        /* of each */
    GATE_SOFTMAX_CHOSEN, /* over the chosen ones */
};

struct moe {
    struct linear router;
    struct experts gate, up, down; /* gate.w.data NULL: the activation takes `up` alone */
    /* One more expert that every token takes; rows 0: none. */
    struct linear shared_gate, shared_up, shared_down;
    struct linear shared_router; /* its share is the sigmoid of this row; rows 0: it is 1 */
};

/* How a layer's queries and keys turn with their position. */
struct rope {
    float base;
    float scale;     /* positions are multiplied by this */
    float magnitude; /* factor on cosine and sine */
    bool yarn;       /* pairs [low, high] blend from unscaled to scaled angles */
    float low, high;
};
/* YaRN (Peng, Quesnelle, Fan, Shippole, 2023), as a file asks for it. */
struct yarn {
    bool on;
    float beta_fast, beta_slow, log_mul;
    float attn_factor; /* also without YaRN */
};

/* A layer norm. */
struct center {
    const float *w, *b;
};

#define MODEL_ROPES 2 /* of the full layers, and of those with a window */

/* The weights of a gated delta net (delta.c). */
struct delta {
    struct linear qkv;  /* rows: queries, keys, values before the convolution */
    struct linear gate; /* what the output is multiplied by */
    /* Of each value head a row for its decay and one for how far it learns. beta.w.rows 0: alpha
     * holds both, in groups of the value heads of one key head: betas, then alphas. */
    struct linear alpha, beta;
    const float *conv; /* [channels][width] */
    const float *a, *dt, *norm;
    bool grouped; /* the value heads of one key head stand together; else they are strided */
};
#define MODEL_DELTA_TOKENS 64 /* that one call of the kernel advances */

struct layer {
    enum model_layer_kind kind;
    int rope;         /* index; -1: this layer knows no positions */
    bool temperature; /* queries grow with their position */
    bool l2_qk;       /* queries and keys are normalised without a weight once they have turned */
    bool gated;       /* attn_q gives for each head a query and a gate on what attention gives */
    const float *attn_norm, *q_norm, *k_norm, *attn_post_norm; /* NULL: none */
    const float *ffn_norm, *ffn_post_norm;
    const float *sinks; /* one for each head; NULL: none */
    struct linear q, k, v, o;
    struct linear gate, up, down; /* where moe is NULL */
    struct moe *moe;
    struct delta *delta;         /* in the place of attention; `o` is its output too */
    struct center attn_out, out; /* of encoders: after attention and after the feed-forward */
};

/* What an encoder adds up for a token before its first layer. */
struct encoder {
    struct kern_mat types, positions; /* rows 0: none */
    struct center norm;
};

/* What a family does in its blocks, from its row and the file's keys. */
struct recipe {
    const struct family *family;
    enum activation act;
    enum gating gating;
    bool norm_shares; /* the chosen experts' shares are made to add up to 1 */
    bool share_first; /* a share scales what goes into an expert, not what comes out */
    int32_t experts, experts_used, ff_expert, ff_shared;
    int32_t next_layers;               /* at the file's end, for predicting further tokens */
    int32_t moe_step;                  /* every moe_step-th layer has experts */
    int32_t moe_first;                 /* the first of them; 0: the moe_step-th */
    int32_t token_types;               /* rows of encoder.types */
    int32_t pooling;                   /* enum model_pooling, as the file has it */
    float embed_scale, residual_scale; /* 1: none */
    enum model_layer_kind window_kind; /* of the layers that have a window */
    float attn_scale, attn_softcap;    /* softcap 0: none */
    float logit_scale, logit_softcap;
    /* Queries at position p are multiplied by ln(floor((p + offset) / floor) + 1) * scale + 1. */
    float temp_scale, temp_floor, temp_offset;
    bool temper_turned; /* in layers whose queries turn; else in the others */
    int32_t nope_step;  /* every nope_step-th layer knows no positions; 0: all do */
    bool l2_qk;         /* layer.l2_qk where queries turn */
    struct yarn yarn;
    bool longrope;    /* the divisors of angles depend on how long a sequence may grow */
    float rope_scale; /* ropes[0].scale */
    int nropes;
    struct rope ropes[MODEL_ROPES];
    int32_t rope_ctx;        /* the context of the first training, before it was stretched */
    const float *rope_short; /* rope_dims / 2 divisors of the angle; NULL: none */
    const float *rope_long;  /* the same for sequences that may grow past rope_ctx */
};

struct model {
    struct gguf *g;
    const struct kern *kern;
    struct model_traits t;
    struct recipe b;
    unsigned char *kinds; /* t.kinds */
    struct layer *layers;
    struct moe *moes; /* of the layers that have one */
    struct delta *deltas;
    struct kern_mat embed;
    struct encoder encoder;
    const float *output_norm;
    struct linear output;
    bool exact;
    uint64_t weight_bytes, active_bytes, params;
};

/* ---- opening ---- */
/* A family: how its files read. Flags say which tensors and steps it has. */
enum {
    FAM_NEOX = 1 << 0,          /* rotated pairs lie half a head apart */
    FAM_TIED = 1 << 1,          /* there is no output.weight */
    FAM_UNTIED = 1 << 2,        /* there must be one */
    FAM_OUTPUT_BIAS = 1 << 3,   /* output.bias */
    FAM_QK_NORM = 1 << 4,       /* attn_q_norm, attn_k_norm of a head each */
    FAM_OUT_BIAS = 1 << 5,      /* attn_output.bias */
    FAM_POST_NORMS = 1 << 6,    /* post_attention_norm, post_ffw_norm on what blocks give */
    FAM_FFN_NORM_POST = 1 << 7, /* the norm before the feed-forward is post_attention_norm */
    FAM_FFN_BIAS = 1 << 8,
    FAM_FFN_SCALE = 1 << 9,     /* .scale of the feed-forward is used; else it is passed over */
    FAM_FFN_FUSED = 1 << 10,    /* ffn_up holds gate and up */
    FAM_EXPERTS = 1 << 11,      /* may have experts */
    FAM_EXPERT_SCALE = 1 << 12, /* .scale of the experts is used; else it is passed over */
    FAM_EXPERT_BIAS = 1 << 13,  /* router and experts have biases */
    FAM_SHARED = 1 << 14,       /* layers with experts have a shared one */
    FAM_SHARED_GATE = 1 << 15,  /* ffn_gate_inp_shexp */
    FAM_SINKS = 1 << 16,
    FAM_ROPE_FACTORS = 1 << 17,  /* rope_freqs or rope_factors_long and _short may stand there */
    FAM_LONG_FACTORS = 1 << 18,  /* the latter two, whatever the file's scaling is called */
    FAM_YARN_KEYS = 1 << 19,     /* the file may set YaRN's constants */
    FAM_GATELESS = 1 << 22,      /* ffn_gate_exps may be missing */
    FAM_EXPERTS_MUST = 1 << 21,  /* has them */
    FAM_GATED = 1 << 20,         /* layer.gated */
    FAM_DELTA_GROUPED = 1 << 23, /* delta.grouped, and ssm_ba holds alpha and beta */
    FAM_ENCODER = 1 << 28,       /* reads a text as a whole, writes none */
    FAM_POSITIONS = 1 << 29,     /* position_embd */
};

struct family {
    const char *name;
    unsigned flags;
    enum activation act;
    enum gating gating;
    bool norm_shares;
    /* Tensors that the family's files may hold and a forward pass has no use for, by how their
     * names begin; NULL-terminated. */
    const char *unused[3];
    /* The keys that this family alone reads; runs after the common ones. NULL: none. */
    int (*read)(struct model *m, struct err *e);
};

/* NULL: none of that name. */
const struct family *family_find(struct str name);
/* The names of all families, for an error. */
void families_list(char *out, size_t n);

static inline bool family_has(const struct model *m, unsigned flag)
{
    return (m->b.family->flags & flag) != 0;
}

/* Fill m->t, m->kinds and m->b from the metadata and the shape of token_embd. */
int traits_read(struct model *m, struct err *e);
/* Keys NAME of the family, "FAMILY.NAME"; an array counts where all its elements are the same. The
 * _or forms leave *out alone when the key is absent. */
#define MODEL_KEY_MAX 96
const char *traits_key(const struct model *m, const char *name, char out[MODEL_KEY_MAX]);
bool traits_has(const struct model *m, const char *name);
int traits_int(const struct model *m, const char *name, int32_t min, int32_t max, int32_t *out,
               struct err *e);
int traits_int_or(const struct model *m, const char *name, int32_t min, int32_t max, int32_t *out,
                  struct err *e);
int traits_float(const struct model *m, const char *name, double min, double max, float *out,
                 struct err *e);
int traits_float_or(const struct model *m, const char *name, double min, double max, float *out,
                    struct err *e);
int traits_bool_or(const struct model *m, const char *name, bool *out, struct err *e);
/* The layers that are of `kind`: by the file's attention.sliding_window_pattern, an array of a flag
 * each or a period; else all but every period-th (0: all). */
int traits_pattern(struct model *m, enum model_layer_kind kind, int32_t period, struct err *e);

/* The rope of all layers and what rope_make needs, from the common keys. */
int rope_read(struct model *m, struct err *e);
void rope_make(const struct model *m, float base, float scale, struct rope *out);
/* Cosines and sines of one rope at a position, for a sequence of up to `cap` positions. */
void rope_fill(const struct model *m, const struct rope *p, int32_t position, int32_t cap,
               float *cs);

/* Bind every tensor the family needs; shapes, types and alignment are checked. */
int weights_bind(struct model *m, struct err *e);

/* ---- scratch ---- */
struct stretch { /* items of one sequence that stand together in the batch */
    struct model_seq *seq;
    size_t first, count;
};

struct passage { /* a text in an encoder's batch */
    size_t first, count;
    size_t page; /* the first of its cells */
};

/* The packed columns for the types of the weights they will meet. */
#define MODEL_PACKED 6
struct packed {
    enum kern_type type[MODEL_PACKED];
    const void *p[MODEL_PACKED];
    int n;
    const float *x; /* the columns as they were packed, after the norm */
    size_t stride;
};

/* Which expert takes which columns, in slots: those of the first expert, of the second, ... */
struct routes {
    int32_t *chosen; /* [n][used]: experts of column c, the best first */
    float *share;    /* [n][used] */
    int32_t *first;  /* [experts + 2]: expert e has slots [first[e], first[e + 1]) */
    int32_t *column; /* [slot] */
    int32_t *slot;   /* [n][used] */
    float *slot_share;
};

/* One value head's chunk of tokens (delta.c). */
struct delta_scratch {
    float *x[3];    /* queries, keys, values, side by side */
    float *taps[3]; /* the convolution's weights for them, a tap's side by side */
    float *decay, *beta, *row;
};

struct worker_scratch {
    unsigned char *base;
    float *norm;         /* MODEL_PRIVATE_COLUMNS normalised columns */
    unsigned char *pack; /* the same, packed */
    unsigned char *mul;
    float *rows; /* unpacked rows of the exact path */
    unsigned char *attn;
    unsigned char *pack_expert; /* the columns of one expert, packed */
    struct routes routes;
    float *gather; /* MODEL_PRIVATE_COLUMNS columns of one expert */
    float *delta;  /* a delta_scratch */
    const void **k_pages, **v_pages;
};

struct model_run {
    const struct model *m;
    struct pool *pool;
    bool exact, gated;
    int max_batch, max_want;
    size_t x_stride, qkv_stride, q_stride, ff_stride; /* in floats */
    unsigned char *base;
    size_t base_bytes;
    float *x;       /* the residual stream */
    float *norm;    /* normalised columns, shared */
    float *qkv;     /* q | k | v */
    float *queries; /* of gated layers, without the gates between them; NULL: no layer is */
    float *att;     /* what attention gives */
    float *gate, *up;
    float *branch; /* a block's output before it is added to x */
    float *cs;     /* cosines and sines of each item's position, for each rope */
    float *temp;   /* each item's factor on queries of layers with a temperature */
    /* Experts. Rows of a slot each; gate and up have room for the shared expert's columns after. */
    float *scores, *expert_gate, *expert_up, *expert_out, *shared_share;
    size_t scores_stride, expert_stride, pack_experts_bytes;
    unsigned char *pack_experts;
    int32_t *chosen;
    float *share;
    float *delta_gate, *delta_rates; /* of delta nets: rows of delta.gate; alphas and betas */
    size_t gate_stride, rates_stride;
    float *wanted; /* x of the wanted items, then their attention output */
    float *wanted_att;
    float *logits;
    bool hidden; /* the pass ends at the output norm, for every item */
    /* Encoders: a batch's tokens and their places in their texts; keys and values of one layer in
     * pages of KERN_PAGE positions, a text beginning with a page. */
    int32_t *tokens, *positions;
    float *cells;
    struct passage *passages;
    size_t npassages;
    unsigned char *pack;
    size_t pack_bytes;
    struct worker_scratch *workers;
    size_t worker_bytes, pages_bytes;
    /* The batch. */
    const struct model_item *items;
    size_t n, nwant;
    int32_t *from[2]; /* the first position each item sees: in full layers, in the others */
    int32_t *to;      /* and the one after the last */
    int32_t *want;    /* indices of the wanted items */
    struct stretch *stretches;
    size_t nstretches;
    const atomic_bool *cancel;
    bool stop;                   /* worker 0 writes it before a barrier, all read it after */
    uint64_t limit_ns, begun_ns; /* of the pass; limit 0: none */
    int looks;                   /* layers that are done, and one for the embedding */
    bool late;                   /* it was stopped for the time it took */
};

/* Types of the products of a run: the weights' own, or F32 on the exact path. */
static inline enum kern_type run_type(const struct model_run *r, const struct linear *l)
{
    return r->exact ? KERN_F32 : l->w.type;
}

/* Worker 0 looks at the caller's flag and the clock before a layer's last barrier; all see what it
 * saw after. */
void run_look(struct model_run *r);
static inline void run_look_for_cancel(struct model_run *r, int w)
{
    if (w == 0)
        run_look(r);
}

/* A long layer looks at the flag inside too and leaves its work undone: worker 0 will see the flag
 * before the layer's end, as it stays set, and nothing of the pass will count. */
static inline bool run_is_cancelled(const struct model_run *r)
{
    return r->cancel && atomic_load_explicit(r->cancel, memory_order_relaxed);
}
/* A pass begins. */
void run_begin(struct model_run *r, const atomic_bool *cancel);
/* What a pass that was stopped gives. */
int run_stopped(const struct model_run *r, struct err *e);

/* Pages of cells that max_want texts of an encoder's batch may take. */
static inline size_t run_cell_pages(const struct model_run *r)
{
    return (size_t)r->max_batch / KERN_PAGE + (size_t)r->max_want + 1;
}

/* ---- blocks: every worker calls them, inside a pool job ---- */
/* Normalise (norm may be NULL: take x as it is) and pack n columns for the products of
 * lin[0..nlin). What it gives may be read by the caller at once. */
void linear_pack(struct model_run *r, int w, int workers, const float *x, size_t stride, size_t n,
                 const float *norm, const struct linear *const *lin, int nlin, struct packed *out);
/* Pack columns [c0, c1) of n into `to` and what follows it, without any waiting; c0 == c1: only say
 * where what is there lies. Returns the end. */
unsigned char *pack_for(struct model_run *r, const float *x, size_t stride, size_t n, size_t c0,
                        size_t c1, const struct linear *const *lin, int nlin, unsigned char *to,
                        struct packed *out);
/* Rows [r0, r1) of n columns: out[c * out_stride + row]. */
void linear_rows(struct model_run *r, int w, const struct linear *l, const struct packed *p,
                 size_t n, size_t r0, size_t r1, float *out, size_t out_stride);
/* x += W in, by way of the norm (NULL: none). The caller's next barrier ends it. */
void linear_add(struct model_run *r, int w, int workers, const struct linear *l, const float *in,
                size_t in_stride, const float *post_norm, size_t n, float *x);
/* The same for a branch of which this worker has computed rows [r0, r1). */
void branch_add(struct model_run *r, int w, int workers, const float *post_norm, size_t n,
                size_t r0, size_t r1, float *x);

/* Queries, keys and values into the cache and what attention gives into r->att. Ends in a barrier.
 */
void attention(struct model_run *r, int w, int workers, int layer);
/* x += feed-forward(x), for n columns of x. */
/* The same for a layer that is a delta net. */
void delta_net(struct model_run *r, int w, int workers, int layer);
/* Floats of a worker's delta_scratch; 0: the model has no delta net. */
size_t delta_scratch_floats(const struct model *m);
size_t delta_channels(const struct model *m); /* rows of delta.qkv */
void ffn(struct model_run *r, int w, int workers, const struct layer *l, size_t n, float *x);
void moe(struct model_run *r, int w, int workers, const struct layer *l, size_t n, float *x);

/* gate = act(gate) * up. */
void activate(const struct model *m, const float *gate, const float *up, size_t n, float *out);

/* Every linear of a layer, an expert standing for all, in `out`; returns how many. */
#define MODEL_LINEARS 20
int layer_linears(const struct layer *l, struct linear out[MODEL_LINEARS]);
/* An expert's matrix, bias and scale as a linear. */
struct linear expert_linear(const struct experts *x, int32_t expert);

#endif
