/* fuzz_tok.c: a text and a vocabulary, both from outside: two bytes of length, the text, a GGUF. An
 * error, or ids in range that decode, and no control token out of text nobody trusts. */
#include "tok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct tok *t, const struct tok_ids *ids, bool trusted)
{
    struct buf out = BUF_INIT(1 << 20);
    for (size_t i = 0; i < ids->n; i++) {
        int32_t id = ids->p[i];
        if (id < 0 || id >= tok_count(t))
            __builtin_trap();
        if (!trusted && tok_is_control(t, id))
            __builtin_trap();
        tok_decode(t, id, i == 0, true, &out);
    }
    buf_done(&out);
}

static void encode(const struct tok *t, struct str text)
{
    size_t half = text.n / 2;
    struct tok_span spans[2] = {{str_n(text.p, half), false},
                                {str_n(text.p + half, text.n - half), false}};
    for (int trusted = 0; trusted < 2; trusted++) {
        struct tok_ids ids = {0};
        struct err e;
        spans[1].special = trusted;
        unsigned flags = trusted ? TOK_ADD_BOS | TOK_ADD_EOS : 0;
        if (tok_encode(t, spans, 2, flags, 100000, &ids, &e) == 0)
            check(t, &ids, trusted);
        tok_ids_done(&ids);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g = NULL;
    struct tok *t = NULL;
    struct err e;
    if (size < 2)
        return 0;
    size_t n = (size_t)data[0] | (size_t)data[1] << 8;
    if (n > size - 2)
        return 0;
    if (gguf_open_mem(data + 2 + n, size - 2 - n, &g, &e) != 0)
        return 0;
    if (tok_open(g, &t, &e) == 0)
        encode(t, str_n((const char *)data + 2, n));
    tok_free(t);
    gguf_close(g);
    return 0;
}
