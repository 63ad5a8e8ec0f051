/* egress_log.c: home/egress.log, the chain of what left this machine.
 *
 * A line is a JSON object that ends in  ,"prev":"<64 hex>","hash":"<64 hex>"}  where hash is
 * SHA-256 over the previous line's hash (32 bytes) and this line's bytes before  ,"hash"  . The
 * first line's prev is zeros. Lines are numbered. A line changed, taken out or moved breaks the
 * chain at itself; only the newest lines can be cut off unseen.
 *
 * A crash can leave half a line. It is not removed: the next writer closes it with "~torn" and
 * chains a "recovered" line that holds the hash of the torn bytes. Several processes may append:
 * every append holds a lock on the file and reads first what others have added. */
#include "egress_int.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LINE ((size_t)16 * 1024)
#define HEX (EGRESS_HASH * 2)
static const char torn_mark[] = "~torn";

/* Where reading the chain has come to. */
struct chain {
    unsigned char hash[EGRESS_HASH]; /* of the last good line */
    uint64_t rows, lines;
    uint64_t at; /* bytes of whole lines read */
    bool torn;   /* torn lines since the last good one */
    crypto_hash_sha256_state torn_state;
};

struct egress_log {
    pthread_mutex_t lock;
    int fd;
    char *path;
    struct chain chain;
};

/* ---- reading ---- */

static bool from_hex(struct str hex, unsigned char out[EGRESS_HASH])
{
    size_t n;
    return hex.n == HEX && sodium_hex2bin(out, EGRESS_HASH, hex.p, HEX, NULL, &n, NULL) == 0 &&
           n == EGRESS_HASH;
}

static void line_hash(const unsigned char prev[EGRESS_HASH], struct str payload,
                      unsigned char out[EGRESS_HASH])
{
    crypto_hash_sha256_state s;
    crypto_hash_sha256_init(&s);
    crypto_hash_sha256_update(&s, prev, EGRESS_HASH);
    crypto_hash_sha256_update(&s, (const unsigned char *)payload.p, payload.n);
    crypto_hash_sha256_final(&s, out);
}

/* The torn bytes so far, as hex. The state is copied: more may come. */
static void torn_hex(const struct chain *c, char out[HEX + 1])
{
    unsigned char h[EGRESS_HASH];
    crypto_hash_sha256_state s = c->torn_state;
    crypto_hash_sha256_final(&s, h);
    sodium_bin2hex(out, HEX + 1, h, EGRESS_HASH);
}

static void take_torn(struct chain *c, struct str line)
{
    if (!c->torn)
        crypto_hash_sha256_init(&c->torn_state);
    c->torn = true;
    crypto_hash_sha256_update(&c->torn_state, (const unsigned char *)line.p, line.n);
    crypto_hash_sha256_update(&c->torn_state, (const unsigned char *)"\n", 1);
}

static bool take_good(struct chain *c, struct str line)
{
    static const size_t tail = sizeof ",\"hash\":\"\"}" - 1 + HEX;
    char prev[HEX + 1], expect[160];
    unsigned char said[EGRESS_HASH], is[EGRESS_HASH];
    if (line.n < tail || !str_ends(line, STR("\"}")))
        return false;
    struct str payload = str_n(line.p, line.n - tail);
    if (!str_starts(str_n(line.p + payload.n, tail), STR(",\"hash\":\"")) ||
        !from_hex(str_n(line.p + line.n - 2 - HEX, HEX), said))
        return false;
    snprintf(expect, sizeof expect, "{\"seq\":%llu,", (unsigned long long)c->rows + 1);
    if (!str_starts(payload, str_of(expect)))
        return false;
    sodium_bin2hex(prev, sizeof prev, c->hash, EGRESS_HASH);
    snprintf(expect, sizeof expect, ",\"prev\":\"%s\"", prev);
    line_hash(c->hash, payload, is);
    if (!str_ends(payload, str_of(expect)) || memcmp(is, said, EGRESS_HASH) != 0)
        return false;
    bool recovered = str_find(payload, STR(",\"event\":\"recovered\","), 0) != SIZE_MAX;
    if (recovered != c->torn)
        return false;
    if (recovered) {
        torn_hex(c, prev);
        snprintf(expect, sizeof expect, ",\"torn\":\"%s\"", prev);
        if (str_find(payload, str_of(expect), 0) == SIZE_MAX)
            return false;
    }
    memcpy(c->hash, is, EGRESS_HASH);
    c->torn = false;
    c->rows++;
    return true;
}

/* Read from c->at to the end. What is left without a line end goes to *rest. */
static int read_chain(int fd, const char *path, struct chain *c, struct buf *rest, struct err *e)
{
    buf_clear(rest);
    for (;;) {
        char *space = buf_grow(rest, 32 * 1024);
        if (!space)
            return err_set_at(e, ERR_CHECKSUM, c->lines + 1, "%s, line %llu: the line is too long",
                              path, (unsigned long long)c->lines + 1);
        size_t had = rest->n - 32 * 1024;
        ssize_t n = pread(fd, space, 32 * 1024, (off_t)(c->at + had));
        buf_cut(rest, had + (n > 0 ? (size_t)n : 0));
        if (n < 0)
            return err_set(e, ERR_IO, "cannot read %s: %s", path, strerror(errno));
        if (n == 0)
            return 0;
        size_t from = 0;
        for (char *nl; (nl = memchr(rest->p + from, '\n', rest->n - from));) {
            struct str line = str_n(rest->p + from, (size_t)(nl - rest->p) - from);
            if (str_ends(line, str_of(torn_mark)))
                take_torn(c, line);
            else if (!take_good(c, line))
                return err_set_at(e, ERR_CHECKSUM, c->lines + 1,
                                  "%s, line %llu: the chain breaks here", path,
                                  (unsigned long long)c->lines + 1);
            from += line.n + 1;
            c->lines++;
        }
        buf_eat(rest, from);
        c->at += from;
    }
}

/* ---- writing ---- */

static int write_all(struct egress_log *l, struct str s, struct err *e)
{
    ssize_t n = write(l->fd, s.p, s.n);
    if (n == (ssize_t)s.n) {
        l->chain.at += s.n;
        return 0;
    }
    int why = n < 0 ? errno : ENOSPC;
    /* Nothing has left yet, so this half line may go; if it stays, the next append records it. */
    if (n > 0 && ftruncate(l->fd, (off_t)l->chain.at) != 0)
        why = errno;
    return err_set(e, why == ENOSPC ? ERR_NO_SPACE : ERR_IO, "cannot write %s: %s", l->path,
                   strerror(why));
}

static void put_text(struct buf *b, const char *key, struct str value)
{
    if (!value.p)
        return;
    buf_printf(b, ",\"%s\":", key);
    buf_json_str(b, str_n(value.p, value.n < 512 ? value.n : 512));
}

static void begin_line(const struct chain *c, const char *event, struct buf *b)
{
    char when[32];
    buf_printf(b, "{\"seq\":%llu,\"time\":\"%s\",\"event\":\"%s\"", (unsigned long long)c->rows + 1,
               clock_iso(clock_wall_ms(), when), event);
}

/* Close the line that starts at `from` in b; the chain goes on from it. */
static void end_line(struct chain *c, struct buf *b, size_t from)
{
    char hex[HEX + 1];
    unsigned char h[EGRESS_HASH];
    sodium_bin2hex(hex, sizeof hex, c->hash, EGRESS_HASH);
    buf_printf(b, ",\"prev\":\"%s\"", hex);
    if (buf_failed(b))
        return;
    line_hash(c->hash, str_n(b->p + from, b->n - from), h);
    sodium_bin2hex(hex, sizeof hex, h, EGRESS_HASH);
    buf_printf(b, ",\"hash\":\"%s\"}\n", hex);
    memcpy(c->hash, h, EGRESS_HASH);
    c->rows++;
    c->lines++;
    c->torn = false;
}

static void put_recovered(struct chain *c, struct str tail, struct buf *b)
{
    char hex[HEX + 1];
    if (tail.n > 0) {
        size_t n = tail.n;
        struct buf line = BUF_INIT(MAX_LINE * 8);
        buf_puts(b, torn_mark);
        buf_putc(b, '\n');
        buf_add(&line, tail.p, n);
        buf_puts(&line, torn_mark);
        take_torn(c, buf_str(&line));
        c->lines++;
        if (buf_failed(&line))
            b->failed = true;
        buf_done(&line);
    }
    torn_hex(c, hex);
    size_t from = b->n;
    begin_line(c, "recovered", b);
    buf_printf(b, ",\"torn\":\"%s\"", hex);
    end_line(c, b, from);
}

static void put_line(struct chain *c, const struct egress_line *x, struct buf *b)
{
    size_t from = b->n;
    begin_line(c, x->event, b);
    put_text(b, "row", str_of(x->row));
    put_text(b, "rule", str_of(x->rule));
    put_text(b, "host", x->host);
    put_text(b, "addr", str_of(x->addr));
    if (x->port)
        buf_printf(b, ",\"port\":%d", x->port);
    put_text(b, "proxy", str_of(x->proxy));
    if (x->has_zones)
        buf_printf(b, ",\"row_zone\":\"%s\",\"req_zone\":\"%s\"", gate_zone_name(x->row_zone),
                   gate_zone_name(x->req_zone));
    if (x->of)
        buf_printf(b, ",\"of\":%llu,\"out\":%llu,\"in\":%llu", (unsigned long long)x->of,
                   (unsigned long long)x->out, (unsigned long long)x->in);
    put_text(b, "what", str_of(x->what));
    end_line(c, b, from);
}

/* With the lock on the file held. */
static int append(struct egress_log *l, const struct egress_line *x, struct err *e)
{
    struct buf rest = BUF_INIT(MAX_LINE + 64 * 1024), b = BUF_INIT(MAX_LINE * 2);
    int rc = read_chain(l->fd, l->path, &l->chain, &rest, e);
    struct chain next = l->chain;
    if (rc == 0 && (rest.n > 0 || next.torn)) {
        next.at += rest.n;
        put_recovered(&next, buf_str(&rest), &b);
    }
    if (rc == 0 && x)
        put_line(&next, x, &b);
    if (rc == 0 && buf_failed(&b))
        rc = err_set(e, ERR_NOMEM, "no memory for a line of %s", l->path);
    if (rc == 0 && b.n > 0) {
        struct chain before = l->chain;
        l->chain = next;
        rc = write_all(l, buf_str(&b), e);
        if (rc != 0)
            l->chain = before;
    }
    buf_done(&rest);
    buf_done(&b);
    return rc;
}

static int locked_append(struct egress_log *l, const struct egress_line *x, bool sync,
                         struct err *e)
{
    while (flock(l->fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return err_set(e, ERR_IO, "cannot lock %s: %s", l->path, strerror(errno));
    int rc = append(l, x, e);
    flock(l->fd, LOCK_UN);
    if (rc == 0 && sync && fdatasync(l->fd) != 0)
        rc = err_set(e, ERR_IO, "cannot write %s: %s", l->path, strerror(errno));
    return rc;
}

int egress_log_add(struct egress_log *l, const struct egress_line *line, bool sync, uint64_t *seq,
                   struct err *e)
{
    pthread_mutex_lock(&l->lock);
    int rc = locked_append(l, line, sync, e);
    if (rc == 0 && seq)
        *seq = l->chain.rows;
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* ---- opening, verifying ---- */

int egress_log_open(const char *home, struct egress_log **out, struct err *e)
{
    if (sodium_init() < 0)
        return err_set(e, ERR_INTERNAL, "libsodium cannot start");
    struct egress_log *l = calloc(1, sizeof *l);
    if (!l || asprintf(&l->path, "%s/egress.log", home) < 0) {
        free(l);
        return err_set(e, ERR_NOMEM, "no memory for the egress log");
    }
    pthread_mutex_init(&l->lock, NULL);
    mkdir(home, 0700); /* the first command on a new machine may be a pull */
    l->fd = open(l->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = 0;
    if (l->fd < 0)
        rc = err_set(e, ERR_IO, "cannot open %s: %s", l->path, strerror(errno));
    if (rc == 0)
        rc = locked_append(l, NULL, false, e); /* records a torn line, refuses a broken chain */
    if (rc != 0) {
        egress_log_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void egress_log_free(struct egress_log *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    pthread_mutex_destroy(&l->lock);
    free(l->path);
    free(l);
}

int egress_verify(const char *home, uint64_t *rows, struct err *e)
{
    char path[4096];
    struct chain c = {0};
    struct buf rest = BUF_INIT(MAX_LINE + 64 * 1024);
    if (sodium_init() < 0)
        return err_set(e, ERR_INTERNAL, "libsodium cannot start");
    if (snprintf(path, sizeof path, "%s/egress.log", home) >= (int)sizeof path)
        return err_set(e, ERR_INVAL, "the path of the home is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *rows = 0; /* nothing has ever left */
        return 0;
    }
    if (fd < 0)
        return err_set(e, ERR_IO, "cannot open %s: %s", path, strerror(errno));
    flock(fd, LOCK_SH); /* no writer is half-way through a line */
    int rc = read_chain(fd, path, &c, &rest, e);
    if (rc == 0 && (rest.n > 0 || c.torn))
        rc = err_set_at(e, ERR_CHECKSUM, c.lines + 1,
                        "%s, line %llu: the line is torn, and nothing has recorded that", path,
                        (unsigned long long)c.lines + 1);
    if (rc == 0)
        *rows = c.rows;
    buf_done(&rest);
    close(fd);
    return rc;
}
