/* gguf_read.c: checks all of a GGUF file's metadata once, so that no later read can leave the map.
 *
 *   "GGUF"  u32 version  u64 tensors  u64 values
 *   values:   string key, u32 type, value          string: u64 length, bytes
 *   tensors:  string name, u32 n, u64 dims[n], u32 type, u64 offset from the data's start
 *   padding to general.alignment, then the data
 *
 * Owned here: the lists of values and tensors and their hashed names. Refused: version 1,
 * big-endian files, arrays of arrays, duplicate names, unknown types, anything that does not fit
 * inside the file. */
#include "gguf_int.h"

#include "clock.h"
#include "utf8.h"

#include <stdlib.h>

/* Reads forward; every take is checked against what is left. */
struct cursor {
    const struct gguf *g;
    size_t at;
    struct err *e;
};

static size_t left(const struct cursor *c)
{
    return c->g->size - c->at;
}

static int cut(const struct cursor *c, const char *what)
{
    return err_set_at(c->e, ERR_FORMAT, c->at, "%s: the file ends inside %s, at byte %zu",
                      gguf_path(c->g), what, c->at);
}

static int take(struct cursor *c, uint64_t n, const char *what, const unsigned char **out)
{
    if (n > left(c))
        return cut(c, what);
    *out = c->g->map + c->at;
    c->at += (size_t)n;
    return 0;
}

static int take_u32(struct cursor *c, const char *what, uint32_t *out)
{
    const unsigned char *p = NULL;
    int rc = take(c, 4, what, &p);
    if (rc == 0)
        *out = gguf_le32(p);
    return rc;
}

static int take_u64(struct cursor *c, const char *what, uint64_t *out)
{
    const unsigned char *p = NULL;
    int rc = take(c, 8, what, &p);
    if (rc == 0)
        *out = gguf_le64(p);
    return rc;
}

static int take_str(struct cursor *c, const char *what, struct str *out)
{
    uint64_t n;
    const unsigned char *p = NULL;
    int rc = take_u64(c, what, &n);
    if (rc == 0)
        rc = take(c, n, what, &p);
    if (rc == 0)
        *out = str_n((const char *)p, (size_t)n);
    return rc;
}

/* A name that can be looked up by a C string and printed in a message. */
static int take_name(struct cursor *c, const char *what, uint64_t max, struct str *out)
{
    size_t at = c->at;
    struct str s;
    int rc = take_str(c, what, &s);
    if (rc != 0)
        return rc;
    if (s.n == 0 || s.n > max || memchr(s.p, '\0', s.n) || !utf8_valid(s))
        return err_set_at(c->e, ERR_FORMAT, at, "%s: %s at byte %zu is not a usable name",
                          gguf_path(c->g), what, at);
    *out = s;
    return 0;
}

/* ---- names ---- */

static int index_init(struct gguf_index *x, size_t n)
{
    x->nslots = 16;
    while (x->nslots < n * 2)
        x->nslots *= 2;
    x->seed = clock_mono_ns() * 0xD1342543DE82EF95u ^ (uint64_t)(uintptr_t)x;
    x->slots = calloc(x->nslots, sizeof *x->slots);
    return x->slots ? 0 : ERR_NOMEM;
}

/* The slot where s is or would stand. name_of gives the name of an entry. */
static size_t index_slot(const struct gguf_index *x, const struct gguf *g, struct str s,
                         struct str (*name_of)(const struct gguf *, size_t))
{
    size_t i = (size_t)str_hash(s, x->seed) & (x->nslots - 1);
    while (x->slots[i] && !str_eq(name_of(g, x->slots[i] - 1), s))
        i = (i + 1) & (x->nslots - 1);
    return i;
}

static struct str value_name(const struct gguf *g, size_t i)
{
    return g->values[i].key;
}

static struct str tensor_name(const struct gguf *g, size_t i)
{
    return g->tensors[i].name;
}

/* ---- values ---- */

static int take_bools(struct cursor *c, const unsigned char *p, uint64_t n, struct str key)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return err_set_at(c->e, ERR_FORMAT, c->at, "%s: key %.*s: a bool that is %u",
                              gguf_path(c->g), STR_ARG(key), p[i]);
    return 0;
}

static int take_scalar(struct cursor *c, struct gguf_value *v)
{
    const unsigned char *p = NULL;
    int rc = take(c, gguf_type_size(v->type), "a value", &p);
    if (rc == 0 && v->type == GGUF_BOOL)
        rc = take_bools(c, p, 1, v->key);
    if (rc == 0)
        gguf_scalar_read(v->type, p, v);
    return rc;
}

/* Vocabularies are most of a file's head, and every listing of models passes them: nothing is
 * called in here. */
static int pass_strings(struct cursor *c, uint64_t count)
{
    const unsigned char *map = c->g->map;
    size_t size = c->g->size, at = c->at;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = size - at < 8 ? UINT64_MAX : gguf_le64(map + at);
        if (n > size - at || size - at - n < 8) {
            c->at = at;
            return cut(c, "an array of strings");
        }
        at += 8 + (size_t)n;
    }
    c->at = at;
    return 0;
}

static int take_array(struct cursor *c, struct gguf_value *v)
{
    uint32_t elem;
    int rc = take_u32(c, "an array's type", &elem);
    if (rc == 0)
        rc = take_u64(c, "an array's length", &v->count);
    if (rc != 0)
        return rc;
    size_t size = gguf_type_size(elem);
    if (size == 0 && elem != GGUF_STR)
        return err_set_at(c->e, elem == GGUF_ARR ? ERR_UNSUPPORTED : ERR_FORMAT, c->at,
                          "%s: key %.*s: an array of %s (type %u) at byte %zu", gguf_path(c->g),
                          STR_ARG(v->key), elem == GGUF_ARR ? "arrays" : "an unknown type", elem,
                          c->at);
    v->elem = (enum gguf_type)elem;
    /* A string takes at least its length's eight bytes, so no count can outlast the file. */
    if (v->count > left(c) / (size ? size : 8))
        return err_set_at(c->e, ERR_FORMAT, c->at,
                          "%s: key %.*s: an array of %llu elements does not fit in the file",
                          gguf_path(c->g), STR_ARG(v->key), (unsigned long long)v->count);
    size_t start = c->at;
    v->raw = c->g->map + start;
    if (size)
        rc = take(c, v->count * size, "an array", &v->raw);
    if (rc == 0 && elem == GGUF_BOOL)
        rc = take_bools(c, v->raw, v->count, v->key);
    if (rc == 0 && !size)
        rc = pass_strings(c, v->count);
    v->s = str_n((const char *)v->raw, c->at - start);
    return rc;
}

static int take_value(struct cursor *c, struct gguf_value *v)
{
    int rc = take_name(c, "a key", GGUF_MAX_KEY, &v->key);
    uint32_t type;
    if (rc == 0)
        rc = take_u32(c, "a value's type", &type);
    if (rc != 0)
        return rc;
    v->type = (enum gguf_type)type;
    if (type == GGUF_STR)
        return take_str(c, "a string", &v->s);
    if (type == GGUF_ARR)
        return take_array(c, v);
    if (gguf_type_size(type))
        return take_scalar(c, v);
    return err_set_at(c->e, ERR_FORMAT, c->at, "%s: key %.*s: unknown type %u at byte %zu",
                      gguf_path(c->g), STR_ARG(v->key), type, c->at - 4);
}

static int take_values(struct cursor *c, struct gguf *g, uint64_t n)
{
    g->values = calloc(n ? (size_t)n : 1, sizeof *g->values);
    if (!g->values || index_init(&g->value_index, (size_t)n) != 0)
        return err_set(c->e, ERR_NOMEM, "%s: no memory for %llu values", gguf_path(g),
                       (unsigned long long)n);
    for (size_t i = 0; i < n; i++) {
        size_t at = c->at;
        int rc = take_value(c, &g->values[i]);
        if (rc != 0)
            return rc;
        size_t slot = index_slot(&g->value_index, g, g->values[i].key, value_name);
        if (g->value_index.slots[slot])
            return err_set_at(c->e, ERR_FORMAT, at, "%s: key %.*s stands twice, at byte %zu",
                              gguf_path(g), STR_ARG(g->values[i].key), at);
        g->value_index.slots[slot] = (uint32_t)i + 1;
        g->nvalues = i + 1;
    }
    return 0;
}

/* ---- tensors ---- */

static int bad_tensor(const struct cursor *c, const struct gguf_tensor *t, const char *why,
                      uint64_t number)
{
    return err_set_at(c->e, ERR_FORMAT, c->at, "%s: tensor %.*s: %s (%llu), before byte %zu",
                      gguf_path(c->g), STR_ARG(t->name), why, (unsigned long long)number, c->at);
}

/* nbytes from the dimensions; no product may wrap. */
static int size_tensor(const struct cursor *c, struct gguf_tensor *t)
{
    uint32_t block, bytes;
    if (!gguf_dtype_info(t->dtype, NULL, &block, &bytes))
        return err_set_at(c->e, ERR_UNSUPPORTED, c->at, "%s: tensor %.*s: unknown tensor type %u",
                          gguf_path(c->g), STR_ARG(t->name), t->dtype);
    if (t->dims[0] % block != 0)
        return bad_tensor(c, t, "a row is not a whole number of blocks", t->dims[0]);
    uint64_t n;
    if (__builtin_mul_overflow(t->dims[0] / block, (uint64_t)bytes, &n))
        return bad_tensor(c, t, "a row is too long", t->dims[0]);
    uint64_t elements = t->dims[0];
    for (int k = 1; k < 4; k++)
        if (__builtin_mul_overflow(n, t->dims[k], &n) ||
            __builtin_mul_overflow(elements, t->dims[k], &elements))
            return bad_tensor(c, t, "the dimensions are too large", t->dims[k]);
    if (elements > INT64_MAX)
        return bad_tensor(c, t, "too many elements", elements);
    t->nbytes = n;
    return 0;
}

static int take_tensor(struct cursor *c, struct gguf_tensor *t)
{
    uint32_t ndims = 0;
    int rc = take_name(c, "a tensor's name", GGUF_MAX_NAME, &t->name);
    if (rc == 0)
        rc = take_u32(c, "a tensor's dimensions", &ndims);
    if (rc == 0 && (ndims < 1 || ndims > 4))
        rc = bad_tensor(c, t, "number of dimensions not 1 to 4", ndims);
    for (int k = 0; k < 4; k++)
        t->dims[k] = 1;
    for (uint32_t k = 0; rc == 0 && k < ndims; k++) {
        rc = take_u64(c, "a tensor's dimensions", &t->dims[k]);
        if (rc == 0 && (t->dims[k] == 0 || t->dims[k] > INT64_MAX))
            rc = bad_tensor(c, t, "a dimension out of range", t->dims[k]);
    }
    t->ndims = (int)ndims;
    if (rc == 0)
        rc = take_u32(c, "a tensor's type", &t->dtype);
    if (rc == 0)
        rc = take_u64(c, "a tensor's offset", &t->offset);
    return rc == 0 ? size_tensor(c, t) : rc;
}

static int take_tensors(struct cursor *c, struct gguf *g, uint64_t n)
{
    g->tensors = calloc(n ? (size_t)n : 1, sizeof *g->tensors);
    if (!g->tensors || index_init(&g->tensor_index, (size_t)n) != 0)
        return err_set(c->e, ERR_NOMEM, "%s: no memory for %llu tensors", gguf_path(g),
                       (unsigned long long)n);
    for (size_t i = 0; i < n; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        int rc = take_tensor(c, t);
        if (rc != 0)
            return rc;
        size_t slot = index_slot(&g->tensor_index, g, t->name, tensor_name);
        if (g->tensor_index.slots[slot])
            return bad_tensor(c, t, "stands twice, again as tensor number", i);
        g->tensor_index.slots[slot] = (uint32_t)i + 1;
        g->ntensors = i + 1;
    }
    return 0;
}

int gguf_index_tensors(struct gguf *g, struct err *e)
{
    free(g->tensor_index.slots);
    if (index_init(&g->tensor_index, g->ntensors) != 0)
        return err_set(e, ERR_NOMEM, "%s: no memory for %zu tensors", gguf_path(g), g->ntensors);
    for (size_t i = 0; i < g->ntensors; i++) {
        struct str name = g->tensors[i].name;
        size_t slot = index_slot(&g->tensor_index, g, name, tensor_name);
        if (g->tensor_index.slots[slot])
            return err_set(e, ERR_FORMAT, "%s: tensor %.*s stands in two parts", gguf_path(g),
                           STR_ARG(name));
        g->tensor_index.slots[slot] = (uint32_t)i + 1;
    }
    return 0;
}

static int read_alignment(const struct gguf *g, uint64_t *align, struct err *e)
{
    *align = GGUF_ALIGN_DEFAULT;
    if (!gguf_find(g, "general.alignment"))
        return 0;
    int rc = gguf_get_u64(g, "general.alignment", GGUF_ALIGN_MAX, align, e);
    if (rc == 0 && (*align < GGUF_ALIGN_MIN || (*align & (*align - 1)) != 0))
        return err_set(e, ERR_FORMAT, "%s: general.alignment is %llu, not a power of two from %llu",
                       gguf_path(g), (unsigned long long)*align,
                       (unsigned long long)GGUF_ALIGN_MIN);
    return rc;
}

/* Offsets become absolute and point at data that lies whole inside the file. */
static int place_tensors(struct cursor *c, struct gguf *g)
{
    uint64_t align;
    int rc = read_alignment(g, &align, c->e);
    if (rc != 0 || g->ntensors == 0)
        return rc;
    uint64_t base = ((uint64_t)c->at + align - 1) & ~(align - 1);
    for (size_t i = 0; i < g->ntensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (t->offset % align != 0)
            return bad_tensor(c, t, "its offset is not aligned", t->offset);
        uint64_t start, end;
        if (__builtin_add_overflow(base, t->offset, &start) ||
            __builtin_add_overflow(start, t->nbytes, &end) || end > g->size)
            return bad_tensor(c, t, "its data lies outside of the file; offset", t->offset);
        t->offset = start;
        t->data = g->map + start;
    }
    return 0;
}

/* ---- the file ---- */

static int check_version(struct cursor *c, struct gguf *g)
{
    int rc = take_u32(c, "the header", &g->version);
    if (rc != 0)
        return rc;
    if (g->version != 0 && (g->version & 0xFFFF) == 0)
        return err_set(c->e, ERR_UNSUPPORTED, "%s: a big-endian GGUF file", gguf_path(g));
    if (g->version != 2 && g->version != 3)
        return err_set(c->e, ERR_UNSUPPORTED, "%s: GGUF version %u, not 2 or 3", gguf_path(g),
                       g->version);
    return 0;
}

/* A record takes at least `least` bytes: a count the rest of the file cannot hold is refused before
 * anything is allocated for it. */
static int check_count(const struct cursor *c, const char *what, uint64_t n, uint64_t max,
                       size_t least)
{
    if (n > left(c) / least)
        return err_set_at(c->e, ERR_FORMAT, c->at, "%s: %llu %s do not fit in %zu bytes",
                          gguf_path(c->g), (unsigned long long)n, what, c->g->size);
    if (n > max)
        return err_set_at(c->e, ERR_TOO_LARGE, c->at, "%s: %llu %s, at most %llu are read",
                          gguf_path(c->g), (unsigned long long)n, what, (unsigned long long)max);
    return 0;
}

int gguf_parse(struct gguf *g, struct err *e)
{
    struct cursor c = {g, 0, e};
    const unsigned char *magic = NULL;
    if (g->size < 4 || memcmp(g->map, "GGUF", 4) != 0)
        return err_set(e, ERR_FORMAT, "%s: not a GGUF file", gguf_path(g));
    int rc = take(&c, 4, "the header", &magic);
    if (rc == 0)
        rc = check_version(&c, g);
    uint64_t ntensors = 0, nvalues = 0;
    if (rc == 0)
        rc = take_u64(&c, "the header", &ntensors);
    if (rc == 0)
        rc = take_u64(&c, "the header", &nvalues);
    if (rc == 0)
        rc = check_count(&c, "values", nvalues, GGUF_MAX_VALUES, 8 + 1 + 4 + 1);
    if (rc == 0)
        rc = check_count(&c, "tensors", ntensors, GGUF_MAX_TENSORS, 8 + 1 + 4 + 8 + 4 + 8);
    if (rc == 0)
        rc = take_values(&c, g, nvalues);
    if (rc == 0)
        rc = check_count(&c, "tensors", ntensors, GGUF_MAX_TENSORS, 8 + 1 + 4 + 8 + 4 + 8);
    if (rc == 0)
        rc = take_tensors(&c, g, ntensors);
    return rc == 0 ? place_tensors(&c, g) : rc;
}

uint32_t gguf_version(const struct gguf *g)
{
    return g->version;
}

const char *gguf_path(const struct gguf *g)
{
    return g->path ? g->path : "GGUF in memory";
}

uint64_t gguf_file_size(const struct gguf *g)
{
    uint64_t n = g->size;
    for (size_t i = 0; i < g->nparts; i++)
        n += g->parts[i]->size;
    return n;
}

size_t gguf_nparts(const struct gguf *g)
{
    return g->nparts + 1;
}

size_t gguf_nvalues(const struct gguf *g)
{
    return g->nvalues;
}

const struct gguf_value *gguf_value_at(const struct gguf *g, size_t i)
{
    return i < g->nvalues ? &g->values[i] : NULL;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    size_t slot = index_slot(&g->value_index, g, str_of(key), value_name);
    uint32_t i = g->value_index.slots[slot];
    return i ? &g->values[i - 1] : NULL;
}

size_t gguf_ntensors(const struct gguf *g)
{
    return g->ntensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    return i < g->ntensors ? &g->tensors[i] : NULL;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    size_t slot = index_slot(&g->tensor_index, g, str_of(name), tensor_name);
    uint32_t i = g->tensor_index.slots[slot];
    return i ? &g->tensors[i - 1] : NULL;
}
