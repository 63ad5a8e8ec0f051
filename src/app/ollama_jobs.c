/* ollama_jobs.c: pulling, making and uploading models over Ollama's API. Progress is a line of JSON
 * whenever it changed; a client that leaves takes its pull with it, unless others wait for it. */
#include "ollama.h"

#include "jobs.h"
#include "manage.h"
#include "models.h"
#include "pipeline.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 100
#define MAX_FILES 256

/* ---- a job and the client that watches it ---- */

struct watch {
    struct house *h;
    struct net_req *r;
    struct job *job;
    struct net_timer *timer;
    bool stream;
    char last[512]; /* the line that was sent last */
};

static void watch_free(struct watch *w)
{
    net_timer_free(w->timer);
    job_drop(w->job);
    free(w);
}

static void watch_closed(void *ctx)
{
    watch_free(ctx);
}

/* Ollama's words for what is under way. */
static void put_status(const struct job_view *v, struct buf *b)
{
    const char *what = NULL;
    switch (v->phase) {
    case LIBRARY_WAITING: what = "waiting for another pull"; break;
    case LIBRARY_LISTING: what = "pulling manifest"; break;
    case LIBRARY_VERIFYING: what = "verifying sha256 digest"; break;
    case LIBRARY_INSTALLING: what = "writing manifest"; break;
    case LIBRARY_UNPACKING: what = "unpacking"; break;
    case LIBRARY_COPYING: what = "copying"; break;
    case LIBRARY_FETCHING: break;
    }
    if (what) {
        buf_printf(b, "{\"status\":\"%s\"}\n", what);
        return;
    }
    buf_puts(b, "{\"status\":");
    char text[300];
    snprintf(text, sizeof text, "pulling %.*s", v->digest[0] ? 12 : 255,
             v->digest[0] ? v->digest : v->file);
    buf_json_str(b, str_of(text));
    if (v->digest[0])
        buf_printf(b, ",\"digest\":\"sha256:%s\"", v->digest);
    if (v->total)
        buf_printf(b, ",\"total\":%llu,\"completed\":%llu", (unsigned long long)v->total,
                   (unsigned long long)v->done);
    buf_puts(b, "}\n");
}

static void finish(struct watch *w, const struct job_view *v)
{
    struct net_req *r = w->r;
    bool failed = v->state == JOB_FAILED, stream = w->stream;
    struct buf b = BUF_INIT(8192);
    if (failed)
        wire_error_body(WIRE_OLLAMA_CHAT, &v->err, &b);
    else
        buf_puts(&b, "{\"status\":\"success\"}");
    watch_free(w);
    if (!stream && failed) {
        ollama_fail(r, &v->err);
    } else if (!stream) {
        net_res_send(r, 200, "application/json", buf_str(&b));
    } else {
        if (b.n && b.p[b.n - 1] != '\n')
            buf_putc(&b, '\n');
        net_res_write(r, buf_str(&b));
        net_res_end(r);
    }
    buf_done(&b);
}

static void on_tick(void *ctx)
{
    struct watch *w = ctx;
    struct job_view v;
    struct buf b = BUF_INIT(sizeof w->last - 1);
    job_view(w->job, &v);
    if (v.state != JOB_RUNNING) {
        finish(w, &v);
        return;
    }
    put_status(&v, &b);
    if (w->stream && !buf_failed(&b) && !str_is(buf_str(&b), w->last)) {
        memcpy(w->last, b.p, b.n);
        w->last[b.n] = '\0';
        net_res_write(w->r, buf_str(&b));
    }
    buf_done(&b);
}

static void watch_job(struct house *h, struct net_req *r, struct job *job, bool stream)
{
    struct watch *w = calloc(1, sizeof *w);
    struct err e;
    if (w)
        *w = (struct watch){.h = h, .r = r, .job = job, .stream = stream};
    if (!w || net_timer_new(h->loop, 1, TICK_MS, on_tick, w, &w->timer) != 0) {
        job_drop(job);
        free(w);
        err_set(&e, ERR_NOMEM, "out of memory");
        ollama_fail(r, &e);
        return;
    }
    net_req_on_close(r, watch_closed, w);
    if (stream)
        net_res_start(r, 200, "application/x-ndjson");
}

static bool wants_stream(const json_t *o)
{
    return !json_is_false(json_object_get(o, "stream"));
}

/* ---- pull and push ---- */

void ollama_pull(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct str name;
    struct job *job = NULL;
    struct err e = {0};
    int rc = manage_body(r, &o, &e);
    if (rc == 0)
        rc = ollama_model_name(o, &name, &e);
    if (rc == 0)
        rc = job_pull(h, name, STR_NONE, &job, &e);
    if (rc)
        ollama_fail(r, &e);
    else
        watch_job(h, r, job, wants_stream(o));
    json_decref(o);
}

void ollama_push(struct house *h, struct net_req *r)
{
    struct err e;
    err_set(&e, ERR_UNSUPPORTED, "weir sends no model anywhere: push is not supported");
    ollama_fail(r, &e);
}

/* `ollama signin`, and `ollama push` before it pushes, ask who is signed in with ollama.com. */
void ollama_me(struct house *h, struct net_req *r)
{
    struct err e;
    err_set(&e, ERR_UNSUPPORTED,
            "weir has no account anywhere: it neither signs in to ollama.com nor pushes to it");
    ollama_fail(r, &e);
}

void ollama_signout(struct house *h, struct net_req *r)
{
    struct err e;
    err_set(&e, ERR_AUTH, "you are not currently signed in");
    ollama_fail(r, &e);
}

void ollama_forget_key(struct house *h, struct net_req *r, struct str rest)
{
    ollama_signout(h, r);
}

/* ---- create ---- */

static int put_text(const json_t *o, const char *key, char **out, struct err *e)
{
    struct str s = STR_NONE;
    int rc = manage_string(o, key, false, &s, e);
    if (rc || !s.p)
        return rc;
    if (memchr(s.p, 0, s.n))
        return err_set(e, ERR_FORMAT, "%s: holds NUL", key);
    *out = strndup(s.p, s.n);
    return *out ? 0 : err_set(e, ERR_NOMEM, "out of memory");
}

/* A text, or a list of them with an empty line between. */
static int put_licence(const json_t *o, char **out, struct err *e)
{
    const json_t *v = json_object_get(o, "license");
    struct buf b = BUF_INIT((size_t)2 << 20);
    if (!json_is_array(v))
        return put_text(o, "license", out, e);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *one = json_string_value(json_array_get(v, i));
        if (!one) {
            buf_done(&b);
            return err_set(e, ERR_FORMAT, "license[%zu]: must be a string", i);
        }
        buf_printf(&b, "%s%s", i ? "\n\n" : "", one);
    }
    *out = buf_failed(&b) ? NULL : strndup(b.p ? b.p : "", b.n);
    buf_done(&b);
    return *out ? 0 : err_set(e, ERR_NOMEM, "out of memory");
}

static int put_json(const json_t *o, const char *key, bool list, char **out, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return 0;
    if (list ? !json_is_array(v) : !json_is_object(v))
        return err_set(e, ERR_FORMAT, "%s: must be %s", key, list ? "an array" : "an object");
    *out = json_dumps(v, JSON_COMPACT);
    return *out ? 0 : err_set(e, ERR_NOMEM, "out of memory");
}

/* {"file.gguf": "sha256:..."} */
static int put_files(const json_t *o, struct library_recipe *r, struct err *e)
{
    json_t *files = json_object_get(o, "files"), *v;
    const char *name;
    if (!files || json_is_null(files))
        return 0;
    if (!json_is_object(files) || json_object_size(files) > MAX_FILES)
        return err_set(e, ERR_FORMAT, "files: must be an object of at most %d files", MAX_FILES);
    struct library_file *list = calloc(json_object_size(files) + 1, sizeof *list);
    if (!list)
        return err_set(e, ERR_NOMEM, "out of memory");
    r->files = list;
    json_object_foreach(files, name, v)
    {
        if (!json_is_string(v))
            return err_set(e, ERR_FORMAT, "files.%s: must be a digest", name);
        struct library_file *f = &list[r->nfiles++];
        f->name = strdup(name);
        f->digest = strdup(json_string_value(v));
        if (!f->name || !f->digest)
            return err_set(e, ERR_NOMEM, "out of memory");
    }
    return 0;
}

static void recipe_free(struct library_recipe *r)
{
    for (size_t i = 0; i < r->nfiles; i++) {
        free((char *)r->files[i].name);
        free((char *)r->files[i].digest);
    }
    free((void *)r->files);
    library_recipe_done(r);
}

/* A Modelfile's text, as older clients send it, or its parts as fields. */
static int read_recipe(const json_t *o, struct library_recipe *r, struct err *e)
{
    struct str modelfile = STR_NONE, quantize = STR_NONE;
    int rc = manage_string(o, "modelfile", false, &modelfile, e);
    if (rc == 0)
        rc = manage_string(o, "quantize", false, &quantize, e);
    if (rc == 0 && quantize.n)
        rc = err_set(e, ERR_UNSUPPORTED,
                     "quantize: weir does not make other formats of a model "
                     "yet: pull one that has the format");
    if (rc == 0 && json_object_size(json_object_get(o, "adapters")))
        rc = err_set(e, ERR_UNSUPPORTED, "adapters: weir has no adapters");
    if (rc || modelfile.n)
        return rc ? rc : library_modelfile_parse(modelfile, r, e);
    rc = put_text(o, "from", &r->from, e);
    if (rc == 0)
        rc = put_files(o, r, e);
    if (rc == 0)
        rc = put_text(o, "template", &r->texts.template_text, e);
    if (rc == 0)
        rc = put_text(o, "system", &r->texts.system, e);
    if (rc == 0)
        rc = put_licence(o, &r->texts.licence_text, e);
    if (rc == 0)
        rc = put_json(o, "parameters", false, &r->texts.params, e);
    if (rc == 0)
        rc = put_json(o, "messages", true, &r->texts.messages, e);
    if (rc == 0 && !r->from && !r->nfiles)
        rc = err_set(e, ERR_FORMAT, "neither 'from' or 'files' was specified");
    return rc;
}

void ollama_create(struct house *h, struct net_req *r)
{
    json_t *o = NULL;
    struct str name;
    struct job *job = NULL;
    struct library_recipe recipe = {0};
    struct err e = {0};
    int rc = manage_body(r, &o, &e);
    if (rc == 0)
        rc = ollama_model_name(o, &name, &e);
    if (rc == 0)
        rc = read_recipe(o, &recipe, &e);
    if (rc == 0)
        rc = job_create(h, name, &recipe, &job, &e);
    else
        recipe_free(&recipe);
    if (rc)
        ollama_fail(r, &e);
    else
        watch_job(h, r, job, wants_stream(o));
    json_decref(o);
}

/* ---- blobs ---- */

void ollama_blob_get(struct house *h, struct net_req *r, struct str rest)
{
    char digest[128];
    snprintf(digest, sizeof digest, "%.*s", STR_ARG(rest));
    bool has = rest.n < sizeof digest && library_blob_has(models_library(h->models), digest);
    net_res_send(r, has ? 200 : 404, "application/json", STR(""));
}

/* An upload: bytes are written as they come, on the loop, since the page cache takes them; the
 * digest is checked at the end. */
struct upload {
    struct net_req *r;
    struct library_put *put;
    struct err err;
};

static void upload_free(struct upload *u)
{
    library_put_abort(u->put);
    free(u);
}

static void upload_closed(void *ctx)
{
    upload_free(ctx);
}

static bool upload_data(void *ctx, struct str bytes)
{
    struct upload *u = ctx;
    if (!u->err.code)
        library_put_append(u->put, bytes, &u->err);
    return true;
}

static void upload_end(void *ctx)
{
    struct upload *u = ctx;
    struct net_req *r = u->r;
    struct err e = u->err;
    if (!e.code) {
        library_put_commit(u->put, &e);
        u->put = NULL;
    }
    upload_free(u);
    if (e.code == ERR_CHECKSUM)
        e.code = ERR_INVAL;
    if (e.code)
        ollama_fail(r, &e);
    else
        net_res_send(r, 201, "application/json", STR(""));
}

void ollama_blob_put(struct house *h, struct net_req *r, struct str rest)
{
    char digest[128];
    struct err e = {0};
    struct upload *u = calloc(1, sizeof *u);
    struct str length = net_req_header(r, "content-length");
    uint64_t size = 0;
    if (length.p)
        str_to_u64(length, &size);
    snprintf(digest, sizeof digest, "%.*s", STR_ARG(rest));
    int rc = u ? library_put_begin(models_library(h->models), digest, size, &u->put, &e)
               : err_set(&e, ERR_NOMEM, "out of memory");
    if (rc) {
        free(u);
        ollama_fail(r, &e);
        return;
    }
    u->r = r;
    net_req_on_close(r, upload_closed, u);
    net_req_stream_body(r, upload_data, upload_end, u);
}
