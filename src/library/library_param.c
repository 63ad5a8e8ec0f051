/* library_param.c: the parameters a model may bring, by Ollama's names, and of which kind each is.
 * Pure. What weir makes of them is decided where requests are answered. */
#include "library_int.h"

#include <jansson.h>
#include <stdlib.h>

enum kind { INTEGER, NUMBER, TRUTH, TEXT_LIST };

static const struct {
    const char *name;
    enum kind kind;
} known[] = {
    {"frequency_penalty", NUMBER},
    {"min_p", NUMBER},
    {"mirostat", INTEGER},
    {"mirostat_eta", NUMBER},
    {"mirostat_tau", NUMBER},
    {"num_batch", INTEGER},
    {"num_ctx", INTEGER},
    {"num_gpu", INTEGER},
    {"main_gpu", INTEGER},
    {"num_keep", INTEGER},
    {"num_predict", INTEGER},
    {"num_thread", INTEGER},
    {"penalize_newline", TRUTH},
    {"presence_penalty", NUMBER},
    {"repeat_last_n", INTEGER},
    {"repeat_penalty", NUMBER},
    {"seed", INTEGER},
    {"stop", TEXT_LIST},
    {"temperature", NUMBER},
    {"tfs_z", NUMBER},
    {"top_k", INTEGER},
    {"top_p", NUMBER},
    {"typical_p", NUMBER},
    {"draft_num_predict", INTEGER},
    {"numa", TRUTH},
    {"low_vram", TRUTH},
    {"f16_kv", TRUTH},
    {"vocab_only", TRUTH},
    {"use_mmap", TRUTH},
    {"use_mlock", TRUTH},
    {"logits_all", TRUTH},
    {"num_gqa", INTEGER},
};
#define NKNOWN (sizeof known / sizeof known[0])

static json_t *make_value(enum kind kind, struct str value)
{
    int64_t i;
    double f;
    switch (kind) {
    case INTEGER: return str_to_i64(value, &i) ? json_integer((json_int_t)i) : NULL;
    case NUMBER: return str_to_f64(value, &f) ? json_real(f) : NULL;
    case TRUTH:
        if (str_ieq(value, STR("true")) || str_is(value, "1"))
            return json_true();
        return str_ieq(value, STR("false")) || str_is(value, "0") ? json_false() : NULL;
    case TEXT_LIST: /* what holds a NUL would not be read again */
        return memchr(value.p, '\0', value.n) ? NULL : json_stringn(value.p, value.n);
    }
    return NULL;
}

static const char *kind_name(enum kind kind)
{
    static const char *const names[] = {"a whole number", "a number", "true or false",
                                        "UTF-8 text"};
    return names[kind];
}

/* Takes the value. */
static int put(json_t *root, const char *name, enum kind kind, json_t *value)
{
    if (kind != TEXT_LIST)
        return json_object_set_new(root, name, value);
    json_t *list = json_object_get(root, name);
    if (!list) {
        list = json_array();
        json_object_set_new(root, name, list);
    }
    return json_array_append_new(list, value);
}

static int add(json_t *root, size_t i, struct str value, char **params, struct err *e)
{
    json_t *v = make_value(known[i].kind, value);
    if (!v)
        return err_set(e, ERR_INVAL, "parameter %s must be %s, not %.*s", known[i].name,
                       kind_name(known[i].kind), value.n > 80 ? 80 : (int)value.n, value.p);
    char *text = root && put(root, known[i].name, known[i].kind, v) == 0
                     ? json_dumps(root, JSON_COMPACT)
                     : NULL;
    if (!text)
        return err_set(e, ERR_NOMEM, "no memory for parameter %s", known[i].name);
    struct library_texts t = {.params = *params};
    int rc = lib_text_set(&t, LIB_PARAMS, str_of(text), "the model", e);
    *params = t.params;
    free(text);
    return rc;
}

int library_param_add(char **params, struct str name, struct str value, struct err *e)
{
    for (size_t i = 0; i < NKNOWN; i++) {
        if (!str_ieq(name, str_of(known[i].name)))
            continue;
        json_t *root = *params && **params ? json_loads(*params, 0, NULL) : json_object();
        int rc = add(root, i, value, params, e);
        json_decref(root);
        return rc;
    }
    return err_set(e, ERR_INVAL, "there is no parameter %.*s", name.n > 80 ? 80 : (int)name.n,
                   name.p);
}
