/* detect_secret.c: private keys and access tokens. Their makers gave most of them a prefix so that
 * they can be found; a JWT is two JSON objects in base64. A key counts from its first line on,
 * whether or not its end is there. */
#include "privacy_int.h"

static size_t on_key(struct str text, size_t start, size_t end, struct hits *h)
{
    size_t stop = end;
    if (text.p[start] == '-') {
        size_t tail = str_find(text, STR("-----END "), end);
        if (tail != SIZE_MAX && tail - end < 64 * 1024) {
            size_t close = str_find(text, STR("-----"), tail + 9);
            stop = close == SIZE_MAX || close - tail > 80 ? tail : close + 5;
        }
    }
    hits_add(h, PRIVACY_KEY, start, stop, false);
    return stop;
}

void detect_key(const struct privacy_rules *r, struct str text, struct hits *h)
{
    rules_each(r, PATTERN_KEY, PRIVACY_KEY, text, on_key, h);
}

static size_t on_token(struct str text, size_t start, size_t end, struct hits *h)
{
    struct str t = str_n(text.p + start, end - start);
    bool digit = false, upper = false;
    for (size_t i = 0; i < t.n; i++) {
        digit = digit || is_digit(t.p[i]);
        upper = upper || (t.p[i] >= 'A' && t.p[i] <= 'Z');
    }
    /* "sk-some-long-name-with-dashes" is a name; a random token has digits or capitals. */
    if (digit || upper)
        hits_add(h, PRIVACY_TOKEN, start, end, false);
    return end;
}

static size_t on_url_secret(struct str text, size_t start, size_t end, struct hits *h)
{
    hits_add(h, PRIVACY_TOKEN, start, end, false);
    return end;
}

void detect_token(const struct privacy_rules *r, struct str text, struct hits *h)
{
    rules_each(r, PATTERN_TOKEN, PRIVACY_TOKEN, text, on_token, h);
    if (str_find(text, STR("://"), 0) != SIZE_MAX)
        rules_each(r, PATTERN_URL_SECRET, PRIVACY_TOKEN, text, on_url_secret, h);
}
