/* local.c: one model file as a backend: opening it with all that belongs to it, and what it says of
 * itself. A file whose template cannot be read still serves raw prompts: chat requests are told
 * why they cannot be answered. Called by app/ on a worker thread; opening may take seconds. */
#include "local_int.h"

#include <stdlib.h>

static int describe(struct gen_backend *b, struct str model, struct gen_caps *out, struct err *e)
{
    const struct local *l = (const struct local *)b;
    if (l->named && model.n && !str_is(model, l->name))
        return err_set(e, ERR_NOT_FOUND, "no model '%.*s' here: this one is '%s'", STR_ARG(model),
                       l->name);
    *out = l->caps;
    return 0;
}

static const struct gen_backend_ops ops = {
    .kind = "local",
    .describe = describe,
    .count = local_count,
    .start = local_start,
    .resume = local_resume,
    .cancel = local_cancel,
    .release = local_release,
};

/* The caller's name, else the file's own, else its path's last part. */
static char *choose_name(const struct gguf *g, const char *path, struct str wanted)
{
    struct str name = wanted;
    if (!name.n && gguf_get_str(g, "general.name", &name, NULL) != 0)
        name = STR_NONE;
    if (!name.n) {
        const char *slash = strrchr(path, '/');
        name = str_of(slash ? slash + 1 : path);
    }
    return strndup(name.p, name.n);
}

/* A template of the caller's must be good; the file's own may be kept as an error: raw prompts need
 * none. */
static int load_template(struct local *l, const struct gguf *g, struct str given, struct err *e)
{
    struct str source = given;
    if (!given.n && gguf_get_str(g, "tokenizer.chat_template", &source, NULL) != 0)
        source = STR_NONE;
    int rc = local_face_new(source, &l->face, e);
    if (!rc && given.n && !l->face->tmpl) {
        *e = l->face->err;
        return e->code;
    }
    return rc;
}

/* Who fills in the middle has no business with another file, or another place to fill in. */
static bool ends(const struct local *l, int32_t id)
{
    const struct local_fim *f = &l->fim;
    if (tok_is_eog(l->tok, id))
        return true;
    return local_fim_known(f) && (id == f->prefix || id == f->suffix || id == f->middle ||
                                  id == f->repo || id == f->file || id == f->pad);
}

static int find_ends(struct local *l, struct err *e)
{
    int32_t n = tok_count(l->tok);
    size_t count = 0;
    for (int32_t id = 0; id < n; id++)
        count += ends(l, id);
    l->end_ids = calloc(count + 1, sizeof *l->end_ids);
    if (!l->end_ids)
        return err_set(e, ERR_NOMEM, "no memory for a model's end tokens");
    for (int32_t id = 0; id < n; id++)
        if (ends(l, id))
            l->end_ids[l->nend_ids++] = id;
    return 0;
}

/* Tools are more than a template that shows them: what the model writes must be understood too. */
static void find_caps(struct local *l)
{
    const struct model *m = engine_model(l->engine);
    l->caps = (struct gen_caps){.embed = true, .context = engine_ctx(l->engine)};
    if (model_is_encoder(m))
        return;
    l->caps = (struct gen_caps){
        .chat = l->face->tmpl != NULL,
        .raw = true,
        .embed = model_pooling(m) != MODEL_POOL_RANK,
        .infill = local_fim_known(&l->fim) || l->face->traits.infill,
        .tools = l->face->tools,
        .reasoning = l->face->tmpl && l->face->traits.reasoning,
        .json = true,
        .schema = true,
        .logprobs = true,
        .many = true,
        .context = engine_ctx(l->engine),
    };
}

/* All that has to do with text. */
static int open_words(struct local *l, const struct model *m, const char *path, struct str tmpl,
                      struct err *e)
{
    const struct gguf *g = model_gguf(m);
    int rc = tok_open(g, &l->tok, e);
    if (!rc)
        rc = local_fim_open(l, g, e);
    if (!rc)
        rc = find_ends(l, e);
    if (!rc)
        rc = load_template(l, g, tmpl, e);
    if (!rc && tok_count(l->tok) > model_traits(m)->vocab)
        rc = err_set(e, ERR_FORMAT, "%s: the vocabulary has %d entries, the model knows %d", path,
                     tok_count(l->tok), model_traits(m)->vocab);
    return rc;
}

struct making {
    struct local *l;
    struct model *m;
    const struct engine_params *params;
    int rc;
    struct err err;
};

static void *make_engine(void *arg)
{
    struct making *k = arg;
    k->rc = engine_new(k->m, k->params, &k->l->engine, &k->err);
    return NULL;
}

/* The vocabulary's tables take about as long as the engine's memory: both at once. The engine takes
 * the model; until then it is ours to free. */
static int open_parts(struct local *l, const char *path, const struct local_params *p,
                      struct err *e)
{
    struct model *m = NULL;
    int rc = model_open_path(path, &m, e);
    if (rc)
        return rc;
    model_set_exact(m, p->exact);
    l->named = p->name.n > 0;
    l->name = choose_name(model_gguf(m), path, p->name);
    struct making k = {.l = l, .m = m, .params = &p->engine};
    pthread_t thread;
    bool both = pthread_create(&thread, NULL, make_engine, &k) == 0;
    rc = l->name ? 0 : err_set(e, ERR_NOMEM, "no memory for a model's name");
    if (!rc)
        rc = open_words(l, m, path, p->tmpl, e);
    if (both)
        pthread_join(thread, NULL);
    else if (!rc)
        make_engine(&k);
    if (!rc && k.rc) {
        *e = k.err;
        rc = k.rc;
    }
    if (!l->engine)
        model_free(m);
    return rc;
}

int local_open(const char *path, const struct local_params *p, struct local **out, struct err *e)
{
    struct local *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for a model");
    l->backend.ops = &ops;
    atomic_init(&l->groups, 1);
    pthread_mutex_init(&l->words_lock, NULL);
    pthread_mutex_init(&l->face_lock, NULL);
    int rc = open_parts(l, path, p, e);
    if (rc) {
        local_free(l);
        return rc;
    }
    find_caps(l);
    *out = l;
    return 0;
}

void local_free(struct local *l)
{
    if (!l)
        return;
    engine_free(l->engine); /* first: its thread uses all the rest until it is joined */
    grammar_vocab_free(l->words);
    pthread_mutex_destroy(&l->words_lock);
    tok_free(l->tok);
    local_face_put(l->face);
    local_face_put(l->given);
    pthread_mutex_destroy(&l->face_lock);
    free(l->end_ids);
    free(l->name);
    free(l);
}

struct gen_backend *local_backend(struct local *l)
{
    return &l->backend;
}

const struct tok *local_tok(const struct local *l)
{
    return l->tok;
}

const struct tmpl *local_tmpl(const struct local *l)
{
    return l->face->tmpl;
}

struct engine *local_engine(struct local *l)
{
    return l->engine;
}
