/* ollama_embed.c: POST /api/embed and the older POST /api/embeddings
 * (https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings), both sides of them.
 * There is no stream: an answer is one body.
 *
 * An input is a message of one text. An embed without an input, and an embeddings without a prompt,
 * only load the model (load_only) and are answered by no rows. `truncate` is true unless it is said
 * to be false. The older form carries one text, no dimensions and no counts. */
#include "ollama_int.h"

#include <math.h>
#include <stdlib.h>

static const char *const embed_known[] = {"model",   "input",      "truncate", "dimensions",
                                          "options", "keep_alive", NULL};
static const char *const older_known[] = {"model", "prompt", "options", "keep_alive", NULL};

/* ---- requests, serving ---- */

static int add_input(struct dec *d, struct gen_req *r, struct str text)
{
    struct gen_part *p = arena_alloc(d->a, sizeof *p);
    if (!p)
        return dec_nomem(d);
    p->type = GEN_PART_TEXT;
    r->msgs[r->nmsgs++] = (struct gen_msg){.role = GEN_USER, .parts = p, .nparts = 1};
    return dec_copy(d, text, &p->text);
}

/* A text, or a list of them. */
static int decode_input(struct dec *d, const json_t *body, struct gen_req *r)
{
    const json_t *v = json_object_get(body, "input");
    bool list = json_is_array(v);
    size_t n = list ? json_array_size(v) : 1;
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)))
        return 0;
    if (!list && !json_is_string(v))
        return dec_fail(d, ERR_FORMAT, "input", "invalid input type");
    if (n > WIRE_MAX_INPUTS)
        return dec_fail(d, ERR_FORMAT, "input", "has %zu texts, more than %d", n, WIRE_MAX_INPUTS);
    r->msgs = arena_array(d->a, n, sizeof *r->msgs);
    if (!r->msgs)
        return dec_nomem(d);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = list ? json_array_get(v, i) : v;
        if (!json_is_string(one))
            return dec_fail(d, ERR_FORMAT, "input", "invalid input type");
        int rc = add_input(d, r, wire_json_str(one));
        if (rc)
            return rc;
    }
    return 0;
}

static int decode_prompt(struct dec *d, const json_t *body, struct gen_req *r)
{
    struct str text = STR_NONE;
    int rc = dec_str(d, body, "prompt", &text);
    if (rc < 0 || !text.n)
        return rc < 0 ? rc : 0;
    r->msgs = arena_array(d->a, 1, sizeof *r->msgs);
    return r->msgs ? add_input(d, r, text) : dec_nomem(d);
}

static int decode_rest(struct dec *d, const json_t *body, struct gen_req *r,
                       const char *const *known)
{
    json_t *extra = NULL;
    int rc = ollama_decode_options(d, body, r, &extra);
    if (!rc)
        rc = dec_unknown(d, body, known, &extra);
    if (!rc)
        rc = dec_extra(d, extra, r);
    json_decref(extra);
    r->load_only = r->nmsgs == 0;
    return rc;
}

static int embed_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    int64_t dimensions = 0;
    int rc = ollama_decode_model(d, body, r, ERR_NOT_FOUND);
    if (rc || (rc = decode_input(d, body, r)))
        return rc;
    r->truncate = true;
    if ((rc = dec_bool(d, body, "truncate", &r->truncate)) < 0)
        return rc;
    if ((rc = dec_int(d, body, "dimensions", INT32_MIN, INT32_MAX, &dimensions)) < 0)
        return rc;
    r->dimensions = dimensions > 0 ? (int32_t)dimensions : 0;
    return decode_rest(d, body, r, embed_known);
}

static int older_decode(struct dec *d, const json_t *body, struct gen_req *r)
{
    int rc = ollama_decode_model(d, body, r, ERR_FORMAT);
    if (rc || (rc = decode_prompt(d, body, r)))
        return rc;
    r->truncate = true;
    return decode_rest(d, body, r, older_known);
}

/* ---- requests, calling ---- */

static bool is_text(const struct gen_msg *m)
{
    return m->nparts == 1 && m->parts[0].type == GEN_PART_TEXT;
}

static int put_embed(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (!r->nmsgs && !r->load_only) /* it would ask for something else */
        return enc_unsupported(x, "input: none", "ollama-embed");
    jw_array(x->b, enc_top(x, "input"));
    for (size_t i = 0; i < r->nmsgs; i++) {
        if (!is_text(&r->msgs[i]))
            return err_set(x->e, ERR_UNSUPPORTED, "input[%zu]: must be a text", i);
        jw_item(x->b, r->msgs[i].parts[0].text);
    }
    jw_close(x->b, ']');
    jw_bool(x->b, enc_top(x, "truncate"), r->truncate);
    enc_top(x, "dimensions"); /* unknown in the older form, but not here */
    if (r->dimensions)
        jw_int(x->b, "dimensions", r->dimensions);
    return 0;
}

static int put_older(struct enc *x)
{
    const struct gen_req *r = x->req;
    if (r->nmsgs > 1)
        return enc_unsupported(x, "input: more than one text", "ollama-embeddings");
    if (r->nmsgs && (!is_text(&r->msgs[0]) || !r->msgs[0].parts[0].text.n))
        return enc_unsupported(x, "input: what is not a text", "ollama-embeddings");
    if (r->dimensions)
        return enc_unsupported(x, "dimensions", "ollama-embeddings");
    jw_str(x->b, enc_top(x, "prompt"), r->nmsgs ? r->msgs[0].parts[0].text : STR(""));
    return 0;
}

static int encode(struct enc *x, struct str model, int (*put)(struct enc *x))
{
    json_t *extra = NULL;
    int rc = enc_extra_load(x, GEN_DIALECT_OLLAMA, &extra);
    if (rc)
        return rc;
    buf_putc(x->b, '{');
    jw_str(x->b, enc_top(x, "model"), model);
    rc = put(x);
    if (!rc)
        rc = ollama_encode_options(x, extra);
    if (!rc)
        rc = enc_extra(x, extra, "");
    buf_putc(x->b, '}');
    json_decref(extra);
    return rc;
}

static int embed_encode(struct enc *x, struct str model)
{
    return encode(x, model, put_embed);
}

static int older_encode(struct enc *x, struct str model)
{
    return encode(x, model, put_older);
}

/* ---- answers, serving ---- */

struct state {
    struct buf rows; /* writing */
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

static int writer_new(struct wire_writer *w)
{
    return state_new(&w->state);
}

static void writer_free(struct wire_writer *w)
{
    state_free(w->state);
}

static int put_row(struct wire_writer *w, const struct gen_event *ev, struct err *e)
{
    struct state *s = w->state;
    jw_open(&s->rows, '[');
    for (size_t i = 0; i < ev->nembedding; i++)
        jw_number(&s->rows, ev->embedding[i]);
    jw_close(&s->rows, ']');
    if (buf_failed(&s->rows))
        return err_set(e, ERR_TOO_LARGE, "the rows are larger than %d bytes", WIRE_MAX_ROWS);
    return 0;
}

static int write_event(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                       void (*answer)(const struct wire_writer *w, struct buf *b), struct err *e)
{
    switch (ev->type) {
    case GEN_EV_EMBEDDING: return put_row(w, ev, e);
    case GEN_EV_DONE: answer(w, out); return 0;
    case GEN_EV_ERROR: ollama_error(ev->err, out); return 0;
    case GEN_EV_START:
    case GEN_EV_USAGE: return 0;
    default: return err_set(e, ERR_UNSUPPORTED, "text in an answer of embeddings");
    }
}

static void embed_answer(const struct wire_writer *w, struct buf *b)
{
    const struct state *s = w->state;
    buf_putc(b, '{');
    jw_str(b, "model", w->model.n ? buf_str(&w->model) : w->req->model);
    jw_array(b, "embeddings");
    buf_str_add(b, buf_str(&s->rows));
    jw_close(b, ']');
    if (!w->req->load_only)
        ollama_put_times(w, b);
    jw_close(b, '}');
}

/* One row, or an empty one. */
static void older_answer(const struct wire_writer *w, struct buf *b)
{
    const struct state *s = w->state;
    buf_puts(b, "{\"embedding\":");
    buf_str_add(b, s->rows.n ? buf_str(&s->rows) : STR("[]"));
    buf_putc(b, '}');
}

static int embed_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                       struct err *e)
{
    return write_event(w, ev, out, embed_answer, e);
}

static int older_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                       struct err *e)
{
    const struct state *s = w->state;
    if (ev->type == GEN_EV_EMBEDDING && s->rows.n)
        return err_set(e, ERR_INVAL, "a second row where one was asked for");
    return write_event(w, ev, out, older_answer, e);
}

/* ---- answers, calling ---- */

static int reader_new(struct wire_reader *r)
{
    return state_new(&r->state);
}

static void reader_free(struct wire_reader *r)
{
    state_free(r->state);
}

static int read_event(struct wire_reader *r, struct str name, struct str data, struct err *e)
{
    (void)r;
    (void)name;
    (void)data;
    return err_set(e, ERR_UPSTREAM, "a stream where rows of embeddings were asked for");
}

static int read_row(struct wire_reader *r, const json_t *v, size_t i, struct err *e)
{
    size_t n = json_array_size(v);
    float *row = arena_array(r->tmp, n, sizeof *row);
    if (!row)
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    for (size_t k = 0; k < n; k++) {
        const json_t *x = json_array_get(v, k);
        row[k] = (float)json_number_value(x);
        if (!json_is_number(x) || !isfinite(row[k]))
            return err_set(e, ERR_UPSTREAM, "embeddings[%zu]: is not a number at %zu", i, k);
    }
    if (!n)
        return err_set(e, ERR_UPSTREAM, "embeddings[%zu]: must hold numbers", i);
    reader_send(
        r, &(struct gen_event){
               .type = GEN_EV_EMBEDDING, .index = (int32_t)i, .embedding = row, .nembedding = n});
    arena_clear(r->tmp);
    return 0;
}

static int read_error(const json_t *body, struct err *e)
{
    const json_t *error = json_object_get(body, "error");
    return error && !json_is_null(error) ? wire_error_json(body, 0, e) : 0;
}

static int embed_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    struct state *s = r->state;
    const json_t *rows = json_object_get(body, "embeddings");
    size_t n = json_array_size(rows);
    int rc = read_error(body, e);
    if (!rc && (!json_is_array(rows) || n > WIRE_MAX_INPUTS))
        rc = err_set(e, ERR_UPSTREAM, "the answer has %zu embeddings", n);
    if (rc)
        return rc;
    reader_start(r, wire_json_get_str(body, "model"), STR_NONE);
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_row(r, json_array_get(rows, i), i, e);
    if (rc)
        return rc;
    ollama_read_times(r, body);
    s->whole = true;
    return 0;
}

static int older_read_body(struct wire_reader *r, const json_t *body, struct err *e)
{
    struct state *s = r->state;
    const json_t *row = json_object_get(body, "embedding");
    int rc = read_error(body, e);
    if (!rc && !json_is_array(row))
        rc = err_set(e, ERR_UPSTREAM, "the answer has no embedding");
    if (rc)
        return rc;
    reader_start(r, STR_NONE, STR_NONE);
    if (json_array_size(row))
        rc = read_row(r, row, 0, e);
    s->whole = !rc;
    return rc;
}

static bool read_complete(const struct wire_reader *r, bool clean_end)
{
    const struct state *s = r->state;
    return s->whole && clean_end;
}

static void read_done(struct wire_reader *r)
{
    reader_send(r, &(struct gen_event){.type = GEN_EV_DONE, .reason = GEN_END_STOP});
}

const struct wire_codec ollama_embed_codec = {
    .name = "ollama-embed",
    .dialect = GEN_DIALECT_OLLAMA,
    .kinds = 1u << GEN_EMBED,
    .kind = GEN_EMBED,
    .decode = embed_decode,
    .encode = embed_encode,
    .read_event = read_event,
    .read_body = embed_read_body,
    .read_done = read_done,
    .read_complete = read_complete,
    .reader_new = reader_new,
    .reader_free = reader_free,
    .write = embed_write,
    .writer_new = writer_new,
    .writer_free = writer_free,
    .error = ollama_error,
    .keepalive = "",
};

const struct wire_codec ollama_embeddings_codec = {
    .name = "ollama-embeddings",
    .dialect = GEN_DIALECT_OLLAMA,
    .kinds = 1u << GEN_EMBED,
    .kind = GEN_EMBED,
    .decode = older_decode,
    .encode = older_encode,
    .read_event = read_event,
    .read_body = older_read_body,
    .read_done = read_done,
    .read_complete = read_complete,
    .reader_new = reader_new,
    .reader_free = reader_free,
    .write = older_write,
    .writer_new = writer_new,
    .writer_free = writer_free,
    .error = ollama_error,
    .keepalive = "",
};
