/* tok_split.c: pre-tokenizers: where a text may be cut into words before merging. Each is the
 * hand-written form of a regular expression over code points, and linear in the text.
 *
 * A pre-tokenizer is a row of stages. A stage cuts a piece into smaller ones and looks at nothing
 * outside of it, exactly as a tokenizers "Sequence" does. A byte that is not UTF-8 counts as a
 * symbol of its own, so no text is refused or altered. */
#include "tok_int.h"

#include "utf8.h"

#include <utf8proc.h>

enum char_class {
    LETTER = 1,
    NUMBER = 2,
    SPACE = 4,
    PUNCT = 8,
    OTHER = 16, /* any character that is none of the above */
};

/* One character of a piece; past the end: len and class 0. */
struct ch {
    uint32_t cp;
    unsigned len, class;
};

struct piece {
    const char *p;
    size_t end;
};

static bool is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F ||
           cp == 0x205F || cp == 0x3000;
}

static unsigned class_of(uint32_t cp)
{
    if ((cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z'))
        return LETTER;
    if (is_space(cp))
        return SPACE;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return PUNCT;
    default: return OTHER;
    }
}

static struct ch at(struct piece x, size_t pos)
{
    struct ch c = {0};
    if (pos >= x.end)
        return c;
    c.len = (unsigned)utf8_decode(str_n(x.p + pos, x.end - pos), &c.cp);
    if (c.len == 0)
        return (struct ch){0xFFFD, 1, OTHER};
    c.class = class_of(c.cp);
    return c;
}

/* The end of the run of characters of these classes. */
static size_t run(struct piece x, size_t pos, unsigned classes)
{
    for (struct ch c; (c = at(x, pos)).class & classes;)
        pos += c.len;
    return pos;
}

static bool is_newline(uint32_t cp)
{
    return cp == '\r' || cp == '\n';
}

/* 's 't 'm 'd 're 've 'll: bytes of one that begins at pos, or 0. */
static size_t contraction(struct piece x, size_t pos, bool any_case)
{
    const char *p = x.p + pos;
    size_t n = x.end - pos;
    if (n < 2 || p[0] != '\'')
        return 0;
    char fold = any_case ? 0x20 : 0;
    char a = (char)(p[1] | fold), b = (char)(n > 2 ? p[2] | fold : 0);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ : white space leaves its last character to the word that follows. */
static size_t white_space(struct piece x, size_t pos)
{
    size_t last = pos;
    struct ch c;
    size_t end = pos;
    while ((c = at(x, end)).class & SPACE) {
        last = end;
        end += c.len;
    }
    return end < x.end && last > pos ? last : end;
}

/* GPT-2: '(s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t next_gpt2(struct piece x, size_t pos)
{
    size_t n = contraction(x, pos, false);
    if (n)
        return pos + n;
    struct ch c = at(x, pos);
    size_t word = c.cp == ' ' ? pos + 1 : pos;
    unsigned class = c.cp == ' ' ? at(x, word).class : c.class;
    if (class & LETTER)
        return run(x, word, LETTER);
    if (class & NUMBER)
        return run(x, word, NUMBER);
    if (class & (PUNCT | OTHER))
        return run(x, word, PUNCT | OTHER);
    return white_space(x, pos);
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t lines_or_space(struct piece x, size_t pos)
{
    size_t line_end = 0;
    struct ch c;
    for (size_t i = pos; (c = at(x, i)).class & SPACE;) {
        i += c.len;
        if (is_newline(c.cp))
            line_end = i;
    }
    return line_end ? line_end : white_space(x, pos);
}

/* Llama 3 and Qwen 2: '(?i:s|t|re|ve|m|ll|d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}
 * | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t next_llama3(struct piece x, size_t pos, int digits)
{
    size_t n = contraction(x, pos, true);
    if (n)
        return pos + n;
    struct ch c = at(x, pos);
    bool may_lead = !is_newline(c.cp) && !(c.class & NUMBER);
    if (may_lead && ((c.class & LETTER) || (at(x, pos + c.len).class & LETTER)))
        return run(x, pos + c.len, LETTER);
    if (c.class & NUMBER) {
        for (int i = 0; i < digits && ((c = at(x, pos)).class & NUMBER); i++)
            pos += c.len;
        return pos;
    }
    size_t word = c.cp == ' ' ? pos + 1 : pos;
    if (at(x, word).class & (PUNCT | OTHER)) {
        word = run(x, word, PUNCT | OTHER);
        while (word < x.end && is_newline((unsigned char)x.p[word]))
            word++;
        return word;
    }
    return lines_or_space(x, pos);
}

static size_t next_three_digits(struct piece x, size_t pos)
{
    return next_llama3(x, pos, 3);
}

static size_t next_one_digit(struct piece x, size_t pos)
{
    return next_llama3(x, pos, 1);
}

/* \p{N}, each alone. */
static size_t next_digit(struct piece x, size_t pos)
{
    struct ch c = at(x, pos);
    return (c.class & NUMBER) ? pos + c.len : run(x, pos, ~(unsigned)NUMBER);
}

/* \p{N}+ */
static size_t next_digits(struct piece x, size_t pos)
{
    return run(x, pos, (at(x, pos).class & NUMBER) ? NUMBER : ~(unsigned)NUMBER);
}

static bool is_mark(struct ch c)
{
    return (c.class & PUNCT) || (c.cp && c.cp < 0x80 && strchr("$+<=>^~|", (int)c.cp));
}

/* [\p{P}$+<=>^~|]+ */
static size_t next_marks(struct piece x, size_t pos)
{
    struct ch c = at(x, pos);
    bool marks = is_mark(c);
    while (c.len && is_mark(c) == marks) {
        pos += c.len;
        c = at(x, pos);
    }
    return pos;
}

static bool three_digits(struct piece x, size_t pos)
{
    for (size_t i = pos; i < pos + 3; i++)
        if (i >= x.end || x.p[i] < '0' || x.p[i] > '9')
            return false;
    return true;
}

/* [0-9][0-9][0-9] */
static size_t next_triple(struct piece x, size_t pos)
{
    if (three_digits(x, pos))
        return pos + 3;
    do
        pos++;
    while (pos < x.end && !three_digits(x, pos));
    return pos;
}

/* The end of the first word of x at or after pos; always past pos. */
typedef size_t stage_fn(struct piece x, size_t pos);

struct tok_split {
    const char *name;
    stage_fn *stages[4];
    bool whole_words, adds_bos;
};

static const struct tok_split splits[] = {
    {"default", {next_marks, next_gpt2, next_digits, next_triple}, false, false},
    {"gpt-2", {next_gpt2}, false, false},
    {"smollm", {next_digit, next_gpt2}, false, false},
    {"llama-bpe", {next_three_digits}, true, true},
    {"llama3", {next_three_digits}, true, true},
    {"llama-v3", {next_three_digits}, true, true},
    {"qwen2", {next_one_digit}, false, false},
};

const struct tok_split *tok_split_find(struct str name)
{
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++)
        if (str_is(name, splits[i].name))
            return &splits[i];
    return NULL;
}

bool tok_split_whole_words(const struct tok_split *s)
{
    return s->whole_words;
}

bool tok_split_adds_bos(const struct tok_split *s)
{
    return s->adds_bos;
}

struct walk {
    const struct tok_split *split;
    int (*word)(void *ctx, struct str word);
    void *ctx;
};

/* At most four stages deep. */
static int walk_stage(const struct walk *w, int k, struct str piece)
{
    if (k == 4 || !w->split->stages[k])
        return w->word(w->ctx, piece);
    struct piece x = {piece.p, piece.n};
    for (size_t pos = 0; pos < x.end;) {
        size_t end = w->split->stages[k](x, pos);
        int rc = walk_stage(w, k + 1, str_n(x.p + pos, end - pos));
        if (rc != 0)
            return rc;
        pos = end;
    }
    return 0;
}

int tok_split_run(const struct tok_split *s, struct str text,
                  int (*word)(void *ctx, struct str word), void *ctx)
{
    struct walk w = {s, word, ctx};
    return walk_stage(&w, 0, text);
}
