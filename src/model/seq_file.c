/* seq_file.c: one sequence on disk.
 *
 *   head      struct file_head, as it stands in memory (little-endian machines only)
 *   tokens    int32[len]
 *   pages     int32[nwindow]: numbers of the window pages that are held, ascending
 *   snapshots int32[nsnaps]: positions, ascending
 *   sum       uint64 over all of the above
 *   units     full pages in order, window pages, the state, the snapshots' states
 *   sum       uint64 over the units, begun with the first sum
 *
 * Every count is checked against the file's size and the model before anything is taken, so a
 * hostile file costs at most what an honest one of its size would. A file is written beside its
 * name and renamed when it is whole. Positions past the length are written as zeros: what another
 * sequence left in a page stays here. */
#include "model_int.h"

#include "hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x0a51455352494557u /* "WEIRSEQ\n" */
#define VERSION 1
#define PATH_BYTES 4096

/* What else the numbers depend on: weights unpacked to multiply; a rope stretched because the
 * sequence may grow long. */
#define HOW_EXACT 1u
#define HOW_LONG 2u

struct file_head {
    uint64_t magic;
    uint32_t version;
    uint32_t cache, how; /* enum model_cache; HOW_* */
    int32_t len, nwindow, nsnaps;
    uint64_t identity;
    uint64_t unit[STATE_CLASSES];
};

struct model_saved {
    const struct model_kv *kv;
    int fd;
    char *path;
    struct file_head head;
    int32_t *tokens, *windows, *snaps; /* one allocation */
    uint64_t sum;
};

/* ---- bytes ---- */

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

static bool get(int fd, void *p, size_t n)
{
    for (char *at = p; n > 0;) {
        ssize_t did = read(fd, at, n < (1u << 30) ? n : 1u << 30);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return false;
        at += did;
        n -= (size_t)did;
    }
    return true;
}

/* ---- writing ---- */

struct writing {
    int fd, rc;
    struct hash sum;
};

static void put_summed(struct writing *w, const void *p, size_t n)
{
    hash_add(&w->sum, p, n);
    if (!w->rc)
        w->rc = put(w->fd, p, n);
}

static void put_sum(struct writing *w)
{
    uint64_t sum = hash_end(&w->sum);
    if (!w->rc)
        w->rc = put(w->fd, &sum, sizeof sum);
    hash_init(&w->sum, sum);
}

/* The last page: positions that are not held are zeros. */
static void put_last(struct writing *w, const struct model_seq *s, enum state_class c, int32_t unit)
{
    const struct model_kv *kv = s->kv;
    size_t n = kv->pool[c].unit, keep = (size_t)(s->len % KERN_PAGE) * (kv->head_bytes / KERN_PAGE);
    unsigned char *copy = malloc(n);
    if (!copy) {
        w->rc = w->rc ? w->rc : ERR_NOMEM;
        return;
    }
    memcpy(copy, kv_unit(kv, c, unit), n);
    for (size_t at = 0; at < n; at += kv->head_bytes)
        memset(copy + at + keep, 0, kv->head_bytes - keep);
    put_summed(w, copy, n);
    free(copy);
}

static void put_page(struct writing *w, const struct model_seq *s, enum state_class c, int32_t page)
{
    int32_t unit = s->pages[c][page];
    if (page == s->len / KERN_PAGE)
        put_last(w, s, c, unit);
    else
        put_summed(w, kv_unit(s->kv, c, unit), s->kv->pool[c].unit);
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
    put_summed(w, kv_unit(kv, STATE_RECURRENT, s->state), slot);
    for (int i = 0; i < s->nsnaps; i++)
        put_summed(w, kv_unit(kv, STATE_RECURRENT, s->snaps[i].slot), slot);
}

static uint32_t how_of(const struct model *m, int32_t cap)
{
    bool stretched = m->b.longrope && cap > m->b.rope_ctx;
    return (m->exact ? HOW_EXACT : 0) | (stretched ? HOW_LONG : 0);
}

static void put_all(struct writing *w, const struct model_seq *s, const int32_t *tokens)
{
    const struct model_kv *kv = s->kv;
    int32_t pages = state_pages_for(s->len);
    struct file_head head = {.magic = MAGIC,
                             .version = VERSION,
                             .cache = (uint32_t)kv->cache,
                             .how = how_of(kv->m, s->cap),
                             .len = s->len,
                             .nsnaps = s->nsnaps,
                             .identity = model_identity(kv->m)};
    for (int32_t p = 0; p < pages; p++)
        head.nwindow += held(s, p);
    for (int i = 0; i < STATE_CLASSES; i++)
        head.unit[i] = kv->pool[i].unit;
    hash_init(&w->sum, 0);
    put_summed(w, &head, sizeof head);
    put_summed(w, tokens, (size_t)s->len * sizeof *tokens);
    for (int32_t p = 0; p < pages; p++)
        if (held(s, p))
            put_summed(w, &p, sizeof p);
    for (int i = 0; i < s->nsnaps; i++)
        put_summed(w, &s->snaps[i].position, sizeof s->snaps[i].position);
    put_sum(w);
    put_units(w, s);
    put_sum(w);
}

int model_seq_save(const struct model_seq *s, const int32_t *tokens, const char *path,
                   struct err *e)
{
    char beside[PATH_BYTES];
    int n = snprintf(beside, sizeof beside, "%s.XXXXXX", path);
    if (n < 0 || n >= (int)sizeof beside)
        return err_set(e, ERR_INVAL, "the path is too long: %s", path);
    if (s->len < 1)
        return err_set(e, ERR_INVAL, "an empty sequence is not worth a file");
    struct writing w = {.fd = mkostemp(beside, O_CLOEXEC)};
    if (w.fd < 0)
        return err_set(e, ERR_IO, "cannot write %s: %s", beside, strerror(errno));
    put_all(&w, s, tokens);
    if (!w.rc && fsync(w.fd) != 0)
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
    return err_set(e, w.rc, "cannot write %s: %s", path,
                   w.rc == ERR_NOMEM ? "out of memory" : strerror(error));
}

/* ---- reading ---- */

void model_saved_close(struct model_saved *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f->tokens);
    free(f->path);
    free(f);
}

int32_t model_saved_len(const struct model_saved *f)
{
    return f->head.len;
}

const int32_t *model_saved_tokens(const struct model_saved *f)
{
    return f->tokens;
}

static int damaged(const struct model_saved *f, const char *what, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: %s", f->path, what);
}

static int check_owner(const struct model_saved *f, struct err *e)
{
    const struct file_head *h = &f->head;
    const struct model_kv *kv = f->kv;
    if (h->magic != MAGIC)
        return damaged(f, "not a file of saved state", e);
    if (h->version != VERSION)
        return err_set(e, ERR_UNSUPPORTED, "%s: version %u of saved state, %d is read", f->path,
                       h->version, VERSION);
    if (h->identity != model_identity(kv->m))
        return err_set(e, ERR_UNSUPPORTED, "%s: the state of another model", f->path);
    if (h->cache != (uint32_t)kv->cache)
        return err_set(e, ERR_UNSUPPORTED, "%s: a cache of type %s, not %s", f->path,
                       h->cache < MODEL_CACHES ? model_cache_name((enum model_cache)h->cache) : "?",
                       model_cache_name(kv->cache));
    bool exact = (h->how & HOW_EXACT) != 0;
    if (exact != kv->m->exact)
        return err_set(e, ERR_UNSUPPORTED, "%s: computed with%s unpacked weights", f->path,
                       exact ? "" : "out");
    return 0;
}

/* Bytes of the file as its head says, or 0 where the head cannot be right. */
static uint64_t expected_size(const struct model_saved *f)
{
    const struct file_head *h = &f->head;
    if (h->len < 1 || h->len > MODEL_MAX_POSITIONS)
        return 0;
    uint64_t pages = (uint64_t)state_pages_for(h->len), units = 0;
    if (h->nwindow < 0 || (uint64_t)h->nwindow > pages || h->nsnaps < 0 ||
        h->nsnaps > MODEL_SNAPSHOTS)
        return 0;
    for (int i = 0; i < STATE_CLASSES; i++)
        if (h->unit[i] != f->kv->pool[i].unit)
            return 0;
    units += pages * h->unit[STATE_FULL] + (uint64_t)h->nwindow * h->unit[STATE_WINDOW];
    units += (1 + (uint64_t)h->nsnaps) * h->unit[STATE_RECURRENT];
    uint64_t ints = (uint64_t)h->len + (uint64_t)h->nwindow + (uint64_t)h->nsnaps;
    return sizeof *h + ints * sizeof(int32_t) + units + 2 * sizeof(uint64_t);
}

static bool ascending(const int32_t *p, int32_t n, int32_t least, int32_t most)
{
    for (int32_t i = 0; i < n; i++)
        if (p[i] < least || p[i] > most || (i > 0 && p[i] <= p[i - 1]))
            return false;
    return true;
}

/* Every window page that a token at `position` sees is in the list. */
static bool windows_cover(const struct model_saved *f, int32_t position)
{
    int32_t at = 0, end = state_pages_for(position);
    if (f->head.unit[STATE_WINDOW] == 0)
        return true;
    for (int32_t p = kv_window_page(f->kv, position); p < end; p++) {
        while (at < f->head.nwindow && f->windows[at] < p)
            at++;
        if (at == f->head.nwindow || f->windows[at] != p)
            return false;
    }
    return true;
}

static int check_lists(const struct model_saved *f, struct err *e)
{
    const struct file_head *h = &f->head;
    for (int32_t i = 0; i < h->len; i++)
        if (f->tokens[i] < 0 || f->tokens[i] >= f->kv->m->t.vocab)
            return damaged(f, "a token is outside the vocabulary", e);
    if (!ascending(f->windows, h->nwindow, 0, state_pages_for(h->len) - 1) ||
        (h->nwindow > 0 && h->unit[STATE_WINDOW] == 0))
        return damaged(f, "its list of pages is wrong", e);
    if (!ascending(f->snaps, h->nsnaps, 1, h->len))
        return damaged(f, "its list of snapshots is wrong", e);
    bool whole = windows_cover(f, h->len);
    for (int32_t i = 0; i < h->nsnaps; i++)
        whole = whole && windows_cover(f, f->snaps[i]);
    return whole ? 0 : damaged(f, "pages that its tokens see are missing", e);
}

static int read_lists(struct model_saved *f, struct err *e)
{
    const struct file_head *h = &f->head;
    struct stat st;
    uint64_t size = expected_size(f);
    if (size == 0 || fstat(f->fd, &st) != 0 || (uint64_t)st.st_size != size)
        return damaged(f, "its size is not what its head says", e);
    size_t n = (size_t)h->len + (size_t)h->nwindow + (size_t)h->nsnaps;
    f->tokens = malloc(n * sizeof *f->tokens);
    if (!f->tokens)
        return err_set(e, ERR_NOMEM, "no memory for %d tokens", h->len);
    f->windows = f->tokens + h->len;
    f->snaps = f->windows + h->nwindow;
    if (!get(f->fd, f->tokens, n * sizeof *f->tokens) || !get(f->fd, &f->sum, sizeof f->sum))
        return err_set(e, ERR_IO, "cannot read %s", f->path);
    struct hash sum;
    hash_init(&sum, 0);
    hash_add(&sum, h, sizeof *h);
    hash_add(&sum, f->tokens, n * sizeof *f->tokens);
    if (hash_end(&sum) != f->sum)
        return err_set(e, ERR_CHECKSUM, "%s: its checksum differs: damaged", f->path);
    return check_lists(f, e);
}

int model_saved_open(const struct model_kv *kv, const char *path, struct model_saved **out,
                     struct err *e)
{
    struct model_saved *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return err_set(e, ERR_NOMEM, "no memory to open %s", path);
    }
    f->kv = kv;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = 0;
    if (f->fd < 0)
        rc = err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", path,
                     strerror(errno));
    else if (!get(f->fd, &f->head, sizeof f->head))
        rc = damaged(f, "not a file of saved state", e);
    if (!rc)
        rc = check_owner(f, e);
    if (!rc)
        rc = read_lists(f, e);
    if (rc) {
        model_saved_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

int model_saved_reserve(const struct model_saved *f, struct model_seq *s, struct err *e)
{
    struct model_kv *kv = s->kv;
    const struct file_head *h = &f->head;
    int32_t pages = state_pages_for(h->len);
    bool full = h->unit[STATE_FULL] > 0, recurrent = h->unit[STATE_RECURRENT] > 0;
    int32_t want[STATE_CLASSES] = {[STATE_FULL] = full ? pages : 0,
                                   [STATE_WINDOW] = h->nwindow,
                                   [STATE_RECURRENT] = recurrent ? 1 + h->nsnaps : 0};
    if (kv != f->kv || s->len > 0 || s->reserved > 0)
        return err_set(e, ERR_INVAL, "state is read into an empty sequence of its own cache");
    if (h->len > s->cap)
        return err_set(e, ERR_CONTEXT, "%s holds %d positions, %d is the most", f->path, h->len,
                       s->cap);
    if (h->how != how_of(kv->m, s->cap))
        return err_set(e, ERR_UNSUPPORTED, "%s: computed for another context than %d", f->path,
                       s->cap);
    if (!kv_has_all(kv, want))
        return err_set(e, ERR_NOMEM, "the cache is full: no room for the state in %s", f->path);
    for (int32_t p = 0; full && p < pages; p++)
        s->pages[STATE_FULL][s->npages[STATE_FULL]++] = kv_take(kv, STATE_FULL);
    for (int32_t p = 0; h->unit[STATE_WINDOW] && p < pages; p++)
        s->pages[STATE_WINDOW][s->npages[STATE_WINDOW]++] = -1;
    for (int32_t i = 0; i < h->nwindow; i++)
        s->pages[STATE_WINDOW][f->windows[i]] = kv_take(kv, STATE_WINDOW);
    if (recurrent)
        s->state = kv_take(kv, STATE_RECURRENT);
    for (int32_t i = 0; i < h->nsnaps; i++)
        s->snaps[s->nsnaps++] = (struct snapshot){
            .position = f->snaps[i], .slot = recurrent ? kv_take(kv, STATE_RECURRENT) : -1};
    s->len = s->reserved = h->len;
    return 0;
}

static bool get_unit(struct model_saved *f, enum state_class c, int32_t unit, struct hash *sum)
{
    void *p = kv_unit(f->kv, c, unit);
    size_t n = f->kv->pool[c].unit;
    bool ok = get(f->fd, p, n);
    if (ok)
        hash_add(sum, p, n);
    return ok;
}

int model_saved_read(struct model_saved *f, struct model_seq *s, struct err *e)
{
    struct hash sum;
    uint64_t stored = 0;
    bool ok = true;
    hash_init(&sum, f->sum);
    for (int32_t p = 0; ok && p < s->npages[STATE_FULL]; p++)
        ok = get_unit(f, STATE_FULL, s->pages[STATE_FULL][p], &sum);
    for (int32_t i = 0; ok && i < f->head.nwindow; i++)
        ok = get_unit(f, STATE_WINDOW, s->pages[STATE_WINDOW][f->windows[i]], &sum);
    if (ok && s->state >= 0)
        ok = get_unit(f, STATE_RECURRENT, s->state, &sum);
    for (int i = 0; ok && i < s->nsnaps && s->snaps[i].slot >= 0; i++)
        ok = get_unit(f, STATE_RECURRENT, s->snaps[i].slot, &sum);
    if (!ok || !get(f->fd, &stored, sizeof stored))
        return err_set(e, ERR_IO, "cannot read %s", f->path);
    if (hash_end(&sum) != stored)
        return err_set(e, ERR_CHECKSUM, "%s: its checksum differs: damaged", f->path);
    return 0;
}
