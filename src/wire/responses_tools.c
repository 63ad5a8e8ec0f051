/* responses_tools.c: the tools of /v1/responses into gen's, and the names that its calls have.
 *
 * gen knows functions with one name each. A namespace's tools are functions named NAMESPACE__NAME;
 * a custom tool, whose input is free text, is a function with one string, `input`. When one of
 * these is there the list stays in extra as it came: by it a call finds the name and the form that
 * the caller knows (responses_find_tool). A tool that the service runs itself (web_search and the
 * like) can't be offered to a model that is not the service's: it is left out here, as
 * llama-server does, stays in extra for a provider of this dialect, and is refused only where
 * tool_choice demands it. */
#include "responses_int.h"

#include <stdlib.h>

static bool is_type(const json_t *tool, const char *type)
{
    return str_is(wire_json_get_str(tool, "type"), type);
}

/* ---- names ---- */

static struct str between(struct str space)
{
    return !space.n || str_ends(space, STR("__")) ? STR("") : STR("__");
}

int responses_tool_name(struct arena *a, struct str space, struct str name, struct str *out)
{
    struct str gap = between(space);
    char *p = arena_array(a, space.n + gap.n + name.n + 1, 1);
    if (!p)
        return ERR_NOMEM;
    memcpy(p, space.p ? space.p : "", space.n);
    memcpy(p + space.n, gap.p, gap.n);
    memcpy(p + space.n + gap.n, name.p ? name.p : "", name.n);
    *out = str_n(p, space.n + gap.n + name.n);
    return 0;
}

static bool is_named(struct str name, struct str space, struct str inner)
{
    struct str gap = between(space);
    size_t head = space.n + gap.n;
    return name.n == head + inner.n && str_starts(name, space) &&
           str_eq(str_n(name.p + space.n, gap.n), gap) &&
           str_eq(str_n(name.p + head, inner.n), inner);
}

static bool find_in(const json_t *list, struct str space, struct str name,
                    struct responses_tool *out)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *t = json_array_get(list, i);
        struct str own = wire_json_get_str(t, "name");
        bool custom = is_type(t, "custom");
        if (!space.n && is_type(t, "namespace")) {
            if (own.n && find_in(json_object_get(t, "tools"), own, name, out))
                return true;
        } else if ((custom || is_type(t, "function")) && is_named(name, space, own)) {
            *out = (struct responses_tool){.space = space, .name = own, .custom = custom};
            return true;
        }
    }
    return false;
}

struct responses_tool responses_find_tool(const json_t *extra, struct str name)
{
    struct responses_tool t = {.name = name};
    find_in(json_object_get(extra, "tools"), STR_NONE, name, &t);
    return t;
}

/* ---- a custom tool's input ---- */

void responses_put_input(struct str args, struct buf *out)
{
    json_t *v = NULL;
    struct err ignored;
    bool bad = wire_json_load(args, &v, &ignored) != 0;
    const json_t *input = bad ? NULL : json_object_get(v, "input");
    buf_str_add(out, json_is_string(input) ? wire_json_str(input) : args);
    if (!bad)
        json_decref(v);
}

void responses_put_args(struct str input, struct buf *out)
{
    jw_open(out, '{');
    jw_str(out, "input", input);
    jw_close(out, '}');
}

/* ---- reading ---- */

static int read_name(struct dec *d, const json_t *tool, struct str space, struct gen_tool *t)
{
    struct str name;
    int rc = dec_str(d, tool, "name", &name);
    if (rc < 0)
        return rc;
    if (!rc || !name.n)
        return dec_fail(d, ERR_FORMAT, "name", "is missing");
    if (responses_tool_name(d->a, space, name, &t->name))
        return dec_nomem(d);
    rc = dec_str(d, tool, "description", &t->description);
    return rc < 0 ? rc : 0;
}

static int read_function(struct dec *d, const json_t *tool, struct str space, struct gen_tool *t)
{
    json_t *schema;
    int rc = read_name(d, tool, space, t);
    if (rc)
        return rc;
    if ((rc = dec_bool(d, tool, "strict", &t->strict)) < 0)
        return rc;
    if ((rc = dec_object(d, tool, "parameters", &schema)) <= 0)
        return rc;
    return dec_raw(d, schema, &t->schema);
}

/* What the model is told of the text: the form it is to have, where that is given. */
static void put_input_schema(const json_t *grammar, struct buf *b)
{
    struct str syntax = wire_json_get_str(grammar, "syntax");
    struct str definition = wire_json_get_str(grammar, "definition");
    struct buf why = BUF_INIT(WIRE_MAX_BODY);
    if (definition.n)
        buf_printf(&why, "Text of this form (%.*s):\n%.*s", STR_ARG(syntax), STR_ARG(definition));
    buf_puts(b, "{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"");
    if (why.n)
        jw_str(b, "description", buf_str(&why));
    buf_puts(b, "}},\"required\":[\"input\"],\"additionalProperties\":false}");
    b->failed |= buf_failed(&why);
    buf_done(&why);
}

static int read_custom(struct dec *d, const json_t *tool, struct str space, struct gen_tool *t)
{
    json_t *format = NULL;
    struct buf b = BUF_INIT(2 * WIRE_MAX_BODY);
    int rc = read_name(d, tool, space, t);
    if (rc)
        return rc;
    if ((rc = dec_object(d, tool, "format", &format)) < 0)
        return rc;
    put_input_schema(rc ? format : NULL, &b);
    rc = buf_failed(&b) ? dec_nomem(d) : dec_copy(d, buf_str(&b), &t->schema);
    buf_done(&b);
    return rc;
}

struct tools {
    struct dec *d;
    struct gen_req *r;
    bool keep; /* there is one that gen has no word for */
};

static int read_tool(struct tools *l, const json_t *tool, struct str space)
{
    struct dec *d = l->d;
    struct str type;
    if (!json_is_object(tool))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = dec_str(d, tool, "type", &type);
    if (rc <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "type", "is missing");
    if (str_is(type, "function"))
        return read_function(d, tool, space, &l->r->tools[l->r->ntools++]);
    l->keep = true;
    if (str_is(type, "custom"))
        return read_custom(d, tool, space, &l->r->tools[l->r->ntools++]);
    return 0;
}

static int read_space(struct tools *l, const json_t *tool)
{
    struct dec *d = l->d;
    struct str name;
    json_t *list;
    int rc = dec_str(d, tool, "name", &name);
    if (rc < 0)
        return rc;
    if (!rc || !name.n)
        return dec_fail(d, ERR_FORMAT, "name", "is missing");
    if ((rc = dec_array(d, tool, "tools", &list)) <= 0)
        return rc ? rc : dec_fail(d, ERR_FORMAT, "tools", "is missing");
    l->keep = true;
    d->sub = "tools";
    for (d->j = 0; d->j < json_array_size(list); d->j++)
        if ((rc = read_tool(l, json_array_get(list, d->j), name)))
            return rc;
    d->sub = NULL;
    return 0;
}

/* At most so many. */
static size_t count_tools(const json_t *list)
{
    size_t n = json_array_size(list);
    for (size_t i = 0; i < json_array_size(list); i++)
        n += json_array_size(json_object_get(json_array_get(list, i), "tools"));
    return n;
}

int responses_read_tools(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    struct tools l = {.d = d, .r = r};
    json_t *list;
    int rc = dec_array(d, body, "tools", &list);
    if (rc <= 0 || json_array_size(list) == 0)
        return rc < 0 ? rc : 0;
    r->tools = arena_array(d->a, count_tools(list), sizeof *r->tools);
    if (!r->tools)
        return dec_nomem(d);
    d->list = "tools";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        const json_t *tool = json_array_get(list, d->i);
        rc = is_type(tool, "namespace") ? read_space(&l, tool) : read_tool(&l, tool, STR_NONE);
        if (rc)
            return rc;
    }
    d->list = NULL;
    return l.keep ? dec_keep(d, extra, "tools", list) : 0;
}

/* ---- tool_choice ---- */

/* A function or a custom tool that the choice names. 1: it is neither. */
static int chosen(struct dec *d, const json_t *choice, struct str *out)
{
    if (!is_type(choice, "function") && !is_type(choice, "custom"))
        return 1;
    return responses_tool_name(d->a, wire_json_get_str(choice, "namespace"),
                               wire_json_get_str(choice, "name"), out)
               ? dec_nomem(d)
               : 0;
}

static int allows(struct dec *d, const json_t *allowed, struct str name)
{
    for (size_t i = 0; i < json_array_size(allowed); i++) {
        struct str one;
        int rc = chosen(d, json_array_get(allowed, i), &one);
        if (rc < 0 || (!rc && str_eq(one, name)))
            return rc < 0 ? rc : 1;
    }
    return 0;
}

static int read_allowed(struct dec *d, const json_t *body, json_t *choice, struct gen_req *r,
                        json_t **extra)
{
    struct str mode = wire_json_get_str(choice, "mode");
    const json_t *allowed = json_object_get(choice, "tools");
    size_t n = 0;
    bool required = str_is(mode, "required");
    if (!required && !str_is(mode, "auto"))
        return dec_fail(d, ERR_FORMAT, "tool_choice.mode", "must be \"auto\" or \"required\"");
    if (!json_is_array(allowed))
        return dec_fail(d, ERR_FORMAT, "tool_choice.tools", "must be an array");
    r->tool_choice = required ? GEN_CHOICE_REQUIRED : GEN_CHOICE_AUTO;
    for (size_t i = 0; i < r->ntools; i++) {
        int rc = allows(d, allowed, r->tools[i].name);
        if (rc < 0)
            return rc;
        if (rc)
            r->tools[n++] = r->tools[i];
    }
    if (required && !n)
        return dec_fail(d, ERR_FORMAT, "tool_choice.tools", "names none of the tools");
    r->ntools = n;
    json_t *tools = json_object_get(body, "tools");
    int rc = tools && !json_is_null(tools) ? dec_keep(d, extra, "tools", tools) : 0;
    return rc ? rc : dec_keep(d, extra, "tool_choice", choice);
}

int responses_read_choice(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    static const char *const words[] = {"auto", "none", "required"};
    json_t *v = json_object_get(body, "tool_choice");
    if (!v || json_is_null(v))
        return 0;
    for (size_t i = 0; json_is_string(v) && i < 3; i++) {
        if (str_is(wire_json_str(v), words[i])) {
            r->tool_choice = GEN_CHOICE_AUTO + (enum gen_choice)i;
            return 0;
        }
    }
    if (json_is_string(v))
        return dec_fail(d, ERR_FORMAT, "tool_choice",
                        "must be \"auto\", \"none\", \"required\" or an object");
    if (!json_is_object(v))
        return dec_fail(d, ERR_FORMAT, "tool_choice", "must be a string or an object");
    if (is_type(v, "allowed_tools"))
        return read_allowed(d, body, v, r, extra);
    int rc = chosen(d, v, &r->tool_choice_name);
    if (rc > 0)
        return dec_fail(d, json_object_get(v, "type") ? ERR_UNSUPPORTED : ERR_FORMAT,
                        "tool_choice.type",
                        "must be \"function\", \"custom\" or \"allowed_tools\"");
    if (rc)
        return rc;
    if (!wire_json_get_str(v, "name").n)
        return dec_fail(d, ERR_FORMAT, "tool_choice.name", "is missing");
    r->tool_choice = GEN_CHOICE_NAMED;
    return 0;
}
