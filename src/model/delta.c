/* delta.c: a layer that keeps no positions: the gated delta net of Qwen3-Next and Qwen3.5.
 *
 * Queries, keys and values pass a short causal convolution; then each value head has a matrix that
 * every token decays, corrects towards its value and reads (kern.h's delta). What is remembered is
 * those matrices and the convolution's last inputs (state_int.h). They are read from the
 * sequence's present slot and written to its next one, so that a cancelled pass has changed
 * nothing. Heads are divided among the workers, tokens never: the bits do not depend on slices.
 * Called by forward.c in the place of attention; what it gives stands in r->att. */
#include "model_int.h"

#include <math.h>
#include <string.h>

#define CHUNK MODEL_DELTA_TOKENS

/* One value head of one sequence in the batch. */
struct head {
    const struct delta *d;
    const struct stretch *st;
    size_t h, key;    /* value head and the key head it belongs to */
    const float *old; /* of the convolution's inputs, [width - 1][channels] */
    float *next;
    struct delta_scratch s;
    /* Where its queries, keys and values begin in a row of qkv, and how many. */
    size_t at[3], n[3];
};

size_t delta_channels(const struct model *m)
{
    const struct model_delta *t = &m->t.delta;
    return 2 * (size_t)t->key_heads * (size_t)t->key_dim + (size_t)t->heads * (size_t)t->value_dim;
}

size_t delta_scratch_floats(const struct model *m)
{
    const struct model_delta *t = &m->t.delta;
    size_t dk = (size_t)t->key_dim, dv = (size_t)t->value_dim, width = (size_t)t->conv;
    return t->conv ? (size_t)CHUNK * (2 * dk + dv + 2) + width * (2 * dk + dv) + dv : 0;
}

static void lay_out(const struct model *m, float *base, struct delta_scratch *s)
{
    const struct model_delta *t = &m->t.delta;
    size_t dk = (size_t)t->key_dim, dv = (size_t)t->value_dim;
    s->x[0] = base;
    s->x[1] = s->x[0] + CHUNK * dk;
    s->x[2] = s->x[1] + CHUNK * dk;
    s->decay = s->x[2] + CHUNK * dv;
    s->beta = s->decay + CHUNK;
    s->row = s->beta + CHUNK;
    s->taps[0] = s->row + dv;
    s->taps[1] = s->taps[0] + (size_t)t->conv * dk;
    s->taps[2] = s->taps[1] + (size_t)t->conv * dk;
}

/* ---- the convolution ---- */

/* The input of token t of the stretch; those before it are remembered. */
static const float *input(const struct model_run *r, const struct head *h, ptrdiff_t t)
{
    ptrdiff_t width = r->m->t.delta.conv;
    if (t < 0)
        return h->old + (size_t)(t + width - 1) * delta_channels(r->m);
    return r->qkv + (h->st->first + (size_t)t) * r->qkv_stride;
}

/* A tap's weights side by side: [width][n] of part i. */
static void fill_taps(const struct model_run *r, const struct head *h, int i)
{
    size_t width = (size_t)r->m->t.delta.conv;
    for (size_t j = 0; j < width; j++)
        for (size_t c = 0; c < h->n[i]; c++)
            h->s.taps[i][j * h->n[i] + c] = h->d->conv[(h->at[i] + c) * width + j];
}

/* silu(sum over the taps, the oldest first) of part i of token t. */
static void convolve(const struct model_run *r, const struct head *h, size_t t, int i, float *out)
{
    size_t width = (size_t)r->m->t.delta.conv, n = h->n[i];
    memset(out, 0, n * sizeof *out);
    for (size_t j = 0; j < width; j++) {
        const float *x = input(r, h, (ptrdiff_t)(t + j) - (ptrdiff_t)(width - 1)) + h->at[i];
        const float *tap = h->s.taps[i] + j * n;
        for (size_t c = 0; c < n; c++)
            out[c] += x[c] * tap[c];
    }
    r->m->kern->silu_mul(out, NULL, n, out);
}

/* The last inputs become the next pass's remembered ones. */
static void keep_inputs(const struct model_run *r, const struct head *h, int i)
{
    ptrdiff_t width = r->m->t.delta.conv, count = (ptrdiff_t)h->st->count;
    size_t channels = delta_channels(r->m);
    for (ptrdiff_t j = 0; j < width - 1; j++)
        memcpy(h->next + (size_t)j * channels + h->at[i],
               input(r, h, count - (width - 1) + j) + h->at[i], h->n[i] * sizeof(float));
}

/* ---- the rule ---- */

/* x *= scale / sqrt(|x|^2 + eps), the square's sum in 16 lanes as in the kernels. */
static void normalise(float *x, size_t n, float eps, float scale)
{
    float lanes[16] = {0};
    for (size_t i = 0; i < n; i += 16)
        for (size_t j = 0; j < 16 && i + j < n; j++)
            lanes[j] += x[i + j] * x[i + j];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] += lanes[j + half];
    float s = 1.0f / sqrtf(lanes[0] + eps);
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] * s * scale;
}

static float softplus(float x)
{
    return x > 20.0f ? x : log1pf(expf(x));
}

/* Decay and learning rate of token t of the chunk. */
static void gates(const struct model_run *r, const struct head *h, size_t item, size_t t)
{
    const struct model_delta *m = &r->m->t.delta;
    size_t heads = (size_t)m->heads, group = heads / (size_t)m->key_heads;
    const float *row = r->delta_rates + item * r->rates_stride;
    float alpha = row[h->h], beta = row[heads + h->h];
    if (h->d->beta.w.rows == 0) {
        beta = row[h->key * 2 * group + h->h % group];
        alpha = row[h->key * 2 * group + group + h->h % group];
    }
    h->s.decay[t] = expf(softplus(alpha + h->d->dt[h->h]) * h->d->a[h->h]);
    h->s.beta[t] = 1.0f / (1.0f + expf(-beta));
}

/* rms_norm(out) * silu(gate) */
static void finish(const struct model_run *r, const struct head *h, size_t item, float *out)
{
    size_t dv = (size_t)r->m->t.delta.value_dim;
    const float *gate = r->delta_gate + item * r->gate_stride + h->h * dv;
    r->m->kern->rms_norm(out, h->d->norm, r->m->t.norm_eps, dv, h->s.row);
    r->m->kern->silu_mul(gate, h->s.row, dv, out);
}

static void run_chunk(const struct model_run *r, const struct head *h, float *state, size_t from,
                      size_t n)
{
    const struct model_delta *m = &r->m->t.delta;
    size_t dk = (size_t)m->key_dim, dv = (size_t)m->value_dim, first = h->st->first + from;
    float eps = r->m->t.norm_eps, *out = r->att + first * r->q_stride + h->h * dv;
    for (size_t t = 0; t < n; t++) {
        for (int i = 0; i < 3; i++)
            convolve(r, h, from + t, i, h->s.x[i] + t * h->n[i]);
        normalise(h->s.x[0] + t * dk, dk, eps, 1.0f / sqrtf((float)dk));
        normalise(h->s.x[1] + t * dk, dk, eps, 1.0f);
        gates(r, h, first + t, t);
    }
    r->m->kern->delta(&(struct kern_delta){.dk = dk,
                                           .dv = dv,
                                           .ntok = n,
                                           .state = state,
                                           .q = h->s.x[0],
                                           .k = h->s.x[1],
                                           .v = h->s.x[2],
                                           .qk_stride = dk,
                                           .v_stride = dv,
                                           .decay = h->s.decay,
                                           .beta = h->s.beta,
                                           .gate_stride = 1,
                                           .out = out,
                                           .v_out_stride = r->q_stride});
    for (size_t t = 0; t < n; t++)
        finish(r, h, first + t, out + t * r->q_stride);
}

/* Value head `index` of a stretch, all its tokens in order. */
static void run_head(struct model_run *r, int w, int layer, const struct stretch *st, size_t index)
{
    const struct model_delta *m = &r->m->t.delta;
    const struct delta *d = r->m->layers[layer].delta;
    size_t dk = (size_t)m->key_dim, dv = (size_t)m->value_dim, keys = (size_t)m->key_heads;
    size_t group = (size_t)m->heads / keys, key = d->grouped ? index / group : index % keys;
    struct head h = {.d = d,
                     .st = st,
                     .h = index,
                     .key = key,
                     .old = seq_state(st->seq, layer),
                     .next = seq_state_next(st->seq, layer),
                     .at = {key * dk, (keys + key) * dk, 2 * keys * dk + index * dv},
                     .n = {dk, dk, dv}};
    size_t at = state_conv_floats(r->m) + index * dk * dv;
    lay_out(r->m, r->workers[w].delta, &h.s);
    for (int i = 0; i < 3; i++)
        fill_taps(r, &h, i);
    memcpy(h.next + at, h.old + at, dk * dv * sizeof(float));
    for (size_t from = 0; from < st->count; from += CHUNK)
        run_chunk(r, &h, h.next + at, from, st->count - from < CHUNK ? st->count - from : CHUNK);
    /* Queries and keys are kept by the first of the value heads that share them. */
    bool keeper = d->grouped ? index % group == 0 : index < keys;
    for (int i = keeper ? 0 : 2; i < 3; i++)
        keep_inputs(r, &h, i);
}

/* ---- the block ---- */

static void project(struct model_run *r, int w, int workers, int layer)
{
    const struct delta *d = r->m->layers[layer].delta;
    const struct linear *const lin[] = {&d->qkv, &d->gate, &d->alpha, &d->beta};
    int n = d->beta.w.rows > 0 ? 4 : 3;
    size_t heads = (size_t)r->m->t.delta.heads;
    float *out[] = {r->qkv, r->delta_gate, r->delta_rates, r->delta_rates + heads};
    size_t stride[] = {r->qkv_stride, r->gate_stride, r->rates_stride, r->rates_stride};
    struct packed p;
    linear_pack(r, w, workers, r->x, r->x_stride, r->n, r->m->layers[layer].attn_norm, lin, n, &p);
    for (int i = 0; i < n; i++) {
        size_t r0, r1;
        pool_share(lin[i]->w.rows, KERN_ROW_GRAIN, w, workers, &r0, &r1);
        linear_rows(r, w, lin[i], &p, r->n, r0, r1, out[i], stride[i]);
    }
}

void delta_net(struct model_run *r, int w, int workers, int layer)
{
    uint64_t heads = (uint64_t)r->m->t.delta.heads, total = r->n * heads, base = 0;
    project(r, w, workers, layer);
    pool_barrier(r->pool);
    /* All heads of all sequences stand in one line, each as long as its tokens; a worker takes
     * those that begin in its equal part. */
    for (size_t i = 0; i < r->nstretches; i++) {
        const struct stretch *st = &r->stretches[i];
        for (uint64_t h = 0; h < heads; h++)
            if ((base + h * st->count) * (uint64_t)workers / total == (uint64_t)w)
                run_head(r, w, layer, st, (size_t)h);
        base += heads * st->count;
    }
    pool_barrier(r->pool);
}
