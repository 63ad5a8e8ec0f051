/* prices_data.c: what the vendors ask, as data.
 *
 * Dollars per million tokens, as the vendor's public page named them for ordinary (not batch, not
 * priority) use on the date of the row. A price changes without notice: [price.MODEL] in weir.conf
 * wins over a row here, and a model that stands nowhere is "unknown". Cache writes are the
 * five-minute kind. Open-weight models at OpenRouter are not listed because each of their hosts
 * asks another price; OpenRouter says with every answer what it cost, and that is booked. */
#include "ledger_int.h"

#define USD(x) ((int64_t)((x)*1e9 + 0.5))
#define NONE MONEY_UNKNOWN

#define OPENAI_PAGE "https://openai.com/api/pricing/"
#define ANTHROPIC_PAGE "https://www.anthropic.com/pricing"
#define GOOGLE_PAGE "https://ai.google.dev/gemini-api/docs/pricing"
#define DEEPSEEK_PAGE "https://api-docs.deepseek.com/quick_start/pricing"
#define MISTRAL_PAGE "https://mistral.ai/pricing"
#define OPENROUTER_PAGE "https://openrouter.ai/models"

/* No separate price for writing a cache: it is ordinary input. */
#define ROW(vendor, model, in, cached, out, most, date, page)                                      \
    {                                                                                              \
        vendor, model,                                                                             \
        {                                                                                          \
            USD(in), cached, USD(in), USD(out), 0, NONE, NONE, NONE, NONE, most, date, page, NULL  \
        }                                                                                          \
    }
#define OPENAI(model, in, cached, out, most, date)                                                 \
    ROW("openai", model, in, USD(cached), out, most, date, OPENAI_PAGE)
#define OPENAI_UNCACHED(model, in, out, most, date)                                                \
    ROW("openai", model, in, NONE, out, most, date, OPENAI_PAGE)

/* Anthropic: reading a cache is a tenth of input, writing one five quarters. */
#define CLAUDE(vendor, model, in, cached, write, out, most, date, page)                            \
    {                                                                                              \
        vendor, model,                                                                             \
        {                                                                                          \
            USD(in), USD(cached), USD(write), USD(out), 0, NONE, NONE, NONE, NONE, most, date,     \
                page, NULL                                                                         \
        }                                                                                          \
    }
/* Past 200,000 tokens of input: twice the input, one and a half times the output. */
#define CLAUDE_LONG(vendor, model, in, cached, write, out, long_out, most, date, page)             \
    {                                                                                              \
        vendor, model,                                                                             \
        {                                                                                          \
            USD(in), USD(cached), USD(write), USD(out), 200000, USD((in)*2), USD((cached)*2),      \
                USD((write)*2), USD(long_out), most, date, page, NULL                              \
        }                                                                                          \
    }
#define GEMINI_PRO(vendor, model, date, page)                                                      \
    {                                                                                              \
        vendor, model,                                                                             \
        {                                                                                          \
            USD(1.25), USD(0.125), USD(1.25), USD(10), 200000, USD(2.5), USD(0.25), USD(2.5),      \
                USD(15), 65536, date, page, NULL                                                   \
        }                                                                                          \
    }

/* clang-format off */
const struct price_row price_table[] = {
    OPENAI("gpt-5.1",             1.25, 0.125, 10,   128000, "2025-11-13"),
    OPENAI("gpt-5",               1.25, 0.125, 10,   128000, "2025-08-07"),
    OPENAI("gpt-5-codex",         1.25, 0.125, 10,   128000, "2025-09-23"),
    OPENAI("gpt-5-chat-latest",   1.25, 0.125, 10,    16384, "2025-08-07"),
    OPENAI("gpt-5-mini",          0.25, 0.025, 2,    128000, "2025-08-07"),
    OPENAI("gpt-5-nano",          0.05, 0.005, 0.4,  128000, "2025-08-07"),
    OPENAI_UNCACHED("gpt-5-pro",  15,          120,  272000, "2025-10-06"),
    OPENAI("gpt-4.1",             2,    0.5,   8,     32768, "2025-08-07"),
    OPENAI("gpt-4.1-mini",        0.4,  0.1,   1.6,   32768, "2025-08-07"),
    OPENAI("gpt-4.1-nano",        0.1,  0.025, 0.4,   32768, "2025-08-07"),
    OPENAI("gpt-4o",              2.5,  1.25,  10,    16384, "2025-08-07"),
    /* The first gpt-4o kept its first price: its date must not be stripped. */
    OPENAI_UNCACHED("gpt-4o-2024-05-13", 5,    15,     4096, "2025-08-07"),
    OPENAI_UNCACHED("chatgpt-4o-latest", 5,    15,    16384, "2025-08-07"),
    OPENAI("gpt-4o-mini",         0.15, 0.075, 0.6,   16384, "2025-08-07"),
    OPENAI("o4-mini",             1.1,  0.275, 4.4,  100000, "2025-08-07"),
    OPENAI("o3",                  2,    0.5,   8,    100000, "2025-08-07"),
    OPENAI_UNCACHED("o3-pro",     20,          80,   100000, "2025-08-07"),
    OPENAI("o3-mini",             1.1,  0.55,  4.4,  100000, "2025-08-07"),
    OPENAI("o1",                  15,   7.5,   60,   100000, "2025-08-07"),
    OPENAI_UNCACHED("gpt-4-turbo", 10,         30,     4096, "2025-08-07"),
    OPENAI_UNCACHED("gpt-3.5-turbo", 0.5,      1.5,    4096, "2025-08-07"),
    OPENAI_UNCACHED("text-embedding-3-small", 0.02, 0,    0, "2025-08-07"),
    OPENAI_UNCACHED("text-embedding-3-large", 0.13, 0,    0, "2025-08-07"),

#define A "anthropic"
    CLAUDE(A, "claude-opus-4-5",       5,    0.5,  6.25,  25,         64000, "2025-11-24", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-opus-4-1",       15,   1.5,  18.75, 75,         32000, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-opus-4-0",       15,   1.5,  18.75, 75,         32000, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-opus-4",         15,   1.5,  18.75, 75,         32000, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE_LONG(A, "claude-sonnet-4-5", 3,   0.3,  3.75,  15,   22.5, 64000, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE_LONG(A, "claude-sonnet-4-0", 3,   0.3,  3.75,  15,   22.5, 64000, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE_LONG(A, "claude-sonnet-4",  3,    0.3,  3.75,  15,   22.5, 64000, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-haiku-4-5",      1,    0.1,  1.25,  5,          64000, "2025-10-15", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-3-7-sonnet",     3,    0.3,  3.75,  15,         64000, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-3-5-sonnet",     3,    0.3,  3.75,  15,          8192, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-3-5-haiku",      0.8,  0.08, 1,     4,           8192, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-3-opus",         15,   1.5,  18.75, 75,          4096, "2025-09-29", ANTHROPIC_PAGE),
    CLAUDE(A, "claude-3-haiku",        0.25, 0.03, 0.3,   1.25,        4096, "2025-09-29", ANTHROPIC_PAGE),
#undef A

    GEMINI_PRO("google", "gemini-2.5-pro", "2025-10-01", GOOGLE_PAGE),
    ROW("google", "gemini-2.5-flash",      0.3, USD(0.03), 2.5, 65536, "2025-10-01", GOOGLE_PAGE),
    ROW("google", "gemini-2.5-flash-lite", 0.1, USD(0.01), 0.4, 65536, "2025-10-01", GOOGLE_PAGE),

    ROW("deepseek", "deepseek-chat",     0.28, USD(0.028), 0.42,  8192, "2025-09-29", DEEPSEEK_PAGE),
    ROW("deepseek", "deepseek-reasoner", 0.28, USD(0.028), 0.42, 65536, "2025-09-29", DEEPSEEK_PAGE),

    ROW("mistral", "mistral-large",  2,   NONE, 6,   0, "2025-08-07", MISTRAL_PAGE),
    ROW("mistral", "mistral-medium", 0.4, NONE, 2,   0, "2025-08-07", MISTRAL_PAGE),
    ROW("mistral", "mistral-small",  0.1, NONE, 0.3, 0, "2025-08-07", MISTRAL_PAGE),

/* OpenRouter passes the vendors' prices on. */
#define R(model, in, cached, out, most, date)                                                      \
    ROW("openrouter", model, in, USD(cached), out, most, date, OPENROUTER_PAGE)
    R("openai/gpt-5.1",      1.25, 0.125, 10,  128000, "2025-11-13"),
    R("openai/gpt-5",        1.25, 0.125, 10,  128000, "2025-08-07"),
    R("openai/gpt-5-mini",   0.25, 0.025, 2,   128000, "2025-08-07"),
    R("openai/gpt-5-nano",   0.05, 0.005, 0.4, 128000, "2025-08-07"),
    R("openai/gpt-4.1",      2,    0.5,   8,    32768, "2025-08-07"),
    R("openai/gpt-4.1-mini", 0.4,  0.1,   1.6,  32768, "2025-08-07"),
    R("openai/gpt-4o",       2.5,  1.25,  10,   16384, "2025-08-07"),
    R("openai/gpt-4o-mini",  0.15, 0.075, 0.6,  16384, "2025-08-07"),
    R("openai/o3",           2,    0.5,   8,   100000, "2025-08-07"),
    R("openai/o4-mini",      1.1,  0.275, 4.4, 100000, "2025-08-07"),
    R("google/gemini-2.5-flash", 0.3, 0.03, 2.5, 65535, "2025-10-01"),
#undef R
    GEMINI_PRO("openrouter", "google/gemini-2.5-pro", "2025-10-01", OPENROUTER_PAGE),
    CLAUDE("openrouter", "anthropic/claude-opus-4.5", 5, 0.5, 6.25, 25, 64000, "2025-11-24", OPENROUTER_PAGE),
    CLAUDE("openrouter", "anthropic/claude-opus-4.1", 15, 1.5, 18.75, 75, 32000, "2025-09-29", OPENROUTER_PAGE),
    CLAUDE_LONG("openrouter", "anthropic/claude-sonnet-4.5", 3, 0.3, 3.75, 15, 22.5, 64000, "2025-09-29", OPENROUTER_PAGE),
    CLAUDE_LONG("openrouter", "anthropic/claude-sonnet-4", 3, 0.3, 3.75, 15, 22.5, 64000, "2025-09-29", OPENROUTER_PAGE),
    CLAUDE("openrouter", "anthropic/claude-haiku-4.5", 1, 0.1, 1.25, 5, 64000, "2025-10-15", OPENROUTER_PAGE),
    CLAUDE("openrouter", "anthropic/claude-3.5-haiku", 0.8, 0.08, 1, 4, 8192, "2025-09-29", OPENROUTER_PAGE),
};
/* clang-format on */
const size_t price_count = sizeof price_table / sizeof price_table[0];
