/* tmpl_traits.c: what a template can do, found by asking it: it renders a conversation with a mark
 * in the place in question, and either the mark is in the text or it is not. */
#include "tmpl_int.h"

#include "clock.h"

static bool mentions(const struct tmpl *t, const char *what)
{
    return str_find(t->source, str_of(what), 0) != SIZE_MAX;
}

static bool shows(const struct tmpl *t, const struct gen_req *req, struct str mark)
{
    struct tmpl_out out;
    struct tmpl_vars v = {.req = req, .add_generation_prompt = true, .now_ms = clock_wall_ms()};
    tmpl_out_init(&out, 1 << 20);
    bool yes =
        tmpl_render(t, &v, &out, NULL) == 0 && str_find(buf_str(&out.text), mark, 0) != SIZE_MAX;
    tmpl_out_done(&out);
    return yes;
}

void tmpl_describe(const struct tmpl *t, struct tmpl_traits *out)
{
    struct gen_part system = {.type = GEN_PART_TEXT, .text = STR("mark-of-the-system")};
    struct gen_part user = {.type = GEN_PART_TEXT, .text = STR("hello")};
    struct gen_msg msgs[2] = {{.role = GEN_SYSTEM, .parts = &system, .nparts = 1},
                              {.role = GEN_USER, .parts = &user, .nparts = 1}};
    struct gen_tool tool = {.name = STR("mark_of_a_tool"), .description = STR("does it")};
    struct gen_req with_system = {.msgs = msgs, .nmsgs = 2};
    struct gen_req with_tool = {.msgs = msgs + 1, .nmsgs = 1, .tools = &tool, .ntools = 1};
    out->system = shows(t, &with_system, system.text);
    out->tools = mentions(t, "tools") && shows(t, &with_tool, tool.name);
    out->reasoning = mentions(t, "reasoning_content") || mentions(t, "enable_thinking") ||
                     mentions(t, "<think>");
}

enum tmpl_syntax tmpl_syntax_of(const struct tmpl *t)
{
    bool calls = mentions(t, "<tool_call>") && !mentions(t, "<function=");
    return calls || mentions(t, "<think>") ? TMPL_SYNTAX_HERMES : TMPL_SYNTAX_PLAIN;
}
