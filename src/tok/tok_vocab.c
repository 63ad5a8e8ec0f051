/* tok_vocab.c: the vocabulary out of a GGUF's metadata: pieces, types, the ids with a role, and the
 * lookup by text. Refused: lists of different lengths, ids outside of the vocabulary, models and
 * pre-tokenizers we do not know. The pieces are views into the file. */
#include "tok_int.h"

#include "clock.h"

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
    for (uint32_t id = 0; id < t->count; id++)
        if (t->pieces[id].n)
            t->slots[slot_of(t, t->pieces[id])] = id + 1;
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

static int by_text(const void *a, const void *b)
{
    struct str x = ((const struct tok_special *)a)->text;
    struct str y = ((const struct tok_special *)b)->text;
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return order ? order : (x.n > y.n) - (x.n < y.n);
}

static bool is_special(const struct tok *t, uint32_t id)
{
    return t->types[id] == TOK_CONTROL || t->types[id] == TOK_USER;
}

/* Tokens that a template may write out: what they are is told by their type alone. */
static int list_special(struct tok *t, struct err *e)
{
    size_t n = 0;
    for (uint32_t id = 0; id < t->count; id++)
        n += is_special(t, id);
    t->special = malloc((n + 1) * sizeof *t->special);
    if (!t->special)
        return err_set(e, ERR_NOMEM, "no memory for %zu special tokens", n);
    for (uint32_t id = 0; id < t->count; id++) {
        struct str text = t->pieces[id];
        if (!is_special(t, id) || text.n == 0 || tok_lookup(t, text) != id)
            continue;
        t->special[t->nspecial++] = (struct tok_special){text, id};
        t->special_first[(unsigned char)text.p[0]] = true;
    }
    qsort(t->special, t->nspecial, sizeof *t->special, by_text);
    return 0;
}

/* ---- roles ---- */

/* An absent id, or the -1 that converters write for "none", leaves *out as it is. */
static int read_id(const struct tok *t, const struct gguf *g, const char *key, int32_t *out,
                   struct err *e)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if ((v->type == GGUF_U32 && v->u == UINT32_MAX) || (v->type == GGUF_I32 && v->i == -1)) {
        *out = -1;
        return 0;
    }
    uint64_t id;
    int rc = gguf_get_u64(g, key, t->count - 1, &id, e);
    if (rc == 0)
        *out = (int32_t)id;
    return rc;
}

static const char *const eog_names[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<|return|>",
    "<|call|>",
    "<|end_of_turn|>",
    "</s>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
};

static void mark_eog_name(struct tok *t, const char *name, bool eog)
{
    uint32_t id = tok_lookup(t, str_of(name));
    if (id != TOK_NONE && is_special(t, id))
        t->eog[id] = eog;
}

static int read_eog(struct tok *t, const struct gguf *g, struct err *e)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < sizeof eog_names / sizeof eog_names[0]; i++)
        mark_eog_name(t, eog_names[i], true);
    /* In the harmony format <|end|> closes a message, and a turn has several. */
    if (tok_lookup(t, STR("<|return|>")) != TOK_NONE && tok_lookup(t, STR("<|call|>")) != TOK_NONE)
        mark_eog_name(t, "<|end|>", false);
    for (size_t i = 0; i < 2; i++) {
        int32_t id = -1;
        int rc = read_id(t, g, keys[i], &id, e);
        if (rc != 0)
            return rc;
        if (id >= 0)
            t->eog[id] = true;
    }
    if (t->eos >= 0)
        t->eog[t->eos] = true;
    return 0;
}

static int32_t default_id(const struct tok *t, uint32_t id, unsigned type)
{
    return t->model == TOK_SPM && id < t->count && t->types[id] == type ? (int32_t)id : -1;
}

static int read_roles(struct tok *t, const struct gguf *g, struct err *e)
{
    t->unk = default_id(t, 0, TOK_UNKNOWN);
    t->bos = default_id(t, 1, TOK_CONTROL);
    t->eos = default_id(t, 2, TOK_CONTROL);
    int rc = read_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, e);
    if (rc == 0)
        rc = read_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, e);
    if (rc == 0)
        rc = read_id(t, g, "tokenizer.ggml.unknown_token_id", &t->unk, e);
    return rc == 0 ? read_eog(t, g, e) : rc;
}

static int read_flag(const struct gguf *g, const char *key, bool *out, struct err *e)
{
    return gguf_find(g, key) ? gguf_get_bool(g, key, out, e) : 0;
}

static int read_flags(struct tok *t, const struct gguf *g, struct err *e)
{
    t->add_bos = t->model == TOK_SPM || (t->split && tok_split_adds_bos(t->split));
    t->add_eos = false;
    t->space_prefix = t->model == TOK_SPM;
    int rc = read_flag(g, "tokenizer.ggml.add_bos_token", &t->add_bos, e);
    if (rc == 0)
        rc = read_flag(g, "tokenizer.ggml.add_eos_token", &t->add_eos, e);
    if (rc == 0)
        rc = read_flag(g, "tokenizer.ggml.add_space_prefix", &t->space_prefix, e);
    return rc;
}

/* ---- opening ---- */

static int read_model(struct tok *t, const struct gguf *g, struct err *e)
{
    struct str name;
    int rc = gguf_get_str(g, "tokenizer.ggml.model", &name, e);
    if (rc != 0)
        return rc;
    if (str_is(name, "gpt2"))
        t->model = TOK_BPE;
    else if (str_is(name, "llama"))
        t->model = TOK_SPM;
    else
        return err_set(e, ERR_UNSUPPORTED, "%s: tokenizer model \"%.*s\" (known: gpt2, llama)",
                       gguf_path(g), STR_ARG(name));
    return 0;
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
        rc = list_special(t, e);
    if (rc == 0)
        rc = t->model == TOK_BPE ? tok_bpe_open(t, g, e) : tok_spm_open(t, g, e);
    if (rc == 0)
        rc = read_roles(t, g, e);
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
    free(t->special);
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
