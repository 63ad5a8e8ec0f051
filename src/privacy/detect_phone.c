/* detect_phone.c: telephone numbers, the one detector without a checksum to lean on.
 *
 * A run of digits and separators is cut into groups; each stretch of groups is tried against the
 * shapes people write, strongest first:
 *   international   + or 00 or 011, a country code that exists, 8 to 15 digits
 *   North American  3-3-4 with separators, area code from 2 on
 *   trunk zero      0 and 8 to 10 more digits, in groups
 *   area in ()      (71) 4233-6306
 *   bare mobile     07911123456, 0612345678, 13812345678: common national forms without blanks
 *   by its context  7 to 13 digits beside "call me at", "Tel.", "office", ...
 * Dates, amounts, decimals, order numbers and ISBNs have other shapes or other words before them;
 * nine digits in threes ("699 956 915") could be an amount, so they need the context. */
#include "privacy_int.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define GROUPS_MAX 40

struct group {
    size_t start, end; /* in the text */
    char sep;          /* the separator before it: 0 none, else the first that is no blank */
    bool paren;        /* stands in parentheses */
};

struct run {
    struct str text;
    struct group g[GROUPS_MAX];
    size_t n;
};

/* How wide a stretch is, and its digits without separators. */
struct digits {
    char d[64];
    size_t n;
};

static const char *const before_strong[] = {
    "phone",    "telephone", "tel$",     "tel.",      "mobile",   "cell$",    "cellphone",  "fax",
    "whatsapp", "sms$",      "telefon",  "téléphone", "teléfono", "telefono", "handy$",     "móvil",
    "portable", "numéro",    "messages", "voicemail", "hotline",  "landline", "registered", "desk:",
    "office:",  "work:",     "home:",    "电话",      "手机",     "電話",     "携帯",       "тел"};
static const char *const before_verb[] = {"call$", "call me", "calling$", "text me",   "dial$",
                                          "ring$", "reach",   "contact",  "answering", "ping me"};
static const char *const after_words[] = {"office", "fax$", "mobile", "cell$",  "desk$",
                                          "phone",  "tel$", "work$",  "handy$", "landline"};
static const char *const vetoes[] = {
    "order",  "invoice", "ticket",   "tracking", "isbn", "issn",      "serial", "sku$",   "part$",
    "item$",  "account", "acct",     "ref$",     "ref.", "reference", "case$",  "id$",    "version",
    "build$", "bestell", "rechnung", "commande", "po$",  "rfc$",      "cve$",   "chapter"};

static const char *const country_2[] = {
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46",
    "47", "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63",
    "64", "65", "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98"};
/* The first two digits of the codes that have three. */
static const char *const country_3[] = {"21", "22", "23", "24", "25", "26", "29", "35",
                                        "37", "38", "42", "50", "59", "67", "68", "69",
                                        "80", "85", "87", "88", "96", "97", "99"};

static bool starts_with_any(const char *d, const char *const *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (d[0] == codes[i][0] && d[1] == codes[i][1])
            return true;
    }
    return false;
}

/* d: the digits from the country code on. */
static bool international(const char *d, size_t n)
{
    if (n < 8 || n > 15)
        return false;
    if (d[0] == '1')
        return n == 11 && d[1] >= '2';
    if (d[0] == '7')
        return n == 11;
    return starts_with_any(d, country_2, COUNT(country_2)) ||
           starts_with_any(d, country_3, COUNT(country_3));
}

static size_t width(const struct run *r, size_t i)
{
    return r->g[i].end - r->g[i].start;
}

static void collect(const struct run *r, size_t from, size_t to, bool skip_trunk,
                    struct digits *out)
{
    out->n = 0;
    for (size_t i = from; i < to; i++) {
        /* +46 (0)8: the zero in parentheses is not dialled from abroad. */
        bool trunk =
            skip_trunk && r->g[i].paren && width(r, i) == 1 && r->text.p[r->g[i].start] == '0';
        for (size_t k = r->g[i].start; !trunk && k < r->g[i].end && out->n < sizeof out->d; k++)
            out->d[out->n++] = r->text.p[k];
    }
}

static bool has_plus(const struct run *r, size_t i)
{
    size_t at = r->g[i].start;
    while (at > 0 && (r->text.p[at - 1] == '(' || r->text.p[at - 1] == ' '))
        at--;
    return at > 0 && r->text.p[at - 1] == '+';
}

/* 31-12-2024, 2024/12/31 and what follows them. */
static bool date_like(const struct run *r, size_t from, size_t to)
{
    if (to - from < 3)
        return false;
    size_t a = width(r, from), b = width(r, from + 1), c = width(r, from + 2);
    const char *y = r->text.p + r->g[a == 4 ? from : from + 2].start;
    bool year = (y[0] == '1' && y[1] == '9') || (y[0] == '2' && y[1] == '0');
    bool shape = (a <= 2 && b <= 2 && c == 4) || (a == 4 && b <= 2 && c <= 2);
    return shape && year && !r->g[from].paren;
}

static bool north_american(const struct run *r, size_t from, size_t to)
{
    if (to - from == 4 && width(r, from) == 1 && r->text.p[r->g[from].start] == '1')
        from++;
    return to - from == 3 && width(r, from) == 3 && width(r, from + 1) == 3 &&
           width(r, from + 2) == 4 && r->text.p[r->g[from].start] >= '2';
}

static bool trunk_zero(const struct run *r, size_t from, size_t to, const struct digits *d)
{
    if (d->n < 9 || d->n > 11 || d->d[0] != '0' || d->d[1] == '0')
        return false;
    if (to - from < 2 || to - from > 6)
        return false;
    bool decimal = to - from == 2 && r->g[from + 1].sep == '.';
    for (size_t i = from + 1; i < to; i++) {
        if (width(r, i) < 2)
            return false;
    }
    return !decimal;
}

static bool area_in_parens(const struct run *r, size_t from, size_t to, const struct digits *d)
{
    if (!r->g[from].paren || width(r, from) < 2 || width(r, from) > 4 || to - from < 2)
        return false;
    for (size_t i = from + 1; i < to; i++) {
        if (width(r, i) < 3 || r->g[i].paren)
            return false;
    }
    return d->n >= 8 && d->n <= 11;
}

static bool bare_mobile(const struct digits *d)
{
    const char *p = d->d;
    if (d->n == 11)
        return (p[0] == '0' && p[1] == '7') || (p[0] == '0' && p[1] == '1' && p[2] >= '5') ||
               (p[0] == '1' && p[1] >= '3' && p[2] != '0' && p[1] != '4');
    return d->n == 10 && p[0] == '0' && (p[1] == '4' || p[1] == '6' || p[1] == '7');
}

static bool vetoed(struct str text, size_t at)
{
    size_t end;
    if (at && strchr("$#", text.p[at - 1]) && text.p[at - 1])
        return true;
    return context_find(text, at > 16 ? at - 16 : 0, at, vetoes, COUNT(vetoes), &end);
}

/* A word that announces a number, with little and no other digits between. */
static bool announced(struct str text, size_t at, const char *const *words, size_t n, size_t gap)
{
    size_t end, from = at > gap + 12 ? at - gap - 12 : 0;
    if (!context_find(text, from, at, words, n, &end) || at < end || at - end > gap)
        return false;
    for (size_t i = end; i < at; i++) {
        if (is_digit(text.p[i]))
            return false;
    }
    return true;
}

static bool named_after(struct str text, size_t end)
{
    size_t at = end, stop;
    while (at < text.n && at - end < 3 && strchr(" -,(/\\", text.p[at]) && text.p[at])
        at++;
    size_t to = text.n - at > 9 ? at + 9 : text.n;
    return at > end && context_find(text, at, to, after_words, COUNT(after_words), &stop);
}

static bool in_context(const struct run *r, size_t from, size_t to, const struct digits *d)
{
    if (d->n < 7 || d->n > 13 || to - from > 6)
        return false;
    size_t start = r->g[from].start;
    if (announced(r->text, start, before_strong, COUNT(before_strong), 20))
        return true;
    if (announced(r->text, start, before_verb, COUNT(before_verb), 14) && !vetoed(r->text, start))
        return true;
    return named_after(r->text, r->g[to - 1].end);
}

static bool is_phone(const struct run *r, size_t from, size_t to)
{
    struct digits d;
    collect(r, from, to, true, &d);
    if (d.n < 7 || d.n > 18)
        return false;
    if (has_plus(r, from) && international(d.d, d.n))
        return true;
    if (d.n > 10 && d.d[0] == '0' && d.d[1] == '0' && d.d[2] != '0' &&
        international(d.d + 2, d.n - 2))
        return to - from > 1 || d.n >= 12;
    if (d.n > 11 && memcmp(d.d, "011", 3) == 0 && to - from > 2 && international(d.d + 3, d.n - 3))
        return true;
    if (date_like(r, from, to))
        return false;
    if (in_context(r, from, to, &d))
        return true;
    size_t start = r->g[from].start;
    if (vetoed(r->text, start))
        return false;
    return north_american(r, from, to) || trunk_zero(r, from, to, &d) ||
           area_in_parens(r, from, to, &d) || (to - from == 1 && bare_mobile(&d));
}

static void cut_groups(struct str text, size_t start, size_t end, struct run *r)
{
    *r = (struct run){.text = text};
    char sep = 0;
    bool open = false;
    for (size_t i = start; i < end && r->n < GROUPS_MAX; i++) {
        char c = text.p[i];
        if (!is_digit(c)) {
            open = c == '(' || (open && c != ')');
            sep = sep && sep != ' ' ? sep : c;
            continue;
        }
        struct group g = {.start = i, .sep = sep, .paren = open};
        while (i < end && is_digit(text.p[i]))
            i++;
        g.end = i--;
        r->g[r->n++] = g;
        sep = 0;
    }
}

/* "x459", "ext. 12" belong to the number; any other letter right after means it is none. */
static bool ends_well(struct str text, size_t end, size_t *out)
{
    static const char *const marks[] = {"x", " x", "ext", " ext", "ext.", " ext.", ";ext="};
    *out = end;
    for (size_t i = 0; i < COUNT(marks); i++) {
        struct str rest = str_n(text.p + end, text.n - end);
        if (!str_istarts(rest, str_of(marks[i])))
            continue;
        size_t at = end + strlen(marks[i]);
        at += at < text.n && text.p[at] == ' ';
        size_t n = 0;
        while (at + n < text.n && n < 6 && is_digit(text.p[at + n]))
            n++;
        if (n) {
            *out = at + n;
            return true;
        }
    }
    return end >= text.n || (!is_alnum(text.p[end]) && text.p[end] != '_');
}

/* The plus and the parenthesis before the first digit are part of the number. */
static size_t begin_of(struct str text, size_t floor, size_t at)
{
    while (at > floor && strchr("(+", text.p[at - 1]) && text.p[at - 1])
        at--;
    return at;
}

static size_t on_run(struct str text, size_t start, size_t end, struct hits *h)
{
    struct run r;
    cut_groups(text, start, end, &r);
    for (size_t from = 0; from < r.n; from++) {
        if (date_like(&r, from, r.n) && !has_plus(&r, from)) {
            from += 2;
            continue;
        }
        size_t most = r.n - from < 9 ? r.n - from : 9;
        for (size_t n = most; n > 0; n--) {
            size_t stop;
            if (!ends_well(text, r.g[from + n - 1].end, &stop) || !is_phone(&r, from, from + n))
                continue;
            hits_add(h, PRIVACY_PHONE, begin_of(text, start, r.g[from].start), stop, false);
            from += n - 1;
            break;
        }
    }
    return r.n == GROUPS_MAX ? r.g[r.n - 1].start : end;
}

void detect_phone(const struct privacy_rules *r, struct str text, struct hits *h)
{
    rules_each(r, PATTERN_PHONE, PRIVACY_PHONE, text, on_run, h);
}
