/* provider_models.c: what is known of the built-in rows' models, as data: context and largest
 * output in tokens, and what they can do. Source: the providers' model pages, as of 2026. A model
 * that is not here can be used all the same; nothing is then known of it but what its row's
 * dialect can say. Prices are the ledger's. */
#include "provider_int.h"

enum {
    TOOLS = 1 << 0,
    IMAGES = 1 << 1,
    AUDIO = 1 << 2,
    DOCUMENTS = 1 << 3,
    JSON = 1 << 4,
    SCHEMA = 1 << 5,
    REASONING = 1 << 6,
    LOGPROBS = 1 << 7,
    MANY = 1 << 8,
    EMBED = 1 << 10, /* and nothing else */
    EFFORT = 1 << 9, /* Anthropic: output_config.effort, not only a budget */
    GPT = TOOLS | IMAGES | DOCUMENTS | JSON | SCHEMA | LOGPROBS | MANY,
    GPT5 = TOOLS | IMAGES | DOCUMENTS | JSON | SCHEMA | REASONING | MANY,
    CLAUDE = TOOLS | IMAGES | DOCUMENTS | SCHEMA | REASONING,
    ROUTED = TOOLS | JSON,
};

static const struct known {
    const char *row, *id;
    int64_t context, max_output;
    unsigned can;
} known[] = {
    {"openai", "gpt-5.2", 400000, 128000, GPT5},
    {"openai", "gpt-5.1", 400000, 128000, GPT5},
    {"openai", "gpt-5", 400000, 128000, GPT5},
    {"openai", "gpt-5-mini", 400000, 128000, GPT5},
    {"openai", "gpt-5-nano", 400000, 128000, GPT5},
    {"openai", "gpt-4.1", 1047576, 32768, GPT},
    {"openai", "gpt-4.1-mini", 1047576, 32768, GPT},
    {"openai", "gpt-4.1-nano", 1047576, 32768, GPT},
    {"openai", "gpt-4o", 128000, 16384, GPT},
    {"openai", "gpt-4o-mini", 128000, 16384, GPT},
    {"openai", "o3", 200000, 100000, GPT5},
    {"openai", "o4-mini", 200000, 100000, GPT5},
    {"openai", "text-embedding-3-small", 8191, 0, EMBED},
    {"openai", "text-embedding-3-large", 8191, 0, EMBED},
    {"anthropic", "claude-opus-4-6", 200000, 128000, CLAUDE | EFFORT},
    {"anthropic", "claude-sonnet-4-6", 200000, 64000, CLAUDE | EFFORT},
    {"anthropic", "claude-opus-4-5", 200000, 64000, CLAUDE | EFFORT},
    {"anthropic", "claude-sonnet-4-5", 200000, 64000, CLAUDE},
    {"anthropic", "claude-haiku-4-5", 200000, 64000, CLAUDE},
    {"anthropic", "claude-opus-4-1", 200000, 32000, CLAUDE & ~(unsigned)SCHEMA},
    {"openrouter", "openai/gpt-5", 400000, 128000, GPT5},
    {"openrouter", "anthropic/claude-sonnet-4.5", 200000, 64000, CLAUDE},
    {"openrouter", "anthropic/claude-opus-4.5", 200000, 64000, CLAUDE},
    {"openrouter", "google/gemini-2.5-pro", 1048576, 65536, ROUTED | IMAGES | SCHEMA | REASONING},
    {"openrouter", "google/gemini-2.5-flash", 1048576, 65536, ROUTED | IMAGES | SCHEMA | REASONING},
    {"openrouter", "deepseek/deepseek-chat-v3.1", 163840, 0, ROUTED | REASONING},
    {"openrouter", "qwen/qwen3-coder", 262144, 0, ROUTED},
    {"openrouter", "openai/gpt-oss-120b", 131072, 0, ROUTED | REASONING},
    {"openrouter", "meta-llama/llama-3.3-70b-instruct", 131072, 0, ROUTED},
};

static void fill(const struct known *k, struct gen_caps *out)
{
    *out = (struct gen_caps){.context = k->context, .max_output = k->max_output};
    out->embed = k->can & EMBED;
    out->chat = !out->embed;
    out->tools = k->can & TOOLS;
    out->images = k->can & IMAGES;
    out->audio = k->can & AUDIO;
    out->documents = k->can & DOCUMENTS;
    out->json = k->can & JSON;
    out->schema = k->can & SCHEMA;
    out->reasoning = k->can & REASONING;
    out->logprobs = k->can & LOGPROBS;
    out->many = k->can & MANY;
}

/* A dated release ("claude-sonnet-4-5-20250929", "gpt-4.1-2025-04-14") is its family's model. */
static bool is_release(struct str id, struct str family)
{
    if (!str_starts(id, family))
        return false;
    struct str rest = str_n(id.p + family.n, id.n - family.n);
    if (rest.n < 9 || rest.p[0] != '-')
        return rest.n == 0;
    for (size_t i = 1; i < rest.n; i++) {
        if (rest.p[i] != '-' && (rest.p[i] < '0' || rest.p[i] > '9'))
            return false;
    }
    return true;
}

bool models_known(const char *row, struct str id, struct gen_caps *out, bool *effort)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].row, row) || !is_release(id, str_of(known[i].id)))
            continue;
        fill(&known[i], out);
        *effort = known[i].can & EFFORT;
        return true;
    }
    return false;
}

/* Servers list their models without saying what they are for; those that embed are named so. */
struct gen_caps models_guess(struct str id, const struct gen_caps *defaults)
{
    static const char *const names[] = {"embed", "minilm", "bge-", "gte-"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_find(id, str_of(names[i]), 0) != SIZE_MAX)
            return (struct gen_caps){.embed = true, .context = defaults->context};
    return *defaults;
}

int models_add_known(struct provider *p, struct err *e)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].row, p->name))
            continue;
        struct provider_model *m = row_model(p, str_of(known[i].id), true);
        if (!m)
            return err_set(e, ERR_NOMEM, "out of memory for %s's models", p->name);
        fill(&known[i], &m->caps);
    }
    return 0;
}

int caps_parse(struct str words, struct gen_caps *out, struct err *e)
{
    struct gen_caps c = {.context = out->context, .max_output = out->max_output};
    const struct {
        const char *word;
        bool *flag;
    } rows[] = {
        {"chat", &c.chat},           {"raw", &c.raw},
        {"infill", &c.infill},       {"embed", &c.embed},
        {"tools", &c.tools},         {"images", &c.images},
        {"audio", &c.audio},         {"documents", &c.documents},
        {"json", &c.json},           {"schema", &c.schema},
        {"reasoning", &c.reasoning}, {"many", &c.many},
        {"logprobs", &c.logprobs},
    };
    while (words.n) {
        struct str word;
        size_t i = 0;
        str_cut(words, ',', &word, &words);
        word = str_trim(word);
        while (i < sizeof rows / sizeof rows[0] && !str_is(word, rows[i].word))
            i++;
        if (i == sizeof rows / sizeof rows[0])
            return err_set(e, ERR_INVAL, "caps: there is no \"%.*s\"", STR_ARG(word));
        *rows[i].flag = true;
    }
    *out = c;
    return 0;
}
