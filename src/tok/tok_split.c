/* tok_split.c: pre-tokenizers: where a text may be cut into words before merging.
 *
 * A pre-tokenizer is a row of stages; a stage is a list of rules, the hand-written forms of the
 * alternatives of a regular expression over code points. A stage cuts a piece into what its rules
 * match and what lies between, and looks at nothing outside of the piece, exactly as a tokenizers
 * "Sequence" of "Split" does. Every rule that fails does so after a bounded look, and every one
 * that matches looks at most at twice what it takes: a text is cut in linear time. A byte that is
 * not UTF-8 counts as a symbol of its own, so no text is refused or altered. */
#include "tok_int.h"

#include "utf8.h"

#include <limits.h>
#include <utf8proc.h>

/* ---- characters ---- */

enum char_class {
    UPPER = 1,        /* Lu, Lt */
    LOWER = 2,        /* Ll */
    OTHER_LETTER = 4, /* Lm, Lo */
    ACCENT = 8,       /* M */
    NUMBER = 16,
    PUNCT = 32,
    SYMBOL = 64,
    SPACE = 128,
    LINE_END = 256,    /* \r and \n, which are SPACE as well */
    NO_CATEGORY = 512, /* any character that is none of the above */
    LETTER = UPPER | LOWER | OTHER_LETTER,
    ANY = 1023,
};

/* One character of a piece; past the end: len and class 0. */
struct ch {
    uint32_t cp;
    unsigned len, class;
};

struct piece {
    const char *p;
    size_t end;
};

bool tok_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F ||
           cp == 0x205F || cp == 0x3000;
}

static unsigned class_of(uint32_t cp)
{
    if (cp >= 'a' && cp <= 'z')
        return LOWER;
    if (tok_is_space(cp))
        return cp == '\r' || cp == '\n' ? SPACE | LINE_END : SPACE;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return UPPER;
    case UTF8PROC_CATEGORY_LL: return LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return OTHER_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return ACCENT;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return PUNCT;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: return SYMBOL;
    default: return NO_CATEGORY;
    }
}

static struct ch at(struct piece x, size_t pos)
{
    struct ch c = {0};
    if (pos >= x.end)
        return c;
    c.len = (unsigned)utf8_decode(str_n(x.p + pos, x.end - pos), &c.cp);
    if (c.len == 0)
        return (struct ch){0xFFFD, 1, SYMBOL};
    c.class = class_of(c.cp);
    return c;
}

/* ---- sets of characters ---- */

/* A character of one of the classes in and of none of the classes out, or one that also() names. */
struct set {
    unsigned in, out;
    bool (*also)(uint32_t cp);
};

struct range {
    uint32_t first, last;
};

static bool in_ranges(uint32_t cp, const struct range *r, size_t n)
{
    size_t from = 0, to = n; /* from: the first range that ends at or after cp */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (cp > r[mid].last)
            from = mid + 1;
        else
            to = mid;
    }
    return from < n && cp >= r[from].first;
}

static bool is_blank(uint32_t cp)
{
    return cp == ' ';
}

static bool is_newline(uint32_t cp)
{
    return cp == '\n';
}

static bool is_slash(uint32_t cp)
{
    return cp == '/';
}

static bool is_ascii_letter(uint32_t cp)
{
    return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
}

static bool is_ascii_digit(uint32_t cp)
{
    return cp >= '0' && cp <= '9';
}

static bool is_ascii_mark(uint32_t cp)
{
    return cp > ' ' && cp < 0x7F && !is_ascii_letter(cp) && !is_ascii_digit(cp);
}

static bool is_math_mark(uint32_t cp)
{
    return cp && cp < 0x80 && strchr("$+<=>^~|", (int)cp);
}

static bool is_math_mark_or_backtick(uint32_t cp)
{
    return cp == '`' || is_math_mark(cp);
}

/* DeepSeek LLM's own list of letters: those that have case, as Unicode 10 knew them. */
static bool is_deepseek_letter(uint32_t cp)
{
    static const struct range r[] = {
        {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},
        {0xD8, 0xF6},       {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},
        {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x376},     {0x377, 0x377},
        {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},
        {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},
        {0x48A, 0x52F},     {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},
        {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},
        {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},
        {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
        {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},
        {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},
        {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},
        {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},
        {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
        {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},
        {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2183},
        {0x2184, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},
        {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},
        {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},
        {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
        {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2},
        {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
    };
    return in_ranges(cp, r, sizeof r / sizeof r[0]);
}

/* [!-/:-~！-／：-～‘-‟　-。] */
static bool is_deepseek_mark(uint32_t cp)
{
    static const struct range r[] = {{0x21, 0x2F},     {0x3A, 0x7E},     {0x2018, 0x201F},
                                     {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
    return in_ranges(cp, r, sizeof r / sizeof r[0]);
}

/* [一-龥ࠀ-一가-퟿] */
static bool is_deepseek_asian(uint32_t cp)
{
    static const struct range r[] = {{0x800, 0x9FA5}, {0xAC00, 0xD7FF}};
    return in_ranges(cp, r, sizeof r / sizeof r[0]);
}

/* [一-龥぀-ゟ゠-ヿ] */
static bool is_han_or_kana(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FA5) || (cp >= 0x3040 && cp <= 0x30FF);
}

/* What ends a word of BLOOM's: [(\s|.,!?…。，、।۔،)], white space apart. */
static bool ends_bloom_word(uint32_t cp)
{
    static const struct range r[] = {{'!', '!'},       {'(', ')'},       {',', ','},
                                     {'.', '.'},       {'?', '?'},       {'|', '|'},
                                     {0x60C, 0x60C},   {0x6D4, 0x6D4},   {0x964, 0x964},
                                     {0x2026, 0x2026}, {0x3001, 0x3002}, {0xFF0C, 0xFF0C}};
    return in_ranges(cp, r, sizeof r / sizeof r[0]);
}

static bool is_of_bloom_word(uint32_t cp)
{
    return !tok_is_space(cp) && !ends_bloom_word(cp);
}

static const struct set blank = {0, 0, is_blank}, newline = {0, 0, is_newline},
                        space = {SPACE, 0, NULL}, line_end = {LINE_END, 0, NULL},
                        line_end_or_slash = {LINE_END, 0, is_slash}, letter = {LETTER, 0, NULL},
                        letter_or_accent = {LETTER | ACCENT, 0, NULL}, number = {NUMBER, 0, NULL},
                        punct = {PUNCT, 0, NULL}, punct_or_symbol = {PUNCT | SYMBOL, 0, NULL},
                        not_word = {ANY, SPACE | LETTER | NUMBER, NULL},
                        not_word_or_accent = {ANY, SPACE | LETTER | ACCENT | NUMBER, NULL},
                        before_word = {ANY, LINE_END | LETTER | NUMBER, NULL},
                        before_deepseek_word = {ANY, LINE_END | LETTER | PUNCT | SYMBOL, NULL},
                        upper_part = {UPPER | OTHER_LETTER | ACCENT, 0, NULL},
                        lower_part = {LOWER | OTHER_LETTER | ACCENT, 0, NULL},
                        ascii_letter = {0, 0, is_ascii_letter},
                        ascii_digit = {0, 0, is_ascii_digit}, ascii_mark = {0, 0, is_ascii_mark},
                        math_or_punct = {PUNCT, 0, is_math_mark},
                        falcon_mark = {PUNCT, 0, is_math_mark_or_backtick},
                        deepseek_letter = {0, 0, is_deepseek_letter},
                        deepseek_mark = {0, 0, is_deepseek_mark},
                        deepseek_asian = {0, 0, is_deepseek_asian},
                        han_or_kana = {0, 0, is_han_or_kana}, bloom_word = {0, 0, is_of_bloom_word};

static bool member(const struct set *s, struct ch c)
{
    if (c.len == 0 || !s)
        return false;
    return ((c.class & s->in) && !(c.class & s->out)) || (s->also && s->also(c.cp));
}

/* ---- rules: each gives the end of what it matches at pos, or pos ---- */

enum rule_kind {
    NO_RULE,     /* ends the list */
    CONTRACTION, /* 's|'t|'re|'ve|'m|'ll|'d */
    ANY_CASE,    /* the same, in capitals too */
    WORD,        /* lead? body{min,max} tail* */
    CASED,       /* lead? upper* lower+ | lead? upper+ lower*, as of o200k */
    CASED_SHORT, /* the same, then a contraction if there is one */
    LINES,       /* \s*[\r\n]+ */
    WHITE,       /* \s+(?!\S)|\s+ */
    TO_THE_END,  /* \s+$; alone in its stage */
};

struct rule {
    enum rule_kind kind;
    const struct set *lead, *body, *tail;
    unsigned min, max; /* of a WORD's body; 0: one, and no limit */
    bool must_lead;
};

/* The end of the run of at most max characters of a set; 0: no limit. */
static size_t run(struct piece x, size_t pos, const struct set *s, unsigned max, unsigned *n)
{
    struct ch c;
    unsigned count = 0;
    while ((max == 0 || count < max) && member(s, c = at(x, pos))) {
        pos += c.len;
        count += count < UINT_MAX;
    }
    if (n)
        *n = count;
    return pos;
}

static size_t contraction(struct piece x, size_t pos, bool any_case)
{
    const char *p = x.p + pos;
    size_t n = x.end - pos;
    if (n < 2 || p[0] != '\'')
        return pos;
    char fold = any_case ? 0x20 : 0;
    char a = (char)(p[1] | fold), b = (char)(n > 2 ? p[2] | fold : 0);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return pos + 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? pos + 3
                                                                                      : pos;
}

static size_t word_from(struct piece x, size_t pos, size_t body, const struct rule *r)
{
    unsigned n;
    size_t end = run(x, body, r->body, r->max, &n);
    if (n == 0 || n < r->min)
        return pos;
    return r->tail ? run(x, end, r->tail, 0, NULL) : end;
}

static size_t led_word(struct piece x, size_t pos, const struct rule *r)
{
    struct ch c = at(x, pos);
    size_t end = pos;
    if (member(r->lead, c))
        end = word_from(x, pos, pos + c.len, r);
    return end > pos || r->must_lead ? end : word_from(x, pos, pos, r);
}

/* upper* lower+: the run of upper parts gives back what it needs so that a lower part can follow,
 * and some letters and accents are both. pos if there is no lower part. *upper_end: of the run. */
static size_t upper_then_lower(struct piece x, size_t pos, size_t *upper_end)
{
    size_t i = pos, last_both = 0;
    struct ch c;
    for (; member(&upper_part, c = at(x, i)); i += c.len)
        if (member(&lower_part, c))
            last_both = i + c.len;
    *upper_end = i;
    size_t end = run(x, i, &lower_part, 0, NULL);
    return end > i ? end : last_both ? last_both : pos;
}

static size_t cased(struct piece x, size_t pos, const struct rule *r)
{
    struct ch c = at(x, pos);
    size_t body = member(r->lead, c) ? pos + c.len : pos, led = body, bare = pos;
    size_t end = upper_then_lower(x, body, &led);
    if (end == body && body > pos) {
        body = pos;
        end = upper_then_lower(x, pos, &bare);
    }
    if (end == body) {
        /* upper+ lower*, where no lower part follows: the upper run alone. */
        size_t start = pos + (member(r->lead, c) ? c.len : 0);
        end = led > start ? led : bare;
    }
    return end > pos && r->kind == CASED_SHORT ? contraction(x, end, true) : end;
}

static size_t lines(struct piece x, size_t pos)
{
    size_t end = pos;
    struct ch c;
    for (size_t i = pos; member(&space, c = at(x, i));) {
        i += c.len;
        if (c.class & LINE_END)
            end = i;
    }
    return end;
}

/* White space leaves its last character to the word that follows. */
static size_t white(struct piece x, size_t pos)
{
    size_t last = pos, end = pos;
    struct ch c;
    while (member(&space, c = at(x, end))) {
        last = end;
        end += c.len;
    }
    return end < x.end && last > pos ? last : end;
}

static size_t to_the_end(struct piece x, size_t pos)
{
    size_t start = SIZE_MAX, i = pos;
    for (struct ch c; i < x.end; i += c.len) {
        c = at(x, i);
        if (!member(&space, c))
            start = SIZE_MAX;
        else if (start == SIZE_MAX)
            start = i;
    }
    return start == SIZE_MAX || start == pos ? x.end : start;
}

static size_t match(struct piece x, size_t pos, const struct rule *r)
{
    switch (r->kind) {
    case CONTRACTION: return contraction(x, pos, false);
    case ANY_CASE: return contraction(x, pos, true);
    case WORD: return led_word(x, pos, r);
    case CASED:
    case CASED_SHORT: return cased(x, pos, r);
    case LINES: return lines(x, pos);
    case WHITE: return white(x, pos);
    default: return pos;
    }
}

/* ---- stages ---- */

#define MAX_RULES 8

/* The alternatives in order; the first that matches wins. */
struct stage {
    struct rule rules[MAX_RULES];
};

static size_t match_any(struct piece x, size_t pos, const struct stage *s)
{
    for (size_t i = 0; i < MAX_RULES && s->rules[i].kind != NO_RULE; i++) {
        size_t end = match(x, pos, &s->rules[i]);
        if (end > pos)
            return end;
    }
    return pos;
}

/* The end of the match at pos, or of the stretch in which nothing matches; always past pos. */
static size_t stage_next(struct piece x, size_t pos, const struct stage *s)
{
    if (s->rules[0].kind == TO_THE_END)
        return to_the_end(x, pos);
    size_t end = match_any(x, pos, s);
    if (end > pos)
        return end;
    do
        pos += at(x, pos).len;
    while (pos < x.end && match_any(x, pos, s) == pos);
    return pos;
}

#define SOME(set) .kind = WORD, .body = (set)
#define UP_TO(set, n) .kind = WORD, .body = (set), .max = (n)
#define LED(by, set) .kind = WORD, .lead = (by), .body = (set)

/* '(s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S) */
static const struct stage gpt2 = {{{CONTRACTION},
                                   {LED(&blank, &letter)},
                                   {LED(&blank, &number)},
                                   {LED(&blank, &not_word)},
                                   {WHITE}}};

/* '(?i:s|t|re|ve|m|ll|d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
#define LLAMA3(max)                                                                                \
    {                                                                                              \
        {                                                                                          \
            {ANY_CASE}, {LED(&before_word, &letter)}, {UP_TO(&number, max)},                       \
                {LED(&blank, &not_word), .tail = &line_end}, {LINES},                              \
            {                                                                                      \
                WHITE                                                                              \
            }                                                                                      \
        }                                                                                          \
    }

static const struct stage llama3 = LLAMA3(3), qwen2 = LLAMA3(1), all_digits = LLAMA3(0);

/* Qwen 2's without contractions. */
static const struct stage ufakzeka = {{{LED(&before_word, &letter)},
                                       {UP_TO(&number, 1)},
                                       {LED(&blank, &not_word), .tail = &line_end},
                                       {LINES},
                                       {WHITE}}};

/* Qwen 2's, symbols not followed by ends of lines: ` ?[^\s\p{L}\p{N}\r\n]+`. */
static const struct stage seed_coder = {{{ANY_CASE},
                                         {LED(&before_word, &letter)},
                                         {UP_TO(&number, 1)},
                                         {LED(&blank, &not_word)},
                                         {LINES},
                                         {WHITE}}};

/* Qwen 2's, with accents among the letters. */
static const struct stage qwen35 = {{{ANY_CASE},
                                     {LED(&before_word, &letter_or_accent)},
                                     {UP_TO(&number, 1)},
                                     {LED(&blank, &not_word_or_accent), .tail = &line_end},
                                     {LINES},
                                     {WHITE}}};

/* Words parted where small letters end and capitals begin. The pattern is the one the models were
 * made with (tokenizer.json's, with \p{Lu}, \p{Ll}, \p{M}), not an ASCII approximation of it. */
static const struct stage tekken = {{{CASED, .lead = &before_word},
                                     {UP_TO(&number, 1)},
                                     {LED(&blank, &not_word), .tail = &line_end_or_slash},
                                     {LINES},
                                     {WHITE}}};
static const struct stage gpt4o = {{{CASED_SHORT, .lead = &before_word},
                                    {UP_TO(&number, 3)},
                                    {LED(&blank, &not_word), .tail = &line_end_or_slash},
                                    {LINES},
                                    {WHITE}}};

/* [!-/:-@[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static const struct stage deepseek3 = {{{LED(&ascii_mark, &ascii_letter), .must_lead = true},
                                        {LED(&before_deepseek_word, &letter_or_accent)},
                                        {LED(&blank, &punct_or_symbol), .tail = &line_end},
                                        {LINES},
                                        {WHITE}}};
/* The same with ` ?[\p{P}\p{S}]+|[\r\n]` in the middle. */
static const struct stage spark = {{{LED(&ascii_mark, &ascii_letter), .must_lead = true},
                                    {LED(&before_deepseek_word, &letter_or_accent)},
                                    {LED(&blank, &punct_or_symbol)},
                                    {UP_TO(&line_end, 1)},
                                    {WHITE}}};

static const struct stage each_number = {{{UP_TO(&number, 1)}}};
static const struct stage numbers_by_three = {{{UP_TO(&number, 3)}}};
static const struct stage numbers = {{{SOME(&number)}}};
static const struct stage triples = {{{UP_TO(&ascii_digit, 3), .min = 3}}};
static const struct stage marks = {{{SOME(&math_or_punct)}}};
static const struct stage falcon_marks = {{{SOME(&falcon_mark)}}};
static const struct stage each_line_end = {{{UP_TO(&line_end, 1)}}};
static const struct stage line_by_line = {{{SOME(&newline)}}};
static const struct stage spaced_letters = {{{LED(&space, &letter)}}};
static const struct stage spaced_punct = {{{LED(&space, &punct)}}};
static const struct stage deepseek_letters = {{{LED(&space, &deepseek_letter)}}};
static const struct stage deepseek_marks = {{{LED(&space, &deepseek_mark)}}};
static const struct stage deepseek_asians = {{{SOME(&deepseek_asian)}}};
static const struct stage han_and_kana = {{{SOME(&han_or_kana)}}};
static const struct stage last_white = {{{TO_THE_END}}};
static const struct stage bloom = {{{LED(&blank, &bloom_word)}}};

/* ---- the table ---- */

#define MAX_STAGES 6
#define MAX_NAMES 20

enum { WHOLE_WORDS = 1, ADDS_BOS = 2, RAW = 4, ALWAYS_BOS = 8 };

struct tok_split {
    unsigned flags;
    const struct stage *stages[MAX_STAGES];
    const char *names[MAX_NAMES]; /* as tokenizer.ggml.pre has them */
};

static const struct tok_split splits[] = {
    {0, {&marks, &gpt2, &numbers, &triples}, {"default"}},
    {0,
     {&gpt2},
     {"gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en",
      "jina-v2-code", "roberta-bpe", "gigachat", "a.x-4.0", "mellum", "modern-bert", "mpt", "olmo",
      "jais", "trillion", "granite-docling", "exaone4"}},
    {0,
     {&each_number, &gpt2},
     {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
      "mellum2"}},
    {WHOLE_WORDS | ADDS_BOS,
     {&llama3},
     {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
      "jina-v5-nano"}},
    {0, {&llama3}, {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}},
    {0,
     {&qwen2},
     {"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan",
      "solar-open", "grok-2", "bailingmoe", "bailingmoe2", "llada-moe"}},
    {0, {&qwen35}, {"qwen35"}},
    {0, {&ufakzeka}, {"ufakzeka"}},
    {0, {&seed_coder}, {"seed-coder"}},
    {0, {&line_by_line, &qwen2}, {"laguna"}},
    {WHOLE_WORDS, {&numbers_by_three, &all_digits}, {"minicpm5"}},
    {WHOLE_WORDS | ADDS_BOS, {&tekken}, {"tekken"}},
    {0, {&gpt4o}, {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}},
    {WHOLE_WORDS, {&gpt4o}, {"granite-embed-multi-97m"}},
    {0,
     {&each_line_end, &deepseek_letters, &deepseek_marks, &last_white, &deepseek_asians, &numbers},
     {"deepseek-llm"}},
    {0,
     {&each_line_end, &spaced_letters, &spaced_punct, &deepseek_asians, &each_number},
     {"deepseek-coder"}},
    {0,
     {&numbers_by_three, &han_and_kana, &deepseek3},
     {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}},
    {0, {&numbers_by_three, &han_and_kana, &spark, &each_number}, {"spark2_5"}},
    {0, {&falcon_marks, &gpt2, &triples}, {"falcon"}},
    {0, {&bloom}, {"bloom", "poro-chat", "gpt3-finnish"}},
    {0, {&bloom, &each_number}, {"viking"}},
    {RAW | ALWAYS_BOS, {&line_by_line}, {"gemma4", "granite-embed-multi-311m"}},
    {RAW, {&line_by_line}, {"sarvam-moe"}},
};

const struct tok_split *tok_split_find(struct str name)
{
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++)
        for (size_t k = 0; k < MAX_NAMES && splits[i].names[k]; k++)
            if (str_is(name, splits[i].names[k]))
                return &splits[i];
    return NULL;
}

bool tok_split_whole_words(const struct tok_split *s)
{
    return s->flags & WHOLE_WORDS;
}

bool tok_split_adds_bos(const struct tok_split *s)
{
    return s->flags & (ADDS_BOS | ALWAYS_BOS);
}

bool tok_split_always_bos(const struct tok_split *s)
{
    return s->flags & ALWAYS_BOS;
}

bool tok_split_raw(const struct tok_split *s)
{
    return s->flags & RAW;
}

struct walk {
    const struct tok_split *split;
    int (*word)(void *ctx, struct str word);
    void *ctx;
};

/* At most MAX_STAGES deep. */
static int walk_stage(const struct walk *w, int k, struct str piece)
{
    if (k == MAX_STAGES || !w->split->stages[k])
        return w->word(w->ctx, piece);
    struct piece x = {piece.p, piece.n};
    for (size_t pos = 0; pos < x.end;) {
        size_t end = stage_next(x, pos, w->split->stages[k]);
        int rc = walk_stage(w, k + 1, str_n(x.p + pos, end - pos));
        if (rc != 0)
            return rc;
        pos = end;
    }
    return 0;
}

int tok_split_run(const struct tok_split *s, struct str text,
                  int (*word)(void *ctx, struct str word), void *ctx)
{
    struct walk w = {s, word, ctx};
    return walk_stage(&w, 0, text);
}

int tok_words(struct str pre, struct str text, int (*word)(void *ctx, struct str word), void *ctx,
              struct err *e)
{
    const struct tok_split *s = tok_split_find(pre);
    return s ? tok_split_run(s, text, word, ctx)
             : err_set(e, ERR_UNSUPPORTED, "pre-tokenizer \"%.*s\" is not known", STR_ARG(pre));
}
