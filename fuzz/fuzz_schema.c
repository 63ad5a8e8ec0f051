/* fuzz_schema.c: a JSON Schema from outside. An error that says something, or a grammar whose
 * finished texts are JSON: a walk through it, led by the input, is parsed where it may end. */
#include "grammar.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_BYTES 200

static void check(struct grammar_state *s, const char *text, size_t n)
{
    if (!grammar_state_may_end(s))
        return;
    json_error_t fault;
    json_t *v = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    enum json_error_code why = json_error_code(&fault);
    if (!v && why != json_error_numeric_overflow)
        __builtin_trap();
    json_decref(v);
}

static void wander(struct grammar_state *s, struct str by)
{
    char text[MAX_BYTES];
    for (size_t n = 0; n < MAX_BYTES; n++) {
        unsigned at = by.n ? (unsigned char)by.p[(n * 7) % by.n] : 0, tries = 0;
        do {
            text[n] = (char)(at + tries * 37);
        } while (!grammar_state_accept_bytes(s, str_n(&text[n], 1)) && ++tries < 256);
        if (tries == 256)
            return;
        check(s, text, n + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_n((const char *)data, size);
    struct grammar *g = NULL;
    struct grammar_state *s = NULL;
    struct err e = {0};
    if (size > 4096)
        return 0;
    int rc = grammar_from_schema(text, NULL, &g, &e);
    if (rc && !e.msg[0])
        __builtin_trap();
    if (rc == 0 && grammar_state_new(g, NULL, &s, &e) == 0)
        wander(s, text);
    grammar_state_free(s);
    grammar_free(g);
    return 0;
}
