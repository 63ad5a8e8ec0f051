/* detect_number.c: US social security numbers and IP addresses.
 *
 * A social security number has no checksum; it has numbers that were never given out (area 000,
 * 666, 900 and up; group 00; serial 0000). Nine bare digits are one only beside the words. An IP
 * address is one by its syntax; loopback, the unspecified address and netmasks name nobody and are
 * left out, and so are version numbers ("v1.2.3.4", "version 1.2.3.4", "lib-1.2.3.4"). */
#include "privacy_int.h"

#include <arpa/inet.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool ssn_word(struct str text, size_t at)
{
    static const char *const words[] = {"ssn", "social security", "soc sec", "social sec",
                                        "taxpayer"};
    size_t end;
    return context_find(text, at > 48 ? at - 48 : 0, at, words, COUNT(words), &end);
}

static size_t on_ssn(struct str text, size_t start, size_t end, struct hits *h)
{
    char d[9];
    size_t n = 0;
    for (size_t i = start; i < end && n < 9; i++) {
        if (is_digit(text.p[i]))
            d[n++] = text.p[i];
    }
    bool bare = end - start == 9;
    bool never = memcmp(d, "000", 3) == 0 || memcmp(d, "666", 3) == 0 || d[0] == '9' ||
                 memcmp(d + 3, "00", 2) == 0 || memcmp(d + 5, "0000", 4) == 0;
    if (!never && (!bare || ssn_word(text, start)))
        hits_add(h, PRIVACY_SSN, start, end, false);
    return end;
}

void detect_ssn(const struct privacy_rules *r, struct str text, struct hits *h)
{
    rules_each(r, PATTERN_SSN, PRIVACY_SSN, text, on_ssn, h);
}

/* ---- IP ---- */

static bool version_before(struct str text, size_t at)
{
    static const char *const words[] = {"version", "versions", "release", "ver$",
                                        "ver.",    "rev$",     "build$",  "firmware",
                                        "section", "chapter",  "clause",  "§"};
    if (at >= 2 && text.p[at - 1] == '-' && is_alnum(text.p[at - 2]))
        return true; /* libfoo-1.2.3.4 */
    if (at >= 1 && (text.p[at - 1] == 'v' || text.p[at - 1] == 'V'))
        return true;
    size_t end;
    return context_find(text, at > 14 ? at - 14 : 0, at, words, COUNT(words), &end) &&
           at - end <= 4;
}

static size_t on_ipv4(struct str text, size_t start, size_t end, struct hits *h)
{
    unsigned o[4] = {0};
    size_t k = 0;
    for (size_t i = start; i < end; i++) {
        if (is_digit(text.p[i]))
            o[k] = o[k] * 10 + (unsigned)(text.p[i] - '0');
        else if (text.p[i] == '.' && k < 3)
            k++;
    }
    bool nobody = o[0] == 127 || o[0] == 255 || (o[0] | o[1] | o[2] | o[3]) == 0;
    if (!nobody && !version_before(text, start))
        hits_add(h, PRIVACY_IP, start, end, false);
    return end;
}

static size_t on_ipv6(struct str text, size_t start, size_t end, struct hits *h)
{
    char z[64];
    size_t n = end - start;
    if (n >= sizeof z)
        return end;
    memcpy(z, text.p + start, n);
    z[n] = '\0';
    /* "12:30:" at the end of a clause. */
    if (n > 2 && z[n - 1] == ':' && z[n - 2] != ':')
        z[--n] = '\0';
    struct in6_addr a;
    if (inet_pton(AF_INET6, z, &a) != 1)
        return end;
    static const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT, any = IN6ADDR_ANY_INIT;
    bool nobody = memcmp(&a, &loopback, sizeof a) == 0 || memcmp(&a, &any, sizeof a) == 0;
    /* dead::beef is how programs name things, too: an address without a digit is none here. */
    bool digit = false;
    for (size_t i = 0; i < n; i++)
        digit = digit || is_digit(z[i]);
    if (!nobody && digit)
        hits_add(h, PRIVACY_IP, start, start + n, false);
    return end;
}

void detect_ip(const struct privacy_rules *r, struct str text, struct hits *h)
{
    rules_each(r, PATTERN_IPV4, PRIVACY_IP, text, on_ipv4, h);
    rules_each(r, PATTERN_IPV6, PRIVACY_IP, text, on_ipv6, h);
}
