/* str.h: a borrowed run of bytes, not NUL-terminated. Text that came from outside travels as this,
 * because a NUL byte in it is data. Never owns: the arena or buffer it points into does. */
#ifndef WEIR_STR_H
#define WEIR_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){("" lit), sizeof(lit) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)((s).n > 0x7fffffff ? 0x7fffffff : (s).n), (s).p ? (s).p : ""

static inline struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}

static inline struct str str_n(const char *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_is(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}

bool str_ieq(struct str a, struct str b); /* ASCII case folded */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_istarts(struct str s, struct str prefix); /* ASCII case folded */
struct str str_trim(struct str s);                 /* ASCII white space off both ends */
/* Offset of needle at or after `from`, or SIZE_MAX. */
size_t str_find(struct str s, struct str needle, size_t from);
/* Split at the first `sep`: *head gets what is before it, *tail what is after; false (head = s) if
 * absent. */
bool str_cut(struct str s, char sep, struct str *head, struct str *tail);

/* Strict decimal: whole string, no sign for u64, no white space, range checked. False leaves *out
 * alone. */
bool str_to_u64(struct str s, uint64_t *out);
bool str_to_i64(struct str s, int64_t *out);
/* Decimal floating point in the C locale, finite. False leaves *out alone. */
bool str_to_f64(struct str s, double *out);

/* For hash tables over names from outside. The seed should differ from run to run, so that nobody
 * can prepare names that collide. */
uint64_t str_hash(struct str s, uint64_t seed);

#endif
