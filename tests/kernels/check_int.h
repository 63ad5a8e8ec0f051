/* check_int.h: what the parts of checkkern share: random and adversarial data, buffers with a guard
 * page on both sides, and the comparison of bits. */
#ifndef WEIR_CHECK_INT_H
#define WEIR_CHECK_INT_H

#include "kern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern unsigned long check_count, check_failures;

/* ---- random data; one stream, so a seed tells the whole run ---- */
void rnd_seed(uint64_t seed);
uint64_t rnd(void);
size_t rnd_below(size_t n);               /* 0 .. n-1 */
size_t rnd_range(size_t from, size_t to); /* both included */
float rnd_float(void);                    /* about normal, of scale 1 */
void rnd_bytes(void *p, size_t n);

/* Kinds of float data, from the harmless to what breaks careless code. */
enum fill {
    FILL_NORMAL,
    FILL_ZERO,
    FILL_MINUS_MAX, /* every element the negative maximum: x = -127 throughout */
    FILL_ENDS,      /* x = 127 or -127 */
    FILL_SPIKE,     /* one large among small */
    FILL_HUGE,
    FILL_TINY, /* subnormals and what is below the quantiser's threshold */
    FILL_TIES, /* halves, which rounding must send to even */
    FILL_ODD,  /* a NaN or an infinity somewhere */
    FILL_KINDS
};
void fill_floats(float *x, size_t n, enum fill kind);

/* ---- buffers ----
 * `bytes` bytes that begin at a multiple of `align` (a power of two) and end at, or within align -
 * 1 bytes of, a page that may not be touched; the rest is a canary that guard_free checks. */
void *guard_new(size_t bytes, size_t align);
void guard_free_all(const char *what); /* checks canaries, gives everything back */

/* ---- comparing ---- */
/* Equal bits, or both a NaN. Prints the first difference. */
bool check_floats(const char *what, const float *want, const float *got, size_t n);
bool check_bytes(const char *what, const void *want, const void *got, size_t n);
void check_true(const char *what, bool ok);

/* ---- formats ---- */
#define TYPES 16
extern const enum kern_type all_types[TYPES];
size_t type_block(enum kern_type t);
size_t type_row_bytes(enum kern_type t, size_t k);
size_t type_align(enum kern_type t); /* of floats; blocks need none */
const char *type_name(enum kern_type t);
/* Random weights of a type: often extreme, scales zero, subnormal, negative, huge, seldom NaN. */
void fill_weights(void *p, enum kern_type t, size_t rows, size_t k, size_t stride);
/* The same for speeds: nothing but what a real matrix holds. */
void fill_plain_weights(void *p, enum kern_type t, size_t rows, size_t k, size_t stride);

/* ---- the parts; each does one round of random cases of `k` against the C table ---- */
void check_mul(const struct kern *c, const struct kern *k);
void check_rows(const struct kern *c, const struct kern *k);
void check_ops(const struct kern *c, const struct kern *k);
void check_attn(const struct kern *c, const struct kern *k);
void check_fixtures(const struct kern *k);
void check_bench(const struct kern *k, int threads, const char *only, size_t n, bool hot);

#endif
