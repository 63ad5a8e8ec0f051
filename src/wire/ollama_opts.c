/* ollama_opts.c: what every request of the Ollama dialect may hold beside its prompt
 * (https://github.com/ollama/ollama/blob/main/docs/api.md), both ways: options, format, think,
 * keep_alive, stream, truncate and log-probabilities.
 *
 * As Ollama does it: an option of the wrong type is refused in its own words; a number with a
 * fraction counts as an integer without it; an option that is null or unknown is passed over. What
 * gen has no word for (num_gpu, mirostat, ...) is kept in req->extra under "options" and
 * goes back to servers of this dialect. Numbers outside the range of a sampler count as the nearest
 * inside it. `num_predict` and `num_ctx` below 1 and seed -1 set nothing. `think: "max"` is a high
 * effort. */
#include "ollama_int.h"

#include <math.h>
#include <stdio.h>

enum opt_type { OPT_INT, OPT_FLOAT, OPT_BOOL };

struct opt {
    const char *name;
    enum opt_type type;
    unsigned bit; /* of gen_sampling.set; 0: not in gen_sampling */
    double lo, hi;
    size_t at; /* in gen_sampling */
};

#define NUMBER(name, type, bit, lo, hi, member)                                                    \
    {                                                                                              \
        name, type, GEN_SET_##bit, lo, hi, offsetof(struct gen_sampling, member)                   \
    }
#define OTHER(name, type)                                                                          \
    {                                                                                              \
        name, type, 0, 0, 0, 0                                                                     \
    }

static const struct opt opts[] = {
    NUMBER("temperature", OPT_FLOAT, TEMPERATURE, 0, 100, temperature),
    NUMBER("top_k", OPT_INT, TOP_K, 0, INT32_MAX, top_k),
    NUMBER("top_p", OPT_FLOAT, TOP_P, 0, 1, top_p),
    NUMBER("min_p", OPT_FLOAT, MIN_P, 0, 1, min_p),
    NUMBER("typical_p", OPT_FLOAT, TYPICAL_P, 0, 1, typical_p),
    NUMBER("repeat_penalty", OPT_FLOAT, REPEAT, 0, 100, repeat_penalty),
    NUMBER("repeat_last_n", OPT_INT, REPEAT_LAST_N, -1, INT32_MAX, repeat_last_n),
    NUMBER("presence_penalty", OPT_FLOAT, PRESENCE, -100, 100, presence_penalty),
    NUMBER("frequency_penalty", OPT_FLOAT, FREQUENCY, -100, 100, frequency_penalty),
    OTHER("seed", OPT_INT),
    OTHER("num_predict", OPT_INT),
    OTHER("num_ctx", OPT_INT),
    OTHER("num_keep", OPT_INT),
    OTHER("num_batch", OPT_INT),
    OTHER("num_gpu", OPT_INT),
    OTHER("main_gpu", OPT_INT),
    OTHER("num_thread", OPT_INT),
    OTHER("draft_num_predict", OPT_INT),
    OTHER("use_mmap", OPT_BOOL),
};
#define NOPTS (sizeof opts / sizeof opts[0])

#define MAX_KEEP_MS INT64_C(9223372036854) /* Go's longest duration */

/* ---- the model ---- */

int ollama_decode_model(struct dec *d, const json_t *body, struct gen_req *r, int missing)
{
    int rc = dec_str(d, body, "model", &r->model);
    if (rc < 0)
        return rc;
    if (rc && r->model.n)
        return 0;
    return err_set(d->e, missing,
                   missing == ERR_NOT_FOUND ? "model '' not found" : "model is required");
}

/* ---- options, reading ---- */

static int opt_fail(struct dec *d, const char *name, const char *type)
{
    return err_set(d->e, ERR_FORMAT, "option \"%s\" must be of type %s", name, type);
}

static int64_t whole(const json_t *v)
{
    double x = json_real_value(v);
    if (json_is_integer(v))
        return json_integer_value(v);
    return x > 9e15    ? INT64_C(9000000000000000)
           : x < -9e15 ? -INT64_C(9000000000000000)
                       : (int64_t)x;
}

static double clamp(double x, const struct opt *o)
{
    return x < o->lo ? o->lo : x > o->hi ? o->hi : x;
}

/* 1: it is in the request now; 0: gen has no word for it. */
static int set_opt(const struct opt *o, const json_t *v, struct gen_req *r)
{
    struct gen_sampling *s = &r->sampling;
    void *to = (char *)s + o->at;
    int64_t n = o->type == OPT_INT ? whole(v) : 0;
    if (o->bit) {
        if (o->type == OPT_INT)
            *(int32_t *)to = (int32_t)clamp((double)n, o);
        else
            *(float *)to = (float)clamp(json_number_value(v), o);
        s->set |= o->bit;
        return 1;
    }
    if (!strcmp(o->name, "num_predict") && n > 0) {
        r->max_tokens = n < INT32_MAX ? n : INT32_MAX;
        return 1;
    }
    if (!strcmp(o->name, "num_ctx") && n > 0) {
        r->ctx = n < INT32_MAX ? n : INT32_MAX;
        return 1;
    }
    if (!strcmp(o->name, "seed") && n != -1) {
        s->seed = (uint64_t)n;
        s->set |= GEN_SET_SEED;
        return 1;
    }
    return 0;
}

static int decode_opt(struct dec *d, const struct opt *o, const json_t *v, struct gen_req *r)
{
    if (o->type == OPT_INT && !json_is_number(v))
        return opt_fail(d, o->name, "integer");
    if (o->type == OPT_FLOAT && !json_is_number(v))
        return opt_fail(d, o->name, "float32");
    if (o->type == OPT_BOOL && !json_is_boolean(v))
        return opt_fail(d, o->name, "boolean");
    return set_opt(o, v, r);
}

/* An array of strings, or one; empty ones stop nothing. */
static int decode_stop(struct dec *d, const json_t *v, struct gen_req *r)
{
    bool list = json_is_array(v);
    size_t n = list ? json_array_size(v) : 1;
    if (!list && !json_is_string(v))
        return opt_fail(d, "stop", "array");
    if (n > WIRE_MAX_STOPS)
        return err_set(d->e, ERR_FORMAT, "option \"stop\" has more than %d sequences",
                       WIRE_MAX_STOPS);
    r->stops = arena_array(d->a, n, sizeof *r->stops);
    if (!r->stops)
        return dec_nomem(d);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = list ? json_array_get(v, i) : v;
        if (!json_is_string(item))
            return err_set(d->e, ERR_FORMAT, "option \"stop\" must be of an array of strings");
        if (!json_string_length(item))
            continue;
        int rc = dec_copy(d, wire_json_str(item), &r->stops[r->nstops]);
        if (rc)
            return rc;
        r->nstops++;
    }
    return 1;
}

static int decode_option(struct dec *d, const char *key, const json_t *v, struct gen_req *r)
{
    if (!strcmp(key, "stop"))
        return decode_stop(d, v, r);
    for (size_t i = 0; i < NOPTS; i++) {
        if (!strcmp(key, opts[i].name))
            return decode_opt(d, &opts[i], v, r);
    }
    return 0;
}

static int decode_options(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    json_t *o, *v, *rest = NULL;
    const char *key;
    int rc = dec_object(d, body, "options", &o);
    if (rc <= 0)
        return rc;
    json_object_foreach(o, key, v)
    {
        if (json_is_null(v))
            continue;
        rc = decode_option(d, key, v, r);
        if (rc == 0)
            rc = dec_keep(d, &rest, key, v);
        if (rc < 0)
            break;
    }
    if (rc >= 0 && rest)
        rc = dec_keep(d, extra, "options", rest);
    json_decref(rest);
    return rc < 0 ? rc : 0;
}

/* ---- keep_alive, reading ---- */

static double unit_ms(struct str u)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {
        {"ns", 1e-6}, {"us", 1e-3}, {"\xC2\xB5s", 1e-3}, {"\xCE\xBCs", 1e-3},
        {"ms", 1},    {"s", 1e3},   {"m", 60e3},         {"h", 3600e3},
    };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (str_is(u, units[i].name))
            return units[i].ms;
    }
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* One "1.5h" off the front of *s, added to *ms. alone: it may be a bare number, which is not Go's;
 * seconds is what who writes it means. */
static bool take_span(struct str *s, bool alone, double *ms)
{
    double n = 0, scale = 1;
    size_t i = 0, digits = 0;
    bool point = false;
    for (; i < s->n && (is_digit(s->p[i]) || (s->p[i] == '.' && !point)); i++) {
        if (s->p[i] == '.') {
            point = true;
            continue;
        }
        digits++;
        n = n * 10 + (s->p[i] - '0');
        scale *= point ? 10 : 1;
    }
    size_t from = i;
    while (i < s->n && !is_digit(s->p[i]) && s->p[i] != '.')
        i++;
    double unit = unit_ms(str_n(s->p + from, i - from));
    if (from == s->n && alone && !point)
        unit = 1e3;
    if (!digits || unit == 0)
        return false;
    *ms += n / scale * unit;
    *s = str_n(s->p + i, s->n - i);
    return true;
}

/* Go's time.ParseDuration: "1h30m", "-1m", "0". */
static bool parse_duration(struct str s, double *out)
{
    double ms = 0;
    bool minus = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_n(s.p + 1, s.n - 1);
    if (!take_span(&s, true, &ms))
        return false;
    while (s.n) {
        if (!take_span(&s, false, &ms))
            return false;
    }
    *out = minus ? -ms : ms;
    return ms <= (double)MAX_KEEP_MS;
}

/* Seconds as a number or a duration as a string; less than nothing is for good. */
static int decode_keep(struct dec *d, const json_t *body, struct gen_req *r)
{
    const json_t *v = json_object_get(body, "keep_alive");
    double ms;
    if (!v || json_is_null(v))
        return 0;
    if (json_is_number(v))
        ms = json_number_value(v) * 1000;
    else if (!json_is_string(v))
        return dec_fail(d, ERR_FORMAT, "keep_alive", "must be a number of seconds or a duration");
    else if (!parse_duration(wire_json_str(v), &ms))
        return dec_fail(d, ERR_FORMAT, "keep_alive", "time: invalid duration \"%.*s\"",
                        STR_ARG(wire_json_str(v)));
    r->keep_set = true;
    r->keep_ms = ms < 0 || ms > (double)MAX_KEEP_MS ? -1 : (int64_t)ceil(ms);
    return 0;
}

int ollama_decode_options(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    int rc = decode_options(d, body, r, extra);
    return rc ? rc : decode_keep(d, body, r);
}

/* ---- what asks for text, reading ---- */

static int decode_format(struct dec *d, const json_t *body, struct gen_req *r)
{
    const json_t *v = json_object_get(body, "format");
    struct buf text = BUF_INIT(ERR_MSG_MAX);
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)))
        return 0;
    if (str_is(wire_json_str(v), "json")) {
        r->format = GEN_FORMAT_JSON;
        return 0;
    }
    if (json_is_object(v)) {
        r->format = GEN_FORMAT_SCHEMA;
        r->schema_strict = true; /* this dialect knows no other */
        return dec_raw(d, v, &r->schema);
    }
    wire_json_dump(v, &text);
    int rc = err_set(d->e, ERR_FORMAT,
                     "invalid format: %.*s; expected \"json\" or a valid JSON Schema object",
                     STR_ARG(buf_str(&text)));
    buf_done(&text);
    return rc;
}

#define THINK_WORDS "\"high\", \"medium\", \"low\", \"max\", true, or false"

static int decode_think(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    static const char *const names[] = {"low", "medium", "high"};
    json_t *v = json_object_get(body, "think");
    struct str s = wire_json_str(v);
    if (!v || json_is_null(v))
        return 0;
    r->must_think = !json_is_false(v);
    if (json_is_boolean(v)) {
        r->effort = json_is_true(v) ? GEN_EFFORT_MEDIUM : GEN_EFFORT_NONE;
        return 0;
    }
    if (!json_is_string(v))
        return err_set(d->e, ERR_FORMAT, "think must be a boolean or string (" THINK_WORDS ")");
    for (size_t i = 0; i < 3; i++) {
        if (str_is(s, names[i])) {
            r->effort = GEN_EFFORT_LOW + (enum gen_effort)i;
            return 0;
        }
    }
    if (!str_is(s, "max"))
        return err_set(d->e, ERR_FORMAT, "invalid think value: \"%.*s\" (must be " THINK_WORDS ")",
                       STR_ARG(s));
    r->effort = GEN_EFFORT_HIGH;
    return dec_keep(d, extra, "think", v);
}

static int decode_flags(struct dec *d, const json_t *body, struct gen_req *r)
{
    int64_t top = 0;
    r->stream = true;
    int rc = dec_bool(d, body, "stream", &r->stream);
    if (rc >= 0)
        rc = dec_bool(d, body, "truncate", &r->truncate);
    if (rc >= 0)
        rc = dec_bool(d, body, "logprobs", &r->logprobs);
    if (rc >= 0)
        rc = dec_int(d, body, "top_logprobs", INT32_MIN, INT32_MAX, &top);
    if (rc < 0)
        return rc;
    if (top < 0 || top > 20)
        return err_set(d->e, ERR_FORMAT, "top_logprobs must be between 0 and 20");
    r->top_logprobs = r->logprobs ? (int32_t)top : 0;
    return 0;
}

int ollama_decode_common(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra)
{
    int rc = ollama_decode_options(d, body, r, extra);
    if (!rc)
        rc = decode_format(d, body, r);
    if (!rc)
        rc = decode_think(d, body, r, extra);
    return rc ? rc : decode_flags(d, body, r);
}

/* ---- writing ---- */

/* What local engines of other dialects know and this one does not. */
static int check_sampling(struct enc *x)
{
    static const struct {
        unsigned bit;
        const char *name;
    } rows[] = {
        {GEN_SET_TOP_N_SIGMA, "top_n_sigma"},
        {GEN_SET_XTC_PROBABILITY, "xtc_probability"},
        {GEN_SET_XTC_THRESHOLD, "xtc_threshold"},
        {GEN_SET_DRY_MULTIPLIER, "dry_multiplier"},
        {GEN_SET_DRY_BASE, "dry_base"},
        {GEN_SET_DRY_ALLOWED_LENGTH, "dry_allowed_length"},
        {GEN_SET_DRY_LAST_N, "dry_penalty_last_n"},
        {GEN_SET_DRY_BREAKERS, "dry_sequence_breakers"},
        {GEN_SET_SAMPLERS, "samplers"},
    };
    const struct gen_sampling *s = &x->req->sampling;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (s->set & rows[i].bit)
            return enc_unsupported(x, rows[i].name, "ollama");
    }
    if (s->ignore_eos)
        return enc_unsupported(x, "ignore_eos", "ollama");
    return s->nbias ? enc_unsupported(x, "logit_bias", "ollama") : 0;
}

static void put_known(struct enc *x, struct buf *b)
{
    const struct gen_req *r = x->req;
    const struct gen_sampling *s = &r->sampling;
    for (size_t i = 0; i < NOPTS; i++) {
        const void *from = (const char *)s + opts[i].at;
        if (!(s->set & opts[i].bit))
            continue;
        if (opts[i].type == OPT_INT)
            jw_int(b, opts[i].name, *(const int32_t *)from);
        else
            jw_float(b, opts[i].name, *(const float *)from);
    }
    if (s->set & GEN_SET_SEED)
        jw_int(b, "seed", (int64_t)s->seed);
    if (r->max_tokens)
        jw_int(b, "num_predict", r->max_tokens);
    if (r->ctx)
        jw_int(b, "num_ctx", r->ctx);
    if (r->nstops) {
        jw_array(b, "stop");
        for (size_t i = 0; i < r->nstops; i++)
            jw_item(b, r->stops[i]);
        jw_close(b, ']');
    }
}

/* Already said by what the request holds now. */
static bool is_said(const struct gen_req *r, const char *key)
{
    const struct gen_sampling *s = &r->sampling;
    if (!strcmp(key, "seed"))
        return s->set & GEN_SET_SEED;
    if (!strcmp(key, "num_predict"))
        return r->max_tokens != 0;
    if (!strcmp(key, "num_ctx"))
        return r->ctx != 0;
    if (!strcmp(key, "stop"))
        return r->nstops != 0;
    for (size_t i = 0; i < NOPTS; i++) {
        if (!strcmp(key, opts[i].name))
            return s->set & opts[i].bit;
    }
    return false;
}

static void put_options(struct enc *x, const json_t *extra)
{
    struct buf all = BUF_INIT(WIRE_MAX_BODY);
    json_t *rest = json_object_get(extra, "options"), *v;
    const char *key;
    buf_putc(&all, '{');
    put_known(x, &all);
    json_object_foreach(rest, key, v)
    {
        if (is_said(x->req, key))
            continue;
        jw_key(&all, key);
        wire_json_dump(v, &all);
    }
    buf_putc(&all, '}');
    if (all.n > 2) {
        jw_key(x->b, enc_top(x, "options"));
        buf_str_add(x->b, buf_str(&all));
    }
    x->b->failed |= buf_failed(&all);
    buf_done(&all);
}

int ollama_encode_options(struct enc *x, const json_t *extra)
{
    const struct gen_req *r = x->req;
    char text[32];
    int rc = check_sampling(x);
    if (rc)
        return rc;
    put_options(x, extra);
    if (!r->keep_set)
        return 0;
    if (r->keep_ms < 0)
        snprintf(text, sizeof text, "-1s");
    else if (r->keep_ms % 1000)
        snprintf(text, sizeof text, "%lldms", (long long)r->keep_ms);
    else
        snprintf(text, sizeof text, "%llds", (long long)r->keep_ms / 1000);
    jw_str(x->b, enc_top(x, "keep_alive"), str_of(text));
    return 0;
}

static void put_think(struct enc *x, const json_t *extra)
{
    enum gen_effort effort = x->req->effort;
    int64_t budget = x->req->thinking_budget;
    if (effort == GEN_EFFORT_UNSET && budget > 0)
        effort = budget < 4096    ? GEN_EFFORT_LOW
                 : budget < 16384 ? GEN_EFFORT_MEDIUM
                                  : GEN_EFFORT_HIGH;
    if (effort == GEN_EFFORT_HIGH && json_object_get(extra, "think"))
        return; /* "max", which is replayed */
    switch (effort) {
    case GEN_EFFORT_UNSET: break;
    case GEN_EFFORT_NONE: jw_bool(x->b, enc_top(x, "think"), false); break;
    case GEN_EFFORT_LOW: jw_str(x->b, enc_top(x, "think"), STR("low")); break;
    case GEN_EFFORT_MEDIUM: jw_bool(x->b, enc_top(x, "think"), true); break;
    case GEN_EFFORT_HIGH: jw_str(x->b, enc_top(x, "think"), STR("high")); break;
    }
}

int ollama_encode_common(struct enc *x, const json_t *extra)
{
    const struct gen_req *r = x->req;
    if (r->n > 1)
        return enc_unsupported(x, "n: more than one choice", "ollama");
    if (r->grammar.n)
        return enc_unsupported(x, "grammar", "ollama");
    if (r->previous_id.n)
        return enc_unsupported(x, "previous_response_id", "ollama");
    int rc = ollama_encode_options(x, extra);
    if (rc)
        return rc;
    if (r->format == GEN_FORMAT_JSON)
        jw_str(x->b, enc_top(x, "format"), STR("json"));
    else if (r->format == GEN_FORMAT_SCHEMA &&
             (rc = enc_raw(x, enc_top(x, "format"), r->schema, true, "format")))
        return rc;
    put_think(x, extra);
    jw_bool(x->b, enc_top(x, "stream"), r->stream);
    jw_bool(x->b, enc_top(x, "truncate"), r->truncate); /* left out, it would be true */
    if (r->logprobs)
        jw_bool(x->b, enc_top(x, "logprobs"), true);
    if (r->top_logprobs)
        jw_int(x->b, enc_top(x, "top_logprobs"), r->top_logprobs);
    return 0;
}
