/* go_lex.c: a Go template to items: text between actions, with white space trimmed where an action
 * asks for it ({{- and -}}), comments gone. Called by tmpl_parse. */
#include "go_int.h"

#include <ctype.h>

struct lex {
    struct arena *a;
    struct str s;
    size_t at;
    uint32_t line;
    struct go_item *v;
    size_t n, cap;
    bool spaced;
    int rc;
    struct err *e;
};

static bool fail(struct lex *x, const char *what)
{
    if (!x->rc)
        x->rc = err_set_at(x->e, ERR_FORMAT, x->line, "template line %u: %s", x->line, what);
    return false;
}

static struct go_item *push(struct lex *x, enum go_item_type type, struct str text)
{
    static struct go_item none;
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 64;
        struct go_item *v = arena_array(x->a, cap, sizeof *v);
        if (!v) {
            if (!x->rc)
                x->rc = err_set(x->e, ERR_LIMIT, "template line %u: the template is too large",
                                x->line);
            return &none;
        }
        if (x->n)
            memcpy(v, x->v, x->n * sizeof *v);
        x->v = v;
        x->cap = cap;
    }
    x->v[x->n] = (struct go_item){.type = type, .line = x->line, .text = text, .spaced = x->spaced};
    x->spaced = false;
    return &x->v[x->n++];
}

static bool is_space(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r';
}

static char peek(const struct lex *x, size_t i)
{
    return x->at + i < x->s.n ? x->s.p[x->at + i] : '\0';
}

static void skip(struct lex *x, size_t n)
{
    for (size_t i = 0; i < n && x->at < x->s.n; i++, x->at++)
        x->line += x->s.p[x->at] == '\n';
}

static bool word_char(char ch)
{
    return isalnum((unsigned char)ch) || ch == '_' || (unsigned char)ch >= 0x80;
}

static struct str take_word(struct lex *x)
{
    size_t from = x->at;
    while (x->at < x->s.n && word_char(x->s.p[x->at]))
        x->at++;
    return str_n(x->s.p + from, x->at - from);
}

/* ---- constants ---- */

static size_t put_code(char *to, uint32_t cp, bool byte)
{
    if (byte || cp < 0x80) {
        *to = (char)cp;
        return 1;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        cp = 0xFFFD;
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; cp >>= 6)
        to[i] = (char)(0x80 | (cp & 0x3F));
    to[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | cp);
    return n;
}

/* One escape sequence behind its backslash; never longer than it is written. */
static bool take_escape(struct lex *x, char *to, size_t *n)
{
    static const char from[] = "abfnrtv\\'\"", into[] = "\a\b\f\n\r\t\v\\'\"";
    char ch = peek(x, 0);
    const char *p = ch ? strchr(from, ch) : NULL;
    int digits = ch == 'x' ? 2 : ch == 'u' ? 4 : ch == 'U' ? 8 : 3, base = 16;
    if (p) {
        to[(*n)++] = into[p - from];
        x->at++;
        return true;
    }
    if (ch >= '0' && ch <= '7')
        base = 8;
    else if (strchr("xuU", ch) && ch)
        x->at++;
    else
        return fail(x, "an escape in a string that there is not");
    uint32_t cp = 0;
    for (int i = 0; i < digits; i++, x->at++) {
        char d = peek(x, 0);
        int value = isdigit((unsigned char)d)    ? d - '0'
                    : isxdigit((unsigned char)d) ? tolower((unsigned char)d) - 'a' + 10
                                                 : 99;
        if (value >= base)
            return fail(x, "an escape in a string lacks digits");
        cp = cp * (uint32_t)base + (uint32_t)value;
    }
    *n += put_code(to + *n, cp, ch != 'u' && ch != 'U');
    return true;
}

static bool lex_quoted(struct lex *x)
{
    char quote = peek(x, 0);
    size_t n = 0;
    char *to = arena_alloc(x->a, x->s.n - x->at + 4);
    if (!to)
        return fail(x, "the template is too large");
    for (x->at++; peek(x, 0) != quote || x->at >= x->s.n;) {
        char ch = peek(x, 0);
        if (x->at >= x->s.n || ch == '\n')
            return fail(x, "a string has no end");
        x->at++;
        if (ch != '\\')
            to[n++] = ch;
        else if (!take_escape(x, to, &n))
            return false;
    }
    x->at++;
    if (quote == '"') {
        push(x, GO_STRING, str_n(to, n));
        return true;
    }
    /* 'a' is a number: its code point */
    uint32_t cp = n == 1 ? (unsigned char)to[0] : 0xFFFD;
    push(x, GO_NUMBER, str_n(to, n))->k = val_int((int64_t)cp);
    return true;
}

static bool lex_raw(struct lex *x)
{
    size_t from = x->at + 1, end = str_find(x->s, STR("`"), from);
    if (end == SIZE_MAX)
        return fail(x, "a string has no end");
    push(x, GO_STRING, str_n(x->s.p + from, end - from));
    skip(x, end + 1 - x->at);
    return true;
}

static bool lex_number(struct lex *x)
{
    size_t from = x->at;
    if (peek(x, 0) == '-' || peek(x, 0) == '+')
        x->at++;
    while (word_char(peek(x, 0)) || peek(x, 0) == '.')
        x->at++;
    struct str s = str_n(x->s.p + from, x->at - from);
    struct str digits = s.p[0] == '+' ? str_n(s.p + 1, s.n - 1) : s;
    int64_t i;
    double f;
    if (str_to_i64(digits, &i))
        push(x, GO_NUMBER, s)->k = val_int(i);
    else if (str_to_f64(digits, &f))
        push(x, GO_NUMBER, s)->k = val_float(f);
    else
        return fail(x, "a number that cannot be read");
    return true;
}

/* ---- actions ---- */

static bool closes(const struct lex *x)
{
    return (peek(x, 0) == '}' && peek(x, 1) == '}') ||
           (is_space(peek(x, 0)) && peek(x, 1) == '-' && peek(x, 2) == '}' && peek(x, 3) == '}');
}

static bool lex_inside(struct lex *x)
{
    char ch = peek(x, 0), next = peek(x, 1);
    if (is_space(ch)) {
        skip(x, 1);
        x->spaced = true;
        return true;
    }
    if (ch == '"' || ch == '\'')
        return lex_quoted(x);
    if (ch == '`')
        return lex_raw(x);
    if (ch == '.' && isdigit((unsigned char)next))
        return lex_number(x);
    if (ch == '.' || ch == '$') {
        x->at++;
        struct str w = take_word(x);
        if (ch == '$')
            push(x, GO_VAR, str_n(w.p - 1, w.n + 1));
        else
            push(x, w.n ? GO_FIELD : GO_DOT, w);
        return true;
    }
    if (isdigit((unsigned char)ch) || ((ch == '-' || ch == '+') && isdigit((unsigned char)next)))
        return lex_number(x);
    if (word_char(ch)) {
        struct str w = take_word(x);
        push(x, GO_WORD, w);
        return true;
    }
    if (ch == ':' && next == '=') {
        push(x, GO_DECLARE, str_n(x->s.p + x->at, 2));
        x->at += 2;
        return true;
    }
    if (!ch || !strchr("=|(),", ch))
        return fail(x, ch ? "a character that no action has" : "an action has no end");
    push(x, GO_OP, str_n(x->s.p + x->at, 1))->op = ch;
    x->at++;
    return true;
}

/* A comment stands alone in its action. */
static bool lex_comment(struct lex *x, bool *trim)
{
    size_t end = str_find(x->s, STR("*/"), x->at + 2);
    if (end == SIZE_MAX)
        return fail(x, "a comment has no end");
    skip(x, end + 2 - x->at);
    if (!closes(x))
        return fail(x, "a comment is followed by something else");
    *trim = peek(x, 0) != '}';
    skip(x, *trim ? 4 : 2);
    return true;
}

/* From behind {{ to behind }}. trim: white space behind goes. */
static bool lex_action(struct lex *x, bool *trim)
{
    size_t gap = 0;
    while (is_space(peek(x, gap)))
        gap++;
    if (peek(x, gap) == '/' && peek(x, gap + 1) == '*') {
        skip(x, gap);
        return lex_comment(x, trim);
    }
    push(x, GO_LEFT, STR(""));
    while (!closes(x))
        if (!lex_inside(x))
            return false;
    *trim = peek(x, 0) != '}';
    push(x, GO_RIGHT, STR(""));
    skip(x, *trim ? 4 : 2);
    return x->rc == 0;
}

int go_lex(struct arena *a, struct str source, struct go_item **out, size_t *n, struct err *e)
{
    struct lex x = {.a = a, .s = source, .line = 1, .e = e};
    bool trim = false;
    while (x.at < source.n && !x.rc) {
        while (trim && x.at < source.n && is_space(source.p[x.at]))
            skip(&x, 1);
        size_t left = str_find(source, STR("{{"), x.at), end = left;
        if (left == SIZE_MAX)
            end = left = source.n;
        bool back =
            left + 3 < source.n && source.p[left + 2] == '-' && is_space(source.p[left + 3]);
        while (back && end > x.at && is_space(source.p[end - 1]))
            end--;
        if (end > x.at)
            push(&x, GO_TEXT, str_n(source.p + x.at, end - x.at));
        skip(&x, left - x.at);
        trim = false;
        if (left == source.n)
            break;
        skip(&x, back ? 3 : 2);
        if (!lex_action(&x, &trim))
            break;
    }
    push(&x, GO_EOF, STR(""));
    *out = x.v;
    *n = x.n;
    return x.rc;
}

/* ---- which of the two it is ---- */

bool go_is(struct str s)
{
    static const char *const words[] = {"if",     "range", "with",     "end",   "else",
                                        "define", "block", "template", "break", "continue"};
    if (str_find(s, STR("{%"), 0) != SIZE_MAX || str_find(s, STR("{#"), 0) != SIZE_MAX)
        return false;
    for (size_t at = 0; (at = str_find(s, STR("{{"), at)) != SIZE_MAX;) {
        struct lex x = {.s = s, .at = at + 2};
        if (peek(&x, 0) == '-')
            x.at++;
        while (is_space(peek(&x, 0)))
            x.at++;
        char ch = peek(&x, 0);
        if (ch == '.' || ch == '$' || (ch == '/' && peek(&x, 1) == '*'))
            return true;
        struct str w = take_word(&x);
        char after = peek(&x, 0);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (str_is(w, words[i]) &&
                (is_space(after) || after == '}' || (after == '(' && i == 0)))
                return true;
        /* a function of Go's before an argument */
        if (w.n && go_func_find(w) && is_space(after) && peek(&x, 1) &&
            strchr(".$\"(", peek(&x, 1)))
            return true;
        at += 2;
    }
    return false;
}
