/* fuzz_modelfile.c: Modelfiles from outside. What is read is bounded, and what is written of it is
 * read again as the same. */
#include "buf.h"
#include "library.h"

#include <stdlib.h>

static void same(const char *a, const char *b)
{
    if (strcmp(a ? a : "", b ? b : "") != 0)
        abort();
}

/* Every text but one that cannot be said in quotes comes back. */
static void write_and_read(struct library_recipe *r)
{
    char name[] = "m", none[] = "";
    struct library_item it = {.name = name, .base = none, .texts = r->texts};
    struct library_recipe again = {0};
    struct buf out = BUF_INIT((size_t)32 << 20);
    char **texts[] = {&it.texts.template_text, &it.texts.system, &it.texts.params,
                      &it.texts.messages, &it.texts.licence_text};
    for (size_t i = 0; i < 5; i++)
        if (!*texts[i])
            *texts[i] = none;
    library_modelfile_write(&it, &out);
    if (library_modelfile_parse(buf_str(&out), &again, NULL) != 0)
        abort();
    if (str_find(buf_str(&out), STR("\n# "), 0) == SIZE_MAX) {
        same(again.texts.template_text, it.texts.template_text);
        same(again.texts.system, it.texts.system);
        same(again.texts.licence_text, it.texts.licence_text);
        same(again.texts.params, it.texts.params);
        same(again.texts.messages, it.texts.messages);
    }
    library_recipe_done(&again);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct library_recipe r = {0};
    struct err e = {0};
    int rc = library_modelfile_parse(str_n((const char *)data, n), &r, &e);
    if (rc == 0 && (!r.from || strlen(r.from) > n))
        abort();
    if (rc == 0)
        write_and_read(&r);
    if (rc != 0 && (r.from || !e.msg[0]))
        abort();
    library_recipe_done(&r);
    return 0;
}
