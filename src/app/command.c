/* command.c: the table of commands, and the few things they share. */
#include "command.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const struct command commands[] = {
    {"ask", CMD_ASK, "PROMPT", "answer one question", cmd_ask},
    {"run", CMD_RUN, "[MODEL]", "chat at the terminal", cmd_run},
    {"serve", CMD_SERVE, "", "serve the page and the APIs of OpenAI, Anthropic, Ollama and others",
     cmd_serve},
    {"pull", CMD_PULL, "NAME|PATH|URL", "bring a model to this machine", cmd_pull},
    {"create", CMD_CREATE, "NAME [-f FILE]", "make a model of another by a Modelfile", cmd_create},
    {"list", CMD_LIST, "", "models on this machine", cmd_list},
    {"show", CMD_SHOW, "MODEL", "what a model is and needs", cmd_show},
    {"cp", CMD_CP, "MODEL NAME", "give a model a second name", cmd_cp},
    {"verify", CMD_VERIFY, "[MODEL...]", "hash models again and compare", cmd_verify},
    {"rm", CMD_RM, "MODEL", "remove a model", cmd_rm},
    {"ps", CMD_PS, "", "models that are loaded", cmd_ps},
    {"stop", CMD_STOP, "MODEL", "unload a model as soon as it is idle", cmd_stop},
    {"fit", CMD_FIT, "", "what this machine can run", cmd_fit},
    {"route", CMD_ROUTE, "PROMPT", "where a request would go and why; calls nobody", cmd_route},
    {"cost", CMD_COST, "", "what it all cost", cmd_cost},
    {"breakeven", CMD_BREAKEVEN, "", "when hardware pays for itself", cmd_breakeven},
    {"embed", CMD_EMBED, "MODEL", "a vector for each line of standard input, as JSON", cmd_embed},
    {"tokenize", CMD_TOKENIZE, "MODEL", "standard input as token ids", cmd_tokenize},
    {"template", CMD_TEMPLATE, "MODEL|FILE", "the prompt a chat template renders", cmd_template},
    {"eval", CMD_EVAL, "MODEL", "logits or perplexity", cmd_eval},
    {"bench", CMD_BENCH, "MODEL", "speed, beside the machine's limits", cmd_bench},
    {"key", CMD_KEY, "create|list|revoke [NAME]", "API keys of the server", cmd_key},
    {"provider", CMD_PROVIDER, "list|test [NAME]", "cloud and site providers", cmd_provider},
    {"egress", CMD_EGRESS, "verify", "check the log of outbound connections", cmd_egress},
    {"hello", CMD_HELLO, "", "first run: fetch the default model, serve, show what weir does",
     cmd_hello},
    {"man", CMD_MAN, "", "the manual page, as troff", cmd_man},
    {"completion", CMD_COMPLETION, "bash|zsh|fish",
     "a script that completes commands, options and models", cmd_completion},
    {"help", CMD_HELP, "[COMMAND|options]", "this, or help on one command", cmd_help},
};

const struct command *command_table(size_t *n)
{
    *n = sizeof commands / sizeof commands[0];
    return commands;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int command_fail(const struct err *e)
{
    if (e->code == ERR_CANCELLED)
        return EXIT_INTERRUPTED;
    fprintf(stderr, "weir: %s\n", err_msg(e));
    switch (e->code) {
    case ERR_NOT_FOUND: return EXIT_NO_MODEL;
    case ERR_POLICY:
    case ERR_BUDGET:
    case ERR_NO_ROUTE: return EXIT_REFUSED;
    default: return EXIT_FAILED;
    }
}

int command_usage(const struct command *c, const char *why)
{
    fprintf(stderr, "weir: %s\nusage: weir %s [OPTION...] %s\n", why, c->name, c->args);
    return EXIT_USAGE;
}

static int read_stream(FILE *f, const char *name, struct buf *out, struct err *e)
{
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(out, chunk, n);
    if (ferror(f))
        return err_set(e, ERR_IO, "cannot read %s: %s", name, strerror(errno));
    if (buf_failed(out))
        return err_set(e, ERR_TOO_LARGE, "%s is larger than %zu bytes", name, out->max);
    return 0;
}

int command_read_file(const char *path, size_t max, struct buf *out, struct err *e)
{
    buf_init(out, max);
    if (strcmp(path, "-") == 0)
        return read_stream(stdin, "standard input", out, e);
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(e, ERR_IO, "cannot open %s: %s", path, strerror(errno));
    int rc = read_stream(f, path, out, e);
    fclose(f);
    return rc;
}

int command_prompt(int argc, char **argv, struct buf *out, struct err *e)
{
    buf_init(out, (size_t)64 << 20);
    for (int i = 0; i < argc; i++) {
        if (i)
            buf_putc(out, ' ');
        buf_puts(out, argv[i]);
    }
    if (isatty(STDIN_FILENO))
        return 0;
    struct buf in = BUF_INIT((size_t)64 << 20);
    int rc = read_stream(stdin, "standard input", &in, e);
    struct str text = str_trim(buf_str(&in));
    if (rc == 0 && text.n) {
        if (out->n)
            buf_puts(out, "\n\n");
        buf_str_add(out, text);
    }
    buf_done(&in);
    if (rc == 0 && buf_failed(out))
        rc = err_set(e, ERR_TOO_LARGE, "the prompt is larger than 64 MiB");
    return rc;
}

int command_print(const struct buf *b)
{
    if (buf_failed(b)) {
        fputs("weir: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    bool ok = fwrite(b->p ? b->p : "", 1, b->n, stdout) == b->n;
    if (b->n && b->p[b->n - 1] != '\n')
        ok = putchar('\n') != EOF && ok;
    return fflush(stdout) == 0 && ok ? EXIT_OK : EXIT_FAILED;
}
