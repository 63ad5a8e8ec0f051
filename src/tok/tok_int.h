/* tok_int.h: the vocabulary and the contracts between the files of this folder. */
#ifndef WEIR_TOK_INT_H
#define WEIR_TOK_INT_H

#include "tok.h"

#define TOK_NONE UINT32_MAX
#define TOK_MAX_VOCAB ((uint64_t)1 << 24)
#define TOK_MAX_TEXT ((size_t)1 << 30)

enum tok_model { TOK_BPE, TOK_SPM };

/* llama.cpp's numbers, as tokenizer.ggml.token_type has them. */
enum tok_type {
    TOK_NORMAL = 1,
    TOK_UNKNOWN = 2,
    TOK_CONTROL = 3,
    TOK_USER = 4,
    TOK_UNUSED = 5,
    TOK_BYTE = 6,
};

/* A merge's place in the list is its rank: the lowest is applied first. */
struct tok_merge {
    uint32_t left, right, result;
};

struct tok_special {
    struct str text;
    uint32_t id;
};

struct tok_split;

struct tok {
    enum tok_model model;
    uint32_t count;
    struct str *pieces;
    unsigned char *types;
    bool *eog;
    uint32_t *slots; /* pieces by text: open addressing, 0 empty, else id + 1 */
    size_t nslots;
    uint64_t seed;
    size_t longest; /* bytes of the longest piece */

    struct tok_special *special; /* control and user-defined tokens, sorted by text */
    size_t nspecial;
    bool special_first[256]; /* the bytes they begin with */

    uint32_t byte_id[256]; /* TOK_NONE where the vocabulary has none */
    int32_t bos, eos, unk;
    bool add_bos, add_eos;

    /* byte-level BPE */
    const struct tok_split *split;
    bool whole_words; /* a word that is a token is not merged up from bytes */
    struct tok_merge *merges;
    size_t nmerges;
    uint32_t *merge_slots; /* merges by pair */
    size_t nmerge_slots;

    /* SentencePiece */
    bool space_prefix;
    uint32_t *rank; /* by id: place in the order of scores, equal scores equal, best 0 */
};

/* ---- tok_vocab.c ---- */

/* The id of a piece, whatever its type; TOK_NONE. */
uint32_t tok_lookup(const struct tok *t, struct str piece);
/* The same, for what text may turn into: never a control, unknown, unused or byte token. */
uint32_t tok_lookup_text(const struct tok *t, struct str piece);
bool tok_type_is_text(unsigned type);

/* ---- tok_merge.c: the greedy merge both models use ---- */

/* A list of symbols 0..n-1. rank_of tells in which order the pair (l, r) would merge, lowest first,
 * TOK_NONE for never; join makes l the merged symbol. Equal ranks go left to right. */
struct tok_merger {
    uint32_t (*rank_of)(void *ctx, uint32_t l, uint32_t r);
    void (*join)(void *ctx, uint32_t l, uint32_t r, uint32_t rank);
    void *ctx;
    uint32_t *prev, *next, *pending; /* pending[l]: the rank of (l, next[l]) */
    uint64_t *heap;                  /* rank << 32 | l */
    size_t nheap, cap;
};

void tok_merger_done(struct tok_merger *m);
bool tok_merger_reserve(struct tok_merger *m, size_t n);
/* Needs room reserved. Afterwards the symbols are 0, next[0], ... until TOK_NONE. O(n log n). */
void tok_merger_run(struct tok_merger *m, uint32_t n);

/* ---- an encoding under way ---- */
struct tok_work {
    const struct tok *t;
    struct tok_ids *out;
    size_t max, start; /* ids allowed; out->n at the start */
    struct err *e;
    struct tok_merger merger;
    struct str text;    /* the run of text being merged */
    uint32_t *symbols;  /* BPE: ids. SentencePiece: start offsets */
    uint32_t *lengths;  /* SentencePiece: bytes of each symbol */
    size_t cap_symbols; /* of both */
    struct buf scratch;
};

int tok_work_emit(struct tok_work *w, uint32_t id);
int tok_work_reserve(struct tok_work *w, size_t n);

/* ---- the models ---- */
int tok_bpe_open(struct tok *t, const struct gguf *g, struct err *e);
/* A run of ordinary text without special tokens. */
int tok_bpe_encode(struct tok_work *w, struct str text);
void tok_bpe_decode(struct str piece, struct buf *out);

int tok_spm_open(struct tok *t, const struct gguf *g, struct err *e);
/* The same: it stands at the beginning or after a special token, where the prefix space goes. */
int tok_spm_encode(struct tok_work *w, struct str text);
void tok_spm_decode(const struct tok *t, struct str piece, bool first, struct buf *out);

/* ---- tok_split.c: pre-tokenizers ---- */

/* NULL for a name we do not know. */
const struct tok_split *tok_split_find(struct str name);
bool tok_split_whole_words(const struct tok_split *s);
bool tok_split_adds_bos(const struct tok_split *s);
/* Calls word() for each word in order until it returns non-zero, which is returned. */
int tok_split_run(const struct tok_split *s, struct str text,
                  int (*word)(void *ctx, struct str word), void *ctx);

#endif
