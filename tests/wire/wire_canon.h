/* wire_canon.h: a request and a stream of events as text, one fact a line, so that tests compare
 * and golden files show them. */
#ifndef WEIR_TEST_WIRE_CANON_H
#define WEIR_TEST_WIRE_CANON_H

#include "buf.h"
#include "gen.h"

void canon_req(const struct gen_req *r, struct buf *b);
void canon_event(const struct gen_event *ev, struct buf *b);

/* Collects events as text; neighbouring pieces of one text or one call's arguments are joined when
 * `join` is set, because where a text is cut into events is not part of its meaning. */
struct canon_sink {
    struct buf text; /* finished lines */
    struct buf piece;
    bool join;
    bool skip_usage;
    enum gen_event_type type;
    int32_t index, tool;
    bool open;
    int ends; /* DONE and ERROR events */
    enum gen_verdict answer;
};
void canon_sink_init(struct canon_sink *s, bool join);
void canon_sink_done(struct canon_sink *s);
struct gen_sink canon_sink_of(struct canon_sink *s);
void canon_sink_flush(struct canon_sink *s);

/* Writes an answer to $WEIR_WIRE_DUMP/NAME-NUMBER.txt where that folder is named: for checks by
 * other means (validate_schema.py). */
void canon_dump(const char *name, int number, struct str bytes);

#endif
