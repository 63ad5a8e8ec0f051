/* tmpl_seq.c: the filters over lists and mappings. */
#include "tmpl_builtin_int.h"

/* `attribute` of an item: names and numbers between dots. */
struct val seq_attr(struct ctx *c, struct val v, struct val path)
{
    if (path.k == V_INT)
        return eval_getitem(c, v, path);
    struct str rest = val_bytes(path), part;
    bool more = path.k == V_STR;
    while (more && !c->rc) {
        more = str_cut(rest, '.', &part, &rest);
        int64_t i;
        if (str_to_i64(part, &i))
            v = eval_getitem(c, v, val_int(i));
        else
            v = eval_getitem(c, v, val_borrow(c, part, false));
    }
    return v;
}

struct val seq_list(struct ctx *c, const struct args *a)
{
    struct vlist *l = val_iter(c, a->self);
    struct val out = val_list(c, V_LIST, l ? l->n : 0);
    for (size_t i = 0; l && i < l->n && !c->rc; i++)
        val_push(c, out.l, l->v[i]);
    return out;
}

struct val seq_first(struct ctx *c, const struct args *a)
{
    struct vlist *l = val_iter(c, a->self);
    return l && l->n ? l->v[0] : UNDEF;
}

struct val seq_last(struct ctx *c, const struct args *a)
{
    struct vlist *l = val_iter(c, a->self);
    return l && l->n ? l->v[l->n - 1] : UNDEF;
}

struct val seq_reverse(struct ctx *c, const struct args *a)
{
    struct vlist *l = val_iter(c, a->self);
    struct val out = val_list(c, V_LIST, l ? l->n : 0);
    struct sb text = {0};
    for (size_t i = l ? l->n : 0; i > 0 && !c->rc; i--) {
        if (a->self.k == V_STR)
            sb_val(c, &text, l->v[i - 1]);
        else
            val_push(c, out.l, l->v[i - 1]);
    }
    return a->self.k == V_STR ? sb_take(c, &text) : out;
}

struct val seq_join(struct ctx *c, const struct args *a)
{
    struct val sep = val_text(c, arg_at(a, 0, "d", UNDEF));
    struct val attr = arg_at(a, 1, "attribute", NONE);
    struct vlist *l = val_iter(c, a->self);
    struct sb b = {0};
    for (size_t i = 0; l && i < l->n && !c->rc; i++) {
        if (i)
            sb_val(c, &b, sep);
        sb_val(c, &b, attr.k == V_NONE ? l->v[i] : seq_attr(c, l->v[i], attr));
    }
    return sb_take(c, &b);
}

static struct val pair(struct ctx *c, struct val a, struct val b)
{
    struct val t = val_list(c, V_TUPLE, 2);
    if (t.k == V_TUPLE) {
        val_push(c, t.l, a);
        val_push(c, t.l, b);
    }
    return t;
}

struct val seq_items(struct ctx *c, const struct args *a)
{
    struct val out = val_list(c, V_LIST, 0);
    if (a->self.k == V_UNDEF)
        return out;
    if (a->self.k != V_DICT)
        return eval_fail(c, ERR_FORMAT, "items of %s", val_type(a->self));
    for (size_t i = 0; i < a->self.d->n && !c->rc; i++)
        val_push(c, out.l, pair(c, a->self.d->key[i], a->self.d->val[i]));
    return out;
}

/* ---- order ---- */

struct val seq_fold(struct ctx *c, struct val v, bool exact)
{
    return v.k == V_STR && !exact ? text_recase(c, v, CASE_LOWER) : v;
}

/* Stable merge of v[0..n) through tmp. */
static void merge_sort(struct ctx *c, struct keyed *v, struct keyed *tmp, size_t n, bool down)
{
    if (n < 2 || c->rc)
        return;
    size_t m = n / 2, i = 0, j = m;
    merge_sort(c, v, tmp, m, down);
    merge_sort(c, v + m, tmp, n - m, down);
    for (size_t k = 0; k < n && !c->rc; k++) {
        bool right = i >= m;
        if (i < m && j < n) {
            int r = val_cmp(c, v[i].key, v[j].key);
            right = down ? r < 0 : r > 0;
        }
        tmp[k] = right ? v[j++] : v[i++];
    }
    if (!c->rc)
        memcpy(v, tmp, n * sizeof *v);
}

struct val seq_sorted(struct ctx *c, struct keyed *v, size_t n, bool down)
{
    struct keyed *tmp = eval_alloc(c, n, sizeof *tmp);
    struct val out = val_list(c, V_LIST, n);
    if (!tmp || c->rc)
        return UNDEF;
    merge_sort(c, v, tmp, n, down);
    for (size_t i = 0; i < n && !c->rc; i++)
        val_push(c, out.l, v[i].item);
    return out;
}

/* Several attributes stand between commas. */
static struct val sort_key(struct ctx *c, struct val v, struct val attr, bool exact)
{
    struct str rest = val_bytes(attr), part;
    if (attr.k == V_NONE)
        return seq_fold(c, v, exact);
    if (attr.k != V_STR || !memchr(rest.p, ',', rest.n))
        return seq_fold(c, seq_attr(c, v, attr), exact);
    struct val key = val_list(c, V_TUPLE, 2);
    for (bool more = true; more && !c->rc;) {
        more = str_cut(rest, ',', &part, &rest);
        val_push(c, key.l, seq_fold(c, seq_attr(c, v, val_borrow(c, part, false)), exact));
    }
    return key;
}

struct val seq_sort(struct ctx *c, const struct args *a)
{
    bool down = val_truth(arg_at(a, 0, "reverse", val_bool(false)));
    bool exact = val_truth(arg_at(a, 1, "case_sensitive", val_bool(false)));
    struct val attr = arg_at(a, 2, "attribute", NONE);
    struct vlist *l = val_iter(c, a->self);
    struct keyed *v = l ? eval_alloc(c, l->n, sizeof *v) : NULL;
    for (size_t i = 0; v && i < l->n && !c->rc; i++) {
        struct val key = sort_key(c, l->v[i], attr, exact);
        v[i] = (struct keyed){key, l->v[i], UNDEF};
    }
    return v && !c->rc ? seq_sorted(c, v, l->n, down) : UNDEF;
}

struct val seq_dictsort(struct ctx *c, const struct args *a)
{
    bool exact = val_truth(arg_at(a, 0, "case_sensitive", val_bool(false)));
    struct str by = STR("key");
    bool down = val_truth(arg_at(a, 2, "reverse", val_bool(false)));
    if (arg_at(a, 1, "by", UNDEF).k != V_UNDEF)
        arg_str(c, a, 1, "by", &by);
    if (a->self.k != V_DICT)
        return eval_fail(c, ERR_FORMAT, "dictsort of %s", val_type(a->self));
    const struct vdict *d = a->self.d;
    struct keyed *v = eval_alloc(c, d->n, sizeof *v);
    for (size_t i = 0; v && i < d->n && !c->rc; i++) {
        struct val key = str_is(by, "value") ? d->val[i] : d->key[i];
        v[i] = (struct keyed){seq_fold(c, key, exact), pair(c, d->key[i], d->val[i]), UNDEF};
    }
    return v && !c->rc ? seq_sorted(c, v, d->n, down) : UNDEF;
}

static struct val extreme(struct ctx *c, const struct args *a, int sign)
{
    bool exact = val_truth(arg_at(a, 0, "case_sensitive", val_bool(false)));
    struct val attr = arg_at(a, 1, "attribute", NONE), best = UNDEF, best_key = UNDEF;
    struct vlist *l = val_iter(c, a->self);
    for (size_t i = 0; l && i < l->n && !c->rc; i++) {
        struct val key = attr.k == V_NONE ? l->v[i] : seq_attr(c, l->v[i], attr);
        key = seq_fold(c, key, exact);
        if (i == 0 || val_cmp(c, key, best_key) * sign > 0) {
            best = l->v[i];
            best_key = key;
        }
    }
    return best;
}

struct val seq_min(struct ctx *c, const struct args *a)
{
    return extreme(c, a, -1);
}

struct val seq_max(struct ctx *c, const struct args *a)
{
    return extreme(c, a, 1);
}

struct val seq_sum(struct ctx *c, const struct args *a)
{
    struct val attr = arg_at(a, 0, "attribute", NONE), sum = arg_at(a, 1, "start", val_int(0));
    struct vlist *l = val_iter(c, a->self);
    for (size_t i = 0; l && i < l->n && !c->rc; i++)
        sum = eval_binary(c, OP_ADD, sum, attr.k == V_NONE ? l->v[i] : seq_attr(c, l->v[i], attr));
    return sum;
}

struct val seq_unique(struct ctx *c, const struct args *a)
{
    bool exact = val_truth(arg_at(a, 0, "case_sensitive", val_bool(false)));
    struct val attr = arg_at(a, 1, "attribute", NONE);
    struct vlist *l = val_iter(c, a->self);
    struct val out = val_list(c, V_LIST, 0), seen = val_list(c, V_LIST, 0);
    for (size_t i = 0; l && i < l->n && !c->rc; i++) {
        struct val key = attr.k == V_NONE ? l->v[i] : seq_attr(c, l->v[i], attr);
        key = seq_fold(c, key, exact);
        if (val_in(c, key, seen))
            continue;
        val_push(c, seen.l, key);
        val_push(c, out.l, l->v[i]);
    }
    return out;
}

/* ---- a filter or test for each ---- */

/* Jinja's select and map take anything that is false, none included, for an empty list. */
static struct vlist *items_if_any(struct ctx *c, struct val v)
{
    return val_truth(v) ? val_iter(c, v) : NULL;
}

/* The arguments after the first `skip`, for the inner filter or test. */
static struct args inner_args(const struct args *a, size_t skip, struct val self)
{
    struct args in = *a;
    size_t k = skip < a->n ? skip : a->n;
    in.self = self;
    in.v = a->v + k;
    in.n = a->n - k;
    return in;
}

struct val seq_map(struct ctx *c, const struct args *a)
{
    struct val attr = arg_at(a, SIZE_MAX, "attribute", UNDEF);
    struct val missing = arg_at(a, SIZE_MAX, "default", UNDEF);
    struct vlist *l = items_if_any(c, a->self);
    struct val out = val_list(c, V_LIST, 0);
    const struct builtin *f = NULL;
    struct str name = STR_NONE;
    if (attr.k == V_UNDEF) {
        if (!arg_str(c, a, 0, "filter", &name))
            return UNDEF;
        f = filter_find(name);
        if (!f)
            return eval_fail(c, ERR_UNSUPPORTED, "there is no filter named '%.*s'", STR_ARG(name));
    }
    for (size_t i = 0; l && i < l->n && !c->rc; i++) {
        struct val v;
        if (f) {
            struct args in = inner_args(a, 1, l->v[i]);
            v = f->fn(c, &in);
        } else {
            v = seq_attr(c, l->v[i], attr);
            if (v.k == V_UNDEF && missing.k != V_UNDEF)
                v = missing;
        }
        val_push(c, out.l, v);
    }
    return out;
}

/* Keep the items whose value (or attribute) passes the test, or does not. */
static struct val choose(struct ctx *c, const struct args *a, bool by_attr, bool want)
{
    struct vlist *l = items_if_any(c, a->self);
    struct val out = val_list(c, V_LIST, 0), attr = NONE;
    size_t at = by_attr ? 1 : 0;
    const struct builtin *test = NULL;
    if (by_attr)
        attr = arg_at(a, 0, "attribute", NONE);
    if (a->n > at) {
        struct str name;
        if (!arg_str(c, a, at, "test", &name))
            return UNDEF;
        test = test_find(name);
        if (!test)
            return eval_fail(c, ERR_UNSUPPORTED, "there is no test named '%.*s'", STR_ARG(name));
    }
    for (size_t i = 0; l && i < l->n && !c->rc; i++) {
        struct val v = by_attr ? seq_attr(c, l->v[i], attr) : l->v[i];
        struct args in = inner_args(a, at + 1, v);
        if (val_truth(test ? test->fn(c, &in) : v) == want && !c->rc)
            val_push(c, out.l, l->v[i]);
    }
    return out;
}

struct val seq_select(struct ctx *c, const struct args *a)
{
    return choose(c, a, false, true);
}

struct val seq_reject(struct ctx *c, const struct args *a)
{
    return choose(c, a, false, false);
}

struct val seq_selectattr(struct ctx *c, const struct args *a)
{
    return choose(c, a, true, true);
}

struct val seq_rejectattr(struct ctx *c, const struct args *a)
{
    return choose(c, a, true, false);
}
