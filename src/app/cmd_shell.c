/* cmd_shell.c: weir man and weir completion: what shells and manuals want to know, made from the
 * table of commands and the one option table. */
#include "command.h"

#include "library.h"
#include "pulling.h"

#include <ctype.h>
#include <string.h>

/* ---- the manual page ---- */

/* Text in troff: a backslash is \e, a dot or quote at the start of a line is no request. */
static void put_troff(struct buf *b, const char *text)
{
    if (*text == '.' || *text == '\'')
        buf_puts(b, "\\&");
    for (; *text; text++) {
        if (*text == '\\')
            buf_puts(b, "\\e");
        else if (*text == '-')
            buf_puts(b, "\\-");
        else
            buf_putc(b, *text);
    }
}

static void put_option(const struct option *o, struct buf *b)
{
    buf_puts(b, ".TP\n");
    if (o->commands) {
        if (o->letter)
            buf_printf(b, "\\fB\\-%c\\fR, ", o->letter);
        buf_puts(b, "\\fB\\-\\-");
        put_troff(b, o->name);
        buf_puts(b, "\\fR");
        if (o->value) {
            buf_puts(b, " \\fI");
            put_troff(b, o->value);
            buf_puts(b, "\\fR");
        }
    } else {
        buf_puts(b, "\\fB");
        put_troff(b, o->name);
        buf_puts(b, "\\fR (weir.conf)");
    }
    buf_putc(b, '\n');
    put_troff(b, o->help);
    if (o->def && o->type != OPTION_BOOL) {
        buf_puts(b, " (");
        put_troff(b, o->def);
        buf_puts(b, ")");
    }
    buf_putc(b, '\n');
}

static void put_commands(struct buf *b)
{
    size_t n;
    const struct command *c = command_table(&n);
    buf_puts(b, ".SH COMMANDS\n");
    for (size_t i = 0; i < n; i++) {
        buf_printf(b, ".TP\n\\fBweir %s\\fR \\fI", c[i].name);
        put_troff(b, c[i].args);
        buf_puts(b, "\\fR\n");
        put_troff(b, c[i].summary);
        buf_putc(b, '\n');
    }
}

int cmd_man(const struct settings *s, int argc, char **argv)
{
    struct buf b = BUF_INIT((size_t)4 << 20);
    size_t n;
    const struct option *t = settings_table(&n);
    buf_puts(
        &b, ".TH WEIR 1 \"\" \"weir " WEIR_VERSION "\" \"User Commands\"\n"
            ".SH NAME\nweir \\- local model engine and server, gateway to cloud models, and the "
            "router between them\n"
            ".SH SYNOPSIS\n\\fBweir\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n"
            ".SH DESCRIPTION\nweir runs open models on this machine, reaches cloud models where "
            "they are better, decides which of the two answers a request, says why, and keeps "
            "the account. Sensitive requests stay here.\n");
    put_commands(&b);
    buf_puts(&b,
             ".SH OPTIONS\n\\fBweir help\\fR \\fICOMMAND\\fR lists those of one command. An "
             "option may also stand in \\fIweir.conf\\fR or in the environment (WEIR_NAME), where "
             "\\fBweir help options\\fR says so.\n");
    for (size_t i = 0; i < n; i++)
        put_option(&t[i], &b);
    buf_puts(
        &b, ".SH FILES\n.TP\n\\fI$WEIR_HOME\\fR\nmodels, database, keys and logs; \\fI~/.weir\\fR\n"
            ".TP\n\\fI$WEIR_HOME/weir.conf\\fR\nconfiguration\n"
            ".SH EXIT STATUS\n0 ok, 1 failed, 2 usage, 3 no such model, 4 refused by policy, 130 "
            "interrupted.\n");
    int rc = command_print(&b);
    buf_done(&b);
    return rc;
}

/* ---- completion ---- */

static bool takes_model(const struct command *c)
{
    return strstr(c->args, "MODEL") != NULL;
}

/* "a|b|c" of a choice or of a command's arguments, as words; nothing of placeholders. */
static void put_words(struct buf *b, const char *choices)
{
    for (const char *p = choices; p && *p; p++) {
        bool word = islower((unsigned char)*p) || isdigit((unsigned char)*p) || *p == '_';
        buf_putc(b, word ? *p : ' ');
    }
}

static void put_flags(struct buf *b, const struct option *t, size_t n, unsigned command)
{
    for (size_t i = 0; i < n; i++)
        if (t[i].commands & command)
            buf_printf(b, "--%s ", t[i].name);
}

static void bash(struct buf *b)
{
    size_t nc, no;
    const struct command *c = command_table(&nc);
    const struct option *t = settings_table(&no);
    buf_puts(b,
             "# bash completion of weir: eval \"$(weir completion bash)\"\n"
             "_weir() {\n  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
             "  local flags= words=\n  COMPREPLY=()\n  if ((COMP_CWORD == 1)); then\n"
             "    COMPREPLY=($(compgen -W \"");
    for (size_t i = 0; i < nc; i++)
        buf_printf(b, "%s ", c[i].name);
    buf_puts(b, "\" -- \"$cur\"))\n    return\n  fi\n  case $prev in\n"
                "    --model|-m) words=$(weir completion models 2>/dev/null) ;;\n");
    for (size_t i = 0; i < no; i++) {
        if (t[i].type != OPTION_CHOICE || !t[i].commands)
            continue;
        buf_printf(b, "    --%s) words=\"", t[i].name);
        put_words(b, t[i].value);
        buf_puts(b, "\" ;;\n");
    }
    buf_puts(b, "  esac\n  if [[ -z $words ]]; then\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < nc; i++) {
        buf_printf(b, "      %s) flags=\"", c[i].name);
        put_flags(b, t, no, c[i].bit);
        buf_puts(b, "\"; words=\"");
        put_words(b, c[i].args);
        buf_puts(b,
                 takes_model(&c[i]) ? " $(weir completion models 2>/dev/null)\" ;;\n" : "\" ;;\n");
    }
    buf_puts(b, "    esac\n    [[ $cur == -* ]] && words=$flags\n  fi\n"
                "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                "  [[ $cur == *:* ]] && type -t __ltrim_colon_completions >/dev/null &&\n"
                "    __ltrim_colon_completions \"$cur\"\n"
                "  return 0\n}\ncomplete -o default -F _weir weir\n");
}

static void quoted(struct buf *b, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            buf_puts(b, "'\\''");
        else
            buf_putc(b, *text);
    }
}

static void zsh(struct buf *b)
{
    size_t nc, no;
    const struct command *c = command_table(&nc);
    const struct option *t = settings_table(&no);
    buf_puts(b, "#compdef weir\n# zsh completion of weir: put it as _weir into a folder of $fpath\n"
                "_weir() {\n  local -a commands flags words\n  commands=(\n");
    for (size_t i = 0; i < nc; i++) {
        buf_printf(b, "    '%s:", c[i].name);
        quoted(b, c[i].summary);
        buf_puts(b, "'\n");
    }
    buf_puts(b,
             "  )\n  if ((CURRENT == 2)); then\n    _describe command commands\n    return\n  fi\n"
             "  case ${words[CURRENT-1]:-} in *) ;; esac\n"
             "  case ${(Q)${(z)BUFFER}[2]} in\n");
    for (size_t i = 0; i < nc; i++) {
        buf_printf(b, "    %s) flags=(", c[i].name);
        put_flags(b, t, no, c[i].bit);
        buf_puts(b, "); words=(");
        put_words(b, c[i].args);
        buf_puts(b, takes_model(&c[i]) ? " ${(f)\"$(weir completion models 2>/dev/null)\"}) ;;\n"
                                       : ") ;;\n");
    }
    buf_puts(b, "  esac\n  if [[ $PREFIX == -* ]]; then\n    compadd -- $flags\n  else\n"
                "    compadd -- $words\n    _files\n  fi\n}\n_weir \"$@\"\n");
}

static void fish(struct buf *b)
{
    size_t nc, no;
    const struct command *c = command_table(&nc);
    const struct option *t = settings_table(&no);
    buf_puts(b, "# fish completion of weir: weir completion fish | source\n");
    for (size_t i = 0; i < nc; i++) {
        buf_printf(b, "complete -c weir -n __fish_use_subcommand -f -a %s -d '", c[i].name);
        quoted(b, c[i].summary);
        buf_puts(b, "'\n");
        if (takes_model(&c[i]))
            buf_printf(
                b,
                "complete -c weir -n '__fish_seen_subcommand_from %s' -f -a '(weir completion "
                "models 2>/dev/null)'\n",
                c[i].name);
        for (size_t k = 0; k < no; k++) {
            if (!(t[k].commands & c[i].bit))
                continue;
            buf_printf(b, "complete -c weir -n '__fish_seen_subcommand_from %s' -l %s", c[i].name,
                       t[k].name);
            if (t[k].letter)
                buf_printf(b, " -s %c", t[k].letter);
            if (t[k].type == OPTION_CHOICE) {
                buf_puts(b, " -x -a '");
                put_words(b, t[k].value);
                buf_puts(b, "'");
            } else if (t[k].type != OPTION_BOOL) {
                buf_puts(b, " -r");
            }
            buf_puts(b, " -d '");
            quoted(b, t[k].help);
            buf_puts(b, "'\n");
        }
    }
}

/* A name a line: what the scripts ask for. */
static int models(const struct settings *s, struct buf *b, struct err *e)
{
    struct library_params p = pulling_params(s, NULL);
    struct library *l = NULL;
    struct library_list list;
    int rc = library_open(&p, &l, e);
    if (rc == 0)
        rc = library_list(l, &list, e);
    if (rc == 0) {
        for (size_t i = 0; i < list.n; i++)
            buf_printf(b, "%s\n", list.items[i].name);
        library_list_done(&list);
    }
    library_free(l);
    return rc;
}

int cmd_completion(const struct settings *s, int argc, char **argv)
{
    struct buf b = BUF_INIT((size_t)4 << 20);
    struct err e = {0};
    const char *what = argc == 1 ? argv[0] : "";
    int rc = 0;
    if (strcmp(what, "bash") == 0)
        bash(&b);
    else if (strcmp(what, "zsh") == 0)
        zsh(&b);
    else if (strcmp(what, "fish") == 0)
        fish(&b);
    else if (strcmp(what, "models") == 0)
        rc = models(s, &b, &e);
    else
        return command_usage(command_find("completion"), "bash, zsh or fish is named");
    int code = rc ? command_fail(&e) : b.n ? command_print(&b) : EXIT_OK;
    buf_done(&b);
    return code;
}
