/* grammar_bench.c: what a grammar costs a token: texts of tool calls followed over a real
 * vocabulary, the mask made at every token. Prints median, 99th percentile and worst, cold (the
 * first run of a state) and as the engine sees them.
 *
 * usage: bench/grammar_bench VOCABULARY.gguf */
#include "clock.h"
#include "grammar.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_SAMPLES 100000

static const struct {
    const char *name, *schema, *text;
} cases[] = {
    {"any object", NULL,
     "{\"title\": \"A walk by the river\", \"tags\": [\"water\", \"birds\", 3, null], "
     "\"note\": \"The path was wet, but the light over the weir made up for it.\"}"},
    {"weather",
     "{\"type\":\"object\",\"properties\":{\"location\":{\"type\":\"string\"},\"unit\":"
     "{\"enum\":[\"celsius\",\"fahrenheit\"]},\"days\":{\"type\":\"integer\","
     "\"minimum\":1,\"maximum\":14}},\"required\":[\"location\"],"
     "\"additionalProperties\":false}",
     "{\"location\": \"San Francisco, California\", \"unit\": \"celsius\", \"days\": 7}"},
    {"edit",
     "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\",\"maxLength\":200},"
     "\"old\":{\"type\":\"string\"},\"new\":{\"type\":\"string\"},\"all\":{\"type\":"
     "\"boolean\"}},\"required\":[\"path\",\"old\",\"new\"],\"additionalProperties\":false}",
     "{\"path\": \"src/engine/scheduler.c\", \"old\": \"static size_t remaining(const struct "
     "engine_run *r)\\n{\\n    return r->n;\\n}\\n\", \"new\": \"static size_t "
     "remaining(const struct engine_run *r)\\n{\\n    return r->n - 1;\\n}\\n\", \"all\": false}"},
    {"people",
     "{\"type\":\"object\",\"properties\":{\"people\":{\"type\":\"array\",\"items\":"
     "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"pattern\":"
     "\"^[A-Z][a-z]+( [A-Z][a-z]+)*$\"},\"born\":{\"type\":\"string\",\"format\":"
     "\"date\"},\"score\":{\"type\":\"number\",\"minimum\":0,\"maximum\":10}},"
     "\"required\":[\"name\",\"born\"]}}},\"required\":[\"people\"]}",
     "{\"people\": [{\"name\": \"Ada Lovelace\", \"born\": \"1815-12-10\", \"score\": 9.5}, "
     "{\"name\": \"Alan Turing\", \"born\": \"1912-06-23\", \"score\": 9.75}, {\"name\": "
     "\"Grace Hopper\", \"born\": \"1906-12-09\"}]}"},
};

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, uint64_t *t, size_t n)
{
    qsort(t, n, sizeof *t, by_time);
    printf("%-12s %6zu tokens   median %7.1f us   p99 %8.1f us   worst %8.1f us\n", name, n,
           (double)t[n / 2] / 1e3, (double)t[n * 99 / 100] / 1e3, (double)t[n - 1] / 1e3);
}

/* Follows the text as a new request would, with nothing remembered. */
static size_t follow(const struct grammar *g, const struct grammar_vocab *v,
                     const struct tok_ids *ids, uint64_t *t, struct err *e)
{
    struct grammar_state *s;
    if (grammar_state_new(g, v, &s, e) != 0)
        return 0;
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) {
        uint64_t from = clock_mono_ns();
        const uint64_t *mask = grammar_state_mask(s);
        bool ok = grammar_mask_has(mask, ids->p[i]) && grammar_state_accept(s, ids->p[i]);
        t[n++] = clock_mono_ns() - from;
        if (!ok) {
            err_set(e, ERR_FORMAT, "token %zu is not allowed", i);
            n = 0;
            break;
        }
    }
    grammar_state_free(s);
    return n;
}

static int run(const struct tok *t, const struct grammar_vocab *v, int which, uint64_t *all,
               size_t *nall, struct err *e)
{
    struct grammar *g = NULL;
    struct tok_ids ids = {0};
    struct str text = str_of(cases[which].text);
    uint64_t *own = all + *nall, from = clock_mono_ns();
    int rc = cases[which].schema ? grammar_from_schema(str_of(cases[which].schema), NULL, &g, e)
                                 : grammar_from_json_object(NULL, &g, e);
    uint64_t made = clock_mono_ns() - from;
    struct tok_span span = {text, false};
    size_t n = 0;
    if (rc == 0)
        rc = tok_encode(t, &span, 1, 0, 10000, &ids, e);
    for (int i = 0; rc == 0 && i < 5 && *nall + n + ids.n < MAX_SAMPLES; i++) {
        size_t got = follow(g, v, &ids, own + n, e);
        rc = got ? 0 : e->code;
        n += got;
    }
    if (rc == 0) {
        *nall += n;
        uint64_t *copy = malloc((n + 1) * sizeof *copy);
        if (copy) {
            memcpy(copy, own, n * sizeof *copy);
            report(cases[which].name, copy, n);
            printf("%-12s grammar made in %.2f ms\n", "", (double)made / 1e6);
        }
        free(copy);
    }
    tok_ids_done(&ids);
    grammar_free(g);
    return rc;
}

int main(int argc, char **argv)
{
    struct gguf *f = NULL;
    struct tok *t = NULL;
    struct grammar_vocab *v = NULL;
    struct err e = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: %s VOCABULARY.gguf\n", argv[0]);
        return 2;
    }
    int rc = gguf_open(argv[1], &f, &e);
    if (rc == 0)
        rc = tok_open(f, &t, &e);
    uint64_t from = clock_mono_ns();
    if (rc == 0)
        rc = grammar_vocab_new(t, tok_count(t), &v, &e);
    if (rc == 0)
        printf("vocabulary of %d made ready in %.1f ms\n", tok_count(t),
               (double)(clock_mono_ns() - from) / 1e6);
    uint64_t *all = calloc(MAX_SAMPLES, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; all && rc == 0 && i < sizeof cases / sizeof *cases; i++)
        rc = run(t, v, (int)i, all, &n, &e);
    if (rc == 0 && n)
        report("all", all, n);
    else
        fprintf(stderr, "%s\n", err_msg(&e));
    free(all);
    grammar_vocab_free(v);
    tok_free(t);
    gguf_close(f);
    return rc ? 1 : 0;
}
