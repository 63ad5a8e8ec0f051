/* fuzz_completions_req.c: the decoder of bare prompts in the openai dialect. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request(WIRE_COMPLETIONS, data, size);
    return 0;
}
