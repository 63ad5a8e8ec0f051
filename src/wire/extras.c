/* extras.c: members that weir adds to answers of other people's dialects, whose clients pass over
 * what they do not know: llama-server's `timings`, and `"weir":{"raw":…}`, all that a local model
 * wrote, where that is not the text that was given. Called by the writers. */
#include "wire_int.h"

/* FNV-1a: a stream does not keep its text, only enough to tell it from another. */
void said_add(struct wire_said *s, struct str text)
{
    if (!s->n)
        s->hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.n; i++)
        s->hash = (s->hash ^ (unsigned char)text.p[i]) * UINT64_C(0x100000001b3);
    s->n += text.n;
}

static bool said_is(const struct wire_said *s, struct str text)
{
    struct wire_said other = {0};
    said_add(&other, text);
    return s->n == other.n && (!s->n || s->hash == other.hash);
}

void put_weir(struct buf *b, struct str raw, const struct wire_said *given)
{
    if (!raw.n || said_is(given, raw))
        return;
    jw_object(b, "weir");
    jw_str(b, "raw", raw);
    jw_close(b, '}');
}

static void put_rate(struct buf *b, const char *what, int64_t n, int64_t ns)
{
    double ms = (double)ns / 1e6;
    buf_printf(b, ",\"%s_n\":%lld,\"%s_ms\":%.3f", what, (long long)n, what, ms);
    if (n > 0)
        buf_printf(b, ",\"%s_per_token_ms\":%.3f", what, ms / (double)n);
    else
        buf_printf(b, ",\"%s_per_token_ms\":0.0", what);
    if (ns > 0)
        buf_printf(b, ",\"%s_per_second\":%.3f", what, (double)n * 1e9 / (double)ns);
    else
        buf_printf(b, ",\"%s_per_second\":0.0", what);
}

void put_timings(struct buf *b, const struct wire_writer *w)
{
    const struct gen_times *t = &w->times;
    if (!w->has_usage || (!t->prompt && !t->write))
        return;
    jw_object(b, "timings");
    buf_printf(b, "\"cache_n\":%lld", (long long)w->usage.cached);
    put_rate(b, "prompt", w->usage.input - w->usage.cached, t->prompt);
    put_rate(b, "predicted", w->usage.output, t->write);
    jw_close(b, '}');
}
