/* options.c: values of options from text, wherever the text came from. Every message names the
 * option the way its source wrote it (flag, key or environment name). */
#include "options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 64

static void *field(const struct option *o, void *base)
{
    return (char *)base + o->offset;
}

/* ---- one value ---- */

static int set_bool(const struct option *o, void *base, struct str v, const char *as, struct err *e)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no",
                                                                                "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (str_ieq(v, str_of(yes[i])) || str_ieq(v, str_of(no[i]))) {
            *(bool *)field(o, base) = str_ieq(v, str_of(yes[i]));
            return 0;
        }
    }
    return err_set(e, ERR_INVAL, "%s wants true or false, not '%.*s'", as, STR_ARG(v));
}

static int set_number(const struct option *o, void *base, struct str v, const char *as,
                      struct err *e)
{
    int64_t i = 0;
    double d = 0;
    bool whole = o->type == OPTION_INT;
    bool ok = whole ? str_to_i64(v, &i) : str_to_f64(v, &d);
    if (whole)
        d = (double)i;
    if (!ok || d < o->min || d > o->max)
        return err_set(e, ERR_INVAL, "%s wants a %s from %.10g to %.10g, not '%.*s'", as,
                       whole ? "whole number" : "number", o->min, o->max, STR_ARG(v));
    if (whole)
        *(int64_t *)field(o, base) = i;
    else
        *(double *)field(o, base) = d;
    return 0;
}

/* A choice's `value` is its alternatives: "a|b|c". */
static bool among(const char *choices, struct str v)
{
    struct str rest = str_of(choices), one;
    bool more = true;
    while (more) {
        more = str_cut(rest, '|', &one, &rest);
        if (str_eq(one, v))
            return true;
    }
    return false;
}

static int set_text(const struct option *o, void *base, struct str v, const char *as, struct err *e)
{
    char **at = field(o, base);
    if (o->type == OPTION_CHOICE && !among(o->value, v))
        return err_set(e, ERR_INVAL, "%s wants one of %s, not '%.*s'", as, o->value, STR_ARG(v));
    if (v.n && memchr(v.p, '\0', v.n))
        return err_set(e, ERR_INVAL, "%s must not hold a NUL byte", as);
    char *copy = strndup(v.p ? v.p : "", v.n);
    if (!copy)
        return err_set(e, ERR_NOMEM, "out of memory");
    free(*at);
    *at = copy;
    return 0;
}

static int set(const struct option *o, void *base, struct str v, const char *as, struct err *e)
{
    switch (o->type) {
    case OPTION_BOOL: return set_bool(o, base, v, as, e);
    case OPTION_INT:
    case OPTION_FLOAT: return set_number(o, base, v, as, e);
    default: return set_text(o, base, v, as, e);
    }
}

/* ---- defaults, environment, file ---- */

int options_defaults(const struct option *t, size_t n, void *base, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (t[i].def)
            rc = set(&t[i], base, str_of(t[i].def), t[i].name, e);
    return rc;
}

static void env_name(const struct option *o, char out[static NAME_MAX_LEN])
{
    size_t at = 0;
    for (const char *p = "WEIR_"; *p; p++)
        out[at++] = *p;
    for (const char *p = o->name; *p && at < NAME_MAX_LEN - 1; p++)
        out[at++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    out[at] = '\0';
}

int options_env(const struct option *t, size_t n, void *base, struct err *e)
{
    char name[NAME_MAX_LEN];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!t[i].in_config)
            continue;
        env_name(&t[i], name);
        const char *v = getenv(name);
        if (v && *v)
            rc = set(&t[i], base, str_of(v), name, e);
    }
    return rc;
}

int options_key(const struct option *t, size_t n, void *base, struct str key, struct str value,
                struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (t[i].in_config && str_is(key, t[i].name))
            return set(&t[i], base, str_trim(value), t[i].name, e);
    return err_set(e, ERR_NOT_FOUND, "there is no key '%.*s'", STR_ARG(key));
}

/* ---- the command line ---- */

struct flag {
    const struct option *o;
    struct str value;
    bool has_value, negated;
};

static const struct option *find(const struct option *t, size_t n, unsigned command,
                                 struct str name)
{
    for (size_t i = 0; i < n; i++)
        if ((t[i].commands & command) && str_is(name, t[i].name))
            return &t[i];
    return NULL;
}

static const struct option *find_letter(const struct option *t, size_t n, unsigned command, char c)
{
    for (size_t i = 0; i < n; i++)
        if ((t[i].commands & command) && t[i].letter == c)
            return &t[i];
    return NULL;
}

/* "--name", "--name=value", "--no-name", "-l", "-lVALUE". */
static bool parse_flag(const struct option *t, size_t n, unsigned command, const char *arg,
                       struct flag *f)
{
    *f = (struct flag){0};
    if (arg[1] != '-') {
        f->o = find_letter(t, n, command, arg[1]);
        f->has_value = arg[2] != '\0';
        f->value = str_of(arg + 2);
        return f->o && !(f->has_value && f->o->type == OPTION_BOOL);
    }
    struct str name;
    f->has_value = str_cut(str_of(arg + 2), '=', &name, &f->value);
    f->o = find(t, n, command, name);
    if (!f->o && !f->has_value && str_starts(name, STR("no-"))) {
        f->o = find(t, n, command, str_n(name.p + 3, name.n - 3));
        f->negated = f->o && f->o->type == OPTION_BOOL;
        return f->negated;
    }
    return f->o != NULL;
}

/* A lone "-" is standard input, and a number like -1 is nobody's flag. */
static bool is_flag(const char *arg)
{
    return arg[0] == '-' && arg[1] != '\0' && !isdigit((unsigned char)arg[1]);
}

int options_argv(const struct option *t, size_t n, void *base, unsigned command, int argc,
                 char **argv, int *rest, struct err *e)
{
    int kept = 0;
    for (int i = 0; i < argc; i++) {
        struct flag f;
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                argv[kept++] = argv[i];
            break;
        }
        if (!is_flag(argv[i])) {
            argv[kept++] = argv[i];
            continue;
        }
        const char *as = argv[i];
        if (!parse_flag(t, n, command, argv[i], &f))
            return err_set(e, ERR_INVAL, "there is no option %s here", as);
        if (!f.has_value && f.o->type == OPTION_BOOL)
            f.value = f.negated ? STR("false") : STR("true");
        else if (!f.has_value && ++i == argc)
            return err_set(e, ERR_INVAL, "%s wants a value", as);
        else if (!f.has_value)
            f.value = str_of(argv[i]);
        int rc = set(f.o, base, f.value, as, e);
        if (rc)
            return rc;
    }
    *rest = kept;
    return 0;
}

void options_done(const struct option *t, size_t n, void *base)
{
    for (size_t i = 0; i < n; i++) {
        if (t[i].type != OPTION_TEXT && t[i].type != OPTION_CHOICE)
            continue;
        char **at = field(&t[i], base);
        free(*at);
        *at = NULL;
    }
}

/* ---- help ---- */

void options_help(const struct option *t, size_t n, unsigned command, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        char left[96];
        struct buf line = BUF_INIT(sizeof left - 1);
        if (!(t[i].commands & command))
            continue;
        if (t[i].letter)
            buf_printf(&line, "-%c, ", t[i].letter);
        else
            buf_puts(&line, "    ");
        buf_printf(&line, "--%s%s%s", t[i].name, t[i].value ? " " : "",
                   t[i].value ? t[i].value : "");
        buf_printf(out, "  %-34s %s", line.p ? line.p : t[i].name, t[i].help);
        if (t[i].def && t[i].type != OPTION_BOOL)
            buf_printf(out, " (%s)", t[i].def);
        buf_putc(out, '\n');
        buf_done(&line);
    }
}

void options_reference(const struct option *t, size_t n, struct buf *out)
{
    buf_puts(
        out,
        "| flag | key in weir.conf | environment | default | meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        char env[NAME_MAX_LEN];
        env_name(&t[i], env);
        buf_printf(out, "| %s%s%s | %s | %s | %s | %s |\n", t[i].commands ? "`--" : "",
                   t[i].commands ? t[i].name : "", t[i].commands ? "`" : "",
                   t[i].in_config ? t[i].name : "", t[i].in_config ? env : "",
                   t[i].def ? t[i].def : "", t[i].help);
    }
}
