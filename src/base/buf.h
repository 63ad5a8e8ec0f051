/* buf.h: a growable byte buffer that names its maximum. Appending past it, or running out of
 * memory, puts the buffer in a failed state: nothing is appended any more and buf_failed() says so,
 * so a writer checks once at the end. Always NUL-terminated after the counted bytes, so b.p is a C
 * string when the content has no NUL. */
#ifndef WEIR_BUF_H
#define WEIR_BUF_H

#include "str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *p; /* NULL until the first append */
    size_t n, cap, max;
    bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){.max = (max_bytes)})

void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b);  /* frees the contents; it may be filled again, to the same maximum */
void buf_clear(struct buf *b); /* empties, keeps the memory, forgets a failure */
static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}
static inline struct str buf_str(const struct buf *b)
{
    return str_n(b->p ? b->p : "", b->n);
}

void buf_add(struct buf *b, const void *p, size_t n);
void buf_str_add(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *z);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for n more bytes, counted at once; NULL when failed. */
void *buf_grow(struct buf *b, size_t n);
/* Drop n bytes from the front (n <= b->n). */
void buf_eat(struct buf *b, size_t n);
/* Cut to n bytes (n <= b->n). */
void buf_cut(struct buf *b, size_t n);
/* Append s as a JSON string with quotes; invalid UTF-8 becomes U+FFFD, so the output is always
 * valid JSON. */
void buf_json_str(struct buf *b, struct str s);
/* Hand the memory to the caller, who frees it with free(); NULL when failed. The buffer is empty
 * after. */
char *buf_take(struct buf *b, size_t *n);

#endif
