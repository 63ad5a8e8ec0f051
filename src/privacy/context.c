/* context.c: owns the question "which words stand around this?". A bare number is a phone number
 * where "call me at" stands before it and an order number where "order" does. Called by detectors
 * with lists of lower-case words; ASCII letters are folded, other bytes compared as they are. */
#include "privacy_int.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool word_at(struct str text, size_t i, size_t to, const char *word, size_t *end)
{
    size_t n = strlen(word);
    bool whole = n && word[n - 1] == '$';
    n -= whole;
    if (to - i < n)
        return false;
    for (size_t k = 0; k < n; k++) {
        if (lower(text.p[i + k]) != word[k])
            return false;
    }
    if (whole && i + n < text.n && is_word(text.p[i + n]))
        return false;
    *end = i + n;
    return true;
}

bool context_find(struct str text, size_t from, size_t to, const char *const *words, size_t n,
                  size_t *end)
{
    bool found = false;
    for (size_t i = from; i < to; i++) {
        /* Scripts without blanks between words have no boundary to ask for. */
        bool begins = i == 0 || !is_word(text.p[i - 1]) || (unsigned char)text.p[i] >= 0x80;
        for (size_t k = 0; begins && k < n; k++) {
            size_t stop;
            if (word_at(text, i, to, words[k], &stop)) {
                *end = stop;
                found = true;
            }
        }
    }
    return found;
}
