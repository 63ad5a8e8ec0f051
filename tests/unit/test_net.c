/* test_net.c: the server over real sockets: framing that must be refused, order, limits, deadlines,
 * clients that leave, slow readers, drain; and the check of Host and Origin as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "http_int.h"
#include "net.h"

/* ---- a server on a thread of its own ---- */

struct app {
    struct net_loop *loop;
    struct net_server *server;
    pthread_t thread;
    int port;
    atomic_int closed, requests, drained, waiting_max;
    atomic_llong closed_at;
    /* of the loop's thread */
    struct net_req *held;
    struct net_timer *later;
    size_t flood_left;
};

static void on_closed(void *ctx)
{
    struct app *a = ctx;
    a->held = NULL;
    net_timer_free(a->later);
    a->later = NULL;
    atomic_store(&a->closed_at, (long long)clock_mono_ns());
    atomic_fetch_add(&a->closed, 1);
}

static void flood(void *ctx)
{
    static char block[8192];
    struct app *a = ctx;
    while (a->flood_left > 0) {
        size_t n = a->flood_left < sizeof block ? a->flood_left : sizeof block;
        memset(block, 'x', sizeof block);
        a->flood_left -= n;
        size_t waiting = net_res_write(a->held, str_n(block, n));
        if ((int)waiting > atomic_load(&a->waiting_max))
            atomic_store(&a->waiting_max, (int)waiting);
        if (waiting > 64 * 1024)
            return;
    }
    net_res_end(a->held);
    a->held = NULL;
}

static void answer_later(void *ctx)
{
    struct app *a = ctx;
    struct net_req *r = a->held;
    a->held = NULL;
    net_timer_free(a->later);
    a->later = NULL;
    net_res_send(r, 200, "text/plain", STR("later"));
}

static void on_request(void *ctx, struct net_req *r)
{
    struct app *a = ctx;
    atomic_fetch_add(&a->requests, 1);
    struct str path = net_req_path(r);
    if (str_is(path, "/hold") || str_is(path, "/flood") || str_is(path, "/later")) {
        a->held = r;
        net_req_on_close(r, on_closed, a);
    }
    if (str_is(path, "/flood")) {
        a->flood_left = (size_t)8 << 20;
        net_res_on_drain(r, flood, a);
        net_res_start(r, 200, "text/plain");
        flood(a);
    } else if (str_is(path, "/later")) {
        net_timer_new(a->loop, 50, 0, answer_later, a, &a->later);
    } else if (str_is(path, "/stream")) {
        net_res_start(r, 200, "text/event-stream");
        net_res_write(r, STR("one"));
        net_res_write(r, STR(""));
        net_res_write(r, STR("two"));
        net_res_end(r);
    } else if (str_is(path, "/cut")) {
        net_res_start(r, 200, "text/plain");
        net_res_write(r, STR("half"));
        net_res_abort(r);
    } else if (str_is(path, "/param")) {
        struct str v = STR_NONE;
        bool found = net_req_param(r, "q", &v);
        net_res_send(r, found ? 200 : 404, "text/plain", v);
    } else if (!str_is(path, "/hold")) {
        assert_true(net_res_header(r, "X-Bad", STR("a\r\nb: c")) == ERR_INVAL);
        assert_true(net_res_header(r, "X-Path", path) == 0 || path.n == 0);
        net_res_send(r, 200, "text/plain", net_req_body(r));
    }
}

static void *run_loop(void *ctx)
{
    net_loop_run(ctx);
    return NULL;
}

static struct net_server_params params(struct app *a)
{
    return (struct net_server_params){.host = "127.0.0.1", .request = on_request, .ctx = a};
}

static struct app *start(struct net_server_params p, struct app *a)
{
    struct err e;
    assert_int_equal(net_loop_new(&a->loop, &e), 0);
    assert_int_equal(net_server_new(a->loop, &p, &a->server, &e), 0);
    a->port = net_server_port(a->server);
    pthread_create(&a->thread, NULL, run_loop, a->loop);
    return a;
}

static void do_stop(void *ctx)
{
    struct app *a = ctx;
    net_timer_free(a->later);
    net_server_close(a->server);
    net_loop_stop(a->loop);
}

static void stop(struct app *a)
{
    net_post(a->loop, do_stop, a);
    pthread_join(a->thread, NULL);
    net_loop_free(a->loop);
    free(a);
}

static struct app *start_plain(void)
{
    struct app *a = calloc(1, sizeof *a);
    return start(params(a), a);
}

/* ---- a client of bytes ---- */

static int dial(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say_n(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w < 0)
            return; /* the server has refused and closed: what it said is read next */
        p += w;
        n -= (size_t)w;
    }
}

static void say(int fd, const char *z)
{
    say_n(fd, z, strlen(z));
}

/* What comes until the end, until `until` has come, or for `ms`. */
static const char *hear(int fd, const char *until, int ms)
{
    static char b[65536];
    size_t n = 0;
    uint64_t end = clock_mono_ns() + (uint64_t)ms * 1000000;
    b[0] = '\0';
    while (n + 1 < sizeof b && !(until && strstr(b, until))) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_mono_ns();
        if (now >= end || poll(&p, 1, (int)((end - now) / 1000000) + 1) <= 0)
            break;
        ssize_t r = recv(fd, b + n, sizeof b - 1 - n, 0);
        if (r <= 0)
            break;
        n += (size_t)r;
        b[n] = '\0';
    }
    return b;
}

static bool at_end(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char c;
    return poll(&p, 1, ms) == 1 && recv(fd, &c, 1, 0) <= 0;
}

/* One exchange; the status. */
static int ask(struct app *a, const char *request)
{
    int fd = dial(a->port);
    say(fd, request);
    const char *got = hear(fd, "\r\n\r\n", 3000);
    int status = 0;
    sscanf(got, "HTTP/1.1 %d", &status);
    close(fd);
    return status;
}

static void wait_for(atomic_int *what, int value, int ms)
{
    for (int i = 0; i < ms && atomic_load(what) < value; i++)
        usleep(1000);
    assert_true(atomic_load(what) >= value);
}

/* ---- tests ---- */

#define H "Host: localhost\r\n"

static void framing_is_strict(void **state)
{
    static const struct {
        const char *bytes;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" H "\r\n", 200},
        {"GET / HTTP/1.0\r\n\r\n", 200},
        {"\r\nGET / HTTP/1.1\r\n" H "\r\n", 200},
        {"HEAD / HTTP/1.1\r\n" H "\r\n", 200},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab", 200},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 200},
        {"POST / HTTP/1.1\r\n" H
         "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\nT: x\r\n\r\n",
         200},
        {"GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200},
        {"GET / HTTP/1.1\r\n" H "X-Empty:\r\nX-Odd: \"\xc3\xa4\"\r\n\r\n", 200},
        {"GET / HTTP/1.1\n" H "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: localhost\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A : b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H ": b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "A b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n H: x\r\n" H "\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H H "\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "Origin: http://localhost\r\nOrigin: http://evil\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://localhost/ HTTP/1.1\r\n" H "\r\n", 200},
        {"GET HTTP://LOCALHOST HTTP/1.1\r\n" H "\r\n", 200},
        {"GET http://localhost?q HTTP/1.1\r\n" H "\r\n", 200},
        {"GET http://localhost:1/ HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://evil.example/ HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
        {"GET http:///x HTTP/1.1\r\n" H "\r\n", 400},
        {"GET https://localhost/ HTTP/1.1\r\n" H "\r\n", 400},
        {"GET localhost/ HTTP/1.1\r\n" H "\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 204},
        {"GET * HTTP/1.1\r\n" H "\r\n", 400},
        {"OPTIONS *x HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /a%00b HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /a%zz HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /a%2 HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /a#b HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /\x80 HTTP/1.1\r\n" H "\r\n", 400},
        {"BREW / HTTP/1.1\r\n" H "\r\n", 501},
        {"TRACE / HTTP/1.1\r\n" H "\r\n", 501},
        {"CONNECT localhost:80 HTTP/1.1\r\n" H "\r\n", 501},
        {"GET / HTTP/2.0\r\n" H "\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
        {"GET / HTTP/3.7\r\n" H "\r\n", 505},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 2, 2\r\n\r\nab", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: +2\r\n\r\nab", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: -2\r\n\r\nab", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 2 2\r\n\r\nab", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 0x2\r\n\r\nab", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 8388609\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\n" H
         "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2 \r\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n\r\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2;a\nab\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H
         "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2;a\rb\r\nab\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2;\x01\r\nab\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nT: x\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nT: x\rU: y\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nT: x\r\n y\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n: x\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nT x: y\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nT\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "\xc3\xa4: b\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
    };
    struct app *a = start_plain();
    int failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int got = ask(a, cases[i].bytes);
        bool ok = cases[i].status ? got == cases[i].status : got == 400 || got == 501;
        if (!ok) {
            print_message("case %zu: %d, not %d: %s\n", i, got, cases[i].status, cases[i].bytes);
            failed++;
        }
    }
    assert_int_equal(failed, 0);
    stop(a);
}

/* NUL in the header; and a header over each of the two limits. */
static void header_limits(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    static const char nul[] = "GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n";
    say_n(fd, nul, sizeof nul - 1);
    assert_non_null(strstr(hear(fd, "\r\n\r\n", 3000), " 400 "));
    close(fd);
    struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, "GET / HTTP/1.1\r\n" H);
    for (int i = 0; i < 99; i++)
        buf_printf(&b, "A%d: b\r\n", i);
    size_t hundred = b.n;
    buf_puts(&b, "\r\n");
    assert_int_equal(ask(a, b.p), 200);
    buf_cut(&b, hundred);
    buf_puts(&b, "B: c\r\n\r\n");
    assert_int_equal(ask(a, b.p), 431);
    buf_clear(&b);
    buf_puts(&b, "GET / HTTP/1.1\r\n" H "A: ");
    for (int i = 0; i < 17000; i++)
        buf_putc(&b, 'x');
    assert_int_equal(ask(a, b.p), 431); /* before its end has come */
    buf_done(&b);
    stop(a);
}

static void pipelined_answers_come_in_order(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    say(fd, "GET /later HTTP/1.1\r\n" H "\r\nPOST /b HTTP/1.1\r\n" H
            "Content-Length: 3\r\n\r\nabcGET /stream HTTP/1.1\r\n" H "\r\nGET /d HTTP/1.1\r\n" H
            "Connection: close\r\n\r\nGET /never HTTP/1.1\r\n" H "\r\n");
    const char *got = hear(fd, NULL, 3000);
    const char *first = strstr(got, "later"), *second = strstr(got, "X-Path: /b"),
               *third = strstr(got, "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
               *fourth = strstr(got, "X-Path: /d");
    assert_true(first && second && third && fourth);
    assert_true(first < second && second < third && third < fourth);
    assert_null(strstr(got, "/never"));
    assert_int_equal(atomic_load(&a->requests), 4);
    close(fd);
    stop(a);
}

static void one_byte_at_a_time(void **state)
{
    static const char request[] =
        "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    struct app *a = start_plain();
    int fd = dial(a->port);
    for (size_t i = 0; request[i]; i++) {
        say_n(fd, request + i, 1);
        if (i % 7 == 0)
            usleep(500);
    }
    assert_non_null(strstr(hear(fd, "abc", 3000), "\r\n\r\nabc"));
    close(fd);
    stop(a);
}

static void head_and_old_clients(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    say(fd, "HEAD /stream HTTP/1.1\r\n" H "\r\nGET /z HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    const char *got = hear(fd, NULL, 3000);
    assert_null(strstr(got, "one"));
    assert_non_null(strstr(got, "X-Path: /z"));
    close(fd);
    fd = dial(a->port);
    say(fd, "GET /stream HTTP/1.0\r\n\r\n");
    got = hear(fd, NULL, 3000);
    assert_non_null(strstr(got, "\r\n\r\nonetwo"));
    assert_non_null(strstr(got, "Connection: close"));
    assert_null(strstr(got, "chunked"));
    close(fd);
    fd = dial(a->port);
    say(fd, "GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(hear(fd, "\r\n\r\n", 3000), "Connection: keep-alive"));
    say(fd, "GET /l HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(hear(fd, NULL, 3000), "X-Path: /l"));
    close(fd);
    stop(a);
}

static void expect_continue(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    say(fd, "POST /e HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_string_equal(hear(fd, "\r\n\r\n", 3000), "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "ok");
    assert_non_null(strstr(hear(fd, "\r\n\r\nok", 3000), "200 OK"));
    close(fd);
    /* Too large: refused instead of asked for. */
    assert_int_equal(ask(a, "POST /e HTTP/1.1\r\n" H "Expect: 100-continue\r\n"
                            "Content-Length: 9000000\r\n\r\n"),
                     413);
    stop(a);
}

static void bodies_up_to_the_limit(void **state)
{
    struct app *a = start_plain();
    size_t n = (size_t)8 << 20;
    char *body = malloc(n);
    memset(body, 'b', n);
    int fd = dial(a->port);
    say(fd, "POST /big HTTP/1.1\r\n" H "Content-Length: 8388608\r\nConnection: close\r\n\r\n");
    say_n(fd, body, n);
    size_t got = 0;
    char b[65536];
    for (ssize_t r; (r = recv(fd, b, sizeof b, 0)) > 0;)
        got += (size_t)r;
    assert_true(got > n && got < n + 1000);
    close(fd);
    /* Chunked, one byte over: refused when it is over, and the refusal can be read. */
    fd = dial(a->port);
    say(fd, "POST /big HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n800001\r\n");
    say_n(fd, body, n);
    say(fd, "b\r\n0\r\n\r\n");
    assert_non_null(strstr(hear(fd, "\r\n\r\n", 3000), " 413 "));
    close(fd);
    free(body);
    stop(a);
}

static void deadlines(void **state)
{
    struct app *a = calloc(1, sizeof *a);
    struct net_server_params p = params(a);
    p.header_ms = 150;
    p.body_ms = 150;
    p.idle_ms = 200;
    start(p, a);
    int fd = dial(a->port);
    say(fd, "GET / HTTP/1.1\r\nHo");
    assert_non_null(strstr(hear(fd, NULL, 2000), " 408 "));
    close(fd);
    fd = dial(a->port);
    say(fd, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab");
    assert_non_null(strstr(hear(fd, NULL, 2000), " 408 "));
    close(fd);
    fd = dial(a->port); /* nothing at all: closed without a word */
    assert_true(at_end(fd, 2000));
    close(fd);
    fd = dial(a->port);
    say(fd, "GET / HTTP/1.1\r\n" H "\r\n");
    assert_non_null(strstr(hear(fd, "\r\n\r\n", 1000), " 200 "));
    assert_true(at_end(fd, 2000));
    close(fd);
    /* A slow answer is no reason to be cut. */
    fd = dial(a->port);
    say(fd, "GET /hold HTTP/1.1\r\n" H "\r\n");
    assert_false(at_end(fd, 400));
    close(fd);
    wait_for(&a->closed, 1, 2000);
    stop(a);
}

/* How long after the client left the application heard of it. */
static long long leave(struct app *a, const char *request, bool reset)
{
    int seen = atomic_load(&a->requests), closed = atomic_load(&a->closed);
    int fd = dial(a->port);
    say(fd, request);
    wait_for(&a->requests, seen + 1, 2000);
    struct linger at_once = {1, 0};
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    long long left = (long long)clock_mono_ns();
    close(fd);
    wait_for(&a->closed, closed + 1, 2000);
    return atomic_load(&a->closed_at) - left;
}

static void leaving_is_noticed_at_once(void **state)
{
    static const char alone[] = "GET /hold HTTP/1.1\r\n" H "\r\n";
    static const char more[] = "GET /hold HTTP/1.1\r\n" H "\r\nGET / HTTP/1.1\r\n" H "\r\n";
    struct app *a = start_plain();
    for (int i = 0; i < 3; i++) {
        /* The best of a few: a machine that is busy elsewhere is not our delay. */
        long long best = INT64_MAX;
        for (int k = 0; k < 4 && best >= 100000000; k++) {
            long long took = leave(a, i == 1 ? more : alone, i == 2);
            best = took < best ? took : best;
        }
        assert_true(best < 100000000);
    }
    stop(a);
}

static void a_cut_answer_looks_cut(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    say(fd, "GET /cut HTTP/1.1\r\n" H "\r\n");
    const char *got = hear(fd, NULL, 2000);
    assert_null(strstr(got, "0\r\n\r\n"));
    close(fd);
    stop(a);
}

static void slow_readers_hold_up_only_themselves(void **state)
{
    struct app *a = start_plain();
    int slow = dial(a->port);
    say(slow, "GET /flood HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    wait_for(&a->requests, 1, 2000);
    usleep(100000);
    assert_int_equal(ask(a, "GET / HTTP/1.1\r\n" H "\r\n"), 200);
    assert_true(atomic_load(&a->waiting_max) < 64 * 1024 + 8192 + 64);
    size_t got = 0;
    char b[65536];
    for (ssize_t r; (r = recv(slow, b, sizeof b, 0)) > 0;)
        got += (size_t)r;
    assert_true(got > (size_t)8 << 20);
    close(slow);
    stop(a);
}

static void who_reads_nothing_is_cut(void **state)
{
    struct app *a = calloc(1, sizeof *a);
    struct net_server_params p = params(a);
    p.stall_ms = 300;
    start(p, a);
    int fd = dial(a->port);
    say(fd, "GET /flood HTTP/1.1\r\n" H "\r\n");
    wait_for(&a->closed, 1, 5000);
    close(fd);
    /* Nor may a client pile up answers that it does not read. */
    fd = dial(a->port);
    for (int i = 0; i < 199; i++)
        say(fd, "GET /a HTTP/1.1\r\n" H "\r\n");
    say(fd, "GET /a HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    const char *got = hear(fd, NULL, 5000);
    int answers = 0;
    for (const char *at = got; (at = strstr(at, "X-Path: /a")); at++)
        answers++;
    assert_int_equal(answers, 200);
    close(fd);
    stop(a);
}

static void connections_are_capped(void **state)
{
    struct app *a = calloc(1, sizeof *a);
    struct net_server_params p = params(a);
    p.max_connections = 2;
    start(p, a);
    int one = dial(a->port), two = dial(a->port);
    say(one, "GET / HTTP/1.1\r\n" H "\r\n");
    say(two, "GET / HTTP/1.1\r\n" H "\r\n");
    assert_non_null(strstr(hear(one, "\r\n\r\n", 2000), " 200 "));
    assert_non_null(strstr(hear(two, "\r\n\r\n", 2000), " 200 "));
    int three = dial(a->port);
    assert_non_null(strstr(hear(three, "\r\n\r\n", 2000), " 503 "));
    close(one);
    close(two);
    close(three);
    stop(a);
}

static void on_drained(void *ctx)
{
    struct app *a = ctx;
    atomic_store(&a->drained, 1);
}

static void do_drain(void *ctx)
{
    struct app *a = ctx;
    net_server_drain(a->server, on_drained, a);
}

static void drain_lets_answers_finish(void **state)
{
    struct app *a = start_plain();
    int idle = dial(a->port), busy = dial(a->port);
    say(idle, "GET / HTTP/1.1\r\n" H "\r\n");
    hear(idle, "\r\n\r\n", 2000);
    say(busy, "GET /flood HTTP/1.1\r\n" H "\r\n");
    wait_for(&a->requests, 2, 2000);
    net_post(a->loop, do_drain, a);
    assert_true(at_end(idle, 2000));
    assert_int_equal(atomic_load(&a->drained), 0);
    size_t got = 0;
    char b[65536];
    for (ssize_t r; (r = recv(busy, b, sizeof b, 0)) > 0;)
        got += (size_t)r;
    assert_true(got > (size_t)8 << 20);
    close(busy);
    close(idle);
    wait_for(&a->drained, 1, 3000);
    stop(a);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    snprintf(u.sun_path, sizeof u.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&u, sizeof u), 0);
    return fd;
}

static void unix_socket(void **state)
{
    char dir[] = "/tmp/weir-net-XXXXXX", path[64], lock[72];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(lock, sizeof lock, "%s/s.lock", dir);
    /* What a killed server leaves: a socket file nobody listens on. */
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    snprintf(u.sun_path, sizeof u.sun_path, "%s", path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&u, sizeof u), 0);
    close(dead);
    struct app *a = calloc(1, sizeof *a);
    struct net_server_params p = params(a);
    p.unix_path = path;
    start(p, a);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    int fd = dial_unix(path);
    say(fd, "GET /u HTTP/1.1\r\nHost: weir\r\n\r\n");
    assert_non_null(strstr(hear(fd, "\r\n\r\n", 2000), "X-Path: /u"));
    close(fd);
    /* One in use is refused and goes on working. */
    struct err e;
    struct net_loop *l;
    struct net_server *s;
    assert_int_equal(net_loop_new(&l, &e), 0);
    assert_int_equal(net_server_new(l, &p, &s, &e), ERR_BUSY);
    fd = dial_unix(path);
    close(fd);
    stop(a);
    assert_int_equal(access(path, F_OK), -1);
    /* A file that is no socket is not ours to remove. */
    FILE *f = fopen(path, "w");
    fclose(f);
    assert_int_equal(net_server_new(l, &p, &s, &e), ERR_EXISTS);
    net_loop_free(l);
    unlink(path);
    unlink(lock);
    rmdir(dir);
}

static void bad_addresses(void **state)
{
    struct app *a = start_plain();
    struct net_server_params p = params(a);
    struct net_loop *l;
    struct net_server *s;
    struct err e;
    assert_int_equal(net_loop_new(&l, &e), 0);
    p.port = a->port;
    assert_int_equal(net_server_new(l, &p, &s, &e), ERR_BUSY);
    p.host = "example.org";
    assert_int_equal(net_server_new(l, &p, &s, &e), ERR_INVAL);
    p.host = "127.0.0.1";
    p.port = 70000;
    assert_int_equal(net_server_new(l, &p, &s, &e), ERR_INVAL);
    net_loop_free(l);
    stop(a);
}

static void parameters(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    say(fd, "GET /param?p=1&q=a+b%26c&q=2 HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    assert_non_null(strstr(hear(fd, NULL, 2000), "\r\n\r\na b&c"));
    close(fd);
    assert_int_equal(ask(a, "GET /param?q=%zz HTTP/1.1\r\n" H "\r\n"), 404);
    assert_int_equal(ask(a, "GET /param HTTP/1.1\r\n" H "\r\n"), 404);
    stop(a);
}

static void host_and_origin_table(void **state)
{
    static const char *const hosts[] = {"box.local", NULL};
    static const char *const origins[] = {"http://localhost:3000", NULL};
    static const char *const any[] = {"*", NULL};
    static const struct {
        const char *bound, *host, *origin;
        const char *const *origins;
        int status;
    } t[] = {
        {"127.0.0.1", "localhost", NULL, NULL, 0},
        {"127.0.0.1", "LocalHost:9347", NULL, NULL, 0},
        {"127.0.0.1", "127.0.0.1:9347", NULL, NULL, 0},
        {"127.0.0.1", "127.9.9.9", NULL, NULL, 0},
        {"127.0.0.1", "[::1]:9347", NULL, NULL, 0},
        {"127.0.0.1", "box.local:9347", NULL, NULL, 0},
        {"127.0.0.1", NULL, NULL, NULL, 0},
        {NULL, "anything", NULL, NULL, 0},
        {"127.0.0.1", "evil.example", NULL, NULL, 403},
        {"127.0.0.1", "localhost.evil.example", NULL, NULL, 403},
        {"127.0.0.1", "127.0.0.1.evil.example", NULL, NULL, 403},
        {"127.0.0.1", "127.1", NULL, NULL, 403},
        {"127.0.0.1", "2130706433", NULL, NULL, 403},
        {"127.0.0.1", "10.0.0.1", NULL, NULL, 403},
        {"127.0.0.1", "0.0.0.0", NULL, NULL, 403},
        {"10.0.0.1", "10.0.0.1:80", NULL, NULL, 0},
        {"10.0.0.1", "10.0.0.2:80", NULL, NULL, 403},
        {"0.0.0.0", "10.0.0.2:80", NULL, NULL, 0},
        {"0.0.0.0", "evil.example", NULL, NULL, 403},
        {"::", "[fe80::1]:80", NULL, NULL, 0},
        {"127.0.0.1", "", NULL, NULL, 400},
        {"127.0.0.1", "localhost:", NULL, NULL, 400},
        {"127.0.0.1", "localhost:99999", NULL, NULL, 400},
        {"127.0.0.1", "localhost:80:80", NULL, NULL, 400},
        {"127.0.0.1", "a@localhost", NULL, NULL, 400},
        {"127.0.0.1", "localhost/x", NULL, NULL, 400},
        {"127.0.0.1", "[::1", NULL, NULL, 400},
        {"127.0.0.1", "[localhost]", NULL, NULL, 400},
        {"127.0.0.1", "::1", NULL, NULL, 400},
        {"127.0.0.1", "localhost:9347", "http://localhost:9347", NULL, 0},
        {"127.0.0.1", "localhost:9347", "HTTP://LOCALHOST:9347", NULL, 0},
        {"127.0.0.1", "localhost", "http://localhost:80", NULL, 0},
        {"127.0.0.1", "localhost:9347", "http://localhost:3000", NULL, 403},
        {"127.0.0.1", "localhost:9347", "http://localhost:3000", origins, 0},
        {"127.0.0.1", "localhost:9347", "http://localhost:3001", origins, 403},
        {"127.0.0.1", "localhost:9347", "http://127.0.0.1:9347", NULL, 403},
        {"127.0.0.1", "localhost:9347", "null", NULL, 403},
        {"127.0.0.1", "localhost:9347", "", NULL, 403},
        {"127.0.0.1", "localhost:9347", "http://evil.example", origins, 403},
        {"127.0.0.1", "localhost:9347", "http://evil.example", any, 0},
        {"127.0.0.1", "evil.example", "http://evil.example", NULL, 403},
        {"127.0.0.1", "evil.example", "http://evil.example", any, 403},
        {"127.0.0.1", "localhost:9347", "file://localhost:9347", NULL, 403},
        {"127.0.0.1", "localhost:9347", "http://localhost:9347/", NULL, 403},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct http_policy p = {
            .bound = t[i].bound, .allow_hosts = hosts, .allow_origins = t[i].origins};
        const char *why = NULL;
        int got = http_check(&p, str_of(t[i].host), str_of(t[i].origin), &why);
        if (got != t[i].status)
            fail_msg("row %zu: %d, not %d", i, got, t[i].status);
        assert_true((got != 0) == (why != NULL));
    }
}

static void pages_from_elsewhere(void **state)
{
    static const char *const origins[] = {"http://localhost:3000", NULL};
    struct app *a = calloc(1, sizeof *a);
    struct net_server_params p = params(a);
    p.allow_origins = origins;
    start(p, a);
    int fd = dial(a->port);
    say(fd, "OPTIONS /v1/x HTTP/1.1\r\n" H "Origin: http://localhost:3000\r\n"
            "Access-Control-Request-Method: POST\r\n"
            "Access-Control-Request-Headers: authorization, content-type\r\n\r\n");
    const char *got = hear(fd, "\r\n\r\n", 2000);
    assert_non_null(strstr(got, "HTTP/1.1 204 "));
    assert_non_null(strstr(got, "Access-Control-Allow-Origin: http://localhost:3000\r\n"));
    assert_non_null(strstr(got, "Access-Control-Allow-Headers: authorization, content-type\r\n"));
    assert_non_null(strstr(got, "Vary: Origin\r\n"));
    assert_int_equal(atomic_load(&a->requests), 0);
    say(fd, "GET /y HTTP/1.1\r\n" H "Origin: http://localhost:3000\r\n\r\n");
    got = hear(fd, "\r\n\r\n", 2000);
    assert_non_null(strstr(got, "Access-Control-Allow-Origin: http://localhost:3000\r\n"));
    close(fd);
    fd = dial(a->port);
    say(fd, "OPTIONS /v1/x HTTP/1.1\r\n" H "Origin: http://evil.example\r\n"
            "Access-Control-Request-Method: POST\r\n\r\n");
    got = hear(fd, NULL, 3000);
    assert_non_null(strstr(got, " 403 "));
    assert_null(strstr(got, "Access-Control-Allow"));
    close(fd);
    assert_int_equal(ask(a, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    assert_int_equal(atomic_load(&a->requests), 1);
    stop(a);
}

/* ---- the loop ---- */

struct order {
    struct net_loop *loop;
    int next[4];
    int bad, seen;
};

struct posted {
    struct order *o;
    int thread, n;
};

static void on_posted(void *ctx)
{
    struct posted *p = ctx;
    if (p->o->next[p->thread]++ != p->n)
        p->o->bad++;
    if (++p->o->seen == 4 * 1000)
        net_loop_stop(p->o->loop);
    free(p);
}

static void *poster(void *ctx)
{
    struct posted *me = ctx;
    for (int i = 0; i < 1000; i++) {
        struct posted *p = malloc(sizeof *p);
        *p = (struct posted){me->o, me->thread, i};
        net_post(me->o->loop, on_posted, p);
    }
    return NULL;
}

static void posts_keep_their_order(void **state)
{
    struct order o = {0};
    struct err e;
    pthread_t t[4];
    struct posted me[4];
    assert_int_equal(net_loop_new(&o.loop, &e), 0);
    for (int i = 0; i < 4; i++) {
        me[i] = (struct posted){&o, i, 0};
        pthread_create(&t[i], NULL, poster, &me[i]);
    }
    net_loop_run(o.loop);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(o.seen, 4000);
    assert_int_equal(o.bad, 0);
    net_loop_free(o.loop);
}

struct errand {
    struct net_loop *loop;
    struct net_timer *timer;
    pthread_t loop_thread;
    int ticks;
    bool worked_elsewhere, done_here;
};

static void work(void *ctx)
{
    struct errand *w = ctx;
    w->worked_elsewhere = !pthread_equal(pthread_self(), w->loop_thread);
}

static void work_done(void *ctx)
{
    struct errand *w = ctx;
    w->done_here = pthread_equal(pthread_self(), w->loop_thread);
}

static void tick(void *ctx)
{
    struct errand *w = ctx;
    if (++w->ticks < 5 || !w->done_here)
        return;
    net_timer_free(w->timer);
    net_loop_stop(w->loop);
}

static void work_and_timers(void **state)
{
    struct errand w = {.loop_thread = pthread_self()};
    struct err e;
    assert_int_equal(net_loop_new(&w.loop, &e), 0);
    assert_int_equal(net_work(w.loop, work, work_done, &w), 0);
    assert_int_equal(net_timer_new(w.loop, 1, 2, tick, &w, &w.timer), 0);
    net_loop_run(w.loop);
    assert_true(w.ticks >= 5 && w.worked_elsewhere && w.done_here);
    net_loop_free(w.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_origin_table),
        cmocka_unit_test(posts_keep_their_order),
        cmocka_unit_test(work_and_timers),
        cmocka_unit_test(framing_is_strict),
        cmocka_unit_test(header_limits),
        cmocka_unit_test(pipelined_answers_come_in_order),
        cmocka_unit_test(one_byte_at_a_time),
        cmocka_unit_test(head_and_old_clients),
        cmocka_unit_test(expect_continue),
        cmocka_unit_test(bodies_up_to_the_limit),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(leaving_is_noticed_at_once),
        cmocka_unit_test(a_cut_answer_looks_cut),
        cmocka_unit_test(slow_readers_hold_up_only_themselves),
        cmocka_unit_test(who_reads_nothing_is_cut),
        cmocka_unit_test(connections_are_capped),
        cmocka_unit_test(drain_lets_answers_finish),
        cmocka_unit_test(unix_socket),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(parameters),
        cmocka_unit_test(pages_from_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
