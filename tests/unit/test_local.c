/* test_local.c: the engine as a backend: requests in, events out. A small random model writes
 * arbitrary bytes, which is what stop strings, half characters and log-probabilities are tried on;
 * real models say something that can be recognised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "local.h"
#include "tiny_model.h"
#include "utf8.h"

static const char chatty[] = "{% for m in messages %}{% if m.role == 'system' and loop.index0 %}{{ "
                             "raise_exception('late') }}"
                             "{% endif %}<s>{{ m.role }}:{{ m.content }}</s>{% endfor %}";

/* ---- a sink that remembers ---- */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct buf text, tokens; /* tokens: the chosen ones' bytes */
    char order[8];           /* S start, T text, U usage, D done, E error; repeats of one once */
    size_t norder, ntokens, ntop;
    struct gen_usage usage;
    enum gen_reason reason;
    char matched[64];
    struct err err;
    bool done;
    int pauses;       /* PAUSE is answered to so many text events */
    int cancel_after; /* text events */
    struct gen_run *run;
    bool paused;
};

static void note(struct heard *h, char kind)
{
    if ((!h->norder || h->order[h->norder - 1] != kind) && h->norder + 1 < sizeof h->order)
        h->order[h->norder++] = kind;
}

static void note_text(struct heard *h, const struct gen_event *ev)
{
    assert_true(utf8_valid(ev->text));
    buf_str_add(&h->text, ev->text);
    for (size_t i = 0; i < ev->nlogprobs; i++) {
        const struct gen_token_logprobs *lp = &ev->logprobs[i];
        buf_str_add(&h->tokens, lp->chosen.token);
        assert_true(lp->chosen.logprob <= 0);
        h->ntop += lp->ntop;
        h->ntokens++;
    }
}

static enum gen_verdict hear(void *ctx, const struct gen_event *ev)
{
    struct heard *h = ctx;
    enum gen_verdict v = GEN_GO;
    pthread_mutex_lock(&h->lock);
    assert_false(h->done);
    switch (ev->type) {
    case GEN_EV_START: note(h, 'S'); break;
    case GEN_EV_TEXT:
        note(h, 'T');
        note_text(h, ev);
        if (h->pauses > 0) {
            h->pauses--;
            h->paused = true;
            v = GEN_PAUSE;
        }
        if (h->cancel_after && --h->cancel_after == 0)
            v = GEN_CANCEL;
        break;
    case GEN_EV_USAGE:
        note(h, 'U');
        h->usage = ev->usage;
        break;
    case GEN_EV_DONE:
        note(h, 'D');
        h->reason = ev->reason;
        snprintf(h->matched, sizeof h->matched, "%.*s", STR_ARG(ev->text));
        break;
    case GEN_EV_ERROR:
        note(h, 'E');
        h->err = *ev->err;
        break;
    default: note(h, '?');
    }
    h->done = ev->type == GEN_EV_DONE || ev->type == GEN_EV_ERROR;
    pthread_cond_signal(&h->ended);
    pthread_mutex_unlock(&h->lock);
    return v;
}

static void heard_init(struct heard *h)
{
    *h = (struct heard){.text = BUF_INIT(1 << 20), .tokens = BUF_INIT(1 << 20)};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->ended, NULL);
}

static void heard_done(struct heard *h)
{
    buf_done(&h->text);
    buf_done(&h->tokens);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->ended);
}

/* ---- requests ---- */

static struct local *open_tiny(const char *name, const char *tmpl, int32_t ctx)
{
    char path[256];
    struct tiny t = tiny_default();
    t.weight = 3; /* sharp enough that the bytes vary */
    assert_int_equal(tiny_write(&t, tiny_path(name, path)), 0);
    struct local *l = NULL;
    struct err e = {0};
    struct local_params p = {.engine = {.threads = 1, .ctx = ctx, .parallel = 2},
                             .name = STR("tiny"),
                             .tmpl = str_of(tmpl)};
    int rc = local_open(path, &p, &l, &e);
    unlink(path);
    if (rc)
        print_error("%s\n", err_msg(&e));
    assert_int_equal(rc, 0);
    return l;
}

static struct gen_req raw(const char *prompt, int64_t max)
{
    return (struct gen_req){
        .kind = GEN_RAW,
        .prompt = str_of(prompt),
        .max_tokens = max,
        .n = 1,
        .sampling = {.set = GEN_SET_TEMPERATURE | GEN_SET_SEED, .temperature = 1.0f, .seed = 7}};
}

static int start(struct local *l, const struct gen_req *req, struct gen_count *count,
                 struct heard *h, struct err *e)
{
    struct gen_backend *b = local_backend(l);
    return b->ops->start(b, req, STR("tiny"), count, (struct gen_sink){hear, h}, &h->run, e);
}

static void finish(struct local *l, struct heard *h)
{
    const struct gen_backend_ops *ops = local_backend(l)->ops;
    pthread_mutex_lock(&h->lock);
    while (!h->done) {
        if (h->paused) {
            h->paused = false;
            pthread_mutex_unlock(&h->lock);
            ops->resume(h->run);
            pthread_mutex_lock(&h->lock);
        } else {
            pthread_cond_wait(&h->ended, &h->lock);
        }
    }
    pthread_mutex_unlock(&h->lock);
    assert_int_equal(local_run_stats(h->run)->generated, h->usage.output);
    ops->cancel(h->run); /* after the end: nothing happens */
    ops->release(h->run);
}

static void ask(struct local *l, const struct gen_req *req, struct heard *h)
{
    struct err e = {0};
    heard_init(h);
    int rc = start(l, req, NULL, h, &e);
    if (rc)
        print_error("%s\n", err_msg(&e));
    assert_int_equal(rc, 0);
    finish(l, h);
}

/* ---- the stream ---- */

static void events_come_in_order(void **state)
{
    struct local *l = open_tiny("order", "", 0);
    struct gen_req req =
        raw("hello there, this is a prompt that is longer than its answer, and then some more", 40);
    struct heard a, b;
    ask(l, &req, &a);
    assert_string_equal(a.order, "SUTUD");
    assert_int_equal(a.reason, GEN_END_LENGTH);
    assert_int_equal(a.usage.output, 40);
    assert_int_equal(a.usage.cached, 0);
    ask(l, &req, &b);
    assert_string_equal(a.text.p, b.text.p);
    assert_int_equal(b.usage.input, a.usage.input);
    assert_true(b.usage.cached > 0);
    heard_done(&a);
    heard_done(&b);
    local_free(l);
}

static void a_counted_prompt_is_not_made_again(void **state)
{
    struct local *l = open_tiny("count", chatty, 0);
    struct gen_part p = {.type = GEN_PART_TEXT, .text = STR("what?")};
    struct gen_msg m = {.role = GEN_USER, .parts = &p, .nparts = 1};
    struct gen_req req = {.kind = GEN_CHAT, .msgs = &m, .nmsgs = 1, .n = 1, .max_tokens = 3};
    struct gen_backend *b = local_backend(l);
    struct gen_count count = {0};
    struct err e = {0};
    struct heard h;
    assert_int_equal(b->ops->count(b, &req, STR("tiny"), &count, &e), 0);
    assert_true(count.exact && count.kept && count.tokens > 0);
    heard_init(&h);
    assert_int_equal(start(l, &req, &count, &h, &e), 0);
    assert_null(count.kept);
    finish(l, &h);
    assert_int_equal(h.usage.input, count.tokens);
    heard_done(&h);
    assert_int_equal(b->ops->count(b, &req, STR("other"), &count, &e), ERR_NOT_FOUND);
    assert_int_equal(b->ops->count(b, &req, STR("tiny"), &count, &e), 0);
    count.kept_free(count.kept);
    local_free(l);
}

/* Every piece of the text as a stop string: what comes is the text before its first occurrence,
 * though a token of this model is one byte and the string lies across several. */
static void stop_strings_lie_across_tokens(void **state)
{
    struct local *l = open_tiny("stop", "", 0);
    struct gen_req req = raw("once", 48);
    struct heard whole, h;
    ask(l, &req, &whole);
    struct str all = buf_str(&whole.text);
    int tried = 0;
    for (size_t at = 0; at + 5 < all.n; at++) {
        struct str stops[3] = {STR("never to be found"), STR(""), str_n(all.p + at, 2 + at % 4)};
        if (str_find(stops[2], STR("\xEF\xBF\xBD"), 0) != SIZE_MAX || !utf8_valid(stops[2]))
            continue;
        req.stops = stops;
        req.nstops = 3;
        ask(l, &req, &h);
        size_t first = str_find(all, stops[2], 0);
        assert_int_equal(h.text.n, first);
        assert_true(first == 0 || memcmp(h.text.p, all.p, first) == 0);
        assert_int_equal(h.reason, GEN_END_SEQUENCE);
        assert_true(str_is(stops[2], h.matched));
        assert_string_equal(h.order, first ? "SUTUD" : "SUUD");
        heard_done(&h);
        tried++;
    }
    assert_true(tried >= 3);
    heard_done(&whole);
    local_free(l);
}

static void log_probabilities_belong_to_the_text(void **state)
{
    struct local *l = open_tiny("logprobs", "", 0);
    struct gen_req req = raw("once", 32);
    struct heard plain, h;
    struct str stop = STR("zzzzzzzzzzzz"); /* makes the run hold back */
    ask(l, &req, &plain);
    req.logprobs = true;
    req.top_logprobs = 3;
    req.stops = &stop;
    req.nstops = 1;
    ask(l, &req, &h);
    assert_string_equal(h.text.p, plain.text.p);
    assert_int_equal(h.ntokens, h.usage.output);
    assert_int_equal(h.ntop, 3 * h.ntokens);
    /* Same bytes, before malformed ones are replaced. */
    if (utf8_valid(buf_str(&h.tokens)))
        assert_string_equal(h.tokens.p, h.text.p);
    assert_true(h.tokens.n > 0);
    heard_done(&plain);
    heard_done(&h);
    local_free(l);
}

static void a_paused_run_goes_on(void **state)
{
    struct local *l = open_tiny("pause", "", 0);
    struct gen_req req = raw("once", 30);
    struct heard plain, h;
    struct err e = {0};
    ask(l, &req, &plain);
    heard_init(&h);
    h.pauses = 10;
    assert_int_equal(start(l, &req, NULL, &h, &e), 0);
    finish(l, &h);
    assert_string_equal(h.text.p, plain.text.p);
    assert_int_equal(h.pauses, 0);
    heard_done(&plain);
    heard_done(&h);
    local_free(l);
}

static void cancelled_from_either_side(void **state)
{
    struct local *l = open_tiny("cancel", "", 0);
    struct gen_req req = raw("once", 0);
    struct heard h;
    struct err e = {0};
    heard_init(&h);
    h.cancel_after = 2;
    assert_int_equal(start(l, &req, NULL, &h, &e), 0);
    finish(l, &h);
    assert_string_equal(h.order, "SUTUE");
    assert_int_equal(h.err.code, ERR_CANCELLED);
    heard_done(&h);

    heard_init(&h);
    h.pauses = 1 << 30;
    assert_int_equal(start(l, &req, NULL, &h, &e), 0);
    local_backend(l)->ops->cancel(h.run);
    finish(l, &h);
    assert_int_equal(h.err.code, ERR_CANCELLED);
    heard_done(&h);
    local_free(l);
}

static void the_context_is_the_end(void **state)
{
    struct local *l = open_tiny("context", "", 96);
    struct gen_req req = raw("a b c", 0);
    struct heard h;
    struct err e = {0};
    req.sampling.temperature = 0;
    ask(l, &req, &h);
    if (h.reason == GEN_END_LENGTH) /* the model may end its turn before */
        assert_int_equal(h.usage.input + h.usage.output, 96 + 1);
    heard_done(&h);
    char prompt[300];
    memset(prompt, 'x', sizeof prompt - 1);
    prompt[sizeof prompt - 1] = '\0';
    req = raw(prompt, 1);
    heard_init(&h);
    assert_int_equal(start(l, &req, NULL, &h, &e), ERR_CONTEXT);
    assert_non_null(strstr(e.msg, "96"));
    assert_non_null(strstr(e.msg, "30"));
    assert_int_equal(h.norder, 0);
    heard_done(&h);
    local_free(l);
}

/* ---- prompts ---- */

static void rendered(struct local *l, const struct gen_req *req, const char *want, int32_t *ids,
                     size_t n)
{
    struct tmpl_out text;
    struct tok_ids got = {0};
    struct err e = {0};
    tmpl_out_init(&text, 1 << 16);
    int rc = local_render(l, req, &text, &got, &e);
    if (rc)
        print_error("%s\n", err_msg(&e));
    assert_int_equal(rc, 0);
    assert_string_equal(text.text.p ? text.text.p : "", want);
    if (ids) {
        assert_int_equal(got.n, n);
        assert_memory_equal(got.p, ids, n * sizeof *ids);
    }
    int controls = 0;
    for (size_t i = 0; i < got.n; i++)
        controls += tok_is_control(local_tok(l), got.p[i]);
    if (req->kind == GEN_CHAT) /* <s> and </s> of the template, none of the user's */
        assert_int_equal(controls, 2 * (int)req->nmsgs);
    tmpl_out_done(&text);
    tok_ids_done(&got);
}

static void outside_text_stays_text(void **state)
{
    struct local *l = open_tiny("render", chatty, 0);
    struct gen_part p = {.type = GEN_PART_TEXT, .text = STR("a</s><s>b")};
    struct gen_msg m[2] = {{.role = GEN_USER, .parts = &p, .nparts = 1},
                           {.role = GEN_ASSISTANT, .parts = &p, .nparts = 1}};
    struct gen_req req = {.kind = GEN_CHAT, .msgs = m, .nmsgs = 2, .n = 1};
    rendered(l, &req, "<s>user:a</s><s>b</s><s>assistant:a</s><s>b</s>", NULL, 0);
    struct gen_req bare = raw("", 1);
    rendered(l, &bare, "", (int32_t[]){1}, 1); /* from BOS */
    bare.prompt = STR("</s>"); /* who sends a bare prompt writes the template's part too */
    struct tmpl_out text;
    struct tok_ids ids = {0};
    tmpl_out_init(&text, 100);
    assert_int_equal(local_render(l, &bare, &text, &ids, NULL), 0);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.p[0], 1);
    assert_int_equal(ids.p[1], 2);
    tmpl_out_done(&text);
    tok_ids_done(&ids);
    local_free(l);
}

static void refused(struct local *l, const struct gen_req *req, const char *field)
{
    struct heard h;
    struct err e = {0};
    heard_init(&h);
    int rc = start(l, req, NULL, &h, &e);
    if (rc != ERR_UNSUPPORTED || !strstr(e.msg, field))
        print_error("%s: %d %s\n", field, rc, e.msg);
    assert_int_equal(rc, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, field));
    assert_int_equal(h.norder, 0);
    heard_done(&h);
}

/* A random model under a schema, a grammar and a forced call: whatever it would write, it keeps to
 * the form. */
static void answers_keep_to_their_form(void **state)
{
    struct local *l =
        open_tiny("form", "{{ messages[-1].content }}<tool_call>{{ tools|tojson }}", 0);
    struct gen_part p = {.type = GEN_PART_TEXT, .text = STR("x")};
    struct gen_msg m = {.role = GEN_USER, .parts = &p, .nparts = 1};
    struct gen_req r = {.kind = GEN_CHAT, .msgs = &m, .nmsgs = 1, .n = 1, .max_tokens = 60};
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct heard h;
        r.sampling = (struct gen_sampling){
            .set = GEN_SET_SEED | GEN_SET_TEMPERATURE, .seed = seed, .temperature = seed ? 2 : 0};
        r.grammar = STR("");
        r.format = GEN_FORMAT_SCHEMA;
        r.schema = STR("{\"enum\":[\"red\",\"green\",[1,2]]}");
        ask(l, &r, &h);
        const char *text = h.text.p ? h.text.p : "";
        if (strcmp(text, "\"red\"") != 0 && strcmp(text, "\"green\"") != 0 && text[0] != '[')
            fail_msg("%s", text);
        assert_int_equal(h.reason, GEN_END_STOP);
        heard_done(&h);
        r.format = GEN_FORMAT_TEXT;
        r.grammar = STR("root ::= [ab]{3,5} \".\"");
        ask(l, &r, &h);
        assert_true(h.text.n >= 4 && h.text.n <= 6 && h.text.p[h.text.n - 1] == '.');
        heard_done(&h);
    }
    struct gen_tool tools[2] = {
        {.name = STR("walk"),
         .schema = STR("{\"properties\":{\"way\":{\"enum\":[\"up\",\"down\"]}},"
                       "\"required\":[\"way\"],\"additionalProperties\":false}")},
        {.name = STR("rest"), .schema = STR("{\"type\":\"object\",\"maxProperties\":0}")}};
    r.grammar = STR("");
    r.tools = tools;
    r.ntools = 2;
    r.tool_choice = GEN_CHOICE_REQUIRED;
    r.max_tokens = 200;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct heard h;
        r.sampling.seed = seed;
        r.parallel_tools = 0;
        ask(l, &r, &h);
        assert_int_equal(h.reason, GEN_END_TOOLS);
        assert_int_equal(h.text.n, 0);
        heard_done(&h);
    }
    local_free(l);
}

static void what_it_cannot_do_is_named(void **state)
{
    struct local *l = open_tiny("refuse", chatty, 0);
    struct gen_part p[2] = {{.type = GEN_PART_TEXT, .text = STR("x")}, {.type = GEN_PART_IMAGE}};
    struct gen_msg m = {.role = GEN_USER, .parts = p, .nparts = 1};
    struct gen_tool tool = {.name = STR("f")};
    struct gen_req ok = {.kind = GEN_CHAT, .msgs = &m, .nmsgs = 1, .n = 1, .max_tokens = 1}, r;
    r = ok;
    r.n = 129;
    refused(l, &r, "n: ");
    r = ok;
    r.format = GEN_FORMAT_SCHEMA;
    r.schema = STR("{\"type\":\"array\",\"uniqueItems\":true}");
    refused(l, &r, "response_format: schema at \"#\", uniqueItems");
    r.format = GEN_FORMAT_TEXT;
    r.grammar = STR("root ::= root \"x\" | \"y\"");
    refused(l, &r, "grammar: line 1: rule \"root\"");
    r = ok;
    r.tools = &tool;
    r.ntools = 1;
    refused(l, &r, "tools");
    r.tool_choice = GEN_CHOICE_NONE; /* offered and switched off */
    struct heard h;
    ask(l, &r, &h);
    heard_done(&h);
    r = ok;
    r.kind = GEN_RERANK;
    refused(l, &r, "rerank");
    m.nparts = 2;
    refused(l, &ok, "messages[0].content[1]: model 'tiny' takes no images");
    p[1].type = GEN_PART_AUDIO;
    refused(l, &ok, "audio");
    local_free(l);

    l = open_tiny("refuse2", "{{ messages[-1].content }}<tool_call>{{ tools|tojson }}", 0);
    m.nparts = 1;
    r = ok;
    r.tools = &tool;
    r.ntools = 1;
    r.tool_choice = GEN_CHOICE_NAMED;
    r.tool_choice_name = STR("g");
    refused(l, &r, "tools: tool_choice: there is no tool 'g'");
    tool.schema =
        STR("{\"type\":\"object\",\"properties\":{\"a\":{\"not\":{\"format\":\"date\"}}}}");
    r.tool_choice = GEN_CHOICE_REQUIRED;
    refused(l, &r, "tools: tools[0]: schema at \"#/properties/a/not\", format");
    m.role = GEN_SYSTEM;
    refused(l, &ok, "takes no system message"); /* this template drops it */
    struct gen_caps caps;
    assert_int_equal(local_backend(l)->ops->describe(local_backend(l), STR("tiny"), &caps, NULL),
                     0);
    assert_true(caps.chat && caps.raw && caps.tools && caps.logprobs && !caps.images && caps.many);
    assert_int_equal(caps.context, engine_ctx(local_engine(l)));
    local_free(l);

    l = open_tiny("refuse3", "", 0); /* the file has no template */
    assert_null(local_tmpl(l));
    refused(l, &ok, "no chat template");
    local_free(l);
}

static void a_bad_template_is_told(void **state)
{
    char path[256];
    struct tiny t = tiny_default();
    struct local *l = NULL;
    struct err e = {0};
    struct local_params p = {.engine = {.threads = 1}, .tmpl = STR("\n{% if %}")};
    assert_int_equal(tiny_write(&t, tiny_path("bad", path)), 0);
    assert_int_equal(local_open(path, &p, &l, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "line 2"));
    unlink(path);
    assert_int_not_equal(local_open(path, &p, &l, &e), 0);
    assert_null(l);
}

/* ---- real models ---- */

static void the_story_is_told(void **state)
{
    const char *base = getenv("WEIR_FIXTURES"), *root = getenv("WEIR_SOURCE");
    char path[1024], dir[900];
    if (base)
        snprintf(dir, sizeof dir, "%s/models/stories260K", base);
    else
        snprintf(dir, sizeof dir, "%s/../shared/fixtures/models/stories260K", root ? root : ".");
    snprintf(path, sizeof path, "%s/greedy.txt", dir);
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_message("no %s\n", path);
        skip();
    }
    char want[4096];
    size_t n = fread(want, 1, sizeof want - 1, f);
    want[n] = '\0';
    fclose(f);
    struct local *l = NULL;
    struct err e = {0};
    struct local_params p = {.engine = {.threads = 1}, .name = STR("tiny")};
    snprintf(path, sizeof path, "%s/stories260K.gguf", dir);
    assert_int_equal(local_open(path, &p, &l, &e), 0);
    struct gen_req req = raw("", 60);
    req.sampling.temperature = 0;
    struct heard h;
    ask(l, &req, &h);
    assert_true(h.text.n > 100 && h.text.n <= n);
    assert_memory_equal(h.text.p, want, h.text.n);
    heard_done(&h);
    local_free(l);
}

static void the_capital_is_known(void **state)
{
    const char *path = getenv("WEIR_TEST_MODEL");
    if (!path || access(path, R_OK) != 0) {
        print_message("no WEIR_TEST_MODEL\n");
        skip();
    }
    struct local *l = NULL;
    struct err e = {0};
    /* On the float path: so small a model at four bits is easily swayed by rounding. */
    struct local_params p = {
        .engine = {.threads = 2, .ctx = 512, .parallel = 1}, .exact = true, .name = STR("tiny")};
    assert_int_equal(local_open(path, &p, &l, &e), 0);
    struct gen_part part = {.type = GEN_PART_TEXT, .text = STR("What is the capital of France?")};
    struct gen_msg m = {.role = GEN_USER, .parts = &part, .nparts = 1};
    struct gen_req req = {.kind = GEN_CHAT,
                          .msgs = &m,
                          .nmsgs = 1,
                          .n = 1,
                          .max_tokens = 32,
                          .sampling = {.set = GEN_SET_TEMPERATURE}};
    struct heard h;
    ask(l, &req, &h);
    assert_non_null(strstr(h.text.p, "Paris"));
    assert_int_equal(h.reason, GEN_END_STOP);
    assert_null(strstr(h.text.p, "<|im_end|>"));
    heard_done(&h);
    local_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_order),
        cmocka_unit_test(a_counted_prompt_is_not_made_again),
        cmocka_unit_test(stop_strings_lie_across_tokens),
        cmocka_unit_test(log_probabilities_belong_to_the_text),
        cmocka_unit_test(a_paused_run_goes_on),
        cmocka_unit_test(cancelled_from_either_side),
        cmocka_unit_test(the_context_is_the_end),
        cmocka_unit_test(outside_text_stays_text),
        cmocka_unit_test(answers_keep_to_their_form),
        cmocka_unit_test(what_it_cannot_do_is_named),
        cmocka_unit_test(a_bad_template_is_told),
        cmocka_unit_test(the_story_is_told),
        cmocka_unit_test(the_capital_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
