/* child.h: running another program. No shell: an argument vector. The child gets no descriptor but
 * the three standard ones, its own process group, and on Linux dies with its parent. */
#ifndef WEIR_CHILD_H
#define WEIR_CHILD_H

#include "buf.h"
#include "err.h"

#include <sys/types.h>

struct child_opts {
    const char *const *argv;     /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *env_add;  /* "NAME=value" beside the inherited environment; NULL for none */
    const char *const *env_drop; /* names taken out of the environment; NULL for none */
    const char *dir;             /* working directory; NULL: ours */
    int timeout_ms;              /* 0: none; then the group is killed and ERR_TIMEOUT returned */
    size_t max_output; /* bytes of standard output and error kept; more is read and dropped */
    /* Called about every 100 ms while it runs (progress); non-zero kills it: ERR_CANCELLED. May be
     * NULL. */
    int (*tick)(void *ctx);
    void *ctx;
};

/* Run to its end. *status is the exit code, or 128 + signal. Output is collected in out and errout
 * (either may be NULL: dropped). Standard input is empty. ERR_NOT_FOUND when there is no such
 * program. */
int child_run(const struct child_opts *o, struct buf *out, struct buf *errout, int *status,
              struct err *e);

#endif
