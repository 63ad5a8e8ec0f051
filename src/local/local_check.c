/* local_check.c: what a model refuses, said before anything is made of a request: ERR_UNSUPPORTED
 * names the field. Called by local_run.c. */
#include "local_int.h"

static const char *media_name(enum gen_part_type type)
{
    switch (type) {
    case GEN_PART_IMAGE: return "images";
    case GEN_PART_AUDIO: return "audio";
    case GEN_PART_DOCUMENT: return "documents";
    default: return NULL;
    }
}

static int check_messages(const struct local *l, const struct local_face *f,
                          const struct gen_req *req, struct err *e)
{
    for (size_t i = 0; i < req->nmsgs; i++) {
        const struct gen_msg *m = &req->msgs[i];
        bool system = m->role == GEN_SYSTEM || m->role == GEN_DEVELOPER;
        if (system && !f->traits.system)
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

static int check_tools(const struct local *l, const struct local_face *f, const struct gen_req *req,
                       struct err *e)
{
    if (!req->ntools || req->tool_choice == GEN_CHOICE_NONE)
        return 0;
    if (!f->tools)
        return err_set(e, ERR_UNSUPPORTED, "tools: model '%s' does not support tools", l->name);
    bool forced = req->tool_choice == GEN_CHOICE_REQUIRED || req->tool_choice == GEN_CHOICE_NAMED;
    if (forced && !tmpl_syntax_form(f->syntax))
        return err_set(e, ERR_UNSUPPORTED,
                       "tool_choice: model '%s' cannot be made to call a tool, only offered it",
                       l->name);
    return 0;
}

int local_check_chat(const struct local *l, const struct local_face *f, const struct gen_req *req,
                     struct err *e)
{
    if (!f->tmpl && f->err.code)
        return err_set(e, ERR_UNSUPPORTED, "model '%s' takes only raw prompts: its %s", l->name,
                       err_msg(&f->err));
    if (!f->tmpl)
        return err_set(e, ERR_UNSUPPORTED,
                       "model '%s' takes only raw prompts: it has no chat template", l->name);
    if (req->must_think && !f->traits.reasoning)
        return err_set(e, ERR_UNSUPPORTED, "think: model '%s' does not support thinking", l->name);
    int rc = check_messages(l, f, req, e);
    return rc ? rc : check_tools(l, f, req, e);
}

static int check_count(const struct local *l, const struct gen_req *req, struct err *e)
{
    size_t n = req->n > 1 ? (size_t)req->n : 1;
    if (req->nmore && req->kind != GEN_RAW)
        return err_set(e, ERR_INVAL, "prompt: only one can be answered so");
    if (n > LOCAL_CHOICES)
        return err_set(e, ERR_UNSUPPORTED, "n: model '%s' gives at most %d answers, not %zu",
                       l->name, LOCAL_CHOICES, n);
    if (req->nmore >= LOCAL_CHOICES / n)
        return err_set(e, ERR_UNSUPPORTED,
                       "prompt: model '%s' gives at most %d answers, and %zu prompts want %zu each",
                       l->name, LOCAL_CHOICES, req->nmore + 1, n);
    return 0;
}

int local_check(const struct local *l, const struct local_face *f, const struct gen_req *req,
                struct err *e)
{
    if (req->kind == GEN_EMBED)
        return local_embed_check(l, req, e);
    if (req->kind == GEN_RERANK)
        return err_set(e, ERR_UNSUPPORTED, "rerank: model '%s' only writes text", l->name);
    if (!l->caps.raw)
        return err_set(e, ERR_UNSUPPORTED, "model '%s' writes no text: it only gives embeddings",
                       l->name);
    if (req->kind == GEN_INFILL && !l->caps.infill && !f->traits.infill)
        return err_set(e, ERR_UNSUPPORTED,
                       "infill: model '%s' does not support insert: it cannot fill in the middle",
                       l->name);
    int rc = check_count(l, req, e);
    return rc || req->kind != GEN_CHAT ? rc : local_check_chat(l, f, req, e);
}
