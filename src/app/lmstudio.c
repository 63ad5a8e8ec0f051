/* lmstudio.c: models as LM Studio's REST API tells of them; loading, unloading and fetching. A
 * loaded model has one instance, which is named as the model. */
#include "lmstudio.h"

#include "clock.h"
#include "jobs.h"
#include "look.h"
#include "manage.h"

#include <stdio.h>

#define LMSTUDIO ((struct face){WIRE_LMSTUDIO, FACE_FORM})

static void fail(struct net_req *r, const struct err *e)
{
    pipeline_refuse(r, LMSTUDIO, e);
}

/* ---- the list ---- */

static void put_instances(const struct models_entry *en, struct buf *b)
{
    buf_puts(b, "\"loaded_instances\":[");
    if (en->local) {
        buf_puts(b, "{\"id\":");
        buf_json_str(b, str_of(en->name));
        buf_printf(b, ",\"config\":{\"context_length\":%lld}}", (long long)en->caps.context);
    }
    buf_puts(b, "]");
}

/* "org" of "org/model", where a name has one. */
static struct str publisher(const struct models_entry *en)
{
    struct str before, after;
    return str_cut(str_of(en->name), '/', &before, &after) ? before : STR("local");
}

static void put_model(const struct models_entry *en, struct buf *b)
{
    buf_printf(b, "{\"type\":\"%s\",\"publisher\":", en->caps.raw ? "llm" : "embedding");
    buf_json_str(b, publisher(en));
    buf_puts(b, ",\"key\":");
    buf_json_str(b, str_of(en->name));
    buf_puts(b, ",\"display_name\":");
    buf_json_str(b, str_of(en->name));
    double bits = en->params > 0 ? (double)en->bytes * 8 / en->params : 0;
    buf_printf(b,
               ",\"architecture\":\"%s\",\"quantization\":{\"name\":\"%s\",\"bits_per_weight\":"
               "%.1f},\"size_bytes\":%llu,\"params_string\":\"%.2fB\",",
               en->family, en->quant, bits, (unsigned long long)en->bytes, en->params / 1e9);
    put_instances(en, b);
    buf_printf(b,
               ",\"max_context_length\":%lld,\"format\":\"gguf\",\"capabilities\":{\"vision\":%s,"
               "\"trained_for_tool_use\":%s},\"description\":null}",
               (long long)en->ctx, en->caps.images ? "true" : "false",
               en->caps.tools ? "true" : "false");
}

void lmstudio_models(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT((size_t)16 << 20);
    bool first = true;
    models_refresh(h->models);
    buf_puts(&b, "{\"models\":[");
    for (struct models_entry *en = models_first(h->models); en; en = en->next) {
        if (en->from_path)
            continue;
        buf_puts(&b, first ? "" : ",");
        first = false;
        put_model(en, &b);
    }
    buf_puts(&b, "]}");
    manage_send(r, &b);
}

/* ---- loading ---- */

static int loaded(struct look *k, struct buf *out, struct err *e)
{
    const json_t *want = json_object_get(k->body, "context_length");
    int64_t ctx = engine_ctx(local_engine(k->en->local));
    if (want && !json_is_null(want) && (!json_is_integer(want) || json_integer_value(want) < 1))
        return err_set(e, ERR_FORMAT, "context_length: must be a positive integer");
    if (json_integer_value(want) > ctx)
        return err_set(
            e, ERR_CONTEXT,
            "context_length: %lld tokens are more than the %lld the model is loaded with",
            (long long)json_integer_value(want), (long long)ctx);
    buf_printf(out, "{\"type\":\"%s\",\"instance_id\":", k->en->caps.raw ? "llm" : "embedding");
    buf_json_str(out, str_of(k->en->name));
    buf_printf(out, ",\"load_time_seconds\":%.3f,\"status\":\"loaded\"",
               (double)k->loaded_ns / 1e9);
    if (json_is_true(json_object_get(k->body, "echo_load_config")))
        buf_printf(out, ",\"load_config\":{\"context_length\":%lld}", (long long)ctx);
    buf_putc(out, '}');
    return 0;
}

void lmstudio_load(struct house *h, struct net_req *r)
{
    look_start(h, r, LMSTUDIO, "model", loaded);
}

void lmstudio_unload(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct str name;
    struct err e = {0};
    struct models_entry *en = NULL;
    int rc = manage_body(r, &o, &e);
    if (rc == 0)
        rc = manage_string(o, "instance_id", true, &name, &e);
    if (rc == 0 && !(en = models_find(h->models, name, false, &e)))
        rc = e.code;
    if (rc == 0 && !en->local)
        rc = err_set(&e, ERR_NOT_FOUND, "no instance '%s' is loaded", en->name);
    if (rc) {
        fail(r, &e);
    } else {
        struct buf b = BUF_INIT(8192);
        models_unload(h->models, en);
        buf_puts(&b, "{\"instance_id\":");
        buf_json_str(&b, str_of(en->name));
        buf_putc(&b, '}');
        manage_send(r, &b);
    }
    json_decref(o);
}

/* ---- fetching ---- */

static void put_job(struct job *job, int64_t now_ms, struct buf *b)
{
    static const char *const words[] = {"downloading", "completed", "failed"};
    struct job_view v;
    job_view(job, &v);
    buf_printf(b,
               "{\"job_id\":\"%llu\",\"status\":\"%s\",\"total_size_bytes\":%llu,"
               "\"downloaded_bytes\":%llu",
               v.number, words[v.state], (unsigned long long)v.total, (unsigned long long)v.bytes);
    int64_t took = (v.ended_ms ? v.ended_ms : now_ms) - v.began_ms;
    if (v.state == JOB_RUNNING && took > 0)
        buf_printf(b, ",\"bytes_per_second\":%.0f", (double)v.bytes * 1000 / (double)took);
    buf_putc(b, ',');
    manage_time(b, "started_at", v.began_ms);
    if (v.ended_ms) {
        buf_putc(b, ',');
        manage_time(b, "completed_at", v.ended_ms);
    }
    if (v.state == JOB_FAILED) {
        buf_puts(b, ",\"error\":");
        buf_json_str(b, str_of(err_msg(&v.err)));
    }
    buf_putc(b, '}');
}

static int download_name(const json_t *o, char *out, size_t max, struct err *e)
{
    struct str model, quant = STR_NONE;
    int rc = manage_string(o, "model", true, &model, e);
    if (rc == 0)
        rc = manage_string(o, "quantization", false, &quant, e);
    if (rc)
        return rc;
    bool hub = str_starts(model, STR("https://huggingface.co/"));
    int n = snprintf(out, max, "%.*s%s%.*s", STR_ARG(model), quant.n ? ":" : "", STR_ARG(quant));
    if (quant.n && !hub && !str_starts(model, STR("hf.co/")))
        return err_set(e, ERR_INVAL, "quantization: goes with a model of huggingface.co");
    return n > 0 && (size_t)n < max ? 0 : err_set(e, ERR_TOO_LARGE, "model: is too long");
}

void lmstudio_download(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    char name[1024];
    struct err e = {0};
    struct job *job = NULL;
    int rc = manage_body(r, &o, &e);
    if (rc == 0)
        rc = download_name(o, name, sizeof name, &e);
    if (rc == 0 && models_find(h->models, str_of(name), false, &e)) {
        net_res_send(r, 200, "application/json", STR("{\"status\":\"already_downloaded\"}"));
    } else {
        if (rc == 0)
            rc = job_pull(h, str_of(name), STR_NONE, &job, &e);
        if (rc) {
            fail(r, &e);
        } else {
            struct buf b = BUF_INIT(8192);
            job_keep(job);
            put_job(job, clock_wall_ms(), &b);
            job_drop(job);
            manage_send(r, &b);
        }
    }
    json_decref(o);
}

void lmstudio_status(struct house *h, struct net_req *r, struct str rest)
{
    uint64_t number;
    struct err e;
    struct job *job = str_to_u64(rest, &number) ? job_find(h, number) : NULL;
    if (!job) {
        err_set(&e, ERR_NOT_FOUND, "there is no download '%.*s'", STR_ARG(rest));
        fail(r, &e);
        return;
    }
    struct buf b = BUF_INIT(8192);
    put_job(job, clock_wall_ms(), &b);
    manage_send(r, &b);
}
