/* test_wire_roundtrip.c: decode(encode(x)) == x, for random requests and random answers of each
 * dialect, with the answer's bytes cut at every place; and no prefix of an answer passes for a
 * whole one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "wire.h"
#include "wire_canon.h"

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 11) % n;
}

static bool coin(void)
{
    return rnd(2) == 0;
}

/* Text with what breaks careless writers: quotes, NUL, line ends, SSE's own words, non-ASCII. */
static struct str rnd_text(struct arena *a, bool empty_too)
{
    static const struct {
        const char *p;
        size_t n;
    } bits[] = {
        {"a", 1},      {"Zürich", 7}, {"\"", 1},           {"\\", 1},
        {"\0", 1},     {"\n", 1},     {"\r\n", 2},         {"\n\n", 2},
        {"data: ", 6}, {"[DONE]", 6}, {"\x7f", 1},         {"😀", 4},
        {"{\"", 2},    {"}", 1},      {"\xEF\xBB\xBF", 3}, {" ", 1},
        {"\t", 1},     {"\x1b", 1},   {"\xE2\x80\xA8", 3}, {"<|im_end|>", 10},
    };
    struct buf b = BUF_INIT(4096);
    size_t n = rnd(6) + (empty_too ? 0 : 1);
    for (size_t i = 0; i < n; i++) {
        size_t k = rnd(sizeof bits / sizeof bits[0]);
        buf_add(&b, bits[k].p, bits[k].n);
    }
    struct str s = arena_str(a, buf_str(&b));
    buf_done(&b);
    return s;
}

static struct str rnd_name(struct arena *a, const char *prefix)
{
    return str_of(arena_printf(a, "%s%u", prefix, rnd(1000)));
}

static struct str rnd_json(struct arena *a)
{
    switch (rnd(4)) {
    case 0: return STR("{}");
    case 1: return STR("{\"city\":\"Z\xC3\xBCrich\",\"n\":[1,2.5,-3,null,true]}");
    case 2: return str_of(arena_printf(a, "{\"a\":{\"b\":%u},\"q\":\"\\\"}{\\\\\"}", rnd(100)));
    default:
        return STR("{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"number\","
                   "\"minimum\":0.1}},\"required\":[\"x\"]}");
    }
}

/* ---- requests ---- */

static void rnd_media(struct arena *a, struct gen_part *p, enum gen_part_type type, bool anthropic)
{
    static const char *const mimes[] = {"image/png", "audio/mpeg", "application/pdf"};
    p->type = type;
    if (type != GEN_PART_AUDIO && rnd(3) == 0)
        p->url = str_of(arena_printf(a, "https://example.org/%u.png", rnd(100)));
    else if (type == GEN_PART_DOCUMENT && coin())
        p->url = str_of(arena_printf(a, "file-id:file-%u", rnd(100)));
    else {
        p->mime =
            str_of(type == GEN_PART_AUDIO && coin() ? "audio/wav" : mimes[type - GEN_PART_IMAGE]);
        p->data = STR("aGVsbG8=");
    }
    if (type == GEN_PART_IMAGE && !anthropic && coin())
        p->name = STR("high");
    if (type == GEN_PART_DOCUMENT && (coin() || p->mime.p))
        p->text = STR("report.pdf");
}

static void rnd_parts(struct arena *a, struct gen_msg *m, bool anthropic)
{
    size_t n = rnd(4) + 1;
    m->parts = arena_array(a, n + 6, sizeof *m->parts);
    for (size_t i = 0; i < n; i++) {
        struct gen_part *p = &m->parts[m->nparts++];
        uint32_t k = m->role == GEN_USER ? rnd(anthropic ? 5 : 6) : 0;
        p->cache_mark = rnd(5) == 0;
        if (k < 3)
            p->text = rnd_text(a, false);
        else
            rnd_media(a, p,
                      k == 3   ? GEN_PART_IMAGE
                      : k == 4 ? GEN_PART_DOCUMENT
                               : GEN_PART_AUDIO,
                      anthropic);
    }
}

static void rnd_call(struct arena *a, struct gen_msg *m)
{
    m->parts[m->nparts++] = (struct gen_part){.type = GEN_PART_TOOL_CALL,
                                              .id = rnd_name(a, "call_"),
                                              .name = rnd_name(a, "tool_"),
                                              .args = rnd_json(a)};
}

static void rnd_assistant(struct arena *a, struct gen_msg *m, bool anthropic)
{
    m->parts = arena_array(a, 16, sizeof *m->parts);
    m->role = GEN_ASSISTANT;
    if (coin()) {
        struct gen_part *p = &m->parts[m->nparts++];
        *p = (struct gen_part){.type = GEN_PART_REASONING, .text = rnd_text(a, true)};
        if (anthropic)
            p->opaque = rnd_text(a, false);
    }
    if (anthropic && rnd(3) == 0)
        m->parts[m->nparts++] =
            (struct gen_part){.type = GEN_PART_OPAQUE, .opaque = rnd_text(a, false)};
    if (anthropic && rnd(3) == 0)
        m->parts[m->nparts++] = (struct gen_part){
            .type = GEN_PART_OPAQUE,
            .name = STR("server_tool_use"),
            .text = STR("{\"type\":\"server_tool_use\",\"id\":\"s\",\"input\":{\"q\":1}}")};
    for (size_t n = rnd(3); n > 0; n--)
        m->parts[m->nparts++] =
            (struct gen_part){.type = GEN_PART_TEXT, .text = rnd_text(a, false)};
    for (size_t n = rnd(3); n > 0; n--)
        rnd_call(a, m);
}

static void rnd_results(struct arena *a, struct gen_msg *m, bool anthropic)
{
    m->role = anthropic ? GEN_USER : GEN_TOOL;
    m->parts = arena_array(a, 8, sizeof *m->parts);
    struct gen_part *p = &m->parts[m->nparts++];
    *p = (struct gen_part){
        .type = GEN_PART_TOOL_RESULT, .id = rnd_name(a, "call_"), .text = rnd_text(a, true)};
    if (!anthropic)
        return;
    p->is_error = coin();
    p->cache_mark = rnd(4) == 0;
    if (coin()) {
        struct gen_part *media = &m->parts[m->nparts++];
        rnd_media(a, media, GEN_PART_IMAGE, true);
        media->id = p->id;
    }
    if (coin())
        m->parts[m->nparts++] =
            (struct gen_part){.type = GEN_PART_TEXT, .text = rnd_text(a, false)};
}

static void rnd_messages(struct arena *a, struct gen_req *r, bool anthropic)
{
    size_t n = rnd(5) + 1;
    r->msgs = arena_array(a, n + 1, sizeof *r->msgs);
    if (coin()) {
        struct gen_msg *m = &r->msgs[r->nmsgs++];
        m->role = !anthropic && coin() ? GEN_DEVELOPER : GEN_SYSTEM;
        rnd_parts(a, m, anthropic);
    }
    for (size_t i = 0; i < n; i++) {
        struct gen_msg *m = &r->msgs[r->nmsgs++];
        m->role = GEN_USER;
        uint32_t k = i == 0 ? 0 : rnd(4);
        if (k == 1)
            rnd_assistant(a, m, anthropic);
        else if (k == 2)
            rnd_results(a, m, anthropic);
        else if (k == 3 && coin()) {
            m->role = GEN_SYSTEM;
            rnd_parts(a, m, anthropic);
        } else
            rnd_parts(a, m, anthropic);
        if (!anthropic && rnd(5) == 0)
            m->name = rnd_name(a, "n");
    }
}

static void rnd_tools(struct arena *a, struct gen_req *r, bool anthropic)
{
    size_t n = rnd(4);
    r->tools = arena_array(a, n, sizeof *r->tools);
    for (size_t i = 0; i < n; i++) {
        struct gen_tool *t = &r->tools[r->ntools++];
        t->name = rnd_name(a, "tool_");
        if (coin())
            t->description = rnd_text(a, true);
        if (anthropic || coin())
            t->schema = rnd_json(a);
        t->strict = coin();
        t->cache_mark = anthropic && coin();
    }
    r->tool_choice = (enum gen_choice)rnd(5);
    if (r->tool_choice == GEN_CHOICE_NAMED)
        r->tool_choice_name = rnd_name(a, "tool_");
    bool may =
        !anthropic || (r->tool_choice != GEN_CHOICE_UNSET && r->tool_choice != GEN_CHOICE_NONE);
    r->parallel_tools = may ? (int8_t)((int)rnd(3) - 1) : -1;
}

static void rnd_sampling(struct arena *a, struct gen_sampling *s, bool anthropic)
{
    s->set = rnd(1u << 19);
    if (anthropic)
        s->set &= GEN_SET_TEMPERATURE | GEN_SET_TOP_P | GEN_SET_TOP_K;
    s->temperature = (float)rnd(1001) / 1000;
    s->top_p = (float)rnd(1001) / 1000;
    s->min_p = (float)rnd(101) / 777;
    s->frequency_penalty = (float)rnd(400) / 100 - 2;
    s->presence_penalty = (float)rnd(400) / 100 - 2;
    s->repeat_penalty = (float)rnd(999) / 333;
    s->top_k = (int32_t)rnd(100);
    s->seed = ((uint64_t)rnd(1u << 31) << 33) | rnd(1u << 31);
    s->repeat_last_n = (int32_t)rnd(1000) - 1;
    s->dry_allowed_length = (int32_t)rnd(9);
    s->dry_last_n = (int32_t)rnd(1000) - 1;
    s->typical_p = (float)rnd(1001) / 1000;
    s->top_n_sigma = (float)rnd(3000) / 999;
    s->xtc_probability = (float)rnd(1001) / 1000;
    s->xtc_threshold = (float)rnd(1001) / 1000;
    s->dry_multiplier = (float)rnd(999) / 333;
    s->dry_base = (float)rnd(999) / 333;
    if (anthropic)
        return;
    s->nsamplers = s->set & GEN_SET_SAMPLERS ? 1 + rnd(3) : 0;
    s->samplers = arena_array(a, s->nsamplers, sizeof *s->samplers);
    for (size_t i = 0; i < s->nsamplers; i++)
        s->samplers[i] = rnd_name(a, "sampler_");
    s->ndry_breakers = s->set & GEN_SET_DRY_BREAKERS ? rnd(3) : 0;
    s->dry_breakers = arena_array(a, s->ndry_breakers, sizeof *s->dry_breakers);
    for (size_t i = 0; i < s->ndry_breakers; i++)
        s->dry_breakers[i] = rnd_text(a, true);
    s->nbias = rnd(4);
    s->bias = arena_array(a, s->nbias, sizeof *s->bias);
    for (size_t i = 0; i < s->nbias; i++)
        s->bias[i] = (struct gen_bias){(int32_t)(i * 1000 + rnd(999)), (float)rnd(200) - 100};
}

static void rnd_rest(struct arena *a, struct gen_req *r, bool anthropic)
{
    r->max_tokens = anthropic || coin() ? 1 + rnd(100000) : 0;
    r->nstops = rnd(3);
    r->stops = arena_array(a, r->nstops, sizeof *r->stops);
    for (size_t i = 0; i < r->nstops; i++)
        r->stops[i] = rnd_text(a, false);
    r->stream = coin();
    if (coin())
        r->user = rnd_text(a, true);
    r->effort = (enum gen_effort)rnd(5);
    r->format =
        anthropic ? (coin() ? GEN_FORMAT_TEXT : GEN_FORMAT_SCHEMA) : (enum gen_format)rnd(3);
    if (r->format == GEN_FORMAT_SCHEMA) {
        r->schema = rnd_json(a);
        r->schema_strict = anthropic || coin();
        if (!anthropic)
            r->schema_name = rnd_name(a, "schema_");
    }
    if (anthropic && r->effort != GEN_EFFORT_NONE && coin())
        r->thinking_budget = 1024 + rnd(50000);
    if (anthropic)
        return;
    if (r->format == GEN_FORMAT_TEXT && coin())
        r->grammar = rnd_text(a, true);
    r->n = 1 + (int32_t)rnd(4);
    r->logprobs = coin();
    r->top_logprobs = r->logprobs ? (int32_t)rnd(21) : 0;
    r->stream_usage = r->stream && coin();
}

static struct gen_req *rnd_req(struct arena *a, enum wire_form d)
{
    bool anthropic = d == WIRE_ANTHROPIC;
    struct gen_req *r = arena_alloc(a, sizeof *r);
    r->dialect = wire_form_dialect(d);
    r->n = 1;
    r->model = rnd_name(a, "model/");
    rnd_messages(a, r, anthropic);
    rnd_tools(a, r, anthropic);
    rnd_sampling(a, &r->sampling, anthropic);
    rnd_rest(a, r, anthropic);
    if (rnd(3) == 0)
        r->extra = STR("{\"tools\":[{\"type\":\"web_search\",\"max\":3}],"
                       "\"service_tier\":\"auto\",\"x\":{\"y\":[1,\"z\"]}}");
    return r;
}

static void requests(enum wire_form d)
{
    for (int i = 0; i < 2000; i++) {
        struct arena *a = arena_new(16 << 20);
        struct buf body = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
        struct gen_req *r, *back = NULL;
        struct err e = {0};
        seed = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        r = rnd_req(a, d);
        canon_req(r, &want);
        if (wire_request_encode(d, r, r->model, NULL, &body, &e))
            fail_msg("request %d: encode: %s\n%s", i, e.msg, want.p);
        if (wire_request_decode(d, buf_str(&body), a, &back, &e))
            fail_msg("request %d: decode: %s\n%s", i, e.msg, body.p);
        canon_req(back, &got);
        if (!str_eq(buf_str(&want), buf_str(&got)))
            fail_msg("request %d differs\n%s---\n%s---\n%s", i, want.p, got.p, body.p);
        assert_int_equal(back->dialect, wire_form_dialect(d));
        buf_done(&body);
        buf_done(&want);
        buf_done(&got);
        arena_free(a);
    }
}

static void openai_requests(void **state)
{
    requests(WIRE_OPENAI);
}

static void anthropic_requests(void **state)
{
    requests(WIRE_ANTHROPIC);
}

/* ---- answers ---- */

struct script {
    struct arena *a;
    struct gen_event ev[64];
    size_t n;
};

static struct gen_event *add(struct script *s, enum gen_event_type type, int32_t index)
{
    struct gen_event *ev = &s->ev[s->n++];
    *ev = (struct gen_event){.type = type, .index = index};
    return ev;
}

static struct gen_logprob rnd_token(struct script *s)
{
    static const char *const tokens[] = {"a", " the", "\xF0\x9F", "\x98\x80", "\n", "\""};
    struct gen_logprob t = {.id = -1};
    t.token = str_of(tokens[rnd(6)]);
    t.logprob = -(float)rnd(10000) / 777;
    return t;
}

static void add_text(struct script *s, int32_t index, bool logprobs)
{
    struct gen_event *ev = add(s, GEN_EV_TEXT, index);
    ev->text = rnd_text(s->a, false);
    if (!logprobs)
        return;
    struct gen_token_logprobs *list = arena_array(s->a, 2, sizeof *list);
    struct gen_logprob *top = arena_array(s->a, 3, sizeof *top);
    for (size_t i = 0; i < 2; i++) {
        list[i].chosen = rnd_token(s);
        list[i].top = top;
        list[i].ntop = rnd(4);
        top[i] = rnd_token(s);
    }
    ev->logprobs = list;
    ev->nlogprobs = 2;
}

static void add_call(struct script *s, int32_t index, int32_t tool)
{
    struct gen_event *ev = add(s, GEN_EV_TOOL_BEGIN, index);
    struct str args = rnd_json(s->a);
    size_t cut = rnd((uint32_t)args.n);
    while (cut && ((unsigned char)args.p[cut] & 0xC0) == 0x80)
        cut--; /* an event's text is whole characters */
    ev->tool = tool;
    ev->id = rnd_name(s->a, "call_");
    ev->name = rnd_name(s->a, "tool_");
    ev = add(s, GEN_EV_TOOL_ARGS, index);
    ev->tool = tool;
    ev->text = str_n(args.p, cut);
    if (!cut)
        s->n--;
    ev = add(s, GEN_EV_TOOL_ARGS, index);
    ev->tool = tool;
    ev->text = str_n(args.p + cut, args.n - cut);
    add(s, GEN_EV_TOOL_END, index)->tool = tool;
}

static void add_reasoning(struct script *s, int32_t index, bool anthropic)
{
    size_t n = rnd(3);
    for (size_t i = 0; i < n; i++)
        add(s, GEN_EV_REASONING, index)->text = rnd_text(s->a, false);
    if (!anthropic)
        return;
    if (coin())
        add(s, GEN_EV_OPAQUE, index)->text = rnd_text(s->a, false);
    if (rnd(3))
        return;
    struct gen_event *ev = add(s, GEN_EV_OPAQUE, index);
    ev->redacted = true;
    ev->text = rnd_text(s->a, false);
    if (coin())
        return;
    ev->name = STR("server_tool_use");
    ev->text = STR("{\"type\":\"server_tool_use\",\"input\":{\"q\":[1]}}");
}

static void rnd_script(struct script *s, const struct gen_req *r)
{
    bool anthropic = r->dialect == GEN_DIALECT_ANTHROPIC;
    bool logprobs = r->logprobs;
    struct gen_event *ev = add(s, GEN_EV_START, 0);
    enum gen_reason first = GEN_END_STOP;
    ev->text = rnd_name(s->a, "model-");
    ev->id = anthropic ? STR("msg_Abc9") : STR("chatcmpl-Abc9");
    for (int32_t c = 0; c < r->n; c++) {
        add_reasoning(s, c, anthropic);
        for (size_t n = rnd(3); n > 0; n--)
            add_text(s, c, logprobs);
        int32_t n = (int32_t)rnd(3);
        for (int32_t t = 0; t < n; t++)
            add_call(s, c, t);
        enum gen_reason reason = n ? GEN_END_TOOLS : coin() ? GEN_END_STOP : GEN_END_LENGTH;
        if (rnd(8) == 0)
            reason = GEN_END_FILTER;
        if (c == 0)
            first = reason;
        if (r->n > 1)
            add(s, GEN_EV_CHOICE_END, c)->reason = reason;
    }
    ev = add(s, GEN_EV_USAGE, 0);
    ev->usage.input = 1 + rnd(1000);
    ev->usage.cached = rnd((uint32_t)ev->usage.input);
    ev->usage.cache_write = rnd((uint32_t)(ev->usage.input - ev->usage.cached));
    ev->usage.output = rnd(1000);
    ev->usage.reasoning = anthropic ? 0 : rnd(10);
    ev = add(s, GEN_EV_DONE, 0);
    ev->reason = first;
    if (anthropic && first != GEN_END_TOOLS && coin()) {
        ev->reason = GEN_END_SEQUENCE;
        ev->text = rnd_text(s->a, false);
    }
}

static void write_all(const struct gen_req *r, const struct script *s, struct buf *out)
{
    struct wire_writer *w;
    struct err e = {0};
    assert_int_equal(
        wire_writer_new(wire_form_of(r->dialect, GEN_CHAT), r, STR("Abc9"), 1700000000, &w, &e), 0);
    for (size_t i = 0; i < s->n; i++) {
        if (wire_writer_event(w, &s->ev[i], out, &e))
            fail_msg("write: %s", e.msg);
    }
    assert_int_equal(wire_writer_event(w, &s->ev[s->n - 1], out, &e), ERR_INVAL);
    wire_writer_free(w);
}

/* Feeds text[0..n) cut at `cut`; the code of the end. */
static int read_cut(enum wire_form d, bool stream, struct str text, size_t cut,
                    struct canon_sink *sink, struct err *e)
{
    struct wire_reader *r;
    assert_int_equal(wire_reader_new(d, stream, canon_sink_of(sink), &r, e), 0);
    int rc = wire_reader_feed(r, str_n(text.p, cut), NULL, e);
    if (!rc)
        rc = wire_reader_feed(r, str_n(text.p + cut, text.n - cut), NULL, e);
    if (!rc)
        rc = wire_reader_end(r, e);
    canon_sink_flush(sink);
    wire_reader_free(r);
    return rc;
}

static void check_answer(const struct gen_req *r, const struct script *s, int number)
{
    struct canon_sink want;
    struct buf bytes = BUF_INIT(1 << 20);
    canon_sink_init(&want, true);
    struct gen_sink to = canon_sink_of(&want);
    for (size_t i = 0; i < s->n; i++)
        to.event(to.ctx, &s->ev[i]);
    canon_sink_flush(&want);
    write_all(r, s, &bytes);
    canon_dump(wire_dialect_name(r->dialect), number, buf_str(&bytes));
    /* Every place for the first scripts, a spread for the rest. */
    size_t step = number < 12 ? 1 : 1 + bytes.n / 12;
    for (size_t cut = 0; cut <= bytes.n; cut += step) {
        struct canon_sink got;
        struct err e = {0};
        canon_sink_init(&got, true);
        if (read_cut(wire_form_of(r->dialect, GEN_CHAT), r->stream, buf_str(&bytes), cut, &got, &e))
            fail_msg("answer %d cut at %zu: %s\n%s", number, cut, e.msg, bytes.p);
        if (!str_eq(buf_str(&want.text), buf_str(&got.text)))
            fail_msg("answer %d cut at %zu differs\n%s---\n%s---\n%s", number, cut, want.text.p,
                     got.text.p, bytes.p);
        canon_sink_done(&got);
    }
    canon_sink_done(&want);
    buf_done(&bytes);
}

/* A body holds each choice's text and log-probabilities in one piece, and so one event. */
static void merge_texts(struct script *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct gen_event *last = n ? &s->ev[n - 1] : NULL;
        struct gen_event ev = s->ev[i];
        if (!last || ev.type != GEN_EV_TEXT || last->type != GEN_EV_TEXT || !ev.nlogprobs ||
            ev.index != last->index) {
            s->ev[n++] = ev;
            continue;
        }
        size_t total = last->nlogprobs + ev.nlogprobs;
        struct gen_token_logprobs *list = arena_array(s->a, total, sizeof *list);
        memcpy(list, last->logprobs, last->nlogprobs * sizeof *list);
        memcpy(list + last->nlogprobs, ev.logprobs, ev.nlogprobs * sizeof *list);
        char *text = arena_alloc(s->a, last->text.n + ev.text.n + 1);
        memcpy(text, last->text.p, last->text.n);
        memcpy(text + last->text.n, ev.text.p, ev.text.n);
        last->text.n += ev.text.n;
        last->text.p = text;
        last->logprobs = list;
        last->nlogprobs = total;
    }
    s->n = n;
}

static void answers(enum wire_form d)
{
    for (int i = 0; i < 250; i++) {
        struct arena *a = arena_new(16 << 20);
        struct gen_req r = {.dialect = wire_form_dialect(d), .n = 1, .stream_usage = true};
        struct script s = {.a = a};
        seed = 0xd1342543de82ef95u * (uint64_t)(i + 1);
        r.stream = coin();
        r.n = d == WIRE_OPENAI ? 1 + (int32_t)rnd(3) : 1;
        r.logprobs = d == WIRE_OPENAI && coin();
        rnd_script(&s, &r);
        if (!r.stream)
            merge_texts(&s);
        check_answer(&r, &s, i);
        arena_free(a);
    }
}

static void openai_answers(void **state)
{
    answers(WIRE_OPENAI);
}

static void anthropic_answers(void **state)
{
    answers(WIRE_ANTHROPIC);
}

/* Where the stream says that it is whole: before that byte, no prefix may end in DONE. */
static size_t whole_from(enum wire_form d, struct str bytes)
{
    struct str mark =
        d == WIRE_OPENAI ? STR("\"finish_reason\":\"") : STR("data: {\"type\":\"message_stop\"}");
    return str_find(bytes, mark, 0);
}

static void prefixes(enum wire_form d)
{
    for (int i = 0; i < 16; i++) {
        struct arena *a = arena_new(16 << 20);
        struct gen_req r = {
            .dialect = wire_form_dialect(d), .n = 1, .stream = true, .stream_usage = true};
        struct script s = {.a = a};
        struct buf bytes = BUF_INIT(1 << 20);
        seed = 0xbf58476d1ce4e5b9u * (uint64_t)(i + 1);
        rnd_script(&s, &r);
        write_all(&r, &s, &bytes);
        size_t from = whole_from(d, buf_str(&bytes));
        assert_true(from != SIZE_MAX);
        for (size_t n = 0; n < bytes.n; n++) {
            struct canon_sink got;
            struct err e = {0};
            canon_sink_init(&got, true);
            int rc = read_cut(d, true, str_n(bytes.p, n), 0, &got, &e);
            if (n <= from && (rc != ERR_CUT || got.ends))
                fail_msg("answer %d, %zu of %zu bytes: %d %s\n%s", i, n, bytes.n, rc, e.msg,
                         bytes.p);
            assert_int_equal(got.ends, rc == 0);
            canon_sink_done(&got);
        }
        buf_done(&bytes);
        arena_free(a);
    }
}

static void no_prefix_is_whole(void **state)
{
    prefixes(WIRE_OPENAI);
    prefixes(WIRE_ANTHROPIC);
}

/* ---- single facts ---- */

static void interleaved_calls_become_blocks(void **state)
{
    struct gen_req r = {.dialect = GEN_DIALECT_ANTHROPIC, .n = 1, .stream = true};
    struct script s = {0};
    struct canon_sink got;
    struct err e = {0};
    struct buf bytes = BUF_INIT(1 << 20);
    static const struct {
        enum gen_event_type type;
        int tool;
        const char *text;
    } rows[] = {
        {GEN_EV_TOOL_BEGIN, 0, ""},       {GEN_EV_TOOL_BEGIN, 1, ""},
        {GEN_EV_TOOL_ARGS, 1, "{\"b\":"}, {GEN_EV_TOOL_ARGS, 0, "{\"a\":1}"},
        {GEN_EV_TOOL_ARGS, 1, "2}"},      {GEN_EV_TOOL_END, 0, ""},
        {GEN_EV_TOOL_END, 1, ""},
    };
    add(&s, GEN_EV_START, 0)->text = STR("m");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gen_event *ev = add(&s, rows[i].type, 0);
        ev->tool = rows[i].tool;
        ev->text = str_of(rows[i].text);
        ev->id = rows[i].tool ? STR("i1") : STR("i0");
        ev->name = rows[i].tool ? STR("n1") : STR("n0");
    }
    add(&s, GEN_EV_DONE, 0)->reason = GEN_END_TOOLS;
    write_all(&r, &s, &bytes);
    canon_sink_init(&got, true);
    assert_int_equal(read_cut(WIRE_ANTHROPIC, true, buf_str(&bytes), 9, &got, &e), 0);
    assert_string_equal(got.text.p, "start id=\"msg_Abc9\" text=\"m\"\n"
                                    "tool_begin tool=0 id=\"i0\" name=\"n0\"\n"
                                    "tool_args tool=0 text=\"{\\\"a\\\":1}\"\n"
                                    "tool_end tool=0\n"
                                    "tool_begin tool=1 id=\"i1\" name=\"n1\"\n"
                                    "tool_args tool=1 text=\"{\\\"b\\\":2}\"\n"
                                    "tool_end tool=1\n"
                                    "done tools\n");
    canon_sink_done(&got);
    buf_done(&bytes);
}

static void a_reader_that_is_cancelled_is_silent(void **state)
{
    struct str text = STR("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
                          "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\n\n");
    struct canon_sink got;
    struct wire_reader *r;
    enum gen_verdict verdict;
    struct err e = {0};
    canon_sink_init(&got, false);
    got.answer = GEN_CANCEL;
    assert_int_equal(wire_reader_new(WIRE_OPENAI, true, canon_sink_of(&got), &r, &e), 0);
    assert_int_equal(wire_reader_feed(r, text, &verdict, &e), 0);
    assert_int_equal(verdict, GEN_CANCEL);
    assert_string_equal(got.text.p, "start\n");
    wire_reader_free(r);
    canon_sink_done(&got);
}

static void in_band_errors_have_their_code(void **state)
{
    static const struct {
        enum wire_form d;
        const char *text;
        int code;
    } rows[] = {
        {WIRE_OPENAI, "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n", ERR_RATE},
        {WIRE_OPENAI, "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n",
         ERR_UPSTREAM},
        {WIRE_ANTHROPIC,
         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
         "\"message\":\"Overloaded\"}}\n\n",
         ERR_OVERLOAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct canon_sink got;
        struct err e = {0};
        canon_sink_init(&got, false);
        assert_int_equal(read_cut(rows[i].d, true, str_of(rows[i].text), 3, &got, &e),
                         rows[i].code);
        assert_int_equal(got.ends, 0);
        assert_int_equal(e.code, rows[i].code);
        canon_sink_done(&got);
    }
}

static void error_bodies_survive_the_trip(void **state)
{
    static const struct {
        int code, status, back;
    } rows[] = {
        {ERR_FORMAT, 400, ERR_INVAL},        {ERR_AUTH, 401, ERR_AUTH},
        {ERR_NOT_FOUND, 404, ERR_NOT_FOUND}, {ERR_TOO_LARGE, 413, ERR_TOO_LARGE},
        {ERR_RATE, 429, ERR_RATE},           {ERR_UPSTREAM, 502, ERR_UPSTREAM},
        {ERR_OVERLOAD, 529, ERR_OVERLOAD},
    };
    for (int d = GEN_DIALECT_OPENAI; d <= GEN_DIALECT_ANTHROPIC; d++) {
        enum wire_form f = wire_form_of((enum gen_dialect)d, GEN_CHAT);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            struct buf body = BUF_INIT(4096);
            struct err e, back = {0};
            err_set(&e, rows[i].code, "messages[0].content: what \"went\" wrong");
            wire_error_body(f, &e, &body);
            assert_int_equal(
                wire_error_decode((enum gen_dialect)d, rows[i].status, buf_str(&body), 7, &back),
                rows[i].back);
            assert_non_null(strstr(back.msg, e.msg));
            assert_int_equal(back.retry_after_s, 7);
            buf_done(&body);
        }
    }
}

static void limits_hold(void **state)
{
    struct canon_sink got;
    struct wire_reader *r;
    struct err e = {0};
    char piece[65536];
    memset(piece, 'x', sizeof piece);
    for (int stream = 0; stream <= 1; stream++) {
        int rc = 0, n = 0;
        canon_sink_init(&got, false);
        assert_int_equal(wire_reader_new(WIRE_OPENAI, stream, canon_sink_of(&got), &r, &e), 0);
        while (!rc && n++ < 1000)
            rc = wire_reader_feed(r, str_n(piece, sizeof piece), NULL, &e);
        assert_int_equal(rc, ERR_UPSTREAM);
        assert_true(n <= (stream ? 18 : 260));
        assert_int_equal(wire_reader_end(r, &e), ERR_UPSTREAM);
        wire_reader_free(r);
        canon_sink_done(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_requests),
        cmocka_unit_test(anthropic_requests),
        cmocka_unit_test(openai_answers),
        cmocka_unit_test(anthropic_answers),
        cmocka_unit_test(no_prefix_is_whole),
        cmocka_unit_test(interleaved_calls_become_blocks),
        cmocka_unit_test(a_reader_that_is_cancelled_is_silent),
        cmocka_unit_test(in_band_errors_have_their_code),
        cmocka_unit_test(error_bodies_survive_the_trip),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
