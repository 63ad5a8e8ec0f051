/* format.c: what an answer must look like (OpenAI's response_format, llama-server's json_schema and
 * grammar) and how it is sent (stream, stream_options), as the dialects of that family have them:
 * decoded and encoded. Called by their codecs. */
#include "wire_int.h"

static int response_format(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *o, *s, *schema;
    int rc = dec_object(d, body, "response_format", &o);
    if (rc <= 0)
        return rc;
    struct str type = wire_json_get_str(o, "type");
    if (str_is(type, "text"))
        return 0;
    if (str_is(type, "json_object")) {
        r->format = GEN_FORMAT_JSON;
        return 0;
    }
    if (!str_is(type, "json_schema"))
        return dec_fail(d, ERR_UNSUPPORTED, "response_format.type",
                        "must be text, json_object or json_schema");
    if ((rc = dec_object(d, o, "json_schema", &s)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "response_format.json_schema", "is missing");
    r->format = GEN_FORMAT_SCHEMA;
    if ((rc = dec_str(d, s, "name", &r->schema_name)) < 0)
        return rc;
    if ((rc = dec_bool(d, s, "strict", &r->schema_strict)) < 0)
        return rc;
    if ((rc = dec_object(d, s, "schema", &schema)) <= 0)
        return rc ? rc
                  : dec_fail(d, ERR_FORMAT, "response_format.json_schema.schema", "is missing");
    return dec_raw(d, schema, &r->schema);
}

/* llama-server's: a schema without a name. */
static int json_schema(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *schema;
    int rc = dec_object(d, body, "json_schema", &schema);
    if (rc <= 0)
        return rc;
    if (r->format != GEN_FORMAT_TEXT)
        return dec_fail(d, ERR_FORMAT, "json_schema", "cannot stand beside response_format");
    r->format = json_object_size(schema) ? GEN_FORMAT_SCHEMA : GEN_FORMAT_JSON;
    return r->format == GEN_FORMAT_SCHEMA ? dec_raw(d, schema, &r->schema) : 0;
}

int dec_format(struct dec *d, const json_t *body, struct gen_req *r)
{
    int rc = response_format(d, body, r);
    if (rc >= 0)
        rc = json_schema(d, body, r);
    if (rc >= 0)
        rc = dec_str(d, body, "grammar", &r->grammar);
    if (rc >= 0 && r->grammar.n && r->format != GEN_FORMAT_TEXT)
        rc = dec_fail(d, ERR_FORMAT, "grammar", "cannot stand beside response_format");
    return rc < 0 ? rc : 0;
}

int dec_stream(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *opts;
    int rc = dec_bool(d, body, "stream", &r->stream);
    if (rc < 0)
        return rc;
    rc = dec_object(d, body, "stream_options", &opts);
    if (rc > 0)
        rc = dec_bool(d, opts, "include_usage", &r->stream_usage);
    return rc < 0 ? rc : 0;
}

int enc_format(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->grammar.n) /* llama-server's; others refuse it, which is right */
        jw_str(x->b, enc_top(x, "grammar"), r->grammar);
    if (r->format == GEN_FORMAT_TEXT)
        return 0;
    jw_object(x->b, enc_top(x, "response_format"));
    if (r->format == GEN_FORMAT_JSON)
        jw_str(x->b, "type", STR("json_object"));
    else {
        jw_str(x->b, "type", STR("json_schema"));
        jw_object(x->b, "json_schema");
        /* The dialect demands a name; other dialects' schemas have none. */
        jw_str(x->b, "name", r->schema_name.n ? r->schema_name : STR("answer"));
        int rc = enc_raw(x, "schema", r->schema, true, "response_format.json_schema.schema");
        if (rc)
            return rc;
        if (r->schema_strict)
            jw_bool(x->b, "strict", true);
        jw_close(x->b, '}');
    }
    jw_close(x->b, '}');
    return 0;
}

void enc_stream(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->stream)
        jw_bool(x->b, enc_top(x, "stream"), true);
    if (r->stream && r->stream_usage && !x->q->no_stream_usage) {
        jw_object(x->b, enc_top(x, "stream_options"));
        jw_bool(x->b, "include_usage", true);
        jw_close(x->b, '}');
    }
}
