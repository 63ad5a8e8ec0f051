/* tmpl_traits.c: what a template can do, found by asking it: it renders a conversation with a mark
 * in the place in question, and either the mark is in the text or it is not. */
#include "go_int.h"
#include "tmpl_parser_int.h"

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
    out->infill = t->go && t->go->suffix;
    out->system = shows(t, &with_system, system.text);
    out->tools = mentions(t, t->go ? "Tools" : "tools") && shows(t, &with_tool, tool.name);
    out->reasoning = mentions(t, "reasoning_content") || mentions(t, "enable_thinking") ||
                     mentions(t, "<think>") || (t->go && mentions(t, ".Thinking"));
}

/* ---- the syntax ---- */

#define CALLED "mark_of_a_call"

/* How the template writes a call of the past; what it says before is left out: it may describe
 * another syntax than it uses. */
static bool call_as_written(const struct tmpl *t, struct buf *out)
{
    struct gen_part user = {.type = GEN_PART_TEXT, .text = STR("mark-of-the-user")};
    struct gen_part call = {.type = GEN_PART_TOOL_CALL,
                            .id = STR("abcdefgh1"),
                            .name = STR(CALLED),
                            .args = STR("{\"key\": \"value\"}")};
    struct gen_part result = {
        .type = GEN_PART_TOOL_RESULT, .id = call.id, .text = STR("mark-of-the-result")};
    struct gen_msg msgs[] = {{.role = GEN_USER, .parts = &user, .nparts = 1},
                             {.role = GEN_ASSISTANT, .parts = &call, .nparts = 1},
                             {.role = GEN_TOOL, .parts = &result, .nparts = 1}};
    struct gen_tool tool = {.name = STR("mark_of_a_tool"), .description = STR("does it")};
    struct gen_req req = {.msgs = msgs, .nmsgs = 3, .tools = &tool, .ntools = 1};
    struct tmpl_vars v = {.req = &req, .add_generation_prompt = true, .now_ms = clock_wall_ms()};
    struct tmpl_out text;
    tmpl_out_init(&text, 1 << 20);
    size_t from = SIZE_MAX;
    if (tmpl_render(t, &v, &text, NULL) == 0)
        from = str_find(buf_str(&text.text), user.text, 0);
    if (from != SIZE_MAX)
        buf_add(out, text.text.p + from, text.text.n - from);
    tmpl_out_done(&text);
    return from != SIZE_MAX && str_find(buf_str(out), STR(CALLED), 0) != SIZE_MAX;
}

static bool probe(const struct syntax_row *row, struct str text)
{
    for (int i = 0; i < 2 && row->probe[i]; i++)
        if (str_find(text, str_of(row->probe[i]), 0) == SIZE_MAX)
            return false;
    return row->probe[0] != NULL;
}

/* The most particular of those that fit: the longest probes. */
static enum tmpl_syntax match(struct str text)
{
    enum tmpl_syntax best = TMPL_SYNTAX_PLAIN;
    size_t most = 0;
    for (int i = 0; i < TMPL_NSYNTAX; i++) {
        const struct syntax_row *row = syntax_row((enum tmpl_syntax)i);
        size_t n = row->probe[0] ? strlen(row->probe[0]) : 0;
        n += row->probe[1] ? strlen(row->probe[1]) : 0;
        if (n > most && tmpl_syntax_calls((enum tmpl_syntax)i) && probe(row, text)) {
            most = n;
            best = (enum tmpl_syntax)i;
        }
    }
    return best;
}

/* What it writes says more than what its text mentions, which may be of another model's. */
enum tmpl_syntax tmpl_syntax_of(const struct tmpl *t)
{
    struct buf text = BUF_INIT(1 << 20);
    enum tmpl_syntax s = TMPL_SYNTAX_PLAIN;
    if (call_as_written(t, &text)) {
        s = match(buf_str(&text));
        if (!s && (str_find(buf_str(&text), STR("{\"name\": \"" CALLED "\""), 0) != SIZE_MAX ||
                   str_find(buf_str(&text), STR("{\"name\":\"" CALLED "\""), 0) != SIZE_MAX))
            s = TMPL_SYNTAX_LLAMA;
    }
    buf_done(&text);
    if (!s)
        s = match(t->source);
    return !s && mentions(t, "<think>") ? TMPL_SYNTAX_THINK : s;
}
