/* test_child.c: output, status, environment, descriptors, limits and cancelling of children. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"

struct result {
    struct buf out, errout;
    int status, rc;
    struct err e;
    double seconds;
};

static struct result run(struct child_opts o)
{
    struct result r = {.out = BUF_INIT(1 << 20), .errout = BUF_INIT(1 << 20), .status = -1};
    if (!o.max_output)
        o.max_output = 1 << 16;
    uint64_t start = clock_mono_ns();
    r.rc = child_run(&o, &r.out, &r.errout, &r.status, &r.e);
    r.seconds = (double)(clock_mono_ns() - start) / 1e9;
    buf_add(&r.out, "", 0);
    buf_add(&r.errout, "", 0);
    return r;
}

static struct result shell(const char *script, struct child_opts o)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    o.argv = argv;
    return run(o);
}

static void done(struct result *r)
{
    buf_done(&r->out);
    buf_done(&r->errout);
}

static void output_and_status(void **state)
{
    struct result r = shell("echo out; echo err >&2; exit 3", (struct child_opts){0});
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.status, 3);
    assert_string_equal(r.out.p, "out\n");
    assert_string_equal(r.errout.p, "err\n");
    done(&r);
    r = shell("kill -9 $$", (struct child_opts){0});
    assert_int_equal(r.status, 128 + 9);
    done(&r);
    r = shell("cat; echo end", (struct child_opts){.dir = "/"}); /* standard input is empty */
    assert_string_equal(r.out.p, "end\n");
    done(&r);
    r = shell("pwd", (struct child_opts){.dir = "/"});
    assert_string_equal(r.out.p, "/\n");
    done(&r);
    const char *argv[] = {"printf", "%s|", "a b", "$HOME", "*", NULL};
    r = run((struct child_opts){.argv = argv}); /* no shell in between */
    assert_string_equal(r.out.p, "a b|$HOME|*|");
    done(&r);
}

static void programs_that_are_not_there(void **state)
{
    const char *argv[] = {"no-such-program-here", NULL};
    struct result r = run((struct child_opts){.argv = argv});
    assert_int_equal(r.rc, ERR_NOT_FOUND);
    assert_non_null(strstr(r.e.msg, "no-such-program-here"));
    assert_int_equal(r.status, -1);
    done(&r);
    argv[0] = "/no/such/path";
    r = run((struct child_opts){.argv = argv});
    assert_int_equal(r.rc, ERR_NOT_FOUND);
    done(&r);
    r = shell("true", (struct child_opts){.dir = "/no/such/folder"});
    assert_int_equal(r.rc, ERR_NOT_FOUND);
    done(&r);
}

static void environment(void **state)
{
    const char *add[] = {"WEIR_A=new", "WEIR_B=b", NULL}, *drop[] = {"WEIR_C", NULL};
    setenv("WEIR_A", "old", 1);
    setenv("WEIR_C", "secret", 1);
    setenv("WEIR_CC", "kept", 1);
    struct result r = shell("echo $WEIR_A,$WEIR_B,$WEIR_C,$WEIR_CC",
                            (struct child_opts){.env_add = add, .env_drop = drop});
    assert_string_equal(r.out.p, "new,b,,kept\n");
    done(&r);
}

static void no_descriptor_leaks(void **state)
{
    int fd = open("/dev/null", O_RDONLY); /* not close-on-exec */
    assert_true(fd > 2);
    struct result r = shell("for f in 3 4 5 6 7 8 9; do if (: <&$f) 2>/dev/null; then echo $f; fi; "
                            "done",
                            (struct child_opts){0});
    assert_string_equal(r.out.p, "");
    close(fd);
    done(&r);
}

static void output_is_bounded(void **state)
{
    struct result r =
        shell("head -c 3000000 /dev/zero; echo end >&2", (struct child_opts){.max_output = 1000});
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.out.n, 1000);
    assert_string_equal(r.errout.p, "end\n");
    done(&r);
}

static void grandchild_does_not_hold_us(void **state)
{
    struct result r = shell("sleep 60 & echo started", (struct child_opts){0});
    assert_int_equal(r.rc, 0);
    assert_string_equal(r.out.p, "started\n");
    assert_true(r.seconds < 10);
    done(&r);
}

/* What a person sees as "sleep" is what /proc says it runs; a zombie runs nothing. */
static bool still_sleeps(int pid)
{
    char path[64], line[64] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    FILE *f = fopen(path, "r");
    if (f) {
        size_t n = fread(line, 1, sizeof line - 1, f);
        line[n] = '\0';
        fclose(f);
    }
    return strcmp(line, "sleep") == 0;
}

static bool ends_soon(int pid)
{
    for (int i = 0; i < 250 && still_sleeps(pid); i++)
        usleep(20000);
    return !still_sleeps(pid);
}

/* The parent is killed; the child is a wrapper that has started something of its own. */
static void killed_parent_takes_all_along(void **state)
{
    char file[] = "/tmp/weir_test_child_XXXXXX", script[128];
    int fd = mkstemp(file), sleeper = 0;
    assert_true(fd >= 0);
    snprintf(script, sizeof script, "sleep 60 & echo $! > %s; wait", file);
    pid_t parent = fork();
    if (parent == 0) {
        shell(script, (struct child_opts){0});
        _exit(0);
    }
    for (int i = 0; i < 250 && sleeper == 0; i++) {
        char line[32] = "";
        usleep(20000);
        if (pread(fd, line, sizeof line - 1, 0) > 0 && strchr(line, '\n'))
            sleeper = atoi(line);
    }
    assert_true(sleeper > 0);
    for (int i = 0; i < 250 && !still_sleeps(sleeper); i++)
        usleep(20000);
    assert_true(still_sleeps(sleeper));
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    assert_true(ends_soon(sleeper));
    close(fd);
    unlink(file);
}

static void timeout_kills_the_group(void **state)
{
    struct result r = shell("sleep 60 & echo $!; wait", (struct child_opts){.timeout_ms = 300});
    assert_int_equal(r.rc, ERR_TIMEOUT);
    assert_true(r.seconds > 0.25 && r.seconds < 10);
    assert_true(ends_soon(atoi(r.out.p)));
    done(&r);
}

static int stop_at_third(void *ctx)
{
    return ++*(int *)ctx == 3;
}

static void tick_cancels(void **state)
{
    int ticks = 0;
    struct result r = shell("exec 1>&- 2>&-; sleep 60",
                            (struct child_opts){.tick = stop_at_third, .ctx = &ticks});
    assert_int_equal(r.rc, ERR_CANCELLED);
    assert_int_equal(ticks, 3);
    assert_true(r.seconds > 0.2 && r.seconds < 10);
    done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_status),
        cmocka_unit_test(programs_that_are_not_there),
        cmocka_unit_test(environment),
        cmocka_unit_test(no_descriptor_leaks),
        cmocka_unit_test(output_is_bounded),
        cmocka_unit_test(timeout_kills_the_group),
        cmocka_unit_test(grandchild_does_not_hold_us),
        cmocka_unit_test(killed_parent_takes_all_along),
        cmocka_unit_test(tick_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
