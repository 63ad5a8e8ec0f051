/* test_local_embed.c: texts and tokens in, rows out, through the backend: an encoder and a model
 * that writes; lengths, dimensions, cutting, back-pressure and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "local.h"
#include "tiny_encoder.h"

#include <pthread.h>

#define WIDTH 64
#define MOST 40

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t change;
    float rows[MOST][WIDTH];
    size_t width;
    int n, starts, pause_at, cancel_at;
    struct gen_usage usage;
    struct err err;
    bool done, paused;
    struct gen_run *run;
};

static enum gen_verdict hear(void *ctx, const struct gen_event *ev)
{
    struct heard *h = ctx;
    enum gen_verdict v = GEN_GO;
    pthread_mutex_lock(&h->lock);
    assert_false(h->done);
    h->starts += ev->type == GEN_EV_START;
    if (ev->type == GEN_EV_EMBEDDING) {
        assert_int_equal(h->starts, 1);
        assert_int_equal(ev->index, h->n);
        assert_true(h->n < MOST);
        h->width = ev->nembedding;
        memcpy(h->rows[h->n++], ev->embedding, ev->nembedding * sizeof(float));
        h->paused = h->n == h->pause_at;
        v = h->n == h->cancel_at ? GEN_CANCEL : h->paused ? GEN_PAUSE : GEN_GO;
    }
    if (ev->type == GEN_EV_USAGE)
        h->usage = ev->usage;
    if (ev->type == GEN_EV_ERROR)
        h->err = *ev->err;
    h->done = ev->type == GEN_EV_DONE || ev->type == GEN_EV_ERROR;
    pthread_cond_broadcast(&h->change);
    pthread_mutex_unlock(&h->lock);
    return v;
}

/* ---- requests ---- */

struct asking {
    struct gen_req req;
    struct gen_msg msgs[MOST];
    struct gen_part parts[MOST];
};

static void add_text(struct asking *a, const char *text)
{
    size_t i = a->req.nmsgs++;
    a->req.kind = GEN_EMBED;
    a->req.n = 1;
    a->req.msgs = a->msgs;
    a->parts[i] = (struct gen_part){.type = GEN_PART_TEXT, .text = str_of(text)};
    a->msgs[i] = (struct gen_msg){.role = GEN_USER, .parts = &a->parts[i], .nparts = 1};
}

static void add_ids(struct asking *a, const int32_t *ids, size_t n)
{
    add_text(a, "");
    a->parts[a->req.nmsgs - 1] = (struct gen_part){.type = GEN_PART_TOKENS, .ids = ids, .nids = n};
}

static int start(struct local *l, const struct asking *a, bool counted, struct heard *h,
                 struct err *e)
{
    struct gen_backend *b = local_backend(l);
    struct gen_count count = {0};
    int pause_at = h->pause_at, cancel_at = h->cancel_at, rc = 0;
    *h = (struct heard){.pause_at = pause_at, .cancel_at = cancel_at};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->change, NULL);
    if (counted)
        rc = b->ops->count(b, &a->req, STR("tiny"), &count, e);
    if (!rc)
        rc = b->ops->start(b, &a->req, STR("tiny"), counted ? &count : NULL,
                           (struct gen_sink){hear, h}, &h->run, e);
    if (counted && !rc)
        assert_null(count.kept);
    if (count.kept)
        count.kept_free(count.kept);
    return rc;
}

static void finish(struct local *l, struct heard *h)
{
    const struct gen_backend_ops *ops = local_backend(l)->ops;
    pthread_mutex_lock(&h->lock);
    while (!h->done) {
        if (h->paused) {
            h->paused = false;
            pthread_mutex_unlock(&h->lock);
            ops->resume(h->run);
            pthread_mutex_lock(&h->lock);
        } else {
            pthread_cond_wait(&h->change, &h->lock);
        }
    }
    pthread_mutex_unlock(&h->lock);
    ops->cancel(h->run);
    ops->release(h->run);
}

static void ask(struct local *l, const struct asking *a, bool counted, struct heard *h)
{
    struct err e = {0};
    if (start(l, a, counted, h, &e) != 0)
        fail_msg("%s", e.msg);
    finish(l, h);
    assert_int_equal(h->err.code, 0);
    assert_int_equal(h->n, a->req.nmsgs);
}

static struct local *open_path(const char *path)
{
    struct local *l = NULL;
    struct err e = {0};
    struct local_params p = {.engine = {.threads = 2, .parallel = 2}, .name = STR("tiny")};
    if (local_open(path, &p, &l, &e) != 0)
        fail_msg("%s", e.msg);
    unlink(path);
    return l;
}

static struct local *open_encoder(struct tiny_encoder *t)
{
    char path[256];
    assert_int_equal(tiny_encoder_write(t, tiny_path("local-embed", path)), 0);
    return open_path(path);
}

static double length_of(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

/* ---- rows ---- */

/* The plain row of the ids, cut and of length 1. */
static void check_row(const struct tiny_encoder *t, const int32_t *ids, int n, const float *row,
                      size_t width)
{
    float want[WIDTH];
    double *rows = tiny_encoder_rows(t, ids, n);
    tiny_encoder_pool(t, t->pooling, rows, n, want);
    double length = length_of(want, width);
    for (size_t i = 0; i < width; i++)
        assert_true(fabs((double)want[i] / length - (double)row[i]) < 1e-5);
    assert_true(fabs(length_of(row, width) - 1) < 1e-6);
    free(rows);
}

static void an_encoder_embeds(void **state)
{
    (void)state;
    static const int32_t hello[] = {2, 56, 57, 58, 3}, ids[] = {5, 6};
    /* What looks like a mark is text. */
    static const int32_t marked[] = {2, 1, 22, 34, 45, 1, 3};
    for (int pooling = 1; pooling <= 3; pooling++) {
        struct tiny_encoder t = tiny_encoder_default("bert");
        t.pooling = pooling;
        struct local *l = open_encoder(&t);
        struct heard h = {0};
        struct asking a = {0};
        add_text(&a, "Hello WORLD.");
        add_ids(&a, ids, 2);
        add_text(&a, "[sep]");
        ask(l, &a, pooling == 2, &h);
        check_row(&t, hello, 5, h.rows[0], WIDTH);
        check_row(&t, ids, 2, h.rows[1], WIDTH);
        check_row(&t, marked, 7, h.rows[2], WIDTH);
        assert_int_equal(h.usage.input, 5 + 2 + 7);
        assert_int_equal(h.usage.output, 0);
        a.req.dimensions = 10;
        ask(l, &a, false, &h);
        assert_int_equal(h.width, 10);
        check_row(&t, hello, 5, h.rows[0], 10);
        local_free(l);
        tiny_encoder_done(&t);
    }
}

static void what_is_too_long_is_cut_only_when_asked(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("nomic-bert");
    t.ctx = 6;
    struct local *l = open_encoder(&t);
    struct heard h = {0};
    struct asking a = {0};
    struct err e = {0};
    static const int32_t cut[] = {2, 4, 5, 6, 7, 3}, ids[] = {9, 9, 9, 9, 9, 9, 9, 9};
    add_text(&a, "a");
    add_text(&a, "a b c d e f g");
    assert_int_equal(start(l, &a, false, &h, &e), ERR_CONTEXT);
    assert_non_null(strstr(e.msg, "input[1]"));
    assert_non_null(strstr(e.msg, "3 too many"));
    assert_int_equal(start(l, &a, true, &h, &e), ERR_CONTEXT);
    a.req.truncate = true;
    add_ids(&a, ids, 8);
    ask(l, &a, true, &h);
    check_row(&t, cut, 6, h.rows[1], WIDTH);
    check_row(&t, ids, 6, h.rows[2], WIDTH);
    assert_int_equal(h.usage.input, 3 + 6 + 6);
    local_free(l);
    tiny_encoder_done(&t);
}

static void pausing_and_cancelling(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("bert");
    struct local *l = open_encoder(&t);
    struct heard all = {0}, h = {.pause_at = 7};
    struct asking a = {0};
    for (int i = 0; i < MOST; i++)
        add_text(&a, i % 3 ? "some words of text" : "a text");
    ask(l, &a, false, &all);
    ask(l, &a, false, &h);
    assert_memory_equal(all.rows, h.rows, sizeof h.rows);
    struct heard gone = {.cancel_at = 2};
    struct err e = {0};
    assert_int_equal(start(l, &a, false, &gone, &e), 0);
    finish(l, &gone);
    assert_int_equal(gone.err.code, ERR_CANCELLED);
    assert_int_equal(gone.n, 2);
    local_free(l);
    tiny_encoder_done(&t);
}

static void a_model_that_writes_embeds_too(void **state)
{
    (void)state;
    char path[256];
    struct tiny t = tiny_default();
    assert_int_equal(tiny_write(&t, tiny_path("local-writes", path)), 0);
    struct local *l = open_path(path);
    struct gen_caps caps;
    struct err e = {0};
    struct heard h = {0};
    struct asking a = {0};
    assert_int_equal(local_backend(l)->ops->describe(local_backend(l), STR("tiny"), &caps, &e), 0);
    assert_true(caps.embed && caps.raw);
    add_text(&a, "some words");
    add_text(&a, "some words");
    add_text(&a, "others");
    ask(l, &a, true, &h);
    assert_memory_equal(h.rows[0], h.rows[1], sizeof h.rows[0]);
    assert_memory_not_equal(h.rows[0], h.rows[2], sizeof h.rows[0]);
    assert_true(fabs(length_of(h.rows[2], WIDTH) - 1) < 1e-6);
    local_free(l);
}

static void refusals_name_the_field(void **state)
{
    (void)state;
    struct tiny_encoder t = tiny_encoder_default("bert");
    struct local *l = open_encoder(&t);
    struct gen_caps caps;
    struct heard h = {0};
    struct err e = {0};
    struct asking a = {0};
    static const int32_t wrong[] = {2, TINY_ENCODER_VOCAB};
    assert_int_equal(local_backend(l)->ops->describe(local_backend(l), STR("tiny"), &caps, &e), 0);
    assert_true(caps.embed && !caps.chat && !caps.raw && !caps.tools);
    assert_int_equal(caps.context, t.ctx);
    a.req.kind = GEN_EMBED;
    assert_int_equal(start(l, &a, false, &h, &e), ERR_INVAL);
    add_text(&a, "hello");
    a.req.dimensions = WIDTH + 1;
    assert_int_equal(start(l, &a, false, &h, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "dimensions"));
    a.req.dimensions = 0;
    a.parts[0].type = GEN_PART_IMAGE;
    assert_int_equal(start(l, &a, false, &h, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "input[0]"));
    a.parts[0].type = GEN_PART_TEXT;
    add_ids(&a, wrong, 2);
    assert_int_equal(start(l, &a, false, &h, &e), ERR_INVAL);
    struct asking chat = {.req = {.kind = GEN_RAW, .prompt = STR("hi"), .n = 1}};
    assert_int_equal(start(l, &chat, false, &h, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "embeddings"));
    local_free(l);
    tiny_encoder_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_encoder_embeds),
        cmocka_unit_test(what_is_too_long_is_cut_only_when_asked),
        cmocka_unit_test(pausing_and_cancelling),
        cmocka_unit_test(a_model_that_writes_embeds_too),
        cmocka_unit_test(refusals_name_the_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
