/* slice.h: how long a thread means to keep a processor that it is given. */
#ifndef WEIR_SLICE_H
#define WEIR_SLICE_H

#define SLICE_SHORT_NS 100000

/* The calling thread works for microseconds at a time and is waited for: Linux (6.12 and later)
 * then lets it in at once where threads compute, which otherwise keep their processor until the
 * next tick, some milliseconds. It gets no more of the processor than before, and what it starts
 * (threads, processes) has slices like everybody's. Elsewhere, and where the process was given
 * precedence anyway (a negative nice, a real-time policy), nothing. */
void slice_shorten(void);

#endif
