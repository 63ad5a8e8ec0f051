/* json_out.c: writing JSON into a buffer, and what request encoders share: the keys written so far,
 * the caller's own JSON, and the replay of the fields a decoder did not know. */
#include "wire_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void comma(struct buf *b)
{
    char c = b->n ? b->p[b->n - 1] : '{';
    if (c != '{' && c != '[' && c != ':' && c != ' ' && c != '\n')
        buf_putc(b, ',');
}

void jw_open(struct buf *b, char bracket)
{
    comma(b);
    buf_putc(b, bracket);
}

void jw_close(struct buf *b, char bracket)
{
    buf_putc(b, bracket);
}

void jw_key(struct buf *b, const char *key)
{
    comma(b);
    buf_json_str(b, str_of(key));
    buf_putc(b, ':');
}

void jw_str(struct buf *b, const char *key, struct str v)
{
    jw_key(b, key);
    buf_json_str(b, v);
}

void jw_int(struct buf *b, const char *key, int64_t v)
{
    jw_key(b, key);
    buf_printf(b, "%lld", (long long)v);
}

void jw_bool(struct buf *b, const char *key, bool v)
{
    jw_key(b, key);
    buf_puts(b, v ? "true" : "false");
}

void jw_null(struct buf *b, const char *key)
{
    jw_key(b, key);
    buf_puts(b, "null");
}

/* The shortest text that reads back. */
static void put_float(struct buf *b, float v)
{
    char t[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(t, sizeof t, "%.*g", digits, (double)v);
        if (strtof(t, NULL) == v)
            break;
    }
    buf_puts(b, t);
}

void jw_float(struct buf *b, const char *key, float v)
{
    jw_key(b, key);
    put_float(b, v);
}

void jw_logprob_value(struct buf *b, float v)
{
    put_float(b, isfinite(v) ? v : -9999.0f);
}

void jw_str_key(struct buf *b, struct str key)
{
    comma(b);
    buf_json_str(b, key);
    buf_putc(b, ':');
}

void jw_logprob(struct buf *b, const char *key, float v)
{
    jw_float(b, key, isfinite(v) ? v : -9999.0f);
}

void jw_number(struct buf *b, float v)
{
    comma(b);
    buf_printf(b, "%.9g", (double)v);
}

void jw_item(struct buf *b, struct str v)
{
    comma(b);
    buf_json_str(b, v);
}

void jw_item_int(struct buf *b, int64_t v)
{
    comma(b);
    buf_printf(b, "%lld", (long long)v);
}

void jw_object(struct buf *b, const char *key)
{
    jw_key(b, key);
    buf_putc(b, '{');
}

void jw_array(struct buf *b, const char *key)
{
    jw_key(b, key);
    buf_putc(b, '[');
}

/* ---- encoders ---- */

const char *enc_top(struct enc *x, const char *key)
{
    if (x->nkeys < sizeof x->keys / sizeof x->keys[0])
        x->keys[x->nkeys++] = key;
    return key;
}

int enc_unsupported(struct enc *x, const char *field, const char *dialect)
{
    return err_set(x->e, ERR_UNSUPPORTED, "%s: the %s dialect cannot carry it", field, dialect);
}

int enc_raw(struct enc *x, const char *key, struct str text, bool object, const char *what)
{
    json_t *v = NULL;
    struct err why;
    if (!text.n && object)
        text = STR("{}");
    if (wire_json_load(text, &v, &why))
        return err_set(x->e, ERR_FORMAT, "%s: %s", what, why.msg);
    if (object && !json_is_object(v)) {
        json_decref(v);
        return err_set(x->e, ERR_FORMAT, "%s: must be a JSON object", what);
    }
    jw_key(x->b, key);
    wire_json_dump(v, x->b);
    json_decref(v);
    return 0;
}

int enc_extra_load(struct enc *x, enum gen_dialect d, json_t **extra)
{
    json_t *v = NULL;
    struct err why;
    if (!x->req->extra.n || x->req->dialect != d)
        return 0;
    if (wire_json_load(x->req->extra, &v, &why))
        return err_set(x->e, ERR_FORMAT, "extra: %s", why.msg);
    if (!json_is_object(v)) {
        json_decref(v);
        return err_set(x->e, ERR_FORMAT, "extra: must be a JSON object");
    }
    *extra = v;
    return 0;
}

int enc_extra(struct enc *x, const json_t *extra, const char *but)
{
    const char *key;
    json_t *v;
    json_t *obj = (json_t *)(uintptr_t)extra;
    if (!obj)
        return 0;
    json_object_foreach(obj, key, v)
    {
        size_t k = 0;
        while (k < x->nkeys && strcmp(x->keys[k], key))
            k++;
        if (k < x->nkeys || !strcmp(key, but))
            continue;
        jw_key(x->b, key);
        wire_json_dump(v, x->b);
    }
    return 0;
}
