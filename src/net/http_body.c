/* http_body.c: which of the bytes after a header are its body, and where it ends (RFC 9112 6 and
 * 7). Pure; called by http_parse.c, which keeps or hands on the data.
 *
 * As narrow as the grammar: a chunk's size is hex digits and nothing else before ';' or CR, line
 * ends are CR LF, no control characters in an extension or a trailer, a trailer line has a name.
 * Whatever two programs could read differently is refused. Framing is bounded too: extensions and
 * trailers are thrown away, so they may not be what is really being sent. */
#include "http_int.h"

/* A chunk of one byte costs five of framing; past this ratio it is not a body that is being sent.
 */
#define FRAMING_FREE ((uint64_t)16 * 1024)
#define FRAMING_PER_BYTE 16
#define MAX_DIGITS 15 /* of a chunk's size: no sum of them can wrap */

void http_body_init(struct http_body *b, bool chunked, uint64_t length)
{
    *b = (struct http_body){.part = chunked  ? PART_SIZE
                                    : length ? PART_PLAIN
                                             : PART_END,
                            .left = length};
}

static bool no(const char **why, const char *text)
{
    *why = text;
    return false;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool size_byte(struct http_body *b, char c, const char **why)
{
    int h = hex(c);
    if (h >= 0) {
        b->left = b->left * 16 + (unsigned)h;
        return ++b->digits <= MAX_DIGITS || no(why, "chunk too large");
    }
    if (b->digits == 0 || (c != '\r' && c != ';'))
        return no(why, "malformed chunk size");
    b->part = c == ';' ? PART_EXT : PART_SIZE_LF;
    return true;
}

static bool is_text(char c)
{
    return (unsigned char)c >= ' ' ? c != 0x7f : c == '\t';
}

/* line: 0 at its beginning, 1 in the name, 2 in the value. */
static bool trailer_byte(struct http_body *b, char c, const char **why)
{
    if (c == '\r' && b->line != 1) {
        b->part = PART_TRAILER_LF;
        return true;
    }
    bool name_ends = b->line == 1 && c == ':';
    if (b->line < 2 && !name_ends && !http_is_token(str_n(&c, 1)))
        return no(why, "malformed trailer");
    if (!is_text(c))
        return no(why, "malformed trailer");
    b->line = name_ends || b->line == 2 ? 2 : 1;
    return true;
}

/* One byte of framing. */
static bool step(struct http_body *b, char c, const char **why)
{
    switch (b->part) {
    case PART_SIZE: return size_byte(b, c, why);
    case PART_EXT:
        if (c == '\r')
            b->part = PART_SIZE_LF;
        else if (!is_text(c))
            return no(why, "malformed chunk extension");
        return true;
    case PART_SIZE_LF:
        b->last = b->left == 0;
        b->part = b->last ? PART_TRAILER : PART_DATA;
        b->digits = b->line = 0;
        return c == '\n' || no(why, "malformed line end in a chunked body");
    case PART_DATA_CR:
        b->part = PART_DATA_LF;
        return c == '\r' || no(why, "chunk longer than its size");
    case PART_DATA_LF:
        b->part = PART_SIZE;
        return c == '\n' || no(why, "malformed line end in a chunked body");
    case PART_TRAILER: return trailer_byte(b, c, why);
    case PART_TRAILER_LF:
        b->part = b->line ? PART_TRAILER : PART_END;
        b->line = 0;
        return c == '\n' || no(why, "malformed line end in a chunked body");
    default: return true;
    }
}

bool http_body_feed(struct http_body *b, struct str bytes, struct str *data, size_t *used,
                    const char **why)
{
    size_t i = 0;
    *data = STR_NONE;
    while (i < bytes.n && b->part != PART_END && b->part != PART_PLAIN && b->part != PART_DATA) {
        b->framing++;
        if (!step(b, bytes.p[i++], why))
            return false;
    }
    *used = i;
    if (b->framing > FRAMING_FREE + b->seen * FRAMING_PER_BYTE)
        return no(why, "more framing than body");
    if (b->part != PART_PLAIN && b->part != PART_DATA)
        return true;
    size_t n = bytes.n - i < b->left ? bytes.n - i : (size_t)b->left;
    *data = str_n(bytes.p + i, n);
    *used = i + n;
    b->left -= n;
    b->seen += n;
    if (b->left == 0)
        b->part = b->part == PART_PLAIN ? PART_END : PART_DATA_CR;
    return true;
}
