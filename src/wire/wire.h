/* wire.h: dialects as codecs between bytes and gen/, in both directions. Pure: no sockets, no
 * clock, no globals.
 *
 *                 request                       answer
 *   serving   wire_request_decode()          wire_writer (events in, bytes out)
 *   calling   wire_request_encode()          wire_reader (bytes in, events out)
 *
 * The two columns are inverse functions: what one encodes the other decodes to the same gen value,
 * for every value the dialect can carry; what it cannot carry is an error that names the field,
 * never silently dropped. */
#ifndef WEIR_WIRE_H
#define WEIR_WIRE_H

#include "buf.h"
#include "err.h"
#include "gen.h"

/* A form is what one path of a dialect takes and gives. The names are those of golden files. */
enum wire_form {
    WIRE_NONE,
    WIRE_OPENAI,            /* "openai": POST /v1/chat/completions */
    WIRE_ANTHROPIC,         /* "anthropic": POST /v1/messages */
    WIRE_EMBEDDINGS,        /* "embeddings": POST /v1/embeddings */
    WIRE_COMPLETIONS,       /* "completions": POST /v1/completions (raw; infill with a suffix) */
    WIRE_RESPONSES,         /* "responses": POST /v1/responses */
    WIRE_OLLAMA_CHAT,       /* "ollama-chat": POST /api/chat */
    WIRE_OLLAMA_GENERATE,   /* "ollama-generate": POST /api/generate (chat; raw; infill) */
    WIRE_OLLAMA_EMBED,      /* "ollama-embed": POST /api/embed */
    WIRE_OLLAMA_EMBEDDINGS, /* "ollama-embeddings": POST /api/embeddings, the older one */
    WIRE_LMSTUDIO,          /* "lmstudio": POST /api/v1/chat */
    WIRE_LLAMA_COMPLETION,  /* "llama-completion": POST /completion (raw) */
    WIRE_LLAMA_INFILL,      /* "llama-infill": POST /infill */
    WIRE_FORMS,
};
const char *wire_form_name(enum wire_form f);
bool wire_form_find(struct str name, enum wire_form *out);
enum gen_dialect wire_form_dialect(enum wire_form f);
/* False: it is not in this program. */
bool wire_form_known(enum wire_form f);
/* The form a request of this kind goes to a provider in; WIRE_NONE: the dialect has none. */
enum wire_form wire_form_of(enum gen_dialect d, enum gen_kind kind);

/* ---- requests ---- */

/* A body into a request that lives in `arena`. ERR_FORMAT names the field (and byte offset for
 * malformed JSON); wrong types are errors, unknown fields go to req->extra. */
int wire_request_decode(enum wire_form f, struct str body, struct arena *arena,
                        struct gen_req **out, struct err *e);
/* The same of a request whose tokens are only to be counted: what just an answer needs may be
 * missing. */
int wire_count_decode(enum wire_form f, struct str body, struct arena *arena, struct gen_req **out,
                      struct err *e);

struct wire_quirks {
    bool max_tokens_old;   /* OpenAI-compatible servers that know max_tokens only, not
                              max_completion_tokens */
    bool no_stream_usage;  /* the server refuses stream_options */
    bool no_reasoning;     /* the server refuses earlier reasoning in messages (OpenAI's own) */
    bool repeat_penalty;   /* llama-server's name of repetition_penalty */
    bool effort_as_budget; /* Anthropic models that know thinking budgets but no effort */
    int64_t max_tokens;    /* Anthropic: what to ask for where the request sets no limit, which that
                              dialect demands; 0: 4096 */
};

/* The body to send to a provider for `model`. req->extra is replayed only when req->dialect is the
 * form's. ERR_UNSUPPORTED names what the form cannot say, the kind of request included. */
int wire_request_encode(enum wire_form f, const struct gen_req *req, struct str model,
                        const struct wire_quirks *quirks, struct buf *out, struct err *e);

/* ---- answers, serving: events to bytes ---- */

struct wire_writer;
/* id: "chatcmpl-…"/"msg_…" is made from it (alphanumeric, at most 32). created: seconds since 1970.
 * The request must outlive the writer. */
int wire_writer_new(enum wire_form f, const struct gen_req *req, struct str id, int64_t created,
                    struct wire_writer **out, struct err *e);
void wire_writer_free(struct wire_writer *w);
/* What Content-Type the body has: "text/event-stream", "application/x-ndjson" or
 * "application/json". */
const char *wire_writer_type(const struct wire_writer *w);
/* Streaming: appends the bytes this event gives. Not streaming: gathers, and appends the JSON
 * body at DONE. An ERROR event in a stream gives the dialect's in-band error; not streaming, the
 * error body. */
int wire_writer_event(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e);
/* What is to be kept of the answer, streamed or not, once DONE was written: an object whose
 * `output` holds items of the responses dialect (there it is the whole Response). Empty where the
 * form keeps nothing. Valid until the writer is freed. */
struct str wire_writer_whole(const struct wire_writer *w);
/* The error body of the form (for a response with err_http(err->code)). */
void wire_error_body(enum wire_form f, const struct err *err, struct buf *out);
/* What keeps a silent stream alive and says nothing: a comment, or nothing where there is none. */
void wire_keepalive(enum wire_form f, struct buf *out);

/* ---- answers, calling: bytes to events ---- */

struct wire_reader;
/* Bytes may be cut anywhere. Events go to the sink as they complete; memory is bounded (16 MiB an
 * answer that is not streamed, 64 MiB one of embeddings, 1 MiB an event). */
int wire_reader_new(enum wire_form f, bool streaming, struct gen_sink sink,
                    struct wire_reader **out, struct err *e);
void wire_reader_free(struct wire_reader *r);
/* The strictest verdict of the sink in *verdict. A malformed stream is ERR_UPSTREAM with what and
 * where; no DONE or ERROR event has then been sent for it: the caller sends the ERROR. */
int wire_reader_feed(struct wire_reader *r, struct str bytes, enum gen_verdict *verdict,
                     struct err *e);
/* The dialect's end mark was seen: nothing more can come, so a caller need not wait for the
 * connection to close before it calls wire_reader_end. */
bool wire_reader_complete(const struct wire_reader *r);
/* The body has ended. Sends DONE if the dialect's terminal event was seen; ERR_CUT if it was not.
 * An error the provider sent in band is returned as its err (and not sent to the sink). */
int wire_reader_end(struct wire_reader *r, struct err *e);
/* The body of an HTTP error answer into *e: code by status (401/403 AUTH, 404 NOT_FOUND, 429 RATE,
 * 400/422 INVAL, 413 TOO_LARGE, 5xx and 529 UPSTREAM/OVERLOAD), the provider's own message,
 * retry_after_s. Returns the code. */
int wire_error_decode(enum gen_dialect d, int status, struct str body, int retry_after_s,
                      struct err *e);

/* ---- reranking: POST /v1/rerank, as Jina and Cohere have it ---- */

/* 0 when the body is a proper request, whose model stands in *model then (in the arena). */
int wire_rerank_check(struct str body, struct arena *arena, struct str *model, struct err *e);
/* What is said of a model that cannot: ERR_UNSUPPORTED, naming it. */
int wire_rerank_refuse(struct str model, struct err *e);

/* What a model's record sets (a JSON object of Ollama's options), where the request does not. */
int wire_ollama_defaults(struct gen_req *r, struct str params, struct err *e);

/* ---- kept answers of WIRE_RESPONSES ----
 *
 * A kept text is a JSON array of items (an input) or a Response object (its output counts). */

/* The request's own input (without its instructions) as a JSON array of items, each with an id that
 * is made of `id`. */
int wire_responses_input(const struct gen_req *req, struct str id, struct buf *out, struct err *e);
/* The messages of kept texts, the oldest first, behind the request's instructions and before its
 * own messages. */
int wire_responses_prepend(struct gen_req *req, const struct str *texts, size_t n, struct err *e);
/* Some messages stand for items that are kept elsewhere: they must be resolved. */
bool wire_responses_names_items(const struct gen_req *req);
/* The text of the kept item `id`. */
typedef int wire_find_fn(void *ctx, struct str id, struct str *item, struct err *e);
/* The body with each such item in the place of its name, to be decoded again. */
int wire_responses_resolve(struct str body, wire_find_fn *find, void *ctx, struct arena *a,
                           struct str *out, struct err *e);
/* The item `id` of a kept text; ERR_NOT_FOUND. */
int wire_responses_item(struct str text, struct str id, struct arena *a, struct str *out,
                        struct err *e);

/* Of dialects, as a provider's row and the ledger name them: "openai". */
const char *wire_dialect_name(enum gen_dialect d);
bool wire_dialect_find(struct str name, enum gen_dialect *out);

#endif
