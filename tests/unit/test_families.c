/* test_families.c: every family against a reference engine's numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model.h"
#include "model_rig.h"

static void family_equals_the_reference(const char *name, double bound)
{
    char gguf[128], logits[128];
    snprintf(gguf, sizeof gguf, "models/families/%s.gguf", name);
    snprintf(logits, sizeof logits, "models/families/%s.logits", name);
    assert_true(nmse_of_fixture(gguf, logits, false) <= bound);
}

#define FIXTURE(fn, name, bound)                                                                   \
    static void fn(void **state)                                                                   \
    {                                                                                              \
        family_equals_the_reference(name, bound);                                                  \
    }

FIXTURE(llama, "llama-dense", 1e-8)
FIXTURE(llama_moe, "llama-moe", 1e-8)
FIXTURE(llama4, "llama4-moe", 1e-8)
FIXTURE(mistral3, "mistral3-dense", 1e-8)
FIXTURE(qwen2, "qwen2-dense", 1e-8)
FIXTURE(qwen3, "qwen3-dense", 1e-8)
FIXTURE(qwen3moe, "qwen3moe-moe", 1e-8)
FIXTURE(gemma3, "gemma3-dense", 1e-6)
FIXTURE(qwen35, "qwen35-dense", 1e-8)
FIXTURE(gpt_oss, "gpt-oss-moe", 1e-8)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),    cmocka_unit_test(llama_moe), cmocka_unit_test(llama4),
        cmocka_unit_test(mistral3), cmocka_unit_test(qwen2),     cmocka_unit_test(qwen3),
        cmocka_unit_test(qwen35), cmocka_unit_test(qwen3moe), cmocka_unit_test(gemma3),    cmocka_unit_test(gpt_oss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
