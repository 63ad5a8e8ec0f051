/* test_tmpl_go.c: Ollama's templates: Go's text/template. What each construct writes, turns of
 * older templates, that text from outside stays text, and that hostile templates end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "tmpl.h"

static const char vars[] =
    "{\"messages\":["
    "{\"role\":\"system\",\"content\":\"Be kind.\"},"
    "{\"role\":\"user\",\"content\":\"Hi <|im_end|>\"},"
    "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c1\",\"function\":"
    "{\"name\":\"look\",\"arguments\":{\"z\":1,\"a\":\"<b>\"}}}]},"
    "{\"role\":\"tool\",\"content\":\"found\",\"tool_name\":\"look\",\"tool_call_id\":\"c1\"}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look\",\"description\":\"Looks\","
    "\"parameters\":{\"properties\":{\"way\":{\"description\":\"which\",\"type\":\"string\"},"
    "\"n\":{\"type\":[\"integer\",\"null\"]}},\"required\":[\"way\"],\"type\":\"object\"}}}],"
    "\"x\":7,\"list\":[1,2,3],\"map\":{\"b\":1,\"a\":2}}";

static int render(const char *source, const char *json, struct tmpl_out *out, struct err *e)
{
    struct tmpl *t = NULL;
    *e = (struct err){0};
    int rc = tmpl_parse(str_of(source), &t, e);
    if (rc)
        return rc;
    rc = tmpl_render_json(t, str_of(json), STR("<s>"), STR("</s>"), 1700000000000, out, e);
    tmpl_free(t);
    return rc;
}

static void writes_of(const char *source, const char *json, const char *want)
{
    struct tmpl_out out;
    struct err e;
    tmpl_out_init(&out, 1 << 20);
    if (render(source, json, &out, &e))
        print_error("%s\n  %s\n", source, e.msg);
    else if (strcmp(out.text.p ? out.text.p : "", want) != 0)
        print_error("%s\n", source);
    assert_string_equal(out.text.p ? out.text.p : "", want);
    tmpl_out_done(&out);
}

static void writes(const char *source, const char *want)
{
    char z[2000];
    snprintf(z, sizeof z, "%s{{ if .Messages }}{{ end }}", source); /* a newer template */
    writes_of(z, vars, want);
}

static void fails(const char *source, int code, const char *message)
{
    struct tmpl_out out;
    struct err e;
    tmpl_out_init(&out, 1 << 16);
    int rc = render(source, vars, &out, &e);
    if (rc != code || !strstr(e.msg, message))
        print_error("%s: %d %s\n", source, rc, e.msg);
    assert_int_equal(rc, code);
    assert_non_null(strstr(e.msg, message));
    tmpl_out_done(&out);
}

static void white_space_and_comments(void **state)
{
    writes("a {{- .x -}} b", "a7b");
    writes("a {{ .x }} b", "a 7 b");
    writes("a\n{{- /* gone */ -}}\n b", "ab");
    writes("a {{/* gone */}} b", "a  b");
    writes("{{\n.x\n}}", "7");
    writes("{{ .x }}\n\n{{- .x }}", "77");
    writes("{{- 3 -}} x", "3x");
    writes("{{ -3 }}", "-3");
}

static void values_and_functions(void **state)
{
    writes("{{ \"a\\tb\\u00e4\" }}{{ `raw \\n` }}{{ 'a' }}{{ 1.5 }}{{ true }}",
           "a\tb\xC3\xA4raw \\n97"
           "1.5true");
    writes("{{ len .list }}{{ len \"abc\" }}{{ index .list 1 }}{{ index .map \"a\" }}", "3322");
    writes("{{ slice \"hello\" 1 3 }}{{ slice .list 1 }}", "el[2,3]");
    writes("{{ eq .x 7 }}{{ eq .x 1 2 7 }}{{ ne .x 7 }}{{ lt 1 2 }}{{ ge 1 2 }}{{ le 2 2 }}{{ gt 3 "
           "1 }}",
           "truetruefalsetruefalsetruetrue");
    writes("{{ and 0 1 }}{{ and 1 2 }}{{ or 0 3 }}{{ or 0 \"\" }}{{ not nil }}", "023true");
}

/* The second argument of `or` is not looked at when the first decides. */
static void logic_looks_no_further(void **state)
{
    writes("{{ if or .x (index .list 99) }}x{{ end }}", "x");
    writes("{{ if and .absent (index .list 99) }}x{{ else }}y{{ end }}", "y");
    fails("{{ if .Messages }}{{ index .list 99 }}{{ end }}", ERR_FORMAT, "index");
}

static void pipelines_and_printing(void **state)
{
    writes("{{ .x | printf \"%d-%s\" 3 }}", "3-7");
    writes("{{ printf \"%5d|%-4s|%q|%v|%%|%03d|%.1f\" 42 \"ab\" \"c\\\"d\" .list 7 2.25 }}",
           "   42|ab  |\"c\\\"d\"|[1,2,3]|%|007|2.2");
    writes("{{ print 1 2 \"a\" \"b\" 3 }}{{ println \"x\" 1 }}", "1 2ab3x 1\n");
    writes("{{ json .map }}{{ toJson .list }}{{ .map }}",
           "{\"b\":1,\"a\":2}[1,2,3]{\"b\":1,\"a\":2}");
    writes("{{ json \"<a&\\n\" }}", "\"\\u003ca\\u0026\\n\"");
    writes("{{ len (print .x .x) }}", "3");
    writes("{{ .absent }}{{ .absent.deeper }}", "<no value><no value>");
    writes("{{ currentDate }} {{ yesterdayDate }}", "2023-11-14 2023-11-13");
}

static void control_flow(void **state)
{
    writes("{{ if .absent }}a{{ else if eq .x 7 }}b{{ else }}c{{ end }}", "b");
    writes("{{ range .list }}{{ . }},{{ end }}", "1,2,3,");
    writes("{{ range $i, $v := .list }}{{ $i }}{{ $v }} {{ end }}", "01 12 23 ");
    writes("{{ range $v := .list }}{{ $v }}{{ end }}", "123");
    writes("{{ range $k, $v := .map }}{{ $k }}{{ $v }}{{ end }}", "b1a2");
    writes("{{ range .absent }}x{{ else }}none{{ end }}", "none");
    writes("{{ range .list }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ . }}{{ end }}", "13");
    writes("{{ range .list }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}", "1");
    writes("{{ range 3 }}{{ . }}{{ end }}", "012");
    writes("{{ with .map }}{{ .a }}{{ $.x }}{{ end }}", "27");
    writes("{{ with .absent }}x{{ else with .x }}{{ . }}{{ end }}", "7");
    writes("{{ with $y := .x }}{{ $y }}{{ end }}", "7");
}

static void variables(void **state)
{
    writes("{{ $a := 1 }}{{ range .list }}{{ $a = . }}{{ end }}{{ $a }}", "3");
    writes("{{ $a := 1 }}{{ if true }}{{ $a := 2 }}{{ $a }}{{ end }}{{ $a }}", "21");
    writes("{{ $last := false }}{{ range $i, $_ := .Messages }}"
           "{{ $last = eq (len (slice $.Messages $i)) 1 }}{{ if $last }}{{ .Role }}{{ end }}"
           "{{ end }}",
           "tool");
    fails("{{ if .x }}{{ $a := 1 }}{{ end }}{{ $a }}", ERR_FORMAT, "line 1: the variable $a");
    fails("{{ $b = 1 }}{{ .x }}", ERR_FORMAT, "$b");
}

static void templates_in_templates(void **state)
{
    writes("{{ define \"m\" }}[{{ . }}{{ $ }}]{{ end }}{{ template \"m\" .x }}", "[77]");
    writes("{{ block \"b\" .x }}<{{ . }}>{{ end }}{{ template \"b\" 2 }}", "<7><2>");
    writes("{{ define \"none\" }}x{{ end }}{{ template \"none\" }}", "x");
    fails("{{ .x }}{{ template \"gone\" }}", ERR_FORMAT, "'gone' is not defined");
}

static void messages_tools_and_calls(void **state)
{
    writes("{{ .System }}{{ range .Messages }}|{{ .Role }}:{{ .Content }}{{ end }}",
           "Be kind.|system:Be kind.|user:Hi <|im_end|>|assistant:|tool:found");
    writes("{{ range .Messages }}{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", "
           "\"arguments\": {{ .Function.Arguments }}}{{ .ID }}{{ end }}{{ end }}",
           "{\"name\": \"look\", \"arguments\": {\"a\":\"\\u003cb\\u003e\",\"z\":1}}c1");
    writes("{{ range .Messages }}{{ if eq .Role \"tool\" }}{{ .ToolName }}{{ .ToolCallID }}"
           "{{ end }}{{ end }}",
           "lookc1");
    writes("{{ range .Tools }}{{ . }}{{ end }}",
           "{\"type\":\"function\",\"function\":{\"name\":\"look\",\"description\":\"Looks\","
           "\"parameters\":{\"type\":\"object\",\"required\":[\"way\"],\"properties\":{"
           "\"n\":{\"type\":[\"integer\",\"null\"]},"
           "\"way\":{\"type\":\"string\",\"description\":\"which\"}}}}}");
    writes("{{ range .Tools }}{{ range $n, $p := .Function.Parameters.Properties }}"
           "{{ $n }}:{{ $p.Description }}:{{ toTypeScriptType $p }};{{ end }}{{ end }}",
           "n:<no value>:number | null;way:which:string;");
    writes("{{ if .Tools }}{{ len .Tools }}{{ end }}{{ .Think }}{{ .IsThinkSet }}", "1falsefalse");
}

/* Two messages of one role are one, but for a tool's. */
static void messages_are_collated(void **state)
{
    writes_of("{{ range .Messages }}{{ .Role }}:{{ .Content }};{{ end }}",
              "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":"
              "[{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"tool\",\"content\":\"c\"},"
              "{\"role\":\"tool\",\"content\":\"d\"}]}",
              "user:a\n\nb;tool:c;tool:d;");
}

static void older_templates_have_turns(void **state)
{
    static const char talk[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":"
        "\"U1\"},{\"role\":\"assistant\",\"content\":\"A1\"},{\"role\":\"user\",\"content\":\"U2\"}"
        "]}";
    writes_of("{{ if .System }}[S]{{ .System }}{{ end }}[U]{{ .Prompt }}[A]{{ .Response }}[E]",
              talk, "[S]S[U]U1[A]A1[E][U]U2[A]");
    writes_of("{{ .System }}:{{ .Prompt }}:", talk, "S:U1:A1:U2:");
    writes_of("{{ .Prompt }}{{ if .Response }} {{ .Response }}!{{ end }}", talk, "U1 A1!U2");
    writes_of("{{ .Prompt }}", "{\"messages\":[{\"role\":\"user\",\"content\":\"only\"}]}", "only");
}

/* ---- taint ---- */

static struct gen_msg user_says(struct gen_part *p, const char *text)
{
    *p = (struct gen_part){.type = GEN_PART_TEXT, .text = str_of(text)};
    return (struct gen_msg){.role = GEN_USER, .parts = p, .nparts = 1};
}

/* Every byte of the marker is untrusted, whatever a template does to it. */
static void outside_text_is_marked(void **state)
{
    static const char *const sources[] = {
        "{{ range .Messages }}<s>{{ .Content }}</s>{{ end }}",
        "{{ range .Messages }}<s>{{ printf \"%s|%10s\" .Content .Content }}{{ end }}",
        "{{ range .Messages }}<s>{{ print .Content | print }}{{ end }}",
        "{{ range .Messages }}<s>{{ slice .Content 0 }}{{ end }}",
        "{{ range .Messages }}<s>{{ .Content | printf \"%q\" }}{{ json . }}{{ end }}",
        "{{define `m`}}{{.Content}}{{end}}{{range .Messages}}{{template `m` .}}{{end}}",
        "{{ $x := .Messages }}{{ with index $x 0 }}{{ .Content }}{{ end }}",
        "{{ .Messages }}",
        "<s>{{ .Prompt }}</s>{{ .Response }}",
    };
    struct gen_part part;
    struct gen_msg m = user_says(&part, "ZZZZ");
    struct gen_req req = {.kind = GEN_CHAT, .msgs = &m, .nmsgs = 1};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        struct tmpl *t = NULL;
        struct tmpl_out out;
        struct err e = {0};
        size_t marked = 0, at = 0;
        assert_int_equal(tmpl_parse(str_of(sources[i]), &t, &e), 0);
        tmpl_out_init(&out, 1 << 16);
        struct tmpl_vars v = {.req = &req};
        if (tmpl_render(t, &v, &out, &e))
            print_error("%s: %s\n", sources[i], e.msg);
        for (size_t k = 0; k < out.nruns; k++) {
            assert_int_equal(out.runs[k].from, at);
            at = out.runs[k].to;
            for (size_t b = out.runs[k].from; b < at; b++) {
                assert_int_equal(out.text.p[b] == 'Z', out.runs[k].untrusted);
                marked += out.text.p[b] == 'Z';
            }
        }
        assert_true(marked >= 4);
        tmpl_out_done(&out);
        tmpl_free(t);
    }
}

static void traits_and_syntax_are_found(void **state)
{
    static const char source[] =
        "{{- if .Tools }}Tools: {{ range .Tools }}{{ . }}{{ end }}{{ end }}"
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}"
        "{{- range .ToolCalls }}<tool_call>\n{\"name\": \"{{ .Function.Name }}\", \"arguments\": "
        "{{ .Function.Arguments }}}\n</tool_call>{{ end }}<|im_end|>\n{{ end }}"
        "<|im_start|>assistant\n";
    struct tmpl *t = NULL;
    struct tmpl_traits traits;
    struct err e = {0};
    assert_int_equal(tmpl_parse(str_of(source), &t, &e), 0);
    tmpl_describe(t, &traits);
    assert_true(traits.tools && traits.system && !traits.reasoning);
    assert_int_equal(tmpl_syntax_of(t), TMPL_SYNTAX_HERMES);
    tmpl_free(t);
    assert_int_equal(tmpl_parse(STR("{{ .Prompt }} <think>{{ .Response }}"), &t, &e), 0);
    tmpl_describe(t, &traits);
    assert_true(!traits.tools && !traits.system && traits.reasoning);
    tmpl_free(t);
}

/* A request's own parts: reasoning, calls and their results. */
static void requests_become_messages(void **state)
{
    struct gen_part call[3] = {
        {.type = GEN_PART_REASONING, .text = STR("hm")},
        {.type = GEN_PART_TOOL_CALL,
         .id = STR("i"),
         .name = STR("f"),
         .args = STR("{\"b\":1,\"a\":[]}")},
        {.type = GEN_PART_TOOL_CALL, .id = STR("j"), .name = STR("g"), .args = STR("no json")}};
    struct gen_part result[2] = {{.type = GEN_PART_TOOL_RESULT, .id = STR("j"), .text = STR("r")},
                                 {.type = GEN_PART_TEXT, .text = STR("and")}};
    struct gen_msg msgs[] = {{.role = GEN_ASSISTANT, .parts = call, .nparts = 3},
                             {.role = GEN_USER, .parts = result, .nparts = 2}};
    struct gen_req req = {.kind = GEN_CHAT, .msgs = msgs, .nmsgs = 2, .effort = GEN_EFFORT_LOW};
    struct tmpl *t = NULL;
    struct tmpl_out out;
    struct err e = {0};
    assert_int_equal(
        tmpl_parse(STR("{{ range .Messages }}{{ .Role }}({{ .Thinking }}{{ range .ToolCalls }}"
                       "{{ .Function.Name }}{{ .Function.Arguments }}{{ end }}{{ .ToolName }}"
                       "{{ .Content }}){{ end }}{{ .Think }}{{ .ThinkLevel }}"),
                   &t, &e),
        0);
    tmpl_out_init(&out, 1 << 16);
    struct tmpl_vars v = {.req = &req};
    assert_int_equal(tmpl_render(t, &v, &out, &e), 0);
    assert_string_equal(out.text.p,
                        "assistant(hmf{\"a\":[],\"b\":1}gno json)tool(gr)user(and)truelow");
    tmpl_out_done(&out);
    tmpl_free(t);
}

/* ---- errors and hostile templates ---- */

static void errors_name_the_place(void **state)
{
    fails("\n\n{{ if .x }}", ERR_FORMAT, "the if of line 3 has no end");
    fails("{{ .x }}\n{{ nope 1 }}", ERR_FORMAT, "line 2: there is no function 'nope'");
    fails("{{ .x }}{{ end }}", ERR_FORMAT, "an end without a block");
    fails("{{ .x }}{{ else }}", ERR_FORMAT, "an else without a block");
    fails("{{ .x", ERR_FORMAT, "an action has no end");
    fails("{{ .x }}{{ \"abc }}", ERR_FORMAT, "a string has no end");
    fails("{{ .x }}{{ /* abc }}", ERR_FORMAT, "a comment has no end");
    fails("{{ .x }}{{ (.x }}", ERR_FORMAT, "parentheses");
    fails("{{ .x }}{{ }}", ERR_FORMAT, "a command is missing");
    fails("{{ .x }}{{ break }}", ERR_FORMAT, "outside of a range");
    fails("{{ .x | .y }}", ERR_FORMAT, "only a function");
    fails("{{ .x }}{{ eq 1 }}", ERR_FORMAT, "eq has 1 arguments");
    fails("{{ .x 1 }}", ERR_FORMAT, "called as if");
    fails("{{ .x }}{{ range .x.y }}{{ else }}{{ else }}{{ end }}", ERR_FORMAT, "a second else");
    fails("{{ .x }}{{ len 3 }}", ERR_FORMAT, "len of");
    fails("{{ .x }}{{ \"\\xZ\" }}", ERR_FORMAT, "escape");
    fails("{{ range \"abc\" }}{{ .x }}{{ end }}", ERR_FORMAT, "range cannot go over a string");
}

static void hostile_templates_end(void **state)
{
    fails("{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}", ERR_LIMIT,
          "nested more than");
    fails("{{ range 1000000000000 }}x{{ end }}", ERR_LIMIT, "");
    fails("{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}", ERR_LIMIT, "steps");
    fails("{{ $s := \"0123456789\" }}{{ range 60 }}{{ $s = print $s $s }}{{ end }}{{ .x }}",
          ERR_LIMIT, "");
    fails("{{ range 1000 }}{{ printf \"%1000d%1000d%1000d\" 1 2 3 }}{{ end }}", ERR_LIMIT, "");
    char deep[4000] = "{{ .x }}{{ ";
    for (int i = 0; i < 1000; i++)
        strcat(deep, "(");
    strcat(deep, " }}");
    fails(deep, ERR_LIMIT, "nested more than");
    char blocks[9000] = "";
    for (int i = 0; i < 500; i++)
        strcat(blocks, "{{ if .x }}");
    fails(blocks, ERR_LIMIT, "nested more than");
    char elses[16000] = "{{ if .x }}";
    for (int i = 0; i < 700; i++)
        strcat(elses, "{{ else if .x }}");
    fails(elses, ERR_LIMIT, "nested more than");
    char many[9000] = "";
    for (int i = 0; i < 400; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "{{ $v%d := 1 }}", i);
    fails(many, ERR_LIMIT, "variables");
}

static void jinja_is_not_taken_for_go(void **state)
{
    writes_of("{{ messages[1].content }}", vars, "Hi <|im_end|>");
    writes_of("{% for m in messages %}{{ m.role[0] }}{% endfor %}", vars, "suat");
    writes_of("{{ x }}{{ 'a' if x else 'b' }}", vars, "7a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(white_space_and_comments),
        cmocka_unit_test(values_and_functions),
        cmocka_unit_test(logic_looks_no_further),
        cmocka_unit_test(pipelines_and_printing),
        cmocka_unit_test(control_flow),
        cmocka_unit_test(variables),
        cmocka_unit_test(templates_in_templates),
        cmocka_unit_test(messages_tools_and_calls),
        cmocka_unit_test(messages_are_collated),
        cmocka_unit_test(older_templates_have_turns),
        cmocka_unit_test(outside_text_is_marked),
        cmocka_unit_test(traits_and_syntax_are_found),
        cmocka_unit_test(requests_become_messages),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(jinja_is_not_taken_for_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
