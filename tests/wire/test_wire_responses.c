/* test_wire_responses.c: the responses dialect: decode(encode(x)) == x for random requests and
 * answers, the latter cut anywhere; no prefix passes for a whole answer; what servers stream
 * differently; what is kept of an answer and put before the next request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
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

static struct str rnd_text(struct arena *a, bool empty_too)
{
    static const char *const bits[] = {"a",    "Zürich", "\"",     "\\",          "\n",
                                       "\r\n", "\n\n",   "data: ", "[DONE]",      "😀",
                                       "{\"",  "}",      "\x1b",   "\xE2\x80\xA8"};
    struct buf b = BUF_INIT(4096);
    for (size_t n = rnd(6) + (empty_too ? 0 : 1); n > 0; n--) {
        if (rnd(12) == 0)
            buf_add(&b, "", 1); /* NUL */
        buf_puts(&b, bits[rnd(sizeof bits / sizeof bits[0])]);
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
    if (coin())
        return STR("{\"city\":\"Z\xC3\xBCrich\",\"n\":[1,2.5,-3,null,true]}");
    return str_of(arena_printf(a, "{\"a\":{\"b\":%u},\"q\":\"\\\"}{\\\\\"}", rnd(100)));
}

/* ---- requests ---- */

static struct gen_part *part(struct gen_msg *m, enum gen_part_type type)
{
    struct gen_part *p = &m->parts[m->nparts++];
    p->type = type;
    return p;
}

static void rnd_media(struct arena *a, struct gen_part *p)
{
    if (coin())
        p->url = str_of(arena_printf(a, "https://example.org/%u.png", rnd(100)));
    else if (coin())
        p->url = str_of(arena_printf(a, "file-id:file-%u", rnd(100)));
    else {
        p->mime = p->type == GEN_PART_IMAGE ? STR("image/png") : STR("application/pdf");
        p->data = STR("aGVsbG8=");
    }
    if (p->type == GEN_PART_IMAGE && coin())
        p->name = STR("high");
    if (p->type == GEN_PART_DOCUMENT && coin())
        p->text = STR("report.pdf");
}

static void rnd_content(struct arena *a, struct gen_msg *m)
{
    for (size_t n = rnd(4) + 1; n > 0; n--) {
        uint32_t k = m->role == GEN_USER ? rnd(4) : 0;
        struct gen_part *p = part(m, k < 2    ? GEN_PART_TEXT
                                     : k == 2 ? GEN_PART_IMAGE
                                              : GEN_PART_DOCUMENT);
        if (k < 2)
            p->text = rnd_text(a, true);
        else
            rnd_media(a, p);
    }
}

/* A turn of the assistant's: reasoning, texts and calls in any order. */
static void rnd_assistant(struct arena *a, struct gen_msg *m)
{
    for (size_t n = 1 + rnd(6); n > 0; n--) {
        uint32_t k = rnd(5);
        struct gen_part *p = part(m, k == 0   ? GEN_PART_REASONING
                                     : k == 1 ? GEN_PART_OPAQUE
                                     : k == 2 ? GEN_PART_TOOL_CALL
                                              : GEN_PART_TEXT);
        if (k == 0) {
            p->text = rnd_text(a, true);
            if (coin())
                p->name = STR("summary");
            if (coin())
                p->opaque = rnd_text(a, false);
        } else if (k == 1 && coin()) {
            p->name = STR("item_reference");
            p->id = rnd_name(a, "msg_");
        } else if (k == 1) {
            p->opaque = rnd_text(a, false);
        } else if (k == 2) {
            p->id = rnd_name(a, "call_");
            p->name = rnd_name(a, "tool_");
            p->args = rnd_json(a);
        } else {
            p->text = rnd_text(a, true);
        }
    }
}

static void rnd_result(struct arena *a, struct gen_msg *m)
{
    struct gen_part *p = part(m, GEN_PART_TOOL_RESULT);
    p->id = rnd_name(a, "call_");
    p->text = rnd_text(a, true);
    for (size_t n = rnd(3); n > 0; n--) {
        struct gen_part *media = part(m, coin() ? GEN_PART_IMAGE : GEN_PART_DOCUMENT);
        rnd_media(a, media);
        media->id = p->id;
    }
}

static void rnd_messages(struct arena *a, struct gen_req *r)
{
    size_t n = rnd(6) + 1;
    r->msgs = arena_array(a, n, sizeof *r->msgs);
    for (size_t i = 0; i < n; i++) {
        struct gen_msg *m = &r->msgs[r->nmsgs++];
        bool after = i && r->msgs[i - 1].role == GEN_ASSISTANT;
        m->parts = arena_array(a, 16, sizeof *m->parts);
        m->role = (enum gen_role)rnd(5);
        if (m->role == GEN_ASSISTANT && after)
            m->role = GEN_USER; /* two in a row are one turn, unless both are texts */
        if (m->role == GEN_ASSISTANT)
            rnd_assistant(a, m);
        else if (m->role == GEN_TOOL)
            rnd_result(a, m);
        else
            rnd_content(a, m);
    }
}

static void rnd_tools(struct arena *a, struct gen_req *r)
{
    size_t n = rnd(4);
    r->tools = arena_array(a, n, sizeof *r->tools);
    for (size_t i = 0; i < n; i++) {
        struct gen_tool *t = &r->tools[r->ntools++];
        t->name = rnd_name(a, "tool_");
        if (coin())
            t->description = rnd_text(a, true);
        if (coin())
            t->schema = rnd_json(a);
        t->strict = coin();
    }
    r->tool_choice = (enum gen_choice)rnd(5);
    if (r->tool_choice == GEN_CHOICE_NAMED)
        r->tool_choice_name = rnd_name(a, "tool_");
    r->parallel_tools = (int8_t)((int)rnd(3) - 1);
}

static struct gen_req *rnd_req(struct arena *a)
{
    static const char *const extras[] = {
        "", "{\"metadata\":{\"k\":\"v\"},\"service_tier\":\"auto\",\"x\":{\"y\":[1,\"z\"]}}",
        ("{\"reasoning\":{\"effort\":\"xhigh\",\"summary\":\"auto\"},"
         "\"include\":[\"reasoning.encrypted_content\"]}"),
        "{\"text\":{\"verbosity\":\"low\"},\"max_tool_calls\":3}"};
    struct gen_req *r = arena_alloc(a, sizeof *r);
    r->arena = a;
    r->dialect = GEN_DIALECT_RESPONSES;
    r->n = 1;
    r->model = rnd_name(a, "model/");
    rnd_messages(a, r);
    rnd_tools(a, r);
    r->sampling.set = rnd(1u << 5);
    r->sampling.temperature = (float)rnd(2001) / 1000;
    r->sampling.top_p = (float)rnd(1001) / 1000;
    r->sampling.min_p = (float)rnd(101) / 777;
    r->sampling.top_k = (int32_t)rnd(100);
    r->sampling.seed = rnd(1u << 31);
    r->max_tokens = coin() ? 1 + rnd(100000) : 0;
    r->stream = coin();
    r->store = coin();
    r->truncate = coin();
    if (coin())
        r->previous_id = rnd_name(a, "resp_");
    if (coin())
        r->user = rnd_text(a, true);
    r->logprobs = coin();
    r->top_logprobs = r->logprobs ? (int32_t)rnd(21) : 0;
    r->format = (enum gen_format)rnd(3);
    if (r->format == GEN_FORMAT_SCHEMA) {
        r->schema = rnd_json(a);
        r->schema_name = rnd_name(a, "schema_");
        r->schema_strict = coin();
    }
    uint32_t extra = rnd(4);
    r->extra = str_of(extras[extra]);
    r->effort = extra == 2 ? GEN_EFFORT_HIGH : (enum gen_effort)rnd(5);
    return r;
}

static void canon(const struct gen_req *r, struct buf *b)
{
    canon_req(r, b);
    buf_printf(b, "store %d truncate %d previous %.*s\n", r->store, r->truncate,
               STR_ARG(r->previous_id));
}

/* The order of what stands in extra is not part of its meaning. */
static void sort_extra(struct gen_req *r, struct arena *a)
{
    json_error_t je;
    json_t *v = json_loadb(r->extra.p ? r->extra.p : "", r->extra.n, 0, &je);
    char *text = v ? json_dumps(v, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    r->extra = text ? arena_str(a, str_of(text)) : STR_NONE;
    free(text);
    json_decref(v);
}

static void requests(void **state)
{
    for (int i = 0; i < 3000; i++) {
        struct arena *a = arena_new(16 << 20);
        struct buf body = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
        struct gen_req *r, *back = NULL;
        struct err e = {0};
        seed = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        r = rnd_req(a);
        if (wire_request_encode(WIRE_RESPONSES, r, r->model, NULL, &body, &e))
            fail_msg("request %d: encode: %s", i, e.msg);
        if (wire_request_decode(WIRE_RESPONSES, buf_str(&body), a, &back, &e))
            fail_msg("request %d: decode: %s\n%s", i, e.msg, body.p);
        sort_extra(r, a);
        sort_extra(back, a);
        canon(r, &want);
        canon(back, &got);
        if (!str_eq(buf_str(&want), buf_str(&got)))
            fail_msg("request %d differs\n%s---\n%s---\n%s", i, want.p, got.p, body.p);
        buf_done(&body);
        buf_done(&want);
        buf_done(&got);
        arena_free(a);
    }
}

static int refuses(struct gen_req *r, const char *word)
{
    struct buf body = BUF_INIT(1 << 20);
    struct err e = {0};
    int rc = wire_request_encode(WIRE_RESPONSES, r, STR("m"), NULL, &body, &e);
    assert_int_equal(rc, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, word));
    assert_int_equal(body.n, 0);
    buf_done(&body);
    return rc;
}

static void what_has_no_place_is_refused(void **state)
{
    struct str stop = STR("x");
    struct gen_part p = {.type = GEN_PART_AUDIO, .mime = STR("audio/wav"), .data = STR("x")};
    struct gen_msg m = {.role = GEN_USER, .parts = &p, .nparts = 1};
    refuses(&(struct gen_req){.n = 1, .stops = &stop, .nstops = 1}, "stop");
    refuses(&(struct gen_req){.n = 2}, "n:");
    refuses(&(struct gen_req){.n = 1, .grammar = STR("root ::= \"a\"")}, "grammar");
    refuses(&(struct gen_req){.n = 1, .msgs = &m, .nmsgs = 1}, "audio");
    p = (struct gen_part){.type = GEN_PART_TOOL_CALL, .name = STR("f")};
    refuses(&(struct gen_req){.n = 1, .msgs = &m, .nmsgs = 1}, "outside");
    p = (struct gen_part){.type = GEN_PART_IMAGE, .url = STR("u")};
    m.role = GEN_ASSISTANT;
    refuses(&(struct gen_req){.n = 1, .msgs = &m, .nmsgs = 1}, "media");
    m.role = GEN_TOOL;
    refuses(&(struct gen_req){.n = 1, .msgs = &m, .nmsgs = 1}, "result");
}

/* Another dialect's request, and what of it may not travel. */
static void another_dialects_request_changes_its_form(void **state)
{
    struct gen_part user[] = {
        {.type = GEN_PART_TOOL_RESULT, .id = STR("c"), .text = STR("no"), .is_error = true},
        {.type = GEN_PART_IMAGE, .id = STR("c"), .url = STR("https://e.org/i.png")},
        {.type = GEN_PART_TEXT, .text = STR("so?")}};
    struct gen_part assistant[] = {
        {.type = GEN_PART_REASONING, .text = STR("hm"), .opaque = STR("sig")},
        {.type = GEN_PART_OPAQUE, .opaque = STR("hidden")},
        {.type = GEN_PART_TOOL_CALL, .id = STR("c"), .name = STR("f"), .args = STR("{}")}};
    struct gen_msg msgs[] = {{.role = GEN_ASSISTANT, .parts = assistant, .nparts = 3},
                             {.role = GEN_USER, .parts = user, .nparts = 3}};
    struct gen_req r = {
        .n = 1, .dialect = GEN_DIALECT_ANTHROPIC, .msgs = msgs, .nmsgs = 2, .parallel_tools = -1};
    struct wire_quirks q = {.no_reasoning = true};
    struct buf body = BUF_INIT(1 << 20);
    struct err e = {0};
    r.thinking_budget = 5000;
    assert_int_equal(wire_request_encode(WIRE_RESPONSES, &r, STR("m"), NULL, &body, &e), 0);
    assert_string_equal(
        body.p,
        "{\"model\":\"m\",\"input\":[{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":"
        "\"reasoning_text\",\"text\":\"hm\"}]},{\"type\":\"function_call\",\"call_id\":\"c\","
        "\"name\":\"f\",\"arguments\":\"{}\"},{\"type\":\"function_call_output\",\"call_id\":\"c\","
        "\"output\":[{\"type\":\"input_text\",\"text\":\"Error: no\"},{\"type\":\"input_image\","
        "\"image_url\":\"https://e.org/i.png\"}]},{\"type\":\"message\",\"role\":\"user\","
        "\"content\":[{\"type\":\"input_text\",\"text\":\"so?\"}]}],"
        "\"reasoning\":{\"effort\":\"medium\"},\"store\":false}");
    buf_clear(&body);
    assert_int_equal(wire_request_encode(WIRE_RESPONSES, &r, STR("m"), &q, &body, &e), 0);
    assert_null(strstr(body.p, "\"hm\""));
    buf_done(&body);
}

/* A conversation may move from one provider to another: what only its issuer reads stays behind. */
static void a_blob_of_openais_stays_away_from_anthropic(void **state)
{
    static const struct {
        const char *blob;
        bool sent;
    } rows[] = {{"gAAAAABpPDIVOKrs", false}, {"EqoBCkgIAhABGAIiQL", true}};
    for (size_t i = 0; i < 2; i++) {
        struct gen_part p[] = {{.type = GEN_PART_REASONING, .text = STR("hm")},
                               {.type = GEN_PART_TEXT, .text = STR("so")}};
        struct gen_msg m = {.role = GEN_ASSISTANT, .parts = p, .nparts = 2};
        struct gen_req r = {.n = 1, .dialect = GEN_DIALECT_RESPONSES, .msgs = &m, .nmsgs = 1};
        struct buf body = BUF_INIT(1 << 20);
        struct err e = {0};
        p[0].opaque = str_of(rows[i].blob);
        r.parallel_tools = -1;
        assert_int_equal(wire_request_encode(WIRE_ANTHROPIC, &r, STR("m"), NULL, &body, &e), 0);
        assert_int_equal(strstr(body.p, rows[i].blob) != NULL, rows[i].sent);
        buf_done(&body);
    }
}

/* ---- answers ---- */

struct script {
    struct arena *a;
    struct gen_event ev[96];
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

static void add_text(struct script *s, bool logprobs)
{
    struct gen_event *ev = add(s, GEN_EV_TEXT);
    ev->text = rnd_text(s->a, false);
    if (!logprobs)
        return;
    struct gen_token_logprobs *list = arena_array(s->a, 2, sizeof *list);
    struct gen_logprob *top = arena_array(s->a, 3, sizeof *top);
    for (size_t i = 0; i < 2; i++) {
        list[i] = (struct gen_token_logprobs){rnd_token(), top, rnd(4)};
        top[i] = rnd_token();
    }
    ev->logprobs = list;
    ev->nlogprobs = 2;
}

static void add_args(struct script *s, int32_t tool, struct str text)
{
    struct gen_event *ev = add(s, GEN_EV_TOOL_ARGS);
    ev->tool = tool;
    ev->text = text;
}

static void add_begin(struct script *s, int32_t tool)
{
    struct gen_event *ev = add(s, GEN_EV_TOOL_BEGIN);
    ev->tool = tool;
    ev->id = rnd_name(s->a, "call_");
    ev->name = rnd_name(s->a, "tool_");
}

/* One after the other, or (of a stream) two side by side. */
static int32_t add_calls(struct script *s, int32_t tool, bool beside)
{
    struct str args = rnd_json(s->a);
    add_begin(s, tool);
    if (!beside) {
        add_args(s, tool, args);
        add(s, GEN_EV_TOOL_END)->tool = tool;
        return tool + 1;
    }
    add_begin(s, tool + 1);
    add_args(s, tool + 1, STR("{\"b\":"));
    add_args(s, tool, args);
    add_args(s, tool + 1, STR("2}"));
    add(s, GEN_EV_TOOL_END)->tool = tool + 1;
    add(s, GEN_EV_TOOL_END)->tool = tool;
    return tool + 2;
}

/* Parts in any order; neighbours differ in kind, because one that goes on is one. */
static void rnd_script(struct script *s, const struct gen_req *r)
{
    enum { THINK, BLOB, SAY, CALL } last = CALL;
    int32_t tool = 0;
    struct gen_event *ev = add(s, GEN_EV_START);
    ev->text = rnd_name(s->a, "model-");
    ev->id = STR("resp_Abc9");
    for (size_t n = rnd(6); n > 0; n--) {
        uint32_t k = rnd(4);
        if ((k == THINK && last == THINK) || (k == SAY && last == SAY))
            continue;
        last = k;
        if (k == THINK) {
            for (size_t i = 1 + rnd(3); i > 0; i--)
                add(s, GEN_EV_REASONING)->text = rnd_text(s->a, false);
            if (coin()) {
                add(s, GEN_EV_OPAQUE)->text = rnd_text(s->a, false);
                last = BLOB;
            }
        } else if (k == BLOB) {
            ev = add(s, GEN_EV_OPAQUE);
            ev->text = rnd_text(s->a, false);
            ev->redacted = true;
        } else if (k == SAY) {
            for (size_t i = r->stream ? 1 + rnd(3) : 1; i > 0; i--)
                add_text(s, r->logprobs);
        } else {
            tool = add_calls(s, tool, r->stream && coin());
        }
    }
    ev = add(s, GEN_EV_USAGE);
    ev->usage.input = 1 + rnd(1000);
    ev->usage.cached = rnd((uint32_t)ev->usage.input);
    ev->usage.cache_write = rnd((uint32_t)(ev->usage.input - ev->usage.cached));
    ev->usage.output = rnd(1000);
    ev->usage.reasoning = rnd(10);
    ev = add(s, GEN_EV_DONE);
    ev->reason = rnd(4) == 0 ? (coin() ? GEN_END_LENGTH : GEN_END_FILTER)
                 : tool      ? GEN_END_TOOLS
                             : GEN_END_STOP;
}

static void write_all(const struct gen_req *r, const struct script *s, struct buf *out,
                      struct buf *whole)
{
    struct wire_writer *w;
    struct err e = {0};
    assert_int_equal(wire_writer_new(WIRE_RESPONSES, r, STR("Abc9"), 1700000000, &w, &e), 0);
    for (size_t i = 0; i < s->n; i++) {
        assert_int_equal(wire_writer_whole(w).n, 0);
        if (wire_writer_event(w, &s->ev[i], out, &e))
            fail_msg("write: %s", e.msg);
    }
    buf_str_add(whole, wire_writer_whole(w));
    wire_writer_free(w);
}

static int read_cut(bool stream, struct str text, size_t cut, struct canon_sink *sink,
                    struct err *e)
{
    struct wire_reader *r;
    assert_int_equal(wire_reader_new(WIRE_RESPONSES, stream, canon_sink_of(sink), &r, e), 0);
    int rc = wire_reader_feed(r, str_n(text.p, cut), NULL, e);
    if (!rc)
        rc = wire_reader_feed(r, str_n(text.p + cut, text.n - cut), NULL, e);
    if (!rc)
        rc = wire_reader_end(r, e);
    canon_sink_flush(sink);
    wire_reader_free(r);
    return rc;
}

static void compare(const struct canon_sink *want, bool stream, struct str bytes, size_t cut)
{
    struct canon_sink got;
    struct err e = {0};
    canon_sink_init(&got, true);
    if (read_cut(stream, bytes, cut, &got, &e))
        fail_msg("cut at %zu: %s\n%.*s", cut, e.msg, STR_ARG(bytes));
    if (!str_eq(buf_str(&want->text), buf_str(&got.text)))
        fail_msg("cut at %zu differs\n%s---\n%s---\n%.*s", cut, want->text.p, got.text.p,
                 STR_ARG(bytes));
    canon_sink_done(&got);
}

static void rnd_answer(struct script *s, struct gen_req *r, int i)
{
    seed = 0xd1342543de82ef95u * (uint64_t)(i + 1);
    *r = (struct gen_req){.dialect = GEN_DIALECT_RESPONSES, .n = 1, .model = STR("m")};
    r->stream = coin();
    r->logprobs = coin();
    if (coin()) /* thoughts as summaries */
        r->extra = STR("{\"reasoning\":{\"summary\":\"auto\"}}");
    rnd_script(s, r);
}

static void answers(void **state)
{
    for (int i = 0; i < 400; i++) {
        struct script s = {.a = arena_new(16 << 20)};
        struct gen_req r;
        struct canon_sink want;
        struct buf bytes = BUF_INIT(1 << 20), whole = BUF_INIT(1 << 20);
        rnd_answer(&s, &r, i);
        canon_sink_init(&want, true);
        struct gen_sink to = canon_sink_of(&want);
        for (size_t k = 0; k < s.n; k++)
            to.event(to.ctx, &s.ev[k]);
        canon_sink_flush(&want);
        write_all(&r, &s, &bytes, &whole);
        size_t step = i < 8 ? 1 : 1 + bytes.n / 12;
        for (size_t cut = 0; cut <= bytes.n; cut += step)
            compare(&want, r.stream, buf_str(&bytes), cut);
        /* What is kept of it is the answer itself. */
        if (!r.stream)
            assert_true(str_eq(buf_str(&bytes), buf_str(&whole)));
        else
            assert_true(str_find(buf_str(&bytes), buf_str(&whole), 0) != SIZE_MAX);
        canon_sink_done(&want);
        buf_done(&bytes);
        buf_done(&whole);
        arena_free(s.a);
    }
}

static void no_prefix_is_whole(void **state)
{
    for (int i = 0; i < 12; i++) {
        struct script s = {.a = arena_new(16 << 20)};
        struct gen_req r;
        struct buf bytes = BUF_INIT(1 << 20), whole = BUF_INIT(1 << 20);
        rnd_answer(&s, &r, i);
        r.stream = true;
        write_all(&r, &s, &bytes, &whole);
        for (size_t n = 0; n < bytes.n; n++) {
            struct canon_sink got;
            struct err e = {0};
            canon_sink_init(&got, true);
            int rc = read_cut(true, str_n(bytes.p, n), 0, &got, &e);
            if (n + 3 < bytes.n && (rc != ERR_CUT || got.ends))
                fail_msg("answer %d, %zu of %zu bytes: %d %s", i, n, bytes.n, rc, e.msg);
            canon_sink_done(&got);
        }
        buf_done(&bytes);
        buf_done(&whole);
        arena_free(s.a);
    }
}

/* ---- what servers do differently ---- */

#define COMPLETED(output)                                                                          \
    "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"model\":\"m\","           \
    "\"status\":\"completed\",\"output\":[" output "]}}\n\n"
#define MESSAGE(text)                                                                              \
    "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\","         \
    "\"text\":\"" text "\"}]}"
#define CALL                                                                                       \
    "{\"type\":\"function_call\",\"id\":\"fc\",\"call_id\":\"c\",\"name\":\"f\","                  \
    "\"arguments\":\"{}\"}"

static void little_streamed_is_enough(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        /* only the last event */
        {COMPLETED(MESSAGE("hi") "," CALL),
         "start id=\"r\" text=\"m\"\ntext text=\"hi\"\ntool_begin tool=0 id=\"c\" name=\"f\"\n"
         "tool_args tool=0 text=\"{}\"\ntool_end tool=0\ndone tools\n"},
        /* items that are only done, names in the event's line, an end mark of another API */
        {"event: response.output_item.done\ndata: {\"output_index\":0,\"item\":" CALL "}\n\n"
         "data: [DONE]\n\n" COMPLETED(CALL) "data: [DONE]\n\n",
         "start\ntool_begin tool=0 id=\"c\" name=\"f\"\ntool_args tool=0 text=\"{}\"\n"
         "tool_end tool=0\ndone tools\n"},
        /* arguments that come at once */
        {"data: {\"type\":\"response.output_item.added\",\"output_index\":3,\"item\":" CALL "}\n\n"
         "data: {\"type\":\"response.function_call_arguments.done\",\"output_index\":3,"
         "\"arguments\":\"{}\"}\n\n" COMPLETED(""),
         "start\ntool_begin tool=0 id=\"c\" name=\"f\"\ntool_args tool=0 text=\"{}\"\n"
         "tool_end tool=0\ndone tools\n"},
        /* two parts of a summary; tools that run elsewhere */
        {"data: {\"type\":\"response.reasoning_summary_part.added\",\"output_index\":0}\n\n"
         "data: {\"type\":\"response.reasoning_summary_text.delta\",\"output_index\":0,"
         "\"delta\":\"one\"}\n\n"
         "data: {\"type\":\"response.reasoning_summary_part.added\",\"output_index\":0}\n\n"
         "data: {\"type\":\"response.reasoning_summary_text.delta\",\"output_index\":0,"
         "\"delta\":\"two\"}\n\n"
         "data: {\"type\":\"response.web_search_call.searching\",\"output_index\":1}\n\n" COMPLETED(
             "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"one\"},"
             "{\"type\":\"summary_text\",\"text\":\"two\"}],\"encrypted_content\":\"x\"},"
             "{\"type\":\"web_search_call\",\"status\":\"completed\"}"),
         "start\nreasoning text=\"one\\n\\ntwo\"\nopaque text=\"x\"\ndone stop\n"},
        /* a refusal */
        {"data: "
         "{\"type\":\"response.refusal.delta\",\"output_index\":0,\"delta\":\"No.\"}\n\n" COMPLETED(
             "{\"type\":\"message\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"No.\"}]}"),
         "start\ntext text=\"No.\"\ndone filter\n"},
        {COMPLETED(
             "{\"type\":\"message\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"No.\"}]}"),
         "start id=\"r\" text=\"m\"\ntext text=\"No.\"\ndone filter\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct canon_sink got;
        struct err e = {0};
        canon_sink_init(&got, true);
        if (read_cut(true, str_of(rows[i].text), 7, &got, &e))
            fail_msg("row %zu: %s", i, e.msg);
        assert_string_equal(got.text.p, rows[i].want);
        canon_sink_done(&got);
    }
}

static void failures_have_their_code(void **state)
{
    static const struct {
        bool stream;
        const char *text;
        int code;
    } rows[] = {
        {true,
         "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\","
         "\"message\":\"slow\"}\n\n",
         ERR_RATE},
        {true, "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n", ERR_UPSTREAM},
        {true,
         "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":"
         "{\"code\":\"server_error\",\"message\":\"x\"}}}\n\n",
         ERR_UPSTREAM},
        {true, "data: {\"type\":\"response.failed\",\"response\":{}}\n\n", ERR_UPSTREAM},
        {true, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n", ERR_UPSTREAM},
        {true, "data: {\"type\":\"response.created\",\"response\":{\"model\":\"m\"}}\n\n", ERR_CUT},
        {true, "data: [1]\n\n", ERR_UPSTREAM},
        {false, "{\"status\":\"queued\",\"output\":[]}", ERR_UPSTREAM},
        {false, "{\"status\":\"cancelled\",\"output\":[]}", ERR_UPSTREAM},
        {false, "{\"error\":{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}", ERR_RATE},
        {false, "{\"choices\":[]}", ERR_UPSTREAM},
        {false, "[]", ERR_UPSTREAM},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct canon_sink got;
        struct err e = {0};
        canon_sink_init(&got, true);
        int rc = read_cut(rows[i].stream, str_of(rows[i].text), 3, &got, &e);
        if (rc != rows[i].code || got.ends)
            fail_msg("row %zu: %d %s", i, rc, e.msg);
        canon_sink_done(&got);
    }
}

/* ---- kept answers ---- */

static struct gen_req *decode(const char *body, struct arena *a)
{
    struct gen_req *r = NULL;
    struct err e = {0};
    if (wire_request_decode(WIRE_RESPONSES, str_of(body), a, &r, &e))
        fail_msg("%s", e.msg);
    return r;
}

static void a_conversation_is_put_together(void **state)
{
    struct arena *a = arena_new(16 << 20);
    struct buf kept = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
    struct err e = {0};
    struct gen_req *r = decode("{\"model\":\"m\",\"instructions\":\"Old.\",\"input\":\"One\"}", a);
    assert_int_equal(wire_responses_input(r, STR("X"), &kept, &e), 0);
    assert_string_equal(kept.p,
                        "[{\"type\":\"message\",\"id\":\"msg_Xi0\",\"status\":\"completed\","
                        "\"role\":\"user\",\"content\":[{\"type\":\"input_text\","
                        "\"text\":\"One\"}]}]");
    struct str texts[] = {buf_str(&kept),
                          STR("{\"id\":\"resp_X\",\"output\":[" MESSAGE("Two") "," CALL "]}")};
    r = decode("{\"model\":\"m\",\"instructions\":\"New.\",\"input\":[{\"type\":"
               "\"function_call_output\",\"call_id\":\"c\",\"output\":\"ok\"}],"
               "\"previous_response_id\":\"resp_X\"}",
               a);
    assert_int_equal(wire_responses_prepend(r, texts, 2, &e), 0);
    r->extra = STR_NONE;
    canon_req(r, &got);
    assert_string_equal(got.p, "request model=\"m\"\n system\n  text text=\"New.\"\n user\n"
                               "  text text=\"One\"\n assistant\n  text text=\"Two\"\n"
                               "  tool_call id=\"c\" name=\"f\" args=\"{}\"\n tool\n"
                               "  tool_result id=\"c\" text=\"ok\"\n");
    buf_done(&kept);
    buf_done(&got);
    arena_free(a);
}

static int find(void *ctx, struct str id, struct str *item, struct err *e)
{
    struct arena *a = ctx;
    struct str text =
        STR("{\"output\":[{\"id\":\"fc\"},{\"type\":\"function_call\",\"id\":\"fc_1\","
            "\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"}]}");
    return wire_responses_item(text, id, a, item, e);
}

static void named_items_are_found(void **state)
{
    struct arena *a = arena_new(16 << 20);
    struct str body = STR("{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"x\"},"
                          "{\"type\":\"item_reference\",\"id\":\"fc_1\"},{\"id\":\"fc_1\"}]}");
    struct str none = STR("{\"model\":\"m\",\"input\":[{\"id\":\"fc_2\"}]}");
    struct str out = STR_NONE;
    struct buf got = BUF_INIT(1 << 20);
    struct err e = {0};
    assert_true(wire_responses_names_items(decode(body.p, a)));
    assert_int_equal(wire_responses_resolve(body, find, a, a, &out, &e), 0);
    struct gen_req *r = decode(out.p, a);
    assert_false(wire_responses_names_items(r));
    canon_req(r, &got);
    assert_string_equal(got.p, "request model=\"m\"\n user\n  text text=\"x\"\n assistant\n"
                               "  tool_call id=\"c\" name=\"f\" args=\"{}\"\n"
                               "  tool_call id=\"c\" name=\"f\" args=\"{}\"\n");
    assert_int_equal(wire_responses_resolve(none, find, a, a, &out, &e), ERR_NOT_FOUND);
    assert_string_equal(e.msg, "Item with id 'fc_2' not found.");
    buf_done(&got);
    arena_free(a);
}

/* An answer as it was kept is what the next request says happened. */
static void what_is_kept_is_read_again(void **state)
{
    for (int i = 0; i < 200; i++) {
        struct arena *a = arena_new(16 << 20);
        struct script s = {.a = a};
        struct gen_req r, *next = decode("{\"model\":\"m\",\"input\":\"x\"}", a);
        struct buf bytes = BUF_INIT(1 << 20), whole = BUF_INIT(1 << 20), all = BUF_INIT(1 << 20);
        struct err e = {0};
        size_t calls = 0, want = 0, texts = 0;
        rnd_answer(&s, &r, i);
        write_all(&r, &s, &bytes, &whole);
        for (size_t k = 0; k < s.n; k++) {
            want += s.ev[k].type == GEN_EV_TOOL_BEGIN;
            if (s.ev[k].type == GEN_EV_TEXT)
                buf_str_add(&all, s.ev[k].text);
        }
        struct str kept = buf_str(&whole);
        if (wire_responses_prepend(next, &kept, 1, &e))
            fail_msg("answer %d: %s", i, e.msg);
        for (size_t m = 0; m + 1 < next->nmsgs; m++) {
            assert_int_equal(next->msgs[m].role, GEN_ASSISTANT);
            for (size_t k = 0; k < next->msgs[m].nparts; k++) {
                const struct gen_part *p = &next->msgs[m].parts[k];
                calls += p->type == GEN_PART_TOOL_CALL;
                if (p->type != GEN_PART_TEXT)
                    continue;
                assert_true(texts + p->text.n <= all.n);
                assert_memory_equal(all.p ? all.p + texts : "", p->text.p, p->text.n);
                texts += p->text.n;
            }
        }
        assert_int_equal(calls, want);
        assert_int_equal(texts, all.n);
        buf_done(&bytes);
        buf_done(&whole);
        buf_done(&all);
        arena_free(a);
    }
}

/* Every byte of memory that an answer can hold is bounded, and a large event is no error. */
static void large_events_are_read(void **state)
{
    struct buf b = BUF_INIT(64 << 20);
    struct canon_sink got;
    struct err e = {0};
    buf_puts(&b, "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\","
                 "\"instructions\":\"");
    memset(buf_grow(&b, 3 << 20), 'x', 3 << 20);
    buf_puts(&b, "\",\"output\":[" MESSAGE("hi") "]}}\n\n");
    canon_sink_init(&got, true);
    assert_int_equal(read_cut(true, buf_str(&b), 9, &got, &e), 0);
    assert_string_equal(got.text.p, "start\ntext text=\"hi\"\ndone stop\n");
    canon_sink_done(&got);
    buf_clear(&b);
    memset(buf_grow(&b, 20 << 20), 'x', 20 << 20);
    canon_sink_init(&got, true);
    assert_int_equal(read_cut(true, buf_str(&b), 9, &got, &e), ERR_UPSTREAM);
    canon_sink_done(&got);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(what_has_no_place_is_refused),
        cmocka_unit_test(another_dialects_request_changes_its_form),
        cmocka_unit_test(a_blob_of_openais_stays_away_from_anthropic),
        cmocka_unit_test(answers),
        cmocka_unit_test(no_prefix_is_whole),
        cmocka_unit_test(little_streamed_is_enough),
        cmocka_unit_test(failures_have_their_code),
        cmocka_unit_test(a_conversation_is_put_together),
        cmocka_unit_test(named_items_are_found),
        cmocka_unit_test(what_is_kept_is_read_again),
        cmocka_unit_test(large_events_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
