/* test_net_limits.c: what bounds a client: sizes, deadlines, numbers; and how a server ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net_peer.h"

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

static void get_ok(int fd)
{
    say(fd, "GET / HTTP/1.1\r\n" H "\r\n");
    assert_non_null(strstr(hear(fd, "\r\n\r\n", 3000), " 200 "));
}

/* Whoever is one too many is told so, and when to come again; the others do not notice. */
static void connections_are_capped(void **state)
{
    enum { OVER = 200 };
    struct app *a = calloc(1, sizeof *a);
    struct net_server_params p = params(a);
    p.max_connections = 2;
    start(p, a);
    int one = dial(a->port), two = dial(a->port), over[OVER];
    get_ok(one);
    get_ok(two);
    for (int i = 0; i < OVER; i++)
        over[i] = dial(a->port);
    for (int i = 0; i < OVER; i++) {
        /* Even in the middle of a request of its own. */
        say(over[i], "GET / HTTP/1.1\r\n" H "\r\n");
        const char *got = hear(over[i], NULL, 3000);
        assert_non_null(strstr(got, "HTTP/1.1 503 "));
        assert_non_null(strstr(got, "Retry-After: 1\r\n"));
        close(over[i]);
    }
    get_ok(one);
    close(two);
    /* Somebody is let in once the server has heard of that, and the refused ones linger no longer.
     */
    for (int i = 0; i < 100 && ask(a, "GET / HTTP/1.1\r\n" H "\r\n") != 200; i++)
        usleep(20000);
    assert_int_equal(atomic_load(&a->requests), 4);
    close(one);
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

/* A hundred connections: those between requests end at once, the others after their answer. */
#define BUSY 50
static struct net_req *busy_requests[BUSY];
static atomic_int nbusy;

static bool keep_busy(struct app *a, struct net_req *r)
{
    if (!str_is(net_req_path(r), "/busy"))
        return false;
    busy_requests[atomic_fetch_add(&nbusy, 1)] = r;
    return true;
}

static void answer_all(void *ctx)
{
    for (int i = 0; i < BUSY; i++)
        net_res_send(busy_requests[i], 200, "text/plain", STR("done"));
}

static void drain_of_a_hundred(void **state)
{
    struct app *a = calloc(1, sizeof *a);
    int idle[BUSY], busy[BUSY];
    a->more = keep_busy;
    atomic_store(&nbusy, 0);
    start(params(a), a);
    for (int i = 0; i < BUSY; i++) {
        idle[i] = dial(a->port);
        busy[i] = dial(a->port);
        if (i % 2) /* half of them have been used, half have not said a word */
            get_ok(idle[i]);
        say(busy[i], "GET /busy HTTP/1.1\r\n" H "\r\n");
    }
    wait_for(&nbusy, BUSY, 3000);
    net_post(a->loop, do_drain, a);
    for (int i = 0; i < BUSY; i++) {
        assert_true(at_end(idle[i], 5000)); /* long before they would be idle for too long */
        close(idle[i]);
    }
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)a->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof to), -1);
    close(late);
    assert_int_equal(atomic_load(&a->drained), 0);
    net_post(a->loop, answer_all, a);
    for (int i = 0; i < BUSY; i++) {
        const char *got = hear(busy[i], NULL, 3000);
        assert_non_null(strstr(got, "\r\n\r\ndone"));
        assert_non_null(strstr(got, "Connection: close\r\n"));
        close(busy[i]);
    }
    wait_for(&a->drained, 1, 3000);
    stop(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_limits),
        cmocka_unit_test(expect_continue),
        cmocka_unit_test(bodies_up_to_the_limit),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(slow_readers_hold_up_only_themselves),
        cmocka_unit_test(who_reads_nothing_is_cut),
        cmocka_unit_test(connections_are_capped),
        cmocka_unit_test(drain_lets_answers_finish),
        cmocka_unit_test(drain_of_a_hundred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
