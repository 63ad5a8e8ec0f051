/* fuzz_tmpl_parser.c: what a model may write, in pieces: the first byte says how long they are. No
 * text may get lost or be said twice when there was no syntax in it. */
#include "tmpl.h"

#include <stdlib.h>

struct seen {
    size_t text, other;
};

static enum gen_verdict note(void *ctx, const struct gen_event *ev)
{
    struct seen *s = ctx;
    if (ev->type == GEN_EV_TEXT)
        s->text += ev->text.n;
    else
        s->other++;
    return GEN_GO;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t piece = 1 + data[0] % 16;
    bool tools = data[0] & 0x10;
    struct seen s = {0};
    struct str all = str_n((const char *)data + 1, size - 1);
    struct tmpl_parser *p =
        tmpl_parser_new(TMPL_SYNTAX_HERMES, tools, 0, (struct gen_sink){.event = note, .ctx = &s});
    if (!p)
        return 0;
    for (size_t i = 0; i < all.n; i += piece)
        tmpl_parser_feed(p, str_n(all.p + i, all.n - i < piece ? all.n - i : piece), NULL, 0);
    tmpl_parser_end(p, NULL);
    tmpl_parser_free(p);
    bool syntax = str_find(all, STR("<think>"), 0) != SIZE_MAX ||
                  str_find(all, STR("<tool_call>"), 0) != SIZE_MAX;
    if (!syntax && (s.text != all.n || s.other))
        abort();
    return 0;
}
