/* wire.c: the table of forms and the public functions, which check what is common to all
 * (limits, order of events, one end) and hand the rest to the dialect's codec. A new form is a
 * row here and its files (docs/add-a-dialect.md). */
#include "responses_int.h"

#include <stdio.h>
#include <stdlib.h>

/* A bare prompt that came as a chat is answered as one. */
const struct wire_codec openai_codec = {
    .name = "openai",
    .dialect = GEN_DIALECT_OPENAI,
    .kinds = 1u << GEN_CHAT,
    .kind = GEN_CHAT,
    .decode = openai_decode,
    .encode = openai_encode,
    .read_event = openai_read_event,
    .read_body = openai_read_body,
    .read_done = openai_read_done,
    .read_complete = openai_read_complete,
    .reader_new = openai_reader_new,
    .reader_free = openai_reader_free,
    .write = openai_write,
    .writer_new = openai_writer_new,
    .writer_free = openai_writer_free,
    .error = openai_error,
    .keepalive = ": keep-alive\n\n",
};

const struct wire_codec anthropic_codec = {
    .name = "anthropic",
    .dialect = GEN_DIALECT_ANTHROPIC,
    .kinds = 1u << GEN_CHAT,
    .kind = GEN_CHAT,
    .decode = anthropic_decode,
    .encode = anthropic_encode,
    .read_event = anthropic_read_event,
    .read_body = anthropic_read_body,
    .read_done = anthropic_read_done,
    .read_complete = anthropic_read_complete,
    .reader_new = anthropic_reader_new,
    .reader_free = anthropic_reader_free,
    .write = anthropic_write,
    .writer_new = anthropic_writer_new,
    .writer_free = anthropic_writer_free,
    .error = anthropic_error,
    .keepalive = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
};

/* A bare prompt, or a place to fill in where a suffix came with it. */
const struct wire_codec completions_codec = {
    .name = "completions",
    .dialect = GEN_DIALECT_OPENAI,
    .kinds = 1u << GEN_RAW | 1u << GEN_INFILL,
    .kind = GEN_RAW,
    .decode = completions_decode,
    .encode = completions_encode,
    .read_event = completions_read_event,
    .read_body = completions_read_body,
    .read_done = completions_read_done,
    .read_complete = completions_read_complete,
    .reader_new = completions_reader_new,
    .reader_free = completions_reader_free,
    .write = completions_write,
    .writer_new = completions_writer_new,
    .writer_free = completions_writer_free,
    .error = openai_error,
    .keepalive = ": keep-alive\n\n",
};

static const struct wire_codec llama_codec = {
    .name = "llama-completion",
    .dialect = GEN_DIALECT_LLAMA,
    .kinds = 1u << GEN_RAW,
    .kind = GEN_RAW,
    .decode = llama_decode,
    .write = llama_write,
    .writer_new = llama_writer_new,
    .writer_free = llama_writer_free,
    .error = llama_error,
    .keepalive = ": keep-alive\n\n",
};

static const struct wire_codec infill_codec = {
    .name = "llama-infill",
    .dialect = GEN_DIALECT_LLAMA,
    .kinds = 1u << GEN_INFILL,
    .kind = GEN_INFILL,
    .decode = llama_infill_decode,
    .write = llama_write,
    .writer_new = llama_writer_new,
    .writer_free = llama_writer_free,
    .error = llama_error,
    .keepalive = ": keep-alive\n\n",
};

static const struct wire_codec responses_codec = {
    .name = "responses",
    .dialect = GEN_DIALECT_RESPONSES,
    .kinds = 1u << GEN_CHAT,
    .kind = GEN_CHAT,
    .max_event = WIRE_MAX_ANSWER, /* some hold the whole answer */
    .decode = responses_decode,
    .encode = responses_encode,
    .read_event = responses_read_event,
    .read_body = responses_read_body,
    .read_done = responses_read_done,
    .read_complete = responses_read_complete,
    .reader_new = responses_reader_new,
    .reader_free = responses_reader_free,
    .write = responses_write,
    .writer_new = responses_writer_new,
    .writer_free = responses_writer_free,
    .whole = responses_whole,
    .error = responses_error,
    .keepalive = ": keep-alive\n\n",
};

static const struct wire_codec lmstudio_codec = {
    .name = "lmstudio",
    .dialect = GEN_DIALECT_LMSTUDIO,
    .kinds = 1u << GEN_CHAT,
    .kind = GEN_CHAT,
    .decode = lmstudio_decode,
    .write = lmstudio_write,
    .writer_new = lmstudio_writer_new,
    .writer_free = lmstudio_writer_free,
    .whole = lmstudio_whole,
    .error = lmstudio_error,
    .keepalive = ": keep-alive\n\n",
};

static const struct wire_codec *const forms[WIRE_FORMS] = {
    [WIRE_OPENAI] = &openai_codec,
    [WIRE_ANTHROPIC] = &anthropic_codec,
    [WIRE_EMBEDDINGS] = &embeddings_codec,
    [WIRE_COMPLETIONS] = &completions_codec,
    [WIRE_RESPONSES] = &responses_codec,
    [WIRE_OLLAMA_CHAT] = &ollama_chat_codec,
    [WIRE_OLLAMA_GENERATE] = &ollama_generate_codec,
    [WIRE_OLLAMA_EMBED] = &ollama_embed_codec,
    [WIRE_OLLAMA_EMBEDDINGS] = &ollama_embeddings_codec,
    [WIRE_LLAMA_COMPLETION] = &llama_codec,
    [WIRE_LLAMA_INFILL] = &infill_codec,
    [WIRE_LMSTUDIO] = &lmstudio_codec,
};

static const char *const dialects[] = {
    [GEN_DIALECT_NONE] = "none",           [GEN_DIALECT_OPENAI] = "openai",
    [GEN_DIALECT_ANTHROPIC] = "anthropic", [GEN_DIALECT_RESPONSES] = "responses",
    [GEN_DIALECT_OLLAMA] = "ollama",       [GEN_DIALECT_LMSTUDIO] = "lmstudio",
    [GEN_DIALECT_LLAMA] = "llama",
};
#define NDIALECTS (sizeof dialects / sizeof dialects[0])

/* ---- forms ---- */

static const struct wire_codec *codec_of(enum wire_form f)
{
    return (unsigned)f < WIRE_FORMS ? forms[f] : NULL;
}

static int find_codec(enum wire_form f, const struct wire_codec **out, struct err *e)
{
    *out = codec_of(f);
    return *out ? 0 : err_set(e, ERR_UNSUPPORTED, "no dialect has the form %d", (int)f);
}

static bool carries(const struct wire_codec *codec, enum gen_kind kind)
{
    return codec->kinds >> kind & 1;
}

const char *wire_form_name(enum wire_form f)
{
    const struct wire_codec *codec = codec_of(f);
    return codec ? codec->name : "none";
}

bool wire_form_find(struct str name, enum wire_form *out)
{
    for (unsigned f = 0; f < WIRE_FORMS; f++) {
        if (forms[f] && str_is(name, forms[f]->name)) {
            *out = (enum wire_form)f;
            return true;
        }
    }
    return false;
}

bool wire_form_known(enum wire_form f)
{
    return codec_of(f) != NULL;
}

enum gen_dialect wire_form_dialect(enum wire_form f)
{
    const struct wire_codec *codec = codec_of(f);
    return codec ? codec->dialect : GEN_DIALECT_NONE;
}

enum wire_form wire_form_of(enum gen_dialect d, enum gen_kind kind)
{
    for (unsigned f = 0; f < WIRE_FORMS; f++) {
        if (forms[f] && forms[f]->dialect == d && carries(forms[f], kind))
            return (enum wire_form)f;
    }
    return WIRE_NONE;
}

const char *wire_dialect_name(enum gen_dialect d)
{
    return (unsigned)d < NDIALECTS ? dialects[d] : dialects[0];
}

bool wire_dialect_find(struct str name, enum gen_dialect *out)
{
    for (unsigned d = 1; d < NDIALECTS; d++) {
        if (str_is(name, dialects[d])) {
            *out = (enum gen_dialect)d;
            return true;
        }
    }
    return false;
}

/* ---- requests ---- */

static int decode(enum wire_form f, bool counting, struct str body, struct arena *arena,
                  struct gen_req **out, struct err *e)
{
    const struct wire_codec *codec;
    json_t *v = NULL;
    int rc = find_codec(f, &codec, e);
    if (rc)
        return rc;
    if (body.n > WIRE_MAX_BODY)
        return err_set(e, ERR_TOO_LARGE, "the body is larger than %d bytes", WIRE_MAX_BODY);
    rc = wire_json_load(body, &v, e);
    if (rc)
        return rc;
    struct dec dec = {.a = arena, .e = e, .counting = counting};
    struct gen_req *r = arena_alloc(arena, sizeof *r);
    if (!r)
        rc = dec_nomem(&dec);
    else if (!json_is_object(v))
        rc = err_set(e, ERR_FORMAT, "the body must be a JSON object");
    else {
        r->arena = arena;
        r->kind = codec->kind;
        r->dialect = codec->dialect;
        r->parallel_tools = -1;
        r->n = 1;
        r->zone = GEN_CLOUD;
        rc = codec->decode(&dec, v, r);
    }
    json_decref(v);
    if (!rc)
        *out = r;
    return rc;
}

int wire_request_decode(enum wire_form f, struct str body, struct arena *arena,
                        struct gen_req **out, struct err *e)
{
    return decode(f, false, body, arena, out, e);
}

int wire_count_decode(enum wire_form f, struct str body, struct arena *arena, struct gen_req **out,
                      struct err *e)
{
    return decode(f, true, body, arena, out, e);
}

int wire_request_encode(enum wire_form f, const struct gen_req *req, struct str model,
                        const struct wire_quirks *quirks, struct buf *out, struct err *e)
{
    static const struct wire_quirks none;
    static const char *const kinds[] = {
        "chats", "bare prompts", "places to fill in", "embeddings", "rerankings",
    };
    const struct wire_codec *codec;
    int rc = find_codec(f, &codec, e);
    if (rc)
        return rc;
    if (!codec->encode)
        return err_set(e, ERR_UNSUPPORTED, "the form %s is served, not called", codec->name);
    if (!carries(codec, req->kind))
        return err_set(e, ERR_UNSUPPORTED, "the %s dialect carries no %s here", codec->name,
                       kinds[req->kind]);
    if (req->load_only && codec->dialect != GEN_DIALECT_OLLAMA)
        return err_set(e, ERR_UNSUPPORTED, "the %s dialect cannot ask that a model be loaded",
                       codec->name);
    if (req->kind == GEN_CHAT && !req->nmsgs && !req->load_only && f != WIRE_RESPONSES)
        return err_set(e, ERR_INVAL, "messages: must not be empty");
    size_t before = out->n;
    struct enc x = {.b = out, .e = e, .req = req, .q = quirks ? quirks : &none};
    rc = codec->encode(&x, model);
    if (!rc && buf_failed(out))
        rc = err_set(e, ERR_TOO_LARGE, "the request does not fit into %zu bytes", out->max);
    if (rc && !buf_failed(out))
        buf_cut(out, before);
    return rc;
}

/* ---- writers ---- */

int wire_writer_new(enum wire_form f, const struct gen_req *req, struct str id, int64_t created,
                    struct wire_writer **out, struct err *e)
{
    const struct wire_codec *codec;
    int rc = find_codec(f, &codec, e);
    if (rc)
        return rc;
    if (!id.n || id.n > 32)
        return err_set(e, ERR_INVAL, "an answer's id has 1 to 32 characters");
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!ok)
            return err_set(e, ERR_INVAL, "an answer's id is letters and digits");
    }
    struct wire_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    w->codec = codec;
    w->req = req;
    w->created = created;
    w->stream = req->stream && req->kind != GEN_EMBED;
    memcpy(w->id, id.p, id.n);
    buf_init(&w->model, 1 << 16);
    if (codec->writer_new(w)) {
        wire_writer_free(w);
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    }
    *out = w;
    return 0;
}

void wire_writer_free(struct wire_writer *w)
{
    if (!w)
        return;
    w->codec->writer_free(w);
    buf_done(&w->model);
    free(w);
}

const char *wire_writer_type(const struct wire_writer *w)
{
    if (!w->stream)
        return "application/json";
    return w->codec->lines ? "application/x-ndjson" : "text/event-stream";
}

int wire_writer_event(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e)
{
    if (w->ended)
        return err_set(e, ERR_INVAL, "an event after the answer's end");
    if ((ev->type == GEN_EV_EMBEDDING) && w->req->kind != GEN_EMBED)
        return err_set(e, ERR_UNSUPPORTED, "an embedding in a chat answer");
    if (ev->type == GEN_EV_START) {
        buf_clear(&w->model);
        buf_str_add(&w->model, ev->text);
    }
    if (ev->type == GEN_EV_USAGE) {
        w->usage = ev->usage;
        w->times = ev->times;
        w->has_usage = true;
    }
    int rc = w->codec->write(w, ev, out, e);
    if (rc)
        return rc;
    w->ended = ev->type == GEN_EV_DONE || ev->type == GEN_EV_ERROR;
    if (buf_failed(out))
        return err_set(e, ERR_TOO_LARGE, "the answer does not fit into %zu bytes", out->max);
    return 0;
}

struct str wire_writer_whole(const struct wire_writer *w)
{
    return w->codec->whole && w->ended ? w->codec->whole(w) : STR("");
}

void wire_error_body(enum wire_form f, const struct err *err, struct buf *out)
{
    const struct wire_codec *codec = codec_of(f);
    (codec ? codec : &openai_codec)->error(err, out);
}

void wire_keepalive(enum wire_form f, struct buf *out)
{
    const struct wire_codec *codec = codec_of(f);
    buf_puts(out, (codec ? codec : &openai_codec)->keepalive);
}

/* ---- readers ---- */

void reader_send(struct wire_reader *r, const struct gen_event *ev)
{
    if (r->cancelled)
        return;
    enum gen_verdict v = r->sink.event(r->sink.ctx, ev);
    if (v > r->verdict)
        r->verdict = v;
    r->cancelled = v == GEN_CANCEL;
}

void reader_start(struct wire_reader *r, struct str model, struct str id)
{
    if (r->started)
        return;
    r->started = true;
    reader_send(r, &(struct gen_event){.type = GEN_EV_START, .text = model, .id = id});
}

static int on_sse(void *ctx, struct str name, struct str data, struct err *e)
{
    struct wire_reader *r = ctx;
    if (r->cancelled)
        return 0;
    r->nevents++;
    int rc = r->codec->read_event(r, name, data, e);
    arena_clear(r->tmp);
    return rc;
}

int wire_reader_new(enum wire_form f, bool streaming, struct gen_sink sink,
                    struct wire_reader **out, struct err *e)
{
    const struct wire_codec *codec;
    int rc = find_codec(f, &codec, e);
    if (rc)
        return rc;
    if (!codec->encode)
        return err_set(e, ERR_UNSUPPORTED, "the form %s is served, not called", codec->name);
    bool rows = codec->kind == GEN_EMBED;
    if (streaming && rows)
        return err_set(e, ERR_UPSTREAM, "a stream where rows of embeddings were asked for");
    struct wire_reader *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    r->codec = codec;
    r->streaming = streaming;
    r->sink = sink;
    sse_init(&r->sse, on_sse, r);
    if (codec->max_event)
        r->sse.line.max = r->sse.data.max = codec->max_event;
    r->sse.lines = codec->lines;
    buf_init(&r->body, rows ? WIRE_MAX_ROWS : WIRE_MAX_ANSWER);
    r->tmp = arena_new(4 * (size_t)WIRE_MAX_ANSWER);
    if (!r->tmp || codec->reader_new(r)) {
        wire_reader_free(r);
        return err_set(e, ERR_NOMEM, "out of memory for the answer");
    }
    *out = r;
    return 0;
}

void wire_reader_free(struct wire_reader *r)
{
    if (!r)
        return;
    r->codec->reader_free(r);
    sse_done(&r->sse);
    buf_done(&r->body);
    arena_free(r->tmp);
    free(r);
}

static int fail(struct wire_reader *r, const struct err *why, struct err *e)
{
    r->failed = *why;
    if (e)
        *e = *why;
    return why->code;
}

int wire_reader_feed(struct wire_reader *r, struct str bytes, enum gen_verdict *verdict,
                     struct err *e)
{
    struct err mine = {0};
    r->verdict = GEN_GO;
    if (r->failed.code)
        return fail(r, &r->failed, e);
    if (r->streaming) {
        if (sse_feed(&r->sse, bytes, &mine))
            return fail(r, &mine, e);
    } else {
        buf_str_add(&r->body, bytes);
        if (buf_failed(&r->body)) {
            err_set(&mine, ERR_UPSTREAM, "the answer is larger than %zu bytes", r->body.max);
            return fail(r, &mine, e);
        }
    }
    if (verdict)
        *verdict = r->cancelled ? GEN_CANCEL : r->verdict;
    return 0;
}

bool wire_reader_complete(const struct wire_reader *r)
{
    return r->streaming && r->codec->read_complete(r, false);
}

static int read_whole(struct wire_reader *r, struct err *e)
{
    json_t *v = NULL;
    struct err why;
    if (!r->body.n)
        return err_set(e, ERR_CUT, "the answer is empty");
    if (wire_json_load(buf_str(&r->body), &v, &why))
        return err_set_at(e, ERR_UPSTREAM, why.pos, "the answer: %s", why.msg);
    int rc = r->codec->read_body(r, v, e);
    json_decref(v);
    arena_clear(r->tmp);
    return rc;
}

int wire_reader_end(struct wire_reader *r, struct err *e)
{
    const struct wire_codec *codec = r->codec;
    struct err mine = {0};
    if (r->failed.code)
        return fail(r, &r->failed, e);
    if (r->ended || r->cancelled)
        return 0;
    r->ended = true;
    if (!r->streaming) {
        if (read_whole(r, &mine))
            return fail(r, &mine, e);
    } else if (sse_end(&r->sse, &mine)) {
        /* What is malformed only because it was cut is a cut stream. */
        if (mine.code == ERR_UPSTREAM && mine.pos)
            err_set(&mine, ERR_CUT, "the stream ended in the middle of an event");
        return fail(r, &mine, e);
    }
    if (!codec->read_complete(r, true)) {
        err_set(&mine, ERR_CUT, "the stream ended after %llu events without its terminal event",
                (unsigned long long)r->nevents);
        return fail(r, &mine, e);
    }
    codec->read_done(r);
    return 0;
}
