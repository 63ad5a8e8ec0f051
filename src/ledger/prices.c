/* prices.c: which price a model has, and what tokens cost by it.
 *
 * A lookup tries forms of the id from the exact one to the loosest, and at each form lays what the
 * user's configuration says over the built-in row. A model found at no form has no price: guessing
 * by a similar name would book a wrong figure without anybody noticing. Arithmetic is in integers,
 * 128 bits wide, rounded up. Immutable once a ledger has it, so any thread may look up. */
#include "ledger_int.h"

#include <stdlib.h>

#define CONFIG_MAX 1024
#define TEXT_MAX 256
#define TOKENS_PER_PRICE 1000000

/* Keys of a [price.MODEL] section. */
enum { KEY_MONEY, KEY_TOKENS, KEY_TEXT };
static const struct {
    const char *name;
    int type;
    size_t offset;
} keys[] = {
    {"input", KEY_MONEY, offsetof(struct price, input)},
    {"cached", KEY_MONEY, offsetof(struct price, cached)},
    {"cache-write", KEY_MONEY, offsetof(struct price, cache_write)},
    {"output", KEY_MONEY, offsetof(struct price, output)},
    {"long-above", KEY_TOKENS, offsetof(struct price, long_above)},
    {"long-input", KEY_MONEY, offsetof(struct price, long_input)},
    {"long-cached", KEY_MONEY, offsetof(struct price, long_cached)},
    {"long-cache-write", KEY_MONEY, offsetof(struct price, long_cache_write)},
    {"long-output", KEY_MONEY, offsetof(struct price, long_output)},
    {"max-output", KEY_TOKENS, offsetof(struct price, max_output)},
    {"date", KEY_TEXT, offsetof(struct price, date)},
    {"source", KEY_TEXT, offsetof(struct price, source)},
};
#define NKEYS (sizeof keys / sizeof keys[0])

struct config {
    char *model;
    unsigned set; /* bit i: keys[i] was given */
    struct price price;
};

struct prices {
    struct config *rows;
    size_t n;
};

int prices_new(struct prices **out, struct err *e)
{
    struct prices *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "no memory for prices");
    *out = p;
    return 0;
}

static void *field(struct price *p, size_t key)
{
    return (char *)p + keys[key].offset;
}

static const void *field_of(const struct price *p, size_t key)
{
    return (const char *)p + keys[key].offset;
}

void prices_free(struct prices *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; k < NKEYS; k++)
            if (keys[k].type == KEY_TEXT && (p->rows[i].set & 1u << k))
                free(*(char **)field(&p->rows[i].price, k));
        free(p->rows[i].model);
    }
    free(p->rows);
    free(p);
}

static struct config *config_find(const struct prices *p, struct str model)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_is(model, p->rows[i].model))
            return &p->rows[i];
    return NULL;
}

static int config_add(struct prices *p, struct str model, struct config **out, struct err *e)
{
    if (model.n == 0 || model.n > TEXT_MAX)
        return err_set(e, ERR_INVAL, "[price.MODEL] needs a model's name");
    if (p->n == CONFIG_MAX)
        return err_set(e, ERR_LIMIT, "more than %d models with a price of their own", CONFIG_MAX);
    struct config *rows = realloc(p->rows, (p->n + 1) * sizeof *rows);
    if (!rows)
        return err_set(e, ERR_NOMEM, "no memory for prices");
    p->rows = rows;
    struct config *c = &rows[p->n];
    *c = (struct config){.model = strndup(model.p, model.n)};
    if (!c->model)
        return err_set(e, ERR_NOMEM, "no memory for prices");
    p->n++;
    *out = c;
    return 0;
}

static int set_key(struct config *c, size_t k, struct str value, struct err *e)
{
    void *at = field(&c->price, k);
    int64_t number = 0;
    int rc = 0;
    if (keys[k].type == KEY_MONEY) {
        rc = money_parse(value, &number, e);
    } else if (keys[k].type == KEY_TOKENS) {
        if (!str_to_i64(value, &number) || number < 0)
            rc = err_set(e, ERR_FORMAT, "'%.*s' is not a number of tokens", STR_ARG(value));
    } else {
        char *text = strndup(value.p ? value.p : "", value.n < TEXT_MAX ? value.n : TEXT_MAX);
        if (!text)
            return err_set(e, ERR_NOMEM, "no memory for prices");
        if (c->set & 1u << k)
            free(*(char **)at);
        *(char **)at = text;
    }
    if (rc)
        return rc;
    if (keys[k].type != KEY_TEXT)
        *(int64_t *)at = number;
    c->set |= 1u << k;
    return 0;
}

int prices_set(struct prices *p, struct str model, struct str key, struct str value, struct err *e)
{
    size_t k = 0;
    while (k < NKEYS && !str_is(key, keys[k].name))
        k++;
    if (k == NKEYS)
        return err_set(e, ERR_NOT_FOUND, "[price.%.*s] has no key '%.*s'", STR_ARG(model),
                       STR_ARG(key));
    struct config *c = config_find(p, model);
    int rc = c ? 0 : config_add(p, model, &c, e);
    return rc ? rc : set_key(c, k, value, e);
}

/* ---- the forms of an id ---- */

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

/* "-2025-08-07", "-20250929" or "-latest" off the end. */
static struct str strip_date(struct str id)
{
    if (str_ends(id, STR("-latest")))
        return str_n(id.p, id.n - 7);
    if (id.n > 11) {
        const char *d = id.p + id.n - 11;
        if (d[0] == '-' && all_digits(str_n(d + 1, 4)) && d[5] == '-' &&
            all_digits(str_n(d + 6, 2)) && d[8] == '-' && all_digits(str_n(d + 9, 2)))
            return str_n(id.p, id.n - 11);
    }
    if (id.n > 9 && id.p[id.n - 9] == '-' && id.p[id.n - 8] == '2' &&
        all_digits(str_n(id.p + id.n - 8, 8)))
        return str_n(id.p, id.n - 9);
    return id;
}

static const struct price_row *built_in(struct str provider, struct str model)
{
    for (size_t i = 0; i < price_count; i++)
        if (str_is(model, price_table[i].model) &&
            (provider.n == 0 || str_is(provider, price_table[i].vendor)))
            return &price_table[i];
    return NULL;
}

/* "PROVIDER/MODEL" before "MODEL". */
static const struct config *configured(const struct prices *p, struct str provider,
                                       struct str model)
{
    for (size_t i = 0; provider.n && i < p->n; i++) {
        struct str name = str_of(p->rows[i].model);
        if (name.n == provider.n + 1 + model.n && str_starts(name, provider) &&
            name.p[provider.n] == '/' && str_ends(name, model))
            return &p->rows[i];
    }
    return config_find(p, model);
}

static const struct price nothing_known = {
    .input = MONEY_UNKNOWN,
    .cached = MONEY_UNKNOWN,
    .cache_write = MONEY_UNKNOWN,
    .output = MONEY_UNKNOWN,
    .long_input = MONEY_UNKNOWN,
    .long_cached = MONEY_UNKNOWN,
    .long_cache_write = MONEY_UNKNOWN,
    .long_output = MONEY_UNKNOWN,
    .date = "",
    .source = "",
    .id = "",
};

static void lay_over(const struct config *c, struct price *out)
{
    for (size_t k = 0; k < NKEYS; k++)
        if (c->set & 1u << k)
            memcpy(field(out, k), field_of(&c->price, k),
                   keys[k].type == KEY_TEXT ? sizeof(char *) : sizeof(int64_t));
    out->id = c->model;
}

/* One form of the id. */
static bool look_up(const struct prices *p, struct str provider, struct str model,
                    struct price *out)
{
    const struct price_row *row = built_in(provider, model);
    const struct config *c = configured(p, provider, model);
    if (!row && !c)
        return false;
    *out = row ? row->price : nothing_known;
    if (row)
        out->id = row->model;
    if (c)
        lay_over(c, out);
    return true;
}

static bool look_up_dated(const struct prices *p, struct str provider, struct str model,
                          struct price *out)
{
    struct str plain = strip_date(model);
    return look_up(p, provider, model, out) ||
           (plain.n != model.n && look_up(p, provider, plain, out));
}

static const struct price costs_nothing = {.date = "", .source = "", .id = "local"};

/* What is not cloud is the user's own: its price is what the user says, or nothing. */
static void own_machine(const struct prices *p, struct str provider, struct str model,
                        struct price *out)
{
    const struct config *c = configured(p, provider, model);
    *out = costs_nothing;
    if (c)
        lay_over(c, out);
}

int prices_find(const struct prices *p, struct str provider, struct str model, enum gen_zone zone,
                struct price *out, struct err *e)
{
    struct str head, rest;
    if (zone != GEN_CLOUD) {
        own_machine(p, provider, model, out);
        return 0;
    }
    if (look_up_dated(p, provider, model, out))
        return 0;
    bool prefixed = str_cut(model, '/', &head, &rest);
    if (prefixed && (provider.n == 0 || str_eq(head, provider)) &&
        look_up_dated(p, head, rest, out))
        return 0;
    /* OpenRouter's free variants cost nothing by their name. */
    if (str_is(provider, "openrouter") && str_ends(model, STR(":free"))) {
        *out = costs_nothing;
        out->id = "openrouter :free";
        return 0;
    }
    return err_set(e, ERR_NOT_FOUND, "the price of %.*s%s%.*s is unknown: add [price.%.*s]",
                   STR_ARG(provider), provider.n ? "/" : "", STR_ARG(model), STR_ARG(model));
}

/* ---- arithmetic ---- */

struct sum {
    unsigned __int128 total; /* nano-dollars times a million */
    bool unknown, overflow;
};

static void sum_add(struct sum *s, int64_t tokens, int64_t price)
{
    if (tokens <= 0)
        return;
    if (price == MONEY_UNKNOWN) {
        s->unknown = true;
        return;
    }
    unsigned __int128 product = (unsigned __int128)(uint64_t)tokens * (uint64_t)price;
    /* Each product is below 2^126; what is larger than the books is caught before it can add up. */
    s->overflow = s->overflow || product > (unsigned __int128)1 << 100;
    if (!s->overflow)
        s->total += product;
}

static int sum_take(const struct sum *s, const struct price *p, int64_t *nano, struct err *e)
{
    if (s->unknown)
        return err_set(e, ERR_NOT_FOUND, "a price of %s that this needs is unknown", p->id);
    unsigned __int128 rounded = (s->total + TOKENS_PER_PRICE - 1) / TOKENS_PER_PRICE;
    if (s->overflow || rounded > (unsigned __int128)INT64_MAX)
        return err_set(e, ERR_LIMIT, "the cost is more than the books can hold");
    *nano = (int64_t)rounded;
    return 0;
}

static int64_t clamp(int64_t v, int64_t max)
{
    return v < 0 ? 0 : v > max ? max : v;
}

int price_cost(const struct price *p, const struct gen_usage *u, int64_t *nano, struct err *e)
{
    bool longer = p->long_above > 0 && u->input > p->long_above;
    int64_t input = clamp(u->input, INT64_MAX);
    int64_t cached = clamp(u->cached, input);
    int64_t written = clamp(u->cache_write, input - cached);
    struct sum s = {0};
    sum_add(&s, input - cached - written, longer ? p->long_input : p->input);
    sum_add(&s, cached, longer ? p->long_cached : p->cached);
    sum_add(&s, written, longer ? p->long_cache_write : p->cache_write);
    sum_add(&s, u->output, longer ? p->long_output : p->output);
    return sum_take(&s, p, nano, e);
}

static int64_t dearest(int64_t input, int64_t cached, int64_t write)
{
    /* MONEY_UNKNOWN is below every price, so it wins only where input itself is unknown. */
    int64_t most = cached > write ? cached : write;
    return input == MONEY_UNKNOWN || input > most ? input : most;
}

int price_bound(const struct price *p, int64_t input, int64_t output, int64_t *nano, struct err *e)
{
    bool longer = p->long_above > 0 && input > p->long_above;
    struct sum s = {0};
    sum_add(&s, input,
            longer ? dearest(p->long_input, p->long_cached, p->long_cache_write)
                   : dearest(p->input, p->cached, p->cache_write));
    sum_add(&s, output, longer ? p->long_output : p->output);
    return sum_take(&s, p, nano, e);
}

/* ---- the list ---- */

static void list_json_money(const char *name, int64_t v, struct buf *out)
{
    char text[32];
    buf_printf(out, ",\"%s\":", name);
    if (v == MONEY_UNKNOWN)
        buf_puts(out, "null");
    else
        buf_json_str(out, str_of(money_exact(v, text)));
}

static void list_json(const char *vendor, const char *model, const struct price *p, struct buf *out)
{
    buf_puts(out, "{\"provider\":");
    buf_json_str(out, str_of(vendor));
    buf_puts(out, ",\"model\":");
    buf_json_str(out, str_of(model));
    list_json_money("input", p->input, out);
    list_json_money("cached", p->cached, out);
    list_json_money("cache_write", p->cache_write, out);
    list_json_money("output", p->output, out);
    if (p->long_above > 0) {
        buf_printf(out, ",\"long_above\":%lld", (long long)p->long_above);
        list_json_money("long_input", p->long_input, out);
        list_json_money("long_output", p->long_output, out);
    }
    buf_puts(out, ",\"date\":");
    buf_json_str(out, str_of(p->date));
    buf_puts(out, ",\"source\":");
    buf_json_str(out, str_of(p->source));
    buf_putc(out, '}');
}

static void list_money(struct table *t, int64_t v)
{
    char text[32];
    table_cell(t, v == MONEY_UNKNOWN ? STR("-") : str_of(money_exact(v, text)));
}

static void list_cells(struct table *t, const char *vendor, const char *model,
                       const struct price *p)
{
    table_cell(t, str_of(vendor));
    table_cell(t, str_of(model));
    list_money(t, p->input);
    list_money(t, p->cached);
    list_money(t, p->cache_write);
    list_money(t, p->output);
    table_cell(t, str_of(p->date));
}

/* Built-in rows as the configuration leaves them, then the rows only the configuration has. */
static void list_rows(const struct prices *p, bool json, struct table *t, struct buf *out)
{
    bool first = true;
    for (size_t i = 0; i < price_count + p->n; i++) {
        const char *vendor = "config", *model;
        struct price price = nothing_known;
        if (i < price_count) {
            vendor = price_table[i].vendor;
            model = price_table[i].model;
            look_up(p, str_of(vendor), str_of(model), &price);
        } else {
            model = p->rows[i - price_count].model;
            lay_over(&p->rows[i - price_count], &price);
        }
        if (json && !first)
            buf_putc(out, ',');
        first = false;
        if (json)
            list_json(vendor, model, &price, out);
        else
            list_cells(t, vendor, model, &price);
    }
}

int prices_list(const struct prices *p, bool json, struct buf *out, struct err *e)
{
    static const char *const heads[] = {"PROVIDER",    "MODEL",  "INPUT", "CACHED",
                                        "CACHE WRITE", "OUTPUT", "AS OF"};
    struct table t;
    table_init(&t, 7);
    for (int i = 2; i < 6; i++)
        t.right[i] = true;
    for (int i = 0; i < 7; i++)
        table_cell(&t, str_of(heads[i]));
    if (json)
        buf_puts(out, "{\"unit\":\"dollars per million tokens\",\"prices\":[");
    list_rows(p, json, &t, out);
    if (json)
        buf_puts(out, "]}\n");
    else
        table_print(&t, out);
    table_done(&t);
    return buf_failed(out) ? err_set(e, ERR_NOMEM, "no memory for the list of prices") : 0;
}
