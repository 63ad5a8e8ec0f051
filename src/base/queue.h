/* queue.h: a bounded queue of pointers between threads. A push transfers ownership of what the
 * pointer means; a push that fails leaves it with the pusher. Any number of pushers and takers. */
#ifndef WEIR_QUEUE_H
#define WEIR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct queue;

struct queue *queue_new(size_t capacity);          /* NULL when out of memory */
void queue_free(struct queue *q);                  /* the caller has drained it; NULL is fine */
bool queue_push(struct queue *q, void *item);      /* false when full or closed */
bool queue_push_wait(struct queue *q, void *item); /* waits for room; false when closed */
void *queue_take(struct queue *q);                 /* NULL when empty */
void *queue_take_wait(struct queue *q);            /* waits; NULL when closed and empty */
void queue_close(struct queue *q);                 /* no more pushes; takers drain what is left */
size_t queue_count(struct queue *q);

#endif
