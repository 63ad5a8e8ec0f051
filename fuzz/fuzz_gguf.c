/* fuzz_gguf.c: any bytes as a GGUF file: an error, or a file all of whose values and tensors can be
 * read. */
#include "gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Written so that the reads are not optimised away. */
static volatile uint64_t sink;

static uint64_t touch_value(const struct gguf *g, const struct gguf_value *v)
{
    uint64_t sum = v->u, pos = 0, u;
    struct str s;
    double f;
    char key[64];
    while (gguf_arr_str_next(v, &pos, &s))
        for (size_t i = 0; i < s.n; i++)
            sum += (unsigned char)s.p[i];
    for (uint64_t i = 0; gguf_arr_f64(v, i, &f); i++)
        sum += f > 1;
    if (v->key.n < sizeof key) {
        memcpy(key, v->key.p, v->key.n);
        key[v->key.n] = '\0';
        if (gguf_find(g, key) != v)
            __builtin_trap();
        sum += gguf_get_u64(g, key, 1000, &u, NULL) == 0 ? u : 1;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g = NULL;
    struct err e;
    if (gguf_open_mem(data, size, &g, &e) != 0)
        return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_nvalues(g); i++)
        sum += touch_value(g, gguf_value_at(g, i));
    for (size_t i = 0; i < gguf_ntensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const unsigned char *p = t->data;
        for (uint64_t k = 0; k < t->nbytes; k++)
            sum += p[k];
    }
    sink = sum;
    gguf_close(g);
    return 0;
}
