/* endpoints.c: paths to answers. Each row names a method, a path (a trailing '/' means "and what
 * follows") and a function; the two dialects' paths and weir's own stand side by side. */
#include "endpoints.h"

#include "models.h"
#include "page.h"
#include "pipeline.h"
#include "responses.h"
#include "status.h"

#include <sodium.h>
#include <string.h>

struct call {
    struct house *h;
    struct net_req *r;
    struct face face;
    bool trusted;
    struct str rest; /* after a path that ends in '/' */
};

struct endpoint {
    const char *method, *path;
    void (*serve)(const struct call *c); /* NULL: the pipeline answers */
    struct face face;                    /* whose error bodies it has */
    bool open;                           /* no key is asked */
};

static void health(const struct call *c)
{
    net_res_send(c->r, 200, "application/json", STR("{\"status\":\"ok\"}\n"));
}

static void openai_models(const struct call *c)
{
    status_openai_models(c->h, c->r);
}

static void response_get(const struct call *c)
{
    responses_get(c->h, c->r, c->rest);
}

static void response_delete(const struct call *c)
{
    responses_delete(c->h, c->r, c->rest);
}

static void response_post(const struct call *c)
{
    responses_post(c->h, c->r, c->rest);
}

static void native_models(const struct call *c)
{
    status_models(c->h, c->r);
}

static void native_status(const struct call *c)
{
    status_house(c->h, c->r);
}

static void native_costs(const struct call *c)
{
    status_costs(c->h, c->r);
}

static void native_requests(const struct call *c)
{
    status_requests(c->h, c->r);
}

static void native_request(const struct call *c)
{
    status_request(c->h, c->r, c->rest);
}

static void native_test(const struct call *c)
{
    status_provider_test(c->h, c->r);
}

#define FORM(f)                                                                                    \
    {                                                                                              \
        (f), FACE_FORM                                                                             \
    }
#define NATIVE                                                                                     \
    {                                                                                              \
        WIRE_OPENAI, FACE_NATIVE                                                                   \
    }

static const struct endpoint table[] = {
    {"POST", "/v1/chat/completions", NULL, FORM(WIRE_OPENAI), false},
    {"POST", "/v1/embeddings", NULL, FORM(WIRE_EMBEDDINGS), false},
    {"GET", "/v1/models", openai_models, FORM(WIRE_OPENAI), false},
    {"POST", "/v1/messages", NULL, FORM(WIRE_ANTHROPIC), false},
    {"POST", "/v1/messages/count_tokens", NULL, {WIRE_ANTHROPIC, FACE_COUNT}, false},
    {"POST", "/v1/responses", NULL, FORM(WIRE_RESPONSES), false},
    {"POST", "/v1/responses/input_tokens", NULL, {WIRE_RESPONSES, FACE_COUNT}, false},
    {"GET", "/v1/responses/", response_get, FORM(WIRE_RESPONSES), false},
    {"DELETE", "/v1/responses/", response_delete, FORM(WIRE_RESPONSES), false},
    {"POST", "/v1/responses/", response_post, FORM(WIRE_RESPONSES), false},
    {"GET", "/health", health, NATIVE, true},
    {"POST", "/weir/v1/chat", NULL, NATIVE, false},
    {"POST", "/weir/v1/route", NULL, {WIRE_OPENAI, FACE_ROUTE}, false},
    {"GET", "/weir/v1/models", native_models, NATIVE, false},
    {"GET", "/weir/v1/status", native_status, NATIVE, false},
    {"GET", "/weir/v1/costs", native_costs, NATIVE, false},
    {"GET", "/weir/v1/requests", native_requests, NATIVE, false},
    {"GET", "/weir/v1/requests/", native_request, NATIVE, false},
    {"POST", "/weir/v1/providers/test", native_test, NATIVE, false},
};
#define NTABLE (sizeof table / sizeof table[0])

/* ---- keys ---- */

static bool same(struct str given, const char *key)
{
    size_t n = strlen(key);
    return given.n == n && sodium_memcmp(given.p, key, n) == 0;
}

/* Where the official clients put it: Authorization: Bearer, or x-api-key. */
static bool has_key(const struct call *c)
{
    const char *key = c->h->s->api_key;
    if (c->trusted || !key || !*key)
        return true;
    struct str auth = net_req_header(c->r, "authorization");
    if (str_istarts(auth, STR("Bearer ")) && same(str_trim(str_n(auth.p + 7, auth.n - 7)), key))
        return true;
    struct str x = net_req_header(c->r, "x-api-key");
    return x.p && same(x, key);
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
    net_res_send(
        r, 405, "application/json",
        STR("{\"error\":{\"code\":\"INVAL\",\"message\":\"this path wants another method\"}}"));
}

static void serve(struct call *c)
{
    struct str path = net_req_path(c->r), method = net_req_method(c->r);
    const struct endpoint *other = NULL;
    bool get = str_is(method, "GET") || str_is(method, "HEAD");
    for (size_t i = 0; i < NTABLE; i++) {
        if (!matches(&table[i], path, &c->rest))
            continue;
        other = &table[i];
        if (!str_is(method, table[i].method) && !(get && strcmp(table[i].method, "GET") == 0))
            continue;
        c->face = table[i].face;
        if (!table[i].open && !has_key(c))
            refuse(c->r, c->face, ERR_AUTH, "a valid API key is needed");
        else if (table[i].serve)
            table[i].serve(c);
        else
            pipeline_start(c->h, c->r, c->face, c->trusted);
        return;
    }
    if (other)
        wrong_method(c->r, other);
    else if (!get || !page_serve(c->r))
        refuse(c->r, face_of(path), ERR_NOT_FOUND, "there is no such path");
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
