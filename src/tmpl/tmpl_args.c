/* tmpl_args.c: the values of calls as JSON: from JSON itself, from the text of tagged parameters
 * (which the tool's schema gives a type), from Python's and Gemma's literals and from nested
 * elements. Refuses what is none of these, and what is nested too deeply. Called by tmpl_call.c. */
#include "tmpl_parser_int.h"

#include "utf8.h"

#include <errno.h>
#include <stdlib.h>

enum { MAX_NESTING = 64 };

#define GEMMA_QUOTE STR("<|\"|>")

/* ---- brackets ---- */

static bool json_outside(char ch)
{
    return is_space(ch) || (ch && strchr("{}[]:,\"+-.0123456789eEtrufalsn", ch));
}

/* How many bytes the quote at the beginning of s takes; 0: none. MORE: it may become one. */
static enum found quote_at(struct str s, enum quotes quotes, size_t *n)
{
    *n = 0;
    if (quotes == QUOTES_GEMMA) {
        enum found f = starts_with(s, GEMMA_QUOTE.p);
        *n = f == YES ? GEMMA_QUOTE.n : 0;
        return f;
    }
    *n = s.p[0] == '"' || (quotes == QUOTES_PYTHON && s.p[0] == '\'');
    return *n ? YES : NO;
}

/* One look at the byte at sc->at, or at the quote there. */
static enum found scan_one(struct scan *sc, struct str s, enum quotes quotes)
{
    size_t n;
    char ch = s.p[sc->at];
    enum found q = quote_at(str_n(s.p + sc->at, s.n - sc->at), quotes, &n);
    if (q == MORE)
        return MORE;
    if (sc->quote) {
        if (ch == '\\' && quotes != QUOTES_GEMMA && sc->at + 1 == s.n)
            return MORE;
        if (ch == '\\' && quotes != QUOTES_GEMMA)
            n = 2;
        else if (q == YES && ch == sc->quote)
            sc->quote = 0;
        sc->at += n ? n : 1;
        return NO;
    }
    if (q == YES)
        sc->quote = ch;
    else if (ch == '{' || ch == '[' || ch == '(')
        sc->depth++;
    else if (ch == '}' || ch == ']' || ch == ')')
        sc->depth--;
    sc->at += n ? n : 1;
    return !sc->quote && !sc->depth && (ch == '}' || ch == ']' || ch == ')') ? YES : NO;
}

enum found scan_brackets(struct scan *sc, struct str s, enum quotes quotes)
{
    while (sc->at < s.n) {
        if (quotes == QUOTES_JSON && !sc->quote && !json_outside(s.p[sc->at]))
            return NO;
        if (!sc->quote && !sc->depth && strchr(")]}", s.p[sc->at]))
            return NO; /* NUL too */
        enum found f = scan_one(sc, s, quotes);
        if (f != NO)
            return f;
    }
    return MORE;
}

/* ---- JSON, and text with a type ---- */

json_t *args_json(struct str s)
{
    size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    if (!s.n)
        return NULL;
    json_t *j = json_loadb(s.p, s.n, flags, NULL);
    return j ? j : json_loadb(s.p, s.n, flags | JSON_DECODE_INT_AS_REAL, NULL);
}

json_t *args_properties(const struct gen_tool *t)
{
    json_t *schema = args_json(t->schema);
    json_t *p = json_incref(json_object_get(schema, "properties"));
    json_decref(schema);
    return p;
}

/* Is a string all that the schema allows? */
static bool only_string(const json_t *schema, int depth)
{
    static const char *const either[] = {"anyOf", "oneOf"};
    const json_t *type = json_object_get(schema, "type"), *list = json_object_get(schema, "enum");
    size_t n = 0, i;
    json_t *v;
    if (json_is_string(type))
        return strcmp(json_string_value(type), "string") == 0;
    if (json_is_array(type))
        return json_array_size(type) == 1 && strcmp(json_string_value(json_array_get(type, 0))
                                                        ? json_string_value(json_array_get(type, 0))
                                                        : "",
                                                    "string") == 0;
    json_array_foreach((json_t *)list, i, v) n += json_is_string(v);
    if (n && n == json_array_size(list))
        return true;
    for (int k = 0; k < 2 && depth < 8; k++) {
        list = json_object_get(schema, either[k]);
        n = 0;
        json_array_foreach((json_t *)list, i, v) n += only_string(v, depth + 1);
        if (n && n == json_array_size(list))
            return true;
    }
    return false;
}

/* A literal of Python's where the schema asks for no string. */
static json_t *python_word(struct str s)
{
    if (str_is(s, "True") || str_is(s, "true"))
        return json_true();
    if (str_is(s, "False") || str_is(s, "false"))
        return json_false();
    if (str_is(s, "None") || str_is(s, "null"))
        return json_null();
    return NULL;
}

json_t *args_typed(struct str raw, const json_t *schema)
{
    if (schema && only_string(schema, 0))
        return json_stringn(raw.p, raw.n);
    struct str s = str_trim(raw);
    json_t *j = args_json(s);
    if (!j && schema)
        j = python_word(s);
    return j ? j : json_stringn(raw.p, raw.n);
}

/* ---- literals: what Python and Gemma have in common ---- */

struct lit {
    struct str s;
    size_t at;
    bool gemma;
};

static json_t *value(struct lit *l, int depth);

static void blank(struct lit *l)
{
    while (l->at < l->s.n && is_space(l->s.p[l->at]))
        l->at++;
}

static bool next_is(struct lit *l, char ch)
{
    blank(l);
    if (l->at >= l->s.n || l->s.p[l->at] != ch)
        return false;
    l->at++;
    return true;
}

static uint32_t hex(struct str s, size_t at, int digits)
{
    uint32_t v = 0;
    for (int i = 0; i < digits; i++) {
        char ch = at + (size_t)i < s.n ? s.p[at + (size_t)i] : 'x';
        if (ch >= '0' && ch <= '9')
            v = v * 16 + (uint32_t)(ch - '0');
        else if ((ch | 32) >= 'a' && (ch | 32) <= 'f')
            v = v * 16 + (uint32_t)((ch | 32) - 'a' + 10);
        else
            return UINT32_MAX;
    }
    return v;
}

/* \u and its surrogate pair, or \x, or \U. l->at stands on the letter. */
static bool escaped_rune(struct lit *l, struct buf *b)
{
    char kind = l->s.p[l->at++];
    int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
    uint32_t cp = hex(l->s, l->at, digits);
    if (cp == UINT32_MAX)
        return false;
    l->at += (size_t)digits;
    if (cp >= 0xD800 && cp < 0xDC00 && l->at + 6 <= l->s.n && l->s.p[l->at] == '\\' &&
        l->s.p[l->at + 1] == 'u') {
        uint32_t low = hex(l->s, l->at + 2, 4);
        if (low < 0xDC00 || low > 0xDFFF)
            return false;
        l->at += 6;
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return false;
    char bytes[4];
    buf_add(b, bytes, utf8_encode(cp, bytes));
    return true;
}

static bool escape(struct lit *l, struct buf *b)
{
    static const char from[] = "nrtbf\\'\"/0", to[] = "\n\r\t\b\f\\'\"/";
    if (++l->at >= l->s.n)
        return false;
    char ch = l->s.p[l->at];
    if (ch == 'x' || ch == 'u' || ch == 'U')
        return escaped_rune(l, b);
    const char *p = strchr(from, ch);
    if (p && ch)
        buf_add(b, to + (p - from), 1);
    else
        buf_add(b, l->s.p + l->at - 1, 2); /* as Python keeps it */
    l->at++;
    return true;
}

static json_t *quoted(struct lit *l)
{
    char q = l->s.p[l->at++];
    struct buf b = BUF_INIT(l->s.n + 1);
    bool ok = true;
    while (ok && l->at < l->s.n && l->s.p[l->at] != q) {
        if (l->s.p[l->at] == '\\')
            ok = escape(l, &b);
        else
            buf_add(&b, l->s.p + l->at++, 1);
    }
    ok = ok && l->at++ < l->s.n && !buf_failed(&b);
    json_t *j = ok ? json_stringn(b.n ? b.p : "", b.n) : NULL;
    buf_done(&b);
    return j;
}

static json_t *gemma_string(struct lit *l)
{
    size_t from = l->at + GEMMA_QUOTE.n, end = str_find(l->s, GEMMA_QUOTE, from);
    if (end == SIZE_MAX)
        return NULL;
    l->at = end + GEMMA_QUOTE.n;
    return json_stringn(l->s.p + from, end - from);
}

/* A number, or a word that stands for a value. */
static json_t *word(struct lit *l)
{
    size_t from = l->at;
    while (l->at < l->s.n && !is_space(l->s.p[l->at]) && !strchr(",]}):", l->s.p[l->at]))
        l->at++;
    struct str s = str_n(l->s.p + from, l->at - from);
    json_t *j = args_json(s);
    return j ? j : python_word(s);
}

static json_t *list(struct lit *l, char close, int depth)
{
    json_t *a = json_array();
    l->at++;
    while (!next_is(l, close)) {
        if (json_array_size(a) && !next_is(l, ','))
            goto fail;
        if (json_array_size(a) && next_is(l, close))
            return a;
        if (json_array_append_new(a, value(l, depth + 1)) != 0)
            goto fail;
    }
    return a;
fail:
    json_decref(a);
    return NULL;
}

/* Gemma writes keys without quotes. */
static json_t *key(struct lit *l, int depth)
{
    blank(l);
    bool quote = l->at < l->s.n && (l->s.p[l->at] == '"' || l->s.p[l->at] == '\'' ||
                                    str_starts(str_n(l->s.p + l->at, l->s.n - l->at), GEMMA_QUOTE));
    if (quote || !l->gemma)
        return value(l, depth);
    size_t from = l->at;
    while (l->at < l->s.n && !strchr(":,{}[]", l->s.p[l->at]))
        l->at++;
    struct str s = str_trim(str_n(l->s.p + from, l->at - from));
    return s.n ? json_stringn(s.p, s.n) : NULL;
}

static json_t *dict(struct lit *l, int depth)
{
    json_t *o = json_object();
    l->at++;
    for (bool first = true; !next_is(l, '}'); first = false) {
        if (!first && !next_is(l, ','))
            goto fail;
        if (!first && next_is(l, '}'))
            return o;
        json_t *k = key(l, depth + 1), *v = NULL;
        bool ok = json_is_string(k) && next_is(l, ':') && (v = value(l, depth + 1)) != NULL;
        ok = ok && json_object_setn(o, json_string_value(k), json_string_length(k), v) == 0;
        json_decref(k);
        json_decref(v);
        if (!ok)
            goto fail;
    }
    return o;
fail:
    json_decref(o);
    return NULL;
}

static json_t *value(struct lit *l, int depth)
{
    blank(l);
    if (depth > MAX_NESTING || l->at >= l->s.n)
        return NULL;
    char ch = l->s.p[l->at];
    if (l->gemma && str_starts(str_n(l->s.p + l->at, l->s.n - l->at), GEMMA_QUOTE))
        return gemma_string(l);
    if (ch == '"' || ch == '\'')
        return quoted(l);
    if (ch == '[')
        return list(l, ']', depth);
    if (ch == '(' && !l->gemma)
        return list(l, ')', depth);
    return ch == '{' ? dict(l, depth) : word(l);
}

json_t *args_gemma(struct str s)
{
    struct lit l = {.s = s, .gemma = true};
    json_t *j = value(&l, 0);
    blank(&l);
    if (j && l.at == s.n && json_is_object(j))
        return j;
    json_decref(j);
    return NULL;
}

/* ---- Python's calls ---- */

static struct str identifier(struct lit *l)
{
    blank(l);
    size_t from = l->at;
    while (l->at < l->s.n && !is_space(l->s.p[l->at]) && !strchr("()[]{},='\":", l->s.p[l->at]))
        l->at++;
    return str_n(l->s.p + from, l->at - from);
}

static json_t *keywords(struct lit *l)
{
    json_t *o = json_object();
    for (bool first = true; !next_is(l, ')'); first = false) {
        if (!first && !next_is(l, ','))
            goto fail;
        if (!first && next_is(l, ')'))
            return o;
        struct str k = identifier(l);
        json_t *v = k.n && next_is(l, '=') ? value(l, 0) : NULL;
        if (!v || json_object_setn_new(o, k.p, k.n, v) != 0)
            goto fail;
    }
    return o;
fail:
    json_decref(o);
    return NULL;
}

static bool python_call(struct lit *l, json_t *out)
{
    struct str name = identifier(l);
    if (str_ends(name, STR(".call")))
        name.n -= 5;
    json_t *args = name.n && next_is(l, '(') ? keywords(l) : NULL;
    json_t *call = args ? json_object() : NULL;
    bool ok = call && json_object_set_new(call, "name", json_stringn(name.p, name.n)) == 0 &&
              json_object_set(call, "arguments", args) == 0 && json_array_append(out, call) == 0;
    json_decref(call);
    json_decref(args);
    return ok;
}

bool args_python(struct str s, json_t *calls)
{
    struct lit l = {.s = s};
    json_t *found = json_array();
    bool listed = next_is(&l, '['), ok = found != NULL;
    while (ok) {
        ok = python_call(&l, found);
        blank(&l);
        if (listed ? !next_is(&l, ',') : l.at == s.n)
            break;
    }
    ok = ok && (!listed || next_is(&l, ']'));
    blank(&l);
    ok = ok && l.at == s.n && json_array_extend(calls, found) == 0;
    json_decref(found);
    return ok;
}

/* ---- elements within elements ---- */

#define M3 "]<]minimax[>["

static json_t *elements(struct str s, const json_t *schema, int depth);

/* The end of an element's content, past the ends of those of its name inside it. */
static size_t content_end(struct str s, size_t at, struct str tag)
{
    char open[320], close[320];
    if (tag.n > 256 || memchr(tag.p, 0, tag.n))
        return SIZE_MAX;
    int no = snprintf(open, sizeof open, M3 "<%.*s>", STR_ARG(tag));
    int nc = snprintf(close, sizeof close, M3 "</%.*s>", STR_ARG(tag));
    for (size_t depth = 0;; at++) {
        size_t end = str_find(s, str_n(close, (size_t)nc), at);
        if (end == SIZE_MAX)
            return SIZE_MAX;
        size_t begin = str_find(str_n(s.p, end), str_n(open, (size_t)no), at);
        if (begin < end) {
            depth++;
            at = begin;
        } else if (depth-- == 0) {
            return end;
        } else {
            at = end;
        }
    }
}

static const json_t *inner_schema(const json_t *schema, struct str tag)
{
    const json_t *items = json_object_get(schema, "items");
    if (items && str_is(tag, "item"))
        return items;
    return json_object_getn(json_object_get(schema, "properties"), tag.p, tag.n);
}

static json_t *content(struct str s, const json_t *schema, int depth)
{
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (str_starts(str_trim(s), STR(M3 "<")) && !only_string(schema, 0))
        return elements(s, schema, depth + 1);
    if (!str_trim(s).n && type && strcmp(type, "object") == 0)
        return json_object();
    if (!str_trim(s).n && type && strcmp(type, "array") == 0)
        return json_array();
    return args_typed(s, schema);
}

/* An object of them; a list when all are items. */
static json_t *elements(struct str s, const json_t *schema, int depth)
{
    json_t *o = json_object(), *a = json_array();
    size_t at = 0, n = 0, plain = 0;
    bool ok = depth < MAX_NESTING;
    while (ok) {
        while (at < s.n && is_space(s.p[at]))
            at++;
        if (at == s.n)
            break;
        size_t gt = str_starts(str_n(s.p + at, s.n - at), STR(M3 "<"))
                        ? str_find(s, STR(">"), at + 14)
                        : SIZE_MAX;
        if (gt == SIZE_MAX) {
            ok = false;
            break;
        }
        struct str tag = str_n(s.p + at + 14, gt - at - 14);
        size_t end = content_end(s, gt + 1, tag);
        json_t *v = end == SIZE_MAX ? NULL
                                    : content(str_n(s.p + gt + 1, end - gt - 1),
                                              inner_schema(schema, tag), depth);
        plain += !str_is(tag, "item");
        ok = v && tag.n && ++n && json_array_append(a, v) == 0 &&
             json_object_setn(o, tag.p, tag.n, v) == 0;
        json_decref(v);
        at = end == SIZE_MAX ? s.n : end + tag.n + 16;
    }
    bool items = n && !plain && depth;
    json_decref(items ? o : a);
    if (ok)
        return items ? a : o;
    json_decref(items ? a : o);
    return NULL;
}

json_t *args_nested(struct str s, const json_t *properties)
{
    json_t *schema = json_object();
    if (schema && properties)
        json_object_set(schema, "properties", (json_t *)properties);
    json_t *o = schema ? elements(s, schema, 0) : NULL;
    json_decref(schema);
    return o;
}
