/* native.h: gen events as lines of JSON, what the page and the command line read from POST
 * /weir/v1/chat.
 *
 *   {"type":"route", ...plan...}            first: where it goes and why, before anything is
 * generated
 *   {"type":"start","model":"smollm2:135m"}
 *   {"type":"text","text":"..."}            also "reasoning"
 *   {"type":"tool","tool":0,"id":"..","name":".."}   {"type":"tool_args","tool":0,"text":".."}
 *   {"type":"done","reason":"stop"}         or {"type":"error","code":"CUT","message":".."}
 *   {"type":"account", ...}                 last: where, why, tokens, times, cost (the ledger's
 * row) */
#ifndef WEIR_NATIVE_H
#define WEIR_NATIVE_H

#include "buf.h"
#include "gen.h"

/* Append the line of one event, if it has one (usage goes into the account). */
void native_event(const struct gen_event *ev, struct buf *out);
void native_error(const struct err *err, struct buf *out);
const char *native_reason(enum gen_reason r);

#endif
