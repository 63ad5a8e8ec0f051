/* provider_table.c: the table of providers: its built-in rows, the configuration's, and what may
 * be asked of it. Owns the rows and their models. Dials nothing. */
#include "provider_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

int row_set(char **slot, const char *value, struct err *e)
{
    char *copy = value ? strdup(value) : NULL;
    if (value && !copy)
        return err_set(e, ERR_NOMEM, "out of memory for a provider");
    free(*slot);
    *slot = copy;
    return 0;
}

struct provider *row_new(struct provider_table *t, const char *name, enum gen_dialect d,
                         enum gen_zone zone, const char *source)
{
    struct provider *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->backend.ops = &provider_ops;
    p->table = t;
    p->dialect = d;
    p->zone = zone;
    p->source = source;
    p->name = strdup(name);
    p->defaults = (struct gen_caps){.chat = true, .tools = true};
    p->quirks.max_tokens_old = true; /* what every compatible server knows */
    if (p->name)
        return p;
    row_free(p);
    return NULL;
}

void row_clear_models(struct provider *p)
{
    for (size_t i = 0; i < p->nmodels; i++)
        free((char *)(uintptr_t)p->models[i].id.p);
    free(p->models);
    p->models = NULL;
    p->nmodels = 0;
}

void row_free(struct provider *p)
{
    if (!p)
        return;
    key_wipe(p->key);
    row_clear_models(p);
    free(p->key_source);
    free(p->organization);
    free(p->project);
    free(p->unix_path);
    free(p->url);
    free(p->name);
    free(p);
}

struct provider *table_add(struct provider_table *t, const char *name, enum gen_dialect d,
                           enum gen_zone zone, const char *source, struct err *e)
{
    if (t->nrows >= PROVIDER_MAX_ROWS) {
        err_set(e, ERR_LIMIT, "more than %d providers", PROVIDER_MAX_ROWS);
        return NULL;
    }
    struct provider *p = row_new(t, name, d, zone, source);
    if (!p)
        err_set(e, ERR_NOMEM, "out of memory for a provider");
    else
        t->rows[t->nrows++] = p;
    return p;
}

struct provider_model *row_model(struct provider *p, struct str id, bool add)
{
    for (size_t i = 0; i < p->nmodels; i++) {
        if (str_eq(p->models[i].id, id))
            return &p->models[i];
    }
    if (!add || p->nmodels >= PROVIDER_MAX_MODELS || !id.n)
        return NULL;
    struct provider_model *bigger = realloc(p->models, (p->nmodels + 1) * sizeof *bigger);
    if (!bigger)
        return NULL;
    p->models = bigger;
    char *own = strndup(id.p, id.n);
    if (!own)
        return NULL;
    struct provider_model *m = &bigger[p->nmodels++];
    *m = (struct provider_model){.id = str_of(own), .caps = models_guess(id, &p->defaults)};
    m->zone = provider_zone(p, id);
    return m;
}

/* ---- built in ---- */

static const char *from_env(const struct provider_table *t, const char *name)
{
    const char *v = t->params.env ? t->params.env(name) : getenv(name);
    return v && *v ? v : NULL;
}

static int add_built_in(struct provider_table *t, const char *name, enum gen_dialect d,
                        const char *url, const char *url_env, const char *key_env, struct err *e)
{
    const char *base = from_env(t, url_env), *key = from_env(t, key_env);
    struct provider *p = table_add(t, name, d, GEN_CLOUD, "built in", e);
    if (!p)
        return e ? e->code : ERR_NOMEM;
    p->needs_key = true;
    p->defaults = (struct gen_caps){.chat = true, .tools = true, .images = true};
    int rc = row_set(&p->url, base ? base : url, e);
    if (!rc && key)
        rc = key_set(p, key, key_env, e);
    return rc ? rc : models_add_known(p, e);
}

static int add_rows(struct provider_table *t, struct err *e)
{
    int rc = add_built_in(t, "openai", GEN_DIALECT_OPENAI, "https://api.openai.com/v1",
                          "OPENAI_BASE_URL", "OPENAI_API_KEY", e);
    if (rc)
        return rc;
    struct provider *openai = t->rows[0];
    openai->quirks = (struct wire_quirks){.no_reasoning = true};
    if ((rc = row_set(&openai->organization, from_env(t, "OPENAI_ORG_ID"), e)))
        return rc;
    if ((rc = row_set(&openai->project, from_env(t, "OPENAI_PROJECT_ID"), e)))
        return rc;
    if ((rc = add_built_in(t, "openrouter", GEN_DIALECT_OPENAI, "https://openrouter.ai/api/v1",
                           "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY", e)))
        return rc;
    if ((rc = add_built_in(t, "anthropic", GEN_DIALECT_ANTHROPIC, "https://api.anthropic.com",
                           "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", e)))
        return rc;
    struct provider *anthropic = t->rows[2];
    const char *token = from_env(t, "ANTHROPIC_AUTH_TOKEN");
    if (!token || anthropic->key)
        return 0;
    anthropic->bearer = true;
    return key_set(anthropic, token, "ANTHROPIC_AUTH_TOKEN", e);
}

int provider_table_new(const struct provider_params *p, struct provider_table **out, struct err *e)
{
    struct err mine = {0};
    struct provider_table *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "out of memory for the providers");
    t->params = *p;
    t->params.connect_ms = p->connect_ms ? p->connect_ms : 10 * 1000;
    t->params.first_ms = p->first_ms ? p->first_ms : 120 * 1000;
    t->params.whole_ms = p->whole_ms ? p->whole_ms : 600 * 1000;
    t->params.idle_ms = p->idle_ms ? p->idle_ms : 90 * 1000;
    int rc = add_rows(t, &mine);
    if (rc) {
        if (e)
            *e = mine;
        provider_table_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void provider_table_free(struct provider_table *t)
{
    for (size_t i = 0; t && i < t->nrows; i++)
        row_free(t->rows[i]);
    free(t);
}

/* ---- configuration ---- */

static int set_zone(struct provider *p, struct str v, struct err *e)
{
    static const char *const words[] = {"device", "site", "cloud"};
    for (size_t i = 0; i < 3; i++) {
        if (str_is(v, words[i])) {
            p->zone = (enum gen_zone)i;
            return 0;
        }
    }
    return err_set(e, ERR_INVAL, "zone must be device, site or cloud, not \"%.*s\"", STR_ARG(v));
}

/* An address without a path is a server whose API stands under /v1, as all of them have it. */
static int set_url(struct provider *p, struct str v, struct err *e)
{
    char url[1024];
    struct str rest = v;
    if (str_istarts(v, STR("https://")))
        rest = str_n(v.p + 8, v.n - 8);
    else if (str_istarts(v, STR("http://")))
        rest = str_n(v.p + 7, v.n - 7);
    if (rest.n == v.n || !rest.n || v.n > 900)
        return err_set(e, ERR_INVAL, "url must begin with http:// or https://");
    if (memchr(rest.p, '@', rest.n))
        return err_set(e, ERR_INVAL, "url must not hold a user's name or a key");
    while (v.n && v.p[v.n - 1] == '/')
        v.n--;
    bool bare = !memchr(rest.p, '/', (size_t)(v.p + v.n - rest.p));
    snprintf(url, sizeof url, "%.*s%s", STR_ARG(v),
             bare && (p->dialect == GEN_DIALECT_OPENAI || p->dialect == GEN_DIALECT_RESPONSES)
                 ? "/v1"
                 : "");
    return row_set(&p->url, url, e);
}

static int set_models(struct provider *p, struct str v, struct err *e)
{
    row_clear_models(p);
    while (v.n) {
        struct str id;
        str_cut(v, ',', &id, &v);
        id = str_trim(id);
        if (id.n && !row_model(p, id, true))
            return err_set(e, ERR_NOMEM, "models: out of memory, or more than %d",
                           PROVIDER_MAX_MODELS);
    }
    p->closed = p->nmodels > 0;
    return 0;
}

static int set_count(struct str v, int64_t *out, struct err *e)
{
    int64_t n;
    if (!str_to_i64(v, &n) || n < 1)
        return err_set(e, ERR_INVAL, "must be a number of tokens, not \"%.*s\"", STR_ARG(v));
    *out = n;
    return 0;
}

static int set_ms(struct str v, int *out, struct err *e)
{
    int64_t n;
    if (!str_to_i64(v, &n) || n < 1 || n > 24 * 3600 * 1000)
        return err_set(e, ERR_INVAL, "must be 1 to 86400000 milliseconds, not \"%.*s\"",
                       STR_ARG(v));
    *out = (int)n;
    return 0;
}

static int set_key_env(struct provider *p, const char *name, struct err *e)
{
    const char *key = from_env(p->table, name);
    p->needs_key = true;
    return key ? key_set(p, key, name, e) : row_set(&p->key_source, name, e);
}

static int set_key_file(struct provider *p, const char *path, struct err *e)
{
    p->needs_key = true;
    return key_read_file(p, path, e);
}

static int set_one(struct provider *p, const char *key, const char *value, struct err *e)
{
    struct str k = str_of(key), v = str_trim(str_of(value));
    if (str_is(k, "url"))
        return set_url(p, v, e);
    if (str_is(k, "zone"))
        return set_zone(p, v, e);
    if (str_is(k, "dialect"))
        return wire_dialect_find(v, &p->dialect)
                   ? 0
                   : err_set(e, ERR_INVAL,
                             "dialect must be openai, anthropic, responses or ollama");
    if (str_is(k, "models"))
        return set_models(p, v, e);
    if (str_is(k, "key_env"))
        return set_key_env(p, value, e);
    if (str_is(k, "key_file"))
        return set_key_file(p, value, e);
    if (str_is(k, "unix"))
        return row_set(&p->unix_path, value, e);
    if (str_is(k, "context"))
        return set_count(v, &p->defaults.context, e);
    if (str_is(k, "max_output"))
        return set_count(v, &p->defaults.max_output, e);
    if (str_is(k, "caps"))
        return caps_parse(v, &p->defaults, e);
    if (str_is(k, "connect_ms"))
        return set_ms(v, &p->connect_ms, e);
    if (str_is(k, "first_ms"))
        return set_ms(v, &p->first_ms, e);
    if (str_is(k, "whole_ms"))
        return set_ms(v, &p->whole_ms, e);
    if (str_is(k, "idle_ms"))
        return set_ms(v, &p->idle_ms, e);
    return err_set(e, ERR_INVAL, "unknown key");
}

/* The keys that others depend on come first, in whatever order the file has them. */
static int set_all(struct provider *p, const struct provider_kv *kv, size_t n, struct err *e)
{
    static const char *const first[] = {"dialect", "zone", "context", "max_output", "caps"};
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++) {
            struct err why = {0};
            size_t f = 0;
            while (f < 5 && strcmp(first[f], kv[i].key))
                f++;
            if ((f < 5) != (pass == 0))
                continue;
            if (set_one(p, kv[i].key, kv[i].value, &why))
                return err_set(e, why.code, "provider.%s: %s: %s", p->name, kv[i].key, why.msg);
        }
    }
    if (!p->url && p->unix_path)
        return row_set(&p->url, "http://localhost/v1", e);
    if (!p->url)
        return err_set(e, ERR_INVAL, "provider.%s: url is missing", p->name);
    return 0;
}

static bool good_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.");
    return n > 0 && n <= 40 && !name[n];
}

int provider_add(struct provider_table *t, const char *name, const struct provider_kv *kv, size_t n,
                 struct err *e)
{
    struct err mine = {0};
    struct provider *p = provider_find(t, str_of(name));
    bool fresh = !p;
    if (!good_name(name))
        return err_set(e, ERR_INVAL, "provider.%s: a name is a-z, 0-9, _, - and .", name);
    if (!p && !(p = table_add(t, name, GEN_DIALECT_OPENAI, GEN_CLOUD, "config", &mine)))
        return err_set(e, mine.code, "%s", mine.msg);
    int rc = set_all(p, kv, n, &mine);
    for (size_t i = 0; !rc && i < p->nmodels; i++) {
        p->models[i].zone = provider_zone(p, p->models[i].id);
        bool effort;
        if (p->closed && !models_known(p->name, p->models[i].id, &p->models[i].caps, &effort))
            p->models[i].caps = models_guess(p->models[i].id, &p->defaults);
    }
    if (!rc)
        return 0;
    if (fresh)
        row_free(t->rows[--t->nrows]);
    if (e)
        *e = mine;
    return rc;
}

/* ---- reading ---- */

size_t provider_count(const struct provider_table *t)
{
    return t->nrows;
}

struct provider *provider_at(struct provider_table *t, size_t i)
{
    return i < t->nrows ? t->rows[i] : NULL;
}

struct provider *provider_find(struct provider_table *t, struct str name)
{
    for (size_t i = 0; i < t->nrows; i++) {
        if (str_is(name, t->rows[i]->name))
            return t->rows[i];
    }
    return NULL;
}

void provider_describe(const struct provider *p, struct provider_info *out)
{
    *out = (struct provider_info){.name = p->name,
                                  .url = p->url,
                                  .dialect = p->dialect,
                                  .zone = p->zone,
                                  .source = p->source,
                                  .needs_key = p->needs_key,
                                  .has_key = p->key != NULL,
                                  .key_source = p->key_source,
                                  .models = p->models,
                                  .nmodels = p->nmodels};
}

/* Ollama runs models of this name elsewhere, whatever machine it stands on itself. */
enum gen_zone provider_zone(const struct provider *p, struct str model)
{
    if (str_ends(model, STR(":cloud")) || str_ends(model, STR("-cloud")))
        return GEN_CLOUD;
    return p->zone;
}

static bool usable(const struct provider *p)
{
    return p->key || !p->needs_key;
}

void provider_facts(const struct provider *p, struct provider_facts *out)
{
    *out = p->facts;
    out->usable = usable(p);
}

int provider_resolve(struct provider_table *t, struct str name, struct provider **row,
                     struct str *model, struct err *e)
{
    struct str head, tail;
    struct provider *found = NULL;
    if (str_cut(name, '/', &head, &tail) && tail.n && (found = provider_find(t, head))) {
        *row = found;
        *model = tail;
        return 0;
    }
    for (size_t i = 0; i < t->nrows; i++) {
        if (!usable(t->rows[i]) || !row_model(t->rows[i], name, false))
            continue;
        if (found)
            return err_set(e, ERR_NOT_FOUND, "%.*s is at %s and at %s: say which, as %s/%.*s",
                           STR_ARG(name), found->name, t->rows[i]->name, found->name,
                           STR_ARG(name));
        found = t->rows[i];
    }
    if (!found)
        return err_set(e, ERR_NOT_FOUND, "no provider has a model \"%.*s\"", STR_ARG(name));
    *row = found;
    *model = name;
    return 0;
}

struct gen_backend *provider_backend(struct provider *p)
{
    return &p->backend;
}
