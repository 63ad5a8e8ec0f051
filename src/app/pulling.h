/* pulling.h: models by name, for commands that run without the server: where a model lies, and
 * fetching one. */
#ifndef WEIR_PULLING_H
#define WEIR_PULLING_H

#include "library.h"
#include "settings.h"

/* The library as these settings and the environment (HF_TOKEN, HOME, OLLAMA_MODELS) say. The
 * strings are borrowed. fetch: NULL: no network. */
struct library_params pulling_params(const struct settings *s, const struct library_fetch *fetch);
/* The library's downloads through the one way out: any thread. eg outlives it. */
struct egress;
struct library_fetch pulling_way_out(struct egress *eg);

/* The path of a model's file: NAME in the library, or a path to a GGUF. malloc'd. ERR_NOT_FOUND
 * lists near names. */
int pulling_path(const struct settings *s, const char *name, char **path, struct err *e);
/* *out (may be NULL) is the caller's to free. Fetch with a progress bar a file on standard error (a
 * line every few seconds when it is not a terminal). ^C stops it: ERR_CANCELLED. */
int pulling_fetch(const struct settings *s, const char *what, struct library_item *out,
                  struct err *e);
/* The same around another long work: do_it gets a library with the network and a watch that draws
 * the bar. */
int pulling_with(const struct settings *s,
                 int (*do_it)(void *ctx, const struct library *l, const struct library_watch *watch,
                              struct err *e),
                 void *ctx, struct err *e);
/* Fetch the default model if it is not here. */
int pulling_default(const struct settings *s, struct err *e);

#endif
