/* cmd_ps.c: weir ps and weir stop: what is loaded in the process that owns the home. */
#include "client.h"
#include "command.h"

#include <string.h>

static int ask(const struct settings *s, const char *method, const char *path, const json_t *body,
               json_t **out, struct err *e)
{
    struct client *c = NULL;
    int rc = client_open(s, false, &c, e);
    if (rc == 0)
        rc = client_json(c, method, path, body, out, e);
    client_close(c);
    return rc;
}

static void until(int64_t ms, char *out, size_t max)
{
    if (ms < 0)
        snprintf(out, max, "its memory is wanted");
    else
        snprintf(out, max, "%lld s idle", (long long)(ms + 999) / 1000);
}

int cmd_ps(const struct settings *s, int argc, char **argv)
{
    json_t *answer;
    struct err e = {0};
    if (argc)
        return command_usage(command_find("ps"), "no argument is taken");
    if (ask(s, "GET", "/weir/v1/loaded", NULL, &answer, &e) != 0)
        return command_fail(&e);
    if (s->json) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(answer);
        return EXIT_OK;
    }
    const json_t *list = json_object_get(answer, "models");
    printf("%-32s %10s %8s %8s  %s\n", "NAME", "MEMORY", "CONTEXT", "RUNNING", "UNTIL");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        char when[64];
        until(json_integer_value(json_object_get(m, "leaves_in_ms")), when, sizeof when);
        printf("%-32s %6lld MiB %8lld %8lld  %s\n", json_string_value(json_object_get(m, "name")),
               (long long)json_integer_value(json_object_get(m, "memory")) >> 20,
               (long long)json_integer_value(json_object_get(m, "context")),
               (long long)json_integer_value(json_object_get(m, "running")), when);
    }
    json_decref(answer);
    return EXIT_OK;
}

int cmd_stop(const struct settings *s, int argc, char **argv)
{
    json_t *answer = NULL;
    struct err e = {0};
    if (argc != 1)
        return command_usage(command_find("stop"), "one model is named");
    json_t *body = json_pack("{s:s}", "model", argv[0]);
    int rc = body ? ask(s, "POST", "/weir/v1/unload", body, &answer, &e)
                  : err_set(&e, ERR_FORMAT, "the name is not valid UTF-8");
    json_decref(answer);
    json_decref(body);
    return rc ? command_fail(&e) : EXIT_OK;
}
