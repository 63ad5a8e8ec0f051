/* tiny_encoder.c: writes a small random encoder, for tests from outside the program and for the
 * comparison with another engine by hand.
 *
 *     tiny_encoder FAMILY FILE            bert, nomic-bert or nomic-bert-moe
 *     tiny_encoder FAMILY FILE NAME=N...  layers, width, heads, ff, ctx, pooling, fused, biases */
#include "tiny_encoder.h"

static int set(struct tiny_encoder *t, const char *arg)
{
    struct {
        const char *name;
        int *to;
    } ints[] = {{"layers=", &t->layers}, {"width=", &t->width}, {"heads=", &t->heads},
                {"ff=", &t->ff},         {"ctx=", &t->ctx},     {"pooling=", &t->pooling}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (strncmp(arg, ints[i].name, strlen(ints[i].name)) == 0) {
            *ints[i].to = atoi(strchr(arg, '=') + 1);
            return 0;
        }
    if (strncmp(arg, "fused=", 6) == 0)
        t->fused = atoi(arg + 6) != 0;
    else if (strncmp(arg, "biases=", 7) == 0)
        t->biases = atoi(arg + 7) != 0;
    else
        return -1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: tiny_encoder FAMILY FILE [NAME=N...]\n");
        return 2;
    }
    struct tiny_encoder t = tiny_encoder_default(argv[1]);
    if (strcmp(argv[1], "nomic-bert-moe") == 0) {
        t.experts = 8;
        t.used = 2;
    }
    t.fused = strcmp(argv[1], "bert") != 0;
    for (int i = 3; i < argc; i++)
        if (set(&t, argv[i]) != 0) {
            fprintf(stderr, "tiny_encoder: what is %s?\n", argv[i]);
            return 2;
        }
    int rc = tiny_encoder_write(&t, argv[2]);
    tiny_encoder_done(&t);
    return rc ? 1 : 0;
}
