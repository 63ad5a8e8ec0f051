/* buf.c: the growable buffer. */
#include "buf.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = BUF_INIT(max_bytes);
}

void buf_done(struct buf *b)
{
    if (!b)
        return;
    free(b->p);
    *b = BUF_INIT(b->max);
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->p)
        b->p[0] = '\0';
}

void *buf_grow(struct buf *b, size_t n)
{
    if (b->failed || n > b->max - b->n) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->n + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 256;
        while (cap < need)
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        if (cap > b->max + 1)
            cap = b->max + 1;
        char *p = realloc(b->p, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    char *at = b->p + b->n;
    b->n += n;
    b->p[b->n] = '\0';
    return at;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    char *at = buf_grow(b, n);
    if (at && n)
        memcpy(at, p, n);
}

void buf_str_add(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

void buf_puts(struct buf *b, const char *z)
{
    buf_add(b, z, strlen(z));
}

void buf_putc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    char *at = buf_grow(b, (size_t)n);
    if (at) {
        va_start(ap, fmt);
        vsnprintf(at, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
}

void buf_eat(struct buf *b, size_t n)
{
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    b->p[b->n] = '\0';
}

void buf_cut(struct buf *b, size_t n)
{
    if (b->p) {
        b->n = n;
        b->p[n] = '\0';
    }
}

static void json_escape_byte(struct buf *b, unsigned char c)
{
    switch (c) {
    case '"': buf_puts(b, "\\\""); break;
    case '\\': buf_puts(b, "\\\\"); break;
    case '\n': buf_puts(b, "\\n"); break;
    case '\r': buf_puts(b, "\\r"); break;
    case '\t': buf_puts(b, "\\t"); break;
    default: buf_printf(b, "\\u%04x", c);
    }
}

void buf_json_str(struct buf *b, struct str s)
{
    buf_putc(b, '"');
    size_t run = 0; /* start of bytes that go out as they are */
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        uint32_t cp;
        size_t len = c < 0x80 ? 1 : utf8_decode(str_n(s.p + i, s.n - i), &cp);
        bool plain = c < 0x80 ? c >= 0x20 && c != '"' && c != '\\' && c != 0x7f : len != 0;
        if (!plain) {
            buf_add(b, s.p + run, i - run);
            if (len == 0)
                buf_puts(b, "\xEF\xBF\xBD");
            else
                json_escape_byte(b, c);
            run = i + 1;
        }
        i += len ? len : 1;
    }
    buf_add(b, s.p ? s.p + run : "", s.n - run);
    buf_putc(b, '"');
}

char *buf_take(struct buf *b, size_t *n)
{
    if (!b->p)
        buf_add(b, "", 0);
    if (b->failed)
        return NULL;
    char *p = b->p;
    if (n)
        *n = b->n;
    *b = BUF_INIT(b->max);
    return p;
}
