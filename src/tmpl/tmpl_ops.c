/* tmpl_ops.c: what operators, attributes, indexes and slices mean, by Python's rules. Arithmetic is
 * checked: an integer that does not fit 64 bits is an error, not another number. */
#include "tmpl_int.h"

#include <math.h>
#include <stdio.h>

static struct val undefined(struct ctx *c, struct str name)
{
    return (struct val){.k = V_UNDEF, .undef = arena_strz(c->mem, name)};
}

static struct val loop_attr(struct ctx *c, const struct vloop *l, struct str name)
{
    int64_t i = (int64_t)l->i, n = (int64_t)l->items->n;
    if (str_is(name, "index"))
        return val_int(i + 1);
    if (str_is(name, "index0"))
        return val_int(i);
    if (str_is(name, "revindex"))
        return val_int(n - i);
    if (str_is(name, "revindex0"))
        return val_int(n - i - 1);
    if (str_is(name, "first"))
        return val_bool(i == 0);
    if (str_is(name, "last"))
        return val_bool(i + 1 == n);
    if (str_is(name, "length"))
        return val_int(n);
    if (str_is(name, "depth"))
        return val_int(l->depth);
    if (str_is(name, "depth0"))
        return val_int(l->depth - 1);
    if (str_is(name, "previtem"))
        return i > 0 ? l->items->v[i - 1] : undefined(c, name);
    if (str_is(name, "nextitem"))
        return i + 1 < n ? l->items->v[i + 1] : undefined(c, name);
    return undefined(c, name);
}

/* A bound method, or undefined. */
static struct val method_of(struct ctx *c, struct val v, struct str name)
{
    const struct builtin *m = method_find(v.k, name);
    if (!m)
        return undefined(c, name);
    struct vfn *f = eval_alloc(c, 1, sizeof *f);
    if (!f)
        return UNDEF;
    *f = (struct vfn){.what = m->name, .fn = m->fn, .self = v};
    return (struct val){.k = V_FN, .fn = f};
}

static struct val macro_attr(struct ctx *c, const struct node *m, struct str name)
{
    if (str_is(name, "name"))
        return val_borrow(c, c->t->names[m->name], false);
    if (str_is(name, "catch_varargs"))
        return val_bool(m->op & MACRO_VARARGS);
    if (str_is(name, "catch_kwargs"))
        return val_bool(m->op & MACRO_KWARGS);
    if (str_is(name, "caller"))
        return val_bool(m->op & MACRO_CALLER);
    if (!str_is(name, "arguments"))
        return undefined(c, name);
    struct val t = val_list(c, V_TUPLE, m->m);
    for (size_t i = 0; i < m->m && !c->rc; i++)
        val_push(c, t.l, val_borrow(c, c->t->names[m->names[i]], false));
    return t;
}

static struct val of_undefined(struct ctx *c, struct val v, struct str name)
{
    return eval_fail(c, ERR_FORMAT, "'%s' is undefined, so it has no '%.*s'",
                     v.undef ? v.undef : "value", STR_ARG(name));
}

struct val eval_getattr(struct ctx *c, struct val v, struct str name)
{
    struct val *found;
    if (v.k == V_UNDEF)
        return of_undefined(c, v, name);
    struct val m = method_of(c, v, name);
    if (m.k == V_FN)
        return m;
    if (v.k == V_LOOP)
        return loop_attr(c, v.loop, name);
    if (v.k == V_FN && v.fn->macro)
        return macro_attr(c, v.fn->macro, name);
    if (v.k == V_TUPLE && v.l->group && (str_is(name, "grouper") || str_is(name, "list")))
        return v.l->v[str_is(name, "list")];
    if (v.k == V_DICT || v.k == V_NS) {
        found = val_gets(c, v.d, name);
        if (found)
            return *found;
    }
    return m;
}

/* Bytes of character number i (not negative) of s; false past the end. */
static bool nth_char(struct str s, int64_t i, size_t *from, size_t *to)
{
    size_t at = 0;
    while (i > 0 && at < s.n) {
        at += text_step(s, at);
        i--;
    }
    if (at >= s.n)
        return false;
    *from = at;
    *to = at + text_step(s, at);
    return true;
}

struct val eval_getitem(struct ctx *c, struct val v, struct val key)
{
    if (v.k == V_UNDEF)
        return of_undefined(c, v, key.k == V_STR ? val_bytes(key) : STR("item"));
    if (v.k == V_DICT || v.k == V_NS) {
        struct val *found = val_get(c, v.d, key);
        if (found)
            return *found;
    }
    if (v.k == V_TUPLE && v.l->group && key.k == V_STR)
        return eval_getattr(c, v, val_bytes(key));
    size_t n, from, to;
    bool sequence = v.k == V_LIST || v.k == V_TUPLE || v.k == V_STR;
    if (sequence && (key.k == V_INT || key.k == V_BOOL)) {
        int64_t i = val_whole(key);
        val_len(v, &n);
        eval_step(c, v.k == V_STR ? v.s->n / 64 : 0);
        int64_t asked = i;
        if (i < 0)
            i += (int64_t)n;
        if (i < 0 || i >= (int64_t)n)
            return (struct val){.k = V_UNDEF,
                                .undef = arena_printf(c->mem, "[%lld]", (long long)asked)};
        if (v.k != V_STR)
            return v.l->v[i];
        return nth_char(val_bytes(v), i, &from, &to) ? val_slice(c, v, from, to) : UNDEF;
    }
    if (key.k == V_STR)
        return v.k == V_LOOP ? loop_attr(c, v.loop, val_bytes(key))
                             : method_of(c, v, val_bytes(key));
    return undefined(c, STR("item"));
}

/* One bound of a slice as Python clamps it. */
static int64_t bound(struct ctx *c, struct val v, int64_t n, int64_t missing, bool down)
{
    if (v.k == V_NONE)
        return missing;
    if (v.k != V_INT && v.k != V_BOOL) {
        eval_fail(c, ERR_FORMAT, "a slice by %s", val_type(v));
        return 0;
    }
    int64_t i = val_whole(v);
    if (i < 0)
        i = i < -n ? (down ? -1 : 0) : i + n;
    else if (i >= n)
        i = down ? n - 1 : n;
    return i;
}

struct val eval_getslice(struct ctx *c, struct val v, struct val from, struct val to,
                         struct val step)
{
    size_t len;
    if (v.k == V_UNDEF)
        return of_undefined(c, v, STR("slice"));
    if ((v.k != V_STR && v.k != V_LIST && v.k != V_TUPLE) || !val_len(v, &len))
        return eval_fail(c, ERR_FORMAT, "cannot slice %s", val_type(v));
    int64_t n = (int64_t)len, by = step.k == V_NONE ? 1 : step.k == V_INT ? step.i : 0;
    if (by == 0)
        return eval_fail(c, ERR_FORMAT, "a slice with step 0");
    int64_t a = bound(c, from, n, by > 0 ? 0 : n - 1, by < 0);
    int64_t b = bound(c, to, n, by > 0 ? n : -1, by < 0);
    if (v.k == V_STR && by == 1) {
        struct str s = val_bytes(v);
        size_t x = 0, y = 0, junk;
        eval_step(c, s.n / 64);
        if (a >= b)
            return val_slice(c, v, 0, 0);
        if (!nth_char(s, a, &x, &junk))
            x = s.n;
        if (!nth_char(str_n(s.p + x, s.n - x), b - a, &y, &junk))
            y = s.n - x;
        return val_slice(c, v, x, x + y);
    }
    struct vlist *items = val_iter(c, v);
    struct val out = val_list(c, v.k == V_TUPLE ? V_TUPLE : V_LIST, 0);
    struct sb text = {0};
    for (int64_t i = a; items && !c->rc && (by > 0 ? i < b : i > b);) {
        if (v.k == V_STR)
            sb_val(c, &text, items->v[i]);
        else
            val_push(c, out.l, items->v[i]);
        if (__builtin_add_overflow(i, by, &i))
            break;
    }
    return v.k == V_STR ? sb_take(c, &text) : out;
}

/* ---- arithmetic ---- */

static struct val mismatch(struct ctx *c, const char *what, struct val a, struct val b)
{
    const char *name = a.k == V_UNDEF ? a.undef : b.k == V_UNDEF ? b.undef : NULL;
    if (name)
        return eval_fail(c, ERR_FORMAT, "'%s' is undefined (%s of %s and %s)", name, what,
                         val_type(a), val_type(b));
    return eval_fail(c, ERR_FORMAT, "%s of %s and %s", what, val_type(a), val_type(b));
}

static struct val overflow(struct ctx *c)
{
    return eval_fail(c, ERR_LIMIT, "an integer out of range");
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static struct val int_pow(struct ctx *c, int64_t base, int64_t exp)
{
    int64_t r = 1;
    if (exp > 64 && base != 0 && base != 1 && base != -1)
        return overflow(c);
    if (exp > 64)
        exp = 64 + (exp & 1); /* 0, 1 and -1: only the parity matters */
    for (; exp > 0; exp--)
        if (__builtin_mul_overflow(r, base, &r))
            return overflow(c);
    return val_int(r);
}

static struct val int_op(struct ctx *c, enum bin_op op, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool over = false;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return eval_fail(c, ERR_FORMAT, "division by zero");
    switch (op) {
    case OP_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case OP_SUB: over = __builtin_sub_overflow(a, b, &r); break;
    case OP_MUL: over = __builtin_mul_overflow(a, b, &r); break;
    case OP_DIV: return val_float((double)a / (double)b);
    case OP_FLOORDIV:
    case OP_MOD:
        if (b == -1) {
            over = op == OP_FLOORDIV && a == INT64_MIN;
            r = op == OP_FLOORDIV && !over ? -a : 0;
        } else {
            r = op == OP_MOD ? a - floor_div(a, b) * b : floor_div(a, b);
        }
        break;
    case OP_POW:
        if (b >= 0)
            return int_pow(c, a, b);
        return val_float(pow((double)a, (double)b));
    }
    return over ? overflow(c) : val_int(r);
}

static struct val float_op(struct ctx *c, enum bin_op op, double a, double b)
{
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return eval_fail(c, ERR_FORMAT, "division by zero");
    switch (op) {
    case OP_ADD: return val_float(a + b);
    case OP_SUB: return val_float(a - b);
    case OP_MUL: return val_float(a * b);
    case OP_DIV: return val_float(a / b);
    case OP_FLOORDIV: return val_float(floor(a / b));
    case OP_MOD: {
        double r = fmod(a, b);
        return val_float(r != 0 && (r < 0) != (b < 0) ? r + b : r);
    }
    case OP_POW: return val_float(pow(a, b));
    }
    return UNDEF;
}

/* A safe operand makes the sum safe and escapes the other one. */
static struct val add_text(struct ctx *c, struct val a, struct val b)
{
    struct sb text = {0};
    bool safe = a.s->safe || b.s->safe;
    if (safe) {
        a = text_escape(c, a);
        b = text_escape(c, b);
    }
    sb_val(c, &text, a);
    sb_val(c, &text, b);
    struct val v = sb_take(c, &text);
    if (v.k == V_STR)
        ((struct vstr *)v.s)->safe = safe;
    return v;
}

static struct val add_lists(struct ctx *c, struct val a, struct val b)
{
    struct val l = val_list(c, a.k, a.l->n + b.l->n);
    for (size_t i = 0; i < a.l->n && !c->rc; i++)
        val_push(c, l.l, a.l->v[i]);
    for (size_t i = 0, n = b.l->n; i < n && !c->rc; i++)
        val_push(c, l.l, b.l->v[i]);
    return l;
}

static struct val repeat(struct ctx *c, struct val v, int64_t times)
{
    struct sb text = {0};
    struct val l = val_list(c, v.k == V_STR ? V_LIST : v.k, 0);
    size_t n = v.k == V_STR ? 1 : v.l->n;
    for (int64_t i = 0; i < times && !c->rc; i++) {
        eval_step(c, 1);
        for (size_t j = 0; j < n && !c->rc; j++) {
            if (v.k == V_STR)
                sb_str(c, &text, v.s);
            else
                val_push(c, l.l, v.l->v[j]);
        }
    }
    return v.k == V_STR ? sb_take(c, &text) : l;
}

static bool repeats(struct val v)
{
    return v.k == V_STR || v.k == V_LIST || v.k == V_TUPLE;
}

struct val eval_binary(struct ctx *c, enum bin_op op, struct val a, struct val b)
{
    static const char *const names[] = {
        [OP_ADD] = "the sum",      [OP_SUB] = "the difference",    [OP_MUL] = "the product",
        [OP_DIV] = "the quotient", [OP_FLOORDIV] = "the quotient", [OP_MOD] = "the remainder",
        [OP_POW] = "the power"};
    if (op == OP_MOD && a.k == V_STR)
        return text_percent(c, a, b);
    if (val_is_num(a) && val_is_num(b)) {
        if (a.k == V_FLOAT || b.k == V_FLOAT)
            return float_op(c, op, val_num(a), val_num(b));
        return int_op(c, op, val_whole(a), val_whole(b));
    }
    if (op == OP_ADD && a.k == V_STR && b.k == V_STR)
        return add_text(c, a, b);
    if (op == OP_ADD && a.k == b.k && (a.k == V_LIST || a.k == V_TUPLE))
        return add_lists(c, a, b);
    if (op == OP_MUL && repeats(a) && (b.k == V_INT || b.k == V_BOOL))
        return repeat(c, a, val_whole(b));
    if (op == OP_MUL && repeats(b) && (a.k == V_INT || a.k == V_BOOL))
        return repeat(c, b, val_whole(a));
    return mismatch(c, names[op], a, b);
}
