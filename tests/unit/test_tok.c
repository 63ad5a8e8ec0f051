/* test_tok.c: two small vocabularies made here for the rules, the real ones in the shared fixtures
 * for exactness, damaged ones for refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "gguf.h"
#include "tok.h"
#include "utf8.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, BYTE = 6 };

#define MAX_PIECES 600

/* What a test may bend before the file is written. */
struct vocab {
    const char *model, *pre, *name, *chat; /* name: general.name */
    bool merge_spaces, cased, no_prefix;
    const unsigned char *charsmap;
    size_t ncharsmap;
    struct str pieces[MAX_PIECES];
    int32_t types[MAX_PIECES];
    float scores[MAX_PIECES];
    size_t n, ntypes, nscores;
    struct str merges[32];
    size_t nmerges;
    uint32_t bos, eos;
    char text[MAX_PIECES * 8];
    size_t ntext;
};

static void add(struct vocab *v, struct str piece, int32_t type, float score)
{
    assert_true(v->n < MAX_PIECES && v->ntext + piece.n <= sizeof v->text);
    memcpy(v->text + v->ntext, piece.p, piece.n);
    v->pieces[v->n] = str_n(v->text + v->ntext, piece.n);
    v->ntext += piece.n;
    v->types[v->n] = type;
    v->scores[v->n] = score;
    v->n++;
    v->ntypes = v->nscores = v->n;
}

/* 0 to 255 the bytes in GPT-2's order of characters, then merges, then special tokens. */
static struct vocab *bpe_vocab(void)
{
    static const char *const merges[] = {"h e", "l l",  "he ll", "hell o", "\xC4\xA0 hello",
                                         "a a", "aa aa"};
    struct vocab *v = calloc(1, sizeof *v);
    v->model = "gpt2";
    v->pre = "smollm";
    uint32_t other = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        bool plain = (b > 32 && b < 127) || (b > 160 && b != 173);
        char c[4];
        add(v, str_n(c, utf8_encode(plain ? b : other++, c)), NORMAL, 0);
    }
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        char joined[32];
        const char *space = strchr(merges[i], ' ');
        snprintf(joined, sizeof joined, "%.*s%s", (int)(space - merges[i]), merges[i], space + 1);
        add(v, str_of(joined), NORMAL, 0);
        v->merges[v->nmerges++] = str_of(merges[i]);
    }
    v->bos = (uint32_t)v->n;
    add(v, STR("<|start|>"), CONTROL, 0);
    v->eos = (uint32_t)v->n;
    add(v, STR("<|im_end|>"), CONTROL, 0);
    add(v, STR("<tool>"), USER, 0);
    add(v, STR("<tool>x"), USER, 0);
    return v;
}

/* <unk> <s> </s>, the bytes at 3 to 258, then pieces with scores. */
static struct vocab *spm_vocab(void)
{
    static const char *const pieces[] = {
        "\xE2\x96\x81", "h", "e", "l", "o", "he", "ll", "lo", "hell", "hello", "\xE2\x96\x81hello"};
    static const float scores[] = {-20, -21, -22, -23, -24, -5, -1, -2, -4, -3, -2.5f};
    struct vocab *v = calloc(1, sizeof *v);
    v->model = "llama";
    v->bos = 1;
    v->eos = 2;
    add(v, STR("<unk>"), UNKNOWN, 0);
    add(v, STR("<s>"), CONTROL, 0);
    add(v, STR("</s>"), CONTROL, 0);
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        add(v, str_of(name), BYTE, 0);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        add(v, str_of(pieces[i]), NORMAL, scores[i]);
    return v;
}

static struct gguf *write_vocab(const struct vocab *v)
{
    char path[] = "/tmp/weir_test_tok_XXXXXX";
    struct gguf_writer *w = gguf_writer_new();
    struct gguf *g = NULL;
    struct err e;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    gguf_put_str(w, "tokenizer.ggml.model", str_of(v->model));
    if (v->pre)
        gguf_put_str(w, "tokenizer.ggml.pre", str_of(v->pre));
    if (v->name)
        gguf_put_str(w, "general.name", str_of(v->name));
    if (v->chat)
        gguf_put_str(w, "tokenizer.chat_template", str_of(v->chat));
    if (v->merge_spaces)
        gguf_put_bool(w, "tokenizer.ggml.remove_extra_whitespaces", true);
    if (v->cased)
        gguf_put_bool(w, "tokenizer.ggml.normalizer.lowercase", false);
    if (v->no_prefix)
        gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", false);
    if (v->ncharsmap)
        gguf_put_u8s(w, "tokenizer.ggml.precompiled_charsmap", v->charsmap, v->ncharsmap);
    gguf_put_strs(w, "tokenizer.ggml.tokens", v->pieces, v->n);
    gguf_put_i32s(w, "tokenizer.ggml.token_type", v->types, v->ntypes);
    gguf_put_f32s(w, "tokenizer.ggml.scores", v->scores, v->nscores);
    gguf_put_strs(w, "tokenizer.ggml.merges", v->merges, v->nmerges);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", v->bos);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", v->eos);
    assert_int_equal(gguf_writer_save(w, path, &e), 0);
    gguf_writer_free(w);
    assert_int_equal(gguf_open(path, &g, &e), 0);
    unlink(path);
    return g;
}

/* Opens and forgets: 0 or the code. */
static int verdict(struct vocab *v, struct err *e)
{
    struct gguf *g = write_vocab(v);
    struct tok *t = NULL;
    int rc = tok_open(g, &t, e);
    assert_int_equal(rc == 0, t != NULL);
    tok_free(t);
    gguf_close(g);
    return rc;
}

struct opened {
    struct gguf *g;
    struct tok *t;
};

static struct opened open_vocab(struct vocab *v)
{
    struct opened o = {write_vocab(v), NULL};
    struct err e = {0};
    int rc = tok_open(o.g, &o.t, &e);
    if (rc != 0)
        print_message("%s\n", e.msg);
    assert_int_equal(rc, 0);
    free(v);
    return o;
}

static void shut(struct opened o)
{
    tok_free(o.t);
    gguf_close(o.g);
}

static struct tok_ids encode(const struct tok *t, struct str text, bool special)
{
    struct tok_ids ids = {0};
    struct tok_span span = {text, special};
    struct err e;
    assert_int_equal(tok_encode(t, &span, 1, 0, SIZE_MAX, &ids, &e), 0);
    return ids;
}

static void decode_all(const struct tok *t, const struct tok_ids *ids, struct buf *out)
{
    for (size_t i = 0; i < ids->n; i++)
        tok_decode(t, ids->p[i], i == 0, false, out);
}

/* Pieces of the encoding with '|' between. */
static void expect(const struct tok *t, struct str text, bool special, const char *want)
{
    struct tok_ids ids = encode(t, text, special);
    struct buf got = BUF_INIT(4096);
    for (size_t i = 0; i < ids.n; i++) {
        buf_puts(&got, i ? "|" : "");
        buf_str_add(&got, tok_piece(t, ids.p[i]));
    }
    assert_string_equal(got.p ? got.p : "", want);
    buf_done(&got);
    tok_ids_done(&ids);
}

static void bpe_merges_by_rank(void **state)
{
    struct opened o = open_vocab(bpe_vocab());
    expect(o.t, STR("hello"), false, "hello");
    expect(o.t, STR("hello hello"), false, "hello|\xC4\xA0hello");
    expect(o.t, STR("aaaaaaa"), false, "aaaa|aa|a");
    expect(o.t, STR("he12llo"), false, "he|1|2|ll|o");
    expect(o.t, STR(""), false, "");
    shut(o);
}

/* A vocabulary need not list what merges make in their order, nor once. */
static void bpe_merges_make_the_piece_of_that_text(void **state)
{
    struct vocab *v = bpe_vocab();
    struct str first = v->pieces[256];
    v->pieces[256] = v->pieces[262];
    v->pieces[262] = first;
    struct opened o = open_vocab(v);
    expect(o.t, STR("hello aaaaaaa"), false, "hello|\xC4\xA0|aaaa|aa|a");
    shut(o);
    /* Of two pieces with the same text the later one counts, where the first one would be found
     * first too. */
    v = bpe_vocab();
    int32_t twin = (int32_t)v->n;
    add(v, STR("aa"), NORMAL, 0);
    o = open_vocab(v);
    struct tok_ids ids = encode(o.t, STR("aa"), false);
    assert_true(ids.n == 1 && ids.p[0] == twin);
    tok_ids_done(&ids);
    shut(o);
    /* And a piece that text cannot be does not become one by standing where it would be looked for.
     */
    v = bpe_vocab();
    v->types[256] = CONTROL;
    o = open_vocab(v);
    expect(o.t, STR("hello"), false, "h|e|ll|o");
    shut(o);
}

static void pre_tokenizers_cut_words(void **state)
{
    static const char *const merges[] = {"1 1", "11 1", ". \xC4\x8A", "\xC4\x8A \xC4\x8A", "' S"};
    static const struct {
        const char *pre, *want;
    } cases[] = {
        {"smollm", "1|1|1|1|1|G|'|S|.|NN|G|G|a"}, {"gpt-2", "11|111|G|'|S|.|NN|G|G|a"},
        {"qwen2", "1|1|1|1|1|G|'|S|.N|N|G|G|a"},  {"llama-bpe", "111|11|G|'|S|.N|N|G|G|a"},
        {"default", "111|11|G|'|S|.|NN|G|G|a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vocab *v = bpe_vocab();
        v->pre = cases[i].pre;
        for (size_t k = 0; k < sizeof merges / sizeof merges[0]; k++) {
            char joined[32];
            const char *space = strchr(merges[k], ' ');
            snprintf(joined, sizeof joined, "%.*s%s", (int)(space - merges[k]), merges[k],
                     space + 1);
            add(v, str_of(joined), NORMAL, 0);
            v->merges[v->nmerges++] = str_of(merges[k]);
        }
        struct buf want = BUF_INIT(200); /* G and N are how a space and a line's end are written */
        for (const char *p = cases[i].want; *p; p++)
            buf_printf(&want, *p == 'G' ? "\xC4\xA0" : *p == 'N' ? "\xC4\x8A" : "%c", *p);
        struct opened o = open_vocab(v);
        expect(o.t, STR("11111 'S.\n\n  a"), false, want.p);
        buf_done(&want);
        shut(o);
    }
}

static void special_tokens_stay_where_they_are_trusted(void **state)
{
    struct opened o = open_vocab(bpe_vocab());
    expect(o.t, STR("<|im_end|>hello"), true, "<|im_end|>|hello");
    expect(o.t, STR("<|im_end|>"), false, "<|||i|m|_|e|n|d|||>");
    expect(o.t, STR("<tool>x<tool>"), true, "<tool>x|<tool>"); /* the longest */
    expect(o.t, STR("<tool"), true, "<|t|o|o|l");

    /* Halves on either side of a boundary make no token, words across it do. */
    struct tok_span cut[] = {
        {STR("<|im_"), true}, {STR("end|>he"), false}, {STR("llo<|im_end|>"), true}};
    struct tok_ids ids = {0};
    struct err e;
    assert_int_equal(tok_encode(o.t, cut, 3, 0, 100, &ids, &e), 0);
    int32_t hello = tok_find(o.t, STR("hello")), end = tok_find(o.t, STR("<|im_end|>"));
    assert_int_equal(ids.p[ids.n - 1], end);
    assert_int_equal(ids.p[ids.n - 2], hello);
    for (size_t i = 0; i + 1 < ids.n; i++)
        assert_false(tok_is_control(o.t, ids.p[i]));

    /* Two trusted spans are one text. */
    struct tok_span halves[] = {{STR("<|im_"), true}, {STR(""), true}, {STR("end|>"), true}};
    ids.n = 0;
    assert_int_equal(tok_encode(o.t, halves, 3, 0, 100, &ids, &e), 0);
    assert_true(ids.n == 1 && ids.p[0] == end);
    tok_ids_done(&ids);

    struct buf b = BUF_INIT(100);
    tok_decode(o.t, end, false, false, &b);
    assert_int_equal(b.n, 0);
    tok_decode(o.t, end, false, true, &b);
    tok_decode(o.t, tok_find(o.t, STR("<tool>")), false, false, &b);
    assert_string_equal(b.p, "<|im_end|><tool>");
    tok_decode(o.t, -1, false, true, &b);
    tok_decode(o.t, INT32_MAX, false, true, &b);
    assert_int_equal(b.n, 16);
    buf_done(&b);
    assert_true(tok_is_eog(o.t, end));
    assert_false(tok_is_eog(o.t, tok_bos(o.t)));
    assert_false(tok_is_eog(o.t, -1));
    shut(o);
}

static void limits_and_flags(void **state)
{
    struct opened o = open_vocab(bpe_vocab());
    struct tok_ids ids = {0};
    struct tok_span span = {STR("abc"), false};
    struct err e;
    assert_int_equal(tok_encode(o.t, &span, 1, TOK_ADD_BOS, 3, &ids, &e), 0);
    assert_int_equal(ids.n, 3); /* the file does not ask for BOS */
    assert_int_equal(tok_encode(o.t, &span, 1, 0, 2, &ids, &e), ERR_TOO_LARGE);
    assert_int_equal(ids.n, 3);
    assert_int_equal(tok_encode(o.t, &span, 0, 0, 2, &ids, &e), 0);
    shut(o);

    o = open_vocab(spm_vocab());
    ids.n = 0;
    assert_int_equal(tok_encode(o.t, NULL, 0, TOK_ADD_BOS | TOK_ADD_EOS, 9, &ids, &e), 0);
    assert_true(ids.n == 1 && ids.p[0] == tok_bos(o.t) && tok_add_bos(o.t) && !tok_add_eos(o.t));
    tok_ids_done(&ids);
    shut(o);
}

static void spm_merges_by_score(void **state)
{
    struct opened o = open_vocab(spm_vocab());
    /* "ll" is the best pair, then "he", "hell", "hello" and "_hello". */
    expect(o.t, STR("hello"), false, "\xE2\x96\x81hello");
    expect(o.t, STR("hello  lo"), false, "\xE2\x96\x81hello|\xE2\x96\x81|\xE2\x96\x81|lo");
    expect(o.t, STR("\xC3\xA9"), false, "\xE2\x96\x81|<0xC3>|<0xA9>");
    expect(o.t, STR("</s>"), false, "\xE2\x96\x81|<0x3C>|<0x2F>|<0x73>|<0x3E>");
    expect(o.t, STR("lo</s>lo"), true, "\xE2\x96\x81|lo|</s>|\xE2\x96\x81|lo");
    struct tok_ids ids = encode(o.t, STR("hello \xC3\xA9\n"), false);
    struct buf b = BUF_INIT(100);
    decode_all(o.t, &ids, &b);
    assert_string_equal(b.p, "hello \xC3\xA9\n"); /* the prefix space is gone */
    buf_done(&b);
    tok_ids_done(&ids);
    shut(o);
}

/* Pieces as Gemma 4 has them: text as it is, U+2581 for a space, bytes as <0x41>. */
static struct vocab *raw_vocab(void)
{
    static const char *const merges[] = {
        "h e", "l l", "he ll", "hell o", "\xE2\x96\x81 hello", "hello \xE2\x96\x81hello"};
    struct vocab *v = spm_vocab();
    v->model = "gemma4";
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++)
        v->merges[v->nmerges++] = str_of(merges[i]);
    add(v, STR("hello\xE2\x96\x81hello"), NORMAL, 0);
    add(v, STR("\n"), NORMAL, 0);
    add(v, STR("\n\n"), NORMAL, 0);
    add(v, STR("\xE2\x96\x81\xE2\x96\x81\xE2\x96\x81"), USER, 0);
    add(v, STR("   "), USER, 0);
    return v;
}

static void raw_pieces_merge_across_words(void **state)
{
    struct opened o = open_vocab(raw_vocab());
    assert_true(tok_add_bos(o.t));
    expect(o.t, STR("hello hello"), false, "hello\xE2\x96\x81hello");
    expect(o.t, STR("hello\xC3\xA9\n\nlo"), false, "hello|<0xC3>|<0xA9>|\n\n|l|o");
    expect(o.t, STR("\n\n\n"), false, "\n|\n|\n"); /* no such run, no merges */
    expect(o.t, STR(" \n"), false, "\xE2\x96\x81|\n");
    expect(o.t, STR("lo   lo"), false, "l|o|   |l|o"); /* user-defined white space is found */
    shut(o);
}

static void user_defined_tokens_are_text_unless_they_are_markup(void **state)
{
    struct vocab *v = bpe_vocab();
    v->chat = "{{ '##turn' }}\n\n{{ x }}";
    add(v, STR("\n\n"), USER, 0);
    add(v, STR("  "), USER, 0);
    add(v, STR("<h1>"), USER, 0);
    add(v, STR("<think>"), USER, 0);
    add(v, STR("##turn"), USER, 0);
    add(v, STR("##else"), USER, 0);
    add(v, STR("[MARK]"), USER, 0);
    add(v, STR("<|bar"), USER, 0);
    struct opened o = open_vocab(v);
    expect(o.t, STR("a\n\n\n\na"), false, "a|\n\n|\n\n|a");
    expect(o.t, STR("a  a"), false, "a|  |a");
    expect(o.t, STR("<h1>##else"), false, "<h1>|##else");
    expect(o.t, STR("<think>"), false, "<|t|h|i|n|k|>");
    expect(o.t, STR("##turn"), false, "#|#|t|u|r|n");
    expect(o.t, STR("[MARK]<|bar"), false, "[|M|A|R|K|]|<|||b|a|r");
    expect(o.t, STR("<think>##turn[MARK]<|bar"), true, "<think>|##turn|[MARK]|<|bar");

    /* What is plain is found across a boundary; what is markup is not. */
    struct tok_span cut[] = {{STR("<thi"), true}, {STR("nk>\n"), false}, {STR("\na"), true}};
    struct tok_ids ids = {0};
    struct err e;
    assert_int_equal(tok_encode(o.t, cut, 3, 0, 100, &ids, &e), 0);
    assert_int_equal(ids.n, 9);
    assert_int_equal(ids.p[7], tok_find(o.t, STR("\n\n")));
    tok_ids_done(&ids);
    shut(o);
}

static void white_space_goes_where_the_model_wants_it(void **state)
{
    struct vocab *v = spm_vocab();
    v->name = "Phi-3 mini";
    v->no_prefix = true;
    add(v, STR("<|user|>"), CONTROL, 0);
    add(v, STR("<|endoftext|>"), CONTROL, 0);
    struct opened o = open_vocab(v);
    expect(o.t, STR("h<|user|> \n lo<s> lo</s>\n"), true, "h|<|user|>|lo|<s>|\xE2\x96\x81|lo|</s>");
    expect(o.t, STR("<|endoftext|> lo"), true, "<|endoftext|>|\xE2\x96\x81|lo");
    shut(o);

    v = bpe_vocab();
    v->pre = "jina-v2-code";
    add(v, STR("<mask>"), CONTROL, 0);
    o = open_vocab(v);
    expect(o.t, STR("a \n<mask> a"), true, "a|<mask>|\xC4\xA0|a");
    shut(o);
}

/* <pad> </s> <unk> as T5 has them, then pieces with log-probabilities. */
static struct vocab *unigram_vocab(void)
{
    static const char *const pieces[] = {"\xE2\x96\x81",
                                         "a",
                                         "b",
                                         "ab",
                                         "ba",
                                         ("\xE2\x96\x81"
                                          "a"),
                                         "aba"};
    static const float scores[] = {-2, -3, -3, -4, -3.5f, -3, -8};
    struct vocab *v = calloc(1, sizeof *v);
    v->model = "t5";
    v->bos = UINT32_MAX;
    v->eos = 1;
    add(v, STR("<pad>"), CONTROL, 0);
    add(v, STR("</s>"), CONTROL, 0);
    add(v, STR("<unk>"), UNKNOWN, 0);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        add(v, str_of(pieces[i]), NORMAL, scores[i]);
    add(v, STR("abab"), USER, -50);
    return v;
}

static void unigram_takes_the_likeliest(void **state)
{
    struct vocab *v = unigram_vocab();
    v->merge_spaces = true;
    struct opened o = open_vocab(v);
    assert_true(tok_add_eos(o.t));
    expect(o.t, STR("aba"), false,
           "\xE2\x96\x81"
           "a|ba"); /* -6.5 */
    expect(o.t, STR("  ba   a "), false,
           "\xE2\x96\x81|ba|\xE2\x96\x81"
           "a");
    expect(o.t, STR("a\xC3\xA9xb"), false,
           "\xE2\x96\x81"
           "a|<unk>|b");
    expect(o.t, STR("abab"), false, "abab"); /* user-defined */
    expect(o.t, STR("a</s>"), false,
           "\xE2\x96\x81"
           "a|<unk>");
    expect(o.t, STR("a</s>"), true,
           "\xE2\x96\x81"
           "a|</s>");
    expect(o.t, STR("   "), false, "");
    shut(o);
    v = unigram_vocab();
    o = open_vocab(v);
    expect(o.t, STR("b  a"), false,
           "b|\xE2\x96\x81|\xE2\x96\x81"
           "a");
    shut(o);
}

/* A double array with one entry: "x" becomes "ab". From the root, whose base is 0, 'x' leads to
 * node 0x78, whose label is 'x', which is a leaf and whose base 1 leads to 0x79, the value. */
static void unigram_normalises(void **state)
{
    unsigned char map[4 + 0x7A * 4 + 4] = {0};
    struct err e;
    map[0] = 0x7A * 4 & 0xFF;
    map[1] = 0x7A * 4 >> 8;
    uint32_t node = 'x' | 1u << 8 | 1u << 10, value = 1;
    memcpy(map + 4 + 0x78 * 4, &node, 4);
    memcpy(map + 4 + 0x79 * 4, &value, 4);
    memcpy(map + 4 + 0x7A * 4, "\0ab", 4);
    struct vocab *v = unigram_vocab();
    v->charsmap = map;
    v->ncharsmap = sizeof map;
    struct opened o = open_vocab(v);
    expect(o.t, STR("xa"), false, "a|ba");
    shut(o);

    v = unigram_vocab();
    v->charsmap = map;
    v->ncharsmap = sizeof map - 2; /* the last replacement has no end */
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "precompiled_charsmap"));
    v->ncharsmap = 3;
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    free(v);
}

/* BERT's ids for [UNK], [CLS] and [SEP]. mark: how the vocabulary writes the beginnings of words,
 * or, "##", the rest of them. */
static struct vocab *wordpiece_vocab(bool hashes)
{
    static const char *const starts[] = {"un",           "e",        "able", "a", ",",
                                         "\xE4\xB8\xAD", "\xC3\xA9", "E"};
    static const char *const rest[] = {"aff", "able", "a", "e"};
    struct vocab *v = calloc(1, sizeof *v);
    char name[64];
    v->model = "bert";
    v->bos = 101;
    v->eos = UINT32_MAX;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "[unused%d]", i);
        add(v, str_of(name), NORMAL, 0);
    }
    add(v, STR("[UNK]"), CONTROL, 0);
    add(v, STR("[CLS]"), CONTROL, 0);
    add(v, STR("[SEP]"), CONTROL, 0);
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        snprintf(name, sizeof name, "%s%s", hashes ? "" : "\xE2\x96\x81", starts[i]);
        add(v, str_of(name), NORMAL, 0);
    }
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        snprintf(name, sizeof name, "%s%s", hashes ? "##" : "", rest[i]);
        add(v, str_of(name), NORMAL, 0);
    }
    return v;
}

static void wordpiece_takes_the_longest(void **state)
{
    struct opened o = open_vocab(wordpiece_vocab(true));
    expect(o.t, STR("Unaffable,  a"), false, "un|##aff|##able|,|a");
    expect(o.t, STR("unaffx able"), false, "[UNK]|able");
    expect(o.t,
           STR("\xC3\xA9\xE4\xB8\xAD"
               "a\xCC\x81\x01"),
           false, "e|\xE4\xB8\xAD|a");
    expect(o.t, STR("[CLS]"), false, "[UNK]|[UNK]|[UNK]");
    struct tok_ids ids = {0};
    struct tok_span span = {STR("a"), false};
    struct err e;
    assert_int_equal(tok_encode(o.t, &span, 1, TOK_ADD_BOS | TOK_ADD_EOS, 9, &ids, &e), 0);
    assert_true(ids.n == 3 && ids.p[0] == 101 && ids.p[2] == 102);
    tok_ids_done(&ids);
    shut(o);

    struct vocab *v = wordpiece_vocab(false);
    v->cased = true;
    o = open_vocab(v);
    expect(o.t, STR("E\xC3\xA9 \xC3\xA9 unable"), false,
           "[UNK]|\xE2\x96\x81\xC3\xA9|\xE2\x96\x81un|able");
    struct tok_ids out = encode(o.t, STR("unable a"), false);
    struct buf b = BUF_INIT(100);
    decode_all(o.t, &out, &b);
    assert_string_equal(b.p, "unable a");
    buf_done(&b);
    tok_ids_done(&out);
    shut(o);
}

static int join_words(void *ctx, struct str word)
{
    struct buf *b = ctx;
    buf_str_add(b, word);
    buf_putc(b, '|');
    return 0;
}

static void pre_tokenizers_by_name(void **state)
{
    static const struct {
        const char *pre, *text, *want;
    } cases[] = {
        {"tekken", "HTTPServer fooBAR 12\n", "HTTPServer| foo|BAR| |1|2|\n|"},
        {"tekken",
         "\xC3\x89"
         "cole\xC3\x89\xCC\x81x",
         "\xC3\x89"
         "cole|\xC3\x89\xCC\x81x|"},
        {"gpt-4o", "You'LL AB's 1234/\n/", "You'LL| AB's| |123|4|/\n/|"},
        {"llama4",
         "\xCC\x81"
         "A",
         "\xCC\x81|A|"}, /* upper* gives the accent back, lower+ takes it */
        {"deepseek-v3", "a1234 \xE4\xB8\x80\xE3\x81\x82.b\x01\x02",
         "a|123|4| |\xE4\xB8\x80\xE3\x81\x82|.b|\x01\x02|"},
        {"deepseek-coder", "a  b12\n\n..", "a| | b|1|2|\n|\n|..|"},
        {"deepseek-llm", "a b  \xE4\xB8\x80  12", "a| b|  |\xE4\xB8\x80|  |12|"},
        {"falcon", "a`b 12345", "a|`|b| |123|45|"},
        {"qwen35", "e\xCC\x81x 12", "e\xCC\x81x| |1|2|"},
        {"bloom", "a b, c(d", "a| b|,| c|(|d|"},
        {"gemma4", "a b\n\nc", "a b|\n\n|c|"},
        {"starcoder", "a12", "a|1|2|"},
        {"command-r", "x 1's", "x| |1|'s|"},
    };
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf got = BUF_INIT(1000);
        assert_int_equal(
            tok_words(str_of(cases[i].pre), str_of(cases[i].text), join_words, &got, &e), 0);
        assert_string_equal(got.p, cases[i].want);
        buf_done(&got);
    }
    assert_int_equal(tok_words(STR("nobody"), STR("a"), join_words, NULL, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "nobody"));
}

static void any_bytes_come_back(void **state)
{
    uint64_t r = 1234567;
    for (int model = 0; model < 3; model++) {
        struct opened o = open_vocab(model == 2 ? raw_vocab() : model ? spm_vocab() : bpe_vocab());
        for (int k = 0; k < 300; k++) {
            char text[64];
            size_t n = (size_t)k % sizeof text;
            for (size_t i = 0; i < n; i++) {
                r = r * 6364136223846793005u + 1442695040888963407u;
                text[i] = k % 3 ? (char)(r >> 40) : "hello a'1\xC3"[(r >> 40) % 10];
            }
            struct tok_ids ids = encode(o.t, str_n(text, n), k % 2);
            struct buf b = BUF_INIT(1000);
            decode_all(o.t, &ids, &b);
            assert_int_equal(b.n, n);
            assert_true(str_eq(buf_str(&b), str_n(text, n)));
            buf_done(&b);
            tok_ids_done(&ids);
        }
        shut(o);
    }
}

static void long_runs_are_linear(void **state)
{
    static const char *const units[] = {"a",
                                        " ",
                                        "\xCC\x81",
                                        "l",
                                        "\n",
                                        "\x80",
                                        "1",
                                        "=",
                                        "\xF0\x9F\x98\x80",
                                        "  \xE4\xB8\x80",
                                        "A\xC2\xAA"};
    static const char *const pres[] = {"smollm",         "gpt-4o",       "deepseek-v3",
                                       "deepseek-coder", "deepseek-llm", "falcon"};
    for (int model = 0; model < 10; model++) {
        struct vocab *v = model == 0   ? spm_vocab()
                          : model == 1 ? raw_vocab()
                          : model == 2 ? unigram_vocab()
                          : model == 3 ? wordpiece_vocab(true)
                                       : bpe_vocab();
        if (model > 3)
            v->pre = pres[model - 4];
        struct opened o = open_vocab(v);
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            struct buf b = BUF_INIT(1 << 20);
            while (b.n + 2 <= 1000000)
                buf_puts(&b, units[u]);
            uint64_t start = clock_mono_ns();
            struct tok_ids ids = encode(o.t, buf_str(&b), false);
            double seconds = (double)(clock_mono_ns() - start) / 1e9;
            if (seconds > 1)
                print_message("1 MB of one character (%zu): %.2f s\n", u, seconds);
            /* Quadratic would be hours; the margin is for sanitizers and busy machines. */
            assert_true(seconds < 10);
            tok_ids_done(&ids);
            buf_done(&b);
        }
        shut(o);
    }
}

static void damaged_vocabularies(void **state)
{
    struct err e;
    struct vocab *v = bpe_vocab();
    assert_int_equal(verdict(v, &e), 0);
    v->eos = (uint32_t)v->n;
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "eos_token_id"));
    v->eos = UINT32_MAX; /* how converters write "none" */
    assert_int_equal(verdict(v, &e), 0);
    v->ntypes--;
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    v->ntypes++;
    v->types[3] = 99;
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    v->types[3] = NORMAL;
    v->merges[1] = STR("zz qq"); /* unknown pieces */
    assert_int_equal(verdict(v, &e), 0);
    v->merges[1] = STR("nospace");
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    v->merges[1] = STR("");
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    v->nmerges = 0;
    v->pre = "some-new-one";
    assert_int_equal(verdict(v, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "some-new-one"));
    v->model = "rwkv";
    assert_int_equal(verdict(v, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "rwkv"));
    free(v);

    v = spm_vocab();
    v->nscores--;
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "scores"));
    v->nscores++;
    v->scores[5] = __builtin_nanf("");
    assert_int_equal(verdict(v, &e), ERR_FORMAT);
    free(v);
}

/* ---- the shared fixtures ---- */

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *p = malloc(1 << 20);
    *n = fread(p, 1, (1 << 20) - 1, f);
    p[*n] = '\0';
    fclose(f);
    return p;
}

static const char *fixtures(void)
{
    static char path[1024];
    const char *set = getenv("WEIR_FIXTURES"), *source = getenv("WEIR_SOURCE");
    snprintf(path, sizeof path, "%s%s",
             set      ? set
             : source ? source
                      : ".",
             set ? "" : "/../shared/fixtures");
    return path;
}

/* The ids of a line of text, separated by whatever is no digit. */
static size_t numbers(struct str line, int32_t *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < line.n;) {
        if (line.p[i] < '0' || line.p[i] > '9') {
            i++;
            continue;
        }
        int32_t v = 0;
        for (; i < line.n && line.p[i] >= '0' && line.p[i] <= '9'; i++)
            v = v * 10 + (line.p[i] - '0');
        assert_true(n < max);
        out[n++] = v;
    }
    return n;
}

static void same_ids(const struct tok *t, struct str text, struct str want)
{
    static int32_t ids[4096];
    size_t n = numbers(want, ids, 4096);
    struct tok_ids got = encode(t, text, false);
    if (got.n != n || (n && memcmp(got.p, ids, n * sizeof *ids) != 0))
        print_message("differs: \"%.*s\"\n", STR_ARG(text));
    assert_int_equal(got.n, n);
    assert_true(n == 0 || memcmp(got.p, ids, n * sizeof *ids) == 0);
    tok_ids_done(&got);
}

static bool open_path(const char *path, struct opened *o)
{
    struct err e;
    if (gguf_open(path, &o->g, &e) != 0)
        return false;
    assert_int_equal(tok_open(o->g, &o->t, &e), 0);
    return true;
}

/* The cases of one vocabulary; how many there were. */
static int run_cases(const char *name)
{
    static const char sep[] = "\n__ggml_vocab_test__\n";
    char path[1600];
    struct opened o;
    size_t nin, nout;
    snprintf(path, sizeof path, "%s/tokenizer/%s/vocab.gguf", fixtures(), name);
    if (!open_path(path, &o))
        return 0;
    snprintf(path, sizeof path, "%s/tokenizer/%s/vocab.gguf.inp", fixtures(), name);
    char *in = read_file(path, &nin);
    snprintf(path, sizeof path, "%s/tokenizer/%s/vocab.gguf.out", fixtures(), name);
    char *out = read_file(path, &nout);
    assert_true(in && out);
    struct str texts = str_n(in, nin), lines = str_n(out, nout), line;
    int cases = 0;
    for (bool more = true; more; cases++) {
        size_t end = str_find(texts, str_of(sep), 0);
        more = end != SIZE_MAX;
        assert_true(str_cut(lines, '\n', &line, &lines) || !more);
        same_ids(o.t, more ? str_n(texts.p, end) : texts, line);
        if (more)
            texts = str_n(texts.p + end + strlen(sep), texts.n - end - strlen(sep));
    }
    free(in);
    free(out);
    shut(o);
    return cases;
}

static void real_vocabularies(void **state)
{
    char path[1200];
    int cases = 0;
    snprintf(path, sizeof path, "%s/tokenizer", fixtures());
    DIR *d = opendir(path);
    for (struct dirent *ent; d && (ent = readdir(d));)
        if (ent->d_name[0] != '.')
            cases += run_cases(ent->d_name);
    if (d)
        closedir(d);
    if (cases == 0) {
        print_message("no fixtures in %s: real vocabularies not compared\n", fixtures());
        skip();
    }
    assert_true(cases >= 200);
}

/* The ids that the reference gave for a text, from the JSON beside it. */
/* False: there is nothing to compare with. */
static bool compare_text(const struct tok *t, const char *folder, const char *json)
{
    char path[1200];
    size_t ntext, njson;
    snprintf(path, sizeof path, "%s/models/%s/text.txt", fixtures(), folder);
    char *text = read_file(path, &ntext);
    snprintf(path, sizeof path, "%s/models/%s/%s", fixtures(), folder, json);
    char *want = read_file(path, &njson);
    if (!text || !want) {
        print_message("no fixtures in %s: ids of its text not compared\n", path);
        free(text);
        free(want);
        return false;
    }
    struct str ids = str_n(want, njson);
    size_t from = str_find(ids, STR("\"ids\":["), 0), to = str_find(ids, STR("]"), from);
    assert_true(from != SIZE_MAX && to != SIZE_MAX);
    same_ids(t, str_n(text, ntext), str_n(want + from, to - from));
    free(text);
    free(want);
    return true;
}

static void default_model(void **state)
{
    struct opened o;
    const char *path = getenv("WEIR_TEST_MODEL");
    if (!path || !open_path(path, &o)) {
        print_message("WEIR_TEST_MODEL is not set: its tokenizer is not compared\n");
        skip();
    }
    expect(o.t, STR("<|im_start|>user\n12"), true, "<|im_start|>|user|\xC4\x8A|1|2");
    assert_true(tok_is_eog(o.t, tok_find(o.t, STR("<|im_end|>"))));
    assert_true(tok_is_eog(o.t, tok_find(o.t, STR("<|endoftext|>"))));
    assert_false(tok_is_eog(o.t, tok_find(o.t, STR("<|im_start|>"))));
    bool compared = compare_text(o.t, "smollm2", "f32.json");
    shut(o);
    if (!compared)
        skip();
}

static void stories_vocabulary(void **state)
{
    char path[1200];
    size_t n;
    struct opened o;
    snprintf(path, sizeof path, "%s/models/stories260K/stories260K.gguf", fixtures());
    if (!open_path(path, &o)) {
        print_message("no %s: its vocabulary is not tried\n", path);
        skip();
    }
    snprintf(path, sizeof path, "%s/models/stories260K/greedy.txt", fixtures());
    char *text = read_file(path, &n);
    assert_non_null(text);
    struct tok_ids ids = encode(o.t, str_n(text, n), false);
    struct buf b = BUF_INIT(4096);
    decode_all(o.t, &ids, &b);
    assert_true(str_eq(buf_str(&b), str_n(text, n)));
    assert_true(ids.n > 100 && ids.n < n / 2);
    buf_done(&b);
    tok_ids_done(&ids);
    free(text);
    shut(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_merges_by_rank),
        cmocka_unit_test(bpe_merges_make_the_piece_of_that_text),
        cmocka_unit_test(pre_tokenizers_cut_words),
        cmocka_unit_test(special_tokens_stay_where_they_are_trusted),
        cmocka_unit_test(limits_and_flags),
        cmocka_unit_test(spm_merges_by_score),
        cmocka_unit_test(raw_pieces_merge_across_words),
        cmocka_unit_test(user_defined_tokens_are_text_unless_they_are_markup),
        cmocka_unit_test(white_space_goes_where_the_model_wants_it),
        cmocka_unit_test(unigram_takes_the_likeliest),
        cmocka_unit_test(unigram_normalises),
        cmocka_unit_test(wordpiece_takes_the_longest),
        cmocka_unit_test(pre_tokenizers_by_name),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(long_runs_are_linear),
        cmocka_unit_test(damaged_vocabularies),
        cmocka_unit_test(real_vocabularies),
        cmocka_unit_test(default_model),
        cmocka_unit_test(stories_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
