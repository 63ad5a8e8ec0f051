/* grammar_walk.c: texts that a schema's grammar lets through, at random: schemas come on standard
 * input, one a line; for each, one line is printed: a JSON list of texts, or null where the schema
 * is refused. tests/tools/grammar_walk.py lets another validator judge them.
 *
 * usage: grammar_walk VOCABULARY.gguf TEXTS SEED */
#include "grammar.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_TOKENS 120

static uint64_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

/* One of the allowed tokens; those that bring a text to its end are tried more often. */
static int32_t choose(const uint64_t *mask, const struct tok *t, const struct grammar_vocab *v)
{
    static const char *const closing[] = {"\"", "}", "]", "1", "0"};
    if (draw(3) == 0)
        for (int i = 0; i < 3; i++) {
            int32_t id = tok_find(t, str_of(closing[draw(5)]));
            if (id >= 0 && grammar_mask_has(mask, id))
                return id;
        }
    uint32_t n = (uint32_t)grammar_vocab_count(v), from = draw(n);
    for (uint32_t i = 0; i < n; i++) {
        int32_t id = (int32_t)((from + i) % n);
        if (grammar_mask_has(mask, id) && !tok_is_eog(t, id))
            return id;
    }
    return -1;
}

/* True: the text is finished. */
static bool walk(const struct grammar *g, const struct tok *t, const struct grammar_vocab *v,
                 struct buf *out)
{
    struct grammar_state *s = NULL;
    bool ended = false;
    if (grammar_state_new(g, v, &s, NULL) != 0)
        return false;
    for (int i = 0; i < MAX_TOKENS && !ended; i++) {
        int32_t id = choose(grammar_state_mask(s), t, v);
        if (id < 0 || !grammar_state_accept(s, id))
            break;
        tok_decode(t, id, false, false, out);
        ended = grammar_state_may_end(s) && draw(2) == 0;
    }
    ended = grammar_state_may_end(s);
    grammar_state_free(s);
    return ended;
}

static void one_schema(const char *line, const struct tok *t, const struct grammar_vocab *v,
                       int texts)
{
    struct grammar *g = NULL;
    struct buf one = BUF_INIT(1 << 20);
    if (grammar_from_schema(str_of(line), NULL, &g, NULL) != 0) {
        puts("null");
        return;
    }
    json_t *all = json_array();
    for (int i = 0; i < texts; i++) {
        buf_clear(&one);
        if (walk(g, t, v, &one))
            json_array_append_new(all, json_stringn(one.p ? one.p : "", one.n));
    }
    char *text = json_dumps(all, JSON_COMPACT);
    puts(text ? text : "[]");
    free(text);
    json_decref(all);
    buf_done(&one);
    grammar_free(g);
}

int main(int argc, char **argv)
{
    struct gguf *f = NULL;
    struct tok *t = NULL;
    struct grammar_vocab *v = NULL;
    struct err e = {0};
    if (argc != 4)
        return 2;
    if (gguf_open(argv[1], &f, &e) != 0 || tok_open(f, &t, &e) != 0 ||
        grammar_vocab_new(t, tok_count(t), &v, &e) != 0) {
        fprintf(stderr, "%s\n", err_msg(&e));
        return 1;
    }
    seed = strtoull(argv[3], NULL, 10);
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0)
        one_schema(line, t, v, atoi(argv[2]));
    free(line);
    grammar_vocab_free(v);
    tok_free(t);
    gguf_close(f);
    return 0;
}
