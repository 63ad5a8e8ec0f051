/* tmpl_syntax.c: the table of syntaxes in which models call tools and think, and which of them a
 * template belongs to. A family that writes like another one is a row here, not code. */
#include "tmpl_parser_int.h"

#define THINK_TAGS                                                                                 \
    {"<think>", ACT_THINK, IN_TEXT | AT_FIRST | SKIP},                                             \
    {                                                                                              \
        "</think>", ACT_TEXT, IN_THINK | SKIP                                                      \
    }
#define THINKS(open, close)                                                                        \
    {open, ACT_THINK, IN_TEXT | SKIP},                                                             \
    {                                                                                              \
        close, ACT_TEXT, IN_THINK | SKIP                                                           \
    }
#define CALLS(open)                                                                                \
    {                                                                                              \
        open, ACT_CALL, IN_TEXT                                                                    \
    }
/* In these no reasoning mentions the mark by chance: it ends the reasoning. */
#define CALLS_ANYWHERE(open)                                                                       \
    {                                                                                              \
        open, ACT_CALL, IN_TEXT | IN_THINK                                                         \
    }
#define DROPPED(text)                                                                              \
    {                                                                                              \
        text, ACT_TEXT, IN_TEXT                                                                    \
    }
#define M3 "]<]minimax[>["
#define MISTRAL_MARKS                                                                              \
    .marks = {THINKS("[THINK]", "[/THINK]"), THINK_TAGS, CALLS_ANYWHERE("[TOOL_CALLS]")},          \
    .call = {BODY_MISTRAL, .open = "[TOOL_CALLS]", .name_end = "[ARGS]"}
#define LIST_FORM(begin, name, args, stop)                                                         \
    .form = {.trigger = begin,                                                                     \
             .before_name = name,                                                                  \
             .between = args,                                                                      \
             .after = "}",                                                                         \
             .separator = ", ",                                                                    \
             .end = stop}

static const struct syntax_row rows[TMPL_NSYNTAX] = {
    [TMPL_SYNTAX_THINK] = {.marks = {THINK_TAGS}, .probe = {"<think>"}},
    [TMPL_SYNTAX_HERMES] = {.marks = {THINK_TAGS, CALLS("<tool_call>")},
                            .call = {BODY_JSON, .open = "<tool_call>", .close = "</tool_call>"},
                            .form = {.trigger = "<tool_call>",
                                     .before_name = "\n{\"name\": \"",
                                     .between = "\", \"arguments\": ",
                                     .after = "}\n</tool_call>",
                                     .separator = "\n<tool_call>"},
                            .probe = {"<tool_call>"}},
    [TMPL_SYNTAX_QWEN_XML] = {.marks = {THINK_TAGS, CALLS("<tool_call>"), CALLS("<function=")},
                              .call = {BODY_PARAMS, .open = "<function=", .close = "</function>",
                                       .end = "</tool_call>", .name_end = ">",
                                       .param = "<parameter=", .key_end = ">",
                                       .param_end = "</parameter>", .trim_lines = true},
                              .probe = {"<function=", "<parameter="}},
    [TMPL_SYNTAX_SEED] = {.marks = {{"<seed:think>", ACT_THINK, IN_TEXT | SKIP},
                                    {"</seed:think>", ACT_TEXT, IN_THINK | SKIP},
                                    CALLS_ANYWHERE("<seed:tool_call>")},
                          .call = {BODY_PARAMS, .open = "<function=", .close = "</function>",
                                   .end = "</seed:tool_call>", .name_end = ">",
                                   .param = "<parameter=", .key_end = ">",
                                   .param_end = "</parameter>", .trim_lines = true},
                          .probe = {"<seed:tool_call>"}},
    [TMPL_SYNTAX_LLAMA] = {.marks = {THINK_TAGS, CALLS("<|python_tag|>")},
                           .call = {BODY_PYTAG},
                           .bare = true,
                           .form = {.trigger = "{\"name\": \"",
                                    .before_name = "",
                                    .between = "\", \"parameters\": ",
                                    .after = "}"},
                           .probe = {"<|python_tag|>"}},
    [TMPL_SYNTAX_MISTRAL] = {MISTRAL_MARKS,
                             .form = {.trigger = "[TOOL_CALLS]",
                                      .before_name = "",
                                      .between = "[ARGS]",
                                      .after = "",
                                      .separator = "[TOOL_CALLS]"},
                             .probe = {"[TOOL_CALLS]", "[ARGS]"}},
    [TMPL_SYNTAX_MISTRAL_LIST] = {MISTRAL_MARKS,
                                  LIST_FORM("[TOOL_CALLS][", "{\"name\": \"",
                                            "\", \"arguments\": ", "]"),
                                  .probe = {"[TOOL_CALLS]"}},
    [TMPL_SYNTAX_HARMONY] = {.marks = {{"<|end|>", ACT_HEAD, IN_TEXT | IN_THINK},
                                       {"<|call|>", ACT_HEAD, IN_TEXT | IN_THINK},
                                       {"<|return|>", ACT_HEAD, IN_TEXT | IN_THINK},
                                       {"<|start|>", ACT_HEAD, IN_TEXT | IN_THINK | KEEP},
                                       {"<|channel|>", ACT_HEAD, IN_TEXT | IN_THINK | KEEP}},
                             .call = {BODY_NAMED},
                             .head = HEAD_HARMONY,
                             .form = {.trigger = " to=functions.",
                                      .before_name = "",
                                      .between = " <|constrain|>json<|message|>",
                                      .after = ""},
                             .starts_in_head = true,
                             .probe = {"<|channel|>", "<|message|>"}},
    [TMPL_SYNTAX_DEEPSEEK] = {.marks = {THINK_TAGS, CALLS_ANYWHERE("<｜tool▁calls▁begin｜>"),
                                        CALLS_ANYWHERE("<｜tool▁call▁begin｜>")},
                              .call = {BODY_NAMED, .open = "<｜tool▁call▁begin｜>",
                                       .close = "<｜tool▁call▁end｜>",
                                       .end = "<｜tool▁calls▁end｜>", .name_end = "<｜tool▁sep｜>"},
                              .probe = {"<｜tool▁calls▁begin｜>"}},
    [TMPL_SYNTAX_DSML] = {.marks = {THINK_TAGS, CALLS_ANYWHERE("<｜DSML｜function_calls>")},
                          .call = {BODY_PARAMS, .open = "<｜DSML｜invoke name=\"",
                                   .close = "</｜DSML｜invoke>", .end = "</｜DSML｜function_calls>",
                                   .name_end = "\"", .attr_end = ">",
                                   .param = "<｜DSML｜parameter name=\"", .key_end = "\"",
                                   .param_attr_end = ">", .param_end = "</｜DSML｜parameter>"},
                          .probe = {"<｜DSML｜function_calls>"}},
    [TMPL_SYNTAX_DSML_V4] = {.marks = {THINK_TAGS, CALLS_ANYWHERE("<｜DSML｜tool_calls>")},
                             .call = {BODY_PARAMS, .open = "<｜DSML｜invoke name=\"",
                                      .close = "</｜DSML｜invoke>", .end = "</｜DSML｜tool_calls>",
                                      .name_end = "\"", .attr_end = ">",
                                      .param = "<｜DSML｜parameter name=\"", .key_end = "\"",
                                      .param_attr_end = ">", .param_end = "</｜DSML｜parameter>"},
                             .probe = {"<｜DSML｜tool_calls>"}},
    [TMPL_SYNTAX_KIMI] = {.marks = {THINK_TAGS, CALLS_ANYWHERE("<|tool_calls_section_begin|>"),
                                    CALLS_ANYWHERE("<|tool_call_begin|>")},
                          .call = {BODY_NAMED, .open = "<|tool_call_begin|>",
                                   .close = "<|tool_call_end|>",
                                   .end = "<|tool_calls_section_end|>",
                                   .name_end = "<|tool_call_argument_begin|>"},
                          .form = {.trigger = "<|tool_calls_section_begin|>",
                                   .before_name = "<|tool_call_begin|>functions.",
                                   .between = ":0<|tool_call_argument_begin|>",
                                   .after = "<|tool_call_end|>",
                                   .end = "<|tool_calls_section_end|>"},
                          .probe = {"<|tool_calls_section_begin|>"}},
    [TMPL_SYNTAX_KIMI_K3] =
        {.marks = {THINKS("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
                   CALLS_ANYWHERE("<|open|>tools<|sep|>"), DROPPED("<|open|>response<|sep|>"),
                   DROPPED("<|close|>response<|sep|>"), DROPPED("<|close|>message<|sep|>"),
                   DROPPED("<|end_of_msg|>")},
         .call = {BODY_PARAMS, .open = "<|open|>call tool=\"", .close = "<|close|>call<|sep|>",
                  .end = "<|close|>tools<|sep|>", .name_end = "\"", .attr_end = "<|sep|>",
                  .param = "<|open|>argument key=\"", .key_end = "\"", .param_attr_end = "<|sep|>",
                  .param_end = "<|close|>argument<|sep|>"},
         .probe = {"<|open|>", "<|sep|>"}},
    [TMPL_SYNTAX_GLM] = {.marks = {THINK_TAGS, CALLS("<tool_call>")},
                         .call = {BODY_PARAMS, .open = "<tool_call>", .close = "</tool_call>",
                                  .param = "<arg_key>", .key_end = "</arg_key>",
                                  .param_attr_end = "<arg_value>", .param_end = "</arg_value>"},
                         .probe = {"<tool_call>", "<arg_key>"}},
    [TMPL_SYNTAX_HY] =
        {.marks = {THINKS("<think:opensource>", "</think:opensource>"),
                   CALLS("<tool_calls:opensource>"), CALLS("<tool_call:opensource>")},
         .call = {BODY_PARAMS, .open = "<tool_call:opensource>", .close = "</tool_call:opensource>",
                  .end = "</tool_calls:opensource>", .name_end = "<tool_sep:opensource>",
                  .param = "<arg_key:opensource>", .key_end = "</arg_key:opensource>",
                  .param_attr_end = "<arg_value:opensource>",
                  .param_end = "</arg_value:opensource>"},
         .probe = {"<tool_calls:opensource>"}},
    [TMPL_SYNTAX_MINIMAX] = {.marks = {THINK_TAGS, CALLS_ANYWHERE("<minimax:tool_call>")},
                             .call = {BODY_PARAMS, .open = "<invoke name=\"", .close = "</invoke>",
                                      .end = "</minimax:tool_call>", .name_end = "\"",
                                      .attr_end = ">", .param = "<parameter name=\"",
                                      .key_end = "\"", .param_attr_end = ">",
                                      .param_end = "</parameter>"},
                             .probe = {"<minimax:tool_call>"}},
    [TMPL_SYNTAX_MINIMAX_M3] = {.marks = {THINKS("<mm:think>", "</mm:think>"),
                                          {"</mm:think>", ACT_TEXT, IN_TEXT | AT_FIRST | SKIP},
                                          CALLS_ANYWHERE(M3 "<tool_call>")},
                                .call = {BODY_NESTED, .open = M3 "<invoke name=\"",
                                         .close = M3 "</invoke>", .end = M3 "</tool_call>",
                                         .name_end = "\"", .attr_end = ">"},
                                .probe = {M3 "<tool_call>"}},
    [TMPL_SYNTAX_MUSE] = {.marks = {CALLS_ANYWHERE("<atem:function_calls>"),
                                    {"<|eom|>", ACT_HEAD, IN_TEXT | IN_THINK},
                                    {"<|eot|>", ACT_HEAD, IN_TEXT | IN_THINK},
                                    {"<|start|>", ACT_HEAD, IN_TEXT | IN_THINK | KEEP}},
                          .call = {BODY_PARAMS, .open = "<atem:invoke name=\"",
                                   .close = "</atem:invoke>", .end = "</atem:function_calls>",
                                   .name_end = "\"", .attr_end = ">",
                                   .param = "<atem:parameter name=\"", .key_end = "\"",
                                   .param_attr_end = ">", .param_end = "</atem:parameter>"},
                          .head = HEAD_MUSE,
                          .starts_in_head = true,
                          .probe = {"<atem:function_calls>"}},
    [TMPL_SYNTAX_FUNCTIONARY_31] =
        {.marks = {THINK_TAGS, CALLS("<function="), CALLS("<|python_tag|>")},
         .call = {BODY_NAMED, .open = "<function=", .close = "</function>", .name_end = ">"},
         .form = {.trigger = "<function=",
                  .before_name = "",
                  .between = ">",
                  .after = "</function>",
                  .separator = "<function="},
         .probe = {"<function=", "</function>"}},
    [TMPL_SYNTAX_FUNCTIONARY_32] = {.marks = {{">>>", ACT_HEAD, IN_TEXT | KEEP}},
                                    .call = {BODY_NAMED},
                                    .head = HEAD_LINE,
                                    .starts_in_head = true,
                                    .probe = {">>>all"}},
    [TMPL_SYNTAX_FIREFUNCTION] = {.marks = {{"functools[", ACT_CALL, IN_TEXT | LAST_BYTE}},
                                  .call = {BODY_JSON},
                                  LIST_FORM("functools[", "{\"name\": \"",
                                            "\", \"arguments\": ", "]"),
                                  .probe = {"functools["}},
    [TMPL_SYNTAX_GRANITE] = {.marks = {THINK_TAGS,
                                       CALLS("<|tool_call|>"),
                                       CALLS("<tool_call>"),
                                       DROPPED("<|/tool_call|>"),
                                       DROPPED("</tool_call>"),
                                       {"<response>", ACT_TEXT, IN_TEXT | SKIP},
                                       DROPPED("</response>")},
                             .call = {BODY_JSON},
                             LIST_FORM("<|tool_call|>[", "{\"name\": \"",
                                       "\", \"arguments\": ", "]"),
                             .probe = {"<|tool_call|>"}},
    [TMPL_SYNTAX_COHERE] = {.marks = {THINKS("<|START_THINKING|>", "<|END_THINKING|>"),
                                      CALLS_ANYWHERE("<|START_ACTION|>"), DROPPED("<|START_TEXT|>"),
                                      DROPPED("<|END_TEXT|>"), DROPPED("<|START_RESPONSE|>"),
                                      DROPPED("<|END_RESPONSE|>")},
                            .call = {BODY_JSON, .close = "<|END_ACTION|>"},
                            .probe = {"<|START_ACTION|>"}},
    [TMPL_SYNTAX_LFM2] = {.marks = {THINK_TAGS, CALLS("<|tool_call_start|>")},
                          .call = {BODY_PYTHON, .open = "<|tool_call_start|>",
                                   .close = "<|tool_call_end|>"},
                          .probe = {"<|tool_list_start|>"}},
    [TMPL_SYNTAX_OLMO] = {.marks = {THINK_TAGS, CALLS("<function_calls>")},
                          .call = {BODY_PYTHON, .open = "<function_calls>",
                                   .close = "</function_calls>"},
                          .probe = {"<function_calls>"}},
    [TMPL_SYNTAX_APERTUS] = {.marks = {THINKS("<|inner_prefix|>", "<|inner_suffix|>"),
                                       CALLS_ANYWHERE("<|tools_prefix|>")},
                             .call = {BODY_JSON, .close = "<|tools_suffix|>", .key_is_name = true},
                             LIST_FORM("<|tools_prefix|>[", "{\"", "\": ", "]<|tools_suffix|>"),
                             .probe = {"<|tools_prefix|>"}},
    [TMPL_SYNTAX_NEMOTRON] = {.marks = {THINK_TAGS, CALLS("<TOOLCALL>")},
                              .call = {BODY_JSON, .close = "</TOOLCALL>"},
                              LIST_FORM("<TOOLCALL>[", "{\"name\": \"",
                                        "\", \"arguments\": ", "]</TOOLCALL>"),
                              .probe = {"<TOOLCALL>"}},
    [TMPL_SYNTAX_APRIEL] = {.marks = {{"<thinking>", ACT_THINK, IN_TEXT | AT_FIRST | SKIP},
                                      {"</thinking>", ACT_TEXT, IN_THINK | SKIP},
                                      CALLS("<tool_calls>"),
                                      {"[BEGIN FINAL RESPONSE]", ACT_TEXT,
                                       IN_TEXT | IN_THINK | SKIP},
                                      DROPPED("[END FINAL RESPONSE]")},
                            .call = {BODY_JSON, .close = "</tool_calls>"},
                            LIST_FORM("<tool_calls>[", "{\"name\": \"",
                                      "\", \"arguments\": ", "]</tool_calls>"),
                            .probe = {"<tool_calls>["}},
    [TMPL_SYNTAX_GEMMA] = {.marks = {THINKS("<|channel>thought", "<channel|>"),
                                     CALLS_ANYWHERE("<|tool_call>")},
                           .call = {BODY_GEMMA, .open = "<|tool_call>", .close = "<tool_call|>"},
                           .probe = {"<|tool_call>"}},
    [TMPL_SYNTAX_SOLAR] = {.marks = {{"<|think|>", ACT_THINK, IN_TEXT | SKIP},
                                     {"<|end|>", ACT_TEXT, IN_TEXT | IN_THINK},
                                     {"<|begin|>assistant", ACT_TEXT, IN_TEXT | IN_THINK},
                                     {"<|content|>", ACT_TEXT, IN_TEXT | IN_THINK},
                                     CALLS_ANYWHERE("<|tool_calls|>"),
                                     CALLS_ANYWHERE("<|tool_call:begin|>")},
                           .call = {BODY_NAMED, .open = "<|tool_call:begin|>",
                                    .close = "<|tool_call:end|>", .end = "<|calls|>",
                                    .id_end = "<|tool_call:name|>",
                                    .name_end = "<|tool_call:args|>"},
                           .probe = {"<|tool_call:begin|>"}},
    [TMPL_SYNTAX_GIGACHAT] = {.marks = {THINK_TAGS, CALLS("<|function_call|>")},
                              .call = {BODY_JSON},
                              .form = {.trigger = "<|function_call|>",
                                       .before_name = "{\"name\": \"",
                                       .between = "\", \"arguments\": ",
                                       .after = "}"},
                              .probe = {"<|function_call|>"}},
};

const struct syntax_row *syntax_row(enum tmpl_syntax syntax)
{
    return &rows[syntax < TMPL_NSYNTAX ? syntax : TMPL_SYNTAX_PLAIN];
}

bool tmpl_syntax_calls(enum tmpl_syntax syntax)
{
    return syntax_row(syntax)->call.body != BODY_NONE;
}

bool tmpl_syntax_opens_thinking(enum tmpl_syntax syntax, struct str prompt)
{
    const struct syntax_row *row = syntax_row(syntax);
    struct str s = str_trim(prompt);
    for (size_t i = 0; i < MAX_MARKS && row->marks[i].text; i++)
        if (row->marks[i].act == ACT_THINK && str_ends(s, str_of(row->marks[i].text)))
            return true;
    return false;
}

const struct tmpl_call_form *tmpl_syntax_form(enum tmpl_syntax syntax)
{
    const struct tmpl_call_form *f = &syntax_row(syntax)->form;
    return f->trigger ? f : NULL;
}
