/* net_peer.h: for tests of net/: a server on a thread of its own with a few paths, and a client
 * of bytes. */
#ifndef WEIR_NET_PEER_H
#define WEIR_NET_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "net.h"

#define H "Host: localhost\r\n"
#define UNUSED __attribute__((unused))

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
    bool (*more)(struct app *a, struct net_req *r); /* further paths; true: taken */
};

UNUSED static void on_closed(void *ctx)
{
    struct app *a = ctx;
    a->held = NULL;
    net_timer_free(a->later);
    a->later = NULL;
    atomic_store(&a->closed_at, (long long)clock_mono_ns());
    atomic_fetch_add(&a->closed, 1);
}

UNUSED static void flood(void *ctx)
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

UNUSED static void answer_later(void *ctx)
{
    struct app *a = ctx;
    struct net_req *r = a->held;
    a->held = NULL;
    net_timer_free(a->later);
    a->later = NULL;
    net_res_send(r, 200, "text/plain", STR("later"));
}

UNUSED static void on_request(void *ctx, struct net_req *r)
{
    struct app *a = ctx;
    atomic_fetch_add(&a->requests, 1);
    struct str path = net_req_path(r);
    if (a->more && a->more(a, r))
        return;
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

UNUSED static void *run_loop(void *ctx)
{
    net_loop_run(ctx);
    return NULL;
}

UNUSED static struct net_server_params params(struct app *a)
{
    return (struct net_server_params){.host = "127.0.0.1", .request = on_request, .ctx = a};
}

UNUSED static struct app *start(struct net_server_params p, struct app *a)
{
    struct err e;
    assert_int_equal(net_loop_new(&a->loop, &e), 0);
    assert_int_equal(net_server_new(a->loop, &p, &a->server, &e), 0);
    a->port = net_server_port(a->server);
    pthread_create(&a->thread, NULL, run_loop, a->loop);
    return a;
}

UNUSED static void do_stop(void *ctx)
{
    struct app *a = ctx;
    net_timer_free(a->later);
    net_server_close(a->server);
    net_loop_stop(a->loop);
}

UNUSED static void stop(struct app *a)
{
    net_post(a->loop, do_stop, a);
    pthread_join(a->thread, NULL);
    net_loop_free(a->loop);
    free(a);
}

UNUSED static struct app *start_plain(void)
{
    struct app *a = calloc(1, sizeof *a);
    return start(params(a), a);
}

/* ---- a client of bytes ---- */

UNUSED static int dial(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

UNUSED static void say_n(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w < 0)
            return; /* the server has refused and closed: what it said is read next */
        p += w;
        n -= (size_t)w;
    }
}

UNUSED static void say(int fd, const char *z)
{
    say_n(fd, z, strlen(z));
}

/* Deadlines of what must come are many times what a machine needs that has nothing else to do. */
#define PATIENCE 10

/* What comes until the end, until `until` has come, or for `ms` (and patience). */
UNUSED static const char *hear(int fd, const char *until, int ms)
{
    static char b[65536];
    size_t n = 0;
    uint64_t end = clock_mono_ns() + (uint64_t)ms * PATIENCE * 1000000;
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

UNUSED static bool at_end(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char c;
    return poll(&p, 1, ms) == 1 && recv(fd, &c, 1, 0) <= 0;
}

/* One exchange; the status. */
UNUSED static int ask(struct app *a, const char *request)
{
    int fd = dial(a->port);
    say(fd, request);
    const char *got = hear(fd, "\r\n\r\n", 3000);
    int status = 0;
    sscanf(got, "HTTP/1.1 %d", &status);
    close(fd);
    return status;
}

UNUSED static void wait_for(atomic_int *what, int value, int ms)
{
    for (int i = 0; i < ms * PATIENCE && atomic_load(what) < value; i++)
        usleep(1000);
    assert_true(atomic_load(what) >= value);
}

UNUSED static int dial_unix(const char *path)
{
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    snprintf(u.sun_path, sizeof u.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&u, sizeof u), 0);
    return fd;
}

#endif
