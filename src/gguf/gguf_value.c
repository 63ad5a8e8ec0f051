/* gguf_value.c: typed reads of key-value pairs and array elements. The reader has checked every
 * length already, so nothing here can leave the map; what is refused here is a value of another
 * type or range than the caller can use. */
#include "gguf_int.h"

#include <math.h>

static void set_unsigned(struct gguf_value *v, uint64_t u)
{
    v->u = u;
    v->i = u <= INT64_MAX ? (int64_t)u : 0;
    v->f = (double)u;
}

static void set_signed(struct gguf_value *v, int64_t i)
{
    v->i = i;
    v->u = i >= 0 ? (uint64_t)i : 0;
    v->f = (double)i;
}

static void set_f32(struct gguf_value *v, const unsigned char *p)
{
    uint32_t bits = gguf_le32(p);
    float f;
    memcpy(&f, &bits, sizeof f);
    v->f = (double)f;
}

static void set_f64(struct gguf_value *v, const unsigned char *p)
{
    uint64_t bits = gguf_le64(p);
    memcpy(&v->f, &bits, sizeof v->f);
}

static uint32_t le16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

void gguf_scalar_read(uint32_t type, const unsigned char *p, struct gguf_value *v)
{
    switch (type) {
    case GGUF_U8:
    case GGUF_BOOL: set_unsigned(v, p[0]); break;
    case GGUF_I8: set_signed(v, (int8_t)p[0]); break;
    case GGUF_U16: set_unsigned(v, le16(p)); break;
    case GGUF_I16: set_signed(v, (int16_t)le16(p)); break;
    case GGUF_U32: set_unsigned(v, gguf_le32(p)); break;
    case GGUF_I32: set_signed(v, (int32_t)gguf_le32(p)); break;
    case GGUF_U64: set_unsigned(v, gguf_le64(p)); break;
    case GGUF_I64: set_signed(v, (int64_t)gguf_le64(p)); break;
    case GGUF_F32: set_f32(v, p); break;
    case GGUF_F64: set_f64(v, p); break;
    default: break;
    }
}

static bool is_signed(uint32_t type)
{
    return type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
}

static bool is_integer(uint32_t type)
{
    return is_signed(type) || type == GGUF_U8 || type == GGUF_U16 || type == GGUF_U32 ||
           type == GGUF_U64;
}

static bool is_float(uint32_t type)
{
    return type == GGUF_F32 || type == GGUF_F64;
}

static int find(const struct gguf *g, const char *key, const struct gguf_value **out, struct err *e)
{
    *out = gguf_find(g, key);
    return *out ? 0 : err_set(e, ERR_NOT_FOUND, "%s: no key %s", gguf_path(g), key);
}

static int wrong_type(const struct gguf *g, const struct gguf_value *v, const char *want,
                      struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: key %.*s is of type %s, not %s", gguf_path(g),
                   STR_ARG(v->key), gguf_type_name(v->type), want);
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t max, uint64_t *out, struct err *e)
{
    const struct gguf_value *v;
    int rc = find(g, key, &v, e);
    if (rc != 0)
        return rc;
    if (!is_integer(v->type))
        return wrong_type(g, v, "an integer", e);
    if (is_signed(v->type) && v->i < 0)
        return err_set(e, ERR_FORMAT, "%s: key %s is negative (%lld)", gguf_path(g), key,
                       (long long)v->i);
    if (v->u > max)
        return err_set(e, ERR_FORMAT, "%s: key %s is %llu, more than %llu", gguf_path(g), key,
                       (unsigned long long)v->u, (unsigned long long)max);
    *out = v->u;
    return 0;
}

int gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e)
{
    const struct gguf_value *v;
    int rc = find(g, key, &v, e);
    if (rc != 0)
        return rc;
    if (!is_integer(v->type) && !is_float(v->type))
        return wrong_type(g, v, "a number", e);
    if (!isfinite(v->f))
        return err_set(e, ERR_FORMAT, "%s: key %s is not a finite number", gguf_path(g), key);
    *out = v->f;
    return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e)
{
    const struct gguf_value *v;
    int rc = find(g, key, &v, e);
    if (rc != 0)
        return rc;
    if (v->type != GGUF_BOOL)
        return wrong_type(g, v, "a bool", e);
    *out = v->u != 0;
    return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *e)
{
    const struct gguf_value *v;
    int rc = find(g, key, &v, e);
    if (rc != 0)
        return rc;
    if (v->type != GGUF_STR)
        return wrong_type(g, v, "a string", e);
    *out = v->s;
    return 0;
}

/* An element as if it were a scalar value. False for strings and past the end. */
static bool element(const struct gguf_value *v, uint64_t i, struct gguf_value *out)
{
    size_t size = v->type == GGUF_ARR ? gguf_type_size(v->elem) : 0;
    if (size == 0 || i >= v->count)
        return false;
    *out = (struct gguf_value){.type = v->elem};
    gguf_scalar_read(v->elem, v->raw + i * size, out);
    return true;
}

bool gguf_arr_i64(const struct gguf_value *v, uint64_t i, int64_t *out)
{
    struct gguf_value x;
    if (!element(v, i, &x) || is_float(x.type) || x.u > INT64_MAX)
        return false;
    *out = x.i;
    return true;
}

bool gguf_arr_f64(const struct gguf_value *v, uint64_t i, double *out)
{
    struct gguf_value x;
    if (!element(v, i, &x) || x.type == GGUF_BOOL)
        return false;
    *out = x.f;
    return true;
}

/* *pos is the byte offset in raw. The end is recognised by raw's total length, kept in s.n. */
bool gguf_arr_str_next(const struct gguf_value *v, uint64_t *pos, struct str *out)
{
    if (v->type != GGUF_ARR || v->elem != GGUF_STR || *pos >= v->s.n)
        return false;
    uint64_t n = gguf_le64(v->raw + *pos);
    *out = str_n((const char *)v->raw + *pos + 8, (size_t)n);
    *pos += 8 + n;
    return true;
}
