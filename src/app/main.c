/* main.c: the program's door: which command, and what its exit code means. */
#include <stdio.h>

int main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    fputs("usage: weir COMMAND\n", stderr);
    return 2;
}
