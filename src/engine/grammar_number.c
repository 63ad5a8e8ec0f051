/* grammar_number.c: sets of decimal numbers by their text: above a bound, multiples, integers.
 * Exact in decimals: a bound is the shortest decimal that reads as it, which is what was written.
 * Bounds become patterns, digit by digit; the rest is the algebra of sets. */
#include "grammar_dfa_int.h"

#include "buf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_DIGITS 60   /* of a bound, its zeros included */
#define MAX_PERIOD 4000 /* remainders times places of a multiple */

static int from_pattern(const char *p, struct dfa *out)
{
    const char *why;
    return regex_to_dfa(str_of(p), out, &why);
}

int number_any(struct dfa *out)
{
    struct dfa minus_zero, all;
    int rc = from_pattern("^-0(?:\\.0*)?$", &minus_zero);
    if (rc)
        return rc;
    rc = from_pattern("^-?(?:(?:0|[1-9][0-9]{0,17})|[1-9][0-9]{0,8}\\.[0-9]{1,6}|0\\.[0-9]{1,15})$",
                      &all);
    if (!rc) {
        rc = dfa_into(&all, &minus_zero, DFA_AND_NOT);
        if (rc)
            dfa_done(&all);
    }
    dfa_done(&minus_zero);
    if (!rc)
        *out = all;
    return rc;
}

int number_integer(struct dfa *out)
{
    return from_pattern("^-?[0-9]+(?:\\.0+)?$", out);
}

int number_plain_integer(struct dfa *out)
{
    return from_pattern("^-?[0-9]+$", out);
}

bool number_decimal(double v, struct decimal *out)
{
    char text[48];
    if (!isfinite(v))
        return false;
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v)
            break;
    }
    *out = (struct decimal){.negative = v < 0};
    char *e = strchr(text, 'e');
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            out->digits[out->n++] = *p;
    while (out->n > 1 && out->digits[out->n - 1] == '0')
        out->n--;
    out->point = (int)strtol(e + 1, NULL, 10) + 1;
    if (v == 0)
        out->n = out->point = 0;
    return true;
}

/* Digits before and behind the point, without needless zeros; false: too many. */
static bool split(const struct decimal *d, struct buf *whole, struct buf *frac)
{
    if (d->point > MAX_DIGITS || d->n - d->point > MAX_DIGITS)
        return false;
    for (int i = 0; i < d->point; i++)
        buf_putc(whole, i < d->n ? d->digits[i] : '0');
    if (!whole->n)
        buf_putc(whole, '0');
    for (int i = d->point; i < d->n; i++)
        buf_putc(frac, i < 0 ? '0' : d->digits[i]);
    return !buf_failed(whole) && !buf_failed(frac);
}

/* Whole numbers above one of these digits: longer, or the first digit that differs is larger. */
static void above_whole(struct buf *p, struct str w)
{
    buf_printf(p, "[1-9][0-9]{%zu,}", w.n);
    for (size_t i = 0; i < w.n; i++)
        if (w.p[i] < '9')
            buf_printf(p, "|%.*s[%c-9][0-9]{%zu}", (int)i, w.p, w.p[i] + 1, w.n - 1 - i);
}

static void above_frac(struct buf *p, struct str f)
{
    for (size_t i = 0; i < f.n; i++)
        if (f.p[i] < '9')
            buf_printf(p, "%.*s[%c-9][0-9]*|", (int)i, f.p, f.p[i] + 1);
    buf_printf(p, "%.*s[0-9]*[1-9][0-9]*", STR_ARG(f));
}

/* Texts without a sign whose value is above |d|, or equal where that counts. */
static bool magnitude_above(struct buf *p, const struct decimal *d, bool or_equal)
{
    struct buf whole = BUF_INIT(256), frac = BUF_INIT(256);
    bool ok = split(d, &whole, &frac);
    struct str w = buf_str(&whole), f = buf_str(&frac);
    if (ok) {
        buf_puts(p, "(?:(?:");
        above_whole(p, w);
        buf_printf(p, ")(?:\\.[0-9]+)?|%.*s\\.(?:", STR_ARG(w));
        above_frac(p, f);
        buf_puts(p, ")");
        if (or_equal && f.n)
            buf_printf(p, "|%.*s\\.%.*s0*", STR_ARG(w), STR_ARG(f));
        else if (or_equal)
            buf_printf(p, "|%.*s(?:\\.0+)?", STR_ARG(w));
        buf_puts(p, ")");
    }
    buf_done(&whole);
    buf_done(&frac);
    return ok && !buf_failed(p);
}

/* Below zero it is the other way round: what is above -3 is what is not minus 3 or more. */
int number_above(double bound, bool or_equal, struct dfa *out)
{
    struct decimal d;
    struct buf p = BUF_INIT(1 << 16);
    int rc = ERR_UNSUPPORTED;
    bool below_zero = bound < 0;
    buf_puts(&p, below_zero ? "^-" : "^");
    if (number_decimal(bound, &d) && magnitude_above(&p, &d, below_zero ? !or_equal : or_equal)) {
        buf_puts(&p, "$");
        rc = buf_failed(&p) ? ERR_NOMEM : from_pattern(p.p, out);
    }
    buf_done(&p);
    if (rc || !below_zero)
        return rc;
    struct dfa all;
    rc = number_any(&all);
    if (!rc)
        rc = dfa_into(&all, out, DFA_AND_NOT);
    dfa_done(out);
    if (!rc)
        *out = all;
    return rc;
}

int number_equal(double v, struct dfa *out)
{
    struct dfa above, from;
    int rc = number_above(v, true, &from);
    if (rc)
        return rc;
    rc = number_above(v, false, &above);
    if (!rc) {
        rc = dfa_into(&from, &above, DFA_AND_NOT);
        dfa_done(&above);
    }
    if (rc)
        dfa_done(&from);
    else
        *out = from;
    return rc;
}

/* ---- multiples: the remainder so far, and how many digits behind the point ---- */

struct period {
    uint32_t of;       /* the multiple, in units of the last place */
    uint32_t places;   /* behind the point */
    uint32_t unit[32]; /* 10^i mod of */
};

/* States: 0 the start, 1 behind a minus, then remainder by place: place 0 is before the point, 1 to
 * places + 1 behind it. */
static uint32_t state_of(const struct period *p, uint32_t place, uint32_t rest)
{
    return 2 + place * p->of + rest;
}

static void digit_edges(const struct period *p, struct dfa_maker *m, uint32_t place, uint32_t rest)
{
    for (uint32_t d = 0; d < 10; d++)
        dfa_maker_edge(m, '0' + d, '0' + d, state_of(p, place, (rest * 10 + d) % p->of));
}

static void multiple_states(const struct period *p, struct dfa_maker *m)
{
    dfa_maker_state(m, false);
    dfa_maker_edge(m, '-', '-', 1);
    digit_edges(p, m, 0, 0);
    dfa_maker_state(m, false);
    digit_edges(p, m, 0, 0);
    for (uint32_t place = 0; place <= p->places + 1; place++)
        for (uint32_t r = 0; r < p->of; r++) {
            uint32_t had = place ? place - 1 : 0; /* digits behind the point */
            dfa_maker_state(m, (uint64_t)r * p->unit[p->places - had] % p->of == 0);
            if (place == 0)
                dfa_maker_edge(m, '.', '.', state_of(p, 1, r));
            if (place == 0)
                digit_edges(p, m, 0, r);
            else if (had < p->places)
                digit_edges(p, m, place + 1, r);
            else
                dfa_maker_edge(m, '0', '0', state_of(p, place, r));
        }
}

int number_multiple(double of, struct dfa *out)
{
    struct decimal d;
    struct period p = {0};
    if (!(of > 0) || !number_decimal(of, &d))
        return ERR_FORMAT;
    uint64_t v = 0;
    int places = d.n > d.point ? d.n - d.point : 0;
    for (int i = 0; i < d.n || i < d.point; i++) {
        v = v * 10 + (uint64_t)(i < d.n ? d.digits[i] - '0' : 0);
        if (v > MAX_PERIOD)
            return ERR_UNSUPPORTED;
    }
    if (places > 17 || v * ((unsigned)places + 2) > MAX_PERIOD)
        return ERR_UNSUPPORTED;
    p.of = (uint32_t)v;
    p.places = (uint32_t)places;
    p.unit[0] = 1 % p.of;
    for (int i = 1; i <= places; i++)
        p.unit[i] = p.unit[i - 1] * 10 % p.of;
    struct dfa_maker m = {0};
    multiple_states(&p, &m);
    return dfa_maker_end(&m, out);
}
