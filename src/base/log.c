/* log.c: one line a message, written with one call so that threads do not interleave. */
#include "log.h"

#include "clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int threshold = LOG_WARN;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if ((int)level > atomic_load(&threshold))
        return;
    char line[1024], when[32];
    int at = snprintf(line, sizeof line, "%s %s: ", clock_iso(clock_wall_ms(), when), names[level]);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line + at, sizeof line - (size_t)at - 1, fmt, ap);
    va_end(ap);
    size_t len = (size_t)at + (n < 0 ? 0 : (size_t)n);
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    line[len] = '\n';
    fwrite(line, 1, len + 1, stderr);
}
