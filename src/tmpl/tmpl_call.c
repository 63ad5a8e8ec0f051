/* tmpl_call.c: one call, from its opening mark to its closing tag. Owns the
 * steps that all calls have; their bodies are tmpl_body.c's. It reads the held bytes as they
 * arrive, never twice what it has understood, and says whether they are a call, may become one, or
 * are none. Called by tmpl_parser.c. */
#include "tmpl_parser_int.h"

#include <stdlib.h>

void call_start(struct tmpl_parser *p, enum body body, size_t at)
{
    call_clear(p);
    p->mode = MODE_CALL;
    p->body = body;
    p->at = p->found = at;
}

void call_clear(struct tmpl_parser *p)
{
    free(p->name);
    free(p->id);
    json_decref(p->args);
    json_decref(p->properties);
    json_decref(p->calls);
    p->name = p->id = NULL;
    p->args = p->properties = p->calls = NULL;
    p->at = p->found = 0;
    p->step = CALL_OPENS;
    p->in_list = p->bare = false;
    p->scan = (struct scan){0};
}

/* ---- small looks at the held bytes ---- */

struct str call_rest(struct tmpl_parser *p)
{
    struct str s = tmpl_hold_text(&p->hold);
    return str_n(s.p + p->at, s.n - p->at);
}

enum found starts_with(struct str s, const char *z)
{
    size_t n = strlen(z);
    if (s.n >= n)
        return memcmp(s.p, z, n) == 0 ? YES : NO;
    return s.n == 0 || memcmp(s.p, z, s.n) == 0 ? MORE : NO;
}

/* Steps over z, when it is there. */
enum found call_eat(struct tmpl_parser *p, const char *z)
{
    enum found f = starts_with(call_rest(p), z);
    if (f == YES)
        p->at += strlen(z);
    p->found = p->at;
    return f;
}

/* Steps over white space; false: nothing has come after it yet. */
bool call_eat_space(struct tmpl_parser *p)
{
    struct str s = call_rest(p);
    size_t n = 0;
    while (n < s.n && is_space(s.p[n]))
        n++;
    p->at += n;
    return n < s.n;
}

/* The bytes up to z, which is stepped over. NO: more than max of them. */
enum found call_eat_until(struct tmpl_parser *p, const char *z, size_t max, struct str *out)
{
    struct str all = tmpl_hold_text(&p->hold);
    size_t n = strlen(z);
    size_t end = str_find(all, str_n(z, n), p->found > p->at ? p->found : p->at);
    if (end == SIZE_MAX) {
        p->found = all.n >= n ? all.n - n + 1 : 0;
        return all.n - p->at > max ? NO : MORE;
    }
    if (end - p->at > max)
        return NO;
    *out = str_n(all.p + p->at, end - p->at);
    p->at = p->found = end + n;
    return YES;
}

/* ---- a call's way ---- */

static enum found step_begin(struct tmpl_parser *p)
{
    const struct call_shape *c = &p->row->call;
    bool named = p->body == BODY_NAMED || p->body == BODY_PARAMS || p->body == BODY_NESTED;
    p->step = CALL_BODY;
    if (named && !p->name)
        p->step = c->id_end ? CALL_ID : CALL_NAME;
    return YES;
}

static enum found step_close(struct tmpl_parser *p)
{
    const struct call_shape *c = &p->row->call;
    const char *close = p->body == BODY_JSON && p->bare ? NULL : c->close;
    size_t at = p->at;
    if (!close)
        return YES;
    if (!call_eat_space(p)) {
        p->at = at;
        return MORE;
    }
    if (p->row == syntax_row(TMPL_SYNTAX_DEEPSEEK)) {
        enum found f = call_eat(p, "```");
        if (f != NO) {
            p->at = f == MORE ? at : p->at;
            return f == MORE ? MORE : (call_eat_space(p) ? step_close(p) : MORE);
        }
    }
    enum found f = call_eat(p, close);
    /* What a call that was not closed may be followed by. */
    if (f == NO && ((c->end && starts_with(call_rest(p), c->end) == YES) ||
                    (c->open && starts_with(call_rest(p), c->open) == YES)))
        return YES;
    if (f == NO && ((c->end && starts_with(call_rest(p), c->end) == MORE) ||
                    (c->open && starts_with(call_rest(p), c->open) == MORE)))
        f = MORE;
    if (f == MORE)
        p->at = at;
    return f;
}

static enum found step_body(struct tmpl_parser *p, bool ended)
{
    switch (p->body) {
    case BODY_JSON: return body_json(p);
    case BODY_NAMED: return body_named(p);
    case BODY_PARAMS: return body_params(p);
    case BODY_NESTED: return body_nested(p);
    case BODY_PYTHON: return body_python(p);
    case BODY_GEMMA: return body_gemma(p);
    case BODY_PYTAG: return body_pytag(p, ended);
    case BODY_MISTRAL: return body_mistral(p);
    case BODY_NONE: break;
    }
    return NO;
}

static enum found step(struct tmpl_parser *p, bool ended)
{
    bool named = p->body == BODY_NAMED || p->body == BODY_PARAMS || p->body == BODY_NESTED;
    enum found f;
    switch (p->step) {
    case CALL_OPENS:
        f = call_eat_space(p) ? call_eat(p, p->row->call.open) : MORE;
        p->step = f == YES ? CALL_BEGINS : CALL_OPENS;
        return f;
    case CALL_BEGINS: return step_begin(p);
    case CALL_CLOSE: return step_close(p);
    default: break;
    }
    if (named && (p->step == CALL_ID || (p->step == CALL_NAME && p->row->call.name_end)))
        return body_name(p);
    if (named && p->step == CALL_NAME)
        return body_word(p);
    if (named && p->step == CALL_ATTR)
        return body_attr(p, p->row->call.attr_end, CALL_BODY);
    return step_body(p, ended);
}

enum found call_look(struct tmpl_parser *p, bool ended)
{
    for (;;) {
        bool closing = p->step == CALL_CLOSE;
        enum found f = step(p, ended);
        /* A whole call whose closing tag never came: models often end their turn instead. */
        if (closing && (f == YES || (f == MORE && ended)))
            return YES;
        if (f == MORE && ended && p->in_list && p->step == CALL_KEY)
            return YES; /* nor did the list's end */
        if (f != YES)
            return f;
    }
}
