/* The sampler's rules on made-up logits: each cut against a plain reference, DRY against the
 * definition, biases, and the order of the steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "sampler_int.h"

#define VOCAB 200
#define PAST 400

static uint64_t random_state = 7;

static uint32_t rnd(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static struct engine_sampling neutral(void)
{
    return (struct engine_sampling){
        .temperature = 1, .top_p = 1, .repeat_penalty = 1, .top_logprobs = -1};
}

static struct sampler made(void)
{
    struct sampler s = {0};
    struct err e;
    assert_int_equal(sampler_init(&s, VOCAB, PAST, &e), 0);
    return s;
}

static void fill_logits(float *x)
{
    for (int i = 0; i < VOCAB; i++)
        x[i] = (float)(rnd() % 8000) / 1000.0f - 4.0f;
}

/* Which ids come in many draws. */
static void draw_many(struct sampler *s, const float *logits, struct engine_sampling p, bool *seen)
{
    struct sampler_past past = {NULL, 0, 0};
    memset(seen, 0, VOCAB * sizeof *seen);
    for (int i = 0; i < 6000; i++) {
        p.seed = (uint64_t)i * 977 + 5;
        int32_t id = sampler_pick(s, logits, &p, &past, NULL);
        assert_in_range(id, 0, VOCAB - 1);
        seen[id] = true;
    }
}

static double probability(const float *logits, int id)
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)logits[i]);
    return exp((double)logits[id]) / sum;
}

static void typical_keeps_the_expected(void **state)
{
    struct sampler s = made();
    float x[VOCAB];
    bool seen[VOCAB], kept[VOCAB] = {false};
    fill_logits(x);
    double entropy = 0, distance[VOCAB], mass = 0;
    for (int i = 0; i < VOCAB; i++)
        entropy -= probability(x, i) * log(probability(x, i));
    for (int i = 0; i < VOCAB; i++)
        distance[i] = fabs(-log(probability(x, i)) - entropy);
    while (mass < 0.3) {
        int best = -1;
        for (int i = 0; i < VOCAB; i++)
            if (!kept[i] && (best < 0 || distance[i] < distance[best]))
                best = i;
        kept[best] = true;
        mass += probability(x, best);
    }
    struct engine_sampling p = neutral();
    p.typical_p = 0.3f;
    draw_many(&s, x, p, seen);
    for (int i = 0; i < VOCAB; i++)
        assert_int_equal(seen[i], kept[i]);
    sampler_done(&s);
}

static void sigmas_bound_the_logits(void **state)
{
    struct sampler s = made();
    float x[VOCAB];
    bool seen[VOCAB];
    fill_logits(x);
    x[3] = -INFINITY; /* what is forbidden does not count */
    double mean = 0, squares = 0, most = -1e9;
    for (int i = 0; i < VOCAB; i++)
        if (i != 3) {
            mean += (double)x[i] / (VOCAB - 1);
            most = (double)x[i] > most ? (double)x[i] : most;
        }
    for (int i = 0; i < VOCAB; i++)
        if (i != 3)
            squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double least = most - 0.5 * sqrt(squares / (VOCAB - 1));
    struct engine_sampling p = neutral();
    p.top_n_sigma = 0.5f;
    draw_many(&s, x, p, seen);
    for (int i = 0; i < VOCAB; i++)
        assert_int_equal(seen[i], (double)x[i] >= least);
    sampler_done(&s);
}

static void xtc_takes_the_top_away(void **state)
{
    struct sampler s = made();
    float x[VOCAB];
    bool seen[VOCAB];
    for (int i = 0; i < VOCAB; i++)
        x[i] = -9;
    x[10] = 3, x[20] = 2.5f, x[30] = 2, x[40] = -1;
    struct engine_sampling p = neutral();
    p.xtc_probability = 1;
    p.xtc_threshold = 0.1f;
    p.top_k = 4;
    draw_many(&s, x, p, seen);
    assert_false(seen[10] || seen[20]);
    assert_true(seen[30] && seen[40]); /* the last of the likely ones stays, and the unlikely */
    p.xtc_probability = 0.5f;
    draw_many(&s, x, p, seen);
    assert_true(seen[10] && seen[20] && seen[30]);
    sampler_done(&s);
}

/* The definition: the longest L such that the last L tokens stand before an earlier `id`, no
 * breaker among them. */
static int longest_match(const int32_t *past, int n, int32_t id, const uint64_t *breaks)
{
    int best = 0;
    for (int at = 1; at < n; at++) {
        int len = 0;
        if (past[at] != id)
            continue;
        while (len < at && past[at - 1 - len] == past[n - 1 - len] &&
               !(breaks[past[n - 1 - len] / 64] >> (past[n - 1 - len] % 64) & 1))
            len++;
        best = len > best ? len : best;
    }
    return best;
}

static void dry_is_as_defined(void **state)
{
    struct sampler s = made();
    struct engine_sampling p = neutral();
    p.temperature = 0;
    p.dry_multiplier = 0.8f;
    p.dry_base = 1.75f;
    p.dry_allowed_length = 2;
    uint64_t breaks[(VOCAB + 63) / 64] = {0};
    breaks[0] = 1u << 2;
    p.dry_breaks = breaks;
    for (int round = 0; round < 300; round++) {
        int32_t past[PAST];
        int n = 2 + (int)(rnd() % 100);
        for (int i = 0; i < n; i++)
            past[i] = (int32_t)(rnd() % 4);
        float x[VOCAB], want[VOCAB];
        fill_logits(x);
        int best = 0;
        for (int id = 0; id < VOCAB; id++) {
            int len = id < 4 ? longest_match(past, n, id, breaks) : 0;
            x[id] += id < 4 ? 6 : 0;
            want[id] = x[id];
            if (len >= 2 && id != 2)
                want[id] -= (float)(0.8f * pow(1.75, len - 2));
            best = want[id] > want[best] ? id : best;
        }
        struct sampler_past all = {past, (size_t)n, (size_t)n};
        assert_int_equal(sampler_pick(&s, x, &p, &all, NULL), best);
    }
    sampler_done(&s);
}

static void bias_forces_and_forbids(void **state)
{
    struct sampler s = made();
    float x[VOCAB];
    bool seen[VOCAB];
    fill_logits(x);
    struct engine_bias bias[VOCAB] = {{.id = 17, .bias = 100}};
    struct engine_sampling p = neutral();
    struct sampler_past past = {NULL, 0, 0};
    p.bias = bias;
    p.nbias = 1;
    draw_many(&s, x, p, seen);
    for (int i = 0; i < VOCAB; i++)
        assert_int_equal(seen[i], i == 17);
    for (int i = 0; i < VOCAB; i++)
        bias[i] = (struct engine_bias){i, i == 5 ? 0 : -INFINITY};
    p.nbias = VOCAB;
    assert_int_equal(sampler_pick(&s, x, &p, &past, NULL), 5);
    bias[5].bias = -INFINITY;
    assert_int_equal(sampler_pick(&s, x, &p, &past, NULL), -1);
    struct err e;
    bias[5].id = VOCAB;
    assert_int_equal(sampler_check(&p, VOCAB, &e), ERR_INVAL);
    assert_non_null(strstr(err_msg(&e), "logit_bias"));
    sampler_done(&s);
}

/* top-p of a distribution made flat by the temperature keeps more than of the sharp one. */
static void the_order_is_kept(void **state)
{
    struct sampler s = made();
    float x[VOCAB];
    bool seen[VOCAB];
    int last = 0, first = 0, never = 0;
    fill_logits(x);
    struct engine_sampling p = neutral();
    p.temperature = 4;
    p.top_p = 0.5f;
    draw_many(&s, x, p, seen);
    for (int i = 0; i < VOCAB; i++)
        last += seen[i];
    p.order[0] = ENGINE_SAMPLER_TEMPERATURE;
    p.order[1] = ENGINE_SAMPLER_TOP_P;
    draw_many(&s, x, p, seen);
    for (int i = 0; i < VOCAB; i++)
        first += seen[i];
    assert_true(first > last + 10);
    p.order[0] = ENGINE_SAMPLER_TOP_K; /* no top-p in the order: it does not count */
    p.order[1] = ENGINE_SAMPLER_END;
    p.top_p = 0;
    draw_many(&s, x, p, seen);
    for (int i = 0; i < VOCAB; i++)
        never += seen[i];
    assert_true(never > last);
    sampler_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typical_keeps_the_expected), cmocka_unit_test(sigmas_bound_the_logits),
        cmocka_unit_test(xtc_takes_the_top_away),     cmocka_unit_test(dry_is_as_defined),
        cmocka_unit_test(bias_forces_and_forbids),    cmocka_unit_test(the_order_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
