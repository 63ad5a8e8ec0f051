/* command.h: what every command is, and the few things they share. */
#ifndef WEIR_COMMAND_H
#define WEIR_COMMAND_H

#include "settings.h"

#include <stdio.h>

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_MODEL = 3,
    EXIT_REFUSED = 4,
    EXIT_INTERRUPTED = 130
};

struct command {
    const char *name;
    unsigned bit; /* in the option table's masks */
    const char *args, *summary;
    /* argv holds what is left when the flags are taken out. Returns the exit code. */
    int (*run)(const struct settings *s, int argc, char **argv);
};

const struct command *command_find(const char *name);
const struct command *command_table(size_t *n);

/* Print "weir: message" and give the exit code that belongs to the error. */
int command_fail(const struct err *e);
int command_usage(const struct command *c, const char *why);

/* The arguments joined by blanks, and standard input (when it is not a terminal) after an empty
 * line. At most 64 MiB. */
int command_prompt(int argc, char **argv, struct buf *out, struct err *e);
int command_read_file(const char *path, size_t max, struct buf *out,
                      struct err *e); /* "-": standard input */
/* Print a finished buffer on standard output; 1 when that fails. */
int command_print(const struct buf *b);

int cmd_ask(const struct settings *s, int argc, char **argv);
int cmd_run(const struct settings *s, int argc, char **argv);
int cmd_serve(const struct settings *s, int argc, char **argv);
int cmd_hello(const struct settings *s, int argc, char **argv);
int cmd_pull(const struct settings *s, int argc, char **argv);
int cmd_list(const struct settings *s, int argc, char **argv);
int cmd_show(const struct settings *s, int argc, char **argv);
int cmd_create(const struct settings *s, int argc, char **argv);
int cmd_cp(const struct settings *s, int argc, char **argv);
int cmd_verify(const struct settings *s, int argc, char **argv);
int cmd_rm(const struct settings *s, int argc, char **argv);
int cmd_ps(const struct settings *s, int argc, char **argv);
int cmd_stop(const struct settings *s, int argc, char **argv);
int cmd_key(const struct settings *s, int argc, char **argv);
int cmd_fit(const struct settings *s, int argc, char **argv);
int cmd_route(const struct settings *s, int argc, char **argv);
int cmd_cost(const struct settings *s, int argc, char **argv);
int cmd_breakeven(const struct settings *s, int argc, char **argv);
int cmd_embed(const struct settings *s, int argc, char **argv);
int cmd_tokenize(const struct settings *s, int argc, char **argv);
int cmd_eval(const struct settings *s, int argc, char **argv);
int cmd_bench(const struct settings *s, int argc, char **argv);
int cmd_template(const struct settings *s, int argc, char **argv);
int cmd_provider(const struct settings *s, int argc, char **argv);
int cmd_egress(const struct settings *s, int argc, char **argv);
int cmd_man(const struct settings *s, int argc, char **argv);
int cmd_completion(const struct settings *s, int argc, char **argv);
int cmd_help(const struct settings *s, int argc, char **argv);

#endif
