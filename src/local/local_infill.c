/* local_infill.c: filling in the middle. Owns which tokens mark the parts, in what order these come
 * and what is left out when all of it does not fit.
 *
 *   [repo] name  [file] name, text  [file] name, text ...  [file] name      where there are files
 *   [prefix] what stands before  [suffix] what stands behind  [middle]      and the model goes on
 *
 * The order is the one models are trained with, and it is kind to the prefix cache: files and the
 * text before the place stay as they are while somebody types, so that only what was typed and the
 * text behind it are read again. (Mistral's models want [suffix] first and have no [middle].) When
 * the context is short the text before loses its beginning, in large steps, so that it begins at
 * the same token from one keystroke to the next; the text behind loses its end; files go whole, the
 * first ones first. All text is from outside: no token with a meaning is found in it. */
#include "local_int.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 10, MARKS = 5 };

/* ---- which tokens ---- */

struct mark {
    const char *keys[2];
    const char *names[NAMES];
};

/* The names are those of the models: Qwen and others, StarCoder, Granite, DeepSeek, CodeLlama,
 * GLM, Falcon-H1. */
static const struct mark prefix_mark = {
    {"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"},
    {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<|fim_begin|>", "<PRE>",
     "▁<PRE>", "<|code_prefix|>", "<|prefix|>"}};
static const struct mark suffix_mark = {
    {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"},
    {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<|fim_hole|>", "<SUF>",
     "▁<SUF>", "<|code_suffix|>", "<|suffix|>"}};
static const struct mark middle_mark = {
    {"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"},
    {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<|fim_end|>", "<MID>",
     "▁<MID>", "<|code_middle|>", "<|middle|>"}};
static const struct mark pad_mark = {{"tokenizer.ggml.fim_pad_token_id", NULL},
                                     {"<|fim_pad|>", "<fim-pad>", "<fim_pad>"}};
static const struct mark repo_mark = {
    {"tokenizer.ggml.fim_rep_token_id", NULL},
    {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<repo_name>"}};
static const struct mark file_mark = {{"tokenizer.ggml.fim_sep_token_id", NULL},
                                      {"<|file_sep|>", "<file_sep>"}};

static int find_mark(const struct local *l, const struct gguf *g, const struct mark *m,
                     int32_t *out, struct err *e)
{
    *out = -1;
    for (size_t i = 0; i < 2 && m->keys[i]; i++) {
        const struct gguf_value *v = gguf_find(g, m->keys[i]);
        uint64_t id;
        bool none = v && ((v->type == GGUF_U32 && v->u == UINT32_MAX) ||
                          (v->type == GGUF_I32 && v->i == -1));
        if (!v || none)
            continue;
        int rc = gguf_get_u64(g, m->keys[i], (uint64_t)tok_count(l->tok) - 1, &id, e);
        if (!rc)
            *out = (int32_t)id;
        return rc;
    }
    for (size_t i = 0; i < NAMES && m->names[i] && *out < 0; i++)
        *out = tok_find(l->tok, str_of(m->names[i]));
    return 0;
}

bool local_fim_known(const struct local_fim *f)
{
    return f->prefix >= 0 && f->suffix >= 0 && (f->middle >= 0 || f->suffix_first);
}

int local_fim_open(struct local *l, const struct gguf *g, struct err *e)
{
    struct local_fim *f = &l->fim;
    int rc = find_mark(l, g, &prefix_mark, &f->prefix, e);
    if (!rc)
        rc = find_mark(l, g, &suffix_mark, &f->suffix, e);
    if (!rc)
        rc = find_mark(l, g, &middle_mark, &f->middle, e);
    if (!rc)
        rc = find_mark(l, g, &pad_mark, &f->pad, e);
    if (!rc)
        rc = find_mark(l, g, &repo_mark, &f->repo, e);
    if (!rc)
        rc = find_mark(l, g, &file_mark, &f->file, e);
    if (rc || local_fim_known(f))
        return rc;
    int32_t pre = tok_find(l->tok, STR("[PREFIX]")), suf = tok_find(l->tok, STR("[SUFFIX]"));
    if (pre >= 0 && suf >= 0) {
        f->prefix = pre;
        f->suffix = suf;
        f->suffix_first = true;
    }
    return 0;
}

static bool has_key(const struct gguf *g, const struct mark *m)
{
    return gguf_find(g, m->keys[0]) || (m->keys[1] && gguf_find(g, m->keys[1]));
}

/* A vocabulary has 50,000 pieces and more, and most are told apart from all of the names by their
 * ends: every one begins with one of three bytes and ends in a bracket. */
static bool may_be_named(struct str piece)
{
    if (piece.n < 5)
        return false;
    char first = piece.p[0], last = piece.p[piece.n - 1];
    return (last == '>' || last == ']') && (first == '<' || first == '[' || first == "▁"[0]);
}

static bool is_named(const struct mark *m, struct str piece, const char *other)
{
    for (size_t i = 0; i < NAMES && m->names[i]; i++)
        if (str_is(piece, m->names[i]))
            return true;
    return str_is(piece, other);
}

bool local_fim_listed(const struct gguf *g)
{
    const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.tokens");
    bool before = has_key(g, &prefix_mark), behind = has_key(g, &suffix_mark);
    struct str piece;
    for (uint64_t at = 0; v && v->type == GGUF_ARR && v->elem == GGUF_STR && !(before && behind) &&
                          gguf_arr_str_next(v, &at, &piece);) {
        if (!may_be_named(piece))
            continue;
        before |= is_named(&prefix_mark, piece, "[PREFIX]");
        behind |= is_named(&suffix_mark, piece, "[SUFFIX]");
    }
    return before && behind;
}

/* ---- the parts ---- */

struct parts {
    struct tok_ids prefix, suffix, files;
    size_t *ends;   /* of each file in `files` */
    size_t from;    /* of the prefix: what is before is left out */
    size_t nsuffix; /* tokens of it that stay */
    size_t file;    /* the first file that stays */
};

static void parts_done(struct parts *p)
{
    tok_ids_done(&p->prefix);
    tok_ids_done(&p->suffix);
    tok_ids_done(&p->files);
    free(p->ends);
}

static int encode(const struct local *l, struct str s, struct tok_ids *ids, struct err *e)
{
    struct tok_span span = {s, false};
    return s.n ? tok_encode(l->tok, &span, 1, 0, LOCAL_TOKENS, ids, e) : 0;
}

static int encode_file(const struct local *l, struct str name, struct str text, struct tok_ids *ids,
                       struct err *e)
{
    int rc = 0;
    if (l->fim.file >= 0) {
        struct buf head = BUF_INIT(1 << 16);
        rc = local_put_ids(ids, &l->fim.file, 1, e);
        buf_str_add(&head, name.n ? name : STR("file"));
        buf_putc(&head, '\n');
        if (!rc && buf_failed(&head))
            rc = err_set(e, ERR_TOO_LARGE, "files: a name of %zu bytes is too long", name.n);
        if (!rc)
            rc = encode(l, buf_str(&head), ids, e);
        buf_done(&head);
    }
    if (!rc)
        rc = encode(l, text, ids, e);
    /* Without a mark of their own files are kept apart by an empty line. */
    return rc || !text.n ? rc : encode(l, l->fim.file >= 0 ? STR("\n") : STR("\n\n"), ids, e);
}

static int encode_parts(const struct local *l, const struct gen_req *req, struct parts *p,
                        struct err *e)
{
    p->ends = calloc(req->nfiles + 1, sizeof *p->ends);
    int rc = p->ends ? encode(l, req->prompt, &p->prefix, e)
                     : err_set(e, ERR_NOMEM, "no memory for %zu files", req->nfiles);
    if (!rc)
        rc = encode(l, req->suffix, &p->suffix, e);
    for (size_t i = 0; !rc && i < req->nfiles; i++) {
        rc = encode_file(l, req->files[i].name, req->files[i].text, &p->files, e);
        p->ends[i] = p->files.n;
    }
    p->nsuffix = p->suffix.n;
    return rc;
}

/* ---- what fits ---- */

/* The text behind gets a quarter, and what the text before leaves. */
static void cut_text(struct parts *p, size_t most)
{
    size_t least = most / 4, left = p->prefix.n < most ? most - p->prefix.n : 0;
    size_t behind = left > least ? left : least;
    if (p->nsuffix > behind)
        p->nsuffix = behind;
    size_t before = most - p->nsuffix, step = most / 8 ? most / 8 : 1;
    if (p->prefix.n > before) {
        size_t over = p->prefix.n - before;
        p->from = (over + step - 1) / step * step;
        if (p->from > p->prefix.n)
            p->from = p->prefix.n;
    }
}

static void cut_parts(struct parts *p, const struct gen_req *req, size_t most, size_t heads)
{
    most = most > heads + 1 ? most - heads : 1;
    if (p->prefix.n + p->suffix.n > most)
        cut_text(p, most);
    size_t taken = p->prefix.n - p->from + p->nsuffix, left = most > taken ? most - taken : 0;
    while (p->file < req->nfiles) {
        size_t begun = p->file ? p->ends[p->file - 1] : 0;
        if (p->files.n - begun <= left)
            break;
        p->file++;
    }
}

/* ---- the prompt ---- */

/* The file to write in has a name like the last of the others. */
static int add_heads(const struct local *l, const struct gen_req *req, const struct parts *p,
                     struct tok_ids *before, struct tok_ids *after, struct err *e)
{
    const struct local_fim *f = &l->fim;
    int rc = 0;
    if (p->file == req->nfiles)
        return 0;
    if (f->repo >= 0 && f->file >= 0) {
        rc = local_put_ids(before, &f->repo, 1, e);
        if (!rc)
            rc = encode(l, STR("project\n"), before, e);
    }
    if (rc || f->file < 0)
        return rc;
    struct str name = req->files[req->nfiles - 1].name;
    size_t dot = name.n;
    while (dot > 0 && name.p[dot - 1] != '.' && name.p[dot - 1] != '/')
        dot--;
    char current[64] = "current";
    if (dot > 0 && name.p[dot - 1] == '.' && name.n - dot < 16)
        snprintf(current, sizeof current, "current.%.*s",
                 STR_ARG(str_n(name.p + dot, name.n - dot)));
    return encode_file(l, str_of(current), STR(""), after, e);
}

static int join(const struct local *l, const struct gen_req *req, const struct parts *p,
                struct tok_ids *ids, struct err *e)
{
    const struct local_fim *f = &l->fim;
    struct tok_ids before = {0}, after = {0};
    size_t begun = p->file ? p->ends[p->file - 1] : 0;
    int32_t bos = tok_bos(l->tok);
    int rc = tok_add_bos(l->tok) && bos >= 0 ? local_put_ids(ids, &bos, 1, e) : 0;
    if (!rc)
        rc = add_heads(l, req, p, &before, &after, e);
    struct {
        const int32_t *p;
        size_t n;
    } all[] = {{before.p, before.n},
               {p->files.p ? p->files.p + begun : NULL, p->files.n - begun},
               {after.p, after.n},
               {&f->prefix, 1},
               {p->prefix.p ? p->prefix.p + p->from : NULL, p->prefix.n - p->from},
               {&f->suffix, 1},
               {p->suffix.p, p->nsuffix},
               {&f->middle, f->middle >= 0 && !f->suffix_first}};
    static const unsigned char usual[] = {0, 1, 2, 3, 4, 5, 6, 7},
                               swapped[] = {0, 1, 2, 5, 6, 3, 4, 7};
    const unsigned char *order = f->suffix_first ? swapped : usual;
    for (size_t i = 0; !rc && i < sizeof usual; i++)
        rc = local_put_ids(ids, all[order[i]].p, all[order[i]].n, e);
    tok_ids_done(&before);
    tok_ids_done(&after);
    return rc;
}

/* Ids as text, for looking at. */
static int show(const struct local *l, const struct tok_ids *ids, size_t from,
                struct tmpl_out *text, struct err *e)
{
    struct buf b = BUF_INIT(text->text.max);
    for (size_t i = from; i < ids->n; i++)
        tok_decode(l->tok, ids->p[i], false, true, &b);
    int rc = local_add_text(text, buf_str(&b), true, e);
    buf_done(&b);
    return rc;
}

int local_infill(struct local *l, const struct gen_req *req, struct tmpl_out *text,
                 struct tok_ids *ids, struct err *e)
{
    enum { HEADS = 64 }; /* marks and the names around files, roughly */
    struct parts p = {0};
    size_t from = ids->n;
    if (!local_fim_known(&l->fim))
        return err_set(e, ERR_UNSUPPORTED,
                       "infill: model '%s' does not support insert: it cannot fill in the middle",
                       l->name);
    int rc = encode_parts(l, req, &p, e);
    if (!rc)
        cut_parts(&p, req, local_room(l, req), req->nfiles ? HEADS : MARKS);
    if (!rc)
        rc = join(l, req, &p, ids, e);
    parts_done(&p);
    return rc ? rc : show(l, ids, from, text, e);
}
