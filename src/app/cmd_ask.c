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

int cmd_ask(const struct settings *s, int argc, char **argv)
{
    struct buf prompt;
    struct err e = {0};
    struct client *c = NULL;
    struct turn t;
    turn_init(&t);
    int rc = command_prompt(argc, argv, &prompt, &e);
    if (rc == 0 && prompt.n == 0 && !s->raw) {
        buf_done(&prompt);
        return command_usage(command_find("ask"), "there is no prompt");
    }
    json_t *messages = rc ? NULL : one_message(&prompt);
    if (rc == 0 && !messages)
        rc = err_set(&e, ERR_FORMAT, "the prompt is not valid UTF-8");
    if (rc == 0)
        rc = client_open(s, false, &c, &e);
    if (rc == 0)
        rc = turn_ask(c, s, messages, s->json ? NULL : stdout, &t, &e);
    int code = rc ? command_fail(&e) : EXIT_OK;
    if (rc == 0 && s->json)
        code = print_json(&t);
    print_account(s, &t);
    client_close(c);
    json_decref(messages);
    turn_done(&t);
    buf_done(&prompt);
    return code;
}

int cmd_route(const struct settings *s, int argc, char **argv)
{
    struct buf prompt, out = BUF_INIT(1 << 24);
    struct err e = {0};
    struct client *c = NULL;
    json_t *plan = NULL;
    int rc = command_prompt(argc, argv, &prompt, &e);
    if (rc == 0 && prompt.n == 0) {
        buf_done(&prompt);
        return command_usage(command_find("route"), "there is no prompt");
    }
    json_t *messages = rc ? NULL : one_message(&prompt);
    if (rc == 0 && !messages)
        rc = err_set(&e, ERR_FORMAT, "the prompt is not valid UTF-8");
    if (rc == 0)
        rc = client_open(s, false, &c, &e);
    if (rc == 0)
        rc = turn_route(c, s, messages, &plan, &e);
    int code = rc ? command_fail(&e) : EXIT_OK;
    if (rc == 0 && s->json) {
        char *text = json_dumps(plan, JSON_INDENT(2));
        buf_puts(&out, text ? text : "");
        free(text);
    } else if (rc == 0) {
        turn_plan_text(plan, false, &out);
    }
    if (rc == 0)
        code = command_print(&out);
    client_close(c);
    json_decref(messages);
    json_decref(plan);
    buf_done(&out);
    buf_done(&prompt);
    return code;
}
