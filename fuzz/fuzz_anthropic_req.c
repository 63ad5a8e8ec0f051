/* fuzz_anthropic_req.c: the decoder of requests in the anthropic dialect. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request(WIRE_ANTHROPIC, data, size);
    return 0;
}
