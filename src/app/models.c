/* models.c: local models loaded on demand. Opening maps a file and starts an engine: that happens
 * on a worker; everything else here is the loop's. */
#include "models.h"

#include "clock.h"
#include "library.h"
#include "log.h"
#include "pulling.h"

#include <stdlib.h>
#include <string.h>

struct models_wait {
    struct models_wait *next;
    void (*ready)(void *ctx, int rc);
    void *ctx;
};

struct models {
    struct house *h;
    struct library *library;
    struct models_entry *first;
};

/* A load under way; the entry outlives it because `loading` forbids dropping it. */
struct load {
    struct models *m;
    struct models_entry *en;
    struct local *local;
    struct err err;
    int rc;
    uint64_t began_ns;
};

struct ready {
    void (*fn)(void *ctx, int rc);
    void *ctx;
    int rc;
};

int models_new(struct house *h, struct models **out, struct err *e)
{
    struct models *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(e, ERR_NOMEM, "out of memory");
    struct library_params p = pulling_params(h->s, NULL);
    int rc = library_open(&p, &m->library, e);
    if (rc) {
        free(m);
        return rc;
    }
    m->h = h;
    models_refresh(m);
    *out = m;
    return 0;
}

static void entry_free(struct models_entry *en)
{
    local_free(en->local);
    free(en->name);
    free(en->path);
    free(en);
}

void models_free(struct models *m)
{
    if (!m)
        return;
    for (struct models_entry *en = m->first; en;) {
        struct models_entry *next = en->next;
        entry_free(en);
        en = next;
    }
    library_free(m->library);
    free(m);
}

/* ---- what is there ---- */

/* Without loading it: a look at the file's own description. */
static void describe_file(struct models_entry *en)
{
    struct gguf *g = NULL;
    struct model *model = NULL;
    struct str text;
    struct err e;
    if (gguf_open(en->path, &g, &en->err) != 0)
        return;
    bool chat = gguf_get_str(g, "tokenizer.chat_template", &text, &e) == 0;
    if (model_open(g, &model, &en->err) != 0) {
        gguf_close(g);
        return;
    }
    en->params = (double)model_params(model);
    en->ctx = model_traits(model)->ctx_train;
    bool writes = !model_is_encoder(model);
    en->caps = (struct gen_caps){.chat = chat && writes,
                                 .raw = writes,
                                 .embed = model_pooling(model) != MODEL_POOL_RANK,
                                 .logprobs = writes,
                                 .context = en->ctx};
    model_free(model);
}

static struct models_entry *entry_new(const struct library_item *it)
{
    struct models_entry *en = calloc(1, sizeof *en);
    if (!en)
        return NULL;
    en->name = strdup(it->name);
    en->path = strdup(it->path);
    en->bytes = it->size;
    en->from_path = !it->store[0];
    if (!en->name || !en->path) {
        entry_free(en);
        return NULL;
    }
    describe_file(en);
    return en;
}

static struct models_entry *by_path(struct models *m, const char *path)
{
    for (struct models_entry *en = m->first; en; en = en->next)
        if (strcmp(en->path, path) == 0)
            return en;
    return NULL;
}

static void insert(struct models *m, struct models_entry *en)
{
    en->next = m->first;
    m->first = en;
}

static bool listed(const struct library_list *list, const struct models_entry *en)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].path, en->path) == 0)
            return true;
    return false;
}

/* Entries whose file is gone go too, once nothing holds them. */
static void forget_missing(struct models *m, const struct library_list *list)
{
    for (struct models_entry **at = &m->first; *at;) {
        struct models_entry *en = *at;
        if (en->from_path || en->holds || en->loading || listed(list, en)) {
            at = &en->next;
            continue;
        }
        *at = en->next;
        entry_free(en);
    }
}

void models_refresh(struct models *m)
{
    struct library_list list;
    struct err e;
    if (library_list(m->library, &list, &e) != 0) {
        log_warn("the library cannot be read: %s", err_msg(&e));
        return;
    }
    forget_missing(m, &list);
    for (size_t i = 0; i < list.n; i++) {
        struct models_entry *en = by_path(m, list.items[i].path) ? NULL : entry_new(&list.items[i]);
        if (en)
            insert(m, en);
    }
    library_list_done(&list);
}

struct models_entry *models_first(struct models *m)
{
    return m->first;
}

struct models_entry *models_find(struct models *m, struct str name, bool paths, struct err *e)
{
    char text[4096];
    struct library_item it;
    if (str_starts(name, STR("local/")))
        name = str_n(name.p + 6, name.n - 6);
    if (name.n >= sizeof text || name.n == 0) {
        err_set(e, ERR_NOT_FOUND, "no model has such a name");
        return NULL;
    }
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (library_find(m->library, text, &it, e) != 0)
        return NULL;
    struct models_entry *en = by_path(m, it.path);
    if (!en && (it.store[0] || paths) && (en = entry_new(&it)))
        insert(m, en);
    if (en && en->from_path && !paths)
        en = NULL;
    if (!en)
        err_set(e, ERR_NOT_FOUND, "there is no model '%s' here", text);
    library_item_done(&it);
    return en;
}

static bool is_better(const struct models_entry *a, const struct models_entry *b, bool embed)
{
    if (embed && a->caps.raw != b->caps.raw)
        return !a->caps.raw;
    if (!embed && !a->local != !b->local)
        return a->local;
    return a->params > b->params;
}

struct models_entry *models_preferred(struct models *m, bool embed)
{
    struct models_entry *best = NULL;
    for (struct models_entry *en = m->first; en; en = en->next) {
        bool able = embed ? en->caps.embed : en->caps.chat || en->caps.raw;
        if (en->from_path || en->err.code || !able)
            continue;
        if (!best || is_better(en, best, embed))
            best = en;
    }
    return best;
}

void models_measure(struct models_entry *en, int *queued)
{
    struct engine_load load;
    *queued = 0;
    if (!en->local)
        return;
    engine_load_of(local_engine(en->local), &load);
    *queued = load.queued + load.running;
    if (load.prefill_tps > 0)
        en->prefill_tps = load.prefill_tps;
    if (load.decode_tps > 0)
        en->decode_tps = load.decode_tps;
}

/* ---- loading ---- */

static void call_ready(void *ctx)
{
    struct ready *r = ctx;
    r->fn(r->ctx, r->rc);
    free(r);
}

static void post_ready(struct models *m, void (*fn)(void *ctx, int rc), void *ctx, int rc)
{
    struct ready *r = malloc(sizeof *r);
    if (!r)
        abort(); /* a request would hang for ever */
    *r = (struct ready){fn, ctx, rc};
    net_post(m->h->loop, call_ready, r);
}

/* Make room: idle models go, least recently used first, while the new one does not fit beside them.
 */
static void make_room(struct models *m, const struct models_entry *want)
{
    struct fit_machine now;
    for (;;) {
        struct models_entry *oldest = NULL;
        fit_memory(&now);
        if (now.memory_free > want->bytes / 10 * 12)
            return;
        for (struct models_entry *en = m->first; en; en = en->next)
            if (en->local && en->holds == 0 && (!oldest || en->used_ns < oldest->used_ns))
                oldest = en;
        if (!oldest)
            return;
        log_info("giving up %s: memory is wanted", oldest->name);
        local_free(oldest->local);
        oldest->local = NULL;
    }
}

static void load_work(void *ctx)
{
    struct load *l = ctx;
    const struct settings *s = l->m->h->s;
    struct local_params p = {.engine = {.threads = (int)s->threads,
                                        .ctx = (int32_t)s->ctx,
                                        .parallel = (int)s->parallel,
                                        .draft = s->draft > 0 ? (int)s->draft : -1},
                             .name = str_of(l->en->name)};
    model_cache_of(s->cache_type, &p.engine.cache);
    l->rc = local_open(l->en->path, &p, &l->local, &l->err);
}

static void load_done(void *ctx)
{
    struct load *l = ctx;
    struct models_entry *en = l->en;
    struct gen_backend *b = l->rc ? NULL : local_backend(l->local);
    struct err e;
    en->loading = false;
    en->local = l->local;
    en->err = l->rc ? l->err : (struct err){0};
    en->load_ms = (int64_t)((clock_mono_ns() - l->began_ns) / 1000000);
    if (b)
        b->ops->describe(b, str_of(en->name), &en->caps, &e);
    for (struct models_wait *w = en->waiting; w;) {
        struct models_wait *next = w->next;
        if (l->rc)
            en->holds--;
        post_ready(l->m, w->ready, w->ctx, l->rc);
        free(w);
        w = next;
    }
    en->waiting = NULL;
    free(l);
}

static int start_load(struct models *m, struct models_entry *en)
{
    struct load *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(&en->err, ERR_NOMEM, "out of memory");
    *l = (struct load){.m = m, .en = en, .began_ns = clock_mono_ns()};
    make_room(m, en);
    int rc = net_work(m->h->loop, load_work, load_done, l);
    if (rc) {
        free(l);
        return err_set(&en->err, rc, "cannot load %s: no worker", en->name);
    }
    en->loading = true;
    return 0;
}

void models_hold(struct models *m, struct models_entry *en, void (*ready)(void *ctx, int rc),
                 void *ctx)
{
    int rc = 0;
    en->used_ns = clock_mono_ns();
    en->holds++;
    if (en->local) {
        post_ready(m, ready, ctx, 0);
        return;
    }
    struct models_wait *w = malloc(sizeof *w);
    if (!w)
        rc = err_set(&en->err, ERR_NOMEM, "out of memory");
    if (rc == 0 && !en->loading)
        rc = start_load(m, en);
    if (rc) {
        free(w);
        en->holds--;
        post_ready(m, ready, ctx, rc);
        return;
    }
    *w = (struct models_wait){en->waiting, ready, ctx};
    en->waiting = w;
}

void models_drop(struct models *m, struct models_entry *en)
{
    en->holds--;
    en->used_ns = clock_mono_ns();
}
