/* local_face.c: how a model is spoken to: its template, the syntax of its calls and its reasoning.
 * The file's own is read once; one that comes with requests (Ollama's `template`, a Modelfile's) is
 * kept for the next request that brings the same. Called by local.c and local_render.c. */
#include "local_int.h"

#include <stdlib.h>

int local_face_new(struct str source, struct local_face **out, struct err *e)
{
    struct local_face *f = calloc(1, sizeof *f);
    char *copy = f && source.n ? malloc(source.n) : NULL;
    if (!f || (source.n && !copy)) {
        free(f);
        return err_set(e, ERR_NOMEM, "no memory for a template");
    }
    atomic_init(&f->refs, 1);
    if (source.n) {
        memcpy(copy, source.p, source.n);
        f->source = str_n(copy, source.n);
        if (tmpl_parse(source, &f->tmpl, &f->err) == 0) {
            f->err = (struct err){0};
            f->syntax = tmpl_syntax_of(f->tmpl);
            tmpl_describe(f->tmpl, &f->traits);
            f->tools = f->traits.tools && tmpl_syntax_calls(f->syntax);
        }
    }
    *out = f;
    return 0;
}

void local_face_put(struct local_face *f)
{
    if (!f || atomic_fetch_sub(&f->refs, 1) > 1)
        return;
    tmpl_free(f->tmpl);
    free((char *)f->source.p);
    free(f);
}

static struct local_face *counted(struct local_face *f)
{
    atomic_fetch_add(&f->refs, 1);
    return f;
}

/* The last one that was given, if it is this one. */
static struct local_face *find_given(struct local *l, struct str source)
{
    struct local_face *f = NULL;
    pthread_mutex_lock(&l->face_lock);
    if (l->given && str_eq(l->given->source, source))
        f = counted(l->given);
    pthread_mutex_unlock(&l->face_lock);
    return f;
}

static void keep_given(struct local *l, struct local_face *f)
{
    pthread_mutex_lock(&l->face_lock);
    struct local_face *old = l->given;
    l->given = counted(f);
    pthread_mutex_unlock(&l->face_lock);
    local_face_put(old);
}

int local_face_get(struct local *l, const struct gen_req *req, struct local_face **out,
                   struct err *e)
{
    struct local_face *f = NULL;
    if (!req->tmpl.n || (req->kind != GEN_CHAT && req->kind != GEN_INFILL) ||
        str_eq(req->tmpl, l->face->source)) {
        *out = counted(l->face);
        return 0;
    }
    f = find_given(l, req->tmpl);
    if (!f) {
        int rc = local_face_new(req->tmpl, &f, e);
        if (rc)
            return rc;
        if (!f->tmpl) {
            rc = err_set(e, f->err.code, "template: %s", err_msg(&f->err));
            local_face_put(f);
            return rc;
        }
        keep_given(l, f);
    }
    *out = f;
    return 0;
}
