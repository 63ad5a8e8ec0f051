/* local_prompt.c: all prompts of a request, ready for the engine: several bare ones, a chat cut to
 * what the context holds where the caller allowed it, the place of the caller's last cache mark.
 * What count() keeps for start(). */
#include "local_int.h"

#include <stdlib.h>

/* More text than a request may carry, times what templates add. */
enum { MAX_TEXT = 64 << 20 };

/* ---- cutting to the context ---- */

/* Tokens that a cut prompt leaves for the answer: what was asked for, or an eighth of the context;
 * never more than half of it. */
size_t local_room(const struct local *l, const struct gen_req *req)
{
    size_t ctx = (size_t)engine_ctx(l->engine);
    size_t room =
        req->max_tokens > 0 && (uint64_t)req->max_tokens < ctx ? (size_t)req->max_tokens : ctx / 8;
    return ctx - (room < ctx / 2 ? room : ctx / 2);
}

static bool is_system(const struct gen_msg *m)
{
    return m->role == GEN_SYSTEM || m->role == GEN_DEVELOPER;
}

/* A conversation may begin here: with what a user says, not with the result of a call. */
static bool is_beginning(const struct gen_msg *m)
{
    if (m->role != GEN_USER)
        return false;
    for (size_t i = 0; i < m->nparts; i++)
        if (m->parts[i].type == GEN_PART_TOOL_RESULT)
            return false;
    return true;
}

static int render_once(struct local *l, const struct local_face *f, const struct gen_req *req,
                       bool open, struct tmpl_out *text, struct tok_ids *ids, struct err *e)
{
    ids->n = 0;
    int rc = local_render_chat(l, f, req, open, text, e);
    return rc ? rc : local_encode_chat(l, text, ids, e);
}

/* The system's messages, then the others from `from` on. */
static size_t keep_from(const struct gen_req *req, size_t from, struct gen_msg *out)
{
    size_t n = 0;
    for (size_t i = 0; i < req->nmsgs; i++)
        if (i >= from || is_system(&req->msgs[i]))
            out[n++] = req->msgs[i];
    return n;
}

/* The fewest of the oldest messages go that have to: found by halving, since fewer messages are
 * fewer tokens. The last thing the user said always stays; when even that is too long, so be it:
 * the error that follows says by how much. */
static int shorten(struct local *l, const struct local_face *f, const struct gen_req *req,
                   size_t most, struct tmpl_out *text, struct tok_ids *ids, struct err *e)
{
    struct gen_msg *msgs = calloc(req->nmsgs, sizeof *msgs);
    size_t *at = calloc(req->nmsgs, sizeof *at), n = 0;
    int rc = msgs && at ? 0 : err_set(e, ERR_NOMEM, "no memory for %zu messages", req->nmsgs);
    for (size_t i = 0; !rc && i < req->nmsgs; i++)
        if (is_beginning(&req->msgs[i]))
            at[n++] = i;
    struct gen_req part = *req;
    part.msgs = msgs;
    size_t lo = 0, hi = n ? n - 1 : 0; /* at[hi] will do, or nothing does */
    while (!rc && lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        part.nmsgs = keep_from(req, at[mid], msgs);
        rc = render_once(l, f, &part, true, text, ids, e);
        if (ids->n <= most)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (!rc && n) {
        part.nmsgs = keep_from(req, at[hi], msgs);
        rc = render_once(l, f, &part, true, text, ids, e);
    }
    free(msgs);
    free(at);
    return rc;
}

/* The end of a bare prompt counts; what opens it stays. */
static void cut_front(const struct local *l, struct tok_ids *ids, size_t from, size_t most)
{
    size_t n = ids->n - from, first = ids->p[from] == tok_bos(l->tok);
    if (n <= most || most <= first)
        return;
    memmove(ids->p + from + first, ids->p + ids->n - (most - first),
            (most - first) * sizeof *ids->p);
    ids->n = from + most;
}

/* ---- cache marks ---- */

/* How many messages there are up to the last mark, *any: there is one. Tools come before all. */
static size_t marked_messages(const struct gen_req *req, bool *any)
{
    size_t last = 0;
    *any = false;
    for (size_t i = 0; i < req->ntools; i++)
        *any |= req->tools[i].cache_mark;
    for (size_t i = 0; i < req->nmsgs; i++)
        for (size_t k = 0; k < req->msgs[i].nparts; k++)
            if (req->msgs[i].parts[k].cache_mark) {
                *any = true;
                last = i + 1;
            }
    return last;
}

/* The tokens up to the end of the message that has the last mark: what a prompt of the messages up
 * to there has in common with the whole one. A mark inside of a message counts from its end. Where
 * only tools or the system's part are marked, a user's message stands behind that is not the whole
 * one's, for many templates want one. */
static size_t marked_tokens(struct local *l, const struct local_face *f, const struct gen_req *req,
                            const struct tok_ids *whole)
{
    bool any, user = false;
    size_t n = marked_messages(req, &any), same = 0;
    if (!any)
        return 0;
    struct gen_msg *msgs = calloc(n + 2, sizeof *msgs);
    if (!msgs)
        return 0;
    while (n < req->nmsgs && is_system(&req->msgs[n]))
        n++;
    for (size_t i = 0; i < n; i++) {
        msgs[i] = req->msgs[i];
        user |= !is_system(&msgs[i]);
    }
    struct gen_part other = {.type = GEN_PART_TEXT, .text = STR("\x01")};
    struct gen_req part = *req;
    msgs[n] = (struct gen_msg){.role = GEN_USER, .parts = &other, .nparts = 1};
    part.msgs = msgs;
    part.nmsgs = user ? n : n + 1;
    struct tmpl_out text;
    struct tok_ids ids = {0};
    tmpl_out_init(&text, MAX_TEXT);
    if (render_once(l, f, &part, false, &text, &ids, NULL) == 0)
        while (same < ids.n && same < whole->n && ids.p[same] == whole->p[same])
            same++;
    tmpl_out_done(&text);
    tok_ids_done(&ids);
    free(msgs);
    return same;
}

/* ---- the request ---- */

/* Does the template's own text end inside reasoning? */
static bool ends_thinking(const struct local_face *f, const struct tmpl_out *text)
{
    if (!text->nruns || text->runs[text->nruns - 1].untrusted)
        return false;
    return tmpl_syntax_opens_thinking(f->syntax, buf_str(&text->text));
}

static int prepare_chat(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                        struct local_prompt *p, struct err *e)
{
    size_t most = local_room(l, req);
    if (!p->face->tmpl)
        return local_check_chat(l, p->face, req, e);
    int rc = render_once(l, p->face, req, true, text, &p->ids, e);
    if (!rc && req->truncate && p->ids.n > most)
        rc = shorten(l, p->face, req, most, text, &p->ids, e);
    if (rc)
        return rc;
    p->thinks = ends_thinking(p->face, text);
    p->marked = marked_tokens(l, p->face, req, &p->ids);
    p->prompts[0].n = p->ids.n;
    return 0;
}

static bool is_empty(const struct gen_prompt *p)
{
    for (size_t i = 0; i < p->npieces; i++)
        if (!is_empty(&p->pieces[i]))
            return false;
    return p->pieces || (p->ids ? p->nids == 0 : p->text.n == 0);
}

static int prepare_raw(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                       struct local_prompt *p, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < p->nprompts; i++) {
        struct gen_prompt bare = local_raw_prompt(req, i);
        struct local_text *t = &p->prompts[i];
        t->from = p->ids.n;
        t->opens = is_empty(&bare);
        buf_clear(&text->text);
        text->nruns = 0;
        rc = local_render_raw(l, &bare, text, &p->ids, e);
        if (!rc && req->truncate)
            cut_front(l, &p->ids, t->from, local_room(l, req));
        t->n = p->ids.n - t->from;
    }
    return rc;
}

static int prepare(struct local *l, const struct gen_req *req, struct local_prompt *p,
                   struct err *e)
{
    struct tmpl_out text;
    p->nprompts = req->kind == GEN_RAW ? req->nmore + 1 : 1;
    p->prompts = calloc(p->nprompts, sizeof *p->prompts);
    if (!p->prompts)
        return err_set(e, ERR_NOMEM, "no memory for %zu prompts", p->nprompts);
    tmpl_out_init(&text, MAX_TEXT);
    int rc;
    if (req->kind == GEN_CHAT)
        rc = prepare_chat(l, req, &text, p, e);
    else if (req->kind == GEN_RAW)
        rc = prepare_raw(l, req, &text, p, e);
    else
        rc = local_render_infill(l, p->face, req, &text, &p->ids, e);
    if (req->kind == GEN_INFILL)
        p->prompts[0].n = p->ids.n;
    tmpl_out_done(&text);
    return rc;
}

int local_prepare(struct local *l, const struct gen_req *req, bool check, struct local_prompt *out,
                  struct err *e)
{
    struct local_prompt p = {0};
    int rc = local_face_get(l, req, &p.face, e);
    if (!rc && check)
        rc = local_check(l, p.face, req, e);
    if (!rc)
        rc = req->kind == GEN_EMBED ? local_embed_prepare(l, req, &p, e) : prepare(l, req, &p, e);
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
    free(p->prompts);
    local_face_put(p->face);
    *p = (struct local_prompt){0};
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
    rc = local_prepare((struct local *)b, req, false, p, e);
    if (rc) {
        free(p);
        return rc;
    }
    *out = (struct gen_count){
        .tokens = (int64_t)p->ids.n, .exact = true, .kept = p, .kept_free = free_kept};
    return 0;
}
