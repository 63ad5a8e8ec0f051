/* test_options.c: one table, four sources. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "options.h"

#define A(text) ((char[]){text})

struct set {
    bool loud;
    int64_t count;
    double heat;
    char *name, *mode;
};

static const struct option table[] = {
    {"loud", 'l', OPTION_BOOL, offsetof(struct set, loud), NULL, "false", 0, 0, 1, true, "be loud"},
    {"count", 'c', OPTION_INT, offsetof(struct set, count), "N", "3", 0, 10, 1, true, "how many"},
    {"heat", 0, OPTION_FLOAT, offsetof(struct set, heat), "X", NULL, -1, 1, 3, true, "how hot"},
    {"name", 0, OPTION_TEXT, offsetof(struct set, name), "NAME", NULL, 0, 0, 1, true, "whose"},
    {"mode", 0, OPTION_CHOICE, offsetof(struct set, mode), "a|bb", "a", 0, 0, 2, false, "which"},
};
#define N (sizeof table / sizeof table[0])

static void flags_are_taken_out(void **state)
{
    struct set s = {0};
    int rest = 0;
    char *argv[] = {A("one"),    A("-c"),  A("7"), A("--heat=-0.5"), A("-l"), A("two"),
                    A("--name"), A("x y"), A("-"), A("-1"),          A("--"), A("--loud")};
    assert_int_equal(options_defaults(table, N, &s, NULL), 0);
    assert_int_equal(options_argv(table, N, &s, 1, 12, argv, &rest, NULL), 0);
    assert_int_equal(rest, 5);
    assert_string_equal(argv[1], "two");
    assert_string_equal(argv[2], "-");
    assert_string_equal(argv[3], "-1");
    assert_string_equal(argv[4], "--loud");
    assert_true(s.loud && s.count == 7 && s.heat == -0.5);
    assert_string_equal(s.name, "x y");
    char *off[] = {A("--no-loud")};
    assert_int_equal(options_argv(table, N, &s, 1, 1, off, &rest, NULL), 0);
    assert_false(s.loud);
    options_done(table, N, &s);
}

static void refused(char *arg, char *value, const char *word)
{
    struct set s = {0};
    struct err e = {0};
    int rest = 0;
    char *argv[] = {arg, value};
    assert_int_not_equal(options_argv(table, N, &s, 1, value ? 2 : 1, argv, &rest, &e), 0);
    assert_non_null(strstr(e.msg, word));
    options_done(table, N, &s);
}

static void bad_values_are_named(void **state)
{
    refused(A("--count"), A("11"), "--count");
    refused(A("--count"), A("1.5"), "--count");
    refused(A("-c"), NULL, "-c");
    refused(A("--heat"), A("hot"), "--heat");
    refused(A("--mode"), A("a"), "--mode"); /* another command's */
    refused(A("--loud=maybe"), NULL, "--loud");
    refused(A("--no-count"), NULL, "--no-count");
    refused(A("-x"), NULL, "-x");
}

static void keys_and_environment(void **state)
{
    struct set s = {0};
    struct err e = {0};
    assert_int_equal(options_key(table, N, &s, STR("count"), STR(" 4 "), &e), 0);
    assert_int_equal(s.count, 4);
    assert_int_equal(options_key(table, N, &s, STR("mode"), STR("a"), &e), ERR_NOT_FOUND);
    setenv("WEIR_COUNT", "9", 1);
    assert_int_equal(options_env(table, N, &s, &e), 0);
    assert_int_equal(s.count, 9);
    setenv("WEIR_COUNT", "99", 1);
    assert_int_equal(options_env(table, N, &s, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "WEIR_COUNT"));
    unsetenv("WEIR_COUNT");
    options_done(table, N, &s);
}

static void help_and_reference_name_every_option(void **state)
{
    struct buf b = BUF_INIT(10000);
    options_help(table, N, 1, &b);
    assert_non_null(strstr(b.p, "--heat X"));
    assert_null(strstr(b.p, "--mode"));
    buf_clear(&b);
    options_reference(table, N, &b);
    assert_non_null(strstr(b.p, "WEIR_COUNT"));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_are_taken_out),
        cmocka_unit_test(bad_values_are_named),
        cmocka_unit_test(keys_and_environment),
        cmocka_unit_test(help_and_reference_name_every_option),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
