/* test_wire_raw.c: bare prompts and what is served but not called: decode(encode(x)) == x for
 * random requests and answers of /v1/completions, cut at every place, no prefix of which passes for
 * a whole one; and what llama-server's and LM Studio's writers make of random events is JSON that
 * holds all that was said. Requests to rerank are checked and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

#include "wire.h"
#include "wire_canon.h"

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 11) % n;
}

static bool coin(void)
{
    return rnd(2) == 0;
}

static struct str rnd_text(struct arena *a)
{
    static const char *const bits[] = {"a",      "Zürich", "\"", "\\", "\n",
                                       "data: ", "[DONE]", "😀",  "}"};
    struct buf b = BUF_INIT(4096);
    for (size_t n = rnd(5) + 1; n > 0; n--)
        buf_puts(&b, bits[rnd(sizeof bits / sizeof bits[0])]);
    if (rnd(8) == 0)
        buf_putc(&b, '\0');
    struct str s = arena_str(a, buf_str(&b));
    buf_done(&b);
    return s;
}

static const int32_t *rnd_ids(struct arena *a, size_t *n)
{
    *n = 1 + rnd(4);
    int32_t *ids = arena_array(a, *n, sizeof *ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)rnd(INT32_MAX);
    return ids;
}

/* ---- requests ---- */

static struct gen_prompt rnd_prompt(struct arena *a, bool text)
{
    struct gen_prompt p = {0};
    uint32_t k = text ? 0 : rnd(3);
    if (k == 0)
        p.text = rnd_text(a);
    else if (k == 1)
        p.ids = rnd_ids(a, &p.nids);
    else {
        struct gen_prompt *pieces = arena_array(a, 4, sizeof *pieces);
        bool ids = coin(); /* ids and text in turn */
        p.npieces = 2 + rnd(3);
        for (size_t i = 0; i < p.npieces; i++, ids = !ids) {
            if (ids)
                pieces[i].ids = rnd_ids(a, &pieces[i].nids);
            else
                pieces[i].text = rnd_text(a);
        }
        p.pieces = pieces;
    }
    return p;
}

static void rnd_prompts(struct arena *a, struct gen_req *r)
{
    bool infill = r->kind == GEN_INFILL;
    struct gen_prompt p = rnd_prompt(a, infill);
    r->prompt = p.text;
    r->prompt_ids = p.ids;
    r->nprompt_ids = p.nids;
    r->prompt_pieces = p.pieces;
    r->nprompt_pieces = p.npieces;
    if (infill) {
        r->suffix = rnd_text(a);
        return;
    }
    r->nmore = rnd(3);
    struct gen_prompt *more = arena_array(a, r->nmore, sizeof *more);
    for (size_t i = 0; i < r->nmore; i++)
        more[i] = rnd_prompt(a, false);
    r->more = more;
}

static struct gen_req *rnd_req(struct arena *a)
{
    struct gen_req *r = arena_alloc(a, sizeof *r);
    r->dialect = GEN_DIALECT_OPENAI;
    r->kind = rnd(4) ? GEN_RAW : GEN_INFILL;
    r->parallel_tools = -1;
    r->model = STR("some/model");
    rnd_prompts(a, r);
    r->n = 1 + (int32_t)rnd(3);
    r->max_tokens = 1 + rnd(1000);
    r->prompt_only = rnd(6) == 0;
    r->echo = r->kind == GEN_RAW && rnd(3) == 0;
    if (r->prompt_only)
        r->max_tokens = 1;
    r->logprobs = !r->echo && coin();
    r->top_logprobs = r->logprobs ? (int32_t)rnd(6) : 0;
    r->stream = coin();
    r->stream_usage = r->stream && coin();
    if (coin())
        r->user = rnd_text(a);
    r->nstops = rnd(3);
    r->stops = arena_array(a, r->nstops, sizeof *r->stops);
    for (size_t i = 0; i < r->nstops; i++)
        r->stops[i] = rnd_text(a);
    r->sampling.set = rnd(1u << 9);
    r->sampling.temperature = (float)rnd(1001) / 777;
    r->sampling.top_p = (float)rnd(1001) / 1000;
    r->sampling.min_p = (float)rnd(101) / 777;
    r->sampling.seed = rnd(UINT32_MAX);
    r->sampling.repeat_last_n = (int32_t)rnd(99);
    r->sampling.ignore_eos = coin();
    r->sampling.nbias = rnd(3);
    r->sampling.bias = arena_array(a, r->sampling.nbias, sizeof *r->sampling.bias);
    bool texts = coin();
    for (size_t i = 0; i < r->sampling.nbias; i++) {
        struct gen_bias *b = &r->sampling.bias[i];
        *b = (struct gen_bias){.id = (int32_t)(i * 1000 + rnd(999)), .bias = (float)rnd(200) - 100};
        if (texts)
            *b = (struct gen_bias){.id = -1, .bias = b->bias, .text = rnd_text(a)};
    }
    if (coin())
        r->extra = STR("{\"echoes\":[1,\"z\"],\"cache_prompt\":true}");
    return r;
}

static void requests_survive_the_trip(void **state)
{
    for (int i = 0; i < 2000; i++) {
        struct arena *a = arena_new(16 << 20);
        struct buf body = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
        struct gen_req *back = NULL;
        struct err e = {0};
        seed = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        struct gen_req *r = rnd_req(a);
        canon_req(r, &want);
        if (wire_request_encode(WIRE_COMPLETIONS, r, r->model, NULL, &body, &e))
            fail_msg("request %d: encode: %s\n%s", i, e.msg, want.p);
        if (wire_request_decode(WIRE_COMPLETIONS, buf_str(&body), a, &back, &e))
            fail_msg("request %d: decode: %s\n%s", i, e.msg, body.p);
        canon_req(back, &got);
        if (!str_eq(buf_str(&want), buf_str(&got)))
            fail_msg("request %d differs\n%s---\n%s---\n%s", i, want.p, got.p, body.p);
        buf_done(&body);
        buf_done(&want);
        buf_done(&got);
        arena_free(a);
    }
}

/* ---- answers ---- */

struct script {
    struct arena *a;
    struct gen_event ev[64];
    size_t n;
};

static struct gen_event *add(struct script *s, enum gen_event_type type, int32_t index)
{
    struct gen_event *ev = &s->ev[s->n++];
    *ev = (struct gen_event){.type = type, .index = index};
    return ev;
}

static void add_logprobs(struct script *s, struct gen_event *ev)
{
    static const char *const tokens[] = {"a", " the", "\xF0\x9F", "\x98\x80", "\n", "\""};
    struct gen_token_logprobs *list = arena_array(s->a, 2, sizeof *list);
    int32_t *ids = arena_array(s->a, 2, sizeof *ids);
    for (size_t i = 0; i < 2; i++) {
        uint32_t first = rnd(6);
        struct gen_logprob *top = arena_array(s->a, 3, sizeof *top);
        list[i].ntop = 1 + rnd(3);
        for (uint32_t k = 0; k < 3; k++)
            top[k] = (struct gen_logprob){.token = str_of(tokens[(first + k) % 6]),
                                          .id = -1,
                                          .logprob = -(float)rnd(10000) / 777};
        list[i].top = top;
        list[i].chosen = top[rnd((uint32_t)list[i].ntop)];
        ids[i] = (int32_t)rnd(50000);
    }
    ev->logprobs = list;
    ev->nlogprobs = 2;
    ev->ids = ids;
    ev->nids = 2;
}

static void rnd_script(struct script *s, const struct gen_req *r)
{
    int32_t n = r->n * (int32_t)(r->nmore + 1);
    enum gen_reason first = GEN_END_STOP;
    struct gen_event *ev = add(s, GEN_EV_START, 0);
    ev->text = STR("the-model");
    ev->id = STR("cmpl-Abc9");
    for (int32_t c = 0; c < n; c++) {
        for (size_t k = r->stream ? 1 + rnd(3) : 1; k > 0; k--) {
            ev = add(s, GEN_EV_TEXT, c);
            ev->text = rnd_text(s->a);
            if (r->logprobs)
                add_logprobs(s, ev);
        }
        enum gen_reason reason = coin() ? GEN_END_STOP : coin() ? GEN_END_LENGTH : GEN_END_FILTER;
        first = c ? first : reason;
        if (n > 1)
            add(s, GEN_EV_CHOICE_END, c)->reason = reason;
    }
    ev = add(s, GEN_EV_USAGE, 0);
    ev->usage.input = 1 + rnd(1000);
    ev->usage.cached = rnd((uint32_t)ev->usage.input);
    ev->usage.output = rnd(1000);
    ev->times.prompt = rnd(1000000000);
    ev->times.write = rnd(1000000000);
    ev = add(s, GEN_EV_DONE, 0);
    ev->reason = first;
    ev->raw = coin() ? rnd_text(s->a) : STR("");
}

static void write_all(enum wire_form f, const struct gen_req *r, const struct script *s,
                      struct buf *out)
{
    struct wire_writer *w;
    struct err e = {0};
    assert_int_equal(wire_writer_new(f, r, STR("Abc9"), 1700000000, &w, &e), 0);
    for (size_t i = 0; i < s->n; i++) {
        if (wire_writer_event(w, &s->ev[i], out, &e))
            fail_msg("write: %s", e.msg);
    }
    assert_int_equal(wire_writer_event(w, &s->ev[s->n - 1], out, &e), ERR_INVAL);
    wire_writer_free(w);
}

static int read_cut(bool stream, struct str text, size_t cut, struct canon_sink *sink,
                    struct err *e)
{
    struct wire_reader *r;
    assert_int_equal(wire_reader_new(WIRE_COMPLETIONS, stream, canon_sink_of(sink), &r, e), 0);
    int rc = wire_reader_feed(r, str_n(text.p, cut), NULL, e);
    if (!rc)
        rc = wire_reader_feed(r, str_n(text.p + cut, text.n - cut), NULL, e);
    if (!rc)
        rc = wire_reader_end(r, e);
    canon_sink_flush(sink);
    wire_reader_free(r);
    return rc;
}

static struct gen_req answered(void)
{
    static struct gen_prompt more[2] = {{.text = STR("b")}, {.text = STR("c")}};
    struct gen_req r = {.dialect = GEN_DIALECT_OPENAI, .kind = GEN_RAW, .n = 1 + (int32_t)rnd(3)};
    r.stream_usage = true;
    r.stream = coin();
    r.more = more;
    r.nmore = rnd(3);
    r.logprobs = coin();
    return r;
}

static void answers_survive_the_trip(void **state)
{
    for (int i = 0; i < 250; i++) {
        struct script s = {.a = arena_new(16 << 20)};
        struct buf bytes = BUF_INIT(1 << 20);
        struct canon_sink want;
        seed = 0xd1342543de82ef95u * (uint64_t)(i + 1);
        struct gen_req r = answered();
        rnd_script(&s, &r);
        canon_sink_init(&want, true);
        struct gen_sink to = canon_sink_of(&want);
        for (size_t k = 0; k < s.n; k++)
            to.event(to.ctx, &s.ev[k]);
        canon_sink_flush(&want);
        write_all(WIRE_COMPLETIONS, &r, &s, &bytes);
        canon_dump("completions", i, buf_str(&bytes));
        size_t step = i < 12 ? 1 : 1 + bytes.n / 12;
        for (size_t cut = 0; cut <= bytes.n; cut += step) {
            struct canon_sink got;
            struct err e = {0};
            canon_sink_init(&got, true);
            if (read_cut(r.stream, buf_str(&bytes), cut, &got, &e))
                fail_msg("answer %d cut at %zu: %s\n%s", i, cut, e.msg, bytes.p);
            if (!str_eq(buf_str(&want.text), buf_str(&got.text)))
                fail_msg("answer %d cut at %zu differs\n%s---\n%s---\n%s", i, cut, want.text.p,
                         got.text.p, bytes.p);
            canon_sink_done(&got);
        }
        canon_sink_done(&want);
        buf_done(&bytes);
        arena_free(s.a);
    }
}

static void no_prefix_is_whole(void **state)
{
    for (int i = 0; i < 16; i++) {
        struct script s = {.a = arena_new(16 << 20)};
        struct buf bytes = BUF_INIT(1 << 20);
        struct gen_req r = {.kind = GEN_RAW, .n = 1, .stream = true};
        seed = 0xbf58476d1ce4e5b9u * (uint64_t)(i + 1);
        rnd_script(&s, &r);
        write_all(WIRE_COMPLETIONS, &r, &s, &bytes);
        size_t from = str_find(buf_str(&bytes), STR("\"finish_reason\":\""), 0);
        assert_true(from != SIZE_MAX);
        for (size_t n = 0; n < bytes.n; n++) {
            struct canon_sink got;
            struct err e = {0};
            canon_sink_init(&got, true);
            int rc = read_cut(true, str_n(bytes.p, n), 0, &got, &e);
            if (n <= from && (rc != ERR_CUT || got.ends))
                fail_msg("answer %d, %zu of %zu bytes: %d %s", i, n, bytes.n, rc, e.msg);
            assert_int_equal(got.ends, rc == 0);
            canon_sink_done(&got);
        }
        buf_done(&bytes);
        arena_free(s.a);
    }
}

/* ---- what is only served ---- */

static json_t *parse(struct str text)
{
    json_error_t je;
    json_t *v = json_loadb(text.p, text.n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &je);
    if (!v)
        fail_msg("%s: %.*s", je.text, STR_ARG(text));
    return v;
}

/* One object, or a list of them: by index. */
static const json_t *item_of(const json_t *v, size_t i)
{
    return json_is_array(v) ? json_array_get(v, i) : i ? NULL : v;
}

static void add_text(struct buf *b, const json_t *v)
{
    assert_true(json_is_string(v));
    buf_add(b, json_string_value(v), json_string_length(v));
}

static void llama_body(struct str bytes, struct buf *all, size_t n)
{
    json_t *v = parse(bytes);
    assert_int_equal(json_is_array(v), n > 1);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = item_of(v, i);
        assert_int_equal(json_integer_value(json_object_get(o, "index")), i);
        assert_true(json_is_true(json_object_get(o, "stop")));
        add_text(&all[i], json_object_get(o, "content"));
    }
    json_decref(v);
}

static void llama_stream(struct str bytes, struct buf *all, size_t n)
{
    struct str line, rest = bytes;
    size_t stops = 0;
    while (rest.n) {
        str_cut(rest, '\n', &line, &rest);
        if (!line.n)
            continue;
        assert_true(str_starts(line, STR("data: ")));
        json_t *v = parse(str_n(line.p + 6, line.n - 6));
        size_t i = (size_t)json_integer_value(json_object_get(v, "index"));
        assert_true(i < n);
        stops += json_is_true(json_object_get(v, "stop"));
        add_text(&all[i], json_object_get(v, "content"));
        json_decref(v);
    }
    assert_int_equal(stops, n);
}

static void llama_answers_hold_all_that_was_said(void **state)
{
    for (int i = 0; i < 300; i++) {
        struct script s = {.a = arena_new(16 << 20)};
        struct buf bytes = BUF_INIT(1 << 20), all[16], want[16];
        seed = 0xda942042e4dd58b5u * (uint64_t)(i + 1);
        struct gen_req r = answered();
        r.extra = coin() ? STR("{\"return_tokens\":true,\"id_slot\":-1}") : STR_NONE;
        size_t n = (size_t)r.n * (r.nmore + 1);
        rnd_script(&s, &r);
        for (size_t c = 0; c < n; c++) {
            buf_init(&all[c], 1 << 20);
            buf_init(&want[c], 1 << 20);
        }
        for (size_t k = 0; k < s.n; k++) {
            if (s.ev[k].type == GEN_EV_TEXT)
                buf_str_add(&want[s.ev[k].index], s.ev[k].text);
        }
        write_all(coin() ? WIRE_LLAMA_COMPLETION : WIRE_LLAMA_INFILL, &r, &s, &bytes);
        (r.stream ? llama_stream : llama_body)(buf_str(&bytes), all, n);
        for (size_t c = 0; c < n; c++) {
            assert_true(str_eq(buf_str(&want[c]), buf_str(&all[c])));
            buf_done(&all[c]);
            buf_done(&want[c]);
        }
        buf_done(&bytes);
        arena_free(s.a);
    }
}

static void check_lmstudio(const json_t *result, struct str thought, struct str text)
{
    const json_t *out = json_object_get(result, "output");
    struct buf got[2] = {BUF_INIT(1 << 20), BUF_INIT(1 << 20)};
    for (size_t i = 0; i < json_array_size(out); i++) {
        const json_t *o = json_array_get(out, i);
        const char *type = json_string_value(json_object_get(o, "type"));
        add_text(&got[strcmp(type, "reasoning") != 0], json_object_get(o, "content"));
    }
    assert_true(str_eq(buf_str(&got[0]), thought));
    assert_true(str_eq(buf_str(&got[1]), text));
    assert_string_equal(json_string_value(json_object_get(result, "response_id")), "resp_Abc9");
    buf_done(&got[0]);
    buf_done(&got[1]);
}

static void lmstudio_ends_with_the_whole(void **state)
{
    for (int i = 0; i < 200; i++) {
        struct script s = {.a = arena_new(16 << 20)};
        struct buf bytes = BUF_INIT(1 << 20), said[2] = {BUF_INIT(1 << 20), BUF_INIT(1 << 20)};
        struct gen_req r = {.dialect = GEN_DIALECT_LMSTUDIO, .n = 1, .store = true};
        seed = 0xaf251af3b0f025b5u * (uint64_t)(i + 1);
        r.stream = coin();
        add(&s, GEN_EV_START, 0)->text = STR("m");
        for (size_t n = rnd(8); n > 0; n--) {
            struct gen_event *ev = add(&s, coin() ? GEN_EV_TEXT : GEN_EV_REASONING, 0);
            ev->text = rnd_text(s.a);
            buf_str_add(&said[ev->type == GEN_EV_TEXT], ev->text);
        }
        add(&s, GEN_EV_DONE, 0);
        write_all(WIRE_LMSTUDIO, &r, &s, &bytes);
        struct str all = buf_str(&bytes);
        if (r.stream) {
            struct str mark = STR("event: chat.end\ndata: ");
            size_t at = str_find(all, mark, 0);
            assert_true(at != SIZE_MAX);
            all = str_n(all.p + at + mark.n, all.n - at - mark.n);
        }
        json_t *v = parse(str_trim(all));
        check_lmstudio(r.stream ? json_object_get(v, "result") : v, buf_str(&said[0]),
                       buf_str(&said[1]));
        json_decref(v);
        buf_done(&bytes);
        buf_done(&said[0]);
        buf_done(&said[1]);
        arena_free(s.a);
    }
}

static void served_forms_are_not_called(void **state)
{
    static const enum wire_form forms[] = {WIRE_LMSTUDIO, WIRE_LLAMA_COMPLETION, WIRE_LLAMA_INFILL};
    for (size_t i = 0; i < 3; i++) {
        struct gen_req r = {.kind = i == 0 ? GEN_CHAT : i == 1 ? GEN_RAW : GEN_INFILL};
        struct buf out = BUF_INIT(4096);
        struct wire_reader *reader = NULL;
        struct err e = {0};
        assert_int_equal(wire_request_encode(forms[i], &r, STR("m"), NULL, &out, &e),
                         ERR_UNSUPPORTED);
        assert_int_equal(wire_reader_new(forms[i], true, (struct gen_sink){0}, &reader, &e),
                         ERR_UNSUPPORTED);
        assert_null(reader);
        buf_done(&out);
    }
}

/* ---- reranking ---- */

static void rerankings_are_checked(void **state)
{
    static const struct {
        const char *body, *says;
    } rows[] = {
        {"{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\",{\"text\":\"b\"}],\"top_n\":1}",
         NULL},
        {"{\"model\":\"m\",\"query\":{\"text\":\"q\"},\"documents\":[\"a\"],\"x\":1}", NULL},
        {"[]", "the body must be a JSON object"},
        {"{\"query\":\"q\",\"documents\":[\"a\"]}", "model: is missing"},
        {"{\"model\":\"m\",\"documents\":[\"a\"]}", "query: is missing"},
        {"{\"model\":\"m\",\"query\":5,\"documents\":[\"a\"]}", "query: must be a string"},
        {"{\"model\":\"m\",\"query\":\"q\"}", "documents: is missing"},
        {"{\"model\":\"m\",\"query\":\"q\",\"documents\":[]}", "documents: must be 1 to 10000"},
        {"{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\",5]}",
         "documents[1]: must be a text or an object with one"},
        {"{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\"],\"top_n\":0}",
         "top_n: must be between 1 and 2147483647"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena *a = arena_new(1 << 20);
        struct str model = STR_NONE;
        struct err e = {0};
        int rc = wire_rerank_check(str_of(rows[i].body), a, &model, &e);
        assert_int_equal(rc, rows[i].says ? ERR_FORMAT : 0);
        if (rows[i].says)
            assert_string_equal(e.msg, rows[i].says);
        else
            assert_true(str_is(model, "m"));
        arena_free(a);
    }
    struct err e = {0};
    assert_int_equal(wire_rerank_refuse(STR("m"), &e), ERR_UNSUPPORTED);
    assert_string_equal(e.msg, "model: \"m\" cannot rerank");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_survive_the_trip),
        cmocka_unit_test(answers_survive_the_trip),
        cmocka_unit_test(no_prefix_is_whole),
        cmocka_unit_test(llama_answers_hold_all_that_was_said),
        cmocka_unit_test(lmstudio_ends_with_the_whole),
        cmocka_unit_test(served_forms_are_not_called),
        cmocka_unit_test(rerankings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
