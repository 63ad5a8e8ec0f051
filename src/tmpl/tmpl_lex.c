/* tmpl_lex.c: template source to tokens. Owns white space control: `-` and `+` signs, trim_blocks
 * and lstrip_blocks (both on, as the programs that publish these templates render them), the one
 * final newline that is dropped, comments and raw blocks. Called by tmpl_parse(). */
#include "tmpl_int.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>

struct lexer {
    struct arena *a;
    struct str s;
    size_t i;
    uint32_t line;
    bool line_start; /* the last token ended in a newline, or there is none */
    struct token *v;
    size_t n, cap;
    int rc;
    struct err *e;
};

static void fail(struct lexer *x, int code, const char *what)
{
    if (!x->rc)
        x->rc = err_set_at(x->e, code, x->line, "template line %u: %s", x->line, what);
}

static struct token *push(struct lexer *x, enum token_type type)
{
    static struct token spare;
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        struct token *v = arena_array(x->a, cap, sizeof *v);
        if (!v) {
            fail(x, ERR_NOMEM, "out of memory");
            spare = (struct token){0};
            return &spare;
        }
        if (x->n)
            memcpy(v, x->v, x->n * sizeof *v);
        x->v = v;
        x->cap = cap;
    }
    struct token *t = &x->v[x->n++];
    *t = (struct token){.type = type, .line = x->line};
    return t;
}

static void advance(struct lexer *x, size_t to)
{
    for (; x->i < to; x->i++)
        x->line += x->s.p[x->i] == '\n';
}

static bool at(const struct lexer *x, size_t i, const char *z)
{
    size_t n = strlen(z);
    return i <= x->s.n && x->s.n - i >= n && memcmp(x->s.p + i, z, n) == 0;
}

/* White space after a tag that ends in a minus sign. */
static void skip_space(struct lexer *x)
{
    struct str rest = str_n(x->s.p + x->i, x->s.n - x->i);
    struct str left = text_strip(rest, NULL, true, false);
    advance(x, x->i + (rest.n - left.n));
}

/* The end of a block or comment: x->i is past "%}" or "#}". */
static void after_tag(struct lexer *x, char sign, bool trim)
{
    x->line_start = false;
    if (sign == '-') {
        skip_space(x);
    } else if (sign != '+' && trim && at(x, x->i, "\n")) {
        advance(x, x->i + 1);
        x->line_start = true;
    }
}

/* The text before a tag, without what the tag takes from it. */
static void push_text(struct lexer *x, size_t to, char sign, bool variable)
{
    struct str s = str_n(x->s.p + x->i, to - x->i);
    if (sign == '-') {
        s = text_strip(s, NULL, false, true);
    } else if (sign != '+' && !variable) {
        size_t k = s.n;
        while (k > 0 && s.p[k - 1] != '\n')
            k--;
        bool whole = k > 0 || x->line_start;
        if (whole && text_strip(str_n(s.p + k, s.n - k), NULL, true, false).n == 0)
            s.n = k;
    }
    if (s.n) {
        struct token *t = push(x, T_TEXT);
        t->text = s;
    }
    advance(x, to);
}

static int hex(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* One escape; i is at the backslash. Gives the bytes it stands for and moves past it. An unknown
 * one stays as it is. */
static size_t unescape(struct str s, size_t *i, char out[static 4])
{
    static const char from[] = "nrtabfv\\'\"", to[] = "\n\r\t\a\b\f\v\\'\"";
    char ch = s.p[*i + 1];
    const char *k = ch ? strchr(from, ch) : NULL;
    if (k) {
        *i += 2;
        out[0] = to[k - from];
        return 1;
    }
    if (ch == '\n') {
        *i += 2;
        return 0;
    }
    uint32_t cp = 0;
    size_t digits = ch == 'x' ? 2 : ch == 'u' ? 4 : ch == 'U' ? 8 : 0;
    size_t j = *i + 2;
    for (size_t d = 0; d < digits; d++, j++) {
        int h = j < s.n ? hex(s.p[j]) : -1;
        if (h < 0)
            digits = 0;
        else
            cp = cp << 4 | (uint32_t)h;
    }
    if (!digits && ch >= '0' && ch <= '7') {
        cp = 0;
        for (j = *i + 1; j < s.n && j < *i + 4 && s.p[j] >= '0' && s.p[j] <= '7'; j++)
            cp = cp << 3 | (uint32_t)(s.p[j] - '0');
        digits = 1;
    }
    size_t n = digits ? utf8_encode(cp, out) : 0;
    if (n) {
        *i = j;
        return n;
    }
    out[0] = '\\';
    *i += 1;
    return 1;
}

static void lex_string(struct lexer *x)
{
    char quote = x->s.p[x->i];
    size_t end = x->i + 1;
    while (end < x->s.n && x->s.p[end] != quote)
        end += x->s.p[end] == '\\' ? 2 : 1;
    if (end >= x->s.n) {
        fail(x, ERR_FORMAT, "string without an end");
        return;
    }
    struct str raw = str_n(x->s.p + x->i + 1, end - x->i - 1);
    struct token *t = push(x, T_STRING);
    t->text = raw;
    if (memchr(raw.p, '\\', raw.n)) {
        char *p = arena_alloc(x->a, raw.n * 2 + 4);
        if (!p) {
            fail(x, ERR_NOMEM, "out of memory");
            return;
        }
        size_t n = 0;
        for (size_t i = 0; i < raw.n;) {
            if (raw.p[i] == '\\' && i + 1 < raw.n)
                n += unescape(raw, &i, p + n);
            else
                p[n++] = raw.p[i++];
        }
        t->text = str_n(p, n);
    }
    advance(x, end + 1);
}

static bool is_digit(const struct lexer *x, size_t i)
{
    return i < x->s.n && x->s.p[i] >= '0' && x->s.p[i] <= '9';
}

static bool is_word(unsigned char ch)
{
    return ch == '_' || ch >= 0x80 || (ch >= '0' && ch <= '9') ||
           ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z');
}

static void lex_number(struct lexer *x)
{
    char z[64];
    size_t n = 0, i = x->i;
    bool whole = true;
    for (; is_digit(x, i) || (at(x, i, "_") && is_digit(x, i + 1)); i++)
        if (x->s.p[i] != '_' && n < sizeof z)
            z[n++] = x->s.p[i];
    if (at(x, i, ".") && is_digit(x, i + 1)) {
        whole = false;
        do {
            if (n < sizeof z)
                z[n++] = x->s.p[i];
            i++;
        } while (is_digit(x, i));
    }
    if (at(x, i, "e") || at(x, i, "E")) {
        size_t k = i + 1;
        k += at(x, k, "+") || at(x, k, "-");
        if (is_digit(x, k)) {
            whole = false;
            for (; i < k || is_digit(x, i); i++)
                if (n < sizeof z)
                    z[n++] = x->s.p[i];
        }
    }
    struct token *t = push(x, whole ? T_INT : T_FLOAT);
    bool ok = n < sizeof z;
    ok = ok && (whole ? str_to_i64(str_n(z, n), &t->i) : str_to_f64(str_n(z, n), &t->f));
    if (!ok)
        fail(x, ERR_FORMAT, "number out of range");
    x->i = i;
}

static void lex_operator(struct lexer *x)
{
    static const struct {
        const char *z;
        enum token_type type;
    } two[] = {{"==", T_EQ}, {"!=", T_NE},       {"<=", T_LE},
               {">=", T_GE}, {"//", T_FLOORDIV}, {"**", T_POW}};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (at(x, x->i, two[i].z)) {
            push(x, two[i].type);
            x->i += 2;
            return;
        }
    char ch = x->s.p[x->i];
    if (!ch || !strchr("+-*/%~<>=.,:;|()[]{}", ch)) {
        char msg[64];
        snprintf(msg, sizeof msg, "unexpected character '%c' (0x%02x)",
                 ch >= 32 && ch < 127 ? ch : '?', (unsigned char)ch);
        fail(x, ERR_FORMAT, msg);
        return;
    }
    push(x, T_OP)->op = ch;
    x->i++;
}

/* The inside of a tag up to and with its end. A closing brace that an open bracket still wants is
 * not the tag's. */
static void lex_inside(struct lexer *x, bool variable)
{
    const char *close = variable ? "}}" : "%}";
    uint32_t opened = x->line;
    size_t open = 0;
    while (!x->rc) {
        while (x->i < x->s.n && strchr(" \t\n\r\f\v", x->s.p[x->i]) && x->s.p[x->i])
            advance(x, x->i + 1);
        if (x->i >= x->s.n) {
            x->line = opened;
            fail(x, ERR_FORMAT, variable ? "'{{' without '}}'" : "'{%' without '%}'");
            return;
        }
        char ch = x->s.p[x->i];
        size_t sign = ch == '-' || ch == '+' ? 1 : 0;
        if (!open && at(x, x->i + sign, close)) {
            push(x, variable ? T_VAR_END : T_BLOCK_END);
            x->i += sign + 2;
            after_tag(x, sign ? ch : 0, !variable);
            return;
        }
        if (ch == '"' || ch == '\'') {
            lex_string(x);
        } else if (is_digit(x, x->i)) {
            lex_number(x);
        } else if (is_word((unsigned char)ch)) {
            size_t from = x->i;
            while (x->i < x->s.n && is_word((unsigned char)x->s.p[x->i]))
                x->i++;
            push(x, T_NAME)->text = str_n(x->s.p + from, x->i - from);
        } else {
            open += strchr("([{", ch) != NULL;
            open -= open && strchr(")]}", ch) != NULL;
            lex_operator(x);
        }
    }
}

static void lex_comment(struct lexer *x, size_t tag)
{
    size_t end = str_find(x->s, STR("#}"), tag + 2);
    if (end == SIZE_MAX) {
        fail(x, ERR_FORMAT, "'{#' without '#}'");
        return;
    }
    char sign = end > tag + 2 ? x->s.p[end - 1] : 0;
    advance(x, end + 2);
    after_tag(x, sign, true);
}

/* Is there a tag {% word %} at i? Gives where it ends and its closing sign. */
static bool word_tag(const struct lexer *x, size_t i, const char *word, size_t *end, char *sign)
{
    i += 2;
    if (at(x, i, "-") || at(x, i, "+"))
        i++;
    while (i < x->s.n && (unsigned char)(x->s.p[i] - 1) < 32)
        i++;
    if (!at(x, i, word))
        return false;
    i += strlen(word);
    while (i < x->s.n && (unsigned char)(x->s.p[i] - 1) < 32)
        i++;
    *sign = at(x, i, "-") || at(x, i, "+") ? x->s.p[i++] : 0;
    if (!at(x, i, "%}"))
        return false;
    *end = i + 2;
    return true;
}

static void lex_raw(struct lexer *x, size_t end, char sign)
{
    advance(x, end);
    after_tag(x, sign, false);
    for (size_t k = x->i; (k = str_find(x->s, STR("{%"), k)) != SIZE_MAX; k += 2) {
        if (!word_tag(x, k, "endraw", &end, &sign))
            continue;
        char open_sign = x->s.p[k + 2];
        push_text(x, k, open_sign == '-' || open_sign == '+' ? open_sign : 0, false);
        advance(x, end);
        after_tag(x, sign, true);
        return;
    }
    fail(x, ERR_FORMAT, "'raw' without 'endraw'");
}

static size_t next_tag(const struct lexer *x)
{
    for (size_t i = x->i; i + 1 < x->s.n; i++) {
        const char *p = memchr(x->s.p + i, '{', x->s.n - i - 1);
        if (!p)
            break;
        i = (size_t)(p - x->s.p);
        if (p[1] == '{' || p[1] == '%' || p[1] == '#')
            return i;
    }
    return SIZE_MAX;
}

static void lex_all(struct lexer *x)
{
    while (!x->rc && x->i < x->s.n) {
        size_t tag = next_tag(x);
        if (tag == SIZE_MAX) {
            push(x, T_TEXT)->text = str_n(x->s.p + x->i, x->s.n - x->i);
            advance(x, x->s.n);
            return;
        }
        char kind = x->s.p[tag + 1];
        char sign = tag + 2 < x->s.n ? x->s.p[tag + 2] : 0;
        if (sign != '-' && sign != '+')
            sign = 0;
        push_text(x, tag, sign, kind == '{');
        size_t end;
        char close;
        if (kind == '#') {
            lex_comment(x, tag);
        } else if (kind == '%' && word_tag(x, tag, "raw", &end, &close)) {
            lex_raw(x, end, close);
        } else {
            x->i = tag + 2 + (sign != 0);
            push(x, kind == '{' ? T_VAR_BEGIN : T_BLOCK_BEGIN);
            lex_inside(x, kind == '{');
        }
    }
}

/* All line ends to \n, the final one dropped. */
static bool normalise(struct arena *a, struct str *s)
{
    char *p = arena_alloc(a, s->n + 1);
    if (!p)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        char ch = s->p[i];
        if (ch == '\r') {
            i += i + 1 < s->n && s->p[i + 1] == '\n';
            ch = '\n';
        }
        p[n++] = ch;
    }
    if (n && p[n - 1] == '\n')
        n--;
    *s = str_n(p, n);
    return true;
}

int lex_source(struct arena *a, struct str source, struct token **out, size_t *n, struct err *e)
{
    struct lexer x = {.a = a, .s = source, .line = 1, .line_start = true, .e = e};
    if (!normalise(a, &x.s))
        return err_set(e, ERR_NOMEM, "template: out of memory");
    lex_all(&x);
    push(&x, T_EOF);
    if (x.rc)
        return x.rc;
    *out = x.v;
    *n = x.n;
    return 0;
}
