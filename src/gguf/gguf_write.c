/* gguf_write.c: makes GGUF v3 files, little-endian. For tests and for the benchmark's generator of
 * models: the values are ours, so nothing here guards against a caller's nonsense beyond assert.
 * The file appears under its name only when it is whole. */
#include "gguf_int.h"

#include "buf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define META_MAX ((size_t)1 << 30)

struct out_tensor {
    uint64_t nbytes;
    const void *data;
};

struct gguf_writer {
    struct buf values, infos;
    struct out_tensor *tensors;
    size_t nvalues, ntensors, cap;
    uint64_t align, data_size;
    bool failed;
};

struct gguf_writer *gguf_writer_new(void)
{
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    buf_init(&w->values, META_MAX);
    buf_init(&w->infos, META_MAX);
    w->align = GGUF_ALIGN_DEFAULT;
    return w;
}

void gguf_writer_free(struct gguf_writer *w)
{
    if (!w)
        return;
    buf_done(&w->values);
    buf_done(&w->infos);
    free(w->tensors);
    free(w);
}

static void add_u32(struct buf *b, uint32_t v)
{
    unsigned char p[4] = {(unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16),
                          (unsigned char)(v >> 24)};
    buf_add(b, p, sizeof p);
}

static void add_u64(struct buf *b, uint64_t v)
{
    add_u32(b, (uint32_t)v);
    add_u32(b, (uint32_t)(v >> 32));
}

static void add_f32(struct buf *b, float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    add_u32(b, bits);
}

static void add_str(struct buf *b, struct str s)
{
    add_u64(b, s.n);
    buf_str_add(b, s);
}

static void put_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    add_str(&w->values, str_of(key));
    add_u32(&w->values, (uint32_t)type);
    w->nvalues++;
}

static void put_array(struct gguf_writer *w, const char *key, enum gguf_type elem, size_t n)
{
    put_key(w, key, GGUF_ARR);
    add_u32(&w->values, (uint32_t)elem);
    add_u64(&w->values, n);
}

void gguf_put_u16(struct gguf_writer *w, const char *key, uint16_t v)
{
    put_key(w, key, GGUF_U16);
    buf_putc(&w->values, (char)(v & 0xFF));
    buf_putc(&w->values, (char)(v >> 8));
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    put_key(w, key, GGUF_U32);
    add_u32(&w->values, v);
    if (strcmp(key, "general.alignment") == 0) {
        assert(w->ntensors == 0 && v >= GGUF_ALIGN_MIN && (v & (v - 1)) == 0);
        w->align = v;
    }
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float v)
{
    put_key(w, key, GGUF_F32);
    add_f32(&w->values, v);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool v)
{
    put_key(w, key, GGUF_BOOL);
    buf_putc(&w->values, v ? 1 : 0);
}

void gguf_put_str(struct gguf_writer *w, const char *key, struct str v)
{
    put_key(w, key, GGUF_STR);
    add_str(&w->values, v);
}

void gguf_put_strs(struct gguf_writer *w, const char *key, const struct str *v, size_t n)
{
    put_array(w, key, GGUF_STR, n);
    for (size_t i = 0; i < n; i++)
        add_str(&w->values, v[i]);
}

void gguf_put_u8s(struct gguf_writer *w, const char *key, const unsigned char *v, size_t n)
{
    put_array(w, key, GGUF_U8, n);
    buf_add(&w->values, v, n);
}

void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
    put_array(w, key, GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        add_u32(&w->values, (uint32_t)v[i]);
}

void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n)
{
    put_array(w, key, GGUF_F32, n);
    for (size_t i = 0; i < n; i++)
        add_f32(&w->values, v[i]);
}

static bool room_for_tensor(struct gguf_writer *w)
{
    if (w->ntensors < w->cap)
        return true;
    size_t cap = w->cap ? w->cap * 2 : 64;
    struct out_tensor *p = realloc(w->tensors, cap * sizeof *p);
    if (!p)
        return false;
    w->tensors = p;
    w->cap = cap;
    return true;
}

void gguf_put_tensor(struct gguf_writer *w, const char *name, uint32_t dtype, int ndims,
                     const uint64_t *dims, const void *data)
{
    uint32_t block = 1, bytes = 0;
    bool known = gguf_dtype_info(dtype, NULL, &block, &bytes);
    assert(known && ndims >= 1 && ndims <= 4 && dims[0] % block == 0);
    if (!known || !room_for_tensor(w)) {
        w->failed = true;
        return;
    }
    uint64_t n = dims[0] / block * bytes;
    add_str(&w->infos, str_of(name));
    add_u32(&w->infos, (uint32_t)ndims);
    for (int k = 0; k < ndims; k++) {
        add_u64(&w->infos, dims[k]);
        n *= k ? dims[k] : 1;
    }
    add_u32(&w->infos, dtype);
    add_u64(&w->infos, w->data_size);
    w->tensors[w->ntensors++] = (struct out_tensor){n, data};
    w->data_size += (n + w->align - 1) & ~(w->align - 1);
}

static bool write_padding(FILE *f, uint64_t n)
{
    static const unsigned char zeros[4096];
    while (n) {
        size_t step = n < sizeof zeros ? (size_t)n : sizeof zeros;
        if (fwrite(zeros, 1, step, f) != step)
            return false;
        n -= step;
    }
    return true;
}

static bool write_all(const struct gguf_writer *w, const struct buf *head, FILE *f)
{
    uint64_t meta = (uint64_t)head->n + w->values.n + w->infos.n;
    uint64_t mask = w->align - 1;
    bool ok = fwrite(head->p, 1, head->n, f) == head->n;
    if (w->values.n)
        ok = ok && fwrite(w->values.p, 1, w->values.n, f) == w->values.n;
    if (w->infos.n)
        ok = ok && fwrite(w->infos.p, 1, w->infos.n, f) == w->infos.n;
    ok = ok && write_padding(f, (0 - meta) & mask);
    for (size_t i = 0; ok && i < w->ntensors; i++) {
        size_t n = (size_t)w->tensors[i].nbytes;
        ok = w->tensors[i].data ? fwrite(w->tensors[i].data, 1, n, f) == n
                                : fseeko(f, (off_t)n, SEEK_CUR) == 0;
        ok = ok && write_padding(f, (0 - (uint64_t)n) & mask);
    }
    ok = ok && fflush(f) == 0;
    /* A hole at the end is there only once the file is stretched over it. */
    return ok && ftruncate(fileno(f), ftello(f)) == 0;
}

static int save_as(const struct gguf_writer *w, const struct buf *head, const char *tmp,
                   const char *path, struct err *e)
{
    FILE *f = fopen(tmp, "wbe");
    if (!f)
        return err_set(e, ERR_IO, "%s: cannot create: %s", tmp, strerror(errno));
    bool ok = write_all(w, head, f);
    int saved = errno;
    if (fclose(f) != 0 && ok) {
        saved = errno;
        ok = false;
    }
    if (ok && rename(tmp, path) != 0) {
        saved = errno;
        ok = false;
    }
    if (ok)
        return 0;
    unlink(tmp);
    return err_set(e, saved == ENOSPC ? ERR_NO_SPACE : ERR_IO, "%s: cannot write: %s", path,
                   strerror(saved));
}

int gguf_writer_save(struct gguf_writer *w, const char *path, struct err *e)
{
    struct buf head = BUF_INIT(64), tmp = BUF_INIT(4096);
    buf_puts(&head, "GGUF");
    add_u32(&head, 3);
    add_u64(&head, w->ntensors);
    add_u64(&head, w->nvalues);
    buf_printf(&tmp, "%s.part", path);
    int rc;
    if (w->failed || buf_failed(&w->values) || buf_failed(&w->infos) || buf_failed(&head) ||
        buf_failed(&tmp))
        rc = err_set(e, ERR_NOMEM, "%s: no memory for the metadata", path);
    else
        rc = save_as(w, &head, tmp.p, path, e);
    buf_done(&head);
    buf_done(&tmp);
    return rc;
}
