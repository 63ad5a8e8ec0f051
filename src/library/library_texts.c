/* library_texts.c: what a model says besides its weights: template, system prompt, parameters,
 * messages, licence. All of it comes from strangers: every text passes through lib_text_set, which
 * bounds it and lets through nothing but UTF-8 without NUL and, where it is JSON, JSON of the one
 * shape that is meant. */
#include "library_int.h"

#include "utf8.h"

#include <jansson.h>
#include <stdlib.h>

static const struct {
    const char *name;
    size_t max;
} kinds[LIB_TEXTS] = {
    [LIB_TEMPLATE] = {"template", (size_t)1 << 20}, [LIB_SYSTEM] = {"system", (size_t)1 << 20},
    [LIB_PARAMS] = {"params", (size_t)64 << 10},    [LIB_MESSAGES] = {"messages", (size_t)1 << 20},
    [LIB_LICENCE] = {"licence", (size_t)1 << 20},
};

const char *lib_text_name(enum lib_text kind)
{
    return kinds[kind].name;
}

size_t lib_text_max(enum lib_text kind)
{
    return kinds[kind].max;
}

char **lib_text_of(struct library_texts *t, enum lib_text kind)
{
    switch (kind) {
    case LIB_TEMPLATE: return &t->template_text;
    case LIB_SYSTEM: return &t->system;
    case LIB_PARAMS: return &t->params;
    case LIB_MESSAGES: return &t->messages;
    default: return &t->licence_text;
    }
}

/* ---- JSON of the two shapes ---- */

static bool scalar(const json_t *v)
{
    return json_is_string(v) || json_is_number(v) || json_is_boolean(v);
}

/* An object of scalars and lists of scalars. */
static const char *check_params(json_t *root)
{
    const char *key;
    json_t *value;
    if (!json_is_object(root))
        return "is no JSON object";
    json_object_foreach(root, key, value)
    {
        size_t n = json_array_size(value);
        if (!scalar(value) && !json_is_array(value) && !json_is_null(value))
            return "holds a value that is neither a number, a text nor a list";
        for (size_t i = 0; i < n; i++)
            if (!scalar(json_array_get(value, i)))
                return "holds a list of more than numbers and texts";
    }
    return NULL;
}

static const char *check_messages(json_t *root)
{
    if (!json_is_array(root))
        return "is no JSON list";
    for (size_t i = 0; i < json_array_size(root); i++) {
        json_t *m = json_array_get(root, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        if (!role || !json_is_string(json_object_get(m, "content")))
            return "holds what is no message";
        if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 &&
            strcmp(role, "assistant") != 0)
            return "holds a message of an unknown role";
    }
    return NULL;
}

/* The text as we write it, malloc'd. */
static int normal_json(enum lib_text kind, struct str bytes, const char *where, char **out,
                       struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb(bytes.p, bytes.n, JSON_REJECT_DUPLICATES, &why);
    const char *wrong = !root                ? "is not JSON"
                        : kind == LIB_PARAMS ? check_params(root)
                                             : check_messages(root);
    int rc = 0;
    if (wrong)
        rc = err_set(e, ERR_FORMAT, "%s: its %s %s", where, kinds[kind].name, wrong);
    else if (!(*out = json_dumps(root, JSON_COMPACT)))
        rc = err_set(e, ERR_NOMEM, "%s: no memory", where);
    json_decref(root);
    return rc;
}

/* ---- */

static char *join(const char *a, struct str b)
{
    size_t n = a ? strlen(a) : 0, gap = n ? 2 : 0;
    char *p = malloc(n + gap + b.n + 1);
    if (!p)
        return NULL;
    memcpy(p, n ? a : "", n);
    memcpy(p + n, "\n\n", gap);
    memcpy(p + n + gap, b.n ? b.p : "", b.n);
    p[n + gap + b.n] = '\0';
    return p;
}

int lib_text_set(struct library_texts *t, enum lib_text kind, struct str bytes, const char *where,
                 struct err *e)
{
    char **slot = lib_text_of(t, kind), *text = NULL;
    size_t had = kind == LIB_LICENCE && *slot ? strlen(*slot) + 2 : 0;
    int rc = 0;
    if (had > kinds[kind].max || bytes.n > kinds[kind].max - had)
        return err_set(e, ERR_TOO_LARGE, "%s: its %s has more than %zu bytes", where,
                       kinds[kind].name, kinds[kind].max);
    if (!utf8_valid(bytes) || (bytes.n && memchr(bytes.p, '\0', bytes.n)))
        return err_set(e, ERR_FORMAT, "%s: its %s is no UTF-8 text", where, kinds[kind].name);
    if (kind == LIB_PARAMS || kind == LIB_MESSAGES)
        rc = normal_json(kind, bytes, where, &text, e);
    else if (!(text = join(had ? *slot : NULL, bytes)))
        rc = err_set(e, ERR_NOMEM, "%s: no memory", where);
    if (rc == 0) {
        free(*slot);
        *slot = text;
    }
    return rc;
}

void library_texts_done(struct library_texts *t)
{
    if (!t)
        return;
    for (enum lib_text k = 0; k < LIB_TEXTS; k++)
        free(*lib_text_of(t, k));
    *t = (struct library_texts){0};
}

int lib_texts_fill(struct library_texts *t)
{
    for (enum lib_text k = 0; k < LIB_TEXTS; k++) {
        char **slot = lib_text_of(t, k);
        if (!*slot && !(*slot = strdup("")))
            return ERR_NOMEM;
    }
    return 0;
}

void lib_licence_title(const char *text, char out[81])
{
    struct str line, rest = str_of(text);
    out[0] = '\0';
    for (bool more = rest.n > 0; more;) {
        more = str_cut(rest, '\n', &line, &rest);
        line = str_trim(line);
        if (line.n == 0)
            continue;
        size_t n = line.n < 80 ? line.n : 80;
        memcpy(out, line.p, n);
        out[n - (line.n > 80 ? utf8_partial_tail(str_n(out, n)) : 0)] = '\0';
        return;
    }
}
