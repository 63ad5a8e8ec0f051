/* fuzz_model.c: any bytes as a model: an error, or a forward pass of a few tokens. */
#include "model.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile float sink;

/* Two batches of one sequence; whatever the weights are, nothing may be touched outside. */
static void step(const struct model *m, struct pool *pool, enum model_cache cache)
{
    struct model_kv *kv = NULL;
    struct model_seq *s = NULL;
    struct model_run *run = NULL;
    const float *logits = NULL;
    struct err e;
    struct model_item items[4];
    if (model_kv_new(m, model_kv_need(m, cache, 8, MODEL_SLICE), cache, &kv, &e) == 0 &&
        model_seq_new(kv, 8, &s, &e) == 0 && model_seq_reserve(s, 8, &e) == 0 &&
        model_run_new(m, pool, 4, 4, &run, &e) == 0)
        for (int i = 0; i < 2; i++) {
            for (int j = 0; j < 4; j++)
                items[j] = (struct model_item){s, (i * 4 + j) % model_traits(m)->vocab, j > i};
            if (model_forward(run, items, 4, NULL, &logits, &e) != 0)
                abort();
            sink = logits[model_traits(m)->vocab - 1];
        }
    model_run_free(run);
    model_seq_free(s);
    model_kv_free(kv);
}

/* Two texts in one batch of an encoder. */
static void encode(const struct model *m, struct pool *pool)
{
    struct model_run *run = NULL;
    const float *rows;
    size_t stride, n = model_traits(m)->ctx_train < 2 ? 1 : 2;
    struct err e;
    int32_t tokens[2] = {0, model_traits(m)->vocab - 1};
    struct model_text texts[2] = {{tokens, n}, {tokens + 1, 1}};
    if (model_run_new(m, pool, 4, 4, &run, &e) == 0) {
        if (model_encode(run, texts, 2, NULL, &rows, &stride, &e) != 0)
            abort();
        sink = rows[n * stride];
    }
    model_run_free(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pool *pool;
    struct gguf *g = NULL;
    struct model *m = NULL;
    struct err e;
    if (!pool && pool_new(1, &pool, &e) != 0)
        return 0;
    if (gguf_open_mem(data, size, &g, &e) != 0)
        return 0;
    if (model_open(g, &m, &e) != 0) {
        gguf_close(g);
        return 0;
    }
    /* What a pass needs is bounded by what the file holds. */
    if (model_run_bytes(m, 1, 4, 4) > 64 * size + (16u << 20))
        abort();
    model_set_exact(m, size % 2 != 0);
    if (model_is_encoder(m))
        encode(m, pool);
    else
        step(m, pool, (enum model_cache)(size % MODEL_CACHES));
    model_free(m);
    return 0;
}
