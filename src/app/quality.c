/* quality.c: capability by name. Longest prefix wins; a vendor's prefix ("openai/") is passed over.
 * Scores follow the order that public leaderboards gave these families in late 2025; half a point
 * means nothing. */
#include "quality.h"

#include <ctype.h>

static const struct {
    const char *prefix;
    double score;
} table[] = {
    {"gpt-5", 9.4},
    {"gpt-5.1", 9.5},
    {"gpt-5.2", 9.6},
    {"gpt-5-mini", 8.7},
    {"gpt-5-nano", 7.4},
    {"gpt-4.1", 8.6},
    {"gpt-4.1-mini", 7.9},
    {"gpt-4.1-nano", 6.6},
    {"gpt-4o", 8.4},
    {"gpt-4o-mini", 7.2},
    {"o3", 9.2},
    {"o4-mini", 8.8},
    {"claude-opus", 9.6},
    {"claude-sonnet", 9.3},
    {"claude-haiku", 8.3},
    {"claude-3-5-haiku", 7.4},
    {"claude-3", 7.8},
    {"gemini-2.5-pro", 9.3},
    {"gemini-2.5-flash", 8.3},
    {"gemini-3", 9.5},
    {"deepseek-chat", 8.7},
    {"deepseek-r1", 9.0},
    {"deepseek-v3", 8.7},
    {"gpt-oss-120b", 8.4},
    {"gpt-oss-20b", 7.5},
    {"qwen3-coder", 8.6},
    {"mistral-large", 8.3},
    {"kimi-k2", 8.8},
    {"glm-4", 8.5},
};

static struct str after_vendor(struct str s)
{
    struct str head, tail;
    return str_cut(s, '/', &head, &tail) ? tail : s;
}

/* "32b" in "qwen3:32b-q4" is 32e9; "135m" is 135e6; digits that belong to a version ("qwen3") are
 * followed by something else. The largest counts: of "30b-a3b" the whole. */
static double params_in(struct str s)
{
    double best = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!isdigit((unsigned char)s.p[i]) || (i && isalnum((unsigned char)s.p[i - 1])))
            continue;
        size_t end = i;
        double v = 0;
        while (end < s.n && (isdigit((unsigned char)s.p[end]) || s.p[end] == '.'))
            end++;
        if (end >= s.n || !str_to_f64(str_n(s.p + i, end - i), &v))
            continue;
        char unit = (char)tolower((unsigned char)s.p[end]);
        bool word_ends = end + 1 >= s.n || !isalnum((unsigned char)s.p[end + 1]);
        double scale = unit == 'b' ? 1e9 : unit == 'm' ? 1e6 : 0;
        if (word_ends && v * scale > best)
            best = v * scale;
        i = end;
    }
    return best;
}

struct quality quality_of(struct str model)
{
    struct quality q = {.score = -1, .source = "unknown"};
    struct str name = after_vendor(model);
    size_t longest = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct str p = str_of(table[i].prefix);
        if (p.n > longest && str_istarts(name, p)) {
            longest = p.n;
            q.score = table[i].score;
            q.source = "by name, late 2025";
        }
    }
    q.params = params_in(model);
    if (q.score < 0 && q.params > 0)
        q.source = "by size";
    return q;
}
