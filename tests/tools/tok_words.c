/* tok_words.c: tok_words PRE cuts the texts on its input, a NUL after each, into words as the
 * pre-tokenizer PRE does, and prints the bytes of each word, a line for each text. tok_diff.py
 * compares that with a regular expression engine. */
#include "buf.h"
#include "tok.h"

#include <stdio.h>
#include <stdlib.h>

static int print_word(void *ctx, struct str word)
{
    (void)ctx;
    printf("%zu ", word.n);
    return 0;
}

int main(int argc, char **argv)
{
    struct buf in = BUF_INIT((size_t)64 << 20);
    struct err e;
    char chunk[4096];
    size_t n;
    if (argc != 2)
        return 2;
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0)
        buf_add(&in, chunk, n);
    struct str head, tail = buf_str(&in);
    while (tail.n && str_cut(tail, '\0', &head, &tail)) {
        if (tok_words(str_of(argv[1]), head, print_word, NULL, &e) != 0) {
            fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
        putchar('\n');
    }
    buf_done(&in);
    return 0;
}
