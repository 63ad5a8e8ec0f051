/* call.c: a call on the loop: its deadlines, its back-pressure, its one end.
 *
 * curl's callbacks only set marks and return; a call is taken apart in two places, when curl says
 * it is over and when our timer fires, both outside curl. The timer is one: it is the deadline of
 * whatever is awaited (connection, first byte, next byte), and at 0 ms it carries out what was
 * asked for from inside a callback (cancel, resume). */
#include "egress_int.h"

#include <assert.h>
#include <stdlib.h>

#define READ_BYTES 4096L

struct egress_run {
    struct egress *eg;
    struct pool_of_curl *pool;
    CURL *easy;
    struct dial dial;
    char *body;
    int first_ms, idle_ms;
    void (*head)(void *ctx, int status, struct str content_type, int retry_after_s);
    enum gen_verdict (*data)(void *ctx, struct str bytes);
    void (*end)(void *ctx, const struct err *err);
    void *ctx;
    uv_timer_t timer;
    const char *awaited; /* what the deadline is for */
    bool cancelled, paused, held, wanted, headed;
    /* paused: the sink wants no more; held: curl was told so; wanted: resume was asked */
};

/* ---- egress ---- */

int egress_new(const struct egress_params *p, struct egress **out, struct err *e)
{
    int rc = egress_curl_init(e);
    if (rc != 0)
        return rc;
    struct egress *eg = calloc(1, sizeof *eg);
    if (!eg)
        return err_set(e, ERR_NOMEM, "no memory for egress");
    eg->loop = p->loop;
    eg->offline = p->offline;
    if (p->home)
        rc = egress_log_open(p->home, &eg->log, e);
    if (rc != 0) {
        free(eg);
        return rc;
    }
    *out = eg;
    return 0;
}

void egress_free(struct egress *eg)
{
    if (!eg)
        return;
    assert(eg->runs == 0);
    pools_free(eg);
    egress_log_free(eg->log);
    free(eg);
}

/* ---- the end ---- */

static void free_run(uv_handle_t *h)
{
    struct egress_run *r = h->data;
    if (r->easy)
        curl_easy_cleanup(r->easy);
    dial_done(&r->dial);
    free(r->body);
    free(r);
}

static void close_run(struct egress_run *r)
{
    r->eg->runs--;
    uv_timer_stop(&r->timer);
    uv_close((uv_handle_t *)&r->timer, free_run);
}

static void finish(struct egress_run *r, CURLcode rc, int override)
{
    struct err err = {0};
    if (r->cancelled)
        override = ERR_CANCELLED;
    int code = dial_finish(&r->dial, r->easy, rc, override, &err);
    if (code == ERR_TIMEOUT && override)
        err_set(&err, ERR_TIMEOUT, "%s: %s took too long", r->dial.row, r->awaited);
    pool_remove(r->pool, r->easy);
    r->end(r->ctx, code ? &err : NULL);
    close_run(r);
}

void call_over(CURL *easy, CURLcode rc)
{
    struct egress_run *r = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &r);
    finish(r, rc, 0);
}

/* ---- the timer ---- */

static void on_timer(uv_timer_t *t)
{
    struct egress_run *r = t->data;
    if (r->cancelled || !r->wanted) {
        finish(r, CURLE_OK, r->cancelled ? ERR_CANCELLED : ERR_TIMEOUT);
        return;
    }
    r->wanted = r->paused = false;
    bool held = r->held;
    r->held = false;
    uv_timer_start(&r->timer, on_timer, (uint64_t)r->idle_ms, 0);
    if (!held)
        return;
    struct pool_of_curl *p = r->pool;
    curl_easy_pause(r->easy, CURLPAUSE_CONT); /* hands over what curl held back */
    pool_kick(p);
}

static void await(struct egress_run *r, int ms, const char *what)
{
    if (r->cancelled || r->wanted)
        return; /* the timer has something to do first */
    r->awaited = what;
    uv_update_time(r->timer.loop);
    uv_timer_start(&r->timer, on_timer, (uint64_t)ms, 0);
}

void egress_cancel(struct egress_run *r)
{
    r->cancelled = true;
    uv_timer_start(&r->timer, on_timer, 0, 0);
}

void egress_resume(struct egress_run *r)
{
    if (!r->paused || r->cancelled)
        return;
    r->wanted = true;
    uv_timer_start(&r->timer, on_timer, 0, 0);
}

/* ---- curl's callbacks ---- */

static void on_connected(void *ctx)
{
    struct egress_run *r = ctx;
    await(r, r->first_ms, "the first byte of the answer");
}

static void tell_head(struct egress_run *r, long status)
{
    char *type = NULL;
    curl_off_t after = 0;
    curl_easy_getinfo(r->easy, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after);
    if (after < 0 || after > 1000000)
        after = after < 0 ? 0 : 1000000;
    r->headed = true;
    if (r->head)
        r->head(r->ctx, (int)status, str_of(type), (int)after);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct egress_run *r = ctx;
    long status = 0;
    struct str line = str_trim(str_n(p, n));
    if (line.n == 0 && !r->headed && !r->cancelled) {
        curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
        if (status >= 200)
            tell_head(r, status); /* what comes before is only "go on" */
    }
    return r->cancelled ? 0 : n;
}

/* A byte taken with PAUSE is taken; the next one curl keeps, and reads no further. */
static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct egress_run *r = ctx;
    if (r->cancelled)
        return CURL_WRITEFUNC_ERROR;
    if (r->paused) {
        r->held = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    enum gen_verdict v = r->data ? r->data(r->ctx, str_n(p, n)) : GEN_GO;
    if (v == GEN_CANCEL)
        r->cancelled = true;
    if (r->cancelled)
        return CURL_WRITEFUNC_ERROR;
    if (v == GEN_PAUSE) {
        r->paused = true;
        uv_timer_stop(&r->timer); /* the sink's time is not the sender's */
        return n;
    }
    await(r, r->idle_ms, "the next byte of the answer");
    return n;
}

/* ---- starting ---- */

static int set_body(struct egress_run *r, const struct egress_call *call, struct err *e)
{
    const char *method = call->method ? call->method : "GET";
    bool has_body = call->body.n > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
    if (strpbrk(method, " \r\n") || !*method)
        return err_set(e, ERR_INVAL, "%s: malformed method", r->dial.row);
    if (has_body) {
        r->body = malloc(call->body.n + 1);
        if (!r->body)
            return err_set(e, ERR_NOMEM, "%s: no memory for the request", r->dial.row);
        if (call->body.n)
            memcpy(r->body, call->body.p, call->body.n);
        curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.n);
        curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->body);
    }
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, method);
    return 0;
}

static int set_up(struct egress_run *r, const struct egress_call *call, struct err *e)
{
    struct dial_params p = {.eg = r->eg,
                            .row = call->row,
                            .req_zone = call->req_zone,
                            .rule = call->rule,
                            .url = call->url,
                            .headers = call->headers};
    r->easy = curl_easy_init();
    if (!r->easy)
        return err_set(e, ERR_NOMEM, "no memory for a call");
    int rc = dial_init(&r->dial, r->easy, &p, e);
    if (rc == 0)
        rc = set_body(r, call, e);
    if (rc == 0)
        rc = pools_get(r->eg, &r->dial, &r->pool, e);
    if (rc != 0)
        return rc;
    r->dial.connected = on_connected;
    r->dial.ctx = r;
    curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
    curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    /* Kept for as long as the call waits; an answer that streams comes in smaller pieces. */
    curl_easy_setopt(r->easy, CURLOPT_BUFFERSIZE, READ_BYTES);
    /* Ending a call must not wait for a resolver that does not answer. */
    curl_easy_setopt(r->easy, CURLOPT_QUICK_EXIT, 1L);
    /* Ours is the deadline; curl's own would be five minutes for a connection. */
    curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS, 0x7fffffffL);
    return pool_add(r->pool, r->easy, e);
}

int egress_start(struct egress *eg, const struct egress_call *call, struct egress_run **out,
                 struct err *e)
{
    assert(eg->loop && call->end);
    struct egress_run *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for a call");
    r->eg = eg;
    eg->runs++;
    uv_timer_init(net_loop_uv(eg->loop), &r->timer);
    r->timer.data = r;
    r->first_ms = call->first_ms > 0 ? call->first_ms : 60000;
    r->idle_ms = call->idle_ms > 0 ? call->idle_ms : 60000;
    r->head = call->head;
    r->data = call->data;
    r->end = call->end;
    r->ctx = call->ctx;
    int rc = set_up(r, call, e);
    if (rc != 0) {
        close_run(r);
        return rc;
    }
    await(r, call->connect_ms > 0 ? call->connect_ms : 10000, "the connection");
    *out = r;
    return 0;
}
