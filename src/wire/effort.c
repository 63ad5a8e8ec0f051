/* effort.c: how much a model is to think, in the words that clients of chat completions use:
 * OpenAI's reasoning_effort, and what other servers added (OpenRouter's `reasoning`, DeepSeek's
 * `thinking`, Qwen's `enable_thinking`, llama-server's and vLLM's `chat_template_kwargs`, Ollama's
 * `think`). All but the plain words stay in req->extra beside what they mean, so that a provider of
 * the dialect gets them as they came. Called by openai_req.c. */
#include "wire_int.h"

static bool effort_of(struct str s, enum gen_effort *out)
{
    static const struct {
        const char *word;
        enum gen_effort effort;
    } rows[] = {
        {"none", GEN_EFFORT_NONE},     {"minimal", GEN_EFFORT_LOW}, {"low", GEN_EFFORT_LOW},
        {"medium", GEN_EFFORT_MEDIUM}, {"high", GEN_EFFORT_HIGH},   {"xhigh", GEN_EFFORT_HIGH},
        {"max", GEN_EFFORT_HIGH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (str_is(s, rows[i].word)) {
            *out = rows[i].effort;
            return true;
        }
    }
    return false;
}

/* Words that gen has exactly. */
static bool is_plain(struct str s)
{
    return str_is(s, "none") || str_is(s, "low") || str_is(s, "medium") || str_is(s, "high");
}

/* true, false, or a word. */
static void set_switch(const json_t *v, enum gen_effort *out)
{
    if (json_is_boolean(v))
        *out = json_is_true(v) ? GEN_EFFORT_MEDIUM : GEN_EFFORT_NONE;
    else
        effort_of(wire_json_str(v), out);
}

static enum gen_effort other_words(const json_t *body)
{
    enum gen_effort effort = GEN_EFFORT_UNSET;
    const json_t *kwargs = json_object_get(body, "chat_template_kwargs");
    const json_t *reasoning = json_object_get(body, "reasoning");
    struct str type = wire_json_get_str(json_object_get(body, "thinking"), "type");
    const json_t *budget = json_object_get(body, "reasoning_budget_tokens");
    if (json_is_integer(budget) && json_integer_value(budget) == 0)
        effort = GEN_EFFORT_NONE;
    if (str_is(type, "disabled") || str_is(type, "enabled"))
        effort = str_is(type, "enabled") ? GEN_EFFORT_MEDIUM : GEN_EFFORT_NONE;
    set_switch(json_object_get(reasoning, "enabled"), &effort);
    set_switch(json_object_get(reasoning, "effort"), &effort);
    set_switch(json_object_get(kwargs, "thinking"), &effort);
    set_switch(json_object_get(kwargs, "reasoning_effort"), &effort);
    set_switch(json_object_get(kwargs, "enable_thinking"), &effort);
    set_switch(json_object_get(body, "enable_thinking"), &effort);
    set_switch(json_object_get(body, "think"), &effort);
    return effort;
}

int dec_effort(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    struct str s;
    int rc = dec_str(d, body, "reasoning_effort", &s);
    if (rc < 0)
        return rc;
    enum gen_effort others = other_words(body);
    r->effort = others;
    if (!rc)
        return 0;
    if (!effort_of(s, &r->effort))
        return dec_fail(d, ERR_FORMAT, "reasoning_effort",
                        "must be none, minimal, low, medium, high or xhigh");
    if (is_plain(s) && others == GEN_EFFORT_UNSET)
        return 0;
    return dec_keep(d, extra, "reasoning_effort", json_object_get(body, "reasoning_effort"));
}
