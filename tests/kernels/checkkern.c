/* checkkern.c: every set of kernels that this processor has against the C versions, bit for bit.
 *
 *   checkkern [--seconds N] [--seed S] [--set NAME]
 *             [--bench [--threads N] [--only TEXT] [--n N] [--hot]]
 *
 * Without --seconds a fixed number of rounds, so that the test suite does the same every time. */
#include "check_int.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 60

struct options {
    double seconds;
    uint64_t seed;
    const char *set;
    bool bench, hot;
    int threads;
    const char *only; /* --bench: lines whose name holds this */
    size_t n;         /* --bench: columns of the products; 0: the usual ones */
};

static void parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--bench")) {
            o->bench = true;
            continue;
        }
        if (!strcmp(argv[i], "--hot")) {
            o->hot = true;
            continue;
        }
        if (value && !strcmp(argv[i], "--seconds"))
            o->seconds = strtod(value, NULL);
        else if (value && !strcmp(argv[i], "--seed"))
            o->seed = strtoull(value, NULL, 10);
        else if (value && !strcmp(argv[i], "--set"))
            o->set = value;
        else if (value && !strcmp(argv[i], "--threads"))
            o->threads = atoi(value);
        else if (value && !strcmp(argv[i], "--only"))
            o->only = value;
        else if (value && !strcmp(argv[i], "--n"))
            o->n = strtoull(value, NULL, 10);
        else {
            fprintf(stderr, "usage: checkkern [--seconds N] [--seed S] [--set NAME] "
                            "[--bench [--threads N] [--only TEXT] [--n N] [--hot]]\n");
            exit(2);
        }
        i++;
    }
}

static void check_set(const struct kern *c, const struct kern *k, const struct options *o)
{
    uint64_t end = clock_mono_ns() + (uint64_t)(o->seconds * 1e9);
    unsigned long before = check_failures;
    check_fixtures(k);
    for (size_t round = 0; o->seconds > 0 ? clock_mono_ns() < end : round < ROUNDS; round++) {
        rnd_seed(o->seed + round);
        check_mul(c, k);
        check_rows(c, k);
        check_ops(c, k);
        check_attn(c, k);
        if (check_failures > before + 20) {
            printf("%s: stopped in round %zu, seed %llu\n", k->name, round,
                   (unsigned long long)o->seed);
            return;
        }
    }
}

/* Which sets there are, which one is chosen under WEIR_CPU, and that the limits can be measured. */
static void check_table(void)
{
    const char *cap = getenv("WEIR_CPU"), *best = NULL;
    for (const char *const *name = kern_names(); *name; name++) {
        const struct kern *k = kern_get_named(*name);
        check_true("a set has its name", k && !strcmp(k->name, *name));
        best = best && cap && !strcmp(best, cap) ? best : *name;
    }
    check_true("the first set is c", !strcmp(kern_names()[0], "c"));
    check_true("kern_get gives the best set under the cap", !strcmp(kern_get()->name, best));
    check_true("an unknown set is NULL", !kern_get_named("no such set"));
    check_true("read speed is measured", kern_measure_read(2, 1) > 0);
    check_true("int8 peak is measured", kern_measure_int8(2, 1) > 0);
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .threads = 1};
    parse(&o, argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct kern *c = kern_get_named("c");
    if (!o.bench)
        check_table();
    for (const char *const *name = kern_names(); *name; name++) {
        if (o.set && strcmp(o.set, *name))
            continue;
        const struct kern *k = kern_get_named(*name);
        if (o.bench)
            check_bench(k, o.threads, o.only, o.n, o.hot);
        else
            check_set(c, k, &o);
    }
    if (!o.bench)
        printf("checkkern: %lu comparisons, %lu failed\n", check_count, check_failures);
    return check_failures ? 1 : 0;
}
