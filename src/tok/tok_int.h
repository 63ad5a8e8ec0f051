/* tok_int.h: the vocabulary and the contracts between the files of this folder. */
#ifndef WEIR_TOK_INT_H
#define WEIR_TOK_INT_H

#include "tok.h"

#define TOK_NONE UINT32_MAX
#define TOK_MAX_VOCAB ((uint64_t)1 << 20) /* tokens, or merges: real ones have up to half */
#define TOK_MAX_TEXT ((size_t)1 << 30)
/* Of what is searched for at every place of a text: it bounds the time a place takes. */
#define TOK_MAX_MATCH ((size_t)1024)
/* How SentencePiece writes a space: U+2581. */
#define TOK_SPACE "\xE2\x96\x81"

enum tok_model { TOK_BPE, TOK_SPM, TOK_UNIGRAM, TOK_WORDPIECE };

/* llama.cpp's numbers, as tokenizer.ggml.token_type has them. */
enum tok_type {
    TOK_NORMAL = 1,
    TOK_UNKNOWN = 2,
    TOK_CONTROL = 3,
    TOK_USER = 4,
    TOK_UNUSED = 5,
    TOK_BYTE = 6,
    TOK_MARKUP = 7, /* ours: user-defined in the file, and part of a template's markup */
};

/* A merge's place in the list is its rank: the lowest is applied first. */
struct tok_merge {
    uint32_t left, right, result;
};

/* ---- tok_prefix.c: which of many texts does a text begin with ---- */

struct tok_entry {
    struct str text;
    uint32_t id;
};

struct tok_prefix {
    struct tok_entry *p; /* sorted by text */
    size_t n, cap;
    uint32_t first[257]; /* where the texts that begin with a byte begin */
};

/* A walk down one text: the entries from..to begin with its first depth bytes. */
struct tok_prefix_at {
    size_t from, to, depth;
};

bool tok_prefix_reserve(struct tok_prefix *x, size_t n);
void tok_prefix_add(struct tok_prefix *x, struct str text, uint32_t id); /* needs room */
void tok_prefix_sort(struct tok_prefix *x);
void tok_prefix_done(struct tok_prefix *x);
struct tok_prefix_at tok_prefix_begin(const struct tok_prefix *x);
/* One byte on. False: no text goes on like this. *id: the entry that ends here, or TOK_NONE. */
bool tok_prefix_step(const struct tok_prefix *x, struct tok_prefix_at *at, unsigned char c,
                     uint32_t *id);
/* The longest entry that s begins with; its length or 0. */
size_t tok_prefix_longest(const struct tok_prefix *x, struct str s, uint32_t *id);

struct tok_split;

struct tok {
    enum tok_model model;
    uint32_t count;
    struct str *pieces;
    unsigned char *types;
    bool *eog;
    uint32_t *slots; /* pieces by text: open addressing, 0 empty, else id + 1 */
    size_t nslots;
    bool twins; /* two pieces have the same text */
    uint64_t seed;
    size_t longest; /* bytes of the longest piece */

    struct tok_prefix special; /* found in trusted text: control, unknown and user-defined tokens */
    struct tok_prefix plain;   /* found in any text: user-defined tokens that are no markup */
    bool *lstrip, *rstrip;     /* by id: white space before, after it goes. NULL: none does */

    uint32_t byte_id[256]; /* TOK_NONE where the vocabulary has none */
    int32_t bos, eos, unk, sep;
    bool add_bos, add_eos;

    /* byte-level BPE */
    const struct tok_split *split;
    bool whole_words; /* a word that is a token is not merged up from bytes */
    bool raw;         /* pieces are text with U+2581 for a space, not GPT-2's characters */
    struct tok_merge *merges;
    size_t nmerges;
    uint32_t *merge_slots; /* merges by pair */
    size_t nmerge_slots;

    /* SentencePiece */
    bool space_prefix;
    uint32_t *rank; /* by id: place in the order of scores, equal scores equal, best 0 */

    /* unigram */
    float *scores;
    double unk_score;
    bool merge_spaces;
    struct tok_prefix words;  /* WordPiece: of the beginnings of words */
    struct tok_prefix inside; /* WordPiece: what goes on inside of a word */
    struct str charsmap;      /* the normaliser's double array, then its replacements */
    struct str replacements;

    /* WordPiece */
    bool lower, strip_accents;
};

/* ---- tok_vocab.c ---- */

/* The id of a piece, whatever its type; TOK_NONE. */
uint32_t tok_lookup(const struct tok *t, struct str piece);
/* The same, for what text may turn into: never a control, unknown, unused or byte token. */
uint32_t tok_lookup_text(const struct tok *t, struct str piece);
bool tok_type_is_text(unsigned type);

/* A byte's token is called <0x41>; byte_id of those. */
void tok_find_bytes(struct tok *t);
int tok_read_flag(const struct gguf *g, const char *key, bool *out, struct err *e);

/* ---- tok_special.c: which tokens have a role, and where they are found ---- */
int tok_special_open(struct tok *t, const struct gguf *g, struct err *e);

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
    uint32_t *lengths;  /* SentencePiece: bytes of each symbol; raw BPE: start offsets */
    size_t cap_symbols; /* of both */
    struct buf scratch;
};

int tok_work_emit(struct tok_work *w, uint32_t id);
int tok_work_emit_unknown(struct tok_work *w); /* nothing if the vocabulary has no such token */
/* Text by its bytes' tokens; one unknown token if some byte has none. */
int tok_work_emit_bytes(struct tok_work *w, struct str s);
int tok_work_reserve(struct tok_work *w, size_t n);

/* ---- the models ---- */
int tok_bpe_open(struct tok *t, const struct gguf *g, struct err *e);
/* A run of ordinary text without special tokens. */
int tok_bpe_encode(struct tok_work *w, struct str text);
void tok_bpe_decode(struct str piece, struct buf *out);

int tok_spm_open(struct tok *t, const struct gguf *g, struct err *e);
/* The same: it stands at the beginning or after a special token, where the prefix space goes. */
int tok_spm_encode(struct tok_work *w, struct str text);
void tok_spm_decode(struct str piece, bool first, struct buf *out); /* first: its space goes */
void tok_escape_spaces(struct buf *out, struct str text);

int tok_unigram_open(struct tok *t, const struct gguf *g, struct err *e);
int tok_unigram_encode(struct tok_work *w, struct str text);

int tok_wordpiece_open(struct tok *t, const struct gguf *g, struct err *e);
int tok_wordpiece_encode(struct tok_work *w, struct str text);

/* ---- tok_split.c: pre-tokenizers ---- */

/* NULL for a name we do not know. */
const struct tok_split *tok_split_find(struct str name);
bool tok_split_whole_words(const struct tok_split *s);
bool tok_split_adds_bos(const struct tok_split *s);
bool tok_split_always_bos(const struct tok_split *s); /* whatever the file says */
bool tok_split_raw(const struct tok_split *s); /* words are not written in GPT-2's characters */
bool tok_is_space(uint32_t cp);
/* Calls word() for each word in order until it returns non-zero, which is returned. */
int tok_split_run(const struct tok_split *s, struct str text,
                  int (*word)(void *ctx, struct str word), void *ctx);

#endif
