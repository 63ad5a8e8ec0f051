/* local_render.c: a request to token ids. Owns what this model refuses, the variables its template
 * gets, and the rule that text from outside never becomes a special token. */
#include "local_int.h"

#include "clock.h"

#include <stdlib.h>

/* More text than a request may carry, times what templates add. */
enum { MAX_TEXT = 64 << 20, MAX_TOKENS = 32 << 20 };

/* ---- what is refused ---- */

static const char *media_name(enum gen_part_type type)
{
    switch (type) {
    case GEN_PART_IMAGE: return "images";
    case GEN_PART_AUDIO: return "audio";
    case GEN_PART_DOCUMENT: return "documents";
    default: return NULL;
    }
}

static int check_messages(const struct local *l, const struct gen_req *req, struct err *e)
{
    for (size_t i = 0; i < req->nmsgs; i++) {
        const struct gen_msg *m = &req->msgs[i];
        bool system = m->role == GEN_SYSTEM || m->role == GEN_DEVELOPER;
        if (system && !l->traits.system)
            return err_set_at(e, ERR_UNSUPPORTED, i,
                              "messages[%zu]: model '%s' takes no system message", i, l->name);
        for (size_t k = 0; k < m->nparts; k++) {
            const char *media = media_name(m->parts[k].type);
            if (media)
                return err_set_at(e, ERR_UNSUPPORTED, i,
                                  "messages[%zu].content[%zu]: model '%s' takes no %s", i, k,
                                  l->name, media);
        }
    }
    return 0;
}

static int check_tools(const struct local *l, const struct gen_req *req, struct err *e)
{
    if (!req->ntools || req->tool_choice == GEN_CHOICE_NONE)
        return 0;
    if (!l->caps.tools)
        return err_set(e, ERR_UNSUPPORTED, "tools: model '%s' cannot call tools", l->name);
    bool forced = req->tool_choice == GEN_CHOICE_REQUIRED || req->tool_choice == GEN_CHOICE_NAMED;
    if (forced && !tmpl_syntax_form(l->syntax))
        return err_set(e, ERR_UNSUPPORTED,
                       "tool_choice: model '%s' cannot be made to call a tool, only offered it",
                       l->name);
    return 0;
}

static int check_chat(const struct local *l, const struct gen_req *req, struct err *e)
{
    if (!l->tmpl && l->tmpl_err.code)
        return err_set(e, ERR_UNSUPPORTED, "model '%s' takes only raw prompts: its %s", l->name,
                       err_msg(&l->tmpl_err));
    if (!l->tmpl)
        return err_set(e, ERR_UNSUPPORTED,
                       "model '%s' takes only raw prompts: it has no chat template", l->name);
    int rc = check_messages(l, req, e);
    return rc ? rc : check_tools(l, req, e);
}

int local_check(const struct local *l, const struct gen_req *req, struct err *e)
{
    if (req->kind == GEN_EMBED)
        return local_embed_check(l, req, e);
    if (req->kind != GEN_CHAT && req->kind != GEN_RAW)
        return err_set(e, ERR_UNSUPPORTED, "%s: model '%s' only writes text",
                       req->kind == GEN_RERANK ? "rerank" : "infill", l->name);
    if (!l->caps.raw)
        return err_set(e, ERR_UNSUPPORTED, "model '%s' writes no text: it only gives embeddings",
                       l->name);
    if (req->n > 1)
        return err_set(e, ERR_UNSUPPORTED, "n: model '%s' gives one answer, not %d", l->name,
                       req->n);
    return req->kind == GEN_CHAT ? check_chat(l, req, e) : 0;
}

/* ---- text ---- */

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

static int render_chat(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                       struct err *e)
{
    struct tmpl_vars v = {
        .req = req,
        .add_generation_prompt = true,
        .bos = piece_of(l->tok, tok_bos(l->tok)),
        .eos = piece_of(l->tok, tok_eos(l->tok)),
        .now_ms = clock_wall_ms(),
        .extra = effort_vars(req->effort),
    };
    return tmpl_render(l->tmpl, &v, text, e);
}

/* A raw prompt is one run from outside. */
static int render_raw(const struct gen_req *req, struct tmpl_out *text, struct err *e)
{
    if (req->prompt.n) {
        text->runs = malloc(sizeof *text->runs);
        if (!text->runs)
            return err_set(e, ERR_NOMEM, "no memory for a prompt");
        text->cap = text->nruns = 1;
        text->runs[0] = (struct tmpl_run){0, req->prompt.n, true};
    }
    buf_str_add(&text->text, req->prompt);
    if (buf_failed(&text->text))
        return err_set(e, ERR_TOO_LARGE, "a prompt of %zu bytes is too large", req->prompt.n);
    return 0;
}

/* ---- ids ---- */

static int encode_runs(const struct tok *t, const struct tmpl_out *text, unsigned flags,
                       struct tok_ids *ids, struct err *e)
{
    struct tok_span *spans = calloc(text->nruns + 1, sizeof *spans);
    if (!spans)
        return err_set(e, ERR_NOMEM, "no memory for a prompt");
    for (size_t i = 0; i < text->nruns; i++) {
        const struct tmpl_run *r = &text->runs[i];
        spans[i] = (struct tok_span){str_n(text->text.p + r->from, r->to - r->from), !r->untrusted};
    }
    int rc = tok_encode(t, spans, text->nruns, flags, MAX_TOKENS, ids, e);
    free(spans);
    return rc;
}

static int put_first(struct tok_ids *ids, int32_t id, struct err *e)
{
    if (ids->n == ids->cap) {
        int32_t *p = realloc(ids->p, (ids->n + 1) * sizeof *p);
        if (!p)
            return err_set(e, ERR_NOMEM, "no memory for a prompt");
        ids->p = p;
        ids->cap = ids->n + 1;
    }
    memmove(ids->p + 1, ids->p, ids->n * sizeof *ids->p);
    ids->p[0] = id;
    ids->n++;
    return 0;
}

/* BOS once: where the file asks for it and a template has not written it; and something to start
 * from where there would be nothing. */
static int encode(struct local *l, const struct gen_req *req, const struct tmpl_out *text,
                  struct tok_ids *ids, struct err *e)
{
    int32_t bos = tok_bos(l->tok), eos = tok_eos(l->tok);
    bool raw = req->kind == GEN_RAW;
    int rc = encode_runs(l->tok, text, raw ? TOK_ADD_BOS : 0, ids, e);
    if (rc)
        return rc;
    if (!raw && tok_add_bos(l->tok) && bos >= 0 && (ids->n == 0 || ids->p[0] != bos))
        return put_first(ids, bos, e);
    if (ids->n > 0)
        return 0;
    if (bos < 0 && eos < 0)
        return err_set(e, ERR_UNSUPPORTED, "an empty prompt: model '%s' has no token to start from",
                       l->name);
    return put_first(ids, bos >= 0 ? bos : eos, e);
}

int local_render(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                 struct tok_ids *ids, struct err *e)
{
    int rc;
    if (req->kind == GEN_RAW)
        rc = render_raw(req, text, e);
    else if (l->tmpl)
        rc = render_chat(l, req, text, e);
    else
        rc = check_chat(l, req, e);
    return rc ? rc : encode(l, req, text, ids, e);
}

/* Does the template's own text end inside reasoning? */
static bool ends_thinking(const struct local *l, const struct tmpl_out *text)
{
    if (!text->nruns || text->runs[text->nruns - 1].untrusted)
        return false;
    return tmpl_syntax_opens_thinking(l->syntax, buf_str(&text->text));
}

int local_prepare(struct local *l, const struct gen_req *req, struct local_prompt *out,
                  struct err *e)
{
    struct tmpl_out text;
    struct local_prompt p = {0};
    if (req->kind == GEN_EMBED)
        return local_embed_prepare(l, req, out, e);
    tmpl_out_init(&text, MAX_TEXT);
    int rc = local_render(l, req, &text, &p.ids, e);
    p.thinks = rc == 0 && req->kind == GEN_CHAT && ends_thinking(l, &text);
    tmpl_out_done(&text);
    if (rc)
        local_prompt_done(&p);
    else
        *out = p;
    return rc;
}

void local_prompt_done(struct local_prompt *p)
{
    tok_ids_done(&p->ids);
    free(p->texts);
    p->texts = NULL;
}

static void free_kept(void *kept)
{
    if (kept)
        local_prompt_done(kept);
    free(kept);
}

int local_count(struct gen_backend *b, const struct gen_req *req, struct str model,
                struct gen_count *out, struct err *e)
{
    struct gen_caps caps;
    int rc = b->ops->describe(b, model, &caps, e);
    if (rc)
        return rc;
    struct local_prompt *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "no memory for a prompt");
    rc = local_prepare((struct local *)b, req, p, e);
    if (rc) {
        free(p);
        return rc;
    }
    *out = (struct gen_count){
        .tokens = (int64_t)p->ids.n, .exact = true, .kept = p, .kept_free = free_kept};
    return 0;
}
