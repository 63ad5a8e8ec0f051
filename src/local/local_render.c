/* local_render.c: a request to one text, and the text to token ids. Owns the variables a template
 * gets, and the rule that what messages hold never becomes a special token. A raw prompt is no
 * message: who sends one writes the template's part too, marks included. */
#include "local_int.h"

#include "clock.h"

/* What templates call the switch and the strength of thinking. */
static struct str effort_vars(enum gen_effort effort)
{
    switch (effort) {
    case GEN_EFFORT_UNSET: return STR("");
    case GEN_EFFORT_NONE: return STR("{\"enable_thinking\":false,\"thinking\":false}");
    case GEN_EFFORT_LOW:
        return STR("{\"enable_thinking\":true,\"thinking\":true,\"reasoning_effort\":\"low\"}");
    case GEN_EFFORT_MEDIUM:
        return STR("{\"enable_thinking\":true,\"thinking\":true,\"reasoning_effort\":\"medium\"}");
    case GEN_EFFORT_HIGH:
        return STR("{\"enable_thinking\":true,\"thinking\":true,\"reasoning_effort\":\"high\"}");
    }
    return STR("");
}

static struct str piece_of(const struct tok *t, int32_t id)
{
    return id >= 0 ? tok_piece(t, id) : STR("");
}

int local_render_chat(struct local *l, const struct local_face *f, const struct gen_req *req,
                      bool open, struct tmpl_out *text, struct err *e)
{
    struct tmpl_vars v = {
        .req = req,
        .add_generation_prompt = open,
        .bos = piece_of(l->tok, tok_bos(l->tok)),
        .eos = piece_of(l->tok, tok_eos(l->tok)),
        .now_ms = clock_wall_ms(),
        .extra = effort_vars(req->effort),
    };
    return tmpl_render(f->tmpl, &v, text, e);
}

/* Something to start from where there would be nothing. */
static int never_empty(const struct local *l, struct tok_ids *ids, size_t from, struct err *e)
{
    int32_t bos = tok_bos(l->tok), eos = tok_eos(l->tok);
    if (ids->n > from)
        return 0;
    if (bos < 0 && eos < 0)
        return err_set(e, ERR_UNSUPPORTED, "an empty prompt: model '%s' has no token to start from",
                       l->name);
    return local_put_first(ids, from, bos >= 0 ? bos : eos, e);
}

/* BOS once: where the file asks for it and a template has not written it. */
int local_encode_chat(const struct local *l, const struct tmpl_out *text, struct tok_ids *ids,
                      struct err *e)
{
    int32_t bos = tok_bos(l->tok);
    size_t from = ids->n;
    int rc = local_encode_runs(l->tok, text, 0, ids, e);
    if (!rc && tok_add_bos(l->tok) && bos >= 0 && (ids->n == from || ids->p[from] != bos))
        rc = local_put_first(ids, from, bos, e);
    return rc ? rc : never_empty(l, ids, from, e);
}

static int check_ids(const struct local *l, const int32_t *p, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < 0 || p[i] >= tok_count(l->tok))
            return err_set_at(e, ERR_INVAL, i,
                              "prompt: token %d at %zu is outside the vocabulary of model '%s', "
                              "which has %d",
                              p[i], i, l->name, tok_count(l->tok));
    return 0;
}

struct gen_prompt local_raw_prompt(const struct gen_req *req, size_t i)
{
    if (i > 0)
        return req->more[i - 1];
    return (struct gen_prompt){req->prompt, req->prompt_ids, req->nprompt_ids, req->prompt_pieces,
                               req->nprompt_pieces};
}

/* Text begins as texts do where it is the first, its special tokens are meant as such; ids are
 * taken as they are. */
static int encode_piece(const struct local *l, const struct gen_prompt *p, bool first,
                        struct tmpl_out *text, struct tok_ids *ids, struct err *e)
{
    struct tok_span span = {p->text, true};
    int rc = p->ids ? check_ids(l, p->ids, p->nids, e) : local_add_text(text, p->text, true, e);
    if (rc)
        return rc;
    if (p->ids)
        return local_put_ids(ids, p->ids, p->nids, e);
    if (!first && !p->text.n)
        return 0;
    return tok_encode(l->tok, &span, 1, first ? TOK_ADD_BOS : 0, LOCAL_TOKENS, ids, e);
}

int local_render_raw(const struct local *l, const struct gen_prompt *p, struct tmpl_out *text,
                     struct tok_ids *ids, struct err *e)
{
    size_t from = ids->n;
    bool first = true;
    int rc = p->pieces ? 0 : encode_piece(l, p, true, text, ids, e);
    for (size_t i = 0; !rc && i < p->npieces; i++) {
        const struct gen_prompt *piece = &p->pieces[i];
        rc = encode_piece(l, piece, first && !piece->ids, text, ids, e);
        first &= piece->ids != NULL;
    }
    return rc ? rc : never_empty(l, ids, from, e);
}

/* A model whose vocabulary has no marks for it may have a template that says how. */
int local_render_infill(struct local *l, const struct local_face *f, const struct gen_req *req,
                        struct tmpl_out *text, struct tok_ids *ids, struct err *e)
{
    if (local_fim_known(&l->fim) || !f->traits.infill)
        return local_infill(l, req, text, ids, e);
    int rc = local_render_chat(l, f, req, true, text, e);
    return rc ? rc : local_encode_chat(l, text, ids, e);
}

int local_render(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                 struct tok_ids *ids, struct err *e)
{
    struct local_face *f;
    struct gen_prompt bare = local_raw_prompt(req, 0);
    if (req->kind == GEN_RAW)
        return local_render_raw(l, &bare, text, ids, e);
    int rc = local_face_get(l, req, &f, e);
    if (rc)
        return rc;
    if (req->kind == GEN_INFILL) {
        rc = local_render_infill(l, f, req, text, ids, e);
        local_face_put(f);
        return rc;
    }
    rc = f->tmpl ? local_render_chat(l, f, req, true, text, e) : local_check_chat(l, f, req, e);
    if (!rc)
        rc = local_encode_chat(l, text, ids, e);
    local_face_put(f);
    return rc;
}
