/* openai_embed.c: POST /v1/embeddings
 * (https://platform.openai.com/docs/api-reference/embeddings/create), both sides of it: the body
 * into a gen_req and back, rows into an answer and back. There is no stream: an answer is one body.
 *
 * An input is a message of one part: a text, or the ids of its tokens. `truncate` is not OpenAI's
 * but other servers' (a text longer than the context is cut); a provider is not asked for it. Rows
 * come as numbers or as base64 of little-endian floats, whichever the request wants; both are
 * read. */
#include "wire_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const known[] = {"model", "input", "encoding_format", "dimensions", "truncate",
                                    "user",  NULL};

/* ---- the request, serving ---- */

static int fail_input(struct dec *d, const char *list, size_t i, const char *why)
{
    char field[64];
    snprintf(field, sizeof field, "input[%zu]", i);
    return dec_fail(d, ERR_FORMAT, list ? field : "input", "%s", why);
}

/* Input i as a message of its own. NULL: no memory. */
static struct gen_part *add_input(struct dec *d, struct gen_req *r, size_t i)
{
    struct gen_part *p = arena_alloc(d->a, sizeof *p);
    r->msgs[i] = (struct gen_msg){.role = GEN_USER, .parts = p, .nparts = p ? 1 : 0};
    r->nmsgs = i + 1;
    return p;
}

static int decode_text(struct dec *d, const json_t *v, const char *list, size_t i,
                       struct gen_req *r)
{
    struct str s = wire_json_str(v);
    if (!s.n)
        return fail_input(d, list, i, "must not be empty");
    struct gen_part *p = add_input(d, r, i);
    if (!p)
        return dec_nomem(d);
    p->type = GEN_PART_TEXT;
    return dec_copy(d, s, &p->text);
}

static int decode_ids(struct dec *d, const json_t *v, const char *list, size_t i, struct gen_req *r)
{
    size_t n = json_array_size(v);
    if (!n)
        return fail_input(d, list, i, "must not be empty");
    struct gen_part *p = add_input(d, r, i);
    int32_t *ids = arena_array(d->a, n, sizeof *ids);
    if (!p || !ids)
        return dec_nomem(d);
    for (size_t k = 0; k < n; k++) {
        const json_t *id = json_array_get(v, k);
        json_int_t x = json_integer_value(id);
        if (!json_is_integer(id) || x < 0 || x > INT32_MAX)
            return fail_input(d, list, i, "must hold the ids of tokens");
        ids[k] = (int32_t)x;
    }
    p->type = GEN_PART_TOKENS;
    p->ids = ids;
    p->nids = n;
    return 0;
}

/* A text, the ids of one, or a list of either. */
static int decode_input(struct dec *d, const json_t *body, struct gen_req *r)
{
    const json_t *v = json_object_get(body, "input"), *first = json_array_get(v, 0);
    bool list = json_is_array(v) && !json_is_integer(first);
    size_t n = list ? json_array_size(v) : 1;
    int rc = 0;
    if (!v || json_is_null(v))
        return dec_fail(d, ERR_FORMAT, "input", "is missing");
    if (n < 1)
        return dec_fail(d, ERR_FORMAT, "input", "must not be empty");
    if (n > WIRE_MAX_INPUTS)
        return dec_fail(d, ERR_FORMAT, "input", "has %zu texts, more than %d", n, WIRE_MAX_INPUTS);
    r->msgs = arena_array(d->a, n, sizeof *r->msgs);
    if (!r->msgs)
        return dec_nomem(d);
    for (size_t i = 0; !rc && i < n; i++) {
        const json_t *one = list ? json_array_get(v, i) : v;
        if (json_is_string(one))
            rc = decode_text(d, one, list ? "input" : NULL, i, r);
        else if (json_is_array(one))
            rc = decode_ids(d, one, list ? "input" : NULL, i, r);
        else
            rc = fail_input(d, list ? "input" : NULL, i, "must be a string or an array of tokens");
    }
    return rc;
}

static int decode_fields(struct dec *d, const json_t *body, struct gen_req *r)
{
    struct str format = STR_NONE;
    int64_t dimensions = 0;
    int rc = dec_str(d, body, "model", &r->model);
    if (rc < 0)
        return rc;
    if (!rc || !r->model.n)
        return dec_fail(d, ERR_FORMAT, "model", "is missing");
    if ((rc = decode_input(d, body, r)))
        return rc;
    if ((rc = dec_str(d, body, "encoding_format", &format)) < 0)
        return rc;
    r->base64 = str_is(format, "base64");
    if (rc && !r->base64 && !str_is(format, "float"))
        return dec_fail(d, ERR_FORMAT, "encoding_format", "must be \"float\" or \"base64\"");
    if ((rc = dec_int(d, body, "dimensions", 1, INT32_MAX, &dimensions)) < 0)
        return rc;
    r->dimensions = (int32_t)dimensions;
    if ((rc = dec_bool(d, body, "truncate", &r->truncate)) < 0)
        return rc;
    rc = dec_str(d, body, "user", &r->user);
    return rc < 0 ? rc : 0;
}

static int embed_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    json_t *extra = NULL;
    int rc = decode_fields(d, body, r);
    if (!rc)
        rc = dec_unknown(d, body, known, &extra);
    if (!rc)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    return rc;
}

/* ---- the request, calling ---- */

static int put_input(struct enc *x, const struct gen_msg *m, size_t i)
{
    if (m->nparts != 1 ||
        (m->parts[0].type != GEN_PART_TEXT && m->parts[0].type != GEN_PART_TOKENS))
        return err_set(x->e, ERR_UNSUPPORTED, "input[%zu]: must be a text or tokens", i);
    const struct gen_part *p = &m->parts[0];
    if (p->type == GEN_PART_TEXT && !p->text.n)
        return err_set(x->e, ERR_UNSUPPORTED, "input[%zu]: must not be empty", i);
    if (p->type == GEN_PART_TEXT) {
        jw_item(x->b, p->text);
        return 0;
    }
    jw_open(x->b, '[');
    for (size_t k = 0; k < p->nids; k++)
        buf_printf(x->b, k ? ",%d" : "%d", p->ids[k]);
    jw_close(x->b, ']');
    return 0;
}

static int put_body(struct enc *x, struct str model, const json_t *extra)
{
    const struct gen_req *r = x->req;
    int rc = 0;
    jw_str(x->b, enc_top(x, "model"), model);
    jw_array(x->b, enc_top(x, "input"));
    for (size_t i = 0; !rc && i < r->nmsgs; i++)
        rc = put_input(x, &r->msgs[i], i);
    if (rc)
        return rc;
    jw_close(x->b, ']');
    jw_str(x->b, enc_top(x, "encoding_format"), r->base64 ? STR("base64") : STR("float"));
    if (r->dimensions)
        jw_int(x->b, enc_top(x, "dimensions"), r->dimensions);
    if (r->user.p)
        jw_str(x->b, enc_top(x, "user"), r->user);
    return enc_extra(x, extra, "truncate");
}

static int embed_encode(struct enc *x, struct str model)
{
    json_t *extra = NULL;
    int rc = enc_extra_load(x, GEN_DIALECT_OPENAI, &extra);
    if (rc)
        return rc;
    buf_putc(x->b, '{');
    rc = put_body(x, model, extra);
    buf_putc(x->b, '}');
    json_decref(extra);
    return rc;
}

/* ---- floats as text ---- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static unsigned char byte_of(const float *v, size_t i)
{
    uint32_t bits;
    memcpy(&bits, &v[i / 4], sizeof bits);
    return (unsigned char)(bits >> (8 * (i % 4)));
}

static void put_base64(struct buf *b, const float *v, size_t n)
{
    size_t bytes = n * 4;
    buf_putc(b, '"');
    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t have = bytes - i < 3 ? (uint32_t)(bytes - i) : 3, x = 0;
        for (uint32_t k = 0; k < 3; k++)
            x = x << 8 | (k < have ? byte_of(v, i + k) : 0u);
        char four[4] = {digits[x >> 18], digits[x >> 12 & 63], digits[x >> 6 & 63], digits[x & 63]};
        for (uint32_t k = have + 1; k < 4; k++)
            four[k] = '=';
        buf_add(b, four, 4);
    }
    buf_putc(b, '"');
}

static int digit_of(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Whole floats only; SIZE_MAX: it is something else. */
static size_t read_base64(struct str s, float *out)
{
    uint32_t bits = 0, word = 0;
    size_t have = 0, bytes = 0;
    while (s.n && s.p[s.n - 1] == '=')
        s.n--;
    for (size_t i = 0; i < s.n; i++) {
        int d = digit_of(s.p[i]);
        if (d < 0)
            return SIZE_MAX;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        word |= (bits >> have & 255) << (8 * (bytes % 4));
        if (++bytes % 4 == 0) {
            memcpy(&out[bytes / 4 - 1], &word, sizeof word);
            word = 0;
        }
    }
    return bytes % 4 ? SIZE_MAX : bytes / 4;
}

/* ---- the answer, serving ---- */

struct state {
    struct buf rows; /* writing: the list's elements */
    bool whole;      /* reading: the body was an answer */
};

static int state_new(void **out)
{
    struct state *s = calloc(1, sizeof *s);
    *out = s;
    if (s)
        buf_init(&s->rows, WIRE_MAX_ROWS);
    return s ? 0 : ERR_NOMEM;
}

static void state_free(struct state *s)
{
    if (s)
        buf_done(&s->rows);
    free(s);
}

static int embed_writer_new(struct wire_writer *w)
{
    return state_new(&w->state);
}

static void embed_writer_free(struct wire_writer *w)
{
    state_free(w->state);
}

static int put_row(struct wire_writer *w, const struct gen_event *ev, struct err *e)
{
    struct state *s = w->state;
    struct buf *b = &s->rows;
    jw_open(b, '{');
    jw_str(b, "object", STR("embedding"));
    jw_int(b, "index", ev->index);
    if (w->req->base64) {
        jw_key(b, "embedding");
        put_base64(b, ev->embedding, ev->nembedding);
    } else {
        jw_array(b, "embedding");
        for (size_t i = 0; i < ev->nembedding; i++)
            jw_number(b, ev->embedding[i]);
        jw_close(b, ']');
    }
    jw_close(b, '}');
    if (buf_failed(b))
        return err_set(e, ERR_TOO_LARGE, "the rows are larger than %d bytes", WIRE_MAX_ROWS);
    return 0;
}

static void put_answer(const struct wire_writer *w, struct buf *b)
{
    const struct state *s = w->state;
    buf_puts(b, "{\"object\":\"list\",\"data\":[");
    buf_str_add(b, buf_str(&s->rows));
    buf_putc(b, ']');
    jw_str(b, "model", buf_str(&w->model));
    jw_object(b, "usage");
    jw_int(b, "prompt_tokens", w->usage.input);
    jw_int(b, "total_tokens", w->usage.input);
    jw_close(b, '}');
    jw_close(b, '}');
}

static int embed_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                       struct err *e)
{
    switch (ev->type) {
    case GEN_EV_EMBEDDING: return put_row(w, ev, e);
    case GEN_EV_DONE: put_answer(w, out); return 0;
    case GEN_EV_ERROR: openai_error(ev->err, out); return 0;
    case GEN_EV_START:
    case GEN_EV_USAGE: return 0;
    default: return err_set(e, ERR_UNSUPPORTED, "text in an answer of embeddings");
    }
}

/* ---- the answer, calling ---- */

static int embed_reader_new(struct wire_reader *r)
{
    return state_new(&r->state);
}

static void embed_reader_free(struct wire_reader *r)
{
    state_free(r->state);
}

static int embed_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e)
{
    (void)r;
    (void)name;
    (void)data;
    return err_set(e, ERR_UPSTREAM, "a stream where rows of embeddings were asked for");
}

static int read_numbers(const json_t *v, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_number(x))
            return -1;
        out[i] = (float)json_number_value(x);
    }
    return 0;
}

static int read_row(struct wire_reader *r, const json_t *o, size_t i, struct err *e)
{
    const json_t *v = json_object_get(o, "embedding");
    struct str text = wire_json_str(v);
    bool list = json_is_array(v);
    size_t n = list ? json_array_size(v) : text.n;
    float *row = n ? arena_array(r->tmp, n, sizeof *row) : NULL;
    if (n && !row)
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    if (!n || (list ? read_numbers(v, n, row) != 0 : (n = read_base64(text, row)) == SIZE_MAX))
        return err_set(e, ERR_UPSTREAM, "data: the embedding %zu must be numbers or base64", i);
    for (size_t k = 0; k < n; k++)
        if (!isfinite(row[k]))
            return err_set(e, ERR_UPSTREAM, "data: the embedding %zu is not a number at %zu", i, k);
    reader_send(
        r, &(struct gen_event){
               .type = GEN_EV_EMBEDDING, .index = (int32_t)i, .embedding = row, .nembedding = n});
    return 0;
}

/* Rows may come in any order and go on in that of the inputs. */
static int sort_rows(const json_t *data, size_t n, const json_t **out, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(data, i), *at = json_object_get(o, "index");
        json_int_t index = json_is_integer(at) ? json_integer_value(at) : (json_int_t)i;
        if (index < 0 || (size_t)index >= n || out[index])
            return err_set(e, ERR_UPSTREAM, "data[%zu].index: is %lld of %zu", i, (long long)index,
                           n);
        out[index] = o;
    }
    return 0;
}

static int read_rows(struct wire_reader *r, const json_t *data, struct err *e)
{
    size_t n = json_array_size(data);
    if (n < 1 || n > WIRE_MAX_INPUTS)
        return err_set(e, ERR_UPSTREAM, "the answer has %zu embeddings", n);
    const json_t **rows = calloc(n, sizeof *rows);
    if (!rows)
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    int rc = sort_rows(data, n, rows, e);
    for (size_t i = 0; !rc && i < n; i++) {
        rc = read_row(r, rows[i], i, e);
        arena_clear(r->tmp);
    }
    free(rows);
    return rc;
}

static int embed_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    struct state *s = r->state;
    const json_t *error = json_object_get(body, "error"), *usage = json_object_get(body, "usage");
    if (error && !json_is_null(error))
        return wire_error_json(body, 0, e);
    reader_start(r, wire_json_get_str(body, "model"), wire_json_get_str(body, "id"));
    int rc = read_rows(r, json_object_get(body, "data"), e);
    if (rc)
        return rc;
    if (json_is_object(usage)) {
        struct gen_event ev = {.type = GEN_EV_USAGE};
        ev.usage.input = wire_json_count(usage, "prompt_tokens");
        if (!ev.usage.input)
            ev.usage.input = wire_json_count(usage, "total_tokens");
        reader_send(r, &ev);
    }
    s->whole = true;
    return 0;
}

static bool embed_read_complete(const struct wire_reader *r, bool clean_end)
{
    const struct state *s = r->state;
    return s->whole && clean_end;
}

static void embed_read_done(struct wire_reader *r)
{
    reader_send(r, &(struct gen_event){.type = GEN_EV_DONE, .reason = GEN_END_STOP});
}

const struct wire_codec embeddings_codec = {
    .name = "embeddings",
    .dialect = GEN_DIALECT_OPENAI,
    .kinds = 1u << GEN_EMBED,
    .kind = GEN_EMBED,
    .decode = embed_decode,
    .encode = embed_encode,
    .read_event = embed_read_event,
    .read_body = embed_read_body,
    .read_done = embed_read_done,
    .read_complete = embed_read_complete,
    .reader_new = embed_reader_new,
    .reader_free = embed_reader_free,
    .write = embed_write,
    .writer_new = embed_writer_new,
    .writer_free = embed_writer_free,
    .error = openai_error,
    .keepalive = "",
};
