/* cmd_models.c: weir pull, list, show and rm: the library from the command line. */
#include "command.h"
#include "pulling.h"

#include "clock.h"
#include "library.h"
#include "model.h"
#include "tmpl.h"
#include "tok.h"

#include <stdlib.h>
#include <string.h>

#define SHOW_CTX 8192

static int open_library(const struct settings *s, struct library **l, struct err *e)
{
    struct library_params p = {.home = s->home};
    return library_open(&p, l, e);
}

static void item_json(const struct library_item *it, struct buf *out)
{
    buf_puts(out, "{\"name\":");
    buf_json_str(out, str_of(it->name));
    buf_puts(out, ",\"path\":");
    buf_json_str(out, str_of(it->path));
    buf_puts(out, ",\"sha256\":");
    buf_json_str(out, str_of(it->sha256));
    buf_puts(out, ",\"source\":");
    buf_json_str(out, str_of(it->source));
    buf_puts(out, ",\"licence\":");
    buf_json_str(out, str_of(it->licence));
    buf_printf(out, ",\"bytes\":%llu,\"added_ms\":%lld}", (unsigned long long)it->size,
               (long long)it->added_ms);
}

int cmd_pull(const struct settings *s, int argc, char **argv)
{
    struct library_item it = {0};
    struct buf out = BUF_INIT(1 << 20);
    struct err e = {0};
    if (argc != 1)
        return command_usage(command_find("pull"), "one name, path or URL is needed");
    int rc = pulling_fetch(s, argv[0], &it, &e);
    if (rc == 0 && s->json)
        item_json(&it, &out);
    int code = rc ? command_fail(&e) : command_print(&out);
    library_item_done(&it);
    buf_done(&out);
    return code;
}

static void list_text(const struct library_list *list, struct buf *out)
{
    char when[32];
    if (list->n == 0)
        buf_puts(out, "no model is here; weir pull NAME brings one (weir pull smollm2:135m)\n");
    else
        buf_printf(out, "%-28s %10s  %-12s %s\n", "name", "size", "sha256", "added");
    for (size_t i = 0; i < list->n; i++) {
        const struct library_item *it = &list->items[i];
        buf_printf(out, "%-28s %7.1f MB  %-12.12s %.10s\n", it->name, (double)it->size / 1e6,
                   it->sha256, it->added_ms ? clock_iso(it->added_ms, when) : "");
    }
}

int cmd_list(const struct settings *s, int argc, char **argv)
{
    struct library *l = NULL;
    struct library_list list = {0};
    struct buf out = BUF_INIT((size_t)16 << 20);
    struct err e = {0};
    int rc = open_library(s, &l, &e);
    if (rc == 0)
        rc = library_list(l, &list, &e);
    if (rc == 0 && s->json) {
        buf_puts(&out, "{\"models\":[");
        for (size_t i = 0; i < list.n; i++) {
            buf_puts(&out, i ? "," : "");
            item_json(&list.items[i], &out);
        }
        buf_puts(&out, "]}\n");
    } else if (rc == 0) {
        list_text(&list, &out);
    }
    int code = rc ? command_fail(&e) : command_print(&out);
    library_list_done(&list);
    library_free(l);
    buf_done(&out);
    return code;
}

int cmd_rm(const struct settings *s, int argc, char **argv)
{
    struct library *l = NULL;
    struct err e = {0};
    if (argc != 1)
        return command_usage(command_find("rm"), "one model is needed");
    int rc = open_library(s, &l, &e);
    if (rc == 0)
        rc = library_remove(l, argv[0], &e);
    library_free(l);
    return rc ? command_fail(&e) : EXIT_OK;
}

/* ---- show ---- */

struct shown {
    struct library_item it;
    struct model *model;
    struct tok *tok;
    struct str name, template;
    uint64_t kv; /* bytes of cache for SHOW_CTX tokens */
};

static int open_shown(const struct settings *s, const char *name, struct shown *o, struct err *e)
{
    struct library *l = NULL;
    struct gguf *g = NULL;
    int rc = open_library(s, &l, e);
    if (rc == 0)
        rc = library_find(l, name, &o->it, e);
    library_free(l);
    if (rc)
        return rc;
    rc = gguf_open(o->it.path, &g, e);
    if (rc == 0 && (rc = model_open(g, &o->model, e)) != 0)
        gguf_close(g);
    if (rc)
        return rc;
    struct err ignored;
    gguf_get_str(g, "general.name", &o->name, &ignored);
    gguf_get_str(g, "tokenizer.chat_template", &o->template, &ignored);
    tok_open(g, &o->tok, &ignored); /* a file without a vocabulary can still be shown */
    o->kv = model_kv_page_bytes(o->model, false) * (SHOW_CTX / KERN_PAGE);
    return 0;
}

static void shown_done(struct shown *o)
{
    tok_free(o->tok);
    model_free(o->model);
    library_item_done(&o->it);
}

static void show_json(const struct shown *o, struct buf *out)
{
    const struct model_traits *t = model_traits(o->model);
    buf_puts(out, "{\"file\":");
    item_json(&o->it, out);
    buf_puts(out, ",\"title\":");
    buf_json_str(out, o->name);
    buf_printf(out,
               ",\"family\":\"%s\",\"params\":%llu,\"weight_bytes\":%llu,\"layers\":%d,"
               "\"width\":%d,\"ff\":%d,\"heads\":%d,\"kv_heads\":%d,\"head_dim\":%d,"
               "\"vocabulary\":%d,\"context\":%d,\"kv_bytes_8192\":%llu,\"template\":%s}\n",
               t->family, (unsigned long long)model_params(o->model),
               (unsigned long long)model_weight_bytes(o->model), t->layers, t->width, t->ff,
               t->heads, t->kv_heads, t->head_dim, t->vocab, t->ctx_train,
               (unsigned long long)o->kv, o->template.n ? "true" : "false");
}

static void show_text(const struct shown *o, struct buf *out)
{
    const struct model_traits *t = model_traits(o->model);
    buf_printf(out, "%s\n", o->it.name);
    if (o->name.n)
        buf_printf(out, "  title       %.*s\n", STR_ARG(o->name));
    buf_printf(out, "  file        %s (%.1f MB)\n", o->it.path, (double)o->it.size / 1e6);
    if (o->it.sha256[0])
        buf_printf(out, "  sha256      %s\n", o->it.sha256);
    if (o->it.licence[0])
        buf_printf(out, "  licence     %s\n", o->it.licence);
    buf_printf(out, "  family      %s, %.1f M parameters\n", t->family,
               (double)model_params(o->model) / 1e6);
    buf_printf(out,
               "  shape       %d layers, width %d, feed-forward %d, %d heads, %d KV heads of %d\n",
               t->layers, t->width, t->ff, t->heads, t->kv_heads, t->head_dim);
    buf_printf(out, "  vocabulary  %d\n  context     %d tokens\n", t->vocab, t->ctx_train);
    buf_printf(out, "  memory      %.1f MB of weights, %.1f MB of cache for %d tokens\n",
               (double)model_weight_bytes(o->model) / 1e6, (double)o->kv / 1e6, SHOW_CTX);
    if (model_is_encoder(o->model))
        buf_puts(out, "  template    none: it gives embeddings and writes no text\n");
    else
        buf_printf(out, "  template    %s\n", o->template.n ? "yes" : "none: raw prompts only");
    if (!o->tok)
        buf_puts(out, "  tokenizer   none that weir knows\n");
}

int cmd_show(const struct settings *s, int argc, char **argv)
{
    struct shown o = {0};
    struct buf out = BUF_INIT((size_t)16 << 20);
    struct err e = {0};
    if (argc != 1)
        return command_usage(command_find("show"), "one model is needed");
    int rc = open_shown(s, argv[0], &o, &e);
    if (rc == 0 && s->json)
        show_json(&o, &out);
    else if (rc == 0)
        show_text(&o, &out);
    int code = rc ? command_fail(&e) : command_print(&out);
    shown_done(&o);
    buf_done(&out);
    return code;
}
