/* table.c: aligned columns for a person. Cells are collected, then printed once their widths are
 * known. */
#include "ledger_int.h"

#include "utf8.h"

#include <inttypes.h>
#include <stdio.h>

#define TABLE_MAX (16 << 20)

void table_init(struct table *t, int columns)
{
    *t = (struct table){.columns = columns < TABLE_COLUMNS ? columns : TABLE_COLUMNS};
    buf_init(&t->cells, TABLE_MAX);
}

void table_done(struct table *t)
{
    if (t)
        buf_done(&t->cells);
}

static size_t width_of(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

void table_cell(struct table *t, struct str text)
{
    size_t start = t->cells.n, column = t->count % (size_t)t->columns;
    for (size_t i = 0; i < text.n;) {
        uint32_t cp = 0;
        struct str left = str_n(text.p + i, text.n - i);
        size_t n = utf8_decode(left, &cp);
        bool plain = n > 0 && cp >= 0x20 && !(cp >= 0x7f && cp < 0xa0);
        buf_str_add(&t->cells, plain ? str_n(left.p, n) : STR("?"));
        i += n ? n : 1;
    }
    if (!buf_failed(&t->cells)) {
        size_t w = width_of(str_n(t->cells.p + start, t->cells.n - start));
        t->width[column] = w > t->width[column] ? w : t->width[column];
    }
    buf_putc(&t->cells, '\0');
    t->count++;
}

void table_count(struct table *t, int64_t n)
{
    char plain[32], out[48];
    int len = snprintf(plain, sizeof plain, "%" PRId64, n), o = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && plain[i - 1] != '-' && (len - i) % 3 == 0)
            out[o++] = ',';
        out[o++] = plain[i];
    }
    table_cell(t, str_n(out, (size_t)o));
}

static void pad(struct buf *out, size_t n)
{
    while (n--)
        buf_putc(out, ' ');
}

void table_print(const struct table *t, struct buf *out)
{
    if (buf_failed(&t->cells) || t->count == 0) {
        out->failed = out->failed || buf_failed(&t->cells);
        return;
    }
    const char *cell = t->cells.p;
    for (size_t i = 0; i < t->count; i++) {
        size_t column = i % (size_t)t->columns;
        struct str s = str_of(cell);
        size_t gap = t->width[column] - width_of(s);
        bool last = column + 1 == (size_t)t->columns;
        if (t->right[column])
            pad(out, gap);
        buf_str_add(out, s);
        if (!t->right[column] && !last)
            pad(out, gap);
        buf_puts(out, last ? "\n" : "  ");
        cell += s.n + 1;
    }
}
