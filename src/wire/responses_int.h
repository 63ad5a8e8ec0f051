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

/* responses_tools.c: a tool as the caller knows it. */
struct responses_tool {
    struct str space, name; /* space: empty, or its namespace */
    bool custom;            /* its input is text, not JSON */
};
int responses_read_tools(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra);
int responses_read_choice(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra);
/* The name that gen has for it. 0 or ERR_NOMEM. */
int responses_tool_name(struct arena *a, struct str space, struct str name, struct str *out);
/* And back; a name that extra's tools do not know is a plain function's. Borrows from both. */
struct responses_tool responses_find_tool(const json_t *extra, struct str name);
/* A custom tool's text out of the arguments of its function (arguments of another form are the text
 * themselves), and into them. */
void responses_put_input(struct str args, struct buf *out);
void responses_put_args(struct str input, struct buf *out);

/* responses_put.c: messages into items, separated by commas. id: NULL, or what the ids of kept
 * items are made of: then each item is whole, as the API lists it. */
int responses_put_items(struct enc *x, const json_t *extra, const struct gen_msg *msgs, size_t n,
                        const char *id);
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
