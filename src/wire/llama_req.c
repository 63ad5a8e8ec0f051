/* llama_req.c: decodes the bodies of llama-server's own POST /completion (a bare prompt) and
 * POST /infill (a place to fill in), whose fields are described in its README. Sampling fields are
 * read in that server's ranges. What steers its own machinery (slots, its cache, its answer's form)
 * goes to req->extra, where llama_out.c finds what concerns the answer.
 *
 * Refused, because the answer would be another one than was asked for: mirostat, LoRA adapters and
 * probabilities after sampling. */
#include "wire_int.h"

#include <string.h>

static const char *const known[] = {"model",
                                    "prompt",
                                    "input_prefix",
                                    "input_suffix",
                                    "input_extra",
                                    "n_predict",
                                    "max_tokens",
                                    "max_completion_tokens",
                                    "n_cmpl",
                                    "n",
                                    "stop",
                                    "n_probs",
                                    "logprobs",
                                    "response_format",
                                    "json_schema",
                                    "grammar",
                                    "stream",
                                    "stream_options",
                                    NULL};

/* The first of several names of one field counts. */
static int named_int(struct dec *d, const json_t *body, const char *const *names, int64_t lo,
                     int64_t hi, const char **used, int64_t *out)
{
    int rc = 0;
    for (; *names && !rc; names++) {
        rc = dec_int(d, body, *names, lo, hi, out);
        *used = *names;
    }
    return rc;
}

static int decode_numbers(struct dec *d, const json_t *body, struct gen_req *r)
{
    static const char *const limit[] = {"n_predict", "max_completion_tokens", "max_tokens", NULL};
    static const char *const many[] = {"n_cmpl", "n", NULL};
    static const char *const probs[] = {"n_probs", "logprobs", NULL};
    int64_t predict = -1, n = 1, top = 0;
    const char *used = "";
    int rc = named_int(d, body, limit, -1, INT32_MAX, &used, &predict);
    if (rc < 0)
        return rc;
    r->prompt_only = predict == 0;
    r->max_tokens = predict == 0 ? 1 : predict < 0 ? 0 : predict;
    if ((rc = named_int(d, body, probs, 0, 20, &used, &top)) < 0)
        return rc;
    r->logprobs = top > 0;
    r->top_logprobs = (int32_t)top;
    if ((rc = named_int(d, body, many, 1, WIRE_MAX_CHOICES, &used, &n)) < 0)
        return rc;
    return dec_choices(d, rc ? used : "n_cmpl", n, r);
}

static int refuse_others(struct dec *d, const json_t *body)
{
    int64_t mirostat = 0;
    bool post = false;
    json_t *lora = NULL;
    int rc = dec_int(d, body, "mirostat", 0, 2, &mirostat);
    if (rc >= 0 && mirostat)
        rc = dec_fail(d, ERR_UNSUPPORTED, "mirostat", "there is no such sampler here");
    if (rc >= 0)
        rc = dec_bool(d, body, "post_sampling_probs", &post);
    if (rc >= 0 && post)
        rc = dec_fail(d, ERR_UNSUPPORTED, "post_sampling_probs",
                      "probabilities are those before sampling");
    if (rc >= 0)
        rc = dec_array(d, body, "lora", &lora);
    if (rc > 0 && json_array_size(lora))
        rc = dec_fail(d, ERR_UNSUPPORTED, "lora", "adapters are not applied here");
    return rc < 0 ? rc : 0;
}

static int decode_rest(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = dec_str(d, body, "model", &r->model);
    if (rc >= 0)
        rc = decode_numbers(d, body, r);
    if (rc >= 0)
        rc = dec_stops(d, body, "stop", r);
    if (rc >= 0)
        rc = dec_sampling(d, body, &r->sampling);
    if (rc >= 0)
        rc = dec_format(d, body, r);
    if (rc >= 0)
        rc = dec_stream(d, body, r);
    if (rc >= 0)
        rc = refuse_others(d, body);
    if (rc >= 0)
        rc = dec_unknown(d, body, known, &extra);
    if (rc >= 0)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    return rc < 0 ? rc : 0;
}

int llama_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    d->wide = true;
    int rc = dec_prompts(d, body, r);
    return rc ? rc : decode_rest(d, body, r);
}

/* ---- infill ---- */

static int decode_files(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *list;
    int rc = dec_array(d, body, "input_extra", &list);
    if (rc <= 0)
        return rc;
    size_t n = json_array_size(list);
    r->files = arena_array(d->a, n, sizeof *r->files);
    if (!r->files)
        return dec_nomem(d);
    d->list = "input_extra";
    for (d->i = 0; d->i < n; d->i++) {
        const json_t *o = json_array_get(list, d->i);
        struct gen_file *f = &r->files[r->nfiles++];
        if (!json_is_object(o))
            return dec_fail(d, ERR_FORMAT, "", "must be an object");
        if ((rc = dec_str(d, o, "filename", &f->name)) < 0)
            return rc;
        if ((rc = dec_str(d, o, "text", &f->text)) <= 0)
            return rc ? rc : dec_fail(d, ERR_FORMAT, "text", "is missing");
    }
    d->list = NULL;
    return 0;
}

/* What stands before the place is the prefix, and then the prompt: the line that is being typed. */
static int join(struct dec *d, struct str prefix, struct str line, struct str *out)
{
    char *p = arena_alloc(d->a, prefix.n + line.n + 1);
    if (!p)
        return dec_nomem(d);
    if (prefix.n)
        memcpy(p, prefix.p, prefix.n);
    if (line.n)
        memcpy(p + prefix.n, line.p, line.n);
    *out = str_n(p, prefix.n + line.n);
    return 0;
}

int llama_infill_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    struct str prefix = STR_NONE, line = STR_NONE;
    d->wide = true;
    int rc = dec_str(d, body, "input_prefix", &prefix);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "input_prefix", "is missing");
    if ((rc = dec_str(d, body, "input_suffix", &r->suffix)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "input_suffix", "is missing");
    if ((rc = dec_str(d, body, "prompt", &line)) < 0)
        return rc;
    if ((rc = join(d, prefix, line, &r->prompt)))
        return rc;
    if ((rc = decode_files(d, body, r)))
        return rc;
    return decode_rest(d, body, r);
}
