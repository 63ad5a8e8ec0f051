/* turn.c: one turn from the command line. */
#include "turn.h"

#include "command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ANSWER ((size_t)64 << 20)

struct watching {
    struct turn *t;
    FILE *show;
    struct err *e;
    bool printed;
};

void turn_init(struct turn *t)
{
    *t = (struct turn){.text = BUF_INIT(MAX_ANSWER)};
}

void turn_done(struct turn *t)
{
    if (!t)
        return;
    buf_done(&t->text);
    json_decref(t->route);
    json_decref(t->account);
    turn_init(t);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static int code_named(const char *name)
{
#define NAMED(n, value, text, http, retry)                                                         \
    if (strcmp(name, #n) == 0)                                                                     \
        return ERR_##n;
    ERR_LIST(NAMED)
#undef NAMED
    return ERR_INTERNAL;
}

static void take_text(struct watching *w, const json_t *line)
{
    const json_t *v = json_object_get(line, "text");
    const char *p = json_string_value(v);
    size_t n = json_string_length(v);
    if (!p)
        return;
    buf_add(&w->t->text, p, n);
    if (w->show) {
        fwrite(p, 1, n, w->show);
        fflush(w->show);
        w->printed = w->printed || n;
    }
}

static int take_error(struct watching *w, const json_t *line)
{
    return err_set(w->e, code_named(text_of(line, "code")), "%s", text_of(line, "message"));
}

static int on_line(void *ctx, struct str bytes)
{
    struct watching *w = ctx;
    json_t *line = json_loadb(bytes.p, bytes.n, JSON_ALLOW_NUL, NULL);
    const char *type = text_of(line, "type");
    int rc = 0;
    if (strcmp(type, "text") == 0)
        take_text(w, line);
    else if (strcmp(type, "error") == 0)
        rc = take_error(w, line);
    else if (strcmp(type, "tool") == 0)
        w->t->tools_called = true;
    else if (strcmp(type, "done") == 0)
        snprintf(w->t->reason, sizeof w->t->reason, "%s", text_of(line, "reason"));
    else if (strcmp(type, "route") == 0 && !w->t->route)
        w->t->route = json_incref(line);
    else if (strcmp(type, "account") == 0 && !w->t->account)
        w->t->account = json_incref(line);
    json_decref(line);
    return rc;
}

/* ---- the request ---- */

/* "1,2=3" and the like are refused by the server, which names the field. */
static void set_lists(const struct settings *s, json_t *o)
{
    struct str rest = str_of(s->samplers), item;
    json_t *list = json_array(), *bias = json_object();
    for (bool more = rest.n > 0; more;) {
        more = str_cut(rest, ',', &item, &rest);
        item = str_trim(item);
        json_array_append_new(list, json_stringn(item.p, item.n));
    }
    rest = str_of(s->logit_bias);
    for (bool more = rest.n > 0; more;) {
        struct str id, value;
        more = str_cut(rest, ',', &item, &rest);
        str_cut(str_trim(item), '=', &id, &value);
        double x;
        json_object_setn_new(bias, id.p, id.n,
                             str_to_f64(value, &x) ? json_real(x) : json_stringn(value.p, value.n));
    }
    if (json_array_size(list) > 0)
        json_object_set(o, "samplers", list);
    if (json_object_size(bias) > 0)
        json_object_set(o, "logit_bias", bias);
    json_decref(list);
    json_decref(bias);
}

static void set_sampling(const struct settings *s, json_t *o)
{
    const struct {
        const char *key;
        double value;
    } more[] = {
        {"typical_p", s->typical_p},
        {"top_n_sigma", s->top_n_sigma},
        {"xtc_probability", s->xtc_probability},
        {"xtc_threshold", s->xtc_threshold},
        {"dry_multiplier", s->dry_multiplier},
        {"repeat_penalty", s->repeat_penalty},
        {"frequency_penalty", s->frequency_penalty},
        {"presence_penalty", s->presence_penalty},
    };
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        if (!isnan(more[i].value))
            json_object_set_new(o, more[i].key, json_real(more[i].value));
    set_lists(s, o);
    if (s->temperature_set)
        json_object_set_new(o, "temperature", json_real(s->temperature));
    if (s->top_p_set)
        json_object_set_new(o, "top_p", json_real(s->top_p));
    if (s->min_p_set)
        json_object_set_new(o, "min_p", json_real(s->min_p));
    if (s->top_k_set)
        json_object_set_new(o, "top_k", json_integer(s->top_k));
    if (s->seed_set)
        json_object_set_new(o, "seed", json_integer(s->seed));
    if (s->max_tokens > 0)
        json_object_set_new(o, "max_completion_tokens", json_integer(s->max_tokens));
}

/* --grammar and --schema: files whose text goes with the request. */
static int set_form(const struct settings *s, json_t *o, struct err *e)
{
    const char *path = s->grammar && *s->grammar ? s->grammar : s->schema;
    if (!path || !*path)
        return 0;
    struct buf text;
    json_error_t fault;
    if (s->grammar && *s->grammar && s->schema && *s->schema)
        return err_set(e, ERR_INVAL, "--grammar and --schema cannot stand together");
    int rc = command_read_file(path, 1 << 20, &text, e);
    if (rc == 0 && path == s->grammar) {
        json_t *v = json_stringn(text.p ? text.p : "", text.n);
        rc = v ? 0 : err_set(e, ERR_FORMAT, "%s: not valid UTF-8", path);
        json_object_set_new(o, "grammar", v);
    } else if (rc == 0) {
        json_t *v = json_loadb(text.p ? text.p : "", text.n, 0, &fault);
        rc = v ? 0 : err_set(e, ERR_FORMAT, "%s:%d: %s", path, fault.line, fault.text);
        if (v)
            json_object_set_new(o, "response_format",
                                json_pack("{s:s, s:{s:s, s:b, s:o}}", "type", "json_schema",
                                          "json_schema", "name", "answer", "strict", 1, "schema",
                                          v));
    }
    buf_done(&text);
    return rc;
}

static int make_body(const struct settings *s, json_t *messages, char **out, size_t *n,
                     struct err *e)
{
    json_t *o = json_object(), *all = json_array();
    if (s->system && *s->system && !s->raw)
        json_array_append_new(all, json_pack("{s:s, s:s}", "role", "system", "content", s->system));
    json_array_extend(all, messages);
    json_object_set_new(o, "model", json_string(s->model));
    json_object_set_new(o, "messages", all);
    json_object_set_new(o, "stream", json_true());
    set_sampling(s, o);
    int rc = set_form(s, o, e);
    char *text = rc ? NULL : json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (!rc && !text)
        rc = err_set(e, ERR_FORMAT, "the prompt is not valid UTF-8");
    if (rc)
        return rc;
    *out = text;
    *n = strlen(text);
    return 0;
}

struct headers {
    char zone[64], preset[64], conversation[256];
    const char *list[8];
};

static void make_headers(const struct settings *s, struct headers *h)
{
    size_t n = 0;
    h->list[n++] = "Content-Type: application/json";
    h->list[n++] = "x-weir-client: command";
    if (s->zone && *s->zone) {
        snprintf(h->zone, sizeof h->zone, "x-weir-zone: %s", s->zone);
        h->list[n++] = h->zone;
    }
    if (s->preset && strcmp(s->preset, "private") == 0)
        h->list[n++] = "x-weir-preset: private";
    if (s->conversation && *s->conversation) {
        snprintf(h->conversation, sizeof h->conversation, "x-weir-conversation: %s",
                 s->conversation);
        h->list[n++] = h->conversation;
    }
    if (s->offline)
        h->list[n++] = "x-weir-offline: 1";
    if (s->raw)
        h->list[n++] = "x-weir-raw: 1";
    h->list[n] = NULL;
}

/* An HTTP error of the owner: {"error":{"code":…,"message":…}}. */
static int http_error(const struct buf *body, int status, struct err *e)
{
    json_t *o = json_loadb(body->p ? body->p : "", body->n, 0, NULL);
    const json_t *inner = json_object_get(o, "error");
    const char *message = text_of(inner, "message"), *code = text_of(inner, "code");
    int known = *code ? code_named(code) : ERR_INTERNAL;
    if (known == ERR_INTERNAL && status == 404) /* a dialect has its own words */
        known = ERR_NOT_FOUND;
    int rc = err_set(e, known, "%s", *message ? message : "the server gave no reason");
    json_decref(o);
    (void)status;
    return rc;
}

static int post(struct client *c, const struct settings *s, const char *path, json_t *messages,
                struct client_call *call, struct err *e)
{
    size_t n;
    char *body;
    int rc = make_body(s, messages, &body, &n, e);
    if (rc)
        return rc;
    rc = turn_post(c, s, path, str_n(body, n), call, e);
    free(body);
    return rc;
}

int turn_post(struct client *c, const struct settings *s, const char *path, struct str body,
              struct client_call *call, struct err *e)
{
    struct headers h;
    struct buf whole = BUF_INIT(MAX_ANSWER);
    int status = 0;
    make_headers(s, &h);
    call->method = "POST";
    call->path = path;
    call->headers = h.list;
    call->body = body;
    struct buf *result = call->whole;
    call->whole = &whole;
    int rc = client_call(c, call, &status, e);
    if (rc == 0 && status >= 400)
        rc = http_error(&whole, status, e);
    if (rc == 0 && result)
        buf_str_add(result, buf_str(&whole));
    buf_done(&whole);
    return rc;
}

int turn_ask(struct client *c, const struct settings *s, json_t *messages, FILE *show,
             struct turn *t, struct err *e)
{
    struct watching w = {.t = t, .show = show, .e = e};
    struct client_call call = {.line = on_line, .ctx = &w};
    int rc = post(c, s, "/weir/v1/chat", messages, &call, e);
    if (w.printed && t->text.n && t->text.p[t->text.n - 1] != '\n')
        fputc('\n', show), fflush(show);
    if (rc == 0 && buf_failed(&t->text))
        rc = err_set(e, ERR_TOO_LARGE, "the answer is too large");
    return rc;
}

int turn_route(struct client *c, const struct settings *s, json_t *messages, json_t **plan,
               struct err *e)
{
    struct buf whole = BUF_INIT(MAX_ANSWER);
    struct client_call call = {.whole = &whole};
    int rc = post(c, s, "/weir/v1/route", messages, &call, e);
    if (rc == 0) {
        json_t *o = json_loadb(whole.p ? whole.p : "", whole.n, 0, NULL);
        if (o)
            *plan = o;
        else
            rc = err_set(e, ERR_INTERNAL, "the server's plan is not JSON");
    }
    buf_done(&whole);
    return rc;
}

/* ---- as a person reads it ---- */

void turn_line(const json_t *account, struct buf *out)
{
    double tps = json_number_value(json_object_get(account, "tokens_per_s"));
    const json_t *first = json_object_get(account, "first_ms");
    char where[600];
    snprintf(where, sizeof where, "%s/%s", text_of(account, "provider"), text_of(account, "model"));
    /* The router's sentence begins with the place too. */
    const char *why = text_of(account, "reason");
    size_t n = strlen(where);
    if (strncmp(why, where, n) == 0 && strncmp(why + n, ": ", 2) == 0)
        why += n + 2;
    buf_printf(out, "%s · %s · ", where, why);
    if (tps > 0)
        buf_printf(out, "%.1f tokens/s · ", tps);
    if (json_is_integer(first))
        buf_printf(out, "first token %lld ms · ", (long long)json_integer_value(first));
    buf_puts(out, text_of(account, "cost"));
    if (json_is_integer(json_object_get(account, "baseline_nano")))
        buf_printf(out, " (%s at %s)", text_of(account, "baseline"),
                   text_of(account, "baseline_model"));
}

static bool same_fate(const json_t *a, const json_t *b)
{
    return strcmp(text_of(a, "provider"), text_of(b, "provider")) == 0 &&
           strcmp(text_of(a, "because"), text_of(b, "because")) == 0;
}

/* A provider with twenty models that are all out for one reason is one line. */
static void removed_text(const json_t *plan, struct buf *out)
{
    const json_t *list = json_object_get(plan, "removed");
    size_t n = json_array_size(list);
    for (size_t i = 0, alike; i < n; i += alike) {
        const json_t *c = json_array_get(list, i);
        alike = 1;
        while (i + alike < n && same_fate(c, json_array_get(list, i + alike)))
            alike++;
        buf_printf(out, "%s%-34s %s", i == 0 ? "removed:\n  " : "  ", text_of(c, "id"),
                   text_of(c, "because"));
        if (alike > 1)
            buf_printf(out, " (and %zu more of %s)", alike - 1, text_of(c, "provider"));
        buf_putc(out, '\n');
    }
}

static void ranked_text(const json_t *plan, struct buf *out)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(plan, "ranked"), i, c)
    {
        const json_t *cost = json_object_get(c, "cost_nano"), *ms = json_object_get(c, "total_ms");
        char price[48] = "cost unknown", time[48] = "time unknown";
        if (json_is_integer(cost))
            snprintf(price, sizeof price, "$%.6f", (double)json_integer_value(cost) / 1e9);
        if (json_is_integer(ms))
            snprintf(time, sizeof time, "about %.1f s", (double)json_integer_value(ms) / 1e3);
        buf_printf(out, "%s%zu. %-31s P(suffices) %.2f, %s, %s\n", i == 0 ? "ranking:\n  " : "  ",
                   i + 1, text_of(c, "id"), json_number_value(json_object_get(c, "p_suffices")),
                   price, time);
    }
}

static void facts_text(const json_t *plan, struct buf *out)
{
    const json_t *r = json_object_get(plan, "request");
    size_t i;
    json_t *s;
    buf_printf(out, "request:\n  %lld tokens%s, task: %s, difficulty %.1f of 10\n",
               (long long)json_integer_value(json_object_get(r, "prompt_tokens")),
               json_is_true(json_object_get(r, "prompt_exact")) ? "" : " (estimated)",
               text_of(r, "task"), json_number_value(json_object_get(plan, "difficulty")));
    buf_printf(out, "  may go as far as: %s (%s)\n", text_of(r, "zone"), text_of(r, "zone_reason"));
    json_array_foreach(json_object_get(r, "signals"), i, s)
        buf_printf(out, "%s%s", i == 0 ? "  signals: " : ", ", json_string_value(s));
    if (i)
        buf_putc(out, '\n');
}

void turn_plan_text(const json_t *plan, bool brief, struct buf *out)
{
    buf_printf(out, "%s\n", text_of(plan, "sentence"));
    if (*text_of(plan, "would_sentence"))
        buf_printf(out, "%s%s\n", brief ? "      " : "", text_of(plan, "would_sentence"));
    if (brief)
        return;
    facts_text(plan, out);
    ranked_text(plan, out);
    removed_text(plan, out);
}
