/* test_wire_embed.c: the embeddings of the OpenAI dialect: what is encoded is decoded to the same,
 * requests and answers, as numbers and as base64; and what is refused, by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire.h"

#include <math.h>
#include <stdlib.h>

/* ---- requests ---- */

static int decode(const char *body, struct arena *a, struct gen_req **out, struct err *e)
{
    return wire_request_decode(WIRE_EMBEDDINGS, str_of(body), a, out, e);
}

static void inputs_of_every_form(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    struct gen_req *r;
    struct err e = {0};
    assert_int_equal(decode("{\"model\":\"m\",\"input\":\"one\"}", a, &r, &e), 0);
    assert_int_equal(r->kind, GEN_EMBED);
    assert_int_equal(r->nmsgs, 1);
    assert_true(str_is(r->msgs[0].parts[0].text, "one"));
    assert_false(r->base64);
    assert_int_equal(r->dimensions, 0);
    assert_int_equal(
        decode(
            "{\"model\":\"m\",\"input\":[\"one\",[7,8],\"three\"],\"encoding_format\":\"base64\","
            "\"dimensions\":5,\"truncate\":true,\"user\":\"u\",\"x\":1}",
            a, &r, &e),
        0);
    assert_int_equal(r->nmsgs, 3);
    assert_int_equal(r->msgs[1].parts[0].type, GEN_PART_TOKENS);
    assert_int_equal(r->msgs[1].parts[0].ids[1], 8);
    assert_true(r->base64 && r->truncate);
    assert_int_equal(r->dimensions, 5);
    assert_true(str_is(r->extra, "{\"x\":1}"));
    assert_int_equal(decode("{\"model\":\"m\",\"input\":[1,2,3]}", a, &r, &e), 0);
    assert_int_equal(r->nmsgs, 1);
    assert_int_equal(r->msgs[0].parts[0].nids, 3);
    arena_free(a);
}

static void bad_requests_are_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"{\"input\":\"a\"}", "model"},
        {"{\"model\":\"m\"}", "input"},
        {"{\"model\":\"m\",\"input\":\"\"}", "input"},
        {"{\"model\":\"m\",\"input\":[]}", "input"},
        {"{\"model\":\"m\",\"input\":7}", "input"},
        {"{\"model\":\"m\",\"input\":{}}", "input"},
        {"{\"model\":\"m\",\"input\":[\"a\",\"\"]}", "input[1]"},
        {"{\"model\":\"m\",\"input\":[\"a\",null]}", "input[1]"},
        {"{\"model\":\"m\",\"input\":[[1],[]]}", "input[1]"},
        {"{\"model\":\"m\",\"input\":[1,\"a\"]}", "input"},
        {"{\"model\":\"m\",\"input\":[1,-2]}", "input"},
        {"{\"model\":\"m\",\"input\":[1,2147483648]}", "input"},
        {"{\"model\":\"m\",\"input\":[1,2.5]}", "input"},
        {"{\"model\":\"m\",\"input\":\"a\",\"dimensions\":0}", "dimensions"},
        {"{\"model\":\"m\",\"input\":\"a\",\"dimensions\":\"8\"}", "dimensions"},
        {"{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"hex\"}", "encoding_format"},
        {"{\"model\":\"m\",\"input\":\"a\",\"truncate\":1}", "truncate"},
        {"[]", "object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena *a = arena_new(1 << 20);
        struct gen_req *r = NULL;
        struct err e = {0};
        assert_int_equal(decode(bad[i][0], a, &r, &e), ERR_FORMAT);
        assert_null(r);
        if (!strstr(e.msg, bad[i][1]))
            fail_msg("%s: '%s' does not name %s", bad[i][0], e.msg, bad[i][1]);
        arena_free(a);
    }
    struct arena *a = arena_new(1 << 20);
    struct gen_req *r = NULL;
    struct err e = {0};
    assert_int_equal(wire_form_of(GEN_DIALECT_ANTHROPIC, GEN_EMBED), WIRE_NONE);
    assert_int_equal(wire_request_decode(WIRE_NONE, STR("{}"), a, &r, &e), ERR_UNSUPPORTED);
    struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, "{\"model\":\"m\",\"input\":[\"a\"");
    for (int i = 0; i < 2048; i++)
        buf_puts(&b, ",\"a\"");
    buf_puts(&b, "]}");
    assert_int_equal(decode(b.p, a, &r, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "2049"));
    buf_done(&b);
    arena_free(a);
}

static void requests_survive_the_trip(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"model\":\"m\",\"input\":[\"one\"],\"encoding_format\":\"float\"}",
        "{\"model\":\"m\",\"input\":[\"o\\\"n\\u00e9\",[1,2,2147483647],[0]],"
        "\"encoding_format\":\"base64\",\"dimensions\":256,\"user\":\"u\",\"x\":{\"y\":[1]}}",
    };
    for (size_t i = 0; i < 2; i++) {
        struct arena *a = arena_new(1 << 20);
        struct gen_req *r, *again;
        struct buf one = BUF_INIT(4096), two = BUF_INIT(4096);
        struct err e = {0};
        assert_int_equal(decode(bodies[i], a, &r, &e), 0);
        assert_int_equal(wire_request_encode(WIRE_EMBEDDINGS, r, r->model, NULL, &one, &e), 0);
        buf_putc(&one, '\0');
        assert_int_equal(decode(one.p, a, &again, &e), 0);
        assert_int_equal(again->nmsgs, r->nmsgs);
        for (size_t m = 0; m < r->nmsgs; m++) {
            const struct gen_part *p = r->msgs[m].parts, *q = again->msgs[m].parts;
            assert_int_equal(p->type, q->type);
            assert_true(str_eq(p->text, q->text));
            assert_int_equal(p->nids, q->nids);
            if (p->nids)
                assert_memory_equal(p->ids, q->ids, p->nids * sizeof *p->ids);
        }
        assert_int_equal(wire_request_encode(WIRE_EMBEDDINGS, again, r->model, NULL, &two, &e), 0);
        buf_putc(&two, '\0');
        assert_string_equal(one.p, two.p);
        assert_int_equal(wire_request_encode(WIRE_ANTHROPIC, r, r->model, NULL, &two, &e),
                         ERR_UNSUPPORTED);
        buf_done(&one);
        buf_done(&two);
        arena_free(a);
    }
}

/* ---- answers ---- */

#define ROWS 3
#define WIDTH 37

struct got {
    float rows[ROWS][WIDTH];
    int n, done;
    int64_t input;
};

static enum gen_verdict take(void *ctx, const struct gen_event *ev)
{
    struct got *g = ctx;
    if (ev->type == GEN_EV_EMBEDDING) {
        assert_int_equal(ev->index, g->n);
        assert_int_equal(ev->nembedding, WIDTH - g->n);
        memcpy(g->rows[g->n++], ev->embedding, ev->nembedding * sizeof(float));
    }
    if (ev->type == GEN_EV_USAGE)
        g->input = ev->usage.input;
    g->done += ev->type == GEN_EV_DONE;
    return GEN_GO;
}

static int read_answer(struct str body, size_t cut, struct got *g, struct err *e)
{
    struct wire_reader *r;
    struct gen_sink sink = {take, g};
    *g = (struct got){.n = 0};
    assert_int_equal(wire_reader_new(WIRE_EMBEDDINGS, false, sink, &r, e), 0);
    int rc = wire_reader_feed(r, str_n(body.p, cut), NULL, e);
    if (!rc)
        rc = wire_reader_feed(r, str_n(body.p + cut, body.n - cut), NULL, e);
    if (!rc)
        rc = wire_reader_end(r, e);
    wire_reader_free(r);
    return rc;
}

static void answers_survive_the_trip(void **state)
{
    (void)state;
    float rows[ROWS][WIDTH];
    for (size_t i = 0; i < ROWS; i++)
        for (size_t k = 0; k < WIDTH; k++)
            rows[i][k] = (float)(sin((double)(i * 91 + k)) * pow(10, (double)k - 30));
    rows[0][0] = 0;
    rows[0][1] = -1.0f / 3;
    rows[0][2] = 3.4028235e38f;
    rows[0][3] = 1e-45f;
    for (int base64 = 0; base64 < 2; base64++) {
        struct gen_req req = {.kind = GEN_EMBED, .stream = true, .base64 = base64};
        struct wire_writer *w;
        struct got g;
        struct buf body = BUF_INIT(1 << 20);
        struct err e = {0};
        assert_int_equal(wire_writer_new(WIRE_EMBEDDINGS, &req, STR("Abc9"), 1, &w, &e), 0);
        assert_string_equal(wire_writer_type(w), "application/json");
        struct gen_event ev[ROWS + 3] = {{.type = GEN_EV_START, .text = STR("the \"model\"")}};
        for (int i = 0; i < ROWS; i++)
            ev[i + 1] = (struct gen_event){.type = GEN_EV_EMBEDDING,
                                           .index = i,
                                           .embedding = rows[i],
                                           .nembedding = (size_t)(WIDTH - i)};
        ev[ROWS + 1] = (struct gen_event){.type = GEN_EV_USAGE, .usage = {.input = 77}};
        ev[ROWS + 2] = (struct gen_event){.type = GEN_EV_DONE};
        for (size_t i = 0; i < ROWS + 3; i++) {
            assert_int_equal(body.n, 0);
            assert_int_equal(wire_writer_event(w, &ev[i], &body, &e), 0);
        }
        wire_writer_free(w);
        for (size_t cut = 0; cut < body.n; cut += 1 + body.n / 40) {
            assert_int_equal(read_answer(buf_str(&body), cut, &g, &e), 0);
            assert_int_equal(g.n, ROWS);
            assert_int_equal(g.done, 1);
            assert_int_equal(g.input, 77);
            for (int i = 0; i < ROWS; i++)
                assert_memory_equal(g.rows[i], rows[i], (size_t)(WIDTH - i) * sizeof(float));
            /* Nothing that is cut is whole. */
            assert_int_not_equal(read_answer(str_n(body.p, cut), cut, &g, &e), 0);
            assert_int_equal(g.done, 0);
        }
        buf_done(&body);
    }
}

static void bad_answers_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "{\"data\":[]}",
        "{\"data\":[{\"embedding\":[]}]}",
        "{\"data\":[{\"embedding\":[1,\"a\"]}]}",
        "{\"data\":[{\"embedding\":[1e39]}]}",
        "{\"data\":[{\"embedding\":\"AAA\"}]}",
        "{\"data\":[{\"embedding\":\"AAAA!AAA\"}]}",
        "{\"data\":[{\"embedding\":\"AADAfw==\"}]}", /* a NaN */
        "{\"data\":[{\"embedding\":[1],\"index\":1}]}",
        "{\"data\":[{\"embedding\":[1],\"index\":-1}]}",
        "{\"data\":[{\"embedding\":[1],\"index\":0},{\"embedding\":[1],\"index\":0}]}",
        "{\"error\":{\"message\":\"no\"}}",
        "[1]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct got g;
        struct err e = {0};
        int rc = read_answer(str_of(bad[i]), 1, &g, &e);
        if (!rc || g.n || g.done)
            fail_msg("%s is taken", bad[i]);
    }
    struct wire_reader *r;
    struct err e = {0};
    assert_int_not_equal(
        wire_reader_new(WIRE_EMBEDDINGS, true, (struct gen_sink){take, NULL}, &r, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_of_every_form),      cmocka_unit_test(bad_requests_are_named),
        cmocka_unit_test(requests_survive_the_trip), cmocka_unit_test(answers_survive_the_trip),
        cmocka_unit_test(bad_answers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
