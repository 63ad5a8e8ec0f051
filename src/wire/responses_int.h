/* responses_int.h: between the files of the responses dialect. */
#ifndef WEIR_RESPONSES_INT_H
#define WEIR_RESPONSES_INT_H

#include "wire_int.h"

/* What `include` calls the log-probabilities of the answer's text. */
#define RESPONSES_LOGPROBS "message.output_text.logprobs"
/* gen_part.name of a GEN_PART_OPAQUE that stands for an item kept elsewhere; its id says which. */
#define RESPONSES_REFERENCE "item_reference"
/* gen_part.name of reasoning that is a summary. */
#define RESPONSES_SUMMARY "summary"

/* responses_item.c: a list of items into messages. d->list and d->i are set while it reads, so that
 * an error names the item. */
int responses_read_items(struct dec *d, const json_t *list, struct gen_msg **msgs, size_t *nmsgs);

/* responses_put.c: messages into items, separated by commas. id: NULL, or what the ids of kept
 * items are made of: then each item is whole, as the API lists it. */
int responses_put_items(struct enc *x, const struct gen_msg *msgs, size_t n, const char *id);
/* The tools array; whole: every field, as an answer shows them. */
int responses_put_tools(struct enc *x, const json_t *extra, bool whole);
/* The values of tool_choice, text and reasoning; whole: what was left out as well. */
void responses_put_choice(struct enc *x, const json_t *extra, bool whole);
int responses_put_text(struct enc *x, const json_t *extra, bool whole);
void responses_put_reasoning(struct enc *x, const json_t *extra, bool whole);
/* The request has a system message that stands for `instructions`. */
bool responses_has_instructions(const struct gen_req *r, const json_t *extra);

int responses_decode(struct dec *d, const json_t *body, struct gen_req *r);
int responses_encode(struct enc *x, struct str model);
int responses_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                    struct err *e);
int responses_writer_new(struct wire_writer *w);
void responses_writer_free(struct wire_writer *w);
struct str responses_whole(const struct wire_writer *w);
int responses_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e);
int responses_read_body(struct wire_reader *r, const json_t *body, struct err *e);
void responses_read_done(struct wire_reader *r);
bool responses_read_complete(const struct wire_reader *r, bool clean_end);
int responses_reader_new(struct wire_reader *r);
void responses_reader_free(struct wire_reader *r);
void responses_error(const struct err *err, struct buf *out);

#endif
