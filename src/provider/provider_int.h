/* provider_int.h: a row of the table, and what the files of this folder share. */
#ifndef WEIR_PROVIDER_INT_H
#define WEIR_PROVIDER_INT_H

#include "provider.h"

#include <jansson.h>

enum { PROVIDER_MAX_ROWS = 64, PROVIDER_MAX_MODELS = 4096 };

struct provider {
    struct gen_backend backend; /* first: a backend is its row */
    struct provider_table *table;
    char *name, *url, *unix_path;
    enum gen_dialect dialect;
    enum gen_zone zone;
    const char *source;
    bool needs_key;
    char *key, *key_source;
    bool bearer; /* Anthropic's auth token travels as Authorization, its key as x-api-key */
    char *organization, *project;
    bool closed; /* only the listed models exist here */
    struct provider_model *models;
    size_t nmodels;
    int connect_ms, first_ms, whole_ms, idle_ms; /* 0: the table's */
    struct gen_caps defaults;                    /* of models nobody knows anything about */
    struct wire_quirks quirks;
    struct provider_facts facts;
};

struct provider_table {
    struct provider_params params;
    struct provider *rows[PROVIDER_MAX_ROWS]; /* by pointer: handles stay valid */
    size_t nrows;
};

/* ---- provider_table.c ---- */
struct provider *table_add(struct provider_table *t, const char *name, enum gen_dialect d,
                           enum gen_zone zone, const char *source, struct err *e);
/* A row outside any table, for a server that has not answered yet. */
struct provider *row_new(struct provider_table *t, const char *name, enum gen_dialect d,
                         enum gen_zone zone, const char *source);
void row_free(struct provider *p);
int row_set(char **slot, const char *value, struct err *e); /* replaces; value NULL: clears */
/* Adds a model, or returns the one that is there; NULL: out of memory or too many. */
struct provider_model *row_model(struct provider *p, struct str id, bool add);
void row_clear_models(struct provider *p);

/* ---- provider_key.c ---- */
int key_set(struct provider *p, const char *key, const char *source, struct err *e);
int key_read_file(struct provider *p, const char *path, struct err *e);
void key_wipe(char *key);
/* The headers of a call, NULL-terminated; wiped and freed by headers_free. */
char **headers_new(const struct provider *p, bool body, bool stream);
void headers_free(char **h);
/* An error for a person: the row's name before it, and nothing in it that looks like the key. */
void key_scrub(const struct provider *p, struct err *e);
/* URL of a path under the row's base: "/chat/completions", "/models", "/messages". */
char *row_url(const struct provider *p, const char *path);

/* ---- provider_models.c ---- */
/* What is known of a built-in row's models. */
/* What a model that nothing is known of can do, by its name. */
struct gen_caps models_guess(struct str id, const struct gen_caps *defaults);
int models_add_known(struct provider *p, struct err *e);
bool models_known(const char *row, struct str id, struct gen_caps *out, bool *effort);
int caps_parse(struct str words, struct gen_caps *out, struct err *e);

/* ---- provider_run.c ---- */
extern const struct gen_backend_ops provider_ops;
void row_note(struct provider *p, const struct err *err); /* NULL: it answered */

#endif
