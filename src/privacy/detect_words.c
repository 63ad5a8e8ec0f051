/* detect_words.c: owns the user's own words and finds them in one pass, however many there are.
 *
 * Text and words are folded the same way and cut into tokens: a run of letters, marks and digits;
 * or one symbol; or, in scripts that put no blanks between words (Han, Kana, Hangul, Thai, ...),
 * one character. Blanks, dashes and underscores only separate. A word of the list is a row of
 * tokens, so "Project Falcon" is found in "project-falcon" and not in "projects falconry"; its
 * first token's hash says at which places to look closer. */
#include "privacy_int.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "utf8.h"

#define WORDS_MAX 4096
#define WORD_BYTES_MAX 256

enum token_class { SEPARATOR, LETTER, SINGLE };

struct token {
    size_t start, end;
};

struct word {
    struct str *tokens;
    size_t n;
    size_t next; /* of the same bucket; SIZE_MAX: none */
};

struct words {
    struct word *v;
    size_t n, buckets; /* a power of two */
    size_t *first;
    struct flat *folded; /* owns the words' bytes */
};

static bool unspaced(uint32_t cp)
{
    return (cp >= 0x3040 && cp <= 0x30FF) || (cp >= 0x3400 && cp <= 0x9FFF) ||
           (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x20000 && cp <= 0x3FFFF) ||
           (cp >= 0x0E00 && cp <= 0x0EFF) || (cp >= 0x1000 && cp <= 0x11FF) ||
           (cp >= 0x1780 && cp <= 0x17FF);
}

static enum token_class classify(uint32_t cp)
{
    if (cp < 0x80) {
        char c = (char)cp;
        if (is_alnum(c))
            return LETTER;
        return c <= ' ' || c == '-' || c == '_' || c == 0x7F ? SEPARATOR : SINGLE;
    }
    if (unspaced(cp))
        return SINGLE;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PC: return SEPARATOR;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return LETTER;
    default: return SINGLE;
    }
}

static size_t decode(struct str s, size_t i, uint32_t *cp)
{
    size_t n = utf8_decode(str_n(s.p + i, s.n - i), cp);
    if (n)
        return n;
    *cp = 0xFFFD; /* a stray byte separates nothing and matches nothing */
    return 1;
}

/* The next token at or after *at; false at the end. */
static bool next_token(struct str s, size_t *at, struct token *out)
{
    size_t i = *at;
    while (i < s.n) {
        uint32_t cp;
        size_t n = decode(s, i, &cp);
        enum token_class c = classify(cp);
        if (c == SEPARATOR) {
            i += n;
            continue;
        }
        out->start = i;
        i += n;
        while (c == LETTER && i < s.n) {
            n = decode(s, i, &cp);
            if (classify(cp) != LETTER)
                break;
            i += n;
        }
        out->end = *at = i;
        return true;
    }
    *at = i;
    return false;
}

static uint64_t hash(struct str s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

/* The same forms as a scanned text goes through. */
static int fold(struct str s, bool normalise, struct flat *out, struct err *e)
{
    struct flat raw = {0}, plain = {0};
    int code = flat_copy(s, &raw, e);
    if (code == 0 && normalise)
        code = flat_normalise(&raw, &plain, e);
    if (code == 0)
        code = flat_fold(normalise ? &plain : &raw, out, e);
    flat_done(&raw);
    flat_done(&plain);
    return code;
}

static int add_word(struct words *w, struct str text, struct err *e)
{
    struct flat *f = &w->folded[w->n];
    int code = fold(text, true, f, e);
    if (code)
        return code;
    struct word *word = &w->v[w->n++];
    struct str s = flat_str(f);
    word->tokens = calloc(s.n + 1, sizeof *word->tokens);
    if (!word->tokens)
        return err_set(e, ERR_NOMEM, "no memory for the word list");
    struct token t;
    for (size_t at = 0; next_token(s, &at, &t);)
        word->tokens[word->n++] = str_n(s.p + t.start, t.end - t.start);
    if (word->n == 0)
        return err_set_at(e, ERR_INVAL, w->n, "word %zu of the privacy list has no letters", w->n);
    size_t bucket = hash(word->tokens[0]) & (w->buckets - 1);
    word->next = w->first[bucket];
    w->first[bucket] = w->n - 1;
    return 0;
}

int words_new(const struct str *list, size_t n, struct words **out, struct err *e)
{
    if (n > WORDS_MAX)
        return err_set(e, ERR_INVAL, "%zu words in the privacy list; at most %d", n, WORDS_MAX);
    struct words *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for the word list");
    w->buckets = 16;
    while (w->buckets < n * 2)
        w->buckets *= 2;
    w->v = calloc(n, sizeof *w->v);
    w->folded = calloc(n, sizeof *w->folded);
    w->first = calloc(w->buckets, sizeof *w->first);
    int code = 0;
    if (!w->v || !w->folded || !w->first)
        code = err_set(e, ERR_NOMEM, "no memory for the word list");
    for (size_t i = 0; code == 0 && i < w->buckets; i++)
        w->first[i] = SIZE_MAX;
    for (size_t i = 0; code == 0 && i < n; i++) {
        if (list[i].n == 0 || list[i].n > WORD_BYTES_MAX)
            code = err_set_at(e, ERR_INVAL, i + 1,
                              "word %zu of the privacy list has %zu bytes; "
                              "1 to %d are allowed",
                              i + 1, list[i].n, WORD_BYTES_MAX);
        else
            code = add_word(w, list[i], e);
    }
    if (code) {
        words_free(w);
        return code;
    }
    *out = w;
    return 0;
}

void words_free(struct words *w)
{
    if (!w)
        return;
    for (size_t i = 0; w->v && w->folded && i < w->n; i++)
        free(w->v[i].tokens);
    for (size_t i = 0; w->folded && i < w->n; i++)
        flat_done(&w->folded[i]);
    free(w->v);
    free(w->folded);
    free(w->first);
    free(w);
}

/* The rest of a word, from just after its first token. */
static bool follows(const struct word *w, struct str s, size_t at, size_t *end)
{
    for (size_t k = 1; k < w->n; k++) {
        struct token t;
        if (!next_token(s, &at, &t) || !str_eq(str_n(s.p + t.start, t.end - t.start), w->tokens[k]))
            return false;
    }
    *end = at;
    return true;
}

void detect_word(const struct words *w, struct str text, struct hits *h)
{
    struct flat f = {0};
    if (fold(text, false, &f, NULL)) {
        h->failed = true;
        return;
    }
    struct str s = flat_str(&f);
    struct token t;
    for (size_t at = 0; !h->full && !h->failed && next_token(s, &at, &t);) {
        struct str first = str_n(s.p + t.start, t.end - t.start);
        size_t end = 0, longest = 0;
        for (size_t i = w->first[hash(first) & (w->buckets - 1)]; i != SIZE_MAX; i = w->v[i].next) {
            if (str_eq(w->v[i].tokens[0], first) && follows(&w->v[i], s, at, &end) && end > longest)
                longest = end;
        }
        if (!longest)
            continue;
        hits_add(h, PRIVACY_WORD, f.at[t.start], flat_source_end(&f, t.start, longest), false);
        at = longest;
    }
    flat_done(&f);
}
