/* model.c: opening and closing a model, and what a caller may ask about it. */
#include "model_int.h"

#include <stdlib.h>

int model_open(struct gguf *g, struct model **out, struct err *e)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(e, ERR_NOMEM, "no memory for a model");
    m->g = g;
    m->kern = kern_get();
    int rc = traits_read(m, e);
    if (!rc)
        rc = weights_bind(m, e);
    if (rc) {
        m->g = NULL; /* the caller keeps it */
        model_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

int model_open_path(const char *path, struct model **out, struct err *e)
{
    struct gguf *g;
    int rc = gguf_open(path, &g, e);
    if (rc)
        return rc;
    rc = model_open(g, out, e);
    if (rc)
        gguf_close(g);
    return rc;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    free(m->layers);
    free(m->moes);
    free(m->deltas);
    free(m->kinds);
    gguf_close(m->g);
    free(m);
}

const struct gguf *model_gguf(const struct model *m)
{
    return m->g;
}

const struct model_traits *model_traits(const struct model *m)
{
    return &m->t;
}

uint64_t model_weight_bytes(const struct model *m)
{
    return m->weight_bytes;
}

uint64_t model_params(const struct model *m)
{
    return m->params;
}

static uint64_t macs_of(const struct kern_mat *w)
{
    return w->data ? (uint64_t)w->rows * w->k : 0;
}

static uint64_t layer_macs(const struct layer *l, uint64_t used)
{
    const struct linear *dense[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++)
        sum += macs_of(&dense[i]->w);
    if (!l->moe)
        return sum;
    const struct moe *x = l->moe;
    const struct linear *shared[] = {&x->router, &x->shared_gate, &x->shared_up, &x->shared_down};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        sum += macs_of(&shared[i]->w);
    return sum + used * (macs_of(&x->gate.w) + macs_of(&x->up.w) + macs_of(&x->down.w));
}

uint64_t model_macs(const struct model *m, bool output)
{
    uint64_t sum = output ? macs_of(&m->output.w) : 0;
    for (int i = 0; i < m->t.layers; i++)
        sum += layer_macs(&m->layers[i], (uint64_t)m->b.experts_used);
    return sum;
}

uint64_t model_active_bytes(const struct model *m)
{
    return m->active_bytes;
}

int layer_linears(const struct layer *l, struct linear out[MODEL_LINEARS])
{
    int n = 0;
    const struct linear *const dense[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++)
        if (dense[i]->w.rows > 0)
            out[n++] = *dense[i];
    if (l->delta) {
        const struct delta *d = l->delta;
        const struct linear net[] = {d->qkv, d->gate, d->alpha, d->beta};
        for (size_t i = 0; i < sizeof net / sizeof *net; i++)
            if (net[i].w.rows > 0)
                out[n++] = net[i];
    }
    if (!l->moe)
        return n;
    const struct moe *x = l->moe;
    const struct linear all[] = {x->router,
                                 x->shared_router,
                                 x->shared_gate,
                                 x->shared_up,
                                 x->shared_down,
                                 expert_linear(&x->gate, 0),
                                 expert_linear(&x->up, 0),
                                 expert_linear(&x->down, 0)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].w.rows > 0)
            out[n++] = all[i];
    return n;
}

bool model_is_encoder(const struct model *m)
{
    return family_has(m, FAM_ENCODER);
}

bool model_is_mixture(const struct model *m)
{
    return m->b.experts > 0;
}

bool model_is_f32(const struct model *m)
{
    bool f32 = m->output.w.type == KERN_F32 && m->embed.type == KERN_F32;
    for (int i = 0; i < m->t.layers; i++) {
        struct linear all[MODEL_LINEARS];
        int n = layer_linears(&m->layers[i], all);
        for (int j = 0; j < n; j++)
            f32 = f32 && all[j].w.type == KERN_F32;
    }
    return f32;
}

void model_set_exact(struct model *m, bool exact)
{
    m->exact = exact;
}
