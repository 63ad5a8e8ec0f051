/* fuzz_llama_req.c: the decoders of llama-server's own paths: the first byte says which. What was
 * accepted is answered, so that its settings are written, and the answer is JSON. */
#include "wire_fuzz.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(enum wire_form f, struct str body)
{
    struct arena *a = arena_new(64 << 20);
    struct buf out = BUF_INIT(64 << 20);
    struct wire_writer *w = NULL;
    struct gen_req *r = NULL;
    struct err e = {0};
    if (!a || wire_request_decode(f, body, a, &r, &e))
        goto done;
    r->stream = false;
    if (wire_writer_new(f, r, STR("a1"), 1, &w, &e))
        abort();
    wire_writer_event(w, &(struct gen_event){.type = GEN_EV_START, .text = STR("m")}, &out, &e);
    wire_writer_event(w, &(struct gen_event){.type = GEN_EV_TEXT, .text = STR("x\n")}, &out, &e);
    if (wire_writer_event(w, &(struct gen_event){.type = GEN_EV_DONE}, &out, &e) == 0) {
        json_t *v = json_loadb(out.p, out.n, JSON_ALLOW_NUL, NULL);
        if (!v)
            abort();
        json_decref(v);
    }
done:
    wire_writer_free(w);
    buf_done(&out);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum wire_form f = data[0] % 2 ? WIRE_LLAMA_INFILL : WIRE_LLAMA_COMPLETION;
    fuzz_request(f, data + 1, size - 1);
    answer(f, str_n((const char *)data + 1, size - 1));
    return 0;
}
