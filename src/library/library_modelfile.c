/* library_modelfile.c: Ollama's Modelfile, read and written. Pure.
 *
 *   # a comment                          a command and its value a line; commands in any case
 *   FROM smollm2:135m
 *   PARAMETER temperature 0.2
 *   SYSTEM """You are ...                a value in quotes may go on over lines, until a line
 *   brief."""                            ends in the same quotes; nothing in it is escaped
 *   MESSAGE user Why is the sky blue?
 *
 * Source: https://github.com/ollama/ollama/blob/main/docs/modelfile.md */
#include "library_int.h"

#include "buf.h"
#include "utf8.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define MODELFILE_MAX ((size_t)8 << 20)

struct reader {
    struct str rest;
    uint64_t line; /* of the command under way, from 1 on */
    uint64_t at;   /* of what is read next */
    struct library_recipe out;
    json_t *messages;
    struct err *e;
};

/* ---- lines ---- */

static bool next_line(struct reader *r, struct str *line)
{
    if (r->rest.n == 0)
        return false;
    str_cut(r->rest, '\n', line, &r->rest);
    r->at++;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The first word, and what follows it. */
static struct str first_word(struct str s, struct str *rest)
{
    size_t n = 0;
    while (n < s.n && !is_blank(s.p[n]))
        n++;
    *rest = str_trim(str_n(s.p + n, s.n - n));
    return str_n(s.p, n);
}

static int refuse(const struct reader *r, int code, const char *what, struct str word)
{
    return err_set_at(r->e, code, r->line, "line %llu: %s%s%.*s", (unsigned long long)r->line, what,
                      word.n ? " " : "", word.n > 80 ? 80 : (int)word.n, word.n ? word.p : "");
}

/* Quotes at both ends; false: it goes on. */
static bool unquote(struct str s, struct str quotes, struct str *inner)
{
    if (s.n < 2 * quotes.n || !str_ends(s, quotes))
        return false;
    *inner = str_n(s.p + quotes.n, s.n - 2 * quotes.n);
    return true;
}

/* A value that begins in this line. It is a run of the text, as nothing in it is escaped. */
static int take_value(struct reader *r, struct str first, struct str *value)
{
    struct str quotes = str_starts(first, STR("\"\"\"")) ? STR("\"\"\"") : STR("\"");
    struct str line, whole = first;
    if (!str_starts(first, quotes)) {
        *value = first;
        return 0;
    }
    while (!unquote(whole, quotes, value)) {
        if (!next_line(r, &line))
            return refuse(r, ERR_FORMAT, "the quotes are not closed", STR_NONE);
        struct str end = str_trim(line);
        whole.n = (size_t)((end.n ? end.p + end.n : line.p) - whole.p);
    }
    return 0;
}

/* ---- commands ---- */

static int on_from(struct reader *r, struct str value)
{
    if (r->out.from)
        return refuse(r, ERR_FORMAT, "a second FROM", STR_NONE);
    if (value.n == 0)
        return refuse(r, ERR_FORMAT, "FROM names no model", STR_NONE);
    r->out.from = strndup(value.p, value.n);
    return r->out.from ? 0 : err_set(r->e, ERR_NOMEM, "no memory for a Modelfile");
}

static int on_text(struct reader *r, enum lib_text kind, struct str value)
{
    struct err why = {0};
    char **slot = lib_text_of(&r->out.texts, kind);
    if (kind != LIB_LICENCE) { /* the last one counts */
        free(*slot);
        *slot = NULL;
    }
    int rc = lib_text_set(&r->out.texts, kind, value, "the Modelfile", &why);
    return rc == 0 ? 0 : refuse(r, rc, err_msg(&why), STR_NONE);
}

static int on_parameter(struct reader *r, struct str rest)
{
    struct str value, name = first_word(rest, &value);
    struct err why = {0};
    int rc = take_value(r, value, &value);
    if (rc != 0)
        return rc;
    if (name.n == 0 || value.n == 0)
        return refuse(r, ERR_FORMAT, "PARAMETER needs a name and a value", STR_NONE);
    rc = library_param_add(&r->out.texts.params, name, value, &why);
    return rc == 0 ? 0 : refuse(r, rc, err_msg(&why), STR_NONE);
}

static int on_message(struct reader *r, struct str rest)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    struct str value, role = first_word(rest, &value);
    const char *known = NULL;
    int rc = take_value(r, value, &value);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < 3; i++)
        if (str_ieq(role, str_of(roles[i])))
            known = roles[i];
    if (!known)
        return refuse(r, ERR_FORMAT, "MESSAGE needs system, user or assistant, not", role);
    json_t *m = json_pack("{s:s, s:s%}", "role", known, "content", value.n ? value.p : "", value.n);
    if (!m || json_array_append_new(r->messages, m) != 0)
        return refuse(r, ERR_FORMAT, "a message that is no UTF-8 text", STR_NONE);
    return 0;
}

static int run_command(struct reader *r, struct str word, struct str rest)
{
    static const struct {
        const char *name;
        enum lib_text kind;
    } texts[] = {{"TEMPLATE", LIB_TEMPLATE},
                 {"SYSTEM", LIB_SYSTEM},
                 {"LICENSE", LIB_LICENCE},
                 {"LICENCE", LIB_LICENCE}};
    struct str value;
    if (str_ieq(word, STR("PARAMETER")))
        return on_parameter(r, rest);
    if (str_ieq(word, STR("MESSAGE")))
        return on_message(r, rest);
    if (str_ieq(word, STR("ADAPTER")))
        return refuse(r, ERR_UNSUPPORTED, "ADAPTER: weir has no adapters", STR_NONE);
    bool from = str_ieq(word, STR("FROM"));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] || from; i++) {
        if (!from && !str_ieq(word, str_of(texts[i].name)))
            continue;
        int rc = take_value(r, rest, &value);
        return rc ? rc : from ? on_from(r, value) : on_text(r, texts[i].kind, value);
    }
    return refuse(r, ERR_FORMAT,
                  "a command is FROM, TEMPLATE, SYSTEM, PARAMETER, MESSAGE or LICENSE, not", word);
}

static int read_all(struct reader *r)
{
    struct str line, rest;
    int rc = 0;
    while (rc == 0 && next_line(r, &line)) {
        line = str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        r->line = r->at;
        struct str word = first_word(line, &rest);
        rc = run_command(r, word, rest);
    }
    if (rc == 0 && !r->out.from)
        rc = err_set(r->e, ERR_FORMAT, "the Modelfile has no FROM");
    return rc;
}

static int keep_messages(struct reader *r)
{
    if (json_array_size(r->messages) == 0)
        return 0;
    char *text = json_dumps(r->messages, JSON_COMPACT);
    if (!text)
        return err_set(r->e, ERR_NOMEM, "no memory for a Modelfile");
    int rc = lib_text_set(&r->out.texts, LIB_MESSAGES, str_of(text), "the Modelfile", r->e);
    free(text);
    return rc;
}

int library_modelfile_parse(struct str text, struct library_recipe *out, struct err *e)
{
    struct reader r = {.rest = text, .e = e};
    if (text.n > MODELFILE_MAX)
        return err_set(e, ERR_TOO_LARGE, "a Modelfile of more than %zu bytes", MODELFILE_MAX);
    if (!utf8_valid(text) || memchr(text.p, '\0', text.n))
        return err_set(e, ERR_FORMAT, "the Modelfile is no UTF-8 text");
    if (str_starts(text, STR("\xEF\xBB\xBF")))
        r.rest = str_n(text.p + 3, text.n - 3);
    r.messages = json_array();
    int rc = r.messages ? read_all(&r) : err_set(e, ERR_NOMEM, "no memory for a Modelfile");
    if (rc == 0)
        rc = keep_messages(&r);
    json_decref(r.messages);
    if (rc == 0)
        *out = r.out;
    else
        library_recipe_done(&r.out);
    return rc;
}

void library_recipe_done(struct library_recipe *r)
{
    if (!r)
        return;
    free(r->from);
    library_texts_done(&r->texts);
    *r = (struct library_recipe){0};
}

/* ---- writing ---- */

/* Between threefold quotes. A line in it, but the last, that ends in them would end it. */
static bool can_quote(struct str s)
{
    struct str line, rest = s;
    while (str_cut(rest, '\n', &line, &rest))
        if (str_ends(str_trim(line), STR("\"\"\"")))
            return false;
    return true;
}

static void write_value(struct buf *out, const char *command, struct str text)
{
    if (can_quote(text))
        buf_printf(out, "%s \"\"\"%.*s\"\"\"\n", command, STR_ARG(text));
    else
        buf_printf(out, "# %s holds a line that ends in quotes: a Modelfile cannot say it\n",
                   command);
}

static void write_text_param(struct buf *out, const char *key, struct str s)
{
    bool threefold = s.n > 0 && (s.p[0] == '"' || memchr(s.p, '\n', s.n));
    const char *quotes = threefold ? "\"\"\"" : "\"";
    if (threefold && !can_quote(s))
        buf_printf(out, "# PARAMETER %s cannot be said here\n", key);
    else
        buf_printf(out, "PARAMETER %s %s%.*s%s\n", key, quotes, STR_ARG(s), quotes);
}

/* A number at its shortest that reads back. */
static char *scalar_text(const json_t *v)
{
    char *text = NULL;
    for (size_t digits = 15; digits <= 17; digits++) {
        free(text);
        text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (!text || !json_is_real(v) || strtod(text, NULL) == json_real_value(v))
            break;
    }
    return text;
}

static void write_param(struct buf *out, const char *key, const json_t *v)
{
    if (json_is_string(v)) {
        write_text_param(out, key, str_n(json_string_value(v), json_string_length(v)));
        return;
    }
    char *text = scalar_text(v);
    if (text && (json_is_number(v) || json_is_boolean(v)))
        buf_printf(out, "PARAMETER %s %s\n", key, text);
    free(text);
}

void library_modelfile_write(const struct library_item *it, struct buf *out)
{
    const struct library_texts *t = &it->texts;
    json_t *params = json_loads(t->params, 0, NULL), *messages = json_loads(t->messages, 0, NULL);
    const char *key;
    json_t *v;
    size_t i;
    if (it->base[0])
        buf_printf(out, "# made from %s\n", it->base);
    buf_printf(out, "FROM %s\n", it->name);
    if (*t->template_text)
        write_value(out, "TEMPLATE", str_of(t->template_text));
    if (*t->system)
        write_value(out, "SYSTEM", str_of(t->system));
    json_object_foreach(params, key, v)
    {
        if (!json_is_array(v))
            write_param(out, key, v);
        for (size_t k = 0; k < json_array_size(v); k++)
            write_param(out, key, json_array_get(v, k));
    }
    json_array_foreach(messages, i, v)
    {
        char command[40];
        const char *role = json_string_value(json_object_get(v, "role"));
        snprintf(command, sizeof command, "MESSAGE %.20s", role ? role : "user");
        write_value(out, command, str_of(json_string_value(json_object_get(v, "content"))));
    }
    if (*t->licence_text)
        write_value(out, "LICENSE", str_of(t->licence_text));
    json_decref(params);
    json_decref(messages);
}
