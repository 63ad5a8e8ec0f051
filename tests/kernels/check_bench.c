/* check_bench.c: speeds of a set beside the machine's limits, measured in turns: matrix products by
 * format, width and number of columns (bench_rows.c has the rest). For n up to 8 the weights are
 * far larger than the caches, as in decoding; above, they are a part of one layer's. */
#include "bench_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOT_ROWS 768
#define HOT_TIMES 32
#define READ_WORDS ((size_t)6 << 20) /* of 8 bytes, in one sample */
#define SAMPLES 14
#define BUDGET_NS 900000000u

void *bench_alloc(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "checkkern: out of memory\n");
        exit(1);
    }
    return p;
}

bool bench_wants(const struct bench *b, const char *name)
{
    return !b->only || strstr(name, b->only);
}

/* With one thread its own processor time, so that who else runs here does not count; with more the
 * wall clock. */
static uint64_t now_ns(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t read_sink;

static void read_share(void *ctx, int worker, int workers)
{
    const uint64_t *p = ctx;
    size_t from, to;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    pool_share(READ_WORDS, 8, worker, workers, &from, &to);
    for (size_t i = from; i < to; i += 8) {
        a += p[i] ^ p[i + 1];
        b += p[i + 2] ^ p[i + 3];
        c += p[i + 4] ^ p[i + 5];
        d += p[i + 6] ^ p[i + 7];
    }
    __atomic_fetch_add(&read_sink, a + b + c + d, __ATOMIC_RELAXED);
}

static double time_once(const struct bench *b, pool_fn *fn, void *ctx)
{
    uint64_t begin = now_ns(b->threads);
    pool_run(b->pool, fn, ctx);
    return (double)(now_ns(b->threads) - begin) * 1e-9;
}

struct bench_result bench_time(const struct bench *b, pool_fn *fn, void *ctx)
{
    struct bench_result r = {.seconds = 1e9};
    uint64_t begin = now_ns(b->threads);
    size_t parts = COLD_BYTES / sizeof *b->cold / READ_WORDS;
    time_once(b, fn, ctx);
    for (size_t i = 0; i < SAMPLES && (i < 2 || now_ns(b->threads) - begin < BUDGET_NS); i++) {
        double t = time_once(b, fn, ctx);
        r.seconds = t < r.seconds ? t : r.seconds;
        double read = READ_WORDS * 8 / time_once(b, read_share, b->cold + i % parts * READ_WORDS);
        r.read = read > r.read ? read : r.read;
        double int8 = kern_measure_int8(b->threads, 1);
        r.int8 = int8 > r.int8 ? int8 : r.int8;
    }
    return r;
}

void bench_print(const char *name, const struct bench_result *r, double bytes, double macs)
{
    printf("  %-30s %9.1f us", name, r->seconds * 1e6);
    if (bytes > 0)
        printf("  %6.1f GB/s %4.0f%% of reading", bytes / r->seconds * 1e-9,
               100 * bytes / r->seconds / r->read);
    if (macs > 0)
        printf("  %7.1f GMAC/s %4.0f%% of int8", macs / r->seconds * 1e-9,
               100 * macs / r->seconds / r->int8);
    printf("\n");
}

struct mul_job {
    const struct kern *kern;
    struct kern_mul mul;
    const float *x;
    char *scratch;
    size_t scratch_bytes; /* for each worker */
    int times;
};

static void mul_share(void *ctx, int worker, int workers)
{
    struct mul_job *j = ctx;
    struct kern_mul m = j->mul;
    pool_share(m.w->rows, KERN_ROW_GRAIN, worker, workers, &m.r0, &m.r1);
    m.scratch = j->scratch + (size_t)worker * j->scratch_bytes;
    for (int i = 0; m.r0 < m.r1 && i < j->times; i++)
        j->kern->mul(&m);
}

static void pack_share(void *ctx, int worker, int workers)
{
    struct mul_job *j = ctx;
    size_t c0, c1, k = j->mul.w->k;
    pool_share(j->mul.n, 16, worker, workers, &c0, &c1);
    if (c0 < c1)
        j->kern->act_pack(j->mul.w->type, j->x, k, j->mul.n, k, c0, c1, (void *)j->mul.act);
}

static void bench_mul(const struct bench *b, enum kern_type type, size_t k, size_t n)
{
    char name[64];
    size_t row = type_row_bytes(type, k), rows = n <= 8 && !b->hot ? COLD_BYTES / row / 16 * 16
                                                 : b->hot          ? 192
                                                                   : HOT_ROWS;
    snprintf(name, sizeof name, "%s k %zu n %zu", type_name(type), k, n);
    if (!bench_wants(b, name))
        return;
    void *data = bench_alloc(rows * row);
    fill_plain_weights(data, type, 16, k, row);
    for (size_t r = 16; r < rows; r += 16)
        memcpy((char *)data + r * row, data, 16 * row);
    struct kern_mat w = {.type = type, .data = data, .rows = rows, .k = k, .stride = row};
    float *x = bench_alloc(n * k * 4);
    fill_floats(x, n * k, FILL_NORMAL);
    void *act = bench_alloc(b->kern->act_bytes(type, n, k));
    struct mul_job j = {
        .kern = b->kern, .mul = {.w = &w, .act = act, .n = n, .out_stride = rows}, .x = x};
    j.mul.out = bench_alloc(n * rows * 4);
    j.scratch_bytes = (b->kern->mul_scratch(type, n, k) + 127) / 64 * 64;
    j.scratch = bench_alloc(j.scratch_bytes * (size_t)b->threads);
    struct bench_result pack = bench_time(b, pack_share, &j);
    j.times = b->hot ? HOT_TIMES : 1;
    struct bench_result mul = bench_time(b, mul_share, &j);
    mul.seconds /= j.times;
    bench_print(name, &mul, n <= 8 ? (double)(rows * row) : 0, (double)(rows * k * n));
    snprintf(name, sizeof name, "  packing of %zu floats", n * k);
    bench_print(name, &pack, 0, 0);
    free(data), free(x), free(act), free(j.mul.out), free(j.scratch);
}

void check_bench(const struct kern *kern, int threads, const char *only, size_t n, bool hot)
{
    static const size_t widths[] = {2048, 8192}, columns[] = {1, 512};
    struct bench b = {.kern = kern, .threads = threads, .only = only, .n = n, .hot = hot};
    struct err e;
    if (pool_new(threads, &b.pool, &e)) {
        fprintf(stderr, "checkkern: %s\n", err_msg(&e));
        exit(1);
    }
    b.cold = bench_alloc(COLD_BYTES);
    memset(b.cold, 1, COLD_BYTES);
    printf("%s, %d threads: memory %.1f GB/s, int8 peak %.0f GMAC/s (of the widest set that "
           "WEIR_CPU allows)\n",
           kern->name, threads, kern_measure_read(threads, 50) * 1e-9,
           kern_measure_int8(threads, 50) * 1e-9);
    for (size_t t = 0; t < TYPES; t++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (size_t i = 0; i < (n ? 1 : sizeof columns / sizeof *columns); i++)
                bench_mul(&b, all_types[t], widths[w], n ? n : columns[i]);
    bench_rows(&b);
    pool_free(b.pool);
    free(b.cold);
}
