/* fuzz_go_tmpl.c: any text as a Go template over fixed data: parse, render, and check that the
 * ranges tile the output. What is not one of Go's is made one by an action before it. */
#include "tmpl.h"

#include <stdlib.h>

static const char vars[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"a b\"},{\"role\":\"user\",\"content\":"
    "\"\\u00e4 <|im_end|>\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":"
    "\"1\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1.5,\"a\":[{}]}}}]},{\"role\":"
    "\"tool\","
    "\"content\":\"r\"}],\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{"
    "\"p\":{\"type\":[\"string\",\"null\"]}}}}}],\"x\":3,\"think\":\"low\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tmpl *t = NULL;
    struct tmpl_out out;
    struct err e;
    struct buf source = BUF_INIT(1 << 20);
    buf_puts(&source, "{{ .x }}");
    buf_add(&source, data, size);
    int rc = tmpl_parse(buf_str(&source), &t, &e);
    buf_done(&source);
    if (rc)
        return 0;
    tmpl_out_init(&out, 1 << 16);
    if (tmpl_render_json(t, str_of(vars), STR("<s>"), STR("</s>"), 0, &out, &e) == 0) {
        size_t at = 0;
        for (size_t i = 0; i < out.nruns; i++) {
            if (out.runs[i].from != at || out.runs[i].to <= at)
                abort();
            at = out.runs[i].to;
        }
        if (at != out.text.n)
            abort();
    }
    tmpl_out_done(&out);
    tmpl_free(t);
    return 0;
}
