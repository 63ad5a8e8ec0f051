/* library_manifest.c: the manifest of an Ollama model, as its registry sends it and its store keeps
 * it. Pure: a stranger's JSON becomes digests that are digests and sizes that are sizes.
 *
 *   {"layers": [{"mediaType": "application/vnd.ollama.image.model",
 *                "digest": "sha256:<64 hex>", "size": 4683073184}, ...]}
 *
 * Source: https://github.com/ollama/ollama/blob/main/docs/import.md and the OCI image spec. */
#include "library_int.h"

#include <jansson.h>

#define PREFIX "application/vnd.ollama.image."

static int wrong(const char *where, const char *what, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: its manifest %s", where, what);
}

static int read_layer(const json_t *layer, const char *where, struct lib_layer *out, struct err *e)
{
    const char *digest = json_string_value(json_object_get(layer, "digest"));
    const json_t *size = json_object_get(layer, "size");
    if (!digest || strncmp(digest, "sha256:", 7) != 0 || !lib_digest(digest, out->sha256))
        return wrong(where, "names a layer by what is no digest", e);
    if (!json_is_integer(size) || json_integer_value(size) < 0 ||
        (uint64_t)json_integer_value(size) > FILE_MAX)
        return wrong(where, "gives a layer a size that is none", e);
    out->size = (uint64_t)json_integer_value(size);
    return 0;
}

static const struct {
    const char *type;
    enum lib_text kind;
} text_types[] = {
    {"template", LIB_TEMPLATE}, {"system", LIB_SYSTEM},     {"params", LIB_PARAMS},
    {"license", LIB_LICENCE},   {"messages", LIB_MESSAGES},
};

static int take_text(struct lib_manifest *m, enum lib_text kind, const struct lib_layer *layer,
                     const char *where, struct err *e)
{
    if (layer->size > lib_text_max(kind))
        return err_set(e, ERR_TOO_LARGE, "%s: its %s has %llu bytes, more than %zu", where,
                       lib_text_name(kind), (unsigned long long)layer->size, lib_text_max(kind));
    if (m->ntexts == sizeof m->texts / sizeof m->texts[0])
        return wrong(where, "has too many layers", e);
    m->texts[m->ntexts].kind = kind;
    m->texts[m->ntexts++].layer = *layer;
    return 0;
}

static int take_layer(struct lib_manifest *m, const json_t *layer, const char *where, struct err *e)
{
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    struct lib_layer l;
    int rc = read_layer(layer, where, &l, e);
    if (rc != 0)
        return rc;
    if (!type || strncmp(type, PREFIX, sizeof PREFIX - 1) != 0)
        return 0; /* what is not of a model says nothing to us */
    type += sizeof PREFIX - 1;
    for (size_t i = 0; i < sizeof text_types / sizeof text_types[0]; i++)
        if (strcmp(type, text_types[i].type) == 0)
            return take_text(m, text_types[i].kind, &l, where, e);
    if (strcmp(type, "adapter") == 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s is an adapter on top of a model: weir has no adapters", where);
    if (strcmp(type, "tensor") == 0)
        return err_set(e, ERR_UNSUPPORTED, "%s is not in GGUF: weir reads nothing else", where);
    if (strcmp(type, "projector") == 0)
        m->has_projector = true;
    if (strcmp(type, "model") != 0)
        return 0;
    if (m->has_model)
        return err_set(e, ERR_UNSUPPORTED, "%s has its weights in several layers", where);
    m->has_model = true;
    m->model = l;
    return 0;
}

int lib_manifest_parse(struct str json, const char *where, struct lib_manifest *out, struct err *e)
{
    struct lib_manifest m = {0};
    json_t *root = json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *layers = json_object_get(root, "layers");
    int rc = 0;
    if (!root)
        rc = wrong(where, "is not JSON", e);
    else if (!json_is_array(layers) || json_array_size(layers) > 1000)
        rc = wrong(where, "has no list of layers", e);
    for (size_t i = 0; rc == 0 && i < json_array_size(layers); i++)
        rc = take_layer(&m, json_array_get(layers, i), where, e);
    if (rc == 0 && !m.has_model)
        rc = err_set(e, ERR_UNSUPPORTED, "%s has no weights: it runs elsewhere, or is no model",
                     where);
    if (rc == 0 && m.model.size == 0)
        rc = wrong(where, "says that its weights are empty", e);
    json_decref(root);
    if (rc == 0)
        *out = m;
    return rc;
}
