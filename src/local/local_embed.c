/* local_embed.c: a request for embeddings to the engine's texts, and its rows to what callers want.
 *
 * An input is a text, of which nothing is taken for a special token and which gets the marks that
 * its model was trained with at both ends; or the ids of tokens, which are taken as they are. A row
 * is cut to the dimensions asked for and made to have length 1, as OpenAI's are: then a product of
 * two rows is the cosine of their angle. Called by local_run.c. */
#include "local_int.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_TOKENS = 32 << 20 };

static size_t context_of(const struct local *l)
{
    return (size_t)engine_ctx(l->engine);
}

/* The mark at the end stays: with a pooling of the last token it is what the row is made of. */
static void cut(struct tok_ids *ids, size_t from, size_t most, bool marked)
{
    if (ids->n - from <= most)
        return;
    int32_t last = ids->p[ids->n - 1];
    ids->n = from + most;
    if (marked)
        ids->p[ids->n - 1] = last;
}

static int add_input(const struct local *l, const struct gen_req *req, size_t i,
                     struct tok_ids *ids, struct err *e)
{
    const struct gen_msg *m = &req->msgs[i];
    const struct gen_part *p = m->parts;
    size_t from = ids->n;
    int rc;
    if (m->nparts != 1 || (p->type != GEN_PART_TEXT && p->type != GEN_PART_TOKENS))
        return err_set_at(e, ERR_UNSUPPORTED, i, "input[%zu]: model '%s' embeds text only", i,
                          l->name);
    bool text = p->type == GEN_PART_TEXT;
    struct tok_span span = {p->text, false};
    if (text)
        rc = tok_encode(l->tok, &span, 1, TOK_ADD_BOS | TOK_ADD_EOS, MAX_TOKENS - ids->n, ids, e);
    else
        rc = local_put_ids(ids, p->ids, p->nids, e);
    if (rc)
        return rc;
    if (ids->n == from)
        return err_set_at(e, ERR_INVAL, i, "input[%zu]: is empty", i);
    if (req->truncate)
        cut(ids, from, context_of(l), text && tok_add_eos(l->tok));
    if (ids->n - from > context_of(l))
        return err_set_at(e, ERR_CONTEXT, i,
                          "input[%zu]: has %zu tokens and model '%s' takes %zu: %zu too many", i,
                          ids->n - from, l->name, context_of(l), ids->n - from - context_of(l));
    return 0;
}

int local_embed_prepare(struct local *l, const struct gen_req *req, struct local_prompt *out,
                        struct err *e)
{
    struct local_prompt p = *out;
    p.ntexts = req->nmsgs;
    size_t *ends = calloc(req->nmsgs + 1, sizeof *ends);
    p.texts = calloc(req->nmsgs + 1, sizeof *p.texts);
    int rc = ends && p.texts ? 0 : err_set(e, ERR_NOMEM, "no memory for %zu texts", req->nmsgs);
    for (size_t i = 0; !rc && i < req->nmsgs; i++) {
        rc = add_input(l, req, i, &p.ids, e);
        ends[i] = p.ids.n;
    }
    /* Only now do the ids stay where they are. */
    for (size_t i = 0, from = 0; !rc && i < req->nmsgs; from = ends[i++])
        p.texts[i] = (struct model_text){p.ids.p + from, ends[i] - from};
    free(ends);
    *out = p;
    return rc;
}

int local_embed_check(const struct local *l, const struct gen_req *req, struct err *e)
{
    const struct model_traits *t = model_traits(engine_model(l->engine));
    if (!l->caps.embed)
        return err_set(e, ERR_UNSUPPORTED, "embeddings: model '%s' ranks texts only", l->name);
    if (req->nmsgs < 1)
        return err_set(e, ERR_INVAL, "input: is missing");
    if (req->dimensions < 0 || req->dimensions > t->width)
        return err_set(e, ERR_INVAL, "dimensions: is %d and model '%s' gives %d", req->dimensions,
                       l->name, t->width);
    return 0;
}

int local_embed_row(const struct gen_req *req, const float *row, size_t width, float *out,
                    size_t *n, struct err *e)
{
    double sum = 0;
    *n = req->dimensions > 0 ? (size_t)req->dimensions : width;
    for (size_t i = 0; i < *n; i++)
        sum += (double)row[i] * (double)row[i];
    if (!isfinite(sum))
        return err_set(e, ERR_FORMAT, "the model's output is not a number");
    double scale = sum > 0 ? 1.0 / sqrt(sum) : 0;
    for (size_t i = 0; i < *n; i++)
        out[i] = (float)((double)row[i] * scale);
    return 0;
}
