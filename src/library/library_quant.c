/* library_quant.c: which of a repository's files is wanted. Pure.
 *
 * A quantisation is told from a file's name (Some-Model-Q4_K_M.gguf, Q4_K_M/..., model.q8_0.gguf),
 * never from its content, because the choice comes before the download. Without one being named the
 * first of `order` that is there is taken: Q4_K_M as the size that costs little quality, then what
 * lies nearest, smaller before larger, then unquantised weights, and at the very end what has so
 * few bits that nobody should get it without asking. */
#include "library_int.h"

#include "buf.h"
#include "gguf.h"

#include <stdio.h>

static const char *const order[] = {
    "Q4_K_M",  "Q4_K_S", "Q4_K_L",  "Q4_K_XL", "Q4_0",    "Q4_1",  "IQ4_NL", "IQ4_XS", "Q5_K_M",
    "Q5_K_S",  "Q5_K_L", "Q5_K_XL", "Q5_0",    "Q5_1",    "MXFP4", "Q6_K",   "Q6_K_L", "Q8_0",
    "Q8_K_XL", "Q3_K_L", "Q3_K_M",  "Q3_K_S",  "Q3_K_XL", "Q2_K",  "Q2_K_L", "Q2_K_S", "Q2_K_XL",
    "BF16",    "F16",    "FP16",    "F32",     "FP32",    "IQ3_M", "IQ3_S",  "IQ3_XS", "IQ3_XXS",
    "IQ2_M",   "IQ2_S",  "IQ2_XS",  "IQ2_XXS", "IQ1_M",   "IQ1_S", "TQ2_0",  "TQ1_0",
};
#define NORDER (sizeof order / sizeof order[0])

static struct str base_of(const char *path)
{
    struct str s = str_of(path), stem;
    uint32_t no, count;
    if (gguf_part_name(s, &no, &count, &stem))
        s = stem;
    else if (s.n > 5 && str_ieq(str_n(s.p + s.n - 5, 5), STR(".gguf")))
        s.n -= 5;
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '/')
            return str_n(s.p + i + 1, s.n - i - 1);
    return s;
}

/* The folder a file lies in; empty at the top. */
static struct str folder_of(const char *path)
{
    struct str s = str_of(path);
    size_t end = SIZE_MAX;
    for (size_t i = s.n; i-- > 0;) {
        if (s.p[i] != '/')
            continue;
        if (end != SIZE_MAX)
            return str_n(s.p + i + 1, end - i - 1);
        end = i;
    }
    return end == SIZE_MAX ? STR("") : str_n(s.p, end);
}

/* Whether the word stands at the end of s, by itself. */
static bool ends_in(struct str s, struct str word)
{
    if (word.n == 0 || s.n < word.n || !str_ieq(str_n(s.p + s.n - word.n, word.n), word))
        return false;
    return s.n == word.n || strchr("-._/", s.p[s.n - word.n - 1]) != NULL;
}

static bool is_of(const char *path, const char *quant)
{
    return ends_in(base_of(path), str_of(quant)) || ends_in(folder_of(path), str_of(quant));
}

bool lib_quant_of(const char *path, char quant[100])
{
    size_t best = NORDER;
    for (size_t i = 0; i < NORDER; i++)
        if (is_of(path, order[i]) && (best == NORDER || strlen(order[i]) > strlen(order[best])))
            best = i;
    if (best == NORDER)
        return false;
    /* "UD-Q4_K_XL" and the like are called by their whole name. */
    char dynamic[32];
    snprintf(dynamic, sizeof dynamic, "UD-%s", order[best]);
    snprintf(quant, 100, "%s", is_of(path, dynamic) ? dynamic : order[best]);
    return true;
}

bool lib_is_projector(const char *path)
{
    struct str base = base_of(path);
    for (size_t i = 0; i + 6 <= base.n; i++)
        if (str_ieq(str_n(base.p + i, 6), STR("mmproj")))
            return true;
    return false;
}

/* A model, or the first file of one. */
static bool is_candidate(const char *path)
{
    struct str s = str_of(path), stem, base = base_of(path);
    uint32_t no, count;
    if (s.n <= 5 || !str_ieq(str_n(s.p + s.n - 5, 5), STR(".gguf")) || lib_is_projector(path))
        return false;
    if (base.n > 0 && (base.p[0] == '.' || str_istarts(base, STR("imatrix"))))
        return false;
    return !gguf_part_name(s, &no, &count, &stem) || no == 1;
}

static int list_them(const struct lib_choice *files, size_t n, const char *quant, struct err *e)
{
    struct buf b = BUF_INIT(300);
    int shown = 0;
    for (size_t i = 0; i < n; i++) {
        char q[100];
        if (!is_candidate(files[i].path))
            continue;
        const char *name = lib_quant_of(files[i].path, q) ? q : files[i].path;
        if (shown && b.n + strlen(name) > 250) {
            buf_puts(&b, ", ...");
            break;
        }
        buf_printf(&b, "%s%.200s", shown++ ? ", " : "", name);
    }
    int rc = shown == 0 ? err_set(e, ERR_NOT_FOUND, "there is no GGUF model in it")
             : *quant   ? err_set(e, ERR_NOT_FOUND, "there is no %s in it; there are: %s", quant,
                                b.p ? b.p : "")
                        : err_set(e, ERR_NOT_FOUND, "it holds several models: say which of: %s",
                                b.p ? b.p : "");
    buf_done(&b);
    return rc;
}

/* Of several that bear the same: the one with the shortest path, which is the plain one. */
static size_t find_quant(const struct lib_choice *files, size_t n, const char *quant)
{
    size_t found = n;
    for (size_t i = 0; i < n; i++)
        if (is_candidate(files[i].path) && is_of(files[i].path, quant) &&
            (found == n || strlen(files[i].path) < strlen(files[found].path)))
            found = i;
    return found;
}

static size_t find_default(const struct lib_choice *files, size_t n)
{
    size_t only = n, count = 0, found = n;
    for (size_t i = 0; i < n; i++)
        if (is_candidate(files[i].path)) {
            only = i;
            count++;
        }
    for (size_t k = 0; k < NORDER && found == n; k++)
        found = find_quant(files, n, order[k]);
    return found == n && count == 1 ? only : found;
}

/* A quantisation, or the whole name of a file. */
static size_t find_named(const struct lib_choice *files, size_t n, const char *quant)
{
    for (size_t i = 0; i < n; i++)
        if (is_candidate(files[i].path) && (str_ieq(str_of(files[i].path), str_of(quant)) ||
                                            str_ieq(base_of(files[i].path), str_of(quant))))
            return i;
    return find_quant(files, n, quant);
}

int lib_quant_choose(const struct lib_choice *files, size_t n, const char *quant, size_t *chosen,
                     char label[100], struct err *e)
{
    size_t i = *quant ? find_named(files, n, quant) : find_default(files, n);
    if (i == n)
        return list_them(files, n, quant, e);
    if (!lib_quant_of(files[i].path, label)) {
        struct str base = base_of(files[i].path);
        snprintf(label, 100, "%.*s", base.n < 99 ? (int)base.n : 99, base.p);
    }
    *chosen = i;
    return 0;
}
