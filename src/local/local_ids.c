/* local_ids.c: lists of ids and texts of runs being put together. Called by the files of local/
 * that make prompts. */
#include "local_int.h"

#include <stdlib.h>

static int reserve(struct tok_ids *ids, size_t n, struct err *e)
{
    if (n > LOCAL_TOKENS - ids->n)
        return err_set(e, ERR_TOO_LARGE, "a prompt of more than %zu tokens", LOCAL_TOKENS);
    if (ids->cap - ids->n >= n)
        return 0;
    size_t cap = ids->n + n > ids->cap * 2 ? ids->n + n : ids->cap * 2;
    int32_t *p = realloc(ids->p, cap * sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "no memory for a prompt");
    ids->p = p;
    ids->cap = cap;
    return 0;
}

int local_put_ids(struct tok_ids *ids, const int32_t *p, size_t n, struct err *e)
{
    int rc = reserve(ids, n, e);
    if (rc == 0 && n > 0) {
        memcpy(ids->p + ids->n, p, n * sizeof *p);
        ids->n += n;
    }
    return rc;
}

int local_put_first(struct tok_ids *ids, size_t at, int32_t id, struct err *e)
{
    int rc = reserve(ids, 1, e);
    if (rc)
        return rc;
    memmove(ids->p + at + 1, ids->p + at, (ids->n - at) * sizeof *ids->p);
    ids->p[at] = id;
    ids->n++;
    return 0;
}

int local_encode_runs(const struct tok *t, const struct tmpl_out *text, unsigned flags,
                      struct tok_ids *ids, struct err *e)
{
    struct tok_span *spans = calloc(text->nruns + 1, sizeof *spans);
    if (!spans)
        return err_set(e, ERR_NOMEM, "no memory for a prompt");
    for (size_t i = 0; i < text->nruns; i++) {
        const struct tmpl_run *r = &text->runs[i];
        spans[i] = (struct tok_span){str_n(text->text.p + r->from, r->to - r->from), !r->untrusted};
    }
    int rc = tok_encode(t, spans, text->nruns, flags, LOCAL_TOKENS, ids, e);
    free(spans);
    return rc;
}

int local_add_text(struct tmpl_out *text, struct str s, bool untrusted, struct err *e)
{
    if (!s.n)
        return 0;
    if (text->nruns == text->cap) {
        size_t cap = text->cap ? text->cap * 2 : 8;
        struct tmpl_run *runs = realloc(text->runs, cap * sizeof *runs);
        if (!runs)
            return err_set(e, ERR_NOMEM, "no memory for a prompt");
        text->runs = runs;
        text->cap = cap;
    }
    size_t from = text->text.n;
    buf_str_add(&text->text, s);
    if (buf_failed(&text->text))
        return err_set(e, ERR_TOO_LARGE, "a prompt of %zu bytes is too large", from + s.n);
    text->runs[text->nruns++] = (struct tmpl_run){from, text->text.n, untrusted};
    return 0;
}
