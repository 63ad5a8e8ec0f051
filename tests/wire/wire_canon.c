/* wire_canon.c: see wire_canon.h. */
#include "wire_canon.h"

#include <stdio.h>
#include <stdlib.h>

static void line(struct buf *b, const char *name, struct str v)
{
    if (!v.p)
        return;
    buf_printf(b, " %s=", name);
    buf_json_str(b, v);
}

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
static const char *const parts[] = {"text",      "image",       "audio",     "document",
                                    "tool_call", "tool_result", "reasoning", "opaque"};

static void canon_part(const struct gen_part *p, struct buf *b)
{
    buf_printf(b, "  %s", parts[p->type]);
    line(b, "id", p->id);
    line(b, "name", p->name);
    line(b, "text", p->text);
    line(b, "args", p->args);
    line(b, "mime", p->mime);
    line(b, "data", p->data);
    line(b, "url", p->url);
    line(b, "opaque", p->opaque);
    buf_puts(b, p->is_error ? " error" : "");
    buf_puts(b, p->cache_mark ? " cache\n" : "\n");
}

/* What only local engines know. */
static void canon_extended(const struct gen_sampling *s, struct buf *b)
{
    const struct {
        unsigned bit;
        const char *name;
        double value;
    } rows[] = {
        {GEN_SET_REPEAT_LAST_N, "repeat_last_n", s->repeat_last_n},
        {GEN_SET_TYPICAL_P, "typical_p", (double)s->typical_p},
        {GEN_SET_TOP_N_SIGMA, "top_n_sigma", (double)s->top_n_sigma},
        {GEN_SET_XTC_PROBABILITY, "xtc_probability", (double)s->xtc_probability},
        {GEN_SET_XTC_THRESHOLD, "xtc_threshold", (double)s->xtc_threshold},
        {GEN_SET_DRY_MULTIPLIER, "dry_multiplier", (double)s->dry_multiplier},
        {GEN_SET_DRY_BASE, "dry_base", (double)s->dry_base},
        {GEN_SET_DRY_ALLOWED_LENGTH, "dry_allowed_length", s->dry_allowed_length},
        {GEN_SET_DRY_LAST_N, "dry_last_n", s->dry_last_n},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (s->set & rows[i].bit)
            buf_printf(b, "%s %.9g\n", rows[i].name, rows[i].value);
    for (size_t i = 0; i < s->nsamplers; i++)
        line(b, "sampler", s->samplers[i]);
    for (size_t i = 0; i < s->ndry_breakers; i++)
        line(b, "breaker", s->dry_breakers[i]);
    for (size_t i = 0; i < s->nbias; i++) {
        buf_printf(b, "bias %d", s->bias[i].id);
        line(b, "text", s->bias[i].text);
        buf_printf(b, " %.9g\n", (double)s->bias[i].bias);
    }
    buf_puts(b, s->ignore_eos ? "ignore_eos\n" : "");
}

static void canon_sampling(const struct gen_sampling *s, struct buf *b)
{
    if (s->set & GEN_SET_TEMPERATURE)
        buf_printf(b, "temperature %.9g\n", (double)s->temperature);
    if (s->set & GEN_SET_TOP_P)
        buf_printf(b, "top_p %.9g\n", (double)s->top_p);
    if (s->set & GEN_SET_TOP_K)
        buf_printf(b, "top_k %d\n", s->top_k);
    if (s->set & GEN_SET_MIN_P)
        buf_printf(b, "min_p %.9g\n", (double)s->min_p);
    if (s->set & GEN_SET_SEED)
        buf_printf(b, "seed %llu\n", (unsigned long long)s->seed);
    if (s->set & GEN_SET_FREQUENCY)
        buf_printf(b, "frequency %.9g\n", (double)s->frequency_penalty);
    if (s->set & GEN_SET_PRESENCE)
        buf_printf(b, "presence %.9g\n", (double)s->presence_penalty);
    if (s->set & GEN_SET_REPEAT)
        buf_printf(b, "repeat %.9g\n", (double)s->repeat_penalty);
    canon_extended(s, b);
}

static void canon_tools(const struct gen_req *r, struct buf *b)
{
    static const char *const choices[] = {"unset", "auto", "none", "required", "named"};
    for (size_t i = 0; i < r->ntools; i++) {
        const struct gen_tool *t = &r->tools[i];
        buf_puts(b, "tool");
        line(b, "name", t->name);
        line(b, "description", t->description);
        line(b, "schema", t->schema);
        buf_puts(b, t->strict ? " strict" : "");
        buf_puts(b, t->cache_mark ? " cache\n" : "\n");
    }
    if (r->tool_choice != GEN_CHOICE_UNSET) {
        buf_printf(b, "tool_choice %s", choices[r->tool_choice]);
        line(b, "name", r->tool_choice_name);
        buf_putc(b, '\n');
    }
    if (r->parallel_tools != -1)
        buf_printf(b, "parallel_tools %d\n", r->parallel_tools);
    if (r->function_calls)
        buf_puts(b, "function_calls\n");
}

static void canon_limits(const struct gen_req *r, struct buf *b)
{
    static const char *const efforts[] = {"unset", "none", "low", "medium", "high"};
    if (r->max_tokens)
        buf_printf(b, "max_tokens %lld\n", (long long)r->max_tokens);
    for (size_t i = 0; i < r->nstops; i++) {
        buf_puts(b, "stop");
        line(b, "text", r->stops[i]);
        buf_putc(b, '\n');
    }
    if (r->n != 1)
        buf_printf(b, "n %d\n", r->n);
    if (r->logprobs)
        buf_printf(b, "logprobs %d\n", r->top_logprobs);
    if (r->format != GEN_FORMAT_TEXT) {
        buf_puts(b, r->format == GEN_FORMAT_JSON ? "format json" : "format schema");
        line(b, "name", r->schema_name);
        line(b, "schema", r->schema);
        buf_puts(b, r->schema_strict ? " strict\n" : "\n");
    }
    if (r->grammar.n) {
        buf_puts(b, "grammar");
        line(b, "text", r->grammar);
        buf_putc(b, '\n');
    }
    if (r->effort != GEN_EFFORT_UNSET)
        buf_printf(b, "effort %s\n", efforts[r->effort]);
    if (r->thinking_budget)
        buf_printf(b, "thinking_budget %lld\n", (long long)r->thinking_budget);
}

static void canon_prompt(const char *what, struct str text, const int32_t *ids, size_t nids,
                         struct buf *b)
{
    buf_printf(b, " %s", what);
    if (!ids)
        line(b, "text", text);
    for (size_t i = 0; ids && i < nids; i++)
        buf_printf(b, " %d", ids[i]);
    buf_putc(b, '\n');
}

static void canon_pieces(const struct gen_prompt *pieces, size_t n, struct buf *b)
{
    for (size_t i = 0; i < n; i++)
        canon_prompt("piece", pieces[i].text, pieces[i].ids, pieces[i].nids, b);
}

/* What a bare prompt and a place to fill in have. */
static void canon_raw(const struct gen_req *r, struct buf *b)
{
    static const char *const kinds[] = {"chat", "raw", "infill", "embed", "rerank"};
    buf_printf(b, "%s\n", kinds[r->kind]);
    canon_prompt("prompt", r->prompt, r->prompt_ids, r->nprompt_ids, b);
    canon_pieces(r->prompt_pieces, r->nprompt_pieces, b);
    for (size_t i = 0; i < r->nmore; i++) {
        canon_prompt("more", r->more[i].text, r->more[i].ids, r->more[i].nids, b);
        canon_pieces(r->more[i].pieces, r->more[i].npieces, b);
    }
    if (r->kind == GEN_INFILL)
        canon_prompt("suffix", r->suffix, NULL, 0, b);
    for (size_t i = 0; i < r->nfiles; i++) {
        buf_puts(b, " file");
        line(b, "name", r->files[i].name);
        line(b, "text", r->files[i].text);
        buf_putc(b, '\n');
    }
    buf_puts(b, r->echo ? "echo\n" : "");
    buf_puts(b, r->prompt_only ? "prompt_only\n" : "");
}

void canon_req(const struct gen_req *r, struct buf *b)
{
    buf_puts(b, "request");
    line(b, "model", r->model);
    buf_putc(b, '\n');
    if (r->kind == GEN_RAW || r->kind == GEN_INFILL)
        canon_raw(r, b);
    for (size_t i = 0; i < r->nmsgs; i++) {
        const struct gen_msg *m = &r->msgs[i];
        buf_printf(b, " %s", roles[m->role]);
        line(b, "name", m->name);
        buf_putc(b, '\n');
        for (size_t k = 0; k < m->nparts; k++)
            canon_part(&m->parts[k], b);
    }
    canon_tools(r, b);
    canon_sampling(&r->sampling, b);
    canon_limits(r, b);
    if (r->stream)
        buf_puts(b, r->stream_usage ? "stream usage\n" : "stream\n");
    if (r->user.p) {
        buf_puts(b, "user");
        line(b, "id", r->user);
        buf_putc(b, '\n');
    }
    if (r->extra.n)
        buf_printf(b, "extra %.*s\n", STR_ARG(r->extra));
}

/* ---- events ---- */

static void canon_token(const struct gen_logprob *t, struct buf *b)
{
    buf_putc(b, ' ');
    for (size_t i = 0; i < t->token.n; i++)
        buf_printf(b, "%02x", (unsigned char)t->token.p[i]);
    buf_printf(b, ":%.6g", (double)t->logprob);
}

static void canon_logprobs(const struct gen_event *ev, struct buf *b)
{
    for (size_t i = 0; i < ev->nlogprobs; i++) {
        buf_puts(b, "  logprob");
        canon_token(&ev->logprobs[i].chosen, b);
        for (size_t k = 0; k < ev->logprobs[i].ntop; k++)
            canon_token(&ev->logprobs[i].top[k], b);
        buf_putc(b, '\n');
    }
}

void canon_event(const struct gen_event *ev, struct buf *b)
{
    static const char *const names[] = {"start",      "text",     "reasoning", "tool_begin",
                                        "tool_args",  "tool_end", "opaque",    "embedding",
                                        "choice_end", "usage",    "done",      "error"};
    static const char *const reasons[] = {"stop", "sequence", "length", "tools", "filter"};
    buf_puts(b, names[ev->type]);
    if (ev->index)
        buf_printf(b, " choice=%d", ev->index);
    if (ev->type >= GEN_EV_TOOL_BEGIN && ev->type <= GEN_EV_TOOL_END)
        buf_printf(b, " tool=%d", ev->tool);
    if (ev->type == GEN_EV_DONE || ev->type == GEN_EV_CHOICE_END)
        buf_printf(b, " %s", reasons[ev->reason]);
    line(b, "id", ev->id.n ? ev->id : STR_NONE);
    line(b, "name", ev->name.n ? ev->name : STR_NONE);
    line(b, "text", ev->text.n ? ev->text : STR_NONE);
    if (ev->redacted)
        buf_puts(b, " redacted");
    if (ev->type == GEN_EV_USAGE)
        buf_printf(b, " input=%lld cached=%lld cache_write=%lld output=%lld reasoning=%lld",
                   (long long)ev->usage.input, (long long)ev->usage.cached,
                   (long long)ev->usage.cache_write, (long long)ev->usage.output,
                   (long long)ev->usage.reasoning);
    if (ev->type == GEN_EV_ERROR)
        buf_printf(b, " %s \"%s\"", err_name(ev->err->code), err_msg(ev->err));
    buf_putc(b, '\n');
    canon_logprobs(ev, b);
}

void canon_sink_init(struct canon_sink *s, bool join)
{
    *s = (struct canon_sink){.join = join};
    buf_init(&s->text, 64 << 20);
    buf_init(&s->piece, 64 << 20);
}

void canon_sink_done(struct canon_sink *s)
{
    buf_done(&s->text);
    buf_done(&s->piece);
}

void canon_sink_flush(struct canon_sink *s)
{
    if (!s->open)
        return;
    struct gen_event ev = {.type = s->type, .index = s->index, .tool = s->tool};
    ev.text = buf_str(&s->piece);
    canon_event(&ev, &s->text);
    buf_clear(&s->piece);
    s->open = false;
}

static enum gen_verdict on_event(void *ctx, const struct gen_event *ev)
{
    struct canon_sink *s = ctx;
    bool joins =
        s->join && !ev->nlogprobs &&
        (ev->type == GEN_EV_TEXT || ev->type == GEN_EV_REASONING || ev->type == GEN_EV_TOOL_ARGS);
    if (s->skip_usage && ev->type == GEN_EV_USAGE)
        return s->answer;
    s->ends += ev->type == GEN_EV_DONE || ev->type == GEN_EV_ERROR;
    if (joins && s->open && s->type == ev->type && s->index == ev->index && s->tool == ev->tool) {
        buf_str_add(&s->piece, ev->text);
        return s->answer;
    }
    canon_sink_flush(s);
    if (!joins) {
        canon_event(ev, &s->text);
        return s->answer;
    }
    s->open = true;
    s->type = ev->type;
    s->index = ev->index;
    s->tool = ev->tool;
    buf_str_add(&s->piece, ev->text);
    return s->answer;
}

struct gen_sink canon_sink_of(struct canon_sink *s)
{
    return (struct gen_sink){.event = on_event, .ctx = s};
}

void canon_dump(const char *name, int number, struct str bytes)
{
    const char *dir = getenv("WEIR_WIRE_DUMP");
    char path[1024];
    if (!dir)
        return;
    snprintf(path, sizeof path, "%s/%s-%d.txt", dir, name, number);
    FILE *f = fopen(path, "wb");
    if (!f)
        return;
    fwrite(bytes.p, 1, bytes.n, f);
    fclose(f);
}
