/* cmd_embed.c: weir embed: a vector for each line of standard input, in the OpenAI dialect's JSON.
 * An empty line has no vector and is passed over; `index` counts the others. */
#include "command.h"
#include "turn.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)64 << 20)
#define MAX_ROWS ((size_t)64 << 20)
#define AT_ONCE 256 /* lines in one request */

/* The next lines of the text, at most AT_ONCE. NULL: not UTF-8. */
static json_t *take_lines(struct str *text)
{
    json_t *lines = json_array();
    while (text->n && json_array_size(lines) < AT_ONCE) {
        struct str line, rest = STR_NONE;
        if (!str_cut(*text, '\n', &line, &rest)) {
            line = *text;
            rest = STR_NONE;
        }
        *text = rest;
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (!line.n)
            continue;
        if (json_array_append_new(lines, json_stringn(line.p, line.n)) != 0) {
            json_decref(lines);
            return NULL;
        }
    }
    return lines;
}

static char *make_body(const struct settings *s, const char *model, json_t *lines)
{
    json_t *o =
        json_pack("{s:s, s:O, s:b}", "model", model, "input", lines, "truncate", (int)s->truncate);
    if (o && s->dimensions > 0)
        json_object_set_new(o, "dimensions", json_integer(s->dimensions));
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

/* Rows of a later request go on with the count of the first. */
static int join(json_t **all, struct str body, struct err *e)
{
    json_t *o = json_loadb(body.p ? body.p : "", body.n, 0, NULL);
    if (!o)
        return err_set(e, ERR_INTERNAL, "the answer is not JSON");
    if (!*all) {
        *all = o;
        return 0;
    }
    json_t *data = json_object_get(*all, "data"), *more = json_object_get(o, "data"), *row;
    size_t i, before = json_array_size(data);
    json_array_foreach(more, i, row)
        json_object_set_new(row, "index", json_integer((json_int_t)(before + i)));
    json_array_extend(data, more);
    const char *name;
    json_t *count, *usage = json_object_get(*all, "usage");
    json_object_foreach(json_object_get(o, "usage"), name, count) json_object_set_new(
        usage, name,
        json_integer(json_integer_value(count) + json_integer_value(json_object_get(usage, name))));
    json_decref(o);
    return 0;
}

static int embed_lines(struct client *c, const struct settings *s, const char *model, json_t *lines,
                       json_t **all, struct err *e)
{
    struct buf whole = BUF_INIT(MAX_ROWS);
    struct client_call call = {.whole = &whole};
    char *body = make_body(s, model, lines);
    int rc = body ? turn_post(c, s, "/v1/embeddings", str_of(body), &call, e)
                  : err_set(e, ERR_FORMAT, "the model's name is not valid UTF-8");
    if (rc == 0)
        rc = join(all, buf_str(&whole), e);
    free(body);
    buf_done(&whole);
    return rc;
}

static int print_answer(const json_t *all)
{
    char *text = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    int code = text && puts(text) >= 0 ? EXIT_OK : EXIT_FAILED;
    free(text);
    return code;
}

int cmd_embed(const struct settings *s, int argc, char **argv)
{
    if (argc != 1)
        return command_usage(command_find("embed"), "one model is needed");
    struct client *c = NULL;
    struct buf text;
    struct err e = {0};
    json_t *all = NULL;
    int rc = command_read_file("-", MAX_TEXT, &text, &e);
    struct str rest = rc ? STR_NONE : buf_str(&text);
    if (rc == 0)
        rc = client_open(s, false, &c, &e);
    while (rc == 0 && rest.n) {
        json_t *lines = take_lines(&rest);
        if (!lines)
            rc = err_set(&e, ERR_FORMAT, "a line is not valid UTF-8");
        else if (json_array_size(lines))
            rc = embed_lines(c, s, argv[0], lines, &all, &e);
        json_decref(lines);
    }
    if (rc == 0 && !all)
        rc = err_set(&e, ERR_INVAL, "there is no text: weir embed MODEL < FILE, a text a line");
    client_close(c);
    buf_done(&text);
    int code = rc ? command_fail(&e) : print_answer(all);
    json_decref(all);
    return code;
}
