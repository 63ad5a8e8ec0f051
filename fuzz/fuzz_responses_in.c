/* fuzz_responses_in.c: the reader of answers in the responses dialect. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_answer(WIRE_RESPONSES, data, size);
    return 0;
}
