/* tmpl_layout.c: the filters and methods that lay text out or quote it: widths, wrapping,
 * shortening, parts, what a URL or an attribute needs. Widths are bounded, so that a template
 * cannot ask for a gigabyte of blanks. */
#include "tmpl_builtin_int.h"

#include "utf8.h"

#include <stdio.h>
#include <utf8proc.h>

enum { MAX_WIDTH = 1 << 20 };

static bool width_arg(struct ctx *c, const struct args *a, size_t i, int64_t *out)
{
    if (!arg_int(c, a, i, "width", out) && !c->rc)
        eval_fail(c, ERR_FORMAT, "argument 'width' must be an integer");
    if (!c->rc && *out > MAX_WIDTH)
        eval_fail(c, ERR_LIMIT, "a width of more than %d", (int)MAX_WIDTH);
    return !c->rc;
}

/* ---- widths ---- */

/* `left` of the room stands before the text. */
static struct val padded(struct ctx *c, const struct args *a, struct val v, int64_t width,
                         int where)
{
    struct str fill = STR(" ");
    if (arg_at(a, 1, "fillchar", UNDEF).k != V_UNDEF && !arg_str(c, a, 1, "fillchar", &fill))
        return UNDEF;
    if (text_count(fill) != 1)
        return eval_fail(c, ERR_FORMAT, "the fill must be one character");
    int64_t have = (int64_t)text_count(val_bytes(v)), room = width > have ? width - have : 0;
    /* Python's own rounding of the odd one */
    int64_t left = where < 0 ? 0 : where > 0 ? room : room / 2 + (room & width & 1);
    struct sb b = {0};
    text_pad(c, &b, fill, (size_t)left);
    sb_val(c, &b, v);
    text_pad(c, &b, fill, (size_t)(room - left));
    return sb_take(c, &b);
}

static struct val pad_method(struct ctx *c, const struct args *a, int where)
{
    int64_t width = 0;
    return width_arg(c, a, 0, &width) ? padded(c, a, a->self, width, where) : UNDEF;
}

static struct val s_center(struct ctx *c, const struct args *a)
{
    return pad_method(c, a, 0);
}

static struct val s_ljust(struct ctx *c, const struct args *a)
{
    return pad_method(c, a, -1);
}

static struct val s_rjust(struct ctx *c, const struct args *a)
{
    return pad_method(c, a, 1);
}

static struct val f_center(struct ctx *c, const struct args *a)
{
    int64_t width = 80;
    struct args none = {0};
    struct val v = val_text(c, a->self);
    if (a->n || a->m)
        width_arg(c, a, 0, &width);
    return c->rc ? UNDEF : padded(c, &none, v, width, 0);
}

static struct val s_zfill(struct ctx *c, const struct args *a)
{
    int64_t width = 0;
    struct str s = val_bytes(a->self);
    struct sb b = {0};
    if (!width_arg(c, a, 0, &width))
        return UNDEF;
    size_t sign = s.n && (s.p[0] == '-' || s.p[0] == '+');
    int64_t room = width - (int64_t)text_count(s);
    sb_val(c, &b, val_slice(c, a->self, 0, sign));
    text_pad(c, &b, STR("0"), room > 0 ? (size_t)room : 0);
    sb_val(c, &b, val_slice(c, a->self, sign, s.n));
    return sb_take(c, &b);
}

static struct val s_expandtabs(struct ctx *c, const struct args *a)
{
    int64_t tab = 8, column = 0;
    struct str s = val_bytes(a->self);
    struct sb b = {0};
    if ((a->n || a->m) && !width_arg(c, a, 0, &tab))
        return UNDEF;
    for (size_t i = 0; i < s.n && !c->rc;) {
        size_t n = text_step(s, i);
        if (s.p[i] == '\t') {
            int64_t room = tab > 0 ? tab - column % tab : 0;
            text_pad(c, &b, STR(" "), (size_t)room);
            column += room;
        } else {
            sb_val(c, &b, val_slice(c, a->self, i, i + n));
            column = s.p[i] == '\n' || s.p[i] == '\r' ? 0 : column + 1;
        }
        i += n;
    }
    return sb_take(c, &b);
}

/* ---- wrapping and shortening ---- */

static size_t skip_chars(struct str s, size_t at, int64_t n)
{
    while (n-- > 0 && at < s.n)
        at += text_step(s, at);
    return at;
}

/* The end of the line that begins at `at`: at most width characters, words whole where they fit. */
static size_t wrap_at(struct str s, size_t at, int64_t width, bool breaks)
{
    size_t most = skip_chars(s, at, width);
    if (most >= s.n)
        return s.n;
    size_t end = most;
    if (s.p[end] == ' ')
        return end;
    while (end > at && s.p[end - 1] != ' ')
        end--;
    if (end > at)
        return end;
    if (breaks)
        return most;
    while (most < s.n && s.p[most] != ' ')
        most++;
    return most;
}

static void wrap_line(struct ctx *c, struct sb *b, struct val line, int64_t width, bool breaks,
                      struct val by)
{
    struct str s = val_bytes(line);
    for (size_t at = 0; at < s.n && !c->rc;) {
        size_t end = wrap_at(s, at, width, breaks), to = end;
        eval_step(c, 1 + (end - at) / 64);
        while (to > at && s.p[to - 1] == ' ')
            to--;
        if (at)
            sb_val(c, b, by);
        sb_val(c, b, val_slice(c, line, at, to));
        at = end;
        while (at < s.n && s.p[at] == ' ')
            at++;
    }
}

static struct val f_wordwrap(struct ctx *c, const struct args *a)
{
    int64_t width = 79;
    bool breaks = val_truth(arg_at(a, 1, "break_long_words", val_bool(true)));
    struct val by = arg_at(a, 2, "wrapstring", NONE), v = val_text(c, a->self);
    struct str s = val_bytes(v);
    struct sb b = {0};
    if (arg_at(a, 0, "width", UNDEF).k != V_UNDEF && !width_arg(c, a, 0, &width))
        return UNDEF;
    if (width < 1)
        return eval_fail(c, ERR_FORMAT, "wordwrap: the width must be positive");
    if (by.k != V_STR)
        by = val_lit(c, "\n");
    for (size_t at = 0; at < s.n && !c->rc;) {
        size_t end = str_find(s, STR("\n"), at);
        size_t to = end == SIZE_MAX ? s.n : end;
        if (at)
            sb_val(c, &b, by);
        wrap_line(c, &b, val_slice(c, v, at, to), width, breaks, by);
        at = end == SIZE_MAX ? s.n : end + 1;
    }
    return sb_take(c, &b);
}

static struct val f_truncate(struct ctx *c, const struct args *a)
{
    int64_t length = 255, leeway = 5;
    bool kill = val_truth(arg_at(a, 1, "killwords", val_bool(false)));
    struct val end = arg_at(a, 2, "end", UNDEF), v = val_text(c, a->self);
    arg_int(c, a, 0, "length", &length);
    arg_int(c, a, 3, "leeway", &leeway);
    if (end.k != V_STR)
        end = val_lit(c, "...");
    if (c->rc)
        return UNDEF;
    struct str s = val_bytes(v);
    int64_t tail = (int64_t)text_count(val_bytes(end));
    if (length < tail || leeway < 0)
        return eval_fail(c, ERR_FORMAT, "truncate: the length is too small");
    if ((int64_t)text_count(s) <= (leeway > INT64_MAX - length ? INT64_MAX : length + leeway))
        return v;
    size_t cut = skip_chars(s, 0, length - tail);
    size_t space = cut;
    while (!kill && space > 0 && s.p[space - 1] != ' ')
        space--;
    struct sb b = {0};
    sb_val(c, &b, val_slice(c, v, 0, !kill && space ? space - 1 : cut));
    sb_val(c, &b, end);
    return sb_take(c, &b);
}

/* ---- parts ---- */

static struct val parts(struct ctx *c, const struct args *a, bool last)
{
    struct str sep, s = val_bytes(a->self);
    if (!arg_str(c, a, 0, "sep", &sep))
        return UNDEF;
    if (!sep.n)
        return eval_fail(c, ERR_FORMAT, "partition needs a separator that is not empty");
    eval_step(c, s.n / 64);
    size_t hit = str_find(s, sep, 0);
    for (size_t at = hit; last && at != SIZE_MAX; at = str_find(s, sep, at + 1))
        hit = at;
    bool none = hit == SIZE_MAX;
    size_t from = none ? (last ? 0 : s.n) : hit, to = none ? from : hit + sep.n;
    struct val t = val_list(c, V_TUPLE, 3);
    if (c->rc)
        return UNDEF;
    val_push(c, t.l, val_slice(c, a->self, 0, from));
    val_push(c, t.l, val_slice(c, a->self, from, to));
    val_push(c, t.l, val_slice(c, a->self, to, s.n));
    return t;
}

static struct val s_partition(struct ctx *c, const struct args *a)
{
    return parts(c, a, false);
}

static struct val s_rpartition(struct ctx *c, const struct args *a)
{
    return parts(c, a, true);
}

/* Tags and comments out, white space to single blanks. */
static struct val f_striptags(struct ctx *c, const struct args *a)
{
    struct val v = val_text(c, a->self);
    struct str s = val_bytes(v);
    struct sb b = {0};
    bool blank = false, open[2] = {false, false}; /* no end of a tag, of a comment, any more */
    for (size_t i = 0; i < s.n && eval_step(c, i % 64 == 0);) {
        bool comment = str_starts(str_n(s.p + i, s.n - i), STR("<!--"));
        size_t end = SIZE_MAX;
        if (s.p[i] == '<' && !open[comment]) {
            end = str_find(s, comment ? STR("-->") : STR(">"), i);
            open[comment] = end == SIZE_MAX;
        }
        if (end != SIZE_MAX) {
            eval_step(c, (end - i) / 64);
            i = end + (comment ? 3 : 1);
            continue;
        }
        uint32_t cp;
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (n && text_is_space(cp)) {
            blank = true;
        } else {
            if (blank && b.n)
                sb_puts(c, &b, " ");
            blank = false;
            sb_val(c, &b, val_slice(c, v, i, i + (n ? n : 1)));
        }
        i += n ? n : 1;
    }
    return sb_take(c, &b);
}

/* ---- quoting ---- */

static void put_quoted(struct ctx *c, struct sb *b, struct val v, bool form)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~";
    struct str s = val_bytes(v);
    bool taint = val_tainted(v);
    for (size_t i = 0; i < s.n && !c->rc; i++) {
        char z[4];
        unsigned char ch = (unsigned char)s.p[i];
        bool keep = ch && (strchr(plain, ch) || (!form && ch == '/'));
        int n = keep                ? snprintf(z, sizeof z, "%c", ch)
                : form && ch == ' ' ? snprintf(z, sizeof z, "+")
                                    : snprintf(z, sizeof z, "%%%02X", ch);
        sb_add(c, b, str_n(z, (size_t)n), taint);
    }
}

static struct val f_urlencode(struct ctx *c, const struct args *a)
{
    struct sb b = {0};
    if (a->self.k != V_DICT && a->self.k != V_LIST && a->self.k != V_TUPLE) {
        put_quoted(c, &b, val_text(c, a->self), false);
        return sb_take(c, &b);
    }
    struct val pairs = a->self.k == V_DICT ? seq_items(c, a) : a->self;
    for (size_t i = 0; !c->rc && i < pairs.l->n; i++) {
        struct vlist *kv = val_iter(c, pairs.l->v[i]);
        if (kv && kv->n != 2)
            return eval_fail(c, ERR_FORMAT, "urlencode needs pairs");
        if (!kv)
            break;
        sb_puts(c, &b, i ? "&" : "");
        put_quoted(c, &b, val_text(c, kv->v[0]), true);
        sb_puts(c, &b, "=");
        put_quoted(c, &b, val_text(c, kv->v[1]), true);
    }
    return sb_take(c, &b);
}

static struct val f_xmlattr(struct ctx *c, const struct args *a)
{
    bool space = val_truth(arg_at(a, 0, "autospace", val_bool(true)));
    struct sb b = {0};
    if (a->self.k != V_DICT)
        return eval_fail(c, ERR_FORMAT, "xmlattr of %s", val_type(a->self));
    for (size_t i = 0; i < a->self.d->n && !c->rc; i++) {
        struct val k = val_text(c, a->self.d->key[i]), v = a->self.d->val[i];
        struct str key = val_bytes(k);
        if (v.k == V_NONE || v.k == V_UNDEF)
            continue;
        for (size_t n = 0; n < key.n; n++)
            if (!key.p[n] || strchr(" \n\t\r\f/>=", key.p[n]))
                return eval_fail(c, ERR_FORMAT, "xmlattr: a key with a character it cannot have");
        sb_puts(c, &b, b.n || space ? " " : "");
        sb_val(c, &b, text_escape(c, k));
        sb_puts(c, &b, "=\"");
        sb_val(c, &b, text_escape(c, val_text(c, v)));
        sb_puts(c, &b, "\"");
    }
    return sb_take(c, &b);
}

static struct val f_forceescape(struct ctx *c, const struct args *a)
{
    struct val v = val_text(c, a->self);
    struct sb b = {0};
    sb_val(c, &b, v); /* a copy is not safe */
    return text_escape(c, sb_take(c, &b));
}

static struct val f_pprint(struct ctx *c, const struct args *a)
{
    struct sb b = {0};
    sb_repr(c, &b, a->self, 0);
    return sb_take(c, &b);
}

static struct val f_filesizeformat(struct ctx *c, const struct args *a)
{
    bool binary = val_truth(arg_at(a, 0, "binary", val_bool(false)));
    static const char *const units[2][8] = {
        {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
        {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    struct val v = a->self;
    struct str s = val_bytes(v);
    double bytes = val_is_num(v) ? val_num(v) : 0, base = binary ? 1024 : 1000, unit = base;
    char z[64];
    if (!val_is_num(v) && !str_to_f64(s, &bytes))
        return eval_fail(c, ERR_FORMAT, "filesizeformat of %s", val_type(v));
    if (bytes == 1)
        return val_lit(c, "1 Byte");
    if (bytes < base) {
        snprintf(z, sizeof z, "%.0f Bytes", bytes);
        return val_str(c, str_of(z), val_tainted(v));
    }
    int i = 0;
    while (i < 7 && bytes >= unit * base) {
        unit *= base;
        i++;
    }
    snprintf(z, sizeof z, "%.1f %s", bytes / unit, units[binary][i]);
    return val_str(c, str_of(z), val_tainted(v));
}

/* ---- kinds of characters ---- */

static struct val s_swapcase(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(a->self);
    struct sb b = {0};
    uint32_t cp;
    for (size_t i = 0; i < s.n && !c->rc;) {
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        char out[4];
        utf8proc_int32_t x = (utf8proc_int32_t)cp, up = utf8proc_toupper(x);
        if (n)
            sb_add(c, &b,
                   str_n(out, utf8_encode((uint32_t)(up != x ? up : utf8proc_tolower(x)), out)),
                   val_tainted(a->self));
        else
            sb_add(c, &b, str_n(s.p + i, 1), val_tainted(a->self));
        i += n ? n : 1;
    }
    return sb_take(c, &b);
}

static struct val s_casefold(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(text_recase(c, a->self, CASE_LOWER));
    struct sb b = {0};
    for (size_t i = 0; i < s.n && !c->rc;) {
        size_t n = text_step(s, i);
        bool sharp = n == 2 && memcmp(s.p + i, "\xc3\x9f", 2) == 0;
        sb_add(c, &b, sharp ? STR("ss") : str_n(s.p + i, n), val_tainted(a->self));
        i += n;
    }
    return sb_take(c, &b);
}

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

/* islower, isupper: there is a cased letter, and all have this case. istitle: a word's first letter
 * is upper case and its others are lower. */
static struct val cased(const struct args *a, char how)
{
    struct str s = val_bytes(a->self);
    bool any = false, in_word = false;
    uint32_t cp;
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        utf8proc_category_t k = n ? category(cp) : UTF8PROC_CATEGORY_CN;
        bool up = k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LT;
        bool low = k == UTF8PROC_CATEGORY_LL;
        if ((up && (how == 'l' || (how == 't' && in_word))) ||
            (low && (how == 'u' || (how == 't' && !in_word))))
            return val_bool(false);
        any |= up || low;
        in_word = up || low;
        i += n ? n : 1;
    }
    return val_bool(any);
}

static struct val s_islower(struct ctx *c, const struct args *a)
{
    return cased(a, 'l');
}

static struct val s_isupper(struct ctx *c, const struct args *a)
{
    return cased(a, 'u');
}

static struct val s_istitle(struct ctx *c, const struct args *a)
{
    return cased(a, 't');
}

static struct val s_isascii(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(a->self);
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 127)
            return val_bool(false);
    return val_bool(true);
}

static struct val s_isidentifier(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(a->self);
    uint32_t cp;
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        utf8proc_category_t k = n ? category(cp) : UTF8PROC_CATEGORY_CN;
        bool letter = cp == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO);
        bool digit = k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_MN;
        if (!n || !(letter || (digit && i)))
            return val_bool(false);
        i += n;
    }
    return val_bool(s.n > 0);
}

static struct val s_isnumeric(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(a->self);
    uint32_t cp;
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        utf8proc_category_t k = n ? category(cp) : UTF8PROC_CATEGORY_CN;
        if (k < UTF8PROC_CATEGORY_ND || k > UTF8PROC_CATEGORY_NO)
            return val_bool(false);
        i += n;
    }
    return val_bool(s.n > 0);
}

static const struct builtin methods[] = {
    {"center", s_center},         {"ljust", s_ljust},
    {"rjust", s_rjust},           {"zfill", s_zfill},
    {"expandtabs", s_expandtabs}, {"partition", s_partition},
    {"rpartition", s_rpartition}, {"swapcase", s_swapcase},
    {"casefold", s_casefold},     {"islower", s_islower},
    {"isupper", s_isupper},       {"istitle", s_istitle},
    {"isascii", s_isascii},       {"isidentifier", s_isidentifier},
    {"isnumeric", s_isnumeric},
};

const struct builtin *layout_method(struct str name)
{
    return builtin_in(methods, sizeof methods / sizeof *methods, name);
}

static const struct builtin filters[] = {
    {"center", f_center},
    {"wordwrap", f_wordwrap},
    {"truncate", f_truncate},
    {"striptags", f_striptags},
    {"urlencode", f_urlencode},
    {"xmlattr", f_xmlattr},
    {"forceescape", f_forceescape},
    {"pprint", f_pprint},
    {"filesizeformat", f_filesizeformat},
};

const struct builtin *layout_filter(struct str name)
{
    return builtin_in(filters, sizeof filters / sizeof *filters, name);
}
