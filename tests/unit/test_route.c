/* test_route.c: the practitioners' table, each row for a 135M demo model and a 70B, and what a plan
 * promises: reasons, errors, JSON, replay. Prices, speeds and qualities are made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "difficulty_int.h"
#include "route.h"

#define NOW INT64_C(1790000000000) /* September 2026 */
#define DOLLAR INT64_C(1000000000)

static struct arena *arena;

static int set_up(void **state)
{
    arena = arena_new((size_t)16 << 20);
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    arena_free(arena);
    return 0;
}

/* ---- facts ---- */

static struct route_candidate demo_model(void)
{
    struct route_candidate c = route_candidate_default();
    c.id = "local/demo-135m";
    c.provider = "local";
    c.model = "demo-135m";
    c.backend = ROUTE_LOCAL;
    c.zone = GEN_DEVICE;
    c.on_machine = c.loaded = true;
    c.caps = (struct gen_caps){
        .chat = true, .raw = true, .infill = true, .logprobs = true, .context = 2048};
    c.params = 135e6;
    c.prefill_tps = 300;
    c.decode_tps = 40;
    c.first_ms = 20;
    c.price_input = c.price_cached = c.price_output = 0;
    return c;
}

static struct route_candidate big_model(void)
{
    struct route_candidate c = demo_model();
    c.id = "local/big-70b";
    c.model = "big-70b";
    c.caps = (struct gen_caps){.chat = true,
                               .raw = true,
                               .infill = true,
                               .tools = true,
                               .json = true,
                               .schema = true,
                               .logprobs = true,
                               .context = 131072};
    c.params = 70e9;
    c.prefill_tps = 150;
    c.decode_tps = 8;
    return c;
}

static struct route_candidate cloud_model(void)
{
    struct route_candidate c = route_candidate_default();
    c.id = "acme/frontier";
    c.provider = "acme";
    c.model = "frontier";
    c.backend = ROUTE_PROVIDER;
    c.zone = GEN_CLOUD;
    c.loaded = true;
    c.caps = (struct gen_caps){.chat = true,
                               .raw = true,
                               .infill = true,
                               .tools = true,
                               .images = true,
                               .documents = true,
                               .json = true,
                               .schema = true,
                               .many = true,
                               .context = 400000,
                               .max_output = 128000};
    c.quality = 9.5;
    c.quality_source = "made up";
    c.first_ms = 800;
    c.prefill_tps = 5000;
    c.decode_tps = 80;
    c.price_input = DOLLAR * 5 / 4;
    c.price_output = DOLLAR * 10;
    return c;
}

static struct route_candidate cands[4];

static struct route_facts facts_for(const char *prompt, bool big)
{
    struct gen_part part = {.type = GEN_PART_TEXT, .text = str_of(prompt)};
    struct gen_msg m = {.role = GEN_USER, .parts = &part, .nparts = 1};
    struct gen_req req = {.msgs = &m, .nmsgs = 1, .n = 1, .zone = GEN_CLOUD};
    struct route_facts f = {.candidates = cands, .ncandidates = 2};
    route_request_read(&req, -1, false, ROUTE_NORMAL, NOW, &f.request);
    f.policy = (struct route_policy){
        .budget_left = ROUTE_UNKNOWN, .now_ms = NOW, .weights = route_weights_default()};
    cands[0] = big ? big_model() : demo_model();
    cands[1] = cloud_model();
    return f;
}

static struct route_plan plan(const struct route_facts *f)
{
    struct route_plan p;
    struct err e;
    assert_int_equal(route_plan_make(arena, f, &p, &e), 0);
    return p;
}

/* ---- the table ---- */

static void sensitive(struct route_facts *f)
{
    f->request.zone = GEN_DEVICE;
    f->request.sensitive = true;
    f->request.zone_reason = "found: payment card";
}
static void broke(struct route_facts *f)
{
    f->policy.budget_left = 0;
}
static void limited(struct route_facts *f)
{
    cands[1].limited_until_ms = NOW + 30000;
}
static void agent(struct route_facts *f)
{
    f->request.needs_tools = true;
    f->request.agent_steps = 50;
    f->request.prompt_tokens = 20000;
}
static void completion(struct route_facts *f)
{
    f->request.kind = GEN_INFILL;
    f->request.latency = ROUTE_COMPLETION;
    f->request.output_tokens = 64;
}
static void voice(struct route_facts *f)
{
    f->request.latency = ROUTE_INTERACTIVE;
}
static void offline(struct route_facts *f)
{
    f->policy.offline = true;
}
static void pages(struct route_facts *f)
{
    f->request.prompt_tokens = 100000;
}
static void small_pages(struct route_facts *f)
{
    pages(f);
    cands[0].caps.context = 32768;
}
static void image(struct route_facts *f)
{
    f->request.needs_images = true;
}
static void no_local(struct route_facts *f)
{
    cands[0] = cands[1];
    f->ncandidates = 1;
}
static void no_provider(struct route_facts *f)
{
    f->ncandidates = 1;
}
static void private_only(struct route_facts *f)
{
    f->policy.private_only = true;
}
static void sensitive_pages(struct route_facts *f)
{
    sensitive(f);
    pages(f);
}
static void sensitive_image(struct route_facts *f)
{
    sensitive(f);
    image(f);
}
static void sensitive_no_local(struct route_facts *f)
{
    no_local(f);
    sensitive(f);
}
static void down(struct route_facts *f)
{
    cands[1].healthy = false;
}
static void local_down(struct route_facts *f)
{
    cands[0].healthy = false;
}

#define EASY "Rewrite this sentence politely: give me the report now."
#define FRANCE "What is the capital of France?"
#define CLAUSE                                                                                     \
    "Review this indemnification clause for a client under Delaware law and advise on the "        \
    "liability cap: 'Supplier shall indemnify ...'"
#define LAWYER                                                                                     \
    "Assess whether a non-compete covenant in an employment contract is enforceable in the "       \
    "jurisdiction of California when the plaintiff signed it in another state."
#define FRONTIER                                                                                   \
    "Prove rigorously, step by step, that the consensus protocol below terminates, derive its "    \
    "message complexity of n processes, and construct a counterexample for f = n/3."
#define REFACTOR "Refactor this Python function so that it streams its input. def f(x): return x"
#define NEWS "What is the latest stock price of Siemens and what happened to it this week?"
#define PRESS "Write a press release to announce our new product to our customers."
#define SUMMARY "Summarise this document for a client, with the main points of each chapter."

enum place { LOCAL, CLOUD, NOWHERE };

struct row {
    const char *name, *prompt;
    void (*change)(struct route_facts *f);
    enum place demo;
    int demo_why; /* enum route_why, or the error's code where nowhere */
    enum place big;
    int big_why;
};

static const struct row rows[] = {
    {"easy rewriting", EASY, NULL, LOCAL, ROUTE_WHY_SUFFICES, LOCAL, ROUTE_WHY_SUFFICES},
    {"an easy question", FRANCE, NULL, LOCAL, ROUTE_WHY_SUFFICES, LOCAL, ROUTE_WHY_SUFFICES},
    {"ordinary code", REFACTOR, NULL, CLOUD, ROUTE_WHY_DIFFICULTY, LOCAL, ROUTE_WHY_SUFFICES},
    {"an expert's task", LAWYER, NULL, CLOUD, ROUTE_WHY_DIFFICULTY, CLOUD, ROUTE_WHY_DIFFICULTY},
    {"a client's clause", CLAUSE, NULL, CLOUD, ROUTE_WHY_CLIENT, CLOUD, ROUTE_WHY_CLIENT},
    {"sensitive data", LAWYER, sensitive, LOCAL, ROUTE_WHY_PRIVACY, LOCAL, ROUTE_WHY_PRIVACY},
    {"sensitive and easy", FRANCE, sensitive, LOCAL, ROUTE_WHY_PRIVACY, LOCAL, ROUTE_WHY_PRIVACY},
    {"preset private", FRONTIER, private_only, LOCAL, ROUTE_WHY_PRIVACY, LOCAL, ROUTE_WHY_PRIVACY},
    {"spent budget", FRONTIER, broke, LOCAL, ROUTE_WHY_BUDGET, LOCAL, ROUTE_WHY_BUDGET},
    {"provider's 429", FRONTIER, limited, LOCAL, ROUTE_WHY_QUOTA, LOCAL, ROUTE_WHY_QUOTA},
    {"provider down", FRONTIER, down, LOCAL, ROUTE_WHY_HEALTH, LOCAL, ROUTE_WHY_HEALTH},
    {"local down", FRANCE, local_down, CLOUD, ROUTE_WHY_HEALTH, CLOUD, ROUTE_WHY_HEALTH},
    {"50-step agent run", REFACTOR, agent, CLOUD, ROUTE_WHY_CAPABILITY, LOCAL, ROUTE_WHY_AGENT},
    {"autocomplete", "for (int i = 0; i < n", completion, LOCAL, ROUTE_WHY_LATENCY, LOCAL,
     ROUTE_WHY_LATENCY},
    {"voice", FRANCE, voice, LOCAL, ROUTE_WHY_LATENCY, LOCAL, ROUTE_WHY_LATENCY},
    {"offline", FRONTIER, offline, LOCAL, ROUTE_WHY_OFFLINE, LOCAL, ROUTE_WHY_OFFLINE},
    {"frontier reasoning", FRONTIER, NULL, CLOUD, ROUTE_WHY_DIFFICULTY, CLOUD,
     ROUTE_WHY_DIFFICULTY},
    {"200 pages, small context", "Summarise this.", small_pages, CLOUD, ROUTE_WHY_CONTEXT, CLOUD,
     ROUTE_WHY_CONTEXT},
    {"200 pages, large context", "Summarise this.", pages, CLOUD, ROUTE_WHY_CONTEXT, CLOUD,
     ROUTE_WHY_LONG},
    {"image", "What is in this picture?", image, CLOUD, ROUTE_WHY_CAPABILITY, CLOUD,
     ROUTE_WHY_CAPABILITY},
    {"current information", NEWS, NULL, CLOUD, ROUTE_WHY_FRESH, CLOUD, ROUTE_WHY_FRESH},
    {"client-facing text", PRESS, NULL, CLOUD, ROUTE_WHY_CLIENT, CLOUD, ROUTE_WHY_CLIENT},
    {"no local model", FRANCE, no_local, CLOUD, ROUTE_WHY_NO_LOCAL, CLOUD, ROUTE_WHY_NO_LOCAL},
    {"no provider", CLAUSE, no_provider, LOCAL, ROUTE_WHY_NO_KEY, LOCAL, ROUTE_WHY_NO_KEY},
    {"sensitive, no local model", FRANCE, sensitive_no_local, NOWHERE, ERR_POLICY, NOWHERE,
     ERR_POLICY},
    {"sensitive image", "What is on this card?", sensitive_image, NOWHERE, ERR_UNSUPPORTED, NOWHERE,
     ERR_UNSUPPORTED},
    {"sensitive, 200 pages, client-facing", SUMMARY, sensitive_pages, NOWHERE, ERR_CONTEXT, LOCAL,
     ROUTE_WHY_PRIVACY},
};

static bool row_holds(const struct row *r, bool big)
{
    struct route_facts f = facts_for(r->prompt, big);
    if (r->change)
        r->change(&f);
    struct route_plan p = plan(&f);
    enum place want = big ? r->big : r->demo;
    int why = big ? r->big_why : r->demo_why;
    enum place got = p.nranked == 0                                          ? NOWHERE
                     : f.candidates[p.ranked[0].candidate].zone == GEN_CLOUD ? CLOUD
                                                                             : LOCAL;
    bool ok = got == want && (got == NOWHERE ? p.code == why : (int)p.why == why);
    if (!ok)
        print_error("%s (%s): %s [difficulty %.1f, header %s, code %d]\n", r->name,
                    big ? "70B" : "135M", p.sentence, p.difficulty, p.header, p.code);
    for (size_t i = 0; !ok && i < p.nranked; i++)
        print_error("    %s p %.2f score %.3f\n", f.candidates[p.ranked[i].candidate].id,
                    p.ranked[i].p, p.ranked[i].score);
    return ok;
}

static void the_practitioners_table_holds(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        wrong += !row_holds(&rows[i], false) + !row_holds(&rows[i], true);
    assert_int_equal(wrong, 0);
}

/* ---- reasons and errors ---- */

static void a_weak_model_is_not_flattered(void **state)
{
    struct route_facts f = facts_for(CLAUSE, false);
    f.ncandidates = 1;
    struct route_plan p = plan(&f);
    assert_non_null(strstr(p.sentence, "no provider is configured"));
    assert_non_null(strstr(p.sentence, "may not be up to it"));
    assert_true(p.ranked[0].p < 0.2);
    double small = difficulty_suffices(&f.request, -1, 135e6);
    double large = difficulty_suffices(&f.request, -1, 70e9);
    assert_true(small < large && large < difficulty_suffices(&f.request, 9.5, 0));
}

static void every_removed_candidate_has_a_sentence(void **state)
{
    struct route_facts f = facts_for(FRANCE, false);
    sensitive(&f);
    f.request.needs_images = true;
    struct route_plan p = plan(&f);
    assert_int_equal(p.nremoved, 2);
    assert_int_equal(p.removed[0].removed, ROUTE_CAPABILITY);
    assert_int_equal(p.removed[1].removed, ROUTE_ZONE);
    assert_string_equal(p.removed[0].sentence, "it does not support images");
    assert_non_null(strstr(p.removed[1].sentence, "payment card"));
    assert_int_equal(p.code, ERR_UNSUPPORTED);
    struct err e;
    assert_int_equal(route_plan_error(&p, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "images"));
}

static void a_long_prompt_names_both_counts(void **state)
{
    struct route_facts f = facts_for(FRANCE, false);
    f.ncandidates = 1;
    f.request.prompt_tokens = 3000;
    f.request.prompt_exact = true;
    struct route_plan p = plan(&f);
    assert_int_equal(p.code, ERR_CONTEXT);
    assert_non_null(strstr(p.sentence, "3060"));
    assert_non_null(strstr(p.sentence, "2048"));
}

static void a_pinned_model_is_the_only_one(void **state)
{
    struct route_facts f = facts_for(FRONTIER, false);
    f.policy.pinned = "demo-135m";
    struct route_plan p = plan(&f);
    assert_int_equal(p.nranked, 1);
    assert_int_equal(p.why, ROUTE_WHY_PINNED);
    f.policy.pinned = "acme/frontier";
    assert_int_equal(plan(&f).ranked[0].candidate, 1);
    sensitive(&f);
    assert_int_equal(plan(&f).code, ERR_POLICY);
    f.request.zone = GEN_CLOUD;
    cands[1].no_key = true;
    assert_int_equal(plan(&f).code, ERR_AUTH);
    cands[1].no_key = false;
    cands[1].limited_until_ms = NOW + 1;
    assert_int_equal(plan(&f).code, ERR_RATE);
    f.policy.pinned = "nobody";
    assert_int_equal(plan(&f).code, ERR_NOT_FOUND);
}

static void an_unknown_price_is_not_free(void **state)
{
    struct route_facts f = facts_for(FRONTIER, false);
    cands[1].price_output = ROUTE_UNKNOWN;
    struct route_plan p = plan(&f);
    assert_true(p.ranked[0].candidate == 1 && p.ranked[0].cost == ROUTE_UNKNOWN);
    f.policy.budget_left = 1000 * DOLLAR;
    p = plan(&f);
    assert_int_equal(p.removed[0].removed, ROUTE_BUDGET);
    assert_non_null(strstr(p.removed[0].sentence, "unknown"));
    cands[1].price_output = DOLLAR * 10;
    assert_int_equal(plan(&f).ranked[0].candidate, 1);
    f.policy.store_failing = true;
    assert_int_equal(plan(&f).ranked[0].candidate, 0);
    f.policy.store_failing = false;
    f.policy.budget_left = DOLLAR; /* the bound counts 128,000 tokens of answer */
    assert_int_equal(plan(&f).ranked[0].candidate, 0);
    f.request.max_output_tokens = 1000;
    assert_int_equal(plan(&f).ranked[0].candidate, 1);
}

static void without_keys_it_says_where_it_would_go(void **state)
{
    struct route_facts f = facts_for(CLAUSE, false);
    cands[1].no_key = true;
    struct route_plan p = plan(&f);
    assert_int_equal(p.ranked[0].candidate, 0);
    assert_int_equal(p.why, ROUTE_WHY_NO_KEY);
    assert_int_equal(p.removed[0].removed, ROUTE_NO_KEY);
    assert_non_null(p.would_be);
    assert_int_equal(p.would_be->candidate, 1);
    assert_non_null(strstr(p.would_sentence, "acme/frontier"));
    /* A model that could not answer with a key either is not the reason. */
    cands[2] = cloud_model();
    cands[2].id = "acme/vectors";
    cands[2].caps = (struct gen_caps){.embed = true};
    cands[2].no_key = true;
    f.ncandidates = 3;
    p = plan(&f);
    assert_int_equal(p.why, ROUTE_WHY_NO_KEY);

    f = facts_for(FRANCE, false);
    cands[1].no_key = true;
    assert_null(plan(&f).would_be);
    f = facts_for(CLAUSE, false);
    cands[1].no_key = true;
    sensitive(&f);
    p = plan(&f);
    assert_null(p.would_be);
    assert_int_equal(p.why, ROUTE_WHY_PRIVACY);
}

static void headers_are_short_ascii(void **state)
{
    struct route_facts f = facts_for(FRANCE, false);
    cands[0].id = "local/na\xC3\xAFve \r\nx: y; z";
    struct route_plan p = plan(&f);
    assert_true(strlen(p.header) <= 200);
    for (const char *c = p.header; *c; c++)
        assert_true(*c >= ' ' && *c < 127);
    assert_non_null(strstr(p.header, "why=suffices"));
    assert_null(strstr(p.header, "x: y"));
}

static void an_order_is_a_failover_order(void **state)
{
    struct route_facts f = facts_for(FRONTIER, false);
    cands[2] = cloud_model();
    cands[2].id = "other/cheap";
    cands[2].price_input /= 10;
    cands[2].price_output /= 10;
    f.ncandidates = 3;
    struct route_plan p = plan(&f);
    assert_int_equal(p.nranked, 3);
    assert_int_equal(p.ranked[0].candidate, 2); /* as good and cheaper */
    assert_true(p.ranked[0].score >= p.ranked[1].score);
    assert_true(p.ranked[1].score >= p.ranked[2].score);
}

/* ---- signals ---- */

struct signal_case {
    const char *text;
    enum route_task task;
    bool fresh, client;
};

static void signals_are_read(void **state)
{
    static const struct signal_case all[] = {
        {EASY, ROUTE_TASK_REWRITE, false, false},
        {FRANCE, ROUTE_TASK_ASK, false, false},
        {"Please translate 'the news of today' to German", ROUTE_TASK_TRANSLATE, false, false},
        {"Is this review positive or negative? 'Great food!'", ROUTE_TASK_CLASSIFY, false, false},
        {"Extract all names from the text below.", ROUTE_TASK_EXTRACT, false, false},
        {"tl;dr please: a long story", ROUTE_TASK_SUMMARISE, false, false},
        {"Write a short poem about the sea.", ROUTE_TASK_WRITE, false, false},
        {"Why does this Python code raise a TypeError?", ROUTE_TASK_CODE, false, false},
        {"Solve for x: 3x + 5 = 20", ROUTE_TASK_MATHS, false, false},
        {FRONTIER, ROUTE_TASK_REASON, false, false},
        {CLAUSE, ROUTE_TASK_EXPERT, false, true},
        {"A patient has chest pain and these symptoms. What treatment do you recommend?",
         ROUTE_TASK_EXPERT, false, false},
        {NEWS, ROUTE_TASK_ASK, true, false},
        {"Who wins the elections of 2028?", ROUTE_TASK_ASK, true, false},
        {"Who won the world cup in 1990?", ROUTE_TASK_ASK, false, false},
        {PRESS, ROUTE_TASK_WRITE, false, true},
        {"hello there", ROUTE_TASK_CHAT, false, false},
        {"", ROUTE_TASK_CHAT, false, false},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct route_signals s = facts_for(all[i].text, false).request.signals;
        bool ok =
            s.task == all[i].task && s.fresh == all[i].fresh && s.client_facing == all[i].client;
        if (!ok)
            print_error("'%s': task %d fresh %d client %d\n", all[i].text, s.task, s.fresh,
                        s.client_facing);
        wrong += !ok;
    }
    assert_int_equal(wrong, 0);
}

static void needs_are_read(void **state)
{
    struct gen_part parts[] = {{.type = GEN_PART_IMAGE}, {.type = GEN_PART_TEXT, .text = STR("x")}};
    struct gen_part result = {.type = GEN_PART_TOOL_RESULT, .text = STR("42")};
    struct gen_msg msgs[] = {{.role = GEN_USER, .parts = parts, .nparts = 2},
                             {.role = GEN_TOOL, .parts = &result, .nparts = 1},
                             {.role = GEN_TOOL, .parts = &result, .nparts = 1}};
    struct gen_req req = {.msgs = msgs,
                          .nmsgs = 3,
                          .n = 2,
                          .logprobs = true,
                          .max_tokens = 7,
                          .format = GEN_FORMAT_SCHEMA,
                          .zone = GEN_SITE};
    struct route_request r;
    route_request_read(&req, 123, true, ROUTE_NORMAL, NOW, &r);
    assert_true(r.needs_images && r.needs_tools && r.needs_schema && r.needs_logprobs &&
                r.needs_many && !r.needs_audio);
    assert_int_equal(r.agent_steps, 2);
    assert_int_equal(r.prompt_tokens, 123);
    assert_int_equal(r.output_tokens, 7);
    assert_int_equal(r.zone, GEN_SITE);
    enum route_latency l;
    struct err e;
    assert_int_equal(route_latency_parse(STR(" Completion"), &l, &e), 0);
    assert_int_equal(l, ROUTE_COMPLETION);
    assert_int_equal(route_latency_parse(STR("fast"), &l, &e), ERR_INVAL);
}

static void capability_grows_with_size(void **state)
{
    double before = 0;
    for (double p = 1e7; p < 1e12; p *= 2) {
        double c = difficulty_capability(p);
        assert_true(c >= before && c <= 9);
        before = c;
    }
    assert_true(difficulty_capability(0) == 5 && difficulty_capability(-1) == 5);
}

/* ---- JSON ---- */

static void the_same_facts_give_the_same_plan(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct route_facts f = facts_for(rows[i].prompt, i % 2);
        if (rows[i].change)
            rows[i].change(&f);
        struct route_plan p = plan(&f);
        struct buf facts = BUF_INIT(1 << 20), then = BUF_INIT(1 << 20), now = BUF_INIT(1 << 20);
        route_facts_encode(&f, &facts);
        route_plan_json(&f, &p, &then);
        struct err e;
        assert_int_equal(route_replay(buf_str(&facts), &now, &e), 0);
        assert_string_equal(then.p, now.p);

        struct route_facts back;
        struct buf again = BUF_INIT(1 << 20);
        assert_int_equal(route_facts_decode(arena, buf_str(&facts), &back, &e), 0);
        route_facts_encode(&back, &again);
        assert_string_equal(facts.p, again.p);
        buf_done(&facts);
        buf_done(&then);
        buf_done(&now);
        buf_done(&again);
    }
}

/* What a waiting request keeps: whom to try next, and the words of the header. */
static void a_booked_plan_is_kept_narrow(void **state)
{
    struct route_facts f = facts_for(FRANCE, false);
    sensitive(&f);
    f.request.zone = GEN_SITE; /* the cloud is out */
    f.ncandidates = 3;
    cands[2] = big_model();
    cands[2].id = "local/other";
    struct route_plan p = plan(&f);
    assert_true(p.nranked == 2 && p.nremoved == 1);
    char *first = arena_strz(arena, str_of(f.candidates[p.ranked[0].candidate].id));
    const char *second = route_plan_header(arena, &f, &p, 1);
    char *sentence = arena_strz(arena, str_of(p.sentence));
    struct arena *kept = arena_new(1 << 20);
    struct err e;
    assert_int_equal(route_plan_narrow(kept, &f, &p, &e), 0);
    memset(cands, 0, sizeof cands); /* nothing points there any more */
    assert_true(f.ncandidates == 2 && p.nranked == 2 && p.nremoved == 0 && !f.request.zone_reason);
    assert_string_equal(f.candidates[p.ranked[0].candidate].id, first);
    assert_string_equal(route_plan_header(arena, &f, &p, 1), second);
    assert_string_equal(p.sentence, sentence);
    assert_true(arena_used(kept) < 1500);
    arena_free(kept);
    /* Without memory all is as it was. */
    f = facts_for(FRANCE, false);
    p = plan(&f);
    size_t n = p.nranked;
    kept = arena_new(64);
    assert_int_equal(route_plan_narrow(kept, &f, &p, &e), ERR_NOMEM);
    assert_true(f.candidates == cands && p.nranked == n && p.ranked[0].sentence);
    arena_free(kept);
}

static void wrong_facts_are_named(void **state)
{
    struct route_facts f = facts_for(FRANCE, false), out;
    struct buf good = BUF_INIT(1 << 20);
    route_facts_encode(&f, &good);
    struct err e;
    static const struct {
        const char *from, *to, *says;
    } edits[] = {
        {"\"prompt_exact\":false", "\"prompt_exact\":1", "prompt_exact"},
        {"\"zone\":\"cloud\"", "\"zone\":\"moon\"", "zone"},
        {"\"agent_steps\":0", "\"agent_steps\":4294967296", "agent_steps"},
        {"\"offline\":false", "\"offlin\":false", "offline"},
        {"\"images\":false,", "", "images"},
        {"\"candidates\":[", "\"candidates\":[1,", "candidate"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        size_t at = str_find(buf_str(&good), str_of(edits[i].from), 0);
        assert_true(at != SIZE_MAX);
        struct buf b = BUF_INIT(1 << 20);
        buf_add(&b, good.p, at);
        buf_puts(&b, edits[i].to);
        size_t rest = at + strlen(edits[i].from);
        buf_add(&b, good.p + rest, good.n - rest);
        assert_int_equal(route_facts_decode(arena, buf_str(&b), &out, &e), ERR_FORMAT);
        if (!strstr(e.msg, edits[i].says))
            fail_msg("'%s' does not name %s", e.msg, edits[i].says);
        buf_done(&b);
    }
    assert_int_equal(route_facts_decode(arena, STR("{}"), &out, &e), ERR_FORMAT);
    assert_int_equal(route_facts_decode(arena, STR(""), &out, &e), ERR_FORMAT);
    buf_done(&good);
}

static void senseless_facts_are_refused(void **state)
{
    struct route_plan p;
    struct err e;
    struct route_facts f = facts_for(FRANCE, false);
    f.request.prompt_tokens = -5;
    assert_int_equal(route_plan_make(arena, &f, &p, &e), ERR_INVAL);
    f = facts_for(FRANCE, false);
    cands[1].id = NULL;
    assert_int_equal(route_plan_make(arena, &f, &p, &e), ERR_INVAL);
    f = facts_for(FRANCE, false);
    cands[0].decode_tps = 0.0 / (double)(f.ncandidates - 2);
    assert_int_equal(route_plan_make(arena, &f, &p, &e), ERR_INVAL);
    f = facts_for(FRANCE, false);
    f.ncandidates = 0;
    assert_int_equal(plan(&f).code, ERR_NO_ROUTE);
    /* Amounts that do not fit are unknown, not wrapped. */
    f = facts_for(FRANCE, false);
    cands[1].price_output = INT64_MAX;
    assert_true(plan(&f).ranked[1].cost == ROUTE_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_practitioners_table_holds),
        cmocka_unit_test(a_weak_model_is_not_flattered),
        cmocka_unit_test(every_removed_candidate_has_a_sentence),
        cmocka_unit_test(a_long_prompt_names_both_counts),
        cmocka_unit_test(a_pinned_model_is_the_only_one),
        cmocka_unit_test(an_unknown_price_is_not_free),
        cmocka_unit_test(without_keys_it_says_where_it_would_go),
        cmocka_unit_test(headers_are_short_ascii),
        cmocka_unit_test(a_booked_plan_is_kept_narrow),
        cmocka_unit_test(an_order_is_a_failover_order),
        cmocka_unit_test(signals_are_read),
        cmocka_unit_test(needs_are_read),
        cmocka_unit_test(capability_grows_with_size),
        cmocka_unit_test(the_same_facts_give_the_same_plan),
        cmocka_unit_test(wrong_facts_are_named),
        cmocka_unit_test(senseless_facts_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
