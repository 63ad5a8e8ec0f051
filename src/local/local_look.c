/* local_look.c: what the vocabulary and the template make of a text, and back: for people and
 * programs that look closely. Called by app/ for llama-server's paths; any thread may. */
#include "local_int.h"

#include "utf8.h"

int local_tokenize(const struct local *l, struct str text, bool add_special, bool parse_special,
                   struct tok_ids *ids, struct err *e)
{
    struct tok_span span = {text, parse_special};
    unsigned flags = add_special ? TOK_ADD_BOS | TOK_ADD_EOS : 0;
    return tok_encode(l->tok, &span, 1, flags, LOCAL_TOKENS, ids, e);
}

void local_piece(const struct local *l, int32_t id, struct buf *out)
{
    if (id >= 0 && id < tok_count(l->tok))
        tok_decode(l->tok, id, false, true, out);
}

static void add_clean(struct str s, struct buf *out)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (n)
            buf_add(out, s.p + i, n);
        else
            buf_puts(out, "\xEF\xBF\xBD");
        i += n ? n : 1;
    }
}

int local_detokenize(const struct local *l, const int32_t *ids, size_t n, struct buf *out,
                     struct err *e)
{
    struct buf bytes = BUF_INIT(out->max);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= tok_count(l->tok)) {
            buf_done(&bytes);
            return err_set_at(e, ERR_INVAL, i,
                              "tokens: %d at %zu is outside the vocabulary of model '%s', which "
                              "has %d",
                              ids[i], i, l->name, tok_count(l->tok));
        }
        tok_decode(l->tok, ids[i], false, true, &bytes);
    }
    add_clean(buf_str(&bytes), out);
    bool failed = buf_failed(&bytes) || buf_failed(out);
    buf_done(&bytes);
    return failed ? err_set(e, ERR_TOO_LARGE, "the text of %zu tokens is too large", n) : 0;
}

int local_apply_template(struct local *l, const struct gen_req *req, struct buf *out, struct err *e)
{
    struct local_face *f;
    struct tmpl_out text;
    int rc = local_face_get(l, req, &f, e);
    if (rc)
        return rc;
    tmpl_out_init(&text, (size_t)64 << 20);
    rc = f->tmpl ? local_render_chat(l, f, req, true, &text, e) : local_check_chat(l, f, req, e);
    if (!rc)
        buf_str_add(out, buf_str(&text.text));
    if (!rc && buf_failed(out))
        rc = err_set(e, ERR_TOO_LARGE, "the rendered text of %zu bytes is too large", text.text.n);
    tmpl_out_done(&text);
    local_face_put(f);
    return rc;
}
