/* cmd_provider.c: weir provider list|test and weir egress verify. */
#include "client.h"
#include "command.h"

#include "egress.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void print_rows(const json_t *rows)
{
    size_t i;
    json_t *r;
    printf("%-14s %-10s %-7s %-22s %s\n", "name", "dialect", "zone", "key", "address");
    json_array_foreach(rows, i, r)
    {
        const char *source = text_of(r, "key_source");
        bool key = json_is_true(json_object_get(r, "key"));
        printf("%-14s %-10s %-7s %-22s %s%s\n", text_of(r, "name"), text_of(r, "dialect"),
               text_of(r, "zone"),
               key                                         ? source
               : json_is_true(json_object_get(r, "found")) ? "-"
                                                           : "none",
               text_of(r, "url"), json_is_true(json_object_get(r, "found")) ? " (found here)" : "");
    }
}

static int list(const struct settings *s, struct client *c, struct err *e)
{
    json_t *status = NULL;
    int rc = client_json(c, "GET", "/weir/v1/status", NULL, &status, e);
    if (rc)
        return rc;
    json_t *rows = json_object_get(status, "providers");
    if (s->json) {
        json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        putchar('\n');
    } else {
        print_rows(rows);
    }
    json_decref(status);
    return 0;
}

static int test_one(const struct settings *s, struct client *c, const char *name, struct err *e)
{
    char path[512];
    json_t *o = NULL;
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
            strlen(name) ||
        strlen(name) > 200)
        return err_set(e, ERR_NOT_FOUND, "there is no provider '%s'", name);
    snprintf(path, sizeof path, "/weir/v1/providers/test?name=%s", name);
    int rc = client_json(c, "POST", path, NULL, &o, e);
    if (rc)
        return rc;
    if (s->json)
        json_dumpf(o, stdout, 0);
    else
        printf("%s answers: %lld models, %lld ms", name,
               (long long)json_integer_value(json_object_get(o, "models")),
               (long long)json_integer_value(json_object_get(o, "ms")));
    putchar('\n');
    json_decref(o);
    return 0;
}

int cmd_provider(const struct settings *s, int argc, char **argv)
{
    bool is_list = argc == 1 && strcmp(argv[0], "list") == 0;
    bool is_test = argc == 2 && strcmp(argv[0], "test") == 0;
    struct client *c = NULL;
    struct err e = {0};
    if (!is_list && !is_test)
        return command_usage(command_find("provider"), "list, or test NAME");
    int rc = client_open(s, false, &c, &e);
    if (rc == 0)
        rc = is_list ? list(s, c, &e) : test_one(s, c, argv[1], &e);
    client_close(c);
    return rc ? command_fail(&e) : EXIT_OK;
}

int cmd_egress(const struct settings *s, int argc, char **argv)
{
    uint64_t rows = 0;
    struct err e = {0};
    if (argc != 1 || strcmp(argv[0], "verify") != 0)
        return command_usage(command_find("egress"), "verify is what there is");
    int rc = egress_verify(s->home, &rows, &e);
    if (rc == ERR_NOT_FOUND) {
        rows = 0;
        rc = 0;
    }
    if (rc)
        return command_fail(&e);
    if (s->json)
        printf("{\"ok\":true,\"rows\":%llu}\n", (unsigned long long)rows);
    else
        printf("the egress log is whole: %llu rows\n", (unsigned long long)rows);
    return EXIT_OK;
}
