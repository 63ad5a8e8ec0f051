/* library_name.c: what counts as a name, a path or a URL, and how a name is made from one. A name
 * becomes a file name, so it holds nothing but letters, digits, '.', '_', '-' and one ':' before a
 * tag, and never begins with a dot. */
#include "library_int.h"

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool lib_name_valid(struct str name)
{
    int tags = 0;
    if (name.n == 0 || name.n > NAME_MAX_BYTES || name.p[0] == '.' || name.p[0] == '-')
        return false;
    if (str_ends(name, STR(".gguf"))) /* that is how a path is told from a name */
        return false;
    for (size_t i = 0; i < name.n; i++) {
        bool tag = name.p[i] == ':' && i > 0 && i + 1 < name.n && tags++ == 0;
        if (!plain(name.p[i]) && !tag)
            return false;
    }
    return true;
}

bool lib_is_url(const char *s)
{
    return strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0;
}

bool lib_is_path(const char *s)
{
    return strchr(s, '/') || str_ends(str_of(s), STR(".gguf"));
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
