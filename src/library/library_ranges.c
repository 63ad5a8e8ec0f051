/* library_ranges.c: one large file over several connections.
 *
 * The file is a list of segments, each with a thread that writes it from its beginning to its end.
 * One connection begins; when its answer proves that the server gives ranges, others take the
 * second half of what is largest, and so does every thread that has nothing left. Where a server
 * gives no ranges, the one connection brings the whole. Threads write at places of their own in the
 * partial file; the state file says every two seconds what is there, after it has reached the disk.
 *
 *   segment  [start ........ at ........ end)      at moves by its thread alone; end moves down,
 *             there          missing               when another takes the second half
 *
 * The caller's thread only waits, tells the progress, and hashes the whole at the end: a piece in
 * the wrong place can't pass. A broken connection is tried again from where it broke, unless it
 * brings nothing three times. */
#include "library_int.h"

#include "clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
#define PIECE ((uint64_t)16 << 20) /* nobody takes less from another */
#define TRIES 3
#define SAVE_MS 2000

struct ranges {
    struct lib_job *j;
    const char *url, *label;
    int fd;
    pthread_mutex_t lock;
    pthread_cond_t woke;
    struct lib_meta *m; /* segments in no order */
    bool proven;        /* the server gives ranges */
    bool whole;         /* it gives none: one connection brings all */
    int live;           /* threads */
    atomic_bool stop;
    int rc; /* the first failure */
    struct err why;
};

struct worker {
    struct ranges *r;
    pthread_t thread;
    struct lib_segment *seg;
    uint64_t asked_end; /* of the request under way */
    bool answered, done, moved;
    bool overloaded; /* it said so (429, 5xx): later may be better */
    int failed;      /* what a callback returned, and the error with it */
    struct err why;
};

/* ---- segments; under the lock ---- */

static uint64_t missing(const struct lib_segment *s)
{
    return s->end - s->at;
}

static struct lib_segment *find_idle(struct ranges *r)
{
    for (size_t i = 0; i < r->m->n; i++)
        if (!r->m->seg[i].busy && missing(&r->m->seg[i]) > 0)
            return &r->m->seg[i];
    return NULL;
}

/* The second half of the largest that is under way. Its thread is far from there: a chunk of the
 * network is much smaller than a piece. */
static struct lib_segment *split_largest(struct ranges *r)
{
    struct lib_segment *largest = NULL;
    for (size_t i = 0; i < r->m->n; i++)
        if (!largest || missing(&r->m->seg[i]) > missing(largest))
            largest = &r->m->seg[i];
    if (!r->proven || !largest || missing(largest) < 2 * PIECE || r->m->n == SEGMENTS_MAX)
        return NULL;
    uint64_t middle = largest->at + missing(largest) / 2;
    struct lib_segment *s = &r->m->seg[r->m->n++];
    *s = (struct lib_segment){middle, middle, largest->end, false};
    largest->end = middle;
    return s;
}

static bool claim(struct worker *w)
{
    struct ranges *r = w->r;
    pthread_mutex_lock(&r->lock);
    w->seg = r->stop || r->rc ? NULL : find_idle(r);
    if (!w->seg && !r->stop && !r->rc)
        w->seg = split_largest(r);
    if (w->seg)
        w->seg->busy = true;
    pthread_mutex_unlock(&r->lock);
    return w->seg != NULL;
}

static uint64_t done_bytes(const struct ranges *r)
{
    uint64_t n = r->m->size;
    for (size_t i = 0; i < r->m->n; i++)
        n -= missing(&r->m->seg[i]);
    return n;
}

/* ---- one request ---- */

static int fail(struct worker *w, int rc)
{
    return w->failed = rc;
}

static int ends_here(struct worker *w)
{
    w->done = true;
    return fail(w, ERR_CANCELLED);
}

/* A 200: the whole file from its beginning. Right for the only thread there is, and only before
 * ranges were seen to work. */
static int take_whole(struct worker *w)
{
    struct ranges *r = w->r;
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    if (r->proven) {
        rc = err_set(&w->why, ERR_UPSTREAM,
                     "%s: the server sent the whole where a range was asked for", r->label);
    } else {
        r->whole = true;
        r->m->n = 1;
        r->m->seg[0] = (struct lib_segment){0, 0, r->m->size, true};
        w->seg = &r->m->seg[0];
        w->asked_end = UINT64_MAX;
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static int on_head(void *sink, int status, uint64_t total, struct str etag, bool ranged)
{
    struct worker *w = sink;
    struct ranges *r = w->r;
    w->overloaded = status == 429 || status >= 500;
    if (status != 200 && status != 206)
        return fail(w, lib_refuse_status(r->label, status, r->j->refused, &w->why));
    if (total && total != r->m->size)
        return fail(w, err_set(&w->why, ERR_CHECKSUM, "%s has %llu bytes there, not %llu", r->label,
                               (unsigned long long)total, (unsigned long long)r->m->size));
    if (status == 206 && !ranged)
        return fail(w, err_set(&w->why, ERR_UPSTREAM,
                               "%s: the server sent another range than asked for", r->label));
    if (!ranged && take_whole(w) != 0)
        return fail(w, ERR_UPSTREAM);
    w->answered = true;
    pthread_mutex_lock(&r->lock);
    if (ranged)
        r->proven = true;
    pthread_cond_signal(&r->woke);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static int write_at(struct worker *w, const char *p, size_t n, uint64_t at)
{
    while (n > 0) {
        ssize_t k = pwrite(w->r->fd, p, n, (off_t)at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return lib_io_error(&w->why, w->r->j->part, "cannot write");
        p += k;
        n -= (size_t)k;
        at += (uint64_t)k;
    }
    return 0;
}

static int on_data(void *sink, struct str bytes)
{
    struct worker *w = sink;
    struct ranges *r = w->r;
    if (atomic_load(&r->stop))
        return fail(w, err_set(&w->why, ERR_CANCELLED, "stopped"));
    if (!w->answered)
        return fail(w, err_set(&w->why, ERR_UPSTREAM, "%s: a body before its head", r->label));
    pthread_mutex_lock(&r->lock);
    uint64_t at = w->seg->at, left = missing(w->seg);
    pthread_mutex_unlock(&r->lock);
    size_t n = bytes.n < left ? bytes.n : (size_t)left;
    int rc = write_at(w, bytes.p, n, at);
    if (rc != 0)
        return fail(w, rc);
    pthread_mutex_lock(&r->lock);
    w->seg->at += n;
    bool full = missing(w->seg) == 0, shorter = w->seg->end < w->asked_end;
    pthread_mutex_unlock(&r->lock);
    w->moved = w->moved || n > 0;
    if (n < bytes.n && r->whole)
        return fail(w,
                    err_set(&w->why, ERR_TOO_LARGE, "%s: more than the %llu bytes it should have",
                            r->label, (unsigned long long)r->m->size));
    /* An exact answer may come to its own end; a longer one, and one that another thread has taken
     * the rest of, is ended here. */
    if (n < bytes.n || (full && shorter && !r->whole))
        return ends_here(w);
    return 0;
}

static int on_tick(void *sink)
{
    return atomic_load(&((struct worker *)sink)->r->stop);
}

static int request(struct worker *w)
{
    struct ranges *r = w->r;
    const struct library_fetch *f = r->j->lib->fetch;
    const char *etag = r->m->etag;
    pthread_mutex_lock(&r->lock);
    struct library_get get = {.url = r->url,
                              .headers = r->j->headers,
                              .offset = w->seg->at,
                              .length = missing(w->seg),
                              .tick = on_tick,
                              .head = on_head,
                              .data = on_data,
                              .sink = w};
    w->asked_end = w->seg->end;
    pthread_mutex_unlock(&r->lock);
    /* A digest proves more than a tag, and another host's tag may differ. */
    if (!r->j->entry && *etag)
        get.if_range = etag;
    w->answered = w->done = w->moved = w->overloaded = false;
    w->failed = 0;
    struct err outer = {0};
    int rc = f->get(f->ctx, &get, &outer);
    if (w->done)
        return 0;
    if (!w->failed)
        w->why = outer;
    return w->failed ? w->failed : rc;
}

/* ---- a thread ---- */

static bool worth_another_try(const struct worker *w, int rc)
{
    if (w->failed)
        return w->overloaded; /* else it answered, and wrongly */
    return rc == ERR_CUT || rc == ERR_TIMEOUT || rc == ERR_CONNECT || rc == ERR_UPSTREAM;
}

static void pause_before(const struct ranges *r, int tries)
{
    for (int i = 0; i < 2 << tries && !atomic_load(&r->stop); i++)
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

/* The segment until it is whole. */
static int fill(struct worker *w)
{
    struct ranges *r = w->r;
    int tries = 0;
    for (;;) {
        int rc = request(w);
        pthread_mutex_lock(&r->lock);
        bool full = missing(w->seg) == 0;
        pthread_mutex_unlock(&r->lock);
        if (full && rc != ERR_TOO_LARGE)
            return 0;
        if (rc == 0)
            rc = err_set(&w->why, ERR_CUT, "%s: the answer is shorter than it says", r->label);
        if (atomic_load(&r->stop) || !worth_another_try(w, rc))
            return rc;
        tries = w->moved ? 0 : tries + 1;
        if (tries == TRIES || (r->whole && !w->moved))
            return rc;
        pause_before(r, tries);
    }
}

static void note_failure(struct worker *w, int rc)
{
    struct ranges *r = w->r;
    pthread_mutex_lock(&r->lock);
    if (r->rc == 0 && !atomic_load(&r->stop)) {
        r->rc = rc;
        r->why = w->why;
        atomic_store(&r->stop, true);
    }
    pthread_mutex_unlock(&r->lock);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct ranges *r = w->r;
    while (claim(w)) {
        int rc = fill(w);
        pthread_mutex_lock(&r->lock);
        w->seg->busy = false;
        pthread_mutex_unlock(&r->lock);
        if (rc != 0) {
            note_failure(w, rc);
            break;
        }
    }
    pthread_mutex_lock(&r->lock);
    r->live--;
    pthread_cond_signal(&r->woke);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the state file ---- */

static int by_start(const void *a, const void *b)
{
    uint64_t x = ((const struct lib_segment *)a)->start, y = ((const struct lib_segment *)b)->start;
    return x < y ? -1 : x > y;
}

/* What is said to be there must be there after a loss of power: the bytes go first. */
static int save(struct ranges *r)
{
    struct lib_meta now = {.size = r->m->size};
    pthread_mutex_lock(&r->lock);
    now.n = r->m->n;
    memcpy(now.seg, r->m->seg, sizeof now.seg);
    pthread_mutex_unlock(&r->lock);
    qsort(now.seg, now.n, sizeof now.seg[0], by_start);
    if (fdatasync(r->fd) != 0)
        return lib_io_error(r->j->e, r->j->part, "cannot write");
    return lib_meta_write(r->j, r->label, str_of(r->m->etag), &now);
}

/* ---- the caller's thread ---- */

static bool start(struct worker *w, struct ranges *r)
{
    w->r = r;
    pthread_mutex_lock(&r->lock);
    r->live++;
    pthread_mutex_unlock(&r->lock);
    if (pthread_create(&w->thread, NULL, work, w) == 0)
        return true;
    pthread_mutex_lock(&r->lock);
    r->live--;
    pthread_mutex_unlock(&r->lock);
    return false;
}

static void wait_a_little(struct ranges *r)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&r->woke, &r->lock, &until);
}

/* Until no thread is left. 0, or what stopped it from this side: a cancel, a state that cannot be
 * written. */
static int watch(struct ranges *r, struct worker *workers, size_t *n)
{
    uint64_t saved = clock_mono_ns();
    int rc = 0;
    for (;;) {
        pthread_mutex_lock(&r->lock);
        if (r->live > 0)
            wait_a_little(r);
        bool more = r->proven && *n < WORKERS && !atomic_load(&r->stop), over = r->live == 0;
        uint64_t done = done_bytes(r);
        pthread_mutex_unlock(&r->lock);
        if (over)
            return rc;
        while (more && *n < WORKERS && start(&workers[*n], r))
            ++*n;
        if (rc == 0)
            rc = lib_progress(r->j, LIBRARY_FETCHING, done, r->m->size);
        if (rc == 0 && clock_mono_ns() - saved > (uint64_t)SAVE_MS * 1000000) {
            rc = save(r);
            saved = clock_mono_ns();
        }
        if (rc != 0)
            atomic_store(&r->stop, true);
    }
}

static int tell_failure(struct ranges *r)
{
    uint64_t done = done_bytes(r);
    struct err *e = r->j->e;
    if (done == 0 || !(r->rc == ERR_CUT || r->rc == ERR_TIMEOUT || r->rc == ERR_CONNECT)) {
        if (e)
            *e = r->why;
        return r->rc;
    }
    return err_set(e, r->rc, "%s was cut after %llu of %llu bytes; pull again to go on (%s)",
                   r->label, (unsigned long long)done, (unsigned long long)r->m->size,
                   err_msg(&r->why));
}

static int run(struct ranges *r)
{
    struct worker workers[WORKERS] = {0};
    size_t n = 0;
    int rc = done_bytes(r) == r->m->size ? 0 : lib_need_space(r->j, r->m->size - done_bytes(r));
    if (rc == 0)
        rc = save(r);
    if (rc == 0 && done_bytes(r) < r->m->size) {
        if (!start(&workers[n], r))
            return err_set(r->j->e, ERR_NOMEM, "%s: no thread for a download", r->label);
        n++;
        rc = watch(r, workers, &n);
        for (size_t i = 0; i < n; i++)
            pthread_join(workers[i].thread, NULL);
    }
    if (rc == 0 && r->rc == 0)
        return save(r);
    struct err why = {0};
    if (rc != 0 && r->j->e)
        why = *r->j->e;
    save(r); /* as good as it can: what failed is what is told */
    if (rc != 0 && r->j->e)
        *r->j->e = why;
    return rc ? rc : tell_failure(r);
}

static void begin_anew(struct lib_meta *m)
{
    m->n = 1;
    m->seg[0] = (struct lib_segment){0, 0, m->size, false};
}

/* A file that is shorter than its state says has lost what is missing. */
static void believe_file(struct lib_job *j, struct lib_meta *m)
{
    uint64_t there = 0;
    lib_file_size(j->part, &there);
    for (size_t i = 0; i < m->n; i++) {
        struct lib_segment *s = &m->seg[i];
        s->busy = false;
        if (s->at > there)
            s->at = s->start > there ? s->start : there;
    }
}

int lib_fetch_ranges(struct lib_job *j, const char *url, const char *label, struct lib_meta *m,
                     char hex[SHA256_HEX])
{
    struct ranges r = {.j = j, .url = url, .label = label, .fd = -1, .m = m};
    int rc = lib_part_open(j, m->n > 0, &r.fd);
    if (rc != 0)
        return rc;
    if (m->n)
        believe_file(j, m);
    else
        begin_anew(m);
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.woke, NULL);
    rc = run(&r);
    if (rc == 0 && ftruncate(r.fd, (off_t)m->size) != 0)
        rc = lib_io_error(j->e, j->part, "cannot write");
    if (rc == 0 && fsync(r.fd) != 0)
        rc = lib_io_error(j->e, j->part, "cannot write");
    close(r.fd);
    pthread_cond_destroy(&r.woke);
    pthread_mutex_destroy(&r.lock);
    return rc == 0 ? lib_hash_file(j, j->part, hex) : rc;
}
