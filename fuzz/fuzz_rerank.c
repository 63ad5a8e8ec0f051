/* fuzz_rerank.c: the check of a request to rerank. */
#include "wire_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(64 << 20);
    struct str model = STR_NONE;
    struct err e = {0};
    if (!a)
        return 0;
    int rc = wire_rerank_check(str_n((const char *)data, size), a, &model, &e);
    if ((rc == 0) != (model.n > 0) || (rc && (rc != e.code || !e.msg[0])))
        abort();
    arena_free(a);
    return 0;
}
