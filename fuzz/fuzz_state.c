/* fuzz_state.c: any bytes as a file of saved state. The first byte picks a model and whether the
 * rest is a file as it is, or the lists of one whose head and sums are made right, so that what
 * stands behind the checksums is reached. What is taken in is stepped, shared and cut. */
#include "hash.h"
#include "model.h"
#include "tiny_hybrid.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define POSITIONS 512

static const struct hybrid shapes[] = {
    {.layers = 2}, {.layers = 2, .window = 40, .period = 2}, {.layers = 2, .delta = true}};

struct bench {
    struct model *m;
    struct model_kv *kv;
    struct model_run *run;
    int32_t sample[POSITIONS]; /* tokens of a real file */
    uint8_t head[64];          /* of a real file */
};

static struct pool *pool;
static volatile float sink;
static int file = -1; /* in memory, by the name below */
static char path[64];

static void step(struct bench *b, struct model_seq *s)
{
    struct model_item items[8];
    const float *l = NULL;
    struct err e;
    for (int i = 0; i < 8; i++)
        items[i] = (struct model_item){s, i, i == 7};
    if (model_seq_reserve(s, model_seq_len(s) + 8, &e) != 0)
        return;
    if (model_forward(b->run, items, 8, NULL, &l, &e) != 0)
        abort();
    sink = l[0];
}

static void set_file(const void *p, size_t n)
{
    if (ftruncate(file, 0) != 0 || pwrite(file, p, n, 0) != (ssize_t)n)
        abort();
}

/* A file's head as this build writes it. */
static void learn_head(struct bench *b)
{
    struct model_seq *s = NULL;
    struct err e;
    char name[256];
    tiny_path("fuzz-state-head", name);
    if (model_seq_new(b->kv, POSITIONS, &s, &e) != 0)
        abort();
    step(b, s);
    if (model_seq_save(s, b->sample, name, &e) != 0)
        abort();
    FILE *f = fopen(name, "rb");
    if (!f || fread(b->head, 1, sizeof b->head, f) != sizeof b->head)
        abort();
    fclose(f);
    unlink(name);
    model_seq_free(s);
}

static struct bench *bench_of(int i)
{
    static struct bench all[3];
    struct bench *b = &all[i];
    struct err e;
    char name[256];
    if (!pool && pool_new(1, &pool, &e) != 0)
        abort();
    if (file < 0) {
        file = memfd_create("state", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    if (b->m)
        return b;
    tiny_path("fuzz-state", name);
    if (file < 0 || hybrid_write(&shapes[i], name) != 0 || model_open_path(name, &b->m, &e) != 0)
        abort();
    unlink(name);
    uint64_t bytes = 4 * model_kv_need(b->m, MODEL_CACHE_Q4_0, POSITIONS, MODEL_SLICE) +
                     16 * model_kv_snapshot_bytes(b->m, MODEL_CACHE_Q4_0);
    if (model_kv_new(b->m, bytes, MODEL_CACHE_Q4_0, &b->kv, &e) != 0 ||
        model_run_new(b->m, pool, 8, 8, &b->run, &e) != 0)
        abort();
    learn_head(b);
    return b;
}

/* len, nwindow, nsnaps as bytes and 16 bits, then the lists, a byte or two a number; zeros for what
 * is missing. */
static size_t make_file(const struct bench *b, const uint8_t *p, size_t n, uint8_t *out, size_t max)
{
    int32_t count[3] = {n > 1 ? p[0] | p[1] << 8 : 1, n > 2 ? p[2] : 0, n > 3 ? p[3] % 16 : 0};
    uint64_t unit[3], sum;
    memcpy(out, b->head, 64);
    memcpy(out + 20, count, sizeof count);
    memcpy(unit, out + 40, sizeof unit);
    size_t at = 64, in = 4;
    for (int list = 0; list < 3; list++)
        for (int32_t i = 0; i < count[list]; i++, at += 4) {
            int32_t v = in < n ? p[in++] : list == 0 ? 1 : i;
            if (list == 2 && in < n)
                v |= p[in++] << 8;
            if (at + 16 > max)
                return 0;
            memcpy(out + at, &v, sizeof v);
        }
    uint64_t n_of[3] = {unit[0] ? ((uint64_t)count[0] + 63) / 64 : 0, (uint64_t)count[1],
                        unit[2] ? 1 + (uint64_t)count[2] : 0};
    uint64_t nunits = n_of[0] + n_of[1] + n_of[2], bytes = 0, number = 0;
    for (int c = 0; c < 3; c++)
        bytes += n_of[c] * unit[c];
    uint8_t *sums = out + at, *units = sums + 8 * (nunits + 1);
    if (at + 8 * (nunits + 1) + bytes > max)
        return 0;
    memset(units, 0x11, bytes);
    for (int c = 0; c < 3; c++)
        for (uint64_t i = 0; i < n_of[c]; i++, number++) {
            sum = hash_of(units, unit[c], number);
            memcpy(sums + 8 * number, &sum, sizeof sum);
        }
    sum = hash_of(out, at + 8 * nunits, 0);
    memcpy(sums + 8 * nunits, &sum, sizeof sum);
    return at + 8 * (nunits + 1) + bytes;
}

/* As much of the beginning as can be had. */
static void use_part(struct bench *b, const struct model_saved *f, int32_t positions)
{
    struct model_seq *s = NULL;
    struct err e;
    int32_t to = model_saved_reach(f, positions);
    if (to > positions || (to < model_saved_len(f) && model_saved_reach(f, to) != to))
        abort();
    if (to == 0)
        return;
    if (model_seq_new(b->kv, POSITIONS, &s, &e) != 0)
        abort();
    if (model_saved_reserve(f, to, s, &e) == 0 && model_saved_read(f, s, NULL, &e) == 0) {
        step(b, s);
        model_seq_cut(s, to / 2);
        step(b, s);
    }
    model_seq_free(s);
}

static void use(struct bench *b, struct model_saved *f)
{
    struct model_seq *s = NULL, *t = NULL;
    struct err e;
    int32_t reached = 0, len = model_saved_len(f);
    if (model_seq_new(b->kv, POSITIONS, &s, &e) != 0 ||
        model_seq_new(b->kv, POSITIONS, &t, &e) != 0)
        abort();
    if (model_saved_reserve(f, len, s, &e) == 0 && model_saved_read(f, s, NULL, &e) == 0) {
        step(b, s);
        if (model_seq_share(t, s, len / 2, &reached, &e) == 0)
            step(b, t);
        model_seq_cut(s, len / 3 * 2);
        step(b, s);
        if (model_seq_snapshot(s, model_seq_len(s), &e) == 0)
            step(b, s);
    }
    use_part(b, f, len - len / 3);
    use_part(b, f, len / 2);
    model_seq_free(s);
    model_seq_free(t);
    if (model_kv_used(b->kv) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t made[1 << 20];
    struct model_saved *f = NULL;
    struct err e;
    if (size < 1)
        return 0;
    struct bench *b = bench_of(data[0] % 3);
    if (data[0] & 0x80) {
        set_file(data + 1, size - 1);
    } else {
        size_t n = make_file(b, data + 1, size - 1, made, sizeof made);
        if (n == 0)
            return 0;
        set_file(made, n);
    }
    if (model_saved_open(b->kv, path, &f, &e) == 0)
        use(b, f);
    model_saved_close(f);
    return 0;
}
