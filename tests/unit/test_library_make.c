/* test_library_make.c: files by their digest, models made of them and of others, and one large file
 * over several connections, from threads of the library's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "gguf.h"
#include "library.h"

#define BIG ((size_t)72 << 20)

struct ctx {
    char home[64], file[128], sha[65];
    char *bytes;
    size_t n;
    /* the server of the large file */
    unsigned char *big;
    char big_sha[65], manifest[400];
    atomic_int busy, most, calls, breaks; /* breaks: connections that will break */
    atomic_ullong sent;
    atomic_bool no_ranges;
    int cancel_after; /* progress calls; 0: never */
    int told;
    struct library_fetch fetch;
    struct err e;
};

static void hex_of(const void *p, size_t n, char out[65])
{
    unsigned char digest[32];
    crypto_hash_sha256(digest, p, n);
    sodium_bin2hex(out, 65, digest, sizeof digest);
}

/* A file whose bytes are a function of where they are, with a GGUF's beginning. */
static void make_big(struct ctx *c)
{
    c->big = malloc(BIG);
    memcpy(c->big, c->bytes, c->n);
    for (size_t i = c->n; i < BIG; i++)
        c->big[i] = (unsigned char)(i * 2654435761u >> 24);
    hex_of(c->big, BIG, c->big_sha);
    snprintf(c->manifest, sizeof c->manifest,
             "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\","
             "\"digest\":\"sha256:%s\",\"size\":%zu}]}",
             c->big_sha, BIG);
}

static int send_run(struct ctx *c, const struct library_get *g, size_t from, size_t to,
                    struct err *e)
{
    bool breaks = atomic_fetch_sub(&c->breaks, 1) > 0;
    for (size_t at = from; at < to; at += 65536) {
        size_t n = to - at < 65536 ? to - at : 65536;
        if (breaks && at - from >= ((size_t)3 << 20))
            return err_set(e, ERR_CUT, "it broke");
        atomic_fetch_add(&c->sent, n);
        int rc = g->data(g->sink, str_n((const char *)c->big + at, n));
        if (rc != 0)
            return err_set(e, rc, "stopped");
    }
    return 0;
}

static int serve(void *ctx, const struct library_get *g, struct err *e)
{
    struct ctx *c = ctx;
    if (strstr(g->url, "/manifests/")) {
        int rc = g->head(g->sink, 200, strlen(c->manifest), STR_NONE, false);
        return rc ? rc : g->data(g->sink, str_of(c->manifest));
    }
    atomic_fetch_add(&c->calls, 1);
    int busy = atomic_fetch_add(&c->busy, 1) + 1;
    for (int most = atomic_load(&c->most);
         busy > most && !atomic_compare_exchange_weak(&c->most, &most, busy);)
        ;
    usleep(20000);
    bool ranged = !atomic_load(&c->no_ranges);
    size_t from = ranged ? (size_t)g->offset : 0;
    size_t to = ranged && g->length ? from + (size_t)g->length : BIG;
    assert_true(to <= BIG);
    int rc = g->head(g->sink, ranged ? 206 : 200, BIG, STR_NONE, ranged);
    rc = rc ? rc : send_run(c, g, from, to, e);
    atomic_fetch_sub(&c->busy, 1);
    return rc;
}

static int progress(void *ctx, const struct library_progress *p)
{
    struct ctx *c = ctx;
    assert_true(p->total == 0 || p->done <= p->total);
    if (p->phase == LIBRARY_FETCHING)
        assert_string_equal(p->digest, c->big_sha);
    c->told += p->phase == LIBRARY_FETCHING;
    return c->cancel_after && c->told >= c->cancel_after;
}

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    static const uint64_t dims[] = {64};
    static const float data[64] = {1, 2, 3};
    snprintf(c->home, sizeof c->home, "/tmp/weir_test_make_XXXXXX");
    assert_non_null(mkdtemp(c->home));
    snprintf(c->file, sizeof c->file, "%s/Small.gguf", c->home);
    struct gguf_writer *w = gguf_writer_new();
    gguf_put_str(w, "general.name", STR("small"));
    gguf_put_tensor(w, "t", GGUF_DT_F32, 1, dims, data);
    assert_int_equal(gguf_writer_save(w, c->file, &c->e), 0);
    gguf_writer_free(w);
    FILE *f = fopen(c->file, "rb");
    c->bytes = malloc(65536);
    c->n = fread(c->bytes, 1, 65536, f);
    fclose(f);
    hex_of(c->bytes, c->n, c->sha);
    c->fetch = (struct library_fetch){serve, NULL, c};
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", c->home);
    assert_int_equal(system(command), 0);
    free(c->bytes);
    free(c->big);
    free(c);
    return 0;
}

static struct library *open_library(struct ctx *c)
{
    struct library *l = NULL;
    struct library_params p = {.home = c->home, .fetch = &c->fetch};
    assert_int_equal(library_open(&p, &l, &c->e), 0);
    return l;
}

static int put(struct ctx *c, struct library *l, const char *digest, uint64_t size)
{
    struct library_put *p = NULL;
    int rc = library_put_begin(l, digest, size, &p, &c->e);
    for (size_t at = 0; rc == 0 && at < c->n; at += 100) {
        size_t n = c->n - at < 100 ? c->n - at : 100;
        rc = library_put_append(p, str_n(c->bytes + at, n), &c->e);
        if (rc != 0)
            library_put_abort(p);
    }
    return rc ? rc : library_put_commit(p, &c->e);
}

static void files_are_kept_by_their_digest(void **state)
{
    struct ctx *c = *state;
    struct library *l = open_library(c);
    char wrong[65], *path = NULL;
    snprintf(wrong, sizeof wrong, "%s", c->sha);
    wrong[0] = wrong[0] == 'a' ? 'b' : 'a';
    assert_false(library_blob_has(l, c->sha));
    assert_int_equal(put(c, l, "sha256:../../x", 0), ERR_INVAL);
    assert_int_equal(put(c, l, wrong, 0), ERR_CHECKSUM);
    assert_int_equal(put(c, l, c->sha, c->n - 1), ERR_TOO_LARGE);
    assert_int_equal(put(c, l, c->sha, UINT64_MAX / 2), ERR_TOO_LARGE);
    assert_int_equal(put(c, l, c->sha, (uint64_t)1 << 49), ERR_NO_SPACE);
    assert_false(library_blob_has(l, wrong) || library_blob_has(l, c->sha));
    assert_int_equal(put(c, l, c->sha, c->n), 0);
    assert_int_equal(library_blob_path(l, c->sha, &path, &c->e), 0);
    assert_non_null(strstr(path, "/models/.blobs/sha256-"));
    free(path);
    library_free(l);
}

static void models_are_made_of_files(void **state)
{
    struct ctx *c = *state;
    struct library *l = open_library(c);
    struct library_item it = {0};
    struct library_file files[] = {{"model.gguf", c->sha}, {"mmproj.gguf", c->sha}};
    struct library_recipe r = {.files = files, .nfiles = 2};
    char system[] = "Be brief.", params[] = "{\"top_k\":3}";
    r.texts.system = system;
    r.texts.params = params;
    assert_int_equal(library_create(l, "made", &r, NULL, &it, &c->e), ERR_NOT_FOUND);
    assert_int_equal(put(c, l, c->sha, 0), 0);
    assert_int_equal(library_create(l, "made", &r, NULL, &it, &c->e), 0);
    assert_string_equal(it.texts.system, "Be brief.");
    assert_string_equal(it.texts.params, "{\"top_k\":3}");
    assert_string_equal(it.texts.template_text, "");
    assert_string_equal(it.sha256, c->sha);
    assert_string_equal(it.store, "weir");
    library_item_done(&it);
    assert_true(library_blob_has(l, c->sha)); /* it is the model's now */
    files[1].name = "other.gguf";
    assert_int_equal(library_create(l, "two", &r, NULL, NULL, &c->e), ERR_INVAL);
    files[0].name = "model.safetensors";
    assert_int_equal(library_create(l, "two", &r, NULL, NULL, &c->e), ERR_UNSUPPORTED);
    assert_int_equal(library_remove(l, "made", &c->e), 0);
    assert_false(library_blob_has(l, c->sha));
    library_free(l);
}

static void models_are_made_of_models(void **state)
{
    struct ctx *c = *state;
    struct library *l = open_library(c);
    struct library_item it = {0};
    struct stat a, b;
    char from[] = "small", params[] = "{\"top_k\":1,\"seed\":2}", more[] = "{\"seed\":9}";
    char empty[] = "", template[] = "{{ .Prompt }}";
    struct library_recipe r = {.from = from, .texts = {.params = params, .system = template}};
    assert_int_equal(library_pull(l, c->file, NULL, NULL, NULL, &c->e), 0);
    assert_int_equal(library_create(l, "x:1", &r, NULL, NULL, &c->e), 0);
    char second[] = "x:1";
    r = (struct library_recipe){.from = second, .texts = {.params = more, .system = empty}};
    assert_int_equal(library_create(l, "team/y", &r, NULL, &it, &c->e), 0);
    assert_string_equal(it.texts.params, "{\"top_k\":1,\"seed\":9}");
    assert_string_equal(it.texts.system, "");
    assert_string_equal(it.base, "x:1");
    stat(it.path, &a);
    library_item_done(&it);
    assert_int_equal(library_create(l, "x:1", &r, NULL, NULL, &c->e), 0); /* of itself */
    assert_int_equal(library_copy(l, "small", "z", &c->e), 0);
    assert_int_equal(library_copy(l, "small", "z", &c->e), ERR_EXISTS);
    assert_int_equal(library_copy(l, "small", "../z", &c->e), ERR_INVAL);
    assert_int_equal(library_find(l, "z", &it, &c->e), 0);
    stat(it.path, &b);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_string_equal(it.base, "");
    library_item_done(&it);
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"small", "x:1", "team/y", "z"};
        assert_int_equal(library_verify(l, names[i], NULL, &c->e), 0);
        assert_int_equal(library_remove(l, names[i], &c->e), 0);
        assert_int_equal(library_verify(l, names[i], NULL, NULL), ERR_NOT_FOUND);
    }
    library_free(l);
}

static void where_links_are_forbidden_a_record_points(void **state)
{
    struct ctx *c = *state;
    char other[] = "/dev/shm/weir_test_point_XXXXXX", path[128];
    struct stat here, there;
    if (!mkdtemp(other) || stat(c->home, &here) != 0 || stat(other, &there) != 0 ||
        here.st_dev == there.st_dev) {
        rmdir(other);
        print_message("skip: no second file system at /dev/shm\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/w.gguf", other);
    FILE *f = fopen(path, "wb");
    fwrite(c->bytes, 1, c->n, f);
    fclose(f);
    struct library *l = open_library(c);
    struct library_item it = {0};
    struct library_list list = {0};
    struct library_recipe r = {.from = path};
    assert_int_equal(library_create(l, "p", &r, NULL, &it, &c->e), 0);
    assert_string_equal(it.path, path);
    assert_true(it.managed);
    assert_string_equal(it.sha256, c->sha);
    library_item_done(&it);
    assert_int_equal(library_list(l, &list, &c->e), 0);
    assert_int_equal(list.n, 1);
    library_list_done(&list);
    assert_int_equal(library_verify(l, "p", NULL, &c->e), 0);
    assert_int_equal(library_copy(l, "p", "q", &c->e), 0);
    assert_int_equal(library_remove(l, "p", &c->e), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(library_find(l, "q", &it, &c->e), 0);
    library_item_done(&it);
    unlink(path);
    assert_int_equal(library_find(l, "q", &it, &c->e), ERR_NOT_FOUND);
    library_free(l);
    rmdir(other);
}

static void the_stamp_tells_of_changes(void **state)
{
    struct ctx *c = *state;
    struct library *l = open_library(c);
    uint64_t began = clock_mono_ns(), stamp;
    assert_int_equal(library_pull(l, c->file, "a", NULL, NULL, &c->e), 0);
    stamp = library_stamp(l);
    assert_true(stamp == 0 || clock_mono_ns() - began > 900000000); /* a moment ago */
    usleep(1100000);
    uint64_t before = library_stamp(l);
    assert_true(before != 0 && before == library_stamp(l));
    assert_int_equal(library_copy(l, "a", "b", &c->e), 0);
    usleep(1100000);
    assert_true(library_stamp(l) != before);
    library_free(l);
}

static int pull_big(struct ctx *c)
{
    struct library *l = open_library(c);
    struct library_watch watch = {progress, c};
    c->told = 0;
    int rc = library_pull(l, "big:1", NULL, &watch, NULL, &c->e);
    if (rc == 0)
        assert_int_equal(library_verify(l, "big:1", NULL, &c->e), 0);
    library_free(l);
    return rc;
}

static void forget_big(struct ctx *c)
{
    struct library *l = open_library(c);
    assert_int_equal(library_remove(l, "big:1", &c->e), 0);
    library_free(l);
    atomic_store(&c->calls, 0);
    atomic_store(&c->most, 0);
    atomic_store(&c->sent, 0);
}

static void large_files_come_over_several_connections(void **state)
{
    struct ctx *c = *state;
    make_big(c);
    assert_int_equal(pull_big(c), 0);
    assert_true(atomic_load(&c->most) >= 2 && atomic_load(&c->most) <= 4);
    assert_true(atomic_load(&c->sent) < BIG + ((size_t)1 << 20));
    forget_big(c);
    atomic_store(&c->breaks, 5); /* each is taken up again */
    assert_int_equal(pull_big(c), 0);
    assert_true(atomic_load(&c->calls) >= 6);
    forget_big(c);
    atomic_store(&c->breaks, 0);
    atomic_store(&c->no_ranges, true);
    assert_int_equal(pull_big(c), 0);
    assert_int_equal(atomic_load(&c->calls), 1);
    assert_int_equal(atomic_load(&c->sent), BIG);
}

static void cancelled_large_pulls_go_on(void **state)
{
    struct ctx *c = *state;
    make_big(c);
    c->cancel_after = 1;
    assert_int_equal(pull_big(c), ERR_CANCELLED);
    uint64_t first = atomic_load(&c->sent);
    c->cancel_after = 0;
    assert_int_equal(pull_big(c), 0);
    assert_true(atomic_load(&c->sent) < first + BIG || first < (1 << 20));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(files_are_kept_by_their_digest), T(models_are_made_of_files),
        T(models_are_made_of_models),      T(where_links_are_forbidden_a_record_points),
        T(the_stamp_tells_of_changes),     T(large_files_come_over_several_connections),
        T(cancelled_large_pulls_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
