/* test_egress.c: the one way out, used: calls and downloads against a server of ours on another
 * thread. Names are resolved by this file, which counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "egress.h"
#include "egress_int.h"
#include "net.h"

/* ---- the resolver ---- */

static atomic_int lookups;
static _Atomic(const char *) answer_of_dns = "127.0.0.1";

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    atomic_fetch_add(&lookups, 1);
    const char *ip = atomic_load(&answer_of_dns);
    if (!ip)
        return EAI_NONAME;
    struct {
        struct addrinfo ai;
        struct sockaddr_in a;
    } *x = calloc(1, sizeof *x);
    if (!x)
        return EAI_MEMORY;
    x->a.sin_family = AF_INET;
    x->a.sin_port = htons((uint16_t)(service ? atoi(service) : 0));
    inet_pton(AF_INET, ip, &x->a.sin_addr);
    x->ai = (struct addrinfo){.ai_family = AF_INET,
                              .ai_socktype = SOCK_STREAM,
                              .ai_addrlen = sizeof x->a,
                              .ai_addr = (struct sockaddr *)&x->a};
    *res = &x->ai;
    return 0;
}

void freeaddrinfo(struct addrinfo *res)
{
    free(res);
}

/* ---- a server ---- */

struct site {
    struct net_loop *loop;
    struct net_server *server;
    pthread_t thread;
    int port;
    char other[64]; /* where /away redirects to */
    atomic_int requests, connections_max, stalled, closed, saw_auth, saw_cookie;
    struct net_req *held;
    size_t left;
};

static const char file[] = "0123456789abcdefghijklmnopqrstuvwxyz";

static void on_closed(void *ctx)
{
    struct site *s = ctx;
    s->held = NULL;
    atomic_fetch_add(&s->closed, 1);
}

static void flood(void *ctx)
{
    static char block[8192];
    struct site *s = ctx;
    memset(block, 'x', sizeof block);
    while (s->left > 0) {
        size_t n = s->left < sizeof block ? s->left : sizeof block;
        s->left -= n;
        if (net_res_write(s->held, str_n(block, n)) > 64 * 1024) {
            atomic_fetch_add(&s->stalled, 1);
            return;
        }
    }
    net_res_end(s->held);
    s->held = NULL;
}

static void serve_file(struct net_req *r)
{
    struct str range = net_req_header(r, "range"), tag = net_req_header(r, "if-range");
    uint64_t from = 0;
    char line[64];
    struct str digits = range.n > 6 ? str_n(range.p + 6, range.n - 7) : STR_NONE;
    bool same = !tag.p || str_is(tag, "\"v1\"");
    net_res_header(r, "ETag", STR("\"v1\""));
    if (!same || !str_to_u64(digits, &from) || from >= sizeof file - 1) {
        net_res_send(r, from >= sizeof file - 1 ? 416 : 200, "text/plain", str_of(file));
        return;
    }
    snprintf(line, sizeof line, "bytes %d-%d/%d", (int)from, (int)sizeof file - 2,
             (int)sizeof file - 1);
    net_res_header(r, "Content-Range", str_of(line));
    net_res_send(r, 206, "text/plain", str_of(file + from));
}

static void redirect(struct net_req *r, const char *to)
{
    net_res_header(r, "Location", str_of(to));
    net_res_send(r, 302, "text/plain", STR("elsewhere"));
}

static void stream(struct site *s, struct net_req *r, struct str path)
{
    s->held = r;
    net_req_on_close(r, on_closed, s);
    if (str_is(path, "/silent"))
        return;
    net_res_start(r, 200, "text/event-stream");
    s->left = str_is(path, "/flood") ? (size_t)8 << 20 : SIZE_MAX;
    if (str_is(path, "/stall")) {
        net_res_write(r, STR("one"));
        return;
    }
    net_res_on_drain(r, flood, s);
    flood(s);
}

static void on_request(void *ctx, struct net_req *r)
{
    struct site *s = ctx;
    struct str path = net_req_path(r);
    atomic_fetch_add(&s->requests, 1);
    if (net_req_header(r, "authorization").p)
        atomic_fetch_add(&s->saw_auth, 1);
    if (net_req_header(r, "cookie").p)
        atomic_fetch_add(&s->saw_cookie, 1);
    if (net_server_connections(s->server) > atomic_load(&s->connections_max))
        atomic_store(&s->connections_max, net_server_connections(s->server));
    if (str_is(path, "/file")) {
        serve_file(r);
    } else if (str_is(path, "/noranges")) {
        net_res_send(r, 200, "text/plain", str_of(file));
    } else if (str_is(path, "/wrongrange")) {
        net_res_header(r, "Content-Range", STR("bytes 0-35/36"));
        net_res_send(r, 206, "text/plain", str_of(file));
    } else if (str_is(path, "/here")) {
        redirect(r, "/file");
    } else if (str_is(path, "/away")) {
        redirect(r, s->other);
    } else if (str_is(path, "/round")) {
        redirect(r, "/round");
    } else if (str_is(path, "/busy")) {
        net_res_header(r, "Retry-After", STR("7"));
        net_res_send(r, 429, "application/json", STR("{}"));
    } else if (str_is(path, "/cut")) {
        net_res_start(r, 200, "text/plain");
        net_res_write(r, STR("half"));
        net_res_abort(r);
    } else if (str_is(path, "/flood") || str_is(path, "/stall") || str_is(path, "/silent") ||
               str_is(path, "/endless")) {
        stream(s, r, path);
    } else {
        net_res_send(r, 200, "text/plain", net_req_body(r));
    }
}

static void *run_loop(void *ctx)
{
    net_loop_run(ctx);
    return NULL;
}

static struct site *site_new(const char *unix_path)
{
    static const char *const hosts[] = {"box.test", "other.test", NULL};
    struct site *s = calloc(1, sizeof *s);
    struct net_server_params p = {.host = "127.0.0.1",
                                  .unix_path = unix_path,
                                  .allow_hosts = hosts,
                                  .request = on_request,
                                  .ctx = s};
    struct err e;
    assert_int_equal(net_loop_new(&s->loop, &e), 0);
    assert_int_equal(net_server_new(s->loop, &p, &s->server, &e), 0);
    s->port = net_server_port(s->server);
    pthread_create(&s->thread, NULL, run_loop, s->loop);
    return s;
}

static void do_stop(void *ctx)
{
    struct site *s = ctx;
    net_server_close(s->server);
    net_loop_stop(s->loop);
}

static void site_free(struct site *s)
{
    net_post(s->loop, do_stop, s);
    pthread_join(s->thread, NULL);
    net_loop_free(s->loop);
    free(s);
}

/* ---- a home, and calls ---- */

static char home[64];

static int make_home(void **state)
{
    strcpy(home, "/tmp/weir-egress-XXXXXX");
    atomic_store(&lookups, 0);
    atomic_store(&answer_of_dns, "127.0.0.1");
    return mkdtemp(home) ? 0 : -1;
}

static int drop_home(void **state)
{
    static const char *const files[] = {"egress.log", "s.lock", "s"};
    char path[128];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", home, files[i]);
        unlink(path);
    }
    return rmdir(home);
}

static char *read_log(size_t *n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/egress.log", home);
    FILE *f = fopen(path, "rb");
    char *b = calloc(1, 1 << 20);
    *n = f ? fread(b, 1, (1 << 20) - 1, f) : 0;
    if (f)
        fclose(f);
    return b;
}

static size_t count_in_log(const char *what)
{
    size_t n, count = 0;
    char *b = read_log(&n);
    for (char *at = b; (at = strstr(at, what)); at++)
        count++;
    free(b);
    return count;
}

struct out {
    struct net_loop *loop;
    struct egress *eg;
    struct egress_run *run;
    struct net_timer *timer;
    struct buf body;
    int status, retry_after, ended, rc, pause_after, cancel_after;
    size_t bytes;
    uint64_t first_ns;
    struct err err;
    struct egress_call next; /* started from inside end */
    bool has_next;
};

static void on_head(void *ctx, int status, struct str type, int retry_after)
{
    struct out *o = ctx;
    o->status = status;
    o->retry_after = retry_after;
}

static enum gen_verdict on_data(void *ctx, struct str bytes)
{
    struct out *o = ctx;
    o->bytes += bytes.n;
    if (o->body.n < 4096)
        buf_str_add(&o->body, str_n(bytes.p, bytes.n < 4096 ? bytes.n : 4096));
    if (o->cancel_after && o->bytes >= (size_t)o->cancel_after)
        return GEN_CANCEL;
    if (o->pause_after && o->bytes >= (size_t)o->pause_after) {
        o->pause_after = 0;
        return GEN_PAUSE;
    }
    return GEN_GO;
}

static void on_end(void *ctx, const struct err *err)
{
    struct out *o = ctx;
    o->ended++;
    o->run = NULL;
    o->rc = err ? err->code : 0;
    if (err)
        o->err = *err;
    if (o->has_next) {
        o->has_next = false;
        struct err e;
        assert_int_equal(egress_start(o->eg, &o->next, &o->run, &e), 0);
        return;
    }
    net_loop_stop(o->loop);
}

static void out_new(struct out *o, bool offline)
{
    struct err e;
    *o = (struct out){.body = BUF_INIT(1 << 20)};
    assert_int_equal(net_loop_new(&o->loop, &e), 0);
    struct egress_params p = {.loop = o->loop, .home = home, .offline = offline};
    assert_int_equal(egress_new(&p, &o->eg, &e), 0);
}

static void out_free(struct out *o)
{
    egress_free(o->eg);
    net_loop_free(o->loop);
    buf_done(&o->body);
}

static const struct egress_row device = {"local", GEN_DEVICE, NULL};
static const struct egress_row nearby = {"box", GEN_SITE, NULL};
static const struct egress_row cloud = {"acme", GEN_CLOUD, NULL};

static struct egress_call call_to(struct out *o, const struct egress_row *row, const char *url)
{
    return (struct egress_call){.row = row,
                                .req_zone = row->zone,
                                .rule = "chat",
                                .method = "GET",
                                .url = url,
                                .head = on_head,
                                .data = on_data,
                                .end = on_end,
                                .ctx = o};
}

static int run(struct out *o, const struct egress_call *c)
{
    o->ended = o->status = o->rc = 0;
    o->bytes = 0;
    buf_clear(&o->body);
    int rc = egress_start(o->eg, c, &o->run, &o->err);
    if (rc != 0)
        return rc;
    net_loop_run(o->loop);
    assert_int_equal(o->ended, 1);
    return o->rc;
}

static const char *at(struct site *s, const char *host, const char *path)
{
    static char url[256];
    snprintf(url, sizeof url, "http://%s:%d%s", host, s->port, path);
    return url;
}

/* ---- calls ---- */

static void a_call_and_its_lines(void **state)
{
    struct site *s = site_new(NULL);
    struct out o;
    uint64_t rows;
    out_new(&o, false);
    static const char *const headers[] = {"Authorization: Bearer sk-secret", NULL};
    struct egress_call c = call_to(&o, &device, at(s, "127.0.0.1", "/echo?key=sk-query"));
    c.method = "POST";
    c.headers = headers;
    c.body = STR("hello");
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(run(&o, &c), 0);
        assert_int_equal(o.status, 200);
        assert_true(str_is(buf_str(&o.body), "hello"));
    }
    /* One connection, three lines: used again is asked again. */
    assert_int_equal(atomic_load(&s->connections_max), 1);
    assert_int_equal(count_in_log("\"event\":\"open\""), 1);
    assert_int_equal(count_in_log("\"event\":\"reuse\""), 2);
    assert_int_equal(count_in_log("\"event\":\"close\""), 3);
    assert_int_equal(count_in_log("sk-"), 0);
    assert_int_equal(count_in_log("hello"), 0);
    assert_int_equal(count_in_log("\"addr\":\"127.0.0.1\""), 3);
    /* The same place under other answers of the gate: a connection of its own. */
    c.req_zone = GEN_CLOUD;
    assert_int_equal(run(&o, &c), 0);
    c.row = &nearby;
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(atomic_load(&s->connections_max), 3);
    assert_int_equal(count_in_log("\"event\":\"open\""), 3);
    assert_int_equal(egress_verify(home, &rows, &o.err), 0);
    c = call_to(&o, &device, at(s, "localhost", "/busy"));
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(o.status, 429);
    assert_int_equal(o.retry_after, 7);
    assert_int_equal(atomic_load(&lookups), 0);
    out_free(&o);
    site_free(s);
}

static void what_is_refused_is_not_even_looked_up(void **state)
{
    struct site *s = site_new(NULL);
    struct out o;
    out_new(&o, false);
    struct egress_call c = call_to(&o, &device, at(s, "box.test", "/"));
    assert_int_equal(run(&o, &c), ERR_POLICY);
    c = call_to(&o, &cloud, "https://api.test/");
    c.req_zone = GEN_DEVICE;
    assert_int_equal(run(&o, &c), ERR_POLICY);
    c = call_to(&o, &cloud, at(s, "api.test", "/"));
    assert_int_equal(run(&o, &c), ERR_POLICY);
    assert_int_equal(atomic_load(&lookups), 0);
    assert_int_equal(count_in_log("\"event\":\"refused\""), 3);
    /* A site row is looked up, and goes where the name leads. */
    c = call_to(&o, &nearby, at(s, "box.test", "/x"));
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(o.status, 200);
    assert_int_equal(atomic_load(&lookups), 1);
    assert_int_equal(count_in_log("\"host\":\"box.test\",\"addr\":\"127.0.0.1\""), 1);
    /* A name that leads nowhere real is found out at the socket. */
    atomic_store(&answer_of_dns, "0.0.0.0");
    c = call_to(&o, &cloud, "https://api.test/");
    assert_int_equal(run(&o, &c), ERR_POLICY);
    assert_int_equal(o.ended, 1);
    atomic_store(&answer_of_dns, NULL);
    c = call_to(&o, &cloud, "https://gone.test/");
    assert_int_equal(run(&o, &c), ERR_CONNECT);
    assert_int_equal(atomic_load(&s->requests), 1);
    out_free(&o);
    out_new(&o, true);
    c = call_to(&o, &cloud, "https://api.test/");
    assert_int_equal(run(&o, &c), ERR_POLICY);
    c = call_to(&o, &nearby, at(s, "box.test", "/"));
    assert_int_equal(run(&o, &c), ERR_POLICY);
    c = call_to(&o, &nearby, at(s, "localhost", "/"));
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(atomic_load(&lookups), 3);
    out_free(&o);
    site_free(s);
}

static void malformed_calls(void **state)
{
    static const char *const urls[] = {"http://user:secret@127.0.0.1/",
                                       "ftp://127.0.0.1/",
                                       "file:///etc/passwd",
                                       "127.0.0.1/x",
                                       "http://",
                                       "",
                                       "http://a b/",
                                       "gopher://127.0.0.1/"};
    static const char *const headers[][2] = {{"X: a\r\nEvil: b", NULL},
                                             {"NoColon", NULL},
                                             {"Host: evil.test", NULL},
                                             {"content-length: 5", NULL},
                                             {": empty", NULL}};
    struct out o;
    out_new(&o, false);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct egress_call c = call_to(&o, &device, urls[i]);
        int rc = run(&o, &c);
        assert_int_equal(rc, ERR_INVAL);
        assert_null(strstr(o.err.msg, "secret"));
    }
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        struct egress_call c = call_to(&o, &device, "http://127.0.0.1:1/");
        c.headers = headers[i];
        assert_int_equal(run(&o, &c), ERR_INVAL);
        assert_null(strstr(o.err.msg, "evil"));
    }
    out_free(&o);
}

static void resume_later(void *ctx)
{
    struct out *o = ctx;
    net_timer_free(o->timer);
    o->first_ns = o->bytes; /* how much had come while paused */
    egress_resume(o->run);
}

static void pause_reaches_the_sender(void **state)
{
    struct site *s = site_new(NULL);
    struct out o;
    out_new(&o, false);
    o.pause_after = 1;
    struct egress_call c = call_to(&o, &device, at(s, "127.0.0.1", "/flood"));
    c.idle_ms = 300; /* a pause of ours is not the sender's silence */
    net_timer_new(o.loop, 900, 0, resume_later, &o, &o.timer);
    assert_int_equal(run(&o, &c), 0);
    assert_true(atomic_load(&s->stalled) > 0);
    assert_true(o.first_ns < 64 * 1024);
    assert_int_equal(o.bytes, 8 << 20);
    out_free(&o);
    site_free(s);
}

static void do_cancel(void *ctx)
{
    struct out *o = ctx;
    net_timer_free(o->timer);
    egress_cancel(o->run);
    assert_int_equal(o->ended, 0);
}

static void deadlines_and_ends(void **state)
{
    struct site *s = site_new(NULL);
    struct out o;
    out_new(&o, false);
    struct egress_call c = call_to(&o, &device, at(s, "127.0.0.1", "/silent"));
    c.first_ms = 100;
    assert_int_equal(run(&o, &c), ERR_TIMEOUT);
    assert_non_null(strstr(o.err.msg, "first byte"));
    c = call_to(&o, &device, at(s, "127.0.0.1", "/stall"));
    c.idle_ms = 100;
    assert_int_equal(run(&o, &c), ERR_TIMEOUT);
    assert_int_equal(o.bytes, 3);
    c = call_to(&o, &device, at(s, "127.0.0.1", "/cut"));
    assert_int_equal(run(&o, &c), ERR_CUT);
    c = call_to(&o, &device, "http://127.0.0.1:1/");
    assert_int_equal(run(&o, &c), ERR_CONNECT);
    c = call_to(&o, &device, at(s, "127.0.0.1", "/stall"));
    net_timer_new(o.loop, 100, 0, do_cancel, &o, &o.timer);
    assert_int_equal(run(&o, &c), ERR_CANCELLED);
    o.cancel_after = 1;
    c = call_to(&o, &device, at(s, "127.0.0.1", "/endless"));
    assert_int_equal(run(&o, &c), ERR_CANCELLED);
    for (int i = 0; i < 2000 && atomic_load(&s->closed) < 4; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&s->closed), 4);
    /* From one end the next call. */
    o.cancel_after = 0;
    o.next = call_to(&o, &device, strdup(at(s, "127.0.0.1", "/next")));
    o.has_next = true;
    c = call_to(&o, &device, at(s, "127.0.0.1", "/cut"));
    assert_int_equal(egress_start(o.eg, &c, &o.run, &o.err), 0);
    o.ended = 0;
    net_loop_run(o.loop);
    assert_int_equal(o.ended, 2);
    assert_int_equal(o.status, 200);
    free((char *)(uintptr_t)o.next.url);
    out_free(&o);
    site_free(s);
}

static void a_redirect_is_an_answer(void **state)
{
    struct site *s = site_new(NULL);
    struct out o;
    out_new(&o, false);
    struct egress_call c = call_to(&o, &device, at(s, "127.0.0.1", "/here"));
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(o.status, 302);
    assert_int_equal(atomic_load(&s->requests), 1);
    out_free(&o);
    site_free(s);
}

static void unix_rows_and_no_home(void **state)
{
    char path[128];
    snprintf(path, sizeof path, "%s/s", home);
    struct site *s = site_new(path);
    struct out o = {.body = BUF_INIT(1 << 20)};
    struct err e;
    struct egress_row row = {"weir", GEN_DEVICE, path};
    assert_int_equal(net_loop_new(&o.loop, &e), 0);
    struct egress_params p = {.loop = o.loop, .offline = true};
    assert_int_equal(egress_new(&p, &o.eg, &e), 0);
    struct egress_call c = call_to(&o, &row, "http://localhost/x");
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(o.status, 200);
    c = call_to(&o, &device, "http://127.0.0.1:1/");
    assert_int_equal(run(&o, &c), ERR_POLICY);
    assert_int_equal(egress_note_child(o.eg, "pull", "pip", &e), ERR_POLICY);
    out_free(&o);
    out_new(&o, true); /* with a home it has its line */
    c = call_to(&o, &row, "http://localhost/x");
    assert_int_equal(run(&o, &c), 0);
    assert_int_equal(count_in_log("\"addr\":\"unix\""), 1);
    out_free(&o);
    site_free(s);
}

static void a_proxy_is_only_for_the_cloud(void **state)
{
    struct site *s = site_new(NULL); /* stands for the proxy: it refuses CONNECT, and counts */
    struct out o;
    char proxy[64], seen[96];
    snprintf(proxy, sizeof proxy, "http://u:secret@127.0.0.1:%d", s->port);
    snprintf(seen, sizeof seen, "\"proxy\":\"127.0.0.1:%d\"", s->port);
    setenv("https_proxy", proxy, 1);
    setenv("http_proxy", proxy, 1);
    setenv("all_proxy", proxy, 1);
    out_new(&o, false);
    struct egress_call c = call_to(&o, &cloud, "https://api.test/");
    assert_int_not_equal(run(&o, &c), 0);
    assert_int_equal(count_in_log(seen), 1);
    assert_int_equal(count_in_log("secret"), 0);
    assert_int_equal(atomic_load(&lookups), 0);
    c = call_to(&o, &nearby, at(s, "box.test", "/x"));
    assert_int_equal(run(&o, &c), 0);
    c = call_to(&o, &device, at(s, "127.0.0.1", "/x"));
    assert_int_equal(run(&o, &c), 0);
    setenv("no_proxy", "other.test, .test", 1);
    atomic_store(&answer_of_dns, NULL);
    c = call_to(&o, &cloud, "https://api.test/");
    assert_int_equal(run(&o, &c), ERR_CONNECT);
    assert_int_equal(count_in_log(seen), 1);
    unsetenv("https_proxy");
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    unsetenv("no_proxy");
    out_free(&o);
    site_free(s);
}

/* A server whose certificate nobody vouches for. */
static int start_tls(int port, pid_t *pid)
{
    char key[128], cert[128], cmd[1024], accept[32];
    snprintf(key, sizeof key, "%s/key", home);
    snprintf(cert, sizeof cert, "%s/cert", home);
    snprintf(accept, sizeof accept, "127.0.0.1:%d", port);
    snprintf(cmd, sizeof cmd,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s "
             ">/dev/null 2>&1",
             key, cert);
    if (system(cmd) != 0)
        return -1;
    const char *argv[] = {"openssl", "s_server", "-accept", accept,   "-key", key,
                          "-cert",   cert,       "-www",    "-quiet", NULL};
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    int rc = posix_spawnp(pid, "openssl", &quiet, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&quiet);
    return rc;
}

static void certificates_are_checked(void **state)
{
    struct site *s = site_new(NULL); /* for a port that is free a moment later */
    int port = s->port;
    site_free(s);
    struct out o;
    pid_t pid = 0;
    char url[64], path[128];
    out_new(&o, false);
    int rc = start_tls(port, &pid);
    for (int i = 0; rc == 0 && i < 100 && !egress_probe(o.eg, port, 100); i++)
        usleep(20000);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", port);
    struct egress_call c = call_to(&o, &cloud, url);
    int got = rc == 0 ? run(&o, &c) : 0;
    if (rc == 0) {
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
    }
    out_free(&o);
    snprintf(path, sizeof path, "%s/key", home);
    unlink(path);
    snprintf(path, sizeof path, "%s/cert", home);
    unlink(path);
    if (rc != 0) {
        print_message("no openssl program: the check of certificates is not tried\n");
        skip();
    }
    assert_int_equal(got, ERR_CONNECT);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.err.msg, "certificate"));
}

/* ---- downloads ---- */

struct got {
    struct buf body;
    int status, heads, stop_after;
    uint64_t total;
    bool ranged;
    char etag[64];
};

static int got_head(void *ctx, int status, uint64_t total, struct str etag, bool ranged)
{
    struct got *g = ctx;
    g->status = status;
    g->heads++;
    g->total = total;
    g->ranged = ranged;
    snprintf(g->etag, sizeof g->etag, "%.*s", STR_ARG(etag));
    return 0;
}

static int got_data(void *ctx, struct str bytes)
{
    struct got *g = ctx;
    if (g->body.n < 4096)
        buf_str_add(&g->body, str_n(bytes.p, bytes.n < 4096 ? bytes.n : 4096));
    return g->stop_after && g->body.n >= (size_t)g->stop_after ? ERR_TOO_LARGE : 0;
}

static int fetch(struct egress *eg, const char *url, uint64_t offset, const char *etag,
                 struct got *g, struct err *e)
{
    static const char *const headers[] = {"Authorization: Bearer sk-1", "Cookie: a=b",
                                          "Accept: */*", NULL};
    buf_done(&g->body);
    *g = (struct got){.body = BUF_INIT(1 << 20), .stop_after = g->stop_after};
    struct egress_fetch f = {.url = url,
                             .rule = "pull",
                             .headers = headers,
                             .offset = offset,
                             .if_range = etag,
                             .idle_ms = 500,
                             .head = got_head,
                             .data = got_data,
                             .ctx = g};
    int status = 0;
    int rc = egress_fetch(eg, &f, &status, e);
    if (rc == 0)
        assert_int_equal(status, g->status);
    return rc;
}

static void downloads(void **state)
{
    struct site *s = site_new(NULL);
    struct egress *eg;
    struct err e;
    struct got g = {0};
    struct egress_params p = {.home = home};
    assert_int_equal(egress_new(&p, &eg, &e), 0);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/file"), 0, NULL, &g, &e), 0);
    assert_true(str_is(buf_str(&g.body), file) && g.total == sizeof file - 1 && !g.ranged);
    assert_string_equal(g.etag, "\"v1\"");
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/file"), 30, "\"v1\"", &g, &e), 0);
    assert_true(str_is(buf_str(&g.body), "uvwxyz") && g.total == sizeof file - 1 && g.ranged);
    /* It changed; ranges are not known; a tag that proves nothing: from the beginning. */
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/file"), 30, "\"v0\"", &g, &e), 0);
    assert_true(str_is(buf_str(&g.body), file) && !g.ranged);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/noranges"), 30, "\"v1\"", &g, &e), 0);
    assert_true(str_is(buf_str(&g.body), file) && !g.ranged);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/file"), 30, "W/\"v1\"", &g, &e), 0);
    assert_true(str_is(buf_str(&g.body), file) && !g.ranged);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/wrongrange"), 30, NULL, &g, &e), ERR_UPSTREAM);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/file"), 99, NULL, &g, &e), 0);
    assert_int_equal(g.status, 416);
    assert_int_equal(g.body.n, 0);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/cut"), 0, NULL, &g, &e), ERR_CUT);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/stall"), 0, NULL, &g, &e), ERR_TIMEOUT);
    g.stop_after = 100;
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/endless"), 0, NULL, &g, &e), ERR_TOO_LARGE);
    g.stop_after = 0;
    assert_int_equal(fetch(eg, at(s, "api.test", "/file"), 0, NULL, &g, &e), ERR_POLICY);
    assert_int_equal(atomic_load(&lookups), 0);
    buf_done(&g.body);
    egress_free(eg);
    site_free(s);
}

static void redirects_are_asked_about(void **state)
{
    struct site *s = site_new(NULL), *other = site_new(NULL);
    struct egress *eg;
    struct err e;
    struct got g = {0};
    struct egress_params p = {.home = home};
    assert_int_equal(egress_new(&p, &eg, &e), 0);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/here"), 30, "\"v1\"", &g, &e), 0);
    assert_true(str_is(buf_str(&g.body), "uvwxyz") && g.heads == 1);
    assert_int_equal(atomic_load(&s->saw_auth), 2);
    /* To another port: another host, which learns nothing about us. */
    snprintf(s->other, sizeof s->other, "http://127.0.0.1:%d/file", other->port);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/away"), 0, NULL, &g, &e), 0);
    assert_true(str_is(buf_str(&g.body), file));
    assert_int_equal(atomic_load(&other->requests), 1);
    assert_int_equal(atomic_load(&other->saw_auth), 0);
    assert_int_equal(atomic_load(&other->saw_cookie), 0);
    /* Where it leads is asked about like any place. */
    snprintf(s->other, sizeof s->other, "http://api.test/");
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/away"), 0, NULL, &g, &e), ERR_POLICY);
    snprintf(s->other, sizeof s->other, "file:///etc/passwd");
    assert_int_not_equal(fetch(eg, at(s, "127.0.0.1", "/away"), 0, NULL, &g, &e), 0);
    snprintf(s->other, sizeof s->other, "http://u:p@127.0.0.1/");
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/away"), 0, NULL, &g, &e), ERR_UPSTREAM);
    assert_int_equal(fetch(eg, at(s, "127.0.0.1", "/round"), 0, NULL, &g, &e), ERR_UPSTREAM);
    assert_int_equal(atomic_load(&lookups), 0);
    assert_int_equal(atomic_load(&other->requests), 1);
    buf_done(&g.body);
    egress_free(eg);
    site_free(s);
    site_free(other);
}

static void probes_and_children(void **state)
{
    struct site *s = site_new(NULL);
    struct egress *eg;
    struct err e;
    uint64_t rows;
    struct egress_params p = {.home = home};
    assert_int_equal(egress_new(&p, &eg, &e), 0);
    assert_true(egress_probe(eg, s->port, 500));
    assert_false(egress_probe(eg, 1, 500));
    assert_false(egress_probe(eg, 0, 500));
    assert_int_equal(egress_note_child(eg, "pull", "pip download llm", &e), 0);
    assert_int_equal(egress_verify(home, &rows, &e), 0);
    assert_int_equal(rows, 5);
    egress_free(eg);
    p.offline = true;
    assert_int_equal(egress_new(&p, &eg, &e), 0);
    assert_int_equal(egress_note_child(eg, "pull", "pip", &e), ERR_POLICY);
    egress_free(eg);
    site_free(s);
}

#define WITH_HOME(f) cmocka_unit_test_setup_teardown(f, make_home, drop_home)

int main(void)
{
    const struct CMUnitTest tests[] = {

        WITH_HOME(a_call_and_its_lines),      WITH_HOME(what_is_refused_is_not_even_looked_up),
        WITH_HOME(malformed_calls),           WITH_HOME(pause_reaches_the_sender),
        WITH_HOME(deadlines_and_ends),        WITH_HOME(a_redirect_is_an_answer),
        WITH_HOME(unix_rows_and_no_home),     WITH_HOME(a_proxy_is_only_for_the_cloud),
        WITH_HOME(certificates_are_checked),  WITH_HOME(downloads),
        WITH_HOME(redirects_are_asked_about), WITH_HOME(probes_and_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
