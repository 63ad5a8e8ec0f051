/* test_prices.c: money as text, prices, costs, break-even: the parts of the ledger without a
 * database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "breakeven.h"
#include "ledger.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define MILLION INT64_C(1000000)

static void amounts_are_exact(void **state)
{
    static const struct {
        int64_t nano;
        const char *exact, *rounded;
    } cases[] = {
        {0, "$0.00", "$0.0000"},
        {12300000, "$0.0123", "$0.0123"},
        {12345678, "$0.012345678", "$0.0123"},
        {12350000, "$0.01235", "$0.0124"},
        {1, "$0.000000001", "<$0.0001"},
        {49999, "$0.000049999", "<$0.0001"},
        {50000, "$0.00005", "$0.0001"},
        {1500000000, "$1.50", "$1.5000"},
        {-1500000000, "-$1.50", "-$1.5000"},
        {-1, "-$0.000000001", ">-$0.0001"},
        {INT64_MAX, "$9223372036.854775807", "$9223372036.8548"},
        {-INT64_MAX, "-$9223372036.854775807", "-$9223372036.8548"},
        {MONEY_UNKNOWN, "unknown", "unknown"},
    };
    char text[32];
    for (size_t i = 0; i < N(cases); i++) {
        assert_string_equal(money_exact(cases[i].nano, text), cases[i].exact);
        assert_string_equal(money_short(cases[i].nano, text), cases[i].rounded);
    }
}

static void amounts_are_read(void **state)
{
    static const struct {
        const char *text;
        int rc;
        int64_t nano;
    } cases[] = {
        {"1.25", 0, 1250000000},         {"$ 1", ERR_FORMAT, 0},
        {"$10", 0, 10000000000},         {" 0.000000001 ", 0, 1},
        {"0.0000000001", ERR_FORMAT, 0}, {"", ERR_FORMAT, 0},
        {"1.", ERR_FORMAT, 0},           {".5", ERR_FORMAT, 0},
        {"-1", ERR_FORMAT, 0},           {"1e3", ERR_FORMAT, 0},
        {"1.+5", ERR_FORMAT, 0},         {"9223372035.999999999", 0, INT64_C(9223372035999999999)},
        {"9223372036", ERR_LIMIT, 0},    {"99999999999999999999", ERR_FORMAT, 0},
    };
    for (size_t i = 0; i < N(cases); i++) {
        int64_t v = -7;
        struct err e = {0};
        assert_int_equal(money_parse(str_of(cases[i].text), &v, &e), cases[i].rc);
        assert_true(v == (cases[i].rc ? -7 : cases[i].nano));
    }
    int64_t v = -7;
    assert_int_equal(money_from_usd(0.1, &v, NULL), 0);
    assert_true(v == 100000000);
    assert_int_equal(money_from_usd(NAN, &v, NULL), ERR_INVAL);
    assert_int_equal(money_from_usd(-1, &v, NULL), ERR_INVAL);
    assert_int_equal(money_from_usd(1e12, &v, NULL), ERR_INVAL);
    assert_false(money_add(INT64_MAX, 1, &v));
    assert_false(money_add(MONEY_UNKNOWN, 1, &v));
    assert_false(money_add(-INT64_MAX, -1, &v)); /* would read as unknown */
    assert_true(v == 100000000);
}

/* ---- which price ---- */

static void an_id_finds_its_price(void **state)
{
    static const struct {
        const char *provider, *model;
        enum gen_zone zone;
        const char *id; /* NULL: unknown */
        double input, output;
    } cases[] = {
        {"openai", "gpt-5", GEN_CLOUD, "gpt-5", 1.25, 10},
        {"openai", "gpt-5-2025-08-07", GEN_CLOUD, "gpt-5", 1.25, 10},
        {"openai", "openai/gpt-5", GEN_CLOUD, "gpt-5", 1.25, 10},
        {"openai", "gpt-5-mini", GEN_CLOUD, "gpt-5-mini", 0.25, 2},
        {"openai", "gpt-5-mini-2025-08-07", GEN_CLOUD, "gpt-5-mini", 0.25, 2},
        {"openai", "gpt-4o-2024-05-13", GEN_CLOUD, "gpt-4o-2024-05-13", 5, 15},
        {"openai", "gpt-4o-2024-08-06", GEN_CLOUD, "gpt-4o", 2.5, 10},
        {"openai", "o3", GEN_CLOUD, "o3", 2, 8},
        {"openai", "gpt-5-turbo-max", GEN_CLOUD, NULL, 0, 0},
        {"openai", "gpt-50", GEN_CLOUD, NULL, 0, 0},
        {"openai", "ft:gpt-4o-mini:me", GEN_CLOUD, NULL, 0, 0},
        {"anthropic", "claude-sonnet-4-5-20250929", GEN_CLOUD, "claude-sonnet-4-5", 3, 15},
        {"anthropic", "claude-3-5-haiku-latest", GEN_CLOUD, "claude-3-5-haiku", 0.8, 4},
        {"anthropic", "claude-opus-4-20250514", GEN_CLOUD, "claude-opus-4", 15, 75},
        {"anthropic", "gpt-5", GEN_CLOUD, NULL, 0, 0},
        {"openrouter", "openai/gpt-5", GEN_CLOUD, "openai/gpt-5", 1.25, 10},
        {"openrouter", "anthropic/claude-haiku-4.5", GEN_CLOUD, "anthropic/claude-haiku-4.5", 1, 5},
        {"openrouter", "openai/gpt-5:online", GEN_CLOUD, NULL, 0, 0},
        {"openrouter", "a/b:free", GEN_CLOUD, "openrouter :free", 0, 0},
        {"openai", "b:free", GEN_CLOUD, NULL, 0, 0},
        {"", "gpt-5", GEN_CLOUD, "gpt-5", 1.25, 10},
        {"", "anthropic/claude-opus-4-5", GEN_CLOUD, "claude-opus-4-5", 5, 25},
        {"mine", "gpt-5", GEN_CLOUD, NULL, 0, 0},
        {"", "", GEN_CLOUD, NULL, 0, 0},
        {"local", "smollm2:135m", GEN_DEVICE, "local", 0, 0},
        {"vllm", "gpt-5", GEN_SITE, "local", 0, 0},
    };
    struct prices *p = NULL;
    assert_int_equal(prices_new(&p, NULL), 0);
    for (size_t i = 0; i < N(cases); i++) {
        struct price found;
        struct err e = {0};
        int rc = prices_find(p, str_of(cases[i].provider), str_of(cases[i].model), cases[i].zone,
                             &found, &e);
        if (!cases[i].id) {
            assert_int_equal(rc, ERR_NOT_FOUND);
            assert_non_null(strstr(e.msg, "unknown"));
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(found.id, cases[i].id);
        assert_true(found.input == (int64_t)llround(cases[i].input * 1e9));
        assert_true(found.output == (int64_t)llround(cases[i].output * 1e9));
        if (cases[i].zone == GEN_CLOUD && found.input) {
            assert_int_equal(strlen(found.date), 10);
            assert_true(str_starts(str_of(found.source), STR("https://")));
        }
    }
    prices_free(p);
    prices_free(NULL);
}

static void the_config_wins(void **state)
{
    struct prices *p = NULL;
    struct price found;
    struct err e = {0};
    assert_int_equal(prices_new(&p, NULL), 0);
    assert_int_equal(prices_set(p, STR("gpt-5"), STR("input"), STR("2"), &e), 0);
    assert_int_equal(prices_set(p, STR("gpt-5"), STR("date"), STR("2026-01-01"), &e), 0);
    assert_int_equal(prices_set(p, STR("gpt-5"), STR("date"), STR("2026-02-02"), &e), 0);
    assert_int_equal(prices_set(p, STR("mine/gpt-5"), STR("input"), STR("3"), &e), 0);
    assert_int_equal(prices_set(p, STR("local/big"), STR("output"), STR("0.02"), &e), 0);
    assert_int_equal(prices_set(p, STR("gpt-5"), STR("colour"), STR("2"), &e), ERR_NOT_FOUND);
    assert_int_equal(prices_set(p, STR("gpt-5"), STR("input"), STR("cheap"), &e), ERR_FORMAT);
    assert_int_equal(prices_set(p, STR("gpt-5"), STR("long-above"), STR("-1"), &e), ERR_FORMAT);
    assert_int_equal(prices_set(p, STR(""), STR("input"), STR("1"), &e), ERR_INVAL);

    assert_int_equal(prices_find(p, STR("openai"), STR("gpt-5"), GEN_CLOUD, &found, &e), 0);
    assert_true(found.input == 2 * MONEY_DOLLAR && found.output == 10 * MONEY_DOLLAR);
    assert_string_equal(found.date, "2026-02-02");
    /* At a provider of the user's only what the user said is known. */
    assert_int_equal(prices_find(p, STR("mine"), STR("gpt-5"), GEN_CLOUD, &found, &e), 0);
    assert_true(found.input == 3 * MONEY_DOLLAR && found.output == MONEY_UNKNOWN);
    int64_t nano = -7;
    struct gen_usage u = {.input = 10, .output = 1};
    assert_int_equal(price_cost(&found, &u, &nano, &e), ERR_NOT_FOUND);
    assert_true(nano == -7);
    u.output = 0;
    assert_int_equal(price_cost(&found, &u, &nano, &e), 0);
    assert_true(nano == 30000);
    /* Electricity, where the user gives it. */
    assert_int_equal(prices_find(p, STR("local"), STR("big"), GEN_DEVICE, &found, &e), 0);
    assert_true(found.input == 0 && found.output == 20000000);
    prices_free(p);
}

static void the_list_is_json(void **state)
{
    struct prices *p = NULL;
    struct buf b = BUF_INIT(1 << 20);
    assert_int_equal(prices_new(&p, NULL), 0);
    assert_int_equal(prices_set(p, STR("x\"y"), STR("input"), STR("1"), NULL), 0);
    assert_int_equal(prices_list(p, true, &b, NULL), 0);
    json_error_t where;
    json_t *j = json_loads(b.p, 0, &where);
    assert_non_null(j);
    json_t *rows = json_object_get(j, "prices");
    assert_true(json_array_size(rows) > 40);
    json_t *last = json_array_get(rows, json_array_size(rows) - 1);
    assert_string_equal(json_string_value(json_object_get(last, "model")), "x\"y");
    assert_string_equal(json_string_value(json_object_get(last, "input")), "$1.00");
    assert_true(json_is_null(json_object_get(last, "output")));
    json_decref(j);
    buf_clear(&b);
    assert_int_equal(prices_list(p, false, &b, NULL), 0);
    assert_non_null(strstr(b.p, "claude-sonnet-4-5"));
    buf_done(&b);
    prices_free(p);
}

/* ---- what tokens cost ---- */

static void tokens_cost_what_they_cost(void **state)
{
    static const struct {
        const char *provider, *model;
        struct gen_usage u; /* input, cached, cache_write, output, reasoning */
        int64_t nano;       /* MONEY_UNKNOWN: a price is missing */
    } cases[] = {
        {"openai", "gpt-5", {1000, 0, 0, 500, 0}, 1250000 + 5000000},
        /* cached tokens are part of the input and a tenth of it */
        {"openai", "gpt-5", {1000, 800, 0, 0, 0}, 200 * 1250 + 800 * 125},
        /* reasoning is part of the output */
        {"openai", "gpt-5", {0, 0, 0, 500, 400}, 5000000},
        {"anthropic",
         "claude-haiku-4-5",
         {1000, 100, 200, 10, 0},
         700 * 1000 + 100 * 100 + 200 * 1250 + 10 * 5000},
        /* at the threshold, and one past it: everything by the other tier */
        {"anthropic", "claude-sonnet-4-5", {200000, 0, 0, 1000, 0}, 200000 * 3000 + 1000 * 15000},
        {"anthropic", "claude-sonnet-4-5", {200001, 0, 0, 1000, 0}, 200001 * 6000 + 1000 * 22500},
        {"anthropic", "claude-sonnet-4-5", {200001, 200000, 1, 0, 0}, 200000 * 600 + 7500},
        {"google", "gemini-2.5-pro", {300000, 0, 0, 1, 0}, 300000 * 2500 + 15000},
        /* a fraction of a nano-dollar is rounded up, once */
        {"openai", "gpt-5-nano", {1, 1, 0, 0, 0}, 5},
        {"openai", "text-embedding-3-small", {1, 0, 0, 0, 0}, 20},
        {"openai", "gpt-5-pro", {10, 0, 0, 0, 0}, 150000},
        {"openai", "gpt-5-pro", {10, 5, 0, 0, 0}, MONEY_UNKNOWN},
        /* nonsense from outside is cut to sense */
        {"openai", "gpt-5", {100, 200, 50, -5, 0}, 100 * 125},
        {"openai", "gpt-5", {-100, -1, -1, 0, 0}, 0},
        {"openai", "gpt-5", {0, 0, 0, 0, 0}, 0},
        /* a thousand million tokens fit */
        {"openai", "o1", {1000 * MILLION, 0, 0, 1000 * MILLION, 0}, 75000 * MONEY_DOLLAR},
    };
    struct prices *p = NULL;
    assert_int_equal(prices_new(&p, NULL), 0);
    for (size_t i = 0; i < N(cases); i++) {
        struct price pr;
        int64_t nano = -7;
        assert_int_equal(
            prices_find(p, str_of(cases[i].provider), str_of(cases[i].model), GEN_CLOUD, &pr, NULL),
            0);
        int rc = price_cost(&pr, &cases[i].u, &nano, NULL);
        if (cases[i].nano == MONEY_UNKNOWN) {
            assert_int_equal(rc, ERR_NOT_FOUND);
            assert_true(nano == -7);
        } else {
            assert_int_equal(rc, 0);
            assert_true(nano == cases[i].nano);
        }
    }
    prices_free(p);
}

static void rounding_and_overflow(void **state)
{
    struct price p = {.input = 1, .cached = 1, .cache_write = 1, .output = 1, .id = "x"};
    struct gen_usage u = {.input = 1};
    int64_t nano = -7;
    assert_int_equal(price_cost(&p, &u, &nano, NULL), 0);
    assert_true(nano == 1);
    u = (struct gen_usage){.input = MILLION / 2, .output = MILLION / 2};
    assert_int_equal(price_cost(&p, &u, &nano, NULL), 0);
    assert_true(nano == 1); /* not two halves rounded up each */
    u.output++;
    assert_int_equal(price_cost(&p, &u, &nano, NULL), 0);
    assert_true(nano == 2);

    p.input = p.output = INT64_MAX;
    u = (struct gen_usage){.input = INT64_MAX, .output = INT64_MAX};
    nano = -7;
    assert_int_equal(price_cost(&p, &u, &nano, NULL), ERR_LIMIT);
    assert_int_equal(price_bound(&p, INT64_MAX, INT64_MAX, &nano, NULL), ERR_LIMIT);
    u = (struct gen_usage){.input = MILLION + 1};
    assert_int_equal(price_cost(&p, &u, &nano, NULL), ERR_LIMIT);
    assert_true(nano == -7);
    u.input = MILLION;
    assert_int_equal(price_cost(&p, &u, &nano, NULL), 0);
    assert_true(nano == INT64_MAX);
}

/* Whatever a call reports within its limits, it does not cost more than its bound. */
static void a_bound_is_a_bound(void **state)
{
    static const char *const models[][2] = {{"openai", "gpt-5"},
                                            {"openai", "gpt-5-pro"},
                                            {"anthropic", "claude-sonnet-4-5"},
                                            {"google", "gemini-2.5-pro"}};
    struct prices *p = NULL;
    assert_int_equal(prices_new(&p, NULL), 0);
    srand(7);
    for (int i = 0; i < 4000; i++) {
        struct price pr;
        const char *const *m = models[i % 4];
        assert_int_equal(prices_find(p, str_of(m[0]), str_of(m[1]), GEN_CLOUD, &pr, NULL), 0);
        int64_t input = rand() % 400000, output = rand() % 10000, bound, cost;
        struct gen_usage u = {.input = rand() % (input + 1), .output = rand() % (output + 1)};
        u.cached = pr.cached == MONEY_UNKNOWN ? 0 : rand() % (u.input + 1);
        u.cache_write = rand() % (u.input - u.cached + 1);
        assert_int_equal(price_bound(&pr, input, output, &bound, NULL), 0);
        assert_int_equal(price_cost(&pr, &u, &cost, NULL), 0);
        assert_true(cost <= bound);
    }
    prices_free(p);
}

/* ---- ids and dates ---- */

static void ids_sort_and_differ(void **state)
{
    char a[LEDGER_ID_MAX], b[LEDGER_ID_MAX];
    assert_int_equal(ledger_id(a, NULL), 0);
    assert_int_equal(strlen(a), 26);
    assert_true(a[0] <= '7'); /* 48 bits of milliseconds */
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(ledger_id(b, NULL), 0);
        assert_string_not_equal(a, b);
        assert_true(memcmp(a, b, 10) <= 0);
        memcpy(a, b, sizeof a);
    }
}

static void dates(void **state)
{
    int64_t ms = -7;
    assert_int_equal(ledger_date(STR("2026-11-24"), &ms, NULL), 0);
    assert_true(ms == INT64_C(1795478400000));
    assert_int_equal(ledger_date(STR("2024-02-29"), &ms, NULL), 0);
    ms = -7;
    const char *const bad[] = {"2026-02-29", "2026-13-01", "2026-04-31", "2026-1-1",
                               "26-01-01",   "2026/01/01", "",           "2026-11-2x"};
    for (size_t i = 0; i < N(bad); i++)
        assert_int_equal(ledger_date(str_of(bad[i]), &ms, NULL), ERR_FORMAT);
    assert_true(ms == -7);
    int64_t first = 0;
    assert_int_equal(ledger_date(STR("2026-12-01"), &first, NULL), 0);
    assert_true(ledger_month_start(first) == first);
    assert_true(ledger_month_start(first + INT64_C(31) * 86400000 - 1) == first);
    assert_true(ledger_month_start(first - 1) == first - INT64_C(30) * 86400000);
}

/* ---- break-even ---- */

static void a_machine_pays_for_itself_or_not(void **state)
{
    static const struct {
        struct breakeven_in in; /* hardware, spend, watts, hours, kwh, resale, share */
        double months;          /* negative: never */
        const char *says;
    } cases[] = {
        {{3000, 200, 0, 8, 0, 0, 1}, 15, "after 15 months"},
        {{3000, 200, 0, 8, 0, 1000, 1}, 10, "after 10 months"},
        {{3000, 200, 0, 8, 0, 0, 0.5}, 30, "after 30 months (2.5 years)"},
        {{200, 200, 0, 8, 0, 0, 1}, 1, "after 1 month."},
        {{0, 200, 0, 8, 0, 0, 1}, 0, "after 0 months"},
        /* 400 W for 8 h at $0.30: $0.96 a day, $29.22 a month */
        {{3000, 200, 400, 8, 0.30, 0, 1}, 3000 / (200 - 29.22), "after 17.6 months"},
        {{3000, 200, 400, 8, 0.30, 1000, 0.8}, 2000 / (160 - 29.22), "after 15.3 months"},
        {{3000, 20, 400, 8, 0.30, 0, 1}, -1, "Never: electricity ($29.22 a month)"},
        {{3000, 0, 0, 8, 0, 0, 1}, -1, "Never: nothing"},
        {{3000, 200, 0, 8, 0, 0, 0}, -1, "Never: nothing"},
        {{3000, 0, 400, 8, 0.30, 0, 1}, -1, "electricity costs $29.22"},
        {{1000, 0, 0, 8, 0, 1000, 1}, 0, "after 0 months"},
        {{1000, 0, 400, 8, 0.30, 1000, 1}, -1, "Never"},
    };
    for (size_t i = 0; i < N(cases); i++) {
        struct breakeven r;
        struct err e = {0};
        struct buf text = BUF_INIT(4096), json = BUF_INIT(4096);
        assert_int_equal(breakeven(&cases[i].in, &r, &e), 0);
        breakeven_print(&cases[i].in, &r, false, &text);
        breakeven_print(&cases[i].in, &r, true, &json);
        json_t *j = json_loads(json.p, 0, NULL);
        assert_non_null(j);
        assert_int_equal(r.never, cases[i].months < 0);
        if (!strstr(text.p, cases[i].says))
            fail_msg("case %zu says: %s", i, text.p);
        if (r.never) {
            assert_true(json_is_null(json_object_get(j, "months")));
        } else {
            assert_true(fabs(r.months - cases[i].months) < 1e-9);
            double said = json_number_value(json_object_get(j, "months"));
            assert_true(fabs(said - r.months) < 1e-6);
        }
        json_decref(j);
        buf_done(&text);
        buf_done(&json);
    }
}

static void break_even_refuses_nonsense(void **state)
{
    struct breakeven r = {.months = -7};
    struct err e = {0};
    struct breakeven_in in = {3000, 200, 0, 25, 0, 0, 1};
    assert_int_equal(breakeven(&in, &r, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "hours"));
    in = (struct breakeven_in){-1, 200, 0, 8, 0, 0, 1};
    assert_int_equal(breakeven(&in, &r, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "hardware"));
    in = (struct breakeven_in){3000, 200, 0, 8, 0, 0, 1.01};
    assert_int_equal(breakeven(&in, &r, &e), ERR_INVAL);
    assert_non_null(strstr(e.msg, "local-share"));
    in = (struct breakeven_in){3000, NAN, 0, 8, 0, 0, 1};
    assert_int_equal(breakeven(&in, &r, &e), ERR_INVAL);
    assert_true(r.months == -7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts_are_exact),
        cmocka_unit_test(amounts_are_read),
        cmocka_unit_test(an_id_finds_its_price),
        cmocka_unit_test(the_config_wins),
        cmocka_unit_test(the_list_is_json),
        cmocka_unit_test(tokens_cost_what_they_cost),
        cmocka_unit_test(rounding_and_overflow),
        cmocka_unit_test(a_bound_is_a_bound),
        cmocka_unit_test(ids_sort_and_differ),
        cmocka_unit_test(dates),
        cmocka_unit_test(a_machine_pays_for_itself_or_not),
        cmocka_unit_test(break_even_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
