/* flat.c: owns the form in which detectors read text, and the way back to the bytes it came from.
 *
 * People and programs write the same number in many ways: with full-width or Arabic digits, with
 * non-breaking spaces, soft hyphens and zero-width joiners inside, JSON-escaped in a tool's
 * arguments, percent-encoded in an address, base64 in a data: URL. Each function here undoes one of
 * those and composes the map of offsets, so detectors see plain text and findings still name the
 * caller's bytes. Bytes that are not valid UTF-8 pass through as they are.
 *
 * Refuses texts past 1 GiB (offsets are 32 bits). Called by detect.c. */
#include "privacy_int.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "utf8.h"

#define FLAT_MAX ((size_t)1 << 30)

void flat_done(struct flat *f)
{
    if (!f)
        return;
    free(f->p);
    free(f->at);
    *f = (struct flat){0};
}

static bool flat_room(struct flat *f, size_t more)
{
    if (f->cap - f->n > more)
        return true;
    if (more > FLAT_MAX || f->n > FLAT_MAX)
        return false;
    size_t cap = f->cap ? f->cap : 64;
    while (cap - f->n <= more)
        cap *= 2;
    char *p = realloc(f->p, cap);
    if (p)
        f->p = p;
    uint32_t *at = p ? realloc(f->at, (cap + 1) * sizeof *at) : NULL;
    if (!at)
        return false;
    f->at = at;
    f->cap = cap;
    return true;
}

static bool flat_put(struct flat *f, const char *p, size_t n, uint32_t at)
{
    if (!flat_room(f, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        f->p[f->n] = p[i];
        f->at[f->n++] = at;
    }
    return true;
}

/* Bytes [from, to) of another flat text, unchanged. */
static bool flat_take(struct flat *f, const struct flat *in, size_t from, size_t to)
{
    if (!flat_room(f, to - from))
        return false;
    memcpy(f->p + f->n, in->p + from, to - from);
    memcpy(f->at + f->n, in->at + from, (to - from) * sizeof *f->at);
    f->n += to - from;
    return true;
}

/* Where the next byte `c` stands, or the end. */
static size_t next_byte(const struct flat *in, size_t from, char c)
{
    const char *p = from < in->n ? memchr(in->p + from, c, in->n - from) : NULL;
    return p ? (size_t)(p - in->p) : in->n;
}

static size_t next_wide(const struct flat *in, size_t from)
{
    while (from < in->n && (unsigned char)in->p[from] < 0x80)
        from++;
    return from;
}

/* The result is complete: close the map, or give up on it. */
static int flat_finish(struct flat *f, bool ok, uint32_t source_end, struct flat *out,
                       struct err *e)
{
    if (!ok || !flat_room(f, 0)) {
        flat_done(f);
        return err_set(e, ERR_NOMEM, "no memory to scan a text");
    }
    f->at[f->n] = source_end;
    *out = *f;
    return 0;
}

int flat_copy(struct str s, struct flat *out, struct err *e)
{
    if (s.n > FLAT_MAX)
        return err_set(e, ERR_TOO_LARGE, "a text of %zu bytes is too large to scan", s.n);
    struct flat f = {0};
    bool ok = flat_room(&f, s.n);
    if (ok && s.n)
        memcpy(f.p, s.p, s.n);
    for (size_t i = 0; ok && i < s.n; i++)
        f.at[i] = (uint32_t)i;
    if (ok)
        f.n = s.n;
    return flat_finish(&f, ok, (uint32_t)s.n, out, e);
}

size_t flat_source_end(const struct flat *f, size_t start, size_t end)
{
    if (end <= start)
        return f->at[start];
    /* One source character may have become several bytes: step past all of them. */
    uint32_t last = f->at[end - 1];
    while (end < f->n && f->at[end] == last)
        end++;
    return f->at[end];
}

/* ---- characters ---- */

static bool is_decimal(utf8proc_int32_t cp)
{
    return utf8proc_category(cp) == UTF8PROC_CATEGORY_ND;
}

/* Unicode keeps every script's decimal digits in a run of ten that starts with zero. */
static char digit_value(utf8proc_int32_t cp)
{
    int before = 0;
    while (before < 9 && is_decimal(cp - before - 1))
        before++;
    return (char)('0' + before);
}

static bool is_dash(utf8proc_int32_t cp)
{
    return utf8proc_category(cp) == UTF8PROC_CATEGORY_PD || cp == 0x2212 || cp == 0x2043;
}

static bool is_invisible(utf8proc_int32_t cp)
{
    if (utf8proc_category(cp) == UTF8PROC_CATEGORY_CF)
        return true; /* soft hyphen, zero-width, direction marks, tags */
    return (cp >= 0xFE00 && cp <= 0xFE0F) || (cp >= 0xE0100 && cp <= 0xE01EF) || cp == 0x034F ||
           cp == 0x115F || cp == 0x1160 || cp == 0x3164 || cp == 0xFFA0;
}

/* One code point of the compatibility decomposition. */
static bool put_simple(struct flat *f, utf8proc_int32_t cp, uint32_t at)
{
    if (is_invisible(cp))
        return true;
    if (cp >= 0x80 && is_decimal(cp)) {
        char d = digit_value(cp);
        return flat_put(f, &d, 1, at);
    }
    if (is_dash(cp))
        return flat_put(f, "-", 1, at);
    utf8proc_category_t cat = utf8proc_category(cp);
    if (cat == UTF8PROC_CATEGORY_ZS)
        return flat_put(f, " ", 1, at);
    if (cat == UTF8PROC_CATEGORY_ZL || cat == UTF8PROC_CATEGORY_ZP)
        return flat_put(f, "\n", 1, at);
    char bytes[4];
    size_t n = utf8_encode((uint32_t)cp, bytes);
    return flat_put(f, bytes, n, at);
}

static bool put_wide(struct flat *f, uint32_t cp, uint32_t at)
{
    utf8proc_int32_t parts[32];
    int last = 0;
    /* Mathematical digits come in runs of ten back to back: digit_value is only for what the
     * decomposition leaves alone. */
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32,
                                                 UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, &last);
    if (n < 0 || n > 32)
        return put_simple(f, (utf8proc_int32_t)cp, at);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        if (!put_simple(f, parts[i], at))
            return false;
    }
    return true;
}

int flat_normalise(const struct flat *in, struct flat *out, struct err *e)
{
    struct flat f = {0};
    bool ok = flat_room(&f, in->n);
    for (size_t i = 0; ok && i < in->n;) {
        size_t plain = next_wide(in, i);
        if (plain > i) {
            ok = flat_take(&f, in, i, plain);
            i = plain;
            continue;
        }
        uint32_t cp;
        size_t n = utf8_decode(str_n(in->p + i, in->n - i), &cp);
        ok = n ? put_wide(&f, cp, in->at[i]) : flat_put(&f, in->p + i, 1, in->at[i]);
        i += n ? n : 1;
    }
    return flat_finish(&f, ok, in->at[in->n], out, e);
}

int flat_fold(const struct flat *in, struct flat *out, struct err *e)
{
    struct flat f = {0};
    bool ok = flat_room(&f, in->n);
    for (size_t i = 0; ok && i < in->n;) {
        uint32_t cp;
        size_t n = utf8_decode(str_n(in->p + i, in->n - i), &cp);
        utf8proc_int32_t parts[32];
        int last = 0;
        utf8proc_ssize_t many =
            n ? utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32,
                                        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD,
                                        &last)
              : 0;
        if (many <= 0 || many > 32)
            ok = flat_put(&f, in->p + i, n ? n : 1, in->at[i]);
        for (utf8proc_ssize_t k = 0; ok && k < many && many <= 32; k++) {
            char bytes[4];
            ok = flat_put(&f, bytes, utf8_encode((uint32_t)parts[k], bytes), in->at[i]);
        }
        i += n ? n : 1;
    }
    return flat_finish(&f, ok, in->at[in->n], out, e);
}

/* ---- escapes ---- */

static int hex(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool hex4(const struct flat *in, size_t i, uint32_t *out)
{
    if (in->n - i < 4)
        return false;
    uint32_t v = 0;
    for (size_t k = 0; k < 4; k++) {
        int d = hex(in->p[i + k]);
        if (d < 0)
            return false;
        v = v << 4 | (uint32_t)d;
    }
    *out = v;
    return true;
}

/* \uXXXX at i, or a pair of them. How many bytes it took; 0: it is none. */
static size_t escape_unicode(const struct flat *in, size_t i, uint32_t *cp)
{
    if (!hex4(in, i + 2, cp))
        return 0;
    uint32_t low;
    bool pair = *cp >= 0xD800 && *cp < 0xDC00 && in->n - i >= 12 && in->p[i + 6] == '\\' &&
                in->p[i + 7] == 'u' && hex4(in, i + 8, &low) && low >= 0xDC00 && low < 0xE000;
    if (!pair)
        return 6;
    *cp = 0x10000 + ((*cp - 0xD800) << 10) + (low - 0xDC00);
    return 12;
}

int flat_unescape(const struct flat *in, struct flat *out, struct err *e)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    struct flat f = {0};
    bool ok = flat_room(&f, in->n);
    for (size_t i = 0; ok && i < in->n;) {
        size_t plain = next_byte(in, i, '\\');
        if (plain > i) {
            ok = flat_take(&f, in, i, plain);
            i = plain;
            continue;
        }
        const char *known = NULL;
        uint32_t cp = 0;
        size_t took = 0;
        if (in->p[i] == '\\' && in->n - i >= 6 && in->p[i + 1] == 'u')
            took = escape_unicode(in, i, &cp);
        if (took) {
            char bytes[4];
            size_t n = utf8_encode(cp, bytes);
            ok = flat_put(&f, bytes, n, in->at[i]);
            i += took;
            continue;
        }
        if (in->p[i] == '\\' && in->n - i >= 2 && in->p[i + 1])
            known = strchr(from, in->p[i + 1]);
        ok = flat_put(&f, known ? to + (known - from) : in->p + i, 1, in->at[i]);
        i += known ? 2 : 1;
    }
    return flat_finish(&f, ok, in->at[in->n], out, e);
}

int flat_unpercent(const struct flat *in, struct flat *out, struct err *e)
{
    struct flat f = {0};
    bool ok = flat_room(&f, in->n);
    for (size_t i = 0; ok && i < in->n;) {
        size_t plain = next_byte(in, i, '%');
        if (plain > i) {
            ok = flat_take(&f, in, i, plain);
            i = plain;
            continue;
        }
        int hi = in->n - i >= 3 && in->p[i] == '%' ? hex(in->p[i + 1]) : -1;
        int lo = hi >= 0 ? hex(in->p[i + 2]) : -1;
        char c = lo >= 0 ? (char)(hi << 4 | lo) : in->p[i];
        ok = flat_put(&f, &c, 1, in->at[i]);
        i += lo >= 0 ? 3 : 1;
    }
    return flat_finish(&f, ok, in->at[in->n], out, e);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (is_digit(c))
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

int flat_base64(const struct flat *in, size_t from, size_t max, struct flat *out, size_t *end,
                struct err *e)
{
    struct flat f = {0};
    bool ok = flat_room(&f, 0); /* a text may hold thousands of short ones: grow as needed */
    uint32_t bits = 0;
    int have = 0;
    size_t i = from;
    for (; ok && i < in->n && (!max || f.n < max); i++) {
        char c = in->p[i];
        if (c == '\r' || c == '\n' || c == ' ' || c == '\t')
            continue;
        int v = base64_value(c);
        if (v < 0)
            break;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        char byte = (char)(bits >> have & 0xFF);
        ok = flat_put(&f, &byte, 1, in->at[i]);
    }
    size_t stop = i;
    int code = flat_finish(&f, ok, in->at[i], out, e);
    if (code == 0)
        *end = stop;
    return code;
}
