/* privacy_int.h: what the files of this folder share. A text is made flat (flat.c), each detector
 * runs over the flat text and adds hits, and detect.c carries hits back to the request's bytes. */
#ifndef WEIR_PRIVACY_INT_H
#define WEIR_PRIVACY_INT_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "privacy.h"

/* ---- flat.c ---- */

/* Text in the form the detectors read, with the way back: byte i came from source byte at[i];
 * at[n] is the source's size. */
struct flat {
    char *p;
    uint32_t *at;
    size_t n, cap;
};
void flat_done(struct flat *f);
/* The source as it is, at[i] = i. ERR_TOO_LARGE past 1 GiB. */
int flat_copy(struct str s, struct flat *out, struct err *e);
/* Each makes a new flat text from `in`, offsets composed. */
int flat_normalise(const struct flat *in, struct flat *out, struct err *e);
int flat_fold(const struct flat *in, struct flat *out, struct err *e);      /* case, all scripts */
int flat_unescape(const struct flat *in, struct flat *out, struct err *e);  /* JSON's escapes */
int flat_unpercent(const struct flat *in, struct flat *out, struct err *e); /* %40 */
/* base64 (both alphabets, blanks skipped) from `from` to the first byte that is none; *end: where
 * that is. max: stop after so many decoded bytes; 0: none. */
int flat_base64(const struct flat *in, size_t from, size_t max, struct flat *out, size_t *end,
                struct err *e);
static inline struct str flat_str(const struct flat *f)
{
    return str_n(f->p ? f->p : "", f->n);
}
/* The source byte just after what flat bytes [.., end) came from. */
size_t flat_source_end(const struct flat *f, size_t start, size_t end);

/* ---- hits: what detectors find in a flat text ---- */

struct hit {
    enum privacy_kind kind;
    bool verified, unknown;
    size_t start, end;
};
#define HITS_MAX 4096 /* of each detector, so that one cannot crowd out the next */
struct hits {
    struct hit *v;
    size_t n, cap;
    size_t base;       /* where the running detector's hits begin */
    bool full;         /* the running detector has its fill */
    bool more, failed; /* more: some detector was full; failed: out of memory */
};
void hits_add(struct hits *h, enum privacy_kind kind, size_t start, size_t end, bool verified);
/* The detector could not finish: from `start` on everything counts as found. */
void hits_unknown(struct hits *h, enum privacy_kind kind, size_t start, size_t end);

/* ---- rules.c: compiled patterns ---- */

enum pattern {
    PATTERN_EMAIL,
    PATTERN_PHONE,
    PATTERN_DIGITS, /* runs of digits that could be a card */
    PATTERN_IBAN,
    PATTERN_SSN,
    PATTERN_IPV4,
    PATTERN_IPV6,
    PATTERN_KEY,
    PATTERN_TOKEN,
    PATTERN_URL_SECRET,
    PATTERNS,
};
struct words;
struct privacy_rules {
    pcre2_code *code[PATTERNS];
    struct words *words; /* NULL: none */
    unsigned off;
    uint32_t match_limit;
};

/* Calls on_match for each match of `p`, left to right; it returns where to look on (at least one
 * byte past the match's start is taken). When a limit is hit the rest of the text is unknown. */
typedef size_t match_fn(struct str text, size_t start, size_t end, struct hits *h);
void rules_each(const struct privacy_rules *r, enum pattern p, enum privacy_kind kind,
                struct str text, match_fn *on_match, struct hits *h);

/* ---- detect_*.c ---- */

void detect_email(const struct privacy_rules *r, struct str text, struct hits *h);
void detect_phone(const struct privacy_rules *r, struct str text, struct hits *h);
void detect_card(const struct privacy_rules *r, struct str text, struct hits *h);
void detect_iban(const struct privacy_rules *r, struct str text, struct hits *h);
void detect_ssn(const struct privacy_rules *r, struct str text, struct hits *h);
void detect_ip(const struct privacy_rules *r, struct str text, struct hits *h);
void detect_key(const struct privacy_rules *r, struct str text, struct hits *h);
void detect_token(const struct privacy_rules *r, struct str text, struct hits *h);

/* detect_words.c: its own folding, so it takes the flat text too but folds it itself. */
int words_new(const struct str *words, size_t n, struct words **out, struct err *e);
void words_free(struct words *w);
void detect_word(const struct words *w, struct str text, struct hits *h);

/* ---- small things: context.c ---- */

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
/* Part of a word: also '_' and whatever is not ASCII. */
static inline bool is_word(char c)
{
    return is_alnum(c) || c == '_' || (unsigned char)c >= 0x80;
}
/* Is one of the `n` lower-case words in text[from, to), beginning where a word begins? *end: just
 * after the last such. Words that end in '$' must also end where a word ends. */
bool context_find(struct str text, size_t from, size_t to, const char *const *words, size_t n,
                  size_t *end);

#endif
