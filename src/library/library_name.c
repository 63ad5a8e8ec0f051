/* library_name.c: what counts as a name, a path or a URL, and how a name is made from one. A name
 * becomes a file name, so it holds nothing but letters, digits, '.', '_', '-', one ':' before a
 * tag, and '/' between at most four parts ("hf.co/ORG/REPO:QUANT"), none of which begins with a
 * dot; the first of several parts may be a host with its port. In a file's name a '/' is a '+'. */
#include "library_int.h"

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool valid_part(struct str part, bool host, bool last)
{
    int tags = 0;
    if (part.n == 0 || part.p[0] == '.' || part.p[0] == '-')
        return false;
    for (size_t i = 0; i < part.n; i++) {
        bool tag = (host || last) && part.p[i] == ':' && i > 0 && i + 1 < part.n && tags++ == 0;
        bool port = !tags || !host || tag || (part.p[i] >= '0' && part.p[i] <= '9');
        if ((!plain(part.p[i]) && !tag) || !port)
            return false;
    }
    return true;
}

bool lib_name_valid(struct str name)
{
    struct str part, rest = name;
    if (name.n == 0 || name.n > NAME_MAX_BYTES)
        return false;
    if (str_ends(name, STR(".gguf"))) /* that is how a path is told from a name */
        return false;
    for (int i = 0; i < 4; i++) {
        bool more = str_cut(rest, '/', &part, &rest);
        if (!valid_part(part, more && i == 0, !more))
            return false;
        if (!more)
            return true;
    }
    return false;
}

void lib_name_encode(const char *name, char file[NAME_MAX_BYTES + 1])
{
    size_t n = strnlen(name, NAME_MAX_BYTES);
    for (size_t i = 0; i < n; i++)
        file[i] = name[i] == '/' ? '+' : name[i];
    file[n] = '\0';
}

void lib_name_decode(char *name)
{
    for (; *name; name++)
        if (*name == '+')
            *name = '/';
}

bool lib_is_url(const char *s)
{
    return strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0;
}

bool lib_is_path(const char *s)
{
    return s[0] == '/' || s[0] == '.' || str_ends(str_of(s), STR(".gguf")) ||
           (strchr(s, '/') && !lib_name_valid(str_of(s)));
}

int lib_name_from(const char *path_or_url, char name[NAME_MAX_BYTES + 1], struct err *e)
{
    struct str s = str_of(path_or_url);
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '/') {
            s = str_n(s.p + i + 1, s.n - i - 1);
            break;
        }
    if (s.n > 5 && str_ieq(str_n(s.p + s.n - 5, 5), STR(".gguf")))
        s.n -= 5;
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < NAME_MAX_BYTES; i++) {
        char c = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 32) : s.p[i];
        if (n == 0 && (c == '.' || c == '-'))
            continue;
        name[n++] = plain(c) ? c : '_';
    }
    name[n] = '\0';
    if (!lib_name_valid(str_n(name, n)))
        return err_set(e, ERR_INVAL, "no name for a model can be made from %s", path_or_url);
    return 0;
}

/* Levenshtein's distance over the first 64 bytes; names that contain one another are near. */
unsigned lib_name_distance(const char *a, const char *b)
{
    unsigned row[65];
    size_t na = strnlen(a, 64), nb = strnlen(b, 64);
    if (na >= 3 && nb >= 3 && (strcasestr(a, b) || strcasestr(b, a)))
        return 1;
    for (unsigned k = 0; k <= nb; k++)
        row[k] = k;
    for (size_t i = 1; i <= na; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t k = 1; k <= nb; k++) {
            unsigned swap = diagonal + ((a[i - 1] | 0x20) != (b[k - 1] | 0x20));
            diagonal = row[k];
            unsigned gap = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            row[k] = swap < gap ? swap : gap;
        }
    }
    return row[nb];
}
