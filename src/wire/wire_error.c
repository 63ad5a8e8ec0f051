/* wire_error.c: errors in each dialect's words, both ways. Writing: a code of err.h becomes the
 * type a client's library looks for. Reading: whatever an upstream put in its body (the two
 * dialects' objects, or one of the plain forms of other servers) becomes a code and a message; a
 * page of HTML becomes only its status. */
#include "responses_int.h"

#include "utf8.h"

#include <stdio.h>

/* ---- writing ---- */

/* "messages[0].content: must be..." speaks of a parameter. */
static struct str param_of(const struct err *err)
{
    struct str head, tail, msg = str_of(err_msg(err));
    if (err->code != ERR_FORMAT && err->code != ERR_UNSUPPORTED)
        return STR_NONE;
    if (!str_cut(msg, ':', &head, &tail) || !head.n)
        return STR_NONE;
    for (size_t i = 0; i < head.n; i++) {
        char c = head.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("_.[]", c);
        if (!ok)
            return STR_NONE;
    }
    return head;
}

static const char *openai_type(int code)
{
    switch (code) {
    case ERR_AUTH: return "authentication_error";
    case ERR_POLICY:
    case ERR_NO_ROUTE: return "permission_error";
    case ERR_RATE: return "rate_limit_error";
    case ERR_BUDGET: return "insufficient_quota";
    default: return err_http(code) < 500 ? "invalid_request_error" : "server_error";
    }
}

static const char *openai_code(int code)
{
    switch (code) {
    case ERR_AUTH: return "invalid_api_key";
    case ERR_NOT_FOUND: return "model_not_found";
    case ERR_CONTEXT: return "context_length_exceeded";
    case ERR_RATE: return "rate_limit_exceeded";
    case ERR_BUDGET: return "insufficient_quota";
    case ERR_POLICY: return "refused_by_policy";
    case ERR_NO_ROUTE: return "no_route";
    case ERR_UNSUPPORTED: return "unsupported_value";
    case ERR_OVERLOAD: return "overloaded";
    case ERR_TIMEOUT: return "timeout";
    case ERR_CUT: return "stream_cut";
    default: return NULL;
    }
}

static void put_openai(const struct err *err, struct str param, const char *code, struct buf *b)
{
    buf_putc(b, '{');
    jw_object(b, "error");
    jw_str(b, "message", str_of(err_msg(err)));
    jw_str(b, "type", str_of(openai_type(err->code)));
    if (param.n)
        jw_str(b, "param", param);
    else
        jw_null(b, "param");
    if (code)
        jw_str(b, "code", str_of(code));
    else
        jw_null(b, "code");
    jw_close(b, '}');
    jw_close(b, '}');
}

static const char *lmstudio_type(int code)
{
    switch (code) {
    case ERR_NOT_FOUND: return "model_not_found";
    case ERR_UNSUPPORTED: return "not_implemented";
    default: return err_http(code) < 500 ? "invalid_request" : "internal_error";
    }
}

void lmstudio_put_error(const struct err *err, struct buf *b)
{
    struct str param = param_of(err);
    const char *code = openai_code(err->code);
    jw_open(b, '{');
    jw_str(b, "type", str_of(lmstudio_type(err->code)));
    jw_str(b, "message", str_of(err_msg(err)));
    if (code)
        jw_str(b, "code", str_of(code));
    if (param.n)
        jw_str(b, "param", param);
    jw_close(b, '}');
}

void lmstudio_error(const struct err *err, struct buf *b)
{
    buf_putc(b, '{');
    jw_key(b, "error");
    lmstudio_put_error(err, b);
    jw_close(b, '}');
}

/* llama-server's words. */
static const char *llama_type(int code)
{
    switch (code) {
    case ERR_AUTH: return "authentication_error";
    case ERR_POLICY:
    case ERR_NO_ROUTE: return "permission_error";
    case ERR_NOT_FOUND: return "not_found_error";
    case ERR_CONTEXT: return "exceed_context_size_error";
    case ERR_OVERLOAD: return "unavailable_error";
    default: return err_http(code) < 500 ? "invalid_request_error" : "server_error";
    }
}

void llama_error(const struct err *err, struct buf *b)
{
    buf_putc(b, '{');
    jw_object(b, "error");
    jw_int(b, "code", err_http(err->code));
    jw_str(b, "message", str_of(err_msg(err)));
    jw_str(b, "type", str_of(llama_type(err->code)));
    jw_close(b, '}');
    jw_close(b, '}');
}

void openai_error(const struct err *err, struct buf *b)
{
    put_openai(err, param_of(err), openai_code(err->code), b);
}

/* The same, but what is not found may be an answer that was to be gone on from. */
void responses_error(const struct err *err, struct buf *b)
{
    struct str msg = str_of(err_msg(err));
    bool kept = err->code == ERR_NOT_FOUND && (str_starts(msg, STR("Response with id ")) ||
                                               str_starts(msg, STR("Item with id ")));
    if (err->code == ERR_NOT_FOUND && str_starts(msg, STR("Previous response with id ")))
        put_openai(err, STR("previous_response_id"), "previous_response_not_found", b);
    else
        put_openai(err, param_of(err), kept ? NULL : openai_code(err->code), b);
}

static const char *anthropic_type(int code)
{
    switch (code) {
    case ERR_AUTH: return "authentication_error";
    case ERR_POLICY:
    case ERR_NO_ROUTE: return "permission_error";
    case ERR_NOT_FOUND: return "not_found_error";
    case ERR_TOO_LARGE: return "request_too_large";
    case ERR_RATE: return "rate_limit_error";
    case ERR_BUDGET: return "billing_error";
    case ERR_TIMEOUT: return "timeout_error";
    case ERR_OVERLOAD: return "overloaded_error";
    default: return err_http(code) < 500 ? "invalid_request_error" : "api_error";
    }
}

void anthropic_error(const struct err *err, struct buf *b)
{
    buf_putc(b, '{');
    jw_str(b, "type", STR("error"));
    jw_object(b, "error");
    jw_str(b, "type", str_of(anthropic_type(err->code)));
    jw_str(b, "message", str_of(err_msg(err)));
    jw_close(b, '}');
    jw_close(b, '}');
}

/* ---- reading ---- */

static int code_of_status(int status)
{
    switch (status) {
    case 401:
    case 403: return ERR_AUTH;
    case 402: return ERR_BUDGET;
    case 404: return ERR_NOT_FOUND;
    case 408:
    case 504: return ERR_TIMEOUT;
    case 413: return ERR_TOO_LARGE;
    case 429: return ERR_RATE;
    case 503:
    case 529: return ERR_OVERLOAD;
    default: return status >= 400 && status < 500 ? ERR_INVAL : ERR_UPSTREAM;
    }
}

/* An error in a stream has no status: its type or code says which it is. */
static int code_of_type(const json_t *error)
{
    static const struct {
        const char *word;
        int code;
    } rows[] = {
        {"overloaded", ERR_OVERLOAD},
        {"rate_limit", ERR_RATE},
        {"authentication", ERR_AUTH},
        {"permission", ERR_AUTH},
        {"invalid_api_key", ERR_AUTH},
        {"not_found", ERR_NOT_FOUND},
        {"request_too_large", ERR_TOO_LARGE},
        {"insufficient_quota", ERR_RATE},
        {"billing", ERR_BUDGET},
        {"timeout", ERR_TIMEOUT},
        {"context_length", ERR_CONTEXT},
        {"invalid_request", ERR_INVAL},
    };
    const json_t *code = json_object_get(error, "code");
    if (json_is_integer(code) && json_integer_value(code) >= 400 && json_integer_value(code) < 600)
        return code_of_status((int)json_integer_value(code));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str word = str_of(rows[i].word);
        if (str_find(wire_json_str(code), word, 0) != SIZE_MAX ||
            str_find(wire_json_get_str(error, "type"), word, 0) != SIZE_MAX)
            return rows[i].code;
    }
    return ERR_UPSTREAM;
}

/* A prompt that is too long is told apart from other bad requests: the router can do something
 * about it. */
static bool says_context(const json_t *error, struct str msg)
{
    static const char *const words[] = {"prompt is too long", "maximum context length",
                                        "context length exceeded", "context_length_exceeded"};
    if (str_is(wire_json_get_str(error, "code"), "context_length_exceeded"))
        return true;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (str_find(msg, str_of(words[i]), 0) != SIZE_MAX)
            return true;
    }
    return false;
}

/* {"error":{"message"}}, {"error":"text"}, {"message"}, {"detail"}, {"type","message"}. */
static struct str message_of(const json_t *body, const json_t *error)
{
    struct str tries[] = {
        wire_json_get_str(error, "message"),
        wire_json_str(error),
        wire_json_get_str(body, "message"),
        wire_json_get_str(body, "detail"),
    };
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        if (tries[i].n)
            return tries[i];
    }
    return STR_NONE;
}

int wire_error_json(const json_t *body, int status, struct err *e)
{
    if (json_is_array(body)) /* Gemini's compatible endpoint wraps its error */
        body = json_array_get(body, 0);
    const json_t *error = json_object_get(body, "error");
    struct str msg = message_of(body, error);
    int code = status ? code_of_status(status) : code_of_type(error ? error : body);
    if ((code == ERR_INVAL || code == ERR_TOO_LARGE) && says_context(error, msg))
        code = ERR_CONTEXT;
    if (!msg.n)
        return err_set(e, code, "%s", err_text(code));
    return err_set(e, code, "%.*s", STR_ARG(msg));
}

int wire_error_decode(enum gen_dialect d, int status, struct str body, int retry_after_s,
                      struct err *e)
{
    json_t *v = NULL;
    struct err mine = {0};
    struct str text = str_trim(body);
    if (!wire_json_load(text, &v, &mine)) {
        wire_error_json(v, status, &mine);
        json_decref(v);
    } else if (text.n && text.p[0] != '<' && text.n <= 200 && utf8_valid(text))
        err_set(&mine, code_of_status(status), "%.*s", STR_ARG(text));
    else
        err_set(&mine, code_of_status(status), "%s", err_text(code_of_status(status)));
    if (e) {
        err_set(e, mine.code, "HTTP %d: %s", status, mine.msg);
        e->retry_after_s = retry_after_s;
    }
    return mine.code;
}
