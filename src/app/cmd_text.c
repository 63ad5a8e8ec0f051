/* cmd_text.c: weir tokenize and weir template: what a model is really given. */
#include "command.h"
#include "pulling.h"

#include "clock.h"
#include "tmpl.h"
#include "tok.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)256 << 20)
#define MAX_IDS ((size_t)64 << 20)

struct opened {
    struct gguf *gguf;
    struct tok *tok;
};

static int open_vocabulary(const struct settings *s, const char *name, struct opened *o,
                           struct err *e)
{
    char *path = NULL;
    int rc = pulling_path(s, name, &path, e);
    if (rc == 0)
        rc = gguf_open(path, &o->gguf, e);
    if (rc == 0)
        rc = tok_open(o->gguf, &o->tok, e);
    free(path);
    return rc;
}

static void opened_done(struct opened *o)
{
    tok_free(o->tok);
    gguf_close(o->gguf);
}

static void print_ids(const struct settings *s, const struct tok *t, const struct tok_ids *ids,
                      struct buf *out)
{
    if (s->json) {
        buf_puts(out, "{\"ids\":[");
        for (size_t i = 0; i < ids->n; i++)
            buf_printf(out, "%s%d", i ? "," : "", ids->p[i]);
        buf_puts(out, "]}\n");
        return;
    }
    for (size_t i = 0; i < ids->n; i++) {
        buf_printf(out, "%8d  ", ids->p[i]);
        buf_json_str(out, tok_piece(t, ids->p[i]));
        buf_putc(out, '\n');
    }
    buf_printf(out, "%zu tokens\n", ids->n);
}

int cmd_tokenize(const struct settings *s, int argc, char **argv)
{
    if (argc != 1)
        return command_usage(command_find("tokenize"), "one model is needed");
    struct opened o = {0};
    struct buf text, out = BUF_INIT(MAX_TEXT * 4);
    struct tok_ids ids = {0};
    struct err e = {0};
    int rc = command_read_file("-", MAX_TEXT, &text, &e);
    if (rc == 0)
        rc = open_vocabulary(s, argv[0], &o, &e);
    if (rc == 0) {
        struct tok_span span = {buf_str(&text), !s->no_special};
        unsigned add = s->no_special ? 0 : TOK_ADD_BOS | TOK_ADD_EOS;
        rc = tok_encode(o.tok, &span, 1, add, MAX_IDS, &ids, &e);
    }
    if (rc == 0)
        print_ids(s, o.tok, &ids, &out);
    int code = rc ? command_fail(&e) : command_print(&out);
    tok_ids_done(&ids);
    opened_done(&o);
    buf_done(&text);
    buf_done(&out);
    return code;
}

/* ---- weir template ---- */

/* The template's source and the model's own BOS and EOS, from a GGUF or from a plain file. */
static int load_template(const struct settings *s, const char *what, struct opened *o,
                         struct buf *source, struct err *e)
{
    struct str name = str_of(what), text;
    if (str_ends(name, STR(".jinja")) || str_ends(name, STR(".txt")) || str_ends(name, STR(".j2")))
        return command_read_file(what, (size_t)4 << 20, source, e);
    int rc = open_vocabulary(s, what, o, e);
    if (rc == 0)
        rc = gguf_get_str(o->gguf, "tokenizer.chat_template", &text, e);
    if (rc == 0)
        buf_str_add(source, text);
    return rc;
}

static struct str special(const struct opened *o, int32_t id, const char *otherwise)
{
    if (!o->tok)
        return str_of(otherwise);
    return id < 0 ? STR_NONE : tok_piece(o->tok, id);
}

/* A list of messages becomes {"messages": …}; add_generation_prompt is true unless the file says
 * otherwise. */
static char *make_vars(const struct buf *file, struct err *e)
{
    json_error_t je;
    json_t *v = json_loadb(file->p ? file->p : "", file->n, JSON_ALLOW_NUL, &je);
    if (!v) {
        err_set_at(e, ERR_FORMAT, (uint64_t)je.position, "the messages are not JSON: line %d: %s",
                   je.line, je.text);
        return NULL;
    }
    if (json_is_array(v))
        v = json_pack("{s:o}", "messages", v);
    if (json_is_object(v) && !json_object_get(v, "add_generation_prompt"))
        json_object_set_new(v, "add_generation_prompt", json_true());
    char *text = json_is_object(v) ? json_dumps(v, JSON_COMPACT) : NULL;
    if (!text)
        err_set(e, ERR_FORMAT, "the messages must be a list, or an object with \"messages\"");
    json_decref(v);
    return text;
}

static int render(const struct opened *o, const struct buf *source, const char *vars,
                  struct tmpl_out *out, struct err *e)
{
    struct tmpl *t = NULL;
    int rc = tmpl_parse(buf_str(source), &t, e);
    if (rc == 0)
        rc = tmpl_render_json(t, str_of(vars), special(o, o->tok ? tok_bos(o->tok) : -1, "<s>"),
                              special(o, o->tok ? tok_eos(o->tok) : -1, "</s>"), clock_wall_ms(),
                              out, e);
    tmpl_free(t);
    return rc;
}

int cmd_template(const struct settings *s, int argc, char **argv)
{
    if (argc != 1 || !s->messages_file)
        return command_usage(command_find("template"), "a model and --messages FILE are needed");
    struct opened o = {0};
    struct buf source = BUF_INIT((size_t)4 << 20), file;
    struct tmpl_out out;
    struct err e = {0};
    char *vars = NULL;
    tmpl_out_init(&out, MAX_TEXT);
    int rc = command_read_file(s->messages_file, MAX_TEXT, &file, &e);
    if (rc == 0 && !(vars = make_vars(&file, &e)))
        rc = e.code;
    if (rc == 0)
        rc = load_template(s, argv[0], &o, &source, &e);
    if (rc == 0)
        rc = render(&o, &source, vars, &out, &e);
    int code = rc ? command_fail(&e) : EXIT_OK;
    /* Byte for byte: no newline is added. */
    if (rc == 0 && fwrite(out.text.p ? out.text.p : "", 1, out.text.n, stdout) != out.text.n)
        code = EXIT_FAILED;
    free(vars);
    tmpl_out_done(&out);
    opened_done(&o);
    buf_done(&source);
    buf_done(&file);
    return code;
}
