/* err.h: the one list of errors.
 *
 * A function that can fail returns 0 or one of these negative codes and, where it has more to say,
 * fills the trailing `struct err *`. Library folders never log and never exit: the caller decides
 * what a person reads. Each code carries the HTTP status a server answers with and whether trying
 * again can help. */
#ifndef WEIR_ERR_H
#define WEIR_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, value, text, HTTP status, retryable */
#define ERR_LIST(X)                                                                                \
    X(INVAL, -1, "invalid argument", 400, false)                                                   \
    X(NOMEM, -2, "out of memory", 503, true)                                                       \
    X(IO, -3, "input/output error", 500, false)                                                    \
    X(FORMAT, -4, "malformed input", 400, false)                                                   \
    X(UNSUPPORTED, -5, "not supported", 400, false)                                                \
    X(NOT_FOUND, -6, "not found", 404, false)                                                      \
    X(TOO_LARGE, -7, "too large", 413, false)                                                      \
    X(CONTEXT, -8, "prompt longer than the context", 400, false)                                   \
    X(POLICY, -9, "refused by policy", 403, false)                                                 \
    X(BUDGET, -10, "budget exhausted", 402, false)                                                 \
    X(AUTH, -11, "not authorised", 401, false)                                                     \
    X(RATE, -12, "rate limited", 429, true)                                                        \
    X(OVERLOAD, -13, "overloaded", 503, true)                                                      \
    X(TIMEOUT, -14, "timed out", 504, true)                                                        \
    X(CONNECT, -15, "connection failed", 502, true)                                                \
    X(UPSTREAM, -16, "upstream failed", 502, true)                                                 \
    X(CUT, -17, "stream ended before its end", 502, true)                                          \
    X(CANCELLED, -18, "cancelled", 499, false)                                                     \
    X(EXISTS, -19, "already exists", 409, false)                                                   \
    X(BUSY, -20, "in use", 409, true)                                                              \
    X(CHECKSUM, -21, "checksum differs", 500, false)                                               \
    X(NO_SPACE, -22, "no space left", 507, false)                                                  \
    X(NO_ROUTE, -23, "no candidate may answer", 403, false)                                        \
    X(LIMIT, -24, "limit reached", 400, false)                                                     \
    X(INTERNAL, -25, "internal error", 500, false)

enum err_code {
    ERR_OK = 0,
#define ERR_ENUM(name, value, text, http, retry) ERR_##name = (value),
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
};

#define ERR_MSG_MAX 400

/* pos: byte offset, line or other position the message speaks of; 0 if none.
 * retry_after_s: what an upstream asked for; 0 if nothing. */
struct err {
    int code;
    int retry_after_s;
    uint64_t pos;
    char msg[ERR_MSG_MAX];
};

/* Fill *e (may be NULL) and return code. The message is cut at ERR_MSG_MAX on a UTF-8 boundary. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_set_at(struct err *e, int code, uint64_t pos, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

const char *err_name(int code); /* "NOT_FOUND"; "UNKNOWN" for a code not in the list */
const char *err_text(int code); /* the list's text */
int err_http(int code);         /* HTTP status, 500 for an unknown code, 200 for 0 */
bool err_retryable(int code);
const char *err_msg(const struct err *e); /* the message, or the code's text where there is none */

#endif
