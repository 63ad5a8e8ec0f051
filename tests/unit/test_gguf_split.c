/* test_gguf_split.c: a model in three files opens as one from any of them, and a part that is
 * missing, misplaced or foreign is an error that names it; a file of an 8B model's shape opens fast
 * and touches little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "gguf.h"

static char folder[64];

static const char *part_path(const char *stem, int no, int of)
{
    static char path[4][128];
    static int k;
    char *p = path[k++ % 4];
    snprintf(p, sizeof path[0], "%s/%s-%05d-of-%05d.gguf", folder, stem, no, of);
    return p;
}

/* One tensor a part, whose four floats are its number. total < 0: left out. */
static void write_part(const char *path, int no, int of, int total, const char *tensor)
{
    static float data[4];
    static const uint64_t dims[1] = {4};
    struct err e;
    struct gguf_writer *w = gguf_writer_new();
    for (int i = 0; i < 4; i++)
        data[i] = (float)no;
    if (no == 0)
        gguf_put_str(w, "general.architecture", STR("llama"));
    gguf_put_u16(w, "split.no", (uint16_t)no);
    gguf_put_u16(w, "split.count", (uint16_t)of);
    if (total >= 0)
        gguf_put_u32(w, "split.tensors.count", (uint32_t)total);
    gguf_put_tensor(w, tensor, GGUF_DT_F32, 1, dims, data);
    assert_int_equal(gguf_writer_save(w, path, &e), 0);
    gguf_writer_free(w);
}

static void write_model(const char *stem)
{
    write_part(part_path(stem, 1, 3), 0, 3, 3, "a");
    write_part(part_path(stem, 2, 3), 1, 3, 3, "b");
    write_part(part_path(stem, 3, 3), 2, 3, 3, "c");
}

static void remove_model(const char *stem)
{
    for (int i = 1; i <= 3; i++)
        unlink(part_path(stem, i, 3));
}

static void expect_error(const char *path, int code, const char *says)
{
    struct gguf *g = NULL;
    struct err e = {0};
    int rc = gguf_open(path, &g, &e);
    if (rc != code || !strstr(e.msg, says))
        print_message("%d %s\n", rc, e.msg);
    assert_int_equal(rc, code);
    assert_non_null(strstr(e.msg, says));
    assert_null(g);
}

static void any_part_opens_all(void **state)
{
    write_model("m");
    for (int i = 1; i <= 3; i++) {
        struct gguf *g = NULL;
        struct err e = {0};
        struct str s;
        assert_int_equal(gguf_open(part_path("m", i, 3), &g, &e), 0);
        assert_int_equal(gguf_nparts(g), 3);
        assert_int_equal(gguf_ntensors(g), 3);
        assert_string_equal(gguf_path(g), part_path("m", 1, 3));
        assert_int_equal(gguf_get_str(g, "general.architecture", &s, &e), 0);
        for (int k = 0; k < 3; k++) {
            char name[2] = {(char)('a' + k), '\0'};
            const struct gguf_tensor *t = gguf_tensor_find(g, name);
            assert_non_null(t);
            assert_int_equal(t->part, k);
            assert_true(((const float *)t->data)[3] == (float)k);
        }
        assert_true(gguf_file_size(g) > 3 * 64);
        gguf_close(g);
    }
    remove_model("m");
}

static void parts_that_do_not_fit(void **state)
{
    write_model("m");
    unlink(part_path("m", 2, 3));
    expect_error(part_path("m", 1, 3), ERR_NOT_FOUND, "m-00002-of-00003.gguf: part 2 of 3");
    expect_error(part_path("m", 3, 3), ERR_NOT_FOUND, "m-00002-of-00003.gguf: part 2 of 3");
    write_part(part_path("m", 2, 3), 2, 3, 3, "b"); /* twice the third */
    expect_error(part_path("m", 1, 3), ERR_FORMAT, "m-00002-of-00003.gguf: says it is part 3");
    expect_error(part_path("m", 2, 3), ERR_FORMAT, "m-00002-of-00003.gguf: says it is part 3");
    write_part(part_path("m", 2, 3), 1, 4, 3, "b");
    expect_error(part_path("m", 1, 3), ERR_FORMAT, "m-00002-of-00003.gguf: says it is of 4 parts");
    write_part(part_path("m", 2, 3), 1, 3, 3, "c");
    expect_error(part_path("m", 1, 3), ERR_FORMAT, "tensor c stands in two parts");
    write_part(part_path("m", 2, 3), 1, 3, 3, "b");
    write_part(part_path("m", 1, 3), 0, 3, 4, "a");
    expect_error(part_path("m", 1, 3), ERR_FORMAT, "split.tensors.count says 4");
    write_part(part_path("m", 1, 3), 0, 3, -1, "a"); /* no sum to check */
    struct gguf *g = NULL;
    struct err e;
    assert_int_equal(gguf_open(part_path("m", 3, 3), &g, &e), 0);
    gguf_close(g);

    FILE *f = fopen(part_path("m", 3, 3), "w"); /* cut */
    assert_non_null(f);
    fputs("GGUF", f);
    fclose(f);
    expect_error(part_path("m", 1, 3), ERR_FORMAT, "m-00003-of-00003.gguf");
    remove_model("m");

    char path[128];
    snprintf(path, sizeof path, "%s/plain.gguf", folder);
    write_part(path, 1, 3, 3, "a");
    expect_error(path, ERR_FORMAT, "does not end in");
    write_part(path, 0, 1, 1, "a"); /* of one part: whole, whatever its name */
    assert_int_equal(gguf_open(path, &g, &e), 0);
    assert_int_equal(gguf_nparts(g), 1);
    gguf_close(g);
    write_part(path, 0, 65535, 1, "a");
    expect_error(path, ERR_FORMAT, "split.count");
    unlink(path);
}

static void part_names(void **state)
{
    static const char *const not_parts[] = {"m.gguf",
                                            "-0001-of-00003.gguf",
                                            "m-00001-of-00003.ggu",
                                            "m-00004-of-00003.gguf",
                                            "m-00000-of-00003.gguf",
                                            "m-0000a-of-00003.gguf",
                                            "m_00001-of-00003.gguf"};
    uint32_t no, of;
    struct str stem;
    for (size_t i = 0; i < sizeof not_parts / sizeof not_parts[0]; i++)
        assert_false(gguf_part_name(str_of(not_parts[i]), &no, &of, &stem));
    assert_true(gguf_part_name(STR("a/m-00002-of-00013.gguf"), &no, &of, &stem));
    assert_true(no == 2 && of == 13 && str_is(stem, "a/m"));
}

/* ---- the shape of an 8B model ---- */

static uint64_t put_layer_tensor(struct gguf_writer *w, char *name, const char *what, int layer,
                                 uint64_t d0, uint64_t d1)
{
    uint64_t dims[2] = {d0, d1};
    sprintf(name, "blk.%d.%s.weight", layer, what);
    gguf_put_tensor(w, name, GGUF_DT_Q4_0, 2, dims, NULL);
    return d0 * d1 / 32 * 18;
}

/* The metadata alone is written, then the file is stretched: its data is a hole. */
static uint64_t write_sparse(const char *path)
{
    static const struct {
        const char *what;
        uint64_t d0, d1;
    } layer[] = {{"attn_q", 4096, 4096},      {"attn_k", 4096, 1024},    {"attn_v", 4096, 1024},
                 {"attn_output", 4096, 4096}, {"ffn_gate", 4096, 14336}, {"ffn_up", 4096, 14336},
                 {"ffn_down", 14336, 4096}};
    static char names[32][7][48], pieces[128256][12];
    static struct str tokens[128256];
    static int32_t types[128256];
    struct gguf_writer *w = gguf_writer_new();
    uint64_t total = 0;
    struct err e;
    for (size_t i = 0; i < 128256; i++) {
        tokens[i] = str_n(pieces[i], (size_t)sprintf(pieces[i], "t%zu", i));
        types[i] = 1;
    }
    gguf_put_str(w, "general.architecture", STR("llama"));
    gguf_put_strs(w, "tokenizer.ggml.tokens", tokens, 128256);
    gguf_put_i32s(w, "tokenizer.ggml.token_type", types, 128256);
    for (int l = 0; l < 32; l++)
        for (size_t k = 0; k < 7; k++)
            total += put_layer_tensor(w, names[l][k], layer[k].what, l, layer[k].d0, layer[k].d1);
    uint64_t dims[2] = {4096, 128256};
    gguf_put_tensor(w, "token_embd.weight", GGUF_DT_Q4_0, 2, dims, NULL);
    gguf_put_tensor(w, "output.weight", GGUF_DT_Q4_0, 2, dims, NULL);
    total += 2 * dims[0] * dims[1] / 32 * 18;
    assert_int_equal(gguf_writer_save(w, path, &e), 0);
    gguf_writer_free(w);
    return total;
}

/* Pages of the process that are there, in bytes. */
static uint64_t resident(void)
{
    unsigned long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    int n = f ? fscanf(f, "%lu %lu", &size, &pages) : 0;
    if (f)
        fclose(f);
    return n == 2 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void a_large_file_opens_fast(void **state)
{
    char path[128];
    struct gguf *g = NULL;
    struct err e;
    snprintf(path, sizeof path, "%s/large.gguf", folder);
    uint64_t total = write_sparse(path);
    uint64_t best = UINT64_MAX, before = resident(), grown = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t start = clock_mono_ns();
        assert_int_equal(gguf_open(path, &g, &e), 0);
        uint64_t took = clock_mono_ns() - start;
        best = took < best ? took : best;
        grown = resident() - before;
        assert_int_equal(gguf_ntensors(g), 32 * 7 + 2);
        assert_true(gguf_file_size(g) >= total);
        gguf_close(g);
    }
    print_message("%.1f GB opened in %.1f ms, %.1f MiB touched\n", (double)total / 1e9,
                  (double)best / 1e6, (double)grown / 1048576);
    assert_true(best < 300000000);
    assert_true(grown < (uint64_t)32 << 20); /* the vocabulary is 2 MiB of it */
    unlink(path);
}

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/weir_test_split_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_part_opens_all),
        cmocka_unit_test(parts_that_do_not_fit),
        cmocka_unit_test(part_names),
        cmocka_unit_test(a_large_file_opens_fast),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
