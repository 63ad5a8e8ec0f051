/* model_rig.h: what tests of models share: fixtures, pages and scratch to step a model with, logits
 * of a whole text, and the distance of two. Include after cmocka and model.h. */
#ifndef WEIR_MODEL_RIG_H
#define WEIR_MODEL_RIG_H

#include "tiny_model.h"

static inline const char *fixture(const char *rel, char out[1024])
{
    const char *root = getenv("WEIR_FIXTURES");
    if (root)
        snprintf(out, 1024, "%s/%s", root, rel);
    else
        snprintf(out, 1024, "%s/../shared/fixtures/%s", getenv("WEIR_SOURCE"), rel);
    if (access(out, R_OK) != 0) {
        printf("skipped: no %s\n", out);
        skip();
    }
    return out;
}

static inline struct model *open_model(const char *path)
{
    struct model *m = NULL;
    struct err e = {0};
    if (model_open_path(path, &m, &e) != 0)
        fail_msg("%s: %s", path, e.msg);
    return m;
}

static inline struct model *open_tiny(const struct tiny *t)
{
    char path[256];
    assert_int_equal(tiny_write(t, tiny_path("model", path)), 0);
    struct model *m = open_model(path);
    unlink(path);
    return m;
}

/* A pool, pages and scratch to step a model with. */
struct rig {
    struct pool *pool;
    struct model_kv *kv;
    struct model_run *run;
};

static inline struct rig rig_new(const struct model *m, int threads, enum model_cache cache,
                                 int pages, int batch)
{
    struct rig g;
    struct err e = {0};
    uint64_t bytes = model_kv_page_bytes(m, cache) * (uint64_t)pages + 16 * model_kv_state_bytes(m);
    assert_int_equal(pool_new(threads, &g.pool, &e), 0);
    assert_int_equal(model_kv_new(m, bytes, cache, &g.kv, &e), 0);
    assert_int_equal(model_run_new(m, g.pool, batch, batch, &g.run, &e), 0);
    return g;
}

static inline void rig_done(struct rig *g)
{
    model_run_free(g->run);
    model_kv_free(g->kv);
    pool_free(g->pool);
}

static inline struct model_seq *seq_new(struct rig *g, int32_t positions)
{
    struct model_seq *s;
    struct err e = {0};
    assert_int_equal(model_seq_new(g->kv, positions, &s, &e), 0);
    return s;
}

static inline uint32_t lcg(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return *s >> 8;
}

static inline void fill_tokens(int32_t *t, size_t n, int32_t vocab, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        t[i] = (int32_t)(lcg(&seed) % (uint32_t)vocab);
}

/* Logits of all n tokens, fed `slice` at a time. */
static inline float *all_logits(const struct model *m, int threads, enum model_cache cache,
                                const int32_t *tokens, size_t n, size_t slice)
{
    size_t vocab = (size_t)model_traits(m)->vocab;
    float *out = malloc(n * vocab * sizeof *out);
    struct rig g = rig_new(m, threads, cache, (int)(n / 64 + 2), (int)slice);
    struct model_seq *s = seq_new(&g, (int32_t)n);
    struct model_item items[512];
    struct err e = {0};
    for (size_t at = 0; at < n; at += slice) {
        size_t count = n - at < slice ? n - at : slice;
        const float *l = NULL;
        for (size_t i = 0; i < count; i++)
            items[i] = (struct model_item){s, tokens[at + i], true};
        assert_int_equal(model_seq_reserve(s, (int32_t)(at + count), &e), 0);
        if (model_forward(g.run, items, count, NULL, &l, &e) != 0)
            fail_msg("%s", e.msg);
        memcpy(out + at * vocab, l, count * vocab * sizeof *out);
    }
    model_seq_free(s);
    rig_done(&g);
    return out;
}

/* ---- against the reference ---- */

struct reference {
    int32_t n, vocab, *tokens;
    float *logits;
};

static inline struct reference read_reference(const char *path)
{
    struct reference r;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(&r.n, 4, 1, f) + fread(&r.vocab, 4, 1, f), 2);
    size_t n = (size_t)r.n, all = n * (size_t)r.vocab;
    r.tokens = malloc(n * 4);
    r.logits = malloc(all * 4);
    assert_int_equal(fread(r.tokens, 4, n, f), n);
    assert_int_equal(fread(r.logits, 4, all, f), all);
    fclose(f);
    return r;
}

static inline void reference_done(struct reference *r)
{
    free(r->tokens);
    free(r->logits);
}

static inline double nmse(const float *a, const float *ref, size_t n)
{
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)ref[i]) * ((double)a[i] - (double)ref[i]);
        s += (double)ref[i] * (double)ref[i];
    }
    return d / s;
}

static inline double nmse_of_fixture(const char *gguf, const char *logits, bool exact)
{
    char a[1024], b[1024];
    fixture(gguf, a);
    struct reference r = read_reference(fixture(logits, b));
    struct model *m = open_model(a);
    model_set_exact(m, exact);
    assert_int_equal(model_traits(m)->vocab, r.vocab);
    float *mine = all_logits(m, 2, MODEL_CACHE_F32, r.tokens, (size_t)r.n, 64);
    double e = nmse(mine, r.logits, (size_t)r.n * (size_t)r.vocab);
    printf("%s: NMSE %.3g\n", gguf, e);
    free(mine);
    model_free(m);
    reference_done(&r);
    return e;
}

#endif
