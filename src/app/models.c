/* models.c: the list of local models: what the library has, what each can do, which one is meant.
 * models_load.c loads them. All of it is the loop's. */
#include "models_int.h"

#include "log.h"
#include "pulling.h"

#include <stdlib.h>
#include <string.h>

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
    models_load_init(m);
    models_refresh(m);
    *out = m;
    return 0;
}

static void entry_free(struct models_entry *en)
{
    local_free(en->local);
    local_free(en->leaving);
    free(en->name);
    free(en->path);
    free(en);
}

void models_free(struct models *m)
{
    if (!m)
        return;
    net_timer_free(m->timer);
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

/* Two models may lie in one file: their names tell them apart. A path names any of them. */
static struct models_entry *entry_of(struct models *m, const struct library_item *it)
{
    for (struct models_entry *en = m->first; en; en = en->next)
        if (strcmp(en->path, it->path) == 0 && (!it->store[0] || strcmp(en->name, it->name) == 0))
            return en;
    return NULL;
}

static void insert(struct models *m, struct models_entry *en)
{
    en->keep_ms = models_default_keep(m);
    en->next = m->first;
    m->first = en;
}

static bool listed(const struct library_list *list, const struct models_entry *en)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].path, en->path) == 0 &&
            strcmp(list->items[i].name, en->name) == 0)
            return true;
    return false;
}

/* Entries whose file is gone go too, once nothing holds them. */
static void forget_missing(struct models *m, const struct library_list *list)
{
    for (struct models_entry **at = &m->first; *at;) {
        struct models_entry *en = *at;
        if (en->from_path || models_is_held(en) || listed(list, en)) {
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
        struct models_entry *en = entry_of(m, &list.items[i]) ? NULL : entry_new(&list.items[i]);
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
    struct models_entry *en = entry_of(m, &it);
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

struct library *models_library(struct models *m)
{
    return m->library;
}
