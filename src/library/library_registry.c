/* library_registry.c: a pull from a registry that speaks Ollama's protocol:
 *
 *   GET /v2/NAMESPACE/NAME/manifests/TAG           the manifest (library_manifest.c)
 *   GET /v2/NAMESPACE/NAME/blobs/sha256:DIGEST     a layer, often by a redirect to another host
 *
 * The small layers come first, into memory, each checked by its digest; then the weights. What is
 * in the manifest decides nothing but which bytes are asked for and what they must be. */
#include "library_int.h"

#include "buf.h"

#include <stdio.h>
#include <stdlib.h>

#define MANIFEST_MAX ((size_t)1 << 20)
#define DEFAULT_REGISTRY "https://registry.ollama.ai"

static const char *const accept[] = {
    "Accept: application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.manifest.v1+json",
    NULL,
};
static const char why_refused[] = "it is private, or not there";

struct registry_pull {
    const struct library *l;
    const struct library_watch *watch;
    const struct lib_ref *ref;
    char *base, *source; /* of the URLs; what is shown and recorded */
    struct lib_manifest manifest;
    struct library_texts texts;
    char name[NAME_MAX_BYTES + 1];
};

/* A registry on this machine is spoken to without TLS, as everybody does. */
static char *base_url(const struct library *l, const struct lib_ref *ref)
{
    const char *host = ref->host;
    if (!host[0])
        return lib_path("%s", l->registry ? l->registry : DEFAULT_REGISTRY);
    size_t n = strcspn(host, ":");
    bool here = str_ieq(str_n(host, n), STR("localhost")) || strncmp(host, "127.", 4) == 0;
    return lib_path("%s://%s", here ? "http" : "https", host);
}

static char *source_label(const char *base, const struct lib_ref *ref)
{
    const char *host = strstr(base, "://");
    return lib_path("%s/%s/%s:%s", host ? host + 3 : base, ref->space, ref->model, ref->tag);
}

static int fetch_manifest(struct registry_pull *p, struct err *e)
{
    char *url =
        lib_path("%s/v2/%s/%s/manifests/%s", p->base, p->ref->space, p->ref->model, p->ref->tag);
    char *missing = NULL, *body = NULL;
    struct buf near = BUF_INIT(300);
    lib_near(p->l, p->name, &near);
    missing = lib_path("no model %s in the registry %s%s", p->name, p->base, near.p ? near.p : "");
    buf_done(&near);
    size_t n = 0;
    struct lib_ask ask = {.lib = p->l,
                          .watch = p->watch,
                          .url = url,
                          .file = "manifest",
                          .headers = accept,
                          .missing = missing,
                          .refused = why_refused,
                          .max = MANIFEST_MAX};
    int rc = url && missing ? lib_get_small(&ask, &body, &n, e)
                            : err_set(e, ERR_NOMEM, "no memory to pull %s", p->name);
    if (rc == 0)
        rc = lib_manifest_parse(str_n(body, n), p->source, &p->manifest, e);
    free(url);
    free(missing);
    free(body);
    return rc;
}

static char *blob_url(const struct registry_pull *p, const char *sha256)
{
    return lib_path("%s/v2/%s/%s/blobs/sha256:%s", p->base, p->ref->space, p->ref->model, sha256);
}

static int check_text(const struct registry_pull *p, const struct lib_layer *layer,
                      const char *body, size_t n, const char *kind, struct err *e)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[SHA256_HEX];
    crypto_hash_sha256(digest, (const unsigned char *)body, n);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    if (n == layer->size && strcmp(hex, layer->sha256) == 0)
        return 0;
    return err_set(e, ERR_CHECKSUM, "%s: its %s has SHA-256 %s, not %s: it was thrown away",
                   p->source, kind, hex, layer->sha256);
}

static int fetch_text(struct registry_pull *p, enum lib_text kind, const struct lib_layer *layer,
                      struct err *e)
{
    char *url = blob_url(p, layer->sha256), *body = NULL;
    size_t n = 0;
    struct lib_ask ask = {.lib = p->l,
                          .watch = p->watch,
                          .url = url,
                          .file = lib_text_name(kind),
                          .refused = why_refused,
                          .max = (size_t)layer->size};
    int rc = url ? 0 : err_set(e, ERR_NOMEM, "no memory to pull %s", p->name);
    if (rc == 0 && layer->size > 0)
        rc = lib_get_small(&ask, &body, &n, e);
    if (rc == 0)
        rc = check_text(p, layer, body ? body : "", n, lib_text_name(kind), e);
    if (rc == 0 && n > 0)
        rc = lib_text_set(&p->texts, kind, str_n(body, n), p->source, e);
    free(url);
    free(body);
    return rc;
}

static int pull_weights(struct lib_job *j, struct registry_pull *p)
{
    struct library_entry must = {
        .name = p->name, .size = p->manifest.model.size, .sha256 = p->manifest.model.sha256};
    char *url = blob_url(p, p->manifest.model.sha256);
    int rc = url ? 0 : err_set(j->e, ERR_NOMEM, "no memory to pull %s", p->name);
    j->entry = &must;
    j->texts = &p->texts;
    j->update = true;
    j->refused = why_refused;
    if (p->manifest.has_projector)
        j->note = "it reads images with a projector, which weir does not use: it takes text alone";
    if (rc == 0)
        rc = lib_pull_known(j, url, p->source);
    j->entry = NULL;
    j->texts = NULL;
    free(url);
    return rc;
}

static int run(struct lib_job *j, struct registry_pull *p, const char *as, struct err *e)
{
    int rc = fetch_manifest(p, e);
    for (size_t i = 0; rc == 0 && i < p->manifest.ntexts; i++)
        rc = fetch_text(p, p->manifest.texts[i].kind, &p->manifest.texts[i].layer, e);
    if (rc == 0)
        rc = lib_begin(j, p->l, as ? as : p->name, p->watch, e);
    return rc == 0 ? pull_weights(j, p) : rc;
}

int lib_pull_registry(struct lib_job *j, const struct library *l, const struct lib_ref *ref,
                      const char *as, const struct library_watch *watch, struct err *e)
{
    struct registry_pull p = {.l = l, .watch = watch, .ref = ref};
    int rc = lib_ref_name(ref, NULL, p.name, e);
    p.base = base_url(l, ref);
    p.source = p.base ? source_label(p.base, ref) : NULL;
    if (rc == 0 && !p.source)
        rc = err_set(e, ERR_NOMEM, "no memory to pull %s", p.name);
    if (rc == 0)
        rc = run(j, &p, as, e);
    library_texts_done(&p.texts);
    free(p.base);
    free(p.source);
    return rc;
}
