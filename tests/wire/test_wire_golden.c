/* test_wire_golden.c: what the codecs do, as files a person can read, in tests/wire/golden:
 *
 *   NAME.FORM.request.json      a request as a client sends it
 *   NAME.FORM.request.txt       what it decodes to, and how the providers' dialects and its own
 *                               encode that (or refuse)
 *   NAME.script.json            events of an answer, and whether it is streamed; or the form it is
 *                               for, and the request that is answered
 *   NAME.script.FORM.txt        the bytes they become
 *   refused.FORM.txt            requests that are refused: JSON, tab, code and message
 *
 * WEIR_GOLDEN_WRITE=1 writes the results instead of comparing them: read the difference before
 * committing it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire.h"
#include "wire_canon.h"

static const char *dir;

static bool load(const char *name, struct buf *out)
{
    char path[1024], chunk[4096];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(out, chunk, n);
    fclose(f);
    return true;
}

static void check(const char *name, struct str got)
{
    struct buf want = BUF_INIT(1 << 20);
    if (getenv("WEIR_GOLDEN_WRITE")) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", dir, name);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(got.p, 1, got.n, f);
        fclose(f);
        return;
    }
    if (!load(name, &want))
        fail_msg("%s is missing", name);
    if (!str_eq(buf_str(&want), got))
        fail_msg("%s differs; now:\n%.*s", name, STR_ARG(got));
    buf_done(&want);
}

/* The files of the folder that end in `tail`, sorted; each is given without it. */
static size_t each(const char *tail, void (*fn)(const char *stem))
{
    struct dirent **list;
    size_t count = 0, t = strlen(tail);
    int n = scandir(dir, &list, NULL, alphasort);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(list[i]->d_name);
        if (len > t && !strcmp(list[i]->d_name + len - t, tail)) {
            list[i]->d_name[len - t] = '\0';
            fn(list[i]->d_name);
            count++;
        }
        free(list[i]);
    }
    free(list);
    return count;
}

static enum wire_form form_of(const char *stem)
{
    enum wire_form d = WIRE_NONE;
    const char *dot = strrchr(stem, '.');
    assert_non_null(dot);
    assert_true(wire_form_find(str_of(dot + 1), &d));
    return d;
}

/* ---- requests ---- */

static void one_request(const char *stem)
{
    char name[256];
    struct arena *a = arena_new(1 << 20);
    struct buf body = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
    struct gen_req *r;
    struct err e = {0};
    snprintf(name, sizeof name, "%s.request.json", stem);
    assert_true(load(name, &body));
    if (wire_request_decode(form_of(stem), buf_str(&body), a, &r, &e))
        fail_msg("%s: %s", name, e.msg);
    canon_req(r, &out);
    for (int d = 0; d < WIRE_FORMS; d++) {
        /* What providers speak, and the form itself. */
        if (d != WIRE_OPENAI && d != WIRE_ANTHROPIC && d != (int)form_of(stem))
            continue;
        buf_clear(&body);
        buf_printf(&out, "\n%s: ", wire_form_name((enum wire_form)d));
        if (wire_request_encode((enum wire_form)d, r, STR("the-model"), NULL, &body, &e))
            buf_printf(&out, "refused: %s %s\n", err_name(e.code), e.msg);
        else
            buf_printf(&out, "%s\n", body.p);
    }
    snprintf(name, sizeof name, "%s.request.txt", stem);
    check(name, buf_str(&out));
    buf_done(&body);
    buf_done(&out);
    arena_free(a);
}

static void requests(void **state)
{
    assert_true(each(".request.json", one_request) >= 4);
}

/* ---- refused requests ---- */

static void refuse_line(enum wire_form d, struct str line, struct buf *out)
{
    struct arena *a = arena_new(1 << 20);
    struct gen_req *r = NULL;
    struct err e = {0};
    struct str json, was;
    str_cut(line, '\t', &json, &was);
    int rc = wire_request_decode(d, json, a, &r, &e);
    assert_int_equal(rc, e.code);
    assert_null(r);
    buf_printf(out, "%.*s\t%s %s\n", STR_ARG(json), err_name(rc), e.msg);
    arena_free(a);
}

static void refused(void **state)
{
    for (int d = 0; d < WIRE_FORMS; d++) {
        if (!wire_form_known((enum wire_form)d) || d == WIRE_EMBEDDINGS)
            continue;
        char name[256];
        struct buf text = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
        struct str line, rest;
        snprintf(name, sizeof name, "refused.%s.txt", wire_form_name((enum wire_form)d));
        assert_true(load(name, &text));
        for (rest = buf_str(&text); rest.n;) {
            str_cut(rest, '\n', &line, &rest);
            refuse_line((enum wire_form)d, line, &out);
        }
        check(name, buf_str(&out));
        buf_done(&text);
        buf_done(&out);
    }
}

/* ---- answers ---- */

static struct str field(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? str_n(json_string_value(v), json_string_length(v)) : STR_NONE;
}

static int word(struct str s, const char *const *words)
{
    int i = 0;
    while (words[i] && !str_is(s, words[i]))
        i++;
    assert_non_null(words[i]);
    return i;
}

static struct gen_logprob read_token(const json_t *o)
{
    return (struct gen_logprob){
        .token = field(o, "token"),
        .id = (int32_t)json_integer_value(json_object_get(o, "id")),
        .logprob = (float)json_number_value(json_object_get(o, "logprob")),
    };
}

static void read_logprobs(const json_t *list, struct gen_event *ev, struct arena *a)
{
    size_t n = json_array_size(list);
    struct gen_token_logprobs *lp = arena_array(a, n, sizeof *lp);
    int32_t *ids = arena_array(a, n, sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i), *top = json_object_get(o, "top");
        struct gen_logprob *tops = arena_array(a, json_array_size(top), sizeof *tops);
        lp[i].chosen = read_token(o);
        ids[i] = lp[i].chosen.id;
        lp[i].top = tops;
        lp[i].ntop = json_array_size(top);
        for (size_t k = 0; k < lp[i].ntop; k++)
            tops[k] = read_token(json_array_get(top, k));
    }
    ev->logprobs = lp;
    ev->nlogprobs = n;
    ev->ids = ids;
    ev->nids = n;
}

static void read_event(const json_t *o, struct gen_event *ev, struct err *err, struct arena *a)
{
    static const char *const types[] = {
        "start",     "text",       "reasoning", "tool_begin", "tool_args", "tool_end", "opaque",
        "embedding", "choice_end", "usage",     "done",       "error",     NULL};
    static const char *const reasons[] = {"stop", "sequence", "length", "tools", "filter", NULL};
    *ev = (struct gen_event){.type = (enum gen_event_type)word(field(o, "type"), types)};
    ev->index = (int32_t)json_integer_value(json_object_get(o, "index"));
    ev->tool = (int32_t)json_integer_value(json_object_get(o, "tool"));
    ev->text = field(o, "text");
    ev->id = field(o, "id");
    ev->name = field(o, "name");
    ev->redacted = json_is_true(json_object_get(o, "redacted"));
    ev->usage.input = json_integer_value(json_object_get(o, "input"));
    ev->usage.cached = json_integer_value(json_object_get(o, "cached"));
    ev->usage.output = json_integer_value(json_object_get(o, "output"));
    ev->times.prompt = json_integer_value(json_object_get(o, "prompt_ns"));
    ev->times.write = json_integer_value(json_object_get(o, "write_ns"));
    ev->raw = field(o, "raw");
    read_logprobs(json_object_get(o, "logprobs"), ev, a);
    if (ev->type == GEN_EV_DONE || ev->type == GEN_EV_CHOICE_END)
        ev->reason = (enum gen_reason)word(field(o, "reason"), reasons);
    if (ev->type == GEN_EV_ERROR) {
        err_set(err, ERR_UPSTREAM, "%.*s", STR_ARG(ev->text));
        ev->err = err;
    }
}

static struct gen_req *script_req(enum wire_form d, const json_t *script, struct arena *a)
{
    const json_t *body = json_object_get(script, "request"), *n = json_object_get(script, "n");
    struct gen_req *r = arena_alloc(a, sizeof *r);
    struct err e = {0};
    if (body) {
        char *text = json_dumps(body, JSON_COMPACT);
        if (wire_request_decode(d, str_of(text), a, &r, &e))
            fail_msg("%s: %s", text, e.msg);
        free(text);
        return r;
    }
    r->dialect = wire_form_dialect(d);
    r->stream = json_is_true(json_object_get(script, "stream"));
    r->stream_usage = json_is_true(json_object_get(script, "stream_usage"));
    r->n = n ? (int32_t)json_integer_value(n) : 1;
    return r;
}

static void write_script(enum wire_form d, const json_t *script, struct buf *out)
{
    struct arena *a = arena_new(1 << 20);
    struct gen_req *r = script_req(d, script, a);
    struct wire_writer *w;
    struct err e = {0}, err;
    const json_t *events = json_object_get(script, "events");
    assert_int_equal(wire_writer_new(d, r, STR("0123abc"), 1764000000, &w, &e), 0);
    for (size_t i = 0; i < json_array_size(events); i++) {
        struct gen_event ev;
        read_event(json_array_get(events, i), &ev, &err, a);
        if (wire_writer_event(w, &ev, out, &e)) {
            buf_printf(out, "refused: %s %s\n", err_name(e.code), e.msg);
            break;
        }
    }
    if (!r->stream)
        buf_putc(out, '\n');
    wire_writer_free(w);
    arena_free(a);
}

static void one_script(const char *stem)
{
    char name[256];
    struct buf text = BUF_INIT(1 << 20);
    json_error_t je;
    snprintf(name, sizeof name, "%s.script.json", stem);
    assert_true(load(name, &text));
    json_t *script = json_loadb(text.p, text.n, JSON_ALLOW_NUL, &je);
    if (!script)
        fail_msg("%s: %s", name, je.text);
    for (int d = 0; d < WIRE_FORMS; d++) {
        enum wire_form f = (enum wire_form)d;
        struct str only = field(script, "form");
        if (!wire_form_known(f) || (only.n && !str_is(only, wire_form_name(f))))
            continue;
        if (!only.n && wire_form_of(wire_form_dialect(f), GEN_CHAT) != f)
            continue; /* not a chat's */
        struct buf out = BUF_INIT(1 << 20);
        write_script((enum wire_form)d, script, &out);
        snprintf(name, sizeof name, "%s.script.%s.txt", stem, wire_form_name((enum wire_form)d));
        check(name, buf_str(&out));
        buf_done(&out);
    }
    json_decref(script);
    buf_done(&text);
}

static void answers(void **state)
{
    assert_true(each(".script.json", one_script) >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(refused),
        cmocka_unit_test(answers),
    };
    dir = getenv("WEIR_WIRE_GOLDEN");
    if (!dir)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
