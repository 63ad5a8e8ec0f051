/* seq_file.c: reading one sequence from disk (seq_file_int.h has the layout).
 *
 * Every count is checked against the file's size and the model before anything is taken, so a
 * hostile file costs at most what an honest one of its size would. An open file is what stands
 * before its units, held in memory; the units are read from the file as it lies there then, and
 * each has to have the sum that was promised, so that a file which was replaced meanwhile is
 * noticed like a damaged one. */
#include "seq_file_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)256 << 10) /* read and summed at once */

struct model_saved {
    struct model_kv *kv;
    char *path;
    struct file_head head;
    int32_t *tokens, *windows, *snaps; /* one allocation */
    uint64_t *sums;
};

static bool get(int fd, void *p, size_t n, uint64_t at)
{
    for (char *to = p; n > 0;) {
        ssize_t did = pread(fd, to, n < (1u << 30) ? n : 1u << 30, (off_t)at);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return false;
        to += did;
        at += (uint64_t)did;
        n -= (size_t)did;
    }
    return true;
}

/* ---- reading ---- */

void model_saved_close(struct model_saved *f)
{
    if (!f)
        return;
    free(f->tokens);
    free(f->sums);
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
    struct model_kv *kv = f->kv;
    if (h->magic != SEQ_MAGIC)
        return damaged(f, "not a file of saved state", e);
    if (h->version != SEQ_VERSION)
        return err_set(e, ERR_UNSUPPORTED, "%s: version %u of saved state, %d is read", f->path,
                       h->version, SEQ_VERSION);
    if (h->identity != model_kv_identity(kv))
        return err_set(e, ERR_UNSUPPORTED, "%s: the state of another model", f->path);
    if (h->cache != (uint32_t)kv->cache)
        return err_set(e, ERR_UNSUPPORTED, "%s: a cache of type %s, not %s", f->path,
                       h->cache < MODEL_CACHES ? model_cache_name((enum model_cache)h->cache) : "?",
                       model_cache_name(kv->cache));
    bool exact = (h->how & SEQ_EXACT) != 0;
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
    uint64_t pages = (uint64_t)state_pages_for(h->len);
    if (h->nwindow < 0 || (uint64_t)h->nwindow > pages || h->nsnaps < 0 ||
        h->nsnaps > MODEL_SNAPSHOTS)
        return 0;
    for (int i = 0; i < STATE_CLASSES; i++)
        if (h->unit[i] != f->kv->pool[i].unit)
            return 0;
    return seq_file_size(h);
}

static bool ascending(const int32_t *p, int32_t n, int32_t least, int32_t most)
{
    for (int32_t i = 0; i < n; i++)
        if (p[i] < least || p[i] > most || (i > 0 && p[i] <= p[i - 1]))
            return false;
    return true;
}

static bool window_held(const struct model_saved *f, int32_t page)
{
    int32_t low = 0, high = f->head.nwindow;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (f->windows[mid] < page)
            low = mid + 1;
        else
            high = mid;
    }
    return low < f->head.nwindow && f->windows[low] == page;
}

/* The last window page that a token at `position` sees and that the file lacks; -1: none. */
static int32_t missing_page(const struct model_saved *f, int32_t position)
{
    if (f->head.unit[STATE_WINDOW] == 0)
        return -1;
    int32_t from = kv_window_page(f->kv, position);
    for (int32_t p = state_pages_for(position) - 1; p >= from; p--)
        if (!window_held(f, p))
            return p;
    return -1;
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
    bool whole = missing_page(f, h->len) < 0;
    for (int32_t i = 0; i < h->nsnaps; i++)
        whole = whole && missing_page(f, f->snaps[i]) < 0;
    return whole ? 0 : damaged(f, "pages that its tokens see are missing", e);
}

static int read_lists(struct model_saved *f, int fd, struct err *e)
{
    const struct file_head *h = &f->head;
    struct stat st;
    uint64_t size = expected_size(f), stored;
    if (size == 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size != size)
        return damaged(f, "its size is not what its head says", e);
    size_t n = (size_t)h->len + (size_t)h->nwindow + (size_t)h->nsnaps;
    size_t ints = n * sizeof *f->tokens, sums = (size_t)seq_file_units(h) * sizeof *f->sums;
    f->tokens = malloc(ints);
    f->sums = malloc(sums + sizeof *f->sums);
    if (!f->tokens || !f->sums)
        return err_set(e, ERR_NOMEM, "no memory for %d tokens", h->len);
    f->windows = f->tokens + h->len;
    f->snaps = f->windows + h->nwindow;
    if (!get(fd, f->tokens, ints, sizeof *h) || !get(fd, f->sums, sums, sizeof *h + ints) ||
        !get(fd, &stored, sizeof stored, sizeof *h + ints + sums))
        return err_set(e, ERR_IO, "cannot read %s", f->path);
    struct hash sum;
    hash_init(&sum, 0);
    hash_add(&sum, h, sizeof *h);
    hash_add(&sum, f->tokens, ints);
    hash_add(&sum, f->sums, sums);
    if (hash_end(&sum) != stored)
        return err_set(e, ERR_CHECKSUM, "%s: its checksum differs: damaged", f->path);
    return check_lists(f, e);
}

static int open_file(const struct model_saved *f, struct err *e)
{
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", f->path,
                strerror(errno));
    return fd;
}

int model_saved_open(struct model_kv *kv, const char *path, struct model_saved **out, struct err *e)
{
    struct model_saved *f = calloc(1, sizeof *f);
    struct err why = {0};
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return err_set(e, ERR_NOMEM, "no memory to open %s", path);
    }
    f->kv = kv;
    int fd = open_file(f, &why), rc = fd < 0 ? why.code : 0;
    if (!rc && !get(fd, &f->head, sizeof f->head, 0))
        rc = damaged(f, "not a file of saved state", &why);
    if (!rc)
        rc = check_owner(f, &why);
    if (!rc)
        rc = read_lists(f, fd, &why);
    if (fd >= 0)
        close(fd);
    if (rc) {
        model_saved_close(f);
        if (e)
            *e = why;
        return rc;
    }
    *out = f;
    return 0;
}

/* ---- what is in it ---- */

uint64_t model_saved_bytes(const struct model_saved *f)
{
    return seq_file_size(&f->head);
}

bool model_saved_fits(const struct model_saved *f, int32_t max_positions)
{
    return f->head.how == seq_file_how(f->kv->m, max_positions);
}

int32_t model_saved_reach(const struct model_saved *f, int32_t positions)
{
    if (positions >= f->head.len)
        return f->head.len;
    if (f->head.unit[STATE_RECURRENT] > 0) {
        for (int32_t i = f->head.nsnaps; i > 0; i--)
            if (f->snaps[i - 1] <= positions)
                return f->snaps[i - 1];
        return 0;
    }
    for (int32_t p; positions > 0 && (p = missing_page(f, positions)) >= 0;)
        positions = p * KERN_PAGE;
    return positions > 0 ? positions : 0;
}

/* Whether a sequence cut to `positions` keeps this window page: it is seen from there or from one
 * of the snapshots before. At the file's end all it has are kept. */
static bool window_wanted(const struct model_saved *f, int32_t page, int32_t positions)
{
    if (page >= state_pages_for(positions))
        return false;
    if (positions == f->head.len || page >= kv_window_page(f->kv, positions))
        return true;
    for (int32_t i = 0; i < f->head.nsnaps && f->snaps[i] <= positions; i++)
        if (page >= kv_window_page(f->kv, f->snaps[i]) && page < state_pages_for(f->snaps[i]))
            return true;
    return false;
}

/* ---- into a sequence ---- */

static int check_room(const struct model_saved *f, const struct model_seq *s, int32_t to,
                      struct err *e)
{
    if (s->kv != f->kv || s->len > 0 || s->reserved > 0)
        return err_set(e, ERR_INVAL, "state is read into an empty sequence of its own cache");
    if (to < 1 || model_saved_reach(f, to) != to)
        return err_set(e, ERR_INVAL, "%s cannot be cut to %d of %d positions", f->path, to,
                       f->head.len);
    if (to > s->cap)
        return err_set(e, ERR_CONTEXT, "%s: %d positions are wanted, %d is the most", f->path, to,
                       s->cap);
    if (!model_saved_fits(f, s->cap))
        return err_set(e, ERR_UNSUPPORTED, "%s: computed for another context than %d", f->path,
                       s->cap);
    return 0;
}

int model_saved_reserve(const struct model_saved *f, int32_t positions, struct model_seq *s,
                        struct err *e)
{
    struct model_kv *kv = s->kv;
    const struct file_head *h = &f->head;
    int rc = check_room(f, s, positions, e);
    if (rc)
        return rc;
    int32_t pages = state_pages_for(positions), want[STATE_CLASSES] = {0}, nsnaps = 0;
    bool full = h->unit[STATE_FULL] > 0, recurrent = h->unit[STATE_RECURRENT] > 0;
    while (nsnaps < h->nsnaps && f->snaps[nsnaps] <= positions)
        nsnaps++;
    want[STATE_FULL] = full ? pages : 0;
    for (int32_t i = 0; i < h->nwindow; i++)
        want[STATE_WINDOW] += window_wanted(f, f->windows[i], positions);
    want[STATE_RECURRENT] = recurrent ? 1 + nsnaps : 0;
    if (!kv_has_all(kv, want))
        return err_set(e, ERR_NOMEM, "the cache is full: no room for the state in %s", f->path);
    for (int32_t p = 0; full && p < pages; p++)
        s->pages[STATE_FULL][s->npages[STATE_FULL]++] = kv_take(kv, STATE_FULL);
    for (int32_t p = 0; h->unit[STATE_WINDOW] && p < pages; p++)
        s->pages[STATE_WINDOW][s->npages[STATE_WINDOW]++] = -1;
    for (int32_t i = 0; i < h->nwindow; i++)
        if (window_wanted(f, f->windows[i], positions))
            s->pages[STATE_WINDOW][f->windows[i]] = kv_take(kv, STATE_WINDOW);
    if (recurrent)
        s->state = kv_take(kv, STATE_RECURRENT);
    for (int32_t i = 0; i < nsnaps; i++)
        s->snaps[s->nsnaps++] = (struct snapshot){
            .position = f->snaps[i], .slot = recurrent ? kv_take(kv, STATE_RECURRENT) : -1};
    s->len = s->reserved = positions;
    return 0;
}

struct reading {
    const struct model_saved *f;
    int fd;
    const atomic_bool *cancel;                           /* NULL: none */
    uint64_t start[STATE_CLASSES], first[STATE_CLASSES]; /* of a class: its bytes, its sums */
    struct err *e;
};

/* Unit `index` of a class in the file into a unit of the pool. */
static int get_unit(const struct reading *r, enum state_class c, int32_t index, int32_t unit)
{
    size_t n = r->f->kv->pool[c].unit;
    uint64_t at = r->start[c] + (uint64_t)index * n, number = r->first[c] + (uint64_t)index;
    unsigned char *to = kv_unit(r->f->kv, c, unit);
    struct hash sum;
    if (r->cancel && atomic_load_explicit(r->cancel, memory_order_relaxed))
        return err_set(r->e, ERR_CANCELLED, "cancelled");
    hash_init(&sum, number);
    for (size_t done = 0; done < n;) {
        size_t part = n - done < PIECE ? n - done : PIECE;
        if (!get(r->fd, to + done, part, at + done))
            return err_set(r->e, ERR_IO, "cannot read %s", r->f->path);
        hash_add(&sum, to + done, part);
        done += part;
    }
    if (hash_end(&sum) != r->f->sums[number])
        return err_set(r->e, ERR_CHECKSUM, "%s: its checksum differs: damaged", r->f->path);
    return 0;
}

static int get_windows(const struct reading *r, const struct model_seq *s)
{
    int rc = 0;
    for (int32_t i = 0; !rc && i < r->f->head.nwindow; i++) {
        int32_t page = r->f->windows[i];
        if (page < s->npages[STATE_WINDOW] && s->pages[STATE_WINDOW][page] >= 0)
            rc = get_unit(r, STATE_WINDOW, i, s->pages[STATE_WINDOW][page]);
    }
    return rc;
}

/* The state at the sequence's length is the file's last or a snapshot's. */
static int get_states(const struct reading *r, const struct model_seq *s)
{
    int rc = 0;
    if (s->state < 0)
        return 0;
    if (s->len == r->f->head.len)
        rc = get_unit(r, STATE_RECURRENT, 0, s->state);
    for (int32_t i = 0; !rc && i < s->nsnaps; i++) {
        rc = get_unit(r, STATE_RECURRENT, 1 + i, s->snaps[i].slot);
        if (!rc && s->len < r->f->head.len && s->snaps[i].position == s->len)
            memcpy(kv_unit(s->kv, STATE_RECURRENT, s->state),
                   kv_unit(s->kv, STATE_RECURRENT, s->snaps[i].slot),
                   s->kv->pool[STATE_RECURRENT].unit);
    }
    return rc;
}

int model_saved_read(const struct model_saved *f, struct model_seq *s, const atomic_bool *cancel,
                     struct err *e)
{
    const struct file_head *h = &f->head;
    struct reading r = {.f = f, .cancel = cancel, .e = e};
    uint64_t full = h->unit[STATE_FULL] ? (uint64_t)state_pages_for(h->len) : 0;
    r.start[STATE_FULL] = seq_file_start(h);
    r.start[STATE_WINDOW] = r.start[STATE_FULL] + full * h->unit[STATE_FULL];
    r.start[STATE_RECURRENT] = r.start[STATE_WINDOW] + (uint64_t)h->nwindow * h->unit[STATE_WINDOW];
    r.first[STATE_WINDOW] = full;
    r.first[STATE_RECURRENT] = full + (uint64_t)h->nwindow;
    struct err why = {0};
    r.e = &why;
    r.fd = open_file(f, &why);
    int rc = r.fd < 0 ? why.code : 0;
    for (int32_t p = 0; !rc && p < s->npages[STATE_FULL]; p++)
        rc = get_unit(&r, STATE_FULL, p, s->pages[STATE_FULL][p]);
    if (!rc)
        rc = get_windows(&r, s);
    if (!rc)
        rc = get_states(&r, s);
    if (r.fd >= 0)
        close(r.fd);
    if (rc && e)
        *e = why;
    return rc;
}
