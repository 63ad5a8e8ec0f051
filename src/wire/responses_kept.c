/* responses_kept.c: what an app that keeps answers of /v1/responses needs to know of their form:
 * the input to keep, the messages of kept texts, and items that a request only names. A kept text
 * is a JSON array of items (an input) or a Response object (whose output counts). Called by app/.
 */
#include "responses_int.h"

int wire_responses_input(const struct gen_req *req, struct str id, struct buf *out, struct err *e)
{
    static const struct wire_quirks none;
    struct enc x = {.b = out, .e = e, .req = req, .q = &none};
    json_t *extra = NULL;
    char z[48];
    if (id.n >= sizeof z)
        return err_set(e, ERR_INVAL, "the id of an answer is too long");
    memcpy(z, id.p, id.n);
    z[id.n] = '\0';
    int rc = enc_extra_load(&x, GEN_DIALECT_RESPONSES, &extra);
    if (rc)
        return rc;
    size_t own = responses_has_instructions(req, extra) ? 1 : 0;
    buf_putc(out, '[');
    rc = responses_put_items(&x, extra, req->msgs + own, req->nmsgs - own, z);
    buf_putc(out, ']');
    json_decref(extra);
    if (!rc && buf_failed(out))
        rc = err_set(e, ERR_TOO_LARGE, "the input does not fit into %zu bytes", out->max);
    return rc;
}

/* ---- going on from kept answers ---- */

static const json_t *items_of(const json_t *v)
{
    return json_is_object(v) ? json_object_get(v, "output") : v;
}

static int read_text(struct dec *d, struct str text, struct gen_msg **msgs, size_t *n)
{
    json_t *v = NULL;
    int rc = wire_json_load(text, &v, d->e);
    if (rc)
        return rc;
    rc = responses_read_items(d, items_of(v), msgs, n);
    json_decref(v);
    return rc;
}

struct found {
    struct gen_msg *msgs;
    size_t n;
};

int wire_responses_prepend(struct gen_req *req, const struct str *texts, size_t n, struct err *e)
{
    struct dec d = {.a = req->arena, .e = e};
    struct enc x = {.e = e, .req = req};
    struct found *found = arena_array(d.a, n, sizeof *found);
    size_t total = req->nmsgs, at = 0;
    json_t *extra = NULL;
    if (!found)
        return dec_nomem(&d);
    for (size_t i = 0; i < n; i++) {
        int rc = read_text(&d, texts[i], &found[i].msgs, &found[i].n);
        if (rc)
            return rc;
        total += found[i].n;
    }
    int rc = enc_extra_load(&x, GEN_DIALECT_RESPONSES, &extra);
    if (rc)
        return rc;
    size_t own = responses_has_instructions(req, extra) ? 1 : 0;
    json_decref(extra);
    struct gen_msg *all = arena_array(d.a, total, sizeof *all);
    if (!all)
        return dec_nomem(&d);
    if (own)
        all[at++] = req->msgs[0];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < found[i].n; k++)
            all[at++] = found[i].msgs[k];
    for (size_t i = own; i < req->nmsgs; i++)
        all[at++] = req->msgs[i];
    req->msgs = all;
    req->nmsgs = at;
    return 0;
}

/* ---- items that are only named ---- */

static int dump(const json_t *v, struct arena *a, struct str *out, struct err *e)
{
    struct dec d = {.a = a, .e = e};
    return dec_raw(&d, v, out);
}

int wire_responses_item(struct str text, struct str id, struct arena *a, struct str *out,
                        struct err *e)
{
    json_t *v = NULL;
    int rc = wire_json_load(text, &v, e);
    if (rc)
        return rc;
    const json_t *items = items_of(v), *found = NULL;
    for (size_t i = 0; i < json_array_size(items) && !found; i++)
        if (str_eq(wire_json_get_str(json_array_get(items, i), "id"), id))
            found = json_array_get(items, i);
    if (found)
        rc = dump(found, a, out, e);
    else
        rc = err_set(e, ERR_NOT_FOUND, "Item with id '%.*s' not found.", STR_ARG(id));
    json_decref(v);
    return rc;
}

bool wire_responses_names_items(const struct gen_req *req)
{
    for (size_t i = 0; i < req->nmsgs; i++)
        for (size_t k = 0; k < req->msgs[i].nparts; k++)
            if (req->msgs[i].parts[k].type == GEN_PART_OPAQUE &&
                str_is(req->msgs[i].parts[k].name, RESPONSES_REFERENCE))
                return true;
    return false;
}

static bool is_reference(const json_t *item)
{
    struct str type = wire_json_get_str(item, "type");
    return type.n ? str_is(type, RESPONSES_REFERENCE) : !json_object_get(item, "role");
}

static int replace(json_t *input, size_t i, wire_find_fn *find, void *ctx, struct err *e)
{
    struct str id = wire_json_get_str(json_array_get(input, i), "id"), text = STR_NONE;
    json_t *v = NULL;
    int rc = find(ctx, id, &text, e);
    if (!rc)
        rc = wire_json_load(text, &v, e);
    if (!rc && json_array_set_new(input, i, v))
        rc = err_set(e, ERR_NOMEM, "out of memory for the request");
    return rc;
}

int wire_responses_resolve(struct str body, wire_find_fn *find, void *ctx, struct arena *a,
                           struct str *out, struct err *e)
{
    json_t *v = NULL;
    int rc = wire_json_load(body, &v, e);
    if (rc)
        return rc;
    json_t *input = json_object_get(v, "input");
    for (size_t i = 0; i < json_array_size(input) && !rc; i++)
        if (is_reference(json_array_get(input, i)))
            rc = replace(input, i, find, ctx, e);
    if (!rc)
        rc = dump(v, a, out, e);
    json_decref(v);
    return rc;
}
