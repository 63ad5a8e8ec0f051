/* lmstudio_req.c: decodes the body of LM Studio's POST /api/v1/chat
 * (https://lmstudio.ai/docs/developer/rest/chat) into a gen_req: one user's message, a system
 * prompt before it, and the answer it goes on from (`previous_response_id`), whose messages are put
 * before by who keeps them. Integrations (plugins, MCP servers) are refused: no tool is called on a
 * caller's behalf here. */
#include "wire_int.h"

static const char *const known[] = {
    "model",     "input", "system_prompt",        "stream", "max_output_tokens",
    "reasoning", "store", "previous_response_id", NULL};

static int decode_image(struct dec *d, const json_t *item, struct gen_part *p)
{
    struct str url = STR_NONE;
    int rc = dec_str(d, item, "data_url", &url);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "data_url", "is missing");
    p->type = GEN_PART_IMAGE;
    return dec_url(d, url, p);
}

static int decode_item(struct dec *d, const json_t *item, struct gen_part *p)
{
    struct str type = wire_json_get_str(item, "type");
    if (!json_is_object(item))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    if (str_is(type, "image"))
        return decode_image(d, item, p);
    if (!str_is(type, "message") && !str_is(type, "text"))
        return dec_fail(d, ERR_UNSUPPORTED, "type", "unknown kind of input \"%.*s\"",
                        STR_ARG(type));
    p->type = GEN_PART_TEXT;
    int rc = dec_str(d, item, "content", &p->text);
    return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, "content", "is missing");
}

static int decode_input(struct dec *d, const json_t *body, struct gen_msg *m)
{
    const json_t *v = json_object_get(body, "input");
    if (!v || json_is_null(v))
        return dec_fail(d, ERR_FORMAT, "input", "is missing");
    if (!json_is_string(v) && !json_is_array(v))
        return dec_fail(d, ERR_FORMAT, "input", "must be a string or an array");
    m->role = GEN_USER;
    m->nparts = json_is_array(v) ? json_array_size(v) : 1;
    if (!m->nparts)
        return dec_fail(d, ERR_FORMAT, "input", "must not be empty");
    m->parts = arena_array(d->a, m->nparts, sizeof *m->parts);
    if (!m->parts)
        return dec_nomem(d);
    if (json_is_string(v))
        return dec_copy(d, wire_json_str(v), &m->parts[0].text);
    d->list = "input";
    for (d->i = 0; d->i < m->nparts; d->i++) {
        int rc = decode_item(d, json_array_get(v, d->i), &m->parts[d->i]);
        if (rc)
            return rc;
    }
    d->list = NULL;
    return 0;
}

static int decode_messages(struct dec *d, const json_t *body, struct gen_req *r)
{
    struct str system = STR_NONE;
    int rc = dec_str(d, body, "system_prompt", &system);
    if (rc < 0)
        return rc;
    r->msgs = arena_array(d->a, 2, sizeof *r->msgs);
    if (!r->msgs)
        return dec_nomem(d);
    if (system.n) {
        struct gen_msg *m = &r->msgs[r->nmsgs++];
        m->role = GEN_SYSTEM;
        m->parts = arena_alloc(d->a, sizeof *m->parts);
        if (!m->parts)
            return dec_nomem(d);
        m->nparts = 1;
        m->parts[0].text = system;
    }
    return decode_input(d, body, &r->msgs[r->nmsgs++]);
}

static int decode_reasoning(struct dec *d, const json_t *body, struct gen_req *r)
{
    static const struct {
        const char *word;
        enum gen_effort effort;
    } rows[] = {
        {"off", GEN_EFFORT_NONE},  {"low", GEN_EFFORT_LOW},   {"medium", GEN_EFFORT_MEDIUM},
        {"on", GEN_EFFORT_MEDIUM}, {"high", GEN_EFFORT_HIGH},
    };
    struct str s;
    int rc = dec_str(d, body, "reasoning", &s);
    if (rc <= 0)
        return rc;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (str_is(s, rows[i].word)) {
            r->effort = rows[i].effort;
            return 0;
        }
    }
    return dec_fail(d, ERR_FORMAT, "reasoning", "must be off, low, medium, high or on");
}

static int refuse_tools(struct dec *d, const json_t *body)
{
    static const char *const keys[] = {"integrations", "mcp_servers"};
    for (size_t i = 0; i < 2; i++) {
        json_t *list;
        int rc = dec_array(d, body, keys[i], &list);
        if (rc < 0)
            return rc;
        if (rc && json_array_size(list))
            return dec_fail(d, ERR_UNSUPPORTED, keys[i], "tools are not called here");
    }
    return 0;
}

static int decode_fields(struct dec *d, const json_t *body, struct gen_req *r)
{
    int rc = dec_str(d, body, "model", &r->model);
    if (rc < 0)
        return rc;
    if (!rc || !r->model.n)
        return dec_fail(d, ERR_FORMAT, "model", "is missing");
    if ((rc = decode_messages(d, body, r)))
        return rc;
    if ((rc = refuse_tools(d, body)))
        return rc;
    if ((rc = decode_reasoning(d, body, r)) < 0)
        return rc;
    if ((rc = dec_sampling(d, body, &r->sampling)))
        return rc;
    if ((rc = dec_int(d, body, "max_output_tokens", 1, INT32_MAX, &r->max_tokens)) < 0)
        return rc;
    if ((rc = dec_bool(d, body, "stream", &r->stream)) < 0)
        return rc;
    r->store = true;
    if ((rc = dec_bool(d, body, "store", &r->store)) < 0)
        return rc;
    rc = dec_str(d, body, "previous_response_id", &r->previous_id);
    return rc < 0 ? rc : 0;
}

int lmstudio_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = decode_fields(d, body, r);
    if (!rc)
        rc = dec_unknown(d, body, known, &extra);
    if (!rc)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    return rc;
}
