/* fuzz_openai_in.c: the reader of answers in the openai dialect. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_answer(GEN_DIALECT_OPENAI, data, size);
    return 0;
}
