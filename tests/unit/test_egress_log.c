/* test_egress_log.c: what decides and what remembers: the gate as a table, and the chain of the
 * log, every byte of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "egress.h"
#include "egress_int.h"

/* ---- the gate ---- */

static void gate_table(void **state)
{
    enum { D = GEN_DEVICE, S = GEN_SITE, C = GEN_CLOUD };
    static const struct {
        int req, row;
        const char *scheme, *host, *addr; /* addr NULL: before resolving; "unix" */
        bool offline, proxied, pass;
    } t[] = {
        /* zones */
        {D, D, "http", "127.0.0.1", NULL, 0, 0, 1},
        {D, S, "http", "127.0.0.1", NULL, 0, 0, 0},
        {D, C, "https", "127.0.0.1", NULL, 0, 0, 0},
        {S, D, "http", "127.0.0.1", NULL, 0, 0, 1},
        {S, S, "http", "box.test", NULL, 0, 0, 1},
        {S, C, "https", "api.test", NULL, 0, 0, 0},
        {C, D, "http", "localhost", NULL, 0, 0, 1},
        {C, S, "http", "box.test", NULL, 0, 0, 1},
        {C, C, "https", "api.test", NULL, 0, 0, 1},
        {3, C, "https", "api.test", NULL, 0, 0, 0},
        {C, 3, "https", "api.test", NULL, 0, 0, 0},
        {-1, -1, "http", "127.0.0.1", NULL, 0, 0, 0},
        /* a device row is this machine */
        {D, D, "http", "localhost", NULL, 0, 0, 1},
        {D, D, "http", "LOCALHOST", NULL, 0, 0, 1},
        {D, D, "http", "::1", NULL, 0, 0, 1},
        {D, D, "http", "127.8.8.8", "127.8.8.8", 0, 0, 1},
        {D, D, "https", "box.test", NULL, 0, 0, 0},
        {D, D, "http", "10.0.0.1", NULL, 0, 0, 0},
        {D, D, "http", "0.0.0.0", NULL, 0, 0, 0},
        {C, D, "https", "box.test", NULL, 0, 0, 0},
        {D, D, "http", "localhost.evil.test", NULL, 0, 0, 0},
        {D, D, "http", "127.1", NULL, 0, 0, 0},
        {D, D, "http", "", NULL, 0, 0, 0},
        {D, D, "http", "localhost", "127.0.0.1", 0, 0, 1},
        {D, D, "http", "localhost", "::1", 0, 0, 1},
        {D, D, "http", "localhost", "10.0.0.1", 0, 0, 0},
        {D, D, "http", "127.0.0.1", "127.0.0.2", 0, 0, 0},
        {D, D, "http", "127.0.0.1", "::ffff:127.0.0.1", 0, 0, 1},
        {D, D, "http", "localhost", "::ffff:10.0.0.1", 0, 0, 0},
        {D, D, "http", "localhost", "unix", 0, 0, 0},
        /* plain http */
        {C, C, "http", "api.test", NULL, 0, 0, 0},
        {C, C, "http", "10.0.0.1", NULL, 0, 0, 0},
        {C, C, "http", "127.0.0.1", "127.0.0.1", 0, 0, 1},
        {C, C, "http", "localhost", "10.0.0.1", 0, 0, 0},
        {S, S, "http", "box.test", "10.0.0.1", 0, 0, 1},
        {C, C, "https", "api.test", "93.184.216.34", 0, 0, 1},
        /* addresses that lie */
        {C, C, "https", "api.test", "0.0.0.0", 0, 0, 0},
        {C, C, "https", "api.test", "224.0.0.1", 0, 0, 0},
        {C, C, "https", "api.test", "255.255.255.255", 0, 0, 0},
        {C, C, "https", "api.test", "::", 0, 0, 0},
        {C, C, "https", "api.test", "ff02::1", 0, 0, 0},
        {C, C, "https", "93.184.216.34", "93.184.216.35", 0, 0, 0},
        {S, S, "http", "::1", "::2", 0, 0, 0},
        /* offline */
        {C, C, "https", "api.test", NULL, 1, 0, 0},
        {C, C, "https", "93.184.216.34", NULL, 1, 0, 0},
        {S, S, "http", "10.0.0.1", NULL, 1, 0, 0},
        {C, C, "http", "127.0.0.1", "127.0.0.1", 1, 0, 1},
        {S, S, "http", "localhost", "10.0.0.1", 1, 0, 0},
        /* proxies */
        {C, C, "https", "api.test", "10.0.0.9", 0, 1, 1},
        {C, C, "http", "api.test", NULL, 0, 1, 0},
        {S, S, "https", "box.test", NULL, 0, 1, 0},
        {D, D, "https", "localhost", NULL, 0, 1, 0},
        {C, C, "https", "api.test", NULL, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct sockaddr_storage a = {.ss_family = AF_UNIX};
        if (t[i].addr && inet_pton(AF_INET, t[i].addr, &((struct sockaddr_in *)&a)->sin_addr) == 1)
            a.ss_family = AF_INET;
        else if (t[i].addr &&
                 inet_pton(AF_INET6, t[i].addr, &((struct sockaddr_in6 *)&a)->sin6_addr) == 1)
            a.ss_family = AF_INET6;
        struct gate_ask ask = {.req_zone = (enum gen_zone)t[i].req,
                               .row_zone = (enum gen_zone)t[i].row,
                               .https = strcmp(t[i].scheme, "https") == 0,
                               .proxied = t[i].proxied,
                               .offline = t[i].offline,
                               .host = str_of(t[i].host),
                               .addr = t[i].addr ? (struct sockaddr *)&a : NULL};
        const char *why = gate_refuses(&ask);
        if ((why == NULL) != t[i].pass)
            fail_msg("row %zu: %s", i, why ? why : "passed");
        ask.unlogged = true;
        assert_non_null(gate_refuses(&ask)); /* without a log nothing passes but a Unix socket */
    }
    struct sockaddr_storage un = {.ss_family = AF_UNIX};
    struct gate_ask ask = {.is_unix = true, .unlogged = true, .offline = true};
    ask.host = STR("localhost");
    assert_null(gate_refuses(&ask));
    ask.addr = (struct sockaddr *)&un;
    assert_null(gate_refuses(&ask));
    un.ss_family = AF_INET;
    assert_non_null(gate_refuses(&ask));
    ask.addr = NULL;
    ask.row_zone = GEN_SITE;
    assert_non_null(gate_refuses(&ask));
}

/* ---- a home ---- */

static char home[64];

static int make_home(void **state)
{
    strcpy(home, "/tmp/weir-egress-XXXXXX");
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

static void write_log(const char *b, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/egress.log", home);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(b, 1, n, f), n);
    fclose(f);
}

/* One byte of the log, in place. */
static void poke(size_t at, char c)
{
    char path[128];
    snprintf(path, sizeof path, "%s/egress.log", home);
    FILE *f = fopen(path, "r+b");
    fseek(f, (long)at, SEEK_SET);
    assert_int_equal(fputc(c, f), (unsigned char)c);
    fclose(f);
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

/* ---- the log ---- */

static void log_three(void)
{
    struct egress_log *l;
    struct err e;
    uint64_t seq = 0;
    assert_int_equal(egress_log_open(home, &l, &e), 0);
    struct egress_line x = {.event = "open",
                            .row = "acme/\"m\"",
                            .rule = "chat",
                            .host = STR("api.test"),
                            .addr = "10.0.0.1",
                            .port = 443,
                            .row_zone = GEN_CLOUD,
                            .req_zone = GEN_CLOUD,
                            .has_zones = true};
    assert_int_equal(egress_log_add(l, &x, true, &seq, &e), 0);
    struct egress_line end = {.event = "close", .of = seq, .out = 10, .in = 20, .what = "ok"};
    assert_int_equal(egress_log_add(l, &end, false, NULL, &e), 0);
    assert_int_equal(egress_log_add(l, &x, true, &seq, &e), 0);
    egress_log_free(l);
}

static void every_byte_of_the_log_counts(void **state)
{
    struct err e;
    uint64_t rows = 9;
    size_t n, lines = 0;
    assert_int_equal(egress_verify(home, &rows, &e), 0);
    assert_int_equal(rows, 0);
    log_three();
    log_three();
    assert_int_equal(egress_verify(home, &rows, &e), 0);
    assert_int_equal(rows, 6);
    char *b = read_log(&n);
    struct stat st;
    char path[128];
    snprintf(path, sizeof path, "%s/egress.log", home);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    for (size_t i = 0; i < n; i++) {
        poke(i, b[i] ^ 1);
        assert_int_equal(egress_verify(home, &rows, &e), ERR_CHECKSUM);
        if (e.pos != lines + 1 && e.pos != lines + 2)
            fail_msg("byte %zu, line %zu: %s", i, lines + 1, e.msg);
        poke(i, b[i]);
        lines += b[i] == '\n';
    }
    /* A line taken out, and two changed places. */
    char *second = strchr(b, '\n') + 1, *third = strchr(second, '\n') + 1;
    struct buf c = BUF_INIT(1 << 20);
    buf_add(&c, b, (size_t)(second - b));
    buf_puts(&c, third);
    write_log(c.p, c.n);
    assert_int_equal(egress_verify(home, &rows, &e), ERR_CHECKSUM);
    assert_int_equal(e.pos, 2);
    buf_clear(&c);
    buf_add(&c, second, (size_t)(third - second));
    buf_add(&c, b, (size_t)(second - b));
    write_log(c.p, c.n);
    assert_int_equal(egress_verify(home, &rows, &e), ERR_CHECKSUM);
    /* Nothing is added to a chain that is broken. */
    struct egress_log *l;
    assert_int_equal(egress_log_open(home, &l, &e), ERR_CHECKSUM);
    buf_done(&c);
    free(b);
}

static void a_torn_line_is_recorded(void **state)
{
    struct err e;
    uint64_t rows;
    size_t n;
    log_three();
    char *b = read_log(&n);
    size_t last = n - 1;
    while (b[last - 1] != '\n')
        last--;
    /* Cut anywhere in the last line; cut again inside what the repair wrote. */
    for (size_t cut = last + 1; cut < n; cut += 7) {
        write_log(b, cut);
        assert_int_equal(egress_verify(home, &rows, &e), ERR_CHECKSUM);
        assert_int_equal(e.pos, 3);
        log_three();
        assert_int_equal(egress_verify(home, &rows, &e), 0);
        assert_int_equal(rows, 2 + 1 + 3);
        assert_int_equal(count_in_log("\"event\":\"recovered\""), 1);
        size_t m;
        char *again = read_log(&m);
        again[last + 1] ^= 1; /* the torn bytes are covered too */
        write_log(again, m);
        assert_int_equal(egress_verify(home, &rows, &e), ERR_CHECKSUM);
        again[last + 1] ^= 1;
        write_log(again, cut + 9);
        log_three();
        assert_int_equal(egress_verify(home, &rows, &e), 0);
        assert_int_equal(rows, 2 + 1 + 3);
        free(again);
    }
    free(b);
}

static void *many_lines(void *ctx)
{
    struct egress_log *l;
    struct err e;
    /* A log of its own for every thread, as two processes would have. */
    assert(egress_log_open(home, &l, &e) == 0);
    for (int i = 0; i < 50; i++) {
        struct egress_line x = {.event = "child", .row = "pull"};
        assert(egress_log_add(l, &x, false, NULL, &e) == 0);
    }
    egress_log_free(l);
    return NULL;
}

static void many_may_write(void **state)
{
    pthread_t t[4];
    struct err e;
    uint64_t rows;
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, many_lines, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(egress_verify(home, &rows, &e), 0);
    assert_int_equal(rows, 200);
}

#define WITH_HOME(f) cmocka_unit_test_setup_teardown(f, make_home, drop_home)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_table),
        WITH_HOME(every_byte_of_the_log_counts),
        WITH_HOME(a_torn_line_is_recorded),
        WITH_HOME(many_may_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
