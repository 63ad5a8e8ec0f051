/* settings.h: what the user set, from four places in this order, later ones win: defaults,
 * $WEIR_HOME/weir.conf, the environment, the command line. The one option table is in settings.c.
 */
#ifndef WEIR_SETTINGS_H
#define WEIR_SETTINGS_H

#include "err.h"
#include "options.h"

/* Commands as bits, for the option table's masks. */
enum {
    CMD_ASK = 1 << 0,
    CMD_RUN = 1 << 1,
    CMD_SERVE = 1 << 2,
    CMD_PULL = 1 << 3,
    CMD_LIST = 1 << 4,
    CMD_SHOW = 1 << 5,
    CMD_RM = 1 << 6,
    CMD_FIT = 1 << 7,
    CMD_ROUTE = 1 << 8,
    CMD_COST = 1 << 9,
    CMD_BREAKEVEN = 1 << 10,
    CMD_TOKENIZE = 1 << 11,
    CMD_EVAL = 1 << 12,
    CMD_BENCH = 1 << 13,
    CMD_PROVIDER = 1 << 14,
    CMD_EGRESS = 1 << 15,
    CMD_TEMPLATE = 1 << 16,
    CMD_HELLO = 1 << 17,
    CMD_HELP = 1 << 18,
    CMD_EMBED = 1 << 19,
    CMD_CREATE = 1 << 20,
    CMD_VERIFY = 1 << 21,
    CMD_CP = 1 << 22,
    CMD_PS = 1 << 23,
    CMD_STOP = 1 << 24,
    CMD_KEY = 1 << 25,
    CMD_MAN = 1 << 26,
    CMD_COMPLETION = 1 << 27,
    CMD_ALL = 0x3fffffff,
};

/* One key of the file that is not an option: `[section] key = value`, kept in order. */
struct settings_pair {
    char *section, *key, *value;
    int line;
};

struct settings {
    /* the server and the engine */
    char *host, *api_key, *allow_origin, *allow_host;
    int64_t port, connections, ctx, threads, parallel, draft, keep_minutes, memory, cache_disk,
        quota;
    char *cache_type;
    bool offline, stand_in;
    /* the request */
    char *model, *system, *preset, *zone, *conversation;
    double temperature, top_p, min_p;
    double typical_p, top_n_sigma, xtc_probability, xtc_threshold, dry_multiplier;
    double repeat_penalty, frequency_penalty, presence_penalty;
    char *samplers, *logit_bias;
    char *grammar, *schema; /* files */
    int64_t top_k, seed, max_tokens;
    bool raw;
    /* money */
    double budget;
    char *baseline;
    double hardware, cloud_spend, watts, hours, kwh, resale, local_share;
    /* output */
    bool json, no_special, quiet, verbose, help;
    /* eval, bench, template, cost */
    char *tokens_file, *logits_file, *perplexity_file, *messages_file, *by, *since, *depths;
    bool exact;
    int64_t dimensions; /* embed; 0: all */
    bool truncate;

    /* the library */
    char *registry, *hub, *modelfile;
    bool other_stores, as_modelfile;

    char *home; /* $WEIR_HOME or ~/.weir */
    bool temperature_set, top_p_set, top_k_set, min_p_set, seed_set;
    struct settings_pair *pairs;
    size_t npairs;
};

/* Defaults, file, environment. ERR_FORMAT names file, line and key. */
int settings_load(struct settings *s, struct err *e);
/* Flags of one command; see options_argv. */
int settings_argv(struct settings *s, unsigned command, int argc, char **argv, int *rest,
                  struct err *e);
void settings_done(struct settings *s);
void settings_help(unsigned command, struct buf *out);
void settings_reference(struct buf *out);
/* The one option table. */
const struct option *settings_table(size_t *n);
/* The value of `key` in `section`; NULL: not there. The last one counts. */
const char *settings_pair(const struct settings *s, const char *section, const char *key);

#endif
