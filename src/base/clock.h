/* clock.h: the two clocks. Durations use the monotonic one, rows and logs the wall clock. */
#ifndef WEIR_CLOCK_H
#define WEIR_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ns(void);
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC */
/* "2026-11-24T18:22:05.123Z" into out, at least 25 bytes; returns out. */
char *clock_iso(int64_t wall_ms, char out[static 32]);

#endif
