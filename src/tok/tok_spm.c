/* tok_spm.c: SentencePiece's BPE. A space is written U+2581; characters join to pieces, the pair
 * whose piece has the best score first; a character that is no piece falls back to its bytes. */
#include "tok_int.h"

#include "utf8.h"

#include <math.h>
#include <stdlib.h>

struct scored {
    float score;
    uint32_t id;
};

static int best_first(const void *a, const void *b)
{
    float x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return (x < y) - (x > y);
}

static int rank_scores(struct tok *t, const struct gguf_value *v, struct scored *list,
                       struct err *e)
{
    for (uint32_t id = 0; id < t->count; id++) {
        double score;
        if (!gguf_arr_f64(v, id, &score) || isnan(score))
            return err_set(e, ERR_FORMAT, "tokenizer.ggml.scores: entry %u is not a number", id);
        list[id] = (struct scored){(float)score, id};
    }
    qsort(list, t->count, sizeof *list, best_first);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        if (i && list[i].score < list[i - 1].score)
            rank = i;
        t->rank[list[i].id] = rank;
    }
    return 0;
}

int tok_spm_open(struct tok *t, const struct gguf *g, struct err *e)
{
    const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.scores");
    if (!v)
        return err_set(e, ERR_NOT_FOUND, "%s: no key tokenizer.ggml.scores", gguf_path(g));
    if (v->type != GGUF_ARR || v->count != t->count)
        return err_set(e, ERR_FORMAT,
                       "%s: tokenizer.ggml.scores has not one entry for each of the %u tokens",
                       gguf_path(g), t->count);
    struct scored *list = malloc(t->count * sizeof *list);
    t->rank = malloc(t->count * sizeof *t->rank);
    int rc;
    if (!list || !t->rank)
        rc = err_set(e, ERR_NOMEM, "%s: no memory for %u scores", gguf_path(g), t->count);
    else
        rc = rank_scores(t, v, list, e);
    free(list);
    tok_find_bytes(t);
    return rc;
}

/* ---- encoding ---- */

static struct str symbol(const struct tok_work *w, uint32_t i)
{
    return str_n(w->text.p + w->symbols[i], w->lengths[i]);
}

/* Neighbours lie side by side in the text, so the pair is a view as well. */
static uint32_t rank_of(void *ctx, uint32_t l, uint32_t r)
{
    struct tok_work *w = ctx;
    struct str pair = symbol(w, l);
    pair.n += w->lengths[r];
    uint32_t id = tok_lookup_text(w->t, pair);
    return id == TOK_NONE ? TOK_NONE : w->t->rank[id];
}

static void join(void *ctx, uint32_t l, uint32_t r, uint32_t rank)
{
    struct tok_work *w = ctx;
    w->lengths[l] += w->lengths[r];
}

static uint32_t cut_characters(struct tok_work *w)
{
    uint32_t n = 0, cp;
    for (size_t i = 0; i < w->text.n; n++) {
        size_t len = utf8_decode(str_n(w->text.p + i, w->text.n - i), &cp);
        w->symbols[n] = (uint32_t)i;
        w->lengths[n] = len ? (uint32_t)len : 1;
        i += w->lengths[n];
    }
    return n;
}

void tok_escape_spaces(struct buf *out, struct str text)
{
    for (struct str head, tail = text; text.n; text = tail) {
        bool more = str_cut(text, ' ', &head, &tail);
        buf_str_add(out, head);
        if (more)
            buf_puts(out, TOK_SPACE);
    }
}

int tok_spm_encode(struct tok_work *w, struct str text)
{
    buf_clear(&w->scratch);
    if (w->t->space_prefix)
        buf_puts(&w->scratch, TOK_SPACE);
    tok_escape_spaces(&w->scratch, text);
    if (buf_failed(&w->scratch))
        return err_set(w->e, ERR_NOMEM, "no memory to tokenize %zu bytes", text.n);
    w->text = buf_str(&w->scratch);
    int rc = tok_work_reserve(w, w->text.n);
    if (rc != 0)
        return rc;
    w->merger.rank_of = rank_of;
    w->merger.join = join;
    w->merger.ctx = w;
    uint32_t n = cut_characters(w);
    tok_merger_run(&w->merger, n);
    for (uint32_t i = n ? 0 : TOK_NONE; rc == 0 && i != TOK_NONE; i = w->merger.next[i]) {
        uint32_t id = tok_lookup_text(w->t, symbol(w, i));
        rc = id != TOK_NONE ? tok_work_emit(w, id) : tok_work_emit_bytes(w, symbol(w, i));
    }
    return rc;
}

void tok_spm_decode(struct str piece, bool first, struct buf *out)
{
    struct str mark = STR(TOK_SPACE);
    if (first && str_starts(piece, mark))
        piece = str_n(piece.p + mark.n, piece.n - mark.n);
    for (size_t i = 0; i < piece.n;) {
        struct str rest = str_n(piece.p + i, piece.n - i);
        bool space = str_starts(rest, mark);
        buf_putc(out, space ? ' ' : rest.p[0]);
        i += space ? mark.n : 1;
    }
}
