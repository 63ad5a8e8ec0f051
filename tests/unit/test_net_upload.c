/* test_net_upload.c: limits of a body by path, and bodies that are handed on as they come: any
 * size, back-pressure, `100 Continue` only when the body is wanted, and every way they break off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net_peer.h"

#define MIB ((size_t)1 << 20)

/* Of the loop's thread, but for the counters. */
static struct {
    struct app *a;
    struct net_req *r;
    struct net_timer *timer;
    atomic_llong got;
    atomic_int ended, piece_max, bad;
    size_t pause_every, since; /* bytes; 0: never */
    int pause_ms;
} up;

static void up_closed(void *ctx)
{
    net_timer_free(up.timer);
    up.timer = NULL;
    up.r = NULL;
    atomic_fetch_add(&up.a->closed, 1);
}

static void up_resume(void *ctx)
{
    net_timer_free(up.timer);
    up.timer = NULL;
    net_req_resume_body(up.r);
}

static bool up_data(void *ctx, struct str bytes)
{
    if ((int)bytes.n > atomic_load(&up.piece_max))
        atomic_store(&up.piece_max, (int)bytes.n);
    for (size_t i = 0; i < bytes.n; i += 1009)
        if (bytes.p[i] != 'u')
            atomic_fetch_add(&up.bad, 1);
    atomic_fetch_add(&up.got, (long long)bytes.n);
    up.since += bytes.n;
    if (up.pause_every == 0 || up.since < up.pause_every)
        return true;
    up.since = 0;
    net_timer_new(up.a->loop, (uint64_t)up.pause_ms, 0, up_resume, NULL, &up.timer);
    return false;
}

static void up_end(void *ctx)
{
    char text[32];
    snprintf(text, sizeof text, "%lld bytes", atomic_load(&up.got));
    atomic_fetch_add(&up.ended, 1);
    net_res_send(up.r, 200, "text/plain", str_of(text));
}

static bool refuse_inside(void *ctx, struct str bytes)
{
    net_res_send(up.r, 409, "text/plain", STR("enough"));
    return true;
}

static void up_take(void *ctx)
{
    net_timer_free(up.timer);
    up.timer = NULL;
    net_req_stream_body(up.r, up_data, up_end, NULL);
}

static bool on_upload(struct app *a, struct net_req *r)
{
    struct str path = net_req_path(r);
    if (!str_starts(path, STR("/up")))
        return false;
    up.r = r;
    net_req_on_close(r, up_closed, NULL);
    if (str_is(path, "/up"))
        net_req_stream_body(r, up_data, up_end, NULL);
    else if (str_is(path, "/up/later"))
        net_timer_new(a->loop, 80, 0, up_take, NULL, &up.timer);
    else if (str_is(path, "/up/inside"))
        net_req_stream_body(r, refuse_inside, up_end, NULL);
    else
        net_res_send(r, 409, "text/plain", STR("it is here already"));
    return true;
}

static size_t limit_of(void *ctx, struct str method, struct str path)
{
    if (str_starts(path, STR("/up")) && str_is(method, "POST"))
        return NET_BODY_STREAM;
    return str_is(path, "/file") ? 64 * MIB : str_is(path, "/small") ? 16 : 8 * MIB;
}

static void on_refuse(void *ctx, struct net_req *r, int status, const char *why)
{
    char text[200];
    snprintf(text, sizeof text, "{\"path\":\"%.*s\",\"why\":\"%s\"}", STR_ARG(net_req_path(r)),
             why);
    net_res_send(r, status, "application/json", str_of(text));
}

static struct app *start_uploads(int body_ms)
{
    struct app *a = calloc(1, sizeof *a);
    a->more = on_upload;
    memset(&up, 0, sizeof up);
    up.a = a;
    struct net_server_params p = params(a);
    p.body_limit = limit_of;
    p.refuse = on_refuse;
    p.body_ms = body_ms;
    return start(p, a);
}

static void say_u(int fd, size_t n)
{
    static char block[1 << 20];
    memset(block, 'u', sizeof block);
    for (size_t m; n > 0; n -= m) {
        m = n < sizeof block ? n : sizeof block;
        say_n(fd, block, m);
    }
}

/* ---- limits by path ---- */

static void each_path_has_its_limit(void **state)
{
    struct app *a = start_uploads(0);
    static const struct {
        const char *path;
        size_t n;
        int status;
    } cases[] = {{"/small", 16, 200},          {"/small", 17, 413},
                 {"/file", 9 * MIB, 200},      {"/file", 64 * MIB + 1, 413},
                 {"/other", 8 * MIB + 1, 413}, {"/other", 8 * MIB, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char head[200];
        snprintf(head, sizeof head,
                 "POST %s HTTP/1.1\r\n" H "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                 cases[i].path, cases[i].n);
        int fd = dial(a->port);
        say(fd, head);
        if (cases[i].status == 200)
            say_u(fd, cases[i].n);
        int status = 0;
        sscanf(hear(fd, "\r\n\r\n", 5000), "HTTP/1.1 %d", &status);
        if (status != cases[i].status)
            fail_msg("case %zu: %d", i, status);
        close(fd);
    }
    stop(a);
}

/* The application says it in the shape that the path speaks; also of a chunked body. */
static void refusals_have_the_shape_of_the_path(void **state)
{
    struct app *a = start_uploads(100);
    int fd = dial(a->port);
    say(fd, "POST /small HTTP/1.1\r\n" H
            "Transfer-Encoding: chunked\r\n\r\n11\r\n12345678901234567\r\n0\r\n\r\n");
    const char *got = hear(fd, NULL, 3000);
    assert_non_null(strstr(got, "HTTP/1.1 413 "));
    assert_non_null(strstr(got, "{\"path\":\"/small\",\"why\":\"body too large\"}"));
    assert_non_null(strstr(got, "Connection: close\r\n"));
    close(fd);
    fd = dial(a->port);
    say(fd, "POST /slow HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab");
    assert_non_null(strstr(hear(fd, NULL, 3000), "{\"path\":\"/slow\""));
    close(fd);
    fd = dial(a->port);
    say(fd, "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_non_null(strstr(hear(fd, NULL, 3000), "{\"path\":\"/x\""));
    close(fd);
    /* Where the path could not be read there is no shape. */
    fd = dial(a->port);
    say(fd, "GET /x%zz HTTP/1.1\r\n" H "\r\n");
    assert_non_null(strstr(hear(fd, NULL, 3000), "text/plain"));
    close(fd);
    stop(a);
}

/* ---- streamed bodies ---- */

static void an_upload_of_any_size(void **state)
{
    struct app *a = start_uploads(0);
    int fd = dial(a->port);
    say(fd, "POST /up HTTP/1.1\r\n" H "Content-Length: 104857600\r\n\r\n");
    say_u(fd, 100 * MIB);
    assert_non_null(strstr(hear(fd, "bytes", 5000), "104857600 bytes"));
    assert_true(atomic_load(&up.piece_max) <= 16 * 1024);
    assert_int_equal(atomic_load(&up.bad), 0);
    /* The connection goes on: chunked, then an ordinary request behind it in one packet. */
    atomic_store(&up.got, 0);
    say(fd,
        "POST /up HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nuuuuu\r\n3\r\nuuu\r\n"
        "0\r\nT: v\r\n\r\nGET /next HTTP/1.1\r\n" H "\r\n");
    const char *got = hear(fd, "X-Path: /next", 3000);
    assert_non_null(strstr(got, "8 bytes"));
    assert_non_null(strstr(got, "X-Path: /next"));
    atomic_store(&up.got, 0);
    say(fd, "POST /up HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    assert_non_null(strstr(hear(fd, "bytes", 3000), "\r\n\r\n0 bytes"));
    assert_int_equal(atomic_load(&up.ended), 3);
    close(fd);
    stop(a);
}

static void never_pause(void *ctx)
{
    up.pause_every = 0;
}

static void an_upload_waits_for_who_takes_it(void **state)
{
    struct app *a = start_uploads(100);
    up.pause_every = 1; /* after every piece */
    up.pause_ms = 300;  /* longer than a client may be silent: the silence is ours */
    int fd = dial(a->port);
    int small = 32 * 1024;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    say(fd, "POST /up HTTP/1.1\r\n" H "Content-Length: 67108864\r\n\r\n");
    static char block[65536];
    memset(block, 'u', sizeof block);
    size_t sent = 0;
    uint64_t began = clock_mono_ns();
    while (clock_mono_ns() - began < 1000000000) {
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        if (n <= 0)
            usleep(5000);
    }
    /* A second holds three or four pieces; the rest of what left here waits in the two sockets. */
    long long got = atomic_load(&up.got);
    long long pauses = (long long)((clock_mono_ns() - began) / 300000000);
    assert_in_range(got, 16 * 1024, (pauses + 3) * 16 * 1024);
    assert_true(sent < 16 * MIB);
    assert_int_equal(atomic_load(&a->closed), 0);
    /* That the client left shows behind what it sent. */
    close(fd);
    net_post(a->loop, never_pause, NULL);
    wait_for(&a->closed, 1, 3000);
    assert_int_equal(atomic_load(&up.ended), 0);
    stop(a);
}

static void paused_uploads_arrive_whole(void **state)
{
    struct app *a = start_uploads(0);
    up.pause_every = MIB / 2;
    up.pause_ms = 1;
    int fd = dial(a->port);
    say(fd, "POST /up HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 24; i++) {
        say(fd, "100000\r\n");
        say_u(fd, MIB);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
    assert_non_null(strstr(hear(fd, "bytes", 10000), "25165824 bytes"));
    assert_int_equal(atomic_load(&up.bad), 0);
    close(fd);
    stop(a);
}

static void continue_is_said_when_the_body_is_wanted(void **state)
{
    struct app *a = start_uploads(0);
    int fd = dial(a->port);
    uint64_t began = clock_mono_ns();
    say(fd, "POST /up/later HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_string_equal(hear(fd, "\r\n\r\n", 3000), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_true(clock_mono_ns() - began >= 70000000);
    say(fd, "uuuu");
    assert_non_null(strstr(hear(fd, "bytes", 3000), "4 bytes"));
    /* Not wanted: the answer comes instead, and the connection ends, for the body never comes. */
    say(fd, "POST /up/exists HTTP/1.1\r\n" H
            "Expect: 100-continue\r\nContent-Length: 400000000\r\n\r\n");
    const char *got = hear(fd, NULL, 5000);
    assert_null(strstr(got, "100 Continue"));
    assert_non_null(strstr(got, "HTTP/1.1 409 "));
    assert_non_null(strstr(got, "Connection: close\r\n"));
    assert_int_equal(atomic_load(&a->closed), 0);
    close(fd);
    stop(a);
}

/* An answer inside `data`, to which the request ends while its body is being parsed. */
static void an_early_answer_ends_the_upload(void **state)
{
    struct app *a = start_uploads(0);
    int fd = dial(a->port);
    say(fd, "POST /up/inside HTTP/1.1\r\n" H "Content-Length: 1000000\r\n\r\n");
    say_u(fd, 100000);
    assert_non_null(strstr(hear(fd, "enough", 3000), "HTTP/1.1 409 "));
    assert_true(at_end(fd, 3000));
    close(fd);
    /* When that was all of the body, the connection is as good as before. */
    fd = dial(a->port);
    say(fd, "POST /up/inside HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nuuuGET /n HTTP/1.1\r\n" H
            "\r\n");
    assert_non_null(strstr(hear(fd, "X-Path: /n", 3000), "X-Path: /n"));
    close(fd);
    assert_int_equal(atomic_load(&up.ended), 0);
    stop(a);
}

static void uploads_that_break_off(void **state)
{
    struct app *a = start_uploads(150);
    int fd = dial(a->port);
    say(fd, "POST /up HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nuuu");
    usleep(20000);
    close(fd);
    wait_for(&a->closed, 1, 2000);
    fd = dial(a->port);
    say(fd, "POST /up HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nuuuu\r\n");
    assert_non_null(strstr(hear(fd, NULL, 3000), "HTTP/1.1 400 "));
    wait_for(&a->closed, 2, 2000);
    close(fd);
    fd = dial(a->port);
    say(fd, "POST /up HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nuuu");
    assert_non_null(strstr(hear(fd, NULL, 3000), "HTTP/1.1 408 "));
    wait_for(&a->closed, 3, 2000);
    close(fd);
    assert_int_equal(atomic_load(&up.ended), 0);
    stop(a);
}

/* A byte now and then does not hold a connection; four kilobytes are a body. */
static void dribbling_bodies_are_cut(void **state)
{
    struct app *a = start_uploads(600);
    int fd = dial(a->port);
    say(fd, "POST /slow HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 80 && poll(&p, 1, 20) == 0; i++)
        say(fd, "u");
    assert_non_null(strstr(hear(fd, NULL, 3000), "HTTP/1.1 408 "));
    close(fd);
    fd = dial(a->port);
    say(fd, "POST /steady HTTP/1.1\r\n" H "Content-Length: 40960\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        say_u(fd, 4096);
        usleep(80000);
    }
    assert_non_null(strstr(hear(fd, "\r\n\r\n", 2000), "HTTP/1.1 200 "));
    close(fd);
    stop(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_path_has_its_limit),
        cmocka_unit_test(refusals_have_the_shape_of_the_path),
        cmocka_unit_test(an_upload_of_any_size),
        cmocka_unit_test(an_upload_waits_for_who_takes_it),
        cmocka_unit_test(paused_uploads_arrive_whole),
        cmocka_unit_test(continue_is_said_when_the_body_is_wanted),
        cmocka_unit_test(an_early_answer_ends_the_upload),
        cmocka_unit_test(uploads_that_break_off),
        cmocka_unit_test(dribbling_bodies_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
