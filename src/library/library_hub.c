/* library_hub.c: a pull from the Hugging Face hub, or a mirror that speaks its API:
 *
 *   GET /api/models/ORG/REPO/tree/main?recursive=true   the files, in pages (Link: rel="next")
 *   GET /ORG/REPO/resolve/main/FILE                     one of them, by a redirect to a CDN
 *
 * A large file's `lfs.oid` is its SHA-256: that is what the download must have. The token goes to
 * the hub's own scheme, host and port; a next page elsewhere is refused, and egress/ drops it when
 * a redirect leads away.
 * Source: https://huggingface.co/docs/hub/api */
#include "library_int.h"

#include "buf.h"
#include "gguf.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_HUB "https://huggingface.co"
#define PAGE_MAX ((size_t)16 << 20)
#define PAGES_MAX 100
#define FILES_MAX 100000

struct hub_pull {
    const struct library *l;
    const struct library_watch *watch;
    const struct lib_ref *ref;
    const char *base, *refused;
    const char *headers[2];
    json_t *pages; /* keeps what files point into */
    struct lib_choice *files;
    size_t nfiles;
    char name[NAME_MAX_BYTES + 1], label[100];
};

static bool safe_path(const char *path)
{
    struct str part, rest = str_of(path);
    if (rest.n == 0 || rest.n > 1000)
        return false;
    for (bool more = true; more;) {
        more = str_cut(rest, '/', &part, &rest);
        if (part.n == 0 || str_is(part, ".") || str_is(part, ".."))
            return false;
    }
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F)
            return false;
    return true;
}

/* ---- the list ---- */

static int add_file(struct hub_pull *p, const json_t *entry, struct err *e)
{
    const json_t *said = json_object_get(entry, "lfs"), *lfs = json_is_object(said) ? said : NULL;
    const char *type = json_string_value(json_object_get(entry, "type"));
    const char *path = json_string_value(json_object_get(entry, "path"));
    const char *oid = json_string_value(json_object_get(lfs, "oid"));
    const json_t *size = json_object_get(lfs ? lfs : entry, "size");
    char hex[SHA256_HEX];
    if (!type || strcmp(type, "file") != 0 || !path || !safe_path(path))
        return 0;
    if (!json_is_integer(size) || json_integer_value(size) < 0 ||
        (uint64_t)json_integer_value(size) > FILE_MAX)
        return err_set(e, ERR_FORMAT, "%s: the hub gives %s a size that is none", p->name, path);
    if (oid && !lib_digest(oid, hex))
        return err_set(e, ERR_FORMAT, "%s: the hub names %s by what is no digest", p->name, path);
    struct lib_choice *files =
        p->nfiles < FILES_MAX ? realloc(p->files, (p->nfiles + 1) * sizeof *files) : NULL;
    if (!files)
        return err_set(e, ERR_LIMIT, "%s has too many files", p->name);
    p->files = files;
    files[p->nfiles++] = (struct lib_choice){path, (uint64_t)json_integer_value(size), oid};
    return 0;
}

static int add_page(struct hub_pull *p, const char *body, size_t n, struct err *e)
{
    json_t *page = json_loadb(body, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_array(page)) {
        json_decref(page);
        return err_set(e, ERR_FORMAT, "%s: the hub's list of files is no JSON list", p->name);
    }
    json_array_append_new(p->pages, page);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(page); i++)
        rc = add_file(p, json_array_get(page, i), e);
    return rc;
}

/* <URL>; rel="next", ...: the URL, malloc'd; NULL: no further page. */
static char *next_of(const char *link)
{
    struct str one, rest = str_of(link);
    for (bool more = rest.n > 0; more;) {
        struct str url, params;
        more = str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (one.n > 2 && one.p[0] == '<' &&
            str_cut(str_n(one.p + 1, one.n - 1), '>', &url, &params) &&
            (str_find(params, STR("rel=\"next\""), 0) != SIZE_MAX ||
             str_find(params, STR("rel=next"), 0) != SIZE_MAX))
            return strndup(url.p, url.n);
    }
    return NULL;
}

/* The next page's URL in place of this one's; *url NULL: that was the last. */
static int turn_page(const struct hub_pull *p, const char *link, char **url, struct err *e)
{
    char *next = link ? next_of(link) : NULL;
    if (next && next[0] == '/' && next[1] != '/') {
        char *whole = lib_path("%s%s", p->base, next);
        free(next);
        next = whole;
    }
    free(*url);
    *url = NULL;
    if (next && !lib_same_origin(next, p->base)) {
        free(next);
        return err_set(e, ERR_POLICY, "%s: the list of files goes on at another host", p->name);
    }
    *url = next;
    return 0;
}

static int list_page(struct hub_pull *p, char **url, struct err *e)
{
    char *body = NULL, *link = NULL;
    char missing[NAME_MAX_BYTES + 40];
    size_t n = 0;
    snprintf(missing, sizeof missing, "no repository %s", p->name);
    struct lib_ask ask = {.lib = p->l,
                          .watch = p->watch,
                          .url = *url,
                          .file = "list of files",
                          .headers = p->headers,
                          .missing = missing,
                          .refused = p->refused,
                          .max = PAGE_MAX,
                          .link = &link};
    int rc = lib_get_small(&ask, &body, &n, e);
    if (rc == 0)
        rc = add_page(p, body, n, e);
    if (rc == 0)
        rc = turn_page(p, link, url, e);
    free(body);
    free(link);
    return rc;
}

static int list_files(struct hub_pull *p, struct err *e)
{
    char *url = lib_path("%s/api/models/%s/%s/tree/main?recursive=true", p->base, p->ref->space,
                         p->ref->model);
    int rc = url ? 0 : err_set(e, ERR_NOMEM, "no memory to pull %s", p->name);
    for (int page = 0; rc == 0 && url; page++)
        rc = page < PAGES_MAX
                 ? list_page(p, &url, e)
                 : err_set(e, ERR_LIMIT, "%s: the list of files does not end", p->name);
    free(url);
    return rc;
}

/* ---- the files of one model ---- */

static const struct lib_choice *find_file(const struct hub_pull *p, const char *path)
{
    for (size_t i = 0; i < p->nfiles; i++)
        if (strcmp(p->files[i].path, path) == 0)
            return &p->files[i];
    return NULL;
}

static char *file_url(const struct hub_pull *p, const char *path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    struct buf b = BUF_INIT(8192);
    buf_printf(&b, "%s/%s/%s/resolve/main/", p->base, p->ref->space, p->ref->model);
    for (const char *c = path; *c; c++) {
        if (strchr(plain, *c))
            buf_putc(&b, *c);
        else
            buf_printf(&b, "%%%02X", (unsigned char)*c);
    }
    char *url = buf_failed(&b) ? NULL : buf_take(&b, NULL);
    buf_done(&b);
    return url;
}

static int pull_file(struct lib_job *j, struct hub_pull *p, const struct lib_choice *file,
                     const char *name, struct err *e)
{
    struct library_entry must = {.name = name, .size = file->size, .sha256 = file->sha256};
    if (!file->sha256)
        return err_set(e, ERR_UNSUPPORTED, "%s: the hub gives no SHA-256 of %s", p->name,
                       file->path);
    int rc = lib_begin(j, p->l, name, p->watch, e);
    char *url = rc == 0 ? file_url(p, file->path) : NULL, *source = NULL;
    if (rc == 0)
        source = lib_path("hf.co/%s/%s/%s", p->ref->space, p->ref->model, file->path);
    if (rc == 0 && (!url || !source))
        rc = err_set(e, ERR_NOMEM, "no memory to pull %s", name);
    j->entry = &must;
    j->file = file->path;
    j->headers = p->headers;
    j->refused = p->refused;
    j->update = true;
    if (rc == 0)
        rc = lib_pull_known(j, url, source);
    j->entry = NULL;
    j->file = NULL;
    j->headers = NULL;
    free(url);
    free(source);
    return rc;
}

/* All parts have to be there before the first of them is fetched. */
static int find_parts(const struct hub_pull *p, const char *first, uint32_t count, struct err *e)
{
    for (uint32_t i = 1; i <= count; i++) {
        char *path = lib_split_sibling(first, i, count);
        bool there = path && find_file(p, path);
        int rc = there ? 0
                       : err_set(e, path ? ERR_NOT_FOUND : ERR_NOMEM,
                                 "%s: part %u of %u of %s is missing", p->name, i, count, first);
        free(path);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The first part last: with it the model is there. */
static int pull_parts(struct lib_job *j, struct hub_pull *p, const char *first, uint32_t count,
                      const char *stem, struct err *e)
{
    int rc = find_parts(p, first, count, e);
    for (uint32_t i = count; i >= 1 && rc == 0; i--) {
        char part[NAME_MAX_BYTES + 1];
        char *path = lib_split_sibling(first, i, count);
        lib_job_done(j);
        rc = path ? lib_split_part(stem, i, count, part, e) : err_set(e, ERR_NOMEM, "no memory");
        if (rc == 0)
            rc = pull_file(j, p, find_file(p, path), part, e);
        free(path);
    }
    struct gguf *g = NULL;
    if (rc == 0)
        rc = gguf_open(j->model, &g, e);
    gguf_close(g);
    return rc;
}

static int choose(struct hub_pull *p, const struct lib_choice **file, struct err *e)
{
    size_t i = 0;
    struct err why = {0};
    const char *want = p->ref->file[0] ? p->ref->file : p->ref->tag;
    int rc = lib_quant_choose(p->files, p->nfiles, want, &i, p->label, &why);
    if (rc != 0)
        return err_set(e, rc, "%s: %s", p->name, err_msg(&why));
    *file = &p->files[i];
    return 0;
}

/* The quantisation as a tag; what is no tag (a blank in a file's name) becomes '_'. */
static void clean_label(char *label)
{
    for (char *c = label; *c; c++)
        if (!lib_name_valid(str_n((char[2]){'a', *c}, 2)) || *c == '/')
            *c = '_';
}

static int pull_chosen(struct lib_job *j, struct hub_pull *p, const char *as, struct err *e)
{
    const struct lib_choice *file = NULL;
    char name[NAME_MAX_BYTES + 1];
    uint32_t count = 0;
    int rc = choose(p, &file, e);
    if (rc != 0)
        return rc;
    clean_label(p->label);
    if (as)
        snprintf(name, sizeof name, "%s", as);
    else
        rc = lib_ref_name(p->ref, p->label, name, e);
    if (rc == 0 && lib_split_is(file->path, &count))
        return pull_parts(j, p, file->path, count, name, e);
    return rc == 0 ? pull_file(j, p, file, name, e) : rc;
}

int lib_pull_hub(struct lib_job *j, const struct library *l, const struct lib_ref *ref,
                 const char *as, const struct library_watch *watch, struct err *e)
{
    struct hub_pull p = {.l = l,
                         .watch = watch,
                         .ref = ref,
                         .base = l->hub ? l->hub : DEFAULT_HUB,
                         .headers = {l->hub_auth, NULL},
                         .pages = json_array()};
    struct lib_ref bare = *ref;
    bare.tag[0] = '\0';
    p.refused = l->hub_auth
                    ? "it is gated, private or not there, and the token in HF_TOKEN may not "
                      "read it (a gated model's terms are accepted on its page)"
                    : "it is gated, private or not there: set HF_TOKEN to a token that may "
                      "read it (a gated model's terms are accepted on its page)";
    int rc = lib_ref_name(&bare, NULL, p.name, e);
    if (rc == 0 && !p.pages)
        rc = err_set(e, ERR_NOMEM, "no memory to pull %s", p.name);
    if (rc == 0)
        rc = list_files(&p, e);
    if (rc == 0)
        rc = pull_chosen(j, &p, as, e);
    json_decref(p.pages);
    free(p.files);
    return rc;
}
