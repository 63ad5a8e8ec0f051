/* completions_enc.c: encodes a gen_req as the body of POST /v1/completions, for a provider that has
 * it. Refuses, naming it, what the dialect has no place for: files beside the place to fill in. */
#include "wire_int.h"

/* Where the request sets no limit the dialect's own is 16 tokens, which nobody means. */
enum { NO_LIMIT = 4096 };

static int check(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->nfiles)
        return enc_unsupported(x, "input_extra", "completions");
    if (r->kind == GEN_INFILL && (r->prompt_ids || r->nprompt_pieces))
        return enc_unsupported(x, "suffix: a prompt of token ids", "completions");
    if (r->kind == GEN_INFILL && r->nmore)
        return enc_unsupported(x, "suffix: further prompts", "completions");
    if (r->top_logprobs > 5)
        return enc_unsupported(x, "logprobs: more than 5", "completions");
    return 0;
}

static int64_t limit_of(const struct enc *x)
{
    if (x->req->prompt_only)
        return 0;
    if (x->req->max_tokens)
        return x->req->max_tokens;
    return x->q->max_tokens ? x->q->max_tokens : NO_LIMIT;
}

static void put_limits(struct enc *x)
{
    const struct gen_req *r = x->req;
    jw_int(x->b, enc_top(x, "max_tokens"), limit_of(x));
    if (r->nstops) {
        jw_array(x->b, enc_top(x, "stop"));
        for (size_t i = 0; i < r->nstops; i++)
            jw_item(x->b, r->stops[i]);
        jw_close(x->b, ']');
    }
    if (r->n > 1)
        jw_int(x->b, enc_top(x, "n"), r->n);
    if (r->logprobs)
        jw_int(x->b, enc_top(x, "logprobs"), r->top_logprobs);
    if (r->user.p)
        jw_str(x->b, enc_top(x, "user"), r->user);
}

int completions_encode(struct enc *x, struct str model)
{
    const struct gen_req *r = x->req;
    json_t *extra = NULL;
    int rc = check(x);
    if (rc)
        return rc;
    buf_putc(x->b, '{');
    jw_str(x->b, enc_top(x, "model"), model);
    enc_prompts(x);
    if (r->echo)
        jw_bool(x->b, enc_top(x, "echo"), true);
    if (r->kind == GEN_INFILL)
        jw_str(x->b, enc_top(x, "suffix"), r->suffix);
    if ((rc = enc_sampling(x)))
        return rc;
    put_limits(x);
    enc_stream(x);
    if ((rc = enc_format(x)) || (rc = enc_extra_load(x, GEN_DIALECT_OPENAI, &extra)))
        return rc;
    rc = enc_extra(x, extra, "");
    buf_putc(x->b, '}');
    json_decref(extra);
    return rc;
}
