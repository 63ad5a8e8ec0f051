/* wire_int.h: what the codecs of this folder share: reading a request's fields with errors that
 * name them, writing JSON into a buffer, the SSE reader, and the table of dialects. */
#ifndef WEIR_WIRE_INT_H
#define WEIR_WIRE_INT_H

#include "wire.h"

#include <jansson.h>

enum {
    WIRE_MAX_BODY = 64 << 20,   /* of a request; the server's own limit is lower */
    WIRE_MAX_ANSWER = 16 << 20, /* of an answer that is not streamed */
    WIRE_MAX_ROWS = 64 << 20,   /* of an answer with embeddings */
    WIRE_MAX_INPUTS = 2048,     /* texts to embed in one request */
    WIRE_MAX_EVENT = 1 << 20,   /* of one SSE event */
    WIRE_MAX_TOOLS = 256,       /* tool calls of one choice */
    WIRE_MAX_CHOICES = 128,
    WIRE_MAX_STOPS = 64,
};

/* A file of a provider's own storage, named in gen_part.url: "file-id:ID". */
#define WIRE_FILE_ID "file-id:"

/* ---- reading (json_util.c) ---- */

/* ERR_FORMAT with the byte offset; the caller owns *out. */
int wire_json_load(struct str text, json_t **out, struct err *e);
/* Compact text of any value: keys in their order, numbers at their shortest. */
void wire_json_dump(const json_t *v, struct buf *b);
struct str wire_json_str(const json_t *v);                    /* {NULL,0} if not a string */
struct str wire_json_get_str(const json_t *o, const char *k); /* the same */
/* A count of tokens: 0 where absent, negative or not an integer. */
int64_t wire_json_count(const json_t *o, const char *k);

/* Where a request's decoder stands, so that an error can name it: "messages[3].content[1].text". */
struct dec {
    struct arena *a;
    struct err *e;
    bool wide;     /* sampling fields have llama-server's ranges: what is out of one is brought to
                      its end; and its meanings: a seed of -1 is none */
    bool sampling; /* dec_sampling has read its fields: they are known */
    const char *list, *sub; /* NULL: not inside one */
    size_t i, j;
    bool counting; /* nobody answers: see wire_count_decode */
};

int dec_fail(struct dec *d, int code, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int dec_nomem(struct dec *d);
/* Each returns 1 and fills *out, 0 when the field is absent or null, or an error naming it. */
int dec_str(struct dec *d, const json_t *o, const char *key, struct str *out);
int dec_int(struct dec *d, const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out);
int dec_float(struct dec *d, const json_t *o, const char *key, double lo, double hi, float *out);
int dec_bool(struct dec *d, const json_t *o, const char *key, bool *out);
int dec_object(struct dec *d, const json_t *o, const char *key, json_t **out);
int dec_array(struct dec *d, const json_t *o, const char *key, json_t **out);
/* Copies; 0 or ERR_NOMEM. */
int dec_copy(struct dec *d, struct str s, struct str *out);
/* The text of any value; 0 or ERR_NOMEM. */
int dec_raw(struct dec *d, const json_t *v, struct str *out);
/* A string or an array of strings. */
int dec_stops(struct dec *d, const json_t *o, const char *key, struct gen_req *r);
/* The fields of `o` that are not in `known` (NULL-terminated) join `extra`, which is made when
 * needed; then extra's text goes to r->extra. */
int dec_unknown(struct dec *d, const json_t *o, const char *const *known, json_t **extra);
int dec_extra(struct dec *d, const json_t *extra, struct gen_req *r);
/* extra[key] = v, made when needed. */
int dec_keep(struct dec *d, json_t **extra, const char *key, json_t *v);
/* The sampling fields of the OpenAI dialect and its extensions (sampling.c). */
int dec_sampling(struct dec *d, const json_t *body, struct gen_sampling *s);
bool dec_is_sampling(const char *key);
/* response_format, or llama-server's json_schema, and grammar. */
int dec_format(struct dec *d, const json_t *body, struct gen_req *r);
/* How much to think, in the words servers have for it (effort.c). */
int dec_effort(struct dec *d, const json_t *body, struct gen_req *r, json_t **extra);
/* stream and stream_options. */
int dec_stream(struct dec *d, const json_t *body, struct gen_req *r);
/* `prompt` in any of its shapes into r's prompt and the ones after it (prompts.c). */
int dec_prompts(struct dec *d, const json_t *body, struct gen_req *r);
/* n choices of each prompt; refused, naming key, where all are too many. */
int dec_choices(struct dec *d, const char *key, int64_t n, struct gen_req *r);
/* Prompt i of r: 0 is its own, i the one in more[i - 1]. */
struct gen_prompt wire_prompt(const struct gen_req *r, size_t i);
/* "data:MIME;base64,DATA" into mime and data, anything else into url. */
int dec_url(struct dec *d, struct str url, struct gen_part *p);

/* ---- writing (json_out.c) ---- */

/* Commas come by themselves: one is written unless the text ends in an opening bracket or a colon.
 */
void jw_open(struct buf *b, char bracket);
void jw_close(struct buf *b, char bracket);
void jw_key(struct buf *b, const char *key);
void jw_str(struct buf *b, const char *key, struct str v);
void jw_int(struct buf *b, const char *key, int64_t v);
void jw_bool(struct buf *b, const char *key, bool v);
void jw_null(struct buf *b, const char *key);
void jw_float(struct buf *b, const char *key, float v); /* the shortest text that reads back */
void jw_number(struct buf *b, float v);                 /* in an array; quick, and reads back */
void jw_item(struct buf *b, struct str v);              /* a string in an array */
void jw_item_int(struct buf *b, int64_t v);
/* A log-probability: what JSON has no number for is -9999, as OpenAI writes it. */
void jw_logprob(struct buf *b, const char *key, float v);
void jw_logprob_value(struct buf *b, float v);  /* after its key */
void jw_str_key(struct buf *b, struct str key); /* a key of any bytes */
void jw_object(struct buf *b, const char *key); /* opens */
void jw_array(struct buf *b, const char *key);

/* An encoder: the body so far, and the top-level keys in it. */
struct enc {
    struct buf *b;
    struct err *e;
    const struct gen_req *req;
    const struct wire_quirks *q; /* never NULL */
    const char *keys[48];
    size_t nkeys;
};
/* Remembers a top-level key and returns it, so that extra never overrides it. */
const char *enc_top(struct enc *x, const char *key);
int enc_unsupported(struct enc *x, const char *field, const char *dialect);
/* JSON text of the caller's into the body: parsed, so that the body is always valid. object: it
 * must be one, and empty text is {}. */
int enc_raw(struct enc *x, const char *key, struct str text, bool object, const char *what);
/* What dec_sampling reads; refused where a value is out of OpenAI's ranges. */
int enc_sampling(struct enc *x);
void put_sampling(struct enc *x); /* the same, as it is */
int enc_format(struct enc *x);    /* what dec_format reads */
void enc_stream(struct enc *x);   /* what dec_stream reads */
void enc_prompts(struct enc *x);  /* what dec_prompts reads */
/* The members of req->extra that stand at top level, except `but`. */
int enc_extra(struct enc *x, const json_t *extra, const char *but);
/* req->extra parsed when it belongs to dialect d, else NULL. */
int enc_extra_load(struct enc *x, enum gen_dialect d, json_t **extra);

/* ---- streams (sse.c) ---- */

struct sse {
    struct buf line, data, name;
    bool cr;      /* the last byte was CR: an LF that follows belongs to it */
    bool started; /* the first line has been seen (a byte order mark may stand before it) */
    bool has_data;
    bool lines; /* lines of JSON instead: each is an event without a name */
    int (*event)(void *ctx, struct str name, struct str data, struct err *e);
    void *ctx;
};
void sse_init(struct sse *s,
              int (*event)(void *ctx, struct str name, struct str data, struct err *e), void *ctx);
void sse_done(struct sse *s);
/* Stops at the first error of event(), and returns it; ERR_UPSTREAM past WIRE_MAX_EVENT. */
int sse_feed(struct sse *s, struct str bytes, struct err *e);
/* The body has ended: an event whose closing blank line is missing still counts, as clients of
 * these APIs have it. */
int sse_end(struct sse *s, struct err *e);

/* ---- the dialects' rows (wire.c) ---- */

struct wire_codec;

struct wire_reader {
    const struct wire_codec *codec;
    bool streaming;
    struct gen_sink sink;
    enum gen_verdict verdict; /* the strictest so far of this feed */
    bool cancelled;           /* the sink has said CANCEL: it hears no more */
    bool started;             /* START was sent */
    bool complete;            /* the terminal event was seen */
    bool ended;               /* wire_reader_end has been called */
    struct err failed;        /* sticky */
    struct sse sse;
    struct buf body;   /* not streaming */
    uint64_t nevents;  /* for error messages */
    struct arena *tmp; /* cleared after every event */
    void *state;       /* the dialect's */
};
void reader_send(struct wire_reader *r, const struct gen_event *ev);
void reader_start(struct wire_reader *r, struct str model, struct str id); /* once */

struct wire_writer {
    const struct wire_codec *codec;
    const struct gen_req *req;
    char id[48];
    int64_t created;
    bool stream;
    bool ended;
    struct gen_usage usage;
    struct gen_times times; /* as they came with the usage */
    bool has_usage;
    struct buf model;
    void *state;
};

struct wire_codec {
    const char *name; /* of the form */
    enum gen_dialect dialect;
    unsigned kinds;     /* 1 << enum gen_kind: requests that it carries */
    enum gen_kind kind; /* of a request as decode() gets it; decode may make another of `kinds` of
                           it */
    size_t max_event;   /* bytes of one streamed event; 0: WIRE_MAX_EVENT */
    bool lines; /* streams are lines of JSON (application/x-ndjson), not server-sent events */
    int (*decode)(struct dec *d, const json_t *body, struct gen_req *r);
    int (*encode)(struct enc *x, struct str model); /* NULL: no provider speaks it, and there is no
                                                       reader either */
    /* One event of a streamed answer (data is JSON or the dialect's end mark). */
    int (*read_event)(struct wire_reader *r, struct str name, struct str data, struct err *e);
    int (*read_body)(struct wire_reader *r, const json_t *body, struct err *e);
    void (*read_done)(struct wire_reader *r); /* sends DONE and what must come before it */
    bool (*read_complete)(const struct wire_reader *r, bool clean_end);
    int (*reader_new)(struct wire_reader *r);
    void (*reader_free)(struct wire_reader *r);
    int (*write)(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e);
    int (*writer_new)(struct wire_writer *w);
    void (*writer_free)(struct wire_writer *w);
    struct str (*whole)(const struct wire_writer *w); /* NULL: wire_writer_whole gives nothing */
    void (*error)(const struct err *err, struct buf *out); /* the error body */
    const char *keepalive;
};
/* What was said so far, to tell it from what a model wrote (extras.c). */
struct wire_said {
    uint64_t hash;
    size_t n;
};
void said_add(struct wire_said *s, struct str text);
/* "weir":{"raw":…} where raw is known and not what was given; llama-server's timings where times
 * are known. */
void put_weir(struct buf *b, struct str raw, const struct wire_said *given);
void put_timings(struct buf *b, const struct wire_writer *w);

/* The rows of wire.c; each stands in its own files. */
extern const struct wire_codec openai_codec, anthropic_codec, embeddings_codec, completions_codec;
extern const struct wire_codec ollama_chat_codec, ollama_generate_codec;
extern const struct wire_codec ollama_embed_codec, ollama_embeddings_codec;

/* openai_req.c, openai_enc.c, openai_in.c, openai_out.c and the same for anthropic */
int openai_decode(struct dec *d, const json_t *body, struct gen_req *r);
int openai_encode(struct enc *x, struct str model);
int openai_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e);
int openai_writer_new(struct wire_writer *w);
void openai_writer_free(struct wire_writer *w);
int openai_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e);
int openai_read_body(struct wire_reader *r, const json_t *body, struct err *e);
void openai_read_done(struct wire_reader *r);
bool openai_read_complete(const struct wire_reader *r, bool clean_end);
int openai_reader_new(struct wire_reader *r);
void openai_reader_free(struct wire_reader *r);
void openai_error(const struct err *err, struct buf *out);
/* Shared with completions. */
void openai_put_usage(struct buf *b, const struct gen_usage *u);
void openai_read_usage(struct wire_reader *r, const json_t *u);

/* LM Studio's own path is served, not called. */
int lmstudio_decode(struct dec *d, const json_t *body, struct gen_req *r);
int lmstudio_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                   struct err *e);
int lmstudio_writer_new(struct wire_writer *w);
void lmstudio_writer_free(struct wire_writer *w);
struct str lmstudio_whole(const struct wire_writer *w);
void lmstudio_error(const struct err *err, struct buf *out);
void lmstudio_put_error(const struct err *err, struct buf *out); /* the object inside it */

/* llama-server's own paths are served, not called. */
int llama_decode(struct dec *d, const json_t *body, struct gen_req *r);
int llama_infill_decode(struct dec *d, const json_t *body, struct gen_req *r);
int llama_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out, struct err *e);
int llama_writer_new(struct wire_writer *w);
void llama_writer_free(struct wire_writer *w);
void llama_error(const struct err *err, struct buf *out);

int completions_decode(struct dec *d, const json_t *body, struct gen_req *r);
int completions_encode(struct enc *x, struct str model);
int completions_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e);
int completions_writer_new(struct wire_writer *w);
void completions_writer_free(struct wire_writer *w);
int completions_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e);
int completions_read_body(struct wire_reader *r, const json_t *body, struct err *e);
void completions_read_done(struct wire_reader *r);
bool completions_read_complete(const struct wire_reader *r, bool clean_end);
int completions_reader_new(struct wire_reader *r);
void completions_reader_free(struct wire_reader *r);

int anthropic_decode(struct dec *d, const json_t *body, struct gen_req *r);
int anthropic_encode(struct enc *x, struct str model);
int anthropic_write(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                    struct err *e);
int anthropic_writer_new(struct wire_writer *w);
void anthropic_writer_free(struct wire_writer *w);
int anthropic_read_event(struct wire_reader *r, struct str name, struct str data, struct err *e);
int anthropic_read_body(struct wire_reader *r, const json_t *body, struct err *e);
void anthropic_read_done(struct wire_reader *r);
bool anthropic_read_complete(const struct wire_reader *r, bool clean_end);
int anthropic_reader_new(struct wire_reader *r);
void anthropic_reader_free(struct wire_reader *r);
void anthropic_error(const struct err *err, struct buf *out);

/* The error object a provider put in its answer (any of the shapes in use) into *e; the code by
 * `status`, or by the error's own type when status is 0. wire_error.c */
int wire_error_json(const json_t *body, int status, struct err *e);

#endif
