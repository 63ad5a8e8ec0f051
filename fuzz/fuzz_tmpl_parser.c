/* fuzz_tmpl_parser.c: what a model may write, in pieces: the first byte says how long they are, the
 * second which syntax. No text may get lost or be said twice when there was no syntax in it. */
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
    if (size < 3)
        return 0;
    static struct gen_tool tool;
    tool = (struct gen_tool){
        .name = STR("f"),
        .schema = STR("{\"type\":\"object\",\"properties\":{\"s\":{\"type\":\"string\"},"
                      "\"n\":{\"type\":\"integer\"},\"o\":{\"type\":\"object\"}}}")};
    struct gen_req req = {.tools = &tool, .ntools = 1};
    size_t piece = 1 + data[0] % 16;
    struct seen s = {0};
    struct str all = str_n((const char *)data + 2, size - 2);
    struct tmpl_parser *p =
        tmpl_parser_new((enum tmpl_syntax)(data[1] % TMPL_NSYNTAX), data[0] & 0x10 ? &req : NULL, 0,
                        (struct gen_sink){.event = note, .ctx = &s});
    if (!p)
        return 0;
    if (data[0] & 0x20)
        tmpl_parser_thinks(p);
    for (size_t i = 0; i < all.n; i += piece)
        tmpl_parser_feed(p, str_n(all.p + i, all.n - i < piece ? all.n - i : piece), NULL, 0);
    tmpl_parser_end(p, NULL);
    tmpl_parser_free(p);
    bool syntax = data[0] & 0x20;
    for (size_t i = 0; i < all.n; i++)
        syntax |= strchr("<[{>]", all.p[i]) != NULL;
    if (!syntax && (s.text != all.n || s.other) && !str_find(all, STR("functools"), 0))
        abort();
    return 0;
}
