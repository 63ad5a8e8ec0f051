/* test_schema.c: JSON Schema as a grammar: what is accepted is accepted by the schema, what cannot
 * be enforced is refused by name; and the JSON-Schema-Test-Suite, every file of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "grammar.h"

/* ---- helpers ---- */

static struct grammar *schema(const char *text)
{
    struct grammar *g = NULL;
    struct err e = {0};
    if (grammar_from_schema(str_of(text), NULL, &g, &e) != 0)
        fail_msg("%s: %s", text, e.msg);
    return g;
}

static bool matches(const struct grammar *g, struct str text)
{
    struct grammar_state *s = NULL;
    struct err e = {0};
    assert_int_equal(grammar_state_new(g, NULL, &s, &e), 0);
    bool ok = grammar_state_accept_bytes(s, text) && grammar_state_may_end(s);
    grammar_state_free(s);
    return ok;
}

/* Texts separated by a bar each. */
static void holds(const char *text, const char *good, const char *bad)
{
    struct grammar *g = schema(text);
    struct str rest = str_of(good), one;
    for (bool more = good[0]; more;) {
        more = str_cut(rest, '|', &one, &rest);
        if (!matches(g, one))
            fail_msg("%s does not take %.*s", text, STR_ARG(one));
    }
    rest = str_of(bad);
    for (bool more = bad[0]; more;) {
        more = str_cut(rest, '|', &one, &rest);
        if (matches(g, one))
            fail_msg("%s takes %.*s", text, STR_ARG(one));
    }
    grammar_free(g);
}

static void refused(const char *text, int code, const char *says)
{
    struct grammar *g = NULL;
    struct err e = {0};
    int rc = grammar_from_schema(str_of(text), NULL, &g, &e);
    if (rc != code || !strstr(e.msg, says))
        fail_msg("%s: %d, \"%s\", expected %d, \"%s\"", text, rc, e.msg, code, says);
    assert_null(g);
}

/* ---- types ---- */

static void numbers(void **state)
{
    holds("{\"type\":\"integer\"}", "0|-7|123456", "1.5|01|-0|1e3|\"1\"|null");
    holds("{\"type\":\"number\"}", "0|-7.25|1e-5|2.5E+10", ".5|+1|1.|NaN");
    holds("{\"type\":\"integer\",\"minimum\":-5,\"maximum\":12}", "-5|-1|0|9|10|12",
          "-6|-10|13|20|100");
    holds("{\"type\":\"integer\",\"exclusiveMinimum\":99,\"maximum\":1000}", "100|999|1000",
          "99|1001|9999|5");
    holds("{\"type\":\"number\",\"minimum\":-1.5,\"exclusiveMaximum\":2.25}",
          "-1.5|-1.49|-1|0|2.2499|2|2.2", "-1.51|-2|2.25|2.3|3");
    holds("{\"type\":\"number\",\"multipleOf\":0.25}", "0.25|1.5|-3|7.75|2.50", "0.3|1.1|0.251");
    holds("{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":20}", "21|700|777", "20|14|22");
    holds("{\"type\":\"number\",\"not\":{\"type\":\"integer\"}}", "1.5|-0.25", "1|2.0");
    holds("{\"type\":\"number\",\"enum\":[1,2.5,\"x\"]}", "1|2.5", "2|\"x\"");
    holds("{\"type\":\"integer\",\"not\":{\"enum\":[3,4]}}", "2|5|33", "3|4");
}

static void strings(void **state)
{
    holds("{\"type\":\"string\"}", "\"\"|\"a\\n\\u00e9\"", "a|\"a|1");
    holds("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
          "\"ab\"|\"\xC3\xA9\xF0\x9F\x98\x80\"|\"\\ud83d\\ude00x\"",
          "\"a\"|\"abcd\"|\"\\ud83d\\ude00\"");
    holds("{\"type\":\"string\",\"pattern\":\"^[a-c]+-\\\\d{2}$\"}", "\"abc-12\"",
          "\"d-12\"|\"a-1\"|\"xa-12\"|\"a-123\"");
    holds("{\"type\":\"string\",\"pattern\":\"b\"}", "\"abc\"|\"b\"", "\"ac\"");
    holds("{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":2}", "\"xa\"", "\"xxa\"|\"x\"");
    holds("{\"type\":\"string\",\"not\":{\"pattern\":\"^a\"}}", "\"b\"|\"\"", "\"a\"|\"ab\"");
    holds("{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-29\"|\"1999-12-31\"",
          "\"2023-02-29\"|\"2023-13-01\"|\"x\"");
    holds("{\"type\":\"string\",\"format\":\"date-time\"}", "\"2024-02-29T12:30:00Z\"",
          "\"2024-02-29\"|\"2024-02-29T25:00:00Z\"");
    holds("{\"type\":\"string\",\"enum\":[\"a\\n\",\"b|\"]}", "\"a\\n\"", "\"c\"|\"a\"");
}

static void arrays(void **state)
{
    holds("{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
          "[1]|[1, 2,3]|[ 1 ]", "[]|[1,2,3,4]|[\"a\"]|[1,]|[,1]");
    holds("{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],"
          "\"items\":false}",
          "[]|[1]|[1,\"a\"]", "[1,\"a\",2]|[\"a\"]");
    holds("{\"type\":\"array\",\"contains\":{\"const\":5},\"items\":{\"type\":\"integer\"},"
          "\"maxContains\":1}",
          "[5]|[1,5,2]", "[]|[1]|[5,5]");
    holds("{\"type\":\"array\",\"not\":{\"contains\":{\"const\":5}}}", "[]|[1,\"a\"]", "[5]|[1,5]");
}

static void objects(void **state)
{
    holds("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
          "\"string\"}},\"required\":[\"b\"],\"additionalProperties\":false}",
          "{\"b\":\"x\"}|{\"a\":1,\"b\":\"x\"}|{ \"a\": 1, \"b\": \"x\" }",
          "{}|{\"a\":1}|{\"b\":1}|{\"b\":\"x\",\"c\":1}|{\"a\":1,\"b\":\"x\",}");
    holds("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}",
          "{}|{\"x\":[1]}|{\"a\":1,\"x\":null,\"y\":2}",
          "{\"a\":\"s\"}|{\"x\":1,\"a\":\"s\"}|{\"\\u0061\":\"s\"}");
    holds("{\"type\":\"object\",\"patternProperties\":{\"^n\":{\"type\":\"integer\"}},"
          "\"additionalProperties\":{\"type\":\"string\"}}",
          "{\"n1\":1,\"x\":\"s\"}", "{\"n1\":\"s\"}|{\"x\":1}");
    holds("{\"type\":\"object\",\"propertyNames\":{\"maxLength\":2}}", "{\"ab\":1}", "{\"abc\":1}");
    holds("{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":2,\"properties\":{\"a\":{},"
          "\"b\":{}}}",
          "{\"a\":1}|{\"a\":1,\"b\":2}|{\"x\":1}|{\"a\":1,\"x\":1}",
          "{}|{\"a\":1,\"b\":2,\"x\":3}");
    holds("{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{}},\"dependentRequired\":{\"a\":["
          "\"b\"]},\"additionalProperties\":false}",
          "{}|{\"b\":1}|{\"a\":1,\"b\":1}", "{\"a\":1}");
    holds("{\"type\":\"object\",\"properties\":{\"a\":{}},\"not\":{\"required\":[\"a\"]}}",
          "{}|{\"b\":1}", "{\"a\":1}");
}

/* ---- joining ---- */

static void joins(void **state)
{
    holds("{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\",\"maxLength\":1}]}", "1|\"a\"",
          "\"ab\"|1.5|null");
    holds("{\"oneOf\":[{\"type\":\"integer\",\"minimum\":2},{\"type\":\"integer\",\"multipleOf\":3}"
          "]}",
          "2|0|-3|4", "3|6|1");
    holds("{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]},{"
          "\"properties\":{\"b\":{\"type\":\"null\"}},\"required\":[\"b\"]}],\"type\":\"object\"}",
          "{\"a\":1,\"b\":null}", "{\"a\":1}|{\"b\":null}");
    holds("{\"type\":\"object\",\"oneOf\":[{\"properties\":{\"k\":{\"const\":\"x\"},\"v\":{"
          "\"type\":\"integer\"}},\"required\":[\"k\",\"v\"]},{\"properties\":{\"k\":{\"const\":"
          "\"y\"}},\"required\":[\"k\"]}]}",
          "{\"k\":\"x\",\"v\":1}|{\"k\":\"y\"}", "{\"k\":\"x\"}|{\"k\":\"z\"}");
    holds("{\"if\":{\"type\":\"integer\"},\"then\":{\"minimum\":5},\"else\":{\"type\":\"string\"}}",
          "5|\"a\"", "4|null");
    holds("{\"type\":[\"string\",\"null\"],\"const\":null}", "null", "\"a\"");
    holds("true", "1|{\"a\":[null]}", "");
}

static void references(void **state)
{
    holds("{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},"
          "\"next\":{\"$ref\":\"#/$defs/"
          "n\"}},\"required\":[\"v\"],\"additionalProperties\":false}},\"$ref\":\"#/$defs/n\"}",
          "{\"v\":1}|{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}", "{\"v\":1,\"next\":{}}|{}");
    holds("{\"$defs\":{\"a/b%\":{\"type\":\"null\"}},\"$ref\":\"#/$defs/a~1b%25\"}", "null", "1");
}

static void what_cannot_be_enforced_is_named(void **state)
{
    refused("{\"type\":\"array\",\"uniqueItems\":true}", ERR_UNSUPPORTED, "uniqueItems");
    refused("{\"properties\":{\"a/b\":{\"type\":\"string\",\"pattern\":\"(?=a)\"}}}",
            ERR_UNSUPPORTED, "#/properties/a~1b\", pattern");
    refused("{\"$ref\":\"http://example.com/x\"}", ERR_UNSUPPORTED, "$ref");
    refused("{\"$ref\":\"#/$defs/none\"}", ERR_NOT_FOUND, "$ref");
    refused("{\"$ref\":\"#\"}", ERR_LIMIT, "itself");
    refused("{\"allOf\":[{\"$ref\":\"#\"}]}", ERR_LIMIT, "itself");
    refused("{\"type\":\"strin\"}", ERR_FORMAT, "type");
    refused("{\"type\":\"string\",\"minLength\":-1}", ERR_FORMAT, "minLength");
    refused("false", ERR_UNSUPPORTED, "no value");
    refused("{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", ERR_UNSUPPORTED, "no value");
    refused("{", ERR_FORMAT, "line 1");
    refused("[]", ERR_FORMAT, "object or a boolean");
    refused("{\"type\":\"string\",\"minLength\":999999999}", ERR_LIMIT, "minLength");
}

/* ---- the suite ---- */

struct tally {
    int groups, refused, good, taken, bad, wrong;
};

static json_t *reordered(const json_t *v, const json_t *s);

/* The keys of an instance in the order in which a grammar writes them: the schema's properties
 * first, wherever they stand; a test's instance is the same value in any order. */
static void keys_of(const json_t *s, const json_t *v, json_t *out, int depth)
{
    const char *key;
    json_t *sub;
    size_t i;
    if (depth > 6)
        return;
    if (json_is_object(s)) {
        json_object_foreach(json_object_get(s, "properties"), key, sub)
        {
            json_t *own = json_object_get(v, key);
            if (own && !json_object_get(out, key))
                json_object_set_new(out, key, reordered(own, sub));
        }
        json_object_foreach((json_t *)s, key, sub) if (strcmp(key, "properties") != 0)
            keys_of(sub, v, out, depth + 1);
        json_array_foreach(json_object_get(s, "required"), i, sub)
        {
            const char *name = json_string_value(sub);
            json_t *own = name ? json_object_get(v, name) : NULL;
            if (own && !json_object_get(out, name))
                json_object_set_new(out, name, reordered(own, NULL));
        }
    }
    if (json_is_array(s))
        json_array_foreach(s, i, sub) keys_of(sub, v, out, depth + 1);
}

static json_t *reordered(const json_t *v, const json_t *s)
{
    const char *key;
    json_t *sub;
    if (!json_is_object(v))
        return json_deep_copy(v);
    json_t *out = json_object();
    keys_of(s, v, out, 0);
    json_object_foreach((json_t *)v, key, sub) if (!json_object_get(out, key))
        json_object_set(out, key, sub);
    return out;
}

static bool takes(struct grammar_state *s, const json_t *v, size_t flags)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) | flags);
    grammar_state_reset(s);
    bool ok = text && grammar_state_accept_bytes(s, str_of(text)) && grammar_state_may_end(s);
    free(text);
    return ok;
}

static void one_test(struct grammar_state *s, const json_t *group, const json_t *test,
                     const char *file, struct tally *t)
{
    const json_t *data = json_object_get(test, "data");
    json_t *ordered = reordered(data, json_object_get(group, "schema"));
    bool valid = json_is_true(json_object_get(test, "valid"));
    bool ok = takes(s, data, JSON_COMPACT) || takes(s, ordered, JSON_COMPACT) ||
              takes(s, data, 0) || takes(s, ordered, JSON_INDENT(2));
    t->good += valid;
    t->taken += valid && ok;
    t->bad += !valid;
    if (!valid && ok) {
        t->wrong++;
        printf("%s: %s: %s: accepted\n", file,
               json_string_value(json_object_get(group, "description")),
               json_string_value(json_object_get(test, "description")));
    } else if (valid && !ok && getenv("WEIR_VERBOSE"))
        printf("%s: %s: %s: not accepted\n", file,
               json_string_value(json_object_get(group, "description")),
               json_string_value(json_object_get(test, "description")));
    json_decref(ordered);
}

static void one_group(const json_t *group, const char *file, struct tally *t)
{
    struct grammar *g = NULL;
    struct err e = {0};
    size_t i;
    json_t *test;
    char *text =
        json_dumps(json_object_get(group, "schema"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    t->groups++;
    if (grammar_from_schema(str_of(text), NULL, &g, &e) != 0) {
        t->refused++;
        assert_true(e.msg[0] != '\0');
        if (getenv("WEIR_VERBOSE"))
            printf("%s: %s: refused: %s\n", file,
                   json_string_value(json_object_get(group, "description")), e.msg);
    } else {
        struct grammar_state *s = NULL;
        assert_int_equal(grammar_state_new(g, NULL, &s, &e), 0);
        json_array_foreach(json_object_get(group, "tests"), i, test)
            one_test(s, group, test, file, t);
        grammar_state_free(s);
    }
    grammar_free(g);
    free(text);
}

static void suite_folder(const char *dir, struct tally *t)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));) {
        char path[2048];
        size_t i;
        json_t *group;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (f->d_name[0] == '.')
            continue;
        if (!strstr(f->d_name, ".json")) {
            suite_folder(path, t);
            continue;
        }
        json_t *all = json_load_file(path, JSON_ALLOW_NUL, NULL);
        if (!all)
            printf("%s: not read (numbers or keys beyond the reader)\n", path);
        json_array_foreach(all, i, group) one_group(group, strstr(path, "draft"), t);
        json_decref(all);
    }
    closedir(d);
}

static void suite_of(const char *draft)
{
    char path[1024];
    struct tally t = {0};
    const char *root = getenv("WEIR_FIXTURES");
    if (root)
        snprintf(path, sizeof path, "%s/json/schema/%s", root, draft);
    else
        snprintf(path, sizeof path, "%s/../shared/fixtures/json/schema/%s", getenv("WEIR_SOURCE"),
                 draft);
    if (access(path, R_OK) != 0) {
        printf("skipped: no %s\n", path);
        skip();
    }
    suite_folder(path, &t);
    printf("%s: %d schemas, %d refused; of the rest %d of %d valid instances accepted, %d of %d "
           "invalid ones\n",
           draft, t.groups, t.refused, t.taken, t.good, t.wrong, t.bad);
    assert_int_equal(t.wrong, 0);
    assert_true(t.taken * 10 >= t.good * 8);
}

static void suite_2020_12(void **state)
{
    suite_of("draft2020-12");
}

static void suite_7(void **state)
{
    suite_of("draft7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(strings),
        cmocka_unit_test(arrays),
        cmocka_unit_test(objects),
        cmocka_unit_test(joins),
        cmocka_unit_test(references),
        cmocka_unit_test(what_cannot_be_enforced_is_named),
        cmocka_unit_test(suite_2020_12),
        cmocka_unit_test(suite_7),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
