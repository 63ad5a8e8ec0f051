/* queue.c: a ring under one lock. What crosses it is coarse (requests, bunches of events), so a
 * lock is enough. */
#include "queue.h"

#include <pthread.h>
#include <stdlib.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled, drained;
    size_t cap, head, n;
    bool closed;
    void *items[];
};

struct queue *queue_new(size_t capacity)
{
    if (capacity == 0 || capacity > 1u << 24)
        return NULL;
    struct queue *q = calloc(1, sizeof *q + capacity * sizeof q->items[0]);
    if (!q)
        return NULL;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, NULL);
    pthread_cond_init(&q->drained, NULL);
    q->cap = capacity;
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->filled);
    pthread_cond_destroy(&q->drained);
    free(q);
}

static bool push(struct queue *q, void *item, bool wait)
{
    pthread_mutex_lock(&q->lock);
    while (wait && q->n == q->cap && !q->closed)
        pthread_cond_wait(&q->drained, &q->lock);
    bool ok = q->n < q->cap && !q->closed;
    if (ok) {
        q->items[(q->head + q->n++) % q->cap] = item;
        pthread_cond_signal(&q->filled);
    }
    pthread_mutex_unlock(&q->lock);
    return ok;
}

static void *take(struct queue *q, bool wait)
{
    pthread_mutex_lock(&q->lock);
    while (wait && q->n == 0 && !q->closed)
        pthread_cond_wait(&q->filled, &q->lock);
    void *item = NULL;
    if (q->n) {
        item = q->items[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
        pthread_cond_signal(&q->drained);
    }
    pthread_mutex_unlock(&q->lock);
    return item;
}

bool queue_push(struct queue *q, void *item)
{
    return push(q, item, false);
}

bool queue_push_wait(struct queue *q, void *item)
{
    return push(q, item, true);
}

void *queue_take(struct queue *q)
{
    return take(q, false);
}

void *queue_take_wait(struct queue *q)
{
    return take(q, true);
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->filled);
    pthread_cond_broadcast(&q->drained);
    pthread_mutex_unlock(&q->lock);
}

size_t queue_count(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t n = q->n;
    pthread_mutex_unlock(&q->lock);
    return n;
}
