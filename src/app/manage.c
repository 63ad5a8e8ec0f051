/* manage.c: loaded models and keys over HTTP, and the reading of small JSON bodies that all the
 * endpoints which are no dialect's share. */
#include "manage.h"

#include "clock.h"
#include "keys.h"
#include "models.h"
#include "pipeline.h"

#include <time.h>

/* ---- shared ---- */

int manage_body(struct net_req *r, json_t **out, struct err *e)
{
    struct str text = str_trim(net_req_body(r));
    json_error_t why;
    json_t *o = text.n ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why) : json_object();
    if (!o)
        return err_set(e, ERR_FORMAT, "the body is not JSON: %s at byte %d", why.text,
                       why.position);
    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(e, ERR_FORMAT, "the body must be a JSON object");
    }
    *out = o;
    return 0;
}

int manage_string(const json_t *o, const char *key, bool needed, struct str *out, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_string(v)) {
        *out = str_n(json_string_value(v), json_string_length(v));
        return out->n || !needed ? 0 : err_set(e, ERR_FORMAT, "%s: is empty", key);
    }
    if (v && !json_is_null(v))
        return err_set(e, ERR_FORMAT, "%s: must be a string", key);
    return needed ? err_set(e, ERR_FORMAT, "%s: is missing", key) : 0;
}

void manage_send(struct net_req *r, struct buf *b)
{
    struct err e;
    net_res_header(r, "Cache-Control", STR("no-store"));
    if (buf_failed(b)) {
        err_set(&e, ERR_NOMEM, "the answer is too large");
        pipeline_refuse(r, PIPELINE_NATIVE, &e);
    } else {
        net_res_send(r, 200, "application/json", buf_str(b));
    }
    buf_done(b);
}

void manage_time(struct buf *b, const char *key, int64_t wall_ms)
{
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm = {0};
    char text[40];
    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "\"%s\":\"%s.%03dZ\"", key, text, (int)(wall_ms % 1000));
}

static void fail(struct net_req *r, const struct err *e)
{
    pipeline_refuse(r, PIPELINE_NATIVE, e);
}

static void send_text(struct net_req *r, const char *json)
{
    net_res_send(r, 200, "application/json", str_of(json));
}

/* ---- models ---- */

static void loaded_json(struct models_entry *en, struct buf *b)
{
    uint64_t now = clock_mono_ns();
    int running = 0;
    models_measure(en, &running);
    bool held = en->holds > 0;
    int64_t left = -1;
    if (en->expires_ns)
        left = en->expires_ns > now && !held ? (int64_t)((en->expires_ns - now) / 1000000) : 0;
    if (held)
        left = en->keep_ms;
    buf_puts(b, "{\"name\":");
    buf_json_str(b, str_of(en->name));
    buf_printf(b,
               ",\"memory\":%llu,\"bytes\":%llu,\"context\":%lld,\"running\":%d,\"loading\":%s,"
               "\"leaves_in_ms\":%lld}",
               (unsigned long long)en->bytes_taken, (unsigned long long)en->bytes,
               (long long)en->caps.context, running, en->loading ? "true" : "false",
               (long long)left);
}

void manage_loaded(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT((size_t)4 << 20);
    bool first = true;
    buf_printf(&b, "{\"budget\":%llu,\"taken\":%llu,\"models\":[",
               (unsigned long long)models_budget(h->models),
               (unsigned long long)models_taken(h->models));
    for (struct models_entry *en = models_first(h->models); en; en = en->next) {
        if (!en->local && !en->loading)
            continue;
        buf_puts(&b, first ? "" : ",");
        first = false;
        loaded_json(en, &b);
    }
    buf_puts(&b, "]}\n");
    manage_send(r, &b);
}

void manage_unload(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct str name;
    struct err e = {0};
    struct models_entry *en = NULL;
    int rc = manage_body(r, &o, &e);
    if (rc == 0)
        rc = manage_string(o, "model", true, &name, &e);
    if (rc == 0 && !(en = models_find(h->models, name, true, &e)))
        rc = e.code;
    if (rc == 0) {
        models_unload(h->models, en);
        send_text(r, "{\"ok\":true}\n");
    } else {
        fail(r, &e);
    }
    json_decref(o);
}

/* ---- keys ---- */

void manage_keys(struct house *h, struct net_req *r)
{
    struct buf b = BUF_INIT((size_t)4 << 20);
    buf_puts(&b, "{\"keys\":");
    keys_json(h->keys, &b);
    buf_puts(&b, "}\n");
    manage_send(r, &b);
}

static int name_of(struct net_req *r, json_t **o, struct str *name, struct err *e)
{
    int rc = manage_body(r, o, e);
    return rc ? rc : manage_string(*o, "name", true, name, e);
}

void manage_key_create(struct house *h, struct net_req *r)
{
    char key[KEYS_TEXT];
    json_t *o = NULL;
    struct str name;
    struct err e = {0};
    int rc = name_of(r, &o, &name, &e);
    if (rc == 0)
        rc = keys_create(h->keys, name, key, &e);
    if (rc) {
        fail(r, &e);
    } else {
        struct buf b = BUF_INIT(4096);
        buf_printf(&b, "{\"key\":\"%s\"}\n", key);
        manage_send(r, &b);
    }
    json_decref(o);
}

void manage_key_revoke(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct str name;
    struct err e = {0};
    int rc = name_of(r, &o, &name, &e);
    if (rc == 0)
        rc = keys_revoke(h->keys, name, &e);
    if (rc)
        fail(r, &e);
    else
        send_text(r, "{\"ok\":true}\n");
    json_decref(o);
}
