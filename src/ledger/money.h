/* money.h: amounts. All money is a whole number of nano-dollars (10^-9 US dollars) in an int64_t,
 * so that sums are exact; about nine thousand million dollars fit. */
#ifndef WEIR_MONEY_H
#define WEIR_MONEY_H

#include "err.h"
#include "str.h"

#define MONEY_DOLLAR INT64_C(1000000000)
#define MONEY_UNKNOWN INT64_MIN /* "unknown" is never 0 */

/* "$0.0123" or "-$1.50" exactly: at least two decimals, at most nine, no digit lost; "unknown" for
 * MONEY_UNKNOWN. Returns out. */
char *money_exact(int64_t nano, char out[static 32]);
/* For a line a person reads: four decimals, rounded half up ("$0.0123"); what is not zero never
 * reads as zero ("<$0.0001"). */
char *money_short(int64_t nano, char out[static 32]);
/* "12", "12.5", "$0.000000001": not negative, at most nine decimals. ERR_FORMAT, ERR_LIMIT. */
int money_parse(struct str text, int64_t *out, struct err *e);
/* A setting in dollars. ERR_INVAL when not finite, negative or too large. */
int money_from_usd(double usd, int64_t *out, struct err *e);
/* False when the sum does not fit, and *out is untouched. */
bool money_add(int64_t a, int64_t b, int64_t *out);

#endif
