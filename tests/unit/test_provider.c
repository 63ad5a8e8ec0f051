/* test_provider.c: the table of providers, and each row as a backend against the scripted provider
 * (tests/tools/scripted_provider.py) over real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "provider.h"

static char home[] = "/tmp/weir-provider-XXXXXX";
static char base[64], script_log[128];
static int port;
static pid_t script_pid;
static struct net_loop *loop;
static struct egress *gate;
static struct provider_table *table;

/* ---- the scripted provider ---- */

static pid_t spawn(int want_port, const char *log, int *got_port)
{
    char script[1024], number[16], line[64] = "";
    int fds[2];
    snprintf(script, sizeof script, "%s/tests/tools/scripted_provider.py", getenv("WEIR_SOURCE"));
    snprintf(number, sizeof number, "%d", want_port);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        close(fds[0]);
        execlp("python3", "python3", script, "--port", number, "--log", log, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    FILE *f = fdopen(fds[0], "r");
    *got_port = f && fgets(line, sizeof line, f) ? atoi(line) : 0;
    if (f)
        fclose(f);
    return pid;
}

static void unspawn(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void read_file(const char *path, struct buf *b)
{
    char chunk[4096];
    size_t n;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(b, chunk, n);
    fclose(f);
}

static size_t occurrences(const char *path, const char *what)
{
    struct buf b = BUF_INIT(16 << 20);
    size_t n = 0, at = 0;
    read_file(path, &b);
    while ((at = str_find(buf_str(&b), str_of(what), at)) != SIZE_MAX) {
        n++;
        at++;
    }
    buf_done(&b);
    return n;
}

/* ---- the house ---- */

static const char *const *fake_env;

static const char *env(const char *name)
{
    for (size_t i = 0; fake_env && fake_env[i]; i += 2) {
        if (!strcmp(fake_env[i], name))
            return fake_env[i + 1];
    }
    return NULL;
}

static void make_table(const char *const *pairs)
{
    struct provider_params p = {.egress = gate,
                                .loop = loop,
                                .env = env,
                                .connect_ms = 2000,
                                .first_ms = 500,
                                .whole_ms = 4000,
                                .idle_ms = 400};
    struct err e = {0};
    fake_env = pairs;
    provider_table_free(table);
    table = NULL;
    if (provider_table_new(&p, &table, &e))
        fail_msg("%s", e.msg);
}

static struct provider *add_row(const char *name, const char *dialect, const char *zone)
{
    struct provider_kv kv[] = {
        {"url", base}, {"dialect", dialect}, {"zone", zone}, {"key_env", "TEST_KEY"}};
    struct err e = {0};
    if (provider_add(table, name, kv, 4, &e))
        fail_msg("%s", e.msg);
    return provider_find(table, str_of(name));
}

static const char *const keyed[] = {"TEST_KEY", "sk-secret-0123456789abcdef", NULL, NULL};

static int set_up(void **state)
{
    struct err e = {0};
    if (!getenv("WEIR_SOURCE") || !mkdtemp(home))
        return -1;
    snprintf(script_log, sizeof script_log, "%s/script.jsonl", home);
    script_pid = spawn(0, script_log, &port);
    if (!port)
        return -1;
    snprintf(base, sizeof base, "http://127.0.0.1:%d", port);
    if (net_loop_new(&loop, &e))
        return -1;
    struct egress_params p = {.loop = loop, .home = home};
    return egress_new(&p, &gate, &e);
}

static int tear_down(void **state)
{
    char cmd[256];
    provider_table_free(table);
    egress_free(gate);
    net_loop_free(loop);
    unspawn(script_pid);
    snprintf(cmd, sizeof cmd, "rm -rf %s", home);
    return system(cmd);
}

/* ---- one call ---- */

struct call {
    struct buf text, reasoning, args;
    char model[128];
    int starts, tools, ends, events;
    struct gen_usage usage;
    bool has_usage;
    enum gen_reason reason;
    struct err err;
    enum gen_verdict answer_first_text, answer_text;
    struct gen_run *run;
    struct gen_backend *backend;
    struct net_timer *timer;
    int resumed_at; /* events when the pause was lifted */
};

static void stop_loop(void *ctx)
{
    net_loop_stop(loop);
}

static enum gen_verdict on_event(void *ctx, const struct gen_event *ev)
{
    struct call *c = ctx;
    assert_int_equal(c->ends, 0);
    c->events++;
    switch (ev->type) {
    case GEN_EV_START:
        c->starts++;
        snprintf(c->model, sizeof c->model, "%.*s", STR_ARG(ev->text));
        break;
    case GEN_EV_TEXT: {
        bool first = c->text.n == 0;
        buf_str_add(&c->text, ev->text);
        return first && c->answer_first_text ? c->answer_first_text : c->answer_text;
    }
    case GEN_EV_REASONING: buf_str_add(&c->reasoning, ev->text); break;
    case GEN_EV_TOOL_BEGIN: c->tools++; break;
    case GEN_EV_TOOL_ARGS: buf_str_add(&c->args, ev->text); break;
    case GEN_EV_USAGE:
        c->usage = ev->usage;
        c->has_usage = true;
        break;
    case GEN_EV_DONE:
        c->ends++;
        c->reason = ev->reason;
        net_post(loop, stop_loop, NULL);
        break;
    case GEN_EV_ERROR:
        c->ends++;
        c->err = *ev->err;
        net_post(loop, stop_loop, NULL);
        break;
    default: break;
    }
    return GEN_GO;
}

static void call_init(struct call *c)
{
    *c = (struct call){0};
    buf_init(&c->text, 8 << 20);
    buf_init(&c->reasoning, 1 << 16);
    buf_init(&c->args, 1 << 16);
}

static void call_done(struct call *c)
{
    if (c->run)
        c->backend->ops->release(c->run);
    net_timer_free(c->timer);
    buf_done(&c->text);
    buf_done(&c->reasoning);
    buf_done(&c->args);
}

static struct gen_part hello = {.type = GEN_PART_TEXT, .text = {"Say it", 6}};
static struct gen_msg user = {.role = GEN_USER, .parts = &hello, .nparts = 1};
static struct gen_req request(bool stream)
{
    return (struct gen_req){.kind = GEN_CHAT,
                            .msgs = &user,
                            .nmsgs = 1,
                            .n = 1,
                            .parallel_tools = -1,
                            .max_tokens = 100,
                            .stream = stream,
                            .zone = GEN_CLOUD};
}

static int begin(struct call *c, struct provider *p, const struct gen_req *req, const char *model,
                 struct err *e)
{
    struct gen_sink sink = {.event = on_event, .ctx = c};
    c->backend = provider_backend(p);
    return c->backend->ops->start(c->backend, req, str_of(model), NULL, sink, &c->run, e);
}

static void play(struct call *c, struct provider *p, bool stream, const char *model)
{
    struct gen_req req = request(stream);
    struct err e = {0};
    call_init(c);
    if (begin(c, p, &req, model, &e))
        fail_msg("%s: %s", model, e.msg);
    net_loop_run(loop);
    assert_int_equal(c->ends, 1);
}

static const char *const dialects[] = {"openai", "anthropic", "ollama"};

/* ---- answers ---- */

static void answers_arrive(void **state)
{
    for (int d = 0; d < 3; d++) {
        make_table(keyed);
        struct provider *p = add_row("fake", dialects[d], "site");
        for (int stream = 0; stream < 2; stream++) {
            struct call c;
            play(&c, p, stream, "ok");
            assert_string_equal(c.text.p, "Hello from the script.");
            assert_int_equal(c.err.code, 0);
            assert_string_equal(c.model, "script-ok");
            assert_int_equal(c.reason, GEN_END_STOP);
            assert_int_equal(c.usage.input, 11);
            assert_int_equal(c.usage.cached, d == 2 ? 0 : 3); /* Ollama does not say */
            assert_int_equal(c.usage.output, 5);
            assert_false(c.usage.estimated);
            call_done(&c);

            play(&c, p, stream, "tools");
            assert_int_equal(c.tools, 2);
            assert_non_null(strstr(c.args.p, "rich\"}{\"zone\":\"CET\"}"));
            assert_int_equal(c.reason, GEN_END_TOOLS);
            call_done(&c);

            play(&c, p, stream, "reasoning");
            assert_string_equal(c.reasoning.p, "Let me think.");
            call_done(&c);

            play(&c, p, stream, "echo");
            assert_string_equal(c.text.p, "Say it");
            call_done(&c);
        }
        struct provider_facts f;
        provider_facts(p, &f);
        assert_true(f.usable && f.last_ok_ms > 0 && f.fails == 0 && f.last_fail_ms == 0);
    }
}

static void what_a_provider_leaves_out_is_filled_in(void **state)
{
    struct call c;
    make_table(keyed);
    struct provider *p = add_row("fake", "openai", "site");
    play(&c, p, true, "no-usage");
    assert_true(c.has_usage && c.usage.estimated);
    assert_int_equal(c.usage.output, (int64_t)(c.text.n + 3) / 4);
    call_done(&c);
    play(&c, p, true, "json"); /* one body, though a stream was asked for */
    assert_string_equal(c.text.p, "Hello from the script.");
    call_done(&c);
    play(&c, p, true, "slow"); /* each piece is within the deadline, the whole is not */
    assert_string_equal(c.text.p, "0 1 2 3 4 5 6 7 8 9 ");
    call_done(&c);
    play(&c, p, true, "linger"); /* the end mark is the end, whatever the connection does */
    assert_int_equal(c.err.code, 0);
    assert_string_equal(c.text.p, "Hello from the script.");
    call_done(&c);
}

/* ---- failures ---- */

static void failures_have_their_code(void **state)
{
    static const struct {
        const char *model;
        int code;
    } rows[] = {
        {"401", ERR_AUTH},      {"429", ERR_RATE},          {"500", ERR_UPSTREAM},
        {"503", ERR_OVERLOAD},  {"context", ERR_CONTEXT},   {"cut", ERR_CUT},
        {"stall", ERR_TIMEOUT}, {"silent", ERR_TIMEOUT},    {"error-in-band", 0},
        {"reset", 0},           {"redirect", ERR_UPSTREAM},
    };
    for (int d = 0; d < 3; d++) {
        make_table(keyed);
        struct provider *p = add_row("fake", dialects[d], "site");
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            struct call c;
            play(&c, p, true, rows[i].model);
            if (rows[i].code && c.err.code != rows[i].code)
                fail_msg("%s: %s %s", rows[i].model, err_name(c.err.code), c.err.msg);
            assert_true(c.err.code != 0);
            assert_true(err_http(c.err.code) >= 500 || rows[i].code);
            assert_null(strstr(c.err.msg, "secret"));
            assert_non_null(strstr(c.err.msg, "fake: "));
            call_done(&c);
        }
    }
}

static void health_is_kept(void **state)
{
    struct provider_facts f;
    struct call c;
    make_table(keyed);
    struct provider *p = add_row("fake", "openai", "site");
    int64_t now = clock_wall_ms();
    play(&c, p, true, "429");
    assert_int_equal(c.err.retry_after_s, 7);
    call_done(&c);
    provider_facts(p, &f);
    assert_true(f.limited_until_ms >= now + 7000 && f.limited_until_ms < now + 20000);
    assert_int_equal(f.last_fail_code, ERR_RATE);
    play(&c, p, true, "500");
    call_done(&c);
    play(&c, p, true, "context"); /* the caller's mistake */
    call_done(&c);
    provider_facts(p, &f);
    assert_int_equal(f.fails, 2);
    assert_int_equal(f.last_fail_code, ERR_UPSTREAM);
    play(&c, p, true, "ok");
    call_done(&c);
    provider_facts(p, &f);
    assert_int_equal(f.fails, 0);
    assert_int_equal(f.limited_until_ms, 0);
}

static void nobody_listens(void **state)
{
    struct provider_kv kv[] = {{"url", "http://127.0.0.1:1/v1"}, {"zone", "site"}};
    struct err e = {0};
    struct call c;
    make_table(NULL);
    assert_int_equal(provider_add(table, "gone", kv, 2, &e), 0);
    play(&c, provider_find(table, STR("gone")), true, "ok");
    assert_int_equal(c.err.code, ERR_CONNECT);
    assert_int_equal(c.starts, 0);
    call_done(&c);
}

/* ---- back-pressure and cancelling ---- */

static void resume_later(void *ctx)
{
    struct call *c = ctx;
    c->resumed_at = c->events;
    c->answer_text = GEN_GO;
    c->backend->ops->resume(c->run);
}

static void a_paused_answer_waits(void **state)
{
    struct gen_req req = request(true);
    struct err e = {0};
    struct call c;
    make_table(keyed);
    struct provider *p = add_row("fake", "openai", "site");
    call_init(&c);
    c.answer_text = GEN_PAUSE;
    assert_int_equal(begin(&c, p, &req, "long", &e), 0);
    /* Longer than the deadline between events: a silence of our own making is none. */
    assert_int_equal(net_timer_new(loop, 900, 0, resume_later, &c, &c.timer), 0);
    net_loop_run(loop);
    assert_int_equal(c.err.code, 0);
    assert_int_equal(c.text.n, 1000000);
    assert_true(c.resumed_at > 0 && c.resumed_at < c.events / 2);
    call_done(&c);
}

static void cancel_now(void *ctx)
{
    struct call *c = ctx;
    c->backend->ops->cancel(c->run);
    c->backend->ops->cancel(c->run);
}

static void cancelling_ends_once(void **state)
{
    struct gen_req req = request(true);
    struct err e = {0};
    struct call c;
    make_table(keyed);
    struct provider *p = add_row("fake", "anthropic", "site");
    call_init(&c);
    assert_int_equal(begin(&c, p, &req, "stall", &e), 0);
    assert_int_equal(net_timer_new(loop, 150, 0, cancel_now, &c, &c.timer), 0);
    net_loop_run(loop);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.err.code, ERR_CANCELLED);
    c.backend->ops->cancel(c.run); /* after the end: nothing */
    c.backend->ops->resume(c.run);
    call_done(&c);

    call_init(&c);
    c.answer_first_text = GEN_CANCEL;
    assert_int_equal(begin(&c, p, &req, "long", &e), 0);
    net_loop_run(loop);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.err.code, ERR_CANCELLED);
    assert_true(c.text.n <= 250);
    call_done(&c);
    struct provider_facts f;
    provider_facts(p, &f);
    assert_int_equal(f.fails, 0);
}

/* ---- zones ---- */

static void a_stricter_request_dials_nobody(void **state)
{
    static const char *const zones[] = {"site", "cloud"};
    size_t before = occurrences(script_log, "\n");
    make_table(keyed);
    for (int z = 0; z < 2; z++) {
        struct gen_req req = request(true);
        struct err e = {0};
        struct call c;
        struct provider *p = add_row(zones[z], "openai", zones[z]);
        for (int zone = GEN_DEVICE; zone <= z; zone++) {
            req.zone = (enum gen_zone)zone;
            call_init(&c);
            assert_int_equal(begin(&c, p, &req, "ok", &e), ERR_POLICY);
            assert_int_equal(c.events, 0);
            call_done(&c);
        }
    }
    /* A model that its server runs elsewhere is cloud, wherever the server stands. */
    struct gen_req req = request(true);
    struct err e = {0};
    struct call c;
    req.zone = GEN_SITE;
    call_init(&c);
    assert_int_equal(begin(&c, provider_find(table, STR("site")), &req, "big:cloud", &e),
                     ERR_POLICY);
    call_done(&c);
    usleep(50000);
    assert_int_equal(occurrences(script_log, "\n"), before);
}

/* ---- the environment, keys and addresses ---- */

static void the_environment_is_read_as_the_clients_do(void **state)
{
    char v1[80], slash[80];
    struct provider_info info;
    struct call c;
    snprintf(v1, sizeof v1, "%s/v1/", base);
    snprintf(slash, sizeof slash, "%s/", base);
    const char *const pairs[] = {"OPENAI_API_KEY",
                                 "sk-openai-key-123",
                                 "OPENAI_BASE_URL",
                                 v1,
                                 "OPENAI_ORG_ID",
                                 "org-1",
                                 "ANTHROPIC_API_KEY",
                                 "sk-ant-key-456",
                                 "ANTHROPIC_BASE_URL",
                                 slash,
                                 NULL,
                                 NULL};
    make_table(pairs);
    provider_describe(provider_find(table, STR("openai")), &info);
    assert_int_equal(info.zone, GEN_CLOUD); /* although it stands on loopback */
    assert_string_equal(info.key_source, "OPENAI_API_KEY");
    play(&c, provider_find(table, STR("openai")), true, "ok");
    assert_int_equal(c.err.code, 0);
    call_done(&c);
    play(&c, provider_find(table, STR("anthropic")), true, "ok");
    assert_int_equal(c.err.code, 0);
    call_done(&c);
    assert_true(occurrences(script_log, "\"authorization\": \"Bearer sk-openai-key-123\"") == 1);
    assert_true(occurrences(script_log, "\"openai-organization\": \"org-1\"") == 1);
    assert_true(occurrences(script_log, "\"x-api-key\": \"sk-ant-key-456\"") == 1);
    assert_true(occurrences(script_log, "\"anthropic-version\": \"2023-06-01\"") > 0);
    assert_true(occurrences(script_log, "/v1//") == 0);
    char egress_log[128];
    snprintf(egress_log, sizeof egress_log, "%s/egress.log", home);
    assert_true(occurrences(egress_log, "openai/ok") > 0);
    assert_true(occurrences(egress_log, "sk-") == 0);
}

static void without_a_key_nobody_is_dialled(void **state)
{
    struct gen_req req = request(true);
    struct provider_facts f;
    struct err e = {0};
    struct call c;
    make_table(NULL);
    struct provider *p = provider_find(table, STR("openai"));
    provider_facts(p, &f);
    assert_false(f.usable);
    call_init(&c);
    assert_int_equal(begin(&c, p, &req, "gpt-5", &e), ERR_AUTH);
    call_done(&c);
}

static void a_key_file_is_for_its_owner_alone(void **state)
{
    char path[128];
    struct provider_info info;
    struct err e = {0};
    snprintf(path, sizeof path, "%s/key", home);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("sk-from-file-789\n", f);
    fclose(f);
    struct provider_kv kv[] = {{"url", base}, {"key_file", path}};
    make_table(NULL);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(provider_add(table, "filed", kv, 2, &e), ERR_POLICY);
    assert_non_null(strstr(e.msg, path));
    assert_null(strstr(e.msg, "sk-from"));
    assert_null(provider_find(table, STR("filed")));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(provider_add(table, "filed", kv, 2, &e), 0);
    provider_describe(provider_find(table, STR("filed")), &info);
    assert_true(info.has_key);
    assert_string_equal(info.key_source, path);
}

static void bad_rows_are_refused_by_name(void **state)
{
    static const struct {
        const char *name;
        struct provider_kv kv;
        const char *says;
    } rows[] = {
        {"Bad Name", {"url", "http://127.0.0.1/"}, "a name is"},
        {"x", {"url", "ftp://127.0.0.1/"}, "provider.x: url: "},
        {"x", {"url", "https://me:sk-1@host/"}, "provider.x: url: "},
        {"x", {"zone", "moon"}, "provider.x: zone: "},
        {"x", {"dialect", "latin"}, "provider.x: dialect: "},
        {"x", {"context", "-1"}, "provider.x: context: "},
        {"x", {"caps", "chat, flying"}, "flying"},
        {"x", {"colour", "red"}, "provider.x: colour: "},
        {"x", {"dialect", "openai"}, "url is missing"},
    };
    make_table(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        assert_int_equal(provider_add(table, rows[i].name, &rows[i].kv, 1, &e), ERR_INVAL);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("%s", e.msg);
        assert_int_equal(provider_count(table), 3);
    }
}

/* ---- models ---- */

static void models_are_found_by_name(void **state)
{
    static const char *const pairs[] = {"OPENAI_API_KEY", "sk-1234567890", NULL, NULL};
    struct provider_kv kv[] = {{"models", "tiny, gpt-5"},
                               {"url", "http://10.0.0.1:8000"},
                               {"context", "8192"},
                               {"caps", "chat,json"},
                               {"zone", "site"}};
    struct provider *row;
    struct gen_caps caps;
    struct str model;
    struct err e = {0};
    make_table(pairs);
    assert_int_equal(provider_add(table, "lab", kv, 5, &e), 0);
    assert_int_equal(
        provider_resolve(table, STR("openrouter/google/gemini-2.5-pro"), &row, &model, &e), 0);
    assert_true(str_is(model, "google/gemini-2.5-pro"));
    assert_int_equal(provider_resolve(table, STR("tiny"), &row, &model, &e), 0);
    struct gen_backend *b = provider_backend(row);
    assert_int_equal(b->ops->describe(b, model, &caps, &e), 0);
    assert_true(caps.context == 8192 && caps.json && !caps.tools);
    assert_int_equal(b->ops->describe(b, STR("huge"), &caps, &e), ERR_NOT_FOUND);
    assert_int_equal(provider_resolve(table, STR("gpt-5"), &row, &model, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "lab"));
    assert_int_equal(provider_resolve(table, STR("nowhere"), &row, &model, &e), ERR_NOT_FOUND);
    b = provider_backend(provider_find(table, STR("anthropic")));
    assert_int_equal(b->ops->describe(b, STR("claude-sonnet-4-5-20250929"), &caps, &e), 0);
    assert_true(caps.context == 200000 && caps.reasoning);
    assert_int_equal(b->ops->describe(b, STR("claude-of-tomorrow"), &caps, &e), 0);
    assert_int_equal(caps.context, 0);
}

static void a_count_is_an_estimate(void **state)
{
    struct gen_req req = request(true);
    struct gen_count n;
    struct err e = {0};
    make_table(NULL);
    struct gen_backend *b = provider_backend(provider_at(table, 0));
    assert_int_equal(b->ops->count(b, &req, STR("gpt-5"), &n, &e), 0);
    assert_false(n.exact);
    assert_int_equal(n.tokens, 4 + 4 + 2);
}

static struct err tested;
static int tests_done;

static void on_tested(void *ctx, const struct err *err)
{
    tested = err ? *err : (struct err){0};
    tests_done++;
    net_loop_stop(loop);
}

static void a_test_reads_the_models(void **state)
{
    struct provider_kv kv[] = {{"url", base}, {"zone", "site"}};
    struct provider_info info;
    struct err e = {0};
    make_table(NULL);
    assert_int_equal(provider_add(table, "lab", kv, 2, &e), 0);
    struct provider *p = provider_find(table, STR("lab"));
    assert_int_equal(provider_test(p, on_tested, NULL, &e), 0);
    net_loop_run(loop);
    assert_int_equal(tested.code, 0);
    provider_describe(p, &info);
    assert_int_equal(info.nmodels, 2);
    assert_true(str_is(info.models[0].id, "ok"));
    assert_int_equal(info.models[0].caps.context, 4096);
    assert_int_equal(info.models[0].zone, GEN_SITE);
    assert_int_equal(info.models[1].zone, GEN_CLOUD);
}

static void an_ollama_server_is_called_by_its_own_paths(void **state)
{
    struct provider_kv kv[] = {{"url", base}, {"zone", "site"}, {"dialect", "ollama"}};
    struct provider_info info;
    struct err e = {0};
    struct call c;
    make_table(NULL);
    assert_int_equal(provider_add(table, "lab", kv, 3, &e), 0);
    struct provider *p = provider_find(table, STR("lab"));
    assert_int_equal(provider_test(p, on_tested, NULL, &e), 0);
    net_loop_run(loop);
    assert_int_equal(tested.code, 0);
    provider_describe(p, &info);
    assert_int_equal(info.nmodels, 2);
    assert_true(str_is(info.models[1].id, "big:cloud"));
    /* A bare prompt, and a place to fill in: /api/generate. */
    for (int stream = 0; stream < 2; stream++) {
        for (int infill = 0; infill < 2; infill++) {
            struct gen_req req = request(stream);
            req.kind = infill ? GEN_INFILL : GEN_RAW;
            req.msgs = NULL;
            req.nmsgs = 0;
            req.prompt = STR("bare");
            req.suffix = infill ? STR("behind") : STR_NONE;
            call_init(&c);
            assert_int_equal(begin(&c, p, &req, "echo", &e), 0);
            net_loop_run(loop);
            assert_string_equal(c.text.p, "bare");
            assert_int_equal(c.usage.output, 5);
            call_done(&c);
        }
    }
    struct gen_req req = request(false);
    req.kind = GEN_EMBED;
    call_init(&c);
    assert_int_equal(begin(&c, p, &req, "ok", &e), 0);
    net_loop_run(loop);
    assert_int_equal(c.err.code, 0);
    assert_int_equal(c.usage.input, 6);
    call_done(&c);
}

static int scans;

static void on_scanned(void *ctx, int found)
{
    scans = found;
    net_loop_stop(loop);
}

static void servers_of_this_machine_are_found(void **state)
{
    struct provider_info info;
    struct err e = {0};
    int got;
    pid_t pid = spawn(8000, script_log, &got); /* where vLLM stands; 0 if somebody is there */
    make_table(NULL);
    scans = -1;
    assert_int_equal(provider_scan(table, on_scanned, NULL, &e), 0);
    net_loop_run(loop);
    unspawn(pid);
    if (got != 8000) {
        print_message("port 8000 is taken: only that a scan ends was tested\n");
        assert_true(scans >= 0);
        return;
    }
    assert_true(scans >= 1);
    struct provider *p = provider_find(table, STR("vllm"));
    assert_non_null(p);
    provider_describe(p, &info);
    assert_int_equal(info.zone, GEN_SITE);
    assert_string_equal(info.source, "found");
    assert_int_equal(info.nmodels, 2);
    assert_int_equal(info.models[1].zone, GEN_CLOUD);
    /* It has gone: the row stays, without models. */
    assert_int_equal(provider_scan(table, on_scanned, NULL, &e), 0);
    net_loop_run(loop);
    provider_describe(p, &info);
    if (!egress_probe(gate, 8000, 200)) /* unless somebody else has come */
        assert_int_equal(info.nmodels, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_arrive),
        cmocka_unit_test(what_a_provider_leaves_out_is_filled_in),
        cmocka_unit_test(failures_have_their_code),
        cmocka_unit_test(health_is_kept),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_paused_answer_waits),
        cmocka_unit_test(cancelling_ends_once),
        cmocka_unit_test(a_stricter_request_dials_nobody),
        cmocka_unit_test(the_environment_is_read_as_the_clients_do),
        cmocka_unit_test(without_a_key_nobody_is_dialled),
        cmocka_unit_test(a_key_file_is_for_its_owner_alone),
        cmocka_unit_test(bad_rows_are_refused_by_name),
        cmocka_unit_test(models_are_found_by_name),
        cmocka_unit_test(a_count_is_an_estimate),
        cmocka_unit_test(a_test_reads_the_models),
        cmocka_unit_test(an_ollama_server_is_called_by_its_own_paths),
        cmocka_unit_test(servers_of_this_machine_are_found),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
