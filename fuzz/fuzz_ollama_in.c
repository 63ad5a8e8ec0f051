/* fuzz_ollama_in.c: the readers of answers in the ollama dialect; the first byte says of which
 * path. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0)
        fuzz_answer((enum wire_form)(WIRE_OLLAMA_CHAT + data[0] % 4), data + 1, size - 1);
    return 0;
}
