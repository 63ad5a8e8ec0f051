/* weights.c: from a file's tensors to the model's matrices and vectors.
 *
 * Nothing is copied: a matrix is a view into the map. Every shape is checked against the traits,
 * every type against what the kernels can multiply, so that the forward pass needs no checks. An
 * error names the tensor. Called by model_open only. */
#include "model_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64

static int bad_shape(const struct gguf_tensor *t, size_t k, size_t rows, struct err *e)
{
    return err_set_at(e, ERR_FORMAT, t->offset,
                      "tensor %.*s has the shape %llu x %llu x %llu x %llu: %zu x %zu is needed",
                      STR_ARG(t->name), (unsigned long long)t->dims[0],
                      (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
                      (unsigned long long)t->dims[3], k, rows);
}

static bool shaped(const struct gguf_tensor *t, size_t k, size_t rows)
{
    return t->dims[0] == k && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1;
}

static int bind_matrix(struct model *m, const char *name, size_t k, size_t rows,
                       struct kern_mat *out, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_find(m->g, name);
    if (!t)
        return err_set(e, ERR_FORMAT, "tensor %s is missing", name);
    if (!shaped(t, k, rows))
        return bad_shape(t, k, rows, e);
    const char *type = "?";
    uint32_t block = 1, bytes = 0;
    bool known = gguf_dtype_info(t->dtype, &type, &block, &bytes);
    if (!known || t->dtype >= KERN_TYPES || !m->kern->has((enum kern_type)t->dtype))
        return err_set_at(e, ERR_UNSUPPORTED, t->offset,
                          "tensor %s has the type %s (%u), which is not supported", name, type,
                          (unsigned)t->dtype);
    if (k % block != 0 || t->nbytes != (uint64_t)(k / block) * bytes * rows)
        return err_set_at(e, ERR_FORMAT, t->offset,
                          "tensor %s: rows of %zu elements are not whole blocks of %u", name, k,
                          block);
    *out = (struct kern_mat){.type = (enum kern_type)t->dtype,
                             .data = t->data,
                             .rows = rows,
                             .k = k,
                             .stride = k / block * bytes};
    return 0;
}

/* A vector of n floats; absent is fine when `optional`, then *out stays NULL. */
static int bind_vector(struct model *m, const char *name, size_t n, bool optional,
                       const float **out, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_find(m->g, name);
    if (!t && optional)
        return 0;
    if (!t)
        return err_set(e, ERR_FORMAT, "tensor %s is missing", name);
    if (!shaped(t, n, 1))
        return bad_shape(t, n, 1, e);
    if (t->dtype != GGUF_DT_F32)
        return err_set_at(e, ERR_UNSUPPORTED, t->offset,
                          "tensor %s has the type number %u: F32 is needed", name,
                          (unsigned)t->dtype);
    if ((uintptr_t)t->data % sizeof(float) != 0)
        return err_set_at(e, ERR_FORMAT, t->offset, "tensor %s is not aligned to 4 bytes", name);
    *out = t->data;
    return 0;
}

/* PREFIX.weight, and PREFIX.bias and PREFIX.scale where the file has them. */
static int bind_linear(struct model *m, const char *prefix, size_t k, size_t rows, bool scale_last,
                       struct linear *out, struct err *e)
{
    char name[NAME_MAX_BYTES];
    const float *scale = NULL;
    *out = (struct linear){.scale = 1.0f, .scale_last = scale_last};
    snprintf(name, sizeof name, "%s.weight", prefix);
    int rc = bind_matrix(m, name, k, rows, &out->w, e);
    if (rc)
        return rc;
    snprintf(name, sizeof name, "%s.bias", prefix);
    rc = bind_vector(m, name, rows, true, &out->bias, e);
    if (rc)
        return rc;
    snprintf(name, sizeof name, "%s.scale", prefix);
    rc = bind_vector(m, name, 1, true, &scale, e);
    if (!rc && scale)
        out->scale = *scale;
    return rc;
}

/* The order of scale and bias differs between attention and feed-forward: llama.cpp's build_attn
 * scales the product and then adds the bias, its build_ffn adds the bias first. */
static int bind_layer(struct model *m, int i, struct layer *l, struct err *e)
{
    const struct model_traits *t = &m->t;
    size_t width = (size_t)t->width, ff = (size_t)t->ff;
    size_t q = (size_t)t->heads * (size_t)t->head_dim;
    size_t kv = (size_t)t->kv_heads * (size_t)t->head_dim;
    const struct {
        const char *name;
        size_t k, rows;
        bool scale_last;
        struct linear *out;
    } linears[] = {
        {"attn_q", width, q, false, &l->q},      {"attn_k", width, kv, false, &l->k},
        {"attn_v", width, kv, false, &l->v},     {"attn_output", q, width, false, &l->o},
        {"ffn_gate", width, ff, true, &l->gate}, {"ffn_up", width, ff, true, &l->up},
        {"ffn_down", ff, width, true, &l->down},
    };
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "blk.%d.attn_norm.weight", i);
    int rc = bind_vector(m, name, width, false, &l->attn_norm, e);
    if (rc)
        return rc;
    snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", i);
    rc = bind_vector(m, name, width, false, &l->ffn_norm, e);
    for (size_t j = 0; !rc && j < sizeof linears / sizeof *linears; j++) {
        snprintf(name, sizeof name, "blk.%d.%s", i, linears[j].name);
        rc = bind_linear(m, name, linears[j].k, linears[j].rows, linears[j].scale_last,
                         linears[j].out, e);
    }
    return rc;
}

static int bind_output(struct model *m, struct err *e)
{
    size_t width = (size_t)m->t.width, vocab = (size_t)m->t.vocab;
    int rc = bind_matrix(m, "token_embd.weight", width, vocab, &m->embed, e);
    if (!rc)
        rc = bind_vector(m, "output_norm.weight", width, false, &m->output_norm, e);
    if (rc)
        return rc;
    m->t.tied = !gguf_tensor_find(m->g, "output.weight");
    if (!m->t.tied)
        return bind_linear(m, "output", width, vocab, false, &m->output, e);
    m->output = (struct linear){.w = m->embed, .scale = 1.0f};
    return 0;
}

static void count_weights(struct model *m)
{
    for (size_t i = 0; i < gguf_ntensors(m->g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->g, i);
        m->weight_bytes += t->nbytes;
        m->params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
}

int weights_bind(struct model *m, struct err *e)
{
    /* A layer has nine tensors, so a file cannot have more layers than a ninth of them: what is
     * allocated is bounded by what the file holds. */
    if ((size_t)m->t.layers > gguf_ntensors(m->g) / 9)
        return err_set(e, ERR_FORMAT, "key %s.block_count is %d but the file has %zu tensors",
                       m->t.family, m->t.layers, gguf_ntensors(m->g));
    m->layers = calloc((size_t)m->t.layers, sizeof *m->layers);
    if (!m->layers)
        return err_set(e, ERR_NOMEM, "no memory for %d layers", m->t.layers);
    int rc = bind_output(m, e);
    for (int i = 0; !rc && i < m->t.layers; i++)
        rc = bind_layer(m, i, &m->layers[i], e);
    if (!rc)
        rc = bind_vector(m, "rope_freqs.weight", (size_t)m->t.rope_dims / 2, true, &m->rope_freqs,
                         e);
    if (!rc)
        count_weights(m);
    return rc;
}
