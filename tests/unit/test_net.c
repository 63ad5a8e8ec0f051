/* test_net.c: the server over real sockets: framing that must be refused, order, old clients,
 * clients that leave; the check of Host and Origin as a table; and the loop itself. Limits, bodies
 * and listeners have files of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http_int.h"
#include "net_peer.h"

/* ---- tests ---- */

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
        for (int k = 0; k < 8 && best >= 10000000; k++) {
            long long took = leave(a, i == 1 ? more : alone, i == 2);
            best = took < best ? took : best;
        }
        print_message("noticed after %lld us\n", best / 1000);
        assert_true(best < 10000000);
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
        {"127.0.0.1", "localhost.:9347", NULL, NULL, 0},
        {"127.0.0.1", "box.local.", NULL, NULL, 0},
        {"127.0.0.1", "127.0.0.1.", NULL, NULL, 0},
        {"127.0.0.1", "localhost..", NULL, NULL, 403},
        {"127.0.0.1", ".", NULL, NULL, 403},
        {"127.0.0.1", "[::ffff:127.0.0.1]:80", NULL, NULL, 0},
        {"127.0.0.1", "[::ffff:7f00:1]", NULL, NULL, 0},
        {"127.0.0.1", "[::ffff:10.0.0.1]", NULL, NULL, 403},
        {"127.0.0.1", "[fe80::1]", NULL, NULL, 403},
        {"::1", "[::1]", NULL, NULL, 0},
        {"127.0.0.1", "localhost.:9347", "http://localhost:9347", NULL, 0},
        {"127.0.0.1", "evil.example", NULL, NULL, 403},
        {"127.0.0.1", "localhost.evil.example", NULL, NULL, 403},
        {"127.0.0.1", "127.0.0.1.evil.example", NULL, NULL, 403},
        {"127.0.0.1", "127.1", NULL, NULL, 403},
        {"127.0.0.1", "2130706433", NULL, NULL, 403},
        {"127.0.0.1", "10.0.0.1", NULL, NULL, 403},
        {"127.0.0.1", "0.0.0.0:11434", NULL, NULL, 0},
        {"127.0.0.1", "a.localhost:9347", NULL, NULL, 0},
        {"127.0.0.1", "host.docker.internal:9347", NULL, NULL, 0},
        {"127.0.0.1", ".localhost", NULL, NULL, 403},
        {"127.0.0.1", "internal", NULL, NULL, 403},
        {"127.0.0.1", "xlocalhost", NULL, NULL, 403},
        {"127.0.0.1", "host.internal.evil.example", NULL, NULL, 403},
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
        bool guest;
        int got = http_check(&p, str_of(t[i].host), str_of(t[i].origin), &guest, &why);
        if (got != t[i].status)
            fail_msg("row %zu: %d, not %d", i, got, t[i].status);
        assert_true((got != 0) == (why != NULL));
    }
}

static void patterns_of_origins(void **state)
{
    static const struct {
        const char *pattern, *origin;
        bool match;
    } t[] = {
        {"http://localhost:*", "http://localhost:3000", true},
        {"http://localhost:*", "HTTP://LocalHost:3000", true},
        {"http://localhost:*", "http://localhost", false},
        {"http://localhost:*", "http://localhost:", false},
        {"http://localhost:*", "http://localhost:99999", false},
        {"http://localhost:*", "http://localhost:1@evil.example", false},
        {"http://localhost:*", "http://localhost:x.evil.example", false},
        {"http://localhost:*", "http://localhost.evil.example:80", false},
        {"http://localhost:*", "https://localhost:3000", false},
        {"app://*", "app://obsidian.md", true},
        {"app://*", "app://", true},
        {"app://*", "app://a/b", false},
        {"app://*", "webapp://a", false},
        {"vscode-webview://*", "vscode-webview://1a2b3c", true},
        {"chrome-extension://*", "chrome-extension://abcdef", true},
        {"https://*.example.org", "https://a.example.org", true},
        {"https://*.example.org", "https://a.b.example.org", true},
        {"https://*.example.org", "https://example.org", false},
        {"https://*.example.org", "https://.example.org", false},
        {"https://*.example.org", "https://evil.example:1/.example.org", false},
        {"https://*.example.org", "https://a.example.org.evil.example", false},
        {"*", "null", true},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        const char *const list[] = {t[i].pattern, NULL};
        const char *why = NULL;
        for (int guests = 0; guests < 2; guests++) {
            struct http_policy p = {.bound = "127.0.0.1"};
            *(guests ? &p.guests : &p.allow_origins) = list;
            bool guest = !guests;
            int got = http_check(&p, STR("localhost:9347"), str_of(t[i].origin), &guest, &why);
            if ((got == 0) != t[i].match || guest != (guests && t[i].match))
                fail_msg("row %zu, %d: %d, %d", i, guests, got, guest);
        }
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
    say(fd, "OPTIONS /v1/messages HTTP/1.1\r\n" H "Origin: http://localhost:3000\r\n"
            "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: "
            "anthropic-beta,anthropic-version,content-type,x-api-key\r\n\r\n");
    got = hear(fd, "\r\n\r\n", 2000);
    assert_non_null(strstr(got, "HTTP/1.1 204 "));
    assert_non_null(strstr(got, "Access-Control-Allow-Headers: "
                                "anthropic-beta,anthropic-version,content-type,x-api-key\r\n"));
    assert_non_null(strstr(got, "Access-Control-Allow-Methods: GET, HEAD, POST"));
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

/* A streamed answer does not cost the connection, and its pieces that are ready together leave
 * together. */
static void streams_keep_the_connection(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    for (int i = 0; i < 5; i++) {
        char b[4096];
        say(fd, "GET /stream HTTP/1.1\r\n" H "\r\n");
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 3000), 1);
        ssize_t n = recv(fd, b, sizeof b - 1, 0);
        assert_true(n > 0);
        b[n] = '\0';
        assert_non_null(strstr(b, "Transfer-Encoding: chunked\r\n"));
        assert_null(strstr(b, "Connection: close"));
        assert_non_null(strstr(b, "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
    }
    say(fd, "GET /stream HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    const char *got = hear(fd, NULL, 3000);
    assert_non_null(strstr(got, "Connection: close\r\n"));
    assert_non_null(strstr(got, "0\r\n\r\n"));
    assert_true(at_end(fd, 1000));
    close(fd);
    stop(a);
}

/* The answers to requests that came together leave together, and in order. */
static void a_pipeline_is_one_write(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    struct buf b = BUF_INIT(1 << 20);
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "GET /p%02d HTTP/1.1\r\n" H "\r\n", i);
    say_n(fd, b.p, b.n);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 3000), 1);
    char got[16384];
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    assert_true(n > 0);
    got[n] = '\0';
    const char *at = got;
    for (int i = 0; i < 20; i++) {
        char want[32];
        snprintf(want, sizeof want, "X-Path: /p%02d\r\n", i);
        at = strstr(at, want);
        assert_non_null(at);
    }
    buf_done(&b);
    close(fd);
    stop(a);
}

/* Half a close after the request is the end of a client whose answer is being made, but what is
 * answered at once still reaches it. */
static void half_closed_clients(void **state)
{
    struct app *a = start_plain();
    int fd = dial(a->port);
    say(fd, "GET /h HTTP/1.1\r\n" H "\r\n");
    shutdown(fd, SHUT_WR);
    assert_non_null(strstr(hear(fd, NULL, 3000), "X-Path: /h"));
    close(fd);
    fd = dial(a->port);
    say(fd, "GET /stream HTTP/1.1\r\n" H "\r\n");
    shutdown(fd, SHUT_WR);
    assert_non_null(strstr(hear(fd, NULL, 3000), "0\r\n\r\n"));
    close(fd);
    fd = dial(a->port);
    say(fd, "GET /hold HTTP/1.1\r\n" H "\r\n");
    shutdown(fd, SHUT_WR);
    wait_for(&a->closed, 1, 1000);
    close(fd);
    stop(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_origin_table),
        cmocka_unit_test(patterns_of_origins),
        cmocka_unit_test(posts_keep_their_order),
        cmocka_unit_test(work_and_timers),
        cmocka_unit_test(framing_is_strict),
        cmocka_unit_test(pipelined_answers_come_in_order),
        cmocka_unit_test(streams_keep_the_connection),
        cmocka_unit_test(a_pipeline_is_one_write),
        cmocka_unit_test(half_closed_clients),
        cmocka_unit_test(one_byte_at_a_time),
        cmocka_unit_test(head_and_old_clients),
        cmocka_unit_test(leaving_is_noticed_at_once),
        cmocka_unit_test(a_cut_answer_looks_cut),
        cmocka_unit_test(parameters),
        cmocka_unit_test(pages_from_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
