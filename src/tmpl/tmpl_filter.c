/* tmpl_filter.c: the filters over text and numbers, and the table of all filters. Those over lists
 * stand in tmpl_seq.c. Found by name when the template is parsed. */
#include "tmpl_builtin_int.h"

#include "utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

struct val arg_at(const struct args *a, size_t i, const char *name, struct val missing)
{
    if (i < a->n)
        return a->v[i];
    for (size_t k = 0; name && k < a->m; k++)
        if (str_is(a->names[k], name))
            return a->named[k];
    return missing;
}

bool arg_str(struct ctx *c, const struct args *a, size_t i, const char *name, struct str *out)
{
    struct val v = arg_at(a, i, name, UNDEF);
    if (v.k == V_STR)
        *out = val_bytes(v);
    else
        eval_fail(c, ERR_FORMAT, "argument '%s' must be a string, not %s", name, val_type(v));
    return v.k == V_STR;
}

bool arg_int(struct ctx *c, const struct args *a, size_t i, const char *name, int64_t *out)
{
    struct val v = arg_at(a, i, name, UNDEF);
    bool ok = v.k == V_INT || v.k == V_BOOL;
    if (ok)
        *out = val_whole(v);
    else if (v.k != V_UNDEF && v.k != V_NONE)
        eval_fail(c, ERR_FORMAT, "argument '%s' must be an integer, not %s", name, val_type(v));
    return ok;
}

/* The operand as text: filters over text take anything that has a str(). */
static struct val text_self(struct ctx *c, const struct args *a)
{
    return val_text(c, a->self);
}

/* ---- case ---- */

static bool is_letter(uint32_t cp)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LM;
}

/* Jinja's title starts a word after these; str.title() after anything that is no letter. */
static bool starts_word(uint32_t before, enum text_case how)
{
    if (how == CASE_TITLE_FILTER)
        return text_is_space(before) || (before < 128 && before && strchr("-({[<", (int)before));
    return !is_letter(before);
}

struct val text_recase(struct ctx *c, struct val v, enum text_case how)
{
    struct str s = val_bytes(v);
    struct sb b = {0};
    bool taint = val_tainted(v);
    uint32_t cp, before = ' ';
    for (size_t i = 0; i < s.n && !c->rc;) {
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (!n) {
            sb_add(c, &b, str_n(s.p + i++, 1), taint);
            continue;
        }
        bool up = how == CASE_UPPER || (how == CASE_CAPITAL && i == 0) ||
                  (how >= CASE_TITLE && (i == 0 || starts_word(before, how)));
        before = cp;
        char out[4];
        utf8proc_int32_t to = (utf8proc_int32_t)cp;
        to = up ? utf8proc_toupper(to) : utf8proc_tolower(to);
        size_t m = utf8_encode((uint32_t)to, out);
        sb_add(c, &b, str_n(out, m), taint);
        i += n;
    }
    return sb_take(c, &b);
}

static struct val f_upper(struct ctx *c, const struct args *a)
{
    return text_recase(c, text_self(c, a), CASE_UPPER);
}

static struct val f_lower(struct ctx *c, const struct args *a)
{
    return text_recase(c, text_self(c, a), CASE_LOWER);
}

static struct val f_capitalize(struct ctx *c, const struct args *a)
{
    return text_recase(c, text_self(c, a), CASE_CAPITAL);
}

static struct val f_title(struct ctx *c, const struct args *a)
{
    return text_recase(c, text_self(c, a), CASE_TITLE_FILTER);
}

/* ---- text ---- */

struct val text_strip_args(struct ctx *c, const struct args *a, struct val v, bool left, bool right)
{
    struct val chars = arg_at(a, 0, "chars", NONE);
    struct str set = val_bytes(chars), s = val_bytes(v);
    if (v.k != V_STR)
        return UNDEF;
    eval_step(c, s.n / 64);
    struct str r = text_strip(s, chars.k == V_STR ? &set : NULL, left, right);
    size_t from = r.n ? (size_t)(r.p - s.p) : 0;
    return val_slice(c, v, from, from + r.n);
}

static struct val f_trim(struct ctx *c, const struct args *a)
{
    return text_strip_args(c, a, text_self(c, a), true, true);
}

/* count < 0: all. An empty `old` stands between all characters, as in Python. */
struct val text_replace(struct ctx *c, struct val v, struct val old, struct val new, int64_t count)
{
    struct str s = val_bytes(v), o = val_bytes(old);
    struct sb b = {0};
    size_t done = 0, at = 0;
    eval_step(c, s.n / 64);
    while (count != 0 && !c->rc) {
        size_t hit = o.n ? str_find(s, o, at) : at;
        if (hit == SIZE_MAX || hit > s.n)
            break;
        sb_val(c, &b, val_slice(c, v, done, hit));
        sb_val(c, &b, new);
        done = hit + o.n;
        at = o.n ? done : hit < s.n ? hit + text_step(s, hit) : s.n + 1;
        count -= count > 0;
        eval_step(c, 1);
    }
    sb_val(c, &b, val_slice(c, v, done, s.n));
    return sb_take(c, &b);
}

static struct val f_replace(struct ctx *c, const struct args *a)
{
    struct val old = val_text(c, arg_at(a, 0, "old", UNDEF));
    struct val new = val_text(c, arg_at(a, 1, "new", UNDEF));
    int64_t count = -1;
    arg_int(c, a, 2, "count", &count);
    struct val s = text_self(c, a);
    return c->rc ? UNDEF : text_replace(c, s, old, new, count);
}

static struct val f_indent(struct ctx *c, const struct args *a)
{
    struct val width = arg_at(a, 0, "width", val_int(4)), s = text_self(c, a);
    bool first = val_truth(arg_at(a, 1, "first", val_bool(false)));
    bool blank = val_truth(arg_at(a, 2, "blank", val_bool(false)));
    struct str all = val_bytes(s);
    struct sb b = {0}, pad = {0};
    if (width.k == V_STR)
        sb_str(c, &pad, width.s);
    if (width.k == V_INT && width.i > 1 << 20)
        return eval_fail(c, ERR_LIMIT, "indent: a width of more than %d", 1 << 20);
    if (width.k == V_INT && width.i > 0)
        text_pad(c, &pad, STR(" "), (size_t)width.i);
    struct val with = sb_take(c, &pad);
    bool more = true;
    for (size_t i = 0, line = 0; more && !c->rc; line++) {
        size_t end = str_find(all, STR("\n"), i);
        more = end != SIZE_MAX;
        if (!more)
            end = all.n;
        if (line ? blank || end > i : first)
            sb_val(c, &b, with);
        sb_val(c, &b, val_slice(c, s, i, end + more));
        i = end + more;
    }
    return sb_take(c, &b);
}

static struct val mark_safe(struct ctx *c, struct val v)
{
    struct vstr *s = v.k == V_STR ? eval_alloc(c, 1, sizeof *s) : NULL;
    if (!s)
        return UNDEF;
    *s = *v.s;
    s->safe = true;
    return (struct val){.k = V_STR, .s = s};
}

struct val text_escape(struct ctx *c, struct val v)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct str s = val_bytes(v);
    struct sb b = {0};
    size_t done = 0;
    if (v.k == V_STR && v.s->safe)
        return v;
    for (size_t i = 0; i < s.n && !c->rc; i++) {
        const char *k = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (!k)
            continue;
        sb_val(c, &b, val_slice(c, v, done, i));
        sb_add(c, &b, str_of(to[k - from]), val_tainted(v));
        done = i + 1;
    }
    sb_val(c, &b, val_slice(c, v, done, s.n));
    return mark_safe(c, sb_take(c, &b));
}

static struct val f_escape(struct ctx *c, const struct args *a)
{
    return text_escape(c, text_self(c, a));
}

static struct val f_string(struct ctx *c, const struct args *a)
{
    return text_self(c, a);
}

static struct val f_format(struct ctx *c, const struct args *a)
{
    struct val values = val_list(c, V_TUPLE, a->n);
    if (a->m && !a->n) {
        values = val_dict(c, V_DICT);
        for (size_t i = 0; i < a->m && !c->rc; i++)
            val_put(c, values.d, val_borrow(c, a->names[i], false), a->named[i]);
    }
    for (size_t i = 0; i < a->n && !c->rc; i++)
        val_push(c, values.l, a->v[i]);
    return text_percent(c, text_self(c, a), values);
}

static struct val f_wordcount(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(text_self(c, a));
    int64_t n = 0;
    bool in = false;
    for (size_t i = 0; i < s.n; i++) {
        bool space = text_is_space((unsigned char)s.p[i]) && (unsigned char)s.p[i] < 128;
        n += !space && !in;
        in = !space;
    }
    return val_int(n);
}

/* ---- values and numbers ---- */

static struct val f_default(struct ctx *c, const struct args *a)
{
    bool falsy = val_truth(arg_at(a, 1, "boolean", val_bool(false)));
    bool missing = a->self.k == V_UNDEF || (falsy && !val_truth(a->self));
    return missing ? arg_at(a, 0, "default_value", val_lit(c, "")) : a->self;
}

static struct val f_length(struct ctx *c, const struct args *a)
{
    size_t n;
    if (!val_len(a->self, &n))
        return eval_fail(c, ERR_FORMAT, "%s has no length", val_type(a->self));
    if (a->self.k == V_STR)
        eval_step(c, a->self.s->n / 64);
    return val_int((int64_t)n);
}

static struct val float_to_int(struct ctx *c, double f, struct val missing)
{
    if (isnan(f) || isinf(f))
        return missing;
    if (!(fabs(f) < 9.2e18))
        return eval_fail(c, ERR_LIMIT, "an integer out of range");
    return val_int((int64_t)f);
}

/* Digits of another base, with its prefix or without; base 0 takes it from the prefix. */
static struct val based_int(struct str s, int64_t base, struct val missing)
{
    char z[80], *end = z;
    size_t sign = s.n && s.p[0] == '-', n = s.n;
    char kind = n > sign + 1 && s.p[sign] == '0' ? (char)(s.p[sign + 1] | 32) : 0;
    int64_t of = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (of && (base == 0 || base == of)) {
        s = str_n(s.p + sign + 2, n - sign - 2);
        base = of;
    } else {
        s = str_n(s.p + sign, n - sign);
    }
    if (base == 0)
        base = 10;
    if (base < 2 || base > 36 || !s.n || s.n >= sizeof z)
        return missing;
    snprintf(z, sizeof z, "%.*s", STR_ARG(s));
    errno = 0;
    long long i = strtoll(z, &end, (int)base);
    bool good = !*end && !errno && z[0] != '-' && z[0] != '+' && z[0] != ' ';
    return good ? val_int(sign ? -i : i) : missing;
}

static struct val f_int(struct ctx *c, const struct args *a)
{
    struct val missing = arg_at(a, 0, "default", val_int(0));
    int64_t i;
    double f;
    if (a->self.k == V_FLOAT)
        return float_to_int(c, a->self.f, missing);
    if (val_is_num(a->self))
        return val_int(val_whole(a->self));
    if (a->self.k != V_STR)
        return missing;
    struct str s = text_strip(val_bytes(a->self), NULL, true, true);
    if (s.n > 1 && s.p[0] == '+')
        s = str_n(s.p + 1, s.n - 1);
    int64_t base = 10;
    arg_int(c, a, 1, "base", &base);
    if (base != 10)
        return based_int(s, base, missing);
    if (str_to_i64(s, &i))
        return val_int(i);
    return str_to_f64(s, &f) ? float_to_int(c, f, missing) : missing;
}

static struct val f_float(struct ctx *c, const struct args *a)
{
    double f;
    if (val_is_num(a->self))
        return val_float(val_num(a->self));
    struct str s = text_strip(val_bytes(a->self), NULL, true, true);
    if (a->self.k == V_STR && str_to_f64(s, &f))
        return val_float(f);
    return arg_at(a, 0, "default", val_float(0));
}

static struct val f_round(struct ctx *c, const struct args *a)
{
    int64_t places = 0;
    struct str method = STR("common");
    arg_int(c, a, 0, "precision", &places);
    if (arg_at(a, 1, "method", UNDEF).k != V_UNDEF)
        arg_str(c, a, 1, "method", &method);
    if (!val_is_num(a->self))
        return eval_fail(c, ERR_FORMAT, "round of %s", val_type(a->self));
    if (places < -300 || places > 300)
        return eval_fail(c, ERR_FORMAT, "round: precision out of range");
    if (a->self.k != V_FLOAT && str_is(method, "common") && places >= 0)
        return val_int(val_whole(a->self));
    double x = val_num(a->self), scale = pow(10, (double)places);
    if (str_is(method, "ceil"))
        return val_float(ceil(x * scale) / scale);
    if (str_is(method, "floor"))
        return val_float(floor(x * scale) / scale);
    /* Python rounds the exact decimal value, half to even: that is what printf does. */
    char z[400];
    if (places < 0)
        return val_float(nearbyint(x * scale) / scale);
    snprintf(z, sizeof z, "%.*f", (int)(places > 40 ? 40 : places), x);
    return str_to_f64(str_of(z), &x) ? val_float(x) : a->self;
}

static struct val f_abs(struct ctx *c, const struct args *a)
{
    if (!val_is_num(a->self))
        return eval_fail(c, ERR_FORMAT, "abs of %s", val_type(a->self));
    if (a->self.k == V_FLOAT)
        return val_float(fabs(a->self.f));
    int64_t i = val_whole(a->self);
    if (i == INT64_MIN)
        return eval_fail(c, ERR_LIMIT, "an integer out of range");
    return val_int(i < 0 ? -i : i);
}

static struct val f_attr(struct ctx *c, const struct args *a)
{
    struct str name;
    if (!arg_str(c, a, 0, "name", &name))
        return UNDEF;
    /* attributes alone: the items of a mapping are none */
    return a->self.k == V_DICT && !method_find(V_DICT, name) ? UNDEF
                                                             : eval_getattr(c, a->self, name);
}

static struct val f_safe(struct ctx *c, const struct args *a)
{
    return mark_safe(c, text_self(c, a));
}

static const struct builtin filters[] = {
    {"abs", f_abs},
    {"attr", f_attr},
    {"batch", seq_batch},
    {"capitalize", f_capitalize},
    {"count", f_length},
    {"d", f_default},
    {"default", f_default},
    {"dictsort", seq_dictsort},
    {"e", f_escape},
    {"escape", f_escape},
    {"first", seq_first},
    {"float", f_float},
    {"format", f_format},
    {"groupby", seq_groupby},
    {"indent", f_indent},
    {"int", f_int},
    {"items", seq_items},
    {"join", seq_join},
    {"last", seq_last},
    {"length", f_length},
    {"list", seq_list},
    {"lower", f_lower},
    {"map", seq_map},
    {"max", seq_max},
    {"min", seq_min},
    {"reject", seq_reject},
    {"rejectattr", seq_rejectattr},
    {"replace", f_replace},
    {"reverse", seq_reverse},
    {"round", f_round},
    {"safe", f_safe},
    {"select", seq_select},
    {"selectattr", seq_selectattr},
    {"slice", seq_slice},
    {"sort", seq_sort},
    {"string", f_string},
    {"sum", seq_sum},
    {"title", f_title},
    {"tojson", json_write},
    {"trim", f_trim},
    {"unique", seq_unique},
    {"upper", f_upper},
    {"wordcount", f_wordcount},
};

const struct builtin *builtin_in(const struct builtin *v, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, v[i].name))
            return &v[i];
    return NULL;
}

const struct builtin *filter_find(struct str name)
{
    const struct builtin *f = builtin_in(filters, sizeof filters / sizeof *filters, name);
    return f ? f : layout_filter(name);
}
