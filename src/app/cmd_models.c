/* cmd_models.c: weir pull, list, show and rm: the library from the command line. */
#include "command.h"
#include "pulling.h"

#include "clock.h"
#include "engine.h"
#include "library.h"
#include "model.h"
#include "tmpl.h"
#include "tok.h"

#include <stdlib.h>
#include <string.h>

static int open_library(const struct settings *s, struct library **l, struct err *e)
{
    struct library_params p = pulling_params(s, NULL);
    return library_open(&p, l, e);
}

static void text_json(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, ",\"%s\":", key);
    buf_json_str(out, str_of(text));
}

static void item_json(const struct library_item *it, struct buf *out)
{
    buf_puts(out, "{\"name\":");
    buf_json_str(out, str_of(it->name));
    text_json(out, "path", it->path);
    text_json(out, "store", it->store);
    text_json(out, "sha256", it->sha256);
    text_json(out, "source", it->source);
    text_json(out, "licence", it->licence);
    if (it->base[0])
        text_json(out, "base", it->base);
    if (it->note[0])
        text_json(out, "note", it->note);
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

/* Whose the file is. */
static const char *where(const char *store)
{
    return strcmp(store, "ollama") == 0     ? "Ollama"
           : strcmp(store, "lmstudio") == 0 ? "LM Studio"
                                            : "weir";
}

static void list_text(const struct library_list *list, struct buf *out)
{
    char when[32];
    int width = 28;
    for (size_t i = 0; i < list->n; i++) {
        size_t n = strlen(list->items[i].name);
        width = n > (size_t)width && n <= 80 ? (int)n : width;
    }
    if (list->n == 0)
        buf_puts(out, "no model is here; weir pull NAME brings one (weir pull smollm2:135m)\n");
    else
        buf_printf(out, "%-*s %10s  %-12s %-10s  %s\n", width, "name", "size", "sha256", "added",
                   "where");
    for (size_t i = 0; i < list->n; i++) {
        const struct library_item *it = &list->items[i];
        buf_printf(out, "%-*s %7.1f MB  %-12.12s %-10.10s  %s\n", width, it->name,
                   (double)it->size / 1e6, it->sha256,
                   it->added_ms ? clock_iso(it->added_ms, when) : "", where(it->store));
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
    enum model_cache cache; /* what the settings choose */
    struct engine_memory memory[MODEL_CACHES];
    bool can[MODEL_CACHES]; /* memory[] is filled: the heads allow the type */
    uint64_t program;       /* without weights and cache, the vocabulary included */
};

/* What the ledger, the detectors and the network add to a process that answers, measured. */
#define HOUSE_BYTES ((uint64_t)7 << 20)

/* What the engine would take with these settings; where that does not fit into what is free now,
 * what it would take all the same. */
static void show_memory(const struct settings *s, struct shown *o)
{
    struct engine_params p = {
        .threads = (int)s->threads, .ctx = (int32_t)s->ctx, .parallel = (int)s->parallel};
    model_cache_of(s->cache_type, &o->cache);
    o->program = engine_memory_resident() + HOUSE_BYTES;
    for (int i = 0; i < MODEL_CACHES; i++) {
        p.cache = (enum model_cache)i;
        p.kv_bytes = 0;
        o->can[i] = engine_memory_of(o->model, &p, &o->memory[i], NULL) == 0;
        p.kv_bytes = UINT64_MAX / 2;
        if (!o->can[i])
            o->can[i] = engine_memory_of(o->model, &p, &o->memory[i], NULL) == 0;
    }
}

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
    show_memory(s, o);
    return 0;
}

static void shown_done(struct shown *o)
{
    tok_free(o->tok);
    model_free(o->model);
    library_item_done(&o->it);
}

static void memory_json(const struct shown *o, struct buf *out)
{
    const char *comma = "";
    buf_printf(out, ",\"memory_free\":%llu,\"memory_program\":%llu,\"cache_type\":\"%s\"",
               (unsigned long long)engine_memory_free(), (unsigned long long)o->program,
               model_cache_name(o->cache));
    buf_puts(out, ",\"memory\":{");
    for (int i = 0; i < MODEL_CACHES; i++) {
        const struct engine_memory *v = &o->memory[i];
        if (!o->can[i])
            continue;
        buf_printf(out,
                   "%s\"%s\":{\"context\":%d,\"weights\":%llu,\"cache_1000\":%llu,"
                   "\"cache_session\":%llu,\"cache_snapshot\":%llu,\"cache_limit\":%llu,"
                   "\"scratch\":%llu,\"total\":%llu}",
                   comma, model_cache_name((enum model_cache)i), v->ctx,
                   (unsigned long long)v->weights, (unsigned long long)v->kv_1k,
                   (unsigned long long)v->kv_session, (unsigned long long)v->kv_snapshot,
                   (unsigned long long)v->kv_limit, (unsigned long long)v->scratch,
                   (unsigned long long)(v->total + o->program));
        comma = ",";
    }
    buf_puts(out, "}");
}

/* What the record says; params and messages are JSON already. */
static void texts_json(const struct library_texts *t, struct buf *out)
{
    if (t->template_text[0])
        text_json(out, "record_template", t->template_text);
    if (t->system[0])
        text_json(out, "system", t->system);
    if (t->params[0])
        buf_printf(out, ",\"parameters\":%s", t->params);
    if (t->messages[0])
        buf_printf(out, ",\"messages\":%s", t->messages);
    if (t->licence_text[0])
        text_json(out, "licence_text", t->licence_text);
}

static void show_json(const struct shown *o, struct buf *out)
{
    const struct model_traits *t = model_traits(o->model);
    buf_puts(out, "{\"file\":");
    item_json(&o->it, out);
    texts_json(&o->it.texts, out);
    buf_puts(out, ",\"title\":");
    buf_json_str(out, o->name);
    buf_printf(out,
               ",\"family\":\"%s\",\"params\":%llu,\"weight_bytes\":%llu,\"layers\":%d,"
               "\"width\":%d,\"ff\":%d,\"heads\":%d,\"kv_heads\":%d,\"head_dim\":%d,"
               "\"vocabulary\":%d,\"context\":%d,\"kv_bytes_8192\":%llu,\"template\":%s",
               t->family, (unsigned long long)model_params(o->model),
               (unsigned long long)model_weight_bytes(o->model), t->layers, t->width, t->ff,
               t->heads, t->kv_heads, t->head_dim, t->vocab, t->ctx_train,
               (unsigned long long)model_kv_need(o->model, o->cache, 8192, MODEL_SLICE),
               o->template.n ? "true" : "false");
    memory_json(o, out);
    buf_puts(out, "}\n");
}

static void memory_text(const struct shown *o, struct buf *out)
{
    buf_printf(out, "  memory      (MB)  %9s %9s %9s %9s %9s %9s %9s\n", "context", "weights",
               "cache/1k", "cache", "scratch", "program", "total");
    for (int i = 0; i < MODEL_CACHES; i++) {
        const struct engine_memory *v = &o->memory[i];
        if (i == MODEL_CACHE_F32 || !o->can[i])
            continue;
        buf_printf(out, "    %c %-10s    %9d %9.1f %9.2f %9.1f %9.1f %9.1f %9.1f\n",
                   i == (int)o->cache ? '*' : ' ', model_cache_name((enum model_cache)i), v->ctx,
                   (double)v->weights / 1e6, (double)v->kv_1k / 1e6, (double)v->kv_session / 1e6,
                   (double)v->scratch / 1e6, (double)o->program / 1e6,
                   (double)(v->total + o->program) / 1e6);
    }
    const struct engine_memory *v = &o->memory[o->cache];
    uint64_t have = engine_memory_free();
    if (!o->can[o->cache])
        buf_printf(out, "    %s: heads of %d are no whole blocks of this type\n",
                   model_cache_name(o->cache), model_traits(o->model)->head_dim);
    else if (v->kv_snapshot)
        buf_printf(out, "    and %.1f MB for each place a session can be cut back to\n",
                   (double)v->kv_snapshot / 1e6);
    if (o->can[o->cache] && v->total + o->program > have)
        buf_printf(out, "    does not fit: %.1f MB are free\n", (double)have / 1e6);
}

/* Each text under its name, its lines set in. */
static void indented(const char *name, const char *text, struct buf *out)
{
    struct str line, rest = str_of(text);
    if (rest.n)
        buf_printf(out, "\n  %s\n", name);
    for (bool more = rest.n > 0; more;) {
        more = str_cut(rest, '\n', &line, &rest);
        if (more || line.n)
            buf_printf(out, "    %.*s\n", STR_ARG(line));
    }
}

static void texts_text(const struct library_texts *t, struct buf *out)
{
    indented("parameters of its record", t->params, out);
    indented("system prompt of its record", t->system, out);
    indented("template of its record", t->template_text, out);
    indented("messages of its record", t->messages, out);
}

static void show_text(const struct shown *o, struct buf *out)
{
    const struct model_traits *t = model_traits(o->model);
    buf_printf(out, "%s\n", o->it.name);
    if (o->name.n)
        buf_printf(out, "  title       %.*s\n", STR_ARG(o->name));
    buf_printf(out, "  file        %s (%.1f MB)\n", o->it.path, (double)o->it.size / 1e6);
    if (o->it.store[0] && !o->it.managed)
        buf_printf(out, "  where       %s's own store, used in place\n", where(o->it.store));
    if (o->it.source[0])
        buf_printf(out, "  source      %s\n", o->it.source);
    if (o->it.base[0])
        buf_printf(out, "  made from   %s\n", o->it.base);
    if (o->it.note[0])
        buf_printf(out, "  note        %s\n", o->it.note);
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
    memory_text(o, out);
    if (model_is_encoder(o->model))
        buf_puts(out, "  template    none: it gives embeddings and writes no text\n");
    else
        buf_printf(out, "  template    %s\n", o->template.n ? "yes" : "none: raw prompts only");
    if (!o->tok)
        buf_puts(out, "  tokenizer   none that weir knows\n");
    texts_text(&o->it.texts, out);
}

static int show_modelfile(const struct settings *s, const char *name)
{
    struct library *l = NULL;
    struct library_item it = {0};
    struct buf out = BUF_INIT((size_t)16 << 20);
    struct err e = {0};
    int rc = open_library(s, &l, &e);
    if (rc == 0)
        rc = library_find(l, name, &it, &e);
    if (rc == 0)
        library_modelfile_write(&it, &out);
    int code = rc ? command_fail(&e) : command_print(&out);
    library_item_done(&it);
    library_free(l);
    buf_done(&out);
    return code;
}

int cmd_show(const struct settings *s, int argc, char **argv)
{
    struct shown o = {0};
    struct buf out = BUF_INIT((size_t)16 << 20);
    struct err e = {0};
    if (argc != 1)
        return command_usage(command_find("show"), "one model is needed");
    if (s->as_modelfile)
        return show_modelfile(s, argv[0]);
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
