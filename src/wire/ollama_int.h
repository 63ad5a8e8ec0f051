/* ollama_int.h: what the files of the Ollama dialect share. Its paths differ in where a prompt
 * stands; options, format, think and keep_alive are the same in all of them. */
#ifndef WEIR_OLLAMA_INT_H
#define WEIR_OLLAMA_INT_H

#include "wire_int.h"

/* ---- both ways (ollama_opts.c) ---- */

/* The field "model", which may not be missing. missing: the code, whose message is Ollama's own. */
int ollama_decode_model(struct dec *d, const json_t *body, struct gen_req *r, int missing);
/* options and keep_alive; what options gen has no word for stand in extra's "options". */
int ollama_decode_options(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra);
int ollama_encode_options(struct enc *x, const json_t *extra);
/* Those, and what asks for text: stream, format, think, truncate, logprobs. */
int ollama_decode_common(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra);
int ollama_encode_common(struct enc *x, const json_t *extra);

/* ---- requests ---- */

int ollama_chat_decode(struct dec *d, const json_t *body, struct gen_req *r);
int ollama_generate_decode(struct dec *d, const json_t *body, struct gen_req *r);
int ollama_chat_encode(struct enc *x, struct str model);
int ollama_generate_encode(struct enc *x, struct str model);
bool ollama_is_base64(struct str s); /* and not empty */

/* ---- answers of chat and generate ---- */

int ollama_writer_new(struct wire_writer *w);
void ollama_writer_free(struct wire_writer *w);
int ollama_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e);
int ollama_reader_new(struct wire_reader *r);
void ollama_reader_free(struct wire_reader *r);
int ollama_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e);
int ollama_read_body(struct wire_reader *r, const json_t *body, struct err *e);
void ollama_read_done(struct wire_reader *r);
bool ollama_read_complete(const struct wire_reader *r, bool clean_end);
/* {"error":"text"} */
void ollama_error(const struct err *err, struct buf *out);
/* The durations and counts of an answer's end. */
void ollama_put_times(const struct wire_writer *w, struct buf *b);
/* USAGE from them. */
void ollama_read_times(struct wire_reader *r, const json_t *o);

#endif
