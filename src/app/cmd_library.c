/* cmd_library.c: weir create, cp and verify: making models of models, and checking them. */
#include "command.h"
#include "pulling.h"

#include "library.h"

#include <stdlib.h>
#include <string.h>

/* ---- create ---- */

struct making {
    const char *name;
    struct library_recipe recipe;
    struct library_item it;
};

static int do_create(void *ctx, const struct library *l, const struct library_watch *watch,
                     struct err *e)
{
    struct making *m = ctx;
    return library_create(l, m->name, &m->recipe, watch, &m->it, e);
}

/* A relative path in a Modelfile is meant from where that file lies. */
static int place_from(const char *modelfile, struct library_recipe *r, struct err *e)
{
    const char *slash = strrchr(modelfile, '/');
    bool relative =
        strncmp(r->from, "./", 2) == 0 || strncmp(r->from, "../", 3) == 0 ||
        (r->from[0] != '/' && !strchr(r->from, ':') && str_ends(str_of(r->from), STR(".gguf")));
    if (!slash || !relative || strcmp(modelfile, "-") == 0)
        return 0;
    char *path = NULL;
    if (asprintf(&path, "%.*s/%s", (int)(slash - modelfile), modelfile, r->from) < 0)
        return err_set(e, ERR_NOMEM, "out of memory");
    free(r->from);
    r->from = path;
    return 0;
}

static int read_recipe(const char *path, struct library_recipe *out, struct err *e)
{
    struct buf text;
    struct err why = {0};
    int rc = command_read_file(path, (size_t)8 << 20, &text, e);
    if (rc == 0) {
        rc = library_modelfile_parse(buf_str(&text), out, &why);
        if (rc != 0)
            err_set_at(e, rc, why.pos, "%s: %s", path, err_msg(&why));
    }
    if (rc == 0)
        rc = place_from(path, out, e);
    buf_done(&text);
    return rc;
}

int cmd_create(const struct settings *s, int argc, char **argv)
{
    struct making m = {0};
    struct err e = {0};
    if (argc != 1)
        return command_usage(command_find("create"), "one name is needed");
    m.name = argv[0];
    int rc = read_recipe(s->modelfile, &m.recipe, &e);
    if (rc == 0)
        rc = pulling_with(s, do_create, &m, &e);
    if (rc == 0 && s->json)
        printf("{\"name\":\"%s\",\"sha256\":\"%s\"}\n", m.it.name, m.it.sha256);
    else if (rc == 0 && !s->quiet)
        fprintf(stderr, "%s is ready, made from %s\n", m.it.name, m.it.base);
    library_recipe_done(&m.recipe);
    library_item_done(&m.it);
    return rc ? command_fail(&e) : EXIT_OK;
}

/* ---- cp ---- */

int cmd_cp(const struct settings *s, int argc, char **argv)
{
    struct library_params p = pulling_params(s, NULL);
    struct library *l = NULL;
    struct err e = {0};
    if (argc != 2)
        return command_usage(command_find("cp"), "a model and a new name are needed");
    int rc = library_open(&p, &l, &e);
    if (rc == 0)
        rc = library_copy(l, argv[0], argv[1], &e);
    library_free(l);
    return rc ? command_fail(&e) : EXIT_OK;
}

/* ---- verify ---- */

struct checking {
    const struct settings *s;
    char **names;
    int n, bad;
};

static void tell(const struct checking *c, const char *name, int rc, const struct err *why)
{
    const char *word = rc == 0                 ? "ok"
                       : rc == ERR_UNSUPPORTED ? "unknown"
                       : rc == ERR_CHECKSUM    ? "corrupted"
                                               : "failed";
    struct buf out = BUF_INIT(1 << 16);
    if (c->s->json) {
        buf_puts(&out, "{\"name\":");
        buf_json_str(&out, str_of(name));
        buf_printf(&out, ",\"result\":\"%s\",\"detail\":", word);
        buf_json_str(&out, str_of(rc ? err_msg(why) : ""));
        buf_puts(&out, "}\n");
    } else if (rc == 0) {
        buf_printf(&out, "%s: ok\n", name);
    } else {
        buf_printf(&out, "%s: %s: %s\n", name, word, err_msg(why));
    }
    command_print(&out);
    buf_done(&out);
}

/* A model without a digest is no failure unless it was asked for. */
static int check_one(struct checking *c, const struct library *l, const char *name, bool asked,
                     const struct library_watch *watch, struct err *e)
{
    struct err why = {0};
    int rc = library_verify(l, name, watch, &why);
    if (rc == ERR_CANCELLED || (rc == ERR_NOT_FOUND && asked)) {
        *e = why;
        return rc;
    }
    tell(c, name, rc, &why);
    if (rc != 0 && (rc != ERR_UNSUPPORTED || asked))
        c->bad++;
    return 0;
}

static int do_verify(void *ctx, const struct library *l, const struct library_watch *watch,
                     struct err *e)
{
    struct checking *c = ctx;
    struct library_list list = {0};
    int rc = c->n ? 0 : library_list(l, &list, e);
    for (int i = 0; i < c->n && rc == 0; i++)
        rc = check_one(c, l, c->names[i], true, watch, e);
    for (size_t i = 0; i < list.n && rc == 0; i++)
        rc = check_one(c, l, list.items[i].name, false, watch, e);
    library_list_done(&list);
    return rc;
}

int cmd_verify(const struct settings *s, int argc, char **argv)
{
    struct checking c = {.s = s, .names = argv, .n = argc};
    struct err e = {0};
    int rc = pulling_with(s, do_verify, &c, &e);
    if (rc != 0)
        return command_fail(&e);
    return c.bad ? EXIT_FAILED : EXIT_OK;
}
