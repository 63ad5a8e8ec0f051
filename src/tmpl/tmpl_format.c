/* tmpl_format.c: values to text under a format: "..." % values, and the fields of str.format. Owns
 * both small languages; what they do not have of Python's is an error that shows it. */
#include "tmpl_builtin_int.h"

#include <math.h>
#include <stdio.h>

enum { MAX_WIDTH = 1 << 20, MAX_PRECISION = 100 };

struct spec {
    struct str fill;
    char align; /* '<' '>' '^' '='; 0: as the type has it */
    char sign;  /* '+' ' '; 0 */
    bool alternate, comma;
    int64_t width;
    int precision; /* -1: none */
    char type;
};

void text_pad(struct ctx *c, struct sb *b, struct str fill, size_t n)
{
    char block[256];
    size_t each = fill.n && fill.n <= 4 ? sizeof block / fill.n : 1, have = 0;
    for (size_t i = 0; i < each && each > 1; i++, have += fill.n)
        memcpy(block + have, fill.p, fill.n);
    for (size_t i = 0; i < n && eval_step(c, 1 + each / 64); i += each) {
        size_t k = n - i < each ? n - i : each;
        sb_add(c, b, each > 1 ? str_n(block, k * fill.n) : fill, false);
    }
}

/* ---- numbers ---- */

static void integer_digits(char *z, size_t n, const struct spec *f, uint64_t u)
{
    static const char *const forms[] = {"%llu", "%llx", "%llX", "%llo"};
    const char *prefix = !f->alternate    ? ""
                         : f->type == 'x' ? "0x"
                         : f->type == 'X' ? "0X"
                         : f->type == 'o' ? "0o"
                         : f->type == 'b' ? "0b"
                                          : "";
    int k = snprintf(z, n, "%s", prefix);
    int form = f->type == 'x' ? 1 : f->type == 'X' ? 2 : f->type == 'o' ? 3 : 0;
    if (f->type != 'b') {
        snprintf(z + k, n - (size_t)k, forms[form], (unsigned long long)u);
        return;
    }
    int bits = u ? 64 - __builtin_clzll(u) : 1;
    for (int i = bits; i > 0; i--)
        z[k++] = (char)('0' + (u >> (i - 1) & 1));
    z[k] = '\0';
}

/* Commas between groups of three before the point. */
static void group_digits(char *z, size_t cap)
{
    size_t whole = strspn(z, "0123456789"), n = strlen(z);
    for (size_t at = whole; at > 3 && n + 1 < cap; n++) {
        at -= 3;
        memmove(z + at + 1, z + at, n - at + 1);
        z[at] = ',';
    }
}

/* The digits of v without its sign. */
static bool number_digits(struct ctx *c, char *z, size_t n, const struct spec *f, struct val v)
{
    char form[16];
    bool whole = strchr("diuxXobn", f->type) != NULL || (!f->type && v.k != V_FLOAT);
    if (whole && v.k == V_FLOAT && !(fabs(v.f) < 9e18)) {
        eval_fail(c, ERR_LIMIT, "an integer out of range");
        return false;
    }
    if (whole) {
        int64_t i = v.k == V_FLOAT ? (int64_t)v.f : val_whole(v);
        integer_digits(z, n, f, i < 0 ? -(uint64_t)i : (uint64_t)i);
    } else if (!f->type && f->precision < 0) {
        char exact[40];
        float_repr(fabs(val_num(v)), exact);
        snprintf(z, n, "%s", exact);
    } else {
        char type = f->type == '%' ? 'f' : f->type ? f->type : 'g';
        double x = fabs(val_num(v)) * (f->type == '%' ? 100 : 1);
        snprintf(form, sizeof form, "%%.*%c", type);
        snprintf(z, n, form, f->precision < 0 ? 6 : f->precision, x);
        if (f->type == '%')
            snprintf(z + strlen(z), n - strlen(z), "%%");
    }
    if (f->comma)
        group_digits(z, n);
    return true;
}

static void put_padded(struct ctx *c, struct sb *b, const struct spec *f, char align,
                       const char *sign, struct val text)
{
    size_t have = text_count(val_bytes(text)) + strlen(sign);
    size_t want = (size_t)f->width, room = want > have ? want - have : 0;
    size_t before = align == '>' ? room : align == '^' ? room / 2 : 0;
    struct str fill = f->fill.n ? f->fill : STR(" ");
    text_pad(c, b, fill, before);
    sb_puts(c, b, sign);
    if (align == '=')
        text_pad(c, b, fill, room);
    sb_val(c, b, text);
    if (align == '<' || align == '^')
        text_pad(c, b, fill, room - before);
}

static void put_number(struct ctx *c, struct sb *b, const struct spec *f, struct val v)
{
    char z[600];
    if (!val_is_num(v)) {
        eval_fail(c, ERR_FORMAT, "the format '%c' needs a number, not %s", f->type, val_type(v));
        return;
    }
    if (!number_digits(c, z, sizeof z, f, v))
        return;
    bool minus = v.k == V_FLOAT ? signbit(v.f) : val_whole(v) < 0;
    char sign[2] = {minus ? '-' : f->sign, 0};
    put_padded(c, b, f, f->align ? f->align : '>', sign, val_str(c, str_of(z), false));
}

static void put_text(struct ctx *c, struct sb *b, const struct spec *f, struct val v, char align)
{
    if (f->precision >= 0)
        v = eval_getslice(c, v, NONE, val_int(f->precision), NONE);
    if (!c->rc)
        put_padded(c, b, f, f->align ? f->align : align, "", v);
}

static struct val repr_of(struct ctx *c, struct val v)
{
    struct sb b = {0};
    sb_repr(c, &b, v, 0);
    return sb_take(c, &b);
}

/* ---- reading a specification ---- */

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

/* Digits at s.p[*i]; more than `most` are an error. */
static int64_t digits(struct ctx *c, struct str s, size_t *i, int64_t most)
{
    int64_t n = 0;
    while (*i < s.n && is_digit(s.p[*i]) && n <= most)
        n = n * 10 + (s.p[(*i)++] - '0');
    if (n > most)
        eval_fail(c, ERR_LIMIT, "a format wider than %lld", (long long)most);
    return n > most ? 0 : n;
}

static int read_precision(struct ctx *c, struct str s, size_t *i)
{
    if (*i >= s.n || s.p[*i] != '.')
        return -1;
    ++*i;
    return (int)digits(c, s, i, MAX_PRECISION);
}

/* ---- "..." % values ---- */

/* The value a directive takes: by name from a mapping, or the next. */
static struct val percent_arg(struct ctx *c, struct val arg, struct str name, size_t *next)
{
    if (name.p) {
        struct val *v = arg.k == V_DICT ? val_gets(c, arg.d, name) : NULL;
        return v ? *v : eval_fail(c, ERR_FORMAT, "no '%.*s' for the format", STR_ARG(name));
    }
    size_t i = (*next)++;
    if (arg.k == V_TUPLE && i < arg.l->n)
        return arg.l->v[i];
    if (arg.k != V_TUPLE && i == 0)
        return arg;
    return eval_fail(c, ERR_FORMAT, "too few values for the format");
}

static void percent_flags(struct str s, size_t *i, struct spec *f)
{
    for (; *i < s.n && strchr("-+ 0#", s.p[*i]) && s.p[*i]; ++*i) {
        char ch = s.p[*i];
        if (ch == '-')
            f->align = '<';
        else if (ch == '0' && f->align != '<')
            f->fill = STR("0"), f->align = '=';
        else if (ch == '#')
            f->alternate = true;
        else if (ch == '+' || (ch == ' ' && !f->sign))
            f->sign = ch;
    }
    if (f->align == '<')
        f->fill = STR_NONE;
}

static void percent_one(struct ctx *c, struct sb *b, struct spec *f, struct val v)
{
    if (f->type == 's' || f->type == 'r' || f->type == 'a' || f->type == 'c') {
        f->fill = STR_NONE;
        f->align = f->align == '<' ? '<' : '>';
        put_text(c, b, f, f->type == 'r' || f->type == 'a' ? repr_of(c, v) : val_text(c, v), '>');
        return;
    }
    if (f->type == 'i' || f->type == 'u')
        f->type = 'd';
    put_number(c, b, f, v);
}

/* One directive, from behind its '%'. */
static void percent_directive(struct ctx *c, struct sb *b, struct str s, size_t *i, struct val arg,
                              size_t *next)
{
    struct str name = STR_NONE;
    struct spec f = {.precision = -1};
    if (*i < s.n && s.p[*i] == '(') {
        size_t end = str_find(s, STR(")"), *i);
        if (end == SIZE_MAX) {
            eval_fail(c, ERR_FORMAT, "'%%(' without ')'");
            return;
        }
        name = str_n(s.p + *i + 1, end - *i - 1);
        *i = end + 1;
    }
    percent_flags(s, i, &f);
    f.width = digits(c, s, i, MAX_WIDTH);
    f.precision = read_precision(c, s, i);
    f.type = *i < s.n ? s.p[(*i)++] : 0;
    if (f.type == '%')
        sb_puts(c, b, "%");
    else if (!f.type || !strchr("sracdiuxXoeEfFgG", f.type))
        eval_fail(c, ERR_FORMAT, "a format directive that is not known");
    if (c->rc || f.type == '%')
        return;
    struct val v = percent_arg(c, arg, name, next);
    if (!c->rc)
        percent_one(c, b, &f, v);
}

struct val text_percent(struct ctx *c, struct val fmt, struct val arg)
{
    struct str s = val_bytes(fmt);
    struct sb b = {0};
    size_t next = 0, i = 0;
    while (i < s.n && !c->rc) {
        size_t k = i;
        while (k < s.n && s.p[k] != '%')
            k++;
        sb_val(c, &b, val_slice(c, fmt, i, k));
        i = k + 1;
        if (k < s.n)
            percent_directive(c, &b, s, &i, arg, &next);
    }
    if (!c->rc && arg.k == V_TUPLE && next && next < arg.l->n)
        return eval_fail(c, ERR_FORMAT, "too many values for the format");
    return sb_take(c, &b);
}

/* ---- str.format ---- */

static struct val field_first(struct ctx *c, const struct args *a, struct str name, size_t *next)
{
    uint64_t i;
    bool numbered = str_to_u64(name, &i);
    if (!name.n) {
        i = (*next)++;
        numbered = true;
    }
    if (numbered && i < a->n)
        return a->v[i];
    for (size_t k = 0; k < a->m; k++)
        if (str_eq(a->names[k], name))
            return a->named[k];
    return eval_fail(c, ERR_FORMAT, "format: no value for '{%.*s}'", STR_ARG(name));
}

/* The value of one {field}: a number, a name or nothing, then .attributes and [items]. */
static struct val field_value(struct ctx *c, const struct args *a, struct str name, size_t *next)
{
    size_t n = 0;
    while (n < name.n && name.p[n] != '.' && name.p[n] != '[')
        n++;
    struct val v = field_first(c, a, str_n(name.p, n), next);
    while (n < name.n && !c->rc) {
        bool item = name.p[n++] == '[';
        size_t from = n;
        while (n < name.n && (item ? name.p[n] != ']' : name.p[n] != '.' && name.p[n] != '['))
            n++;
        struct str key = str_n(name.p + from, n - from);
        int64_t i;
        if (item)
            v = eval_getitem(c, v, str_to_i64(key, &i) ? val_int(i) : val_borrow(c, key, false));
        else
            v = eval_getattr(c, v, key);
        n += item;
    }
    return v;
}

static bool is_align(char ch)
{
    return ch && strchr("<>^=", ch);
}

static struct spec read_spec(struct ctx *c, struct str s)
{
    struct spec f = {.precision = -1};
    size_t i = 0, first = s.n ? text_step(s, 0) : 0;
    if (first && first < s.n && is_align(s.p[first])) {
        f.fill = str_n(s.p, first);
        f.align = s.p[first];
        i = first + 1;
    } else if (s.n && is_align(s.p[0])) {
        f.align = s.p[i++];
    }
    if (i < s.n && (s.p[i] == '+' || s.p[i] == '-' || s.p[i] == ' '))
        f.sign = s.p[i] == '-' ? 0 : s.p[i], i++;
    if (i < s.n && s.p[i] == '#')
        f.alternate = true, i++;
    if (i < s.n && s.p[i] == '0') {
        i++;
        if (!f.align)
            f.align = '=', f.fill = STR("0");
    }
    f.width = digits(c, s, &i, MAX_WIDTH);
    if (i < s.n && s.p[i] == ',')
        f.comma = true, i++;
    f.precision = read_precision(c, s, &i);
    if (i < s.n)
        f.type = s.p[i++];
    if (i < s.n || (f.type && !strchr("sdbxXoneEfFgG%", f.type)))
        eval_fail(c, ERR_UNSUPPORTED, "format: the specification ':%.*s'", STR_ARG(s));
    return f;
}

static void field_write(struct ctx *c, struct sb *b, struct val v, struct str spec)
{
    struct spec f = read_spec(c, spec);
    if (c->rc)
        return;
    if (!spec.n)
        sb_val(c, b, v);
    else if (val_is_num(v) && f.type != 's' && !(v.k == V_BOOL && !f.type))
        put_number(c, b, &f, v);
    else if (f.type && f.type != 's')
        eval_fail(c, ERR_FORMAT, "format: ':%.*s' for %s", STR_ARG(spec), val_type(v));
    else
        put_text(c, b, &f, val_text(c, v), '<');
}

static void field(struct ctx *c, const struct args *a, struct sb *b, struct str s, size_t *next)
{
    struct str name, spec = STR_NONE;
    str_cut(s, ':', &name, &spec);
    char conversion = 0;
    if (name.n >= 2 && name.p[name.n - 2] == '!') {
        conversion = name.p[name.n - 1];
        name.n -= 2;
    }
    struct val v = field_value(c, a, name, next);
    if (!c->rc && conversion)
        v = conversion == 'r' ? repr_of(c, v) : val_text(c, v);
    if (!c->rc)
        field_write(c, b, v, spec);
}

struct val text_format(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(a->self);
    struct sb b = {0};
    size_t next = 0;
    for (size_t i = 0; i < s.n && !c->rc;) {
        size_t k = i;
        while (k < s.n && s.p[k] != '{' && s.p[k] != '}')
            k++;
        sb_val(c, &b, val_slice(c, a->self, i, k));
        i = k;
        if (i >= s.n)
            break;
        if (i + 1 < s.n && s.p[i + 1] == s.p[i]) {
            sb_val(c, &b, val_slice(c, a->self, i, i + 1));
            i += 2;
            continue;
        }
        size_t end = str_find(s, STR("}"), i);
        if (s.p[i] == '}' || end == SIZE_MAX)
            return eval_fail(c, ERR_FORMAT, "format: a single brace");
        field(c, a, &b, str_n(s.p + i + 1, end - i - 1), &next);
        i = end + 1;
    }
    return sb_take(c, &b);
}
