/* sampling.c: the sampling fields that the OpenAI dialect and the servers compatible with it share,
 * as one table: decoded and encoded by the same rows. Called by the dialects. */
#include "wire_int.h"

#include <math.h>
#include <stddef.h>

struct row {
    const char *key;
    unsigned bit;
    double lo, hi;
    size_t at;
    bool whole; /* an int32_t, not a float */
};

#define FLOAT(key, bit, lo, hi, field)                                                             \
    {                                                                                              \
        key, GEN_SET_##bit, lo, hi, offsetof(struct gen_sampling, field), false                    \
    }
#define WHOLE(key, bit, lo, hi, field)                                                             \
    {                                                                                              \
        key, GEN_SET_##bit, lo, hi, offsetof(struct gen_sampling, field), true                     \
    }

/* A later spelling of the same field is read and never written. */
static const struct row rows[] = {
    FLOAT("temperature", TEMPERATURE, 0, 2, temperature),
    FLOAT("top_p", TOP_P, 0, 1, top_p),
    FLOAT("min_p", MIN_P, 0, 1, min_p),
    FLOAT("frequency_penalty", FREQUENCY, -2, 2, frequency_penalty),
    FLOAT("presence_penalty", PRESENCE, -2, 2, presence_penalty),
    FLOAT("repetition_penalty", REPEAT, 0, 10, repeat_penalty),
    FLOAT("repeat_penalty", REPEAT, 0, 10, repeat_penalty),
    WHOLE("repeat_last_n", REPEAT_LAST_N, -1, INT32_MAX, repeat_last_n),
    FLOAT("typical_p", TYPICAL_P, 0, 1, typical_p),
    FLOAT("top_n_sigma", TOP_N_SIGMA, -1, 1000, top_n_sigma),
    FLOAT("xtc_probability", XTC_PROBABILITY, 0, 1, xtc_probability),
    FLOAT("xtc_threshold", XTC_THRESHOLD, 0, 1, xtc_threshold),
    FLOAT("dry_multiplier", DRY_MULTIPLIER, 0, 1000, dry_multiplier),
    FLOAT("dry_base", DRY_BASE, 0, 1000, dry_base),
    WHOLE("dry_allowed_length", DRY_ALLOWED_LENGTH, 0, INT32_MAX, dry_allowed_length),
    WHOLE("dry_penalty_last_n", DRY_LAST_N, -1, INT32_MAX, dry_last_n),
};
#define NROWS (sizeof rows / sizeof rows[0])

#define MAX_BIAS 1024
#define MAX_LIST 64

/* As llama-server reads them: shares are brought into 0 to 1, nothing else has an end but what the
 * numbers themselves have. */
static int decode_wide(struct dec *d, const json_t *body, const struct row *row, void *to)
{
    int64_t n = 0;
    float f = 0;
    int rc;
    if (row->whole) {
        rc = dec_int(d, body, row->key, (int64_t)row->lo, INT32_MAX, &n);
        if (rc > 0)
            *(int32_t *)to = (int32_t)n;
        return rc;
    }
    rc = dec_float(d, body, row->key, -1e6, 1e6, &f);
    if (rc > 0 && row->hi == 1.0)
        f = f < 0 ? 0 : f > 1 ? 1 : f;
    if (rc > 0)
        *(float *)to = row->bit == GEN_SET_TEMPERATURE && f < 0 ? 0 : f;
    return rc;
}

static int decode_row(struct dec *d, const json_t *body, const struct row *row,
                      struct gen_sampling *s)
{
    void *to = (char *)s + row->at;
    int64_t n = 0;
    int rc;
    if (d->wide)
        rc = decode_wide(d, body, row, to);
    else if (row->whole) {
        rc = dec_int(d, body, row->key, (int64_t)row->lo, (int64_t)row->hi, &n);
        if (rc > 0)
            *(int32_t *)to = (int32_t)n;
    } else
        rc = dec_float(d, body, row->key, row->lo, row->hi, to);
    s->set |= rc > 0 ? row->bit : 0;
    return rc;
}

/* {"ID": BIAS}; llama-server's [[ID, BIAS], ...] too, where false is "never", and where a text that
 * is no number stands for the tokens it has. */
static int bias_item(struct dec *d, const json_t *id, const json_t *value, struct gen_bias *out)
{
    *out = (struct gen_bias){.id = -1};
    if (!json_is_number(value) && !json_is_false(value))
        return dec_fail(d, ERR_FORMAT, "logit_bias", "wants numbers");
    out->bias = json_is_false(value) ? -INFINITY : (float)json_number_value(value);
    if (json_string_length(id))
        return dec_copy(d, wire_json_str(id), &out->text);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
        return dec_fail(d, ERR_FORMAT, "logit_bias", "wants token ids");
    out->id = (int32_t)json_integer_value(id);
    return 0;
}

static int bias_object(struct dec *d, json_t *o, struct gen_sampling *s)
{
    const char *key;
    size_t klen;
    json_t *v;
    json_object_keylen_foreach(o, key, klen, v)
    {
        uint64_t id;
        struct str k = str_n(key, klen);
        struct gen_bias *b = &s->bias[s->nbias++];
        if (!json_is_number(v) && !json_is_false(v))
            return dec_fail(d, ERR_FORMAT, "logit_bias", "wants numbers");
        b->bias = json_is_false(v) ? -INFINITY : (float)json_number_value(v);
        b->id = -1;
        if (str_to_u64(k, &id) && id <= INT32_MAX)
            b->id = (int32_t)id;
        else if (!d->wide || !k.n)
            return dec_fail(d, ERR_FORMAT, "logit_bias", "wants token ids as keys");
        else if (dec_copy(d, k, &b->text))
            return dec_nomem(d);
    }
    return 0;
}

static int bias_array(struct dec *d, const json_t *o, struct gen_sampling *s)
{
    for (size_t i = 0; i < json_array_size(o); i++) {
        const json_t *pair = json_array_get(o, i);
        int rc = bias_item(d, json_array_get(pair, 0), json_array_get(pair, 1), &s->bias[i]);
        if (rc)
            return rc;
        s->nbias++;
    }
    return 0;
}

static int decode_bias(struct dec *d, const json_t *body, struct gen_sampling *s)
{
    json_t *o = json_object_get(body, "logit_bias");
    if (!o || json_is_null(o))
        return 0;
    if (!json_is_object(o) && !json_is_array(o))
        return dec_fail(d, ERR_FORMAT, "logit_bias", "must be an object");
    size_t n = json_is_object(o) ? json_object_size(o) : json_array_size(o);
    if (n > MAX_BIAS)
        return dec_fail(d, ERR_FORMAT, "logit_bias", "more than %d tokens", MAX_BIAS);
    s->bias = arena_array(d->a, n, sizeof *s->bias);
    if (!s->bias)
        return dec_nomem(d);
    return json_is_object(o) ? bias_object(d, o, s) : bias_array(d, o, s);
}

static int decode_list(struct dec *d, const json_t *body, const char *key, unsigned bit,
                       struct gen_sampling *s, struct str **out, size_t *nout)
{
    json_t *o;
    int rc = dec_array(d, body, key, &o);
    if (rc <= 0)
        return rc;
    size_t n = json_array_size(o);
    struct str *list = arena_array(d->a, n, sizeof *list);
    if (n > MAX_LIST)
        return dec_fail(d, ERR_FORMAT, key, "more than %d", MAX_LIST);
    if (!list)
        return dec_nomem(d);
    for (size_t i = 0; i < n; i++) {
        if (!json_is_string(json_array_get(o, i)))
            return dec_fail(d, ERR_FORMAT, key, "must be an array of strings");
        rc = dec_copy(d, wire_json_str(json_array_get(o, i)), &list[i]);
        if (rc)
            return rc;
    }
    s->set |= bit;
    *out = list;
    *nout = n;
    return 0;
}

int dec_sampling(struct dec *d, const json_t *body, struct gen_sampling *s)
{
    int64_t n;
    for (size_t i = 0; i < NROWS; i++) {
        int rc = decode_row(d, body, &rows[i], s);
        if (rc < 0)
            return rc;
    }
    int rc = dec_int(d, body, "top_k", -1, INT32_MAX, &n); /* -1: vLLM's word for no limit */
    if (rc < 0)
        return rc;
    if (rc) {
        s->set |= GEN_SET_TOP_K;
        s->top_k = n < 0 ? 0 : (int32_t)n;
    }
    rc = dec_int(d, body, "seed", INT64_MIN, INT64_MAX, &n);
    if (rc > 0 && !(d->wide && (n == -1 || n == UINT32_MAX))) {
        s->set |= GEN_SET_SEED;
        s->seed = (uint64_t)n;
    }
    if (rc >= 0)
        rc = decode_bias(d, body, s);
    if (rc >= 0)
        rc = decode_list(d, body, "samplers", GEN_SET_SAMPLERS, s, &s->samplers, &s->nsamplers);
    if (rc >= 0)
        rc = decode_list(d, body, "dry_sequence_breakers", GEN_SET_DRY_BREAKERS, s,
                         &s->dry_breakers, &s->ndry_breakers);
    if (rc >= 0)
        rc = dec_bool(d, body, "ignore_eos", &s->ignore_eos);
    d->sampling = true;
    return rc < 0 ? rc : 0;
}

bool dec_is_sampling(const char *key)
{
    static const char *const others[] = {"top_k",    "seed",       "logit_bias",
                                         "samplers", "ignore_eos", "dry_sequence_breakers"};
    for (size_t i = 0; i < NROWS; i++) {
        if (!strcmp(key, rows[i].key))
            return true;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (!strcmp(key, others[i]))
            return true;
    }
    return false;
}

/* ---- writing ---- */

static void put_list(struct enc *x, const char *key, const struct str *list, size_t n)
{
    jw_array(x->b, enc_top(x, key));
    for (size_t i = 0; i < n; i++)
        jw_item(x->b, list[i]);
    jw_close(x->b, ']');
}

/* llama-server's form, which has texts too. */
static void put_pairs(struct enc *x, const struct gen_sampling *s)
{
    jw_array(x->b, enc_top(x, "logit_bias"));
    for (size_t i = 0; i < s->nbias; i++) {
        jw_open(x->b, '[');
        if (s->bias[i].text.n)
            jw_item(x->b, s->bias[i].text);
        else
            jw_item_int(x->b, s->bias[i].id);
        jw_number(x->b, s->bias[i].bias == -INFINITY ? -100.0f : s->bias[i].bias);
        jw_close(x->b, ']');
    }
    jw_close(x->b, ']');
}

/* "Never" is -100 in this dialect. */
static void put_bias(struct enc *x, const struct gen_sampling *s)
{
    char key[16];
    bool texts = false;
    for (size_t i = 0; i < s->nbias; i++)
        texts |= s->bias[i].text.n > 0;
    if (texts) {
        put_pairs(x, s);
        return;
    }
    jw_object(x->b, enc_top(x, "logit_bias"));
    for (size_t i = 0; i < s->nbias; i++) {
        snprintf(key, sizeof key, "%d", s->bias[i].id);
        jw_float(x->b, key, s->bias[i].bias == -INFINITY ? -100.0f : s->bias[i].bias);
    }
    jw_close(x->b, '}');
}

/* llama-server's ranges are wider than the others'. */
static int check_ranges(struct enc *x)
{
    const struct gen_sampling *s = &x->req->sampling;
    for (size_t i = 0; i < NROWS; i++) {
        const void *from = (const char *)s + rows[i].at;
        if (!(s->set & rows[i].bit))
            continue;
        double v = rows[i].whole ? *(const int32_t *)from : (double)*(const float *)from;
        if (v < rows[i].lo || v > rows[i].hi)
            return err_set(x->e, ERR_UNSUPPORTED, "%s: must be between %g and %g there",
                           rows[i].key, rows[i].lo, rows[i].hi);
    }
    return 0;
}

int enc_sampling(struct enc *x)
{
    int rc = check_ranges(x);
    if (!rc)
        put_sampling(x);
    return rc;
}

void put_sampling(struct enc *x)
{
    const struct gen_sampling *s = &x->req->sampling;
    unsigned left = s->set;
    for (size_t i = 0; i < NROWS; i++) {
        const void *from = (const char *)s + rows[i].at;
        bool other = rows[i].bit == GEN_SET_REPEAT && x->q->repeat_penalty;
        if (!(left & rows[i].bit))
            continue;
        left &= ~rows[i].bit;
        if (rows[i].whole)
            jw_int(x->b, enc_top(x, rows[i].key), *(const int32_t *)from);
        else
            jw_float(x->b, enc_top(x, other ? "repeat_penalty" : rows[i].key),
                     *(const float *)from);
    }
    if (s->set & GEN_SET_TOP_K)
        jw_int(x->b, enc_top(x, "top_k"), s->top_k);
    if (s->set & GEN_SET_SEED)
        jw_int(x->b, enc_top(x, "seed"), (int64_t)s->seed);
    if (s->nbias)
        put_bias(x, s);
    if (s->ignore_eos)
        jw_bool(x->b, enc_top(x, "ignore_eos"), true);
    if (s->set & GEN_SET_SAMPLERS)
        put_list(x, "samplers", s->samplers, s->nsamplers);
    if (s->set & GEN_SET_DRY_BREAKERS)
        put_list(x, "dry_sequence_breakers", s->dry_breakers, s->ndry_breakers);
}
