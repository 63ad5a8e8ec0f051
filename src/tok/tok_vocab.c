/* tok_vocab.c: the vocabulary out of a GGUF's metadata: pieces, types, the ids with a role, and the
 * lookup by text. Refused: lists of different lengths, ids outside of the vocabulary, models and
 * pre-tokenizers we do not know. The pieces are views into the file. */
#include "tok_int.h"

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>

static const char key_tokens[] = "tokenizer.ggml.tokens";
static const char key_types[] = "tokenizer.ggml.token_type";

bool tok_type_is_text(unsigned type)
{
    return type == TOK_NORMAL || type == TOK_USER;
}

/* ---- lookup ---- */

static size_t slot_of(const struct tok *t, struct str piece)
{
    size_t i = (size_t)str_hash(piece, t->seed) & (t->nslots - 1);
    while (t->slots[i] && !str_eq(t->pieces[t->slots[i] - 1], piece))
        i = (i + 1) & (t->nslots - 1);
    return i;
}

uint32_t tok_lookup(const struct tok *t, struct str piece)
{
    if (piece.n == 0 || piece.n > t->longest)
        return TOK_NONE;
    return t->slots[slot_of(t, piece)] - 1; /* an empty slot gives TOK_NONE */
}

uint32_t tok_lookup_text(const struct tok *t, struct str piece)
{
    uint32_t id = tok_lookup(t, piece);
    return id != TOK_NONE && tok_type_is_text(t->types[id]) ? id : TOK_NONE;
}

/* A piece stands for one byte if the file says so; its name says which. */
void tok_find_bytes(struct tok *t)
{
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        int n = snprintf(name, sizeof name, "<0x%02X>", b);
        uint32_t id = tok_lookup(t, str_n(name, (size_t)n));
        t->byte_id[b] = id != TOK_NONE && t->types[id] == TOK_BYTE ? id : TOK_NONE;
    }
}

static int index_pieces(struct tok *t, struct err *e)
{
    t->nslots = 16;
    while (t->nslots < (size_t)t->count * 2)
        t->nslots *= 2;
    t->seed = clock_mono_ns() * 0xD1342543DE82EF95u ^ (uint64_t)(uintptr_t)t;
    t->slots = calloc(t->nslots, sizeof *t->slots);
    if (!t->slots)
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %u", t->count);
    /* Of two pieces with the same text the later one counts, as in the reference engine. */
    for (uint32_t id = 0; id < t->count; id++) {
        if (t->pieces[id].n) {
            uint32_t *slot = &t->slots[slot_of(t, t->pieces[id])];
            t->twins = t->twins || *slot;
            *slot = id + 1;
        }
    }
    return 0;
}

/* ---- the lists ---- */

static int read_pieces(struct tok *t, const struct gguf *g, struct err *e)
{
    const struct gguf_value *v = gguf_find(g, key_tokens);
    if (!v)
        return err_set(e, ERR_NOT_FOUND, "%s: no vocabulary (%s)", gguf_path(g), key_tokens);
    if (v->type != GGUF_ARR || v->elem != GGUF_STR || v->count == 0 || v->count > TOK_MAX_VOCAB)
        return err_set(e, ERR_FORMAT, "%s: %s is not a list of 1 to %llu strings", gguf_path(g),
                       key_tokens, (unsigned long long)TOK_MAX_VOCAB);
    t->count = (uint32_t)v->count;
    t->pieces = calloc(t->count, sizeof *t->pieces);
    t->types = malloc(t->count);
    t->eog = calloc(t->count, sizeof *t->eog);
    if (!t->pieces || !t->types || !t->eog)
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %u", t->count);
    uint64_t pos = 0;
    for (uint32_t id = 0; gguf_arr_str_next(v, &pos, &t->pieces[id]); id++) {
        if (t->pieces[id].n > t->longest)
            t->longest = t->pieces[id].n;
        if (id + 1 == t->count)
            break;
    }
    return 0;
}

static int read_types(struct tok *t, const struct gguf *g, struct err *e)
{
    memset(t->types, TOK_NORMAL, t->count);
    const struct gguf_value *v = gguf_find(g, key_types);
    if (!v)
        return 0;
    if (v->type != GGUF_ARR || v->count != t->count)
        return err_set(e, ERR_FORMAT, "%s: %s has not one entry for each of the %u tokens",
                       gguf_path(g), key_types, t->count);
    for (uint32_t id = 0; id < t->count; id++) {
        int64_t type;
        if (!gguf_arr_i64(v, id, &type) || type < 0 || type > TOK_BYTE)
            return err_set(e, ERR_FORMAT, "%s: %s: entry %u is not a type of token", gguf_path(g),
                           key_types, id);
        t->types[id] = (unsigned char)(type ? type : TOK_NORMAL);
    }
    return 0;
}

int tok_read_flag(const struct gguf *g, const char *key, bool *out, struct err *e)
{
    return gguf_find(g, key) ? gguf_get_bool(g, key, out, e) : 0;
}

static int read_flags(struct tok *t, const struct gguf *g, struct err *e)
{
    t->add_bos = t->model == TOK_SPM || (t->split && tok_split_adds_bos(t->split));
    t->add_eos = t->model == TOK_UNIGRAM;
    t->space_prefix = t->model == TOK_SPM;
    int rc = tok_read_flag(g, "tokenizer.ggml.add_bos_token", &t->add_bos, e);
    if (rc == 0)
        rc = tok_read_flag(g, "tokenizer.ggml.add_eos_token", &t->add_eos, e);
    if (rc == 0)
        rc = tok_read_flag(g, "tokenizer.ggml.add_space_prefix", &t->space_prefix, e);
    if (t->model == TOK_WORDPIECE)
        t->add_bos = t->add_eos = true; /* [CLS] text [SEP], whatever the file says */
    if (t->split && tok_split_always_bos(t->split))
        t->add_bos = true;
    return rc;
}

/* ---- opening ---- */

static int read_model(struct tok *t, const struct gguf *g, struct err *e)
{
    struct str name;
    int rc = gguf_get_str(g, "tokenizer.ggml.model", &name, e);
    if (rc != 0)
        return rc;
    static const struct {
        const char *name;
        enum tok_model model;
    } models[] = {{"gpt2", TOK_BPE},
                  {"gemma4", TOK_BPE},
                  {"llama", TOK_SPM},
                  {"t5", TOK_UNIGRAM},
                  {"bert", TOK_WORDPIECE}};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (str_is(name, models[i].name)) {
            t->model = models[i].model;
            return 0;
        }
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: tokenizer model \"%.*s\" (known: gpt2, gemma4, llama, t5, bert)",
                   gguf_path(g), STR_ARG(name));
}

static int open_model(struct tok *t, const struct gguf *g, struct err *e)
{
    switch (t->model) {
    case TOK_BPE: return tok_bpe_open(t, g, e);
    case TOK_SPM: return tok_spm_open(t, g, e);
    case TOK_UNIGRAM: return tok_unigram_open(t, g, e);
    case TOK_WORDPIECE: return tok_wordpiece_open(t, g, e);
    }
    return ERR_INTERNAL;
}

static int open_parts(struct tok *t, const struct gguf *g, struct err *e)
{
    int rc = read_model(t, g, e);
    if (rc == 0)
        rc = read_pieces(t, g, e);
    if (rc == 0)
        rc = read_types(t, g, e);
    if (rc == 0)
        rc = index_pieces(t, e);
    if (rc == 0)
        rc = tok_special_open(t, g, e);
    if (rc == 0)
        rc = open_model(t, g, e);
    return rc == 0 ? read_flags(t, g, e) : rc;
}

int tok_open(const struct gguf *g, struct tok **out, struct err *e)
{
    struct tok *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    int rc = open_parts(t, g, e);
    if (rc != 0)
        tok_free(t);
    else
        *out = t;
    return rc;
}

void tok_free(struct tok *t)
{
    if (!t)
        return;
    free(t->pieces);
    free(t->types);
    free(t->eog);
    free(t->slots);
    tok_prefix_done(&t->special);
    tok_prefix_done(&t->plain);
    tok_prefix_done(&t->words);
    tok_prefix_done(&t->inside);
    free(t->lstrip);
    free(t->rstrip);
    free(t->scores);
    free(t->merges);
    free(t->merge_slots);
    free(t->rank);
    free(t);
}

static bool in_range(const struct tok *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->count;
}

int32_t tok_count(const struct tok *t)
{
    return (int32_t)t->count;
}

int32_t tok_bos(const struct tok *t)
{
    return t->bos;
}

int32_t tok_eos(const struct tok *t)
{
    return t->eos;
}

bool tok_add_bos(const struct tok *t)
{
    return t->add_bos && t->bos >= 0;
}

bool tok_add_eos(const struct tok *t)
{
    return t->add_eos && t->eos >= 0;
}

bool tok_is_eog(const struct tok *t, int32_t id)
{
    return in_range(t, id) && t->eog[id];
}

bool tok_is_control(const struct tok *t, int32_t id)
{
    return in_range(t, id) && t->types[id] == TOK_CONTROL;
}

int32_t tok_find(const struct tok *t, struct str piece)
{
    uint32_t id = tok_lookup(t, piece);
    return id == TOK_NONE ? -1 : (int32_t)id;
}

struct str tok_piece(const struct tok *t, int32_t id)
{
    return in_range(t, id) ? t->pieces[id] : STR_NONE;
}
