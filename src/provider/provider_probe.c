/* provider_probe.c: asking a provider for its models: to test a row and its key, and to find model
 * servers that run on this machine. Carries no request's data. */
#include "provider_int.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LIST = 8 << 20, PROBE_MS = 200, LIST_MS = 5000 };

/* ---- one list ---- */

struct asking {
    struct provider *p;
    struct egress_row row;
    char **headers;
    char *url;
    struct buf body;
    int status, retry_after_s;
    void (*done)(void *ctx, const struct err *err);
    void *ctx;
};

static void asking_free(struct asking *a)
{
    headers_free(a->headers);
    free(a->url);
    buf_done(&a->body);
    free(a);
}

static void on_head(void *ctx, int status, struct str type, int retry_after_s)
{
    struct asking *a = ctx;
    (void)type;
    a->status = status;
    a->retry_after_s = retry_after_s;
}

static enum gen_verdict on_data(void *ctx, struct str bytes)
{
    struct asking *a = ctx;
    buf_str_add(&a->body, bytes);
    return buf_failed(&a->body) ? GEN_CANCEL : GEN_GO;
}

static int64_t number(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 && n < INT32_MAX ? n : 0;
}

/* vLLM says max_model_len, OpenRouter context_length, LM Studio max_context_length, llama-server
 * meta.n_ctx_train. */
static void read_context(const json_t *o, struct gen_caps *caps)
{
    int64_t n = number(o, "max_model_len");
    if (!n)
        n = number(o, "context_length");
    if (!n)
        n = number(o, "max_context_length");
    if (!n)
        n = number(json_object_get(o, "meta"), "n_ctx_train");
    if (n && !caps->context)
        caps->context = n;
}

/* The built-in rows keep their own list (a provider's holds embeddings, voices and what else it
 * sells); others get what the server says, unless the configuration names the models. */
static int take_list(struct provider *p, const json_t *list, struct err *e)
{
    if (!strcmp(p->source, "built in") || (p->closed && !strcmp(p->source, "config")))
        return 0;
    row_clear_models(p);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        const json_t *id = json_object_get(o, p->dialect == GEN_DIALECT_OLLAMA ? "model" : "id");
        struct str s = str_n(json_string_value(id), json_string_length(id));
        if (!s.n || str_find(s, STR("embed"), 0) != SIZE_MAX)
            continue;
        struct provider_model *m = row_model(p, s, true);
        if (!m)
            return err_set(e, ERR_LIMIT, "%s: more than %d models", p->name, PROVIDER_MAX_MODELS);
        read_context(o, &m->caps);
    }
    p->closed = !strcmp(p->source, "found");
    return 0;
}

static int read_list(struct asking *a, struct err *e)
{
    json_error_t je;
    if (a->status < 200 || a->status > 299)
        return wire_error_decode(a->p->dialect, a->status, buf_str(&a->body), a->retry_after_s, e);
    json_t *v = json_loadb(a->body.p ? a->body.p : "", a->body.n, JSON_ALLOW_NUL, &je);
    bool ollama = a->p->dialect == GEN_DIALECT_OLLAMA;
    const json_t *list = json_object_get(v, ollama ? "models" : "data");
    int rc = json_is_array(list)
                 ? take_list(a->p, list, e)
                 : err_set(e, ERR_UPSTREAM, "what it calls its models is not a list");
    json_decref(v);
    return rc;
}

static void on_end(void *ctx, const struct err *err)
{
    struct asking *a = ctx;
    struct err e = {0};
    int rc = buf_failed(&a->body)
                 ? err_set(&e, ERR_UPSTREAM, "its list of models is larger than %d bytes", MAX_LIST)
             : err ? (e = *err, err->code)
                   : read_list(a, &e);
    if (rc)
        key_scrub(a->p, &e);
    row_note(a->p, rc ? &e : NULL);
    a->done(a->ctx, rc ? &e : NULL);
    asking_free(a);
}

static int ask(struct provider *p, void (*done)(void *ctx, const struct err *err), void *ctx,
               struct err *e)
{
    struct egress_run *run;
    struct asking *a = calloc(1, sizeof *a);
    if (!a)
        return err_set(e, ERR_NOMEM, "%s: out of memory", p->name);
    a->p = p;
    a->done = done;
    a->ctx = ctx;
    a->row = (struct egress_row){.name = p->name, .zone = p->zone, .unix_path = p->unix_path};
    a->headers = headers_new(p, false, false);
    a->url = row_url(p, p->dialect == GEN_DIALECT_OLLAMA ? "/api/tags" : "/models");
    buf_init(&a->body, MAX_LIST);
    struct egress_call call = {.row = &a->row,
                               .req_zone = p->zone, /* of nobody's request */
                               .rule = "models",
                               .method = "GET",
                               .url = a->url,
                               .headers = (const char *const *)a->headers,
                               .connect_ms = LIST_MS,
                               .first_ms = 3 * LIST_MS,
                               .idle_ms = LIST_MS,
                               .head = on_head,
                               .data = on_data,
                               .end = on_end,
                               .ctx = a};
    int rc = a->headers && a->url ? egress_start(p->table->params.egress, &call, &run, e)
                                  : err_set(e, ERR_NOMEM, "%s: out of memory", p->name);
    if (rc)
        asking_free(a);
    return rc;
}

int provider_test(struct provider *p, void (*done)(void *ctx, const struct err *err), void *ctx,
                  struct err *e)
{
    if (p->needs_key && !p->key)
        return err_set(e, ERR_AUTH, "%s: no key%s%s", p->name, p->key_source ? ": set " : "",
                       p->key_source ? p->key_source : "");
    return ask(p, done, ctx, e);
}

/* ---- this machine's servers ---- */

static const struct {
    const char *name;
    int port;
    const char *url;
} usual[] = {
    {"ollama", 11434, "http://127.0.0.1:11434/v1"},
    {"lmstudio", 1234, "http://127.0.0.1:1234/v1"},
    {"llamacpp", 8080, "http://127.0.0.1:8080/v1"},
    {"vllm", 8000, "http://127.0.0.1:8000/v1"},
};
enum { USUAL = sizeof usual / sizeof usual[0] };

struct scan {
    struct provider_table *t;
    bool open[USUAL];
    struct visit {
        struct scan *scan;
        struct provider *row; /* not in the table until it has answered */
    } visits[USUAL];
    int waiting, found;
    void (*done)(void *ctx, int found);
    void *ctx;
};

static void probe(void *ctx)
{
    struct scan *s = ctx;
    for (size_t i = 0; i < USUAL; i++)
        s->open[i] = egress_probe(s->t->params.egress, usual[i].port, PROBE_MS);
}

static void finish_one(struct scan *s)
{
    if (--s->waiting)
        return;
    s->done(s->ctx, s->found);
    free(s);
}

/* The row that answered joins the table, or gives its models to the one found earlier. */
static void adopt(struct visit *v)
{
    struct provider_table *t = v->scan->t;
    struct provider *old = provider_find(t, str_of(v->row->name));
    if (!old && t->nrows < PROVIDER_MAX_ROWS) {
        t->rows[t->nrows++] = v->row;
        v->row = NULL;
        v->scan->found++;
    } else if (old && !strcmp(old->source, "found")) {
        row_clear_models(old);
        old->models = v->row->models;
        old->nmodels = v->row->nmodels;
        old->facts = v->row->facts;
        v->row->models = NULL;
        v->row->nmodels = 0;
        v->scan->found++;
    }
}

static void answered(void *ctx, const struct err *err)
{
    struct visit *v = ctx;
    struct scan *s = v->scan;
    if (!err && v->row->nmodels)
        adopt(v);
    row_free(v->row);
    v->row = NULL;
    finish_one(s);
}

static void visit(struct scan *s, size_t i)
{
    struct visit *v = &s->visits[i];
    struct provider *old = provider_find(s->t, str_of(usual[i].name));
    if (old && strcmp(old->source, "found"))
        return; /* the configuration speaks for it */
    v->scan = s;
    v->row = row_new(s->t, usual[i].name, GEN_DIALECT_OPENAI, GEN_SITE, "found");
    if (!v->row || row_set(&v->row->url, usual[i].url, NULL)) {
        row_free(v->row);
        return;
    }
    v->row->quirks.repeat_penalty = usual[i].port == 8080 || usual[i].port == 1234;
    s->waiting++;
    if (ask(v->row, answered, v, NULL)) {
        s->waiting--;
        row_free(v->row);
    }
}

static void probed(void *ctx)
{
    struct scan *s = ctx;
    s->waiting = 1; /* ours, until all are on their way */
    for (size_t i = 0; i < USUAL; i++) {
        struct provider *old = provider_find(s->t, str_of(usual[i].name));
        if (s->open[i])
            visit(s, i);
        else if (old && !strcmp(old->source, "found"))
            row_clear_models(old); /* it has gone */
    }
    finish_one(s);
}

int provider_scan(struct provider_table *t, void (*done)(void *ctx, int found), void *ctx,
                  struct err *e)
{
    struct scan *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "out of memory");
    s->t = t;
    s->done = done;
    s->ctx = ctx;
    int rc = net_work(t->params.loop, probe, probed, s);
    if (rc) {
        free(s);
        return err_set(e, rc, "cannot look for model servers");
    }
    return 0;
}
