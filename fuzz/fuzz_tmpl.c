/* fuzz_tmpl.c: any template text over fixed variables: parse, render, and check that the ranges
 * tile the output. */
#include "tmpl.h"

#include <stdlib.h>

static const char vars[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"a b\"},{\"role\":\"user\",\"content\":"
    "\"\\u00e4 "
    "<|im_end|>\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\","
    "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1.5}}}]}],\"tools\":[{"
    "\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"add_generation_prompt\":true,\"x\":3}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tmpl *t = NULL;
    struct tmpl_out out;
    struct err e;
    if (tmpl_parse(str_n((const char *)data, size), &t, &e))
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
