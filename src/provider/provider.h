/* provider.h: the table of providers and each of them as a gen_backend.
 *
 * A row is a place that answers: its address, dialect, zone, key and models. Built-in rows (openai,
 * openrouter, anthropic), rows of the configuration ([provider.NAME]) and model servers found on
 * this machine are the same thing. The zone belongs to the row's model, not to its address. Keys
 * never appear in errors or anywhere else. Everything here lives on the loop's thread, except where
 * a line says otherwise. */
#ifndef WEIR_PROVIDER_H
#define WEIR_PROVIDER_H

#include "egress.h"
#include "gen.h"
#include "wire.h"

struct providers;

/* One `key = value` of a section [provider.NAME], as the configuration file has it. */
struct provider_setting {
    const char *provider, *key, *value;
};

struct providers_params {
    struct egress *egress;
    const struct provider_setting *settings;
    size_t nsettings;
    const char *(*env)(const char *name); /* NULL: getenv */
};

/* ERR_INVAL names the provider and key that make no sense; a key file that others may read is
 * ERR_POLICY. */
int providers_new(const struct providers_params *p, struct providers **out, struct err *e);
void providers_free(
    struct providers *ps); /* wipes the keys; no run may be under way; NULL is fine */

/* Look for model servers on this machine's usual ports. Blocking, some 100 ms a port at most; call
 * it before the loop runs or on a worker while nothing else uses `ps`. Adds rows (found = true,
 * zone site) with their models. */
void providers_discover(struct providers *ps);

/* One model of one provider, as a candidate for the router. Strings live as long as `ps`. */
struct provider_model {
    const char *provider, *id; /* "openai", "gpt-5" */
    enum gen_zone zone;
    enum gen_dialect dialect;
    struct gen_caps caps;
    double quality; /* 0 to 10 (8: a 70B model, 9.5: the best that can be rented); < 0: unknown */
    const char *quality_source;
    bool on_machine; /* reached over loopback or a Unix socket */
    bool no_key;     /* it wants one and there is none: an example, never a candidate */
    bool found;      /* by providers_discover */
    bool healthy;
    const char *health_note;  /* why not; NULL */
    int64_t limited_until_ms; /* wall clock: it answered 429; 0: not limited */
};
/* The i-th model over all rows; false past the end. now_ms: wall clock, ends old limits and
 * failures. */
bool providers_model_at(struct providers *ps, size_t i, int64_t now_ms, struct provider_model *out);

/* The backend of a row; NULL: no such row. Owned by `ps`. gen_backend_ops' `model` is the row's own
 * id. */
struct gen_backend *providers_backend(struct providers *ps, struct str provider);

/* One row, for `weir provider list` and the page. */
struct provider_row {
    const char *name, *url; /* url: without userinfo */
    enum gen_dialect dialect;
    enum gen_zone zone;
    bool key, found, configured; /* key: it has one; configured: from the file or environment */
    const char *key_source;      /* "OPENAI_API_KEY", "key_file", NULL */
    size_t nmodels;
};
bool providers_row_at(struct providers *ps, size_t i, struct provider_row *out);

/* Ask the row for its models (GET /models): proves address, key and gate. done on the loop, once:
 * err NULL when it answered; nmodels then counts them. */
int providers_test(struct providers *ps, struct str provider,
                   void (*done)(void *ctx, const struct err *err, size_t nmodels, int64_t ms),
                   void *ctx, struct err *e);

#endif
