/* library_ref.c: what a person typed, where it names a model of the hub or of a registry: taken
 * apart, checked, and made into the name that the model has here. Paths, other URLs and names of
 * the catalogue are looked for by the caller. */
#include "library_int.h"

#include <stdio.h>

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* A part of a name that is put into a URL: nothing in it has a meaning there. */
static bool take_word(struct str s, char *out, size_t size)
{
    if (s.n == 0 || s.n >= size || s.p[0] == '.' || s.p[0] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!word_char(s.p[i]))
            return false;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

static bool eat(struct str *s, const char *prefix)
{
    struct str p = str_of(prefix);
    if (!str_istarts(*s, p))
        return false;
    s->p += p.n;
    s->n -= p.n;
    return true;
}

static int bad(const char *what, const char *shape, struct err *e)
{
    return err_set(e, ERR_INVAL, "%s is not of the form %s", what, shape);
}

/* ---- the hub ---- */

static bool take_path(struct str s, char *out, size_t size)
{
    struct str part, rest = s;
    if (s.n == 0 || s.n >= size)
        return false;
    for (bool more = true; more;) {
        more = str_cut(rest, '/', &part, &rest);
        if (part.n == 0 || part.p[0] == '.')
            return false;
        for (size_t i = 0; i < part.n; i++)
            if (!word_char(part.p[i]) && part.p[i] != '+' && part.p[i] != ' ')
                return false;
    }
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

/* Of a URL: ORG/REPO, and behind it tree/REV, or resolve/REV/FILE as a browser shows it. */
static bool take_web_rest(struct str rest, struct lib_ref *ref)
{
    struct str verb, rev, file;
    rest.n = rest.n ? strcspn(rest.p, "?#") < rest.n ? strcspn(rest.p, "?#") : rest.n : 0;
    if (rest.n && rest.p[rest.n - 1] == '/')
        rest.n--;
    if (rest.n == 0)
        return true;
    bool more = str_cut(rest, '/', &verb, &rest);
    if (!str_cut(rest, '/', &rev, &file))
        file = STR_NONE;
    if (!more || !str_is(rev, "main"))
        return false;
    if (str_is(verb, "tree"))
        return file.n == 0;
    return (str_is(verb, "resolve") || str_is(verb, "blob")) &&
           take_path(file, ref->file, sizeof ref->file);
}

static int hub_ref(const char *what, struct str s, bool web, struct lib_ref *ref, struct err *e)
{
    struct str org, repo, rest = STR_NONE, tag;
    static const char *const shape = "hf.co/ORG/REPO[:QUANT]";
    if (!str_cut(s, '/', &org, &repo))
        return bad(what, shape, e);
    if (web && repo.n)
        repo.n = strcspn(repo.p, "?#") < repo.n ? strcspn(repo.p, "?#") : repo.n;
    str_cut(repo, '/', &repo, &rest);
    if (str_cut(repo, ':', &repo, &tag) && !take_word(tag, ref->tag, sizeof ref->tag))
        return bad(what, shape, e);
    if (!take_word(org, ref->space, sizeof ref->space) ||
        !take_word(repo, ref->model, sizeof ref->model))
        return bad(what, shape, e);
    if (web ? !take_web_rest(rest, ref) : rest.n && !take_path(rest, ref->file, sizeof ref->file))
        return bad(what, shape, e);
    if (str_is(str_of(ref->tag), "latest")) /* what other programs put behind every name */
        ref->tag[0] = '\0';
    ref->kind = LIB_REF_HUB;
    return 0;
}

/* ---- registries ---- */

static bool take_host(struct str s, char *out, size_t size)
{
    struct str name, port;
    uint64_t n = 1;
    bool ported = str_cut(s, ':', &name, &port);
    if (ported && (!str_to_u64(port, &n) || n == 0 || n > 65535))
        return false;
    char plain_name[256];
    if (s.n >= size || !take_word(name, plain_name, sizeof plain_name))
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

static bool is_default_host(struct str s)
{
    return str_ieq(s, STR("registry.ollama.ai")) || str_ieq(s, STR("ollama.com")) ||
           str_ieq(s, STR("www.ollama.com"));
}

static int registry_ref(const char *what, struct str s, struct lib_ref *ref, struct err *e)
{
    static const char *const shape = "[[HOST/]NAMESPACE/]NAME[:TAG]";
    struct str part[3], rest = s, tag;
    size_t n = 0;
    for (bool more = true; more; n++) {
        if (n == 3)
            return bad(what, shape, e);
        more = str_cut(rest, '/', &part[n], &rest);
    }
    struct str name = part[n - 1], space = n > 1 ? part[n - 2] : STR("library");
    if (!str_cut(name, ':', &name, &tag))
        tag = STR("latest");
    if (n == 3 && !is_default_host(part[0]) && !take_host(part[0], ref->host, sizeof ref->host))
        return bad(what, shape, e);
    if (!take_word(space, ref->space, sizeof ref->space) ||
        !take_word(name, ref->model, sizeof ref->model) ||
        !take_word(tag, ref->tag, sizeof ref->tag))
        return bad(what, shape, e);
    ref->kind = LIB_REF_REGISTRY;
    return 0;
}

int lib_ref_parse(const char *what, struct lib_ref *ref, struct err *e)
{
    static const char *const hubs[] = {"hf.co/", "huggingface.co/", "www.huggingface.co/",
                                       "www.hf.co/"};
    struct str s = str_of(what);
    struct lib_ref r = {0};
    int rc = 0;
    if (strlen(what) > 1000) {
        *ref = r;
        return err_set(e, ERR_INVAL, "the name of a model is longer than 1,000 bytes");
    }
    bool web = eat(&s, "https://") || (lib_is_url(what) && eat(&s, "http://"));
    bool hub = !web && (eat(&s, "hf://") || eat(&s, "hf:"));
    for (size_t i = 0; i < sizeof hubs / sizeof hubs[0] && !hub; i++)
        hub = eat(&s, hubs[i]);
    if (hub) {
        rc = hub_ref(what, s, web, &r, e);
    } else if (web && (eat(&s, "ollama.com/") || eat(&s, "www.ollama.com/"))) {
        s.n = s.n ? strcspn(s.p, "?#") < s.n ? strcspn(s.p, "?#") : s.n : 0;
        rc = registry_ref(what, s, &r, e);
    } else if (!web && !lib_is_path(what)) {
        rc = registry_ref(what, s, &r, e);
    }
    if (rc == 0)
        *ref = r;
    return rc;
}

int lib_ref_name(const struct lib_ref *ref, const char *tag, char name[NAME_MAX_BYTES + 1],
                 struct err *e)
{
    char text[900];
    const char *t = tag ? tag : ref->tag, *colon = *t ? ":" : "";
    int n;
    if (ref->kind == LIB_REF_HUB)
        n = snprintf(text, sizeof text, "hf.co/%s/%s%s%s", ref->space, ref->model, colon, t);
    else if (ref->host[0])
        n = snprintf(text, sizeof text, "%s/%s/%s%s%s", ref->host, ref->space, ref->model, colon,
                     t);
    else if (strcmp(ref->space, "library") != 0)
        n = snprintf(text, sizeof text, "%s/%s%s%s", ref->space, ref->model, colon, t);
    else
        n = snprintf(text, sizeof text, "%s%s%s", ref->model, colon, t);
    if (n > NAME_MAX_BYTES || !lib_name_valid(str_n(text, (size_t)n)))
        return err_set(e, ERR_INVAL, "%s cannot be the name of a model", text);
    memcpy(name, text, (size_t)n + 1);
    return 0;
}
