/* options.h: one table of options gives the flags, the keys of the configuration file, the
 * environment names,
 * `--help` and the reference page. The table itself stands in app/; this is the mechanism. */
#ifndef WEIR_OPTIONS_H
#define WEIR_OPTIONS_H

#include "buf.h"
#include "err.h"

enum option_type { OPTION_BOOL, OPTION_INT, OPTION_FLOAT, OPTION_TEXT, OPTION_CHOICE };

struct option {
    const char *name; /* "max-tokens": --max-tokens, key max-tokens, environment WEIR_MAX_TOKENS */
    char letter;      /* 0: none */
    enum option_type type;
    size_t offset; /* of the field in the settings: bool, int64_t, double or char * (malloc'd) */
    const char *value; /* what stands for the value in --help: "N", "NAME", "a|b|c" for a choice */
    const char *def;   /* default, as it would be written; NULL: unset */
    double min, max;   /* numbers: inclusive */
    unsigned commands; /* bit mask of the commands that take it on their command line */
    bool in_config;    /* may stand in weir.conf and the environment */
    const char *help;
};

/* All take `base`, the address of the settings. Text fields own their memory: options_done frees.
 */
int options_defaults(const struct option *t, size_t n, void *base, struct err *e);
int options_env(const struct option *t, size_t n, void *base, struct err *e);
/* One key of the file. ERR_NOT_FOUND when no such key; the caller adds file and line. */
int options_key(const struct option *t, size_t n, void *base, struct str key, struct str value,
                struct err *e);
/* Parse argv[0..argc): flags of `command`; everything else is moved to the front of argv and
 * counted in *rest.
 * "--" ends the flags. --name VALUE, --name=VALUE, -l VALUE, --flag, --no-flag. */
int options_argv(const struct option *t, size_t n, void *base, unsigned command, int argc,
                 char **argv, int *rest, struct err *e);
void options_done(const struct option *t, size_t n, void *base);
/* The lines of --help for one command, sorted as in the table. */
void options_help(const struct option *t, size_t n, unsigned command, struct buf *out);
/* The reference page (Markdown): every option once with key, environment name, default and meaning.
 */
void options_reference(const struct option *t, size_t n, struct buf *out);

#endif
