/* moe.c: the feed-forward block of layers with experts: a router scores them, each token takes the
 * best few, and only those experts' weights are read.
 *
 * Tokens are grouped by expert, in slots: those of the first expert, then of the second, and so on,
 * so that an expert's matrices meet all their columns in one product. What the experts give a token
 * is added in the order of its scores, whatever else is in the batch: so a token's bits are the
 * same alone, in a batch and in slices. Called by forward.c. */
#include "model_int.h"

#include <math.h>
#include <string.h>

/* What an expert's columns cost beside the columns themselves: its weights have to be read. */
#define READ_COST 8
/* The reference's bound on a sum of shares that is divided by. */
#define LEAST_SUM 6.103515625e-5f

/* A block's pass: what its steps share. */
struct pass {
    struct model_run *r;
    int w, workers;
    const struct layer *l;
    size_t n, slots; /* columns; columns times experts used */
    bool alone;      /* every worker routes and packs for itself */
    bool whole;      /* the packing of all columns is every chosen expert's too */
    struct packed p; /* the columns, for the router and the shared expert */
    struct routes routes;
};

/* ---- routing ---- */

/* The indices of the largest scores, the largest first; of equals the lower index. */
static void best(const float *score, int32_t n, int32_t want, int32_t *out)
{
    int32_t have = 0;
    for (int32_t i = 0; i < n; i++) {
        float v = isnan(score[i]) ? -INFINITY : score[i];
        int32_t at = have;
        while (at > 0 && (isnan(score[out[at - 1]]) ? -INFINITY : score[out[at - 1]]) < v)
            at--;
        if (at == want)
            continue;
        if (have < want)
            have++;
        memmove(out + at + 1, out + at, (size_t)(have - at - 1) * sizeof *out);
        out[at] = i;
    }
}

static float soft_sum(const float *score, const int32_t *pick, int32_t n, float max)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)expf(score[pick ? pick[i] : i] - max);
    return (float)sum;
}

static void choose(const struct recipe *b, const float *score, int32_t *chosen, float *share)
{
    int32_t used = b->experts_used;
    best(score, b->experts, used, chosen);
    float max = score[chosen[0]], sum = 1, all = 0;
    if (b->gating == GATE_SOFTMAX)
        sum = soft_sum(score, NULL, b->experts, max);
    if (b->gating == GATE_SOFTMAX_CHOSEN)
        sum = soft_sum(score, chosen, used, max);
    for (int32_t i = 0; i < used; i++) {
        float s = score[chosen[i]];
        share[i] = b->gating == GATE_SIGMOID ? 1.0f / (1.0f + expf(-s)) : expf(s - max) / sum;
        all += share[i];
    }
    for (int32_t i = 0; i < used && b->norm_shares; i++)
        share[i] /= all > LEAST_SUM ? all : LEAST_SUM;
}

/* Every worker sorts for itself: that is cheaper than to wait for one who did. */
static void sort_into_slots(struct pass *b)
{
    const struct recipe *rec = &b->r->m->b;
    struct routes *t = &b->routes;
    memset(t->first, 0, ((size_t)rec->experts + 2) * sizeof *t->first);
    for (size_t i = 0; i < b->slots; i++)
        t->first[t->chosen[i] + 2]++;
    for (int32_t e = 0; e < rec->experts; e++)
        t->first[e + 2] += t->first[e + 1];
    /* first[e + 1] is where expert e begins, and grows to where it ends. */
    for (size_t i = 0; i < b->slots; i++) {
        int32_t slot = t->first[t->chosen[i] + 1]++;
        t->slot[i] = slot;
        t->column[slot] = (int32_t)(i / (size_t)rec->experts_used);
        t->slot_share[slot] = t->share[i];
    }
}

static void route(struct pass *b)
{
    struct model_run *r = b->r;
    const struct recipe *rec = &r->m->b;
    const struct moe *m = b->l->moe;
    size_t from = 0, to = b->n, used = (size_t)rec->experts_used, r0, r1;
    pool_share(m->router.w.rows, KERN_ROW_GRAIN, b->w, b->workers, &r0, &r1);
    linear_rows(r, b->w, &m->router, &b->p, b->n, r0, r1, r->scores, r->scores_stride);
    if (b->w == 0 && m->shared_router.w.rows > 0)
        linear_rows(r, 0, &m->shared_router, &b->p, b->n, 0, 1, r->shared_share, 1);
    pool_barrier(r->pool);
    b->routes = r->workers[b->w].routes;
    if (!b->alone) {
        b->routes.chosen = r->chosen;
        b->routes.share = r->share;
        pool_share(b->n, 1, b->w, b->workers, &from, &to);
    }
    for (size_t c = from; c < to; c++)
        choose(rec, r->scores + c * r->scores_stride, b->routes.chosen + c * used,
               b->routes.share + c * used);
    if (!b->alone)
        pool_barrier(r->pool);
    sort_into_slots(b);
}

static size_t columns_of(const struct pass *b, int32_t e)
{
    return (size_t)(b->routes.first[e + 1] - b->routes.first[e]);
}

/* ---- packing ---- */

/* Columns [c0, c1) of an expert's, brought together, at most MODEL_PRIVATE_COLUMNS. */
static const float *gather(const struct pass *b, int32_t e, size_t c0, size_t c1)
{
    struct model_run *r = b->r;
    size_t width = (size_t)r->m->t.width;
    float *out = r->workers[b->w].gather;
    for (size_t c = c0; c < c1; c++) {
        size_t slot = (size_t)b->routes.first[e] + c;
        const float *x = b->p.x + (size_t)b->routes.column[slot] * b->p.stride;
        float *to = out + (c - c0) * r->x_stride;
        memcpy(to, x, width * sizeof *to);
        for (size_t d = 0; d < width && r->m->b.share_first; d++)
            to[d] *= b->routes.slot_share[slot];
    }
    return out;
}

struct columns { /* of one expert, for one product or two */
    const struct linear *const *lin;
    int nlin;
    const float *x; /* NULL: gather them */
    size_t stride;
};

static void pack_range(const struct pass *b, int32_t e, const struct columns *in, size_t c0,
                       size_t c1, unsigned char *to, struct packed *out)
{
    size_t m = columns_of(b, e);
    const float *x = in->x;
    if (!x) {
        /* pack_for counts from column 0, of which the tile holds none but its own. */
        uintptr_t tile = (uintptr_t)gather(b, e, c0, c1);
        x = (const float *)(tile - c0 * in->stride * sizeof *x);
    }
    pack_for(b->r, x, in->stride, m, c0, c1, in->lin, in->nlin, to, out);
}

static size_t packed_bytes(const struct pass *b, int32_t e, const struct columns *in)
{
    struct packed none;
    size_t m = columns_of(b, e);
    unsigned char *base = b->r->pack_experts;
    if (m == 0)
        return 0;
    return (size_t)(pack_for(b->r, NULL, 0, m, 0, 0, in->lin, in->nlin, base, &none) - base);
}

/* Every expert's columns into r->pack_experts one after the other, each worker its share. Where an
 * expert's lie is found by walking the same sizes again. */
static void pack_together(const struct pass *b, const struct columns *in, const float *rows)
{
    struct model_run *r = b->r;
    unsigned char *to = r->pack_experts;
    size_t tile = 0;
    struct packed out;
    for (int32_t e = 0; e < r->m->b.experts; e++) {
        struct columns one = *in;
        size_t m = columns_of(b, e);
        if (rows)
            one.x = rows + (size_t)b->routes.first[e] * in->stride;
        for (size_t c = 0; c < m; c += MODEL_PRIVATE_COLUMNS, tile++) {
            size_t end = c + MODEL_PRIVATE_COLUMNS < m ? c + MODEL_PRIVATE_COLUMNS : m;
            if (tile % (size_t)b->workers == (size_t)b->w)
                pack_range(b, e, &one, c, end, to, &out);
        }
        to += packed_bytes(b, e, in);
    }
    pool_barrier(r->pool);
}

/* ---- the experts ---- */

/* The rows of a product over all experts stand in one line, in which those of an expert with more
 * columns are longer; a worker takes the groups of rows that begin in its equal part. */
struct line {
    uint64_t total, at;
};

static uint64_t line_cost(size_t columns)
{
    return columns == 0 ? 0 : columns + READ_COST;
}

static void line_rows(struct line *s, const struct pass *b, size_t columns, size_t rows, size_t *r0,
                      size_t *r1)
{
    uint64_t cost = line_cost(columns), units = (rows + KERN_ROW_GRAIN - 1) / KERN_ROW_GRAIN;
    uint64_t end[2];
    *r0 = *r1 = 0;
    if (cost == 0 || rows == 0)
        return;
    for (int i = 0; i < 2; i++) {
        uint64_t place = s->total * (uint64_t)(b->w + i) / (uint64_t)b->workers;
        uint64_t unit = place > s->at ? (place - s->at + cost - 1) / cost : 0;
        end[i] = (unit < units ? unit : units) * KERN_ROW_GRAIN;
    }
    *r0 = end[0] < rows ? (size_t)end[0] : rows;
    *r1 = end[1] < rows ? (size_t)end[1] : rows;
    s->at += units * cost;
}

static void gate_rows(const struct pass *b, const struct linear *gate, const struct linear *up,
                      const struct packed *p, size_t first, size_t m, size_t r0, size_t r1)
{
    struct model_run *r = b->r;
    size_t stride = r->expert_stride;
    float *g = r->expert_gate + first * stride, *u = r->expert_up + first * stride;
    bool two = gate->w.rows > 0;
    linear_rows(r, b->w, up, p, m, r0, r1, two ? u : g, stride);
    if (two)
        linear_rows(r, b->w, gate, p, m, r0, r1, g, stride);
    for (size_t c = 0; c < m && r0 < r1; c++)
        activate(r->m, g + c * stride + r0, two ? u + c * stride + r0 : NULL, r1 - r0,
                 g + c * stride + r0);
}

static void gates_and_ups(const struct pass *b)
{
    struct model_run *r = b->r;
    const struct recipe *rec = &r->m->b;
    const struct moe *x = b->l->moe;
    struct linear first_gate = expert_linear(&x->gate, 0), first_up = expert_linear(&x->up, 0);
    const struct linear *const lin[] = {&first_gate, &first_up};
    struct columns in = {.lin = lin, .nlin = 2, .stride = r->x_stride};
    size_t ff = x->up.w.rows, units = (ff + KERN_ROW_GRAIN - 1) / KERN_ROW_GRAIN, r0, r1;
    size_t shared = x->shared_up.w.rows;
    struct line line = {.total = (shared + KERN_ROW_GRAIN - 1) / KERN_ROW_GRAIN * line_cost(b->n)};
    if (shared == 0)
        line.total = 0;
    for (int32_t e = 0; e < rec->experts; e++)
        line.total += units * line_cost(columns_of(b, e));
    unsigned char *at = r->pack_experts;
    if (!b->alone)
        pack_together(b, &in, NULL);
    for (int32_t e = 0; e < rec->experts; e++) {
        size_t m = columns_of(b, e);
        struct packed p = b->p;
        line_rows(&line, b, m, ff, &r0, &r1);
        if (r0 < r1 && b->alone && !b->whole)
            pack_range(b, e, &in, 0, m, r->workers[b->w].pack_expert, &p);
        if (r0 < r1 && !b->alone)
            pack_for(r, NULL, 0, m, 0, 0, lin, 2, at, &p);
        if (!b->alone)
            at += packed_bytes(b, e, &in);
        if (r0 == r1)
            continue;
        struct linear gate = expert_linear(&x->gate, e), up = expert_linear(&x->up, e);
        gate_rows(b, &gate, &up, &p, (size_t)b->routes.first[e], m, r0, r1);
    }
    line_rows(&line, b, b->n, shared, &r0, &r1);
    if (r0 < r1)
        gate_rows(b, &x->shared_gate, &x->shared_up, &b->p, b->slots, b->n, r0, r1);
}

/* Rows [r0, r1) of what every expert makes of its columns. */
static void downs(const struct pass *b, size_t r0, size_t r1)
{
    struct model_run *r = b->r;
    const struct moe *x = b->l->moe;
    struct linear first = expert_linear(&x->down, 0);
    const struct linear *const lin[] = {&first};
    struct columns in = {.lin = lin, .nlin = 1, .stride = r->expert_stride};
    unsigned char *at = r->pack_experts;
    if (!b->alone)
        pack_together(b, &in, r->expert_gate);
    for (int32_t e = 0; e < r->m->b.experts && r0 < r1; e++) {
        size_t m = columns_of(b, e), slot = (size_t)b->routes.first[e];
        struct packed p;
        if (m == 0)
            continue;
        in.x = r->expert_gate + slot * r->expert_stride;
        if (b->alone)
            pack_range(b, e, &in, 0, m, r->workers[b->w].pack_expert, &p);
        else
            pack_for(r, NULL, 0, m, 0, 0, lin, 1, at, &p);
        at += b->alone ? 0 : packed_bytes(b, e, &in);
        struct linear down = expert_linear(&x->down, e);
        linear_rows(r, b->w, &down, &p, m, r0, r1, r->expert_out + slot * r->x_stride, r->x_stride);
    }
}

static void shared_down(const struct pass *b, size_t r0, size_t r1)
{
    struct model_run *r = b->r;
    const struct linear *const lin[] = {&b->l->moe->shared_down};
    struct packed p;
    if (lin[0]->w.rows == 0)
        return;
    linear_pack(r, b->w, b->workers, r->expert_gate + b->slots * r->expert_stride, r->expert_stride,
                b->n, NULL, lin, 1, &p);
    linear_rows(r, b->w, lin[0], &p, b->n, r0, r1, r->expert_out + b->slots * r->x_stride,
                r->x_stride);
}

static void add_scaled(float *to, const float *x, float scale, bool first, size_t n)
{
    if (first)
        for (size_t i = 0; i < n; i++)
            to[i] = x[i] * scale;
    else
        for (size_t i = 0; i < n; i++)
            to[i] += x[i] * scale;
}

/* Rows [r0, r1) of each column's sum into r->branch. */
static void add_up(const struct pass *b, size_t r0, size_t r1)
{
    struct model_run *r = b->r;
    const struct moe *x = b->l->moe;
    size_t used = (size_t)r->m->b.experts_used;
    for (size_t c = 0; c < b->n; c++) {
        float *to = r->branch + c * r->x_stride + r0;
        for (size_t i = 0; i < used; i++) {
            size_t slot = (size_t)b->routes.slot[c * used + i];
            float share = r->m->b.share_first ? 1.0f : b->routes.slot_share[slot];
            add_scaled(to, r->expert_out + slot * r->x_stride + r0, share, i == 0, r1 - r0);
        }
        if (x->shared_down.w.rows == 0)
            continue;
        float share = 1;
        if (x->shared_router.w.rows > 0)
            share = 1.0f / (1.0f + expf(-r->shared_share[c]));
        add_scaled(to, r->expert_out + (b->slots + c) * r->x_stride + r0, share, false, r1 - r0);
    }
}

void moe(struct model_run *r, int w, int workers, const struct layer *l, size_t n, float *x)
{
    const struct recipe *rec = &r->m->b;
    struct moe *m = l->moe;
    struct pass b = {.r = r,
                     .w = w,
                     .workers = workers,
                     .l = l,
                     .n = n,
                     .slots = n * (size_t)rec->experts_used,
                     .alone = n <= MODEL_PRIVATE_COLUMNS,
                     .whole = n == 1 && !rec->share_first};
    struct linear gate = expert_linear(&m->gate, 0), up = expert_linear(&m->up, 0);
    const struct linear *const lin[] = {
        &m->router, &m->shared_router, &m->shared_gate, &m->shared_up, &gate, &up};
    linear_pack(r, w, workers, x, r->x_stride, n, l->ffn_norm, lin, b.whole ? 6 : 4, &b.p);
    route(&b);
    gates_and_ups(&b);
    pool_barrier(r->pool);
    size_t r0, r1;
    pool_share((size_t)r->m->t.width, KERN_ROW_GRAIN, w, workers, &r0, &r1);
    downs(&b, r0, r1);
    shared_down(&b, r0, r1);
    add_up(&b, r0, r1);
    branch_add(r, w, workers, l->ffn_post_norm, n, r0, r1, x);
}
