/* check_data.c: random and adversarial data, guarded buffers and comparisons for checkkern. */
#include "check_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

unsigned long check_count, check_failures;

static uint64_t state = 1;

void rnd_seed(uint64_t seed)
{
    state = seed * 0x9e3779b97f4a7c15u + 1;
}

uint64_t rnd(void) /* splitmix64 */
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

size_t rnd_below(size_t n)
{
    return (size_t)(rnd() % n);
}

size_t rnd_range(size_t from, size_t to)
{
    return from + rnd_below(to - from + 1);
}

float rnd_float(void)
{
    float s = 0;
    for (int i = 0; i < 4; i++)
        s += (float)(rnd() >> 40) * 0x1p-24f - 0.5f;
    return s * 1.7f;
}

void rnd_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)(rnd() >> 24);
}

static float odd_float(void)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    return odd[rnd_below(3)];
}

void fill_floats(float *x, size_t n, enum fill kind)
{
    for (size_t i = 0; i < n; i++) {
        float f = rnd_float();
        switch (kind) {
        case FILL_ZERO: f = rnd_below(2) ? 0.0f : -0.0f; break;
        case FILL_MINUS_MAX: f = -3.25f; break;
        case FILL_ENDS: f = rnd_below(2) ? 3.25f : -3.25f; break;
        case FILL_SPIKE: f *= 1e-3f; break;
        case FILL_HUGE: f *= 1e37f; break;
        case FILL_TINY: f *= rnd_below(2) ? 1e-31f : 1e-40f; break;
        case FILL_TIES: f = ((float)rnd_below(255) - 127.0f) * 0.5f; break;
        default: break;
        }
        x[i] = f;
    }
    if (n == 0)
        return;
    if (kind == FILL_SPIKE)
        x[rnd_below(n)] = rnd_below(2) ? 1e4f : -1e4f;
    if (kind == FILL_TIES)
        x[rnd_below(n)] = 127.0f;
    if (kind == FILL_ODD)
        x[rnd_below(n)] = odd_float();
}

/* ---- guarded buffers ---- */
#define GUARDS 64
#define CANARY 0xa5

static struct guard {
    uint8_t *map;
    size_t map_bytes;
    uint8_t *begin, *end, *limit; /* limit: where the page behind starts */
} guards[GUARDS];
static size_t guards_used;

void *guard_new(size_t bytes, size_t align)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = (bytes + align + page - 1) / page * page;
    if (guards_used == GUARDS) {
        fprintf(stderr, "checkkern: more than %d buffers in one case\n", GUARDS);
        exit(1);
    }
    struct guard *g = &guards[guards_used++];
    g->map_bytes = body + 2 * page;
    g->map = mmap(NULL, g->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->map == MAP_FAILED || mprotect(g->map + page, body, PROT_READ | PROT_WRITE)) {
        perror("checkkern: mmap");
        exit(1);
    }
    g->limit = g->map + page + body;
    g->begin = g->limit - (bytes + align - 1) / align * align;
    g->end = g->begin + bytes;
    memset(g->map + page, CANARY, body);
    return g->begin;
}

void guard_free_all(const char *what)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < guards_used; i++) {
        struct guard *g = &guards[i];
        bool clean = true;
        for (uint8_t *p = g->map + page; p < g->begin; p++)
            clean = clean && *p == CANARY;
        for (uint8_t *p = g->end; p < g->limit; p++)
            clean = clean && *p == CANARY;
        if (!clean)
            check_true(what, false);
        munmap(g->map, g->map_bytes);
    }
    guards_used = 0;
}

/* ---- comparing ---- */
static bool same(float a, float b)
{
    return !memcmp(&a, &b, sizeof a) || (isnan(a) && isnan(b));
}

bool check_floats(const char *what, const float *want, const float *got, size_t n)
{
    check_count++;
    for (size_t i = 0; i < n; i++)
        if (!same(want[i], got[i])) {
            check_failures++;
            printf("FAILED %s: element %zu of %zu is %a, C gives %a\n", what, i, n, got[i],
                   want[i]);
            return false;
        }
    return true;
}

bool check_bytes(const char *what, const void *want, const void *got, size_t n)
{
    check_count++;
    for (size_t i = 0; i < n; i++)
        if (((const uint8_t *)want)[i] != ((const uint8_t *)got)[i]) {
            check_failures++;
            printf("FAILED %s: byte %zu of %zu differs\n", what, i, n);
            return false;
        }
    return true;
}

void check_true(const char *what, bool ok)
{
    check_count++;
    if (ok)
        return;
    check_failures++;
    printf("FAILED %s\n", what);
}
