/* ollama_models.c: what models there are, as Ollama's API tells it. */
#include "ollama.h"

#include "clock.h"
#include "manage.h"
#include "models.h"
#include "pipeline.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Of the API that is spoken here: programs ask it before they use what is newer. */
#define API_VERSION "0.12.6"
#define MAX_LIST ((size_t)16 << 20)
#define MAX_ARRAY 64 /* longer ones of a file's values are left out, as there, unless verbose */

/* ---- shared ---- */

void ollama_fail(struct net_req *r, const struct err *e)
{
    pipeline_refuse(r, (struct face){WIRE_OLLAMA_CHAT, FACE_FORM}, e);
}

int ollama_model_name(const json_t *o, struct str *out, struct err *e)
{
    const json_t *model = json_object_get(o, "model");
    bool none = !model || (json_is_string(model) && !json_string_length(model));
    return manage_string(o, none && json_object_get(o, "name") ? "name" : "model", true, out, e);
}

/* "134.52M", "8B" */
static void put_parameters(struct buf *b, double n)
{
    static const struct {
        double one;
        char letter;
    } units[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (n < units[i].one)
            continue;
        double v = n / units[i].one;
        buf_printf(b,
                   v < 10 && i < 2 ? "%.1f%c"
                   : i == 2        ? "%.2f%c"
                                   : "%.0f%c",
                   v, units[i].letter);
        return;
    }
    buf_printf(b, "%.0f", n);
}

static void put_details(const struct models_entry *en, struct buf *b)
{
    buf_puts(b, "\"details\":{\"parent_model\":");
    buf_json_str(b, str_of(en->item.base ? en->item.base : ""));
    buf_printf(b, ",\"format\":\"gguf\",\"family\":\"%s\",\"families\":[\"%s\"]", en->family,
               en->family);
    buf_puts(b, ",\"parameter_size\":\"");
    put_parameters(b, en->params);
    buf_printf(b, "\",\"quantization_level\":\"%s\"}", en->quant);
}

/* Every name has a tag there: programs look for "NAME:latest" in the list. */
static void put_name(const struct models_entry *en, struct buf *b)
{
    char full[512];
    const char *last = strrchr(en->name, '/');
    bool tagged = strchr(last ? last : en->name, ':');
    snprintf(full, sizeof full, "%s%s", en->name, tagged ? "" : ":latest");
    buf_json_str(b, str_of(full));
}

static void put_names(const struct models_entry *en, struct buf *b)
{
    buf_puts(b, "{\"name\":");
    put_name(en, b);
    buf_puts(b, ",\"model\":");
    put_name(en, b);
    buf_printf(b, ",\"size\":%llu,\"digest\":\"%s\",", (unsigned long long)en->bytes,
               en->item.sha256);
    put_details(en, b);
}

static struct models_entry *entry(struct house *h, struct net_req *r, json_t **o, struct err *e)
{
    struct str name;
    if (manage_body(r, o, e) != 0 || ollama_model_name(*o, &name, e) != 0)
        return NULL;
    struct models_entry *en = models_find(h->models, name, false, e);
    if (!en && e->code == ERR_NOT_FOUND)
        err_set(e, ERR_NOT_FOUND, "model '%.*s' not found", STR_ARG(name));
    return en;
}

/* ---- facts of the server ---- */

void ollama_root(struct house *h, struct net_req *r)
{
    net_res_send(r, 200, "text/plain; charset=utf-8", STR("Ollama is running"));
}

void ollama_version(struct house *h, struct net_req *r)
{
    net_res_send(r, 200, "application/json",
                 STR("{\"version\":\"" API_VERSION "\",\"weir\":\"" WEIR_VERSION "\"}"));
}

/* ---- lists ---- */

void ollama_tags(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT(MAX_LIST);
    bool first = true;
    models_refresh(h->models);
    buf_puts(&b, "{\"models\":[");
    for (struct models_entry *en = models_first(h->models); en; en = en->next) {
        if (en->from_path)
            continue;
        buf_puts(&b, first ? "" : ",");
        first = false;
        put_names(en, &b);
        buf_putc(&b, ',');
        manage_time(&b, "modified_at", en->item.added_ms);
        buf_putc(&b, '}');
    }
    buf_puts(&b, "]}");
    manage_send(r, &b);
}

/* A model that never goes has, as there, a time far off. */
static int64_t expiry_ms(const struct models_entry *en)
{
    uint64_t now = clock_mono_ns();
    int64_t wall = clock_wall_ms();
    if (en->keep_ms < 0)
        return wall + (int64_t)100 * 365 * 86400 * 1000;
    if (en->holds || !en->expires_ns || en->expires_ns < now)
        return wall + en->keep_ms;
    return wall + (int64_t)((en->expires_ns - now) / 1000000);
}

void ollama_ps(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT(MAX_LIST);
    bool first = true;
    buf_puts(&b, "{\"models\":[");
    for (struct models_entry *en = models_first(h->models); en; en = en->next) {
        if (!en->local || en->from_path)
            continue;
        buf_puts(&b, first ? "" : ",");
        first = false;
        put_names(en, &b);
        buf_putc(&b, ',');
        manage_time(&b, "expires_at", expiry_ms(en));
        buf_printf(&b, ",\"size_vram\":0,\"context_length\":%lld}", (long long)en->caps.context);
    }
    buf_puts(&b, "]}");
    manage_send(r, &b);
}

/* ---- one model ---- */

/* A number as people write it: 0.2 and 1, not 0.20000000000000001 and 1.0. */
static void put_param(const json_t *v, struct buf *b)
{
    if (json_is_real(v)) {
        buf_printf(b, "%.15g", json_real_value(v));
        return;
    }
    char *one = json_dumps(v, JSON_ENCODE_ANY);
    buf_puts(b, one ? one : "");
    free(one);
}

/* "temperature                    0.7" a line, as the command line there prints. */
static void put_params(const char *json, struct buf *b)
{
    json_t *o = json[0] ? json_loads(json, 0, NULL) : NULL, *v;
    struct buf text = BUF_INIT(1 << 20);
    const char *key;
    json_object_foreach(o, key, v)
    {
        size_t n = json_is_array(v) ? json_array_size(v) : 1;
        for (size_t i = 0; i < n; i++) {
            buf_printf(&text, "%s%-30s ", text.n ? "\n" : "", key);
            put_param(json_is_array(v) ? json_array_get(v, i) : v, &text);
        }
    }
    buf_json_str(b, buf_str(&text));
    buf_done(&text);
    json_decref(o);
}

static void put_capabilities(const struct models_entry *en, const struct local_facts *f,
                             struct buf *b)
{
    buf_printf(b, "\"capabilities\":[\"%s\"%s%s%s%s]", f->encoder ? "embedding" : "completion",
               f->tools ? ",\"tools\"" : "", f->infill ? ",\"insert\"" : "",
               f->reasoning ? ",\"thinking\"" : "", en->caps.images ? ",\"vision\"" : "");
}

static void put_texts(const struct models_entry *en, const struct local_facts *f, struct buf *b)
{
    const struct library_texts *t = &en->item.texts;
    struct buf file = BUF_INIT((size_t)8 << 20);
    library_modelfile_write(&en->item, &file);
    buf_puts(b, "\"license\":");
    buf_json_str(b, str_of(t->licence_text[0] ? t->licence_text : en->item.licence));
    buf_puts(b, ",\"modelfile\":");
    buf_json_str(b, buf_str(&file));
    buf_puts(b, ",\"parameters\":");
    put_params(t->params, b);
    buf_puts(b, ",\"template\":");
    buf_json_str(b, t->template_text[0] ? str_of(t->template_text) : f->tmpl);
    buf_puts(b, ",\"system\":");
    buf_json_str(b, str_of(t->system));
    if (t->messages[0])
        buf_printf(b, ",\"messages\":%s", t->messages);
    buf_done(&file);
}

/* [{"name":"token_embd.weight","type":"Q8_0","shape":[64,512]}] */
static void put_tensors(const struct gguf *g, struct buf *b)
{
    buf_puts(b, ",\"tensors\":[");
    for (size_t i = 0; i < gguf_ntensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const char *type = "";
        gguf_dtype_info(t->dtype, &type, NULL, NULL);
        buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
        buf_json_str(b, t->name);
        buf_printf(b, ",\"type\":\"%s\",\"shape\":[", type);
        for (int k = 0; k < t->ndims; k++)
            buf_printf(b, "%s%llu", k ? "," : "", (unsigned long long)t->dims[k]);
        buf_puts(b, "]}");
    }
    buf_putc(b, ']');
}

static void show(struct models_entry *en, bool verbose, struct buf *b, struct err *e)
{
    struct gguf *g = NULL;
    struct local_facts f;
    if (gguf_open(en->path, &g, e) != 0)
        return;
    local_facts_of(g, str_of(en->item.texts.template_text), &f);
    buf_putc(b, '{');
    put_texts(en, &f, b);
    buf_putc(b, ',');
    put_details(en, b);
    buf_putc(b, ',');
    put_capabilities(en, &f, b);
    buf_puts(b, ",\"model_info\":");
    local_values_json(g, verbose ? SIZE_MAX : MAX_ARRAY, b);
    if (!gguf_find(g, "general.parameter_count")) { /* Ollama counts it where the file does not */
        buf_cut(b, b->n - 1);
        buf_printf(b, "%s\"general.parameter_count\":%.0f}", gguf_nvalues(g) ? "," : "",
                   en->params);
    }
    if (verbose)
        put_tensors(g, b);
    buf_putc(b, ',');
    manage_time(b, "modified_at", en->item.added_ms);
    buf_putc(b, '}');
    gguf_close(g);
}

void ollama_show(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct err e = {0};
    struct buf b = BUF_INIT((size_t)64 << 20);
    struct models_entry *en = entry(h, r, &o, &e);
    if (en)
        show(en, json_is_true(json_object_get(o, "verbose")), &b, &e);
    json_decref(o);
    if (e.code) {
        buf_done(&b);
        ollama_fail(r, &e);
        return;
    }
    manage_send(r, &b);
}

void ollama_copy(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct str from, to;
    struct err e = {0};
    int rc = manage_body(r, &o, &e);
    if (rc == 0)
        rc = manage_string(o, "source", true, &from, &e);
    if (rc == 0)
        rc = manage_string(o, "destination", true, &to, &e);
    if (rc == 0)
        rc = library_copy(models_library(h->models), from.p, to.p, &e);
    if (rc == 0) {
        models_refresh(h->models);
        net_res_send(r, 200, "application/json", STR(""));
    } else {
        ollama_fail(r, &e);
    }
    json_decref(o);
}

void ollama_delete(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct err e = {0};
    struct models_entry *en = entry(h, r, &o, &e);
    if (en && library_remove(models_library(h->models), en->name, &e) == 0)
        models_unload(h->models, en);
    json_decref(o);
    if (e.code) {
        ollama_fail(r, &e);
        return;
    }
    models_refresh(h->models);
    net_res_send(r, 200, "application/json", STR(""));
}
