/* grammar_schema.c: JSON Schema to a grammar: the document, its references, and a rule for every
 * goal that comes up, one after another, so that nothing recurses as deep as a schema does. Owns
 * the messages: each names the JSON pointer and the keyword. */
#include "grammar_schema_int.h"

#include "buf.h"

#include <stdlib.h>

#define MAX_GOALS 4096

/* ---- where something stands ---- */

static void add_step(struct buf *path, const char *key)
{
    buf_putc(path, '/');
    for (; *key; key++)
        if (*key == '~' || *key == '/')
            buf_puts(path, *key == '~' ? "~0" : "~1");
        else
            buf_putc(path, *key);
}

static bool find_path(const json_t *in, const json_t *what, struct buf *path)
{
    size_t had = path->n, i;
    const char *key;
    json_t *v;
    char number[24];
    if (in == what)
        return true;
    if (json_is_object(in)) {
        json_object_foreach((json_t *)in, key, v)
        {
            add_step(path, key);
            if (find_path(v, what, path))
                return true;
            buf_cut(path, had);
        }
    } else if (json_is_array(in)) {
        json_array_foreach(in, i, v)
        {
            snprintf(number, sizeof number, "%zu", i);
            add_step(path, number);
            if (find_path(v, what, path))
                return true;
            buf_cut(path, had);
        }
    }
    return false;
}

int schema_fail(struct schema *s, int code, const json_t *at, const char *keyword, const char *why)
{
    struct buf path = BUF_INIT(4096);
    if (s->b->rc)
        return s->b->rc;
    if (!at || !find_path(s->root, at, &path))
        buf_clear(&path);
    struct str p = buf_str(&path);
    if (p.n > 200)
        p.n = 200;
    int rc = build_fail(s->b, code, "%sschema at \"#%.*s\"%s%s: %s", s->where, STR_ARG(p),
                        keyword ? ", " : "", keyword ? keyword : "", why);
    buf_done(&path);
    return rc;
}

bool schema_spend(struct schema *s, const json_t *at, uint64_t steps)
{
    s->steps += steps;
    if (s->steps > SCHEMA_MAX_STEPS)
        schema_fail(s, ERR_LIMIT, at, NULL, "the schema asks for too much work");
    return s->b->rc == 0;
}

/* ---- references ---- */

static bool has_nested_id(const json_t *v, bool root)
{
    const char *key;
    json_t *sub;
    size_t i;
    if (json_is_object(v)) {
        if (!root && json_is_string(json_object_get(v, "$id")))
            return true;
        json_object_foreach((json_t *)v, key, sub)
        {
            if (has_nested_id(sub, false))
                return true;
        }
    } else if (json_is_array(v)) {
        json_array_foreach(v, i, sub)
        {
            if (has_nested_id(sub, false))
                return true;
        }
    }
    return false;
}

static const json_t *find_anchor(const json_t *v, const char *name)
{
    const char *key;
    json_t *sub;
    size_t i;
    const json_t *found;
    if (json_is_object(v)) {
        const char *anchor = json_string_value(json_object_get(v, "$anchor"));
        const char *dynamic = json_string_value(json_object_get(v, "$dynamicAnchor"));
        if ((anchor && strcmp(anchor, name) == 0) || (dynamic && strcmp(dynamic, name) == 0))
            return v;
        json_object_foreach((json_t *)v, key, sub)
        {
            /* What is listed as a value is no schema. */
            bool listed = strcmp(key, "enum") == 0 || strcmp(key, "const") == 0;
            if (!listed && (found = find_anchor(sub, name)))
                return found;
        }
    } else if (json_is_array(v)) {
        json_array_foreach(v, i, sub)
        {
            if ((found = find_anchor(sub, name)))
                return found;
        }
    }
    return NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One step of a pointer, with its %XX and ~N read. */
static bool read_step(const char **at, struct buf *out)
{
    buf_clear(out);
    const char *p = *at;
    while (*p && *p != '/') {
        char c = *p++;
        if (c == '%') {
            int hi = hex_digit(p[0]), lo = hi < 0 ? -1 : hex_digit(p[1]);
            if (lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            p += 2;
        }
        if (c == '~') {
            if (*p != '0' && *p != '1')
                return false;
            c = *p++ == '0' ? '~' : '/';
        }
        buf_putc(out, c);
    }
    *at = p;
    return !buf_failed(out);
}

static const json_t *follow_pointer(const json_t *v, const char *p)
{
    struct buf step = BUF_INIT(4096);
    while (v && *p) {
        uint64_t i;
        p++;
        if (!read_step(&p, &step))
            v = NULL;
        else if (json_is_array(v))
            v = str_to_u64(buf_str(&step), &i) ? json_array_get(v, i) : NULL;
        else
            v = json_object_getn(v, buf_str(&step).p, step.n);
    }
    buf_done(&step);
    return v;
}

const json_t *schema_resolve(struct schema *s, const json_t *at, const char *ref)
{
    const char *id = json_string_value(json_object_get(s->root, "$id"));
    const json_t *to = NULL;
    if (s->nested_ids) {
        schema_fail(s, ERR_UNSUPPORTED, at, "$ref",
                    "is not followed where schemas have their own $id");
        return NULL;
    }
    size_t n = id ? strlen(id) : 0;
    if (n && id[n - 1] == '#')
        n--;
    if (n && strncmp(ref, id, n) == 0 && (ref[n] == '#' || !ref[n]))
        ref += n;
    if (!*ref || strcmp(ref, "#") == 0)
        return s->root;
    if (*ref != '#') {
        schema_fail(s, ERR_UNSUPPORTED, at, "$ref", "leads out of the document");
        return NULL;
    }
    to = ref[1] == '/' ? follow_pointer(s->root, ref + 1) : find_anchor(s->root, ref + 1);
    if (!to)
        schema_fail(s, ERR_NOT_FOUND, at, "$ref", "leads nowhere");
    return to;
}

bool schema_ref_alone(const struct schema *s)
{
    const char *draft = json_string_value(json_object_get(s->root, "$schema"));
    return draft && (strstr(draft, "draft-07") || strstr(draft, "draft-06") ||
                     strstr(draft, "draft-04") || strstr(draft, "draft-03"));
}

/* ---- goals ---- */

void goal_add(struct schema *s, struct goal *g, struct lit lit)
{
    if (json_is_boolean(lit.schema) && json_is_true(lit.schema) != lit.turned)
        return;
    for (uint32_t i = 0; i < g->n; i++)
        if (g->lits[i].schema == lit.schema && g->lits[i].turned == lit.turned)
            return;
    if (g->n >= GOAL_MAX)
        schema_fail(s, ERR_LIMIT, lit.schema, NULL, "too many schemas for one value");
    else
        g->lits[g->n++] = lit;
}

static bool same_goal(const struct goal *a, const struct goal *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->lits[i].schema != b->lits[i].schema || a->lits[i].turned != b->lits[i].turned)
            return false;
    return true;
}

uint32_t schema_rule(struct schema *s, const struct goal *g)
{
    if (g->n == 0)
        return s->j.value;
    for (uint32_t i = 0; i < s->nknown; i++)
        if (same_goal(&s->known[i].goal, g))
            return s->known[i].rule;
    if (s->nknown >= MAX_GOALS) {
        schema_fail(s, ERR_LIMIT, g->lits[0].schema, NULL, "the schema has too many parts");
        return 0;
    }
    if (s->nknown == s->known_cap) {
        uint32_t cap = s->known_cap ? s->known_cap * 2 : 64;
        struct known *p = realloc(s->known, cap * sizeof *p);
        if (!p) {
            build_fail(s->b, ERR_NOMEM, "grammar: no memory");
            return 0;
        }
        s->known = p;
        s->known_cap = cap;
    }
    s->known[s->nknown] = (struct known){*g, build_rule(s->b, STR_NONE, 0)};
    return s->known[s->nknown++].rule;
}

/* ---- one goal's rule ---- */

/* The list a clause holds a value to; NULL: none. */
static const struct atom *listed(const struct clause *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->atoms[i].kind == ATOM_VALUES && !c->atoms[i].turned)
            return &c->atoms[i];
    return NULL;
}

static void list_values(struct schema *s, const struct goal *g, const struct atom *a,
                        enum json_kind kind, uint32_t from, uint32_t to)
{
    bool list = strcmp(a->keyword, "enum") == 0;
    size_t n = list ? json_array_size(a->value) : 1;
    for (size_t i = 0; i < n && !s->b->rc; i++) {
        const json_t *v = list ? json_array_get(a->value, i) : a->value;
        if (json_kind_of(v) == kind && schema_goal_accepts(s, g, v) == 1)
            schema_literal(s, v, from, to);
    }
}

static void make_clause(struct schema *s, const struct goal *g, const struct clause *c,
                        enum json_kind kind, uint32_t from, uint32_t to)
{
    const struct atom *values = listed(c);
    if (values)
        list_values(s, g, values, kind, from, to);
    else if (kind == KIND_NUMBER)
        schema_number(s, c, from, to);
    else if (kind == KIND_STRING)
        schema_string(s, c, from, to);
    else if (kind == KIND_ARRAY)
        schema_array(s, c, from, to);
    else
        schema_object(s, c, from, to);
}

/* A clause lives in the taking apart's memory, which its text may need again for names of keys. */
static void make_kind(struct schema *s, const struct goal *g, enum json_kind kind, uint32_t from,
                      uint32_t to)
{
    schema_take_apart(s, g, kind);
    uint32_t n = s->nclauses;
    for (uint32_t i = 0; i < n && !s->b->rc; i++) {
        memcpy(s->kept[i].atoms, s->clauses[i].atoms, s->clauses[i].n * sizeof(struct atom));
        s->kept[i].n = s->clauses[i].n;
    }
    for (uint32_t i = 0; i < n && !s->b->rc; i++)
        make_clause(s, g, &s->kept[i], kind, from, to);
}

static void make_rule(struct schema *s, const struct goal *g, uint32_t rule)
{
    json_t *fixed[] = {json_null(), json_true(), json_false()};
    uint32_t from = build_start(s->b, rule), to = build_end(s->b, rule);
    for (size_t i = 0; i < 3; i++)
        if (schema_goal_accepts(s, g, fixed[i]) == 1)
            schema_literal(s, fixed[i], from, to);
    for (int kind = KIND_NUMBER; kind < KINDS && !s->b->rc; kind++)
        make_kind(s, g, kind, from, to);
}

/* ---- a document ---- */

static void check_dialect(struct schema *s)
{
    const json_t *v = json_object_get(s->root, "$schema");
    s->nested_ids = has_nested_id(s->root, true);
    if (json_is_string(v) && !strstr(json_string_value(v), "json-schema.org/"))
        schema_fail(s, ERR_UNSUPPORTED, s->root, "$schema", "is a dialect that is not known");
}

static bool make_room(struct schema *s)
{
    for (uint32_t i = 0; i < CLAUSES_MAX; i++) {
        s->clauses[i].atoms = malloc(CLAUSE_MAX * sizeof(struct atom));
        s->kept[i].atoms = malloc(CLAUSE_MAX * sizeof(struct atom));
        if (!s->clauses[i].atoms || !s->kept[i].atoms)
            return false;
    }
    return true;
}

static void schema_free(struct schema *s)
{
    for (uint32_t i = 0; s && i < CLAUSES_MAX; i++) {
        free(s->clauses[i].atoms);
        free(s->kept[i].atoms);
    }
    if (s)
        free(s->known);
    free(s);
}

/* The document's rule, with all that it needs. */
static uint32_t make_document(struct build *b, const struct json_rules *j, const char *where,
                              const json_t *root)
{
    struct schema *s = calloc(1, sizeof *s);
    uint32_t rule = 0;
    if (!s || !make_room(s)) {
        build_fail(b, ERR_NOMEM, "grammar: no memory");
        schema_free(s);
        return 0;
    }
    s->b = b;
    s->j = *j;
    s->root = root;
    s->where = where;
    check_dialect(s);
    struct goal g = {.n = 0};
    goal_add(s, &g, (struct lit){root, false});
    rule = schema_rule(s, &g);
    for (; s->done < s->nknown && !b->rc; s->done++) {
        g = s->known[s->done].goal; /* a copy: the list may move */
        make_rule(s, &g, s->known[s->done].rule);
    }
    schema_free(s);
    return rule;
}

/* The rule of a schema's text. */
static uint32_t parse_document(struct build *b, const struct json_rules *j, const char *where,
                               struct str text, bool object)
{
    json_error_t fault;
    if (text.n > GRAMMAR_MAX_TEXT) {
        build_fail(b, ERR_LIMIT, "%sa schema of more than %u bytes", where, GRAMMAR_MAX_TEXT);
        return 0;
    }
    json_t *root = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (!root) {
        build_fail(b, ERR_FORMAT, "%sthe schema is not JSON: line %d, column %d: %s", where,
                   fault.line, fault.column, fault.text);
        return 0;
    }
    /* A tool's arguments are an object, whether or not its schema says so. */
    if (object && json_is_object(root) && !json_object_get(root, "type"))
        json_object_set_new(root, "type", json_string("object"));
    uint32_t rule = make_document(b, j, where, root);
    json_decref(root);
    return rule;
}

int grammar_from_schema(struct str schema, const struct grammar_start *start, struct grammar **out,
                        struct err *e)
{
    struct build b;
    struct json_rules j;
    build_init(&b, e);
    json_rules_make(&b, &j);
    uint32_t rule = parse_document(&b, &j, "", schema, false);
    int rc = build_finish(&b, rule, start, out);
    build_done(&b);
    return rc;
}

/* ---- calls ---- */

static void make_call(struct build *b, const struct json_rules *j, const struct tok *t,
                      const struct grammar_call *c, size_t index, uint32_t rule)
{
    char where[48];
    snprintf(where, sizeof where, "tools[%zu]: ", index);
    uint32_t before = build_state(b), after = build_state(b);
    uint32_t value = c->schema.n ? parse_document(b, j, where, c->schema, true) : j->object;
    build_text(b, t, build_start(b, rule), c->before, before);
    build_call(b, before, value, after);
    build_text(b, t, after, c->after, build_end(b, rule));
}

int grammar_from_calls(const struct grammar_calls *calls, const struct grammar_start *start,
                       struct grammar **out, struct err *e)
{
    struct build b;
    struct json_rules j;
    build_init(&b, e);
    json_rules_make(&b, &j);
    uint32_t one = build_rule(&b, STR_NONE, 0), all = build_rule(&b, STR_NONE, 0);
    for (size_t i = 0; i < calls->ncalls && !b.rc; i++)
        make_call(&b, &j, calls->tok, &calls->calls[i], i, one);
    uint32_t from = build_start(&b, all), to = build_end(&b, all);
    uint32_t begun = build_state(&b), done = build_state(&b), next = build_state(&b);
    build_text(&b, calls->tok, from, calls->begin, begun);
    build_call(&b, begun, one, done);
    build_text(&b, calls->tok, done, calls->end, to);
    if (calls->many) {
        build_text(&b, calls->tok, done, calls->between, next);
        build_call(&b, next, one, done);
    }
    if (calls->otherwise && !b.rc) {
        const struct str *doc = calls->otherwise;
        build_call(&b, from, doc->n ? parse_document(&b, &j, "", *doc, false) : j.object, to);
    }
    int rc = build_finish(&b, all, start, out);
    build_done(&b);
    return rc;
}
