/* regression_driver.c: runs a fuzz target over its committed seeds as an ordinary test. Each seed
 * is tried whole, cut at a spread of lengths, and with single bits flipped, so the test bites
 * without a fuzzer at hand. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each call gets a block of exactly its size, so that a sanitizer sees a read past the end. */
static void run(const unsigned char *data, size_t n)
{
    unsigned char *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    memcpy(copy, data, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static unsigned char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    unsigned char *p = size < 0 ? NULL : malloc((size_t)size + 1);
    if (p)
        *n = fread(p, 1, (size_t)size, f);
    fclose(f);
    return p;
}

static int run_seed(const char *path)
{
    size_t n;
    unsigned char *p = read_file(path, &n);
    if (!p)
        return -1;
    run(p, n);
    size_t step = n / 64 + 1;
    for (size_t cut = 0; cut < n; cut += step)
        run(p, cut);
    for (size_t bit = 0; bit < n * 8; bit += n * 8 / 512 + 1) {
        p[bit / 8] ^= (unsigned char)(1u << bit % 8);
        run(p, n);
        p[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    free(p);
    return 0;
}

int main(int argc, char **argv)
{
    int seeds = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) {
            fprintf(stderr, "no seeds in %s\n", argv[i]);
            return 1;
        }
        for (struct dirent *ent; (ent = readdir(d));) {
            char path[4096];
            if (ent->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], ent->d_name);
            if (run_seed(path) != 0) {
                fprintf(stderr, "cannot read %s\n", path);
                return 1;
            }
            seeds++;
        }
        closedir(d);
    }
    printf("%d seeds\n", seeds);
    return seeds > 0 ? 0 : 1;
}
