/* tmpl_value.c: the values of a render: making them, comparing them, walking them. Python's rules,
 * because that is what templates are written against. Everything lives in the render's arena and
 * charges the render's steps by the work it does. Writing values as text stands in tmpl_text.c. */
#include "tmpl_int.h"

#include "utf8.h"

#include <math.h>

struct val val_lit(struct ctx *c, const char *z)
{
    return val_borrow(c, str_of(z), false);
}

struct val val_borrow(struct ctx *c, struct str s, bool tainted)
{
    struct vstr *v = eval_alloc(c, 1, sizeof *v);
    if (!v)
        return UNDEF;
    *v = (struct vstr){.p = s.p ? s.p : "", .n = s.n};
    if (tainted && s.n) {
        struct taint *t = eval_alloc(c, 1, sizeof *t);
        if (!t)
            return UNDEF;
        *t = (struct taint){0, s.n};
        v->t = t;
        v->nt = 1;
    }
    return (struct val){.k = V_STR, .s = v};
}

struct val val_str(struct ctx *c, struct str s, bool tainted)
{
    char *p = eval_alloc(c, s.n + 1, 1);
    if (!p)
        return UNDEF;
    if (s.n)
        memcpy(p, s.p, s.n);
    return val_borrow(c, str_n(p, s.n), tainted);
}

struct val val_slice(struct ctx *c, struct val s, size_t from, size_t to)
{
    const struct vstr *o = s.s;
    if (from == 0 && to == o->n)
        return s;
    struct val v = val_borrow(c, str_n(o->p + from, to - from), false);
    if (v.k != V_STR || (!o->nt && !o->safe))
        return v;
    struct taint *t = eval_alloc(c, o->nt, sizeof *t);
    if (!t)
        return UNDEF;
    size_t n = 0;
    for (size_t i = 0; i < o->nt; i++) {
        size_t a = o->t[i].from > from ? o->t[i].from : from;
        size_t b = o->t[i].to < to ? o->t[i].to : to;
        if (a < b)
            t[n++] = (struct taint){a - from, b - from};
    }
    struct vstr *w = eval_alloc(c, 1, sizeof *w);
    if (!w)
        return UNDEF;
    *w = *v.s;
    w->safe = o->safe;
    w->t = t;
    w->nt = n;
    return (struct val){.k = V_STR, .s = w};
}

struct val val_list(struct ctx *c, enum val_kind kind, size_t cap)
{
    struct vlist *l = eval_alloc(c, 1, sizeof *l);
    if (!l)
        return UNDEF;
    if (cap) {
        l->v = eval_alloc(c, cap, sizeof *l->v);
        l->cap = l->v ? cap : 0;
    }
    return (struct val){.k = kind, .l = l};
}

void val_push(struct ctx *c, struct vlist *l, struct val v)
{
    if (c->rc || !eval_step(c, 1))
        return;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        struct val *w = eval_alloc(c, cap, sizeof *w);
        if (!w)
            return;
        if (l->n)
            memcpy(w, l->v, l->n * sizeof *w);
        l->v = w;
        l->cap = cap;
    }
    l->v[l->n++] = v;
}

struct val val_dict(struct ctx *c, enum val_kind kind)
{
    struct vdict *d = eval_alloc(c, 1, sizeof *d);
    return d ? (struct val){.k = kind, .d = d} : UNDEF;
}

struct val *val_gets(struct ctx *c, const struct vdict *d, struct str key)
{
    eval_step(c, d->n / 16);
    for (size_t i = 0; i < d->n; i++)
        if (d->key[i].k == V_STR && str_eq(val_bytes(d->key[i]), key))
            return &d->val[i];
    return NULL;
}

struct val *val_get(struct ctx *c, const struct vdict *d, struct val key)
{
    if (key.k == V_STR)
        return val_gets(c, d, val_bytes(key));
    eval_step(c, d->n / 16);
    for (size_t i = 0; i < d->n && !c->rc; i++)
        if (val_eq(c, d->key[i], key))
            return &d->val[i];
    return NULL;
}

void val_put(struct ctx *c, struct vdict *d, struct val key, struct val v)
{
    struct val *old = val_get(c, d, key);
    if (old)
        *old = v;
    if (old || c->rc || !eval_step(c, 1))
        return;
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        struct val *w = eval_alloc(c, cap * 2, sizeof *w);
        if (!w)
            return;
        if (d->n) {
            memcpy(w, d->key, d->n * sizeof *w);
            memcpy(w + cap, d->val, d->n * sizeof *w);
        }
        d->key = w;
        d->val = w + cap;
        d->cap = cap;
    }
    d->key[d->n] = key;
    d->val[d->n++] = v;
}

void val_puts(struct ctx *c, struct vdict *d, const char *key, struct val v)
{
    struct val k = val_lit(c, key);
    if (k.k == V_STR)
        val_put(c, d, k, v);
}

bool val_truth(struct val v)
{
    switch (v.k) {
    case V_UNDEF:
    case V_NONE: return false;
    case V_BOOL: return v.b;
    case V_INT: return v.i != 0;
    case V_FLOAT: return v.f != 0;
    case V_STR: return v.s->n > 0;
    case V_LIST:
    case V_TUPLE: return v.l->n > 0;
    case V_DICT: return v.d->n > 0;
    case V_NS:
    case V_FN:
    case V_LOOP: return true;
    }
    return false;
}

const char *val_type(struct val v)
{
    static const char *const names[] = {
        [V_UNDEF] = "undefined", [V_NONE] = "none",     [V_BOOL] = "a boolean",
        [V_INT] = "an integer",  [V_FLOAT] = "a float", [V_STR] = "a string",
        [V_LIST] = "a list",     [V_TUPLE] = "a tuple", [V_DICT] = "a mapping",
        [V_NS] = "a namespace",  [V_FN] = "a function", [V_LOOP] = "the loop",
    };
    return names[v.k];
}

static bool eq_deep(struct ctx *c, struct val a, struct val b, int depth)
{
    if (c->rc || !eval_step(c, 1))
        return false;
    if (depth > MAX_VALUE_DEPTH) {
        eval_fail(c, ERR_LIMIT, "values nested more than %d deep", MAX_VALUE_DEPTH);
        return false;
    }
    if (val_is_num(a) && val_is_num(b)) {
        if (a.k == V_FLOAT || b.k == V_FLOAT)
            return val_num(a) == val_num(b);
        return val_whole(a) == val_whole(b);
    }
    if (a.k != b.k)
        return false;
    switch (a.k) {
    case V_UNDEF:
    case V_NONE: return true;
    case V_STR: eval_step(c, a.s->n / 64); return str_eq(val_bytes(a), val_bytes(b));
    case V_LIST:
    case V_TUPLE:
        if (a.l->n != b.l->n)
            return false;
        for (size_t i = 0; i < a.l->n; i++)
            if (!eq_deep(c, a.l->v[i], b.l->v[i], depth + 1))
                return false;
        return true;
    case V_DICT:
        if (a.d->n != b.d->n)
            return false;
        for (size_t i = 0; i < a.d->n && !c->rc; i++) {
            struct val *v = val_get(c, b.d, a.d->key[i]);
            if (!v || !eq_deep(c, a.d->val[i], *v, depth + 1))
                return false;
        }
        return true;
    default: return a.d == b.d;
    }
}

bool val_eq(struct ctx *c, struct val a, struct val b)
{
    return eq_deep(c, a, b, 0);
}

/* Code points and UTF-8 bytes sort alike. */
static int cmp_text(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int r = n ? memcmp(a.p, b.p, n) : 0;
    return r ? r : (a.n > b.n) - (a.n < b.n);
}

static int cmp_deep(struct ctx *c, struct val a, struct val b, int depth)
{
    eval_step(c, 1);
    if (c->rc)
        return 0;
    if (val_is_num(a) && val_is_num(b)) {
        if (a.k == V_FLOAT || b.k == V_FLOAT)
            return (val_num(a) > val_num(b)) - (val_num(a) < val_num(b));
        return (val_whole(a) > val_whole(b)) - (val_whole(a) < val_whole(b));
    }
    if (a.k == V_STR && b.k == V_STR)
        return cmp_text(val_bytes(a), val_bytes(b));
    if ((a.k == V_LIST || a.k == V_TUPLE) && a.k == b.k && depth < MAX_VALUE_DEPTH) {
        for (size_t i = 0; i < a.l->n && i < b.l->n; i++)
            if (!val_eq(c, a.l->v[i], b.l->v[i]))
                return cmp_deep(c, a.l->v[i], b.l->v[i], depth + 1);
        return (a.l->n > b.l->n) - (a.l->n < b.l->n);
    }
    eval_fail(c, ERR_FORMAT, "cannot order %s and %s", val_type(a), val_type(b));
    return 0;
}

int val_cmp(struct ctx *c, struct val a, struct val b)
{
    return cmp_deep(c, a, b, 0);
}

bool val_len(struct val v, size_t *n)
{
    switch (v.k) {
    case V_UNDEF: *n = 0; return true;
    case V_STR: *n = text_count(val_bytes(v)); return true;
    case V_LIST:
    case V_TUPLE: *n = v.l->n; return true;
    case V_DICT: *n = v.d->n; return true;
    case V_LOOP: *n = v.loop->items->n; return true;
    default: return false;
    }
}

static struct vlist *chars_of(struct ctx *c, struct val v)
{
    struct str s = val_bytes(v);
    struct val l = val_list(c, V_LIST, 0);
    for (size_t i = 0; l.k == V_LIST && i < s.n && !c->rc;) {
        size_t n = text_step(s, i);
        val_push(c, l.l, val_slice(c, v, i, i + n));
        i += n;
    }
    return l.k == V_LIST ? l.l : NULL;
}

struct vlist *val_iter(struct ctx *c, struct val v)
{
    struct val l;
    if (c->rc)
        return NULL;
    switch (v.k) {
    case V_LIST:
    case V_TUPLE: return v.l;
    case V_UNDEF: l = val_list(c, V_LIST, 0); return l.k == V_LIST ? l.l : NULL;
    case V_STR: return chars_of(c, v);
    case V_DICT:
        l = val_list(c, V_LIST, v.d->n);
        for (size_t i = 0; l.k == V_LIST && i < v.d->n; i++)
            val_push(c, l.l, v.d->key[i]);
        return l.k == V_LIST ? l.l : NULL;
    default: eval_fail(c, ERR_FORMAT, "cannot iterate over %s", val_type(v)); return NULL;
    }
}

bool val_in(struct ctx *c, struct val x, struct val in)
{
    if (in.k == V_STR) {
        if (x.k != V_STR) {
            eval_fail(c, ERR_FORMAT, "'in' a string needs a string, not %s", val_type(x));
            return false;
        }
        eval_step(c, in.s->n / 64);
        return x.s->n == 0 || str_find(val_bytes(in), val_bytes(x), 0) != SIZE_MAX;
    }
    if (in.k == V_DICT)
        return val_get(c, in.d, x) != NULL;
    struct vlist *l = val_iter(c, in);
    for (size_t i = 0; l && i < l->n && !c->rc; i++)
        if (val_eq(c, x, l->v[i]))
            return true;
    return false;
}

/* ---- code points ---- */

bool text_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0xA0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

size_t text_step(struct str s, size_t at)
{
    uint32_t cp;
    size_t n = utf8_decode(str_n(s.p + at, s.n - at), &cp);
    return n ? n : 1;
}

size_t text_count(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i += text_step(s, i))
        n++;
    return n;
}

/* Is the character of n bytes at p in the set (NULL: white space)? */
static bool strips(const char *p, size_t n, const struct str *set)
{
    uint32_t cp;
    if (!set)
        return utf8_decode(str_n(p, n), &cp) && text_is_space(cp);
    for (size_t i = 0; i < set->n;) {
        size_t k = text_step(*set, i);
        if (k == n && memcmp(set->p + i, p, n) == 0)
            return true;
        i += k;
    }
    return false;
}

struct str text_strip(struct str s, const struct str *set, bool left, bool right)
{
    while (left && s.n) {
        size_t n = text_step(s, 0);
        if (!strips(s.p, n, set))
            break;
        s = str_n(s.p + n, s.n - n);
    }
    while (right && s.n) {
        size_t at = s.n - 1;
        while (at > 0 && s.n - at < 4 && ((unsigned char)s.p[at] & 0xC0) == 0x80)
            at--;
        if (text_step(s, at) != s.n - at)
            at = s.n - 1; /* malformed: a byte by itself */
        if (!strips(s.p + at, s.n - at, set))
            break;
        s.n = at;
    }
    return s;
}
