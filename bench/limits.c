/* limits.c: prints what this machine can do at best, as one JSON line: bytes it reads from memory
 * and int8 multiply-adds it does in registers, a second. bench/ gives every speed as a share of
 * these.
 *
 *   limits [THREADS [MILLISECONDS]] */
#include "kern.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    int ms = argc > 2 ? atoi(argv[2]) : 500;
    if (threads < 1 || ms < 1) {
        fprintf(stderr, "usage: limits [THREADS [MILLISECONDS]]\n");
        return 2;
    }
    double read = kern_measure_read(threads, ms);
    double macs = kern_measure_int8(threads, ms);
    printf("{\"threads\": %d, \"set\": \"%s\", \"read_bytes_per_s\": %.0f, "
           "\"int8_macs_per_s\": %.0f}\n",
           threads, kern_get()->name, read, macs);
    return 0;
}
