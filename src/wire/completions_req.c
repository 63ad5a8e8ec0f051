/* completions_req.c: decodes the body of POST /v1/completions
 * (https://platform.openai.com/docs/api-reference/completions/create) into a gen_req of kind
 * GEN_RAW, or GEN_INFILL where a suffix stands behind the place to fill in; with the sampling
 * fields and the constraints that compatible servers added.
 *
 * Refused, as not computed here: log-probabilities of the prompt (echo beside logprobs), and a
 * best_of that is not n. What the dialect has not (a limit of -1 tokens: none) is read as
 * llama-server reads it. */
#include "wire_int.h"

static const char *const known[] = {
    "model",       "prompt",  "suffix",  "echo",           "max_tokens",
    "stop",        "n",       "best_of", "logprobs",       "response_format",
    "json_schema", "grammar", "stream",  "stream_options", "user",
    NULL};

enum { DEFAULT_TOKENS = 16, MAX_LOGPROBS = 5 };

static bool only_texts(const struct gen_req *r)
{
    for (size_t i = 0; i <= r->nmore; i++) {
        struct gen_prompt p = wire_prompt(r, i);
        if (p.ids || p.npieces)
            return false;
    }
    return true;
}

static int decode_suffix(struct dec *d, const json_t *body, struct gen_req *r)
{
    int rc = dec_str(d, body, "suffix", &r->suffix);
    if (rc <= 0 || !r->suffix.n)
        return rc < 0 ? rc : 0;
    if (r->nmore)
        return dec_fail(d, ERR_UNSUPPORTED, "suffix", "needs a single prompt");
    if (!only_texts(r))
        return dec_fail(d, ERR_UNSUPPORTED, "suffix", "needs a prompt of text");
    if (r->echo)
        return dec_fail(d, ERR_UNSUPPORTED, "echo", "cannot stand beside suffix");
    r->kind = GEN_INFILL;
    return 0;
}

static int decode_logprobs(struct dec *d, const json_t *body, struct gen_req *r)
{
    int64_t top = 0;
    int rc = dec_int(d, body, "logprobs", 0, MAX_LOGPROBS, &top);
    if (rc <= 0)
        return rc;
    if (r->echo)
        return dec_fail(d, ERR_UNSUPPORTED, "echo",
                        "log-probabilities of the prompt are not computed");
    r->logprobs = true;
    r->top_logprobs = (int32_t)top;
    return 0;
}

static int decode_choices(struct dec *d, const json_t *body, struct gen_req *r)
{
    int64_t n = 1, best = 0;
    int rc = dec_int(d, body, "n", 1, WIRE_MAX_CHOICES, &n);
    if (rc < 0)
        return rc;
    if ((rc = dec_int(d, body, "best_of", 0, INT32_MAX, &best)) < 0)
        return rc;
    if (best && best != n)
        return dec_fail(d, ERR_UNSUPPORTED, "best_of",
                        "answers are not chosen among others: it must be n");
    return dec_choices(d, "n", n, r);
}

/* 0: nothing is generated (with echo: the prompt alone comes back). -1: no limit. */
static int decode_tokens(struct dec *d, const json_t *body, struct gen_req *r)
{
    int64_t n = DEFAULT_TOKENS;
    int rc = dec_int(d, body, "max_tokens", -1, INT32_MAX, &n);
    if (rc < 0)
        return rc;
    r->prompt_only = n == 0;
    r->max_tokens = n == 0 ? 1 : n < 0 ? 0 : n;
    return 0;
}

static int decode_fields(struct dec *d, const json_t *body, struct gen_req *r)
{
    int rc = dec_str(d, body, "model", &r->model);
    if (rc < 0)
        return rc;
    if (!rc || !r->model.n)
        return dec_fail(d, ERR_FORMAT, "model", "is missing");
    if ((rc = dec_prompts(d, body, r)))
        return rc;
    if ((rc = dec_bool(d, body, "echo", &r->echo)) < 0)
        return rc;
    if ((rc = decode_suffix(d, body, r)))
        return rc;
    if ((rc = decode_choices(d, body, r)))
        return rc;
    if ((rc = decode_logprobs(d, body, r)))
        return rc;
    if ((rc = decode_tokens(d, body, r)))
        return rc;
    if ((rc = dec_stops(d, body, "stop", r)) < 0)
        return rc;
    if ((rc = dec_sampling(d, body, &r->sampling)))
        return rc;
    if ((rc = dec_format(d, body, r)))
        return rc;
    if ((rc = dec_stream(d, body, r)))
        return rc;
    rc = dec_str(d, body, "user", &r->user);
    return rc < 0 ? rc : 0;
}

int completions_decode(struct dec *d, const json_t *body, struct gen_req *r)
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
