/* settings.c: the one option table, and the four places settings come from.
 *
 * Every option is a row here and nowhere else: flags, keys of weir.conf, environment names, --help
 * and the reference page follow from it. Sections other than the plain one ([provider.NAME],
 * [privacy], ...) are kept as pairs for the rooms that understand them. */
#include "settings.h"

#include "log.h"

#include <ini.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct settings, field)
#define ASKING (CMD_ASK | CMD_RUN | CMD_ROUTE)
#define OPENING (CMD_SERVE | CMD_ASK | CMD_RUN | CMD_HELLO | CMD_BENCH | CMD_EVAL)
#define DATA                                                                                       \
    (CMD_ASK | CMD_LIST | CMD_SHOW | CMD_FIT | CMD_ROUTE | CMD_COST | CMD_BREAKEVEN |              \
     CMD_TOKENIZE | CMD_EVAL | CMD_BENCH | CMD_PROVIDER | CMD_EGRESS | CMD_PULL | CMD_PS |         \
     CMD_CREATE | CMD_VERIFY)

static const struct option table[] = {
    /* name, letter, type, field, value, default, min, max, commands, config, help */
    {"model", 'm', OPTION_TEXT, AT(model), "NAME", "auto", 0, 0, ASKING, true,
     "who answers: auto, a local model, or PROVIDER/MODEL"},
    {"system", 's', OPTION_TEXT, AT(system), "TEXT", NULL, 0, 0, ASKING, true, "system prompt"},
    {"preset", 0, OPTION_CHOICE, AT(preset), "hybrid|private", "hybrid", 0, 0,
     ASKING | CMD_EMBED | CMD_SERVE | CMD_HELLO, true,
     "hybrid: the router decides; private: nothing leaves"},
    {"zone", 'z', OPTION_CHOICE, AT(zone), "device|site|cloud", NULL, 0, 0, ASKING | CMD_EMBED,
     false, "tighten where this request may be answered"},
    {"conversation", 0, OPTION_TEXT, AT(conversation), "ID", NULL, 0, 0, ASKING, false,
     "conversation this request belongs to"},
    {"temperature", 't', OPTION_FLOAT, AT(temperature), "X", NULL, 0, 100, ASKING, true,
     "0: always the likeliest token"},
    {"top-p", 0, OPTION_FLOAT, AT(top_p), "X", NULL, 0, 1, ASKING, true,
     "sample from the likeliest tokens that make up this share"},
    {"top-k", 0, OPTION_INT, AT(top_k), "N", NULL, 0, 1e9, ASKING, true,
     "sample from the N likeliest tokens; 0: all"},
    {"min-p", 0, OPTION_FLOAT, AT(min_p), "X", NULL, 0, 1, ASKING, true,
     "drop tokens less likely than X times the likeliest"},
    {"typical-p", 0, OPTION_FLOAT, AT(typical_p), "X", NULL, 0, 1, ASKING, true,
     "keep the tokens whose surprise is nearest to the expected, up to this share"},
    {"top-n-sigma", 0, OPTION_FLOAT, AT(top_n_sigma), "X", NULL, 0, 1000, ASKING, true,
     "keep the tokens within X standard deviations of the likeliest"},
    {"xtc-probability", 0, OPTION_FLOAT, AT(xtc_probability), "X", NULL, 0, 1, ASKING, true,
     "how often the top choices are excluded"},
    {"xtc-threshold", 0, OPTION_FLOAT, AT(xtc_threshold), "X", NULL, 0, 1, ASKING, true,
     "what counts as a top choice then"},
    {"dry-multiplier", 0, OPTION_FLOAT, AT(dry_multiplier), "X", NULL, 0, 1000, ASKING, true,
     "punish what prolongs a repetition, this strongly"},
    {"repeat-penalty", 0, OPTION_FLOAT, AT(repeat_penalty), "X", NULL, 0, 10, ASKING, true,
     "divide the logits of the last tokens by X"},
    {"frequency-penalty", 0, OPTION_FLOAT, AT(frequency_penalty), "X", NULL, -2, 2, ASKING, true,
     "take X off a token's logit for each time it was said"},
    {"presence-penalty", 0, OPTION_FLOAT, AT(presence_penalty), "X", NULL, -2, 2, ASKING, true,
     "take X off the logit of a token that was said"},
    {"logit-bias", 0, OPTION_TEXT, AT(logit_bias), "ID=X,...", NULL, 0, 0, ASKING, false,
     "add X to the logit of a token of the answering model"},
    {"grammar", 0, OPTION_TEXT, AT(grammar), "FILE", NULL, 0, 0, CMD_ASK | CMD_RUN, false,
     "hold the answer to this grammar (GBNF)"},
    {"schema", 0, OPTION_TEXT, AT(schema), "FILE", NULL, 0, 0, CMD_ASK | CMD_RUN, false,
     "hold the answer to this JSON Schema"},
    {"samplers", 0, OPTION_TEXT, AT(samplers), "NAME,...", NULL, 0, 0, ASKING, true,
     "order of: penalties dry top_n_sigma top_k typ_p top_p min_p xtc temperature"},
    {"seed", 0, OPTION_INT, AT(seed), "N", NULL, 0, 9e18, ASKING, false,
     "the same seed gives the same text"},
    {"max-tokens", 'n', OPTION_INT, AT(max_tokens), "N", NULL, 1, 1e9, ASKING, true,
     "stop after N tokens"},
    {"raw", 0, OPTION_BOOL, AT(raw), NULL, "false", 0, 0, CMD_ASK, false,
     "no template: the bare continuation of the prompt"},

    {"host", 0, OPTION_TEXT, AT(host), "ADDRESS", "127.0.0.1", 0, 0, CMD_SERVE | CMD_HELLO, true,
     "address to listen on; beyond loopback an API key is required"},
    {"port", 'p', OPTION_INT, AT(port), "N", "9347", 0, 65535, CMD_SERVE | CMD_HELLO, true,
     "port to listen on; 0: any free one"},
    {"stand-in", 0, OPTION_BOOL, AT(stand_in), NULL, "false", 0, 0, CMD_SERVE, true,
     "listen where Ollama, LM Studio and llama-server do as well: ports 11434, 1234 and 8080"},
    {"api-key", 0, OPTION_TEXT, AT(api_key), "KEY", NULL, 0, 0, 0, true,
     "key that clients must send (file or environment only: a command line is public)"},
    {"allow-origin", 0, OPTION_TEXT, AT(allow_origin), "ORIGIN,...", NULL, 0, 0, CMD_SERVE, true,
     "web pages from elsewhere that may call the server (http://localhost:*, app://*)"},
    {"allow-host", 0, OPTION_TEXT, AT(allow_host), "NAME,...", NULL, 0, 0, CMD_SERVE, true,
     "further names this server is called by"},
    {"connections", 0, OPTION_INT, AT(connections), "N", "4096", 1, 65536, CMD_SERVE, true,
     "connections at once"},
    {"ctx", 'c', OPTION_INT, AT(ctx), "N", "0", 0, 1e9, OPENING | CMD_SHOW, true,
     "context of a session in tokens; 0: the model's, within free memory"},
    {"cache-type", 0, OPTION_CHOICE, AT(cache_type), "f16|f32|q8_0|q4_0", "f16", 0, 0,
     OPENING | CMD_SHOW, true,
     "how a session's keys and values are kept: q8_0 takes about half of f16, q4_0 a quarter"},
    {"threads", 'j', OPTION_INT, AT(threads), "N", "0", 0, 256, OPENING | CMD_SHOW, true,
     "compute threads; 0: one per processor"},
    {"parallel", 0, OPTION_INT, AT(parallel), "N", "8", 1, 256, CMD_SERVE | CMD_SHOW, true,
     "sessions that one model steps together"},
    {"draft", 0, OPTION_INT, AT(draft), "N", "8", 0, 8, CMD_SERVE | CMD_ASK | CMD_HELLO, true,
     "tokens guessed ahead from what the text repeats (the answer is the same); 0: none"},
    {"keep", 0, OPTION_INT, AT(keep_minutes), "MINUTES", "-1", -1, 1e6, CMD_SERVE, true,
     "how long an idle model stays loaded; -1: until its memory is wanted"},
    {"memory", 0, OPTION_INT, AT(memory), "MIB", "0", 0, 1e9, CMD_SERVE, true,
     "memory that loaded models may have together; 0: what is free at the start"},
    {"quota", 0, OPTION_INT, AT(quota), "N", "0", 0, 1e6, CMD_SERVE, true,
     "requests that one caller (a key, or an address) may have under way; 0: no limit"},
    {"cache-disk", 0, OPTION_INT, AT(cache_disk), "MIB", "4096", 0, 1e9, CMD_SERVE, true,
     "disk for prompts that were read, so that they need not be read again; 0: none"},
    {"offline", 0, OPTION_BOOL, AT(offline), NULL, "false", 0, 0, CMD_SERVE | CMD_EMBED | ASKING,
     true, "open no connection off this machine"},

    {"budget", 0, OPTION_FLOAT, AT(budget), "USD", NULL, 0, 1e9, CMD_SERVE | CMD_COST, true,
     "what the cloud may cost in a calendar month (UTC)"},
    {"baseline", 0, OPTION_TEXT, AT(baseline), "MODEL", "gpt-5", 0, 0, CMD_SERVE | CMD_COST, true,
     "cloud model that savings are counted against"},
    {"by", 0, OPTION_CHOICE, AT(by), "day|month|model|provider|zone", "model", 0, 0, CMD_COST,
     false, "how to group the report"},
    {"since", 0, OPTION_TEXT, AT(since), "DATE", NULL, 0, 0, CMD_COST, false,
     "YYYY-MM-DD; default: the first of this month"},
    {"hardware", 0, OPTION_FLOAT, AT(hardware), "USD", NULL, 0, 1e12, CMD_BREAKEVEN, false,
     "price of the machine"},
    {"cloud-spend", 0, OPTION_FLOAT, AT(cloud_spend), "USD", NULL, 0, 1e12, CMD_BREAKEVEN, false,
     "what the cloud costs a month today"},
    {"watts", 0, OPTION_FLOAT, AT(watts), "W", "0", 0, 1e7, CMD_BREAKEVEN, false,
     "power the machine draws while it works"},
    {"hours", 0, OPTION_FLOAT, AT(hours), "H", "8", 0, 24, CMD_BREAKEVEN, false,
     "hours a day it works"},
    {"kwh", 0, OPTION_FLOAT, AT(kwh), "USD", "0", 0, 1e4, CMD_BREAKEVEN, false,
     "price of a kilowatt-hour"},
    {"resale", 0, OPTION_FLOAT, AT(resale), "USD", "0", 0, 1e12, CMD_BREAKEVEN, false,
     "what the machine will sell for"},
    {"local-share", 0, OPTION_FLOAT, AT(local_share), "X", "1", 0, 1, CMD_BREAKEVEN, false,
     "share of today's cloud spend that local models can take over"},

    {"json", 0, OPTION_BOOL, AT(json), NULL, "false", 0, 0, DATA, false, "print JSON"},
    {"quiet", 'q', OPTION_BOOL, AT(quiet), NULL, "false", 0, 0,
     CMD_ASK | CMD_PULL | CMD_RUN | CMD_CREATE | CMD_VERIFY, false,
     "no progress and no statistics"},
    {"verbose", 'v', OPTION_BOOL, AT(verbose), NULL, "false", 0, 0, CMD_ALL, true,
     "say more on standard error"},
    {"no-special", 0, OPTION_BOOL, AT(no_special), NULL, "false", 0, 0, CMD_TOKENIZE, false,
     "add no BOS or EOS; special tokens in the text are text"},
    {"tokens", 0, OPTION_TEXT, AT(tokens_file), "FILE", NULL, 0, 0, CMD_EVAL, false,
     "token ids to evaluate, separated by white space"},
    {"logits", 0, OPTION_TEXT, AT(logits_file), "OUT", NULL, 0, 0, CMD_EVAL, false,
     "write int32 n, vocabulary, tokens[n], float32 logits[n][vocabulary]"},
    {"perplexity", 0, OPTION_TEXT, AT(perplexity_file), "FILE", NULL, 0, 0, CMD_EVAL, false,
     "perplexity of a text"},
    {"exact", 0, OPTION_BOOL, AT(exact), NULL, "false", 0, 0, CMD_EVAL, false,
     "multiply with weights unpacked to F32, F32 cache"},
    {"depths", 0, OPTION_TEXT, AT(depths), "N,...", "0", 0, 0, CMD_BENCH, false,
     "depths of context to measure at"},
    {"dimensions", 0, OPTION_INT, AT(dimensions), "N", "0", 0, 1e6, CMD_EMBED, false,
     "keep the first N numbers of a vector; 0: all"},
    {"truncate", 0, OPTION_BOOL, AT(truncate), NULL, "false", 0, 0, CMD_EMBED, false,
     "cut a line that is longer than the model's context"},
    {"messages", 0, OPTION_TEXT, AT(messages_file), "FILE", NULL, 0, 0, CMD_TEMPLATE, false,
     "JSON: a list of messages, or an object with messages, tools and more"},
    {"registry", 0, OPTION_TEXT, AT(registry), "URL", "https://registry.ollama.ai", 0, 0,
     CMD_PULL | CMD_CREATE, true, "where NAME:TAG is pulled from"},
    {"hub", 0, OPTION_TEXT, AT(hub), "URL", "https://huggingface.co", 0, 0, CMD_PULL | CMD_CREATE,
     true, "where hf.co/ORG/REPO is pulled from; HF_TOKEN is sent there and nowhere else"},
    {"other-stores", 0, OPTION_BOOL, AT(other_stores), NULL, "true", 0, 0,
     CMD_LIST | CMD_PULL | CMD_SERVE | CMD_VERIFY, true,
     "use the models of Ollama and LM Studio on this machine, where they lie"},
    {"file", 'f', OPTION_TEXT, AT(modelfile), "FILE", "Modelfile", 0, 0, CMD_CREATE, false,
     "the Modelfile; -: standard input"},
    {"modelfile", 0, OPTION_BOOL, AT(as_modelfile), NULL, "false", 0, 0, CMD_SHOW, false,
     "print it as a Modelfile"},
    {"help", 'h', OPTION_BOOL, AT(help), NULL, "false", 0, 0, CMD_ALL, false, "this help"},
};
#define NTABLE (sizeof table / sizeof table[0])

/* Floats and integers without a default are "unset"; a sentinel inside the struct marks them until
 * a source sets them, because 0 is a value people ask for. */
static void mark_unset(struct settings *s)
{
    s->temperature = s->top_p = s->min_p = s->budget = NAN;
    s->typical_p = s->top_n_sigma = s->xtc_probability = s->xtc_threshold = NAN;
    s->dry_multiplier = s->repeat_penalty = s->frequency_penalty = s->presence_penalty = NAN;
    s->hardware = s->cloud_spend = NAN;
    s->top_k = s->seed = -1;
}

static void note_set(struct settings *s)
{
    s->temperature_set = !isnan(s->temperature);
    s->top_p_set = !isnan(s->top_p);
    s->min_p_set = !isnan(s->min_p);
    s->top_k_set = s->top_k >= 0;
    s->seed_set = s->seed >= 0;
}

static int find_home(struct settings *s, struct err *e)
{
    const char *set = getenv("WEIR_HOME"), *user = getenv("HOME");
    if (set && *set)
        s->home = strdup(set);
    else if (user && *user && asprintf(&s->home, "%s/.weir", user) < 0)
        s->home = NULL;
    if (!s->home)
        return err_set(e, ERR_INVAL, "set WEIR_HOME or HOME to say where weir keeps its files");
    return 0;
}

/* ---- the file ---- */

struct reading {
    struct settings *s;
    struct err *e;
    int rc;
};

static int keep_pair(struct settings *s, const char *section, const char *key, const char *value)
{
    struct settings_pair *p = realloc(s->pairs, (s->npairs + 1) * sizeof *p);
    if (!p)
        return ERR_NOMEM;
    s->pairs = p;
    p[s->npairs] = (struct settings_pair){strdup(section), strdup(key), strdup(value), 0};
    if (!p[s->npairs].section || !p[s->npairs].key || !p[s->npairs].value) {
        free(p[s->npairs].section);
        free(p[s->npairs].key);
        free(p[s->npairs].value);
        return ERR_NOMEM;
    }
    s->npairs++;
    return 0;
}

static int on_key(void *user, const char *section, const char *key, const char *value)
{
    struct reading *r = user;
    if (r->rc)
        return 0;
    if (*section == '\0' || strcmp(section, "weir") == 0)
        r->rc = options_key(table, NTABLE, r->s, str_of(key), str_of(value), r->e);
    else if (r->s->npairs < 4096)
        r->rc = keep_pair(r->s, section, key, value);
    else
        r->rc = err_set(r->e, ERR_LIMIT, "more than 4,096 keys");
    return r->rc == 0;
}

static int read_file(struct settings *s, struct err *e)
{
    char path[4096];
    struct err inner = {0};
    snprintf(path, sizeof path, "%s/weir.conf", s->home);
    struct reading r = {s, &inner, 0};
    int line = ini_parse(path, on_key, &r);
    if (line == -1)
        return 0; /* the file is optional */
    if (line == 0)
        return 0;
    return err_set_at(e, ERR_FORMAT, line > 0 ? (uint64_t)line : 0, "%s, line %d: %s", path, line,
                      r.rc ? err_msg(&inner) : "not a [section] or key = value");
}

int settings_load(struct settings *s, struct err *e)
{
    *s = (struct settings){0};
    int rc = find_home(s, e);
    if (rc == 0)
        rc = options_defaults(table, NTABLE, s, e);
    mark_unset(s);
    if (rc == 0)
        rc = read_file(s, e);
    if (rc == 0)
        rc = options_env(table, NTABLE, s, e);
    note_set(s);
    return rc;
}

int settings_argv(struct settings *s, unsigned command, int argc, char **argv, int *rest,
                  struct err *e)
{
    int rc = options_argv(table, NTABLE, s, command, argc, argv, rest, e);
    note_set(s);
    if (s->verbose)
        log_set_level(LOG_INFO);
    return rc;
}

void settings_done(struct settings *s)
{
    if (!s)
        return;
    options_done(table, NTABLE, s);
    for (size_t i = 0; i < s->npairs; i++) {
        free(s->pairs[i].section);
        free(s->pairs[i].key);
        free(s->pairs[i].value);
    }
    free(s->pairs);
    free(s->home);
    *s = (struct settings){0};
}

void settings_help(unsigned command, struct buf *out)
{
    options_help(table, NTABLE, command, out);
}

/* The reference page, docs/configuration.md: the table, and what stands around it. */
void settings_reference(struct buf *out)
{
    buf_puts(out,
             "# Configuration\n\n"
             "A flag wins over the environment, the environment over `$WEIR_HOME/weir.conf`, the "
             "file over the default.\n"
             "`$WEIR_HOME` is `~/.weir` unless it is set; the file is optional. This page is what "
             "`weir help options` prints. In the\nfile a comment is a line that begins with `#` or "
             "`;`, or what follows ` ;`.\n\n");
    options_reference(table, NTABLE, out);
    buf_puts(out,
             "\nA true-or-false option is set by its flag alone and unset by `--no-NAME`. "
             "`weir help COMMAND` lists the flags of one\ncommand.\n\n"
             "## Sections of weir.conf\n\n"
             "| section | keys | see |\n|---|---|---|\n"
             "| (none) | the second column above | |\n"
             "| `[privacy]` | words, allow, zone, sensitive-zone, media-zone | "
             "[privacy.md](privacy.md) |\n"
             "| `[provider.NAME]` | url, dialect, zone, models, key_env, key_file, context, "
             "max_output, caps, unix, connect_ms, first_ms, whole_ms, idle_ms | "
             "[add-a-provider.md](add-a-provider.md) |\n"
             "| `[price.MODEL]` | input, cached, cache-write, output, ... | [costs.md](costs.md) "
             "|\n"
             "| `[library]` | dir: a folder where files of the catalogue, or their wheels, may lie "
             "already | |\n\n"
             "Besides: `WEIR_HOME`, and `WEIR_CPU` (`c`, `avx2`, ...: caps the choice of kernels). "
             "Keys of providers are read\nfrom the variables their official clients read: "
             "`OPENAI_API_KEY`, `OPENAI_BASE_URL`, `ANTHROPIC_API_KEY`,\n"
             "`ANTHROPIC_BASE_URL`, `OPENROUTER_API_KEY`, `OPENROUTER_BASE_URL`.\n");
}

const char *settings_pair(const struct settings *s, const char *section, const char *key)
{
    for (size_t i = s->npairs; i > 0; i--)
        if (strcmp(s->pairs[i - 1].section, section) == 0 && strcmp(s->pairs[i - 1].key, key) == 0)
            return s->pairs[i - 1].value;
    return NULL;
}

const struct option *settings_table(size_t *n)
{
    *n = NTABLE;
    return table;
}
