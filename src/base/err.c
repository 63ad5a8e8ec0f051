/* err.c: the list of errors as data. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    int code;
    const char *name;
    const char *text;
    int http;
    bool retry;
};

static const struct err_row rows[] = {
#define ERR_ROW(name, value, text, http, retry) {(value), #name, (text), (http), (retry)},
    ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

static const struct err_row *find(int code)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == code)
            return &rows[i];
    return NULL;
}

/* vsnprintf cuts anywhere; a message that reaches a client must stay valid UTF-8. */
static void trim_utf8(char *s)
{
    size_t n = strlen(s);
    size_t back = 0;
    while (back < 3 && n > back && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (n <= back)
        return;
    unsigned char lead = (unsigned char)s[n - 1 - back];
    size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (need > back + 1)
        s[n - 1 - back] = '\0';
}

static void fill(struct err *e, int code, uint64_t pos, const char *fmt, va_list ap)
{
    e->code = code;
    e->retry_after_s = 0;
    e->pos = pos;
    int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    if (n >= (int)sizeof e->msg)
        trim_utf8(e->msg);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, 0, fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_set_at(struct err *e, int code, uint64_t pos, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, pos, fmt, ap);
        va_end(ap);
    }
    return code;
}

const char *err_name(int code)
{
    const struct err_row *r = find(code);
    return r ? r->name : code == 0 ? "OK" : "UNKNOWN";
}

const char *err_text(int code)
{
    const struct err_row *r = find(code);
    return r ? r->text : code == 0 ? "ok" : "unknown error";
}

int err_http(int code)
{
    const struct err_row *r = find(code);
    return r ? r->http : code == 0 ? 200 : 500;
}

bool err_retryable(int code)
{
    const struct err_row *r = find(code);
    return r && r->retry;
}

const char *err_msg(const struct err *e)
{
    return e->msg[0] ? e->msg : err_text(e->code);
}
