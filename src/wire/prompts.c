/* prompts.c: bare prompts as JSON, both ways: a text, token ids, text and ids in turn, or a list of
 * those (OpenAI's /v1/completions and llama-server's /completion, which has objects with
 * `prompt_string` too). A list of whole numbers alone is one prompt of ids; of numbers and texts,
 * one prompt in pieces; anything else in a list is a prompt each. Called by the codecs of
 * completions. */
#include "wire_int.h"

#include <stdio.h>

/* "prompt", "prompt[2]": where a value stands. */
static int fail_at(struct dec *d, int code, size_t i, const char *why)
{
    char field[64] = "prompt";
    if (i != SIZE_MAX)
        snprintf(field, sizeof field, "prompt[%zu]", i);
    return dec_fail(d, code, field, "%s", why);
}

static bool is_token(const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= INT32_MAX;
}

/* Items [from, to) of a list, all token ids. */
static int take_ids(struct dec *d, const json_t *list, size_t from, size_t to,
                    struct gen_prompt *out)
{
    int32_t *ids = arena_array(d->a, to - from, sizeof *ids);
    if (!ids)
        return dec_nomem(d);
    for (size_t k = from; k < to; k++)
        ids[k - from] = (int32_t)json_integer_value(json_array_get(list, k));
    out->ids = ids;
    out->nids = to - from;
    return 0;
}

static int take_pieces(struct dec *d, const json_t *list, struct gen_prompt *out)
{
    size_t n = json_array_size(list);
    struct gen_prompt *pieces = arena_array(d->a, n, sizeof *pieces);
    if (!pieces)
        return dec_nomem(d);
    out->pieces = pieces;
    for (size_t k = 0; k < n;) {
        struct gen_prompt *p = &pieces[out->npieces++];
        size_t to = k;
        while (to < n && !json_is_string(json_array_get(list, to)))
            to++;
        int rc = to > k ? take_ids(d, list, k, to, p)
                        : dec_copy(d, wire_json_str(json_array_get(list, to++)), &p->text);
        if (rc)
            return rc;
        k = to;
    }
    return 0;
}

/* One prompt from an array of its own. i: its place, SIZE_MAX for the only one. */
static int take_array(struct dec *d, const json_t *list, size_t i, struct gen_prompt *out)
{
    bool text = false;
    if (!json_array_size(list))
        return fail_at(d, ERR_FORMAT, i, "must not be empty");
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *v = json_array_get(list, k);
        if (!json_is_string(v) && !is_token(v))
            return fail_at(d, ERR_FORMAT, i, "wants token ids");
        text |= json_is_string(v);
    }
    return text ? take_pieces(d, list, out) : take_ids(d, list, 0, json_array_size(list), out);
}

static int take_object(struct dec *d, const json_t *o, size_t i, struct gen_prompt *out)
{
    const json_t *media = json_object_get(o, "multimodal_data");
    struct str text = wire_json_get_str(o, "prompt_string");
    if (!text.p)
        return fail_at(d, ERR_FORMAT, i, "wants a prompt_string");
    if (media && !json_is_null(media) && !(json_is_array(media) && !json_array_size(media)))
        return fail_at(d, ERR_UNSUPPORTED, i, "images and audio do not go into a bare prompt");
    return dec_copy(d, text, &out->text);
}

static int take_one(struct dec *d, const json_t *v, size_t i, struct gen_prompt *out)
{
    if (json_is_string(v))
        return dec_copy(d, wire_json_str(v), &out->text);
    if (json_is_array(v))
        return take_array(d, v, i, out);
    if (json_is_object(v))
        return take_object(d, v, i, out);
    return fail_at(d, ERR_FORMAT, i, "must be a string or an array");
}

/* A list is one prompt when it holds an id and nothing but ids and texts. */
static bool is_one(const json_t *v)
{
    bool id = false;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        if (!json_is_string(item) && !json_is_number(item))
            return false;
        id |= json_is_number(item);
    }
    return id || !json_is_array(v);
}

static int take_list(struct dec *d, const json_t *v, struct gen_prompt **out, size_t *nout)
{
    size_t n = json_array_size(v);
    if (!n)
        return fail_at(d, ERR_FORMAT, SIZE_MAX, "must not be empty");
    if (n > WIRE_MAX_CHOICES)
        return dec_fail(d, ERR_FORMAT, "prompt", "more than %d prompts", WIRE_MAX_CHOICES);
    *out = arena_array(d->a, n, sizeof **out);
    if (!*out)
        return dec_nomem(d);
    *nout = n;
    for (size_t i = 0; i < n; i++) {
        int rc = take_one(d, json_array_get(v, i), i, &(*out)[i]);
        if (rc)
            return rc;
    }
    return 0;
}

int dec_prompts(struct dec *d, const json_t *body, struct gen_req *r)
{
    const json_t *v = json_object_get(body, "prompt");
    struct gen_prompt one = {0}, *list = &one;
    size_t n = 1;
    if (!v || json_is_null(v))
        return fail_at(d, ERR_FORMAT, SIZE_MAX, "is missing");
    int rc = is_one(v) ? take_one(d, v, SIZE_MAX, &one) : take_list(d, v, &list, &n);
    if (rc)
        return rc;
    r->prompt = list[0].text;
    r->prompt_ids = list[0].ids;
    r->nprompt_ids = list[0].nids;
    r->prompt_pieces = list[0].pieces;
    r->nprompt_pieces = list[0].npieces;
    r->more = n > 1 ? list + 1 : NULL;
    r->nmore = n - 1;
    return 0;
}

int dec_choices(struct dec *d, const char *key, int64_t n, struct gen_req *r)
{
    if ((r->nmore + 1) * (uint64_t)n > WIRE_MAX_CHOICES)
        return dec_fail(d, ERR_FORMAT, key, "%zu prompts and %lld choices of each are more than %d",
                        r->nmore + 1, (long long)n, WIRE_MAX_CHOICES);
    r->n = (int32_t)n;
    return 0;
}

struct gen_prompt wire_prompt(const struct gen_req *r, size_t i)
{
    if (i > 0)
        return r->more[i - 1];
    return (struct gen_prompt){.text = r->prompt,
                               .ids = r->prompt_ids,
                               .nids = r->nprompt_ids,
                               .pieces = r->prompt_pieces,
                               .npieces = r->nprompt_pieces};
}

/* ---- writing ---- */

static void put_ids(struct buf *b, const struct gen_prompt *p)
{
    for (size_t i = 0; i < p->nids; i++)
        jw_item_int(b, p->ids[i]);
}

static void put_one(struct buf *b, const struct gen_prompt *p)
{
    if (!p->ids && !p->npieces) {
        jw_item(b, p->text);
        return;
    }
    jw_open(b, '[');
    put_ids(b, p);
    for (size_t i = 0; i < p->npieces; i++) {
        if (p->pieces[i].ids)
            put_ids(b, &p->pieces[i]);
        else
            jw_item(b, p->pieces[i].text);
    }
    jw_close(b, ']');
}

void enc_prompts(struct enc *x)
{
    struct gen_prompt only = wire_prompt(x->req, 0);
    jw_key(x->b, enc_top(x, "prompt"));
    if (!x->req->nmore) {
        put_one(x->b, &only);
        return;
    }
    jw_open(x->b, '[');
    for (size_t i = 0; i <= x->req->nmore; i++) {
        struct gen_prompt p = wire_prompt(x->req, i);
        put_one(x->b, &p);
    }
    jw_close(x->b, ']');
}
