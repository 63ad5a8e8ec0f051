/* money.c: amounts as text and back, in integers throughout. */
#include "money.h"

#include <math.h>
#include <stdio.h>

#define DECIMALS 9

/* The magnitude; INT64_MIN never comes here, it is MONEY_UNKNOWN. */
static uint64_t magnitude(int64_t nano)
{
    return nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
}

char *money_exact(int64_t nano, char out[static 32])
{
    if (nano == MONEY_UNKNOWN) {
        snprintf(out, 32, "unknown");
        return out;
    }
    uint64_t m = magnitude(nano);
    int n = snprintf(out, 32, "%s$%llu.%09llu", nano < 0 ? "-" : "",
                     (unsigned long long)(m / (uint64_t)MONEY_DOLLAR),
                     (unsigned long long)(m % (uint64_t)MONEY_DOLLAR));
    int keep = n - DECIMALS + 2;
    while (n > keep && out[n - 1] == '0')
        out[--n] = '\0';
    return out;
}

char *money_short(int64_t nano, char out[static 32])
{
    const uint64_t unit = 100000; /* a hundredth of a cent */
    if (nano == MONEY_UNKNOWN)
        return money_exact(nano, out);
    uint64_t m = magnitude(nano);
    uint64_t units = m / unit + (m % unit >= unit / 2);
    const char *sign = nano < 0 ? "-" : "";
    if (m > 0 && units == 0) {
        snprintf(out, 32, "%s$0.0001", nano < 0 ? ">-" : "<");
        return out;
    }
    snprintf(out, 32, "%s$%llu.%04llu", sign, (unsigned long long)(units / 10000),
             (unsigned long long)(units % 10000));
    return out;
}

int money_parse(struct str text, int64_t *out, struct err *e)
{
    struct str s = str_trim(text), whole, part = STR_NONE;
    if (s.n && s.p[0] == '$')
        s = str_n(s.p + 1, s.n - 1);
    bool dotted = str_cut(s, '.', &whole, &part);
    uint64_t dollars = 0, nano = 0;
    if (!str_to_u64(whole, &dollars) || (dotted && (part.n == 0 || !str_to_u64(part, &nano))))
        return err_set(e, ERR_FORMAT, "'%.*s' is not an amount in dollars", STR_ARG(s));
    if (part.n > DECIMALS)
        return err_set(e, ERR_FORMAT, "'%.*s' has more than nine decimals", STR_ARG(s));
    for (size_t i = part.n; i < DECIMALS; i++)
        nano *= 10;
    if (dollars >= (uint64_t)(INT64_MAX / MONEY_DOLLAR))
        return err_set(e, ERR_LIMIT, "'%.*s' is more than the books can hold", STR_ARG(s));
    *out = (int64_t)dollars * MONEY_DOLLAR + (int64_t)nano;
    return 0;
}

int money_from_usd(double usd, int64_t *out, struct err *e)
{
    if (!isfinite(usd) || usd < 0)
        return err_set(e, ERR_INVAL, "an amount must be a number that is not negative");
    if (usd >= (double)(INT64_MAX / MONEY_DOLLAR))
        return err_set(e, ERR_INVAL, "%.0f dollars are more than the books can hold", usd);
    *out = (int64_t)llround(usd * (double)MONEY_DOLLAR);
    return 0;
}

bool money_add(int64_t a, int64_t b, int64_t *out)
{
    int64_t sum;
    if (a == MONEY_UNKNOWN || b == MONEY_UNKNOWN || __builtin_add_overflow(a, b, &sum) ||
        sum == MONEY_UNKNOWN)
        return false;
    *out = sum;
    return true;
}
