/* endpoints.c: paths to answers. Each row names a method, a path (a trailing '/' means "and what
 * follows") and a function; the two dialects' paths and weir's own stand side by side. */
#include "endpoints.h"

#include "keys.h"
#include "llama.h"
#include "lmstudio.h"
#include "manage.h"
#include "models.h"
#include "ollama.h"
#include "page.h"
#include "pipeline.h"
#include "responses.h"
#include "status.h"

#include <string.h>

struct call {
    struct house *h;
    struct net_req *r;
    struct face face;
    bool trusted;
    uint64_t caller; /* whose request it is: requests of one are not fairer for being many */
    struct str rest; /* after a path that ends in '/' */
};

struct endpoint {
    const char *method, *path;
    void (*serve)(struct house *h, struct net_req *r); /* NULL: the pipeline answers */
    struct face face;                                  /* whose error bodies it has */
    enum {
        ASKS,  /* for a key, where there are keys */
        OPEN,  /* nothing */
        OWNER, /* to come over the owner's Unix socket */
    } door;
    /* Instead of serve, where the path ends in '/': what follows it. */
    void (*serve_rest)(struct house *h, struct net_req *r, struct str rest);
};

static void health(struct house *h, struct net_req *r)
{
    net_res_send(r, 200, "application/json", STR("{\"status\":\"ok\"}\n"));
}

#define FORM(f)                                                                                    \
    {                                                                                              \
        (f), FACE_FORM                                                                             \
    }
#define NATIVE                                                                                     \
    {                                                                                              \
        WIRE_OPENAI, FACE_NATIVE                                                                   \
    }

#define OLLAMA FORM(WIRE_OLLAMA_CHAT)

#define LLAMA FORM(WIRE_LLAMA_COMPLETION)

static const struct endpoint table[] = {
    {"POST", "/v1/chat/completions", NULL, FORM(WIRE_OPENAI), ASKS},
    {"POST", "/v1/embeddings", NULL, FORM(WIRE_EMBEDDINGS), ASKS},
    {"GET", "/v1/models", status_openai_models, FORM(WIRE_OPENAI), ASKS},
    {"GET", "/v1/models/", NULL, FORM(WIRE_OPENAI), ASKS, status_openai_model},
    {"GET", "/v1/models/", NULL, FORM(WIRE_OPENAI), ASKS, status_openai_model},
    {"POST", "/v1/messages", NULL, FORM(WIRE_ANTHROPIC), ASKS},
    {"POST", "/v1/messages/count_tokens", NULL, {WIRE_ANTHROPIC, FACE_COUNT}, ASKS},
    {"POST", "/v1/responses", NULL, FORM(WIRE_RESPONSES), ASKS},
    {"POST", "/v1/responses/input_tokens", NULL, {WIRE_RESPONSES, FACE_COUNT}, ASKS},
    {"GET", "/v1/responses/", NULL, FORM(WIRE_RESPONSES), ASKS, responses_get},
    {"DELETE", "/v1/responses/", NULL, FORM(WIRE_RESPONSES), ASKS, responses_delete},
    {"POST", "/v1/responses/", NULL, FORM(WIRE_RESPONSES), ASKS, responses_post},
    {"POST", "/v1/completions", NULL, FORM(WIRE_COMPLETIONS), ASKS},
    {"POST", "/api/chat", NULL, FORM(WIRE_OLLAMA_CHAT), ASKS},
    {"POST", "/api/generate", NULL, FORM(WIRE_OLLAMA_GENERATE), ASKS},
    {"POST", "/api/embed", NULL, FORM(WIRE_OLLAMA_EMBED), ASKS},
    {"POST", "/api/embeddings", NULL, FORM(WIRE_OLLAMA_EMBEDDINGS), ASKS},
    {"GET", "/api/version", ollama_version, OLLAMA, OPEN},
    {"GET", "/api/tags", ollama_tags, OLLAMA, ASKS},
    {"GET", "/api/ps", ollama_ps, OLLAMA, ASKS},
    {"POST", "/api/show", ollama_show, OLLAMA, ASKS},
    {"POST", "/api/copy", ollama_copy, OLLAMA, ASKS},
    {"DELETE", "/api/delete", ollama_delete, OLLAMA, ASKS},
    {"POST", "/api/pull", ollama_pull, OLLAMA, ASKS},
    {"POST", "/api/push", ollama_push, OLLAMA, ASKS},
    {"POST", "/api/me", ollama_me, OLLAMA, ASKS},
    {"POST", "/api/signout", ollama_signout, OLLAMA, ASKS},
    {"DELETE", "/api/user/keys/", NULL, OLLAMA, ASKS, ollama_forget_key},
    {"POST", "/api/create", ollama_create, OLLAMA, ASKS},
    {"HEAD", "/api/blobs/", NULL, OLLAMA, ASKS, ollama_blob_get},
    {"POST", "/api/blobs/", NULL, OLLAMA, ASKS, ollama_blob_put},
    {"POST", "/completion", NULL, FORM(WIRE_LLAMA_COMPLETION), ASKS},
    {"POST", "/completions", NULL, FORM(WIRE_LLAMA_COMPLETION), ASKS},
    {"POST", "/infill", NULL, FORM(WIRE_LLAMA_INFILL), ASKS},
    {"GET", "/props", llama_props, LLAMA, ASKS},
    {"GET", "/slots", llama_slots, LLAMA, ASKS},
    {"GET", "/metrics", llama_metrics, LLAMA, ASKS},
    {"POST", "/tokenize", llama_tokenize, LLAMA, ASKS},
    {"POST", "/detokenize", llama_detokenize, LLAMA, ASKS},
    {"POST", "/apply-template", llama_apply_template, LLAMA, ASKS},
    {"POST", "/v1/rerank", llama_rerank, FORM(WIRE_OPENAI), ASKS},
    {"POST", "/v1/reranking", llama_rerank, FORM(WIRE_OPENAI), ASKS},
    {"POST", "/rerank", llama_rerank, FORM(WIRE_OPENAI), ASKS},
    {"POST", "/v2/rerank", llama_rerank, FORM(WIRE_OPENAI), ASKS},
    {"POST", "/api/v1/chat", NULL, FORM(WIRE_LMSTUDIO), ASKS},
    {"GET", "/api/v1/models", lmstudio_models, FORM(WIRE_LMSTUDIO), ASKS},
    {"POST", "/api/v1/models/load", lmstudio_load, FORM(WIRE_LMSTUDIO), ASKS},
    {"POST", "/api/v1/models/unload", lmstudio_unload, FORM(WIRE_LMSTUDIO), ASKS},
    {"POST", "/api/v1/models/download", lmstudio_download, FORM(WIRE_LMSTUDIO), ASKS},
    {"GET", "/api/v1/models/download/status/", NULL, FORM(WIRE_LMSTUDIO), ASKS, lmstudio_status},
    {"GET", "/health", health, NATIVE, OPEN},
    {"POST", "/weir/v1/chat", NULL, NATIVE, ASKS},
    {"POST", "/weir/v1/route", NULL, {WIRE_OPENAI, FACE_ROUTE}, ASKS},
    {"GET", "/weir/v1/models", status_models, NATIVE, ASKS},
    {"GET", "/weir/v1/status", status_house, NATIVE, ASKS},
    {"GET", "/weir/v1/costs", status_costs, NATIVE, ASKS},
    {"GET", "/weir/v1/requests", status_requests, NATIVE, ASKS},
    {"GET", "/weir/v1/requests/", NULL, NATIVE, ASKS, status_request},
    {"POST", "/weir/v1/providers/test", status_provider_test, NATIVE, ASKS},
    {"GET", "/weir/v1/loaded", manage_loaded, NATIVE, ASKS},
    {"POST", "/weir/v1/unload", manage_unload, NATIVE, ASKS},
    {"GET", "/weir/v1/keys", manage_keys, NATIVE, OWNER},
    {"POST", "/weir/v1/keys", manage_key_create, NATIVE, OWNER},
    {"DELETE", "/weir/v1/keys", manage_key_revoke, NATIVE, OWNER},
};
#define NTABLE (sizeof table / sizeof table[0])

/* ---- keys ---- */

/* The one function that lets a request in, before routing. */
static bool let_in(struct call *c)
{
    struct str given = keys_given(c->r);
    c->caller = net_req_peer(c->r);
    if (c->trusted || !keys_any(c->h->keys))
        return true;
    return keys_check(c->h->keys, given, &c->caller);
}

/* ---- finding ---- */

static bool matches(const struct endpoint *p, struct str path, struct str *rest)
{
    struct str mine = str_of(p->path);
    if (mine.n > 1 && mine.p[mine.n - 1] == '/' && str_starts(path, mine) && path.n > mine.n) {
        *rest = str_n(path.p + mine.n, path.n - mine.n);
        return true;
    }
    return str_eq(path, mine);
}

static struct face face_of(struct str path)
{
    if (str_starts(path, STR("/v1/messages")))
        return (struct face)FORM(WIRE_ANTHROPIC);
    if (str_starts(path, STR("/api/v1/")))
        return (struct face)FORM(WIRE_LMSTUDIO);
    if (str_starts(path, STR("/api/")))
        return (struct face)OLLAMA;
    if (str_starts(path, STR("/v1/")))
        return (struct face)FORM(WIRE_OPENAI);
    return PIPELINE_NATIVE;
}

static void refuse(struct net_req *r, struct face face, int code, const char *why)
{
    struct err e;
    err_set(&e, code, "%s", why);
    pipeline_refuse(r, face, &e);
}

static void wrong_method(struct net_req *r, const struct endpoint *p)
{
    net_res_header(r, "Allow", str_of(p->method));
    struct buf b = BUF_INIT(8192);
    struct err e;
    err_set(&e, ERR_INVAL, "this path wants the method %s", p->method);
    if (p->face.kind == FACE_NATIVE)
        buf_puts(&b,
                 "{\"error\":{\"code\":\"INVAL\",\"message\":\"this path wants another method\"}}");
    else
        wire_error_body(p->face.form, &e, &b);
    net_res_send(r, 405, "application/json", buf_str(&b));
    buf_done(&b);
}

static void serve(struct call *c)
{
    struct str path = net_req_path(c->r), method = net_req_method(c->r);
    const struct endpoint *other = NULL;
    bool get = str_is(method, "GET") || str_is(method, "HEAD");
    bool guest = net_req_is_guest(c->r);
    for (size_t i = 0; i < NTABLE; i++) {
        if (!matches(&table[i], path, &c->rest))
            continue;
        other = &table[i];
        if (!str_is(method, table[i].method) && !(get && strcmp(table[i].method, "GET") == 0))
            continue;
        c->face = table[i].face;
        if (guest && str_starts(path, STR("/weir/")))
            refuse(c->r, c->face, ERR_POLICY,
                   "pages from elsewhere may call what the other programs answer (see "
                   "--allow-origin)");
        else if (table[i].door == OWNER && !c->trusted)
            refuse(c->r, c->face, ERR_POLICY, "only the owner of this server may do that");
        else if (table[i].door == ASKS && !let_in(c))
            refuse(c->r, c->face, ERR_AUTH, "a valid API key is needed");
        else if (table[i].serve)
            table[i].serve(c->h, c->r);
        else if (table[i].serve_rest)
            table[i].serve_rest(c->h, c->r, c->rest);
        else
            pipeline_start(c->h, c->r, c->face, c->trusted, c->caller);
        return;
    }
    bool root = get && str_is(path, "/");
    if (root && str_find(net_req_header(c->r, "accept"), STR("text/html"), 0) == SIZE_MAX)
        ollama_root(c->h, c->r); /* a program asks who is there; a browser gets the page */
    else if (other)
        wrong_method(c->r, other);
    else if (!get || !page_serve(c->r))
        refuse(c->r, face_of(path), ERR_NOT_FOUND, "there is no such path");
}

size_t endpoints_body_limit(void *house, struct str method, struct str path)
{
    if (str_is(method, "POST") && str_starts(path, STR("/api/blobs/")))
        return NET_BODY_STREAM;
    return str_is(path, "/v1/embeddings") || str_is(path, "/api/embed") ? (size_t)64 << 20
                                                                        : (size_t)8 << 20;
}

void endpoints_refuse(void *house, struct net_req *r, int status, const char *why)
{
    struct buf body = BUF_INIT(8192);
    struct err e;
    struct face face = face_of(net_req_path(r));
    int code = status == 413   ? ERR_TOO_LARGE
               : status == 408 ? ERR_TIMEOUT
               : status == 403 ? ERR_POLICY
               : status == 503 ? ERR_OVERLOAD
                               : ERR_INVAL;
    err_set(&e, code, "%s", why);
    if (face.kind == FACE_FORM) {
        wire_error_body(face.form, &e, &body);
    } else {
        buf_printf(&body, "{\"error\":{\"code\":\"%s\",\"message\":", err_name(code));
        buf_json_str(&body, str_of(why));
        buf_puts(&body, "}}\n");
    }
    net_res_send(r, status, "application/json", buf_str(&body));
    buf_done(&body);
}

void endpoints_public(void *house, struct net_req *r)
{
    struct call c = {.h = house, .r = r};
    serve(&c);
}

void endpoints_local(void *house, struct net_req *r)
{
    struct call c = {.h = house, .r = r, .trusted = true};
    serve(&c);
}
