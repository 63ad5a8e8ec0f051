/* main.c: the program's door: which command, with which settings, and what its exit code means. */
#include "command.h"

#include <locale.h>
#include <signal.h>
#include <string.h>
#include <time.h>

static void print_overview(FILE *f)
{
    size_t n;
    const struct command *c = command_table(&n);
    fputs(
        "weir: local and cloud models behind one door. It decides where a request may and should\n"
        "be answered, says why, and keeps the account.\n\n",
        f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "  weir %-10s %-18s %s\n", c[i].name, c[i].args, c[i].summary);
    fputs("\nweir help COMMAND for its options. Exit codes: 0 ok, 1 failed, 2 usage, 3 no such "
          "model,\n"
          "4 refused by policy, 130 interrupted.\n",
          f);
}

static int print_help(const struct command *c)
{
    struct buf b = BUF_INIT(1 << 20);
    buf_printf(&b, "usage: weir %s [OPTION...] %s\n%s\n\n", c->name, c->args, c->summary);
    settings_help(c->bit, &b);
    int rc = command_print(&b);
    buf_done(&b);
    return rc;
}

int cmd_help(const struct settings *s, int argc, char **argv)
{
    if (argc == 0) {
        print_overview(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[0], "options") == 0) {
        struct buf b = BUF_INIT(1 << 20);
        settings_reference(&b);
        int rc = command_print(&b);
        buf_done(&b);
        return rc;
    }
    const struct command *c = command_find(argv[0]);
    if (!c) {
        fprintf(stderr, "weir: there is no command '%s'\n", argv[0]);
        return EXIT_USAGE;
    }
    return print_help(c);
}

static int run_command(const struct command *c, int argc, char **argv)
{
    struct settings s;
    struct err e = {0};
    int rest = 0;
    int rc = settings_load(&s, &e);
    if (rc == 0 && settings_argv(&s, c->bit, argc, argv, &rest, &e) != 0) {
        settings_done(&s);
        return command_usage(c, err_msg(&e));
    }
    int code = rc ? command_fail(&e) : s.help ? print_help(c) : c->run(&s, rest, argv);
    settings_done(&s);
    return code;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    tzset();
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("weir " WEIR_VERSION);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(stdout);
        return EXIT_OK;
    }
    const struct command *c = command_find(argv[1]);
    if (!c) {
        fprintf(stderr, "weir: there is no command '%s'; weir help lists them\n", argv[1]);
        return EXIT_USAGE;
    }
    return run_command(c, argc - 2, argv + 2);
}
