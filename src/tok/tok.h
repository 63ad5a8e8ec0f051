/* tok.h: text to token ids and back, from a GGUF's vocabulary. Immutable after tok_open: any thread
 * may use it.
 *
 * Special tokens are recognised only outside the byte ranges that came from messages: the caller
 * passes runs of text, each trusted (the template's own) or not, and no token that means something
 * to a template is found in or across an untrusted run. Linear time in the input. */
#ifndef WEIR_TOK_H
#define WEIR_TOK_H

#include "buf.h"
#include "err.h"
#include "gguf.h"

struct tok;

/* ERR_UNSUPPORTED names an unknown tokenizer model or pre-tokenizer; ERR_FORMAT a malformed
 * vocabulary. The GGUF must outlive the tokenizer. */
int tok_open(const struct gguf *g, struct tok **out, struct err *e);
void tok_free(struct tok *t);

int32_t tok_count(const struct tok *t);
int32_t tok_bos(const struct tok *t); /* -1: none */
int32_t tok_eos(const struct tok *t);
bool tok_add_bos(const struct tok *t); /* the file asks for it at the start of a text */
bool tok_add_eos(const struct tok *t);
bool tok_is_eog(const struct tok *t,
                int32_t id); /* ends a generation: eos, eot, eom, <|im_end|>, ... */
bool tok_is_control(const struct tok *t, int32_t id);
int32_t tok_find(const struct tok *t, struct str piece); /* the exact entry; -1: none */
struct str tok_piece(const struct tok *t, int32_t id);   /* as the vocabulary writes it */

struct tok_span {
    struct str text;
    bool special; /* special tokens are recognised here */
};

struct tok_ids {
    int32_t *p;
    size_t n, cap;
};
void tok_ids_done(struct tok_ids *ids);

enum { TOK_ADD_BOS = 1, TOK_ADD_EOS = 2 }; /* honoured only where the file asks for them */

/* Append the ids of the spans, read as one text. At most max ids (ERR_TOO_LARGE). */
int tok_encode(const struct tok *t, const struct tok_span *spans, size_t nspans, unsigned flags,
               size_t max, struct tok_ids *out, struct err *e);

/* Bytes of one token appended to out. first: the token opens the text (SentencePiece's leading
 * space goes). Control tokens give nothing unless show_control. Bytes may be part of a character:
 * pass them through utf8_partial_tail. */
void tok_decode(const struct tok *t, int32_t id, bool first, bool show_control, struct buf *out);

/* The words that a pre-tokenizer, by its name in files, cuts a text into before merging: word() for
 * each in order until it returns non-zero, which is returned. For tests and for looking closely.
 * ERR_UNSUPPORTED names one that is not known. */
int tok_words(struct str pre, struct str text, int (*word)(void *ctx, struct str word), void *ctx,
              struct err *e);

#endif
