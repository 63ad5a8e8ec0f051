/* tok_special.c: tokens with a role: which ids begin, end and separate texts, which end a
 * generation, and which are looked for in a text before anything else.
 *
 * A control token is found in trusted text alone. A user-defined one is ordinary text to the
 * reference engine, which finds it everywhere (Gemma's runs of newlines, MPT's runs of spaces), and
 * so it must be here for the ids to be the same. But files give that type to markup as well:
 * <think>, <tool_call>, [INST]. A user's text that could forge those could speak as the model or as
 * a tool. So a user-defined token counts as markup, is found in trusted text alone and never comes
 * out of merging, if it is bracketed like a tag and no name of HTML (Gemma has <table> and <h1>),
 * if it has the bars that control tokens have, or if the file's chat template writes it out; white
 * space is exempt, for every template has some. Text that spells markup becomes the ids of its
 * letters: a model sees what was said, not what was forged. */
#include "tok_int.h"

#include <ctype.h>
#include <stdlib.h>

/* ---- markup ---- */

static bool is_white(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        struct str rest = str_n(s.p + i, s.n - i);
        if (str_starts(rest, STR(TOK_SPACE)))
            i += 3;
        else if (isspace((unsigned char)s.p[i]))
            i++;
        else
            return false;
    }
    return true;
}

static bool has_mark(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (ispunct((unsigned char)s.p[i]))
            return true;
    return false;
}

static bool is_html(struct str s)
{
    static const char *const names[] = {
        "a",  "b",     "blockquote", "br",    "caption", "code", "div",    "em",    "h1",
        "h2", "h3",    "h4",         "h5",    "h6",      "hr",   "i",      "img",   "li",
        "ol", "p",     "pre",        "s",     "sub",     "sup",  "strong", "table", "tbody",
        "td", "tfoot", "th",         "thead", "tr",      "u",    "ul"};
    if (s.n < 3 || s.p[0] != '<' || s.p[s.n - 1] != '>')
        return false;
    size_t from = s.p[1] == '/' ? 2 : 1;
    struct str name = str_n(s.p + from, s.n - 1 - from);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_is(name, names[i]))
            return true;
    return false;
}

static bool is_bracketed(struct str s)
{
    char a = s.p[0], b = s.p[s.n - 1];
    return s.n > 1 && ((a == '<' && b == '>') || (a == '[' && b == ']') || (a == '{' && b == '}'));
}

static bool is_markup(struct str s, struct str chat)
{
    if (is_white(s))
        return false;
    if ((is_bracketed(s) && !is_html(s)) || str_find(s, STR("<|"), 0) != SIZE_MAX ||
        str_find(s, STR("|>"), 0) != SIZE_MAX || str_find(s, STR("\xEF\xBD\x9C"), 0) != SIZE_MAX)
        return true;
    return has_mark(s) && str_find(chat, s, 0) != SIZE_MAX;
}

/* A list of user-defined tokens longer than any vocabulary has would make the search for each in
 * the template slow: past the first thousands what has marks is taken for markup unsearched. */
static void find_markup(struct tok *t, const struct gguf *g)
{
    enum { SEARCHED = 4096, CHAT_MAX = 1 << 17 };
    const struct gguf_value *v = gguf_find(g, "tokenizer.chat_template");
    struct str chat = v && v->type == GGUF_STR ? v->s : STR_NONE;
    if (chat.n > CHAT_MAX)
        chat.n = CHAT_MAX;
    size_t n = 0;
    for (uint32_t id = 0; id < t->count; id++) {
        struct str s = t->pieces[id];
        if (t->types[id] != TOK_USER || s.n == 0)
            continue;
        if (n++ < SEARCHED ? is_markup(s, chat) : !is_white(s) && has_mark(s))
            t->types[id] = TOK_MARKUP;
    }
}

/* ---- ids ---- */

/* An absent id, or the -1 that converters write for "none", leaves *out as it is. */
static int read_id(const struct tok *t, const struct gguf *g, const char *key, int32_t *out,
                   struct err *e)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if ((v->type == GGUF_U32 && v->u == UINT32_MAX) || (v->type == GGUF_I32 && v->i == -1)) {
        *out = -1;
        return 0;
    }
    uint64_t id;
    int rc = gguf_get_u64(g, key, t->count - 1, &id, e);
    if (rc == 0)
        *out = (int32_t)id;
    return rc;
}

/* What files leave out; only if the token there is of the type such a token has. */
static int32_t default_id(const struct tok *t, uint32_t id, unsigned type)
{
    return id < t->count && (t->types[id] == type || t->types[id] == TOK_CONTROL) ? (int32_t)id
                                                                                  : -1;
}

static void default_ids(struct tok *t)
{
    t->bos = t->eos = t->unk = t->sep = -1;
    if (t->model == TOK_SPM) {
        t->unk = default_id(t, 0, TOK_UNKNOWN);
        t->bos = default_id(t, 1, TOK_CONTROL);
        t->eos = default_id(t, 2, TOK_CONTROL);
    } else if (t->model == TOK_UNIGRAM) {
        t->eos = default_id(t, 1, TOK_CONTROL);
        t->unk = default_id(t, 2, TOK_UNKNOWN);
    } else if (t->model == TOK_WORDPIECE) {
        t->unk = default_id(t, 100, TOK_UNKNOWN);
        t->bos = default_id(t, 101, TOK_CONTROL);
        t->sep = default_id(t, 102, TOK_CONTROL);
    }
}

static int read_ids(struct tok *t, const struct gguf *g, struct err *e)
{
    default_ids(t);
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &t->bos},
               {"tokenizer.ggml.eos_token_id", &t->eos},
               {"tokenizer.ggml.unknown_token_id", &t->unk},
               {"tokenizer.ggml.seperator_token_id", &t->sep}, /* as the format spells it */
               {"tokenizer.ggml.separator_token_id", &t->sep}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof ids / sizeof ids[0]; i++)
        rc = read_id(t, g, ids[i].key, ids[i].id, e);
    if (rc == 0 && t->model == TOK_WORDPIECE) {
        /* BERT's text stands between [CLS] and [SEP]. */
        if (t->bos < 0)
            rc = read_id(t, g, "tokenizer.ggml.cls_token_id", &t->bos, e);
        t->eos = t->sep >= 0 ? t->sep : t->eos;
    }
    return rc;
}

/* ---- the end of a generation ---- */

static const char *const eog_names[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<|end_of_turn|>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<reponame>",
    "<|file_sep|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
};

static uint32_t find_name(const struct tok *t, const char *name)
{
    return tok_lookup(t, str_of(name));
}

/* These end a generation whatever type the file gives them, and no text may forge them. */
static void mark_names(struct tok *t)
{
    for (size_t i = 0; i < sizeof eog_names / sizeof eog_names[0]; i++) {
        uint32_t id = find_name(t, eog_names[i]);
        if (id == TOK_NONE || t->types[id] == TOK_BYTE)
            continue;
        t->types[id] = TOK_CONTROL;
        t->eog[id] = true;
    }
    /* In the harmony format <|end|> closes a message, and a turn has several. */
    uint32_t end = find_name(t, "<|end|>");
    bool call = find_name(t, "<|call|>") != TOK_NONE || find_name(t, "<|calls|>") != TOK_NONE;
    bool last = find_name(t, "<|return|>") != TOK_NONE || find_name(t, "<|flush|>") != TOK_NONE;
    if (end != TOK_NONE && call && last)
        t->eog[end] = false;
    /* Gemma 4 has </s> as a name of HTML's. */
    uint32_t s = find_name(t, "</s>");
    if (s != TOK_NONE && find_name(t, "<|tool_response>") != TOK_NONE) {
        t->eog[s] = false;
        t->types[s] = TOK_NORMAL;
    }
}

static int read_eog(struct tok *t, const struct gguf *g, struct err *e)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < 2; i++) {
        int32_t id = -1;
        int rc = read_id(t, g, keys[i], &id, e);
        if (rc != 0)
            return rc;
        if (id >= 0)
            t->eog[id] = true;
    }
    if (t->eos >= 0)
        t->eog[t->eos] = true;
    return 0;
}

/* ---- white space around special tokens ---- */

static bool name_has(const struct gguf *g, const char *key, const char *const *parts, bool fold)
{
    const struct gguf_value *v = gguf_find(g, key);
    for (; v && v->type == GGUF_STR && *parts; parts++) {
        struct str part = str_of(*parts);
        for (size_t i = 0; i + part.n <= v->s.n; i++) {
            struct str here = str_n(v->s.p + i, part.n);
            if (fold ? str_ieq(here, part) : str_eq(here, part))
                return true;
        }
    }
    return false;
}

static bool *strip_of(bool **list, const struct tok *t)
{
    if (!*list)
        *list = calloc(t->count, sizeof **list);
    return *list;
}

static bool strip_before(struct tok *t, const char *name)
{
    uint32_t id = find_name(t, name);
    if (id == TOK_NONE)
        return true;
    if (!strip_of(&t->lstrip, t))
        return false;
    t->lstrip[id] = true;
    return true;
}

static bool strip_after_phi3(struct tok *t)
{
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    if (!strip_of(&t->rstrip, t))
        return false;
    for (size_t i = 0; i < t->special.n; i++)
        t->rstrip[t->special.p[i].id] = true;
    uint32_t id = find_name(t, "</s>");
    if (id != TOK_NONE)
        t->rstrip[id] = true;
    for (size_t i = 0; i < 3; i++)
        if ((id = find_name(t, kept[i])) != TOK_NONE)
            t->rstrip[id] = false;
    return true;
}

/* The format has no place for this: it is known by the model's name, as in the reference. */
static bool read_strips(struct tok *t, const struct gguf *g)
{
    static const char *const pres[] = {"jina-v2-de", "jina-v2-es", "jina-v2-code", NULL};
    static const char *const archs[] = {"nomic-bert-moe", "jina-bert-v3", NULL};
    static const char *const phi3[] = {"phi-3", "phi3", NULL};
    static const char *const modern[] = {"modern-bert", NULL};
    if (name_has(g, "tokenizer.ggml.pre", pres, false) ||
        name_has(g, "general.architecture", archs, false))
        return strip_before(t, "<mask>");
    if (name_has(g, "general.name", phi3, true))
        return strip_after_phi3(t);
    if (name_has(g, "general.name", modern, true))
        return strip_before(t, "[MASK]");
    return true;
}

/* ---- the lists ---- */

static bool is_special(const struct tok *t, uint32_t id)
{
    unsigned type = t->types[id];
    return type == TOK_CONTROL || type == TOK_MARKUP || type == TOK_USER || type == TOK_UNKNOWN;
}

static int list_special(struct tok *t, struct err *e)
{
    size_t n = 0;
    for (uint32_t id = 0; id < t->count; id++)
        n += is_special(t, id);
    if (!tok_prefix_reserve(&t->special, n) || !tok_prefix_reserve(&t->plain, n))
        return err_set(e, ERR_NOMEM, "no memory for %zu special tokens", n);
    for (uint32_t id = 0; id < t->count; id++) {
        struct str text = t->pieces[id];
        if (!is_special(t, id) || text.n == 0 || tok_lookup(t, text) != id)
            continue;
        if (text.n > TOK_MAX_MATCH)
            return err_set(e, ERR_TOO_LARGE, "special token %u is %zu bytes long, more than %zu",
                           id, text.n, TOK_MAX_MATCH);
        tok_prefix_add(&t->special, text, id);
        if (t->types[id] == TOK_USER)
            tok_prefix_add(&t->plain, text, id);
    }
    tok_prefix_sort(&t->special);
    tok_prefix_sort(&t->plain);
    return 0;
}

/* BERT's [UNK] is a control token in its file; here it is what a word becomes. */
static void note_unknown(struct tok *t)
{
    if (t->unk >= 0 && t->unk != t->bos && t->unk != t->eos && !t->eog[t->unk] &&
        (t->model == TOK_WORDPIECE || t->model == TOK_UNIGRAM))
        t->types[t->unk] = TOK_UNKNOWN;
}

int tok_special_open(struct tok *t, const struct gguf *g, struct err *e)
{
    int rc = read_ids(t, g, e);
    if (rc != 0)
        return rc;
    find_markup(t, g);
    mark_names(t);
    rc = read_eog(t, g, e);
    note_unknown(t);
    if (rc == 0)
        rc = list_special(t, e);
    if (rc == 0 && !read_strips(t, g))
        rc = err_set(e, ERR_NOMEM, "no memory for a vocabulary of %u", t->count);
    return rc;
}
