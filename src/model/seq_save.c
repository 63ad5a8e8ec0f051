/* seq_save.c: writing one sequence to disk (seq_file_int.h has the layout).
 *
 * A file is written beside its name and renamed when it is whole. Its head comes last, when the
 * sums of the units are known: each unit is summed while it lies in the processor's cache, on its
 * way out. Positions past the length are written as zeros: what another sequence left in a page
 * stays here. */
#include "seq_file_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define PIECE ((size_t)256 << 10) /* summed and written at once */

struct writing {
    int fd, rc;
    const atomic_bool *cancel; /* NULL: none */
    unsigned char *lists;      /* all that stands before the units */
    uint64_t *sums;            /* of the units; in memory of its own, for alignment */
    uint64_t nunits;
    unsigned char *last; /* room for a page that is not full */
};

static int put(int fd, const void *p, size_t n)
{
    for (const char *at = p; n > 0;) {
        ssize_t did = write(fd, at, n < (1u << 30) ? n : 1u << 30);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
        at += did;
        n -= (size_t)did;
    }
    return 0;
}

static void put_unit(struct writing *w, const void *p, size_t n)
{
    struct hash sum;
    if (w->cancel && atomic_load_explicit(w->cancel, memory_order_relaxed) && !w->rc)
        w->rc = ERR_CANCELLED;
    hash_init(&sum, w->nunits);
    for (const unsigned char *at = p; n > 0 && !w->rc;) {
        size_t part = n < PIECE ? n : PIECE;
        hash_add(&sum, at, part);
        w->rc = put(w->fd, at, part);
        at += part;
        n -= part;
    }
    w->sums[w->nunits++] = hash_end(&sum);
}

/* The last page: positions that are not held are zeros. */
static void put_last(struct writing *w, const struct model_seq *s, enum state_class c, int32_t unit)
{
    const struct model_kv *kv = s->kv;
    size_t n = kv->pool[c].unit, keep = (size_t)(s->len % KERN_PAGE) * (kv->head_bytes / KERN_PAGE);
    memcpy(w->last, kv_unit(kv, c, unit), n);
    for (size_t at = 0; at < n; at += kv->head_bytes)
        memset(w->last + at + keep, 0, kv->head_bytes - keep);
    put_unit(w, w->last, n);
}

static void put_page(struct writing *w, const struct model_seq *s, enum state_class c, int32_t page)
{
    int32_t unit = s->pages[c][page];
    if (page == s->len / KERN_PAGE)
        put_last(w, s, c, unit);
    else
        put_unit(w, kv_unit(s->kv, c, unit), s->kv->pool[c].unit);
}

static bool held(const struct model_seq *s, int32_t page)
{
    return page < s->npages[STATE_WINDOW] && s->pages[STATE_WINDOW][page] >= 0;
}

static void put_units(struct writing *w, const struct model_seq *s)
{
    const struct model_kv *kv = s->kv;
    int32_t pages = state_pages_for(s->len);
    for (int32_t p = 0; kv->pool[STATE_FULL].unit && p < pages; p++)
        put_page(w, s, STATE_FULL, p);
    for (int32_t p = 0; p < pages; p++)
        if (held(s, p))
            put_page(w, s, STATE_WINDOW, p);
    size_t slot = kv->pool[STATE_RECURRENT].unit;
    if (slot == 0)
        return;
    put_unit(w, kv_unit(kv, STATE_RECURRENT, s->state), slot);
    for (int i = 0; i < s->nsnaps; i++)
        put_unit(w, kv_unit(kv, STATE_RECURRENT, s->snaps[i].slot), slot);
}

static struct file_head head_of(const struct model_seq *s)
{
    struct model_kv *kv = s->kv;
    int32_t pages = state_pages_for(s->len);
    struct file_head head = {.magic = SEQ_MAGIC,
                             .version = SEQ_VERSION,
                             .cache = (uint32_t)kv->cache,
                             .how = seq_file_how(kv->m, s->cap),
                             .len = s->len,
                             .nsnaps = s->nsnaps,
                             .identity = model_kv_identity(kv)};
    for (int32_t p = 0; p < pages; p++)
        head.nwindow += held(s, p);
    for (int i = 0; i < STATE_CLASSES; i++)
        head.unit[i] = kv->pool[i].unit;
    return head;
}

static unsigned char *add(unsigned char *at, const void *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

/* The head and the lists, now that the sums are known. */
static void put_lists(struct writing *w, const struct file_head *head, const struct model_seq *s,
                      const int32_t *tokens)
{
    unsigned char *at = add(w->lists, head, sizeof *head);
    at = add(at, tokens, (size_t)s->len * sizeof *tokens);
    for (int32_t p = 0; p < state_pages_for(s->len); p++)
        if (held(s, p))
            at = add(at, &p, sizeof p);
    for (int i = 0; i < s->nsnaps; i++)
        at = add(at, &s->snaps[i].position, sizeof s->snaps[i].position);
    at = add(at, w->sums, (size_t)w->nunits * sizeof *w->sums);
    uint64_t sum = hash_of(w->lists, (size_t)(at - w->lists), 0);
    at = add(at, &sum, sizeof sum);
    if (!w->rc && lseek(w->fd, 0, SEEK_SET) != 0)
        w->rc = ERR_IO;
    if (!w->rc)
        w->rc = put(w->fd, w->lists, (size_t)(at - w->lists));
}

static void put_all(struct writing *w, const struct model_seq *s, const int32_t *tokens)
{
    const struct file_head head = head_of(s);
    const struct model_kv *kv = s->kv;
    size_t page = kv->pool[STATE_FULL].unit > kv->pool[STATE_WINDOW].unit
                      ? kv->pool[STATE_FULL].unit
                      : kv->pool[STATE_WINDOW].unit;
    uint64_t start = seq_file_start(&head);
    w->lists = malloc((size_t)start);
    w->sums = malloc((size_t)(seq_file_units(&head) + 1) * sizeof *w->sums);
    w->last = malloc(page + 1);
    if (!w->lists || !w->sums || !w->last)
        w->rc = ERR_NOMEM;
    else if (lseek(w->fd, (off_t)start, SEEK_SET) < 0)
        w->rc = ERR_IO;
    if (!w->rc)
        put_units(w, s);
    if (!w->rc)
        put_lists(w, &head, s, tokens);
    free(w->lists);
    free(w->sums);
    free(w->last);
}

uint64_t model_seq_file_bytes(const struct model_seq *s)
{
    const struct file_head head = head_of(s);
    return seq_file_size(&head);
}

uint64_t model_seq_file_key(const struct model_seq *s, const int32_t *tokens)
{
    struct hash h;
    uint64_t what[3] = {model_kv_identity(s->kv), s->kv->cache, seq_file_how(s->kv->m, s->cap)};
    hash_init(&h, 0);
    hash_add(&h, what, sizeof what);
    hash_add(&h, tokens, (size_t)s->len * sizeof *tokens);
    return hash_end(&h);
}

static int write_file(const struct model_seq *s, const int32_t *tokens, const char *path, bool sync,
                      const atomic_bool *cancel, struct err *e)
{
    char beside[PATH_BYTES];
    int n = snprintf(beside, sizeof beside, "%s.XXXXXX", path);
    if (n < 0 || n >= (int)sizeof beside)
        return err_set(e, ERR_INVAL, "the path is too long: %s", path);
    if (s->len < 1)
        return err_set(e, ERR_INVAL, "an empty sequence is not worth a file");
    struct writing w = {.fd = mkostemp(beside, O_CLOEXEC), .cancel = cancel};
    if (w.fd < 0)
        return err_set(e, ERR_IO, "cannot write %s: %s", beside, strerror(errno));
    put_all(&w, s, tokens);
    if (!w.rc && sync && fsync(w.fd) != 0)
        w.rc = errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    int error = errno;
    if (close(w.fd) != 0 && !w.rc)
        w.rc = ERR_IO;
    if (!w.rc && rename(beside, path) != 0) {
        error = errno;
        w.rc = ERR_IO;
    }
    if (!w.rc)
        return 0;
    unlink(beside);
    if (w.rc == ERR_CANCELLED)
        return err_set(e, w.rc, "cancelled");
    return err_set(e, w.rc, "cannot write %s: %s", path,
                   w.rc == ERR_NOMEM ? "out of memory" : strerror(error));
}

int model_seq_save(const struct model_seq *s, const int32_t *tokens, const char *path,
                   struct err *e)
{
    return write_file(s, tokens, path, true, NULL, e);
}

int model_seq_spill(const struct model_seq *s, const int32_t *tokens, const char *path,
                    const atomic_bool *cancel, struct err *e)
{
    return write_file(s, tokens, path, false, cancel, e);
}
