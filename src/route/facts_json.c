/* facts_json.c: owns the facts as JSON, both ways, so that a decision can be replayed. One table a
 * struct drives writing and reading: a field that is written is read. Reading is strict: unknown
 * keys, missing keys, wrong types and numbers out of range are errors with the key's name.
 *
 * Numbers are written so that reading them gives the same bits; ROUTE_UNKNOWN is null. */
#include "route_int.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#define CANDIDATES_MAX 4096

/* F_LATER: a boolean that rows booked before it was known do not have; false then. */
enum field_type { F_BOOL, F_LATER, F_I32, F_U32, F_I64, F_AMOUNT, F_DOUBLE, F_TEXT, F_ENUM };

struct field {
    const char *name;
    size_t offset;
    enum field_type type;
    const char *const *names; /* F_ENUM, NULL-terminated */
};

static const char *const kinds[] = {"chat", "raw", "infill", "embed", "rerank", NULL};
static const char *const zones[] = {"device", "site", "cloud", NULL};
static const char *const latencies[] = {"normal", "interactive", "completion", NULL};
static const char *const backends[] = {"local", "provider", NULL};
static const char *const tasks[] = {"chat",     "ask",       "rewrite", "summarise", "extract",
                                    "classify", "translate", "write",   "code",      "maths",
                                    "reason",   "expert",    NULL};

#define R(type, field, kind)                                                                       \
    {                                                                                              \
#field, offsetof(struct type, field), kind, NULL                                           \
    }
#define RE(type, field, names)                                                                     \
    {                                                                                              \
#field, offsetof(struct type, field), F_ENUM, names                                        \
    }

static const struct field request_fields[] = {
    RE(route_request, kind, kinds),
    R(route_request, prompt_tokens, F_I64),
    R(route_request, prompt_exact, F_BOOL),
    R(route_request, output_tokens, F_I64),
    R(route_request, max_output_tokens, F_I64),
    R(route_request, needs_tools, F_BOOL),
    R(route_request, needs_images, F_BOOL),
    R(route_request, needs_audio, F_BOOL),
    R(route_request, needs_documents, F_BOOL),
    R(route_request, needs_json, F_BOOL),
    R(route_request, needs_schema, F_BOOL),
    R(route_request, needs_logprobs, F_BOOL),
    R(route_request, needs_many, F_BOOL),
    R(route_request, high_effort, F_BOOL),
    RE(route_request, zone, zones),
    R(route_request, zone_reason, F_TEXT),
    R(route_request, sensitive, F_BOOL),
    R(route_request, agent_steps, F_I32),
    RE(route_request, latency, latencies),
    {NULL},
};

static const struct field signal_fields[] = {
    RE(route_signals, task, tasks),         R(route_signals, domains, F_U32),
    R(route_signals, expert_terms, F_I32),  R(route_signals, hard_terms, F_I32),
    R(route_signals, demands, F_I32),       R(route_signals, code_lines, F_I32),
    R(route_signals, code, F_BOOL),         R(route_signals, maths, F_BOOL),
    R(route_signals, fresh, F_BOOL),        R(route_signals, client_facing, F_BOOL),
    R(route_signals, foreign, F_BOOL),      R(route_signals, steps, F_BOOL),
    R(route_signals, message_words, F_I64), {NULL},
};

static const struct field policy_fields[] = {
    R(route_policy, private_only, F_BOOL),
    R(route_policy, offline, F_BOOL),
    R(route_policy, budget_left, F_AMOUNT),
    R(route_policy, store_failing, F_BOOL),
    R(route_policy, now_ms, F_I64),
    R(route_policy, pinned, F_TEXT),
    {NULL},
};

static const struct field weight_fields[] = {
    R(route_weights, quality, F_DOUBLE),     R(route_weights, cost, F_DOUBLE),
    R(route_weights, time, F_DOUBLE),        R(route_weights, leave_site, F_DOUBLE),
    R(route_weights, leave_cloud, F_DOUBLE), {NULL},
};

static const struct field candidate_fields[] = {
    R(route_candidate, id, F_TEXT),
    R(route_candidate, provider, F_TEXT),
    R(route_candidate, model, F_TEXT),
    RE(route_candidate, backend, backends),
    RE(route_candidate, zone, zones),
    R(route_candidate, on_machine, F_BOOL),
    R(route_candidate, loaded, F_BOOL),
    R(route_candidate, load_ms, F_AMOUNT),
    R(route_candidate, queue_depth, F_I64),
    R(route_candidate, prefill_tps, F_DOUBLE),
    R(route_candidate, decode_tps, F_DOUBLE),
    R(route_candidate, first_ms, F_AMOUNT),
    R(route_candidate, price_input, F_AMOUNT),
    R(route_candidate, price_cached, F_AMOUNT),
    R(route_candidate, price_output, F_AMOUNT),
    R(route_candidate, price_source, F_TEXT),
    R(route_candidate, params, F_DOUBLE),
    R(route_candidate, quality, F_DOUBLE),
    R(route_candidate, quality_source, F_TEXT),
    R(route_candidate, healthy, F_BOOL),
    R(route_candidate, health_note, F_TEXT),
    R(route_candidate, limited_until_ms, F_I64),
    R(route_candidate, no_key, F_BOOL),
    {NULL},
};

static const struct field caps_fields[] = {
    R(gen_caps, chat, F_BOOL),
    R(gen_caps, raw, F_BOOL),
    R(gen_caps, embed, F_BOOL),
    R(gen_caps, infill, F_LATER),
    R(gen_caps, rerank, F_LATER),
    R(gen_caps, tools, F_BOOL),
    R(gen_caps, images, F_BOOL),
    R(gen_caps, audio, F_BOOL),
    R(gen_caps, documents, F_BOOL),
    R(gen_caps, json, F_BOOL),
    R(gen_caps, schema, F_BOOL),
    R(gen_caps, reasoning, F_BOOL),
    R(gen_caps, logprobs, F_BOOL),
    R(gen_caps, many, F_BOOL),
    R(gen_caps, context, F_I64),
    R(gen_caps, max_output, F_I64),
    {NULL},
};

/* ---- writing ---- */

static void put_double(struct buf *out, double x)
{
    char z[40];
    int n = snprintf(z, sizeof z, "%.17g", isfinite(x) ? x : 0);
    for (int i = 0; i < n; i++)
        z[i] = z[i] == ',' ? '.' : z[i]; /* whatever the locale says */
    buf_puts(out, z);
}

static void put_value(struct buf *out, const struct field *f, const void *at)
{
    switch (f->type) {
    case F_BOOL:
    case F_LATER: buf_puts(out, *(const bool *)at ? "true" : "false"); break;
    case F_I32: buf_printf(out, "%d", *(const int32_t *)at); break;
    case F_U32: buf_printf(out, "%u", *(const unsigned *)at); break;
    case F_I64: buf_printf(out, "%lld", (long long)*(const int64_t *)at); break;
    case F_AMOUNT:
        if (*(const int64_t *)at == ROUTE_UNKNOWN)
            buf_puts(out, "null");
        else
            buf_printf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case F_DOUBLE: put_double(out, *(const double *)at); break;
    case F_TEXT: {
        const char *z = *(const char *const *)at;
        if (z)
            buf_json_str(out, str_of(z));
        else
            buf_puts(out, "null");
        break;
    }
    case F_ENUM: buf_json_str(out, str_of(f->names[*(const unsigned *)at])); break;
    }
}

/* Without the closing brace, so that a nested object can follow. */
static void put_open(struct buf *out, const struct field *fields, const void *base)
{
    buf_putc(out, '{');
    for (const struct field *f = fields; f->name; f++) {
        buf_printf(out, "%s\"%s\":", f == fields ? "" : ",", f->name);
        put_value(out, f, (const char *)base + f->offset);
    }
}

void route_facts_encode(const struct route_facts *f, struct buf *out)
{
    buf_puts(out, "{\"request\":");
    put_open(out, request_fields, &f->request);
    buf_puts(out, ",\"signals\":");
    put_open(out, signal_fields, &f->request.signals);
    buf_puts(out, "}},\"policy\":");
    put_open(out, policy_fields, &f->policy);
    buf_puts(out, ",\"weights\":");
    put_open(out, weight_fields, &f->policy.weights);
    buf_puts(out, "}},\"candidates\":[");
    for (size_t i = 0; i < f->ncandidates; i++) {
        if (i)
            buf_putc(out, ',');
        put_open(out, candidate_fields, &f->candidates[i]);
        buf_puts(out, ",\"caps\":");
        put_open(out, caps_fields, &f->candidates[i].caps);
        buf_puts(out, "}}");
    }
    buf_puts(out, "]}");
}

/* ---- reading ---- */

struct reader {
    struct arena *arena;
    const char *where;
    struct err *e;
};

static int bad(const struct reader *r, const char *key, const char *what)
{
    return err_set(r->e, ERR_FORMAT, "route facts: %s.%.60s %s", r->where, key, what);
}

static int read_int(const struct reader *r, const struct field *f, json_t *v, void *at)
{
    if (f->type == F_AMOUNT && json_is_null(v)) {
        *(int64_t *)at = ROUTE_UNKNOWN;
        return 0;
    }
    if (!json_is_integer(v))
        return bad(r, f->name, "is no whole number");
    int64_t x = json_integer_value(v);
    if ((f->type == F_I32 && (x < INT32_MIN || x > INT32_MAX)) ||
        (f->type == F_U32 && (x < 0 || x > UINT32_MAX)) || (f->type == F_AMOUNT && x < 0))
        return bad(r, f->name, "is out of range");
    if (f->type == F_I32)
        *(int32_t *)at = (int32_t)x;
    else if (f->type == F_U32)
        *(unsigned *)at = (unsigned)x;
    else
        *(int64_t *)at = x;
    return 0;
}

static int read_text(const struct reader *r, const struct field *f, json_t *v, void *at)
{
    *(const char **)at = NULL;
    if (json_is_null(v))
        return 0;
    if (!json_is_string(v))
        return bad(r, f->name, "is no string");
    struct str s = str_n(json_string_value(v), json_string_length(v));
    *(const char **)at = arena_strz(r->arena, s);
    return *(const char **)at ? 0 : err_set(r->e, ERR_NOMEM, "route facts: no memory");
}

static int read_enum(const struct reader *r, const struct field *f, json_t *v, void *at)
{
    for (unsigned k = 0; json_is_string(v) && f->names[k]; k++) {
        if (strcmp(json_string_value(v), f->names[k]) == 0) {
            *(unsigned *)at = k;
            return 0;
        }
    }
    return bad(r, f->name, "has an unknown value");
}

static int read_value(const struct reader *r, const struct field *f, json_t *v, void *at)
{
    switch (f->type) {
    case F_BOOL:
    case F_LATER:
        if (!json_is_boolean(v))
            return bad(r, f->name, "is no boolean");
        *(bool *)at = json_is_true(v);
        return 0;
    case F_DOUBLE:
        if (!json_is_number(v))
            return bad(r, f->name, "is no number");
        *(double *)at = json_number_value(v);
        return 0;
    case F_TEXT: return read_text(r, f, v, at);
    case F_ENUM: return read_enum(r, f, v, at);
    case F_I32:
    case F_U32:
    case F_I64:
    case F_AMOUNT: return read_int(r, f, v, at);
    }
    return bad(r, f->name, "has no type");
}

/* nested: the one key that is not in the table; NULL: none. */
static int read_object(const struct reader *r, json_t *o, const struct field *fields,
                       const char *nested, void *base)
{
    if (!json_is_object(o))
        return err_set(r->e, ERR_FORMAT, "route facts: %s is no object", r->where);
    size_t want = nested ? 1 : 0;
    for (const struct field *f = fields; f->name; f++, want++) {
        json_t *v = json_object_get(o, f->name);
        if (!v && f->type == F_LATER) {
            want--;
            continue;
        }
        if (!v)
            return bad(r, f->name, "is missing");
        int code = read_value(r, f, v, (char *)base + f->offset);
        if (code)
            return code;
    }
    if (nested && !json_object_get(o, nested))
        return bad(r, nested, "is missing");
    return json_object_size(o) == want
               ? 0
               : err_set(r->e, ERR_FORMAT, "route facts: %s has unknown keys", r->where);
}

static int read_pair(struct reader *r, json_t *o, const struct field *fields, void *base,
                     const char *where, const char *nested, const struct field *inner,
                     void *inner_base)
{
    r->where = where;
    int code = read_object(r, o, fields, nested, base);
    if (code)
        return code;
    r->where = nested;
    return read_object(r, json_object_get(o, nested), inner, NULL, inner_base);
}

static int read_candidates(struct reader *r, json_t *list, struct route_facts *f)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > CANDIDATES_MAX)
        return err_set(r->e, ERR_FORMAT, "route facts: candidates is no list of at most %d",
                       CANDIDATES_MAX);
    f->candidates = arena_array(r->arena, n + 1, sizeof *f->candidates);
    if (!f->candidates)
        return err_set(r->e, ERR_NOMEM, "route facts: no memory");
    f->ncandidates = n;
    int code = 0;
    for (size_t i = 0; code == 0 && i < n; i++) {
        struct route_candidate *c = &f->candidates[i];
        code = read_pair(r, json_array_get(list, i), candidate_fields, c, "candidate", "caps",
                         caps_fields, &c->caps);
    }
    return code;
}

int route_facts_decode(struct arena *a, struct str json, struct route_facts *out, struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(json.n ? json.p : "", json.n, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set_at(e, ERR_FORMAT, (uint64_t)(je.position < 0 ? 0 : je.position),
                          "route facts: %s", je.text);
    struct reader r = {.arena = a, .e = e};
    struct route_facts f = {0};
    int code = 0;
    if (!json_is_object(root) || json_object_size(root) != 3)
        code = err_set(e, ERR_FORMAT, "route facts: not request, policy and candidates");
    if (code == 0)
        code = read_pair(&r, json_object_get(root, "request"), request_fields, &f.request,
                         "request", "signals", signal_fields, &f.request.signals);
    if (code == 0)
        code = read_pair(&r, json_object_get(root, "policy"), policy_fields, &f.policy, "policy",
                         "weights", weight_fields, &f.policy.weights);
    if (code == 0)
        code = read_candidates(&r, json_object_get(root, "candidates"), &f);
    json_decref(root);
    if (code == 0)
        *out = f;
    return code;
}
