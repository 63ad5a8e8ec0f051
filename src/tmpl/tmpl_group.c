/* tmpl_group.c: the filters that cut lists into groups, the methods that change lists and mappings
 * in place, and the globals that keep a state: cycler and joiner. */
#include "tmpl_builtin_int.h"

/* ---- groups ---- */

struct val seq_groupby(struct ctx *c, const struct args *a)
{
    struct val attr = arg_at(a, 0, "attribute", NONE), missing = arg_at(a, 1, "default", UNDEF);
    bool exact = val_truth(arg_at(a, 2, "case_sensitive", val_bool(false)));
    struct val out = val_list(c, V_LIST, 0);
    struct vlist *l = val_iter(c, a->self);
    struct keyed *v = l ? eval_alloc(c, l->n, sizeof *v) : NULL;
    for (size_t i = 0; v && i < l->n && !c->rc; i++) {
        struct val key = seq_attr(c, l->v[i], attr);
        key = key.k == V_UNDEF ? missing : key;
        v[i] = (struct keyed){seq_fold(c, key, exact), l->v[i], key};
    }
    if (!v || c->rc)
        return UNDEF;
    struct val sorted = seq_sorted(c, v, l->n, false); /* v is in order now too */
    struct val group = UNDEF;
    for (size_t i = 0; i < l->n && !c->rc && sorted.k == V_LIST; i++) {
        if (i == 0 || !val_eq(c, v[i].key, v[i - 1].key)) {
            struct val pair = val_list(c, V_TUPLE, 2);
            group = val_list(c, V_LIST, 0);
            if (c->rc)
                break;
            val_push(c, pair.l, v[i].shown);
            val_push(c, pair.l, group);
            pair.l->group = true;
            val_push(c, out.l, pair);
        }
        val_push(c, group.l, v[i].item);
    }
    return out;
}

struct val seq_batch(struct ctx *c, const struct args *a)
{
    int64_t n = 0;
    struct val fill = arg_at(a, 1, "fill_with", NONE), out = val_list(c, V_LIST, 0), row = UNDEF;
    struct vlist *l = val_iter(c, a->self);
    if (!arg_int(c, a, 0, "linecount", &n) || n < 1)
        return eval_fail(c, ERR_FORMAT, "batch needs a positive number");
    for (size_t i = 0; l && i < l->n && !c->rc; i++) {
        if ((int64_t)(i % (size_t)n) == 0) {
            row = val_list(c, V_LIST, 0);
            val_push(c, out.l, row);
        }
        if (!c->rc)
            val_push(c, row.l, l->v[i]);
    }
    while (!c->rc && row.k == V_LIST && fill.k != V_NONE && (int64_t)row.l->n < n)
        val_push(c, row.l, fill);
    return out;
}

struct val seq_slice(struct ctx *c, const struct args *a)
{
    int64_t n = 0;
    struct val fill = arg_at(a, 1, "fill_with", NONE), out = val_list(c, V_LIST, 0);
    struct vlist *l = val_iter(c, a->self);
    if (!arg_int(c, a, 0, "slices", &n) || n < 1)
        return eval_fail(c, ERR_FORMAT, "slice needs a positive number");
    size_t each = l ? l->n / (size_t)n : 0, more = l ? l->n % (size_t)n : 0, at = 0;
    for (int64_t k = 0; l && k < n && !c->rc && eval_step(c, 1); k++) {
        struct val row = val_list(c, V_LIST, 0);
        size_t take = each + ((size_t)k < more);
        for (size_t i = 0; i < take && !c->rc; i++)
            val_push(c, row.l, l->v[at++]);
        if (!c->rc && fill.k != V_NONE && (size_t)k >= more)
            val_push(c, row.l, fill);
        val_push(c, out.l, row);
    }
    return out;
}

/* ---- lists in place ---- */

static struct val l_copy(struct ctx *c, const struct args *a)
{
    return seq_list(c, a);
}

static struct val l_remove(struct ctx *c, const struct args *a)
{
    struct vlist *l = a->self.l;
    struct val x = arg_at(a, 0, NULL, UNDEF);
    for (size_t i = 0; i < l->n && !c->rc; i++) {
        if (!val_eq(c, l->v[i], x))
            continue;
        eval_step(c, (l->n - i) / 16);
        memmove(l->v + i, l->v + i + 1, (l->n - i - 1) * sizeof *l->v);
        l->n--;
        return NONE;
    }
    return eval_fail(c, ERR_FORMAT, "remove of a value that is not in the list");
}

static struct val l_reverse(struct ctx *c, const struct args *a)
{
    struct vlist *l = a->self.l;
    eval_step(c, l->n / 16);
    for (size_t i = 0; i < l->n / 2; i++) {
        struct val v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
    return NONE;
}

static struct val l_clear(struct ctx *c, const struct args *a)
{
    a->self.l->n = 0;
    return NONE;
}

static struct val l_sort(struct ctx *c, const struct args *a)
{
    bool down = val_truth(arg_at(a, SIZE_MAX, "reverse", val_bool(false)));
    struct vlist *l = a->self.l;
    struct keyed *v = eval_alloc(c, l->n, sizeof *v);
    for (size_t i = 0; v && i < l->n; i++)
        v[i] = (struct keyed){l->v[i], l->v[i], UNDEF};
    struct val s = v ? seq_sorted(c, v, l->n, down) : UNDEF;
    if (!c->rc && s.k == V_LIST && s.l->n == l->n)
        memcpy(l->v, s.l->v, l->n * sizeof *l->v);
    return NONE;
}

static const struct builtin list_methods[] = {{"copy", l_copy},
                                              {"remove", l_remove},
                                              {"reverse", l_reverse},
                                              {"clear", l_clear},
                                              {"sort", l_sort}};

static struct val d_popitem(struct ctx *c, const struct args *a)
{
    struct vdict *d = a->self.d;
    if (!d->n)
        return eval_fail(c, ERR_FORMAT, "popitem of an empty mapping");
    struct val t = val_list(c, V_TUPLE, 2);
    if (c->rc)
        return UNDEF;
    d->n--;
    val_push(c, t.l, d->key[d->n]);
    val_push(c, t.l, d->val[d->n]);
    return t;
}

static struct val d_clear(struct ctx *c, const struct args *a)
{
    a->self.d->n = 0;
    return NONE;
}

static const struct builtin dict_methods[] = {{"popitem", d_popitem}, {"clear", d_clear}};

const struct builtin *group_method(enum val_kind kind, struct str name)
{
    if (kind == V_LIST)
        return builtin_in(list_methods, sizeof list_methods / sizeof *list_methods, name);
    if (kind == V_DICT)
        return builtin_in(dict_methods, sizeof dict_methods / sizeof *dict_methods, name);
    return NULL;
}

/* ---- globals with a state ---- */

static struct val bound(struct ctx *c, const char *what, builtin_fn *fn, struct val self)
{
    struct vfn *f = eval_alloc(c, 1, sizeof *f);
    if (!f)
        return UNDEF;
    *f = (struct vfn){.what = what, .fn = fn, .self = self};
    return (struct val){.k = V_FN, .fn = f};
}

/* self: [items, position, the object]; what it gives becomes the object's `current`. */
static struct val turn(struct ctx *c, const struct args *a, bool back)
{
    struct vlist *state = a->self.l, *items = state->v[0].l;
    size_t at = back ? 0 : (size_t)state->v[1].i;
    struct val now = items->v[at];
    state->v[1] = val_int(back ? 0 : (int64_t)((at + 1) % items->n));
    val_puts(c, state->v[2].d, "current", back ? now : items->v[(size_t)state->v[1].i]);
    return back ? NONE : now;
}

static struct val cycler_next(struct ctx *c, const struct args *a)
{
    return turn(c, a, false);
}

static struct val cycler_reset(struct ctx *c, const struct args *a)
{
    return turn(c, a, true);
}

struct val global_cycler(struct ctx *c, const struct args *a)
{
    struct val o = val_dict(c, V_NS), state = val_list(c, V_LIST, 3);
    struct val items = val_list(c, V_LIST, a->n);
    if (!a->n)
        return eval_fail(c, ERR_FORMAT, "cycler of nothing");
    for (size_t i = 0; i < a->n && !c->rc; i++)
        val_push(c, items.l, a->v[i]);
    if (c->rc)
        return UNDEF;
    val_push(c, state.l, items);
    val_push(c, state.l, val_int(0));
    val_push(c, state.l, o);
    val_puts(c, o.d, "current", a->v[0]);
    val_puts(c, o.d, "next", bound(c, "next", cycler_next, state));
    val_puts(c, o.d, "reset", bound(c, "reset", cycler_reset, state));
    return o;
}

/* self: [separator, used] */
static struct val joiner_call(struct ctx *c, const struct args *a)
{
    struct vlist *state = a->self.l;
    bool used = val_truth(state->v[1]);
    state->v[1] = val_bool(true);
    return used ? state->v[0] : val_lit(c, "");
}

struct val global_joiner(struct ctx *c, const struct args *a)
{
    struct val state = val_list(c, V_LIST, 2);
    if (c->rc)
        return UNDEF;
    val_push(c, state.l, arg_at(a, 0, "sep", val_lit(c, ", ")));
    val_push(c, state.l, val_bool(false));
    return bound(c, "joiner", joiner_call, state);
}
