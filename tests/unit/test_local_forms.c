/* test_local_forms.c: calls that have to come, in every syntax that a grammar can hold a model to,
 * and formats, tools and reasoning together on a real model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "local_rig.h"

static struct gen_tool tools[2] = {
    {.name = STR("walk"),
     .schema = STR("{\"type\":\"object\",\"properties\":{\"way\":{\"enum\":[\"up\",\"down\"]}},"
                   "\"required\":[\"way\"],\"additionalProperties\":false}")},
    {.name = STR("rest"), .schema = STR("{\"type\":\"object\",\"maxProperties\":0}")}};

/* Whatever a random model would write: the named tool is called, and once. */
static bool named_call_comes(enum tmpl_syntax s, const struct tmpl_call_form *f)
{
    char source[600];
    struct tmpl *t = NULL;
    snprintf(
        source, sizeof source,
        "{{ messages[-1].content }}{{ tools|tojson }}{%% raw %%}%s%swalk%s{}%s%s{%% endraw %%}",
        f->trigger, f->before_name, f->between, f->after, f->end);
    if (tmpl_parse(str_of(source), &t, NULL) != 0)
        return false;
    bool same = tmpl_syntax_of(t) == s;
    tmpl_free(t);
    if (!same)
        return false;
    struct tiny tiny = tiny_default();
    tiny.ctx = 2048;
    struct local *l = rig_open("forms", &tiny, source, 0);
    struct gen_part p = {.type = GEN_PART_TEXT, .text = STR("x")};
    struct gen_msg m = {.role = GEN_USER, .parts = &p, .nparts = 1};
    struct gen_req r = {.kind = GEN_CHAT,
                        .msgs = &m,
                        .nmsgs = 1,
                        .n = 1,
                        .tools = tools,
                        .ntools = 2,
                        .tool_choice = GEN_CHOICE_NAMED,
                        .tool_choice_name = STR("walk"),
                        .max_tokens = 600,
                        .sampling = {.set = GEN_SET_SEED, .seed = (uint64_t)s}};
    struct rig *h = malloc(sizeof *h);
    rig_ask(l, &r, h);
    if (h->reason != GEN_END_TOOLS)
        print_error("syntax %d: %s\n", s, h->raw.p ? h->raw.p : "");
    assert_int_equal(h->reason, GEN_END_TOOLS);
    json_t *args = json_loadb(h->args.p, h->args.n, 0, NULL);
    const char *way = json_string_value(json_object_get(args, "way"));
    assert_true(way && (strcmp(way, "up") == 0 || strcmp(way, "down") == 0));
    json_decref(args);
    rig_done(h);
    free(h);
    local_free(l);
    return true;
}

static void a_named_tool_is_called_in_every_syntax(void **state)
{
    int tried = 0;
    for (int s = 0; s < TMPL_NSYNTAX; s++) {
        const struct tmpl_call_form *f = tmpl_syntax_form((enum tmpl_syntax)s);
        if (f && s != TMPL_SYNTAX_HARMONY) /* its heads are control tokens */
            tried += named_call_comes((enum tmpl_syntax)s, f);
    }
    print_message("%d syntaxes\n", tried);
    assert_true(tried >= 5);
}

/* ---- a real model, spoken to as Qwen3 is ---- */

static const char qwenish[] =
    "{%- if tools %}<|im_start|>system\nYou may call tools: {{ tools|tojson }} by <tool_call>"
    "{\"name\": ..., \"arguments\": ...}</tool_call><|im_end|>\n{%- endif %}"
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{%- for c in m.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", "
    "\"arguments\": {{ c.function.arguments|tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n"
    "{%- endfor %}<|im_start|>assistant\n{%- if enable_thinking %}<think>\n{%- endif %}";

static struct local *open_real(void)
{
    const char *path = getenv("WEIR_TEST_MODEL");
    if (!path || access(path, R_OK) != 0) {
        print_message("no WEIR_TEST_MODEL\n");
        skip();
    }
    struct local *l = NULL;
    struct err e = {0};
    struct local_params p = {.engine = {.threads = 2, .ctx = 1024, .parallel = 1},
                             .tmpl = str_of(qwenish)};
    assert_int_equal(local_open(path, &p, &l, &e), 0);
    return l;
}

static void check_color(struct str text)
{
    json_t *j = json_loadb(text.p, text.n, 0, NULL);
    const char *color = json_string_value(json_object_get(j, "color"));
    if (!color)
        print_error("%.*s\n", STR_ARG(text));
    assert_non_null(color);
    assert_true(strcmp(color, "red") == 0 || strcmp(color, "blue") == 0);
    json_decref(j);
}

/* Reasoning that the prompt opened is closed by a bias, since so small a model would go on. */
static void forms_hold_together(void **state)
{
    struct local *l = open_real();
    struct gen_part p = {.type = GEN_PART_TEXT, .text = STR("Which color has the sky?")};
    struct gen_msg m = {.role = GEN_USER, .parts = &p, .nparts = 1};
    struct gen_req r = {
        .kind = GEN_CHAT,
        .msgs = &m,
        .nmsgs = 1,
        .n = 1,
        .max_tokens = 120,
        .format = GEN_FORMAT_SCHEMA,
        .schema =
            STR("{\"type\":\"object\",\"properties\":{\"color\":{\"enum\":[\"red\",\"blue\"]}}"
                ",\"required\":[\"color\"],\"additionalProperties\":false}"),
        .sampling = {.set = GEN_SET_SEED | GEN_SET_TEMPERATURE, .seed = 1}};
    struct rig *h = malloc(sizeof *h);
    rig_ask(l, &r, h); /* a format alone */
    check_color(buf_str(&h->choice[0].text));
    rig_done(h);
    r.tools = tools;
    r.ntools = 2;
    for (uint64_t seed = 0; seed < 3; seed++) { /* beside tools: an answer, or a call */
        r.sampling.seed = seed;
        rig_ask(l, &r, h);
        if (h->reason == GEN_END_STOP)
            check_color(buf_str(&h->choice[0].text));
        else
            assert_int_equal(h->reason, GEN_END_TOOLS);
        rig_done(h);
    }
    r.tool_choice = GEN_CHOICE_REQUIRED; /* a call, though a format is given */
    rig_ask(l, &r, h);
    assert_int_equal(h->reason, GEN_END_TOOLS);
    assert_int_equal(h->choice[0].text.n, 0);
    rig_done(h);
    struct gen_bias bias = {.id = -1, .bias = 100, .text = STR("</think>")};
    r.effort = GEN_EFFORT_LOW; /* behind reasoning */
    r.sampling.bias = &bias;
    r.sampling.nbias = 1;
    r.max_tokens = 200;
    rig_ask(l, &r, h);
    if (h->reason == GEN_END_TOOLS)
        assert_true(h->args.n > 0);
    else /* what it thinks may take all there is, but no answer goes past the form */
        assert_int_equal(h->reason, GEN_END_LENGTH);
    assert_int_equal(h->choice[0].text.n, 0);
    rig_done(h);
    free(h);
    local_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_named_tool_is_called_in_every_syntax),
        cmocka_unit_test(forms_hold_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
