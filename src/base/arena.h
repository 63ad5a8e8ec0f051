/* arena.h: memory that is freed all at once. A request is an arena: decode, labels, plan and
 * replies live in it and go with it. Every arena has a maximum; past it an allocation returns NULL,
 * which callers report as ERR_NOMEM. Not thread-safe: an arena has one owner at a time and moves
 * with its request. */
#ifndef WEIR_ARENA_H
#define WEIR_ARENA_H

#include "str.h"

#include <stdarg.h>
#include <stddef.h>

struct arena;

struct arena *arena_new(size_t max_bytes); /* NULL when out of memory */
void arena_free(struct arena *a);          /* NULL is fine */
void arena_clear(struct arena *a);         /* forget everything, keep the first block */
size_t arena_used(const struct arena *a);  /* bytes handed out */

/* 16-byte aligned, zeroed. NULL past the maximum or when memory is out. n = 0 gives a valid
 * pointer. */
void *arena_alloc(struct arena *a, size_t n);
/* The same for an array: the product is checked. */
void *arena_array(struct arena *a, size_t count, size_t size);
/* Copies; the copy is followed by a NUL byte that is not counted. {NULL,0} with n > 0 asked means
 * no memory. */
struct str arena_str(struct arena *a, struct str s);
char *arena_strz(struct arena *a, struct str s);
/* Formatted; NULL when there is no memory. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
