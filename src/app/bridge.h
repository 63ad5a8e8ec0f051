/* bridge.h: a sink that hops to the loop. Backends call their sink from their own thread;
 * everything the pipeline owns lives on the loop. A bridge copies each event, queues it, and
 * delivers it on the loop in order.
 *
 * Back-pressure goes the other way: when the loop's sink answered PAUSE, or more than 64 KiB wait
 * here, the backend is told PAUSE with its next event; bridge_resume lets it go on. Events already
 * under way still arrive. */
#ifndef WEIR_BRIDGE_H
#define WEIR_BRIDGE_H

#include "gen.h"
#include "net.h"

struct bridge;

/* wake(on_loop.ctx) is called on the loop when the backend had been paused only because events
 * waited here and they have been delivered: its resume() is wanted. */
int bridge_new(struct net_loop *loop, struct gen_sink on_loop, void (*wake)(void *ctx),
               struct bridge **out, struct err *e);
struct gen_sink bridge_sink(struct bridge *b);
/* On the loop. True: the backend had been told to pause, so its resume() is wanted now. */
bool bridge_resume(struct bridge *b);
/* On the loop, after DONE or ERROR was delivered or when start() failed. NULL is fine. */
void bridge_free(struct bridge *b);

#endif
