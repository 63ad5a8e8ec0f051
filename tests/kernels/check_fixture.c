/* check_fixture.c: unpacking against blocks that another library wrote: int32 type, block, bytes a
 * block, rows, columns, packed bytes; the packed bytes; float32[rows][columns]. A format that is
 * not supported must say so. */
#include "check_int.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *data = n > 0 ? malloc((size_t)n) : NULL;
    if (data && fread(data, 1, (size_t)n, f) != (size_t)n) {
        free(data);
        data = NULL;
    }
    fclose(f);
    *size = (size_t)n;
    return data;
}

/* Equal to the last bit or two of a float. */
static bool close_to(float want, float got)
{
    return want == got || (isnan(want) && isnan(got)) || fabsf(want - got) <= 2.4e-7f * fabsf(want);
}

static void check_file(const struct kern *k, const char *name, const char *data, size_t size)
{
    int32_t h[6];
    char what[320];
    snprintf(what, sizeof what, "%s unpack of fixture %s", k->name, name);
    memcpy(h, data, sizeof h);
    size_t rows = (size_t)h[3], cols = (size_t)h[4], packed = (size_t)h[5];
    if (size != sizeof h + packed + rows * cols * 4) {
        check_true(what, false);
        return;
    }
    if (h[0] >= KERN_TYPES || !k->has((enum kern_type)h[0])) {
        for (size_t i = 0; i < TYPES; i++)
            check_true(what, (int32_t)all_types[i] != h[0]);
        return;
    }
    float *got = malloc(cols * 4), *want = malloc(cols * 4);
    for (size_t r = 0; got && want && r < rows; r++) {
        k->unpack((enum kern_type)h[0], data + sizeof h + r * (packed / rows), cols, got);
        memcpy(want, data + sizeof h + packed + r * cols * 4, cols * 4);
        bool good = true;
        for (size_t i = 0; i < cols; i++)
            good = good && close_to(want[i], got[i]);
        check_true(what, good);
    }
    free(got);
    free(want);
}

void check_fixtures(const struct kern *k)
{
    const char *dir = getenv("WEIR_FIXTURES"), *source = getenv("WEIR_SOURCE");
    char path[4096];
    snprintf(path, sizeof path, "%s%s/models/blocks",
             dir      ? dir
             : source ? source
                      : ".",
             dir ? "" : "/../shared/fixtures");
    DIR *list = opendir(path);
    if (!list) {
        printf("skipped: fixtures %s are not there\n", path);
        return;
    }
    for (struct dirent *e; (e = readdir(list));) {
        char file[4096 + 300];
        size_t size;
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        char *data = read_file(file, &size);
        if (data && size >= 24)
            check_file(k, e->d_name, data, size);
        else
            check_true(file, false);
        free(data);
    }
    closedir(list);
}
