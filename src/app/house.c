/* house.c: opening the rooms in the order they lean on each other, running the loop, and closing
 * them again. */
#include "house.h"

#include "clock.h"
#include "endpoints.h"
#include "jobs.h"
#include "keys.h"
#include "log.h"
#include "models.h"
#include "pipeline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DRAIN_MS 30000
#define MAX_LIST 64
#define MAX_LISTEN 8

/* ---- lists from settings ---- */

static void list_free(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

/* "a, b" as a NULL-terminated list. */
static int list_split(const char *text, char ***out, struct err *e)
{
    char **list = calloc(MAX_LIST + 1, sizeof *list);
    struct str rest = str_of(text ? text : ""), item;
    size_t n = 0;
    bool more = list != NULL;
    while (more && n < MAX_LIST) {
        more = str_cut(rest, ',', &item, &rest);
        item = str_trim(item);
        if (item.n && !(list[n++] = strndup(item.p, item.n)))
            list = (list_free(list), NULL), more = false;
    }
    if (!list)
        return err_set(e, ERR_NOMEM, "out of memory");
    *out = list;
    return 0;
}

/* ---- privacy ---- */

static int open_rules(struct house *h, struct err *e)
{
    char **words = NULL;
    struct str list[MAX_LIST];
    size_t n = 0;
    int rc = list_split(settings_pair(h->s, "privacy", "words"), &words, e);
    for (; rc == 0 && words[n]; n++)
        list[n] = str_of(words[n]);
    struct privacy_rules_params p = {.words = list, .nwords = n};
    if (rc == 0)
        rc = privacy_rules_new(&p, &h->rules, e);
    list_free(words);
    return rc;
}

static int open_privacy(struct house *h, struct err *e)
{
    const struct settings *s = h->s;
    struct err inner;
    int rc = 0;
    h->privacy = privacy_settings_default();
    for (size_t i = 0; rc == 0 && i < s->npairs; i++) {
        const struct settings_pair *p = &s->pairs[i];
        if (strcmp(p->section, "privacy") != 0 || strcmp(p->key, "words") == 0)
            continue;
        rc = privacy_settings_set(&h->privacy, str_of(p->key), str_of(p->value), &inner);
        if (rc)
            err_set(e, rc, "weir.conf, [privacy] %s: %s", p->key, err_msg(&inner));
    }
    if (rc == 0 && s->preset && strcmp(s->preset, "private") == 0)
        h->privacy.preset = PRIVACY_PRIVATE;
    if (rc == 0)
        rc = open_rules(h, e);
    return rc ? rc : privacy_taint_new(0, &h->taint, e);
}

/* ---- money ---- */

static int read_prices(const struct settings *s, struct prices *p, struct err *e)
{
    struct err inner;
    for (size_t i = 0; i < s->npairs; i++) {
        const struct settings_pair *k = &s->pairs[i];
        if (strncmp(k->section, "price.", 6) != 0)
            continue;
        int rc = prices_set(p, str_of(k->section + 6), str_of(k->key), str_of(k->value), &inner);
        if (rc)
            return err_set(e, rc, "weir.conf, [%s] %s: %s", k->section, k->key, err_msg(&inner));
    }
    return 0;
}

static int open_ledger(struct house *h, struct err *e)
{
    struct store_params sp = {.home = h->s->home};
    struct prices *prices = NULL;
    int64_t budget = MONEY_UNKNOWN;
    int rc = store_open(&sp, &h->store, e);
    if (rc == 0 && h->s->budget == h->s->budget) /* not NaN: one is set */
        rc = money_from_usd(h->s->budget, &budget, e);
    if (rc == 0)
        rc = prices_new(&prices, e);
    if (rc == 0 && (rc = read_prices(h->s, prices, e)) != 0)
        prices_free(prices);
    if (rc)
        return rc;
    struct ledger_params lp = {
        .store = h->store, .prices = prices, .budget = budget, .baseline = h->s->baseline};
    return ledger_open(&lp, &h->ledger, e);
}

/* ---- providers ---- */

/* All keys of one [provider.NAME] section, which inih gives one by one. */
static int add_section(struct house *h, const char *section, struct err *e)
{
    const struct settings *s = h->s;
    struct provider_kv *kv = calloc(s->npairs, sizeof *kv);
    struct err inner;
    size_t n = 0;
    if (!kv)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < s->npairs; i++)
        if (strcmp(s->pairs[i].section, section) == 0)
            kv[n++] = (struct provider_kv){s->pairs[i].key, s->pairs[i].value};
    int rc = provider_add(h->providers, section + strlen("provider."), kv, n, &inner);
    free(kv);
    return rc ? err_set(e, rc, "weir.conf, [%s]: %s", section, err_msg(&inner)) : 0;
}

static bool first_of_section(const struct settings *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(s->pairs[k].section, s->pairs[i].section) == 0)
            return false;
    return true;
}

static void scanned(void *ctx, int found)
{
    struct house *h = ctx;
    net_loop_stop(h->loop);
}

static int open_providers(struct house *h, struct err *e)
{
    const struct settings *s = h->s;
    struct provider_params p = {.egress = h->egress, .loop = h->loop};
    struct err ignored;
    int rc = provider_table_new(&p, &h->providers, e);
    for (size_t i = 0; rc == 0 && i < s->npairs; i++)
        if (strncmp(s->pairs[i].section, "provider.", 9) == 0 && first_of_section(s, i))
            rc = add_section(h, s->pairs[i].section, e);
    /* Servers on this machine are asked before anybody asks us: milliseconds when there are none.
     */
    if (rc == 0 && !s->offline && provider_scan(h->providers, scanned, h, &ignored) == 0)
        net_loop_run(h->loop);
    return rc;
}

/* ---- listening ---- */

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

static int listen_local(struct house *h, struct err *e)
{
    char dir[4096], path[4128];
    snprintf(dir, sizeof dir, "%s/run", h->s->home);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_set(e, ERR_IO, "cannot create %s: %s", dir, strerror(errno));
    snprintf(path, sizeof path, "%s/weir.sock", dir);
    struct net_server_params p = {
        .unix_path = path, .request = endpoints_local, .ctx = h, .max_body = (size_t)64 << 20};
    return net_server_new(h->loop, &p, &h->local, e);
}

/* Every connection is a descriptor, and so are those that are refused, models, the database and
 * connections to providers. Where the system allows fewer, fewer clients are let in: a 503 is
 * better than an accept that fails. */
static int connections_within(int wanted)
{
    const size_t others = 1536;
    size_t files = net_raise_files((size_t)wanted + others);
    if (files >= (size_t)wanted + others)
        return wanted;
    return files > 2 * others ? (int)(files - others) : (int)(files / 2);
}

static const int usual[] = {11434, 1234, 8080}; /* Ollama, LM Studio, llama-server */

/* Who may call Ollama from a page without being asked about: pages that this machine serves, and
 * windows of programs that are installed on it. LM Studio lets none in until it is told to, and
 * llama-server any site there is; neither suits a server that three kinds of programs share. */
static const char *const near_pages[] = {"http://localhost",  "http://localhost:*",
                                         "https://localhost", "https://localhost:*",
                                         "http://127.0.0.1",  "http://127.0.0.1:*",
                                         "https://127.0.0.1", "https://127.0.0.1:*",
                                         "http://0.0.0.0",    "http://0.0.0.0:*",
                                         "https://0.0.0.0",   "https://0.0.0.0:*",
                                         "http://[::1]",      "http://[::1]:*",
                                         "https://[::1]",     "https://[::1]:*",
                                         "app://*",           "file://*",
                                         "tauri://*",         "vscode-webview://*",
                                         "vscode-file://*",   NULL};

/* Where else to listen: the other sockets that were handed over, and where the programs that weir
 * stands in for are looked for. */
static size_t further(const struct settings *s, const char *host, const struct net_inherited *given,
                      size_t ngiven, struct net_listen out[MAX_LISTEN])
{
    size_t n = 0;
    for (size_t i = 1; i < ngiven && n < MAX_LISTEN; i++)
        out[n++] = (struct net_listen){.fd = given[i].fd};
    for (size_t i = 0; s->stand_in && i < 3 && n < MAX_LISTEN; i++)
        out[n++] = (struct net_listen){.host = host, .port = usual[i], .optional = true};
    return n;
}

static int listen_tcp(struct house *h, struct err *e)
{
    const struct settings *s = h->s;
    const char *host = strcmp(s->host, "localhost") == 0 ? "127.0.0.1" : s->host;
    if (!is_loopback(host) && !keys_any(h->keys))
        return err_set(e, ERR_POLICY,
                       "listening on %s lets other machines in: set an API key first (weir key "
                       "create, api-key in weir.conf, or WEIR_API_KEY)",
                       host);
    int rc = list_split(s->allow_origin, &h->origins, e);
    if (rc == 0)
        rc = list_split(s->allow_host, &h->hosts, e);
    if (rc)
        return rc;
    struct net_listen also[MAX_LISTEN];
    struct net_inherited given[MAX_LISTEN];
    int ngiven = net_inherited(given, MAX_LISTEN, e);
    if (ngiven < 0)
        return ngiven;
    size_t nalso = further(s, host, given, (size_t)ngiven, also);
    struct net_server_params p = {.host = host,
                                  .port = (int)s->port,
                                  .fd = ngiven ? given[0].fd : 0,
                                  .also = also,
                                  .nalso = nalso,
                                  .body_limit = endpoints_body_limit,
                                  .refuse = endpoints_refuse,
                                  .max_connections = connections_within((int)s->connections),
                                  .allow_origins = (const char *const *)h->origins,
                                  .allow_hosts = (const char *const *)h->hosts,
                                  .guests = s->stand_in ? near_pages : NULL,
                                  .guest_ports = usual,
                                  .nguest_ports = sizeof usual / sizeof usual[0],
                                  .request = endpoints_public,
                                  .ctx = h};
    rc = net_server_new(h->loop, &p, &h->tcp, e);
    if (rc == 0)
        snprintf(h->address, sizeof h->address,
                 strchr(host, ':') ? "http://[%s]:%d/" : "http://%s:%d/", host,
                 net_server_port(h->tcp));
    return rc;
}

/* ---- open and close ---- */

static int take_home(struct house *h, struct err *e)
{
    struct store_owner owner;
    struct err inner = {0};
    int rc = store_home_lock(h->s->home, &h->lock, &owner, &inner);
    if (rc == ERR_BUSY)
        return err_set(e, ERR_BUSY, "%s is owned by another weir (process %ld%s%s)", h->s->home,
                       owner.pid, owner.address[0] ? ", " : "", owner.address);
    if (rc && e)
        *e = inner;
    return rc;
}

static int open_rooms(struct house *h, bool serve, struct err *e)
{
    int rc = take_home(h, e);
    if (rc == 0)
        rc = open_ledger(h, e);
    if (rc == 0)
        rc = net_loop_new(&h->loop, e);
    struct egress_params ep = {.loop = h->loop, .home = h->s->home, .offline = h->s->offline};
    if (rc == 0)
        rc = egress_new(&ep, &h->egress, e);
    if (rc == 0)
        rc = open_privacy(h, e);
    if (rc == 0)
        rc = open_providers(h, e);
    if (rc == 0)
        rc = models_new(h, &h->models, e);
    if (rc == 0)
        rc = keys_open(h->s->home, h->s->api_key, &h->keys, e);
    if (rc == 0)
        rc = listen_local(h, e);
    if (rc == 0 && serve)
        rc = listen_tcp(h, e);
    if (rc == 0)
        rc = store_home_publish(h->lock, h->address[0] ? h->address : "unix", e);
    return rc;
}

/* ---- what the machine can do ---- */

/* Until it is measured: what two channels of ordinary memory give. */
#define GUESSED_BPS 20e9
#define LEARN_MS 30000

static void learn_work(void *ctx)
{
    struct house *h = ctx;
    h->learned_bps = fit_learn(h->s->home, (int)h->s->threads);
}

static void learned(void *ctx)
{
    struct house *h = ctx;
    if (h->learned_bps > 0)
        h->machine.read_bps = h->learned_bps;
}

/* When nobody is being served: the measurement and an answer would disturb each other. It reads
 * more than the caches hold, up to a gigabyte, so it is not the first thing that a server does. */
static void on_learn(void *ctx)
{
    struct house *h = ctx;
    if (h->nflows)
        return;
    net_timer_free(h->learning);
    h->learning = NULL;
    net_work(h->loop, learn_work, learned, h);
}

/* The first answer does not wait for a measurement. */
static void know_machine(struct house *h, bool serve)
{
    if (fit_known(h->s->home, (int)h->s->threads, &h->machine))
        return;
    h->machine.read_bps = GUESSED_BPS;
    if (serve)
        net_timer_new(h->loop, LEARN_MS, LEARN_MS, on_learn, h, &h->learning);
}

int house_new(const struct settings *s, bool serve, struct house **out, struct err *e)
{
    struct house *h = calloc(1, sizeof *h);
    if (!h)
        return err_set(e, ERR_NOMEM, "out of memory");
    h->s = s;
    int rc = open_rooms(h, serve, e);
    if (rc) {
        house_free(h);
        return rc;
    }
    know_machine(h, serve);
    *out = h;
    return 0;
}

void house_free(struct house *h)
{
    if (!h)
        return;
    if (h->local)
        net_server_close(h->local);
    if (h->tcp)
        net_server_close(h->tcp);
    net_timer_free(h->learning);
    jobs_end(h);
    if (h->loop)
        net_loop_settle(h->loop); /* a model that loads or leaves is in a worker's hand */
    models_free(h->models);
    keys_free(h->keys);
    provider_table_free(h->providers);
    egress_free(h->egress);
    net_loop_free(h->loop);
    privacy_rules_free(h->rules);
    privacy_taint_free(h->taint);
    ledger_close(h->ledger);
    store_close(h->store);
    store_home_unlock(h->lock);
    list_free(h->origins);
    list_free(h->hosts);
    free(h);
}

void house_run(struct house *h)
{
    net_loop_run(h->loop);
}

/* ---- stopping ---- */

static void try_end(struct house *h)
{
    if (h->nflows == 0 && (!h->tcp || net_server_connections(h->tcp) == 0) &&
        net_server_connections(h->local) == 0) {
        net_timer_free(h->deadline);
        h->deadline = NULL;
        net_loop_stop(h->loop);
    }
}

void house_flow_ended(struct house *h)
{
    if (h->stopping)
        try_end(h);
}

static void drained(void *ctx)
{
    try_end(ctx);
}

static void end_streams(void *ctx)
{
    struct house *h = ctx;
    pipeline_cancel_all(h);
    /* Cancelled streams end with an in-band error; what is still there two seconds later is cut. */
    net_timer_free(h->deadline);
    h->deadline = NULL;
    net_loop_stop(h->loop);
}

static void cancel_streams(void *ctx)
{
    struct house *h = ctx;
    pipeline_cancel_all(h);
    net_timer_free(h->deadline);
    h->deadline = NULL;
    net_timer_new(h->loop, 2000, 0, end_streams, h, &h->deadline);
}

static void stop_here(void *ctx)
{
    struct house *h = ctx;
    if (h->stopping) {
        cancel_streams(h);
        return;
    }
    h->stopping = true;
    net_timer_new(h->loop, DRAIN_MS, 0, cancel_streams, h, &h->deadline);
    if (h->tcp)
        net_server_drain(h->tcp, drained, h);
    net_server_drain(h->local, drained, h);
}

void house_stop(struct house *h)
{
    net_post(h->loop, stop_here, h);
}
