/* detect_money.c: payment cards and IBANs, both with a checksum.
 *
 * A card is a known prefix at a length its brand issues (ISO/IEC 7812 ranges as the brands publish
 * them) whose Luhn sum is right. Without a right sum it still counts, unverified, where the word
 * "card" stands before sixteen such digits: people mistype. An IBAN has its country's length (the
 * SWIFT registry) and is 1 modulo 97 (ISO 13616). */
#include "privacy_int.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define DIGITS_MAX 64

struct brand {
    uint32_t low, high; /* of the first six digits */
    uint8_t shortest, longest;
};
static const struct brand brands[] = {
    {400000, 499999, 13, 19},                           /* Visa: 13, 16, 19 (see below) */
    {510000, 559999, 16, 16}, {222100, 272099, 16, 16}, /* Mastercard */
    {340000, 349999, 15, 15}, {370000, 379999, 15, 15}, /* Amex */
    {601100, 601199, 16, 19}, {622126, 622925, 16, 19}, {644000, 659999, 16, 19}, /* Discover */
    {300000, 305999, 14, 19}, {309500, 309599, 14, 19}, {360000, 369999, 14, 19}, /* Diners */
    {380000, 399999, 14, 19},                                                     /* Diners */
    {350000, 359999, 16, 19}, {213100, 213199, 15, 15}, {180000, 180099, 15, 15}, /* JCB */
    {620000, 629999, 16, 19}, {810000, 819999, 16, 19},                           /* UnionPay */
    {500000, 509999, 12, 19}, {560000, 589999, 12, 19}, {630400, 630499, 12, 19}, /* Maestro */
    {639000, 639099, 12, 19}, {60400, 60499, 12, 19},   {675900, 676399, 12, 19},
    {670000, 679999, 16, 19},                           /* Maestro */
    {220000, 220499, 16, 19},                           /* Mir */
    {600000, 609999, 16, 16}, {820000, 829999, 16, 16}, /* RuPay */
    {979200, 979299, 16, 16},                           /* Troy */
};

static bool known_brand(const char *d, size_t n)
{
    uint32_t six = 0;
    for (size_t i = 0; i < 6; i++)
        six = six * 10 + (uint32_t)(d[i] - '0');
    for (size_t i = 0; i < COUNT(brands); i++) {
        const struct brand *b = &brands[i];
        if (six < b->low || six > b->high || n < b->shortest || n > b->longest)
            continue;
        if (b->low == 400000 && n != 13 && n != 16 && n != 19)
            continue;
        return true;
    }
    return false;
}

/* Twelve to fifteen digits are common and Maestro numbers that short are rare: outside Maestro's
 * own four-digit prefixes they count only beside the word "card". */
static bool needs_word(const char *d, size_t n)
{
    unsigned two = (unsigned)(d[0] - '0') * 10 + (unsigned)(d[1] - '0');
    bool own = memcmp(d, "5018", 4) == 0 || memcmp(d, "5020", 4) == 0 ||
               memcmp(d, "5038", 4) == 0 || memcmp(d, "5893", 4) == 0;
    return n < 16 && !own && (two == 50 || (two >= 56 && two <= 58) || two == 6);
}

static bool luhn(const char *d, size_t n)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++) {
        int v = d[n - 1 - i] - '0';
        if (i % 2)
            v = v > 4 ? v * 2 - 9 : v * 2;
        sum += v;
    }
    return sum % 10 == 0;
}

struct run {
    char d[DIGITS_MAX];
    size_t at[DIGITS_MAX];       /* where each digit stands */
    bool begins[DIGITS_MAX + 1]; /* a separator stands before it */
    size_t n;
};

static void read_run(struct str text, size_t start, size_t end, struct run *r)
{
    r->n = 0;
    bool gap = true;
    for (size_t i = start; i < end && r->n < DIGITS_MAX; i++) {
        if (!is_digit(text.p[i])) {
            gap = true;
            continue;
        }
        r->begins[r->n] = gap;
        r->at[r->n] = i;
        r->d[r->n++] = text.p[i];
        gap = false;
    }
    r->begins[r->n] = true;
}

/* Do the groups of digits [from, from + n) look like a card's: one group, fours, 4-6-5, 4-6-4, or
 * all single? In a longer row of numbers, other groupings are other numbers. */
static bool card_shape(const struct run *r, size_t from, size_t n)
{
    bool one = true, fours = true, amex = true, single = true;
    for (size_t i = 1; i < n; i++) {
        bool b = r->begins[from + i];
        one = one && !b;
        fours = fours && b == (i % 4 == 0);
        amex = amex && b == (i == 4 || i == 10);
        single = single && b;
    }
    return one || fours || single || (amex && n < 16);
}

static bool card_word(struct str text, size_t at)
{
    static const char *const words[] = {"card",    "visa",  "mastercard", "amex",  "maestro",
                                        "credit",  "debit", "cc$",        "karte", "kreditkarte",
                                        "tarjeta", "carte", "carta",      "cvv",   "discover"};
    size_t end;
    return context_find(text, at > 40 ? at - 40 : 0, at, words, COUNT(words), &end);
}

static bool card_at(struct str text, const struct run *r, size_t from, size_t n, struct hits *h)
{
    bool whole = from == 0 && n == r->n;
    if (!whole && !card_shape(r, from, n))
        return false;
    if (!known_brand(r->d + from, n))
        return false;
    bool same = true;
    for (size_t i = 1; i < n; i++)
        same = same && r->d[from + i] == r->d[from];
    bool ok = !same && luhn(r->d + from, n);
    bool word = card_word(text, r->at[from]);
    if (ok ? needs_word(r->d + from, n) && !word : same || n < 15 || !word)
        return false;
    hits_add(h, PRIVACY_CARD, r->at[from], r->at[from + n - 1] + 1, ok);
    return true;
}

static size_t on_digits(struct str text, size_t start, size_t end, struct hits *h)
{
    struct run r;
    read_run(text, start, end, &r);
    for (size_t from = 0; from + 12 <= r.n; from++) {
        if (!r.begins[from])
            continue;
        size_t most = r.n - from < 19 ? r.n - from : 19;
        for (size_t n = most; n >= 12; n--) {
            if (r.begins[from + n] && card_at(text, &r, from, n, h)) {
                from += n - 1;
                break;
            }
        }
    }
    /* A longer row goes on from its middle, so that no card falls on the cut. */
    return r.n == DIGITS_MAX ? r.at[DIGITS_MAX - 20] : end;
}

void detect_card(const struct privacy_rules *r, struct str text, struct hits *h)
{
    rules_each(r, PATTERN_DIGITS, PRIVACY_CARD, text, on_digits, h);
}

/* ---- IBAN ---- */

static const struct {
    char country[3];
    uint8_t length;
} ibans[] = {
    {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22},
    {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22}, {"CY", 28}, {"CZ", 24},
    {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18},
    {"FK", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27},
    {"GT", 28}, {"HN", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26},
    {"IT", 27}, {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20},
    {"LU", 20}, {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MN", 20},
    {"MR", 27}, {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23}, {"PK", 24},
    {"PL", 28}, {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22}, {"RU", 33}, {"SA", 24},
    {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"SO", 23}, {"ST", 25},
    {"SV", 28}, {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20},
    {"YE", 30},
};
#define IBAN_MAX 34

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static size_t iban_length(char a, char b)
{
    for (size_t i = 0; i < COUNT(ibans); i++) {
        if (ibans[i].country[0] == a && ibans[i].country[1] == b)
            return ibans[i].length;
    }
    return 0;
}

static unsigned mod97(const char *c, size_t n)
{
    unsigned rest = 0;
    for (size_t i = 0; i < n; i++) {
        char x = c[(i + 4) % n]; /* country and check digits go last */
        rest = is_digit(x) ? (rest * 10 + (unsigned)(x - '0')) % 97
                           : (rest * 100 + (unsigned)(x - 'A') + 10) % 97;
    }
    return rest;
}

static bool iban_at(struct str text, size_t start, size_t end, size_t *stop)
{
    char c[IBAN_MAX];
    size_t n = 0, want = 0, i = start;
    for (; i < end && (!want || n < want); i++) {
        if (!is_alnum(text.p[i]))
            continue;
        c[n++] = upper(text.p[i]);
        if (n == 2)
            want = iban_length(c[0], c[1]);
        if (n == 2 && !want)
            return false;
    }
    size_t digits = 0;
    for (size_t k = 0; k < n; k++)
        digits += is_digit(c[k]);
    /* Account numbers are digits mainly; words that happen to give 1 are not. */
    if (!want || n != want || !is_digit(c[2]) || !is_digit(c[3]) || digits < n / 2 ||
        mod97(c, n) != 1)
        return false;
    *stop = i;
    return true;
}

static size_t on_iban(struct str text, size_t start, size_t end, struct hits *h)
{
    size_t at = start, stop;
    if (str_istarts(str_n(text.p + start, end - start), STR("IBAN")))
        at += 4;
    while (at < end && !is_alnum(text.p[at]))
        at++;
    if (iban_at(text, at, end, &stop)) {
        hits_add(h, PRIVACY_IBAN, at, stop, true);
        return stop;
    }
    return at + 2;
}

void detect_iban(const struct privacy_rules *r, struct str text, struct hits *h)
{
    rules_each(r, PATTERN_IBAN, PRIVACY_IBAN, text, on_iban, h);
}
