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

/* ---- requests ---- */

/* Body of POST /v1/chat/completions or /v1/messages into a request that lives in `arena`.
 * ERR_FORMAT names the field (and byte offset for malformed JSON); wrong types are errors, unknown
 * fields go to req->extra. */
int wire_request_decode(enum gen_dialect d, struct str body, struct arena *arena,
                        struct gen_req **out, struct err *e);

/* The same for any kind of request that the dialect has: GEN_CHAT, or GEN_EMBED (the body of POST
 * /v1/embeddings; OpenAI's). ERR_UNSUPPORTED: it has none. */
int wire_request_decode_kind(enum gen_dialect d, enum gen_kind kind, struct str body,
                             struct arena *arena, struct gen_req **out, struct err *e);

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

/* The body to send to a provider for `model`. req->extra is replayed only when req->dialect == d.
 */
int wire_request_encode(enum gen_dialect d, const struct gen_req *req, struct str model,
                        const struct wire_quirks *quirks, struct buf *out, struct err *e);

/* ---- answers, serving: events to bytes ---- */

struct wire_writer;
/* id: "chatcmpl-…"/"msg_…" is made from it (alphanumeric, at most 32). created: seconds since 1970.
 * The request must outlive the writer. */
int wire_writer_new(enum gen_dialect d, const struct gen_req *req, struct str id, int64_t created,
                    struct wire_writer **out, struct err *e);
void wire_writer_free(struct wire_writer *w);
/* What Content-Type the body has: "text/event-stream" or "application/json". */
const char *wire_writer_type(const struct wire_writer *w);
/* Streaming: appends the SSE bytes this event gives. Not streaming: gathers, and appends the JSON
 * body at DONE. An ERROR event in a stream gives the dialect's in-band error; not streaming, the
 * error body. */
int wire_writer_event(struct wire_writer *w, const struct gen_event *ev, struct buf *out,
                      struct err *e);
/* The error body of the dialect (for a response with err_http(err->code)). */
void wire_error_body(enum gen_dialect d, const struct err *err, struct buf *out);
/* A comment line that keeps a silent stream alive. */
void wire_keepalive(enum gen_dialect d, struct buf *out);

/* ---- answers, calling: bytes to events ---- */

struct wire_reader;
/* Bytes may be cut anywhere. Events go to the sink as they complete; memory is bounded (16 MiB an
 * answer that is not streamed, 1 MiB an SSE event). */
int wire_reader_new(enum gen_dialect d, bool streaming, struct gen_sink sink,
                    struct wire_reader **out, struct err *e);
/* Of an answer to another kind of request than a chat: rows (64 MiB at most) for GEN_EMBED. */
int wire_reader_new_kind(enum gen_dialect d, enum gen_kind kind, bool streaming,
                         struct gen_sink sink, struct wire_reader **out, struct err *e);
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

const char *wire_dialect_name(enum gen_dialect d); /* "openai" */
bool wire_dialect_find(struct str name, enum gen_dialect *out);

#endif
