/* arena.c: a chain of blocks, bump-allocated. */
#include "arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_MIN ((size_t)1024 - 64)
#define BLOCK_MAX ((size_t)1 << 20)
#define ALIGN ((size_t)16)

struct block {
    struct block *next;
    size_t size, used;
    _Alignas(16) unsigned char data[];
};

struct arena {
    struct block *head; /* the block being filled */
    size_t used, max;
    size_t next; /* size of the next block for small things; doubles */
};

static struct block *block_new(size_t size)
{
    struct block *b = malloc(sizeof *b + size);
    if (!b)
        return NULL;
    b->next = NULL;
    b->size = size;
    b->used = 0;
    return b;
}

struct arena *arena_new(size_t max_bytes)
{
    struct arena *a = malloc(sizeof *a);
    if (!a)
        return NULL;
    a->head = NULL;
    a->used = 0;
    a->max = max_bytes;
    a->next = BLOCK_MIN;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->head; b;) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
    free(a);
}

void arena_clear(struct arena *a)
{
    struct block *b = a->head;
    while (b && b->next) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
    a->head = b;
    if (b)
        b->used = 0;
    a->used = 0;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}

/* The next block to be filled: twice the last one. */
static struct block *add_block(struct arena *a)
{
    struct block *b = block_new(a->next);
    if (!b)
        return NULL;
    if (a->next < BLOCK_MAX)
        a->next *= 2;
    b->next = a->head;
    a->head = b;
    return b;
}

/* A block of just this size, behind the one being filled: one large thing neither wastes that one's
 * rest nor makes the next ones large. */
static struct block *add_large(struct arena *a, size_t need)
{
    struct block *b = block_new(need);
    if (!b)
        return NULL;
    struct block **at = a->head ? &a->head->next : &a->head;
    b->next = *at;
    *at = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > a->max || n > SIZE_MAX - ALIGN)
        return NULL;
    size_t need = (n + ALIGN - 1) & ~(ALIGN - 1);
    if (need == 0)
        need = ALIGN;
    if (need > a->max - a->used)
        return NULL;
    struct block *b = a->head;
    if (!b || b->size - b->used < need)
        b = need > a->next ? add_large(a, need) : add_block(a);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += need;
    a->used += need;
    memset(p, 0, need);
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return arena_alloc(a, total);
}

char *arena_strz(struct arena *a, struct str s)
{
    if (s.n == SIZE_MAX)
        return NULL;
    char *p = arena_alloc(a, s.n + 1);
    if (p && s.n)
        memcpy(p, s.p, s.n);
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = arena_strz(a, s);
    return p ? str_n(p, s.n) : STR_NONE;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return p;
}
