/* store_int.h: between the files of store/. */
#ifndef WEIR_STORE_INT_H
#define WEIR_STORE_INT_H

#include "store.h"

#include <sqlite3.h>

#define STORE_PATH_MAX 4096
#define STORE_APPLICATION 0x77656972 /* "weir", in the file's header */

/* schema.c: the tables of weir.db. */
extern const struct store_migration schema_table[];
extern const size_t schema_count;

/* database.c */
int database_path(const char *home, char out[static STORE_PATH_MAX], struct err *e);
/* The writer's connection: created, checked, set up, migrated. */
int database_open(const char *home, int max_pages, sqlite3 **out, struct err *e);

#endif
