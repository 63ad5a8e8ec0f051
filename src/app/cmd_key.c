/* cmd_key.c: weir key create|list|revoke: the API keys of the server. The owner of the home keeps
 * them, so a key counts, or no longer does, from this moment on. */
#include "client.h"
#include "command.h"

#include <string.h>
#include <time.h>

static int call(const struct settings *s, const char *method, const char *name, json_t **out,
                struct err *e)
{
    struct client *c = NULL;
    json_t *body = name ? json_pack("{s:s}", "name", name) : NULL;
    int rc = name && !body ? err_set(e, ERR_FORMAT, "the name is not valid UTF-8")
                           : client_open(s, false, &c, e);
    if (rc == 0)
        rc = client_json(c, method, "/weir/v1/keys", body, out, e);
    client_close(c);
    json_decref(body);
    return rc;
}

static void print_list(const json_t *answer)
{
    const json_t *list = json_object_get(answer, "keys");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *k = json_array_get(list, i);
        time_t made = (time_t)json_integer_value(json_object_get(k, "created"));
        struct tm tm;
        char date[32] = "";
        if (gmtime_r(&made, &tm))
            strftime(date, sizeof date, "%Y-%m-%d", &tm);
        printf("%-32s %s\n", json_string_value(json_object_get(k, "name")), date);
    }
}

int cmd_key(const struct settings *s, int argc, char **argv)
{
    const char *verb = argc ? argv[0] : "list";
    bool list = strcmp(verb, "list") == 0, create = strcmp(verb, "create") == 0;
    struct err e = {0};
    if ((!list && !create && strcmp(verb, "revoke") != 0) || (list ? argc > 1 : argc != 2))
        return command_usage(command_find("key"), "create NAME, list, or revoke NAME");
    json_t *answer = NULL;
    const char *method = list ? "GET" : create ? "POST" : "DELETE";
    if (call(s, method, list ? NULL : argv[1], &answer, &e) != 0)
        return command_fail(&e);
    if (list)
        print_list(answer);
    else if (create) /* shown once */
        printf("%s\n", json_string_value(json_object_get(answer, "key")));
    json_decref(answer);
    return EXIT_OK;
}
