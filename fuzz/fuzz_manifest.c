/* fuzz_manifest.c: what a registry, a hub and a person say: manifests, texts, names. The first byte
 * chooses. What is taken keeps its promises: digests are digests, a name is safe as a file's. */
#include "library_int.h"

#include <stdlib.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void manifest(struct str s)
{
    struct lib_manifest m;
    char hex[SHA256_HEX];
    if (lib_manifest_parse(s, "fuzz", &m, NULL) != 0)
        return;
    check(m.has_model && lib_digest(m.model.sha256, hex) && m.model.size > 0 &&
          m.model.size <= FILE_MAX);
    for (size_t i = 0; i < m.ntexts; i++)
        check(lib_digest(m.texts[i].layer.sha256, hex) &&
              m.texts[i].layer.size <= lib_text_max(m.texts[i].kind));
}

static void texts(struct str s)
{
    struct library_texts t = {0};
    for (enum lib_text k = 0; k < LIB_TEXTS; k++)
        if (lib_text_set(&t, k, s, "fuzz", NULL) == 0)
            check(*lib_text_of(&t, k) != NULL);
    library_texts_done(&t);
}

static void name(const char *typed)
{
    struct lib_ref ref = {0};
    char n[NAME_MAX_BYTES + 1], file[NAME_MAX_BYTES + 1];
    if (lib_ref_parse(typed, &ref, NULL) != 0 || ref.kind == LIB_REF_NONE ||
        lib_ref_name(&ref, NULL, n, NULL) != 0)
        return;
    lib_name_encode(n, file);
    check(lib_name_valid(str_of(n)) && !strchr(file, '/') && file[0] != '.');
    lib_name_decode(file);
    check(strcmp(n, file) == 0);
    check(!strstr(ref.space, "/") && ref.space[0] != '.' && ref.model[0] != '.');
}

/* Paths of a repository, a line each; the first line is the quantisation. */
static void choose(char *text)
{
    struct lib_choice files[64];
    char label[100];
    size_t n = 0, i;
    char *quant = strsep(&text, "\n");
    for (char *path; n < 64 && (path = strsep(&text, "\n"));)
        files[n++] = (struct lib_choice){path, 1, NULL};
    if (lib_quant_choose(files, n, quant, &i, label, NULL) == 0)
        check(i < n && strlen(label) < sizeof label && !lib_is_projector(files[i].path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0 || n > 1 << 20)
        return 0;
    struct str s = str_n((const char *)data + 1, n - 1);
    char *z = strndup(s.p, s.n);
    switch (data[0] % 4) {
    case 0: manifest(s); break;
    case 1: texts(s); break;
    case 2: name(z); break;
    default: choose(z); break;
    }
    free(z);
    return 0;
}
