/* provider.h: everything that answers over a socket: the table of providers, and each of them as a
 * gen_backend.
 *
 * Rows: the built-in ones (openai, openrouter, anthropic), those of the configuration
 * ([provider.NAME]), and model servers found running on this machine (ollama, lmstudio, llamacpp,
 * vllm). A row has a base URL, a dialect, a zone and models. The zone belongs to the row's model,
 * never to the address: the openai row on loopback is cloud, and so is an Ollama model whose name
 * ends in ":cloud" or "-cloud". A key comes from the environment or a 0600 file, stands in memory
 * only, is wiped when freed, and is in no message, log, argument or table.
 *
 * All calls belong to the loop's thread, but describe() and count() of a backend, which any thread
 * may call while no row is being added. A row that was added stays until provider_free. */
#ifndef WEIR_PROVIDER_H
#define WEIR_PROVIDER_H

#include "egress.h"
#include "gen.h"
#include "net.h"
#include "wire.h"

struct provider_table;
struct provider;

struct provider_params {
    struct egress *egress;
    struct net_loop *loop;
    /* Deadlines. first: until the first event of a streamed answer; whole: until an answer that is
     * not streamed has come; idle: between events (a keep-alive comment is none). 0: 10 s, 120 s,
     * 600 s, 90 s. A request of high effort may think four times as long before its first event. */
    int connect_ms, first_ms, whole_ms, idle_ms;
    /* NULL: getenv. For tests. */
    const char *(*env)(const char *name);
};

/* The built-in rows, with what the environment says about them: OPENAI_API_KEY, OPENAI_BASE_URL,
 * OPENAI_ORG_ID, OPENAI_PROJECT_ID, ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_BASE_URL,
 * OPENROUTER_API_KEY, OPENROUTER_BASE_URL. */
int provider_table_new(const struct provider_params *p, struct provider_table **out, struct err *e);
void provider_table_free(struct provider_table *t); /* no run may be under way; NULL is fine */

/* A [provider.NAME] section, or more keys for a row that exists. Keys: url, dialect (openai,
 * anthropic, responses, ollama), zone (cloud, site, device), models (ids, separated by commas),
 * key_env, key_file, context, max_output, caps (words of gen_caps, separated by commas), unix (a
 * socket's path), connect_ms, first_ms, whole_ms, idle_ms (this row's own deadlines, as in
 * provider_params).
 * ERR_INVAL names the key; a key_file that others may read is ERR_POLICY and names the file. */
struct provider_kv {
    const char *key, *value;
};
int provider_add(struct provider_table *t, const char *name, const struct provider_kv *kv, size_t n,
                 struct err *e);

/* Look for model servers on this machine's usual ports (Ollama 11434, LM Studio 1234, llama-server
 * 8080, vLLM 8000), ask each for its models, and add or refresh its row (zone site). done(ctx,
 * rows found) comes on the loop. */
int provider_scan(struct provider_table *t, void (*done)(void *ctx, int found), void *ctx,
                  struct err *e);

/* ---- reading the table ---- */

struct provider_model {
    struct str id; /* as the provider calls it */
    enum gen_zone zone;
    struct gen_caps caps;
};

struct provider_info {
    const char *name, *url;
    enum gen_dialect dialect;
    enum gen_zone zone;
    const char *source; /* "built in", "config", "found" */
    bool needs_key;     /* built-in rows, and those with key_env or key_file */
    bool has_key;
    const char *key_source; /* "OPENAI_API_KEY", or the file's name; NULL: no key */
    const struct provider_model *models;
    size_t nmodels;
};

size_t provider_count(const struct provider_table *t);
struct provider *provider_at(struct provider_table *t, size_t i);
struct provider *provider_find(struct provider_table *t, struct str name); /* NULL: none */
void provider_describe(const struct provider *p, struct provider_info *out);
/* The zone a model of this row has, known or not. */
enum gen_zone provider_zone(const struct provider *p, struct str model);
/* "openai/gpt-5" into its row and model; a bare id that exactly one usable row lists is found too.
 * ERR_NOT_FOUND. */
int provider_resolve(struct provider_table *t, struct str name, struct provider **row,
                     struct str *model, struct err *e);

/* What the router must know about a row. Times are clock_wall_ms; 0: never. */
struct provider_facts {
    bool usable; /* has a key, or needs none */
    int64_t last_ok_ms;
    int64_t last_fail_ms;
    int last_fail_code;       /* err.h */
    int fails;                /* in a row, since the last success */
    int64_t limited_until_ms; /* 429: not before then */
};
void provider_facts(const struct provider *p, struct provider_facts *out);

/* ---- calling ---- */

/* The row as a backend; `model` of its operations is the provider's own id. count() estimates
 * (exact = false). An answer without usage gets an estimated one. No retries: fail-over belongs to
 * the pipeline. */
struct gen_backend *provider_backend(struct provider *p);

/* GET the row's models; done(ctx, err) on the loop, err NULL when it answered; the row's list then
 * holds what it said (known facts of a model are kept). */
int provider_test(struct provider *p, void (*done)(void *ctx, const struct err *err), void *ctx,
                  struct err *e);

#endif
