/* tok_encode.c: spans to ids, one id to bytes.
 *
 * The spans are laid end to end. Special tokens are found in the stretches the caller trusts, and
 * user-defined ones that are plain text (tok_special.c says which) anywhere, the leftmost first and
 * of those the longest; what stands between two of them is one text, whoever wrote its parts. */
#include "tok_int.h"

#include <stdlib.h>

void tok_ids_done(struct tok_ids *ids)
{
    if (!ids)
        return;
    free(ids->p);
    *ids = (struct tok_ids){0};
}

int tok_work_emit(struct tok_work *w, uint32_t id)
{
    struct tok_ids *out = w->out;
    if (out->n - w->start >= w->max)
        return err_set(w->e, ERR_TOO_LARGE, "the text has more than %zu tokens", w->max);
    if (out->n == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 256;
        int32_t *p = cap > SIZE_MAX / sizeof *p ? NULL : realloc(out->p, cap * sizeof *p);
        if (!p)
            return err_set(w->e, ERR_NOMEM, "no memory for %zu tokens", cap);
        out->p = p;
        out->cap = cap;
    }
    out->p[out->n++] = (int32_t)id;
    return 0;
}

int tok_work_reserve(struct tok_work *w, size_t n)
{
    if (n > w->cap_symbols) {
        size_t cap = n < 256 ? 256 : n;
        uint32_t *symbols = realloc(w->symbols, cap * sizeof *symbols);
        w->symbols = symbols ? symbols : w->symbols;
        uint32_t *lengths = realloc(w->lengths, cap * sizeof *lengths);
        w->lengths = lengths ? lengths : w->lengths;
        if (!symbols || !lengths || !tok_merger_reserve(&w->merger, cap))
            return err_set(w->e, ERR_NOMEM, "no memory to tokenize a run of %zu bytes", n);
        w->cap_symbols = cap;
    }
    return 0;
}

int tok_work_emit_unknown(struct tok_work *w)
{
    /* A file may name any token here; text must not become a control token this way either. */
    int32_t id = w->t->unk;
    return id >= 0 && w->t->types[id] == TOK_UNKNOWN ? tok_work_emit(w, (uint32_t)id) : 0;
}

int tok_work_emit_bytes(struct tok_work *w, struct str s)
{
    bool unknown = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s.n; i++) {
        uint32_t id = w->t->byte_id[(unsigned char)s.p[i]];
        if (id != TOK_NONE)
            rc = tok_work_emit(w, id);
        else
            unknown = true;
    }
    return rc == 0 && unknown ? tok_work_emit_unknown(w) : rc;
}

/* ---- special tokens ---- */

static int encode_text(struct tok_work *w, struct str text)
{
    if (text.n == 0)
        return 0;
    switch (w->t->model) {
    case TOK_BPE: return tok_bpe_encode(w, text);
    case TOK_SPM: return tok_spm_encode(w, text);
    case TOK_UNIGRAM: return tok_unigram_encode(w, text);
    case TOK_WORDPIECE: return tok_wordpiece_encode(w, text);
    }
    return ERR_INTERNAL;
}

/* As C's isspace has it, which is what the rules of stripping go by. */
static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The longest token that begins at i: any in what is left of a trusted stretch, which ends at to;
 * a plain one in the rest of the text, whoever wrote it. */
static size_t match_special(const struct tok *t, struct str text, size_t i, size_t to, bool trusted,
                            uint32_t *id)
{
    uint32_t plain;
    size_t n = trusted ? tok_prefix_longest(&t->special, str_n(text.p + i, to - i), id) : 0;
    size_t m =
        t->plain.n ? tok_prefix_longest(&t->plain, str_n(text.p + i, text.n - i), &plain) : 0;
    if (m > n)
        *id = plain;
    return m > n ? m : n;
}

/* What stands before the token, from *done on, then the token. *done: after it. */
static int emit_special(struct tok_work *w, struct str text, size_t i, size_t n, uint32_t id,
                        size_t *done)
{
    size_t end = i, next = i + n;
    while (w->t->lstrip && w->t->lstrip[id] && end > *done && is_white(text.p[end - 1]))
        end--;
    while (w->t->rstrip && w->t->rstrip[id] && next < text.n && is_white(text.p[next]))
        next++;
    int rc = encode_text(w, str_n(text.p + *done, end - *done));
    *done = next;
    return rc == 0 ? tok_work_emit(w, id) : rc;
}

/* Special tokens that begin in text[from, to). *done: the text before is encoded. */
static int scan(struct tok_work *w, struct str text, size_t from, size_t to, bool trusted,
                size_t *done)
{
    size_t i = from > *done ? from : *done;
    while (i < to) {
        uint32_t id = 0;
        size_t n = match_special(w->t, text, i, to, trusted, &id);
        if (n == 0) {
            i++;
            continue;
        }
        int rc = emit_special(w, text, i, n, id, done);
        if (rc != 0)
            return rc;
        i = *done;
    }
    return 0;
}

/* text: the spans end to end. */
static int encode_spans(struct tok_work *w, const struct tok_span *spans, size_t nspans,
                        struct str text)
{
    size_t at = 0, done = 0;
    for (size_t k = 0; k < nspans;) {
        size_t from = at;
        bool trusted = spans[k].special;
        for (; k < nspans && spans[k].special == trusted; k++)
            at += spans[k].text.n;
        if (!trusted && w->t->plain.n == 0)
            continue;
        int rc = scan(w, text, from, at, trusted, &done);
        if (rc != 0)
            return rc;
    }
    return encode_text(w, str_n(text.p + done, text.n - done));
}

static int join_spans(const struct tok_span *spans, size_t nspans, struct buf *joined,
                      struct err *e)
{
    size_t total = 0;
    for (size_t k = 0; k < nspans; k++) {
        if (spans[k].text.n > TOK_MAX_TEXT - total)
            return err_set(e, ERR_TOO_LARGE, "more than %zu bytes to tokenize", TOK_MAX_TEXT);
        total += spans[k].text.n;
    }
    for (size_t k = 0; k < nspans; k++)
        buf_str_add(joined, spans[k].text);
    if (buf_failed(joined))
        return err_set(e, ERR_NOMEM, "no memory to tokenize %zu bytes", total);
    return 0;
}

int tok_encode(const struct tok *t, const struct tok_span *spans, size_t nspans, unsigned flags,
               size_t max, struct tok_ids *out, struct err *e)
{
    struct tok_work w = {.t = t, .out = out, .max = max, .start = out->n, .e = e};
    struct buf joined = BUF_INIT(TOK_MAX_TEXT);
    buf_init(&w.scratch, 3 * TOK_MAX_TEXT + 3); /* a space takes three bytes */
    int rc = join_spans(spans, nspans, &joined, e);
    if (rc == 0 && (flags & TOK_ADD_BOS) && tok_add_bos(t))
        rc = tok_work_emit(&w, (uint32_t)t->bos);
    if (rc == 0)
        rc = encode_spans(&w, spans, nspans, buf_str(&joined));
    if (rc == 0 && (flags & TOK_ADD_EOS) && tok_add_eos(t))
        rc = tok_work_emit(&w, (uint32_t)t->eos);
    if (rc != 0)
        out->n = w.start;
    tok_merger_done(&w.merger);
    free(w.symbols);
    free(w.lengths);
    buf_done(&w.scratch);
    buf_done(&joined);
    return rc;
}

/* The byte a byte token stands for: "<0x41>". */
static int byte_value(struct str piece)
{
    static const char hex[] = "0123456789ABCDEF";
    if (piece.n != 6 || memcmp(piece.p, "<0x", 3) != 0 || piece.p[5] != '>')
        return -1;
    const char *hi = memchr(hex, piece.p[3], 16), *lo = memchr(hex, piece.p[4], 16);
    return hi && lo ? (int)((hi - hex) * 16 + (lo - hex)) : -1;
}

void tok_decode(const struct tok *t, int32_t id, bool first, bool show_control, struct buf *out)
{
    struct str piece = tok_piece(t, id);
    if (piece.n == 0)
        return;
    unsigned type = t->types[id];
    bool as_is = type == TOK_USER || type == TOK_MARKUP;
    if (as_is || ((type == TOK_CONTROL || type == TOK_UNKNOWN) && show_control)) {
        buf_str_add(out, piece);
    } else if (type == TOK_BYTE) {
        int b = byte_value(piece);
        if (b >= 0)
            buf_putc(out, (char)b);
    } else if (type == TOK_NORMAL) {
        bool prefixed = t->space_prefix || t->merge_spaces || t->model == TOK_WORDPIECE;
        if (t->model == TOK_BPE && !t->raw)
            tok_bpe_decode(piece, out);
        else
            tok_spm_decode(piece, first && prefixed, out);
    }
}
