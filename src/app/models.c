/* models.c: the list of local models: what the library has, what each can do, which one is meant.
 * models_load.c loads them. All of it is the loop's. */
#include "models_int.h"

#include "log.h"
#include "wire.h"
#include "pulling.h"

#include <jansson.h>
#include <stdio.h>
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
    library_item_done(&en->item);
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
    free(m->cache_dir);
    free(m);
}

/* ---- what is there ---- */

/* Without loading it: a look at the file's own description. */
static void describe_file(struct models_entry *en)
{
    struct gguf *g = NULL;
    struct model *model = NULL;
    struct local_facts f;
    if (gguf_open(en->path, &g, &en->err) != 0)
        return;
    local_facts_of(g, str_of(en->item.texts.template_text), &f);
    snprintf(en->family, sizeof en->family, "%.*s", STR_ARG(f.architecture));
    snprintf(en->quant, sizeof en->quant, "%s", f.quant);
    if (model_open(g, &model, &en->err) != 0) {
        gguf_close(g);
        return;
    }
    en->params = (double)model_params(model);
    en->ctx = model_traits(model)->ctx_train;
    bool writes = !f.encoder;
    en->caps = (struct gen_caps){.chat = f.chat && writes,
                                 .raw = writes,
                                 .infill = f.infill,
                                 .tools = f.tools,
                                 .reasoning = f.reasoning,
                                 .embed = model_pooling(model) != MODEL_POOL_RANK,
                                 .logprobs = writes,
                                 .many = writes,
                                 .json = writes,
                                 .schema = writes,
                                 .context = en->ctx};
    model_free(model);
}

/* Takes the item over. */
static struct models_entry *entry_new(struct library_item *it)
{
    struct models_entry *en = calloc(1, sizeof *en);
    if (!en)
        return NULL;
    en->item = *it;
    *it = (struct library_item){0};
    en->name = en->item.name;
    en->path = en->item.path;
    en->bytes = en->item.size;
    en->from_path = !en->item.store[0];
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

/* As it is here: one that was made anew since is another model. */
static bool listed(const struct library_list *list, const struct models_entry *en)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct library_item *it = &list->items[i];
        if (strcmp(it->path, en->path) == 0 && strcmp(it->name, en->name) == 0)
            return it->added_ms == en->item.added_ms;
    }
    return false;
}

/* Entries whose file is gone go too, once nothing holds them: false while one is held. */
static bool forget_missing(struct models *m, const struct library_list *list)
{
    bool all = true;
    for (struct models_entry **at = &m->first; *at;) {
        struct models_entry *en = *at;
        bool stays = en->from_path || listed(list, en);
        if (stays || models_is_held(en)) {
            all = all && stays;
            at = &en->next;
            continue;
        }
        *at = en->next;
        entry_free(en);
    }
    return all;
}

void models_refresh(struct models *m)
{
    struct library_list list;
    struct err e;
    uint64_t stamp = library_stamp(m->library); /* before the list: what changes meanwhile counts */
    if (stamp && stamp == m->stamp)
        return;
    if (library_list(m->library, &list, &e) != 0) {
        log_warn("the library cannot be read: %s", err_msg(&e));
        return;
    }
    m->stamp = forget_missing(m, &list) ? stamp : 0;
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
    else if (e)
        *e = (struct err){0}; /* what was looked for before it was found */
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

/* ---- what a model's record adds ---- */

static bool has_system(const struct gen_req *r)
{
    for (size_t i = 0; i < r->nmsgs; i++)
        if (r->msgs[i].role == GEN_SYSTEM || r->msgs[i].role == GEN_DEVELOPER)
            return true;
    return false;
}

static void put_message(struct gen_req *r, struct gen_msg *m, enum gen_role role, struct str text)
{
    struct gen_part *p = arena_alloc(r->arena, sizeof *p);
    *m = (struct gen_msg){.role = role, .parts = p, .nparts = p ? 1 : 0};
    if (p)
        *p = (struct gen_part){.type = GEN_PART_TEXT, .text = arena_str(r->arena, text)};
}

static enum gen_role role_of(const char *role)
{
    if (role && strcmp(role, "assistant") == 0)
        return GEN_ASSISTANT;
    return role && strcmp(role, "system") == 0 ? GEN_SYSTEM : GEN_USER;
}

/* Its system prompt where the request has none, and its example messages, before the request's. */
static int apply_messages(const struct library_texts *t, struct gen_req *r, struct err *e)
{
    json_t *list = t->messages[0] ? json_loads(t->messages, 0, NULL) : NULL;
    bool system = t->system[0] && !has_system(r);
    size_t lead = r->nmsgs && has_system(r) && r->msgs[0].role != GEN_USER, n = 0;
    size_t extra = json_array_size(list) + system;
    struct gen_msg *all = extra ? arena_array(r->arena, r->nmsgs + extra, sizeof *all) : NULL;
    if (!all) {
        json_decref(list);
        return extra ? err_set(e, ERR_NOMEM, "out of memory") : 0;
    }
    if (system)
        put_message(r, &all[n++], GEN_SYSTEM, str_of(t->system));
    if (lead)
        all[n++] = r->msgs[0];
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const json_t *text = json_object_get(m, "content");
        put_message(r, &all[n++], role_of(json_string_value(json_object_get(m, "role"))),
                    str_n(json_string_value(text), json_string_length(text)));
    }
    memcpy(all + n, r->msgs + lead, (r->nmsgs - lead) * sizeof *all);
    r->msgs = all;
    r->nmsgs = n + r->nmsgs - lead;
    json_decref(list);
    return 0;
}

int models_apply(const struct models_entry *en, struct gen_req *r, struct err *e)
{
    const struct library_texts *t = &en->item.texts;
    int rc = 0;
    if (t->params[0])
        rc = wire_ollama_defaults(r, str_of(t->params), e);
    if (rc == 0 && r->kind == GEN_CHAT && r->nmsgs)
        rc = apply_messages(t, r, e);
    return rc;
}

struct library *models_library(struct models *m)
{
    return m->library;
}
