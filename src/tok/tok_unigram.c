/* tok_unigram.c: SentencePiece's unigram model, as of T5 and XLM-R. The text is normalised, then
 * cut into the pieces whose scores add up to the most: one pass that keeps the best way to every
 * place (Viterbi), looking no further ahead than the longest piece.
 *
 * The normaliser's table, where the file has one, is SentencePiece's "precompiled charsmap":
 *
 *   u32 bytes of the array  u32 array[]  replacements, each ended by a NUL
 *
 * The array is a double array (Darts): from a node, whose base is b, the byte c leads to b ^ c if
 * the label there is c. Refused: an array or a replacement that leads out of the table. */
#include "tok_int.h"

#include "utf8.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* A character that is no piece costs this much more than the worst piece. */
#define UNKNOWN_PENALTY 10.0
/* Bytes; real ones have up to a few characters. */
#define LONGEST_ENTRY ((size_t)128)

/* ---- opening ---- */

static int read_scores(struct tok *t, const struct gguf *g, struct err *e)
{
    const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.scores");
    if (!v || v->type != GGUF_ARR || v->count != t->count)
        return err_set(e, v ? ERR_FORMAT : ERR_NOT_FOUND,
                       "%s: tokenizer.ggml.scores has not one entry for each of the %u tokens",
                       gguf_path(g), t->count);
    t->scores = malloc(t->count * sizeof *t->scores);
    if (!t->scores)
        return err_set(e, ERR_NOMEM, "%s: no memory for %u scores", gguf_path(g), t->count);
    double least = FLT_MAX;
    for (uint32_t id = 0; id < t->count; id++) {
        double score;
        if (!gguf_arr_f64(v, id, &score) || !isfinite(score))
            return err_set(e, ERR_FORMAT, "%s: tokenizer.ggml.scores: entry %u is not a number",
                           gguf_path(g), id);
        t->scores[id] = t->types[id] == TOK_USER ? 0 : (float)score;
        if (t->types[id] == TOK_NORMAL && score < least)
            least = score;
    }
    t->unk_score = (double)(float)least - UNKNOWN_PENALTY;
    return 0;
}

static int list_pieces(struct tok *t, const struct gguf *g, struct err *e)
{
    if (!tok_prefix_reserve(&t->words, t->count))
        return err_set(e, ERR_NOMEM, "%s: no memory for a vocabulary of %u", gguf_path(g),
                       t->count);
    for (uint32_t id = 0; id < t->count; id++) {
        struct str s = t->pieces[id];
        if (!tok_type_is_text(t->types[id]) && t->types[id] != TOK_UNUSED)
            continue;
        if (s.n > TOK_MAX_MATCH)
            return err_set(e, ERR_TOO_LARGE, "%s: token %u is %zu bytes long, more than %zu",
                           gguf_path(g), id, s.n, TOK_MAX_MATCH);
        tok_prefix_add(&t->words, s, id);
    }
    tok_prefix_sort(&t->words);
    return 0;
}

static int read_charsmap(struct tok *t, const struct gguf *g, struct err *e)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    bool bytes = v->type == GGUF_ARR && (v->elem == GGUF_U8 || v->elem == GGUF_I8);
    struct str s = bytes ? v->s : STR_NONE;
    uint32_t n = 0;
    if (s.n >= sizeof n)
        memcpy(&n, s.p, sizeof n);
    if (s.n < sizeof n || n % 4 != 0 || n >= s.n - sizeof n || s.p[s.n - 1] != '\0')
        return err_set(e, ERR_FORMAT, "%s: %s is not a normaliser's table", gguf_path(g), key);
    t->charsmap = str_n(s.p + sizeof n, n);
    t->replacements = str_n(s.p + sizeof n + n, s.n - sizeof n - n);
    return 0;
}

int tok_unigram_open(struct tok *t, const struct gguf *g, struct err *e)
{
    int rc = read_scores(t, g, e);
    if (rc == 0)
        rc = list_pieces(t, g, e);
    if (rc == 0)
        rc = read_charsmap(t, g, e);
    if (rc == 0)
        rc = tok_read_flag(g, "tokenizer.ggml.remove_extra_whitespaces", &t->merge_spaces, e);
    tok_find_bytes(t);
    return rc;
}

/* ---- the normaliser ---- */

static uint32_t node(const struct tok *t, uint32_t i)
{
    uint32_t v = 0;
    if (i < t->charsmap.n / 4)
        memcpy(&v, t->charsmap.p + (size_t)i * 4, 4);
    return v;
}

static uint32_t base_of(uint32_t n)
{
    return (n >> 10) << ((n & 1u << 9) >> 6);
}

/* The longest entry that s begins with: its length, and what takes its place. */
static size_t find_replacement(const struct tok *t, struct str s, struct str *out)
{
    size_t best = 0;
    uint32_t at = base_of(node(t, 0));
    for (size_t i = 0; t->charsmap.n && i < s.n && i < LONGEST_ENTRY; i++) {
        unsigned char c = (unsigned char)s.p[i];
        at ^= c;
        uint32_t n = node(t, at);
        if (c == 0 || (n & (1u << 31 | 0xFF)) != c)
            break;
        at ^= base_of(n);
        size_t to = node(t, at) & 0x7FFFFFFF;
        if ((n >> 8 & 1) && to < t->replacements.n) {
            *out = str_of(t->replacements.p + to); /* the last byte of all is a NUL */
            best = i + 1;
        }
    }
    return best;
}

/* One step of the text: what it becomes. */
static size_t normalize_step(const struct tok *t, struct str s, struct str *out)
{
    uint32_t cp;
    size_t n = find_replacement(t, s, out);
    if (n)
        return n;
    n = utf8_decode(s, &cp);
    *out = n ? str_n(s.p, n) : STR("\xEF\xBF\xBD");
    return n ? n : 1;
}

struct normalizer {
    const struct tok *t;
    struct buf *out;
    bool led, in_word; /* the first space is written; the last character was none */
};

static void add_normal(struct normalizer *z, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ' ') {
            z->in_word = false;
            if (!z->t->merge_spaces)
                buf_puts(z->out, TOK_SPACE);
            continue;
        }
        if (!z->in_word && (z->t->merge_spaces || (z->t->space_prefix && !z->led))) {
            buf_puts(z->out, TOK_SPACE);
            z->led = true;
        }
        z->in_word = true;
        buf_putc(z->out, s.p[i]);
    }
}

/* ---- encoding ---- */

/* The best way to a place of the text: the piece that ends there and where it begins. */
struct best {
    double score;
    uint32_t id, from; /* id TOK_NONE: an unknown character */
};

static void offer(struct best *b, size_t at, double score, uint32_t id, size_t from)
{
    if (score > b[at].score)
        b[at] = (struct best){score, id, (uint32_t)from};
}

static void find_best(const struct tok *t, struct str s, struct best *b)
{
    for (size_t i = 0; i <= s.n; i++)
        b[i] = (struct best){i ? -DBL_MAX : 0, TOK_NONE, 0};
    for (size_t i = 0; i < s.n;) {
        uint32_t cp, id;
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        n = n ? n : 1;
        bool whole = false; /* some piece is this character */
        struct tok_prefix_at at = tok_prefix_begin(&t->words);
        for (size_t k = i; k < s.n && tok_prefix_step(&t->words, &at, (unsigned char)s.p[k], &id);
             k++) {
            if (id == TOK_NONE)
                continue;
            whole = whole || k + 1 == i + n;
            offer(b, k + 1, b[i].score + (double)t->scores[id], id, i);
        }
        if (!whole)
            offer(b, i + n, b[i].score + t->unk_score, TOK_NONE, i);
        i += n;
    }
}

/* From the end back, turned round in place; then in order. Neighbouring unknowns are one. */
static int emit_best(struct tok_work *w, struct str s, struct best *b)
{
    size_t next = s.n, at = s.n;
    while (at > 0) { /* b[from].from becomes the place after */
        size_t from = b[at].from;
        uint32_t id = b[at].id;
        b[at].from = (uint32_t)next;
        b[at].id = id;
        next = at;
        at = from;
    }
    bool unknown = false;
    int rc = 0;
    size_t from = 0;
    for (at = next; rc == 0; at = b[at].from) {
        if (b[at].id != TOK_NONE)
            rc = tok_work_emit(w, b[at].id);
        else if (w->t->byte_id[0] != TOK_NONE)
            rc = tok_work_emit_bytes(w, str_n(s.p + from, at - from));
        else if (!unknown)
            rc = tok_work_emit_unknown(w);
        unknown = b[at].id == TOK_NONE;
        from = at;
        if (at == s.n)
            break;
    }
    return rc;
}

int tok_unigram_encode(struct tok_work *w, struct str text)
{
    struct normalizer z = {w->t, &w->scratch, false, false};
    buf_clear(&w->scratch);
    for (size_t i = 0; i < text.n;) {
        struct str out;
        i += normalize_step(w->t, str_n(text.p + i, text.n - i), &out);
        add_normal(&z, out);
        /* Real tables at most double a text or so. */
        if (w->scratch.n > 32 * text.n + 4096)
            return err_set(w->e, ERR_TOO_LARGE, "the normaliser's table makes %zu bytes of %zu",
                           w->scratch.n, text.n);
    }
    if (buf_failed(&w->scratch))
        return err_set(w->e, ERR_NOMEM, "no memory to tokenize %zu bytes", text.n);
    struct str s = buf_str(&w->scratch);
    if (s.n == 0)
        return 0;
    struct best *b = malloc((s.n + 1) * sizeof *b);
    if (!b)
        return err_set(w->e, ERR_NOMEM, "no memory to tokenize %zu bytes", text.n);
    find_best(w->t, s, b);
    int rc = emit_best(w, s, b);
    free(b);
    return rc;
}
