/* egress.h: the only way out of this process. Only this folder links connect, curl_* or
 * getaddrinfo.
 *
 * The gate: every outbound connection names the zone of the request that wants it and the row
 * (provider's model) it goes to. At the moment the socket is opened the *resolved* address is
 * checked against both:
 *   - the row's zone must not be looser than the request's zone: GEN_DEVICE requests reach only
 * GEN_DEVICE rows;
 *   - a GEN_DEVICE row must resolve to loopback (or be a Unix socket); plain http only to loopback
 * or GEN_SITE;
 *   - the host must be the row's own host (no redirects to elsewhere, a token never travels to
 * another host). It fails closed. Each connection is appended to the hash-chained log before the
 * first byte leaves: time, row, host, address, port, zone, rule, bytes out and in when it ends. No
 * request text, no key is ever in the log. */
#ifndef WEIR_EGRESS_H
#define WEIR_EGRESS_H

#include "gen.h"
#include "net.h"

struct egress;

struct egress_params {
    struct net_loop *loop; /* NULL: only egress_fetch (command line) */
    const char *home;      /* $WEIR_HOME; the log is home/egress.log, mode 0600. NULL: no log, and
                              then only Unix sockets may be dialled */
    bool offline;          /* refuse everything but Unix sockets and loopback */
};
int egress_new(const struct egress_params *p, struct egress **out, struct err *e);
void egress_free(struct egress *eg); /* no call may be under way; NULL is fine */

/* Where a call goes, and why it may. */
struct egress_row {
    const char *name;      /* "openai", "openai/gpt-5", "pull" */
    enum gen_zone zone;    /* of the row's model */
    const char *unix_path; /* a Unix socket instead of the URL's host; NULL */
};

struct egress_call {
    const struct egress_row *row;
    enum gen_zone req_zone; /* of the request whose data this carries */
    const char *rule;       /* one word: "chat", "models", "pull", "probe" */
    const char *method, *url;
    const char *const *headers; /* "Name: value", NULL-terminated; secrets are never logged */
    struct str body;            /* copied */
    int connect_ms, first_ms, idle_ms; /* deadlines: connect, first byte of the body, between bytes;
                                          0: 10 s, 60 s, 60 s */
    /* On the loop. head: status and the Retry-After seconds (0: none). data: PAUSE stops reading
     * until egress_resume, CANCEL ends. end: once, last; err NULL when the transfer completed. */
    void (*head)(void *ctx, int status, struct str content_type, int retry_after_s);
    enum gen_verdict (*data)(void *ctx, struct str bytes);
    void (*end)(void *ctx, const struct err *err);
    void *ctx;
};

struct egress_run;
/* On the loop. ERR_POLICY when the gate refuses (no socket was opened); then no callback comes. A
 * refusal that is known only after the name was resolved arrives by `end` with ERR_POLICY. Not from
 * inside `head` or `data` (from `end`, yes). Redirects are not followed: a 3xx is an answer. */
int egress_start(struct egress *eg, const struct egress_call *call, struct egress_run **out,
                 struct err *e);
void egress_resume(struct egress_run *r);
void egress_cancel(
    struct egress_run *r); /* end follows with ERR_CANCELLED, soon but not from inside this call */
/* The handle is gone once `end` has returned. */

/* A download that a person asked for: blocking, on the caller's thread, carries no request's data.
 * Follows redirects (each hop checked and logged; Authorization dropped when the host changes).
 * offset: resume by Range; length: no more than so many bytes from there, 0: to the end. *status is
 * the last response's status: whatever it is, the answer is 0 and `head` has been called; `data`
 * gets the body of a 2xx only. ranged false after an offset: the file comes from its beginning (the
 * server knows no ranges, or the file changed); ranged false with a 206: other bytes than were
 * asked for, none of which are handed out (ERR_UPSTREAM). */
struct egress_fetch {
    const char *url;
    const char *rule; /* "pull" */
    const char *const *headers;
    uint64_t offset, length;
    const char *if_range; /* an ETag; NULL */
    int connect_ms, idle_ms;
    int (*link)(void *ctx, struct str value); /* the Link header, before head; NULL: not wanted */
    int (*tick)(void *ctx); /* about once a second, and oftener; non-zero: ERR_CANCELLED. NULL */
    int (*head)(void *ctx, int status, uint64_t total, struct str etag,
                bool ranged);                 /* total 0: unknown */
    int (*data)(void *ctx, struct str bytes); /* non-zero: stop, that is the return value */
    void *ctx;
};
int egress_fetch(struct egress *eg, const struct egress_fetch *f, int *status, struct err *e);

/* A child that may dial by itself (pip): logged as a row of its own before it starts. ERR_POLICY
 * when offline. */
int egress_note_child(struct egress *eg, const char *rule, const char *what, struct err *e);

/* Is something listening there (loopback only)? Blocking, at most ms; logged. For finding model
 * servers. */
bool egress_probe(struct egress *eg, int port, int ms);

/* Check the whole chain of home/egress.log. *rows counts them. ERR_CHECKSUM names the line where it
 * breaks. */
int egress_verify(const char *home, uint64_t *rows, struct err *e);

#endif
