/* session.c: which session a job continues: reuse, extend or rebuild.
 *
 * Every session, running or finished, is a prefix another job may begin with. A finished one that
 * the prompt continues is taken over; one that has more of its own than it shares is kept and its
 * common pages are shared by reference; a running one is only ever shared. Cached and computed
 * positions have the same bits, so the choice changes nothing but time. The least recently used
 * finished session goes when pages or places are wanted.
 *
 * Models with windows or recurrent layers cannot be cut anywhere: what counts there is how far a
 * session can be reached (model_seq_reach). Snapshots are taken while a prompt is read: at its end,
 * before the last token, which is computed again whenever the prompt comes back; a little before
 * it, where the next turn's prompt may already differ (a template that leaves reasoning out); and
 * at every SNAPSHOT_EVERY positions, for other prompts that begin alike. They are taken only where
 * memory is free, and given up before a running session would have to be. */
#include "cache_int.h"

#include <stdlib.h>

/* Sharing fewer positions than this is not worth a page's copy. */
#define SHARE_MIN 16
#define SNAPSHOT_EVERY 1024
/* How far before a prompt's end the earlier of its snapshots lies, at least. */
#define SNAPSHOT_BACK 16

int32_t session_common(const struct session *s, const int32_t *tokens, size_t n)
{
    int32_t len = model_seq_len(s->seq), i = 0;
    if ((size_t)len > n)
        len = (int32_t)n;
    while (i < len && s->tokens[i] == tokens[i])
        i++;
    return i;
}

/* The session with the longest common prefix, a finished one first; NULL: none has any. */
static struct session *longest(struct engine *en, const int32_t *tokens, size_t n, int32_t *length)
{
    struct session *best = NULL;
    *length = 0;
    for (int i = 0; i < en->max_sessions; i++) {
        struct session *s = &en->sessions[i];
        if (!s->seq || !s->tokens) /* without tokens: one that is being written or read */
            continue;
        int32_t l = model_seq_reach(s->seq, session_common(s, tokens, n));
        bool better = l > *length || (best && l == *length && best->busy && !s->busy);
        if (l > 0 && better) {
            best = s;
            *length = l;
        }
    }
    return best;
}

int32_t session_longest(struct engine *en, const int32_t *tokens, size_t n, struct session **which)
{
    int32_t length;
    struct session *s = longest(en, tokens, n, &length);
    if (which)
        *which = s;
    return length;
}

/* What losing a session costs: nothing that is not on disk, a file, one that is being written. */
static int loss(const struct engine *en, struct session *s)
{
    return s->saving ? 2 : cache_wants(en, s) ? 1 : 0;
}

struct session *session_oldest(struct engine *en, const struct session *keep)
{
    struct session *old = NULL;
    int least = 0;
    for (int i = 0; i < en->max_sessions; i++) {
        struct session *s = &en->sessions[i];
        if (!s->seq || s->busy || s == keep)
            continue;
        int l = loss(en, s);
        if (!old || l < least || (l == least && s->used < old->used)) {
            old = s;
            least = l;
        }
    }
    return old;
}

bool session_has_place(const struct engine *en)
{
    for (int i = 0; i < en->max_sessions; i++)
        if (!en->sessions[i].seq)
            return true;
    return false;
}

/* A free place, if need be that of the least recently used finished session. */
static struct session *new_session(struct engine *en, const struct session *except, struct err *e)
{
    struct session *s = NULL;
    for (int i = 0; i < en->max_sessions && !s; i++)
        if (!en->sessions[i].seq)
            s = &en->sessions[i];
    if (!s) {
        s = session_oldest(en, except); /* those that run leave places over; files may take them */
        if (!s) {
            err_set(e, ERR_BUSY, "every place for a session is in use");
            return NULL;
        }
        session_drop(en, s);
    }
    int rc = model_seq_new(en->kv, en->ctx, &s->seq, e);
    if (rc)
        return NULL;
    s->tokens = NULL;
    s->busy = true;
    return s;
}

/* A new session that shares `length` positions of `from`; fewer (none) when pages are short. */
static struct session *branch(struct engine *en, const struct session *from, int32_t *length,
                              struct err *e)
{
    struct session *s = new_session(en, from, e);
    if (!s)
        return NULL;
    while (model_seq_share(s->seq, from->seq, *length, length, NULL) != 0) {
        struct session *old = session_oldest(en, from);
        if (!old) {
            *length = 0;
            break;
        }
        session_drop(en, old);
    }
    return s;
}

int session_sync(struct engine *en, const int32_t *tokens, size_t n, struct session **out,
                 int32_t *reused, struct err *e)
{
    int32_t length;
    /* At least the last token is computed: its logits are what the job is about. */
    struct session *best = longest(en, tokens, n - 1, &length), *s;
    bool take = best && !best->busy && model_seq_len(best->seq) - length <= length;
    if (take) {
        s = best;
        cache_release(en, s);
        s->wanted_out = false;
        s->busy = true;
        model_seq_cut(s->seq, length);
        free(s->tokens);
        s->tokens = NULL;
    } else if (best && length >= SHARE_MIN) {
        s = branch(en, best, &length, e);
    } else {
        s = new_session(en, NULL, e);
        length = 0;
    }
    if (!s)
        return ERR_NOMEM;
    s->used = ++en->uses;
    *reused = length;
    *out = s;
    return 0;
}

/* Of running sessions, when nothing else can be given up. */
static bool forget_snapshots(struct engine *en)
{
    bool any = false;
    for (int i = 0; i < en->max_sessions; i++) {
        const struct session *s = &en->sessions[i];
        if (s->seq && s->tokens && !s->saving && model_seq_forget(s->seq))
            any = true;
    }
    return any;
}

int session_copy(struct engine *en, const int32_t *tokens, size_t n, struct session **out,
                 struct err *e)
{
    int32_t length;
    struct session *from = longest(en, tokens, n, &length);
    if (!from)
        return err_set(e, ERR_NOT_FOUND, "no session begins with these tokens");
    struct session *s = branch(en, from, &length, e);
    if (!s)
        return ERR_NOMEM;
    if (length == 0) {
        session_drop(en, s);
        return err_set(e, ERR_NOMEM, "the cache is full: no page for a copy");
    }
    *out = s;
    return 0;
}

int session_for_file(struct engine *en, const struct model_saved *f, int32_t positions,
                     struct session **out, struct err *e)
{
    struct session *s = new_session(en, NULL, e);
    int rc;
    if (!s)
        return ERR_NOMEM;
    while ((rc = model_saved_reserve(f, positions, s->seq, e)) == ERR_NOMEM) {
        struct session *old = session_oldest(en, s);
        if (!old)
            break;
        session_drop(en, old);
    }
    if (rc) {
        session_drop(en, s);
        return rc;
    }
    *out = s;
    return 0;
}

bool session_reserve(struct engine *en, struct session *s, int32_t positions)
{
    while (model_seq_reserve(s->seq, positions, NULL) != 0) {
        struct session *old = session_oldest(en, NULL);
        if (old)
            session_drop(en, old);
        else if (!forget_snapshots(en))
            return false;
    }
    return true;
}

/* ---- snapshots ---- */

/* Whether a prompt of n tokens is to be snapshot when `at` of them are read. */
static bool is_stop(size_t at, size_t n)
{
    size_t back = n > SNAPSHOT_BACK ? (n - 1 - SNAPSHOT_BACK) / KERN_PAGE * KERN_PAGE : 0;
    return at > 0 && (at % SNAPSHOT_EVERY == 0 || at == n - 1 || at == back);
}

size_t session_stop(const struct engine *en, size_t at, size_t n, size_t most)
{
    if (!en->snapshots)
        return most;
    for (size_t i = 1; i < most; i++)
        if (is_stop(at + i, n))
            return i;
    return most;
}

int32_t session_reach_later(const struct engine *en, int32_t positions, size_t n)
{
    while (en->snapshots && positions > 0 && !is_stop((size_t)positions, n))
        positions--;
    return positions;
}

void session_snapshot(struct engine *en, struct session *s, size_t n)
{
    int32_t len = model_seq_len(s->seq);
    if (en->snapshots && is_stop((size_t)len, n))
        model_seq_snapshot(s->seq, len, NULL); /* no room: it will be computed again */
}

/* ---- ends ---- */

void session_retire(struct engine *en, struct session *s, int32_t *tokens)
{
    s->tokens = tokens;
    s->busy = false;
    s->used = ++en->uses;
    if (model_seq_len(s->seq) == 0)
        session_drop(en, s);
    else {
        model_seq_cut(s->seq, model_seq_len(s->seq)); /* pages reserved and not written */
        cache_note_retired(en, s);
    }
}

void session_drop(struct engine *en, struct session *s)
{
    cache_release(en, s);
    model_seq_free(s->seq);
    if (!s->busy)
        free(s->tokens);
    *s = (struct session){0};
}

void session_drop_all(struct engine *en)
{
    for (int i = 0; en->sessions && i < en->max_sessions; i++)
        if (en->sessions[i].seq)
            session_drop(en, &en->sessions[i]);
}
