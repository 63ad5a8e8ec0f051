/* test_wire_ollama.c: the Ollama dialect: decode(encode(x)) == x for random requests of each form,
 * events(write(read)) == events with the bytes cut at every place, no prefix of an answer passes
 * for a whole one; and what programs written for Ollama look at, to the byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire.h"
#include "wire_canon.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

/* Never empty. */
static struct str rnd_text(struct arena *a)
{
    static const struct str bits[] = {
        {"a", 1},
        {"Z\xC3\xBCrich", 7},
        {"\"", 1},
        {"\\", 1},
        {"\0", 1},
        {"\n", 1},
        {"\r\n", 2},
        {"\x7f", 1},
        {"\xF0\x9F\x98\x80", 4},
        {"{\"done\":true}", 13},
        {"}", 1},
        {"\xEF\xBB\xBF", 3},
        {" ", 1},
        {"\xE2\x80\xA8", 3},
    };
    struct buf b = BUF_INIT(4096);
    for (size_t n = rnd(6) + 1; n > 0; n--)
        buf_str_add(&b, bits[rnd(sizeof bits / sizeof bits[0])]);
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
    switch (rnd(3)) {
    case 0: return STR("{}");
    case 1: return STR("{\"city\":\"Z\xC3\xBCrich\",\"n\":[1,2.5,-3,null,true]}");
    default: return str_of(arena_printf(a, "{\"a\":{\"b\":%u},\"q\":\"\\\"}{\\\\\"}", rnd(100)));
    }
}

/* ---- requests ---- */

static void add_part(struct gen_msg *m, struct gen_part p)
{
    m->parts[m->nparts++] = p;
}

static void rnd_media(struct gen_msg *m, struct str id)
{
    static const struct {
        enum gen_part_type type;
        const char *mime, *data;
    } rows[] = {
        {GEN_PART_IMAGE, "image/png", "iVBORw0KGgo="},
        {GEN_PART_IMAGE, "image/jpeg", "/9j/4AAQ"},
        {GEN_PART_IMAGE, "image/gif", "R0lGODlh"},
        {GEN_PART_IMAGE, "image/webp", "UklGRgAAAABXRUJQ"},
        {GEN_PART_IMAGE, "image/bmp", "Qk0AAA=="},
        {GEN_PART_IMAGE, "application/octet-stream", "AAAAAA=="},
        {GEN_PART_AUDIO, "audio/wav", "UklGRgAAAABXQVZF"},
        {GEN_PART_AUDIO, "audio/mpeg", "SUQzBAAA"},
    };
    for (size_t n = rnd(3); n > 0; n--) {
        size_t k = rnd(sizeof rows / sizeof rows[0]);
        add_part(m, (struct gen_part){.type = rows[k].type,
                                      .id = id,
                                      .mime = str_of(rows[k].mime),
                                      .data = str_of(rows[k].data)});
    }
}

/* An assistant's turn, and results of its calls. */
static void rnd_turn(struct arena *a, struct gen_req *r)
{
    struct gen_msg *m = &r->msgs[r->nmsgs++];
    *m = (struct gen_msg){.role = GEN_ASSISTANT, .parts = arena_array(a, 16, sizeof *m->parts)};
    if (coin())
        add_part(m, (struct gen_part){.type = GEN_PART_REASONING, .text = rnd_text(a)});
    if (coin())
        add_part(m, (struct gen_part){.type = GEN_PART_TEXT, .text = rnd_text(a)});
    size_t first = m->nparts, calls = rnd(4);
    for (size_t i = 0; i < calls; i++)
        add_part(m, (struct gen_part){.type = GEN_PART_TOOL_CALL,
                                      .id = str_of(arena_printf(a, "id%zu_%zu", r->nmsgs, i)),
                                      .name = rnd_name(a, "tool_"),
                                      .args = rnd_json(a)});
    for (size_t i = 0; i < calls && coin(); i++) {
        const struct gen_part *call = &m->parts[first + i];
        struct gen_msg *t = &r->msgs[r->nmsgs++];
        *t = (struct gen_msg){.role = GEN_TOOL, .parts = arena_array(a, 8, sizeof *t->parts)};
        add_part(t, (struct gen_part){.type = GEN_PART_TOOL_RESULT,
                                      .id = call->id,
                                      .name = call->name,
                                      .text = coin() ? STR("") : rnd_text(a)});
        rnd_media(t, call->id);
    }
}

static void rnd_said(struct arena *a, struct gen_req *r, enum gen_role role)
{
    struct gen_msg *m = &r->msgs[r->nmsgs++];
    *m = (struct gen_msg){.role = role, .parts = arena_array(a, 8, sizeof *m->parts)};
    if (role == GEN_USER)
        rnd_media(m, STR_NONE);
    add_part(m, (struct gen_part){.type = GEN_PART_TEXT, .text = rnd_text(a)});
}

static void rnd_chat(struct arena *a, struct gen_req *r)
{
    size_t turns = rnd(4);
    r->msgs = arena_array(a, 32, sizeof *r->msgs);
    if (coin())
        rnd_said(a, r, GEN_SYSTEM);
    rnd_said(a, r, GEN_USER);
    for (size_t i = 0; i < turns; i++) {
        rnd_turn(a, r);
        rnd_said(a, r, GEN_USER);
    }
    size_t n = rnd(3);
    r->tools = arena_array(a, n, sizeof *r->tools);
    for (size_t i = 0; i < n; i++) {
        struct gen_tool *t = &r->tools[r->ntools++];
        t->name = rnd_name(a, "tool_");
        if (coin())
            t->description = rnd_text(a);
        if (coin())
            t->schema = rnd_json(a);
    }
}

static void rnd_prompt(struct arena *a, struct gen_req *r)
{
    r->kind = (enum gen_kind)rnd(3);
    if (r->kind != GEN_RAW && coin())
        r->tmpl = rnd_text(a);
    if (r->kind == GEN_CHAT) {
        r->msgs = arena_array(a, 2, sizeof *r->msgs);
        if (coin())
            rnd_said(a, r, GEN_SYSTEM);
        rnd_said(a, r, GEN_USER);
        return;
    }
    r->prompt = rnd_text(a);
    if (r->kind == GEN_INFILL)
        r->suffix = rnd_text(a);
}

static void rnd_options(struct arena *a, struct gen_req *r)
{
    struct gen_sampling *s = &r->sampling;
    s->set = rnd(1u << 10);
    s->temperature = (float)rnd(3001) / 1000;
    s->top_p = (float)rnd(1001) / 1000;
    s->min_p = (float)rnd(101) / 777;
    s->typical_p = (float)rnd(1001) / 1000;
    s->frequency_penalty = (float)rnd(400) / 100 - 2;
    s->presence_penalty = (float)rnd(400) / 100 - 2;
    s->repeat_penalty = (float)rnd(999) / 333;
    s->top_k = (int32_t)rnd(100);
    s->repeat_last_n = (int32_t)rnd(1000) - 1;
    s->seed = ((uint64_t)rnd(1u << 30) << 32) | rnd(1u << 30);
    r->max_tokens = coin() ? 1 + rnd(100000) : 0;
    r->ctx = coin() ? 1 + rnd(100000) : 0;
    r->nstops = rnd(3);
    r->stops = arena_array(a, r->nstops, sizeof *r->stops);
    for (size_t i = 0; i < r->nstops; i++)
        r->stops[i] = rnd_text(a);
    r->keep_set = coin();
    if (r->keep_set)
        r->keep_ms = (int64_t)rnd(4) * rnd(1000000) - 1;
    if (r->keep_ms < -1)
        r->keep_ms = -1;
    if (rnd(3) == 0)
        r->extra = STR("{\"options\":{\"num_gpu\":4,\"numa\":false},\"x\":{\"y\":[1,\"z\"]}}");
}

static void rnd_common(struct arena *a, struct gen_req *r)
{
    r->stream = coin();
    r->truncate = coin();
    r->effort = (enum gen_effort)rnd(5);
    r->format = (enum gen_format)rnd(3);
    r->schema_strict = r->format == GEN_FORMAT_SCHEMA;
    if (r->schema_strict)
        r->schema = rnd_json(a);
    r->logprobs = coin();
    r->top_logprobs = r->logprobs ? (int32_t)rnd(21) : 0;
}

static void rnd_inputs(struct arena *a, struct gen_req *r, size_t n)
{
    r->kind = GEN_EMBED;
    r->msgs = arena_array(a, n, sizeof *r->msgs);
    for (size_t i = 0; i < n; i++)
        rnd_said(a, r, GEN_SYSTEM);
    for (size_t i = 0; i < n; i++)
        r->msgs[i].role = GEN_USER;
}

static struct gen_req *rnd_req(struct arena *a, enum wire_form f)
{
    struct gen_req *r = arena_alloc(a, sizeof *r);
    r->dialect = GEN_DIALECT_OLLAMA;
    r->n = 1;
    r->parallel_tools = -1;
    r->model = rnd_name(a, "model:");
    rnd_options(a, r);
    if (f == WIRE_OLLAMA_EMBED) {
        rnd_inputs(a, r, 1 + rnd(4));
        r->truncate = coin();
        r->dimensions = (int32_t)rnd(3) * 64;
    } else if (f == WIRE_OLLAMA_EMBEDDINGS) {
        rnd_inputs(a, r, 1);
        r->truncate = true;
    } else {
        rnd_common(a, r);
        r->load_only = rnd(10) == 0;
        if (r->load_only)
            r->stream = false;
        else if (f == WIRE_OLLAMA_CHAT)
            rnd_chat(a, r);
        else
            rnd_prompt(a, r);
    }
    return r;
}

static void line(struct buf *b, const char *name, struct str v)
{
    if (!v.n)
        return;
    buf_printf(b, "%s ", name);
    buf_json_str(b, v);
    buf_putc(b, '\n');
}

/* canon_req, and the rest that this dialect carries. */
static void canon(const struct gen_req *r, struct buf *b)
{
    canon_req(r, b);
    buf_printf(b, "kind %d stream %d truncate %d load %d keep %d %lld dimensions %d ctx %lld\n",
               r->kind, r->stream, r->truncate, r->load_only, r->keep_set,
               r->keep_set ? (long long)r->keep_ms : 0, r->dimensions, (long long)r->ctx);
    line(b, "prompt", r->prompt);
    line(b, "suffix", r->suffix);
    line(b, "template", r->tmpl);
}

static void requests(enum wire_form f)
{
    for (int i = 0; i < 1500; i++) {
        struct arena *a = arena_new(16 << 20);
        struct buf body = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
        struct gen_req *r, *back = NULL;
        struct err e = {0};
        seed = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        r = rnd_req(a, f);
        canon(r, &want);
        if (wire_request_encode(f, r, r->model, NULL, &body, &e))
            fail_msg("request %d: encode: %s\n%s", i, e.msg, want.p);
        if (wire_request_decode(f, buf_str(&body), a, &back, &e))
            fail_msg("request %d: decode: %s\n%s", i, e.msg, body.p);
        canon(back, &got);
        if (!str_eq(buf_str(&want), buf_str(&got)))
            fail_msg("request %d differs\n%s---\n%s---\n%s", i, want.p, got.p, body.p);
        assert_int_equal(back->dialect, GEN_DIALECT_OLLAMA);
        buf_done(&body);
        buf_done(&want);
        buf_done(&got);
        arena_free(a);
    }
}

static void requests_survive_the_trip(void **state)
{
    requests(WIRE_OLLAMA_CHAT);
    requests(WIRE_OLLAMA_GENERATE);
    requests(WIRE_OLLAMA_EMBED);
    requests(WIRE_OLLAMA_EMBEDDINGS);
}

static struct gen_req *decode(enum wire_form f, const char *body, struct arena *a)
{
    struct gen_req *r = NULL;
    struct err e = {0};
    if (wire_request_decode(f, str_of(body), a, &r, &e))
        fail_msg("%s: %s", body, e.msg);
    return r;
}

static void forms_of_generate(void **state)
{
    struct arena *a = arena_new(1 << 20);
    struct gen_req *r =
        decode(WIRE_OLLAMA_GENERATE,
               "{\"model\":\"m\",\"prompt\":\"a\",\"suffix\":\"b\",\"raw\":true}", a);
    assert_int_equal(r->kind, GEN_RAW);
    assert_true(str_is(r->prompt, "a") && !r->suffix.n && r->stream && !r->nmsgs);
    r = decode(WIRE_OLLAMA_GENERATE,
               "{\"model\":\"m\",\"prompt\":\"a\",\"suffix\":\"b\",\"system\":\"c\"}", a);
    assert_int_equal(r->kind, GEN_INFILL);
    assert_true(str_is(r->prompt, "a") && str_is(r->suffix, "b") && !r->nmsgs);
    r = decode(WIRE_OLLAMA_GENERATE, "{\"model\":\"m\",\"prompt\":\"a\",\"system\":\"c\"}", a);
    assert_int_equal(r->kind, GEN_CHAT);
    assert_int_equal(r->nmsgs, 2);
    assert_int_equal(r->msgs[0].role, GEN_SYSTEM);
    r = decode(WIRE_OLLAMA_GENERATE, "{\"model\":\"m\",\"raw\":true,\"keep_alive\":\"0\"}", a);
    assert_true(r->load_only && r->keep_set && r->keep_ms == 0 && !r->stream);
    r = decode(WIRE_OLLAMA_EMBED, "{\"model\":\"m\",\"input\":[]}", a);
    assert_true(r->load_only && r->kind == GEN_EMBED && r->truncate && !r->keep_set);
    arena_free(a);
}

static void times_to_keep(void **state)
{
    static const struct {
        const char *text;
        long long ms;
    } rows[] = {
        {"42", 42000},         {"42.5", 42500},       {"0", 0},           {"-1", -1},
        {"-3.14", -1},         {"\"42m\"", 2520000},  {"\"-1m\"", -1},    {"\"1h30m\"", 5400000},
        {"\"0\"", 0},          {"\"+1.5s\"", 1500},   {"\"100ms\"", 100}, {"\"1us\"", 1},
        {"\"2\xC2\xB5s\"", 1}, {"\"24h\"", 86400000}, {"\"-1\"", -1},     {"\"300\"", 300000},
        {"1e300", -1},         {"\".5s\"", 500},      {"\"1.s\"", 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena *a = arena_new(1 << 20);
        char body[128];
        snprintf(body, sizeof body, "{\"model\":\"m\",\"keep_alive\":%s}", rows[i].text);
        const struct gen_req *r = decode(WIRE_OLLAMA_CHAT, body, a);
        assert_true(r->keep_set);
        if (r->keep_ms != rows[i].ms)
            fail_msg("%s is %lld", rows[i].text, (long long)r->keep_ms);
        arena_free(a);
    }
    struct arena *a = arena_new(1 << 20);
    assert_false(decode(WIRE_OLLAMA_CHAT, "{\"model\":\"m\",\"keep_alive\":null}", a)->keep_set);
    arena_free(a);
}

static void other_dialects_are_refused_by_name(void **state)
{
    static const char *const rows[][2] = {
        {"\"n\":2", "n:"},
        {"\"tool_choice\":\"required\"", "tool_choice"},
        {"\"logit_bias\":{\"1\":2}", "logit_bias"},
        {"\"samplers\":[\"top_k\"]", "samplers"},
        {"\"xtc_probability\":0.5", "xtc_probability"},
        {"\"dry_multiplier\":0.5", "dry_multiplier"},
        {"\"grammar\":\"root ::= \\\"a\\\"\"", "grammar"},
        {"\"messages\":[{\"role\":\"user\",\"name\":\"ada\",\"content\":\"a\"}]", "messages.name"},
        {"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
         "{\"url\":\"https://example.org/a.png\"}}]}]",
         "messages.images"},
        {"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
         "{\"url\":\"data:image/png;base64,A*\"}}]}]",
         "messages.images"},
        {"\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"function\":"
         "{\"name\":\"f\",\"arguments\":\"{\"}}]}]",
         "messages.tool_calls.function.arguments"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena *a = arena_new(1 << 20);
        struct buf body = BUF_INIT(4096), out = BUF_INIT(4096);
        struct err e = {0};
        buf_printf(&body, "{\"model\":\"m\",%s%s}", rows[i][0],
                   strstr(rows[i][0], "messages") ? ""
                                                  : ",\"messages\":[{\"role\":\"user\","
                                                    "\"content\":\"a\"}]");
        const struct gen_req *r = decode(WIRE_OPENAI, body.p, a);
        int rc = wire_request_encode(WIRE_OLLAMA_CHAT, r, r->model, NULL, &out, &e);
        assert_int_not_equal(rc, 0);
        if (strncmp(e.msg, rows[i][1], strlen(rows[i][1])))
            fail_msg("'%s' does not name %s", e.msg, rows[i][1]);
        assert_int_equal(out.n, 0);
        buf_done(&body);
        buf_done(&out);
        arena_free(a);
    }
}

/* An OpenAI client's request to an Ollama server. */
static void another_dialect_goes_through(void **state)
{
    struct arena *a = arena_new(1 << 20);
    struct buf out = BUF_INIT(4096);
    struct err e = {0};
    const struct gen_req *r = decode(
        WIRE_OPENAI,
        "{\"model\":\"m\",\"user\":\"u\",\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
        "\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"x\","
        "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"x\",\"content\":\"1\"}],\"tools\":[{\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"strict\":true}}],\"tool_choice\":\"none\","
        "\"max_tokens\":5}",
        a);
    assert_int_equal(wire_request_encode(WIRE_OLLAMA_CHAT, r, STR("n"), NULL, &out, &e), 0);
    assert_string_equal(
        out.p, "{\"model\":\"n\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},"
               "{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":\"\","
               "\"tool_calls\":[{\"id\":\"x\",\"function\":{\"index\":0,\"name\":\"f\","
               "\"arguments\":{}}}]},"
               "{\"role\":\"tool\",\"content\":\"1\",\"tool_name\":\"f\",\"tool_call_id\":\"x\"}],"
               "\"options\":{\"num_predict\":5},\"stream\":false,\"truncate\":false}");
    buf_done(&out);
    arena_free(a);
}

/* ---- answers ---- */

struct script {
    struct arena *a;
    struct gen_event ev[64];
    size_t n;
};

static struct gen_event *add(struct script *s, enum gen_event_type type)
{
    struct gen_event *ev = &s->ev[s->n++];
    *ev = (struct gen_event){.type = type};
    return ev;
}

static struct gen_logprob rnd_token(void)
{
    static const char *const tokens[] = {"a", " the", "\xF0\x9F", "\x98\x80", "\n", "\""};
    return (struct gen_logprob){
        .id = -1, .token = str_of(tokens[rnd(6)]), .logprob = -(float)rnd(10000) / 777};
}

static void add_logprobs(struct script *s, struct gen_event *ev)
{
    size_t n = 1 + rnd(2);
    struct gen_token_logprobs *list = arena_array(s->a, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        struct gen_logprob *top = arena_array(s->a, 3, sizeof *top);
        list[i].chosen = rnd_token();
        list[i].top = top;
        list[i].ntop = rnd(4);
        for (size_t k = 0; k < 3; k++)
            top[k] = rnd_token();
    }
    ev->logprobs = list;
    ev->nlogprobs = n;
}

static void add_call(struct script *s, int32_t tool)
{
    struct str args = rnd_json(s->a);
    size_t cut = args.n > 2 ? 1 : 0;
    struct gen_event *ev = add(s, GEN_EV_TOOL_BEGIN);
    ev->tool = tool;
    ev->id = rnd_name(s->a, "call_");
    ev->name = rnd_name(s->a, "tool_");
    ev = add(s, GEN_EV_TOOL_ARGS);
    ev->tool = tool;
    ev->text = str_n(args.p, cut);
    s->n -= !cut;
    ev = add(s, GEN_EV_TOOL_ARGS);
    ev->tool = tool;
    ev->text = str_n(args.p + cut, args.n - cut);
    add(s, GEN_EV_TOOL_END)->tool = tool;
}

static void rnd_script(struct script *s, const struct gen_req *r)
{
    struct gen_event *ev = add(s, GEN_EV_START);
    ev->text = rnd_name(s->a, "model:");
    for (size_t n = rnd(3); n > 0; n--)
        add(s, GEN_EV_REASONING)->text = rnd_text(s->a);
    for (size_t n = r->stream ? rnd(4) : rnd(2); n > 0; n--) {
        ev = add(s, GEN_EV_TEXT);
        ev->text = rnd_text(s->a);
        if (r->logprobs)
            add_logprobs(s, ev);
    }
    int32_t calls = (int32_t)rnd(3);
    for (int32_t t = 0; t < calls; t++)
        add_call(s, t);
    ev = add(s, GEN_EV_USAGE);
    ev->usage.input = 1 + rnd(1000);
    ev->usage.output = 1 + rnd(1000);
    ev = add(s, GEN_EV_DONE);
    ev->reason = rnd(3) == 0 ? GEN_END_LENGTH : calls ? GEN_END_TOOLS : GEN_END_STOP;
}

static void write_all(enum wire_form f, const struct gen_req *r, const struct script *s,
                      struct buf *out)
{
    struct wire_writer *w;
    struct err e = {0};
    assert_int_equal(wire_writer_new(f, r, STR("Abc9"), 1700000000, &w, &e), 0);
    assert_string_equal(wire_writer_type(w),
                        r->stream ? "application/x-ndjson" : "application/json");
    for (size_t i = 0; i < s->n; i++) {
        if (wire_writer_event(w, &s->ev[i], out, &e))
            fail_msg("write: %s", e.msg);
    }
    assert_int_equal(wire_writer_event(w, &s->ev[s->n - 1], out, &e), ERR_INVAL);
    wire_writer_free(w);
}

static int read_cut(enum wire_form f, bool stream, struct str text, size_t cut,
                    struct canon_sink *sink, struct err *e)
{
    struct wire_reader *r;
    assert_int_equal(wire_reader_new(f, stream, canon_sink_of(sink), &r, e), 0);
    int rc = wire_reader_feed(r, str_n(text.p, cut), NULL, e);
    if (!rc)
        rc = wire_reader_feed(r, str_n(text.p + cut, text.n - cut), NULL, e);
    if (!rc)
        rc = wire_reader_end(r, e);
    canon_sink_flush(sink);
    wire_reader_free(r);
    return rc;
}

static void check_answer(enum wire_form f, const struct gen_req *r, const struct script *s, int i)
{
    struct canon_sink want;
    struct buf bytes = BUF_INIT(1 << 20);
    canon_sink_init(&want, true);
    struct gen_sink to = canon_sink_of(&want);
    for (size_t k = 0; k < s->n; k++)
        to.event(to.ctx, &s->ev[k]);
    canon_sink_flush(&want);
    write_all(f, r, s, &bytes);
    size_t step = i < 12 ? 1 : 1 + bytes.n / 12;
    for (size_t cut = 0; cut <= bytes.n; cut += step) {
        struct canon_sink got;
        struct err e = {0};
        canon_sink_init(&got, true);
        if (read_cut(f, r->stream, buf_str(&bytes), cut, &got, &e))
            fail_msg("answer %d cut at %zu: %s\n%s", i, cut, e.msg, bytes.p);
        if (!str_eq(buf_str(&want.text), buf_str(&got.text)))
            fail_msg("answer %d cut at %zu differs\n%s---\n%s---\n%s", i, cut, want.text.p,
                     got.text.p, bytes.p);
        canon_sink_done(&got);
        /* The last byte is a line's end; before it nothing is whole. */
        canon_sink_init(&got, true);
        bool whole = cut + (r->stream ? 1 : 0) >= bytes.n;
        int rc = read_cut(f, r->stream, str_n(bytes.p, cut), 0, &got, &e);
        if (whole != (rc == 0) || got.ends != whole)
            fail_msg("answer %d, %zu of %zu bytes: %d %s", i, cut, bytes.n, rc, e.msg);
        if (r->stream && !whole)
            assert_int_equal(rc, ERR_CUT);
        canon_sink_done(&got);
    }
    canon_sink_done(&want);
    buf_done(&bytes);
}

static void answers_survive_the_trip(void **state)
{
    static const enum wire_form forms[] = {WIRE_OLLAMA_CHAT, WIRE_OLLAMA_GENERATE};
    for (int i = 0; i < 400; i++) {
        struct arena *a = arena_new(16 << 20);
        struct gen_req r = {.dialect = GEN_DIALECT_OLLAMA, .n = 1};
        struct script s = {.a = a};
        seed = 0xd1342543de82ef95u * (uint64_t)(i + 1);
        r.stream = coin();
        r.logprobs = coin();
        rnd_script(&s, &r);
        check_answer(forms[i % 2], &r, &s, i / 2);
        arena_free(a);
    }
}

/* ---- to the byte ---- */

static void expect(enum wire_form f, const struct gen_req *r, const struct script *s,
                   const char *want)
{
    struct buf out = BUF_INIT(1 << 20);
    write_all(f, r, s, &out);
    assert_string_equal(out.p, want);
    buf_done(&out);
}

#define HEAD "{\"model\":\"m\",\"created_at\":\"2023-11-14T22:13:20.000000000Z\","

static void loading_is_answered_by_one_object(void **state)
{
    struct arena *a = arena_new(1 << 20);
    struct script s = {0};
    add(&s, GEN_EV_START)->text = STR("m");
    add(&s, GEN_EV_DONE);
    expect(WIRE_OLLAMA_CHAT, decode(WIRE_OLLAMA_CHAT, "{\"model\":\"m\"}", a), &s,
           HEAD "\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,"
                "\"done_reason\":\"load\"}");
    expect(WIRE_OLLAMA_CHAT, decode(WIRE_OLLAMA_CHAT, "{\"model\":\"m\",\"keep_alive\":0}", a), &s,
           HEAD "\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,"
                "\"done_reason\":\"unload\"}");
    expect(WIRE_OLLAMA_GENERATE,
           decode(WIRE_OLLAMA_GENERATE, "{\"model\":\"m\",\"keep_alive\":\"5m\"}", a), &s,
           HEAD "\"response\":\"\",\"done\":true,\"done_reason\":\"load\"}");
    expect(WIRE_OLLAMA_EMBED, decode(WIRE_OLLAMA_EMBED, "{\"model\":\"m\",\"input\":\"\"}", a), &s,
           "{\"model\":\"m\",\"embeddings\":[]}");
    expect(WIRE_OLLAMA_EMBEDDINGS, decode(WIRE_OLLAMA_EMBEDDINGS, "{\"model\":\"m\"}", a), &s,
           "{\"embedding\":[]}");
    arena_free(a);
}

static void the_last_object_has_every_number(void **state)
{
    struct gen_req r = {.dialect = GEN_DIALECT_OLLAMA, .n = 1, .stream = true};
    struct script s = {0};
    struct gen_logprob top[2] = {{.token = STR("a"), .logprob = -0.5f},
                                 {.token = STR("\xC3"), .logprob = -1.25f}};
    struct gen_token_logprobs lp = {.chosen = top[0], .top = top, .ntop = 2};
    add(&s, GEN_EV_START)->text = STR("m");
    add(&s, GEN_EV_REASONING)->text = STR("h");
    struct gen_event *ev = add(&s, GEN_EV_TEXT);
    ev->text = STR("a");
    ev->logprobs = &lp;
    ev->nlogprobs = 1;
    ev = add(&s, GEN_EV_USAGE);
    ev->usage = (struct gen_usage){.input = 26, .cached = 20, .output = 2};
    ev->times = (struct gen_times){.total = 50, .load = 1, .queue = 2, .prompt = 3, .write = 4};
    add(&s, GEN_EV_DONE)->reason = GEN_END_LENGTH;
    expect(WIRE_OLLAMA_GENERATE, &r, &s,
           HEAD
           "\"response\":\"\",\"thinking\":\"h\",\"done\":false}\n" HEAD
           "\"response\":\"a\",\"done\":false,\"logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,"
           "\"bytes\":[97],\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]},"
           "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-1.25,\"bytes\":[195]}]}]}\n" HEAD
           "\"response\":\"\",\"done\":true,\"done_reason\":\"length\",\"total_duration\":50,"
           "\"load_duration\":1,\"prompt_eval_count\":26,\"prompt_eval_duration\":3,"
           "\"eval_count\":2,\"eval_duration\":4}\n");
}

static enum gen_verdict keep_times(void *ctx, const struct gen_event *ev)
{
    if (ev->type == GEN_EV_USAGE)
        *(struct gen_times *)ctx = ev->times;
    return GEN_GO;
}

static void times_are_read(void **state)
{
    struct gen_times t = {0};
    struct wire_reader *r;
    struct err e = {0};
    assert_int_equal(wire_reader_new(WIRE_OLLAMA_CHAT, true,
                                     (struct gen_sink){.event = keep_times, .ctx = &t}, &r, &e),
                     0);
    struct str text =
        STR(HEAD "\"done\":true,\"total_duration\":50,\"load_duration\":1,"
                 "\"prompt_eval_duration\":3,\"eval_duration\":4,\"eval_count\":2}\n");
    assert_int_equal(wire_reader_feed(r, text, NULL, &e), 0);
    assert_true(wire_reader_complete(r));
    assert_int_equal(wire_reader_end(r, &e), 0);
    assert_true(t.total == 50 && t.load == 1 && t.prompt == 3 && t.write == 4 && !t.queue);
    wire_reader_free(r);
}

/* A call whose arguments are no object is text; one that never ended goes out at the end. */
static void calls_are_whole_or_text(void **state)
{
    for (int stream = 0; stream < 2; stream++) {
        struct gen_req r = {.dialect = GEN_DIALECT_OLLAMA, .n = 1, .stream = stream};
        struct script s = {0};
        struct canon_sink got;
        struct err e = {0};
        struct buf out = BUF_INIT(1 << 20);
        static const char *const args[] = {"{\"a\":", "", "{\"b\":1}"};
        add(&s, GEN_EV_START)->text = STR("m");
        for (int i = 0; i < 3; i++) {
            struct gen_event *ev = add(&s, GEN_EV_TOOL_BEGIN);
            ev->tool = i;
            ev->name = STR("f");
        }
        for (int i = 2; i >= 0; i--) {
            struct gen_event *ev = add(&s, GEN_EV_TOOL_ARGS);
            ev->tool = i;
            ev->text = str_of(args[i]);
        }
        add(&s, GEN_EV_TOOL_END)->tool = 0;
        add(&s, GEN_EV_DONE)->reason = GEN_END_TOOLS;
        write_all(WIRE_OLLAMA_CHAT, &r, &s, &out);
        canon_sink_init(&got, true);
        assert_int_equal(read_cut(WIRE_OLLAMA_CHAT, stream, buf_str(&out), 5, &got, &e), 0);
        assert_string_equal(got.text.p, "start text=\"m\"\n"
                                        "text text=\"{\\\"a\\\":\"\n"
                                        "tool_begin tool=0 id=\"call_0\" name=\"f\"\n"
                                        "tool_args tool=0 text=\"{}\"\n"
                                        "tool_end tool=0\n"
                                        "tool_begin tool=1 id=\"call_1\" name=\"f\"\n"
                                        "tool_args tool=1 text=\"{\\\"b\\\":1}\"\n"
                                        "tool_end tool=1\n"
                                        "done tools\n");
        canon_sink_done(&got);
        buf_done(&out);
    }
}

/* ---- embeddings ---- */

static void rows_survive_the_trip(void **state)
{
    static const enum wire_form forms[] = {WIRE_OLLAMA_EMBED, WIRE_OLLAMA_EMBEDDINGS};
    static const float rows[2][3] = {{0.25f, -1.0f / 3, 1e-30f}, {1, 0, -0.5f}};
    for (size_t f = 0; f < 2; f++) {
        struct gen_req r = {.dialect = GEN_DIALECT_OLLAMA, .kind = GEN_EMBED, .n = 1};
        struct script s = {0};
        struct buf out = BUF_INIT(1 << 20);
        struct canon_sink got;
        struct err e = {0};
        add(&s, GEN_EV_START)->text = STR("m");
        for (int32_t i = 0; i < (f ? 1 : 2); i++) {
            struct gen_event *ev = add(&s, GEN_EV_EMBEDDING);
            ev->index = i;
            ev->embedding = rows[i];
            ev->nembedding = 3;
        }
        struct gen_event *ev = add(&s, GEN_EV_USAGE);
        ev->usage.input = 8;
        ev->times = (struct gen_times){.total = 14143917, .load = 1019500};
        add(&s, GEN_EV_DONE);
        write_all(forms[f], &r, &s, &out);
        assert_string_equal(out.p,
                            f ? "{\"embedding\":[0.25,-0.333333343,1e-30]}"
                              : "{\"model\":\"m\",\"embeddings\":[[0.25,-0.333333343,1e-30],"
                                "[1,0,-0.5]],\"total_duration\":14143917,\"load_duration\":1019500,"
                                "\"prompt_eval_count\":8}");
        for (size_t cut = 0; cut < out.n; cut++) {
            canon_sink_init(&got, true);
            assert_int_not_equal(read_cut(forms[f], false, str_n(out.p, cut), 0, &got, &e), 0);
            assert_int_equal(got.ends, 0);
            canon_sink_done(&got);
        }
        canon_sink_init(&got, true);
        assert_int_equal(read_cut(forms[f], false, buf_str(&out), 9, &got, &e), 0);
        assert_int_equal(got.ends, 1);
        assert_non_null(strstr(got.text.p, "embedding\n"));
        canon_sink_done(&got);
        buf_done(&out);
    }
}

/* ---- what servers send that is wrong ---- */

static void bad_answers_are_refused(void **state)
{
    static const struct {
        enum wire_form f;
        bool stream;
        const char *text;
        int code;
    } rows[] = {
        {WIRE_OLLAMA_CHAT, true, "{\"error\":\"model runner has stopped\"}\n", ERR_UPSTREAM},
        {WIRE_OLLAMA_CHAT, true, HEAD "\"message\":{\"content\":\"a\"},\"done\":false}\n", ERR_CUT},
        {WIRE_OLLAMA_CHAT, true, "", ERR_CUT},
        {WIRE_OLLAMA_CHAT, true, "data: {}\n", ERR_UPSTREAM},
        {WIRE_OLLAMA_CHAT, true, "[1]\n", ERR_UPSTREAM},
        {WIRE_OLLAMA_CHAT, true, "{\"message\":{\"tool_calls\":[{\"function\":{}}]}}\n",
         ERR_UPSTREAM},
        {WIRE_OLLAMA_CHAT, false, "{\"error\":\"no\"}", ERR_UPSTREAM},
        {WIRE_OLLAMA_CHAT, false, "{}", ERR_CUT},
        {WIRE_OLLAMA_CHAT, false, "", ERR_CUT},
        {WIRE_OLLAMA_GENERATE, false, "{\"response\":\"a\",\"done\":false}", ERR_CUT},
        {WIRE_OLLAMA_EMBED, false, "{}", ERR_UPSTREAM},
        {WIRE_OLLAMA_EMBED, false, "{\"embeddings\":[[]]}", ERR_UPSTREAM},
        {WIRE_OLLAMA_EMBED, false, "{\"embeddings\":[[1,\"a\"]]}", ERR_UPSTREAM},
        {WIRE_OLLAMA_EMBED, false, "{\"embeddings\":[[1e39]]}", ERR_UPSTREAM},
        {WIRE_OLLAMA_EMBEDDINGS, false, "{\"embedding\":7}", ERR_UPSTREAM},
        {WIRE_OLLAMA_EMBEDDINGS, false, "{\"error\":\"no\"}", ERR_UPSTREAM},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct canon_sink got;
        struct err e = {0};
        struct str text = str_of(rows[i].text);
        canon_sink_init(&got, false);
        int rc = read_cut(rows[i].f, rows[i].stream, text, text.n / 2, &got, &e);
        if (rc != rows[i].code || got.ends)
            fail_msg("%s: %d %s", rows[i].text, rc, e.msg);
        canon_sink_done(&got);
    }
}

static void errors_have_their_shape(void **state)
{
    for (int f = WIRE_OLLAMA_CHAT; f <= WIRE_OLLAMA_EMBEDDINGS; f++) {
        struct buf b = BUF_INIT(4096);
        struct err e = {0}, back = {0};
        err_set(&e, ERR_NOT_FOUND, "model \"x\" not found");
        wire_error_body((enum wire_form)f, &e, &b);
        assert_string_equal(b.p, "{\"error\":\"model \\\"x\\\" not found\"}");
        assert_int_equal(wire_error_decode(GEN_DIALECT_OLLAMA, 404, buf_str(&b), 0, &back),
                         ERR_NOT_FOUND);
        assert_non_null(strstr(back.msg, e.msg));
        buf_clear(&b);
        wire_keepalive((enum wire_form)f, &b);
        assert_int_equal(b.n, 0);
        buf_done(&b);
    }
    assert_int_equal(wire_form_of(GEN_DIALECT_OLLAMA, GEN_CHAT), WIRE_OLLAMA_CHAT);
    assert_int_equal(wire_form_of(GEN_DIALECT_OLLAMA, GEN_RAW), WIRE_OLLAMA_GENERATE);
    assert_int_equal(wire_form_of(GEN_DIALECT_OLLAMA, GEN_INFILL), WIRE_OLLAMA_GENERATE);
    assert_int_equal(wire_form_of(GEN_DIALECT_OLLAMA, GEN_EMBED), WIRE_OLLAMA_EMBED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_survive_the_trip),
        cmocka_unit_test(forms_of_generate),
        cmocka_unit_test(times_to_keep),
        cmocka_unit_test(other_dialects_are_refused_by_name),
        cmocka_unit_test(another_dialect_goes_through),
        cmocka_unit_test(answers_survive_the_trip),
        cmocka_unit_test(loading_is_answered_by_one_object),
        cmocka_unit_test(the_last_object_has_every_number),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(calls_are_whole_or_text),
        cmocka_unit_test(rows_survive_the_trip),
        cmocka_unit_test(bad_answers_are_refused),
        cmocka_unit_test(errors_have_their_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
