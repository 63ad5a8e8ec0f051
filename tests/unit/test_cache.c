/* test_cache.c: finished sessions on disk: found again after a restart, by another engine, for a
 * prompt that shares a part; bounded, and damage costs time only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "take.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LIMIT ((uint64_t)1 << 30)

static char folder[256];

static int make_folder_name(void **state)
{
    snprintf(folder, sizeof folder, "%s.d/cache", tiny_path("cache", (char[256]){0}));
    return 0;
}

/* ---- the folder ---- */

struct seen {
    int files, others;
    uint64_t bytes;
    char name[300]; /* of one of the files */
};

static struct seen look(void)
{
    struct seen s = {0};
    DIR *d = opendir(folder);
    for (struct dirent *x; d && (x = readdir(d));) {
        char path[600];
        struct stat st;
        size_t n = strlen(x->d_name);
        if (x->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, x->d_name);
        if (stat(path, &st) != 0)
            continue;
        if (n > 7 && strcmp(x->d_name + n - 7, ".weirkv") == 0) {
            s.files++;
            s.bytes += (uint64_t)st.st_size;
            snprintf(s.name, sizeof s.name, "%s", x->d_name);
            assert_int_equal(st.st_mode & 0777, 0600);
        } else {
            s.others++;
        }
    }
    if (d)
        closedir(d);
    return s;
}

static void empty_folder(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *x; d && (x = readdir(d));) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, x->d_name);
        if (x->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
}

static int remove_folder(void **state)
{
    char above[256];
    empty_folder();
    rmdir(folder);
    snprintf(above, sizeof above, "%.*s", (int)(strlen(folder) - 6), folder);
    rmdir(above);
    return 0;
}

static int fd_of(const char *name, int flags)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, flags, 0600);
    assert_true(fd >= 0);
    return fd;
}

static const struct hybrid kinds[] = {
    {.window = 0},
    {.window = 40},
    {.window = 40, .period = 2},
    {.delta = true},
};
#define NKINDS (sizeof kinds / sizeof *kinds)

static struct engine_params params(void)
{
    return (struct engine_params){
        .threads = 1, .ctx = 2048, .cache_dir = folder, .cache_bytes = LIMIT};
}

static struct engine *fresh(const struct hybrid *h)
{
    return take_engine(h, (struct engine_params){.threads = 1, .ctx = 2048});
}

/* ---- found again ---- */

static void a_restart_forgets_nothing(void **state)
{
    enum { N = 700, OUT = 40, MORE = 30 };
    static struct take first, again, next, plain;
    static int32_t a[N + OUT + MORE];
    for (size_t k = 0; k < NKINDS; k++) {
        empty_folder();
        take_fill(a, N + OUT + MORE, 5);
        struct engine *en = take_engine(&kinds[k], params());
        take_run(en, &first, a, N, OUT);
        engine_free(en);
        assert_int_equal(look().files, 1);
        en = take_engine(&kinds[k], params());
        take_run(en, &again, a, N, OUT); /* the same prompt */
        take_same(&first, &again);
        assert_int_equal(again.stats.reused, N - 1);
        assert_int_equal(again.stats.restored, N - 1);
        engine_free(en);
        memcpy(a + N, first.ids, OUT * sizeof *a); /* the next turn */
        en = take_engine(&kinds[k], params());
        take_run(en, &next, a, N + OUT + MORE, 20);
        assert_int_equal(next.stats.restored, N + OUT - 1);
        take_run(en, &again, a, N, OUT); /* now from memory, or from what was read back */
        take_same(&first, &again);
        engine_free(en);
        assert_int_equal(look().files, 1); /* the longer one has all of the shorter */
        en = fresh(&kinds[k]);
        take_run(en, &plain, a, N + OUT + MORE, 20);
        take_same(&next, &plain);
        engine_free(en);
    }
}

/* What a prompt shares with a file is had, as far as the model can be cut there. */
static void a_part_is_had(void **state)
{
    enum { N = 1500 };
    static struct take t, plain;
    static int32_t a[N], b[N];
    for (size_t k = 0; k < NKINDS; k++) {
        empty_folder();
        take_fill(a, N, 5);
        memcpy(b, a, sizeof b);
        take_fill(b + 1200, 300, 6);
        struct engine *en = take_engine(&kinds[k], params());
        take_run(en, &t, a, N, 4);
        engine_free(en);
        en = take_engine(&kinds[k], params());
        take_run(en, &t, b, N, 20);
        assert_in_range(t.stats.restored, kinds[k].window || kinds[k].delta ? 1000 : 1200, 1200);
        engine_free(en);
        en = fresh(&kinds[k]);
        take_run(en, &plain, b, N, 20);
        take_same(&t, &plain);
        engine_free(en);
    }
}

/* Sessions that memory has no room for come back from disk. */
static void what_leaves_memory_is_kept(void **state)
{
    enum { JOBS = 5, N = 600, OUT = 20 };
    static struct take first[JOBS], again;
    static int32_t a[JOBS][N];
    for (size_t k = 0; k < NKINDS; k++) {
        empty_folder();
        struct engine *en = fresh(&kinds[k]);
        const struct model *m = engine_model(en);
        struct engine_params p = params();
        p.kv_bytes = model_kv_need(m, p.cache, 1300, 512) + 2 * model_kv_snapshot_bytes(m, p.cache);
        p.ctx = 1000;
        engine_free(en);
        en = take_engine(&kinds[k], p);
        for (int i = 0; i < JOBS; i++) {
            take_fill(a[i], N, 50 + (uint32_t)i);
            take_run(en, &first[i], a[i], N, OUT);
            assert_int_equal(first[i].stats.reused, 0);
        }
        for (int i = 0; i < JOBS; i++) {
            take_run(en, &again, a[i], N, OUT);
            take_same(&first[i], &again);
            /* Where memory is short a snapshot at the end may be missing. */
            assert_in_range(again.stats.reused, kinds[k].window || kinds[k].delta ? 576 : N - 1,
                            N - 1);
        }
        engine_free(en);
        assert_int_equal(look().files, JOBS);
    }
}

/* A crash loses what the last second brought: the idle engine writes. */
static void an_idle_engine_writes(void **state)
{
    enum { N = 400 };
    static struct take t;
    static int32_t a[N];
    take_fill(a, N, 5);
    empty_folder();
    struct engine *en = take_engine(&kinds[0], params());
    take_run(en, &t, a, N, 20);
    assert_int_equal(look().files, 0);
    for (int i = 0; i < 100 && look().files == 0; i++)
        usleep(100000);
    assert_int_equal(look().files, 1);
    engine_free(en);
    empty_folder();
    en = take_engine(&kinds[0], params());
    take_run(en, &t, a, N, 20);
    engine_flush(en); /* or when it is told to */
    assert_int_equal(look().files, 1);
    engine_flush(en);
    take_run(en, &t, a, 100, 4); /* too short for a file of its own */
    engine_free(en);
    assert_int_equal(look().files, 1);
}

/* ---- bounded ---- */

static void the_limit_holds(void **state)
{
    enum { JOBS = 12, N = 320 };
    static struct take t;
    static int32_t a[N];
    empty_folder();
    struct engine_params p = params();
    struct engine *en = take_engine(&kinds[0], p);
    take_fill(a, N, 100);
    take_run(en, &t, a, N, 4);
    engine_flush(en);
    uint64_t one = look().bytes;
    engine_free(en);
    close(fd_of("mine.txt", O_CREAT | O_WRONLY)); /* not the cache's: left alone */
    close(fd_of("0123456789abcdef-f16-10-0123456789abcdef.weirkv.old", O_CREAT | O_WRONLY));
    p.cache_bytes = 4 * one + one / 2;
    en = take_engine(&kinds[0], p);
    for (uint32_t i = 1; i < JOBS; i++) {
        take_fill(a, N, 100 + i);
        take_run(en, &t, a, N, 4);
        engine_flush(en);
        struct seen s = look();
        assert_true(s.bytes <= p.cache_bytes);
        assert_int_equal(s.files, i < 4 ? i + 1 : 4);
        assert_int_equal(s.others, 2);
    }
    struct engine_load load;
    engine_load_of(en, &load);
    engine_free(en);
    en = take_engine(&kinds[0], p);
    int there = 0;
    for (uint32_t i = 0; i < JOBS; i++) {
        take_fill(a, N, 100 + i);
        take_run(en, &t, a, N, 1);
        there += t.stats.restored > 0;
        assert_int_equal(t.stats.restored > 0, i >= JOBS - 4); /* the latest */
    }
    assert_int_equal(there, 4);
    engine_free(en);
    p.cache_bytes = one / 2; /* none fits: that is no error */
    en = take_engine(&kinds[0], p);
    take_run(en, &t, a, N, 4);
    engine_free(en);
}

/* ---- damage ---- */

static void damage(const char *name, int how)
{
    int fd = fd_of(name, O_RDWR);
    struct stat st;
    unsigned char byte;
    assert_int_equal(fstat(fd, &st), 0);
    off_t at = how == 0 ? 8 : how == 1 ? 200 : st.st_size - 5000;
    if (how == 3) {
        assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
    } else {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

/* Another version, a changed token, a changed page, a cut end: the text is computed, the file goes,
 * and a good one takes its place. */
static void damaged_files_go(void **state)
{
    enum { N = 400 };
    static struct take first, again;
    static int32_t a[N];
    take_fill(a, N, 5);
    for (int how = 0; how < 4; how++) {
        empty_folder();
        struct engine *en = take_engine(&kinds[3], params());
        take_run(en, &first, a, N, 20);
        engine_free(en);
        struct seen s = look();
        assert_int_equal(s.files, 1);
        damage(s.name, how);
        en = take_engine(&kinds[3], params());
        take_run(en, &again, a, N, 20);
        take_same(&first, &again);
        assert_int_equal(again.stats.reused, 0);
        assert_int_equal(look().files, 0);
        engine_free(en);
        en = take_engine(&kinds[3], params());
        take_run(en, &again, a, N, 20);
        take_same(&first, &again);
        assert_int_equal(again.stats.restored, N - 1);
        engine_free(en);
    }
}

/* A file that another process removes or brings while the engine runs. */
static void the_folder_is_shared(void **state)
{
    enum { N = 400 };
    static struct take first, again;
    static int32_t a[N], b[N];
    take_fill(a, N, 5);
    take_fill(b, N, 6);
    empty_folder();
    struct engine *one = take_engine(&kinds[0], params());
    take_run(one, &first, a, N, 20);
    engine_flush(one);
    struct engine *two = take_engine(&kinds[0], params());
    struct engine *three = take_engine(&kinds[0], params());
    take_run(two, &again, a, N, 20);
    assert_int_equal(again.stats.restored, N - 1);
    take_same(&first, &again);
    take_run(three, &again, b, N, 20); /* its index is read */
    engine_flush(three);
    empty_folder();
    take_run(three, &again, a, N, 20);
    take_same(&first, &again);
    assert_int_equal(again.stats.reused, 0);
    engine_flush(three);
    assert_int_equal(look().files, 1);
    engine_free(one);
    engine_free(two);
    engine_free(three);
    assert_int_equal(look().files, 1);
}

/* Models and cache types keep apart in one folder. */
static void owners_keep_apart(void **state)
{
    enum { N = 400 };
    static struct take t;
    static int32_t a[N];
    struct engine_params p = params();
    take_fill(a, N, 5);
    empty_folder();
    for (int i = 0; i < 3; i++) {
        p.cache = i == 1 ? MODEL_CACHE_Q8_0 : MODEL_CACHE_F16;
        struct hybrid h = {.seed = i == 2 ? 2 : 1};
        struct engine *en = take_engine(&h, p);
        take_run(en, &t, a, N, 4);
        assert_int_equal(t.stats.reused, 0);
        engine_free(en);
        assert_int_equal(look().files, i + 1);
    }
}

static void a_folder_that_cannot_be(void **state)
{
    struct engine_params p = params();
    struct model *m = NULL;
    struct engine *en = NULL;
    struct err e = {0};
    char path[256];
    assert_int_equal(hybrid_write(&kinds[0], tiny_path("nofolder", path)), 0);
    assert_int_equal(model_open_path(path, &m, &e), 0);
    p.cache_dir = path; /* a file */
    assert_int_equal(engine_new(m, &p, &en, &e), ERR_IO);
    assert_non_null(strstr(e.msg, path));
    unlink(path);
    model_free(m);
}

/* ---- while others go on ---- */

static void others_go_on_meanwhile(void **state)
{
    enum { N = 1800, LONG = 400 };
    static struct take first, stream, again[3], gone;
    static int32_t a[N], s[50];
    take_fill(a, N, 5);
    take_fill(s, 50, 6);
    empty_folder();
    struct engine *en = take_engine(&kinds[3], params());
    take_run(en, &first, a, N, 20);
    engine_free(en);
    en = take_engine(&kinds[3], params());
    take_begin(en, &stream, s, 50, LONG);
    take_await(&stream, 3);
    take_begin(en, &gone, a, N, 20);
    engine_cancel(gone.run);    /* waiting, reading, or begun */
    for (int i = 0; i < 3; i++) /* one reads, the others wait for what it brings */
        take_begin(en, &again[i], a, N, 20);
    for (int i = 0; i < 3; i++) {
        take_await_end(&again[i]);
        take_same(&first, &again[i]);
        assert_int_equal(again[i].stats.reused, N - 1);
    }
    take_await_end(&stream);
    take_await_end(&gone);
    assert_int_equal(stream.n, LONG);
    take_begin(en, &gone, a, N, 1000);
    engine_free(en); /* what runs is cancelled, and kept */
    assert_int_equal(gone.end, ENGINE_END_CANCEL);
    engine_release(gone.run);
    assert_int_equal(look().files, 2);
}

/* ---- what it is worth ---- */

static double first_token_ms(struct engine *en, const int32_t *tokens, size_t n, int64_t *reused)
{
    static struct take t;
    uint64_t from = clock_mono_ns();
    take_run(en, &t, tokens, n, 1);
    *reused = t.stats.reused;
    return (double)(t.at_ns[0] - from) / 1e6;
}

static struct engine *real_engine(const char *path, struct engine_params p)
{
    struct model *m = NULL;
    struct engine *en = NULL;
    struct err e = {0};
    if (model_open_path(path, &m, &e) != 0 || engine_new(m, &p, &en, &e) != 0)
        fail_msg("%s", e.msg);
    return en;
}

/* The next turn behind 3,700 tokens, with and without a restart between the two. */
static void a_second_turn_costs_little(void **state)
{
    enum { N = 3700, MORE = 20 };
    static int32_t tokens[N + MORE];
    const char *path = getenv("WEIR_TEST_MODEL");
    int64_t reused;
    if (!path || SCALE > 1) {
        printf("skipped: WEIR_TEST_MODEL is not set, or all is slow\n");
        skip();
    }
    struct engine_params p = params();
    p.threads = 2;
    p.ctx = 4096;
    empty_folder();
    for (int i = 0; i < N + MORE; i++)
        tokens[i] = 1 + (int32_t)((uint32_t)i * 2654435761u % 40000u);
    struct engine *en = real_engine(path, p);
    double first = first_token_ms(en, tokens, N, &reused);
    double second = first_token_ms(en, tokens, N + MORE, &reused);
    assert_int_equal(reused, N);
    uint64_t from = clock_mono_ns();
    engine_free(en);
    double closing = (double)(clock_mono_ns() - from) / 1e6;
    double restarted = first;
    for (int i = 1; i <= 4 && restarted >= first / 10;
         i++) { /* the machine may be busy otherwise */
        for (int k = 0; k < MORE; k++)
            tokens[N + k] = 7 * i + k;
        en = real_engine(path, p);
        restarted = first_token_ms(en, tokens, N + MORE, &reused);
        assert_int_equal(reused, N);
        engine_free(en);
    }
    printf("first turn %.0f ms, second %.1f ms (%.2f %%), after a restart %.1f ms (%.2f %%); "
           "written in %.0f ms, %.1f MB\n",
           first, second, 100 * second / first, restarted, 100 * restarted / first, closing,
           (double)look().bytes / 1e6);
    assert_true(restarted < first / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_forgets_nothing),
        cmocka_unit_test(a_part_is_had),
        cmocka_unit_test(what_leaves_memory_is_kept),
        cmocka_unit_test(an_idle_engine_writes),
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(damaged_files_go),
        cmocka_unit_test(the_folder_is_shared),
        cmocka_unit_test(owners_keep_apart),
        cmocka_unit_test(a_folder_that_cannot_be),
        cmocka_unit_test(others_go_on_meanwhile),
        cmocka_unit_test(a_second_turn_costs_little),
    };
    cmocka_set_test_filter(getenv("WEIR_TEST_ONLY"));
    return cmocka_run_group_tests(tests, make_folder_name, remove_folder);
}
