/* test_grammar.c: grammars and what they let through: GBNF, JSON, masks over real vocabularies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "grammar.h"

/* ---- helpers ---- */

static struct grammar *gbnf(const char *text)
{
    struct grammar *g = NULL;
    struct err e = {0};
    if (grammar_from_gbnf(str_of(text), "root", NULL, NULL, &g, &e) != 0)
        fail_msg("%s: %s", text, e.msg);
    return g;
}

/* 0: not in the language; 1: the beginning of something; 2: in it. */
static int verdict(const struct grammar *g, const char *text)
{
    struct grammar_state *s = NULL;
    struct err e = {0};
    assert_int_equal(grammar_state_new(g, NULL, &s, &e), 0);
    int v = !grammar_state_accept_bytes(s, str_of(text)) ? 0 : grammar_state_may_end(s) ? 2 : 1;
    grammar_state_free(s);
    return v;
}

static void refused(const char *text, int code, const char *says)
{
    struct grammar *g = NULL;
    struct err e = {0};
    int rc = grammar_from_gbnf(str_of(text), "root", NULL, NULL, &g, &e);
    if (rc != code || !strstr(e.msg, says))
        fail_msg("%s: %d, \"%s\", expected %d, \"%s\"", text, rc, e.msg, code, says);
    assert_null(g);
}

static const char *fixture(const char *rel, char out[1024])
{
    const char *root = getenv("WEIR_FIXTURES");
    if (root)
        snprintf(out, 1024, "%s/%s", root, rel);
    else
        snprintf(out, 1024, "%s/../shared/fixtures/%s", getenv("WEIR_SOURCE"), rel);
    if (access(out, R_OK) != 0) {
        printf("skipped: no %s\n", out);
        skip();
    }
    return out;
}

/* ---- GBNF ---- */

static void gbnf_literals_and_classes(void **state)
{
    struct grammar *g = gbnf("root ::= \"a\" [b-d] [^x\\n] \"\\x41\\u00e9\\U0001F600\" .\n");
    assert_int_equal(verdict(g, "abyA\xC3\xA9\xF0\x9F\x98\x80z"), 2);
    assert_int_equal(verdict(g, "ab\xE2\x82\xAC"
                                "A\xC3\xA9\xF0\x9F\x98\x80\xC3\xA9"),
                     2);
    assert_int_equal(verdict(g, "ab\xE2\x82"), 1);
    assert_int_equal(verdict(g, "abx"), 0);
    assert_int_equal(verdict(g, "ae"), 0);
    assert_int_equal(verdict(g, "ab\xED\xA0"), 0); /* a surrogate */
    grammar_free(g);
    g = gbnf("root ::= [\\]a\\-z-]+ # a comment\n# another\n");
    assert_int_equal(verdict(g, "]a-z"), 2);
    assert_int_equal(verdict(g, "b"), 0);
    grammar_free(g);
}

static void gbnf_repetition_and_groups(void **state)
{
    struct grammar *g = gbnf("root ::= (\"ab\" | \"c\"){2,3} d* e? f+ g{2} h{1,}\n"
                             "d ::= \"d\"\ne ::= \"e\"\nf ::= \"f\"\ng ::= \"g\"\nh ::= \"h\"");
    assert_int_equal(verdict(g, "abcfgghh"), 2);
    assert_int_equal(verdict(g, "ccabdddeffggh"), 2);
    assert_int_equal(verdict(g, "cccc"), 0);
    assert_int_equal(verdict(g, "cf"), 0);
    assert_int_equal(verdict(g, "ccfgg"), 1);
    assert_int_equal(verdict(g, "ccfggg"), 0);
    grammar_free(g);
    g = gbnf("root ::= \"x\"{,2} |\n  \"y\" (\n \"z\"\n | \"w\" )");
    assert_int_equal(verdict(g, ""), 2);
    assert_int_equal(verdict(g, "xx"), 2);
    assert_int_equal(verdict(g, "xxx"), 0);
    assert_int_equal(verdict(g, "yw"), 2);
    grammar_free(g);
}

static void gbnf_recursion_counts(void **state)
{
    struct grammar *g = gbnf("root ::= \"(\" root \")\" | \"\"\n");
    assert_int_equal(verdict(g, "((()))"), 2);
    assert_int_equal(verdict(g, "((())"), 1);
    assert_int_equal(verdict(g, "(()))"), 0);
    grammar_free(g);
    /* Nested counts multiply nothing. */
    g = gbnf("root ::= ((\"a\"{1000}){1000}){1000}\n");
    assert_int_equal(verdict(g, "aaaa"), 1);
    grammar_free(g);
}

static void gbnf_errors_say_where(void **state)
{
    refused("root ::= \"a\"\nroot ::= \"b\"", ERR_FORMAT, "line 2, column 1");
    refused("root ::= x", ERR_FORMAT, "line 1, column 10: no rule \"x\"");
    refused("start ::= \"x\"", ERR_FORMAT, "\"root\"");
    refused("root ::= \"a", ERR_FORMAT, "line 1");
    refused("root ::= [a", ERR_FORMAT, "line 1");
    refused("root ::= (\"a\"", ERR_FORMAT, "expected ')'");
    refused("root ::= \"\\q\"", ERR_FORMAT, "escape");
    refused("root ::= \"\\uD800\"", ERR_FORMAT, "escape");
    refused("root ::= [z-a]", ERR_FORMAT, "backwards");
    refused("root ::= \"a\"{3,2}", ERR_FORMAT, "count");
    refused("root ::= \"a\"{99999999999}", ERR_LIMIT, "column 14");
    refused("root ::= root \"a\" | \"b\"", ERR_UNSUPPORTED, "left recursion");
    refused("root ::= a\na ::= \" \"* b\nb ::= root | \"x\"", ERR_UNSUPPORTED, "left recursion");
    refused("root ::= \"a\" root", ERR_UNSUPPORTED, "no text");
    refused("root ::= <think>", ERR_UNSUPPORTED, "vocabulary");
    refused("root := \"a\"", ERR_FORMAT, "'::='");
    refused("", ERR_FORMAT, "root");
}

static void deep_nesting_is_refused(void **state)
{
    char text[5000] = "root ::= ";
    size_t n = strlen(text);
    memset(text + n, '(', 4000);
    text[n + 4000] = '\0';
    refused(text, ERR_LIMIT, "nested");
}

/* A place that stands for very many meanings costs tokens, not memory or time. */
static void ambiguity_ends_within_limits(void **state)
{
    struct grammar *g = gbnf("root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"d\"\n");
    struct grammar_state *s = NULL;
    struct err e = {0};
    assert_int_equal(grammar_state_new(g, NULL, &s, &e), 0);
    for (int i = 0; i < 100; i++)
        (void)grammar_state_accept_bytes(s, STR("a"));
    grammar_state_free(s);
    grammar_free(g);
}

/* Tables fill up and are emptied on the way; the place is kept. */
static void long_texts_go_on(void **state)
{
    struct grammar *g = NULL;
    struct grammar_state *s = NULL, *c = NULL;
    struct err e = {0};
    assert_int_equal(grammar_from_json_object(NULL, &g, &e), 0);
    assert_int_equal(grammar_state_new(g, NULL, &s, &e), 0);
    for (int i = 0; i < 20000; i++)
        assert_true(grammar_state_accept_bytes(s, STR("{\"a\": [")));
    assert_int_equal(grammar_state_clone(s, &c, &e), 0);
    assert_true(grammar_state_accept_bytes(s, STR("1")));
    for (int i = 0; i < 20000; i++) {
        assert_false(grammar_state_may_end(s));
        assert_true(grammar_state_accept_bytes(s, STR("]}")));
        assert_true(grammar_state_accept_bytes(c, STR("]}")));
    }
    assert_true(grammar_state_may_end(s));
    assert_true(grammar_state_may_end(c));
    grammar_state_free(s);
    grammar_state_free(c);
    grammar_free(g);
}

/* ---- JSON ---- */

static void json_objects(void **state)
{
    static const char *const good[] = {
        "{}",
        "{ }",
        "{\"a\":1}",
        "{\"a\": [1, -2.5e+10, \"x\\u00e9\\n\", null, true, {}], \"b\": []}",
        "{\n  \"a\": {\n    \"b\": \"\xC3\xA9\"\n  }\n}",
        "{\"\\ud83d\\ude00\":-0.5}"};
    static const char *const bad[] = {"[]",
                                      "1",
                                      "{a:1}",
                                      "{\"a\":01}",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\":\"\\ud800x\"}",
                                      "{\"a\":\"\\udc00\"}",
                                      "{\"a\" :1}",
                                      "{,}",
                                      "{\"a\":1,}",
                                      "{\"a\":+1}",
                                      "{\"a\":\"\xFF\"}",
                                      "{\"a\":.5}",
                                      "{\"a\":tru}"};
    struct grammar *g = NULL;
    struct err e = {0};
    assert_int_equal(grammar_from_json_object(NULL, &g, &e), 0);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (verdict(g, good[i]) != 2)
            fail_msg("not accepted: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (verdict(g, bad[i]) == 2)
            fail_msg("accepted: %s", bad[i]);
    grammar_free(g);
}

/* ---- masks ---- */

struct words {
    struct gguf *file;
    struct tok *t;
    struct grammar_vocab *v;
};

static void words_open(struct words *w, const char *name)
{
    char rel[256], path[1024];
    struct err e = {0};
    snprintf(rel, sizeof rel, "tokenizer/%s/vocab.gguf", name);
    *w = (struct words){0};
    if (gguf_open(fixture(rel, path), &w->file, &e) != 0 || tok_open(w->file, &w->t, &e) != 0 ||
        grammar_vocab_new(w->t, tok_count(w->t) + 3, &w->v, &e) != 0)
        fail_msg("%s", e.msg);
}

static void words_done(struct words *w)
{
    grammar_vocab_free(w->v);
    tok_free(w->t);
    gguf_close(w->file);
}

/* The mask says of each token what reading its bytes says. */
static void check_mask(struct words *w, struct grammar_state *s)
{
    const uint64_t *mask = grammar_state_mask(s);
    uint64_t *copy = malloc(((size_t)tok_count(w->t) + 66) / 64 * 8);
    memcpy(copy, mask, ((size_t)tok_count(w->t) + 66) / 64 * 8);
    for (int32_t id = 0; id < tok_count(w->t) + 3; id++)
        if (grammar_state_allows(s, id) != grammar_mask_has(copy, id))
            fail_msg("token %d \"%.*s\": the mask says %d", id, STR_ARG(tok_piece(w->t, id)),
                     grammar_mask_has(copy, id));
    free(copy);
}

static struct grammar *started(const char *text, struct grammar_start start)
{
    struct grammar *g = NULL;
    struct err e = {0};
    if (grammar_from_gbnf(str_of(text), "root", NULL, &start, &g, &e) != 0)
        fail_msg("%s", e.msg);
    return g;
}

/* The text is led in by free text, as a SentencePiece vocabulary adds a space at the beginning. */
static void walk_text(struct words *w, const struct grammar *g, const char *text)
{
    struct grammar_state *s = NULL;
    struct err e = {0};
    struct tok_ids ids = {0};
    struct tok_span span = {str_of(text), true};
    assert_int_equal(grammar_state_new(g, w->v, &s, &e), 0);
    assert_int_equal(tok_encode(w->t, &span, 1, 0, 10000, &ids, &e), 0);
    for (size_t i = 0; i < ids.n; i++) {
        check_mask(w, s);
        if (!grammar_state_accept(s, ids.p[i]))
            fail_msg("%s: token %zu of %zu", text, i, ids.n);
    }
    assert_true(grammar_state_may_end(s));
    check_mask(w, s);
    tok_ids_done(&ids);
    grammar_state_free(s);
}

static void masks_say_what_reading_says(const char *vocabulary)
{
    struct words w;
    struct grammar *g = NULL;
    struct err e = {0};
    struct str trigger = STR("now:");
    struct grammar_start start = {GRAMMAR_AFTER, &trigger, 1};
    words_open(&w, vocabulary);
    assert_int_equal(grammar_from_json_object(&start, &g, &e), 0);
    walk_text(
        &w, g,
        "now:{\"name\": \"get_weather\", \"n\": [1.5, \"caf\xC3\xA9 \\u00e9 \xF0\x9F\x98\x80\"]}");
    grammar_free(g);
    g = started("root ::= \"\\\"\" [^\"\\\\\\x7f\\x00-\\x1f]{3,12} \"\\\"\" [a-z]{0,40}\n", start);
    walk_text(&w, g, "now:\"hello you\"andsoon");
    grammar_free(g);
    words_done(&w);
}

static void masks_of_a_byte_level_vocabulary(void **state)
{
    masks_say_what_reading_says("llama-bpe");
}

static void masks_of_a_sentencepiece_vocabulary(void **state)
{
    masks_say_what_reading_says("llama-spm");
}

/* ---- free text around a grammar ---- */

static void lazy_grammars_wait_for_their_trigger(void **state)
{
    struct str triggers[] = {STR("<tool>"), STR("<to do>")};
    struct grammar *g =
        started("root ::= [0-9]+ \"</tool>\"", (struct grammar_start){GRAMMAR_LAZY, triggers, 2});
    assert_int_equal(verdict(g, "anything < <to <too \xFF"), 2);
    assert_int_equal(verdict(g, "<<tool>"), 1);
    assert_int_equal(verdict(g, "<to<tool>12</tool>, then <to do>3</tool>"), 2);
    assert_int_equal(verdict(g, "<tool>x"), 0);
    assert_int_equal(verdict(g, "text <to do>7</tool><tool>x"), 0);
    grammar_free(g);
}

static void a_grammar_may_come_after_reasoning(void **state)
{
    struct str triggers[] = {STR("</think>")};
    struct grammar_start after = {GRAMMAR_AFTER, triggers, 1};
    struct grammar *g = started("root ::= \"\\n\"* [0-9]", after);
    assert_int_equal(verdict(g, "well </ </think>\n7"), 2);
    assert_int_equal(verdict(g, "well"), 1);
    assert_int_equal(verdict(g, "7"), 1);
    assert_int_equal(verdict(g, "well</think>x"), 0);
    grammar_free(g);
    after.optional = true;
    after.opener = STR("<think>");
    g = started("root ::= \"\\n\"* [0-9]", after);
    assert_int_equal(verdict(g, "7"), 2);
    assert_int_equal(verdict(g, "<think>hm</think>7"), 2);
    assert_int_equal(verdict(g, "hm"), 0);
    grammar_free(g);
}

/* A trigger that ends inside of a token, and control tokens in free text. */
static void triggers_hold_across_tokens(void **state)
{
    struct words w;
    struct grammar_state *s = NULL;
    struct err e = {0};
    struct str triggers[] = {STR("<tool_call>")};
    words_open(&w, "llama-bpe");
    struct grammar *g =
        started("root ::= \"{}\"", (struct grammar_start){GRAMMAR_LAZY, triggers, 1});
    assert_int_equal(grammar_state_new(g, w.v, &s, &e), 0);
    int32_t control = tok_find(w.t, STR("<|start_header_id|>"));
    assert_true(control >= 0 && grammar_state_allows(s, control));
    check_mask(&w, s);
    assert_true(grammar_state_accept_bytes(s, STR("so: <tool_call")));
    check_mask(&w, s);
    int32_t closing = tok_find(w.t, STR(">{")), wrong = tok_find(w.t, STR(">(")),
            gt = tok_find(w.t, STR(">"));
    assert_true(closing >= 0 && wrong >= 0 && gt >= 0);
    assert_true(grammar_state_allows(s, closing));
    assert_true(grammar_state_allows(s, gt));
    assert_false(grammar_state_allows(s, wrong));
    assert_true(grammar_state_accept(s, closing));
    assert_false(grammar_state_allows(s, control));
    assert_false(grammar_state_may_end(s));
    assert_true(grammar_state_accept_bytes(s, STR("} and on")));
    assert_true(grammar_state_may_end(s));
    grammar_state_free(s);
    grammar_free(g);
    words_done(&w);
}

static void tokens_can_be_named(void **state)
{
    struct words w;
    struct grammar *g = NULL;
    struct grammar_state *s = NULL;
    struct err e = {0};
    words_open(&w, "llama-bpe");
    const char *text = "root ::= <|start_header_id|> !<|end_header_id|>* <|end_header_id|> \"x\"";
    if (grammar_from_gbnf(str_of(text), "root", w.t, NULL, &g, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(grammar_state_new(g, w.v, &s, &e), 0);
    int32_t first = tok_find(w.t, STR("<|start_header_id|>")),
            last = tok_find(w.t, STR("<|end_header_id|>"));
    int32_t x = tok_find(w.t, STR("x"));
    check_mask(&w, s);
    assert_false(grammar_state_allows(s, x));
    assert_true(grammar_state_accept(s, first));
    check_mask(&w, s);
    assert_true(grammar_state_accept(s, x));
    assert_true(grammar_state_accept(s, last));
    assert_true(grammar_state_accept(s, x));
    assert_true(grammar_state_may_end(s));
    grammar_state_free(s);
    grammar_free(g);
    words_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gbnf_literals_and_classes),
        cmocka_unit_test(gbnf_repetition_and_groups),
        cmocka_unit_test(gbnf_recursion_counts),
        cmocka_unit_test(gbnf_errors_say_where),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(ambiguity_ends_within_limits),
        cmocka_unit_test(long_texts_go_on),
        cmocka_unit_test(json_objects),
        cmocka_unit_test(masks_of_a_byte_level_vocabulary),
        cmocka_unit_test(masks_of_a_sentencepiece_vocabulary),
        cmocka_unit_test(lazy_grammars_wait_for_their_trigger),
        cmocka_unit_test(a_grammar_may_come_after_reasoning),
        cmocka_unit_test(triggers_hold_across_tokens),
        cmocka_unit_test(tokens_can_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
