/* cmd_hello.c: weir hello, what `make run` starts: a working hybrid stack on a bare machine, shown.
 * With a terminal it ends in a chat; without one it asks a sample question, shows three verdicts of
 * the router and leaves. */
#include "chat.h"
#include "command.h"
#include "fit.h"
#include "pulling.h"
#include "turn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const sample =
    "What is the difference between a river and a lake? Answer in one sentence.";

static const struct {
    const char *kind, *prompt;
} verdicts[] = {
    {"an easy task", "Rewrite this more politely: send me the report now."},
    {"an expert's task",
     "Derive the asymptotic distribution of the maximum likelihood estimator under model "
     "misspecification, and say when the sandwich covariance is needed."},
    {"a client's contract clause",
     "Our client, reachable at anna.kessler@example.com, asks about this clause: \"The "
     "Supplier shall indemnify the Customer against all third-party claims.\" Is it enforceable "
     "under German law, and how should we reword it?"},
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static json_t *get_status(struct client *c, struct err *e)
{
    struct buf whole = BUF_INIT(1 << 24);
    struct client_call call = {.method = "GET", .path = "/weir/v1/status", .whole = &whole};
    int status = 0;
    json_t *o = NULL;
    if (client_call(c, &call, &status, e) == 0)
        o = json_loadb(whole.p ? whole.p : "", whole.n, 0, NULL);
    buf_done(&whole);
    return o;
}

static void print_found(const json_t *status)
{
    size_t i, keys = 0, servers = 0;
    json_t *p;
    json_array_foreach(json_object_get(status, "providers"), i, p)
    {
        if (json_is_true(json_object_get(p, "found"))) {
            fprintf(stderr, "found %s at %s: offered as zone %s\n", text_of(p, "name"),
                    text_of(p, "url"), text_of(p, "zone"));
            servers++;
        } else if (json_is_true(json_object_get(p, "key"))) {
            fprintf(stderr, "found a key for %s: zone %s\n", text_of(p, "name"),
                    text_of(p, "zone"));
            keys++;
        }
    }
    if (servers == 0)
        fputs("no other model server is running on this machine\n", stderr);
    if (keys == 0)
        fputs("no provider key is set: nothing leaves this machine (OPENAI_API_KEY, "
              "ANTHROPIC_API_KEY and OPENROUTER_API_KEY are looked for)\n",
              stderr);
}

static void print_machine(const struct settings *s)
{
    struct fit_machine m;
    fit_measure((int)s->threads, false, &m);
    const struct fit_row *best = fit_best(&m);
    if (best)
        fprintf(stderr,
                "demo model; this machine runs up to %s (%s) at about %.0f tokens/s (weir fit)\n",
                best->model->name, best->model->quant, best->tokens_s);
    else
        fputs("demo model; this machine is too small for a larger one (weir fit)\n", stderr);
}

static json_t *message(const char *text)
{
    return json_pack("[{s:s, s:s}]", "role", "user", "content", text);
}

static int ask_sample(struct client *c, const struct settings *s, struct err *e)
{
    struct turn t;
    struct buf line = BUF_INIT(65536);
    json_t *messages = message(sample);
    struct settings greedy = *s; /* shares what it points to */
    greedy.temperature = 0;
    greedy.temperature_set = true;
    turn_init(&t);
    fprintf(stderr, "\n> %s\n", sample);
    int rc = turn_ask(c, &greedy, messages, stdout, &t, e);
    if (rc == 0 && t.account) {
        turn_line(t.account, &line);
        fprintf(stderr, "%s\n", line.p ? line.p : "");
    }
    buf_done(&line);
    turn_done(&t);
    json_decref(messages);
    return rc;
}

static int show_verdicts(struct client *c, const struct settings *s, struct err *e)
{
    int rc = 0;
    fputs("\nwhere other requests would go (nobody is called):\n", stderr);
    for (size_t i = 0; rc == 0 && i < sizeof verdicts / sizeof verdicts[0]; i++) {
        json_t *messages = message(verdicts[i].prompt), *plan = NULL;
        struct buf line = BUF_INIT(65536);
        rc = turn_route(c, s, messages, &plan, e);
        if (rc == 0) {
            turn_plan_text(plan, true, &line);
            fprintf(stderr, "  %s:\n      %s", verdicts[i].kind, line.p ? line.p : "");
        }
        json_decref(plan);
        json_decref(messages);
        buf_done(&line);
    }
    return rc;
}

static int show(struct client *c, const struct settings *s, struct err *e)
{
    json_t *status = get_status(c, e);
    if (!status)
        return e->code ? e->code : err_set(e, ERR_INTERNAL, "the server's status is not JSON");
    fprintf(stderr, "weir is ready: %s\n", text_of(status, "page"));
    print_found(status);
    json_decref(status);
    print_machine(s);
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        chat_loop(c, s);
        return 0;
    }
    int rc = ask_sample(c, s, e);
    return rc ? rc : show_verdicts(c, s, e);
}

int cmd_hello(const struct settings *s, int argc, char **argv)
{
    struct client *c = NULL;
    struct err e = {0};
    int rc = pulling_default(s, &e);
    if (rc == 0)
        rc = client_open(s, true, &c, &e);
    if (rc == 0)
        rc = show(c, s, &e);
    int code = rc ? command_fail(&e) : EXIT_OK;
    client_close(c);
    return code;
}
