/* rerank.c: the body of POST /v1/rerank, in the shape that Jina's and Cohere's APIs share. It is
 * checked like any other request, so that its author learns of his own mistakes first; then it is
 * refused, because no model here ranks. Called by the endpoint. */
#include "wire_int.h"

enum { MAX_DOCUMENTS = 10000 };

/* A text, or an object with one. */
static bool is_text(const json_t *v)
{
    return json_is_string(v) || json_is_string(json_object_get(v, "text"));
}

static int check_documents(struct dec *d, const json_t *body)
{
    json_t *list;
    int rc = dec_array(d, body, "documents", &list);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "documents", "is missing");
    size_t n = json_array_size(list);
    if (!n || n > MAX_DOCUMENTS)
        return dec_fail(d, ERR_FORMAT, "documents", "must be 1 to %d", MAX_DOCUMENTS);
    d->list = "documents";
    for (d->i = 0; d->i < n; d->i++) {
        if (!is_text(json_array_get(list, d->i)))
            return dec_fail(d, ERR_FORMAT, "", "must be a text or an object with one");
    }
    d->list = NULL;
    return 0;
}

static int check(struct dec *d, const json_t *body, struct str *model)
{
    int64_t top = 0;
    const json_t *query = json_object_get(body, "query");
    if (!json_is_object(body))
        return err_set(d->e, ERR_FORMAT, "the body must be a JSON object");
    int rc = dec_str(d, body, "model", model);
    if (rc < 0)
        return rc;
    if (!rc || !model->n)
        return dec_fail(d, ERR_FORMAT, "model", "is missing");
    if (!query || json_is_null(query))
        return dec_fail(d, ERR_FORMAT, "query", "is missing");
    if (!is_text(query))
        return dec_fail(d, ERR_FORMAT, "query", "must be a string");
    if ((rc = check_documents(d, body)))
        return rc;
    rc = dec_int(d, body, "top_n", 1, INT32_MAX, &top);
    return rc < 0 ? rc : 0;
}

int wire_rerank_check(struct str body, struct arena *arena, struct str *model, struct err *e)
{
    struct dec d = {.a = arena, .e = e};
    struct str name = STR_NONE;
    json_t *v = NULL;
    int rc = wire_json_load(body, &v, e);
    if (rc)
        return rc;
    rc = check(&d, v, &name);
    json_decref(v);
    if (!rc)
        *model = name;
    return rc;
}

int wire_rerank_refuse(struct str model, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "model: \"%.*s\" cannot rerank", STR_ARG(model));
}
