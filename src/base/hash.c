/* hash.c: see hash.h. */
#include "hash.h"

#include <string.h>

#define ODD 0x9e3779b97f4a7c15u

static uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static uint64_t word(const unsigned char *p)
{
    uint64_t w = 0;
    for (int i = 7; i >= 0; i--)
        w = w << 8 | p[i];
    return w;
}

static uint64_t step(uint64_t lane, uint64_t w)
{
    return rotl(lane ^ w, 29) * ODD;
}

static void block(struct hash *h, const unsigned char *p)
{
    for (int i = 0; i < 4; i++)
        h->lane[i] = step(h->lane[i], word(p + 8 * i));
}

void hash_init(struct hash *h, uint64_t seed)
{
    *h = (struct hash){.total = 0};
    for (uint64_t i = 0; i < 4; i++)
        h->lane[i] = (seed + i + 1) * ODD;
}

void hash_add(struct hash *h, const void *p, size_t n)
{
    const unsigned char *at = p;
    h->total += n;
    if (h->ntail > 0 || n < sizeof h->tail) {
        size_t part = sizeof h->tail - h->ntail < n ? sizeof h->tail - h->ntail : n;
        if (part > 0)
            memcpy(h->tail + h->ntail, at, part);
        h->ntail += part;
        at += part;
        n -= part;
        if (h->ntail < sizeof h->tail)
            return;
        block(h, h->tail);
        h->ntail = 0;
    }
    for (; n >= sizeof h->tail; at += sizeof h->tail, n -= sizeof h->tail)
        block(h, at);
    if (n > 0)
        memcpy(h->tail, at, n);
    h->ntail = n;
}

uint64_t hash_end(const struct hash *h)
{
    struct hash last = *h;
    memset(last.tail + last.ntail, 0, sizeof last.tail - last.ntail);
    block(&last, last.tail);
    uint64_t v = last.total * ODD;
    for (int i = 0; i < 4; i++)
        v = step(rotl(v, 17), last.lane[i]);
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93u;
    return v ^ v >> 29;
}

uint64_t hash_of(const void *p, size_t n, uint64_t seed)
{
    struct hash h;
    hash_init(&h, seed);
    hash_add(&h, p, n);
    return hash_end(&h);
}
