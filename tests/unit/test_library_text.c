/* test_library_text.c: what people and servers say, taken apart: names, Modelfiles, parameters,
 * manifests, the choice of a file, the state of a download. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "library_int.h"

static void names_are_taken_apart(void **state)
{
    static const struct {
        const char *typed, *name; /* NULL: it is none */
    } cases[] = {
        {"qwen3:0.6b", "qwen3:0.6b"},
        {"qwen3", "qwen3:latest"},
        {"library/qwen3", "qwen3:latest"},
        {"registry.ollama.ai/library/qwen3:4b", "qwen3:4b"},
        {"https://ollama.com/library/qwen3:4b", "qwen3:4b"},
        {"https://ollama.com/bob/m", "bob/m:latest"},
        {"bob/m:x", "bob/m:x"},
        {"localhost:5000/a/b:c", "localhost:5000/a/b:c"},
        {"hf.co/a/b", "hf.co/a/b"},
        {"hf.co/a/b:latest", "hf.co/a/b"},
        {"HF.co/a/b:Q8_0", "hf.co/a/b:Q8_0"},
        {"hf:a/b", "hf.co/a/b"},
        {"hf://a/b", "hf.co/a/b"},
        {"https://huggingface.co/a/b/tree/main", "hf.co/a/b"},
        {"https://huggingface.co/a/b/blob/main/x/y.gguf", "hf.co/a/b"},
        {"https://huggingface.co/a/b?x=1", "hf.co/a/b"},
        {"https://huggingface.co/a/b/resolve/main/../y.gguf", NULL},
        {"https://huggingface.co/a", NULL},
        {"hf.co/a", NULL},
        {"hf.co/a/..", NULL},
        {"a/b/c/d", NULL},
        {"a:b:c", NULL},
        {"a b", NULL},
        {"a?x", NULL},
        {"", NULL},
        {"x:", NULL},
        {"host:99999/a/b", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lib_ref ref = {0};
        char name[NAME_MAX_BYTES + 1] = "";
        int rc = lib_ref_parse(cases[i].typed, &ref, NULL);
        if (rc == 0)
            rc = ref.kind == LIB_REF_NONE ? ERR_INVAL : lib_ref_name(&ref, NULL, name, NULL);
        if ((rc == 0) != (cases[i].name != NULL))
            fail_msg("%s: %d", cases[i].typed, rc);
        if (rc == 0)
            assert_string_equal(name, cases[i].name);
    }
}

static void names_are_safe_as_files(void **state)
{
    static const char *const good[] = {"a", "a:b", "a/b:c", "hf.co/a/b:c", "h:1/a/b:c", "_x..y"};
    static const char *const wrong[] = {
        "",        ".",  "..",  "a/..",   "/a",  "a/",      "a//b", "a:",   ":a",       "a:b:c",
        "a:b/c:d", "-a", "a+b", "a.gguf", "a b", "h:x/a/b", "a\n",  "a/-b", "a/b/c/d/e"};
    char file[NAME_MAX_BYTES + 1];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(lib_name_valid(str_of(good[i])));
        lib_name_encode(good[i], file);
        assert_null(strchr(file, '/'));
        lib_name_decode(file);
        assert_string_equal(file, good[i]);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (lib_name_valid(str_of(wrong[i])))
            fail_msg("%s passes", wrong[i]);
    assert_true(lib_same_origin("https://a.b:1/x", "HTTPS://A.b:1/y?z"));
    assert_false(lib_same_origin("https://a.b/x", "https://a.b.c/x"));
    assert_false(lib_same_origin("https://a.b/x", "http://a.b/x"));
    assert_false(lib_same_origin("https://a.b/x", "https://a.b:444/x"));
    assert_false(lib_same_origin("https://u@a.b/x", "https://u@a.b/x"));
}

/* What is written of a recipe is read again as the same. */
static void modelfiles_are_written(void **state)
{
    static const char *const texts[] = {
        "FROM a\nMESSAGE user\nMESSAGE assistant x",
        "FROM a\nPARAMETER temperature 0.12345678901234567\nPARAMETER top_p 0.2",
        "FROM a\nPARAMETER stop \"\"\"\"\"x\"\"\"\nPARAMETER stop \"\"\"\"\"\"\"",
        "FROM a\nSYSTEM \"\"\"say \"x\"\nand \"y\"\"\"\"\nMESSAGE user \"\"\"\"a\"\n\"\"\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct library_recipe r = {0}, again = {0};
        struct buf out = BUF_INIT(4096);
        char name[] = "m", none[] = "";
        assert_int_equal(library_modelfile_parse(str_of(texts[i]), &r, NULL), 0);
        struct library_item it = {.name = name, .base = none, .texts = r.texts};
        char **all[] = {&it.texts.template_text, &it.texts.system, &it.texts.params,
                        &it.texts.messages, &it.texts.licence_text};
        for (size_t k = 0; k < 5; k++)
            *all[k] = *all[k] ? *all[k] : none;
        library_modelfile_write(&it, &out);
        assert_int_equal(library_modelfile_parse(buf_str(&out), &again, NULL), 0);
        assert_string_equal(again.texts.params ? again.texts.params : "", it.texts.params);
        assert_string_equal(again.texts.system ? again.texts.system : "", it.texts.system);
        assert_string_equal(again.texts.messages ? again.texts.messages : "", it.texts.messages);
        library_recipe_done(&again);
        library_recipe_done(&r);
        buf_done(&out);
    }
}

static void modelfiles_are_read(void **state)
{
    struct library_recipe r = {0};
    struct err e = {0};
    assert_int_equal(
        library_modelfile_parse(STR("\xEF\xBB\xBF# x\r\n\r\n  fRoM  ./a b.gguf  \r\nSYSTEM \"\"\"\n"
                                    "one\r\n\ntwo\"\"\"\nTEMPLATE \"a \"q\" b\nc\"\n"
                                    "PARAMETER stop \"\"\nPARAMETER STOP x y\nPARAMETER seed -3\n"
                                    "PARAMETER temperature 1e-1\nPARAMETER use_mmap FALSE\n"
                                    "LICENSE a\nLICENSE b\nMESSAGE USER \nMESSAGE assistant \"z\""),
                                &r, &e),
        ERR_FORMAT); /* an empty stop */
    assert_int_equal(e.pos, 10);
    assert_int_equal(
        library_modelfile_parse(STR("\xEF\xBB\xBF# x\r\n\r\n  fRoM  ./a b.gguf  \r\nSYSTEM \"\"\"\n"
                                    "one\r\n\ntwo\"\"\"\nTEMPLATE \"a \"q\" b\nc\"\n"
                                    "PARAMETER STOP x y\nPARAMETER stop \" z\"\nPARAMETER seed -3\n"
                                    "PARAMETER temperature 1e-1\nPARAMETER use_mmap FALSE\n"
                                    "LICENSE a\nLICENSE b\nMESSAGE USER \nMESSAGE assistant \"z\""),
                                &r, &e),
        0);
    assert_string_equal(r.from, "./a b.gguf");
    assert_string_equal(r.texts.system, "\none\r\n\ntwo");
    assert_string_equal(r.texts.template_text, "a \"q\" b\nc");
    assert_string_equal(r.texts.params, "{\"stop\":[\"x y\",\" z\"],\"seed\":-3,\"temperature\":0.1"
                                        "0000000000000001,\"use_mmap\":false}");
    assert_string_equal(r.texts.licence_text, "a\n\nb");
    assert_string_equal(r.texts.messages, "[{\"role\":\"user\",\"content\":\"\"},"
                                          "{\"role\":\"assistant\",\"content\":\"z\"}]");
    library_recipe_done(&r);
    static const struct {
        const char *text;
        int rc, line;
    } wrong[] = {
        {"", ERR_FORMAT, 0},
        {"# x\nFRM a", ERR_FORMAT, 2},
        {"FROM\n", ERR_FORMAT, 1},
        {"FROM a\nADAPTER b", ERR_UNSUPPORTED, 2},
        {"FROM a\nSYSTEM \"\"\"x\n\n", ERR_FORMAT, 2},
        {"FROM a\n\nPARAMETER top_k x", ERR_INVAL, 3},
        {"FROM a\nPARAMETER top_k 99999999999999999999", ERR_INVAL, 2},
        {"FROM a\nPARAMETER temperature nan", ERR_INVAL, 2},
        {"FROM a\nMESSAGE tool x", ERR_FORMAT, 2},
        {"FROM a\xFF", ERR_FORMAT, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        e = (struct err){0};
        int rc = library_modelfile_parse(str_of(wrong[i].text), &r, &e);
        if (rc != wrong[i].rc || e.pos != (uint64_t)wrong[i].line)
            fail_msg("%s: %d at %d: %s", wrong[i].text, rc, (int)e.pos, e.msg);
    }
}

static void texts_are_bounded(void **state)
{
    struct library_texts t = {0};
    size_t n = (size_t)1 << 20;
    char *big = malloc(n + 1);
    memset(big, 'x', n + 1);
    for (enum lib_text k = 0; k < LIB_TEXTS; k++)
        assert_int_equal(lib_text_set(&t, k, str_n(big, lib_text_max(k) + 1), "x", NULL),
                         ERR_TOO_LARGE);
    assert_int_equal(lib_text_set(&t, LIB_LICENCE, str_n(big, n - 10), "x", NULL), 0);
    assert_int_equal(lib_text_set(&t, LIB_LICENCE, str_n(big, 9), "x", NULL), ERR_TOO_LARGE);
    assert_int_equal(lib_text_set(&t, LIB_LICENCE, str_n(big, 8), "x", NULL), 0);
    assert_int_equal(strlen(t.licence_text), n);
    assert_int_equal(lib_text_set(&t, LIB_SYSTEM, STR("a\0b"), "x", NULL), ERR_FORMAT);
    assert_int_equal(lib_text_set(&t, LIB_SYSTEM, STR("\xC0\x80"), "x", NULL), ERR_FORMAT);
    assert_int_equal(lib_text_set(&t, LIB_PARAMS, STR("{\"a\":1,\"a\":2}"), "x", NULL), ERR_FORMAT);
    assert_int_equal(lib_text_set(&t, LIB_PARAMS, STR("{\"a\":\"\\u0000\"}"), "x", NULL),
                     ERR_FORMAT);
    assert_null(t.system);
    assert_null(t.params);
    free(big);
    library_texts_done(&t);
    char title[81];
    lib_licence_title("\n \n  Apache License  \nVersion", title);
    assert_string_equal(title, "Apache License");
    lib_licence_title("", title);
    assert_string_equal(title, "");
}

static void choice(const char *const *paths, const char *quant, const char *want,
                   const char *want_label)
{
    struct lib_choice files[16];
    char label[100] = "";
    size_t n = 0, i = 99;
    struct err e = {0};
    for (; paths[n]; n++)
        files[n] = (struct lib_choice){paths[n], 1, NULL};
    int rc = lib_quant_choose(files, n, quant, &i, label, &e);
    if (!want) {
        assert_int_equal(rc, ERR_NOT_FOUND);
        return;
    }
    if (rc != 0)
        fail_msg("%s: %s", quant, e.msg);
    assert_string_equal(files[i].path, want);
    assert_string_equal(label, want_label);
}

static void the_sensible_file_is_chosen(void **state)
{
    static const char *const many[] = {"README.md",
                                       "m-Q8_0.gguf",
                                       "m-UD-Q4_K_XL.gguf",
                                       "m.q5_k_m.gguf",
                                       "IQ4_XS/m-IQ4_XS-00001-of-00002.gguf",
                                       "IQ4_XS/m-IQ4_XS-00002-of-00002.gguf",
                                       "mmproj-m-Q4_K_M.gguf",
                                       "imatrix_Q4_K_M.gguf",
                                       "sub/m-Q8_0.gguf",
                                       NULL};
    static const char *const plain[] = {"model.gguf", "x.txt", NULL};
    static const char *const two[] = {"one.gguf", "two.gguf", NULL};
    static const char *const low[] = {"m-IQ1_S.gguf", "m-f16.gguf", NULL};
    choice(many, "", "m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL");
    choice(many, "q8_0", "m-Q8_0.gguf", "Q8_0");
    choice(many, "Q5_K_M", "m.q5_k_m.gguf", "Q5_K_M");
    choice(many, "iq4_xs", "IQ4_XS/m-IQ4_XS-00001-of-00002.gguf", "IQ4_XS");
    choice(many, "sub/m-Q8_0.gguf", "sub/m-Q8_0.gguf", "Q8_0");
    choice(many, "UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL");
    choice(many, "Q4_K_M", NULL, NULL);
    choice(plain, "", "model.gguf", "model");
    choice(two, "", NULL, NULL);
    choice(two, "two", "two.gguf", "two");
    choice(low, "", "m-f16.gguf", "F16");
}

static void states_are_believed_when_they_are_whole(void **state)
{
    char dir[] = "/tmp/weir_test_meta_XXXXXX";
    struct library_params p = {.home = dir};
    struct library *l = NULL;
    struct lib_job j;
    struct lib_meta m = {.size = 300, .n = 2, .seg = {{0, 50, 100, true}, {100, 100, 300, false}}};
    struct lib_meta back;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(library_open(&p, &l, NULL), 0);
    assert_int_equal(lib_job_init(&j, l, "a/b:c", NULL), 0);
    assert_int_equal(lib_meta_write(&j, "https://x/y", STR("\"t\""), &m), 0);
    assert_false(lib_meta_read(&j, "https://x/z", &back));
    free(back.etag);
    assert_true(lib_meta_read(&j, "https://x/y", &back));
    assert_string_equal(back.etag, "\"t\"");
    assert_int_equal(back.n, 2);
    assert_int_equal(back.size, 300);
    assert_int_equal(back.seg[0].at, 50);
    assert_false(back.seg[0].busy);
    free(back.etag);
    static const char *const wrong[] = {"[[0,50,100],[101,101,300]]",
                                        "[[0,50,100],[90,90,300]]",
                                        "[[0,150,100],[100,100,300]]",
                                        "[[0,0,100]]",
                                        "[[0,0,400]]",
                                        "[[-1,0,300]]",
                                        "[1,2]",
                                        "{}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        FILE *f = fopen(j.meta, "wb");
        fprintf(f, "{\"url\":\"https://x/y\",\"etag\":\"\",\"size\":300,\"segments\":%s}",
                wrong[i]);
        fclose(f);
        assert_true(lib_meta_read(&j, "https://x/y", &back));
        if (back.n != 0)
            fail_msg("%s", wrong[i]);
        free(back.etag);
    }
    lib_job_done(&j);
    library_free(l);
    lib_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_taken_apart),
        cmocka_unit_test(names_are_safe_as_files),
        cmocka_unit_test(modelfiles_are_read),
        cmocka_unit_test(modelfiles_are_written),
        cmocka_unit_test(texts_are_bounded),
        cmocka_unit_test(the_sensible_file_is_chosen),
        cmocka_unit_test(states_are_believed_when_they_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
