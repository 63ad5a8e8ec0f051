/* pulling.h: models by name, for commands that run without the server: where a model lies, and
 * fetching one. */
#ifndef WEIR_PULLING_H
#define WEIR_PULLING_H

#include "library.h"
#include "settings.h"

/* The path of a model's file: NAME in the library, or a path to a GGUF. malloc'd. ERR_NOT_FOUND
 * lists near names. */
int pulling_path(const struct settings *s, const char *name, char **path, struct err *e);
/* *out (may be NULL) is the caller's to free. Fetch with a progress bar on standard error (a line
 * every few seconds when it is not a terminal).
 */
int pulling_fetch(const struct settings *s, const char *what, struct library_item *out,
                  struct err *e);
/* Fetch the default model if it is not here. */
int pulling_default(const struct settings *s, struct err *e);

#endif
