/* session_disk.c: sessions to and from disk, for other threads.
 *
 * Pages change hands on the engine's thread alone, so a caller has that done by an errand: it takes
 * a session of its own (for saving one that shares the pages to be written), reads or writes the
 * file on its own thread while others go on, and gives the session back by another errand. Shared
 * pages are never written, so nothing moves under the writer. */
#include "engine_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- errands ---- */

static struct errand *next_errand(struct engine *en, struct errand *done)
{
    pthread_mutex_lock(&en->lock);
    if (done) {
        done->done = true;
        pthread_cond_broadcast(&en->served);
    }
    struct errand *x = en->errands;
    if (x)
        en->errands = x->next;
    pthread_mutex_unlock(&en->lock);
    return x;
}

void errands_run(struct engine *en)
{
    for (struct errand *x = next_errand(en, NULL); x; x = next_errand(en, x))
        x->rc = x->run(en, x->arg, x->e);
}

static int errand(struct engine *en, int (*run)(struct engine *en, void *arg, struct err *e),
                  void *arg, struct err *e)
{
    struct errand x = {.run = run, .arg = arg, .e = e};
    pthread_mutex_lock(&en->lock);
    x.next = en->errands;
    en->errands = &x;
    en->poked = true;
    pthread_cond_signal(&en->wake);
    while (!x.done)
        pthread_cond_wait(&en->served, &en->lock);
    pthread_mutex_unlock(&en->lock);
    return x.rc;
}

/* ---- saving ---- */

struct saving {
    const int32_t *tokens;
    size_t n;
    struct session *session;
};

static int begin_save(struct engine *en, void *arg, struct err *e)
{
    struct saving *s = arg;
    return session_copy(en, s->tokens, s->n, &s->session, e);
}

static int drop(struct engine *en, void *arg, struct err *e)
{
    (void)e;
    session_drop(en, arg);
    engine_note_load(en);
    return 0;
}

int engine_session_save(struct engine *en, const int32_t *tokens, size_t n, const char *path,
                        int32_t *saved, struct err *e)
{
    struct saving s = {.tokens = tokens, .n = n};
    int rc = errand(en, begin_save, &s, e);
    if (rc)
        return rc;
    int32_t length = model_seq_len(s.session->seq);
    rc = model_seq_save(s.session->seq, tokens, path, e);
    errand(en, drop, s.session, NULL);
    if (!rc)
        *saved = length;
    return rc;
}

/* ---- restoring ---- */

struct restoring {
    struct model_saved *file;
    struct session *session;
    int32_t *tokens;
};

static int begin_restore(struct engine *en, void *arg, struct err *e)
{
    struct restoring *r = arg;
    return session_for_file(en, r->file, model_saved_len(r->file), &r->session, e);
}

static int publish(struct engine *en, void *arg, struct err *e)
{
    struct restoring *r = arg;
    (void)e;
    session_retire(en, r->session, r->tokens);
    engine_note_load(en);
    return 0;
}

static int fill(struct engine *en, struct restoring *r, struct err *e)
{
    size_t bytes = (size_t)model_saved_len(r->file) * sizeof *r->tokens;
    r->tokens = malloc(bytes);
    if (!r->tokens)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of tokens", bytes);
    memcpy(r->tokens, model_saved_tokens(r->file), bytes);
    int rc = errand(en, begin_restore, r, e);
    if (rc) {
        free(r->tokens);
        return rc;
    }
    rc = model_saved_read(r->file, r->session->seq, NULL, e);
    if (rc) {
        errand(en, drop, r->session, NULL);
        free(r->tokens);
        return rc;
    }
    return errand(en, publish, r, e);
}

int engine_session_restore(struct engine *en, const char *path, int32_t *restored, struct err *e)
{
    struct restoring r = {0};
    if (model_is_encoder(en->m))
        return err_set(e, ERR_UNSUPPORTED, "a model of the family %s has no sessions",
                       model_traits(en->m)->family);
    int rc = model_saved_open(en->kv, path, &r.file, e);
    if (rc)
        return rc;
    int32_t length = model_saved_len(r.file);
    rc = fill(en, &r, e);
    model_saved_close(r.file);
    if (!rc)
        *restored = length;
    return rc;
}
