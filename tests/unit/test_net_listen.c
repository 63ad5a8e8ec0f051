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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unix_socket),
        cmocka_unit_test(bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
