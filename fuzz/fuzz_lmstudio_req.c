/* fuzz_lmstudio_req.c: the decoder of requests in LM Studio's dialect. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request(WIRE_LMSTUDIO, data, size);
    return 0;
}
