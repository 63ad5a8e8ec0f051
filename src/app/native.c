/* native.c: gen events as lines of JSON. */
#include "native.h"

const char *native_reason(enum gen_reason r)
{
    switch (r) {
    case GEN_END_STOP: return "stop";
    case GEN_END_SEQUENCE: return "stop_sequence";
    case GEN_END_LENGTH: return "length";
    case GEN_END_TOOLS: return "tool_calls";
    case GEN_END_FILTER: return "filter";
    }
    return "unknown";
}

static void text_line(struct buf *out, const char *type, struct str text)
{
    buf_printf(out, "{\"type\":\"%s\",\"text\":", type);
    buf_json_str(out, text);
    buf_puts(out, "}\n");
}

static void tool_line(struct buf *out, const struct gen_event *ev)
{
    buf_printf(out, "{\"type\":\"tool\",\"tool\":%d,\"id\":", ev->tool);
    buf_json_str(out, ev->id);
    buf_puts(out, ",\"name\":");
    buf_json_str(out, ev->name);
    buf_puts(out, "}\n");
}

void native_error(const struct err *err, struct buf *out)
{
    buf_printf(out, "{\"type\":\"error\",\"code\":\"%s\",\"status\":%d,\"message\":",
               err_name(err->code), err_http(err->code));
    buf_json_str(out, str_of(err_msg(err)));
    buf_puts(out, "}\n");
}

void native_event(const struct gen_event *ev, struct buf *out)
{
    switch (ev->type) {
    case GEN_EV_START:
        buf_puts(out, "{\"type\":\"start\",\"model\":");
        buf_json_str(out, ev->text);
        buf_puts(out, "}\n");
        return;
    case GEN_EV_TEXT: text_line(out, "text", ev->text); return;
    case GEN_EV_REASONING: text_line(out, "reasoning", ev->text); return;
    case GEN_EV_TOOL_BEGIN: tool_line(out, ev); return;
    case GEN_EV_TOOL_ARGS:
        buf_printf(out, "{\"type\":\"tool_args\",\"tool\":%d,\"text\":", ev->tool);
        buf_json_str(out, ev->text);
        buf_puts(out, "}\n");
        return;
    case GEN_EV_DONE:
        buf_printf(out, "{\"type\":\"done\",\"reason\":\"%s\"}\n", native_reason(ev->reason));
        return;
    case GEN_EV_ERROR: native_error(ev->err, out); return;
    case GEN_EV_TOOL_END:
    case GEN_EV_OPAQUE:
    case GEN_EV_EMBEDDING:
    case GEN_EV_CHOICE_END:
    case GEN_EV_USAGE: return;
    }
}
