/* tmpl_body.c: the kinds of bodies that calls have: JSON, a name and JSON, tagged parameters,
 * elements, Python's and Gemma's calls. Each reads on from where it stopped, and puts whole calls
 * into p->calls. Called by tmpl_call.c. */
#include "tmpl_parser_int.h"

#include <stdlib.h>

/* ---- tools and calls ---- */

const struct gen_tool *tool_named(const struct tmpl_parser *p, const char *name)
{
    for (size_t i = 0; p->req && name && i < p->req->ntools; i++)
        if (str_is(p->req->tools[i].name, name))
            return &p->req->tools[i];
    return NULL;
}

static const struct gen_tool *tool_of_code(const struct tmpl_parser *p)
{
    static const char *const names[] = {"python", "ipython", "code_interpreter"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tool_named(p, names[i]))
            return tool_named(p, names[i]);
    return NULL;
}

/* A name is one word, or a few: not the beginning of something else. */
static bool set_name(struct tmpl_parser *p, struct str s)
{
    s = str_trim(s);
    if (!s.n || s.n > MAX_CALL_NAME)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || strchr("<>{}\"", s.p[i]))
            return false;
    free(p->name);
    p->name = strndup(s.p, s.n);
    return p->name != NULL;
}

static bool push(struct tmpl_parser *p, const char *name, const char *id, json_t *args)
{
    json_t *call = json_object();
    if (!p->calls)
        p->calls = json_array();
    bool ok = call && p->calls && args && json_object_set_new(call, "name", json_string(name)) == 0;
    if (ok && id && *id)
        ok = json_object_set_new(call, "id", json_string(id)) == 0;
    if (ok)
        ok = json_object_set(call, "arguments", args) == 0;
    json_decref(args);
    if (!ok || json_array_append(p->calls, call) != 0)
        ok = false;
    json_decref(call);
    return ok;
}

static bool add_code(struct tmpl_parser *p, struct str code)
{
    const struct gen_tool *t = tool_of_code(p);
    json_t *text = args_json(code); /* some write the code as a JSON string */
    if (!json_is_string(text)) {
        json_decref(text);
        text = json_stringn(code.p, code.n);
    }
    json_t *args = json_pack("{s:o}", "code", text);
    char *name = args && t ? strndup(t->name.p, t->name.n) : NULL;
    bool ok = false;
    if (name)
        ok = push(p, name, NULL, args);
    else
        json_decref(args);
    free(name);
    return ok;
}

/* ---- a JSON object, or a list of them ---- */

/* Arguments may be an object, nothing, or JSON written as a string. */
static json_t *arguments_of(json_t *a)
{
    if (!a || json_is_null(a))
        return json_object();
    if (json_is_string(a)) {
        json_t *inner = args_json(str_n(json_string_value(a), json_string_length(a)));
        bool object = json_is_object(inner);
        json_decref(inner);
        return object ? json_incref(a) : NULL;
    }
    return json_is_object(a) ? json_incref(a) : NULL;
}

static json_t *first_of(const json_t *o, const char *const *keys)
{
    json_t *v = NULL;
    for (; !v && *keys; keys++)
        v = json_object_get(o, *keys);
    return v;
}

/* {"f": {...}} */
static bool push_keyed(struct tmpl_parser *p, json_t *o)
{
    const char *name = json_object_iter_key(json_object_iter(o));
    json_t *args = json_object_iter_value(json_object_iter(o));
    return json_object_size(o) == 1 && *name && push(p, name, NULL, arguments_of(args));
}

static bool push_object(struct tmpl_parser *p, json_t *o)
{
    static const char *const names[] = {"name", "tool_name", "function", NULL};
    static const char *const args[] = {"arguments", "parameters", "args", NULL};
    static const char *const ids[] = {"id", "tool_call_id", "call_id", NULL};
    if (!json_is_object(o))
        return false;
    json_t *inner = json_object_get(o, "function");
    const char *id = json_string_value(first_of(o, ids));
    if (json_is_object(inner))
        o = inner;
    const char *name = json_string_value(first_of(o, names));
    if (!name || !*name)
        return p->row->call.key_is_name && push_keyed(p, o);
    if (p->bare && !tool_named(p, name))
        return false;
    return push(p, name, id, arguments_of(first_of(o, args)));
}

/* What a bare object must begin with: an answer in JSON is not held back to its end. */
static enum found bare_begins(struct str s)
{
    static const char *const keys[] = {"\"name\"", "\"type\"", "\"function\"", "\"parameters\"",
                                       "\"arguments\""};
    size_t i = 1;
    while (i < s.n && is_space(s.p[i]))
        i++;
    enum found best = NO;
    for (size_t k = 0; k < sizeof keys / sizeof *keys && best != YES; k++) {
        enum found f = starts_with(str_n(s.p + i, s.n - i), keys[k]);
        if (f == YES || (f == MORE && best == NO))
            best = f;
    }
    return best;
}

static enum found begin_json(struct tmpl_parser *p)
{
    if (!call_eat_space(p))
        return MORE;
    char ch = call_rest(p).p[0];
    if (ch == '[' && !p->in_list && !p->bare) {
        p->in_list = true;
        p->at++;
        return YES;
    }
    if (ch != '{')
        return NO;
    enum found f = p->bare ? bare_begins(call_rest(p)) : YES;
    if (f == YES)
        p->step = CALL_SCAN;
    return f;
}

/* The value whose end has been found, stepped over. */
static struct str scanned(struct tmpl_parser *p)
{
    struct str s = str_n(call_rest(p).p, p->scan.at);
    p->at += s.n;
    p->found = p->at;
    p->scan = (struct scan){0};
    return s;
}

enum found body_json(struct tmpl_parser *p)
{
    if (p->step < CALL_SCAN)
        return begin_json(p);
    if (p->step == CALL_SCAN) {
        enum found f = scan_brackets(&p->scan, call_rest(p), QUOTES_JSON);
        if (f != YES)
            return f;
        json_t *o = args_json(scanned(p));
        bool ok = push_object(p, o);
        json_decref(o);
        p->step = p->in_list ? CALL_KEY : CALL_CLOSE;
        return ok ? YES : NO;
    }
    /* between the elements of a list */
    if (!call_eat_space(p))
        return MORE;
    char ch = call_rest(p).p[0];
    p->at++;
    p->step = ch == ',' ? CALL_BODY : CALL_CLOSE;
    return ch == ',' || ch == ']' ? YES : NO;
}

/* ---- a name, then JSON ---- */

/* Kimi writes functions.NAME:INDEX, which is the call's identifier too. */
static bool split_kimi(struct tmpl_parser *p)
{
    const char *colon = p->name ? strrchr(p->name, ':') : NULL;
    if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
        return true;
    struct str s = str_n(p->name, (size_t)(colon - p->name));
    if (str_starts(s, STR("functions.")))
        s = str_n(s.p + 10, s.n - 10);
    char *name = s.n ? strndup(s.p, s.n) : NULL;
    free(p->id);
    p->id = p->name;
    p->name = name;
    return name != NULL;
}

/* Mistral: NAME[CALL_ID]ID[ARGS]; DeepSeek R1: function, then the name on the rest of its line. */
static bool take_name(struct tmpl_parser *p, struct str s)
{
    static const struct str call_id = {"[CALL_ID]", 9};
    size_t cut = str_find(s, call_id, 0);
    if (cut != SIZE_MAX) {
        free(p->id);
        p->id = strndup(s.p + cut + call_id.n, s.n - cut - call_id.n);
        s.n = cut;
    }
    return set_name(p, s) && split_kimi(p);
}

enum found body_name(struct tmpl_parser *p)
{
    const struct call_shape *c = &p->row->call;
    struct str s;
    if (p->step == CALL_ID) {
        enum found f = call_eat_until(p, c->id_end, MAX_CALL_NAME, &s);
        if (f == YES)
            p->id = strndup(s.p, s.n);
        if (f == YES)
            p->step = CALL_NAME;
        return f;
    }
    enum found f = call_eat_until(p, c->name_end, MAX_CALL_NAME, &s);
    if (f != YES)
        return f;
    p->step = c->attr_end ? CALL_ATTR : CALL_BODY;
    return take_name(p, s) ? YES : NO;
}

/* A name without an end of its own: to the line's, or to the next tag. */
enum found body_word(struct tmpl_parser *p)
{
    struct str s = call_rest(p);
    size_t n = 0;
    while (n < s.n && s.p[n] != '\n' && s.p[n] != '<')
        n++;
    if (n > MAX_CALL_NAME)
        return NO;
    if (n == s.n)
        return MORE;
    p->at += n;
    p->step = CALL_BODY;
    return set_name(p, str_n(s.p, n)) ? YES : NO;
}

/* DeepSeek R1 has the real name after the separator, and its arguments in a fence. */
static enum found before_json(struct tmpl_parser *p)
{
    struct str s;
    if (!call_eat_space(p))
        return MORE;
    if (call_rest(p).p[0] == '{') {
        p->step = CALL_SCAN;
        return YES;
    }
    if (p->row->call.close && starts_with(call_rest(p), p->row->call.close) != NO) {
        if (starts_with(call_rest(p), p->row->call.close) == MORE)
            return MORE;
        p->step = CALL_CLOSE; /* no arguments */
        return push(p, p->name, p->id, json_object()) ? YES : NO;
    }
    if (p->row != syntax_row(TMPL_SYNTAX_DEEPSEEK))
        return NO;
    if (strcmp(p->name, "function") != 0) {
        enum found f = call_eat(p, "```json");
        return f == NO ? call_eat(p, "```") : f;
    }
    enum found f = call_eat_until(p, "\n", MAX_CALL_NAME, &s);
    return f == YES && !set_name(p, s) ? NO : f;
}

enum found body_named(struct tmpl_parser *p)
{
    if (p->step == CALL_BODY)
        return before_json(p);
    enum found f = scan_brackets(&p->scan, call_rest(p), QUOTES_JSON);
    if (f != YES)
        return f;
    json_t *args = args_json(scanned(p));
    p->step = CALL_CLOSE;
    return push(p, p->name, p->id, args) ? YES : NO;
}

/* ---- a name, then tagged parameters ---- */

static struct str value_text(const struct tmpl_parser *p, struct str s)
{
    if (p->row->call.trim_lines && s.n && s.p[0] == '\n')
        s = str_n(s.p + 1, s.n - 1);
    if (p->row->call.trim_lines && s.n && s.p[s.n - 1] == '\n')
        s.n--;
    return s;
}

/* The attributes say what the schema would: string="true", type="string". */
static json_t *typed(const struct tmpl_parser *p, const char *key, struct str attr, struct str raw)
{
    if (str_find(attr, STR("string=\"true\""), 0) != SIZE_MAX ||
        str_find(attr, STR("type=\"string\""), 0) != SIZE_MAX)
        return json_stringn(raw.p, raw.n);
    bool told = str_find(attr, STR("string=\"false\""), 0) != SIZE_MAX ||
                str_find(attr, STR("type=\""), 0) != SIZE_MAX;
    return args_typed(raw, told ? NULL : json_object_get(p->properties, key));
}

static bool add_param(struct tmpl_parser *p, size_t from, size_t to)
{
    struct str all = tmpl_hold_text(&p->hold);
    char *key = strndup(all.p + p->key_at, p->key_n);
    json_t *v = key ? typed(p, key, str_n(all.p + p->attr_at, p->attr_n),
                            value_text(p, str_n(all.p + from, to - from)))
                    : NULL;
    bool ok = v && json_object_set(p->args, key, v) == 0;
    json_decref(v);
    free(key);
    return ok;
}

static enum found step_key(struct tmpl_parser *p)
{
    const struct call_shape *c = &p->row->call;
    struct str s;
    size_t at = p->at;
    enum found f = call_eat_until(p, c->key_end, MAX_CALL_NAME, &s);
    if (f != YES)
        return f;
    while (s.n && is_space(s.p[0])) {
        s = str_n(s.p + 1, s.n - 1);
        at++;
    }
    p->key_at = at;
    p->key_n = s.n;
    p->attr_n = 0;
    p->step = c->param_attr_end ? CALL_VALUE_BEGIN : CALL_VALUE;
    return s.n ? YES : NO;
}

enum found body_attr(struct tmpl_parser *p, const char *end, enum call_step next)
{
    struct str s;
    size_t at = p->at;
    enum found f = call_eat_until(p, end, MAX_CALL_NAME, &s);
    if (f != YES)
        return f;
    p->attr_at = at;
    p->attr_n = s.n;
    p->step = next;
    return YES;
}

/* What may stand after a parameter; MORE: cannot be told yet. */
static enum found after_param(const struct tmpl_parser *p, struct str s)
{
    const struct call_shape *c = &p->row->call;
    const char *const next[] = {c->param, c->close, c->end};
    size_t n = 0;
    while (n < s.n && is_space(s.p[n]))
        n++;
    enum found best = NO;
    for (size_t i = 0; i < 3 && best != YES; i++) {
        enum found f = next[i] ? starts_with(str_n(s.p + n, s.n - n), next[i]) : NO;
        if (f == YES || (f == MORE && best == NO))
            best = f;
    }
    return best;
}

/* A value may hold its own end tag: the real one is followed by what follows parameters. */
static enum found step_value(struct tmpl_parser *p)
{
    const char *tag = p->row->call.param_end;
    struct str all = tmpl_hold_text(&p->hold);
    size_t n = strlen(tag), from = p->found > p->at ? p->found : p->at;
    for (size_t end; (end = str_find(all, str_n(tag, n), from)) != SIZE_MAX; from = end + 1) {
        enum found f = after_param(p, str_n(all.p + end + n, all.n - end - n));
        p->found = end;
        if (f == MORE)
            return MORE;
        if (f == NO)
            continue;
        if (!add_param(p, p->at, end))
            return NO;
        p->at = p->found = end + n;
        p->step = CALL_BODY;
        return YES;
    }
    size_t next = all.n >= n ? all.n - n + 1 : 0;
    p->found = next > from ? next : from;
    return MORE;
}

static bool begin_params(struct tmpl_parser *p)
{
    if (p->args)
        return true;
    const struct gen_tool *t = tool_named(p, p->name);
    p->args = json_object();
    p->properties = t ? args_properties(t) : NULL;
    return p->args != NULL;
}

static enum found between_params(struct tmpl_parser *p)
{
    const struct call_shape *c = &p->row->call;
    if (!begin_params(p))
        return NO;
    if (!call_eat_space(p))
        return MORE;
    enum found param = call_eat(p, c->param);
    if (param == YES) {
        p->step = CALL_KEY;
        return YES;
    }
    enum found close = starts_with(call_rest(p), c->close);
    enum found end = c->end ? starts_with(call_rest(p), c->end) : NO;
    if (close == YES || (end == YES && json_object_size(p->args))) {
        p->step = CALL_CLOSE;
        return push(p, p->name, NULL, json_incref(p->args)) ? YES : NO;
    }
    return param == MORE || close == MORE || end == MORE ? MORE : NO;
}

enum found body_params(struct tmpl_parser *p)
{
    switch (p->step) {
    case CALL_KEY: return step_key(p);
    case CALL_VALUE_BEGIN: return body_attr(p, p->row->call.param_attr_end, CALL_VALUE);
    case CALL_VALUE: return step_value(p);
    default: return between_params(p);
    }
}

/* ---- the rest ---- */

enum found body_nested(struct tmpl_parser *p)
{
    struct str s;
    size_t at = p->at;
    enum found f = call_eat_until(p, p->row->call.close, SIZE_MAX, &s);
    if (f != YES)
        return f;
    if (!begin_params(p))
        return NO;
    json_t *args = args_nested(s, p->properties);
    p->at = at + s.n; /* the closing tag is read as everybody's */
    p->found = p->at;
    p->step = CALL_CLOSE;
    return push(p, p->name, NULL, args) ? YES : NO;
}

/* A list of calls, one call, or calls on lines of their own up to the closing tag. */
enum found body_python(struct tmpl_parser *p)
{
    const char *close = p->row->call.close;
    struct str s;
    if (p->step == CALL_BODY) {
        if (!call_eat_space(p))
            return MORE;
        char ch = call_rest(p).p[0];
        if (ch == '{') {
            p->body = BODY_JSON;
            return YES;
        }
        p->step = ch == '[' || !close ? CALL_SCAN : CALL_VALUE;
        return YES;
    }
    if (p->step == CALL_VALUE) {
        enum found f = call_eat_until(p, close, SIZE_MAX, &s);
        if (f != YES)
            return f;
        p->at -= strlen(close);
    } else {
        enum found f = scan_brackets(&p->scan, call_rest(p), QUOTES_PYTHON);
        if (f != YES)
            return f;
        s = scanned(p);
    }
    if (!p->calls)
        p->calls = json_array();
    p->step = CALL_CLOSE;
    if (args_python(s, p->calls))
        return YES;
    json_t *list = args_json(s); /* the same models write JSON when they are asked to */
    bool ok = json_is_array(list) && json_array_size(list);
    for (size_t i = 0; ok && i < json_array_size(list); i++)
        ok = push_object(p, json_array_get(list, i));
    json_decref(list);
    return ok ? YES : NO;
}

enum found body_gemma(struct tmpl_parser *p)
{
    struct str s;
    if (p->step == CALL_BODY) {
        enum found f = call_eat(p, "call:");
        p->step = f == YES ? CALL_NAME : CALL_BODY;
        return f;
    }
    if (p->step == CALL_NAME) {
        enum found f = call_eat_until(p, "{", MAX_CALL_NAME, &s);
        if (f != YES)
            return f;
        p->at = --p->found;
        p->step = CALL_SCAN;
        return set_name(p, s) ? YES : NO;
    }
    enum found f = scan_brackets(&p->scan, call_rest(p), QUOTES_GEMMA);
    if (f != YES)
        return f;
    p->step = CALL_CLOSE;
    return push(p, p->name, NULL, args_gemma(scanned(p))) ? YES : NO;
}

static bool is_word(char ch)
{
    return ch == '_' || (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z');
}

/* Llama's: JSON; a built-in tool as f.call(...); else code, as long as it goes on. */
enum found body_pytag(struct tmpl_parser *p, bool ended)
{
    if (!call_eat_space(p))
        return MORE;
    struct str s = call_rest(p);
    if (s.p[0] == '{') {
        p->body = BODY_JSON;
        return YES;
    }
    size_t n = 0;
    while (n < s.n && is_word(s.p[n]))
        n++;
    enum found f = n && n < MAX_CALL_NAME ? starts_with(str_n(s.p + n, s.n - n), ".call(") : NO;
    if (f == YES) {
        p->body = BODY_PYTHON;
        return YES;
    }
    if (!tool_of_code(p))
        return f;
    if (!ended)
        return MORE;
    p->at += s.n;
    p->step = CALL_CLOSE;
    return add_code(p, s) ? YES : NO;
}

enum found body_mistral(struct tmpl_parser *p)
{
    if (!call_eat_space(p))
        return MORE;
    bool json = call_rest(p).p[0] == '[' || call_rest(p).p[0] == '{';
    p->body = json ? BODY_JSON : BODY_NAMED;
    p->step = json ? CALL_BODY : CALL_NAME;
    return YES;
}
