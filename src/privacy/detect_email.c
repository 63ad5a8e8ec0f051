/* detect_email.c: e-mail addresses, also written "name [at] host [dot] org". The pattern finds the
 * shape; here stand the look-alikes of everyday text that are none: icon@2x.png, git@host:path. */
#include "privacy_int.h"

/* Ends of file names that are no top-level domains. */
static const char *const file_ends[] = {"png", "jpg", "jpeg", "gif",  "svg",  "webp", "js",  "jsx",
                                        "ts",  "tsx", "css",  "html", "json", "xml",  "pdf", "exe",
                                        "dll", "tgz", "gz",   "txt",  "csv",  "yml",  "yaml"};

static struct str last_label(struct str s)
{
    for (size_t i = s.n; i > 0; i--) {
        char c = s.p[i - 1];
        if (!is_word(c) && c != '-')
            return str_n(s.p + i, s.n - i);
    }
    return s;
}

static size_t on_email(struct str text, size_t start, size_t end, struct hits *h)
{
    struct str whole = str_n(text.p + start, end - start);
    struct str tld = last_label(whole);
    for (size_t i = 0; i < sizeof file_ends / sizeof *file_ends; i++) {
        if (str_ieq(tld, str_of(file_ends[i])))
            return end;
    }
    bool ssh = str_starts(whole, STR("git@")) && end < text.n &&
               (text.p[end] == ':' || text.p[end] == '/');
    if (!ssh)
        hits_add(h, PRIVACY_EMAIL, start, end, false);
    return end;
}

void detect_email(const struct privacy_rules *r, struct str text, struct hits *h)
{
    /* Most texts have none of the two ways to write it. */
    bool at = text.n && memchr(text.p, '@', text.n);
    bool spelled =
        str_find(text, STR("at]"), 0) != SIZE_MAX || str_find(text, STR("at)"), 0) != SIZE_MAX ||
        str_find(text, STR("AT]"), 0) != SIZE_MAX || str_find(text, STR("AT)"), 0) != SIZE_MAX;
    if (at || spelled)
        rules_each(r, PATTERN_EMAIL, PRIVACY_EMAIL, text, on_email, h);
}
