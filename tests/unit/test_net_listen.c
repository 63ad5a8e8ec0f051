/* test_net_listen.c: where a server listens: addresses, Unix socket files, several at once, sockets
 * that were handed over; and what happens when descriptors run out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "net_peer.h"

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

/* ---- several ---- */

static bool say_where(struct app *a, struct net_req *r)
{
    char text[64];
    snprintf(text, sizeof text, "listener %zu", net_req_listener(r));
    net_res_send(r, 200, "text/plain", str_of(text));
    return true;
}

static const char *where(int fd, int port)
{
    char request[200];
    snprintf(request, sizeof request,
             "GET / HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", port);
    say(fd, request);
    const char *got = hear(fd, NULL, 3000);
    close(fd);
    return got;
}

static void several_at_once(void **state)
{
    char dir[] = "/tmp/weir-net-XXXXXX", path[64], lock[72];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(lock, sizeof lock, "%s/s.lock", dir);
    struct app *other = start_plain(), *a = calloc(1, sizeof *a);
    struct net_listen also[] = {{.host = "127.0.0.1"},
                                {.unix_path = path},
                                {.host = "127.0.0.1", .port = other->port, .optional = true},
                                {.host = "::1", .optional = true}};
    struct net_server_params p = params(a);
    a->more = say_where;
    p.also = also;
    p.nalso = 4;
    start(p, a);
    struct net_server *s = a->server;
    assert_int_equal(net_server_listeners(s), 5);
    int second = net_server_port_at(s, 1);
    assert_true(second > 0 && second != a->port && net_server_port_at(s, 0) == a->port);
    assert_non_null(strstr(where(dial(a->port), a->port), "listener 0"));
    assert_non_null(strstr(where(dial(second), second), "listener 1"));
    assert_int_equal(net_server_port_at(s, 2), 0);
    assert_string_equal(net_server_address_at(s, 2), path);
    assert_non_null(strstr(where(dial_unix(path), 1), "listener 2"));
    /* Taken by somebody else: reported, and the others work. */
    char port[16];
    snprintf(port, sizeof port, "%d", other->port);
    assert_int_equal(net_server_port_at(s, 3), -1);
    assert_non_null(strstr(net_server_failed_at(s, 3), "127.0.0.1 port"));
    assert_non_null(strstr(net_server_failed_at(s, 3), port));
    assert_null(net_server_failed_at(s, 0));
    assert_int_equal(net_server_port_at(s, 5), -1);
    /* Where it is not optional, it is an error, and nothing stays behind. */
    also[2].optional = false;
    p.port = 0;
    also[1].unix_path = NULL;
    struct net_loop *l;
    struct net_server *t;
    struct err e;
    assert_int_equal(net_loop_new(&l, &e), 0);
    assert_int_equal(net_server_new(l, &p, &t, &e), ERR_BUSY);
    assert_non_null(strstr(e.msg, port));
    net_loop_free(l);
    stop(a);
    stop(other);
    unlink(lock);
    rmdir(dir);
}

/* A page that one port serves may call the others, under the name it was reached by. */
static void ports_of_one_server_are_one_origin(void **state)
{
    struct app *a = calloc(1, sizeof *a);
    struct net_listen also[] = {{.host = "127.0.0.1"}};
    struct net_server_params p = params(a);
    p.also = also;
    p.nalso = 1;
    start(p, a);
    int second = net_server_port_at(a->server, 1);
    const struct {
        const char *name;
        int port, status;
    } cases[] = {{"localhost", a->port, 200},
                 {"localhost", second, 200},
                 {"127.0.0.1", a->port, 403},
                 {"localhost", 1, 403}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char request[300];
        snprintf(request, sizeof request,
                 "GET / HTTP/1.1\r\nHost: localhost:%d\r\nOrigin: http://%s:%d\r\n\r\n", second,
                 cases[i].name, cases[i].port);
        assert_int_equal(ask(a, request), cases[i].status);
    }
    stop(a);
}

/* ---- handed over ---- */

static int listening_tcp(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* Guests come in by their port only, and the application is told. */
static bool say_who(struct app *a, struct net_req *r)
{
    net_res_send(r, 200, "text/plain", net_req_is_guest(r) ? STR("a guest") : STR("at home"));
    return true;
}

static void guests_come_by_their_port(void **state)
{
    static const char *const guests[] = {"http://localhost:*", NULL};
    struct app *a = calloc(1, sizeof *a);
    int second, fd = listening_tcp(&second);
    struct net_listen also[] = {{.fd = fd}};
    struct net_server_params p = params(a);
    p.also = also;
    p.nalso = 1;
    p.guests = guests;
    p.guest_ports = &second;
    p.nguest_ports = 1;
    a->more = say_who;
    start(p, a);
    char own[64];
    snprintf(own, sizeof own, "http://localhost:%d", a->port);
    const struct {
        const char *origin;
        int port;
        const char *got;
    } cases[] = {{"http://localhost:3000", second, "a guest"},
                 {own, second, "at home"},
                 {"http://localhost:3000", a->port, " 403 "},
                 {"http://evil.example", second, " 403 "},
                 {"http://localhost.evil.example:3000", second, " 403 "}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char request[300];
        int c = dial(cases[i].port);
        snprintf(request, sizeof request,
                 "GET / HTTP/1.1\r\nHost: localhost:%d\r\nOrigin: %s\r\nConnection: close\r\n\r\n",
                 cases[i].port, cases[i].origin);
        say(c, request);
        assert_non_null(strstr(hear(c, NULL, 3000), cases[i].got));
        close(c);
    }
    stop(a);
}

static int listening_unix(const char *path)
{
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    snprintf(u.sun_path, sizeof u.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&u, sizeof u), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

static void say_listen(const char *pid, const char *fds, const char *names)
{
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", fds, 1);
    names ? setenv("LISTEN_FDNAMES", names, 1) : unsetenv("LISTEN_FDNAMES");
}

/* In a process of its own, whose descriptors from 3 on are ours to choose. Exit code: the line that
 * went wrong, as far as it fits. */
#define WANT(what)                                                                                 \
    do {                                                                                           \
        if (!(what))                                                                               \
            _exit((__LINE__ & 127) | 1);                                                           \
    } while (0)

static void as_a_child(const char *path)
{
    int port, high = 100;
    int tcp = listening_tcp(&port), un = listening_unix(path);
    WANT(dup2(tcp, high) == high && dup2(un, high + 1) == high + 1);
    for (int i = 3; i < high; i++)
        close(i);
    WANT(dup2(high, 3) == 3 && dup2(high + 1, 4) == 4);
    close(high);
    close(high + 1);
    char pid[32];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    struct net_inherited in[4];
    struct err e;
    WANT(net_inherited(in, 4, &e) == 0);
    say_listen("1", "2", NULL); /* meant for somebody else */
    WANT(net_inherited(in, 4, &e) == 0 && !getenv("LISTEN_FDS"));
    say_listen(pid, "x", NULL);
    WANT(net_inherited(in, 4, &e) == ERR_INVAL);
    say_listen(pid, "3", NULL); /* 5 is not open */
    WANT(net_inherited(in, 4, &e) == ERR_INVAL && strstr(e.msg, "descriptor 5"));
    say_listen(pid, "2", NULL);
    WANT(net_inherited(in, 1, &e) == ERR_LIMIT);
    say_listen(pid, "2", "web:local");
    WANT(net_inherited(in, 4, &e) == 2 && !getenv("LISTEN_PID") && !getenv("LISTEN_FDNAMES"));
    WANT(in[0].fd == 3 && strcmp(in[0].name, "web") == 0);
    WANT(in[1].fd == 4 && strcmp(in[1].name, "local") == 0);
    WANT(fcntl(3, F_GETFD) & FD_CLOEXEC);
    struct app *a = calloc(1, sizeof *a);
    struct net_listen also[] = {{.fd = in[1].fd}};
    struct net_server_params p = params(a);
    p.fd = in[0].fd;
    p.also = also;
    p.nalso = 1;
    a->more = say_where;
    start(p, a);
    WANT(a->port == port && net_server_port_at(a->server, 1) == 0);
    WANT(strcmp(net_server_address_at(a->server, 0), "127.0.0.1") == 0);
    WANT(strcmp(net_server_address_at(a->server, 1), path) == 0);
    WANT(strstr(where(dial(port), port), "listener 0"));
    WANT(strstr(where(dial_unix(path), 1), "listener 1"));
    stop(a);
    WANT(access(path, F_OK) == 0); /* not ours to remove */
    _exit(0);
}

static void inherited_sockets(void **state)
{
    char dir[] = "/tmp/weir-net-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    pid_t child = fork();
    if (child == 0)
        as_a_child(path);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    unlink(path);
    rmdir(dir);
    /* What does not listen is not taken. */
    struct app *a = calloc(1, sizeof *a);
    struct net_server_params p = params(a);
    struct net_loop *l;
    struct net_server *s;
    struct err e;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    p.fd = fd;
    assert_int_equal(net_loop_new(&l, &e), 0);
    assert_int_equal(net_server_new(l, &p, &s, &e), ERR_INVAL);
    net_loop_free(l);
    close(fd);
    free(a);
}

/* ---- who asks ---- */

static bool say_peer(struct app *a, struct net_req *r)
{
    char text[64];
    snprintf(text, sizeof text, "peer %llx!", (unsigned long long)net_req_peer(r));
    net_res_send(r, 200, "text/plain", str_of(text));
    return true;
}

static unsigned long long peer_of(int fd)
{
    unsigned long long peer = 0;
    say(fd, "GET / HTTP/1.1\r\n" H "\r\n");
    const char *at = strstr(hear(fd, "!", 3000), "\r\n\r\n");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\r\n\r\npeer %llx", &peer), 1);
    close(fd);
    return peer;
}

static void peers_are_told_apart(void **state)
{
    char dir[] = "/tmp/weir-net-XXXXXX", path[64], lock[72];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(lock, sizeof lock, "%s/s.lock", dir);
    struct app *a = calloc(1, sizeof *a);
    struct net_listen also[] = {{.unix_path = path}};
    struct net_server_params p = params(a);
    p.also = also;
    p.nalso = 1;
    a->more = say_peer;
    start(p, a);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)a->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int other = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(other, (struct sockaddr *)&to, sizeof to), 0);
    unsigned long long one = peer_of(dial(a->port)), again = peer_of(dial(a->port)),
                       two = peer_of(other), local = peer_of(dial_unix(path));
    assert_true(one == again && one != two && local != one && local != two && one && two && local);
    assert_true(peer_of(dial_unix(path)) == local);
    stop(a);
    unlink(lock);
    rmdir(dir);
}

/* ---- descriptors ---- */

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void without_descriptors_the_server_lives(void **state)
{
    struct app *a = start_plain();
    int keeper = dial(a->port), filler[256], n = 0;
    say(keeper, "GET /k HTTP/1.1\r\n" H "\r\n");
    assert_non_null(strstr(hear(keeper, "\r\n\r\n", 3000), " 200 "));
    struct rlimit old, low;
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = 128;
    setrlimit(RLIMIT_NOFILE, &low);
    while (n < 256 && (filler[n] = dup(0)) >= 0)
        n++;
    assert_true(n > 0 && n < 256);
    close(filler[--n]);
    int late = dial(a->port); /* takes the last one: the server has none for it */
    double began = cpu_seconds();
    assert_true(at_end(late, 3000));
    usleep(200000);
    assert_true(cpu_seconds() - began < 0.15); /* nor does it turn on the spot */
    say(keeper, "GET /k HTTP/1.1\r\n" H "\r\n");
    assert_non_null(strstr(hear(keeper, "\r\n\r\n", 3000), " 200 "));
    while (n > 0)
        close(filler[--n]);
    close(late);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(ask(a, "GET / HTTP/1.1\r\n" H "\r\n"), 200);
    close(keeper);
    stop(a);
}

static void the_limit_of_files_is_raised(void **state)
{
    struct rlimit old, low;
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = 64;
    setrlimit(RLIMIT_NOFILE, &low);
    assert_int_equal(net_raise_files(100), 100);
    assert_int_equal(net_raise_files(50), 100);
    assert_int_equal(net_raise_files(SIZE_MAX / 2), (size_t)old.rlim_max);
    setrlimit(RLIMIT_NOFILE, &old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unix_socket),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(several_at_once),
        cmocka_unit_test(ports_of_one_server_are_one_origin),
        cmocka_unit_test(guests_come_by_their_port),
        cmocka_unit_test(inherited_sockets),
        cmocka_unit_test(peers_are_told_apart),
        cmocka_unit_test(without_descriptors_the_server_lives),
        cmocka_unit_test(the_limit_of_files_is_raised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
