/* test_local_facts.c: templates of requests, what is cut, marked and counted of a chat, and what a
 * model says of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "local_rig.h"

static const char chatty[] = "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}</s>"
                             "{% endfor %}";

struct talk {
    struct gen_part part[64];
    struct gen_msg msg[64];
    struct gen_req req;
};

/* System, user, assistant, user ...: each of as many letters. */
static struct gen_req *talk(struct talk *t, size_t n, const char *letters)
{
    *t = (struct talk){.req = {.kind = GEN_CHAT, .n = 1, .max_tokens = 4}};
    for (size_t i = 0; i < n; i++) {
        t->part[i] = (struct gen_part){.type = GEN_PART_TEXT, .text = str_of(letters)};
        t->msg[i] = (struct gen_msg){.role = i == 0  ? GEN_SYSTEM
                                             : i % 2 ? GEN_USER
                                                     : GEN_ASSISTANT,
                                     .parts = &t->part[i],
                                     .nparts = 1};
    }
    t->req.msgs = t->msg;
    t->req.nmsgs = n;
    t->req.sampling.set = GEN_SET_TEMPERATURE;
    return &t->req;
}

static void the_oldest_messages_go(void **state)
{
    struct tiny t = tiny_default();
    struct local *l = rig_open("trim", &t, chatty, 256);
    struct talk k;
    struct rig h;
    struct gen_req *req = talk(&k, 20, "abcdefghijklmnopqrst");
    k.part[19].text = STR("the last");
    struct err e = rig_refused(l, req); /* as it is, it is too long, and is told by how much */
    assert_int_equal(e.code, ERR_CONTEXT);
    assert_non_null(strstr(e.msg, "too many"));
    req->truncate = true;
    rig_ask(l, req, &h);
    assert_int_equal(h.err.code, 0);
    assert_true(h.usage.input <= 252 && h.usage.input > 150);
    rig_done(&h);
    struct gen_count count = {0};
    assert_int_equal(local_backend(l)->ops->count(local_backend(l), req, STR(""), &count, &e), 0);
    assert_int_equal(count.tokens, h.usage.input);
    count.kept_free(count.kept);
    /* The system's and the user's last stay, whatever comes: then it is an error again. */
    req = talk(&k, 2, "abcdefghijklmnopqrst");
    char lengthy[400];
    memset(lengthy, 'x', sizeof lengthy);
    k.part[1].text = str_n(lengthy, sizeof lengthy);
    req->truncate = true;
    e = rig_refused(l, req);
    assert_int_equal(e.code, ERR_CONTEXT);
    struct gen_req raw = {.kind = GEN_RAW, .n = 1, .max_tokens = 4, .truncate = true};
    raw.prompt = k.part[1].text;
    rig_ask(l, &raw, &h);
    assert_int_equal(h.usage.input, 252);
    rig_done(&h);
    local_free(l);
}

/* The first call writes what is marked, the second reads it. */
static void marks_are_counted(void **state)
{
    struct tiny t = tiny_default();
    struct local *l = rig_open("marks", &t, chatty, 0);
    struct talk k;
    struct rig first, second;
    struct gen_req *req = talk(&k, 4, "abcdefghijklmnopqrst");
    rig_ask(l, req, &first);
    assert_int_equal(first.usage.cache_write, 0);
    rig_done(&first);
    local_free(l);
    l = rig_open("marks", &t, chatty, 0);
    k.part[0].cache_mark = true; /* <s>system:abc...</s> */
    rig_ask(l, req, &first);
    assert_int_equal(first.usage.cached, 0);
    assert_true(first.usage.cache_write >= 28 && first.usage.cache_write <= 40);
    k.part[1].text = STR("something else this time");
    rig_ask(l, req, &second);
    assert_int_equal(second.usage.cache_write, 0);
    assert_true(second.usage.cached >= first.usage.cache_write);
    k.part[3].cache_mark = true; /* the whole prompt, of which the beginning is there */
    k.part[2].text = STR("and this");
    rig_done(&first);
    rig_ask(l, req, &first);
    assert_true(first.usage.cached > 0 && first.usage.cache_write > 0);
    assert_int_equal(first.usage.cached + first.usage.cache_write, first.usage.input);
    rig_done(&first);
    rig_done(&second);
    local_free(l);
}

static void a_request_brings_its_template(void **state)
{
    struct tiny t = tiny_default();
    struct local *l = rig_open("bring", &t, "", 0); /* the file has none */
    struct talk k;
    struct gen_req *req = talk(&k, 2, "hi");
    struct buf out = BUF_INIT(1000);
    struct err e = {0};
    assert_int_equal(local_apply_template(l, req, &out, &e), ERR_UNSUPPORTED);
    req->tmpl = STR("{{ .System }}/{{ .Prompt }}/{{ .Response }}");
    assert_int_equal(local_apply_template(l, req, &out, &e), 0);
    assert_string_equal(out.p, "hi/hi/");
    req->tmpl = STR("{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}");
    buf_clear(&out);
    assert_int_equal(local_apply_template(l, req, &out, &e), 0);
    assert_string_equal(out.p, "system=hi;user=hi;");
    struct rig h;
    for (int i = 0; i < 3; i++) {
        rig_ask(l, req, &h);
        assert_int_equal(h.err.code, 0);
        rig_done(&h);
    }
    req->tmpl = STR("{{ .Nothing");
    e = rig_refused(l, req);
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "template: template line 1"));
    buf_done(&out);
    local_free(l);
}

/* Under a Go template's syntax too the form is kept: a call of the named tool. */
static void go_templates_call_tools(void **state)
{
    struct tiny t = tiny_default();
    struct local *l =
        rig_open("gocall", &t,
                 "{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}<s>{{ .Content }}{{ range "
                 ".ToolCalls }}<tool_call>{\"name\": \"{{ .Function.Name }}\", \"arguments\": {{ "
                 ".Function.Arguments }}}</tool_call>{{ end }}</s>{{ end }}",
                 0);
    struct talk k;
    struct gen_req *req = talk(&k, 2, "hi");
    struct gen_tool tool = {.name = STR("walk"),
                            .schema =
                                STR("{\"properties\":{\"way\":{\"enum\":[\"up\"]}},"
                                    "\"required\":[\"way\"],\"additionalProperties\":false}")};
    req->tools = &tool;
    req->ntools = 1;
    req->tool_choice = GEN_CHOICE_NAMED;
    req->tool_choice_name = STR("walk");
    req->max_tokens = 200;
    struct rig h;
    rig_ask(l, req, &h);
    assert_int_equal(h.reason, GEN_END_TOOLS);
    assert_non_null(strstr(h.args.p, "\"up\""));
    assert_non_null(strstr(h.raw.p, "<tool_call>"));
    rig_done(&h);
    local_free(l);
}

static void texts_and_tokens(void **state)
{
    struct tiny t = tiny_default();
    struct local *l = rig_open("look", &t, "", 0);
    struct tok_ids ids = {0};
    struct buf out = BUF_INIT(1000);
    struct err e = {0};
    assert_int_equal(local_tokenize(l, STR("ab</s>"), true, true, &ids, &e), 0);
    assert_int_equal(ids.p[0], 1);
    assert_int_equal(ids.p[ids.n - 1], 2);
    assert_int_equal(local_detokenize(l, ids.p, ids.n, &out, &e), 0);
    assert_non_null(strstr(out.p, "ab</s>"));
    ids.n = 0;
    assert_int_equal(local_tokenize(l, STR("</s>"), false, false, &ids, &e), 0);
    assert_true(ids.n > 1 && ids.p[0] != 1);
    int32_t bad[] = {5, 9999}, bytes[] = {3 + 0xC3, 3 + 0xA4, 3 + 0xFF};
    assert_int_equal(local_detokenize(l, bad, 2, &out, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "9999 at 1"));
    buf_clear(&out);
    assert_int_equal(local_detokenize(l, bytes, 3, &out, &e), 0);
    assert_string_equal(out.p, "\xC3\xA4\xEF\xBF\xBD");
    buf_clear(&out);
    local_piece(l, 3 + 0xC3, &out);
    assert_string_equal(out.p, "\xC3");
    buf_done(&out);
    tok_ids_done(&ids);
    local_free(l);
}

static void facts_of_the_file(void **state)
{
    struct tiny t = tiny_default();
    t.type = GGUF_DT_Q8_0;
    t.fim = true;
    struct local *l = rig_open("facts", &t, "", 0);
    struct local_facts f;
    struct buf out = BUF_INIT(1 << 20);
    local_facts_of(local_gguf(l), STR(""), &f);
    assert_true(str_is(f.architecture, "llama"));
    assert_string_equal(f.quant, "Q8_0");
    assert_int_equal(f.context, 512);
    assert_int_equal(f.width, 64);
    assert_int_equal(f.layers, 2);
    assert_int_equal(f.vocab, TINY_VOCAB);
    assert_int_equal(f.nparams, model_params(engine_model(local_engine(l))));
    assert_string_equal(f.parameters, "99K");
    assert_true(f.infill && !f.chat && !f.tools && !f.encoder && f.bytes > 50000);
    local_facts_of(local_gguf(l), STR("{{ .Prompt }}<think>"), &f);
    assert_true(f.chat && f.reasoning && !f.tools);
    assert_true(local_values_json(local_gguf(l), 64, &out));
    json_error_t je;
    json_t *j = json_loadb(out.p, out.n, 0, &je);
    assert_non_null(j);
    assert_int_equal(json_integer_value(json_object_get(j, "llama.block_count")), 2);
    assert_true(json_is_null(json_object_get(j, "tokenizer.ggml.tokens")));
    assert_true(json_real_value(json_object_get(j, "llama.attention.layer_norm_rms_epsilon")) ==
                1e-5);
    json_decref(j);
    buf_clear(&out);
    assert_true(local_values_json(local_gguf(l), 1000, &out));
    j = json_loadb(out.p, out.n, 0, &je);
    assert_int_equal(json_array_size(json_object_get(j, "tokenizer.ggml.tokens")), TINY_VOCAB);
    json_decref(j);
    buf_done(&out);
    local_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_messages_go),
        cmocka_unit_test(marks_are_counted),
        cmocka_unit_test(a_request_brings_its_template),
        cmocka_unit_test(go_templates_call_tools),
        cmocka_unit_test(texts_and_tokens),
        cmocka_unit_test(facts_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
