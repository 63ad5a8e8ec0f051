/* tmpl_text.c: values to text with taint: the string under construction, str(), repr() and JSON as
 * Python writes them. A text that holds any outside byte inside quotes, braces or escapes is marked
 * as a whole: what its syntax says then follows from outside too. */
#include "tmpl_int.h"

#include "utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void sb_mark(struct ctx *c, struct sb *b, size_t from, size_t to)
{
    if (from == to)
        return;
    if (b->nt && b->t[b->nt - 1].to == from) {
        b->t[b->nt - 1].to = to;
        return;
    }
    if (b->nt == b->tcap) {
        size_t cap = b->tcap ? b->tcap * 2 : 4;
        struct taint *t = eval_alloc(c, cap, sizeof *t);
        if (!t)
            return;
        if (b->nt)
            memcpy(t, b->t, b->nt * sizeof *t);
        b->t = t;
        b->tcap = cap;
    }
    b->t[b->nt++] = (struct taint){from, to};
}

/* Room for n more bytes. The text being written is what the output limit is about: captured text
 * that is longer could not be shown either. */
static bool sb_room(struct ctx *c, struct sb *b, size_t n)
{
    if (c->rc || !eval_step(c, n / 64))
        return false;
    if (n > c->max_text || b->n > c->max_text - n) {
        eval_fail(c, ERR_LIMIT, "more than %zu bytes of text", c->max_text);
        return false;
    }
    if (b->cap - b->n >= n)
        return true;
    size_t cap = b->cap ? b->cap * 2 : 64;
    if (cap < b->n + n)
        cap = b->n + n;
    char *p = eval_alloc(c, cap, 1);
    if (!p)
        return false;
    if (b->n)
        memcpy(p, b->p, b->n);
    b->p = p;
    b->cap = cap;
    return true;
}

void sb_add(struct ctx *c, struct sb *b, struct str s, bool tainted)
{
    if (!s.n || !sb_room(c, b, s.n))
        return;
    memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    if (tainted)
        sb_mark(c, b, b->n - s.n, b->n);
}

void sb_puts(struct ctx *c, struct sb *b, const char *z)
{
    sb_add(c, b, str_of(z), false);
}

void sb_str(struct ctx *c, struct sb *b, const struct vstr *s)
{
    size_t at = b->n;
    sb_add(c, b, str_n(s->p, s->n), false);
    for (size_t i = 0; i < s->nt && !c->rc; i++)
        sb_mark(c, b, at + s->t[i].from, at + s->t[i].to);
}

void sb_taint_all(struct ctx *c, struct sb *b)
{
    if (!b->nt || !b->n)
        return;
    b->nt = 1;
    b->t[0] = (struct taint){0, b->n};
}

struct val sb_take(struct ctx *c, struct sb *b)
{
    struct vstr *v = eval_alloc(c, 1, sizeof *v);
    if (!v)
        return UNDEF;
    *v = (struct vstr){.p = b->p ? b->p : "", .n = b->n, .t = b->t, .nt = b->nt};
    *b = (struct sb){0};
    return (struct val){.k = V_STR, .s = v};
}

size_t float_repr(double f, char out[static 40])
{
    if (isnan(f) || isinf(f))
        return (size_t)snprintf(out, 40, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    int digits = 1;
    char z[40];
    for (; digits <= 17; digits++) {
        snprintf(z, sizeof z, "%.*e", digits - 1, f);
        if (strtod(z, NULL) == f)
            break;
    }
    int exp10 = atoi(strchr(z, 'e') + 1);
    if (exp10 < -4 || exp10 >= 16)
        return (size_t)snprintf(out, 40, "%.*s%s%02d", (int)(strchr(z, 'e') - z), z,
                                exp10 < 0 ? "e-" : "e+", abs(exp10));
    int decimals = digits - 1 - exp10;
    return (size_t)snprintf(out, 40, "%.*f", decimals < 1 ? 1 : decimals, f);
}

static void sb_scalar(struct ctx *c, struct sb *b, struct val v)
{
    char z[40];
    switch (v.k) {
    case V_NONE: sb_puts(c, b, "None"); break;
    case V_BOOL: sb_puts(c, b, v.b ? "True" : "False"); break;
    case V_INT:
        snprintf(z, sizeof z, "%lld", (long long)v.i);
        sb_puts(c, b, z);
        break;
    case V_FLOAT:
        float_repr(v.f, z);
        sb_puts(c, b, z);
        break;
    case V_UNDEF: sb_puts(c, b, "Undefined"); break;
    case V_NS: sb_puts(c, b, "<Namespace>"); break;
    case V_FN: sb_puts(c, b, "<function>"); break;
    case V_LOOP: sb_puts(c, b, "<LoopContext>"); break;
    default: break;
    }
}

static void repr_str(struct ctx *c, struct sb *b, const struct vstr *s)
{
    struct str q = memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n) ? STR("\"") : STR("'");
    bool taint = s->nt > 0;
    sb_add(c, b, q, taint);
    struct str all = str_n(s->p, s->n);
    for (size_t i = 0, n; i < s->n && !c->rc; i += n) {
        char z[8];
        n = text_step(all, i);
        unsigned char ch = (unsigned char)s->p[i];
        if (ch == '\\' || ch == (unsigned char)q.p[0])
            snprintf(z, sizeof z, "\\%c", ch);
        else if (ch == '\n' || ch == '\r' || ch == '\t')
            snprintf(z, sizeof z, "\\%c", ch == '\n' ? 'n' : ch == '\r' ? 'r' : 't');
        else if (ch < 32 || ch == 127)
            snprintf(z, sizeof z, "\\x%02x", ch);
        else {
            sb_add(c, b, str_n(s->p + i, n), taint);
            continue;
        }
        sb_add(c, b, str_of(z), taint);
    }
    sb_add(c, b, q, taint);
}

static bool too_deep(struct ctx *c, int depth)
{
    if (depth > MAX_VALUE_DEPTH)
        eval_fail(c, ERR_LIMIT, "values nested more than %d deep", MAX_VALUE_DEPTH);
    return c->rc != 0;
}

void sb_repr(struct ctx *c, struct sb *b, struct val v, int depth)
{
    if (too_deep(c, depth) || !eval_step(c, 1))
        return;
    if (v.k == V_STR) {
        repr_str(c, b, v.s);
    } else if (v.k == V_LIST || v.k == V_TUPLE) {
        sb_puts(c, b, v.k == V_LIST ? "[" : "(");
        for (size_t i = 0; i < v.l->n && !c->rc; i++) {
            sb_puts(c, b, i ? ", " : "");
            sb_repr(c, b, v.l->v[i], depth + 1);
        }
        sb_puts(c, b, v.k == V_LIST ? "]" : v.l->n == 1 ? ",)" : ")");
    } else if (v.k == V_DICT) {
        sb_puts(c, b, "{");
        for (size_t i = 0; i < v.d->n && !c->rc; i++) {
            sb_puts(c, b, i ? ", " : "");
            sb_repr(c, b, v.d->key[i], depth + 1);
            sb_puts(c, b, ": ");
            sb_repr(c, b, v.d->val[i], depth + 1);
        }
        sb_puts(c, b, "}");
    } else {
        sb_scalar(c, b, v);
    }
}

void sb_val(struct ctx *c, struct sb *b, struct val v)
{
    if (v.k == V_UNDEF)
        return;
    if (v.k == V_STR) {
        sb_str(c, b, v.s);
        return;
    }
    struct sb own = {0};
    sb_repr(c, &own, v, 0);
    sb_taint_all(c, &own);
    struct val s = sb_take(c, &own);
    if (s.k == V_STR)
        sb_str(c, b, s.s);
}

struct val val_text(struct ctx *c, struct val v)
{
    if (v.k == V_STR)
        return v;
    struct sb b = {0};
    sb_val(c, &b, v);
    return sb_take(c, &b);
}

/* ---- JSON, as json.dumps(x, ensure_ascii=False) writes it ---- */

struct json_style {
    int64_t indent; /* -1: on one line */
    struct str item, key;
    bool ascii, sorted;
};

static void json_escape_ascii(struct ctx *c, struct sb *b, uint32_t cp, bool taint)
{
    char z[16];
    if (cp >= 0x10000)
        snprintf(z, sizeof z, "\\u%04x\\u%04x", 0xD7C0 + (cp >> 10), 0xDC00 + (cp & 0x3FF));
    else
        snprintf(z, sizeof z, "\\u%04x", cp);
    sb_add(c, b, str_of(z), taint);
}

static void json_str(struct ctx *c, struct sb *b, const struct vstr *s, const struct json_style *y)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    bool taint = s->nt > 0;
    struct str all = str_n(s->p, s->n);
    sb_add(c, b, STR("\""), taint);
    size_t done = 0;
    for (size_t i = 0, n; i < s->n && !c->rc; i += n) {
        n = text_step(all, i);
        unsigned char ch = (unsigned char)s->p[i];
        const char *k = ch ? strchr(from, ch) : NULL;
        bool wide = y->ascii && ch >= 0x80;
        if (!k && ch >= 32 && !wide)
            continue;
        sb_add(c, b, str_n(s->p + done, i - done), taint);
        done = i + n;
        uint32_t cp = ch;
        if (k) {
            char z[3] = {'\\', to[k - from], 0};
            sb_add(c, b, str_of(z), taint);
        } else {
            if (wide && !utf8_decode(str_n(s->p + i, n), &cp))
                cp = 0xFFFD;
            json_escape_ascii(c, b, cp, taint);
        }
    }
    sb_add(c, b, str_n(s->p + done, s->n - done), taint);
    sb_add(c, b, STR("\""), taint);
}

static void json_newline(struct ctx *c, struct sb *b, const struct json_style *y, int depth)
{
    if (y->indent < 0)
        return;
    sb_puts(c, b, "\n");
    for (int64_t i = 0; i < y->indent * depth && !c->rc; i++)
        sb_puts(c, b, " ");
}

static void json_val(struct ctx *c, struct sb *b, struct val v, const struct json_style *y,
                     int depth);

static void json_list(struct ctx *c, struct sb *b, const struct vlist *l,
                      const struct json_style *y, int depth)
{
    sb_puts(c, b, "[");
    for (size_t i = 0; i < l->n && !c->rc; i++) {
        if (i)
            sb_add(c, b, y->item, false);
        json_newline(c, b, y, depth + 1);
        json_val(c, b, l->v[i], y, depth + 1);
    }
    if (l->n)
        json_newline(c, b, y, depth);
    sb_puts(c, b, "]");
}

static void json_key(struct ctx *c, struct sb *b, struct val k, const struct json_style *y)
{
    if (k.k == V_STR) {
        json_str(c, b, k.s, y);
        return;
    }
    if (!val_is_num(k) && k.k != V_NONE) {
        eval_fail(c, ERR_FORMAT, "tojson: %s cannot be a key", val_type(k));
        return;
    }
    sb_puts(c, b, "\"");
    json_val(c, b, k, y, 0);
    sb_puts(c, b, "\"");
}

static void json_dict(struct ctx *c, struct sb *b, const struct vdict *d,
                      const struct json_style *y, int depth)
{
    size_t *order = eval_alloc(c, d->n + 1, sizeof *order);
    if (!order)
        return;
    for (size_t i = 0; i < d->n; i++) {
        size_t k = i;
        order[i] = i;
        for (; y->sorted && k > 0 && val_cmp(c, d->key[order[k - 1]], d->key[i]) > 0; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    sb_puts(c, b, "{");
    for (size_t i = 0; i < d->n && !c->rc; i++) {
        if (i)
            sb_add(c, b, y->item, false);
        json_newline(c, b, y, depth + 1);
        json_key(c, b, d->key[order[i]], y);
        sb_add(c, b, y->key, false);
        json_val(c, b, d->val[order[i]], y, depth + 1);
    }
    if (d->n)
        json_newline(c, b, y, depth);
    sb_puts(c, b, "}");
}

static void json_val(struct ctx *c, struct sb *b, struct val v, const struct json_style *y,
                     int depth)
{
    if (too_deep(c, depth) || !eval_step(c, 1))
        return;
    switch (v.k) {
    case V_NONE: sb_puts(c, b, "null"); break;
    case V_BOOL: sb_puts(c, b, v.b ? "true" : "false"); break;
    case V_INT: sb_scalar(c, b, v); break;
    case V_FLOAT:
        if (isfinite(v.f))
            sb_scalar(c, b, v);
        else
            sb_puts(c, b, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
        break;
    case V_STR: json_str(c, b, v.s, y); break;
    case V_LIST:
    case V_TUPLE: json_list(c, b, v.l, y, depth); break;
    case V_DICT: json_dict(c, b, v.d, y, depth); break;
    default: eval_fail(c, ERR_FORMAT, "tojson: %s has no JSON form", val_type(v));
    }
}

struct val json_write(struct ctx *c, const struct args *a)
{
    struct json_style y = {.indent = -1, .item = STR(", "), .key = STR(": ")};
    struct val indent = arg_at(a, 0, "indent", NONE);
    /* json.dumps's own order of the rest is never used by position: only by name. */
    struct val seps = arg_at(a, SIZE_MAX, "separators", NONE);
    y.ascii = val_truth(arg_at(a, SIZE_MAX, "ensure_ascii", val_bool(false)));
    y.sorted = val_truth(arg_at(a, SIZE_MAX, "sort_keys", val_bool(false)));
    if (indent.k == V_INT || indent.k == V_BOOL) {
        y.indent = val_whole(indent);
        y.item = STR(",");
        if (y.indent < 0 || y.indent > 64)
            return eval_fail(c, ERR_FORMAT, "tojson: indent out of range");
    }
    if (seps.k == V_TUPLE || seps.k == V_LIST) {
        if (seps.l->n != 2 || seps.l->v[0].k != V_STR || seps.l->v[1].k != V_STR)
            return eval_fail(c, ERR_FORMAT, "tojson: separators must be two strings");
        y.item = val_bytes(seps.l->v[0]);
        y.key = val_bytes(seps.l->v[1]);
    }
    struct sb b = {0};
    json_val(c, &b, a->self, &y, 0);
    sb_taint_all(c, &b);
    return sb_take(c, &b);
}
