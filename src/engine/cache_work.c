/* cache_work.c: the cache's two threads. One reads: first the folder, then files into pages that
 * the engine's thread took for them; one writes, a session at a time, from pages that nobody
 * changes meanwhile. Whoever decodes waits for neither. What is done is collected by the engine's
 * thread, which is woken for it. */
#include "cache_int.h"

#include <stdlib.h>

static void wake_engine(struct engine *en)
{
    pthread_mutex_lock(&en->lock);
    en->poked = true;
    pthread_cond_signal(&en->wake);
    pthread_mutex_unlock(&en->lock);
}

/* ---- reading ---- */

static struct cache_read *next_read(struct cache *c)
{
    struct cache_read *r = NULL;
    pthread_mutex_lock(&c->lock);
    while (!c->quit) {
        for (r = c->reads; r && r->done;)
            r = r->next;
        if (r)
            break;
        pthread_cond_wait(&c->work, &c->lock);
    }
    bool quit = c->quit;
    pthread_mutex_unlock(&c->lock);
    return quit ? NULL : r;
}

static void *read_files(void *arg)
{
    struct cache *c = arg;
    cache_folder_read(c->folder);
    pthread_mutex_lock(&c->lock);
    c->ready = true;
    pthread_mutex_unlock(&c->lock);
    wake_engine(c->en);
    for (struct cache_read *r; (r = next_read(c));) {
        struct err e = {0};
        int rc = model_saved_read(r->file->saved, r->session->seq, &r->cancel, &e);
        if (!rc)
            cache_file_touch(c->folder, r->file);
        pthread_mutex_lock(&c->lock);
        r->rc = rc;
        r->done = true;
        pthread_mutex_unlock(&c->lock);
        wake_engine(c->en);
    }
    return NULL;
}

bool cache_ready(struct cache *c)
{
    pthread_mutex_lock(&c->lock);
    bool ready = c->ready;
    pthread_mutex_unlock(&c->lock);
    return ready;
}

void cache_ask_read(struct cache *c, struct cache_read *r)
{
    pthread_mutex_lock(&c->lock);
    struct cache_read **at = &c->reads;
    while (*at)
        at = &(*at)->next;
    *at = r;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
}

struct cache_read *cache_next_done(struct cache *c)
{
    pthread_mutex_lock(&c->lock);
    struct cache_read **at = &c->reads;
    while (*at && !(*at)->done)
        at = &(*at)->next;
    struct cache_read *r = *at;
    if (r)
        *at = r->next;
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* ---- writing ---- */

static void *write_files(void *arg)
{
    struct cache *c = arg;
    for (;;) {
        struct err e = {0};
        pthread_mutex_lock(&c->lock);
        while (!c->quit && !c->write_asked)
            pthread_cond_wait(&c->work, &c->lock);
        bool asked = c->write_asked;
        c->write_asked = false;
        pthread_mutex_unlock(&c->lock);
        if (!asked)
            return NULL;
        struct cache_write *w = &c->write;
        int rc = cache_folder_write(c->folder, w->seq, w->tokens, &w->cancel, &e);
        pthread_mutex_lock(&c->lock);
        w->rc = rc;
        w->done = true;
        pthread_cond_broadcast(&c->finished);
        pthread_mutex_unlock(&c->lock);
        wake_engine(c->en);
    }
}

void cache_ask_write(struct cache *c)
{
    pthread_mutex_lock(&c->lock);
    c->write.done = false;
    c->write_asked = true;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
}

bool cache_write_done(struct cache *c, bool wait)
{
    pthread_mutex_lock(&c->lock);
    while (wait && !c->write.done)
        pthread_cond_wait(&c->finished, &c->lock);
    bool done = c->write.done;
    pthread_mutex_unlock(&c->lock);
    return done;
}

/* ---- making and ending ---- */

int cache_start(struct cache *c, struct err *e)
{
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_cond_init(&c->finished, NULL);
    c->has_reader = pthread_create(&c->reader, NULL, read_files, c) == 0;
    c->has_writer = c->has_reader && pthread_create(&c->writer, NULL, write_files, c) == 0;
    if (c->has_writer)
        return 0;
    cache_stop(c);
    return err_set(e, ERR_NOMEM, "cannot start the cache's threads");
}

void cache_stop(struct cache *c)
{
    pthread_mutex_lock(&c->lock);
    c->quit = true;
    for (struct cache_read *r = c->reads; r; r = r->next)
        atomic_store(&r->cancel, true);
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    if (c->has_reader)
        pthread_join(c->reader, NULL);
    if (c->has_writer)
        pthread_join(c->writer, NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->work);
    pthread_cond_destroy(&c->finished);
}
