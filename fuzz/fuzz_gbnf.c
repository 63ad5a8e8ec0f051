/* fuzz_gbnf.c: the text of a grammar from outside. An error that says something, or a grammar that
 * can be followed: what it takes byte by byte it takes at once, and a copy stands where the
 * original does. */
#include "grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_BYTES 48

/* Goes where the grammar lets it, for a while; the choice is the input's. */
static size_t wander(struct grammar_state *s, struct str by, char *out)
{
    size_t n = 0;
    for (; n < MAX_BYTES; n++) {
        unsigned at = by.n ? (unsigned char)by.p[n % by.n] : 0;
        unsigned tries = 0;
        char c;
        do {
            c = (char)(at + tries * 37);
        } while (!grammar_state_accept_bytes(s, str_n(&c, 1)) && ++tries < 256);
        if (tries == 256)
            break;
        out[n] = c;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_n((const char *)data, size);
    struct grammar *g = NULL;
    struct grammar_state *s = NULL, *c = NULL;
    struct err e = {0};
    char path[MAX_BYTES];
    if (size > 4096)
        return 0;
    int rc = grammar_from_gbnf(text, "root", NULL, NULL, &g, &e);
    if (rc && !e.msg[0])
        __builtin_trap();
    if (rc || grammar_state_new(g, NULL, &s, &e) != 0) {
        grammar_free(g);
        return 0;
    }
    size_t n = wander(s, text, path);
    if (grammar_state_clone(s, &c, &e) == 0 && grammar_state_may_end(c) != grammar_state_may_end(s))
        __builtin_trap();
    grammar_state_free(c);
    grammar_state_reset(s);
    /* Tables may be emptied between single bytes and not within a run: no more is taken at once. */
    bool at_once = grammar_state_accept_bytes(s, str_n(path, n));
    if (at_once && grammar_state_clone(s, &c, &e) == 0)
        grammar_state_free(c);
    grammar_state_free(s);
    grammar_free(g);
    return 0;
}
