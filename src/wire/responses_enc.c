/* responses_enc.c: encodes a gen_req as the body of POST /v1/responses, for a provider or another
 * server of this dialect. Refuses, naming the field, what the dialect has no place for (stop
 * sequences, several choices, grammars). The history is always sent whole: whoever keeps answers
 * here has put the earlier messages in front, and `store` says whether the other side may keep
 * anything. */
#include "responses_int.h"

static int check(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->nstops)
        return enc_unsupported(x, "stop", "responses");
    if (r->n > 1)
        return enc_unsupported(x, "n", "responses");
    if (r->grammar.n)
        return enc_unsupported(x, "grammar", "responses");
    return 0;
}

static int put_input(struct enc *x, const json_t *extra)
{
    const struct gen_req *r = x->req;
    size_t own = responses_has_instructions(r, extra) ? 1 : 0;
    if (own)
        jw_str(x->b, enc_top(x, "instructions"), r->msgs[0].parts[0].text);
    jw_array(x->b, enc_top(x, "input"));
    size_t before = x->b->n;
    int rc = responses_put_items(x, extra, r->msgs + own, r->nmsgs - own, NULL);
    if (!rc && x->b->n == before && !r->previous_id.n)
        return err_set(x->e, ERR_INVAL, "input: must not be empty");
    jw_close(x->b, ']');
    return rc;
}

static void put_include(struct enc *x, const json_t *extra)
{
    const struct gen_req *r = x->req;
    const json_t *rest = json_object_get(extra, "include");
    if (!r->logprobs && !json_array_size(rest))
        return;
    jw_array(x->b, enc_top(x, "include"));
    if (r->logprobs)
        jw_item(x->b, STR(RESPONSES_LOGPROBS));
    for (size_t i = 0; i < json_array_size(rest); i++)
        jw_item(x->b, wire_json_str(json_array_get(rest, i)));
    jw_close(x->b, ']');
}

static void put_rest(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->parallel_tools >= 0)
        jw_bool(x->b, enc_top(x, "parallel_tool_calls"), r->parallel_tools);
    if (r->max_tokens)
        jw_int(x->b, enc_top(x, "max_output_tokens"), r->max_tokens);
    if (r->top_logprobs)
        jw_int(x->b, enc_top(x, "top_logprobs"), r->top_logprobs);
    if (r->truncate)
        jw_str(x->b, enc_top(x, "truncation"), STR("auto"));
    if (r->previous_id.n)
        jw_str(x->b, enc_top(x, "previous_response_id"), r->previous_id);
    jw_bool(x->b, enc_top(x, "store"), r->store);
    if (r->stream)
        jw_bool(x->b, enc_top(x, "stream"), true);
    if (r->user.p)
        jw_str(x->b, enc_top(x, "user"), r->user);
}

static int put_body(struct enc *x, struct str model, const json_t *extra)
{
    jw_str(x->b, enc_top(x, "model"), model);
    int rc = put_input(x, extra);
    if (rc)
        return rc;
    if ((rc = responses_put_tools(x, extra, false)))
        return rc;
    responses_put_choice(x, extra, false);
    if ((rc = enc_sampling(x)))
        return rc;
    if ((rc = responses_put_text(x, extra, false)))
        return rc;
    responses_put_reasoning(x, extra, false);
    put_include(x, extra);
    put_rest(x);
    return enc_extra(x, extra, "instructions");
}

int responses_encode(struct enc *x, struct str model)
{
    json_t *extra = NULL;
    int rc = check(x);
    if (!rc)
        rc = enc_extra_load(x, GEN_DIALECT_RESPONSES, &extra);
    if (rc)
        return rc;
    buf_putc(x->b, '{');
    rc = put_body(x, model, extra);
    buf_putc(x->b, '}');
    json_decref(extra);
    return rc;
}
