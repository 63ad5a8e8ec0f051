/* tok_wordpiece.c: WordPiece, as of BERT. A text is cleaned, put in lower case and stripped of
 * accents where the vocabulary says so, and cut into words at white space, around punctuation and
 * around Chinese characters; a word is the longest pieces that make it up from the left, or else
 * one unknown token.
 *
 * A GGUF writes the beginning of a word as U+2581 and the rest bare; vocabularies of other makers
 * write the rest with "##". Either is taken, whichever the vocabulary has. */
#include "tok_int.h"

#include "utf8.h"

#include <utf8proc.h>

/* ---- opening ---- */

static bool has_spaces(const struct tok *t)
{
    for (uint32_t id = 0; id < t->count; id++)
        if (str_starts(t->pieces[id], STR(TOK_SPACE)))
            return true;
    return false;
}

static int list_pieces(struct tok *t, struct err *e)
{
    bool spaces = has_spaces(t);
    struct str mark = spaces ? STR(TOK_SPACE) : STR("##");
    if (!tok_prefix_reserve(&t->words, t->count) || !tok_prefix_reserve(&t->inside, t->count))
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %u", t->count);
    for (uint32_t id = 0; id < t->count; id++) {
        struct str s = t->pieces[id];
        if (tok_lookup_text(t, s) != id)
            continue;
        if (s.n > TOK_MAX_MATCH)
            return err_set(e, ERR_TOO_LARGE, "token %u is %zu bytes long, more than %zu", id, s.n,
                           TOK_MAX_MATCH);
        bool marked = str_starts(s, mark);
        if (marked)
            s = str_n(s.p + mark.n, s.n - mark.n);
        tok_prefix_add(marked == spaces ? &t->words : &t->inside, s, id);
    }
    tok_prefix_sort(&t->words);
    tok_prefix_sort(&t->inside);
    return 0;
}

int tok_wordpiece_open(struct tok *t, const struct gguf *g, struct err *e)
{
    t->lower = true;
    int rc = tok_read_flag(g, "tokenizer.ggml.normalizer.lowercase", &t->lower, e);
    t->strip_accents = t->lower;
    if (rc == 0)
        rc = tok_read_flag(g, "tokenizer.ggml.normalizer.strip_accents", &t->strip_accents, e);
    return rc == 0 ? list_pieces(t, e) : rc;
}

/* ---- encoding ---- */

static bool is_chinese(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B81F) ||
           (cp >= 0x2B920 && cp <= 0x2CEAF) || (cp >= 0xF900 && cp <= 0xFAFF) ||
           (cp >= 0x2F800 && cp <= 0x2FA1F);
}

static bool is_dropped(uint32_t cp)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return cp == 0 || cp == 0xFFFD || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_CO || k == UTF8PROC_CATEGORY_CS;
}

/* Punctuation, and ASCII's symbols. */
static bool stands_alone(uint32_t cp)
{
    if (cp < 0x7F)
        return cp > ' ' && !(cp >= '0' && cp <= '9') && !((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z');
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return (k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO) || is_chinese(cp);
}

/* The longest pieces from the left. A word that cannot be made up takes back what it gave. */
static int emit_word(struct tok_work *w)
{
    struct str s = buf_str(&w->scratch);
    size_t mark = w->out->n, at = 0;
    int rc = 0;
    while (rc == 0 && at < s.n) {
        uint32_t id;
        size_t n =
            tok_prefix_longest(at ? &w->t->inside : &w->t->words, str_n(s.p + at, s.n - at), &id);
        if (n == 0) {
            w->out->n = mark;
            rc = tok_work_emit_unknown(w);
            break;
        }
        rc = tok_work_emit(w, id);
        at += n;
    }
    buf_clear(&w->scratch);
    return rc;
}

static int take(struct tok_work *w, uint32_t cp)
{
    char c[4];
    if (w->t->lower)
        cp = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    bool alone = stands_alone(cp);
    int rc = alone ? emit_word(w) : 0;
    buf_add(&w->scratch, c, utf8_encode(cp, c));
    if (buf_failed(&w->scratch))
        return err_set(w->e, ERR_NOMEM, "no memory for a word");
    return rc == 0 && alone ? emit_word(w) : rc;
}

/* A character's canonical decomposition without its accents. */
static int take_stripped(struct tok_work *w, uint32_t cp)
{
    utf8proc_int32_t parts[32];
    int class = 0, rc = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32, UTF8PROC_DECOMPOSE, &class);
    if (n < 1 || n > 32)
        return take(w, cp);
    for (utf8proc_ssize_t i = 0; rc == 0 && i < n; i++)
        if (utf8proc_category(parts[i]) != UTF8PROC_CATEGORY_MN)
            rc = take(w, (uint32_t)parts[i]);
    return rc;
}

int tok_wordpiece_encode(struct tok_work *w, struct str text)
{
    int rc = 0;
    buf_clear(&w->scratch);
    for (size_t i = 0; rc == 0 && i < text.n;) {
        uint32_t cp = 0xFFFD;
        size_t n = utf8_decode(str_n(text.p + i, text.n - i), &cp);
        i += n ? n : 1;
        if (n && tok_is_space(cp))
            rc = emit_word(w);
        else if (n && !is_dropped(cp))
            rc = w->t->strip_accents ? take_stripped(w, cp) : take(w, cp);
    }
    return rc == 0 ? emit_word(w) : rc;
}
