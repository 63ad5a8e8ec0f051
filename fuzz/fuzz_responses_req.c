/* fuzz_responses_req.c: the decoder of requests in the responses dialect. What was accepted is kept
 * as its input items, which must be read again and put in front of the request. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keep(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(64 << 20);
    struct gen_req *r = NULL;
    struct buf kept = BUF_INIT(64 << 20);
    struct err e = {0};
    if (a && wire_request_decode(WIRE_RESPONSES, str_n((const char *)data, size), a, &r, &e) == 0 &&
        wire_responses_input(r, STR("X"), &kept, &e) == 0) {
        struct str text = buf_str(&kept);
        if (wire_responses_prepend(r, &text, 1, &e) != 0 && e.code != ERR_NOMEM)
            abort();
    }
    buf_done(&kept);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request(WIRE_RESPONSES, data, size);
    keep(data, size);
    return 0;
}
