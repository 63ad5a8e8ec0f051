/* check_bench.c: speeds of a set beside the machine's limits, measured in the same run: matrix
 * products by format, width and number of columns, and attention. For n up to 8 the weights are far
 * larger than the caches, as in decoding; above, they are one layer's. */
#include "check_int.h"
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLD_BYTES ((size_t)128 << 20)
#define HOT_ROWS 1536
#define MEASURE_MS 150

struct job {
    const struct kern *kern;
    struct kern_mul mul;
    struct kern_attn attn;
    char *scratch;
    size_t scratch_bytes; /* for each worker */
};

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "checkkern: out of memory\n");
        exit(1);
    }
    return p;
}

static void mul_share(void *ctx, int worker, int workers)
{
    struct job *j = ctx;
    struct kern_mul m = j->mul;
    pool_share(m.w->rows, KERN_ROW_GRAIN, worker, workers, &m.r0, &m.r1);
    m.scratch = j->scratch + (size_t)worker * j->scratch_bytes;
    if (m.r0 < m.r1)
        j->kern->mul(&m);
}

static void attn_share(void *ctx, int worker, int workers)
{
    struct job *j = ctx;
    struct kern_attn a = j->attn;
    a.scratch = j->scratch + (size_t)worker * j->scratch_bytes;
    a.out += (size_t)worker * a.out_stride * a.ntok;
    j->kern->attn(&a);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* With one thread its own processor time, so that who else runs here does not count; with more the
 * wall clock, as for the limits. */
static uint64_t now_ns(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The median time of several runs, in seconds. */
static double time_job(struct pool *pool, pool_fn *fn, struct job *j)
{
    int threads = pool_threads(pool);
    double t[9];
    pool_run(pool, fn, j);
    uint64_t spent = 0;
    size_t n = 0;
    while (n < 9 && (n < 3 || spent < (uint64_t)MEASURE_MS * 1000000)) {
        uint64_t begin = now_ns(threads);
        pool_run(pool, fn, j);
        uint64_t ns = now_ns(threads) - begin;
        spent += ns;
        t[n++] = (double)ns * 1e-9;
    }
    qsort(t, n, sizeof *t, by_value);
    return t[n / 2];
}

static void bench_mul(const struct kern *kern, struct pool *pool, enum kern_type type, size_t k,
                      size_t n)
{
    size_t row = type_row_bytes(type, k);
    size_t rows = n <= 8 ? COLD_BYTES / row / 16 * 16 : HOT_ROWS;
    void *data = aligned(rows * row);
    fill_plain_weights(data, type, 16, k, row);
    for (size_t r = 16; r < rows; r += 16)
        memcpy((char *)data + r * row, data, 16 * row);
    struct kern_mat w = {.type = type, .data = data, .rows = rows, .k = k, .stride = row};
    float *x = aligned(n * k * 4);
    fill_floats(x, n * k, FILL_NORMAL);
    void *act = aligned(kern->act_bytes(type, n, k));
    struct job j = {.kern = kern, .mul = {.w = &w, .act = act, .n = n, .out_stride = rows}};
    j.mul.out = aligned(n * rows * 4);
    j.scratch_bytes = (kern->mul_scratch(type, n, k) + 127) / 64 * 64;
    j.scratch = aligned(j.scratch_bytes * (size_t)pool_threads(pool));

    kern->act_pack(type, x, k, n, k, 0, n, act);
    uint64_t begin = now_ns(1);
    kern->act_pack(type, x, k, n, k, 0, n, act);
    double pack_us = (double)(now_ns(1) - begin) * 1e-3;
    double t = time_job(pool, mul_share, &j);
    printf("  %-5s k %5zu n %4zu %8.1f GB/s %8.1f GMAC/s   pack %.0f us\n", type_name(type), k, n,
           (double)(rows * row) / t * 1e-9, (double)(rows * k * n) / t * 1e-9, pack_us);
    free(data), free(x), free(act), free(j.mul.out), free(j.scratch);
}

/* Every worker attends for one KV head of its own; the pages are shared. */
static void bench_attn(const struct kern *kern, struct pool *pool, size_t ntok, size_t depth)
{
    enum { HEAD = 64, GROUP = 3 };
    size_t pages = (depth + KERN_PAGE - 1) / KERN_PAGE;
    int threads = pool_threads(pool);
    uint16_t *kv = aligned(2 * pages * KERN_PAGE * HEAD * 2);
    const void **k_pages = aligned(pages * sizeof *k_pages);
    const void **v_pages = aligned(pages * sizeof *v_pages);
    for (size_t i = 0; i < 2 * pages * KERN_PAGE * HEAD; i++) {
        float f = rnd_float();
        kern->to_f16(&f, 1, &kv[i]);
    }
    for (size_t p = 0; p < pages; p++) {
        k_pages[p] = kv + 2 * p * KERN_PAGE * HEAD;
        v_pages[p] = kv + (2 * p + 1) * KERN_PAGE * HEAD;
    }
    int32_t *from = aligned(ntok * 4), *to = aligned(ntok * 4);
    for (size_t t = 0; t < ntok; t++) {
        from[t] = 0;
        to[t] = (int32_t)(depth - ntok + t + 1);
    }
    float *q = aligned(ntok * GROUP * HEAD * 4);
    fill_floats(q, ntok * GROUP * HEAD, FILL_NORMAL);
    struct job j = {.kern = kern,
                    .attn = {.type = KERN_F16,
                             .head_dim = HEAD,
                             .group = GROUP,
                             .ntok = ntok,
                             .scale = 0.125f,
                             .k_pages = k_pages,
                             .v_pages = v_pages,
                             .q = q,
                             .q_stride = GROUP * HEAD,
                             .from = from,
                             .to = to,
                             .out_stride = GROUP * HEAD}};
    j.attn.out = aligned(ntok * GROUP * HEAD * 4 * (size_t)threads);
    j.scratch_bytes = (kern->attn_scratch(&j.attn) + 127) / 64 * 64;
    j.scratch = aligned(j.scratch_bytes * (size_t)threads);
    double t = time_job(pool, attn_share, &j);
    double macs = 0;
    for (size_t i = 0; i < ntok; i++)
        macs += 2.0 * (double)to[i] * HEAD * GROUP * threads;
    printf("  attn  f16 depth %5zu ntok %4zu %8.2f us %8.1f GMAC/s\n", depth, ntok, t * 1e6,
           macs / t * 1e-9);
    free(kv), free(k_pages), free(v_pages), free(from), free(to), free(q);
    free(j.attn.out), free(j.scratch);
}

void check_bench(const struct kern *kern, int threads)
{
    static const enum kern_type types[] = {KERN_Q4_1, KERN_Q8_0, KERN_F16, KERN_F32};
    static const size_t widths[] = {576, 1536, 4096}, columns[] = {1, 2, 4, 8, 128, 512};
    bool slow = !strcmp(kern->name, "c");
    struct pool *pool;
    struct err e;
    if (pool_new(threads, &pool, &e)) {
        fprintf(stderr, "checkkern: %s\n", err_msg(&e));
        exit(1);
    }
    printf("%s, %d threads: memory %.1f GB/s, int8 peak %.0f GMAC/s (of the widest set)\n",
           kern->name, threads, kern_measure_read(threads, 300) * 1e-9,
           kern_measure_int8(threads, 200) * 1e-9);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t w = 0; w < (slow ? 1 : sizeof widths / sizeof *widths); w++)
            for (size_t n = 0; n < (slow ? 1 : sizeof columns / sizeof *columns); n++)
                bench_mul(kern, pool, types[t], widths[w], columns[n]);
    bench_attn(kern, pool, 1, 512);
    bench_attn(kern, pool, 1, 4096);
    bench_attn(kern, pool, slow ? 16 : 512, 512);
    pool_free(pool);
}
