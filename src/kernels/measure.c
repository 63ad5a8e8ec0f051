/* measure.c: the machine's limits, measured now: how fast it reads memory and how many int8
 * multiply-adds it does in registers. Speeds of the kernels are given as shares of these. Called by
 * bench and fit; it starts threads of its own and is no part of computing. */
#include "kern_int.h"
#include "clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES_MIN ((size_t)256 << 20)
#define READ_BYTES_MAX ((size_t)1 << 30)
#define THREADS_MAX 256
#define INT8_ROUNDS 20000

struct worker {
    pthread_t thread;
    const atomic_bool *go;
    const uint64_t *words; /* this thread's share of the buffer; NULL: measure registers */
    size_t count;
    kern_int8_loop *loop;
    uint64_t length_ns;
    double speed;  /* bytes or multiply-adds a second */
    uint64_t sink; /* keeps the reads from being thrown away */
};

static uint64_t read_words(const uint64_t *p, size_t count)
{
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i + 8 <= count; i += 8) {
        a += p[i] ^ p[i + 1];
        b += p[i + 2] ^ p[i + 3];
        c += p[i + 4] ^ p[i + 5];
        d += p[i + 6] ^ p[i + 7];
    }
    return a + b + c + d;
}

static uint64_t work_once(struct worker *w)
{
    if (!w->words)
        return w->loop(INT8_ROUNDS);
    w->sink += read_words(w->words, w->count);
    return w->count * sizeof *w->words;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(w->go))
        sched_yield();
    uint64_t begin = clock_mono_ns(), now, done = 0;
    do {
        done += work_once(w);
        now = clock_mono_ns();
    } while (now - begin < w->length_ns);
    w->speed = (double)done * 1e9 / (double)(now - begin);
    return NULL;
}

/* Runs like `model` on all threads at once and adds up their speeds; a thread that cannot be
 * started adds nothing. Thread i reads the i-th part of model->words. */
static double run(const struct worker *model, int threads)
{
    struct worker w[THREADS_MAX];
    atomic_bool go = false;
    int started = 0;
    for (int i = 0; i < threads; i++) {
        w[i] = *model;
        w[i].go = &go;
        w[i].words = model->words ? model->words + model->count * (size_t)i : NULL;
        if (pthread_create(&w[i].thread, NULL, work, &w[i]))
            break;
        started++;
    }
    atomic_store(&go, true);
    double speed = 0;
    for (int i = 0; i < started; i++) {
        pthread_join(w[i].thread, NULL);
        speed += w[i].speed;
    }
    return speed;
}

static size_t buffer_bytes(void)
{
    long l3 = -1;
#ifdef _SC_LEVEL3_CACHE_SIZE
    l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    size_t want = l3 > 0 ? (size_t)l3 * 4 : 0;
    want = want < READ_BYTES_MIN ? READ_BYTES_MIN : want;
    return want > READ_BYTES_MAX ? READ_BYTES_MAX : want;
}

static int clamp_threads(int threads)
{
    threads = threads < 1 ? 1 : threads;
    return threads > THREADS_MAX ? THREADS_MAX : threads;
}

double kern_measure_read(int threads, int ms)
{
    threads = clamp_threads(threads);
    size_t bytes = buffer_bytes();
    uint64_t *words = malloc(bytes);
    if (!words)
        return 0;
    memset(words, 1, bytes); /* pages that were never written are all one page */
    struct worker w = {.words = words, .length_ns = (uint64_t)(ms < 1 ? 1 : ms) * 1000000};
    w.count = bytes / sizeof *words / (size_t)threads / 8 * 8;
    double speed = run(&w, threads);
    free(words);
    return speed;
}

double kern_measure_int8(int threads, int ms)
{
    struct worker w = {.loop = kern_int8_best(),
                       .length_ns = (uint64_t)(ms < 1 ? 1 : ms) * 1000000};
    return run(&w, clamp_threads(threads));
}
