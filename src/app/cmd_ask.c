/* cmd_ask.c: weir ask and weir route: one question, from arguments and standard input. */
#include "command.h"
#include "turn.h"

#include <string.h>

static json_t *one_message(const struct buf *prompt)
{
    json_t *text = json_stringn(prompt->p ? prompt->p : "", prompt->n);
    if (!text)
        return NULL; /* not UTF-8 */
    return json_pack("[{s:s, s:o}]", "role", "user", "content", text);
}

static int print_json(const struct turn *t)
{
    json_t *o = json_pack("{s:o?, s:s, s:O?, s:O?}", "text",
                          json_stringn(t->text.p ? t->text.p : "", t->text.n), "reason", t->reason,
                          "account", t->account, "route", t->route);
    char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    int rc = text && puts(text) >= 0 ? EXIT_OK : EXIT_FAILED;
    json_decref(o);
    free(text);
    return rc;
}

static void print_account(const struct settings *s, const struct turn *t)
{
    if (s->quiet || !t->account)
        return;
    struct buf b = BUF_INIT(65536);
    turn_line(t->account, &b);
    fprintf(stderr, "%s\n", b.p ? b.p : "");
    buf_done(&b);
}

/* What both commands need before anything can be asked. */
struct asking {
    struct client *c;
    json_t *messages;
};

static int asking_open(const struct settings *s, const char *command, int argc, char **argv,
                       struct asking *a, struct err *e)
{
    struct buf prompt;
    int rc = command_prompt(argc, argv, &prompt, e);
    if (rc == 0 && prompt.n == 0 && !s->raw)
        rc = err_set(e, ERR_INVAL, "there is no prompt: weir %s PROMPT, or text on standard input",
                     command);
    if (rc == 0 && !(a->messages = one_message(&prompt)))
        rc = err_set(e, ERR_FORMAT, "the prompt is not valid UTF-8");
    buf_done(&prompt);
    return rc ? rc : client_open(s, false, &a->c, e);
}

static int asking_done(struct asking *a, int rc, const struct err *e, int code)
{
    client_close(a->c);
    json_decref(a->messages);
    if (rc == ERR_INVAL && !a->messages) {
        fprintf(stderr, "weir: %s\n", err_msg(e));
        return EXIT_USAGE;
    }
    return rc ? command_fail(e) : code;
}

int cmd_ask(const struct settings *s, int argc, char **argv)
{
    struct asking a = {0};
    struct err e = {0};
    struct turn t;
    turn_init(&t);
    int rc = asking_open(s, "ask", argc, argv, &a, &e);
    if (rc == 0)
        rc = turn_ask(a.c, s, a.messages, s->json ? NULL : stdout, &t, &e);
    int code = rc == 0 && s->json ? print_json(&t) : EXIT_OK;
    print_account(s, &t);
    turn_done(&t);
    return asking_done(&a, rc, &e, code);
}

int cmd_route(const struct settings *s, int argc, char **argv)
{
    struct asking a = {0};
    struct buf out = BUF_INIT(1 << 24);
    struct err e = {0};
    json_t *plan = NULL;
    int rc = asking_open(s, "route", argc, argv, &a, &e);
    if (rc == 0)
        rc = turn_route(a.c, s, a.messages, &plan, &e);
    if (rc == 0 && s->json) {
        char *text = json_dumps(plan, JSON_INDENT(2));
        buf_puts(&out, text ? text : "");
        free(text);
    } else if (rc == 0) {
        turn_plan_text(plan, false, &out);
    }
    int code = rc == 0 ? command_print(&out) : EXIT_OK;
    json_decref(plan);
    buf_done(&out);
    return asking_done(&a, rc, &e, code);
}
