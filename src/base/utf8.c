/* utf8.c: the decoder, written from the table of well-formed sequences (Unicode 15, table 3-7). */
#include "utf8.h"

static bool cont(struct str s, size_t i)
{
    return i < s.n && ((unsigned char)s.p[i] & 0xC0) == 0x80;
}

size_t utf8_decode(struct str s, uint32_t *cp)
{
    if (s.n == 0)
        return 0;
    const unsigned char *p = (const unsigned char *)s.p;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    if (p[0] >= 0xC2 && p[0] <= 0xDF && cont(s, 1)) {
        *cp = (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
        return 2;
    }
    if ((p[0] & 0xF0) == 0xE0 && cont(s, 1) && cont(s, 2)) {
        uint32_t v = (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
        if (v < 0x800 || (v >= 0xD800 && v <= 0xDFFF))
            return 0;
        *cp = v;
        return 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4 && cont(s, 1) && cont(s, 2) && cont(s, 3)) {
        uint32_t v = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
                     (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
        if (v < 0x10000 || v > 0x10FFFF)
            return 0;
        *cp = v;
        return 4;
    }
    return 0;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xD800 && cp <= 0xDFFF)
            return 0;
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    if (cp > 0x10FFFF)
        return 0;
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool utf8_valid(struct str s)
{
    uint32_t cp;
    for (size_t i = 0; i < s.n;) {
        size_t len = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

/* Whether the bytes p[0..n), a lead and n-1 continuations, may still become a well-formed sequence.
 */
static bool may_complete(const unsigned char *p, size_t n)
{
    size_t need = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n >= need)
        return false;
    if (n < 2)
        return true;
    unsigned char lo = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char hi = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    return p[1] >= lo && p[1] <= hi;
}

size_t utf8_partial_tail(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t k = 1; k <= 3 && k <= s.n; k++) {
        unsigned char c = p[s.n - k];
        if ((c & 0xC0) == 0x80)
            continue;
        return c >= 0xC0 && may_complete(p + s.n - k, k) ? k : 0;
    }
    return 0;
}
