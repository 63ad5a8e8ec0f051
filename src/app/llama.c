/* llama.c: tokens, templates, slots and counters, as llama-server shows them. Where it means its
 * one model, weir means the one named by "model", or the one that `auto` would take. */
#include "llama.h"

#include "look.h"
#include "manage.h"
#include "utf8.h"

#include <stdio.h>

#define LLAMA ((struct face){WIRE_LLAMA_COMPLETION, FACE_FORM})
#define MAX_SLOTS 256

/* ---- tokens ---- */

static bool flag(const json_t *o, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

/* A piece that is no text by itself is given as its bytes. */
static void put_piece(const struct local *l, int32_t id, struct buf *out)
{
    struct buf piece = BUF_INIT(1 << 16);
    local_piece(l, id, &piece);
    buf_printf(out, "{\"id\":%d,\"piece\":", id);
    if (utf8_valid(buf_str(&piece))) {
        buf_json_str(out, buf_str(&piece));
    } else {
        for (size_t i = 0; i < piece.n; i++)
            buf_printf(out, "%c%u", i ? ',' : '[', (unsigned char)piece.p[i]);
        buf_putc(out, ']');
    }
    buf_putc(out, '}');
    buf_done(&piece);
}

static int tokenize(struct look *k, struct buf *out, struct err *e)
{
    struct str text;
    struct tok_ids ids = {0};
    int rc = manage_string(k->body, "content", false, &text, e);
    if (rc == 0 && !json_object_get(k->body, "content"))
        rc = err_set(e, ERR_FORMAT, "content: is missing");
    if (rc == 0)
        rc = local_tokenize(k->en->local, text, flag(k->body, "add_special", false),
                            flag(k->body, "parse_special", true), &ids, e);
    if (rc)
        return rc;
    bool pieces = flag(k->body, "with_pieces", false);
    buf_puts(out, "{\"tokens\":[");
    for (size_t i = 0; i < ids.n; i++) {
        buf_puts(out, i ? "," : "");
        if (pieces)
            put_piece(k->en->local, ids.p[i], out);
        else
            buf_printf(out, "%d", ids.p[i]);
    }
    buf_puts(out, "]}");
    tok_ids_done(&ids);
    return 0;
}

void llama_tokenize(struct house *h, struct net_req *r)
{
    look_start(h, r, LLAMA, "model", tokenize);
}

static int detokenize(struct look *k, struct buf *out, struct err *e)
{
    const json_t *list = json_object_get(k->body, "tokens");
    size_t n = json_array_size(list);
    if (!json_is_array(list))
        return err_set(e, ERR_FORMAT, "tokens: must be an array of ids");
    int32_t *ids = arena_array(k->arena, n + 1, sizeof *ids);
    struct buf text = BUF_INIT((size_t)64 << 20);
    if (!ids)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
            return err_set(e, ERR_FORMAT, "tokens[%zu]: must be an id", i);
        ids[i] = (int32_t)id;
    }
    int rc = local_detokenize(k->en->local, ids, n, &text, e);
    if (rc == 0) {
        buf_puts(out, "{\"content\":");
        buf_json_str(out, buf_str(&text));
        buf_putc(out, '}');
    }
    buf_done(&text);
    return rc;
}

void llama_detokenize(struct house *h, struct net_req *r)
{
    look_start(h, r, LLAMA, "model", detokenize);
}

static int apply_template(struct look *k, struct buf *out, struct err *e)
{
    struct gen_req *req;
    struct buf text = BUF_INIT((size_t)64 << 20);
    int rc = wire_count_decode(WIRE_OPENAI, k->text, k->arena, &req, e);
    if (rc == 0)
        rc = local_apply_template(k->en->local, req, &text, e);
    if (rc == 0) {
        buf_puts(out, "{\"prompt\":");
        buf_json_str(out, buf_str(&text));
        buf_putc(out, '}');
    }
    buf_done(&text);
    return rc;
}

void llama_apply_template(struct house *h, struct net_req *r)
{
    look_start(h, r, LLAMA, "model", apply_template);
}

/* ---- the model ---- */

static int props(struct look *k, struct buf *out, struct err *e)
{
    struct local_facts f;
    local_facts_of(local_gguf(k->en->local), str_of(k->en->item.texts.template_text), &f);
    int slots = engine_slots(local_engine(k->en->local), NULL, 0);
    buf_printf(out,
               "{\"default_generation_settings\":{\"id\":0,\"n_ctx\":%lld,\"is_processing\":false,"
               "\"params\":{\"temperature\":%g,\"top_k\":%d,\"top_p\":%g,\"min_p\":%g}},"
               "\"total_slots\":%d,\"model_alias\":",
               (long long)engine_ctx(local_engine(k->en->local)), (double)LOCAL_TEMPERATURE,
               LOCAL_TOP_K, (double)LOCAL_TOP_P, (double)LOCAL_MIN_P, slots);
    buf_json_str(out, str_of(k->en->name));
    buf_puts(out, ",\"model_path\":");
    buf_json_str(out, str_of(k->en->path));
    buf_puts(out, ",\"modalities\":{\"vision\":false,\"audio\":false},\"chat_template\":");
    buf_json_str(out, f.tmpl);
    buf_puts(out, ",\"build_info\":\"weir " WEIR_VERSION "\",\"is_sleeping\":false}");
    return 0;
}

void llama_props(struct house *h, struct net_req *r)
{
    look_start(h, r, LLAMA, "model", props);
}

static void put_slot(const struct engine_slot *s, int64_t ctx, struct buf *b)
{
    bool busy = s->state != ENGINE_SLOT_IDLE;
    buf_printf(
        b,
        "{\"id\":%d,\"id_task\":%lld,\"n_ctx\":%lld,\"is_processing\":%s,\"n_prompt_tokens\":"
        "%lld,\"n_prompt_tokens_cache\":%lld,\"n_past\":%lld,\"next_token\":[{\"n_decoded\":"
        "%lld,\"n_remain\":%lld}]}",
        s->id, busy ? (long long)s->run : -1, (long long)ctx, busy ? "true" : "false",
        (long long)s->prompt, (long long)s->reused, (long long)s->held, (long long)s->generated,
        (long long)(s->max_tokens > 0 ? s->max_tokens - s->generated : -1));
}

/* Of all loaded models, one after another: numbers, no text of anybody's request. */
void llama_slots(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT((size_t)4 << 20);
    bool first = true;
    buf_putc(&b, '[');
    for (struct models_entry *en = models_first(h->models); en; en = en->next) {
        struct engine_slot slots[MAX_SLOTS];
        int n = en->local ? engine_slots(local_engine(en->local), slots, MAX_SLOTS) : 0;
        for (int i = 0; i < n && i < MAX_SLOTS; i++) {
            buf_puts(&b, first ? "" : ",");
            first = false;
            put_slot(&slots[i], engine_ctx(local_engine(en->local)), &b);
        }
    }
    buf_puts(&b, "]");
    manage_send(r, &b);
}

/* ---- counters ---- */

enum { COUNTER, GAUGE };

struct metric {
    const char *name, *help;
    int kind;
    double (*of)(const struct engine_load *l);
};

static double prompt_tokens(const struct engine_load *l)
{
    return (double)(l->totals.prompt - l->totals.reused);
}

static double prompt_seconds(const struct engine_load *l)
{
    return (double)l->totals.prefill_ns / 1e9;
}

static double written_tokens(const struct engine_load *l)
{
    return (double)l->totals.generated;
}

static double written_seconds(const struct engine_load *l)
{
    return (double)l->totals.decode_ns / 1e9;
}

static double reused_tokens(const struct engine_load *l)
{
    return (double)l->totals.reused;
}

static double running(const struct engine_load *l)
{
    return l->running;
}

static double queued(const struct engine_load *l)
{
    return l->queued;
}

static double cache_share(const struct engine_load *l)
{
    return l->kv_total ? (double)l->kv_used / (double)l->kv_total : 0;
}

static double prompt_speed(const struct engine_load *l)
{
    return l->prefill_tps;
}

static double written_speed(const struct engine_load *l)
{
    return l->decode_tps;
}

static const struct metric metrics[] = {
    {"llamacpp:prompt_tokens_total", "Prompt tokens read.", COUNTER, prompt_tokens},
    {"llamacpp:prompt_seconds_total", "Time spent reading prompts.", COUNTER, prompt_seconds},
    {"llamacpp:tokens_predicted_total", "Tokens written.", COUNTER, written_tokens},
    {"llamacpp:tokens_predicted_seconds_total", "Time spent writing.", COUNTER, written_seconds},
    {"weir:prompt_tokens_reused_total", "Prompt tokens found in the cache.", COUNTER,
     reused_tokens},
    {"llamacpp:prompt_tokens_seconds", "Prompt tokens a second, lately.", GAUGE, prompt_speed},
    {"llamacpp:predicted_tokens_seconds", "Tokens written a second, lately.", GAUGE, written_speed},
    {"llamacpp:kv_cache_usage_ratio", "Part of the cache that is in use.", GAUGE, cache_share},
    {"llamacpp:requests_processing", "Requests being answered.", GAUGE, running},
    {"llamacpp:requests_deferred", "Requests that wait.", GAUGE, queued},
};

/* A label's value: no quote, backslash or newline stands bare. */
static void put_label(struct buf *b, const char *name)
{
    for (; *name; name++) {
        if (*name == '\n') {
            buf_puts(b, "\\n");
            continue;
        }
        if (*name == '"' || *name == '\\')
            buf_putc(b, '\\');
        buf_putc(b, *name);
    }
}

static void put_metric(struct house *h, const struct metric *m, struct buf *b)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
               m->kind == COUNTER ? "counter" : "gauge");
    for (struct models_entry *en = models_first(h->models); en; en = en->next) {
        struct engine_load load;
        if (!en->local)
            continue;
        engine_load_of(local_engine(en->local), &load);
        buf_printf(b, "%s{model=\"", m->name);
        put_label(b, en->name);
        buf_printf(b, "\"} %.9g\n", m->of(&load));
    }
}

void llama_metrics(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT((size_t)4 << 20);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        put_metric(h, &metrics[i], &b);
    buf_printf(&b,
               "# HELP weir:models_memory_bytes Memory that loaded models have.\n"
               "# TYPE weir:models_memory_bytes gauge\nweir:models_memory_bytes %llu\n"
               "# HELP weir:requests_open Requests under way.\n"
               "# TYPE weir:requests_open gauge\nweir:requests_open %d\n",
               (unsigned long long)models_taken(h->models), h->nflows);
    net_res_send(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&b));
    buf_done(&b);
}

/* ---- what no model here can do ---- */

void llama_rerank(struct house *h, struct net_req *r)
{
    struct arena *a = arena_new((size_t)96 << 20);
    struct str model = STR_NONE;
    struct err e;
    if (!a)
        err_set(&e, ERR_NOMEM, "out of memory");
    else if (wire_rerank_check(net_req_body(r), a, &model, &e) == 0)
        wire_rerank_refuse(model, &e);
    pipeline_refuse(r, (struct face){WIRE_OPENAI, FACE_FORM}, &e);
    arena_free(a);
}
