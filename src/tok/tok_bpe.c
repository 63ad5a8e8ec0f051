/* tok_bpe.c: BPE by a list of merges. Byte-level (GPT-2's): a text's bytes are written as visible
 * characters, one each; pieces are strings of those. Raw (Gemma 4's): pieces are text as it is,
 * U+2581 for a space, and a character that is no piece falls back to its bytes. Encoding works on
 * ids alone: a byte's or character's id, then pairs of ids looked up in a table of merges. */
#include "tok_int.h"

#include "utf8.h"

#include <stdlib.h>

/* GPT-2's table: printable Latin-1 stands for itself, the 68 others for U+0100 and up in order. */
static bool stands_for_itself(unsigned b)
{
    return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
}

static uint32_t byte_to_char(unsigned b)
{
    if (stands_for_itself(b))
        return b;
    uint32_t before = 0;
    for (unsigned x = 0; x < b; x++)
        before += !stands_for_itself(x);
    return 0x100 + before;
}

/* Those 68 bytes in order: 0 to 32, 127 to 160 and 173. */
static int char_to_byte(uint32_t cp)
{
    if (cp < 0x100)
        return stands_for_itself(cp) ? (int)cp : -1;
    uint32_t i = cp - 0x100;
    if (i <= 32)
        return (int)i;
    if (i <= 66)
        return (int)(i - 33 + 127);
    return i == 67 ? 173 : -1;
}

/* ---- merges ---- */

static size_t pair_slot(const struct tok *t, uint32_t l, uint32_t r)
{
    uint64_t h = ((uint64_t)l << 32 | r) ^ t->seed;
    h = (h ^ h >> 31) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 29) * 0xBF58476D1CE4E5B9u;
    size_t i = (size_t)(h >> 20) & (t->nmerge_slots - 1);
    for (uint32_t m; (m = t->merge_slots[i]); i = (i + 1) & (t->nmerge_slots - 1))
        if (t->merges[m - 1].left == l && t->merges[m - 1].right == r)
            break;
    return i;
}

static bool is_pair(struct str piece, struct str l, struct str r)
{
    return piece.n == l.n + r.n && memcmp(piece.p, l.p, l.n) == 0 &&
           memcmp(piece.p + l.n, r.p, r.n) == 0;
}

/* Vocabularies list what merges make in the merges' order: *next is where this one's would stand,
 * and looking there costs less than looking it up. */
static uint32_t find_result(const struct tok *t, struct str l, struct str r, struct buf *joined,
                            uint32_t *next)
{
    uint32_t id = *next;
    if (t->twins || id >= t->count || !is_pair(t->pieces[id], l, r) ||
        !tok_type_is_text(t->types[id])) {
        buf_clear(joined);
        buf_str_add(joined, l);
        buf_str_add(joined, r);
        id = buf_failed(joined) ? TOK_NONE : tok_lookup_text(t, buf_str(joined));
    }
    if (id != TOK_NONE)
        *next = id + 1;
    return id;
}

/* "left right", parted at the cut. A merge of pieces the vocabulary lacks can never happen, or
 * would make what has no id: it is left out. */
static bool resolve_merge(const struct tok *t, struct str s, size_t cut, struct buf *joined,
                          uint32_t *next, struct tok_merge *out)
{
    struct str l = str_n(s.p, cut), r = str_n(s.p + cut + 1, s.n - cut - 1);
    out->result = find_result(t, l, r, joined, next);
    if (out->result == TOK_NONE)
        return false;
    out->left = tok_lookup_text(t, l);
    out->right = tok_lookup_text(t, r);
    return out->left != TOK_NONE && out->right != TOK_NONE;
}

/* The space that parts a merge is the first that does not open the text. */
static size_t find_cut(struct str s)
{
    const char *p = s.n > 1 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
    return p ? (size_t)(p - s.p) : SIZE_MAX;
}

static int read_merges(struct tok *t, const struct gguf_value *v, struct buf *joined, struct err *e)
{
    struct str s;
    uint64_t line = 0;
    uint32_t next = 0;
    for (uint64_t pos = 0; gguf_arr_str_next(v, &pos, &s); line++) {
        size_t cut = find_cut(s);
        if (cut == SIZE_MAX || cut + 1 == s.n)
            return err_set_at(e, ERR_FORMAT, line,
                              "tokenizer.ggml.merges: entry %llu is not a pair of pieces",
                              (unsigned long long)line);
        struct tok_merge m;
        if (!resolve_merge(t, s, cut, joined, &next, &m))
            continue;
        size_t slot = pair_slot(t, m.left, m.right);
        if (t->merge_slots[slot])
            continue; /* the first of two equal pairs has the better rank */
        t->merges[t->nmerges++] = m;
        t->merge_slots[slot] = (uint32_t)t->nmerges;
    }
    return 0;
}

static int open_merges(struct tok *t, const struct gguf *g, struct err *e)
{
    const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.merges");
    if (!v)
        return err_set(e, ERR_NOT_FOUND, "%s: no key tokenizer.ggml.merges", gguf_path(g));
    if (v->type != GGUF_ARR || v->elem != GGUF_STR || v->count > TOK_MAX_VOCAB)
        return err_set(e, ERR_FORMAT,
                       "%s: tokenizer.ggml.merges is not a list of at most %llu "
                       "strings",
                       gguf_path(g), (unsigned long long)TOK_MAX_VOCAB);
    t->nmerge_slots = 16;
    while (t->nmerge_slots < (size_t)v->count * 2)
        t->nmerge_slots *= 2;
    t->merges = malloc(((size_t)v->count + 1) * sizeof *t->merges);
    t->merge_slots = calloc(t->nmerge_slots, sizeof *t->merge_slots);
    if (!t->merges || !t->merge_slots)
        return err_set(e, ERR_NOMEM, "%s: no memory for %llu merges", gguf_path(g),
                       (unsigned long long)v->count);
    struct buf joined = BUF_INIT(t->longest + 1);
    int rc = read_merges(t, v, &joined, e);
    buf_done(&joined);
    return rc;
}

static int open_split(struct tok *t, const struct gguf *g, struct err *e)
{
    struct str name = STR("default"), model;
    int rc =
        gguf_find(g, "tokenizer.ggml.pre") ? gguf_get_str(g, "tokenizer.ggml.pre", &name, e) : 0;
    if (rc == 0)
        rc = gguf_get_str(g, "tokenizer.ggml.model", &model, e);
    if (rc != 0)
        return rc;
    if (str_is(model, "gemma4"))
        name = model; /* whatever the pre-tokenizer is called */
    t->split = tok_split_find(name);
    if (!t->split)
        return err_set(e, ERR_UNSUPPORTED, "%s: pre-tokenizer \"%.*s\" is not known", gguf_path(g),
                       STR_ARG(name));
    t->whole_words = tok_split_whole_words(t->split);
    t->raw = tok_split_raw(t->split);
    return 0;
}

int tok_bpe_open(struct tok *t, const struct gguf *g, struct err *e)
{
    int rc = open_split(t, g, e);
    if (rc != 0)
        return rc;
    for (unsigned b = 0; b < 256; b++) {
        char c[4];
        size_t n = utf8_encode(byte_to_char(b), c);
        t->byte_id[b] = tok_lookup_text(t, str_n(c, n));
    }
    if (t->raw)
        tok_find_bytes(t);
    return open_merges(t, g, e);
}

/* ---- encoding ---- */

static uint32_t rank_of(void *ctx, uint32_t l, uint32_t r)
{
    struct tok_work *w = ctx;
    const struct tok *t = w->t;
    if (w->symbols[l] == TOK_NONE || w->symbols[r] == TOK_NONE)
        return TOK_NONE;
    /* An empty slot holds 0, which becomes TOK_NONE. */
    return t->merge_slots[pair_slot(t, w->symbols[l], w->symbols[r])] - 1;
}

static void join(void *ctx, uint32_t l, uint32_t r, uint32_t rank)
{
    struct tok_work *w = ctx;
    w->symbols[l] = w->t->merges[rank].result;
}

/* The token that the word is as a whole, or TOK_NONE. */
static uint32_t find_whole(struct tok_work *w, struct str word)
{
    if (word.n > w->t->longest)
        return TOK_NONE;
    buf_clear(&w->scratch);
    for (size_t i = 0; i < word.n; i++) {
        char c[4];
        size_t n = utf8_encode(byte_to_char((unsigned char)word.p[i]), c);
        buf_add(&w->scratch, c, n);
    }
    return buf_failed(&w->scratch) ? TOK_NONE : tok_lookup_text(w->t, buf_str(&w->scratch));
}

static int encode_word(void *ctx, struct str word)
{
    struct tok_work *w = ctx;
    if (w->t->whole_words) {
        uint32_t id = find_whole(w, word);
        if (id != TOK_NONE)
            return tok_work_emit(w, id);
    }
    int rc = tok_work_reserve(w, word.n);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < word.n; i++)
        w->symbols[i] = w->t->byte_id[(unsigned char)word.p[i]];
    tok_merger_run(&w->merger, (uint32_t)word.n);
    for (uint32_t i = 0; rc == 0 && i != TOK_NONE; i = w->merger.next[i]) {
        /* A byte that the vocabulary has no token for is lost, as in the reference engine. */
        if (w->symbols[i] != TOK_NONE)
            rc = tok_work_emit(w, w->symbols[i]);
    }
    return rc;
}

/* ---- raw ---- */

/* Symbols are characters; w->lengths holds where each begins. */
static uint32_t cut_characters(struct tok_work *w, struct str word)
{
    uint32_t n = 0, cp;
    for (size_t i = 0; i < word.n; n++) {
        size_t len = utf8_decode(str_n(word.p + i, word.n - i), &cp);
        len = len ? len : 1;
        w->lengths[n] = (uint32_t)i;
        w->symbols[n] = tok_lookup_text(w->t, str_n(word.p + i, len));
        i += len;
    }
    return n;
}

/* A symbol without an id was never merged: it is one character. */
static int emit_raw(struct tok_work *w, struct str word, uint32_t i)
{
    if (w->symbols[i] != TOK_NONE)
        return tok_work_emit(w, w->symbols[i]);
    uint32_t from = w->lengths[i], next = w->merger.next[i];
    size_t end = next == TOK_NONE ? word.n : w->lengths[next];
    return tok_work_emit_bytes(w, str_n(word.p + from, end - from));
}

static int encode_raw_word(void *ctx, struct str word)
{
    struct tok_work *w = ctx;
    uint32_t id = word.p[0] == '\n' ? tok_lookup_text(w->t, word) : TOK_NONE;
    if (id != TOK_NONE)
        return tok_work_emit(w, id); /* a run of newlines is a token without merges */
    int rc = tok_work_reserve(w, word.n);
    if (rc != 0)
        return rc;
    tok_merger_run(&w->merger, cut_characters(w, word));
    for (uint32_t i = 0; rc == 0 && i != TOK_NONE; i = w->merger.next[i])
        rc = emit_raw(w, word, i);
    return rc;
}

int tok_bpe_encode(struct tok_work *w, struct str text)
{
    w->merger.rank_of = rank_of;
    w->merger.join = join;
    w->merger.ctx = w;
    if (!w->t->raw)
        return tok_split_run(w->t->split, text, encode_word, w);
    buf_clear(&w->scratch);
    tok_escape_spaces(&w->scratch, text);
    if (buf_failed(&w->scratch))
        return err_set(w->e, ERR_NOMEM, "no memory to tokenize %zu bytes", text.n);
    return tok_split_run(w->t->split, buf_str(&w->scratch), encode_raw_word, w);
}

void tok_bpe_decode(struct str piece, struct buf *out)
{
    for (size_t i = 0; i < piece.n;) {
        uint32_t cp;
        size_t n = utf8_decode(str_n(piece.p + i, piece.n - i), &cp);
        int b = n ? char_to_byte(cp) : -1;
        if (b >= 0)
            buf_putc(out, (char)b);
        else
            buf_add(out, piece.p + i, n ? n : 1); /* not in the table: as it stands */
        i += n ? n : 1;
    }
}
