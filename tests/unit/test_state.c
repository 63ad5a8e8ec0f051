/* test_state.c: what a model keeps of the past: the same bits however a sequence came to where it
 * is (cut, shared, gone back to a snapshot, saved and read again), pages that go when nothing sees
 * them, and files of state that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model.h"
#include "model_rig.h"
#include "tiny_hybrid.h"

#include <dirent.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define VOCAB TINY_VOCAB

static struct model *open_hybrid(const struct hybrid *h)
{
    char path[256];
    assert_int_equal(hybrid_write(h, tiny_path("hybrid", path)), 0);
    struct model *m = open_model(path);
    unlink(path);
    return m;
}

static const struct hybrid kinds[] = {
    {.window = 0},               /* all layers full */
    {.window = 40},              /* all with a window */
    {.window = 40, .period = 2}, /* every other */
    {.window = 130, .period = 4, .type = GGUF_DT_Q8_0},
    {.delta = true},
    {.delta = true, .type = GGUF_DT_Q8_0},
};
#define NKINDS (sizeof kinds / sizeof *kinds)

/* ---- any way to a position gives its bits ---- */

#define STREAMS 3
#define LENGTH 300
#define SEQS 5

/* Texts that begin alike, what each position's logits are, and sequences that follow them. */
struct world {
    struct model *m;
    struct rig g;
    uint32_t random;
    int32_t tokens[STREAMS][LENGTH];
    float *want[STREAMS];
    struct {
        struct model_seq *seq;
        int stream;
    } s[SEQS];
    char path[256];
    int fed, shared, loaded, short_cuts; /* what has happened */
};

static uint32_t pick(struct world *w, uint32_t n)
{
    return lcg(&w->random) % n;
}

static void world_open(struct world *w, const struct hybrid *h, enum model_cache cache,
                       uint64_t bytes, int threads, uint32_t seed)
{
    static const size_t apart[STREAMS] = {0, 90, 201};
    struct err e = {0};
    *w = (struct world){.m = open_hybrid(h), .random = seed};
    for (int i = 0; i < STREAMS; i++) {
        fill_tokens(w->tokens[i], LENGTH, VOCAB, seed + 1);
        fill_tokens(w->tokens[i] + apart[i], LENGTH - apart[i], VOCAB, seed + 7 + (uint32_t)i);
        w->want[i] = all_logits(w->m, 1, cache, w->tokens[i], LENGTH, 32);
    }
    assert_int_equal(pool_new(threads, &w->g.pool, &e), 0);
    assert_int_equal(model_kv_new(w->m, bytes, cache, &w->g.kv, &e), 0);
    model_kv_set_slice(w->g.kv, 48);
    assert_int_equal(model_run_new(w->m, w->g.pool, 48, 48, &w->g.run, &e), 0);
    for (int i = 0; i < SEQS; i++)
        w->s[i].seq = seq_new(&w->g, LENGTH);
    tiny_path("state-file", w->path);
}

static void world_close(struct world *w)
{
    for (int i = 0; i < SEQS; i++)
        model_seq_free(w->s[i].seq);
    assert_int_equal(model_kv_used(w->g.kv), 0);
    for (int i = 0; i < STREAMS; i++)
        free(w->want[i]);
    rig_done(&w->g);
    model_free(w->m);
    unlink(w->path);
}

/* One of the streams that say the same up to here. */
static int stream_from(struct world *w, int stream, int32_t len)
{
    int other = (int)pick(w, STREAMS);
    size_t n = (size_t)len * sizeof(int32_t);
    return memcmp(w->tokens[other], w->tokens[stream], n) == 0 ? other : stream;
}

static void feed_some(struct world *w, int i)
{
    struct model_seq *s = w->s[i].seq;
    struct model_item items[48];
    struct err e = {0};
    const float *l = NULL;
    atomic_bool cancel = true;
    int32_t at = model_seq_len(s), n = 1 + (int32_t)pick(w, 48), stream = w->s[i].stream;
    if (n > LENGTH - at)
        n = LENGTH - at;
    int32_t ahead = pick(w, 3) == 0 ? LENGTH : at + n;
    if (n == 0)
        return;
    if (model_seq_reserve(s, ahead, &e) != 0) {
        assert_int_equal(e.code, ERR_NOMEM);
        int other = (int)pick(w, SEQS); /* memory comes back when a sequence ends */
        model_seq_cut(w->s[other].seq, 0);
        return;
    }
    for (int32_t k = 0; k < n; k++)
        items[k] = (struct model_item){s, w->tokens[stream][at + k], true};
    if (pick(w, 8) == 0)
        assert_int_equal(model_forward(w->g.run, items, (size_t)n, &cancel, &l, &e), ERR_CANCELLED);
    if (model_forward(w->g.run, items, (size_t)n, NULL, &l, &e) != 0)
        fail_msg("%s", e.msg);
    if (memcmp(l, w->want[stream] + (size_t)at * VOCAB, (size_t)n * VOCAB * sizeof *l) != 0)
        fail_msg("other bits at %d + %d of stream %d", at, n, stream);
    w->fed += n;
}

static void cut_some(struct world *w, int i)
{
    int32_t len = model_seq_len(w->s[i].seq), to = (int32_t)pick(w, (uint32_t)len + 1);
    int32_t reach = model_seq_reach(w->s[i].seq, to);
    assert_int_equal(model_seq_cut(w->s[i].seq, to), reach);
    assert_true(reach <= to);
    w->short_cuts += reach < to;
    w->s[i].stream = stream_from(w, w->s[i].stream, reach);
}

static void share_some(struct world *w, int i)
{
    int j = (int)pick(w, SEQS);
    struct err e = {0};
    int32_t reached, len = model_seq_len(w->s[i].seq);
    if (i == j)
        return;
    model_seq_cut(w->s[j].seq, 0);
    if (model_seq_share(w->s[j].seq, w->s[i].seq, (int32_t)pick(w, (uint32_t)len + 1), &reached,
                        &e) != 0) {
        assert_int_equal(e.code, ERR_NOMEM);
        return;
    }
    assert_int_equal(model_seq_len(w->s[j].seq), reached);
    w->s[j].stream = stream_from(w, w->s[i].stream, reached);
    w->shared += reached > 0;
}

static void snapshot_some(struct world *w, int i)
{
    struct err e = {0};
    int32_t len = model_seq_len(w->s[i].seq);
    if (len > 0 && model_seq_snapshot(w->s[i].seq, len, &e) != 0)
        assert_int_equal(e.code, ERR_NOMEM);
    if (pick(w, 16) == 0)
        model_seq_forget(w->s[i].seq);
}

static void save_and_load(struct world *w, int i)
{
    struct err e = {0};
    struct model_saved *f = NULL;
    struct model_seq *s = w->s[i].seq;
    int j = (int)pick(w, SEQS);
    if (model_seq_len(s) == 0)
        return;
    if (model_seq_save(s, w->tokens[w->s[i].stream], w->path, &e) != 0)
        fail_msg("%s", e.msg);
    if (model_saved_open(w->g.kv, w->path, &f, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(model_saved_len(f), model_seq_len(s));
    assert_memory_equal(model_saved_tokens(f), w->tokens[w->s[i].stream],
                        (size_t)model_saved_len(f) * 4);
    int32_t len = model_seq_len(s), want = 1 + (int32_t)pick(w, (uint32_t)len);
    assert_int_equal(model_saved_reach(f, len), len);
    assert_int_equal(model_saved_reach(f, want), model_seq_reach(s, want));
    len = model_saved_reach(f, pick(w, 2) == 0 ? len : want);
    model_seq_cut(w->s[j].seq, 0);
    if (len == 0) {
        w->s[j].stream = stream_from(w, w->s[i].stream, len);
        model_saved_close(f);
        return;
    }
    int rc = model_saved_reserve(f, len, w->s[j].seq, &e);
    if (rc == 0) {
        if (model_saved_read(f, w->s[j].seq, NULL, &e) != 0)
            fail_msg("%s", e.msg);
        assert_int_equal(model_seq_len(w->s[j].seq), len);
        w->s[j].stream = stream_from(w, w->s[i].stream, len);
        w->loaded++;
    } else {
        assert_int_equal(rc, ERR_NOMEM);
    }
    model_saved_close(f);
}

static void live(struct world *w, int steps)
{
    for (int i = 0; i < steps; i++) {
        int s = (int)pick(w, SEQS);
        switch (pick(w, 12)) {
        case 0: cut_some(w, s); break;
        case 1: share_some(w, s); break;
        case 2:
        case 3: snapshot_some(w, s); break;
        case 4: save_and_load(w, s); break;
        default: feed_some(w, s); break;
        }
    }
}

static void every_way_gives_the_same_bits(void **state)
{
    int shared = 0, loaded = 0, short_cuts = 0;
    for (size_t k = 0; k < NKINDS; k++)
        for (int c = 0; c < MODEL_CACHES; c++) {
            enum model_cache cache = (enum model_cache)c;
            struct world w;
            struct model *m = open_hybrid(&kinds[k]);
            /* Once with memory for all, once with little. */
            uint64_t one = model_kv_need(m, cache, LENGTH, 48) + model_kv_snapshot_bytes(m, cache);
            model_free(m);
            for (int tight = 0; tight < 2; tight++) {
                world_open(&w, &kinds[k], cache, tight ? one * 3 / 2 : one * 20, 1 + tight,
                           100 * (uint32_t)k + 10 * (uint32_t)c + (uint32_t)tight);
                live(&w, 180);
                assert_true(w.fed > 300);
                shared += w.shared;
                loaded += w.loaded;
                short_cuts += w.short_cuts;
                assert_true(model_needs_snapshots(w.m) || w.short_cuts == 0);
                world_close(&w);
            }
        }
    printf("%d shared, %d loaded, %d cut short\n", shared, loaded, short_cuts);
    assert_true(shared > 50 && loaded > 50 && short_cuts > 50);
}

/* Value head h goes with key head h % key heads: with a key head of its own for each it says the
 * same. */
static void value_heads_share_key_heads(void **state)
{
    enum { N = 100 };
    int32_t t[N];
    fill_tokens(t, N, VOCAB, 4);
    for (int type = 0; type < 2; type++) {
        struct hybrid h = {.delta = true, .type = type ? GGUF_DT_Q8_0 : GGUF_DT_F32};
        struct model *shared = open_hybrid(&h);
        h.spread = true;
        struct model *spread = open_hybrid(&h);
        assert_int_equal(model_traits(shared)->delta.key_heads, 2);
        assert_int_equal(model_traits(spread)->delta.key_heads, 4);
        float *a = all_logits(shared, 2, MODEL_CACHE_F32, t, N, N);
        float *b = all_logits(spread, 1, MODEL_CACHE_F32, t, N, 7);
        assert_memory_equal(a, b, N * VOCAB * sizeof *a);
        free(a);
        free(b);
        model_free(shared);
        model_free(spread);
    }
}

/* ---- what is kept ---- */

static void feed_to(struct rig *g, struct model_seq *s, const int32_t *t, int32_t to, int32_t step)
{
    struct model_item items[64];
    struct err e = {0};
    const float *l = NULL;
    while (model_seq_len(s) < to) {
        int32_t at = model_seq_len(s), n = to - at < step ? to - at : step;
        for (int32_t i = 0; i < n; i++)
            items[i] = (struct model_item){s, t[at + i], false};
        assert_int_equal(model_seq_reserve(s, at + n, &e), 0);
        assert_int_equal(model_forward(g->run, items, (size_t)n, NULL, &l, &e), 0);
    }
}

static struct rig small_rig(const struct model *m, enum model_cache c, int32_t positions)
{
    struct rig g;
    struct err e = {0};
    uint64_t bytes = model_kv_need(m, c, positions, 64) + 4 * model_kv_snapshot_bytes(m, c);
    assert_int_equal(pool_new(1, &g.pool, &e), 0);
    assert_int_equal(model_kv_new(m, bytes, c, &g.kv, &e), 0);
    model_kv_set_slice(g.kv, 64);
    assert_int_equal(model_run_new(m, g.pool, 64, 64, &g.run, &e), 0);
    return g;
}

static void windows_hold_what_is_seen(void **state)
{
    enum { N = 1500 };
    int32_t t[N];
    fill_tokens(t, N, VOCAB, 3);
    struct model *m = open_hybrid(&kinds[1]);
    uint64_t page = model_kv_page_bytes(m, MODEL_CACHE_F16);
    assert_int_equal(model_kv_need(m, MODEL_CACHE_F16, N, 64),
                     model_kv_need(m, MODEL_CACHE_F16, 10 * N, 64));
    struct rig g = small_rig(m, MODEL_CACHE_F16, N);
    struct model_seq *s = seq_new(&g, N);
    struct err e = {0};
    assert_int_equal(model_seq_reserve(s, N, &e), 0); /* a promise of all of it takes a window */
    assert_true(model_kv_used(g.kv) <= model_kv_need(m, MODEL_CACHE_F16, N, 64));
    feed_to(&g, s, t, N, 50);
    model_seq_cut(s, N);
    assert_true(model_kv_used(g.kv) <= 2 * page); /* 40 positions lie in two pages at most */
    /* Where the window is gone there is no way back but to the beginning. */
    assert_int_equal(model_seq_reach(s, N - 1), N - 1);
    assert_int_equal(model_seq_reach(s, 700), 0);
    assert_int_equal(model_seq_snapshot(s, 700, &e), ERR_INVAL);
    model_seq_free(s);
    assert_int_equal(model_kv_used(g.kv), 0);
    rig_done(&g);
    model_free(m);
}

static void snapshots_are_ways_back(void **state)
{
    enum { N = 1500 };
    int32_t t[N];
    fill_tokens(t, N, VOCAB, 3);
    for (size_t k = 1; k < NKINDS; k++) {
        struct model *m = open_hybrid(&kinds[k]);
        struct rig g = small_rig(m, MODEL_CACHE_F16, N);
        struct model_seq *s = seq_new(&g, N);
        struct err e = {0};
        for (int32_t at = 300; at <= 900; at += 300) {
            feed_to(&g, s, t, at, 64);
            assert_int_equal(model_seq_snapshot(s, at, &e), 0);
            assert_int_equal(model_seq_snapshot(s, at, &e), 0); /* again is nothing */
        }
        feed_to(&g, s, t, N, 64);
        /* A window's page is kept whole, so a few positions behind the snapshot are reached too. */
        int32_t past = kinds[k].delta ? 0 : KERN_PAGE;
        int32_t reach = model_seq_reach(s, 850);
        assert_true(reach >= 600 && reach <= 600 + past);
        reach = model_seq_reach(s, 1200);
        assert_true(reach >= 900 && reach <= 900 + past);
        reach = model_seq_cut(s, 800);
        assert_true(reach >= 600 && reach <= 600 + past && model_seq_len(s) == reach);
        assert_int_equal(model_seq_cut(s, 600), 600);
        reach = model_seq_reach(s, 500);
        assert_true(reach >= 300 && reach <= 300 + past);
        feed_to(&g, s, t, 1000, 64);
        uint64_t with = model_kv_used(g.kv);
        assert_true(model_seq_forget(s) && !model_seq_forget(s));
        assert_true(model_kv_used(g.kv) < with);
        assert_int_equal(model_seq_reach(s, 700), 0);
        model_seq_free(s);
        assert_int_equal(model_kv_used(g.kv), 0);
        rig_done(&g);
        model_free(m);
    }
}

static void too_many_snapshots_thin_out(void **state)
{
    enum { N = 600 };
    int32_t t[N];
    fill_tokens(t, N, VOCAB, 3);
    struct model *m = open_hybrid(&(struct hybrid){.delta = true});
    struct rig g = rig_new(m, 1, MODEL_CACHE_F16, 20, 64);
    struct model_seq *s = seq_new(&g, N);
    struct err e = {0};
    for (int32_t at = 20; at <= N; at += 20) {
        feed_to(&g, s, t, at, 20);
        assert_int_equal(model_seq_snapshot(s, at, &e), 0);
    }
    /* Spread over the whole: nothing is far from a way back. */
    assert_int_equal(model_seq_reach(s, N - 1), N - 20);
    for (int32_t at = 150; at < N; at += 50)
        assert_true(at - model_seq_reach(s, at) <= 150);
    model_seq_free(s);
    rig_done(&g);
    model_free(m);
}

static void caches_have_names_and_limits(void **state)
{
    enum model_cache c = MODEL_CACHE_F32;
    struct err e = {0};
    struct model_kv *kv = NULL;
    assert_true(model_cache_of("q4_0", &c) && c == MODEL_CACHE_Q4_0);
    assert_true(!model_cache_of("q5_0", &c) && c == MODEL_CACHE_Q4_0);
    assert_string_equal(model_cache_name(MODEL_CACHE_F16), "f16");
    assert_int_equal(MODEL_CACHE_F16, 0); /* what a zeroed engine_params asks for */
    struct tiny tiny = tiny_default();
    struct model *m = open_tiny(&tiny); /* heads of 16 */
    assert_int_equal(model_kv_new(m, 1 << 20, MODEL_CACHE_Q8_0, &kv, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "q8_0"));
    model_free(m);
    m = open_hybrid(&kinds[0]);
    uint64_t f32 = model_kv_page_bytes(m, MODEL_CACHE_F32);
    assert_int_equal(model_kv_page_bytes(m, MODEL_CACHE_F16), f32 / 2);
    assert_int_equal(model_kv_page_bytes(m, MODEL_CACHE_Q8_0), f32 / 128 * 34);
    assert_int_equal(model_kv_page_bytes(m, MODEL_CACHE_Q4_0), f32 / 128 * 18);
    model_free(m);
}

/* ---- files that lie ---- */

struct file {
    unsigned char *p;
    size_t n;
};

static struct file read_all(const char *path)
{
    struct file f = {0};
    struct stat st;
    FILE *in = fopen(path, "rb");
    assert_true(in && fstat(fileno(in), &st) == 0);
    f.n = (size_t)st.st_size;
    f.p = malloc(f.n);
    assert_int_equal(fread(f.p, 1, f.n, in), f.n);
    fclose(in);
    return f;
}

static void write_all(const char *path, const unsigned char *p, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(p, 1, n, out), n);
    fclose(out);
}

/* 0 when the file is taken in. */
static int try_file(struct rig *g, const char *path, struct err *e)
{
    struct model_saved *f = NULL;
    struct model_seq *s = seq_new(g, 2000);
    uint64_t before = model_kv_used(g->kv);
    int rc = model_saved_open(g->kv, path, &f, e);
    if (rc == 0)
        rc = model_saved_reserve(f, model_saved_len(f), s, e);
    if (rc == 0)
        rc = model_saved_read(f, s, NULL, e);
    model_saved_close(f);
    model_seq_free(s);
    assert_int_equal(model_kv_used(g->kv), before);
    return rc;
}

static void damaged_files_are_refused(void **state)
{
    char path[256];
    int32_t t[200];
    struct err e = {0};
    tiny_path("damaged", path);
    fill_tokens(t, 200, VOCAB, 9);
    for (size_t k = 0; k < NKINDS; k++) {
        struct model *m = open_hybrid(&kinds[k]);
        struct rig g = rig_new(m, 1, MODEL_CACHE_F16, 64, 64);
        struct model_seq *s = seq_new(&g, 2000);
        feed_to(&g, s, t, 130, 64);
        assert_int_equal(model_seq_snapshot(s, 130, &e), 0);
        feed_to(&g, s, t, 199, 64);
        assert_int_equal(model_seq_save(s, t, path, &e), 0);
        model_seq_free(s);
        struct file f = read_all(path);
        assert_int_equal(try_file(&g, path, &e), 0);
        /* Every byte of the head and the lists, every 97th of the rest. */
        for (size_t i = 0; i < f.n; i += i < 1200 ? 1 : 97) {
            f.p[i] ^= (unsigned char)(1 << i % 8);
            write_all(path, f.p, f.n);
            if (try_file(&g, path, &e) == 0)
                fail_msg("byte %zu of %zu changed and nobody saw it", i, f.n);
            f.p[i] ^= (unsigned char)(1 << i % 8);
        }
        for (size_t n = 0; n < f.n; n += n < 200 ? 1 : 1999) {
            write_all(path, f.p, n);
            assert_true(try_file(&g, path, &e) != 0);
        }
        f.p = realloc(f.p, f.n + 1);
        f.p[f.n] = 0;
        write_all(path, f.p, f.n + 1);
        assert_int_equal(try_file(&g, path, &e), ERR_FORMAT);
        free(f.p);
        rig_done(&g);
        model_free(m);
    }
    unlink(path);
}

static void other_owners_are_refused_by_name(void **state)
{
    char path[256], nowhere[300];
    int32_t t[100];
    struct err e = {0};
    tiny_path("owner", path);
    fill_tokens(t, 100, VOCAB, 9);
    struct model *m = open_hybrid(&kinds[0]);
    struct model *other =
        open_hybrid(&(struct hybrid){.seed = 2}); /* the same shape, trained anew */
    struct rig g = rig_new(m, 1, MODEL_CACHE_F16, 8, 64);
    struct rig q8 = rig_new(m, 1, MODEL_CACHE_Q8_0, 8, 64);
    struct rig not_mine = rig_new(other, 1, MODEL_CACHE_F16, 8, 64);
    struct model_seq *s = seq_new(&g, 200);
    assert_int_equal(model_seq_save(s, t, path, &e), ERR_INVAL); /* nothing in it */
    feed_to(&g, s, t, 100, 64);
    assert_int_equal(model_seq_save(s, t, path, &e), 0);
    assert_int_equal(try_file(&q8, path, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "f16"));
    assert_int_equal(try_file(&not_mine, path, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "another model"));
    model_set_exact(m, true);
    assert_int_equal(try_file(&g, path, &e), ERR_UNSUPPORTED);
    model_set_exact(m, false);
    struct file f = read_all(path);
    f.p[8]++;
    write_all(path, f.p, f.n);
    assert_int_equal(try_file(&g, path, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "version"));
    free(f.p);
    unlink(path);
    assert_int_equal(try_file(&g, path, &e), ERR_NOT_FOUND);
    snprintf(nowhere, sizeof nowhere, "%s.d/x", path);
    assert_int_equal(model_seq_save(s, t, nowhere, &e), ERR_IO);
    model_seq_free(s);
    rig_done(&g);
    rig_done(&q8);
    rig_done(&not_mine);
    model_free(m);
    model_free(other);
}

/* A page that another text used before holds that text's keys behind this one's end: they must not
 * get into the file. */
static void files_hold_nothing_of_others(void **state)
{
    char a[256], b[256];
    int32_t t[100], secret[100];
    struct err e = {0};
    tiny_path("clean-a", a);
    tiny_path("clean-b", b);
    fill_tokens(t, 100, VOCAB, 9);
    fill_tokens(secret, 100, VOCAB, 10);
    for (size_t k = 0; k < NKINDS; k++) {
        struct model *m = open_hybrid(&kinds[k]);
        for (int used = 0; used < 2; used++) {
            struct rig g = rig_new(m, 1, MODEL_CACHE_F16, 4, 64);
            struct model_seq *s = seq_new(&g, 200);
            if (used)
                feed_to(&g, s, secret, 100, 64);
            model_seq_cut(s, 0);
            feed_to(&g, s, t, 70, 64);
            assert_int_equal(model_seq_save(s, t, used ? a : b, &e), 0);
            model_seq_free(s);
            rig_done(&g);
        }
        struct file fa = read_all(a), fb = read_all(b);
        assert_int_equal(fa.n, fb.n);
        assert_memory_equal(fa.p, fb.p, fa.n);
        free(fa.p);
        free(fb.p);
        model_free(m);
    }
    unlink(a);
    unlink(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_gives_the_same_bits),
        cmocka_unit_test(value_heads_share_key_heads),
        cmocka_unit_test(windows_hold_what_is_seen),
        cmocka_unit_test(snapshots_are_ways_back),
        cmocka_unit_test(too_many_snapshots_thin_out),
        cmocka_unit_test(caches_have_names_and_limits),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(other_owners_are_refused_by_name),
        cmocka_unit_test(files_hold_nothing_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
