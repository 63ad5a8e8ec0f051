/* tmpl_method.c: the methods of strings, lists, mappings and the loop that templates call. */
#include "tmpl_builtin_int.h"

#include "utf8.h"

#include <math.h>
#include <utf8proc.h>

/* ---- strings ---- */

static struct val s_strip(struct ctx *c, const struct args *a)
{
    return text_strip_args(c, a, a->self, true, true);
}

static struct val s_lstrip(struct ctx *c, const struct args *a)
{
    return text_strip_args(c, a, a->self, true, false);
}

static struct val s_rstrip(struct ctx *c, const struct args *a)
{
    return text_strip_args(c, a, a->self, false, true);
}

static struct val s_upper(struct ctx *c, const struct args *a)
{
    return text_recase(c, a->self, CASE_UPPER);
}

static struct val s_lower(struct ctx *c, const struct args *a)
{
    return text_recase(c, a->self, CASE_LOWER);
}

static struct val s_capitalize(struct ctx *c, const struct args *a)
{
    return text_recase(c, a->self, CASE_CAPITAL);
}

static struct val s_title(struct ctx *c, const struct args *a)
{
    return text_recase(c, a->self, CASE_TITLE);
}

/* Words between white space; after `limit` of them the rest in one piece. */
static struct val split_words(struct ctx *c, struct val v, int64_t limit)
{
    struct str s = val_bytes(v);
    struct val out = val_list(c, V_LIST, 0);
    size_t at = 0;
    eval_step(c, s.n / 64);
    while (!c->rc) {
        struct str rest = text_strip(str_n(s.p + at, s.n - at), NULL, true, false);
        size_t from = s.n - rest.n, end = from;
        uint32_t cp;
        if (!rest.n)
            break;
        if (limit == 0) {
            rest = text_strip(rest, NULL, false, true);
            val_push(c, out.l, val_slice(c, v, from, from + rest.n));
            break;
        }
        while (end < s.n) {
            size_t n = utf8_decode(str_n(s.p + end, s.n - end), &cp);
            if (n && text_is_space(cp))
                break;
            end += n ? n : 1;
        }
        val_push(c, out.l, val_slice(c, v, from, end));
        at = end;
        limit -= limit > 0;
    }
    return out;
}

static struct val s_split(struct ctx *c, const struct args *a)
{
    struct val sep = arg_at(a, 0, "sep", NONE);
    struct str s = val_bytes(a->self), d = val_bytes(sep);
    int64_t limit = -1;
    arg_int(c, a, 1, "maxsplit", &limit);
    if (sep.k == V_NONE)
        return split_words(c, a->self, limit);
    if (!d.n)
        return eval_fail(c, ERR_FORMAT, "split needs a separator that is not empty");
    struct val out = val_list(c, V_LIST, 0);
    eval_step(c, s.n / 64);
    size_t at = 0;
    for (; limit != 0 && !c->rc; limit -= limit > 0) {
        size_t hit = str_find(s, d, at);
        if (hit == SIZE_MAX)
            break;
        val_push(c, out.l, val_slice(c, a->self, at, hit));
        at = hit + d.n;
    }
    val_push(c, out.l, val_slice(c, a->self, at, s.n));
    return out;
}

static size_t find_last(struct str s, struct str d, size_t end)
{
    for (size_t i = end >= d.n ? end - d.n + 1 : 0; i > 0; i--)
        if (memcmp(s.p + i - 1, d.p, d.n) == 0)
            return i - 1;
    return SIZE_MAX;
}

static struct val s_rsplit(struct ctx *c, const struct args *a)
{
    struct val sep = arg_at(a, 0, "sep", NONE);
    struct str s = val_bytes(a->self), d = val_bytes(sep);
    int64_t limit = -1;
    arg_int(c, a, 1, "maxsplit", &limit);
    if (sep.k == V_NONE && limit < 0)
        return split_words(c, a->self, limit);
    if (!d.n)
        return eval_fail(c, ERR_FORMAT, "rsplit needs a separator that is not empty");
    struct val back = val_list(c, V_LIST, 0);
    size_t end = s.n;
    for (; limit != 0 && !c->rc; limit -= limit > 0) {
        size_t hit = find_last(s, d, end);
        eval_step(c, (end - (hit == SIZE_MAX ? 0 : hit)) / 64);
        if (hit == SIZE_MAX)
            break;
        val_push(c, back.l, val_slice(c, a->self, hit + d.n, end));
        end = hit;
    }
    val_push(c, back.l, val_slice(c, a->self, 0, end));
    struct args in = {.self = back};
    return c->rc ? UNDEF : seq_reverse(c, &in);
}

static struct val s_splitlines(struct ctx *c, const struct args *a)
{
    struct str s = val_bytes(a->self);
    bool keep = val_truth(arg_at(a, 0, "keepends", val_bool(false)));
    struct val out = val_list(c, V_LIST, 0);
    for (size_t at = 0; at < s.n && !c->rc;) {
        size_t end = at;
        while (end < s.n && s.p[end] != '\n' && s.p[end] != '\r')
            end++;
        size_t next = end + (end < s.n);
        next += end + 1 < s.n && s.p[end] == '\r' && s.p[end + 1] == '\n';
        val_push(c, out.l, val_slice(c, a->self, at, keep ? next : end));
        at = next;
    }
    return out;
}

/* startswith and endswith take a string or a tuple of them, and a range to look at. */
static struct val affix(struct ctx *c, const struct args *a, bool (*has)(struct str, struct str))
{
    struct val x = arg_at(a, 0, NULL, UNDEF);
    struct args cut = *a;
    if (a->n > 1) {
        cut.self = eval_getslice(c, a->self, a->v[1], arg_at(a, 2, NULL, NONE), NONE);
        if (c->rc)
            return UNDEF;
        a = &cut;
    }
    if (x.k == V_STR)
        return val_bool(has(val_bytes(a->self), val_bytes(x)));
    if (x.k != V_TUPLE)
        return eval_fail(c, ERR_FORMAT, "the affix must be a string, not %s", val_type(x));
    for (size_t i = 0; i < x.l->n; i++)
        if (x.l->v[i].k == V_STR && has(val_bytes(a->self), val_bytes(x.l->v[i])))
            return val_bool(true);
    return val_bool(false);
}

static struct val s_startswith(struct ctx *c, const struct args *a)
{
    return affix(c, a, str_starts);
}

static struct val s_endswith(struct ctx *c, const struct args *a)
{
    return affix(c, a, str_ends);
}

static struct val s_removeprefix(struct ctx *c, const struct args *a)
{
    struct str x, s = val_bytes(a->self);
    if (!arg_str(c, a, 0, "prefix", &x))
        return UNDEF;
    return str_starts(s, x) ? val_slice(c, a->self, x.n, s.n) : a->self;
}

static struct val s_removesuffix(struct ctx *c, const struct args *a)
{
    struct str x, s = val_bytes(a->self);
    if (!arg_str(c, a, 0, "suffix", &x))
        return UNDEF;
    return str_ends(s, x) ? val_slice(c, a->self, 0, s.n - x.n) : a->self;
}

static struct val s_replace(struct ctx *c, const struct args *a)
{
    struct str old, new;
    int64_t count = -1;
    arg_int(c, a, 2, "count", &count);
    if (!arg_str(c, a, 0, "old", &old) || !arg_str(c, a, 1, "new", &new))
        return UNDEF;
    return text_replace(c, a->self, arg_at(a, 0, "old", UNDEF), arg_at(a, 1, "new", UNDEF), count);
}

static struct val s_join(struct ctx *c, const struct args *a)
{
    struct args in = {.self = arg_at(a, 0, NULL, UNDEF), .v = &a->self, .n = 1};
    struct vlist *l = val_iter(c, in.self);
    for (size_t i = 0; l && i < l->n; i++)
        if (l->v[i].k != V_STR)
            return eval_fail(c, ERR_FORMAT, "join of %s: only strings", val_type(l->v[i]));
    return c->rc ? UNDEF : seq_join(c, &in);
}

static struct val position(struct ctx *c, const struct args *a, bool last)
{
    struct str x, s = val_bytes(a->self);
    if (!arg_str(c, a, 0, "sub", &x))
        return UNDEF;
    eval_step(c, s.n / 64);
    size_t hit = last ? find_last(s, x, s.n) : x.n ? str_find(s, x, 0) : 0;
    return val_int(hit == SIZE_MAX ? -1 : (int64_t)text_count(str_n(s.p, hit)));
}

static struct val position_of(struct ctx *c, const struct args *a, bool last)
{
    struct val v = position(c, a, last);
    if (!c->rc && v.i < 0)
        return eval_fail(c, ERR_FORMAT, "index of a text that is not there");
    return v;
}

static struct val s_index(struct ctx *c, const struct args *a)
{
    return position_of(c, a, false);
}

static struct val s_rindex(struct ctx *c, const struct args *a)
{
    return position_of(c, a, true);
}

static struct val s_find(struct ctx *c, const struct args *a)
{
    return position(c, a, false);
}

static struct val s_rfind(struct ctx *c, const struct args *a)
{
    return position(c, a, true);
}

static struct val s_count(struct ctx *c, const struct args *a)
{
    struct str x, s = val_bytes(a->self);
    if (!arg_str(c, a, 0, "sub", &x))
        return UNDEF;
    eval_step(c, s.n / 64);
    int64_t n = 0;
    if (!x.n)
        return val_int((int64_t)text_count(s) + 1);
    for (size_t at = 0; (at = str_find(s, x, at)) != SIZE_MAX; at += x.n)
        n++;
    return val_int(n);
}

/* All characters pass, and there is one. */
static struct val all_chars(const struct args *a, bool (*is)(uint32_t))
{
    struct str s = val_bytes(a->self);
    uint32_t cp;
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (!n || !is(cp))
            return val_bool(false);
        i += n;
    }
    return val_bool(s.n > 0);
}

static bool is_digit(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_ND;
}

static bool is_alpha(uint32_t cp)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool is_alnum(uint32_t cp)
{
    return is_alpha(cp) || is_digit(cp);
}

static struct val s_isdigit(struct ctx *c, const struct args *a)
{
    return all_chars(a, is_digit);
}

static struct val s_isalpha(struct ctx *c, const struct args *a)
{
    return all_chars(a, is_alpha);
}

static struct val s_isalnum(struct ctx *c, const struct args *a)
{
    return all_chars(a, is_alnum);
}

static struct val s_isspace(struct ctx *c, const struct args *a)
{
    return all_chars(a, text_is_space);
}

static const struct builtin string_methods[] = {
    {"strip", s_strip},
    {"lstrip", s_lstrip},
    {"rstrip", s_rstrip},
    {"split", s_split},
    {"rsplit", s_rsplit},
    {"splitlines", s_splitlines},
    {"startswith", s_startswith},
    {"endswith", s_endswith},
    {"removeprefix", s_removeprefix},
    {"removesuffix", s_removesuffix},
    {"replace", s_replace},
    {"upper", s_upper},
    {"lower", s_lower},
    {"title", s_title},
    {"capitalize", s_capitalize},
    {"join", s_join},
    {"find", s_find},
    {"rfind", s_rfind},
    {"count", s_count},
    {"index", s_index},
    {"rindex", s_rindex},
    {"format", text_format},
    {"isdigit", s_isdigit},
    {"isdecimal", s_isdigit},
    {"isalpha", s_isalpha},
    {"isalnum", s_isalnum},
    {"isspace", s_isspace},
};

/* ---- mappings ---- */

static struct val d_items(struct ctx *c, const struct args *a)
{
    return seq_items(c, a);
}

static struct val d_keys(struct ctx *c, const struct args *a)
{
    return seq_list(c, a);
}

static struct val d_values(struct ctx *c, const struct args *a)
{
    struct val out = val_list(c, V_LIST, a->self.d->n);
    for (size_t i = 0; i < a->self.d->n && !c->rc; i++)
        val_push(c, out.l, a->self.d->val[i]);
    return out;
}

static struct val d_get(struct ctx *c, const struct args *a)
{
    struct val *v = val_get(c, a->self.d, arg_at(a, 0, "key", UNDEF));
    return v ? *v : arg_at(a, 1, "default", NONE);
}

static struct val d_pop(struct ctx *c, const struct args *a)
{
    struct vdict *d = a->self.d;
    struct val *v = val_get(c, d, arg_at(a, 0, "key", UNDEF));
    if (!v && a->n > 1)
        return a->v[1];
    if (!v)
        return eval_fail(c, ERR_FORMAT, "pop of a key that is not there");
    struct val out = *v;
    size_t i = (size_t)(v - d->val), rest = d->n - i - 1;
    memmove(d->key + i, d->key + i + 1, rest * sizeof *v);
    memmove(d->val + i, d->val + i + 1, rest * sizeof *v);
    eval_step(c, rest / 16);
    d->n--;
    return out;
}

static struct val d_update(struct ctx *c, const struct args *a)
{
    struct val o = arg_at(a, 0, NULL, UNDEF);
    for (size_t i = 0; o.k == V_DICT && i < o.d->n && !c->rc; i++)
        val_put(c, a->self.d, o.d->key[i], o.d->val[i]);
    for (size_t i = 0; i < a->m && !c->rc; i++)
        val_put(c, a->self.d, val_borrow(c, a->names[i], false), a->named[i]);
    return NONE;
}

static struct val d_setdefault(struct ctx *c, const struct args *a)
{
    struct val key = arg_at(a, 0, NULL, UNDEF), *v = val_get(c, a->self.d, key);
    if (v)
        return *v;
    struct val def = arg_at(a, 1, NULL, NONE);
    val_put(c, a->self.d, key, def);
    return def;
}

static struct val d_copy(struct ctx *c, const struct args *a)
{
    struct val d = val_dict(c, V_DICT);
    for (size_t i = 0; i < a->self.d->n && !c->rc; i++)
        val_put(c, d.d, a->self.d->key[i], a->self.d->val[i]);
    return d;
}

static const struct builtin dict_methods[] = {
    {"items", d_items}, {"keys", d_keys},     {"values", d_values},         {"get", d_get},
    {"pop", d_pop},     {"update", d_update}, {"setdefault", d_setdefault}, {"copy", d_copy},
};

/* ---- lists ---- */

static struct val l_append(struct ctx *c, const struct args *a)
{
    val_push(c, a->self.l, arg_at(a, 0, NULL, NONE));
    return NONE;
}

static struct val l_extend(struct ctx *c, const struct args *a)
{
    struct vlist *o = val_iter(c, arg_at(a, 0, NULL, NONE));
    for (size_t i = 0, n = o ? o->n : 0; i < n && !c->rc; i++)
        val_push(c, a->self.l, o->v[i]);
    return NONE;
}

static struct val l_insert(struct ctx *c, const struct args *a)
{
    struct vlist *l = a->self.l;
    int64_t at = 0, n = (int64_t)l->n;
    arg_int(c, a, 0, "index", &at);
    at = at < 0 ? (at < -n ? 0 : at + n) : at > n ? n : at;
    val_push(c, l, UNDEF);
    if (c->rc)
        return UNDEF;
    eval_step(c, (size_t)(n - at) / 16);
    memmove(l->v + at + 1, l->v + at, (size_t)(n - at) * sizeof *l->v);
    l->v[at] = arg_at(a, 1, NULL, NONE);
    return NONE;
}

static struct val l_pop(struct ctx *c, const struct args *a)
{
    struct vlist *l = a->self.l;
    int64_t at = -1, n = (int64_t)l->n;
    arg_int(c, a, 0, "index", &at);
    if (at < 0)
        at = at < -n ? -1 : at + n;
    if (at < 0 || at >= n)
        return eval_fail(c, ERR_FORMAT, "pop from outside the list");
    struct val out = l->v[at];
    eval_step(c, (size_t)(n - at) / 16);
    memmove(l->v + at, l->v + at + 1, (size_t)(n - at - 1) * sizeof *l->v);
    l->n--;
    return out;
}

static struct val l_index(struct ctx *c, const struct args *a)
{
    struct val x = arg_at(a, 0, NULL, UNDEF);
    for (size_t i = 0; i < a->self.l->n && !c->rc; i++)
        if (val_eq(c, a->self.l->v[i], x))
            return val_int((int64_t)i);
    return eval_fail(c, ERR_FORMAT, "index of a value that is not in the list");
}

static struct val l_count(struct ctx *c, const struct args *a)
{
    struct val x = arg_at(a, 0, NULL, UNDEF);
    int64_t n = 0;
    for (size_t i = 0; i < a->self.l->n && !c->rc; i++)
        n += val_eq(c, a->self.l->v[i], x);
    return val_int(n);
}

static const struct builtin list_methods[] = {
    {"append", l_append}, {"extend", l_extend}, {"insert", l_insert},
    {"pop", l_pop},       {"index", l_index},   {"count", l_count},
};

static const struct builtin tuple_methods[] = {{"index", l_index}, {"count", l_count}};

/* ---- the loop ---- */

static struct val loop_cycle(struct ctx *c, const struct args *a)
{
    if (!a->n)
        return eval_fail(c, ERR_FORMAT, "cycle of nothing");
    return a->v[a->self.loop->i % a->n];
}

static struct val loop_changed(struct ctx *c, const struct args *a)
{
    struct val now = val_list(c, V_TUPLE, a->n);
    for (size_t i = 0; i < a->n && !c->rc; i++)
        val_push(c, now.l, a->v[i]);
    bool changed = !val_eq(c, now, a->self.loop->changed);
    a->self.loop->changed = now;
    return val_bool(changed);
}

static const struct builtin loop_methods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}};

/* ---- numbers ---- */

static struct val i_bit_length(struct ctx *c, const struct args *a)
{
    int64_t i = a->self.i;
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    return val_int(u ? 64 - __builtin_clzll(u) : 0);
}

static struct val i_is_integer(struct ctx *c, const struct args *a)
{
    return val_bool(true);
}

static struct val f_is_integer(struct ctx *c, const struct args *a)
{
    return val_bool(a->self.f == floor(a->self.f) && !isinf(a->self.f));
}

static const struct builtin int_methods[] = {{"bit_length", i_bit_length},
                                             {"is_integer", i_is_integer}};
static const struct builtin float_methods[] = {{"is_integer", f_is_integer}};

const struct builtin *method_find(enum val_kind kind, struct str name)
{
#define IN(table) builtin_in(table, sizeof(table) / sizeof *(table), name)
    const struct builtin *found;
    switch (kind) {
    case V_STR: found = IN(string_methods); return found ? found : layout_method(name);
    case V_LIST: found = IN(list_methods); return found ? found : group_method(kind, name);
    case V_TUPLE: return IN(tuple_methods);
    case V_DICT: found = IN(dict_methods); return found ? found : group_method(kind, name);
    case V_INT: return IN(int_methods);
    case V_FLOAT: return IN(float_methods);
    case V_LOOP: return IN(loop_methods);
    default: return NULL;
    }
#undef IN
}
