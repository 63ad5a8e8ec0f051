/* test_local_many.c: several answers of one request, further prompts, prompts as ids and in pieces,
 * filling in the middle, and what a run says of itself at its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>

#include "local_rig.h"

static struct tiny sharp(void)
{
    struct tiny t = tiny_default();
    t.weight = 3;
    return t;
}

static struct gen_req raw(const char *prompt, int64_t max)
{
    return (struct gen_req){
        .kind = GEN_RAW,
        .prompt = str_of(prompt),
        .max_tokens = max,
        .n = 1,
        .sampling = {.set = GEN_SET_TEMPERATURE | GEN_SET_SEED, .temperature = 1.0f, .seed = 7}};
}

static const char long_prompt[] =
    "a prompt that is long enough to be shared by all of the answers that it gets";

/* ---- n ---- */

/* Every answer is the one that its seed gives alone; the prompt is counted, and read, once. */
static void each_answer_is_its_seeds_own(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("many", &t, "", 0);
    struct gen_req req = raw(long_prompt, 24);
    struct rig alone[5], all;
    for (uint64_t i = 0; i < 5; i++) {
        req.sampling.seed = 7 + i;
        rig_ask(l, &req, &alone[i]);
        assert_int_equal(alone[i].choice_ends, 0);
    }
    local_free(l);
    l = rig_open("many", &t, "", 0);
    req.sampling.seed = 7;
    req.n = 5;
    rig_ask(l, &req, &all);
    assert_int_equal(all.err.code, 0);
    int64_t output = 0;
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(rig_string(&all, i), rig_string(&alone[i], 0));
        assert_true(all.choice[i].ended);
        assert_int_equal(all.choice[i].reason, alone[i].reason);
        assert_true(all.choice[i].raw.n > 0);
        output += alone[i].usage.output;
        rig_done(&alone[i]);
    }
    assert_string_not_equal(rig_string(&all, 0), rig_string(&all, 1));
    assert_int_equal(all.starts, 1);
    assert_int_equal(all.usages, 1);
    assert_int_equal(all.choice_ends, 5);
    assert_int_equal(all.usage.output, output);
    assert_int_equal(all.usage.input, alone[0].usage.input);
    assert_int_equal(all.usage.cached, 0);
    rig_done(&all);
    local_free(l);
}

static void further_prompts_have_answers_of_their_own(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("further", &t, "", 0);
    int32_t ids[] = {1, 70, 80, 90};
    struct gen_prompt more[2] = {{.text = STR("another prompt")}, {.ids = ids, .nids = 4}};
    struct rig one, two, three, all;
    struct gen_req req = raw("the first", 12);
    rig_ask(l, &req, &one);
    req.prompt = more[0].text;
    req.sampling.seed = 8;
    rig_ask(l, &req, &two);
    req.prompt = STR("");
    req.prompt_ids = ids;
    req.nprompt_ids = 4;
    rig_ask(l, &req, &three);
    assert_int_equal(three.usage.input, 4);
    req = raw("the first", 12);
    req.more = more;
    req.nmore = 2;
    req.n = 2;
    rig_ask(l, &req, &all);
    assert_int_equal(all.nchoices, 6);
    assert_string_equal(rig_string(&all, 0), rig_string(&one, 0));
    assert_string_equal(rig_string(&all, 3), rig_string(&two, 0));
    assert_string_equal(rig_string(&all, 5), rig_string(&three, 0));
    assert_int_equal(all.usage.input, one.usage.input + two.usage.input + three.usage.input);
    rig_done(&one);
    rig_done(&two);
    rig_done(&three);
    rig_done(&all);
    local_free(l);
}

/* A hundred and twenty-eight are more than the engine's queue takes at once. */
static void as_many_as_there_may_be(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("most", &t, "", 0);
    struct gen_req req = raw(long_prompt, 3);
    struct rig *h = malloc(sizeof *h);
    req.n = 128;
    rig_ask(l, &req, h);
    assert_int_equal(h->err.code, 0);
    assert_int_equal(h->choice_ends, 128);
    assert_int_equal(h->reason, h->choice[0].reason);
    rig_done(h);
    req.n = 129;
    assert_non_null(strstr(rig_refused(l, &req).msg, "n: "));
    struct gen_prompt more[2] = {{.text = STR("x")}, {.text = STR("y")}};
    req.n = 64;
    req.more = more;
    req.nmore = 2;
    assert_non_null(strstr(rig_refused(l, &req).msg, "prompt: "));
    req.n = 1;
    req.sampling.seed = 3;
    char lengthy[700];
    memset(lengthy, 'x', sizeof lengthy);
    more[1].text = str_n(lengthy, sizeof lengthy);
    struct err e = rig_refused(l, &req);
    assert_int_equal(e.code, ERR_CONTEXT);
    assert_non_null(strstr(e.msg, "prompt[2]: "));
    free(h);
    local_free(l);
}

static void all_are_paused_and_cancelled_together(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("together", &t, "", 0);
    struct gen_req req = raw(long_prompt, 16);
    struct rig plain, h;
    struct err e = {0};
    req.n = 4;
    rig_ask(l, &req, &plain);
    rig_init(&h);
    h.pause = true;
    assert_int_equal(rig_start(l, &req, &h, &e), 0);
    rig_finish(l, &h);
    assert_true(h.pauses > 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(rig_string(&h, i), rig_string(&plain, i));
    rig_done(&h);
    req.max_tokens = 0;
    rig_init(&h);
    h.cancel_after = 9; /* by the sink, when some of them write */
    assert_int_equal(rig_start(l, &req, &h, &e), 0);
    rig_finish(l, &h);
    assert_int_equal(h.err.code, ERR_CANCELLED);
    assert_int_equal(h.usages, 1);
    rig_done(&h);
    rig_init(&h);
    h.pause = true;
    assert_int_equal(rig_start(l, &req, &h, &e), 0);
    local_backend(l)->ops->cancel(h.run); /* from outside */
    rig_finish(l, &h);
    assert_int_equal(h.err.code, ERR_CANCELLED);
    rig_done(&h);
    rig_done(&plain);
    local_free(l);
}

/* ---- prompts ---- */

static void ids_and_pieces_are_taken_as_they_are(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("ids", &t, "", 0);
    struct tok_ids whole = {0}, got = {0};
    struct tok_span span = {STR("abc def"), false};
    struct tmpl_out text;
    struct err e = {0};
    assert_int_equal(tok_encode(local_tok(l), &span, 1, TOK_ADD_BOS, 100, &whole, &e), 0);
    struct gen_req req = raw("", 2);
    req.prompt_ids = whole.p;
    req.nprompt_ids = whole.n;
    tmpl_out_init(&text, 1000);
    assert_int_equal(local_render(l, &req, &text, &got, &e), 0);
    assert_int_equal(got.n, whole.n);
    assert_memory_equal(got.p, whole.p, got.n * sizeof *got.p);
    got.n = 0;
    int32_t inner[] = {2, 50};
    struct gen_prompt pieces[] = {
        {.text = STR("abc def")}, {.ids = inner, .nids = 2}, {.text = STR("</s>")}};
    req = raw("", 2);
    req.prompt_pieces = pieces;
    req.nprompt_pieces = 3;
    assert_int_equal(local_render(l, &req, &text, &got, &e), 0);
    assert_memory_equal(got.p, whole.p, whole.n * sizeof *got.p);
    assert_int_equal(got.p[whole.n], 2);
    assert_int_equal(got.p[whole.n + 1], 50);
    assert_int_equal(got.n, whole.n + 3); /* and the text's mark is meant as one */
    assert_true(tok_is_control(local_tok(l), got.p[whole.n + 2]));
    inner[1] = TINY_VOCAB;
    e = rig_refused(l, &req);
    assert_int_equal(e.code, ERR_INVAL);
    assert_non_null(strstr(e.msg, "token 288 at 1"));
    tmpl_out_done(&text);
    tok_ids_done(&whole);
    tok_ids_done(&got);
    local_free(l);
}

static void the_prompt_is_echoed(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("echo", &t, "", 0);
    struct gen_req req = raw("hello", 8);
    struct rig plain, h;
    rig_ask(l, &req, &plain);
    req.echo = true;
    rig_ask(l, &req, &h);
    assert_int_equal(h.choice[0].text.n, plain.choice[0].text.n + 5);
    assert_memory_equal(h.choice[0].text.p, "hello", 5);
    assert_string_equal(h.choice[0].text.p + 5, rig_string(&plain, 0));
    rig_done(&h);
    rig_done(&plain);
    local_free(l);
}

/* ---- at the end ---- */

static void times_and_all_that_was_written(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("times", &t, "", 0);
    struct gen_req req = raw(long_prompt, 24);
    struct rig plain, h;
    rig_ask(l, &req, &plain);
    assert_true(plain.times.prompt > 0 && plain.times.write > 0 && plain.times.queue >= 0);
    assert_string_equal(plain.raw.p, rig_string(&plain, 0));
    size_t at = 1; /* a letter of the answer */
    while (at < plain.choice[0].text.n && !isalpha((unsigned char)plain.choice[0].text.p[at]))
        at++;
    assert_true(at < plain.choice[0].text.n);
    struct str stop = str_n(plain.choice[0].text.p + at, 1);
    req.stops = &stop;
    req.nstops = 1;
    req.dialect = GEN_DIALECT_LLAMA;
    rig_ask(l, &req, &h);
    assert_int_equal(h.reason, GEN_END_SEQUENCE);
    assert_true(h.raw.n > h.choice[0].text.n); /* the stop string was written too */
    rig_done(&h);
    req.nstops = 0;
    rig_ask(l, &req, &h);
    assert_int_equal(h.nids, h.usage.output);
    rig_done(&h);
    req.prompt_only = true;
    rig_ask(l, &req, &h);
    assert_int_equal(h.choice[0].text.n, 0);
    assert_int_equal(h.usage.output, 0);
    rig_done(&h);
    rig_done(&plain);
    local_free(l);
}

static void biases_name_ids_and_texts(void **state)
{
    struct tiny t = sharp();
    struct local *l = rig_open("bias", &t, "", 0);
    struct gen_req req = raw("x", 12);
    struct gen_bias bias = {.id = -1, .bias = 1000, .text = STR("q")};
    struct rig h;
    req.sampling.bias = &bias;
    req.sampling.nbias = 1;
    req.sampling.ignore_eos = true;
    rig_ask(l, &req, &h);
    assert_true(h.choice[0].text.n >= 12);
    for (size_t i = 0; i < h.choice[0].text.n; i++)
        assert_true(strchr("q ", h.choice[0].text.p[i]));
    assert_int_equal(h.usage.output, 12);
    rig_done(&h);
    local_free(l);
}

/* ---- filling in the middle ---- */

static struct gen_req infill(const char *before, const char *behind, int64_t max)
{
    struct gen_req req = raw(before, max);
    req.kind = GEN_INFILL;
    req.suffix = str_of(behind);
    return req;
}

static void parts_stand_in_order(void **state)
{
    struct tiny t = sharp();
    t.fim = true;
    struct local *l = rig_open("fim", &t, "", 0);
    struct gen_caps caps;
    struct tmpl_out text;
    struct tok_ids ids = {0};
    struct err e = {0};
    assert_int_equal(local_backend(l)->ops->describe(local_backend(l), STR(""), &caps, &e), 0);
    assert_true(caps.infill);
    struct gen_req req = infill("ab", "</s>cd", 4);
    tmpl_out_init(&text, 1 << 16);
    assert_int_equal(local_render(l, &req, &text, &ids, &e), 0);
    assert_int_equal(ids.p[0], 1);
    assert_int_equal(ids.p[1], 4);
    assert_int_equal(ids.p[ids.n - 1], 6);
    size_t suffixes = 0;
    for (size_t i = 2; i + 1 < ids.n; i++) {
        suffixes += ids.p[i] == 5;
        assert_false(tok_is_control(local_tok(l), ids.p[i]));
    }
    assert_int_equal(suffixes, 1);
    struct gen_file files[2] = {{STR("a.c"), STR("int a;")}, {STR("b.c"), STR("int b;")}};
    req.files = files;
    req.nfiles = 2;
    ids.n = 0;
    buf_clear(&text.text);
    text.nruns = 0;
    assert_int_equal(local_render(l, &req, &text, &ids, &e), 0);
    assert_int_equal(ids.p[1], 8);
    size_t seps = 0;
    for (size_t i = 0; i < ids.n; i++)
        seps += ids.p[i] == 9;
    assert_int_equal(seps, 3);
    struct str all = buf_str(&text.text);
    size_t a = str_find(all, STR("int a;"), 0), b = str_find(all, STR("int b;"), 0);
    assert_true(a < b && b < str_find(all, STR("current.c"), 0));
    tmpl_out_done(&text);
    tok_ids_done(&ids);
    struct rig h;
    rig_ask(l, &req, &h);
    assert_int_equal(h.err.code, 0);
    rig_done(&h);
    local_free(l);
    t.fim = false;
    l = rig_open("fim", &t, "", 0);
    e = rig_refused(l, &req);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "cannot fill in the middle"));
    local_free(l);
    /* Or by what a template says. */
    l = rig_open("fim", &t, "{{ if .Suffix }}<s>{{ .Prompt }}</s>{{ .Suffix }}{{ end }}", 0);
    tmpl_out_init(&text, 1 << 16);
    ids = (struct tok_ids){0};
    assert_int_equal(local_render(l, &req, &text, &ids, &e), 0);
    assert_string_equal(text.text.p, "<s>ab</s></s>cd");
    int controls = 0;
    for (size_t i = 0; i < ids.n; i++)
        controls += tok_is_control(local_tok(l), ids.p[i]);
    assert_int_equal(controls, 2);
    tmpl_out_done(&text);
    tok_ids_done(&ids);
    rig_ask(l, &req, &h);
    assert_int_equal(h.err.code, 0);
    rig_done(&h);
    local_free(l);
}

/* Somebody types: what stood before is not read again, whatever became of the text behind. */
static void typing_reuses_what_stands_before(void **state)
{
    struct tiny t = sharp();
    t.fim = true;
    t.ctx = 4096;
    struct local *l = rig_open("typing", &t, "", 4096);
    char before[1700], behind[64];
    size_t n = 1500;
    for (size_t i = 0; i < n; i++)
        before[i] = (char)(i % 37 == 36 ? '\n' : 'a' + (i * 7) % 26);
    before[n] = '\0';
    for (int line = 0; line < 4; line++) {
        struct rig h;
        snprintf(behind, sizeof behind, "the end, %d", line / 2); /* it changes too */
        struct gen_req req = infill(before, behind, 4);
        rig_ask(l, &req, &h);
        assert_int_equal(h.err.code, 0);
        if (line > 0)
            assert_true(h.usage.cached >= (int64_t)n - 40);
        rig_done(&h);
        n += (size_t)snprintf(before + n, sizeof before - n, "x = f(%d);\n", line);
    }
    local_free(l);
}

/* Where the context is short the text before begins in steps, not one token later a keystroke. */
static void what_does_not_fit_is_cut_in_steps(void **state)
{
    struct tiny t = sharp();
    t.fim = true;
    struct local *l = rig_open("cut", &t, "", 256);
    static char before[1000], behind[1000];
    memset(behind, 'z', sizeof behind - 1);
    for (size_t i = 0; i < sizeof before - 1; i++)
        before[i] = (char)('a' + (i * i + i / 26) % 26);
    int misses = 0;
    for (size_t n = 900; n < 940; n++) {
        struct gen_req req = infill("", behind, 4);
        struct rig h;
        req.prompt = str_n(before, n);
        rig_ask(l, &req, &h);
        assert_int_equal(h.err.code, 0);
        assert_true(h.usage.input + 4 <= 256);
        assert_true(h.usage.input > 128);
        misses += h.usage.cached < 64;
        rig_done(&h);
    }
    assert_true(misses <= 3);
    local_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_is_its_seeds_own),
        cmocka_unit_test(further_prompts_have_answers_of_their_own),
        cmocka_unit_test(as_many_as_there_may_be),
        cmocka_unit_test(all_are_paused_and_cancelled_together),
        cmocka_unit_test(ids_and_pieces_are_taken_as_they_are),
        cmocka_unit_test(the_prompt_is_echoed),
        cmocka_unit_test(times_and_all_that_was_written),
        cmocka_unit_test(biases_name_ids_and_texts),
        cmocka_unit_test(parts_stand_in_order),
        cmocka_unit_test(typing_reuses_what_stands_before),
        cmocka_unit_test(what_does_not_fit_is_cut_in_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
