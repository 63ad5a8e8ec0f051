/* bench_rows.c: speeds of attention over a cache that lies in memory, of the delta rule and of what
 * works on single rows. */
#include "bench_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP 4
#define HEADS_MAX 256

struct attn_job {
    const struct kern *kern;
    struct kern_attn attn;
    size_t heads; /* KV heads, each with a cache of its own */
    const void **k_pages[HEADS_MAX], **v_pages[HEADS_MAX];
    char *scratch;
    size_t scratch_bytes;
};

static void attn_share(void *ctx, int worker, int workers)
{
    struct attn_job *j = ctx;
    size_t from, to;
    pool_share(j->heads, 1, worker, workers, &from, &to);
    for (size_t h = from; h < to; h++) {
        struct kern_attn a = j->attn;
        a.scratch = j->scratch + (size_t)worker * j->scratch_bytes;
        a.out += h * GROUP * a.head_dim;
        a.k_pages = j->k_pages[h];
        a.v_pages = j->v_pages[h];
        j->kern->attn(&a);
    }
}

/* The cache of some heads as the engine lays it: page by page, in it head by head, K and V. */
static uint8_t *make_cache(struct attn_job *j, size_t pages)
{
    size_t hd = j->attn.head_dim, row = type_row_bytes(j->attn.type, hd), part = KERN_PAGE * row;
    uint8_t *kv = bench_alloc(pages * j->heads * 2 * part);
    for (size_t i = 0; i < 2 * KERN_PAGE; i++) {
        float x[512];
        fill_floats(x, hd, FILL_NORMAL);
        j->kern->store(j->attn.type, x, hd, kv + i * row);
    }
    for (size_t i = 1; i < pages * j->heads; i++)
        memcpy(kv + i * 2 * part, kv, 2 * part);
    for (size_t h = 0; h < j->heads; h++) {
        j->k_pages[h] = bench_alloc(pages * sizeof(void *));
        j->v_pages[h] = bench_alloc(pages * sizeof(void *));
        for (size_t p = 0; p < pages; p++) {
            j->k_pages[h][p] = kv + (p * j->heads + h) * 2 * part;
            j->v_pages[h][p] = kv + (p * j->heads + h) * 2 * part + part;
        }
    }
    return kv;
}

static void bench_attn(const struct bench *b, enum kern_type type, size_t hd, size_t ntok,
                       size_t depth, float softcap)
{
    char name[64];
    snprintf(name, sizeof name, "attn %s hd %zu ntok %zu depth %zu%s", type_name(type), hd, ntok,
             depth, softcap > 0 ? " cap" : "");
    if (!bench_wants(b, name))
        return;
    size_t pages = (depth + KERN_PAGE - 1) / KERN_PAGE;
    size_t bytes = pages * KERN_PAGE * 2 * type_row_bytes(type, hd);
    struct attn_job *j = bench_alloc(sizeof *j);
    *j = (struct attn_job){.kern = b->kern};
    j->heads = ntok == 1 ? COLD_BYTES / 2 / bytes : (size_t)b->threads;
    j->heads = j->heads > HEADS_MAX ? HEADS_MAX : j->heads;
    int32_t *from = bench_alloc(ntok * 4), *to = bench_alloc(ntok * 4);
    for (size_t t = 0; t < ntok; t++) {
        from[t] = 0;
        to[t] = (int32_t)(depth - ntok + t + 1);
    }
    float *q = bench_alloc(ntok * GROUP * hd * 4);
    fill_floats(q, ntok * GROUP * hd, FILL_NORMAL);
    j->attn = (struct kern_attn){.type = type,
                                 .head_dim = hd,
                                 .group = GROUP,
                                 .ntok = ntok,
                                 .scale = 1 / sqrtf((float)hd),
                                 .softcap = softcap,
                                 .q = q,
                                 .q_stride = GROUP * hd,
                                 .from = from,
                                 .to = to,
                                 .out_stride = GROUP * hd * j->heads};
    uint8_t *kv = make_cache(j, pages);
    j->attn.out = bench_alloc(ntok * GROUP * hd * 4 * j->heads);
    j->scratch_bytes = (b->kern->attn_scratch(&j->attn) + 127) / 64 * 64;
    j->scratch = bench_alloc(j->scratch_bytes * (size_t)b->threads);
    struct bench_result r = bench_time(b, attn_share, j);
    double macs = 0;
    for (size_t t = 0; t < ntok; t++)
        macs += 2.0 * (double)to[t] * (double)(hd * GROUP * j->heads);
    bench_print(name, &r, ntok == 1 ? (double)(bytes * j->heads) : 0, macs);
    for (size_t h = 0; h < j->heads; h++)
        free(j->k_pages[h]), free(j->v_pages[h]);
    free(kv), free(from), free(to), free(q), free(j->attn.out), free(j->scratch), free(j);
}

static void delta_once(void *ctx, int worker, int workers)
{
    const struct bench *b = ((void **)ctx)[0];
    const struct kern_delta *d = ((void **)ctx)[1];
    (void)workers;
    if (worker == 0)
        b->kern->delta(d);
}

static void bench_delta(const struct bench *b)
{
    enum { DK = 128, DV = 128, NTOK = 64 };
    if (!bench_wants(b, "delta"))
        return;
    float *x = bench_alloc((size_t)NTOK * (DK + DV + DV + 2) * 4), *s = bench_alloc(DK * DV * 4);
    fill_floats(x, (size_t)NTOK * (DK + DV + DV + 2), FILL_NORMAL);
    memset(s, 0, DK * DV * 4);
    for (size_t i = 0; i < (size_t)NTOK * DK; i++)
        x[i] *= 0.05f;
    float *gates = x + (size_t)NTOK * (DK + DV + DV);
    for (size_t i = 0; i < 2 * NTOK; i++)
        gates[i] = 0.5f;
    struct kern_delta d = {.dk = DK, .dv = DV, .ntok = NTOK, .state = s};
    d.q = d.k = x;
    d.v = x + (size_t)NTOK * DK;
    d.out = x + (size_t)NTOK * (DK + DV);
    d.qk_stride = DK;
    d.v_stride = d.v_out_stride = DV;
    d.decay = gates;
    d.beta = gates + NTOK;
    d.gate_stride = 1;
    void *ctx[2] = {(void *)b, &d};
    struct bench_result r = bench_time(b, delta_once, ctx);
    bench_print("delta 128 x 128, 64 tokens", &r, 0, 3.0 * NTOK * DK * DV);
    free(x), free(s);
}

#define ROW 4096
#define ROWS_OF 64

struct row_job {
    const struct kern *kern;
    float *a, *b, *out;
    void (*call)(const struct row_job *j, float *a, float *out);
};

static void do_rms(const struct row_job *j, float *a, float *out)
{
    j->kern->rms_norm(a, j->b, 1e-5f, ROW, out);
}

static void do_layer(const struct row_job *j, float *a, float *out)
{
    j->kern->layer_norm(a, j->b, j->b, 1e-5f, ROW, out);
}

static void do_silu(const struct row_job *j, float *a, float *out)
{
    j->kern->silu_mul(a, j->b, ROW, out);
}

static void do_gelu(const struct row_job *j, float *a, float *out)
{
    j->kern->gelu_mul(a, j->b, ROW, out);
}

static void do_oai(const struct row_job *j, float *a, float *out)
{
    j->kern->swiglu_oai(a, j->b, 1.702f, 7.0f, ROW, out);
}

static void do_store_q8(const struct row_job *j, float *a, float *out)
{
    j->kern->store(KERN_Q8_0, a, ROW, out);
}

static void do_store_q4(const struct row_job *j, float *a, float *out)
{
    j->kern->store(KERN_Q4_0, a, ROW, out);
}

static void do_store_f16(const struct row_job *j, float *a, float *out)
{
    j->kern->store(KERN_F16, a, ROW, out);
}

static void rows_once(void *ctx, int worker, int workers)
{
    const struct row_job *j = ctx;
    (void)workers;
    for (size_t i = 0; worker == 0 && i < ROWS_OF; i++)
        j->call(j, j->a + i % 4 * ROW, j->out);
}

void bench_rows(const struct bench *b)
{
    static const struct {
        const char *name;
        void (*call)(const struct row_job *j, float *a, float *out);
    } ops[] = {{"rms_norm", do_rms},        {"layer_norm", do_layer},   {"silu_mul", do_silu},
               {"gelu_mul", do_gelu},       {"swiglu_oai", do_oai},     {"store q8_0", do_store_q8},
               {"store q4_0", do_store_q4}, {"store f16", do_store_f16}};
    static const enum kern_type types[] = {KERN_F16, KERN_Q8_0, KERN_Q4_0, KERN_F32};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t hd = 64; hd <= 128; hd *= 2)
            bench_attn(b, types[t], hd, 1, 4096, 0);
    bench_attn(b, KERN_F16, 128, 1, 4096, 50);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        bench_attn(b, types[t], 64, 64, 1024, 0);
    bench_delta(b);
    struct row_job j = {.kern = b->kern, .a = bench_alloc(4 * ROW * 4)};
    j.b = bench_alloc(ROW * 4);
    j.out = bench_alloc(ROW * 4);
    fill_floats(j.a, 4 * ROW, FILL_NORMAL);
    fill_floats(j.b, ROW, FILL_NORMAL);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        char name[64];
        j.call = ops[i].call;
        if (!bench_wants(b, ops[i].name))
            continue;
        struct bench_result r = bench_time(b, rows_once, &j);
        r.seconds /= ROWS_OF;
        snprintf(name, sizeof name, "%s of %d", ops[i].name, ROW);
        bench_print(name, &r, 0, 0);
    }
    free(j.a), free(j.b), free(j.out);
}
