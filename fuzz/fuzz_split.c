/* fuzz_split.c: any bytes as the parts of a split GGUF: a byte says how many parts follow (1 to 4),
 * then for each but the last two bytes of length; the last takes the rest. An error, or one model
 * all of whose tensors lie in their parts. */
#include "gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Written so that the reads are not optimised away. */
static volatile uint64_t sink;

static size_t cut(struct str in, struct str parts[4])
{
    if (in.n < 1)
        return 0;
    size_t n = (size_t)((unsigned char)in.p[0] & 3) + 1, at = 1;
    for (size_t i = 0; i < n; i++) {
        size_t len = in.n - at;
        if (i + 1 < n) {
            if (len < 2)
                return 0;
            len = (size_t)(unsigned char)in.p[at] | (size_t)(unsigned char)in.p[at + 1] << 8;
            at += 2;
        }
        if (len > in.n - at)
            return 0;
        parts[i] = str_n(in.p + at, len);
        at += len;
    }
    return n;
}

static void check_inside(const struct gguf_tensor *t, const struct str *parts, size_t n)
{
    if (t->part >= n)
        __builtin_trap();
    const char *p = t->data;
    struct str whole = parts[t->part];
    if (p < whole.p || t->nbytes > (uint64_t)(whole.p + whole.n - p))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str parts[4];
    struct gguf *g = NULL;
    struct err e;
    size_t n = cut(str_n((const char *)data, size), parts);
    if (n == 0 || gguf_open_parts_mem(parts, n, &g, &e) != 0)
        return 0;
    if (gguf_nparts(g) != n)
        __builtin_trap();
    uint64_t sum = gguf_file_size(g);
    for (size_t i = 0; i < gguf_ntensors(g); i++) {
        char name[256];
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        memcpy(name, t->name.p, t->name.n);
        name[t->name.n] = '\0';
        if (gguf_tensor_find(g, name) != t)
            __builtin_trap();
        check_inside(t, parts, n);
        for (uint64_t k = 0; k < t->nbytes; k++)
            sum += ((const unsigned char *)t->data)[k];
    }
    sink = sum;
    gguf_close(g);
    return 0;
}
