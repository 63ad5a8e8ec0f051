/* tmpl_test.c: the tests (`is ...`) and the global functions. */
#include "tmpl_builtin_int.h"

#include <stdio.h>
#include <time.h>

/* ---- tests ---- */

static struct val other(const struct args *a)
{
    return arg_at(a, 0, "other", UNDEF);
}

#define TEST(name, expr)                                                                           \
    static struct val t_##name(struct ctx *c, const struct args *a)                                \
    {                                                                                              \
        struct val v = a->self;                                                                    \
        return val_bool(expr);                                                                     \
    }

TEST(defined, v.k != V_UNDEF)
TEST(undefined, v.k == V_UNDEF)
TEST(none, v.k == V_NONE)
TEST(string, v.k == V_STR)
TEST(mapping, v.k == V_DICT)
TEST(boolean, v.k == V_BOOL)
TEST(true, v.k == V_BOOL && v.b)
TEST(false, v.k == V_BOOL && !v.b)
TEST(integer, v.k == V_INT)
TEST(float, v.k == V_FLOAT)
TEST(number, val_is_num(v))
TEST(callable, v.k == V_FN)
TEST(escaped, v.k == V_STR && v.s->safe)
TEST(iterable, v.k == V_STR || v.k == V_LIST || v.k == V_TUPLE || v.k == V_DICT || v.k == V_UNDEF ||
                   v.k == V_LOOP)
TEST(sequence, v.k == V_STR || v.k == V_LIST || v.k == V_TUPLE || v.k == V_DICT || v.k == V_UNDEF)
TEST(eq, val_eq(c, v, other(a)))
TEST(ne, !val_eq(c, v, other(a)))
TEST(lt, val_cmp(c, v, other(a)) < 0)
TEST(le, val_cmp(c, v, other(a)) <= 0)
TEST(gt, val_cmp(c, v, other(a)) > 0)
TEST(ge, val_cmp(c, v, other(a)) >= 0)
TEST(in, val_in(c, v, other(a)))
TEST(filter, v.k == V_STR && filter_find(val_bytes(v)))
TEST(test, v.k == V_STR && test_find(val_bytes(v)))

static struct val t_sameas(struct ctx *c, const struct args *a)
{
    struct val o = other(a), v = a->self;
    if (v.k != o.k)
        return val_bool(false);
    switch (v.k) {
    case V_LIST:
    case V_TUPLE:
    case V_DICT:
    case V_NS:
    case V_FN:
    case V_LOOP: return val_bool(v.d == o.d);
    default: return val_bool(val_eq(c, v, o));
    }
}

static struct val remainder_of(struct ctx *c, const struct args *a, int64_t by)
{
    return eval_binary(c, OP_MOD, a->self, val_int(by));
}

static struct val t_odd(struct ctx *c, const struct args *a)
{
    return val_bool(val_eq(c, remainder_of(c, a, 2), val_int(1)));
}

static struct val t_even(struct ctx *c, const struct args *a)
{
    return val_bool(val_eq(c, remainder_of(c, a, 2), val_int(0)));
}

static struct val t_divisibleby(struct ctx *c, const struct args *a)
{
    int64_t by = 0;
    arg_int(c, a, 0, "num", &by);
    return val_bool(val_eq(c, remainder_of(c, a, by), val_int(0)));
}

static struct val cased(struct ctx *c, const struct args *a, enum text_case how)
{
    struct val v = val_text(c, a->self);
    struct val up = text_recase(c, v, CASE_UPPER), low = text_recase(c, v, CASE_LOWER);
    return val_bool(!val_eq(c, up, low) && val_eq(c, v, how == CASE_UPPER ? up : low));
}

static struct val t_upper(struct ctx *c, const struct args *a)
{
    return cased(c, a, CASE_UPPER);
}

static struct val t_lower(struct ctx *c, const struct args *a)
{
    return cased(c, a, CASE_LOWER);
}

static const struct builtin tests[] = {
    {"defined", t_defined},
    {"undefined", t_undefined},
    {"none", t_none},
    {"string", t_string},
    {"mapping", t_mapping},
    {"iterable", t_iterable},
    {"sequence", t_sequence},
    {"number", t_number},
    {"integer", t_integer},
    {"float", t_float},
    {"boolean", t_boolean},
    {"true", t_true},
    {"false", t_false},
    {"callable", t_callable},
    {"eq", t_eq},
    {"==", t_eq},
    {"!=", t_ne},
    {"<", t_lt},
    {"<=", t_le},
    {">", t_gt},
    {">=", t_ge},
    {"escaped", t_escaped},
    {"equalto", t_eq},
    {"ne", t_ne},
    {"lt", t_lt},
    {"lessthan", t_lt},
    {"le", t_le},
    {"gt", t_gt},
    {"greaterthan", t_gt},
    {"ge", t_ge},
    {"in", t_in},
    {"sameas", t_sameas},
    {"odd", t_odd},
    {"even", t_even},
    {"divisibleby", t_divisibleby},
    {"upper", t_upper},
    {"lower", t_lower},
    {"filter", t_filter},
    {"test", t_test},
};

const struct builtin *test_find(struct str name)
{
    return builtin_in(tests, sizeof tests / sizeof *tests, name);
}

/* ---- globals ---- */

static struct val g_range(struct ctx *c, const struct args *a)
{
    int64_t v[3] = {0, 0, 1};
    if (a->n < 1 || a->n > 3)
        return eval_fail(c, ERR_FORMAT, "range takes 1 to 3 arguments");
    for (size_t i = 0; i < a->n; i++)
        if (!arg_int(c, a, i, "range", &v[a->n == 1 ? 1 : i]))
            return eval_fail(c, ERR_FORMAT, "range needs integers");
    if (v[2] == 0)
        return eval_fail(c, ERR_FORMAT, "range with step 0");
    bool any = v[2] > 0 ? v[0] < v[1] : v[0] > v[1];
    uint64_t span = v[2] > 0 ? (uint64_t)v[1] - (uint64_t)v[0] : (uint64_t)v[0] - (uint64_t)v[1];
    uint64_t step = v[2] > 0 ? (uint64_t)v[2] : -(uint64_t)v[2];
    uint64_t n = any ? (span - 1) / step + 1 : 0;
    /* Counted before it is made: a huge one costs nothing but the refusal. */
    if (n > MAX_STEPS || !eval_step(c, n))
        return eval_fail(c, ERR_LIMIT, "a range of more than %d steps", (int)MAX_STEPS);
    struct val out = val_list(c, V_LIST, n);
    for (uint64_t i = 0; i < n && !c->rc; i++)
        out.l->v[i] = val_int((int64_t)((uint64_t)v[0] + i * (uint64_t)v[2]));
    if (!c->rc)
        out.l->n = n;
    return out;
}

static struct val make_mapping(struct ctx *c, const struct args *a, enum val_kind kind)
{
    struct val d = val_dict(c, kind);
    if (a->n && (a->v[0].k == V_DICT || a->v[0].k == V_NS)) {
        for (size_t i = 0; i < a->v[0].d->n && !c->rc; i++)
            val_put(c, d.d, a->v[0].d->key[i], a->v[0].d->val[i]);
    } else if (a->n) {
        struct vlist *l = val_iter(c, a->v[0]);
        for (size_t i = 0; l && i < l->n && !c->rc; i++) {
            struct vlist *kv = val_iter(c, l->v[i]);
            if (kv && kv->n == 2)
                val_put(c, d.d, kv->v[0], kv->v[1]);
            else
                eval_fail(c, ERR_FORMAT, "dict needs pairs");
        }
    }
    for (size_t i = 0; i < a->m && !c->rc; i++)
        val_put(c, d.d, val_borrow(c, a->names[i], false), a->named[i]);
    return d;
}

static struct val g_namespace(struct ctx *c, const struct args *a)
{
    return make_mapping(c, a, V_NS);
}

static struct val g_dict(struct ctx *c, const struct args *a)
{
    return make_mapping(c, a, V_DICT);
}

/* The template refuses the conversation: what it says is the error. */
static struct val g_raise(struct ctx *c, const struct args *a)
{
    struct val v = val_text(c, arg_at(a, 0, "message", UNDEF));
    if (!c->rc)
        c->rc = err_set_at(c->e, ERR_UNSUPPORTED, c->line, "template line %u refuses: %.*s",
                           c->line, STR_ARG(val_bytes(v)));
    return UNDEF;
}

static struct val g_strftime(struct ctx *c, const struct args *a)
{
    struct str format;
    char z[200], out[512];
    time_t now = (time_t)(c->now_ms / 1000);
    struct tm tm;
    if (!arg_str(c, a, 0, "format", &format))
        return UNDEF;
    if (format.n >= sizeof z || memchr(format.p, 0, format.n) || !localtime_r(&now, &tm))
        return eval_fail(c, ERR_FORMAT, "strftime_now: a format that cannot be used");
    snprintf(z, sizeof z, "%.*s", STR_ARG(format));
    size_t n = strftime(out, sizeof out, z, &tm);
    return val_str(c, str_n(out, n), val_tainted(arg_at(a, 0, "format", UNDEF)));
}

static const struct builtin globals[] = {
    {"range", g_range},           {"namespace", g_namespace},   {"dict", g_dict},
    {"raise_exception", g_raise}, {"strftime_now", g_strftime}, {"cycler", global_cycler},
    {"joiner", global_joiner},
};

const struct builtin *global_find(struct str name)
{
    return builtin_in(globals, sizeof globals / sizeof *globals, name);
}
