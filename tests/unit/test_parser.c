/* test_parser.c: what models write, family by family: reasoning, text and parallel calls, whole, in
 * two pieces at every byte and byte by byte; broken off at every byte; which syntax a template
 * has; what is shown of control tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tmpl.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define SCHEMA                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":"            \
    "\"integer\"},\"o\":{\"type\":\"object\"},\"b\":{\"type\":\"boolean\"},\"l\":{\"type\":"       \
    "\"array\",\"items\":{\"type\":\"string\"}}}}"

static struct gen_tool tools[] = {
    {.name = {"f", 1}, .schema = {SCHEMA, sizeof SCHEMA - 1}},
    {.name = {"g.h-1", 5}},
    {.name = {"python", 6}},
};
static const struct gen_req req = {.tools = tools, .ntools = 3};

struct log {
    struct buf text;
    struct buf said; /* text and reasoning alone */
    enum gen_event_type last;
    int calls;
};

static void check_json(struct str s)
{
    json_t *j = json_loadb(s.p, s.n, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(j))
        print_error("arguments: %.*s\n", STR_ARG(s));
    assert_true(json_is_object(j));
    json_decref(j);
}

static enum gen_verdict note(void *ctx, const struct gen_event *ev)
{
    struct log *l = ctx;
    if (ev->type == GEN_EV_TEXT || ev->type == GEN_EV_REASONING) {
        if (l->last != ev->type)
            buf_puts(&l->text, ev->type == GEN_EV_TEXT ? "T:" : "R:");
        buf_str_add(&l->text, ev->text);
        buf_str_add(&l->said, ev->text);
    } else if (ev->type == GEN_EV_TOOL_BEGIN) {
        assert_true(ev->tool == l->calls && ev->id.n > 0 && ev->name.n > 0);
        bool own = !str_starts(ev->id, STR("call_")) && ev->id.n != 9;
        buf_printf(&l->text, "[%.*s", STR_ARG(ev->name));
        if (own)
            buf_printf(&l->text, "#%.*s", STR_ARG(ev->id));
    } else if (ev->type == GEN_EV_TOOL_ARGS) {
        check_json(ev->text);
        buf_str_add(&l->text, ev->text);
    } else {
        assert_int_equal(ev->type, GEN_EV_TOOL_END);
        buf_puts(&l->text, "]");
        l->calls++;
    }
    l->last = ev->type;
    return GEN_GO;
}

static struct log run(enum tmpl_syntax syntax, const struct gen_req *r, bool thinks,
                      const struct str *pieces, size_t n)
{
    struct log l = {.text = BUF_INIT(1 << 16), .said = BUF_INIT(1 << 16), .last = GEN_EV_DONE};
    bool called;
    struct tmpl_parser *p =
        tmpl_parser_new(syntax, r, 0, (struct gen_sink){.event = note, .ctx = &l});
    assert_non_null(p);
    if (thinks)
        tmpl_parser_thinks(p);
    for (size_t i = 0; i < n; i++)
        tmpl_parser_feed(p, pieces[i], NULL, 0);
    tmpl_parser_end(p, &called);
    assert_int_equal(called, l.calls > 0);
    tmpl_parser_free(p);
    buf_add(&l.text, "", 1);
    return l;
}

static void done(struct log *l)
{
    buf_done(&l->text);
    buf_done(&l->said);
}

static void writes(enum tmpl_syntax syntax, const struct gen_req *r, bool thinks, const char *z,
                   const char *want)
{
    size_t n = strlen(z);
    struct str bytes[4096];
    assert_true(n < 4096);
    for (size_t cut = 0; cut <= n; cut++) {
        struct str two[] = {str_n(z, cut), str_n(z + cut, n - cut)};
        struct log l = run(syntax, r, thinks, two, 2);
        if (strcmp(l.text.p, want) != 0)
            print_error("syntax %d, cut at %zu of: %s\n", (int)syntax, cut, z);
        assert_string_equal(l.text.p, want);
        done(&l);
    }
    for (size_t i = 0; i < n; i++)
        bytes[i] = str_n(z + i, 1);
    struct log l = run(syntax, r, thinks, bytes, n);
    assert_string_equal(l.text.p, want);
    done(&l);
}

/* Cut off anywhere: never an error, the same in pieces, and before the first call is whole nothing
 * of the text is lost but its marks of reasoning (`dropped` bytes at most). */
static void breaks_off(enum tmpl_syntax syntax, bool thinks, const char *z, size_t dropped)
{
    size_t n = strlen(z);
    struct str bytes[4096];
    for (size_t i = 0; i < n; i++)
        bytes[i] = str_n(z + i, 1);
    for (size_t end = 0; end < n; end++) {
        struct str one = str_n(z, end);
        struct log l = run(syntax, &req, thinks, &one, 1);
        struct log m = run(syntax, &req, thinks, bytes, end);
        if (strcmp(l.text.p, m.text.p) != 0)
            print_error("syntax %d, broken off at %zu of: %s\n", (int)syntax, end, z);
        assert_string_equal(l.text.p, m.text.p);
        if (!l.calls && l.said.n + dropped < end)
            print_error("syntax %d: %.*s\n became %.*s\n", (int)syntax, (int)end, z, (int)l.said.n,
                        l.said.p);
        assert_true(l.calls || l.said.n + dropped >= end);
        done(&l);
        done(&m);
    }
}

struct golden {
    enum tmpl_syntax syntax;
    bool thinks; /* the prompt has opened the reasoning */
    const char *text, *want;
    int dropped;
};

#define P "]<]minimax[>["
#define D "\xEF\xBD\x9C" /* the wide bar of DeepSeek's tokens */
#define L "\xE2\x96\x81"

static const struct golden goldens[] = {
    {TMPL_SYNTAX_HERMES, false,
     "<think>\nHm \xc3\xa4.\n</think>\n\nSure.\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
     "{\"s\": \"K\xc3\xb6ln </tool_call> {\", \"o\": {\"k\": [1, {\"a\": "
     "null}]}}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": "
     "{}}\n</tool_call>\nDone.",
     "R:Hm \xc3\xa4.T:Sure.[f{\"s\":\"K\xc3\xb6ln </tool_call> {\",\"o\":{\"k\":[1,{\"a\":null}]}}]"
     "[g{}]T:Done.",
     19},
    {TMPL_SYNTAX_HERMES, true, "Hm.</think>{\"name\": \"f\"}", "R:Hm.T:{\"name\": \"f\"}", 8},
    {TMPL_SYNTAX_QWEN_XML, true,
     "Hm.\n</think>\n\nSure.\n\n<tool_call>\n<function=f>\n<parameter=s>\n12\n</parameter>\n"
     "<parameter=n>\n3\n</parameter>\n<parameter=o>\n{\"k\": [1, true]}\n</parameter>\n"
     "<parameter=b>\nTrue\n</parameter>\n<parameter=x>\na</parameter>b \xf0\x9f\x98\x80\n"
     "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n"
     "</tool_call>",
     "R:Hm.T:Sure.[f{\"s\":\"12\",\"n\":3,\"o\":{\"k\":[1,true]},\"b\":true,\"x\":\"a</parameter>b "
     "\xf0\x9f\x98\x80\"}][g{}]",
     11},
    {TMPL_SYNTAX_QWEN_XML, false,
     "<function=f>\n<parameter=s>\na\nb\n</parameter>\n</function>\n</tool_call>",
     "[f{\"s\":\"a\\nb\"}]", 0},
    {TMPL_SYNTAX_SEED, false,
     "<seed:think>Hm.</seed:think>Sure.<seed:tool_call>\n<function=f>\n<parameter=s>x</parameter>\n"
     "</function>\n</seed:tool_call>",
     "R:Hm.T:Sure.[f{\"s\":\"x\"}]", 25},
    {TMPL_SYNTAX_LLAMA, false, "{\"name\": \"f\", \"parameters\": {\"s\": \"}\", \"n\": 1}}",
     "[f{\"s\":\"}\",\"n\":1}]", 0},
    {TMPL_SYNTAX_LLAMA, false,
     "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}; {\"name\": \"g.h-1\", "
     "\"parameters\": {\"x\": \"\xc3\xa4\"}}",
     "[f{}][g.h-1{\"x\":\"\xc3\xa4\"}]", 0},
    {TMPL_SYNTAX_LLAMA, false, "{\"name\": \"unknown\", \"parameters\": {}}",
     "T:{\"name\": \"unknown\", \"parameters\": {}}", 0},
    {TMPL_SYNTAX_LLAMA, false, "{\"answer\": 4} is it", "T:{\"answer\": 4} is it", 0},
    {TMPL_SYNTAX_LLAMA, false, "See {\"name\": \"f\"}", "T:See {\"name\": \"f\"}", 0},
    {TMPL_SYNTAX_LLAMA, false, "<|python_tag|>brave_search.call(query=\"a \\\"b\\\" )\", n=2)",
     "[brave_search{\"query\":\"a \\\"b\\\" )\",\"n\":2}]", 0},
    {TMPL_SYNTAX_LLAMA, false, "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"s\": \"x\"}}",
     "[f{\"s\":\"x\"}]", 0},
    {TMPL_SYNTAX_LLAMA, false, "Run:\n<|python_tag|>print(\"hi\")\nprint(2)",
     "T:Run:[python{\"code\":\"print(\\\"hi\\\")\\nprint(2)\"}]", 0},
    {TMPL_SYNTAX_MISTRAL, false,
     "[THINK]Hm.[/THINK]Sure.[TOOL_CALLS]f[ARGS]{\"s\": \"[TOOL_CALLS] }\"}[TOOL_CALLS]g[CALL_ID]"
     "abcdefghij[ARGS]{\"z\": {}}",
     "R:Hm.T:Sure.[f{\"s\":\"[TOOL_CALLS] }\"}][g#abcdefghij{\"z\":{}}]", 15},
    {TMPL_SYNTAX_MISTRAL_LIST, false,
     "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"s\": \"]\"}, \"id\": \"0123456789\"}, "
     "{\"name\": \"g\", \"arguments\": {}, \"id\": \"x\"}]",
     "[f#0123456789{\"s\":\"]\"}][g#x{}]", 0},
    {TMPL_SYNTAX_HARMONY, false,
     "<|channel|>analysis<|message|>Hm. \xc3\xa4<|end|><|start|>assistant<|channel|>commentary"
     "<|message|>Sure.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
     "<|constrain|>json<|message|>{\"s\": \"<|end|>\"}<|call|><|start|>assistant to=functions.g"
     "<|channel|>commentary json<|message|>{}",
     "R:Hm. \xc3\xa4T:Sure.[f{\"s\":\"<|end|>\"}][g{}]", 200},
    {TMPL_SYNTAX_HARMONY, false, "<|channel|>final<|message|>Four.", "T:Four.", 27},
    {TMPL_SYNTAX_HARMONY, false, "Plainly four.", "T:Plainly four.", 0},
    {TMPL_SYNTAX_DEEPSEEK, true,
     "Hm.</think>Sure.<" D "tool" L "calls" L "begin" D "><" D "tool" L "call" L "begin" D
     ">function<" D "tool" L "sep" D ">f\n```json\n{\"s\": \"```\"}\n```<" D "tool" L "call" L
     "end" D ">\n<" D "tool" L "call" L "begin" D ">function<" D "tool" L "sep" D
     ">g\n```json\n{}\n```<" D "tool" L "call" L "end" D "><" D "tool" L "calls" L "end" D ">",
     "R:Hm.T:Sure.[f{\"s\":\"```\"}][g{}]", 8},
    {TMPL_SYNTAX_DEEPSEEK, false,
     "Sure.<" D "tool" L "calls" L "begin" D "><" D "tool" L "call" L "begin" D ">f<" D "tool" L
     "sep" D ">{\"s\": \"x\"}<" D "tool" L "call" L "end" D "><" D "tool" L "call" L "begin" D
     ">g<" D "tool" L "sep" D ">{}<" D "tool" L "call" L "end" D "><" D "tool" L "calls" L "end" D
     ">",
     "T:Sure.[f{\"s\":\"x\"}][g{}]", 0},
    {TMPL_SYNTAX_DSML, true,
     "Hm.</think>Sure.\n\n<" D "DSML" D "function_calls>\n<" D "DSML" D "invoke name=\"f\">\n<" D
     "DSML" D "parameter name=\"s\" string=\"true\">3</" D "DSML" D "parameter>\n<" D "DSML" D
     "parameter name=\"n\" string=\"false\">3</" D "DSML" D "parameter>\n</" D "DSML" D
     "invoke>\n<" D "DSML" D "invoke name=\"g\">\n</" D "DSML" D "invoke>\n</" D "DSML" D
     "function_calls>",
     "R:Hm.T:Sure.[f{\"s\":\"3\",\"n\":3}][g{}]", 8},
    {TMPL_SYNTAX_DSML_V4, false,
     "<" D "DSML" D "tool_calls>\n<" D "DSML" D "invoke name=\"f\">\n<" D "DSML" D
     "parameter name=\"z\" string=\"true\">{}</" D "DSML" D "parameter>\n</" D "DSML" D
     "invoke>\n</" D "DSML" D "tool_calls>",
     "[f{\"z\":\"{}\"}]", 0},
    {TMPL_SYNTAX_KIMI, false,
     "<think>Hm.</think>Sure.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
     "<|tool_call_argument_begin|>{\"s\": "
     "\"<|tool_call_end|>\"}<|tool_call_end|><|tool_call_begin|>"
     "functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
     "R:Hm.T:Sure.[f#functions.f:0{\"s\":\"<|tool_call_end|>\"}][g#functions.g:1{}]", 15},
    {TMPL_SYNTAX_KIMI_K3, true,
     "Hm.<|close|>think<|sep|><|open|>response<|sep|>Sure.<|close|>response<|sep|><|open|>tools"
     "<|sep|><|open|>call tool=\"f\" index=\"1\"<|sep|><|open|>argument key=\"s\" type=\"string\""
     "<|sep|>1<|close|>argument<|sep|><|open|>argument key=\"o\" type=\"object\"<|sep|>{\"k\": 1}"
     "<|close|>argument<|sep|><|close|>call<|sep|><|open|>call tool=\"g\" index=\"2\"<|sep|>"
     "<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>",
     "R:Hm.T:Sure.[f{\"s\":\"1\",\"o\":{\"k\":1}}][g{}]", 70},
    {TMPL_SYNTAX_GLM, false,
     "\n<think>Hm.</think>\nSure.\n<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>1 </arg_value> "
     "x</arg_value>\n<arg_key>n</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n"
     "<tool_call>g\n</tool_call>",
     "R:Hm.T:Sure.[f{\"s\":\"1 </arg_value> x\",\"n\":3}][g{}]", 18},
    {TMPL_SYNTAX_GLM, true,
     "Hm.</think>Sure.<tool_call>f<arg_key>s</arg_key><arg_value>x</arg_value></tool_call>"
     "<tool_call>g</tool_call>",
     "R:Hm.T:Sure.[f{\"s\":\"x\"}][g{}]", 8},
    {TMPL_SYNTAX_HY, false,
     "<think:opensource>Hm.</think:opensource>Sure.<tool_calls:opensource>\n"
     "<tool_call:opensource>f<tool_sep:opensource>\n<arg_key:opensource>s</arg_key:opensource>\n"
     "<arg_value:opensource>x</arg_value:opensource>\n</tool_call:opensource>\n"
     "<tool_call:opensource>g<tool_sep:opensource>\n</tool_call:opensource>\n"
     "</tool_calls:opensource>",
     "R:Hm.T:Sure.[f{\"s\":\"x\"}][g{}]", 40},
    {TMPL_SYNTAX_MINIMAX, true,
     "Hm.\n</think>\n\nSure.\n<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"s\">3"
     "</parameter>\n<parameter name=\"l\">[\"a\"]</parameter>\n</invoke>\n<invoke name=\"g\">\n"
     "</invoke>\n</minimax:tool_call>",
     "R:Hm.T:Sure.[f{\"s\":\"3\",\"l\":[\"a\"]}][g{}]", 11},
    {TMPL_SYNTAX_MINIMAX_M3, false,
     "<mm:think>Hm.</mm:think>Sure." P "<tool_call>\n" P "<invoke name=\"f\">" P "<s>3" P "</s>" P
     "<n>3" P "</n>" P "<o>" P "<k>" P "<item>1" P "</item>" P "<item>true" P "</item>" P "</k>" P
     "</o>" P "</invoke>\n" P "<invoke name=\"g\">" P "</invoke>\n" P "</tool_call>",
     "R:Hm.T:Sure.[f{\"s\":\"3\",\"n\":3,\"o\":{\"k\":[1,true]}}][g{}]", 25},
    {TMPL_SYNTAX_MUSE, false,
     " to=self<|message|>Hm.<|eom|><|start|>assistant to=user<|message|>Sure.<|eom|><|start|>"
     "assistant to=f<|message|><atem:function_calls>\n<atem:invoke name=\"f\">\n"
     "<atem:parameter name=\"s\">3</atem:parameter>\n</atem:invoke>\n</atem:function_calls>",
     "R:Hm.T:Sure.[f{\"s\":\"3\"}]", 140},
    {TMPL_SYNTAX_FUNCTIONARY_31, false,
     "Sure.<function=f>{\"s\": \"</function>\"}</function><function=g>{}</function>",
     "T:Sure.[f{\"s\":\"</function>\"}][g{}]", 0},
    {TMPL_SYNTAX_FUNCTIONARY_31, false, "<|python_tag|>print(1)", "[python{\"code\":\"print(1)\"}]",
     0},
    {TMPL_SYNTAX_FUNCTIONARY_32, false, "all\nSure >>> x.>>>f\n{\"s\": \">>>\"}>>>g.h-1\n{}",
     "T:Sure >>> x.[f{\"s\":\">>>\"}][g.h-1{}]", 4},
    {TMPL_SYNTAX_FUNCTIONARY_32, false, "f\n{\"n\": 1}", "[f{\"n\":1}]", 0},
    {TMPL_SYNTAX_FIREFUNCTION, false,
     "Sure. functools[{\"name\": \"f\", \"arguments\": {\"s\": \"x\"}}, {\"name\": \"g\", "
     "\"arguments\": {}}]",
     "T:Sure.[f{\"s\":\"x\"}][g{}]", 0},
    {TMPL_SYNTAX_GRANITE, false,
     "<think>Hm.</think><response>Sure.</response><|tool_call|>[{\"name\": \"f\", \"arguments\": "
     "{\"s\": \"x\"}}, {\"name\": \"g\", \"arguments\": {}}]",
     "R:Hm.T:Sure.[f{\"s\":\"x\"}][g{}]", 36},
    {TMPL_SYNTAX_COHERE, true,
     "Hm.<|END_THINKING|><|START_TEXT|>Sure.<|END_TEXT|><|START_ACTION|>[\n    {\"tool_call_id\": "
     "\"0\", \"tool_name\": \"f\", \"parameters\": {\"s\": \"x\"}},\n    {\"tool_call_id\": \"1\", "
     "\"tool_name\": \"g\", \"parameters\": {}}\n]<|END_ACTION|>",
     "R:Hm.T:Sure.[f#0{\"s\":\"x\"}][g#1{}]", 50},
    {TMPL_SYNTAX_LFM2, false,
     "<think>Hm.</think>Sure.<|tool_call_start|>[f(s=\"a ]\\n\\u00e4\", n=-3, b=True, o={'k': [1, "
     "None]}, l=[]), g()]<|tool_call_end|>Done.",
     "R:Hm.T:Sure.[f{\"s\":\"a ]\\n\xc3\xa4\",\"n\":-3,\"b\":true,\"o\":{\"k\":[1,null]},\"l\":[]}]"
     "[g{}]T:Done.",
     15},
    {TMPL_SYNTAX_LFM2, false,
     "<|tool_call_start|>[{\"name\": \"f\", \"arguments\": {\"s\": \"x\"}}]<|tool_call_end|>",
     "[f{\"s\":\"x\"}]", 0},
    {TMPL_SYNTAX_OLMO, false, "<function_calls>f(s='x')\ng(a=1.5)</function_calls>",
     "[f{\"s\":\"x\"}][g{\"a\":1.5}]", 0},
    {TMPL_SYNTAX_APERTUS, false,
     "<|inner_prefix|>Hm.<|inner_suffix|>Sure.<|tools_prefix|>[{\"f\": {\"s\": \"x\"}}, {\"g\": "
     "{}}]<|tools_suffix|>",
     "R:Hm.T:Sure.[f{\"s\":\"x\"}][g{}]", 32},
    {TMPL_SYNTAX_NEMOTRON, true,
     "Hm.\n</think>\n\nSure.<TOOLCALL>[{\"name\": \"f\", \"arguments\": {\"s\": \"x\"}}, "
     "{\"name\": "
     "\"g\", \"arguments\": {}}]</TOOLCALL>",
     "R:Hm.T:Sure.[f{\"s\":\"x\"}][g{}]", 11},
    {TMPL_SYNTAX_APRIEL, false,
     "<thinking>Hm.</thinking>Sure.\n<tool_calls>[{\"name\": \"f\", \"arguments\": {\"s\": "
     "\"x\"}}, {\"name\": \"g\", \"arguments\": {}}]</tool_calls>",
     "R:Hm.T:Sure.[f{\"s\":\"x\"}][g{}]", 21},
    {TMPL_SYNTAX_GEMMA, false,
     "<|channel>thought\nHm.\n<channel|>Sure.<|tool_call>call:f{n:3,o:{k:[1,true]},s:<|\"|>a \"}"
     "<|\"|>}<tool_call|><|tool_call>call:g{}<tool_call|>",
     "R:Hm.T:Sure.[f{\"n\":3,\"o\":{\"k\":[1,true]},\"s\":\"a \\\"}\"}][g{}]", 30},
    {TMPL_SYNTAX_SOLAR, false,
     "<|think|>Hm.<|end|><|begin|>assistant<|content|>Sure.<|end|><|begin|>assistant<|tool_calls|>"
     "<|tool_call:begin|>0123456789<|tool_call:name|>f<|tool_call:args|>{\"s\": \"x\"}"
     "<|tool_call:end|><|tool_call:begin|>1123456789<|tool_call:name|>g<|tool_call:args|>{}"
     "<|tool_call:end|><|calls|>",
     "R:Hm.T:Sure.[f#0123456789{\"s\":\"x\"}][g#1123456789{}]", 80},
    {TMPL_SYNTAX_GIGACHAT, false,
     "Sure.<|function_call|>{\"name\": \"f\", \"arguments\": {\"s\": \"x\"}}",
     "T:Sure.[f{\"s\":\"x\"}]", 0},
};

static void every_family_in_pieces(void **state)
{
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        writes(goldens[i].syntax, &req, goldens[i].thinks, goldens[i].text, goldens[i].want);
}

static void broken_off_anywhere(void **state)
{
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        breaks_off(goldens[i].syntax, goldens[i].thinks, goldens[i].text,
                   (size_t)goldens[i].dropped);
}

/* ---- which syntax a template has ---- */

static const struct {
    const char *file;
    enum tmpl_syntax syntax;
} fixtures[] = {
    {"Apertus-8B-Instruct", TMPL_SYNTAX_APERTUS},
    {"Bielik-11B-v3.0-Instruct", TMPL_SYNTAX_HERMES},
    {"Cohere2MoE", TMPL_SYNTAX_COHERE},
    {"GLM-4.6", TMPL_SYNTAX_GLM},
    {"GigaChat3.1-10B-A1.8B", TMPL_SYNTAX_GIGACHAT},
    {"Kimi-K2-Instruct", TMPL_SYNTAX_KIMI},
    {"Kimi-K2-Thinking", TMPL_SYNTAX_KIMI},
    {"Kimi-K3", TMPL_SYNTAX_KIMI_K3},
    {"LFM2-8B-A1B", TMPL_SYNTAX_LFM2},
    {"MiniMax-M2", TMPL_SYNTAX_MINIMAX},
    {"MiniMax-M3", TMPL_SYNTAX_MINIMAX_M3},
    {"Mistral-Small-3.2-24B-Instruct-2506", TMPL_SYNTAX_MISTRAL},
    {"NVIDIA-Nemotron-Nano-v2", TMPL_SYNTAX_NEMOTRON},
    {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", TMPL_SYNTAX_HERMES},
    {"Qwen-QwQ-32B", TMPL_SYNTAX_HERMES},
    {"Qwen3-Coder", TMPL_SYNTAX_QWEN_XML},
    {"Qwen3.5-4B", TMPL_SYNTAX_QWEN_XML},
    {"Reka-Edge", TMPL_SYNTAX_HERMES},
    {"Spark2.5", TMPL_SYNTAX_GLM},
    {"deepseek-ai-DeepSeek-V3.2", TMPL_SYNTAX_DSML},
    {"deepseek-ai-DeepSeek-V4-Flash-0731", TMPL_SYNTAX_DSML_V4},
    {"fireworks-ai-llama-3-firefunction-v2", TMPL_SYNTAX_FIREFUNCTION},
    {"google-gemma-2-2b-it", TMPL_SYNTAX_PLAIN},
    {"google-gemma-4-31B-it-interleaved", TMPL_SYNTAX_GEMMA},
    {"google-gemma-4-31B-it", TMPL_SYNTAX_GEMMA},
    {"ibm-granite-granite-4.0", TMPL_SYNTAX_HERMES},
    {"inclusionai-ling-3.0-flash", TMPL_SYNTAX_GLM},
    {"llama-cpp-deepseek-r1", TMPL_SYNTAX_DEEPSEEK},
    {"llama-cpp-rwkv-world", TMPL_SYNTAX_THINK},
    {"meetkai-functionary-medium-v3.1", TMPL_SYNTAX_FUNCTIONARY_31},
    {"meetkai-functionary-medium-v3.2", TMPL_SYNTAX_FUNCTIONARY_32},
    {"meta-llama-Llama-3.1-8B-Instruct", TMPL_SYNTAX_LLAMA},
    {"meta-llama-Llama-3.2-3B-Instruct", TMPL_SYNTAX_LLAMA},
    {"mistralai-Ministral-3-14B-Reasoning-2512", TMPL_SYNTAX_MISTRAL},
    {"mistralai-Mistral-Nemo-Instruct-2407", TMPL_SYNTAX_MISTRAL_LIST},
    {"moonshotai-Kimi-K2", TMPL_SYNTAX_KIMI},
    {"muse-glimmer", TMPL_SYNTAX_MUSE},
    {"openai-gpt-oss-120b", TMPL_SYNTAX_HARMONY},
    {"poolside-Laguna-S-2.1", TMPL_SYNTAX_GLM},
    {"poolside-Laguna-XS-2.1", TMPL_SYNTAX_GLM},
    {"poolside-Laguna-XS.2", TMPL_SYNTAX_GLM},
    {"tencent-Hy3", TMPL_SYNTAX_HY},
    {"unsloth-Apriel-1.5", TMPL_SYNTAX_APRIEL},
    {"unsloth-mistral-Devstral-Small-2507", TMPL_SYNTAX_MISTRAL},
    {"upstage-Solar-Open-100B", TMPL_SYNTAX_SOLAR},
};

static struct tmpl *read_template(const char *name)
{
    const char *base = getenv("WEIR_FIXTURES"), *root = getenv("WEIR_SOURCE");
    char path[2048];
    struct buf b = BUF_INIT(1 << 20);
    struct tmpl *t = NULL;
    if (base)
        snprintf(path, sizeof path, "%s/templates/jinja/%s.jinja", base, name);
    else
        snprintf(path, sizeof path, "%s/../shared/fixtures/templates/jinja/%s.jinja",
                 root ? root : ".", name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_message("no template at %s\n", path);
        return NULL;
    }
    for (char block[4096]; !feof(f);)
        buf_add(&b, block, fread(block, 1, sizeof block, f));
    fclose(f);
    assert_int_equal(tmpl_parse(buf_str(&b), &t, NULL), 0);
    buf_done(&b);
    return t;
}

static void templates_say_which(void **state)
{
    int seen = 0;
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        struct tmpl *t = read_template(fixtures[i].file);
        if (!t)
            continue;
        enum tmpl_syntax s = tmpl_syntax_of(t);
        struct tmpl_traits is;
        tmpl_describe(t, &is);
        if (s != fixtures[i].syntax)
            print_error("%s: %d\n", fixtures[i].file, (int)s);
        assert_int_equal(s, fixtures[i].syntax);
        if (tmpl_syntax_calls(s) && !is.tools)
            print_error("%s shows no tools\n", fixtures[i].file);
        assert_true(is.tools == tmpl_syntax_calls(s));
        tmpl_free(t);
        seen++;
    }
    if (!seen)
        skip();
}

/* What a template writes of a past call, the parser reads as that call. */
static void what_templates_write_is_read(void **state)
{
    struct gen_part user = {.type = GEN_PART_TEXT, .text = STR("mark-of-user")};
    struct gen_part call = {.type = GEN_PART_TOOL_CALL,
                            .id = STR("abcdefgh1"),
                            .name = STR("f"),
                            .args = STR("{\"s\":\"1\",\"n\":3,\"o\":{\"k\":[1,true]}}")};
    struct gen_msg msgs[] = {{.role = GEN_USER, .parts = &user, .nparts = 1},
                             {.role = GEN_ASSISTANT, .parts = &call, .nparts = 1}};
    struct gen_req asked = {.msgs = msgs, .nmsgs = 1, .tools = tools, .ntools = 3};
    struct gen_req answered = {.msgs = msgs, .nmsgs = 2, .tools = tools, .ntools = 3};
    int seen = 0;
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        struct tmpl *t = read_template(fixtures[i].file);
        if (!t)
            continue;
        seen++;
        struct tmpl_vars before = {.req = &asked, .add_generation_prompt = true};
        struct tmpl_vars after = {.req = &answered};
        struct tmpl_out a, b;
        tmpl_out_init(&a, 1 << 20);
        tmpl_out_init(&b, 1 << 20);
        bool lfm = fixtures[i].syntax == TMPL_SYNTAX_LFM2; /* shows no calls of the past */
        if (!lfm && tmpl_syntax_calls(fixtures[i].syntax) &&
            tmpl_render(t, &before, &a, NULL) == 0 && tmpl_render(t, &after, &b, NULL) == 0) {
            size_t n = 0;
            while (n < a.text.n && n < b.text.n && a.text.p[n] == b.text.p[n])
                n++;
            while (n < a.text.n && n > 0 && b.text.p[n - 1] != '>')
                n--; /* not inside a tag */
            struct str wrote = str_n(b.text.p + n, b.text.n - n);
            bool thinks =
                tmpl_syntax_opens_thinking(fixtures[i].syntax, str_n(b.text.p, n)) && n == a.text.n;
            struct log l = run(fixtures[i].syntax, &answered, thinks, &wrote, 1);
            if (l.calls != 1 || !strstr(l.text.p, "[f"))
                print_error("%s: %.*s\nread as %s\n", fixtures[i].file, STR_ARG(wrote), l.text.p);
            assert_int_equal(l.calls, 1);
            assert_non_null(strstr(l.text.p, "\"s\":\"1\""));
            assert_non_null(strstr(l.text.p, "\"n\":3"));
            assert_non_null(strstr(l.text.p, "\"o\":{\"k\":[1,true]}"));
            done(&l);
        } else if (tmpl_syntax_calls(fixtures[i].syntax) && !lfm) {
            print_error("%s does not render\n", fixtures[i].file);
            fail();
        }
        tmpl_out_done(&a);
        tmpl_out_done(&b);
        tmpl_free(t);
    }
    if (!seen)
        skip();
}

/* ---- the rest ---- */

static void without_tools_calls_are_text(void **state)
{
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        struct str z = str_of(goldens[i].text);
        struct log l = run(goldens[i].syntax, NULL, goldens[i].thinks, &z, 1);
        assert_int_equal(l.calls, 0);
        done(&l);
    }
}

static void control_tokens_of_the_syntax_alone(void **state)
{
    struct gen_sink sink = {.event = note};
    struct tmpl_parser *p = tmpl_parser_new(TMPL_SYNTAX_MISTRAL, &req, 0, sink);
    assert_true(tmpl_parser_wants(p, STR("[TOOL_CALLS]")) && tmpl_parser_wants(p, STR("[ARGS]")));
    assert_true(tmpl_parser_wants(p, STR("[CALL_ID]")) && tmpl_parser_wants(p, STR("[THINK]")));
    assert_false(tmpl_parser_wants(p, STR("[INST]")) || tmpl_parser_wants(p, STR("")));
    tmpl_parser_free(p);
    p = tmpl_parser_new(TMPL_SYNTAX_MISTRAL, NULL, 0, sink);
    assert_false(tmpl_parser_wants(p, STR("[TOOL_CALLS]")));
    assert_true(tmpl_parser_wants(p, STR("[/THINK]")));
    tmpl_parser_free(p);
    p = tmpl_parser_new(TMPL_SYNTAX_HARMONY, NULL, 0, sink);
    assert_true(tmpl_parser_wants(p, STR("<|message|>")) && tmpl_parser_wants(p, STR("<|start|>")));
    tmpl_parser_free(p);
    p = tmpl_parser_new(TMPL_SYNTAX_PLAIN, &req, 0, sink);
    assert_false(tmpl_parser_wants(p, STR("<tool_call>")));
    tmpl_parser_free(p);
}

/* What the form says is written, the parser reads. */
static void forms_are_calls(void **state)
{
    int seen = 0;
    for (int i = 0; i < TMPL_NSYNTAX; i++) {
        const struct tmpl_call_form *f = tmpl_syntax_form((enum tmpl_syntax)i);
        if (!f)
            continue;
        struct buf b = BUF_INIT(4096);
        int calls = f->separator ? 2 : 1;
        buf_puts(&b, f->trigger);
        for (int k = 0; k < calls; k++) {
            if (k)
                buf_puts(&b, f->separator);
            buf_printf(&b, "%sf%s{\"s\": \"x\"}%s", f->before_name, f->between, f->after);
        }
        if (f->end)
            buf_puts(&b, f->end);
        struct str z = buf_str(&b);
        struct log l = run((enum tmpl_syntax)i, &req, false, &z, 1);
        if (l.calls != calls)
            print_error("syntax %d: %.*s\nread as %s\n", i, STR_ARG(z), l.text.p);
        assert_int_equal(l.calls, calls);
        assert_int_equal(l.said.n, 0);
        done(&l);
        buf_done(&b);
        seen++;
    }
    assert_true(seen >= 10);
}

/* A long value arriving in small pieces takes linear time: nothing is looked at twice. */
static void long_arguments_are_no_burden(void **state)
{
    static char text[1 << 20];
    const struct {
        enum tmpl_syntax syntax;
        const char *head;
    } kinds[] = {{TMPL_SYNTAX_HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\""},
                 {TMPL_SYNTAX_QWEN_XML, "<function=f>\n<parameter=s>\n"},
                 {TMPL_SYNTAX_GEMMA, "<|tool_call>call:f{s:<|\"|>"},
                 {TMPL_SYNTAX_LFM2, "<|tool_call_start|>[f(s='"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct log l = {.text = BUF_INIT(1 << 22), .said = BUF_INIT(1 << 22)};
        struct tmpl_parser *p =
            tmpl_parser_new(kinds[i].syntax, &req, 0, (struct gen_sink){.event = note, .ctx = &l});
        memset(text, 'a', sizeof text);
        tmpl_parser_feed(p, str_of(kinds[i].head), NULL, 0);
        for (size_t at = 0; at < sizeof text; at += 4)
            tmpl_parser_feed(p, str_n(text + at, 4), NULL, 0);
        assert_int_equal(l.said.n, 0);
        tmpl_parser_end(p, NULL);
        assert_int_equal(l.said.n, sizeof text + strlen(kinds[i].head));
        tmpl_parser_free(p);
        done(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_in_pieces),
        cmocka_unit_test(broken_off_anywhere),
        cmocka_unit_test(templates_say_which),
        cmocka_unit_test(what_templates_write_is_read),
        cmocka_unit_test(without_tools_calls_are_text),
        cmocka_unit_test(control_tokens_of_the_syntax_alone),
        cmocka_unit_test(forms_are_calls),
        cmocka_unit_test(long_arguments_are_no_burden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
