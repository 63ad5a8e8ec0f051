/* fuzz_prices.c: model names, amounts and dates from outside. Lines: provider, model, key, value.
 * What is found is priced, and what is read is written and read again. */
#include "ledger.h"

#include <stdlib.h>

static void amount(struct str text)
{
    int64_t nano, again;
    char out[32];
    if (money_parse(text, &nano, NULL) == 0) {
        money_short(nano, out);
        if (money_parse(str_of(money_exact(nano, out)), &again, NULL) || again != nano)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = str_n((const char *)data, n), provider, model, key, value;
    struct prices *p = NULL;
    struct price price;
    int64_t ms, cost, bound;
    str_cut(rest, '\n', &provider, &rest);
    str_cut(rest, '\n', &model, &rest);
    str_cut(rest, '\n', &key, &value);
    amount(value);
    if (ledger_date(value, &ms, NULL) == 0 && ledger_month_start(ms) > ms)
        abort();
    if (prices_new(&p, NULL))
        return 0;
    prices_set(p, model, key, value, NULL);
    for (int zone = GEN_DEVICE; zone <= GEN_CLOUD; zone++) {
        struct gen_usage u = {.input = (int64_t)n, .cached = 3, .cache_write = 2, .output = 7};
        if (prices_find(p, provider, model, (enum gen_zone)zone, &price, NULL))
            continue;
        if (price_cost(&price, &u, &cost, NULL) == 0 &&
            price_bound(&price, u.input, u.output, &bound, NULL) == 0 && cost > bound)
            abort();
    }
    prices_free(p);
    return 0;
}
