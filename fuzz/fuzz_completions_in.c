/* fuzz_completions_in.c: the reader of completions in the openai dialect. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_answer(WIRE_COMPLETIONS, data, size);
    return 0;
}
