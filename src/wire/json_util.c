/* json_util.c: reading JSON: parsing with byte offsets in errors, the compact text of a value, and
 * a request's fields by name and type. A decoder never looks at a json_t's type itself, so that
 * every wrong type is an error that names the field. Called by the codecs of this folder. */
#include "wire_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int wire_json_load(struct str text, json_t **out, struct err *e)
{
    json_error_t je;
    json_t *v = json_loadb(text.p ? text.p : "", text.n, JSON_ALLOW_NUL, &je);
    if (!v) {
        int pos = je.position < 0 ? 0 : je.position;
        if (json_error_code(&je) == json_error_out_of_memory)
            return err_set(e, ERR_NOMEM, "out of memory while reading JSON");
        return err_set_at(e, ERR_FORMAT, (uint64_t)pos, "malformed JSON at byte %d: %s", pos,
                          je.text);
    }
    *out = v;
    return 0;
}

/* The shortest of %.15g to %.17g that reads back; a real keeps a mark of being one. */
static void dump_real(double v, struct buf *b)
{
    char t[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(t, sizeof t, "%.*g", digits, v);
        if (strtod(t, NULL) == v)
            break;
    }
    buf_puts(b, t);
    if (!strpbrk(t, ".eE"))
        buf_puts(b, ".0");
}

/* Recursion is bounded by the parser, which refuses more than 2048 levels. */
void wire_json_dump(const json_t *v, struct buf *b)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        const char *key;
        size_t klen;
        json_t *item;
        json_t *o = (json_t *)(uintptr_t)v; /* the iterators are not const-correct */
        buf_putc(b, '{');
        json_object_keylen_foreach(o, key, klen, item)
        {
            if (b->n && b->p[b->n - 1] != '{')
                buf_putc(b, ',');
            buf_json_str(b, str_n(key, klen));
            buf_putc(b, ':');
            wire_json_dump(item, b);
        }
        buf_putc(b, '}');
        break;
    }
    case JSON_ARRAY: {
        buf_putc(b, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i)
                buf_putc(b, ',');
            wire_json_dump(json_array_get(v, i), b);
        }
        buf_putc(b, ']');
        break;
    }
    case JSON_STRING: buf_json_str(b, wire_json_str(v)); break;
    case JSON_INTEGER: buf_printf(b, "%lld", (long long)json_integer_value(v)); break;
    case JSON_REAL: dump_real(json_real_value(v), b); break;
    case JSON_TRUE: buf_puts(b, "true"); break;
    case JSON_FALSE: buf_puts(b, "false"); break;
    case JSON_NULL: buf_puts(b, "null"); break;
    }
}

struct str wire_json_str(const json_t *v)
{
    if (!json_is_string(v))
        return STR_NONE;
    return str_n(json_string_value(v), json_string_length(v));
}

struct str wire_json_get_str(const json_t *o, const char *k)
{
    return wire_json_str(json_object_get(o, k));
}

int64_t wire_json_count(const json_t *o, const char *k)
{
    const json_t *v = json_object_get(o, k);
    int64_t n = 0;
    if (json_is_integer(v))
        n = json_integer_value(v);
    else if (json_is_real(v) && json_real_value(v) > 0 && json_real_value(v) < 1e15)
        n = (int64_t)json_real_value(v);
    /* Bounded so that sums of a few never overflow. */
    return n < 0 ? 0 : n > (INT64_C(1) << 53) ? INT64_C(1) << 53 : n;
}

/* ---- a request's fields ---- */

int dec_fail(struct dec *d, int code, const char *field, const char *fmt, ...)
{
    char where[160], what[240];
    int n = 0;
    where[0] = '\0';
    if (d->list)
        n = snprintf(where, sizeof where, "%s[%zu]", d->list, d->i);
    if (d->list && d->sub && n > 0 && (size_t)n < sizeof where)
        n += snprintf(where + n, sizeof where - (size_t)n, ".%s[%zu]", d->sub, d->j);
    if (field && *field && n >= 0 && (size_t)n < sizeof where)
        snprintf(where + n, sizeof where - (size_t)n, "%s%s", n ? "." : "", field);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return err_set(d->e, code, "%s: %s", where, what);
}

int dec_nomem(struct dec *d)
{
    return err_set(d->e, ERR_NOMEM, "out of memory for the request");
}

int dec_copy(struct dec *d, struct str s, struct str *out)
{
    struct str c = arena_str(d->a, s);
    if (!c.p && s.n)
        return dec_nomem(d);
    *out = c;
    return 0;
}

static const json_t *field(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

int dec_str(struct dec *d, const json_t *o, const char *key, struct str *out)
{
    const json_t *v = field(o, key);
    if (!v)
        return 0;
    if (!json_is_string(v))
        return dec_fail(d, ERR_FORMAT, key, "must be a string");
    int rc = dec_copy(d, wire_json_str(v), out);
    return rc ? rc : 1;
}

int dec_int(struct dec *d, const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out)
{
    const json_t *v = field(o, key);
    if (!v)
        return 0;
    int64_t n;
    double r = json_real_value(v);
    if (json_is_integer(v))
        n = json_integer_value(v);
    else if (json_is_real(v) && r == floor(r) && fabs(r) < 9e15)
        n = (int64_t)r;
    else
        return dec_fail(d, ERR_FORMAT, key, "must be an integer");
    if (n < lo || n > hi)
        return dec_fail(d, ERR_FORMAT, key, "must be between %lld and %lld", (long long)lo,
                        (long long)hi);
    *out = n;
    return 1;
}

int dec_float(struct dec *d, const json_t *o, const char *key, double lo, double hi, float *out)
{
    const json_t *v = field(o, key);
    if (!v)
        return 0;
    if (!json_is_number(v))
        return dec_fail(d, ERR_FORMAT, key, "must be a number");
    double n = json_number_value(v);
    if (!(n >= lo && n <= hi))
        return dec_fail(d, ERR_FORMAT, key, "must be between %g and %g", lo, hi);
    *out = (float)n;
    return 1;
}

int dec_bool(struct dec *d, const json_t *o, const char *key, bool *out)
{
    const json_t *v = field(o, key);
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return dec_fail(d, ERR_FORMAT, key, "must be true or false");
    *out = json_is_true(v);
    return 1;
}

int dec_object(struct dec *d, const json_t *o, const char *key, json_t **out)
{
    const json_t *v = field(o, key);
    if (!v)
        return 0;
    if (!json_is_object(v))
        return dec_fail(d, ERR_FORMAT, key, "must be an object");
    *out = json_object_get(o, key);
    return 1;
}

int dec_array(struct dec *d, const json_t *o, const char *key, json_t **out)
{
    const json_t *v = field(o, key);
    if (!v)
        return 0;
    if (!json_is_array(v))
        return dec_fail(d, ERR_FORMAT, key, "must be an array");
    *out = json_object_get(o, key);
    return 1;
}

int dec_raw(struct dec *d, const json_t *v, struct str *out)
{
    struct buf b = BUF_INIT(WIRE_MAX_BODY);
    wire_json_dump(v, &b);
    int rc = buf_failed(&b) ? dec_nomem(d) : dec_copy(d, buf_str(&b), out);
    buf_done(&b);
    return rc;
}

int dec_stops(struct dec *d, const json_t *o, const char *key, struct gen_req *r)
{
    const json_t *v = field(o, key);
    if (!v)
        return 0;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > WIRE_MAX_STOPS)
        return dec_fail(d, ERR_FORMAT, key, "more than %d sequences", WIRE_MAX_STOPS);
    struct str *list = arena_array(d->a, n, sizeof *list);
    if (!list)
        return dec_nomem(d);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(item))
            return dec_fail(d, ERR_FORMAT, key, "must be a string or an array of strings");
        if (!json_string_length(item) && d->wide)
            continue;
        if (!json_string_length(item))
            return dec_fail(d, ERR_FORMAT, key, "a stop sequence must not be empty");
        int rc = dec_copy(d, wire_json_str(item), &list[kept++]);
        if (rc)
            return rc;
    }
    r->stops = list;
    r->nstops = kept;
    return 1;
}

int dec_keep(struct dec *d, json_t **extra, const char *key, json_t *v)
{
    if (!*extra)
        *extra = json_object();
    if (!*extra || json_object_set(*extra, key, v))
        return dec_nomem(d);
    return 0;
}

int dec_unknown(struct dec *d, const json_t *o, const char *const *known, json_t **extra)
{
    const char *key;
    json_t *v;
    json_t *obj = (json_t *)(uintptr_t)o;
    json_object_foreach(obj, key, v)
    {
        size_t k = 0;
        while (known[k] && strcmp(known[k], key))
            k++;
        if (known[k] || (d->sampling && dec_is_sampling(key)))
            continue;
        int rc = dec_keep(d, extra, key, v);
        if (rc)
            return rc;
    }
    return 0;
}

int dec_extra(struct dec *d, const json_t *extra, struct gen_req *r)
{
    if (!extra || json_object_size(extra) == 0)
        return 0;
    return dec_raw(d, extra, &r->extra);
}

int dec_url(struct dec *d, struct str url, struct gen_part *p)
{
    struct str head, data, mime, rest;
    if (str_istarts(url, STR("data:")) && str_cut(url, ',', &head, &data) &&
        str_ends(head, STR(";base64"))) {
        head = str_n(head.p + 5, head.n - 5 - 7);
        if (!str_cut(head, ';', &mime, &rest))
            mime = head;
        int rc = dec_copy(d, mime, &p->mime);
        return rc ? rc : dec_copy(d, data, &p->data);
    }
    return dec_copy(d, url, &p->url);
}
