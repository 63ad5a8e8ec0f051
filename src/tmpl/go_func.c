/* go_func.c: the functions that a Go template may call: text/template's own and Ollama's. Called
 * by go_eval.c with as many arguments as the table says. */
#include "go_int.h"

#include <stdio.h>
#include <time.h>

enum { ANY = 1000, MAX_WIDTH = 1000 };

/* ---- comparing ---- */

static struct val f_eq(struct go_ctx *g, const struct val *v, size_t n)
{
    for (size_t i = 1; i < n && !g->c.rc; i++)
        if (val_eq(&g->c, v[0], v[i]))
            return val_bool(true);
    return val_bool(false);
}

static struct val f_ne(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)n;
    return val_bool(!val_eq(&g->c, v[0], v[1]));
}

static struct val f_lt(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)n;
    return val_bool(val_cmp(&g->c, v[0], v[1]) < 0);
}

static struct val f_le(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)n;
    return val_bool(val_cmp(&g->c, v[0], v[1]) <= 0);
}

static struct val f_gt(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)n;
    return val_bool(val_cmp(&g->c, v[0], v[1]) > 0);
}

static struct val f_ge(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)n;
    return val_bool(val_cmp(&g->c, v[0], v[1]) >= 0);
}

static struct val f_not(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)g;
    (void)n;
    return val_bool(!val_truth(v[0]));
}

/* ---- lists and texts ---- */

static struct val f_len(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)n;
    switch (v[0].k) {
    case V_STR: return val_int((int64_t)v[0].s->n);
    case V_LIST: return val_int((int64_t)v[0].l->n);
    case V_DICT: return val_int((int64_t)v[0].d->n);
    case V_UNDEF:
    case V_NONE: return val_int(0);
    default: return eval_fail(&g->c, ERR_FORMAT, "len of %s", val_type(v[0]));
    }
}

static struct val index_one(struct go_ctx *g, struct val v, struct val at)
{
    if (v.k == V_DICT) {
        struct val *found = val_get(&g->c, v.d, at);
        return found ? *found : UNDEF;
    }
    size_t n = v.k == V_LIST ? v.l->n : v.k == V_STR ? v.s->n : 0;
    if (v.k != V_LIST && v.k != V_STR)
        return eval_fail(&g->c, ERR_FORMAT, "index of %s", val_type(v));
    if (at.k != V_INT || at.i < 0 || (uint64_t)at.i >= n)
        return eval_fail(&g->c, ERR_FORMAT, "an index is not within the %zu there are", n);
    return v.k == V_LIST ? v.l->v[at.i] : val_int((unsigned char)v.s->p[at.i]);
}

static struct val f_index(struct go_ctx *g, const struct val *v, size_t n)
{
    struct val x = v[0];
    for (size_t i = 1; i < n && !g->c.rc; i++)
        x = index_one(g, x, v[i]);
    return x;
}

static struct val f_slice(struct go_ctx *g, const struct val *v, size_t n)
{
    size_t len = v[0].k == V_LIST ? v[0].l->n : v[0].k == V_STR ? v[0].s->n : 0;
    size_t at[2] = {0, len};
    if (v[0].k != V_LIST && v[0].k != V_STR)
        return eval_fail(&g->c, ERR_FORMAT, "slice of %s", val_type(v[0]));
    for (size_t i = 1; i < n && i < 3; i++) {
        if (v[i].k != V_INT || v[i].i < 0 || (uint64_t)v[i].i > len)
            return eval_fail(&g->c, ERR_FORMAT, "a bound of slice is not within the %zu there are",
                             len);
        at[i - 1] = (size_t)v[i].i;
    }
    if (at[0] > at[1])
        return eval_fail(&g->c, ERR_FORMAT, "slice from %zu to %zu", at[0], at[1]);
    if (v[0].k == V_STR)
        return val_slice(&g->c, v[0], at[0], at[1]);
    struct val l = val_list(&g->c, V_LIST, 0);
    if (g->c.rc)
        return UNDEF;
    l.l->v = v[0].l->v + at[0]; /* lists of a render never change */
    l.l->n = l.l->cap = at[1] - at[0];
    return l;
}

/* ---- writing ---- */

static struct val take(struct go_ctx *g, struct sb *b)
{
    return g->c.rc ? UNDEF : sb_take(&g->c, b);
}

static struct val f_json(struct go_ctx *g, const struct val *v, size_t n)
{
    struct sb b = {0};
    (void)n;
    go_json(g, &b, v[0], 0);
    return take(g, &b);
}

/* Space between two arguments of which neither is text. */
static struct val f_print(struct go_ctx *g, const struct val *v, size_t n)
{
    struct sb b = {0};
    for (size_t i = 0; i < n; i++) {
        if (i && v[i].k != V_STR && v[i - 1].k != V_STR)
            sb_puts(&g->c, &b, " ");
        go_print(g, &b, v[i]);
    }
    return take(g, &b);
}

static struct val f_println(struct go_ctx *g, const struct val *v, size_t n)
{
    struct sb b = {0};
    for (size_t i = 0; i < n; i++) {
        if (i)
            sb_puts(&g->c, &b, " ");
        go_print(g, &b, v[i]);
    }
    sb_puts(&g->c, &b, "\n");
    return take(g, &b);
}

struct verb {
    bool left, zero;
    int width, precision; /* -1: none */
    char what;
};

static size_t read_number(struct str f, size_t i, int *out)
{
    *out = 0;
    for (; i < f.n && f.p[i] >= '0' && f.p[i] <= '9'; i++)
        if (*out < MAX_WIDTH)
            *out = *out * 10 + (f.p[i] - '0');
    if (*out > MAX_WIDTH)
        *out = MAX_WIDTH;
    return i;
}

/* Behind the percent sign; where the verb ends. */
static size_t read_verb(struct str f, size_t i, struct verb *out)
{
    *out = (struct verb){.precision = -1};
    for (; i < f.n && strchr("+-# 0", f.p[i]) && f.p[i]; i++) {
        out->left |= f.p[i] == '-';
        out->zero |= f.p[i] == '0';
    }
    i = read_number(f, i, &out->width);
    if (i < f.n && f.p[i] == '.')
        i = read_number(f, i + 1, &out->precision);
    out->what = i < f.n ? f.p[i] : '\0';
    return i < f.n ? i + 1 : i;
}

static struct val written(struct go_ctx *g, const struct verb *f, struct val v)
{
    struct sb b = {0};
    char z[400];
    if (f->what == 'q') {
        go_json(g, &b, v, 0);
    } else if (strchr("feg", f->what) && f->what && val_is_num(v)) {
        char form[8] = {'%', '.', '*', f->what, '\0'};
        snprintf(z, sizeof z, form, f->precision < 0 || f->precision > 40 ? 6 : f->precision,
                 val_num(v));
        sb_puts(&g->c, &b, z);
    } else if ((f->what == 'x' || f->what == 'X' || f->what == 'o') && v.k == V_INT) {
        snprintf(z, sizeof z,
                 f->what == 'x'   ? "%llx"
                 : f->what == 'X' ? "%llX"
                                  : "%llo",
                 (unsigned long long)v.i);
        sb_puts(&g->c, &b, z);
    } else if (f->what == 'c' && v.k == V_INT) {
        sb_puts(&g->c, &b, v.i > 0 && v.i < 128 ? (char[]){(char)v.i, '\0'} : "\xEF\xBF\xBD");
    } else {
        go_print(g, &b, v);
    }
    return take(g, &b);
}

static void put_padded(struct go_ctx *g, struct sb *b, const struct verb *f, struct val v)
{
    struct val text = written(g, f, v);
    if (g->c.rc)
        return;
    if (f->what == 's' && f->precision >= 0 && (size_t)f->precision < text.s->n)
        text = val_slice(&g->c, text, 0, (size_t)f->precision);
    if (g->c.rc)
        return;
    size_t n = text_count(val_bytes(text)), width = (size_t)f->width;
    const char *fill = f->zero && !f->left && v.k != V_STR ? "0" : " ";
    for (size_t i = n; i < width && !f->left; i++)
        sb_puts(&g->c, b, fill);
    sb_str(&g->c, b, text.s);
    for (size_t i = n; i < width && f->left; i++)
        sb_puts(&g->c, b, " ");
}

static struct val f_printf(struct go_ctx *g, const struct val *v, size_t n)
{
    struct sb b = {0};
    size_t arg = 1;
    if (v[0].k != V_STR)
        return eval_fail(&g->c, ERR_FORMAT, "printf wants a text first, not %s", val_type(v[0]));
    struct str f = val_bytes(v[0]);
    for (size_t i = 0, from = 0; i <= f.n && !g->c.rc; i++) {
        struct verb verb;
        if (i < f.n && f.p[i] != '%')
            continue;
        struct val plain = val_slice(&g->c, v[0], from, i);
        if (plain.k == V_STR)
            sb_str(&g->c, &b, plain.s);
        if (i == f.n)
            break;
        from = read_verb(f, i + 1, &verb);
        i = from - 1;
        if (verb.what == '%')
            sb_puts(&g->c, &b, "%");
        else if (arg >= n)
            return eval_fail(&g->c, ERR_FORMAT, "printf has too few arguments");
        else
            put_padded(g, &b, &verb, v[arg++]);
    }
    return take(g, &b);
}

/* ---- Ollama's ---- */

static struct val date(struct go_ctx *g, int64_t days)
{
    char z[32];
    time_t t = (time_t)(g->c.now_ms / 1000);
    struct tm tm = {0};
    localtime_r(&t, &tm);
    tm.tm_mday += (int)days;
    tm.tm_isdst = -1;
    mktime(&tm);
    size_t n = strftime(z, sizeof z, "%Y-%m-%d", &tm);
    return val_str(&g->c, str_n(z, n), false);
}

static struct val f_today(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)v;
    (void)n;
    return date(g, 0);
}

static struct val f_yesterday(struct go_ctx *g, const struct val *v, size_t n)
{
    (void)v;
    (void)n;
    return date(g, -1);
}

static struct val dict_at(struct go_ctx *g, struct val v, const char *key)
{
    struct val *found = v.k == V_DICT ? val_gets(&g->c, v.d, str_of(key)) : NULL;
    return found ? *found : UNDEF;
}

static const char *type_name(struct val type)
{
    static const struct {
        const char *from, *into;
    } names[] = {{"integer", "number"},
                 {"number", "number"},
                 {"boolean", "boolean"},
                 {"string", "string"},
                 {"null", "null"},
                 {"array", "any[]"},
                 {"object", "Record<string, any>"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (type.k == V_STR && str_is(val_bytes(type), names[i].from))
            return names[i].into;
    return "any";
}

static void put_types(struct go_ctx *g, struct sb *b, struct val schema, int depth)
{
    struct val any = dict_at(g, schema, "anyOf"), type = dict_at(g, schema, "type");
    struct val of = any.k == V_LIST && any.l->n ? any : type;
    if (of.k != V_LIST || depth > 8) {
        sb_puts(&g->c, b, type_name(type));
        return;
    }
    for (size_t i = 0; i < of.l->n && !g->c.rc && eval_step(&g->c, 1); i++) {
        if (i)
            sb_puts(&g->c, b, " | ");
        if (of.l->v[i].k == V_DICT)
            put_types(g, b, of.l->v[i], depth + 1);
        else
            sb_puts(&g->c, b, type_name(of.l->v[i]));
    }
}

/* Of a parameter's schema. */
static struct val f_typescript(struct go_ctx *g, const struct val *v, size_t n)
{
    struct sb b = {0};
    (void)n;
    put_types(g, &b, v[0], 0);
    return take(g, &b);
}

static const struct go_func funcs[] = {
    {"and", NULL, 1, ANY},
    {"or", NULL, 1, ANY},
    {"not", f_not, 1, 1},
    {"eq", f_eq, 2, ANY},
    {"ne", f_ne, 2, 2},
    {"lt", f_lt, 2, 2},
    {"le", f_le, 2, 2},
    {"gt", f_gt, 2, 2},
    {"ge", f_ge, 2, 2},
    {"len", f_len, 1, 1},
    {"index", f_index, 1, ANY},
    {"slice", f_slice, 1, 3},
    {"print", f_print, 0, ANY},
    {"printf", f_printf, 1, ANY},
    {"println", f_println, 0, ANY},
    {"json", f_json, 1, 1},
    {"toJson", f_json, 1, 1},
    {"currentDate", f_today, 0, ANY},
    {"yesterdayDate", f_yesterday, 0, ANY},
    {"toTypeScriptType", f_typescript, 1, 1},
};

const struct go_func *go_func_find(struct str name)
{
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs; i++)
        if (str_is(name, funcs[i].name))
            return &funcs[i];
    return NULL;
}
